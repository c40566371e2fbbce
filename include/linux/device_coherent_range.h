/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ranges of address space: move them to a device node and back, and see where
 * they are. For /dev/devmem; see Documentation/mm/device_coherent.rst.
 */
#ifndef _LINUX_DEVICE_COHERENT_RANGE_H
#define _LINUX_DEVICE_COHERENT_RANGE_H

#include <linux/bits.h>
#include <linux/nodemask.h>
#include <linux/types.h>

struct mm_struct;

/* Flags of device_coherent_migrate_range() */
#define DEVICE_COHERENT_MIGRATE_ALL	BIT(0)
#define DEVICE_COHERENT_MIGRATE_WHOLE	BIT(1)
#define DEVICE_COHERENT_MIGRATE_SHARED	BIT(2)
#define DEVICE_COHERENT_MIGRATE_GO_ON	BIT(3)

/**
 * struct device_coherent_moved - what became of the pages of a range
 * @moved: they were moved
 * @there: they were there already
 * @absent: nothing is mapped, or the zero page, or it is swapped out
 * @shared: other processes map them, too
 * @pinned: a device or a system call uses them
 * @file: page cache of a file, which doesn't go to a device
 * @no_room: the target had no memory
 * @busy: somebody else used or moved them
 * @unmovable: no one moves them
 */
struct device_coherent_moved {
	unsigned long moved;
	unsigned long there;
	unsigned long absent;
	unsigned long shared;
	unsigned long pinned;
	unsigned long file;
	unsigned long no_room;
	unsigned long busy;
	unsigned long unmovable;
};

/**
 * struct device_coherent_where - where the pages of a range are
 * @nodes: array of nr_node_ids counts of present pages
 * @present: pages that are mapped
 * @absent: nothing is mapped, or the zero page
 * @swapped: pages that are swapped out
 * @device: present on any device node
 * @shared: present, and mapped by other processes, too
 * @pinned: present, and used by a device or a system call, as far as one can
 *	    tell
 * @huge: present, and mapped by a PMD
 * @file: present, of the page cache
 * @unmovable: no one moves them; in none of the others
 */
struct device_coherent_where {
	u64 *nodes;
	unsigned long present;
	unsigned long absent;
	unsigned long swapped;
	unsigned long device;
	unsigned long shared;
	unsigned long pinned;
	unsigned long huge;
	unsigned long file;
	unsigned long unmovable;
};

int device_coherent_migrate_range(struct mm_struct *mm, unsigned long *addr,
				  unsigned long end, int nid,
				  nodemask_t *allowed, unsigned int flags,
				  struct device_coherent_moved *count);
int device_coherent_find_range(struct mm_struct *mm, unsigned long addr,
			       unsigned long end,
			       struct device_coherent_where *where);
int device_coherent_bind_range(unsigned long addr, unsigned long size, int nid);
unsigned long device_coherent_nr_free(int nid);

#endif /* _LINUX_DEVICE_COHERENT_RANGE_H */
