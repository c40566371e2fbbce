// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmark: a node whose memory has been allocated and freed for a long time.
 *
 * An hour of that can't be measured in instructions. What the hour leaves is
 * free memory in pieces all over the node, and that needs no hour: mappings of
 * random sizes are made and freed in random order, the node being between three
 * quarters and 85 % full, until its memory has been handed out more than twice.
 * Mappings that are made together take turns in taking pages, as those of
 * several processes would, so that each of them has holes where the others are.
 * The numbers are the same in every run, and others in each repetition.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "bench.h"

/* Mappings made or freed, for each MiB of the node */
#define STEPS		16
/* Made together */
#define TOGETHER	8
/*
 * Percent of the node in use meanwhile. A small plain node keeps back 5 % of
 * its memory, and what is made together may be 7 %.
 */
#define LEAST_USED	75
#define MOST_USED	85
/* How much of the node may be free, but on the list of a CPU: one part in so many */
#define LISTS		"/proc/sys/vm/percpu_pagelist_high_fraction"
#define LISTS_PART	"512"
/* One mapping in so many is a huge page: a fifth of the memory */
#define ONE_HUGE_IN	40
/* Of how many mappings there is a list, for each MiB of the node */
#define MOST_MAPPINGS	16

static struct {
	struct mapping {
		char *p;
		size_t size;
	} *mapping;
	size_t count, most, used, room;
	unsigned int seed;
} state = { .seed = 1 };

/* Up to 2 MiB, each number of binary digits as often as any other */
static size_t some_size(void)
{
	size_t least = HUGE >> (rand_r(&state.seed) % 10);
	size_t most = least > PAGE ? least : PAGE;

	return PAGE * (1 + rand_r(&state.seed) % (most / PAGE));
}

static char *make(size_t size, bool huge)
{
	char *p = map_range(size);

	if (!p)
		return NULL;
	if (madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) ||
	    bind_range(p, size, bench.node)) {
		munmap(p, size);
		return NULL;
	}
	state.mapping[state.count++] = (struct mapping){ p, size };
	state.used += size;

	return p;
}

/* A page of each that has some left, and again */
static void touch_in_turn(const struct mapping *m, int count)
{
	size_t at;
	int i;

	for (at = 0; at < HUGE; at += PAGE)
		for (i = 0; i < count; i++)
			if (at < m[i].size)
				m[i].p[at] = 1;
}

static int make_some(void)
{
	int i;

	for (i = 0; i < TOGETHER; i++) {
		bool huge = rand_r(&state.seed) % ONE_HUGE_IN == 0;

		if (!make(huge ? HUGE : some_size(), huge))
			return -1;
	}
	touch_in_turn(state.mapping + state.count - TOGETHER, TOGETHER);

	return 0;
}

static void drop(void)
{
	struct mapping *m = state.mapping + rand_r(&state.seed) % state.count;

	munmap(m->p, m->size);
	state.used -= m->size;
	*m = state.mapping[--state.count];
}

static bool fuller_than(long percent)
{
	return state.used > state.room / 100 * percent;
}

/* Return: how many mappings were made or freed, -1: it didn't go */
static int step(void)
{
	bool making = rand_r(&state.seed) % 2;

	if (!fuller_than(LEAST_USED))
		making = true;
	if (fuller_than(MOST_USED) || state.count + TOGETHER > state.most)
		making = false;
	if (making)
		return make_some() ? -1 : TOGETHER;
	drop();

	return 1;
}

static int set_up(void)
{
	char *p = map_range(HUGE);

	state.room = node_free();
	state.most = state.room / MIB * MOST_MAPPINGS;
	state.mapping = calloc(state.most, sizeof(*state.mapping));
	if (!p || !state.mapping)
		return -1;
	/* From now on, madvise() alone tells huge pages from others. */
	if (choose_folios(p, HUGE, 2048))
		return -1;

	return munmap(p, HUGE);
}

int churn_begin(long percent)
{
	long steps;
	int done = 0;

	if (set_up())
		return -1;
	write_text(LISTS, LISTS_PART);
	for (steps = state.room / MIB * STEPS; steps > 0 && done >= 0; steps -= done)
		done = step();
	write_text(LISTS, "0");
	if (done < 0)
		return -1;
	while (fuller_than(percent))
		drop();

	return 0;
}

void churn_end(void)
{
	while (state.count)
		drop();
	free(state.mapping);
	state.mapping = NULL;
}
