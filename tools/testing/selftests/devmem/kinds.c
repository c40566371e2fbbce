// SPDX-License-Identifier: GPL-2.0
/*
 * Every kind of memory, placed and moved in every way: by mbind() and by task
 * policy, before it is there and after.
 *
 * Invariant 1: a kind of memory reaches a device node by a policy or a call
 * that names the node, follows it through fork, swap, mremap and the like as on
 * any other node, and what isn't user memory stays behind.
 * Invariant 2: it is that node, not the other device. Invariant 5: the content
 * is there after each step, and memory that is given out is zeroed. After each
 * test every page of the devices is free again, and none is on a list.
 *
 * Proof that it can fail: with DEVMEM_NODES naming two ordinary nodes of a
 * machine without device nodes, the tests fail that look for what stays in
 * system memory.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/kinds.h"
#include "../kselftest_harness.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

static void set_shmem_thp(const char *value)
{
	write_text(THP "shmem_enabled", value ? value : "never");
}

static char *make_locked(void)
{
	char *p = map_anon(size);

	return p && !mlock2(p, size, MLOCK_ONFAULT) ? p : NULL;
}

static char *make_shared(void)
{
	return map_pages(size, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static char *make_memfd_private(void)
{
	return map_pages(size, MAP_PRIVATE, make_fd());
}

static char *make_memfd_huge(void)
{
	char *p;

	set_shmem_thp("advise");
	p = map_huge_file(size, make_fd());

	return p && !madvise(p, size, MADV_HUGEPAGE) ? p : NULL;
}

static char *make_sysv(void)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	char *p = shmat(id, NULL, 0);

	shmctl(id, IPC_RMID, NULL);

	return p == (char *)-1 ? NULL : p;
}

static char *make_tmpfs(void)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);

	return fd < 0 || ftruncate(fd, size) ? NULL :
		map_pages(size, MAP_SHARED, fd);
}

/* A file with page cache; a ramdisk needs no file system. */
static char *make_file(void)
{
	return map_pages(size, MAP_PRIVATE, open("/dev/ram1", O_RDWR));
}

static char *make_stack(void)
{
	return take_stack(size);
}

static char *make_heap(void)
{
	return take_heap(size);
}

FIXTURE(kind)
{
	struct nodes n;
};

FIXTURE_VARIANT(kind)
{
	char *(*make)(void);
	bool shared;	/* a child sees what its parent writes */
	bool backed;	/* it can't grow beyond the end of the file */
	bool cache;	/* what is read is page cache */
	bool below;	/* what is read is shared memory */
	bool fixed;	/* part of a mapping that has to stay where it is */
	bool huge;
	bool locked;
};

FIXTURE_VARIANT_ADD(kind, anon) {
	.make = make_anon,
};

FIXTURE_VARIANT_ADD(kind, huge) {
	.make = make_huge,
	.huge = true,
};

FIXTURE_VARIANT_ADD(kind, locked) {
	.make = make_locked,
	.locked = true,
};

FIXTURE_VARIANT_ADD(kind, shared) {
	.make = make_shared,
	.shared = true,
	.backed = true,
};

FIXTURE_VARIANT_ADD(kind, memfd) {
	.make = make_memfd,
	.shared = true,
	.backed = true,
};

FIXTURE_VARIANT_ADD(kind, memfd_huge) {
	.make = make_memfd_huge,
	.shared = true,
	.backed = true,
	.huge = true,
};

FIXTURE_VARIANT_ADD(kind, memfd_private) {
	.make = make_memfd_private,
	.backed = true,
	.below = true,
};

FIXTURE_VARIANT_ADD(kind, sysv) {
	.make = make_sysv,
	.shared = true,
	.backed = true,
};

FIXTURE_VARIANT_ADD(kind, tmpfs) {
	.make = make_tmpfs,
	.shared = true,
	.backed = true,
};

FIXTURE_VARIANT_ADD(kind, file) {
	.make = make_file,
	.backed = true,
	.cache = true,
};

FIXTURE_VARIANT_ADD(kind, stack) {
	.make = make_stack,
	.fixed = true,
};

FIXTURE_VARIANT_ADD(kind, heap) {
	.make = make_heap,
	.fixed = true,
};

/* Before each test and after it: what one that was killed may have left */
static void clean_up(void)
{
	swap_off_ram();
	swap_off_loop();
	rmdir(CG);
}

FIXTURE_SETUP(kind)
{
	clean_up();
	/* Where there is little memory, the default is "never". */
	write_text(THP "enabled", "madvise");
	if (variant->huge)
		size = HUGE;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
}

/* In the process that the test was a child of, so that nothing of it lives on */
FIXTURE_TEARDOWN_PARENT(kind)
{
	clean_up();
	if (variant->huge)
		set_shmem_thp(NULL);
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F(kind, bound)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 1);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	EXPECT_EQ(variant->huge ? N : 1, folio_pages(p));
}

TEST_F(kind, task)
{
	char *p;

	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d2)));
	p = variant->make();
	ASSERT_NE(NULL, p);
	fill_pages(p, size, 2);
	EXPECT_TRUE(placed(p, size, self->n.d2, 2));
	EXPECT_EQ(variant->huge ? N : 1, folio_pages(p));
}

/* A child does as its parent was told. */
TEST_F(kind, inherited)
{
	int status;
	pid_t pid;
	char *p;

	ASSERT_EQ(0, set_policy(MPOL_PREFERRED, NODE(self->n.d1)));
	p = variant->make();
	ASSERT_NE(NULL, p);
	pid = fork();
	if (!pid) {
		fill_pages(p, size, 3);
		_exit(on_node(p, size, self->n.d1) != N);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Faults of the kernel's own: copying to user space */
TEST_F(kind, read_into)
{
	int fd = open("/dev/zero", O_RDONLY);
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	EXPECT_EQ((long)size, read(fd, p, size));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
}

TEST_F(kind, populated)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	soil(self->n.d1);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	EXPECT_EQ(0, madvise(p, size, MADV_POPULATE_READ));
	if (variant->cache)
		EXPECT_EQ(0, on_node(p, size, self->n.d1));
	EXPECT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
	if (!variant->cache)
		EXPECT_TRUE(all_zero(p, size));
}

TEST_F(kind, mlocked)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	ASSERT_EQ(0, mlock(p, size));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
	fill_pages(p, size, 4);
	/* Locked pages can be moved by who asks for it. */
	EXPECT_EQ(0, move(p, size, self->n.d2, NULL));
	EXPECT_TRUE(placed(p, size, self->n.d2, 4));
	EXPECT_EQ(0, munlock(p, size));
}

TEST_F(kind, moved_by_mbind)
{
	const int how = MPOL_MF_MOVE | MPOL_MF_STRICT;
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	fill_pages(p, size, 5);
	EXPECT_EQ(0, on_node(p, size, self->n.d1));
	EXPECT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), how));
	EXPECT_TRUE(placed(p, size, self->n.d1, 5));
	EXPECT_EQ(variant->huge ? N : 1, folio_pages(p));
	EXPECT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d2), how));
	EXPECT_TRUE(placed(p, size, self->n.d2, 5));
	EXPECT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.s1), how));
	EXPECT_TRUE(placed(p, size, self->n.s1, 5));
}

/* A page that somebody looks at just then stays. Ask again, as programs do. */
static long move_all(char *p, size_t len, int nid)
{
	long rc;
	int i;

	for (i = 0; i < 5; i++) {
		rc = move(p, len, nid, NULL);
		if (rc <= 0)
			break;
		usleep(50000);
	}

	return rc;
}

TEST_F(kind, moved_by_address)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	fill_pages(p, size, 6);
	EXPECT_EQ(0, move_all(p, size, self->n.d1));
	EXPECT_TRUE(placed(p, size, self->n.d1, 6));
	EXPECT_EQ(variant->huge ? N : 1, folio_pages(p));
	fill_pages(p, size, 7);
	EXPECT_EQ(0, move_all(p, size, self->n.d2));
	EXPECT_TRUE(placed(p, size, self->n.d2, 7));
	EXPECT_EQ(0, move_all(p, size, self->n.s1));
	EXPECT_TRUE(placed(p, size, self->n.s1, 7));
	EXPECT_EQ(variant->huge ? N : 1, folio_pages(p));
}

TEST_F(kind, moved_with_process)
{
	unsigned long s = NODE(self->n.s0) | NODE(self->n.s1);
	pid_t pid;
	char *p;

	pid = start_holder(variant->make, size, 8, &p);
	ASSERT_LT(0, pid);
	EXPECT_LE(0, migrate(pid, s, NODE(self->n.d1)));
	EXPECT_EQ(N, others_on_node(pid, p, size, self->n.d1));
	EXPECT_LE(0, migrate(pid, NODE(self->n.d1), NODE(self->n.d2)));
	EXPECT_EQ(N, others_on_node(pid, p, size, self->n.d2));
	/* What it shares with this process came along, and returns. */
	EXPECT_LE(0, migrate(pid, NODE(self->n.d2), NODE(self->n.s0)));
	EXPECT_EQ(N, others_on_node(pid, p, size, self->n.s0));
	EXPECT_EQ(0, end_holder(pid));
}

/*
 * Out to swap and back, by the policy that holds when it comes back. A ramdisk
 * is written at once and read without the swap cache.
 */
TEST_F(kind, swapped)
{
	const long most = N * 3 / 4;
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	ASSERT_EQ(N, on_node(p, size, self->n.d1));
	if (variant->locked) {
		EXPECT_EQ(-1, madvise(p, size, MADV_PAGEOUT));
		EXPECT_TRUE(placed(p, size, self->n.d1, 9));
		return;
	}

	ASSERT_EQ(0, page_out(p, size));
	EXPECT_LE(most, on_node(p, size, NONE));
	EXPECT_TRUE(intact(p, size, 9));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));

	ASSERT_EQ(0, page_out(p, size));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d2), 0));
	EXPECT_TRUE(intact(p, size, 9));
	EXPECT_LE(most, on_node(p, size, self->n.d2));

	ASSERT_EQ(0, page_out(p, size));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_DEFAULT, 0, 0));
	EXPECT_TRUE(intact(p, size, 9));
	EXPECT_LE(most, on_node(p, size, self->n.s0));
}

/*
 * A loop device is written in the background and read ahead. What is in the
 * swap cache comes back where it is, so it has to leave there first, and only
 * reclaim makes it.
 */
TEST_F(kind, swapped_through_cache)
{
	char *p;
	int i;

	if (variant->locked)
		SKIP(return, "locked memory isn't swapped");
	if (swap_on_loop(16) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	p = variant->make();
	ASSERT_NE(NULL, p);
	fill_pages(p, size, 9);
	ASSERT_EQ(0, page_out(p, size));
	for (i = 0; i < 8 && node_stat(self->n.s0, "nr_swapcached") > N / 4; i++)
		cg_write("memory.reclaim", "%d", size, 0);
	EXPECT_LE(N * 3 / 4, on_node(p, size, NONE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	EXPECT_TRUE(intact(p, size, 9));
	EXPECT_LE(N * 3 / 4, on_node(p, size, self->n.d1));
	fill_pages(p, size, 10);
	ASSERT_EQ(0, page_out(p, size));
	EXPECT_TRUE(intact(p, size, 10));
}

/* Whoever takes the swap away: the pages come back by their own policy. */
TEST_F(kind, swapped_off)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	if (variant->locked)
		SKIP(return, "locked memory isn't swapped");
	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	ASSERT_EQ(0, page_out(p, size));
	EXPECT_LE(N * 3 / 4, on_node(p, size, NONE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d2), 0));
	swap_off_ram();
	EXPECT_TRUE(intact(p, size, 9));
	EXPECT_LE(N * 3 / 4, on_node(p, size, self->n.d2));
}

/* A page that was moved by hand has no policy to come back by. */
TEST_F(kind, swapped_without_policy)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	if (variant->locked)
		SKIP(return, "locked memory isn't swapped");
	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	fill_pages(p, size, 10);
	ASSERT_EQ(0, move(p, size, self->n.d1, NULL));
	ASSERT_EQ(0, page_out(p, size));
	EXPECT_LE(N * 3 / 4, on_node(p, size, NONE));
	EXPECT_TRUE(intact(p, size, 10));
	EXPECT_LE(N * 3 / 4, on_node(p, size, self->n.s0));
}

/* The child writes: it gets copies of its own, by the mapping's policy. */
TEST_F(kind, child_writes)
{
	char *p = variant->make();
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 11);
	pid = fork();
	if (!pid) {
		bool same = intact(p, size, 11);

		fill_pages(p, size, 12);
		_exit(!same || !intact(p, size, 12) ||
		      on_node(p, size, self->n.d1) != N);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(placed(p, size, self->n.d1, variant->shared ? 12 : 11));
}

/* The parent writes, while the child holds on to what there was. */
TEST_F(kind, parent_writes)
{
	int status, fds[2];
	char c, *p = variant->make();
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 13);
	pid = fork();
	if (!pid) {
		close(fds[1]);
		if (read(fds[0], &c, 1))
			_exit(2);
		_exit(!intact(p, size, variant->shared ? 14 : 13) ||
		      on_node(p, size, self->n.d1) != N);
	}
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d2), 0));
	fill_pages(p, size, 14);
	EXPECT_TRUE(placed(p, size, variant->shared ? self->n.d1 : self->n.d2,
			   14));
	close(fds[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Pages and policy go along; what the mapping grows by follows the policy. */
TEST_F(kind, remapped)
{
	unsigned long mask;
	char *p = variant->make(), *to;

	ASSERT_NE(NULL, p);
	if (variant->fixed)
		SKIP(return, "part of another mapping");
	to = map_huge(2 * size);
	ASSERT_NE(NULL, to);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 15);
	ASSERT_EQ(to, mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(placed(to, size, self->n.d1, 15));
	EXPECT_EQ(MPOL_BIND, policy_at(to, &mask));
	EXPECT_EQ(NODE(self->n.d1), mask);

	if (variant->backed)
		return;		/* nothing beyond the end of the file */
	p = mremap(to, size, 2 * size, MREMAP_MAYMOVE);
	ASSERT_NE((char *)MAP_FAILED, p);
	fill_pages(p + size, size, 16);
	EXPECT_TRUE(placed(p, size, self->n.d1, 15));
	EXPECT_TRUE(placed(p + size, size, self->n.d1, 16));

	/* The mapping stays, empty, and has the same policy. */
	to = mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_NE((char *)MAP_FAILED, to);
	EXPECT_TRUE(placed(to, size, self->n.d1, 15));
	EXPECT_EQ(N, on_node(p, size, NONE));
	fill_pages(p, size, 17);
	EXPECT_TRUE(placed(p, size, self->n.d1, 17));
}

/* What is dropped is free at once, and comes back by the policy. */
TEST_F(kind, dropped)
{
	char *p = variant->make();
	int advice = MADV_DONTNEED;

	ASSERT_NE(NULL, p);
	if (variant->shared)
		advice = MADV_REMOVE;
	else if (variant->locked)
		advice = MADV_DONTNEED_LOCKED;
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 17);
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
	EXPECT_LE(N, node_used(self->n.d1));
	ASSERT_EQ(0, madvise(p, size, advice));
	EXPECT_EQ(N, on_node(p, size, NONE));
	/* The pages of a memfd below private copies are on the device as well. */
	EXPECT_EQ(variant->below ? N : 0,
		  node_used_at_rest(self->n.d1, variant->below ? N : 0));
	fill_pages(p, size, 18);
	EXPECT_TRUE(placed(p, size, self->n.d1, 18));
}

TEST_F(kind, aged)
{
	char *p = variant->make();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 19);
	EXPECT_EQ(variant->locked ? -1 : 0, madvise(p, size, MADV_COLD));
	EXPECT_TRUE(placed(p, size, self->n.d1, 19));
	/* Anonymous memory alone can be given away lazily. */
	if (!madvise(p, size, MADV_FREE)) {
		fill_pages(p, size, 20);
		EXPECT_TRUE(placed(p, size, self->n.d1, 20));
	}
}

TEST_HARNESS_MAIN
