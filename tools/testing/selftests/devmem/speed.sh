#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the firmware says of a node's speed (HMAT) is where programs look for it,
# for a device node as for any: in access0 and access1 of its folder, of memory that
# was there at boot and of memory that comes later. No memory tier has it all the
# same (invariant 1).
#
# Wants scripts/vm --hmat: a device node, and one without memory, declared at boot,
# with a memory module for it.
#
# Proof that it can fail: the node of the system is asked for the same, and has other
# figures.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

HOST=/dev/devmem-host
TIERS=/sys/devices/virtual/memory_tiering

need_root
[[ -w $HOST ]] || skip_all "needs scripts/vm --hotplug-mem"
[[ -e /sys/firmware/acpi/tables/HMAT ]] || skip_all "needs scripts/vm --hmat"
need_device_nodes 1
read -ra POSSIBLE <<<"$(expand_list "$(<"$NODE_DIR/possible")")"
COMES=${POSSIBLE[-1]}

# NID LATENCY BANDWIDTH: ns, MB/s
expect_speed() {
	local class dir

	for class in access0 access1; do
		dir=$NODE_DIR/node$1/$class/initiators
		[[ -d $dir ]] || fail "node $1 has no $class"
		expect "read_latency, $class" "$(<"$dir/read_latency")" "$2"
		expect "write_latency, $class" "$(<"$dir/write_latency")" "$2"
		expect "read_bandwidth, $class" "$(<"$dir/read_bandwidth")" "$3"
		[[ -e $dir/node0 ]] || fail "node 0 is no initiator of node $1"
	done
}

expect_in_no_tier() {
	local list

	for list in "$TIERS"/memory_tier*/nodelist; do
		! in_list "$1" "$(expand_list "$(<"$list")")" ||
			fail "node $1 is in $list"
	done
}

is_there() {
	in_list "$COMES" "$(nodes_with device_coherent)"
}

at_boot() {
	expect_speed "${DEVICE_NODES[0]}" 50 409600
	expect_in_no_tier "${DEVICE_NODES[0]}"
}

control_system_node() {
	local list tier=

	expect_speed 0 100 102400
	for list in "$TIERS"/memory_tier*/nodelist; do
		! in_list 0 "$(expand_list "$(<"$list")")" || tier=$list
	done
	[[ $tier ]] || fail "node 0 is in no tier"
}

comes_later() {
	[[ ! -e $NODE_DIR/node$COMES/access0 ]] || fail "there before the memory"
	plug_until 0 "$COMES" is_there
	# The tables are read when a block is online.
	expect_speed "$COMES" 50 409600
	expect_in_no_tier "$COMES"
}

run_tests at_boot control_system_node comes_later
