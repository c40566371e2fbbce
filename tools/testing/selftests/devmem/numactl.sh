#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What counts as asking, by the tools that people have: numactl, migratepages,
# numastat, memhog and migspeed, as Debian ships them. They know nothing of
# device nodes, so whatever they print and do has to be sensible for a node that
# has memory and no CPUs; and no option that names device nodes together with
# system nodes reaches a device (invariant 1).
#
# Proof that it can fail: every kind of request is made for system nodes or for
# a mix as well, where the same look finds the memory elsewhere. With
# DEVMEM_NODES naming ordinary nodes, the tests of mixed masks fail.
#
# Wants two system nodes and two device nodes; see "plan".
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 2
for program in numactl numastat migratepages memhog migspeed; do
	type -P "$program" >/dev/null || skip_all "needs $program"
done
read -r D1 D2 _ <<<"$(device_nodes)"
read -ra SYSTEM < <(for nid in $(nodes_with memory); do
	in_list "$nid" "$(device_nodes)" || echo "$nid"
done | xargs)
((${#SYSTEM[@]} >= 2)) || skip_all "needs two system nodes"
S0=${SYSTEM[0]}
S1=${SYSTEM[1]}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

PAGES=2048
# An unmodified program with that many pages of its own, and what it has where.
# The last command keeps the shell from becoming the one before.
HOLD="printf -v text '%$((PAGES * PAGE_SIZE))s' x"
PROGRAM="$HOLD; cat /proc/\$\$/numa_maps; :"

# numa_maps on standard input: anonymous pages, as "NID:PAGES ...". A page or
# two of a mapping don't count: they may be from before the policy was set.
by_node() {
	awk '/ anon=/ && !/ file=/ {
		for (i = 1; i <= NF; i++)
			if ($i ~ /^N[0-9]+=/) {
				split(substr($i, 2), part, "=")
				n[part[1]] += part[2]
			}
	}
	END {
		for (nid = 0; nid < 64; nid++)
			if (n[nid] > 0)
				printf "%s%d:%d", sep++ ? " " : "", nid, n[nid]
		print ""
	}'
}

# NODES OPTION...: all memory of the program is on these, in equal parts if
# there are some
expect_placed() {
	local wanted=$1 part placed nodes=() got

	shift
	placed=$(numactl "$@" bash -c "$PROGRAM" | by_node)
	echo "# numactl $*: $placed"
	got=$(for part in $placed; do echo "${part%:*}"; done | xargs)
	expect "nodes with memory of numactl $*" "$got" "$wanted"
	read -ra nodes <<<"$wanted"
	for part in $placed; do
		((${part#*:} >= PAGES / ${#nodes[@]})) ||
			fail "numactl $*: only ${part#*:} pages on node ${part%:*}"
	done
}

# NID NAME: kB, from the node's meminfo, as of this moment
node_meminfo() {
	cat /proc/sys/vm/stat_refresh
	awk -v name="$2:" '$3 == name { print $4 }' \
		"$NODE_DIR/node$1/meminfo"
}

hardware() {
	local out nid size row

	out=$(numactl --hardware)
	expect "nodes available" "$(awk '/^available/ { print $2 }' <<<"$out")" \
		"$(nodes_with memory | wc -w)"
	for nid in $D1 $D2; do
		grep -qx "node $nid cpus:" <<<"$out" ||
			fail "node $nid isn't one without CPUs"
		size=$(($(node_managed "$nid") / 256))
		grep -qx "node $nid size: $size MB" <<<"$out" ||
			fail "node $nid hasn't $size MB: $out"
		row=$(xargs <"$NODE_DIR/node$nid/distance")
		expect "distances of node $nid" \
			"$(awk -v nid="$nid:" '$1 == nid { $1 = ""; print $0 }' \
				<<<"$out" | xargs)" "$row"
	done
}

# VALUE-OF LINE OPTION...
shown() {
	local name=$1

	shift
	numactl "$@" numactl --show 2>/dev/null |
		awk -F ': *' -v name="$name" '$1 == name { print $2 }' | xargs
}

show() {
	local all

	all=$(nodes_with memory)
	expect "default policy" "$(numactl -s | head -n 1)" "policy: default"
	expect "membind of all" "$(numactl -s |
		awk -F ': ' '$1 == "membind" { print $2 }' | xargs)" "$all"
	expect policy "$(shown policy --membind="$D1")" bind
	expect membind "$(shown membind --membind="$D1")" "$D1"
	expect membind "$(shown membind --membind="$S0,$D1")" "$S0 $D1"
	expect policy "$(shown policy --preferred="$D1")" preferred
	expect preferred "$(shown 'preferred node' --preferred="$D1")" "$D1"
	expect policy "$(shown policy --interleave="$D1,$D2")" interleave
	expect interleave "$(shown interleavemask --interleave="$D1,$D2")" \
		"$D1 $D2"
	# What was set is reported, though the device nodes are passed over.
	expect interleave "$(shown interleavemask --interleave=all)" "$all"
}

device_masks() {
	expect_placed "$D1" --membind="$D1"
	expect_placed "$D2" --membind="$D2"
	expect_placed "$D1" --preferred="$D1"
	expect_placed "$D1 $D2" --interleave="$D1,$D2"
	expect_placed "$D1" --interleave="$D1"
	expect_placed "$D1" --cpunodebind="$S0" --membind="$D1"
	expect_placed "$D1" --balancing --membind="$D1"
	expect_placed "$D1" --all --membind="$D1"
}

# With more than one to choose from, the one that is near.
nearest_of_two() {
	local first

	first=$(numactl --membind="$D1,$D2" bash -c "$PROGRAM" | by_node)
	[[ $first == "$D1:"* || $first == "$D2:"* ]] || fail "--membind: $first"
	[[ $first != *" "* ]] || fail "both are used: $first"
}

preferred_many() {
	numactl --preferred-many="$D1" true 2>/dev/null ||
		skip "no --preferred-many in this numactl"
	expect_placed "$D1" --preferred-many="$D1"
	expect_placed "$S1" --preferred-many="$S1,$D1"
}

weighted_interleave() {
	local dir=/sys/kernel/mm/mempolicy/weighted_interleave nid placed

	numactl --weighted-interleave="$D1" true 2>/dev/null ||
		skip "no --weighted-interleave in this numactl"
	expect_placed "$D1 $D2" --weighted-interleave="$D1,$D2"
	expect_placed "$S0 $S1" --weighted-interleave=all
	echo 3 >"$dir/node$D1"
	placed=$(numactl --weighted-interleave="$D1,$D2" bash -c "$PROGRAM" |
		by_node)
	echo 1 >"$dir/node$D1"
	for nid in $D1 $D2; do
		[[ " $placed" == *" $nid:"* ]] || fail "weighted: $placed"
	done
	expect_near "three quarters of them" \
		"$(sed -E "s/.*\b$D1:([0-9]+).*/\1/" <<<"$placed")" \
		$((PAGES * 3 / 4)) $((PAGES / 16))
}

# Masks that name system nodes as well never reach a device.
mixed_masks() {
	expect_placed "$S0 $S1" --interleave=all
	expect_placed "$S0" --interleave="$S0,$D1,$D2"
	expect_placed "$S0" --membind=all
	expect_placed "$S0" --membind="$S0,$D1"
	expect_placed "$S1" --membind="!$S0"
	expect_placed "$S0" --localalloc
	expect_placed "$S1" --membind="$S1"
}

# STATUS MESSAGE COMMAND...
expect_refused() {
	local wanted=$1 message=$2 rc=0

	shift 2
	"$@" >"$WORK/refused" 2>&1 || rc=$?
	expect "status of $*" "$rc" "$wanted"
	grep -q "$message" "$WORK/refused" ||
		fail "$*: $(head -n 3 "$WORK/refused")"
}

refusals() {
	expect_refused 1 'out of range' numactl --membind=63 true
	expect_refused 1 'out of range' numactl --interleave="$D1,40" true
	expect_refused 1 'out of range' migratepages $$ "$S0" 63
	# It has no CPUs to run on.
	expect_refused 1 'Invalid argument' numactl --cpunodebind="$D1" true
	expect_refused 1 'No such process' migratepages 99999 "$S0" "$D1"
}

shared_memory() {
	local file=/dev/shm/devmem-$$ before1 before2 half=$((PAGES * PAGE_KB / 2))

	before1=$(node_meminfo "$D1" Shmem)
	before2=$(node_meminfo "$D2" Shmem)
	numactl --length=$((PAGES * PAGE_KB))k --file="$file" --membind="$D1" --touch
	expect "kB of shmem" "$(node_meminfo "$D1" Shmem)" \
		$((before1 + PAGES * PAGE_KB))
	expect "dump" "$(numactl --length=$((PAGES * PAGE_KB))k --file="$file" \
		--dump-nodes | awk '{ print $2 }' | sort -u)" "$D1"
	numactl --length=$((PAGES * PAGE_KB))k --file="$file" --dump |
		grep -q "bind *: *$D1" || fail "--dump doesn't say bind: $D1"
	rm "$file"
	expect "kB of shmem" "$(node_meminfo "$D1" Shmem)" "$before1"

	# Two halves with two policies
	numactl --length=${half}k --file="$file" --membind="$D2" --touch
	numactl --offset=${half}k --length=$((PAGES * PAGE_KB))k --file="$file" \
		--membind="$S0" --touch
	expect "kB of shmem" "$(node_meminfo "$D2" Shmem)" $((before2 + half))
	rm "$file"

	numactl --length=$((PAGES * PAGE_KB))k --shm="$WORK/key" \
		--interleave="$D1,$D2" --touch >/dev/null 2>&1
	expect "kB of shmem" "$(node_meminfo "$D1" Shmem)" $((before1 + half))
	expect "kB of shmem" "$(node_meminfo "$D2" Shmem)" $((before2 + half))
	ipcrm -a
	expect "kB of shmem" "$(node_meminfo "$D1" Shmem)" "$before1"

	# All nodes: nothing of it on a device
	numactl --length=$((PAGES * PAGE_KB))k --file="$file" --interleave=all --touch
	expect "kB of shmem" "$(node_meminfo "$D1" Shmem)" "$before1"
	expect "kB of shmem" "$(node_meminfo "$D2" Shmem)" "$before2"
	rm "$file"
}

# OPTION...: starts a program that holds its pages until it is told to go on;
# then it writes the sum of them. Sets PID.
hold() {
	mkfifo "$WORK/go" "$WORK/ready"
	# Opened for both, so that nobody waits for the other to open it.
	exec 8<>"$WORK/go" 9<>"$WORK/ready"
	numactl "$@" bash -c "$HOLD; echo >&9; read -r -t 120 _ <&8
		md5sum <<<\"\$text\" >'$WORK/sum'" &
	PID=$!
	read -r -t 60 _ <&9 || fail "numactl $*: the program doesn't start"
}

let_go() {
	echo >&8
	wait "$PID"
	expect "what it holds" "$(<"$WORK/sum")" \
		"$(bash -c "$HOLD; md5sum <<<\"\$text\"")"
}

# NID: all of the held program's memory is there
expect_held_on() {
	local placed

	placed=$(by_node <"/proc/$PID/numa_maps")
	if [[ ! $placed =~ ^$1:[0-9]+$ ]] || ((${placed#*:} < PAGES)); then
		fail "its memory is on $placed"
	fi
}

migratepages_there_and_back() {
	hold --membind="$S0"
	expect_held_on "$S0"
	migratepages "$PID" "$S0,$S1" "$D1"
	expect_held_on "$D1"
	migratepages "$PID" "$D1" "$D2"
	expect_held_on "$D2"
	migratepages "$PID" "$D2" "$S0"
	expect_held_on "$S0"
	let_go
}

# FILE: the number in column NID of the line NAME of a table of numastat's
column() {
	awk -v name="$2" -v at="$(($3 + 2))" '$1 == name { print $at }' "$1"
}

numastat_of_process() {
	local mb

	hold --membind="$D1"
	numastat -p "$PID" >"$WORK/table"
	mb=$(column "$WORK/table" Total "$D1")
	echo "# $mb MB on node $D1"
	((${mb%.*} >= PAGES * PAGE_KB / 1024)) || fail "$mb MB on node $D1"
	mb=$(column "$WORK/table" Total "$D2")
	expect "MB on node $D2" "$mb" 0.00
	let_go
}

numastat_tables() {
	local nid mb hits

	numastat -m >"$WORK/table"
	numastat -c -m >"$WORK/compact"
	for nid in $S0 $D1 $D2; do
		mb=$(($(node_meminfo "$nid" MemTotal) / 1024))
		expect_near "MB of node $nid" \
			"$(column "$WORK/table" MemTotal "$nid" | cut -d. -f1)" \
			"$mb" 1
		expect_near "MB of node $nid" \
			"$(column "$WORK/compact" MemTotal "$nid")" "$mb" 1
	done
	for nid in $D1 $D2; do
		expect "page tables" "$(column "$WORK/table" PageTables "$nid")" \
			0.00
		expect "slab" "$(column "$WORK/table" Slab "$nid")" 0.00
	done

	hits=$(numastat | awk -v at=$((D1 + 2)) '/numa_hit/ { print $at }')
	memhog -r1 8M membind "$D1" >/dev/null
	expect_near "numa_hit" \
		"$(numastat | awk -v at=$((D1 + 2)) '/numa_hit/ { print $at }')" \
		$((hits + PAGES)) 64
	numastat -n | grep -q Numa_Hit || fail "numastat -n"
}

# POLICY NODES: 8 MB, by memhog, and how many pages of devices that takes
hog() {
	local before

	before=$(vmstat pgalloc_coherent)
	memhog -r1 8M "$@" >/dev/null
	cat /proc/sys/vm/stat_refresh
	echo $(($(vmstat pgalloc_coherent) - before))
}

memhog_and_migspeed() {
	expect_near "pages of a device" "$(hog membind "$D1")" $PAGES 8
	expect_near "pages of devices" "$(hog interleave "$D1,$D2")" $PAGES 8
	expect_near "pages of a device" "$(hog preferred "$D1")" $PAGES 8
	expect "pages of devices" "$(hog interleave all)" 0
	expect "pages of devices" "$(hog default)" 0
	migspeed -p 1000 "$S0" "$D1" >"$WORK/speed"
	grep -q " N$D1=1000 " "$WORK/speed" || fail "$(<"$WORK/speed")"
	migspeed -p 1000 "$D1" "$S0" >"$WORK/speed"
	grep -q " N$S0=1000 " "$WORK/speed" || fail "$(<"$WORK/speed")"
}

a_full_device() {
	local rc=0 kills placed said

	need_testmod
	kills=$(vmstat oom_kill)
	fill_up "$D1"
	said=$({ numactl --membind="$D1" memhog 1M; } 2>&1) || rc=$?
	# By SIGBUS; or exec() had not even a page for its arguments.
	[[ $rc == $((128 + 7)) ||
	   ($rc == 1 && $said == *"Argument list too long"*) ]] ||
		fail "status of a bound program is $rc: $said"
	# To the system node that is nearest to the device
	placed=$(numactl --preferred="$D1" bash -c "$PROGRAM" | by_node)
	[[ $placed =~ ^($S0|$S1):[0-9]+$ ]] || fail "preferred: $placed"
	expect_placed "$D2" --membind="$D1,$D2"
	# Nothing to move to
	hold --membind="$S0"
	expect_refused 1 'Cannot allocate memory' migratepages "$PID" \
		"$S0,$S1" "$D1"
	let_go
	expect "OOM kills" "$(vmstat oom_kill)" "$kills"
}

# shellcheck disable=SC2317 # called by run_test
after_test() {
	[[ ! -d $TESTMOD ]] || testmod free >/dev/null
	rm -rf "${WORK:?}"/*
}

all_given_back() {
	expect_all_free
}

ALL=(hardware show device_masks nearest_of_two preferred_many
     weighted_interleave mixed_masks refusals shared_memory
     migratepages_there_and_back numastat_of_process numastat_tables
     memhog_and_migspeed a_full_device all_given_back)
run_tests "${@:-${ALL[@]}}"
