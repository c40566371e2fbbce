// SPDX-License-Identifier: GPL-2.0
/*
 * Test-only interface to ZONE_DEVICE_COHERENT, for
 * tools/testing/selftests/devmem: adds and removes device memory as a driver
 * does, holds pages of a device node, imports buffers of one, gives the GFP flag
 * to allocators that must not take it, and plants the very page that the audit
 * has to find, and mirrors an address space as a device does that shares it.
 *
 * One command a line, written to <debugfs>/device_coherent_test/command; the
 * write returns the error of what the command did. "held" reports the pages
 * that are held, by the zone they really are in.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/device_coherent_hooks.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/iosys-map.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/pid.h>
#include <linux/platform_device.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define MAX_ARGS	6

struct held {
	struct list_head list;
	struct page *page;
	unsigned int order;
	unsigned int contig;	/* pages of a range, or 0 */
};

static DEFINE_MUTEX(held_lock);
static LIST_HEAD(held_pages);
static struct dentry *test_dir;

static int hold(struct page *page, unsigned int order, unsigned int contig)
{
	struct held *held = kmalloc(sizeof(*held), GFP_KERNEL);

	if (!held)
		return -ENOMEM;

	held->page = page;
	held->order = order;
	held->contig = contig;
	list_add(&held->list, &held_pages);

	return 0;
}

static void drop_all(void)
{
	struct held *held, *next;

	list_for_each_entry_safe(held, next, &held_pages, list) {
		list_del(&held->list);
		if (held->contig)
			device_coherent_free_contig(held->page, held->contig);
		else
			device_coherent_free_pages(held->page, held->order);
		kfree(held);
		cond_resched();
	}
}

static int hold_or_free(struct page *page, unsigned int order)
{
	int rc = hold(page, order, 0);

	if (rc)
		device_coherent_free_pages(page, order);

	return rc;
}

static int cmd_add(u64 *arg, int nr)
{
	return device_coherent_add(arg[0], arg[1], arg[2],
				   nr > 3 ? arg[3] : 0);
}

static int cmd_remove(u64 *arg, int nr)
{
	return device_coherent_remove(arg[0], arg[1], arg[2]);
}

/* Memory of the system's, on a node that isn't a device's */
static int cmd_plug(u64 *arg, int nr)
{
	return add_memory(arg[0], arg[1], arg[2], MHP_NONE);
}

static int cmd_unplug(u64 *arg, int nr)
{
	return offline_and_remove_memory(arg[0], arg[1]);
}

/* NID ORDER COUNT [KIND]: 0 GFP_KERNEL, 1 movable, 2 atomic */
static int cmd_alloc(u64 *arg, int nr)
{
	static const gfp_t kinds[] = {
		GFP_KERNEL, GFP_HIGHUSER_MOVABLE, GFP_ATOMIC,
	};
	gfp_t gfp = kinds[nr > 3 ? min(arg[3], ARRAY_SIZE(kinds) - 1) : 0];
	u64 i;

	for (i = 0; i < arg[2]; i++) {
		struct page *page = device_coherent_alloc_pages(arg[0], gfp,
								arg[1]);
		int rc = page ? hold_or_free(page, arg[1]) : -ENOMEM;

		if (rc)
			return rc;
		cond_resched();
	}

	return 0;
}

/* NID: order-0 pages, until there are no more */
static int cmd_fill(u64 *arg, int nr)
{
	u64 all[] = { arg[0], 0, U64_MAX };
	int rc = cmd_alloc(all, ARRAY_SIZE(all));

	return rc == -ENOMEM ? 0 : rc;
}

/* NID ORDER COUNT GFP: what a caller of the page allocator could ask for */
static int cmd_raw(u64 *arg, int nr)
{
	gfp_t gfp = (__force gfp_t)arg[3] | __GFP_NOWARN;
	u64 i;

	if (arg[0] >= MAX_NUMNODES || !node_online(arg[0]))
		return -EINVAL;

	for (i = 0; i < arg[2]; i++) {
		struct page *page = __alloc_pages_node(arg[0], gfp, arg[1]);
		int rc = page ? hold_or_free(page, arg[1]) : -ENOMEM;

		if (rc)
			return rc;
		cond_resched();
	}

	return 0;
}

/* NID: one page of the zone that nobody asked for */
static int cmd_plant(u64 *arg, int nr)
{
	struct page *page;
	unsigned long pfn;
	int rc;

	page = device_coherent_alloc_pages(arg[0], GFP_KERNEL, 0);
	if (!page)
		return -ENOMEM;
	pfn = page_to_pfn(page);
	device_coherent_free_pages(page, 0);

	rc = alloc_contig_range(pfn, pfn + 1, MIGRATE_MOVABLE, GFP_KERNEL);
	if (rc)
		return rc;
	pr_info("planted pfn %lu\n", pfn);
	rc = hold(pfn_to_page(pfn), 0, 1);
	if (rc)
		free_contig_range(pfn, 1);

	return rc;
}

/* NID PAGES ALIGN: a contiguous range */
static int cmd_contig(u64 *arg, int nr)
{
	struct page *page;
	int rc;

	if (!is_power_of_2(arg[2]))
		return -EINVAL;

	rc = device_coherent_get_contig(arg[0], GFP_KERNEL | __GFP_ZERO,
					arg[1], arg[2], &page);
	if (rc)
		return rc;
	rc = page_to_pfn(page) % arg[2] ? -ERANGE : hold(page, 0, arg[1]);
	if (rc)
		device_coherent_free_contig(page, arg[1]);

	return rc;
}

/* PID MS: as if the process were in the middle of an exec for as long */
static int cmd_exec(u64 *arg, int nr)
{
	struct pid *pid = find_get_pid(arg[0]);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	int rc;

	put_pid(pid);
	if (!task)
		return -ESRCH;

	rc = down_write_killable(&task->signal->exec_update_lock);
	if (!rc) {
		msleep(arg[1]);
		up_write(&task->signal->exec_update_lock);
	}
	put_task_struct(task);

	return rc;
}

/* NID: a page of each huge page, as long as there are whole ones */
static int cmd_comb(u64 *arg, int nr)
{
	unsigned int i, order = PMD_SHIFT - PAGE_SHIFT;
	struct page *page;
	int rc = 0;

	while (!rc) {
		page = device_coherent_alloc_pages(arg[0], GFP_KERNEL, order);
		if (!page)
			break;
		split_page(page, order);
		for (i = 1; i < 1U << order; i++)
			device_coherent_free_pages(page + i, 0);
		rc = hold_or_free(page, 0);
		cond_resched();
	}

	return rc;
}

static int cmd_free(u64 *arg, int nr)
{
	drop_all();
	return 0;
}

/* -- A device that mirrors an address space -------------------------------- */

static atomic_long_t mirror_calls;
static atomic_long_t mirror_pages;

#ifdef CONFIG_MMU_NOTIFIER
static bool mirrors;

static int mirror_invalidate(struct mmu_notifier *mn,
			     const struct mmu_notifier_range *range)
{
	atomic_long_inc(&mirror_calls);
	atomic_long_add((range->end - range->start) >> PAGE_SHIFT,
			&mirror_pages);

	return 0;
}

static const struct mmu_notifier_ops mirror_ops = {
	.invalidate_range_start = mirror_invalidate,
};

static struct mmu_notifier mirror = { .ops = &mirror_ops };

static void stop_mirror(void)
{
	if (mirrors)
		mmu_notifier_unregister(&mirror, mirror.mm);
	mirrors = false;
}

/* ON: the caller's address space; "mirrored" counts what it is told of */
static int cmd_mirror(u64 *arg, int nr)
{
	int rc;

	stop_mirror();
	atomic_long_set(&mirror_calls, 0);
	atomic_long_set(&mirror_pages, 0);
	if (!arg[0])
		return 0;
	rc = mmu_notifier_register(&mirror, current->mm);
	mirrors = !rc;

	return rc;
}
#else
static void stop_mirror(void)
{
}

static int cmd_mirror(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}
#endif

/* -- A driver that imports buffers ----------------------------------------- */

#ifdef CONFIG_DMA_SHARED_BUFFER
static void add_to_page(void *addr, u8 number)
{
	u8 *byte = addr;
	int i;

	for (i = 0; i < PAGE_SIZE; i++)
		byte[i] += number;
}

/* The pages with even numbers, where the device has them */
static int add_by_device(struct sg_table *table, size_t size, u8 number)
{
	struct sg_page_iter page_iter;
	struct sg_dma_page_iter dma_iter;
	unsigned long nr = 0;

	for_each_sgtable_page(table, &page_iter, 0)
		if (nr++ % 2 == 0)
			add_to_page(page_address(sg_page_iter_page(&page_iter)),
				    number);
	if (nr != size >> PAGE_SHIFT)
		return -ERANGE;

	/* No IOMMU, no bounce buffer: the very pages */
	for_each_sgtable_dma_page(table, &dma_iter, 0) {
		dma_addr_t addr = sg_page_iter_dma_address(&dma_iter);

		if (!page_in_zone_device_coherent(pfn_to_page(PHYS_PFN(addr))))
			return -EFAULT;
	}

	return 0;
}

/* The others, where the kernel has them */
static int add_by_kernel(struct dma_buf *dmabuf, u8 number)
{
	struct iosys_map map;
	size_t at;
	int rc;

	rc = dma_buf_vmap_unlocked(dmabuf, &map);
	if (rc)
		return rc;
	for (at = PAGE_SIZE; at < dmabuf->size; at += 2 * PAGE_SIZE)
		add_to_page(map.vaddr + at, number);
	dma_buf_vunmap_unlocked(dmabuf, &map);

	return 0;
}

static int add_to_buffer(struct dma_buf *dmabuf, struct sg_table *table,
			 u64 number)
{
	int rc;

	rc = dma_buf_begin_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (!rc)
		rc = add_by_device(table, dmabuf->size, number);
	if (!rc)
		rc = add_by_kernel(dmabuf, number);
	if (!rc)
		rc = dma_buf_end_cpu_access(dmabuf, DMA_BIDIRECTIONAL);

	return rc;
}

/* Is it contiguous, and aligned to so many bytes? */
static int look_at_buffer(struct dma_buf *dmabuf, struct sg_table *table,
			  u64 align)
{
	dma_addr_t next = sg_dma_address(table->sgl);
	struct scatterlist *sg;
	int i;

	if (!IS_ALIGNED(next, align))
		return -EDOM;
	for_each_sgtable_dma_sg(table, sg, i) {
		if (sg_dma_address(sg) != next)
			return -ERANGE;
		next += sg_dma_len(sg);
	}

	return 0;
}

/* All of it, where the device has a copy */
static int add_by_bounce(struct dma_buf *dmabuf, struct sg_table *table,
			 u64 number)
{
	struct sg_dma_page_iter iter;
	unsigned long nr = 0;

	for_each_sgtable_dma_page(table, &iter, 0) {
		phys_addr_t addr = sg_page_iter_dma_address(&iter);

		if (page_in_zone_device_coherent(pfn_to_page(PHYS_PFN(addr))))
			return -ERANGE;
		add_to_page(phys_to_virt(addr), number);
		nr++;
	}

	return nr == dmabuf->size >> PAGE_SHIFT ? 0 : -EDOM;
}

/*
 * The same by the device, and then the CPU writes the first byte and no other.
 * What it has isn't changed by somebody who reads.
 */
static int write_behind_device(struct dma_buf *dmabuf, struct sg_table *table,
			       u64 number)
{
	struct iosys_map map;
	int rc;

	rc = dma_buf_vmap_unlocked(dmabuf, &map);
	if (rc)
		return rc;
	rc = dma_buf_begin_cpu_access(dmabuf, DMA_FROM_DEVICE);
	if (!rc)
		rc = add_by_bounce(dmabuf, table, number);
	if (!rc)
		rc = dma_buf_end_cpu_access(dmabuf, DMA_FROM_DEVICE);
	if (!rc)
		rc = dma_buf_begin_cpu_access(dmabuf, DMA_TO_DEVICE);
	if (!rc) {
		*(u8 *)map.vaddr += 1;
		rc = dma_buf_end_cpu_access(dmabuf, DMA_TO_DEVICE);
	}
	dma_buf_vunmap_unlocked(dmabuf, &map);

	return rc;
}

#ifdef CONFIG_MEMORY_FAILURE
/* The hardware breaks a page of the buffer */
static int break_page(struct dma_buf *dmabuf, struct sg_table *table,
		      u64 index)
{
	struct sg_page_iter iter;
	u64 nr = 0;

	for_each_sgtable_page(table, &iter, 0) {
		struct page *page = sg_page_iter_page(&iter);

		if (nr++ != index)
			continue;
		memory_failure(page_to_pfn(page), MF_SW_SIMULATED);
		return PageHWPoison(page) ? 0 : -EBUSY;
	}

	return -EDOM;
}
#else
static int break_page(struct dma_buf *dmabuf, struct sg_table *table,
		      u64 index)
{
	return -EOPNOTSUPP;
}
#endif

/* Are so many of its pages broken? */
static int count_broken(struct dma_buf *dmabuf, struct sg_table *table,
			u64 number)
{
	struct sg_page_iter iter;

	for_each_sgtable_page(table, &iter, 0)
		if (PageHWPoison(sg_page_iter_page(&iter)) && !number--)
			return -ERANGE;

	return number ? -ERANGE : 0;
}

/* Mapped twice by one attachment; @last is unmapped first, or not */
static int map_twice(struct dma_buf *dmabuf, struct dma_buf_attachment *at,
		     bool last)
{
	struct sg_table *table[2];
	int rc;

	table[0] = dma_buf_map_attachment_unlocked(at, DMA_TO_DEVICE);
	if (IS_ERR(table[0]))
		return PTR_ERR(table[0]);
	table[1] = dma_buf_map_attachment_unlocked(at, DMA_BIDIRECTIONAL);
	rc = PTR_ERR_OR_ZERO(table[1]);
	if (!rc && table[1] == table[0]) {
		table[1] = ERR_PTR(-EEXIST);
		rc = -EEXIST;
	}
	if (!rc)
		rc = dma_buf_begin_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (!rc)
		rc = dma_buf_end_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (!IS_ERR(table[1]) && last)
		dma_buf_unmap_attachment_unlocked(at, table[1],
						  DMA_BIDIRECTIONAL);
	dma_buf_unmap_attachment_unlocked(at, table[0], DMA_TO_DEVICE);
	if (!IS_ERR(table[1]) && !last)
		dma_buf_unmap_attachment_unlocked(at, table[1],
						  DMA_BIDIRECTIONAL);

	return rc;
}

static int attach_twice(struct dma_buf *dmabuf, struct device *dev, u64 last)
{
	struct dma_buf_attachment *at = dma_buf_attach(dmabuf, dev);
	int rc;

	if (IS_ERR(at))
		return PTR_ERR(at);
	rc = map_twice(dmabuf, at, last);
	dma_buf_detach(dmabuf, at);

	return rc;
}

static int use_buffer(struct dma_buf *dmabuf, struct device *dev,
		      int (*use)(struct dma_buf *dmabuf,
				 struct sg_table *table, u64 arg), u64 arg)
{
	struct dma_buf_attachment *at = dma_buf_attach(dmabuf, dev);
	struct sg_table *table;
	int rc;

	if (IS_ERR(at))
		return PTR_ERR(at);

	table = dma_buf_map_attachment_unlocked(at, DMA_BIDIRECTIONAL);
	rc = PTR_ERR_OR_ZERO(table);
	if (!rc) {
		rc = use(dmabuf, table, arg);
		dma_buf_unmap_attachment_unlocked(at, table, DMA_BIDIRECTIONAL);
	}
	dma_buf_detach(dmabuf, at);

	return rc;
}

/* With @use NULL, it is mapped twice instead. */
static int import_buffer(int fd,
			 int (*use)(struct dma_buf *dmabuf,
				    struct sg_table *table, u64 arg), u64 arg)
{
	struct platform_device *pdev;
	struct dma_buf *dmabuf;
	int rc;

	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	pdev = platform_device_register_simple(KBUILD_MODNAME, -1, NULL, 0);
	rc = PTR_ERR_OR_ZERO(pdev);
	if (!rc) {
		/* One of those that take segments of any length */
		dma_set_max_seg_size(&pdev->dev, UINT_MAX);
		rc = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
		if (!rc && use)
			rc = use_buffer(dmabuf, &pdev->dev, use, arg);
		else if (!rc)
			rc = attach_twice(dmabuf, &pdev->dev, arg);
		platform_device_unregister(pdev);
	}
	dma_buf_put(dmabuf);

	return rc;
}

/* FD NUMBER: adds a number to each byte of the buffer */
static int cmd_import(u64 *arg, int nr)
{
	return import_buffer(arg[0], add_to_buffer, arg[1]);
}

/* FD ALIGN: succeeds if the buffer is contiguous, and aligned */
static int cmd_layout(u64 *arg, int nr)
{
	return import_buffer(arg[0], look_at_buffer, arg[1]);
}

/* FD NUMBER: adds a number likewise, of a device that only sees copies of it */
static int cmd_bounce(u64 *arg, int nr)
{
	return import_buffer(arg[0], add_by_bounce, arg[1]);
}

/* FD NUMBER: likewise, and 1 more to the first by a CPU that only writes */
static int cmd_write_behind(u64 *arg, int nr)
{
	return import_buffer(arg[0], write_behind_device, arg[1]);
}

/* FD INDEX: one of its pages breaks */
static int cmd_break(u64 *arg, int nr)
{
	return import_buffer(arg[0], break_page, arg[1]);
}

/* FD NUMBER: succeeds if as many of its pages are broken */
static int cmd_broken(u64 *arg, int nr)
{
	return import_buffer(arg[0], count_broken, arg[1]);
}

/* FD LAST: maps the buffer twice, and unmaps the last one first, or last */
static int cmd_twice(u64 *arg, int nr)
{
	return import_buffer(arg[0], NULL, arg[1]);
}

MODULE_IMPORT_NS(DMA_BUF);
#else
static int cmd_bounce(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_write_behind(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_twice(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_break(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_broken(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_import(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}

static int cmd_layout(u64 *arg, int nr)
{
	return -EOPNOTSUPP;
}
#endif

static const struct command {
	const char *name;
	int min_args;
	int (*run)(u64 *arg, int nr);
} commands[] = {
	{ "add",	3, cmd_add },
	{ "remove",	3, cmd_remove },
	{ "plug",	3, cmd_plug },
	{ "unplug",	2, cmd_unplug },
	{ "alloc",	3, cmd_alloc },
	{ "fill",	1, cmd_fill },
	{ "raw",	4, cmd_raw },
	{ "plant",	1, cmd_plant },
	{ "contig",	3, cmd_contig },
	{ "comb",	1, cmd_comb },
	{ "exec",	2, cmd_exec },
	{ "import",	2, cmd_import },
	{ "bounce",	2, cmd_bounce },
	{ "write_behind", 2, cmd_write_behind },
	{ "break",	2, cmd_break },
	{ "broken",	2, cmd_broken },
	{ "twice",	2, cmd_twice },
	{ "layout",	2, cmd_layout },
	{ "mirror",	1, cmd_mirror },
	{ "free",	0, cmd_free },
};

/* -- The flag where it doesn't belong ------------------------------------- */

static int not_on_device(const void *addr)
{
	struct page *page;

	if (!addr)
		return 0;
	page = is_vmalloc_addr(addr) ? vmalloc_to_page(addr) :
				       virt_to_page(addr);

	return page_in_zone_device_coherent(page) ? -EFAULT : 0;
}

static int misuse_kmalloc(int nid, size_t size)
{
	void *object = kmalloc_node(size, GFP_KERNEL | __GFP_DEVICE_COHERENT,
				    nid);
	int rc = not_on_device(object);

	kfree(object);

	return rc;
}

/* Enough objects for new slabs, where the flags are checked */
static int misuse_kmem_cache(int nid)
{
	struct kmem_cache *cache;
	void *object[64] = {};
	int i, rc = 0;

	cache = kmem_cache_create("device_coherent_test", 2048, 0,
				  SLAB_NO_MERGE, NULL);
	if (!cache)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(object) && !rc; i++) {
		object[i] = kmem_cache_alloc_node(cache, GFP_KERNEL |
						  __GFP_DEVICE_COHERENT, nid);
		rc = not_on_device(object[i]);
	}
	for (i = 0; i < ARRAY_SIZE(object); i++)
		if (object[i])
			kmem_cache_free(cache, object[i]);
	kmem_cache_destroy(cache);

	return rc;
}

/* Stripped of the flag, and so it succeeds */
static int misuse_vmalloc(void)
{
	void *addr = __vmalloc(SZ_64K, GFP_KERNEL | __GFP_DEVICE_COHERENT);
	int rc = addr ? not_on_device(addr) : -ENOMEM;

	vfree(addr);

	return rc;
}

static int misuse_percpu(void)
{
	void __percpu *addr = __alloc_percpu_gfp(SZ_1K, 8, GFP_KERNEL |
						 __GFP_DEVICE_COHERENT);
	int cpu, rc = 0;

	if (!addr)
		return 0;
	for_each_possible_cpu(cpu)
		if (!rc)
			rc = not_on_device(per_cpu_ptr(addr, cpu));
	free_percpu(addr);

	return rc;
}

/* Must come back with nothing instead of looping for ever */
static int misuse_nofail(int nid)
{
	struct page *page;

	page = __alloc_pages_node(nid, GFP_KERNEL | __GFP_NOFAIL |
				  __GFP_DEVICE_COHERENT, 0);
	if (!page)
		return 0;
	__free_page(page);

	return -EFAULT;
}

static int run_misuse(const char *what)
{
	int nid = first_node(node_states[N_DEVICE_COHERENT]);

	if (nid >= MAX_NUMNODES)
		return -ENODEV;

	if (!strcmp(what, "kmalloc"))
		return misuse_kmalloc(nid, 3000);
	if (!strcmp(what, "kmalloc_large"))
		return misuse_kmalloc(nid, SZ_64K);
	if (!strcmp(what, "kmem_cache"))
		return misuse_kmem_cache(nid);
	if (!strcmp(what, "vmalloc"))
		return misuse_vmalloc();
	if (!strcmp(what, "percpu"))
		return misuse_percpu();
	if (!strcmp(what, "nofail"))
		return misuse_nofail(first_node(node_states[N_CPU]));
	if (!strcmp(what, "nonode")) {
		struct page *page = alloc_page(GFP_KERNEL |
					       __GFP_DEVICE_COHERENT);

		if (page)
			__free_page(page);
		return page ? -EFAULT : 0;
	}

	return -EINVAL;
}

/* -- debugfs -------------------------------------------------------------- */

static int run_command(char *line)
{
	u64 arg[MAX_ARGS] = {};
	char *name, *word;
	int i, nr = 0;

	line = strim(line);
	name = strsep(&line, " ");
	if (!strcmp(name, "misuse"))
		return run_misuse(line ? line : "");

	while ((word = strsep(&line, " "))) {
		if (nr == MAX_ARGS || kstrtou64(word, 0, &arg[nr++]))
			return -EINVAL;
	}

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name) &&
		    nr >= commands[i].min_args)
			return commands[i].run(arg, nr);

	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *ubuf,
			     size_t count, loff_t *ppos)
{
	char line[128];
	int rc;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, ubuf, count))
		return -EFAULT;
	line[count] = '\0';

	mutex_lock(&held_lock);
	rc = run_command(line);
	mutex_unlock(&held_lock);

	return rc ? rc : count;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = command_write,
};

static int held_show(struct seq_file *m, void *unused)
{
	unsigned long pages[2];
	struct held *held;
	int nid;

	mutex_lock(&held_lock);
	for_each_online_node(nid) {
		pages[0] = 0;
		pages[1] = 0;
		list_for_each_entry(held, &held_pages, list)
			if (page_to_nid(held->page) == nid)
				pages[page_in_zone_device_coherent(held->page)] +=
					held->contig ?: 1U << held->order;
		seq_printf(m, "node %d zone Coherent pages %lu other pages %lu\n",
			   nid, pages[1], pages[0]);
	}
	mutex_unlock(&held_lock);

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(held);

static int mirrored_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "calls %ld\npages %ld\n", atomic_long_read(&mirror_calls),
		   atomic_long_read(&mirror_pages));

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mirrored);

static int __init device_coherent_test_init(void)
{
	test_dir = debugfs_create_dir("device_coherent_test", NULL);
	debugfs_create_file("command", 0200, test_dir, NULL, &command_fops);
	debugfs_create_file("held", 0400, test_dir, NULL, &held_fops);
	debugfs_create_file("mirrored", 0400, test_dir, NULL, &mirrored_fops);

	return 0;
}
module_init(device_coherent_test_init);

static void __exit device_coherent_test_exit(void)
{
	debugfs_remove_recursive(test_dir);
	stop_mirror();
	drop_all();
}
module_exit(device_coherent_test_exit);

MODULE_DESCRIPTION("Test-only interface to ZONE_DEVICE_COHERENT");
MODULE_LICENSE("GPL");
