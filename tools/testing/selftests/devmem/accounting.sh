#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 3, never in the way: boots once with a device node and once with
# that memory absent (by mem=, since the firmware keeps pages for itself at the
# end of memory, which in a smaller machine would be node 0's), and compares
# what state.sh reports: watermarks, reserves, fallback order, dirty limits, hash
# sizes, /proc/meminfo, defaults. And in the machine with the device node: the
# same again while the node is full. Runs on the host.
#
# What differs, and by how much at most:
#  - A second node costs its structures (pg_data_t and its like) at boot:
#    MemTotal, the zones' managed pages and what is computed from these may be
#    lower by NODE_KB.
#  - Page structures of hot-added memory come from system memory: MemFree and
#    MemAvailable are lower by 64 bytes for each of its pages. MemTotal isn't.
#  - KASAN has a shadow for the device's memory from boot on, if it is there. So
#    a debug kernel is only asked whether a full node differs from an empty one.
#  - Two boots never have the same MemFree; NOISE_KB.
#
# Proof that it can fail: "control" compares with a machine that has the same
# memory as an ordinary node, and wants the differences.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

DEVICE_MB=512
NODE_KB=1024
NOISE_KB=3072
# Bytes in the module's list for each page it holds, at most
ENTRY=32
# By so much the dirty limits of a full node may differ, as free memory does
DIRTY_KB=2400
if debug_kernel; then
	ENTRY=256
	DIRTY_KB=20480
fi

host_test

# NAME PREFIX: the value of that line in the report of a boot
value() {
	awk -v name="$2" '$1 == name { print $2 }' "$WORK/$1.out"
}

# NAME: what may differ, in the unit of the line
tolerance() {
	local memmap=$((DEVICE_MB * 1024 * 64 / PAGE_SIZE)) rounded=0

	if [[ ${DEVMEM_ARCH:-} == arm64 ]]; then
		# And tables of the linear map, which is made of single pages; and
		# "absent" has no second node, so that pages may differ by some.
		memmap=$((memmap + DEVICE_MB * 1024 / 512))
		rounded=$((NODE_KB / PAGE_KB / 8))
	fi
	case $1 in
	meminfo.MemTotal) echo "$NODE_KB" ;;
	meminfo.MemFree | meminfo.MemAvailable)
		echo $((memmap + NODE_KB + NOISE_KB)) ;;
	meminfo.CommitLimit) echo "$NODE_KB" ;;
	*.managed) echo $((NODE_KB / PAGE_KB)) ;;
	vmstat.nr_dirty*) echo $(((memmap + NODE_KB + NOISE_KB) / PAGE_KB / 5)) ;;
	tmpfs.*) echo $((NODE_KB / PAGE_KB / 2)) ;;
	*.min | *.low | *.high) echo 4 ;;
	sysctl.vm.user_reserve_kbytes)
		echo $(((memmap + NODE_KB + NOISE_KB) / 32)) ;;
	sysctl.vm.min_free_kbytes) echo 8 ;;
	sysctl.*threads-max) echo 16 ;;
	sysctl.net.ipv4.*_mem) echo "$rounded" ;;
	sysctl.fs.file-max | sysctl.fs.*watches) echo 256 ;;
	*) echo 0 ;;
	esac
}

# NAME A B
compare() {
	local by=0 i a b

	by=$(tolerance "$1")
	if [[ $by != 0 && $2 =~ ^[0-9,]+$ && $3 =~ ^[0-9,]+$ ]]; then
		IFS=, read -ra a <<<"$2"
		IFS=, read -ra b <<<"$3"
		for i in "${!b[@]}"; do
			expect_near "$1" "${a[i]:--1}" "${b[i]}" "$by"
		done
	else
		expect "$1" "$2" "$3"
	fi
}

with_and_without() {
	local a b

	a=$(value device "$LINE")
	b=$(value absent "$LINE")
	compare "$LINE" "$a" "$b"
}

# In one machine: nothing but noise may differ
full_and_empty() {
	local a b

	a=$(value device "full.$LINE")
	b=$(value device "empty.$LINE")
	if [[ $LINE == meminfo.MemFree || $LINE == meminfo.MemAvailable ]]; then
		expect_near "$LINE" "$a" "$b" \
			$(($(value device list.pages) * ENTRY / 1024 + NOISE_KB))
	elif [[ $LINE == vmstat.nr_dirty* ]]; then
		expect_near "$LINE" "$a" "$b" "$((DIRTY_KB / PAGE_KB))"
	else
		expect "$LINE" "$a" "$b"
	fi
}

# The same memory as an ordinary node is seen by the comparison.
control() {
	local line found=0

	for line in meminfo.MemTotal meminfo.CommitLimit boot.fallback_node0 \
		tmpfs.blocks sysctl.kernel.numa_balancing; do
		if (compare "$line" "$(value ordinary "$line")" \
			"$(value absent "$line")" >/dev/null); then
			echo "# $line is the same"
		else
			found=$((found + 1))
		fi
	done
	expect "lines that differ" "$found" 5
}

ABSENT=(--device-mem "${DEVICE_MB}M" --no-register --append mem=1G)
# There mem= counts what the firmware keeps, and it keeps nothing at the end.
[[ ${DEVMEM_ARCH:-} != arm64 ]] || ABSENT=(--device-mem 0)
boot device --mem 1G --device-mem "${DEVICE_MB}M" --append nokaslr -- \
	"$DEVMEM_DIR/lib/state.sh" full
boot absent --mem 1G "${ABSENT[@]}" --append nokaslr -- \
	"$DEVMEM_DIR/lib/state.sh"
boot ordinary --mem 1G --device-mem "${DEVICE_MB}M" --no-register \
	--append nokaslr -- "$DEVMEM_DIR/lib/state.sh"
for machine in device absent ordinary; do
	(booted "$machine") || exit 1
done
mapfile -t LINES < <(awk '!/^(full|empty|list)\./ { print $1 }' "$WORK/absent.out")
mapfile -t LATER < <(printf '%s\n' "${LINES[@]}" | grep -vE '^boot\.(min|low|high)$')
ktap_print_header
! debug_kernel || LINES=()
ktap_set_plan $((${#LINES[@]} + ${#LATER[@]} + 1))
for LINE in "${LINES[@]}"; do
	eval "with.$LINE() { with_and_without; }"
	run_test "with.$LINE"
done
for LINE in "${LATER[@]}"; do
	eval "full.$LINE() { full_and_empty; }"
	run_test "full.$LINE"
done
run_test control
ktap_finished
