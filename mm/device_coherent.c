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
#include <linux/hash.h>
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
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include <asm/numa.h>
#include <asm/sections.h>

#include "device_coherent_room.h"
#include "internal.h"
#include "swap.h"

#include <trace/events/migrate.h>
#define CREATE_TRACE_POINTS
#include <trace/events/device_coherent.h>

#define DEVICE_COHERENT_RES_NAME	"System RAM (device_coherent)"

static struct zone *device_coherent_zone(int nid)
{
	return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
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

/* -- Placement ----------------------------------------------------------- */

/* On while there are device nodes */
DEFINE_STATIC_KEY_FALSE(device_coherent_key);

/* Every node that is or was a device node */
static nodemask_t device_ids;

/*
 * Those of @nodes that name a device. The id of one that has gone means that
 * device still, and no other, until it is back or system memory has the id
 * (invariant 2).
 */
static nodemask_t named_devices(const nodemask_t *nodes)
{
	nodemask_t devices;

	nodes_andnot(devices, device_ids, node_states[N_MEMORY]);
	nodes_or(devices, devices, node_states[N_DEVICE_COHERENT]);
	nodes_and(devices, devices, *nodes);

	return devices;
}

/* Those of @nodes that this task can get memory from now */
static nodemask_t usable_nodes(const nodemask_t *nodes)
{
	nodemask_t usable;

	nodes_and(usable, *nodes, cpuset_current_mems_allowed);
	nodes_and(usable, usable, node_states[N_MEMORY]);

	return usable;
}

/*
 * Only user pages follow a policy to a device: what the kernel allocates in the
 * name of a task (page tables, slab, pipes) isn't movable, and the page cache
 * doesn't come here.
 */
static bool names_devices(const struct mempolicy *pol, gfp_t gfp,
			  nodemask_t *devices)
{
	const gfp_t user = __GFP_MOVABLE | __GFP_HIGHMEM;

	if (pol->mode == MPOL_LOCAL || (gfp & user) != user)
		return false;
	*devices = named_devices(&pol->nodes);

	return !nodes_empty(*devices);
}

bool __device_coherent_only(const struct mempolicy *pol)
{
	return pol->mode != MPOL_LOCAL &&
	       device_coherent_only_nodes(&pol->nodes);
}

/*
 * @nid if it is among @devices, then the others as they get farther from it.
 * None of them is worth waiting for, if the mask says so (__GFP_NORETRY).
 */
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

		folio = __folio_alloc_noprof(device_gfp(gfp), order, best, NULL);
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

static bool interleaves(const struct mempolicy *pol)
{
	return pol->mode == MPOL_INTERLEAVE ||
	       pol->mode == MPOL_WEIGHTED_INTERLEAVE;
}

/* As by a policy that names the system nodes among @nodes and no other */
static noinline_for_stack struct folio *
alloc_from_system(gfp_t gfp, unsigned int order, const struct mempolicy *pol,
		  const nodemask_t *nodes, pgoff_t ilx, int nid)
{
	nodemask_t devices = named_devices(nodes);
	struct mempolicy system = {
		.mode = pol->mode,
		.flags = pol->flags,
		.home_node = pol->home_node,
	};

	nodes_andnot(system.nodes, *nodes, devices);
	if (nodes_empty(system.nodes))
		return NULL;
	if (node_is_device_coherent(system.home_node))
		system.home_node = NUMA_NO_NODE;

	return alloc_by_policy(gfp, order, &system, ilx, nid);
}

/**
 * device_coherent_alloc_system - by a policy, for what no device can hold
 * @gfp: as for device_coherent_alloc_mpol()
 * @order: likewise
 * @pol: likewise
 * @ilx: likewise
 * @nid: likewise
 *
 * Context: As for device_coherent_alloc_mpol().
 * Return: a folio of the system nodes that @pol names; NULL if there is none,
 * or if it names devices alone.
 */
struct folio *device_coherent_alloc_system(gfp_t gfp, unsigned int order,
					   struct mempolicy *pol, pgoff_t ilx,
					   int nid)
{
	nodemask_t devices;

	if (!names_devices(pol, GFP_HIGHUSER_MOVABLE, &devices))
		return alloc_by_policy(gfp, order, pol, ilx, nid);

	return alloc_from_system(gfp, order, pol, &pol->nodes, ilx, nid);
}

/* Some of the policy's nodes are devices, named literally: as the mode says. */
static struct folio *alloc_mixed(gfp_t gfp, unsigned int order,
				 const struct mempolicy *pol,
				 nodemask_t devices, nodemask_t *system,
				 pgoff_t ilx, int nid)
{
	struct folio *folio = NULL;

	if (interleaves(pol)) {
		if (node_isset(nid, devices))
			folio = alloc_from_devices(gfp | __GFP_NORETRY, order,
						   nid, nodemask_of_node(nid));
		else
			folio = __folio_alloc_noprof(gfp, order, nid, NULL);
	} else {
		/* Nearest first, without effort; then the rest */
		if (!node_isset(nid, devices))
			folio = __folio_alloc_noprof(gfp_without_effort(gfp),
						     order, nid, system);
		if (!folio)
			folio = alloc_from_devices(gfp | __GFP_NORETRY, order,
						   nid, devices);
	}
	if (!folio)
		folio = alloc_from_system(gfp, order, pol, &pol->nodes, ilx,
					  nid);

	return folio;
}

/* Which of @devices, all that can be had of the policy's, has the turn */
static noinline_for_stack int turn_of(const struct mempolicy *pol, gfp_t gfp,
				      const nodemask_t *devices, pgoff_t ilx,
				      int nid)
{
	struct mempolicy rest = {
		.mode = pol->mode,
		.flags = pol->flags,
		.home_node = pol->home_node,
		.nodes = *devices,
	};

	return device_coherent_policy_nid(&rest, gfp, ilx, nid);
}

/*
 * From a policy's devices, as far as they are there and the task's cpuset has
 * them: those are left in @devices.
 */
static struct folio *alloc_allowed(gfp_t gfp, unsigned int order,
				   struct mempolicy *pol, pgoff_t ilx, int nid,
				   nodemask_t *devices)
{
	struct folio *folio;
	unsigned int cookie;

	do {
		int start = nid;

		cookie = read_mems_allowed_begin();
		*devices = named_devices(&pol->nodes);
		*devices = usable_nodes(devices);
		/* Of one device it doesn't matter where the search begins. */
		if (!nodes_empty(*devices) &&
		    next_node(first_node(*devices), *devices) < MAX_NUMNODES)
			start = turn_of(pol, gfp, devices, ilx, nid);
		folio = NULL;
		if (pol->mode != MPOL_BIND || nodes_weight(*devices) > 1)
			folio = alloc_from_devices(gfp | __GFP_NORETRY, order,
						   start, *devices);
		/* Nowhere else to go: whatever can be had, but no farther. */
		if (!folio && pol->mode == MPOL_BIND)
			folio = alloc_from_devices(gfp, order, start, *devices);
	} while (unlikely(!folio && read_mems_allowed_retry(cookie)));

	return folio;
}

/* None of the policy's devices can be had, full or not there. */
static struct folio *alloc_instead(gfp_t gfp, unsigned int order,
				   struct mempolicy *pol, pgoff_t ilx, int nid,
				   bool full)
{
	nodemask_t system;

	if (!full && interleaves(pol)) {
		nodes_andnot(system, node_states[N_MEMORY],
			     node_states[N_DEVICE_COHERENT]);
		system = usable_nodes(&system);
		if (!nodes_empty(system))
			return alloc_from_system(gfp, order, pol, &system, ilx,
						 nid);
	}

	nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
	return __folio_alloc_noprof(gfp, order, nid, NULL);
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
 * literal (MPOL_F_STATIC_NODES); if not, they are passed over. While none of
 * them is there or allowed, it is as if it named the system nodes of the
 * cpuset, as a literal policy is for any kind of node.
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

	if (!names_devices(pol, gfp, &devices))
		return alloc_by_policy(gfp, order, pol, ilx, nid);

	device_coherent_mark_mm(current->mm);
	nodes_andnot(system, pol->nodes, devices);
	if (!nodes_empty(system)) {
		if (!(pol->flags & MPOL_F_STATIC_NODES))
			return alloc_from_system(gfp, order, pol, &pol->nodes,
						 ilx, nid);
		nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
		return alloc_mixed(gfp, order, pol, devices, &system, ilx, nid);
	}

	folio = alloc_allowed(gfp, order, pol, ilx, nid, &devices);
	if (folio || (pol->mode == MPOL_BIND && !nodes_empty(devices)))
		return folio;

	return alloc_instead(gfp, order, pol, ilx, nid, !nodes_empty(devices));
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
	nodemask_t devices;

	return __device_coherent_only(pol) ||
	       ((pol->flags & MPOL_F_STATIC_NODES) &&
		names_devices(pol, GFP_HIGHUSER_MOVABLE, &devices));
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

/*
 * Of the nodes that aren't devices, those of @old become those of @new by their
 * place; all of @new if nothing comes of that, or a mixed mask would be one of
 * devices alone. A device is an identity (invariant 2): it stays in the policy,
 * so that it has it again when it comes back, and who allocates looks whether
 * it is there.
 */
void __device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
			     const nodemask_t *old, const nodemask_t *new)
{
	nodemask_t kept, system, from, to;

	kept = named_devices(src);
	nodes_andnot(system, *src, kept);
	from = named_devices(old);
	nodes_andnot(from, *old, from);
	to = named_devices(new);
	nodes_andnot(to, *new, to);

	nodes_clear(*dst);
	if (!nodes_empty(system)) {
		nodes_remap(*dst, system, from, to);
		/* What can't be mapped stays itself, allowed or not. */
		nodes_and(*dst, *dst, to);
		if (nodes_empty(*dst))
			*dst = to;
	}
	nodes_or(*dst, *dst, kept);
}

/**
 * device_coherent_cpuset_migrate - what a cpuset that changes moves for a task
 * @mm: the mm of the task
 * @from: the nodes it had; changed
 * @to: the nodes it has now; changed
 *
 * System nodes are emptied into system nodes, by their place among these. What
 * is on a device stays as long as the cpuset has the device, and goes to system
 * memory when it hasn't: to no other device, and through no other node.
 *
 * Context: Process context, sleeps.
 */
void device_coherent_cpuset_migrate(struct mm_struct *mm, nodemask_t *from,
				    nodemask_t *to)
{
	nodemask_t devices = named_devices(from), gone;

	nodes_andnot(gone, devices, *to);
	nodes_andnot(*from, *from, devices);
	devices = named_devices(to);
	nodes_andnot(*to, *to, devices);
	if (nodes_empty(*to))
		return;

	if (!nodes_empty(*from))
		do_migrate_pages(mm, from, to, MPOL_MF_MOVE_ALL);
	if (!nodes_empty(gone))
		do_migrate_pages(mm, &gone, to, MPOL_MF_MOVE_ALL);
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

static bool is_cached(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return false;
	folio_put(folio);

	return true;
}

/* Read from swap already, for somebody who shares it */
static bool is_in_swap_cache(swp_entry_t entry)
{
	struct swap_info_struct *si = get_swap_device(entry);
	bool cached;

	if (!si)
		return false;
	cached = is_cached(swap_address_space(entry), swap_cache_index(entry));
	put_swap_device(si);

	return cached;
}

/*
 * Would the access succeed now, or wait, by its entry? Another thread may have
 * got the page that this one did not; or it moves, and its entry was read before.
 * What is on swap may be served by a page that others share (@others).
 */
static bool entry_serves(struct mm_struct *mm, unsigned long address,
			 unsigned int flags, bool *others)
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

	if (is_swap_pte(pte) && !non_swap_entry(pte_to_swp_entry(pte))) {
		*others = true;
		served = is_in_swap_cache(pte_to_swp_entry(pte));
	}

	return served;
}

/*
 * The same, with what others may have got: a page of shared memory is in the
 * page cache before it is in anybody's page table.
 */
static bool is_served(struct vm_area_struct *vma, unsigned long address,
		      unsigned int flags, bool *others)
{
	if (vma_is_shmem(vma) && (vma->vm_flags & VM_SHARED)) {
		*others = true;
		if (is_cached(vma->vm_file->f_mapping,
			      linear_page_index(vma, address)))
			return true;
	}

	return entry_serves(vma->vm_mm, address, flags, others);
}

/* Other threads' faults, mmap() and munmap() don't wait for this one. */
#define SERVED_TICKS	5

/*
 * A thread that got the last page may not have mapped it yet, or a process that
 * shares it. They have a moment to do so, in which this one holds no lock: then
 * the fault is taken again. Who is alone waits for nobody, nor who has waited.
 * Returns VM_FAULT_NOPAGE, VM_FAULT_RETRY, or 0 if it isn't served.
 */
static vm_fault_t is_served_soon(struct vm_area_struct *vma,
				 unsigned long address, unsigned int flags)
{
	bool others = atomic_read(&vma->vm_mm->mm_users) > 1;

	if (is_served(vma, address, flags, &others))
		return VM_FAULT_NOPAGE;
	if (!others || !fault_flag_allow_retry_first(flags) ||
	    flags & FAULT_FLAG_RETRY_NOWAIT)
		return 0;

	return VM_FAULT_RETRY;
}

/* Drops the lock that the fault holds, as VM_FAULT_RETRY says. */
static void wait_to_be_served(struct vm_area_struct *vma, unsigned int flags)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(vma);
	else
		mmap_read_unlock(vma->vm_mm);
	schedule_timeout_killable(SERVED_TICKS);
}

/* Can a page be had after all, of devices that the task may use? */
static vm_fault_t full_or_not(struct vm_area_struct *vma, unsigned long address,
			      unsigned int flags, struct mempolicy *pol,
			      pgoff_t ilx, vm_fault_t ret)
{
	vm_fault_t served = VM_FAULT_NOPAGE;
	nodemask_t devices;
	struct folio *folio;

	folio = alloc_allowed(GFP_HIGHUSER_MOVABLE, 0, pol, ilx,
			      first_node(pol->nodes), &devices);
	if (folio)
		folio_put(folio);
	if (!folio && !nodes_empty(devices))
		served = is_served_soon(vma, address, flags);
	if (!served)
		return (ret & ~VM_FAULT_OOM) | VM_FAULT_SIGBUS;
	if (!task_in_memcg_oom(current))
		return (ret & ~VM_FAULT_OOM) | served;

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
		bool user = flags & FAULT_FLAG_USER, others;
		vm_fault_t served = VM_FAULT_NOPAGE;

		if (!user)
			served = is_served_soon(vma, address, flags);
		if (user && !is_served(vma, address, flags, &others))
			ret = full_or_not(vma, address, flags, pol, ilx, ret);
		else if (served)
			ret = (ret & ~VM_FAULT_OOM) | served;
	}
	mpol_cond_put(pol);
	/* No OOM after all: leave nothing of that of a memory cgroup. */
	if (!(ret & VM_FAULT_OOM) && task_in_memcg_oom(current))
		mem_cgroup_oom_synchronize(false);
	if (ret & VM_FAULT_RETRY)
		wait_to_be_served(vma, flags);

	return ret;
}

/* -- Accounting ---------------------------------------------------------- */

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
		pages += atomic_long_read(&device_coherent_zone(nid)->vm_stat[item]);

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
		   max(device_coherent_zone_state(NR_FREE_PAGES), 0L) <<
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

void __device_coherent_evicted(int nid, unsigned long nr_reclaimed,
			       const struct reclaim_stat *stat)
{
	unsigned long nr_pages = nr_reclaimed - stat->nr_demoted;

	if (!nr_pages)
		return;

	count_pages(nid, COHERENT_EVICTED, nr_pages);
	trace_device_coherent_evicted(nid, nr_pages);
}

/**
 * struct device_rss - a look into page tables for device pages
 * @limit: a table, or a huge page, is looked into if the hash of its address is
 *	   up to that. A program's pages may lie in a pattern; the sample doesn't.
 * @seen: pages that were seen
 * @on_device: those of them that are on devices
 */
struct device_rss {
	u32 limit;
	unsigned long seen;
	unsigned long on_device;
};

/* Of a large process so many tables and huge pages are looked into, about. */
#define RSS_SAMPLE	64

static void see_page(struct device_rss *rss, const struct page *page,
		     unsigned long nr_pages)
{
	if (!page)
		return;
	rss->seen += nr_pages;
	if (page_in_zone_device_coherent(page))
		rss->on_device += nr_pages;
}

static void count_in_table(struct device_rss *rss, struct vm_area_struct *vma,
			   pmd_t *pmd, unsigned long addr, unsigned long end)
{
	pte_t *start, *pte;
	spinlock_t *ptl;	/* of the page table */

	start = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!start)
		return;
	__acquire(ptl);		/* sparse doesn't see it */
	for (pte = start; addr < end; pte++, addr += PAGE_SIZE) {
		pte_t entry = ptep_get(pte);

		if (pte_present(entry))
			see_page(rss, vm_normal_page(vma, addr, entry), 1);
	}
	pte_unmap_unlock(start, ptl);
}

static void count_in_huge(struct device_rss *rss, struct vm_area_struct *vma,
			  pmd_t *pmd, unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);

	if (pmd_trans_huge(*pmd))
		see_page(rss, vm_normal_page_pmd(vma, addr, *pmd),
			 (end - addr) >> PAGE_SHIFT);
	spin_unlock(ptl);
}

/*
 * Nothing below is left to the walker, which would split a huge entry, and
 * sleep for that; neither those of files that DAX maps.
 */
static int count_device_pmd(pmd_t *pmd, unsigned long addr, unsigned long next,
			    struct mm_walk *walk)
{
	struct device_rss *rss = walk->private;
	pmd_t entry = pmdp_get_lockless(pmd);

	walk->action = ACTION_CONTINUE;
	if (hash_64(addr >> PMD_SHIFT, 32) > rss->limit)
		return 0;

	if (pmd_trans_huge(entry))
		count_in_huge(rss, walk->vma, pmd, addr, next);
	else if (pmd_present(entry) && !pmd_leaf(entry))
		count_in_table(rss, walk->vma, pmd, addr, next);

	return 0;
}

static int count_device_pud(pud_t *pud, unsigned long addr, unsigned long next,
			    struct mm_walk *walk)
{
	pud_t entry = READ_ONCE(*pud);

	if (!pud_present(entry) || pud_leaf(entry))
		walk->action = ACTION_CONTINUE;

	return 0;
}

/* Anonymous pages; shmem's and a driver's, which may be of others who asked */
static int may_have_device_pages(unsigned long start, unsigned long end,
				 struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;

	if (vma->vm_flags & (VM_PFNMAP | VM_HUGETLB))
		return 1;

	return !vma->anon_vma && !(vma->vm_flags & VM_MIXEDMAP) &&
	       !vma_is_shmem(vma);
}

static const struct mm_walk_ops count_device_pages_ops = {
	.pud_entry = count_device_pud,
	.pmd_entry = count_device_pmd,
	.test_walk = may_have_device_pages,
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

/* Shared memory that somebody put on a device is mapped by whoever likes to. */
static bool devices_have_shmem(void)
{
	return device_coherent_node_state(NR_SHMEM) > 0;
}

static unsigned long mm_device_pages(struct mm_struct *mm)
{
	unsigned long pages = get_mm_counter(mm, MM_ANONPAGES) +
			      get_mm_counter(mm, MM_SHMEMPAGES);
	unsigned long units = max(mm_pgtables_bytes(mm) / PAGE_SIZE,
				  pages / (PMD_SIZE / PAGE_SIZE));
	unsigned long share = 1 + units / RSS_SAMPLE;
	struct device_rss rss = { .limit = U32_MAX / share };

	if (!mmap_read_trylock(mm))
		return 0;
	/* Set by exit_mmap() before the page tables go */
	if (!test_bit(MMF_OOM_SKIP, &mm->flags))
		walk_page_range(mm, 0, TASK_SIZE_MAX, &count_device_pages_ops,
				&rss);
	mmap_read_unlock(mm);

	if (share > 1 && rss.seen)
		return pages * rss.on_device / rss.seen;

	return rss.on_device;
}

/**
 * __device_coherent_rss - how much of a task's memory is on devices
 * @task: the task
 *
 * For the OOM killer, which looks for a task whose end gives back most system
 * memory (invariant 4). Nobody counts device pages by task: it would take a
 * counter wherever a page is mapped, unmapped or moved. So look, at those who
 * may have any, and of a large process at a sample: the OOM killer looks at
 * all tasks with locks held that everybody wants.
 *
 * Context: Any but interrupts; doesn't sleep. The caller keeps @task alive.
 * Return: number of pages mapped, or about that; 0 if the mm is gone or locked
 * for writing.
 */
unsigned long __device_coherent_rss(struct task_struct *task)
{
	struct mm_struct *mm = grab_mm(task);
	unsigned long nr_pages = 0;

	if (!mm)
		return 0;

	if (test_bit(MMF_DEVICE_COHERENT, &mm->flags) ||
	    (get_mm_counter(mm, MM_SHMEMPAGES) && devices_have_shmem()))
		nr_pages = mm_device_pages(mm);
	mmdrop(mm);

	return nr_pages;
}

/* -- In sysfs ------------------------------------------------------------ */

/* What a device is known by where the numbers of nodes change */
static ssize_t start_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct zone *zone = device_coherent_zone(dev->id);

	return sysfs_emit(buf, "%#llx\n", (u64)PFN_PHYS(zone->zone_start_pfn));
}
static DEVICE_ATTR_RO(start);

static struct attribute *device_coherent_attrs[] = {
	&dev_attr_make_room.attr,
	&dev_attr_start.attr,
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

/*
 * Protects device_coherent_ranges and what is told to others of the nodes.
 * Who is in N_DEVICE_COHERENT changes under the device hotplug lock, which is
 * taken inside this one, since it follows the memory, whoever adds or removes
 * it.
 */
static DEFINE_MUTEX(device_coherent_lock);
static LIST_HEAD(device_coherent_ranges);

/* Nodes that are device nodes even without memory; device hotplug lock */
static nodemask_t declared_nodes;

/* Nodes whose folder is in sysfs; device hotplug lock */
static nodemask_t nodes_with_folder;

/* Nodes that notifiers were told of; device_coherent_lock */
static nodemask_t announced_nodes;

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

static bool device_coherent_node_in_use(int nid)
{
	struct device_coherent_range *range;

	list_for_each_entry(range, &device_coherent_ranges, list)
		if (range->nid == nid)
			return true;

	return false;
}

static int device_coherent_block_on_node(struct memory_block *mem, void *arg)
{
	return mem->nid == *(int *)arg ? -EBUSY : 0;
}

/* Has the node memory, online or not? The caller holds the hotplug lock. */
static bool node_has_blocks(int nid)
{
	return for_each_memory_block(&nid, device_coherent_block_on_node);
}

/*
 * In node<nid>, which comes and goes with the node's memory blocks, and all
 * that is in it with it. The caller holds the hotplug lock.
 */
static void create_folder(int nid)
{
	if (node_isset(nid, nodes_with_folder) || !node_devices[nid])
		return;
	if (sysfs_create_group(&node_devices[nid]->dev.kobj,
			       &device_coherent_group))
		pr_warn("node %d: no device_coherent folder in sysfs\n", nid);
	else
		node_set(nid, nodes_with_folder);
}

/* Tell those who want to know what has become of the nodes. */
static void device_coherent_announce(void)
{
	int nid;

	lockdep_assert_held(&device_coherent_lock);

	for_each_node(nid) {
		enum device_coherent_event event = DEVICE_COHERENT_NODE_REMOVED;
		bool now;

		lock_device_hotplug();
		now = node_is_device_coherent(nid) && node_has_blocks(nid);
		if (now)
			create_folder(nid);
		unlock_device_hotplug();

		if (now == node_isset(nid, announced_nodes))
			continue;
		if (now) {
			event = DEVICE_COHERENT_NODE_ADDED;
			node_set(nid, announced_nodes);
		} else {
			node_clear(nid, announced_nodes);
		}
		blocking_notifier_call_chain(&device_coherent_notifiers, event,
					     &nid);
	}
}

static void announce_work_fn(struct work_struct *work)
{
	mutex_lock(&device_coherent_lock);
	device_coherent_announce();
	mutex_unlock(&device_coherent_lock);
}

static DECLARE_WORK(announce_work, announce_work_fn);

/*
 * From here on the hotplug code puts what it brings online on this node into
 * the zone (invariant 7), whoever adds it.
 */
static void set_device_node(int nid)
{
	node_set(nid, declared_nodes);
	if (node_is_device_coherent(nid))
		return;

	device_coherent_reset_room(nid);
	node_set(nid, device_ids);
	node_set_state(nid, N_DEVICE_COHERENT);
	static_branch_inc(&device_coherent_key);
}

/*
 * A node is a device node as long as it has memory in the zone, or is declared.
 * Blocks that are offline count: they return to the zone.
 */
static void clear_device_node(int nid)
{
	if (node_isset(nid, declared_nodes) || node_has_blocks(nid))
		return;

	device_coherent_reset_room(nid);
	/* Still there if the node has something that is no memory. */
	if (node_isset(nid, nodes_with_folder) && node_devices[nid])
		sysfs_remove_group(&node_devices[nid]->dev.kobj,
				   &device_coherent_group);
	node_clear(nid, nodes_with_folder);
	static_branch_dec(&device_coherent_key);
	node_clear_state(nid, N_DEVICE_COHERENT);
}

/**
 * __device_coherent_memory_removed - a range of a device node's memory is gone
 * @nid: the node
 *
 * Those who hear of nodes hear of it later: here they could wait for who waits
 * for the hotplug lock.
 *
 * Context: Process context, with the device hotplug lock.
 */
void __device_coherent_memory_removed(int nid)
{
	/* The folder went with the node, though somebody is adding memory. */
	if (!node_devices[nid])
		node_clear(nid, nodes_with_folder);
	clear_device_node(nid);
	if (!node_is_device_coherent(nid))
		schedule_work(&announce_work);
}

/* Nobody but its memory keeps it a device node any more. */
static void undeclare_node(int nid)
{
	if (device_coherent_node_in_use(nid))
		return;

	lock_device_hotplug();
	node_clear(nid, declared_nodes);
	if (node_is_device_coherent(nid))
		clear_device_node(nid);
	unlock_device_hotplug();
}

/*
 * A node is a device node as a whole or not at all. The caller holds the
 * hotplug lock.
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

	if (node_state(nid, N_MEMORY) || node_has_blocks(nid)) {
		pr_err("node %d: has memory that isn't a device's\n", nid);
		return -EBUSY;
	}

	return 0;
}

static int device_coherent_declare(int nid)
{
	int rc;

	lock_device_hotplug();
	rc = device_coherent_check_node(nid);
	if (!rc)
		set_device_node(nid);
	unlock_device_hotplug();

	return rc;
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
	int rc;

	if (flags & ~DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		return -EINVAL;

	range = kmalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return -ENOMEM;

	mutex_lock(&device_coherent_lock);
	rc = device_coherent_check_range(start, size);
	if (rc)
		goto out;
	/* Of a node that goes and comes again, the first is told first. */
	device_coherent_announce();
	rc = device_coherent_declare(nid);
	if (rc)
		goto out;

	rc = device_coherent_hotadd(nid, start, size, flags);
	if (rc) {
		pr_err("node %d: adding [mem %#018llx-%#018llx] failed: %pe\n",
		       nid, start, start + size - 1, ERR_PTR(rc));
		undeclare_node(nid);
		device_coherent_announce();
		goto out;
	}

	range->nid = nid;
	range->start = start;
	range->size = size;
	list_add(&range->list, &device_coherent_ranges);
	range = NULL;
	pr_info("node %d: %llu MB at [mem %#018llx-%#018llx]\n", nid,
		size >> 20, start, start + size - 1);
	device_coherent_announce();
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
 * Return: true if the memory block at @addr is a device node's, whoever added it.
 */
bool device_coherent_owns(u64 addr)
{
	struct memory_block *mem;
	bool owns = false;

	lock_device_hotplug();
	mem = find_memory_block(pfn_to_section_nr(PHYS_PFN(addr)));
	if (mem) {
		owns = node_is_device_coherent(mem->nid);
		put_device(&mem->dev);
	}
	unlock_device_hotplug();

	return owns;
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
 * With its last memory, whoever added it, the node ceases to be a device node.
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
	undeclare_node(nid);
	pr_info("node %d: [mem %#018llx-%#018llx] removed\n", nid, start,
		start + size - 1);
	device_coherent_announce();
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
	bool found = false;
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
			found = true;
			claim_specific_purpose(mi, start, size);
			start += size;
		}
		if (!found)
			refuse("sp", "the firmware marks no memory as specific-purpose");
	}
	if (want_specific_purpose && numa_off)
		refuse("sp", "numa=off");

	if (nr_spare_nodes && numa_off)
		refuse("spare", "numa=off");
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
