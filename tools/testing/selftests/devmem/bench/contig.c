// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark: contiguous memory of the device, by /dev/devmem. On a kernel
 * without it, of a plain node: by cma_alloc() if it has a CMA area; if not, the
 * module does what alloc_contig_pages() does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/devmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define DEFRAG		"/sys/kernel/mm/transparent_hugepage/defrag"

/* The area of hugetlb_cma=NODE:SIZE. Return: a file of it in debugfs, or -1 */
static int open_cma(const char *what)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/kernel/debug/cma/hugetlb%d/%s",
		 bench.node, what);

	return open(path, O_WRONLY | O_CLOEXEC);
}

static bool have_cma(void)
{
	int fd = open_cma("alloc");

	close(fd);

	return fd >= 0;
}

static double allocate_cma(size_t size)
{
	int get = open_cma("alloc"), put = open_cma("free");
	double begin, took;
	char pages[32];
	int n = snprintf(pages, sizeof(pages), "%zu", size / PAGE);

	begin = now();
	if (write(get, pages, n) == n) {
		took = now() - begin;
		if (write(put, pages, n) != n)
			took = failed("cma_release()");
	} else {
		failed("cma_alloc()");
		took = errno == ENOMEM ? BENCH_NONE : BENCH_FAILED;
	}
	close(get);
	close(put);

	return took;
}

/* Pages on lists of the CPUs go back to the node: all do that first. */
static void drain(void)
{
	struct devmem_info info = {
		.node = bench.node,
		.flags = DEVMEM_INFO_RUNS,
	};

	if (have_cma())
		in_kernel("drain_lists %d", bench.node);
	else if (bench.devmem < 0)
		in_kernel("contig %d 1", bench.node);
	else if (ioctl(bench.devmem, DEVMEM_IOC_INFO, &info))
		failed("DEVMEM_IOC_INFO");
}

/*
 * What is left over in whole huge pages would be found at once: it becomes huge
 * pages of ours, which can move.
 */
static char *take_rest(size_t size)
{
	char *p = map_range(size);
	long had, has = 0;
	size_t i;

	if (!p)
		return NULL;
	write_text(DEFRAG, "never");
	if (!choose_folios(p, size, 2048) && !bind_range(p, size, bench.node)) {
		for (i = 0, had = -1; i < size && has > had; i += HUGE) {
			had = has;
			/* The one before may have put a second one on a list. */
			drain();
			touch(p + i, HUGE, HUGE);
			has = number_in("/proc/self/smaps_rollup", "AnonHugePages");
		}
	}
	write_text(DEFRAG, "madvise");

	return p;
}

/*
 * Single pages all over the node, with holes between them: filled almost to the
 * brim, then every so manieth page given back, at random.
 */
static char *fill(long percent, size_t size)
{
	unsigned int seed = 1;
	char *p = map_range(size);
	size_t i;

	if (!p)
		return NULL;
	if (choose_folios(p, size, 0) || bind_range(p, size, bench.node)) {
		munmap(p, size);
		return NULL;
	}
	touch(p, size, PAGE);
	for (i = 0; i < size; i += PAGE)
		if (rand_r(&seed) % 100 >= percent)
			madvise(p + i, PAGE, MADV_DONTNEED);

	return p;
}

static double allocate(size_t size)
{
	struct devmem_alloc alloc = {
		.node = bench.node,
		.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
		.size = size,
		.align = HUGE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	double begin, took;

	if (have_cma())
		return allocate_cma(size);
	if (bench.devmem < 0) {
		took = in_kernel("contig %d %zu", bench.node, size / PAGE);
		return took == BENCH_FAILED && errno == ENOMEM ? BENCH_NONE : took;
	}
	begin = now();
	if (ioctl(bench.devmem, DEVMEM_IOC_ALLOC, &alloc)) {
		failed("DEVMEM_IOC_ALLOC");
		return errno == ENOMEM ? BENCH_NONE : BENCH_FAILED;
	}
	took = now() - begin;
	close(alloc.fd);

	return took;
}

/* @full: of pages that may have to move */
static double request(const struct bench_row *row, size_t size, bool full)
{
	long moved = vm_event("pgmigrate_success");
	double took = allocate(size);

	moved = vm_event("pgmigrate_success") - moved;
	if (took >= 0 || took == BENCH_NONE)
		report(row, "obtained", "#percent", took >= 0 ? 100 : 0);
	if (took >= 0 && full)
		report(row, "moved", "#pages", moved);

	return took;
}

/* arg: MiB, how full the node is in percent */
static double contig(const struct bench_row *row)
{
	size_t size = row->arg[0] * MIB, room, rest_size, filled = 0;
	char *p = NULL, *rest = NULL;
	double took;

	drain();
	room = node_free();
	if (size > room)
		return BENCH_SKIP;
	/* A plain node keeps back some memory for the kernel. */
	rest_size = room / 32 > 8 * MIB ? room / 32 : 8 * MIB;
	if (row->arg[1]) {
		filled = (room - rest_size) & ~(HUGE - 1);
		p = fill(row->arg[1], filled);
		rest = p ? take_rest(4 * rest_size) : NULL;
		if (!rest)
			return failed("filling the node");
	}
	took = request(row, size, p);
	if (p) {
		munmap(p, filled);
		munmap(rest, 4 * rest_size);
	}

	return took;
}

/* arg: MiB, how full the node is in percent, before take_rest() */
static double contig_churned(const struct bench_row *row)
{
	size_t size = row->arg[0] * MIB, rest_size;
	double took;
	char *rest;
	int err;

	drain();
	if (size > node_free())
		return BENCH_SKIP;
	/* Huge pages are what is there: nothing is moved to make some. */
	write_text(DEFRAG, "never");
	err = churn_begin(row->arg[1]);
	write_text(DEFRAG, "madvise");
	drain();
	rest_size = node_free() & ~(HUGE - 1);
	rest = err ? NULL : take_rest(rest_size);
	if (rest) {
		took = request(row, size, true);
		munmap(rest, rest_size);
	} else {
		took = failed("churning the node");
	}
	churn_end();

	return took;
}

const struct bench_row contig_rows[] = {
	COLD_ROW("contig/0/2m", "call", contig, 2, 0, 0),
	COLD_ROW("contig/0/64m", "call", contig, 64, 0, 0),
	FULL_COLD_ROW("contig/0/512m", "call", contig, 512, 0, 0),
	FULL_COLD_ROW("contig/0/1g", "call", contig, 1024, 0, 0),
	COLD_ROW("contig/50/2m", "call", contig, 2, 50, 0),
	COLD_ROW("contig/50/64m", "call", contig, 64, 50, 0),
	FULL_COLD_ROW("contig/50/512m", "call", contig, 512, 50, 0),
	FULL_COLD_ROW("contig/50/1g", "call", contig, 1024, 50, 0),
	COLD_ROW("contig/95/2m", "call", contig, 2, 95, 0),
	COLD_ROW("contig/95/64m", "call", contig, 64, 95, 0),
	FULL_COLD_ROW("contig/95/512m", "call", contig, 512, 95, 0),
	FULL_COLD_ROW("contig/95/1g", "call", contig, 1024, 95, 0),
	COLD_ROW("contig/churn/2m", "call", contig_churned, 2, 75, 0),
	COLD_ROW("contig/churn/64m", "call", contig_churned, 64, 75, 0),
	FULL_COLD_ROW("contig/churn/512m", "call", contig_churned, 512, 75, 0),
	FULL_COLD_ROW("contig/churn/1g", "call", contig_churned, 1024, 75, 0),
	{ }
};
