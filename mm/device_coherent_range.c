// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of address space: move them to a device node and back, and see where
 * they are.
 *
 * A walk over the page tables moves the small pages that nobody else uses where
 * it meets them (device_coherent_move.c). What else has to move is isolated, as
 * mbind() does, and migrate_pages() moves it in batches. move_pages() in contrast
 * looks up, checks and reports each page by itself.
 */

#include <linux/device_coherent.h>
#include <linux/device_coherent_range.h>
#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/memory.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/pagewalk.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "device_coherent_move.h"
#include "internal.h"

/* The mmap lock is dropped after as many pages to move ... */
#define BATCH_PAGES	(4UL << PMD_ORDER)
/* ... or page tables looked at. */
#define BATCH_TABLES	64

/**
 * struct range_walk - a walk over a range
 * @see: looks at @nr present pages of a folio; false for once more, when the
 *	 batches of folios for the LRU lists are drained
 * @where: what is counted, if that is all
 * @count: what is counted when pages move
 * @nid: the target, or NUMA_NO_NODE for system memory
 * @allowed: nodes that the process may use
 * @flags: DEVICE_COHERENT_MIGRATE_*
 * @look: don't isolate, just count what would
 * @full: the target has no memory left
 * @drained: nothing is hidden in a CPU's batch of folios for the LRU lists
 * @tables: page tables seen since the lock was taken
 * @next: where the walk goes on, set by who stops it
 * @folios: isolated
 * @queued: pages of @folios, in the range
 * @mover: moves pages at once; NULL if none are to move
 * @done: pages that it has moved since the lock was taken
 * @last: the large folio that was isolated last, as it is met again
 * @reserve: with DEVICE_COHERENT_MIGRATE_WHOLE, targets of large folios
 */
struct range_walk {
	bool (*see)(struct range_walk *rw, struct folio *folio,
		    unsigned long nr, bool huge);
	struct device_coherent_where *where;
	struct device_coherent_moved *count;
	int nid;
	nodemask_t *allowed;
	unsigned int flags;
	bool look;
	bool full;
	bool drained;
	unsigned int tables;
	unsigned long next;
	struct list_head folios;
	unsigned long queued;
	struct device_coherent_mover *mover;
	unsigned long done;
	struct folio *last;
	struct list_head reserve;
};

static void see_unmovable(struct range_walk *rw, unsigned long nr)
{
	if (rw->where)
		rw->where->unmovable += nr;
	else
		rw->count->unmovable += nr;
}

static void see_nothing(struct range_walk *rw, unsigned long nr)
{
	if (rw->where)
		rw->where->absent += nr;
	else
		rw->count->absent += nr;
}

/* Not present: swapped out, or being moved at the moment */
static void see_swap(struct range_walk *rw, swp_entry_t entry, unsigned long nr,
		     bool huge)
{
	bool moving = is_migration_entry(entry);

	if (rw->where && moving)
		rw->see(rw, pfn_swap_entry_folio(entry), nr, huge);
	else if (rw->where)
		rw->where->swapped += nr;
	else if (moving)
		rw->count->busy += nr;
	else
		rw->count->absent += nr;
}

static bool see_folio(struct range_walk *rw, struct folio *folio,
		      unsigned long nr, bool huge)
{
	if (folio && !folio_is_zone_device(folio) &&
	    !folio_test_reserved(folio))
		return rw->see(rw, folio, nr, huge);

	see_unmovable(rw, nr);
	return true;
}

/* What was only read is as good as absent: nothing of its own is there. */
static bool walk_huge_page(struct range_walk *rw, struct vm_area_struct *vma,
			   pmd_t pmd, unsigned long addr, unsigned long nr)
{
	bool more = true;

	if (is_huge_zero_pmd(pmd))
		see_nothing(rw, nr);
	else if (pmd_present(pmd))
		more = see_folio(rw, vm_normal_folio_pmd(vma, addr, pmd), nr,
				 true);
	else
		see_swap(rw, pmd_to_swp_entry(pmd), nr, true);

	return more;
}

/* Stops when it has to see the page once more, which only queue_folio() asks. */
static int walk_pte(pte_t *ptep, unsigned long addr, unsigned long end,
		    struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	pte_t pte = ptep_get(ptep);
	bool more = true;

	if (pte_none_mostly(pte) ||
	    (pte_present(pte) && is_zero_pfn(pte_pfn(pte))))
		see_nothing(rw, 1);
	else if (pte_present(pte))
		more = see_folio(rw, vm_normal_folio(walk->vma, addr, pte), 1,
				 false);
	else
		see_swap(rw, pte_to_swp_entry(pte), 1, false);

	return !more;
}

/* What waits in batches for its LRU list is there now, or others have it. */
static void drain_once(struct range_walk *rw)
{
	lru_add_drain_all();
	rw->drained = true;
}

static int walk_huge(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	bool more = true;
	spinlock_t *ptl;	/* of the page table */

	walk->action = ACTION_AGAIN;
	ptl = pmd_lock(walk->mm, pmd);
	if (is_swap_pmd(*pmd) || pmd_trans_huge(*pmd)) {
		more = walk_huge_page(rw, walk->vma, *pmd, addr,
				      (end - addr) >> PAGE_SHIFT);
		if (more)
			walk->action = ACTION_CONTINUE;
	}
	spin_unlock(ptl);
	if (!more)
		drain_once(rw);

	return 0;
}

/* Look at the pages but those that @moved, as bits. Returns where it stopped. */
static unsigned long walk_unmoved(pte_t *ptep, unsigned long addr,
				  unsigned long end, unsigned long moved,
				  struct mm_walk *walk)
{
	for (; addr < end; ptep++, addr += PAGE_SIZE, moved >>= 1)
		if (!(moved & 1) &&
		    walk_pte(ptep, addr, addr + PAGE_SIZE, walk))
			break;

	return addr;
}

/* At most DEVICE_COHERENT_MOVE_PAGES pages of a page table */
static int walk_few_ptes(pmd_t *pmd, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	unsigned long moved, nr_moved, next;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start;

	moved = device_coherent_move_ptes(rw->mover, walk->vma, pmd, addr, end);
	nr_moved = hweight_long(moved);
	rw->done += nr_moved;
	rw->count->moved += nr_moved;
	if (nr_moved == (end - addr) >> PAGE_SHIFT)
		addr = end;

	for (; addr < end; addr = next) {
		start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
		if (!start) {
			rw->next = addr;
			return 1;
		}
		__acquire(ptl);		/* sparse doesn't see it */
		next = walk_unmoved(start, addr, end, moved, walk);
		pte_unmap_unlock(start, ptl);
		if (next < end)
			drain_once(rw);
		moved >>= (next - addr) >> PAGE_SHIFT;
	}

	return 0;
}

static int walk_ptes(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	unsigned long next;
	int err = 0;

	for (; addr < end && !err; addr = next) {
		next = min(end, addr + DEVICE_COHERENT_MOVE_PAGES * PAGE_SIZE);
		err = walk_few_ptes(pmd, addr, next, walk);
	}
	walk->action = ACTION_CONTINUE;

	return err;
}

static int walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		    struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	pmd_t entry = pmdp_get_lockless(pmd);

	if (rw->queued + rw->done >= BATCH_PAGES ||
	    ++rw->tables > BATCH_TABLES) {
		rw->next = addr;
		return 1;
	}
	cond_resched();
	if (is_swap_pmd(entry) || pmd_trans_huge(entry))
		return walk_huge(pmd, addr, end, walk);
	if (rw->mover)
		return walk_ptes(pmd, addr, end, walk);

	return 0;
}

static int walk_hole(unsigned long addr, unsigned long end, int depth,
		     struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;

	see_nothing(rw, (end - addr) >> PAGE_SHIFT);

	return 0;
}

/* Memory of drivers, hugetlb, DAX: passed over */
static int walk_vma(unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;

	if (vma_migratable(walk->vma) && !is_vm_hugetlb_page(walk->vma))
		return 0;

	see_unmovable(rw, (end - addr) >> PAGE_SHIFT);

	return 1;
}

static const struct mm_walk_ops range_walk_ops = {
	.pmd_entry = walk_pmd,
	.pte_entry = walk_pte,
	.pte_hole = walk_hole,
	.test_walk = walk_vma,
	.walk_lock = PGWALK_RDLOCK,
};

/* One batch: from @addr until there is enough to do, to @rw->next */
static int walk_some(struct range_walk *rw, struct mm_struct *mm,
		     unsigned long addr, unsigned long end)
{
	int err;

	rw->tables = 0;
	rw->done = 0;
	rw->next = addr;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = walk_page_range(mm, addr, end, &range_walk_ops, rw);
	mmap_read_unlock(mm);
	if (!err)
		rw->next = end;

	return err < 0 ? err : 0;
}

/* -- Where they are ------------------------------------------------------- */

static bool count_folio(struct range_walk *rw, struct folio *folio,
			unsigned long nr, bool huge)
{
	struct device_coherent_where *where = rw->where;

	where->present += nr;
	where->nodes[folio_nid(folio)] += nr;
	if (folio_in_zone_device_coherent(folio))
		where->device += nr;
	if (folio_likely_mapped_shared(folio))
		where->shared += nr;
	if (folio_maybe_dma_pinned(folio))
		where->pinned += nr;
	if (huge)
		where->huge += nr;
	if (!folio_test_anon(folio) && !folio_test_swapbacked(folio))
		where->file += nr;

	return true;
}

/**
 * device_coherent_find_range - where are the pages of a range?
 * @mm: the address space; the caller holds a reference to its users
 * @addr: the first byte, page-aligned
 * @end: behind the last, page-aligned
 * @where: what is found is added to it
 *
 * Each page of the range is in one of @where->present, absent, swapped and
 * unmovable. The mmap lock is dropped now and then, so that what others map,
 * unmap or move in the meantime may be counted as before or as after.
 *
 * Context: Process context, sleeps, takes the mmap lock for reading.
 * Return: 0; -EINTR for a fatal signal.
 */
int device_coherent_find_range(struct mm_struct *mm, unsigned long addr,
			       unsigned long end,
			       struct device_coherent_where *where)
{
	struct range_walk rw = { .see = count_folio, .where = where };
	int err = 0;

	for (; addr < end && !err; addr = rw.next) {
		err = walk_some(&rw, mm, addr, end);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
	}

	return err;
}

/* -- Moving them ---------------------------------------------------------- */

/* The count of pages that stay for a reason that shows; NULL if they can go */
static unsigned long *staying(struct range_walk *rw, struct folio *folio)
{
	struct device_coherent_moved *count = rw->count;

	if (rw->nid == NUMA_NO_NODE ? !folio_in_zone_device_coherent(folio) :
				      folio_nid(folio) == rw->nid)
		return &count->there;
	if (rw->nid != NUMA_NO_NODE &&
	    !device_coherent_can_hold(rw->nid, folio))
		return &count->file;
	if (!(rw->flags & DEVICE_COHERENT_MIGRATE_SHARED) &&
	    folio_likely_mapped_shared(folio))
		return &count->shared;
	if (folio_maybe_dma_pinned(folio))
		return &count->pinned;
	if (rw->full)
		return &count->no_room;
	if (rw->look)
		return &count->moved;

	return NULL;
}

static bool queue_folio(struct range_walk *rw, struct folio *folio,
			unsigned long nr, bool huge)
{
	unsigned long *stays;

	if (folio == rw->last) {
		rw->queued += nr;
		return true;
	}

	stays = staying(rw, folio);
	if (!stays && !folio_isolate_lru(folio)) {
		/* On its way to an LRU list? */
		if (!rw->drained)
			return false;
		stays = &rw->count->busy;
	}
	if (stays) {
		*stays += nr;
		return true;
	}

	node_stat_mod_folio(folio, NR_ISOLATED_ANON + folio_is_file_lru(folio),
			    folio_nr_pages(folio));
	list_add_tail(&folio->lru, &rw->folios);
	rw->queued += nr;
	rw->last = folio_test_large(folio) ? folio : NULL;

	return true;
}

/**
 * device_coherent_nearest_system_node - where pages go that leave a device
 * @nid: the device
 *
 * Context: Any.
 * Return: the system node that the device's ordinary requests go to first.
 */
int device_coherent_nearest_system_node(int nid)
{
	struct zoneref *z;

	z = first_zones_zonelist(node_zonelist(nid, GFP_HIGHUSER_MOVABLE),
				 gfp_zone(GFP_HIGHUSER_MOVABLE), NULL);

	return zonelist_node_idx(z);
}

static struct folio *alloc_target(struct folio *src, struct range_walk *rw)
{
	struct migration_target_control mtc = {
		.nid = rw->nid,
		.gfp_mask = GFP_HIGHUSER_MOVABLE | __GFP_THISNODE,
		.reason = MR_SYSCALL,
	};

	if (rw->nid == NUMA_NO_NODE) {
		mtc.nid = device_coherent_nearest_system_node(folio_nid(src));
		mtc.nmask = rw->allowed;
		mtc.gfp_mask = GFP_HIGHUSER_MOVABLE;
	}

	return alloc_migration_target(src, (unsigned long)&mtc);
}

static struct folio *get_target(struct folio *src, unsigned long private)
{
	struct range_walk *rw = (struct range_walk *)private;
	struct folio *dst;

	list_for_each_entry(dst, &rw->reserve, lru) {
		if (folio_order(dst) == folio_order(src)) {
			list_del(&dst->lru);
			return dst;
		}
	}

	return alloc_target(src, rw);
}

/*
 * migrate_pages() splits a large folio that there is no room for. If none is to
 * be split, have the room before. What stays is moved to @stay.
 */
static void reserve_targets(struct range_walk *rw, struct list_head *stay)
{
	struct folio *folio, *tmp, *dst;

	list_for_each_entry_safe(folio, tmp, &rw->folios, lru) {
		if (!folio_test_large(folio))
			continue;
		dst = alloc_target(folio, rw);
		if (dst)
			list_add_tail(&dst->lru, &rw->reserve);
		else
			list_move_tail(&folio->lru, stay);
	}
}

static void free_reserve(struct range_walk *rw)
{
	struct folio *folio, *tmp;

	list_for_each_entry_safe(folio, tmp, &rw->reserve, lru) {
		list_del(&folio->lru);
		folio_put(folio);
	}
}

/* Count those that didn't move, and put them back */
static void count_failed(struct range_walk *rw, struct list_head *folios,
			 bool no_room)
{
	struct device_coherent_moved *count = rw->count;
	struct folio *folio;

	list_for_each_entry(folio, folios, lru) {
		/* Of one that is partly in the range, no more than that part */
		unsigned long nr = min(folio_nr_pages(folio), rw->queued);

		rw->queued -= nr;
		if (folio_maybe_dma_pinned(folio))
			count->pinned += nr;
		else if (no_room)
			count->no_room += nr;
		else
			count->busy += nr;
	}
	putback_movable_pages(folios);
}

static void move_queued(struct range_walk *rw)
{
	LIST_HEAD(stay);
	int err;

	device_coherent_mover_drain(rw->mover);
	if (rw->flags & DEVICE_COHERENT_MIGRATE_WHOLE)
		reserve_targets(rw, &stay);
	err = migrate_pages(&rw->folios, get_target, NULL, (unsigned long)rw,
			    MIGRATE_SYNC, MR_SYSCALL, NULL);
	free_reserve(rw);

	rw->full = err == -ENOMEM;
	count_failed(rw, &stay, true);
	count_failed(rw, &rw->folios, rw->full);
	rw->count->moved += rw->queued;
	rw->queued = 0;
	rw->last = NULL;
}

/* Did something that is mapped have to stay? */
static int stayed(const struct device_coherent_moved *count)
{
	if (count->no_room)
		return -ENOMEM;
	if (count->shared || count->pinned || count->file || count->busy ||
	    count->unmovable)
		return -EBUSY;

	return 0;
}

static void add_moved(struct device_coherent_moved *sum,
		      const struct device_coherent_moved *count)
{
	sum->moved += count->moved;
	sum->there += count->there;
	sum->absent += count->absent;
	sum->shared += count->shared;
	sum->pinned += count->pinned;
	sum->file += count->file;
	sum->no_room += count->no_room;
	sum->busy += count->busy;
	sum->unmovable += count->unmovable;
}

/* Can all of it move? If not, say in @count why. */
static int look_ahead(const struct range_walk *whole, struct mm_struct *mm,
		      unsigned long addr, unsigned long end,
		      struct device_coherent_moved *sum)
{
	struct device_coherent_moved count = { };
	struct range_walk rw = *whole;
	int err = 0;

	rw.look = true;
	rw.count = &count;
	for (; addr < end && !err; addr = rw.next) {
		err = walk_some(&rw, mm, addr, end);
		if (!err && signal_pending(current) && rw.next < end)
			err = -EINTR;
	}
	if (err)
		return err;

	if (node_is_device_coherent(rw.nid) &&
	    count.moved > device_coherent_nr_free(rw.nid))
		count.no_room = count.moved - device_coherent_nr_free(rw.nid);
	err = stayed(&count);
	if (err) {
		count.moved = 0;
		count.there = 0;
		count.absent = 0;
		add_moved(sum, &count);
	}

	return err;
}

/**
 * device_coherent_migrate_range - move a range of address space to a node
 * @mm: the address space; the caller holds a reference to its users
 * @addr: the first byte, page-aligned; where the walk stopped
 * @end: behind the last, page-aligned
 * @nid: the target; or NUMA_NO_NODE to move what is on devices to the system
 *	 memory nearest to each
 * @allowed: the nodes that the process may use; includes @nid
 * @flags: DEVICE_COHERENT_MIGRATE_ALL to look first and move nothing unless
 *	   all that is mapped can go, _WHOLE to never split a huge page, _SHARED
 *	   to move pages of several processes
 * @count: what became of the pages from @addr on is added to it
 *
 * A page that doesn't move stays where it is, intact (invariant 5). Page cache
 * stays off devices (invariant 1). A huge page that is partly in the range
 * moves as a whole.
 *
 * Context: Process context, sleeps, takes the mmap lock for reading.
 * Return: 0; -ENOMEM if there is no memory to begin with; -EINTR if a signal
 * stopped it at *@addr, from where a further call goes on; with
 * DEVICE_COHERENT_MIGRATE_ALL, -ENOMEM or -EBUSY if something has to stay,
 * which moves nothing if it shows in advance.
 */
int device_coherent_migrate_range(struct mm_struct *mm, unsigned long *addr,
				  unsigned long end, int nid,
				  nodemask_t *allowed, unsigned int flags,
				  struct device_coherent_moved *count)
{
	struct device_coherent_moved now;
	struct range_walk rw = {
		.see = queue_folio,
		.count = &now,
		.nid = nid,
		.allowed = allowed,
		.flags = flags,
		.folios = LIST_HEAD_INIT(rw.folios),
		.reserve = LIST_HEAD_INIT(rw.reserve),
	};
	int err = 0;

	if (flags & DEVICE_COHERENT_MIGRATE_ALL)
		err = look_ahead(&rw, mm, *addr, end, count);
	if (err)
		return err;

	if (nid != NUMA_NO_NODE)
		device_coherent_mark_mm(mm);
	rw.mover = device_coherent_mover_start(nid, allowed);
	if (!rw.mover)
		return -ENOMEM;
	lru_add_drain();
	while (*addr < end && !err) {
		now = (struct device_coherent_moved){ };
		err = walk_some(&rw, mm, *addr, end);
		if (rw.queued)
			move_queued(&rw);
		*addr = rw.next;
		add_moved(count, &now);
		if (!err && flags & DEVICE_COHERENT_MIGRATE_ALL)
			err = stayed(&now);
		if (!err && signal_pending(current) && *addr < end)
			err = -EINTR;
	}
	device_coherent_mover_end(rw.mover);

	return err;
}

/* -- How much is free ----------------------------------------------------- */

/*
 * Nodes of whose memory a part goes offline. Their CPUs' lists are empty, and
 * with the last part the lists themselves go. Read under RCU.
 */
static nodemask_t no_lists;

static int lists_notify(struct notifier_block *nb, unsigned long action,
			void *data)
{
	const struct memory_notify *arg = data;
	int nid = pfn_to_nid(arg->start_pfn);

	switch (action) {
	case MEM_GOING_OFFLINE:
		node_set(nid, no_lists);
		synchronize_rcu();
		break;
	case MEM_OFFLINE:
		/* Without memory it has none until it is online again. */
		if (!node_state(nid, N_MEMORY))
			break;
		fallthrough;
	case MEM_CANCEL_OFFLINE:
	case MEM_ONLINE:
		node_clear(nid, no_lists);
		break;
	}

	return NOTIFY_OK;
}

static int __init watch_lists(void)
{
	return hotplug_memory_notifier(lists_notify, DEFAULT_CALLBACK_PRI);
}
core_initcall(watch_lists);

static unsigned long nr_free_in_lists(struct zone *zone)
{
	unsigned long nr_pages = 0;
	int cpu;

	rcu_read_lock();
	if (!node_isset(zone_to_nid(zone), no_lists))
		for_each_online_cpu(cpu)
			nr_pages += per_cpu_ptr(zone->per_cpu_pageset,
						cpu)->count;
	rcu_read_unlock();

	return nr_pages;
}

/**
 * device_coherent_nr_free - free pages of a device node
 * @nid: the device node
 *
 * Context: Any. The number can have changed.
 * Return: pages that a request could get, those in the lists of CPUs included;
 * 0 if @nid isn't a device node.
 */
unsigned long device_coherent_nr_free(int nid)
{
	struct zone *zone = device_coherent_hotplug_zone(nid);

	if (!zone)
		return 0;

	return zone_page_state(zone, NR_FREE_PAGES) + nr_free_in_lists(zone);
}
