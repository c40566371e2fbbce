// SPDX-License-Identifier: GPL-2.0
/*
 * Bad moments: tasks that exit, exec, fork, unmap, are interrupted or killed
 * while pages move to a device and back.
 *
 * Invariant 5: what is still mapped is readable, and every other page is free.
 * Each race counts what it did, and fails when it did nothing.
 *
 * Proof that it can fail: a page that stayed on a device since two processes
 * shared it was found after "race"; a mover that also writes is found in it.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/badinput.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

/* -- Races ---------------------------------------------------------------------- */

/*
 * One thread moves pages around all nodes; another does something else with
 * them and looks after their content. Both have to get somewhere: a number of
 * rounds of each, or the time is over.
 */
struct race {
	const struct nodes *n;
	char *p;		/* where the pages are */
	char *other;		/* where they go with mremap(), and return */
	atomic_bool stop;
	atomic_long moved;	/* pages that were seen to arrive */
};

FIXTURE(race)
{
	struct nodes n;
};

FIXTURE_VARIANT(race)
{
	/* Return: false when the content isn't what it should be */
	bool (*step)(struct race *r, int round);
	bool whole;		/* the process's pages, by migrate_pages() */
	bool swap;
};

#include "lib/race_steps.h"

static bool step_lock(struct race *r, int round)
{
	if (mlock(r->p, SIZE) || munlock(r->p, SIZE))
		return false;

	return step_write(r, round);
}

static bool step_swap(struct race *r, int round)
{
	madvise(r->p, SIZE, MADV_PAGEOUT);

	return step_write(r, round);
}

/* Made to move by two at a time */
static bool step_mbind(struct race *r, int round)
{
	const int nids[] = { r->n->d2, r->n->s1, r->n->d1, r->n->s0 };

	mbind_nodes(r->p, SIZE, MPOL_BIND, NODE(nids[round % 4]),
		    MPOL_MF_MOVE);

	return step_write(r, round);
}

FIXTURE_VARIANT_ADD(race, write) {
	.step = step_write,
};

FIXTURE_VARIANT_ADD(race, write_whole) {
	.step = step_write,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, remap) {
	.step = step_remap,
};

FIXTURE_VARIANT_ADD(race, unmap) {
	.step = step_unmap,
};

FIXTURE_VARIANT_ADD(race, unmap_whole) {
	.step = step_unmap,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, drop) {
	.step = step_drop,
};

FIXTURE_VARIANT_ADD(race, protect) {
	.step = step_protect,
};

FIXTURE_VARIANT_ADD(race, lock) {
	.step = step_lock,
};

FIXTURE_VARIANT_ADD(race, fork) {
	.step = step_fork,
};

FIXTURE_VARIANT_ADD(race, fork_whole) {
	.step = step_fork,
	.whole = true,
};

FIXTURE_VARIANT_ADD(race, swap) {
	.step = step_swap,
	.swap = true,
};

FIXTURE_VARIANT_ADD(race, mbind) {
	.step = step_mbind,
};

FIXTURE_SETUP(race)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	if (variant->swap && swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
}

FIXTURE_TEARDOWN_PARENT(race)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* What of the two places is mapped, to each node in turn */
static void *move_around(void *arg)
{
	struct race *r = arg;
	const int nids[] = { r->n->d1, r->n->s0, r->n->d2, r->n->s1 };
	void *pages[2 * N];
	int nodes[2 * N], status[2 * N], round, i;

	for (i = 0; i < N; i++) {
		pages[i] = r->p + i * PAGE;
		pages[N + i] = r->other + i * PAGE;
	}
	for (round = 0; !r->stop; round++) {
		for (i = 0; i < 2 * N; i++)
			nodes[i] = nids[round % 4];
		memset(status, -1, sizeof(status));
		raw_move(0, 2 * N, pages, nodes, status, MPOL_MF_MOVE);
		for (i = 0; i < 2 * N; i++)
			r->moved += status[i] == nodes[i];
	}

	return NULL;
}

static void *migrate_around(void *arg)
{
	struct race *r = arg;
	const int nids[] = { r->n->d1, r->n->s0, r->n->d2, r->n->s1 };
	int round;

	for (round = 0; !r->stop; round++) {
		int to = nids[round % 4];

		if (migrate(0, NODE(nids[(round + 3) % 4]), NODE(to)) >= 0)
			r->moved += on_node(r->p, SIZE, to);
	}
	return NULL;
}

#define ROUNDS	40

TEST_F(race, race)
{
	struct race r = {
		.n = &self->n,
		.p = map_anon(SIZE),
		.other = map_anon(SIZE),
	};
	time_t end = time(NULL) + 60;
	pthread_t mover;
	int round;

	fill_pages(r.p, SIZE, SEED(0));
	ASSERT_EQ(0, pthread_create(&mover, NULL, variant->whole ?
				    migrate_around : move_around, &r));
	for (round = 0; round < ROUNDS || r.moved < 8 * N;) {
		bool ok = variant->step(&r, round++);

		EXPECT_TRUE(ok);
		if (!ok || time(NULL) > end)
			break;
	}
	r.stop = true;
	ASSERT_EQ(0, pthread_join(mover, NULL));
	TH_LOG("%d rounds, %ld pages moved", round, r.moved);
	EXPECT_TRUE(intact(r.p, SIZE, SEED(round)));
	EXPECT_LE(ROUNDS / 4, round);
	EXPECT_LE(2 * N, r.moved);
}

/* -- Tasks that end, and signals ---------------------------------------------- */

enum { BY_ADDRESS, BY_PROCESS, WAYS };

static long move_task(int way, pid_t pid, char *p, const struct nodes *n, int i)
{
	int from = i % 2 ? n->d1 : n->s0, to = i % 2 ? n->s0 : n->d1;

	return way == BY_ADDRESS ? move_others(pid, p, SIZE, to) :
				   migrate(pid, NODE(from), NODE(to));
}

FIXTURE(end)
{
	struct nodes n;
};

FIXTURE_VARIANT(end)
{
	void (*how)(void);
	int status;
	int way;
};

FIXTURE_VARIANT_ADD(end, exit) {
	by_exit, 0, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, exit_whole) {
	by_exit, 0, BY_PROCESS
};

FIXTURE_VARIANT_ADD(end, exec) {
	by_exec, 0, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, exec_whole) {
	by_exec, 0, BY_PROCESS
};

FIXTURE_VARIANT_ADD(end, kill) {
	by_kill, SIGKILL, BY_ADDRESS
};

FIXTURE_VARIANT_ADD(end, kill_whole) {
	by_kill, SIGKILL, BY_PROCESS
};

FIXTURE_SETUP(end)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
}

FIXTURE_TEARDOWN_PARENT(end)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* Until it is no more: an error that says so, and nothing stays behind */
TEST_F(end, moved_meanwhile)
{
	long rc, calls = 0;
	int i, k, status;
	pid_t pid;
	char *p;

	for (k = 0; k < 15; k++) {
		pid = start_mortal(variant->how, SIZE, k * 3000, &p);
		ASSERT_LT(0, pid);
		for (i = 0; ; i++) {
			rc = move_task(variant->way, pid, p, &self->n, i);
			if (rc < 0)
				break;
			calls++;
			if (waitpid(pid, &status, WNOHANG) == pid)
				break;
		}
		if (rc < 0) {
			EXPECT_TRUE(rc == -EINVAL || rc == -ESRCH || rc == -EFAULT) {
				TH_LOG("%s", strerror(-rc));
			}
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
		}
		EXPECT_EQ(variant->status, status);
	}
	EXPECT_LT(0, calls);
}

/* Signals that are handled, all the time, in the middle of all of it */
TEST_F(nodes, handled_signals)
{
	const int nids[] = { self->n.d1, self->n.s0, self->n.d2, self->n.s1 };
	const size_t size = 4 * MIB;
	char *p = map_anon(size);
	long all = size / PAGE, moved = 0, rc;
	int i;

	fill_pages(p, size, 5);
	ticks(700);
	for (i = 0; i < 12; i++) {
		int to = nids[i % 4];

		if (i / 4 % 3 == 0) {
			rc = move(p, size, to, NULL);
		} else if (i / 4 % 3 == 1) {
			rc = mbind_nodes(p, size, MPOL_PREFERRED, NODE(to),
					 MPOL_MF_MOVE);
		} else {
			rc = migrate(0, NODE(nids[(i + 3) % 4]), NODE(to));
		}
		EXPECT_TRUE(rc >= 0 || rc == -EINTR);
		moved += on_node(p, size, to);
		EXPECT_EQ(0, on_node(p, size, NONE));
	}
	ticks(0);
	EXPECT_TRUE(intact(p, size, 5));
	EXPECT_LT(all * 6, moved);
}

static char *make_large(void)
{
	return map_anon(4 * MIB);
}

/* Who moves another's pages is killed: they are all there, here or there. */
TEST_F(nodes, killed_mover)
{
	const size_t size = 4 * MIB;
	const long all = size / PAGE;
	pid_t holder, mover;
	long there = 0;
	int k, i;
	char *p;

	holder = start_holder(make_large, size, 6, &p);
	ASSERT_LT(0, holder);
	for (k = 0; k < 20; k++) {
		mover = fork();
		if (!mover) {
			for (i = 0; ; i++)
				if (k % 2)
					move_others(holder, p, size, i % 2 ?
						    self->n.s0 : self->n.d1);
				else
					migrate(holder, i % 2 ? self->d1 :
						self->s0, i % 2 ? self->s0 :
						self->d1);
		}
		usleep(5000 + k * 7000);
		kill(mover, SIGKILL);
		waitpid(mover, NULL, 0);
		there += others_on_node(holder, p, size, self->n.d1);
		EXPECT_EQ(all, others_on_node(holder, p, size, self->n.d1) +
			       others_on_node(holder, p, size, self->n.s0));
	}
	EXPECT_LT(0, there);
	EXPECT_EQ(0, end_holder(holder));
}

TEST_HARNESS_MAIN
