// SPDX-License-Identifier: GPL-2.0
/*
 * ZONE_DEVICE_COHERENT: cache-coherent memory of a coprocessor, as a NUMA node
 * whose pages nobody gets without asking.
 *
 * The isolation rests on two independent facts. No zonelist but a node's own
 * ZONELIST_DEVICE_COHERENT contains the zone, and only __GFP_DEVICE_COHERENT
 * selects that list; and the zone's index is above every index that gfp_zone()
 * can yield, so that even a stray list entry would be passed over. Everything
 * else here is about not disturbing the rest of the system: what is counted as
 * system memory, who reclaims, where hotplugged memory goes.
 *
 * The invariants that comments cite by number are those of
 * Documentation/mm/device_coherent.rst.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/cpuset.h>
#include <linux/crash_dump.h>
#include <linux/device.h>
#include <linux/device_coherent.h>
#include <linux/init.h>
#include <linux/initrd.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mutex.h>
#include <linux/node.h>
#include <linux/notifier.h>
#include <linux/numa_memblks.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include <asm/numa.h>
#include <asm/sections.h>

#include "internal.h"

#include <trace/events/migrate.h>
#define CREATE_TRACE_POINTS
#include <trace/events/device_coherent.h>

#define DEVICE_COHERENT_RES_NAME	"System RAM (device_coherent)"

static struct zone *device_coherent_zone(int nid)
{
	return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
}

/* What a node does for a request that finds it full */
enum make_room {
	MAKE_ROOM_OFF,		/* nothing: its capacity is what it says */
	MAKE_ROOM_MOVE,		/* moves cold pages to system memory */
	MAKE_ROOM_SWAP,		/* swaps them out */
};

static u8 make_room[MAX_NUMNODES];

static bool makes_room(int nid)
{
	return READ_ONCE(make_room[nid]) != MAKE_ROOM_OFF;
}

static void count_pages(int nid, enum node_stat_item item, long nr_pages)
{
	mod_node_page_state(NODE_DATA(nid), item, nr_pages);
}

/* -- Allocation ---------------------------------------------------------- */

/*
 * An ordinary list has room for all zones of all nodes. That of device memory
 * needs an entry and an end, and the one for the combination of GFP bits that
 * doesn't occur an end.
 */
void device_coherent_init_zonelists(pg_data_t *pgdat)
{
	struct zoneref *refs = pgdat->device_coherent_zonerefs;
	int i;

	for (i = 0; i < MAX_ZONELISTS; i++)
		pgdat->gfp_zonelists[i] = &pgdat->node_zonelists[i];
	pgdat->gfp_zonelists[ZONELIST_DEVICE_COHERENT] =
		container_of(refs, struct zonelist, _zonerefs[0]);
	pgdat->gfp_zonelists[ZONELIST_NONE] =
		container_of(refs + 1, struct zonelist, _zonerefs[0]);
}

/*
 * A node's list of device memory: its own zone and nothing else (invariant 2).
 *
 * The zone index stored in the list is 0, whatever the zone's own is: the list
 * is reached by the flag alone, and must be reachable with every
 * highest_zoneidx that gfp_zone() makes of the rest of the mask.
 */
void device_coherent_build_zonelist(pg_data_t *pgdat)
{
	struct zoneref *zoneref = pgdat->device_coherent_zonerefs;
	struct zone *zone = device_coherent_zone(pgdat->node_id);

	if (populated_zone(zone)) {
		zoneref->zone = zone;
		zoneref->zone_idx = 0;
		zoneref++;
	}
	zoneref->zone = NULL;
	zoneref->zone_idx = 0;
}

/*
 * A device's capacity is what it says: a request that finds the zone full may
 * compact it, and then fails without a word. It wakes nobody, and unless the
 * node makes room, no reclaim would ever help it, so it must not loop for one.
 *
 * For more than a page, the free pages that wait on the CPUs' lists are merged
 * with their buddies here, before the first try: with __GFP_NORETRY a request
 * of a costly order ends when compaction has nothing to do, and direct reclaim
 * (device_coherent_no_reclaim()) never comes.
 */
gfp_t __device_coherent_slowpath_gfp(gfp_t gfp, struct zonelist *zonelist,
				     unsigned int order)
{
	struct zone *zone = zonelist_zone(zonelist->_zonerefs);

	WARN_ONCE(gfp & __GFP_NOFAIL,
		  "__GFP_DEVICE_COHERENT with __GFP_NOFAIL: a device can be full\n");

	if (zone && order && (gfp & __GFP_DIRECT_RECLAIM))
		drain_all_pages(zone);

	gfp &= ~(__GFP_NOFAIL | __GFP_KSWAPD_RECLAIM);
	if (!(gfp & __GFP_RETRY_MAYFAIL) &&
	    !(zone && makes_room(zone_to_nid(zone))))
		gfp |= __GFP_NORETRY;

	return gfp | __GFP_NOWARN;
}

void __device_coherent_refused(struct zonelist *zonelist, gfp_t gfp,
			       unsigned int order)
{
	struct zone *zone = zonelist_zone(zonelist->_zonerefs);
	int nid;

	if (!zone)
		return;

	nid = zone_to_nid(zone);
	count_pages(nid, COHERENT_REFUSED, 1L << order);
	trace_device_coherent_refused(nid, gfp, order);
}

/**
 * device_coherent_no_reclaim - what a flagged request does before reclaim
 * @zonelist: the list of the request
 * @order: its order
 * @found: set to the number of free pages that were found, or 0
 *
 * Collects the free pages that the per-CPU lists of other CPUs hold, so that a
 * device is full only when it is.
 *
 * Context: Direct reclaim.
 * Return: true if that is all, since there are pages now or since the node
 * doesn't make room; false if reclaim may go on in the zone.
 */
bool device_coherent_no_reclaim(struct zonelist *zonelist, int order,
				unsigned long *found)
{
	struct zone *zone = zonelist_zone(zonelist->_zonerefs);

	*found = 0;
	if (!zone)
		return true;

	drain_all_pages(zone);

	/* For more than a page at a time compaction comes next. */
	if (!order && zone_page_state(zone, NR_FREE_PAGES) >
		      min_wmark_pages(zone))
		*found = 1;

	return *found || !makes_room(zone_to_nid(zone));
}

gfp_t __device_coherent_strip_gfp(gfp_t gfp, const char *who)
{
	WARN_ONCE(1, "%s: __GFP_DEVICE_COHERENT is for the page allocator alone\n",
		  who);
	return gfp & ~__GFP_DEVICE_COHERENT;
}

/* A device that is full is nothing to warn of. */
static gfp_t device_gfp(gfp_t gfp)
{
	return gfp | __GFP_DEVICE_COHERENT | __GFP_NOWARN;
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

	return __alloc_pages_node(nid, device_gfp(gfp), order);
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

	return __folio_alloc_node(device_gfp(gfp), order, nid);
}
EXPORT_SYMBOL_GPL(device_coherent_alloc_folio);

/**
 * device_coherent_free_pages - free what device_coherent_alloc_pages() gave
 * @page: the first page
 * @order: the order it was allocated with
 *
 * Context: Any but NMI.
 */
void device_coherent_free_pages(struct page *page, unsigned int order)
{
	__free_pages(page, order);
}
EXPORT_SYMBOL_GPL(device_coherent_free_pages);

/* -- Placement ----------------------------------------------------------- */

/* On while there are device nodes */
DEFINE_STATIC_KEY_FALSE(device_coherent_key);

static nodemask_t policy_devices(const struct mempolicy *pol)
{
	nodemask_t nodes;

	nodes_and(nodes, pol->nodes, node_states[N_DEVICE_COHERENT]);

	return nodes;
}

/*
 * Only user pages follow a policy to a device: what the kernel allocates in the
 * name of a task (page tables, slab, pipes) isn't movable, and the page cache
 * doesn't come here.
 */
static bool names_devices(const struct mempolicy *pol, gfp_t gfp)
{
	const gfp_t user = __GFP_MOVABLE | __GFP_HIGHMEM;

	return pol->mode != MPOL_LOCAL && (gfp & user) == user &&
	       nodes_intersects(pol->nodes, node_states[N_DEVICE_COHERENT]);
}

bool __device_coherent_only(const struct mempolicy *pol)
{
	return pol->mode != MPOL_LOCAL &&
	       device_coherent_only_nodes(&pol->nodes);
}

/* @nid if it is among @devices, then the others as they get farther from it */
static struct folio *alloc_from_devices(gfp_t gfp, unsigned int order, int nid,
					nodemask_t devices)
{
	while (!nodes_empty(devices)) {
		int n, best = first_node(devices);
		struct folio *folio;

		for (n = next_node(best, devices); n < MAX_NUMNODES;
		     n = next_node(n, devices))
			if (node_distance(nid, n) < node_distance(nid, best))
				best = n;

		folio = __folio_alloc_node_noprof(device_gfp(gfp), order, best);
		if (folio)
			return folio;
		node_clear(best, devices);
	}

	return NULL;
}

/* First pass of two: take what is there */
static gfp_t gfp_without_effort(gfp_t gfp)
{
	return (gfp & ~(__GFP_DIRECT_RECLAIM | __GFP_NOFAIL)) | __GFP_NOWARN;
}

static struct folio *alloc_by_policy(gfp_t gfp, unsigned int order,
				     struct mempolicy *pol, pgoff_t ilx,
				     int nid)
{
	return page_rmappable_folio(alloc_pages_mpol_noprof(gfp | __GFP_COMP,
							    order, pol, ilx,
							    nid));
}

/* As by a policy that names the system nodes of @pol and no other */
static struct folio *alloc_from_system(gfp_t gfp, unsigned int order,
				       const struct mempolicy *pol,
				       pgoff_t ilx, int nid)
{
	struct mempolicy system = {
		.mode = pol->mode,
		.flags = pol->flags,
		.home_node = pol->home_node,
	};

	nodes_andnot(system.nodes, pol->nodes, node_states[N_DEVICE_COHERENT]);
	if (node_is_device_coherent(system.home_node))
		system.home_node = NUMA_NO_NODE;

	return alloc_by_policy(gfp, order, &system, ilx, nid);
}

/* Some of the policy's nodes are devices, named literally: as the mode says. */
static struct folio *alloc_mixed(gfp_t gfp, unsigned int order,
				 const struct mempolicy *pol,
				 nodemask_t devices, nodemask_t *system,
				 pgoff_t ilx, int nid)
{
	struct folio *folio = NULL;

	if (pol->mode == MPOL_INTERLEAVE ||
	    pol->mode == MPOL_WEIGHTED_INTERLEAVE) {
		if (node_is_device_coherent(nid))
			folio = alloc_from_devices(gfp, order, nid,
						   nodemask_of_node(nid));
		else
			folio = __folio_alloc_noprof(gfp, order, nid, NULL);
	} else {
		/* Nearest first, without effort; then the rest */
		if (!node_is_device_coherent(nid))
			folio = __folio_alloc_noprof(gfp_without_effort(gfp),
						     order, nid, system);
		if (!folio)
			folio = alloc_from_devices(gfp, order, nid, devices);
	}
	if (!folio)
		folio = alloc_from_system(gfp, order, pol, ilx, nid);

	return folio;
}

/*
 * From a policy's devices, as far as the task's cpuset has them: those are left
 * in @devices. A policy that names nodes outside of the cpuset and no others
 * means nothing, as everywhere; that happens while the cpuset changes.
 */
static struct folio *alloc_allowed(gfp_t gfp, unsigned int order, int nid,
				   const struct mempolicy *pol,
				   nodemask_t *devices)
{
	struct folio *folio;
	unsigned int cookie;

	do {
		cookie = read_mems_allowed_begin();
		*devices = policy_devices(pol);
		nodes_and(*devices, *devices, cpuset_current_mems_allowed);
		folio = alloc_from_devices(gfp, order, nid, *devices);
	} while (unlikely(!folio && read_mems_allowed_retry(cookie)));

	return folio;
}

/**
 * device_coherent_alloc_mpol - folio_alloc_mpol() for a policy with devices
 * @gfp: mask of the request, without the flag
 * @order: order of the folio
 * @pol: the policy, which may name device nodes
 * @ilx: interleave index
 * @nid: the local node
 *
 * A policy reaches its device nodes when it names no other, or when its mask is
 * literal (MPOL_F_STATIC_NODES); if not, they are passed over.
 *
 * Context: As @gfp says; the caller holds what keeps @pol alive.
 * Return: the folio, or NULL.
 */
struct folio *device_coherent_alloc_mpol(gfp_t gfp, unsigned int order,
					 struct mempolicy *pol, pgoff_t ilx,
					 int nid)
{
	nodemask_t devices, system;
	struct folio *folio;

	if (!names_devices(pol, gfp))
		return alloc_by_policy(gfp, order, pol, ilx, nid);

	devices = policy_devices(pol);
	nodes_andnot(system, pol->nodes, devices);
	if (!nodes_empty(system)) {
		if (!(pol->flags & MPOL_F_STATIC_NODES))
			return alloc_from_system(gfp, order, pol, ilx, nid);
		nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
		return alloc_mixed(gfp, order, pol, devices, &system, ilx, nid);
	}

	/* Of one device it doesn't matter where the search begins. */
	if (next_node(first_node(devices), devices) < MAX_NUMNODES)
		nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
	folio = alloc_allowed(gfp, order, nid, pol, &devices);
	if (folio || (pol->mode == MPOL_BIND && !nodes_empty(devices)))
		return folio;

	nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
	return __folio_alloc_noprof(gfp, order, nid, NULL);
}

/*
 * Anonymous and shmem pages go to a device. The page cache is everybody's, and
 * the next reader didn't ask; nor did those who share a page that KSM merged.
 * Huge pages of a pool have none there.
 */
bool __device_coherent_can_hold(const struct folio *folio)
{
	return (folio_test_anon(folio) || folio_test_swapbacked(folio)) &&
	       !folio_test_ksm(folio) && !folio_test_hugetlb(folio);
}

/* Another place on the device if there is one, or else where others would go */
struct folio *device_coherent_stay(struct folio *src, gfp_t gfp,
				   unsigned int order, int nid,
				   nodemask_t *nodes)
{
	gfp_t stay = device_gfp(gfp_without_effort(gfp));
	struct folio *dst = __folio_alloc_node(stay, order, folio_nid(src));

	return dst ? dst : __folio_alloc(gfp, order, nid, nodes);
}

bool __device_coherent_reaches(const struct mempolicy *pol)
{
	return __device_coherent_only(pol) ||
	       ((pol->flags & MPOL_F_STATIC_NODES) &&
		names_devices(pol, GFP_HIGHUSER_MOVABLE));
}

long __device_coherent_put_back(struct list_head *folios)
{
	struct folio *folio, *next;
	LIST_HEAD(stay);
	long nr = 0;

	list_for_each_entry_safe(folio, next, folios, lru) {
		if (__device_coherent_can_hold(folio))
			continue;
		list_move_tail(&folio->lru, &stay);
		nr++;
	}
	putback_movable_pages(&stay);

	return nr;
}

static void remap_class(nodemask_t *dst, const nodemask_t *src,
			const nodemask_t *old, const nodemask_t *new,
			const nodemask_t *class)
{
	nodemask_t s, o, n, d;

	nodes_and(s, *src, *class);
	nodes_and(o, *old, *class);
	nodes_and(n, *new, *class);
	if (nodes_empty(s) || nodes_empty(n))
		return;

	nodes_remap(d, s, o, n);
	/* What can't be mapped stays itself, allowed or not. */
	nodes_and(d, d, n);
	nodes_or(*dst, *dst, d);
}

void __device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
			     const nodemask_t *old, const nodemask_t *new)
{
	nodemask_t system;

	nodes_complement(system, node_states[N_DEVICE_COHERENT]);
	nodes_clear(*dst);
	remap_class(dst, src, old, new, &system);
	remap_class(dst, src, old, new, &node_states[N_DEVICE_COHERENT]);
}

bool __device_coherent_can_collapse(const u32 *node_load, int node, gfp_t *gfp)
{
	bool device = node_is_device_coherent(node);
	int nid;

	for_each_online_node(nid)
		if (nid != node && node_load[nid] &&
		    (device || node_is_device_coherent(nid)))
			return false;
	if (device)
		*gfp |= __GFP_DEVICE_COHERENT;

	return true;
}

/*
 * Would the access succeed now, or wait? Another thread may have got the page
 * that this one did not; or it moves, and its entry was read before.
 */
static bool is_served(struct mm_struct *mm, unsigned long address,
		      unsigned int flags)
{
	bool served, write = flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE);
	pmd_t *pmd = mm_find_pmd(mm, address), pmdval;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep, pte;

	pmdval = pmd ? pmdp_get_lockless(pmd) : __pmd(0);
	if (pmd_none(pmdval))
		return false;
	if (is_swap_pmd(pmdval))
		return is_pmd_migration_entry(pmdval);
	if (pmd_trans_huge(pmdval))
		return !write || pmd_write(pmdval);

	ptep = pte_offset_map_lock(mm, pmd, address, &ptl);
	if (!ptep)
		return true;	/* It changes: look again. */
	__acquire(ptl);		/* sparse doesn't see it */
	pte = ptep_get(ptep);
	if (is_swap_pte(pte))
		served = is_migration_entry(pte_to_swp_entry(pte));
	else
		served = pte_present(pte) && (!write || pte_write(pte));
	pte_unmap_unlock(ptep, ptl);

	return served;
}

/*
 * A thread that got the last page may not have mapped it yet. It has a moment to
 * do so; who is alone waits for nobody.
 */
static bool is_served_soon(struct mm_struct *mm, unsigned long address,
			   unsigned int flags)
{
	int tries;

	for (tries = 0; tries < 4; tries++) {
		if (is_served(mm, address, flags))
			return true;
		if (atomic_read(&mm->mm_users) == 1)
			break;
		schedule_timeout_killable(1);
	}

	return false;
}

/* Can a page be had after all, of devices that the task may use? */
static vm_fault_t full_or_not(struct mm_struct *mm, unsigned long address,
			      unsigned int flags, struct mempolicy *pol,
			      vm_fault_t ret)
{
	nodemask_t devices;
	struct folio *folio;

	folio = alloc_allowed(GFP_HIGHUSER_MOVABLE, 0, first_node(pol->nodes),
			      pol, &devices);
	if (folio)
		folio_put(folio);
	if (!folio && !nodes_empty(devices) &&
	    !is_served_soon(mm, address, flags))
		return (ret & ~VM_FAULT_OOM) | VM_FAULT_SIGBUS;
	if (!task_in_memcg_oom(current))
		return (ret & ~VM_FAULT_OOM) | VM_FAULT_NOPAGE;

	return ret;
}

/*
 * The allocation that a fault needed failed. If that is because the devices of
 * a strict policy are full, the task gets SIGBUS, as for a hugetlb pool that is
 * used up: no OOM killer could help, and retrying the fault would never end.
 * If it isn't, because of somebody who freed a page or of a cpuset that changed
 * just then, the fault is to be taken again; VM_FAULT_OOM does so with a
 * complaint, or for the OOM of a memory cgroup, which is the caller's.
 *
 * But first it is looked whether the page is there by now (invariant 4). That is
 * for the kernel's own accesses, too, which fail otherwise.
 */
vm_fault_t __device_coherent_fault(struct mm_struct *mm, unsigned long address,
				   unsigned int flags, vm_fault_t ret)
{
	struct vm_area_struct *vma;
	struct mempolicy *pol;
	pgoff_t ilx;

	if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED))
		return ret;

	/* The fault still holds the lock of the mapping, or of all. */
	vma = mtree_load(&mm->mm_mt, address);
	if (!vma)
		return ret;

	pol = get_vma_policy(vma, address, 0, &ilx);
	if (pol->mode == MPOL_BIND && __device_coherent_only(pol)) {
		bool user = flags & FAULT_FLAG_USER;

		if (user && !is_served(mm, address, flags))
			ret = full_or_not(mm, address, flags, pol, ret);
		else if (user || is_served_soon(mm, address, flags))
			ret = (ret & ~VM_FAULT_OOM) | VM_FAULT_NOPAGE;
	}
	mpol_cond_put(pol);
	/* No OOM after all: leave nothing of that of a memory cgroup. */
	if (!(ret & VM_FAULT_OOM) && task_in_memcg_oom(current))
		mem_cgroup_oom_synchronize(false);

	return ret;
}

/* -- Accounting ---------------------------------------------------------- */

/*
 * What of a zone counter isn't system memory. Everybody who reads the number of
 * free pages of the whole machine (MemFree, MemAvailable, dirty limits, the
 * overcommit reserves) wants to know what he could get.
 */
unsigned long device_coherent_zone_state(enum zone_stat_item item)
{
	unsigned long pages = 0;
	int nid;

	if (item != NR_FREE_PAGES)
		return 0;

	for_each_node_state(nid, N_DEVICE_COHERENT)
		pages += zone_page_state(device_coherent_zone(nid), item);

	return pages;
}
EXPORT_SYMBOL_GPL(device_coherent_zone_state);

static unsigned long total_pages(void)
{
	unsigned long pages = 0;
	int nid;

	for_each_node_state(nid, N_DEVICE_COHERENT)
		pages += zone_managed_pages(device_coherent_zone(nid));

	return pages;
}

/* Too much for the system: is it, with the devices' memory? */
bool device_coherent_could_hold(unsigned long pages)
{
	return pages <= totalram_pages() + total_swap_pages + total_pages();
}

void device_coherent_meminfo(struct seq_file *m)
{
	seq_printf(m, "DeviceCoherentTotal: %8lu kB\n",
		   total_pages() << (PAGE_SHIFT - 10));
	seq_printf(m, "DeviceCoherentFree:  %8lu kB\n",
		   device_coherent_zone_state(NR_FREE_PAGES) <<
		   (PAGE_SHIFT - 10));
}

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

/*
 * A page from the system to a device, while nobody traces: move_pages() pays
 * for every instruction of it, and only the trace event would tell the reason.
 * All else is out of line.
 *
 * Nobody can split the old folio any more.
 */
void __device_coherent_migrated_in(const struct folio *src,
				   const struct folio *dst,
				   enum migrate_reason reason)
{
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

void __device_coherent_evicted(int nid, unsigned long nr_reclaimed,
			       const struct reclaim_stat *stat)
{
	unsigned long nr_pages = nr_reclaimed - stat->nr_demoted;

	if (!nr_pages)
		return;

	count_pages(nid, COHERENT_EVICTED, nr_pages);
	trace_device_coherent_evicted(nid, nr_pages);
}

static bool on_device(const struct folio *folio)
{
	return folio && folio_in_zone_device_coherent(folio);
}

static int count_device_pte(pte_t *pte, unsigned long addr, unsigned long next,
			    struct mm_walk *walk)
{
	unsigned long *nr_pages = walk->private;
	pte_t entry = ptep_get(pte);

	if (pte_present(entry) &&
	    on_device(vm_normal_folio(walk->vma, addr, entry)))
		++*nr_pages;

	return 0;
}

static int count_device_pmd(pmd_t *pmd, unsigned long addr, unsigned long next,
			    struct mm_walk *walk)
{
	unsigned long *nr_pages = walk->private;
	pmd_t entry = pmdp_get_lockless(pmd);
	spinlock_t *ptl;	/* of the page table */

	if (!is_swap_pmd(entry) && !pmd_trans_huge(entry))
		return 0;

	/* A huge page need not be split to be counted. */
	walk->action = ACTION_CONTINUE;
	ptl = pmd_lock(walk->mm, pmd);
	if (pmd_trans_huge(*pmd) &&
	    on_device(vm_normal_folio_pmd(walk->vma, addr, *pmd)))
		*nr_pages += (next - addr) >> PAGE_SHIFT;
	spin_unlock(ptl);

	return 0;
}

static const struct mm_walk_ops count_device_pages_ops = {
	.pmd_entry = count_device_pmd,
	.pte_entry = count_device_pte,
	.walk_lock = PGWALK_RDLOCK,
};

/* The mm of a process as long as one of its threads has it; to be dropped */
static struct mm_struct *grab_mm(struct task_struct *task)
{
	struct mm_struct *mm = NULL;
	struct task_struct *t;

	rcu_read_lock();
	for_each_thread(task, t) {
		task_lock(t);
		mm = t->mm;
		if (mm)
			mmgrab(mm);
		task_unlock(t);
		if (mm)
			break;
	}
	rcu_read_unlock();

	return mm;
}

/**
 * __device_coherent_rss - how much of a task's memory is on devices
 * @task: the task
 *
 * For the OOM killer, which looks for a task whose end gives back most system
 * memory (invariant 4). Nobody counts device pages by task: it would take a
 * counter wherever a page is mapped, unmapped or moved. So look.
 *
 * Context: Any but interrupts; doesn't sleep. The caller keeps @task alive.
 * Return: number of pages mapped; 0 if the mm is gone or locked for writing.
 */
unsigned long __device_coherent_rss(struct task_struct *task)
{
	struct mm_struct *mm = grab_mm(task);
	unsigned long nr_pages = 0;

	if (!mm)
		return 0;

	if (mmap_read_trylock(mm)) {
		/* Set by exit_mmap() before the page tables go */
		if (!test_bit(MMF_OOM_SKIP, &mm->flags))
			walk_page_range(mm, 0, TASK_SIZE_MAX,
					&count_device_pages_ops, &nr_pages);
		mmap_read_unlock(mm);
	}
	mmdrop(mm);

	return nr_pages;
}

/* -- Making room --------------------------------------------------------- */

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

	return count;
}
static DEVICE_ATTR_RW(make_room);

static struct attribute *device_coherent_attrs[] = {
	&dev_attr_make_room.attr,
	NULL,
};

/* In /sys/devices/system/node/node<nid>/device_coherent/ */
static const struct attribute_group device_coherent_group = {
	.name = "device_coherent",
	.attrs = device_coherent_attrs,
};

/* -- Registration -------------------------------------------------------- */

/**
 * struct device_coherent_range - registered memory of a device node
 * @list: on device_coherent_ranges
 * @start: physical address
 * @size: bytes
 * @nid: the device node
 */
struct device_coherent_range {
	struct list_head list;
	u64 start;
	u64 size;
	int nid;
};

/* Protects device_coherent_ranges and who is in N_DEVICE_COHERENT. */
static DEFINE_MUTEX(device_coherent_lock);
static LIST_HEAD(device_coherent_ranges);

static BLOCKING_NOTIFIER_HEAD(device_coherent_notifiers);

/**
 * device_coherent_register_notifier - hear of device nodes that come and go
 * @nb: called in process context with a device_coherent_event and a pointer to
 *	the node id, an int. It may sleep and allocate, but neither add nor
 *	remove device memory. What it returns doesn't keep anything from
 *	happening.
 *
 * Look for nodes that are there already with for_each_device_coherent_node().
 *
 * Context: Process context, sleeps.
 * Return: 0; -EEXIST if @nb is registered already.
 */
int device_coherent_register_notifier(struct notifier_block *nb)
{
	return blocking_notifier_chain_register(&device_coherent_notifiers, nb);
}
EXPORT_SYMBOL_GPL(device_coherent_register_notifier);

/**
 * device_coherent_unregister_notifier - the end of that
 * @nb: what was registered. It isn't running any more when this returns.
 *
 * Context: Process context, sleeps.
 * Return: 0; -ENOENT if @nb wasn't registered.
 */
int device_coherent_unregister_notifier(struct notifier_block *nb)
{
	return blocking_notifier_chain_unregister(&device_coherent_notifiers,
						  nb);
}
EXPORT_SYMBOL_GPL(device_coherent_unregister_notifier);

static void device_coherent_notify(int nid, enum device_coherent_event event)
{
	blocking_notifier_call_chain(&device_coherent_notifiers, event, &nid);
}

static bool device_coherent_node_in_use(int nid)
{
	struct device_coherent_range *range;

	list_for_each_entry(range, &device_coherent_ranges, list)
		if (range->nid == nid)
			return true;

	return false;
}

/*
 * From here on the hotplug code puts what it brings online on this node into
 * the zone (invariant 7).
 */
static void set_device_node(int nid)
{
	if (node_is_device_coherent(nid))
		return;

	node_set_state(nid, N_DEVICE_COHERENT);
	static_branch_inc(&device_coherent_key);
}

/* The node's directory in sysfs has gone with its last memory block. */
static void clear_device_node(int nid)
{
	if (device_coherent_node_in_use(nid))
		return;

	WRITE_ONCE(make_room[nid], MAKE_ROOM_OFF);
	static_branch_dec(&device_coherent_key);
	node_clear_state(nid, N_DEVICE_COHERENT);
}

static int device_coherent_block_on_node(struct memory_block *mem, void *arg)
{
	return mem->nid == *(int *)arg ? -EBUSY : 0;
}

/*
 * A node is a device node as a whole or not at all. The caller holds
 * device_coherent_lock.
 */
static int device_coherent_check_node(int nid)
{
	int cpu;

	if (nid <= 0 || nid >= MAX_NUMNODES || !node_possible(nid)) {
		pr_err("node %d: not a node id that a device can have\n", nid);
		return -EINVAL;
	}

	if (node_is_device_coherent(nid))
		return 0;

	for_each_possible_cpu(cpu) {
		if (cpu_to_node(cpu) == nid) {
			pr_err("node %d: has CPU %d\n", nid, cpu);
			return -EBUSY;
		}
	}

	if (node_state(nid, N_MEMORY) ||
	    for_each_memory_block(&nid, device_coherent_block_on_node)) {
		pr_err("node %d: has memory that isn't a device's\n", nid);
		return -EBUSY;
	}

	return 0;
}

static int device_coherent_check_range(u64 start, u64 size)
{
	u64 block = memory_block_size_bytes();

	if (!size || start + size < start || !IS_ALIGNED(start | size, block)) {
		pr_err("[mem %#018llx, size %#llx]: not in whole memory blocks of %llu MB\n",
		       start, size, block >> 20);
		return -EINVAL;
	}

	if (!mhp_range_allowed(start, size, true)) {
		pr_err("[mem %#018llx, size %#llx]: beyond what this machine can map\n",
		       start, size);
		return -ERANGE;
	}

	return 0;
}

static int device_coherent_online_block(struct memory_block *mem, void *arg)
{
	int rc;

	mem->online_type = MMOP_ONLINE;
	rc = device_online(&mem->dev);

	return rc < 0 ? rc : 0;
}

/*
 * Whatever the policy for hotplugged memory in general, this memory was asked
 * for: bring online what add_memory_driver_managed() left offline.
 */
static int device_coherent_online(u64 start, u64 size)
{
	int rc;

	lock_device_hotplug();
	rc = walk_memory_blocks(start, size, NULL, device_coherent_online_block);
	unlock_device_hotplug();

	return rc;
}

static int device_coherent_hotadd(int nid, u64 start, u64 size,
				  unsigned int flags)
{
	mhp_t mhp_flags = MHP_NONE;
	int rc;

	if (flags & DEVICE_COHERENT_MEMMAP_ON_DEVICE) {
		if (mhp_supports_memmap_on_memory())
			mhp_flags |= MHP_MEMMAP_ON_MEMORY;
		else
			pr_warn("node %d: page structures go to system memory; boot with memory_hotplug.memmap_on_memory=1 to have them on the device\n",
				nid);
	}

	rc = add_memory_driver_managed(nid, start, size,
				       DEVICE_COHERENT_RES_NAME, mhp_flags);
	if (rc)
		return rc;

	rc = device_coherent_online(start, size);
	if (rc && offline_and_remove_memory(start, size)) {
		/* Part of it is in use already, so it is the node's for good. */
		pr_warn("node %d: not all of its memory came online: %pe\n",
			nid, ERR_PTR(rc));
		rc = 0;
	}

	return rc;
}

/**
 * device_coherent_add - make a range of memory a device node's
 * @nid: the node: a possible one with neither CPUs nor memory, or one that is
 *	 a device node already. Node ids that the firmware doesn't describe are
 *	 set aside by the boot parameter "device_coherent=spare:<n>".
 * @start: physical address, a multiple of memory_block_size_bytes()
 * @size: in bytes, a multiple of memory_block_size_bytes()
 * @flags: DEVICE_COHERENT_MEMMAP_ON_DEVICE puts the page structures into the
 *	   range itself (one 64th of it on x86-64) if the kernel was booted
 *	   with memory_hotplug.memmap_on_memory
 *
 * The range is online when this returns, whatever the policy for hotplugged
 * memory in general. It must not be known to the kernel as memory before.
 *
 * Context: Process context. Sleeps, takes the hotplug locks.
 * Return: 0; -EINVAL for flags, a node or a range that can't be; -ERANGE for
 * one that the machine can't map; -EBUSY for a node that has CPUs or other
 * memory; -EEXIST for a range that is something already; -ENOMEM.
 */
int device_coherent_add(int nid, u64 start, u64 size, unsigned int flags)
{
	struct device_coherent_range *range;
	bool first;
	int rc;

	if (flags & ~DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		return -EINVAL;

	range = kmalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return -ENOMEM;

	mutex_lock(&device_coherent_lock);
	rc = device_coherent_check_range(start, size);
	if (!rc)
		rc = device_coherent_check_node(nid);
	if (rc)
		goto out;

	set_device_node(nid);
	rc = device_coherent_hotadd(nid, start, size, flags);
	if (rc) {
		pr_err("node %d: adding [mem %#018llx-%#018llx] failed: %pe\n",
		       nid, start, start + size - 1, ERR_PTR(rc));
		clear_device_node(nid);
		goto out;
	}

	first = !device_coherent_node_in_use(nid);
	if (first && sysfs_create_group(&node_devices[nid]->dev.kobj,
					&device_coherent_group))
		pr_warn("node %d: no device_coherent folder in sysfs\n", nid);

	range->nid = nid;
	range->start = start;
	range->size = size;
	list_add(&range->list, &device_coherent_ranges);
	range = NULL;
	pr_info("node %d: %llu MB at [mem %#018llx-%#018llx]\n", nid,
		size >> 20, start, start + size - 1);
	if (first)
		device_coherent_notify(nid, DEVICE_COHERENT_NODE_ADDED);
out:
	mutex_unlock(&device_coherent_lock);
	kfree(range);

	return rc;
}
EXPORT_SYMBOL_GPL(device_coherent_add);

/**
 * device_coherent_owns - is this address in a device node's memory?
 * @addr: physical address
 *
 * For those who pick memory by its address and may not look at the page, which
 * can be offline.
 *
 * Context: Process context, sleeps.
 * Return: true if a range that device_coherent_add() added contains @addr.
 */
bool device_coherent_owns(u64 addr)
{
	struct device_coherent_range *range;
	bool found = false;

	mutex_lock(&device_coherent_lock);
	list_for_each_entry(range, &device_coherent_ranges, list)
		if (addr - range->start < range->size)
			found = true;
	mutex_unlock(&device_coherent_lock);

	return found;
}

static struct device_coherent_range *
device_coherent_find(int nid, u64 start, u64 size)
{
	struct device_coherent_range *range;

	list_for_each_entry(range, &device_coherent_ranges, list)
		if (range->nid == nid && range->start == start &&
		    range->size == size)
			return range;

	return NULL;
}

/**
 * device_coherent_remove - take a range of memory from a device node
 * @nid: as for device_coherent_add()
 * @start: as for device_coherent_add()
 * @size: as for device_coherent_add()
 *
 * Movable pages in the range are moved to system memory first. Memory that a
 * driver holds, and pages pinned for long, keep the range from being removed.
 * With its last range the node ceases to be a device node.
 *
 * Context: Process context. Sleeps, takes the hotplug locks; tries until a
 * signal interrupts it.
 * Return: 0; -ENOENT if no such range was added; -EBUSY or -EINTR if it is in
 * use, and then all of it is online as before.
 */
int device_coherent_remove(int nid, u64 start, u64 size)
{
	struct device_coherent_range *range;
	int rc = -ENOENT;

	mutex_lock(&device_coherent_lock);
	range = device_coherent_find(nid, start, size);
	if (!range)
		goto out;

	rc = offline_and_remove_memory(start, size);
	if (rc)
		goto out;

	list_del(&range->list);
	kfree(range);
	clear_device_node(nid);
	pr_info("node %d: [mem %#018llx-%#018llx] removed\n", nid, start,
		start + size - 1);
	if (!node_is_device_coherent(nid))
		device_coherent_notify(nid, DEVICE_COHERENT_NODE_REMOVED);
out:
	mutex_unlock(&device_coherent_lock);

	return rc;
}
EXPORT_SYMBOL_GPL(device_coherent_remove);

/* -- Registration at boot ------------------------------------------------ */

/*
 * Three steps. (1) Ranges that the command line names are reserved in memblock
 * before anything is allocated from it. What the firmware describes isn't known
 * that early; until it is, memblock allocates next to the kernel image, as it
 * does for movable_node. (2) When the nodes are known, what can become device
 * memory is taken out of memblock, and everything else stays what it was.
 * (3) An initcall adds the ranges by the path that drivers use.
 */

#define MAX_REQUESTS	16
#define MAX_CLAIMS	64

enum request_type { REQUEST_NODE, REQUEST_RANGE };

struct request {
	enum request_type type;
	bool refused;
	int nid;
	u64 start;
	u64 size;
	char text[40];
};

struct claim {
	int nid;
	u64 start;
	u64 size;
};

static struct request requests[MAX_REQUESTS] __initdata;
static int nr_requests __initdata;
static struct claim claims[MAX_CLAIMS] __initdata;
static int nr_claims __initdata;
static nodemask_t claimed_nodes __initdata;	/* will be device nodes */
static nodemask_t created_nodes __initdata;	/* ids not from the firmware */
static int nr_spare_nodes __initdata;
static int created_distance __initdata = REMOTE_DISTANCE;
static unsigned int boot_flags __initdata;
static bool want_specific_purpose __initdata;

void __init __weak arch_device_coherent_claim(u64 start, u64 size, u64 piece)
{
}

bool __init __weak arch_device_coherent_node_has_cpu(int nid)
{
	return false;
}

bool __init __weak arch_device_coherent_next_sp(u64 *start, u64 *size)
{
	return false;
}

#define refuse(text, fmt, ...) \
	pr_err("'%s' refused: " fmt "\n", text, ##__VA_ARGS__)

static bool __init overlaps(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int __init parse_number(const char *word, const char *s, int min,
			       int max, int *value)
{
	int n;

	if (kstrtoint(s, 10, &n) || n < min || n > max) {
		refuse(word, "expected a number from %d to %d", min, max);
		return -EINVAL;
	}
	*value = n;

	return 0;
}

/* <size>@<start>[:<nid>] */
static int __init parse_range(char *word, struct request *req)
{
	char *p = word;

	req->type = REQUEST_RANGE;
	req->nid = NUMA_NO_NODE;
	req->size = memparse(p, &p);
	if (p == word || *p != '@')
		goto bad;

	word = ++p;
	req->start = memparse(p, &p);
	if (p == word || (*p && *p != ':'))
		goto bad;

	if (*p == ':')
		return parse_number(req->text, p + 1, 1, MAX_NUMNODES - 1,
				    &req->nid);

	return 0;
bad:
	refuse(req->text,
	       "expected node:N, SIZE@START[:N], sp, distance:N, memmap:device or spare:N");
	return -EINVAL;
}

static void __init parse_word(char *word)
{
	struct request req = {};
	int rc;

	if (!strcmp(word, "sp")) {
		want_specific_purpose = true;
		return;
	}
	if (!strcmp(word, "memmap:device")) {
		boot_flags |= DEVICE_COHERENT_MEMMAP_ON_DEVICE;
		return;
	}
	if (str_has_prefix(word, "distance:")) {
		parse_number(word, word + strlen("distance:"),
			     LOCAL_DISTANCE + 1, U8_MAX - 1, &created_distance);
		return;
	}
	if (str_has_prefix(word, "spare:")) {
		parse_number(word, word + strlen("spare:"), 1,
			     MAX_NUMNODES - 1, &nr_spare_nodes);
		return;
	}

	strscpy(req.text, word);
	if (str_has_prefix(word, "node:")) {
		req.type = REQUEST_NODE;
		rc = parse_number(word, word + strlen("node:"), 1,
				  MAX_NUMNODES - 1, &req.nid);
	} else {
		rc = parse_range(word, &req);
	}
	if (rc)
		return;

	if (nr_requests == MAX_REQUESTS) {
		refuse(word, "more than %d nodes and ranges", MAX_REQUESTS);
		return;
	}
	requests[nr_requests++] = req;
}

static int __init parse_device_coherent(char *str)
{
	char *word;

	if (!str || !*str) {
		refuse("device_coherent", "expected a value");
		return 0;
	}

	while ((word = strsep(&str, ",")))
		parse_word(word);

	return 0;
}
early_param("device_coherent", parse_device_coherent);

/* Is placement by the firmware's nodes asked for, so that they must be known? */
bool __init device_coherent_wants_node(void)
{
	int i;

	for (i = 0; i < nr_requests; i++)
		if (requests[i].type == REQUEST_NODE)
			return true;

	return false;
}

/* Is something in the range that can't be moved away? Say what. */
static bool __init range_in_use(const char *text, u64 start, u64 size)
{
	struct memblock_region *region;

	if (overlaps(start, size, __pa_symbol(_text), _end - _text)) {
		refuse(text, "the kernel image lies there, at [mem %#018llx-%#018llx]",
		       (u64)__pa_symbol(_text), (u64)__pa_symbol(_end) - 1);
		return true;
	}

	for_each_reserved_mem_region(region) {
		if (!overlaps(start, size, region->base, region->size))
			continue;
		refuse(text, "[mem %#018llx-%#018llx] is in use",
		       (u64)region->base, (u64)region->base + region->size - 1);
		return true;
	}

	return false;
}

static bool __init range_claimable(struct request *req, int index)
{
	u64 block = memory_block_size_bytes();
	int i;

	if (numa_off) {
		refuse(req->text, "numa=off");
		return false;
	}
	if (req->start + req->size < req->start) {
		refuse(req->text, "wraps around");
		return false;
	}
	if (!req->size || !IS_ALIGNED(req->start | req->size, block)) {
		refuse(req->text, "start and size must be multiples of a memory block, %llu MB",
		       block >> 20);
		return false;
	}
	for (i = 0; i < index; i++) {
		if (requests[i].refused || requests[i].type != REQUEST_RANGE ||
		    !overlaps(req->start, req->size,
			      requests[i].start, requests[i].size))
			continue;
		refuse(req->text, "overlaps '%s'", requests[i].text);
		return false;
	}
	if (!memblock_is_region_memory(req->start, req->size)) {
		refuse(req->text, "not all of it is system RAM");
		return false;
	}

	return !range_in_use(req->text, req->start, req->size);
}

/**
 * device_coherent_early_reserve - keep the ranges that the command line names
 *
 * Context: Boot, when memblock knows the memory and what the boot loader put
 * there, and before the first allocation from it (invariant 1).
 */
void __init device_coherent_early_reserve(void)
{
	int i;

	for (i = 0; i < nr_requests; i++) {
		struct request *req = &requests[i];

		/* A crash kernel runs in what the first kernel set aside. */
		if (is_kdump_kernel())
			req->refused = true;
		if (req->refused || req->type != REQUEST_RANGE)
			continue;

		if (range_claimable(req, i))
			memblock_reserve(req->start, req->size);
		else
			req->refused = true;
	}
}

/* How much RAM does node @nid have, or all nodes but @nid? */
static u64 __init node_ram(const struct numa_meminfo *mi, int nid, bool others)
{
	phys_addr_t start, end;
	u64 j, ram = 0;
	int i;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];
		bool other = blk->nid != nid;

		if (other != others)
			continue;
		for_each_mem_range(j, &start, &end) {
			u64 lo = max_t(u64, start, blk->start);
			u64 hi = min_t(u64, end, blk->end);

			if (lo < hi)
				ram += hi - lo;
		}
	}

	return ram;
}

static bool __init claim_range(const char *text, int nid, u64 start, u64 size)
{
	u64 piece = size;

	if (nr_claims == MAX_CLAIMS) {
		refuse(text, "more than %d ranges", MAX_CLAIMS);
		return false;
	}

	claims[nr_claims++] = (struct claim){
		.nid = nid, .start = start, .size = size,
	};
	node_set(nid, claimed_nodes);
	node_set(nid, numa_nodes_parsed);

	memblock_remove(start, size);
	memblock_phys_free(start, size);
	/* Blocks with page structures of their own are added one by one. */
	if (boot_flags & DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		piece = memory_block_size_bytes();
	arch_device_coherent_claim(start, size, piece);

	return true;
}

/* An id that neither the firmware nor a request uses */
static int __init create_node(const char *text)
{
	int i, nid;

	for (nid = 1; nid < MAX_NUMNODES; nid++) {
		if (node_isset(nid, numa_nodes_parsed))
			continue;
		for (i = 0; i < nr_requests; i++)
			if (requests[i].nid == nid && !requests[i].refused)
				break;
		if (i == nr_requests)
			break;
	}
	if (nid == MAX_NUMNODES) {
		refuse(text, "no node id is free, of %d", MAX_NUMNODES);
		return NUMA_NO_NODE;
	}

	node_set(nid, numa_nodes_parsed);
	node_set(nid, created_nodes);

	return nid;
}

/* May node @nid, if it is one yet, become a device node? */
static bool __init node_claimable(const char *text, int nid)
{
	if (arch_device_coherent_node_has_cpu(nid)) {
		refuse(text, "node %d has CPUs", nid);
		return false;
	}

	return true;
}

static void __init claim_request_range(struct request *req,
				       const struct numa_meminfo *mi)
{
	int nid = req->nid;

	/* Give it back; if it is claimed after all, claim_range() takes it. */
	memblock_phys_free(req->start, req->size);

	if (nid == NUMA_NO_NODE) {
		nid = create_node(req->text);
		if (nid == NUMA_NO_NODE)
			return;
	} else if (!node_isset(nid, claimed_nodes)) {
		if (!node_claimable(req->text, nid))
			return;
		if (node_ram(mi, nid, false)) {
			refuse(req->text, "node %d has other memory", nid);
			return;
		}
		if (!node_isset(nid, numa_nodes_parsed))
			node_set(nid, created_nodes);
	}

	claim_range(req->text, nid, req->start, req->size);
}

/*
 * Boot loaders like to put the initrd at the end of memory, which is where
 * device memory often is. It was in use before the kernel ran, so move it.
 */
static void __init move_initrd(u64 start, u64 size)
{
#ifdef CONFIG_BLK_DEV_INITRD
	unsigned long initrd_size = initrd_end - initrd_start;
	phys_addr_t old, new;

	if (!initrd_start || !initrd_size)
		return;

	old = __pa(initrd_start);
	if (!overlaps(start, size, old, initrd_size))
		return;

	/* Bottom-up, see above: this lands next to the kernel image. */
	new = memblock_phys_alloc(PAGE_ALIGN(initrd_size), PAGE_SIZE);
	if (!new || overlaps(start, size, new, initrd_size)) {
		if (new)
			memblock_phys_free(new, PAGE_ALIGN(initrd_size));
		return;
	}

	memcpy(__va(new), (void *)initrd_start, initrd_size);
	memblock_phys_free(PAGE_ALIGN_DOWN(old),
			   PAGE_ALIGN(old + initrd_size) - PAGE_ALIGN_DOWN(old));
	initrd_start = (unsigned long)__va(new);
	initrd_end = initrd_start + initrd_size;
	pr_info("initrd moved from %pa to %pa\n", &old, &new);
#endif
}

/* Of the RAM in one range of the firmware's; what isn't RAM doesn't matter. */
static bool __init blk_in_use(const char *text, const struct numa_memblk *blk)
{
	phys_addr_t start, end;
	u64 i;

	for_each_mem_range(i, &start, &end) {
		u64 lo = max_t(u64, start, blk->start);
		u64 hi = min_t(u64, end, blk->end);

		if (lo < hi && range_in_use(text, lo, hi - lo))
			return true;
	}

	return false;
}

static bool __init node_in_use(struct request *req,
			       const struct numa_meminfo *mi)
{
	int i;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];

		if (blk->nid != req->nid)
			continue;
		move_initrd(blk->start, blk->end - blk->start);
		if (blk_in_use(req->text, blk))
			return true;
	}

	return false;
}

/* How many claims all of the node's whole memory blocks would take */
static int __init count_pieces(const struct numa_meminfo *mi, int nid)
{
	u64 j, block = memory_block_size_bytes();
	phys_addr_t start, end;
	int i, nr = 0;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];

		if (blk->nid != nid)
			continue;
		for_each_mem_range(j, &start, &end)
			if (ALIGN(max_t(u64, start, blk->start), block) <
			    ALIGN_DOWN(min_t(u64, end, blk->end), block))
				nr++;
	}

	return nr;
}

/*
 * All whole memory blocks of RAM in one range of the firmware's. RAM that isn't
 * in whole blocks can't be hotplugged, nor may it stay: a device node has no
 * other memory. It is left unused.
 */
static void __init claim_blocks(const char *text, int nid, u64 start, u64 end)
{
	u64 block = memory_block_size_bytes();
	u64 i, lo, hi, cut = 0;
	phys_addr_t mem_start, mem_end;

again:
	for_each_mem_range(i, &mem_start, &mem_end) {
		lo = max_t(u64, start, mem_start);
		hi = min_t(u64, end, mem_end);
		if (lo >= hi)
			continue;

		cut += hi - lo;
		memblock_remove(lo, hi - lo);
		arch_device_coherent_claim(lo, hi - lo, hi - lo);
		lo = ALIGN(lo, block);
		hi = ALIGN_DOWN(hi, block);
		if (lo < hi && claim_range(text, nid, lo, hi - lo))
			cut -= hi - lo;
		/* The loop doesn't survive what was done to its list. */
		goto again;
	}
	if (cut)
		pr_info("'%s': %llu KB outside whole memory blocks of %llu MB stay unused\n",
			text, cut >> 10, block >> 20);
}

static void __init claim_request_node(struct request *req,
				      const struct numa_meminfo *mi)
{
	int i, nr;

	if (numa_off) {
		refuse(req->text, "numa=off");
		return;
	}
	if (node_isset(req->nid, claimed_nodes)) {
		refuse(req->text, "node %d is a device node already", req->nid);
		return;
	}
	if (!node_claimable(req->text, req->nid))
		return;
	if (node_ram(mi, req->nid, false) < memory_block_size_bytes()) {
		refuse(req->text, "the firmware describes no RAM on node %d",
		       req->nid);
		return;
	}
	if (!node_ram(mi, req->nid, true)) {
		refuse(req->text, "node %d is the last one with system memory",
		       req->nid);
		return;
	}

	/* Before anything is taken out of memblock (invariant 8) */
	nr = count_pieces(mi, req->nid);
	if (!nr) {
		refuse(req->text, "no whole memory block of %lu MB in it",
		       memory_block_size_bytes() >> 20);
		return;
	}
	if (nr_claims + nr > MAX_CLAIMS) {
		refuse(req->text, "more than %d ranges", MAX_CLAIMS);
		return;
	}
	if (node_in_use(req, mi))
		return;

	for (i = 0; i < mi->nr_blks; i++)
		if (mi->blk[i].nid == req->nid)
			claim_blocks(req->text, req->nid, mi->blk[i].start,
				     mi->blk[i].end);
}

/* One range that the firmware marks as specific-purpose */
static void __init claim_specific_purpose(const struct numa_meminfo *mi,
					  u64 start, u64 size)
{
	u64 block = memory_block_size_bytes();
	u64 end = ALIGN_DOWN(start + size, block);
	int i, nid = NUMA_NO_NODE;

	start = ALIGN(start, block);
	if (start >= end) {
		refuse("sp", "no whole memory block of %llu MB in the range that ends at %#llx",
		       block >> 20, end);
		return;
	}

	for (i = 0; i < mi->nr_blks; i++)
		if (start >= mi->blk[i].start && start < mi->blk[i].end)
			nid = mi->blk[i].nid;

	/* On a system node's address range it becomes a node of its own. */
	if (nid <= 0 || arch_device_coherent_node_has_cpu(nid) ||
	    node_ram(mi, nid, false))
		nid = create_node("sp");
	if (nid != NUMA_NO_NODE)
		claim_range("sp", nid, start, end - start);
}

/*
 * The table is as large as the firmware's nodes need. Make room for the nodes
 * that were created here.
 */
static void __init grow_distances(void)
{
	int i, j, cnt = numa_distance_cnt;
	u8 *old;

	if (!cnt || find_last_bit(created_nodes.bits, MAX_NUMNODES) < cnt)
		return;

	old = memblock_alloc(cnt * cnt, SMP_CACHE_BYTES);
	if (!old)
		return;

	for (i = 0; i < cnt; i++)
		for (j = 0; j < cnt; j++)
			old[i * cnt + j] = node_distance(i, j);

	numa_reset_distance();
	for (i = 0; i < cnt; i++)
		for (j = 0; j < cnt; j++)
			numa_set_distance(i, j, old[i * cnt + j]);
	memblock_free(old, cnt * cnt);
}

static void __init set_distances(void)
{
	int i, j;

	if (nodes_empty(created_nodes))
		return;

	grow_distances();
	for_each_node_mask(i, created_nodes) {
		for_each_node_mask(j, numa_nodes_parsed) {
			if (i == j)
				continue;
			numa_set_distance(i, j, created_distance);
			numa_set_distance(j, i, created_distance);
		}
	}
}

/**
 * device_coherent_numa_init - decide what becomes device memory
 * @mi: the firmware's nodes, before they are trimmed to the memory there is
 *
 * What is claimed leaves memblock; what is refused is said by name, and stays
 * what it was (invariant 8).
 *
 * Context: Boot, as soon as the nodes are known. May be called again when the
 * firmware's description turns out unusable.
 */
void __init device_coherent_numa_init(struct numa_meminfo *mi)
{
	static bool done __initdata;
	u64 start = 0, size;
	int i;

	if (done) {
		nodes_or(numa_nodes_parsed, numa_nodes_parsed, claimed_nodes);
		nodes_or(numa_nodes_parsed, numa_nodes_parsed, created_nodes);
		return;
	}
	done = true;

	/* Ranges first: what they take isn't a node's any more. */
	for (i = 0; i < nr_requests; i++)
		if (!requests[i].refused && requests[i].type == REQUEST_RANGE)
			claim_request_range(&requests[i], mi);
	for (i = 0; i < nr_requests; i++)
		if (!requests[i].refused && requests[i].type == REQUEST_NODE)
			claim_request_node(&requests[i], mi);

	if (want_specific_purpose && !numa_off && !is_kdump_kernel()) {
		while (arch_device_coherent_next_sp(&start, &size)) {
			claim_specific_purpose(mi, start, size);
			start += size;
		}
	}

	for (i = 0; i < nr_spare_nodes && !numa_off; i++)
		if (create_node("spare") == NUMA_NO_NODE)
			break;

	set_distances();
}

/*
 * Before user space, and before dax_hmem looks for memory that nobody claimed.
 */
static int __init device_coherent_init(void)
{
	int i;

	for (i = 0; i < nr_claims; i++)
		device_coherent_add(claims[i].nid, claims[i].start,
				    claims[i].size, boot_flags);

	return 0;
}
subsys_initcall(device_coherent_init);
