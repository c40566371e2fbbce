// SPDX-License-Identifier: GPL-2.0
/*
 * Memory tags (MTE, arm64): pages of a PROT_MTE mapping keep them wherever they go,
 * by the mover, by migrate_pages(), and by way of swap.
 *
 * Invariant 5: nothing is lost.
 *
 * Wants a machine with tags, and two device nodes of 128 MB; see "plan".
 *
 * Control: a tag that was changed is noticed, in each test.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../kselftest_harness.h"

#define GRANULE		16
#define TAG_SHIFT	56

#ifdef __aarch64__
#define WITH_TAGS	".arch armv8.5-a+memtag\n\t"

static bool have_tags(void)
{
	return getauxval(AT_HWCAP2) & (1UL << 18);	/* HWCAP2_MTE */
}

static void set_tag(char *p, unsigned int tag)
{
	uintptr_t tagged = (uintptr_t)p | (uintptr_t)tag << TAG_SHIFT;

	asm volatile(WITH_TAGS "stg %0, [%0]" : : "r" (tagged) : "memory");
}

static unsigned int tag_of(const char *p)
{
	uintptr_t tagged = (uintptr_t)p;

	asm volatile(WITH_TAGS "ldg %0, [%0]" : "+r" (tagged) : : "memory");

	return tagged >> TAG_SHIFT & 0xf;
}

#define TAGGED		0x20	/* PROT_MTE */
#else
static bool have_tags(void) { return false; }
static void set_tag(char *p, unsigned int tag) { (void)p; (void)tag; }
static unsigned int tag_of(const char *p) { return 0; }

#define TAGGED		0
#endif

static unsigned int wanted(size_t at)
{
	return 1 + at / PAGE * 7 % 15;
}

/*
 * The first of each page; the next has none. (In QEMU 7.2 all others of a page are
 * those two, over and over.)
 */
static void set_tags(char *p, size_t size)
{
	size_t at;

	for (at = 0; at < size; at += PAGE)
		set_tag(p + at, wanted(at));
}

/* Return: how many are not what they were */
static long wrong_tags(const char *p, size_t size)
{
	long wrong = 0;
	size_t at;

	for (at = 0; at < size; at += PAGE)
		wrong += (tag_of(p + at) != wanted(at)) +
			 (tag_of(p + at + GRANULE) != 0);

	return wrong;
}

static char *map_tagged(size_t size)
{
	char *p = map_huge(size);

	if (!p || mprotect(p, size, PROT_READ | PROT_WRITE | TAGGED))
		return NULL;

	return p;
}

/* What was written, on which node, and the tags; one that differs is seen. */
static bool as_it_was(char *p, size_t size, int nid)
{
	bool seen;

	if (!placed(p, size, nid, 1) || wrong_tags(p, size))
		return false;
	set_tag(p, wanted(0) ^ 1);
	seen = wrong_tags(p, size) == 1;
	set_tag(p, wanted(0));

	return seen;
}

#define NEEDS_TAGS	"needs memory tags (arm64, MTE)"

TEST_F_TIMEOUT(driver, mover, PATIENCE)
{
	char *p = map_tagged(SIZE);

	if (!have_tags())
		SKIP(return, NEEDS_TAGS);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	set_tags(p, SIZE);
	drain_lists();
	for (int i = 0; i < 4; i++) {
		const int to[] = { self->n.d1, self->n.d2, self->n.d1,
				   self->n.s0 };
		struct devmem_migrate m = { };

		ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, to[i],
					    DEVMEM_SELF, &m));
		ASSERT_EQ(PAGES, (long)m.moved);
		EXPECT_TRUE(as_it_was(p, SIZE, to[i]));
	}
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, huge_pages, PATIENCE)
{
	struct devmem_migrate m = { };
	char *p = map_tagged(SIZE);

	if (!have_tags())
		SKIP(return, NEEDS_TAGS);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, SIZE, MADV_HUGEPAGE));
	fill_pages(p, SIZE, 1);
	if (folio_pages(p) != (long)(HUGE / PAGE))
		SKIP(return, "no huge pages");
	set_tags(p, SIZE);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_TRUE(as_it_was(p, SIZE, self->n.d1));
	EXPECT_EQ((long)(HUGE / PAGE), folio_pages(p));
	ASSERT_EQ(0, move(p, SIZE, self->n.d2, NULL));
	EXPECT_TRUE(as_it_was(p, SIZE, self->n.d2));
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, move_pages, PATIENCE)
{
	char *p = map_tagged(SIZE);

	if (!have_tags())
		SKIP(return, NEEDS_TAGS);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	set_tags(p, SIZE);
	ASSERT_EQ(0, move(p, SIZE, self->n.d1, NULL));
	EXPECT_TRUE(as_it_was(p, SIZE, self->n.d1));
	ASSERT_EQ(0, move(p, SIZE, self->n.s0, NULL));
	EXPECT_TRUE(as_it_was(p, SIZE, self->n.s0));
	munmap(p, SIZE);
}

/* Pages that are a device's from the first have no tags, and then those set. */
TEST_F_TIMEOUT(driver, faults, PATIENCE)
{
	char *p = map_tagged(SIZE);
	size_t at;

	if (!have_tags())
		SKIP(return, NEEDS_TAGS);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(self->n.d1), 0));
	/* Of pages that had some before */
	for (int i = 0; i < 2; i++) {
		fill_pages(p, SIZE, 1);
		for (at = 0; at < SIZE; at += GRANULE)
			ASSERT_EQ(0U, tag_of(p + at));
		set_tags(p, SIZE);
		EXPECT_TRUE(as_it_was(p, SIZE, self->n.d1));
		ASSERT_EQ(0, madvise(p, SIZE, MADV_DONTNEED));
	}
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, swap, PATIENCE)
{
	char *p = map_tagged(SIZE);

	if (!have_tags())
		SKIP(return, NEEDS_TAGS);
	ASSERT_NE(NULL, p);
	if (swap_on_loop(64))
		SKIP(return, "no swap on a loop device");
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, SIZE, 1);
	set_tags(p, SIZE);
	EXPECT_EQ(0, page_out(p, SIZE));
	EXPECT_EQ(0, on_node(p, SIZE, self->n.d1));
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_TRUE(as_it_was(p, SIZE, self->n.d1));
	munmap(p, SIZE);
	swap_off_loop();
}

TEST_HARNESS_MAIN
