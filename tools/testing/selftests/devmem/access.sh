#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who may ask, by programs as they are (invariant 1): libnuma, numactl, the JVM
# and devmem(1) in the restricted mode don't see a device, or are refused, and
# in a cpuset that was given it by name they have it as ever.
#
#   access.sh	the mode switched at run time
#   access.sh boot	the same, booted with device_coherent=...,restricted
#   access.sh none	booted with that and cgroup_disable=cpuset
#
# Proof that it can fail: each program runs without the mode, too, and the JVM
# has pages on devices then.
#
# Wants two system nodes and device nodes; see "plan".
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

SWITCH=$NODE_DIR/device_coherent_restricted
CG=/sys/fs/cgroup

need_root
need_device_nodes 1
[[ -e $SWITCH ]] || skip_all "needs the restricted mode"
if [[ ${1:-} != none ]]; then
	# Tests of cgroup v1 that ran before may not have let go of it yet.
	for _ in {1..300}; do
		! echo +cpuset 2>/dev/null >$CG/cgroup.subtree_control || break
		sleep 0.1
	done
	[[ -e $CG/cpuset.mems.effective ]] ||
		skip_all "needs cpusets of cgroup v2"
fi
D=${DEVICE_NODES[0]}
EVERY=$(nodes_with memory)
SYSTEM=$(for nid in $EVERY; do
	in_list "$nid" "${DEVICE_NODES[*]}" || echo "$nid"
done | xargs)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
AT_BOOT=$(<"$SWITCH")

after_test() {
	echo 0 >"$SWITCH"
	rmdir $CG/named 2>/dev/null || :
}

# COMMAND...: in a cpuset that was given all nodes
let_in() {
	mkdir -p $CG/named
	tr ' ' , <<<"$EVERY" >$CG/named/cpuset.mems
	bash -c "echo \$\$ >$CG/named/cgroup.procs"' && exec "$@"' bash "$@"
}

# COMMAND...: must not succeed
refused() {
	! "$@" >"$WORK/out" 2>&1 || fail "'$*' wasn't refused"
	sed 's/^/# /;2q' "$WORK/out"
}

mems_allowed() {
	expand_list "$("$@" sed -n 's/^Mems_allowed_list:\t//p' /proc/self/status)"
}

boot_word() {
	expect "the switch after boot" "$AT_BOOT" 1
	echo 1 >"$SWITCH"
	expect "nodes of init" "$(expand_list \
		"$(sed -n 's/^Mems_allowed_list:\t//p' /proc/1/status)")" "$SYSTEM"
	expect "nodes of a task" "$(mems_allowed)" "$SYSTEM"
	expect "nodes of one that is let in" "$(mems_allowed let_in)" "$EVERY"
}

# Nobody has switched anything yet, since boot.
not_restricted() {
	expect "the switch after boot" "$AT_BOOT" 0
	expect "nodes of a task" "$(mems_allowed)" "$EVERY"
}

all_nodes_of_libnuma() {
	local program=$DEVMEM_DIR/every_node

	expect "without the mode" "$("$program" | xargs)" "$EVERY"
	echo 1 >"$SWITCH"
	expect "in the mode" "$("$program" | xargs)" "$SYSTEM"
	expect "let in" "$(let_in "$program" | xargs)" "$EVERY"
}

numactl_membind() {
	type -P numactl >/dev/null || skip "needs numactl"
	numactl -m "$D" true
	echo 1 >"$SWITCH"
	refused numactl -m "$D" true
	refused numactl --preferred="$D" true
	refused numactl -i "$D" true
	let_in numactl -m "$D" true
	expect "all of --interleave=all" \
		"$(numactl --interleave=all numactl --show | sed -n 's/ *$//; s/^membind: //p')" \
		"$SYSTEM"
}

# devmem(1), which the first part of the series doesn't have
driver() {
	local devmem=$DEVMEM_DIR/devmem

	[[ -c /dev/devmem && -x $devmem ]] || skip "needs /dev/devmem"
	"$devmem" alloc --node "$D" --size 1M --verify
	echo 1 >"$SWITCH"
	refused "$devmem" alloc --node "$D" --size 1M
	refused "$devmem" alloc --size 1M
	refused "$devmem" alloc --node "$D" --size 1M --contiguous
	let_in "$devmem" alloc --node "$D" --size 1M --verify
	let_in "$devmem" alloc --node "$D" --size 1M --contiguous --verify
	sleep 100 &
	refused let_in "$devmem" migrate --pid $! --to "$D"
	echo 0 >"$SWITCH"
	"$devmem" migrate --pid $! --to "$D"
	echo 1 >"$SWITCH"
	"$devmem" migrate --pid $! --to system
	kill $!
	# Who asks allocates, so the other's cpuset isn't enough.
	let_in true
	bash -c "echo \$\$ >$CG/named/cgroup.procs; exec sleep 100" &
	wait_for "the task in its cpuset" grep -qx $! $CG/named/cgroup.procs
	refused "$devmem" migrate --pid $! --to "$D"
	grep -q "cpuset or yours lacks node $D" "$WORK/out" ||
		fail "no word of the cpuset"
	let_in "$devmem" migrate --pid $! --to "$D"
	kill $!
	wait $! || :
}

# GC COMMAND...: pages of device nodes that a JVM has which fills its heap
jvm_pages() {
	local gc=$1 pages

	shift
	"$@" java -XX:+Use"$gc"GC -XX:+UseNUMA -Xms192m -Xmx192m \
		-XX:+AlwaysPreTouch -XX:TieredStopAtLevel=1 \
		"$WORK/Fill.java" >"$WORK/maps" 2>"$WORK/err" ||
		fail "java: $(head -n 3 "$WORK/err")"
	pages=$(for nid in "${DEVICE_NODES[@]}"; do
		grep -o " N$nid=[0-9]*" "$WORK/maps" || :
	done | awk -F = '{ n += $2 } END { print n + 0 }')
	echo "$pages"
}

# With a heap of all nodes that it sees, and its own numa_maps as the output
jvm() {
	local gc=$1 pages

	type -P java >/dev/null || skip "needs java"
	cat >"$WORK/Fill.java" <<-EOF
	import java.nio.file.*;
	public class Fill {
		public static void main(String[] args) throws Exception {
			byte[][] all = new byte[64][];
			for (int i = 0; i < 2048; i++)
				all[i % 64] = new byte[1 << 20];
			System.out.write(Files.readAllBytes(
				Path.of("/proc/self/numa_maps")));
			System.out.flush();
			if (all[0][0] != 0)
				System.exit(1);
		}
	}
	EOF
	pages=$(jvm_pages "$gc")
	echo "# $gc: $pages pages of devices without the mode"
	echo 1 >"$SWITCH"
	expect "pages of devices in the mode" "$(jvm_pages "$gc")" 0
	# ParallelGC has heap where its threads run, which is never on a device.
	((pages == 0)) || (($(jvm_pages "$gc" let_in) > 0)) ||
		fail "no page of a device, though let in"
}

jvm_g1() {
	jvm G1
}

jvm_parallel() {
	jvm Parallel
}

# cgroup_disable=cpuset: nobody could be let in, so it isn't switched on.
no_cpusets() {
	grep -qw cgroup_disable=cpuset /proc/cmdline ||
		skip "needs cgroup_disable=cpuset"
	expect "at boot" "$(<"$SWITCH")" 0
	refused bash -c "echo 1 >$SWITCH"
	grep -qi "not supported" "$WORK/out" || fail "$(<"$WORK/out")"
	dmesg | grep "restricted: there are no cpusets with" >/dev/null ||
		fail "nothing in the log"
	echo 0 >"$SWITCH"
	numactl --membind "$D" true
}

if [[ ${1:-} == boot ]]; then
	run_tests boot_word all_nodes_of_libnuma
elif [[ ${1:-} == none ]]; then
	run_tests no_cpusets
else
	run_tests not_restricted all_nodes_of_libnuma numactl_membind driver \
		jvm_g1 jvm_parallel
fi
