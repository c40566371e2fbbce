/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What those share that go through the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst, line by line: calls.c,
 * masks.c, move_calls.c, tmpfs.c, hugetlb.c.
 */
#ifndef DEVMEM_ASKING_H
#define DEVMEM_ASKING_H

#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define DIR	"/tmp/devmem-calls"
#define NODE_FILE "/sys/devices/system/node/node%d/%s"

/* Before each test and after it: what one that was killed may have left */
static inline void clean_up(void)
{
	while (!umount2(DIR, MNT_DETACH))
		;
	rmdir(DIR);
	swap_off_ram();
	rmdir(CG);
}

static inline char *make_anon(void)
{
	return map_anon(SIZE);
}

FIXTURE(nodes)
{
	struct nodes n;
	unsigned long s0, s1, d1, d2;	/* masks */
};

FIXTURE_SETUP(nodes)
{
	clean_up();
	/* Where there is little memory, the default is "never". */
	write_text(THP "enabled", "madvise");
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	self->s0 = NODE(self->n.s0);
	self->s1 = NODE(self->n.s1);
	self->d1 = NODE(self->n.d1);
	self->d2 = NODE(self->n.d2);
}

FIXTURE_TEARDOWN_PARENT(nodes)
{
	clean_up();
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* The field @name of /proc/self/smaps for the mapping that begins at @p, in kB */
static inline long smaps_kb(char *p, const char *name)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false;
	size_t len = strlen(name);
	char line[512];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (uintptr_t)p;
		else if (here && !strncmp(line, name, len) && line[len] == ':')
			kb = atol(line + len + 1);
	}
	if (f)
		fclose(f);

	return kb;
}

/* Masks of variants, whatever the ids of the nodes are */
enum { S0 = 1, S1 = 2, D1 = 4, D2 = 8 };

#endif /* DEVMEM_ASKING_H */
