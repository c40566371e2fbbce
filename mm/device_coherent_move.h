/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages that change their place while the page table is locked: between
 * mm/device_coherent_move.c, which does it, and mm/device_coherent_range.c.
 */
#ifndef _MM_DEVICE_COHERENT_MOVE_H
#define _MM_DEVICE_COHERENT_MOVE_H

#include <linux/mm_types.h>
#include <linux/nodemask.h>
#include <linux/pagevec.h>

/* So many pages are copied under one lock: as long as others may wait */
#define DEVICE_COHERENT_MOVE_PAGES	PAGEVEC_SIZE

struct device_coherent_mover;

struct device_coherent_mover *device_coherent_mover_start(int nid,
							  nodemask_t *allowed);
void device_coherent_mover_drain(struct device_coherent_mover *mover);
void device_coherent_mover_end(struct device_coherent_mover *mover);
unsigned long device_coherent_move_ptes(struct device_coherent_mover *mover,
					struct vm_area_struct *vma, pmd_t *pmd,
					unsigned long addr, unsigned long end);
int device_coherent_nearest_system_node(int nid);

#endif /* _MM_DEVICE_COHERENT_MOVE_H */
