/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a thread does with memory that another one moves: changes of mappings
 * and content, each of which looks after the content of the round before. For
 * programs that have a SIZE and, included before this, a struct race with
 *
 *	char *p;	where the pages are
 *	char *other;	where they go with mremap(), and return
 */
#ifndef RACE_STEPS_H
#define RACE_STEPS_H

#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"

#define SEED(round)	((round) * 1000U)

/* Written in the round before, written now */
static bool step_write(struct race *r, int round)
{
	bool ok = intact(r->p, SIZE, SEED(round));

	fill_pages(r->p, SIZE, SEED(round + 1));

	return ok;
}

static bool step_remap(struct race *r, int round)
{
	char *to = mremap(r->p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			  r->other);

	if (to != r->other)
		return false;
	/* Nobody else may come to be where it was. */
	r->other = mmap(r->p, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
			MAP_FIXED, -1, 0);
	r->p = to;

	return step_write(r, round);
}

/* The first quarter goes, and comes back empty. */
static bool replaced(struct race *r, int round)
{
	size_t i;

	for (i = 0; i < SIZE / 4; i += PAGE)
		if (*(int *)(r->p + i))
			return false;
	fill_pages(r->p, SIZE / 4, SEED(round));

	return step_write(r, round);
}

static bool step_unmap(struct race *r, int round)
{
	munmap(r->p, SIZE / 4);
	if (mmap(r->p, SIZE / 4, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_FIXED, -1, 0) != r->p)
		return false;

	return replaced(r, round);
}

static bool step_drop(struct race *r, int round)
{
	madvise(r->p, SIZE / 4, MADV_DONTNEED);

	return replaced(r, round);
}

static bool step_protect(struct race *r, int round)
{
	mprotect(r->p, SIZE, PROT_NONE);
	sched_yield();
	mprotect(r->p, SIZE, PROT_READ | PROT_WRITE);

	return step_write(r, round);
}

/* A child looks at what it inherited while its parent writes. */
static bool step_fork(struct race *r, int round)
{
	pid_t pid = fork();
	int status;
	bool ok;

	if (!pid) {
		ok = intact(r->p, SIZE, SEED(round));
		fill_pages(r->p, SIZE, 7);
		_exit(!ok || !intact(r->p, SIZE, 7));
	}
	ok = step_write(r, round);
	waitpid(pid, &status, 0);

	return ok && !status;
}

#endif /* RACE_STEPS_H */
