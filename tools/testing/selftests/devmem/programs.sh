#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Whole programs on a device node, by "numactl --membind=D". Invariant 1: while
# they run, what is their own (anonymous and shared memory) is on the device,
# and nothing that the kernel has for them is: no page cache, page table, slab
# or kernel stack by the node's counters, no page that wasn't asked for or that
# can't be moved by page_owner's records, taken while the program is stopped in
# the middle. Invariant 4: none fails, no reclaim, no OOM kill, no failed
# allocation for want of a page table or a page of page cache.
#
# "programs.sh cost" compares what they cost with and without --membind, in a
# machine whose clock counts instructions (scripts/vm --icount): at most
# COST_PERCENT more. Also for --preferred=D when D is full. On a debug kernel most
# of the cost is its own, so there they only have to run.
#
# Proof that it can fail: each program is also run without numactl, where the
# same look at the device finds nothing; "control_cost" wants a program that
# does a quarter more to be seen.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

COST_PERCENT=10

# Every page was asked for, and is of a kind that can be moved: GFP_TRANSHUGE,
# khugepaged's, is, though its name doesn't say so. Called while the program is
# stopped, by "watch".
audit_stopped() {
	"$DEVMEM_DIR/audit" -v >"$1" 2>&1 || return
	! grep 'via order' "$1" | grep -v 'MOVABLE\|TRANSHUGE'
}

need_root
need_device_nodes 1
for program in numactl gcc stress-ng zstd; do
	type -P "$program" >/dev/null || skip_all "needs $program"
done
NID=${DEVICE_NODES[0]}
if [[ ${1:-} == audit ]]; then
	audit_stopped "$2"
	exit
fi
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

# NAME: from the report of the last run
seen() {
	awk -v name="$1" '$1 == name { print $2 }' "$WORK/report"
}

failed_allocations() {
	dmesg | grep -c 'page allocation failure' || :
}

stalls() {
	awk '/^(allocstall|oom_kill)/ { n += $2 } END { print n + 0 }' \
		/proc/vmstat
}

# Requests that found the device full. A program that meets that gets SIGBUS,
# which tells nothing about invariant 1: the machine needs a larger device.
refused() {
	awk '$1 == "coherent_refused" { print $2 }' \
		"/sys/devices/system/node/node$NID/vmstat"
}

no_kernel_memory_there() {
	expect "kB of page cache on the device" "$(seen cache_there)" 0
	expect "kB of the kernel's on the device" "$(seen kernel_there)" 0
}

# AT_KB COMMAND...: bound to the device. Stopped and looked at when it has that
# much there.
on_device() {
	local at=$1 failures before full rc=0

	shift
	failures=$(failed_allocations)
	before=$(stalls)
	full=$(refused)
	"$DEVMEM_DIR/watch" -s "$at" \
		"'$DEVMEM_DIR/programs.sh' audit '$WORK/audit'" \
		"$NID" "$WORK/report" numactl --membind="$NID" "$@" \
		>"$WORK/out" 2>"$WORK/err" || rc=$?
	echo "# $(tr '\n' ' ' <"$WORK/report")"
	expect "requests that found the device full" "$(refused)" "$full"
	if [[ $rc != 0 || $(seen status) != 0 ]]; then
		sed 's/^/# /' "$WORK/err" "$WORK/out" | tail -n 20
		fail "$* ended with $(seen status)"
	fi
	(($(seen there) >= at)) || fail "it had $(seen there) kB on the device"
	expect "kB of anonymous memory elsewhere" "$(seen anon_elsewhere)" 0
	expect "kB of mapped files on the device" "$(seen file_there)" 0
	no_kernel_memory_there
	if [[ $(seen stop_status) != 0 ]]; then
		tail -n 20 "$WORK/audit" | sed 's/^/# /'
		fail "audit in the middle ended with $(seen stop_status)"
	fi
	expect "failed allocations" "$(failed_allocations)" "$failures"
	expect "stalls and OOM kills" "$(stalls)" "$before"
}

# COMMAND...: the same without numactl, so that nothing is there
elsewhere() {
	"$DEVMEM_DIR/watch" "$NID" "$WORK/report" "$@" >"$WORK/plain" \
		2>"$WORK/err"
	expect "its status" "$(seen status)" 0
	expect "kB on the device" "$(seen there)" 0
	no_kernel_memory_there
}

# FILE...: what it wrote is shared memory of the device, since /tmp is a tmpfs;
# what it said, too.
gone() {
	rm -f "$@" "$WORK/out" "$WORK/err"
	drain_batches
	expect_all_free
	"$DEVMEM_DIR/audit" >"$WORK/audit" || fail "$(<"$WORK/audit")"
}

# Variables, pipes, processes, a here document
# shellcheck disable=SC2016 # for another shell
SHELL_PROGRAM='
printf -v text "%8388608s" x
for i in 1 2 3; do
	seq $((i * 10000)) | sort -rn | (read -r first; echo "$first"; cat) |
		tail -n 1
done
list=$(for i in {1..2000}; do echo "$i"; done)
cat <<-END
	${#text} ${#list} $(md5sum <<<"$list")
END
'

a_shell() {
	on_device 8192 bash -c "$SHELL_PROGRAM"
	elsewhere bash -c "$SHELL_PROGRAM"
	cmp "$WORK/plain" "$WORK/out" || fail "the output is another"
	gone "$WORK/plain" "$WORK/out"
}

# NUMBER: a program for the compiler, with that many functions
source_code() {
	awk -v n="$1" 'BEGIN {
		print "#include <stdio.h>\n#include <stdlib.h>"
		for (i = 1; i <= n; i++)
			printf "static unsigned f%d(unsigned x) {" \
				" for (int k = 0; k < %d; k++)" \
				" x = x & %d ? x * %d + k : (x ^ k) / 3;" \
				" return x; }\n",
				i, i + 2, i % 8 + 1, 2 * i + 3
		print "int main(int c, char **v) { unsigned x = c; (void)v;"
		for (i = 1; i <= n; i++)
			print "x = f" i "(x);"
		print "printf(\"%u\\n\", x); return 0; }"
	}'
}

a_compiler() {
	local result

	source_code 40 >"$WORK/x.c"
	on_device 8192 gcc -O2 -o "$WORK/x" "$WORK/x.c"
	result=$(numactl --membind="$NID" "$WORK/x")
	elsewhere gcc -O2 -o "$WORK/y" "$WORK/x.c"
	expect "what it computes" "$("$WORK/y")" "$result"
	cmp "$WORK/x" "$WORK/y" || fail "it made another program"
	gone "$WORK/x"
}

threads() {
	seq 700000 >"$WORK/numbers"
	on_device 8192 zstd -q -T2 -5 -B1M -o "$WORK/z" "$WORK/numbers"
	elsewhere zstd -q -T2 -5 -B1M -o "$WORK/y" "$WORK/numbers"
	cmp "$WORK/z" "$WORK/y" || fail "the output is another"
	numactl --membind="$NID" zstd -q -t -T2 "$WORK/z" || fail "zstd -t"
	gone "$WORK/z"
}

# Long enough to get going, on a debug kernel, too
STRESS_SECONDS=4
! debug_kernel || STRESS_SECONDS=24

# STRESSOR...: each with one worker, for some seconds, checking itself
stress() {
	local options=() stressor

	for stressor; do
		options+=("--$stressor" 1)
	done
	stress-ng --temp-path "$WORK" --oomable --verify --timeout "${STRESS_SECONDS}s" \
		"${options[@]}" --vm-bytes 12M --mmap-bytes 12M \
		--malloc-bytes 12M --memfd-bytes 8M --shm-bytes 8M \
		--shm-sysv-bytes 8M
}

# Only programs can be bound, not functions.
export -f stress
export WORK STRESS_SECONDS

stress_memory() {
	on_device 8192 bash -c 'stress vm mmap malloc memfd shm shm-sysv'
	gone
}

stress_tasks() {
	on_device 512 bash -c 'stress fork vfork clone pthread switch futex sem'
	gone
}

stress_files() {
	on_device 512 bash -c 'stress pipe sock sendfile splice mq hdd seek dentry'
	gone
}

# COMMAND...: microseconds of processor time, the lesser of two runs, since the
# first one reads files that the other finds in the page cache
cost() {
	local least=

	for _ in 1 2; do
		"$DEVMEM_DIR/watch" -1 "$WORK/report" "$@" >/dev/null \
			2>"$WORK/err"
		expect "status of $*" "$(seen status)" 0
		if [[ -z $least ]] || (($(seen cpu_us) < least)); then
			least=$(seen cpu_us)
		fi
	done
	echo "$least"
}

# HOW COMMAND...
compare_cost() {
	local how=$1 plain bound

	shift
	plain=$(cost "$@")
	bound=$(cost numactl "$how" "$@")
	echo "# $((plain / 1000)) ms without, $((bound / 1000)) ms with $how"
	debug_kernel ||
		((bound * 100 <= plain * (100 + COST_PERCENT))) ||
		fail "it costs more than $COST_PERCENT % more"
}

# One after the other: on one CPU whose clock counts instructions, stress-ng 0.19
# doesn't come to an end with all of them at once.
COST_STRESS=(bash -c 'stress() { stress-ng --oomable "$@"; }
	stress --vm 1 --vm-bytes 8M --vm-method zero-one --vm-ops 20 &&
	stress --fork 1 --fork-ops 50 &&
	stress --mmap 1 --mmap-bytes 4M --mmap-ops 2 &&
	stress --pipe 1 --pipe-ops 2000')

cost_shell() {
	compare_cost --membind="$NID" bash -c "$SHELL_PROGRAM"
}

cost_compiler() {
	source_code 10 >"$WORK/x.c"
	compare_cost --membind="$NID" gcc -O2 -o "$WORK/x" "$WORK/x.c"
}

cost_threads() {
	seq 100000 >"$WORK/numbers"
	compare_cost --membind="$NID" zstd -q -T2 -c "$WORK/numbers"
}

cost_stress() {
	compare_cost --membind="$NID" "${COST_STRESS[@]}"
}

cost_preferred_full() {
	need_testmod
	source_code 10 >"$WORK/x.c"
	fill_up "$NID"
	compare_cost --preferred="$NID" gcc -O2 -o "$WORK/x" "$WORK/x.c"
}

control_cost() {
	local ten twenty

	! debug_kernel || skip "on a debug kernel most of the cost is its own"
	source_code 10 >"$WORK/x.c"
	source_code 20 >"$WORK/y.c"
	ten=$(cost gcc -O2 -o "$WORK/x" "$WORK/x.c")
	twenty=$(cost gcc -O2 -o "$WORK/y" "$WORK/y.c")
	echo "# $((ten / 1000)) ms for ten functions, $((twenty / 1000)) ms for twenty"
	((twenty * 100 > ten * (100 + COST_PERCENT))) ||
		fail "ten functions more make no difference"
}

# shellcheck disable=SC2317 # called by run_test
after_test() {
	[[ ! -d $TESTMOD ]] || testmod free >/dev/null
	rm -rf "${WORK:?}"/*
}

MEMORY_TESTS=(a_shell a_compiler threads stress_memory stress_tasks
	      stress_files)
COST_TESTS=(cost_shell cost_compiler cost_threads cost_stress
	    cost_preferred_full control_cost)

if [[ ${1:-} == cost ]]; then
	run_tests "${COST_TESTS[@]}"
	exit
fi
"$DEVMEM_DIR/page_owner_read" 0 1 2>/dev/null || skip_all "needs page_owner=on"
run_tests "${@:-${MEMORY_TESTS[@]}}"
