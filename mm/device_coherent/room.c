// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is full: what a request may do about it.
 *
 * An ordinary request that finds no free page may wake kswapd, reclaim, stall
 * as "memory pressure" and call the OOM killer. One for device memory does
 * nothing of that (invariants 3 and 4): it never enters the allocator's slow
 * path, but device_coherent_alloc_slow() instead, which takes these steps, each
 * of them bounded, and ends after the last.
 *
 *  1. Look once more, by the rules of a cpuset for kernel memory.
 *  2. Collect what owners of the device's memory have given back and nobody
 *     has freed yet. That is free memory, whatever make_room says.
 *  3. Compact, for more than a page.
 *  4. Let others make room, if the owner of the device says so.
 *
 * No page of the zone is ever reserved for atomic requests, since the allocator
 * does that in its slow path alone: the last page of a device can be had.
 *
 * One at a time collects on a node. What can be raced with, is: a page that was
 * collected may be gone to another request, which then had the right to it.
 */
#include <linux/cpuset.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/vmstat.h>

/* Not self-contained */
#include <linux/compaction.h>

#include "internal.h"

/* What a node does for a request that finds it full */
enum make_room {
	MAKE_ROOM_OFF,		/* nothing: its capacity is what it says */
	MAKE_ROOM_MOVE,		/* moves cold pages to system memory */
	MAKE_ROOM_SWAP,		/* swaps them out */
};

static u8 make_room[MAX_NUMNODES];

/*
 * After a node was found full, requests that have another place to go
 * (__GFP_NORETRY) don't look behind its free lists for so long: each of them
 * would look at every CPU, to find what the one before it found. Of one page, of
 * more than one.
 */
#define FULL_FOR	max(HZ / 50, 1)

static unsigned long full_until[MAX_NUMNODES][2];

/* How much is collected, displaced or looked at in one go */
#define BATCH		SWAP_CLUSTER_MAX
#define SPLIT_BATCH	16
#define QUEUE_BATCH	64
#define PFNS_PER_LOOK	(SZ_1G >> PAGE_SHIFT)

/* How often it is tried to split what somebody else holds */
#define BUSY_TRIES	4

/* Rounds of making room, if others always take what was made free */
#define MAX_ROUNDS	16

/* Held by the one who collects on the node; nothing is allocated under it */
static struct mutex collecting[MAX_NUMNODES];

static int __init collecting_init(void)
{
	int nid;

	for (nid = 0; nid < MAX_NUMNODES; nid++)
		mutex_init(&collecting[nid]);

	return 0;
}
early_initcall(collecting_init);

static bool found_full(int nid, unsigned int order)
{
	return time_before(jiffies, READ_ONCE(full_until[nid][!!order]));
}

static void note_full(int nid, unsigned int order)
{
	WRITE_ONCE(full_until[nid][!!order], jiffies + FULL_FOR);
}

static void forget_full(int nid)
{
	WRITE_ONCE(full_until[nid][0], jiffies);
	WRITE_ONCE(full_until[nid][1], jiffies);
}

/* -- What was given back --------------------------------------------------- */

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static struct deferred_split *split_queue(int nid, struct mem_cgroup *memcg)
{
#ifdef CONFIG_MEMCG
	if (memcg)
		return &memcg->deferred_split_queue;
#endif
	return &NODE_DATA(nid)->deferred_split_queue;
}

static bool all_mapped(const struct folio *folio)
{
	int mapped = atomic_read(&folio->_nr_pages_mapped);

	return mapped >= ENTIRELY_MAPPED || mapped == folio_nr_pages(folio);
}

/*
 * try_to_migrate() unmaps a folio that is mapped by single entries page by page,
 * which marks it as partially mapped. It keeps the mark when it is mapped again
 * where it was, and hands it on when it has moved.
 */
static void unmark(struct deferred_split *queue, struct folio *folio)
{
	lockdep_assert_held(&queue->split_queue_lock);
	if (!folio_test_partially_mapped(folio) || !all_mapped(folio))
		return;

	folio_clear_partially_mapped(folio);
	/*
	 * __folio_remove_rmap() counts, and then looks for the mark without the
	 * lock: it has seen that there is none, or is seen here. (It has no
	 * barrier. Where that matters, the next page that is unmapped marks.)
	 */
	smp_mb__after_atomic();
	if (all_mapped(folio))
		mod_mthp_stat(folio_order(folio),
			      MTHP_STAT_NR_ANON_PARTIALLY_MAPPED, -1);
	else
		folio_set_partially_mapped(folio);
}

/**
 * device_coherent_unmark - a folio of which all is mapped isn't to be split
 * @folio: an isolated folio of the LRU lists, so that its cgroup stays
 *
 * migrate_pages() splits what is marked as partially mapped and on the queue for
 * that. So it does to what it has failed to move, or has moved before, if single
 * entries map it.
 *
 * Context: takes the lock of the queue.
 * Return: is it still to be split, since a part of it isn't mapped any more?
 */
bool device_coherent_unmark(struct folio *folio)
{
	struct deferred_split *queue;

	if (!folio_test_large(folio) || !folio_test_anon(folio) ||
	    !folio_test_partially_mapped(folio))
		return false;

	queue = split_queue(folio_nid(folio), folio_memcg(folio));
	spin_lock_irq(&queue->split_queue_lock);
	unmark(queue, folio);
	spin_unlock_irq(&queue->split_queue_lock);

	return folio_test_partially_mapped(folio);
}

/*
 * The next folios of a queue that are the node's. A queue is of a cgroup and
 * has folios of all nodes: those that were looked at go to its end, so that the
 * lock is held for a few at a time.
 */
static int next_to_split(struct deferred_split *queue, int nid,
			 unsigned long *budget, struct folio **folios)
{
	int i, nr = 0;

	spin_lock_irq(&queue->split_queue_lock);
	for (i = 0; i < QUEUE_BATCH && nr < SPLIT_BATCH && *budget; i++) {
		struct folio *folio;

		folio = list_first_entry_or_null(&queue->split_queue,
						 struct folio, _deferred_list);
		if (!folio) {
			*budget = 0;
			break;
		}
		--*budget;
		list_move_tail(&folio->_deferred_list, &queue->split_queue);
		if (folio_nid(folio) != nid)
			continue;
		unmark(queue, folio);
		if (folio_test_partially_mapped(folio) && folio_try_get(folio))
			folios[nr++] = folio;
	}
	spin_unlock_irq(&queue->split_queue_lock);

	return nr;
}

/*
 * Return: number of folios that were split. Those that somebody else has just
 * now are counted in @busy.
 */
static int split_from_queue(struct deferred_split *queue, int nid, int *busy)
{
	unsigned long budget = READ_ONCE(queue->split_queue_len);
	struct folio *folios[SPLIT_BATCH];
	int i, nr, done = 0;

	while (budget && !done && !fatal_signal_pending(current)) {
		nr = next_to_split(queue, nid, &budget, folios);
		for (i = 0; i < nr; i++) {
			bool split = false;

			/* Its pages that nobody maps are freed by that. */
			if (folio_trylock(folios[i])) {
				split = !split_folio(folios[i]);
				folio_unlock(folios[i]);
			}
			folio_put(folios[i]);
			done += split;
			*busy += !split;
		}
		cond_resched();
	}

	return done;
}

/* Huge pages that are mapped in part: the rest is free but for being split. */
static bool split_partly_mapped(int nid, int *busy)
{
	struct mem_cgroup *memcg = mem_cgroup_iter(NULL, NULL, NULL);

	do {
		if (split_from_queue(split_queue(nid, memcg), nid, busy)) {
			mem_cgroup_iter_break(NULL, memcg);
			return true;
		}
		memcg = mem_cgroup_iter(NULL, memcg, NULL);
	} while (memcg);

	return false;
}
#else
static bool split_partly_mapped(int nid, int *busy) { return false; }
#endif

/*
 * Lazily freed pages (MADV_FREE) that weren't written to since. They are all
 * that a device has on the lists of file pages. To look for them takes a look at
 * every cgroup; if all that there are can't be had, those who have another place to
 * go don't look again for a while.
 */
static bool free_lazily_freed(int nid, gfp_t gfp, bool thorough)
{
	static unsigned long none_until[MAX_NUMNODES];
	struct zone *zone = &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];

	/* The zone's counters are exact. */
	if ((!zone_page_state(zone, NR_ZONE_INACTIVE_FILE) &&
	     !zone_page_state(zone, NR_ZONE_ACTIVE_FILE)) ||
	    (!thorough && time_before(jiffies, READ_ONCE(none_until[nid]))))
		return false;

	if (device_coherent_shrink(nid, gfp, BATCH, DEVICE_COHERENT_LAZYFREE))
		return true;
	WRITE_ONCE(none_until[nid], jiffies + FULL_FOR);

	return false;
}

/*
 * Clean, not mapped, and on swap all the same: read ahead, or left behind. The
 * caller's reference is dropped.
 */
static bool drop_from_swap_cache(struct folio *folio)
{
	int nid = folio_nid(folio), nr_pages = folio_nr_pages(folio);
	bool dropped = false;

	if (!folio_isolate_lru(folio)) {
		folio_put(folio);
		return false;
	}
	/* One reference is left, as remove_mapping() wants it. */
	folio_put(folio);
	if (folio_trylock(folio)) {
		if (folio_test_swapcache(folio) && !folio_mapped(folio) &&
		    !folio_test_unevictable(folio) &&
		    !folio_test_dirty(folio) && !folio_test_writeback(folio))
			dropped = remove_mapping(folio_mapping(folio), folio);
		folio_unlock(folio);
	}
	if (!dropped) {
		folio_putback_lru(folio);
		return false;
	}

	/* Who frees a page that is on no list finds it so. */
	folio_clear_active(folio);
	folio_put(folio);
	device_coherent_dropped(nid, nr_pages);

	return true;
}

/*
 * Nobody knows which pages of a node are in the swap cache, only how many. So
 * look for them, from where the last one stopped.
 */
static bool free_from_swap_cache(struct zone *zone)
{
	static unsigned long next_pfn[MAX_NUMNODES];
	int nid = zone_to_nid(zone), dropped = 0;
	unsigned long pfn = READ_ONCE(next_pfn[nid]);
	unsigned long i;

	for (i = 0; i < min(zone->spanned_pages, PFNS_PER_LOOK); i++, pfn++) {
		struct folio *folio;
		struct page *page;

		if (!(i % QUEUE_BATCH)) {
			cond_resched();
			if (dropped >= BATCH || fatal_signal_pending(current) ||
			    !node_page_state(zone->zone_pgdat, NR_SWAPCACHE))
				break;
		}
		if (!zone_spans_pfn(zone, pfn))
			pfn = zone->zone_start_pfn;
		page = pfn_to_online_page(pfn);
		/* Only the first page of a folio has the bit. */
		if (!page || page_zone(page) != zone ||
		    !test_bit(PG_swapcache, &page->flags))
			continue;
		folio = page_folio(page);
		if (!folio_try_get(folio))
			continue;
		if (page_folio(page) == folio && folio_test_swapcache(folio) &&
		    !folio_mapped(folio) && !folio_test_dirty(folio))
			dropped += drop_from_swap_cache(folio);
		else
			folio_put(folio);
	}
	WRITE_ONCE(next_pfn[nid], pfn);

	return dropped;
}

/* Free pages on the lists of all CPUs, then another look */
static struct page *drain_and_look(struct device_coherent_request *req)
{
	drain_all_pages(req->zone);

	return device_coherent_try_alloc(req);
}

/* Collects, until there is a page, what is free but for being freed. */
static struct page *collect(struct device_coherent_request *req, int *busy,
			    bool thorough)
{
	int nid = zone_to_nid(req->zone);
	struct page *page;

	lru_add_drain();
	page = drain_and_look(req);
	if (!page && split_partly_mapped(nid, busy))
		page = drain_and_look(req);
	if (!page && free_lazily_freed(nid, req->gfp, thorough))
		page = drain_and_look(req);

	return page;
}

/*
 * For a request that has nowhere else to go. The batches of other CPUs may hold
 * the last reference to a page, or keep a huge one from being split, and so may
 * others for a moment (deferred_split_scan(), a migration): wait for them.
 */
static struct page *collect_thoroughly(struct device_coherent_request *req)
{
	struct page *page;
	int i, busy;

	for (i = 0; i < BUSY_TRIES; i++) {
		busy = 0;
		lru_add_drain_all();
		page = collect(req, &busy, true);
		if (!page && free_from_swap_cache(req->zone))
			page = drain_and_look(req);
		if (page || !busy || fatal_signal_pending(current))
			break;
		schedule_timeout_uninterruptible(1);
	}

	return page;
}

/*
 * Two that collect on one node would keep each other from it: neither can split
 * what the other one holds. One after the other, then; who is the second may
 * find that the first has made enough free. Who has somewhere else to go doesn't
 * wait, and doesn't know then whether the node is full.
 *
 * Return: did it collect?
 */
static bool collect_alone(struct device_coherent_request *req, bool thorough,
			  struct page **page)
{
	struct mutex *lock = &collecting[zone_to_nid(req->zone)];
	int busy = 0;

	if (thorough ? mutex_lock_killable(lock) : !mutex_trylock(lock)) {
		*page = device_coherent_try_alloc(req);
		return false;
	}
	*page = collect(req, &busy, false);
	if (!*page && thorough)
		*page = collect_thoroughly(req);
	mutex_unlock(lock);

	return true;
}

/* -- Making room ----------------------------------------------------------- */

/**
 * device_coherent_makes_room - what does a node do when it is full?
 * @nid: the device node
 *
 * Context: Any.
 * Return: true if it makes room, by moving or by swapping.
 */
bool device_coherent_makes_room(int nid)
{
	return READ_ONCE(make_room[nid]) != MAKE_ROOM_OFF;
}

/*
 * Others displace pages, too, and take what becomes free, so try again as long
 * as pages leave, within limits.
 */
static struct page *make_room_for(struct device_coherent_request *req)
{
	int i, nid = zone_to_nid(req->zone);
	struct page *page = NULL;

	for (i = 0; i < MAX_ROUNDS && !page; i++) {
		int how = READ_ONCE(make_room[nid]) == MAKE_ROOM_MOVE ?
			  DEVICE_COHERENT_MOVE : DEVICE_COHERENT_SWAP;

		if (fatal_signal_pending(current) ||
		    !device_coherent_makes_room(nid) ||
		    !device_coherent_shrink(nid, req->gfp,
					    max(1UL << req->order, BATCH), how))
			break;
		page = drain_and_look(req);
		if (!page && req->order)
			page = device_coherent_compact(req,
						       COMPACT_PRIO_SYNC_LIGHT);
	}

	return page;
}

/* The system node that is nearest to a device that makes room by moving */
int device_coherent_demotion_node(int nid)
{
	int n, best = NUMA_NO_NODE;

	if (READ_ONCE(make_room[nid]) != MAKE_ROOM_MOVE)
		return NUMA_NO_NODE;

	for_each_node_state(n, N_MEMORY)
		if (!node_is_device_coherent(n) &&
		    (best == NUMA_NO_NODE ||
		     node_distance(nid, n) < node_distance(nid, best)))
			best = n;

	return best;
}

static const char * const make_room_names[] = {
	[MAKE_ROOM_OFF] = "off",
	[MAKE_ROOM_MOVE] = "move",
	[MAKE_ROOM_SWAP] = "swap",
};

static ssize_t make_room_show(struct device *dev,
			      struct device_attribute *attr, char *buf)
{
	int i, len = 0, now = READ_ONCE(make_room[dev->id]);

	for (i = 0; i < ARRAY_SIZE(make_room_names); i++)
		len += sysfs_emit_at(buf, len, i == now ? "%s[%s]" : "%s%s",
				     i ? " " : "", make_room_names[i]);
	len += sysfs_emit_at(buf, len, "\n");

	return len;
}

static ssize_t make_room_store(struct device *dev,
			       struct device_attribute *attr,
			       const char *buf, size_t count)
{
	int i = sysfs_match_string(make_room_names, buf);

	if (i < 0)
		return i;
	WRITE_ONCE(make_room[dev->id], i);
	forget_full(dev->id);

	return count;
}
DEVICE_ATTR_RW(make_room);

/**
 * device_coherent_reset_room - begin anew, for a device node that comes or goes
 * @nid: the node
 *
 * Context: Any.
 */
void device_coherent_reset_room(int nid)
{
	WRITE_ONCE(make_room[nid], MAKE_ROOM_OFF);
	forget_full(nid);
}

/* -- A request that finds no free page ------------------------------------- */

/**
 * device_coherent_alloc_full - all that can be done by a request that may sleep
 * @req: the request
 *
 * Context: Process context, sleeps.
 * Return: the page, or NULL.
 */
struct page *device_coherent_alloc_full(struct device_coherent_request *req)
{
	bool elsewhere = req->gfp & __GFP_NORETRY;
	int nid = zone_to_nid(req->zone);
	struct page *page;
	bool collected;

	if (elsewhere && found_full(nid, req->order))
		return NULL;

	collected = collect_alone(req, !elsewhere &&
				  (!req->order ||
				   req->gfp & __GFP_RETRY_MAYFAIL), &page);
	if (!page && req->order && collected) {
		page = device_coherent_compact(req, COMPACT_PRIO_ASYNC);
		if (!page && !elsewhere)
			page = device_coherent_compact(req,
						       COMPACT_PRIO_SYNC_LIGHT);
	}
	if (!page && device_coherent_makes_room(nid))
		page = make_room_for(req);
	if (!page && collected)
		note_full(nid, req->order);

	return page;
}
