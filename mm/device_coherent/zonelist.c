// SPDX-License-Identifier: GPL-2.0
/*
 * Lists of zones, and the requests that walk them.
 *
 * The isolation of device memory rests on two independent facts (invariants 1
 * and 2). No zonelist but a node's own ZONELIST_DEVICE_COHERENT contains the zone,
 * and only __GFP_DEVICE_COHERENT selects that list; and the zone's index is above
 * every index that gfp_zone() can yield, so that even a stray list entry would be
 * passed over.
 *
 * An ordinary request that finds no free page may wake kswapd, reclaim, stall as
 * "memory pressure" and call the OOM killer. One for device memory does nothing of
 * that (invariants 3 and 4): it never enters the allocator's slow path, but
 * device_coherent_alloc_slow() instead, which ends after its last step.
 *
 * No locks here: lists are rebuilt under the allocator's zonelist_update_seq.
 */
#include <linux/cpuset.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "internal.h"

/*
 * A node's list of device memory: its own zone and nothing else (invariant 2).
 * An ordinary list has room for all zones of all nodes; this one needs an entry
 * and an end, and the one for the combination of GFP bits that doesn't occur an
 * end. All possible nodes get their lists before the first request.
 *
 * The zone index stored in the list is 0, whatever the zone's own is: the list
 * is reached by the flag alone, and must be reachable with every
 * highest_zoneidx that gfp_zone() makes of the rest of the mask.
 */
void __device_coherent_build_zonelist(pg_data_t *pgdat)
{
	struct zoneref *refs = pgdat->device_coherent_zonerefs;
	struct zone *zone = node_coherent_zone(pgdat->node_id);
	int i;

	refs->zone = populated_zone(zone) ? zone : NULL;
	refs->zone_idx = 0;

	for (i = 0; i < MAX_ZONELISTS; i++)
		pgdat->gfp_zonelists[i] = &pgdat->node_zonelists[i];
	pgdat->gfp_zonelists[ZONELIST_DEVICE_COHERENT] =
		container_of(refs, struct zonelist, _zonerefs[0]);
	pgdat->gfp_zonelists[ZONELIST_NONE] =
		container_of(refs + 1, struct zonelist, _zonerefs[0]);
}

gfp_t __device_coherent_strip_gfp(gfp_t gfp, const char *who)
{
	WARN_ONCE(1, "%s: __GFP_DEVICE_COHERENT is for the page allocator alone\n",
		  who);
	return gfp & ~__GFP_DEVICE_COHERENT;
}

/**
 * device_coherent_alloc_pages - allocate pages of a device node
 * @nid: the device node
 * @gfp: GFP_KERNEL for memory of the kernel's own, which can't be moved;
 *	 GFP_HIGHUSER_MOVABLE for pages that can; GFP_NOWAIT where the caller
 *	 can't sleep. __GFP_ZERO, __GFP_COMP and __GFP_ACCOUNT work as usual.
 * @order: binary logarithm of the number of pages, physically contiguous
 *
 * The pages come from node @nid or not at all. With a mask for user pages
 * (GFP_USER, GFP_HIGHUSER_MOVABLE) the calling task's cpuset must contain @nid.
 *
 * Context: Any that @gfp allows; sleeps for compaction with
 * __GFP_DIRECT_RECLAIM and @order > 0.
 * Return: the first page, to be freed with device_coherent_free_pages(); NULL
 * if @nid isn't a device node or has no such run of free pages.
 */
struct page *device_coherent_alloc_pages(int nid, gfp_t gfp, unsigned int order)
{
	if (!node_is_device_coherent(nid))
		return NULL;

	/* Not by __alloc_pages_node(): the node may go at any moment. */
	return __alloc_pages(device_gfp(gfp), order, nid, NULL);
}
EXPORT_SYMBOL_GPL(device_coherent_alloc_pages);

/**
 * device_coherent_alloc_folio - allocate a folio of a device node
 * @nid: the device node
 * @gfp: as for device_coherent_alloc_pages()
 * @order: binary logarithm of the number of pages
 *
 * Context: As for device_coherent_alloc_pages().
 * Return: the folio with one reference, to be dropped with folio_put(); NULL
 * if @nid isn't a device node or has no such run of free pages.
 */
struct folio *device_coherent_alloc_folio(int nid, gfp_t gfp,
					  unsigned int order)
{
	if (!node_is_device_coherent(nid))
		return NULL;

	return __folio_alloc(device_gfp(gfp), order, nid, NULL);
}
EXPORT_SYMBOL_GPL(device_coherent_alloc_folio);

/* Has the hardware broken one of these pages? */
static bool has_broken_page(struct page *page, unsigned int order)
{
#ifdef CONFIG_MEMORY_FAILURE
	unsigned long i;

	if (!atomic_long_read(&num_poisoned_pages))
		return false;

	for (i = 0; i < 1UL << order; i++)
		if (PageHWPoison(page + i))
			return true;
#endif
	return false;
}

/**
 * device_coherent_free_pages - free what device_coherent_alloc_pages() gave
 * @page: the first page
 * @order: the order it was allocated with
 *
 * The allocator keeps a page out that the hardware has broken if that is freed
 * by itself. So the others are, too; those of a compound page all stay out.
 *
 * Context: Any but NMI.
 */
void device_coherent_free_pages(struct page *page, unsigned int order)
{
	unsigned long i;

	if (likely(!order || !has_broken_page(page, order))) {
		__free_pages(page, order);
		return;
	}
	if (PageCompound(page))
		return;

	split_page(page, order);
	for (i = 0; i < 1UL << order; i++)
		__free_page(page + i);
}
EXPORT_SYMBOL_GPL(device_coherent_free_pages);

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

/* -- A request that finds no free page ---------------------------------- */

/**
 * device_coherent_alloc_slow - a flagged request that found no free page
 * @gfp: its mask. Without __GFP_DIRECT_RECLAIM it only looks once more; if it
 *	 is atomic (__GFP_HIGH), without regard to cpusets. __GFP_NORETRY says
 *	 that the caller has somewhere else to go: then nothing is tried that
 *	 makes it wait for others, and for a while after the node was found full
 *	 nothing at all. __GFP_NOFAIL is refused with a warning: a device can be
 *	 full.
 * @order: its order
 * @ac: what the allocator knows of it
 *
 * Context: As @gfp says.
 * Return: the page, or NULL, which is counted as refused.
 */
struct page *device_coherent_alloc_slow(gfp_t gfp, unsigned int order,
					struct alloc_context *ac)
{
	struct zone *zone = zonelist_zone(ac->zonelist->_zonerefs);
	struct device_coherent_request req = {
		.gfp = gfp & ~(__GFP_NOFAIL | __GFP_KSWAPD_RECLAIM),
		.order = order,
		.ac = ac,
		.zone = zone,
	};
	struct page *page;

	WARN_ONCE(gfp & __GFP_NOFAIL,
		  "__GFP_DEVICE_COHERENT with __GFP_NOFAIL: a device can be full\n");
	if (!zone)
		return NULL;

	/* The first look may have been bound to the nodes of the task. */
	ac->preferred_zoneref = ac->zonelist->_zonerefs;
	page = device_coherent_try_alloc(&req);
	/* In a cpuset without the node nothing would help. */
	if (!page && gfpflags_allow_blocking(gfp) &&
	    !(current->flags & PF_MEMALLOC) && cpuset_zone_allowed(zone, gfp))
		page = device_coherent_alloc_full(&req);
	if (!page)
		device_coherent_refused(zone_to_nid(zone), gfp, order);

	return page;
}
