// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: all calls as programs of 32 bits make them.
 *
 * Invariants 2 and 5, as for programs of 64 bits: the structures are the same,
 * whatever the size of a pointer.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_layout.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../kselftest_harness.h"

#ifdef __x86_64__
/*
 * The call of a 32-bit program: this way into the kernel is one for any program.
 * Whatever is pointed to has to lie in the first 4 GB.
 */
static int call_32(long nr, long a, long b, const void *c)
{
	long ret;

	asm volatile("int $0x80" : "=a" (ret)
		     : "a" (nr), "b" (a), "c" (b), "d" (c)
		     : "memory", "r8", "r9", "r10", "r11");

	return ret;
}

#define IOCTL_32	54
#define GETPID_32	20

static bool has_32(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct rlimit none = { };

		/* Where it isn't one, it is a fault. */
		setrlimit(RLIMIT_CORE, &none);
		_exit(call_32(GETPID_32, 0, 0, NULL) != getpid());
	}
	waitpid(pid, &status, 0);

	return !status;
}

/* A page that a 32-bit program could have: arguments are put there. */
static void *low_page(void)
{
	return map_pages(PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);
}

FIXTURE(program_32)
{
	struct nodes n;
	int fd;
	void *arg;
};

FIXTURE_SETUP(program_32)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	if (!has_32())
		SKIP(return, "no 32-bit calls (CONFIG_IA32_EMULATION)");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->arg = low_page();
	ASSERT_NE(NULL, self->arg);
}

FIXTURE_TEARDOWN(program_32)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F_TIMEOUT(program_32, asks, PATIENCE)
{
	struct devmem_info *info = self->arg, wide;

	*info = (struct devmem_info){ .node = self->n.d1,
				      .flags = DEVMEM_INFO_RUNS };
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, DEVMEM_INFO_RUNS, &wide));
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_INFO, info));
	EXPECT_EQ(0, memcmp(&wide, info, sizeof(wide)));
	EXPECT_LT(0, info->size);
	*info = (struct devmem_info){ .node = self->n.d1, .pad = 1 };
	EXPECT_EQ(-EINVAL, call_32(IOCTL_32, self->fd, DEVMEM_IOC_INFO, info));
}

TEST_F_TIMEOUT(program_32, allocates, PATIENCE)
{
	struct devmem_alloc *alloc = self->arg;
	char *p;

	*alloc = (struct devmem_alloc){
		.node = self->n.d2, .size = SIZE, .align = 2 * MIB,
		.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_ALLOC, alloc));
	EXPECT_EQ(PAGES, node_used(self->n.d2));
	p = map_pages(SIZE, MAP_SHARED, alloc->fd);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(alloc->fd);
}

TEST_F_TIMEOUT(program_32, migrates_and_verifies, PATIENCE)
{
	struct devmem_migrate *m = self->arg;
	struct devmem_verify *v = self->arg;
	__u64 *nodes = self->arg + PAGE / 2;
	char *p = map_pages(SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	*m = (struct devmem_migrate){
		.addr = (uintptr_t)p, .size = SIZE, .node = self->n.d1,
		.pidfd = DEVMEM_SELF,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_MIGRATE, m));
	EXPECT_EQ(PAGES, m->moved);
	EXPECT_EQ(0, m->size);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	*v = (struct devmem_verify){
		.addr = (uintptr_t)p, .size = SIZE, .pidfd = DEVMEM_SELF,
		.nr_nodes = MAX_NODES, .nodes = (uintptr_t)nodes,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_VERIFY, v));
	EXPECT_EQ(PAGES, v->device);
	EXPECT_EQ(PAGES, nodes[self->n.d1]);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(program_32, waits_for_room, PATIENCE)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
	struct devmem_watch *w = self->arg;

	*w = (struct devmem_watch){ .node = self->n.d1, .eventfd = -1,
				    .free = MIB };
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_WATCH, w));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd.revents);
}
#else
TEST(program_32)
{
	SKIP(return, "32-bit calls from a program of 64 bits are x86's");
}
#endif

TEST_HARNESS_MAIN
