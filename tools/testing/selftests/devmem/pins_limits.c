// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 6, pins don't strand: long pins of what is mixed, shared, bound
 * afterwards, inherited or swapped out; and where there is no room. A pin that
 * system memory has no room for fails or costs its owner, and nothing is lost
 * (invariant 5).
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
#include <linux/dma-heap.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/pins.h"
#include "../kselftest_harness.h"

#define LARGEST_ORDER	10	/* that the allocator has */

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

TEST_HARNESS_MAIN
