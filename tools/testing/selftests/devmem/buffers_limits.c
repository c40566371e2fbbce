// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: requests for buffers that can't be met, or are no longer wanted.
 *
 * Invariant 4: a request that can't be met costs its cgroup nothing, neither a
 * process nor its page cache; one that can be met reclaims what it takes. A
 * signal ends a request, and nothing is left of it.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/buffers.h"
#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define CACHED		(48 * MIB)	/* page cache of a group */

/* -- Groups ------------------------------------------------------------------ */

FIXTURE(group)
{
	struct nodes n;
	size_t size;		/* of the first device */
	long kills;
	int fd;
};

FIXTURE_SETUP(group)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
	self->kills = vm_event("oom_kill");
}

FIXTURE_TEARDOWN(group)
{
	if (self->fd < 0)
		return;
	cg_leave();
	EXPECT_EQ(self->kills, vm_event("oom_kill"));
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

static long cg_line(const char *file, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), CG "/%s", file);

	return number_in(path, name);
}

/* Takes memory of the group and gives it back, for ever */
static pid_t start_innocent(size_t size)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_oom_score(1000);
	for (;;) {
		char *p = map_anon(size);

		if (!p)
			_exit(2);
		memset(p, 1, size);
		munmap(p, size);
	}
}

/* 90 MB are free, 100 MB are wanted, and the group has 120 MB. */
TEST_F_TIMEOUT(group, impossible_kills_nobody, PATIENCE)
{
	const size_t gap = 90 * MIB;
	time_t end = time(NULL) + 5;
	int filler, i, status, wrong = 0;
	pid_t innocent;

	filler = devmem_alloc(self->fd, self->n.d1, self->size - gap, EXACT, 0);
	ASSERT_LE(0, filler);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 120, 0));
	innocent = start_innocent(25 * MIB);
	for (i = 0; i < 20 || time(NULL) < end; i++)
		wrong += why(self->fd, self->n.d1, 100 * MIB, EXACT) !=
			 DEVMEM_REASON_FULL;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, waitpid(innocent, &status, WNOHANG));
	EXPECT_EQ(0, cg_line("memory.events", "max"));

	/* The control: what there is can be had, at its side. */
	wrong = 0;
	for (i = 0; i < 5; i++)
		wrong += why(self->fd, self->n.d1, gap, EXACT) != 0;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, waitpid(innocent, &status, WNOHANG));
	kill(innocent, SIGKILL);
	waitpid(innocent, &status, 0);
	close(filler);
}

/* A block device of zeroes, read into the page cache of the group */
static int fill_cache(size_t size)
{
	int file = memfd_create("disk", MFD_CLOEXEC), loop;
	static char buf[MIB];
	size_t done = 0;

	loop = open("/dev/loop0", O_RDWR | O_CLOEXEC);
	if (file < 0 || loop < 0 || ftruncate(file, size) ||
	    ioctl(loop, LOOP_SET_FD, file))
		return -1;
	close(file);
	while (done < size && read(loop, buf, sizeof(buf)) == sizeof(buf))
		done += sizeof(buf);

	return done == size ? loop : -1;
}

static void drop_cache(int loop)
{
	ioctl(loop, LOOP_CLR_FD, 0);
	close(loop);
}

static long cached(void)
{
	return cg_line("memory.stat", "file");
}

/* How much page cache is lost to a request, and why that is refused */
static int costs(int fd, int nid, size_t size, unsigned int flags, long *lost)
{
	long before = cached();
	int reason = why(fd, nid, size, flags);

	*lost = before - cached();

	return reason;
}

TEST_F_TIMEOUT(group, impossible_costs_no_cache, PATIENCE)
{
	const unsigned int kinds[] = { 0, EXACT, CONTIG, DEVMEM_ALLOC_HUGE };
	int all[2], disk, i;
	long lost;

	all[0] = devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0);
	all[1] = devmem_alloc(self->fd, self->n.d2, node_bytes(self->n.d2),
			      EXACT, 0);
	ASSERT_LE(0, all[0]);
	ASSERT_LE(0, all[1]);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 110, 0));
	disk = fill_cache(CACHED);
	ASSERT_LE(0, disk);
	ASSERT_LE((long)CACHED, cached());

	/* All nodes are full. */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(DEVMEM_REASON_FULL,
			  costs(self->fd, self->n.d1, 100 * MIB, kinds[i], &lost));
		EXPECT_GT((long)MIB, lost);
	}
	close(all[0]);
	close(all[1]);

	/* More than the group may have, ever */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(DEVMEM_REASON_GROUP,
			  costs(self->fd, self->n.d1, 120 * MIB, kinds[i], &lost));
		EXPECT_GT((long)MIB, lost);
	}
	EXPECT_EQ(0, cg_line("memory.events", "max"));

	/* The control: for what can be had, the cache makes room. */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, costs(self->fd, self->n.d1, (76 + 6 * i) * MIB,
				   kinds[i], &lost));
		EXPECT_LT((long)MIB, lost);
	}
	drop_cache(disk);
}

/* Enough is free, but not in one place: seen before anybody is charged */
TEST_F_TIMEOUT(group, fragmented_costs_no_cache, PATIENCE)
{
	int low, hole, high, disk;
	long lost;

	low = devmem_alloc(self->fd, self->n.d1, self->size / 2 - 8 * MIB,
			   EXACT | CONTIG, 0);
	hole = devmem_alloc(self->fd, self->n.d1, PAGE, EXACT, 0);
	high = devmem_alloc(self->fd, self->n.d1, self->size / 2 - 8 * MIB,
			    EXACT | CONTIG, 0);
	ASSERT_LE(0, low);
	ASSERT_LE(0, hole);
	ASSERT_LE(0, high);
	close(low);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 90, 0));
	disk = fill_cache(CACHED);
	ASSERT_LE(0, disk);
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED,
		  costs(self->fd, self->n.d1, 66 * MIB, EXACT | CONTIG, &lost));
	EXPECT_GT((long)MIB, lost);
	EXPECT_EQ(0, costs(self->fd, self->n.d1, 66 * MIB, EXACT, &lost));
	EXPECT_LT((long)MIB, lost);
	drop_cache(disk);
	close(hole);
	close(high);
}

/* It is the group above that has the limit. */
TEST_F_TIMEOUT(group, limit_above, PATIENCE)
{
	char pid[16];

	if (!cg_enter("memory") || mkdir(CG "/leaf", 0755))
		SKIP(return, "no memory cgroups");
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(0, write_text(CG "/leaf/cgroup.procs", pid));
	ASSERT_EQ(0, write_text(CG "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 32, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why(self->fd, self->n.d1, 64 * MIB, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why(self->fd, self->n.d1, 64 * MIB,
					   ASK));
	EXPECT_EQ(0, cg_line("memory.events", "max"));
	EXPECT_EQ(0, why(self->fd, self->n.d1, 16 * MIB, 0));
	EXPECT_EQ(0, write_text("/sys/fs/cgroup/cgroup.procs", pid));
	rmdir(CG "/leaf");
}

/* -- Signals ------------------------------------------------------------------ */

FIXTURE(signals)
{
	struct nodes n;
	size_t size;
	int fd;
};

FIXTURE_VARIANT(signals)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(signals, plain) {
};

FIXTURE_VARIANT_ADD(signals, huge) {
	.flags = DEVMEM_ALLOC_HUGE,
};

FIXTURE_VARIANT_ADD(signals, contiguous) {
	.flags = CONTIG,
};

FIXTURE_SETUP(signals)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
}

FIXTURE_TEARDOWN(signals)
{
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* Of how many of 40 requests a signal is the end, each a bit later than the last */
static int ended_by_signal(int fd, int nid, size_t size, unsigned int flags,
			   int *wrong)
{
	int i, ret, ended = 0;

	for (i = 0; i < 40; i++) {
		ticks(500 + 300 * i);
		ret = devmem_alloc(fd, nid, size, EXACT | flags, 0);
		ticks(0);
		if (ret >= 0)
			close(ret);
		ended += ret == -EINTR;
		*wrong += ret < 0 && ret != -EINTR;
	}

	return ended;
}

/* Not one that is fatal: one that a handler sees. Asked again, it is there. */
TEST_F_TIMEOUT(signals, end_a_request, PATIENCE)
{
	int wrong = 0, buf;
	long before;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	before = read_number(CG "/memory.current");
	EXPECT_LT(0, ended_by_signal(self->fd, self->n.d1, self->size - 2 * MIB,
				     variant->flags, &wrong));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, node_left(self->n.d1));
	EXPECT_GT(before + (long)(4 * MIB), read_number(CG "/memory.current"));
	buf = devmem_alloc(self->fd, self->n.d1, self->size - 2 * MIB,
			   EXACT | variant->flags, 0);
	EXPECT_LE(0, buf);
	close(buf);
	cg_leave();
}

TEST_HARNESS_MAIN
