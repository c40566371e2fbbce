// SPDX-License-Identifier: GPL-2.0
/*
 * How long others wait while /dev/devmem moves pages, by the count of
 * instructions on one CPU: not longer than with move_pages(), and no longer for
 * more pages.
 *
 * Invariant 4: who asks for much, and who frees it, keeps nobody from going on.
 *
 * Wants --icount, two system nodes, a device node of 512 MB and another one;
 * see "plan".
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/inflight.h"
#include "../kselftest_harness.h"

/*
 * While a page of the program is read from the host, nothing runs, and the clock
 * of instructions jumps to the next timer, which may be the harness's.
 */
__attribute__((constructor)) static void read_the_program(void)
{
	if (!mlockall(MCL_CURRENT))
		munlockall();
}

FIXTURE(cost)
{
	struct nodes n;
	size_t size;	/* of the device */
	int fd;
};

FIXTURE_SETUP(cost)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid() ||
	    node_bytes(self->n.d1) < 500 * MIB)
		SKIP(return, "needs two system nodes, a device of 512 MB and another");
	ASSERT_EQ(0, testmod_load());
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
	self->size = node_bytes(self->n.d1);
}

FIXTURE_TEARDOWN(cost)
{
	if (self->fd < 0)
		return;
	testmod("free");
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* A realtime thread that wants a page, or just to run, often */
struct urgent {
	pthread_t thread;
	char *p;
	long pages;
	double late;
	double waited;
	long rounds;
	atomic_bool stop;
};

static void *hurry_on(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	struct urgent *u = arg;
	unsigned int seed = 1;
	double then, time;
	long page;

	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		return NULL;
	while (!atomic_load(&u->stop)) {
		then = seconds() + 0.0001;
		usleep(100);
		time = seconds();
		u->late = time - then > u->late ? time - then : u->late;
		/* Any stride may keep in step with what moves. */
		page = rand_r(&seed) % (u->pages + !u->pages);
		if (u->pages)
			atomic_fetch_add((atomic_char *)u->p + page * PAGE, 0);
		then = time;
		time = seconds();
		u->waited = time - then > u->waited ? time - then : u->waited;
		u->rounds++;
	}

	return NULL;
}

static bool hurry(struct urgent *u, char *p, long pages)
{
	*u = (struct urgent){ .p = p, .pages = pages };

	return !pthread_create(&u->thread, NULL, hurry_on, u);
}

static void calm_down(struct urgent *u)
{
	atomic_store(&u->stop, true);
	pthread_join(u->thread, NULL);
}

/* A batch is larger than move_pages' is; who waits doesn't wait for all of it. */
TEST_F_TIMEOUT(cost, nobody_waits_longer_than_with_move_pages, PATIENCE)
{
	const size_t size = 32 * MIB;
	double longest[2] = { };
	struct devmem_migrate m;
	int status;
	char *p;

	p = map_anon(size);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	fill_pages(p, size, 1);
	drain_lists();
	for (int i = 0; i < 8; i++) {
		int nid = i % 2 ? self->n.s0 : self->n.d1, at_once = i / 2 % 2;
		struct urgent u;

		ASSERT_TRUE(hurry(&u, p, size / PAGE));
		if (at_once)
			move_range(self->fd, p, size, nid, &m);
		else
			move(p, size, nid, &status);
		calm_down(&u);
		EXPECT_LT(0, u.rounds);
		if (u.waited > longest[at_once])
			longest[at_once] = u.waited;
	}
	TH_LOG("%.0f us, %.0f with move_pages", longest[1] * 1e6,
	       longest[0] * 1e6);
	EXPECT_GE(longest[0], longest[1]);
	munmap(p, size);
}

/* What is freed is of many pages; who has to run runs meanwhile. */
TEST_F_TIMEOUT(cost, freeing_keeps_nobody_waiting, PATIENCE)
{
	struct urgent u;
	int fd;

	fd = devmem_alloc(self->fd, self->n.d1, self->size - 8 * MIB,
			  DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(hurry(&u, NULL, 0));
	usleep(5000);
	u.late = 0;
	close(fd);
	calm_down(&u);
	TH_LOG("%.0f us late", u.late * 1e6);
	EXPECT_GT(0.0005, u.late);
}

/*
 * A fault that finds the device full waits for another thread that may have got
 * the page. Who maps and unmaps doesn't wait for that.
 */
TEST_F_TIMEOUT(cost, a_full_device_holds_no_lock, PATIENCE)
{
	int zero = open("/dev/zero", O_RDONLY);
	struct mapper mapper = { };
	char *p = map_anon(PAGE);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, PAGE, MPOL_BIND, NODE(self->n.d1), 0));
	ASSERT_EQ(0, testmod("fill %d", self->n.d1));
	ASSERT_EQ(0, pthread_create(&mapper.thread, NULL, map_on, &mapper));
	usleep(5000);
	for (int i = 0; i < 20; i++)
		EXPECT_GT(0, read(zero, p, 64));
	atomic_store(&mapper.stop, true);
	pthread_join(mapper.thread, NULL);
	TH_LOG("%.0f us", mapper.longest * 1e6);
	EXPECT_GT(0.007, mapper.longest);
	close(zero);
	munmap(p, PAGE);
}

/* Return: seconds that it took, the result in @fd */
static double time_contig(int devmem, int nid, size_t size, int *fd)
{
	double begin = seconds();

	*fd = devmem_alloc(devmem, nid, size,
			   DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);

	return seconds() - begin;
}

/*
 * Three sizes. What has to leave for them does, each page once; where it can't,
 * a look is all that there is time for.
 */
TEST_F_TIMEOUT(cost, contiguous_takes_linear_time, PATIENCE)
{
	static const size_t sizes[] = { 100 * MIB, 200 * MIB, 400 * MIB };
	const size_t size = self->size - 16 * MIB;
	double took, per_page[3];
	char *p = map_anon(size);
	long moved;
	pid_t hog;
	int fd;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	for (int i = 0; i < 3; i++) {
		fill_pages(p, size, 1);
		drain_lists();
		moved = vm_event("coherent_displaced");
		took = time_contig(self->fd, self->n.d1, sizes[i], &fd);
		ASSERT_LE(0, fd);
		moved = vm_event("coherent_displaced") - moved;
		ASSERT_LT(0, moved);
		per_page[i] = took / moved;
		close(fd);
		ASSERT_EQ(0, madvise(p, size, MADV_DONTNEED));
	}
	TH_LOG("%.0f, %.0f, %.0f ns for each page that left", per_page[0] * 1e9,
	       per_page[1] * 1e9, per_page[2] * 1e9);
	EXPECT_GE(1.25 * per_page[0], per_page[1]);
	EXPECT_GE(1.25 * per_page[0], per_page[2]);

	fill_pages(p, size, 1);
	drain_lists();
	hog = start_hog(64 * MIB);
	ASSERT_LT(0, hog);
	moved = vm_event("coherent_displaced");
	for (int i = 0; i < 3; i++) {
		took = time_contig(self->fd, self->n.d1, sizes[i], &fd);
		EXPECT_EQ(-ENOMEM, fd);
		EXPECT_GE(300.0 * (self->size / PAGE), took * 1e9)
			TH_LOG("%f s", took);
	}
	EXPECT_EQ(moved, vm_event("coherent_displaced"));
	end_hog(hog);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	munmap(p, size);
}

TEST_HARNESS_MAIN
