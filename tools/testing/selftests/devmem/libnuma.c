// SPDX-License-Identifier: GPL-2.0
/*
 * What counts as asking, by libnuma: its allocation, policy and migration calls
 * treat a device node as any other node, unchanged. Invariant 1: those that
 * leave the choice to libnuma (all nodes, local) never end on a device.
 * Invariant 5: what is moved keeps its content.
 *
 * Proof that it can fail: each call is made for a system node or a mixed set as
 * well, and found there. With DEVMEM_NODES naming ordinary nodes, the tests of
 * "all" fail.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

/* After linux/mempolicy.h, whose enumerators are macros here */
#include <numa.h>
#include <numaif.h>

#define SIZE	(4 * MIB)
#define PAGES	((long)(SIZE / PAGE))

FIXTURE(libnuma)
{
	int dev[MAX_NODES], sys[MAX_NODES];
	int nr_dev, nr_sys;
	struct bitmask *d1, *both, *mixed;
};

FIXTURE_SETUP(libnuma)
{
	self->nr_dev = device_nodes(self->dev);
	self->nr_sys = system_nodes(self->sys);
	if (self->nr_dev < 2 || self->nr_sys < 2 || numa_available() < 0)
		SKIP(return, "needs two system nodes and two device nodes");
	self->d1 = numa_allocate_nodemask();
	self->both = numa_allocate_nodemask();
	self->mixed = numa_allocate_nodemask();
	numa_bitmask_setbit(self->d1, self->dev[0]);
	numa_bitmask_setbit(self->both, self->dev[0]);
	numa_bitmask_setbit(self->both, self->dev[1]);
	numa_bitmask_setbit(self->mixed, self->dev[0]);
	numa_bitmask_setbit(self->mixed, self->sys[1]);
	/* Errors come back to the caller. */
	numa_exit_on_error = 0;
	numa_exit_on_warn = 0;
}

FIXTURE_TEARDOWN(libnuma)
{
	numa_set_localalloc();
}

#define D1	self->dev[0]
#define D2	self->dev[1]
#define S0	self->sys[0]
#define S1	self->sys[1]

/* -- What the machine looks like ------------------------------------------ */

TEST_F(libnuma, nodes)
{
	struct bitmask *cpus = numa_allocate_cpumask();
	struct node_pages pages;
	long long size, free_bytes;
	int i;

	EXPECT_EQ(self->nr_dev + self->nr_sys, numa_num_configured_nodes());
	EXPECT_GE(numa_max_node(), D2);
	for (i = 0; i < self->nr_dev; i++) {
		int nid = self->dev[i];

		EXPECT_TRUE(numa_bitmask_isbitset(numa_all_nodes_ptr, nid));
		EXPECT_TRUE(numa_bitmask_isbitset(numa_get_mems_allowed(),
						  nid));
		node_pages(nid, &pages);
		size = numa_node_size64(nid, &free_bytes);
		EXPECT_EQ(pages.managed, (long)(size / PAGE));
		EXPECT_LE(free_bytes, size);
		EXPECT_GT(free_bytes, size / 4 * 3);
		/* It has no CPUs, and none has it as its node. */
		EXPECT_EQ(0, numa_node_to_cpus(nid, cpus));
		EXPECT_EQ(0U, numa_bitmask_weight(cpus));
	}
	for (i = 0; i < numa_num_configured_cpus(); i++)
		EXPECT_EQ(S0, numa_node_of_cpu(i));
	EXPECT_EQ(-1, numa_node_size64(MAX_NODES - 1, &free_bytes));
	numa_free_cpumask(cpus);
}

TEST_F(libnuma, distances)
{
	EXPECT_EQ(10, numa_distance(D1, D1));
	EXPECT_GT(numa_distance(S0, D1), 10);
	EXPECT_EQ(numa_distance(S0, D1), numa_distance(D1, S0));
	EXPECT_GT(numa_distance(D1, D2), 10);
}

/* -- Allocation ------------------------------------------------------------ */

TEST_F(libnuma, alloc_onnode)
{
	char *p = numa_alloc_onnode(SIZE, D1);
	char *q = numa_alloc_onnode(SIZE, S1);

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	fill_pages(p, SIZE, 1);
	fill_pages(q, SIZE, 2);
	EXPECT_EQ(PAGES, on_node(p, SIZE, D1));
	EXPECT_EQ(PAGES, on_node(q, SIZE, S1));
	numa_free(p, SIZE);
	numa_free(q, SIZE);
}

TEST_F(libnuma, alloc_interleaved_subset)
{
	char *p = numa_alloc_interleaved_subset(SIZE, self->both);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D1));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D2));
	numa_free(p, SIZE);

	p = numa_alloc_interleaved_subset(SIZE, self->mixed);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(PAGES, on_node(p, SIZE, S1));
	numa_free(p, SIZE);
}

/* Calls that name no device node: never there */
TEST_F(libnuma, alloc_without_asking)
{
	char *p[3];
	int i;

	p[0] = numa_alloc_interleaved(SIZE);
	p[1] = numa_alloc_local(SIZE);
	p[2] = numa_alloc(SIZE);
	for (i = 0; i < 3; i++) {
		ASSERT_NE(NULL, p[i]);
		fill_pages(p[i], SIZE, i);
		EXPECT_EQ(0, on_node(p[i], SIZE, D1));
		EXPECT_EQ(0, on_node(p[i], SIZE, D2));
	}
	EXPECT_EQ(PAGES / 2, on_node(p[0], SIZE, S0));
	EXPECT_EQ(PAGES / 2, on_node(p[0], SIZE, S1));
	for (i = 0; i < 3; i++)
		numa_free(p[i], SIZE);
}

TEST_F(libnuma, realloc)
{
	char *p = numa_alloc_onnode(SIZE, D1);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 3);
	p = numa_realloc(p, SIZE, 2 * SIZE);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(intact(p, SIZE, 3));
	fill_pages(p, 2 * SIZE, 3);
	EXPECT_EQ(2 * PAGES, on_node(p, 2 * SIZE, D1));
	numa_free(p, 2 * SIZE);
}

/* -- Memory that is there already ------------------------------------------ */

TEST_F(libnuma, tonode_memory)
{
	char *p = map_anon(SIZE);

	numa_tonode_memory(p, SIZE, D1);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(PAGES, on_node(p, SIZE, D1));
	munmap(p, SIZE);

	p = map_anon(SIZE);
	numa_tonodemask_memory(p, SIZE, self->d1);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(PAGES, on_node(p, SIZE, D1));
	munmap(p, SIZE);
}

TEST_F(libnuma, interleave_memory)
{
	char *p = map_anon(SIZE);

	numa_interleave_memory(p, SIZE, self->both);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D1));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D2));
	munmap(p, SIZE);

	p = map_anon(SIZE);
	numa_interleave_memory(p, SIZE, numa_all_nodes_ptr);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, on_node(p, SIZE, D1));
	EXPECT_EQ(0, on_node(p, SIZE, D2));
	munmap(p, SIZE);
}

TEST_F(libnuma, setlocal_memory)
{
	char *p = map_anon(SIZE);

	numa_tonode_memory(p, SIZE, D1);
	numa_setlocal_memory(p, SIZE);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, on_node(p, SIZE, D1));
	munmap(p, SIZE);
}

/* -- The task's policy ------------------------------------------------------ */

static long filled_on(int nid)
{
	char *p = map_anon(SIZE);
	long n;

	fill_pages(p, SIZE, 1);
	n = on_node(p, SIZE, nid);
	munmap(p, SIZE);

	return n;
}

TEST_F(libnuma, set_membind)
{
	struct bitmask *got;

	numa_set_membind(self->d1);
	got = numa_get_membind();
	EXPECT_TRUE(numa_bitmask_equal(got, self->d1));
	EXPECT_EQ(PAGES, filled_on(D1));
	numa_free_nodemask(got);

	/* What was set is reported, system memory is what one gets. */
	numa_set_membind(self->mixed);
	got = numa_get_membind();
	EXPECT_TRUE(numa_bitmask_equal(got, self->mixed));
	EXPECT_EQ(PAGES, filled_on(S1));
	numa_free_nodemask(got);
}

TEST_F(libnuma, set_membind_balancing)
{
	numa_set_membind_balancing(self->d1);
	EXPECT_EQ(PAGES, filled_on(D1));
}

TEST_F(libnuma, set_preferred)
{
	numa_set_preferred(D1);
	EXPECT_EQ(D1, numa_preferred());
	EXPECT_EQ(PAGES, filled_on(D1));
	numa_set_preferred(S1);
	EXPECT_EQ(PAGES, filled_on(S1));
	numa_set_localalloc();
	EXPECT_EQ(PAGES, filled_on(S0));
}

TEST_F(libnuma, set_interleave)
{
	struct bitmask *got;

	numa_set_interleave_mask(self->both);
	got = numa_get_interleave_mask();
	EXPECT_TRUE(numa_bitmask_equal(got, self->both));
	EXPECT_EQ(PAGES / 2, filled_on(D1));
	numa_free_nodemask(got);
	numa_set_interleave_mask(numa_all_nodes_ptr);
	EXPECT_EQ(0, filled_on(D1));
	numa_set_interleave_mask(numa_no_nodes_ptr);
	EXPECT_EQ(0, filled_on(D1));
}

/* It binds CPUs as well, and the node has none. */
TEST_F(libnuma, bind)
{
	EXPECT_NE(0, numa_run_on_node(D1));
	EXPECT_EQ(0, numa_run_on_node(S0));
}

/* -- Moving ----------------------------------------------------------------- */

TEST_F(libnuma, move_pages)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	char *p = map_anon(SIZE);
	int i;

	fill_pages(p, SIZE, 4);
	for (i = 0; i < PAGES; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = i % 2 ? D1 : D2;
	}
	ASSERT_EQ(0, numa_move_pages(0, PAGES, pages, nodes, status,
				     MPOL_MF_MOVE));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(nodes[i], status[i]);
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D1));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, D2));
	EXPECT_TRUE(intact(p, SIZE, 4));
	for (i = 0; i < PAGES; i++)
		nodes[i] = S0;
	ASSERT_EQ(0, numa_move_pages(0, PAGES, pages, nodes, status,
				     MPOL_MF_MOVE));
	EXPECT_EQ(PAGES, on_node(p, SIZE, S0));
	EXPECT_TRUE(intact(p, SIZE, 4));
	nodes[0] = MAX_NODES - 1;
	EXPECT_EQ(-1, numa_move_pages(0, PAGES, pages, nodes, status,
				      MPOL_MF_MOVE));
	EXPECT_EQ(ENODEV, errno);
	munmap(p, SIZE);
}

TEST_F(libnuma, migrate_pages)
{
	struct bitmask *system = numa_allocate_nodemask();
	char *p = map_anon(SIZE);

	numa_bitmask_setbit(system, S0);
	fill_pages(p, SIZE, 5);
	EXPECT_LE(0, numa_migrate_pages(getpid(), system, self->d1));
	EXPECT_EQ(PAGES, on_node(p, SIZE, D1));
	EXPECT_TRUE(intact(p, SIZE, 5));
	EXPECT_LE(0, numa_migrate_pages(getpid(), self->d1, system));
	EXPECT_EQ(PAGES, on_node(p, SIZE, S0));
	EXPECT_TRUE(intact(p, SIZE, 5));
	munmap(p, SIZE);
	numa_free_nodemask(system);
}

/* mbind() with what libnuma calls strict, and the move that it can ask for */
TEST_F(libnuma, bind_policy)
{
	char *p = map_anon(SIZE);

	fill_pages(p, SIZE, 6);
	numa_set_bind_policy(1);
	numa_set_strict(1);
	ASSERT_EQ(0, mbind(p, SIZE, MPOL_BIND, self->d1->maskp,
			   self->d1->size + 1, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, on_node(p, SIZE, D1));
	EXPECT_TRUE(intact(p, SIZE, 6));
	numa_set_strict(0);
	numa_set_bind_policy(0);
	munmap(p, SIZE);
}

/* -- Full ------------------------------------------------------------------- */

static int fill_in_child(int nid, bool bind)
{
	struct node_pages pages;
	int status;
	pid_t pid = fork();

	if (!pid) {
		size_t size;
		char *p;

		node_pages(nid, &pages);
		size = (pages.managed + 256) * PAGE;
		numa_set_bind_policy(bind);
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		numa_tonode_memory(p, size, nid);
		fill_pages(p, size, 7);
		_exit(!intact(p, size, 7));
	}
	waitpid(pid, &status, 0);

	return status;
}

/* By libnuma's default a node is preferred; strictly bound it is SIGBUS. */
TEST_F_TIMEOUT(libnuma, full, PATIENCE)
{
	int status;

	EXPECT_EQ(0, fill_in_child(D1, false));
	status = fill_in_child(D1, true);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	EXPECT_EQ(0, node_left(D1));
}

TEST_HARNESS_MAIN
