#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 7 when a device node has memory of two owners: what a driver added,
# and a memory module that the firmware plugs on the same node. The node is a
# device node as long as there is memory in its zone, whoever brought it and
# whoever leaves last; with the last of it everything is given back.
#
# Wants: two device nodes, registered at boot, and two memory modules of a block
# for the guest to plug (scripts/vm --hotplug-mem). The first node is for the
# sample driver to work in.
#
# Proof that it can fail: control_plain_node plugs a module on the same node when
# it isn't a device's, and there the memory is ordinary.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

HOST=/dev/devmem-host
MEMORY_DIR=/sys/devices/system/memory
RING=/sys/module/device_coherent_ring/parameters

need_root
[[ -w $HOST ]] || skip_all "needs scripts/vm --hotplug-mem"
need_device_nodes 2
need_testmod
NID=${DEVICE_NODES[-1]}
BLOCK=$((0x$(<$MEMORY_DIR/block_size_bytes)))
BLOCK_PAGES=$((BLOCK / PAGE_SIZE))
# The range that was added at boot
for link in "$NODE_DIR/node$NID"/memory[0-9]*; do
	FIRST=$((0x$(<"$link/phys_index")))
	break
done
DEVICE_PAGES=$(node_managed "$NID")
START=$((FIRST * BLOCK))
SIZE=$((DEVICE_PAGES * PAGE_SIZE))

managed_is() {
	[[ $(node_managed "$NID") == "$1" ]]
}

# INDEX PAGES: a module, and how much the node then has
plug() {
	plug_until "$1" "$NID" managed_is "$2"
}

unplug() {
	echo "unplug $1" >$HOST
	wait_for "without module $1" managed_is "$2"
}

# Blocks of the node that aren't in the range of the boot
module_blocks() {
	local link index

	for link in "$NODE_DIR/node$NID"/memory[0-9]*; do
		[[ -e $link ]] || continue
		index=$((0x$(<"$link/phys_index")))
		((index >= FIRST && index < FIRST + SIZE / BLOCK)) ||
			basename "$link"
	done
}

is_device_node() {
	in_list "$NID" "$(nodes_with device_coherent)"
}

expect_device_node() {
	is_device_node || fail "node $NID is not in has_device_coherent"
	! in_list "$NID" "$(nodes_with normal_memory)" ||
		fail "node $NID is in has_normal_memory"
	expect "zones of node $NID" "$(zone_names "$NID")" Coherent
	[[ -e $NODE_DIR/node$NID/device_coherent/make_room ]] ||
		fail "node $NID has no folder device_coherent"
	# The system's memory is the system's.
	(($(meminfo MemFree) <= $(meminfo MemTotal))) ||
		fail "MemFree $(meminfo MemFree), MemTotal $(meminfo MemTotal)"
	# Somebody who asks gets a page of it.
	expect_testmod 0 alloc "$NID" 0 10
	expect "pages held" "$(held "$NID")" 10
	expect "pages of other zones" "$(held_elsewhere)" 0
	expect_testmod 0 free
	"$DEVMEM_DIR/bound_fault" "$NID" 8 ||
		fail "a bound fault ended with $?"
}

node_gone() {
	[[ ! -e $NODE_DIR/node$NID ]]
}

expect_gone() {
	wait_for "node $NID gone" node_gone
	! is_device_node || fail "node $NID is in has_device_coherent"
	! in_list "$NID" "$(nodes_with memory)" ||
		fail "node $NID is in has_memory"
	expect_testmod ENOMEM alloc "$NID" 0 1
}

remove_device() {
	expect_testmod 0 remove "$NID" "$START" "$SIZE"
}

device_removed() {
	[[ $(testmod remove "$NID" "$START" "$SIZE") == 0 ]]
}

add_device() {
	expect_testmod 0 add "$NID" "$START" "$SIZE"
}

# As booted, whatever a test left
after_test() {
	testmod free >/dev/null
	echo "unplug 0" >$HOST
	echo "unplug 1" >$HOST
	rmmod device_coherent_ring 2>/dev/null || :
	(wait_for "no modules" no_modules) || :
	[[ -e $MEMORY_DIR/memory$FIRST ]] ||
		testmod add "$NID" "$START" "$SIZE" >/dev/null
}

no_modules() {
	[[ -z $(module_blocks) ]]
}

module_joins_the_zone() {
	plug 0 $((DEVICE_PAGES + BLOCK_PAGES))
	expect_device_node
	unplug 0 "$DEVICE_PAGES"
	expect_device_node
}

device_leaves_module_stays() {
	plug 0 $((DEVICE_PAGES + BLOCK_PAGES))
	echo move >"$NODE_DIR/node$NID/device_coherent/make_room"
	remove_device
	expect "pages of node $NID" "$(node_managed "$NID")" "$BLOCK_PAGES"
	expect_device_node
	expect make_room "$(<"$NODE_DIR/node$NID/device_coherent/make_room")" \
		"off [move] swap"
	add_device
	expect "pages of node $NID" "$(node_managed "$NID")" \
		$((DEVICE_PAGES + BLOCK_PAGES))
	expect_device_node
	echo off >"$NODE_DIR/node$NID/device_coherent/make_room"
}

# Offline, it is still there, and still the device's.
module_goes_offline() {
	local block

	plug 0 $((DEVICE_PAGES + BLOCK_PAGES))
	remove_device
	block=$(module_blocks)
	expect "offline $block" "$(write_errno "$MEMORY_DIR/$block/state" offline)" 0
	is_device_node || fail "node $NID is not in has_device_coherent"
	expect "valid_zones of $block" "$(<"$MEMORY_DIR/$block/valid_zones")" Coherent
	expect "online $block" "$(write_errno "$MEMORY_DIR/$block/state" online_movable)" 0
	expect_device_node
	expect "offline $block" "$(write_errno "$MEMORY_DIR/$block/state" offline)" 0
	add_device
	expect_testmod 0 alloc "$NID" 0 1
	expect_testmod 0 free
	expect "online $block" "$(write_errno "$MEMORY_DIR/$block/state" online_kernel)" 0
	expect_device_node
}

module_leaves_last() {
	modprobe device_coherent_ring commands=16
	plug 0 $((DEVICE_PAGES + BLOCK_PAGES))
	plug 1 $((DEVICE_PAGES + 2 * BLOCK_PAGES))
	remove_device
	unplug 0 "$BLOCK_PAGES"
	expect_device_node
	expect "nodes that went" "$(<$RING/nodes_removed)" 0
	unplug 1 0
	expect_gone
	wait_for "news of it" grep -qx 1 $RING/nodes_removed
	add_device
	expect "nodes that came" "$(<$RING/nodes_added)" 1
	expect "pages of node $NID" "$(node_managed "$NID")" "$DEVICE_PAGES"
	expect_device_node
	rmmod device_coherent_ring
}

control_plain_node() {
	remove_device
	expect_gone
	plug 0 "$BLOCK_PAGES"
	! is_device_node || fail "node $NID is in has_device_coherent"
	expect "zones of node $NID" "$(zone_names "$NID")" Normal
	expect_testmod EBUSY add "$NID" "$START" "$SIZE"
	unplug 0 0
	expect_gone
	add_device
	expect_device_node
}

# The firmware doesn't try again when a page of the module was held.
module_gone() {
	! node_gone || return 0
	echo "unplug 0" >$HOST
	sleep 1
	node_gone
}

# The node is a device node with all of its memory, or it isn't one with any.
expect_one_kind() {
	local zones

	zones=$(zone_names "$NID")
	case $zones in
	'') ;;
	Coherent) is_device_node || fail "zone Coherent, no device node" ;;
	*) ! is_device_node || fail "a device node with zones $zones" ;;
	esac
}

# Both at the same time, while others allocate and fault. Where the module comes
# when the device has gone, the node is an ordinary one, and refuses the device.
all_at_once() {
	local i asking answer plain=0

	while :; do
		testmod alloc "$NID" 0 10 >/dev/null
		testmod free >/dev/null
		"$DEVMEM_DIR/bound_fault" "$NID" 2 || :
	done 2>/dev/null &
	asking=$!
	for i in 0 1 2 3 4 5 6 7; do
		echo "plug 0 $NID" >$HOST
		sleep "0.$((i * 2))"
		# What somebody holds at that moment keeps the range.
		wait_for "remove" device_removed
		expect_one_kind
		answer=$(testmod add "$NID" "$START" "$SIZE")
		expect_one_kind
		if [[ $answer == EBUSY ]]; then
			plain=$((plain + 1))
			wait_for "module" managed_is "$BLOCK_PAGES"
			wait_for "node $NID gone" module_gone
			answer=$(testmod add "$NID" "$START" "$SIZE")
		else
			wait_for "module" \
				managed_is $((DEVICE_PAGES + BLOCK_PAGES))
			echo "unplug 0" >$HOST
			wait_for "remove" device_removed
			expect_one_kind
			wait_for "node $NID gone" module_gone
			answer=$(testmod add "$NID" "$START" "$SIZE")
		fi
		expect "add, round $i" "$answer" 0
		expect_one_kind
	done
	kill "$asking"
	wait "$asking" 2>/dev/null || :
	testmod free >/dev/null
	echo "# in $plain of 8 rounds the module came first"
	expect_device_node
	! dmesg | grep "allocation from offline node" ||
		fail "a request went to a node that had gone"
}

run_tests module_joins_the_zone device_leaves_module_stays \
	module_goes_offline module_leaves_last control_plain_node all_at_once
