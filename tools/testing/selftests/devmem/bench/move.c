// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark: pages that go to the device and come back, by move_pages(2) and by
 * /dev/devmem, and what copying them takes at the least. All per page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/devmem.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define MAX_CALL	16384

static int huge_enough(size_t size)
{
	long kib = number_in("/proc/self/smaps_rollup", "AnonHugePages");

	return kib >= (long)(size >> 10);
}

/* A range of system memory, of folios of that many KiB */
static char *range_of(size_t size, long kib)
{
	char *p = map_range(size);

	if (!p)
		return NULL;
	if (!choose_folios(p, size, kib)) {
		touch(p, size, PAGE);
		if (kib != 2048 || huge_enough(size))
			return p;
		fprintf(stderr, "bench: the range isn't of huge pages\n");
	}
	munmap(p, size);

	return NULL;
}

/* One address for each folio, as many as make up that many pages in one call */
static int move_all(char *p, size_t size, long folio, long pages, int node)
{
	static void *address[MAX_CALL];
	static int to[MAX_CALL], status[MAX_CALL];
	size_t step = folio << 10, done = 0;
	long count = pages * PAGE > step ? pages * PAGE / step : 1, i, n;

	while (done < size) {
		for (n = 0; n < count && done < size; n++, done += step) {
			address[n] = p + done;
			to[n] = node;
		}
		if (syscall(SYS_move_pages, 0, n, address, to, status, 2))
			return -1;
		for (i = 0; i < n; i++) {
			if (status[i] != node) {
				errno = status[i] < 0 ? -status[i] : ENOMEM;
				return -1;
			}
		}
	}

	return 0;
}

static bool less_than_a_page(const struct bench_row *row)
{
	return row->arg[0] && row->arg[0] << 10 < (long)PAGE;
}

/* arg: KiB of a folio, pages a call, direction */
static double move_pages(const struct bench_row *row)
{
	long folio = row->arg[0], pages = row->arg[1];
	size_t size = pages * PAGE > bench.range ? pages * PAGE : bench.range;
	int to = row->arg[2] == TO_DEVICE ? bench.node : 0;
	double begin, took = BENCH_FAILED;
	char *p;

	if (less_than_a_page(row) || size > node_free())
		return BENCH_SKIP;
	p = range_of(size, folio);
	if (!p)
		return failed("a range");
	if (to != bench.node && move_all(p, size, folio, 512, bench.node)) {
		failed("move_pages");
		goto out;
	}
	begin = now();
	if (move_all(p, size, folio, pages, to))
		failed("move_pages");
	else
		took = (now() - begin) / (size / PAGE);
out:
	munmap(p, size);

	return took;
}

int migrate_range(char *p, size_t size, int node)
{
	struct devmem_migrate m = {
		.addr = (unsigned long)p,
		.size = size,
		.node = node,
		.pidfd = DEVMEM_SELF,
	};

	while (m.size) {
		if (ioctl(bench.devmem, DEVMEM_IOC_MIGRATE, &m) && errno != EINTR)
			return -1;
	}
	if (m.moved != size / PAGE) {
		errno = EBUSY;
		return -1;
	}

	return 0;
}

/* arg: KiB of a folio or 0, KiB of the range or 0, direction */
static double devmem(const struct bench_row *row)
{
	size_t size = row->arg[1] ? (size_t)row->arg[1] << 10 : bench.range;
	int to = row->arg[2] == TO_DEVICE ? bench.node : 0;
	double begin, took = BENCH_FAILED;
	char *p;

	if (bench.devmem < 0 || less_than_a_page(row) || size < PAGE ||
	    size > node_free())
		return BENCH_SKIP;
	p = range_of(size, row->arg[0]);
	if (!p)
		return failed("a range");
	if (to != bench.node && migrate_range(p, size, bench.node)) {
		failed("DEVMEM_IOC_MIGRATE");
		goto out;
	}
	begin = now();
	if (migrate_range(p, size, to))
		failed("DEVMEM_IOC_MIGRATE");
	else
		took = (now() - begin) / (size / PAGE);
out:
	munmap(p, size);

	return took;
}

/* arg: as migration copies, direction */
static double copy_range(const struct bench_row *row)
{
	size_t size = bench.range;
	char *system = range_of(size, 2048), *device = map_range(size);
	double took;

	if (!system || !device || choose_folios(device, size, 2048) ||
	    bind_range(device, size, bench.node))
		return failed("ranges");
	touch(device, size, PAGE);
	if (row->arg[1] == TO_DEVICE)
		took = in_kernel("copy %ld %ld %ld %ld", (long)device,
				 (long)system, size / PAGE, row->arg[0]);
	else
		took = in_kernel("copy %ld %ld %ld %ld", (long)system,
				 (long)device, size / PAGE, row->arg[0]);
	munmap(system, size);
	munmap(device, size);

	return took;
}

static double zero(const struct bench_row *row)
{
	size_t size = bench.range;
	char *p = map_range(size);
	double took;

	(void)row;
	if (!p || choose_folios(p, size, 2048) ||
	    bind_range(p, size, bench.node))
		return failed("a range");
	touch(p, size, PAGE);
	took = in_kernel("clear %ld %ld", (long)p, size / PAGE);
	munmap(p, size);

	return took;
}

const struct bench_row move_rows[] = {
	ROW("move_pages/to/4k/1", "page", move_pages, 4, 1, TO_DEVICE),
	ROW("move_pages/from/4k/1", "page", move_pages, 4, 1, FROM_DEVICE),
	ROW("move_pages/to/4k/16", "page", move_pages, 4, 16, TO_DEVICE),
	ROW("move_pages/from/4k/16", "page", move_pages, 4, 16, FROM_DEVICE),
	ROW("move_pages/to/4k/512", "page", move_pages, 4, 512, TO_DEVICE),
	ROW("move_pages/from/4k/512", "page", move_pages, 4, 512, FROM_DEVICE),
	FULL_ROW("move_pages/to/4k/16384", "page", move_pages, 4, 16384, TO_DEVICE),
	FULL_ROW("move_pages/from/4k/16384", "page", move_pages, 4, 16384, FROM_DEVICE),
	ROW("move_pages/to/64k/16", "page", move_pages, 64, 16, TO_DEVICE),
	ROW("move_pages/from/64k/16", "page", move_pages, 64, 16, FROM_DEVICE),
	ROW("move_pages/to/64k/512", "page", move_pages, 64, 512, TO_DEVICE),
	ROW("move_pages/from/64k/512", "page", move_pages, 64, 512, FROM_DEVICE),
	FULL_ROW("move_pages/to/64k/16384", "page", move_pages, 64, 16384, TO_DEVICE),
	FULL_ROW("move_pages/from/64k/16384", "page", move_pages, 64, 16384, FROM_DEVICE),
	ROW("move_pages/to/2m/512", "page", move_pages, 2048, 512, TO_DEVICE),
	ROW("move_pages/from/2m/512", "page", move_pages, 2048, 512, FROM_DEVICE),
	FULL_ROW("move_pages/to/2m/16384", "page", move_pages, 2048, 16384, TO_DEVICE),
	FULL_ROW("move_pages/from/2m/16384", "page", move_pages, 2048, 16384, FROM_DEVICE),
	ROW("devmem/to/4k", "page", devmem, 4, 0, TO_DEVICE),
	ROW("devmem/from/4k", "page", devmem, 4, 0, FROM_DEVICE),
	ROW("devmem/to/64k", "page", devmem, 64, 0, TO_DEVICE),
	ROW("devmem/from/64k", "page", devmem, 64, 0, FROM_DEVICE),
	ROW("devmem/to/2m", "page", devmem, 2048, 0, TO_DEVICE),
	ROW("devmem/from/2m", "page", devmem, 2048, 0, FROM_DEVICE),
	ROW("copy/to", "page", copy_range, true, TO_DEVICE, 0),
	ROW("copy/from", "page", copy_range, true, FROM_DEVICE, 0),
	ROW("copy_plain/to", "page", copy_range, false, TO_DEVICE, 0),
	ROW("copy_plain/from", "page", copy_range, false, FROM_DEVICE, 0),
	ROW("zero/device", "page", zero, 0, 0, 0),
	FULL_ROW("scale/to/4k", "page", devmem, 0, 4, TO_DEVICE),
	FULL_ROW("scale/from/4k", "page", devmem, 0, 4, FROM_DEVICE),
	FULL_ROW("scale/to/64k", "page", devmem, 0, 64, TO_DEVICE),
	FULL_ROW("scale/from/64k", "page", devmem, 0, 64, FROM_DEVICE),
	FULL_ROW("scale/to/1m", "page", devmem, 0, 1024, TO_DEVICE),
	FULL_ROW("scale/from/1m", "page", devmem, 0, 1024, FROM_DEVICE),
	FULL_ROW("scale/to/16m", "page", devmem, 0, 16384, TO_DEVICE),
	FULL_ROW("scale/from/16m", "page", devmem, 0, 16384, FROM_DEVICE),
	FULL_ROW("scale/to/256m", "page", devmem, 0, 262144, TO_DEVICE),
	FULL_ROW("scale/from/256m", "page", devmem, 0, 262144, FROM_DEVICE),
	FULL_ROW("scale/to/1g", "page", devmem, 0, 1048576, TO_DEVICE),
	FULL_ROW("scale/from/1g", "page", devmem, 0, 1048576, FROM_DEVICE),
	{ }
};
