// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 6, pins don't strand: whoever pins pages of a device for long
 * (FOLL_LONGTERM) gets them moved to system memory first, whatever bound them
 * to the device, with their content, and the device's memory can be had in
 * large pieces while the pin lasts. What holds pages for a moment only takes
 * them where they are. A pin that system memory has no room for fails or costs
 * its owner, and nothing is lost (invariant 5).
 *
 * The users of long pins that a guest can have: gup_test (slow and fast),
 * fixed buffers of io_uring, an AF_XDP umem, udmabuf. dma_heap takes pages of
 * its own. The others need hardware: RDMA, VFIO and iommufd, vDPA, encrypted
 * guests, media and accelerator drivers; all of them pin by
 * pin_user_pages(FOLL_LONGTERM), which gup_test calls directly.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3) every test fails that wants pages to leave
 * a node. Controls here: pages that are pinned can't be moved, an unpinned
 * reference (vmsplice) does keep the device from being had in one piece.
 *
 * Wants two system nodes and a device node; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/io_uring.h>
#include <linux/udmabuf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"
#include "../../../../mm/gup_test.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#ifndef SOL_XDP
#define SOL_XDP		283
#endif
#ifndef AF_XDP
#define AF_XDP		44
#endif
#define UMEM_REG	4	/* XDP_UMEM_REG; linux/if_xdp.h varies in size */

#define SIZE		(4 * MIB)
#define PAGES		((long)(SIZE / PAGE))
#define LARGEST_ORDER	10	/* that the allocator has */

/* -- Pages to pin ------------------------------------------------------------ */

enum kind { ANON, ANON_HUGE, COPY, SHARED, SHARED_HUGE };

struct area {
	char *p;
	int fd;			/* of a memfd, or -1 */
};

static bool is_huge(enum kind kind)
{
	return kind == ANON_HUGE || kind == SHARED_HUGE;
}

/*
 * This program's own file, again and again, since it isn't that large. (tmpfs
 * wouldn't do: there a policy is the file's, even of a private mapping.)
 */
static char *map_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	size_t i, len = lseek(fd, 0, SEEK_END) & ~(PAGE - 1);
	char *p = map_anon(SIZE);

	for (i = 0; p && i < SIZE; i += len)
		if (mmap(p + i, SIZE - i < len ? SIZE - i : len,
			 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			 0) == MAP_FAILED)
			p = NULL;
	close(fd);

	return p;
}

static bool make_area(struct area *a, enum kind kind)
{
	a->fd = -1;
	switch (kind) {
	case ANON:
	case ANON_HUGE:
		a->p = map_huge(SIZE);
		break;
	case COPY:
		a->p = map_file();
		break;
	case SHARED:
	case SHARED_HUGE:
		write_text(THP "shmem_enabled", "advise");
		a->fd = memfd_create("devmem", MFD_ALLOW_SEALING);
		if (a->fd < 0 || ftruncate(a->fd, SIZE) ||
		    fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK))
			return false;
		a->p = map_huge_file(SIZE, a->fd);
		break;
	}
	if (a->p)
		madvise(a->p, SIZE, is_huge(kind) ? MADV_HUGEPAGE :
						    MADV_NOHUGEPAGE);

	return a->p;
}

static void drop_area(struct area *a)
{
	munmap(a->p, SIZE);
	if (a->fd >= 0)
		close(a->fd);
}

/* -- Who pins ---------------------------------------------------------------- */

/* Each returns a file whose closing ends the pin, or -errno. */

static int by_gup_flags(char *p, size_t size, unsigned int flags)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)p,
		.size = size,
		.flags = flags,
	};
	int rc, fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, PIN_LONGTERM_TEST_START, &args))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static int by_gup(char *p, size_t size)
{
	return by_gup_flags(p, size, PIN_LONGTERM_TEST_FLAG_USE_WRITE);
}

static int by_gup_fast(char *p, size_t size)
{
	return by_gup_flags(p, size, PIN_LONGTERM_TEST_FLAG_USE_WRITE |
				      PIN_LONGTERM_TEST_FLAG_USE_FAST);
}

static int by_gup_read(char *p, size_t size)
{
	return by_gup_flags(p, size, 0);
}

/* Is what was pinned what is mapped? */
static bool gup_sees(int fd, size_t size, unsigned int seed)
{
	char *copy = map_anon(size);
	__u64 addr = (uintptr_t)copy;
	bool same = !ioctl(fd, PIN_LONGTERM_TEST_READ, &addr) &&
		    intact(copy, size, seed);

	munmap(copy, size);

	return same;
}

static int ring_setup(struct io_uring_params *params)
{
	memset(params, 0, sizeof(*params));

	return syscall(SYS_io_uring_setup, 4, params);
}

static int by_io_uring(char *p, size_t size)
{
	struct iovec iov = { .iov_base = p, .iov_len = size };
	struct io_uring_params params;
	int rc, fd = ring_setup(&params);

	if (fd < 0)
		return -errno;
	if (!syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov,
		     1))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static int by_af_xdp(char *p, size_t size)
{
	struct {
		__u64 addr, len;
		__u32 chunk_size, headroom, flags, padding;
	} umem = { (uintptr_t)p, size, PAGE, 0, 0, 0 };
	int rc, fd = socket(AF_XDP, SOCK_RAW, 0);

	if (fd < 0)
		return -errno;
	if (!setsockopt(fd, SOL_XDP, UMEM_REG, &umem, sizeof(umem)))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static int make_udmabuf(int memfd, size_t size)
{
	struct udmabuf_create create = { .memfd = memfd, .size = size };
	int buf, fd = open("/dev/udmabuf", O_RDWR);

	if (fd < 0)
		return -errno;
	buf = ioctl(fd, UDMABUF_CREATE, &create);
	if (buf < 0)
		buf = -errno;
	close(fd);

	return buf;
}

/* -- Large pieces ------------------------------------------------------------ */

/* Can all of the device be had in one piece? Return: 0 or -errno */
static int contiguous(int nid)
{
	int rc = testmod("contig %d %ld 1", nid, node_bytes(nid) / PAGE);

	testmod("free");

	return rc;
}

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

static bool first_nodes(int *dev, int *sys)
{
	int devs[MAX_NODES], syss[MAX_NODES];

	if (!device_nodes(devs) || !system_nodes(syss) || getuid())
		return false;
	*dev = devs[0];
	*sys = syss[0];

	return true;
}

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
	const char *event = kind == SHARED_HUGE ? "thp_file_alloc" :
						  "thp_fault_alloc";
	long before = vm_event(event);

	ASSERT_TRUE(make_area(a, kind));
	if (!moved)
		ASSERT_EQ(0, mbind_nodes(a->p, SIZE, MPOL_BIND, 1UL << dev, 0));
	fill_pages(a->p, SIZE, seed);
	if (is_huge(kind))
		ASSERT_EQ(before + (long)(SIZE / HUGE), vm_event(event));
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

/* -- More about long pins ---------------------------------------------------- */

FIXTURE(pins)
{
	int dev, sys;
	unsigned long mask;
};

FIXTURE_SETUP(pins)
{
	if (!first_nodes(&self->dev, &self->sys) || testmod_load())
		SKIP(return, "needs root, a device node and the test module");
	self->mask = 1UL << self->dev;
	/*
	 * Else pages of an earlier test that wait in a CPU's batch for an LRU
	 * list are counted as used, until a pin empties the batches.
	 */
	drain_lists();
}

FIXTURE_TEARDOWN(pins)
{
	testmod("free");
}

/* The same in the allocator's largest pieces */
TEST_F(pins, largest_pieces)
{
	long n = 0, whole = node_bytes(self->dev) / (PAGE << LARGEST_ORDER);
	char *p = map_anon(SIZE);
	int fd;

	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->mask, 0));
	fill_pages(p, SIZE, 1);
	fd = by_io_uring(p, SIZE);
	ASSERT_GE(fd, 0);
	while (!testmod("alloc %d %d 1", self->dev, LARGEST_ORDER))
		n++;
	EXPECT_EQ(whole, n);
	close(fd);
	munmap(p, SIZE);
}

/* Pages of a device, of the system and of nowhere in one pin, by three users */
TEST_F(pins, mixed_and_shared)
{
	char *p = map_huge(SIZE);
	int a, b, c;

	ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p + HUGE, HUGE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, self->mask, 0));
	fill_pages(p, SIZE - MIB, 1);
	ASSERT_EQ(0, move(p + HUGE, MIB / 2, self->dev, NULL));
	ASSERT_EQ((long)((HUGE + MIB / 2) / PAGE), on_node(p, SIZE, self->dev));

	/* A part, all of it, and once more what is already pinned */
	a = by_af_xdp(p + HUGE / 2, HUGE);
	ASSERT_GE(a, 0);
	EXPECT_EQ(0, on_node(p + HUGE / 2, HUGE, self->dev));
	b = by_io_uring(p, SIZE);
	ASSERT_GE(b, 0);
	c = by_gup(p, SIZE);
	EXPECT_GE(c, 0);
	EXPECT_EQ(0, on_node(p, SIZE, self->dev));
	EXPECT_EQ(0, on_node(p, SIZE, NONE));
	EXPECT_TRUE(intact(p, SIZE - MIB, 1));
	close(b);
	/* Two are left, and the pages stay where they can be pinned. */
	EXPECT_NE(0, move(p + HUGE, PAGE, self->dev, NULL));
	if (c >= 0) {
		EXPECT_TRUE(gup_sees(c, SIZE - MIB, 1));
		close(c);
	}
	close(a);
	munmap(p, SIZE);
}

/* A pin that is already there when the mapping is bound: it can't be moved. */
TEST_F(pins, bound_after)
{
	char *p = map_anon(SIZE);
	int fd;

	fill_pages(p, SIZE, 1);
	fd = by_io_uring(p, SIZE);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, mbind_nodes(p, SIZE, MPOL_BIND, self->mask,
				  MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, on_node(p, SIZE, self->dev));
	EXPECT_TRUE(intact(p, SIZE, 1));
	close(fd);
	munmap(p, SIZE);
}

/* The child of a task with pins has copies of its own, by the policy. */
TEST_F(pins, fork)
{
	char *p = map_anon(SIZE);
	int fd, status;
	pid_t pid;

	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->mask, 0));
	fill_pages(p, SIZE, 1);
	fd = by_io_uring(p, SIZE);
	ASSERT_GE(fd, 0);
	pid = fork();
	if (!pid) {
		bool good = intact(p, SIZE, 1) &&
			    on_node(p, SIZE, self->dev) == PAGES;

		fill_pages(p, SIZE, 2);
		_exit(good ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(0, on_node(p, SIZE, self->dev));
	close(fd);
	munmap(p, SIZE);
}

/* What is on swap is read back first. */
TEST_F(pins, swapped_out)
{
	char *p = map_anon(SIZE);
	int fd;

	if (swap_on_loop(16))
		SKIP(return, "no swap on /dev/loop0");
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->mask, 0));
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, madvise(p, SIZE, MADV_PAGEOUT));
	EXPECT_GT(on_node(p, SIZE, NONE), PAGES / 2);
	fd = by_io_uring(p, SIZE);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, on_node(p, SIZE, self->dev));
	EXPECT_EQ(0, on_node(p, SIZE, NONE));
	EXPECT_TRUE(intact(p, SIZE, 1));
	close(fd);
	munmap(p, SIZE);
	swap_off_loop();
}

/* Holes of a memfd that is bound: made by the pin, then moved as all others */
TEST_F(pins, udmabuf_of_holes)
{
	long used = node_used(self->dev);
	struct area a;
	int fd;

	ASSERT_TRUE(make_area(&a, SHARED));
	ASSERT_EQ(0, mbind_nodes(a.p, SIZE, MPOL_BIND, self->mask, 0));
	fd = make_udmabuf(a.fd, SIZE);
	if (fd == -ENOENT)
		SKIP(return, "no /dev/udmabuf");
	ASSERT_GE(fd, 0);
	EXPECT_EQ(used, node_used(self->dev));
	EXPECT_TRUE(intact(a.p, PAGE, 0));
	EXPECT_EQ(0, on_node(a.p, SIZE, self->dev));
	close(fd);
	drop_area(&a);
}

/* dma_heap's pages are the kernel's, whatever the policy of who asks. */
TEST_F(pins, dma_heap)
{
	struct dma_heap_allocation_data data = {
		.len = SIZE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	long used = node_used(self->dev);
	int rc, heap = open("/dev/dma_heap/system", O_RDWR);
	char *p;

	if (heap < 0)
		SKIP(return, "no /dev/dma_heap/system");
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->mask));
	rc = ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data);
	p = rc ? NULL : map_pages(SIZE, MAP_SHARED, data.fd);
	if (p)
		fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	ASSERT_EQ(0, rc);
	ASSERT_NE(NULL, p);
	/* The program's own memory (its stack) may follow the policy. */
	EXPECT_LT(node_used(self->dev), used + 32);
	mbind_nodes(p, SIZE, MPOL_BIND, self->mask, MPOL_MF_MOVE);
	EXPECT_LT(node_used(self->dev), used + 32);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(data.fd);
}

/* -- No room ----------------------------------------------------------------- */

/* A device without a free page: the pin can't make its page, and says so. */
TEST_F(pins, full_device)
{
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	long kills = vm_event("oom_kill");
	int fd;

	/* One that it could move away, and one that it can't even make */
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, self->mask, 0));
	fill_pages(p, SIZE, 1);
	for (fd = 0; fd < 3; fd++) {
		ASSERT_EQ(0, testmod("fill %d", self->dev));
		node_used(self->dev);
	}
	EXPECT_EQ(-ENOMEM, by_io_uring(q, SIZE));
	EXPECT_EQ(kills, vm_event("oom_kill"));
	fd = by_io_uring(p, SIZE);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, on_node(p, SIZE, self->dev));
	EXPECT_TRUE(intact(p, SIZE, 1));
	close(fd);

	/* And into the place of those: */
	fd = by_io_uring(q, SIZE);
	EXPECT_GE(fd, 0);
	close(fd);
	munmap(p, SIZE);
	munmap(q, SIZE);
}

#define FAIL	"/sys/kernel/debug/fail_page_alloc/"

/* Every allocation of this task from @order up fails, if @on. */
static int fail_alloc(bool on, int order)
{
	char text[16];
	int rc;

	snprintf(text, sizeof(text), "%d", order);
	rc = write_text(FAIL "min-order", text) ?:
	     write_text(FAIL "task-filter", "Y") ?:
	     write_text(FAIL "ignore-gfp-wait", "N") ?:
	     write_text(FAIL "ignore-gfp-highmem", "N") ?:
	     write_text(FAIL "verbose", "0") ?:
	     write_text(FAIL "times", "-1") ?:
	     write_text("/proc/self/make-it-fail", on ? "1" : "0") ?:
	     write_text(FAIL "probability", on ? "100" : "0");

	return rc;
}

/* System memory gives nothing: the pin fails, the pages stay as they were. */
TEST_F(pins, no_system_memory)
{
	const size_t size = 64 * PAGE;
	char *p = map_anon(size);
	int fd;

	if (access(FAIL "probability", W_OK))
		SKIP(return, "no fault injection (CONFIG_FAIL_PAGE_ALLOC)");
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->mask, 0));
	fill_pages(p, size, 1);
	/* Once before, so that what it allocates besides is there */
	fd = by_gup(p, size);
	ASSERT_GE(fd, 0);
	close(fd);
	ASSERT_EQ(0, move(p, size, self->dev, NULL));

	ASSERT_EQ(0, fail_alloc(true, 0));
	fd = by_gup(p, size);
	fail_alloc(false, 0);
	EXPECT_EQ(-ENOMEM, fd);
	EXPECT_EQ((long)(size / PAGE), on_node(p, size, self->dev));
	EXPECT_TRUE(intact(p, size, 1));

	fd = by_gup(p, size);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, on_node(p, size, self->dev));
	EXPECT_TRUE(intact(p, size, 1));
	close(fd);
	munmap(p, size);
}

/* System memory has no huge page to offer: the pages go one by one. */
TEST_F(pins, no_huge_page)
{
	char *p = map_huge(HUGE);
	int fd;

	if (access(FAIL "probability", W_OK))
		SKIP(return, "no fault injection (CONFIG_FAIL_PAGE_ALLOC)");
	ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, self->mask, 0));
	fill_pages(p, HUGE, 1);
	ASSERT_EQ(0, fail_alloc(true, 4));
	fd = by_gup(p, HUGE);
	fail_alloc(false, 0);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, on_node(p, HUGE, self->dev));
	EXPECT_TRUE(intact(p, HUGE, 1));
	close(fd);
	munmap(p, HUGE);
}

/* All of system memory but @leave bytes, in a child that the OOM killer spares */
static pid_t hog_system(size_t leave, int sync)
{
	pid_t pid = fork();
	char c = 1;

	if (!pid) {
		set_oom_score(-1000);
		for (;;) {
			char *p;

			/* Caches can be dropped: take all but what is left. */
			if ((size_t)meminfo_kb("MemAvailable") * 1024 <
			    leave + 4 * MIB)
				break;
			p = map_huge(4 * MIB);
			if (!p || madvise(p, 4 * MIB, MADV_HUGEPAGE) ||
			    madvise(p, 4 * MIB, MADV_POPULATE_WRITE))
				break;
		}
		if (write(sync, &c, 1) == 1)
			pause();
		_exit(0);
	}

	return pid;
}

/* @size bytes that the OOM killer takes before others */
static pid_t spare_memory(size_t size, int sync)
{
	pid_t pid = fork();
	char c = 1;

	if (!pid) {
		set_oom_score(900);
		fill_pages(map_anon(size), size, 1);
		if (write(sync, &c, 1) == 1)
			pause();
		_exit(0);
	}

	return pid;
}

/*
 * More to pin than system memory can take, and nothing there that could be
 * reclaimed: the pin is what is asking, so it may well be the one that pays.
 * It is a child here, and the memory is shared: nothing of it may be lost. That
 * also means that its end frees nothing, so there are others next to it who
 * can be killed with more success.
 */
TEST_F(pins, too_much)
{
	size_t i, size = node_bytes(self->dev) * 3 / 4 & ~(MIB - 1);
	long kills = vm_event("oom_kill"), count[MAX_NODES + 1];
	int fd = memfd_create("devmem", 0), sync[2], status;
	pid_t hog, spare[4], pid;
	char *p, c;

	ASSERT_EQ(0, pipe(sync));
	ASSERT_EQ(0, ftruncate(fd, size));
	p = map_pages(size, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->mask, 0));
	fill_pages(p, size, 1);
	ASSERT_EQ((long)(size / PAGE), on_node(p, size, self->dev));
	set_oom_score(-1000);
	for (i = 0; i < ARRAY_SIZE(spare); i++) {
		spare[i] = spare_memory(12 * MIB, sync[1]);
		ASSERT_EQ(1, read(sync[0], &c, 1));
	}
	hog = hog_system(size / 2, sync[1]);
	ASSERT_EQ(1, read(sync[0], &c, 1));

	pid = fork();
	if (!pid) {
		set_oom_score(1000);
		for (i = 0; i < size; i += 4 * MIB) {
			status = by_io_uring(p + i, size - i < 4 * MIB ?
						     size - i : 4 * MIB);
			if (status < 0)
				_exit(-status);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* Killed, or told so; or others were killed, and it got all it wanted */
	EXPECT_TRUE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL :
					  WEXITSTATUS(status) == ENOMEM ||
					  !WEXITSTATUS(status));
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	for (i = 0; i < ARRAY_SIZE(spare); i++) {
		kill(spare[i], SIGKILL);
		waitpid(spare[i], NULL, 0);
	}
	set_oom_score(0);
	where(p, size, count);
	TH_LOG("the pinning task ended with 0x%x, %ld OOM kills, %ld pages moved",
	       status, vm_event("oom_kill") - kills,
	       (long)(size / PAGE) - count[self->dev]);
	/* Some had moved; none is lost, on one side or the other. */
	EXPECT_GT((long)(size / PAGE) - count[self->dev], 0);
	EXPECT_EQ(0, count[NONE]);
	EXPECT_TRUE(intact(p, size, 1));
	munmap(p, size);
	close(fd);
}

/*
 * Killed in the middle of it, again and again, later each time, until once some
 * pages had moved
 */
TEST_F(pins, killed)
{
	size_t size = 24 * MIB;
	int i, status, fd = memfd_create("devmem", 0);
	long moved = 0;
	char *p;

	ASSERT_EQ(0, ftruncate(fd, size));
	p = map_pages(size, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->mask, 0));
	fill_pages(p, size, 1);
	for (i = 0; i < 8 || (!moved && i < 64); i++) {
		pid_t pid;

		move(p, size, self->dev, NULL);
		ASSERT_EQ((long)(size / PAGE), on_node(p, size, self->dev));
		pid = fork();
		if (!pid) {
			by_io_uring(p, size);
			pause();
		}
		usleep(i * 10000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, on_node(p, size, NONE));
		ASSERT_TRUE(intact(p, size, 1));
		moved += size / PAGE - on_node(p, size, self->dev);
		/* The ring lets go of its pages some time after its task. */
		usleep(200000);
	}
	EXPECT_GT(moved, 0);
	munmap(p, size);
	close(fd);
}

/* -- Short pins: in place ---------------------------------------------------- */

#define COUNT	64			/* pages */
#define LEN	(COUNT * PAGE)

/* The frames of LEN bytes at @p, or false */
static bool frames(const char *p, __u64 *pfn)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	bool there;

	there = pread(fd, pfn, COUNT * 8, (uintptr_t)p / PAGE * 8) == COUNT * 8;
	close(fd);

	return there && (pfn[0] & PAGEMAP_PFN);
}

FIXTURE(short_pin)
{
	int dev, sys;
	char *p;		/* LEN bytes on the device, bound */
	__u64 before[COUNT];
};

FIXTURE_SETUP(short_pin)
{
	if (!first_nodes(&self->dev, &self->sys))
		SKIP(return, "needs root and a device node");
	self->p = map_anon(LEN);
	ASSERT_EQ(0, mbind_nodes(self->p, LEN, MPOL_BIND, 1UL << self->dev, 0));
	fill_pages(self->p, LEN, 1);
	ASSERT_EQ(COUNT, on_node(self->p, LEN, self->dev));
	ASSERT_TRUE(frames(self->p, self->before));
}

/* Not only on the device, but in the very same frames */
FIXTURE_TEARDOWN(short_pin)
{
	__u64 after[COUNT];

	EXPECT_EQ(COUNT, on_node(self->p, LEN, self->dev));
	EXPECT_TRUE(frames(self->p, after));
	EXPECT_EQ(0, memcmp(self->before, after, sizeof(after)));
	munmap(self->p, LEN);
}

static void direct_io(struct __test_metadata *_metadata, const char *path,
		      char *p, int dev)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	char *fresh = map_anon(LEN);

	ASSERT_GE(fd, 0);
	ASSERT_EQ((ssize_t)LEN, pwrite(fd, p, LEN, 0));
	memset(p, 0, LEN);
	EXPECT_EQ((ssize_t)LEN, pread(fd, p, LEN, 0));
	EXPECT_TRUE(intact(p, LEN, 1));

	/* Into pages that the read itself makes */
	ASSERT_EQ(0, mbind_nodes(fresh, LEN, MPOL_BIND, 1UL << dev, 0));
	EXPECT_EQ((ssize_t)LEN, pread(fd, fresh, LEN, 0));
	EXPECT_EQ(COUNT, on_node(fresh, LEN, dev));
	EXPECT_TRUE(intact(fresh, LEN, 1));
	munmap(fresh, LEN);
	close(fd);
}

TEST_F(short_pin, direct_io_ramdisk)
{
	if (access("/dev/ram0", W_OK))
		SKIP(return, "no /dev/ram0 (CONFIG_BLK_DEV_RAM)");
	direct_io(_metadata, "/dev/ram0", self->p, self->dev);
}

/* Here a worker of the kernel copies the data. */
TEST_F(short_pin, direct_io_loop)
{
	if (access("/dev/loop0", W_OK))
		SKIP(return, "no /dev/loop0 (CONFIG_BLK_DEV_LOOP)");
	ASSERT_EQ(0, system("truncate -s 8M /dev/shm/devmem-pins"));
	ASSERT_EQ(0, system("losetup /dev/loop0 /dev/shm/devmem-pins"));
	direct_io(_metadata, "/dev/loop0", self->p, self->dev);
	EXPECT_EQ(0, system("losetup -d /dev/loop0"));
	unlink("/dev/shm/devmem-pins");
}

TEST_F(short_pin, process_vm)
{
	char *copy = malloc(LEN);
	struct iovec here = { copy, LEN }, there = { self->p, LEN };
	pid_t pid = getpid();

	EXPECT_EQ((ssize_t)LEN, process_vm_readv(pid, &here, 1, &there, 1, 0));
	EXPECT_TRUE(intact(copy, LEN, 1));
	fill_pages(copy, LEN, 2);
	EXPECT_EQ((ssize_t)LEN, process_vm_writev(pid, &here, 1, &there, 1, 0));
	EXPECT_TRUE(intact(self->p, LEN, 2));
	free(copy);
}

/* A child's pages, still shared with this process, but for one by the policy */
TEST_F(short_pin, ptrace)
{
	long word;
	int status;
	pid_t pid;

	/* Not shared: the child's writes and ours must meet the same pages. */
	ASSERT_EQ(0, madvise(self->p, LEN, MADV_DONTFORK));
	pid = fork();
	if (!pid) {
		char *p = mmap(self->p, LEN, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		__u64 before[COUNT], after[COUNT];
		bool good;

		if (p != self->p ||
		    mbind_nodes(p, LEN, MPOL_BIND, 1UL << self->dev, 0))
			_exit(2);
		fill_pages(p, LEN, 3);
		frames(p, before);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		good = frames(p, after) &&
		       !memcmp(before, after, sizeof(after)) &&
		       *(long *)(p + PAGE) == 0x1234 &&
		       on_node(p, LEN, self->dev) == COUNT;
		_exit(good ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, self->p, 0);
	EXPECT_EQ(3, (int)word);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, self->p + PAGE, 0x1234L));
	EXPECT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Pages in a pipe, without giving them away */
TEST_F(short_pin, vmsplice)
{
	struct iovec iov = { self->p, 8 * PAGE };
	char *copy = malloc(8 * PAGE);
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)(8 * PAGE), vmsplice(fd[1], &iov, 1, 0));
	/* Control for contiguous(): these few are in the way. */
	if (!testmod_load())
		EXPECT_EQ(-EBUSY, contiguous(self->dev));
	ASSERT_EQ((ssize_t)(8 * PAGE), read(fd[0], copy, 8 * PAGE));
	EXPECT_TRUE(intact(copy, 8 * PAGE, 1));
	free(copy);
	close(fd[0]);
	close(fd[1]);
}

/* As in a pipe, but gifted: not taken into the page cache either */
TEST_F(short_pin, vmsplice_gift)
{
	struct iovec iov = { self->p, 8 * PAGE };
	int file = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
	char *copy = malloc(8 * PAGE);
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)(8 * PAGE),
		  vmsplice(fd[1], &iov, 1, SPLICE_F_GIFT));
	EXPECT_EQ((ssize_t)(8 * PAGE), splice(fd[0], NULL, file, NULL, 8 * PAGE,
					      SPLICE_F_MOVE));
	EXPECT_EQ((ssize_t)(8 * PAGE), pread(file, copy, 8 * PAGE, 0));
	EXPECT_TRUE(intact(copy, 8 * PAGE, 1));
	free(copy);
	close(file);
	close(fd[0]);
	close(fd[1]);
}

/* The kernel's own use of user memory: futexes, and getting a robust copy */
TEST_F(short_pin, get_user_pages)
{
	struct gup_test test = {
		.addr = (uintptr_t)self->p,
		.size = LEN,
		.nr_pages_per_call = COUNT,
		.gup_flags = 1,		/* FOLL_WRITE */
	};
	const unsigned long how[] = {
		GUP_FAST_BENCHMARK, PIN_FAST_BENCHMARK, GUP_BASIC_TEST,
		PIN_BASIC_TEST,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR);
	unsigned int i;

	if (fd < 0)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	for (i = 0; i < ARRAY_SIZE(how); i++) {
		test.size = LEN;
		EXPECT_EQ(0, ioctl(fd, how[i], &test));
		EXPECT_EQ(LEN, test.size);
	}
	EXPECT_TRUE(intact(self->p, LEN, 1));
	close(fd);
}

static void __attribute__((constructor)) before_tests(void)
{
	khugepaged_sleeps();
}

TEST_HARNESS_MAIN
