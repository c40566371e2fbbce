// SPDX-License-Identifier: GPL-2.0
/*
 * What is counted where (invariant 3).
 *
 * The counters of the whole machine are about system memory: what a program gets
 * without asking. Those of a device node are its own and complete. How much of
 * either a request could get is summed up here, too.
 *
 * Counters are read without a lock and may have changed; the lists of free pages
 * of a node that goes offline are kept from readers by RCU.
 */
#include <linux/export.h>
#include <linux/init.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "internal.h"

/*
 * What of a machine-wide counter isn't system memory. Who reads one wants to
 * know what the system has, what it uses, or what he could get (MemAvailable,
 * dirty limits, overcommit reserves): invariant 3. The device's part is in the
 * counters of its node.
 *
 * The inline functions of vmstat.h call these, and modules of any license
 * could use those before.
 */
long device_coherent_zone_state(enum zone_stat_item item)
{
	long pages = 0;
	int nid;

	for_each_node_state(nid, N_DEVICE_COHERENT)
		pages += atomic_long_read(&node_coherent_zone(nid)->vm_stat[item]);

	return pages;
}
EXPORT_SYMBOL(device_coherent_zone_state);

/*
 * Does it say how many pages are something now? Then, on a device, it is of
 * pages that users have. All else is events, or of memory that isn't there.
 */
static bool counts_user_pages(enum node_stat_item item)
{
	switch (item) {
	case NR_INACTIVE_ANON ... NR_UNEVICTABLE:
	case NR_ISOLATED_ANON:
	case NR_ISOLATED_FILE:
	case NR_ANON_MAPPED:
	case NR_FILE_MAPPED:
	case NR_FILE_PAGES:
	case NR_WRITEBACK:
	case NR_SHMEM:
	case NR_SHMEM_THPS:
	case NR_SHMEM_PMDMAPPED:
	case NR_ANON_THPS:
#ifdef CONFIG_SWAP
	case NR_SWAPCACHE:
#endif
		return true;
	default:
		return false;
	}
}

long device_coherent_node_state(enum node_stat_item item)
{
	long pages = 0;
	int nid;

	if (!counts_user_pages(item))
		return 0;

	for_each_node_state(nid, N_DEVICE_COHERENT)
		pages += atomic_long_read(&NODE_DATA(nid)->vm_stat[item]);

	return pages;
}
EXPORT_SYMBOL(device_coherent_node_state);

static unsigned long total_pages(void)
{
	unsigned long pages = 0;
	int nid;

	for_each_node_state(nid, N_DEVICE_COHERENT)
		pages += zone_managed_pages(node_coherent_zone(nid));

	return pages;
}

/* Too much for the system: is it, with the devices' memory? */
bool __device_coherent_could_hold(unsigned long pages)
{
	return pages <= totalram_pages() + total_swap_pages + total_pages();
}

void __device_coherent_meminfo(struct seq_file *m)
{
	seq_printf(m, "DeviceCoherentTotal: %8lu kB\n",
		   total_pages() << (PAGE_SHIFT - 10));
	seq_printf(m, "DeviceCoherentFree:  %8lu kB\n",
		   max(device_coherent_zone_state(NR_FREE_PAGES), 0L) <<
		   (PAGE_SHIFT - 10));
}

/* -- How much is free ------------------------------------------------------- */

/*
 * Nodes of whose memory a part goes offline. Their CPUs' lists are empty, and
 * with the last part the lists themselves go. Read under RCU.
 */
static nodemask_t no_lists;

static int lists_notify(struct notifier_block *nb, unsigned long action,
			void *data)
{
	const struct memory_notify *arg = data;
	int nid;

	/* No page structures yet, or no longer */
	if (action == MEM_PREPARE_ONLINE || action == MEM_FINISH_OFFLINE)
		return NOTIFY_OK;

	nid = pfn_to_nid(arg->start_pfn);
	switch (action) {
	case MEM_GOING_OFFLINE:
		node_set(nid, no_lists);
		synchronize_rcu();
		break;
	case MEM_OFFLINE:
		/* Without memory it has none until it is online again. */
		if (!node_state(nid, N_MEMORY))
			break;
		fallthrough;
	case MEM_CANCEL_OFFLINE:
	case MEM_ONLINE:
		node_clear(nid, no_lists);
		break;
	}

	return NOTIFY_OK;
}

static int __init watch_lists(void)
{
	return hotplug_memory_notifier(lists_notify, DEFAULT_CALLBACK_PRI);
}
core_initcall(watch_lists);

static unsigned long nr_free_in_lists(struct zone *zone)
{
	unsigned long nr_pages = 0;
	int cpu;

	rcu_read_lock();
	if (!node_isset(zone_to_nid(zone), no_lists))
		for_each_online_cpu(cpu)
			nr_pages += per_cpu_ptr(zone->per_cpu_pageset,
						cpu)->count;
	rcu_read_unlock();

	return nr_pages;
}

/**
 * device_coherent_nr_free - free pages of a device node
 * @nid: the device node
 *
 * Context: Any. The number can have changed.
 * Return: pages that a request could get, those in the lists of CPUs included;
 * 0 if @nid isn't a device node.
 */
unsigned long device_coherent_nr_free(int nid)
{
	struct zone *zone = device_coherent_zone(nid);

	if (!zone)
		return 0;

	return zone_page_state(zone, NR_FREE_PAGES) + nr_free_in_lists(zone);
}

/* Of a zone, above its high watermark: free, or page cache (as MemAvailable) */
static unsigned long zone_room(struct zone *zone)
{
	unsigned long cache = zone_page_state(zone, NR_ZONE_INACTIVE_FILE) +
			      zone_page_state(zone, NR_ZONE_ACTIVE_FILE);
	unsigned long pages = zone_page_state(zone, NR_FREE_PAGES) + cache -
			      min(cache / 2, low_wmark_pages(zone));

	return pages - min(pages, high_wmark_pages(zone) +
			   zone->lowmem_reserve[ZONE_MOVABLE]);
}

/**
 * device_coherent_system_room - how much would system memory take?
 * @nodes: nodes of which to look at those that aren't device nodes
 *
 * Context: Any. The number can have changed.
 * Return: pages that ordinary movable requests can get before memory is scarce:
 * free ones and page cache, above the high watermarks.
 */
unsigned long device_coherent_system_room(const nodemask_t *nodes)
{
	unsigned long nr_pages = 0;
	int nid, i;

	for_each_node_mask(nid, *nodes) {
		if (!node_state(nid, N_MEMORY) || node_is_device_coherent(nid))
			continue;
		for (i = 0; i <= ZONE_MOVABLE; i++) {
			struct zone *zone = &NODE_DATA(nid)->node_zones[i];

			if (managed_zone(zone))
				nr_pages += zone_room(zone);
		}
	}

	return nr_pages;
}
