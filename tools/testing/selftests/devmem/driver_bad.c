// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: bad input and hostile use.
 *
 * Invariant 8: every flag, size, number and pointer that isn't defined, nodes
 * and processes that aren't there or aren't one's own: the errno that the
 * documentation promises, and nothing has changed. Invariant 5: processes that
 * are killed, exec, fork, unmap or move the other way while a range moves: what
 * is still mapped is readable. Invariant 4: a node that fills up, and limits
 * that are met, are errors. After each test, not one page of the device nodes
 * is in use, and not one file is open that wasn't before.
 *
 * What is refused differs in one thing from what is asked for as a control, and
 * works. Each race counts what it did, and fails when it did nothing.
 *
 * Proof that it can fail: it found that a buffer for reading couldn't be mapped,
 * that waiting for ULLONG_MAX bytes was over at once, that the kernel complained
 * when pages were looked at while they were freed, and that a node without
 * memory was one that the cpuset forbids.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/dma-buf.h>
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_util.h"
#include "devmem_calls.h"
#include "../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif

#define DEV	"/dev/devmem"
#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define NO_NODE	60		/* possible at most */
#define NOWHERE	((void *)0x10000)
#define NOBODY	65534
#define HUGE_U64 0x8000000000000000ULL
#define SOME_PAGES 2048		/* what the kernel may keep for itself */
#define SOME_FILES 160		/* and what it may forget to count, per CPU */
#define TAINTED_WARN 0x280	/* it complained, or worse */

/* What each test has, and what there was before */
struct env {
	struct nodes n;
	int fd;			/* of the device */
	char *p;		/* content 1, SIZE on s0 */
	long buffers;
	long files;
	long pages;		/* of the system nodes, in use */
	long tainted;
};

static long complaints(void)
{
	return read_number("/proc/sys/kernel/tainted") & TAINTED_WARN;
}

static long open_buffers(void)
{
	return scan_number("/sys/kernel/debug/dma_buf/bufinfo",
			   "Total %ld objects");
}

static long open_files(void)
{
	return read_number("/proc/sys/fs/file-nr");
}

static long system_pages(const struct nodes *n)
{
	return node_used(n->s0) + node_used(n->s1);
}

/* Return: false if the machine isn't for this */
static bool set_up(struct env *e)
{
	if (!find_nodes(&e->n) || getuid())
		return false;
	e->tainted = complaints();
	e->buffers = open_buffers();
	e->files = open_files();
	e->pages = system_pages(&e->n);
	e->fd = open(DEV, O_RDWR | O_CLOEXEC);
	e->p = map_anon(SIZE);
	if (e->fd < 0 || !e->p)
		return false;
	fill_pages(e->p, SIZE, 1);

	return true;
}

/* After a test, whose process is gone: what is in use and wasn't before */
static long left(const struct env *e)
{
	long sum = nodes_left(&e->n), buffers = 0, files = 0, pages = 0;
	int i;

	chmod(DEV, 0600);
	rmdir(CG);
	if (complaints() != e->tainted) {
		ksft_print_msg("the kernel complains, see its log\n");
		return 1;
	}
	for (i = 0; i < 200; i++) {
		buffers = open_buffers() - e->buffers;
		files = open_files() - e->files;
		pages = system_pages(&e->n) - e->pages;
		if (!buffers && files < SOME_FILES && pages < SOME_PAGES)
			return sum;
		usleep(50000);
	}
	ksft_print_msg("%ld buffers, %ld files, %ld system pages more\n",
		       buffers, files, pages);

	return sum ? sum : 1;
}

FIXTURE(dev)
{
	struct env e;
};

FIXTURE_SETUP(dev)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
}

FIXTURE_TEARDOWN_PARENT(dev)
{
	EXPECT_EQ(0, left(&self->e));
}

/* -- Helpers ------------------------------------------------------------------ */

/* Return: how @fn ended, in a process of its own */
static int in_child(int (*fn)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	waitpid(pid, &status, 0);

	return status;
}

static int pidfd_of(pid_t pid, unsigned int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

/* Return: 0 for a buffer, which is closed, or the error */
static int try_alloc(int fd, int nid, unsigned long long size,
		     unsigned int flags, unsigned long long align)
{
	int buf = devmem_alloc(fd, nid, size, flags, align);

	return buf < 0 ? buf : close(buf);
}

static int try_migrate(int fd, void *p, unsigned long size, int nid, int pidfd,
		       unsigned int flags)
{
	struct devmem_migrate m = { .flags = flags };

	return devmem_migrate(fd, p, size, nid, pidfd, &m);
}

static int try_verify(int fd, void *p, unsigned long size, int pidfd)
{
	struct devmem_verify v;

	return devmem_verify(fd, p, size, pidfd, NULL, 0, &v);
}

/* As mmap(), what it maps is gone again; 0 or the error */
static int try_map(int fd, size_t size, int prot, int flags, off_t offset)
{
	char *p = mmap(NULL, size, prot, flags, fd, offset);

	return p == MAP_FAILED ? -errno : munmap(p, size);
}

/*
 * As much as a node never has free, as long as the buffer is there that takes a
 * page of it
 */
static unsigned long long never_free(int fd, int nid)
{
	if (devmem_alloc(fd, nid, PAGE, DEVMEM_ALLOC_EXACT, 0) < 0)
		_exit(97);

	return node_bytes(nid);
}

static int ready(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) < 0 ? -errno : p.revents;
}

static unsigned int next_random(unsigned int *state)
{
	*state = *state * 1103515245 + 12345;

	return *state >> 16;
}

static bool before(time_t end)
{
	return time(NULL) < end;
}

/* -- What all five calls have in common ---------------------------------------- */

union args {
	struct devmem_info info;
	struct devmem_alloc alloc;
	struct devmem_migrate migrate;
	struct devmem_verify verify;
	struct devmem_watch watch;
	char bytes[_IOC_SIZEMASK];
};

FIXTURE(call)
{
	struct env e;
	union args good;
};

FIXTURE_VARIANT(call)
{
	unsigned int cmd;
	unsigned int flags;	/* those that are defined */
	size_t flags_at;
	size_t pad_at;		/* what has to be zero */
	size_t first;		/* size of the first version */
};

FIXTURE_VARIANT_ADD(call, info) {
	.cmd = DEVMEM_IOC_INFO,
	.flags = DEVMEM_INFO_NEXT | DEVMEM_INFO_RUNS,
	.flags_at = offsetof(struct devmem_info, flags),
	.pad_at = offsetof(struct devmem_info, pad),
	.first = offsetof(struct devmem_info, buffers),
};

FIXTURE_VARIANT_ADD(call, alloc) {
	.cmd = DEVMEM_IOC_ALLOC,
	.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_HUGE |
		 DEVMEM_ALLOC_EXACT | DEVMEM_ALLOC_ASK,
	.flags_at = offsetof(struct devmem_alloc, flags),
	.pad_at = offsetof(struct devmem_alloc, pad),
	.first = offsetof(struct devmem_alloc, reason),
};

FIXTURE_VARIANT_ADD(call, migrate) {
	.cmd = DEVMEM_IOC_MIGRATE,
	.flags = DEVMEM_MIGRATE_ALL | DEVMEM_MIGRATE_WHOLE |
		 DEVMEM_MIGRATE_SHARED | DEVMEM_MIGRATE_POLICY |
		 DEVMEM_MIGRATE_GO_ON,
	.flags_at = offsetof(struct devmem_migrate, flags),
	.pad_at = offsetof(struct devmem_migrate, pad),
	.first = sizeof(struct devmem_migrate),
};

FIXTURE_VARIANT_ADD(call, verify) {
	.cmd = DEVMEM_IOC_VERIFY,
	.flags_at = offsetof(struct devmem_verify, flags),
	.pad_at = offsetof(struct devmem_verify, pad),
	.first = sizeof(struct devmem_verify),
};

FIXTURE_VARIANT_ADD(call, watch) {
	.cmd = DEVMEM_IOC_WATCH,
	.flags_at = offsetof(struct devmem_watch, flags),
	.pad_at = offsetof(struct devmem_watch, pad),
	.first = sizeof(struct devmem_watch),
};

static void make_good(unsigned int cmd, const struct env *e, union args *a)
{
	const int d1 = e->n.d1;

	memset(a, 0, sizeof(*a));
	switch (cmd) {
	case DEVMEM_IOC_INFO:
		a->info.node = d1;
		break;
	case DEVMEM_IOC_ALLOC:
		a->alloc.node = d1;
		a->alloc.size = HUGE;	/* good for any flag */
		a->alloc.fd_flags = O_RDWR | O_CLOEXEC;
		break;
	case DEVMEM_IOC_MIGRATE:
		a->migrate.addr = (uintptr_t)e->p;
		a->migrate.size = SIZE;
		a->migrate.node = d1;
		a->migrate.pidfd = DEVMEM_SELF;
		break;
	case DEVMEM_IOC_VERIFY:
		a->verify.addr = (uintptr_t)e->p;
		a->verify.size = SIZE;
		a->verify.pidfd = DEVMEM_SELF;
		break;
	default:
		a->watch.node = d1;
		a->watch.eventfd = -1;
		a->watch.free = PAGE;
	}
}

FIXTURE_SETUP(call)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
	make_good(variant->cmd, &self->e, &self->good);
}

FIXTURE_TEARDOWN_PARENT(call)
{
	EXPECT_EQ(0, left(&self->e));
}

static unsigned int sized(unsigned int cmd, size_t size)
{
	return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
}

/* The call, with a buffer closed that it may have made */
static int run(int fd, unsigned int cmd, void *arg)
{
	int err = devmem_call(fd, cmd, arg);

	if (!err && _IOC_NR(cmd) == _IOC_NR(DEVMEM_IOC_ALLOC) &&
	    ((struct devmem_alloc *)arg)->fd >= 0)
		close(((struct devmem_alloc *)arg)->fd);

	return err;
}

/* An error, and nothing is changed in the argument */
static bool refused(const struct env *e, unsigned int cmd, const union args *a,
		    int err)
{
	union args now = *a;
	int got = run(e->fd, cmd, &now);
	bool same = !memcmp(&now, a, sizeof(now));

	if (got == err && same)
		return true;
	ksft_print_msg("call %#x: %d instead of %d, argument %s\n", cmd, got,
		       err, same ? "as it was" : "changed");

	return false;
}

/* The same, with other 32 bits at an offset */
static bool refused_with(const struct env *e, unsigned int cmd,
			 const union args *a, size_t at, __u32 value, int err)
{
	union args bad = *a;

	memcpy(bad.bytes + at, &value, sizeof(value));
	if (refused(e, cmd, &bad, err))
		return true;
	ksft_print_msg("with %#x at offset %zu\n", value, at);

	return false;
}

TEST_F(call, flags)
{
	union args a = self->good;
	__u32 bit;

	for (bit = 1; bit; bit <<= 1) {
		if (variant->flags & bit) {
			/* The control: they all work by themselves. */
			a = self->good;
			memcpy(a.bytes + variant->flags_at, &bit, sizeof(bit));
			EXPECT_EQ(0, run(self->e.fd, variant->cmd, &a)) {
				TH_LOG("flag %#x", bit);
			}
			continue;
		}
		EXPECT_TRUE(refused_with(&self->e, variant->cmd, &self->good,
					 variant->flags_at, bit, -EINVAL));
		EXPECT_TRUE(refused_with(&self->e, variant->cmd, &self->good,
					 variant->flags_at,
					 bit | variant->flags, -EINVAL));
	}
	a = self->good;
	EXPECT_EQ(0, run(self->e.fd, variant->cmd, &a));
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));
}

TEST_F(call, padding)
{
	union args a = self->good;
	__u32 bit;

	for (bit = 1; bit; bit <<= 1)
		EXPECT_TRUE(refused_with(&self->e, variant->cmd, &self->good,
					 variant->pad_at, bit, -EINVAL));
	EXPECT_EQ(0, run(self->e.fd, variant->cmd, &a));
}

/* Shorter than the first version; longer, with something in the rest or not */
TEST_F(call, sizes)
{
	const size_t size = _IOC_SIZE(variant->cmd);
	const size_t longer[] = {
		size + 1, size + 4, size + 8, 1024, PAGE, _IOC_SIZEMASK,
	};
	union args a;
	size_t i;

	for (i = 0; i < variant->first; i++)
		EXPECT_TRUE(refused(&self->e, sized(variant->cmd, i),
				    &self->good, -EINVAL));
	for (; i <= size; i++) {
		a = self->good;
		EXPECT_EQ(0, run(self->e.fd, sized(variant->cmd, i), &a));
	}

	for (i = 0; i < sizeof(longer) / sizeof(*longer); i++) {
		a = self->good;
		EXPECT_EQ(0, run(self->e.fd, sized(variant->cmd, longer[i]),
				 &a));
		a = self->good;
		a.bytes[longer[i] - 1] = 1;
		EXPECT_TRUE(refused(&self->e, sized(variant->cmd, longer[i]),
				    &a, -E2BIG));
		a = self->good;
		a.bytes[size] = 0x80;
		EXPECT_TRUE(refused(&self->e, sized(variant->cmd, longer[i]),
				    &a, -E2BIG));
		/* Just behind it, anything may be. */
		a = self->good;
		if (longer[i] < _IOC_SIZEMASK)
			a.bytes[longer[i]] = 1;
		EXPECT_EQ(0, run(self->e.fd, sized(variant->cmd, longer[i]),
				 &a));
	}
}

TEST_F(call, directions)
{
	const unsigned int cmd = variant->cmd, size = _IOC_SIZE(cmd);
	union args a = self->good;
	unsigned int dir;

	for (dir = 0; dir < 4; dir++) {
		unsigned int other = _IOC(dir, 0xBD, _IOC_NR(cmd), size);

		if (other != cmd)
			EXPECT_TRUE(refused(&self->e, other, &self->good,
					    -ENOTTY));
	}
	EXPECT_TRUE(refused(&self->e, _IO(0xBD, _IOC_NR(cmd)), &self->good,
			    -ENOTTY));
	EXPECT_TRUE(refused(&self->e, _IOC(_IOC_DIR(cmd), 0xBC, _IOC_NR(cmd),
					   size), &self->good, -ENOTTY));
	EXPECT_TRUE(refused(&self->e, _IOC(_IOC_DIR(cmd), 0xBD,
					   _IOC_NR(cmd) + 0x10, size),
			    &self->good, -ENOTTY));
	EXPECT_EQ(0, run(self->e.fd, cmd, &a));
}

/* Nowhere, in the kernel, where no address can be, half-way into nothing */
TEST_F(call, pointers)
{
	void *const bad[] = {
		NULL, NOWHERE, (void *)-1L, (void *)-8L, (void *)(1UL << 62),
		(void *)(1UL << 63), (void *)0xffff888000000000UL,
		(void *)0xffffffff81000000UL, (void *)0x7ffffffffff8UL,
	};
	const size_t size = _IOC_SIZE(variant->cmd);
	const unsigned int cmd = variant->cmd;
	char *p = map_anon(3 * PAGE), *q = p + 2 * PAGE;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-EFAULT, devmem_call(self->e.fd, cmd, bad[i])) {
			TH_LOG("at %p", bad[i]);
		}
	}

	munmap(p, PAGE);
	munmap(q, PAGE);
	for (i = 1; i < size; i++) {
		memcpy(q - i, &self->good, i);
		EXPECT_EQ(-EFAULT, devmem_call(self->e.fd, cmd, q - i));
		memcpy(p + PAGE, self->good.bytes + size - i, i);
		EXPECT_EQ(-EFAULT, devmem_call(self->e.fd, cmd,
					       p + PAGE - size + i));
	}
	memcpy(q - size, &self->good, size);
	EXPECT_EQ(-EFAULT, devmem_call(self->e.fd, sized(cmd, size + 1),
				       q - size));
	EXPECT_EQ(0, run(self->e.fd, cmd, q - size));
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));
	EXPECT_EQ(0, node_left(self->e.n.d2));
}

/* Lowest descriptor that is free: the same before and after means no leak */
static int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);

	return fd;
}

/* What has been done can't be told: a buffer is freed, other things are done. */
TEST_F(call, result_not_writable)
{
	const bool reads_only = variant->cmd == DEVMEM_IOC_WATCH;
	const int fd = next_fd();
	long used;
	char *p = map_anon(PAGE);
	int i, err;

	memcpy(p, &self->good, _IOC_SIZE(variant->cmd));
	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ));
	used = node_used_at_rest(self->e.n.d1, 0);
	EXPECT_EQ(0, used);
	for (i = 0; i < 20; i++) {
		err = devmem_call(self->e.fd, variant->cmd, p);
		EXPECT_EQ(reads_only ? 0 : -EFAULT, err);
	}
	EXPECT_EQ(0, memcmp(p, &self->good, _IOC_SIZE(variant->cmd)));
	EXPECT_EQ(fd, next_fd());
	used = variant->cmd == DEVMEM_IOC_MIGRATE ? N : 0;
	EXPECT_EQ(used, node_used_at_rest(self->e.n.d1, used));
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));

	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, run(self->e.fd, variant->cmd, p));
}

TEST_F(call, descriptors)
{
	union args a = self->good;
	int copy = dup(self->e.fd), path, plain, buf;

	close(self->e.fd);
	EXPECT_TRUE(refused(&self->e, variant->cmd, &self->good, -EBADF));
	self->e.fd = -1;
	EXPECT_TRUE(refused(&self->e, variant->cmd, &self->good, -EBADF));

	/* Neither the device itself nor the device at all */
	path = open(DEV, O_PATH);
	EXPECT_EQ(-EBADF, run(path, variant->cmd, &a));
	plain = open("/dev/null", O_RDWR);
	EXPECT_EQ(-ENOTTY, run(plain, variant->cmd, &a));
	buf = devmem_alloc(copy, self->e.n.d1, PAGE, 0, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-ENOTTY, run(buf, variant->cmd, &a));

	EXPECT_EQ(0, run(copy, variant->cmd, &a));
}

static bool changes_something(unsigned int cmd)
{
	return cmd == DEVMEM_IOC_ALLOC || cmd == DEVMEM_IOC_MIGRATE;
}

/* Who may only read may only ask. */
TEST_F(call, read_only)
{
	const bool changes = changes_something(variant->cmd);
	union args a = self->good;
	int writes = self->e.fd, err = 0;

	self->e.fd = open(DEV, O_RDONLY);
	ASSERT_LE(0, self->e.fd);
	EXPECT_EQ(changes ? -EBADF : 0, run(self->e.fd, variant->cmd, &a));
	EXPECT_EQ(0, node_left(self->e.n.d1));
	EXPECT_TRUE(placed(self->e.p, SIZE, self->e.n.s0, 1));

	/* Of others, too, it is told nothing. */
	if (variant->cmd == DEVMEM_IOC_VERIFY) {
		a = self->good;
		a.verify.pidfd = pidfd_of(getppid(), 0);
		EXPECT_TRUE(refused(&self->e, variant->cmd, &a, -EBADF));
	}
	a = self->good;
	a.alloc.flags |= DEVMEM_ALLOC_ASK;
	if (variant->cmd == DEVMEM_IOC_ALLOC)
		err = devmem_call(self->e.fd, variant->cmd, &a);
	EXPECT_EQ(0, err);

	a = self->good;
	EXPECT_EQ(0, run(writes, variant->cmd, &a));
}

static __u32 strange_number(unsigned int *seed)
{
	static const __u32 numbers[] = {
		0, 1, 2, 3, 7, PAGE, HUGE, INT_MAX, INT_MIN, UINT_MAX,
		0xfffff000,
	};
	const size_t n = sizeof(numbers) / sizeof(*numbers);
	unsigned int i = next_random(seed) % (n + 2);

	return i < n ? numbers[i] : next_random(seed) << i;
}

/* One to three numbers changed to something: done, or an error that there is */
TEST_F(call, numbers)
{
	static const int errors[] = {
		EINVAL, ENODEV, ENOMEM, EBADF, ESRCH, EFAULT, EBUSY, EACCES,
	};
	const size_t words = _IOC_SIZE(variant->cmd) / sizeof(__u32);
	const size_t nr = sizeof(errors) / sizeof(*errors);
	unsigned int seed = 20150427 + _IOC_NR(variant->cmd), i, k;
	long done = 0, refused = 0;
	time_t end = time(NULL) + 2;
	union args a = self->good;
	int err;

	for (i = 0; i < 3000 && (i < 100 || before(end)); i++) {
		memcpy(&a, &self->good, _IOC_SIZE(variant->cmd));
		for (k = 0; k <= next_random(&seed) % 3; k++) {
			__u32 value = strange_number(&seed);
			size_t at = next_random(&seed) % words * sizeof(value);

			memcpy(a.bytes + at, &value, sizeof(value));
		}
		err = run(self->e.fd, variant->cmd, &a);
		done += !err;
		refused += err != 0;
		for (k = 0; err && k < nr && errors[k] != -err; k++)
			;
		EXPECT_TRUE(!err || k < nr) {
			TH_LOG("round %u: %s", i, strerror(-err));
		}
	}
	TH_LOG("%ld done, %ld refused", done, refused);
	/* What the parent sees, too, and what only this process looked at */
	EXPECT_EQ(0, try_migrate(self->e.fd, NULL, (1UL << 47) - PAGE,
				 DEVMEM_NODE_SYSTEM, DEVMEM_SELF,
				 DEVMEM_MIGRATE_SHARED));
	EXPECT_LT(0, done);
	EXPECT_LT(10, refused);
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));
}

TEST_F(dev, unknown_calls)
{
	char arg[256] = "";
	unsigned int nr, dir;

	for (nr = 0; nr < 256; nr++)
		for (dir = 0; dir < 4 && nr >= 5; dir++)
			EXPECT_EQ(-ENOTTY, devmem_call(self->e.fd,
						       _IOC(dir, 0xBD, nr, 64),
						       arg));
	EXPECT_EQ(-ENOTTY, devmem_call(self->e.fd, 0, arg));
	EXPECT_EQ(-ENOTTY, devmem_call(self->e.fd, 0x5401, arg));
}

/* There is nothing to read, write, map or look for in the device itself. */
TEST_F(dev, no_other_use)
{
	const int fd = self->e.fd;
	char c = 0;

	EXPECT_EQ(-1, read(fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, pread(fd, &c, 1, 0));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, ftruncate(fd, PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-ENODEV, try_map(fd, PAGE, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(POLLERR, ready(fd, 0));
}

/* -- Nodes --------------------------------------------------------------------- */

static const int no_nodes[] = {
	-2, INT_MIN, INT_MAX, MAX_NODES, MAX_NODES - 1, NO_NODE, 1000, -1000,
};

#define NR_NO_NODES	(sizeof(no_nodes) / sizeof(*no_nodes))

/* None of the calls takes that for a device node. */
static bool no_device(const struct env *e, int nid)
{
	struct devmem_info info;
	int got[] = {
		devmem_info(e->fd, nid, 0, &info),
		devmem_info(e->fd, nid, DEVMEM_INFO_RUNS, &info),
		try_alloc(e->fd, nid, SIZE, 0, 0),
		try_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0),
		try_alloc(e->fd, nid, HUGE, DEVMEM_ALLOC_CONTIG, HUGE),
		devmem_watch(e->fd, nid, PAGE, -1),
		devmem_watch(e->fd, nid, PAGE, -1),
	};
	size_t i;

	for (i = 0; i < sizeof(got) / sizeof(*got); i++) {
		if (got[i] == -ENODEV)
			continue;
		ksft_print_msg("node %d, request %zu: %d\n", nid, i, got[i]);
		return false;
	}

	return ready(e->fd, 0) == POLLERR;
}

TEST_F(dev, nodes)
{
	const struct env *e = &self->e;
	struct devmem_info info;
	size_t i;

	for (i = 0; i < NR_NO_NODES; i++) {
		EXPECT_TRUE(no_device(e, no_nodes[i]));
		EXPECT_EQ(-ENODEV, try_migrate(e->fd, e->p, SIZE, no_nodes[i],
					       DEVMEM_SELF, 0));
		EXPECT_EQ(-ENODEV, try_migrate(e->fd, e->p, SIZE, no_nodes[i],
					       DEVMEM_SELF,
					       DEVMEM_MIGRATE_POLICY));
	}
	EXPECT_TRUE(no_device(e, e->n.s0));
	EXPECT_TRUE(no_device(e, e->n.s1));
	EXPECT_EQ(-ENODEV, devmem_info(e->fd, -1, 0, &info));
	EXPECT_EQ(-ENODEV, devmem_watch(e->fd, -1, PAGE, -1));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.s0, 1));

	/* What is one, and from where on to look for it */
	EXPECT_FALSE(no_device(e, e->n.d1));
	EXPECT_EQ(0, devmem_info(e->fd, INT_MIN, DEVMEM_INFO_NEXT, &info));
	EXPECT_EQ(e->n.d1, info.node);
	EXPECT_EQ(0, devmem_info(e->fd, e->n.d1 + 1, DEVMEM_INFO_NEXT, &info));
	EXPECT_EQ(e->n.d2, info.node);
	EXPECT_EQ(-ENODEV, devmem_info(e->fd, e->n.d2 + 1, DEVMEM_INFO_NEXT,
				       &info));
	EXPECT_EQ(-ENODEV, devmem_info(e->fd, INT_MAX, DEVMEM_INFO_NEXT,
				       &info));
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, e->n.s1, DEVMEM_SELF, 0));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.s1, 1));
}

/* Nodes that this process may not use, and those that another may not */
TEST_F(dev, cpuset)
{
	const struct env *e = &self->e;
	struct devmem_alloc near = {
		.node = DEVMEM_NODE_NEAREST, .size = SIZE, .fd_flags = O_RDWR,
	};
	int me = pidfd_of(getpid(), 0);

	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset");
	if (!cg_enter("cpuset"))
		SKIP(return, "no cpusets");
	ASSERT_EQ(0, cg_write("cpuset.mems", "%d,%d", e->n.s0, e->n.d2));
	EXPECT_EQ(-EACCES, try_alloc(e->fd, e->n.d1, SIZE, 0, 0));
	EXPECT_EQ(-EACCES, try_alloc(e->fd, e->n.d1, SIZE, DEVMEM_ALLOC_EXACT,
				     0));
	EXPECT_EQ(-EACCES, try_migrate(e->fd, e->p, SIZE, e->n.d1, DEVMEM_SELF,
				       0));
	EXPECT_EQ(-EACCES, try_migrate(e->fd, e->p, SIZE, e->n.d1, me, 0));
	EXPECT_EQ(-EACCES, try_migrate(e->fd, e->p, SIZE, e->n.s1, me, 0));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.s0, 1));
	EXPECT_EQ(0, devmem_call(e->fd, DEVMEM_IOC_ALLOC, &near));
	EXPECT_EQ(e->n.d2, near.node);
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, e->n.d2, me, 0));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.d2, 1));

	ASSERT_EQ(0, cg_write("cpuset.mems", "%d,%d", e->n.s0, e->n.s1));
	EXPECT_EQ(-EACCES, try_alloc(e->fd, DEVMEM_NODE_NEAREST, SIZE, 0, 0));
	EXPECT_EQ(-EACCES, try_alloc(e->fd, e->n.d2, SIZE, 0, 0));
	EXPECT_TRUE(intact(e->p, SIZE, 1));
}

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

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);

	return t.tv_sec + t.tv_nsec / 1e9;
}

/* -- Many, and limits ----------------------------------------------------------- */

static int set_limit(int what, rlim_t max)
{
	struct rlimit limit = { max, max };

	return setrlimit(what, &limit);
}

#define MANY	3000

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

/* Each waits, and is told once. */
TEST_F(dev, many_watches)
{
	const int d1 = self->e.n.d1;
	int event = eventfd(0, EFD_NONBLOCK), n, i, first = -1;
	__u64 told = 0, more;

	ASSERT_EQ(0, set_limit(RLIMIT_NOFILE, MANY));
	for (n = 0; n < 2 * MANY; n++) {
		int fd = open(DEV, O_RDWR);

		if (fd < 0) {
			EXPECT_EQ(EMFILE, errno);
			break;
		}
		if (first < 0)
			first = fd;
		if (devmem_watch(fd, d1, PAGE, event))
			break;
	}
	EXPECT_LT(MANY - 20, n);
	for (i = 0; i < 600 && told < (__u64)n; i++) {
		usleep(50000);
		if (read(event, &more, sizeof(more)) == sizeof(more))
			told += more;
	}
	EXPECT_EQ(n, (int)told);
	usleep(200000);
	EXPECT_EQ(-1, read(event, &more, sizeof(more)));
	for (i = 0; i < n; i += 100)
		EXPECT_EQ(POLLIN, ready(first + i, 0));
	close(event);
	for (i = 0; i < n; i++)
		close(first + i);
}

/* Seconds for so many new watches, each instead of the one before */
static double watch_again(int fd, int nid, int times)
{
	double start = now();

	while (times--)
		if (devmem_watch(fd, nid, PAGE, -1))
			return -1;

	return now() - start;
}

#define VERY_MANY	50000

/* It doesn't matter to who comes how many are there. */
TEST_F(dev, watch_among_many)
{
	const int d1 = self->e.n.d1, fd = self->e.fd;
	double alone, among;
	int n, other;

	ASSERT_EQ(0, set_limit(RLIMIT_NOFILE, VERY_MANY));
	watch_again(fd, d1, 100);
	alone = watch_again(fd, d1, 2000);
	ASSERT_LT(0, alone);
	for (n = 0; (other = open(DEV, O_RDONLY)) >= 0; n++)
		ASSERT_EQ(0, devmem_watch(other, d1, PAGE, -1));
	EXPECT_LT(VERY_MANY - 20, n);
	among = watch_again(fd, d1, 2000);
	TH_LOG("%.1f us alone, %.1f among %d", alone * 500, among * 500, n);
	EXPECT_LT(0, among);
	EXPECT_GT(4 * alone + 0.05, among);
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

/* -- Ranges --------------------------------------------------------------------- */

TEST_F(dev, ranges)
{
	const unsigned long p = (unsigned long)self->e.p;
	const struct {
		unsigned long addr;
		unsigned long size;
	} bad[] = {
		{ p + 1, SIZE }, { p + 8, 0 }, { p, SIZE + 1 }, { p, 1 },
		{ p, SIZE - 8 }, { -PAGE, PAGE }, { -PAGE, 2 * PAGE },
		{ p, -PAGE }, { p, 1UL << 63 }, { 1UL << 63, 0 }, { 0, 1UL << 57 },
		{ 1UL << 57, PAGE }, { 0xffff888000000000UL, PAGE },
	};
	const int fd = self->e.fd, d1 = self->e.n.d1;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		void *addr = (void *)bad[i].addr;

		EXPECT_EQ(-EINVAL, try_migrate(fd, addr, bad[i].size, d1,
					       DEVMEM_SELF, 0)) {
			TH_LOG("range %zu", i);
		}
		EXPECT_EQ(-EINVAL, try_migrate(fd, addr, bad[i].size, d1,
					       DEVMEM_SELF,
					       DEVMEM_MIGRATE_POLICY));
		EXPECT_EQ(-EINVAL, try_verify(fd, addr, bad[i].size,
					      DEVMEM_SELF)) {
			TH_LOG("range %zu", i);
		}
	}
	EXPECT_TRUE(placed(self->e.p, SIZE, self->e.n.s0, 1));
}

/* Nothing, and what nothing is in */
TEST_F(dev, empty_ranges)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	struct devmem_migrate m = { .moved = ULLONG_MAX, .absent = 1 };
	struct devmem_verify v;

	EXPECT_EQ(0, try_migrate(fd, NULL, 0, d1, DEVMEM_SELF, 0));
	EXPECT_EQ(0, try_migrate(fd, self->e.p, 0, d1, DEVMEM_SELF,
				 DEVMEM_MIGRATE_ALL));
	EXPECT_EQ(0, try_verify(fd, NULL, 0, DEVMEM_SELF));
	EXPECT_EQ(0, devmem_migrate(fd, NOWHERE, SIZE, d1, DEVMEM_SELF, &m));
	EXPECT_EQ(N + 1, (long)m.absent);
	EXPECT_EQ(ULLONG_MAX, m.moved);
	EXPECT_EQ((uintptr_t)NOWHERE + SIZE, m.addr);
	EXPECT_EQ(0, devmem_verify(fd, NOWHERE, SIZE, DEVMEM_SELF, NULL, 0,
				   &v));
	EXPECT_EQ(N, (long)v.absent);
	EXPECT_EQ(0, (long)v.present);

	/* As much as there is: a count that is too large runs over. */
	EXPECT_EQ(0, devmem_verify(fd, NULL, (1UL << 47) - PAGE, DEVMEM_SELF,
				   NULL, 0, &v));
	EXPECT_LE(N, (long)v.present);
	EXPECT_EQ((1UL << 35) - 1, v.present + v.absent + v.swapped +
		  v.unmovable);
	EXPECT_EQ(0, devmem_migrate(fd, self->e.p, SIZE, d1, DEVMEM_SELF, &m));
	EXPECT_EQ(N - 1, (long)m.moved);
	EXPECT_TRUE(placed(self->e.p, SIZE, d1, 1));
}

TEST_F(dev, migrate_combinations)
{
	const unsigned int all = DEVMEM_MIGRATE_ALL;
	const unsigned int policy = DEVMEM_MIGRATE_POLICY;
	const int fd = self->e.fd, d1 = self->e.n.d1, self_fd = DEVMEM_SELF;
	int me = pidfd_of(getpid(), 0), i;
	static const __u64 odd[] = { 1, PAGE - 1, PAGE + 1, ULLONG_MAX };
	struct devmem_migrate m;
	char *p = self->e.p;

	for (i = 0; i < 4; i++) {
		m = (struct devmem_migrate){ .budget = odd[i] };
		EXPECT_EQ(-EINVAL, devmem_migrate(fd, p, SIZE, d1, self_fd,
						  &m));
	}
	m = (struct devmem_migrate){ .budget = PAGE, .flags = all };
	EXPECT_EQ(-EINVAL, devmem_migrate(fd, p, SIZE, d1, self_fd, &m));
	EXPECT_EQ(-EINVAL, try_migrate(fd, p, SIZE, d1, me, policy));
	EXPECT_EQ(-EINVAL, try_migrate(fd, p, SIZE, d1, -2, policy));
	EXPECT_TRUE(placed(p, SIZE, self->e.n.s0, 1));

	/* A hole in what is to be bound, as with mbind() */
	munmap(p + PAGE, PAGE);
	EXPECT_EQ(-EFAULT, try_migrate(fd, p, SIZE, d1, self_fd, policy));
	EXPECT_EQ(N - 1, on_node(p, SIZE, self->e.n.s0));

	m = (struct devmem_migrate){ .budget = -PAGE };
	EXPECT_EQ(0, devmem_migrate(fd, p, SIZE, d1, me, &m));
	EXPECT_EQ(N - 1, (long)m.moved);
	EXPECT_EQ(N - 1, on_node(p, SIZE, d1));
}

TEST_F(dev, verify_nodes)
{
	const int fd = self->e.fd;
	char *p = map_anon(3 * PAGE), *q;
	__u64 *nodes = (__u64 *)(p + 2 * PAGE) - MAX_NODES;
	struct devmem_verify v;
	int i;

	munmap(p + 2 * PAGE, PAGE);
	memset(p, 0xff, 2 * PAGE);
	EXPECT_EQ(-EFAULT, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 nodes, MAX_NODES + 1, &v));
	EXPECT_EQ(-EFAULT, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 nodes, DEVMEM_MAX_NODES, &v));
	EXPECT_EQ(-EINVAL, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 nodes, DEVMEM_MAX_NODES + 1, &v));
	EXPECT_EQ(-EINVAL, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 nodes, UINT_MAX, &v));
	EXPECT_EQ(-EFAULT, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 NULL, 1, &v));
	EXPECT_EQ(-EFAULT, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 (void *)-8L, 1, &v));
	EXPECT_EQ(-EFAULT, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 (void *)(1UL << 63), 1, &v));
	/* The result of the call isn't there if that of the nodes isn't. */
	EXPECT_EQ(0, (long)v.present);

	memset(p, 0xff, 2 * PAGE);
	EXPECT_EQ(0, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF, nodes,
				   MAX_NODES, &v));
	for (i = 0; i < MAX_NODES; i++)
		EXPECT_EQ(i == self->e.n.s0 ? N : 0, (long)nodes[i]);
	EXPECT_EQ(~0ULL, nodes[-1]);
	memset(p, 0xff, 2 * PAGE);
	EXPECT_EQ(0, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF, nodes, 1,
				   &v));
	EXPECT_EQ(~0ULL, nodes[1]);
	/* As many as there may be: what isn't a node is cleared. */
	q = map_anon(4 * PAGE);
	memset(q, 0xff, 4 * PAGE);
	nodes = (__u64 *)q;
	EXPECT_EQ(0, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF, nodes,
				   DEVMEM_MAX_NODES, &v));
	EXPECT_EQ(0, (long)nodes[DEVMEM_MAX_NODES - 1]);
	EXPECT_EQ(~0ULL, nodes[DEVMEM_MAX_NODES]);
	EXPECT_EQ(N, (long)nodes[self->e.n.s0]);
	/* No array, then no address of one */
	EXPECT_EQ(-EINVAL, devmem_verify(fd, self->e.p, SIZE, DEVMEM_SELF,
					 nodes, 0, &v));
}

/* -- Whose they are ---------------------------------------------------------------- */

static char *make_anon(void)
{
	return map_anon(SIZE);
}

/* Both calls refuse that process. */
static bool no_process(const struct env *e, void *p, int pidfd, int err)
{
	int migrate = try_migrate(e->fd, p, SIZE, e->n.d1, pidfd, 0);
	int verify = try_verify(e->fd, p, SIZE, pidfd);

	if (migrate == err && verify == err)
		return true;
	ksft_print_msg("pidfd %d: %d and %d instead of %d\n", pidfd, migrate,
		       verify, err);

	return false;
}

static void *stand_still(void *arg)
{
	*(atomic_int *)arg = gettid();
	pause();

	return NULL;
}

TEST_F(dev, pidfds)
{
	const struct env *e = &self->e;
	int closed = pidfd_of(getpid(), 0), kthread = pidfd_of(2, 0), pidfd;
	atomic_int tid = 0;
	pthread_t thread;
	siginfo_t info;
	pid_t pid;

	close(closed);
	EXPECT_TRUE(no_process(e, e->p, closed, -EBADF));
	EXPECT_TRUE(no_process(e, e->p, -2, -EBADF));
	EXPECT_TRUE(no_process(e, e->p, INT_MIN, -EBADF));
	EXPECT_TRUE(no_process(e, e->p, INT_MAX, -EBADF));
	EXPECT_TRUE(no_process(e, e->p, e->fd, -EBADF));
	EXPECT_TRUE(no_process(e, e->p, open("/dev/null", O_RDONLY), -EBADF));
	EXPECT_TRUE(no_process(e, e->p, open("/proc/self", O_RDONLY), -EBADF));
	EXPECT_TRUE(no_process(e, e->p, eventfd(0, 0), -EBADF));
	ASSERT_LE(0, kthread);
	EXPECT_TRUE(no_process(e, e->p, kthread, -ESRCH));

	/* Exited, and waited for */
	pid = fork();
	if (!pid)
		_exit(0);
	pidfd = pidfd_of(pid, 0);
	EXPECT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	EXPECT_TRUE(no_process(e, e->p, pidfd, -ESRCH));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_TRUE(no_process(e, e->p, pidfd, -ESRCH));

	/* A thread isn't a process. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, stand_still, &tid));
	while (!tid)
		usleep(1000);
	pidfd = pidfd_of(tid, PIDFD_THREAD);
	ASSERT_LE(0, pidfd);
	EXPECT_TRUE(no_process(e, e->p, pidfd, -ESRCH));

	EXPECT_TRUE(placed(e->p, SIZE, e->n.s0, 1));
	EXPECT_TRUE(no_process(e, e->p, pidfd_of(getpid(), 0), 0));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.d1, 1));
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		_exit(98);
}

/* Of the same user, but with something to hide or not */
static pid_t start_nobody(bool dumpable)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_DUMPABLE, dumpable);
		raise(SIGSTOP);
		pause();
	}
	waitpid(pid, NULL, WUNTRACED);

	return pid;
}

/* With a descriptor of the device: one's own, and nobody else's */
static void as_nobody(struct __test_metadata *_metadata, const struct env *e,
		      char *p, pid_t holder)
{
	pid_t open_pid, closed_pid;

	EXPECT_EQ(-1, open(DEV, O_RDWR));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, open(DEV, O_RDONLY));
	EXPECT_EQ(EACCES, errno);

	EXPECT_TRUE(no_process(e, p, pidfd_of(holder, 0), -EPERM));
	EXPECT_TRUE(no_process(e, p, pidfd_of(1, 0), -EPERM));
	EXPECT_TRUE(no_process(e, p, pidfd_of(2, 0), -EPERM));
	EXPECT_EQ(-EPERM, try_migrate(e->fd, e->p, SIZE, e->n.d1, DEVMEM_SELF,
				      DEVMEM_MIGRATE_SHARED));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.d2, 1));
	EXPECT_EQ(0, try_alloc(e->fd, e->n.d1, SIZE, 0, 0));
	fill_pages(e->p, SIZE, 1);	/* what was shared isn't now */
	EXPECT_TRUE(no_process(e, e->p, DEVMEM_SELF, 0));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.d1, 1));

	open_pid = start_nobody(true);
	closed_pid = start_nobody(false);
	EXPECT_TRUE(no_process(e, e->p, pidfd_of(closed_pid, 0), -EPERM));
	EXPECT_TRUE(no_process(e, e->p, pidfd_of(open_pid, 0), 0));
	EXPECT_EQ(0, kill(open_pid, SIGKILL));
	EXPECT_EQ(0, kill(closed_pid, SIGKILL));
}

TEST_F(dev, other_user)
{
	struct env *e = &self->e;
	pid_t holder, pid;
	int status;
	char *p;

	holder = start_holder(make_anon, SIZE, 3, &p);
	ASSERT_LT(0, holder);
	ASSERT_EQ(0, chmod(DEV, 0600));
	/* With the capability, and with pages that several processes map */
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, e->n.d2, DEVMEM_SELF,
				 DEVMEM_MIGRATE_SHARED));
	pid = fork();
	if (!pid) {
		become_nobody();
		as_nobody(_metadata, e, p, holder);
		_exit(0);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, end_holder(holder));
}

/* A call waits for the exec of a process, whose rights it looks at, to end. */
TEST_F(dev, exec_meanwhile)
{
	struct env *e = &self->e;
	pid_t holder, child;
	double start;
	int status;
	char *p;

	ASSERT_EQ(0, testmod_load());
	holder = start_holder(make_anon, SIZE, 3, &p);
	ASSERT_LT(0, holder);
	child = fork();
	if (!child)
		_exit(!!testmod("exec %d 1500", holder));
	usleep(300000);
	start = now();
	EXPECT_TRUE(no_process(e, p, pidfd_of(holder, 0), 0));
	EXPECT_LT(0.5, now() - start);
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	/* The control: nobody execs. */
	EXPECT_TRUE(no_process(e, p, pidfd_of(holder, 0), 0));
	EXPECT_EQ(0, end_holder(holder));
}

static int opens(void *unused)
{
	struct devmem_info info;
	int fd;

	(void)unused;
	become_nobody();
	fd = open(DEV, O_RDWR);

	return fd < 0 || devmem_info(fd, 0, DEVMEM_INFO_NEXT, &info) ||
	       try_alloc(fd, info.node, SIZE, 0, 0);
}

/* Permission to open it is all that it takes. */
TEST_F(dev, mode)
{
	EXPECT_NE(0, in_child(opens, NULL));
	ASSERT_EQ(0, chmod(DEV, 0666));
	EXPECT_EQ(0, in_child(opens, NULL));
}

/* Capabilities of a user namespace of one's own don't count. */
TEST_F(dev, user_namespace)
{
	struct env *e = &self->e;
	const unsigned int shared = DEVMEM_MIGRATE_SHARED;
	pid_t holder, child;
	char *p;

	holder = start_holder(make_anon, SIZE, 3, &p);
	ASSERT_LT(0, holder);
	EXPECT_TRUE(no_process(e, p, pidfd_of(holder, 0), 0));
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, e->n.d2, DEVMEM_SELF,
				 shared));
	if (unshare(CLONE_NEWUSER))
		SKIP(return, "no user namespaces");
	EXPECT_EQ(1, prctl(PR_CAPBSET_READ, 23 /* CAP_SYS_NICE */));
	EXPECT_EQ(-EPERM, try_migrate(e->fd, e->p, SIZE, e->n.d1, DEVMEM_SELF,
				      shared));
	EXPECT_TRUE(no_process(e, p, pidfd_of(holder, 0), -EPERM));
	EXPECT_TRUE(placed(e->p, SIZE, e->n.d2, 1));
	EXPECT_EQ(0, try_alloc(e->fd, e->n.d1, SIZE, 0, 0));
	EXPECT_TRUE(no_process(e, e->p, DEVMEM_SELF, 0));

	/* Over a process of it, they do. */
	child = start_nobody(true);
	EXPECT_TRUE(no_process(e, e->p, pidfd_of(child, 0), 0));
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(0, end_holder(holder));
}

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

/* -- Waiting ----------------------------------------------------------------------- */

TEST_F(dev, watch_eventfds)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	int closed = eventfd(0, 0), plain = open("/dev/null", O_RDONLY);

	close(closed);
	ASSERT_EQ(0, devmem_watch(fd, d1, PAGE, -1));
	EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, PAGE, -2));
	EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, PAGE, INT_MIN));
	EXPECT_EQ(-EBADF, devmem_watch(fd, d1, PAGE, closed));
	EXPECT_EQ(-EBADF, devmem_watch(fd, d1, PAGE, INT_MAX));
	EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, PAGE, plain));
	EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, PAGE, fd));
	EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, PAGE,
					pidfd_of(getpid(), 0)));
	EXPECT_EQ(-ENODEV, devmem_watch(fd, self->e.n.s0, PAGE, -1));
	/* What was refused hasn't replaced what was there. */
	EXPECT_EQ(POLLIN, ready(fd, 0));
	EXPECT_EQ(0, devmem_watch(fd, d1, 0, -1));
	EXPECT_EQ(POLLERR, ready(fd, 0));
	EXPECT_EQ(0, devmem_watch(fd, d1, 0, -1));
	/* To end it, neither node nor eventfd matters. */
	EXPECT_EQ(0, devmem_watch(fd, NO_NODE, 0, INT_MIN));
}

/* More than there ever is: it is said, instead of waiting for ever. */
TEST_F(dev, watch_too_much)
{
	const int fd = self->e.fd, d1 = self->e.n.d1;
	const unsigned long long all = node_bytes(d1);
	const unsigned long long sizes[] = {
		all + 1, all + PAGE, 1ULL << 44, HUGE_U64, -PAGE, -PAGE + 1,
		ULLONG_MAX,
	};
	int event = eventfd(0, EFD_NONBLOCK);
	__u64 count;
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		EXPECT_EQ(-EINVAL, devmem_watch(fd, d1, sizes[i], event)) {
			TH_LOG("%#llx bytes", sizes[i]);
		}
		EXPECT_EQ(POLLERR, ready(fd, 0));
	}
	EXPECT_EQ(-1, read(event, &count, sizeof(count)));
	EXPECT_EQ(0, devmem_watch(fd, d1, all, event));
	EXPECT_EQ(POLLIN, ready(fd, 20000));
	EXPECT_EQ(0, devmem_watch(fd, d1, 1, event));
	EXPECT_EQ(POLLIN, ready(fd, 20000));
	usleep(200000);
	EXPECT_EQ((ssize_t)sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_LE(1, (long)count);
	EXPECT_GE(2, (long)count);
}

/* Replaced while it is waited for; its eventfd is closed before it ends. */
TEST_F(dev, watch_replaced)
{
	const int fd = self->e.fd;
	const int nids[] = { self->e.n.d1, self->e.n.d2 };
	const unsigned long long never[] = {
		never_free(fd, nids[0]), never_free(fd, nids[1]),
	};
	long files = open_files();
	int i, event;

	for (i = 0; i < 600; i++) {
		event = i % 3 ? eventfd(0, 0) : -1;
		ASSERT_EQ(0, devmem_watch(fd, nids[i % 2],
					  i % 5 ? PAGE : never[i % 2], event));
		if (event >= 0)
			close(event);
		if (i % 60 == 0)
			usleep(10000);
		if (i % 7 == 0)
			EXPECT_EQ(i % 5 ? POLLIN : 0, ready(fd, 0));
	}
	EXPECT_EQ(files, open_files());
	/* And ended for good: by a process that had it last */
	EXPECT_EQ(0, devmem_watch(fd, nids[0], PAGE, eventfd(0, 0)));
}

struct waiter {
	int fd;
	int ms;
	atomic_int state;	/* 1: about to wait, 2: has waited */
	int got;
};

static void *wait_for_room(void *arg)
{
	struct waiter *w = arg;

	w->state = 1;
	w->got = ready(w->fd, w->ms);
	w->state = 2;

	return NULL;
}

static pthread_t start_waiter(struct waiter *w)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_for_room, w);
	while (!w->state)
		usleep(1000);
	usleep(20000);

	return thread;
}

/* Ended or closed under somebody who waits */
TEST_F(dev, watch_ends)
{
	const int d1 = self->e.n.d1, fd = self->e.fd;
	struct waiter ended = { .fd = fd, .ms = 60000 };
	struct waiter closed = { .fd = dup(fd), .ms = 3000 };
	const unsigned long long never = never_free(fd, d1);
	pthread_t thread;

	ASSERT_EQ(0, devmem_watch(fd, d1, never, -1));
	thread = start_waiter(&ended);
	EXPECT_EQ(1, ended.state);
	EXPECT_EQ(0, devmem_watch(fd, d1, 0, -1));
	pthread_join(thread, NULL);
	EXPECT_EQ(POLLERR, ended.got);

	/* The waiter has the last reference of the file. */
	ASSERT_EQ(0, devmem_watch(fd, d1, never, -1));
	thread = start_waiter(&closed);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, close(closed.fd));
	EXPECT_EQ(1, closed.state);
	pthread_join(thread, NULL);
	EXPECT_EQ(POLLNVAL, closed.got);
}

/* The number is closed under somebody who waits; the watch, ended or met */
TEST_F(dev, watch_closed)
{
	const int d1 = self->e.n.d1;
	const unsigned long long never = never_free(self->e.fd, d1);
	pthread_t thread;
	int i, other;

	for (i = 0; i < 30; i++) {
		struct waiter w = { .fd = open(DEV, O_RDWR), .ms = 60000 };

		other = dup(w.fd);
		ASSERT_EQ(0, devmem_watch(w.fd, d1, never, -1));
		thread = start_waiter(&w);
		EXPECT_EQ(1, w.state);
		EXPECT_EQ(0, close(w.fd));
		EXPECT_EQ(0, devmem_watch(other, d1, i % 2 ? PAGE : 0, -1));
		EXPECT_EQ(0, close(other));
		pthread_join(thread, NULL);
		EXPECT_EQ(POLLNVAL, w.got);
	}
}

/* -- Killed at any instant ---------------------------------------------------------- */

#define KILLS	60

/* What is done in a loop by a process until it is killed */
struct victim {
	const struct env *e;
	char *own;		/* content 1, mapped by the tester as well */
	char *others;		/* of the holder, content 2 */
	int holder;		/* its pidfd */
	atomic_long *rounds;
};

FIXTURE(kill)
{
	struct env e;
	struct victim v;
	pid_t holder;
};

FIXTURE_VARIANT(kill)
{
	void (*work)(struct victim *v, int i);
	int us;			/* it takes about as long */
};

static void kill_alloc(struct victim *v, int i)
{
	int buf = devmem_alloc(v->e->fd, v->e->n.d1, 16 * MIB,
			       i % 2 ? DEVMEM_ALLOC_HUGE : 0, 0);

	if (buf < 0)
		_exit(2);
	if (i % 3)
		fill_pages(map_pages(MIB, MAP_SHARED, buf), MIB, 1);
	close(buf);
}

/* As large as can be, so that what the holder has there is in the way */
static void kill_contig(struct victim *v, int i)
{
	const int fd = v->e->fd, d1 = v->e->n.d1;
	int buf;

	if (try_migrate(fd, v->others, SIZE, d1, v->holder, 0))
		_exit(2);
	buf = devmem_alloc(fd, d1, node_bytes(d1) - i % 2 * PAGE,
			   DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);
	if (buf < 0 && buf != -ENOMEM)
		_exit(3);
	if (buf >= 0)
		close(buf);
}

static int direction(struct victim *v, int i)
{
	const int nids[] = {
		v->e->n.d1, DEVMEM_NODE_SYSTEM, v->e->n.d2, v->e->n.s1,
	};

	return nids[i % 4];
}

static void kill_migrate_self(struct victim *v, int i)
{
	if (try_migrate(v->e->fd, v->own, SIZE, direction(v, i), DEVMEM_SELF,
			DEVMEM_MIGRATE_SHARED))
		_exit(2);
	if (!intact(v->own, SIZE, 1))
		_exit(3);
}

static void kill_migrate_other(struct victim *v, int i)
{
	int err = try_migrate(v->e->fd, v->others, SIZE, direction(v, i),
			      v->holder, i % 3 ? 0 : DEVMEM_MIGRATE_ALL);

	if (err && err != -EBUSY)
		_exit(2);
}

static void kill_verify(struct victim *v, int i)
{
	if (try_verify(v->e->fd, NULL, (1UL << 47) - PAGE,
		       i % 2 ? v->holder : DEVMEM_SELF))
		_exit(2);
}

static void kill_poll(struct victim *v, int i)
{
	const int d1 = v->e->n.d1;
	int fd = open(DEV, O_RDWR);

	if (devmem_watch(fd, d1, never_free(fd, d1), eventfd(0, 0)))
		_exit(2);
	*v->rounds += i == 0;
	ready(fd, -1);
	_exit(3);
}

static void kill_watch(struct victim *v, int i)
{
	static unsigned long long never;
	int event = eventfd(0, 0);

	if (!never)
		never = never_free(v->e->fd, v->e->n.d1);
	if (devmem_watch(v->e->fd, v->e->n.d1, i % 2 ? PAGE : never, event))
		_exit(2);
	close(event);
	ready(v->e->fd, i % 4);
}

FIXTURE_VARIANT_ADD(kill, alloc) {
	kill_alloc, 20000
};

FIXTURE_VARIANT_ADD(kill, contig) {
	kill_contig, 150000
};

FIXTURE_VARIANT_ADD(kill, migrate_self) {
	kill_migrate_self, 15000
};

FIXTURE_VARIANT_ADD(kill, migrate_other) {
	kill_migrate_other, 15000
};

FIXTURE_VARIANT_ADD(kill, verify) {
	kill_verify, 10000
};

FIXTURE_VARIANT_ADD(kill, poll) {
	kill_poll, 5000
};

FIXTURE_VARIANT_ADD(kill, watch) {
	kill_watch, 10000
};

FIXTURE_SETUP(kill)
{
	struct victim *v = &self->v;

	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
	v->e = &self->e;
	v->own = map_pages(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
	v->rounds = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	ASSERT_NE(NULL, v->own);
	ASSERT_NE(NULL, v->rounds);
	fill_pages(v->own, SIZE, 1);
	self->holder = start_holder(make_anon, SIZE, 2, &v->others);
	ASSERT_LT(0, self->holder);
	v->holder = pidfd_of(self->holder, 0);
	ASSERT_LE(0, v->holder);
}

FIXTURE_TEARDOWN_PARENT(kill)
{
	EXPECT_EQ(0, left(&self->e));
}

TEST_F(kill, at_any_instant)
{
	const struct nodes *n = &self->e.n;
	unsigned int seed = 20150427;
	time_t end = time(NULL) + 5;
	int i, k, status;
	pid_t pid;

	for (k = 0; k < KILLS && (k <= 4 || before(end)); k++) {
		long done = *self->v.rounds;

		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (i = 0; ; i++) {
				variant->work(&self->v, i);
				++*self->v.rounds;
			}
		}
		/* Wherever it is, or in the second round for sure */
		for (i = 0; k % 4 == 0 && i < 50000 && *self->v.rounds == done; i++)
			usleep(200);
		usleep(next_random(&seed) % variant->us);
		kill(pid, SIGKILL);
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(SIGKILL, status);
		EXPECT_TRUE(intact(self->v.own, SIZE, 1));
	}
	TH_LOG("%d killed in %ld rounds", k, *self->v.rounds);
	EXPECT_LT(4, k);
	EXPECT_LT(k / 5, *self->v.rounds);

	/* All that is left is what is in use. */
	EXPECT_EQ(0, try_migrate(self->e.fd, self->v.own, SIZE,
				 DEVMEM_NODE_SYSTEM, DEVMEM_SELF, 0));
	EXPECT_EQ(0, try_migrate(self->e.fd, self->v.others, SIZE, n->s0,
				 self->v.holder, DEVMEM_MIGRATE_ALL));
	EXPECT_EQ(N, others_on_node(self->holder, self->v.others, SIZE, n->s0));
	EXPECT_EQ(0, node_left(n->d1));
	EXPECT_EQ(0, node_left(n->d2));
	EXPECT_EQ(0, end_holder(self->holder));
}

/* -- A process that ends while it is moved ---------------------------------------- */

FIXTURE(end)
{
	struct env e;
};

FIXTURE_VARIANT(end)
{
	void (*how)(void);
	int status;
};

FIXTURE_VARIANT_ADD(end, exit) {
	by_exit, 0
};

FIXTURE_VARIANT_ADD(end, exec) {
	by_exec, 0
};

FIXTURE_VARIANT_ADD(end, kill) {
	by_kill, SIGKILL
};

FIXTURE_SETUP(end)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
}

FIXTURE_TEARDOWN_PARENT(end)
{
	EXPECT_EQ(0, left(&self->e));
}

/* Until it is no more: what it has, or an error that says so */
TEST_F(end, moved_meanwhile)
{
	const struct env *e = &self->e;
	int i, k, err, status, pidfd;
	long calls = 0, gone = 0;
	pid_t pid;
	char *p;

	for (k = 0; k < 20; k++) {
		pid = start_mortal(variant->how, SIZE, k * 1500, &p);
		ASSERT_LT(0, pid);
		pidfd = pidfd_of(pid, 0);
		ASSERT_LE(0, pidfd);
		for (i = 0, err = 0; !err; i++) {
			err = try_migrate(e->fd, p, SIZE, i % 2 ?
					  DEVMEM_NODE_SYSTEM : e->n.d1, pidfd, 0);
			calls += !err;
			if (!err)
				err = try_verify(e->fd, p, SIZE, pidfd);
		}
		EXPECT_EQ(-ESRCH, err);
		gone += err == -ESRCH;
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(variant->status, status);
		close(pidfd);
	}
	TH_LOG("%ld calls", calls);
	EXPECT_EQ(20, gone);
	EXPECT_LT(4, calls);
}

/* -- A range that changes while it moves ------------------------------------------ */

struct race {
	const struct env *e;
	char *p;		/* where the pages are */
	char *other;		/* where they go with mremap(), and return */
	atomic_bool stop;
	atomic_int bad;		/* an error that shouldn't be */
	atomic_long moved;
};

#include "race_steps.h"

/* Where it is asked for, too, and moved by this thread as well */
static bool step_migrate(struct race *r, int round)
{
	const int nids[] = { r->e->n.d2, DEVMEM_NODE_SYSTEM };
	struct devmem_verify v;

	if (try_migrate(r->e->fd, r->p, SIZE, nids[round % 2], DEVMEM_SELF, 0) ||
	    devmem_verify(r->e->fd, r->p, SIZE, DEVMEM_SELF, NULL, 0, &v) ||
	    v.present != N || v.absent || v.swapped)
		return false;

	return step_write(r, round);
}

FIXTURE(race)
{
	struct env e;
};

FIXTURE_VARIANT(race)
{
	/* Return: false when the content isn't what it should be */
	bool (*step)(struct race *r, int round);
};

FIXTURE_VARIANT_ADD(race, write) {
	step_write
};

FIXTURE_VARIANT_ADD(race, remap) {
	step_remap
};

FIXTURE_VARIANT_ADD(race, unmap) {
	step_unmap
};

FIXTURE_VARIANT_ADD(race, drop) {
	step_drop
};

FIXTURE_VARIANT_ADD(race, protect) {
	step_protect
};

FIXTURE_VARIANT_ADD(race, fork) {
	step_fork
};

FIXTURE_VARIANT_ADD(race, migrate) {
	step_migrate
};

FIXTURE_SETUP(race)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
}

FIXTURE_TEARDOWN_PARENT(race)
{
	EXPECT_EQ(0, left(&self->e));
}

/* Both places, to each node in turn, in each manner */
static void *move_around(void *arg)
{
	static const unsigned int how[] = {
		0, DEVMEM_MIGRATE_WHOLE, DEVMEM_MIGRATE_ALL,
		DEVMEM_MIGRATE_SHARED,
	};
	struct race *r = arg;
	const int nids[] = {
		r->e->n.d1, DEVMEM_NODE_SYSTEM, r->e->n.d2, r->e->n.s1,
	};
	char *p = r->p, *other = r->other;
	int i, err;

	for (i = 0; !r->stop; i++) {
		struct devmem_migrate m = { .flags = how[i / 8 % 4] };

		err = devmem_migrate(r->e->fd, i % 2 ? other : p, SIZE,
				     nids[i / 2 % 4], DEVMEM_SELF, &m);
		if (err && !(err == -EBUSY && m.flags == DEVMEM_MIGRATE_ALL))
			r->bad = err;
		r->moved += m.moved;
	}

	return NULL;
}

#define ROUNDS	40

TEST_F(race, race)
{
	struct race r = {
		.e = &self->e,
		.p = map_anon(SIZE),
		.other = map_anon(SIZE),
	};
	time_t end = time(NULL) + 5;
	pthread_t mover;
	int round;

	fill_pages(r.p, SIZE, SEED(0));
	ASSERT_EQ(0, pthread_create(&mover, NULL, move_around, &r));
	for (round = 0; round < ROUNDS || r.moved < 8 * N;) {
		bool ok = variant->step(&r, round++);

		EXPECT_TRUE(ok);
		if (!ok || (round >= ROUNDS / 4 && r.moved >= 2 * N &&
			    !before(end)) || !before(end + 60))
			break;
	}
	r.stop = true;
	ASSERT_EQ(0, pthread_join(mover, NULL));
	TH_LOG("%d rounds, %ld pages moved", round, r.moved);
	EXPECT_TRUE(intact(r.p, SIZE, SEED(round)));
	EXPECT_EQ(0, r.bad);
	EXPECT_LE(ROUNDS / 4, round);
	EXPECT_LE(2 * N, r.moved);
}

/* Signals that are handled: it stops, and goes on from there. */
TEST_F(dev, interrupted)
{
	const size_t size = 32 * MIB;
	const long all = size / PAGE;
	struct devmem_migrate m = { };
	char *p = map_anon(size), *at = p;
	int i, err = 0, stopped = 0;

	fill_pages(p, size, 5);
	ticks(900);
	for (i = 0; i < 1000 && at < p + size; i++) {
		err = devmem_migrate(self->e.fd, at, p + size - at,
				     self->e.n.d1, DEVMEM_SELF, &m);
		EXPECT_TRUE(!err || err == -EINTR);
		EXPECT_EQ((uintptr_t)p + size, m.addr + m.size);
		EXPECT_EQ(!err, !m.size);
		at = (char *)(uintptr_t)m.addr;
		stopped += err == -EINTR;
	}
	ticks(0);
	TH_LOG("stopped %d times", stopped);
	EXPECT_EQ(0, err);
	EXPECT_LT(0, stopped);
	EXPECT_EQ(all, (long)(m.moved + m.busy + m.pinned));
	EXPECT_EQ((long)m.moved, on_node(p, size, self->e.n.d1));
	EXPECT_TRUE(intact(p, size, 5));
}

/* Until both have moved a number of pages, or the time is over */
static void pull(const struct env *e, char *p, int pidfd, int nid,
		 atomic_long *mine, atomic_long *others)
{
	time_t end = time(NULL) + 60;

	while (before(end) && (*mine < 8 * N || *others < 8 * N)) {
		struct devmem_migrate m = { };

		if (devmem_migrate(e->fd, p, SIZE, nid, pidfd, &m))
			_exit(2);
		if (m.moved + m.there + m.busy + m.pinned != N)
			_exit(3);
		*mine += m.moved;
	}
	_exit(0);
}

/* Two processes that want it at different places */
TEST_F(dev, opposite_directions)
{
	const struct env *e = &self->e;
	const int nids[] = { e->n.d1, DEVMEM_NODE_SYSTEM };
	atomic_long *moved = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	pid_t holder, pids[2];
	int i, pidfd, status;
	char *p;

	holder = start_holder(make_anon, SIZE, 3, &p);
	ASSERT_LT(0, holder);
	pidfd = pidfd_of(holder, 0);
	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (!pids[i])
			pull(e, p, pidfd, nids[i], moved + i, moved + !i);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_LT(N, moved[i]);
	}
	TH_LOG("%ld one way, %ld the other", moved[0], moved[1]);
	EXPECT_EQ(N, others_on_node(holder, p, SIZE, e->n.d1) +
		     others_on_node(holder, p, SIZE, e->n.s0) +
		     others_on_node(holder, p, SIZE, e->n.s1));
	EXPECT_EQ(0, end_holder(holder));
}

/* -- Everything on the same descriptors --------------------------------------------- */

#define SLOTS		8
#define FIRST_SLOT	100
#define MIXERS		4

struct mixer {
	const struct env *e;
	unsigned int seed;
	atomic_bool stop;
	long done[12];		/* of each kind, those that did something */
};

static int slot(struct mixer *m)
{
	return FIRST_SLOT + next_random(&m->seed) % SLOTS;
}

static bool mix_alloc(struct mixer *m)
{
	static const unsigned int flags[] = {
		0, DEVMEM_ALLOC_CONTIG, DEVMEM_ALLOC_HUGE, DEVMEM_ALLOC_EXACT,
	};
	const struct nodes *n = &m->e->n;
	unsigned int r = next_random(&m->seed);
	int buf = devmem_alloc(m->e->fd, r & 1 ? n->d1 : n->d2,
			       r & 2 ? HUGE : 2 * HUGE, flags[r / 4 % 4], 0);

	if (buf < 0)
		return false;
	dup2(buf, slot(m));
	close(buf);

	return true;
}

static bool mix_close(struct mixer *m)
{
	return !close(slot(m));
}

/* Whose it is, changes under it, but a mapping has what it was made of. */
static char *mix_map(struct mixer *m)
{
	char *p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, slot(m),
		       0);

	return p == MAP_FAILED ? NULL : p;
}

static bool mix_touch(struct mixer *m)
{
	char *p = mix_map(m);

	if (!p)
		return false;
	memset(p, 1, next_random(&m->seed) % HUGE);
	munmap(p + PAGE, PAGE);
	p[2 * PAGE] = 2;
	munmap(p, HUGE);

	return true;
}

static bool mix_remap(struct mixer *m)
{
	char *p = mix_map(m), *to;

	if (!p)
		return false;
	to = mremap(p + PAGE, 4 * PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	if (to != MAP_FAILED) {
		to[PAGE] = 1;
		munmap(to, 2 * PAGE);
	}
	mprotect(p, PAGE, PROT_READ);
	munmap(p, HUGE);

	return to != MAP_FAILED;
}

static bool mix_fork(struct mixer *m)
{
	char *p = mix_map(m);
	pid_t pid;

	if (!p)
		return false;
	*p = 1;
	pid = fork();
	if (!pid) {
		p[PAGE]++;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	munmap(p, HUGE);

	return pid > 0;
}

static bool mix_sync(struct mixer *m)
{
	struct dma_buf_sync sync = {
		.flags = DMA_BUF_SYNC_RW | (m->seed & 4 ? DMA_BUF_SYNC_END : 0),
	};

	return !ioctl(slot(m), DMA_BUF_IOCTL_SYNC, &sync);
}

static bool mix_name(struct mixer *m)
{
	return !ioctl(slot(m), DMA_BUF_SET_NAME_A, m->seed & 4 ? "a" : "b\nc");
}

static bool mix_fdinfo(struct mixer *m)
{
	char path[64], text[512];
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", slot(m));
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text));
	close(fd);

	return len > 0;
}

static bool mix_peek(struct mixer *m)
{
	int mem = open("/proc/self/mem", O_RDWR);
	char *p = mix_map(m), c = 1;
	bool done = false;

	if (p) {
		done = pread(mem, &c, 1, (off_t)(p + PAGE)) == 1 &&
		       pwrite(mem, &c, 1, (off_t)(p + HUGE - 1)) == 1;
		munmap(p, HUGE);
	}
	close(mem);

	return done;
}

/* A buffer in the middle of a range that moves */
static bool mix_migrate(struct mixer *m)
{
	const struct nodes *n = &m->e->n;
	char *p = map_anon(3 * HUGE);
	bool done;

	if (!p)
		return false;
	memset(p, 1, 4 * PAGE);
	mmap(p + HUGE, HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, slot(m), 0);
	done = !try_migrate(m->e->fd, p, 2 * HUGE, m->seed & 4 ? n->d1 :
			    DEVMEM_NODE_SYSTEM, DEVMEM_SELF, 0) &&
	       !try_verify(m->e->fd, p, 2 * HUGE, DEVMEM_SELF);
	munmap(p, 3 * HUGE);

	return done;
}

static bool mix_watch(struct mixer *m)
{
	return !devmem_watch(m->e->fd, m->e->n.d1, m->seed & 4 ? PAGE : 0,
			     -1) && ready(m->e->fd, 0) >= 0;
}

static void *mix(void *arg)
{
	static bool (* const kinds[])(struct mixer *m) = {
		mix_alloc, mix_alloc, mix_close, mix_touch, mix_remap, mix_fork,
		mix_sync, mix_name, mix_fdinfo, mix_peek, mix_migrate, mix_watch,
	};
	struct mixer *m = arg;

	while (!m->stop) {
		unsigned int kind = next_random(&m->seed) % 12;

		m->done[kind] += kinds[kind](m);
	}

	return NULL;
}

/* Threads that close, and open again, what the others are using */
TEST_F(dev, mixed)
{
	struct mixer m[MIXERS] = { };
	pthread_t threads[MIXERS];
	long done;
	int i, k;

	ticks(3000);
	for (i = 0; i < MIXERS; i++) {
		m[i].e = &self->e;
		m[i].seed = 1 + i;
		pthread_create(&threads[i], NULL, mix, &m[i]);
	}
	for (i = 0; i < 600; i++)
		usleep(10000);
	for (i = 0; i < MIXERS; i++)
		m[i].stop = true;
	for (i = 0; i < MIXERS; i++)
		pthread_join(threads[i], NULL);
	ticks(0);
	for (k = 0; k < 12; k++) {
		for (i = 0, done = 0; i < MIXERS; i++)
			done += m[i].done[k];
		EXPECT_LT(0, done) {
			TH_LOG("kind %d", k);
		}
	}
	for (i = 0; i < SLOTS; i++)
		close(FIRST_SLOT + i);
	EXPECT_EQ(0, node_left(self->e.n.d1));
	EXPECT_EQ(0, node_left(self->e.n.d2));
}

/* -- A node that goes away ---------------------------------------------------------- */

#define SPARE_START	0x20000000UL
#define SPARE_SIZE	(128 * MIB)

FIXTURE(gone)
{
	struct env e;
	int nid;
};

FIXTURE_VARIANT(gone)
{
	bool removed;		/* not only its memory */
};

FIXTURE_VARIANT_ADD(gone, offline) {
};

FIXTURE_VARIANT_ADD(gone, removed) {
	.removed = true,
};

/* All memory blocks of a node. Return: whether it was done */
static bool set_blocks(int nid, const char *state)
{
	char command[192];

	snprintf(command, sizeof(command),
		 "for b in /sys/devices/system/node/node%d/memory[0-9]*; do\n"
		 "[ $(cat $b/state) = %s ] || echo %s >$b/state || exit 1\n"
		 "done 2>/dev/null", nid, state, state);

	return !system(command);
}

static bool try_set(int nid, bool removed, bool there)
{
	int err;

	if (!removed)
		return set_blocks(nid, there ? "online" : "offline");
	err = testmod("%s %d %#lx %#lx", there ? "add" : "remove", nid,
		      SPARE_START, SPARE_SIZE);

	return !err || err == (there ? -EEXIST : -ENOENT);
}

/* A page that is just on its way can be in the way of it. */
static bool set_there(int nid, bool removed, bool there)
{
	int i;

	for (i = 0; i < 50 && !try_set(nid, removed, there); i++)
		usleep(20000);

	return i < 50;
}

/* A node that is possible, and a hole in the memory for it; or -1 */
static int spare_node(void)
{
	int all[MAX_NODES], there[MAX_NODES];
	int n = read_node_list("possible", all);
	int m = read_node_list("has_memory", there);

	if (n != m + 1 || testmod_load() ||
	    system("grep -qi '^ *20000000-27ffffff : Reserved' /proc/iomem"))
		return -1;

	return all[n - 1];
}

FIXTURE_SETUP(gone)
{
	if (!find_nodes(&self->e.n) || getuid())
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
	self->nid = variant->removed ? spare_node() : self->e.n.d2;
	if (self->nid < 0)
		SKIP(return, "needs a spare node and 128 MiB at 512 MiB");
	/* What the first time leaves behind for the next isn't lost. */
	ASSERT_TRUE(set_there(self->nid, variant->removed, true));
	if (variant->removed)
		ASSERT_TRUE(set_there(self->nid, true, false));
	ASSERT_TRUE(set_up(&self->e));
	ASSERT_TRUE(set_there(self->nid, variant->removed, true));
}

FIXTURE_TEARDOWN_PARENT(gone)
{
	EXPECT_TRUE(set_there(self->nid, variant->removed, !variant->removed));
	EXPECT_EQ(0, left(&self->e));
}

static long buffers_of(int nid)
{
	char path[96];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/buffers", nid);

	return read_number(path);
}

/* Without memory, and in a cpuset of all nodes, it isn't a node. */
TEST_F(gone, calls)
{
	const struct env *e = &self->e;
	struct waiter w = {
		.fd = open(DEV, O_RDWR),
		.ms = 20000,
	};
	const int nid = self->nid, event = eventfd(0, 0);
	struct devmem_info info;
	pthread_t thread;
	int buf;

	/* A buffer can't be taken away. */
	buf = devmem_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_FALSE(try_set(nid, variant->removed, false));
	close(buf);
	EXPECT_EQ(0, try_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0));

	/* Who waits in either way hears that there is nothing to wait for. */
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, nid, DEVMEM_SELF, 0));
	ASSERT_EQ(0, devmem_watch(w.fd, nid, node_bytes(nid), event));
	EXPECT_EQ(0, ready(event, 200));
	thread = start_waiter(&w);
	ASSERT_TRUE(set_there(nid, variant->removed, false));
	pthread_join(thread, NULL);
	EXPECT_EQ(POLLERR, w.got);
	EXPECT_EQ(POLLIN, ready(event, 2000));
	EXPECT_EQ(-ENODEV, try_alloc(e->fd, nid, SIZE, 0, 0));
	EXPECT_EQ(-ENODEV, try_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0));
	EXPECT_EQ(-ENODEV, try_migrate(e->fd, e->p, SIZE, nid, DEVMEM_SELF, 0));
	EXPECT_EQ(0, try_alloc(e->fd, DEVMEM_NODE_NEAREST, SIZE, 0, 0));
	EXPECT_EQ(variant->removed, no_device(e, nid));
	if (!variant->removed) {
		EXPECT_EQ(0, devmem_info(e->fd, nid, DEVMEM_INFO_RUNS, &info));
		EXPECT_EQ(0, (long)info.size);
		EXPECT_EQ(0, (long)info.free);
		EXPECT_EQ(0, (long)info.largest_obtainable);
	}

	ASSERT_TRUE(set_there(nid, variant->removed, true));
	EXPECT_EQ(0, buffers_of(nid));
	EXPECT_EQ(0, devmem_watch(w.fd, nid, PAGE, -1));
	EXPECT_EQ(POLLIN, ready(w.fd, 2000));
	EXPECT_EQ(0, try_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0));
	EXPECT_EQ(0, try_migrate(e->fd, e->p, SIZE, nid, DEVMEM_SELF, 0));
	EXPECT_TRUE(placed(e->p, SIZE, nid, 1));
}

/* All of the calls, over and over; the node is there or it isn't. */
static void use_node(const struct env *e, int nid, atomic_long *done)
{
	struct devmem_info info;
	int i, k;

	for (i = 0; ; i++) {
		const int got[] = {
			devmem_info(e->fd, nid, 0, &info),
			devmem_info(e->fd, nid, DEVMEM_INFO_RUNS, &info),
			try_alloc(e->fd, nid, PAGE, DEVMEM_ALLOC_EXACT, 0),
			try_alloc(e->fd, nid, MIB, DEVMEM_ALLOC_EXACT |
				  DEVMEM_ALLOC_CONTIG, 0),
			devmem_watch(e->fd, nid, PAGE, -1),
			try_migrate(e->fd, e->p, SIZE, i % 2 ? nid :
				    DEVMEM_NODE_SYSTEM, DEVMEM_SELF, 0),
		};

		/* In the moment in between, its cpuset doesn't have it yet. */
		for (k = 0; k < 6; k++)
			if (got[k] && got[k] != -ENODEV && got[k] != -ENOMEM &&
			    got[k] != -EACCES)
				_exit(2 + k);
		done[got[2] ? 1 : 0]++;
		if (!intact(e->p, SIZE, 1))
			_exit(1);
	}
}

TEST_F(gone, while_used)
{
	atomic_long *done = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS,
					      -1);
	const int nid = self->nid;
	time_t end = time(NULL) + 5;
	int i, status, times = 0;
	pid_t pids[2];

	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			self->e.fd = open(DEV, O_RDWR);
			use_node(&self->e, nid, done);
		}
	}
	/* Until each has happened */
	for (i = 0; before(end + 60); i++) {
		if ((i >= 20 || !before(end)) && times && done[0] && done[1])
			break;
		times += set_there(nid, variant->removed, false);
		usleep(i % 20 * 1000);
		EXPECT_TRUE(set_there(nid, variant->removed, true));
		usleep(i % 20 * 1000);
	}
	for (i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(SIGKILL, status);
	}
	TH_LOG("%d times gone; %ld rounds with the node, %ld without", times,
	       done[0], done[1]);
	EXPECT_LT(0, times);
	EXPECT_LT(0, done[0]);
	EXPECT_LT(0, done[1]);
	EXPECT_TRUE(intact(self->e.p, SIZE, 1));
}

/* Only asks, on each CPU: no number is of a node that isn't there. */
static void ask_node(const struct env *e, int nid, int cpu, atomic_long *done)
{
	const unsigned long long most = node_bytes(nid);
	struct devmem_info info;
	int i, err;

	run_on(cpu);
	for (i = 0; ; i++) {
		err = devmem_info(e->fd, nid, 0, &info);
		if (err && err != -ENODEV)
			_exit(2);
		if (!err && info.free > most)
			_exit(3);
		done[!err]++;
		err = devmem_watch(e->fd, nid, PAGE, -1);
		if (err && err != -ENODEV)
			_exit(4);
		if (ready(e->fd, 0) & ~(POLLIN | POLLERR))
			_exit(5);
		/* The others are full; one that goes is no reason to end. */
		err = i % 64 ? 0 : try_alloc(e->fd, DEVMEM_NODE_NEAREST, MIB, 0,
					     0);
		if (err && err != -ENOMEM)
			_exit(6);
	}
}

/* All that is free of it. Return: a descriptor */
static int fill_up(const struct env *e, int nid)
{
	struct devmem_info info;

	return devmem_info(e->fd, nid, 0, &info) ? -1 :
	       devmem_alloc(e->fd, nid, info.free, DEVMEM_ALLOC_EXACT, 0);
}

TEST_F(gone, while_asked)
{
	atomic_long *done = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS,
					      -1);
	const int nid = self->nid, nr = sysconf(_SC_NPROCESSORS_ONLN);
	time_t end = time(NULL) + 5;
	int i, status, times = 0;
	pid_t pids[64];

	ASSERT_GE(64, nr);
	ASSERT_LE(0, fill_up(&self->e, self->e.n.d1));
	if (nid != self->e.n.d2)
		ASSERT_LE(0, fill_up(&self->e, self->e.n.d2));
	for (i = 0; i < nr; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			self->e.fd = open(DEV, O_RDWR);
			ask_node(&self->e, nid, i, done);
		}
	}
	for (i = 0; before(end + 60); i++) {
		if ((i >= 20 || !before(end)) && times && done[1] &&
		    (done[0] || !variant->removed))
			break;
		times += set_there(nid, variant->removed, false);
		usleep(i % 20 * 1000);
		EXPECT_TRUE(set_there(nid, variant->removed, true));
	}
	for (i = 0; i < nr; i++) {
		kill(pids[i], SIGKILL);
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(SIGKILL, status);
	}
	TH_LOG("%d times gone; asked %ld times with the node, %ld without",
	       times, done[1], done[0]);
	EXPECT_LT(0, times);
	EXPECT_LT(0, done[1]);
	if (variant->removed)
		EXPECT_LT(0, done[0]);
}

TEST_HARNESS_MAIN
