/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages that are taken from the page table in hand and moved: between
 * mm/device_coherent_move.c, which does it, and mm/device_coherent_range.c.
 */
#ifndef _MM_DEVICE_COHERENT_MOVE_H
#define _MM_DEVICE_COHERENT_MOVE_H

#include <linux/mm_types.h>
#include <linux/nodemask.h>
#include <linux/pgtable.h>

/*
 * The walk stops when it has taken as many: four times as many as migrate_pages()
 * has in flight at a time, for a fourth of the interrupts of other CPUs. Nobody
 * waits for as many: see next_part().
 */
#define DEVICE_COHERENT_MOVE_PAGES	(4 * PTRS_PER_PTE)

struct device_coherent_mover;

struct device_coherent_mover *
device_coherent_mover_start(struct mm_struct *mm, int nid, nodemask_t *allowed,
			    unsigned long nr_pages);
void device_coherent_mover_end(struct device_coherent_mover *mover);
void device_coherent_mover_ready(struct device_coherent_mover *mover);
bool device_coherent_mover_awaited(struct device_coherent_mover *mover);
unsigned int device_coherent_mover_taken(struct device_coherent_mover *mover);
bool device_coherent_may_take(struct device_coherent_mover *mover,
			      struct vm_area_struct *vma, unsigned long addr,
			      pte_t pte);
bool device_coherent_take_at_once(struct device_coherent_mover *mover,
				  struct vm_area_struct *vma,
				  unsigned long addr, pte_t *ptep);
void device_coherent_took(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma);
void device_coherent_take(struct device_coherent_mover *mover,
			  struct vm_area_struct *vma, pmd_t *pmd,
			  unsigned long addr, unsigned long *wanted,
			  unsigned int nr);
void device_coherent_mover_flush(struct device_coherent_mover *mover);
unsigned long device_coherent_mover_run(struct device_coherent_mover *mover,
					struct list_head *failed);
int device_coherent_nearest_system_node(int nid);

#endif /* _MM_DEVICE_COHERENT_MOVE_H */
