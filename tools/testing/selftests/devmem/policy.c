// SPDX-License-Identifier: GPL-2.0
/*
 * What counts as asking for device memory, and who is kept out of it.
 *
 * Invariant 1: pages come to a device node by a policy or a system call that
 * names it, and by nothing that merely happens to meet such a page (NUMA
 * balancing, KSM, swap readahead, khugepaged, cpusets, hugetlb pools).
 * Invariant 4: a full device costs the task that is bound to it SIGBUS, a
 * system call ENOMEM, a preferring request nothing. Invariant 5: whatever
 * moves keeps its content. Invariant 6: long-term pins move pages away first.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "../kselftest_harness.h"
#include "../../../../mm/gup_test.h"

#define SIZE	(8 * MIB)

FIXTURE(nodes)
{
	int dev[MAX_NODES];
	int sys[MAX_NODES];
	unsigned long d1, d2, s0;	/* masks */
};

FIXTURE_SETUP(nodes)
{
	int nr_dev = device_nodes(self->dev), nr_sys = system_nodes(self->sys);

	if (nr_dev < 2 || nr_sys < 2 || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");

	/* Where there is little memory, the default is "never". */
	write_text(THP "enabled", "madvise");
	self->d1 = 1UL << self->dev[0];
	self->d2 = 1UL << self->dev[1];
	self->s0 = 1UL << self->sys[0];
}

FIXTURE_TEARDOWN(nodes)
{
	set_policy(MPOL_DEFAULT, 0);
}

/* -- What counts as asking ------------------------------------------------ */

FIXTURE(mask)
{
	int dev[MAX_NODES];
};

FIXTURE_VARIANT(mask)
{
	int mode;
	bool sys, d1, d2;		/* the nodes named */
	int on_sys, on_d1, on_d2;	/* shares expected, in eighths */
};

/* In the order of the fields above */
FIXTURE_VARIANT_ADD(mask, local)
{
	MPOL_LOCAL, 0, 0, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, bind)
{
	MPOL_BIND, 0, 1, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(mask, bind_other)
{
	MPOL_BIND, 0, 0, 1, 0, 0, 8
};

FIXTURE_VARIANT_ADD(mask, preferred)
{
	MPOL_PREFERRED, 0, 1, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(mask, preferred_many)
{
	MPOL_PREFERRED_MANY, 0, 0, 1, 0, 0, 8
};

FIXTURE_VARIANT_ADD(mask, interleave)
{
	MPOL_INTERLEAVE, 0, 1, 1, 0, 4, 4
};

FIXTURE_VARIANT_ADD(mask, weighted)
{
	MPOL_WEIGHTED_INTERLEAVE, 0, 1, 1, 0, 4, 4
};

FIXTURE_VARIANT_ADD(mask, mixed_bind)
{
	MPOL_BIND, 1, 1, 1, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, mixed_preferred_many)
{
	MPOL_PREFERRED_MANY, 1, 1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, mixed_interleave)
{
	MPOL_INTERLEAVE, 1, 1, 1, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, mixed_weighted)
{
	MPOL_WEIGHTED_INTERLEAVE, 1, 1, 1, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, literal_bind)
{
	MPOL_BIND | MPOL_F_STATIC_NODES, 0, 1, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(mask, literal_mixed_bind)
{
	MPOL_BIND | MPOL_F_STATIC_NODES, 1, 1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(mask, literal_mixed_interleave)
{
	MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, 1, 1, 0, 4, 4, 0
};

FIXTURE_SETUP(mask)
{
	if (device_nodes(self->dev) < 2)
		SKIP(return, "needs two device nodes");
}

FIXTURE_TEARDOWN(mask)
{
	set_policy(MPOL_DEFAULT, 0);
}

static unsigned long make_mask(const int *dev, bool sys, bool d1, bool d2)
{
	return (sys ? 1UL : 0) | (d1 ? 1UL << dev[0] : 0) |
	       (d2 ? 1UL << dev[1] : 0);
}

TEST_F(mask, mapping)
{
	unsigned long got[4] = { 0 }, mask = make_mask(self->dev, variant->sys,
						variant->d1, variant->d2);
	long eighth = SIZE / PAGE / 8;
	char *p = map_anon(SIZE);
	long count[MAX_NODES + 1];
	int mode;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, variant->mode, mask, 0));
	fill_pages(p, SIZE, 1);
	where(p, SIZE, count);
	EXPECT_EQ(variant->on_d1 * eighth, count[self->dev[0]]);
	EXPECT_EQ(variant->on_d2 * eighth, count[self->dev[1]]);
	EXPECT_EQ((8 - variant->on_d1 - variant->on_d2) * eighth,
		  (long)(SIZE / PAGE) - count[self->dev[0]] -
		  count[self->dev[1]] - count[NONE]);

	/* What was set is what is reported. */
	ASSERT_EQ(0, syscall(SYS_get_mempolicy, &mode, got, sizeof(got) * 8 + 1,
			     p, MPOL_F_ADDR));
	EXPECT_EQ(variant->mode, mode);
	EXPECT_EQ(mask, got[0]);
}

TEST_F(mask, task)
{
	unsigned long mask = make_mask(self->dev, variant->sys, variant->d1,
				       variant->d2);
	long eighth = SIZE / PAGE / 8;
	char *p = map_anon(SIZE);
	long count[MAX_NODES + 1];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, set_policy(variant->mode, mask));
	fill_pages(p, SIZE, 1);
	where(p, SIZE, count);
	EXPECT_EQ(variant->on_d1 * eighth, count[self->dev[0]]);
	EXPECT_EQ(variant->on_d2 * eighth, count[self->dev[1]]);
}

/* -- Kinds of memory ------------------------------------------------------ */

TEST_F(nodes, shared_memory)
{
	int fd = memfd_create("devmem", 0);
	int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, SIZE));
	p = map_pages(SIZE, MAP_SHARED, fd);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->dev[0]));

	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	ASSERT_NE((char *)-1, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d2, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->dev[1]));
}

/* The file is read through the page cache, in system memory; writes copy. */
TEST_F(nodes, private_file)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	size_t size = 4 * PAGE;
	char *p = map_pages(size, MAP_PRIVATE, fd);
	size_t i;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1, 0));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_READ));
	EXPECT_EQ(0, on_node(p, size, self->dev[0]));
	for (i = 0; i < size; i += PAGE)
		p[i]++;
	EXPECT_EQ((long)(size / PAGE), on_node(p, size, self->dev[0]));
}

TEST_F(nodes, huge_page)
{
	char *p = map_huge(HUGE);
	long before;

	ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, self->d1, 0));
	before = read_number(HUGE_FILES "stats/anon_fault_alloc");
	fill_pages(p, HUGE, 1);
	EXPECT_EQ(before + 1,
		  read_number(HUGE_FILES "stats/anon_fault_alloc"));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, self->dev[0]));
}

TEST_F(nodes, collapse)
{
	char *p = map_huge(HUGE);
	long before;

	if (pmd_bytes != HUGE)
		SKIP(return, NO_COLLAPSE);
	/* Not advised to be huge: khugepaged must not do it in between. */
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, self->d1, 0));
	fill_pages(p, HUGE, 1);

	/* Pages of two nodes don't become one huge page ... */
	ASSERT_EQ(0, move(p, HUGE / 4, self->sys[0], NULL));
	EXPECT_NE(0, madvise(p, HUGE, MADV_COLLAPSE));
	EXPECT_EQ((long)(HUGE / PAGE / 4), on_node(p, HUGE, self->sys[0]));

	/* ... those of one do, there. */
	ASSERT_EQ(0, move(p, HUGE / 4, self->dev[0], NULL));
	before = vm_event("thp_collapse_alloc");
	EXPECT_EQ(0, madvise(p, HUGE, MADV_COLLAPSE));
	EXPECT_EQ(before + 1, vm_event("thp_collapse_alloc"));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, self->dev[0]));
	EXPECT_TRUE(intact(p, HUGE, 1));
}

TEST_F(nodes, copy_on_write)
{
	char *p = map_anon(SIZE);
	int status;
	pid_t pid;

	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 1);
	pid = fork();
	if (!pid) {
		fill_pages(p, SIZE, 2);
		_exit(on_node(p, SIZE, self->dev[0]) != (long)(SIZE / PAGE));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(intact(p, SIZE, 1));
}

/* A program bound to a device reads files, forks and execs as any other. */
TEST_F(nodes, whole_program)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		set_policy(MPOL_BIND, self->d1);
		execl("/bin/sh", "sh", "-c",
		      "seq 1 20000 | sort -rn | tail -n 1 | grep -qx 1", NULL);
		_exit(127);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* -- Moving --------------------------------------------------------------- */

TEST_F(nodes, move_there_and_back)
{
	char *p = map_anon(SIZE);
	long n = SIZE / PAGE;

	fill_pages(p, SIZE, 3);
	EXPECT_EQ(0, on_node(p, SIZE, self->dev[0]));
	EXPECT_EQ(0, move(p, SIZE, self->dev[0], NULL));
	EXPECT_EQ(n, on_node(p, SIZE, self->dev[0]));
	EXPECT_TRUE(intact(p, SIZE, 3));
	fill_pages(p, SIZE, 4);
	EXPECT_EQ(0, move(p, SIZE, self->dev[1], NULL));
	EXPECT_EQ(n, on_node(p, SIZE, self->dev[1]));
	EXPECT_EQ(0, move(p, SIZE, self->sys[0], NULL));
	EXPECT_EQ(n, on_node(p, SIZE, self->sys[0]));
	EXPECT_TRUE(intact(p, SIZE, 4));
}

/* Of a file that nobody else has mapped: those wouldn't be moved anyway */
TEST_F(nodes, page_cache_stays)
{
	int status, fd = open("/usr/bin/bash", O_RDONLY);
	char *p = map_pages(2 * PAGE, MAP_PRIVATE, fd);

	ASSERT_EQ(0, madvise(p, 2 * PAGE, MADV_POPULATE_READ));
	EXPECT_EQ(0, move(p, 2 * PAGE, self->dev[0], &status));
	EXPECT_EQ(-EINVAL, status);
	EXPECT_EQ(-1, mbind_nodes(p, 2 * PAGE, MPOL_BIND, self->d1,
				  MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, on_node(p, 2 * PAGE, self->dev[0]));
}

/*
 * A literal mask of both kinds: what a device can't hold goes to the system
 * node, the rest as the mode says. Pages of a file that nobody else has mapped
 */
static void move_file(struct __test_metadata *_metadata, const int *sys,
		      const int *dev, int mode)
{
	const unsigned long mixed = NODE(sys[0]) | NODE(dev[0]);
	int fd = open("/usr/bin/bash", O_RDONLY);
	const bool shares = mode == MPOL_INTERLEAVE;
	const size_t size = 4 * PAGE;
	char *file = map_pages(size, MAP_PRIVATE, fd);
	char *anon = map_anon(size);

	/* The page cache is read anew, to the other system node. */
	ASSERT_NE(NULL, file);
	write_text("/proc/sys/vm/drop_caches", "1");
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(sys[1])));
	ASSERT_EQ(0, madvise(file, size, MADV_POPULATE_READ));
	fill_pages(anon, size, 1);
	set_policy(MPOL_DEFAULT, 0);
	ASSERT_EQ((long)(size / PAGE), on_node(file, size, sys[1]));
	ASSERT_EQ((long)(size / PAGE), on_node(anon, size, sys[1]));

	mode |= MPOL_F_STATIC_NODES;
	EXPECT_EQ(0, mbind_nodes(file, size, mode, mixed,
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ((long)(size / PAGE), on_node(file, size, sys[0]));
	EXPECT_EQ(0, mbind_nodes(anon, size, mode, mixed,
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(shares ? (long)(size / PAGE) / 2 : 0,
		  on_node(anon, size, dev[0]));
	EXPECT_EQ(0, on_node(anon, size, sys[1]));
	EXPECT_TRUE(intact(anon, size, 1));
	munmap(file, size);
	munmap(anon, size);
	close(fd);
}

TEST_F(nodes, mixed_literal_mbind_moves_files)
{
	move_file(_metadata, self->sys, self->dev, MPOL_BIND);
	move_file(_metadata, self->sys, self->dev, MPOL_INTERLEAVE);
}

/* The anonymous pages of a process move past the page cache in their way. */
TEST_F(nodes, migrate_process)
{
	unsigned long from = self->s0, to = self->d1;
	char *p = map_anon(SIZE);
	long rc;

	fill_pages(p, SIZE, 5);
	ASSERT_EQ(0, move(p, SIZE, self->sys[0], NULL));
	rc = syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &from, &to);
	EXPECT_GE(rc, 0);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->dev[0]));
	rc = syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &to, &from);
	EXPECT_GE(rc, 0);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->sys[0]));
	EXPECT_TRUE(intact(p, SIZE, 5));
}

TEST_F(nodes, mbind_moves)
{
	char *p = map_anon(SIZE);

	fill_pages(p, SIZE, 6);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1,
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->dev[0]));
	EXPECT_TRUE(intact(p, SIZE, 6));
}

/* Page cache at the beginning of the range stays, and is in nobody's way. */
TEST_F(nodes, mbind_moves_past_page_cache)
{
	const size_t file = 4 * PAGE, size = SIZE - file;
	int fd = open("/usr/bin/bash", O_RDONLY);
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p + file, size, 6);
	ASSERT_EQ(p, mmap(p, file, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0));
	ASSERT_EQ(0, madvise(p, file, MADV_POPULATE_READ));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, MPOL_MF_MOVE));
	EXPECT_EQ(0, on_node(p, file, self->dev[0]));
	EXPECT_EQ((long)(size / PAGE), on_node(p + file, size, self->dev[0]));
	EXPECT_TRUE(intact(p + file, size, 6));
	/* What stays is where it was, for reclaim, too. */
	read_number("/proc/sys/vm/stat_refresh");
	EXPECT_EQ(0, vm_event("nr_isolated_file"));
	close(fd);
}

/* -- A full device -------------------------------------------------------- */

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif

static int full_child(int mode, unsigned long mask, size_t size, int type)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *p = map_pages(size, type | MAP_ANONYMOUS | MAP_NORESERVE,
				    -1);

		/* Who retries for ever is ended by another signal. */
		alarm(120);
		if (!p || mbind_nodes(p, size, mode, mask, 0))
			_exit(2);
		fill_pages(p, size, 1);
		_exit(intact(p, size, 1) ? 0 : 1);
	}
	waitpid(pid, &status, 0);

	return status;
}

TEST_F_TIMEOUT(nodes, full_bind_gets_sigbus, 240)
{
	long kills = vm_event("oom_kill"), other;
	int status;

	/* What an earlier test left in a CPU's batch goes at any time. */
	drain_lists();
	other = node_used(self->dev[1]);
	status = full_child(MPOL_BIND, self->d1,
			    node_bytes(self->dev[0]) + SIZE, MAP_PRIVATE);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	EXPECT_EQ(kills, vm_event("oom_kill"));
	EXPECT_EQ(other, node_used(self->dev[1]));
}

/* A fault of such a mapping never fails for want of memory, it is retried. */
TEST_F_TIMEOUT(nodes, full_droppable_gets_sigbus, 240)
{
	size_t size = node_bytes(self->dev[0]);
	char *p = map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	int status;

	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1, 0));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	madvise(p, size, MADV_POPULATE_WRITE);
	status = full_child(MPOL_BIND, self->d1, SIZE, MAP_DROPPABLE);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	munmap(p, size);
}

static bool mglru_is_on(void)
{
	FILE *f = fopen("/sys/kernel/mm/lru_gen/enabled", "r");
	long mask = 0;

	if (f && fscanf(f, "%li", &mask) != 1)
		mask = 0;
	if (f)
		fclose(f);

	return mask;
}

/* What may be dropped is free: the mapping drops its own pages, with content. */
TEST_F_TIMEOUT(nodes, droppable_makes_room, 240)
{
	int status;

	/* MGLRU keeps what was just used: a limit in the manual. */
	if (mglru_is_on())
		SKIP(return, "MGLRU is on");
	if (!has_make_room(self->dev[0]))
		SKIP(return, "nobody collects on a full device");
	status = full_child(MPOL_BIND, self->d1,
			    node_bytes(self->dev[0]) + SIZE, MAP_DROPPABLE);
	EXPECT_TRUE(WIFEXITED(status));
}

TEST_F_TIMEOUT(nodes, full_preferred_falls_back, 240)
{
	EXPECT_EQ(0, full_child(MPOL_PREFERRED, self->d1,
				node_bytes(self->dev[0]) + SIZE, MAP_PRIVATE));
}

/* Likewise for several devices, which go by another way */
TEST_F_TIMEOUT(nodes, full_preferred_many_falls_back, 240)
{
	size_t size = node_bytes(self->dev[0]) + node_bytes(self->dev[1]);

	EXPECT_EQ(0, full_child(MPOL_PREFERRED_MANY, self->d1 | self->d2,
				size + SIZE, MAP_PRIVATE));
}

TEST_F_TIMEOUT(nodes, full_bind_to_several_gets_sigbus, 240)
{
	size_t size = node_bytes(self->dev[0]) + node_bytes(self->dev[1]);
	int status;

	status = full_child(MPOL_BIND, self->d1 | self->d2, size + SIZE,
			    MAP_PRIVATE);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

TEST_F_TIMEOUT(nodes, full_calls_get_enomem, 240)
{
	size_t size = node_bytes(self->dev[0]) + SIZE;
	char *p = map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	char *q = map_anon(SIZE);

	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1, 0));
	EXPECT_EQ(-1, madvise(p, size, MADV_POPULATE_WRITE));
	EXPECT_EQ(ENOMEM, errno);

	/* Nothing is lost when there is no room to move to. */
	fill_pages(q, SIZE, 7);
	EXPECT_NE(0, move(q, SIZE, self->dev[0], NULL));
	EXPECT_TRUE(intact(q, SIZE, 7));
	munmap(p, size);
	EXPECT_EQ(0, move(q, SIZE, self->dev[0], NULL));
	EXPECT_TRUE(intact(q, SIZE, 7));
}

/* More than the system has, but not more than the machine */
TEST_F(nodes, overcommit)
{
	size_t size = (meminfo_kb("MemTotal") + meminfo_kb("SwapTotal")) * 1024 +
		      64 * MIB;
	char *p = map_anon(size);
	int all[MAX_NODES], n;

	EXPECT_NE(NULL, p);
	if (p)
		munmap(p, size);
	for (n = device_nodes(all); n; n--)
		size += node_bytes(all[n - 1]);
	EXPECT_EQ(NULL, map_anon(size));
}

/* -- Pins ----------------------------------------------------------------- */

TEST_F(nodes, longterm_pin_moves_away)
{
	struct pin_longterm_test args = { .size = SIZE };
	char *p = map_anon(SIZE);
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 8);
	ASSERT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, self->dev[0]));
	args.addr = (uintptr_t)p;
	args.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE;
	ASSERT_EQ(0, ioctl(fd, PIN_LONGTERM_TEST_START, &args));
	EXPECT_EQ(0, on_node(p, SIZE, self->dev[0]));
	EXPECT_TRUE(intact(p, SIZE, 8));
	EXPECT_EQ(0, ioctl(fd, PIN_LONGTERM_TEST_STOP));
	close(fd);
}

/* -- Who is kept out ------------------------------------------------------ */

TEST_F_TIMEOUT(nodes, ksm, 240)
{
	int i, status;
	char *p[3];

	if (write_text(KSM "pages_to_scan", "20000"))
		SKIP(return, "no KSM");
	for (i = 0; i < 3; i++) {
		p[i] = map_anon(64 * PAGE);
		ASSERT_EQ(0, madvise(p[i], 64 * PAGE, MADV_MERGEABLE));
		if (!i)
			ASSERT_EQ(0, mbind_nodes(p[i], 64 * PAGE, MPOL_BIND,
						 self->d1, 0));
		memset(p[i], 0x5a, 64 * PAGE);
	}
	ASSERT_EQ(0, write_text(KSM "sleep_millisecs", "10"));
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	ASSERT_TRUE(wait_ksm_scans(4));
	/* The two in system memory merge; it does work. */
	EXPECT_GE(read_number(KSM "pages_sharing"), 120);
	/* 128 pages less the shared one, and none of the device's 64 */
	EXPECT_LE(read_number(KSM "pages_sharing"), 127);
	EXPECT_EQ(64, on_node(p[0], 64 * PAGE, self->dev[0]));
	EXPECT_EQ(0, on_node(p[1], 64 * PAGE, self->dev[0]));
	EXPECT_EQ(0, on_node(p[2], 64 * PAGE, self->dev[0]));
	/* Nor is a merged page moved there, or elsewhere in its stead. */
	EXPECT_EQ(0, syscall(SYS_move_pages, 0, 1UL, &p[1], self->dev, &status,
			     MPOL_MF_MOVE_ALL));
	EXPECT_EQ(-EINVAL, status);
	write_text(KSM "run", "2");
}

/*
 * The same with a tree of merged pages for each node: those of two system nodes
 * merge among themselves, those of the device not even among themselves.
 */
TEST_F_TIMEOUT(nodes, ksm_by_node, 240)
{
	const int nid[] = { self->dev[0], self->sys[0], self->sys[1] };
	char *p[3];
	int i;

	write_text(KSM "run", "2");
	if (write_text(KSM "merge_across_nodes", "0"))
		SKIP(return, "no KSM");
	write_text(KSM "pages_to_scan", "20000");
	for (i = 0; i < 3; i++) {
		p[i] = map_anon(64 * PAGE);
		ASSERT_EQ(0, madvise(p[i], 64 * PAGE, MADV_MERGEABLE));
		ASSERT_EQ(0, mbind_nodes(p[i], 64 * PAGE, MPOL_BIND,
					 NODE(nid[i]), 0));
		memset(p[i], 0x5b, 64 * PAGE);
	}
	ASSERT_EQ(0, write_text(KSM "sleep_millisecs", "10"));
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	ASSERT_TRUE(wait_ksm_scans(4));
	/* 64 pages less the shared one, on each of two nodes */
	EXPECT_GE(read_number(KSM "pages_sharing"), 120);
	EXPECT_LE(read_number(KSM "pages_sharing"), 126);
	EXPECT_EQ(2, read_number(KSM "pages_shared"));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(64, on_node(p[i], 64 * PAGE, nid[i]));
	EXPECT_NE(pfn_of(p[0]), pfn_of(p[0] + PAGE));
	EXPECT_EQ(pfn_of(p[1]), pfn_of(p[1] + PAGE));
	write_text(KSM "run", "2");
	write_text(KSM "merge_across_nodes", "1");
}

TEST_F(nodes, hugetlb_pool)
{
	char path[160];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->dev[0]);
	if (access(path, W_OK))
		SKIP(return, "no hugetlb pages of 2 MiB");
	EXPECT_EQ(-EINVAL, write_text(path, "1"));
	EXPECT_EQ(0, read_number(path));
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "4"));
	EXPECT_EQ(4, read_number(POOL "nr_hugepages"));
	EXPECT_EQ(0, read_number(path));
	write_text(POOL "nr_hugepages", "0");
}

TEST_F_TIMEOUT(nodes, swap_readahead, 240)
{
	const long n = 512;
	char *mine = map_anon(n * PAGE), *others = map_anon(n * PAGE);
	long i, read_ahead;

	if (swap_on_loop(4 * n * PAGE / MIB) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	/* Read ahead by place on swap, as on a disk: pages of anybody */
	write_text("/sys/kernel/mm/swap/vma_ra_enabled", "false");
	write_text("/proc/sys/vm/page-cluster", "3");
	fill_pages(mine, n * PAGE, 9);
	fill_pages(others, n * PAGE, 10);
	/* Neighbours on swap: four of each in turn, read in clusters of eight */
	for (i = 0; i < n; i += 4) {
		madvise(mine + i * PAGE, 4 * PAGE, MADV_PAGEOUT);
		madvise(others + i * PAGE, 4 * PAGE, MADV_PAGEOUT);
	}
	/* Written out, they are still in the swap cache. */
	cg_write("memory.reclaim", "%dM", 16, 0);
	ASSERT_GT(on_node(mine, n * PAGE, NONE), n / 2);
	ASSERT_EQ(0, mbind_nodes(mine, n * PAGE, MPOL_BIND, self->d1, 0));

	/* Positive control: it does read ahead for somebody unbound. */
	read_ahead = vm_event("swap_ra");
	EXPECT_TRUE(intact(others, n / 2 * PAGE, 10));
	EXPECT_GT(vm_event("swap_ra"), read_ahead);

	EXPECT_TRUE(intact(mine, n * PAGE, 9));
	EXPECT_GT(on_node(mine, n * PAGE, self->dev[0]), n / 4);
	EXPECT_TRUE(intact(others, n * PAGE, 10));
	EXPECT_EQ(0, on_node(others, n * PAGE, self->dev[0]));
	cg_leave();
	swap_off_loop();
}

/* A page placed by hand stays; one on a system node without CPUs is pulled. */
TEST_F_TIMEOUT(nodes, numa_balancing, 240)
{
	char *mine = map_anon(SIZE), *control = map_anon(SIZE);
	time_t end = time(NULL) + 120;	/* a few on an idle machine */

	if (write_text("/proc/sys/kernel/numa_balancing", "1"))
		SKIP(return, "no NUMA balancing");
	write_text("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "50");
	write_text("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms",
		   "50");
	write_text("/sys/kernel/debug/sched/numa_balancing/scan_period_max_ms",
		   "100");
	fill_pages(mine, SIZE, 11);
	fill_pages(control, SIZE, 11);
	ASSERT_EQ(0, move(mine, SIZE, self->dev[0], NULL));
	ASSERT_EQ(0, move(control, SIZE, self->sys[1], NULL));
	do {
		int i;

		for (i = 0; i < 200; i++)
			ASSERT_TRUE(intact(mine, SIZE, 11) &&
				    intact(control, SIZE, 11));
	} while (time(NULL) < end &&
		 on_node(control, SIZE, self->sys[1]) > 100);
	EXPECT_LE(on_node(control, SIZE, self->sys[1]), 100);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(mine, SIZE, self->dev[0]));
	write_text("/proc/sys/kernel/numa_balancing", "0");
}

/* -- Cpusets -------------------------------------------------------------- */

TEST_F_TIMEOUT(nodes, cpuset, 240)
{
	int sys0 = self->sys[0], sys1 = self->sys[1], dev = self->dev[0];
	char *p = map_anon(SIZE), *bound = map_anon(SIZE);
	int i;

	if (!cg_enter("cpuset") || access(CG "/cpuset.mems", W_OK))
		SKIP(return, "no cpuset controller in /sys/fs/cgroup");
	EXPECT_EQ(-EINVAL, cg_write("cpuset.mems", "%d", dev, 0));
	ASSERT_EQ(0, cg_write("cpuset.mems", "%d,%d", sys0, sys1));

	/* Can't be named from here */
	EXPECT_EQ(-1, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));

	/* Bound to the second of two nodes; the cpuset's second becomes dev. */
	ASSERT_EQ(0, mbind_nodes(bound, SIZE, MPOL_BIND, 1UL << sys1, 0));
	fill_pages(bound, SIZE / 2, 12);
	ASSERT_EQ(0, cg_write("cpuset.mems", "%d,%d", sys0, dev));
	fill_pages(bound, SIZE, 12);
	usleep(300000);
	EXPECT_EQ(0, on_node(bound, SIZE, dev));

	/* Now it can be named. When it is taken away, the pages move out. */
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 13);
	EXPECT_EQ((long)(SIZE / PAGE), on_node(p, SIZE, dev));
	ASSERT_EQ(0, cg_write("cpuset.mems", "%d,%d", sys0, sys1));
	for (i = 0; i < 300 && on_node(p, SIZE, dev); i++)
		usleep(100000);
	EXPECT_EQ(0, on_node(p, SIZE, dev));
	EXPECT_TRUE(intact(p, SIZE, 13));

	cg_leave();
}

TEST_HARNESS_MAIN
