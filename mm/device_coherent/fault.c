// SPDX-License-Identifier: GPL-2.0
/*
 * The page fault that finds its device full (invariant 4): SIGBUS, as for a hugetlb
 * pool that is used up, and not the OOM killer; unless the page is there by now, or
 * will be in a moment.
 *
 * The fault holds its mapping's lock, or the mmap lock, and drops it before it waits
 * for anybody (VM_FAULT_RETRY). Entries are read under the page table's lock.
 */
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "internal.h"
#include "../swap.h"

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

	folio = device_coherent_alloc_allowed(GFP_HIGHUSER_MOVABLE, 0, pol, ilx,
					      first_node(pol->nodes),
					      &devices);
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
