// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, bad input and hostile use: buffers that can't be had, what is
 * done with those that can, as many as there may be, and limits.
 *
 * Invariant 8: what a buffer isn't made for gives the errno that the
 * documentation promises, and nothing has changed. Invariant 4: a node that
 * fills up, and limits that are met, are errors.
 *
 * What is refused differs in one thing from what is asked for as a control, and
 * works. After each test, not one page of the device nodes is in use, and not
 * one file is open that wasn't before.
 *
 * Proof that it can fail: it found that a buffer for reading couldn't be
 * mapped, and that the kernel complained when pages were looked at while they
 * were freed.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/dma-buf.h>
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver_bad.h"
#include "../kselftest_harness.h"

/* -- Buffers: what can't be had ---------------------------------------------- */

TEST_F(dev, alloc_sizes)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const unsigned int contig = DEVMEM_ALLOC_CONTIG, huge = DEVMEM_ALLOC_HUGE;
	const unsigned int exact = DEVMEM_ALLOC_EXACT;
	const unsigned long all = node_bytes(d1);
	const unsigned long long odd[] = {
		0, 1, PAGE - 1, PAGE + 1, SIZE + 8, ULLONG_MAX, HUGE_U64 + 1,
	};
	const unsigned long long large[] = {
		all + HUGE, 2 * all, 1ULL << 40, 1ULL << 52, HUGE_U64,
		-(unsigned long long)HUGE,
	};
	unsigned int flags;
	size_t i;
	int err;

	for (flags = 0; flags < 8; flags++) {
		for (i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
			err = try_alloc(fd, d1, odd[i], flags, 0);
			EXPECT_EQ(-EINVAL, err) {
				TH_LOG("size %#llx", odd[i]);
			}
		}
		for (i = 0; i < sizeof(large) / sizeof(*large); i++) {
			err = try_alloc(fd, d1, large[i], flags, 0);
			EXPECT_EQ(-ENOMEM, err) {
				TH_LOG("size %#llx", large[i]);
			}
		}
		EXPECT_EQ(0, try_alloc(fd, d1, HUGE, flags, 0));
	}
	EXPECT_EQ(-EINVAL, try_alloc(fd, d1, PAGE, huge, 0));
	EXPECT_EQ(-EINVAL, try_alloc(fd, d1, HUGE + PAGE, huge | contig, 0));
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, all + PAGE, exact, 0));
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, all + PAGE, exact | contig, 0));
	EXPECT_EQ(0, try_alloc(fd, d1, all, exact, 0));
	EXPECT_EQ(0, node_left(d1));
}

TEST_F(dev, alloc_align)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const unsigned int contig = DEVMEM_ALLOC_CONTIG;
	const unsigned long long odd[] = {
		3, PAGE - 1, PAGE + 1, 3 * PAGE, ULLONG_MAX, HUGE_U64 + 1,
		HUGE_U64 + HUGE_U64 / 2,
	};
	unsigned long long align;
	size_t i;

	for (i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		EXPECT_EQ(-EINVAL, try_alloc(fd, d1, SIZE, contig, odd[i]));
		EXPECT_EQ(-EINVAL, try_alloc(fd, d1, SIZE, 0, odd[i]));
	}
	for (align = 1; align; align <<= 1) {
		int err = try_alloc(fd, d1, SIZE, contig, align);

		EXPECT_EQ(-EINVAL, try_alloc(fd, d1, SIZE, 0, align));
		EXPECT_EQ(-EINVAL, try_alloc(fd, d1, HUGE, DEVMEM_ALLOC_HUGE,
					     align));
		if (align <= HUGE || align >= 1ULL << 40)
			EXPECT_EQ(align <= HUGE ? 0 : -ENOMEM, err);
		EXPECT_TRUE(!err || err == -ENOMEM);
	}
}

TEST_F(dev, alloc_fd_flags)
{
	struct devmem_alloc a, good = {
		.node = self->e.n.d1, .size = SIZE, .fd_flags = O_RDWR,
	};
	__u32 bit;

	for (bit = 1; bit; bit <<= 1) {
		a = good;
		a.fd_flags = bit;
		if (bit == O_CLOEXEC || bit == O_RDWR) {
			EXPECT_EQ(0, run(self->e.fd, DEVMEM_IOC_ALLOC, &a));
			continue;
		}
		EXPECT_EQ(-EINVAL, run(self->e.fd, DEVMEM_IOC_ALLOC, &a)) {
			TH_LOG("fd_flags %#x", bit);
		}
		a.fd_flags |= O_RDWR;
		EXPECT_EQ(-EINVAL, run(self->e.fd, DEVMEM_IOC_ALLOC, &a));
	}
	a = good;
	a.fd_flags = O_ACCMODE;
	EXPECT_EQ(-EINVAL, run(self->e.fd, DEVMEM_IOC_ALLOC, &a));
	a.fd_flags = 0;
	EXPECT_EQ(0, run(self->e.fd, DEVMEM_IOC_ALLOC, &a));
}

/* A full node: an error, or another one if that will do */
TEST_F(dev, full_node)
{
	const int fd = self->e.fd, d1 = self->e.n.d1, d2 = self->e.n.d2;
	const unsigned int exact = DEVMEM_ALLOC_EXACT;
	struct devmem_alloc near = {
		.node = d1, .size = SIZE, .fd_flags = O_RDWR,
	};
	struct devmem_migrate m = { };
	int all = devmem_alloc(fd, d1, node_bytes(d1), exact, 0);

	ASSERT_LE(0, all);
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, PAGE, exact, 0));
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, SIZE,
				     exact | DEVMEM_ALLOC_CONTIG, 0));
	EXPECT_EQ(0, devmem_call(fd, DEVMEM_IOC_ALLOC, &near));
	EXPECT_EQ(d2, near.node);
	EXPECT_EQ(-ENOMEM, try_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF,
				       DEVMEM_MIGRATE_ALL));
	EXPECT_EQ(0, devmem_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF, &m));
	EXPECT_EQ(0, (long)m.moved);
	EXPECT_EQ(N, (long)m.no_room);
	EXPECT_EQ(0, (long)m.size);
	EXPECT_TRUE(placed(self->e.p, SIZE, self->e.n.s0, 1));

	close(all);
	EXPECT_EQ(0, node_left(d1));
	EXPECT_EQ(0, try_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF,
				 DEVMEM_MIGRATE_ALL));
	EXPECT_TRUE(placed(self->e.p, SIZE, d1, 1));
}

/* Fills a node with small buffers and gives it back, again and again */
static void fill_and_free(int fd, int nid)
{
	static int bufs[512];
	int i, n;

	for (n = 0; n < 512; n++) {
		bufs[n] = devmem_alloc(fd, nid, MIB, DEVMEM_ALLOC_EXACT, 0);
		if (bufs[n] < 0)
			break;
	}
	if (n < 512 && bufs[n] != -ENOMEM)
		_exit(2);
	for (i = 0; i < n; i++)
		close(bufs[i]);
}

/* Requests during which the node fills up: done, or refused */
TEST_F(dev, filling_node)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const unsigned long half = node_bytes(d1) / 2;
	int err, i, status, done = 0, no_room = 0;
	time_t soon = time(NULL) + 6, end = soon + 60;
	pid_t filler = fork();

	if (!filler) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			fill_and_free(fd, d1);
	}
	/* Longer on a busy machine, until both have been seen */
	for (i = 0; before(end); i++) {
		if (done && no_room && (i >= 30 || !before(soon)))
			break;
		err = try_alloc(fd, d1, half, DEVMEM_ALLOC_EXACT |
				(i % 2 ? DEVMEM_ALLOC_CONTIG : 0), 0);
		EXPECT_TRUE(!err || err == -ENOMEM);
		done += !err;
		no_room += err == -ENOMEM;
		err = try_migrate(fd, self->e.p, SIZE, i % 2 ? self->e.n.s0 : d1,
				  DEVMEM_SELF, i % 4 ? 0 : DEVMEM_MIGRATE_ALL);
		EXPECT_TRUE(!err || err == -ENOMEM || err == -EBUSY);
	}
	TH_LOG("%d done, %d refused", done, no_room);
	EXPECT_LT(0, done);
	EXPECT_LT(0, no_room);
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));
	EXPECT_EQ(0, kill(filler, SIGKILL));
	EXPECT_EQ(filler, waitpid(filler, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(0, try_migrate(fd, self->e.p, SIZE, DEVMEM_NODE_SYSTEM,
				 DEVMEM_SELF, 0));
	EXPECT_EQ(0, node_left(d1));
}

/* Who looks at all pages looks at those that are just being freed, too. */
TEST_F(dev, looked_at_while_freed)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	time_t end = time(NULL) + 3;
	struct devmem_info info;
	pid_t looker = fork();
	int i, err, status;

	if (!looker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!devmem_info(fd, d1, DEVMEM_INFO_RUNS, &info))
			;
		_exit(1);
	}
	for (i = 0; i < 300 && (i <= 20 || before(end)); i++) {
		err = try_alloc(fd, d1, i % 8 * MIB + PAGE, i % 4 == 0 ? 0 :
				DEVMEM_ALLOC_CONTIG, 0);
		EXPECT_EQ(0, err);
	}
	EXPECT_LT(20, i);
	kill(looker, SIGKILL);
	EXPECT_EQ(looker, waitpid(looker, &status, 0));
	EXPECT_EQ(SIGKILL, status);
}

/* -- Buffers: what is done with them ------------------------------------------ */

#define BUF	(4 * PAGE)

FIXTURE(buffer)
{
	struct env e;
	int buf;
	char *p;	/* content 2 */
};

FIXTURE_SETUP(buffer)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
	self->buf = devmem_alloc(self->e.fd, self->e.n.d1, BUF, 0, 0);
	ASSERT_LE(0, self->buf);
	self->p = map_pages(BUF, MAP_SHARED, self->buf);
	ASSERT_NE(NULL, self->p);
	fill_pages(self->p, BUF, 2);
}

FIXTURE_TEARDOWN_PARENT(buffer)
{
	EXPECT_EQ(0, left(&self->e));
}

TEST_F(buffer, mmap)
{
	const int rw = PROT_READ | PROT_WRITE, buf = self->buf;

	EXPECT_EQ(0, try_map(buf, BUF, rw, MAP_SHARED, 0));
	EXPECT_EQ(0, try_map(buf, PAGE, rw, MAP_SHARED, BUF - PAGE));
	EXPECT_EQ(0, try_map(buf, BUF - 1, rw, MAP_SHARED, 0));

	EXPECT_EQ(-EINVAL, try_map(buf, 0, rw, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(buf, BUF + 1, rw, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(buf, BUF, rw, MAP_SHARED, PAGE));
	EXPECT_EQ(-EINVAL, try_map(buf, 2 * PAGE, rw, MAP_SHARED, BUF - PAGE));
	EXPECT_EQ(-EINVAL, try_map(buf, PAGE, rw, MAP_SHARED, BUF));
	EXPECT_EQ(-EINVAL, try_map(buf, PAGE, rw, MAP_SHARED, 1L << 40));
	EXPECT_EQ(-EINVAL, try_map(buf, PAGE, rw, MAP_SHARED, 1L << 62));
	EXPECT_EQ(-EINVAL, try_map(buf, PAGE, rw, MAP_SHARED, 1));
	EXPECT_EQ(-EOVERFLOW, try_map(buf, 2 * PAGE, rw, MAP_SHARED, -PAGE));
	EXPECT_EQ(-ENOMEM, try_map(buf, 1UL << 62, rw, MAP_SHARED, 0));

	EXPECT_EQ(-EINVAL, try_map(buf, BUF, rw, MAP_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, try_map(buf, BUF, PROT_READ, MAP_PRIVATE, 0));
	EXPECT_EQ(-EOPNOTSUPP, try_map(buf, BUF, rw,
				       MAP_SHARED_VALIDATE | MAP_SYNC, 0));
	EXPECT_TRUE(intact(self->p, BUF, 2));
}

/* Who may read can't write: not now, not later, not by another name. */
TEST_F(buffer, read_only)
{
	struct devmem_alloc a = {
		.node = self->e.n.d1, .size = BUF, .fd_flags = O_RDONLY,
	};
	const int rw = PROT_READ | PROT_WRITE;
	char path[32], *p;

	ASSERT_EQ(0, devmem_call(self->e.fd, DEVMEM_IOC_ALLOC, &a));
	EXPECT_EQ(-EACCES, try_map(a.fd, BUF, rw, MAP_SHARED, 0));
	EXPECT_EQ(-EACCES, try_map(a.fd, BUF, PROT_WRITE, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(a.fd, BUF, rw, MAP_PRIVATE, 0));
	p = mmap(NULL, BUF, PROT_READ, MAP_SHARED, a.fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, *p);
	EXPECT_EQ(-1, mprotect(p, BUF, rw));
	EXPECT_EQ(EACCES, errno);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", a.fd);
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(0, fcntl(a.fd, F_SETFL, O_RDWR));
	EXPECT_EQ(-EACCES, try_map(a.fd, BUF, rw, MAP_SHARED, 0));

	/* The control */
	EXPECT_EQ(0, mprotect(self->p, BUF, PROT_READ));
	EXPECT_EQ(0, mprotect(self->p, BUF, rw));
}

#ifdef __x86_64__
TEST_F(buffer, exec)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	int (*fn)(void);
	void *p;

	memcpy(self->p, code, sizeof(code));
	p = mmap(NULL, BUF, PROT_READ | PROT_EXEC, MAP_SHARED, self->buf, 0);
	ASSERT_NE(MAP_FAILED, p);
	memcpy(&fn, &p, sizeof(fn));
	EXPECT_EQ(42, fn());
}
#endif

TEST_F(buffer, remap)
{
	char *p = self->p, *q;

	EXPECT_EQ(MAP_FAILED, mremap(p, BUF, BUF + PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(p, BUF, 2 * BUF, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(p, 0, BUF, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(p, BUF, BUF, MREMAP_MAYMOVE |
				     MREMAP_DONTUNMAP));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(intact(p, BUF, 2));

	q = mmap(NULL, BUF, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_EQ(q, mremap(p, BUF, BUF, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	EXPECT_TRUE(intact(q, BUF, 2));
	EXPECT_EQ(q, mremap(q, BUF, PAGE, 0));
	EXPECT_TRUE(intact(q, PAGE, 2));
	EXPECT_EQ(4, node_used_at_rest(self->e.n.d1, 4));
}

static int try_advice(char *p, int advice)
{
	return madvise(p, BUF, advice) ? -errno : 0;
}

/* None of it takes away content, or has a copy in system memory. */
TEST_F(buffer, advice)
{
	static const struct {
		int advice;
		int err;
	} all[] = {
		{ MADV_DONTNEED, -EINVAL }, { MADV_FREE, -EINVAL },
		{ MADV_COLD, -EINVAL }, { MADV_PAGEOUT, -EINVAL },
		{ MADV_COLLAPSE, -EINVAL }, { MADV_WIPEONFORK, -EINVAL },
		{ MADV_DODUMP, -EINVAL }, { MADV_POPULATE_READ, -EINVAL },
		{ MADV_POPULATE_WRITE, -EINVAL }, { MADV_REMOVE, -ENODEV },
		{ MADV_SOFT_OFFLINE, -EFAULT },
		{ MADV_NORMAL, 0 }, { MADV_SEQUENTIAL, 0 },
		{ MADV_WILLNEED, 0 }, { MADV_MERGEABLE, 0 },
		{ MADV_NOHUGEPAGE, 0 }, { MADV_DONTDUMP, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
		int err = try_advice(self->p, all[i].advice);

		EXPECT_EQ(all[i].err, err) {
			TH_LOG("advice %d", all[i].advice);
		}
		EXPECT_TRUE(intact(self->p, BUF, 2));
	}
	EXPECT_EQ(4, node_used_at_rest(self->e.n.d1, 4));
}

TEST_F(buffer, file_calls)
{
	const int buf = self->buf;
	struct dma_buf_sync sync = { .flags = 1 << 5 };
	char c = 0;

	EXPECT_EQ(-1, read(buf, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(buf, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(buf, PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(buf, 2 * BUF));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fallocate(buf, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, PAGE));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ((off_t)BUF, lseek(buf, 0, SEEK_END));
	EXPECT_EQ(-1, lseek(buf, 1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(buf, DMA_BUF_IOCTL_SYNC, NULL));
	EXPECT_EQ(EFAULT, errno);
	sync.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW;
	EXPECT_EQ(0, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	EXPECT_TRUE(intact(self->p, BUF, 2));
}

/* Nobody gets hold of a page that could outlive the buffer. */
TEST_F(buffer, no_references)
{
	struct iovec to = { self->e.p, PAGE }, from = { self->p, PAGE };
	int fds[2], mem = open("/proc/self/mem", O_RDONLY);
	char c;

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, vmsplice(fds[1], &from, 1, SPLICE_F_GIFT));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, syscall(SYS_mlock, self->p, BUF));

	/* Copies are. */
	EXPECT_EQ(1, pread(mem, &c, 1, (off_t)(uintptr_t)self->p));
	EXPECT_EQ((ssize_t)BUF, write(fds[1], self->p, BUF));
	EXPECT_EQ((ssize_t)BUF, read(fds[0], self->p, BUF));
	EXPECT_TRUE(intact(self->p, BUF, 2));
	EXPECT_EQ(0, try_migrate(self->e.fd, self->e.p, SIZE, self->e.n.d2,
				 DEVMEM_SELF, 0));
	EXPECT_EQ((ssize_t)PAGE, vmsplice(fds[1], &to, 1, 0));
}

/* It stays where it is, whatever is asked for. */
TEST_F(buffer, placement)
{
	const int fd = self->e.fd;
	struct devmem_migrate m = { };
	struct devmem_verify v;
	int first;

	EXPECT_EQ(0, devmem_migrate(fd, self->p, BUF, self->e.n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(4, (long)m.unmovable);
	EXPECT_EQ(0, (long)m.moved);
	EXPECT_EQ(-EBUSY, try_migrate(fd, self->p, BUF, DEVMEM_NODE_SYSTEM,
				      DEVMEM_SELF, DEVMEM_MIGRATE_ALL));
	EXPECT_EQ(0, devmem_verify(fd, self->p, BUF, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(0, (long)v.present);
	EXPECT_EQ(4, (long)v.unmovable);
	mbind_nodes(self->p, BUF, MPOL_BIND, NODE(self->e.n.s1), MPOL_MF_MOVE);
	move(self->p, BUF, self->e.n.s1, &first);
	EXPECT_EQ(-EFAULT, first);
	EXPECT_TRUE(intact(self->p, BUF, 2));
	EXPECT_EQ(4, node_used_at_rest(self->e.n.d1, 4));
}

static int touch(void *p)
{
	return *(atomic_char *)p & 0;
}

/* Unmapped in parts, closed: the memory stays as long as a piece is mapped. */
TEST_F(buffer, unmap)
{
	const int d1 = self->e.n.d1;
	char *p = self->p;

	ASSERT_EQ(0, close(self->buf));
	ASSERT_EQ(0, munmap(p + PAGE, PAGE));
	EXPECT_TRUE(intact(p, PAGE, 2));
	EXPECT_TRUE(intact(p + 2 * PAGE, 2 * PAGE, 4));
	EXPECT_EQ(SIGSEGV, in_child(touch, p + PAGE));
	EXPECT_EQ(0, in_child(touch, p + 2 * PAGE));
	ASSERT_EQ(0, munmap(p, PAGE));
	ASSERT_EQ(0, munmap(p + 3 * PAGE, PAGE));
	EXPECT_EQ(4, node_used_at_rest(d1, 4));
	EXPECT_TRUE(intact(p + 2 * PAGE, PAGE, 4));
	ASSERT_EQ(0, munmap(p, BUF));
	EXPECT_EQ(0, node_left(d1));
}

static int exec_test(void *command)
{
	execl("/bin/sh", "sh", "-c", command, NULL);

	return 99;
}

/* A child writes, another execs, its parent has closed and unmapped. */
TEST_F(buffer, fork_and_exec)
{
	struct devmem_alloc a = {
		.node = self->e.n.d1, .size = BUF, .fd_flags = O_RDWR,
	};
	char command[64], c;
	int status, go[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		while (fcntl(self->buf, F_GETFD) >= 0 &&
		       *(atomic_int *)self->p != 5)
			usleep(1000);
		close(self->buf);
		/* After its parent closed and unmapped it, and counted */
		close(go[1]);
		(void)!read(go[0], &c, 1);
		_exit(!intact(self->p, BUF, 5) ||
		      try_alloc(self->e.fd, self->e.n.d1, PAGE, 0, 0));
	}
	fill_pages(self->p + PAGE, BUF - PAGE, 6);
	*(atomic_int *)self->p = 5;
	close(self->buf);
	close(self->e.fd);
	munmap(self->p, BUF);
	EXPECT_EQ(4, node_used_at_rest(self->e.n.d1, 4));
	ASSERT_EQ(1, write(go[1], "x", 1));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, node_left(self->e.n.d1));

	self->e.fd = open(DEV, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, devmem_call(self->e.fd, DEVMEM_IOC_ALLOC, &a));
	snprintf(command, sizeof(command), "test -e /proc/self/fd/%d", a.fd);
	EXPECT_EQ(0, in_child(exec_test, command));
	a.fd_flags |= O_CLOEXEC;
	a.fd = 0;
	ASSERT_EQ(0, devmem_call(self->e.fd, DEVMEM_IOC_ALLOC, &a));
	snprintf(command, sizeof(command), "test -e /proc/self/fd/%d", a.fd);
	EXPECT_EQ(1, WEXITSTATUS(in_child(exec_test, command)));
}

/* -- Many, and limits ----------------------------------------------------------- */

TEST_F(dev, many_buffers)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	struct devmem_alloc a = {
		.node = d1, .size = PAGE, .fd_flags = O_RDWR,
	}, full;
	int last = 0, n, i;

	ASSERT_EQ(0, set_limit(RLIMIT_NOFILE, MANY));
	for (n = 0; n < 2 * MANY; n++) {
		int buf = devmem_alloc(fd, d1, PAGE, DEVMEM_ALLOC_EXACT, 0);

		if (buf < 0) {
			EXPECT_EQ(-EMFILE, buf);
			break;
		}
		last = buf;
	}
	EXPECT_EQ(MANY - 1, last);
	EXPECT_LT(MANY - 20, n);
	for (i = 0; i < 50; i++) {
		full = a;
		EXPECT_EQ(-EMFILE, devmem_call(fd, DEVMEM_IOC_ALLOC, &full));
		EXPECT_EQ(0, memcmp(&full, &a, sizeof(a)));
		EXPECT_EQ(-EMFILE, try_alloc(fd, d1, HUGE, DEVMEM_ALLOC_CONTIG,
					     0));
	}
	close(last);
	EXPECT_EQ(n - 1, node_used_at_rest(d1, n - 1));
	EXPECT_EQ(0, try_alloc(fd, d1, PAGE, DEVMEM_ALLOC_EXACT, 0));
	for (i = fd + 1; i < MANY; i++)
		close(i);
	EXPECT_EQ(0, node_left(d1));
}

/* Who can have no descriptor has nobody displaced (invariant 4). */
TEST_F(dev, no_descriptor_left)
{
	const unsigned int contig = DEVMEM_ALLOC_EXACT | DEVMEM_ALLOC_CONTIG;
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const size_t all = node_bytes(d1);
	struct devmem_info before, after;

	ASSERT_EQ(0, try_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF, 0));
	ASSERT_TRUE(placed(self->e.p, SIZE, d1, 1));
	ASSERT_EQ(0, devmem_info(fd, d1, 0, &before));
	ASSERT_EQ(0, set_limit(RLIMIT_NOFILE, next_fd()));
	EXPECT_EQ(-EMFILE, try_alloc(fd, d1, all, contig, 0));
	ASSERT_EQ(0, devmem_info(fd, d1, 0, &after));
	EXPECT_EQ(before.displaced, after.displaced);
	EXPECT_TRUE(placed(self->e.p, SIZE, d1, 1));

	ASSERT_EQ(0, set_limit(RLIMIT_NOFILE, MANY));
	EXPECT_EQ(0, try_alloc(fd, d1, all, contig, 0));
	ASSERT_EQ(0, devmem_info(fd, d1, 0, &after));
	EXPECT_LT(before.displaced, after.displaced);
}

TEST_F(dev, limits)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const int rw = PROT_READ | PROT_WRITE;
	int buf;

	/* Neither locked memory nor the data of a process */
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 0));
	ASSERT_EQ(0, set_limit(RLIMIT_DATA, PAGE));
	ASSERT_EQ(0, set_limit(RLIMIT_FSIZE, PAGE));
	buf = devmem_alloc(fd, d1, 64 * MIB, DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(0, try_map(buf, 64 * MIB, rw, MAP_SHARED, 0));

	/* A buffer takes no address space, a mapping does. */
	ASSERT_EQ(0, set_limit(RLIMIT_AS, 48 * MIB));
	EXPECT_EQ(-ENOMEM, try_map(buf, 64 * MIB, rw, MAP_SHARED, 0));
	EXPECT_EQ(0, try_map(buf, MIB, rw, MAP_SHARED, 0));
	EXPECT_EQ(0, try_alloc(fd, d1, 56 * MIB, DEVMEM_ALLOC_EXACT, 0));
	EXPECT_EQ(0, try_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF, 0));
	EXPECT_TRUE(placed(self->e.p, SIZE, d1, 1));
}

/* A group that is at its limit gets no buffer, and nobody is killed for it. */
TEST_F(dev, memory_cgroup)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const unsigned int contig = DEVMEM_ALLOC_CONTIG;
	int buf;

	if (!cg_enter("memory") ||
	    cg_write("memory.max", "%dM", 16, 0))
		SKIP(return, "no memory cgroups");
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, 32 * MIB, 0, 0));
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, 32 * MIB, contig, 0));
	EXPECT_EQ(-ENOMEM, try_alloc(fd, DEVMEM_NODE_NEAREST, 32 * MIB, 0, 0));
	buf = devmem_alloc(fd, d1, 8 * MIB, 0, 0);
	EXPECT_LE(0, buf);
	EXPECT_EQ(-ENOMEM, try_alloc(fd, d1, 8 * MIB, 0, 0));
	close(buf);
	EXPECT_EQ(0, try_alloc(fd, d1, 8 * MIB, contig, 0));
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 256, 0));
	EXPECT_EQ(0, try_alloc(fd, d1, 32 * MIB, 0, 0));
	EXPECT_EQ(0, try_alloc(fd, d1, 32 * MIB, contig, 0));
}

/* -- Whose they are ---------------------------------------------------------------- */

static int forbid_ioctl(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* What is inherited is of use; what isn't can't be had. */
static int filtered_map(void *arg)
{
	int buf = *(int *)arg;
	char *p;

	if (forbid_ioctl())
		return 2;
	p = map_pages(BUF, MAP_SHARED, buf);
	if (!p || !intact(p, BUF, 2))
		return 3;
	fill_pages(p, BUF, 4);

	return 0;
}

static int filtered_alloc(void *arg)
{
	struct env *e = arg;

	if (forbid_ioctl())
		return 2;
	try_alloc(e->fd, e->n.d1, SIZE, 0, 0);

	return 3;
}

static int strict_alloc(void *arg)
{
	struct env *e = arg;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 2;
	fill_pages(e->p, PAGE, 1);
	try_alloc(e->fd, e->n.d1, SIZE, 0, 0);

	return 3;
}

static int strict_exit(void *arg)
{
	char *p = arg;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 2;
	fill_pages(p, BUF, 5);
	syscall(SYS_exit, 0);

	return 3;
}

TEST_F(buffer, seccomp)
{
	EXPECT_EQ(0, in_child(filtered_map, &self->buf));
	EXPECT_TRUE(intact(self->p, BUF, 4));
	EXPECT_EQ(SIGSYS, WTERMSIG(in_child(filtered_alloc, &self->e)));
	EXPECT_EQ(0, in_child(strict_exit, self->p));
	EXPECT_TRUE(intact(self->p, BUF, 5));
	EXPECT_EQ(SIGKILL, in_child(strict_alloc, &self->e));
	EXPECT_EQ(4, node_used_at_rest(self->e.n.d1, 4));
}

TEST_HARNESS_MAIN
