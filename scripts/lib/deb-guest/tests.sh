#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The guest's half of 'make check-deb': runs in a Debian that has the packages, as a
# service of systemd's, and prints KTAP. Twice: after the first boot, and after a
# reboot, when it removes the packages at last. The machine has a device node 1 by
# boot parameter, and node 2, which is declared, with soft-reserved memory alone.
#
# Arguments: the kernel's release, the version of the packages, the packages' names.
set -uo pipefail
export LC_ALL=C

release=$1
version=$2
shift 2
packages=("$@")

state=/var/lib/check-packages
here=$(dirname "$(realpath "$0")")
nodes=/sys/devices/system/node
declared=$nodes/device_coherent_declared
skipped=4

say()
{
	echo "$*"
	return 1
}

# Pages that were allocated on device nodes since boot, whoever asked
pages_on_devices()
{
	cat $nodes/node[12]/numastat | awk '$1 == "numa_hit" { sum += $2 } END { print sum }'
}

# What a command allocates on device nodes, in pages; its output goes to a file.
on_device()
{
	local before

	before=$(pages_on_devices)
	"$@" >"$state/out" 2>&1 || {
		cat "$state/out" >&2
		echo "failed"
		return
	}
	echo $(($(pages_on_devices) - before))
}

# A JVM whose heap is touched wholly, on all nodes that it is shown
jvm=(java -Xms200M -Xmx200M -XX:+UseG1GC -XX:+UseNUMA -XX:+AlwaysPreTouch -version)

in_slice()
{
	local slice=$1
	shift

	systemd-run --quiet --wait --pipe --slice="$slice" -- "$@" </dev/null
}

# --- what is there ------------------------------------------------------------

test_systemd_boots_it()
{
	[ "$(cat /proc/1/comm)" = systemd ] || say "process 1 is $(cat /proc/1/comm)"
	[ "$(uname -r)" = "$release" ] || say "uname -r: $(uname -r), not $release"
	# What was made of which commit can be seen in the running kernel.
	[[ "$(uname -v)" == "#${version##*-} "* ]] || say "uname -v: $(uname -v), not ${version##*-}"
}

# A module that isn't signed, or by another key, would taint it.
test_modules_are_signed()
{
	local taint

	[ -n "$(cat /proc/modules)" ] || {
		echo "no module is loaded"
		return $skipped
	}
	taint=$(cat /proc/sys/kernel/tainted)
	[ "$taint" = 0 ] || say "tainted: $taint"
}

test_numactl_has_the_node()
{
	local out size

	out=$(numactl -H)
	grep -qx 'node 1 cpus: *' <<<"$out" || say "$out"
	size=$(sed -n 's/^node 1 size: \([0-9]*\) MB/\1/p' <<<"$out")
	[ "${size:-0}" = 512 ] || say "node 1 has ${size:-no} MB: $out"
	[[ $(cat $nodes/has_device_coherent) == 1* ]] ||
		say "has_device_coherent: $(cat $nodes/has_device_coherent)"
}

test_devmem_list()
{
	local out

	out=$(devmem list) || say "devmem list: status $?"
	grep -q '512' <<<"$out" || say "$out"
	devmem list --json | grep '"node": *1' >/dev/null || say "no node 1: $(devmem list --json)"
}

test_files_of_the_tool()
{
	local file

	for file in /usr/share/man/man1/devmem.1.gz /usr/share/bash-completion/completions/devmem \
		/usr/share/doc/devmem/copyright /usr/share/doc/devmem/examples/systemd/README; do
		[ -s $file ] || say "$file isn't there"
	done
	dpkg --verify devmem "linux-image-$release" || say "dpkg --verify"
}

# --- who may open it ----------------------------------------------------------

test_rule_of_udev()
{
	local got

	got=$(stat -c '%U:%G %a' /dev/devmem)
	[ "$got" = "root:render 664" ] || say "/dev/devmem: $got"
}

# In the slice that is let in, once there is one
as_nobody()
{
	in_slice render.slice setpriv --reuid=65534 --regid=65534 "$@" 2>&1
}

test_group_render_gets_in()
{
	local out

	out=$(as_nobody --groups=render devmem alloc --node 1 --size 16M --verify) ||
		say "who is in render: $out"
	if out=$(as_nobody --clear-groups devmem alloc --node 1 --size 16M); then
		say "who isn't in render: $out"
	fi
	# Reading is for all.
	out=$(as_nobody --clear-groups devmem list) || say "devmem list: $out"
	! grep -q 'Permission denied' <<<"$out" || say "devmem list: $out"
}

# --- systemd ------------------------------------------------------------------

# That the next tests can fail. After the reboot the recipe is in force already.
test_jvm_takes_device_memory_by_itself()
{
	local pages

	[ "$phase" = 1 ] || {
		echo "only before AllowedMemoryNodes= is set"
		return $skipped
	}
	pages=$(on_device in_slice system.slice "${jvm[@]}")
	echo "$pages pages"
	[[ $pages != failed && $pages -gt 1000 ]]
}

test_allowed_memory_nodes()
{
	local unit got

	for unit in system.slice user.slice init.scope; do
		# What was set has to be there after the reboot.
		[ "$phase" != 1 ] || systemctl set-property $unit AllowedMemoryNodes=0 || say "$unit"
		[ "$phase$unit" != 2init.scope ] || continue
		got=$(systemctl show -P AllowedMemoryNodes $unit)
		[ "$got" = 0 ] || say "AllowedMemoryNodes of $unit: $got"
	done
	[ "$phase" != 1 ] || systemctl set-property render.slice AllowedMemoryNodes=0-1 || say "render"
	got=$(cat /sys/fs/cgroup/system.slice/cpuset.mems.effective)
	[ "$got" = 0 ] || say "cpuset.mems.effective of system.slice: $got"
	# systemd doesn't read what was set for init.scope when it boots. There is
	# process 1 alone in it, which asks for no node.
	[ "$phase" = 1 ] || systemctl set-property --runtime init.scope AllowedMemoryNodes=0
	got=$(cat /sys/fs/cgroup/init.scope/cpuset.mems.effective)
	[ "$got" = 0 ] || say "cpuset.mems.effective of init.scope: $got"
}

test_jvm_is_kept_out()
{
	local pages

	pages=$(on_device in_slice system.slice "${jvm[@]}")
	[ "$pages" = 0 ] || say "$pages pages on devices"
	if in_slice system.slice numactl --membind=1 true 2>/dev/null; then
		say "numactl --membind=1 works in system.slice"
	fi
}

test_granted_slice_gets_in()
{
	local pages

	pages=$(on_device in_slice render.slice "${jvm[@]}")
	echo "$pages pages"
	[[ $pages != failed && $pages -gt 1000 ]] || say "a JVM in render.slice: $pages"
	pages=$(on_device in_slice render.slice numactl --membind=1 java -Xms64M -XX:+AlwaysPreTouch -version)
	[[ $pages != failed && $pages -gt 16000 ]] || say "numactl --membind=1 in render.slice: $pages"
}

test_example_service()
{
	local from=/usr/share/doc/devmem/examples/systemd result

	install -m 644 $from/devmem-example.service /etc/systemd/system
	systemctl daemon-reload
	systemctl restart devmem-example.service || say "restart: $?"
	for _ in {1..300}; do
		[ "$(systemctl is-active devmem-example.service)" != active ] && break
		sleep 0.2
	done
	result=$(systemctl show -P Result devmem-example.service)
	[ "$result" = success ] || say "Result=$result: $(journalctl -o cat -u devmem-example -n 20)"
	journalctl -o cat -u devmem-example | grep 512 >/dev/null || say "it printed no node: $(journalctl -o cat -u devmem-example)"
	rm /etc/systemd/system/devmem-example.service
	systemctl daemon-reload
}

# --- memory that arrives later ----------------------------------------------------

zone_of()
{
	cat $nodes/node"$1"/memory*/valid_zones 2>/dev/null | sort -u
}

mem_total()
{
	awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo
}

# The range is on node 2, and in the zone.
expect_in_zone()
{
	[ "$(zone_of 2)" = Coherent ] || say "$1: zones of node 2: $(zone_of 2)"
	[ "$(cat $nodes/has_device_coherent)" = 1-2 ] ||
		say "$1: has_device_coherent: $(cat $nodes/has_device_coherent)"
}

expect_out()
{
	[ -z "$(zone_of 2)" ] || say "$1: node 2 has memory: $(zone_of 2)"
	[ "$(cat $nodes/has_device_coherent)" = 1 ] ||
		say "$1: has_device_coherent: $(cat $nodes/has_device_coherent)"
}

# Node 2 is declared by the boot parameter: what dax/kmem brings by itself, as soon
# as it is loaded, is device memory. (On a node that isn't declared it would have
# become ordinary memory, and could not be taken away any more.)
test_daxctl_moves_a_range_in_and_out()
{
	local total out

	[ -e $declared ] || {
		echo "this kernel has no $declared"
		return $skipped
	}
	for _ in {1..300}; do
		[ -z "$(zone_of 2)" ] || break
		sleep 0.2
	done
	[ "$(cat /sys/bus/dax/devices/dax0.0/target_node)" = 2 ] || say "dax0.0: not on node 2"
	expect_in_zone "at boot"
	total=$(mem_total)

	out=$(daxctl reconfigure-device --mode=devdax --force dax0.0 2>&1) || say "devdax: $out"
	expect_out "devdax"
	[ "$(mem_total)" = "$total" ] || say "MemTotal: $total KB, without the range $(mem_total)"

	# Declared at run time, too
	echo -2 >$declared || say "-2 to $declared"
	echo +2 >$declared || say "+2 to $declared"
	# --force, for daxctl refuses where the kernel brings memory online by itself
	out=$(daxctl reconfigure-device --mode=system-ram --force dax0.0 2>&1) || say "system-ram: $out"
	expect_in_zone "system-ram"
	[ "$(mem_total)" = "$total" ] || say "MemTotal: $total KB, with the range $(mem_total)"
	in_slice dax.slice devmem alloc --node 2 --size 64M --verify >"$state/out" 2>&1 ||
		say "alloc: $(cat "$state/out")"
}

# --- nothing said -----------------------------------------------------------------

test_journal_is_quiet()
{
	local ours all

	# That there is a journal at all
	journalctl -k -b -o cat --no-pager | grep 'device_coherent: node 1: 512 MB' >/dev/null ||
		say "no word of node 1 in the journal"
	ours=$(journalctl -b -p warning -o short-monotonic --no-pager |
		grep -iE 'device_coherent|devmem' || true)
	[ -z "$ours" ] || say "$ours"
	all=$(journalctl -k -b -o cat --no-pager | grep -E 'WARNING: |BUG: |Call Trace:|Oops' || true)
	[ -z "$all" ] || say "$all"
}

# --- and gone ---------------------------------------------------------------------

test_packages_are_removed()
{
	local left

	[ "$phase" = 2 ] || {
		echo "after the reboot"
		return $skipped
	}
	# That the next test can fail
	left=$(comm -13 $state/before <(bash "$here/files.sh"))
	[[ $left == *boot/initrd.img-$release* ]] ||
		say "the list of files doesn't know the packages'"
	DEBIAN_FRONTEND=noninteractive dpkg --purge "${packages[@]}" >"$state/purge" 2>&1 ||
		say "dpkg --purge: $(cat "$state/purge")"
	! grep -iE 'warning|error' "$state/purge" || say "dpkg --purge: $(cat "$state/purge")"
	[ "$(stat -c '%U:%G %a' /dev/devmem)" = "root:root 600" ] ||
		say "/dev/devmem: $(stat -c '%U:%G %a' /dev/devmem)"
}

test_nothing_is_left()
{
	local left

	[ "$phase" = 2 ] || {
		echo "after the reboot"
		return $skipped
	}
	left=$(comm -13 $state/before <(bash "$here/files.sh"))
	[ -z "$left" ] || say "left: $(head -n 20 <<<"$left")"
	left=$(comm -23 $state/before <(bash "$here/files.sh"))
	[ -z "$left" ] || say "taken along: $(head -n 20 <<<"$left")"
	left=$(dpkg -l "${packages[@]}" 2>/dev/null | grep '^[a-z][a-zA-Z] ' | grep -v '^un' || true)
	[ -z "$left" ] || say "dpkg still knows: $left"
}

tests=(systemd_boots_it modules_are_signed numactl_has_the_node devmem_list files_of_the_tool
	rule_of_udev group_render_gets_in jvm_takes_device_memory_by_itself allowed_memory_nodes
	jvm_is_kept_out granted_slice_gets_in example_service daxctl_moves_a_range_in_and_out
	journal_is_quiet packages_are_removed nothing_is_left)

run()
{
	local nr=$1 name=$2 text status

	# A test fails by its first command that fails; behind "||", set -e did nothing.
	text=$(
		set -e
		"test_$name" 2>&1
	)
	status=$?
	case $status in
	0) echo "ok $nr boot $phase: ${name//_/ }" ;;
	"$skipped") echo "ok $nr boot $phase: ${name//_/ } # SKIP $text" ; text= ;;
	*) echo "not ok $nr boot $phase: ${name//_/ }" ;;
	esac
	[ -z "$text" ] || echo "# ${text//$'\n'/$'\n'# }"
}

# numa_hit counts a huge page as one, and Debian gives them to whoever has room.
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled

phase=$(cat $state/phase 2>/dev/null || echo 1)
echo "1..${#tests[@]}"
for i in "${!tests[@]}"; do
	run $((i + 1)) "${tests[i]}"
done
if [ "$phase" = 1 ]; then
	echo 2 >$state/phase
	echo "# rebooting"
	systemctl reboot
else
	echo "# all done"
	systemctl poweroff
fi
