// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: a device's zone takes nothing of
 * ZONE_MOVABLE, and what has to leave a device may go there.
 *
 * Wants a device node and movablecore=; see "plan".
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

/* First frame and number of frames of a node's ZONE_MOVABLE */
static bool movable_zone(int nid, unsigned long *start, unsigned long *count)
{
	unsigned long n, spanned = 0;
	char line[256], zone[32];
	bool here = false;
	int id;
	FILE *f = fopen("/proc/zoneinfo", "r");

	*count = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone %31s", &id, zone) == 2)
			here = id == nid && !strcmp(zone, "Movable");
		if (here && sscanf(line, " spanned %lu", &n) == 1)
			spanned = n;
		if (here && spanned && sscanf(line, " start_pfn: %lu", &n) == 1) {
			*start = n;
			*count = spanned;
		}
	}
	if (f)
		fclose(f);

	return *count;
}

FIXTURE(movable)
{
	int dev, sys;
	unsigned long start, count;
};

FIXTURE_SETUP(movable)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (!device_nodes(dev) || !system_nodes(sys) || getuid())
		SKIP(return, "needs root and a device node");
	self->dev = dev[0];
	self->sys = sys[0];
	if (!movable_zone(self->sys, &self->start, &self->count)) {
		ASSERT_NE(0, system("grep -q movablecore= /proc/cmdline")) {
			TH_LOG("no ZONE_MOVABLE, as if the device had taken it");
		}
		SKIP(return, "needs ZONE_MOVABLE on the first node");
	}
}

FIXTURE_TEARDOWN(movable)
{
}

/*
 * What has to leave a device may go to ZONE_MOVABLE, where on such a machine
 * most of the free memory is: a block of the device goes offline.
 */
TEST_F(movable, takes_what_leaves)
{
	unsigned long block, before, *pfn;
	char *p = place(SIZE, 1UL << self->dev, 1), path[96];
	FILE *f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	long i, there = 0;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(1, fscanf(f, "%lx", &block));
	fclose(f);
	before = pfn_of(p) * PAGE / block;
	snprintf(path, sizeof(path),
		 "/sys/devices/system/memory/memory%lu/state", before);
	ASSERT_EQ(0, write_text(path, "offline"));
	pfn = frames_of(p, SIZE);
	for (i = 0; i < PAGES; i++)
		there += pfn[i] >= self->start &&
			 pfn[i] < self->start + self->count;
	EXPECT_EQ(PAGES, there + on_node(p, SIZE, self->dev));
	EXPECT_GT(there, PAGES / 2);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	EXPECT_EQ(0, write_text(path, "online"));
}

TEST_HARNESS_MAIN
