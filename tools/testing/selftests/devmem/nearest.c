// SPDX-License-Identifier: GPL-2.0
/*
 * Which of several nodes is the nearest: that which serves a request first, and that
 * to which goes what leaves a device.
 *
 * Invariant 2: each device is one of its own, also if pages of two leave at once.
 *
 * Wants two system nodes and two device nodes of 128 MB at these distances: the
 * second device is nearer to the CPUs than the first one; the second system node is
 * the nearest to the first device, and the first to the second. See "plan".
 *
 * Control: each test has both devices, of which one behaves otherwise.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../kselftest_harness.h"

/* Return: whether the machine is such a one */
static bool is_ours(const struct nodes *n)
{
	return node_distance(n->s0, n->d2) < node_distance(n->s0, n->d1) &&
	       node_distance(n->d1, n->s1) < node_distance(n->d1, n->s0) &&
	       node_distance(n->d2, n->s0) < node_distance(n->d2, n->s1);
}

#define OTHER_MACHINE	"needs nodes at other distances, see plan"

TEST_F_TIMEOUT(driver, serves_a_policy, PATIENCE)
{
	const int modes[] = { MPOL_BIND, MPOL_PREFERRED_MANY };
	int buf;

	if (!is_ours(&self->n))
		SKIP(return, OTHER_MACHINE);
	for (size_t i = 0; i < 2; i++) {
		char *p = map_anon(2 * SIZE);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, mbind_nodes(p, 2 * SIZE, modes[i],
					 NODE(self->n.d1) | NODE(self->n.d2),
					 0));
		fill_pages(p, SIZE, 1);
		EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
		/* Until that one is full */
		buf = devmem_alloc(self->fd, self->n.d2,
				   node_bytes(self->n.d2) - SIZE - MIB,
				   DEVMEM_ALLOC_EXACT, 0);
		ASSERT_LE(0, buf);
		fill_pages(p + SIZE, SIZE, 2);
		EXPECT_LE(PAGES - (long)(MIB / PAGE),
			  on_node(p + SIZE, SIZE, self->n.d1));
		close(buf);
		munmap(p, 2 * SIZE);
	}
}

TEST_F_TIMEOUT(driver, serves_a_buffer, PATIENCE)
{
	struct devmem_alloc alloc = {
		.node = DEVMEM_NODE_NEAREST, .size = SIZE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};

	if (!is_ours(&self->n))
		SKIP(return, OTHER_MACHINE);
	ASSERT_EQ(0, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(self->n.d2, alloc.node);
	close(alloc.fd);
}

/* Each page of two devices, in turns, by one call */
TEST_F_TIMEOUT(driver, takes_what_leaves, PATIENCE)
{
	struct devmem_migrate m = { };
	char *p = map_anon(SIZE);
	long wrong = 0;

	if (!is_ours(&self->n))
		SKIP(return, OTHER_MACHINE);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, SIZE, MADV_NOHUGEPAGE));
	fill_pages(p, SIZE, 1);
	for (long i = 0; i < PAGES; i++) {
		m = (struct devmem_migrate){ };
		ASSERT_EQ(0, devmem_migrate(self->fd, p + i * PAGE, PAGE,
					    i % 2 ? self->n.d1 : self->n.d2,
					    DEVMEM_SELF, &m));
	}
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, DEVMEM_NODE_SYSTEM,
				    DEVMEM_SELF, &m));
	EXPECT_EQ((__u64)PAGES, m.moved);
	for (long i = 0; i < PAGES; i++)
		wrong += !on_node(p + i * PAGE, PAGE,
				  i % 2 ? self->n.s1 : self->n.s0);
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
}

/* Of each device, what has to make room on it */
TEST_F_TIMEOUT(driver, takes_what_makes_room, PATIENCE)
{
	const int to[2][2] = { { self->n.d1, self->n.s1 },
			       { self->n.d2, self->n.s0 } };

	if (!is_ours(&self->n))
		SKIP(return, OTHER_MACHINE);
	for (size_t i = 0; i < 2; i++) {
		const size_t size = node_bytes(to[i][0]) - 4 * MIB;
		char *p = map_anon(size), *q = map_anon(SIZE), path[96];

		ASSERT_TRUE(p && q);
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/device_coherent/make_room",
			 to[i][0]);
		ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(to[i][0]), 0));
		ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, NODE(to[i][0]), 0));
		fill_pages(p, size, 1);
		ASSERT_EQ(0, write_text(path, "move"));
		fill_pages(q, SIZE, 2);
		EXPECT_EQ(0, write_text(path, "off"));
		EXPECT_LT(0, on_node(p, size, to[i][1]));
		EXPECT_EQ(0, on_node(p, size, to[!i][1]));
		EXPECT_TRUE(intact(p, size, 1));
		munmap(p, size);
		munmap(q, SIZE);
	}
}

TEST_HARNESS_MAIN
