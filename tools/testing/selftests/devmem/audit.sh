#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 1, and the detector for it: "audit" finds nothing after ordinary
# work, takes pages that were asked for as such, and finds the one page that
# the test module plants in the zone without asking. Needs page_owner=on.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 1
need_testmod
trap 'testmod free >/dev/null; rm -f "$OUT"' EXIT
NID=${DEVICE_NODES[0]}
OUT=$(mktemp)

# WANTED_STATUS REGEX
expect_audit() {
	local rc=0

	"$DEVMEM_DIR/audit" >"$OUT" 2>&1 || rc=$?
	if [[ $rc != "$1" ]] || ! grep -qE "$2" "$OUT"; then
		sed 's/^/# /' "$OUT"
		fail "audit ended with $rc, not $1 and '$2'"
	fi
}

clean_after_load() {
	local i dir

	dir=$(mktemp -d)
	for i in 1 2 3 4; do
		head -c 16M /dev/zero >"$dir/$i"
		gzip -1 <"$dir/$i" >/dev/null &
	done
	wait
	rm -r "$dir"
	expect_audit 0 ' 0 pages in use .* 0 of them'
}

asked_for_is_no_finding() {
	expect_testmod 0 alloc "$NID" 0 20
	expect_testmod 0 alloc "$NID" 4 2
	expect_testmod 0 alloc "$NID" 0 3 1
	expect_audit 0 ' 55 pages in use .* 0 of them'
}

# In a block of its own: held pages keep their neighbours from being isolated.
one_planted_page_is_found() {
	local pfn

	expect_testmod 0 free
	expect_testmod 0 plant "$NID"
	expect_testmod 0 alloc "$NID" 0 55
	expect_audit 1 ' 56 pages in use .* 1 of them'
	pfn=$(dmesg | sed -n 's/.*planted pfn \([0-9]*\).*/\1/p' | tail -n 1)
	expect_audit 1 "PFN $(printf '(0x%x|%u) ' "$pfn" "$pfn")"
	expect_audit 1 'alloc_contig_range'
}

clean_after_free() {
	expect_testmod 0 free
	expect_audit 0 ' 0 pages in use .* 0 of them'
}

"$DEVMEM_DIR/page_owner_read" 0 1 2>/dev/null ||
	skip_all "needs page_owner=on"
run_tests clean_after_load asked_for_is_no_finding one_planted_page_is_found \
	clean_after_free
