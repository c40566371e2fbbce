// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark: threads that all fault or migrate at once, each in a range of its
 * own. Nothing to see on a machine that has fewer CPUs than threads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define MAX_THREADS	64

enum { FAULT_SYSTEM, FAULT_DEVICE, MIGRATE };

struct work {
	pthread_t thread;
	pthread_barrier_t *start;
	char *p;
	int what;
	int error;
};

static void *work(void *arg)
{
	struct work *w = arg;

	pthread_barrier_wait(w->start);
	if (w->what != MIGRATE)
		touch(w->p, bench.range, PAGE);
	else if (migrate_range(w->p, bench.range, bench.node))
		w->error = errno;

	return NULL;
}

static int prepare(struct work *w, int what, pthread_barrier_t *start)
{
	w->p = map_range(bench.range);
	w->what = what;
	w->start = start;
	if (!w->p || choose_folios(w->p, bench.range, 0))
		return -1;
	if (what == FAULT_DEVICE && bind_range(w->p, bench.range, bench.node))
		return -1;
	if (what == MIGRATE)
		touch(w->p, bench.range, PAGE);

	return pthread_create(&w->thread, NULL, work, w) ? -1 : 0;
}

/* arg: threads, what. How long one waits for a page of its own */
static double threads(const struct bench_row *row)
{
	struct work all[MAX_THREADS] = {};
	long i, count = row->arg[0];
	pthread_barrier_t start;
	double begin, took;
	int error = 0;

	if (count > sysconf(_SC_NPROCESSORS_ONLN) || count > MAX_THREADS ||
	    (row->arg[1] == MIGRATE && bench.devmem < 0))
		return BENCH_SKIP;
	pthread_barrier_init(&start, NULL, count + 1);
	for (i = 0; i < count; i++)
		if (prepare(&all[i], row->arg[1], &start))
			/* Those that wait for the others end with the process. */
			return failed("threads");
	begin = now();
	pthread_barrier_wait(&start);
	for (i = 0; i < count; i++) {
		pthread_join(all[i].thread, NULL);
		error |= all[i].error;
	}
	took = now() - begin;
	for (i = 0; i < count; i++)
		munmap(all[i].p, bench.range);
	pthread_barrier_destroy(&start);

	return error ? BENCH_FAILED : took / (bench.range / PAGE);
}

const struct bench_row thread_rows[] = {
	FULL_ROW("threads/fault_system/1", "page", threads, 1, FAULT_SYSTEM, 0),
	FULL_ROW("threads/fault_system/2", "page", threads, 2, FAULT_SYSTEM, 0),
	FULL_ROW("threads/fault_system/4", "page", threads, 4, FAULT_SYSTEM, 0),
	FULL_ROW("threads/fault_system/8", "page", threads, 8, FAULT_SYSTEM, 0),
	FULL_ROW("threads/fault_device/1", "page", threads, 1, FAULT_DEVICE, 0),
	FULL_ROW("threads/fault_device/2", "page", threads, 2, FAULT_DEVICE, 0),
	FULL_ROW("threads/fault_device/4", "page", threads, 4, FAULT_DEVICE, 0),
	FULL_ROW("threads/fault_device/8", "page", threads, 8, FAULT_DEVICE, 0),
	FULL_ROW("threads/devmem/1", "page", threads, 1, MIGRATE, 0),
	FULL_ROW("threads/devmem/2", "page", threads, 2, MIGRATE, 0),
	FULL_ROW("threads/devmem/4", "page", threads, 4, MIGRATE, 0),
	FULL_ROW("threads/devmem/8", "page", threads, 8, MIGRATE, 0),
	{ }
};
