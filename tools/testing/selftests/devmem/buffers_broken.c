// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: a page that the hardware has broken doesn't come back with
 * another buffer (invariant 5).
 *
 * Wants a device node, whose pages are lost afterwards; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/buffers.h"
#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

FIXTURE(broken)
{
	int nid;
	size_t size;
	size_t at;		/* the page that breaks */
	long used;		/* those of tests before, which are lost */
	int fd;
};

FIXTURE_VARIANT(broken)
{
	unsigned int flags;
	size_t size, pages;	/* bytes, and pages beside */
	size_t at, page;
};

FIXTURE_VARIANT_ADD(broken, first) {
	.size = 8 * HUGE,
};

FIXTURE_VARIANT_ADD(broken, middle) {
	.size = 8 * HUGE,
	.at = 3 * HUGE,
	.page = 7,
};

FIXTURE_VARIANT_ADD(broken, last) {
	.size = 8 * HUGE,
	.pages = 3,
	.at = 8 * HUGE,
	.page = 2,
};

FIXTURE_VARIANT_ADD(broken, single) {
	.pages = 1,
};

FIXTURE_VARIANT_ADD(broken, huge) {
	.flags = DEVMEM_ALLOC_HUGE,
	.size = 8 * HUGE,
	.at = 5 * HUGE,
	.page = 1,
};

FIXTURE_VARIANT_ADD(broken, contiguous) {
	.flags = CONTIG,
	.size = 8 * HUGE,
	.pages = 1,
	.at = 2 * HUGE,
	.page = 5,
};

FIXTURE_VARIANT_ADD(broken, contiguous_huge) {
	.flags = CONTIG | DEVMEM_ALLOC_HUGE,
	.size = 8 * HUGE,
	.at = 8 * HUGE,
	.page = -1UL,
};

FIXTURE_SETUP(broken)
{
	int dev[MAX_NODES];

	self->fd = -1;
	if (!device_nodes(dev) || getuid())
		SKIP(return, "needs root and a device node");
	if (access("/proc/sys/vm/memory_failure_recovery", F_OK))
		SKIP(return, "no CONFIG_MEMORY_FAILURE");
	if (variant->flags & DEVMEM_ALLOC_HUGE && pmd_bytes != HUGE)
		SKIP(return, "huge pages of %lu MB", pmd_bytes / MIB);
	self->size = variant->size + variant->pages * PAGE;
	self->at = variant->at + variant->page * PAGE;
	ASSERT_EQ(0, testmod_load());
	self->fd = open(DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->nid = dev[0];
	self->used = node_used(self->nid);
}

FIXTURE_TEARDOWN(broken)
{
	close(self->fd);
}

/* How a process ends that looks at a page; that alone of @size is mapped */
static int looks_at(int buf, size_t at, size_t size)
{
	const size_t from = at / size * size;
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *p = map_anon(size + HUGE);

		/* Where the mapping could be huge */
		p = (char *)(((unsigned long)p + HUGE - 1) & -HUGE);
		p = mmap(p, size, PROT_READ, MAP_SHARED | MAP_FIXED, buf, from);
		_exit(p == MAP_FAILED ? 2 : p[at - from]);
	}
	waitpid(pid, &status, 0);

	return status;
}

/* It stays out, the others come back, and the next program has it not. */
TEST_F_TIMEOUT(broken, stays_out, PATIENCE)
{
	const size_t rest = node_bytes(self->nid) - (self->used + 1) * PAGE;
	struct devmem_info info;
	int buf;

	buf = devmem_alloc(self->fd, self->nid, self->size,
			   EXACT | variant->flags, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, testmod("broken %d 0", buf));
	ASSERT_EQ(0, testmod("break %d %lu", buf, self->at / PAGE));
	EXPECT_EQ(0, testmod("broken %d 1", buf));

	/* Who comes upon it is told, as of any broken page. */
	EXPECT_EQ(SIGBUS, WTERMSIG(looks_at(buf, self->at, PAGE)));
	if (self->at / HUGE < self->size / HUGE) {
		EXPECT_EQ(SIGBUS, WTERMSIG(looks_at(buf, self->at, HUGE)));
		/* The others of its huge page are as good as before. */
		EXPECT_EQ(0, looks_at(buf, self->at ^ PAGE, HUGE));
	}
	close(buf);
	EXPECT_EQ(self->used + 1,
		  node_used_at_rest(self->nid, self->used + 1));

	buf = devmem_alloc(self->fd, self->nid, rest, EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(0, testmod("broken %d 0", buf));
	ASSERT_EQ(0, devmem_info(self->fd, self->nid, 0, &info));
	EXPECT_EQ(0, (long)info.free);
	close(buf);
	EXPECT_EQ(self->used + 1,
		  node_used_at_rest(self->nid, self->used + 1));
}

TEST_HARNESS_MAIN
