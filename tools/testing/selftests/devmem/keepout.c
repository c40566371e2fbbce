// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: those who look after other people's
 * pages (daemons, reclaim, memory failure, pools, the kernel working for a
 * bound task) neither bring a page to a device nor take one away from where it
 * was placed.
 *
 * Three detectors: where the pages are; pgalloc_coherent, which counts every
 * page that leaves a device's zone; and after each test "audit", which finds
 * pages that nobody asked for (with page_owner=on). And each test has a
 * control: the same is seen to work on system memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3); see the comment of each test that passes
 * there, too.
 *
 * Wants two system nodes and two device nodes, the second one larger than
 * system memory. The tests of "tiers" want a node in a lower memory tier. See
 * "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

#define SIZE		(4 * MIB)
#define PAGES		((long)(SIZE / PAGE))

/* -- Looking at pages -------------------------------------------------------- */

#define SLAB		BIT(KPF_SLAB)
#define HUGETLB		BIT(KPF_HUGE)
#define THP_PAGE	BIT(KPF_THP)
#define PAGE_TABLE	BIT(KPF_PGTABLE)

static bool has_flag(const char *p, unsigned long flag)
{
	return page_flags(p) & flag;
}

/* Frames of the range; whether they are the same now */
static unsigned long *frames_of(const char *p, size_t size)
{
	unsigned long *pfn = calloc(size / PAGE, sizeof(*pfn));
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t i, n = size / PAGE;

	if (pread(fd, pfn, n * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)(n * 8))
		memset(pfn, 0, n * 8);
	for (i = 0; i < n; i++)
		pfn[i] = entry_pfn(pfn[i]);
	close(fd);

	return pfn;
}

static bool same_frames(const char *p, size_t size, const unsigned long *pfn)
{
	unsigned long *now = frames_of(p, size);
	bool same = !memcmp(now, pfn, size / PAGE * sizeof(*pfn));

	free(now);

	return same;
}

/* First page frame and number of frames of a device node, which has one zone */
static bool zone_of(int nid, unsigned long *start, unsigned long *count)
{
	unsigned long n, spanned = 0;
	char line[256];
	int id = -1;
	FILE *f = fopen("/proc/zoneinfo", "r");

	*count = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d,", &id) == 1 || id != nid)
			continue;
		if (sscanf(line, " spanned %lu", &n) == 1)
			spanned = n;
		if (spanned && sscanf(line, " start_pfn: %lu", &n) == 1) {
			*start = n;
			*count = spanned;
		}
	}
	if (f)
		fclose(f);

	return *count;
}

/* Pages of the device that have one of these flags */
static long flagged_pages(int nid, unsigned long flags)
{
	unsigned long start, count, i, *entry;
	int fd = open("/proc/kpageflags", O_RDONLY);
	long n = 0;

	if (fd < 0 || !zone_of(nid, &start, &count))
		return -1;
	entry = calloc(count, sizeof(*entry));
	if (pread(fd, entry, count * 8, start * 8) != (ssize_t)(count * 8))
		n = -1;
	for (i = 0; n >= 0 && i < count; i++)
		n += !!(entry[i] & flags);
	free(entry);
	close(fd);

	return n;
}

static bool on_a_device(unsigned long pfn)
{
	int dev[MAX_NODES], i, n = device_nodes(dev);
	unsigned long start, count;

	for (i = 0; i < n; i++)
		if (zone_of(dev[i], &start, &count) && pfn >= start &&
		    pfn < start + count)
			return true;

	return false;
}

/* Everything that left a device's zone so far */
static long given(void)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "r");

	if (f)
		fclose(f);

	return vm_event("pgalloc_coherent");
}

/*
 * Pages of devices that nobody asked for, as "audit" does it, but in a moment:
 * the file position is a page frame number, and each read returns the record
 * of the next page that is allocated. (6.12.117 takes the cgroup of a user page
 * for something else there, and crashes unless it is the root's. So what a test
 * puts into a cgroup must be gone before.)
 */
static long unasked(void)
{
	int dev[MAX_NODES], i, n = device_nodes(dev);
	int fd = open("/sys/kernel/debug/page_owner", O_RDONLY);
	unsigned long start, count, pfn;
	char record[4096], *line;
	long found = 0;
	ssize_t len;

	for (i = 0; fd >= 0 && i < n; i++) {
		if (!node_used(dev[i]) || !zone_of(dev[i], &start, &count))
			continue;
		lseek(fd, start, SEEK_SET);
		while ((len = read(fd, record, sizeof(record) - 1)) > 0) {
			record[len] = '\0';
			line = strstr(record, "\nPFN ");
			pfn = line ? strtoul(line + 5, NULL, 0) : 0;
			if (pfn < start || pfn >= start + count)
				break;
			if (strstr(record, "__GFP_DEVICE_COHERENT"))
				continue;
			printf("# not asked for:\n%s", record);
			found++;
		}
	}
	close(fd);

	return found;
}

/* Else it sleeps: see khugepaged_sleeps(). */
static void khugepaged(bool fast)
{
	write_text(KHUGEPAGED "scan_sleep_millisecs", fast ? "10" : "100000000");
	write_text(KHUGEPAGED "alloc_sleep_millisecs", fast ? "10" : "60000");
	write_text(KHUGEPAGED "pages_to_scan", fast ? "16384" : "4096");
}

FIXTURE(out)
{
	int dev[MAX_NODES];
	int sys[MAX_NODES];
	unsigned long d1, d2, s0, s1;	/* masks */
};

FIXTURE_SETUP(out)
{
	int nr_dev = device_nodes(self->dev), nr_sys = system_nodes(self->sys);

	if (nr_dev < 2 || nr_sys < 2 || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->d1 = 1UL << self->dev[0];
	self->d2 = 1UL << self->dev[1];
	self->s0 = 1UL << self->sys[0];
	self->s1 = 1UL << self->sys[1];
	khugepaged(false);
}

FIXTURE_TEARDOWN(out)
{
	set_policy(MPOL_DEFAULT, 0);
	EXPECT_EQ(0, unasked());
}

/* Small pages of a node */
static char *place(size_t size, unsigned long mask, unsigned int seed)
{
	char *p = map_huge(size);

	if (!p || madvise(p, size, MADV_NOHUGEPAGE) ||
	    mbind_nodes(p, size, MPOL_BIND, mask, 0))
		return NULL;
	fill_pages(p, size, seed);

	return p;
}

static char *place_huge(size_t size, unsigned long mask, unsigned int seed)
{
	char *p = map_huge(size);

	if (!p || madvise(p, size, MADV_HUGEPAGE) ||
	    mbind_nodes(p, size, MPOL_BIND, mask, 0))
		return NULL;
	fill_pages(p, size, seed);

	return p;
}

static char *place_shared(size_t size, unsigned long mask, unsigned int seed)
{
	int fd = memfd_create("devmem", 0);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, size))
		p = map_pages(size, MAP_SHARED, fd);
	close(fd);
	if (!p || (mask && mbind_nodes(p, size, MPOL_BIND, mask, 0)))
		return NULL;
	fill_pages(p, size, seed);

	return p;
}

/* -- Compaction -------------------------------------------------------------- */

/*
 * One page of 29, of a good part of a node: work for a compactor, wherever in
 * the node it begins. (One of 32 is a pattern that its strides can miss.)
 */
#define STRIDE	29
#define LEFT	200L
#define SPREAD	(LEFT * STRIDE * PAGE)

static char *place_spread(unsigned long mask, unsigned int seed)
{
	char *p = place(SPREAD, mask, seed);
	size_t i;

	for (i = 0; p && i < (size_t)SPREAD; i += STRIDE * PAGE)
		madvise(p + i + PAGE, (STRIDE - 1) * PAGE, MADV_DONTNEED);

	return p;
}

static bool spread_intact(const char *p, unsigned int seed)
{
	size_t i;

	for (i = 0; i < (size_t)SPREAD / PAGE; i += STRIDE)
		if (*(unsigned int *)(p + i * PAGE) != seed + i)
			return false;

	return true;
}

static void compact_node(int nid)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/compact",
		 nid);
	write_text(path, "1");
}

/* Moves pages within a node; a device's when somebody says so. */
TEST_F(out, compaction)
{
	char *mine = place_spread(self->d1, 1);
	char *control = place_spread(self->s1, 2);
	unsigned long *mine_at, *control_at;

	ASSERT_TRUE(mine && control);
	mine_at = frames_of(mine, SPREAD);
	control_at = frames_of(control, SPREAD);

	/* Of another node: nothing happens here. */
	compact_node(self->sys[0]);
	compact_node(self->sys[1]);
	EXPECT_FALSE(same_frames(control, SPREAD, control_at));
	EXPECT_TRUE(same_frames(mine, SPREAD, mine_at));

	/* Of this one: here, and all stay here. */
	compact_node(self->dev[0]);
	EXPECT_FALSE(same_frames(mine, SPREAD, mine_at));
	EXPECT_EQ(0, write_text("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(LEFT, on_node(mine, SPREAD, self->dev[0]));
	EXPECT_EQ(LEFT, on_node(control, SPREAD, self->sys[1]));
	EXPECT_TRUE(spread_intact(mine, 1));
	EXPECT_TRUE(spread_intact(control, 2));
	munmap(mine, SPREAD);
	munmap(control, SPREAD);
}

static bool thread_exists(const char *name, int nid)
{
	char command[96];

	snprintf(command, sizeof(command),
		 "grep -qx %s%d /proc/[0-9]*/comm 2>/dev/null", name, nid);

	return !system(command);
}

TEST_F(out, no_daemons_of_its_own)
{
	char *mine = place_spread(self->d1, 1);
	unsigned long *at;
	long before;
	int i;

	EXPECT_TRUE(thread_exists("kswapd", self->sys[0]));
	EXPECT_TRUE(thread_exists("kcompactd", self->sys[0]));
	for (i = 0; i < 2; i++) {
		EXPECT_FALSE(thread_exists("kswapd", self->dev[i]));
		EXPECT_FALSE(thread_exists("kcompactd", self->dev[i]));
	}

	/* As fragmented as this, a system node would be compacted. */
	ASSERT_NE(NULL, mine);
	at = frames_of(mine, SPREAD);
	before = read_number("/proc/sys/vm/compaction_proactiveness");
	ASSERT_EQ(0, write_text("/proc/sys/vm/compaction_proactiveness", "100"));
	usleep(1500000);
	EXPECT_TRUE(same_frames(mine, SPREAD, at));
	write_text("/proc/sys/vm/compaction_proactiveness",
		   before == 20 ? "20" : "0");
	munmap(mine, SPREAD);
}

/* -- Huge pages made of small ones ------------------------------------------- */

/* Four ranges of one huge page each, small pages so far */
struct ranges {
	char *system, *device, *mixed, *two_devices;
};

static void make_ranges(struct __test_metadata *_metadata, struct ranges *r,
			bool shared, const int *dev, const int *sys)
{
	char *(*make)(size_t, unsigned long, unsigned int) =
		shared ? place_shared : place;
	char **range[] = {
		&r->system, &r->device, &r->mixed, &r->two_devices
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		char *p;

		/* A shared mapping of 2 MiB isn't at a huge page by itself. */
		p = make(2 * HUGE, i ? 1UL << dev[0] : 1UL << sys[0], i);
		ASSERT_NE(NULL, p);
		if (shared)
			p = mremap(p, HUGE, HUGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED,
				   map_huge(HUGE));
		ASSERT_NE(MAP_FAILED, (void *)p);
		*range[i] = p;
	}
	move(r->mixed, HUGE / 2, sys[0], NULL);
	ASSERT_EQ((long)(HUGE / PAGE / 2), on_node(r->mixed, HUGE, sys[0]));
	move(r->two_devices, HUGE / 2, dev[1], NULL);
	ASSERT_EQ((long)(HUGE / PAGE / 2),
		  on_node(r->two_devices, HUGE, dev[1]));

	/* Now they may become huge. */
	for (i = 0; i < ARRAY_SIZE(range); i++)
		ASSERT_EQ(0, madvise(*range[i], HUGE, MADV_HUGEPAGE));
}

static bool is_huge(const char *p)
{
	return has_flag(p, THP_PAGE);
}

static void check_ranges(struct __test_metadata *_metadata, struct ranges *r,
			 const int *dev, const int *sys)
{
	long until;
	int i;

	for (i = 0; i < 300 && !(is_huge(r->system) && is_huge(r->device)); i++) {
		usleep(100000);
		/* A shared range is no longer mapped when it has collapsed. */
		intact(r->system, HUGE, 0);
		intact(r->device, HUGE, 1);
	}
	/* Positive control */
	EXPECT_TRUE(is_huge(r->system));
	EXPECT_TRUE(is_huge(r->device));
	/* Time for the others to become huge as well */
	until = read_number(KHUGEPAGED "full_scans") + 3;
	wait_number(KHUGEPAGED "full_scans", until, 60);
	EXPECT_GE(read_number(KHUGEPAGED "full_scans"), until);
	EXPECT_TRUE(intact(r->system, HUGE, 0));
	EXPECT_TRUE(intact(r->device, HUGE, 1));
	EXPECT_TRUE(intact(r->mixed, HUGE, 2));
	EXPECT_TRUE(intact(r->two_devices, HUGE, 3));

	EXPECT_EQ((long)(HUGE / PAGE), on_node(r->system, HUGE, sys[0]));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(r->device, HUGE, dev[0]));
	EXPECT_FALSE(is_huge(r->mixed));
	EXPECT_EQ((long)(HUGE / PAGE / 2), on_node(r->mixed, HUGE, dev[0]));
	EXPECT_EQ((long)(HUGE / PAGE / 2), on_node(r->mixed, HUGE, sys[0]));
	EXPECT_FALSE(is_huge(r->two_devices));
	EXPECT_EQ((long)(HUGE / PAGE / 2),
		  on_node(r->two_devices, HUGE, dev[0]));
	EXPECT_EQ((long)(HUGE / PAGE / 2),
		  on_node(r->two_devices, HUGE, dev[1]));
}

TEST_F(out, khugepaged)
{
	struct ranges r;

	make_ranges(_metadata, &r, false, self->dev, self->sys);
	khugepaged(true);
	check_ranges(_metadata, &r, self->dev, self->sys);
	khugepaged(false);
}

TEST_F(out, khugepaged_shared)
{
	struct ranges r;

	if (write_text(THP "shmem_enabled", "advise"))
		SKIP(return, "no huge pages of shmem");
	make_ranges(_metadata, &r, true, self->dev, self->sys);
	khugepaged(true);
	check_ranges(_metadata, &r, self->dev, self->sys);
	khugepaged(false);
	write_text(THP "shmem_enabled", "never");
}

/* A device without a huge page to give: khugepaged goes on to others. */
TEST_F(out, khugepaged_full)
{
	char *mine, *control;
	int i;

	if (testmod_load())
		SKIP(return, "needs the module device_coherent_test");
	mine = place(HUGE, self->d1, 1);
	ASSERT_NE(NULL, mine);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, testmod("fill %d", self->dev[0]));
		node_used(self->dev[0]);
	}
	ASSERT_EQ(0, madvise(mine, HUGE, MADV_HUGEPAGE));
	khugepaged(true);
	write_text(KHUGEPAGED "alloc_sleep_millisecs", "60000");
	usleep(1000000);
	EXPECT_FALSE(is_huge(mine));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(mine, HUGE, self->dev[0]));
	EXPECT_TRUE(intact(mine, HUGE, 1));

	control = place(HUGE, self->s0, 2);
	ASSERT_EQ(0, madvise(control, HUGE, MADV_HUGEPAGE));
	/* Less than it would sleep */
	for (i = 0; i < 300 && !is_huge(control); i++)
		usleep(100000);
	EXPECT_TRUE(is_huge(control));
	testmod("free");
	khugepaged(false);
}

/* The huge page of zeros is everybody's, whoever reads it first. */
TEST_F(out, huge_zero_page)
{
	char *p = map_huge(HUGE);
	long made, before;

	/* Let go of the one that may be there. */
	write_text("/proc/sys/vm/drop_caches", "3");
	ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
	made = vm_event("thp_zero_page_alloc");
	before = given();
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	EXPECT_TRUE(intact(p, PAGE, 0));
	EXPECT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(made + 1, vm_event("thp_zero_page_alloc"));
	EXPECT_FALSE(on_a_device(pfn_of(p)));
	EXPECT_EQ(before, given());
}

/* -- KSM --------------------------------------------------------------------- */

/*
 * Of a whole process, with the options that make a difference. What merged
 * can't be sent to a device either: it is others' as well.
 */
TEST_F(out, ksm_process)
{
	const size_t size = 32 * PAGE;
	char *device = place(size, self->d1, 0), *zeros = map_anon(size);
	char *p = place(size, self->s0, 0), *q = place(size, self->s0, 0);
	unsigned long *device_at, *zeros_at;
	int status;

	if (write_text(KSM "pages_to_scan", "20000"))
		SKIP(return, "no KSM");
	write_text(KSM "run", "2");
	write_text(KSM "merge_across_nodes", "1");
	write_text(KSM "use_zero_pages", "1");
	write_text(KSM "sleep_millisecs", "10");
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		SKIP(return, "no PR_SET_MEMORY_MERGE");
	ASSERT_EQ(0, mbind_nodes(zeros, size, MPOL_BIND, self->d1, 0));
	memset(zeros, 0, size);
	memset(device, 0x5a, size);
	memset(p, 0x5a, size);
	memset(q, 0x5a, size);
	device_at = frames_of(device, size);
	zeros_at = frames_of(zeros, size);
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	ASSERT_TRUE(wait_ksm_scans(5));
	/* Control: it works */
	EXPECT_EQ(pfn_of(p), pfn_of(q));

	/*
	 * Had one of these merged, it would have gone, or become the page that
	 * the others have. (The KSM bit of /proc/kpageflags is no help: this
	 * kernel sets it for all anonymous pages.)
	 */
	EXPECT_EQ(32, on_node(device, size, self->dev[0]));
	EXPECT_EQ(32, on_node(zeros, size, self->dev[0]));
	EXPECT_TRUE(same_frames(device, size, device_at));
	EXPECT_TRUE(same_frames(zeros, size, zeros_at));
	EXPECT_EQ(0, on_node(p, size, self->dev[0]));

	move(p, size, self->dev[0], &status);
	EXPECT_EQ(-EINVAL, status);
	EXPECT_EQ(0, on_node(p, size, self->dev[0]));
	write_text(KSM "run", "2");
	write_text(KSM "use_zero_pages", "0");
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
}

/* -- NUMA balancing, huge pages ---------------------------------------------- */

#define BALANCING	"/sys/kernel/debug/sched/numa_balancing/"
#define BALANCING_SECONDS	120	/* at most; a few on an idle machine */

static int balance(const char *mode)
{
	write_text(BALANCING "scan_delay_ms", "50");
	write_text(BALANCING "scan_period_min_ms", "50");
	write_text(BALANCING "scan_period_max_ms", "100");

	return write_text("/proc/sys/kernel/numa_balancing", mode);
}

TEST_F(out, numa_balancing_huge)
{
	char *mine = place_huge(SIZE, self->s1, 1);
	char *control = place_huge(SIZE, self->s1, 2);
	time_t end = time(NULL) + BALANCING_SECONDS;

	ASSERT_TRUE(mine && control);
	ASSERT_EQ(0, mbind_nodes(mine, SIZE, MPOL_DEFAULT, 0, 0));
	ASSERT_EQ(0, mbind_nodes(control, SIZE, MPOL_DEFAULT, 0, 0));
	ASSERT_TRUE(is_huge(mine) && is_huge(control));
	if (balance("1"))
		SKIP(return, "no NUMA balancing");
	move(mine, SIZE, self->dev[0], NULL);
	ASSERT_EQ(PAGES, on_node(mine, SIZE, self->dev[0]));
	ASSERT_TRUE(is_huge(mine));
	do {
		int i;

		for (i = 0; i < 200; i++)
			ASSERT_TRUE(intact(mine, SIZE, 1) &&
				    intact(control, SIZE, 2));
	} while (time(NULL) < end &&
		 on_node(control, SIZE, self->sys[1]) > PAGES / 4);
	EXPECT_LE(on_node(control, SIZE, self->sys[1]), PAGES / 4);
	EXPECT_EQ(PAGES, on_node(mine, SIZE, self->dev[0]));
	EXPECT_TRUE(is_huge(mine));
	balance("0");
}

/* -- Swap -------------------------------------------------------------------- */

#define ZSWAP	"/sys/module/zswap/parameters/enabled"

/* Compressed pages of a device are in a pool in system memory. */
TEST_F(out, zswap)
{
	char *p = place(SIZE, self->d1, 1);
	long stored, before;

	if (write_text(ZSWAP, "Y") || swap_on_loop(16))
		SKIP(return, "no zswap, or no swap on /dev/loop0");
	ASSERT_NE(NULL, p);
	stored = vm_event("zswpout");
	before = given();
	ASSERT_EQ(0, madvise(p, SIZE, MADV_PAGEOUT));
	EXPECT_GT(vm_event("zswpout"), stored + PAGES / 2);
	EXPECT_GT(on_node(p, SIZE, NONE), PAGES / 2);
	EXPECT_EQ(before, given());
	EXPECT_EQ(0, unasked());

	/* And back, by the policy of the mapping */
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	swap_off_loop();
	write_text(ZSWAP, "N");
}

/* Return: 0 if a bound task wrote back to swap, with pages of the system */
static int write_back(unsigned long mask, int nid)
{
	long written, before;
	char *p;

	if (!cg_enter("memory") ||
	    cg_write("memory.zswap.max", "%d", 4096, 0) ||
	    set_policy(MPOL_BIND, mask))
		return KSFT_SKIP;
	p = map_anon(SIZE);
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	fill_pages(p, SIZE, 1);
	if (on_node(p, SIZE, nid) != PAGES)
		return 1;
	written = vm_event("zswpwb");
	before = given();
	madvise(p, SIZE, MADV_PAGEOUT);
	/* Control: it does write back. */
	if (vm_event("zswpwb") < written + 100)
		return 2;
	/* A page or two of this program may have followed its policy. */
	if (given() > before + 8)
		return 3;
	set_policy(MPOL_DEFAULT, 0);
	if (!intact(p, SIZE, 1))
		return 4;
	munmap(p, SIZE);
	cg_leave();

	return 0;
}

/*
 * A pool at its limit is written back by whoever meets it. In a child: pages
 * of a cgroup must be gone before page_owner is read, see unasked().
 */
TEST_F(out, zswap_writeback)
{
	int status;
	pid_t pid;

	if (write_text(ZSWAP, "Y") || swap_on_loop(16))
		SKIP(return, "no zswap, or no swap on /dev/loop0");
	pid = fork();
	if (!pid)
		_exit(write_back(self->d1, self->dev[0]));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	rmdir(CG);
	swap_off_loop();
	write_text(ZSWAP, "N");
	if (WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no memory controller with zswap");
	EXPECT_EQ(0, status);
}

/* Neighbours on swap are read by their own owners' policies, or by none. */
TEST_F(out, shared_readahead)
{
	const size_t size = 512 * PAGE;
	char *mine, *others;
	long read_ahead, swapped;
	size_t i;

	if (swap_on_loop(8) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	write_text("/proc/sys/vm/page-cluster", "3");
	mine = place_shared(size, 0, 1);
	others = place_shared(size, 0, 2);
	/* Four of each in turn, read in clusters of eight */
	swapped = vm_event("pswpout");
	for (i = 0; i < size; i += 4 * PAGE) {
		madvise(mine + i, 4 * PAGE, MADV_PAGEOUT);
		madvise(others + i, 4 * PAGE, MADV_PAGEOUT);
	}
	cg_write("memory.reclaim", "%dM", 16, 0);
	ASSERT_GT(vm_event("pswpout"), swapped + 512);
	ASSERT_EQ(0, mbind_nodes(mine, size, MPOL_BIND, self->d1, 0));

	/* Control: it does read ahead for somebody unbound. */
	read_ahead = vm_event("swap_ra");
	EXPECT_TRUE(intact(others, size / 2, 2));
	EXPECT_GT(vm_event("swap_ra"), read_ahead);

	EXPECT_TRUE(intact(mine, size, 1));
	EXPECT_GT(on_node(mine, size, self->dev[0]), 512 / 4);
	EXPECT_TRUE(intact(others, size, 2));
	EXPECT_EQ(0, on_node(others, size, self->dev[0]));
	munmap(mine, size);
	munmap(others, size);
	cg_leave();
	swap_off_loop();
}

/* A shmem page read from swap is in its place: no second page for it. */
TEST_F(out, shared_swap_in)
{
	long before, now;
	char *p;

	if (swap_on_loop(8) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	p = place_shared(SIZE, self->d1, 1);
	ASSERT_NE(NULL, p);
	before = vm_event("pswpout");
	madvise(p, SIZE, MADV_PAGEOUT);
	ASSERT_GT(vm_event("pswpout"), before + PAGES / 2);
	/* Written out, they are still in the swap cache. */
	cg_write("memory.reclaim", "%dM", 16, 0);
	before = given();
	EXPECT_TRUE(intact(p, SIZE, 1));
	now = given();
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	EXPECT_GT(now, before);
	EXPECT_LE(now, before + PAGES);
	munmap(p, SIZE);
	cg_leave();
	swap_off_loop();
}

/* -- hugetlb ----------------------------------------------------------------- */

#define POOL	"/sys/kernel/mm/hugepages/hugepages-2048kB/"

static long node_pool(int nid, const char *what)
{
	char path[160];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s",
		 nid, what);

	return read_number(path);
}

TEST_F(out, hugetlb_pools)
{
	long before = given(), surplus;
	char *p, *q;
	int i;

	if (access(POOL "nr_hugepages", W_OK))
		SKIP(return, "no hugetlb pages of 2 MiB");

	/* By sysctl, by a task with a policy, by mask */
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "12"));
	EXPECT_EQ(12, read_number(POOL "nr_hugepages"));
	EXPECT_GT(node_pool(self->sys[1], "nr_hugepages"), 0);
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "0"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	write_text(POOL "nr_hugepages_mempolicy", "4");
	EXPECT_EQ(0, node_pool(self->dev[0], "nr_hugepages"));
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, self->d1 | self->s1));
	write_text(POOL "nr_hugepages_mempolicy", "4");
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(0, node_pool(self->dev[0], "nr_hugepages"));
	EXPECT_GT(node_pool(self->sys[1], "nr_hugepages"), 0);

	/* Surplus pages, for mappings that are bound to a device */
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "1"));
	ASSERT_EQ(0, write_text(POOL "nr_overcommit_hugepages", "4"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	p = map_pages(2 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	EXPECT_NE(NULL, p);
	if (p)
		fill_pages(p, 2 * HUGE, 1);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	surplus = read_number(POOL "surplus_hugepages");
	EXPECT_GT(surplus, 0);
	q = map_pages(2 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	EXPECT_NE(NULL, q);
	if (q) {
		EXPECT_EQ(0, mbind_nodes(q, 2 * HUGE, MPOL_BIND, self->d1, 0));
		fill_pages(q, 2 * HUGE, 2);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, node_pool(self->dev[i], "nr_hugepages"));
		EXPECT_EQ(0, node_pool(self->dev[i], "surplus_hugepages"));
		EXPECT_EQ(0, flagged_pages(self->dev[i], HUGETLB));
	}
	if (p && q) {
		EXPECT_TRUE(intact(p, 2 * HUGE, 1));
		EXPECT_TRUE(intact(q, 2 * HUGE, 2));
		EXPECT_TRUE(has_flag(p, HUGETLB));
		EXPECT_EQ(0, on_node(p, 2 * HUGE, self->dev[0]));
		EXPECT_EQ(0, on_node(q, 2 * HUGE, self->dev[0]));
	}
	munmap(p, 2 * HUGE);
	munmap(q, 2 * HUGE);
	write_text(POOL "nr_overcommit_hugepages", "0");
	write_text(POOL "nr_hugepages", "0");
	EXPECT_EQ(0, read_number(POOL "nr_hugepages"));
	/* The two policies may have met other pages of this program. */
	EXPECT_LT(given(), before + 16);
}

/* Sent there they stay, and don't keep others from going. */
TEST_F(out, hugetlb_is_not_moved)
{
	unsigned long from = self->s0 | self->s1, to = self->d1;
	char *p, *anon = place(SIZE, self->s0, 2);
	int status;

	if (write_text(POOL "nr_hugepages", "2"))
		SKIP(return, "no hugetlb pages of 2 MiB");
	p = map_pages(HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	ASSERT_NE(NULL, p);
	fill_pages(p, HUGE, 1);
	EXPECT_EQ(0, move(p, PAGE, self->dev[0], &status));
	EXPECT_EQ(-EINVAL, status);
	EXPECT_EQ(0, on_node(p, HUGE, self->dev[0]));

	EXPECT_GT(syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &from,
			  &to), 0);
	EXPECT_EQ(PAGES, on_node(anon, SIZE, self->dev[0]));
	EXPECT_EQ(0, on_node(p, HUGE, self->dev[0]));
	EXPECT_EQ(0, flagged_pages(self->dev[0], HUGETLB));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_TRUE(intact(anon, SIZE, 2));
	syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &to, &from);
	munmap(p, HUGE);
	munmap(anon, SIZE);
	write_text(POOL "nr_hugepages", "0");
}

/* -- DAMON ------------------------------------------------------------------- */

static void damon_region(struct __test_metadata *_metadata, const char *module)
{
	unsigned long start, end;
	char path[96];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/enabled",
		 module);
	if (write_text(path, "Y"))
		SKIP(return, "no such module");
	write_text(path, "N");
	snprintf(path, sizeof(path),
		 "/sys/module/%s/parameters/monitor_region_start", module);
	start = read_number(path);
	snprintf(path, sizeof(path),
		 "/sys/module/%s/parameters/monitor_region_end", module);
	end = read_number(path);
	EXPECT_GT(end, start);
	EXPECT_FALSE(on_a_device(start / PAGE));
	EXPECT_FALSE(on_a_device(end / PAGE - 1));
}

/* The largest piece of system RAM, not of any RAM */
TEST_F(out, damon_reclaim_region)
{
	/* Else it wouldn't be chosen in any case. */
	EXPECT_GT(node_bytes(self->dev[1]),
		  node_bytes(self->sys[0]) + node_bytes(self->sys[1]));
	damon_region(_metadata, "damon_reclaim");
}

TEST_F(out, damon_lru_sort_region)
{
	damon_region(_metadata, "damon_lru_sort");
}

#define DAMON	"/sys/kernel/mm/damon/admin/kdamonds/"

static int damon_write(const char *file, const char *fmt, unsigned long value)
{
	char path[160], text[32];

	snprintf(path, sizeof(path), DAMON "%s", file);
	snprintf(text, sizeof(text), fmt, value);

	return write_text(path, text);
}

/* All that is in these frames, to a node */
static int damon_migrate(unsigned long pfn, size_t size, int nid)
{
#define CONTEXT	"0/contexts/0/"
#define SCHEME	CONTEXT "schemes/0/"
	return damon_write("nr_kdamonds", "1", 0) ?:
	       damon_write("0/contexts/nr_contexts", "1", 0) ?:
	       damon_write(CONTEXT "operations", "paddr", 0) ?:
	       damon_write(CONTEXT "monitoring_attrs/intervals/sample_us",
			   "5000", 0) ?:
	       damon_write(CONTEXT "monitoring_attrs/intervals/aggr_us",
			   "20000", 0) ?:
	       damon_write(CONTEXT "targets/nr_targets", "1", 0) ?:
	       damon_write(CONTEXT "targets/0/regions/nr_regions", "1", 0) ?:
	       damon_write(CONTEXT "targets/0/regions/0/start", "%lu",
			   pfn * PAGE) ?:
	       damon_write(CONTEXT "targets/0/regions/0/end", "%lu",
			   pfn * PAGE + size) ?:
	       damon_write(CONTEXT "schemes/nr_schemes", "1", 0) ?:
	       damon_write(SCHEME "action", "migrate_cold", 0) ?:
	       damon_write(SCHEME "target_nid", "%lu", nid) ?:
	       damon_write(SCHEME "access_pattern/sz/max", "%lu", LONG_MAX) ?:
	       damon_write(SCHEME "access_pattern/nr_accesses/max", "%lu",
			   INT_MAX) ?:
	       damon_write(SCHEME "access_pattern/age/max", "%lu", INT_MAX) ?:
	       damon_write("0/state", "on", 0);
}

TEST_F(out, damon_does_not_migrate_there)
{
	char *p = place_huge(HUGE, self->s0, 1);
	char *control = place_huge(HUGE, self->s0, 2);
	unsigned long *at = frames_of(p, HUGE);
	long before = given();
	int i;

	ASSERT_TRUE(is_huge(p) && is_huge(control));
	if (access(DAMON "nr_kdamonds", W_OK))
		SKIP(return, "no DAMON");
	ASSERT_EQ(0, damon_migrate(pfn_of(control), HUGE, self->sys[1]));
	for (i = 0; i < 300 && on_node(control, HUGE, self->sys[0]); i++)
		usleep(100000);
	EXPECT_EQ(0, on_node(control, HUGE, self->sys[0]));
	damon_write("0/state", "off", 0);

	ASSERT_EQ(0, damon_migrate(pfn_of(p), HUGE, self->dev[0]));
	TH_LOG("the control took %d ms", i * 100);
	usleep(2000000 + 2 * i * 100000);
	damon_write("0/state", "off", 0);
	damon_write("nr_kdamonds", "0", 0);
	EXPECT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, self->sys[0]));
	/* Nor to the system memory that is nearest to it. */
	EXPECT_TRUE(same_frames(p, HUGE, at));
	free(at);
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_TRUE(intact(control, HUGE, 2));
	EXPECT_EQ(before, given());
}

/* -- Memory failure ---------------------------------------------------------- */

static void repair(unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", pfn);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

static bool can_unpoison(void)
{
	if (access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK) &&
	    system("modprobe hwpoison-inject 2>/dev/null"))
		return false;

	return !access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK);
}

/*
 * Frames that have failed are made usable again, which page_owner doesn't
 * count well: it would warn. So these tests are for a machine without it.
 */
FIXTURE(poison)
{
	int dev, sys;
	unsigned long mask;
};

FIXTURE_SETUP(poison)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (!device_nodes(dev) || !system_nodes(sys) || getuid())
		SKIP(return, "needs root and a device node");
	if (!access("/sys/kernel/debug/page_owner", R_OK))
		SKIP(return, "not with page_owner=on");
	if (!can_unpoison())
		SKIP(return, "no hwpoison-inject");
	self->dev = dev[0];
	self->sys = sys[0];
	self->mask = 1UL << dev[0];
	khugepaged(false);
}

FIXTURE_TEARDOWN(poison)
{
}

/* A page that is about to fail is replaced on its node, while there is room. */
static void soft_offline(struct __test_metadata *_metadata, char *p, int nid)
{
	char *page = p + 3 * PAGE;
	unsigned long pfn = pfn_of(page);

	ASSERT_NE(NULL, p);
	ASSERT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	/* One that isn't on its LRU list yet is busy. */
	drain_lists();
	ASSERT_EQ(0, madvise(page, PAGE, MADV_SOFT_OFFLINE));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_NE(pfn, pfn_of(page));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	munmap(p, HUGE);
	repair(pfn);
}

TEST_F(poison, soft)
{
	soft_offline(_metadata, place(HUGE, self->mask, 1), self->dev);
	soft_offline(_metadata, place_huge(HUGE, self->mask, 1), self->dev);
	soft_offline(_metadata, place_shared(HUGE, self->mask, 1), self->dev);
}

TEST_F(poison, soft_full_device)
{
	char *p = place(HUGE, self->mask, 1);
	unsigned long pfn;
	int i;

	if (testmod_load())
		SKIP(return, "needs the module device_coherent_test");
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, testmod("fill %d", self->dev));
		node_used(self->dev);
	}
	pfn = pfn_of(p);
	drain_lists();
	EXPECT_EQ(0, madvise(p, PAGE, MADV_SOFT_OFFLINE));
	EXPECT_EQ((long)(HUGE / PAGE) - 1, on_node(p, HUGE, self->dev));
	EXPECT_EQ(0, on_node(p, HUGE, NONE));
	EXPECT_TRUE(intact(p, HUGE, 1));
	munmap(p, HUGE);
	testmod("free");
	repair(pfn);
}

/* System memory that fails is replaced by system memory. */
TEST_F(poison, soft_system)
{
	long before = given();

	soft_offline(_metadata, place(HUGE, 1UL << self->sys, 1), self->sys);
	EXPECT_EQ(before, given());
}

static void bus_error(int sig, siginfo_t *info, void *context)
{
	_exit(info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO ?
	      42 : 2);
}

/* A page that has failed: SIGBUS to who touches it, no harm to others. */
static void hard_poison(struct __test_metadata *_metadata, char *p, int nid)
{
	struct sigaction action = { .sa_sigaction = bus_error,
				    .sa_flags = SA_SIGINFO };
	unsigned long pfn = pfn_of(p + 3 * PAGE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	pid = fork();
	if (!pid) {
		sigaction(SIGBUS, &action, NULL);
		madvise(p + 3 * PAGE, PAGE, MADV_HWPOISON);
		_exit(intact(p + 3 * PAGE, PAGE, 4) ? 3 : 4);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(42, WEXITSTATUS(status));
	/* The pages next to it */
	EXPECT_TRUE(intact(p, 3 * PAGE, 1));
	EXPECT_TRUE(intact(p + 4 * PAGE, HUGE - 4 * PAGE, 5));
	EXPECT_EQ(3, on_node(p, 3 * PAGE, nid));
	munmap(p, HUGE);
	repair(pfn);
}

TEST_F(poison, hard)
{
	hard_poison(_metadata, place(HUGE, self->mask, 1), self->dev);
	hard_poison(_metadata, place_shared(HUGE, self->mask, 1), self->dev);
}

/* -- The kernel at work for a bound task ------------------------------------- */

/* Pages of the node in all mappings of this process */
static long mapped_on(int nid)
{
	return numa_count("/proc/self/numa_maps", "", nid);
}

/*
 * What a program that has ended had there waits in a CPU's batch for an LRU
 * list, up to 15 pages; those are nobody's.
 */
static bool nothing_but_mapped(int nid)
{
	int i;

	for (i = 0; i < 20; i++) {
		long used = node_used(nid);

		if (used <= mapped_on(nid))
			return true;
		drain_lists();
		usleep(i * 10000);
	}

	return false;
}

/* Page tables, pipes, sockets, files, other processes: the system's memory */
static int work_bound(int nid)
{
	static char buffer[1 << 16];
	size_t i, sparse = 512 * MIB;
	int fd[2], rc = 0;
	char *p;

	if (set_policy(MPOL_BIND, 1UL << nid))
		return 1;

	/* A page table for each page */
	p = map_pages(sparse, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!p || madvise(p, sparse, MADV_NOHUGEPAGE))
		return 2;
	for (i = 0; i < sparse; i += HUGE)
		p[i] = 1;
	for (i = 0; i < 64; i++) {
		if (pipe(fd))
			return 3;
		fcntl(fd[1], F_SETFL, O_NONBLOCK);
		while (write(fd[1], buffer, sizeof(buffer)) > 0)
			;
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
			return 4;
		fcntl(fd[1], F_SETFL, O_NONBLOCK);
		while (write(fd[1], buffer, sizeof(buffer)) > 0)
			;
	}
	if (system("cat /usr/bin/* 2>/dev/null | head -c 16M >/dev/null"))
		return 5;

	/* Nothing there but what is mapped */
	if (mapped_on(nid) < (long)(sparse / HUGE))
		rc = 6;
	if (!nothing_but_mapped(nid))
		rc = 7;
	if (flagged_pages(nid, SLAB | PAGE_TABLE | HUGETLB))
		rc = 8;
	for (i = 0; i < 20; i++)
		if (!fork()) {
			pause();
			_exit(0);
		}
	if (unasked())
		rc = 9;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	signal(SIGTERM, SIG_DFL);

	return rc;
}

TEST_F(out, work_for_a_bound_task)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, node_left(self->dev[0]));
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		_exit(work_bound(self->dev[0]));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Secret memory is a kind of page cache: not on a device. */
TEST_F(out, secretmem)
{
	int fd = syscall(SYS_memfd_secret, 0);
	long before;
	char *p;

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(fd, 16 * PAGE));
	p = map_pages(16 * PAGE, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	before = given();
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	fill_pages(p, 16 * PAGE, 1);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_TRUE(intact(p, 16 * PAGE, 1));
	EXPECT_EQ(before, given());
	EXPECT_NE(0UL, pfn_of(p));
	EXPECT_FALSE(on_a_device(pfn_of(p)));
}

/* -- Gifts to a page cache --------------------------------------------------- */

/*
 * A file system of one file of one page, in this process. What it answers to
 * READ comes from a pipe, so that the kernel may take the page as it is.
 */
#define FUSE_DIR	"/tmp/devmem-fuse"
#define FUSE_FILE	2	/* node id */

static void fuse_reply(int fd, struct fuse_in_header *in, int error,
		       const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len,
		.error = error,
		.unique = in->unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)data, len } };

	if (writev(fd, iov, 2) < 0)
		perror("fuse");
}

static struct fuse_attr fuse_attributes(bool file)
{
	return (struct fuse_attr){
		.ino = file ? FUSE_FILE : 1,
		.size = file ? PAGE : 0,
		.mode = file ? S_IFREG | 0444 : S_IFDIR | 0755,
		.nlink = 1,
		.blksize = PAGE,
	};
}

/* The page in @pipe is the answer */
static void fuse_reply_spliced(int fd, struct fuse_in_header *in, int *pipefd)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + PAGE,
		.unique = in->unique,
	};
	int reply[2];

	if (pipe(reply) || write(reply[1], &out, sizeof(out)) < 0 ||
	    splice(pipefd[0], NULL, reply[1], NULL, PAGE, 0) != (ssize_t)PAGE ||
	    splice(reply[0], NULL, fd, NULL, out.len, SPLICE_F_MOVE) < 0)
		perror("fuse");
	close(reply[0]);
	close(reply[1]);
}

/* Until the file system is unmounted */
static void fuse_serve(int fd, int *pipefd)
{
	static char buffer[1 << 17];
	struct fuse_in_header *in = (void *)buffer;
	struct fuse_init_out init = { .major = 7, .minor = 31,
				      .max_readahead = 1 << 16,
				      .max_write = PAGE };
	struct fuse_open_out opened = { .fh = 1 };
	struct fuse_entry_out entry = { .nodeid = FUSE_FILE };
	struct fuse_attr_out attr = { .attr_valid = 0 };

	entry.attr = fuse_attributes(true);
	while (read(fd, buffer, sizeof(buffer)) > 0) {
		switch (in->opcode) {
		case FUSE_INIT:
			fuse_reply(fd, in, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			fuse_reply(fd, in, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			attr.attr = fuse_attributes(in->nodeid == FUSE_FILE);
			fuse_reply(fd, in, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			fuse_reply(fd, in, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			fuse_reply_spliced(fd, in, pipefd);
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			fuse_reply(fd, in, 0, NULL, 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		default:
			fuse_reply(fd, in, -EOPNOTSUPP, NULL, 0);
		}
	}
}

/* Return: frame of the file's page in the page cache; its first word in @word */
static unsigned long fuse_read(int *pipefd, unsigned int *word)
{
	int fd = open("/dev/fuse", O_RDWR), file;
	unsigned long pfn = 0;
	char options[96];
	pid_t pid;
	char *p;

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	mkdir(FUSE_DIR, 0755);
	if (fd < 0 || mount("devmem", FUSE_DIR, "fuse", 0, options))
		return 0;
	pid = fork();
	if (!pid) {
		fuse_serve(fd, pipefd);
		_exit(0);
	}
	close(fd);
	file = open(FUSE_DIR "/file", O_RDONLY);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
	if (file >= 0 && p != MAP_FAILED) {
		memcpy(word, p, sizeof(*word));
		pfn = pfn_of(p);
		munmap(p, PAGE);
	}
	close(file);
	umount2(FUSE_DIR, MNT_DETACH);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	return pfn;
}

/* Puts the page at @p into a pipe for good, with nobody else who has it */
static unsigned long gift(char *p, int *pipefd)
{
	struct iovec iov = { p, PAGE };
	unsigned long pfn = pfn_of(p);

	if (pipe(pipefd) || vmsplice(pipefd[1], &iov, 1, SPLICE_F_GIFT) < 0)
		return 0;
	madvise(p, PAGE, MADV_DONTNEED);

	return pfn;
}

/*
 * Puts the first page of a file into a pipe as it is. Return: its frame, looked
 * up when it is there: before, compaction may give the file another one.
 */
static unsigned long splice_page(int file, int *pipefd)
{
	unsigned long pfn;
	loff_t start = 0;
	char *p;

	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
	if (p == MAP_FAILED)
		return 0;
	madvise(p, PAGE, MADV_POPULATE_READ);
	if (pipe(pipefd) || splice(file, &start, pipefd[1], NULL, PAGE, 0) < 0)
		return 0;
	pfn = pfn_of(p);
	munmap(p, PAGE);
	/* On its way to an LRU list it has one user more, and isn't taken. */
	drain_lists();

	return pfn;
}

/* One page in a pipe, @pfn, is read through FUSE: is it what was taken? */
static bool fuse_takes(struct __test_metadata *_metadata, int *pipefd,
		       unsigned long pfn, unsigned int content)
{
	unsigned int word = 0;
	unsigned long taken;

	EXPECT_NE(0UL, pfn);
	taken = fuse_read(pipefd, &word);
	EXPECT_NE(0UL, taken);
	EXPECT_EQ(content, word);
	EXPECT_FALSE(on_a_device(taken));
	close(pipefd[0]);
	close(pipefd[1]);

	return taken == pfn;
}

#define FUSE_DISK	"/tmp/devmem-fuse-disk"

TEST_F(out, gift_to_fuse)
{
	int fd[2], file, tries, shared = memfd_create("devmem", 0);
	char *p = place(PAGE, self->d1, 77);
	unsigned int word = 79;
	bool taken = false;
	unsigned long pfn;

	if (access("/dev/fuse", W_OK) || access("/dev/ram1", W_OK))
		SKIP(return, "no FUSE, or no /dev/ram1");

	/*
	 * Control: the page cache of another file is taken, unless somebody
	 * (kcompactd) just looks at it. Then the file still has it.
	 */
	mkdir(FUSE_DISK, 0755);
	ASSERT_EQ(0, system("mkfs.ext4 -q /dev/ram1"));
	ASSERT_EQ(0, mount("/dev/ram1", FUSE_DISK, "ext4", 0, NULL));
	file = open(FUSE_DISK "/file", O_CREAT | O_RDWR, 0600);
	ASSERT_EQ(4, pwrite(file, &word, 4, 0));
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, fsync(file));
	for (tries = 0; tries < 5 && !taken; tries++) {
		pfn = splice_page(file, fd);
		taken = fuse_takes(_metadata, fd, pfn, 79);
	}
	EXPECT_TRUE(taken);
	TH_LOG("the control took %d tries", tries);
	close(file);
	EXPECT_EQ(0, umount(FUSE_DISK));

	/* A device's page that somebody gives away isn't, */
	pfn = gift(p, fd);
	EXPECT_TRUE(on_a_device(pfn));
	EXPECT_FALSE(fuse_takes(_metadata, fd, pfn, 77));

	/*
	 * nor is one of shmem, clean, so that its own cache would let it go.
	 * (To FUSE it looks weird: all shmem does.)
	 */
	ASSERT_EQ(0, ftruncate(shared, PAGE));
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, shared, 0);
	ASSERT_EQ(0, mbind_nodes(p, PAGE, MPOL_BIND, self->d1, 0));
	pfn = splice_page(shared, fd);
	EXPECT_TRUE(on_a_device(pfn));
	munmap(p, PAGE);
	EXPECT_FALSE(fuse_takes(_metadata, fd, pfn, 0));
	close(shared);
}

/* -- Settings ---------------------------------------------------------------- */

static const struct setting {
	const char *path, *value;
} settings[] = {
	{ "/proc/sys/vm/zone_reclaim_mode", "7" },
	{ "/proc/sys/vm/watermark_boost_factor", "150000" },
	{ "/proc/sys/vm/watermark_scale_factor", "1000" },
	{ "/proc/sys/vm/min_free_kbytes", "16384" },
	{ "/proc/sys/vm/compaction_proactiveness", "100" },
	{ "/proc/sys/vm/percpu_pagelist_high_fraction", "8" },
	{ "/proc/sys/vm/swappiness", "200" },
	{ "/proc/sys/vm/vfs_cache_pressure", "1000" },
	{ "/proc/sys/vm/laptop_mode", "5" },
	{ "/proc/sys/vm/numa_stat", "1" },
	{ "/proc/sys/vm/overcommit_memory", "1" },
	{ "/proc/sys/vm/lowmem_reserve_ratio", "1 1 1 1 1" },
	{ "/sys/kernel/mm/numa/demotion_enabled", "1" },
	{ "/sys/kernel/mm/lru_gen/enabled", "7" },
};

static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

/* All knobs at once, and a load on system memory that makes them turn. */
TEST_F(out, settings)
{
	char before[ARRAY_SIZE(settings)][128], *hog;
	char *mine = place(SIZE, self->d1, 1);
	unsigned long *at = frames_of(mine, SIZE);
	long asked = given();
	size_t size;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		read_text(settings[i].path, before[i], sizeof(before[i]));
		if (write_text(settings[i].path, settings[i].value))
			TH_LOG("no %s", settings[i].path);
	}
	if (swap_on_loop(64))
		TH_LOG("no swap");
	EXPECT_EQ(0, system("cat /usr/bin/* 2>/dev/null | head -c 96M >/dev/null"));
	size = (meminfo_kb("MemAvailable") * 1024 - 32 * MIB) & ~(HUGE - 1);
	hog = map_huge(size);
	madvise(hog, size, MADV_HUGEPAGE);
	EXPECT_EQ(0, madvise(hog, size, MADV_POPULATE_WRITE));
	/* And over the edge, into swap */
	EXPECT_EQ(0, system("cat /usr/bin/* 2>/dev/null | head -c 64M >/dev/null"));
	EXPECT_EQ(0, write_text("/proc/sys/vm/drop_caches", "3"));
	EXPECT_EQ(asked, given());
	EXPECT_TRUE(same_frames(mine, SIZE, at));
	EXPECT_TRUE(intact(mine, SIZE, 1));
	EXPECT_EQ(0, vm_events("pgdemote_"));
	munmap(hog, size);
	swap_off_loop();
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		write_text(settings[i].path, before[i]);
}

/* A full device is no reason to panic. */
TEST_F(out, panic_on_oom)
{
	static const char * const mode[] = { "1", "2" };
	size_t size = node_bytes(self->dev[0]) + SIZE;
	int i, status;
	pid_t pid;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, write_text("/proc/sys/vm/panic_on_oom", mode[i]));
		pid = fork();
		if (!pid) {
			char *p = map_huge(size);

			madvise(p, size, MADV_HUGEPAGE);
			mbind_nodes(p, size, MPOL_BIND, self->d1, 0);
			fill_pages(p, size, 1);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	}
	write_text("/proc/sys/vm/panic_on_oom", "0");
}

/* The other kind of LRU lists, switched on and off under pages of a device */
TEST_F(out, lru_gen_switched)
{
	char *anon = place(SIZE, self->d1, 1), *huge, *shared;
	char before[16];
	int i;

	read_text("/sys/kernel/mm/lru_gen/enabled", before, sizeof(before));
	if (!before[0] || swap_on_loop(32))
		SKIP(return, "no MGLRU, or no swap on /dev/loop0");
	huge = place_huge(SIZE, self->d1, 2);
	shared = place_shared(SIZE, self->d1, 3);
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, write_text("/sys/kernel/mm/lru_gen/enabled",
					i & 1 ? "0" : "7"));
		EXPECT_EQ(PAGES, on_node(anon, SIZE, self->dev[0]));
		madvise(anon, SIZE / 2, MADV_PAGEOUT);
		madvise(shared, SIZE / 2, MADV_PAGEOUT);
		madvise(huge, SIZE / 2, MADV_COLD);
		move(huge, SIZE, i & 1 ? self->dev[1] : self->sys[0], NULL);
		move(huge, SIZE, self->dev[0], NULL);
		EXPECT_TRUE(intact(anon, SIZE, 1));
		EXPECT_TRUE(intact(huge, SIZE, 2));
		EXPECT_TRUE(intact(shared, SIZE, 3));
		EXPECT_EQ(PAGES, on_node(shared, SIZE, self->dev[0]));
		EXPECT_EQ(PAGES, on_node(huge, SIZE, self->dev[0]));
	}
	write_text("/sys/kernel/mm/lru_gen/enabled", before);
	munmap(anon, SIZE);
	munmap(huge, SIZE);
	munmap(shared, SIZE);
	swap_off_loop();
}

static bool is_soft_dirty(const char *p)
{
	return pagemap_entry(p) & PAGEMAP_SOFT_DIRTY;
}

/* Who only looks: soft-dirty bits, idle pages */
TEST_F(out, tracking)
{
	char *p = place(64 * PAGE, self->d1, 1);
	unsigned long *at, word = ~0UL, pfn;
	int fd;

	at = frames_of(p, 64 * PAGE);
	if (!write_text("/proc/self/clear_refs", "4")) {
		EXPECT_FALSE(is_soft_dirty(p));
		fill_pages(p, PAGE, 1);
		EXPECT_TRUE(is_soft_dirty(p));
		EXPECT_FALSE(is_soft_dirty(p + PAGE));
	}
	fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	if (fd >= 0) {
		/* A word is 64 frames. */
		pfn = pfn_of(p);
		drain_lists();
		EXPECT_EQ(8, pwrite(fd, &word, 8, pfn / 64 * 8));
		EXPECT_EQ(8, pread(fd, &word, 8, pfn / 64 * 8));
		EXPECT_EQ(1UL, word >> pfn % 64 & 1);
		/* An access is seen when the TLB has no entry for it. */
		mprotect(p, 64 * PAGE, PROT_READ);
		mprotect(p, 64 * PAGE, PROT_READ | PROT_WRITE);
		EXPECT_TRUE(intact(p, 64 * PAGE, 1));
		EXPECT_EQ(8, pread(fd, &word, 8, pfn / 64 * 8));
		EXPECT_EQ(0UL, word >> pfn % 64 & 1);
		close(fd);
	}
	EXPECT_TRUE(same_frames(p, 64 * PAGE, at));
	EXPECT_TRUE(intact(p, 64 * PAGE, 1));
}

/* -- ZONE_MOVABLE --------------------------------------------------------- */

/* First frame and number of frames of a node's ZONE_MOVABLE */
static bool movable_zone(int nid, unsigned long *start, unsigned long *count)
{
	unsigned long n, spanned = 0;
	char line[256], zone[32];
	bool here = false;
	int id;
	FILE *f = fopen("/proc/zoneinfo", "r");

	*count = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone %31s", &id, zone) == 2)
			here = id == nid && !strcmp(zone, "Movable");
		if (here && sscanf(line, " spanned %lu", &n) == 1)
			spanned = n;
		if (here && spanned && sscanf(line, " start_pfn: %lu", &n) == 1) {
			*start = n;
			*count = spanned;
		}
	}
	if (f)
		fclose(f);

	return *count;
}

FIXTURE(movable)
{
	int dev, sys;
	unsigned long start, count;
};

FIXTURE_SETUP(movable)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (!device_nodes(dev) || !system_nodes(sys) || getuid())
		SKIP(return, "needs root and a device node");
	self->dev = dev[0];
	self->sys = sys[0];
	if (!movable_zone(self->sys, &self->start, &self->count)) {
		ASSERT_NE(0, system("grep -q movablecore= /proc/cmdline")) {
			TH_LOG("no ZONE_MOVABLE, as if the device had taken it");
		}
		SKIP(return, "needs ZONE_MOVABLE on the first node");
	}
}

FIXTURE_TEARDOWN(movable)
{
}

/*
 * What has to leave a device may go to ZONE_MOVABLE, where on such a machine
 * most of the free memory is: a block of the device goes offline.
 */
TEST_F(movable, takes_what_leaves)
{
	unsigned long block, before, *pfn;
	char *p = place(SIZE, 1UL << self->dev, 1), path[96];
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	long i, there = 0;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(1, fscanf(f, "%lx", &block));
	fclose(f);
	before = pfn_of(p) * PAGE / block;
	snprintf(path, sizeof(path),
		 "/sys/devices/system/memory/memory%lu/state", before);
	ASSERT_EQ(0, write_text(path, "offline"));
	pfn = frames_of(p, SIZE);
	for (i = 0; i < PAGES; i++)
		there += pfn[i] >= self->start &&
			 pfn[i] < self->start + self->count;
	EXPECT_EQ(PAGES, there + on_node(p, SIZE, self->dev));
	EXPECT_GT(there, PAGES / 2);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	EXPECT_EQ(0, write_text(path, "online"));
}

/* -- Memory tiers ------------------------------------------------------------ */

FIXTURE(tiers)
{
	int dev, top, low;	/* a device; a system node, one of a lower tier */
};

/* Return: 0 if the node is in no tier; a higher number is a lower tier */
static int tier_of(int nid)
{
	char command[160];
	FILE *f;
	int tier = 0;

	snprintf(command, sizeof(command),
		 "grep -lxE '(.*,)?%d(,.*)?' /sys/devices/virtual/memory_tiering/memory_tier*/nodelist | sed 's/[^0-9]//g'",
		 nid);
	f = popen(command, "r");
	if (f && fscanf(f, "%d", &tier) != 1)
		tier = 0;
	if (f)
		pclose(f);

	return tier;
}

FIXTURE_SETUP(tiers)
{
	int dev[MAX_NODES], sys[MAX_NODES], i, n;

	if (!device_nodes(dev) || getuid())
		SKIP(return, "needs root and a device node");
	self->dev = dev[0];
	n = system_nodes(sys);
	self->top = sys[0];
	self->low = -1;
	for (i = 1; i < n; i++)
		if (tier_of(sys[i]) > tier_of(sys[0]))
			self->low = sys[i];
	if (self->low < 0)
		SKIP(return, "needs a system node in a lower memory tier");
}

FIXTURE_TEARDOWN(tiers)
{
	EXPECT_EQ(0, unasked());
}

TEST_F(tiers, device_is_in_none)
{
	EXPECT_NE(0, tier_of(self->top));
	EXPECT_EQ(0, tier_of(self->dev));
}

/* Cold pages go down a tier; neither to a device nor from one. */
TEST_F(tiers, demotion)
{
	char *mine = place(SIZE, 1UL << self->dev, 1), *cold;
	long before = given(), demoted = vm_events("pgdemote_");
	unsigned long *at = frames_of(mine, SIZE);
	int i;

	if (write_text("/sys/kernel/mm/numa/demotion_enabled", "1") ||
	    !cg_enter("memory"))
		SKIP(return, "no demotion, or no memory controller");
	cold = place(8 * SIZE, 1UL << self->top, 2);
	ASSERT_NE(NULL, cold);
	for (i = 0; i < 5; i++)
		cg_write("memory.reclaim", "%dM", 16, 0);
	EXPECT_GT(vm_events("pgdemote_"), demoted);
	EXPECT_GT(on_node(cold, 8 * SIZE, self->low), 0);
	EXPECT_EQ(0, on_node(cold, 8 * SIZE, self->dev));
	EXPECT_EQ(PAGES, on_node(mine, SIZE, self->dev));
	EXPECT_TRUE(same_frames(mine, SIZE, at));
	EXPECT_TRUE(intact(mine, SIZE, 1));
	EXPECT_TRUE(intact(cold, 8 * SIZE, 2));
	EXPECT_EQ(before, given());
	write_text("/sys/kernel/mm/numa/demotion_enabled", "0");
	cg_leave();
}

/* And hot ones go up; not from a device. */
TEST_F(tiers, promotion)
{
	char *mine = place(SIZE, 1UL << self->dev, 1);
	char *hot = place(SIZE, 1UL << self->low, 2);
	time_t end = time(NULL) + BALANCING_SECONDS;

	ASSERT_TRUE(mine && hot);
	ASSERT_EQ(0, mbind_nodes(mine, SIZE, MPOL_DEFAULT, 0, 0));
	ASSERT_EQ(0, mbind_nodes(hot, SIZE, MPOL_DEFAULT, 0, 0));
	if (balance("2"))
		SKIP(return, "no NUMA balancing");
	do {
		int i;

		for (i = 0; i < 200; i++)
			ASSERT_TRUE(intact(mine, SIZE, 1) &&
				    intact(hot, SIZE, 2));
	} while (time(NULL) < end &&
		 on_node(hot, SIZE, self->low) > PAGES / 4);
	EXPECT_LE(on_node(hot, SIZE, self->low), PAGES / 4);
	EXPECT_EQ(PAGES, on_node(mine, SIZE, self->dev));
	balance("0");
}

TEST_HARNESS_MAIN
