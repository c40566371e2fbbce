// SPDX-License-Identifier: GPL-2.0
/*
 * Each device node as two heaps in /dev/dma_heap: for memory that may be
 * anywhere on it, and for memory that is contiguous.
 */

#include <linux/cleanup.h>
#include <linux/device_coherent.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <uapi/linux/devmem.h>

#include "devmem.h"

/* Nodes that have heaps; these stay when the node goes. */
static nodemask_t heap_nodes;
static DEFINE_MUTEX(heap_lock);

static struct dma_buf *allocate(struct dma_heap *heap, unsigned long len,
				u32 fd_flags, u32 flags)
{
	struct devmem_alloc how = {
		.node = (long)dma_heap_get_drvdata(heap),
		.flags = DEVMEM_ALLOC_EXACT | flags,
		.size = len,
		.fd_flags = fd_flags,
	};

	return devmem_buffer(&how);
}

static struct dma_buf *heap_allocate(struct dma_heap *heap, unsigned long len,
				     u32 fd_flags, u64 heap_flags)
{
	return allocate(heap, len, fd_flags, 0);
}

static struct dma_buf *contig_allocate(struct dma_heap *heap, unsigned long len,
				       u32 fd_flags, u64 heap_flags)
{
	return allocate(heap, len, fd_flags, DEVMEM_ALLOC_CONTIG);
}

static const struct dma_heap_ops heap_ops = {
	.allocate = heap_allocate,
};

static const struct dma_heap_ops contig_ops = {
	.allocate = contig_allocate,
};

static int add_heap(int nid, const char *suffix, const struct dma_heap_ops *ops)
{
	struct dma_heap_export_info info = {
		.ops = ops,
		.priv = (void *)(long)nid,
	};
	struct dma_heap *heap;

	info.name = kasprintf(GFP_KERNEL, "devmem-node%d%s", nid, suffix);
	if (!info.name)
		return -ENOMEM;

	heap = dma_heap_add(&info);
	if (IS_ERR(heap)) {
		kfree(info.name);
		return PTR_ERR(heap);
	}

	return 0;
}

/**
 * devmem_add_heaps - a device node has come: have heaps for it
 * @nid: the device node
 *
 * There is no way to take a heap away. Those of a node that is gone refuse
 * with ENODEV, and serve it again if it comes back.
 *
 * Context: Process context, sleeps.
 */
void devmem_add_heaps(int nid)
{
	int err;

	guard(mutex)(&heap_lock);
	if (node_test_and_set(nid, heap_nodes))
		return;

	err = add_heap(nid, "", &heap_ops);
	if (err)
		node_clear(nid, heap_nodes);
	else
		err = add_heap(nid, "-contig", &contig_ops);
	if (err)
		pr_err("devmem: not all dma-buf heaps for node %d: error %d\n",
		       nid, err);
}
