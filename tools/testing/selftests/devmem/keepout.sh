#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariants 1, asked for, or not at all, and 3, never in the way, where it takes
# a machine of its own: pools of huge pages made at boot (small, gigantic, by
# node, from CMA), a hypervisor that wants memory back (balloon), or is told what
# is free (free page reporting); CPUs that nobody gave a node; panic_on_oom. Runs
# on the host.
#
# What was reported is seen from outside: the hypervisor drops the pages, and
# the resident size of the memory behind the node shrinks.
#
# Proof that it can fail: system memory that was used and freed is reported and
# dropped in the same machine, and the memory of the device node is, too, in
# "control", where it is an ordinary node. The pools were seen to spread over an
# ordinary node in place of the device.
#
# Arguments: the tests to run, all by default.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

SYSTEM_MB=512
USE_SYSTEM_MB=300
if debug_kernel; then
	SYSTEM_MB=1536
	USE_SYSTEM_MB=750
fi
DEVICE_MB=256
USE_DEVICE_MB=160
BALLOON_MB=128

# -- In the guest --------------------------------------------------------------

# MB [NUMACTL_OPTION]: uses that much memory and frees it
use() {
	local run=(dd if=/dev/zero of=/dev/null bs="$1M" count=1)

	[[ $# == 1 ]] || run=(numactl "$2" "${run[@]}")
	"${run[@]}" 2>/dev/null
}

guest_hypervisor() {
	local nid before

	nid=$(device_nodes)
	use "$USE_SYSTEM_MB"
	use "$USE_DEVICE_MB" "--membind=$nid"
	before=$(vmstat pgalloc_coherent)
	echo touched
	# The host looks at what it got back, and then inflates the balloon.
	until (($(vmstat balloon_inflate) >= BALLOON_MB * 256)); do
		sleep 0.3
	done
	echo "balloon $(vmstat balloon_inflate)"
	echo "given $(($(vmstat pgalloc_coherent) - before))"
	echo "used $(node_used "$nid")"
}

# NID SIZE_KB
pool() {
	cat "$NODE_DIR/node$1/hugepages/hugepages-$2kB/nr_hugepages"
}

guest_pools() {
	local nid size

	nid=$(device_nodes)
	for size in 2048 1048576; do
		echo "$size.system $(pool 0 $size)"
		echo "$size.device $(pool "$nid" $size)"
	done
	# And more of the gigantic ones now
	write_errno /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages 2 \
		>/dev/null
	echo "later.system $(pool 0 1048576)"
	echo "later.device $(pool "$nid" 1048576)"
	echo "write $(write_errno \
		"$NODE_DIR/node$nid/hugepages/hugepages-1048576kB/nr_hugepages" 1)"
	echo "given $(vmstat pgalloc_coherent)"
	echo "used $(node_used "$nid")"
	dmesg | sed -n 's/.*hugetlb_cma: reserved \([0-9]*\) MiB on node \([0-9]*\)/node\2.cma \1/p'
}

# The node of a CPU is looked for as it comes up, at boot before there is a device.
guest_cpus() {
	local cpu nid

	for cpu in /sys/devices/system/cpu/cpu*/online; do
		echo 0 >"$cpu"
		echo 1 >"$cpu"
	done
	for nid in $(nodes_with memory); do
		echo "node$nid.cpus $(<"$NODE_DIR/node$nid/cpulist")"
	done
	echo "devices $(device_nodes)"
}

# More than these nodes have. A child, as what the OOM killer may take.
guest_oom() {
	echo 1 >/proc/sys/vm/panic_on_oom
	echo 1 >/proc/sys/vm/overcommit_memory
	numactl "--membind=$2" dd if=/dev/zero of=/dev/null bs=1G count=1 \
		2>/dev/null || :
	echo "still there"
}

case ${1:-} in
hypervisor | pools | cpus | oom)
	"guest_$1" "$@"
	exit
	;;
esac

# -- On the host ---------------------------------------------------------------

# NAME WORD: the rest of the line of a guest's output that begins with it
value() {
	awk -v word="$2" '$1 == word { print $2 }' "$WORK/$1.out"
}

# NAME MB: resident kB of the memory of that size of a machine
resident() {
	awk -v size=$(($2 * 1024)) '
		/^Size:/ { here = $2 == size }
		/^Rss:/ && here { print $2; exit }
	' "/proc/$(<"$WORK/$1.pid")/smaps"
}

# NAME MB KB: waits until less than that of it is resident
wait_below() {
	local now=

	for _ in {1..300}; do
		now=$(resident "$1" "$2")
		((now >= $3)) || return 0
		sleep 0.2
	done
	fail "$1: $now kB of $2 MB are resident, and not less than $3"
}

# NAME: the guest has used its memory and freed it
wait_touched() {
	until grep -qx touched "$WORK/$1.out"; do
		[[ ! -e $WORK/$1.status ]] || booted "$1"
		sleep 0.2
	done
}

# NAME BYTES: how much memory the guest may keep
balloon() {
	python3 - "$WORK/$1.qmp" "$2" <<-'EOF'
		import json, socket, sys
		with socket.socket(socket.AF_UNIX) as s:
		    s.connect(sys.argv[1])
		    f = s.makefile("rw")
		    f.readline()
		    for name, args in (("qmp_capabilities", {}),
		                       ("balloon", {"value": int(sys.argv[2])})):
		        json.dump({"execute": name, "arguments": args}, f)
		        f.write("\n")
		        f.flush()
		        while True:
		            answer = json.loads(f.readline())
		            if "error" in answer:
		                sys.exit(str(answer))
		            if "return" in answer:
		                break
	EOF
}

# NAME VM_OPTION...
# Pages with poison can't be reported.
boot_hypervisor() {
	local name=$1

	shift
	boot "$name" --mem "${SYSTEM_MB}M" --device-mem "${DEVICE_MB}M" \
		--qemu "-device virtio-balloon-pci,free-page-reporting=on" \
		--qemu "-pidfile $WORK/$name.pid" \
		--qemu "-qmp unix:$WORK/$name.qmp,server=on,wait=off" \
		--append page_poison=0 \
		"$@" -- "$DEVMEM_DIR/keepout.sh" hypervisor
}

# Freed system memory is handed back; the device's stays what it was.
free_pages_are_reported() {
	local before

	wait_touched device
	wait_below device "$SYSTEM_MB" $((USE_SYSTEM_MB * 1024))
	before=$(resident device "$DEVICE_MB")
	((before >= USE_DEVICE_MB * 1024)) ||
		fail "$before kB of the device's memory are resident"
	# Twice as long as the guest waits before it reports
	sleep 4
	expect "resident kB of the device's memory" \
		"$(resident device "$DEVICE_MB")" "$before"
}

balloon_takes_system_memory() {
	balloon device $(((SYSTEM_MB + DEVICE_MB - BALLOON_MB) << 20))
	booted device
	expect "inflated pages" "$(value device balloon)" $((BALLOON_MB * 256))
	expect "pages that left the device's zone" "$(value device given)" 0
	expect "used pages of the device" "$(value device used)" 0
}

# A debug kernel itself has up to 80 MB of an ordinary node of this size, where
# KASAN's shadow of it is.
control() {
	wait_touched control
	wait_below control "$DEVICE_MB" $((USE_DEVICE_MB * 1024 * 3 / 4))
	balloon control $(((SYSTEM_MB + DEVICE_MB - BALLOON_MB) << 20))
	booted control
}

# NAME
nothing_on_the_device() {
	expect "small pages" "$(value "$1" 2048.device)" 0
	expect "gigantic pages" "$(value "$1" 1048576.device)" 0
	expect "gigantic pages asked for later" "$(value "$1" later.device)" 0
	expect "writing to its pool" "$(value "$1" write)" EINVAL
	expect "pages that left its zone" "$(value "$1" given)" 0
	expect "used pages" "$(value "$1" used)" 0
	expect "CMA on it" "$(value "$1" node1.cma)" ""
}

# NAME PARAMETERS: a machine with room for gigantic pages, whose device is one
boot_pools() {
	boot "$1" --mem 5G --device-mem 1G --append "nokaslr $2" -- \
		"$DEVMEM_DIR/keepout.sh" pools
	booted "$1"
}

# With DEBUG_VM, 6.12 stops at a gigantic page made at boot: its tail pages are
# asked for a flag before they are set up.
pools_at_boot() {
	local gigantic=1

	! debug_kernel || gigantic=0
	boot_pools small "hugepages=24 hugepagesz=1G hugepages=$gigantic"
	expect "small pages of the system" "$(value small 2048.system)" 24
	expect "gigantic pages of the system" \
		"$(value small 1048576.system)" $gigantic
	nothing_on_the_device small
}

gigantic_pages_from_cma() {
	boot_pools cma "hugetlb_cma=1G"
	expect "MB of CMA in the system" "$(value cma node0.cma)" 1024
	# That one, and what else there is in one piece
	[[ $(value cma later.system) == [12] ]] ||
		fail "gigantic pages of the system: $(value cma later.system)"
	nothing_on_the_device cma
}

# By name, it isn't there yet.
pools_of_the_device_are_refused() {
	boot_pools named "hugepages=1:8 hugetlb_cma=1:1G"
	grep -q 'HugeTLB: Invalid hugepages parameter 1:8' "$WORK/named.log" ||
		fail "hugepages=1:8 was accepted"
	grep -q 'hugetlb_cma: invalid node 1 specified' "$WORK/named.log" ||
		fail "hugetlb_cma=1:1G was accepted"
	nothing_on_the_device named
}

# No node for them in the firmware's tables, or in none that the kernel reads:
# they are dealt out over the nodes, or go by the number of their cache, which
# here is that of the device node as well.
cpus_stay_on_system_nodes() {
	[[ ${DEVMEM_ARCH:-} != arm64 ]] || skip "numa=noacpi is a parameter of x86"
	boot cpus --mem 512M --device-mem 0 --cpus 4 \
		--qemu "-smp 4,sockets=4,cores=1,threads=1" \
		--append "numa=noacpi device_coherent=128M@256M" -- \
		"$DEVMEM_DIR/keepout.sh" cpus
	booted cpus
	expect "device nodes" "$(value cpus devices)" 1
	expect "CPUs of the system" "$(value cpus node0.cpus)" 0-3
	expect "CPUs of the device" "$(value cpus node1.cpus)" ""
}

# NAME NODES: memory runs out there
boot_oom() {
	local mb=256

	# With less elsewhere, the EFI stub doesn't keep the kernel off a device.
	[[ ${DEVMEM_ARCH:-} != arm64 ]] || mb=512
	boot "$1" --mem "${mb}M" --sys-nodes 128M --device-mem 256M -- \
		"$DEVMEM_DIR/keepout.sh" oom "$2"
	until [[ -e $WORK/$1.status ]]; do
		sleep 0.2
	done
}

# Bound to all system nodes is as good as unbound: panic_on_oom=1 means that.
# Bound to some is a constraint, and nothing to panic for.
panic_on_oom_of_all_system_nodes() {
	local message='Out of memory: system-wide panic_on_oom is enabled'

	boot_oom all 0,1
	grep -q "$message" "$WORK/all.log" ||
		fail "bound to all system nodes, no panic"
	boot_oom some 0
	! grep -q "$message" "$WORK/some.log" ||
		fail "bound to some nodes, a panic"
	grep -qx 'still there' "$WORK/some.out" || fail "it didn't survive"
}

host_test
boot_hypervisor device
DEVMEM_NODES=1 boot_hypervisor control --no-register
ALL=(free_pages_are_reported balloon_takes_system_memory control pools_at_boot
     gigantic_pages_from_cma pools_of_the_device_are_refused
     cpus_stay_on_system_nodes panic_on_oom_of_all_system_nodes)
run_tests "${@:-${ALL[@]}}"
