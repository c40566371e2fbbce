// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input, and bad moments.
 *
 * Invariant 8: node ids that aren't, masks with holes, ranges that aren't
 * there, other people's processes: an error that says so, and nothing has
 * changed. Invariant 5: tasks that exit, exec, fork, unmap or are killed while
 * pages move to a device and back: what is still mapped is readable, and every
 * other page is free. Invariant 4: a task whose device is taken away, from its
 * cpuset or from the machine, goes on in system memory or gets SIGBUS, at once.
 *
 * Each error is asked for with an ordinary node as the target as well; what is
 * an error there is the same error here. Each race counts what it did, and
 * fails when it did nothing.
 *
 * Proof that it can fail: a page that stayed on a device since two processes
 * shared it was found after "race"; a mover that also writes is found in it.
 * "cpuset" found the moment in which a cpuset has lost the device and the policy
 * of a mapping hasn't: tasks died, and the kernel complained.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING	0x2000
#endif
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define DIR	"/tmp/devmem-badinput"
#define NO_NODE	60		/* possible at most */
#define NOWHERE	((void *)0x10000)
#define NOBODY	65534

FIXTURE(nodes)
{
	struct nodes n;
	unsigned long s0, s1, d1, d2;	/* masks */
	char *p;			/* content 1, on s0 */
};

/* Before each test and after it: what one that was killed may have left */
static void clean_up(const struct nodes *n)
{
	int i;

	while (!umount2(DIR, MNT_DETACH))
		;
	rmdir(DIR);
	rmdir(CG);
	swap_off_ram();
	/*
	 * A process that moves shares pages with this one and its parents, and
	 * those that one of them is using stay behind.
	 */
	for (i = 0; i < 10; i++)
		if (!migrate(0, NODE(n->d1), NODE(n->s0)) &&
		    !migrate(0, NODE(n->d2), NODE(n->s0)))
			break;
}

FIXTURE_SETUP(nodes)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	self->s0 = NODE(self->n.s0);
	self->s1 = NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	self->d2 = NODE(self->n.d2);
	self->p = map_anon(SIZE);
	ASSERT_NE(NULL, self->p);
	fill_pages(self->p, SIZE, 1);
}

FIXTURE_TEARDOWN_PARENT(nodes)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* -- Masks -------------------------------------------------------------------- */

static long raw_mbind(void *p, size_t size, int mode, const void *mask,
		      unsigned long max, unsigned int flags)
{
	return syscall(SYS_mbind, p, size, mode, mask, max, flags) ? -errno : 0;
}

static long raw_set(int mode, const void *mask, unsigned long max)
{
	return syscall(SYS_set_mempolicy, mode, mask, max) ? -errno : 0;
}

/* Refused by both calls, and what is allocated next is ordinary memory. */
static bool refused(const struct nodes *n, int mode, const void *mask,
		    unsigned long max, long error)
{
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	long by_mbind, by_set;
	bool ok;

	by_mbind = raw_mbind(p, SIZE, mode, mask, max, 0);
	by_set = raw_set(mode, mask, max);
	fill_pages(p, SIZE, 1);
	fill_pages(q, SIZE, 2);
	ok = by_mbind == error && by_set == error &&
	     placed(p, SIZE, n->s0, 1) && placed(q, SIZE, n->s0, 2);
	if (!ok)
		ksft_print_msg("mode %#x: %ld, %ld instead of %ld\n", mode,
			       by_mbind, by_set, error);
	munmap(p, SIZE);
	munmap(q, SIZE);

	return ok;
}

#define REFUSED(mode, mask) \
	EXPECT_TRUE(refused(&self->n, mode, &(unsigned long){ mask }, \
			    MAX_NODES + 1, -EINVAL))

TEST_F(nodes, masks_refused)
{
	const unsigned long d1 = self->d1, none = NODE(NO_NODE);

	/* No node, and a node that isn't there, in every mode */
	REFUSED(MPOL_BIND, 0);
	REFUSED(MPOL_INTERLEAVE, 0);
	REFUSED(MPOL_WEIGHTED_INTERLEAVE, 0);
	REFUSED(MPOL_PREFERRED_MANY, 0);
	REFUSED(MPOL_PREFERRED | MPOL_F_STATIC_NODES, 0);
	REFUSED(MPOL_BIND, none);
	REFUSED(MPOL_INTERLEAVE, none);
	REFUSED(MPOL_WEIGHTED_INTERLEAVE, none);
	REFUSED(MPOL_PREFERRED, none);
	REFUSED(MPOL_PREFERRED_MANY, none);
	REFUSED(MPOL_BIND | MPOL_F_STATIC_NODES, none);

	/* Nodes where there can't be any, modes and flags that aren't */
	REFUSED(MPOL_DEFAULT, d1);
	REFUSED(MPOL_LOCAL, d1);
	REFUSED(MPOL_LOCAL | MPOL_F_STATIC_NODES, 0);
	REFUSED(99, d1);
	REFUSED(MPOL_BIND | 0x1000, d1);
	REFUSED(MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, d1);
	REFUSED(MPOL_INTERLEAVE | MPOL_F_NUMA_BALANCING, d1);
	REFUSED(MPOL_PREFERRED | MPOL_F_NUMA_BALANCING, d1);
}

/* Nodes that aren't there are passed over, if others are. */
TEST_F(nodes, masks_with_holes)
{
	const unsigned long mask = self->d2 | NODE(NO_NODE);
	unsigned long got;
	char *p = map_anon(SIZE);

	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
	EXPECT_EQ(MPOL_BIND, policy_at(p, &got));
	EXPECT_EQ(self->d2, got);

	/* A literal mask is remembered as it was given. */
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND | MPOL_F_STATIC_NODES, mask,
				 0));
	fill_pages(p, SIZE, 2);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 2));
	EXPECT_EQ(MPOL_BIND | MPOL_F_STATIC_NODES, policy_at(p, &got));
	EXPECT_EQ(mask, got);

	/* A hole and a system node: mixed */
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask | self->s1, 0));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, self->n.s1, 3));
}

TEST_F(nodes, mask_lengths)
{
	unsigned long mask[1024] = { self->d1 };
	char *p = map_anon(SIZE), *hole;

	/* Longer than there are nodes: allowed if nothing is in it */
	EXPECT_EQ(0, raw_mbind(p, SIZE, MPOL_BIND, mask, 1025, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	mask[1] = 1;
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 129, -EINVAL));
	mask[1] = 0;
	mask[15] = 1UL << 63;
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 1025, -EINVAL));
	mask[15] = 0;

	/* Longer than a page, as long as can be, and of no length */
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 8 * PAGE + 2, -EINVAL));
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, ULONG_MAX, -EINVAL));
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 0, -EINVAL));
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 1, -EINVAL));
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, NULL, MAX_NODES + 1, -EINVAL));
	/* Cut off before its node */
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, self->n.d1 + 1,
			    -EINVAL));

	/* Not there, and not all there */
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, NOWHERE, MAX_NODES + 1,
			    -EFAULT));
	hole = map_anon(2 * PAGE);
	munmap(hole + PAGE, PAGE);
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, hole + PAGE - 8, 129,
			    -EFAULT));
}

TEST_F(nodes, get_mempolicy)
{
	unsigned long mask[2];
	int mode;

	EXPECT_EQ(-1, syscall(SYS_get_mempolicy, &mode, mask, 1, NULL, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_get_mempolicy, &mode, mask, 65, NULL, 0x80));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_get_mempolicy, &mode, mask, 65, NOWHERE,
			      MPOL_F_ADDR));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, syscall(SYS_get_mempolicy, &mode, NOWHERE, 65, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, syscall(SYS_get_mempolicy, NOWHERE, NULL, 0, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
}

/* -- Ranges ------------------------------------------------------------------- */

TEST_F(nodes, ranges)
{
	const int how = MPOL_MF_MOVE | MPOL_MF_STRICT, bind = MPOL_BIND;
	unsigned long mask, d1 = self->d1;
	char *p = self->p;

	/* Nothing */
	EXPECT_EQ(0, mbind_nodes(p, 0, bind, d1, how));
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p, &mask));
	EXPECT_EQ(0, mbind_nodes(NOWHERE, 0, bind, d1, how));

	/* Not at a page, around the end of the world, where nothing can be */
	EXPECT_EQ(-EINVAL, raw_mbind(p + 1, SIZE, bind, &d1, 65, how));
	EXPECT_EQ(-EINVAL, raw_mbind(p, -PAGE, bind, &d1, 65, how));
	EXPECT_EQ(-EFAULT, raw_mbind((void *)(1UL << 62), SIZE, bind, &d1, 65,
				     how));
	EXPECT_EQ(-EFAULT, raw_mbind(NOWHERE, PAGE, bind, &d1, 65, how));
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 1));

	/* The last page counts, however little of it is named. */
	EXPECT_EQ(0, mbind_nodes(p, PAGE + 1, bind, d1, how));
	EXPECT_EQ(2, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(bind, policy_at(p + PAGE, &mask));
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p + 2 * PAGE, &mask));
}

/* With a hole: refused as a whole; the default policy doesn't mind holes. */
TEST_F(nodes, range_with_hole)
{
	const int how = MPOL_MF_MOVE | MPOL_MF_STRICT;
	unsigned long mask, d1 = self->d1;
	char *p = self->p;

	munmap(p + 4 * PAGE, PAGE);
	EXPECT_EQ(-EFAULT, raw_mbind(p, SIZE, MPOL_BIND, &d1, 65, how));
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p, &mask));
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p + 5 * PAGE, &mask));
	EXPECT_EQ(N - 1, on_node(p, SIZE, self->n.s0));
	EXPECT_EQ(-EFAULT, raw_mbind(p + 4 * PAGE, SIZE - 4 * PAGE, MPOL_BIND,
				     &d1, 65, how));
	EXPECT_EQ(-EFAULT, raw_mbind(p, 5 * PAGE, MPOL_BIND, &d1, 65, how));

	EXPECT_EQ(0, move(p, SIZE, self->n.d1, NULL));
	EXPECT_EQ(N - 1, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(0, raw_mbind(p, SIZE, MPOL_DEFAULT, NULL, 0, how));
	EXPECT_EQ(N - 1, on_node(p, SIZE, self->n.s0));
	EXPECT_TRUE(intact(p, 4 * PAGE, 1));
	EXPECT_TRUE(intact(p + 5 * PAGE, SIZE - 5 * PAGE, 6));
}

/* What can't be accessed can be placed and moved. */
TEST_F(nodes, prot_none)
{
	const int how = MPOL_MF_MOVE | MPOL_MF_STRICT;
	char *p = self->p, *q = map_anon(SIZE);

	ASSERT_EQ(0, mprotect(p, SIZE, PROT_NONE));
	EXPECT_EQ(0, move(p, SIZE, self->n.d1, NULL));
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d2, how));
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d2));
	ASSERT_EQ(0, mprotect(p, SIZE, PROT_READ));
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));

	ASSERT_EQ(0, mprotect(q, SIZE, PROT_NONE));
	EXPECT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, self->d1, how));
	EXPECT_EQ(-1, madvise(q, SIZE, MADV_POPULATE_WRITE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(N, on_node(q, SIZE, NONE));
	ASSERT_EQ(0, mprotect(q, SIZE, PROT_READ | PROT_WRITE));
	fill_pages(q, SIZE, 2);
	EXPECT_TRUE(placed(q, SIZE, self->n.d1, 2));
}

static long raw_home(void *p, size_t size, unsigned long nid, int flags)
{
	return syscall(SYS_set_mempolicy_home_node, p, size, nid, flags) ?
		-errno : 0;
}

TEST_F(nodes, home_nodes)
{
	char *p = map_anon(SIZE);
	int d2 = self->n.d2;

	EXPECT_EQ(-ENOENT, raw_home(p, SIZE, d2, 0));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1 | self->d2, 0));
	EXPECT_EQ(-EINVAL, raw_home(p, SIZE, NO_NODE, 0));
	EXPECT_EQ(-EINVAL, raw_home(p, SIZE, MAX_NODES, 0));
	EXPECT_EQ(-EINVAL, raw_home(p, SIZE, -1, 0));
	EXPECT_EQ(-EINVAL, raw_home(p, SIZE, d2, 1));
	EXPECT_EQ(-EINVAL, raw_home(p + 1, SIZE, d2, 0));
	EXPECT_EQ(-EINVAL, raw_home(p, -PAGE, d2, 0));
	EXPECT_EQ(-ENOENT, raw_home(NOWHERE, PAGE, d2, 0));
	EXPECT_EQ(0, raw_home(p, 0, d2, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_INTERLEAVE,
				 self->d1 | self->d2, 0));
	EXPECT_EQ(-EOPNOTSUPP, raw_home(p, SIZE, d2, 0));
}

/* -- move_pages() ------------------------------------------------------------- */

static long raw_move(pid_t pid, unsigned long n, const void *pages,
		     const void *nodes, void *status, int flags)
{
	long rc = syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);

	return rc < 0 ? -errno : rc;
}

/* A node that isn't, after one that is: the first page may have moved. */
TEST_F(nodes, move_to_no_node)
{
	const int bad[] = {
		-1, INT_MIN, INT_MAX, MAX_NODES, 1000, NO_NODE, MAX_NODES - 1,
	};
	void *pages[] = { self->p, self->p + PAGE, self->p + 2 * PAGE };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int nodes[] = { self->n.d1, bad[i], self->n.d1 };
		int status[3] = { -99, -99, -99 };

		EXPECT_EQ(-ENODEV, raw_move(0, 3, pages, nodes, status,
					    MPOL_MF_MOVE)) {
			TH_LOG("node %d", bad[i]);
		}
		EXPECT_EQ(1, on_node(self->p, SIZE, self->n.d1));
		EXPECT_EQ(self->n.d1, status[0]);
		EXPECT_EQ(-99, status[2]);
		EXPECT_EQ(0, move(self->p, SIZE, self->n.s0, NULL));
	}
	EXPECT_TRUE(placed(self->p, SIZE, self->n.s0, 1));
}

/* Pages of all kinds in one call: each gets its answer, the good ones move. */
TEST_F(nodes, move_addresses)
{
	const int targets[] = { self->n.s1, self->n.d1 };
	char *absent = map_anon(PAGE), *zero = map_anon(PAGE);
	int t;

	ASSERT_EQ(0, madvise(zero, PAGE, MADV_POPULATE_READ));
	for (t = 0; t < 2; t++) {
		int to = targets[t];
		void *pages[] = {
			self->p, NOWHERE, self->p + PAGE + 5, absent,
			(void *)(1UL << 63), zero, self->p + 2 * PAGE, NULL,
			self->p + 3 * PAGE,
		};
		int nodes[] = { to, to, to, to, to, to, to, to, to };
		int status[9];

		EXPECT_EQ(0, raw_move(0, 9, pages, nodes, status,
				      MPOL_MF_MOVE));
		EXPECT_EQ(to, status[0]);
		EXPECT_EQ(-EFAULT, status[1]);
		EXPECT_EQ(to, status[2]);
		EXPECT_EQ(-ENOENT, status[3]);
		EXPECT_EQ(-EFAULT, status[4]);
		EXPECT_EQ(-EFAULT, status[5]);
		EXPECT_EQ(to, status[6]);
		EXPECT_EQ(-EFAULT, status[7]);
		EXPECT_EQ(to, status[8]);
		EXPECT_EQ(4, on_node(self->p, SIZE, to));
		EXPECT_TRUE(intact(self->p, SIZE, 1));
	}
}

/* The same page again and again */
TEST_F(nodes, move_twice)
{
	void *pages[] = { self->p, self->p, self->p + 8, self->p };
	int nodes[] = { self->n.d1, self->n.d1, self->n.d1, self->n.d2 };
	int status[4];

	EXPECT_LE(0, raw_move(0, 4, pages, nodes, status, MPOL_MF_MOVE));
	EXPECT_EQ(1, on_node(self->p, PAGE, self->n.d1) +
		     on_node(self->p, PAGE, self->n.d2));
	EXPECT_TRUE(intact(self->p, SIZE, 1));
}

TEST_F(nodes, move_arrays)
{
	void *pages[] = { self->p, self->p + PAGE };
	int nodes[] = { self->n.d1, self->n.d1 }, status[2];
	char *edge = map_anon(2 * PAGE), *read_only = map_anon(PAGE);

	EXPECT_EQ(0, raw_move(0, 0, NULL, NULL, NULL, MPOL_MF_MOVE));
	EXPECT_EQ(0, raw_move(0, 0, pages, nodes, status, MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, raw_move(0, 2, pages, nodes, status,
				    MPOL_MF_STRICT));
	EXPECT_EQ(-EINVAL, raw_move(0, 2, pages, nodes, status, 1 << 20));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, NULL, nodes, status, MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, NOWHERE, nodes, status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, NOWHERE, status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, NULL, NOWHERE, 0));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, NULL, NULL, status, 0));
	EXPECT_EQ(N, on_node(self->p, SIZE, self->n.s0));

	/* Nobody hears of what was done; it is done, or it isn't. */
	ASSERT_EQ(0, mprotect(read_only, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, nodes, NULL, MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, nodes, NOWHERE,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, nodes, read_only,
				    MPOL_MF_MOVE));
	EXPECT_EQ(N, on_node(self->p, SIZE, self->n.s0) +
		     on_node(self->p, SIZE, self->n.d1));
	EXPECT_TRUE(intact(self->p, SIZE, 1));

	/* Arrays that end in the middle */
	ASSERT_EQ(0, munmap(edge + PAGE, PAGE));
	memcpy(edge + PAGE - 8, pages, 8);
	EXPECT_EQ(-EFAULT, raw_move(0, 2, edge + PAGE - 8, nodes, status,
				    MPOL_MF_MOVE));
	memcpy(edge + PAGE - 4, nodes, 4);
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, edge + PAGE - 4, status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, raw_move(0, 2, pages, nodes, edge + PAGE - 4,
				    MPOL_MF_MOVE));
	memcpy(edge + PAGE - 8, pages, 8);
	EXPECT_EQ(-EFAULT, raw_move(0, ULONG_MAX, edge + PAGE - 8, nodes,
				    status, MPOL_MF_MOVE));
	EXPECT_EQ(N, on_node(self->p, SIZE, self->n.s0) +
		     on_node(self->p, SIZE, self->n.d1));
	EXPECT_TRUE(intact(self->p, SIZE, 1));
}

/* -- Processes ---------------------------------------------------------------- */

/* A process id that nobody has: of a child that is gone */
static pid_t no_process(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);

	return pid;
}

TEST_F(nodes, processes)
{
	const pid_t kthreadd = 2, gone = no_process();
	unsigned long from = self->s0, to = self->d1;
	int node = self->n.d1, status;
	void *page = self->p;

	EXPECT_EQ(-ESRCH, raw_move(gone, 1, &page, &node, &status,
				   MPOL_MF_MOVE));
	EXPECT_EQ(-ESRCH, raw_move(gone, 1, &page, NULL, &status, 0));
	EXPECT_EQ(-ESRCH, migrate(gone, from, to));
	EXPECT_EQ(-ESRCH, migrate(-5, from, to));
	EXPECT_EQ(-EINVAL, raw_move(kthreadd, 1, &page, &node, &status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, migrate(kthreadd, from, to));

	EXPECT_EQ(-EINVAL, migrate(0, from, 0));
	EXPECT_EQ(-EINVAL, migrate(0, from, NODE(NO_NODE)));
	EXPECT_EQ(0, migrate(0, NODE(NO_NODE), to));
	EXPECT_EQ(0, migrate(0, 0, to));
	EXPECT_EQ(-1, syscall(SYS_migrate_pages, 0, 65, NOWHERE, &to));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, syscall(SYS_migrate_pages, 0, 65, &from, NOWHERE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(placed(self->p, SIZE, self->n.s0, 1));
}

static char *make_anon(void)
{
	return map_anon(SIZE);
}

static int touch_others(pid_t pid, char *p, int nid)
{
	struct iovec range = { .iov_base = p, .iov_len = SIZE };
	int fd = syscall(SYS_pidfd_open, pid, 0);
	void *page = p;
	int status;

	if (raw_move(pid, 1, &page, &nid, &status, MPOL_MF_MOVE) != -EPERM)
		return 1;
	if (raw_move(pid, 1, &page, NULL, &status, 0) != -EPERM)
		return 2;
	if (migrate(pid, ~0UL, NODE(nid)) != -EPERM)
		return 3;
	if (syscall(SYS_process_madvise, fd, &range, 1, MADV_PAGEOUT, 0) >= 0 ||
	    errno != EACCES)
		return 4;

	return 0;
}

/* Nobody has to put up with another user's moving his memory. */
TEST_F(nodes, other_users)
{
	int status;
	pid_t pid, holder;
	char *p;

	holder = start_holder(make_anon, SIZE, 1, &p);
	ASSERT_LT(0, holder);
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(touch_others(holder, p, self->n.d1));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(N, others_on_node(holder, p, SIZE, self->n.s0));
	/* The control: who may, can. */
	EXPECT_EQ(0, move_others(holder, p, SIZE, self->n.d1));
	EXPECT_EQ(0, end_holder(holder));
}

/* -- tmpfs, weights ------------------------------------------------------------ */

TEST_F(nodes, tmpfs_options)
{
	static const char * const bad[] = {
		"mpol=bind", "mpol=bind:", "mpol=bind:60", "mpol=bind:64",
		"mpol=bind:-1", "mpol=bind:x", "mpol=device:2", "mpol=",
		"mpol=prefer:2-3", "mpol=interleave:2-60", "mpol=local:2",
		"mpol=default:2", "mpol=bind=relative", "mpol=bind=exact:2",
		"mpol=bind=static:60", "mpol=prefer (many)",
	};
	char good[32];
	size_t i;

	mkdir(DIR, 0700);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-1, mount("devmem", DIR, "tmpfs", 0, bad[i])) {
			TH_LOG("%s", bad[i]);
		}
		EXPECT_EQ(EINVAL, errno);
	}

	/* What is mounted keeps its policy. */
	snprintf(good, sizeof(good), "mpol=bind:%d", self->n.d1);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, good));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-1, mount("devmem", DIR, "tmpfs", MS_REMOUNT,
				    bad[i])) {
			TH_LOG("%s", bad[i]);
		}
	}
	EXPECT_EQ(0, system("grep -q ' " DIR " .*mpol=bind:' /proc/mounts"));
	EXPECT_EQ(0, umount(DIR));
}

TEST_F(nodes, weights)
{
	static const char * const bad[] = { "-1", "256", "x", "1 2" };
	char path[96];
	size_t i;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/mempolicy/weighted_interleave/node%d",
		 self->n.d1);
	if (access(path, F_OK))
		SKIP(return, "no weighted interleave");
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		EXPECT_EQ(-EINVAL, write_text(path, bad[i]));
	EXPECT_EQ(1, read_number(path));
}

/* -- Races ---------------------------------------------------------------------- */

/*
 * One thread moves pages around all nodes; another does something else with
 * them and looks after their content. Both have to get somewhere: a number of
 * rounds of each, or the time is over.
 */
struct race {
	const struct nodes *n;
	char *p;		/* where the pages are */
	char *other;		/* where they go with mremap(), and return */
	atomic_bool stop;
	atomic_long moved;	/* pages that were seen to arrive */
};

FIXTURE(race)
{
	struct nodes n;
};

FIXTURE_VARIANT(race)
{
	/* Return: false when the content isn't what it should be */
	bool (*step)(struct race *r, int round);
	bool whole;		/* the process's pages, by migrate_pages() */
	bool swap;
};

#include "race_steps.h"

static bool step_lock(struct race *r, int round)
{
	if (mlock(r->p, SIZE) || munlock(r->p, SIZE))
		return false;

	return step_write(r, round);
}

static bool step_swap(struct race *r, int round)
{
	madvise(r->p, SIZE, MADV_PAGEOUT);

	return step_write(r, round);
}

/* Made to move by two at a time */
static bool step_mbind(struct race *r, int round)
{
	const int nids[] = { r->n->d2, r->n->s1, r->n->d1, r->n->s0 };

	mbind_nodes(r->p, SIZE, MPOL_BIND, NODE(nids[round % 4]),
		    MPOL_MF_MOVE);

	return step_write(r, round);
}

FIXTURE_VARIANT_ADD(race, write) {
	.step = step_write,
};

FIXTURE_VARIANT_ADD(race, write_whole) {
	.step = step_write,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, remap) {
	.step = step_remap,
};

FIXTURE_VARIANT_ADD(race, unmap) {
	.step = step_unmap,
};

FIXTURE_VARIANT_ADD(race, unmap_whole) {
	.step = step_unmap,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, drop) {
	.step = step_drop,
};

FIXTURE_VARIANT_ADD(race, protect) {
	.step = step_protect,
};

FIXTURE_VARIANT_ADD(race, lock) {
	.step = step_lock,
};

FIXTURE_VARIANT_ADD(race, fork) {
	.step = step_fork,
};

FIXTURE_VARIANT_ADD(race, fork_whole) {
	.step = step_fork,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, swap) {
	.step = step_swap,
	.swap = true,
};

FIXTURE_VARIANT_ADD(race, mbind) {
	.step = step_mbind,
};

FIXTURE_SETUP(race)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	if (variant->swap && swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
}

FIXTURE_TEARDOWN_PARENT(race)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* What of the two places is mapped, to each node in turn */
static void *move_around(void *arg)
{
	struct race *r = arg;
	const int nids[] = { r->n->d1, r->n->s0, r->n->d2, r->n->s1 };
	void *pages[2 * N];
	int nodes[2 * N], status[2 * N], round, i;

	for (i = 0; i < N; i++) {
		pages[i] = r->p + i * PAGE;
		pages[N + i] = r->other + i * PAGE;
	}
	for (round = 0; !r->stop; round++) {
		for (i = 0; i < 2 * N; i++)
			nodes[i] = nids[round % 4];
		memset(status, -1, sizeof(status));
		raw_move(0, 2 * N, pages, nodes, status, MPOL_MF_MOVE);
		for (i = 0; i < 2 * N; i++)
			r->moved += status[i] == nodes[i];
	}

	return NULL;
}

static void *migrate_around(void *arg)
{
	struct race *r = arg;
	const int nids[] = { r->n->d1, r->n->s0, r->n->d2, r->n->s1 };
	int round;

	for (round = 0; !r->stop; round++) {
		int to = nids[round % 4];

		if (migrate(0, NODE(nids[(round + 3) % 4]), NODE(to)) >= 0)
			r->moved += on_node(r->p, SIZE, to);
	}
	return NULL;
}

#define ROUNDS	40

TEST_F(race, race)
{
	struct race r = {
		.n = &self->n,
		.p = map_anon(SIZE),
		.other = map_anon(SIZE),
	};
	time_t end = time(NULL) + 60;
	pthread_t mover;
	int round;

	fill_pages(r.p, SIZE, SEED(0));
	ASSERT_EQ(0, pthread_create(&mover, NULL, variant->whole ?
				    migrate_around : move_around, &r));
	for (round = 0; round < ROUNDS || r.moved < 8 * N;) {
		bool ok = variant->step(&r, round++);

		EXPECT_TRUE(ok);
		if (!ok || time(NULL) > end)
			break;
	}
	r.stop = true;
	ASSERT_EQ(0, pthread_join(mover, NULL));
	TH_LOG("%d rounds, %ld pages moved", round, r.moved);
	EXPECT_TRUE(intact(r.p, SIZE, SEED(round)));
	EXPECT_LE(ROUNDS / 4, round);
	EXPECT_LE(2 * N, r.moved);
}

/* -- Tasks that end, and signals ---------------------------------------------- */

enum { BY_ADDRESS, BY_PROCESS, WAYS };

static long move_task(int way, pid_t pid, char *p, const struct nodes *n, int i)
{
	int from = i % 2 ? n->d1 : n->s0, to = i % 2 ? n->s0 : n->d1;

	return way == BY_ADDRESS ? move_others(pid, p, SIZE, to) :
				   migrate(pid, NODE(from), NODE(to));
}

FIXTURE(end)
{
	struct nodes n;
};

FIXTURE_VARIANT(end)
{
	void (*how)(void);
	int status;
	int way;
};

FIXTURE_VARIANT_ADD(end, exit) {
	by_exit, 0, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, exit_whole) {
	by_exit, 0, BY_PROCESS
};

FIXTURE_VARIANT_ADD(end, exec) {
	by_exec, 0, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, exec_whole) {
	by_exec, 0, BY_PROCESS
};

FIXTURE_VARIANT_ADD(end, kill) {
	by_kill, SIGKILL, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, kill_whole) {
	by_kill, SIGKILL, BY_PROCESS
};

FIXTURE_SETUP(end)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
}

FIXTURE_TEARDOWN_PARENT(end)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* Until it is no more: an error that says so, and nothing stays behind */
TEST_F(end, moved_meanwhile)
{
	long rc, calls = 0;
	int i, k, status;
	pid_t pid;
	char *p;

	for (k = 0; k < 15; k++) {
		pid = start_mortal(variant->how, SIZE, k * 3000, &p);
		ASSERT_LT(0, pid);
		for (i = 0; ; i++) {
			rc = move_task(variant->way, pid, p, &self->n, i);
			if (rc < 0)
				break;
			calls++;
			if (waitpid(pid, &status, WNOHANG) == pid)
				break;
		}
		if (rc < 0) {
			EXPECT_TRUE(rc == -EINVAL || rc == -ESRCH || rc == -EFAULT) {
				TH_LOG("%s", strerror(-rc));
			}
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		}
		EXPECT_EQ(variant->status, status);
	}
	EXPECT_LT(0, calls);
}

/* Signals that are handled, all the time, in the middle of all of it */
TEST_F(nodes, handled_signals)
{
	const int nids[] = { self->n.d1, self->n.s0, self->n.d2, self->n.s1 };
	const size_t size = 4 * MIB;
	char *p = map_anon(size);
	long all = size / PAGE, moved = 0, rc;
	int i;

	fill_pages(p, size, 5);
	ticks(700);
	for (i = 0; i < 12; i++) {
		int to = nids[i % 4];

		if (i / 4 % 3 == 0) {
			rc = move(p, size, to, NULL);
		} else if (i / 4 % 3 == 1) {
			rc = mbind_nodes(p, size, MPOL_PREFERRED, NODE(to),
					 MPOL_MF_MOVE);
		} else {
			rc = migrate(0, NODE(nids[(i + 3) % 4]), NODE(to));
		}
		EXPECT_TRUE(rc >= 0 || rc == -EINTR);
		moved += on_node(p, size, to);
		EXPECT_EQ(0, on_node(p, size, NONE));
	}
	ticks(0);
	EXPECT_TRUE(intact(p, size, 5));
	EXPECT_LT(all * 6, moved);
}

static char *make_large(void)
{
	return map_anon(4 * MIB);
}

/* Who moves another's pages is killed: they are all there, here or there. */
TEST_F(nodes, killed_mover)
{
	const size_t size = 4 * MIB;
	const long all = size / PAGE;
	pid_t holder, mover;
	long there = 0;
	int k, i;
	char *p;

	holder = start_holder(make_large, size, 6, &p);
	ASSERT_LT(0, holder);
	for (k = 0; k < 20; k++) {
		mover = fork();
		if (!mover) {
			for (i = 0; ; i++)
				if (k % 2)
					move_others(holder, p, size, i % 2 ?
						    self->n.s0 : self->n.d1);
				else
					migrate(holder, i % 2 ? self->d1 :
						self->s0, i % 2 ? self->s0 :
						self->d1);
		}
		usleep(5000 + k * 7000);
		kill(mover, SIGKILL);
		waitpid(mover, NULL, 0);
		there += others_on_node(holder, p, size, self->n.d1);
		EXPECT_EQ(all, others_on_node(holder, p, size, self->n.d1) +
			       others_on_node(holder, p, size, self->n.s0));
	}
	EXPECT_LT(0, there);
	EXPECT_EQ(0, end_holder(holder));
}

/* -- A device that is taken away -------------------------------------------------- */

/*
 * A task bound to a device, always in need of new memory. @p is what it holds,
 * with content 1.
 */
struct eater {
	char *p;
	atomic_long rounds;
	atomic_long there;	/* pages of the device that it got last */
	pid_t pid;
};

enum { BY_TASK, BY_MAPPING };

static struct eater *start_eater(int whose, int mode, int nid)
{
	struct eater *e = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS,
					    -1);
	pid_t pid = fork();
	char *p;

	if (pid) {
		e->pid = pid;
		return e;
	}

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	e->p = map_anon(SIZE);
	p = map_anon(SIZE);
	if (whose == BY_TASK ? set_policy(mode, NODE(nid)) :
			       mbind_nodes(p, SIZE, mode, NODE(nid), 0))
		_exit(2);
	fill_pages(e->p, SIZE, 1);
	for (;;) {
		fill_pages(p, SIZE, 2);
		e->there = on_node(p, SIZE, nid);
		if (!intact(p, SIZE, 2) || !intact(e->p, SIZE, 1))
			_exit(3);
		madvise(p, SIZE, MADV_DONTNEED);
		e->rounds++;
	}
}

/* It gets on: @n rounds more. Return: false when it is dead, or stuck */
static bool eats(struct eater *e, int n)
{
	long until = e->rounds + n;
	int i;

	for (i = 0; i < 60 * 50 && e->rounds < until; i++) {
		siginfo_t info = { .si_pid = 0 };

		waitid(P_PID, e->pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid)
			return false;
		usleep(20000);
	}

	return e->rounds >= until;
}

/* Return: how it died */
static int end_eater(struct eater *e)
{
	int status = -1;

	kill(e->pid, SIGKILL);
	waitpid(e->pid, &status, 0);
	munmap(e, PAGE);

	return status;
}

FIXTURE(cpuset)
{
	struct nodes n;
	unsigned long system, d1;	/* masks */
	const char *path;
};

FIXTURE_VARIANT(cpuset)
{
	bool v1;
	bool migrates;
};

FIXTURE_VARIANT_ADD(cpuset, v2) {
	.migrates = true,
};

FIXTURE_VARIANT_ADD(cpuset, v1) {
	.v1 = true,
};

FIXTURE_VARIANT_ADD(cpuset, v1_migrate) {
	.v1 = true,
	.migrates = true,
};

#define CONTROL	"/sys/fs/cgroup/cgroup.subtree_control"

static int set_file(const char *dir, const char *file, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", dir, file);

	return write_text(path, text);
}

static int set_mems(const char *dir, unsigned long mask)
{
	char text[256] = "";
	int i, len = 0;

	for (i = 0; i < MAX_NODES; i++)
		if (mask & NODE(i))
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", i);

	return set_file(dir, "cpuset.mems", text);
}

/* This process is in a cpuset of two system nodes and one device. */
FIXTURE_SETUP(cpuset)
{
	char pid[16];
	int i;

	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	if (variant->v1) {
		/* What cgroup v2 had of it goes away in its own time. */
		write_text(CONTROL, "-cpuset");
		mkdir(DIR, 0700);
		for (i = 0; i < 300; i++) {
			if (!mount("devmem", DIR, "cgroup", 0, "cpuset"))
				break;
			usleep(100000);
		}
		self->path = DIR "/devmem";
		if (mkdir(self->path, 0755))
			SKIP(return, "no cpusets of cgroup v1");
		ASSERT_EQ(0, set_file(self->path, "cpuset.cpus", "0"));
		ASSERT_EQ(0, set_file(self->path, "cpuset.memory_migrate",
				      variant->migrates ? "1" : "0"));
	} else {
		if (write_text(CONTROL, "+cpuset"))
			SKIP(return, "no cpusets of cgroup v2");
		self->path = CG;
		ASSERT_EQ(0, mkdir(self->path, 0755));
	}
	self->system = NODE(self->n.s0) | NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	ASSERT_EQ(0, set_mems(self->path, self->system | self->d1));
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(0, set_file(self->path, "cgroup.procs", pid));
}

FIXTURE_TEARDOWN_PARENT(cpuset)
{
	rmdir(self->path);
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

static bool all_gone(char *p, int nid, bool patient)
{
	int i;

	for (i = 0; i < (patient ? 300 : 20) && on_node(p, SIZE, nid); i++)
		usleep(100000);

	return !on_node(p, SIZE, nid);
}

TEST_F(cpuset, device_removed)
{
	const int s0 = self->n.s0, d1 = self->n.d1;
	struct eater *e = start_eater(BY_TASK, MPOL_BIND, d1);
	struct eater *m = start_eater(BY_MAPPING, MPOL_BIND, d1);
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	int d1_node = d1, status;
	void *page = p;

	ASSERT_TRUE(eats(e, 2));
	EXPECT_EQ(N, e->there);
	ASSERT_TRUE(eats(m, 2));
	EXPECT_EQ(N, m->there);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(d1), 0));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, d1, 3));
	ASSERT_EQ(0, set_mems(self->path, self->system));

	/* Nothing is to be had any more, by any name; who was bound goes on. */
	EXPECT_TRUE(eats(e, 5));
	EXPECT_EQ(0, e->there);
	EXPECT_TRUE(eats(m, 5));
	EXPECT_EQ(0, m->there);
	EXPECT_EQ(-1, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d1), 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, set_policy(MPOL_BIND, NODE(d1)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EACCES, raw_move(0, 1, &page, &d1_node, &status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, migrate(0, NODE(s0), NODE(d1)));

	/* What was there moves if this cpuset moves memory. */
	EXPECT_EQ(variant->migrates, all_gone(p, d1, variant->migrates));
	EXPECT_TRUE(intact(p, SIZE, 3));
	EXPECT_EQ(SIGKILL, end_eater(e));
	EXPECT_EQ(SIGKILL, end_eater(m));
}

/*
 * Again and again, under tasks that come back to the device when they may. The
 * kernel has nothing to complain of, either.
 */
TEST_F(cpuset, device_comes_and_goes)
{
	const int bind = MPOL_BIND | MPOL_F_STATIC_NODES, d1 = self->n.d1;
	struct eater *e[] = {
		start_eater(BY_TASK, bind, d1),
		start_eater(BY_MAPPING, bind, d1),
		start_eater(BY_TASK, MPOL_PREFERRED, d1),
	};
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(eats(e[i], 2));
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, set_mems(self->path, self->system));
		usleep(i * 500);
		ASSERT_EQ(0, set_mems(self->path, self->system | self->d1));
		usleep(i * 500);
	}
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(eats(e[i], 3));
		EXPECT_EQ(N, e[i]->there);
		EXPECT_EQ(SIGKILL, end_eater(e[i])) {
			TH_LOG("task %d died", i);
		}
	}
}

/* A cpuset of devices alone, of nothing, or of what isn't there */
TEST_F(cpuset, emptied)
{
	struct eater *e = start_eater(BY_TASK, MPOL_BIND, self->n.d1);
	char path[96], mems[64] = "";
	int rc;
	FILE *f;

	ASSERT_TRUE(eats(e, 2));
	EXPECT_EQ(-EINVAL, set_mems(self->path, self->d1));
	EXPECT_EQ(-EINVAL, set_mems(self->path,
				    self->d1 | NODE(self->n.d2)));
	EXPECT_EQ(-EINVAL, set_mems(self->path,
				    self->system | NODE(NO_NODE)));
	EXPECT_NE(0, set_file(self->path, "cpuset.mems", "0,64"));
	EXPECT_NE(0, set_file(self->path, "cpuset.mems", "x"));
	/* v1: there are tasks in it. v2: it has what its parent has. */
	rc = set_file(self->path, "cpuset.mems", "\n");
	if (variant->v1)
		EXPECT_EQ(-ENOSPC, rc);
	EXPECT_TRUE(eats(e, 5));
	snprintf(path, sizeof(path), "%s/cpuset.%s", self->path,
		 variant->v1 ? "effective_mems" : "mems.effective");
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	EXPECT_NE(NULL, fgets(mems, sizeof(mems), f));
	fclose(f);
	EXPECT_EQ('0' + self->n.s0, mems[0]) {
		TH_LOG("left: %s", mems);
	}
	EXPECT_EQ(SIGKILL, end_eater(e));
}

/* System nodes are exchanged for system nodes, never for a device. */
TEST_F(cpuset, rebound)
{
	const int s0 = self->n.s0, s1 = self->n.s1, d1 = self->n.d1;
	char *p = map_anon(SIZE), *q = map_anon(SIZE), *r = map_anon(SIZE);
	unsigned long mask;

	ASSERT_EQ(0, set_mems(self->path, self->system));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(s1), 0));
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND | MPOL_F_RELATIVE_NODES,
				 NODE(1), 0));
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, NODE(s0) | NODE(s1)));
	fill_pages(p, SIZE / 2, 1);
	fill_pages(q, SIZE / 2, 1);
	ASSERT_EQ(0, set_mems(self->path, NODE(s0) | self->d1));
	usleep(300000);
	fill_pages(p, SIZE, 1);
	fill_pages(q, SIZE, 1);
	fill_pages(r, SIZE, 1);
	EXPECT_EQ(0, on_node(p, SIZE, d1));
	EXPECT_EQ(0, on_node(q, SIZE, d1));
	EXPECT_EQ(0, on_node(r, SIZE, d1));
	EXPECT_EQ(MPOL_BIND, policy_at(p, &mask));
	EXPECT_EQ(0UL, mask & self->d1);
	EXPECT_TRUE(intact(p, SIZE, 1));
}

/* cgroup v1 alone: page cache spread over the nodes of the cpuset */
TEST_F(cpuset, memory_spread)
{
	long before = vm_event("pgalloc_coherent");

	if (!variant->v1)
		SKIP(return, "not in cgroup v2");
	ASSERT_EQ(0, set_file(self->path, "cpuset.memory_spread_page", "1"));
	set_file(self->path, "cpuset.memory_spread_slab", "1");
	ASSERT_EQ(0, set_mems(self->path,
			      NODE(self->n.s0) | self->d1));
	EXPECT_EQ(0, system("cat /dev/ram2 /dev/ram3 >/dev/null"));
	EXPECT_EQ(before, vm_event("pgalloc_coherent"));
}

/* -- A node that loses its memory -------------------------------------------- */

/*
 * All memory blocks of a node. One with a page that is just on its way can't
 * go offline at that moment. Return: whether it was done
 */
static bool set_blocks(int nid, const char *state)
{
	char command[192];
	int i;

	snprintf(command, sizeof(command),
		 "for b in /sys/devices/system/node/node%d/memory[0-9]*; do\n"
		 "[ $(cat $b/state) = %s ] || echo %s >$b/state || exit 1\n"
		 "done 2>/dev/null", nid, state, state);
	for (i = 0; i < 50; i++) {
		if (!system(command))
			return true;
		usleep(20000);
	}

	return false;
}

FIXTURE(offline)
{
	struct nodes n;
};

FIXTURE_SETUP(offline)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
}

FIXTURE_TEARDOWN_PARENT(offline)
{
	EXPECT_TRUE(set_blocks(self->n.d2, "online"));
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/*
 * The last block goes: everything on it moves, and who was bound goes on. In
 * the moment when it went, SIGBUS was an answer; waiting isn't.
 */
TEST_F(offline, under_tasks)
{
	const int s0 = self->n.s0, d1 = self->n.d1, d2 = self->n.d2;
	const int literal = MPOL_BIND | MPOL_F_STATIC_NODES;
	const size_t bytes = node_bytes(d2);
	struct eater *prefers = start_eater(BY_TASK, MPOL_PREFERRED, d2);
	struct eater *bound[] = {
		start_eater(BY_TASK, MPOL_BIND, d2),
		start_eater(BY_MAPPING, MPOL_BIND, d2),
		start_eater(BY_TASK, literal, d2),
		start_eater(BY_MAPPING, literal, d2),
	};
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	int d2_node = d2, status, i;
	void *page = p;
	bool alive[4];

	ASSERT_TRUE(eats(prefers, 1));
	for (i = 0; i < 4; i++)
		ASSERT_TRUE(eats(bound[i], 1));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(d2), 0));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, d2, 3));
	ASSERT_TRUE(set_blocks(d2, "offline"));
	EXPECT_EQ(0, (long)node_bytes(d2));
	EXPECT_EQ(0, on_node(p, SIZE, d2));
	EXPECT_EQ(0, on_node(p, SIZE, NONE));
	EXPECT_TRUE(intact(p, SIZE, 3));

	/* A node without memory can't be named. */
	EXPECT_EQ(-1, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d2), 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, set_policy(MPOL_PREFERRED, NODE(d2)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-ENODEV, raw_move(0, 1, &page, &d2_node, &status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, migrate(0, NODE(s0), NODE(d2)));
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d1) | NODE(d2), 0));
	fill_pages(q, SIZE, 4);
	EXPECT_TRUE(placed(q, SIZE, d1, 4));

	EXPECT_TRUE(eats(prefers, 3));
	EXPECT_EQ(0, prefers->there);
	for (i = 0; i < 4; i++) {
		alive[i] = eats(bound[i], 3);
		TH_LOG("bound task %d %s", i, alive[i] ? "goes on" : "is dead");
		if (alive[i])
			EXPECT_EQ(0, bound[i]->there);
	}

	/* Back: the node can be named, and who named it has it again. */
	ASSERT_TRUE(set_blocks(d2, "online"));
	EXPECT_EQ(bytes, node_bytes(d2));
	EXPECT_TRUE(eats(prefers, 3));
	EXPECT_EQ(N, prefers->there);
	EXPECT_EQ(SIGKILL, end_eater(prefers));
	for (i = 0; i < 4; i++) {
		if (alive[i]) {
			EXPECT_TRUE(eats(bound[i], 3));
			EXPECT_EQ(N, bound[i]->there);
		}
		status = end_eater(bound[i]);
		EXPECT_EQ(alive[i] ? SIGKILL : SIGBUS, WTERMSIG(status));
	}
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d2), MPOL_MF_MOVE));
	EXPECT_TRUE(placed(q, SIZE, d2, 4));
}

/* Pages that come while the block is on its way out */
TEST_F(offline, while_moving_in)
{
	const struct nodes *n = &self->n;
	const int d2 = n->d2;
	pid_t holder, mover;
	char *p;
	int i;

	holder = start_holder(make_anon, SIZE, 9, &p);
	ASSERT_LT(0, holder);
	mover = fork();
	if (!mover) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; ; i++)
			move_others(holder, p, SIZE, i % 2 ? d2 : n->s0);
	}
	for (i = 0; i < 5; i++) {
		EXPECT_TRUE(set_blocks(d2, "offline"));
		EXPECT_TRUE(set_blocks(d2, "online"));
	}
	kill(mover, SIGKILL);
	waitpid(mover, NULL, 0);
	EXPECT_EQ(0, others_on_node(holder, p, SIZE, NONE));
	EXPECT_EQ(0, end_holder(holder));
}

TEST_HARNESS_MAIN
