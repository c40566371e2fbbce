// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, bad input: ranges to be moved or looked at, and whose they are.
 *
 * Invariant 8: ranges, flags, arrays and processes that aren't there or aren't
 * one's own: the errno that the documentation promises, and nothing has
 * changed.
 *
 * What is refused differs in one thing from what is asked for as a control, and
 * works. After each test, not one page of the device nodes is in use, and not
 * one file is open that wasn't before.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver_bad.h"
#include "../kselftest_harness.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif

#define NOBODY	65534

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
	EXPECT_EQ(0, devmem_verify(fd, NULL, user_end() - PAGE, DEVMEM_SELF,
				   NULL, 0, &v));
	EXPECT_LE(N, (long)v.present);
	EXPECT_EQ(user_end() / PAGE - 1, v.present + v.absent + v.swapped +
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
	const __u64 odd[] = { 1, PAGE - 1, PAGE + 1, ULLONG_MAX };
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

TEST_HARNESS_MAIN
