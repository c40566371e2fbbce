// SPDX-License-Identifier: GPL-2.0
/*
 * What counts as asking for device memory (invariant 1): memory policies, the
 * targets of explicit migration, cpusets that change. For the fault that finds a
 * device full, see fault.c.
 *
 * A policy is kept alive by its caller; which nodes a task may use is read as
 * mems_allowed is, with a retry.
 */
#include <linux/cpuset.h>
#include <linux/hugetlb.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>

#include "internal.h"

/*
 * Those of @nodes that name a device. The id of one that has gone means that
 * device still, and no other, until it is back or system memory has the id
 * (invariant 2).
 */
static nodemask_t named_devices(const nodemask_t *nodes)
{
	nodemask_t devices;

	nodes_andnot(devices, device_coherent_ids,
		     node_states[N_MEMORY]);
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
static bool may_name_devices(const struct mempolicy *pol, gfp_t gfp)
{
	const gfp_t user = __GFP_MOVABLE | __GFP_HIGHMEM;

	return pol->mode != MPOL_LOCAL && (gfp & user) == user;
}

static bool names_devices(const struct mempolicy *pol, gfp_t gfp,
			  nodemask_t *devices)
{
	if (!may_name_devices(pol, gfp))
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

/**
 * device_coherent_alloc_allowed - from a policy's devices that can be had
 * @gfp: as for device_coherent_alloc_mpol()
 * @order: likewise
 * @pol: likewise
 * @ilx: likewise
 * @nid: the device to begin with, if there are several
 * @devices: takes those that are there and that the task's cpuset has
 *
 * Context: As for device_coherent_alloc_mpol().
 * Return: the folio, or NULL.
 */
struct folio *device_coherent_alloc_allowed(gfp_t gfp, unsigned int order,
					    struct mempolicy *pol, pgoff_t ilx,
					    int nid, nodemask_t *devices)
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

static noinline_for_stack struct folio *
alloc_by_masks(gfp_t gfp, unsigned int order, struct mempolicy *pol, pgoff_t ilx,
	       int nid)
{
	nodemask_t devices, system;
	struct folio *folio;

	if (!names_devices(pol, gfp, &devices))
		return alloc_by_policy(gfp, order, pol, ilx, nid);

	nodes_andnot(system, pol->nodes, devices);
	if (!nodes_empty(system)) {
		if (!(pol->flags & MPOL_F_STATIC_NODES))
			return alloc_from_system(gfp, order, pol, &pol->nodes,
						 ilx, nid);
		nid = device_coherent_policy_nid(pol, gfp, ilx, nid);
		return alloc_mixed(gfp, order, pol, devices, &system, ilx, nid);
	}

	folio = device_coherent_alloc_allowed(gfp, order, pol, ilx, nid,
					      &devices);
	if (folio || (pol->mode == MPOL_BIND && !nodes_empty(devices)))
		return folio;

	return alloc_instead(gfp, order, pol, ilx, nid, !nodes_empty(devices));
}

/* The device that @pol names if it names nothing else, and that is there */
static int single_device(const struct mempolicy *pol)
{
	int nid = first_node(pol->nodes);

	if (nid < MAX_NUMNODES && node_is_device_coherent(nid) &&
	    node_state(nid, N_MEMORY) &&
	    next_node(nid, pol->nodes) >= MAX_NUMNODES)
		return nid;

	return NUMA_NO_NODE;
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
 * Most name one device, and a fault has no time for masks of a thousand bits: that
 * is what alloc_by_masks() does, without them.
 *
 * Context: As @gfp says; the caller holds what keeps @pol alive.
 * Return: the folio, or NULL.
 */
struct folio *device_coherent_alloc_mpol(gfp_t gfp, unsigned int order,
					 struct mempolicy *pol, pgoff_t ilx,
					 int nid)
{
	const bool strict = pol->mode == MPOL_BIND;
	struct folio *folio;
	unsigned int cookie;
	int device;

	if (!may_name_devices(pol, gfp))
		return alloc_by_policy(gfp, order, pol, ilx, nid);

	device_coherent_mark_mm(current->mm);
	device = single_device(pol);
	if (device == NUMA_NO_NODE)
		return alloc_by_masks(gfp, order, pol, ilx, nid);

	do {
		cookie = read_mems_allowed_begin();
		if (!node_isset(device, cpuset_current_mems_allowed))
			return alloc_by_masks(gfp, order, pol, ilx, nid);
		folio = __folio_alloc_noprof(device_gfp(strict ? gfp :
							gfp | __GFP_NORETRY),
					     order, device, NULL);
	} while (unlikely(!folio && read_mems_allowed_retry(cookie)));

	if (folio || strict)
		return folio;

	return alloc_instead(gfp, order, pol, ilx, nid, true);
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
 * __device_coherent_cpuset_migrate - what a cpuset that changes moves for a task
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
void __device_coherent_cpuset_migrate(struct mm_struct *mm, nodemask_t *from,
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
	/* khugepaged asks for others, of whom it knows nothing but their pages. */
	if (device && device_coherent_restricted() &&
	    (current->flags & PF_KTHREAD) && node_load[node] < HPAGE_PMD_NR)
		return false;
	if (device)
		*gfp |= __GFP_DEVICE_COHERENT;

	return true;
}
