// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark: a range that other threads read and write while it moves, by
 * move_pages(2) and by /dev/devmem in turns. There is one thread for each CPU,
 * but for the first CPU, which moves.
 *
 * What is counted says more than what is timed, where the machine shares its
 * processors with others: shootdowns are the interrupts that tell a CPU to
 * forget translations. Where the clock counts instructions, and there is one CPU,
 * "wait" is how long a realtime thread waits for a page at the most. "notified"
 * are the calls that a device hears which mirrors the range.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define MAX_THREADS	64
#define BUSY_SIZE	(32 * MIB)
#define BUSY_PAGES	((long)(BUSY_SIZE / PAGE))
#define BUSY_MOST	(BUSY_SIZE / 4096)	/* with the smallest pages */

struct busy {
	pthread_t thread;
	char *p;
	long first;		/* it begins there */
	int cpu;
	double longest;		/* wait for one page */
	atomic_bool *stop;
};

/* Every other page is written, of which others write other bytes. */
static void *use(void *arg)
{
	struct busy *b = arg;
	double then, time;
	long i, round = 0;

	run_on(b->cpu);
	for (; !atomic_load(b->stop); round++) {
		then = now();
		for (i = 0; i < BUSY_PAGES; i++) {
			long page = (b->first + i) % BUSY_PAGES;
			atomic_char *c = (atomic_char *)b->p + page * PAGE +
					 b->cpu;

			if ((round + i) % 2)
				atomic_fetch_add(c, 1);
			else
				atomic_load(c);
			time = now();
			if (time - then > b->longest)
				b->longest = time - then;
			then = time;
		}
	}

	return NULL;
}

/* Return: pages that stayed, -1 for an error */
static long by_move_pages(char *p, int node)
{
	static int to[BUSY_MOST], status[BUSY_MOST];
	static void *address[BUSY_MOST];
	long i, left = 0;

	for (i = 0; i < BUSY_PAGES; i++) {
		address[i] = p + i * PAGE;
		to[i] = node;
	}
	if (syscall(SYS_move_pages, 0, BUSY_PAGES, address, to, status, 2) < 0)
		return -1;
	for (i = 0; i < BUSY_PAGES; i++)
		left += status[i] != node;

	return left;
}

static long by_devmem(char *p, int node)
{
	int err = migrate_range(p, BUSY_SIZE, node);

	return err && errno != EBUSY ? -1 : BUSY_PAGES - on_node(p, BUSY_SIZE,
								 node);
}

/* Interrupts of all CPUs that were shootdowns */
static long shootdowns(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[2048], *at, *next;
	long sum = 0, n;

	while (f && fgets(line, sizeof(line), f)) {
		at = strstr(line, "TLB:");
		if (!at)
			continue;
		for (at += 4; n = strtol(at, &next, 10), next != at; at = next)
			sum += n;
	}
	if (f)
		fclose(f);

	return sum;
}

static void tell(const struct bench_row *row, const char *by, const char *what,
		 const char *unit, double value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%s", by, what);
	report(row, name, unit, value);
}

/* There and back again, while the threads run. Return: 0 or -1 */
static int move_busy(const struct bench_row *row, char *p, const char *by,
		     long (*move_to)(char *p, int node))
{
	int i, count = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	long before, stayed = 0, left;
	struct busy all[MAX_THREADS];
	atomic_bool stop = false;
	double begin, took, longest = 0;

	for (i = 0; i < count; i++) {
		all[i] = (struct busy){
			.p = p, .first = i * BUSY_PAGES / count, .cpu = i + 1,
			.stop = &stop,
		};
		if (pthread_create(&all[i].thread, NULL, use, &all[i]))
			return -1;
	}
	usleep(20000);
	before = shootdowns();
	begin = now();
	for (i = 0; i < 2; i++) {
		left = move_to(p, i ? 0 : bench.node);
		if (left < 0)
			return -1;
		stayed += left;
	}
	took = now() - begin;
	before = shootdowns() - before;
	atomic_store(&stop, true);
	for (i = 0; i < count; i++) {
		pthread_join(all[i].thread, NULL);
		if (all[i].longest > longest)
			longest = all[i].longest;
	}
	tell(row, by, "time", "#ns", took / (2 * BUSY_PAGES));
	tell(row, by, "shootdowns", "#interrupts", before);
	tell(row, by, "longest_wait", "#us", longest / 1000);
	tell(row, by, "stayed", "#pages", stayed);

	return 0;
}

static double busy(const struct bench_row *row)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double value = BENCH_NONE;
	char *p;

	if (cpus < 2 || cpus > MAX_THREADS || bench.devmem < 0)
		return BENCH_SKIP;
	run_on(0);
	p = map_range(BUSY_SIZE);
	if (!p || choose_folios(p, BUSY_SIZE, 0))
		return failed("a range");
	touch(p, BUSY_SIZE, PAGE);
	drain_lists();
	if (move_busy(row, p, "move_pages", by_move_pages) ||
	    move_busy(row, p, "devmem", by_devmem))
		value = failed("to move");
	munmap(p, BUSY_SIZE);

	return value;
}

/* A realtime thread that wants one of the pages, often */
static void *hurry(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	struct busy *b = arg;
	double begin, took;

	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		return NULL;
	while (!atomic_load(b->stop)) {
		usleep(100);
		b->first = (b->first + 3001) % BUSY_PAGES;
		begin = now();
		atomic_fetch_add((atomic_char *)b->p + b->first * PAGE, 1);
		took = now() - begin;
		if (took > b->longest)
			b->longest = took;
	}

	return NULL;
}

/* arg: by which of them. How long who needs a page at once waits for it */
static double waiting(const struct bench_row *row)
{
	long (*move_to)(char *p, int node) = row->arg[0] ? by_devmem :
							   by_move_pages;
	atomic_bool stop = false;
	struct busy b = { .stop = &stop };
	int i;

	if (row->arg[0] && bench.devmem < 0)
		return BENCH_SKIP;
	b.p = map_range(BUSY_SIZE);
	if (!b.p || choose_folios(b.p, BUSY_SIZE, 0))
		return failed("a range");
	touch(b.p, BUSY_SIZE, PAGE);
	drain_lists();
	if (pthread_create(&b.thread, NULL, hurry, &b))
		return failed("a thread");
	for (i = 0; i < 8; i++)
		move_to(b.p, i % 2 ? 0 : bench.node);
	atomic_store(&stop, true);
	pthread_join(b.thread, NULL);
	munmap(b.p, BUSY_SIZE);

	return b.longest;
}

/* arg: by which of them. Calls that a mirror of the range hears as it moves */
static double notified(const struct bench_row *row)
{
	long (*move_to)(char *p, int node) = row->arg[0] ? by_devmem :
							   by_move_pages;
	double value;
	char *p;

	if (row->arg[0] && bench.devmem < 0)
		return BENCH_SKIP;
	p = map_range(BUSY_SIZE);
	if (!p || choose_folios(p, BUSY_SIZE, 0))
		return failed("a range");
	touch(p, BUSY_SIZE, PAGE);
	drain_lists();
	value = in_kernel("mirror %ld %ld", (long)p, (long)BUSY_SIZE);
	if (value >= 0)
		value = move_to(p, bench.node) ? failed("to move") :
						 in_kernel("mirrored");
	munmap(p, BUSY_SIZE);

	return value;
}

const struct bench_row busy_rows[] = {
	ROW("busy", "", busy, 0, 0, 0),
	ROW("wait/move_pages", "page", waiting, false, 0, 0),
	ROW("wait/devmem", "page", waiting, true, 0, 0),
	ROW("notified/move_pages", "#calls", notified, false, 0, 0),
	ROW("notified/devmem", "#calls", notified, true, 0, 0),
	{ }
};
