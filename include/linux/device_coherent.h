/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ZONE_DEVICE_COHERENT: cache-coherent memory of a coprocessor, as a NUMA node
 * whose pages nobody gets without asking. What drivers use of it.
 *
 * A "device node" is a node in N_DEVICE_COHERENT. It has no CPU, and all of its
 * memory is in its ZONE_DEVICE_COHERENT. A "system node" is any other node.
 *
 * Functions are described where they are defined, in mm/device_coherent/, and in
 * Documentation/driver-api/device_coherent.rst. What the core kernel calls is in
 * linux/device_coherent_hooks.h.
 */
#ifndef _LINUX_DEVICE_COHERENT_H
#define _LINUX_DEVICE_COHERENT_H

#include <linux/bits.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/mm_types.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/sched/coredump.h>
#include <linux/types.h>

struct folio;
struct gen_pool;
struct mm_struct;
struct notifier_block;
struct page;

/* page_in_zone_device_coherent(), folio_in_zone_device_coherent(): mmzone.h */

/**
 * for_each_device_coherent_node - loop over the device nodes
 * @nid: the node id, an int
 */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
#define for_each_device_coherent_node(nid)				\
	for_each_node_state(nid, N_DEVICE_COHERENT)
#else
#define for_each_device_coherent_node(nid)				\
	for ((nid) = MAX_NUMNODES; false; )
#endif

/**
 * node_is_device_coherent - is this a device node?
 * @nid: node id, or NUMA_NO_NODE
 *
 * Context: Any. The answer lasts as long as the node does.
 * Return: true if all memory of node @nid is, or is about to be, in its
 * ZONE_DEVICE_COHERENT.
 */
static inline bool node_is_device_coherent(int nid)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return nid >= 0 && nid < MAX_NUMNODES &&
	       node_state(nid, N_DEVICE_COHERENT);
#else
	return false;
#endif
}

/**
 * device_coherent_zone - where a device node has its memory
 * @nid: node id, or NUMA_NO_NODE
 *
 * Context: Any.
 * Return: the zone; NULL if @nid isn't a device node.
 */
static inline struct zone *device_coherent_zone(int nid)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (node_is_device_coherent(nid))
		return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
#endif
	return NULL;
}

/**
 * enum device_coherent_event - what a notifier hears of
 * @DEVICE_COHERENT_NODE_ADDED: the node has become a device node
 * @DEVICE_COHERENT_NODE_REMOVED: it has ceased to be one; its memory is gone
 */
enum device_coherent_event {
	DEVICE_COHERENT_NODE_ADDED = 1,
	DEVICE_COHERENT_NODE_REMOVED,
};

/* Flags of device_coherent_add() */
#define DEVICE_COHERENT_MEMMAP_ON_DEVICE	BIT(0)

/**
 * device_coherent_mark_mm - this address space may have pages on a device
 * @mm: the address space, or NULL
 *
 * Who gives it one says so before: a policy that names a device, an allocation
 * by one, a system call that moves pages, a driver that maps its own with
 * vm_insert_page() or migrate_vma_pages(). A fork inherits it. The OOM killer
 * doesn't look for device pages where there is no mark.
 *
 * Context: Any.
 */
static inline void device_coherent_mark_mm(struct mm_struct *mm)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (mm && !test_bit(MMF_DEVICE_COHERENT, &mm->flags))
		set_bit(MMF_DEVICE_COHERENT, &mm->flags);
#endif
}

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

#ifdef CONFIG_ZONE_DEVICE_COHERENT
/* Device nodes */
int device_coherent_add(int nid, u64 start, u64 size, unsigned int flags);
int device_coherent_remove(int nid, u64 start, u64 size);
int device_coherent_register_notifier(struct notifier_block *nb);
int device_coherent_unregister_notifier(struct notifier_block *nb);
bool device_coherent_makes_room(int nid);

/* Pages, and how many there are */
struct page *device_coherent_alloc_pages(int nid, gfp_t gfp,
					 unsigned int order);
struct folio *device_coherent_alloc_folio(int nid, gfp_t gfp,
					  unsigned int order);
void device_coherent_free_pages(struct page *page, unsigned int order);
unsigned long device_coherent_nr_free(int nid);
unsigned long device_coherent_system_room(const nodemask_t *nodes);

/* Contiguous ranges, and pools of small pieces of one */
int device_coherent_get_contig(int nid, gfp_t gfp, unsigned long nr_pages,
			       unsigned long align, struct page **page);
struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
					  unsigned long nr_pages,
					  unsigned long align);
void device_coherent_free_contig(struct page *page, unsigned long nr_pages);
unsigned long device_coherent_largest_run(int nid, bool displace);
struct gen_pool *device_coherent_pool_create(int nid, size_t size,
					     int min_alloc_order);
void device_coherent_pool_destroy(struct gen_pool *pool);

/* Ranges of address space */
int device_coherent_migrate_range(struct mm_struct *mm, unsigned long *addr,
				  unsigned long end, int nid,
				  nodemask_t *allowed, unsigned int flags,
				  struct device_coherent_moved *count);
int device_coherent_find_range(struct mm_struct *mm, unsigned long addr,
			       unsigned long end,
			       struct device_coherent_where *where);
int device_coherent_bind_range(unsigned long addr, unsigned long size, int nid);
#else
/* For drivers that can do without */
static inline int device_coherent_add(int nid, u64 start, u64 size,
				      unsigned int flags)
{
	return -EOPNOTSUPP;
}

static inline int device_coherent_remove(int nid, u64 start, u64 size)
{
	return -EOPNOTSUPP;
}

static inline struct page *device_coherent_alloc_pages(int nid, gfp_t gfp,
						       unsigned int order)
{
	return NULL;
}

static inline struct folio *device_coherent_alloc_folio(int nid, gfp_t gfp,
							unsigned int order)
{
	return NULL;
}

static inline void device_coherent_free_pages(struct page *page,
					      unsigned int order)
{
}

static inline int device_coherent_get_contig(int nid, gfp_t gfp,
					     unsigned long nr_pages,
					     unsigned long align,
					     struct page **page)
{
	return -ENODEV;
}

static inline struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
							unsigned long nr_pages,
							unsigned long align)
{
	return NULL;
}

static inline void device_coherent_free_contig(struct page *page,
					       unsigned long nr_pages)
{
}

static inline unsigned long device_coherent_largest_run(int nid, bool displace)
{
	return 0;
}

static inline bool device_coherent_makes_room(int nid)
{
	return false;
}

static inline struct gen_pool *
device_coherent_pool_create(int nid, size_t size, int min_alloc_order)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void device_coherent_pool_destroy(struct gen_pool *pool)
{
}

static inline int device_coherent_register_notifier(struct notifier_block *nb)
{
	return 0;
}

static inline int
device_coherent_unregister_notifier(struct notifier_block *nb)
{
	return 0;
}
#endif /* CONFIG_ZONE_DEVICE_COHERENT */

#endif /* _LINUX_DEVICE_COHERENT_H */
