#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tour of "make run" ends well and fits what it is shown on: on a terminal
# of 60 columns, the narrowest that it knows, and in a pipe.
#
# Proof that it can fail: with an ordinary node for the device node (DEVMEM_NODES,
# and "scripts/vm --no-register") nine things don't hold, and the tour ends with
# 1. "no_device" wants it to say what is missing.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 1
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
RC=0

# Lines as they are left standing: what follows the last carriage return
standing() {
	sed -e 's/\x1b\[[0-9;]*m//g' -e 's/.*\r//' "$OUT"
}

# COLUMNS: the longest line, at any time
expect_fits() {
	local longest

	# Columns, not bytes: awk can't tell them apart.
	longest=$(tr '\r' '\n' <"$OUT" | sed 's/\x1b\[[0-9;]*m//g' |
		LC_ALL=C.UTF-8 wc -L)
	echo "# longest line: $longest"
	((longest <= $1)) || fail "the output is wider than $1 columns"
}

expect_good() {
	[[ $RC == 0 ]] || standing | sed 's/^/# /'
	expect "status" "$RC" 0
	standing | grep -q '^All of it held' || fail "$(standing | tail -n 3)"
}

terminal() {
	DEVMEM_STYLE=fancy DEVMEM_WIDTH=60 LC_ALL=C.UTF-8 \
		"$DEVMEM_DIR/tour" >"$OUT" || RC=$?
	expect_good
	expect_fits 60
	grep -q $'\xe2\x9c\x93' "$OUT" || fail "no tick in it"
}

pipe() {
	"$DEVMEM_DIR/tour" >"$OUT" || RC=$?
	expect_good
	expect_fits 78
	! LC_ALL=C grep -q '[^ -~]' "$OUT" || fail "more than plain text in it"
}

no_device() {
	local rc=0

	DEVMEM_NODES='' "$DEVMEM_DIR/tour" >"$OUT" 2>&1 || rc=$?
	expect "status" "$rc" "$KSFT_SKIP"
	grep -q 'no device node' "$OUT" || fail "$(<"$OUT")"
}

run_tests terminal pipe no_device
