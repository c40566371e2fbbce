// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: whatever fills the system's memory, to
 * the OOM killer and past it, no page of a device node is taken.
 *
 * Each test brings system memory to the brim with a process that the OOM killer
 * takes first, lets another kind of allocation push on until direct reclaim
 * or the OOM killer had to work, and 32 MB further. Then every page of every
 * device node is free, and none was ever handed out (pgalloc_coherent).
 *
 * The detector is proved in "control": pages taken on request are seen.
 * DEVMEM_NODES=1 on a machine where node 1 is an ordinary node makes every
 * test fail, as it must.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "lib/devmem_util.h"

#define MAX_STEPS	512	/* of about 1 MB each */
#define STEPS_PAST	32	/* after memory ran out */
#define ROOM_KB		(64 << 10)
#define SWAP_DISKS	4

/* Not the root's /tmp: what a test leaves there would stay in memory. */
#define DIR		"/tmp/devmem-containment"
#define IMAGE		DIR "/image"
#define DISK		DIR "/disk"

static char buffer[MIB];
static int file = -1;
static int sender = -1;
static int sink;

/* -- Kinds of allocations, one step each ----------------------------------- */

static void *map(size_t size, int prot, int flags)
{
	return mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static int step_anon(int i)
{
	char *p = map(MIB, PROT_READ | PROT_WRITE, 0);

	if (p == MAP_FAILED)
		return -errno;
	memset(p, i + 1, MIB);

	return 0;
}

static int step_populate(int i)
{
	(void)i;
	return map(MIB, PROT_READ | PROT_WRITE, MAP_POPULATE) == MAP_FAILED ?
		-errno : 0;
}

static int step_mlock(int i)
{
	void *p = map(MIB, PROT_READ | PROT_WRITE, 0);

	(void)i;
	if (p == MAP_FAILED)
		return -errno;

	return mlock(p, MIB) ? -errno : 0;
}

static int step_thp(int i)
{
	char *p = map(4 * MIB, PROT_READ | PROT_WRITE, MAP_NORESERVE);
	char *huge = (char *)(((unsigned long)p + 2 * MIB - 1) & ~(2 * MIB - 1));

	if (p == MAP_FAILED)
		return -errno;
	madvise(huge, 2 * MIB, MADV_HUGEPAGE);
	memset(huge, i + 1, 2 * MIB);

	return 0;
}

/* Nothing but the zero page, and 1 MB of page tables for it */
static int step_page_tables(int i)
{
	const size_t span = PAGE / sizeof(long) * PAGE;
	size_t size = MIB / PAGE * span;
	const char *p = map(size, PROT_READ, MAP_NORESERVE);
	size_t at;

	(void)i;
	if (p == MAP_FAILED)
		return -errno;
	madvise((void *)p, size, MADV_NOHUGEPAGE);
	for (at = 0; at < size; at += span)
		sink += p[at];

	return 0;
}

static int step_fork(int i)
{
	pid_t parent = getpid();
	int n;

	for (n = 0; n < 3; n++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (pid)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		memset(buffer, i + 1, sizeof(buffer) / 4);
		for (;;)
			pause();
	}

	return 0;
}

static int step_write(int i)
{
	(void)i;
	return write(file, buffer, sizeof(buffer)) < 0 ? -errno : 0;
}

/* The same 48 MB again and again, so that they are written back */
static int step_writeback(int i)
{
	if (pwrite(file, buffer, sizeof(buffer), (i % 48) * sizeof(buffer)) < 0)
		return -errno;

	return i % 8 ? 0 : fdatasync(file);
}

static int step_read(int i)
{
	(void)i;
	return read(file, buffer, sizeof(buffer)) <= 0 ? -EIO : 0;
}

/* Inodes and directory entries that nobody can reclaim */
static int step_files(int i)
{
	char name[128];
	int n, fd;

	for (n = 0; n < 700; n++) {
		snprintf(name, sizeof(name), DISK "/%048d-%06d", n, i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			return -errno;
		close(fd);
	}

	return 0;
}

static int step_pipes(int i)
{
	int n, fds[2];

	(void)i;
	for (n = 0; n < 16; n++) {
		if (pipe2(fds, O_NONBLOCK))
			return -errno;
		if (write(fds[1], buffer, 65536) < 0)
			return -errno;
	}

	return 0;
}

static int step_sockets(int i)
{
	int size = 2 * MIB, fds[2];

	(void)i;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
		return -errno;
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));

	return write(fds[0], buffer, sizeof(buffer)) < 0 ? -errno : 0;
}

/* Every packet socket gets a copy, made in softirq context: GFP_ATOMIC. */
static int step_atomic(int i)
{
	int n;

	(void)i;
	for (n = 0; n < 64; n++)
		if (send(sender, buffer, 64, MSG_DONTWAIT) < 0 &&
		    errno != ENOBUFS && errno != ECONNREFUSED)
			return -errno;

	return 0;
}

/* -- What they need before --------------------------------------------------- */

static int mount_tmpfs(void)
{
	if (mount("devmem", DISK, "tmpfs", 0, "size=0,nr_inodes=0"))
		return -errno;
	file = open(DISK "/file", O_CREAT | O_RDWR, 0600);

	return file < 0 ? -errno : 0;
}

/* A disk in memory, and on it a file with a large hole */
static int mount_disk(void)
{
	if (system("truncate -s 96M " IMAGE) ||
	    system("mkfs.ext4 -q -F -O ^has_journal " IMAGE) ||
	    system("mount -o loop " IMAGE " " DISK))
		return -ENOENT;
	file = open(DISK "/file", O_CREAT | O_RDWR, 0600);
	if (file < 0 || ftruncate(file, 1L << 34))
		return -errno;

	return 0;
}

static int add_swap(void)
{
	char text[64];
	int i;

	for (i = 0; i < SWAP_DISKS; i++) {
		snprintf(text, sizeof(text), "mkswap /dev/ram%d >/dev/null", i);
		if (system(text))
			return -ENOENT;
		snprintf(text, sizeof(text), "/dev/ram%d", i);
		if (swapon(text, 0))
			return -errno;
	}

	return 0;
}

static int open_packet_sockets(void)
{
	struct sockaddr_ll ll = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex("lo"),
	};
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(9),
	};
	int i, fd, size = 256 * MIB;

	for (i = 0; i < 32; i++) {
		fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
		if (fd < 0 || bind(fd, (void *)&ll, sizeof(ll)))
			return -errno;
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	}
	sender = socket(AF_INET, SOCK_DGRAM, 0);

	return connect(sender, (void *)&to, sizeof(to)) ? -errno : 0;
}

static void clean_up(void)
{
	char text[64];
	int i;

	if (file >= 0)
		close(file);
	umount2(DISK, 0);
	unlink(IMAGE);
	for (i = 0; i < SWAP_DISKS; i++) {
		snprintf(text, sizeof(text), "/dev/ram%d", i);
		swapoff(text);
	}
}

/* -- The pressure ------------------------------------------------------------ */

static long stalls(void)
{
	return vm_events("allocstall_") + vm_event("oom_kill");
}

/* A process that holds @kb until it is killed, first of all */
static pid_t start_hog(long kb)
{
	int fds[2];
	pid_t pid;
	char c;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		char *p;

		close(fds[0]);
		set_oom_score(1000);
		p = map(kb << 10, PROT_READ | PROT_WRITE, MAP_NORESERVE);
		if (p != MAP_FAILED)
			memset(p, 0x5a, kb << 10);
		close(fds[1]);
		for (;;)
			pause();
	}
	close(fds[1]);
	if (read(fds[0], &c, 1))	/* returns when the memory is there */
		c = 0;
	close(fds[0]);

	return pid;
}

static void eat(int (*step)(int i), long before)
{
	int i, past = 0;

	for (i = 0; i < MAX_STEPS && past < STEPS_PAST; i++) {
		/* Refused for lack of memory is as good as given. */
		if (step(i) && errno != ENOMEM && errno != ENOBUFS &&
		    errno != EAGAIN)
			_exit(errno);
		if (past || stalls() > before)
			past++;
	}
	_exit(0);
}

/* Return: the wait status of who ate */
static int squeeze(int (*step)(int i))
{
	long before = stalls();
	int status = 0;
	pid_t hog, eater;

	hog = start_hog(meminfo_kb("MemAvailable") - ROOM_KB);
	eater = fork();
	if (!eater) {
		set_oom_score(900);
		eat(step, before);
	}
	waitpid(eater, &status, 0);
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);

	return status;
}

/* -- Tests ------------------------------------------------------------------- */

/*
 * The code that the tests run stays in memory: else, on the brim, they would do
 * little but read it again, and a slow machine hardly gets to the OOM killer.
 */
static void __attribute__((constructor)) prepare(void)
{
	struct rlimit files = { 65536, 65536 };

	set_oom_score(-1000);
	setrlimit(RLIMIT_NOFILE, &files);
	mlockall(MCL_CURRENT);
	mkdir(DIR, 0700);
	mkdir(DISK, 0700);
}

FIXTURE(containment)
{
	int nodes[MAX_NODES];
	int nr;
	long pgalloc;
	long stalls;
	long swapped;
};

FIXTURE_VARIANT(containment)
{
	int (*prepare)(void);
	int (*step)(int i);
};

FIXTURE_VARIANT_ADD(containment, anon) {
	.step = step_anon,
};

FIXTURE_VARIANT_ADD(containment, populate) {
	.step = step_populate,
};

FIXTURE_VARIANT_ADD(containment, mlock) {
	.step = step_mlock,
};

FIXTURE_VARIANT_ADD(containment, thp) {
	.step = step_thp,
};

FIXTURE_VARIANT_ADD(containment, swap) {
	.prepare = add_swap,
	.step = step_anon,
};

FIXTURE_VARIANT_ADD(containment, fork) {
	.step = step_fork,
};

FIXTURE_VARIANT_ADD(containment, page_tables) {
	.step = step_page_tables,
};

FIXTURE_VARIANT_ADD(containment, tmpfs) {
	.prepare = mount_tmpfs,
	.step = step_write,
};

FIXTURE_VARIANT_ADD(containment, inodes) {
	.prepare = mount_tmpfs,
	.step = step_files,
};

FIXTURE_VARIANT_ADD(containment, page_cache) {
	.prepare = mount_disk,
	.step = step_read,
};

FIXTURE_VARIANT_ADD(containment, writeback) {
	.prepare = mount_disk,
	.step = step_writeback,
};

FIXTURE_VARIANT_ADD(containment, pipes) {
	.step = step_pipes,
};

FIXTURE_VARIANT_ADD(containment, sockets) {
	.step = step_sockets,
};

FIXTURE_VARIANT_ADD(containment, atomic) {
	.prepare = open_packet_sockets,
	.step = step_atomic,
};

FIXTURE_SETUP(containment)
{
	self->nr = device_nodes(self->nodes);
	if (!self->nr || geteuid())
		SKIP(return, "needs root and a device node");
	self->pgalloc = vm_event("pgalloc_coherent");
	self->stalls = stalls();
	self->swapped = vm_event("pswpout");
}

FIXTURE_TEARDOWN(containment)
{
}

/* The proof: nothing is in use, and nothing was in between. */
static void expect_untouched(struct __test_metadata *_metadata, int *nodes,
			     int nr, long pgalloc)
{
	int i;

	for (i = 0; i < nr; i++) {
		EXPECT_EQ(0, node_used(nodes[i])) {
			TH_LOG("pages of node %d are in use", nodes[i]);
		}
	}
	EXPECT_EQ(pgalloc, vm_event("pgalloc_coherent"));
}

TEST_F_TIMEOUT(containment, squeeze, PATIENCE)
{
	int status, rc = variant->prepare ? variant->prepare() : 0;

	if (rc) {
		clean_up();
		SKIP(return, "can't prepare: %s", strerror(-rc));
	}
	status = squeeze(variant->step);
	TH_LOG("%ld stalls and OOM kills", stalls() - self->stalls);
	EXPECT_LT(self->stalls, stalls()) {
		TH_LOG("memory never ran out: nothing is proved");
	}
	if (variant->prepare == add_swap)
		EXPECT_LT(self->swapped, vm_event("pswpout"));
	EXPECT_TRUE(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
	if (WIFEXITED(status))
		EXPECT_EQ(0, WEXITSTATUS(status));
	expect_untouched(_metadata, self->nodes, self->nr, self->pgalloc);
	clean_up();
	expect_untouched(_metadata, self->nodes, self->nr, self->pgalloc);
}

FIXTURE(quiet)
{
	int nodes[MAX_NODES];
	int nr;
	long pgalloc;
};

FIXTURE_SETUP(quiet)
{
	self->nr = device_nodes(self->nodes);
	if (!self->nr || geteuid())
		SKIP(return, "needs root and a device node");
	self->pgalloc = vm_event("pgalloc_coherent");
}

FIXTURE_TEARDOWN(quiet)
{
}

static void eat_until_killed(void)
{
	int i;

	set_oom_score(1000);
	for (i = 0; ; i++)
		step_anon(i);
}

/* Victims may use the reserves, and more than one dies at a time. */
TEST_F_TIMEOUT(quiet, oom_storm, PATIENCE)
{
	long kills = vm_event("oom_kill");
	int i, status;
	pid_t pids[4];

	for (i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i])
			eat_until_killed();
		ASSERT_LT(0, pids[i]);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_LE(kills + 4, vm_event("oom_kill"));
	expect_untouched(_metadata, self->nodes, self->nr, self->pgalloc);
}

TEST_F_TIMEOUT(quiet, compact_and_drop, PATIENCE)
{
	long before = vm_event("drop_pagecache");

	ASSERT_EQ(0, write_text("/proc/sys/vm/compact_memory", "1"));
	ASSERT_EQ(0, write_text("/proc/sys/vm/drop_caches", "3"));
	EXPECT_LT(before, vm_event("drop_pagecache"));
	expect_untouched(_metadata, self->nodes, self->nr, self->pgalloc);
}

/* The detectors see a page that was taken. */
TEST_F(quiet, control)
{
	int i;

	if (testmod_load())
		SKIP(return, "needs the module device_coherent_test");
	for (i = 0; i < self->nr; i++) {
		ASSERT_EQ(0, testmod("alloc %d 0 10", self->nodes[i]));
		EXPECT_EQ(10, node_used(self->nodes[i]));
		EXPECT_EQ(self->pgalloc + 10 * (i + 1),
			  vm_event("pgalloc_coherent"));
	}
	ASSERT_EQ(0, testmod("free"));
	for (i = 0; i < self->nr; i++)
		EXPECT_EQ(0, node_used(self->nodes[i]));
}

TEST_HARNESS_MAIN
