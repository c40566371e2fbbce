// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous ranges of a device node, for the device itself, and pools of small
 * pieces of one.
 *
 * A range is made by moving away what can be moved. That displaces pages to
 * free frames of the same node first, then to system memory, by
 * alloc_migration_target() (device_coherent_stay()). Long-term pins can't be in
 * the way, since they move pages off the device first (invariant 6).
 */

#include <linux/align.h>
#include <linux/device_coherent.h>
#include <linux/genalloc.h>
#include <linux/io.h>
#include <linux/log2.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "internal.h"

/* Two that make room would only be in each other's way. */
static DEFINE_MUTEX(contig_lock);

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

	return end;
}

/* The first run of that kind that is as long, and can really be had */
static struct page *take_run(const struct zone *zone, unsigned long nr_pages,
			     unsigned long align, gfp_t gfp, enum obtain how)
{
	unsigned long last = zone_end_pfn(zone);
	unsigned long start = ALIGN(zone->zone_start_pfn, align);

	while (start < last && nr_pages <= last - start) {
		unsigned long end = start + nr_pages;
		unsigned long obstacle = next_obstacle(zone, start, end, how);

		if (obstacle < end) {
			start = ALIGN(obstacle + 1, align);
			continue;
		}

		if (!alloc_contig_range(start, end, MIGRATE_MOVABLE, gfp))
			return pfn_to_page(start);
		if (fatal_signal_pending(current))
			break;
		start = ALIGN(start + pageblock_nr_pages, align);
	}

	return NULL;
}

/* free_contig_range() complains of a page that somebody looks at meanwhile. */
static void free_each_page(struct page *page, unsigned long nr_pages)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++)
		__free_page(nth_page(page, i));
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
	free_each_page(nth_page(page, nr_pages), (1UL << order) - nr_pages);

	return page;
}

/**
 * device_coherent_alloc_contig - allocate contiguous memory of a device node
 * @nid: the device node
 * @gfp: GFP_KERNEL, with __GFP_ZERO for zeroed memory
 * @nr_pages: how many pages, up to all of the node's
 * @align: the number of the first page is a multiple of this power of two; 1
 *	   if it doesn't matter
 *
 * Pages that can be moved are moved out of the way: to free memory of the same
 * node first, then to system memory. Before anything moves, a place is looked
 * for that has no obstacle. So a request that can't be met displaces nothing;
 * but where pages turn out to be pinned while they are being moved, some of
 * the others have moved, intact. The memory can't be moved until it is freed,
 * and its pages have one reference each.
 *
 * Context: Process context, sleeps. Takes the hotplug lock for reading. A fatal
 * signal ends it early.
 * Return: the first page, to be freed with device_coherent_free_contig(); NULL
 * if @nid isn't a device node or has no place for that many pages.
 */
struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
					  unsigned long nr_pages,
					  unsigned long align)
{
	struct zone *zone = device_coherent_hotplug_zone(nid);
	struct page *page = NULL;
	int tries;

	if (WARN_ON_ONCE(!is_power_of_2(align) ||
			 (gfp & ~(GFP_KERNEL | __GFP_ZERO))))
		return NULL;
	if (!zone || !nr_pages)
		return NULL;

	if (nr_pages <= MAX_ORDER_NR_PAGES &&
	    align <= roundup_pow_of_two(nr_pages))
		page = take_buddy(nid, nr_pages, gfp);
	if (page)
		return page;

	gfp |= __GFP_DEVICE_COHERENT | __GFP_NOWARN;

	if (mutex_lock_killable(&contig_lock))
		return NULL;
	get_online_mems();
	/* So that what is free is in the buddy allocator */
	drain_all_pages(zone);
	page = take_run(zone, nr_pages, align, gfp, OBTAIN_FREE);
	/* Once more if it failed, for those who held a page for a moment */
	for (tries = 0; tries < 3 && !page; tries++) {
		if (fatal_signal_pending(current))
			break;
		/* What is on its way to an LRU list doesn't look movable. */
		lru_add_drain_all();
		page = take_run(zone, nr_pages, align, gfp, OBTAIN_MOVING);
	}
	put_online_mems();
	mutex_unlock(&contig_lock);

	return page;
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
		free_each_page(page, nr_pages);
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
	struct zone *zone = device_coherent_hotplug_zone(nid);
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
