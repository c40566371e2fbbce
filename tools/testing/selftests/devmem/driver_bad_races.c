// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, hostile use: bad moments.
 *
 * Invariant 5: processes that are killed, exit, exec, fork, unmap or move the
 * other way while a range moves: what is still mapped is readable. After each
 * test, not one page of the device nodes is in use, and not one file is open
 * that wasn't before. Each race counts what it did, and fails when it did
 * nothing.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver_bad.h"
#include "../kselftest_harness.h"

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
	if (try_verify(v->e->fd, NULL, user_end() - PAGE,
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

#include "lib/race_steps.h"

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

TEST_HARNESS_MAIN
