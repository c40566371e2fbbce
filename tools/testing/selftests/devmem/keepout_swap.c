// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: what swap is made of (zswap, its
 * writeback, readahead, the swap cache of shared memory) isn't on a device, and
 * takes no page away from where it was placed.
 *
 * Three detectors, see keepout.h: where the pages are; pgalloc_coherent; and
 * after each test a search for pages that nobody asked for. And each test has a
 * control: the same is seen to work on system memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3); see the comment of each test that passes
 * there, too.
 *
 * Wants two system nodes and two device nodes, the second one larger than
 * system memory; see "plan".
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

#define ZSWAP	"/sys/module/zswap/parameters/enabled"

/* Compressed pages of a device are in a pool in system memory. */
TEST_F(out, zswap)
{
	char *p = place(SIZE, self->d1, 1);
	long stored, before;

	if (write_text(ZSWAP, "Y") || swap_on_loop(16))
		SKIP(return, "no zswap, or no swap on /dev/loop0");
	ASSERT_NE(NULL, p);
	stored = vm_event("zswpout");
	before = given();
	ASSERT_EQ(0, madvise(p, SIZE, MADV_PAGEOUT));
	EXPECT_GT(vm_event("zswpout"), stored + PAGES / 2);
	EXPECT_GT(on_node(p, SIZE, NONE), PAGES / 2);
	EXPECT_EQ(before, given());
	EXPECT_EQ(0, unasked());

	/* And back, by the policy of the mapping */
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	swap_off_loop();
	write_text(ZSWAP, "N");
}

/* Return: 0 if a bound task wrote back to swap, with pages of the system */
static int write_back(unsigned long mask, int nid)
{
	long written, before;
	char *p;

	if (!cg_enter("memory") ||
	    cg_write("memory.zswap.max", "%d", 4096, 0) ||
	    set_policy(MPOL_BIND, mask))
		return KSFT_SKIP;
	p = map_anon(SIZE);
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	fill_pages(p, SIZE, 1);
	if (on_node(p, SIZE, nid) != PAGES)
		return 1;
	written = vm_event("zswpwb");
	before = given();
	madvise(p, SIZE, MADV_PAGEOUT);
	/* Control: it does write back. */
	if (vm_event("zswpwb") < written + 100)
		return 2;
	/* A page or two of this program may have followed its policy. */
	if (given() > before + 8)
		return 3;
	set_policy(MPOL_DEFAULT, 0);
	if (!intact(p, SIZE, 1))
		return 4;
	munmap(p, SIZE);
	cg_leave();

	return 0;
}

/*
 * A pool at its limit is written back by whoever meets it. In a child: pages
 * of a cgroup must be gone before page_owner is read, see unasked().
 */
TEST_F(out, zswap_writeback)
{
	int status;
	pid_t pid;

	if (write_text(ZSWAP, "Y") || swap_on_loop(16))
		SKIP(return, "no zswap, or no swap on /dev/loop0");
	pid = fork();
	if (!pid)
		_exit(write_back(self->d1, self->dev[0]));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	rmdir(CG);
	swap_off_loop();
	write_text(ZSWAP, "N");
	if (WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no memory controller with zswap");
	EXPECT_EQ(0, status);
}

/* Neighbours on swap are read by their own owners' policies, or by none. */
TEST_F(out, shared_readahead)
{
	const size_t size = 512 * PAGE;
	char *mine, *others;
	long read_ahead, swapped;
	size_t i;

	if (swap_on_loop(4 * size / MIB) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	write_text("/proc/sys/vm/page-cluster", "3");
	mine = place_shared(size, 0, 1);
	others = place_shared(size, 0, 2);
	/* Four of each in turn, read in clusters of eight */
	swapped = vm_event("pswpout");
	for (i = 0; i < size; i += 4 * PAGE) {
		madvise(mine + i, 4 * PAGE, MADV_PAGEOUT);
		madvise(others + i, 4 * PAGE, MADV_PAGEOUT);
	}
	cg_write("memory.reclaim", "%dM", 16, 0);
	ASSERT_GT(vm_event("pswpout"), swapped + 512);
	ASSERT_EQ(0, mbind_nodes(mine, size, MPOL_BIND, self->d1, 0));

	/* Control: it does read ahead for somebody unbound. */
	read_ahead = vm_event("swap_ra");
	EXPECT_TRUE(intact(others, size / 2, 2));
	EXPECT_GT(vm_event("swap_ra"), read_ahead);

	EXPECT_TRUE(intact(mine, size, 1));
	EXPECT_GT(on_node(mine, size, self->dev[0]), 512 / 4);
	EXPECT_TRUE(intact(others, size, 2));
	EXPECT_EQ(0, on_node(others, size, self->dev[0]));
	munmap(mine, size);
	munmap(others, size);
	cg_leave();
	swap_off_loop();
}

/* A shmem page read from swap is in its place: no second page for it. */
TEST_F(out, shared_swap_in)
{
	long before, now;
	char *p;

	if (!has_make_room(self->dev[0]))
		SKIP(return, "nobody reclaims a group's pages on a device");
	if (swap_on_loop(8) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	p = place_shared(SIZE, self->d1, 1);
	ASSERT_NE(NULL, p);
	before = vm_event("pswpout");
	madvise(p, SIZE, MADV_PAGEOUT);
	ASSERT_GT(vm_event("pswpout"), before + PAGES / 2);
	/* Written out, they are still in the swap cache. */
	cg_write("memory.reclaim", "%dM", 16, 0);
	before = given();
	EXPECT_TRUE(intact(p, SIZE, 1));
	now = given();
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	EXPECT_GT(now, before);
	EXPECT_LE(now, before + PAGES);
	munmap(p, SIZE);
	cg_leave();
	swap_off_loop();
}

TEST_HARNESS_MAIN
