// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: memory of a device node as a dma-buf.
 *
 * A buffer doesn't move, so that whoever imports it can use it where it is
 * (invariant 6). As with other dma-bufs, mappings are of page frames: nobody
 * takes a reference to one of its pages that could outlive the buffer.
 */

#include <linux/bsearch.h>
#include <linux/cpuset.h>
#include <linux/device_coherent.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/highmem.h>
#include <linux/iosys-map.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pfn_t.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <uapi/linux/devmem.h>

#include "devmem.h"

#define ALLOC_FLAGS	(DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_HUGE |	\
			 DEVMEM_ALLOC_EXACT)

/**
 * struct devmem_piece - physically contiguous part of a buffer
 * @page: its first page
 * @first: its place in the buffer, in pages
 * @nr_pages: its length
 */
struct devmem_piece {
	struct page *page;
	unsigned long first;
	unsigned long nr_pages;
};

/**
 * struct devmem_buffer - a buffer
 * @nid: the node it is from
 * @contig: one piece, from device_coherent_alloc_contig()
 * @nr_pages: its size
 * @nr_pieces: length of @pieces
 * @pieces: its memory, in order
 * @objcg: who is charged, or NULL
 * @lock: protects @attachments
 * @attachments: devices that use it
 */
struct devmem_buffer {
	int nid;
	bool contig;
	unsigned long nr_pages;
	unsigned long nr_pieces;
	struct devmem_piece *pieces;
	struct obj_cgroup *objcg;
	struct mutex lock;	/* protects @attachments */
	struct list_head attachments;
};

/* A device that uses a buffer; @table as long as it is @mapped */
struct devmem_attachment {
	struct list_head list;
	struct device *dev;
	struct sg_table table;
	bool mapped;
};

/* -- Charging ------------------------------------------------------------- */

#ifdef CONFIG_MEMCG
/* obj_cgroup_charge() keeps bytes in an unsigned int. */
#define CHARGE_PAGES	(SZ_1G >> PAGE_SHIFT)

static void uncharge(struct obj_cgroup *objcg, unsigned long nr_pages)
{
	while (nr_pages) {
		unsigned long nr = min(nr_pages, CHARGE_PAGES);

		obj_cgroup_uncharge(objcg, nr << PAGE_SHIFT);
		nr_pages -= nr;
	}
}

/* A group at its limit may reclaim, but kills nobody for it (invariant 4). */
static int charge(struct obj_cgroup *objcg, unsigned long nr_pages)
{
	unsigned long done, nr;

	for (done = 0; done < nr_pages; done += nr) {
		nr = min(nr_pages - done, CHARGE_PAGES);
		if (obj_cgroup_charge(objcg, GFP_KERNEL | __GFP_RETRY_MAYFAIL,
				      nr << PAGE_SHIFT)) {
			uncharge(objcg, done);
			return -ENOMEM;
		}
	}

	return 0;
}

static int charge_buffer(struct devmem_buffer *buf)
{
	int err = 0;

	buf->objcg = get_obj_cgroup_from_current();
	if (buf->objcg)
		err = charge(buf->objcg, buf->nr_pages);
	if (err) {
		obj_cgroup_put(buf->objcg);
		buf->objcg = NULL;
	}

	return err;
}

static void uncharge_buffer(struct devmem_buffer *buf)
{
	if (!buf->objcg)
		return;

	uncharge(buf->objcg, buf->nr_pages);
	obj_cgroup_put(buf->objcg);
	buf->objcg = NULL;
}
#else
static int charge_buffer(struct devmem_buffer *buf)
{
	return 0;
}

static void uncharge_buffer(struct devmem_buffer *buf)
{
}
#endif

/* -- Memory --------------------------------------------------------------- */

/* Until its array of pieces is made, a buffer's pages are on a list. */
static void add_page(struct list_head *pages, struct page *page,
		     unsigned int order)
{
	set_page_private(page, order);
	list_add_tail(&page->lru, pages);
}

static unsigned int take_page(struct page *page)
{
	unsigned int order = page_private(page);

	list_del(&page->lru);
	set_page_private(page, 0);

	return order;
}

static void free_pages_list(struct list_head *pages)
{
	struct page *page, *tmp;

	list_for_each_entry_safe(page, tmp, pages, lru)
		device_coherent_free_pages(page, take_page(page));
}

/* The largest pages that there are, down to @min_order; returns how many */
static long alloc_pages_list(struct devmem_buffer *buf, unsigned int min_order,
			     struct list_head *pages)
{
	unsigned long left = buf->nr_pages, nr = 0;
	unsigned int order = HPAGE_PMD_ORDER;
	struct page *page;

	while (left) {
		gfp_t gfp = GFP_KERNEL | __GFP_ZERO;

		if (fatal_signal_pending(current))
			return -EINTR;

		/* Nobody gives way for a large page if small ones do, too. */
		order = min_t(unsigned int, order, ilog2(left));
		if (order > min_order)
			gfp |= __GFP_NORETRY;
		page = device_coherent_alloc_pages(buf->nid, gfp, order);
		if (page) {
			add_page(pages, page, order);
			left -= 1UL << order;
			nr++;
		} else if (order > min_order) {
			order--;
		} else {
			return -ENOMEM;
		}
		cond_resched();
	}

	return nr;
}

/* From the list to the array */
static void list_to_pieces(struct devmem_buffer *buf, struct list_head *pages)
{
	struct devmem_piece *piece = buf->pieces;
	unsigned long first = 0;
	struct page *page, *tmp;

	list_for_each_entry_safe(page, tmp, pages, lru) {
		piece->page = page;
		piece->first = first;
		piece->nr_pages = 1UL << take_page(page);
		first += piece->nr_pages;
		piece++;
	}
}

static int fill_scattered(struct devmem_buffer *buf, unsigned int min_order)
{
	LIST_HEAD(pages);
	long nr;

	nr = alloc_pages_list(buf, min_order, &pages);
	if (nr > 0)
		buf->pieces = kvmalloc_array(nr, sizeof(*buf->pieces),
					     GFP_KERNEL_ACCOUNT);
	if (!buf->pieces) {
		free_pages_list(&pages);
		return nr < 0 ? nr : -ENOMEM;
	}

	buf->nr_pieces = nr;
	list_to_pieces(buf, &pages);

	return 0;
}

/* In steps that a fatal signal can end: it may be a lot. */
static int clear_pages(struct page *page, unsigned long nr_pages)
{
	unsigned long i;

	for (i = 0; i < nr_pages; i++) {
		if (i % HPAGE_PMD_NR == 0 && fatal_signal_pending(current))
			return -EINTR;
		clear_highpage(nth_page(page, i));
		cond_resched();
	}

	return 0;
}

static int fill_contig(struct devmem_buffer *buf, unsigned long align)
{
	struct page *page;
	int err;

	buf->pieces = kmalloc(sizeof(*buf->pieces), GFP_KERNEL_ACCOUNT);
	if (!buf->pieces)
		return -ENOMEM;

	err = device_coherent_get_contig(buf->nid, GFP_KERNEL, buf->nr_pages,
					 align, &page);
	if (err)
		goto out_pieces;

	err = clear_pages(page, buf->nr_pages);
	if (err)
		goto out_pages;

	buf->contig = true;
	buf->nr_pieces = 1;
	buf->pieces[0] = (struct devmem_piece){ page, 0, buf->nr_pages };

	return 0;

out_pages:
	device_coherent_free_contig(page, buf->nr_pages);
out_pieces:
	kfree(buf->pieces);
	buf->pieces = NULL;

	return err;
}

static void empty_buffer(struct devmem_buffer *buf)
{
	unsigned long i;

	if (buf->contig) {
		device_coherent_free_contig(buf->pieces[0].page, buf->nr_pages);
	} else {
		for (i = 0; i < buf->nr_pieces; i++)
			device_coherent_free_pages(buf->pieces[i].page,
						   ilog2(buf->pieces[i].nr_pages));
	}
	kvfree(buf->pieces);
}

static void free_buffer(struct devmem_buffer *buf)
{
	empty_buffer(buf);
	uncharge_buffer(buf);
	mutex_destroy(&buf->lock);
	kfree(buf);
}

static int fill_as(struct devmem_buffer *buf, const struct devmem_alloc *how)
{
	bool huge = how->flags & DEVMEM_ALLOC_HUGE;
	unsigned long align;

	if (!(how->flags & DEVMEM_ALLOC_CONTIG))
		return fill_scattered(buf, huge ? HPAGE_PMD_ORDER : 0);

	align = max_t(unsigned long, how->align >> PAGE_SHIFT,
		      huge ? HPAGE_PMD_NR : 1);

	return fill_contig(buf, align);
}

static int fill_from(struct devmem_buffer *buf, int nid,
		     const struct devmem_alloc *how)
{
	struct zone *zone = device_coherent_hotplug_zone(nid);
	int err;

	if (!zone)
		return -ENODEV;
	/* Nobody's memory is reclaimed for what can't be had. */
	if (buf->nr_pages > zone_managed_pages(zone))
		return -ENOMEM;

	err = charge_buffer(buf);
	if (err)
		return err;

	buf->nid = nid;
	err = fill_as(buf, how);
	if (err)
		uncharge_buffer(buf);

	return err;
}

/* The nearest to @from of the nodes in @left, which it is taken from */
static int next_nearest(int from, nodemask_t *left)
{
	int nid, best = NUMA_NO_NODE;

	for_each_node_mask(nid, *left)
		if (best == NUMA_NO_NODE ||
		    node_distance(from, nid) < node_distance(from, best))
			best = nid;
	if (best != NUMA_NO_NODE)
		node_clear(best, *left);

	return best;
}

/* The named node; unless that is all that is wanted, others as near as can be */
static int fill_buffer(struct devmem_buffer *buf, const struct devmem_alloc *how)
{
	nodemask_t left = cpuset_mems_allowed(current);
	int err, nid, from = how->node;

	nodes_and(left, left, node_states[N_DEVICE_COHERENT]);
	if (from == DEVMEM_NODE_NEAREST)
		from = numa_node_id();
	else if (!node_is_device_coherent(from) || !node_state(from, N_MEMORY))
		return -ENODEV;
	else if (!node_isset(from, left))
		return -EACCES;
	else if (how->flags & DEVMEM_ALLOC_EXACT)
		return fill_from(buf, from, how);

	err = nodes_empty(node_states[N_DEVICE_COHERENT]) ? -ENODEV : -EACCES;
	while ((nid = next_nearest(from, &left)) != NUMA_NO_NODE) {
		err = fill_from(buf, nid, how);
		if (err != -ENOMEM)
			break;
	}

	return err;
}

/* -- Mapping by processes ------------------------------------------------- */

static int compare_piece(const void *key, const void *entry)
{
	const unsigned long *index = key;
	const struct devmem_piece *piece = entry;

	if (*index < piece->first)
		return -1;

	return *index >= piece->first + piece->nr_pages;
}

/* The piece that has a page of the buffer; NULL behind its end */
static struct devmem_piece *piece_of(struct devmem_buffer *buf,
				     unsigned long index)
{
	return bsearch(&index, buf->pieces, buf->nr_pieces,
		       sizeof(*buf->pieces), compare_piece);
}

static vm_fault_t buffer_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct devmem_buffer *buf = vma->vm_private_data;
	struct devmem_piece *piece = piece_of(buf, vmf->pgoff);

	if (!piece)
		return VM_FAULT_SIGBUS;

	return vmf_insert_pfn(vma, vmf->address, page_to_pfn(piece->page) +
						 (vmf->pgoff - piece->first));
}

#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
/* Where the mapping and the memory are aligned, and one piece throughout */
static vm_fault_t buffer_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	struct devmem_buffer *buf = vma->vm_private_data;
	unsigned long addr = ALIGN_DOWN(vmf->address, PMD_SIZE);
	unsigned long before = (vmf->address - addr) >> PAGE_SHIFT;
	struct devmem_piece *piece;
	unsigned long pfn, first;

	if (order != PMD_ORDER || addr < vma->vm_start ||
	    addr + PMD_SIZE > vma->vm_end || vmf->pgoff < before)
		return VM_FAULT_FALLBACK;

	first = vmf->pgoff - before;
	piece = piece_of(buf, first);
	if (!piece || first + HPAGE_PMD_NR > piece->first + piece->nr_pages)
		return VM_FAULT_FALLBACK;

	pfn = page_to_pfn(piece->page) + (first - piece->first);
	if (!IS_ALIGNED(pfn, HPAGE_PMD_NR))
		return VM_FAULT_FALLBACK;

	return vmf_insert_pfn_pmd(vmf, pfn_to_pfn_t(pfn),
				  vmf->flags & FAULT_FLAG_WRITE);
}
#endif

static const struct vm_operations_struct buffer_vm_ops = {
	.fault = buffer_fault,
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	.huge_fault = buffer_huge_fault,
#endif
};

static int buffer_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	/* A private copy would be system memory, without telling. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	vma->vm_ops = &buffer_vm_ops;
	vma->vm_private_data = dmabuf->priv;
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);

	return 0;
}

/* -- Use by devices and by the kernel ------------------------------------- */

static int buffer_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *at)
{
	struct devmem_buffer *buf = dmabuf->priv;
	struct devmem_attachment *a;

	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return -ENOMEM;

	a->dev = at->dev;
	at->priv = a;
	mutex_lock(&buf->lock);
	list_add(&a->list, &buf->attachments);
	mutex_unlock(&buf->lock);

	return 0;
}

static void buffer_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *at)
{
	struct devmem_buffer *buf = dmabuf->priv;
	struct devmem_attachment *a = at->priv;

	mutex_lock(&buf->lock);
	list_del(&a->list);
	mutex_unlock(&buf->lock);
	kfree(a);
}

/* Pieces may be larger than what a device takes, or an sg entry can say. */
static int fill_table(struct devmem_buffer *buf, struct sg_table *table,
		      unsigned long max)
{
	unsigned long i, done, nents = 0;
	struct scatterlist *sg;
	int err;

	for (i = 0; i < buf->nr_pieces; i++)
		nents += DIV_ROUND_UP(buf->pieces[i].nr_pages, max);
	if (nents > UINT_MAX)
		return -EOVERFLOW;
	err = sg_alloc_table(table, nents, GFP_KERNEL);
	if (err)
		return err;

	sg = table->sgl;
	for (i = 0; i < buf->nr_pieces; i++) {
		struct devmem_piece *piece = &buf->pieces[i];

		for (done = 0; done < piece->nr_pages; done += max) {
			sg_set_page(sg, nth_page(piece->page, done),
				    min(max, piece->nr_pages - done) << PAGE_SHIFT,
				    0);
			sg = sg_next(sg);
		}
	}

	return 0;
}

static struct sg_table *buffer_map(struct dma_buf_attachment *at,
				   enum dma_data_direction dir)
{
	struct devmem_buffer *buf = at->dmabuf->priv;
	struct devmem_attachment *a = at->priv;
	unsigned long max;
	int err;

	max = min_t(unsigned long, dma_get_max_seg_size(a->dev), SZ_1G);
	err = fill_table(buf, &a->table, max(max >> PAGE_SHIFT, 1UL));
	if (err)
		return ERR_PTR(err);

	err = dma_map_sgtable(a->dev, &a->table, dir, 0);
	if (err) {
		sg_free_table(&a->table);
		return ERR_PTR(err);
	}

	mutex_lock(&buf->lock);
	a->mapped = true;
	mutex_unlock(&buf->lock);

	return &a->table;
}

static void buffer_unmap(struct dma_buf_attachment *at, struct sg_table *table,
			 enum dma_data_direction dir)
{
	struct devmem_buffer *buf = at->dmabuf->priv;
	struct devmem_attachment *a = at->priv;

	mutex_lock(&buf->lock);
	a->mapped = false;
	mutex_unlock(&buf->lock);
	dma_unmap_sgtable(a->dev, table, dir, 0);
	sg_free_table(table);
}

/* The memory is coherent, but a device may see it through bounce buffers. */
static int buffer_begin_access(struct dma_buf *dmabuf,
			       enum dma_data_direction dir)
{
	struct devmem_buffer *buf = dmabuf->priv;
	struct devmem_attachment *a;

	mutex_lock(&buf->lock);
	list_for_each_entry(a, &buf->attachments, list)
		if (a->mapped)
			dma_sync_sgtable_for_cpu(a->dev, &a->table, dir);
	mutex_unlock(&buf->lock);

	return 0;
}

static int buffer_end_access(struct dma_buf *dmabuf,
			     enum dma_data_direction dir)
{
	struct devmem_buffer *buf = dmabuf->priv;
	struct devmem_attachment *a;

	mutex_lock(&buf->lock);
	list_for_each_entry(a, &buf->attachments, list)
		if (a->mapped)
			dma_sync_sgtable_for_device(a->dev, &a->table, dir);
	mutex_unlock(&buf->lock);

	return 0;
}

static void *map_pieces(struct devmem_buffer *buf)
{
	unsigned long i, j, n = 0;
	struct page **pages;
	void *vaddr;

	pages = kvmalloc_array(buf->nr_pages, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return NULL;

	for (i = 0; i < buf->nr_pieces; i++)
		for (j = 0; j < buf->pieces[i].nr_pages; j++)
			pages[n++] = nth_page(buf->pieces[i].page, j);
	vaddr = vmap(pages, buf->nr_pages, VM_MAP, PAGE_KERNEL);
	kvfree(pages);

	return vaddr;
}

static int buffer_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct devmem_buffer *buf = dmabuf->priv;
	void *vaddr;

	dma_resv_assert_held(dmabuf->resv);

	if (buf->nr_pieces == 1 && !PageHighMem(buf->pieces[0].page))
		vaddr = page_address(buf->pieces[0].page);
	else
		vaddr = map_pieces(buf);
	if (!vaddr)
		return -ENOMEM;

	iosys_map_set_vaddr(map, vaddr);

	return 0;
}

static void buffer_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	dma_resv_assert_held(dmabuf->resv);

	if (is_vmalloc_addr(map->vaddr))
		vunmap(map->vaddr);
}

static void buffer_release(struct dma_buf *dmabuf)
{
	free_buffer(dmabuf->priv);
}

static const struct dma_buf_ops buffer_ops = {
	.attach = buffer_attach,
	.detach = buffer_detach,
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.begin_cpu_access = buffer_begin_access,
	.end_cpu_access = buffer_end_access,
	.mmap = buffer_mmap,
	.vmap = buffer_vmap,
	.vunmap = buffer_vunmap,
	.release = buffer_release,
};

/* -- Making one ----------------------------------------------------------- */

static int check_alloc(const struct devmem_alloc *how)
{
	u32 access = how->fd_flags & O_ACCMODE;
	u64 unit = how->flags & DEVMEM_ALLOC_HUGE ? PMD_SIZE : PAGE_SIZE;

	if (how->flags & ~ALLOC_FLAGS ||
	    how->fd_flags & ~(O_CLOEXEC | O_ACCMODE) ||
	    (access != O_RDONLY && access != O_RDWR))
		return -EINVAL;
	if (!how->size || !IS_ALIGNED(how->size, unit))
		return -EINVAL;
	if (how->node == DEVMEM_NODE_NEAREST && how->flags & DEVMEM_ALLOC_EXACT)
		return -EINVAL;
	if (how->align && (!is_power_of_2(how->align) ||
			   !(how->flags & DEVMEM_ALLOC_CONTIG)))
		return -EINVAL;

	return 0;
}

static struct devmem_buffer *alloc_buffer(const struct devmem_alloc *how)
{
	struct devmem_buffer *buf;
	int err;

	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return ERR_PTR(-ENOMEM);

	mutex_init(&buf->lock);
	INIT_LIST_HEAD(&buf->attachments);
	buf->nr_pages = how->size >> PAGE_SHIFT;

	err = fill_buffer(buf, how);
	if (err) {
		mutex_destroy(&buf->lock);
		kfree(buf);
		return ERR_PTR(err);
	}

	return buf;
}

/**
 * devmem_buffer - allocate device memory as a dma-buf
 * @how: how much, where, and of which kind
 * @nid: where it is
 *
 * Context: Process context, sleeps. A fatal signal ends it early.
 * Return: the dma-buf, to be dropped with dma_buf_put(), or an ERR_PTR; see
 * Documentation/userspace-api/devmem.rst.
 */
struct dma_buf *devmem_buffer(const struct devmem_alloc *how, int *nid)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct devmem_buffer *buf;
	struct dma_buf *dmabuf;
	int err;

	err = check_alloc(how);
	if (err)
		return ERR_PTR(err);

	buf = alloc_buffer(how);
	if (IS_ERR(buf))
		return ERR_CAST(buf);

	info.exp_name = "devmem";
	info.ops = &buffer_ops;
	info.size = how->size;
	info.flags = how->fd_flags & O_ACCMODE;
	info.priv = buf;
	*nid = buf->nid;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		free_buffer(buf);

	return dmabuf;
}
