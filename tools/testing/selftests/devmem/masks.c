// SPDX-License-Identifier: GPL-2.0
/*
 * Masks of nodes, literal, relative and mixed; weights; and who comes next when
 * a node of several is full: the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst.
 *
 * Invariant 1: a literal mask reaches the devices it names, a mixed or relative
 * one doesn't. Invariant 5: the content is there after each step.
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
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/asking.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define WEIGHTS	"/sys/kernel/mm/mempolicy/weighted_interleave/"

static void set_weight(int nid, int weight)
{
	char path[128], text[16];

	snprintf(path, sizeof(path), WEIGHTS "node%d", nid);
	snprintf(text, sizeof(text), "%d", weight);
	write_text(path, text);
}

/* -- Masks ------------------------------------------------------------------- */

FIXTURE(literal)
{
	struct nodes n;
	unsigned long mask;
};

FIXTURE_VARIANT(literal)
{
	int mode;
	int mask;		/* of the above; the numbers of a relative mask */
	int s0, s1, d1, d2;	/* shares expected, in eighths */
};

/* In the order of the fields above */
FIXTURE_VARIANT_ADD(literal, preferred) {
	MPOL_PREFERRED | MPOL_F_STATIC_NODES, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, preferred_mixed) {
	MPOL_PREFERRED | MPOL_F_STATIC_NODES, S0 | D1, 8, 0, 0, 0
};

FIXTURE_VARIANT_ADD(literal, many) {
	MPOL_PREFERRED_MANY | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(literal, many_mixed) {
	MPOL_PREFERRED_MANY | MPOL_F_STATIC_NODES, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, bind) {
	MPOL_BIND | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(literal, bind_mixed) {
	MPOL_BIND | MPOL_F_STATIC_NODES, S1 | D1 | D2, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, interleave) {
	MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 4, 4
};

FIXTURE_VARIANT_ADD(literal, interleave_mixed) {
	MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | S1 | D1 | D2, 2, 2, 2, 2
};

FIXTURE_VARIANT_ADD(literal, weighted) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 4, 4
};

FIXTURE_VARIANT_ADD(literal, weighted_mixed) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | S1 | D1 | D2,
	2, 2, 2, 2
};

/* Relative masks count system nodes, round and round. */
FIXTURE_VARIANT_ADD(literal, relative_bind) {
	MPOL_BIND | MPOL_F_RELATIVE_NODES, 2, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_bind_folded) {
	MPOL_BIND | MPOL_F_RELATIVE_NODES, 8, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_preferred) {
	MPOL_PREFERRED | MPOL_F_RELATIVE_NODES, 4, 8, 0, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_many) {
	MPOL_PREFERRED_MANY | MPOL_F_RELATIVE_NODES, 8, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_interleave) {
	MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, 15, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_weighted) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_RELATIVE_NODES, 15, 4, 4, 0, 0
};

/* Mixed ones that policy.c doesn't have: two system nodes, shared out evenly */
FIXTURE_VARIANT_ADD(literal, mixed_interleave) {
	MPOL_INTERLEAVE, S0 | S1 | D1 | D2, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_weighted) {
	MPOL_WEIGHTED_INTERLEAVE, S0 | S1 | D1 | D2, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_bind) {
	MPOL_BIND, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_many) {
	MPOL_PREFERRED_MANY, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_preferred) {
	MPOL_PREFERRED, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, balancing_bind) {
	MPOL_BIND | MPOL_F_NUMA_BALANCING, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, balancing_many) {
	MPOL_PREFERRED_MANY | MPOL_F_NUMA_BALANCING, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, balancing_mixed) {
	MPOL_BIND | MPOL_F_NUMA_BALANCING, S1 | D1, 0, 8, 0, 0
};

FIXTURE_SETUP(literal)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (variant->mode & MPOL_F_RELATIVE_NODES)
		self->mask = variant->mask;
	else
		self->mask = (variant->mask & S0 ? NODE(self->n.s0) : 0) |
			     (variant->mask & S1 ? NODE(self->n.s1) : 0) |
			     (variant->mask & D1 ? NODE(self->n.d1) : 0) |
			     (variant->mask & D2 ? NODE(self->n.d2) : 0);
}

FIXTURE_TEARDOWN_PARENT(literal)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

static bool shares(char *p, const struct nodes *n, int s0, int s1, int d1,
		   int d2)
{
	long count[MAX_NODES + 1];

	where(p, SIZE, count);
	if (s0 * N / 8 == count[n->s0] && s1 * N / 8 == count[n->s1] &&
	    d1 * N / 8 == count[n->d1] && d2 * N / 8 == count[n->d2])
		return true;
	ksft_print_msg("on s0, s1, d1, d2: %ld, %ld, %ld, %ld of %ld\n",
		       count[n->s0], count[n->s1], count[n->d1], count[n->d2],
		       N);

	return false;
}

TEST_F(literal, mapping)
{
	unsigned long mask;
	char *p = make_anon();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, variant->mode, self->mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
	/* Without a flag, MPOL_PREFERRED keeps one node of what it is given. */
	EXPECT_EQ(variant->mode, policy_at(p, &mask));
	if (variant->mode != MPOL_PREFERRED)
		EXPECT_EQ(self->mask, mask);
}

TEST_F(literal, task)
{
	char *p = make_anon();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, set_policy(variant->mode, self->mask));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
}

TEST_F(literal, shared)
{
	char *p = map_pages(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, variant->mode, self->mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
}

/* What is there already moves to where it would have been allocated. */
TEST_F(literal, moved)
{
	char *p = make_anon();
	long rc;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 2);
	/* From where no mask of the test wants it: it all has to move. */
	ASSERT_EQ(0, move(p, SIZE, variant->s0 ? self->n.s1 : self->n.s0,
			  NULL));
	if (variant->s0 && variant->s1)
		SKIP(return, "pages on a node of the mask stay");
	if (variant->mode & MPOL_F_RELATIVE_NODES)
		SKIP(return, "the mask is taken literally for what stays");
	rc = mbind_nodes(p, SIZE, variant->mode, self->mask,
			 MPOL_MF_MOVE | MPOL_MF_STRICT);
	EXPECT_EQ(0, rc);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
	EXPECT_TRUE(intact(p, SIZE, 2));
}

/* -- Weights ----------------------------------------------------------------- */

FIXTURE(weights)
{
	struct nodes n;
};

FIXTURE_SETUP(weights)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (access(WEIGHTS, F_OK))
		SKIP(return, "no weighted interleave");
}

FIXTURE_TEARDOWN_PARENT(weights)
{
	set_weight(self->n.s0, 0);
	set_weight(self->n.s1, 0);
	set_weight(self->n.d1, 0);
	set_weight(self->n.d2, 0);
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F(weights, devices)
{
	unsigned long mask = NODE(self->n.d1) | NODE(self->n.d2);
	char *p = make_anon(), *q = make_anon();

	set_weight(self->n.d1, 3);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_WEIGHTED_INTERLEAVE, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N * 3 / 4, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(N / 4, on_node(p, SIZE, self->n.d2));

	set_weight(self->n.d1, 1);
	set_weight(self->n.d2, 7);
	ASSERT_EQ(0, set_policy(MPOL_WEIGHTED_INTERLEAVE, mask));
	fill_pages(q, SIZE, 1);
	EXPECT_EQ(N / 8, on_node(q, SIZE, self->n.d1));
	EXPECT_EQ(N * 7 / 8, on_node(q, SIZE, self->n.d2));
}

/* Device nodes in a mixed mask are as if they weren't there. */
TEST_F(weights, mixed)
{
	unsigned long mask = NODE(self->n.s0) | NODE(self->n.s1) |
			     NODE(self->n.d1);
	char *p = make_anon(), *q = make_anon();

	set_weight(self->n.s0, 3);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_WEIGHTED_INTERLEAVE, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N * 3 / 4, on_node(p, SIZE, self->n.s0));
	EXPECT_EQ(N / 4, on_node(p, SIZE, self->n.s1));

	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_INTERLEAVE, mask, 0));
	fill_pages(q, SIZE, 1);
	EXPECT_EQ(N / 2, on_node(q, SIZE, self->n.s0));
	EXPECT_EQ(N / 2, on_node(q, SIZE, self->n.s1));
}

TEST_F(weights, literal)
{
	unsigned long mask = NODE(self->n.s0) | NODE(self->n.d1);
	const int mode = MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES;
	char *p = make_anon();

	set_weight(self->n.d1, 7);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, mode, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N / 8, on_node(p, SIZE, self->n.s0));
	EXPECT_EQ(N * 7 / 8, on_node(p, SIZE, self->n.d1));
}

/* -- When a node of several is full ------------------------------------------ */

static long free_pages(int nid)
{
	struct node_pages pages;

	return node_pages(nid, &pages) ? pages.free + pages.pcp : 0;
}

static char *map_large(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

/* In huge pages, as far as there are any */
static char *map_large_huge(size_t size)
{
	char *p = map_large(size + HUGE);

	if (!p)
		return NULL;
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	return madvise(p, size, MADV_HUGEPAGE) ? NULL : p;
}

/* The nearer one first, then the other, and nothing of the system's */
TEST_F(nodes, next_device)
{
	size_t size = node_bytes(self->n.d1) + 4 * MIB;
	char *p = map_large(size);
	long count[MAX_NODES + 1];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1 | self->d2, 0));
	fill_pages(p, size, 1);
	where(p, size, count);
	EXPECT_EQ((long)(node_bytes(self->n.d1) / PAGE), count[self->n.d1]);
	EXPECT_EQ((long)(4 * MIB / PAGE), count[self->n.d2]);
	EXPECT_TRUE(intact(p, size, 1));
}

/* Pages that wait on a list of another CPU are there as well, whole. */
TEST_F(nodes, last_huge_page)
{
	size_t size = node_bytes(self->n.d1);
	char *p = map_large_huge(size);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1, 0));
	ASSERT_TRUE(run_on(1));
	fill_pages(p, 8 * HUGE, 1);
	ASSERT_EQ(0, madvise(p, 8 * HUGE, MADV_DONTNEED));
	ASSERT_TRUE(run_on(0));
	fill_pages(p, size, 1);
	EXPECT_EQ((long)(size / 1024), smaps_kb(p, "AnonHugePages"));
	EXPECT_EQ((long)(size / PAGE), on_node(p, size, self->n.d1));
	EXPECT_TRUE(intact(p, size, 1));
}

/* A literal mask: the system node that it names, then the device. */
TEST_F(nodes, literal_overflow)
{
	const int mode = MPOL_BIND | MPOL_F_STATIC_NODES;
	long kills = vm_event("oom_kill"), count[MAX_NODES + 1];
	size_t size = free_pages(self->n.s1) / 512 * HUGE + 16 * MIB;
	char *p = map_large_huge(size);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, mode, self->s1 | self->d1, 0));
	fill_pages(p, size, 1);
	where(p, size, count);
	EXPECT_EQ((long)(size / PAGE), count[self->n.s1] + count[self->n.d1]);
	EXPECT_LE((long)(16 * MIB / PAGE), count[self->n.d1]);
	EXPECT_LT((long)(size / PAGE) / 2, count[self->n.s1]);
	EXPECT_EQ(kills, vm_event("oom_kill"));
	EXPECT_TRUE(intact(p, size, 1));
}

TEST_HARNESS_MAIN
