// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the pages of a device node: counted in the node's vmstat, and
 * traced.
 *
 * The counters of a node are per CPU and take no lock.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "internal.h"

#include <trace/events/migrate.h>
#define CREATE_TRACE_POINTS
#include <trace/events/device_coherent.h>

static void count_pages(int nid, enum node_stat_item item, long nr_pages)
{
	mod_node_page_state(NODE_DATA(nid), item, nr_pages);
}

/**
 * device_coherent_refused - a request that its device could not serve
 * @nid: the device node
 * @gfp: what was asked
 * @order: likewise
 *
 * Context: Any.
 */
void device_coherent_refused(int nid, gfp_t gfp, unsigned int order)
{
	count_pages(nid, COHERENT_REFUSED, 1L << order);
	trace_device_coherent_refused(nid, gfp, order);
}

/**
 * device_coherent_moved - pages that went from one node to another
 * @from: the node they left
 * @to: the node they are on now
 * @nr_pages: how many
 * @reason: why
 *
 * Context: Any.
 */
void device_coherent_moved(int from, int to, long nr_pages,
			   enum migrate_reason reason)
{
	if (node_is_device_coherent(from)) {
		count_pages(from, COHERENT_MOVED_OUT, nr_pages);
		trace_device_coherent_moved_out(from, to, nr_pages, reason);
	}
	if (node_is_device_coherent(to)) {
		count_pages(to, COHERENT_MOVED_IN, nr_pages);
		trace_device_coherent_moved_in(from, to, nr_pages, reason);
	}
}

static noinline void migrated(const struct folio *src, int to,
			      enum migrate_reason reason)
{
	int from = folio_nid(src);
	long nr = folio_nr_pages(src);

	if (folio_in_zone_device_coherent(src) &&
	    (reason == MR_DEMOTION || reason == MR_CONTIG_RANGE)) {
		count_pages(from, COHERENT_DISPLACED, nr);
		trace_device_coherent_displaced(from, to, nr, reason);
	}
	if (from != to)
		device_coherent_moved(from, to, nr, reason);
}

/* Pages move by processes alone, so that interrupts don't matter. */
static void count_page(const struct folio *folio, enum node_stat_item item)
{
	preempt_disable();
	__inc_node_state(NODE_DATA(folio_nid(folio)), item);
	preempt_enable();
}

static bool mark_sharer(struct folio *folio, struct vm_area_struct *vma,
			unsigned long addr, void *arg)
{
	device_coherent_mark_mm(vma->vm_mm);

	return true;
}

/* A page that was shared by a fork: it is a device page of all who have it. */
static void mark_sharers(struct folio *folio)
{
	struct rmap_walk_control rwc = {
		.rmap_one = mark_sharer,
	};

	if (!folio_trylock(folio))
		return;
	rmap_walk(folio, &rwc);
	folio_unlock(folio);
}

/*
 * A page from the system to a device, while nobody traces: move_pages() pays
 * for every instruction of it, and only the trace event would tell the reason.
 * All else is out of line.
 *
 * Nobody can split the old folio any more.
 */
void __device_coherent_migrated_in(const struct folio *src,
				   struct folio *dst,
				   enum migrate_reason reason)
{
	if (folio_test_anon(dst) && folio_likely_mapped_shared(dst))
		mark_sharers(dst);
	if (!folio_test_large(src) && !folio_in_zone_device_coherent(src) &&
	    !trace_device_coherent_moved_in_enabled())
		count_page(dst, COHERENT_MOVED_IN);
	else
		migrated(src, folio_nid(dst), reason);
}

/* Likewise from a device, where the reason tells what is displaced */
void __device_coherent_migrated_out(const struct folio *src,
				    const struct folio *dst,
				    enum migrate_reason reason)
{
	if (reason == MR_SYSCALL && !folio_test_large(src) &&
	    !trace_device_coherent_moved_out_enabled())
		count_page(src, COHERENT_MOVED_OUT);
	else
		migrated(src, folio_nid(dst), reason);
}

/**
 * device_coherent_dropped - pages that were reclaimed from a device node
 * @nid: the device node
 * @nr_pages: how many
 *
 * Context: Any.
 */
void device_coherent_dropped(int nid, long nr_pages)
{
	count_pages(nid, COHERENT_EVICTED, nr_pages);
	trace_device_coherent_evicted(nid, nr_pages);
}

void __device_coherent_evicted(int nid, unsigned long nr_reclaimed,
			       const struct reclaim_stat *stat)
{
	unsigned long nr_pages = nr_reclaimed - stat->nr_demoted;

	if (nr_pages)
		device_coherent_dropped(nid, nr_pages);
}
