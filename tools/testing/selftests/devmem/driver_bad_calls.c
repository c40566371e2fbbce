// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, bad input: what all five calls have in common, and node ids.
 *
 * Invariant 8: every flag, size, number and pointer that isn't defined, nodes
 * that aren't there or not allowed: the errno that the documentation promises,
 * and nothing has changed.
 *
 * What is refused differs in one thing from what is asked for as a control, and
 * works. After each test, not one page of the device nodes is in use, and not
 * one file is open that wasn't before.
 *
 * Proof that it can fail: it found that a node without memory was one that the
 * cpuset forbids.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver_bad.h"
#include "../kselftest_harness.h"

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
		0, 1, 2, 3, 7, 4096, MAX_PAGE, HUGE, INT_MAX, INT_MIN, UINT_MAX,
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
	EXPECT_EQ(0, try_migrate(self->e.fd, NULL, user_end() - PAGE,
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

TEST_HARNESS_MAIN
