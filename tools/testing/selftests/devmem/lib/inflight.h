/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs inflight_*.c share: ranges that move, and who is busy
 * meanwhile.
 */
#ifndef DEVMEM_INFLIGHT_H
#define DEVMEM_INFLIGHT_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_util.h"
#include "../../kselftest_harness.h"

#define PAGES		512L
#define SIZE		(PAGES * PAGE)

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

static inline double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Return: pages that moved, or -errno; all counts in @m */
static inline long move_range(int fd, char *p, size_t size, int nid,
			      struct devmem_migrate *m)
{
	int err;

	*m = (struct devmem_migrate){ };
	err = devmem_migrate(fd, p, size, nid, DEVMEM_SELF, m);

	return err ? err : (long)m->moved;
}

static inline long sum_of(const struct devmem_migrate *m)
{
	return m->moved + m->there + m->absent + m->shared + m->pinned +
	       m->file + m->no_room + m->busy + m->unmovable;
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

static inline atomic_long *counter(const struct writer *w, long page)
{
	return (atomic_long *)(w->p + page * PAGE) + w->nr;
}

static inline void *write_on(void *arg)
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

static inline bool start(struct writer *w, long nr, void *(*work)(void *),
			 char *p, long pages, atomic_bool *stop)
{
	*w = (struct writer){ .p = p, .pages = pages, .nr = nr, .stop = stop };

	return !pthread_create(&w->thread, NULL, work, w);
}

/* Return: counters of it that aren't what it counted */
static inline long end(struct writer *w)
{
	long wrong = 0;

	atomic_store(w->stop, true);
	pthread_join(w->thread, NULL);
	for (long i = 0; i < w->pages; i++)
		wrong += *counter(w, i) != w->rounds;

	return wrong;
}

struct mapper {
	pthread_t thread;
	atomic_bool stop;
	double longest;
	long rounds;
};

static inline void *map_on(void *arg)
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

static inline void on_alarm(int sig)
{
	(void)sig;
}

static inline long available(void)
{
	return meminfo_kb("MemAvailable") << 10;
}

/* A process that leaves so much of the system's memory; the first victim */
static inline pid_t start_hog(long leave)
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

static inline void end_hog(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif /* DEVMEM_INFLIGHT_H */
