// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous ranges of a device node, for the device itself, and pools of small
 * pieces of one.
 *
 * A range is made by moving away what can be moved. That displaces pages to
 * free frames of the same node first, then to system memory, by
 * alloc_migration_target() (device_coherent_stay()). Long-term pins can't be in
 * the way, since they move pages off the device first (invariant 6).
 *
 * What can't be had is found out before anybody is displaced (invariant 4): is
 * there a place without an obstacle, and is there room for those who have to
 * leave it?
 */

#include <linux/align.h>
#include <linux/alloc_tag.h>
#include <linux/cpuset.h>
#include <linux/genalloc.h>
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "internal.h"

/* Two that make room would only be in each other's way. */
static DEFINE_MUTEX(contig_lock);

/* Who looks at a page makes an attempt fail; as many may displace pages in vain. */
#define MAX_ATTEMPTS	12

/* Who has isolated pages puts them back or frees them in as many ticks, or not. */
#define ISOLATED_TICKS	5

/* What a range may consist of, before it is made */
enum obtain {
	OBTAIN_FREE,		/* free pages */
	OBTAIN_MOVING,		/* and pages that can be moved away */
};

/* From this page to the end of the free piece that it is in, or 0 */
static unsigned long free_pages_from(unsigned long pfn)
{
	unsigned int order;

	for (order = 0; order <= MAX_PAGE_ORDER; order++) {
		unsigned long head = ALIGN_DOWN(pfn, 1UL << order);
		struct page *page = pfn_to_page(head);
		unsigned int size;

		if (!PageBuddy(page))
			continue;
		size = buddy_order_unsafe(page);
		if (size >= order && size <= MAX_PAGE_ORDER)
			return head + (1UL << size) - pfn;
	}

	return 0;
}

/* Does anybody use the folio but those who map or cache it, and the caller? */
static bool folio_is_held(struct folio *folio)
{
	long expected = 1 + folio_mapcount(folio);

	if (folio_mapping(folio))
		expected += folio_nr_pages(folio);

	return folio_ref_count(folio) > expected;
}

/* From this page to the end of its folio, or 0 if that can't be moved */
static unsigned long movable_pages_from(struct page *page)
{
	struct folio *folio = page_folio(page);
	long nr_pages = 0;

	/* A reference would be in the way of whoever frees a page. */
	if (!PageLRU(page) || !folio_try_get(folio))
		return 0;

	/* From here on it is a folio, and stays one. */
	if (page_folio(page) == folio && folio_test_lru(folio) &&
	    !folio_test_hwpoison(folio) && !folio_is_held(folio))
		nr_pages = folio_nr_pages(folio) -
			   folio_page_idx(folio, page);
	folio_put(folio);

	return nr_pages;
}

/*
 * How many pages from this one on are of that kind: 0 if it is an obstacle. All
 * without a lock, so a hint; alloc_contig_range() has the last word.
 */
static unsigned long obtainable_pages(struct page *page, enum obtain how)
{
	unsigned long nr_pages = free_pages_from(page_to_pfn(page));

	if (!nr_pages && how == OBTAIN_MOVING)
		nr_pages = movable_pages_from(page);

	return nr_pages;
}

/* The first page from @pfn on, before @end, that isn't to be had; or @end */
static unsigned long next_obstacle(const struct zone *zone, unsigned long pfn,
				   unsigned long end, enum obtain how)
{
	while (pfn < end) {
		struct page *page = pfn_to_online_page(pfn);
		unsigned long nr_pages;

		if (!page || page_zone(page) != zone)
			return pfn;
		nr_pages = obtainable_pages(page, how);
		if (!nr_pages)
			return pfn;
		pfn += nr_pages;
		cond_resched();
	}

	return min(pfn, end);
}

/**
 * struct wanted - a range that is looked for
 * @zone: where
 * @nr_pages: its length
 * @align: of the number of its first page
 * @gfp: how to ask for it, and for other places for those who are there
 * @attempts: so many may still fail that may have displaced somebody
 * @page: the first page, when it is found
 */
struct wanted {
	struct zone *zone;
	unsigned long nr_pages;
	unsigned long align;
	gfp_t gfp;
	int attempts;
	struct page *page;
};

/* Pages that are on no list, as somebody is about to move or to reclaim them */
static unsigned long nr_isolated(const struct zone *zone)
{
	struct pglist_data *pgdat = zone->zone_pgdat;
	long nr_pages = node_page_state(pgdat, NR_ISOLATED_ANON) +
			node_page_state(pgdat, NR_ISOLATED_FILE);
#ifdef CONFIG_SMP
	int cpu;

	/* Of what isn't there for long, much is still in the CPUs' parts. */
	for_each_online_cpu(cpu) {
		const s8 *diff = per_cpu_ptr(pgdat->per_cpu_nodestats,
					     cpu)->vm_node_stat_diff;

		nr_pages += diff[NR_ISOLATED_ANON] + diff[NR_ISOLATED_FILE];
	}
#endif

	return max(nr_pages, 0L);
}

/*
 * Could it be, if nobody were in the way? All of it consists of free pages, and
 * of pages whose content goes to a free page outside of it, or to the system:
 * so wherever it is, it is no more than what is free here, and there. Neither
 * can it be more than what is free or movable.
 */
static bool there_is_room(const struct wanted *w)
{
	unsigned long free = device_coherent_nr_free(zone_to_nid(w->zone));
	unsigned long movable = nr_isolated(w->zone);
	enum lru_list lru;

	/* The zone's counters are exact, the node's are not. */
	for_each_lru(lru)
		movable += zone_page_state(w->zone, NR_ZONE_LRU_BASE + lru);
	if (w->nr_pages > free + movable)
		return false;

	return w->nr_pages <= free ||
	       w->nr_pages - free <=
			device_coherent_system_room(&cpuset_current_mems_allowed);
}

static int take_range(struct wanted *w, unsigned long start, unsigned long end,
		      enum obtain how)
{
	int err;

	err = alloc_contig_range(start, end, MIGRATE_MOVABLE, w->gfp);
	if (!err)
		w->page = pfn_to_page(start);
	else if (how == OBTAIN_MOVING)
		w->attempts--;
	/*
	 * No room for a huge page as a whole, that can't be split, as somebody
	 * has a reference. If there is none for small ones, it is the end.
	 */
	if (err == -ENOMEM && there_is_room(w))
		err = -EBUSY;

	return err;
}

/* The last page of the folio that this one is of, all of which is in the way */
static unsigned long end_of_obstacle(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;

	if (!page)
		return pfn;
	folio = page_folio(page);
	if (!folio_try_get(folio))
		return pfn;
	if (page_folio(page) == folio)
		pfn += folio_nr_pages(folio) - 1 - folio_page_idx(folio, page);
	folio_put(folio);

	return pfn;
}

/*
 * The first run of that kind that is as long, and can really be had. Where an
 * attempt fails, all before the obstacle has been displaced; the next one begins
 * behind it, so that nobody is displaced twice.
 */
static int take_run(struct wanted *w, enum obtain how)
{
	unsigned long last = zone_end_pfn(w->zone);
	unsigned long start = ALIGN(w->zone->zone_start_pfn, w->align);
	int err = -ENOMEM;

	while (start < last && w->nr_pages <= last - start) {
		unsigned long end = start + w->nr_pages;
		unsigned long obstacle = next_obstacle(w->zone, start, end, how);

		/* A timer must not keep it from ever getting anywhere. */
		if (fatal_signal_pending(current))
			return -EINTR;
		err = -EBUSY;
		if (obstacle == end) {
			err = take_range(w, start, end, how);
			if (err != -EBUSY || !w->attempts)
				return err;
			if (signal_pending(current))
				return -EINTR;
			obstacle = next_obstacle(w->zone, start, end,
						 OBTAIN_FREE);
			if (obstacle < end)
				obstacle = end_of_obstacle(obstacle);
		}
		/* Nothing that shows is in the way: not at that pageblock. */
		if (obstacle == end)
			obstacle = start + pageblock_nr_pages - 1;
		start = ALIGN(obstacle + 1, w->align);
	}

	return err;
}

/* Did it help to wait for those who have isolated pages? */
static bool wait_for_isolated(const struct zone *zone)
{
	int ticks = 0;

	while (nr_isolated(zone) && ticks < ISOLATED_TICKS &&
	       !signal_pending(current)) {
		schedule_timeout_interruptible(1);
		ticks++;
	}

	return ticks;
}

static int make_run(struct wanted *w)
{
	int err, tries;

	/* So that what is free is in the buddy allocator */
	drain_all_pages(w->zone);
	err = take_run(w, OBTAIN_FREE);
	if (err != -EBUSY)
		return err;

	/* Once more if it failed, for those who had a page for a moment */
	for (tries = 0; tries < 3; tries++) {
		bool waited = tries && wait_for_isolated(w->zone);

		if (err == -ENOMEM && !waited)
			break;
		/* What is on its way to a list looks neither movable nor free. */
		lru_add_drain_all();
		drain_all_pages(w->zone);
		err = there_is_room(w) ? take_run(w, OBTAIN_MOVING) : -ENOMEM;
		if ((err != -EBUSY && err != -ENOMEM) || !w->attempts)
			break;
	}

	return err;
}

/* Of pages with a reference each: they have none but the first, or it fails. */
static bool join_pages(struct page *page, unsigned long nr_pages)
{
	unsigned long i;

	if (PageHWPoison(page))
		return false;
	for (i = 1; i < nr_pages; i++)
		if (PageHWPoison(page + i) || !page_ref_freeze(page + i, 1))
			break;
	if (i == nr_pages)
		return true;

	while (--i)
		page_ref_unfreeze(page + i, 1);

	return false;
}

/*
 * In pieces as large as the buddy allocator has them; page by page where one is
 * broken, so that it stays out, where somebody looks at one meanwhile (of which
 * free_contig_range() complains), and where each has a record of its own.
 */
static void free_pages_of_range(struct page *page, unsigned long nr_pages)
{
	unsigned long i, size;
	unsigned int order;

	for (; nr_pages; nr_pages -= size, page = nth_page(page, size)) {
		order = min(__ffs(page_to_pfn(page) | MAX_ORDER_NR_PAGES),
			    __fls(nr_pages));
		size = 1UL << order;
		if (!mem_alloc_profiling_enabled() && join_pages(page, size)) {
			__free_pages(page, order);
		} else {
			for (i = 0; i < size; i++)
				__free_page(nth_page(page, i));
		}
		cond_resched();
	}
}

/* A piece that the buddy allocator has, cut to its size */
static struct page *take_buddy(int nid, unsigned long nr_pages, gfp_t gfp)
{
	unsigned int order = order_base_2(nr_pages);
	struct page *page;

	page = device_coherent_alloc_pages(nid, gfp | __GFP_NORETRY, order);
	if (!page)
		return NULL;

	split_page(page, order);
	free_pages_of_range(nth_page(page, nr_pages),
			    (1UL << order) - nr_pages);

	return page;
}

/**
 * device_coherent_get_contig - get contiguous memory of a device node
 * @nid: the device node
 * @gfp: GFP_KERNEL, with __GFP_ZERO for zeroed memory
 * @nr_pages: how many pages, up to all of the node's
 * @align: the number of the first page is a multiple of this power of two; 1
 *	   if it doesn't matter
 * @page: set to the first page, to be freed with device_coherent_free_contig()
 *
 * Pages that can be moved are moved out of the way: to free memory of the same
 * node first, then to system memory that the caller's cpuset allows. Before
 * anything moves, a place is looked for that has no obstacle, and it is made
 * sure that there is room for those who have to leave. So a request that can't
 * be met displaces nothing; but where pages turn out to be in use while they
 * are being moved, some of the others have moved, intact. The memory can't be
 * moved until it is freed, and its pages have one reference each.
 *
 * Context: Process context, sleeps. Takes the hotplug lock for reading. A signal
 * ends it between two attempts, a fatal one at once.
 * Return: 0; -ENODEV if @nid isn't a device node; -EINVAL for 0 pages; -ENOMEM
 * if the node hasn't as many pages that are free or can be moved, or there is
 * no room for those who would have to leave; -EBUSY if there is, but pages that
 * can't be moved, or are in use, are in the way everywhere; -EINTR.
 */
int device_coherent_get_contig(int nid, gfp_t gfp, unsigned long nr_pages,
			       unsigned long align, struct page **page)
{
	struct wanted w = {
		.zone = device_coherent_zone(nid),
		.nr_pages = nr_pages,
		.align = align,
		.gfp = gfp | __GFP_DEVICE_COHERENT | __GFP_NOWARN,
		.attempts = MAX_ATTEMPTS,
	};
	int err;

	*page = NULL;
	if (WARN_ON_ONCE(!is_power_of_2(align) ||
			 (gfp & ~(GFP_KERNEL | __GFP_ZERO))))
		return -EINVAL;
	if (!w.zone)
		return -ENODEV;
	if (!nr_pages)
		return -EINVAL;

	if (nr_pages <= MAX_ORDER_NR_PAGES &&
	    align <= roundup_pow_of_two(nr_pages))
		*page = take_buddy(nid, nr_pages, gfp);
	if (*page)
		return 0;
	if (nr_pages > zone_managed_pages(w.zone))
		return -ENOMEM;

	if (mutex_lock_interruptible(&contig_lock))
		return -EINTR;
	get_online_mems();
	err = make_run(&w);
	put_online_mems();
	mutex_unlock(&contig_lock);
	*page = w.page;

	return err;
}
EXPORT_SYMBOL_GPL(device_coherent_get_contig);

/**
 * device_coherent_alloc_contig - allocate contiguous memory of a device node
 * @nid: the device node
 * @gfp: as for device_coherent_get_contig()
 * @nr_pages: how many pages
 * @align: as for device_coherent_get_contig()
 *
 * For those who don't ask why there is none.
 *
 * Context: As for device_coherent_get_contig().
 * Return: the first page, to be freed with device_coherent_free_contig(); or
 * NULL.
 */
struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
					  unsigned long nr_pages,
					  unsigned long align)
{
	struct page *page;

	return device_coherent_get_contig(nid, gfp, nr_pages, align, &page) ?
	       NULL : page;
}
EXPORT_SYMBOL_GPL(device_coherent_alloc_contig);

/**
 * device_coherent_free_contig - free what device_coherent_alloc_contig() gave
 * @page: the first page, or NULL
 * @nr_pages: as allocated
 *
 * Context: Process context.
 */
void device_coherent_free_contig(struct page *page, unsigned long nr_pages)
{
	if (page)
		free_pages_of_range(page, nr_pages);
}
EXPORT_SYMBOL_GPL(device_coherent_free_contig);

/**
 * device_coherent_largest_run - how much contiguous memory could be had?
 * @nid: the device node
 * @displace: count what can be moved away as free
 *
 * Looks at all of the node's pages without a lock, so it takes time, and what
 * it finds can be gone.
 *
 * Context: Process context, sleeps. Takes the hotplug lock for reading.
 * Return: pages; 0 if @nid isn't a device node.
 */
unsigned long device_coherent_largest_run(int nid, bool displace)
{
	enum obtain how = displace ? OBTAIN_MOVING : OBTAIN_FREE;
	struct zone *zone = device_coherent_zone(nid);
	unsigned long pfn, end, obstacle, largest = 0;

	if (!zone)
		return 0;

	get_online_mems();
	drain_all_pages(zone);
	end = zone_end_pfn(zone);
	for (pfn = zone->zone_start_pfn; pfn < end; pfn = obstacle + 1) {
		if (fatal_signal_pending(current))
			break;
		obstacle = next_obstacle(zone, pfn, end, how);
		largest = max(largest, obstacle - pfn);
	}
	put_online_mems();

	return largest;
}
EXPORT_SYMBOL_GPL(device_coherent_largest_run);

/* -- Pools ------------------------------------------------------------------ */

/**
 * device_coherent_pool_create - a pool of small pieces of a device node
 * @nid: the device node
 * @size: bytes, rounded up to whole pages; physically contiguous
 * @min_alloc_order: binary logarithm of the smallest piece, in bytes
 *
 * For structures that a driver shares with its device: queues, descriptors.
 * Take pieces with gen_pool_alloc() and its like, which may be called in any
 * context; gen_pool_virt_to_phys() gives the address that the device uses. The
 * memory is zeroed once, here.
 *
 * Context: Process context, sleeps.
 * Return: the pool, to be destroyed with device_coherent_pool_destroy(); an
 * ERR_PTR: -EINVAL for a node that isn't a device's, a size of 0 or a piece
 * larger than the pool, -ENOMEM.
 */
struct gen_pool *device_coherent_pool_create(int nid, size_t size,
					     int min_alloc_order)
{
	unsigned long nr_pages = DIV_ROUND_UP(size, PAGE_SIZE);
	struct gen_pool *pool;
	struct page *page;

	if (!node_is_device_coherent(nid) || !size || min_alloc_order < 0 ||
	    min_alloc_order >= BITS_PER_LONG || BIT(min_alloc_order) > size)
		return ERR_PTR(-EINVAL);

	pool = gen_pool_create(min_alloc_order, nid);
	if (!pool)
		return ERR_PTR(-ENOMEM);

	page = device_coherent_alloc_contig(nid, GFP_KERNEL | __GFP_ZERO,
					    nr_pages, 1);
	if (!page)
		goto out_pool;

	if (gen_pool_add_virt(pool, (unsigned long)page_address(page),
			      page_to_phys(page), nr_pages << PAGE_SHIFT, nid))
		goto out_page;

	return pool;

out_page:
	device_coherent_free_contig(page, nr_pages);
out_pool:
	gen_pool_destroy(pool);

	return ERR_PTR(-ENOMEM);
}
EXPORT_SYMBOL_GPL(device_coherent_pool_create);

static void find_pool_memory(struct gen_pool *pool,
			     struct gen_pool_chunk *chunk, void *data)
{
	*(struct page **)data = pfn_to_page(PHYS_PFN(chunk->phys_addr));
}

/**
 * device_coherent_pool_destroy - the end of a pool
 * @pool: from device_coherent_pool_create(); all of its pieces are free again
 *
 * Context: Process context.
 */
void device_coherent_pool_destroy(struct gen_pool *pool)
{
	unsigned long nr_pages = gen_pool_size(pool) >> PAGE_SHIFT;
	struct page *page;

	gen_pool_for_each_chunk(pool, find_pool_memory, &page);
	gen_pool_destroy(pool);
	device_coherent_free_contig(page, nr_pages);
}
EXPORT_SYMBOL_GPL(device_coherent_pool_destroy);
