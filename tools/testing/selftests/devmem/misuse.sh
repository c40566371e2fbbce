#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 1: the flag, given to an allocator that must not take it, is
# refused or stripped. No device page is used, the kernel goes on, and where a
# caller did something wrong the log says so. The kernel warns in this test.
#
# Proof that it can fail: control_pages uses the flag where it belongs, and the
# same detectors see the pages.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

need_root
need_device_nodes 1
need_testmod

after_test() {
	testmod free >/dev/null
}

control_pages() {
	local before

	before=$(vmstat pgalloc_coherent)
	expect_testmod 0 alloc "${DEVICE_NODES[0]}" 0 3
	expect "pgalloc_coherent" "$(vmstat pgalloc_coherent)" $((before + 3))
	expect "pages in use" "$(node_used "${DEVICE_NODES[0]}")" 3
	expect_testmod 0 free
}

# ALLOCATOR REGEX: what the log has to say, if anything
misuse() {
	local before mark

	before=$(vmstat pgalloc_coherent)
	mark="devmem misuse $1 $RANDOM"
	echo 1 >/sys/kernel/debug/clear_warn_once
	echo "$mark" >/dev/kmsg
	expect_testmod 0 misuse "$1"
	expect "pgalloc_coherent" "$(vmstat pgalloc_coherent)" "$before"
	expect_all_free
	[[ -n $2 ]] || return 0
	# Not -q: that would end the pipe early, and sed with a failure.
	dmesg | sed "1,/$mark/d" | grep -E "$2" >/dev/null ||
		fail "the kernel did not say '$2'"
}

# A slab that exists already serves this one, without a look at the flags.
kmalloc() { misuse kmalloc ''; }
kmalloc_large() { misuse kmalloc_large 'Unexpected gfp: '; }
kmem_cache() { misuse kmem_cache 'Unexpected gfp: '; }
vmalloc() { misuse vmalloc 'vmalloc: __GFP_DEVICE_COHERENT is for'; }
# The per-CPU allocator takes the few flags it knows and drops all others.
percpu() { misuse percpu ''; }
nofail() { misuse nofail '__GFP_DEVICE_COHERENT with __GFP_NOFAIL'; }
# Without a node the local one is meant, which is no device: nothing to warn of.
nonode() { misuse nonode ''; }

unknown_is_refused() {
	expect_testmod EINVAL misuse something
}

run_tests control_pages kmalloc kmalloc_large kmem_cache vmalloc percpu \
	nofail nonode unknown_is_refused
