#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of "pressure.sh": puts system memory under pressure by
# reading files while anonymous memory is written and at last until the OOM
# killer comes, and prints what that did, one "name value" a line. Its first
# argument says what device nodes are meant to do meanwhile, its second one by how
# many MB of memory this run differs from others:
#  none   nothing: they are empty, or there are none
#  busy   a task writes memory on them and migrates it from one to the other
#  full   a task has all of their memory
#  bound  as "full" for the OOM killer: a task has much memory on a node that is
#         an ordinary one
#
# Nothing here waits for a device: files and swap are on ramdisks, whose memory
# is there before, and all tasks keep their text in memory. So in a machine
# whose clock counts instructions it always takes nearly the same course.
set -euo pipefail
# shellcheck source=devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/devmem_lib.sh"

STATE=$1
SWAP_MB=64
LOAD_MB=$((142 + $2))
PASSES=3
TASK=$DEVMEM_DIR/pressure_task
read -ra NODES <<<"$(device_nodes)"
WORK=$(mktemp -d)

# ARGUMENT...: a task that stays
start() {
	start_task "$WORK/$2" "$TASK" "$@"
}

system_watermarks() {
	local kb

	kb=$(</proc/sys/vm/min_free_kbytes)
	echo "$kb" >/proc/sys/vm/min_free_kbytes
	zones_now | awk '$2 != "Coherent" { min += $9; low += $10; high += $11 }
		END { print "min", min; print "low", low; print "high", high }'
}

# Never read: a ramdisk has no memory for what was never written. The swap
# space is written first, so that swapping takes no memory.
dd if=/dev/zero of=/dev/ram0 bs=1M count=$SWAP_MB oflag=direct status=none
mkswap /dev/ram0 $((SWAP_MB * 1024)) >/dev/null 2>&1
swapon /dev/ram0

# Two for the OOM killer to choose from. The first has less of the system's
# memory, and in some machines much of a device's.
case $STATE in
full)
	start hold device_task 12 "${NODES[0]}" -1
	[[ -z ${NODES[1]:-} ]] || start hold device_rest 0 "${NODES[1]}" -1
	;;
busy)
	start hold device_task 12 "${NODES[0]}" 96
	start busy 24 "${NODES[0]}" "${NODES[1]}"
	;;
bound) start hold device_task 12 1 96 ;;
*) start hold device_task 12 0 0 ;;
esac
start hold system_task 32 0 0

# Used by what comes, so that it is there
"$TASK" load /dev/null 1 1 >/dev/null
dmesg >/dev/null
sync
echo 3 >/proc/sys/vm/drop_caches
system_watermarks
available=$(($(meminfo MemAvailable) / 1024))
echo "MemAvailable $(meminfo MemAvailable)"
echo "kswapd_threads $(pgrep -c '^kswapd')"
# A base or a compiler that leaves less: so much less is enough for pressure.
((available >= 150)) || LOAD_MB=$((LOAD_MB - (150 - available)))
# A debug kernel needs much memory itself: a little more than it has left.
! debug_kernel || LOAD_MB=$((available + 16))
"$TASK" load /dev/ram1 $LOAD_MB $PASSES
echo "MemAvailable_after $(meminfo MemAvailable)"

swapoff /dev/ram0
kills=$(vmstat oom_kill)
"$TASK" grow
echo "oom_kills $(($(vmstat oom_kill) - kills))"
# The first: who grows may take some more before it sees that there was one, and then
# the next one has to go.
echo "victim $(dmesg | sed -nE 's/.*Out of memory: Killed process [0-9]+ \((\w+)\).*/\1/p' |
	grep -v pressure_task | sed -n 1p)"
