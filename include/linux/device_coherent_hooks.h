/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the core kernel calls of ZONE_DEVICE_COHERENT: predicates and hooks, in the
 * order of the files of mm/device_coherent/ that they belong to.
 *
 * With CONFIG_ZONE_DEVICE_COHERENT off there is no device node, which is said
 * once, at the beginning; all else follows from that and compiles to nothing.
 * Drivers want linux/device_coherent.h.
 */
#ifndef _LINUX_DEVICE_COHERENT_HOOKS_H
#define _LINUX_DEVICE_COHERENT_HOOKS_H

#include <linux/device_coherent.h>
#include <linux/gfp.h>
#include <linux/jump_label.h>
#include <linux/memory-tiers.h>
#include <linux/mempolicy.h>
#include <linux/migrate_mode.h>
#include <linux/mm_types.h>
#include <linux/mmdebug.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/types.h>

struct alloc_context;
struct cpuset;
struct file;
struct numa_meminfo;
struct resource;
struct reclaim_stat;
struct seq_file;
struct task_struct;

#define HAVE_DEVICE_COHERENT	IS_ENABLED(CONFIG_ZONE_DEVICE_COHERENT)

#ifdef CONFIG_ZONE_DEVICE_COHERENT
DECLARE_STATIC_KEY_FALSE(device_coherent_key);

/* The device nodes; and is there any? */
#define DEVICE_NODES			node_states[N_DEVICE_COHERENT]
#define device_coherent_active()	static_branch_unlikely(&device_coherent_key)

/* That zone of any node, empty if it is no device node */
static inline struct zone *node_coherent_zone(int nid)
{
	return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
}

static inline bool zone_is_device_coherent(const struct zone *zone)
{
	return zone_idx(zone) == ZONE_DEVICE_COHERENT;
}
#else
#define DEVICE_NODES			NODE_MASK_NONE
#define device_coherent_active()	false

static inline struct zone *node_coherent_zone(int nid)
{
	return NULL;
}

static inline bool zone_is_device_coherent(const struct zone *zone)
{
	return false;
}
#endif /* CONFIG_ZONE_DEVICE_COHERENT */

/* As node_is_device_coherent(), where @nid is the id of a node, not NUMA_NO_NODE */
static inline bool is_device_node(int nid)
{
	return HAVE_DEVICE_COHERENT && node_isset(nid, DEVICE_NODES);
}

/* -- Accounting -- */

void __device_coherent_meminfo(struct seq_file *m);
bool __device_coherent_could_hold(unsigned long pages);

static inline void device_coherent_meminfo(struct seq_file *m)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_meminfo(m);
}

/* Too much for the system: is it, with the devices' memory? */
static inline bool device_coherent_could_hold(unsigned long pages)
{
	return device_coherent_active() && __device_coherent_could_hold(pages);
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

/* Pages of the zone that are present on a node, for its memory states */
static inline unsigned long device_coherent_present_pages(int nid)
{
	return HAVE_DEVICE_COHERENT ? node_coherent_zone(nid)->present_pages : 0;
}

/* Pages of a node that an ordinary request can get */
static inline unsigned long device_coherent_system_pages(int nid)
{
	return node_is_device_coherent(nid) ? 0 : node_present_pages(nid);
}

/* Does the mask leave out no system node, whatever it says of devices? */
static inline bool device_coherent_all_system(const nodemask_t *nodes)
{
	nodemask_t system = node_states[N_MEMORY];

	if (!HAVE_DEVICE_COHERENT)
		return nodes_subset(node_states[N_MEMORY], *nodes);

	nodes_andnot(system, system, DEVICE_NODES);
	return nodes_subset(system, *nodes);
}

/* -- Counters -- */

void __device_coherent_migrated_in(const struct folio *src, struct folio *dst,
				   enum migrate_reason reason);
void __device_coherent_migrated_out(const struct folio *src,
				    const struct folio *dst,
				    enum migrate_reason reason);
void __device_coherent_evicted(int nid, unsigned long nr_reclaimed,
			       const struct reclaim_stat *stat);

/* Count and trace a folio that moved, if it is or was on a device */
static inline void device_coherent_migrated(const struct folio *src,
					    struct folio *dst,
					    enum migrate_reason reason)
{
	if (folio_in_zone_device_coherent(dst))
		__device_coherent_migrated_in(src, dst, reason);
	else if (folio_in_zone_device_coherent(src))
		__device_coherent_migrated_out(src, dst, reason);
}

/* Likewise pages that were reclaimed from a node */
static inline void device_coherent_evicted(const pg_data_t *pgdat,
					   unsigned long nr_reclaimed,
					   const struct reclaim_stat *stat)
{
	if (node_is_device_coherent(pgdat->node_id))
		__device_coherent_evicted(pgdat->node_id, nr_reclaimed, stat);
}

/* -- The OOM killer -- */

unsigned long __device_coherent_rss(struct task_struct *task);

/* Pages of a task that its end would not give back to the system */
static inline unsigned long device_coherent_rss(struct task_struct *task)
{
	return device_coherent_active() ? __device_coherent_rss(task) : 0;
}

/* -- Making room -- */

int device_coherent_demotion_node(int nid);

/* Where the folios of a node go that makes room; first, and otherwise */
static inline int device_coherent_next_demotion(int nid)
{
	return node_is_device_coherent(nid) ? device_coherent_demotion_node(nid) :
					      next_demotion_node(nid);
}

static inline void device_coherent_demotion_targets(int nid,
						    nodemask_t *targets)
{
	if (node_is_device_coherent(nid))
		nodes_andnot(*targets, node_states[N_MEMORY], DEVICE_NODES);
}

/* -- Device nodes -- */

void __device_coherent_memory_added(int nid, struct resource *res);
void __device_coherent_memory_removed(int nid);
bool __device_coherent_owns(u64 addr);

/* There is memory for a node, whoever brings it, and none of it online yet */
static inline void device_coherent_memory_added(int nid, struct resource *res)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_memory_added(nid, res);
}

/* Some memory of a node is gone, whoever brought it: was it the last? */
static inline void device_coherent_memory_removed(int nid)
{
	if (node_is_device_coherent(nid))
		__device_coherent_memory_removed(nid);
}

/* Is this physical address in a device node's memory? */
static inline bool device_coherent_owns(u64 addr)
{
	return device_coherent_active() && __device_coherent_owns(addr);
}

/* -- Zonelists, and the requests that walk them -- */

void __device_coherent_build_zonelist(pg_data_t *pgdat);
gfp_t __device_coherent_strip_gfp(gfp_t gfp, const char *who);
struct page *device_coherent_alloc_slow(gfp_t gfp, unsigned int order,
					struct alloc_context *ac);

/* Does this request ask for device memory? */
static inline bool gfp_device_coherent(gfp_t gfp)
{
	return (__force unsigned int)gfp & ___GFP_DEVICE_COHERENT;
}

static inline void device_coherent_build_zonelist(pg_data_t *pgdat)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_build_zonelist(pgdat);
}

/* For allocators of kernel memory, which never comes from a device */
static inline gfp_t device_coherent_strip_gfp(gfp_t gfp, const char *who)
{
	if (unlikely(gfp_device_coherent(gfp)))
		return __device_coherent_strip_gfp(gfp, who);
	return gfp;
}

/*
 * page_owner: a migrated page keeps the mask of the page it replaces. Whether
 * the *new* page was asked for is a property of the new page (invariant 1).
 */
static inline gfp_t device_coherent_owner_gfp(struct folio *new, gfp_t new_gfp,
					      gfp_t old_gfp)
{
	gfp_t asked = (old_gfp | new_gfp) & __GFP_DEVICE_COHERENT;

	if (gfp_device_coherent(asked)) {
		old_gfp &= ~__GFP_DEVICE_COHERENT;
		if (folio_in_zone_device_coherent(new))
			old_gfp |= asked;
	}
	return old_gfp;
}

/*
 * Every page that leaves the allocator with CONFIG_DEBUG_VM: flagged if, and
 * only if, it is device memory (invariants 1 and 2).
 */
static inline void device_coherent_check_new_page(struct page *page, gfp_t gfp)
{
	if (HAVE_DEVICE_COHERENT)
		VM_WARN_ON_ONCE_PAGE(gfp_device_coherent(gfp) !=
				     page_in_zone_device_coherent(page), page);
}

/* -- Placement: what counts as asking -- */

struct folio *device_coherent_alloc_mpol(gfp_t gfp, unsigned int order,
					 struct mempolicy *pol, pgoff_t ilx,
					 int nid);
struct folio *device_coherent_alloc_system(gfp_t gfp, unsigned int order,
					   struct mempolicy *pol, pgoff_t ilx,
					   int nid);
int device_coherent_policy_nid(struct mempolicy *pol, gfp_t gfp, pgoff_t ilx,
			       int nid);
bool __device_coherent_only(const struct mempolicy *pol);
bool __device_coherent_reaches(const struct mempolicy *pol);
bool __device_coherent_can_hold(const struct folio *folio);
bool __device_coherent_can_collapse(const u32 *node_load, int node, gfp_t *gfp);
long __device_coherent_put_back(struct list_head *folios);
struct folio *device_coherent_stay(struct folio *src, gfp_t gfp,
				   unsigned int order, int nid,
				   nodemask_t *nodes);
void __device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
			     const nodemask_t *old, const nodemask_t *new);
void __device_coherent_cpuset_migrate(struct mm_struct *mm, nodemask_t *from,
				      nodemask_t *to);
vm_fault_t __device_coherent_fault(struct mm_struct *mm, unsigned long address,
				   unsigned int flags, vm_fault_t ret);

/*
 * Internal flag of a policy, beside those of uapi/linux/mempolicy.h: it may
 * name a device node. A fault has to know at the price of one test. Set before
 * such a node gets into the policy, and never cleared.
 */
#define MPOL_F_DEVICE_COHERENT	BIT(5)

static_assert(!(MPOL_F_DEVICE_COHERENT & (MPOL_F_SHARED | MPOL_F_MOF |
					  MPOL_F_MORON | MPOL_MODE_FLAGS)));

/* Drop the device nodes from a mask that names places for ordinary pages. */
static inline void device_coherent_exclude(nodemask_t *nodes)
{
	if (HAVE_DEVICE_COHERENT)
		nodes_andnot(*nodes, *nodes, DEVICE_NODES);
}

/* Is there something in the mask, and nothing but device nodes? */
static inline bool device_coherent_only_nodes(const nodemask_t *nodes)
{
	return HAVE_DEVICE_COHERENT && !nodes_empty(*nodes) &&
	       nodes_subset(*nodes, DEVICE_NODES);
}

/* No task can run on these nodes alone: nodes_empty(), or nothing but devices */
static inline bool device_coherent_no_system(const nodemask_t *nodes)
{
	if (HAVE_DEVICE_COHERENT)
		return nodes_subset(*nodes, DEVICE_NODES);
	return nodes_empty(*nodes);
}

/* Can a user page allocated by this policy come from a device? */
static inline bool device_coherent_reaches(const struct mempolicy *pol)
{
	return device_coherent_active() && __device_coherent_reaches(pol);
}

/* Does the policy name nothing but device nodes? */
static inline bool device_coherent_only(const struct mempolicy *pol)
{
	return device_coherent_active() && __device_coherent_only(pol);
}

#ifdef CONFIG_NUMA	/* else there is nothing in a policy */
/* The policy is about to get some of these nodes, or all. */
static inline void device_coherent_mark(struct mempolicy *pol,
					const nodemask_t *nodes)
{
	if (HAVE_DEVICE_COHERENT && nodes_intersects(*nodes, DEVICE_NODES)) {
		pol->flags |= MPOL_F_DEVICE_COHERENT;
		device_coherent_mark_mm(current->mm);
	}
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
	const unsigned int flags = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;
	nodemask_t system;

	if (!HAVE_DEVICE_COHERENT)
		return;

	nodes_andnot(system, node_states[N_MEMORY], DEVICE_NODES);
	if (!(pol->flags & flags) && nodes_intersects(*named, system) &&
	    !nodes_intersects(*nodes, system))
		nodes_clear(*nodes);
	device_coherent_mark(pol, nodes);
}

/* May the policy name a device node? Those of shared memory aren't rebound. */
static inline bool device_coherent_policy(const struct mempolicy *pol)
{
	return HAVE_DEVICE_COHERENT &&
	       unlikely(pol->flags & (MPOL_F_DEVICE_COHERENT | MPOL_F_SHARED));
}

/* Kernel memory, to which a policy @applies or not, ignores one of devices. */
static inline bool device_coherent_applies(const struct mempolicy *pol,
					   bool applies)
{
	if (device_coherent_policy(pol))
		return applies && !__device_coherent_only(pol);
	return applies;
}

/* Moved by a policy that may name a device, which can't hold this folio */
static inline bool device_coherent_barred(const struct mempolicy *pol,
					  const struct folio *folio)
{
	return device_coherent_policy(pol) &&
	       !__device_coherent_can_hold(folio);
}
#endif /* CONFIG_NUMA */

/* The one node that is preferred, of a mask that is literal or not */
static inline int device_coherent_preferred(const nodemask_t *nodes,
					    bool literal)
{
	nodemask_t system = *nodes;

	device_coherent_exclude(&system);
	if (HAVE_DEVICE_COHERENT && !literal && !nodes_empty(system))
		return first_node(system);
	return first_node(*nodes);
}

/* A relative mask counts system nodes, as long as there are any. */
static inline const nodemask_t *device_coherent_relative(const nodemask_t *rel,
							 nodemask_t *system)
{
	if (!HAVE_DEVICE_COHERENT)
		return rel;

	nodes_andnot(*system, *rel, DEVICE_NODES);
	return nodes_empty(*system) ? rel : system;
}

/*
 * nodes_remap() for a policy whose cpuset changes: a system node becomes a
 * system node, a device stays what it is.
 */
static inline void device_coherent_remap(nodemask_t *dst, const nodemask_t *src,
					 const nodemask_t *old,
					 const nodemask_t *new)
{
	if (device_coherent_active())
		__device_coherent_remap(dst, src, old, new);
	else
		nodes_remap(*dst, *src, *old, *new);
}

/*
 * A node that has gone took nothing along, and may be back when what a cpuset
 * leaves is moved, later: with pages that were asked for since (invariant 5).
 */
static inline void device_coherent_cpuset_gone(nodemask_t *from)
{
	if (HAVE_DEVICE_COHERENT)
		nodes_and(*from, *from, node_states[N_MEMORY]);
}

static inline void device_coherent_cpuset_migrate(struct mm_struct *mm,
						  nodemask_t *from,
						  nodemask_t *to)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_cpuset_migrate(mm, from, to);
	else
		do_migrate_pages(mm, from, to, MPOL_MF_MOVE_ALL);
}

/*
 * Isolated folios of @mm on their way to a device: put back those that stay.
 * Returns how many.
 */
static inline long device_coherent_put_back(struct mm_struct *mm,
					    bool to_device,
					    struct list_head *folios)
{
	if (HAVE_DEVICE_COHERENT && unlikely(to_device)) {
		device_coherent_mark_mm(mm);
		return __device_coherent_put_back(folios);
	}
	return 0;
}

/*
 * May this folio be migrated to node @nid, which is one, and not NUMA_NO_NODE?
 * The page cache stays off devices. A small anonymous folio, which is what most
 * are, is told from others here.
 */
static inline bool device_coherent_can_hold(int nid, const struct folio *folio)
{
	unsigned long kind = (unsigned long)folio->mapping & PAGE_MAPPING_FLAGS;

	if (is_device_node(nid) &&
	    (kind != PAGE_MAPPING_ANON || folio_test_large(folio)))
		return __device_coherent_can_hold(folio);
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
	if (HAVE_DEVICE_COHERENT && reason == MR_SYSCALL && is_device_node(nid) &&
	    !folio_test_ksm(src))
		return __GFP_DEVICE_COHERENT | __GFP_NOWARN;
	return 0;
}

/*
 * Is this a folio that has to leave its place on a device, but not the device?
 * It gets another there if one is free: its owner did ask for it (invariant 1).
 */
static inline bool device_coherent_stays(const struct folio *src,
					 enum migrate_reason reason)
{
	return folio_in_zone_device_coherent(src) &&
	       (reason == MR_CONTIG_RANGE || reason == MR_MEMORY_FAILURE);
}

/* A huge page is made of one device's pages, or of system pages. */
static inline bool device_coherent_can_collapse(const u32 *node_load, int node,
						gfp_t *gfp)
{
	return !device_coherent_active() ||
	       __device_coherent_can_collapse(node_load, node, gfp);
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
	if (HAVE_DEVICE_COHERENT && unlikely(ret & VM_FAULT_ERROR) &&
	    (ret & VM_FAULT_OOM) && device_coherent_active())
		return __device_coherent_fault(mm, address, flags, ret);
	return ret;
}

/* -- Who may ask: for kernel/cgroup/cpuset.c -- */

extern bool __device_coherent_restricted;

void __device_coherent_hide(struct cpuset *cs, nodemask_t *mems);
bool __device_coherent_mems_differ(struct cpuset *cs, struct cpuset *other);
void __device_coherent_rebind_mm(struct mm_struct *mm, struct cpuset *cs);
void __device_coherent_show_mems(struct seq_file *m, struct cpuset *cs);
void __device_coherent_named(struct cpuset *cs, const struct file *file);
void __device_coherent_kthread(struct task_struct *task);
void __device_coherent_fork(struct task_struct *task);

/* Is a device node there for those only whose cpuset was given it by name? */
static inline bool device_coherent_restricted(void)
{
	return HAVE_DEVICE_COHERENT && IS_ENABLED(CONFIG_CPUSETS) &&
	       READ_ONCE(__device_coherent_restricted);
}

/* Out of what a cpuset has: the devices that it wasn't given */
static inline void device_coherent_hide(struct cpuset *cs, nodemask_t *mems)
{
	if (device_coherent_restricted())
		__device_coherent_hide(cs, mems);
}

/* Are the cpusets given different devices, though their nodes are the same? */
static inline bool device_coherent_mems_differ(struct cpuset *cs,
					       struct cpuset *other)
{
	return device_coherent_restricted() &&
	       __device_coherent_mems_differ(cs, other);
}

/* mpol_rebind_mm() to @mems, the effective ones of @cs */
static inline void device_coherent_rebind_mm(struct mm_struct *mm,
					     struct cpuset *cs,
					     nodemask_t *mems)
{
	if (device_coherent_restricted())
		__device_coherent_rebind_mm(mm, cs);
	else
		mpol_rebind_mm(mm, mems);
}

/* cpuset.mems.effective. Return: whether it is shown */
static inline bool device_coherent_show_mems(struct seq_file *m,
					     struct cpuset *cs)
{
	if (!device_coherent_restricted())
		return false;

	__device_coherent_show_mems(m, cs);
	return true;
}

/* cpuset.mems was written through @file, unless that failed. */
static inline void device_coherent_named(struct cpuset *cs,
					 const struct file *file, int err)
{
	if (HAVE_DEVICE_COHERENT && !err)
		__device_coherent_named(cs, file);
}

/* A task was told its nodes: threads of the kernel work for others, in the root. */
static inline void device_coherent_kthread(struct task_struct *task)
{
	if (device_coherent_restricted() && (task->flags & PF_KTHREAD))
		__device_coherent_kthread(task);
}

/*
 * What a new task has of its parent may be from before a switch of the mode, an
 * attachment or the arrival of a device.
 */
static inline void device_coherent_fork(struct task_struct *task)
{
	if (device_coherent_active())
		__device_coherent_fork(task);
}

/* -- Registration at boot -------------------------------------------------------- */

/* What an architecture may provide; mm/device_coherent/boot.c says what each does. */
void arch_device_coherent_claim(u64 start, u64 size, u64 piece);
void arch_device_coherent_cpu_nodes(nodemask_t *nodes);
bool arch_device_coherent_next_sp(u64 *start, u64 *size);

void __device_coherent_early_direction(void);
void __device_coherent_early_reserve(void);
void __device_coherent_numa_init(struct numa_meminfo *mi);
bool __device_coherent_wants_node(void);
bool __device_coherent_wants_memory(void);
bool __device_coherent_awaits_memory(int nid);

static __always_inline void device_coherent_early_direction(void)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_early_direction();
}

static __always_inline void device_coherent_early_reserve(void)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_early_reserve();
}

static __always_inline void device_coherent_numa_init(struct numa_meminfo *mi)
{
	if (HAVE_DEVICE_COHERENT)
		__device_coherent_numa_init(mi);
}

static __always_inline bool device_coherent_wants_node(void)
{
	return HAVE_DEVICE_COHERENT && __device_coherent_wants_node();
}

static __always_inline bool device_coherent_wants_memory(void)
{
	return HAVE_DEVICE_COHERENT && __device_coherent_wants_memory();
}

static __always_inline bool device_coherent_awaits_memory(int nid)
{
	return HAVE_DEVICE_COHERENT && __device_coherent_awaits_memory(nid);
}

#endif /* _LINUX_DEVICE_COHERENT_HOOKS_H */
