// SPDX-License-Identifier: GPL-2.0
/* Benchmark: the page allocator in a loop, booting, and what nodes take. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS		20000
#define SIZES		"/sys/kernel/debug/devmem_bench/sizes"

/* arg: order, which flags of the module's */
static double alloc_loop(const struct bench_row *row)
{
	return in_kernel("alloc %ld %ld -1 %d", row->arg[0], row->arg[1],
			 row->arg[0] == 9 ? ROUNDS / 10 : ROUNDS);
}

/* arg: how many, which flags */
static double bulk_loop(const struct bench_row *row)
{
	double ns = in_kernel("bulk %ld %ld -1 %d", row->arg[0], row->arg[1],
			      ROUNDS / 10);

	return ns < 0 ? ns : ns / row->arg[0];
}

/* Seconds since the kernel had a clock, as in the log, of the first process */
static double boot(const struct bench_row *row)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char line[8192];
	double us = BENCH_SKIP;
	ssize_t length;

	(void)row;
	while (fd >= 0 && us < 0) {
		length = read(fd, line, sizeof(line) - 1);
		/* EPIPE: the log has run over, and goes on */
		if (length < 0 && errno == EPIPE)
			continue;
		if (length <= 0)
			break;
		line[length] = 0;
		if (strstr(line, ";Run /init as init process"))
			if (sscanf(line, "%*d,%*d,%lf", &us) != 1)
				break;
	}
	if (fd >= 0)
		close(fd);

	return us < 0 ? BENCH_SKIP : us * 1000;
}

/* All zones of /proc/zoneinfo, of one node or (-1) of all */
static long zone_pages(const char *what, int node)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	char line[256], word[64];
	long sum = 0, n;
	int nid = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %ld, zone", &n) == 1)
			nid = n;
		else if (sscanf(line, " %63s %ld", word, &n) == 2 &&
			 !strcmp(word, what) && (node < 0 || node == nid))
			sum += n;
	}
	if (f)
		fclose(f);

	return sum;
}

/*
 * The kernel's large hash tables: with one system node they are taken at boot,
 * before the allocator has the memory, with several they are spread over all.
 */
static long hash_table_pages(int node)
{
	FILE *f = fopen("/proc/vmallocinfo", "r");
	char line[512], key[16], *found;
	long sum = 0;

	snprintf(key, sizeof(key), node < 0 ? " pages=" : " N%d=", node);
	while (f && fgets(line, sizeof(line), f)) {
		found = strstr(line, key);
		if (found && strstr(line, " alloc_large_system_hash+"))
			sum += atol(found + strlen(key));
	}
	if (f)
		fclose(f);

	return sum;
}

/*
 * Memory that is there and that nobody can allocate, because page structures
 * and what boot took are in it. Memory that was added later has its page
 * structures in pages of the allocator; those that are in that memory itself
 * are in the count of the allocator's, too.
 */
static double memory(const struct bench_row *row)
{
	long later = vm_event("nr_memmap_pages");
	long all = zone_pages("present", -1) - zone_pages("managed", -1);
	long system = zone_pages("present", 0) - zone_pages("managed", 0);
	long hash = hash_table_pages(-1);
	long boot = vm_event("nr_memmap_boot_pages");
	long of_system = later > all - system ? later - (all - system) : 0;

	report(row, "page_structures", "#bytes", PAGE * (later + boot));
	report(row, "system_node", "#bytes", PAGE *
	       (system + of_system + hash_table_pages(0)));

	return PAGE * (all + of_system + hash);
}

/* The kernel's own word for the sizes of its structures */
static double sizes(const struct bench_row *row)
{
	FILE *f = fopen(SIZES, "r");
	long node = 0, size;
	char name[64];

	if (!f)
		return BENCH_SKIP;
	while (fscanf(f, "%63s %ld", name, &size) == 2) {
		report(row, name, !strcmp(name, "zones") ? "#" : "#bytes", size);
		if (!strcmp(name, "pg_data_t"))
			node = size;
	}
	fclose(f);

	return node;
}

const struct bench_row kernel_rows[] = {
	ROW("alloc/kernel/0", "pair", alloc_loop, 0, 0, 0),
	ROW("alloc/kernel/1", "pair", alloc_loop, 1, 0, 0),
	ROW("alloc/kernel/2", "pair", alloc_loop, 2, 0, 0),
	ROW("alloc/kernel/4", "pair", alloc_loop, 4, 0, 0),
	ROW("alloc/kernel/9", "pair", alloc_loop, 9, 0, 0),
	ROW("alloc/kernel/bulk", "page", bulk_loop, 32, 0, 0),
	ROW("alloc/movable/0", "pair", alloc_loop, 0, 1, 0),
	ROW("alloc/movable/1", "pair", alloc_loop, 1, 1, 0),
	ROW("alloc/movable/2", "pair", alloc_loop, 2, 1, 0),
	ROW("alloc/movable/4", "pair", alloc_loop, 4, 1, 0),
	ROW("alloc/movable/9", "pair", alloc_loop, 9, 1, 0),
	ROW("alloc/movable/bulk", "page", bulk_loop, 32, 1, 0),
	ROW("alloc/thisnode/0", "pair", alloc_loop, 0, 2, 0),
	ROW("alloc/thisnode/1", "pair", alloc_loop, 1, 2, 0),
	ROW("alloc/thisnode/2", "pair", alloc_loop, 2, 2, 0),
	ROW("alloc/thisnode/4", "pair", alloc_loop, 4, 2, 0),
	ROW("alloc/thisnode/9", "pair", alloc_loop, 9, 2, 0),
	ROW("alloc/thisnode/bulk", "page", bulk_loop, 32, 2, 0),
	ONCE("boot/init", "boot", boot),
	ONCE("memory/not_free", "#bytes", memory),
	ONCE("size/node", "#bytes", sizes),
	{ }
};
