/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rooms of mm/device_coherent/ have from one another.
 *
 * Calls run one way, from the end of this list to its beginning:
 *
 *   accounting.c   what is counted where
 *   oom.c          what a task has on devices
 *   counters.c     what happened on a node
 *   room.c         a device that is full
 *   declare.c      what empty nodes are to become
 *   node.c         device nodes, as they come and go
 *   zonelist.c     requests: lists, and what they may do
 *   placement.c    what counts as a request
 *   fault.c        the fault that finds a device full
 *   access.c       who may ask
 *   boot.c         the boot parameter
 *   contig.c       contiguous ranges
 *   move.c         the pages of one process
 *   range.c        ranges of address space
 *
 * Parts of other files, which include them, as they need what is static there:
 *
 *   in_page_alloc.h   of mm/page_alloc.c
 *   in_vmscan.h       of mm/vmscan.c
 *   in_mempolicy.h    of mm/mempolicy.c
 */
#ifndef _MM_DEVICE_COHERENT_INTERNAL_H
#define _MM_DEVICE_COHERENT_INTERNAL_H

#include <linux/device_coherent_hooks.h>
#include <linux/mmzone.h>
#include <linux/sizes.h>

#include "../internal.h"

struct device_attribute;

/* A device that is full is nothing to warn of. */
static inline gfp_t device_gfp(gfp_t gfp)
{
	return gfp | __GFP_DEVICE_COHERENT | __GFP_NOWARN;
}

/* declare.c */
extern nodemask_t device_coherent_cpu_nodes;
int device_coherent_declare(const nodemask_t *nodes);
bool device_coherent_declared(int nid);
int device_coherent_begin_add(int nid);
void device_coherent_end_add(void);
bool device_coherent_node_has_blocks(int nid);
int device_coherent_create_file(const struct device_attribute *attr);

/* node.c: every node that is or was a device node */
extern nodemask_t device_coherent_ids;

/**
 * struct device_coherent_request - a flagged request that found no free page
 * @gfp: what it may do
 * @order: how much it wants
 * @ac: its context in the allocator
 * @zone: the one zone that it can be served from
 */
struct device_coherent_request {
	gfp_t gfp;
	unsigned int order;
	struct alloc_context *ac;
	struct zone *zone;
};

/* in_page_alloc.h: free lists, and compaction */
struct page *device_coherent_try_alloc(const struct device_coherent_request *req);
struct page *device_coherent_compact(const struct device_coherent_request *req,
				     int prio);

/* zonelist.c */
int device_coherent_nearest_system_node(int nid);

/* placement.c */
struct folio *device_coherent_alloc_allowed(gfp_t gfp, unsigned int order,
					    struct mempolicy *pol, pgoff_t ilx,
					    int nid, nodemask_t *devices);

/* access.c */
#ifdef CONFIG_CPUSETS
int device_coherent_restrict(bool on);
#else
static inline int device_coherent_restrict(bool on)
{
	return -EOPNOTSUPP;
}
#endif

/* counters.c */
void device_coherent_refused(int nid, gfp_t gfp, unsigned int order);
void device_coherent_moved(int from, int to, long nr_pages,
			   enum migrate_reason reason);
void device_coherent_dropped(int nid, long nr_pages);

/* in_vmscan.h: what device_coherent_shrink() is to take from a node */
enum device_coherent_shrink {
	DEVICE_COHERENT_LAZYFREE,	/* only what was lazily freed */
	DEVICE_COHERENT_MOVE,		/* cold pages, to system memory */
	DEVICE_COHERENT_SWAP,		/* cold pages, to swap */
};

unsigned long device_coherent_shrink(int nid, gfp_t gfp, unsigned long nr_pages,
				     enum device_coherent_shrink how);

/* room.c */
extern struct device_attribute dev_attr_make_room;

void device_coherent_reset_room(int nid);
struct page *device_coherent_alloc_full(struct device_coherent_request *req);
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
bool device_coherent_unmark(struct folio *folio);
#else
static inline bool device_coherent_unmark(struct folio *folio) { return false; }
#endif

/*
 * What is looked at, and told to who mirrors it, at a time: 2 MB, which is a page
 * table of pages of 4 KiB; one of pages of 64 KiB is of 512 MB.
 */
#define DEVICE_COHERENT_PIECE_PAGES	(SZ_2M >> PAGE_SHIFT)

/*
 * move.c. The walk of range.c stops when it has taken as many: four times as many
 * as migrate_pages() has in flight at a time with pages of 4 KiB, for a fourth of
 * the interrupts of other CPUs. Nobody waits for as many: see next_part().
 */
#define DEVICE_COHERENT_MOVE_PAGES	(4 * DEVICE_COHERENT_PIECE_PAGES)

struct device_coherent_mover;

struct device_coherent_mover *
device_coherent_mover_start(struct mm_struct *mm, int nid, nodemask_t *allowed,
			    unsigned long nr_pages);
void device_coherent_mover_end(struct device_coherent_mover *mover);
void device_coherent_mover_ready(struct device_coherent_mover *mover);
bool device_coherent_mover_awaited(struct device_coherent_mover *mover);
unsigned int device_coherent_mover_taken(struct device_coherent_mover *mover);
bool device_coherent_may_take(struct device_coherent_mover *mover,
			      struct vm_area_struct *vma, unsigned long addr,
			      pte_t pte);
bool device_coherent_take_at_once(struct device_coherent_mover *mover,
				  struct vm_area_struct *vma,
				  unsigned long addr, pte_t *ptep);
void device_coherent_took(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma);
void device_coherent_take(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma, pmd_t *pmd,
			  unsigned long addr, unsigned long *wanted,
			  unsigned int nr);
void device_coherent_mover_flush(struct device_coherent_mover *mover);
unsigned long device_coherent_mover_run(struct device_coherent_mover *mover,
					struct list_head *failed);

#endif /* _MM_DEVICE_COHERENT_INTERNAL_H */
