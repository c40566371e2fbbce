/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A part of mm/vmscan.c, which includes it: reclaim of device nodes. Nobody
 * reclaims there in the background. What does is a request that found its device
 * full (room.c), and a cgroup that is over its limit.
 *
 * mm/vmscan.c's locks and rules hold; no other is taken.
 */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
#include "internal.h"

/*
 * The zonelists that reclaim for a cgroup walks have no device node: visit them
 * after the list. What it moved from there to system memory would stay charged, so
 * it doesn't.
 */
static void device_coherent_shrink_memcg(struct scan_control *sc)
{
	unsigned int no_demotion = sc->no_demotion;
	int nid;

	if (!device_coherent_active() || root_reclaim(sc))
		return;

	sc->no_demotion = 1;
	for_each_device_coherent_node(nid) {
		struct mem_cgroup *memcg = sc->target_mem_cgroup;
		struct lruvec *lruvec = mem_cgroup_lruvec(memcg, NODE_DATA(nid));

		shrink_node(NODE_DATA(nid), sc);
		snapshot_refaults(memcg, NODE_DATA(nid));
		clear_bit(LRUVEC_CGROUP_CONGESTED, &lruvec->flags);
	}
	sc->no_demotion = no_demotion;
}

/**
 * device_coherent_shrink - take pages of one device node from those who have them
 * @nid: the device node
 * @gfp: mask of the request that finds the node full
 * @nr_pages: how many would do
 * @how: what may be taken, and where it goes
 *
 * As __node_reclaim(), but for the zone of the device, and not as pressure:
 * neither PSI nor vmpressure nor cpusets hear of it (invariant 4), since the
 * system isn't short of memory.
 *
 * Context: Process context, sleeps. Ends early when the task is killed.
 * Return: number of pages that were taken.
 */
unsigned long device_coherent_shrink(int nid, gfp_t gfp, unsigned long nr_pages,
				     enum device_coherent_shrink how)
{
	/* A device has anonymous pages; to move them needs no swap. */
	int both = MAX_SWAPPINESS / 2;
	struct scan_control sc = {
		.nr_to_reclaim = nr_pages,
		.gfp_mask = current_gfp_context(gfp),
		.reclaim_idx = MAX_NR_ZONES - 1,
		/* Cold, or (MAP_DROPPABLE) so when it is met again: few rounds. */
		.priority = how == DEVICE_COHERENT_LAZYFREE ? 2 : DEF_PRIORITY,
		.may_writepage = 1,
		.may_unmap = 1,
		.may_swap = how != DEVICE_COHERENT_LAZYFREE,
		.no_demotion = how != DEVICE_COHERENT_MOVE,
		.proactive = 1,
		.proactive_swappiness =
			how == DEVICE_COHERENT_MOVE ? &both : NULL,
	};
	struct mem_cgroup *memcg = NULL;
	int first = sc.priority;
	unsigned int noreclaim;

	fs_reclaim_acquire(sc.gfp_mask);
	noreclaim = memalloc_noreclaim_save();
	set_task_reclaim_state(current, &sc.reclaim_state);

	/* With MGLRU it is kswapd that does this, and a device has none. */
	while (lru_gen_enabled() &&
	       (memcg = mem_cgroup_iter(NULL, memcg, NULL)))
		mem_cgroup_calculate_protection(NULL, memcg);

	do {
		sc.nr_scanned = 0;
		shrink_node(NODE_DATA(nid), &sc);
		if (sc.priority || sc.nr_reclaimed)
			continue;
		/*
		 * Nothing? With more force, as do_try_to_free_pages(): those
		 * that were in use when they were met, at last those of groups
		 * that are protected.
		 */
		if (!sc.force_deactivate) {
			/* By which it is told whether enough is inactive */
			mem_cgroup_flush_stats(NULL);
			sc.memcg_full_walk = 1;
			sc.force_deactivate = 1;
			sc.priority = first;
		} else if (how != DEVICE_COHERENT_LAZYFREE &&
			   sc.memcg_low_skipped && !sc.memcg_low_reclaim) {
			sc.memcg_low_reclaim = 1;
			sc.priority = first;
		}
	} while (sc.nr_reclaimed < nr_pages && --sc.priority >= 0 &&
		 !fatal_signal_pending(current));

	set_task_reclaim_state(current, NULL);
	memalloc_noreclaim_restore(noreclaim);
	fs_reclaim_release(sc.gfp_mask);

	return sc.nr_reclaimed;
}
#else
static inline void device_coherent_shrink_memcg(struct scan_control *sc) { }
#endif /* CONFIG_ZONE_DEVICE_COHERENT */
