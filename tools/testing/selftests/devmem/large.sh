#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device of 64 GB comes and goes at run time: invariant 7, of a size that takes
# its time. Meanwhile others get the hotplug lock, no CPU is kept for long (soft
# lockup detector on), and no task waits for long (hung task detector).
#
# Wants
#   device_coherent=spare:2 memmap=64G$4G memory_hotplug.memmap_on_memory=1
# (on arm64 "scripts/vm --set-aside 64G" instead of memmap=) and memory there, which
# only has to hold the page structures (1 GB of it).
#
# Proof that it can fail: control_in_one_piece adds 16 GB as memory of the system, all
# of it with the lock held, and that is how long the wait is then.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

START=$(spare_start)
SIZE=0x1000000000
ON_DEVICE=1
WAITS=/tmp/devmem-waits
POLICY=/sys/devices/system/memory/auto_online_blocks

need_root
need_testmod
grep -qE 'memmap=(64G|65536M)\$' /proc/cmdline ||
	skip_all "needs memmap=64G\$4G"
[[ -w /proc/sys/kernel/soft_watchdog ]] ||
	skip_all "needs CONFIG_SOFTLOCKUP_DETECTOR"
read -ra POSSIBLE <<<"$(expand_list "$(<"$NODE_DIR/possible")")"
NID=${POSSIBLE[-1]}
OTHER=${POSSIBLE[-2]}
BLOCK=0x$(</sys/devices/system/memory/block_size_bytes)
echo 1 >/proc/sys/kernel/soft_watchdog
echo 5 >/proc/sys/kernel/watchdog_thresh
echo 15 >/proc/sys/kernel/hung_task_timeout_secs

now_ms() {
	local t=${EPOCHREALTIME/./}

	echo $((t / 1000))
}

# Somebody who wants the hotplug lock again and again notes the longest wait in ms.
start_waiting() {
	(
		trap 'exit 0' TERM
		longest=0
		n=0
		echo "0 0" >$WAITS
		while :; do
			begin=$(now_ms)
			# It is, which is found out with the lock held.
			echo online >/sys/devices/system/memory/memory0/state \
				2>/dev/null || :
			took=$(($(now_ms) - begin))
			((took <= longest)) || longest=$took
			n=$((n + 1))
			echo "$longest $n" >$WAITS.new
			mv $WAITS.new $WAITS
		done
	) &
	WAITER=$!
	sleep 0.2
}

# Sets WAITED, ROUNDS
stop_waiting() {
	sleep 0.2
	kill "$WAITER"
	wait "$WAITER" 2>/dev/null || :
	read -r WAITED ROUNDS <$WAITS
}

control_in_one_piece() {
	local begin took policy

	policy=$(<$POLICY)
	echo online_movable >$POLICY
	start_waiting
	begin=$(now_ms)
	expect_testmod 0 plug "$NID" "$START" $((SIZE / 4))
	took=$(($(now_ms) - begin))
	stop_waiting
	echo "$policy" >$POLICY
	echo "# $took ms for 16 GB; waited for $WAITED ms at most"
	expect_testmod 0 unplug "$START" $((SIZE / 4))
	((WAITED * 4 > took)) || fail "waited for $WAITED of $took ms"
}

# A gigabyte of page structures, and less of it: refused before anything is there.
no_room_for_page_structures() {
	local before

	(($(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) < SIZE >> 16)) ||
		skip "needs less than 1 GB of system memory"
	before=$(grep -v '^ ' /proc/iomem; cat "$NODE_DIR"/has_*)
	expect_testmod ENOMEM add "$NID" "$START" $SIZE
	expect "resources and nodes" \
		"$(grep -v '^ ' /proc/iomem; cat "$NODE_DIR"/has_*)" "$before"
	dmesg | grep "1024 MB of page structures don't fit into" >/dev/null ||
		fail "not a word on why"
	# All of it is still to be had.
	expect_testmod 0 add "$NID" "$START" $((4 << 30))
	expect_testmod 0 remove "$NID" "$START" $((4 << 30))
}

# A block in the third piece is another device's: what was added goes again, in
# pieces, and nobody can tell that it was there (invariant 8).
third_piece_fails() {
	local before

	expect_testmod 0 add "$OTHER" $((START + (5 << 30))) "$BLOCK"
	before=$(grep -v '^ ' /proc/iomem; cat "$NODE_DIR"/has_*)
	for _ in {1..4}; do
		expect_testmod EEXIST add "$NID" "$START" $((6 << 30)) $ON_DEVICE
		[[ ! -e $NODE_DIR/node$NID ]] || fail "node $NID is there"
		expect "resources and nodes" \
			"$(grep -v '^ ' /proc/iomem; cat "$NODE_DIR"/has_*)" "$before"
	done
	expect_testmod 0 remove "$OTHER" $((START + (5 << 30))) "$BLOCK"
	# The pieces below are free for another device.
	expect_testmod 0 add "$OTHER" "$START" $((4 << 30)) $ON_DEVICE
	expect_testmod 0 remove "$OTHER" "$START" $((4 << 30))
}

comes() {
	local begin took

	start_waiting
	begin=$(now_ms)
	expect_testmod 0 add "$NID" "$START" $SIZE $ON_DEVICE
	took=$(($(now_ms) - begin))
	stop_waiting
	echo "# $took ms for 64 GB; somebody else had the lock $ROUNDS times," \
		"and waited for $WAITED ms at most"
	((WAITED * 4 < took)) || fail "waited for $WAITED of $took ms"
	((ROUNDS >= 8)) || fail "had the lock $ROUNDS times"
	expect "zones of node $NID" "$(zone_names "$NID")" Coherent
	(($(node_managed "$NID") > 62 << 18)) ||
		fail "$(node_managed "$NID") pages"
	expect "resources" \
		"$(grep -c 'System RAM (device_coherent)' /proc/iomem)" 1
}

# Each block begins with its own page structures.
most_of_a_block() {
	expect_testmod 0 contig "$NID" 16384 16384
	expect_testmod 0 free
}

goes() {
	local begin

	begin=$(now_ms)
	expect_testmod 0 remove "$NID" "$START" $SIZE
	echo "# $(($(now_ms) - begin)) ms"
	[[ ! -e $NODE_DIR/node$NID ]] || fail "node $NID is still there"
}

run_tests control_in_one_piece no_room_for_page_structures third_piece_fails \
	comes most_of_a_block goes
