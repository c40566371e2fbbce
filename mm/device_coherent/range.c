// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of address space: move them to a device node and back, and see where
 * they are.
 *
 * A walk over the page tables takes the small pages that nobody else uses where
 * it meets them (move.c). What else has to move is isolated, as
 * mbind() does. When there is enough of both, the mmap lock is dropped; the
 * former are moved then, and the latter by migrate_pages(). move_pages() in
 * contrast looks up, checks and reports each page by itself.
 */

#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/memory.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/pagewalk.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "internal.h"

/* The mmap lock is dropped after as many pages to move by migrate_pages() ... */
#define BATCH_PAGES	(4UL * DEVICE_COHERENT_PIECE_PAGES)
/* ... to which the last huge page and the mover may add some, ... */
#define MAX_QUEUED	(BATCH_PAGES + DEVICE_COHERENT_MOVE_PAGES +	\
			 2UL * PTRS_PER_PTE)
/* ... or page tables looked at, or when somebody waits for it. */
#define BATCH_TABLES	64

/* Of what isn't to be split */
#define WHOLE_ATTEMPTS	2

/**
 * struct range_walk - a walk over a range
 * @see: looks at @nr present pages of a folio, of which the first has that
 *	 frame; false for once more, when the batches of folios for the LRU lists
 *	 are drained
 * @where: what is counted, if that is all
 * @count: what is counted when pages move
 * @nid: the target, or NUMA_NO_NODE for system memory
 * @allowed: nodes that the process may use
 * @flags: DEVICE_COHERENT_MIGRATE_*
 * @look: don't isolate, just count what would
 * @tables: page tables seen since the lock was taken
 * @addr: the page that is looked at
 * @next: where the walk goes on, set by who stops it
 * @drain: it was stopped for the batches to be drained
 * @drained: they were, for the pages before this address
 * @mover: moves pages that nobody else uses; NULL if none are to move
 * @simple: those of a piece of a page table
 * @folios: isolated
 * @queued: pages of those that are in the range
 * @frames: their frames: array of MAX_QUEUED
 * @sorted: that is sorted
 * @refused: the folio that there was no target for
 * @full: there was none for a small page
 * @reserve: with DEVICE_COHERENT_MIGRATE_WHOLE, targets of large folios
 * @tried: the folio that was given one last ...
 * @target: ... and that
 */
struct range_walk {
	bool (*see)(struct range_walk *rw, struct folio *folio,
		    unsigned long pfn, unsigned long nr, bool huge);
	struct device_coherent_where *where;
	struct device_coherent_moved *count;
	int nid;
	nodemask_t *allowed;
	unsigned int flags;
	bool look;
	unsigned int tables;
	unsigned long addr;
	unsigned long next;
	bool drain;
	unsigned long drained;
	struct device_coherent_mover *mover;
	DECLARE_BITMAP(simple, DEVICE_COHERENT_PIECE_PAGES);
	struct list_head folios;
	unsigned long queued;
	unsigned long *frames;
	bool sorted;
	struct folio *refused;
	bool full;
	struct list_head reserve;
	struct folio *tried;
	struct folio *target;
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
		rw->see(rw, pfn_swap_entry_folio(entry), swp_offset_pfn(entry),
			nr, huge);
	else if (rw->where)
		rw->where->swapped += nr;
	else if (moving)
		rw->count->busy += nr;
	else
		rw->count->absent += nr;
}

static bool see_folio(struct range_walk *rw, struct folio *folio,
		      unsigned long pfn, unsigned long nr, bool huge)
{
	if (folio && !folio_is_zone_device(folio) &&
	    !folio_test_reserved(folio))
		return rw->see(rw, folio, pfn, nr, huge);

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
		more = see_folio(rw, vm_normal_folio_pmd(vma, addr, pmd),
				 pmd_pfn(pmd) +
				 ((addr & ~PMD_MASK) >> PAGE_SHIFT),
				 nr, true);
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

	rw->addr = addr;
	if (pte_none_mostly(pte) ||
	    (pte_present(pte) && is_zero_pfn(pte_pfn(pte))))
		see_nothing(rw, 1);
	else if (pte_present(pte))
		more = see_folio(rw, vm_normal_folio(walk->vma, addr, pte),
				 pte_pfn(pte), 1, false);
	else
		see_swap(rw, pte_to_swp_entry(pte), 1, false);

	return !more;
}

/* Go on at @addr, with the lock taken anew */
static int stop_at(struct range_walk *rw, unsigned long addr)
{
	rw->next = addr;

	return 1;
}

/* What waits in batches for its LRU list is there then, or others have it. */
static int stop_to_drain(struct range_walk *rw, unsigned long addr)
{
	rw->drain = true;

	return stop_at(rw, addr);
}

static int walk_huge(pmd_t *pmd, unsigned long addr, unsigned long end,
		     struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	bool more = true;
	spinlock_t *ptl;	/* of the page table */

	walk->action = ACTION_AGAIN;
	rw->addr = addr;
	ptl = pmd_lock(walk->mm, pmd);
	if (is_swap_pmd(*pmd) || pmd_trans_huge(*pmd)) {
		more = walk_huge_page(rw, walk->vma, *pmd, addr,
				      (end - addr) >> PAGE_SHIFT);
		walk->action = ACTION_CONTINUE;
	}
	spin_unlock(ptl);

	return more ? 0 : stop_to_drain(rw, addr);
}

/*
 * Look at the pages but those that the mover may take, and say in @rw->simple
 * which these are. Returns where it stopped, to be gone on with after a drain.
 */
static unsigned long see_ptes(pte_t *ptep, unsigned long addr,
			      unsigned long end, struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	unsigned int i;

	bitmap_zero(rw->simple, DEVICE_COHERENT_PIECE_PAGES);
	for (i = 0; addr < end; i++, addr += PAGE_SIZE) {
		if (device_coherent_may_take(rw->mover, walk->vma, addr,
					     ptep_get(ptep + i)))
			__set_bit(i, rw->simple);
		else if (walk_pte(ptep + i, addr, addr + PAGE_SIZE, walk))
			break;
	}

	return addr;
}

/*
 * The same where there is nobody to be told before a page is taken. For that,
 * he would need the mmap lock for writing.
 */
static unsigned long take_ptes(pte_t *ptep, unsigned long addr,
			       unsigned long end, struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;

	arch_enter_lazy_mmu_mode();
	for (; addr < end; ptep++, addr += PAGE_SIZE)
		if (!device_coherent_take_at_once(rw->mover, walk->vma, addr,
						  ptep) &&
		    walk_pte(ptep, addr, addr + PAGE_SIZE, walk))
			break;
	arch_leave_lazy_mmu_mode();

	return addr;
}

/*
 * Between two looks at them, somebody has got hold of these. It can't be gone
 * on from here, as what is behind them is counted.
 */
static void see_untaken(pmd_t *pmd, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	unsigned int i, nr = (end - addr) >> PAGE_SHIFT;
	struct range_walk *rw = walk->private;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start;

	if (bitmap_empty(rw->simple, nr))
		return;
	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start) {
		rw->count->busy += bitmap_weight(rw->simple, nr);
		return;
	}
	__acquire(ptl);		/* sparse doesn't see it */
	rw->drained = max(rw->drained, end);
	for_each_set_bit(i, rw->simple, nr)
		walk_pte(start + i, addr + i * PAGE_SIZE,
			 addr + (i + 1) * PAGE_SIZE, walk);
	pte_unmap_unlock(start, ptl);
}

static int walk_piece(pmd_t *pmd, unsigned long addr, unsigned long end,
		      struct mm_walk *walk)
{
	bool mirrored = mm_has_notifiers(walk->mm);
	struct range_walk *rw = walk->private;
	spinlock_t *ptl;	/* of the page table */
	unsigned long next;
	pte_t *start;

	walk->action = ACTION_CONTINUE;
	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start)
		return stop_at(rw, addr);
	__acquire(ptl);		/* sparse doesn't see it */
	next = mirrored ? see_ptes(start, addr, end, walk) :
			  take_ptes(start, addr, end, walk);
	pte_unmap_unlock(start, ptl);

	if (mirrored) {
		device_coherent_take(rw->mover, walk->vma, pmd, addr,
				     rw->simple, DEVICE_COHERENT_PIECE_PAGES);
		see_untaken(pmd, addr, next, walk);
	} else {
		device_coherent_took(rw->mover, walk->vma);
	}

	return next < end ? stop_to_drain(rw, next) : 0;
}

/* Half of them are, if somebody waits already for one that was taken. */
static bool took_enough(struct device_coherent_mover *mover)
{
	unsigned int taken = device_coherent_mover_taken(mover);

	return taken >= DEVICE_COHERENT_MOVE_PAGES ||
	       (taken >= DEVICE_COHERENT_MOVE_PAGES / 2 &&
		device_coherent_mover_awaited(mover));
}

/* Enough, for this time? Each time, a piece at least. */
static bool is_enough(const struct range_walk *rw, struct mm_struct *mm)
{
	if (rw->queued >= BATCH_PAGES || rw->tables >= BATCH_TABLES ||
	    (rw->mover && took_enough(rw->mover)))
		return true;

	return rw->tables && mmap_lock_is_contended(mm);
}

/* A piece at least, and then as is_enough() says */
static int walk_table(pmd_t *pmd, unsigned long addr, unsigned long end,
		      struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	unsigned long next;
	int stop;

	for (;; addr = next) {
		next = min(end, ALIGN(addr + 1, SZ_2M));
		stop = walk_piece(pmd, addr, next, walk);
		if (stop || next == end)
			return stop;
		if (is_enough(rw, walk->mm))
			return stop_at(rw, next);
		cond_resched();
	}
}

static int walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
		    struct mm_walk *walk)
{
	struct range_walk *rw = walk->private;
	pmd_t entry = pmdp_get_lockless(pmd);

	if (is_enough(rw, walk->mm))
		return stop_at(rw, addr);
	/* One table may be that of many mappings. */
	if ((rw->addr ^ addr) & PMD_MASK)
		rw->tables++;
	rw->addr = addr;
	cond_resched();
	if (is_swap_pmd(entry) || pmd_trans_huge(entry))
		return walk_huge(pmd, addr, end, walk);
	if (rw->mover)
		return walk_table(pmd, addr, end, walk);

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
	rw->addr = ~addr;
	rw->drain = false;
	rw->next = addr;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = walk_page_range(mm, addr, end, &range_walk_ops, rw);
	if (rw->mover)
		device_coherent_mover_flush(rw->mover);
	mmap_read_unlock(mm);
	if (!err)
		rw->next = end;

	return err < 0 ? err : 0;
}

/* -- Where they are ------------------------------------------------------- */

static bool count_folio(struct range_walk *rw, struct folio *folio,
			unsigned long pfn, unsigned long nr, bool huge)
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
	if (rw->look)
		return &count->moved;

	return NULL;
}

/* Was another page of it met before, in this batch? The last is the likeliest. */
static bool is_queued(const struct range_walk *rw, struct folio *folio)
{
	unsigned long i, first = folio_pfn(folio);
	unsigned long nr_pages = folio_nr_pages(folio);

	for (i = rw->queued; i > 0; i--)
		if (rw->frames[i - 1] - first < nr_pages)
			return true;

	return false;
}

static bool isolate(struct range_walk *rw, struct folio *folio)
{
	if (!folio_isolate_lru(folio))
		return false;

	node_stat_mod_folio(folio, NR_ISOLATED_ANON + folio_is_file_lru(folio),
			    folio_nr_pages(folio));
	list_add_tail(&folio->lru, &rw->folios);

	return true;
}

static void queue_frames(struct range_walk *rw, unsigned long pfn,
			 unsigned long nr)
{
	while (nr--)
		rw->frames[rw->queued++] = pfn++;
}

static bool queue_folio(struct range_walk *rw, struct folio *folio,
			unsigned long pfn, unsigned long nr, bool huge)
{
	unsigned long *stays = staying(rw, folio);

	if (!stays && !isolate(rw, folio) && !is_queued(rw, folio)) {
		/* On its way to an LRU list? */
		if (rw->addr >= rw->drained)
			return false;
		stays = &rw->count->busy;
	}
	if (stays)
		*stays += nr;
	else
		queue_frames(rw, pfn, nr);

	return true;
}

/* Pages that the target could take, and others would still be well */
static unsigned long room_for(const struct range_walk *rw)
{
	nodemask_t nodes = NODE_MASK_NONE;

	if (node_is_device_coherent(rw->nid))
		return device_coherent_nr_free(rw->nid);
	if (rw->nid == NUMA_NO_NODE)
		return device_coherent_system_room(rw->allowed);

	node_set(rw->nid, nodes);
	return device_coherent_system_room(&nodes);
}

/*
 * System memory may be filled as far as reclaim keeps up. Without swap, that is
 * down to the high watermark: below, the next request of somebody else would
 * find nothing, and call the OOM killer (invariant 4).
 */
static bool may_ask(const struct range_walk *rw)
{
	return node_is_device_coherent(rw->nid) || get_nr_swap_pages() > 0 ||
	       room_for(rw);
}

/* What can't be had kills nobody for it (invariant 4), and says nothing. */
static struct folio *alloc_target(struct folio *src, struct range_walk *rw)
{
	struct migration_target_control mtc = {
		.nid = rw->nid,
		.gfp_mask = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN,
		.reason = MR_SYSCALL,
	};

	if (!may_ask(rw))
		return NULL;
	if (!node_is_device_coherent(rw->nid))
		mtc.gfp_mask |= __GFP_RETRY_MAYFAIL;
	if (rw->nid == NUMA_NO_NODE) {
		mtc.nid = device_coherent_nearest_system_node(folio_nid(src));
		mtc.nmask = rw->allowed;
	} else {
		mtc.gfp_mask |= __GFP_THISNODE;
	}

	return alloc_migration_target(src, (unsigned long)&mtc);
}

static bool is_whole(const struct range_walk *rw, const struct folio *folio)
{
	return rw->flags & DEVICE_COHERENT_MIGRATE_WHOLE &&
	       folio_test_large(folio);
}

static struct folio *get_reserved(struct range_walk *rw, unsigned int order)
{
	struct folio *dst;

	list_for_each_entry(dst, &rw->reserve, lru) {
		if (folio_order(dst) == order) {
			list_del(&dst->lru);
			return dst;
		}
	}

	return NULL;
}

static struct folio *get_target(struct folio *src, unsigned long private)
{
	struct range_walk *rw = (struct range_walk *)private;
	struct folio *dst;

	if (is_whole(rw, src))
		dst = get_reserved(rw, folio_order(src));
	else
		dst = alloc_target(src, rw);
	rw->tried = src;
	rw->target = dst;
	if (!dst) {
		rw->refused = src;
		rw->full |= !folio_test_large(src);
	}

	return dst;
}

/*
 * A reserved target stays reserved, for the next try. If that is migrate_pages()'s
 * own, since not all of the folio could be unmapped, the mark is there already.
 */
static void put_target(struct folio *dst, unsigned long private)
{
	struct range_walk *rw = (struct range_walk *)private;

	if (!is_whole(rw, dst)) {
		folio_put(dst);
		return;
	}
	if (dst == rw->target)
		device_coherent_unmark(rw->tried);
	list_add(&dst->lru, &rw->reserve);
}

/*
 * migrate_pages() splits a large folio that there is no room for. If none is to
 * be split, have the room before. Those that there is room for are moved to @whole,
 * what stays to @stay. One of which a part isn't mapped any more is split anyway,
 * and its pieces want room then.
 */
static void reserve_targets(struct range_walk *rw, struct list_head *whole,
			    struct list_head *stay)
{
	struct folio *folio, *tmp, *dst;

	list_for_each_entry_safe(folio, tmp, &rw->folios, lru) {
		if (!folio_test_large(folio) || device_coherent_unmark(folio))
			continue;
		dst = alloc_target(folio, rw);
		if (dst)
			list_add_tail(&dst->lru, &rw->reserve);
		list_move_tail(&folio->lru, dst ? whole : stay);
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

static int cmp_frames(const void *a, const void *b)
{
	const unsigned long *frame = a, *other = b;

	return *frame < *other ? -1 : *frame > *other;
}

/* Pages of a folio that were queued: of one that is partly in the range, fewer */
static unsigned long pages_queued(struct range_walk *rw, struct folio *folio)
{
	unsigned long first = folio_pfn(folio), nr = 0;
	unsigned long low = 0, high = rw->queued;

	if (!rw->sorted)
		sort(rw->frames, rw->queued, sizeof(*rw->frames), cmp_frames,
		     NULL);
	rw->sorted = true;
	while (low < high) {
		unsigned long middle = (low + high) / 2;

		if (rw->frames[middle] < first)
			low = middle + 1;
		else
			high = middle;
	}
	while (low + nr < rw->queued &&
	       rw->frames[low + nr] - first < folio_nr_pages(folio))
		nr++;

	return nr;
}

/* Those that didn't move: count each by itself, and put them back. */
static unsigned long count_failed(struct range_walk *rw,
				  struct list_head *folios, bool no_room)
{
	struct device_coherent_moved *count = rw->count;
	unsigned long failed = 0;
	struct folio *folio;

	list_for_each_entry(folio, folios, lru) {
		unsigned long nr = pages_queued(rw, folio);

		failed += nr;
		if (folio_maybe_dma_pinned(folio))
			count->pinned += nr;
		else if (no_room)
			count->no_room += nr;
		else
			count->busy += nr;
	}
	putback_movable_pages(folios);

	return failed;
}

/*
 * migrate_pages() ends when there is no target for a folio. If that is a large
 * one, which couldn't be split as somebody holds it, it's no reason for the
 * others to stay. Moved to @held; returns true if there are others.
 */
static bool set_aside(struct range_walk *rw, struct list_head *held)
{
	struct folio *folio;

	list_for_each_entry(folio, &rw->folios, lru) {
		if (folio != rw->refused || !folio_test_large(folio))
			continue;
		list_move_tail(&folio->lru, held);
		return !list_empty(&rw->folios);
	}

	return false;
}

/* Let go of by who has it locked, and written out, as MIGRATE_SYNC waits for */
static void wait_for_all(struct list_head *folios)
{
	struct folio *folio;

	list_for_each_entry(folio, folios, lru) {
		folio_lock(folio);
		folio_wait_writeback(folio);
		folio_unlock(folio);
	}
}

/*
 * The second attempt of MIGRATE_SYNC would split those that the first one has
 * marked (see device_coherent_unmark()): so each is an attempt of its own, with no
 * mark. What doesn't move is left in @whole.
 */
static void move_whole(struct range_walk *rw, struct list_head *whole)
{
	struct folio *folio;
	int i;

	for (i = 0; i < WHOLE_ATTEMPTS && !list_empty(whole); i++) {
		if (i)
			wait_for_all(whole);
		list_for_each_entry(folio, whole, lru)
			device_coherent_unmark(folio);
		migrate_pages(whole, get_target, put_target, (unsigned long)rw,
			      MIGRATE_ASYNC, MR_SYSCALL, NULL);
	}
	free_reserve(rw);
}

static void move_queued(struct range_walk *rw)
{
	struct folio *folio;
	unsigned long failed;
	LIST_HEAD(whole);
	LIST_HEAD(stay);
	LIST_HEAD(held);
	int err;

	rw->full = false;
	rw->sorted = false;
	if (rw->flags & DEVICE_COHERENT_MIGRATE_WHOLE) {
		reserve_targets(rw, &whole, &stay);
		move_whole(rw, &whole);
	}
	list_for_each_entry(folio, &rw->folios, lru)
		device_coherent_unmark(folio);
	do {
		rw->refused = NULL;
		err = migrate_pages(&rw->folios, get_target, put_target,
				    (unsigned long)rw, MIGRATE_SYNC,
				    MR_SYSCALL, NULL);
	} while (err == -ENOMEM && set_aside(rw, &held));

	failed = count_failed(rw, &stay, true);
	failed += count_failed(rw, &whole, false);
	failed += count_failed(rw, &held, rw->full);
	failed += count_failed(rw, &rw->folios, rw->full);
	rw->count->moved += rw->queued - failed;
	rw->queued = 0;
}

/* The pages that were taken; those that can't move the short way are queued. */
static void move_taken(struct range_walk *rw)
{
	struct folio *folio;
	LIST_HEAD(failed);

	rw->count->moved += device_coherent_mover_run(rw->mover, &failed);
	list_for_each_entry(folio, &failed, lru)
		queue_frames(rw, folio_pfn(folio), 1);
	list_splice_tail(&failed, &rw->folios);
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

/*
 * Can all of it move? If not, say in @count why. Only a signal that kills ends
 * it: after any other one, it would begin anew, and with a timer never end.
 */
static int look_ahead(const struct range_walk *whole, struct mm_struct *mm,
		      unsigned long addr, unsigned long end,
		      struct device_coherent_moved *sum)
{
	struct device_coherent_moved count = { };
	struct range_walk rw = *whole;
	unsigned long room;
	int err = 0;

	rw.look = true;
	rw.count = &count;
	for (; addr < end && !err; addr = rw.next) {
		err = walk_some(&rw, mm, addr, end);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
	}
	if (err)
		return err;

	room = room_for(&rw);
	if (count.moved > room)
		count.no_room = count.moved - room;
	err = stayed(&count);
	if (err) {
		count.moved = 0;
		count.there = 0;
		count.absent = 0;
		add_moved(sum, &count);
	}

	return err;
}

static int start_moving(struct range_walk *rw, struct mm_struct *mm,
			unsigned long nr_pages)
{
	rw->frames = kvmalloc_array(min(nr_pages, MAX_QUEUED),
				    sizeof(*rw->frames), GFP_KERNEL |
				    __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!rw->frames)
		return -ENOMEM;
	rw->mover = device_coherent_mover_start(mm, rw->nid, rw->allowed,
						nr_pages);
	if (rw->mover)
		return 0;

	kvfree(rw->frames);

	return -ENOMEM;
}

static void stop_moving(struct range_walk *rw)
{
	device_coherent_mover_end(rw->mover);
	kvfree(rw->frames);
}

/*
 * One batch. If the walk stopped at a page that waits in another CPU's batch for
 * its LRU list, all are drained, with no lock held and nothing in flight: once
 * for each page table.
 */
static int move_some(struct range_walk *rw, struct mm_struct *mm,
		     unsigned long addr, unsigned long end)
{
	int err;

	device_coherent_mover_ready(rw->mover);
	err = walk_some(rw, mm, addr, end);
	move_taken(rw);
	if (rw->queued)
		move_queued(rw);
	if (!err && rw->drain) {
		rw->drained = pmd_addr_end(rw->next, end);
		lru_add_drain_all();
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
 *	   all that is mapped can go, _GO_ON not to look, as an earlier call has,
 *	   _WHOLE to never split a huge page, _SHARED to move pages of several
 *	   processes
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

	if (flags & DEVICE_COHERENT_MIGRATE_ALL &&
	    !(flags & DEVICE_COHERENT_MIGRATE_GO_ON))
		err = look_ahead(&rw, mm, *addr, end, count);
	if (!err && *addr < end)
		err = start_moving(&rw, mm, (end - *addr) >> PAGE_SHIFT);
	if (err || *addr >= end)
		return err;

	if (nid != NUMA_NO_NODE)
		device_coherent_mark_mm(mm);
	lru_add_drain();
	while (*addr < end && !err) {
		now = (struct device_coherent_moved){ };
		err = move_some(&rw, mm, *addr, end);
		*addr = rw.next;
		add_moved(count, &now);
		if (!err && flags & DEVICE_COHERENT_MIGRATE_ALL)
			err = stayed(&now);
		/* After lists were drained go on, or it is done over and over. */
		if (!err && *addr < end &&
		    (rw.drain ? fatal_signal_pending(current) :
				signal_pending(current)))
			err = -EINTR;
	}
	stop_moving(&rw);

	return err;
}
