// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, bad input and hostile use: waiting for room.
 *
 * Invariant 8: descriptors that can't be signalled, amounts that no node has,
 * as many watches as there may be: the errno that the documentation promises. A
 * watch that is replaced, ended or closed under somebody who waits is over.
 *
 * What is refused differs in one thing from what is asked for as a control, and
 * works. After each test, not one page of the device nodes is in use, and not
 * one file is open that wasn't before.
 *
 * Proof that it can fail: it found that waiting for ULLONG_MAX bytes was over
 * at once.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver_bad.h"
#include "../kselftest_harness.h"

/* -- Many, and limits ----------------------------------------------------------- */

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

TEST_HARNESS_MAIN
