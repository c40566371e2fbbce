/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/devmem: what its files share */
#ifndef _DRIVERS_MISC_DEVMEM_H
#define _DRIVERS_MISC_DEVMEM_H

#include <linux/mmzone.h>
#include <linux/types.h>

struct devmem_alloc;
struct devmem_migrate;
struct devmem_verify;
struct dma_buf;

struct dma_buf *devmem_buffer(struct devmem_alloc *how);
int devmem_ask(struct devmem_alloc *how);
unsigned long devmem_buffer_pages(int nid);
unsigned long devmem_counter(int nid, enum node_stat_item item);
int devmem_migrate(struct devmem_migrate *m);
int devmem_verify(struct devmem_verify *v);

#ifdef CONFIG_DMABUF_HEAPS
void devmem_add_heaps(int nid);
#else
static inline void devmem_add_heaps(int nid) { }
#endif

#endif /* _DRIVERS_MISC_DEVMEM_H */
