/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kinds.c, sizes.c and uffd.c share: how memory of a kind is made.
 */
#ifndef DEVMEM_KINDS_H
#define DEVMEM_KINDS_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define N	((long)(size / PAGE))

/* Of what is placed: enough for a pattern to show, few for a slow machine */
static size_t size = MIB / 2;

static inline char *make_anon(void)
{
	return map_anon(size);
}

static inline char *make_huge(void)
{
	char *p = map_huge(size);

	return p && !madvise(p, size, MADV_HUGEPAGE) ? p : NULL;
}

static inline int make_fd(void)
{
	int fd = memfd_create("devmem", 0);

	return ftruncate(fd, size) ? -1 : fd;
}

static inline char *make_memfd(void)
{
	return map_pages(size, MAP_SHARED, make_fd());
}

static inline bool all_zero(const char *p, size_t size)
{
	const unsigned long *word = (const unsigned long *)p;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		if (word[i])
			return false;

	return true;
}

/* Whoever had the pages before must not be seen. */
static inline void soil(int nid)
{
	char *p = map_anon(2 * size);

	mbind_nodes(p, 2 * size, MPOL_BIND, NODE(nid), 0);
	memset(p, 0xa5, 2 * size);
	munmap(p, 2 * size);
}

static inline void __attribute__((constructor)) before_tests(void)
{
	khugepaged_sleeps();
}

#endif /* DEVMEM_KINDS_H */
