// SPDX-License-Identifier: GPL-2.0
/*
 * How much of a task's memory is on devices, for the OOM killer (invariant 4).
 *
 * Called with the locks of the OOM killer, for every task that would be chosen:
 * nothing here sleeps, the mmap lock is tried only, and of a large task a sample
 * has to do.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/vmstat.h>

#include "internal.h"

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
