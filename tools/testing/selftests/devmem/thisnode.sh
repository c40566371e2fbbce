#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariants 1 and 2, inside the kernel: callers that pass a device node's id,
# with __GFP_THISNODE and without (pages, slab, vmalloc, per-CPU), the zonelists
# themselves, and requests for the wrong device. The tests are the KUnit suite
# device_coherent; this shows each of them as a test of its own.
#
# Proof that it can fail: the suite's own positive cases allocate with the flag
# and must get device memory; and a suite that did not run is a failure here.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

RESULTS=/sys/kernel/debug/kunit/device_coherent/results

need_root
need_device_nodes 1
load_module device_coherent_kunit ||
	skip_all "needs the module device_coherent_kunit"

device_pages_are_all_free() {
	expect_all_free
}

# Lines of the suite's tests are indented; a line without is the suite's own.
show_suite() {
	local line name

	while IFS= read -r line; do
		name=$(sed -E 's/^ *(not )?ok [0-9]+ //' <<<"$line")
		case $line in
		"    ok "*"# SKIP"*) ktap_test_skip "${name%% \#*}" ;;
		"    ok "*) ktap_test_pass "$name" ;;
		"    not ok "*) ktap_test_fail "$name" ;;
		*) echo "#${line}" ;;
		esac
	done <"$RESULTS"
}

[[ -r $RESULTS ]] || {
	ktap_print_header
	ktap_set_plan 1
	ktap_test_fail "suite_has_run"
	ktap_finished
}

ktap_print_header
ktap_set_plan $(($(grep -cE '^    (not )?ok ' "$RESULTS" || :) + 2))
if grep -qE '^    (not )?ok ' "$RESULTS"; then
	ktap_test_pass suite_has_run
else
	ktap_test_fail suite_has_run
fi
show_suite
run_test device_pages_are_all_free
ktap_finished
