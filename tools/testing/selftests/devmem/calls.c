// SPDX-License-Identifier: GPL-2.0
/*
 * Every call and every file that places memory, moves it or says where it is:
 * the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst, for what doesn't depend on
 * the kind of memory (kinds.c) and isn't in policy.c.
 *
 * Invariant 1: a literal mask reaches the devices it names, a mixed or relative
 * one doesn't, a tmpfs mount is asked by its mpol=, hugetlb never. Invariant 5:
 * the content is there after each step.
 *
 * What counts as moved, as shared or as failed is the kernel's to decide: the
 * same is done with the second system node as the target, and the answers have
 * to be equal.
 *
 * Proof that it can fail: on a machine without device nodes, with DEVMEM_NODES
 * naming two ordinary nodes, what has to stay in system memory doesn't.
 *
 * Wants two system nodes and two device nodes, once with all device nodes after
 * the system nodes and once with one between them; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING	0x2000
#endif
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define DIR	"/tmp/devmem-calls"
#define WEIGHTS	"/sys/kernel/mm/mempolicy/weighted_interleave/"
#define NODE_FILE "/sys/devices/system/node/node%d/%s"
#define NOBODY	65534

/* Before each test and after it: what one that was killed may have left */
static void clean_up(void)
{
	while (!umount2(DIR, MNT_DETACH))
		;
	rmdir(DIR);
	swap_off_ram();
	rmdir(CG);
}

static char *make_anon(void)
{
	return map_anon(SIZE);
}

static char *make_huge(void)
{
	return map_huge(HUGE);
}

static void set_weight(int nid, int weight)
{
	char path[128], text[16];

	snprintf(path, sizeof(path), WEIGHTS "node%d", nid);
	snprintf(text, sizeof(text), "%d", weight);
	write_text(path, text);
}

FIXTURE(nodes)
{
	struct nodes n;
	unsigned long s0, s1, d1, d2;	/* masks */
};

FIXTURE_SETUP(nodes)
{
	clean_up();
	/* Where there is little memory, the default is "never". */
	write_text(THP "enabled", "madvise");
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->s0 = NODE(self->n.s0);
	self->s1 = NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	self->d2 = NODE(self->n.d2);
}

FIXTURE_TEARDOWN_PARENT(nodes)
{
	clean_up();
	EXPECT_EQ(0, nodes_left(&self->n));
}

static void *stack_of_thread(void *arg)
{
	const struct nodes *n = arg;
	char *p = take_stack(SIZE);

	fill_pages(p, SIZE, 1);

	return (void *)(intact(p, SIZE, 1) ? on_node(p, SIZE, n->d1) : -1);
}

/* The stack of a thread is memory of the task that runs on it. */
TEST_F(nodes, thread_stack)
{
	pthread_t thread;
	void *there;

	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, stack_of_thread, &self->n));
	ASSERT_EQ(0, pthread_join(thread, &there));
	EXPECT_EQ(N, (long)there);
}

/* Policies are a thread's own: one bound, one not. */
TEST_F(nodes, unbound_thread)
{
	pthread_t thread;
	void *there;

	ASSERT_EQ(0, pthread_create(&thread, NULL, stack_of_thread, &self->n));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	ASSERT_EQ(0, pthread_join(thread, &there));
	EXPECT_EQ(0, (long)there);
}

/* A mapping that grows downwards grows by its policy. */
TEST_F(nodes, grows_down)
{
	char *top, *p = map_anon(4 * SIZE);

	ASSERT_NE(NULL, p);
	munmap(p, 4 * SIZE);
	top = mmap(p + 4 * SIZE - PAGE, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1,
		   0);
	ASSERT_NE(MAP_FAILED, top);
	ASSERT_EQ(0, mbind_nodes(top, PAGE, MPOL_BIND, self->d1, 0));
	p = top - SIZE;
	*p = 1;
	fill_pages(p, SIZE, 2);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 2));
}

/*
 * What execve() makes of a policy: stack, heap, data and copies of a file's
 * pages on the device, the program's text where the page cache is.
 */
#define CHILD_NODE	"DEVMEM_KINDS_CHILD"
static char data_and_more[33 * PAGE] = "initialised";

static void __attribute__((constructor)) run_as_child(void)
{
	const char *nid = getenv(CHILD_NODE);
	char *heap, *text = (char *)((uintptr_t)run_as_child & ~(PAGE - 1));
	char *stack, *data = data_and_more + PAGE -
			     (uintptr_t)data_and_more % PAGE;

	if (!nid)
		return;
	stack = (char *)((uintptr_t)environ & ~(PAGE - 1));
	heap = take_heap(SIZE);
	fill_pages(data, 32 * PAGE, 1);
	fill_pages(heap, SIZE, 1);
	if (on_node(data, 32 * PAGE, atoi(nid)) != 32)
		_exit(2);
	if (on_node(heap, SIZE, atoi(nid)) != N)
		_exit(3);
	if (on_node(stack, PAGE, atoi(nid)) != 1)
		_exit(4);
	if (on_node(text, PAGE, atoi(nid)))
		_exit(5);
	_exit(0);
}

TEST_F(nodes, exec)
{
	char text[16];
	int status;
	pid_t pid;

	snprintf(text, sizeof(text), "%d", self->n.d1);
	pid = fork();
	if (!pid) {
		setenv(CHILD_NODE, text, 1);
		set_policy(MPOL_BIND, self->d1);
		execl("/proc/self/exe", "kinds", NULL);
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(nodes, mlockall)
{
	char *p;

	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	/* Faulted in by mmap() */
	p = map_anon(SIZE);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
	p = map_pages(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	ASSERT_EQ(0, munlockall());
	p = map_pages(SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
}

/* What another process does to one's pages is by their owner's policy. */
TEST_F(nodes, process_madvise)
{
	struct iovec range = { .iov_len = SIZE };
	char *p = make_anon();
	int fd, status;
	pid_t pid;

	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	pid = fork();
	if (!pid) {
		fill_pages(p, SIZE, 6);
		raise(SIGSTOP);
		_exit(!intact(p, SIZE, 6) ||
		      on_node(p, SIZE, self->n.d1) != N);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, WUNTRACED));
	fd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, fd);
	range.iov_base = p;
	EXPECT_EQ((long)SIZE, syscall(SYS_process_madvise, fd, &range, 1,
				      MADV_COLD, 0));
	EXPECT_EQ(N, others_on_node(pid, p, SIZE, self->n.d1));
	drain_lists();
	EXPECT_EQ((long)SIZE, syscall(SYS_process_madvise, fd, &range, 1,
				      MADV_PAGEOUT, 0));
	EXPECT_EQ(0, others_on_node(pid, p, SIZE, self->n.d1));
	/* The one who brings them back is bound to another device. */
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d2));
	EXPECT_EQ((long)SIZE, syscall(SYS_process_madvise, fd, &range, 1,
				      MADV_WILLNEED, 0));
	kill(pid, SIGCONT);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* A huge page for another process: of the device that its pages are on */
TEST_F(nodes, process_collapse)
{
	struct iovec range = { .iov_len = HUGE };
	const long n = HUGE / PAGE;
	pid_t pid;
	char *p;
	int fd;

	pid = start_holder(make_huge, HUGE, 7, &p);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, move_others(pid, p, HUGE, self->n.d1));
	fd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, fd);
	range.iov_base = p;
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d2));
	EXPECT_EQ((long)HUGE, syscall(SYS_process_madvise, fd, &range, 1,
				      MADV_COLLAPSE, 0));
	EXPECT_EQ(n, others_on_node(pid, p, HUGE, self->n.d1));
	EXPECT_EQ(0, end_holder(pid));
}

static long home_node(void *p, int nid)
{
	return syscall(SYS_set_mempolicy_home_node, p, SIZE, nid, 0);
}

/* Where to begin among the nodes of a policy; no node more than these */
TEST_F(nodes, home_node)
{
	char *p = make_anon();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1 | self->d2, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, home_node(p, self->n.d2));
	fill_pages(p, SIZE, 2);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 2));

	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_PREFERRED_MANY,
				 self->d1 | self->d2, 0));
	ASSERT_EQ(0, home_node(p, self->n.d2));
	fill_pages(p, SIZE, 3);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 3));

	/* A device as the home of a policy for system nodes isn't asking. */
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->s0 | self->s1, 0));
	ASSERT_EQ(0, home_node(p, self->n.d1));
	fill_pages(p, SIZE, 4);
	EXPECT_EQ(N, on_node(p, SIZE, self->n.s0) +
		     on_node(p, SIZE, self->n.s1));

	/* Nor is it in a mixed mask ... */
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_PREFERRED_MANY,
				 self->s0 | self->d1, 0));
	ASSERT_EQ(0, home_node(p, self->n.d1));
	fill_pages(p, SIZE, 5);
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 5));

	/* ... unless that is literal. */
	ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND | MPOL_F_STATIC_NODES,
				 self->s0 | self->d1, 0));
	ASSERT_EQ(0, home_node(p, self->n.d1));
	fill_pages(p, SIZE, 6);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 6));
}

static int query(unsigned long *mask, void *p, int flags)
{
	int mode = -1;

	*mask = 0;
	if (syscall(SYS_get_mempolicy, &mode, mask, MAX_NODES + 1, p, flags))
		return -errno;

	return mode;
}

TEST_F(nodes, get_mempolicy)
{
	unsigned long both = self->d1 | self->d2, mask;
	char *p = make_anon();
	int first;

	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, query(&mask, NULL, MPOL_F_MEMS_ALLOWED));
	EXPECT_EQ(self->s0 | self->s1 | both,
		  mask & (self->s0 | self->s1 | both));

	/* Of the task, and where its next page would come from */
	ASSERT_EQ(0, set_policy(MPOL_INTERLEAVE, both));
	EXPECT_EQ(MPOL_INTERLEAVE, query(&mask, NULL, 0));
	EXPECT_EQ(both, mask);
	first = query(&mask, NULL, MPOL_F_NODE);
	EXPECT_TRUE(first == self->n.d1 || first == self->n.d2);
	ASSERT_EQ(0, set_policy(MPOL_PREFERRED, self->d2));
	EXPECT_EQ(MPOL_PREFERRED, query(&mask, NULL, 0));
	EXPECT_EQ(self->d2, mask);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(MPOL_DEFAULT, query(&mask, NULL, 0));

	/* Of a mapping, and the node of one page */
	EXPECT_EQ(MPOL_DEFAULT, query(&mask, p, MPOL_F_ADDR));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	EXPECT_EQ(MPOL_BIND, query(&mask, p, MPOL_F_ADDR));
	EXPECT_EQ(self->d1, mask);
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(self->n.d1, query(&mask, p, MPOL_F_ADDR | MPOL_F_NODE));
	ASSERT_EQ(0, move(p, PAGE, self->n.s1, NULL));
	EXPECT_EQ(self->n.s1, query(&mask, p, MPOL_F_ADDR | MPOL_F_NODE));
	EXPECT_EQ(self->n.d1, query(&mask, p + PAGE,
				    MPOL_F_ADDR | MPOL_F_NODE));

	/* A policy for a part of a mapping */
	ASSERT_EQ(0, mbind_nodes(p + PAGE, PAGE, MPOL_BIND, self->d2, 0));
	EXPECT_EQ(MPOL_BIND, query(&mask, p + PAGE, MPOL_F_ADDR));
	EXPECT_EQ(self->d2, mask);
	EXPECT_EQ(MPOL_BIND, query(&mask, p + 2 * PAGE, MPOL_F_ADDR));
	EXPECT_EQ(self->d1, mask);
	EXPECT_EQ(MPOL_BIND, query(&mask, p, MPOL_F_ADDR));
	EXPECT_EQ(self->d1, mask);
}

/* The line of /proc/self/numa_maps for the mapping that begins at @p */
static bool find_line(char *p, char *line, int len)
{
	FILE *f = fopen("/proc/self/numa_maps", "r");
	unsigned long start;
	bool found = false;

	while (f && !found && fgets(line, len, f))
		found = sscanf(line, "%lx", &start) == 1 &&
			start == (uintptr_t)p;
	if (f)
		fclose(f);

	return found;
}

/* The field @name of /proc/self/smaps for the mapping that begins at @p, in kB */
static long smaps_kb(char *p, const char *name)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false;
	size_t len = strlen(name);
	char line[512];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (uintptr_t)p;
		else if (here && !strncmp(line, name, len) && line[len] == ':')
			kb = atol(line + len + 1);
	}
	if (f)
		fclose(f);

	return kb;
}

/* The mapping's line in numa_maps has that */
static bool says(char *p, const char *fmt, long a, long b)
{
	char line[512], text[64];

	snprintf(text, sizeof(text), fmt, a, b);
	if (find_line(p, line, sizeof(line)) && strstr(line, text))
		return true;
	ksft_print_msg("'%s' isn't in '%s'\n", text, line);

	return false;
}

TEST_F(nodes, proc_files)
{
	const int bind = MPOL_BIND, d1 = self->n.d1, d2 = self->n.d2;
	unsigned long all = self->s0 | self->d1;
	char *p = map_anon(3 * SIZE) + SIZE;
	bool pair = d2 == d1 + 1;

	ASSERT_EQ(0, mbind_nodes(p, SIZE, bind, self->d1, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(says(p, " bind:%ld ", d1, 0));
	EXPECT_TRUE(says(p, " N%ld=%ld ", d1, N));
	EXPECT_EQ((long)(SIZE / 1024), smaps_kb(p, "Rss"));
	EXPECT_EQ((long)(SIZE / 1024), smaps_kb(p, "Anonymous"));

	ASSERT_EQ(0, move(p, SIZE / 2, d2, NULL));
	EXPECT_TRUE(says(p, " N%ld=%ld ", d1, N / 2));
	EXPECT_TRUE(says(p, " N%ld=%ld ", d2, N / 2));

	/* The policy is shown as it was set. */
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_PREFERRED, self->d2, 0));
	EXPECT_TRUE(says(p, " prefer:%ld ", d2, 0));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_PREFERRED_MANY, self->d2, 0));
	EXPECT_TRUE(says(p, " prefer (many):%ld ", d2, 0));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_INTERLEAVE, self->d1 | self->d2,
				 0));
	EXPECT_TRUE(says(p, pair ? " interleave:%ld-%ld " :
				   " interleave:%ld,%ld ", d1, d2));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_WEIGHTED_INTERLEAVE,
				 self->d1 | self->d2, 0));
	EXPECT_TRUE(says(p, pair ? " weighted interleave:%ld-%ld " :
				   " weighted interleave:%ld,%ld ", d1, d2));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, bind, all, 0));
	EXPECT_TRUE(says(p, d1 == self->n.s0 + 1 ? " bind:%ld-%ld " :
						   " bind:%ld,%ld ",
			 self->n.s0, d1));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, bind | MPOL_F_STATIC_NODES, all, 0));
	EXPECT_TRUE(says(p, d1 == self->n.s0 + 1 ? " bind=static:%ld-%ld " :
						   " bind=static:%ld,%ld ",
			 self->n.s0, d1));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, bind | MPOL_F_NUMA_BALANCING,
				 self->d1, 0));
	EXPECT_TRUE(says(p, " bind=balancing:%ld ", d1, 0));
}

TEST_F(nodes, proc_files_huge)
{
	char *p = map_huge(HUGE), *q = map_pages(SIZE, MAP_SHARED |
						 MAP_ANONYMOUS, -1);

	ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, self->d1, 0));
	fill_pages(p, HUGE, 1);
	EXPECT_TRUE(says(p, " N%ld=%ld ", self->n.d1, HUGE / PAGE));
	EXPECT_EQ((long)(HUGE / 1024), smaps_kb(p, "AnonHugePages"));
	EXPECT_EQ(1, node_stat(self->n.d1, "nr_anon_transparent_hugepages"));
	EXPECT_EQ((long)(HUGE / PAGE), node_stat(self->n.d1, "nr_anon_pages"));

	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d2));
	fill_pages(q, SIZE, 2);
	EXPECT_TRUE(says(q, " N%ld=%ld ", self->n.d2, N));
	EXPECT_EQ((long)(SIZE / 1024), smaps_kb(q, "Rss"));
	EXPECT_LE(N, node_stat(self->n.d2, "nr_shmem"));
}

/* -- Masks ------------------------------------------------------------------- */

enum { S0 = 1, S1 = 2, D1 = 4, D2 = 8 };

FIXTURE(literal)
{
	struct nodes n;
	unsigned long mask;
};

FIXTURE_VARIANT(literal)
{
	int mode;
	int mask;		/* of the above; the numbers of a relative mask */
	int s0, s1, d1, d2;	/* shares expected, in eighths */
};

/* In the order of the fields above */
FIXTURE_VARIANT_ADD(literal, preferred) {
	MPOL_PREFERRED | MPOL_F_STATIC_NODES, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, preferred_mixed) {
	MPOL_PREFERRED | MPOL_F_STATIC_NODES, S0 | D1, 8, 0, 0, 0
};

FIXTURE_VARIANT_ADD(literal, many) {
	MPOL_PREFERRED_MANY | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(literal, many_mixed) {
	MPOL_PREFERRED_MANY | MPOL_F_STATIC_NODES, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, bind) {
	MPOL_BIND | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 8, 0
};

FIXTURE_VARIANT_ADD(literal, bind_mixed) {
	MPOL_BIND | MPOL_F_STATIC_NODES, S1 | D1 | D2, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, interleave) {
	MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 4, 4
};

FIXTURE_VARIANT_ADD(literal, interleave_mixed) {
	MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | S1 | D1 | D2, 2, 2, 2, 2
};

FIXTURE_VARIANT_ADD(literal, weighted) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D2, 0, 0, 4, 4
};

FIXTURE_VARIANT_ADD(literal, weighted_mixed) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | S1 | D1 | D2,
	2, 2, 2, 2
};

/* Relative masks count system nodes, round and round. */
FIXTURE_VARIANT_ADD(literal, relative_bind) {
	MPOL_BIND | MPOL_F_RELATIVE_NODES, 2, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_bind_folded) {
	MPOL_BIND | MPOL_F_RELATIVE_NODES, 8, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_preferred) {
	MPOL_PREFERRED | MPOL_F_RELATIVE_NODES, 4, 8, 0, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_many) {
	MPOL_PREFERRED_MANY | MPOL_F_RELATIVE_NODES, 8, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_interleave) {
	MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, 15, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, relative_weighted) {
	MPOL_WEIGHTED_INTERLEAVE | MPOL_F_RELATIVE_NODES, 15, 4, 4, 0, 0
};

/* Mixed ones that policy.c doesn't have: two system nodes, shared out evenly */
FIXTURE_VARIANT_ADD(literal, mixed_interleave) {
	MPOL_INTERLEAVE, S0 | S1 | D1 | D2, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_weighted) {
	MPOL_WEIGHTED_INTERLEAVE, S0 | S1 | D1 | D2, 4, 4, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_bind) {
	MPOL_BIND, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_many) {
	MPOL_PREFERRED_MANY, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, mixed_preferred) {
	MPOL_PREFERRED, S1 | D1, 0, 8, 0, 0
};

FIXTURE_VARIANT_ADD(literal, balancing_bind) {
	MPOL_BIND | MPOL_F_NUMA_BALANCING, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, balancing_many) {
	MPOL_PREFERRED_MANY | MPOL_F_NUMA_BALANCING, D2, 0, 0, 0, 8
};

FIXTURE_VARIANT_ADD(literal, balancing_mixed) {
	MPOL_BIND | MPOL_F_NUMA_BALANCING, S1 | D1, 0, 8, 0, 0
};

FIXTURE_SETUP(literal)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (variant->mode & MPOL_F_RELATIVE_NODES)
		self->mask = variant->mask;
	else
		self->mask = (variant->mask & S0 ? NODE(self->n.s0) : 0) |
			     (variant->mask & S1 ? NODE(self->n.s1) : 0) |
			     (variant->mask & D1 ? NODE(self->n.d1) : 0) |
			     (variant->mask & D2 ? NODE(self->n.d2) : 0);
}

FIXTURE_TEARDOWN_PARENT(literal)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

static bool shares(char *p, const struct nodes *n, int s0, int s1, int d1,
		   int d2)
{
	long count[MAX_NODES + 1];

	where(p, SIZE, count);
	if (s0 * N / 8 == count[n->s0] && s1 * N / 8 == count[n->s1] &&
	    d1 * N / 8 == count[n->d1] && d2 * N / 8 == count[n->d2])
		return true;
	ksft_print_msg("on s0, s1, d1, d2: %ld, %ld, %ld, %ld of %ld\n",
		       count[n->s0], count[n->s1], count[n->d1], count[n->d2],
		       N);

	return false;
}

TEST_F(literal, mapping)
{
	unsigned long mask;
	char *p = make_anon();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, variant->mode, self->mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
	/* Without a flag, MPOL_PREFERRED keeps one node of what it is given. */
	EXPECT_EQ(variant->mode, policy_at(p, &mask));
	if (variant->mode != MPOL_PREFERRED)
		EXPECT_EQ(self->mask, mask);
}

TEST_F(literal, task)
{
	char *p = make_anon();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, set_policy(variant->mode, self->mask));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
}

TEST_F(literal, shared)
{
	char *p = map_pages(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, variant->mode, self->mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
}

/* What is there already moves to where it would have been allocated. */
TEST_F(literal, moved)
{
	char *p = make_anon();
	long rc;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 2);
	/* From where no mask of the test wants it: it all has to move. */
	ASSERT_EQ(0, move(p, SIZE, variant->s0 ? self->n.s1 : self->n.s0,
			  NULL));
	if (variant->s0 && variant->s1)
		SKIP(return, "pages on a node of the mask stay");
	if (variant->mode & MPOL_F_RELATIVE_NODES)
		SKIP(return, "the mask is taken literally for what stays");
	rc = mbind_nodes(p, SIZE, variant->mode, self->mask,
			 MPOL_MF_MOVE | MPOL_MF_STRICT);
	EXPECT_EQ(0, rc);
	EXPECT_TRUE(shares(p, &self->n, variant->s0, variant->s1, variant->d1,
			   variant->d2));
	EXPECT_TRUE(intact(p, SIZE, 2));
}

/* -- Weights ----------------------------------------------------------------- */

FIXTURE(weights)
{
	struct nodes n;
};

FIXTURE_SETUP(weights)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (access(WEIGHTS, F_OK))
		SKIP(return, "no weighted interleave");
}

FIXTURE_TEARDOWN_PARENT(weights)
{
	set_weight(self->n.s0, 0);
	set_weight(self->n.s1, 0);
	set_weight(self->n.d1, 0);
	set_weight(self->n.d2, 0);
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F(weights, devices)
{
	unsigned long mask = NODE(self->n.d1) | NODE(self->n.d2);
	char *p = make_anon(), *q = make_anon();

	set_weight(self->n.d1, 3);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_WEIGHTED_INTERLEAVE, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N * 3 / 4, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(N / 4, on_node(p, SIZE, self->n.d2));

	set_weight(self->n.d1, 1);
	set_weight(self->n.d2, 7);
	ASSERT_EQ(0, set_policy(MPOL_WEIGHTED_INTERLEAVE, mask));
	fill_pages(q, SIZE, 1);
	EXPECT_EQ(N / 8, on_node(q, SIZE, self->n.d1));
	EXPECT_EQ(N * 7 / 8, on_node(q, SIZE, self->n.d2));
}

/* Device nodes in a mixed mask are as if they weren't there. */
TEST_F(weights, mixed)
{
	unsigned long mask = NODE(self->n.s0) | NODE(self->n.s1) |
			     NODE(self->n.d1);
	char *p = make_anon(), *q = make_anon();

	set_weight(self->n.s0, 3);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_WEIGHTED_INTERLEAVE, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N * 3 / 4, on_node(p, SIZE, self->n.s0));
	EXPECT_EQ(N / 4, on_node(p, SIZE, self->n.s1));

	ASSERT_EQ(0, mbind_nodes(q, SIZE, MPOL_INTERLEAVE, mask, 0));
	fill_pages(q, SIZE, 1);
	EXPECT_EQ(N / 2, on_node(q, SIZE, self->n.s0));
	EXPECT_EQ(N / 2, on_node(q, SIZE, self->n.s1));
}

TEST_F(weights, literal)
{
	unsigned long mask = NODE(self->n.s0) | NODE(self->n.d1);
	const int mode = MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES;
	char *p = make_anon();

	set_weight(self->n.d1, 7);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, mode, mask, 0));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(N / 8, on_node(p, SIZE, self->n.s0));
	EXPECT_EQ(N * 7 / 8, on_node(p, SIZE, self->n.d1));
}

/* -- When a node of several is full ------------------------------------------ */

static long free_pages(int nid)
{
	struct node_pages pages;

	return node_pages(nid, &pages) ? pages.free + pages.pcp : 0;
}

static char *map_large(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

/* In huge pages, as far as there are any */
static char *map_large_huge(size_t size)
{
	char *p = map_large(size + HUGE);

	if (!p)
		return NULL;
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	return madvise(p, size, MADV_HUGEPAGE) ? NULL : p;
}

/* The nearer one first, then the other, and nothing of the system's */
TEST_F(nodes, next_device)
{
	size_t size = node_bytes(self->n.d1) + 4 * MIB;
	char *p = map_large(size);
	long count[MAX_NODES + 1];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1 | self->d2, 0));
	fill_pages(p, size, 1);
	where(p, size, count);
	EXPECT_EQ((long)(node_bytes(self->n.d1) / PAGE), count[self->n.d1]);
	EXPECT_EQ((long)(4 * MIB / PAGE), count[self->n.d2]);
	EXPECT_TRUE(intact(p, size, 1));
}

/* Pages that wait on a list of another CPU are there as well, whole. */
TEST_F(nodes, last_huge_page)
{
	size_t size = node_bytes(self->n.d1);
	char *p = map_large_huge(size);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, self->d1, 0));
	ASSERT_TRUE(run_on(1));
	fill_pages(p, 8 * HUGE, 1);
	ASSERT_EQ(0, madvise(p, 8 * HUGE, MADV_DONTNEED));
	ASSERT_TRUE(run_on(0));
	fill_pages(p, size, 1);
	EXPECT_EQ((long)(size / 1024), smaps_kb(p, "AnonHugePages"));
	EXPECT_EQ((long)(size / PAGE), on_node(p, size, self->n.d1));
	EXPECT_TRUE(intact(p, size, 1));
}

/* A literal mask: the system node that it names, then the device. */
TEST_F(nodes, literal_overflow)
{
	const int mode = MPOL_BIND | MPOL_F_STATIC_NODES;
	long kills = vm_event("oom_kill"), count[MAX_NODES + 1];
	size_t size = free_pages(self->n.s1) / 512 * HUGE + 16 * MIB;
	char *p = map_large_huge(size);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, mode, self->s1 | self->d1, 0));
	fill_pages(p, size, 1);
	where(p, size, count);
	EXPECT_EQ((long)(size / PAGE), count[self->n.s1] + count[self->n.d1]);
	EXPECT_LE((long)(16 * MIB / PAGE), count[self->n.d1]);
	EXPECT_LT((long)(size / PAGE) / 2, count[self->n.s1]);
	EXPECT_EQ(kills, vm_event("oom_kill"));
	EXPECT_TRUE(intact(p, size, 1));
}

/* -- Moving with mbind() ------------------------------------------------------ */

FIXTURE(flags)
{
	struct nodes n;
};

FIXTURE_VARIANT(flags)
{
	int flags;
	bool shared;
	int result;
	bool moves;
};

FIXTURE_VARIANT_ADD(flags, none) {
	0, false, 0, false
};

FIXTURE_VARIANT_ADD(flags, strict) {
	MPOL_MF_STRICT, false, -EIO, false
};

FIXTURE_VARIANT_ADD(flags, move) {
	MPOL_MF_MOVE, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, move_strict) {
	MPOL_MF_MOVE | MPOL_MF_STRICT, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, all) {
	MPOL_MF_MOVE_ALL, false, 0, true
};

FIXTURE_VARIANT_ADD(flags, shared_strict) {
	MPOL_MF_STRICT, true, -EIO, false
};

FIXTURE_VARIANT_ADD(flags, shared_move) {
	MPOL_MF_MOVE, true, 0, false
};

FIXTURE_VARIANT_ADD(flags, shared_move_strict) {
	MPOL_MF_MOVE | MPOL_MF_STRICT, true, 0, false
};

FIXTURE_VARIANT_ADD(flags, shared_all) {
	MPOL_MF_MOVE_ALL, true, 0, true
};

FIXTURE_VARIANT_ADD(flags, shared_all_strict) {
	MPOL_MF_MOVE_ALL | MPOL_MF_STRICT, true, 0, true
};

FIXTURE_VARIANT_ADD(flags, unknown) {
	1 << 10, false, -EINVAL, false
};

FIXTURE_VARIANT_ADD(flags, lazy) {
	MPOL_MF_LAZY, false, -EINVAL, false
};

FIXTURE_SETUP(flags)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
}

FIXTURE_TEARDOWN_PARENT(flags)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* A child that shares all pages of its parent, until it is killed */
static pid_t start_sharer(void)
{
	pid_t pid = fork();

	if (!pid) {
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);

	return pid;
}

static void end_sharer(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The first time with an ordinary node: what is expected is what happens. */
TEST_F(flags, mbind)
{
	const int nids[] = { self->n.s1, self->n.d1 };
	unsigned long mask;
	int i;

	for (i = 0; i < 2; i++) {
		char *p = make_anon();
		pid_t pid = -1;
		long rc;

		fill_pages(p, SIZE, 1);
		if (variant->shared)
			pid = start_sharer();
		rc = mbind_nodes(p, SIZE, MPOL_BIND, NODE(nids[i]),
				 variant->flags);
		EXPECT_EQ(variant->result, rc ? -errno : 0) {
			TH_LOG("to node %d", nids[i]);
		}
		EXPECT_EQ(variant->moves ? N : 0, on_node(p, SIZE, nids[i])) {
			TH_LOG("to node %d", nids[i]);
		}
		EXPECT_EQ(rc ? MPOL_DEFAULT : MPOL_BIND, policy_at(p, &mask));
		EXPECT_TRUE(intact(p, SIZE, 1));
		if (variant->shared)
			end_sharer(pid);
		munmap(p, SIZE);
	}
}

/* Pages that are where the mask allows stay, whatever it is called. */
TEST_F(nodes, strict_of_allowed)
{
	unsigned long mask = self->s0 | self->d1;
	char *p = make_anon();

	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, move(p, SIZE / 2, self->n.d1, NULL));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask, MPOL_MF_STRICT));
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask,
				 MPOL_MF_STRICT | MPOL_MF_MOVE));
	EXPECT_EQ(N / 2, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(-1, mbind_nodes(p, SIZE, MPOL_BIND, self->s0,
				  MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	/* The default policy takes them home. */
	EXPECT_EQ(0, mbind_nodes(p, SIZE, MPOL_DEFAULT, 0, MPOL_MF_MOVE));
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 1));
}

static long move_all(char *p, int nid, int flags, int *status)
{
	void *page = p;
	long rc = syscall(SYS_move_pages, 0, 1, &page, &nid, status, flags);

	return rc < 0 ? -errno : rc;
}

/* Pages that others have mapped: by who may, and then for all of them */
TEST_F(nodes, shared_pages)
{
	const int nids[] = { self->n.s1, self->n.d1 };
	char *p = make_anon();
	int status, i;
	pid_t pid;

	for (i = 0; i < 2; i++) {
		fill_pages(p, SIZE, 1);
		pid = start_sharer();
		EXPECT_EQ(0, move_all(p, nids[i], MPOL_MF_MOVE, &status));
		EXPECT_EQ(-EACCES, status);
		EXPECT_EQ(0, move_all(p, nids[i], MPOL_MF_MOVE_ALL, &status));
		EXPECT_EQ(nids[i], status);
		EXPECT_EQ(1, others_on_node(pid, p, SIZE, nids[i]));
		end_sharer(pid);
	}
}

static int as_nobody(int (*what)(char *p, int nid), char *p, int nid)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		_exit(what(p, nid));
	}
	waitpid(pid, &status, 0);

	return status;
}

static int place_and_move(char *p, int nid)
{
	char *mine = make_anon();
	int status;

	fill_pages(mine, SIZE, 1);
	if (mbind_nodes(mine, SIZE, MPOL_BIND, NODE(nid), MPOL_MF_MOVE))
		return 1;
	if (on_node(mine, SIZE, nid) != N || !intact(mine, SIZE, 1))
		return 2;
	/* Not what others have mapped */
	if (!mbind_nodes(mine, SIZE, MPOL_BIND, NODE(nid), MPOL_MF_MOVE_ALL) ||
	    errno != EPERM)
		return 3;
	if (move_all(p, nid, MPOL_MF_MOVE_ALL, &status) != -EPERM)
		return 4;
	if (move_all(p, nid, MPOL_MF_MOVE, &status) || status != -EACCES)
		return 5;

	return 0;
}

/* A device is no privilege: the same as any other node */
TEST_F(nodes, without_privilege)
{
	char *p = make_anon();

	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, WEXITSTATUS(as_nobody(place_and_move, p, self->n.s1)));
	EXPECT_EQ(0, WEXITSTATUS(as_nobody(place_and_move, p, self->n.d1)));
	EXPECT_TRUE(placed(p, SIZE, self->n.s0, 1));
}

/* -- migrate_pages() ---------------------------------------------------------- */

/* The first half of another process's memory on one node, the rest on another */
static pid_t start_halves(char **p, int first, int second)
{
	pid_t pid = start_holder(make_anon, SIZE, 1, p);

	if (move_others(pid, *p, SIZE / 2, first) ||
	    move_others(pid, *p + SIZE / 2, SIZE / 2, second))
		return -1;

	return pid;
}

static bool halves(pid_t pid, char *p, int first, int second)
{
	const size_t half = SIZE / 2;

	return others_on_node(pid, p, half, first) == N / 2 &&
	       others_on_node(pid, p + half, half, second) == N / 2;
}

TEST_F(nodes, migrate_masks)
{
	const struct nodes *n = &self->n;
	unsigned long s = self->s0 | self->s1, d = self->d1 | self->d2;
	pid_t pid;
	char *p;

	pid = start_halves(&p, n->s0, n->s1);
	ASSERT_LT(0, pid);
	/* The first to the first, the second to the second */
	EXPECT_LE(0, migrate(pid, s, d));
	EXPECT_TRUE(halves(pid, p, n->d1, n->d2));
	/* All to one; a node that is a source and a target keeps its own. */
	EXPECT_EQ(0, migrate(pid, d, self->d2));
	EXPECT_TRUE(halves(pid, p, n->d2, n->d2));
	/* Nothing is there. */
	EXPECT_EQ(0, migrate(pid, self->d1, self->s0));
	EXPECT_TRUE(halves(pid, p, n->d2, n->d2));
	/* One to the first of two */
	EXPECT_EQ(0, migrate(pid, self->d2, s));
	EXPECT_TRUE(halves(pid, p, n->s0, n->s0));
	EXPECT_EQ(0, end_holder(pid));

	/* A chain, by the order of the nodes: nothing is moved twice. */
	pid = start_halves(&p, n->s1, n->d1);
	ASSERT_LT(0, pid);
	EXPECT_LE(0, migrate(pid, self->s1 | self->d1, self->d1 | self->d2));
	EXPECT_TRUE(n->s1 < n->d1 ? halves(pid, p, n->d1, n->d2) :
				    halves(pid, p, n->d2, n->d1));
	EXPECT_EQ(0, migrate(pid, d, d));
	EXPECT_EQ(N, others_on_node(pid, p, SIZE, n->d1) +
		     others_on_node(pid, p, SIZE, n->d2));
	EXPECT_EQ(0, end_holder(pid));
}

/* -- tmpfs ------------------------------------------------------------------- */

FIXTURE(tmpfs)
{
	struct nodes n;
};

FIXTURE_VARIANT(tmpfs)
{
	const char *mpol;	/* "%d" for each node of the mask */
	int mask;
	int d1, d2;		/* shares expected, in eighths */
};

FIXTURE_VARIANT_ADD(tmpfs, none) {
	"default", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, local) {
	"local", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind) {
	"bind:%d", D1, 8, 0
};

FIXTURE_VARIANT_ADD(tmpfs, prefer) {
	"prefer:%d", D2, 0, 8
};

FIXTURE_VARIANT_ADD(tmpfs, interleave) {
	"interleave:%d,%d", D1 | D2, 4, 4
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_all) {
	"interleave", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind_mixed) {
	"bind:%d,%d", S0 | D1, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_mixed) {
	"interleave:%d,%d", S1 | D1, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_literal) {
	"interleave=static:%d,%d", S0 | D1, 4, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_all_literal) {
	"interleave=static", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind_literal) {
	"bind=static:%d", D2, 0, 8
};

FIXTURE_VARIANT_ADD(tmpfs, relative) {
	"bind=relative:3", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, many) {
	"prefer (many):%d,%d", D1 | D2, 8, 0
};

FIXTURE_VARIANT_ADD(tmpfs, weighted) {
	"weighted interleave:%d,%d", D1 | D2, 4, 4
};

FIXTURE_SETUP(tmpfs)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	mkdir(DIR, 0700);
}

FIXTURE_TEARDOWN_PARENT(tmpfs)
{
	clean_up();
	EXPECT_EQ(0, nodes_left(&self->n));
}

static void mpol_option(char *text, size_t len, const char *mpol, int mask,
			const struct nodes *n)
{
	const int nids[] = { n->s0, n->s1, n->d1, n->d2 };
	int args[2] = { 0, 0 }, i, nr = 0;
	char fmt[64];

	for (i = 0; i < 4; i++)
		if (mask & (1 << i))
			args[nr++] = nids[i];
	snprintf(fmt, sizeof(fmt), "mpol=%s", mpol);
	snprintf(text, len, fmt, args[0], args[1]);
}

/* A file of it, written with write() or through a mapping */
static char *new_file(const char *name, bool mapped)
{
	static char page[PAGE];
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	size_t i;
	char *p;

	if (fd < 0 || ftruncate(fd, SIZE))
		return NULL;
	for (i = 0; !mapped && i < SIZE; i += PAGE)
		if (pwrite(fd, page, PAGE, i) != PAGE)
			return NULL;
	p = map_pages(SIZE, MAP_SHARED, fd);
	if (p)
		fill_pages(p, SIZE, 1);
	close(fd);

	return p;
}

TEST_F(tmpfs, mpol)
{
	char option[64];
	char *p, *q;

	mpol_option(option, sizeof(option), variant->mpol, variant->mask,
		    &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, option));
	p = new_file(DIR "/written", false);
	q = new_file(DIR "/mapped", true);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	EXPECT_EQ(variant->d1 * N / 8, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(variant->d2 * N / 8, on_node(p, SIZE, self->n.d2));
	EXPECT_EQ(variant->d1 * N / 8, on_node(q, SIZE, self->n.d1));
	EXPECT_EQ(variant->d2 * N / 8, on_node(q, SIZE, self->n.d2));
}

static bool mounted_with(const char *option)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "grep ' " DIR " ' /proc/mounts | grep -qF '%s'", option);

	return !system(command);
}

TEST_F(nodes, tmpfs_remount)
{
	char first[64], second[64];
	char *p;

	mkdir(DIR, 0700);
	mpol_option(first, sizeof(first), "bind:%d", D1, &self->n);
	mpol_option(second, sizeof(second), "bind:%d", D2, &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, first));
	EXPECT_TRUE(mounted_with(first));
	p = new_file(DIR "/first", false);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", MS_REMOUNT, second));
	EXPECT_TRUE(mounted_with(second));
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);

	/* New files follow the new policy, old ones their own. */
	p = new_file(DIR "/second", false);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
	munmap(p, SIZE);
	ASSERT_EQ(0, truncate(DIR "/first", 0));
	p = new_file(DIR "/first", false);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);
	EXPECT_EQ(0, umount(DIR));
	rmdir(DIR);
}

/* Who maps a file of a bound mount gets its pages, who copies gets his own. */
TEST_F(nodes, tmpfs_users)
{
	char option[64], *p, *copy = make_anon();
	int fd;

	mkdir(DIR, 0700);
	mpol_option(option, sizeof(option), "bind:%d", D1, &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, option));
	p = new_file(DIR "/file", false);
	ASSERT_NE(NULL, p);
	munmap(p, SIZE);
	fd = open(DIR "/file", O_RDONLY);
	EXPECT_EQ((long)SIZE, read(fd, copy, SIZE));
	EXPECT_TRUE(placed(copy, SIZE, self->n.s0, 1));
	p = map_pages(SIZE, MAP_PRIVATE, fd);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
	close(fd);
	EXPECT_EQ(0, umount(DIR));
	rmdir(DIR);
}

/* -- hugetlb ------------------------------------------------------------------ */

FIXTURE(hugetlb)
{
	struct nodes n;
};

FIXTURE_SETUP(hugetlb)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	if (access("/proc/sys/vm/nr_hugepages", W_OK))
		SKIP(return, "no hugetlb");
}

FIXTURE_TEARDOWN_PARENT(hugetlb)
{
	write_text("/proc/sys/vm/nr_overcommit_hugepages", "0");
	write_text("/proc/sys/vm/nr_hugepages", "0");
	EXPECT_EQ(0, nodes_left(&self->n));
}

static char *map_hugetlb(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

/* Whether a device has a huge page of a pool */
static bool pool_has(const struct nodes *n)
{
	const int nids[] = { n->d1, n->d2 };
	char path[128];
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), NODE_FILE, nids[i],
			 "hugepages/hugepages-2048kB/nr_hugepages");
		if (read_number(path) > 0)
			return true;
	}

	return false;
}

/* The pool has pages: they serve whoever asks, from where they are. */
TEST_F(hugetlb, pool)
{
	char *p, *q;
	int status;

	ASSERT_EQ(0, write_text("/proc/sys/vm/nr_hugepages", "4"));
	ASSERT_EQ(4, read_number("/proc/sys/vm/nr_hugepages"));
	EXPECT_FALSE(pool_has(&self->n));
	p = map_hugetlb(HUGE);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, HUGE, 1);
	EXPECT_EQ(0, on_node(p, HUGE, self->n.d1));
	EXPECT_TRUE(intact(p, HUGE, 1));

	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	q = map_hugetlb(HUGE);
	ASSERT_NE(NULL, q);
	fill_pages(q, HUGE, 2);
	EXPECT_EQ(0, on_node(q, HUGE, self->n.d1));
	/* They can't be moved there, either. */
	EXPECT_NE(0, mbind_nodes(q, HUGE, MPOL_BIND, NODE(self->n.d2),
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	status = 0;
	move(p, PAGE, self->n.d2, &status);
	EXPECT_GT(0, status);
	EXPECT_EQ(0, on_node(p, HUGE, self->n.d2));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_TRUE(intact(q, HUGE, 2));
	EXPECT_FALSE(pool_has(&self->n));
}

/* The pool is empty: a task bound to a device gets none made of it. */
TEST_F(hugetlb, empty)
{
	int id;

	ASSERT_EQ(0, write_text("/proc/sys/vm/nr_hugepages", "0"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	EXPECT_EQ(NULL, map_hugetlb(HUGE));
	EXPECT_EQ(ENOMEM, errno);
	id = shmget(IPC_PRIVATE, HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
	EXPECT_EQ(-1, id);
	EXPECT_EQ(ENOMEM, errno);
}

/* Pools that grow on demand, and pools that are filled by the task's policy */
TEST_F(hugetlb, surplus)
{
	int id, status;
	pid_t pid;
	char *p;

	ASSERT_EQ(0, write_text("/proc/sys/vm/nr_overcommit_hugepages", "4"));
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	write_text("/proc/sys/vm/nr_hugepages_mempolicy", "2");
	EXPECT_FALSE(pool_has(&self->n));
	id = shmget(IPC_PRIVATE, HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
	if (id >= 0) {
		p = shmat(id, NULL, 0);
		shmctl(id, IPC_RMID, NULL);
		fill_pages(p, HUGE, 1);
		EXPECT_EQ(0, on_node(p, HUGE, self->n.d1));
	}
	pid = fork();
	if (!pid) {
		p = map_hugetlb(HUGE);
		if (p) {
			fill_pages(p, HUGE, 1);
			_exit(on_node(p, HUGE, self->n.d1) != 0);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(!status || (WIFSIGNALED(status) &&
				WTERMSIG(status) == SIGBUS));
	EXPECT_FALSE(pool_has(&self->n));
}

/* -- Reclaim for a cgroup ------------------------------------------------------ */

/* Asked to give memory back, it gives device pages too; they return there. */
TEST_F(nodes, memory_reclaim)
{
	char path[96];
	char *p;
	int i;

	snprintf(path, sizeof(path), NODE_FILE, self->n.d1,
		 "device_coherent/make_room");
	if (access(path, F_OK))
		SKIP(return, "no reclaim of device pages in this kernel");
	if (swap_on_ram() || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/ram0, or no memory controller");
	p = make_anon();
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 1);
	drain_lists();
	for (i = 0; i < 8 && on_node(p, SIZE, NONE) < N / 2; i++)
		cg_write("memory.reclaim", "%d", SIZE, 0);
	EXPECT_LE(N / 2, on_node(p, SIZE, NONE));
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	cg_leave();
}

TEST_HARNESS_MAIN
