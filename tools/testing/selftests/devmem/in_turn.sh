#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Programs of this folder one after the other, on one machine: those that want
# the same one, for which booting it again would take longer than the tests.
#
#   in_turn.sh "PROGRAM [ARGUMENT...]"...
#
# Each prints its own KTAP. The status is that of the first one that failed; that
# all are skipped if all are.
set -uo pipefail

dir=$(dirname "$(readlink -f "$0")")
KSFT_SKIP=4
failed=0
ran=0

for program; do
	status=0
	echo "# $program"
	read -ra words <<<"$program"
	"$dir/${words[0]}" "${words[@]:1}" || status=$?
	((status == KSFT_SKIP)) && continue
	ran=1
	((failed)) || failed=$status
done
((ran)) || exit "$KSFT_SKIP"
exit "$failed"
