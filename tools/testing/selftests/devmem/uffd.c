// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd, with what it is told to put, to move and to leave.
 *
 * Invariant 1: what a manager puts into a range is where the range's policy
 * says. Invariant 2: it is that node, not the other device. Invariant 5: the
 * content is there after each step, and memory that is given out is zeroed.
 * After each test every page of the devices is free again, and none is on a
 * list.
 *
 * Proof that it can fail: with DEVMEM_NODES naming two ordinary nodes of a
 * machine without device nodes, the tests fail that look for what stays in
 * system memory.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/kinds.h"
#include "../kselftest_harness.h"

FIXTURE(uffd)
{
	struct nodes n;
	int fd;
	unsigned long features;
	char *p;
};

FIXTURE_VARIANT(uffd)
{
	char *(*make)(void);
	bool shared;
};

FIXTURE_VARIANT_ADD(uffd, anon) {
	.make = make_anon,
};

FIXTURE_VARIANT_ADD(uffd, memfd) {
	.make = make_memfd,
	.shared = true,
};

/* A mapping bound to d1, whose missing pages are ours to provide */
FIXTURE_SETUP(uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->fd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_API, &api));
	self->features = api.features;
	self->p = variant->make();
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, mbind_nodes(self->p, size, MPOL_BIND, NODE(self->n.d1),
				 0));
	reg.range.start = (uintptr_t)self->p;
	reg.range.len = size;
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN_PARENT(uffd)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F(uffd, copy)
{
	char *from = map_anon(size);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)self->p,
		.src = (uintptr_t)from,
		.len = size,
	};

	fill_pages(from, size, 1);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_COPY, &copy));
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 1));
	EXPECT_TRUE(placed(from, size, self->n.s0, 1));
}

/* The zero page is nobody's; what is written to it is the policy's. */
TEST_F(uffd, zero_page)
{
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)self->p,
		.range.len = size,
	};

	soil(self->n.d1);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(variant->shared ? N : 0, on_node(self->p, size, self->n.d1));
	EXPECT_TRUE(all_zero(self->p, size));
	fill_pages(self->p, size, 2);
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 2));
}

static void *serve_faults(void *arg)
{
	int fd = *(int *)arg;
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;
	char *page = map_anon(PAGE);

	while (poll(&wait, 1, -1) > 0) {
		struct uffdio_copy copy = {
			.src = (uintptr_t)page,
			.len = PAGE,
		};

		if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		copy.dst = msg.arg.pagefault.address & ~(PAGE - 1);
		if (ioctl(fd, UFFDIO_COPY, &copy))
			break;
	}

	return NULL;
}

TEST_F(uffd, fault)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_faults, &self->fd));
	fill_pages(self->p, size, 3);
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 3));
}

/* A page that is moved stays on its node: it is the page that moves. */
TEST_F(uffd, move)
{
#ifdef UFFDIO_MOVE
	char *from = map_anon(size);
	struct uffdio_move mv = {
		.dst = (uintptr_t)self->p,
		.src = (uintptr_t)from,
		.len = size,
	};

	if (variant->shared || !(self->features & UFFD_FEATURE_MOVE))
		SKIP(return, "can't move pages of this kind");
	fill_pages(from, size, 4);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_MOVE, &mv));
	EXPECT_TRUE(placed(self->p, size, self->n.s0, 4));
	EXPECT_EQ(N, on_node(from, size, NONE));

	ASSERT_EQ(0, madvise(self->p, size, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(from, size, MPOL_BIND, NODE(self->n.d2), 0));
	fill_pages(from, size, 5);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_MOVE, &mv));
	EXPECT_TRUE(placed(self->p, size, self->n.d2, 5));
#else
	SKIP(return, "no UFFDIO_MOVE in these headers");
#endif
}

TEST_HARNESS_MAIN
