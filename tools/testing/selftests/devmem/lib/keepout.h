/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share that see whether those who look after other people's
 * pages keep out of a device: keepout_*.c, and their like on other machines.
 *
 * Three detectors: where the pages are; pgalloc_coherent, which counts every
 * page that leaves a device's zone; and after each test a search for pages that
 * nobody asked for, which "audit" does as well (with page_owner=on).
 */
#ifndef DEVMEM_KEEPOUT_H
#define DEVMEM_KEEPOUT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#define SIZE		(4 * MIB)
#define PAGES		((long)(SIZE / PAGE))

#define HUGETLB		BIT(KPF_HUGE)

static inline bool has_flag(const char *p, unsigned long flag)
{
	return page_flags(p) & flag;
}

/* Frames of the range; whether they are the same now */
static inline unsigned long *frames_of(const char *p, size_t size)
{
	unsigned long *pfn = calloc(size / PAGE, sizeof(*pfn));
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t i, n = size / PAGE;

	if (pread(fd, pfn, n * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)(n * 8))
		memset(pfn, 0, n * 8);
	for (i = 0; i < n; i++)
		pfn[i] = entry_pfn(pfn[i]);
	close(fd);

	return pfn;
}

static inline bool same_frames(const char *p, size_t size, const unsigned long *pfn)
{
	unsigned long *now = frames_of(p, size);
	bool same = !memcmp(now, pfn, size / PAGE * sizeof(*pfn));

	free(now);

	return same;
}

/* First page frame and number of frames of a device node, which has one zone */
static inline bool zone_of(int nid, unsigned long *start, unsigned long *count)
{
	unsigned long n, spanned = 0;
	char line[256];
	int id = -1;
	FILE *f = fopen("/proc/zoneinfo", "r");

	*start = 0;
	*count = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d,", &id) == 1 || id != nid)
			continue;
		if (sscanf(line, " spanned %lu", &n) == 1)
			spanned = n;
		if (spanned && sscanf(line, " start_pfn: %lu", &n) == 1) {
			*start = n;
			*count = spanned;
		}
	}
	if (f)
		fclose(f);

	return *count;
}

/* Pages of the device that have one of these flags */
static inline long flagged_pages(int nid, unsigned long flags)
{
	unsigned long start, count, i, *entry;
	int fd = open("/proc/kpageflags", O_RDONLY);
	long n = 0;

	if (fd < 0 || !zone_of(nid, &start, &count))
		return -1;
	entry = calloc(count, sizeof(*entry));
	if (pread(fd, entry, count * 8, start * 8) != (ssize_t)(count * 8))
		n = -1;
	for (i = 0; n >= 0 && i < count; i++)
		n += !!(entry[i] & flags);
	free(entry);
	close(fd);

	return n;
}

static inline bool on_a_device(unsigned long pfn)
{
	int dev[MAX_NODES], i, n = device_nodes(dev);
	unsigned long start, count;

	for (i = 0; i < n; i++)
		if (zone_of(dev[i], &start, &count) && pfn >= start &&
		    pfn < start + count)
			return true;

	return false;
}

/* Everything that left a device's zone so far */
static inline long given(void)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "r");

	if (f)
		fclose(f);

	return vm_event("pgalloc_coherent");
}

/*
 * Pages of devices that nobody asked for, as "audit" does it, but in a moment:
 * the file position is a page frame number, and each read returns the record
 * of the next page that is allocated. (6.12.117 takes the cgroup of a user page
 * for something else there, and crashes unless it is the root's. So what a test
 * puts into a cgroup must be gone before.)
 */
static inline long unasked(void)
{
	int dev[MAX_NODES], i, n = device_nodes(dev);
	int fd = open("/sys/kernel/debug/page_owner", O_RDONLY);
	unsigned long start, count, pfn;
	char record[4096], *line;
	long found = 0;
	ssize_t len;

	for (i = 0; fd >= 0 && i < n; i++) {
		if (!node_used(dev[i]) || !zone_of(dev[i], &start, &count))
			continue;
		lseek(fd, start, SEEK_SET);
		while ((len = read(fd, record, sizeof(record) - 1)) > 0) {
			record[len] = '\0';
			line = strstr(record, "\nPFN ");
			pfn = line ? strtoul(line + 5, NULL, 0) : 0;
			if (pfn < start || pfn >= start + count)
				break;
			if (strstr(record, "__GFP_DEVICE_COHERENT"))
				continue;
			printf("# not asked for:\n%s", record);
			found++;
		}
	}
	close(fd);

	return found;
}

FIXTURE(out)
{
	int dev[MAX_NODES];
	int sys[MAX_NODES];
	unsigned long d1, d2, s0, s1;	/* masks */
};

FIXTURE_SETUP(out)
{
	int nr_dev = device_nodes(self->dev), nr_sys = system_nodes(self->sys);

	if (nr_dev < 2 || nr_sys < 2 || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->d1 = 1UL << self->dev[0];
	self->d2 = 1UL << self->dev[1];
	self->s0 = 1UL << self->sys[0];
	self->s1 = 1UL << self->sys[1];
	khugepaged(false);
}

FIXTURE_TEARDOWN(out)
{
	set_policy(MPOL_DEFAULT, 0);
	EXPECT_EQ(0, unasked());
}

static inline char *place_as(size_t size, unsigned long mask,
			     unsigned int seed, int advice)
{
	char *p = map_huge(size);

	if (!p || madvise(p, size, advice) ||
	    mbind_nodes(p, size, MPOL_BIND, mask, 0))
		return NULL;
	fill_pages(p, size, seed);

	return p;
}

/* Small pages of a node */
static inline char *place(size_t size, unsigned long mask, unsigned int seed)
{
	return place_as(size, mask, seed, MADV_NOHUGEPAGE);
}

static inline char *place_huge(size_t size, unsigned long mask, unsigned int seed)
{
	return place_as(size, mask, seed, MADV_HUGEPAGE);
}

static inline char *place_shared(size_t size, unsigned long mask, unsigned int seed)
{
	int fd = memfd_create("devmem", 0);
	char *p = NULL;

	if (fd >= 0 && !ftruncate(fd, size))
		p = map_pages(size, MAP_SHARED, fd);
	close(fd);
	if (!p || (mask && mbind_nodes(p, size, MPOL_BIND, mask, 0)))
		return NULL;
	fill_pages(p, size, seed);

	return p;
}

#define BALANCING	"/sys/kernel/debug/sched/numa_balancing/"
#define BALANCING_SECONDS	120	/* at most; a few on an idle machine */

static inline int balance(const char *mode)
{
	write_text(BALANCING "scan_delay_ms", "50");
	write_text(BALANCING "scan_period_min_ms", "50");
	write_text(BALANCING "scan_period_max_ms", "100");

	return write_text("/proc/sys/kernel/numa_balancing", mode);
}

#endif /* DEVMEM_KEEPOUT_H */
