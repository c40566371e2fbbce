// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: a page of a device that fails, or is
 * about to, is replaced on its device while there is room; one of system memory
 * never by one of a device. And invariant 5: the content is there, but for what
 * has failed.
 *
 * Wants a machine of its own, a device node and hwpoison-inject; see "plan".
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

static void repair(unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", pfn);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

static bool can_unpoison(void)
{
	if (access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK) &&
	    system("modprobe hwpoison-inject 2>/dev/null"))
		return false;

	return !access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK);
}

/*
 * Frames that have failed are made usable again, which page_owner doesn't
 * count well: it would warn. So these tests are for a machine without it.
 */
FIXTURE(poison)
{
	int dev, sys;
	unsigned long mask;
};

FIXTURE_SETUP(poison)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (!device_nodes(dev) || !system_nodes(sys) || getuid())
		SKIP(return, "needs root and a device node");
	if (!access("/sys/kernel/debug/page_owner", R_OK))
		SKIP(return, "not with page_owner=on");
	if (!can_unpoison())
		SKIP(return, "no hwpoison-inject");
	self->dev = dev[0];
	self->sys = sys[0];
	self->mask = 1UL << dev[0];
	khugepaged(false);
}

FIXTURE_TEARDOWN(poison)
{
}

/* A page that is about to fail is replaced on its node, while there is room. */
static void soft_offline(struct __test_metadata *_metadata, char *p, int nid)
{
	char *page = p + 3 * PAGE;
	unsigned long pfn = pfn_of(page);

	ASSERT_NE(NULL, p);
	ASSERT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	/* One that isn't on its LRU list yet is busy. */
	drain_lists();
	ASSERT_EQ(0, madvise(page, PAGE, MADV_SOFT_OFFLINE));
	EXPECT_TRUE(intact(p, HUGE, 1));
	EXPECT_NE(pfn, pfn_of(page));
	EXPECT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	munmap(p, HUGE);
	repair(pfn);
}

TEST_F(poison, soft)
{
	soft_offline(_metadata, place(HUGE, self->mask, 1), self->dev);
	soft_offline(_metadata, place_huge(HUGE, self->mask, 1), self->dev);
	soft_offline(_metadata, place_shared(HUGE, self->mask, 1), self->dev);
}

TEST_F(poison, soft_full_device)
{
	char *p = place(HUGE, self->mask, 1);
	unsigned long pfn;
	int i;

	if (testmod_load())
		SKIP(return, "needs the module device_coherent_test");
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, testmod("fill %d", self->dev));
		node_used(self->dev);
	}
	pfn = pfn_of(p);
	drain_lists();
	EXPECT_EQ(0, madvise(p, PAGE, MADV_SOFT_OFFLINE));
	EXPECT_EQ((long)(HUGE / PAGE) - 1, on_node(p, HUGE, self->dev));
	EXPECT_EQ(0, on_node(p, HUGE, NONE));
	EXPECT_TRUE(intact(p, HUGE, 1));
	munmap(p, HUGE);
	testmod("free");
	repair(pfn);
}

/* System memory that fails is replaced by system memory. */
TEST_F(poison, soft_system)
{
	long before = given();

	soft_offline(_metadata, place(HUGE, 1UL << self->sys, 1), self->sys);
	EXPECT_EQ(before, given());
}

static void bus_error(int sig, siginfo_t *info, void *context)
{
	_exit(info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO ?
	      42 : 2);
}

/* A page that has failed: SIGBUS to who touches it, no harm to others. */
static void hard_poison(struct __test_metadata *_metadata, char *p, int nid)
{
	struct sigaction action = { .sa_sigaction = bus_error,
				    .sa_flags = SA_SIGINFO };
	unsigned long pfn = pfn_of(p + 3 * PAGE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ((long)(HUGE / PAGE), on_node(p, HUGE, nid));
	pid = fork();
	if (!pid) {
		sigaction(SIGBUS, &action, NULL);
		madvise(p + 3 * PAGE, PAGE, MADV_HWPOISON);
		_exit(intact(p + 3 * PAGE, PAGE, 4) ? 3 : 4);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(42, WEXITSTATUS(status));
	/* The pages next to it */
	EXPECT_TRUE(intact(p, 3 * PAGE, 1));
	EXPECT_TRUE(intact(p + 4 * PAGE, HUGE - 4 * PAGE, 5));
	EXPECT_EQ(3, on_node(p, 3 * PAGE, nid));
	munmap(p, HUGE);
	repair(pfn);
}

TEST_F(poison, hard)
{
	hard_poison(_metadata, place(HUGE, self->mask, 1), self->dev);
	hard_poison(_metadata, place_shared(HUGE, self->mask, 1), self->dev);
}

TEST_HARNESS_MAIN
