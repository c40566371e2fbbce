/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ZONE_DEVICE_COHERENT: cache-coherent memory of a coprocessor, as a NUMA node
 * whose pages nobody gets without asking.
 *
 * A "device node" is a node in N_DEVICE_COHERENT. It has no CPU, and all of its
 * memory is in its ZONE_DEVICE_COHERENT. A "system node" is any other node.
 *
 * Drivers use the first half of this file. The second half is what the core
 * calls; with CONFIG_ZONE_DEVICE_COHERENT off every function of it compiles to
 * nothing. See Documentation/mm/device_coherent.rst.
 */
#ifndef _LINUX_DEVICE_COHERENT_H
#define _LINUX_DEVICE_COHERENT_H

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/jump_label.h>
#include <linux/mempolicy.h>
#include <linux/migrate_mode.h>
#include <linux/mm_types.h>
#include <linux/mmdebug.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/sched/coredump.h>
#include <linux/types.h>

struct alloc_context;
struct folio;
struct gen_pool;
struct notifier_block;
struct numa_meminfo;
struct page;
struct reclaim_stat;
struct seq_file;
struct task_struct;
struct vm_area_struct;

/**
 * for_each_device_coherent_node - loop over the device nodes
 * @nid: the node id, an int
 */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
#define for_each_device_coherent_node(nid)				\
	for_each_node_state(nid, N_DEVICE_COHERENT)
#else
#define for_each_device_coherent_node(nid)				\
	for ((nid) = MAX_NUMNODES; false; )
#endif

/**
 * enum device_coherent_event - what a notifier hears of
 * @DEVICE_COHERENT_NODE_ADDED: the node has become a device node
 * @DEVICE_COHERENT_NODE_REMOVED: it has ceased to be one; its memory is gone
 */
enum device_coherent_event {
	DEVICE_COHERENT_NODE_ADDED = 1,
	DEVICE_COHERENT_NODE_REMOVED,
};

/* Flags of device_coherent_add() */
#define DEVICE_COHERENT_MEMMAP_ON_DEVICE	BIT(0)

/**
 * node_is_device_coherent - is this a device node?
 * @nid: node id, or NUMA_NO_NODE
 *
 * Context: Any. The answer lasts as long as the node does.
 * Return: true if all memory of node @nid is, or is about to be, in its
 * ZONE_DEVICE_COHERENT.
 */
static inline bool node_is_device_coherent(int nid)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return nid >= 0 && nid < MAX_NUMNODES &&
	       node_state(nid, N_DEVICE_COHERENT);
#else
	return false;
#endif
}

/**
 * zone_is_device_coherent - is this zone a device node's?
 * @zone: the zone
 *
 * Context: Any.
 * Return: true if @zone is a ZONE_DEVICE_COHERENT.
 */
static inline bool zone_is_device_coherent(const struct zone *zone)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return zone_idx(zone) == ZONE_DEVICE_COHERENT;
#else
	return false;
#endif
}

/* page_in_zone_device_coherent(), folio_in_zone_device_coherent(): mmzone.h */

#ifdef CONFIG_ZONE_DEVICE_COHERENT
int device_coherent_add(int nid, u64 start, u64 size, unsigned int flags);
int device_coherent_remove(int nid, u64 start, u64 size);
struct page *device_coherent_alloc_pages(int nid, gfp_t gfp,
					 unsigned int order);
struct folio *device_coherent_alloc_folio(int nid, gfp_t gfp,
					  unsigned int order);
void device_coherent_free_pages(struct page *page, unsigned int order);
int device_coherent_get_contig(int nid, gfp_t gfp, unsigned long nr_pages,
			       unsigned long align, struct page **page);
struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
					  unsigned long nr_pages,
					  unsigned long align);
void device_coherent_free_contig(struct page *page, unsigned long nr_pages);
unsigned long device_coherent_largest_run(int nid, bool displace);
bool device_coherent_makes_room(int nid);
unsigned long device_coherent_system_room(const nodemask_t *nodes);
struct gen_pool *device_coherent_pool_create(int nid, size_t size,
					     int min_alloc_order);
void device_coherent_pool_destroy(struct gen_pool *pool);
int device_coherent_register_notifier(struct notifier_block *nb);
int device_coherent_unregister_notifier(struct notifier_block *nb);
#else
static inline int device_coherent_add(int nid, u64 start, u64 size,
				      unsigned int flags)
{
	return -EOPNOTSUPP;
}

static inline int device_coherent_remove(int nid, u64 start, u64 size)
{
	return -EOPNOTSUPP;
}

static inline struct page *device_coherent_alloc_pages(int nid, gfp_t gfp,
						       unsigned int order)
{
	return NULL;
}

static inline struct folio *device_coherent_alloc_folio(int nid, gfp_t gfp,
							unsigned int order)
{
	return NULL;
}

static inline void device_coherent_free_pages(struct page *page,
					      unsigned int order)
{
}

static inline int device_coherent_get_contig(int nid, gfp_t gfp,
					     unsigned long nr_pages,
					     unsigned long align,
					     struct page **page)
{
	return -ENODEV;
}

static inline struct page *device_coherent_alloc_contig(int nid, gfp_t gfp,
							unsigned long nr_pages,
							unsigned long align)
{
	return NULL;
}

static inline void device_coherent_free_contig(struct page *page,
					       unsigned long nr_pages)
{
}

static inline unsigned long device_coherent_largest_run(int nid, bool displace)
{
	return 0;
}

static inline bool device_coherent_makes_room(int nid)
{
	return false;
}

static inline struct gen_pool *
device_coherent_pool_create(int nid, size_t size, int min_alloc_order)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void device_coherent_pool_destroy(struct gen_pool *pool)
{
}

static inline int device_coherent_register_notifier(struct notifier_block *nb)
{
	return 0;
}

static inline int
device_coherent_unregister_notifier(struct notifier_block *nb)
{
	return 0;
}
#endif /* CONFIG_ZONE_DEVICE_COHERENT */

/* What follows is for the core kernel: the hooks. */

/* Does this request ask for device memory? */
static inline bool gfp_device_coherent(gfp_t gfp)
{
	return (__force unsigned int)gfp & ___GFP_DEVICE_COHERENT;
}

/* The device nodes, as the start value of a mask of nodes to pass over */
static inline nodemask_t device_coherent_nodes(void)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return node_states[N_DEVICE_COHERENT];
#else
	return NODE_MASK_NONE;
#endif
}

/* Drop the device nodes from a mask that names places for ordinary pages. */
static inline void device_coherent_exclude(nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	nodes_andnot(*nodes, *nodes, node_states[N_DEVICE_COHERENT]);
#endif
}

/*
 * How far a CPU's part of a zone's counters may be from the sum. Not at all on
 * a device: otherwise it is full when the sum says so, some pages too early.
 */
static inline int device_coherent_stat_threshold(const struct zone *zone,
						 int threshold)
{
	return zone_is_device_coherent(zone) ? 0 : threshold;
}

/* The zone that memory of @nid goes to, or NULL for the usual choice */
static inline struct zone *device_coherent_hotplug_zone(int nid)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (node_is_device_coherent(nid))
		return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
#endif
	return NULL;
}

#ifdef CONFIG_ZONE_DEVICE_COHERENT
void __device_coherent_memory_removed(int nid);
#endif

/* Some memory of a node is gone, whoever brought it: was it the last? */
static inline void device_coherent_memory_removed(int nid)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (node_is_device_coherent(nid))
		__device_coherent_memory_removed(nid);
#endif
}

/* Pages of the zone that are present on a node, for its memory states */
static inline unsigned long device_coherent_present_pages(pg_data_t *pgdat)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return pgdat->node_zones[ZONE_DEVICE_COHERENT].present_pages;
#else
	return 0;
#endif
}

/**
 * device_coherent_mark_mm - this address space may have pages on a device
 * @mm: the address space, or NULL
 *
 * Who gives it one says so before: a policy that names a device, an allocation
 * by one, a system call that moves pages, a driver that maps its own with
 * vm_insert_page() or migrate_vma_pages(). A fork inherits it. The OOM killer
 * doesn't look for device pages where there is no mark.
 *
 * Context: Any.
 */
static inline void device_coherent_mark_mm(struct mm_struct *mm)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (mm && !test_bit(MMF_DEVICE_COHERENT, &mm->flags))
		set_bit(MMF_DEVICE_COHERENT, &mm->flags);
#endif
}

#ifdef CONFIG_ZONE_DEVICE_COHERENT
DECLARE_STATIC_KEY_FALSE(device_coherent_key);

void device_coherent_init_zonelists(pg_data_t *pgdat);
void device_coherent_build_zonelist(pg_data_t *pgdat);
gfp_t __device_coherent_strip_gfp(gfp_t gfp, const char *who);
bool device_coherent_could_hold(unsigned long pages);
void device_coherent_meminfo(struct seq_file *m);
#else
static inline void device_coherent_init_zonelists(pg_data_t *pgdat) { }
static inline void device_coherent_build_zonelist(pg_data_t *pgdat) { }
static inline bool device_coherent_could_hold(unsigned long pages) { return false; }
static inline void device_coherent_meminfo(struct seq_file *m) { }
#endif

/* Is there a device node? */
static inline bool device_coherent_active(void)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return static_branch_unlikely(&device_coherent_key);
#else
	return false;
#endif
}

/* For allocators of kernel memory, which never comes from a device */
static inline gfp_t device_coherent_strip_gfp(gfp_t gfp, const char *who)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (unlikely(gfp_device_coherent(gfp)))
		return __device_coherent_strip_gfp(gfp, who);
#endif
	return gfp;
}

/*
 * page_owner: a migrated page keeps the mask of the page it replaces. Whether
 * the *new* page was asked for is a property of the new page (invariant 1).
 */
static inline gfp_t device_coherent_owner_gfp(struct folio *new, gfp_t new_gfp,
					      gfp_t old_gfp)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	gfp_t asked = (old_gfp | new_gfp) & __GFP_DEVICE_COHERENT;

	if (gfp_device_coherent(asked)) {
		old_gfp &= ~__GFP_DEVICE_COHERENT;
		if (folio_in_zone_device_coherent(new))
			old_gfp |= asked;
	}
#endif
	return old_gfp;
}

/*
 * Every page that leaves the allocator with CONFIG_DEBUG_VM: flagged if, and
 * only if, it is device memory (invariants 1 and 2).
 */
static inline void device_coherent_check_new_page(struct page *page, gfp_t gfp)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	VM_WARN_ON_ONCE_PAGE(gfp_device_coherent(gfp) !=
			     page_in_zone_device_coherent(page), page);
#endif
}

/* -- Placement: what counts as asking -- */

#ifdef CONFIG_ZONE_DEVICE_COHERENT
struct folio *device_coherent_alloc_mpol(gfp_t gfp, unsigned int order,
					 struct mempolicy *pol, pgoff_t ilx,
					 int nid);
struct folio *device_coherent_alloc_system(gfp_t gfp, unsigned int order,
					   struct mempolicy *pol, pgoff_t ilx,
					   int nid);
int device_coherent_policy_nid(struct mempolicy *pol, gfp_t gfp, pgoff_t ilx,
			       int nid);
bool __device_coherent_only(const struct mempolicy *pol);
bool __device_coherent_can_hold(const struct folio *folio);
struct folio *device_coherent_stay(struct folio *src, gfp_t gfp,
				   unsigned int order, int nid,
				   nodemask_t *nodes);
bool __device_coherent_reaches(const struct mempolicy *pol);
void __device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
			     const nodemask_t *old, const nodemask_t *new);
void device_coherent_cpuset_migrate(struct mm_struct *mm, nodemask_t *from,
				    nodemask_t *to);
bool __device_coherent_can_collapse(const u32 *node_load, int node, gfp_t *gfp);
long __device_coherent_put_back(struct list_head *folios);
vm_fault_t __device_coherent_fault(struct mm_struct *mm, unsigned long address,
				   unsigned int flags, vm_fault_t ret);
#else
static inline struct folio *
device_coherent_alloc_mpol(gfp_t gfp, unsigned int order, struct mempolicy *pol,
			   pgoff_t ilx, int nid)
{
	return NULL;
}

static inline struct folio *
device_coherent_alloc_system(gfp_t gfp, unsigned int order,
			     struct mempolicy *pol, pgoff_t ilx, int nid)
{
	return NULL;
}

static inline void device_coherent_cpuset_migrate(struct mm_struct *mm,
						  nodemask_t *from,
						  nodemask_t *to)
{
	do_migrate_pages(mm, from, to, MPOL_MF_MOVE_ALL);
}

static inline struct folio *device_coherent_stay(struct folio *src, gfp_t gfp,
						 unsigned int order, int nid,
						 nodemask_t *nodes)
{
	return NULL;
}
#endif

/*
 * Internal flag of a policy, beside those of uapi/linux/mempolicy.h: it may
 * name a device node. A fault has to know at the price of one test. Set before
 * such a node gets into the policy, and never cleared.
 */
#define MPOL_F_DEVICE_COHERENT	BIT(5)

/* The policy is about to get some of these nodes, or all. */
static inline void device_coherent_mark(struct mempolicy *pol,
					const nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	static_assert(!(MPOL_F_DEVICE_COHERENT &
			(MPOL_F_SHARED | MPOL_F_MOF | MPOL_F_MORON |
			 MPOL_MODE_FLAGS)));

	if (nodes_intersects(*nodes, node_states[N_DEVICE_COHERENT])) {
		pol->flags |= MPOL_F_DEVICE_COHERENT;
		device_coherent_mark_mm(current->mm);
	}
#endif
}

/*
 * The policy is about to get @nodes, which is what the cpuset leaves of @named.
 * A mixed mask doesn't ask for devices (invariant 1), not even if they are all
 * that is left of it; a literal one does, and a relative one has none.
 */
static inline void device_coherent_set(struct mempolicy *pol,
				       const nodemask_t *named,
				       nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	const unsigned int flags = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;
	nodemask_t system;

	nodes_andnot(system, node_states[N_MEMORY],
		     node_states[N_DEVICE_COHERENT]);
	if (!(pol->flags & flags) && nodes_intersects(*named, system) &&
	    !nodes_intersects(*nodes, system))
		nodes_clear(*nodes);
	device_coherent_mark(pol, nodes);
#endif
}

/* May the policy name a device node? Those of shared memory aren't rebound. */
static inline bool device_coherent_policy(const struct mempolicy *pol)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return unlikely(pol->flags & (MPOL_F_DEVICE_COHERENT | MPOL_F_SHARED));
#else
	return false;
#endif
}

/* Kernel memory, to which a policy @applies or not, ignores one of devices. */
static inline bool device_coherent_applies(const struct mempolicy *pol,
					   bool applies)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_policy(pol))
		return applies && !__device_coherent_only(pol);
#endif
	return applies;
}

/* Can a user page allocated by this policy come from a device? */
static inline bool device_coherent_reaches(const struct mempolicy *pol)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_active())
		return __device_coherent_reaches(pol);
#endif
	return false;
}

/* Does the policy name nothing but device nodes? */
static inline bool device_coherent_only(const struct mempolicy *pol)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_active())
		return __device_coherent_only(pol);
#endif
	return false;
}

/* Moved by a policy that may name a device, which can't hold this folio */
static inline bool device_coherent_barred(const struct mempolicy *pol,
					  const struct folio *folio)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return device_coherent_policy(pol) &&
	       !__device_coherent_can_hold(folio);
#else
	return false;
#endif
}

/*
 * Isolated folios of @mm on their way to a device: put back those that stay.
 * Returns how many.
 */
static inline long device_coherent_put_back(struct mm_struct *mm,
					    bool to_device,
					    struct list_head *folios)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (unlikely(to_device)) {
		device_coherent_mark_mm(mm);
		return __device_coherent_put_back(folios);
	}
#endif
	return 0;
}

/*
 * May this folio be migrated to node @nid, which is one, and not NUMA_NO_NODE?
 * The page cache stays off devices. A small anonymous folio, which is what most
 * are, is told from others here.
 */
static inline bool device_coherent_can_hold(int nid, const struct folio *folio)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	unsigned long kind = (unsigned long)folio->mapping & PAGE_MAPPING_FLAGS;

	if (node_state(nid, N_DEVICE_COHERENT) &&
	    (kind != PAGE_MAPPING_ANON || folio_test_large(folio)))
		return __device_coherent_can_hold(folio);
#endif
	return true;
}

/*
 * A system call that names node @nid as the target, which is not NUMA_NO_NODE,
 * is asking (invariant 1). What the node can't hold has been put back, but KSM
 * may have merged a page since.
 */
static inline gfp_t device_coherent_target_gfp(int nid,
					       enum migrate_reason reason,
					       const struct folio *src)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (reason == MR_SYSCALL && node_state(nid, N_DEVICE_COHERENT) &&
	    !folio_test_ksm(src))
		return __GFP_DEVICE_COHERENT | __GFP_NOWARN;
#endif
	return 0;
}

/*
 * Is this a folio that has to leave its place on a device, but not the device?
 * It gets another there if one is free: its owner did ask for it (invariant 1).
 */
static inline bool device_coherent_stays(const struct folio *src,
					 enum migrate_reason reason)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return folio_in_zone_device_coherent(src) &&
	       (reason == MR_CONTIG_RANGE || reason == MR_MEMORY_FAILURE);
#else
	return false;
#endif
}

/* The one node that is preferred, of a mask that is literal or not */
static inline int device_coherent_preferred(const nodemask_t *nodes,
					    bool literal)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	nodemask_t system;

	nodes_andnot(system, *nodes, node_states[N_DEVICE_COHERENT]);
	if (!literal && !nodes_empty(system))
		return first_node(system);
#endif
	return first_node(*nodes);
}

/* A relative mask counts system nodes, as long as there are any. */
static inline const nodemask_t *device_coherent_relative(const nodemask_t *rel,
							 nodemask_t *system)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	nodes_andnot(*system, *rel, node_states[N_DEVICE_COHERENT]);
	if (!nodes_empty(*system))
		return system;
#endif
	return rel;
}

/* Is there something in the mask, and nothing but device nodes? */
static inline bool device_coherent_only_nodes(const nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return !nodes_empty(*nodes) &&
	       nodes_subset(*nodes, node_states[N_DEVICE_COHERENT]);
#else
	return false;
#endif
}

/* No task can run on these nodes alone: nodes_empty(), or nothing but devices */
static inline bool device_coherent_no_system(const nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	return nodes_subset(*nodes, node_states[N_DEVICE_COHERENT]);
#else
	return nodes_empty(*nodes);
#endif
}

/*
 * nodes_remap() for a policy whose cpuset changes: a system node becomes a
 * system node, a device stays what it is.
 */
static inline void device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
					 const nodemask_t *old,
					 const nodemask_t *new)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_active()) {
		__device_coherent_remap(dst, src, old, new);
		return;
	}
#endif
	nodes_remap(*dst, *src, *old, *new);
}

/* A huge page is made of one device's pages, or of system pages. */
static inline bool device_coherent_can_collapse(const u32 *node_load, int node,
						gfp_t *gfp)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_active())
		return __device_coherent_can_collapse(node_load, node, gfp);
#endif
	return true;
}

/*
 * A fault that found the device full: invariant 4. handle_mm_fault() has tested
 * for VM_FAULT_ERROR just before, so the test costs a fault nothing.
 */
static inline vm_fault_t device_coherent_fault(struct mm_struct *mm,
					       unsigned long address,
					       unsigned int flags,
					       vm_fault_t ret)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (unlikely(ret & VM_FAULT_ERROR) && (ret & VM_FAULT_OOM) &&
	    device_coherent_active())
		return __device_coherent_fault(mm, address, flags, ret);
#endif
	return ret;
}

/* -- Making room, and what it must not do to others -- */

/* What device_coherent_shrink() is to take from a node */
enum device_coherent_shrink {
	DEVICE_COHERENT_LAZYFREE,	/* only what was lazily freed */
	DEVICE_COHERENT_MOVE,		/* cold pages, to system memory */
	DEVICE_COHERENT_SWAP,		/* cold pages, to swap */
};

#ifdef CONFIG_ZONE_DEVICE_COHERENT
struct page *device_coherent_alloc_slow(gfp_t gfp, unsigned int order,
					struct alloc_context *ac);
/* In mm/page_alloc.c and mm/vmscan.c, for the one above */
struct page *device_coherent_try_alloc(gfp_t gfp, unsigned int order,
				       const struct alloc_context *ac);
struct page *device_coherent_compact(gfp_t gfp, unsigned int order,
				     const struct alloc_context *ac,
				     int prio);
unsigned long device_coherent_shrink(int nid, gfp_t gfp, unsigned long nr_pages,
				     enum device_coherent_shrink how);
int device_coherent_demotion_node(int nid);
void device_coherent_moved(int from, int to, long nr_pages,
			   enum migrate_reason reason);
void __device_coherent_migrated_in(const struct folio *src,
				   struct folio *dst,
				   enum migrate_reason reason);
void __device_coherent_migrated_out(const struct folio *src,
				    const struct folio *dst,
				    enum migrate_reason reason);
void __device_coherent_evicted(int nid, unsigned long nr_reclaimed,
			       const struct reclaim_stat *stat);
unsigned long __device_coherent_rss(struct task_struct *task);
bool device_coherent_owns(u64 addr);
#else
static inline struct page *
device_coherent_alloc_slow(gfp_t gfp, unsigned int order,
			   struct alloc_context *ac)
{
	return NULL;
}

static inline int device_coherent_demotion_node(int nid) { return NUMA_NO_NODE; }
static inline bool device_coherent_owns(u64 addr) { return false; }
#endif

/* Where the folios of a device that makes room may go: any system node */
static inline bool device_coherent_demotion_targets(int nid,
						    nodemask_t *targets)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (node_is_device_coherent(nid)) {
		nodes_andnot(*targets, node_states[N_MEMORY],
			     node_states[N_DEVICE_COHERENT]);
		return true;
	}
#endif
	return false;
}

/* Count and trace a folio that moved, if it is or was on a device */
static inline void device_coherent_migrated(const struct folio *src,
					    struct folio *dst,
					    enum migrate_reason reason)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (folio_in_zone_device_coherent(dst))
		__device_coherent_migrated_in(src, dst, reason);
	else if (folio_in_zone_device_coherent(src))
		__device_coherent_migrated_out(src, dst, reason);
#endif
}

/* Likewise pages that were reclaimed from a node */
static inline void device_coherent_evicted(const pg_data_t *pgdat,
					   unsigned long nr_reclaimed,
					   const struct reclaim_stat *stat)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (node_is_device_coherent(pgdat->node_id))
		__device_coherent_evicted(pgdat->node_id, nr_reclaimed, stat);
#endif
}

/* Pages of a task that its end would not give back to the system */
static inline unsigned long device_coherent_rss(struct task_struct *task)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	if (device_coherent_active())
		return __device_coherent_rss(task);
#endif
	return 0;
}

/* Pages of a node that an ordinary request can get */
static inline unsigned long device_coherent_system_pages(int nid)
{
	return node_is_device_coherent(nid) ? 0 : node_present_pages(nid);
}

/* Does the mask leave out no system node, whatever it says of devices? */
static inline bool device_coherent_all_system(const nodemask_t *nodes)
{
#ifdef CONFIG_ZONE_DEVICE_COHERENT
	nodemask_t system;

	nodes_andnot(system, node_states[N_MEMORY],
		     node_states[N_DEVICE_COHERENT]);
	return nodes_subset(system, *nodes);
#else
	return nodes_subset(node_states[N_MEMORY], *nodes);
#endif
}

/* Registration at boot */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
void device_coherent_early_reserve(void);
void device_coherent_numa_init(struct numa_meminfo *mi);
bool device_coherent_wants_node(void);

/* What an architecture provides; hotplug will add the range in pieces */
void arch_device_coherent_claim(u64 start, u64 size, u64 piece);
bool arch_device_coherent_node_has_cpu(int nid);
bool arch_device_coherent_next_sp(u64 *start, u64 *size);
#else
static inline void device_coherent_early_reserve(void) { }
static inline void device_coherent_numa_init(struct numa_meminfo *mi) { }
static inline bool device_coherent_wants_node(void) { return false; }
#endif

#endif /* _LINUX_DEVICE_COHERENT_H */
