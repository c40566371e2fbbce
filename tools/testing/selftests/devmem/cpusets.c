// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: a cpuset whose nodes change never puts
 * a policy, or pages, onto a device that they did not name. Policies of system
 * nodes go to system nodes, those of a device to the other device or to none;
 * what loses its device moves to system memory, with its content (invariant 5).
 * In cgroup v2 and v1, for the policy of a task and of a mapping.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3), where nodes are mapped by their place in
 * the mask.
 *
 * Wants two system nodes and two device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#define SIZE	MIB
#define PAGES	((long)(SIZE / PAGE))

/* The nodes of a machine, whatever their ids */
#define S0	1
#define S1	2
#define D1	4
#define D2	8

struct place {
	int id[4];		/* of S0, S1, D1, D2 */
	const char *root;	/* of the hierarchy */
	char dir[64];		/* the cpuset */
};

#define V1_ROOT	"/tmp/devmem-cpuset"

/* What the kernel does in its own time is waited for, for 30 seconds */
#define TICK		100000
#define PATIENCE_TICKS	300

static int put(const char *dir, const char *file, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", dir, file);

	return write_text(path, text);
}

static int put_number(const char *dir, const char *file, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);

	return put(dir, file, text);
}

/* "0,2" of a set of our nodes */
static const char *list(const int *id, int set, char *text)
{
	int i, n = 0;

	text[0] = '\0';
	for (i = 0; i < 4; i++)
		if (set & 1 << i)
			n += sprintf(text + n, "%s%d", n ? "," : "", id[i]);

	return text;
}

static unsigned long mask(const int *id, int set)
{
	unsigned long bits = 0;
	int i;

	for (i = 0; i < 4; i++)
		if (set & 1 << i)
			bits |= 1UL << id[i];

	return bits;
}

static int put_mems(const char *dir, const int *id, int set)
{
	char text[32];

	return put(dir, "cpuset.mems", list(id, set, text));
}

/* Pages of a range by our nodes: the set of those that have any */
static int nodes_of(const int *id, char *p, size_t size, long *count)
{
	long all[MAX_NODES + 1];
	int i, set = 0;

	where(p, size, all);
	for (i = 0; i < 4; i++) {
		if (count)
			count[i] = all[id[i]];
		if (all[id[i]])
			set |= 1 << i;
	}

	return set;
}

static bool make_cpuset(const char *dir, const int *id, bool v1)
{
	char cpus[64] = "";
	FILE *f;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return false;
	if (v1) {
		f = fopen(V1_ROOT "/cpuset.cpus", "r");
		if (!f || !fgets(cpus, sizeof(cpus), f))
			return false;
		fclose(f);
		if (put(dir, "cpuset.cpus", cpus))
			return false;
	}

	return !put_mems(dir, id, S0 | S1);
}

/* Into a cpuset. Return: NULL, or what is missing */
static const char *enter(struct place *place, bool v1)
{
	int dev[MAX_NODES], sys[MAX_NODES], i, rc;

	if (device_nodes(dev) < 2 || system_nodes(sys) < 2 || getuid())
		return "needs root, two system nodes and two device nodes";
	place->id[0] = sys[0];
	place->id[1] = sys[1];
	place->id[2] = dev[0];
	place->id[3] = dev[1];

	place->root = v1 ? V1_ROOT : "/sys/fs/cgroup";
	mkdir(V1_ROOT, 0755);
	/* It takes a moment until the other hierarchy lets the controller go. */
	for (i = 0; i < PATIENCE_TICKS; i++) {
		rc = put("/sys/fs/cgroup", "cgroup.subtree_control",
			 v1 ? "-cpuset" : "+cpuset");
		if (v1)
			rc = mount("none", V1_ROOT, "cgroup", 0, "cpuset");
		if (!rc)
			break;
		usleep(TICK);
	}
	snprintf(place->dir, sizeof(place->dir), "%s/devmem", place->root);
	if (!make_cpuset(place->dir, place->id, v1) ||
	    put_number(place->dir, "cgroup.procs", getpid()))
		return "no cpuset controller";

	return NULL;
}

/* Groups that the hierarchy of the cpuset controller has, its root included */
static int groups(void)
{
	FILE *f = fopen("/proc/cgroups", "r");
	char line[128];
	int n = -1;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "cpuset %*d %d", &n);
	if (f)
		fclose(f);

	return n;
}

/* Return: 0 if nothing is left of it */
static int leave(struct place *place)
{
	int i;

	set_policy(MPOL_DEFAULT, 0);
	put_number(place->root, "cgroup.procs", getpid());
	if (rmdir(place->dir))
		return -errno;

	if (strcmp(place->root, V1_ROOT))
		return 0;
	/*
	 * A hierarchy that is unmounted while a group of it is still being
	 * freed lives on, and keeps its controller.
	 */
	for (i = 0; i < PATIENCE_TICKS && groups() != 1; i++)
		usleep(TICK);

	return umount(V1_ROOT);
}

/* What both versions do */
FIXTURE(cpuset)
{
	struct place place;
};

FIXTURE_VARIANT(cpuset)
{
	bool v1;
};

FIXTURE_VARIANT_ADD(cpuset, v2) { false };
FIXTURE_VARIANT_ADD(cpuset, v1) { true };

FIXTURE_SETUP(cpuset)
{
	const char *missing = enter(&self->place, variant->v1);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(cpuset)
{
	EXPECT_EQ(0, leave(&self->place));
}

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
	/* What is remapped stays in its class, */
	{ "bind to the second system node", MPOL_BIND, S1,
	  S0 | S1, S0 | D1, S1, S0, S0 },
	{ "bind to the first system node", MPOL_BIND, S0,
	  S0 | S1, S1 | D1, S0, S1, S0 },
	{ "bind to a device", MPOL_BIND, D1,
	  S0 | D1, S0 | D2, D1, D2, D1 },
	{ "bind to a device and another is added", MPOL_BIND, D2,
	  S0 | D2, S0 | D1 | D2, D2, D1, D2 },
	{ "interleave over system nodes", MPOL_INTERLEAVE, S0 | S1,
	  S0 | S1, S0 | D1, S0 | S1, S0, S0 },
	{ "interleave over devices", MPOL_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S0 | D1, D1 | D2, D1, D1 },
	{ "weighted interleave", MPOL_WEIGHTED_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S1 | D2, D1 | D2, D2, D1 },
	/* in a mixed mask as well, whose devices are passed over. */
	{ "bind to a mixed mask", MPOL_BIND, S0 | D1,
	  S0 | D1, S1 | D2, S0, S1, S0 },
	{ "interleave over a mixed mask", MPOL_INTERLEAVE, S0 | D1,
	  S0 | D1, S1 | D2, S0, S1, S0 },
	/* No device is left: system memory, also when it returns. */
	{ "bind to a device that goes", MPOL_BIND, D1,
	  S0 | D1, S0, D1, S0, S0 },
	{ "interleave over devices that go", MPOL_INTERLEAVE, D1 | D2,
	  S0 | D1 | D2, S0 | S1, D1 | D2, S0 | S1, S0 },
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
	{ "prefer devices", MPOL_PREFERRED_MANY, D1 | D2,
	  S0 | D1 | D2, S0, D1, S0, D1 },
	{ "static prefer a device", MPOL_PREFERRED | MPOL_F_STATIC_NODES, D1,
	  S0 | D1, S0 | D2, D1, S0, D1 },
	{ "local", MPOL_LOCAL, 0,
	  S0, S0 | D1, S0, S0, S0 },
};

/* Half of a mapping, by the policy of the task or by one of its own */
static int new_pages(const int *id, char *p)
{
	fill_pages(p, SIZE, 1);

	return nodes_of(id, p, SIZE, NULL);
}

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
			     (D1 | D2));
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
