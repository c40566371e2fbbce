#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a booted machine made of its memory, for the tests that compare boots:
#   device NID ZONES MANAGED_MB USED_PAGES		each device node
#   distance NID TO_NODE_0				each device node
#   system NID ZONES					each other node
#   mem_total KB, mem_free KB
#   range START END					device memory in iomem
#   code START END, crash START END			kernel, crash kernel
set -euo pipefail
# shellcheck source=devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/devmem_lib.sh"

device=$(device_nodes)
for nid in $(expand_list "$(<"$NODE_DIR/online")"); do
	names=$(zone_names "$nid" | tr ' ' +)
	if in_list "$nid" "$device"; then
		echo "device $nid $names $(($(node_managed "$nid") * PAGE_SIZE >> 20))" \
			"$(node_used "$nid")"
		echo "distance $nid $(cut -d ' ' -f 1 "$NODE_DIR/node$nid/distance")"
	else
		echo "system $nid $names"
	fi
done
echo "mem_total $(meminfo MemTotal)"
echo "mem_free $(meminfo MemFree)"
sed -nE -e 's/^ *([0-9a-f]+)-([0-9a-f]+) : System RAM \(device_coherent\)/range \1 \2/p' \
	-e 's/^ *([0-9a-f]+)-([0-9a-f]+) : Kernel code/code \1 \2/p' \
	-e 's/^ *([0-9a-f]+)-([0-9a-f]+) : Crash kernel/crash \1 \2/p' /proc/iomem
