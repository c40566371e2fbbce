// SPDX-License-Identifier: GPL-2.0
/*
 * Pools of hugetlb: the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst.
 *
 * Invariant 1: hugetlb is never asked: no pool has a page of a device, by
 * whatever policy or file it is filled, and a mapping has none either.
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
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/asking.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

FIXTURE(hugetlb)
{
	struct nodes n;
};

FIXTURE_SETUP(hugetlb)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (access(POOL "nr_hugepages", W_OK))
		SKIP(return, "no hugetlb");
}

FIXTURE_TEARDOWN_PARENT(hugetlb)
{
	write_text(POOL "nr_overcommit_hugepages", "0");
	write_text(POOL "nr_hugepages", "0");
	EXPECT_EQ(0, nodes_left(&self->n));
}

#define SHARED_HUGE	(IPC_CREAT | SHM_HUGETLB | MAP_HUGE_2MB | 0600)

/* Whether a device has a huge page of a pool */
static bool pool_has(const struct nodes *n)
{
	const int nids[] = { n->d1, n->d2 };
	char path[128];
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), NODE_FILE, nids[i],
			 "hugepages/hugepages-2048kB/nr_hugepages");
		if (read_number(path) > 0)
			return true;
	}

	return false;
}

/* The pool has pages: they serve whoever asks, from where they are. */
TEST_F(hugetlb, pool)
{
	char *p, *q;
	int status;

	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "4"));
	ASSERT_EQ(4, read_number(POOL "nr_hugepages"));
	EXPECT_FALSE(pool_has(&self->n));
	p = map_hugetlb(HUGE);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, HUGE, 1);
	EXPECT_EQ(0, on_node(p, HUGE, self->n.d1));
	EXPECT_TRUE(intact(p, HUGE, 1));

	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	q = map_hugetlb(HUGE);
	ASSERT_NE(NULL, q);
	fill_pages(q, HUGE, 2);
	EXPECT_EQ(0, on_node(q, HUGE, self->n.d1));
	/* They can't be moved there, either. */
	EXPECT_NE(0, mbind_nodes(q, HUGE, MPOL_BIND, NODE(self->n.d2),
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	status = 0;
	move(p, PAGE, self->n.d2, &status);
	EXPECT_GT(0, status);
	EXPECT_EQ(0, on_node(p, HUGE, self->n.d2));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_TRUE(intact(q, HUGE, 2));
	EXPECT_FALSE(pool_has(&self->n));
}

/* The pool is empty: a task bound to a device gets none made of it. */
TEST_F(hugetlb, empty)
{
	int id;

	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "0"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	EXPECT_EQ(NULL, map_hugetlb(HUGE));
	EXPECT_EQ(ENOMEM, errno);
	id = shmget(IPC_PRIVATE, HUGE, SHARED_HUGE);
	EXPECT_EQ(-1, id);
	EXPECT_EQ(ENOMEM, errno);
}

/* Pools that grow on demand, and pools that are filled by the task's policy */
TEST_F(hugetlb, surplus)
{
	int id, status;
	pid_t pid;
	char *p;

	ASSERT_EQ(0, write_text(POOL "nr_overcommit_hugepages", "4"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	write_text(POOL "nr_hugepages_mempolicy", "2");
	EXPECT_FALSE(pool_has(&self->n));
	id = shmget(IPC_PRIVATE, HUGE, SHARED_HUGE);
	if (id >= 0) {
		p = shmat(id, NULL, 0);
		shmctl(id, IPC_RMID, NULL);
		fill_pages(p, HUGE, 1);
		EXPECT_EQ(0, on_node(p, HUGE, self->n.d1));
	}
	pid = fork();
	if (!pid) {
		p = map_hugetlb(HUGE);
		if (p) {
			fill_pages(p, HUGE, 1);
			_exit(on_node(p, HUGE, self->n.d1) != 0);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(!status || (WIFSIGNALED(status) &&
				WTERMSIG(status) == SIGBUS));
	EXPECT_FALSE(pool_has(&self->n));
}

TEST_HARNESS_MAIN
