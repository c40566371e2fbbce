// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose license is none of the kernel's (OpenZFS is one) may call what
 * inline functions of the kernel's headers call. So that it builds with the option on as it
 * did without, what the series calls there is exported to all modules. This one
 * calls each inline function of an existing header that the series changes, or
 * that contains one of those; whether it links is the test.
 *
 * Proof that it can fail: with CONTROL=y it calls what is for the GPL alone.
 */
#include <linux/device_coherent.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/sched/coredump.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

static unsigned long counters(enum zone_stat_item zone_item,
			      enum node_stat_item node_item)
{
	return nr_free_pages() + total_swapcache_pages() +
	       global_zone_page_state(zone_item) +
	       global_node_page_state(node_item) +
	       global_node_page_state_pages(node_item);
}

static unsigned long lists(int nid, gfp_t gfp)
{
	struct zonelist *zonelist = node_zonelist(nid, gfp);

	return zonelist_zone_idx(zonelist->_zonerefs) + gfp_zonelist(gfp) +
	       gfp_zone(gfp);
}

static bool pages(int nid, gfp_t gfp)
{
	struct page *page = alloc_pages_node(nid, gfp, 0);
	struct folio *folio;
	bool there;

	if (!page)
		return false;
	folio = page_folio(page);
	there = folio_is_zone_movable(folio) ||
		folio_in_zone_device_coherent(folio) ||
		page_in_zone_device_coherent(page);
#ifndef CONFIG_CMA
	/* With that, it calls what no module can, with the series or without. */
	there |= folio_is_longterm_pinnable(folio);
#endif
	__free_pages(page, 0);

	return there;
}

static int __init devmem_nongpl_init(void)
{
	int nid = numa_node_id();

#ifdef CONTROL
	device_coherent_free_pages(device_coherent_alloc_pages(nid, GFP_KERNEL,
							       0), 0);
#endif
	pr_info("%lu %lu %d %lu\n", counters(NR_FREE_PAGES, NR_ACTIVE_FILE),
		lists(nid, GFP_KERNEL), pages(nid, GFP_KERNEL),
		mmf_init_flags(current->mm ? current->mm->flags : 0));

	return 0;
}

static void __exit devmem_nongpl_exit(void)
{
}

module_init(devmem_nongpl_init);
module_exit(devmem_nongpl_exit);
MODULE_DESCRIPTION("What modules of any license may call");
MODULE_LICENSE("Proprietary");
