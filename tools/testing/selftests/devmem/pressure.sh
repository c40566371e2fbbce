#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 3, never in the way, and 4, never the wrong victim: system memory
# under pressure (reading files while anonymous memory is written, and at last
# the OOM killer) in five machines whose clocks count instructions:
#  absent    without the device's memory (by mem=, see accounting.sh)
#  idle      with two device nodes that nobody uses
#  busy      the same, while a task writes and migrates memory between them
#  full      the same, all of their memory in use
#  ordinary  the same memory as ordinary nodes: the control
# Each boots RUNS times, with a little more to do each time, since reclaim is
# chaotic: what it scans differs by half between two runs of the same machine.
# Prints a table of the medians of what pressure_guest.sh reports, and checks
# that each is in the range of the first machine's runs, but for the tolerance in
# the last column. Runs on the host. The device's page structures are in its own
# memory (memmap:device), so that all have the same to start with, but for 1 MB
# that two nodes' own structures take.
#
# A task with 12 MB of the system's memory, and in "busy" and "full" most of the
# device's, must not be chosen by the OOM killer before one with 32 MB.
#
# On a debug kernel most of what reclaim has to do with is the kernel's own, so
# that nothing can be compared: there "busy" and "full" run once, by the clock of
# the wall, and the OOM killer must choose as it does elsewhere.
#
# Proof that it can fail: "control" wants the ordinary machine to differ in
# every number that can tell.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

MACHINES=(absent idle busy full ordinary)
RUNS=3

# NAME|TOLERANCE|TEXT; a tolerance in per cent of the first machine's number, or
# as it is, in the unit of the line. With a "-" before it, the number differs
# too much between runs to tell an ordinary node by it.
ROWS=(
	"min|1%|min watermark, pages"
	"low|1%|low watermark, pages"
	"high|1%|high watermark, pages"
	"MemAvailable|5%|MemAvailable before, kB"
	"MemAvailable_after|6%|MemAvailable after, kB"
	"kswapd_threads|0|kswapd threads that may run"
	"pageoutrun|-100%|kswapd wakeups"
	"pgsteal_kswapd|-40%|pages reclaimed by kswapd"
	"pgscan_kswapd|-150%|pages scanned by kswapd"
	"kswapd_efficiency|-60|efficiency of kswapd, %"
	"allocstall|-100%|allocations that had to reclaim"
	"pgscan_direct|-150%|pages scanned by direct reclaim"
	"direct_efficiency|-60|efficiency of direct reclaim, %"
	"oom_kills|-100%|OOM kills"
	"victim|0|OOM victim"
)

VM_OPTIONS=(--timeout 600 --icount --mem 384M)

host_test
if debug_kernel; then
	MACHINES=(busy full)
	RUNS=1
	VM_OPTIONS=(--mem 640M)
fi

# MACHINE RUN NAME: what it reported
reported() {
	local scan steal

	case $3 in
	*_efficiency)
		scan=$(reported "$1" "$2" "pgscan_${3%_efficiency}")
		steal=$(reported "$1" "$2" "pgsteal_${3%_efficiency}")
		echo $((scan ? steal * 100 / scan : 100))
		;;
	*) awk -v name="$3" '$1 == name { print $2 }' "$WORK/$1.$2.out" ;;
	esac
}

# MACHINE NAME: of all runs, from the least to the greatest
sorted() {
	local run

	for ((run = 1; run <= RUNS; run++)); do
		reported "$1" "$run" "$2"
	done | sort -n
}

# MACHINE NAME: the median
value() {
	sorted "$1" "$2" | sed -n "$(((RUNS + 1) / 2))p"
}

table() {
	local row name by text machine

	printf '# %-32s' ""
	printf '%12s' "${MACHINES[@]}" "may differ"
	printf '  %s' "runs of ${MACHINES[0]}"
	printf '\n'
	for row in "${ROWS[@]}"; do
		IFS='|' read -r name by text <<<"$row"
		printf '# %-32s' "$text"
		for machine in "${MACHINES[@]}"; do
			printf '%12s' "$(value "$machine" "$name")"
		done
		printf '%12s  %s\n' "${by#-}" "$(sorted "${MACHINES[0]}" "$name" | xargs)"
	done
}

# MACHINE NAME TOLERANCE
compare() {
	local by=${3#-} a least most

	a=$(value "$1" "$2")
	least=$(sorted absent "$2" | head -n 1)
	most=$(sorted absent "$2" | tail -n 1)
	[[ -n $a && -n $least ]] || fail "no number of $2"
	case $by in
	0)
		expect "$2" "$a" "$least"
		return
		;;
	*%) by=$((most * ${by%\%} / 100)) ;;
	esac
	((a >= least - by && a <= most + by)) ||
		fail "$2 is $a, not $least to $most (within $by)"
}

same_as_absent() {
	compare "$MACHINE" "$NAME" "$BY"
}

# There was pressure of each kind, or nothing would be compared.
pressure() {
	local name

	for name in pgscan_kswapd pgscan_direct pageoutrun allocstall; do
		(($(value "${MACHINES[0]}" $name) > 50)) ||
			fail "$name is too little"
	done
}

# Both tasks would do, but for where their memory is.
system_victim() {
	expect "victim" "$(value "$MACHINE" victim)" system_task
}

control() {
	local row name by text same=""

	for row in "${ROWS[@]}"; do
		IFS='|' read -r name by text <<<"$row"
		[[ $by != -* ]] || continue
		if (compare ordinary "$name" "$by" >/dev/null); then
			same+=" $name"
		fi
	done
	expect "lines that are the same on an ordinary node" "$same" ""
}

# NAME STATE OPTION...
start() {
	local name=$1 state=$2 run

	shift 2
	for ((run = 1; run <= RUNS; run++)); do
		boot "$name.$run" "${VM_OPTIONS[@]}" --device-mem 128M,128M \
			--append "brd.rd_size=524288" "$@" -- \
			"$DEVMEM_DIR/lib/pressure_guest.sh" "$state" "$run"
	done
}

ABSENT=(--append "mem=384M")
# There mem= counts what the firmware keeps, and it keeps nothing at the end.
[[ ${DEVMEM_ARCH:-} != arm64 ]] || ABSENT=(--device-mem 0)
DEVICE=(--append "device_coherent=memmap:device memory_hotplug.memmap_on_memory=1")
machine() {
	case $1 in
	absent) start absent none --no-register "${ABSENT[@]}" ;;
	idle) start idle none "${DEVICE[@]}" ;;
	ordinary) start ordinary bound --no-register ;;
	*) start "$1" "$1" "${DEVICE[@]}" ;;
	esac
}

for machine in "${MACHINES[@]}"; do
	machine "$machine"
done
for machine in "${MACHINES[@]}"; do
	for ((run = 1; run <= RUNS; run++)); do
		(booted "$machine.$run") || exit 1
	done
done
ktap_print_header
table
if debug_kernel; then
	ktap_set_plan $((${#MACHINES[@]} + 1))
	run_test pressure
	for MACHINE in "${MACHINES[@]}"; do
		eval "$MACHINE.victim() { system_victim; }"
		run_test "$MACHINE.victim"
	done
	ktap_finished
fi
ktap_set_plan $((${#ROWS[@]} * 3 + 2))
run_test pressure
for MACHINE in idle busy full; do
	for row in "${ROWS[@]}"; do
		IFS='|' read -r NAME BY _ <<<"$row"
		eval "$MACHINE.$NAME() { same_as_absent; }"
		run_test "$MACHINE.$NAME"
	done
done
run_test control
ktap_finished
