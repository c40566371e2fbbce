// SPDX-License-Identifier: GPL-2.0
/*
 * Every call that moves memory, with every flag: mbind() and migrate_pages().
 * See the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst.
 *
 * Invariant 1: it goes to the node that was named, or stays. Invariant 5: the
 * content is there after each step.
 *
 * What counts as moved, as shared or as failed is the kernel's to decide: the
 * same is done with the second system node as the target, and the answers have
 * to be equal.
 *
 * Proof that it can fail: on a machine without device nodes, with DEVMEM_NODES
 * naming two ordinary nodes, what has to stay in system memory doesn't.
 *
 * Wants two system nodes and two device nodes, once with all device nodes after
 * the system nodes and once with one between them; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/asking.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define NOBODY	65534

/* -- Moving with mbind() ------------------------------------------------------ */

FIXTURE(flags)
{
	struct nodes n;
};

FIXTURE_VARIANT(flags)
{
	int flags;
	bool shared;
	int result;
	bool moves;
};

FIXTURE_VARIANT_ADD(flags, none) {
	0, false, 0, false
};

FIXTURE_VARIANT_ADD(flags, strict) {
	MPOL_MF_STRICT, false, -EIO, false
};

FIXTURE_VARIANT_ADD(flags, move) {
	MPOL_MF_MOVE, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, move_strict) {
	MPOL_MF_MOVE | MPOL_MF_STRICT, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, all) {
	MPOL_MF_MOVE_ALL, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, shared_strict) {
	MPOL_MF_STRICT, true, -EIO, false
};

FIXTURE_VARIANT_ADD(flags, shared_move) {
	MPOL_MF_MOVE, true, 0, false
};

FIXTURE_VARIANT_ADD(flags, shared_move_strict) {
	MPOL_MF_MOVE | MPOL_MF_STRICT, true, 0, false
};

FIXTURE_VARIANT_ADD(flags, shared_all) {
	MPOL_MF_MOVE_ALL, true, 0, true
};

FIXTURE_VARIANT_ADD(flags, shared_all_strict) {
	MPOL_MF_MOVE_ALL | MPOL_MF_STRICT, true, 0, true
};

FIXTURE_VARIANT_ADD(flags, unknown) {
	1 << 10, false, -EINVAL, false
};

FIXTURE_VARIANT_ADD(flags, lazy) {
	MPOL_MF_LAZY, false, -EINVAL, false
};

FIXTURE_SETUP(flags)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
}

FIXTURE_TEARDOWN_PARENT(flags)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* A child that shares all pages of its parent, until it is killed */
static pid_t start_sharer(void)
{
	pid_t pid = fork();

	if (!pid) {
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);

	return pid;
}

static void end_sharer(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The first time with an ordinary node: what is expected is what happens. */
TEST_F(flags, mbind)
{
	const int nids[] = { self->n.s1, self->n.d1 };
	unsigned long mask;
	int i;

	for (i = 0; i < 2; i++) {
		char *p = make_anon();
		pid_t pid = -1;
		long rc;

		fill_pages(p, SIZE, 1);
		if (variant->shared)
			pid = start_sharer();
		rc = mbind_nodes(p, SIZE, MPOL_BIND, NODE(nids[i]),
				 variant->flags);
		EXPECT_EQ(variant->result, rc ? -errno : 0) {
			TH_LOG("to node %d", nids[i]);
		}
		EXPECT_EQ(variant->moves ? N : 0, on_node(p, SIZE, nids[i])) {
			TH_LOG("to node %d", nids[i]);
		}
		EXPECT_EQ(rc ? MPOL_DEFAULT : MPOL_BIND, policy_at(p, &mask));
		EXPECT_TRUE(intact(p, SIZE, 1));
		if (variant->shared)
			end_sharer(pid);
		munmap(p, SIZE);
	}
}

/* Pages that are where the mask allows stay, whatever it is called. */
TEST_F(nodes, strict_of_allowed)
{
	unsigned long mask = self->s0 | self->d1;
	char *p = make_anon();

	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, move(p, SIZE / 2, self->n.d1, NULL));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask, MPOL_MF_STRICT));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask,
				 MPOL_MF_STRICT | MPOL_MF_MOVE));
	EXPECT_EQ(N / 2, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(-1, mbind_nodes(p, SIZE, MPOL_BIND, self->s0,
				  MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	/* The default policy takes them home. */
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_DEFAULT, 0, MPOL_MF_MOVE));
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 1));
}

static long move_all(char *p, int nid, int flags, int *status)
{
	void *page = p;
	long rc = syscall(SYS_move_pages, 0, 1, &page, &nid, status, flags);

	return rc < 0 ? -errno : rc;
}

/* Pages that others have mapped: by who may, and then for all of them */
TEST_F(nodes, shared_pages)
{
	const int nids[] = { self->n.s1, self->n.d1 };
	char *p = make_anon();
	int status, i;
	pid_t pid;

	for (i = 0; i < 2; i++) {
		fill_pages(p, SIZE, 1);
		pid = start_sharer();
		EXPECT_EQ(0, move_all(p, nids[i], MPOL_MF_MOVE, &status));
		EXPECT_EQ(-EACCES, status);
		EXPECT_EQ(0, move_all(p, nids[i], MPOL_MF_MOVE_ALL, &status));
		EXPECT_EQ(nids[i], status);
		EXPECT_EQ(1, others_on_node(pid, p, SIZE, nids[i]));
		end_sharer(pid);
	}
}

static int as_nobody(int (*what)(char *p, int nid), char *p, int nid)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(what(p, nid));
	}
	waitpid(pid, &status, 0);

	return status;
}

static int place_and_move(char *p, int nid)
{
	char *mine = make_anon();
	int status;

	fill_pages(mine, SIZE, 1);
	if (mbind_nodes(mine, SIZE, MPOL_BIND, NODE(nid), MPOL_MF_MOVE))
		return 1;
	if (on_node(mine, SIZE, nid) != N || !intact(mine, SIZE, 1))
		return 2;
	/* Not what others have mapped */
	if (!mbind_nodes(mine, SIZE, MPOL_BIND, NODE(nid), MPOL_MF_MOVE_ALL) ||
	    errno != EPERM)
		return 3;
	if (move_all(p, nid, MPOL_MF_MOVE_ALL, &status) != -EPERM)
		return 4;
	if (move_all(p, nid, MPOL_MF_MOVE, &status) || status != -EACCES)
		return 5;

	return 0;
}

/* A device is no privilege: the same as any other node */
TEST_F(nodes, without_privilege)
{
	char *p = make_anon();

	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, WEXITSTATUS(as_nobody(place_and_move, p, self->n.s1)));
	EXPECT_EQ(0, WEXITSTATUS(as_nobody(place_and_move, p, self->n.d1)));
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 1));
}

/* -- migrate_pages() ---------------------------------------------------------- */

/* The first half of another process's memory on one node, the rest on another */
static pid_t start_halves(char **p, int first, int second)
{
	pid_t pid = start_holder(make_anon, SIZE, 1, p);

	if (move_others(pid, *p, SIZE / 2, first) ||
	    move_others(pid, *p + SIZE / 2, SIZE / 2, second))
		return -1;

	return pid;
}

static bool halves(pid_t pid, char *p, int first, int second)
{
	const size_t half = SIZE / 2;

	return others_on_node(pid, p, half, first) == N / 2 &&
	       others_on_node(pid, p + half, half, second) == N / 2;
}

TEST_F(nodes, migrate_masks)
{
	const struct nodes *n = &self->n;
	unsigned long s = self->s0 | self->s1, d = self->d1 | self->d2;
	pid_t pid;
	char *p;

	pid = start_halves(&p, n->s0, n->s1);
	ASSERT_LT(0, pid);
	/* The first to the first, the second to the second */
	EXPECT_LE(0, migrate(pid, s, d));
	EXPECT_TRUE(halves(pid, p, n->d1, n->d2));
	/* All to one; a node that is a source and a target keeps its own. */
	EXPECT_EQ(0, migrate(pid, d, self->d2));
	EXPECT_TRUE(halves(pid, p, n->d2, n->d2));
	/* Nothing is there. */
	EXPECT_EQ(0, migrate(pid, self->d1, self->s0));
	EXPECT_TRUE(halves(pid, p, n->d2, n->d2));
	/* One to the first of two */
	EXPECT_EQ(0, migrate(pid, self->d2, s));
	EXPECT_TRUE(halves(pid, p, n->s0, n->s0));
	EXPECT_EQ(0, end_holder(pid));

	/* A chain, by the order of the nodes: nothing is moved twice. */
	pid = start_halves(&p, n->s1, n->d1);
	ASSERT_LT(0, pid);
	EXPECT_LE(0, migrate(pid, self->s1 | self->d1, self->d1 | self->d2));
	EXPECT_TRUE(n->s1 < n->d1 ? halves(pid, p, n->d1, n->d2) :
				    halves(pid, p, n->d2, n->d1));
	EXPECT_EQ(0, migrate(pid, d, d));
	EXPECT_EQ(N, others_on_node(pid, p, SIZE, n->d1) +
		     others_on_node(pid, p, SIZE, n->d2));
	EXPECT_EQ(0, end_holder(pid));
}

TEST_HARNESS_MAIN
