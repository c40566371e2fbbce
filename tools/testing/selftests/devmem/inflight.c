// SPDX-License-Identifier: GPL-2.0
/*
 * Who else is there while /dev/devmem moves pages: threads that write to them, a
 * device or a cgroup that is full otherwise, somebody who holds one page, a
 * device that mirrors them, fork() and mremap(), a timer.
 *
 * Invariant 4: nobody is killed, or told of an error, for a page that moves.
 * Invariant 5: nothing is lost. And what is counted adds up to the range.
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
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_util.h"
#include "../kselftest_harness.h"

#define PAGES		512L
#define SIZE		(PAGES * PAGE)
#define MAX_THREADS	8
#define MIRRORED	"/sys/kernel/debug/device_coherent_test/mirrored"

FIXTURE(inflight)
{
	struct nodes n;
	size_t size;	/* of a device */
	int fd;
};

FIXTURE_SETUP(inflight)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	ASSERT_EQ(0, testmod_load());
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
	self->size = node_bytes(self->n.d1);
}

FIXTURE_TEARDOWN(inflight)
{
	if (self->fd < 0)
		return;
	testmod("free");
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Return: pages that moved, or -errno; all counts in @m */
static long move_range(int fd, char *p, size_t size, int nid,
		       struct devmem_migrate *m)
{
	int err;

	*m = (struct devmem_migrate){ };
	err = devmem_migrate(fd, p, size, nid, DEVMEM_SELF, m);

	return err ? err : (long)m->moved;
}

static long sum_of(const struct devmem_migrate *m)
{
	return m->moved + m->there + m->absent + m->shared + m->pinned +
	       m->file + m->no_room + m->busy + m->unmovable;
}

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

/* A thread that counts in each page, in a place of its own */
struct writer {
	pthread_t thread;
	char *p;
	long pages;
	long nr;
	long rounds;
	long errors;
	atomic_bool *stop;
};

static atomic_long *counter(const struct writer *w, long page)
{
	return (atomic_long *)(w->p + page * PAGE) + w->nr;
}

static void *write_on(void *arg)
{
	struct writer *w = arg;

	run_on(w->nr % sysconf(_SC_NPROCESSORS_ONLN));
	while (!atomic_load(w->stop)) {
		for (long i = 0; i < w->pages; i++)
			atomic_fetch_add(counter(w, i), 1);
		w->rounds++;
		sched_yield();
	}

	return NULL;
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

static bool start(struct writer *w, long nr, void *(*work)(void *), char *p,
		  long pages, atomic_bool *stop)
{
	*w = (struct writer){ .p = p, .pages = pages, .nr = nr, .stop = stop };

	return !pthread_create(&w->thread, NULL, work, w);
}

/* Return: counters of it that aren't what it counted */
static long end(struct writer *w)
{
	long wrong = 0;

	atomic_store(w->stop, true);
	pthread_join(w->thread, NULL);
	for (long i = 0; i < w->pages; i++)
		wrong += *counter(w, i) != w->rounds;

	return wrong;
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
	char *p;		/* PAGES of it, with their numbers */
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
			bool ok = intact(m->p, SIZE, 1);

			/* Its copies, while the parent's move */
			fill_pages(m->p, SIZE, 3);
			_exit(!ok || !intact(m->p, SIZE, 3));
		}
		m->wrong += pid < 0 || waitpid(pid, &status, 0) != pid ||
			    status;
		m->wrong += !intact(m->p, SIZE, 1);
		m->rounds++;
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
	struct meddler m = { .stop = &stop };
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

TEST_F_TIMEOUT(inflight, mremap_finds_all, PATIENCE)
{
	struct meddler m = { };

	m.p = map_anon(SIZE);
	m.other = map_anon(SIZE);
	ASSERT_NE(NULL, m.p);
	ASSERT_NE(NULL, m.other);
	fill_pages(m.p, SIZE, 1);
	move_under(_metadata, self->fd, &self->n, &m, remap_on, 200);
	EXPECT_TRUE(intact(m.p, SIZE / 2, 1));
	munmap(m.p, SIZE);
	munmap(m.other, SIZE);
}

TEST_F_TIMEOUT(inflight, pages_that_change_places_stay_themselves, PATIENCE)
{
	struct meddler m = { };

	m.p = map_anon(SIZE);
	m.other = map_anon(SIZE);
	ASSERT_NE(NULL, m.p);
	ASSERT_NE(NULL, m.other);
	fill_pages(m.p, SIZE, 1);
	move_under(_metadata, self->fd, &self->n, &m, swap_on, 200);
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

struct mapper {
	pthread_t thread;
	atomic_bool stop;
	double longest;
	long rounds;
};

static void *map_on(void *arg)
{
	struct mapper *m = arg;
	double begin, took;

	while (!atomic_load(&m->stop)) {
		begin = seconds();
		munmap(map_anon(PAGE), PAGE);
		took = seconds() - begin;
		if (took > m->longest)
			m->longest = took;
		m->rounds++;
		usleep(1000);
	}

	return NULL;
}

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

/* -- Who holds one page ---------------------------------------------------- */

/* In pieces of a page, and as many pages as are wanted */
static char *fragment(int nid, long pages)
{
	long i, filled = node_bytes(nid) / PAGE;
	char *p = map_anon(filled * PAGE);

	if (!p || mbind_nodes(p, filled * PAGE, MPOL_BIND, NODE(nid), 0))
		return NULL;
	/* Every 16th page is the module's, which nobody can move. */
	for (i = 0; i < filled - filled / 16 - 64; i++) {
		p[i * PAGE] = 1;
		if (i % 16 == 15 && testmod("alloc %d 0 1 1", nid))
			return NULL;
	}
	if (testmod("fill %d", nid))
		return NULL;
	/* From the middle: where each piece is in another place */
	madvise(p + 4096 * PAGE, pages * PAGE, MADV_DONTNEED);
	drain_lists();

	return p;
}

static char *map_thp(size_t size)
{
	char *p = map_huge(size);

	if (!p || madvise(p, size, MADV_HUGEPAGE))
		return NULL;
	fill_pages(p, size, 1);
	if (folio_pages(p) == HUGE / PAGE)
		return p;
	munmap(p, size);

	return NULL;
}

TEST_F_TIMEOUT(inflight, a_held_huge_page_stays_alone, PATIENCE)
{
	const long huge = HUGE / PAGE, all = 4 * huge;
	struct devmem_migrate m;
	struct iovec iov;
	char *filler, *p;
	int fds[2];

	p = map_thp(4 * HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	filler = fragment(self->n.d1, 2 * all);
	ASSERT_NE(NULL, filler);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 5 * PAGE, PAGE };
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(all - huge, move_range(self->fd, p, 4 * HUGE, self->n.d1, &m));
	EXPECT_EQ(0, m.no_room);
	EXPECT_EQ(huge, m.busy + m.pinned);
	EXPECT_EQ(all - huge, on_node(p, 4 * HUGE, self->n.d1));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(huge, move_range(self->fd, p, 4 * HUGE, self->n.d1, &m));
	EXPECT_TRUE(placed(p, 4 * HUGE, self->n.d1, 1));
	munmap(p, 4 * HUGE);
	munmap(filler, self->size);
}

/*
 * A huge page that is to move as a whole, and that somebody holds, so that it is
 * tried over and over. Its target is kept meanwhile, or another one would get it,
 * and the page be split after all: it is allocated once.
 */
TEST_F_TIMEOUT(inflight, whole_keeps_its_target, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
	const long huge = HUGE / PAGE;
	struct iovec iov;
	long before;
	int fds[2];
	char *p;

	p = map_thp(HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 5 * PAGE, PAGE };
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	before = vm_event("pgalloc_coherent");
	EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(huge, m.busy + m.pinned);
	EXPECT_EQ(before + huge, vm_event("pgalloc_coherent"));
	EXPECT_EQ(huge, folio_pages(p));
	close(fds[0]);
	close(fds[1]);
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_WHOLE };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(huge, m.moved);
	EXPECT_EQ(huge, folio_pages(p));
	EXPECT_TRUE(placed(p, HUGE, self->n.d1, 1));
	munmap(p, HUGE);
}

/* Small ones: what is written goes on to be what the pipe gives. */
TEST_F_TIMEOUT(inflight, a_held_page_stays, PATIENCE)
{
	struct devmem_migrate m;
	char *p = map_anon(SIZE), got[8] = "";
	struct iovec iov;
	int fds[2];

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	drain_lists();
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 100 * PAGE + 64, sizeof(got) };
	ASSERT_EQ((ssize_t)sizeof(got), vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(PAGES - 1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_EQ(1, m.busy + m.pinned);
	EXPECT_EQ(PAGES - 1, on_node(p, SIZE, self->n.d1));
	memcpy(p + 100 * PAGE + 64, "written", sizeof(got));
	EXPECT_EQ((ssize_t)sizeof(got), read(fds[0], got, sizeof(got)));
	EXPECT_STREQ("written", got);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
}

/*
 * Who reads pages that can't be written pins them. GUP without the lock of the
 * page table has to see that they move, or the mover has to see the pin; a debug
 * kernel looks whether they are still the mapping's own.
 */
static void *pin_on(void *arg)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT);
	struct writer *w = arg;
	char *copy;

	copy = map_anon(w->pages * PAGE);
	while (fd >= 0 && copy && !atomic_load(w->stop)) {
		ssize_t size = w->pages * PAGE;

		w->errors += pwrite(fd, w->p, size, 0) != size ||
			     pread(fd, copy, size, 0) != size ||
			     !intact(copy, size, 1);
		w->rounds++;
	}
	close(fd);

	return NULL;
}

TEST_F_TIMEOUT(inflight, a_pin_for_reading, PATIENCE)
{
	const long pages = 64;
	atomic_bool stop = false;
	struct devmem_migrate m;
	struct writer w;
	long moved = 0, n;
	char *p;

	if (access("/dev/ram0", W_OK))
		SKIP(return, "no RAM disk");
	p = map_anon(pages * PAGE);
	ASSERT_NE(NULL, p);
	fill_pages(p, pages * PAGE, 1);
	drain_lists();
	ASSERT_EQ(0, mprotect(p, pages * PAGE, PROT_READ));
	ASSERT_TRUE(start(&w, 1, pin_on, p, pages, &stop));
	for (int i = 0; i < 500; i++) {
		n = move_range(self->fd, p, pages * PAGE,
			       i % 2 ? self->n.s0 : self->n.d1, &m);
		moved += n > 0 ? n : 0;
	}
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.errors);
	EXPECT_LT(0, w.rounds);
	EXPECT_LT(pages, moved);
	munmap(p, pages * PAGE);
}

/* -- What is counted ------------------------------------------------------- */

/* Ranges of two huge pages, in pages, and how much the target takes */
static const struct {
	long first;
	long pages;
	long room;
} shapes[] = {
	{ 511, 513, 1024 }, { 511, 513, 512 }, { 511, 513, 600 },
	{ 511, 513, 100 }, { 511, 513, 0 }, { 0, 1, 300 }, { 0, 513, 700 },
	{ 100, 200, 150 }, { 100, 800, 1000 }, { 511, 2, 2 },
};

static bool counts_add_up(int fd, const struct nodes *n, char *p, int i)
{
	long first = shapes[i].first, pages = shapes[i].pages, moved;
	struct devmem_migrate m;
	char *filler = fragment(n->d1, shapes[i].room);
	bool ok;

	if (!filler)
		return false;
	moved = move_range(fd, p + first * PAGE, pages * PAGE, n->d1, &m);
	ok = sum_of(&m) == pages && intact(p, 2 * HUGE, 1) &&
	     moved == on_node(p + first * PAGE, pages * PAGE, n->d1);
	if (!ok)
		ksft_print_msg("%d: of %ld, moved %ld (%ld), %lld %lld %lld\n",
			       i, pages, moved,
			       on_node(p + first * PAGE, pages * PAGE, n->d1),
			       m.no_room, m.busy, m.pinned);
	munmap(filler, node_bytes(n->d1));
	testmod("free");

	return ok;
}

TEST_F_TIMEOUT(inflight, counts_of_huge_pages_add_up, PATIENCE)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		char *p = map_thp(2 * HUGE);

		if (!p)
			SKIP(return, "no huge pages");
		EXPECT_TRUE(counts_add_up(self->fd, &self->n, p, i));
		munmap(p, 2 * HUGE);
	}
}

/* A large folio that is met again after another one */
TEST_F_TIMEOUT(inflight, counts_of_mixed_pages_add_up, PATIENCE)
{
	struct devmem_migrate m;
	char *a, *b;

	a = map_thp(HUGE);
	b = map_thp(HUGE);
	if (!a || !b)
		SKIP(return, "no huge pages");
	/* Every other page of the first is one of the second now. */
	for (long i = 0; i < PAGES; i += 2)
		ASSERT_EQ(a + i * PAGE,
			  mremap(b + i * PAGE, PAGE, PAGE, MREMAP_MAYMOVE |
				 MREMAP_FIXED, a + i * PAGE));
	EXPECT_EQ(PAGES, move_range(self->fd, a, HUGE, self->n.d1, &m));
	EXPECT_EQ(PAGES, sum_of(&m));
	if (m.moved != PAGES) {
		TH_LOG("%lld busy, %lld shared, %lld no_room, %lld there",
		       m.busy, m.shared, m.no_room, m.there);
	}
	EXPECT_EQ(PAGES, on_node(a, HUGE, self->n.d1));
	munmap(a, HUGE);
	munmap(b, HUGE);
}

/* What succeeds was refused nothing: the last pages, some in CPUs' lists. */
TEST_F_TIMEOUT(inflight, nothing_is_refused_in_between, PATIENCE)
{
	struct devmem_migrate m;
	char *p, *filler;
	long before;

	p = map_anon(SIZE);
	filler = map_anon(self->size - SIZE);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, filler);
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, mbind_nodes(filler, self->size - SIZE, MPOL_BIND,
				 NODE(self->n.d1), 0));
	memset(filler, 1, self->size - SIZE);
	before = vm_event("coherent_refused");
	for (int i = 0; i < 20; i++) {
		run_on(i / 2 % 2);
		ASSERT_EQ(PAGES, move_range(self->fd, p, SIZE, i % 2 ?
					    self->n.s0 : self->n.d1, &m));
	}
	EXPECT_EQ(before, vm_event("coherent_refused"));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	munmap(filler, self->size - SIZE);
}

/* -- Who is told ----------------------------------------------------------- */

/* A device that mirrors the range hears of what moves, and of nothing else. */
TEST_F_TIMEOUT(inflight, a_mirror_hears_of_what_moves, PATIENCE)
{
	struct devmem_migrate m;
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	drain_lists();
	if (testmod("mirror 1"))
		SKIP(return, "no MMU notifiers");
	ASSERT_EQ(0, move_range(self->fd, p, SIZE, self->n.s0, &m));
	EXPECT_EQ(0, number_in(MIRRORED, "calls"));
	ASSERT_EQ(1, move_range(self->fd, p + 7 * PAGE, PAGE, self->n.d1, &m));
	EXPECT_EQ(1, number_in(MIRRORED, "pages"));
	ASSERT_EQ(PAGES - 1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_GE(1 + PAGES, number_in(MIRRORED, "pages"));
	EXPECT_GE(4, number_in(MIRRORED, "calls"));
	testmod("mirror 0");
	munmap(p, SIZE);
}

/* Where somebody has to be told first, there are two looks at each page. */
TEST_F_TIMEOUT(inflight, a_mirrored_range_loses_no_write, PATIENCE)
{
	struct devmem_migrate m;
	atomic_bool stop = false;
	long moved = 0, n;
	struct writer w;
	char *p;

	p = map_anon(SIZE);
	ASSERT_NE(NULL, p);
	memset(p, 0, SIZE);
	if (testmod("mirror 1"))
		SKIP(return, "no MMU notifiers");
	ASSERT_TRUE(start(&w, 1, write_on, p, PAGES, &stop));
	for (int i = 0; i < 60; i++) {
		n = move_range(self->fd, p, SIZE, i % 2 ? self->n.s0 :
							  self->n.d1, &m);
		moved += n > 0 ? n : 0;
		EXPECT_EQ(PAGES, sum_of(&m));
	}
	EXPECT_EQ(0, end(&w));
	EXPECT_LE(20 * PAGES, moved);
	EXPECT_LT(0, number_in(MIRRORED, "calls"));
	testmod("mirror 0");
	munmap(p, SIZE);
}

/* Interrupts of the kind so far, of all CPUs */
static long interrupts_of(const char *name)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[1024], *at;
	long sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		at = strstr(line, name);
		if (!at || strspn(line, " ") != (size_t)(at - line))
			continue;
		for (at += strlen(name);; ) {
			char *next;
			long n = strtol(at, &next, 10);

			if (next == at)
				break;
			sum += n;
			at = next;
		}
	}
	if (f)
		fclose(f);

	return sum;
}

static void *look_on(void *arg)
{
	struct writer *w = arg;

	run_on(1);
	while (!atomic_load(w->stop))
		for (long i = 0; i < w->pages; i++)
			w->errors += atomic_load((atomic_char *)w->p +
						 i * PAGE) & 1;

	return NULL;
}

/* The range there and back, while another CPU has its translations */
static long shootdowns(int fd, const struct nodes *n, char *p, size_t size,
		       bool by_move_pages)
{
	long before = interrupts_of("TLB:");
	struct devmem_migrate m;
	int status;

	for (int i = 0; i < 4; i++) {
		int nid = i % 2 ? n->s0 : n->d1;

		if (by_move_pages)
			move(p, size, nid, &status);
		else
			move_range(fd, p, size, nid, &m);
	}

	return interrupts_of("TLB:") - before;
}

TEST_F_TIMEOUT(inflight, as_few_shootdowns_as_move_pages, PATIENCE)
{
	const size_t size = 32 * MIB;
	atomic_bool stop = false;
	struct writer w;
	long ours, theirs;
	char *p;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	p = map_huge(size);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	fill_pages(p, size, 2);
	drain_lists();
	run_on(0);
	ASSERT_TRUE(start(&w, 1, look_on, p, size / PAGE, &stop));
	usleep(20000);
	theirs = shootdowns(self->fd, &self->n, p, size, true);
	ours = shootdowns(self->fd, &self->n, p, size, false);
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	/* Some are others', and one that finds no translations isn't counted. */
	EXPECT_GE(theirs + theirs / 4 + 16, ours) {
		TH_LOG("%ld for %ld", ours, theirs);
	}
	/* One flush for two page tables, if somebody waits, or for four */
	EXPECT_GE(2 * (long)(size / HUGE) + 16, ours);
	munmap(p, size);
}

/* -- Who is interrupted ---------------------------------------------------- */

static void on_alarm(int sig)
{
	(void)sig;
}

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

/* -- Who has no room ------------------------------------------------------- */

static long available(void)
{
	return meminfo_kb("MemAvailable") << 10;
}

/* A process that leaves so much of the system's memory; the first victim */
static pid_t start_hog(long leave)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		set_oom_score(1000);
		while (available() > leave)
			memset(map_anon(MIB), 1, MIB);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(ready[0]);

	return pid;
}

static void end_hog(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

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

/* -- How long: by the count of instructions, on one CPU ----------------------- */

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
	double then, time;
	long page = 0;

	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		return NULL;
	while (!atomic_load(&u->stop)) {
		then = seconds() + 0.0001;
		usleep(100);
		time = seconds();
		u->late = time - then > u->late ? time - then : u->late;
		/* A stride that comes by all of the pages */
		page = (page + 3001) % (u->pages + !u->pages);
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
