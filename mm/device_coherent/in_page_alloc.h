/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A part of mm/page_alloc.c, which includes it: what device_coherent_alloc_slow()
 * does instead of __alloc_pages_slowpath() needs these two of that file. As there,
 * atomic requests alone ignore cpusets; but the zone has no reserves for them
 * (ALLOC_HIGHATOMIC).
 */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
#include "internal.h"

static unsigned int device_coherent_alloc_flags(gfp_t gfp)
{
	gfp_t atomic = gfp & (__GFP_HIGH | __GFP_DIRECT_RECLAIM);

	return ALLOC_WMARK_MIN | (atomic == __GFP_HIGH ? 0 : ALLOC_CPUSET);
}

struct page *device_coherent_try_alloc(const struct device_coherent_request *req)
{
	return get_page_from_freelist(req->gfp, req->order,
				      device_coherent_alloc_flags(req->gfp),
				      req->ac);
}

/* As __alloc_pages_direct_compact(), but it is nobody's memory stall. */
struct page *device_coherent_compact(const struct device_coherent_request *req,
				     int prio)
{
	unsigned int alloc_flags = device_coherent_alloc_flags(req->gfp);
	struct page *page = NULL;
	unsigned int noreclaim;

	noreclaim = memalloc_noreclaim_save();
	try_to_compact_pages(req->gfp, req->order, alloc_flags, req->ac, prio,
			     &page);
	memalloc_noreclaim_restore(noreclaim);

	if (page)
		prep_new_page(page, req->order, req->gfp, alloc_flags);
	else
		page = device_coherent_try_alloc(req);
	if (page)
		compaction_defer_reset(page_zone(page), req->order, true);

	return page;
}
#endif /* CONFIG_ZONE_DEVICE_COHERENT */
