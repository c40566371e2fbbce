// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input to the kernel's own calls.
 *
 * Invariant 8: node ids that aren't, masks with holes, ranges that aren't
 * there, other people's processes: an error that says so, and nothing has
 * changed.
 *
 * Each error is asked for with an ordinary node as the target as well; what is
 * an error there is the same error here.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/badinput.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

#define NOWHERE	((void *)0x10000)
#define NOBODY	65534

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
	/* 128 is none that these kernels are built for */
	mask[2] = 1;
	EXPECT_TRUE(refused(&self->n, MPOL_BIND, mask, 193, -EINVAL));
	mask[2] = 0;
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

TEST_HARNESS_MAIN
