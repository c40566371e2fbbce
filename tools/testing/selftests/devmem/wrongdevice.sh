#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 2, that device, or none: a request is served by the node that it
# names or fails, whatever the others have left. Two device nodes are needed.
#
# Proof that it can fail: control_* take the same pages in the allowed way and
# see them counted where they belong.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 2
need_testmod

after_test() {
	testmod free >/dev/null
}
A=${DEVICE_NODES[0]}
B=${DEVICE_NODES[1]}

control_each_serves_its_own() {
	expect_testmod 0 alloc "$A" 0 5
	expect_testmod 0 alloc "$B" 3 2
	expect "pages held of node $A" "$(held "$A")" 5
	expect "pages held of node $B" "$(held "$B")" 16
	expect "used pages of node $A" "$(node_used "$A")" 5
	expect "used pages of node $B" "$(node_used "$B")" 16
	expect_testmod 0 free
	expect_all_free
}

full_node_fails_alone() {
	local free kills order

	free=$(node_free "$B")
	kills=$(vmstat oom_kill)
	fill_up "$A"
	expect "free pages of node $A" "$(node_free "$A")" 0
	expect "pages held of node $A" "$(held "$A")" "$(node_managed "$A")"
	for order in 0 1 4 9 10; do
		expect_testmod ENOMEM alloc "$A" "$order" 1
		expect_testmod ENOMEM alloc "$A" "$order" 1 1
	done
	expect "free pages of node $B" "$(node_free "$B")" "$free"
	expect "pages held of node $B" "$(held "$B")" 0
	expect "pages held of system nodes" "$(held_elsewhere)" 0
	expect "OOM kills" "$(vmstat oom_kill)" "$kills"
}

control_full_node_does_not_stop_the_other() {
	expect_testmod 0 alloc "$B" 0 7
	expect "pages held of node $B" "$(held "$B")" 7
	expect_testmod 0 free
	expect_all_free
}

both_full() {
	fill_up "$A"
	fill_up "$B"
	expect_testmod ENOMEM alloc "$A" 0 1
	expect_testmod ENOMEM alloc "$B" 0 1
	expect "pages held of system nodes" "$(held_elsewhere)" 0
	expect_testmod 0 free
	expect_all_free
}

other_nodes_refuse() {
	local nid system

	read -ra system <<<"$(nodes_with cpu)"
	for nid in "${system[@]}" $((B + 1)) 63; do
		expect_testmod ENOMEM alloc "$nid" 0 1
		expect_testmod ENOMEM alloc "$nid" 9 1 1
	done
	expect "pages held of system nodes" "$(held_elsewhere)" 0
	expect_all_free
}

ids_that_no_node_has() {
	local nid

	for nid in 64 99 4096 -1; do
		expect_testmod "$([[ $nid == -1 ]] && echo EINVAL || echo ENOMEM)" \
			alloc "$nid" 0 1
	done
	expect_all_free
}

run_tests control_each_serves_its_own full_node_fails_alone \
	control_full_node_does_not_stop_the_other both_full \
	other_nodes_refuse ids_that_no_node_has
