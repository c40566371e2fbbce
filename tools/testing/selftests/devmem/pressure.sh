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
# Prints a table of what pressure_guest.sh reports, and checks that each number
# is, but for the tolerance in its last column, the one of the first machine.
# Runs on the host. The device's page structures are in its own memory
# (memmap:device), so that all have the same to start with, but for 1 MB that
# two nodes' own structures take.
#
# A task with 12 MB of the system's memory, and in "busy" and "full" most of the
# device's, must not be chosen by the OOM killer before one with 32 MB.
#
# Proof that it can fail: "control" wants the ordinary machine to differ in
# every number that it names.
set -euo pipefail
# shellcheck source=devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/devmem_lib.sh"

MACHINES=(absent idle busy full ordinary)

# NAME|TOLERANCE|TEXT; a tolerance in per cent of the first machine's number, or
# as it is, in the unit of the line.
ROWS=(
	"min|1%|min watermark, pages"
	"low|1%|low watermark, pages"
	"high|1%|high watermark, pages"
	"MemAvailable|2%|MemAvailable before, kB"
	"MemAvailable_after|4%|MemAvailable after, kB"
	"kswapd_threads|0|kswapd threads that may run"
	"pageoutrun|10%|kswapd wakeups"
	"pgscan_kswapd|10%|pages scanned by kswapd"
	"pgsteal_kswapd|10%|pages reclaimed by kswapd"
	"pgscan_direct|25%|pages scanned by direct reclaim"
	"kswapd_efficiency|5|efficiency of kswapd, %"
	"direct_efficiency|5|efficiency of direct reclaim, %"
	"allocstall|25%|allocations that had to reclaim"
	"oom_kills|0|OOM kills"
	"victim|0|OOM victim"
)

host_test

# MACHINE NAME: what it reported
value() {
	local scan steal

	case $2 in
	*_efficiency)
		scan=$(value "$1" "pgscan_${2%_efficiency}")
		steal=$(value "$1" "pgsteal_${2%_efficiency}")
		echo $((scan ? steal * 100 / scan : 100))
		;;
	*) awk -v name="$2" '$1 == name { print $2 }' "$WORK/$1.out" ;;
	esac
}

table() {
	local row name by text machine

	printf '# %-32s' ""
	printf '%12s' "${MACHINES[@]}" "may differ"
	printf '\n'
	for row in "${ROWS[@]}"; do
		IFS='|' read -r name by text <<<"$row"
		printf '# %-32s' "$text"
		for machine in "${MACHINES[@]}"; do
			printf '%12s' "$(value "$machine" "$name")"
		done
		printf '%12s\n' "$by"
	done
}

# MACHINE NAME TOLERANCE
compare() {
	local by=$3 a b

	a=$(value "$1" "$2")
	b=$(value absent "$2")
	[[ -n $a && -n $b ]] || fail "no number of $2"
	case $by in
	0) expect "$2" "$a" "$b" ;;
	*%) expect_near "$2" "$a" "$b" $((b * ${by%\%} / 100)) ;;
	*) expect_near "$2" "$a" "$b" "$by" ;;
	esac
}

same_as_absent() {
	compare "$MACHINE" "$NAME" "$BY"
}

# There was pressure of each kind, or nothing would be compared.
pressure() {
	local name

	for name in pgscan_kswapd pgscan_direct pageoutrun allocstall; do
		(($(value absent $name) > 50)) || fail "$name is too little"
	done
}

control() {
	local row name by text same=""

	for row in "${ROWS[@]}"; do
		IFS='|' read -r name by text <<<"$row"
		[[ $name != oom_kills && $name != *_efficiency ]] || continue
		if (compare ordinary "$name" "$by" >/dev/null); then
			same+=" $name"
		fi
	done
	expect "lines that are the same on an ordinary node" "$same" ""
}

# NAME STATE OPTION...
start() {
	local name=$1 state=$2

	shift 2
	boot "$name" --timeout 600 --icount --mem 384M --device-mem 128M,128M \
		--append "brd.rd_size=524288" "$@" -- \
		"$DEVMEM_DIR/pressure_guest.sh" "$state"
}

DEVICE=(--append "device_coherent=memmap:device memory_hotplug.memmap_on_memory=1")
start absent none --no-register --append "mem=384M"
start idle none "${DEVICE[@]}"
start 'busy' busy "${DEVICE[@]}"
start 'full' full "${DEVICE[@]}"
start ordinary bound --no-register
for machine in "${MACHINES[@]}"; do
	(booted "$machine") || exit 1
done
ktap_print_header
table
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
