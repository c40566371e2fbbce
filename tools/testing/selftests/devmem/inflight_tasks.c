// SPDX-License-Identifier: GPL-2.0
/*
 * Who else is there while /dev/devmem moves pages: threads that write to them,
 * fork() and mremap(), somebody who is killed, userfaultfd, mmap(), a timer.
 *
 * Invariant 4: nobody is killed, or told of an error, for a page that moves.
 * Invariant 5: nothing is lost.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/inflight.h"
#include "../kselftest_harness.h"

#define MAX_THREADS	8

/* A range that has to be on the device, and is */
static char *map_bound(size_t size, int nid)
{
	char *p = map_anon(size);

	if (!p || mbind_nodes(p, size, MPOL_BIND, NODE(nid), 0))
		return NULL;
	fill_pages(p, size, 1);
	drain_lists();

	return p;
}

/* -- Writers --------------------------------------------------------------- */

static atomic_long sigbus;

static void on_sigbus(int sig)
{
	(void)sig;
	/* Again and again: it will never be there. */
	if (atomic_fetch_add(&sigbus, 1) > 100000)
		_exit(KSFT_FAIL);
}

static void count_sigbus(void)
{
	struct sigaction sa = { .sa_handler = on_sigbus };

	atomic_store(&sigbus, 0);
	sigaction(SIGBUS, &sa, NULL);
}

static void *read_zeroes(void *arg)
{
	int zero = open("/dev/zero", O_RDONLY);
	struct writer *w = arg;

	while (!atomic_load(w->stop)) {
		for (long i = 0; i < w->pages; i++)
			w->errors += read(zero, w->p + i * PAGE + PAGE / 2,
					  64) != 64;
		w->rounds++;
		sched_yield();
	}
	close(zero);

	return NULL;
}

/*
 * A range bound to a device that is full but for it. What leaves, makes room
 * that somebody else may take.
 */
TEST_F_TIMEOUT(inflight, a_writer_is_not_killed_on_a_full_device, PATIENCE)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), wrong = 0, moved = 0, n;
	struct writer w[MAX_THREADS];
	struct devmem_migrate m;
	atomic_bool stop = false;
	char *p;

	cpus = cpus < MAX_THREADS ? cpus : MAX_THREADS;
	p = map_bound(SIZE, self->n.d1);
	ASSERT_NE(NULL, p);
	memset(p, 0, SIZE);
	ASSERT_EQ(0, testmod("fill %d", self->n.d1));
	count_sigbus();
	for (long i = 0; i < cpus; i++)
		ASSERT_TRUE(start(&w[i], i, write_on, p, PAGES, &stop));
	for (int i = 0; i < 60; i++) {
		n = move_range(self->fd, p, SIZE,
			       i % 2 ? self->n.d1 : self->n.s0, &m);
		moved += n > 0 ? n : 0;
		EXPECT_EQ(PAGES, sum_of(&m));
	}
	for (long i = 0; i < cpus; i++)
		wrong += end(&w[i]);
	EXPECT_EQ(0, atomic_load(&sigbus));
	EXPECT_EQ(0, wrong);
	EXPECT_LE(20 * PAGES, moved);
	signal(SIGBUS, SIG_DFL);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(inflight, a_system_call_gets_no_error, PATIENCE)
{
	struct devmem_migrate m;
	atomic_bool stop = false;
	struct writer w;
	char *p;

	p = map_bound(SIZE, self->n.d1);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, testmod("fill %d", self->n.d1));
	ASSERT_TRUE(start(&w, 0, read_zeroes, p, PAGES, &stop));
	for (int i = 0; i < 60; i++)
		move_range(self->fd, p, SIZE, i % 2 ? self->n.d1 : self->n.s0,
			   &m);
	end(&w);
	EXPECT_EQ(0, w.errors);
	EXPECT_LT(0, w.rounds);
	munmap(p, SIZE);
}

/* No page is left of what CPUs have charged in advance. */
static void set_tight_limit(void)
{
	for (int i = 0; i < 4; i++) {
		cg_write("memory.max", "%d",
			 (int)read_number(CG "/memory.current"), 0);
		usleep(20000);
	}
}

/* In a child: it may be the victim. */
static int write_at_the_limit(int fd, const struct nodes *n)
{
	struct devmem_migrate m;
	atomic_bool stop = false;
	struct writer w[2];
	char *p;

	if (!cg_enter("memory"))
		return KSFT_SKIP;
	p = map_anon(SIZE);
	if (!p)
		return 1;
	memset(p, 0, SIZE);
	cg_write("memory.swap.max", "%d", 0, 0);
	for (int i = 0; i < 2; i++)
		if (!start(&w[i], i, write_on, p, PAGES, &stop))
			return 2;
	/* Else they would get the first page of their stacks at the limit. */
	for (int i = 0; i < 2; i++)
		while (!*counter(&w[i], PAGES - 1))
			usleep(1000);
	set_tight_limit();
	for (int i = 0; i < 100; i++)
		move_range(fd, p, SIZE, i % 2 ? n->s0 : n->d1, &m);

	return end(&w[0]) || end(&w[1]) ? 3 : 0;
}

TEST_F_TIMEOUT(inflight, a_group_at_its_limit_has_no_victim, PATIENCE)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(write_at_the_limit(self->fd, &self->n));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no cgroup v2 with the memory controller");
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, number_in(CG "/memory.events", "oom_kill"));
	rmdir(CG);
}

/* -- Meanwhile ------------------------------------------------------------- */

/* What others do to an address space whose pages move */
struct meddler {
	pthread_t thread;
	char *p;		/* @size of it, with the numbers of the pages */
	size_t size;
	char *other;		/* as much room */
	long rounds;
	long wrong;
	atomic_bool *stop;
};

static void *fork_on(void *arg)
{
	struct meddler *m = arg;
	int status;
	pid_t pid;

	while (!atomic_load(m->stop)) {
		pid = fork();
		if (!pid) {
			bool ok = intact(m->p, m->size, 1);

			/* Its copies, while the parent's move */
			fill_pages(m->p, m->size, 3);
			_exit(!ok || !intact(m->p, m->size, 3));
		}
		m->wrong += pid < 0 || waitpid(pid, &status, 0) != pid ||
			    status;
		m->wrong += !intact(m->p, m->size, 1);
		m->rounds++;
		/* Alone, its pages can move; for longer each time */
		usleep(m->rounds * 137 % 3000);
	}

	return NULL;
}

/* Half of it goes away and comes back; a page is mapped anew. */
static void *remap_on(void *arg)
{
	char *half, *page;
	struct meddler *m = arg;

	while (!atomic_load(m->stop)) {
		half = mremap(m->p, SIZE / 2, SIZE / 2,
			      MREMAP_MAYMOVE | MREMAP_FIXED, m->other);
		m->wrong += half != m->other || !intact(half, SIZE / 2, 1);
		half = mremap(m->other, SIZE / 2, SIZE / 2,
			      MREMAP_MAYMOVE | MREMAP_FIXED, m->p);
		m->wrong += half != m->p || !intact(m->p, SIZE / 2, 1);
		page = m->p + (PAGES / 2 + m->rounds % 64) * PAGE;
		m->wrong += madvise(page, PAGE, MADV_DONTNEED) || *page;
		m->wrong += mprotect(page, 2 * PAGE, PROT_READ) ||
			    mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE);
		m->rounds++;
	}

	return NULL;
}

static bool put_page_to(char *from, char *to)
{
	return mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

/* Pages change places, and change them back: each entry is another one's. */
static void *swap_on(void *arg)
{
	struct meddler *m = arg;
	char *a, *b;

	while (!atomic_load(m->stop)) {
		a = m->p + m->rounds * 7 % (PAGES - 1) * PAGE;
		b = a + PAGE;
		for (int i = 0; i < 2; i++)
			m->wrong += !put_page_to(a, m->other) ||
				    !put_page_to(b, a) ||
				    !put_page_to(m->other, b);
		m->wrong += !intact(m->p, SIZE, 1);
		m->rounds++;
	}

	return NULL;
}

static long move_meanwhile(int fd, const struct nodes *n, char *p, int rounds)
{
	struct devmem_migrate m;
	long moved = 0, got;

	for (int i = 0; i < rounds; i++) {
		got = move_range(fd, p, SIZE, i % 2 ? n->s0 : n->d1, &m);
		moved += got > 0 ? got : 0;
	}

	return moved;
}

/* Moves the range of a meddler, who is right about it all the time. */
static void move_under(struct __test_metadata *_metadata, int fd,
		       const struct nodes *n, struct meddler *m,
		       void *(*meddle)(void *), int rounds)
{
	atomic_bool stop = false;

	m->stop = &stop;
	ASSERT_EQ(0, pthread_create(&m->thread, NULL, meddle, m));
	EXPECT_LT(PAGES, move_meanwhile(fd, n, m->p, rounds));
	atomic_store(&stop, true);
	pthread_join(m->thread, NULL);
	EXPECT_EQ(0, m->wrong);
	EXPECT_LT(0, m->rounds);
}

TEST_F_TIMEOUT(inflight, fork_finds_all, PATIENCE)
{
	atomic_bool stop = false;
	struct meddler m = { .size = SIZE, .stop = &stop };
	long moved;
	int tries;

	m.p = map_anon(SIZE);
	ASSERT_NE(NULL, m.p);
	fill_pages(m.p, SIZE, 1);
	ASSERT_EQ(0, pthread_create(&m.thread, NULL, fork_on, &m));
	/* What a child shares stays, so it takes some rounds more or less. */
	for (tries = 0, moved = 0; tries < 50 && moved <= PAGES; tries++)
		moved += move_meanwhile(self->fd, &self->n, m.p, 100);
	atomic_store(&stop, true);
	pthread_join(m.thread, NULL);
	EXPECT_EQ(0, m.wrong);
	EXPECT_LT(0, m.rounds);
	EXPECT_LT(PAGES, moved);
	munmap(m.p, SIZE);
}

/* A process that takes what a device has left, and gives it back */
static pid_t start_rival(int nid, size_t size)
{
	pid_t pid = fork();
	char *p;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p = map_anon(size);
	if (!p || madvise(p, size, MADV_NOHUGEPAGE) ||
	    mbind_nodes(p, size, MPOL_PREFERRED, NODE(nid), 0))
		_exit(1);
	for (;;) {
		memset(p, 1, size);
		madvise(p, size, MADV_DONTNEED);
	}
}

/*
 * What has lost its place on the device comes back; into two processes, if there
 * was a fork() in between. Then it is nobody's alone any more, whatever it was
 * when it was taken: who writes to it writes to a copy. The range is so large
 * that the rival takes the place of its end while its beginning moves, and that
 * there is time for a fork().
 */
TEST_F_TIMEOUT(inflight, what_comes_back_is_shared, PATIENCE)
{
	atomic_bool stop = false;
	struct meddler m = { .size = 8 * MIB, .stop = &stop };
	struct devmem_migrate moved;
	long no_room = 0;
	pid_t rival;
	int i, rest;

	m.p = map_anon(m.size);
	ASSERT_NE(NULL, m.p);
	ASSERT_EQ(0, madvise(m.p, m.size, MADV_NOHUGEPAGE));
	rest = devmem_alloc(self->fd, self->n.d1,
			    self->size - m.size - MIB, DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, rest);
	rival = start_rival(self->n.d1, 6 * MIB);
	ASSERT_LT(0, rival);
	/* Not before: the rival would share it. */
	fill_pages(m.p, m.size, 1);
	ASSERT_EQ(0, pthread_create(&m.thread, NULL, fork_on, &m));
	for (i = 0; i < 10000 && (i < 1000 || m.rounds < 100); i++) {
		EXPECT_LE(0, move_range(self->fd, m.p, m.size,
					i % 2 ? self->n.s0 : self->n.d1,
					&moved));
		no_room += moved.no_room;
	}
	atomic_store(&stop, true);
	pthread_join(m.thread, NULL);
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
	TH_LOG("%d times, %ld pages without a place, %ld forks", i, no_room,
	       m.rounds);
	EXPECT_EQ(0, m.wrong);
	EXPECT_LE(100, m.rounds);
	EXPECT_LT(0, no_room);
	close(rest);
	munmap(m.p, m.size);
}

/* With a second area, to or with which @how brings pages of the first one */
static void move_two_under(struct __test_metadata *_metadata, int fd,
			   const struct nodes *n, struct meddler *m,
			   void *(*how)(void *))
{
	m->p = map_anon(SIZE);
	m->other = map_anon(SIZE);
	ASSERT_NE(NULL, m->p);
	ASSERT_NE(NULL, m->other);
	fill_pages(m->p, SIZE, 1);
	move_under(_metadata, fd, n, m, how, 200);
}

TEST_F_TIMEOUT(inflight, mremap_finds_all, PATIENCE)
{
	struct meddler m = { };

	move_two_under(_metadata, self->fd, &self->n, &m, remap_on);
	EXPECT_TRUE(intact(m.p, SIZE / 2, 1));
	munmap(m.p, SIZE);
	munmap(m.other, SIZE);
}

TEST_F_TIMEOUT(inflight, pages_that_change_places_stay_themselves, PATIENCE)
{
	struct meddler m = { };

	move_two_under(_metadata, self->fd, &self->n, &m, swap_on);
	munmap(m.p, SIZE);
	munmap(m.other, SIZE);
}

/* Gives pages back and takes others, again and again. */
static void *zap_on(void *arg)
{
	struct meddler *m = arg;

	while (!atomic_load(m->stop)) {
		for (long i = 0; i < PAGES; i++) {
			m->wrong += madvise(m->p + i * PAGE, PAGE,
					    MADV_DONTNEED) || m->p[i * PAGE];
			m->p[i * PAGE] = 1;
		}
		m->rounds++;
	}

	return NULL;
}

/* Pages that are locked now. Return: -1 if nobody knows */
static long locked_pages(void)
{
	FILE *f = fopen("/proc/kpageflags", "r");
	uint64_t flags[512];
	long nr = 0;
	size_t got;

	if (!f)
		return -1;
	while ((got = fread(flags, sizeof(*flags), ARRAY_SIZE(flags), f)))
		for (size_t i = 0; i < got; i++)
			nr += !!(flags[i] & BIT(KPF_LOCKED));
	fclose(f);

	return nr;
}

/*
 * Who unmaps a page that has just been mapped at its new place frees it: nobody
 * may touch it from then on, be it to unlock it.
 */
TEST_F_TIMEOUT(inflight, a_zapped_page_is_left_alone, PATIENCE)
{
	struct meddler m = { };
	int tries;

	m.p = map_anon(SIZE);
	ASSERT_NE(NULL, m.p);
	fill_pages(m.p, SIZE, 1);
	move_under(_metadata, self->fd, &self->n, &m, zap_on, 300);
	munmap(m.p, SIZE);
	/* Who has locked one for a reason lets go. */
	for (tries = 0; tries < 50 && locked_pages() > 0; tries++)
		usleep(100000);
	EXPECT_EQ(0, locked_pages());
}

static char *make_range(void)
{
	return map_anon(16 * MIB);
}

/* The process whose pages move is killed. */
TEST_F_TIMEOUT(inflight, a_killed_process_leaves_nothing, PATIENCE)
{
	for (int i = 0; i < 10; i++) {
		struct devmem_migrate m = { };
		pid_t pid, killer;
		char *p;
		int fd;

		pid = start_holder(make_range, 16 * MIB, 1, &p);
		ASSERT_LT(0, pid);
		fd = syscall(SYS_pidfd_open, pid, 0);
		ASSERT_LE(0, fd);
		killer = fork();
		if (!killer) {
			usleep(i * 2000);
			kill(pid, SIGKILL);
			_exit(0);
		}
		devmem_migrate(self->fd, p, 16 * MIB, self->n.d1, fd, &m);
		waitpid(killer, NULL, 0);
		waitpid(pid, NULL, 0);
		close(fd);
	}
}

/* Nobody asks a handler of missing pages for one that moves. */
TEST_F_TIMEOUT(inflight, userfaultfd_hears_nothing, PATIENCE)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct pollfd poll_for = { .fd = uffd, .events = POLLIN };
	atomic_bool stop = false;
	struct writer w;
	char *p;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd");
	p = map_anon(SIZE);
	ASSERT_NE(NULL, p);
	memset(p, 0, SIZE);
	reg.range = (struct uffdio_range){ (unsigned long)p, SIZE };
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	ASSERT_TRUE(start(&w, 0, write_on, p, PAGES, &stop));
	EXPECT_LT(PAGES, move_meanwhile(self->fd, &self->n, p, 60));
	EXPECT_EQ(0, poll(&poll_for, 1, 0));
	close(uffd);
	EXPECT_EQ(0, end(&w));
	munmap(p, SIZE);
}

/* Two threads want the last page of a device, for the same address. */
struct racer {
	pthread_t thread;
	pthread_barrier_t *both;
	char *p;
	int rounds;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	run_on(1);
	for (int i = 0; i < r->rounds; i++) {
		pthread_barrier_wait(r->both);
		atomic_store((atomic_char *)r->p, 1);
		pthread_barrier_wait(r->both);
	}

	return NULL;
}

TEST_F_TIMEOUT(inflight, the_last_page_is_enough_for_two, PATIENCE)
{
	struct racer r = { .rounds = 300 };
	pthread_barrier_t both;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	r.p = map_bound(PAGE, self->n.d1);
	ASSERT_NE(NULL, r.p);
	ASSERT_EQ(0, testmod("fill %d", self->n.d1));
	count_sigbus();
	pthread_barrier_init(&both, NULL, 2);
	r.both = &both;
	run_on(0);
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, race, &r));
	for (int i = 0; i < r.rounds; i++) {
		madvise(r.p, PAGE, MADV_DONTNEED);
		drain_lists();
		pthread_barrier_wait(&both);
		atomic_store((atomic_char *)r.p, 1);
		pthread_barrier_wait(&both);
	}
	pthread_join(r.thread, NULL);
	EXPECT_EQ(0, atomic_load(&sigbus));
	signal(SIGBUS, SIG_DFL);
	munmap(r.p, PAGE);
}

/* -- Who waits ------------------------------------------------------------- */

/* A realtime thread that leaves its CPU to nobody */
static void *spin_on(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	atomic_bool *stop = arg;

	run_on(1);
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		return NULL;
	while (!atomic_load(stop))
		;

	return NULL;
}

/*
 * A page waits in a batch of that CPU's. To drain it takes as long as the kernel
 * lets the realtime thread run; others of the process must not wait for that.
 */
TEST_F_TIMEOUT(inflight, mmap_waits_for_no_drain, PATIENCE)
{
	struct mapper mapper = { };
	struct devmem_migrate m;
	atomic_bool stop = false;
	pthread_t spinner;
	char *p;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	p = map_anon(SIZE);
	ASSERT_NE(NULL, p);
	ASSERT_TRUE(run_on(0));
	fill_pages(p, SIZE, 1);
	drain_lists();
	ASSERT_TRUE(run_on(1));
	madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED);
	p[8 * PAGE] = 1;
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(0, pthread_create(&spinner, NULL, spin_on, &stop));
	ASSERT_EQ(0, pthread_create(&mapper.thread, NULL, map_on, &mapper));
	usleep(50000);
	EXPECT_EQ(PAGES, move_range(self->fd, p, SIZE, self->n.d1, &m));
	atomic_store(&mapper.stop, true);
	pthread_join(mapper.thread, NULL);
	atomic_store(&stop, true);
	pthread_join(spinner, NULL);
	EXPECT_GT(0.4, mapper.longest) TH_LOG("%f s", mapper.longest);
	munmap(p, SIZE);
}

/* -- Who is interrupted ---------------------------------------------------- */

/* It looks ahead once, whatever the timer does; each call moves something. */
TEST_F_TIMEOUT(inflight, all_goes_on_after_signals, PATIENCE)
{
	struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { };
	struct sigaction sa = { .sa_handler = on_alarm };
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_ALL };
	const size_t size = 64 * MIB;
	char *p = map_anon(size);
	long calls = 0;
	int ret;

	ASSERT_NE(NULL, p);
	fill_pages(p, size, 1);
	drain_lists();
	sigaction(SIGALRM, &sa, NULL);
	m.addr = (unsigned long)p;
	m.size = size;
	m.node = self->n.d1;
	m.pidfd = DEVMEM_SELF;
	setitimer(ITIMER_REAL, &often, NULL);
	do {
		ret = devmem_call(self->fd, DEVMEM_IOC_MIGRATE, &m);
	} while (ret == -EINTR && ++calls < 1000);
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ(0, ret);
	EXPECT_GE((long)(size / HUGE) + 2, calls);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	munmap(p, size);
}

/* What an earlier call has counted says nothing of this one. */
TEST_F_TIMEOUT(inflight, all_looks_whatever_was_counted, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_ALL };
	int program = open("/proc/self/exe", O_RDONLY);
	char *p = map_anon(SIZE), *file;

	ASSERT_NE(NULL, p);
	ASSERT_LE(0, program);
	fill_pages(p, SIZE, 1);
	drain_lists();
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE / 2, self->n.d1,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES / 2, m.moved);
	EXPECT_EQ(DEVMEM_MIGRATE_ALL, m.flags);
	/* The last page is of a file, and can't go. */
	file = mmap(p + SIZE - PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED,
		    program, 0);
	ASSERT_EQ(p + SIZE - PAGE, file);
	EXPECT_NE(0, atomic_load((atomic_char *)file));
	EXPECT_EQ(-EBUSY, devmem_migrate(self->fd, p + SIZE / 2, SIZE / 2,
					 self->n.d1, DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
	close(program);
}

TEST_HARNESS_MAIN
