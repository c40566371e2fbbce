/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/devmem: memory of the device nodes, ZONE_DEVICE_COHERENT, for programs
 * that allocate it explicitly and move ranges to and from it.
 *
 * Every argument is a struct whose size is part of the number of the call.
 * A later version may add members at the end: a shorter struct of an older
 * program reads as if its missing members were zero, a longer one is refused
 * with E2BIG unless what the kernel doesn't know is zero. Members named pad must
 * be zero. All sizes and addresses are in bytes, all counts in pages of
 * sysconf(_SC_PAGESIZE). See Documentation/userspace-api/devmem.rst.
 *
 * A descriptor that is open for reading only may ask: DEVMEM_IOC_INFO,
 * DEVMEM_IOC_WATCH, DEVMEM_IOC_VERIFY of the caller itself, and
 * DEVMEM_IOC_ALLOC with DEVMEM_ALLOC_ASK. All else is refused with EBADF.
 */
#ifndef _UAPI_LINUX_DEVMEM_H
#define _UAPI_LINUX_DEVMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* For any node: system memory, or whichever device node is nearest */
#define DEVMEM_NODE_SYSTEM	(-1)
#define DEVMEM_NODE_NEAREST	(-1)

/* Where a process is wanted: the caller itself, instead of a pidfd */
#define DEVMEM_SELF		(-1)

/**
 * struct devmem_info - a device node
 * @node: the node to ask for; the node that the answer is about
 * @flags: DEVMEM_INFO_*
 * @distance: from the CPU that the caller runs on
 * @pad: zero
 * @size: bytes that can be allocated
 * @free: bytes that nobody uses
 * @largest_free: the largest contiguous range of free memory, if asked for
 * @largest_obtainable: likewise, if pages that can be moved away count as free
 * @moved_in: pages that were migrated to the node
 * @moved_out: pages that were migrated away from it
 * @refused: requests that the node had no memory for
 * @displaced: pages that gave way to a contiguous range, or to a broken page
 * @evicted: pages that gave way to a request for memory, see "when full"
 * @buffers: bytes that are in buffers of this driver, those of heaps included
 */
struct devmem_info {
	__s32 node;
	__u32 flags;
	__u32 distance;
	__u32 pad;
	__u64 size;
	__u64 free;
	__u64 largest_free;
	__u64 largest_obtainable;
	__u64 moved_in;
	__u64 moved_out;
	__u64 refused;
	__u64 displaced;
	__u64 evicted;
	__u64 buffers;
};

/* The first device node from @node on: for (node = 0; ...; node++) sees all */
#define DEVMEM_INFO_NEXT	(1 << 0)
/* Fill in @largest_*, which takes a look at every page of the node */
#define DEVMEM_INFO_RUNS	(1 << 1)

/**
 * struct devmem_alloc - allocate device memory
 * @node: the device node, or DEVMEM_NODE_NEAREST; where the memory is
 * @flags: DEVMEM_ALLOC_*
 * @size: bytes, a multiple of the page size
 * @align: the physical address of a contiguous range is a multiple of this
 *	   power of two; 0 if it doesn't matter
 * @fd_flags: O_CLOEXEC, and one of O_RDONLY and O_RDWR
 * @fd: zero; the file descriptor, a dma-buf; -1 after DEVMEM_ALLOC_ASK
 * @reason: DEVMEM_REASON_*, which is all that is stored if the call fails, and
 *	    that with ENOMEM alone; of several nodes, that of the first
 * @pad: zero
 */
struct devmem_alloc {
	__s32 node;
	__u32 flags;
	__u64 size;
	__u64 align;
	__u32 fd_flags;
	__s32 fd;
	__u32 reason;
	__u32 pad;
};

/* Physically contiguous; pages that can be moved are moved out of the way */
#define DEVMEM_ALLOC_CONTIG	(1 << 0)
/* Of whole huge pages (PMD size), so that mappings can be huge throughout */
#define DEVMEM_ALLOC_HUGE	(1 << 1)
/* From the named @node or not at all; otherwise others are tried, too */
#define DEVMEM_ALLOC_EXACT	(1 << 2)
/* Only ask whether it could be had, as far as can be told without taking it */
#define DEVMEM_ALLOC_ASK	(1 << 3)

/* Why there is no memory: a kernel that is too old to tell */
#define DEVMEM_REASON_NONE	0
/* It is more than the node has in all */
#define DEVMEM_REASON_TOO_LARGE	1
/* Others have the node's memory */
#define DEVMEM_REASON_FULL	2
/* Enough is free, but not in one place, or not in huge pages */
#define DEVMEM_REASON_FRAGMENTED 3
/* The limit of the memory cgroup, or of one above it */
#define DEVMEM_REASON_GROUP	4
/* No system memory for what the kernel has to note of a buffer */
#define DEVMEM_REASON_SYSTEM	5

/**
 * struct devmem_migrate - move a range of a process
 * @addr: the first byte, page-aligned; where to go on
 * @size: bytes, page-aligned; what is left, 0 when all is done
 * @budget: bytes of the range to look at in this call, page-aligned; 0 for all,
 *	    as DEVMEM_MIGRATE_ALL demands
 * @node: where to: a node, or DEVMEM_NODE_SYSTEM for the nearest system memory
 * @pidfd: the process, or DEVMEM_SELF
 * @flags: DEVMEM_MIGRATE_*, of which the call sets or clears _GO_ON
 * @pad: zero
 * @moved: pages that were moved
 * @there: pages that were there already
 * @absent: nothing is mapped, or just the zero page, or it is swapped out
 * @shared: other processes map the page, too, and DEVMEM_MIGRATE_SHARED
 *	    wasn't given
 * @pinned: a device or a system call uses the page
 * @file: page cache of a file, which stays in system memory
 * @no_room: the target had no memory
 * @busy: the page was being used or moved by somebody else
 * @unmovable: what no one moves: hugetlb, memory of a driver
 *
 * The counts are added to, not set, so that they run on through the calls that
 * a large range takes. A range may have holes.
 */
struct devmem_migrate {
	__u64 addr;
	__u64 size;
	__u64 budget;
	__s32 node;
	__s32 pidfd;
	__u32 flags;
	__u32 pad;
	__u64 moved;
	__u64 there;
	__u64 absent;
	__u64 shared;
	__u64 pinned;
	__u64 file;
	__u64 no_room;
	__u64 busy;
	__u64 unmovable;
};

/* All or nothing: look first, move only if everything that is mapped can go */
#define DEVMEM_MIGRATE_ALL	(1 << 0)
/* Never split a huge page: it moves whole or stays */
#define DEVMEM_MIGRATE_WHOLE	(1 << 1)
/* Pages of several processes, too; needs CAP_SYS_NICE */
#define DEVMEM_MIGRATE_SHARED	(1 << 2)
/* Bind the range to the node first (system memory: no policy); caller only */
#define DEVMEM_MIGRATE_POLICY	(1 << 3)
/*
 * Set by a call with DEVMEM_MIGRATE_ALL that a signal ended, and cleared by any
 * other: the next one goes on, and doesn't look first, since this one has
 */
#define DEVMEM_MIGRATE_GO_ON	(1 << 4)

/**
 * struct devmem_verify - where is a range of a process?
 * @addr: the first byte, page-aligned
 * @size: bytes, page-aligned
 * @pidfd: the process, or DEVMEM_SELF
 * @flags: zero
 * @nr_nodes: length of @nodes, DEVMEM_MAX_NODES at most
 * @pad: zero
 * @nodes: address of an array of __u64, in which the pages of each node are
 *	   counted; 0 if @nr_nodes is
 * @present: pages that are mapped, wherever they are
 * @absent: pages of address space where nothing is mapped, or just the zero page
 * @swapped: pages that are swapped out
 * @device: of those present, pages on any device node
 * @shared: ... that other processes map, too
 * @pinned: ... that a device or a system call may be using; an estimate
 * @huge: ... that are mapped by a huge page table entry
 * @file: ... of a file's page cache
 * @unmovable: pages of mappings that no one moves: hugetlb, memory of a driver,
 *	       buffers of this one included; in none of the other counts
 *
 * Each page of the range is one of @present, @absent, @swapped and @unmovable.
 */
struct devmem_verify {
	__u64 addr;
	__u64 size;
	__s32 pidfd;
	__u32 flags;
	__u32 nr_nodes;
	__u32 pad;
	__u64 nodes;
	__u64 present;
	__u64 absent;
	__u64 swapped;
	__u64 device;
	__u64 shared;
	__u64 pinned;
	__u64 huge;
	__u64 file;
	__u64 unmovable;
};

/* No kernel has more nodes. */
#define DEVMEM_MAX_NODES	1024

/**
 * struct devmem_watch - wait for room
 * @node: the device node
 * @eventfd: an eventfd to be signalled as often as free memory rises to @free,
 *	     and when there will be no such memory; or -1
 * @free: bytes, no more than the node has; with 0 the watch ends, and @node and
 *	  @eventfd don't matter
 * @flags: zero
 * @pad: zero
 *
 * poll() on the descriptor of /dev/devmem says POLLIN as long as the node has
 * that much free memory, POLLERR if nothing is watched or the node is gone, all
 * of it or so much that it has no longer @free.
 * A descriptor has one watch; a new one replaces it.
 */
struct devmem_watch {
	__s32 node;
	__s32 eventfd;
	__u64 free;
	__u32 flags;
	__u32 pad;
};

#define DEVMEM_IOC_INFO		_IOWR(0xBD, 0x00, struct devmem_info)
#define DEVMEM_IOC_ALLOC	_IOWR(0xBD, 0x01, struct devmem_alloc)
#define DEVMEM_IOC_MIGRATE	_IOWR(0xBD, 0x02, struct devmem_migrate)
#define DEVMEM_IOC_VERIFY	_IOWR(0xBD, 0x03, struct devmem_verify)
#define DEVMEM_IOC_WATCH	_IOW(0xBD, 0x04, struct devmem_watch)

#endif /* _UAPI_LINUX_DEVMEM_H */
