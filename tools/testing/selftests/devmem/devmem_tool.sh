#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# devmem(1) on a machine with two device nodes: what it prints is what /proc and
# /sys say, and it leaves nothing behind. And the examples of
# Documentation/userspace-api/devmem.rst, which must do what they are there for;
# and the kernel's own test of heaps.
#
# Proof that it can fail: each expectation is of a number that the test itself
# made, by memory that it put there; "nothing_there" wants it to say what is
# missing where there is no device node.
set -euo pipefail
# shellcheck source=devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/devmem_lib.sh"

need_root
need_device_nodes 2
NID=${DEVICE_NODES[0]}
OTHER=${DEVICE_NODES[1]}
TOOL=$DEVMEM_DIR/devmem
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
[[ -x $TOOL ]] || skip_all "no $TOOL"

# shellcheck disable=SC2317 # called by run_test
after_test() {
	end_tasks
	pkill -x devmem || :
}

# MB: a task with that much memory on a system node
tenant() {
	local out

	out=$(mktemp)
	start_task "$out" "$DEVMEM_DIR/pressure_task" hold tenant 0 0 "$1"
	rm "$out"
	TENANT=$!
}

# EXPRESSION: of the JSON in $OUT, as Python sees it ("d")
json() {
	python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' \
		"$OUT" "$1"
}

# STATUS COMMAND...: runs devmem; its output in $OUT
run_tool() {
	local rc=0

	"$TOOL" "${@:2}" >"$OUT" 2>&1 || rc=$?
	[[ $rc == "$1" ]] || fail "devmem ${*:2}: status $rc, not $1: $(tail -n 3 "$OUT")"
}

list() {
	local managed

	managed=$(node_managed "$NID")
	run_tool 0 list
	grep -q "^ *\(node \)\?$NID\b" "$OUT" || fail "no node $NID: $(cat "$OUT")"
	! LC_ALL=C grep -q $'\x1b' "$OUT" || fail "colours in a pipe"
	run_tool 0 list --json
	expect nodes "$(json 'len(d["nodes"])')" 2
	expect size "$(json 'd["nodes"][0]["size"]')" $((managed * 4096))
	expect free "$(json 'd["nodes"][0]["free"]')" $((managed * 4096))
}

alloc() {
	local pid

	run_tool 0 alloc --size 16M --contiguous --node "$NID" --exact --verify
	expect_all_free
	"$TOOL" alloc --size 16M --node "$OTHER" --exact --hold >"$OUT" 2>&1 &
	pid=$!
	for _ in {1..600}; do
		(($(node_used "$OTHER") < 4096)) || break
		sleep 0.1
	done
	expect "used pages" "$(node_used "$OTHER")" 4096
	kill -TERM $pid
	wait $pid || :
	expect_all_free
	run_tool 1 alloc --size 1T --node "$NID" --exact
	grep -qi "memory\|room" "$OUT" || fail "$(cat "$OUT")"
	run_tool 2 alloc --size 12Q
}

run() {
	run_tool 0 run --node "$NID" -- sh -c \
		"grep -q 'bind:$NID' /proc/self/numa_maps && echo bound"
	grep -q bound "$OUT" || fail "$(cat "$OUT")"
	run_tool 7 run --node "$NID" -- sh -c 'exit 7'
	run_tool 127 run --node "$NID" -- /nonexistent
	run_tool 125 run --node 0 -- true
}

migrate_and_show() {
	tenant 16
	run_tool 0 migrate --pid "$TENANT" --to "$NID"
	(($(node_used "$NID") >= 4096)) || fail "only $(node_used "$NID") pages moved"
	run_tool 0 show --json "$TENANT"
	(($(json 'd["device"]') >= 4096)) || fail "show sees $(json 'd["device"]')"
	run_tool 0 show "$TENANT"
	grep -q D "$OUT" || fail "$(cat "$OUT")"
	run_tool 0 top --count 1 --interval 0.2
	grep -q "16M .* tenant$" "$OUT" || fail "$(cat "$OUT")"
	run_tool 0 migrate --pid "$TENANT" --to system
	expect_all_free
	run_tool 1 migrate --pid 1 --to 60
	run_tool 1 migrate --pid 999999 --to "$NID"
	run_tool 1 show 999999
}

usage() {
	run_tool 0 --help
	run_tool 2
	run_tool 2 frobnicate
	run_tool 2 list --frobnicate
	for command in list run migrate show alloc top; do
		run_tool 0 $command --help
		grep -q "^Usage: devmem $command" "$OUT" || fail "$(head -n 1 "$OUT")"
	done
}

# shellcheck disable=SC2317 # called by run_tests
examples() {
	"$DEVMEM_DIR/example_alloc" >"$OUT"
	grep -qx "16 MB, contiguous, of node [0-9]*" "$OUT" || fail "$(cat "$OUT")"
	"$DEVMEM_DIR/example_migrate" >"$OUT" 2>/dev/null
	grep -qx "moved 8192 pages; .*" "$OUT" || fail "$(cat "$OUT")"
	timeout 60 "$DEVMEM_DIR/example_room" "$NID" >"$OUT"
	grep -qx "64 MB are free on node $NID" "$OUT" || fail "$(cat "$OUT")"
	"$TOOL" alloc --size 96M --node "$NID" --exact --hold >/dev/null 2>&1 &
	for _ in {1..600}; do
		(($(node_used "$NID") < 24576)) || break
		sleep 0.1
	done
	! timeout 1 "$DEVMEM_DIR/example_room" "$NID" >/dev/null ||
		fail "room on a full node"
	kill -TERM $!
	wait $! || :
	expect_all_free
}

# The kernel's own test takes every heap that it finds, and has vgem, a driver,
# import buffers, if it is there.
heaps() {
	local nid heap

	[[ -d /dev/dma_heap ]] || skip "no /dev/dma_heap (CONFIG_DMABUF_HEAPS)"
	"$DEVMEM_DIR/dmabuf-heap" >"$OUT" 2>&1 || fail "$(grep "not ok" "$OUT")"
	for nid in "$NID" "$OTHER"; do
		heap=devmem-node$nid
		grep -q "Testing heap: $heap" "$OUT" || fail "no $heap"
		sed -n "/Testing heap: $heap/,/Testing heap/p" "$OUT" |
			grep -q "^ok" || fail "$heap was not tested: $(cat "$OUT")"
	done
	! grep -q "^not ok" "$OUT" || fail "$(grep "not ok" "$OUT")"
	[[ ! -e /dev/dri/card0 ]] || ! grep "vgem" "$OUT" || fail "no import"
	sed 's/^/# /' "$OUT"
	expect_all_free
}

run_tests heaps list alloc run migrate_and_show usage examples
