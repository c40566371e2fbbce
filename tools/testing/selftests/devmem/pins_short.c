// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 6, pins don't strand: what holds pages for a moment only takes them
 * where they are, on the device, in the very same frames.
 *
 * Controls: pages that are pinned can't be moved, an unpinned reference
 * (vmsplice) does keep the device from being had in one piece.
 *
 * Wants two system nodes and a device node; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/pins.h"
#include "../../../../mm/gup_test.h"
#include "../kselftest_harness.h"

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

TEST_HARNESS_MAIN
