#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 1, from the first moment: nothing of the boot lands in memory that
# becomes a device's. Several boots with KASLR on, most of the machine's memory
# the device's, by firmware node and by carve-out; what is checked in each:
#  - the kernel image and the crash kernel, by /proc/iomem;
#  - every reservation memblock makes, by memblock=debug on the console. The
#    boot loader's initrd lies there (its reservation is earlier than the
#    messages), and is moved;
#  - segments that kexec_file_load(2) places, by the kernel's own log;
#  - the device node has the one zone, whatever kernelcore=, movablecore= and
#    movable_node do to others, and all of its pages are free;
#  - hibernation is refused.
# Runs on the host.
#
# Proof that it can fail: "control" boots the same machine without
# registration, where the same checks find reservations and segments in that
# range and hibernation available.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

# 1 GB of device memory beside 384 MB: a kernel that may lie anywhere does. With
# all of it below 4 GB, the boot loader puts the initrd at the device's end.
SYSTEM_MB=384
! debug_kernel || SYSTEM_MB=768
ABOVE_4G=(--mem "${SYSTEM_MB}M" --device-mem 1G)
BY_NODE=("${ABOVE_4G[@]}" --qemu "-machine max-ram-below-4g=2G")
CARVE_OUT=(--mem "$((SYSTEM_MB + 1152))M" --device-mem 0
	   --append "device_coherent=1G@${SYSTEM_MB}M")
RAM_MB=0
# Of a kernel for kexec, at least
SEGMENTS=3
if [[ ${DEVMEM_ARCH:-} == arm64 ]]; then
	# RAM begins at 1 GB, and the EFI stub has placed the initrd.
	RAM_MB=1024
	SEGMENTS=2
	BY_NODE=("${ABOVE_4G[@]}")
	CARVE_OUT=(--mem "$((SYSTEM_MB + 1152))M" --device-mem 0
		   --append "device_coherent=1G@$((RAM_MB + SYSTEM_MB))M")
fi

# What a boot runs
# shellcheck disable=SC2016 # expanded in the guest
REPORT='
"$1/lib/node_report.sh"
if "$1/kexec_probe" "$(kernel_image)"; then
	echo "kexec loaded"
fi
dmesg | sed -nE "s/.*segment\[[0-9]+\]: .* mem=0x([0-9a-f]+) memsz=0x([0-9a-f]+)/segment \1 \2/p"
echo "disk $(cat /sys/power/disk)"
if [ -n "$2" ]; then
	echo "hibernate $(write_errno /sys/power/state disk)"
fi
'

# NAME OPTION...
start() {
	local name=$1

	shift
	boot "$name" "$@" -- bash -c ". '$DEVMEM_DIR/lib/devmem_lib.sh'; $REPORT" - \
		"$DEVMEM_DIR" yes
}

# NAME: sets LO and HI to the device's memory. Without a device node, what it
# would be.
find_range() {
	LO=$(((RAM_MB + SYSTEM_MB) << 20))
	HI=$((LO + (1024 << 20)))
	while read -r what a b; do
		[[ $what == range ]] || continue
		LO=$((0x$a))
		HI=$((0x$b + 1))
	done <"$WORK/$1.out"
}

# NAME: ranges in the report that touch it, as WHAT START END
intruders() {
	local what a b

	find_range "$1"
	while read -r what a b; do
		case $what in
		code | crash) a=$((0x$a)) b=$((0x$b + 1)) ;;
		segment) a=$((0x$a)) b=$((a + 0x$b)) ;;
		*) continue ;;
		esac
		((a >= HI || b <= LO)) || printf '%s %#x %#x\n' "$what" "$a" "$b"
	done <"$WORK/$1.out"
}

# NAME: what memblock reserved there, but for the range as a whole
reservations() {
	local a b who

	find_range "$1"
	sed -nE 's/.*memblock_reserve: \[0x([0-9a-f]+)-0x([0-9a-f]+)\] ([a-z0-9_]+).*/\1 \2 \3/p' \
		"$WORK/$1.log" | while read -r a b who; do
		a=$((0x$a)) b=$((0x$b + 1))
		((a >= HI || b <= LO || (a == LO && b == HI))) ||
			printf '%#x %#x %s\n' "$a" "$b" "$who"
	done
}

check() {
	local name=$BOOT

	booted "$name"
	grep -q '^code ' "$WORK/$name.out" || fail "no kernel code in iomem"
	grep -q '^device .* Coherent ' "$WORK/$name.out" || fail "no device node"
	! awk '$1 == "device" && ($3 != "Coherent" || $5)' "$WORK/$name.out" |
		grep . || fail "other zones, or pages in use"
	grep -q '^kexec loaded' "$WORK/$name.out" || fail "kexec did not load"
	(($(grep -c '^segment ' "$WORK/$name.out") >= SEGMENTS)) ||
		fail "no kexec segments in the log"
	expect "what touches the device" "$(intruders "$name")" ""
	expect "hibernation" "$(grep ^disk "$WORK/$name.out")" "disk [disabled]"
	expect "hibernation" "$(grep ^hibernate "$WORK/$name.out")" \
		"hibernate EPERM"
	if grep -q memblock_reserve: "$WORK/$name.log"; then
		expect "reservations" "$(reservations "$name")" ""
	fi
}

moved_initrd() {
	[[ ${DEVMEM_ARCH:-} != arm64 ]] ||
		skip "on arm64 the EFI stub keeps the initrd away"
	booted node_debug
	grep -q 'device_coherent: initrd moved from' "$WORK/node_debug.log" ||
		fail "the initrd was not moved; it lies at the end of memory"
}

has_crash_kernel() {
	local name

	for name in node_debug carve_debug; do
		grep -q '^crash ' "$WORK/$name.out" ||
			fail "no crash kernel in $name"
	done
}

control() {
	booted ordinary
	grep -q '^segment ' <(intruders ordinary) ||
		fail "no kexec segment in an ordinary node's memory"
	[[ -n $(reservations ordinary) ]] ||
		fail "no reservation in an ordinary node's memory"
	! grep -q '^disk .*disabled' "$WORK/ordinary.out" ||
		fail "hibernation is disabled anyway"
}

host_test
NAMES=(node_debug node_kernelcore node_movablecore node_movable carve_debug
       carve carve_kernelcore)
# What memblock says of a debug kernel's boot is more than the log holds.
MEMBLOCK="memblock=debug log_buf_len=4M"
start node_debug "${BY_NODE[@]}" --append "$MEMBLOCK crashkernel=64M"
start node_kernelcore "${BY_NODE[@]}" --append kernelcore=50%
start node_movablecore "${BY_NODE[@]}" --append movablecore=64M
start node_movable "${ABOVE_4G[@]}" --append movable_node
start carve_debug "${CARVE_OUT[@]}" --append "$MEMBLOCK crashkernel=64M"
start carve "${CARVE_OUT[@]}"
start carve_kernelcore "${CARVE_OUT[@]}" --append kernelcore=60%
boot ordinary "${BY_NODE[@]}" --no-register --append "$MEMBLOCK" -- \
	bash -c ". '$DEVMEM_DIR/lib/devmem_lib.sh'; $REPORT" - "$DEVMEM_DIR" ""
ktap_print_header
ktap_set_plan $((${#NAMES[@]} + 3))
for BOOT in "${NAMES[@]}"; do
	eval "$BOOT() { check; }"
	run_test "$BOOT"
done
run_test moved_initrd
run_test has_crash_kernel
run_test control
ktap_finished
