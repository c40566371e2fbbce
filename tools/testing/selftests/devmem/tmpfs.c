// SPDX-License-Identifier: GPL-2.0
/*
 * Mounts of tmpfs: the table "What counts as asking" in
 * Documentation/admin-guide/mm/device_coherent.rst.
 *
 * Invariant 1: a tmpfs mount is asked by its mpol=, as a mask is. Invariant 5:
 * the content is there after each step.
 *
 * What counts as moved, as shared or as failed is the kernel's to decide: the
 * same is done with the second system node as the target, and the answers have
 * to be equal.
 *
 * Proof that it can fail: on a machine without device nodes, with DEVMEM_NODES
 * naming two ordinary nodes, what has to stay in system memory doesn't.
 *
 * Wants two system nodes and two device nodes, once with all device nodes after
 * the system nodes and once with one between them; see "plan".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/asking.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

FIXTURE(tmpfs)
{
	struct nodes n;
};

FIXTURE_VARIANT(tmpfs)
{
	const char *mpol;	/* "%d" for each node of the mask */
	int mask;
	int d1, d2;		/* shares expected, in eighths */
};

FIXTURE_VARIANT_ADD(tmpfs, none) {
	"default", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, local) {
	"local", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind) {
	"bind:%d", D1, 8, 0
};

FIXTURE_VARIANT_ADD(tmpfs, prefer) {
	"prefer:%d", D2, 0, 8
};

FIXTURE_VARIANT_ADD(tmpfs, interleave) {
	"interleave:%d,%d", D1 | D2, 4, 4
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_all) {
	"interleave", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind_mixed) {
	"bind:%d,%d", S0 | D1, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_mixed) {
	"interleave:%d,%d", S1 | D1, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_literal) {
	"interleave=static:%d,%d", S0 | D1, 4, 0
};

FIXTURE_VARIANT_ADD(tmpfs, interleave_all_literal) {
	"interleave=static", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, bind_literal) {
	"bind=static:%d", D2, 0, 8
};

FIXTURE_VARIANT_ADD(tmpfs, relative) {
	"bind=relative:3", 0, 0, 0
};

FIXTURE_VARIANT_ADD(tmpfs, many) {
	"prefer (many):%d,%d", D1 | D2, 8, 0
};

FIXTURE_VARIANT_ADD(tmpfs, weighted) {
	"weighted interleave:%d,%d", D1 | D2, 4, 4
};

FIXTURE_SETUP(tmpfs)
{
	clean_up();
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system nodes and two device nodes");
	mkdir(DIR, 0700);
}

FIXTURE_TEARDOWN_PARENT(tmpfs)
{
	clean_up();
	EXPECT_EQ(0, nodes_left(&self->n));
}

static void mpol_option(char *text, size_t len, const char *mpol, int mask,
			const struct nodes *n)
{
	const int nids[] = { n->s0, n->s1, n->d1, n->d2 };
	int args[2] = { 0, 0 }, i, nr = 0;
	char fmt[64];

	for (i = 0; i < 4; i++)
		if (mask & (1 << i))
			args[nr++] = nids[i];
	snprintf(fmt, sizeof(fmt), "mpol=%s", mpol);
	snprintf(text, len, fmt, args[0], args[1]);
}

/* A file of it, written with write() or through a mapping */
static char *new_file(const char *name, bool mapped)
{
	static char page[MAX_PAGE];
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	size_t i;
	char *p;

	if (fd < 0 || ftruncate(fd, SIZE))
		return NULL;
	for (i = 0; !mapped && i < SIZE; i += PAGE)
		if (pwrite(fd, page, PAGE, i) != (ssize_t)PAGE)
			return NULL;
	p = map_pages(SIZE, MAP_SHARED, fd);
	if (p)
		fill_pages(p, SIZE, 1);
	close(fd);

	return p;
}

TEST_F(tmpfs, mpol)
{
	char option[64];
	char *p, *q;

	mpol_option(option, sizeof(option), variant->mpol, variant->mask,
		    &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, option));
	p = new_file(DIR "/written", false);
	q = new_file(DIR "/mapped", true);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	EXPECT_EQ(variant->d1 * N / 8, on_node(p, SIZE, self->n.d1));
	EXPECT_EQ(variant->d2 * N / 8, on_node(p, SIZE, self->n.d2));
	EXPECT_EQ(variant->d1 * N / 8, on_node(q, SIZE, self->n.d1));
	EXPECT_EQ(variant->d2 * N / 8, on_node(q, SIZE, self->n.d2));
}

static bool mounted_with(const char *option)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "grep ' " DIR " ' /proc/mounts | grep -qF '%s'", option);

	return !system(command);
}

TEST_F(nodes, tmpfs_remount)
{
	char first[64], second[64];
	char *p;

	mkdir(DIR, 0700);
	mpol_option(first, sizeof(first), "bind:%d", D1, &self->n);
	mpol_option(second, sizeof(second), "bind:%d", D2, &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, first));
	EXPECT_TRUE(mounted_with(first));
	p = new_file(DIR "/first", false);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", MS_REMOUNT, second));
	EXPECT_TRUE(mounted_with(second));
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);

	/* New files follow the new policy, old ones their own. */
	p = new_file(DIR "/second", false);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
	munmap(p, SIZE);
	ASSERT_EQ(0, truncate(DIR "/first", 0));
	p = new_file(DIR "/first", false);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);
	EXPECT_EQ(0, umount(DIR));
	rmdir(DIR);
}

/* The kernel reads where a link leads, which is nobody's memory to move. */
TEST_F(nodes, tmpfs_links)
{
	char name[64], target[2048];
	long used;
	int i;

	mkdir(DIR, 0700);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, NULL));
	/* A link follows its maker's policy, not that of the mount. */
	ASSERT_EQ(0, set_policy(MPOL_BIND, NODE(self->n.d1)));
	memset(target, 'x', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	used = node_used(self->n.d1);
	for (i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), DIR "/link%d", i);
		ASSERT_EQ(0, symlink(target, name));
	}
	EXPECT_EQ(used, node_used(self->n.d1));
	set_policy(MPOL_DEFAULT, 0);
	EXPECT_EQ(0, umount(DIR));
	rmdir(DIR);
}

/* Who maps a file of a bound mount gets its pages, who copies gets his own. */
TEST_F(nodes, tmpfs_users)
{
	char option[64], *p, *copy = make_anon();
	int fd;

	mkdir(DIR, 0700);
	mpol_option(option, sizeof(option), "bind:%d", D1, &self->n);
	ASSERT_EQ(0, mount("devmem", DIR, "tmpfs", 0, option));
	p = new_file(DIR "/file", false);
	ASSERT_NE(NULL, p);
	munmap(p, SIZE);
	fd = open(DIR "/file", O_RDONLY);
	EXPECT_EQ((long)SIZE, read(fd, copy, SIZE));
	EXPECT_TRUE(placed(copy, SIZE, self->n.s0, 1));
	p = map_pages(SIZE, MAP_PRIVATE, fd);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_EQ(N, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
	close(fd);
	EXPECT_EQ(0, umount(DIR));
	rmdir(DIR);
}

TEST_HARNESS_MAIN
