// SPDX-License-Identifier: GPL-2.0
/*
 * What a page is to others while /dev/devmem moves it: somebody holds one, a
 * device mirrors them, other CPUs have them in their TLBs. And what is counted
 * adds up to the range.
 *
 * Invariant 4: nobody is killed, or told of an error, for a page that moves.
 * Invariant 5: nothing is lost.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/inflight.h"
#include "../kselftest_harness.h"

#define MIRRORED	"/sys/kernel/debug/device_coherent_test/mirrored"

/* -- Who holds one page ---------------------------------------------------- */

/* In pieces of a page, and as many pages as are wanted */
static char *fragment(int nid, long pages)
{
	long i, filled = node_bytes(nid) / PAGE;
	char *p = map_anon(filled * PAGE);

	if (!p || mbind_nodes(p, filled * PAGE, MPOL_BIND, NODE(nid), 0))
		return NULL;
	/* Every 16th page is the module's, which nobody can move. */
	for (i = 0; i < filled - filled / 16 - 64; i++) {
		p[i * PAGE] = 1;
		if (i % 16 == 15 && testmod("alloc %d 0 1 1", nid))
			return NULL;
	}
	if (testmod("fill %d", nid))
		return NULL;
	/* From the middle: where each piece is in another place */
	madvise(p + 4096 * PAGE, pages * PAGE, MADV_DONTNEED);
	drain_lists();

	return p;
}

static char *map_thp(size_t size)
{
	char *p = map_huge(size);

	if (!p || madvise(p, size, MADV_HUGEPAGE))
		return NULL;
	fill_pages(p, size, 1);
	if (folio_pages(p) == HUGE / PAGE)
		return p;
	munmap(p, size);

	return NULL;
}

TEST_F_TIMEOUT(inflight, a_held_huge_page_stays_alone, PATIENCE)
{
	const long huge = HUGE / PAGE, all = 4 * huge;
	struct devmem_migrate m;
	struct iovec iov;
	char *filler, *p;
	int fds[2];

	p = map_thp(4 * HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	filler = fragment(self->n.d1, 2 * all);
	ASSERT_NE(NULL, filler);
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 5 * PAGE, PAGE };
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(all - huge, move_range(self->fd, p, 4 * HUGE, self->n.d1, &m));
	EXPECT_EQ(0, m.no_room);
	EXPECT_EQ(huge, m.busy + m.pinned);
	EXPECT_EQ(all - huge, on_node(p, 4 * HUGE, self->n.d1));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(huge, move_range(self->fd, p, 4 * HUGE, self->n.d1, &m));
	EXPECT_TRUE(placed(p, 4 * HUGE, self->n.d1, 1));
	munmap(p, 4 * HUGE);
	munmap(filler, self->size);
}

/*
 * A huge page that is to move as a whole, and that somebody holds, so that it is
 * tried over and over. Its target is kept meanwhile, or another one would get it,
 * and the page be split after all: it is allocated once.
 */
TEST_F_TIMEOUT(inflight, whole_keeps_its_target, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
	const long huge = HUGE / PAGE;
	struct iovec iov;
	long before;
	int fds[2];
	char *p;

	p = map_thp(HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 5 * PAGE, PAGE };
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	before = vm_event("pgalloc_coherent");
	EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(huge, m.busy + m.pinned);
	EXPECT_EQ(before + huge, vm_event("pgalloc_coherent"));
	EXPECT_EQ(huge, folio_pages(p));
	close(fds[0]);
	close(fds[1]);
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_WHOLE };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(huge, m.moved);
	EXPECT_EQ(huge, folio_pages(p));
	EXPECT_TRUE(placed(p, HUGE, self->n.d1, 1));
	munmap(p, HUGE);
}

/*
 * One that is mapped by single entries is no less whole: neither a holder of a page
 * nor having moved before makes it one to split.
 */
TEST_F_TIMEOUT(inflight, whole_mapped_by_entries, PATIENCE)
{
	const long huge = HUGE / PAGE;
	struct devmem_migrate m;
	struct iovec iov;
	int i, fds[2];
	char *p;

	p = map_thp(HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	by_entries(p);
	ASSERT_EQ(huge, folio_pages(p));
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 5 * PAGE, PAGE };
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	for (i = 0; i < 3; i++) {
		m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_WHOLE };
		EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1,
					    DEVMEM_SELF, &m));
		EXPECT_EQ(huge, m.busy + m.pinned);
		EXPECT_EQ(huge, folio_pages(p));
	}
	close(fds[0]);
	close(fds[1]);
	for (i = 0; i < 4; i++) {
		int nid = i % 2 ? self->n.s0 : self->n.d1;

		/* Splitting isn't forbidden later, but not needed either. */
		m = (struct devmem_migrate){
			.flags = i < 2 ? DEVMEM_MIGRATE_WHOLE : 0,
		};
		EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, nid, DEVMEM_SELF,
					    &m));
		EXPECT_EQ(huge, m.moved);
		EXPECT_EQ(huge, folio_pages(p));
		EXPECT_TRUE(placed(p, HUGE, nid, 1));
	}
	munmap(p, HUGE);
}

/* One of which a part isn't mapped any more is split, and needs no more room. */
TEST_F_TIMEOUT(inflight, whole_mapped_in_part, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
	const long half = HUGE / PAGE / 2;
	char *p;
	int buf;

	p = map_thp(HUGE);
	if (!p)
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, madvise(p + HUGE / 2, HUGE / 2, MADV_DONTNEED));
	buf = devmem_alloc(self->fd, self->n.d1, self->size - HUGE,
			   DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(0, devmem_migrate(self->fd, p, HUGE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(half, m.moved);
	EXPECT_EQ(half, m.absent);
	EXPECT_TRUE(placed(p, HUGE / 2, self->n.d1, 1));
	close(buf);
	munmap(p, HUGE);
}

struct holder {
	pthread_t thread;
	char *p;
	atomic_bool stop;
};

/* Holds a page for a moment, over and over. */
static void *hold_and_let_go(void *arg)
{
	struct holder *h = arg;
	struct iovec iov = { h->p, PAGE };
	char *copy = map_anon(PAGE);
	int fds[2];

	if (!copy || pipe(fds))
		return NULL;
	while (!atomic_load(&h->stop)) {
		if (vmsplice(fds[1], &iov, 1, 0) != (ssize_t)PAGE)
			break;
		sched_yield();
		if (read(fds[0], copy, PAGE) != (ssize_t)PAGE)
			break;
		sched_yield();
	}
	close(fds[0]);
	close(fds[1]);

	return NULL;
}

/* The one who held it when it was tried first may have let go when it is again. */
TEST_F_TIMEOUT(inflight, whole_held_now_and_then, PATIENCE)
{
	const long huge = HUGE / PAGE;
	struct holder h = { };
	long i, moved = 0;

	h.p = map_thp(HUGE);
	if (!h.p)
		SKIP(return, "no huge pages");
	by_entries(h.p);
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, hold_and_let_go, &h));
	for (i = 0; i < 1000 && folio_pages(h.p) == huge; i++) {
		struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
		int nid = i % 2 ? self->n.d2 : self->n.d1;

		EXPECT_EQ(0, devmem_migrate(self->fd, h.p, HUGE, nid,
					    DEVMEM_SELF, &m));
		moved += m.moved;
	}
	atomic_store(&h.stop, true);
	pthread_join(h.thread, NULL);
	EXPECT_EQ(1000, i);
	EXPECT_EQ(huge, folio_pages(h.p));
	EXPECT_LT(huge, moved);
	EXPECT_TRUE(intact(h.p, HUGE, 1));
	TH_LOG("%ld of %ld moved", moved / huge, i);
	munmap(h.p, HUGE);
}

/* Small ones: what is written goes on to be what the pipe gives. */
TEST_F_TIMEOUT(inflight, a_held_page_stays, PATIENCE)
{
	struct devmem_migrate m;
	char *p = map_anon(SIZE), got[8] = "";
	struct iovec iov;
	int fds[2];

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	drain_lists();
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ p + 100 * PAGE + 64, sizeof(got) };
	ASSERT_EQ((ssize_t)sizeof(got), vmsplice(fds[1], &iov, 1, 0));
	EXPECT_EQ(PAGES - 1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_EQ(1, m.busy + m.pinned);
	EXPECT_EQ(PAGES - 1, on_node(p, SIZE, self->n.d1));
	memcpy(p + 100 * PAGE + 64, "written", sizeof(got));
	EXPECT_EQ((ssize_t)sizeof(got), read(fds[0], got, sizeof(got)));
	EXPECT_STREQ("written", got);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_EQ(PAGES, on_node(p, SIZE, self->n.d1));
	munmap(p, SIZE);
}

/*
 * Who reads pages that can't be written pins them. GUP without the lock of the
 * page table has to see that they move, or the mover has to see the pin; a debug
 * kernel looks whether they are still the mapping's own.
 */
static void *pin_on(void *arg)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT);
	struct writer *w = arg;
	char *copy;

	copy = map_anon(w->pages * PAGE);
	while (fd >= 0 && copy && !atomic_load(w->stop)) {
		ssize_t size = w->pages * PAGE;

		w->errors += pwrite(fd, w->p, size, 0) != size ||
			     pread(fd, copy, size, 0) != size ||
			     !intact(copy, size, 1);
		w->rounds++;
	}
	close(fd);

	return NULL;
}

TEST_F_TIMEOUT(inflight, a_pin_for_reading, PATIENCE)
{
	const long pages = 64;
	atomic_bool stop = false;
	struct devmem_migrate m;
	struct writer w;
	long moved = 0, n;
	char *p;

	if (access("/dev/ram0", W_OK))
		SKIP(return, "no RAM disk");
	p = map_anon(pages * PAGE);
	ASSERT_NE(NULL, p);
	fill_pages(p, pages * PAGE, 1);
	drain_lists();
	ASSERT_EQ(0, mprotect(p, pages * PAGE, PROT_READ));
	ASSERT_TRUE(start(&w, 1, pin_on, p, pages, &stop));
	for (int i = 0; i < 500; i++) {
		n = move_range(self->fd, p, pages * PAGE,
			       i % 2 ? self->n.s0 : self->n.d1, &m);
		moved += n > 0 ? n : 0;
	}
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.errors);
	EXPECT_LT(0, w.rounds);
	EXPECT_LT(pages, moved);
	munmap(p, pages * PAGE);
}

/* -- What is counted ------------------------------------------------------- */

/* Ranges of two huge pages, in pages, and how much the target takes */
static const struct {
	long first;
	long pages;
	long room;
} shapes[] = {
	{ 511, 513, 1024 }, { 511, 513, 512 }, { 511, 513, 600 },
	{ 511, 513, 100 }, { 511, 513, 0 }, { 0, 1, 300 }, { 0, 513, 700 },
	{ 100, 200, 150 }, { 100, 800, 1000 }, { 511, 2, 2 },
};

/* The shapes are for huge pages of 512 pages. */
static long scaled(long pages)
{
	const long huge = HUGE / PAGE;

	if (pages <= 2)
		return pages;
	if (pages >= 511 && pages <= 513)
		return huge + pages - 512;

	return pages * huge / 512;
}

static bool counts_add_up(int fd, const struct nodes *n, char *p, int i)
{
	long first = scaled(shapes[i].first), pages = scaled(shapes[i].pages);
	char *filler = fragment(n->d1, scaled(shapes[i].room));
	struct devmem_migrate m;
	long moved;
	bool ok;

	if (!filler)
		return false;
	moved = move_range(fd, p + first * PAGE, pages * PAGE, n->d1, &m);
	ok = sum_of(&m) == pages && intact(p, 2 * HUGE, 1) &&
	     moved == on_node(p + first * PAGE, pages * PAGE, n->d1);
	if (!ok)
		ksft_print_msg("%d: of %ld, moved %ld (%ld), %lld %lld %lld\n",
			       i, pages, moved,
			       on_node(p + first * PAGE, pages * PAGE, n->d1),
			       m.no_room, m.busy, m.pinned);
	munmap(filler, node_bytes(n->d1));
	testmod("free");

	return ok;
}

TEST_F_TIMEOUT(inflight, counts_of_huge_pages_add_up, PATIENCE)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		char *p = map_thp(2 * HUGE);

		if (!p)
			SKIP(return, "no huge pages");
		EXPECT_TRUE(counts_add_up(self->fd, &self->n, p, i));
		munmap(p, 2 * HUGE);
	}
}

/* A large folio that is met again after another one */
TEST_F_TIMEOUT(inflight, counts_of_mixed_pages_add_up, PATIENCE)
{
	const long pages = HUGE / PAGE;
	struct devmem_migrate m;
	char *a, *b;

	a = map_thp(HUGE);
	b = map_thp(HUGE);
	if (!a || !b)
		SKIP(return, "no huge pages");
	/* Every other page of the first is one of the second now. */
	for (long i = 0; i < pages; i += 2)
		ASSERT_EQ(a + i * PAGE,
			  mremap(b + i * PAGE, PAGE, PAGE, MREMAP_MAYMOVE |
				 MREMAP_FIXED, a + i * PAGE));
	EXPECT_EQ(pages, move_range(self->fd, a, HUGE, self->n.d1, &m));
	EXPECT_EQ(pages, sum_of(&m));
	if (m.moved != pages) {
		TH_LOG("%lld busy, %lld shared, %lld no_room, %lld there",
		       m.busy, m.shared, m.no_room, m.there);
	}
	EXPECT_EQ(pages, on_node(a, HUGE, self->n.d1));
	munmap(a, HUGE);
	munmap(b, HUGE);
}

/* What succeeds was refused nothing: the last pages, some in CPUs' lists. */
TEST_F_TIMEOUT(inflight, nothing_is_refused_in_between, PATIENCE)
{
	struct devmem_migrate m;
	char *p, *filler;
	long before;

	p = map_anon(SIZE);
	filler = map_anon(self->size - SIZE);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, filler);
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, mbind_nodes(filler, self->size - SIZE, MPOL_BIND,
				 NODE(self->n.d1), 0));
	memset(filler, 1, self->size - SIZE);
	before = vm_event("coherent_refused");
	for (int i = 0; i < 20; i++) {
		run_on(i / 2 % 2);
		ASSERT_EQ(PAGES, move_range(self->fd, p, SIZE, i % 2 ?
					    self->n.s0 : self->n.d1, &m));
	}
	EXPECT_EQ(before, vm_event("coherent_refused"));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	munmap(filler, self->size - SIZE);
}

/* -- Who is told ----------------------------------------------------------- */

/* A device that mirrors the range hears of what moves, and of nothing else. */
TEST_F_TIMEOUT(inflight, a_mirror_hears_of_what_moves, PATIENCE)
{
	struct devmem_migrate m;
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	drain_lists();
	if (testmod("mirror 1"))
		SKIP(return, "no MMU notifiers");
	ASSERT_EQ(0, move_range(self->fd, p, SIZE, self->n.s0, &m));
	EXPECT_EQ(0, number_in(MIRRORED, "calls"));
	ASSERT_EQ(1, move_range(self->fd, p + 7 * PAGE, PAGE, self->n.d1, &m));
	EXPECT_EQ(1, number_in(MIRRORED, "pages"));
	ASSERT_EQ(PAGES - 1, move_range(self->fd, p, SIZE, self->n.d1, &m));
	EXPECT_GE(1 + PAGES, number_in(MIRRORED, "pages"));
	/* For 2 MB of them at a time */
	EXPECT_GE(3 + SIZE / (2 * MIB), number_in(MIRRORED, "calls"));
	testmod("mirror 0");
	munmap(p, SIZE);
}

/* Where somebody has to be told first, there are two looks at each page. */
TEST_F_TIMEOUT(inflight, a_mirrored_range_loses_no_write, PATIENCE)
{
	struct devmem_migrate m;
	atomic_bool stop = false;
	long moved = 0, n;
	struct writer w;
	char *p;

	p = map_anon(SIZE);
	ASSERT_NE(NULL, p);
	memset(p, 0, SIZE);
	if (testmod("mirror 1"))
		SKIP(return, "no MMU notifiers");
	ASSERT_TRUE(start(&w, 1, write_on, p, PAGES, &stop));
	for (int i = 0; i < 60; i++) {
		n = move_range(self->fd, p, SIZE, i % 2 ? self->n.s0 :
							  self->n.d1, &m);
		moved += n > 0 ? n : 0;
		EXPECT_EQ(PAGES, sum_of(&m));
	}
	EXPECT_EQ(0, end(&w));
	EXPECT_LE(20 * PAGES, moved);
	EXPECT_LT(0, number_in(MIRRORED, "calls"));
	testmod("mirror 0");
	munmap(p, SIZE);
}

/* Interrupts of the kind so far, of all CPUs */
static long interrupts_of(const char *name)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[1024], *at;
	long sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		at = strstr(line, name);
		if (!at || strspn(line, " ") != (size_t)(at - line))
			continue;
		for (at += strlen(name);; ) {
			char *next;
			long n = strtol(at, &next, 10);

			if (next == at)
				break;
			sum += n;
			at = next;
		}
	}
	if (f)
		fclose(f);

	return sum;
}

static void *look_on(void *arg)
{
	struct writer *w = arg;

	run_on(1);
	while (!atomic_load(w->stop))
		for (long i = 0; i < w->pages; i++)
			w->errors += atomic_load((atomic_char *)w->p +
						 i * PAGE) & 1;

	return NULL;
}

/* The range there and back, while another CPU has its translations */
static long shootdowns(int fd, const struct nodes *n, char *p, size_t size,
		       bool by_move_pages)
{
	long before = interrupts_of("TLB:");
	struct devmem_migrate m;
	int status;

	for (int i = 0; i < 4; i++) {
		int nid = i % 2 ? n->s0 : n->d1;

		if (by_move_pages)
			move(p, size, nid, &status);
		else
			move_range(fd, p, size, nid, &m);
	}

	return interrupts_of("TLB:") - before;
}

TEST_F_TIMEOUT(inflight, as_few_shootdowns_as_move_pages, PATIENCE)
{
	const size_t size = 32 * MIB;
	atomic_bool stop = false;
	struct writer w;
	long ours, theirs;
	char *p;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	p = map_huge(size);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	fill_pages(p, size, 2);
	drain_lists();
	run_on(0);
	ASSERT_TRUE(start(&w, 1, look_on, p, size / PAGE, &stop));
	usleep(20000);
	theirs = shootdowns(self->fd, &self->n, p, size, true);
	ours = shootdowns(self->fd, &self->n, p, size, false);
	atomic_store(&stop, true);
	pthread_join(w.thread, NULL);
	/* Some are others', and one that finds no translations isn't counted. */
	EXPECT_GE(theirs + theirs / 4 + 16, ours) {
		TH_LOG("%ld for %ld", ours, theirs);
	}
	/* One flush for two page tables, if somebody waits, or for four */
	EXPECT_GE(2 * (long)(size / HUGE) + 16, ours);
	munmap(p, size);
}

TEST_HARNESS_MAIN
