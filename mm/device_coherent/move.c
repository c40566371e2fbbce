// SPDX-License-Identifier: GPL-2.0
/*
 * Move pages of one process that are taken from the page table in hand.
 *
 * migrate_pages() is given folios, and finds their entries: a walk of the
 * reverse map to put migration entries there, one flush of the TLBs for those,
 * and another walk to replace them. Whoever walks the page tables of a range has
 * the entry in front of him; for a small anonymous page that is this entry's
 * alone (PageAnonExclusive, one reference) there is no other to find. So, as
 * migrate_vma_collect_pmd() does for the memory of its devices, the entry is
 * replaced where it is met. migrate_vma itself can't be used: it splits huge
 * pages, takes one mapping for one call, works with an array of frames that the
 * caller fills, and puts its pages on the LRU lists one by one.
 *
 * A page that is in flight is what it is in migrate_pages(): locked, isolated
 * from its LRU list, counted as NR_ISOLATED_ANON, and its entry is a migration
 * entry (invariant 5). fork(), mremap(), munmap() and mprotect() know what to do
 * with one, and who touches the page waits for the lock of the folio. The
 * mapping's reference is the mover's.
 *
 *   device_coherent_take(), and _at_once() where nobody mirrors the address space
 *                                   mmap lock for reading, page table lock; the
 *                                   entries become migration entries
 *   device_coherent_mover_flush()   mmap lock for reading; one flush for all
 *   device_coherent_mover_run()     no lock; targets, the copy by migrate_folio(),
 *                                   LRU lists; the entries are replaced
 *
 * While pages are in flight, nothing waits for the mmap lock (who holds it may
 * wait for one of them) or for the lock of another folio, and nothing reclaims:
 * a page without a target goes back to where it was at once, and is left,
 * isolated, to migrate_pages(), which tries harder. So does a page that somebody
 * refers to, and everything else that isn't as simple as that.
 */

#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/page_owner.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include <asm/tlbflush.h>

#include <trace/events/migrate.h>

#include "internal.h"

/* The walk stops behind the piece with which there are enough. */
#define MAX_PAGES	(DEVICE_COHERENT_MOVE_PAGES + \
			 DEVICE_COHERENT_PIECE_PAGES - 1)

/**
 * struct moving - a page in flight
 * @src: the old one
 * @dst: the new one; NULL if the old one goes back
 * @addr: where it is mapped, or was
 * @anon_vma: of the page and of those that follow, with a reference; NULL if it
 *	      is that of the page before
 * @filled: the entry was there, and has been replaced
 */
struct moving {
	struct folio *src;
	struct folio *dst;
	unsigned long addr;
	struct anon_vma *anon_vma;
	bool filled;
};

/**
 * struct device_coherent_mover - which pages to move, and those in flight
 * @mm: whose
 * @nid: the node to move to; NUMA_NO_NODE for system memory
 * @nodes: when pages leave devices, the nodes that they may go to; else NULL
 * @gfp: how to ask for targets
 * @from: the device that the batch leaves, NUMA_NO_NODE until the first page of
 *	  it is met; those of another device are passed over
 * @to: the node that the batch goes to
 * @room: the batch may have so many pages
 * @nr: it has so many
 * @nr_isolated: so many have left their LRU list
 * @others: somebody else may wait for a page
 * @anon_vma: of the page that was taken last
 * @vma: the mapping whose pages were taken since the last flush
 * @start: the first of those
 * @end: behind the last; 0 if there are none
 * @several: they are of several mappings
 * @max: there is place for so many pages
 * @pages: the batch
 */
struct device_coherent_mover {
	struct mm_struct *mm;
	int nid;
	nodemask_t *nodes;
	gfp_t gfp;

	int from;
	int to;
	unsigned int room;
	unsigned int nr;
	unsigned int nr_isolated;
	bool others;
	struct anon_vma *anon_vma;

	struct vm_area_struct *vma;
	unsigned long start;
	unsigned long end;
	bool several;

	unsigned int max;
	struct moving pages[] __counted_by(max);
};

/* -- Taking them ----------------------------------------------------------- */

/* mlock()ed pages are on no list; those of a stack in exec() have two places. */
static bool may_take_from(struct vm_area_struct *vma)
{
	return vma->anon_vma && !(vma->vm_flags & (VM_LOCKED | VM_SHARED)) &&
	       !vma_is_temporary_stack(vma);
}

static bool wants_to_move(const struct device_coherent_mover *mover,
			  const struct folio *folio)
{
	if (!mover->nodes)
		return folio_nid(folio) != mover->nid;

	return folio_in_zone_device_coherent(folio) &&
	       (mover->from == NUMA_NO_NODE || mover->from == folio_nid(folio));
}

/* What has to be set, of these, in a page that is as simple as it gets */
#define SIMPLE_FLAGS	(BIT(PG_lru) | BIT(PG_swapbacked))
#define KIND_FLAGS	(SIMPLE_FLAGS | BIT(PG_head) | BIT(PG_swapcache) | \
			 BIT(PG_writeback) | BIT(PG_unevictable) |	   \
			 __PG_MLOCKED | __PG_HWPOISON)

/* Nobody refers to it but one mapping: no pin, no batch, no reclaim. */
static bool is_simple(const struct folio *folio)
{
	return (folio->flags & KIND_FLAGS) == SIMPLE_FLAGS &&
	       folio_ref_count(folio) == 1;
}

/* Of this mapping, and not of a parent's or KSM's */
static bool is_of(const struct folio *folio, const struct vm_area_struct *vma)
{
	return folio->mapping ==
	       (void *)vma->anon_vma + PAGE_MAPPING_ANON;
}

static struct folio *simple_folio(struct vm_area_struct *vma,
				  unsigned long addr, pte_t pte)
{
	struct folio *folio;

	if (!pte_present(pte) || pte_protnone(pte))
		return NULL;
	folio = vm_normal_folio(vma, addr, pte);
	if (!folio || !is_simple(folio) || !is_of(folio, vma) ||
	    !PageAnonExclusive(&folio->page))
		return NULL;

	return folio;
}

/* There is one place less then, on the nodes that this one may go to. */
static void count_on(struct device_coherent_mover *mover, struct folio *folio)
{
	if (mover->nodes && mover->from == NUMA_NO_NODE) {
		mover->from = folio_nid(folio);
		mover->to = device_coherent_nearest_system_node(mover->from);
	}
	mover->room--;
}

/**
 * device_coherent_may_take - may this page be moved the short way?
 * @mover: where to; it is counted on then that the page will be taken
 * @vma: the mapping
 * @addr: the page
 * @pte: its entry
 *
 * Context: The caller holds the lock of the page table.
 * Return: true if it has to move, and device_coherent_take() may take it.
 */
bool device_coherent_may_take(struct device_coherent_mover *mover,
			      struct vm_area_struct *vma, unsigned long addr,
			      pte_t pte)
{
	struct folio *folio;

	if (!mover->room || !may_take_from(vma))
		return false;
	folio = simple_folio(vma, addr, pte);
	if (!folio || !wants_to_move(mover, folio))
		return false;
	count_on(mover, folio);

	return true;
}

/* The migration entry remembers what try_to_migrate_one() has it remember. */
static pte_t migration_pte(const struct page *page, pte_t pte)
{
	swp_entry_t entry;
	pte_t swp_pte;

	if (pte_write(pte))
		entry = make_writable_migration_entry(page_to_pfn(page));
	else
		entry = make_readable_exclusive_migration_entry(page_to_pfn(page));
	if (pte_young(pte))
		entry = make_migration_entry_young(entry);
	if (pte_dirty(pte))
		entry = make_migration_entry_dirty(entry);
	swp_pte = swp_entry_to_pte(entry);
	if (pte_soft_dirty(pte))
		swp_pte = pte_swp_mksoft_dirty(swp_pte);
	if (pte_uffd_wp(pte))
		swp_pte = pte_swp_mkuffd_wp(swp_pte);

	return swp_pte;
}

/* From here to the flush, who zaps entries of this mm flushes by himself. */
static void begin_flush(struct device_coherent_mover *mover,
			struct vm_area_struct *vma, unsigned long addr)
{
	if (!mover->end) {
		inc_tlb_flush_pending(mover->mm);
		mover->vma = vma;
		mover->start = addr;
		mover->several = false;
	}
	mover->several |= mover->vma != vma;
	mover->end = addr + PAGE_SIZE;
}

/*
 * As try_to_migrate_one() with a flush that is still to come: folios are locked
 * by trylock alone, as one has many of them. No PG_lru: isolated; it leaves the
 * list when the lock of the page table is dropped.
 */
static bool take_page(struct device_coherent_mover *mover,
		      struct vm_area_struct *vma, unsigned long addr,
		      pte_t *ptep)
{
	pte_t pte = ptep_get(ptep);
	struct folio *folio = simple_folio(vma, addr, pte);

	if (!folio || !wants_to_move(mover, folio) || !folio_trylock(folio))
		return false;
	/* The swap cache takes what is locked. */
	if (!is_simple(folio) || !folio_test_clear_lru(folio))
		goto out_unlock;

	begin_flush(mover, vma, addr);
	flush_cache_page(vma, addr, folio_pfn(folio));
	pte = ptep_get_and_clear(mover->mm, addr, ptep);
	/* A pin by gup_fast_pte_range() shows by now, or it sees the entry go. */
	if (folio_try_share_anon_rmap_pte(folio, &folio->page)) {
		set_pte_at(mover->mm, addr, ptep, pte);
		folio_set_lru(folio);
		goto out_unlock;
	}
	if (pte_dirty(pte))
		folio_set_dirty(folio);
	pte = migration_pte(&folio->page, pte);
	set_pte_at(mover->mm, addr, ptep, pte);
	trace_set_migration_pte(addr, pte_val(pte), 0);
	folio_remove_rmap_pte(folio, &folio->page, vma);

	mover->pages[mover->nr++] = (struct moving){
		.src = folio, .addr = addr,
	};

	return true;

out_unlock:
	folio_unlock(folio);

	return false;
}

/* Pages of one node, not counted yet */
struct count {
	int nid;
	long nr_pages;
};

static void count_isolated(struct count *count, int nid, long nr_pages)
{
	if (count->nid != nid) {
		if (count->nr_pages)
			mod_node_page_state(NODE_DATA(count->nid),
					    NR_ISOLATED_ANON, count->nr_pages);
		*count = (struct count){ .nid = nid };
	}
	count->nr_pages += nr_pages;
}

/* LRU lists, locked; and pages of them that came or went, not counted yet */
struct lists {
	struct lruvec *lruvec;
	enum zone_type zid;
	long nr_pages[LRU_ACTIVE_ANON + 1];
};

static void unlock_lists(struct lists *lists)
{
	enum lru_list lru;

	if (!lists->lruvec)
		return;
	__acquire(&lists->lruvec->lru_lock);	/* sparse doesn't see it */
	for (lru = LRU_INACTIVE_ANON; lru <= LRU_ACTIVE_ANON; lru++)
		if (lists->nr_pages[lru])
			update_lru_size(lists->lruvec, lru, lists->zid,
					lists->nr_pages[lru]);
	unlock_page_lruvec_irq(lists->lruvec);
	*lists = (struct lists){ };
}

static noinline void change_lists(struct lists *lists, struct folio *folio)
{
	unlock_lists(lists);
	lists->lruvec = folio_lruvec_lock_irq(folio);
	lists->zid = folio_zonenum(folio);
}

/* Those of a page, which is isolated, and so stays in its group. */
static void lock_lists(struct lists *lists, struct folio *folio)
{
	if (!lists->lruvec || lists->zid != folio_zonenum(folio) ||
	    !folio_matches_lruvec(folio, lists->lruvec))
		change_lists(lists, folio);
}

/* As folio_lru_list(), for a page that is_simple() */
static enum lru_list list_of(const struct folio *folio)
{
	return folio_test_active(folio) ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON;
}

/*
 * As lruvec_del_folio(), and lruvec_add_folio() below, but that the sizes of the
 * lists are counted once for all pages, as isolate_lru_folios() does it.
 */
static void leave_list(struct lists *lists, struct folio *folio)
{
	enum lru_list lru;

	lock_lists(lists, folio);
	lru = list_of(folio);
	if (lru_gen_del_folio(lists->lruvec, folio, false))
		return;
	list_del(&folio->lru);
	lists->nr_pages[lru]--;
}

static void join_list(struct lists *lists, struct folio *folio)
{
	enum lru_list lru;

	lock_lists(lists, folio);
	lru = list_of(folio);
	folio_set_lru(folio);
	if (lru_gen_add_folio(lists->lruvec, folio, false))
		return;
	list_add(&folio->lru, &lists->lruvec->lists[lru]);
	lists->nr_pages[lru]++;
}

/* Those that were taken since, and isolated in that PG_lru was cleared */
static void leave_lru(struct device_coherent_mover *mover)
{
	struct count isolated = { .nid = NUMA_NO_NODE };
	unsigned int i, first = mover->nr_isolated;
	struct lists lists = { };

	for (i = first; i < mover->nr; i++)
		leave_list(&lists, mover->pages[i].src);
	unlock_lists(&lists);

	for (i = first; i < mover->nr; i++)
		count_isolated(&isolated, folio_nid(mover->pages[i].src), 1);
	count_isolated(&isolated, NUMA_NO_NODE, 0);
	mover->nr_isolated = mover->nr;
}

/*
 * remove_migration_ptes() needs the anon_vma, and the mapping may be gone by
 * then: as in migrate_folio_unmap(), but once for all pages of a mapping.
 */
static void hold_anon_vma(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma)
{
	unsigned int first = mover->nr_isolated;

	if (first && mover->anon_vma == vma->anon_vma)
		return;

	get_anon_vma(vma->anon_vma);
	mover->anon_vma = vma->anon_vma;
	mover->pages[first].anon_vma = vma->anon_vma;
}

static void take_ptes(struct device_coherent_mover *mover,
		      struct vm_area_struct *vma, pmd_t *pmd,
		      unsigned long addr, unsigned long *wanted,
		      unsigned int nr)
{
	spinlock_t *ptl;	/* of the page table */
	unsigned int i;
	pte_t *start;

	start = pte_offset_map_lock(mover->mm, pmd, addr, &ptl);
	if (!start)
		return;
	__acquire(ptl);		/* sparse doesn't see it */
	arch_enter_lazy_mmu_mode();
	for_each_set_bit(i, wanted, nr)
		if (take_page(mover, vma, addr + i * PAGE_SIZE, start + i))
			__clear_bit(i, wanted);
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(start, ptl);
}

/**
 * device_coherent_take_at_once - take a page, if it may be moved the short way
 * @mover: where to
 * @vma: the mapping
 * @addr: the page
 * @ptep: its entry
 *
 * Of an address space that nobody mirrors who would have to hear of it first.
 *
 * Context: The caller holds the mmap lock for reading, and doesn't drop it
 * before device_coherent_mover_flush(); and the lock of the page table, after
 * which it calls device_coherent_took().
 * Return: true if it was taken.
 */
bool device_coherent_take_at_once(struct device_coherent_mover *mover,
				  struct vm_area_struct *vma,
				  unsigned long addr, pte_t *ptep)
{
	if (!mover->room || !may_take_from(vma) ||
	    !take_page(mover, vma, addr, ptep))
		return false;
	count_on(mover, mover->pages[mover->nr - 1].src);

	return true;
}

/**
 * device_coherent_took - pages were taken; the lock of the page table is dropped
 * @mover: where to
 * @vma: the mapping
 *
 * Context: Process context. The caller holds the mmap lock for reading.
 */
void device_coherent_took(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma)
{
	if (mover->nr == mover->nr_isolated)
		return;

	hold_anon_vma(mover, vma);
	leave_lru(mover);
}

/**
 * device_coherent_take - take pages of a page table in order to move them
 * @mover: where to
 * @vma: the mapping
 * @pmd: the page table
 * @addr: the first page
 * @wanted: bits for the pages from @addr on, for each of which
 *	    device_coherent_may_take() was true; those of pages that are taken
 *	    are cleared
 * @nr: number of bits
 *
 * Devices that mirror the address space hear of these pages, and of those in
 * between, but of no others.
 *
 * Context: Process context, sleeps. The caller holds the mmap lock for reading,
 * and doesn't drop it before device_coherent_mover_flush().
 */
void device_coherent_take(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma, pmd_t *pmd,
			  unsigned long addr, unsigned long *wanted,
			  unsigned int nr)
{
	unsigned int begin = find_first_bit(wanted, nr);
	struct mmu_notifier_range range;

	if (begin == nr)
		return;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mover->mm,
				addr + begin * PAGE_SIZE,
				addr + (find_last_bit(wanted, nr) + 1) *
				PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	take_ptes(mover, vma, pmd, addr, wanted, nr);
	mmu_notifier_invalidate_range_end(&range);
	device_coherent_took(mover, vma);
}

/* Does somebody wait for the lock of one? */
static bool is_awaited(const struct moving *m, const struct moving *end)
{
	for (; m < end; m++)
		if (folio_test_waiters(m->src))
			return true;

	return false;
}

/**
 * device_coherent_mover_awaited - does somebody wait for a page that was taken?
 * @mover: what was taken
 *
 * Context: Any.
 * Return: true if it shouldn't take long until they are moved.
 */
bool device_coherent_mover_awaited(struct device_coherent_mover *mover)
{
	return mover->others &&
	       is_awaited(mover->pages, mover->pages + mover->nr);
}

/**
 * device_coherent_mover_flush - let no CPU remember entries that were taken
 * @mover: what was taken
 *
 * Until then, a CPU that does may write to the pages: they aren't copied before.
 *
 * Context: Process context. The caller still holds the mmap lock: mremap() and
 * munmap() don't know of what is still remembered.
 */
void device_coherent_mover_flush(struct device_coherent_mover *mover)
{
	if (!mover->end)
		return;

	if (mover->several)
		flush_tlb_mm(mover->mm);
	else
		flush_tlb_range(mover->vma, mover->start, mover->end);
	dec_tlb_flush_pending(mover->mm);
	mover->vma = NULL;
	mover->end = 0;
}

/* -- Moving them ----------------------------------------------------------- */

/*
 * Pages that a request without reclaim gets: one that fails would be counted.
 * Where others ask, it stays above the mark to which kswapd reclaims.
 */
static unsigned long free_pages_of(int nid)
{
	struct zone *zone = NODE_DATA(nid)->node_zones;
	unsigned long nr_pages = 0, free, mark;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++, zone++) {
		if (!managed_zone(zone))
			continue;
		free = zone_page_state(zone, NR_FREE_PAGES);
		mark = high_wmark_pages(zone) +
		       zone->lowmem_reserve[ZONE_MOVABLE];
		nr_pages += free - min(free, mark);
	}

	return nr_pages;
}

static unsigned long free_targets(const struct device_coherent_mover *mover)
{
	unsigned long nr_pages = 0;
	int nid;

	if (!mover->nodes)
		return free_pages_of(mover->nid);

	for_each_node_mask(nid, *mover->nodes)
		if (!node_is_device_coherent(nid))
			nr_pages += free_pages_of(nid);

	return nr_pages;
}

/*
 * For a part of the batch. At once, or not at all: others wait for the pages that
 * these are for. And for no more than these, so that nobody finds the device full
 * meanwhile. What a CPU's list holds when nothing else is free, is left to a
 * request that may drain it.
 */
static void get_targets(struct device_coherent_mover *mover,
			struct page **targets, unsigned int wanted)
{
	unsigned long room;
	unsigned int nr = 0, had;

	memset(targets, 0, wanted * sizeof(*targets));
	do {
		had = nr;
		room = free_targets(mover);
		if (!room)
			break;
		nr = __alloc_pages_bulk(mover->gfp, mover->to, mover->nodes,
					min(wanted, had + room), NULL, targets);
	} while (nr > had && nr < wanted);
}

/* Pages that went from one node to one other, not counted yet */
struct moved {
	int from;
	int to;
	long nr_pages;
};

static void count_moved(struct moved *moved, int from, int to)
{
	if (moved->from != from || moved->to != to) {
		if (moved->nr_pages)
			device_coherent_moved(moved->from, moved->to,
					      moved->nr_pages, MR_SYSCALL);
		*moved = (struct moved){ .from = from, .to = to };
	}
	moved->nr_pages++;
}

static struct folio *move_page(struct folio *src, struct page *target)
{
	struct folio *dst = page_folio(target);

	if (!folio_trylock(dst))
		goto out_put;
	/* The only references are the mover's. */
	if (migrate_folio(NULL, dst, src, MIGRATE_SYNC))
		goto out_unlock;
	set_page_owner_migrate_reason(target, MR_SYSCALL);

	return dst;

out_unlock:
	folio_unlock(dst);
out_put:
	folio_put(dst);

	return NULL;
}

/*
 * The parts of the batch: its pages are copied, and who waits for one of them
 * goes on, before it is the next part's turn. As many pages as folios_put()
 * frees at once.
 */
#define PART		PAGEVEC_SIZE
#define MAX_PARTS	DIV_ROUND_UP(MAX_PAGES, PART)

/* After as many parts it is looked who waits for which of the others. */
#define LOOK_AFTER	4

/**
 * struct parts - those that are left
 * @left: bits for them
 * @awaited: of those, the ones that somebody waited for at the last look
 * @since: parts since then
 */
struct parts {
	DECLARE_BITMAP(left, MAX_PARTS);
	DECLARE_BITMAP(awaited, MAX_PARTS);
	unsigned int since;
};

static struct moving *end_of_part(struct device_coherent_mover *mover,
				  unsigned int part)
{
	return mover->pages + min((part + 1) * PART, mover->nr);
}

/*
 * A batch is large, so that there are few interrupts of other CPUs for the
 * flush. For a thread to wait no longer for it, its page comes first, and those
 * that follow. Returns MAX_PARTS if none is left.
 */
static unsigned int next_part(struct device_coherent_mover *mover,
			      struct parts *parts)
{
	unsigned int part;

	if (parts->since++ % LOOK_AFTER == 0 && mover->others &&
	    bitmap_empty(parts->awaited, MAX_PARTS))
		for_each_set_bit(part, parts->left, MAX_PARTS)
			if (is_awaited(mover->pages + part * PART,
				       end_of_part(mover, part)))
				__set_bit(part, parts->awaited);
	part = find_first_bit(parts->awaited, MAX_PARTS);
	if (part == MAX_PARTS)
		part = find_first_bit(parts->left, MAX_PARTS);
	if (part < MAX_PARTS) {
		__clear_bit(part, parts->awaited);
		__clear_bit(part, parts->left);
	}

	return part;
}

static void move_part(struct moving *m, struct moving *end,
		      struct page **targets)
{
	struct moved moved = { .from = NUMA_NO_NODE };

	for (; m < end; m++, targets++) {
		if (*targets)
			m->dst = move_page(m->src, *targets);
		/* Once it is mapped, the new page may go at any moment. */
		if (m->dst)
			count_moved(&moved, folio_nid(m->src),
				    folio_nid(m->dst));
	}
	count_moved(&moved, NUMA_NO_NODE, NUMA_NO_NODE);
}

/*
 * Before they are mapped, as migrate_folio_move() does because of mlock(), but
 * there at once, not in a batch of this CPU's.
 */
static void join_lru(struct moving *m, struct moving *end)
{
	struct lists lists = { };

	for (; m < end; m++)
		if (m->dst)
			join_list(&lists, m->dst);
	unlock_lists(&lists);
}

/* What remove_migration_pte() makes of it */
static pte_t new_entry(struct folio *new, struct vm_area_struct *vma,
		       pte_t old_pte)
{
	swp_entry_t entry = pte_to_swp_entry(old_pte);
	pte_t pte = mk_pte(&new->page, READ_ONCE(vma->vm_page_prot));

	if (!is_migration_entry_young(entry))
		pte = pte_mkold(pte);
	if (folio_test_dirty(new) && is_migration_entry_dirty(entry))
		pte = pte_mkdirty(pte);
	if (pte_swp_soft_dirty(old_pte))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (is_writable_migration_entry(entry))
		pte = pte_mkwrite(pte, vma);
	else if (pte_swp_uffd_wp(old_pte))
		pte = pte_mkuffd_wp(pte);

	return pte;
}

/*
 * The entry that the page was taken from may have been zapped, or moved by
 * mremap() or UFFDIO_MOVE, or copied by fork(). But it was the only one, and a
 * copy makes it and its copy readable, and no longer exclusive, under this lock
 * (copy_nonpresent_pte()). So if it is here and still exclusive, it is the only
 * one in the world, and no reverse map need be asked.
 */
static bool is_only_entry(const struct moving *m, pte_t pte)
{
	swp_entry_t entry;

	if (!is_swap_pte(pte))
		return false;
	entry = pte_to_swp_entry(pte);

	return is_migration_entry(entry) &&
	       !is_readable_migration_entry(entry) &&
	       swp_offset_pfn(entry) == folio_pfn(m->src);
}

static void fill_pte(struct moving *m, struct vm_area_struct *vma, pte_t *ptep)
{
	struct folio *new = m->dst ?: m->src;
	pte_t pte = ptep_get(ptep);

	if (!is_only_entry(m, pte))
		return;

	/* The reference of a page that has moved becomes that of the mapping. */
	if (!m->dst)
		folio_get(new);
	pte = new_entry(new, vma, pte);
	folio_add_anon_rmap_pte(new, &new->page, vma, m->addr, RMAP_EXCLUSIVE);
	set_pte_at(vma->vm_mm, m->addr, ptep, pte);
	if (vma->vm_flags & VM_LOCKED)
		mlock_drain_local();
	trace_remove_migration_pte(m->addr, pte_val(pte), 0);
	/* No need to invalidate - it was non-present before */
	update_mmu_cache(vma, m->addr, ptep);
	/* Who unmaps it frees it, as soon as the page table is unlocked. */
	if (m->dst)
		folio_unlock(new);
	m->filled = true;
}

/* The entries of one page table from page @m on. Returns where to go on. */
static struct moving *fill_table(struct mm_struct *mm, struct moving *m,
				 struct moving *last)
{
	struct vm_area_struct *vma = vma_lookup(mm, m->addr);
	pmd_t *pmd = mm_find_pmd(mm, m->addr);
	unsigned long addr = m->addr, end;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start;

	if (!vma || !pmd)
		return m + 1;
	start = pte_offset_map_lock(mm, pmd, addr, &ptl);
	if (!start)
		return m + 1;
	__acquire(ptl);		/* sparse doesn't see it */
	end = pmd_addr_end(addr, vma->vm_end);
	arch_enter_lazy_mmu_mode();
	for (; m < last && m->addr < end; m++)
		fill_pte(m, vma, start + ((m->addr - addr) >> PAGE_SHIFT));
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(start, ptl);

	return m;
}

/*
 * In the page tables that they were taken from, if the mmap lock can be had
 * without waiting; where that isn't so, and for what isn't there any more, by
 * reverse map.
 */
static void fill_entries(struct mm_struct *mm, struct moving *m,
			 struct moving *end)
{
	struct moving *next = m;

	if (mmap_read_trylock(mm)) {
		while (next < end)
			next = fill_table(mm, next, end);
		mmap_read_unlock(mm);
	}
	for (; m < end; m++)
		if (!m->filled)
			remove_migration_ptes(m->src, m->dst ?: m->src, 0);
}

/* A page has moved: who waits for it wakes up, and the old one is free. */
static void finish_page(struct moving *m, struct folio_batch *old)
{
	if (!m->filled) {
		folio_unlock(m->dst);
		folio_put(m->dst);
	}
	folio_unlock(m->src);
	if (!folio_batch_add(old, m->src))
		folios_put(old);
}

/* Returns how many pages have moved; what hasn't is added to @failed. */
static unsigned int finish_part(struct moving *m, struct moving *end,
				struct list_head *failed)
{
	struct count isolated = { .nid = NUMA_NO_NODE };
	struct folio_batch old;
	unsigned int nr = 0;

	folio_batch_init(&old);
	for (; m < end; m++) {
		if (m->dst) {
			count_isolated(&isolated, folio_nid(m->src), -1);
			finish_page(m, &old);
			nr++;
		} else {
			folio_unlock(m->src);
			list_add_tail(&m->src->lru, failed);
		}
	}
	folios_put(&old);
	count_isolated(&isolated, NUMA_NO_NODE, 0);

	return nr;
}

static unsigned int run_part(struct device_coherent_mover *mover,
			     unsigned int part, struct list_head *failed)
{
	struct moving *m = mover->pages + part * PART;
	struct moving *end = end_of_part(mover, part);
	struct page *targets[PART];

	get_targets(mover, targets, end - m);
	move_part(m, end, targets);
	join_lru(m, end);
	fill_entries(mover->mm, m, end);

	return finish_part(m, end, failed);
}

static void drop_anon_vmas(struct device_coherent_mover *mover)
{
	unsigned int i;

	for (i = 0; i < mover->nr; i++)
		if (mover->pages[i].anon_vma)
			put_anon_vma(mover->pages[i].anon_vma);
}

/**
 * device_coherent_mover_run - move what was taken
 * @mover: what was taken, and flushed
 * @failed: the folios that couldn't move are added: mapped as before, isolated,
 *	    and counted as that, for migrate_pages() or putback_movable_pages()
 *
 * Context: Process context, sleeps. The caller holds no lock.
 * Return: the number of pages that have moved.
 */
unsigned long device_coherent_mover_run(struct device_coherent_mover *mover,
					struct list_head *failed)
{
	struct parts parts = { };
	unsigned int part, nr = 0;

	if (!mover->nr)
		return 0;

	trace_mm_migrate_pages_start(MIGRATE_ASYNC, MR_SYSCALL);
	bitmap_set(parts.left, 0, DIV_ROUND_UP(mover->nr, PART));
	while ((part = next_part(mover, &parts)) < MAX_PARTS) {
		nr += run_part(mover, part, failed);
		cond_resched();
	}
	drop_anon_vmas(mover);
	/* Those that failed are tried again, and counted then. */
	count_vm_events(PGMIGRATE_SUCCESS, nr);
	trace_mm_migrate_pages(nr, mover->nr - nr, 0, 0, 0, 0, MIGRATE_ASYNC,
			       MR_SYSCALL);
	mover->nr = 0;
	mover->nr_isolated = 0;

	return nr;
}

/**
 * device_coherent_mover_ready - get ready for the next batch
 * @mover: nothing is in flight
 *
 * Context: Process context.
 */
void device_coherent_mover_ready(struct device_coherent_mover *mover)
{
	mover->from = NUMA_NO_NODE;
	/* Two are the caller's, for himself and for the time of the call. */
	mover->others = mover->mm != current->mm ||
			atomic_read(&mover->mm->mm_users) > 2;
	mover->room = min(mover->max, free_targets(mover));
}

/**
 * device_coherent_mover_taken - pages in flight
 * @mover: where they go
 *
 * Context: Any.
 * Return: their number.
 */
unsigned int device_coherent_mover_taken(struct device_coherent_mover *mover)
{
	return mover->nr;
}

/**
 * device_coherent_mover_start - get ready to move pages
 * @mm: whose
 * @nid: the node to move to, or NUMA_NO_NODE to move what is on a device to the
 *	 system memory nearest to it
 * @allowed: the nodes that it may go to
 * @nr_pages: of the range
 *
 * Context: Process context, sleeps.
 * Return: to be ended with device_coherent_mover_end(); NULL if there is no
 * memory for it.
 */
struct device_coherent_mover *
device_coherent_mover_start(struct mm_struct *mm, int nid, nodemask_t *allowed,
			    unsigned long nr_pages)
{
	unsigned int max = min(nr_pages, MAX_PAGES);
	struct device_coherent_mover *mover;

	/* The mover is to move pages off a full node, without a victim. */
	mover = kvmalloc(struct_size(mover, pages, max),
			 GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!mover)
		return NULL;

	*mover = (struct device_coherent_mover){
		.mm = mm,
		.nid = nid,
		.to = nid,
		.gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN,
		.max = max,
	};
	if (nid == NUMA_NO_NODE)
		mover->nodes = allowed;
	else
		mover->gfp |= __GFP_THISNODE;
	if (node_is_device_coherent(nid))
		mover->gfp |= __GFP_DEVICE_COHERENT;

	return mover;
}

/**
 * device_coherent_mover_end - give back what device_coherent_mover_start() got
 * @mover: used no more; nothing is in flight
 *
 * Context: Process context.
 */
void device_coherent_mover_end(struct device_coherent_mover *mover)
{
	kvfree(mover);
}
