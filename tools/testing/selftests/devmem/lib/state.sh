#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 3, never in the way: prints what must be the same with a device
# node as with that memory absent, one "name value" a line. accounting.sh
# compares. "state.sh full" prints it once more, each name with the prefix
# "full.", while every device node is full of pages.
set -euo pipefail
# shellcheck source=devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/devmem_lib.sh"

system_zones() {
	local device

	device=$(device_nodes)
	zones | while read -r nid zone free pcp managed present spanned start \
		min low high; do
		! in_list "$nid" "$device" || continue
		zone="node$nid.$zone"
		echo "$zone.managed $managed"
		echo "$zone.present $present"
		echo "$zone.spanned $spanned"
		echo "$zone.start_pfn $start"
		echo "$zone.min $min"
		echo "$zone.low $low"
		echo "$zone.high $high"
		: "$free $pcp"
	done
	awk -v device=" $device " '
		/^Node/ { nid = $2 + 0; zone = $4 }
		/protection:/ && !index(device, " " nid " ") {
			sub(/.*protection: /, "")
			gsub(/ /, "")
			print "node" nid "." zone ".protection", $0
		}' /proc/zoneinfo
}

# Free pages that wait on lists of the CPUs, of system nodes. They aren't counted
# as free, and are some MB more or less from boot to boot.
waiting() {
	zones | awk -v device=" $(device_nodes) " \
		'!index(device, " " $1 " ") { n += $4 } END { print n + 0 }'
}

meminfo_lines() {
	local name kb

	for name in MemTotal CommitLimit SwapTotal; do
		echo "meminfo.$name $(meminfo $name)"
	done
	kb=$(($(waiting) * PAGE_KB))
	for name in MemFree MemAvailable; do
		echo "meminfo.$name $(($(meminfo $name) + kb))"
	done
}

sysctls() {
	local name

	for name in vm/min_free_kbytes vm/lowmem_reserve_ratio \
		vm/user_reserve_kbytes vm/admin_reserve_kbytes \
		vm/overcommit_ratio vm/dirty_ratio kernel/threads-max \
		kernel/numa_balancing kernel/pid_max fs/file-max \
		fs/inotify/max_user_watches fs/epoll/max_user_watches \
		net/ipv4/tcp_mem net/ipv4/udp_mem net/ipv4/tcp_rmem \
		net/ipv4/tcp_wmem net/core/optmem_max kernel/shmmax \
		user/max_user_namespaces vm/max_map_count; do
		[[ ! -r /proc/sys/$name ]] ||
			echo "sysctl.${name//\//.} $(tr -s ' \t' , </proc/sys/"$name")"
	done
}

# A part of what is free
dirty_limits() {
	local pages

	pages=$(waiting)
	echo "vmstat.nr_dirty_threshold $(($(vmstat nr_dirty_threshold) +
		pages * $(</proc/sys/vm/dirty_ratio) / 100))"
	echo "vmstat.nr_dirty_background_threshold $((
		$(vmstat nr_dirty_background_threshold) +
		pages * $(</proc/sys/vm/dirty_background_ratio) / 100))"
}

# Blocks that a tmpfs without a size gets
tmpfs_size() {
	local dir

	dir=$(mktemp -d)
	mount -t tmpfs devmem "$dir"
	echo "tmpfs.blocks $(stat -f -c %b "$dir")"
	echo "tmpfs.inodes $(stat -f -c %c "$dir")"
	umount "$dir"
	rmdir "$dir"
}

# What the kernel sized at boot, from its log. A hash that returns gets a "+";
# lists are built anew when memory is added, and must come out the same.
boot_log() {
	dmesg | sed -nE \
		-e 's/^\[[ 0-9.]*\] ([A-Za-z-]+).* hash table entries: ([0-9]+) .*/hash.\1 \2/p' \
		-e 's/.*Fallback order for Node 0: (.*[0-9]) *$/boot.fallback_node0 \1/p' \
		-e 's/.*Policy zone: ([A-Za-z0-9]+).*/boot.policy_zone \1/p' |
		awk '{
			name = $1
			sub(/^[^ ]+ /, "")
			gsub(/ /, ",")
			if (name ~ /^boot/ && name in seen && seen[name] == $0)
				next
			while (name in seen)
				name = name "+"
			seen[name] = $0
			print name, $0
		}'
}

state() {
	{
		# First: reading lowmem_reserve_ratio computes the protections anew.
		sysctls
		system_zones
		meminfo_lines
		dirty_limits
		tmpfs_size
		boot_log
	} | sort
}

# Watermarks follow the pages each zone had when they were computed, which at
# boot depends on where the initrd was. As booted, only their sum is to be the
# same; computed anew, each is.
watermarks_anew() {
	local kb

	zones | awk -v device=" $(device_nodes) " '
		!index(device, " " $1 " ") { min += $9; low += $10; high += $11 }
		END { print "boot.min", min
		      print "boot.low", low
		      print "boot.high", high }'
	kb=$(</proc/sys/vm/min_free_kbytes)
	echo "$kb" >/proc/sys/vm/min_free_kbytes
}

fill_all() {
	local nid

	need_testmod
	for nid in $(device_nodes); do
		[[ $(testmod fill "$nid") == 0 ]]
		(($(node_free "$nid") * 100 < $(node_managed "$nid")))
	done
}

echo 3 >/proc/sys/vm/drop_caches
watermarks_anew
state
if [[ ${1:-} == full ]]; then
	# The module and its list are in system memory: load, then look.
	need_testmod
	echo 3 >/proc/sys/vm/drop_caches
	echo "list.pages $(zones | awk '$2 == "Coherent" { n += $5 } END { print n + 0 }')"
	state | sed 's/^/empty./'
	fill_all
	echo 3 >/proc/sys/vm/drop_caches
	state | sed 's/^/full./'
	testmod free >/dev/null
fi
