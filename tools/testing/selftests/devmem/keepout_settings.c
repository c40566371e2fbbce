// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: no setting of the kernel (those of
 * reclaim, an OOM that is a panic, the multi-generational LRU switched on under
 * pages of a device, page tracking) brings a page to a device or takes one
 * away.
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
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

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
	/* What is new is dirty, where there are such bits: not on arm64. */
	if (is_soft_dirty(p) && !write_text("/proc/self/clear_refs", "4")) {
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

TEST_HARNESS_MAIN
