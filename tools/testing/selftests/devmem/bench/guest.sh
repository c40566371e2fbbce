#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Prepare the machine for devmem_bench and run it: the module, a file system on a
# RAM disk, a copy of the program in memory, nothing else going on.
#
#   guest.sh MODULE BENCH-ARGUMENT...
set -euo pipefail

here=$(dirname "$(realpath "$0")")
module=$1
shift

if [ -e "$module" ]; then
	insmod "$module"
fi
if [ -b /dev/ram0 ] && mke2fs -q -t ext4 /dev/ram0 2>/dev/null; then
	mount -t ext4 /dev/ram0 /mnt
fi
# How many page tables a program needs is no matter of chance.
echo 0 >/proc/sys/kernel/randomize_va_space
# Who scans or collapses pages meanwhile is no part of any row.
echo 0 >/proc/sys/kernel/numa_balancing || true
echo 0 >/sys/kernel/mm/transparent_hugepage/khugepaged/defrag || true
echo 0 >/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan 2>/dev/null || true
echo 3600000 >/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs || true
cp "$here/../devmem_bench" /tmp/devmem_bench
# What booting left to be done later
sleep 10
exec /tmp/devmem_bench "$@"
