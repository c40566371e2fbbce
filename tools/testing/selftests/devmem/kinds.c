// SPDX-License-Identifier: GPL-2.0
/*
 * Every kind of memory, placed and moved in every way: by mbind() and by task
 * policy, before it is there and after.
 *
 * Invariant 1: a kind of memory reaches a device node by a policy or a call
 * that names the node, follows it through fork, swap, mremap, userfaultfd and
 * the like as on any other node, and what isn't user memory stays behind.
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
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define N	((long)(size / PAGE))

/* Of what is placed: enough for a pattern to show, few for a slow machine */
static size_t size = MIB / 2;

/* Both write the default with NULL. */
static void set_thp(int kb, const char *file, const char *value)
{
	char path[128];

	if (!value)
		value = kb == 2048 ? "inherit" : "never";
	snprintf(path, sizeof(path), THP "hugepages-%dkB/%s", kb, file);
	write_text(path, value);
}

static void set_shmem_thp(const char *value)
{
	write_text(THP "shmem_enabled", value ? value : "never");
}

/* -- Kinds ------------------------------------------------------------------ */

static char *make_anon(void)
{
	return map_anon(size);
}

static char *make_huge(void)
{
	char *p = map_huge(size);

	return p && !madvise(p, size, MADV_HUGEPAGE) ? p : NULL;
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

static int make_fd(void)
{
	int fd = memfd_create("devmem", 0);

	return ftruncate(fd, size) ? -1 : fd;
}

static char *make_memfd(void)
{
	return map_pages(size, MAP_SHARED, make_fd());
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

static bool all_zero(const char *p, size_t size)
{
	const unsigned long *word = (const unsigned long *)p;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		if (word[i])
			return false;

	return true;
}

/* Whoever had the pages before must not be seen. */
static void soil(int nid)
{
	char *p = map_anon(2 * size);

	mbind_nodes(p, 2 * size, MPOL_BIND, NODE(nid), 0);
	memset(p, 0xa5, 2 * size);
	munmap(p, 2 * size);
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

/* -- Huge pages of every size ----------------------------------------------- */

FIXTURE(size)
{
	struct nodes n;
};

FIXTURE_VARIANT(size)
{
	int kb;
};

FIXTURE_VARIANT_ADD(size, 16k) { 16 };
FIXTURE_VARIANT_ADD(size, 32k) { 32 };
FIXTURE_VARIANT_ADD(size, 64k) { 64 };
FIXTURE_VARIANT_ADD(size, 128k) { 128 };
FIXTURE_VARIANT_ADD(size, 256k) { 256 };
FIXTURE_VARIANT_ADD(size, 512k) { 512 };
FIXTURE_VARIANT_ADD(size, 1024k) { 1024 };
FIXTURE_VARIANT_ADD(size, 2048k) { 2048 };

FIXTURE_SETUP(size)
{
	char path[128];

	size = HUGE;
	write_text(THP "enabled", "madvise");
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	snprintf(path, sizeof(path), THP "hugepages-%dkB", variant->kb);
	if (access(path, F_OK))
		SKIP(return, "no huge pages of %d kB", variant->kb);
	set_thp(2048, "enabled", "never");
	set_thp(variant->kb, "enabled", "madvise");
	set_thp(2048, "shmem_enabled", "never");
	set_thp(variant->kb, "shmem_enabled", "advise");
}

FIXTURE_TEARDOWN_PARENT(size)
{
	set_thp(variant->kb, "enabled", NULL);
	set_thp(variant->kb, "shmem_enabled", NULL);
	set_thp(2048, "enabled", NULL);
	set_thp(2048, "shmem_enabled", NULL);
	swap_off_ram();
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* How many of the pages belong to a folio of @kb */
static long in_folios_of(const char *p, size_t size, int kb)
{
	const long pages = kb * 1024L / PAGE;
	size_t i;
	long n = 0;

	for (i = 0; i < size; i += kb * 1024L)
		if (folio_pages(p + i) == pages)
			n += pages;

	return n;
}

#define EXPECT_FOLIOS(p) EXPECT_EQ(N, in_folios_of(p, size, variant->kb))

TEST_F(size, bound)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	soil(self->n.d1);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	EXPECT_TRUE(all_zero(p, size));
	fill_pages(p, size, 1);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	EXPECT_FOLIOS(p);
}

TEST_F(size, task)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, set_policy(MPOL_PREFERRED, NODE(self->n.d2)));
	fill_pages(p, size, 2);
	EXPECT_TRUE(placed(p, size, self->n.d2, 2));
	EXPECT_FOLIOS(p);
}

/* Whole folios in turn */
TEST_F(size, interleaved)
{
	char *p = map_huge(2 * size);
	long pages = variant->kb * 1024L / PAGE, n = 0, i;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, 2 * size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, 2 * size, MPOL_INTERLEAVE,
				 NODE(self->n.d1) | NODE(self->n.d2), 0));
	fill_pages(p, 2 * size, 3);
	EXPECT_EQ(N, on_node(p, 2 * size, self->n.d1));
	EXPECT_EQ(N, on_node(p, 2 * size, self->n.d2));
	for (i = 0; i < 2 * N; i += pages) {
		long here = on_node(p + i * PAGE, pages * PAGE, self->n.d1);

		n += here == 0 || here == pages;
	}
	EXPECT_EQ(2 * N / pages, n);
}

/*
 * Once: migration leaves a folio of less than 2 MiB, on any node, on the list
 * of those that may be split, and the next one splits it.
 */
TEST_F(size, moved)
{
	char *p = make_huge(), *q = make_huge(), *r = make_huge();

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	ASSERT_NE(NULL, r);
	fill_pages(p, size, 4);
	EXPECT_TRUE(placed(p, size, self->n.s0, 4));
	EXPECT_EQ(0, move(p, size, self->n.d1, NULL));
	EXPECT_TRUE(placed(p, size, self->n.d1, 4));
	EXPECT_FOLIOS(p);

	fill_pages(q, size, 5);
	EXPECT_EQ(0, mbind_nodes(q, size, MPOL_BIND, NODE(self->n.d2),
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_TRUE(placed(q, size, self->n.d2, 5));
	EXPECT_FOLIOS(q);

	ASSERT_EQ(0, mbind_nodes(r, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(r, size, 6);
	EXPECT_EQ(0, move(r, size, self->n.s1, NULL));
	EXPECT_TRUE(placed(r, size, self->n.s1, 6));
	EXPECT_FOLIOS(r);
}

/* Half of one is written by a child, half of one is dropped. */
TEST_F(size, split)
{
	const size_t half = variant->kb * 1024L / 2;
	char *p = make_huge();
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 5);
	pid = fork();
	if (!pid) {
		fill_pages(p, half, 6);
		_exit(!intact(p, half, 6) ||
		      on_node(p, size, self->n.d1) != N);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(placed(p, size, self->n.d1, 5));

	ASSERT_EQ(0, madvise(p, half, MADV_DONTNEED));
	EXPECT_EQ(N - (long)(half / PAGE), on_node(p, size, self->n.d1));
	fill_pages(p, half, 5);
	EXPECT_TRUE(placed(p, size, self->n.d1, 5));
}

TEST_F(size, swapped)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	if (swap_on_ram())
		SKIP(return, "no swap on /dev/ram0");
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 7);
	ASSERT_EQ(0, page_out(p, size));
	EXPECT_LE(N * 3 / 4, on_node(p, size, NONE));
	EXPECT_TRUE(intact(p, size, 7));
	EXPECT_EQ(N, on_node(p, size, self->n.d1));
}

TEST_F(size, shared)
{
	char *p = map_huge_file(size, make_fd());

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 8);
	EXPECT_TRUE(placed(p, size, self->n.d1, 8));
	EXPECT_FOLIOS(p);
	EXPECT_EQ(0, move(p, size, self->n.d2, NULL));
	EXPECT_TRUE(placed(p, size, self->n.d2, 8));
	EXPECT_FOLIOS(p);
	EXPECT_EQ(0, move(p, size, self->n.s1, NULL));
	EXPECT_TRUE(placed(p, size, self->n.s1, 8));
	EXPECT_FOLIOS(p);
}

/* Folios of any size on one device become one huge page of that device. */
TEST_F(size, collapsed)
{
	char *p = make_huge();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	ASSERT_EQ(N, in_folios_of(p, size, variant->kb));
	EXPECT_EQ(0, madvise(p, size, MADV_COLLAPSE));
	EXPECT_TRUE(placed(p, size, self->n.d1, 9));
	EXPECT_EQ(N, folio_pages(p));
}

TEST_F(size, shared_collapsed)
{
	char *p = map_huge_file(size, make_fd());

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, size, 9);
	/* A page elsewhere, and it's no huge page of the device. */
	if (variant->kb < 2048) {
		ASSERT_EQ(0, move(p, variant->kb * 1024L, self->n.s0, NULL));
		EXPECT_NE(0, madvise(p, size, MADV_COLLAPSE));
		EXPECT_TRUE(intact(p, size, 9));
		ASSERT_EQ(0, move(p, variant->kb * 1024L, self->n.d1, NULL));
	}
	EXPECT_EQ(0, madvise(p, size, MADV_COLLAPSE));
	EXPECT_TRUE(placed(p, size, self->n.d1, 9));
	EXPECT_EQ(N, folio_pages(p));
}

/* -- userfaultfd ------------------------------------------------------------ */

FIXTURE(uffd)
{
	struct nodes n;
	int fd;
	unsigned long features;
	char *p;
};

FIXTURE_VARIANT(uffd)
{
	char *(*make)(void);
	bool shared;
};

FIXTURE_VARIANT_ADD(uffd, anon) {
	.make = make_anon,
};

FIXTURE_VARIANT_ADD(uffd, memfd) {
	.make = make_memfd,
	.shared = true,
};

/* A mapping bound to d1, whose missing pages are ours to provide */
FIXTURE_SETUP(uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->fd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_API, &api));
	self->features = api.features;
	self->p = variant->make();
	ASSERT_NE(NULL, self->p);
	ASSERT_EQ(0, mbind_nodes(self->p, size, MPOL_BIND, NODE(self->n.d1),
				 0));
	reg.range.start = (uintptr_t)self->p;
	reg.range.len = size;
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN_PARENT(uffd)
{
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F(uffd, copy)
{
	char *from = map_anon(size);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)self->p,
		.src = (uintptr_t)from,
		.len = size,
	};

	fill_pages(from, size, 1);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_COPY, &copy));
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 1));
	EXPECT_TRUE(placed(from, size, self->n.s0, 1));
}

/* The zero page is nobody's; what is written to it is the policy's. */
TEST_F(uffd, zero_page)
{
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)self->p,
		.range.len = size,
	};

	soil(self->n.d1);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(variant->shared ? N : 0, on_node(self->p, size, self->n.d1));
	EXPECT_TRUE(all_zero(self->p, size));
	fill_pages(self->p, size, 2);
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 2));
}

static void *serve_faults(void *arg)
{
	int fd = *(int *)arg;
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;
	char *page = map_anon(PAGE);

	while (poll(&wait, 1, -1) > 0) {
		struct uffdio_copy copy = {
			.src = (uintptr_t)page,
			.len = PAGE,
		};

		if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		copy.dst = msg.arg.pagefault.address & ~(PAGE - 1);
		if (ioctl(fd, UFFDIO_COPY, &copy))
			break;
	}

	return NULL;
}

TEST_F(uffd, fault)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_faults, &self->fd));
	fill_pages(self->p, size, 3);
	EXPECT_TRUE(placed(self->p, size, self->n.d1, 3));
}

/* A page that is moved stays on its node: it is the page that moves. */
TEST_F(uffd, move)
{
#ifdef UFFDIO_MOVE
	char *from = map_anon(size);
	struct uffdio_move mv = {
		.dst = (uintptr_t)self->p,
		.src = (uintptr_t)from,
		.len = size,
	};

	if (variant->shared || !(self->features & UFFD_FEATURE_MOVE))
		SKIP(return, "can't move pages of this kind");
	fill_pages(from, size, 4);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_MOVE, &mv));
	EXPECT_TRUE(placed(self->p, size, self->n.s0, 4));
	EXPECT_EQ(N, on_node(from, size, NONE));

	ASSERT_EQ(0, madvise(self->p, size, MADV_DONTNEED));
	ASSERT_EQ(0, mbind_nodes(from, size, MPOL_BIND, NODE(self->n.d2), 0));
	fill_pages(from, size, 5);
	ASSERT_EQ(0, ioctl(self->fd, UFFDIO_MOVE, &mv));
	EXPECT_TRUE(placed(self->p, size, self->n.d2, 5));
#else
	SKIP(return, "no UFFDIO_MOVE in these headers");
#endif
}

static void __attribute__((constructor)) before_tests(void)
{
	khugepaged_sleeps();
}

TEST_HARNESS_MAIN
