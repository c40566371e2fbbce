// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is full, and what its owners have given back.
 *
 * Its capacity is what it says (invariant 4): the last page can be had, and
 * what somebody has given back is free, whatever make_room says, although the
 * kernel has not freed it yet: parts of huge pages, lazily freed pages, pages
 * that wait in the batch of another CPU, what swap has read ahead. And a request
 * that finds it full is nobody's trouble but its own (invariants 3 and 4): no
 * pressure of the system, no slab, no reclaim of the node.
 *
 * Wants 1 GB of system memory and one device node of 128 MB; see "plan".
 *
 * Each test makes sure that the device is full at first, or that what it looks
 * for is there: then it can't pass without the mechanism under test. How each
 * was seen to fail: with the kernel before it had that mechanism.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define SMALL	(8 * MIB)

/**
 * struct machine - what a test finds, and what is put back after it
 * @dev: the device node
 * @size: its size
 * @swap: swap was switched on
 * @reclaim_mode: of vm.zone_reclaim_mode
 * @swappiness: of vm.swappiness
 */
struct machine {
	int dev;
	size_t size;
	bool swap;
	long reclaim_mode;
	long swappiness;
};

static char *room_file(int nid)
{
	static char path[96];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/make_room",
		 nid);

	return path;
}

static bool set_up(struct machine *m)
{
	int ids[MAX_NODES];

	if (device_nodes(ids) < 1 || getuid())
		return false;
	m->dev = ids[0];
	m->size = node_bytes(m->dev);
	m->swap = false;
	m->reclaim_mode = read_number("/proc/sys/vm/zone_reclaim_mode");
	m->swappiness = read_number("/proc/sys/vm/swappiness");
	run_on(0);

	return true;
}

static void set_number(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	write_text(path, text);
}

static void put_back(struct machine *m)
{
	write_text(room_file(m->dev), "off");
	set_number("/proc/sys/vm/zone_reclaim_mode", m->reclaim_mode);
	set_number("/proc/sys/vm/swappiness", m->swappiness);
	if (m->swap)
		swap_off_loop();
	cg_leave();
}

/* -- Taking what there is -------------------------------------------------- */

static char *map_bound(size_t size, int mode, unsigned long mask)
{
	char *p = map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1);

	if (!p || mbind_nodes(p, size, mode, mask, 0) ||
	    madvise(p, size, MADV_NOHUGEPAGE))
		return NULL;

	return p;
}

/*
 * Small pages until there are none left on the node. The children that take
 * more don't have them, so that nothing is shared.
 */
static char *fill_up(int nid, size_t size)
{
	char *p = map_bound(size, MPOL_BIND, NODE(nid));

	if (!p || madvise(p, size, MADV_DONTFORK))
		return NULL;
	/* Ends when the node is full. */
	madvise(p, size, MADV_POPULATE_WRITE);

	return p;
}

static long free_pages(int nid)
{
	struct node_pages pages;

	if (!node_pages(nid, &pages))
		return -1;

	return pages.free + pages.pcp;
}

/*
 * A child writes to so many new pages. Return: -1 if it was killed for it by
 * SIGBUS, or the number of pages that are on the node
 */
static long touch(int nid, int mode, long pages)
{
	int status, fd[2];
	long got = -2;
	pid_t pid;

	if (pipe(fd))
		return -3;
	pid = fork();
	if (!pid) {
		char *p = map_bound(pages * PAGE, mode, NODE(nid));
		long i;

		for (i = 0; p && i < pages; i++)
			p[i * PAGE] = 1;
		got = p ? on_node(p, pages * PAGE, nid) : -3;
		(void)!write(fd[1], &got, sizeof(got));
		_exit(0);
	}
	close(fd[1]);
	if (read(fd[0], &got, sizeof(got)) != sizeof(got))
		got = -2;
	close(fd[0]);
	waitpid(pid, &status, 0);

	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS ? -1 : got;
}

/* A device that was found full is looked at again after this. */
static void after_a_while(void)
{
	usleep(50000);
}

/* -- What was given back --------------------------------------------------- */

FIXTURE(given_back)
{
	struct machine m;
};

FIXTURE_VARIANT(given_back)
{
	int mode;
	int percent;	/* of what was given back, so much is to be had */
};

FIXTURE_VARIANT_ADD(given_back, bind) {
	.mode = MPOL_BIND,
	.percent = 100,
};

/* Doesn't wait for who has a page just then, but takes system memory. */
FIXTURE_VARIANT_ADD(given_back, preferred) {
	.mode = MPOL_PREFERRED,
	.percent = 90,
};

FIXTURE_SETUP(given_back)
{
	if (!set_up(&self->m))
		SKIP(return, "needs root and a device node");
}

FIXTURE_TEARDOWN(given_back)
{
	put_back(&self->m);
}

/* Huge pages of which one page is left: the others are free. */
TEST_F_TIMEOUT(given_back, partly_mapped, PATIENCE)
{
	size_t at, size = self->m.size - SMALL;
	char *p = map_huge(size);
	long half = size / HUGE * (HUGE / PAGE - 1) / 2;

	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->m.dev), 0));
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	ASSERT_EQ((long)(HUGE / PAGE), folio_pages(p));
	fill_pages(p, size, 1);
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	for (at = 0; at < size; at += HUGE)
		ASSERT_EQ(0, madvise(p + at + PAGE, HUGE - PAGE,
				     MADV_DONTNEED));
	/* The kernel may have split one or two by itself. */
	ASSERT_LT(free_pages(self->m.dev), half / 4);
	after_a_while();
	EXPECT_LE(half * variant->percent / 100,
		  touch(self->m.dev, variant->mode, half));
	for (at = 0; at < size; at += HUGE)
		EXPECT_TRUE(intact(p + at, PAGE, 1 + at / PAGE));
}

/* What was not given back stays, be it nothing but zeroes. */
TEST_F_TIMEOUT(given_back, zeroes_stay, PATIENCE)
{
	size_t at, size = self->m.size - SMALL;
	long kept = size / HUGE * (HUGE / PAGE - 1);
	char *p = map_huge(size);

	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->m.dev), 0));
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	ASSERT_EQ((long)(HUGE / PAGE), folio_pages(p));
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	for (at = 0; at < size; at += HUGE)
		ASSERT_EQ(0, madvise(p + at, PAGE, MADV_DONTNEED));
	after_a_while();
	EXPECT_LE((long)(size / HUGE) * variant->percent / 100,
		  touch(self->m.dev, variant->mode, size / HUGE));
	EXPECT_EQ(kept, on_node(p, size, self->m.dev));
}

/*
 * What is mapped by single entries is unmapped one by one when it moves, and looks
 * for that moment as if it were mapped in part. It is not: nothing was given back.
 */
TEST_F_TIMEOUT(given_back, mapped_by_entries, PATIENCE)
{
	size_t at, size = 8 * HUGE;
	char *p = map_huge(size);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	fill_pages(p, size, 1);
	for (at = 0; at < size; at += HUGE)
		by_entries(p + at);
	if (folio_pages(p) != (long)(HUGE / PAGE))
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, move(p, size, self->m.dev, NULL));
	for (at = 0; at < size; at += HUGE)
		ASSERT_EQ((long)(HUGE / PAGE), folio_pages(p + at));
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	after_a_while();
	EXPECT_EQ(variant->mode == MPOL_BIND ? -1 : 0,
		  touch(self->m.dev, variant->mode, 1024));
	for (at = 0; at < size; at += HUGE)
		EXPECT_EQ((long)(HUGE / PAGE), folio_pages(p + at));
	EXPECT_TRUE(placed(p, size, self->m.dev, 1));
}

static long lazily_freed(int nid)
{
	return node_stat(nid, "nr_inactive_file") +
	       node_stat(nid, "nr_active_file");
}

/* What an allocator gives back by MADV_FREE, and doesn't take again */
TEST_F_TIMEOUT(given_back, lazily_freed, PATIENCE)
{
	char *p = fill_up(self->m.dev, self->m.size);
	size_t half = self->m.size / 2;
	long pages = half / PAGE / 2;

	ASSERT_NE(NULL, p);
	fill_pages(p + half, half / 2, 2);
	ASSERT_EQ(0, madvise(p, half, MADV_FREE));
	drain_lists();
	ASSERT_LT(free_pages(self->m.dev), 64);
	ASSERT_GT(lazily_freed(self->m.dev), pages);
	/* One that its owner writes to again stays. */
	memcpy(p, "still mine", sizeof("still mine"));
	after_a_while();
	EXPECT_LE(pages * variant->percent / 100,
		  touch(self->m.dev, variant->mode, pages));
	EXPECT_STREQ("still mine", p);
	EXPECT_TRUE(intact(p + half, half / 2, 2));
}

TEST_F_TIMEOUT(given_back, lazily_freed_huge, PATIENCE)
{
	size_t size = self->m.size / 2;
	char *p = map_huge(size);
	long pages = size / PAGE / 2;

	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, NODE(self->m.dev), 0));
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(p, size, MADV_DONTFORK));
	ASSERT_EQ(0, madvise(p, size, MADV_POPULATE_WRITE));
	ASSERT_EQ((long)(HUGE / PAGE), folio_pages(p));
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	ASSERT_EQ(0, madvise(p, size, MADV_FREE));
	drain_lists();
	ASSERT_LT(free_pages(self->m.dev), 64);
	after_a_while();
	EXPECT_LE(pages * variant->percent / 100,
		  touch(self->m.dev, variant->mode, pages));
}

/* -- What only a request collects that has nowhere else to go --------------- */

FIXTURE(full)
{
	struct machine m;
};

FIXTURE_SETUP(full)
{
	if (!set_up(&self->m))
		SKIP(return, "needs root and a device node");
}

FIXTURE_TEARDOWN(full)
{
	put_back(&self->m);
}

/* Fewer than a batch of the LRU, which would then be emptied */
#define FEW	12

/* A child on the other CPU takes the last pages, comes here and ends. */
static void leave_in_batch(int nid)
{
	pid_t pid = fork();

	if (!pid) {
		char *p = map_bound(FEW * PAGE, MPOL_BIND, NODE(nid));
		long i;

		run_on(1);
		for (i = 0; i < FEW; i++)
			p[i * PAGE] = 1;
		run_on(0);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

TEST_F_TIMEOUT(full, batch_of_another_cpu, PATIENCE)
{
	char *p = fill_up(self->m.dev, self->m.size);
	int round;

	ASSERT_NE(NULL, p);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	for (round = 0; round < 8; round++) {
		drain_lists();
		ASSERT_EQ(0, madvise(p, FEW * PAGE, MADV_DONTNEED));
		leave_in_batch(self->m.dev);
		EXPECT_EQ(FEW, touch(self->m.dev, MPOL_BIND, FEW));
	}
}

/*
 * So many processes, on two CPUs, each write a byte of their own at the same
 * moment, the next @step bytes behind. Return: how many failed
 */
static int write_at_once(int nr, char *p, size_t step)
{
	int i, status, go[2], failed = 0;
	pid_t pid[4];
	char c;

	if (nr > (int)ARRAY_SIZE(pid) || pipe(go))
		return -1;
	for (i = 0; i < nr; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			run_on(i % 2);
			close(go[1]);
			(void)!read(go[0], &c, 1);
			p[i * (step + 1)] = 1;
			_exit(0);
		}
	}
	close(go[0]);
	close(go[1]);
	for (i = 0; i < nr; i++)
		failed += waitpid(pid[i], &status, 0) != pid[i] || status;

	return failed;
}

/* Several who ask at the same moment don't keep what is free from each other. */
TEST_F_TIMEOUT(full, several_at_once, PATIENCE)
{
	time_t end = time(NULL) + PATIENCE / 2;
	int round;

	for (round = 0; round < 40 && time(NULL) < end; round++) {
		char *rest, *q, *p = map_huge(HUGE);

		ASSERT_EQ(0, mbind_nodes(p, HUGE, MPOL_BIND,
					 NODE(self->m.dev), 0));
		ASSERT_EQ(0, madvise(p, HUGE, MADV_HUGEPAGE));
		ASSERT_EQ(0, madvise(p, HUGE, MADV_DONTFORK));
		ASSERT_EQ(0, madvise(p, HUGE, MADV_POPULATE_WRITE));
		ASSERT_EQ((long)(HUGE / PAGE), folio_pages(p));
		q = map_bound(4 * PAGE, MPOL_BIND, NODE(self->m.dev));
		ASSERT_NE(NULL, q);
		rest = fill_up(self->m.dev, self->m.size);
		ASSERT_NE(NULL, rest);
		ASSERT_EQ(0, madvise(p + PAGE, HUGE - PAGE, MADV_DONTNEED));
		EXPECT_EQ(0, write_at_once(4, q, PAGE));
		munmap(q, 4 * PAGE);
		munmap(rest, self->m.size);
		munmap(p, HUGE);
	}
	EXPECT_LT(0, round);
}

/* Swap reads ahead; what nobody has touched yet is in nobody's way. */
TEST_F_TIMEOUT(full, swap_cache, PATIENCE)
{
	char *p = map_bound(SMALL, MPOL_BIND, NODE(self->m.dev));
	size_t at, sum = 0;

	if (swap_on_loop(64))
		SKIP(return, "no swap on /dev/loop0");
	self->m.swap = true;
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, SMALL, MADV_DONTFORK));
	fill_pages(p, SMALL, 3);
	page_out(p, SMALL);
	for (at = 0; at < SMALL; at += 8 * PAGE)
		sum += p[at];
	ASSERT_NE(0UL, sum);
	drain_lists();
	ASSERT_GT(node_stat(self->m.dev, "nr_swapcached"),
		  2 * (long)(SMALL / PAGE / 8));
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	EXPECT_LE(node_stat(self->m.dev, "nr_swapcached"),
		  (long)(SMALL / PAGE / 8) + 64);
	/* Nothing is lost. */
	write_text(room_file(self->m.dev), "swap");
	EXPECT_TRUE(intact(p, SMALL, 3));
	/* Swap can't be switched off while what is on it has no room. */
	munmap(p, SMALL);
}

/* -- The last page --------------------------------------------------------- */

TEST_F_TIMEOUT(full, last_page, PATIENCE)
{
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	EXPECT_EQ(0, free_pages(self->m.dev));
	EXPECT_EQ(-1, touch(self->m.dev, MPOL_BIND, 1));
}

/*
 * So few that an ordinary zone's counters wouldn't tell of them for a while: those
 * of a device are exact.
 */
TEST_F_TIMEOUT(full, last_few_pages, PATIENCE)
{
	const long interval = read_number("/proc/sys/vm/stat_interval");
	char *p = fill_up(self->m.dev, self->m.size);
	int round;

	ASSERT_NE(NULL, p);
	set_number("/proc/sys/vm/stat_interval", 600);
	for (round = 0; round < 8; round++) {
		madvise(p, self->m.size, MADV_POPULATE_WRITE);
		EXPECT_EQ(0, free_pages(self->m.dev));
		/* What CPUs keep of counters is summed up here, and not again. */
		read_number("/proc/sys/vm/stat_refresh");
		EXPECT_EQ(0, madvise(p, 3 * PAGE, MADV_DONTNEED));
		EXPECT_EQ(3, touch(self->m.dev, MPOL_BIND, 3));
	}
	set_number("/proc/sys/vm/stat_interval", interval);
}

/*
 * The last page is for memory that two processes share: who doesn't get it finds
 * it in the page cache, and isn't killed.
 */
TEST_F_TIMEOUT(full, last_page_is_shared, PATIENCE)
{
	int round, fd = memfd_create("devmem", 0);
	char *p;

	ASSERT_EQ(0, ftruncate(fd, PAGE));
	p = map_pages(PAGE, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, PAGE, MPOL_BIND, NODE(self->m.dev), 0));
	*p = 1;
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	for (round = 0; round < 100; round++) {
		ASSERT_EQ(0, madvise(p, PAGE, MADV_REMOVE));
		EXPECT_EQ(0, write_at_once(2, p, 0));
	}
	close(fd);
}

/* Pages of the zone in blocks that only atomic requests may have */
static long high_atomic_blocks(int nid)
{
	FILE *f = fopen("/proc/pagetypeinfo", "r");
	long blocks = -1;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		char *p = strstr(line, "Coherent");
		long n[4];

		/* Of the lines that count blocks: unmovable, movable, ... */
		if (p && !strstr(line, "type") &&
		    strtol(strchr(line, ' ') + 1, NULL, 10) == nid &&
		    sscanf(p, "Coherent %ld %ld %ld %ld", &n[0], &n[1], &n[2],
			   &n[3]) == 4)
			blocks = n[3];
	}
	if (f)
		fclose(f);

	return blocks;
}

/* Ends as told, or is killed after some seconds. Return: false: not even that */
static bool ends_when_killed(pid_t pid, int seconds)
{
	int i, status;

	for (i = 0; i < 10 * seconds; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return true;
		usleep(100000);
	}
	kill(pid, SIGKILL);
	for (i = 0; i < 100; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return true;
		usleep(100000);
	}

	return false;
}

/* -- Reserves ------------------------------------------------------------------ */

/* Of less than that, the allocator reserves nothing: a block is more than 1 %. */
#define RESERVES_FROM	(100 * HUGE)

FIXTURE(reserve)
{
	struct machine m;
};

FIXTURE_SETUP(reserve)
{
	if (!set_up(&self->m))
		SKIP(return, "needs root and a device node");
	if ((size_t)node_bytes(self->m.dev) < RESERVES_FROM)
		SKIP(return, "needs a device node of 200 MB");
}

FIXTURE_TEARDOWN(reserve)
{
	put_back(&self->m);
}

/*
 * Atomic requests of a driver in the context of a task whose cpuset hasn't the
 * node, for more than a page, make the allocator reserve a block of the zone for
 * such requests.
 */
TEST_F_TIMEOUT(reserve, atomic_requests, PATIENCE)
{
	char *p;
	pid_t pid;

	if (testmod_load() || !cg_enter("cpuset"))
		SKIP(return, "no test module, or no cpusets");
	ASSERT_EQ(0, cg_write("cpuset.mems", "%d", 0, 0));
	ASSERT_EQ(0, testmod("alloc %d 1 8 2", self->m.dev));
	cg_leave();
	EXPECT_EQ(0, high_atomic_blocks(self->m.dev));
	ASSERT_EQ(0, testmod("free"));
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	EXPECT_EQ(0, free_pages(self->m.dev));
	EXPECT_EQ(-1, touch(self->m.dev, MPOL_BIND, 1));

	/* Moving there neither succeeds nor goes on for ever. */
	self->m.swap = !swap_on_loop(64);
	p = map_anon(SMALL);
	fill_pages(p, SMALL, 4);
	pid = fork();
	if (!pid) {
		fill_pages(p, SMALL, 4);
		_exit(mbind_nodes(p, SMALL, MPOL_BIND, NODE(self->m.dev),
				  MPOL_MF_MOVE) ? 1 : 0);
	}
	EXPECT_TRUE(ends_when_killed(pid, 60));
}

/* -- Nobody's trouble but its own ------------------------------------------ */

/* Microseconds that tasks of the machine have waited for memory */
static long stalled_us(void)
{
	char line[128];
	long us = -1;
	FILE *f = fopen("/proc/pressure/memory", "r");

	if (f && fgets(line, sizeof(line), f) && strstr(line, "total="))
		us = atol(strstr(line, "total=") + 6);
	if (f)
		fclose(f);

	return us;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Faults that would have liked to be on the node, of small and huge pages */
static void prefer_full_node(int nid, double until)
{
	while (seconds() < until) {
		char *p = map_huge(2 * HUGE);

		if (!p || mbind_nodes(p, 2 * HUGE, MPOL_PREFERRED, NODE(nid), 0))
			_exit(1);
		madvise(p, HUGE, MADV_HUGEPAGE);
		madvise(p + HUGE, HUGE, MADV_NOHUGEPAGE);
		memset(p, 1, 2 * HUGE);
		munmap(p, 2 * HUGE);
	}
	_exit(0);
}

TEST_F_TIMEOUT(full, no_pressure, PATIENCE)
{
	long before, refused;
	pid_t pid[4];
	double until;
	int i, status;

	if (stalled_us() < 0)
		SKIP(return, "no pressure stall information (CONFIG_PSI)");
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	sleep(1);
	before = stalled_us();
	refused = node_stat(self->m.dev, "coherent_refused");
	until = seconds() + 4;
	for (i = 0; i < 4; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			run_on(i % 2);
			prefer_full_node(self->m.dev, until);
		}
	}
	for (i = 0; i < 4; i++) {
		waitpid(pid[i], &status, 0);
		EXPECT_EQ(0, status);
	}
	EXPECT_GT(node_stat(self->m.dev, "coherent_refused"), refused);
	EXPECT_EQ(before, stalled_us());
}

/* Who asks has cold pages, too, by the lists: some of them may leave again. */
static long most_of(long pages)
{
	return pages - pages / 10;
}

/* The same of a node that makes room: cold pages leave, and nobody waits. */
TEST_F_TIMEOUT(full, no_pressure_of_making_room, PATIENCE)
{
	long before, slabs, displaced;

	if (stalled_us() < 0)
		SKIP(return, "no pressure stall information (CONFIG_PSI)");
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	ASSERT_EQ(0, write_text(room_file(self->m.dev), "move"));
	sleep(1);
	before = stalled_us();
	slabs = vm_event("slabs_scanned");
	displaced = node_stat(self->m.dev, "coherent_displaced");
	EXPECT_LE(most_of(self->m.size / PAGE / 2),
		  touch(self->m.dev, MPOL_BIND, self->m.size / PAGE / 2));
	EXPECT_GT(node_stat(self->m.dev, "coherent_displaced"), displaced);
	EXPECT_EQ(before, stalled_us());
	/* The slab of the system is no room on a device. */
	EXPECT_EQ(slabs, vm_event("slabs_scanned"));
}

TEST_F_TIMEOUT(full, move_without_swappiness, PATIENCE)
{
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	ASSERT_EQ(0, write_text(room_file(self->m.dev), "move"));
	set_number("/proc/sys/vm/swappiness", 0);
	EXPECT_LE(most_of(self->m.size / PAGE / 2),
		  touch(self->m.dev, MPOL_BIND, self->m.size / PAGE / 2));
}

/* A child of the group has so many pages on the node until it is told to end. */
static pid_t start_in_group(int nid, size_t size, int *hold)
{
	pid_t pid = fork();
	char c;

	if (!pid) {
		char *p = map_bound(size, MPOL_BIND, NODE(nid));

		cg_write("cgroup.procs", "%d", getpid(), 0);
		fill_pages(p, size, 7);
		close(hold[1]);
		kill(getpid(), SIGSTOP);
		(void)!read(hold[0], &c, 1);
		_exit(on_node(p, size, nid) == (long)(size / PAGE) &&
		      intact(p, size, 7) ? 0 : 1);
	}
	waitpid(pid, NULL, WUNTRACED);

	return pid;
}

/* A group that is protected by memory.min gives no way, with either LRU. */
TEST_F_TIMEOUT(full, protected_group_stays, PATIENCE)
{
	size_t size = self->m.size / 2;
	int status, hold[2];
	pid_t pid;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	cg_leave();
	mkdir(CG, 0755);
	ASSERT_EQ(0, cg_write("memory.min", "%dM", (int)(self->m.size / MIB), 0));
	ASSERT_EQ(0, pipe(hold));
	pid = start_in_group(self->m.dev, size, hold);
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	ASSERT_EQ(0, write_text(room_file(self->m.dev), "move"));
	touch(self->m.dev, MPOL_PREFERRED, self->m.size / PAGE);
	kill(pid, SIGCONT);
	close(hold[1]);
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
}

static long node_reclaims(void)
{
	return vm_event("zone_reclaim_success") +
	       vm_event("zone_reclaim_failed");
}

/* What vm.zone_reclaim_mode reclaims are pages without a mapping. */
TEST_F_TIMEOUT(full, zone_reclaim_mode, PATIENCE)
{
	int fd = memfd_create("devmem", 0);
	long before, evicted;
	char *p;

	ASSERT_EQ(0, ftruncate(fd, SMALL));
	p = map_pages(SMALL, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SMALL, MPOL_BIND, NODE(self->m.dev), 0));
	fill_pages(p, SMALL, 5);
	munmap(p, SMALL);
	self->m.swap = !swap_on_loop(64);
	ASSERT_NE(NULL, fill_up(self->m.dev, self->m.size));
	set_number("/proc/sys/vm/zone_reclaim_mode", 7);
	before = node_reclaims();
	evicted = node_stat(self->m.dev, "coherent_evicted");
	EXPECT_EQ(-1, touch(self->m.dev, MPOL_BIND, 1));
	EXPECT_EQ(0, touch(self->m.dev, MPOL_PREFERRED, 256));
	EXPECT_EQ(before, node_reclaims());
	EXPECT_EQ(evicted, node_stat(self->m.dev, "coherent_evicted"));
	p = map_pages(SMALL, MAP_SHARED, fd);
	EXPECT_TRUE(intact(p, SMALL, 5));
	close(fd);
}

/* memory.reclaim of a group takes what it has there; the root's is the system. */
TEST_F_TIMEOUT(full, reclaim_of_the_root, PATIENCE)
{
	long evicted = node_stat(self->m.dev, "coherent_evicted");
	char *p = map_bound(SMALL, MPOL_BIND, NODE(self->m.dev));

	if (access("/sys/fs/cgroup/memory.reclaim", W_OK))
		SKIP(return, "the root has no memory.reclaim");
	if (swap_on_loop(64))
		SKIP(return, "no swap on /dev/loop0");
	self->m.swap = true;
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, SMALL, MADV_DONTFORK));
	fill_pages(p, SMALL, 6);
	madvise(p, SMALL, MADV_COLD);
	write_text("/sys/fs/cgroup/memory.reclaim", "48M");
	EXPECT_EQ(evicted, node_stat(self->m.dev, "coherent_evicted"));
	EXPECT_EQ((long)(SMALL / PAGE), on_node(p, SMALL, self->m.dev));
	EXPECT_TRUE(intact(p, SMALL, 6));
}

TEST_HARNESS_MAIN
