// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: a buffer tells what it is, whose it is, who has it and where it
 * starts; and, where there is none, why, and whether there would be.
 *
 * What is said is what was done a moment before. Invariant 5: a debugger reads
 * and writes what is there.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buffers.h"
#include "lib/devmem_calls.h"
#include "lib/devmem_layout.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

/* -- What a buffer tells ------------------------------------------------------- */

FIXTURE(told)
{
	struct nodes n;
	size_t size;
	int fd;
};

FIXTURE_SETUP(told)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
}

FIXTURE_TEARDOWN(told)
{
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* The line "@key:\t..." of a descriptor's fdinfo; "" if there is none */
static const char *told_by(int fd, const char *key)
{
	static char line[256];
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *tab = strchr(line, '\t');

		if (!tab || tab[-1] != ':')
			continue;
		tab[-1] = '\0';
		line[sizeof(line) - 1] = '\0';
		tab[strcspn(tab, "\n")] = '\0';
		if (!strcmp(line, key)) {
			fclose(f);
			return tab + 1;
		}
	}
	if (f)
		fclose(f);

	return "";
}

static unsigned long long sysfs_buffers(int nid)
{
	char path[96];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/buffers", nid);

	return read_number(path);
}

static long long info_buffers(int fd, int nid)
{
	struct devmem_info info;

	return devmem_info(fd, nid, 0, &info) ? -1 : (long long)info.buffers;
}

TEST_F_TIMEOUT(told, by_fdinfo, PATIENCE)
{
	char name[32];
	int one, many, i;

	snprintf(name, sizeof(name), "devmem-node%d", self->n.d2);
	one = devmem_alloc(self->fd, self->n.d2, 8 * MIB, EXACT | CONTIG, 0);
	ASSERT_LE(0, one);
	EXPECT_STREQ("8388608", told_by(one, "size"));
	EXPECT_STREQ(name, told_by(one, "exp_name"));
	EXPECT_STREQ(name, told_by(one, "name"));
	EXPECT_EQ(self->n.d2, atoi(told_by(one, "devmem-node")));
	EXPECT_STREQ("1", told_by(one, "devmem-contiguous"));
	EXPECT_STREQ("1", told_by(one, "devmem-pieces"));
	EXPECT_STREQ("none", told_by(one, "devmem-charged"));

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	many = devmem_alloc(self->fd, self->n.d1, 8 * MIB + PAGE, EXACT, 0);
	ASSERT_LE(0, many);
	cg_leave();
	EXPECT_EQ(self->n.d1, atoi(told_by(many, "devmem-node")));
	EXPECT_STREQ("0", told_by(many, "devmem-contiguous"));
	EXPECT_LE(2, atoi(told_by(many, "devmem-pieces")));
	/* A group that is gone leaves the charge to the one above, soon. */
	for (i = 0; i < 100 && strcmp("/", told_by(many, "devmem-charged")); i++)
		usleep(50000);
	EXPECT_STREQ("/", told_by(many, "devmem-charged"));
	close(one);
	close(many);
}

TEST_F_TIMEOUT(told, who_is_charged, PATIENCE)
{
	int buf;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_STREQ("/devmem", told_by(buf, "devmem-charged"));
	close(buf);
	cg_leave();
}

TEST_F_TIMEOUT(told, how_much_of_a_node, PATIENCE)
{
	int a, b;

	EXPECT_EQ(0, info_buffers(self->fd, self->n.d1));
	EXPECT_EQ(0, (long)sysfs_buffers(self->n.d1));
	a = devmem_alloc(self->fd, self->n.d1, 8 * MIB, EXACT | CONTIG, 0);
	b = devmem_alloc(self->fd, self->n.d1, 3 * PAGE, EXACT, 0);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ((long long)(8 * MIB + 3 * PAGE),
		  info_buffers(self->fd, self->n.d1));
	EXPECT_EQ(8 * MIB + 3 * PAGE, sysfs_buffers(self->n.d1));
	EXPECT_EQ(0, info_buffers(self->fd, self->n.d2));
	EXPECT_GT(0, devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0));
	EXPECT_EQ(8 * MIB + 3 * PAGE, sysfs_buffers(self->n.d1));
	close(a);
	close(b);
	EXPECT_EQ(0, info_buffers(self->fd, self->n.d1));
}

/* An older program has a shorter struct, and gets what it knows. */
TEST_F_TIMEOUT(told, older_programs_less, PATIENCE)
{
	struct devmem_info info = { .node = self->n.d1, .buffers = 7 };
	struct devmem_alloc alloc = {
		.node = self->n.d1, .flags = EXACT, .size = 2 * self->size,
		.fd_flags = O_RDWR, .reason = 7,
	};
	int buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);

	ASSERT_LE(0, buf);
	EXPECT_EQ(0, devmem_call(self->fd, _IOWR(0xBD, 0, char[88]), &info));
	EXPECT_EQ(7, (int)info.buffers);
	EXPECT_EQ(self->size, info.size);
	EXPECT_EQ(-ENOMEM, devmem_call(self->fd, _IOWR(0xBD, 1, char[32]),
				       &alloc));
	EXPECT_EQ(7, (int)alloc.reason);
	EXPECT_EQ(-ENOMEM, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE, (int)alloc.reason);
	EXPECT_EQ(self->n.d1, alloc.node);
	EXPECT_EQ(0, alloc.fd);
	close(buf);
}

/* Is there a mapping of that name? */
static bool maps_have(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found = found || strstr(line, name);
	if (f)
		fclose(f);

	return found;
}

TEST_F_TIMEOUT(told, by_a_mapping_alone, PATIENCE)
{
	char name[64];
	int buf;
	char *p;

	snprintf(name, sizeof(name), "/dmabuf:devmem-node%d\n", self->n.d1);
	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	p = map_pages(MIB, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	close(buf);
	EXPECT_TRUE(maps_have(name));
	munmap(p, MIB);
	EXPECT_FALSE(maps_have(name));

	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	EXPECT_EQ(0, ioctl(buf, DMA_BUF_SET_NAME, "weights"));
	EXPECT_STREQ("weights", told_by(buf, "name"));
	close(buf);
}

/* The physical address is one of the node's first memory block. */
TEST_F_TIMEOUT(told, where_it_starts, PATIENCE)
{
	unsigned long start, block;
	char path[128];
	FILE *f;

	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lx", &block));
	fclose(f);
	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/start",
		 self->n.d1);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lx", &start));
	fclose(f);
	EXPECT_EQ(0, (long)(start % block));
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%lu",
		 self->n.d1, start / block);
	EXPECT_EQ(0, access(path, F_OK));
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%lu",
		 self->n.d1, start / block - 1);
	EXPECT_NE(0, access(path, F_OK));
}

TEST_F_TIMEOUT(told, heap_of_contiguous_memory, PATIENCE)
{
	struct dma_heap_allocation_data alloc = {
		.len = 8 * MIB + PAGE, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	char name[64];
	int heap;

	snprintf(name, sizeof(name), "/dev/dma_heap/devmem-node%d-contig",
		 self->n.d2);
	heap = open(name, O_RDWR);
	if (heap < 0 && access("/dev/dma_heap", F_OK))
		SKIP(return, "no /dev/dma_heap (CONFIG_DMABUF_HEAPS)");
	ASSERT_LE(0, heap);
	ASSERT_EQ(0, testmod_load());
	ASSERT_EQ(0, ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &alloc));
	EXPECT_STREQ("1", told_by(alloc.fd, "devmem-contiguous"));
	EXPECT_EQ(self->n.d2, atoi(told_by(alloc.fd, "devmem-node")));
	EXPECT_EQ(0, testmod("layout %d %lu", alloc.fd, PAGE));
	close(alloc.fd);
	close(heap);
}

/* -- Why there is none, and whether there would be ------------------------------ */

/* The same to a request and to who only asks */
static int why_both(int fd, int nid, unsigned long long size,
		    unsigned int flags)
{
	int asked = why(fd, nid, size, flags | ASK);
	int got = why(fd, nid, size, flags);

	if (asked == got)
		return got;
	ksft_print_msg("%llu bytes, flags %#x: asked %d, got %d\n", size, flags,
		       asked, got);

	return -1;
}

TEST_F_TIMEOUT(told, the_reason, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;
	static int one[64];
	int rest, i;

	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE,
		  why_both(fd, d1, self->size + PAGE, EXACT));
	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE, why_both(fd, d1, 1ULL << 50, CONTIG));
	EXPECT_EQ(0, why_both(fd, d1, self->size, EXACT));
	EXPECT_EQ(0, why_both(fd, d1, self->size, EXACT | CONTIG));

	/* Every other of the last pages is free. */
	for (i = 0; i < 64; i++)
		one[i] = devmem_alloc(fd, d1, PAGE, EXACT, 0);
	rest = devmem_alloc(fd, d1, self->size - 64 * PAGE, EXACT, 0);
	ASSERT_LE(0, rest);
	EXPECT_EQ(DEVMEM_REASON_FULL, why_both(fd, d1, PAGE, EXACT));
	for (i = 0; i < 64; i += 2)
		close(one[i]);
	EXPECT_EQ(DEVMEM_REASON_FULL, why_both(fd, d1, 33 * PAGE, EXACT));
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED,
		  why_both(fd, d1, 32 * PAGE, EXACT | CONTIG));
	EXPECT_EQ(0, why_both(fd, d1, 32 * PAGE, EXACT));
	EXPECT_EQ(0, why_both(fd, d1, 32 * PAGE, CONTIG));
	for (i = 1; i < 64; i += 2)
		close(one[i]);
	close(rest);
}

TEST_F_TIMEOUT(told, the_reason_of_huge_pages, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;
	const int nr = self->size / HUGE;
	int buf, i;

	/* One page stays of each huge page. */
	buf = devmem_alloc(fd, d1, self->size, EXACT | DEVMEM_ALLOC_HUGE, 0);
	ASSERT_LE(0, buf);
	close(buf);
	ASSERT_EQ(0, testmod_load());
	ASSERT_EQ(0, testmod("comb %d", d1));
	EXPECT_LE(nr - 2, node_used(d1));
	i = why_both(fd, d1, 4 * HUGE, EXACT | DEVMEM_ALLOC_HUGE);
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED, i);
	EXPECT_EQ(0, why_both(fd, d1, 4 * HUGE, EXACT));
	testmod("free");
	EXPECT_EQ(0, why_both(fd, d1, 4 * HUGE, EXACT | DEVMEM_ALLOC_HUGE));
}

TEST_F_TIMEOUT(told, the_reason_of_a_group, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	EXPECT_EQ(0, cg_write("memory.max", "%dM", 16, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, d1, 32 * MIB, EXACT));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, d1, 32 * MIB, CONTIG));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, -1, 32 * MIB, 0));
	cg_leave();
}

/* Whoever asks takes nothing, and is told where it would be. */
TEST_F_TIMEOUT(told, who_asks, PATIENCE)
{
	struct devmem_alloc alloc = {
		.node = self->n.d1, .flags = ASK, .size = 8 * MIB,
		.fd_flags = O_RDWR,
	};
	int all, reads = open(DEV, O_RDONLY | O_CLOEXEC);

	all = devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0);
	ASSERT_LE(0, all);
	EXPECT_EQ(0, devmem_call(reads, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(-1, alloc.fd);
	EXPECT_EQ(self->n.d2, alloc.node);
	EXPECT_EQ(0, node_left(self->n.d2));
	EXPECT_EQ(0, info_buffers(reads, self->n.d2));
	alloc = (struct devmem_alloc){ .node = self->n.d1, .size = 8 * MIB,
				       .flags = ASK | EXACT };
	EXPECT_EQ(-ENOMEM, devmem_call(reads, DEVMEM_IOC_ALLOC, &alloc));
	close(all);
	close(reads);
}

/* -- Debuggers ------------------------------------------------------------------ */

TEST_F_TIMEOUT(told, a_debugger, PATIENCE)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), buf, i;
	const size_t size = 4 * HUGE;
	long word, wrong = 0;
	char *p, *ro, both[2 * sizeof(long)];

	ASSERT_LE(0, mem);
	buf = devmem_alloc(self->fd, self->n.d1, size, EXACT, 0);
	ASSERT_LE(0, buf);
	p = map_pages(size, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	fill_pages(p, size, 3);
	for (i = 0; i < (int)(size / PAGE); i++) {
		char *at = p + i * PAGE;

		word = 0;
		wrong += pread(mem, &word, sizeof(word), (off_t)at) !=
			 sizeof(word) || memcmp(&word, at, sizeof(word));
	}
	EXPECT_EQ(0, wrong);

	/* Across two pages, and by a mapping that begins elsewhere */
	munmap(p, HUGE);
	p += HUGE;
	word = 0x1234;
	memcpy(both, &word, sizeof(word));
	word = 0x5678;
	memcpy(both + sizeof(word), &word, sizeof(word));
	EXPECT_EQ((ssize_t)sizeof(both),
		  pwrite(mem, both, sizeof(both),
			 (off_t)(p + PAGE - sizeof(word))));
	EXPECT_EQ(0, memcmp(p + PAGE - sizeof(word), both, sizeof(both)));

	/* What is mapped for reading isn't written. */
	ro = mmap(NULL, HUGE, PROT_READ, MAP_SHARED, buf, HUGE);
	ASSERT_NE(MAP_FAILED, ro);
	EXPECT_EQ(-1, pwrite(mem, both, sizeof(both), (off_t)ro));
	EXPECT_EQ((ssize_t)sizeof(both),
		  pread(mem, both, sizeof(both),
			(off_t)(ro + PAGE - sizeof(word))));
	memcpy(&word, both + sizeof(word), sizeof(word));
	EXPECT_EQ(0x5678, word);
	munmap(ro, HUGE);
	munmap(p, size - HUGE);
	close(buf);
	close(mem);
}

/* -- Behind bounce buffers ---------------------------------------------------------- */

TEST_F_TIMEOUT(told, is_mapped_twice, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, 8 * MIB, EXACT, 0);

	ASSERT_LE(0, buf);
	ASSERT_EQ(0, testmod_load());
	EXPECT_EQ(0, testmod("twice %d 0", buf));
	EXPECT_EQ(0, testmod("twice %d 1", buf));
	close(buf);
}

TEST_HARNESS_MAIN
