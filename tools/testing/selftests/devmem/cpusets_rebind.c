// SPDX-License-Identifier: GPL-2.0
/*
 * Invariants 1 and 2, asked for, or not at all, and that device, or none: a
 * cpuset whose nodes change never puts a policy, or pages, onto a device that
 * they did not name. Policies of system nodes go to system nodes; a policy that
 * loses its device has it again when it comes back, and system memory in
 * between. What loses its device moves to system memory, with its content
 * (invariant 5).
 *
 * In cgroup v2 and v1, and without; for the policy of a task, of a mapping and
 * of shared memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3,4), where nodes are mapped by their place in
 * the mask.
 *
 * Wants two system nodes and three device nodes, one id without memory
 * (device_coherent=...,spare:1) and memory for it (memmap=128M$512M); see
 * "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cpusets.h"
#include "lib/devmem_util.h"
#include "../kselftest_harness.h"

#define PAGES	((long)(SIZE / PAGE))

/* Of the memory that spare nodes get */
#define SPARE_START	spare_start()
#define SPARE_SIZE	0x8000000UL

FIXTURE(v1)
{
	struct place place;
};

FIXTURE_SETUP(v1)
{
	const char *missing = enter(&self->place, true);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(v1)
{
	EXPECT_EQ(0, leave(&self->place));
}

FIXTURE(v2)
{
	struct place place;
};

FIXTURE_SETUP(v2)
{
	const char *missing = enter(&self->place, false);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(v2)
{
	EXPECT_EQ(0, leave(&self->place));
}

/* -- Rebinding --------------------------------------------------------------- */

static const struct rebinding {
	const char *name;
	int mode;
	int nodes;			/* of the policy */
	int before, after;		/* the cpuset's */
	int at_first, then, again;	/* where new pages go */
} rebindings[] = {
	/* What is remapped is a system node and becomes a system node, */
	{ "bind to the second system node", MPOL_BIND, S1,
	  S0 | S1, S0 | D1, S1, S0, S0 },
	{ "bind to the first system node", MPOL_BIND, S0,
	  S0 | S1, S1 | D1, S0, S1, S0 },
	/* a device stays what it is: gone, and back again. */
	{ "bind to a device", MPOL_BIND, D1,
	  S0 | D1, S0 | D2, D1, S0, D1 },
	{ "bind to a device and another is added", MPOL_BIND, D2,
	  S0 | D2, S0 | D1 | D2, D2, D2, D2 },
	{ "bind to a device and the one before it goes", MPOL_BIND, D2,
	  S0 | D1 | D2, S0 | D2 | D3, D2, D2, D2 },
	{ "bind to a device in the place of another", MPOL_BIND, D3,
	  S0 | D2 | D3, S0 | D1 | D3, D3, D3, D3 },
	{ "bind to two devices", MPOL_BIND, D1 | D2,
	  S0 | D1 | D2, S0 | D2 | D3, D1, D2, D1 },
	{ "interleave over system nodes", MPOL_INTERLEAVE, S0 | S1,
	  S0 | S1, S0 | D1, S0 | S1, S0, S0 },
	{ "interleave over devices", MPOL_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S0 | D1, D1 | D2, D1, D1 | D2 },
	{ "interleave over devices, one of them exchanged", MPOL_INTERLEAVE,
	  D1 | D2, S0 | D1 | D2, S0 | D2 | D3, D1 | D2, D2, D1 | D2 },
	{ "interleave over three devices", MPOL_INTERLEAVE, D1 | D2 | D3,
	  S0 | D1 | D2 | D3, S0 | D1 | D3, D1 | D2 | D3, D1 | D3,
	  D1 | D2 | D3 },
	{ "weighted interleave", MPOL_WEIGHTED_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S1 | D2, D1 | D2, D2, D1 | D2 },
	{ "weighted interleave, one of them exchanged",
	  MPOL_WEIGHTED_INTERLEAVE, D2 | D3,
	  S0 | D2 | D3, S0 | D1 | D3, D2 | D3, D3, D2 | D3 },
	/* in a mixed mask as well, whose devices are passed over. */
	{ "bind to a mixed mask", MPOL_BIND, S0 | D1,
	  S0 | D1, S1 | D2, S0, S1, S0 },
	{ "interleave over a mixed mask", MPOL_INTERLEAVE, S0 | D1,
	  S0 | D1, S1 | D2, S0, S1, S0 },
	{ "bind to a mixed mask, whose system node goes", MPOL_BIND, S1 | D1,
	  S0 | S1 | D1, S0 | D1, S1, S0, S0 },
	/* No device is left: system memory until it returns. */
	{ "bind to a device that goes", MPOL_BIND, D1,
	  S0 | D1, S0, D1, S0, D1 },
	{ "interleave over devices that go", MPOL_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S0 | S1, D1 | D2, S0 | S1, D1 | D2 },
	{ "weighted interleave over devices that go",
	  MPOL_WEIGHTED_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S0 | S1 | D3, D1 | D2, S0 | S1, D1 | D2 },
	/* A literal mask names what it names, when it can. */
	{ "static bind", MPOL_BIND | MPOL_F_STATIC_NODES, D1,
	  S0 | D1, S0 | D2, D1, S0, D1 },
	{ "static interleave", MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | D1,
	  S0 | D1, S0 | D2, S0 | D1, S0, S0 | D1 },
	{ "static interleave, with a device that comes later",
	  MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, S0 | D1,
	  S0, S0 | D1, S0, S0 | D1, S0 },
	{ "static weighted interleave",
	  MPOL_WEIGHTED_INTERLEAVE | MPOL_F_STATIC_NODES, D1 | D2,
	  S0 | D1 | D2, S0 | D2, D1 | D2, D2, D1 | D2 },
	/* Preferring policies aren't remapped by anybody. */
	{ "prefer a device", MPOL_PREFERRED, D1,
	  S0 | D1, S0 | D2, D1, S0, D1 },
	{ "prefer a device and the one before it goes", MPOL_PREFERRED, D2,
	  S0 | D1 | D2, S0 | D2 | D3, D2, D2, D2 },
	{ "prefer devices", MPOL_PREFERRED_MANY, D1 | D2,
	  S0 | D1 | D2, S0, D1, S0, D1 },
	{ "prefer devices, one of them exchanged", MPOL_PREFERRED_MANY, D1 | D2,
	  S0 | D1 | D2, S0 | D2 | D3, D1, D2, D1 },
	{ "static prefer a device", MPOL_PREFERRED | MPOL_F_STATIC_NODES, D1,
	  S0 | D1, S0 | D2, D1, S0, D1 },
	{ "local", MPOL_LOCAL, 0,
	  S0, S0 | D1, S0, S0, S0 },
};

static void rebind(struct __test_metadata *_metadata, const char *dir,
		   const int *id, const struct rebinding *r, bool task,
		   bool migrates)
{
	char *p = map_anon(3 * SIZE);
	int i, seen[3];

	ASSERT_EQ(0, put_mems(dir, id, r->before));
	if (task)
		i = set_policy(r->mode, mask(id, r->nodes));
	else
		i = mbind_nodes(p, 3 * SIZE, r->mode, mask(id, r->nodes), 0);
	ASSERT_EQ(0, i);
	seen[0] = new_pages(id, p);
	ASSERT_EQ(0, put_mems(dir, id, r->after));
	seen[1] = new_pages(id, p + SIZE);
	if (migrates) {
		/* What was outside leaves, but never for a device. */
		for (i = 0; i < PATIENCE_TICKS; i++) {
			if (!(nodes_of(id, p, SIZE, NULL) & ~r->after))
				break;
			usleep(TICK);
		}
		EXPECT_EQ(0, nodes_of(id, p, SIZE, NULL) & ~r->after);
		EXPECT_EQ(0, nodes_of(id, p, SIZE, NULL) & ~r->at_first &
			     DEVICES);
	} else {
		EXPECT_EQ(seen[0], nodes_of(id, p, SIZE, NULL));
	}
	ASSERT_EQ(0, put_mems(dir, id, r->before));
	seen[2] = new_pages(id, p + 2 * SIZE);
	set_policy(MPOL_DEFAULT, 0);
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_TRUE(intact(p + SIZE, SIZE, 1));
	munmap(p, 3 * SIZE);

	if (seen[0] != r->at_first || seen[1] != r->then ||
	    seen[2] != r->again)
		TH_LOG("%s, of a %s", r->name, task ? "task" : "mapping");
	EXPECT_EQ(r->at_first, seen[0]);
	EXPECT_EQ(r->then, seen[1]);
	EXPECT_EQ(r->again, seen[2]);
}

TEST_F(cpuset, rebind_task)
{
	unsigned int i;

	if (variant->v1)
		ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_migrate", "0"));
	for (i = 0; i < ARRAY_SIZE(rebindings); i++)
		rebind(_metadata, self->place.dir, self->place.id, &rebindings[i], true,
		       !variant->v1);
}

TEST_F(cpuset, rebind_mapping)
{
	unsigned int i;

	if (variant->v1)
		ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_migrate", "1"));
	for (i = 0; i < ARRAY_SIZE(rebindings); i++)
		rebind(_metadata, self->place.dir, self->place.id, &rebindings[i], false,
		       true);
}

/* The bits of a relative mask count the system nodes of the cpuset. */
TEST_F(cpuset, relative)
{
	const int mode = MPOL_BIND | MPOL_F_RELATIVE_NODES;
	char *p = map_anon(6 * SIZE);
	int i;

	for (i = 0; i < 3; i++) {
		const int expected[] = { S0, S1, S0 };
		char *q = p + 2 * i * SIZE;

		ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | S1 | D1 | D2));
		ASSERT_EQ(0, mbind_nodes(q, 2 * SIZE, mode, 1UL << i, 0));
		EXPECT_EQ(expected[i], new_pages(self->place.id, q));
		ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S1 | D1));
		EXPECT_EQ(S1, new_pages(self->place.id, q + SIZE));
	}
	munmap(p, 6 * SIZE);
}

/* What is left of the devices of a policy has the pages by turns. */
TEST_F(cpuset, the_rest_have_equal_shares)
{
	const int modes[] = { MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE };
	const int *id = self->place.id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		char *p = map_anon(SIZE);
		long count[NR];

		ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | DEVICES));
		ASSERT_EQ(0, mbind_nodes(p, SIZE, modes[i], mask(id, DEVICES),
					 0));
		ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D2 | D3));
		fill_pages(p, SIZE, 1);
		nodes_of(id, p, SIZE, count);
		EXPECT_EQ(PAGES / 2, count[3]);
		EXPECT_EQ(PAGES / 2, count[4]);
		munmap(p, SIZE);
	}
}

/* What was named is what is reported, there or not. */
TEST_F(cpuset, reported)
{
	const int *id = self->place.id;
	char *p = map_anon(SIZE);
	unsigned long got;

	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D1 | D2));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask(id, D1 | D2), 0));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D2 | D3));
	EXPECT_EQ(MPOL_BIND, policy_at(p, &got));
	EXPECT_EQ(mask(id, D1 | D2), got);
	munmap(p, SIZE);
}

/* A forked child has the policy of its parent, with the same devices. */
TEST_F(cpuset, inherited)
{
	const int *id = self->place.id;
	char *p = map_anon(2 * SIZE);
	int status;
	pid_t pid;

	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D1 | D2));
	ASSERT_EQ(0, set_policy(MPOL_BIND, mask(id, D2)));
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, mask(id, D1), 0));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D2 | D3));
	pid = fork();
	if (!pid) {
		if (new_pages(id, p) != S0 || new_pages(id, p + SIZE) != D2)
			_exit(1);
		madvise(p, 2 * SIZE, MADV_DONTNEED);
		if (put_mems(self->place.dir, id, S0 | D1 | D3))
			_exit(2);
		_exit(new_pages(id, p) != D1 ||
		      new_pages(id, p + SIZE) != S0 ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	set_policy(MPOL_DEFAULT, 0);
	munmap(p, 2 * SIZE);
}

/*
 * A mask that isn't literal and names a system node doesn't ask for devices,
 * not even when the cpuset has none of the system nodes that it names.
 */
TEST_F(cpuset, mixed_mask_with_a_device_left)
{
	const int modes[] = { MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY,
			      MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE };
	const unsigned long mixed = mask(self->place.id, S1 | D1);
	const int *id = self->place.id;
	unsigned int i;

	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D1));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		char *p = map_anon(SIZE);

		EXPECT_EQ(-1, mbind_nodes(p, SIZE, modes[i], mixed, 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, set_policy(modes[i], mixed));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(S0, new_pages(id, p));
		munmap(p, SIZE);
		/* Control: a literal one does. */
		p = map_anon(SIZE);
		EXPECT_EQ(0, mbind_nodes(p, SIZE,
					 modes[i] | MPOL_F_STATIC_NODES, mixed,
					 0));
		EXPECT_EQ(D1, new_pages(id, p));
		munmap(p, SIZE);
	}
}

/* -- What else a cpuset does ------------------------------------------------- */

TEST_F(cpuset, devices_alone_are_refused)
{
	EXPECT_EQ(-EINVAL, put_mems(self->place.dir, self->place.id, D1));
	EXPECT_EQ(-EINVAL, put_mems(self->place.dir, self->place.id, D1 | D2));
	EXPECT_EQ(0, put_mems(self->place.dir, self->place.id, S1 | D1 | D2));
	EXPECT_EQ(0, put_mems(self->place.dir, self->place.id, S0));
}

/* Without it in the cpuset, a device can't be named, by no call. */
TEST_F(cpuset, not_in_it)
{
	unsigned long from = mask(self->place.id, S0), to = mask(self->place.id, D1);
	char *p = map_anon(SIZE);
	int status = 0;

	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | D2));
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(-1, mbind_nodes(p, SIZE, MPOL_BIND, to, 0));
	EXPECT_EQ(-1, set_policy(MPOL_BIND, to));
	EXPECT_NE(0, move(p, SIZE, self->place.id[2], &status));
	EXPECT_EQ(-1, syscall(SYS_migrate_pages, getpid(), MAX_NODES + 1,
			      &from, &to));
	EXPECT_EQ(S0, nodes_of(self->place.id, p, SIZE, NULL));
	/* The other one can. */
	EXPECT_EQ(0, move(p, SIZE, self->place.id[3], NULL));
	EXPECT_EQ(D2, nodes_of(self->place.id, p, SIZE, NULL));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
}

/*
 * The policy of shared memory stays what others made it. To a task without the
 * device in its cpuset it is as if it named the system nodes that there are.
 */
TEST_F(cpuset, shared_memory_of_others)
{
	const int *id = self->place.id;
	char *p = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D1));
	ASSERT_EQ(0, mbind_nodes(p, 2 * SIZE, MPOL_BIND, mask(id, D1), 0));
	EXPECT_EQ(D1, new_pages(id, p));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | D2));
	EXPECT_EQ(S0, new_pages(id, p + SIZE));
	munmap(p, 2 * SIZE);
}

/* A child of v2 that would keep nothing but a device has its parent's nodes. */
TEST_F(v2, child_left_with_a_device)
{
	char child[96], effective[32] = "", expected[32], path[128];
	char *p = map_anon(3 * SIZE);
	int i, fd;

	snprintf(child, sizeof(child), "%s/child", self->place.dir);
	ASSERT_EQ(0, put_number(self->place.root, "cgroup.procs", getpid()));
	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | S1 | D1));
	ASSERT_EQ(0, put(self->place.dir, "cgroup.subtree_control", "+cpuset"));
	mkdir(child, 0755);
	ASSERT_EQ(0, put_mems(child, self->place.id, S1 | D1));
	ASSERT_EQ(0, put_number(child, "cgroup.procs", getpid()));
	EXPECT_EQ(S1, new_pages(self->place.id, p));
	ASSERT_EQ(0, mbind_nodes(p + SIZE, SIZE, MPOL_BIND,
				 mask(self->place.id, D1), 0));
	EXPECT_EQ(D1, new_pages(self->place.id, p + SIZE));

	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | D1));
	snprintf(path, sizeof(path), "%s/cpuset.mems.effective", child);
	fd = open(path, O_RDONLY);
	ASSERT_GT(read(fd, effective, sizeof(effective) - 1), 0);
	close(fd);
	strtok(effective, "\n");
	EXPECT_STREQ(list(self->place.id, S0 | D1, expected), effective);
	EXPECT_EQ(S0, new_pages(self->place.id, p + 2 * SIZE));
	for (i = 0; i < PATIENCE_TICKS && nodes_of(self->place.id, p, SIZE, NULL) != S0; i++)
		usleep(TICK);
	EXPECT_EQ(S0, nodes_of(self->place.id, p, SIZE, NULL));
	/* The device is still there; what was bound to it may stay. */
	EXPECT_EQ(D1, nodes_of(self->place.id, p + SIZE, SIZE, NULL));
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_TRUE(intact(p + SIZE, SIZE, 1));
	munmap(p, 3 * SIZE);

	ASSERT_EQ(0, put_number(self->place.root, "cgroup.procs", getpid()));
	EXPECT_EQ(0, rmdir(child));
}

/* kB of a line of a node's meminfo */
static long node_kb(int nid, const char *name)
{
	char command[160];
	long kb = -1;
	FILE *f;

	snprintf(command, sizeof(command),
		 "sed -n 's/^Node %d %s: *//p' /sys/devices/system/node/node%d/meminfo",
		 nid, name, nid);
	f = popen(command, "r");
	if (f && fscanf(f, "%ld", &kb) != 1)
		kb = -1;
	if (f)
		pclose(f);

	return kb;
}

/* The page cache is spread over the nodes of a cpuset, less the devices. */
TEST_F(v1, spread_page_cache)
{
	long before[2], given = vm_event("pgalloc_coherent");
	int i;

	ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_spread_page", "1"));
	ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_spread_slab", "1"));
	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | S1 | D1 | D2));
	write_text("/proc/sys/vm/drop_caches", "3");
	for (i = 0; i < 2; i++)
		before[i] = node_kb(self->place.id[i], "FilePages");
	ASSERT_EQ(0, system("cat /usr/bin/* 2>/dev/null | head -c 32M >/dev/null"));
	/* Control: it does spread. */
	for (i = 0; i < 2; i++)
		EXPECT_GT(node_kb(self->place.id[i], "FilePages"), before[i] + 2048);
	for (i = 2; i < 4; i++) {
		EXPECT_EQ(0, node_kb(self->place.id[i], "FilePages"));
		EXPECT_EQ(0, node_kb(self->place.id[i], "Slab"));
	}
	EXPECT_EQ(given, vm_event("pgalloc_coherent"));
}

/*
 * What a cpuset moves for its tasks: a system node that stays in it has its
 * pages still, whatever comes and goes beside it.
 */
TEST_F(cpuset, kept_nodes_keep_their_pages)
{
	const int *id = self->place.id;
	char *p = map_anon(2 * SIZE);
	int i;

	if (variant->v1)
		ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_migrate", "1"));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S1 | D1));
	EXPECT_EQ(S1, new_pages(id, p));
	ASSERT_EQ(0, mbind_nodes(p + SIZE, SIZE, MPOL_BIND, mask(id, D1), 0));
	EXPECT_EQ(D1, new_pages(id, p + SIZE));
	ASSERT_EQ(0, put_mems(self->place.dir, id, S0 | S1));
	for (i = 0; i < 50; i++) {
		if (!(nodes_of(id, p + SIZE, SIZE, NULL) & ~SYSTEM))
			break;
		usleep(100000);
	}
	EXPECT_EQ(0, nodes_of(id, p + SIZE, SIZE, NULL) & ~SYSTEM);
	EXPECT_EQ(S1, nodes_of(id, p, SIZE, NULL));
	EXPECT_TRUE(intact(p, SIZE, 1));
	EXPECT_TRUE(intact(p + SIZE, SIZE, 1));
	munmap(p, 2 * SIZE);
}

/* The first line of a file of the cpuset */
static void get(const char *dir, const char *file, char *text, size_t size)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "r");
	if (!f || !fgets(text, size, f))
		text[0] = '\0';
	if (f)
		fclose(f);
	text[strcspn(text, "\n")] = '\0';
}

/*
 * The last system node of a cpuset of v1 goes offline: its tasks move to the
 * cpuset above it, as when none of its nodes is left.
 */
TEST_F_TIMEOUT(v1, left_with_a_device, PATIENCE)
{
	const int *id = self->place.id;
	char text[64], path[64];
	struct taker t;
	int spare;

	get("/sys/devices/system/node", "possible", text, sizeof(text));
	spare = strrchr(text, '-') ? atoi(strrchr(text, '-') + 1) : 0;
	/* Or the kernel has memory of its own there, and it doesn't go. */
	write_text("/sys/devices/system/memory/auto_online_blocks",
		   "online_movable");
	signal(SIGPIPE, SIG_IGN);
	if (spare <= id[4] || testmod_load() ||
	    testmod("plug %d %#lx %#lx", spare, SPARE_START, SPARE_SIZE))
		SKIP(return, "no node to plug system memory into");
	/*
	 * Only the other task is in the cpuset, and does nothing there: movable
	 * memory isn't enough for its pipes, nor to set memory offline.
	 */
	EXPECT_EQ(0, put_number(self->place.root, "cgroup.procs", getpid()));
	start_taker(&t, id, MPOL_LOCAL, 0);
	EXPECT_EQ(S0, take(&t));
	snprintf(text, sizeof(text), "%d,%d", spare, id[2]);
	EXPECT_EQ(0, put(self->place.dir, "cpuset.mems", text));
	EXPECT_EQ(0, put_number(self->place.dir, "cgroup.procs", t.pid));
	snprintf(path, sizeof(path), "/proc/%d", t.pid);
	get(path, "cpuset", text, sizeof(text));
	EXPECT_STREQ("/devmem", text);
	EXPECT_TRUE(set_blocks(spare, "offline"));
	usleep(500000);
	get(path, "cpuset", text, sizeof(text));
	EXPECT_STREQ("/", text);
	EXPECT_EQ(S0, take(&t));
	end_taker(&t);
	get(self->place.dir, "cpuset.mems", text, sizeof(text));
	EXPECT_STREQ("", text);
	EXPECT_EQ(0, testmod("unplug %#lx %#lx", SPARE_START, SPARE_SIZE));
}

/* memory_migrate of v1, from a device to the system and not back */
TEST_F(v1, memory_migrate)
{
	char *p = map_anon(2 * SIZE);
	int i;

	ASSERT_EQ(0, put(self->place.dir, "cpuset.memory_migrate", "1"));
	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S0 | S1 | D1));
	fill_pages(p, 2 * SIZE, 1);
	ASSERT_EQ(0, move(p, SIZE, self->place.id[2], NULL));
	ASSERT_EQ(D1, nodes_of(self->place.id, p, SIZE, NULL));

	/* Another device takes its place; nobody named that. */
	ASSERT_EQ(0, put_mems(self->place.dir, self->place.id, S1 | D2));
	for (i = 0; i < PATIENCE_TICKS && nodes_of(self->place.id, p, 2 * SIZE, NULL) != S1; i++)
		usleep(TICK);
	EXPECT_EQ(S1, nodes_of(self->place.id, p, 2 * SIZE, NULL));
	EXPECT_TRUE(intact(p, 2 * SIZE, 1));
	munmap(p, 2 * SIZE);
}

TEST_HARNESS_MAIN
