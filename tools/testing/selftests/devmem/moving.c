// SPDX-License-Identifier: GPL-2.0
/*
 * What a page keeps when it moves. /dev/devmem moves small pages that nobody
 * else uses while it holds the lock of the page table, without any of what
 * migrate_pages() does; so each test does the same by move_pages(), too, and
 * both have to keep the same.
 *
 * Invariant 5: the content, the rights and marks of the mapping, the lists and
 * the charge; a write at any instant. Invariant 1: of two devices, each page
 * goes to the system memory it may have.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define PAGES		64L
#define SIZE		(PAGES * PAGE)

/* What is kept, of /proc/PID/pagemap and of /proc/kpageflags */
#define MARKS		(PAGEMAP_SOFT_DIRTY | PAGEMAP_EXCLUSIVE |	\
			 PAGEMAP_UFFD_WP | PAGEMAP_SWAPPED | PAGEMAP_PRESENT)
#define KINDS		(BIT(KPF_UPTODATE) | BIT(KPF_DIRTY) |		\
			 BIT(KPF_LRU) | BIT(KPF_ACTIVE) | BIT(KPF_MMAP) | \
			 BIT(KPF_ANON) | BIT(KPF_SWAPBACKED))

FIXTURE(moving)
{
	struct nodes n;
	int fd;
	char *p;
};

FIXTURE_VARIANT(moving)
{
	bool at_once;
};

FIXTURE_VARIANT_ADD(moving, devmem) { .at_once = true };
FIXTURE_VARIANT_ADD(moving, move_pages) { .at_once = false };

FIXTURE_SETUP(moving)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
	self->p = map_anon(SIZE);
	ASSERT_NE(NULL, self->p);
	fill_pages(self->p, SIZE, 1);
	drain_lists();
}

FIXTURE_TEARDOWN(moving)
{
	if (self->fd < 0)
		return;
	munmap(self->p, SIZE);
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* Return: pages that moved, or -errno */
static long move_range(int fd, bool at_once, char *p, size_t size, int nid)
{
	struct devmem_migrate m = { };
	int status, err;

	if (!at_once)
		return move(p, size, nid, &status) ? -EBUSY : size / PAGE;

	err = devmem_migrate(fd, p, size, nid, DEVMEM_SELF, &m);
	return err ? err : (long)m.moved;
}

/* What is said of each page, by pagemap_entry() or page_flags() */
static void look_at(char *p, unsigned long (*say)(const void *p),
		    unsigned long mask, unsigned long *said)
{
	for (long i = 0; i < PAGES; i++)
		said[i] = say(p + i * PAGE) & mask;
}

/* Every 4th page is rewritten after the marks were cleared, some protected. */
static int set_marks(char *p)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (unsigned long)p, SIZE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = { (unsigned long)p + 8 * PAGE, 8 * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    write_text("/proc/self/clear_refs", "4"))
		return -1;
	for (long i = 0; i < PAGES; i += 4)
		atomic_fetch_or((atomic_char *)p + i * PAGE, 0);
	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		return -1;

	return uffd;
}

static long count_of(const unsigned long *entries, unsigned long bit)
{
	long count = 0;

	for (long i = 0; i < PAGES; i++)
		count += !!(entries[i] & bit);

	return count;
}

TEST_F_TIMEOUT(moving, keeps_the_marks, PATIENCE)
{
	unsigned long before[PAGES], after[PAGES];
	long dirty, uffd;

	/* What is new is dirty, where there are such bits: not on arm64. */
	look_at(self->p, pagemap_entry, MARKS, before);
	dirty = count_of(before, PAGEMAP_SOFT_DIRTY) ? PAGES / 4 : 0;
	uffd = set_marks(self->p);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	look_at(self->p, pagemap_entry, MARKS, before);
	ASSERT_EQ(dirty, count_of(before, PAGEMAP_SOFT_DIRTY));
	ASSERT_EQ(8, count_of(before, PAGEMAP_UFFD_WP));
	EXPECT_EQ(PAGES, move_range(self->fd, variant->at_once, self->p, SIZE,
				    self->n.d1));
	look_at(self->p, pagemap_entry, MARKS, after);
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	EXPECT_EQ(PAGES, move_range(self->fd, variant->at_once, self->p, SIZE,
				    self->n.s0));
	look_at(self->p, pagemap_entry, MARKS, after);
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	close(uffd);
	EXPECT_TRUE(placed(self->p, SIZE, self->n.s0, 1));
}

/* Can the kernel write there for us? */
static bool writable(char *p)
{
	int zero = open("/dev/zero", O_RDONLY);
	char old = *p;
	bool ok = read(zero, p, 1) == 1;

	close(zero);
	if (ok)
		*p = old;

	return ok;
}

TEST_F_TIMEOUT(moving, keeps_the_rights, PATIENCE)
{
	char *p = self->p;

	ASSERT_EQ(0, mprotect(p, SIZE / 2, PROT_READ));
	EXPECT_EQ(PAGES, move_range(self->fd, variant->at_once, p, SIZE,
				    self->n.d1));
	EXPECT_FALSE(writable(p));
	EXPECT_FALSE(writable(p + SIZE / 2 - PAGE));
	EXPECT_TRUE(writable(p + SIZE / 2));
	EXPECT_TRUE(writable(p + SIZE - PAGE));
	ASSERT_EQ(0, mprotect(p, SIZE / 2, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(writable(p));
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
}

static long anon_on_lists(int nid)
{
	return node_stat(nid, "nr_active_anon") +
	       node_stat(nid, "nr_inactive_anon");
}

/* The same kind of page, at once: not on its way to an LRU list, but there */
TEST_F_TIMEOUT(moving, keeps_the_lists, PATIENCE)
{
	unsigned long before[PAGES], after[PAGES];
	long lru = anon_on_lists(self->n.d1);

	look_at(self->p, page_flags, KINDS, before);
	ASSERT_EQ(PAGES, count_of(before, BIT(KPF_LRU)));
	EXPECT_EQ(PAGES, move_range(self->fd, variant->at_once, self->p, SIZE,
				    self->n.d1));
	if (!variant->at_once)
		drain_lists();
	look_at(self->p, page_flags, KINDS, after);
	/* migrate_pages() has unmapped it, which says that it is dirty. */
	for (long i = 0; i < PAGES; i++)
		EXPECT_EQ(before[i] | (after[i] & BIT(KPF_DIRTY)), after[i]);
	EXPECT_EQ(lru + PAGES, anon_on_lists(self->n.d1));
	EXPECT_EQ(PAGES, node_stat(self->n.d1, "nr_anon_pages"));
	EXPECT_EQ(PAGES, move_range(self->fd, variant->at_once, self->p, SIZE,
				    self->n.s0));
	EXPECT_EQ(0, node_stat(self->n.d1, "nr_anon_pages"));
	EXPECT_EQ(lru, anon_on_lists(self->n.d1));
}

/* Bytes of anonymous memory that the cgroup has on a node */
static long charged_on(int nid)
{
	return numa_count(CG "/memory.numa_stat", "anon ", nid);
}

TEST_F_TIMEOUT(moving, keeps_the_charge, PATIENCE)
{
	long before, there = 4 * PAGES;
	char *p;

	if (!cg_enter("memory"))
		SKIP(return, "no cgroup v2 with the memory controller");
	p = map_anon(4 * SIZE);
	ASSERT_NE(NULL, p);
	fill_pages(p, 4 * SIZE, 2);
	drain_lists();
	before = read_number(CG "/memory.current");
	EXPECT_EQ(there, move_range(self->fd, variant->at_once, p, 4 * SIZE,
				    self->n.d1));
	EXPECT_EQ(4 * (long)SIZE, charged_on(self->n.d1));
	EXPECT_GE(64 * (long)PAGE, labs(read_number(CG "/memory.current") - before));
	EXPECT_EQ(there, move_range(self->fd, variant->at_once, p, 4 * SIZE,
				    self->n.s0));
	EXPECT_EQ(0, charged_on(self->n.d1));
	EXPECT_TRUE(intact(p, 4 * SIZE, 2));
	munmap(p, 4 * SIZE);
	EXPECT_GE(64 * (long)PAGE, read_number(CG "/memory.current") -
			     (before - 4 * (long)SIZE));
	cg_leave();
}

/* Of one that waits in another CPU's batch for its LRU list, too */
TEST_F_TIMEOUT(moving, counts_each_once, PATIENCE)
{
	struct devmem_migrate m = { };

	if (!variant->at_once || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "counts are /dev/devmem's; needs two CPUs");
	for (long i = 0; i < PAGES; i += 20) {
		ASSERT_EQ(0, madvise(self->p + i * PAGE, PAGE, MADV_DONTNEED));
		ASSERT_TRUE(run_on(1));
		self->p[i * PAGE] = 1;
		ASSERT_TRUE(run_on(0));
	}
	EXPECT_EQ(0, devmem_migrate(self->fd, self->p, SIZE, self->n.d1,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(0, m.there);
	EXPECT_EQ(PAGES, on_node(self->p, SIZE, self->n.d1));
}

/* -- Meanwhile ------------------------------------------------------------- */

struct writer {
	atomic_long *p;		/* a counter in each page */
	atomic_bool stop;
	long rounds;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop)) {
		for (long i = 0; i < PAGES; i++)
			atomic_fetch_add(&w->p[i * PAGE / sizeof(*w->p)], 1);
		w->rounds++;
		if (!(w->rounds % 16))
			sched_yield();
	}

	return NULL;
}

TEST_F_TIMEOUT(moving, loses_no_write, PATIENCE)
{
	struct writer w = { .p = (atomic_long *)self->p };
	long moved = 0, wrong = 0, n;
	pthread_t thread;

	memset(self->p, 0, SIZE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_on, &w));
	for (int i = 0; i < 200; i++) {
		n = move_range(self->fd, variant->at_once, self->p, SIZE,
			       i % 2 ? self->n.s0 : self->n.d1);
		moved += n > 0 ? n : 0;
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	for (long i = 0; i < PAGES; i++)
		wrong += w.p[i * PAGE / sizeof(*w.p)] != w.rounds;
	EXPECT_EQ(0, wrong);
	/* A page that is in the middle of a fault may stay. */
	EXPECT_LE(150 * PAGES, moved);
	EXPECT_LE(1, w.rounds);
}

/* Each page of two devices, in turns, goes to the nearest system memory. */
TEST_F_TIMEOUT(moving, leaves_both_devices, PATIENCE)
{
	char *p = self->p;

	for (long i = 0; i < PAGES; i++)
		ASSERT_EQ(1, move_range(self->fd, variant->at_once,
					p + i * PAGE, PAGE,
					i % 2 ? self->n.d1 : self->n.d2));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(PAGES / 2, on_node(p, SIZE, self->n.d2));
	EXPECT_EQ(PAGES, move_range(self->fd, true, p, SIZE,
				    DEVMEM_NODE_SYSTEM));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->n.s0) +
			 on_node(p, SIZE, self->n.s1));
	EXPECT_TRUE(intact(p, SIZE, 1));
}

TEST_HARNESS_MAIN
