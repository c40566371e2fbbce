// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 7, resizing is safe: a policy that names a device works from the moment
 * that its memory is online, for the task that brought it, for another one, and in
 * a cpuset three levels deep; and is refused when it has gone. A hundred times each,
 * as a driver's range and as a memory block that goes offline and comes back.
 *
 * And who waits for somebody who takes it offline can be killed.
 *
 * Seen to fail: with cpuset_track_online_nodes() called a moment later, as kernels
 * before 6.11 do.
 *
 * Wants an id without memory (device_coherent=...,spare:1), the last one, and memory
 * for it (memmap=128M$384M, on arm64 scripts/vm --set-aside); see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#define ROUNDS		100
#define SIZE		(4 * PAGE)
#define START		spare_start()
#define BYTES		0x8000000UL
#define CGROUP		"/sys/fs/cgroup"
#define DECLARED	"/sys/devices/system/node/device_coherent_declared"

static int bring(int nid)
{
	return testmod("add %d %#lx %#lx", nid, START, BYTES);
}

static int take(int nid)
{
	return testmod("remove %d %#lx %#lx", nid, START, BYTES);
}

/* The memory is one block. */
static const char *block(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%lu/state",
		 START / BYTES);

	return path;
}

static int offline(int nid)
{
	return write_text(block(), "offline");
}

static int online(int nid)
{
	return write_text(block(), "online");
}

/* Return: 0 if a mapping of this task gets pages of the node, or -errno */
static int place(int nid)
{
	char *p = map_anon(SIZE);
	int rc = 0;

	if (!p)
		return -ENOMEM;
	if (mbind_nodes(p, SIZE, MPOL_BIND, NODE(nid), 0))
		rc = -errno;
	else if (fill_pages(p, SIZE, 1), on_node(p, SIZE, nid) != (long)(SIZE / PAGE))
		rc = -EXDEV;
	munmap(p, SIZE);

	return rc;
}

/* Another task, which answers a byte, a node, with the error of place() */
struct other {
	pid_t pid;
	int ask[2], answer[2];
};

static void serve(const struct other *other)
{
	unsigned char nid, rc;

	while (read(other->ask[0], &nid, 1) == 1) {
		rc = -place(nid);
		if (write(other->answer[1], &rc, 1) != 1)
			break;
	}
	_exit(0);
}

static bool start_other(struct other *other, const char *cgroup)
{
	char procs[128];

	if (pipe(other->ask) || pipe(other->answer))
		return false;
	other->pid = fork();
	if (!other->pid) {
		close(other->ask[1]);
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
		if (*cgroup && write_text(procs, "0"))
			_exit(1);
		serve(other);
	}
	close(other->ask[0]);
	close(other->answer[1]);

	return other->pid > 0;
}

static int ask(const struct other *other, int nid)
{
	unsigned char byte = nid;

	if (write(other->ask[1], &byte, 1) != 1 ||
	    read(other->answer[0], &byte, 1) != 1)
		return -EPIPE;

	return -byte;
}

static void end_other(struct other *other)
{
	close(other->ask[1]);
	close(other->answer[0]);
	waitpid(other->pid, NULL, 0);
}

static const char * const levels[] = {
	CGROUP "/devmem-a", CGROUP "/devmem-a/b", CGROUP "/devmem-a/b/c",
};

static bool make_levels(void)
{
	char path[128];
	int i;

	if (write_text(CGROUP "/cgroup.subtree_control", "+cpuset"))
		return false;
	for (i = 0; i < 3; i++) {
		if (mkdir(levels[i], 0755) && errno != EEXIST)
			return false;
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control",
			 levels[i]);
		if (i < 2 && write_text(path, "+cpuset"))
			return false;
	}

	return true;
}

FIXTURE(arrive)
{
	int nid;
	bool levels;
	struct other other;
};

FIXTURE_VARIANT(arrive)
{
	bool other, deep, block;
};

FIXTURE_VARIANT_ADD(arrive, own_range) { false, false, false };
FIXTURE_VARIANT_ADD(arrive, other_range) { true, false, false };
FIXTURE_VARIANT_ADD(arrive, deep_range) { true, true, false };
FIXTURE_VARIANT_ADD(arrive, own_block) { false, false, true };
FIXTURE_VARIANT_ADD(arrive, other_block) { true, false, true };
FIXTURE_VARIANT_ADD(arrive, deep_block) { true, true, true };

FIXTURE_SETUP(arrive)
{
	int ids[MAX_NODES], n = read_node_list("possible", ids);

	if (getuid() || testmod_load() || n < 2)
		SKIP(return, "needs root, the test module and a spare id");
	self->nid = ids[n - 1];
	if (bring(self->nid))
		SKIP(return, "needs memory set aside for the last node");
	ASSERT_EQ(0, variant->block ? offline(self->nid) : take(self->nid));
	self->levels = variant->deep;
	if (variant->deep)
		ASSERT_TRUE(make_levels());
	if (variant->other)
		ASSERT_TRUE(start_other(&self->other,
					variant->deep ? levels[2] : ""));
}

FIXTURE_TEARDOWN(arrive)
{
	int i;

	if (variant->other)
		end_other(&self->other);
	for (i = 2; self->levels && i >= 0; i--)
		rmdir(levels[i]);
	take(self->nid);
}

TEST_F(arrive, a_policy_works_at_once)
{
	int (*come)(int nid) = variant->block ? online : bring;
	int (*go)(int nid) = variant->block ? offline : take;
	int i, nid = self->nid;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, come(nid));
		ASSERT_EQ(0, variant->other ? ask(&self->other, nid) :
					      place(nid)) {
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(0, go(nid));
		ASSERT_EQ(-EINVAL, variant->other ? ask(&self->other, nid) :
						   place(nid)) {
			TH_LOG("round %d, when it had gone", i);
		}
	}
}

/* Return: whether the task ends within so many ms */
static bool ends(pid_t pid, int ms)
{
	int status;

	for (; ms > 0 && waitpid(pid, &status, WNOHANG) != pid; ms -= 10)
		usleep(10000);

	return ms > 0;
}

static pid_t write_by_other(const char *path, const char *text)
{
	pid_t pid = fork();

	if (!pid)
		_exit(write_text(path, text) ? 1 : 0);

	return pid;
}

/*
 * Who takes a block offline of which somebody holds a page tries for ever, with the
 * hotplug lock held. Who wants that lock for a declaration can give up.
 */
TEST(declaring_can_be_killed)
{
	int ids[MAX_NODES], n = read_node_list("possible", ids), fd[2];
	struct iovec iov = { map_anon(PAGE), PAGE };
	pid_t offliner, writer;
	char word[16];

	if (getuid() || testmod_load() || n < 2 || bring(ids[n - 1]))
		SKIP(return, "needs root, the test module, memory and an id");
	ASSERT_EQ(0, mbind_nodes(iov.iov_base, PAGE, MPOL_BIND,
				 NODE(ids[n - 1]), 0));
	*(char *)iov.iov_base = 1;
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fd[1], &iov, 1, 0));
	offliner = write_by_other(block(), "offline");
	EXPECT_FALSE(ends(offliner, 300));

	snprintf(word, sizeof(word), "+%d", ids[n - 1]);
	writer = write_by_other(DECLARED, word);
	EXPECT_FALSE(ends(writer, 300));
	kill(writer, SIGKILL);
	EXPECT_TRUE(ends(writer, 2000));

	kill(offliner, SIGKILL);
	EXPECT_TRUE(ends(offliner, 20000));
	close(fd[0]);
	close(fd[1]);
	munmap(iov.iov_base, PAGE);
	word[0] = '-';
	EXPECT_NE(0, write_text(DECLARED, word));
	EXPECT_EQ(0, take(ids[n - 1]));
}

TEST_HARNESS_MAIN
