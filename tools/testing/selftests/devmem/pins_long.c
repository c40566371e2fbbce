// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 6, pins don't strand: whoever pins pages of a device for long
 * (FOLL_LONGTERM) gets them moved to system memory first, whatever bound them
 * to the device, with their content, and the device's memory can be had in
 * large pieces while the pin lasts.
 *
 * The users of long pins that a guest can have: gup_test (slow and fast),
 * fixed buffers of io_uring, an AF_XDP umem, udmabuf. dma_heap takes pages of
 * its own. The others need hardware: RDMA, VFIO and iommufd, vDPA, encrypted
 * guests, media and accelerator drivers; all of them pin by
 * pin_user_pages(FOLL_LONGTERM), which gup_test calls directly.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3) every test fails that wants pages to leave
 * a node.
 *
 * Wants two system nodes and a device node; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/pins.h"
#include "../../../../mm/gup_test.h"
#include "../kselftest_harness.h"

/* -- Who pins ---------------------------------------------------------------- */

static int by_gup_fast(char *p, size_t size)
{
	return by_gup_flags(p, size, PIN_LONGTERM_TEST_FLAG_USE_WRITE |
				      PIN_LONGTERM_TEST_FLAG_USE_FAST);
}

static int by_gup_read(char *p, size_t size)
{
	return by_gup_flags(p, size, 0);
}

/* -- Large pieces ------------------------------------------------------------ */

FIXTURE(pin)
{
	int dev, sys;
	unsigned long mask;
};

FIXTURE_VARIANT(pin)
{
	enum kind kind;
	bool moved;		/* there by move_pages(), without a policy */
};

FIXTURE_VARIANT_ADD(pin, anon_bound) { ANON, false };
FIXTURE_VARIANT_ADD(pin, anon_moved) { ANON, true };
FIXTURE_VARIANT_ADD(pin, huge_bound) { ANON_HUGE, false };
FIXTURE_VARIANT_ADD(pin, huge_moved) { ANON_HUGE, true };
FIXTURE_VARIANT_ADD(pin, copy_bound) { COPY, false };
FIXTURE_VARIANT_ADD(pin, copy_moved) { COPY, true };
FIXTURE_VARIANT_ADD(pin, shared_bound) { SHARED, false };
FIXTURE_VARIANT_ADD(pin, shared_moved) { SHARED, true };
FIXTURE_VARIANT_ADD(pin, shared_huge_bound) { SHARED_HUGE, false };
FIXTURE_VARIANT_ADD(pin, shared_huge_moved) { SHARED_HUGE, true };

FIXTURE_SETUP(pin)
{
	if (!first_nodes(&self->dev, &self->sys) || testmod_load())
		SKIP(return, "needs root, a device node and the test module");
	if (access("/proc/sys/kernel/io_uring_disabled", F_OK))
		SKIP(return, "no io_uring");
	self->mask = 1UL << self->dev;
}

FIXTURE_TEARDOWN(pin)
{
	testmod("free");
}

/* Filled, and on the device */
static void place(struct __test_metadata *_metadata, struct area *a,
		  enum kind kind, bool moved, int dev, unsigned int seed)
{
	const char *made = kind == SHARED_HUGE ? HUGE_FILES "stats/shmem_alloc" :
						 HUGE_FILES "stats/anon_fault_alloc";
	long before = read_number(made);

	ASSERT_TRUE(make_area(a, kind));
	if (!moved)
		ASSERT_EQ(0, mbind_nodes(a->p, SIZE, MPOL_BIND, 1UL << dev, 0));
	fill_pages(a->p, SIZE, seed);
	if (is_huge(kind))
		ASSERT_EQ(before + (long)(SIZE / HUGE), read_number(made));
	if (moved) {
		ASSERT_EQ(0, on_node(a->p, SIZE, dev));
		move(a->p, SIZE, dev, NULL);
	}
	ASSERT_EQ(PAGES, on_node(a->p, SIZE, dev));
}

/* Pinned, the pages are in system memory, the device is as good as empty. */
static void check_pinned(struct __test_metadata *_metadata, struct area *a,
			 int dev, unsigned int seed)
{
	EXPECT_EQ(0, on_node(a->p, SIZE, dev));
	EXPECT_EQ(0, on_node(a->p, SIZE, NONE));
	EXPECT_TRUE(intact(a->p, SIZE, seed));
	/* Positive control: they are pinned. */
	EXPECT_NE(0, move(a->p, SIZE, dev, NULL));
	EXPECT_EQ(0, on_node(a->p, SIZE, dev));
	EXPECT_EQ(0, contiguous(dev));
}

/* And afterwards they are as free to move as before. */
static void check_unpinned(struct __test_metadata *_metadata, struct area *a,
			   int dev, unsigned int seed)
{
	int i;

	/* Some users let go from a work queue or an RCU callback. */
	for (i = 0; i < 50; i++) {
		move(a->p, SIZE, dev, NULL);
		if (on_node(a->p, SIZE, dev) == PAGES)
			break;
		usleep(100000);
	}
	EXPECT_EQ(PAGES, on_node(a->p, SIZE, dev));
	EXPECT_TRUE(intact(a->p, SIZE, seed));
}

TEST_F(pin, gup)
{
	struct area a;
	int fd;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 1);
	fd = by_gup(a.p, SIZE);
	if (fd == -ENOENT)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 1);
	EXPECT_TRUE(gup_sees(fd, SIZE, 1));
	fill_pages(a.p, SIZE, 2);
	EXPECT_TRUE(gup_sees(fd, SIZE, 2));
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 2);
	drop_area(&a);
}

TEST_F(pin, gup_fast)
{
	struct area a;
	int fd;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 3);
	fd = by_gup_fast(a.p, SIZE);
	if (fd == -ENOENT)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 3);
	fill_pages(a.p, SIZE, 4);
	EXPECT_TRUE(gup_sees(fd, SIZE, 4));
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 4);
	drop_area(&a);
}

TEST_F(pin, gup_read)
{
	struct area a;
	int fd;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 5);
	fd = by_gup_read(a.p, SIZE);
	if (fd == -ENOENT)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 5);
	EXPECT_TRUE(gup_sees(fd, SIZE, 5));
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 5);
	drop_area(&a);
}

/* One write of the fixed buffer to a file, without the ring's C library */
static int write_fixed(int ring, int file, char *p, size_t size)
{
	struct io_uring_params params;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqe;
	char *sq, *cq;
	int result;

	/* Sizes and offsets as the kernel gave them for this many entries */
	result = ring_setup(&params);
	if (result < 0)
		return -errno;
	close(result);

	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4,
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(*sqes),
		    PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)sqes == MAP_FAILED)
		return -errno;

	memset(sqes, 0, sizeof(*sqes));
	sqes->opcode = IORING_OP_WRITE_FIXED;
	sqes->fd = file;
	sqes->addr = (uintptr_t)p;
	sqes->len = size;
	*(unsigned int *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(sq + params.sq_off.tail), 1,
			 __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return -errno;
	cqe = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	result = cqe->res;
	munmap(sq, params.sq_off.array + params.sq_entries * 4);
	munmap(cq, params.cq_off.cqes + params.cq_entries * sizeof(*cqe));
	munmap(sqes, params.sq_entries * sizeof(*sqes));

	return result;
}

TEST_F(pin, io_uring)
{
	int fd, file = memfd_create("copy", 0);
	struct area a;
	char *copy;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 6);
	fd = by_io_uring(a.p, SIZE);
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 6);

	/* What the kernel takes from the buffer is what is in the mapping. */
	fill_pages(a.p, SIZE, 7);
	ASSERT_EQ(0, ftruncate(file, SIZE));
	EXPECT_EQ((int)SIZE, write_fixed(fd, file, a.p, SIZE));
	copy = map_pages(SIZE, MAP_SHARED, file);
	ASSERT_NE(NULL, copy);
	EXPECT_TRUE(intact(copy, SIZE, 7));
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 7);
	drop_area(&a);
}

TEST_F(pin, af_xdp)
{
	struct area a;
	int fd;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 8);
	fd = by_af_xdp(a.p, SIZE);
	if (fd == -EAFNOSUPPORT)
		SKIP(return, "no AF_XDP (CONFIG_XDP_SOCKETS)");
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 8);
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 8);
	drop_area(&a);
}

/* Of a memfd only; the buffer is what other drivers import. */
TEST_F(pin, udmabuf)
{
	struct dma_buf_sync sync = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	};
	struct area a;
	char *buf;
	int fd;

	if (variant->kind != SHARED && variant->kind != SHARED_HUGE)
		return;

	place(_metadata, &a, variant->kind, variant->moved, self->dev, 9);
	fd = make_udmabuf(a.fd, SIZE);
	if (fd == -ENOENT)
		SKIP(return, "no /dev/udmabuf");
	ASSERT_GE(fd, 0);
	check_pinned(_metadata, &a, self->dev, 9);

	/* Mapped for the device behind it, and for the CPU */
	ASSERT_EQ(0, ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync));
	buf = map_pages(SIZE, MAP_SHARED, fd);
	ASSERT_NE(NULL, buf);
	EXPECT_TRUE(intact(buf, SIZE, 9));
	fill_pages(buf, SIZE, 10);
	EXPECT_TRUE(intact(a.p, SIZE, 10));
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	ASSERT_EQ(0, ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync));
	munmap(buf, SIZE);
	close(fd);
	check_unpinned(_metadata, &a, self->dev, 10);
	drop_area(&a);
}

/* Nothing there yet: the pin itself makes the pages, by the policy. */
TEST_F(pin, not_there_yet)
{
	struct area a;
	int fd;

	if (variant->moved)
		return;

	ASSERT_TRUE(make_area(&a, variant->kind));
	ASSERT_EQ(0, mbind_nodes(a.p, SIZE, MPOL_BIND, self->mask, 0));
	fd = by_io_uring(a.p, SIZE);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, on_node(a.p, SIZE, self->dev));
	EXPECT_EQ(0, on_node(a.p, SIZE, NONE));
	EXPECT_EQ(0, contiguous(self->dev));
	close(fd);
	drop_area(&a);
}

TEST_HARNESS_MAIN
