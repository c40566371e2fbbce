#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What drivers get of a device node: contiguous ranges of any size up to the
# whole node, pools of small pieces, and the sample driver that uses both.
# Invariant 5, nothing lost: a range displaces pages that can be moved, and one
# that can't be had displaces none; what is freed is free. Invariant 2: that
# device, or none.
#
# Proof that it can fail: a page that can't be moved, in the middle of the node,
# makes the range of the whole node fail that was there without it.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

RING=/sys/module/device_coherent_ring/parameters

need_root
need_device_nodes 2
need_testmod
NID=${DEVICE_NODES[0]}
OTHER=${DEVICE_NODES[1]}
MANAGED=$(node_managed "$NID")

# shellcheck disable=SC2317 # called by run_test
after_test() {
	[[ ! -d $RING ]] || rmmod device_coherent_ring || :
	testmod free >/dev/null
	end_tasks
}

# MB: a task with that much memory on the device
tenant() {
	local out

	out=$(mktemp)
	start_task "$out" "$DEVMEM_DIR/pressure_task" hold tenant 0 "$NID" "$1"
	rm "$out"
	TENANT=$!
}

whole_node() {
	expect_testmod 0 contig "$NID" "$MANAGED" 1
	expect "held pages" "$(held "$NID")" "$MANAGED"
	expect "used pages" "$(node_used "$NID")" "$MANAGED"
	expect "used pages of the other device" "$(node_used "$OTHER")" 0
	expect_testmod ENOMEM contig "$NID" 1 1
	expect_testmod 0 free
	expect_all_free
}

# No more than was asked for; the module looks at the alignment.
sizes() {
	local pages align total=0

	for pages in 1 2 3 511 512 513 1000 1024 1025 4097; do
		for align in 1 64 512 4096; do
			expect_testmod 0 contig "$NID" $pages $align
			expect_testmod 0 free
			expect_testmod 0 contig "$NID" $pages 1
			expect_testmod 0 contig "$NID" $pages $align
			total=$((2 * pages))
			expect "used pages" "$(node_used "$NID")" $total
			expect_testmod 0 free
		done
	done
	expect_all_free
}

refused() {
	expect_testmod EINVAL contig "$NID" 0 1
	expect_testmod ENOMEM contig "$NID" $((MANAGED + 1)) 1
	expect_testmod ENOMEM contig "$NID" $((1 << 52)) 1
	expect_testmod ENOMEM contig "$NID" 0xffffffffffffffff 4096
	expect_testmod ENOMEM contig "$NID" 1 $((1 << 40))
	expect_testmod ENODEV contig 0 1 1
	expect_testmod ENODEV contig 60 1 1
	expect_testmod EINVAL contig "$NID" 1 3
	expect_all_free
}

# What somebody has there gives way, to system memory if it has to.
displaces() {
	local half=$((MANAGED / 2)) before

	tenant $((MANAGED * 3 * PAGE_KB / 4 >> 10))
	before=$(vmstat coherent_displaced)
	expect_testmod 0 contig "$NID" $half 1
	(($(vmstat coherent_displaced) - before >= MANAGED / 4)) ||
		fail "$(vmstat coherent_displaced) - $before pages displaced"
	expect_testmod 0 free
	expect_testmod 0 contig "$NID" "$MANAGED" 1
	kill -0 "$TENANT" || fail "the tenant has ended"
}

# An obstacle in the middle: nothing moves for what can't be had.
obstacle() {
	local before half=$((MANAGED / 2))

	# Two ranges, of which the first is freed: the other is in the middle.
	expect_testmod 0 contig "$NID" $half 1
	expect_testmod 0 contig "$NID" 1 1
	expect "held pages" "$(held "$NID")" $((half + 1))
	tenant 32
	before="$(vmstat coherent_displaced) $(vmstat coherent_moved_out)"
	expect_testmod ENOMEM contig "$NID" $((MANAGED - half)) 1
	expect_testmod ENOMEM contig "$NID" $((MANAGED - 1)) 1
	expect "pages that moved" \
		"$(vmstat coherent_displaced) $(vmstat coherent_moved_out)" \
		"$before"
	expect_testmod 0 contig "$NID" $((MANAGED / 4)) 1
}

sample() {
	modprobe device_coherent_ring node="$NID" commands=2000
	expect "node" "$(<$RING/node)" "$NID"
	expect "used pages" "$(node_used "$NID")" 80
	expect "used pages of the other device" "$(node_used "$OTHER")" 0
	"$DEVMEM_DIR/audit" || fail "audit"
	rmmod device_coherent_ring
	expect_all_free

	modprobe device_coherent_ring
	expect "the node that it takes" "$(<$RING/node)" "$NID"
	rmmod device_coherent_ring
}

# NODE: it doesn't load there, and leaves nothing behind
no_sample() {
	! modprobe device_coherent_ring node="$1" 2>/dev/null ||
		fail "it took node $1"
	[[ ! -d $RING ]] || fail "it is there"
}

sample_refused() {
	no_sample 0
	no_sample 60
	fill_up "$NID"
	no_sample "$NID"
	expect_testmod 0 free
	expect_all_free
	# Room for the pool, and not for the buffers
	expect_testmod 0 contig "$NID" $((MANAGED - 40)) 1
	no_sample "$NID"
	expect_testmod 0 free
	expect_all_free
}

run_tests whole_node sizes refused displaces obstacle sample sample_refused
