/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an architecture provides for device memory that is registered at boot, see
 * mm/device_coherent/boot.c. This is for one that has to do nothing.
 */
#ifndef _ASM_GENERIC_DEVICE_COHERENT_H
#define _ASM_GENERIC_DEVICE_COHERENT_H

#include <linux/types.h>

/*
 * The range has left memblock, and hotplug will add it in pieces of that size: take
 * it out of the architecture's own books, and see to it that each piece can be
 * mapped and unmapped by itself.
 */
static inline void arch_device_coherent_claim(u64 start, u64 size, u64 piece) { }

/* Has node @nid a CPU, present or not, as far as the firmware says? */
static inline bool arch_device_coherent_node_has_cpu(int nid)
{
	return false;
}

/* The first range at or above *@start that the firmware marks as special-purpose */
static inline bool arch_device_coherent_next_sp(u64 *start, u64 *size)
{
	return false;
}

#endif /* _ASM_GENERIC_DEVICE_COHERENT_H */
