/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the benchmark share. */
#ifndef DEVMEM_BENCH_H
#define DEVMEM_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "../lib/devmem_util.h"
#include "../../kselftest.h"

/*
 * Instead of a value: the machine or the kernel doesn't have it; an error; or
 * there was nothing to measure this time.
 */
#define BENCH_SKIP	(-1.0)
#define BENCH_FAILED	(-2.0)
#define BENCH_NONE	(-3.0)

/**
 * struct bench_row - something to measure
 * @name: what the table calls it; the first word is the family
 * @unit: of the value, which is nanoseconds for one of them unless it begins
 *	  with a '#'
 * @run: measures once; the first call warms up, and its value is dropped
 * @arg: for @run
 * @full: only in the full set
 * @once: the value can't change while the machine runs
 * @cold: needs no first call, which would take long
 */
struct bench_row {
	const char *name;
	const char *unit;
	double (*run)(const struct bench_row *row);
	long arg[3];
	bool full;
	bool once;
	bool cold;
};

/*
 * A row of every set, one that takes long, the same for the full set alone, and
 * one of what doesn't change
 */
#define ROW(n, u, r, a, b, c)						\
	{ .name = n, .unit = u, .run = r, .arg = { a, b, c } }
#define COLD_ROW(n, u, r, a, b, c)					\
	{ .name = n, .unit = u, .run = r, .arg = { a, b, c }, .cold = true }
#define FULL_ROW(n, u, r, a, b, c)					\
	{ .name = n, .unit = u, .run = r, .arg = { a, b, c }, .full = true }
#define FULL_COLD_ROW(n, u, r, a, b, c)					\
	{ .name = n, .unit = u, .run = r, .arg = { a, b, c }, .full = true, \
	  .cold = true }
#define ONCE(n, u, r)	{ .name = n, .unit = u, .run = r, .once = true }

/* Whichever way pages go */
enum { TO_DEVICE, FROM_DEVICE };

/**
 * struct bench - the machine
 * @node: the node without CPUs: a device node, or a plain one on another kernel
 * @devmem: /dev/devmem, or -1
 * @range: bytes that most rows work on
 */
struct bench {
	int node;
	int devmem;
	size_t range;
};

extern struct bench bench;
/* The rows of all parts, each ended by one without a name */
extern const struct bench_row program_rows[];
extern const struct bench_row move_rows[];
extern const struct bench_row kernel_rows[];
extern const struct bench_row contig_rows[];
extern const struct bench_row thread_rows[];
extern const struct bench_row busy_rows[];

double now(void);

/* Says why, on standard error. Return: BENCH_FAILED */
double failed(const char *what);

/* A further result of the row that runs, of the name "ROW/WHAT" */
void report(const struct bench_row *row, const char *what, const char *unit,
	    double value);

/* A command for the module. Return: nanoseconds a round, or BENCH_* */
__printf(1, 2) double in_kernel(const char *format, ...);

/* Return: anonymous memory, aligned to huge pages; NULL without */
char *map_range(size_t size);

/* Bind a range that has no pages yet. Return: 0 or -1 */
int bind_range(void *p, size_t size, int node);

/* One byte in each @step. */
void touch(char *p, size_t size, size_t step);

/* Bytes that the node has free */
size_t node_free(void);

/* All of a range, by /dev/devmem. Return: 0, or -1 and errno */
int migrate_range(char *p, size_t size, int node);

/*
 * Size of the folios of a range to come: 0 for single pages, else 64 or 2048 KiB,
 * one of which may be a page. Return: 0 or -1
 */
int choose_folios(char *p, size_t size, long kib);

/*
 * Churns the memory of an empty node, then leaves @percent of it in use, until
 * churn_end(). Return: 0 or -1
 */
int churn_begin(long percent);
void churn_end(void);

#endif /* DEVMEM_BENCH_H */
