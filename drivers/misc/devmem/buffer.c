// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: memory of a device node as a dma-buf.
 *
 * A buffer doesn't move, so that whoever imports it can use it where it is
 * (invariant 6). As with other dma-bufs, mappings are of page frames: nobody
 * takes a reference to one of its pages that could outlive the buffer.
 */

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/bsearch.h>
#include <linux/cgroup.h>
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
#include <linux/nsproxy.h>
#include <linux/page-flags.h>
#include <linux/pfn_t.h>
#include <linux/pgtable.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <uapi/linux/devmem.h>

#include "devmem.h"

#define ALLOC_FLAGS	(DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_HUGE |	\
			 DEVMEM_ALLOC_EXACT | DEVMEM_ALLOC_ASK)

/* Of a huge page, whether the kernel has transparent ones or not */
#define PMD_PAGES	BIT(PMD_ORDER)

/* For what is noted of a buffer: nobody is killed for it (invariant 4). */
#define GFP_NOTE	(GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
#define GFP_NOTE_ACCOUNT (GFP_NOTE | __GFP_ACCOUNT)

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

/* "devmem-node" and a number */
#define NAME_LEN	24

/**
 * struct devmem_buffer - a buffer
 * @nid: the node it is from
 * @contig: one piece, from device_coherent_alloc_contig()
 * @reason: of the first node that had no memory for it, DEVMEM_REASON_*
 * @nr_pages: its size
 * @nr_pieces: length of @pieces
 * @pieces: its memory, in order
 * @objcg: who is charged, or NULL
 * @lock: protects @attachments and what is mapped by them
 * @attachments: devices that use it
 * @name: of its node, as exporter
 */
struct devmem_buffer {
	int nid;
	bool contig;
	u32 reason;
	unsigned long nr_pages;
	unsigned long nr_pieces;
	struct devmem_piece *pieces;
	struct obj_cgroup *objcg;
	struct mutex lock;	/* protects @attachments, and their mappings */
	struct list_head attachments;
	char name[NAME_LEN];
};

/* A device that uses a buffer */
struct devmem_attachment {
	struct list_head list;
	struct device *dev;
	struct list_head mappings;
};

/* As it is mapped for a device: each time by a table of its own */
struct devmem_mapping {
	struct list_head list;
	struct sg_table table;
	enum dma_data_direction dir;
};

/* Pages of each node that are in buffers */
static atomic_long_t buffer_pages[MAX_NUMNODES];

/**
 * devmem_buffer_pages - how much of a node is in buffers?
 * @nid: the device node
 *
 * Context: Any.
 * Return: pages.
 */
unsigned long devmem_buffer_pages(int nid)
{
	return max(atomic_long_read(&buffer_pages[nid]), 0L);
}

static int no_memory(struct devmem_buffer *buf, u32 reason)
{
	if (!buf->reason)
		buf->reason = reason;

	return -ENOMEM;
}

/* -- Charging ------------------------------------------------------------- */

#ifdef CONFIG_MEMCG
/* obj_cgroup_uncharge() keeps bytes in an unsigned int. */
#define UNCHARGE_PAGES	(SZ_1G >> PAGE_SHIFT)

static void uncharge(struct obj_cgroup *objcg, unsigned long nr_pages)
{
	while (nr_pages) {
		unsigned long nr = min(nr_pages, UNCHARGE_PAGES);

		obj_cgroup_uncharge(objcg, nr << PAGE_SHIFT);
		nr_pages -= nr;
	}
}

/*
 * By pieces, so that a group at its limit reclaims no more than what is needed
 * next, and a signal ends it. Nobody is killed for it (invariant 4).
 */
static int charge(struct obj_cgroup *objcg, unsigned long nr_pages)
{
	unsigned long done, nr;
	int err = 0;

	for (done = 0; done < nr_pages; done += nr) {
		nr = min(nr_pages - done, PMD_PAGES);
		if (signal_pending(current))
			err = -EINTR;
		else if (obj_cgroup_charge(objcg, GFP_NOTE, nr << PAGE_SHIFT))
			err = -ENOMEM;
		if (err) {
			uncharge(objcg, done);
			return err;
		}
		cond_resched();
	}

	return 0;
}

static unsigned long room_of(struct page_counter *counter)
{
	unsigned long used = page_counter_read(counter);
	unsigned long max = READ_ONCE(counter->max);

	return max - min(max, used);
}

/* What reclaim could find in a group and those below it, at best */
static unsigned long reclaimable(struct mem_cgroup *memcg)
{
	unsigned long anon = memcg_page_state(memcg, NR_INACTIVE_ANON) +
			     memcg_page_state(memcg, NR_ACTIVE_ANON);
	unsigned long slab = memcg_page_state(memcg, NR_SLAB_RECLAIMABLE_B);

	return memcg_page_state(memcg, NR_INACTIVE_FILE) +
	       memcg_page_state(memcg, NR_ACTIVE_FILE) + (slab >> PAGE_SHIFT) +
	       min_t(unsigned long, anon,
		     max(mem_cgroup_get_nr_swap_pages(memcg), 0L));
}

/* Could a group be charged as much? What it can't have, nobody gives way for. */
static bool group_has_room(struct mem_cgroup *memcg, unsigned long nr_pages)
{
	unsigned long room = room_of(&memcg->memory);

	if (!cgroup_subsys_on_dfl(memory_cgrp_subsys))
		room = min(room, room_of(&memcg->memsw));
	if (room >= nr_pages)
		return true;

	mem_cgroup_flush_stats(memcg);
	/* And what CPUs have charged in advance */
	room += reclaimable(memcg) + MEMCG_CHARGE_BATCH * num_online_cpus();

	return room >= nr_pages;
}

static bool groups_have_room(struct obj_cgroup *objcg, unsigned long nr_pages)
{
	struct mem_cgroup *first, *memcg;
	bool room = true;

	first = get_mem_cgroup_from_objcg(objcg);
	for (memcg = first; memcg && !mem_cgroup_is_root(memcg) && room;
	     memcg = parent_mem_cgroup(memcg))
		room = group_has_room(memcg, nr_pages);
	css_put(&first->css);

	return room;
}

/* Before memory is taken: will the caller's group be able to have it? */
static int ask_group(struct devmem_buffer *buf)
{
	struct obj_cgroup *objcg = get_obj_cgroup_from_current();
	int err = 0;

	if (!objcg)
		return 0;
	if (!groups_have_room(objcg, buf->nr_pages))
		err = no_memory(buf, DEVMEM_REASON_GROUP);
	obj_cgroup_put(objcg);

	return err;
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

	return err == -ENOMEM ? no_memory(buf, DEVMEM_REASON_GROUP) : err;
}

static void uncharge_buffer(struct devmem_buffer *buf)
{
	if (!buf->objcg)
		return;

	uncharge(buf->objcg, buf->nr_pages);
	obj_cgroup_put(buf->objcg);
	buf->objcg = NULL;
}

/* The group's path as the reader sees it, to be freed; NULL if there is none */
static char *charged_path(const struct devmem_buffer *buf)
{
	struct mem_cgroup *memcg;
	char *path;

	if (!buf->objcg)
		return NULL;
	path = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!path)
		return NULL;

	memcg = get_mem_cgroup_from_objcg(buf->objcg);
	if (cgroup_path_ns(memcg->css.cgroup, path, PATH_MAX,
			   current->nsproxy->cgroup_ns) < 0)
		path[0] = '\0';
	css_put(&memcg->css);

	return path;
}
#else
static int ask_group(struct devmem_buffer *buf)
{
	return 0;
}

static int charge_buffer(struct devmem_buffer *buf)
{
	return 0;
}

static void uncharge_buffer(struct devmem_buffer *buf)
{
}

static char *charged_path(const struct devmem_buffer *buf)
{
	return NULL;
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

	list_for_each_entry_safe(page, tmp, pages, lru) {
		device_coherent_free_pages(page, take_page(page));
		cond_resched();
	}
}

/* The largest pages that there are, down to @min_order; returns how many */
static long alloc_pages_list(struct devmem_buffer *buf, unsigned int min_order,
			     struct list_head *pages)
{
	unsigned long left = buf->nr_pages, nr = 0;
	unsigned int order = min(PMD_ORDER, MAX_PAGE_ORDER);
	struct page *page;

	while (left) {
		gfp_t gfp = GFP_KERNEL;

		if (signal_pending(current))
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
		cond_resched();
	}
}

/* There was no room for pieces of the size that is wanted. */
static int no_room(struct devmem_buffer *buf, bool any_size)
{
	bool enough = device_coherent_nr_free(buf->nid) >= buf->nr_pages;

	return no_memory(buf, enough && !any_size ? DEVMEM_REASON_FRAGMENTED :
						    DEVMEM_REASON_FULL);
}

static int take_scattered(struct devmem_buffer *buf, unsigned int min_order)
{
	LIST_HEAD(pages);
	long nr;

	nr = alloc_pages_list(buf, min_order, &pages);
	if (nr < 0) {
		free_pages_list(&pages);
		return nr == -ENOMEM ? no_room(buf, !min_order) : nr;
	}

	buf->pieces = kvmalloc_array(nr, sizeof(*buf->pieces),
				     GFP_NOTE_ACCOUNT);
	if (!buf->pieces) {
		free_pages_list(&pages);
		return no_memory(buf, DEVMEM_REASON_SYSTEM);
	}

	buf->nr_pieces = nr;
	list_to_pieces(buf, &pages);

	return 0;
}

static int take_contig(struct devmem_buffer *buf, unsigned long align)
{
	struct page *page;
	int err;

	buf->pieces = kvmalloc(sizeof(*buf->pieces), GFP_NOTE_ACCOUNT);
	if (!buf->pieces)
		return no_memory(buf, DEVMEM_REASON_SYSTEM);

	err = device_coherent_get_contig(buf->nid, GFP_KERNEL, buf->nr_pages,
					 align, &page);
	if (err) {
		kvfree(buf->pieces);
		buf->pieces = NULL;
		if (err == -EBUSY)	/* what is in the way doesn't move */
			return no_memory(buf, DEVMEM_REASON_FRAGMENTED);
		return err == -ENOMEM ? no_room(buf, false) : err;
	}

	buf->contig = true;
	buf->nr_pieces = 1;
	buf->pieces[0] = (struct devmem_piece){ page, 0, buf->nr_pages };

	return 0;
}

/* What take_*() has taken */
static void give_back(struct devmem_buffer *buf)
{
	unsigned long i;

	if (buf->contig) {
		device_coherent_free_contig(buf->pieces[0].page, buf->nr_pages);
	} else {
		for (i = 0; i < buf->nr_pieces; i++) {
			device_coherent_free_pages(buf->pieces[i].page,
						   ilog2(buf->pieces[i].nr_pages));
			cond_resched();
		}
	}
	kvfree(buf->pieces);
	buf->pieces = NULL;
	buf->nr_pieces = 0;
	buf->contig = false;
}

static void free_buffer(struct devmem_buffer *buf)
{
	atomic_long_sub(buf->nr_pages, &buffer_pages[buf->nid]);
	give_back(buf);
	uncharge_buffer(buf);
	mutex_destroy(&buf->lock);
	kfree(buf);
}

/* In steps that a signal can end: it may be a lot. */
static int clear_piece(const struct devmem_piece *piece)
{
	unsigned long i;

	for (i = 0; i < piece->nr_pages; i++) {
		if (i % PMD_PAGES == 0 && signal_pending(current))
			return -EINTR;
		clear_highpage(nth_page(piece->page, i));
		cond_resched();
	}

	return 0;
}

static int clear_pieces(const struct devmem_buffer *buf)
{
	unsigned long i;
	int err = 0;

	for (i = 0; i < buf->nr_pieces && !err; i++)
		err = clear_piece(&buf->pieces[i]);

	return err;
}

static unsigned int smallest_order(const struct devmem_alloc *how)
{
	return how->flags & DEVMEM_ALLOC_HUGE ? PMD_ORDER : 0;
}

static int take(struct devmem_buffer *buf, const struct devmem_alloc *how)
{
	unsigned long align = how->align >> PAGE_SHIFT;

	if (!(how->flags & DEVMEM_ALLOC_CONTIG))
		return take_scattered(buf, smallest_order(how));

	return take_contig(buf, max(align, 1UL << smallest_order(how)));
}

/* Pages of a node that processes have on LRU lists */
static unsigned long lru_pages(int nid)
{
	unsigned long nr_pages = 0;
	int lru;

	for_each_lru(lru)
		nr_pages += devmem_counter(nid, NR_LRU_BASE + lru);

	return nr_pages;
}

/*
 * Of those, what the allocator takes back before a request fails: what nobody
 * maps (the rest of huge pages, swap cache) and what was lazily freed, the only
 * pages of a device on the lists of files.
 */
static unsigned long given_back(int nid)
{
	unsigned long used = devmem_counter(nid, NR_ANON_MAPPED) +
			     devmem_counter(nid, NR_SHMEM);
	unsigned long on_lists = lru_pages(nid);

	return on_lists - min(on_lists, used) +
	       devmem_counter(nid, NR_INACTIVE_FILE) +
	       devmem_counter(nid, NR_ACTIVE_FILE);
}

/* Could a node have as much free, at best, with the lists of CPUs drained? */
static bool could_be_free(int nid, unsigned long nr_pages)
{
	unsigned long nr_free = device_coherent_nr_free(nid);

	if (nr_pages <= nr_free)
		return true;

	lru_add_drain_all();
	nr_free = device_coherent_nr_free(nid);
	nr_free += device_coherent_makes_room(nid) ? lru_pages(nid) :
						     given_back(nid);

	return nr_pages <= nr_free;
}

/*
 * Nobody's memory is reclaimed for what can't be had (invariant 4). So the
 * memory comes first, when node and group look as if it could be had; it is
 * charged when it is there, and then takes its time to be cleared.
 */
static int fill(struct devmem_buffer *buf, const struct devmem_alloc *how)
{
	int err;

	err = take(buf, how);
	if (err)
		return err;

	err = charge_buffer(buf);
	if (err)
		goto out_take;

	err = clear_pieces(buf);
	if (err)
		goto out_charge;

	atomic_long_add(buf->nr_pages, &buffer_pages[buf->nid]);

	return 0;

out_charge:
	uncharge_buffer(buf);
out_take:
	give_back(buf);

	return err;
}

/* -- Only asking ---------------------------------------------------------- */

/* Free memory in pieces of a size or larger */
static unsigned long free_in_pieces(struct zone *zone, unsigned int order)
{
	unsigned long nr_pages = 0;

	for (; order <= MAX_PAGE_ORDER; order++)
		nr_pages += READ_ONCE(zone->free_area[order].nr_free) << order;

	return nr_pages;
}

static int ask(struct devmem_buffer *buf, struct zone *zone,
	       const struct devmem_alloc *how)
{
	unsigned long nr_pages = buf->nr_pages;

	if (how->flags & DEVMEM_ALLOC_CONTIG) {
		nr_pages = device_coherent_largest_run(buf->nid, true);
	} else if (how->flags & DEVMEM_ALLOC_HUGE) {
		drain_all_pages(zone);
		nr_pages = free_in_pieces(zone, smallest_order(how));
	}
	if (signal_pending(current))
		return -EINTR;

	return nr_pages < buf->nr_pages ? no_room(buf, false) : 0;
}

/* -- Which node ----------------------------------------------------------- */

/* What shows without taking anything from anybody */
static int ask_node(struct devmem_buffer *buf, struct zone *zone, bool contig)
{
	unsigned long size = zone_managed_pages(zone);

	if (buf->nr_pages > size)
		return no_memory(buf, DEVMEM_REASON_TOO_LARGE);
	/* What can't be moved away, whatever else can be */
	if (buf->nr_pages > size - min(size, devmem_buffer_pages(buf->nid)))
		return no_memory(buf, DEVMEM_REASON_FULL);
	if (!contig && !could_be_free(buf->nid, buf->nr_pages))
		return no_memory(buf, DEVMEM_REASON_FULL);

	return 0;
}

static int fill_from(struct devmem_buffer *buf, int nid,
		     const struct devmem_alloc *how)
{
	struct zone *zone = device_coherent_zone(nid);
	int err;

	if (!zone)
		return -ENODEV;

	buf->nid = nid;
	err = ask_node(buf, zone, how->flags & DEVMEM_ALLOC_CONTIG);
	if (!err)
		err = ask_group(buf);
	if (err)
		return err;

	return how->flags & DEVMEM_ALLOC_ASK ? ask(buf, zone, how) :
					       fill(buf, how);
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
	int err, ret, nid, from = how->node;

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
		ret = fill_from(buf, nid, how);
		/* One that has just gone is none; others may have memory. */
		if (ret != -ENODEV || err != -ENOMEM)
			err = ret;
		if (ret != -ENOMEM && ret != -ENODEV)
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

/* A page of the buffer; NULL behind its end */
static struct page *page_of(struct devmem_buffer *buf, unsigned long index)
{
	struct devmem_piece *piece = piece_of(buf, index);

	return piece ? nth_page(piece->page, index - piece->first) : NULL;
}

static vm_fault_t buffer_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct page *page = page_of(vma->vm_private_data, vmf->pgoff);

	if (!page)
		return VM_FAULT_SIGBUS;
	if (PageHWPoison(page))
		return VM_FAULT_HWPOISON;

	return vmf_insert_pfn(vma, vmf->address, page_to_pfn(page));
}

#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
/* What is broken isn't mapped, and of a huge page by no huge mapping either. */
static bool has_broken_page(unsigned long pfn, unsigned long nr_pages)
{
	unsigned long end = pfn + nr_pages;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return false;
	for (; pfn < end; pfn++)
		if (PageHWPoison(pfn_to_page(pfn)))
			return true;

	return false;
}

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
	if (!piece || first + PMD_PAGES > piece->first + piece->nr_pages)
		return VM_FAULT_FALLBACK;

	pfn = page_to_pfn(piece->page) + (first - piece->first);
	if (!IS_ALIGNED(pfn, PMD_PAGES) || has_broken_page(pfn, PMD_PAGES))
		return VM_FAULT_FALLBACK;

	return vmf_insert_pfn_pmd(vmf, pfn_to_pfn_t(pfn),
				  vmf->flags & FAULT_FLAG_WRITE);
}
#endif

/* For ptrace() and /proc/PID/mem, which take no references to its pages */
static int buffer_access(struct vm_area_struct *vma, unsigned long addr,
			 void *data, int len, int write)
{
	unsigned long offset = addr - vma->vm_start +
			       (vma->vm_pgoff << PAGE_SHIFT);
	unsigned long in_page = offset_in_page(offset);
	struct page *page = page_of(vma->vm_private_data, offset >> PAGE_SHIFT);

	if (!page || PageHWPoison(page) ||
	    !(vma->vm_flags & (write ? VM_WRITE : VM_MAYREAD)))
		return -EFAULT;

	len = min_t(unsigned long, len, PAGE_SIZE - in_page);
	if (write)
		memcpy_to_page(page, in_page, data, len);
	else
		memcpy_from_page(data, page, in_page, len);

	return len;
}

static const struct vm_operations_struct buffer_vm_ops = {
	.fault = buffer_fault,
	.access = buffer_access,
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

	INIT_LIST_HEAD(&a->mappings);
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
		cond_resched();
	}

	return 0;
}

/* The longest piece, in pages, that a device and the way to it can take */
static unsigned long longest_segment(struct device *dev)
{
	size_t max = min_t(size_t, dma_get_max_seg_size(dev), SZ_1G);
	size_t mapped = dma_max_mapping_size(dev);

	if (mapped)
		max = min(max, mapped);

	return max(max >> PAGE_SHIFT, 1UL);
}

static struct sg_table *buffer_map(struct dma_buf_attachment *at,
				   enum dma_data_direction dir)
{
	struct devmem_buffer *buf = at->dmabuf->priv;
	struct devmem_attachment *a = at->priv;
	struct devmem_mapping *m;
	int err;

	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return ERR_PTR(-ENOMEM);

	err = fill_table(buf, &m->table, longest_segment(a->dev));
	if (err)
		goto out_mapping;

	err = dma_map_sgtable(a->dev, &m->table, dir, 0);
	if (err)
		goto out_table;

	m->dir = dir;
	mutex_lock(&buf->lock);
	list_add(&m->list, &a->mappings);
	mutex_unlock(&buf->lock);

	return &m->table;

out_table:
	sg_free_table(&m->table);
out_mapping:
	kfree(m);

	return ERR_PTR(err);
}

static void buffer_unmap(struct dma_buf_attachment *at, struct sg_table *table,
			 enum dma_data_direction dir)
{
	struct devmem_mapping *m = container_of(table, struct devmem_mapping,
						table);
	struct devmem_buffer *buf = at->dmabuf->priv;
	struct devmem_attachment *a = at->priv;

	mutex_lock(&buf->lock);
	list_del(&m->list);
	mutex_unlock(&buf->lock);
	dma_unmap_sgtable(a->dev, table, dir, 0);
	sg_free_table(table);
	kfree(m);
}

/*
 * The memory is coherent, but a device may see it through bounce buffers. A
 * mapping for one direction knows no other.
 */
static void sync_mappings(struct devmem_buffer *buf,
			  enum dma_data_direction dir,
			  void (*sync)(struct device *dev,
				       struct sg_table *table,
				       enum dma_data_direction dir))
{
	struct devmem_attachment *a;
	struct devmem_mapping *m;

	mutex_lock(&buf->lock);
	list_for_each_entry(a, &buf->attachments, list)
		list_for_each_entry(m, &a->mappings, list)
			sync(a->dev, &m->table,
			     m->dir == DMA_BIDIRECTIONAL ? dir : m->dir);
	mutex_unlock(&buf->lock);
}

static int buffer_begin_access(struct dma_buf *dmabuf,
			       enum dma_data_direction dir)
{
	/*
	 * Whoever only writes, too, finds what the device has written: what he
	 * leaves alone goes back over it.
	 */
	sync_mappings(dmabuf->priv, DMA_BIDIRECTIONAL,
		      dma_sync_sgtable_for_cpu);

	return 0;
}

static int buffer_end_access(struct dma_buf *dmabuf,
			     enum dma_data_direction dir)
{
	sync_mappings(dmabuf->priv, dir, dma_sync_sgtable_for_device);

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

	for (i = 0; i < buf->nr_pieces; i++) {
		for (j = 0; j < buf->pieces[i].nr_pages; j++)
			pages[n++] = nth_page(buf->pieces[i].page, j);
		cond_resched();
	}
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

static void buffer_show_fdinfo(struct dma_buf *dmabuf, struct seq_file *m)
{
	struct devmem_buffer *buf = dmabuf->priv;
	char *path = charged_path(buf);

	seq_printf(m, "devmem-node:\t%d\n", buf->nid);
	seq_printf(m, "devmem-contiguous:\t%d\n", buf->contig);
	seq_printf(m, "devmem-pieces:\t%lu\n", buf->nr_pieces);
	if (path || !buf->objcg)
		seq_printf(m, "devmem-charged:\t%s\n", path ?: "none");
	kfree(path);
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
	.show_fdinfo = buffer_show_fdinfo,
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

/*
 * A buffer, which with DEVMEM_ALLOC_ASK has only found its node. In @how are
 * that, or the reason why not.
 */
static struct devmem_buffer *alloc_buffer(struct devmem_alloc *how)
{
	struct devmem_buffer *buf;
	int err;

	how->reason = DEVMEM_REASON_SYSTEM;
	buf = kzalloc(sizeof(*buf), GFP_NOTE_ACCOUNT);
	if (!buf)
		return ERR_PTR(-ENOMEM);

	mutex_init(&buf->lock);
	INIT_LIST_HEAD(&buf->attachments);
	buf->nr_pages = how->size >> PAGE_SHIFT;

	err = fill_buffer(buf, how);
	how->reason = buf->reason;
	if (err) {
		mutex_destroy(&buf->lock);
		kfree(buf);
		return ERR_PTR(err);
	}
	how->node = buf->nid;
	how->reason = DEVMEM_REASON_NONE;
	snprintf(buf->name, sizeof(buf->name), "devmem-node%d", buf->nid);

	return buf;
}

/*
 * So that a mapping tells what it is when no descriptor is left: /proc/PID/maps
 * shows the name. User space may give it another.
 */
static void name_buffer(struct dma_buf *dmabuf, const char *name)
{
	char *copy = kstrdup(name, GFP_KERNEL);

	/* It is on the list in debugfs already. */
	spin_lock(&dmabuf->name_lock);
	dmabuf->name = copy;
	spin_unlock(&dmabuf->name_lock);
}

/**
 * devmem_buffer - allocate device memory as a dma-buf
 * @how: how much, where, and of which kind; in it, where it is, or the reason
 *	 why there is none
 *
 * Context: Process context, sleeps. A signal ends it early.
 * Return: the dma-buf, to be dropped with dma_buf_put(), or an ERR_PTR; see
 * Documentation/userspace-api/devmem.rst.
 */
struct dma_buf *devmem_buffer(struct devmem_alloc *how)
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

	info.exp_name = buf->name;
	info.ops = &buffer_ops;
	info.size = how->size;
	info.flags = how->fd_flags & O_ACCMODE;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		how->reason = DEVMEM_REASON_SYSTEM;
		free_buffer(buf);
		return dmabuf;
	}
	name_buffer(dmabuf, buf->name);

	return dmabuf;
}

/**
 * devmem_ask - could device memory be had?
 * @how: as for devmem_buffer()
 *
 * Context: Process context, sleeps. A signal ends it early.
 * Return: 0, or the error that devmem_buffer() would return, as far as can be
 * told.
 */
int devmem_ask(struct devmem_alloc *how)
{
	struct devmem_buffer *buf;
	int err;

	err = check_alloc(how);
	if (err)
		return err;

	buf = alloc_buffer(how);
	if (IS_ERR(buf))
		return PTR_ERR(buf);

	mutex_destroy(&buf->lock);
	kfree(buf);

	return 0;
}
