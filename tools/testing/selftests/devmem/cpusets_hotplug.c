// SPDX-License-Identifier: GPL-2.0
/*
 * Invariants 1 and 2, asked for, or not at all, and that device, or none: a
 * machine whose nodes go and come back never puts a policy, or pages, onto a
 * device that they did not name. A policy that loses its device has it again
 * when it comes back, and system memory in between. What loses its device moves
 * to system memory, with its content (invariant 5).
 *
 * In cgroup v2 and v1, and without; for the policy of a task, of a mapping and
 * of shared memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3,4), where nodes are mapped by their place in
 * the mask.
 *
 * Wants two system nodes and three device nodes, one id without memory
 * (device_coherent=...,spare:1) and memory for it (memmap=128M$512M); see
 * "plan".
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/cpusets.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

static bool set_nodes(const int *id, int set, const char *state)
{
	bool done = true;
	int i;

	for (i = 0; i < NR; i++)
		if (set & 1 << i)
			done = done && set_blocks(id[i], state);

	return done;
}

static const struct {
	int mode;
	int nodes;
} policies[] = {
	{ MPOL_BIND, D1 },
	{ MPOL_BIND, D2 },
	{ MPOL_BIND, D2 | D3 },
	{ MPOL_PREFERRED, D2 },
	{ MPOL_PREFERRED_MANY, D1 | D3 },
	{ MPOL_INTERLEAVE, D1 | D2 },
	{ MPOL_INTERLEAVE, D1 | D2 | D3 },
	{ MPOL_WEIGHTED_INTERLEAVE, D2 | D3 },
	{ MPOL_BIND | MPOL_F_STATIC_NODES, D2 },
	{ MPOL_PREFERRED | MPOL_F_STATIC_NODES, D3 },
	{ MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D3 },
	{ MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | D2 },
	{ MPOL_BIND, S1 | D1 },
	{ MPOL_INTERLEAVE, S0 | S1 | D2 },
};

/* What an absent device was preferred to is nearest to it: either is right. */
static int either(int mode, int set)
{
	if ((mode & ~MPOL_F_STATIC_NODES) == MPOL_PREFERRED && set == S1)
		return S0;

	return set;
}

/* The same policy of a task, of a mapping and of shared memory */
struct holders {
	struct taker task;
	char *own, *shared;
};

FIXTURE(root)
{
	int id[NR];
	struct holders h[ARRAY_SIZE(policies)];
};

FIXTURE_SETUP(root)
{
	const char *missing = find(self->id);

	if (missing)
		SKIP(return, "%s", missing);
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(root)
{
	unsigned int i;

	EXPECT_TRUE(set_nodes(self->id, DEVICES, "online"));
	for (i = 0; i < ARRAY_SIZE(policies); i++)
		if (self->h[i].task.pid)
			end_taker(&self->h[i].task);
}

static void hold(struct __test_metadata *_metadata, const int *id,
		 struct holders *h)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		const unsigned long nodes = mask(id, policies[i].nodes);
		const int mode = policies[i].mode;

		h[i].own = map_anon(SIZE);
		h[i].shared = map_pages(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
		ASSERT_EQ(0, mbind_nodes(h[i].own, SIZE, mode, nodes, 0));
		ASSERT_EQ(0, mbind_nodes(h[i].shared, SIZE, mode, nodes, 0));
		start_taker(&h[i].task, id, mode, policies[i].nodes);
	}
}

static void expect_places(struct __test_metadata *_metadata, const int *id,
			  struct holders *h, int gone)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		const int mode = policies[i].mode;
		int wanted = expected(mode, policies[i].nodes, gone);
		int task, own, shared;
		unsigned long got;

		task = either(mode, take(&h[i].task));
		madvise(h[i].own, SIZE, MADV_DONTNEED);
		own = either(mode, new_pages(id, h[i].own));
		madvise(h[i].shared, SIZE, MADV_REMOVE);
		shared = either(mode, new_pages(id, h[i].shared));
		if (task != wanted || own != wanted || shared != wanted)
			TH_LOG("mode %#x of %#x without %#x", mode,
			       policies[i].nodes, gone);
		EXPECT_EQ(wanted, task);
		EXPECT_EQ(wanted, own);
		EXPECT_EQ(wanted, shared);
		EXPECT_EQ(mode, policy_at(h[i].own, &got));
		if (!(mode & MPOL_F_STATIC_NODES))
			EXPECT_EQ(mask(id, policies[i].nodes), got);
	}
}

/* The memory of devices goes offline and comes back. */
TEST_F_TIMEOUT(root, offline, PATIENCE)
{
	const int gone[] = { D1, D2, D1 | D2, DEVICES };
	unsigned int i;

	hold(_metadata, self->id, self->h);
	expect_places(_metadata, self->id, self->h, 0);
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_TRUE(set_nodes(self->id, gone[i], "offline"));
		expect_places(_metadata, self->id, self->h, gone[i]);
		ASSERT_TRUE(set_nodes(self->id, gone[i], "online"));
		expect_places(_metadata, self->id, self->h, 0);
	}
}

/* A node appears in front of those that were there. */
TEST_F_TIMEOUT(root, appears, PATIENCE)
{
	const int *id = self->id;
	char *p = map_anon(2 * SIZE), *q = map_anon(2 * SIZE);
	struct taker t;

	ASSERT_TRUE(set_nodes(id, D1, "offline"));
	ASSERT_EQ(0, mbind_nodes(p, 2 * SIZE, MPOL_BIND, mask(id, D2), 0));
	ASSERT_EQ(0, mbind_nodes(q, 2 * SIZE, MPOL_INTERLEAVE,
				 mask(id, D2 | D3), 0));
	start_taker(&t, id, MPOL_BIND, D3);
	EXPECT_EQ(D2, new_pages(id, p));
	EXPECT_EQ(D2 | D3, new_pages(id, q));
	EXPECT_EQ(D3, take(&t));
	ASSERT_TRUE(set_nodes(id, D1, "online"));
	EXPECT_EQ(D2, new_pages(id, p + SIZE));
	EXPECT_EQ(D2 | D3, new_pages(id, q + SIZE));
	EXPECT_EQ(D3, take(&t));
	end_taker(&t);
}

/* A driver takes a device away as a whole, and adds it again. */
TEST_F_TIMEOUT(root, removed_and_added, PATIENCE)
{
	unsigned long start, size;
	int d2 = self->id[3];

	if (testmod_load())
		SKIP(return, "no module device_coherent_test");
	ASSERT_TRUE(node_range(d2, &start, &size));
	hold(_metadata, self->id, self->h);
	ASSERT_EQ(0, testmod("remove %d %#lx %#lx", d2, start, size));
	expect_places(_metadata, self->id, self->h, D2);
	ASSERT_TRUE(set_nodes(self->id, D1, "offline"));
	expect_places(_metadata, self->id, self->h, D1 | D2);
	ASSERT_EQ(0, testmod("add %d %#lx %#lx", d2, start, size));
	expect_places(_metadata, self->id, self->h, D1);
	ASSERT_TRUE(set_nodes(self->id, D1, "online"));
	expect_places(_metadata, self->id, self->h, 0);
}

/* The same while the cpuset changes as well */
TEST_F_TIMEOUT(cpuset, removed_and_added, PATIENCE)
{
	const int *id = self->place.id;
	char *p = map_anon(3 * SIZE), *q = map_anon(3 * SIZE);
	unsigned long start, size;

	if (testmod_load())
		SKIP(return, "no module device_coherent_test");
	ASSERT_TRUE(node_range(id[3], &start, &size));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | S1 | D2 | D3));
	ASSERT_EQ(0, mbind_nodes(p, 3 * SIZE, MPOL_BIND, mask(id, D2), 0));
	ASSERT_EQ(0, mbind_nodes(q, 3 * SIZE, MPOL_INTERLEAVE,
				 mask(id, D2 | D3), 0));
	EXPECT_EQ(D2, new_pages(id, p));
	EXPECT_EQ(D2 | D3, new_pages(id, q));
	ASSERT_EQ(0, testmod("remove %d %#lx %#lx", id[3], start, size));
	EXPECT_EQ(0, put_mems(self->place.dir, id, S0 | D1 | D3));
	EXPECT_EQ(S0, new_pages(id, p + SIZE));
	EXPECT_EQ(D3, new_pages(id, q + SIZE));
	ASSERT_EQ(0, testmod("add %d %#lx %#lx", id[3], start, size));
	EXPECT_EQ(0, put_mems(self->place.dir, id, S0 | D1 | D2 | D3));
	EXPECT_EQ(D2, new_pages(id, p + 2 * SIZE));
	EXPECT_EQ(D2 | D3, new_pages(id, q + 2 * SIZE));
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_TRUE(intact(q, SIZE, 1));
	munmap(p, 3 * SIZE);
	munmap(q, 3 * SIZE);
}

/*
 * migrate_pages(2) pairs the nodes of its two masks by their place, devices
 * like others: the caller names both.
 */
TEST_F(root, migrate_pages)
{
	const int *id = self->id;
	char *p = map_anon(2 * SIZE);

	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask(id, D1), 0));
	ASSERT_EQ(0, mbind_nodes(p + SIZE, SIZE, MPOL_BIND, mask(id, D2), 0));
	fill_pages(p, 2 * SIZE, 1);
	EXPECT_EQ(D1, nodes_of(id, p, SIZE, NULL));
	EXPECT_EQ(D2, nodes_of(id, p + SIZE, SIZE, NULL));
	EXPECT_EQ(0, migrate(0, mask(id, D1 | D2), mask(id, D2 | D3)));
	EXPECT_EQ(D2, nodes_of(id, p, SIZE, NULL));
	EXPECT_EQ(D3, nodes_of(id, p + SIZE, SIZE, NULL));
	EXPECT_TRUE(intact(p, 2 * SIZE, 1));
	munmap(p, 2 * SIZE);
}

TEST_HARNESS_MAIN
