#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 7, resizing is safe: whichever way a block of a device node goes
# offline and comes back, it is in the device's zone; a node comes and goes at
# run time and gives back everything; bad requests have their errno; memory in
# use stays. And invariant 1 for memory hot-removal: what leaves system memory
# goes to system memory.
#
# Wants: node 0 with at least 1 GB and the CPUs, a system node without CPUs, a
# device node of two blocks or more, and for the tests at run time
#   device_coherent=...,spare:1 memmap=256M$512M
# (on arm64 "scripts/vm --set-aside 256M" instead of memmap=) whose memory is what
# they add. The tests that have no such thing are skipped.
#
# Proof that it can fail: control_ordinary_node does to a system node's block
# what the others do to a device's, and there the zone does change.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

MEMORY_DIR=/sys/devices/system/memory
START=$(spare_start)
BLOCK_SIZE=$((0x$(<$MEMORY_DIR/block_size_bytes)))
printf -v SIZE %#x $((2 * BLOCK_SIZE))

need_root
need_device_nodes 1
need_testmod

after_test() {
	testmod free >/dev/null
}
NID=${DEVICE_NODES[0]}
BLOCK_PAGES=$((BLOCK_SIZE / PAGE_SIZE))
# Memory that is there already
read -r SYSTEM < <(blocks 0)
SYSTEM=$((0x$(<"$MEMORY_DIR/$SYSTEM/phys_index") * BLOCK_SIZE))

state_of() {
	cat "$MEMORY_DIR/$1/state"
}

# BLOCK STATE: prints the name of the error, or 0
set_state() {
	write_errno "$MEMORY_DIR/$1/state" "$2"
}

expect_state() {
	expect "writing $2 to $1" "$(set_state "$1" "$2")" 0
}

# SECONDS FILE TEXT: a write that may have to be interrupted
write_for() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout "$1" bash -c 'echo "$2" >"$1"' - "$2" "$3" 2>/dev/null
}

node_is_whole() {
	expect "zones of node $NID" "$(zone_names "$NID")" Coherent
	in_list "$NID" "$(nodes_with memory)" ||
		fail "node $NID is not in has_memory"
	in_list "$NID" "$(nodes_with device_coherent)" ||
		fail "node $NID is not in has_device_coherent"
	! in_list "$NID" "$(nodes_with normal_memory)" ||
		fail "node $NID is in has_normal_memory"
	expect_all_free
}

# MODE
block_returns() {
	local block managed

	managed=$(node_managed "$NID")
	for block in $(blocks "$NID"); do
		expect "valid_zones of $block" \
			"$(<"$MEMORY_DIR/$block/valid_zones")" Coherent
		expect_state "$block" offline
		expect "managed pages without $block" "$(node_managed "$NID")" \
			$((managed - BLOCK_PAGES))
		expect "valid_zones of $block, offline" \
			"$(<"$MEMORY_DIR/$block/valid_zones")" Coherent
		expect_state "$block" "$1"
		expect "state of $block" "$(state_of "$block")" online
		expect "managed pages" "$(node_managed "$NID")" "$managed"
		node_is_whole
	done
}

online() { block_returns online; }
online_kernel() { block_returns online_kernel; }
online_movable() { block_returns online_movable; }

control_ordinary_node() {
	local block nid seen=

	for nid in $(nodes_with normal_memory); do
		((nid > 0)) || continue
		for block in $(blocks "$nid"); do
			[[ $(set_state "$block" offline) == 0 ]] || continue
			expect_state "$block" online_movable
			seen=$(<"$MEMORY_DIR/$block/valid_zones")
			expect_state "$block" offline
			expect_state "$block" online_kernel
			break 2
		done
	done
	[[ -n $seen || $(uname -m) != aarch64 ]] ||
		skip "memory of boot can't go offline on arm64"
	[[ -n $seen ]] || skip "no block of a system node goes offline"
	expect "zone of that block" "$seen" Movable
}

last_block_takes_the_node() {
	local all block last i

	mapfile -t all < <(blocks "$NID")
	last=${all[-1]}
	for block in "${all[@]}"; do
		in_list "$NID" "$(nodes_with memory)" ||
			fail "node $NID left has_memory before $block went"
		expect_state "$block" offline
	done
	! in_list "$NID" "$(nodes_with memory)" ||
		fail "node $NID is in has_memory without memory"
	expect "pages of node $NID" "$(node_managed "$NID")" 0
	expect_testmod ENOMEM alloc "$NID" 0 1
	for ((i = ${#all[@]} - 1; i >= 0; i--)); do
		expect_state "${all[i]}" online_movable
		in_list "$NID" "$(nodes_with memory)" ||
			fail "node $NID did not return to has_memory"
	done
	node_is_whole
	expect_testmod 0 alloc "$NID" 0 10
	expect "pages held" "$(held "$NID")" 10
	: "$last"
}

used_block_stays() {
	local block managed

	managed=$(node_managed "$NID")
	fill_up "$NID"
	for block in $(blocks "$NID"); do
		! write_for 5 "$MEMORY_DIR/$block/state" offline ||
			fail "$block went offline though its pages are in use"
		expect "state of $block" "$(state_of "$block")" online
	done
	expect "managed pages" "$(node_managed "$NID")" "$managed"
	expect "pages held" "$(held "$NID")" "$managed"
	expect_testmod 0 free
	expect_all_free
	block_returns online
}

system_memory_goes_to_system_memory() {
	local nid=0 dir sum block moved=0 pgalloc

	for nid in $(nodes_with normal_memory); do
		((nid == 0)) || break
	done
	((nid > 0)) || skip "needs a second system node"
	[[ $(uname -m) != aarch64 ]] ||
		skip "memory of boot can't go offline on arm64"
	pgalloc=$(vmstat pgalloc_coherent)
	dir=$(mktemp -d)
	mount -t tmpfs -o "mpol=bind:$nid" devmem "$dir"
	head -c 96M /dev/urandom >"$dir/file"
	sum=$(md5sum <"$dir/file")
	for block in $(blocks "$nid"); do
		! write_for 20 "$MEMORY_DIR/$block/state" offline ||
			moved=$((moved + 1))
	done
	expect "content that moved" "$(md5sum <"$dir/file")" "$sum"
	expect_all_free
	expect pgalloc_coherent "$(vmstat pgalloc_coherent)" "$pgalloc"
	umount "$dir"
	for block in $(blocks "$nid"); do
		[[ $(state_of "$block") == online ]] || expect_state "$block" online
	done
	((moved > 0)) || fail "no block of node $nid could go offline"
	echo "# $moved blocks of node $nid went offline"
}

# An id without memory that the kernel set aside, and the range to add
need_spare() {
	SPARE=$(tr -d '\n' <"$NODE_DIR/possible")
	for SPARE in $(expand_list "$SPARE"); do
		[[ -e $NODE_DIR/node$SPARE ]] || break
	done
	if [[ -e $NODE_DIR/node$SPARE ]] ||
		[[ -z $START ]]; then
		skip "needs device_coherent=spare:1 and the memory set aside"
	fi
}

# In a range "System RAM (device_coherent)", which may be that of the node before, too
in_iomem() {
	local range

	while read -r range; do
		((0x${range%-*} > START || 0x${range#*-} < START)) || return 0
	done < <(sed -n 's/ *: .*(device_coherent)$//p' /proc/iomem)

	return 1
}

expect_gone() {
	[[ ! -e $NODE_DIR/node$SPARE ]] || fail "node $SPARE is in sysfs"
	! in_list "$SPARE" "$(nodes_with device_coherent)" ||
		fail "node $SPARE is in has_device_coherent"
	! in_list "$SPARE" "$(nodes_with memory)" ||
		fail "node $SPARE is in has_memory"
	! in_iomem || fail "the range is in iomem"
}

comes_and_goes() {
	local i free slack

	need_spare
	for i in 0 1 2 3 4 5; do
		expect_testmod 0 add "$SPARE" "$START" "$SIZE"
		expect "zones of node $SPARE" "$(zone_names "$SPARE")" Coherent
		expect "its pages" "$(node_managed "$SPARE")" $((SIZE / PAGE_SIZE))
		in_list "$SPARE" "$(nodes_with device_coherent)" ||
			fail "node $SPARE is not in has_device_coherent"
		in_iomem || fail "the range is not in iomem"
		expect_testmod 0 alloc "$SPARE" 9 4
		expect "pages held" "$(held "$SPARE")" 2048
		expect_testmod 0 free
		expect_testmod 0 remove "$SPARE" "$START" "$SIZE"
		expect_gone
		# The first round leaves the node's structures in place.
		((i > 0)) || free=$(system_free)
	done
	slack=$((free - $(system_free)))
	((slack < 1024)) || fail "$slack kB of system memory did not come back"
	echo "# $slack kB less of system memory after five rounds more"
}

two_ranges() {
	local half=$((SIZE / 2))

	need_spare
	expect_testmod 0 add "$SPARE" "$START" "$half"
	expect_testmod 0 add "$SPARE" $((START + half)) "$half"
	expect "its pages" "$(node_managed "$SPARE")" $((SIZE / PAGE_SIZE))
	expect_testmod ENOENT remove "$SPARE" "$START" "$SIZE"
	expect_testmod 0 remove "$SPARE" "$START" "$half"
	expect "its pages" "$(node_managed "$SPARE")" $((half / PAGE_SIZE))
	expect_testmod ENOENT remove "$SPARE" "$START" "$half"
	expect_testmod 0 remove "$SPARE" $((START + half)) "$half"
	expect_gone
}

# A driver hears of a node, not of each of its ranges.
driver_hears_of_it() {
	local half=$((SIZE / 2)) ring=/sys/module/device_coherent_ring/parameters

	need_spare
	modprobe device_coherent_ring commands=16 ||
		skip "no module device_coherent_ring"
	expect_testmod 0 add "$SPARE" "$START" "$half"
	expect "nodes that came" "$(<$ring/nodes_added)" 1
	expect_testmod 0 add "$SPARE" $((START + half)) "$half"
	expect_testmod 0 remove "$SPARE" "$START" "$half"
	expect_testmod EEXIST add "$SPARE" "$SYSTEM" "$SIZE"
	expect "nodes that came" "$(<$ring/nodes_added)" 1
	expect "nodes that went" "$(<$ring/nodes_removed)" 0
	expect_testmod 0 remove "$SPARE" $((START + half)) "$half"
	expect "nodes that went" "$(<$ring/nodes_removed)" 1
	rmmod device_coherent_ring
	expect_gone
}

bad_requests() {
	local system=0

	need_spare
	expect_testmod EINVAL add "$system" "$START" "$SIZE"
	expect_testmod EINVAL add 64 "$START" "$SIZE"
	expect_testmod EINVAL add 63 "$START" "$SIZE"
	expect_testmod EINVAL add "$SPARE" $((START + PAGE_SIZE)) "$SIZE"
	expect_testmod EINVAL add "$SPARE" "$START" $((SIZE - PAGE_SIZE))
	expect_testmod EINVAL add "$SPARE" "$START" 0
	expect_testmod EINVAL add "$SPARE" "$START" "$SIZE" 0x80
	expect_testmod EINVAL add "$SPARE" 0xfffffffff8000000 "$SIZE"
	expect_testmod ERANGE add "$SPARE" 0x8000000000000000 "$SIZE"
	expect_testmod EEXIST add "$SPARE" "$SYSTEM" "$SIZE"
	for system in $(nodes_with normal_memory); do
		((system == 0)) ||
			expect_testmod EBUSY add "$system" "$START" "$SIZE"
	done
	expect_testmod ENOENT remove "$SPARE" "$START" "$SIZE"
	expect_gone
	expect_testmod 0 add "$SPARE" "$START" "$SIZE"
	expect_testmod EEXIST add "$SPARE" "$START" "$SIZE"
	expect_testmod ENOENT remove "$SPARE" "$START" $((SIZE / 2))
	expect_testmod ENOENT remove "$NID" "$START" "$SIZE"
	expect "its pages" "$(node_managed "$SPARE")" $((SIZE / PAGE_SIZE))
	expect_testmod 0 remove "$SPARE" "$START" "$SIZE"
	expect_gone
}

# MOVABLE: a driver's page, and one that only seems to be able to move
held_page_keeps_the_range() {
	need_spare
	expect_testmod 0 add "$SPARE" "$START" "$SIZE"
	expect_testmod 0 alloc "$SPARE" 0 1 "$1"
	! write_for 5 "$TESTMOD/command" "remove $SPARE $START $SIZE" ||
		fail "the range went though a page is in use"
	expect "its pages" "$(node_managed "$SPARE")" $((SIZE / PAGE_SIZE))
	expect "pages held" "$(held "$SPARE")" 1
	expect_testmod 0 alloc "$SPARE" 0 100
	expect_testmod 0 free
	expect_testmod 0 remove "$SPARE" "$START" "$SIZE"
	expect_gone
}

removal_of_held_page_fails() { held_page_keeps_the_range 0; }
removal_of_stuck_page_is_interrupted() { held_page_keeps_the_range 1; }

run_tests online online_kernel online_movable control_ordinary_node \
	last_block_takes_the_node used_block_stays \
	system_memory_goes_to_system_memory comes_and_goes two_ranges \
	driver_hears_of_it \
	bad_requests removal_of_held_page_fails \
	removal_of_stuck_page_is_interrupted
