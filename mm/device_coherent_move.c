// SPDX-License-Identifier: GPL-2.0
/*
 * Move the pages of one process while the page table is locked.
 *
 * migrate_pages() can move any page: it takes it off its LRU list, finds all
 * its mappings by reverse map, puts migration entries there, copies, finds the
 * entries again and gives the page back to an LRU list. For a page with one
 * mapping, which is in front of us, and with no other user, all of that is
 * known. Its entry is empty for as long as the lock is held, as it is while
 * mprotect() changes it; whoever faults waits for the lock, and finds another
 * page of the same contents.
 *
 * What isn't as simple stays, and is left to migrate_pages().
 */

#include <linux/device_coherent.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include <asm/tlbflush.h>

#include "device_coherent_move.h"
#include "internal.h"

/**
 * struct moving - a page that changes its place
 * @src: the old one; locked, and in the end without users
 * @dst: the new one; NULL if somebody uses the old one after all
 * @pte: the entry as it was
 * @index: of the entry, in the batch
 */
struct moving {
	struct folio *src;
	struct folio *dst;
	pte_t pte;
	unsigned int index;
};

/**
 * struct device_coherent_mover - which pages to move, and free pages to move to
 * @nid: the node to move to; when pages leave devices, the one nearest to @from
 * @from: the device that they leave, NUMA_NO_NODE until the first is met; those
 *	  of another device are passed over
 * @nodes: when pages leave devices, the nodes that they may go to; else NULL
 * @gfp: how to ask for targets
 * @full: there are none
 * @targets: those in stock; NULL where none is
 * @vma: of the batch: its mapping
 * @addr: where it begins
 * @ptep: the entry there
 * @nr: pages in it
 * @pages: those
 */
struct device_coherent_mover {
	int nid;
	int from;
	nodemask_t *nodes;
	gfp_t gfp;
	bool full;
	struct page *targets[DEVICE_COHERENT_MOVE_PAGES];

	struct vm_area_struct *vma;
	unsigned long addr;
	pte_t *ptep;
	unsigned int nr;
	struct moving pages[DEVICE_COHERENT_MOVE_PAGES];
};

/*
 * A fault on an entry that is empty must not tell anybody but the allocator: no
 * file, and no userfaultfd handler of one. Locked pages, which are on no list,
 * and those that vanish under pressure are not worth the trouble.
 */
static bool may_move(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) && vma->anon_vma &&
	       !(vma->vm_flags & (VM_LOCKED | VM_DROPPABLE)) &&
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
			 BIT(PG_unevictable) | __PG_MLOCKED | __PG_HWPOISON)

/* The folio that would move, or NULL if it's there or not as simple as that */
static struct folio *movable_folio(const struct device_coherent_mover *mover,
				   struct vm_area_struct *vma,
				   unsigned long addr, pte_t pte)
{
	struct folio *folio;

	if (!pte_present(pte) || pte_protnone(pte))
		return NULL;
	folio = vm_normal_folio(vma, addr, pte);
	if (!folio || (folio->flags & KIND_FLAGS) != SIMPLE_FLAGS ||
	    folio_ref_count(folio) != 1 || !wants_to_move(mover, folio))
		return NULL;
	if (!folio_test_anon(folio) || folio_test_ksm(folio) ||
	    !PageAnonExclusive(&folio->page))
		return NULL;

	return folio;
}

/* Those of the entries at hand. The first one decides which device is left. */
static void find_batch(struct device_coherent_mover *mover, unsigned int nr_ptes)
{
	unsigned long addr = mover->addr;
	struct moving *m = mover->pages;
	unsigned int i;

	for (i = 0; i < nr_ptes; i++, addr += PAGE_SIZE) {
		m->src = movable_folio(mover, mover->vma, addr,
				       ptep_get(mover->ptep + i));
		if (!m->src || !folio_trylock(m->src))
			continue;
		if (mover->nodes && mover->from == NUMA_NO_NODE) {
			mover->from = folio_nid(m->src);
			mover->nid = device_coherent_nearest_system_node(mover->from);
		}
		m->index = i;
		m++;
	}
	mover->nr = m - mover->pages;
}

/*
 * Free pages to go to; if there are fewer, fewer go. The lock is held, so that
 * there is no reclaim: what finds no target is left to migrate_pages(), which
 * tries harder, or says that it was in vain.
 */
static void get_targets(struct device_coherent_mover *mover)
{
	unsigned int nr;

	if (!mover->nr)
		return;
	nr = alloc_pages_bulk_noprof(mover->gfp, mover->nid, mover->nodes,
				     mover->nr, NULL, mover->targets);
	mover->full = !nr;
	while (mover->nr > nr)
		folio_unlock(mover->pages[--mover->nr].src);
}

/* Empty their entries, and let no CPU remember those. */
static void take_batch(struct device_coherent_mover *mover)
{
	struct vm_area_struct *vma = mover->vma;
	unsigned long addr = mover->addr;
	unsigned int i, last = 0;

	arch_enter_lazy_mmu_mode();
	for (i = 0; i < mover->nr; i++) {
		struct moving *m = &mover->pages[i];

		last = m->index;
		m->pte = ptep_get_and_clear(vma->vm_mm, addr + last * PAGE_SIZE,
					    mover->ptep + last);
	}
	arch_leave_lazy_mmu_mode();

	flush_tlb_range(vma, addr + mover->pages[0].index * PAGE_SIZE,
			addr + (last + 1) * PAGE_SIZE);
}

/*
 * Nobody writes to it any more through this mapping. If there is no reference
 * but the mapping's, nobody has it pinned, and with the count at 0 nobody gets
 * one: lockless GUP, reclaim and compaction pass it over.
 */
static struct folio *copy_folio(struct folio *src, struct page *target)
{
	if (!folio_ref_freeze(src, 1))
		return NULL;

	if (!folio_test_lru(src) || copy_mc_highpage(target, &src->page)) {
		folio_ref_unfreeze(src, 1);
		return NULL;
	}

	return page_folio(target);
}

static void copy_batch(struct device_coherent_mover *mover)
{
	unsigned int i;

	for (i = 0; i < mover->nr; i++) {
		struct moving *m = &mover->pages[i];

		m->dst = copy_folio(m->src, mover->targets[i]);
		if (m->dst)
			mover->targets[i] = NULL;
	}
}

/* The charge goes over to the target; lists are counted by what is charged. */
static void leave_lru(struct device_coherent_mover *mover)
{
	struct lruvec *lruvec = NULL;
	unsigned int i;

	for (i = 0; i < mover->nr; i++) {
		struct folio *src = mover->pages[i].src;

		if (!mover->pages[i].dst)
			continue;
		lruvec = folio_lruvec_relock_irq(src, lruvec);
		lruvec_del_folio(lruvec, src);
		folio_clear_lru(src);
	}
	if (lruvec)
		unlock_page_lruvec_irq(lruvec);
}

static void join_lru(struct device_coherent_mover *mover)
{
	struct lruvec *lruvec = NULL;
	unsigned int i;

	for (i = 0; i < mover->nr; i++) {
		struct folio *dst = mover->pages[i].dst;

		if (!dst)
			continue;
		lruvec = folio_lruvec_relock_irq(dst, lruvec);
		folio_set_lru(dst);
		lruvec_add_folio(lruvec, dst);
	}
	if (lruvec)
		unlock_page_lruvec_irq(lruvec);
}

/* The entry of the new page, which allows and remembers what the old one did */
static pte_t new_entry(const struct moving *m, struct vm_area_struct *vma)
{
	pte_t pte = mk_pte(&m->dst->page, READ_ONCE(vma->vm_page_prot));

	if (!pte_young(m->pte))
		pte = pte_mkold(pte);
	if (pte_dirty(m->pte))
		pte = pte_mkdirty(pte);
	if (pte_write(m->pte))
		pte = pte_mkwrite(pte, vma);
	/* pte_mkdirty() has marked it soft-dirty, too. */
	if (pte_soft_dirty(m->pte))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (pte_uffd_wp(m->pte))
		pte = pte_mkuffd_wp(pte);

	return pte;
}

/* Pages that went from one node to one other, not counted yet */
struct moved {
	int from;
	int to;
	long nr_pages;
};

static void count_moved(const struct moved *moved)
{
	if (moved->nr_pages)
		device_coherent_moved(moved->from, moved->to, moved->nr_pages,
				      MR_SYSCALL);
}

static void add_moved(struct moved *moved, int from, int to)
{
	if (moved->from != from || moved->to != to) {
		count_moved(moved);
		*moved = (struct moved){ .from = from, .to = to };
	}
	moved->nr_pages++;
}

/* The new page takes the place of the old one. It is this mapping's alone. */
static void replace(const struct moving *m, struct vm_area_struct *vma,
		    unsigned long addr)
{
	struct folio *src = m->src, *dst = m->dst;

	/* As folio_migrate_flags() wants to find them, because of KSM */
	__folio_set_locked(dst);
	dst->index = src->index;
	dst->mapping = src->mapping;

	folio_remove_rmap_pte(src, &src->page, vma);
	if (pte_dirty(m->pte))
		folio_set_dirty(src);
	folio_migrate_flags(dst, src);
	folio_add_new_anon_rmap(dst, vma, addr, RMAP_EXCLUSIVE);
	folio_unlock(dst);

	folio_ref_unfreeze(src, 1);
}

/* Fill the entries again. Returns those that lead to another page, as bits. */
static unsigned long fill_entries(struct device_coherent_mover *mover,
				  struct folio_batch *old)
{
	struct vm_area_struct *vma = mover->vma;
	struct moved count = { .nr_pages = 0 };
	unsigned long moved = 0;
	unsigned int i;

	arch_enter_lazy_mmu_mode();
	for (i = 0; i < mover->nr; i++) {
		struct moving *m = &mover->pages[i];
		unsigned long addr = mover->addr + m->index * PAGE_SIZE;
		pte_t *ptep = mover->ptep + m->index;
		pte_t pte = m->pte;

		if (m->dst) {
			replace(m, vma, addr);
			pte = new_entry(m, vma);
			moved |= BIT(m->index);
			add_moved(&count, folio_nid(m->src), folio_nid(m->dst));
			folio_batch_add(old, m->src);
		}
		set_pte_at(vma->vm_mm, addr, ptep, pte);
		update_mmu_cache(vma, addr, ptep);
		folio_unlock(m->src);
	}
	arch_leave_lazy_mmu_mode();
	count_moved(&count);

	return moved;
}

static unsigned long move_batch(struct device_coherent_mover *mover, pmd_t *pmd,
				unsigned int nr_ptes, struct folio_batch *old)
{
	unsigned long moved = 0;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;

	ptep = pte_offset_map_lock(mover->vma->vm_mm, pmd, mover->addr, &ptl);
	if (!ptep)
		return 0;
	__acquire(ptl);		/* sparse doesn't see it */

	mover->ptep = ptep;
	find_batch(mover, nr_ptes);
	get_targets(mover);
	if (mover->nr) {
		take_batch(mover);
		copy_batch(mover);
		leave_lru(mover);
		moved = fill_entries(mover, old);
		join_lru(mover);
	}
	pte_unmap_unlock(ptep, ptl);

	return moved;
}

/**
 * device_coherent_move_ptes - move pages that have no user but one mapping
 * @mover: where to
 * @vma: the mapping
 * @pmd: its page table
 * @addr: the first page
 * @end: behind the last; at most DEVICE_COHERENT_MOVE_PAGES pages, all of them
 *	 in the page table
 *
 * What it doesn't move is where it was, intact (invariant 5).
 *
 * Context: Process context, sleeps. The caller holds the mmap lock for reading.
 * Return: the pages that moved, as bits: bit 0 is the one at @addr.
 */
unsigned long device_coherent_move_ptes(struct device_coherent_mover *mover,
					struct vm_area_struct *vma, pmd_t *pmd,
					unsigned long addr, unsigned long end)
{
	struct mmu_notifier_range range;
	struct folio_batch old;
	unsigned long moved;

	if (mover->full || !may_move(vma))
		return 0;

	folio_batch_init(&old);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, addr,
				end);
	mmu_notifier_invalidate_range_start(&range);
	mover->vma = vma;
	mover->addr = addr;
	moved = move_batch(mover, pmd, (end - addr) >> PAGE_SHIFT, &old);
	mmu_notifier_invalidate_range_end(&range);

	count_vm_events(PGMIGRATE_SUCCESS, folio_batch_count(&old));
	folios_put(&old);

	return moved;
}

/**
 * device_coherent_mover_start - get ready to move pages
 * @nid: the node to move to, or NUMA_NO_NODE to move what is on a device to the
 *	 system memory nearest to it
 * @allowed: the nodes that it may go to
 *
 * Context: Process context, sleeps.
 * Return: for device_coherent_move_ptes() and device_coherent_mover_end(); NULL
 * if there is no memory for it.
 */
struct device_coherent_mover *device_coherent_mover_start(int nid,
							  nodemask_t *allowed)
{
	struct device_coherent_mover *mover = kzalloc(sizeof(*mover), GFP_KERNEL);

	if (!mover)
		return NULL;

	mover->nid = nid;
	mover->from = NUMA_NO_NODE;
	mover->gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN;
	if (nid == NUMA_NO_NODE)
		mover->nodes = allowed;
	else
		mover->gfp |= __GFP_THISNODE;
	if (node_is_device_coherent(nid))
		mover->gfp |= __GFP_DEVICE_COHERENT;

	return mover;
}

/**
 * device_coherent_mover_drain - give back the targets in stock
 * @mover: the next call of device_coherent_move_ptes() gets others
 *
 * Before somebody else looks for some: a few pages may be all there are.
 *
 * Context: Process context.
 */
void device_coherent_mover_drain(struct device_coherent_mover *mover)
{
	unsigned int i;

	for (i = 0; i < DEVICE_COHERENT_MOVE_PAGES; i++) {
		if (mover->targets[i])
			__free_page(mover->targets[i]);
		mover->targets[i] = NULL;
	}
}

/**
 * device_coherent_mover_end - give back what device_coherent_mover_start() got
 * @mover: used no more
 *
 * Context: Process context.
 */
void device_coherent_mover_end(struct device_coherent_mover *mover)
{
	device_coherent_mover_drain(mover);
	kfree(mover);
}
