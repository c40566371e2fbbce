# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the shell tests share. A test is a function; it fails by
# "fail", an expectation that isn't met or any command that fails, and is
# skipped by "skip". run_tests runs them, each in a shell of its own, and
# after_test (if there is one) after each.

DEVMEM_DIR=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
NODE_DIR=/sys/devices/system/node
TESTMOD=/sys/kernel/debug/device_coherent_test
# Of the machines, where a test runs on the host
PAGE_SIZE=${DEVMEM_PAGE_SIZE:-$(getconf PAGESIZE)}
PAGE_KB=$((PAGE_SIZE / 1024))
export LC_ALL=C

# KASAN and its like: slow, and an eighth of all memory is their own.
debug_kernel() {
	if [[ -n ${DEVMEM_KERNEL:-} ]]; then
		[[ $DEVMEM_KERNEL == debug ]]
	else
		zgrep -q '^CONFIG_KASAN=y' /proc/config.gz 2>/dev/null
	fi
}

# shellcheck source=/dev/null
. "$DEVMEM_DIR/../kselftest/ktap_helpers.sh"

fail() {
	echo "# $*"
	exit "$KSFT_FAIL"
}

skip() {
	echo "# $*"
	exit "$KSFT_SKIP"
}

# WHAT GOT WANTED
expect() {
	[[ $2 == "$3" ]] || fail "$1 is '$2', not '$3'"
}

# WHAT GOT WANTED TOLERANCE
expect_near() {
	(($2 >= $3 - $4 && $2 <= $3 + $4)) ||
		fail "$1 is $2, not $3 (within $4)"
}

run_test() {
	local rc

	set +e
	(
		set -euo pipefail
		"$1"
	)
	rc=$?
	! declare -F after_test >/dev/null || after_test
	set -e
	case $rc in
	0) ktap_test_pass "$1" ;;
	"$KSFT_SKIP") ktap_test_skip "$1" ;;
	*) ktap_test_fail "$1" ;;
	esac
}

run_tests() {
	local test

	ktap_print_header
	ktap_set_plan $#
	for test; do
		run_test "$test"
	done
	ktap_finished
}

# The whole script is pointless here: one line, and success.
skip_all() {
	ktap_print_header
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

need_root() {
	((EUID == 0)) || skip_all "needs root"
}

# COUNT: device nodes, at least
need_device_nodes() {
	read -ra DEVICE_NODES <<<"$(device_nodes)"
	((${#DEVICE_NODES[@]} >= $1)) ||
		skip_all "needs $1 device node(s), here are ${#DEVICE_NODES[@]}"
}

# NAME: loads a module from the system's folder or from the build's
load_module() {
	local dir=${DEVMEM_OBJ:-/nonexistent}/mm/device_coherent/tests

	[[ -d /sys/module/$1 ]] || modprobe "$1" 2>/dev/null ||
		insmod "$dir/$1.ko" 2>/dev/null
}

# The image of the kernel that runs, as kexec_file_load(2) wants it, if it's at hand
kernel_image() {
	local obj=${DEVMEM_OBJ:-/nonexistent}/arch

	find "$obj/x86/boot/bzImage" "$obj/arm64/boot/Image" 2>/dev/null || :
}

# Where memory is that the kernel has been kept from, as memmap=SIZE$START says. Only
# x86 knows the parameter; elsewhere it is there to be read here.
spare_start() {
	sed -nE 's/.*memmap=[0-9]+[MG]\$([0-9]+[MG]).*/\1/p' /proc/cmdline |
		numfmt --from=iec --format=%.0f | xargs -r printf '%#x\n'
}

need_testmod() {
	load_module device_coherent_test ||
		skip_all "needs the module device_coherent_test"
}

# "0-1,4" to "0 1 4"
expand_list() {
	local part

	for part in ${1//,/ }; do
		seq -s ' ' "${part%-*}" "${part#*-}"
	done | xargs
}

# STATE: nodes in N_DEVICE_COHERENT, N_MEMORY ...
nodes_with() {
	local list=

	[[ ! -e $NODE_DIR/has_$1 ]] || read -r list <"$NODE_DIR/has_$1" || :
	expand_list "$list"
}

# DEVMEM_NODES in the environment overrules what the kernel says.
device_nodes() {
	if [[ -n ${DEVMEM_NODES:-} ]]; then
		expand_list "$DEVMEM_NODES"
	else
		nodes_with device_coherent
	fi
}

# WHAT COMMAND...: waits until it succeeds, for what the host has to do
wait_for() {
	local what=$1 patience=60 end

	shift
	! debug_kernel || patience=300
	end=$((SECONDS + patience))
	until "$@"; do
		((SECONDS < end)) || fail "$what: not within $patience s"
		sleep 0.1
	done
}

# INDEX NODE COMMAND...: a memory module (scripts/vm --hotplug-mem), until the
# command succeeds. The host refuses one that it has not seen go yet: ask again.
plug_until() {
	local index=$1 node=$2 tries

	shift 2
	for tries in {1..600}; do
		((tries % 50 != 1)) || echo "plug $index $node" >/dev/devmem-host
		! "$@" || return 0
		sleep 0.1
	done
	fail "module $index: not within 60 s"
}

# NID: its memory blocks
blocks() {
	local link

	for link in "$NODE_DIR/node$1"/memory[0-9]*; do
		[[ ! -e $link ]] || basename "$link"
	done
}

in_list() {
	[[ " $2 " == *" $1 "* ]]
}

# One line for every zone that has pages, as of this moment:
# NID ZONE FREE PCP MANAGED PRESENT SPANNED START_PFN MIN LOW HIGH
zones_now() {
	cat /proc/sys/vm/stat_refresh
	awk '
		function put() {
			if (v["present"] > 0)
				print nid, zone, v["free"], v["count:"] + 0,
				      v["managed"], v["present"], v["spanned"],
				      v["start_pfn:"], v["min"], v["low"],
				      v["high"]
			delete v
		}
		/^Node/ { put(); nid = $2 + 0; zone = $4 }
		/^  pages free/ { v["free"] = $3 }
		$1 == "count:" { v["count:"] += $2 }
		$1 ~ /^(managed|present|spanned|start_pfn:)$/ { v[$1] = $2 }
		/^        (min|low|high) / { v[$1] = $2 }
		END { put() }
	' /proc/zoneinfo
}

# The same when device zones are at rest: folding the counters also makes the
# CPUs' lists shrink, and pages that leave one are in neither count until the
# next time.
zones() {
	local out device before=

	for _ in {1..60}; do
		out=$(zones_now)
		device=$(grep ' Coherent ' <<<"$out" || :)
		[[ $device != "$before" ]] || break
		before=$device
	done
	echo "$out"
}

# NID: names of its zones that have pages
zone_names() {
	zones_now | awk -v nid="$1" '$1 == nid { print $2 }' | xargs
}

# NID: pages its allocator owns
node_managed() {
	zones_now | awk -v nid="$1" '$1 == nid { n += $5 } END { print n + 0 }'
}

# NID: pages that somebody has
node_used() {
	zones | awk -v nid="$1" \
		'$1 == nid { n += $5 - $3 - $4 } END { print n + 0 }'
}

# NID: free pages
node_free() {
	zones | awk -v nid="$1" '$1 == nid { n += $3 + $4 } END { print n + 0 }'
}

# kB of system memory that are free, those on lists of CPUs included
system_free() {
	echo 3 >/proc/sys/vm/drop_caches
	zones_now | awk -v kb="$PAGE_KB" \
		'$2 != "Coherent" { n += $3 + $4 } END { print n * kb }'
}

vmstat() {
	awk -v name="$1" '$1 == name { print $2 }' /proc/vmstat
}

# In kB
meminfo() {
	awk -v name="$1:" '$1 == name { print $2 }' /proc/meminfo
}

# FILE COMMAND...: a task that stays, with its output in that file. Waits until
# it says "ready"; $! is its process.
start_task() {
	local file=$1

	shift
	"$@" >"$file" &
	until grep -q ready "$file"; do
		kill -0 $! || fail "$* ended"
		sleep 0.1
	done
}

# FILE TEXT: writes it; prints the name of the error, or 0
write_errno() {
	local out

	if out=$({ echo "$2" >"$1"; } 2>&1); then
		echo 0
		return
	fi
	case $out in
	*"Invalid argument") echo EINVAL ;;
	*"Cannot allocate memory") echo ENOMEM ;;
	*"Device or resource busy") echo EBUSY ;;
	*"File exists") echo EEXIST ;;
	*"No such file or directory") echo ENOENT ;;
	*"Numerical result out of range") echo ERANGE ;;
	*"Interrupted system call") echo EINTR ;;
	*"Operation not permitted") echo EPERM ;;
	*"Bad address") echo EFAULT ;;
	*"No such device") echo ENODEV ;;
	*) echo "$out" ;;
	esac
}

# A command for the test module; prints the name of the error, or 0
testmod() {
	write_errno "$TESTMOD/command" "$*"
}

# WANTED COMMAND...
expect_testmod() {
	local wanted=$1

	shift
	expect "result of '$*'" "$(testmod "$@")" "$wanted"
}

# NID: pages of its device zone that the test module holds
held() {
	awk -v nid="$1" '$2 == nid { print $6 }' "$TESTMOD/held"
}

# Pages of other zones that it holds, on any node
held_elsewhere() {
	awk '{ n += $9 } END { print n + 0 }' "$TESTMOD/held"
}

# All of a node, to the last page. The allocator sees the number of free pages
# through counters that the CPUs bring up to date now and then; make them do it.
fill_up() {
	for _ in 1 2 3; do
		expect_testmod 0 fill "$1"
		cat /proc/sys/vm/stat_refresh >/dev/null
	done
}

# Pages of programs that have ended may wait in a batch on their way to an LRU
# list; to compact a node begins with emptying those of all nodes.
drain_batches() {
	echo 1 >"$NODE_DIR/node${DEVICE_NODES[0]}/compact"
}

# NID: used pages, when what is freed late has had its time
node_left() {
	local used

	for _ in {1..20}; do
		used=$(node_used "$1")
		((used)) || break
		drain_batches
		sleep 0.1
	done
	echo "$used"
}

# Everything is free that can be: the state between tests
expect_all_free() {
	local nid

	for nid in $(device_nodes); do
		expect "used pages of node $nid" "$(node_left "$nid")" 0
	done
}

# Ends what start_task() started, and waits until it is gone
end_tasks() {
	pkill -f 'pressure_task hold' || return 0
	for _ in {1..100}; do
		pgrep -f 'pressure_task hold' >/dev/null || break
		sleep 0.1
	done
	drain_batches
}

# For tests that run on the host and start virtual machines: sets VM to the
# words of $DEVMEM_VM, or to the scripts/vm above this folder
find_vm() {
	local dir=$DEVMEM_DIR

	if [[ -n ${DEVMEM_VM:-} ]]; then
		read -ra VM <<<"$DEVMEM_VM"
	else
		while [[ $dir != / && ! -x $dir/scripts/vm ]]; do
			dir=$(dirname "$dir")
		done
		[[ $dir != / ]] || skip_all "needs scripts/vm, or DEVMEM_VM"
		VM=("$dir/scripts/vm")
	fi
	[[ -z ${DEVMEM_KERNEL:-} ]] || VM+=(--kernel "$DEVMEM_KERNEL")
}

# NAME VM_OPTION... -- COMMAND...: boots in the background. What the command
# and the console say goes to $WORK/NAME.{out,err,log}, the end to NAME.status.
boot() {
	local name=$1 timeout=600

	shift
	! debug_kernel || timeout=1200
	while (($(jobs -rp | wc -l) >= ${DEVMEM_JOBS:-2})); do
		wait -n || :
	done
	{
		local rc=0

		"${VM[@]}" --timeout "$timeout" --log "$WORK/$name.log" "$@" \
			>"$WORK/$name.out" 2>"$WORK/$name.err" || rc=$?
		# There when it is whole
		echo "$rc" >"$WORK/$name.status.new"
		mv "$WORK/$name.status.new" "$WORK/$name.status"
	} </dev/null &
}

# NAME: waits for that boot; fails unless its command ended well
booted() {
	while [[ ! -e $WORK/$1.status ]]; do
		sleep 0.1
	done
	[[ $(<"$WORK/$1.status") == 0 ]] && return
	sed 's/^/# /' "$WORK/$1.err" "$WORK/$1.out"
	fail "the machine ended with $(<"$WORK/$1.status")"
}

# For a test on the host
host_test() {
	find_vm
	WORK=$(mktemp -d)
	trap 'jobs -rp | xargs -r kill 2>/dev/null; rm -rf "$WORK"' EXIT
}
