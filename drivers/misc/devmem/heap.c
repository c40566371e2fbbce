// SPDX-License-Identifier: GPL-2.0
/* Each device node as a heap in /dev/dma_heap. */

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

/* Nodes that have a heap; it stays when the node goes. */
static nodemask_t heap_nodes;
static DEFINE_MUTEX(heap_lock);

static struct dma_buf *heap_allocate(struct dma_heap *heap, unsigned long len,
				     u32 fd_flags, u64 heap_flags)
{
	struct devmem_alloc how = {
		.node = (long)dma_heap_get_drvdata(heap),
		.flags = DEVMEM_ALLOC_EXACT,
		.size = len,
		.fd_flags = fd_flags,
	};
	int nid;

	return devmem_buffer(&how, &nid);
}

static const struct dma_heap_ops devmem_heap_ops = {
	.allocate = heap_allocate,
};

static int add_heap(int nid)
{
	struct dma_heap_export_info info = {
		.ops = &devmem_heap_ops,
		.priv = (void *)(long)nid,
	};
	struct dma_heap *heap;

	info.name = kasprintf(GFP_KERNEL, "devmem-node%d", nid);
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
 * devmem_add_heap - a device node has come: have a heap for it
 * @nid: the device node
 *
 * There is no way to take a heap away. That of a node that is gone refuses
 * with ENODEV, and serves it again if it comes back.
 *
 * Context: Process context, sleeps.
 */
void devmem_add_heap(int nid)
{
	int err;

	guard(mutex)(&heap_lock);
	if (node_isset(nid, heap_nodes))
		return;

	err = add_heap(nid);
	if (err)
		pr_err("devmem: no dma-buf heap for node %d: error %d\n", nid,
		       err);
	else
		node_set(nid, heap_nodes);
}
