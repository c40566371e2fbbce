// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: a device node is in no memory tier.
 * Nothing is demoted to it, and nothing on it is demoted or promoted; which is
 * seen to happen between two system nodes.
 *
 * Wants a system node in a lower memory tier, and a device node; see "plan".
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

FIXTURE(tiers)
{
	int dev, top, low;	/* a device; a system node, one of a lower tier */
};

/* Return: 0 if the node is in no tier; a higher number is a lower tier */
static int tier_of(int nid)
{
	char command[160];
	FILE *f;
	int tier = 0;

	snprintf(command, sizeof(command),
		 "grep -lxE '(.*,)?%d(,.*)?' /sys/devices/virtual/memory_tiering/memory_tier*/nodelist | sed 's/[^0-9]//g'",
		 nid);
	f = popen(command, "r");
	if (f && fscanf(f, "%d", &tier) != 1)
		tier = 0;
	if (f)
		pclose(f);

	return tier;
}

FIXTURE_SETUP(tiers)
{
	int dev[MAX_NODES], sys[MAX_NODES], i, n;

	if (!device_nodes(dev) || getuid())
		SKIP(return, "needs root and a device node");
	self->dev = dev[0];
	n = system_nodes(sys);
	self->top = sys[0];
	self->low = -1;
	for (i = 1; i < n; i++)
		if (tier_of(sys[i]) > tier_of(sys[0]))
			self->low = sys[i];
	if (self->low < 0)
		SKIP(return, "needs a system node in a lower memory tier");
}

FIXTURE_TEARDOWN(tiers)
{
	EXPECT_EQ(0, unasked());
}

TEST_F(tiers, device_is_in_none)
{
	EXPECT_NE(0, tier_of(self->top));
	EXPECT_EQ(0, tier_of(self->dev));
}

/* Cold pages go down a tier; neither to a device nor from one. */
TEST_F(tiers, demotion)
{
	char *mine = place(SIZE, 1UL << self->dev, 1), *cold;
	long before = given(), demoted = vm_events("pgdemote_");
	unsigned long *at = frames_of(mine, SIZE);
	int i;

	if (write_text("/sys/kernel/mm/numa/demotion_enabled", "1") ||
	    !cg_enter("memory"))
		SKIP(return, "no demotion, or no memory controller");
	cold = place(8 * SIZE, 1UL << self->top, 2);
	ASSERT_NE(NULL, cold);
	for (i = 0; i < 5; i++)
		cg_write("memory.reclaim", "%dM", 16, 0);
	EXPECT_GT(vm_events("pgdemote_"), demoted);
	EXPECT_GT(on_node(cold, 8 * SIZE, self->low), 0);
	EXPECT_EQ(0, on_node(cold, 8 * SIZE, self->dev));
	EXPECT_EQ(PAGES, on_node(mine, SIZE, self->dev));
	EXPECT_TRUE(same_frames(mine, SIZE, at));
	EXPECT_TRUE(intact(mine, SIZE, 1));
	EXPECT_TRUE(intact(cold, 8 * SIZE, 2));
	EXPECT_EQ(before, given());
	write_text("/sys/kernel/mm/numa/demotion_enabled", "0");
	cg_leave();
}

/* And hot ones go up; not from a device. */
TEST_F(tiers, promotion)
{
	char *mine = place(SIZE, 1UL << self->dev, 1);
	char *hot = place(SIZE, 1UL << self->low, 2);
	time_t end = time(NULL) + BALANCING_SECONDS;

	ASSERT_TRUE(mine && hot);
	ASSERT_EQ(0, mbind_nodes(mine, SIZE, MPOL_DEFAULT, 0, 0));
	ASSERT_EQ(0, mbind_nodes(hot, SIZE, MPOL_DEFAULT, 0, 0));
	if (balance("2"))
		SKIP(return, "no NUMA balancing");
	do {
		int i;

		for (i = 0; i < 200; i++)
			ASSERT_TRUE(intact(mine, SIZE, 1) &&
				    intact(hot, SIZE, 2));
	} while (time(NULL) < end &&
		 on_node(hot, SIZE, self->low) > PAGES / 4);
	EXPECT_LE(on_node(hot, SIZE, self->low), PAGES / 4);
	EXPECT_EQ(PAGES, on_node(mine, SIZE, self->dev));
	balance("0");
}

TEST_HARNESS_MAIN
