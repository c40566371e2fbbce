// SPDX-License-Identifier: GPL-2.0
/*
 * Invariants 3 and 4, in numbers and in whom the OOM killer takes.
 *
 * "levels": machine-wide counters are about system memory. What is on a device,
 * in use, given back or lazily freed, changes neither MemAvailable nor the
 * dirty limits nor any other line of /proc/meminfo. The same memory on a system
 * node does, which is the control.
 *
 * "victim": there is a task with much memory on a device, whichever way it got
 * there, and one with half as much on the system. When somebody asks for the
 * OOM killer, the latter is taken. Where both are on the system, the former is.
 *
 * "policy": the settings of the OOM killer and a task bound to a full device.
 *
 * "cost": what the OOM killer's look at all tasks costs, where the clock counts
 * instructions.
 *
 * Wants a system node, a device node of 512 MB (1 GB for "cost") and nothing
 * else of size; for "dax", memory at /dev/pmem0 (memmap=SIZE!START).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"

#define SIZE		(64 * MIB)
#define MOVE		BIT(1)		/* MPOL_MF_MOVE */
#define MOVE_ALL	BIT(2)		/* MPOL_MF_MOVE_ALL */

static int sys, dev;
static int report[2];

static void __attribute__((constructor)) prepare(void)
{
	int ids[MAX_NODES];

	dev = device_nodes(ids) ? ids[0] : -1;
	sys = system_nodes(ids) ? ids[0] : -1;
	/* Pages are small unless a test says so. */
	write_text(THP "enabled", "madvise");
	khugepaged_sleeps();
	write_text("/proc/sys/vm/oom_dump_tasks", "0");
	/* Only those are taken that say so. */
	set_oom_score(-1000);
}

/* -- levels ---------------------------------------------------------------- */

FIXTURE(levels)
{
	size_t size;
};

FIXTURE_SETUP(levels)
{
	if (dev < 0)
		SKIP(return, "needs a device node");
	self->size = node_bytes(dev) / 4 * 3 & ~(HUGE - 1);
}

FIXTURE_TEARDOWN(levels)
{
	EXPECT_EQ(0, node_left(dev));
}

static const char * const lines[] = {
	"MemFree", "MemAvailable", "Cached", "Active(anon)", "Inactive(anon)",
	"Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "AnonPages",
	"Mapped", "Shmem", "AnonHugePages", "ShmemHugePages", "SwapCached",
};

#define NR_LINES ARRAY_SIZE(lines)

static void read_lines(long *kb)
{
	size_t i;

	drain_lists();
	for (i = 0; i < NR_LINES; i++)
		kb[i] = meminfo_kb(lines[i]);
}

/* How many lines have changed by a quarter of what was put somewhere */
static int changed(const long *before, size_t size)
{
	long now[NR_LINES];
	int nr = 0;
	size_t i;

	read_lines(now);
	for (i = 0; i < NR_LINES; i++) {
		if (labs(now[i] - before[i]) < (long)(size / 4 / 1024))
			continue;
		ksft_print_msg("%s: %ld kB, %ld before\n", lines[i], now[i],
			       before[i]);
		nr++;
	}

	return nr;
}

static char *fill_on(int nid, size_t size, int flags, int fd)
{
	char *p = flags & MAP_ANONYMOUS ? map_huge(size) :
					  map_pages(size, flags, fd);

	if (!p || mbind_nodes(p, size, MPOL_BIND, NODE(nid), 0))
		return NULL;
	fill_pages(p, size, 1);

	return p;
}

static long thresholds(void)
{
	return vm_event("nr_dirty_threshold") +
	       vm_event("nr_dirty_background_threshold");
}

TEST_F_TIMEOUT(levels, lazily_freed, 240)
{
	long before[NR_LINES], limits, free_kb;
	char *p;

	p = fill_on(dev, self->size, MAP_ANONYMOUS, -1);
	ASSERT_NE(NULL, p);
	read_lines(before);
	limits = thresholds();
	ASSERT_EQ(0, madvise(p, self->size, MADV_FREE));
	EXPECT_EQ(0, changed(before, self->size));
	/* Free memory may change by some MB, and that is a fifth of it. */
	EXPECT_LT(labs(thresholds() - limits), 16 * (long)(MIB / PAGE) / 4);
	EXPECT_LT(meminfo_kb("MemAvailable"), meminfo_kb("MemTotal"));
	/* It did come to the list of the pages that can be had. */
	free_kb = node_stat(dev, "nr_inactive_file") * 4;
	EXPECT_GT(free_kb, (long)(self->size / 1024 / 10 * 9));
	munmap(p, self->size);
}

TEST_F_TIMEOUT(levels, anon, 240)
{
	long before[NR_LINES];
	char *p;

	read_lines(before);
	p = fill_on(dev, self->size, MAP_ANONYMOUS, -1);
	ASSERT_NE(NULL, p);
	EXPECT_EQ((long)(self->size / PAGE), on_node(p, self->size, dev));
	EXPECT_EQ(0, changed(before, self->size));
	EXPECT_GE(node_stat(dev, "nr_anon_pages"), (long)(self->size / PAGE));
	munmap(p, self->size);
}

TEST_F_TIMEOUT(levels, huge, 240)
{
	long before[NR_LINES];
	char *p;

	read_lines(before);
	p = map_huge(self->size);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, self->size, MADV_HUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, self->size, MPOL_BIND, NODE(dev), 0));
	fill_pages(p, self->size, 1);
	EXPECT_EQ(0, changed(before, self->size));
	EXPECT_GT(node_stat(dev, "nr_anon_transparent_hugepages"), 0);
	munmap(p, self->size);
}

TEST_F_TIMEOUT(levels, shmem, 240)
{
	int fd = memfd_create("devmem", 0);
	long before[NR_LINES];
	char *p;

	read_lines(before);
	ASSERT_EQ(0, ftruncate(fd, self->size));
	p = fill_on(dev, self->size, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, changed(before, self->size));
	EXPECT_GE(node_stat(dev, "nr_shmem"), (long)(self->size / PAGE));
	EXPECT_EQ(0, mlock(p, self->size));
	EXPECT_EQ(0, changed(before, self->size));
	munmap(p, self->size);
	close(fd);
}

/* Whoever looks at a counter sees the same thing on the system. */
TEST_F_TIMEOUT(levels, control, 240)
{
	long before[NR_LINES];
	char *p;

	read_lines(before);
	p = fill_on(sys, SIZE, MAP_ANONYMOUS, -1);
	ASSERT_NE(NULL, p);
	/* MemFree, MemAvailable, (In)Active(anon), AnonPages */
	EXPECT_LE(4, changed(before, SIZE));
	read_lines(before);
	ASSERT_EQ(0, madvise(p, SIZE, MADV_FREE));
	/* MemAvailable, (In)Active(anon), Inactive(file) */
	EXPECT_LE(3, changed(before, SIZE));
	munmap(p, SIZE);
}

/* The marks of the device stay 0, those of the system what they are without. */
TEST_F(levels, min_free_kbytes)
{
	const char *path = "/proc/sys/vm/min_free_kbytes";
	long was = read_number(path), kb;
	struct node_pages pages;
	char text[32];
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		for (;;)
			munmap(fill_on(dev, self->size, MAP_ANONYMOUS, -1),
			       self->size);
	}
	for (kb = 1024; kb <= 32768; kb *= 2) {
		snprintf(text, sizeof(text), "%ld", kb);
		ASSERT_EQ(0, write_text(path, text));
		ASSERT_TRUE(node_pages(dev, &pages));
		EXPECT_EQ(0, pages.min);
		ASSERT_TRUE(node_pages(sys, &pages));
		/* Rounded down for each zone */
		EXPECT_LE(pages.min, kb / 4);
		EXPECT_GE(pages.min, kb / 4 - 8);
		usleep(200000);
	}
	snprintf(text, sizeof(text), "%ld", was);
	write_text(path, text);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

/* -- victim ---------------------------------------------------------------- */

/* A task that does something, says who has the memory, and stands still */
static pid_t start(void (*what)(void))
{
	pid_t pid, holder;

	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		set_oom_score(0);
		what();
		holder = getpid();
		if (write(report[1], &holder, sizeof(holder)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(report[0], &holder, sizeof(holder)) != sizeof(holder))
		return -1;

	return holder;
}

static void give_up(const char *what)
{
	perror(what);
	_exit(2);
}

static char *at;

static void on_system(void)
{
	at = fill_on(sys, SIZE / 2, MAP_ANONYMOUS, -1);
}

static void unbound(void)
{
	at = map_huge(SIZE);
	fill_pages(at, SIZE, 1);
}

static void by_mbind(void)
{
	at = fill_on(dev, SIZE, MAP_ANONYMOUS, -1);
}

static void by_policy(void)
{
	if (set_policy(MPOL_BIND, NODE(dev)))
		give_up("set_mempolicy");
	unbound();
}

static void by_huge_pages(void)
{
	at = map_huge(SIZE);
	if (madvise(at, SIZE, MADV_HUGEPAGE) ||
	    mbind_nodes(at, SIZE, MPOL_BIND, NODE(dev), 0))
		give_up("mbind");
	fill_pages(at, SIZE, 1);
}

/* Bound, and filled by somebody else who is bound to nothing */
static void bound_empty(void)
{
	at = map_huge(SIZE);
	if (mbind_nodes(at, SIZE, MPOL_BIND, NODE(dev), 0))
		give_up("mbind");
}

static void by_remote_write(pid_t pid, char *p)
{
	char *text = map_huge(HUGE), path[32];
	size_t i;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	for (i = 0; i < SIZE; i += HUGE)
		if (pwrite(fd, text, HUGE, (off_t)(p + i)) != HUGE)
			give_up(path);
	close(fd);
	munmap(text, HUGE);
}

/* Mostly on the device, so much that not all of it is looked at */
static void by_much(void)
{
	char *p = fill_on(dev, 6 * SIZE, MAP_ANONYMOUS, -1);

	at = map_huge(SIZE / 4);
	fill_pages(at, SIZE / 4, 1);
	if (on_node(p, 6 * SIZE, dev) != (long)(6 * SIZE / PAGE))
		give_up("on_node");
}

/* Its parent asked, and is gone. */
static void by_fork(void)
{
	by_mbind();
	if (fork())
		_exit(0);
	usleep(100000);
}

/* Somebody else's shared memory */
static int shared_fd;

static void by_shmem(void)
{
	at = map_pages(SIZE, MAP_SHARED, shared_fd);
	if (!intact(at, SIZE, 1))
		give_up("shared memory");
}

/* Copies of pages of it: they follow the policy that somebody gave the original. */
static void by_shared_policy(void)
{
	at = map_pages(SIZE, MAP_PRIVATE, shared_fd);
	fill_pages(at, SIZE, 1);
}

/* By somebody who isn't an ancestor, whose children are looked into, too */
static bool bind_shared(void)
{
	pid_t pid = fork();
	int status = -1;
	char *p;

	if (!pid) {
		p = map_pages(SIZE, MAP_SHARED, shared_fd);
		_exit(!p || mbind_nodes(p, SIZE, MPOL_BIND, NODE(dev), 0));
	}
	waitpid(pid, &status, 0);

	return !status;
}

/* By somebody else's system call */
static void by_move_pages(pid_t pid, char *p)
{
	if (move_others(pid, p, SIZE, dev))
		give_up("move_pages");
}

static void by_migrate_pages(pid_t pid, char *p)
{
	if (migrate(pid, NODE(sys), NODE(dev)) < 0)
		give_up("migrate_pages");
}

static int oom_now(void)
{
	return write_text("/proc/sysrq-trigger", "f");
}

/* The process that ends within some seconds, of two */
static pid_t first_to_end(pid_t a, pid_t b)
{
	int i, status;

	for (i = 0; i < 3000; i++) {
		if (waitpid(a, &status, WNOHANG) == a)
			return a;
		if (waitpid(b, &status, WNOHANG) == b)
			return b;
		usleep(10000);
	}

	return 0;
}

FIXTURE(victim)
{
	pid_t device, system;
};

FIXTURE_VARIANT(victim)
{
	void (*how)(void);
	void (*then)(pid_t pid, char *p);
};

FIXTURE_VARIANT_ADD(victim, mbind) {
	.how = by_mbind,
};

FIXTURE_VARIANT_ADD(victim, policy) {
	.how = by_policy,
};

FIXTURE_VARIANT_ADD(victim, huge_pages) {
	.how = by_huge_pages,
};

FIXTURE_VARIANT_ADD(victim, much) {
	.how = by_much,
};

FIXTURE_VARIANT_ADD(victim, fork) {
	.how = by_fork,
};

FIXTURE_VARIANT_ADD(victim, shmem) {
	.how = by_shmem,
};

FIXTURE_VARIANT_ADD(victim, copies_of_shmem) {
	.how = by_shared_policy,
};

FIXTURE_VARIANT_ADD(victim, move_pages) {
	.how = unbound,
	.then = by_move_pages,
};

FIXTURE_VARIANT_ADD(victim, remote_write) {
	.how = bound_empty,
	.then = by_remote_write,
};

FIXTURE_VARIANT_ADD(victim, migrate_pages) {
	.how = unbound,
	.then = by_migrate_pages,
};

FIXTURE_SETUP(victim)
{
	char *p;

	if (dev < 0)
		SKIP(return, "needs a device node");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ASSERT_EQ(0, pipe(report));
	shared_fd = memfd_create("devmem", 0);
	ASSERT_EQ(0, ftruncate(shared_fd, SIZE));
	if (variant->how == by_shmem) {
		p = fill_on(dev, SIZE, MAP_SHARED, shared_fd);
		ASSERT_NE(NULL, p);
		munmap(p, SIZE);
	}
	if (variant->how == by_shared_policy)
		ASSERT_TRUE(bind_shared());
	/* The same place in all processes */
	at = map_huge(SIZE);
	munmap(at, SIZE);
	self->system = start(on_system);
	self->device = start(variant->how);
	ASSERT_LT(0, self->system);
	ASSERT_LT(0, self->device);
	if (variant->then)
		variant->then(self->device, at);
}

FIXTURE_TEARDOWN(victim)
{
	kill(self->device, SIGKILL);
	kill(self->system, SIGKILL);
	while (wait(NULL) > 0)
		;
	close(shared_fd);
	close(report[0]);
	close(report[1]);
	/* What the task shared with this one was moved, too. */
	if (variant->then == by_migrate_pages) {
		EXPECT_EQ(0, migrate(getpid(), NODE(dev), NODE(sys)));
		EXPECT_EQ(0, migrate(getppid(), NODE(dev), NODE(sys)));
	}
	EXPECT_EQ(0, node_left(dev));
}

TEST_F_TIMEOUT(victim, has_system_memory, PATIENCE)
{
	ASSERT_GE(node_used(dev), (long)(SIZE / PAGE) / 10 * 9);
	ASSERT_EQ(0, oom_now());
	EXPECT_EQ(self->system, first_to_end(self->system, self->device));
}

/* What the administrator says counts, wherever the memory is. */
TEST_F_TIMEOUT(victim, is_who_was_named, PATIENCE)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", self->device);
	ASSERT_EQ(0, write_text(path, "1000"));
	ASSERT_EQ(0, oom_now());
	EXPECT_EQ(self->device, first_to_end(self->system, self->device));
}

TEST(control)
{
	pid_t device, system;

	if (dev < 0)
		SKIP(return, "needs a device node");
	ASSERT_EQ(0, pipe(report));
	system = start(on_system);
	device = start(unbound);
	ASSERT_EQ(0, oom_now());
	EXPECT_EQ(device, first_to_end(system, device));
	kill(system, SIGKILL);
	while (wait(NULL) > 0)
		;
}

/*
 * A page that a fork shares is on the device for both, whoever moved it; and
 * the OOM killer knows of the one that was never named as well.
 */
TEST(shared_by_fork)
{
	int status[64], nodes[64];
	pid_t other, system;
	void *pages[64];
	size_t i, n;
	char *p;

	if (dev < 0)
		SKIP(return, "needs a device node");
	ASSERT_EQ(0, pipe(report));
	system = start(on_system);
	p = map_huge(SIZE);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	at = p;
	other = fork();
	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		set_oom_score(0);
		for (;;)
			pause();
	}
	for (i = 0; i < SIZE; i += 64 * PAGE) {
		for (n = 0; n < 64; n++) {
			pages[n] = p + i + n * PAGE;
			nodes[n] = dev;
		}
		ASSERT_EQ(0, syscall(SYS_move_pages, 0, 64, pages, nodes,
				     status, MOVE_ALL));
	}
	ASSERT_EQ((long)(SIZE / PAGE), others_on_node(other, p, SIZE, dev));
	ASSERT_EQ(0, oom_now());
	EXPECT_EQ(system, first_to_end(system, other));
	kill(other, SIGKILL);
	kill(system, SIGKILL);
	while (wait(NULL) > 0)
		;
	munmap(p, SIZE);
	EXPECT_EQ(0, node_left(dev));
}

/* -- Files that DAX maps --------------------------------------------------- */

#define PMEM		"/dev/pmem0"
#define DAX_DIR		"/tmp/devmem-dax"
#define DAX_SIZE	(16 * MIB)

static int go[2];

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);

	return usage.ru_minflt;
}

static char seen;

static void read_all(const char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		seen += p[i];
}

/*
 * A task whose memory is worth a look, with huge entries of DAX: shared ones,
 * and private ones beside pages of its own. Ends with the number of faults that
 * touching them again took.
 */
static void with_dax(void)
{
	int fd = open(DAX_DIR "/file", O_RDWR | O_CREAT, 0600);
	char *shared, *private, c;
	pid_t self = getpid();
	long before;

	set_oom_score(0);
	if (fd < 0 || posix_fallocate(fd, 0, DAX_SIZE))
		give_up(DAX_DIR);
	shared = map_huge_file(DAX_SIZE, fd);
	before = faults();
	fill_pages(shared, DAX_SIZE, 1);
	/* Is an entry huge? */
	if (faults() - before > (long)(DAX_SIZE / PAGE / 4))
		_exit(KSFT_SKIP);
	private = mmap(map_huge(DAX_SIZE), DAX_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_FIXED, fd, 0);
	if (private == MAP_FAILED)
		give_up("private mapping");
	read_all(private, DAX_SIZE);
	private[0] = 2;
	by_mbind();
	read_all(private, DAX_SIZE);
	before = faults();
	if (write(report[1], &self, sizeof(self)) < 0 ||
	    read(go[0], &c, 1) != 1)
		give_up("pipe");
	read_all(shared, DAX_SIZE);
	read_all(private, DAX_SIZE);
	_exit(faults() - before > 1);
}

/*
 * The OOM killer looks at tables with locks held that don't let it sleep: it
 * must not split, nor drop, what it finds. A debug kernel says so in words.
 */
TEST(dax)
{
	pid_t device, system_pid, self;
	int status;

	if (dev < 0 || access(PMEM, R_OK))
		SKIP(return, "needs a device node and memmap=SIZE!START");
	if (system("mkfs.ext4 -qFb 4096 -E stride=512,stripe_width=512 " PMEM) ||
	    system("mkdir -p " DAX_DIR " && mount -o dax " PMEM " " DAX_DIR))
		SKIP(return, "no ext4 with DAX");
	ASSERT_EQ(0, pipe(report));
	ASSERT_EQ(0, pipe(go));
	system_pid = start(on_system);
	device = fork();
	if (!device)
		with_dax();
	close(report[1]);
	if (read(report[0], &self, sizeof(self)) != sizeof(self)) {
		ASSERT_EQ(device, waitpid(device, &status, 0));
		EXPECT_EQ(KSFT_SKIP, WEXITSTATUS(status));
	} else {
		ASSERT_EQ(0, oom_now());
		EXPECT_EQ(system_pid, first_to_end(system_pid, device));
		ASSERT_EQ(1, write(go[1], "", 1));
		ASSERT_EQ(device, waitpid(device, &status, 0));
		EXPECT_EQ(0, status);
	}
	kill(system_pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	EXPECT_EQ(0, system("umount " DAX_DIR));
	EXPECT_EQ(0, node_left(dev));
}

/* -- What the OOM killer's look costs -------------------------------------- */

#define TASKS		12
#define EACH		(32 * MIB)

/* Its end is not what is measured: whoever waits for it runs first. */
static void be_last(void)
{
	struct sched_param param = { 0 };

	if (sched_setscheduler(0, SCHED_IDLE, &param))
		give_up("SCHED_IDLE");
}

static void each_on_system(void)
{
	be_last();
	at = map_huge(EACH);
	fill_pages(at, EACH, 1);
}

static void one_on_device(void)
{
	be_last();
	at = fill_on(dev, node_bytes(dev) / 4 * 3 & ~(HUGE - 1), MAP_ANONYMOUS,
		     -1);
}

static long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

FIXTURE(cost)
{
};

FIXTURE_VARIANT(cost)
{
	void (*what)(void);
	int tasks;
	long at_most;
};

FIXTURE_VARIANT_ADD(cost, never_on_a_device) {
	.what = each_on_system,
	.tasks = TASKS,
	.at_most = 3000000,
};

FIXTURE_VARIANT_ADD(cost, much_on_a_device) {
	.what = one_on_device,
	.tasks = 1,
	.at_most = 6000000,
};

FIXTURE_SETUP(cost)
{
	if (dev < 0)
		SKIP(return, "needs a device node");
	ASSERT_EQ(0, pipe(report));
	write_text("/proc/sys/kernel/printk", "1");
}

FIXTURE_TEARDOWN(cost)
{
	write_text("/proc/sys/kernel/printk", "7");
}

/* From the request to when somebody is chosen, of @tasks that do @what; 0: failed */
static long cost_of_choice(void (*what)(void), int tasks)
{
	pid_t pids[TASKS];
	long kills, ns;
	int i;

	for (i = 0; i < tasks; i++)
		pids[i] = start(what);
	kills = vm_event("oom_kill");
	ns = now_ns();
	if (oom_now()) {
		ns = 0;
	} else {
		while (vm_event("oom_kill") == kills)
			sched_yield();
		ns = now_ns() - ns;
	}
	for (i = 0; i < tasks; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;

	return ns;
}

/*
 * Where the clock counts instructions it counts those of a worker that comes between,
 * too: the least of some rounds is the cost of the choice.
 */
TEST_F_TIMEOUT(cost, instructions, PATIENCE)
{
	long ns, least = LONG_MAX;
	int i;

	for (i = 0; i < 5; i++) {
		ns = cost_of_choice(variant->what, variant->tasks);
		ASSERT_LT(0, ns);
		TH_LOG("%ld instructions", ns);
		if (ns < least)
			least = ns;
	}
	EXPECT_LT(least, variant->at_most);
}

/* -- policy ---------------------------------------------------------------- */

FIXTURE(policy)
{
	long kills;
};

FIXTURE_VARIANT(policy)
{
	const char *panic_on_oom;
	const char *kill_allocating;
};

FIXTURE_VARIANT_ADD(policy, usual) {
	.panic_on_oom = "0",
	.kill_allocating = "0",
};

FIXTURE_VARIANT_ADD(policy, kill_allocating) {
	.panic_on_oom = "0",
	.kill_allocating = "1",
};

FIXTURE_VARIANT_ADD(policy, panic) {
	.panic_on_oom = "1",
	.kill_allocating = "0",
};

FIXTURE_VARIANT_ADD(policy, panic_always) {
	.panic_on_oom = "2",
	.kill_allocating = "0",
};

FIXTURE_VARIANT_ADD(policy, panic_or_kill_allocating) {
	.panic_on_oom = "2",
	.kill_allocating = "1",
};

FIXTURE_SETUP(policy)
{
	if (dev < 0)
		SKIP(return, "needs a device node");
	write_text("/proc/sys/vm/panic_on_oom", variant->panic_on_oom);
	write_text("/proc/sys/vm/oom_kill_allocating_task",
		   variant->kill_allocating);
	self->kills = vm_event("oom_kill");
}

FIXTURE_TEARDOWN(policy)
{
	write_text("/proc/sys/vm/panic_on_oom", "0");
	write_text("/proc/sys/vm/oom_kill_allocating_task", "0");
	EXPECT_EQ(self->kills, vm_event("oom_kill"));
	EXPECT_EQ(0, node_left(dev));
}

/* Return: the signal that ended it, or its status, negative */
static int ends_by(void (*what)(size_t size))
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		set_oom_score(1000);
		what(node_bytes(dev) + SIZE / 4);
		_exit(0);
	}
	waitpid(pid, &status, 0);

	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void fault_too_much(size_t size)
{
	fill_on(dev, size, MAP_ANONYMOUS, -1);
}

static void populate_too_much(size_t size)
{
	char *p = map_huge(size);

	if (mbind_nodes(p, size, MPOL_BIND, NODE(dev), 0))
		_exit(1);
	if (madvise(p, size, MADV_POPULATE_WRITE))
		_exit(errno);
}

static void shmem_too_much(size_t size)
{
	int fd = memfd_create("devmem", 0);

	if (ftruncate(fd, size))
		_exit(1);
	fill_on(dev, size, MAP_SHARED, fd);
}

static void prefer_too_much(size_t size)
{
	char *p = map_huge(size);

	if (mbind_nodes(p, size, MPOL_PREFERRED, NODE(dev), 0))
		_exit(1);
	fill_pages(p, size, 1);
}

TEST_F_TIMEOUT(policy, of_a_bound_task, PATIENCE)
{
	EXPECT_EQ(SIGBUS, ends_by(fault_too_much));
	EXPECT_EQ(SIGBUS, ends_by(shmem_too_much));
	/* What the faults find, the call tells. */
	EXPECT_EQ(-ENOMEM, ends_by(populate_too_much));
	EXPECT_EQ(0, ends_by(prefer_too_much));
}

TEST_HARNESS_MAIN
