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
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 2
NID=${DEVICE_NODES[0]}
OTHER=${DEVICE_NODES[1]}
TOOL=$DEVMEM_DIR/devmem
PAGES=$(((16 << 20) / PAGE_SIZE))	# of what most of these move
MODE=$(stat -c %a /dev/devmem)
CG=/sys/fs/cgroup
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
[[ -x $TOOL ]] || skip_all "no $TOOL"

# shellcheck disable=SC2317 # called by run_test
after_test() {
	end_tasks
	pkill -x tool_task || :
	pkill -x devmem || :
	swapoff /dev/ram0 2>/dev/null || :
	for _ in {1..50}; do
		[[ -d $CG/devmem_tool ]] || break
		find "$CG/devmem_tool" -depth -type d -exec rmdir {} \; \
			2>/dev/null || sleep 0.1
	done
	chmod "$MODE" /dev/devmem
	[[ ! -e $TESTMOD ]] || echo free >"$TESTMOD/command"
}

# MB: a task with that much memory on a system node
tenant() {
	local out

	out=$(mktemp)
	start_task "$out" "$DEVMEM_DIR/pressure_task" hold tenant 0 0 "$1"
	rm "$out"
	TENANT=$!
}

# MODE ARGUMENT...: a task that has what devmem looks at; $TASK
task() {
	local out

	out=$(mktemp)
	start_task "$out" "$DEVMEM_DIR/tool_task" "$@"
	rm "$out"
	TASK=$!
}

# NID: fills it with a buffer, by a process that stays; $HOLDER
fill_node() {
	"$TOOL" alloc --size "$(($(node_free "$1") * PAGE_SIZE))" --node "$1" --exact \
		--hold >"$OUT" 2>&1 &
	HOLDER=$!
	until grep -q held "$OUT"; do
		kill -0 $HOLDER || fail "$(cat "$OUT")"
		sleep 0.1
	done
}

# PROCESS: lets go of what it has
release() {
	kill -TERM "$1"
	wait "$1" || :
	expect_all_free
}

# As somebody who isn't root
nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

# The program itself: what python3 is may be a script that looks for it.
PYTHON=$(python3 -c 'import sys; print(sys.executable)')

# EXPRESSION: of the JSON in $OUT, as Python sees it ("d")
json() {
	"$PYTHON" -IS -c 'import json, sys
d = json.load(open(sys.argv[1]))
print(eval(sys.argv[2]))' "$OUT" "$1"
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
	expect size "$(json 'd["nodes"][0]["size"]')" $((managed * PAGE_SIZE))
	expect free "$(json 'd["nodes"][0]["free"]')" $((managed * PAGE_SIZE))
}

alloc() {
	local pid

	run_tool 0 alloc --size 16M --contiguous --node "$NID" --exact --verify
	expect_all_free
	"$TOOL" alloc --size 16M --node "$OTHER" --exact --hold >"$OUT" 2>&1 &
	pid=$!
	for _ in {1..600}; do
		(($(node_used "$OTHER") < PAGES)) || break
		sleep 0.1
	done
	expect "used pages" "$(node_used "$OTHER")" $PAGES
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
	(($(node_used "$NID") >= PAGES)) || fail "only $(node_used "$NID") pages moved"
	run_tool 0 show --json "$TENANT"
	(($(json 'd["device"]') >= PAGES)) || fail "show sees $(json 'd["device"]')"
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
	for command in list top show run migrate alloc wait room; do
		run_tool 0 $command --help
		grep -q "^Usage: devmem $command" "$OUT" || fail "$(head -n 1 "$OUT")"
	done
}

# What a user of the tool reads in text is what a program reads in JSON.
text_is_json() {
	local number numbers

	task map "$NID" 16
	run_tool 0 list --bytes
	mapfile -t numbers < <(grep -oE '[0-9]{5,}' "$OUT")
	expect used "$(awk -v nid="$NID" '$1 == nid { print $4 }' "$OUT")" 16777216
	run_tool 0 list --json
	for number in "${numbers[@]}"; do
		grep -qE ": $number,?$" "$OUT" ||
			fail "$number isn't in $(cat "$OUT")"
	done
}

# The number of one of $OUT's users, which is the task
of_user() {
	json "[u['$1'] for u in d['users'] if u['pid'] == $TASK]"
}

# Memory that is in use has an owner, or it is said that it has none.
who_holds() {
	local mode

	task map "$NID" 32
	run_tool 0 show --json "$TASK"
	expect "show: buffers" "$(json 'd["buffers"]')" 8192
	run_tool 0 show "$TASK"
	grep -q "32M on devices, 32M of it buffers" "$OUT" || fail "$(cat "$OUT")"
	release "$TASK"

	for mode in map rename; do
		task $mode "$NID" 32
		run_tool 0 top --count 1 --interval 0.2
		! grep -q "no process" "$OUT" || fail "$mode: $(cat "$OUT")"
		grep -q "32M .* tool_task$" "$OUT" || fail "$mode: $(cat "$OUT")"
		run_tool 0 top --count 1 --interval 0.2 --json
		expect "$mode: buffers" "$(of_user buffers)" "[33554432]"
		expect "$mode: unexplained" "$(json 'd["unexplained"]["buffers"]')" 0
		run_tool 0 list --json
		expect "$mode: buffers" "$(json 'd["nodes"][0]["buffers"]')" 33554432
		(($(json 'd["nodes"][0]["other"]') < 1048576)) ||
			fail "$mode: other is $(json 'd["nodes"][0]["other"]')"
		release "$TASK"
	done

	task send "$NID" 32
	run_tool 0 top --count 1 --interval 0.2 --json
	expect users "$(of_user buffers)" "[]"
	expect unexplained "$(json 'd["unexplained"]["buffers"]')" 33554432
	run_tool 0 top --count 1 --interval 0.2
	grep -q -- "- 32M: buffers" "$OUT" || fail "$(cat "$OUT")"
	release "$TASK"
}

# ... also what a driver took
drivers_hold() {
	local managed

	load_module device_coherent_test || skip "no device_coherent_test"
	managed=$(node_managed "$NID")
	fill_up "$NID"
	run_tool 0 list --json
	expect_near other "$(json 'd["nodes"][0]["other"]')" $((managed * PAGE_SIZE)) 0x100000
	run_tool 0 top --count 1 --interval 0.2
	grep -q "the kernel and drivers" "$OUT" || fail "$(cat "$OUT")"
	expect_testmod 0 free
}

# Its first pages are the program's arguments.
run_when_full() {
	fill_node "$NID"
	run_tool 125 run --node "$NID" -- true
	grep -q "node $NID: the device is full" "$OUT" || fail "$(cat "$OUT")"
	grep -q -e --prefer "$OUT" || fail "no advice: $(cat "$OUT")"
	run_tool 0 run --prefer --node "$NID" -- true
	release $HOLDER
}

# Memory on swap didn't move, and that isn't success.
migrate_swapped() {
	[[ -e /dev/ram0 ]] || modprobe brd rd_nr=1 2>/dev/null || :
	[[ -e /dev/ram0 ]] || skip "no /dev/ram0"
	dd if=/dev/zero of=/dev/ram0 bs=1M count=4 oflag=direct status=none
	mkswap /dev/ram0 4096 >/dev/null 2>&1
	swapon /dev/ram0
	task swapped 3
	run_tool 3 migrate --pid "$TASK" --to "$NID"
	grep -qE "swapped out +[23]\.[0-9]M" "$OUT" || fail "$(cat "$OUT")"
	run_tool 3 migrate --pid "$TASK" --to system --json
	(($(json 'd["processes"][0]["swapped"]') > 640)) || fail "$(cat "$OUT")"
	expect status "$(json 'd["processes"][0]["status"]')" 3
	kill "$TASK"
	wait "$TASK" || :
	swapoff /dev/ram0
	expect_all_free
}

# Several of them, by their ids and as a group
migrate_several() {
	local first

	mkdir "$CG/devmem_tool" "$CG/devmem_tool/below"
	task memory 4
	first=$TASK
	echo "$first" >"$CG/devmem_tool/cgroup.procs"
	task memory 4
	echo "$TASK" >"$CG/devmem_tool/below/cgroup.procs"
	run_tool 0 migrate --pid "$first,$TASK" --to "$NID" --json
	expect processes "$(json '[p["pid"] for p in d["processes"]]')" \
		"[$first, $TASK]"
	(($(node_used "$NID") >= 2048)) || fail "$(node_used "$NID") pages moved"
	run_tool 0 migrate --cgroup "$CG/devmem_tool" --to system
	expect_all_free
	run_tool 0 migrate --cgroup /devmem_tool --to "$NID" --quiet
	[[ ! -s $OUT ]] || fail "--quiet: $(cat "$OUT")"
	(($(node_used "$NID") >= 2048)) || fail "$(node_used "$NID") pages moved"
	run_tool 1 migrate --cgroup /nowhere --to "$NID"
	run_tool 1 migrate --cgroup "$(printf 'x%.0s' {1..5000})" --to "$NID"
	# A threaded group says nothing, the one above all of it.
	echo "$TASK" >"$CG/devmem_tool/cgroup.procs"
	rmdir "$CG/devmem_tool/below"
	mkdir "$CG/devmem_tool/threaded"
	echo threaded >"$CG/devmem_tool/threaded/cgroup.type"
	run_tool 1 migrate --cgroup "$CG/devmem_tool/threaded" --to "$NID"
	run_tool 0 migrate --cgroup "$CG/devmem_tool" --to "$NID"
	rmdir "$CG/devmem_tool/threaded"
	# One that is gone isn't the end for the others.
	run_tool 1 migrate --pid 999999 --pid "$first,$TASK" --to system
	expect_all_free
}

# The tool is killed at any moment; who is moved notices nothing.
killed() {
	local out end=$((SECONDS + 10)) round pid

	out=$(mktemp)
	start_task "$out" "$DEVMEM_DIR/tool_task" memory 24
	TASK=$!
	for ((round = 0; round < 40 && (round < 4 || SECONDS < end); round++)); do
		"$TOOL" migrate --pid $TASK --quiet \
			--to "$( ((round % 2)) && echo system || echo "$NID")" &
		pid=$!
		sleep "0.0$((RANDOM % 90 + 10))"
		kill -KILL $pid 2>/dev/null || :
		wait $pid || :
		kill -0 $TASK || fail "round $round: it has ended"
	done 2>/dev/null
	kill -USR1 $TASK
	for _ in {1..100}; do
		! grep -q 'intact\|broken' "$out" || break
		sleep 0.1
	done
	grep -qx intact "$out" || fail "after $round rounds: $(cat "$out")"
	rm "$out"
	echo "# $round rounds"
	run_tool 0 migrate --pid $TASK --to system
	expect_all_free
}

# Whatever is stopped says so, or was done already.
interrupted() {
	local command round rc signal

	task memory 16
	for command in list show "top --count 3 --interval 0.1" room \
		"wait --free 1M --node $NID" "alloc --size 32M --verify" \
		"alloc --size 8M --contiguous --hold=0.1" \
		"migrate --pid $TASK --to $NID" "migrate --pid $TASK --to system"; do
		[[ $command != show ]] || command="show $TASK"
		for round in 1 2 3; do
			signal=$( ((round % 2)) && echo INT || echo TERM)
			rc=0
			# shellcheck disable=SC2086
			timeout --foreground -s "$signal" "0.0$((RANDOM % 99))1" \
				"$TOOL" $command >"$OUT" 2>&1 || rc=$?
			[[ $rc == 124 || $rc == 0 || $rc == 3 || $rc == 130 ||
			   $rc == 143 ]] ||
				fail "$command: status $rc: $(tail -n 2 "$OUT")"
		done
	done
	run_tool 0 migrate --pid "$TASK" --to system
	expect_all_free
}

# What each command does on a device node, without its options of output
commands_that_print() {
	printf '%s\n' list "list --quick" "top --count 1 --interval 0.1" \
		"show $TASK" "show --all $TASK" "alloc --size 4K" \
		"alloc --size 4K --ask" "alloc --size 4K --verify --hold=0" \
		"alloc --size 1T" "wait --free 4K" "wait --free 1T" room \
		"room $NID off" "migrate --pid $TASK --to system" \
		"migrate --pid 999999 --to system"
}

# Nothing is lost without a word.
full_disk() {
	local command json rc

	task memory 1
	while read -r command; do
		for json in "" --json; do
			rc=0
			# shellcheck disable=SC2086
			"$TOOL" $command $json >/dev/full 2>"$OUT" || rc=$?
			((rc == 1)) || fail "$command $json: status $rc"
			[[ -s $OUT ]] || fail "$command $json: no message"
			rc=0
			# shellcheck disable=SC2086
			"$TOOL" $command $json >&- 2>"$OUT" || rc=$?
			((rc == 1)) || fail "$command $json: closed: status $rc"
		done
	done < <(commands_that_print)
	# It isn't held for one who can't know whose it is.
	rc=0
	timeout 30 "$TOOL" alloc --size 4K --hold >/dev/full 2>"$OUT" || rc=$?
	expect "status of --hold" $rc 1
	expect_all_free
}

# JSON is JSON, in any locale and whatever a process calls itself.
json_of_all() {
	local command locale name dir

	dir=$(mktemp -d)
	name=$dir/$'a"\\\n\t\e[31m\xff'
	cp "$DEVMEM_DIR/tool_task" "$name"
	start_task "$OUT" "$name" memory 1
	TASK=$!
	while read -r command; do
		for locale in C C.UTF-8; do
			# shellcheck disable=SC2086
			LC_ALL=$locale "$TOOL" $command --json >"$OUT" \
				2>/dev/null || :
			"$PYTHON" -IS -m json.tool "$OUT" >/dev/null ||
				fail "$command: $(cat "$OUT")"
			! LC_ALL=C grep -q $'\e' "$OUT" ||
				fail "$command --json: an escape sequence"
			# shellcheck disable=SC2086
			LC_ALL=$locale "$TOOL" $command >"$OUT" 2>&1 || :
			! LC_ALL=C grep -q $'\e' "$OUT" ||
				fail "$command: an escape sequence"
		done
	done < <(commands_that_print)
	kill "$TASK"
	wait "$TASK" || :
	rm -r "$dir"
}

# The name of a buffer is its user's, and so are lines in it.
forged_names() {
	task forge "$NID" 32
	grep -q "^size:.9999999999" /proc/"$TASK"/fdinfo/* ||
		skip "the kernel doesn't pass such names on"
	run_tool 0 top --count 1 --interval 0.1 --json
	expect buffers "$(of_user buffers)" "[33554432]"
	expect unexplained "$(json 'd["unexplained"]["buffers"]')" 0
	release "$TASK"
}

# Groups can have any name.
odd_groups() {
	local group=$CG/devmem_tool/$'a b%s\e[31m"{node}'

	echo +memory >"$CG/cgroup.subtree_control"
	mkdir "$CG/devmem_tool"
	echo +memory >"$CG/devmem_tool/cgroup.subtree_control"
	mkdir "$group"
	echo 16M >"$group/memory.max"
	(
		echo $BASHPID >"$group/cgroup.procs"
		! "$TOOL" alloc --size 32M --json >"$OUT" 2>"$OUT.err" || exit 1
	) || fail "$(cat "$OUT")"
	expect reason "$(json 'd["reason"]')" cgroup
	! LC_ALL=C grep -q $'\e' "$OUT" "$OUT.err" || fail "an escape sequence"
	grep -qF 'a b%s?[31m"{node}' "$OUT.err" || fail "$(cat "$OUT.err")"
	rm "$OUT.err"
	task memory 1
	echo "$TASK" >"$group/cgroup.procs"
	run_tool 0 migrate --cgroup "$group" --to "$NID" --json
	expect processes "$(json '[p["pid"] for p in d["processes"]]')" "[$TASK]"
	run_tool 0 migrate --cgroup "$CG/devmem_tool" --to system
	kill "$TASK"
	wait "$TASK" || :
	rmdir "$group"
	expect_all_free
}

# Processes that end while they are looked at are no reason to fall over.
vanishing() {
	local round rc pid

	for round in {1..30}; do
		sleep "0.0$((RANDOM % 50 + 10))" &
		pid=$!
		rc=0
		case $((round % 3)) in
		0) "$TOOL" show $pid --json >"$OUT" 2>&1 || rc=$? ;;
		1) "$TOOL" migrate --pid $pid --to "$NID" >"$OUT" 2>&1 || rc=$? ;;
		2) "$TOOL" top --count 2 --interval 0.1 >"$OUT" 2>&1 || rc=$? ;;
		esac
		((rc == 0 || rc == 1 || rc == 3)) ||
			fail "round $round: status $rc: $(tail -n 2 "$OUT")"
		wait $pid || fail "sleep ended with $?"
	done
	expect_all_free
}

migrate_huge() {
	[[ -e /sys/kernel/mm/transparent_hugepage ]] || skip "no huge pages"
	task memory 8
	run_tool 0 migrate --pid "$TASK" --to "$NID" --huge --json
	(($(json 'd["processes"][0]["huge"]') >= 2048)) || fail "$(cat "$OUT")"
	run_tool 0 show --json "$TASK"
	(($(json 'd["device"]') >= 2048)) || fail "$(json 'd["device"]') on devices"
}

# SIZE OPTION...: alloc, in a group that may have 16 MB
alloc_in_group() {
	(
		echo $BASHPID >"$CG/devmem_tool/cgroup.procs"
		exec "$TOOL" alloc --size "$@"
	) >"$OUT" 2>&1 || :
}

# Why it can't be had
reasons() {
	echo +memory >"$CG/cgroup.subtree_control"
	mkdir "$CG/devmem_tool"
	echo 16M >"$CG/devmem_tool/memory.max"
	for option in --contiguous --huge --verify; do
		alloc_in_group 32M $option
		grep -qi cgroup "$OUT" || fail "$option: $(cat "$OUT")"
		alloc_in_group 32M $option --json
		grep -q '"reason": "cgroup"' "$OUT" || fail "$option: $(cat "$OUT")"
	done
	run_tool 1 alloc --size 1T --node "$NID" --exact --json
	grep -q '"reason": "too large"' "$OUT" || fail "$(cat "$OUT")"
	fill_node "$NID"
	run_tool 1 alloc --size 4K --node "$NID" --exact --json
	grep -q '"reason": "full"' "$OUT" || fail "$(cat "$OUT")"
	run_tool 1 alloc --size 4K --node "$NID" --exact --ask
	grep -q "full\|memory" "$OUT" || fail "$(cat "$OUT")"
	release $HOLDER
	run_tool 0 alloc --size 4M --node "$NID" --ask
	grep -q "can be had on node $NID" "$OUT" || fail "$(cat "$OUT")"
	expect_all_free
}

# 0 seconds aren't for ever.
hold_zero() {
	timeout 20 "$TOOL" alloc --size 4K --hold=0 >"$OUT" 2>&1 ||
		fail "status $?: $(cat "$OUT")"
	timeout 20 "$TOOL" alloc --size 4K --hold=0.3 >"$OUT" 2>&1 ||
		fail "status $?: $(cat "$OUT")"
	expect_all_free
}

wait_for_room() {
	local pid rc=0

	run_tool 0 wait --free 64M
	run_tool 0 wait --free 64M --node "$OTHER" --json
	expect node "$(json 'd["node"]')" "$OTHER"
	run_tool 1 wait --free 1T
	run_tool 1 wait --free 1M --node 0
	fill_node "$NID"
	run_tool 3 wait --free 64M --node "$NID" --timeout 0.3
	timeout 60 "$TOOL" wait --free 64M --node "$NID" >"$OUT" 2>&1 &
	pid=$!
	sleep 0.5
	kill -0 $pid || fail "it didn't wait: $(cat "$OUT")"
	kill -TERM $HOLDER
	wait $pid || fail "status $?: $(cat "$OUT")"
	grep -q "node $NID: .* free" "$OUT" || fail "$(cat "$OUT")"
	wait $HOLDER || :

	fill_node "$NID"
	"$TOOL" wait --free 64M --node "$NID" >/dev/null 2>&1 &
	pid=$!
	sleep 0.5
	kill -TERM $pid
	wait $pid || rc=$?
	expect "status of one that was stopped" $rc 143
	release $HOLDER
}

room() {
	local file=$NODE_DIR/node$NID/device_coherent/make_room

	run_tool 0 room
	grep -qE "^ *$NID +off" "$OUT" || fail "$(cat "$OUT")"
	run_tool 0 room "$NID" move
	grep -q '\[move\]' "$file" || fail "$(cat "$file")"
	run_tool 0 room "$NID" --json
	expect room "$(json 'd["nodes"]')" "[{'node': $NID, 'make_room': 'move'}]"
	run_tool 0 room "$NID" off
	grep -q '\[off\]' "$file" || fail "$(cat "$file")"
	run_tool 1 room 0 move
	! nobody "$TOOL" room "$NID" move >"$OUT" 2>&1 || fail "not by root"
	grep -q "\[off\]" "$file" || fail "$(cat "$file")"
}

# Without looking at every page
list_quick() {
	run_tool 0 list --quick --json
	expect run "$(json 'd["nodes"][0]["largest_free"]')" None
	expect source "$(json 'd["nodes"][0]["source"]')" driver
	run_tool 0 list --json
	(($(json 'd["nodes"][0]["largest_free"]') > 0)) || fail "$(cat "$OUT")"
}

# What is behind a node, if sysfs tells
device_behind() {
	local pci

	pci=$(compgen -G "/sys/bus/pci/devices/*" | head -n 1)
	[[ $pci ]] || skip "no PCI"
	echo "$NID" >"$pci/numa_node"
	run_tool 0 list --json
	echo -1 >"$pci/numa_node"
	expect device "$(json 'd["nodes"][0]["device"]')" "${pci##*/}"
	expect "device of another" "$(json 'd["nodes"][1]["device"]')" None
}

# By one who may read the device: ask and wait, no more. And by one who may not.
read_only() {
	chmod 644 /dev/devmem
	nobody "$TOOL" list --json >"$OUT" 2>/dev/null
	expect source "$(json 'd["nodes"][0]["source"]')" driver
	nobody "$TOOL" wait --free 1M >/dev/null
	nobody "$TOOL" alloc --size 1M --ask >/dev/null
	! nobody "$TOOL" alloc --size 1M >"$OUT" 2>&1 || fail "allocated"
	grep -q 'GROUP="render"' "$OUT" || fail "$(cat "$OUT")"
	chmod 600 /dev/devmem
	nobody "$TOOL" list --json >"$OUT" 2>/dev/null
	expect source "$(json 'd["nodes"][0]["source"]')" sysfs
	nobody "$TOOL" top --count 1 --interval 0.1 --json 2>/dev/null |
		"$PYTHON" -IS -m json.tool >/dev/null
}

# On a terminal of so many columns no line of a table wraps.
narrow() {
	local columns command

	command -v script >/dev/null || skip "no script(1)"
	task map "$NID" 4
	for columns in 36 40 72; do
		for command in list "top --count 1 --interval 0.2" "show $TASK"; do
			TERM=dumb COLUMNS=$columns script -qec "$TOOL $command" \
				/dev/null >"$OUT" 2>&1 </dev/null
			sed -i 's/\r//' "$OUT"
			! grep -e '^[ 0-9]*  ' -e NODE -e MEM -e PID "$OUT" |
				grep -v -e smaller -e ' - ' |
				grep -qE ".{$((columns + 1))}" ||
				fail "$command, $columns: $(cat "$OUT")"
		done
	done
}

# What check.sh has seen without a device
completion() {
	local nodes

	[[ -e $DEVMEM_DIR/devmem.bash-completion ]] || skip "no completion"
	nodes=$(bash -c '. "$1"
		COMP_WORDS=(devmem alloc --node = "")
		COMP_CWORD=4
		_devmem
		echo "${COMPREPLY[@]}"' bash "$DEVMEM_DIR/devmem.bash-completion")
	expect "completion of --node=" "$nodes" "$NID $OTHER"
}

# The rules of udev in the manual, as udev would run their programs: links by what
# doesn't change
heap_links() {
	local page heap kernel program out nr=0
	local dir=$DEVMEM_DIR

	[[ -d /dev/dma_heap ]] || skip "no /dev/dma_heap (CONFIG_DMABUF_HEAPS)"
	while [[ $dir != / && ! -e $dir/Documentation/userspace-api/devmem.rst ]]; do
		dir=$(dirname "$dir")
	done
	page=$dir/Documentation/userspace-api/devmem.rst
	[[ -e $page ]] || skip "no manual"
	while IFS=$'\t' read -r kernel program; do
		# A rule has %k for the name, %% and $$ for % and $.
		program=${program//\$\$/\$}
		for heap in /dev/dma_heap/devmem-*; do
			# shellcheck disable=SC2053 # a pattern
			[[ ${heap##*/} == $kernel ]] || continue
			out=${program//%k/${heap##*/}}
			out=$(sh -c "${out//%%/%}")
			heap=${heap##*/devmem-}
			expect "start of $heap" "$out" \
				"$(<"$NODE_DIR/${heap%-contig}/device_coherent/start")"
			nr=$((nr + 1))
		done
	done < <(sed -nE '/SUBSYSTEM=="dma_heap"/ { N
		s|.*KERNEL=="([^"]*)".*PROGRAM="/bin/sh -c '"'(.*)'"'".*|\1\t\2|p }' \
		"$page")
	expect "heaps with a link" $nr 4
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

ALL=(heaps heap_links list alloc run migrate_and_show usage examples
     text_is_json who_holds drivers_hold run_when_full migrate_swapped
     migrate_several killed interrupted full_disk json_of_all forged_names
     odd_groups vanishing migrate_huge reasons hold_zero wait_for_room room
     list_quick device_behind read_only narrow completion)
run_tests "${@:-${ALL[@]}}"
