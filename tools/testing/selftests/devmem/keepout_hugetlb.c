// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: pools of hugetlb have no page of a
 * device, and none of theirs is moved to one.
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
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

static long node_pool(int nid, const char *what)
{
	char path[160];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s",
		 nid, what);

	return read_number(path);
}

TEST_F(out, hugetlb_pools)
{
	long before = given(), surplus;
	char *p, *q;
	int i;

	if (access(POOL "nr_hugepages", W_OK))
		SKIP(return, "no hugetlb pages of 2 MiB");

	/* By sysctl, by a task with a policy, by mask */
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "12"));
	EXPECT_EQ(12, read_number(POOL "nr_hugepages"));
	EXPECT_GT(node_pool(self->sys[1], "nr_hugepages"), 0);
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "0"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	write_text(POOL "nr_hugepages_mempolicy", "4");
	EXPECT_EQ(0, node_pool(self->dev[0], "nr_hugepages"));
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, self->d1 | self->s1));
	write_text(POOL "nr_hugepages_mempolicy", "4");
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(0, node_pool(self->dev[0], "nr_hugepages"));
	EXPECT_GT(node_pool(self->sys[1], "nr_hugepages"), 0);

	/* Surplus pages, for mappings that are bound to a device */
	ASSERT_EQ(0, write_text(POOL "nr_hugepages", "1"));
	ASSERT_EQ(0, write_text(POOL "nr_overcommit_hugepages", "4"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	p = map_hugetlb(2 * HUGE);
	EXPECT_NE(NULL, p);
	if (p)
		fill_pages(p, 2 * HUGE, 1);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	surplus = read_number(POOL "surplus_hugepages");
	EXPECT_GT(surplus, 0);
	q = map_hugetlb(2 * HUGE);
	EXPECT_NE(NULL, q);
	if (q) {
		EXPECT_EQ(0, mbind_nodes(q, 2 * HUGE, MPOL_BIND, self->d1, 0));
		fill_pages(q, 2 * HUGE, 2);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, node_pool(self->dev[i], "nr_hugepages"));
		EXPECT_EQ(0, node_pool(self->dev[i], "surplus_hugepages"));
		EXPECT_EQ(0, flagged_pages(self->dev[i], HUGETLB));
	}
	if (p && q) {
		EXPECT_TRUE(intact(p, 2 * HUGE, 1));
		EXPECT_TRUE(intact(q, 2 * HUGE, 2));
		EXPECT_TRUE(has_flag(p, HUGETLB));
		EXPECT_EQ(0, on_node(p, 2 * HUGE, self->dev[0]));
		EXPECT_EQ(0, on_node(q, 2 * HUGE, self->dev[0]));
	}
	munmap(p, 2 * HUGE);
	munmap(q, 2 * HUGE);
	write_text(POOL "nr_overcommit_hugepages", "0");
	write_text(POOL "nr_hugepages", "0");
	EXPECT_EQ(0, read_number(POOL "nr_hugepages"));
	/* The two policies may have met other pages of this program. */
	EXPECT_LT(given(), before + 16);
}

/* Sent there they stay, and don't keep others from going. */
TEST_F(out, hugetlb_is_not_moved)
{
	unsigned long from = self->s0 | self->s1, to = self->d1;
	char *p, *anon = place(SIZE, self->s0, 2);
	int status;

	if (write_text(POOL "nr_hugepages", "2"))
		SKIP(return, "no hugetlb pages of 2 MiB");
	p = map_hugetlb(HUGE);
	ASSERT_NE(NULL, p);
	fill_pages(p, HUGE, 1);
	EXPECT_EQ(0, move(p, PAGE, self->dev[0], &status));
	EXPECT_EQ(-EINVAL, status);
	EXPECT_EQ(0, on_node(p, HUGE, self->dev[0]));

	EXPECT_GT(syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &from,
			  &to), 0);
	EXPECT_EQ(PAGES, on_node(anon, SIZE, self->dev[0]));
	EXPECT_EQ(0, on_node(p, HUGE, self->dev[0]));
	EXPECT_EQ(0, flagged_pages(self->dev[0], HUGETLB));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_TRUE(intact(anon, SIZE, 2));
	syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1, &to, &from);
	munmap(p, HUGE);
	munmap(anon, SIZE);
	write_text(POOL "nr_hugepages", "0");
}

TEST_HARNESS_MAIN
