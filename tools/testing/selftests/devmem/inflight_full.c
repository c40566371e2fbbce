// SPDX-License-Identifier: GPL-2.0
/*
 * Who has no room while /dev/devmem moves pages: system memory that is full, a
 * device that is, a contiguous range that can't be.
 *
 * Invariant 4: nobody is killed, or told of an error, for a page that moves.
 * Invariant 5: nothing is lost.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/inflight.h"
#include "../kselftest_harness.h"

TEST_F_TIMEOUT(inflight, leaving_a_device_kills_nobody, PATIENCE)
{
	const size_t size = 110 * MIB;
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_ALL };
	char *p = map_anon(size);
	long kills;
	pid_t hog;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 1);
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	kills = vm_event("oom_kill");
	hog = start_hog(48 * MIB);
	ASSERT_LT(0, hog);
	/* All of it can't: that is known beforehand. */
	EXPECT_EQ(-ENOMEM, devmem_migrate(self->fd, p, size, DEVMEM_NODE_SYSTEM,
					  DEVMEM_SELF, &m));
	EXPECT_EQ(0, m.moved);
	EXPECT_LT(0, m.no_room);
	EXPECT_LT(0, move_range(self->fd, p, size, DEVMEM_NODE_SYSTEM, &m));
	EXPECT_LT(0, m.no_room);
	EXPECT_EQ((long)(size / PAGE), sum_of(&m));
	EXPECT_EQ(kills, vm_event("oom_kill"));
	EXPECT_EQ(0, waitpid(hog, NULL, WNOHANG));
	end_hog(hog);
	EXPECT_TRUE(intact(p, size, 1));
	munmap(p, size);
}

/*
 * A contiguous request for which those who are there can't leave: it fails at
 * once, and they stay, whatever its size.
 */
TEST_F_TIMEOUT(inflight, contiguous_that_cannot_be_displaces_nobody, PATIENCE)
{
	const size_t size = self->size - 16 * MIB;
	char *p = map_anon(size);
	long displaced, kills;
	pid_t hog;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 1);
	displaced = vm_event("coherent_displaced");
	kills = vm_event("oom_kill");
	hog = start_hog(40 * MIB);
	ASSERT_LT(0, hog);
	for (size_t want = 80 * MIB; want < self->size; want += 16 * MIB)
		EXPECT_EQ(-ENOMEM,
			  devmem_alloc(self->fd, self->n.d1, want,
				       DEVMEM_ALLOC_CONTIG |
				       DEVMEM_ALLOC_EXACT, 0));
	EXPECT_EQ(displaced, vm_event("coherent_displaced"));
	EXPECT_EQ(kills, vm_event("oom_kill"));
	end_hog(hog);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	munmap(p, size);
}

/*
 * Room there is, but all over the node are pages that a pipe holds: no place is
 * tried, and those in between stay.
 */
TEST_F_TIMEOUT(inflight, contiguous_leaves_alone_what_is_held, PATIENCE)
{
	const size_t size = self->size - 8 * MIB, apart = size / 16;
	char *p = map_anon(size);
	struct iovec iov;
	long displaced;
	int fds[2];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 1);
	ASSERT_EQ(0, pipe(fds));
	for (size_t at = apart / 2; at < size; at += apart) {
		iov = (struct iovec){ p + at, PAGE };
		ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	}
	displaced = vm_event("coherent_displaced");
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, size / 2,
					DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
					0));
	EXPECT_EQ(displaced, vm_event("coherent_displaced"));
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	close(fds[0]);
	close(fds[1]);
	munmap(p, size);
}

/* Off the device, over and over; how often, in @rounds */
static void *leave_on(void *arg)
{
	int fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	struct nodes n;
	struct writer *w = arg;
	struct devmem_migrate m;

	if (fd < 0 || !find_nodes(&n))
		return NULL;
	while (!atomic_load(w->stop)) {
		madvise(w->p, w->pages * PAGE, MADV_DONTNEED);
		memset(w->p, 1, w->pages * PAGE);
		move_range(fd, w->p, w->pages * PAGE, n.s0, &m);
		w->rounds++;
	}
	close(fd);

	return NULL;
}

/*
 * All of the device but for the pages that somebody else just got. What leaves it
 * at the moment is neither free nor on a list, and no reason to say that there
 * isn't enough.
 */
TEST_F_TIMEOUT(inflight, contiguous_counts_what_leaves, PATIENCE)
{
	const size_t size = 32 * MIB;
	atomic_bool stop = false;
	long refused = 0, got = 0;
	struct writer w;
	char *p;

	p = map_anon(size);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_PREFERRED, NODE(self->n.d1),
				 0));
	ASSERT_TRUE(start(&w, 1, leave_on, p, size / PAGE, &stop));
	for (int i = 0; i < 40; i++) {
		int err = testmod("contig %d %ld 1", self->n.d1,
				  (long)(self->size - 2 * MIB) / (long)PAGE);

		got += !err;
		refused += err == -ENOMEM;
		testmod("free");
		usleep(2000);
	}
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	EXPECT_LT(0, w.rounds);
	EXPECT_EQ(0, refused);
	EXPECT_LT(0, got);
	munmap(p, size);
}

/* Room there is, but in the middle is one that nobody can move. */
TEST_F_TIMEOUT(inflight, contiguous_says_why, PATIENCE)
{
	const size_t size = self->size / 2;
	int flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT;
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { };
	struct sigaction sa = { .sa_handler = on_alarm };
	int first, fd;

	first = devmem_alloc(self->fd, self->n.d1, size, flags, 0);
	ASSERT_LE(0, first);
	ASSERT_EQ(0, testmod("alloc %d 0 1", self->n.d1));
	close(first);
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1,
					self->size - MIB, flags, 0));
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, self->size + MIB,
					flags, 0));
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	fd = devmem_alloc(self->fd, self->n.d1, self->size - MIB, flags, 0);
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_TRUE(fd == -EINTR || fd == -ENOMEM) TH_LOG("%d", fd);
}

TEST_HARNESS_MAIN
