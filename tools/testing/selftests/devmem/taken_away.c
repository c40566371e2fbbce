// SPDX-License-Identifier: GPL-2.0
/*
 * A task whose device is taken away, from its cpuset or from the machine.
 *
 * Invariant 4: it goes on in system memory or gets SIGBUS, at once.
 * Invariant 5: what is still mapped is readable, and every other page is free.
 *
 * Proof that it can fail: "cpuset" found the moment in which a cpuset has lost
 * the device and the policy of a mapping hasn't: tasks died, and the kernel
 * complained.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/badinput.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

/* -- A device that is taken away -------------------------------------------------- */

/*
 * A task bound to a device, always in need of new memory. @p is what it holds,
 * with content 1.
 */
struct eater {
	char *p;
	atomic_long rounds;
	atomic_long there;	/* pages of the device that it got last */
	pid_t pid;
};

enum { BY_TASK, BY_MAPPING };

static struct eater *start_eater(int whose, int mode, int nid)
{
	struct eater *e = (void *)map_pages(PAGE, MAP_SHARED | MAP_ANONYMOUS,
					    -1);
	pid_t pid = fork();
	char *p;

	if (pid) {
		e->pid = pid;
		return e;
	}

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	e->p = map_anon(SIZE);
	p = map_anon(SIZE);
	if (whose == BY_TASK ? set_policy(mode, NODE(nid)) :
			       mbind_nodes(p, SIZE, mode, NODE(nid), 0))
		_exit(2);
	fill_pages(e->p, SIZE, 1);
	for (;;) {
		fill_pages(p, SIZE, 2);
		e->there = on_node(p, SIZE, nid);
		if (!intact(p, SIZE, 2) || !intact(e->p, SIZE, 1))
			_exit(3);
		madvise(p, SIZE, MADV_DONTNEED);
		e->rounds++;
	}
}

/* It gets on: @n rounds more. Return: false when it is dead, or stuck */
static bool eats(struct eater *e, int n)
{
	long until = e->rounds + n;
	int i;

	for (i = 0; i < 60 * 50 && e->rounds < until; i++) {
		siginfo_t info = { .si_pid = 0 };

		waitid(P_PID, e->pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid)
			return false;
		usleep(20000);
	}

	return e->rounds >= until;
}

/* Return: how it died */
static int end_eater(struct eater *e)
{
	int status = -1;

	kill(e->pid, SIGKILL);
	waitpid(e->pid, &status, 0);
	munmap(e, PAGE);

	return status;
}

FIXTURE(cpuset)
{
	struct nodes n;
	unsigned long system, d1;	/* masks */
	const char *path;
};

FIXTURE_VARIANT(cpuset)
{
	bool v1;
	bool migrates;
};

FIXTURE_VARIANT_ADD(cpuset, v2) {
	.migrates = true,
};

FIXTURE_VARIANT_ADD(cpuset, v1) {
	.v1 = true,
};

FIXTURE_VARIANT_ADD(cpuset, v1_migrate) {
	.v1 = true,
	.migrates = true,
};

#define CONTROL	"/sys/fs/cgroup/cgroup.subtree_control"

static int set_file(const char *dir, const char *file, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", dir, file);

	return write_text(path, text);
}

static int set_mems(const char *dir, unsigned long mask)
{
	char text[256] = "";
	int i, len = 0;

	for (i = 0; i < MAX_NODES; i++)
		if (mask & NODE(i))
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", i);

	return set_file(dir, "cpuset.mems", text);
}

/* This process is in a cpuset of two system nodes and one device. */
FIXTURE_SETUP(cpuset)
{
	char pid[16];
	int i;

	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	if (variant->v1) {
		/* What cgroup v2 had of it goes away in its own time. */
		write_text(CONTROL, "-cpuset");
		mkdir(DIR, 0700);
		for (i = 0; i < 300; i++) {
			if (!mount("devmem", DIR, "cgroup", 0, "cpuset"))
				break;
			usleep(100000);
		}
		self->path = DIR "/devmem";
		if (mkdir(self->path, 0755))
			SKIP(return, "no cpusets of cgroup v1");
		ASSERT_EQ(0, set_file(self->path, "cpuset.cpus", "0"));
		ASSERT_EQ(0, set_file(self->path, "cpuset.memory_migrate",
				      variant->migrates ? "1" : "0"));
	} else {
		if (write_text(CONTROL, "+cpuset"))
			SKIP(return, "no cpusets of cgroup v2");
		self->path = CG;
		ASSERT_EQ(0, mkdir(self->path, 0755));
	}
	self->system = NODE(self->n.s0) | NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	ASSERT_EQ(0, set_mems(self->path, self->system | self->d1));
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(0, set_file(self->path, "cgroup.procs", pid));
}

FIXTURE_TEARDOWN_PARENT(cpuset)
{
	rmdir(self->path);
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

static bool all_gone(char *p, int nid, bool patient)
{
	int i;

	for (i = 0; i < (patient ? 300 : 20) && on_node(p, SIZE, nid); i++)
		usleep(100000);

	return !on_node(p, SIZE, nid);
}

TEST_F(cpuset, device_removed)
{
	const int s0 = self->n.s0, d1 = self->n.d1;
	struct eater *e = start_eater(BY_TASK, MPOL_BIND, d1);
	struct eater *m = start_eater(BY_MAPPING, MPOL_BIND, d1);
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	int d1_node = d1, status;
	void *page = p;

	ASSERT_TRUE(eats(e, 2));
	EXPECT_EQ(N, e->there);
	ASSERT_TRUE(eats(m, 2));
	EXPECT_EQ(N, m->there);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(d1), 0));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, d1, 3));
	ASSERT_EQ(0, set_mems(self->path, self->system));

	/* Nothing is to be had any more, by any name; who was bound goes on. */
	EXPECT_TRUE(eats(e, 5));
	EXPECT_EQ(0, e->there);
	EXPECT_TRUE(eats(m, 5));
	EXPECT_EQ(0, m->there);
	EXPECT_EQ(-1, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d1), 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, set_policy(MPOL_BIND, NODE(d1)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EACCES, raw_move(0, 1, &page, &d1_node, &status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, migrate(0, NODE(s0), NODE(d1)));

	/* What was there moves if this cpuset moves memory. */
	EXPECT_EQ(variant->migrates, all_gone(p, d1, variant->migrates));
	EXPECT_TRUE(intact(p, SIZE, 3));
	EXPECT_EQ(SIGKILL, end_eater(e));
	EXPECT_EQ(SIGKILL, end_eater(m));
}

/*
 * Again and again, under tasks that come back to the device when they may. The
 * kernel has nothing to complain of, either.
 */
TEST_F(cpuset, device_comes_and_goes)
{
	const int bind = MPOL_BIND | MPOL_F_STATIC_NODES, d1 = self->n.d1;
	struct eater *e[] = {
		start_eater(BY_TASK, bind, d1),
		start_eater(BY_MAPPING, bind, d1),
		start_eater(BY_TASK, MPOL_PREFERRED, d1),
	};
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(eats(e[i], 2));
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, set_mems(self->path, self->system));
		usleep(i * 500);
		ASSERT_EQ(0, set_mems(self->path, self->system | self->d1));
		usleep(i * 500);
	}
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(eats(e[i], 3));
		EXPECT_EQ(N, e[i]->there);
		EXPECT_EQ(SIGKILL, end_eater(e[i])) {
			TH_LOG("task %d died", i);
		}
	}
}

/* A cpuset of devices alone, of nothing, or of what isn't there */
TEST_F(cpuset, emptied)
{
	struct eater *e = start_eater(BY_TASK, MPOL_BIND, self->n.d1);
	char path[96], mems[64] = "";
	int rc;
	FILE *f;

	ASSERT_TRUE(eats(e, 2));
	EXPECT_EQ(-EINVAL, set_mems(self->path, self->d1));
	EXPECT_EQ(-EINVAL, set_mems(self->path,
				    self->d1 | NODE(self->n.d2)));
	EXPECT_EQ(-EINVAL, set_mems(self->path,
				    self->system | NODE(NO_NODE)));
	EXPECT_NE(0, set_file(self->path, "cpuset.mems", "0,64"));
	EXPECT_NE(0, set_file(self->path, "cpuset.mems", "x"));
	/* v1: there are tasks in it. v2: it has what its parent has. */
	rc = set_file(self->path, "cpuset.mems", "\n");
	if (variant->v1)
		EXPECT_EQ(-ENOSPC, rc);
	EXPECT_TRUE(eats(e, 5));
	snprintf(path, sizeof(path), "%s/cpuset.%s", self->path,
		 variant->v1 ? "effective_mems" : "mems.effective");
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	EXPECT_NE(NULL, fgets(mems, sizeof(mems), f));
	fclose(f);
	EXPECT_EQ('0' + self->n.s0, mems[0]) {
		TH_LOG("left: %s", mems);
	}
	EXPECT_EQ(SIGKILL, end_eater(e));
}

/* System nodes are exchanged for system nodes, never for a device. */
TEST_F(cpuset, rebound)
{
	const int s0 = self->n.s0, s1 = self->n.s1, d1 = self->n.d1;
	char *p = map_anon(SIZE), *q = map_anon(SIZE), *r = map_anon(SIZE);
	unsigned long mask;

	ASSERT_EQ(0, set_mems(self->path, self->system));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(s1), 0));
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND | MPOL_F_RELATIVE_NODES,
				 NODE(1), 0));
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, NODE(s0) | NODE(s1)));
	fill_pages(p, SIZE / 2, 1);
	fill_pages(q, SIZE / 2, 1);
	ASSERT_EQ(0, set_mems(self->path, NODE(s0) | self->d1));
	usleep(300000);
	fill_pages(p, SIZE, 1);
	fill_pages(q, SIZE, 1);
	fill_pages(r, SIZE, 1);
	EXPECT_EQ(0, on_node(p, SIZE, d1));
	EXPECT_EQ(0, on_node(q, SIZE, d1));
	EXPECT_EQ(0, on_node(r, SIZE, d1));
	EXPECT_EQ(MPOL_BIND, policy_at(p, &mask));
	EXPECT_EQ(0UL, mask & self->d1);
	EXPECT_TRUE(intact(p, SIZE, 1));
}

/* cgroup v1 alone: page cache spread over the nodes of the cpuset */
TEST_F(cpuset, memory_spread)
{
	long before = vm_event("pgalloc_coherent");

	if (!variant->v1)
		SKIP(return, "not in cgroup v2");
	ASSERT_EQ(0, set_file(self->path, "cpuset.memory_spread_page", "1"));
	set_file(self->path, "cpuset.memory_spread_slab", "1");
	ASSERT_EQ(0, set_mems(self->path,
			      NODE(self->n.s0) | self->d1));
	EXPECT_EQ(0, system("cat /dev/ram2 /dev/ram3 >/dev/null"));
	EXPECT_EQ(before, vm_event("pgalloc_coherent"));
}

/* -- A node that loses its memory -------------------------------------------- */

/*
 * All memory blocks of a node. One with a page that is just on its way can't
 * go offline at that moment. Return: whether it was done
 */
static bool set_blocks(int nid, const char *state)
{
	char command[192];
	int i;

	snprintf(command, sizeof(command),
		 "for b in /sys/devices/system/node/node%d/memory[0-9]*; do\n"
		 "[ $(cat $b/state) = %s ] || echo %s >$b/state || exit 1\n"
		 "done 2>/dev/null", nid, state, state);
	for (i = 0; i < 50; i++) {
		if (!system(command))
			return true;
		usleep(20000);
	}

	return false;
}

FIXTURE(offline)
{
	struct nodes n;
};

FIXTURE_SETUP(offline)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
}

FIXTURE_TEARDOWN_PARENT(offline)
{
	EXPECT_TRUE(set_blocks(self->n.d2, "online"));
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/*
 * The last block goes: everything on it moves, and who was bound goes on. In
 * the moment when it went, SIGBUS was an answer; waiting isn't.
 */
TEST_F(offline, under_tasks)
{
	const int s0 = self->n.s0, d1 = self->n.d1, d2 = self->n.d2;
	const int literal = MPOL_BIND | MPOL_F_STATIC_NODES;
	const size_t bytes = node_bytes(d2);
	struct eater *prefers = start_eater(BY_TASK, MPOL_PREFERRED, d2);
	struct eater *bound[] = {
		start_eater(BY_TASK, MPOL_BIND, d2),
		start_eater(BY_MAPPING, MPOL_BIND, d2),
		start_eater(BY_TASK, literal, d2),
		start_eater(BY_MAPPING, literal, d2),
	};
	char *p = map_anon(SIZE), *q = map_anon(SIZE);
	int d2_node = d2, status, i;
	void *page = p;
	bool alive[4];

	ASSERT_TRUE(eats(prefers, 1));
	for (i = 0; i < 4; i++)
		ASSERT_TRUE(eats(bound[i], 1));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(d2), 0));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, d2, 3));
	ASSERT_TRUE(set_blocks(d2, "offline"));
	EXPECT_EQ(0, (long)node_bytes(d2));
	EXPECT_EQ(0, on_node(p, SIZE, d2));
	EXPECT_EQ(0, on_node(p, SIZE, NONE));
	EXPECT_TRUE(intact(p, SIZE, 3));

	/* A node without memory can't be named. */
	EXPECT_EQ(-1, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d2), 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, set_policy(MPOL_PREFERRED, NODE(d2)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-ENODEV, raw_move(0, 1, &page, &d2_node, &status,
				    MPOL_MF_MOVE));
	EXPECT_EQ(-EINVAL, migrate(0, NODE(s0), NODE(d2)));
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d1) | NODE(d2), 0));
	fill_pages(q, SIZE, 4);
	EXPECT_TRUE(placed(q, SIZE, d1, 4));

	EXPECT_TRUE(eats(prefers, 3));
	EXPECT_EQ(0, prefers->there);
	for (i = 0; i < 4; i++) {
		alive[i] = eats(bound[i], 3);
		TH_LOG("bound task %d %s", i, alive[i] ? "goes on" : "is dead");
		if (alive[i])
			EXPECT_EQ(0, bound[i]->there);
	}

	/* Back: the node can be named, and who named it has it again. */
	ASSERT_TRUE(set_blocks(d2, "online"));
	EXPECT_EQ(bytes, node_bytes(d2));
	EXPECT_TRUE(eats(prefers, 3));
	EXPECT_EQ(N, prefers->there);
	EXPECT_EQ(SIGKILL, end_eater(prefers));
	for (i = 0; i < 4; i++) {
		if (alive[i]) {
			EXPECT_TRUE(eats(bound[i], 3));
			EXPECT_EQ(N, bound[i]->there);
		}
		status = end_eater(bound[i]);
		EXPECT_EQ(alive[i] ? SIGKILL : SIGBUS, WTERMSIG(status));
	}
	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_BIND, NODE(d2), MPOL_MF_MOVE));
	EXPECT_TRUE(placed(q, SIZE, d2, 4));
}

/* Pages that come while the block is on its way out */
TEST_F(offline, while_moving_in)
{
	const struct nodes *n = &self->n;
	const int d2 = n->d2;
	pid_t holder, mover;
	char *p;
	int i;

	holder = start_holder(make_anon, SIZE, 9, &p);
	ASSERT_LT(0, holder);
	mover = fork();
	if (!mover) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (i = 0; ; i++)
			move_others(holder, p, SIZE, i % 2 ? d2 : n->s0);
	}
	for (i = 0; i < 5; i++) {
		EXPECT_TRUE(set_blocks(d2, "offline"));
		EXPECT_TRUE(set_blocks(d2, "online"));
	}
	kill(mover, SIGKILL);
	waitpid(mover, NULL, 0);
	EXPECT_EQ(0, others_on_node(holder, p, SIZE, NONE));
	EXPECT_EQ(0, end_holder(holder));
}

TEST_HARNESS_MAIN
