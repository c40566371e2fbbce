// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages of every size, placed, moved, split, swapped and collapsed.
 *
 * Invariant 1: one reaches a device node by a policy or a call that names the
 * node, as on any other node. Invariant 2: it is that node, not the other
 * device. Invariant 5: the content is there after each step, and memory that is
 * given out is zeroed. After each test every page of the devices is free again,
 * and none is on a list.
 *
 * Proof that it can fail: with DEVMEM_NODES naming two ordinary nodes of a
 * machine without device nodes, the tests fail that look for what stays in
 * system memory.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/kinds.h"
#include "../kselftest_harness.h"

/* Both write the default with NULL. */
static void set_thp(int kb, const char *file, const char *value)
{
	char path[128];

	if (!value)
		value = kb == 2048 ? "inherit" : "never";
	snprintf(path, sizeof(path), THP "hugepages-%dkB/%s", kb, file);
	write_text(path, value);
}

FIXTURE(size)
{
	struct nodes n;
};

FIXTURE_VARIANT(size)
{
	int kb;
};

FIXTURE_VARIANT_ADD(size, 16k) { 16 };
FIXTURE_VARIANT_ADD(size, 32k) { 32 };
FIXTURE_VARIANT_ADD(size, 64k) { 64 };
FIXTURE_VARIANT_ADD(size, 128k) { 128 };
FIXTURE_VARIANT_ADD(size, 256k) { 256 };
FIXTURE_VARIANT_ADD(size, 512k) { 512 };
FIXTURE_VARIANT_ADD(size, 1024k) { 1024 };
FIXTURE_VARIANT_ADD(size, 2048k) { 2048 };

FIXTURE_SETUP(size)
{
	char path[128];

	size = HUGE;
	write_text(THP "enabled", "madvise");
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	snprintf(path, sizeof(path), THP "hugepages-%dkB", variant->kb);
	if (access(path, F_OK))
		SKIP(return, "no huge pages of %d kB", variant->kb);
	set_thp(2048, "enabled", "never");
	set_thp(variant->kb, "enabled", "madvise");
	set_thp(2048, "shmem_enabled", "never");
	set_thp(variant->kb, "shmem_enabled", "advise");
}

FIXTURE_TEARDOWN_PARENT(size)
{
	set_thp(variant->kb, "enabled", NULL);
	set_thp(variant->kb, "shmem_enabled", NULL);
	set_thp(2048, "enabled", NULL);
	set_thp(2048, "shmem_enabled", NULL);
	swap_off_ram();
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* How many of the pages belong to a folio of @kb */
static long in_folios_of(const char *p, size_t size, int kb)
{
	const long pages = kb * 1024L / PAGE;
	size_t i;
	long n = 0;

	for (i = 0; i < size; i += kb * 1024L)
		if (folio_pages(p + i) == pages)
			n += pages;

	return n;
}

#define EXPECT_FOLIOS(p) EXPECT_EQ(N, in_folios_of(p, size, variant->kb))

TEST_F(size, bound)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	soil(self->n.d1);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	EXPECT_TRUE(all_zero(p, size));
	fill_pages(p, size, 1);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	EXPECT_FOLIOS(p);
}

TEST_F(size, task)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, set_policy(MPOL_PREFERRED, NODE(self->n.d2)));
	fill_pages(p, size, 2);
	EXPECT_TRUE(placed(p, size, self->n.d2, 2));
	EXPECT_FOLIOS(p);
}

/* Whole folios in turn */
TEST_F(size, interleaved)
{
	char *p = map_huge(2 * size);
	long pages = variant->kb * 1024L / PAGE, n = 0, i;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, 2 * size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, 2 * size, MPOL_INTERLEAVE,
				 NODE(self->n.d1) | NODE(self->n.d2), 0));
	fill_pages(p, 2 * size, 3);
	EXPECT_EQ(N, on_node(p, 2 * size, self->n.d1));
	EXPECT_EQ(N, on_node(p, 2 * size, self->n.d2));
	for (i = 0; i < 2 * N; i += pages) {
		long here = on_node(p + i * PAGE, pages * PAGE, self->n.d1);

		n += here == 0 || here == pages;
	}
	EXPECT_EQ(2 * N / pages, n);
}

/*
 * Once: migration leaves a folio of less than 2 MiB, on any node, on the list
 * of those that may be split, and the next one splits it.
 */
TEST_F(size, moved)
{
	char *p = make_huge(), *q = make_huge(), *r = make_huge();

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	ASSERT_NE(NULL, r);
	fill_pages(p, size, 4);
	EXPECT_TRUE(placed(p, size, self->n.s0, 4));
	EXPECT_EQ(0, move(p, size, self->n.d1, NULL));
	EXPECT_TRUE(placed(p, size, self->n.d1, 4));
	EXPECT_FOLIOS(p);

	fill_pages(q, size, 5);
	EXPECT_EQ(0, mbind_nodes(q, size, MPOL_BIND, NODE(self->n.d2),
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_TRUE(placed(q, size, self->n.d2, 5));
	EXPECT_FOLIOS(q);

	ASSERT_EQ(0, mbind_nodes(r, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(r, size, 6);
	EXPECT_EQ(0, move(r, size, self->n.s1, NULL));
	EXPECT_TRUE(placed(r, size, self->n.s1, 6));
	EXPECT_FOLIOS(r);
}

/* Half of one is written by a child, half of one is dropped. */
TEST_F(size, split)
{
	const size_t half = variant->kb * 1024L / 2;
	char *p = make_huge();
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 5);
	pid = fork();
	if (!pid) {
		fill_pages(p, half, 6);
		_exit(!intact(p, half, 6) ||
		      on_node(p, size, self->n.d1) != N);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(placed(p, size, self->n.d1, 5));

	ASSERT_EQ(0, madvise(p, half, MADV_DONTNEED));
	EXPECT_EQ(N - (long)(half / PAGE), on_node(p, size, self->n.d1));
	fill_pages(p, half, 5);
	EXPECT_TRUE(placed(p, size, self->n.d1, 5));
}

TEST_F(size, swapped)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 7);
	ASSERT_EQ(0, page_out(p, size));
	EXPECT_LE(N * 3 / 4, on_node(p, size, NONE));
	EXPECT_TRUE(intact(p, size, 7));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
}

TEST_F(size, shared)
{
	char *p = map_huge_file(size, make_fd());

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 8);
	EXPECT_TRUE(placed(p, size, self->n.d1, 8));
	EXPECT_FOLIOS(p);
	EXPECT_EQ(0, move(p, size, self->n.d2, NULL));
	EXPECT_TRUE(placed(p, size, self->n.d2, 8));
	EXPECT_FOLIOS(p);
	EXPECT_EQ(0, move(p, size, self->n.s1, NULL));
	EXPECT_TRUE(placed(p, size, self->n.s1, 8));
	EXPECT_FOLIOS(p);
}

/* Folios of any size on one device become one huge page of that device. */
TEST_F(size, collapsed)
{
	char *p = make_huge();

	if (pmd_bytes != HUGE)
		SKIP(return, NO_COLLAPSE);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	ASSERT_EQ(N, in_folios_of(p, size, variant->kb));
	EXPECT_EQ(0, madvise(p, size, MADV_COLLAPSE));
	EXPECT_TRUE(placed(p, size, self->n.d1, 9));
	EXPECT_EQ(N, folio_pages(p));
}

TEST_F(size, shared_collapsed)
{
	char *p = map_huge_file(size, make_fd());

	if (pmd_bytes != HUGE)
		SKIP(return, NO_COLLAPSE);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	/* A page elsewhere, and it's no huge page of the device. */
	if (variant->kb < 2048) {
		ASSERT_EQ(0, move(p, variant->kb * 1024L, self->n.s0, NULL));
		EXPECT_NE(0, madvise(p, size, MADV_COLLAPSE));
		EXPECT_TRUE(intact(p, size, 9));
		ASSERT_EQ(0, move(p, variant->kb * 1024L, self->n.d1, NULL));
	}
	EXPECT_EQ(0, madvise(p, size, MADV_COLLAPSE));
	EXPECT_TRUE(placed(p, size, self->n.d1, 9));
	EXPECT_EQ(N, folio_pages(p));
}

TEST_HARNESS_MAIN
