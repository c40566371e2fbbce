// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel half of the benchmark of ZONE_DEVICE_COHERENT: loops that user space
 * can't write. It uses nothing that the series adds, so that the same source
 * is built for a kernel with and for one without it.
 *
 * One command a line, written to <debugfs>/devmem_bench/run; the write returns
 * when it is done. "result" then has nanoseconds for all rounds together and
 * how many rounds there were.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define MAX_ARGS	4
#define MAX_BULK	64

static DEFINE_MUTEX(bench_lock);
static struct dentry *bench_dir;
static u64 bench_ns;
static long bench_rounds;

static const gfp_t bench_gfp[] = {
	GFP_KERNEL,
	GFP_HIGHUSER_MOVABLE,
	GFP_KERNEL | __GFP_THISNODE,
};

static void bench_done(u64 begin, long rounds)
{
	bench_ns = ktime_get_ns() - begin;
	bench_rounds = rounds;
}

/* alloc ORDER WHICH NID ROUNDS: allocate and free, over and over */
static int bench_alloc(const long *arg)
{
	gfp_t gfp = bench_gfp[arg[1]] | __GFP_NOWARN;
	int nid = arg[2] < 0 ? numa_node_id() : arg[2];
	u64 begin = ktime_get_ns();
	long i;

	for (i = 0; i < arg[3]; i++) {
		struct page *page = __alloc_pages(gfp, arg[0], nid, NULL);

		if (!page)
			return -ENOMEM;
		__free_pages(page, arg[0]);
	}
	bench_done(begin, i);

	return 0;
}

/* bulk NUMBER WHICH NID ROUNDS: likewise, with a number of pages at once */
static int bench_bulk(const long *arg)
{
	static struct page *pages[MAX_BULK];
	gfp_t gfp = bench_gfp[arg[1]] | __GFP_NOWARN;
	int nid = arg[2] < 0 ? numa_node_id() : arg[2];
	long i, j, want = arg[0];
	u64 begin;

	if (want < 1 || want > MAX_BULK)
		return -EINVAL;

	begin = ktime_get_ns();
	for (i = 0; i < arg[3]; i++) {
		long got;

		/* Fills what is NULL, of which there may be less than asked for. */
		memset(pages, 0, want * sizeof(pages[0]));
		got = alloc_pages_bulk_noprof(gfp, nid, NULL, want, NULL, pages);
		for (j = 0; j < got; j++)
			__free_page(pages[j]);
		if (got < want)
			return -ENOMEM;
	}
	bench_done(begin, i);

	return 0;
}

/*
 * Pages for bench_copy() and bench_clear(): of the page allocator if it has
 * them, but memory of a device node can't be had without the series' own flag,
 * so user space hands over pages of its own.
 */
static void unpin_user(struct page **pages, unsigned long count)
{
	while (count)
		put_page(pages[--count]);
	kvfree(pages);
}

/* Return: an array for unpin_user(), or an ERR_PTR() */
static struct page **pin_user(unsigned long addr, unsigned long count)
{
	struct page **pages = kvcalloc(count, sizeof(*pages), GFP_KERNEL);
	unsigned long got = 0;
	int ret;

	if (!pages)
		return ERR_PTR(-ENOMEM);
	while (got < count) {
		ret = get_user_pages_fast(addr + got * PAGE_SIZE, count - got, FOLL_WRITE,
					  pages + got);
		if (ret <= 0)
			break;
		got += ret;
	}
	if (got == count)
		return pages;
	unpin_user(pages, got);

	return ERR_PTR(-EFAULT);
}

/* How migration copies a folio, and the fastest that the kernel has */
static int copy_all(struct page **to, struct page **from, long count, bool checked)
{
	long i;

	for (i = 0; i < count; i++) {
		cond_resched();
		if (!checked)
			copy_highpage(to[i], from[i]);
		else if (copy_mc_highpage(to[i], from[i]))
			return -EHWPOISON;
	}

	return 0;
}

/* copy TO FROM PAGES CHECKED: addresses of the caller's */
static int bench_copy(const long *arg)
{
	struct page **to = pin_user(arg[0], arg[2]), **from;
	long count = arg[2];
	u64 begin;
	int ret;

	if (IS_ERR(to))
		return PTR_ERR(to);
	from = pin_user(arg[1], count);
	if (IS_ERR(from)) {
		unpin_user(to, count);
		return PTR_ERR(from);
	}
	begin = ktime_get_ns();
	ret = copy_all(to, from, count, arg[3]);
	bench_done(begin, count);
	unpin_user(from, count);
	unpin_user(to, count);

	return ret;
}

/* clear ADDRESS PAGES: what zeroing them costs */
static int bench_clear(const long *arg)
{
	struct page **pages = pin_user(arg[0], arg[1]);
	long i, count = arg[1];
	u64 begin;

	if (IS_ERR(pages))
		return PTR_ERR(pages);
	begin = ktime_get_ns();
	for (i = 0; i < count; i++) {
		cond_resched();
		clear_highpage(pages[i]);
	}
	bench_done(begin, count);
	unpin_user(pages, count);

	return 0;
}

/* As alloc_contig_pages() looks at a range, which modules can't call */
static bool range_may_do(struct zone *zone, unsigned long pfn, unsigned long count)
{
	unsigned long end = pfn + count;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || page_zone(page) != zone || PageReserved(page) || PageHuge(page))
			return false;
	}

	return true;
}

static int contig_of_zone(struct zone *zone, unsigned long count, unsigned long *found)
{
	unsigned long pfn = ALIGN(zone->zone_start_pfn, count);

	for (; pfn + count <= zone_end_pfn(zone); pfn += count) {
		if (!range_may_do(zone, pfn, count))
			continue;
		if (!alloc_contig_range(pfn, pfn + count, MIGRATE_MOVABLE,
					GFP_KERNEL | __GFP_NOWARN)) {
			*found = pfn;
			return 0;
		}
	}

	return -ENOMEM;
}

/* contig NID PAGES: what alloc_contig_pages() does, and back again, untimed */
static int bench_contig(const long *arg)
{
	unsigned long pfn, count = arg[1];
	int i, ret = -ENOMEM;
	u64 begin;

	if (arg[0] < 0 || arg[0] >= MAX_NUMNODES || !node_online(arg[0]) ||
	    !is_power_of_2(count))
		return -EINVAL;
	begin = ktime_get_ns();
	for (i = MAX_NR_ZONES - 1; i >= 0 && ret; i--) {
		struct zone *zone = NODE_DATA(arg[0])->node_zones + i;

		if (managed_zone(zone))
			ret = contig_of_zone(zone, count, &pfn);
	}
	bench_done(begin, 1);
	if (!ret)
		free_contig_range(pfn, count);

	return ret;
}

/*
 * drain_lists NID: pages on lists of the CPUs go back to the node, which
 * alloc_contig_range() does first of all, for whatever page. From the end, where
 * no CMA area is, whose pages nobody else gets.
 */
static int bench_drain(const long *arg)
{
	u64 begin = ktime_get_ns();
	struct zone *zone;
	unsigned long pfn;

	if (arg[0] < 0 || arg[0] >= MAX_NUMNODES || !node_online(arg[0]))
		return -EINVAL;
	zone = NODE_DATA(arg[0])->node_zones + ZONE_NORMAL;
	for (pfn = zone_end_pfn(zone); pfn-- > zone->zone_start_pfn; cond_resched()) {
		if (range_may_do(zone, pfn, 1) &&
		    !alloc_contig_range(pfn, pfn + 1, MIGRATE_MOVABLE,
					GFP_KERNEL | __GFP_NOWARN)) {
			free_contig_range(pfn, 1);
			bench_done(begin, 1);
			return 0;
		}
	}

	return -ENOMEM;
}

/*
 * A device that mirrors a range of the caller's, of which it is said when entries
 * of it go away; here it just counts.
 */
struct bench_mirror {
	struct mmu_notifier notifier;
	unsigned long start;
	unsigned long end;
	atomic_long_t calls;
};

static struct bench_mirror *mirror;

static int mirror_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct bench_mirror *m = container_of(notifier, struct bench_mirror, notifier);

	if (range->start < m->end && range->end > m->start)
		atomic_long_inc(&m->calls);

	return 0;
}

static struct mmu_notifier *mirror_alloc(struct mm_struct *mm)
{
	struct bench_mirror *m = kzalloc(sizeof(*m), GFP_KERNEL);

	return m ? &m->notifier : ERR_PTR(-ENOMEM);
}

static void mirror_free(struct mmu_notifier *notifier)
{
	kfree(container_of(notifier, struct bench_mirror, notifier));
}

static const struct mmu_notifier_ops mirror_ops = {
	.invalidate_range_start = mirror_start,
	.alloc_notifier = mirror_alloc,
	.free_notifier = mirror_free,
};

static void mirror_end(void)
{
	if (mirror)
		mmu_notifier_put(&mirror->notifier);
	mirror = NULL;
}

/* mirror ADDRESS SIZE: count from now on what it hears ... */
static int bench_mirror(const long *arg)
{
	struct mmu_notifier *notifier;

	mirror_end();
	notifier = mmu_notifier_get(&mirror_ops, current->mm);
	if (IS_ERR(notifier))
		return PTR_ERR(notifier);
	mirror = container_of(notifier, struct bench_mirror, notifier);
	mirror->start = arg[0];
	mirror->end = arg[0] + arg[1];
	bench_ns = 0;
	bench_rounds = 1;

	return 0;
}

/* mirrored: ... up to now, instead of nanoseconds */
static int bench_mirrored(const long *arg)
{
	if (!mirror)
		return -EINVAL;
	bench_ns = atomic_long_read(&mirror->calls);
	bench_rounds = 1;
	mirror_end();

	return 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(const long *arg);
} commands[] = {
	{ "alloc", 4, bench_alloc },
	{ "bulk", 4, bench_bulk },
	{ "copy", 4, bench_copy },
	{ "clear", 2, bench_clear },
	{ "contig", 2, bench_contig },
	{ "drain_lists", 1, bench_drain },
	{ "mirror", 2, bench_mirror },
	{ "mirrored", 0, bench_mirrored },
};

static int run_command(char *line)
{
	long arg[MAX_ARGS] = {};
	char *word;
	int i, n = 0;

	line = strim(line);
	word = strsep(&line, " ");
	for (; line && *line && n < MAX_ARGS; n++) {
		char *text = strsep(&line, " ");

		if (kstrtol(text, 0, &arg[n]))
			return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(word, commands[i].name) || n != commands[i].args)
			continue;
		if (n == 4 && commands[i].run != bench_copy &&
		    (arg[1] < 0 || arg[1] >= ARRAY_SIZE(bench_gfp)))
			return -EINVAL;
		return commands[i].run(arg);
	}

	return -EINVAL;
}

static ssize_t run_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char *line = memdup_user_nul(from, min_t(size_t, count, 200));
	int ret;

	if (IS_ERR(line))
		return PTR_ERR(line);
	mutex_lock(&bench_lock);
	bench_ns = 0;
	bench_rounds = 0;
	ret = run_command(line);
	mutex_unlock(&bench_lock);
	kfree(line);

	return ret ? ret : count;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = run_write,
	.llseek = noop_llseek,
};

static int result_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%llu %ld\n", bench_ns, bench_rounds);

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(result);

/* Bytes that a node and a memory cgroup take, from the kernel's own mouth */
static int sizes_show(struct seq_file *m, void *v)
{
	seq_printf(m, "pg_data_t %zu\n", sizeof(pg_data_t));
	seq_printf(m, "struct_zone %zu\n", sizeof(struct zone));
	seq_printf(m, "zones %d\n", MAX_NR_ZONES);
	seq_printf(m, "zonelists %zu\n", sizeof_field(pg_data_t, node_zonelists));
	seq_printf(m, "struct_page %zu\n", sizeof(struct page));
#ifdef CONFIG_MEMCG
	seq_printf(m, "mem_cgroup %zu\n", struct_size_t(struct mem_cgroup, nodeinfo, nr_node_ids));
	seq_printf(m, "mem_cgroup_per_node %zu\n", sizeof(struct mem_cgroup_per_node));
#endif

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sizes);

static int __init bench_init(void)
{
	bench_dir = debugfs_create_dir("devmem_bench", NULL);
	debugfs_create_file("run", 0200, bench_dir, NULL, &run_fops);
	debugfs_create_file("result", 0400, bench_dir, NULL, &result_fops);
	debugfs_create_file("sizes", 0400, bench_dir, NULL, &sizes_fops);

	return 0;
}

static void __exit bench_exit(void)
{
	debugfs_remove(bench_dir);
	mirror_end();
	mmu_notifier_synchronize();
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_DESCRIPTION("Kernel half of the benchmark of ZONE_DEVICE_COHERENT");
MODULE_LICENSE("GPL");
