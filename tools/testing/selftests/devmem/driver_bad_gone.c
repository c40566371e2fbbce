// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem, hostile use: a node that goes offline or away, before a call,
 * while it is used, and while it is asked for.
 *
 * Invariant 8: an error that says so, and nothing has changed. Invariant 4: who
 * has its memory, or waits for it, isn't left behind. After each test, not one
 * page of the device nodes is in use, and not one file is open that wasn't
 * before.
 *
 * Wants two system nodes and two device nodes, and a hole in the memory for a
 * further one; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
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

#define SPARE_START	spare_start()
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

/* A node that is possible, and there is memory for it; or -1 */
static int spare_node(void)
{
	int all[MAX_NODES], there[MAX_NODES];
	int n = read_node_list("possible", all);
	int m = read_node_list("has_memory", there);

	if (n != m + 1 || testmod_load() || !SPARE_START)
		return -1;

	return all[n - 1];
}

FIXTURE_SETUP(gone)
{
	if (!find_nodes(&self->e.n) || getuid())
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
	self->nid = variant->removed ? spare_node() : self->e.n.d2;
	if (self->nid < 0)
		SKIP(return, "needs a spare node and memory for it");
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

/*
 * Who asks, one on each CPU. They ask for buffers, too, and a node that has one
 * doesn't go: how often it does would be luck. So the test can tell them not to,
 * and knows when none has one.
 */
#define MAX_ASKERS	64
#define ROUNDS		20
#define BUFFER_EACH	16	/* so many questions */

struct asking {
	atomic_bool no_buffers;
	unsigned long long most;	/* what the node has when it is there */
	struct asker {
		atomic_bool with_buffer;
		atomic_long answers[2];	/* that it isn't there, and that it is */
		atomic_long buffers;
	} by[MAX_ASKERS];
};

/* The others are full, so it is of this node; one that goes is no reason to end. */
static void ask_for_buffer(const struct env *e, struct asking *a,
			   struct asker *me)
{
	int err = -ENOMEM;

	me->with_buffer = true;
	if (!a->no_buffers)
		err = try_alloc(e->fd, DEVMEM_NODE_NEAREST, MIB, 0, 0);
	me->with_buffer = false;
	if (err && err != -ENOMEM)
		_exit(6);
	me->buffers += !err;
}

/* No number is of a node that isn't there, or more than it has when it is. */
static void ask_node(const struct env *e, int nid, struct asking *a, int cpu)
{
	struct asker *me = &a->by[cpu];
	struct devmem_info info;
	int i, err;

	run_on(cpu);
	for (i = 0; ; i++) {
		err = devmem_info(e->fd, nid, 0, &info);
		if (err && err != -ENODEV)
			_exit(2);
		if (!err && info.free > a->most)
			_exit(3);
		me->answers[!err]++;
		err = devmem_watch(e->fd, nid, PAGE, -1);
		if (err && err != -ENODEV)
			_exit(4);
		if (ready(e->fd, 0) & ~(POLLIN | POLLERR))
			_exit(5);
		if (i % BUFFER_EACH == 0)
			ask_for_buffer(e, a, me);
	}
}

/* Until none of @nr has a buffer, nor asks for one */
static bool stop_buffers(struct asking *a, int nr, time_t end)
{
	int i;

	a->no_buffers = true;
	for (i = 0; i < nr; i++)
		while (a->by[i].with_buffer && before(end))
			usleep(100);

	return before(end);
}

/* Until each has counted @more; with two, one was wholly asked since */
static bool await(struct asking *a, int nr, size_t counter, long more,
		  time_t end)
{
	atomic_long *count;
	long old;
	int i;

	for (i = 0; i < nr; i++) {
		count = (atomic_long *)((char *)&a->by[i] + counter);
		old = *count;
		while (*count < old + more && before(end))
			usleep(100);
	}

	return before(end);
}

#define ANSWERS(there)	(offsetof(struct asker, answers) + \
			 (there) * sizeof(atomic_long))

/* All that is free of it. Return: a descriptor */
static int fill_up(const struct env *e, int nid)
{
	struct devmem_info info;

	return devmem_info(e->fd, nid, 0, &info) ? -1 :
	       devmem_alloc(e->fd, nid, info.free, DEVMEM_ALLOC_EXACT, 0);
}

/*
 * Without buffers, the node goes each time. Every other time it is told to while
 * they are asked for, first, and may stay.
 */
TEST_F(gone, while_asked)
{
	struct asking *a = (void *)map_pages(sizeof(*a), MAP_SHARED |
					     MAP_ANONYMOUS, -1);
	const int nid = self->nid, nr = sysconf(_SC_NPROCESSORS_ONLN);
	const bool removed = variant->removed;
	time_t end = time(NULL) + TEST_TIMEOUT_DEFAULT / 2;
	int i, status, times = 0;
	pid_t pids[MAX_ASKERS];

	ASSERT_GE(MAX_ASKERS, nr);
	a->most = node_bytes(nid);
	ASSERT_LE(0, fill_up(&self->e, self->e.n.d1));
	if (nid != self->e.n.d2)
		ASSERT_LE(0, fill_up(&self->e, self->e.n.d2));
	for (i = 0; i < nr; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			self->e.fd = open(DEV, O_RDWR);
			ask_node(&self->e, nid, a, i);
		}
	}
	for (i = 0; i < ROUNDS && before(end); i++) {
		a->no_buffers = false;
		EXPECT_TRUE(await(a, nr, offsetof(struct asker, buffers), 1,
				  end));
		times += i % 2 && try_set(nid, removed, false);
		EXPECT_TRUE(stop_buffers(a, nr, end));
		EXPECT_TRUE(set_there(nid, removed, false));
		/* Offline, it is a node still, of no memory; and no buffer. */
		a->no_buffers = false;
		EXPECT_TRUE(await(a, nr, ANSWERS(!removed), 2 * BUFFER_EACH,
				  end));
		usleep(i * 1000);
		EXPECT_TRUE(set_there(nid, removed, true));
		EXPECT_TRUE(await(a, nr, ANSWERS(true), 2, end));
	}
	EXPECT_EQ(ROUNDS, i);
	for (i = 0; i < nr; i++) {
		kill(pids[i], SIGKILL);
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(SIGKILL, status);
	}
	TH_LOG("%d times gone, %d of them while buffers were asked for", ROUNDS,
	       times);
}

TEST_HARNESS_MAIN
