/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What badinput.c, races.c and taken_away.c share.
 */
#ifndef DEVMEM_BADINPUT_H
#define DEVMEM_BADINPUT_H

#include <errno.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define DIR	"/tmp/devmem-badinput"
#define NO_NODE	60		/* possible at most */

FIXTURE(nodes)
{
	struct nodes n;
	unsigned long s0, s1, d1, d2;	/* masks */
	char *p;			/* content 1, on s0 */
};

/* Before each test and after it: what one that was killed may have left */
static inline void clean_up(const struct nodes *n)
{
	int i;

	while (!umount2(DIR, MNT_DETACH))
		;
	rmdir(DIR);
	rmdir(CG);
	swap_off_ram();
	/*
	 * A process that moves shares pages with this one and its parents, and
	 * those that one of them is using stay behind.
	 */
	for (i = 0; i < 10; i++)
		if (!migrate(0, NODE(n->d1), NODE(n->s0)) &&
		    !migrate(0, NODE(n->d2), NODE(n->s0)))
			break;
}

FIXTURE_SETUP(nodes)
{
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	clean_up(&self->n);
	self->s0 = NODE(self->n.s0);
	self->s1 = NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	self->d2 = NODE(self->n.d2);
	self->p = map_anon(SIZE);
	ASSERT_NE(NULL, self->p);
	fill_pages(self->p, SIZE, 1);
}

FIXTURE_TEARDOWN_PARENT(nodes)
{
	clean_up(&self->n);
	EXPECT_EQ(0, nodes_left(&self->n));
}

static inline long raw_move(pid_t pid, unsigned long n, const void *pages,
			    const void *nodes, void *status, int flags)
{
	long rc = syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);

	return rc < 0 ? -errno : rc;
}

static inline char *make_anon(void)
{
	return map_anon(SIZE);
}

#endif /* DEVMEM_BADINPUT_H */
