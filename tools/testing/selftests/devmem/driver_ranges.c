// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: ranges of a process that it moves, and what it says of them.
 *
 * Invariant 5: a range that moves, or doesn't, keeps its content; and after
 * each test no page of a device is in use. What is counted adds up to the
 * range.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../../../../mm/gup_test.h"
#include "../kselftest_harness.h"

/* -- Migration ------------------------------------------------------------- */

static long sum_of(const struct devmem_migrate *m)
{
	return m->moved + m->there + m->absent + m->shared + m->pinned +
	       m->file + m->no_room + m->busy + m->unmovable;
}

/* Pages that came to two nodes, and left them, as the nodes have counted */
struct moves {
	long in[2], out[2];
};

static struct moves moves(const struct nodes *n)
{
	return (struct moves){
		.in = { node_stat(n->d1, "coherent_moved_in"),
			node_stat(n->d2, "coherent_moved_in") },
		.out = { node_stat(n->d1, "coherent_moved_out"),
			 node_stat(n->d2, "coherent_moved_out") },
	};
}

TEST_F_TIMEOUT(driver, migrate_there_and_back, PATIENCE)
{
	struct devmem_migrate m = { };
	struct moves before, after;
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	before = moves(&self->n);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	after = moves(&self->n);
	EXPECT_EQ(before.in[0] + PAGES, after.in[0]);
	EXPECT_EQ(before.out[0], after.out[0]);
	EXPECT_EQ(PAGES, sum_of(&m));
	EXPECT_EQ(0, m.size);
	EXPECT_EQ((unsigned long)p + SIZE, m.addr);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));

	/* Again: all there. From one device to the other, and home */
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.there);
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, DEVMEM_NODE_SYSTEM,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES, m.moved);
	after = moves(&self->n);
	EXPECT_EQ(before.in[0] + PAGES, after.in[0]);
	EXPECT_EQ(before.out[0] + PAGES, after.out[0]);
	EXPECT_EQ(before.in[1] + PAGES, after.in[1]);
	EXPECT_EQ(before.out[1] + PAGES, after.out[1]);
	EXPECT_EQ(0, node_left(self->n.d1) + node_left(self->n.d2));
	EXPECT_TRUE(intact(p, SIZE, 1));
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.s1, DEVMEM_SELF,
				    &m));
	EXPECT_TRUE(placed(p, SIZE, self->n.s1, 1));
	munmap(p, SIZE);
}

static void touch(const char *p)
{
	asm volatile("" : : "r" (*p));
}

/* A range with holes of each kind: each page is counted once. */
TEST_F_TIMEOUT(driver, migrate_counts_what_stays, PATIENCE)
{
	char *p = map_pages(16 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int file = open("/proc/self/exe", O_RDONLY);
	struct devmem_migrate m = { };
	int buf;

	ASSERT_NE(NULL, p);
	buf = devmem_alloc(self->fd, self->n.d1, PAGE, 0, 0);
	ASSERT_LE(0, buf);
	fill_pages(p, 4 * PAGE, 1);
	ASSERT_NE(MAP_FAILED, mmap(p + 4 * PAGE, 2 * PAGE, PROT_READ,
				   MAP_PRIVATE | MAP_FIXED, file, 0));
	ASSERT_NE(MAP_FAILED, mmap(p + 6 * PAGE, PAGE, PROT_READ,
				   MAP_SHARED | MAP_FIXED, buf, 0));
	ASSERT_EQ(0, munmap(p + 8 * PAGE, 2 * PAGE));
	touch(p + 4 * PAGE);
	touch(p + 5 * PAGE);
	touch(p + 6 * PAGE);
	/* Only read: the zero page */
	touch(p + 15 * PAGE);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, 16 * PAGE, self->n.d1,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(4, m.moved);
	EXPECT_EQ(2, m.file);
	EXPECT_EQ(1, m.unmovable);
	EXPECT_EQ(9, m.absent);
	EXPECT_EQ(16, sum_of(&m));
	EXPECT_TRUE(intact(p, 4 * PAGE, 1));
	munmap(p, 8 * PAGE);
	munmap(p + 10 * PAGE, 6 * PAGE);
	close(buf);
	close(file);
}

TEST_F_TIMEOUT(driver, migrate_shared_pages, PATIENCE)
{
	struct devmem_migrate m = { };
	char *p = map_anon(SIZE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.shared);
	EXPECT_EQ(0, node_used(self->n.d1));
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_SHARED };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_leaves_what_is_pinned, PATIENCE)
{
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct pin_longterm_test args;
	struct devmem_migrate m = { };
	struct devmem_verify v;
	char *p = map_anon(SIZE);

	if (gup < 0)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	args = (struct pin_longterm_test){
		.addr = (unsigned long)p + 8 * PAGE, .size = 8 * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	ASSERT_EQ(0, ioctl(gup, PIN_LONGTERM_TEST_START, &args));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(8, v.pinned);
	m.flags = DEVMEM_MIGRATE_ALL;
	EXPECT_EQ(-EBUSY, devmem_migrate(self->fd, p, SIZE, self->n.d1,
					 DEVMEM_SELF, &m));
	EXPECT_EQ(8, m.pinned);
	EXPECT_EQ(0, m.moved);
	EXPECT_EQ(0, node_used(self->n.d1));
	m = (struct devmem_migrate){ };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(8, m.pinned);
	EXPECT_EQ(PAGES - 8, m.moved);
	ASSERT_EQ(0, ioctl(gup, PIN_LONGTERM_TEST_STOP));
	EXPECT_TRUE(intact(p, SIZE, 1));
	close(gup);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_in_steps, PATIENCE)
{
	struct devmem_migrate m = { .budget = MIB };
	char *p = map_anon(SIZE);
	int steps = 0;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	m.addr = (unsigned long)p;
	m.size = SIZE;
	m.node = self->n.d1;
	m.pidfd = DEVMEM_SELF;
	while (m.size) {
		ASSERT_EQ(0, devmem_call(self->fd, DEVMEM_IOC_MIGRATE, &m));
		steps++;
		ASSERT_EQ(steps * MIB / PAGE, m.moved);
	}
	EXPECT_EQ(8, steps);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);
}

/* A signal each millisecond: each call gets on, and in the end all is there. */
TEST_F_TIMEOUT(driver, migrate_is_interrupted, PATIENCE)
{
	size_t size = self->size / 2;
	struct devmem_migrate m = { };
	int interrupted = 0, ret;
	char *p = map_anon(size);

	ASSERT_NE(NULL, p);
	fill_pages(p, size, 1);
	m.addr = (unsigned long)p;
	m.size = size;
	m.node = self->n.d1;
	m.pidfd = DEVMEM_SELF;
	ticks(1000);
	while ((ret = devmem_call(self->fd, DEVMEM_IOC_MIGRATE, &m)) == -EINTR) {
		interrupted++;
		ASSERT_LT(interrupted, 10000);
	}
	ticks(0);
	EXPECT_EQ(0, ret);
	EXPECT_LT(0, interrupted);
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	munmap(p, size);
}

TEST_F_TIMEOUT(driver, migrate_to_a_full_node, PATIENCE)
{
	size_t size = 4 * MIB;
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_ALL };
	char *p = map_anon(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	buf = devmem_alloc(self->fd, self->n.d1, self->size - size,
			   DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-ENOMEM, devmem_migrate(self->fd, p, SIZE, self->n.d1,
					  DEVMEM_SELF, &m));
	EXPECT_EQ(0, m.moved);
	EXPECT_EQ((SIZE - size) / PAGE, m.no_room);
	EXPECT_EQ(0, on_node(p, SIZE, self->n.d1));
	m = (struct devmem_migrate){ };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ((SIZE - size) / PAGE, m.no_room);
	EXPECT_EQ((long)(size / PAGE), on_node(p, SIZE, self->n.d1));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(buf);
}

static char *map_thp(size_t size)
{
	char *p = map_huge(size);

	if (p && madvise(p, size, MADV_HUGEPAGE))
		return NULL;
	if (p)
		fill_pages(p, size, 1);

	return p;
}

TEST_F_TIMEOUT(driver, migrate_huge_pages, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
	struct devmem_verify v;
	char *p = map_thp(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	if (folio_pages(p) != HUGE / PAGE)
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(pmd_bytes == HUGE ? PAGES : 0, v.huge);
	EXPECT_EQ(PAGES, v.device);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));

	/* No huge page left on the other: as a whole it stays */
	buf = devmem_alloc(self->fd, self->n.d2, node_bytes(self->n.d2) - MIB,
			   DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_WHOLE };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.no_room);
	EXPECT_EQ(HUGE / PAGE, folio_pages(p));
	/* in pieces it goes as far as there is room. */
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(MIB / PAGE, m.moved);
	EXPECT_EQ(PAGES, sum_of(&m));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(buf);
}

TEST_F_TIMEOUT(driver, migrate_sets_the_policy, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_POLICY };
	char *p = map_anon(SIZE);
	unsigned long mask;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE / 2, 1);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES / 2, m.moved);
	EXPECT_EQ(PAGES / 2, m.absent);
	EXPECT_EQ(MPOL_BIND, policy_at(p, &mask));
	EXPECT_EQ(NODE(self->n.d1), mask);
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_POLICY };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, DEVMEM_NODE_SYSTEM,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p, &mask));
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_another_process, PATIENCE)
{
	size_t size = 64 * MIB;
	struct devmem_migrate m = { };
	struct devmem_verify v;
	int pidfd;
	pid_t pid;
	char *p;

	pid = start_holder(anon_for_holder, size, 5, &p);
	ASSERT_LT(0, pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, size, self->n.d1, pidfd, &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ((long)(size / PAGE), others_on_node(pid, p, size, self->n.d1));
	ASSERT_EQ(0, devmem_verify(self->fd, p, size, pidfd, NULL, 0, &v));
	EXPECT_EQ(size / PAGE, v.device);
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, size, DEVMEM_NODE_SYSTEM, pidfd,
				    &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ(0, end_holder(pid));
	close(pidfd);
}

/* -- Where a range is ------------------------------------------------------ */

TEST_F_TIMEOUT(driver, verify_counts_each_page_once, PATIENCE)
{
	__u64 nodes[MAX_NODES] = { };
	struct devmem_verify v;
	char *p = map_anon(SIZE);
	long i, sum = 0;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE / 2, 1);
	ASSERT_EQ(0, move(p, SIZE / 4, self->n.d1, NULL));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, nodes,
				   MAX_NODES, &v));
	EXPECT_EQ(PAGES / 2, v.present);
	EXPECT_EQ(PAGES / 2, v.absent);
	EXPECT_EQ(0, v.swapped + v.shared + v.pinned + v.file + v.unmovable);
	EXPECT_EQ(PAGES / 4, v.device);
	EXPECT_EQ(PAGES / 4, nodes[self->n.d1]);
	for (i = 0; i < MAX_NODES; i++)
		sum += nodes[i];
	EXPECT_EQ(PAGES / 2, sum);

	/* An array that is too short has what fits. */
	memset(nodes, 0xff, sizeof(nodes));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, nodes, 1, &v));
	EXPECT_EQ(-1ULL, nodes[1]);
	EXPECT_EQ(PAGES / 4, v.device);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, verify_sees_swap_and_sharing, PATIENCE)
{
	struct devmem_verify v;
	char *p = map_anon(SIZE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	if (swap_on_loop(64))
		SKIP(return, "no swap on a loop device");
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, page_out(p, SIZE / 2));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_LT(0, v.swapped);
	EXPECT_EQ(PAGES, v.swapped + v.present);
	EXPECT_TRUE(intact(p, SIZE, 1));
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(PAGES, v.shared);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(p, SIZE);
	swap_off_loop();
}

TEST_HARNESS_MAIN
