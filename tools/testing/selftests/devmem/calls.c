// SPDX-License-Identifier: GPL-2.0
/*
 * Every call and every file that places memory or says where it is: the
 * table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst, for what doesn't depend on
 * the kind of memory and isn't in policy.c.
 *
 * Invariant 1: who asks by a policy has it for stacks, threads, exec() and what
 * is locked. Invariant 5: the content is there after each step.
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
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/asking.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

static char *make_huge(void)
{
	return map_huge(HUGE);
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
static char data_and_more[33 * MAX_PAGE] = "initialised";

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

	if (pmd_bytes != HUGE)
		SKIP(return, NO_COLLAPSE);
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
