// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is full, and memory that is short elsewhere.
 *
 * Invariant 4: a full device kills nobody but the task that is bound to it; if
 * its owner says so (make_room), cold pages give way, and nobody dies at all.
 * The OOM killer of the system doesn't take a task for what it has on a
 * device, and a cgroup at its limit reclaims what it has there. Invariant 5:
 * whatever is moved or swapped for that keeps its content. Every page that
 * comes, goes or isn't to be had is in the counter that says so, and traced.
 *
 * Wants 1 GB of system memory and two device nodes of 128 MB; see "plan".
 *
 * Each test has a control that shows the opposite: without make_room, without
 * swap, with the memory in the system.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define WATERMARK_BOOST	"/proc/sys/vm/watermark_boost_factor"
#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))

FIXTURE(device)
{
	int dev[MAX_NODES];
	unsigned long d1;		/* mask */
	size_t size;			/* of the first device */
	bool swap;
};

static char *node_file(int nid, const char *name)
{
	static char path[96];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/%s", nid,
		 name);

	return path;
}

static int set_room(int nid, const char *how)
{
	return write_text(node_file(nid, "device_coherent/make_room"), how);
}

/* A counter of the node's own vmstat, as of this moment */
static long counter(int nid, const char *name)
{
	char line[128], word[64];
	long value = -1, n;
	FILE *f;

	vm_event("nr_free_pages");
	read_number("/proc/sys/vm/stat_refresh");
	f = fopen(node_file(nid, "vmstat"), "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", word, &n) == 2 &&
		    !strcmp(word, name))
			value = n;
	if (f)
		fclose(f);

	return value;
}

FIXTURE_SETUP(device)
{
	if (device_nodes(self->dev) < 2 || getuid())
		SKIP(return, "needs root and two device nodes");
	self->d1 = 1UL << self->dev[0];
	self->size = node_bytes(self->dev[0]);
	/* From a holder that died: end_tenant() tells by its status. */
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(device)
{
	set_room(self->dev[0], "off");
	set_room(self->dev[1], "off");
	if (self->swap)
		swap_off_loop();
}

/* -- Tasks that have memory on a device ----------------------------------- */

/* One that fills @size bytes on the nodes of @mask, and waits to be asked */
struct tenant {
	pid_t pid;
	int ask, answer;
	size_t size;
};

static void hold_memory(struct tenant *h, int mode, unsigned long mask,
			unsigned int seed, int ask, int answer)
{
	char *p = map_pages(h->size, MAP_PRIVATE | MAP_ANONYMOUS |
			    MAP_NORESERVE, -1);
	char c = 'r';

	if (!p || mbind_nodes(p, h->size, mode, mask, 0))
		_exit(2);
	fill_pages(p, h->size, seed);
	if (write(answer, &c, 1) != 1 || read(ask, &c, 1) != 1)
		_exit(3);
	_exit(intact(p, h->size, seed) ? 0 : 1);
}

/* Return: false if it died before it had its memory */
static bool start_tenant(struct tenant *h, int mode, unsigned long mask,
			 size_t size, unsigned int seed)
{
	int ask[2], answer[2];
	char c;

	if (pipe(ask) || pipe(answer))
		return false;
	h->size = size;
	h->pid = fork();
	if (!h->pid) {
		close(ask[1]);
		close(answer[0]);
		hold_memory(h, mode, mask, seed, ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	h->ask = ask[1];
	h->answer = answer[0];

	return read(h->answer, &c, 1) == 1;
}

/* Return: its status; 0 when all of its memory is what it wrote */
static int end_tenant(struct tenant *h)
{
	int status;

	(void)!write(h->ask, "e", 1);
	close(h->ask);
	close(h->answer);
	waitpid(h->pid, &status, 0);

	return status;
}

static bool got_sigbus(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

/* -- The setting ---------------------------------------------------------- */

static void read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "r");

	line[0] = '\0';
	if (f && fgets(line, size, f))
		line[strcspn(line, "\n")] = '\0';
	if (f)
		fclose(f);
}

TEST_F_TIMEOUT(device, setting, PATIENCE)
{
	const char *file = "device_coherent/make_room";
	char line[64];

	read_line(node_file(self->dev[0], file), line, sizeof(line));
	EXPECT_STREQ("[off] move swap", line);
	EXPECT_EQ(0, set_room(self->dev[0], "swap\n"));
	read_line(node_file(self->dev[0], file), line, sizeof(line));
	EXPECT_STREQ("off move [swap]", line);
	EXPECT_EQ(-EINVAL, set_room(self->dev[0], "shrink"));
	EXPECT_EQ(-EINVAL, set_room(self->dev[0], "mo"));
	read_line(node_file(self->dev[0], file), line, sizeof(line));
	EXPECT_STREQ("off move [swap]", line);
	/* Of this node alone, and a system node has no such thing */
	read_line(node_file(self->dev[1], file), line, sizeof(line));
	EXPECT_STREQ("[off] move swap", line);
	EXPECT_EQ(-ENOENT, set_room(0, "off"));
}

/* -- Competition for a full device ---------------------------------------- */

/* Three quarters of the device for each of two tasks */
static size_t share(size_t size)
{
	return size / 4 * 3;
}

TEST_F_TIMEOUT(device, off_refuses, PATIENCE)
{
	long refused = counter(self->dev[0], "coherent_refused");
	long displaced = counter(self->dev[0], "coherent_displaced");
	long evicted = counter(self->dev[0], "coherent_evicted");
	long kills = vm_event("oom_kill");
	struct tenant cold, hot;

	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 1));
	EXPECT_FALSE(start_tenant(&hot, MPOL_BIND, self->d1,
				  share(self->size), 2));
	EXPECT_TRUE(got_sigbus(end_tenant(&hot)));
	EXPECT_EQ(0, end_tenant(&cold));
	EXPECT_GT(counter(self->dev[0], "coherent_refused"), refused);
	EXPECT_EQ(displaced, counter(self->dev[0], "coherent_displaced"));
	EXPECT_EQ(evicted, counter(self->dev[0], "coherent_evicted"));
	EXPECT_EQ(kills, vm_event("oom_kill"));
}

TEST_F_TIMEOUT(device, move_makes_room, PATIENCE)
{
	long displaced = counter(self->dev[0], "coherent_displaced");
	long out = counter(self->dev[0], "coherent_moved_out");
	long kills = vm_event("oom_kill"), swapped = vm_event("pswpout");
	long least = (2 * share(self->size) - self->size) / PAGE;
	struct tenant cold, hot;
	long other;

	/* What an earlier test left in a CPU's batch goes at any time. */
	drain_lists();
	other = node_used(self->dev[1]);
	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 1));
	ASSERT_TRUE(start_tenant(&hot, MPOL_BIND, self->d1,
				 share(self->size), 2));
	/* What gave way is in system memory, and on no other device. */
	displaced = counter(self->dev[0], "coherent_displaced") - displaced;
	EXPECT_GE(displaced, least);
	EXPECT_EQ(displaced,
		  counter(self->dev[0], "coherent_moved_out") - out);
	EXPECT_EQ(other, node_used(self->dev[1]));
	EXPECT_EQ(0, end_tenant(&hot));
	EXPECT_EQ(0, end_tenant(&cold));
	EXPECT_EQ(kills, vm_event("oom_kill"));
	EXPECT_EQ(swapped, vm_event("pswpout"));
}

/* Where what gives way goes first: the nearest system node, of several the first */
static int first_target(int dev, const int *sys, int nr)
{
	int i, best = 0;

	for (i = 1; i < nr; i++)
		if (node_distance(dev, sys[i]) < node_distance(dev, sys[best]))
			best = i;

	return sys[best];
}

/*
 * The filler stops at a watermark that a mixed up pageblock may have raised, by
 * up to 1.5 times the high one, until kswapd is done with it. None of that now,
 * nor later. Return: the factor, to be written back
 */
static long no_watermark_boost(void)
{
	const char *scale = "/proc/sys/vm/watermark_scale_factor";
	long factor = read_number(WATERMARK_BOOST);
	char number[24];

	write_text(WATERMARK_BOOST, "0");
	/* All watermarks are set up anew. */
	snprintf(number, sizeof(number), "%ld", read_number(scale));
	write_text(scale, number);

	return factor;
}

/*
 * A strict policy has nowhere else to go: it gets what was given back a moment ago,
 * too, however soon after the device was found full.
 */
static void give_back_and_take(struct __test_metadata *_metadata,
			       unsigned long mask, size_t size)
{
	char *p = map_pages(size + SIZE, MAP_PRIVATE | MAP_ANONYMOUS |
			    MAP_NORESERVE, -1);
	char *last = p + size + SIZE - 16 * PAGE;
	int i;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, size + SIZE, MPOL_BIND, mask, 0));
	for (i = 0; i < 8; i++) {
		/* Now it is full. */
		EXPECT_EQ(-1, madvise(p, size + SIZE, MADV_POPULATE_WRITE));
		ASSERT_EQ(0, madvise(p, 256 * PAGE, MADV_FREE));
		EXPECT_EQ(0, madvise(last, 16 * PAGE, MADV_POPULATE_WRITE));
		madvise(last, 16 * PAGE, MADV_DONTNEED);
	}
	munmap(p, size + SIZE);
}

TEST_F_TIMEOUT(device, given_back_just_now, PATIENCE)
{
	give_back_and_take(_metadata, self->d1, self->size);
}

TEST_F_TIMEOUT(device, given_back_just_now_on_several, PATIENCE)
{
	give_back_and_take(_metadata, self->d1 | NODE(self->dev[1]),
			   self->size + node_bytes(self->dev[1]));
}

/* Those of a strict policy have nowhere else to go, several devices or not. */
TEST_F_TIMEOUT(device, move_makes_room_on_several, PATIENCE)
{
	const unsigned long both = self->d1 | NODE(self->dev[1]);
	const size_t size = self->size + node_bytes(self->dev[1]);
	struct tenant cold, hot;
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, set_room(self->dev[i], "move"));
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, both, share(size), 1));
	EXPECT_TRUE(start_tenant(&hot, MPOL_BIND, both, share(size), 2));
	EXPECT_EQ(0, end_tenant(&hot));
	EXPECT_EQ(0, end_tenant(&cold));
}

/* What others have freed on the node comes back to it late, under load. */
static void wait_for_rest(int nid, struct node_pages *pages)
{
	long before;
	int i;

	node_pages(nid, pages);
	for (i = 0; i < 20; i++) {
		before = pages->free;
		drain_lists();
		usleep(100000);
		if (node_pages(nid, pages) &&
		    labs(pages->free - before) < (long)(MIB / PAGE))
			break;
	}
}

/*
 * The nearest node has no room, so the next one gets it. Whoever prefers a node
 * fills it to the watermark that they both have to keep, and not further.
 */
TEST_F_TIMEOUT(device, move_elsewhere, PATIENCE)
{
	long least = (2 * share(self->size) - self->size) / PAGE;
	int sys[MAX_NODES], nr = system_nodes(sys);
	struct tenant cold, hot, filler;
	struct node_pages pages;
	long there = 0, before, boost;
	char number[24];
	int near, i;

	if (nr < 2)
		SKIP(return, "needs two system nodes");
	near = first_target(self->dev[0], sys, nr);
	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 1));
	boost = no_watermark_boost();
	/* As much as page cache could give way to, and a bit */
	write_text("/proc/sys/vm/drop_caches", "1");
	wait_for_rest(near, &pages);
	ASSERT_TRUE(start_tenant(&filler, MPOL_PREFERRED, 1UL << near,
				 pages.free * PAGE + 8 * MIB, 3));
	for (i = 0; i < nr; i++)
		there -= sys[i] == near ? 0 : node_used(sys[i]);
	before = counter(self->dev[0], "coherent_moved_out");
	ASSERT_TRUE(node_pages(near, &pages));
	ASSERT_TRUE(start_tenant(&hot, MPOL_BIND, self->d1,
				 share(self->size), 2));
	for (i = 0; i < nr; i++)
		there += sys[i] == near ? 0 : node_used(sys[i]);
	EXPECT_LE(before + least, counter(self->dev[0], "coherent_moved_out"));
	TH_LOG("%ld pages had to move, the other nodes have %ld more, the nearest had room for %ld",
	       least, there, pages.free);
	EXPECT_LE(least / 4, there);
	EXPECT_EQ(0, end_tenant(&hot));
	EXPECT_EQ(0, end_tenant(&filler));
	EXPECT_EQ(0, end_tenant(&cold));
	snprintf(number, sizeof(number), "%ld", boost);
	EXPECT_EQ(0, write_text(WATERMARK_BOOST, number));
}

/* The one that asks is in the way itself: both write all of theirs, for long */
TEST_F_TIMEOUT(device, move_both_busy, PATIENCE)
{
	pid_t pid[2];
	int i, status;

	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			size_t size = share(self->size);
			char *p = map_anon(size);
			int round;

			if (mbind_nodes(p, size, MPOL_BIND, self->d1, 0))
				_exit(2);
			for (round = 0; round < 8; round++) {
				fill_pages(p, size, i + round);
				if (!intact(p, size, i + round))
					_exit(1);
				/* Take it anew every other time. */
				if (round % 2)
					madvise(p, size, MADV_DONTNEED);
			}
			_exit(0);
		}
	}
	for (i = 0; i < 2; i++) {
		waitpid(pid[i], &status, 0);
		EXPECT_EQ(0, status);
	}
}

TEST_F_TIMEOUT(device, move_huge_page, PATIENCE)
{
	long before = read_number(HUGE_FILES "stats/anon_fault_alloc");
	struct tenant cold;
	char *p;

	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 self->size - 4 * PAGE, 1));
	p = map_huge(4 * HUGE);
	ASSERT_EQ(0, madvise(p, 4 * HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, 4 * HUGE, MPOL_BIND, self->d1, 0));
	fill_pages(p, 4 * HUGE, 2);
	EXPECT_EQ((long)(4 * HUGE / PAGE),
		  on_node(p, 4 * HUGE, self->dev[0]));
	EXPECT_TRUE(intact(p, 4 * HUGE, 2));
	EXPECT_GE(read_number(HUGE_FILES "stats/anon_fault_alloc"), before);
	EXPECT_EQ(0, end_tenant(&cold));
	munmap(p, 4 * HUGE);
}

/* move_pages(2) asks as a fault does. */
TEST_F_TIMEOUT(device, move_pages_makes_room, PATIENCE)
{
	char *p = map_anon(SIZE);
	struct tenant cold;

	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 self->size - 16 * PAGE, 1));
	/* Not before the fork: pages of two tasks aren't moved. */
	fill_pages(p, SIZE, 3);
	EXPECT_NE(0, move(p, SIZE, self->dev[0], NULL));
	EXPECT_TRUE(intact(p, SIZE, 3));
	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	EXPECT_EQ(0, move(p, SIZE, self->dev[0], NULL));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	EXPECT_TRUE(intact(p, SIZE, 3));
	EXPECT_EQ(0, end_tenant(&cold));
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(device, swap_makes_room, PATIENCE)
{
	long evicted = counter(self->dev[0], "coherent_evicted");
	long displaced = counter(self->dev[0], "coherent_displaced");
	struct tenant cold, hot;

	ASSERT_EQ(0, set_room(self->dev[0], "swap"));

	/* Control: nowhere to swap to is as if it were off. */
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 1));
	EXPECT_FALSE(start_tenant(&hot, MPOL_BIND, self->d1,
				  share(self->size), 2));
	EXPECT_TRUE(got_sigbus(end_tenant(&hot)));

	if (swap_on_loop(256))
		SKIP(return, "no swap on /dev/loop0");
	self->swap = true;
	EXPECT_TRUE(start_tenant(&hot, MPOL_BIND, self->d1,
				 share(self->size), 2));
	EXPECT_GE(counter(self->dev[0], "coherent_evicted") - evicted,
		  (long)((2 * share(self->size) - self->size) / PAGE));
	EXPECT_EQ(displaced, counter(self->dev[0], "coherent_displaced"));
	EXPECT_EQ(0, end_tenant(&hot));
	EXPECT_EQ(0, end_tenant(&cold));
}

/* -- Cgroups -------------------------------------------------------------- */

static long cg_event(const char *name)
{
	char line[64], word[32];
	long n, value = -1;
	FILE *f = fopen(CG "/memory.events", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%31s %ld", word, &n) == 2 &&
		    !strcmp(word, name))
			value = n;
	if (f)
		fclose(f);

	return value;
}

/* A child in the cgroup that fills twice the limit. Return: its status */
static int fill_beyond_limit(int limit_mib, unsigned long mask)
{
	struct tenant h;
	int status = -1;

	if (!cg_enter("memory"))
		return -1;
	cg_write("memory.max", "%dM", limit_mib, 0);
	/* From the cgroup into which the limit isn't for this process */
	if (start_tenant(&h, MPOL_BIND, mask, 2 * limit_mib * MIB, 4))
		status = end_tenant(&h);
	else
		waitpid(h.pid, &status, 0);

	return status;
}

TEST_F_TIMEOUT(device, cgroup_limit, PATIENCE)
{
	long evicted = counter(self->dev[0], "coherent_evicted");
	long out = counter(self->dev[0], "coherent_moved_out");
	int status;

	/* Must not help: what is moved stays charged. */
	ASSERT_EQ(0, set_room(self->dev[0], "move"));
	if (swap_on_loop(256))
		SKIP(return, "no swap on /dev/loop0");
	self->swap = true;
	status = fill_beyond_limit(32, self->d1);
	ASSERT_NE(-1, status);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, cg_event("oom_kill"));
	EXPECT_GT(cg_event("max"), 0);
	EXPECT_GE(counter(self->dev[0], "coherent_evicted") - evicted,
		  (long)(32 * MIB / PAGE));
	EXPECT_EQ(out, counter(self->dev[0], "coherent_moved_out"));
	cg_leave();
}

/* Control: where it can't be swapped, the limit is enforced as ever. */
TEST_F_TIMEOUT(device, cgroup_limit_without_swap, PATIENCE)
{
	int status = fill_beyond_limit(32, self->d1);

	ASSERT_NE(-1, status);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_EQ(1, cg_event("oom_kill"));
	cg_leave();
}

TEST_F_TIMEOUT(device, cgroup_reclaim, PATIENCE)
{
	char *p = map_anon(SIZE);
	int i;

	if (swap_on_loop(64) || !cg_enter("memory"))
		SKIP(return, "no swap on /dev/loop0, or no memory controller");
	self->swap = true;
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, self->d1, 0));
	fill_pages(p, SIZE, 5);
	drain_lists();
	/* Pages that are being written are there until the next time. */
	for (i = 0; i < 8 && on_node(p, SIZE, NONE) <= PAGES / 2; i++)
		cg_write("memory.reclaim", "%dM", 8, 0);
	EXPECT_GT(on_node(p, SIZE, NONE), PAGES / 2);
	EXPECT_TRUE(intact(p, SIZE, 5));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->dev[0]));
	munmap(p, SIZE);
	cg_leave();
}

/* -- The OOM killer ------------------------------------------------------- */

/* Takes system memory until the OOM killer has acted once */
static void eat_until_kill(long kills)
{
	while (vm_event("oom_kill") == kills) {
		char *p = map_pages(MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		if (!p)
			_exit(1);
		memset(p, 1, MIB);
	}
	_exit(0);
}

/*
 * The first one of which the kernel's log says so, from where it is read; 0:
 * none. It is counted a moment before.
 */
static pid_t first_killed(int log)
{
	const char *text = "Killed process ";
	char record[1024], *at;
	ssize_t n;
	int i = 0;

	while (i < 500) {
		n = read(log, record, sizeof(record) - 1);
		if (n < 0 && errno == EAGAIN) {
			usleep(10000);
			i++;
			continue;
		}
		record[n > 0 ? n : 0] = '\0';
		at = strstr(record, text);
		if (at)
			return atoi(at + strlen(text));
		if (n <= 0 && errno != EPIPE)	/* that says: some are lost */
			break;
	}

	return 0;
}

/*
 * Which of two is killed: the first has @size of @mask, the second 48 MB. On a
 * slow machine both may be, and wait() doesn't say who was first.
 */
static pid_t first_victim(unsigned long mask, size_t size, pid_t *second)
{
	int status, log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	long kills = vm_event("oom_kill");
	struct tenant big, small;
	pid_t eater, victim;

	if (!start_tenant(&big, MPOL_BIND, mask, size, 6) ||
	    !start_tenant(&small, MPOL_BIND, 1, 48 * MIB, 7))
		return -1;
	lseek(log, 0, SEEK_END);
	eater = fork();
	if (!eater) {
		set_oom_score(-1000);
		eat_until_kill(kills);
	}
	waitpid(eater, &status, 0);
	victim = first_killed(log);
	close(log);
	*second = small.pid;
	kill(big.pid, SIGKILL);
	kill(small.pid, SIGKILL);
	while (wait(&status) > 0)
		;
	close(big.ask);
	close(big.answer);
	close(small.ask);
	close(small.answer);

	return victim;
}

TEST_F_TIMEOUT(device, oom_victim, 2 * PATIENCE)
{
	pid_t small, victim;

	/* 96 MB on the device give nothing back to the system. */
	victim = first_victim(self->d1, share(self->size), &small);
	EXPECT_EQ(small, victim);
	/* Control: in the system they are what makes the victim. */
	victim = first_victim(1, share(self->size), &small);
	EXPECT_NE(small, victim);
	EXPECT_GT(victim, 0);
}

/* -- Counters and trace events -------------------------------------------- */

static const char * const names[] = {
	"coherent_moved_in", "coherent_moved_out", "coherent_refused",
	"coherent_displaced", "coherent_evicted",
};

struct counts {
	long n[ARRAY_SIZE(names)];
};

static void take(int nid, struct counts *c)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		c->n[i] = counter(nid, names[i]);
}

/* Moved in and out since, and nothing else */
static void expect_counts(struct __test_metadata *_metadata, int nid,
			  const struct counts *before, long in, long out)
{
	struct counts now;
	int i;

	take(nid, &now);
	EXPECT_EQ(in, now.n[0] - before->n[0]);
	EXPECT_EQ(out, now.n[1] - before->n[1]);
	for (i = 2; i < 5; i++)
		EXPECT_EQ(0, now.n[i] - before->n[i]);
}

TEST_F_TIMEOUT(device, counters, PATIENCE)
{
	struct counts one, two, sys;
	char *p = map_anon(SIZE);

	madvise(p, SIZE, MADV_NOHUGEPAGE);
	fill_pages(p, SIZE, 8);
	take(self->dev[0], &one);
	take(self->dev[1], &two);
	take(0, &sys);
	ASSERT_GE(one.n[0], 0);

	ASSERT_EQ(0, move(p, SIZE, self->dev[0], NULL));
	expect_counts(_metadata, self->dev[0], &one, PAGES, 0);
	expect_counts(_metadata, self->dev[1], &two, 0, 0);
	ASSERT_EQ(0, move(p, SIZE, self->dev[1], NULL));
	expect_counts(_metadata, self->dev[0], &one, PAGES, PAGES);
	expect_counts(_metadata, self->dev[1], &two, PAGES, 0);
	ASSERT_EQ(0, move(p, SIZE, 0, NULL));
	expect_counts(_metadata, self->dev[1], &two, PAGES, PAGES);
	/* A system node counts nothing of that. */
	expect_counts(_metadata, 0, &sys, 0, 0);
	munmap(p, SIZE);
}

/* A run of contiguous pages makes others move, on the device if they can. */
TEST_F_TIMEOUT(device, contiguous_displaces, PATIENCE)
{
	struct tenant cold;
	struct counts one;
	long moved, order = 0;

	if (testmod_load())
		SKIP(return, "needs the module device_coherent_test");
	while (PAGE << (order + 1) <= self->size / 2)
		order++;
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 9));
	take(self->dev[0], &one);
	EXPECT_EQ(0, testmod("contig %d %ld %ld", self->dev[0], 1L << order,
			     1L << order));
	moved = counter(self->dev[0], "coherent_displaced") - one.n[3];
	EXPECT_GE(moved, (long)(self->size / 4 / PAGE));
	/*
	 * A quarter was free; what didn't fit there left the device. Pages on
	 * the lists of other CPUs aren't collected for that.
	 */
	moved = counter(self->dev[0], "coherent_moved_out") - one.n[1];
	EXPECT_GE(moved, (long)(self->size / 4 / PAGE));
	EXPECT_LT(moved, (long)(self->size / 4 / PAGE) + 1024);
	testmod("free");
	EXPECT_EQ(0, end_tenant(&cold));
}

#define TRACING	"/sys/kernel/tracing/instances/devmem"

static long count_lines(const char *path, const char *text)
{
	char line[512];
	long n = 0;
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, text);
	if (f)
		fclose(f);

	return n;
}

TEST_F_TIMEOUT(device, trace_events, PATIENCE)
{
	const char *events = TRACING "/events/device_coherent/enable";
	char *p = map_anon(SIZE);
	struct tenant cold, hot;
	char text[64];

	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	if (mkdir(TRACING, 0700) && errno != EEXIST)
		SKIP(return, "no tracefs");
	ASSERT_EQ(0, write_text(TRACING "/buffer_size_kb", "4096"));
	ASSERT_EQ(0, write_text(events, "1"));
	fill_pages(p, SIZE, 10);
	ASSERT_EQ(0, move(p, SIZE, self->dev[0], NULL));
	ASSERT_EQ(0, move(p, SIZE, 0, NULL));
	ASSERT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
				 share(self->size), 1));
	EXPECT_FALSE(start_tenant(&hot, MPOL_BIND, self->d1,
				  share(self->size), 2));
	end_tenant(&hot);
	set_room(self->dev[0], "move");
	EXPECT_TRUE(start_tenant(&hot, MPOL_BIND, self->d1,
				 share(self->size), 2));
	end_tenant(&hot);
	end_tenant(&cold);
	if (!swap_on_loop(256)) {
		self->swap = true;
		set_room(self->dev[0], "swap");
		EXPECT_TRUE(start_tenant(&cold, MPOL_BIND, self->d1,
					 share(self->size), 3));
		EXPECT_TRUE(start_tenant(&hot, MPOL_BIND, self->d1,
					 share(self->size), 4));
		end_tenant(&hot);
		end_tenant(&cold);
	}
	write_text(events, "0");

	snprintf(text, sizeof(text), "device_coherent_moved_in: from=0 to=%d",
		 self->dev[0]);
	EXPECT_GE(count_lines(TRACING "/trace", text), PAGES);
	snprintf(text, sizeof(text), "device_coherent_moved_out: from=%d",
		 self->dev[0]);
	EXPECT_GE(count_lines(TRACING "/trace", text), PAGES);
	snprintf(text, sizeof(text), "device_coherent_refused: nid=%d order=0",
		 self->dev[0]);
	EXPECT_GE(count_lines(TRACING "/trace", text), 1);
	EXPECT_GE(count_lines(TRACING "/trace", "device_coherent_displaced:"),
		  1);
	EXPECT_GE(count_lines(TRACING "/trace", "reason=demotion"), 1);
	if (self->swap)
		EXPECT_GE(count_lines(TRACING "/trace",
				      "device_coherent_evicted:"), 1);
	munmap(p, SIZE);
	rmdir(TRACING);
}

TEST_HARNESS_MAIN
