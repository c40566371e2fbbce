/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ARM64_DEVICE_COHERENT_H
#define _ASM_ARM64_DEVICE_COHERENT_H

#include <linux/types.h>

/* What they do: asm-generic/device_coherent.h */
void arch_device_coherent_claim(u64 start, u64 size, u64 piece);
bool arch_device_coherent_node_has_cpu(int nid);
bool arch_device_coherent_next_sp(u64 *start, u64 *size);

#endif /* _ASM_ARM64_DEVICE_COHERENT_H */
