// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: daemons that look after other people's
 * pages (compaction, khugepaged, KSM, NUMA balancing, DAMON) neither bring a
 * page to a device nor take one away from where it was placed.
 *
 * Three detectors, see keepout.h: where the pages are; pgalloc_coherent; and
 * after each test a search for pages that nobody asked for. And each test has a
 * control: the same is seen to work on system memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3); see the comment of each test that passes
 * there, too.
 *
 * Wants two system nodes and two device nodes, the second one larger than
 * system memory; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

#define THP_PAGE	BIT(KPF_THP)

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

TEST_HARNESS_MAIN
