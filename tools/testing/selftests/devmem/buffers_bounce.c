// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: devices behind bounce buffers import a buffer, as often as they
 * like; what they write is there when they are done (invariant 5).
 *
 * Wants two system nodes and two device nodes of 128 MB, and swiotlb=force; see
 * "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buffers.h"
#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

FIXTURE(bounce)
{
	struct nodes n;
	int fd;
	int buf;
	size_t size;
	char *p;		/* where the buffer is mapped */
};

FIXTURE_VARIANT(bounce)
{
	unsigned int flags;
	size_t size;
	size_t pages;		/* more than that */
};

FIXTURE_VARIANT_ADD(bounce, plain) {
	.size = 4 * HUGE,
	.pages = 3,
};

FIXTURE_VARIANT_ADD(bounce, contiguous) {
	.flags = CONTIG,
	.size = 4 * HUGE,
	.pages = 3,
};

FIXTURE_SETUP(bounce)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid() ||
	    system("grep -q swiotlb=force /proc/cmdline"))
		SKIP(return, "needs root, two nodes of each kind, swiotlb=force");
	self->fd = open(DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, testmod_load());
	self->size = variant->size + variant->pages * PAGE;
	self->buf = devmem_alloc(self->fd, self->n.d1, self->size,
				 EXACT | variant->flags, 0);
	ASSERT_LE(0, self->buf);
	self->p = map_pages(self->size, MAP_SHARED, self->buf);
	ASSERT_NE(NULL, self->p);
}

FIXTURE_TEARDOWN(bounce)
{
	if (self->p)
		munmap(self->p, self->size);
	if (self->buf > 0)
		close(self->buf);
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* The device has copies; what it writes is there when it is done. */
TEST_F_TIMEOUT(bounce, is_imported, PATIENCE)
{
	size_t i, wrong = 0;

	fill_pages(self->p, self->size, 6);
	EXPECT_EQ(0, testmod("bounce %d 1", self->buf));
	EXPECT_FALSE(intact(self->p, self->size, 6));
	EXPECT_EQ(0, testmod("bounce %d 255", self->buf));
	EXPECT_TRUE(intact(self->p, self->size, 6));
	EXPECT_EQ(0, testmod("bounce %d 3", self->buf));
	for (i = sizeof(long); i < PAGE; i++)
		wrong += self->p[i] != 3;
	EXPECT_EQ(0, wrong);
}

/* What the device has written outlasts a CPU that reads, or writes elsewhere. */
TEST_F_TIMEOUT(bounce, is_written_by_both, PATIENCE)
{
	size_t i, wrong = 0;

	EXPECT_EQ(0, testmod("write_behind %d 5", self->buf));
	EXPECT_EQ(6, self->p[0]);
	for (i = 1; i < self->size; i++)
		wrong += self->p[i] != 5;
	EXPECT_EQ(0, wrong);
}

TEST_F_TIMEOUT(bounce, is_mapped_twice, PATIENCE)
{
	EXPECT_EQ(0, testmod("twice %d 0", self->buf));
	EXPECT_EQ(0, testmod("twice %d 1", self->buf));
}

TEST_HARNESS_MAIN
