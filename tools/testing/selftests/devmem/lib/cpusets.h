/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What cpusets_rebind.c and cpusets_hotplug.c share: cpusets of cgroup v2 and
 * v1, sets of nodes as numbers, tasks that go on and take pages.
 */
#ifndef DEVMEM_CPUSETS_H
#define DEVMEM_CPUSETS_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#define SIZE	MIB

/* The nodes of a machine, whatever their ids */
#define S0	1
#define S1	2
#define D1	4
#define D2	8
#define D3	16
#define NR	5
#define SYSTEM	(S0 | S1)
#define DEVICES	(D1 | D2 | D3)

struct place {
	int id[NR];		/* of S0, S1, D1, D2, D3 */
	const char *root;	/* of the hierarchy */
	char dir[64];		/* the cpuset */
};

#define V1_ROOT	"/tmp/devmem-cpuset"

/* What the kernel does in its own time is waited for, for 30 seconds */
#define TICK		100000
#define PATIENCE_TICKS	300

static inline int put(const char *dir, const char *file, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", dir, file);

	return write_text(path, text);
}

static inline int put_number(const char *dir, const char *file, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);

	return put(dir, file, text);
}

/* "0,2" of a set of our nodes */
static inline const char *list(const int *id, int set, char *text)
{
	int i, n = 0;

	text[0] = '\0';
	for (i = 0; i < NR; i++)
		if (set & 1 << i)
			n += sprintf(text + n, "%s%d", n ? "," : "", id[i]);

	return text;
}

static inline unsigned long mask(const int *id, int set)
{
	unsigned long bits = 0;
	int i;

	for (i = 0; i < NR; i++)
		if (set & 1 << i)
			bits |= 1UL << id[i];

	return bits;
}

static inline int put_mems(const char *dir, const int *id, int set)
{
	char text[32];

	return put(dir, "cpuset.mems", list(id, set, text));
}

/* Pages of a range by our nodes: the set of those that have any */
static inline int nodes_of(const int *id, char *p, size_t size, long *count)
{
	long all[MAX_NODES + 1];
	int i, set = 0;

	where(p, size, all);
	for (i = 0; i < NR; i++) {
		if (count)
			count[i] = all[id[i]];
		if (all[id[i]])
			set |= 1 << i;
	}

	return set;
}

static inline bool make_cpuset(const char *dir, const int *id, bool v1)
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

/* Return: NULL, or what is missing */
static inline const char *find(int *id)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (device_nodes(dev) < 3 || system_nodes(sys) < 2 || getuid())
		return "needs root, two system nodes and three device nodes";
	id[0] = sys[0];
	id[1] = sys[1];
	id[2] = dev[0];
	id[3] = dev[1];
	id[4] = dev[2];

	return NULL;
}

/* Into a cpuset. Return: NULL, or what is missing */
static inline const char *enter(struct place *place, bool v1)
{
	const char *missing = find(place->id);
	int i, rc;

	if (missing)
		return missing;
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
static inline long groups(void)
{
	return scan_number("/proc/cgroups", "cpuset %*d %ld");
}

/* Return: 0 if nothing is left of it */
static inline int leave(struct place *place)
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

/* Half of a mapping, by the policy of the task or by one of its own */
static inline int new_pages(const int *id, char *p)
{
	fill_pages(p, SIZE, 1);

	return nodes_of(id, p, SIZE, NULL);
}

/* All blocks of a node. Return: whether it was done */
static inline bool set_blocks(int nid, const char *state)
{
	char command[256];
	int i;

	snprintf(command, sizeof(command),
		 "for b in /sys/devices/system/node/node%d/memory[0-9]*; do\n"
		 "[ $(cat $b/state) = %.*s ] || echo %s >$b/state || exit 1\n"
		 "done 2>/dev/null", nid, (int)strcspn(state, "_"), state,
		 state);
	for (i = 0; i < 50; i++) {
		if (!system(command))
			return true;
		usleep(20000);
	}

	return false;
}

/* The range of a node, from its memory blocks */
static inline bool node_range(int nid, unsigned long *start, unsigned long *size)
{
	unsigned long block = 0, first = -1UL, n = 0;
	char path[64], text[32] = "";
	struct dirent *de;
	FILE *f;
	DIR *dir;

	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	if (f && fgets(text, sizeof(text), f))
		block = strtoul(text, NULL, 16);
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", nid);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		unsigned long i;

		if (sscanf(de->d_name, "memory%lu", &i) != 1)
			continue;
		first = i < first ? i : first;
		n++;
	}
	if (dir)
		closedir(dir);
	*start = first * block;
	*size = n * block;

	return n;
}

/* Where the pages of a policy are while some devices aren't there */
static inline int expected(int mode, int nodes, int gone)
{
	const bool literal = mode & MPOL_F_STATIC_NODES;
	int left = nodes & ~gone & DEVICES, system = nodes & SYSTEM;
	bool interleaves;

	mode &= ~MPOL_F_STATIC_NODES;
	interleaves = mode == MPOL_INTERLEAVE ||
		      mode == MPOL_WEIGHTED_INTERLEAVE;
	if (system)
		left = literal ? left | system : system;
	if (!left)
		left = SYSTEM;

	return interleaves ? left : left & -left;
}

/* A task with a policy of its own, which is told when to take pages */
struct taker {
	pid_t pid;
	int tell, hear;
};

static inline void start_taker(struct taker *t, const int *id, int mode, int nodes)
{
	int down[2] = { -1, -1 }, up[2] = { -1, -1 };

	if (pipe(down) || pipe(up))
		ksft_exit_fail_msg("no pipe\n");
	t->pid = fork();
	if (!t->pid) {
		char set;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		if (set_policy(mode, mask(id, nodes)))
			_exit(1);
		while (read(down[0], &set, 1) == 1) {
			char *p = map_anon(SIZE);

			set = new_pages(id, p);
			munmap(p, SIZE);
			if (write(up[1], &set, 1) != 1)
				break;
		}
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	t->tell = down[1];
	t->hear = up[0];
}

/* Return: the nodes of the pages it took; -1: it is dead */
static inline int take(const struct taker *t)
{
	char set = 0;

	if (write(t->tell, &set, 1) != 1 || read(t->hear, &set, 1) != 1)
		return -1;

	return set;
}

static inline void end_taker(const struct taker *t)
{
	close(t->tell);
	close(t->hear);
	/* Others that were forked later have the pipe open. */
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
}

#endif /* DEVMEM_CPUSETS_H */
