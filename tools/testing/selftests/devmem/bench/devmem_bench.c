// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark of ZONE_DEVICE_COHERENT: the part that runs on the machine which
 * is measured. "make bench" of the series' repository runs it on a kernel with
 * the series and on one without, and compares.
 *
 *   devmem_bench [--full] [--node N] [--repeat N] [--list] [PATTERN...]
 *
 * Prints a line "row NAME VALUE UNIT" for each repetition of each row that a
 * shell pattern names, "skip NAME" for what this kernel doesn't have.
 *
 * It wants to be alone on the machine. Rows that run in the kernel need the
 * module of bench/module/.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/mempolicy.h>

#include "bench.h"

#define MODULE_DIR	"/sys/kernel/debug/devmem_bench/"
#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/hugepages-"

struct bench bench = { .node = 1, .devmem = -1, .range = 4 * MIB };

static const struct bench_row *const all_rows[] = {
	program_rows, move_rows, kernel_rows, contig_rows, thread_rows,
	busy_rows,
};

static bool warming;
static int errors;

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);

	return t.tv_sec * 1e9 + t.tv_nsec;
}

double failed(const char *what)
{
	int err = errno;

	fprintf(stderr, "bench: %s: %s\n", what, strerror(err));
	errno = err;

	return BENCH_FAILED;
}

void report(const struct bench_row *row, const char *what, const char *unit,
	    double value)
{
	if (!warming)
		printf("row %s/%s %.4f %s\n", row->name, what, value, unit);
}

size_t node_free(void)
{
	char path[80], line[128];
	size_t kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 bench.node);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Node %*d MemFree: %zu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);

	return kib << 10;
}

double in_kernel(const char *format, ...)
{
	char command[128];
	double ns, rounds;
	va_list list;
	FILE *f;
	int n;

	va_start(list, format);
	vsnprintf(command, sizeof(command), format, list);
	va_end(list);
	errno = -write_text(MODULE_DIR "run", command);
	if (errno)
		return errno == ENOENT ? BENCH_SKIP : failed(command);
	f = fopen(MODULE_DIR "result", "r");
	if (!f)
		return failed("result of the module");
	n = fscanf(f, "%lf %lf", &ns, &rounds);
	fclose(f);

	return n == 2 && rounds > 0 ? ns / rounds : failed("result of the module");
}

char *map_range(size_t size)
{
	char *p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t head;

	if (p == MAP_FAILED)
		return NULL;
	head = -(unsigned long)p % HUGE;
	if (head)
		munmap(p, head);
	munmap(p + head + size, HUGE - head);

	return p + head;
}

int bind_range(void *p, size_t size, int node)
{
	return mbind_nodes(p, size, MPOL_BIND, NODE(node), 0);
}

void touch(char *p, size_t size, size_t step)
{
	size_t i;

	for (i = 0; i < size; i += step)
		p[i] = 1;
}

/* Faults give folios of the size that is enabled, and of no other. */
int choose_folios(char *p, size_t size, long kib)
{
	bool single = kib << 10 <= (long)PAGE;

	write_text(THP_DIR "2048kB/enabled", kib == 2048 ? "madvise" : "never");
	if (write_text(THP_DIR "64kB/enabled", kib == 64 ? "madvise" : "never") &&
	    kib == 64 && !single)
		return -1;

	return madvise(p, size, single ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

static void run_row(const struct bench_row *row, int repeat)
{
	double value = 0;
	int i;

	if (row->once)
		repeat = 1;
	/* The one before the first warms up. */
	for (i = row->once || row->cold ? 1 : 0; i <= repeat; i++) {
		warming = !i;
		value = row->run(row);
		if (value == BENCH_SKIP || value == BENCH_FAILED)
			break;
		if (!warming && value != BENCH_NONE)
			printf("row %s %.4f %s\n", row->name, value, row->unit);
		fflush(stdout);
	}
	if (value == BENCH_SKIP)
		printf("skip %s\n", row->name);
	if (value == BENCH_FAILED) {
		printf("failed %s\n", row->name);
		errors++;
	}
	fflush(stdout);
}

static bool chosen(const struct bench_row *row, bool full, char **patterns)
{
	if (!*patterns)
		return full || !row->full;
	for (; *patterns; patterns++)
		if (!fnmatch(*patterns, row->name, 0))
			return full || !row->full;

	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "full", no_argument, NULL, 'f' },
		{ "list", no_argument, NULL, 'l' },
		{ "node", required_argument, NULL, 'n' },
		{ "nothing", no_argument, NULL, 'x' },
		{ "repeat", required_argument, NULL, 'r' },
		{ }
	};
	const struct bench_row *row;
	bool full = false, list = false;
	int c, repeat = 5;
	size_t i;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			full = true;
			bench.range = 16 * MIB;
			break;
		case 'l':
			list = true;
			break;
		case 'n':
			bench.node = atoi(optarg);
			break;
		case 'r':
			repeat = atoi(optarg);
			break;
		case 'x':
			/* The program that fork_exec starts */
			_exit(0);
		default:
			fprintf(stderr, "usage: bench [--full] [--node N] [--repeat N] %s\n",
				"[--list] [PATTERN...]");
			return 2;
		}
	}
	/* As many pages as with those of 4 KiB */
	bench.range *= PAGE / 4096;
	bench.devmem = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	for (i = 0; i < ARRAY_SIZE(all_rows); i++) {
		for (row = all_rows[i]; row->name; row++) {
			if (!chosen(row, full, argv + optind))
				continue;
			if (list)
				printf("%s\n", row->name);
			else
				run_row(row, repeat);
		}
	}

	return errors ? EXIT_FAILURE : EXIT_SUCCESS;
}
