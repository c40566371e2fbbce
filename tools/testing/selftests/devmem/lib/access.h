/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What access.c and access_races.c share: the switch of the restricted mode,
 * what a task and a cpuset have by our nodes, tasks that do as they are told,
 * and every way in which one can name a device.
 */
#ifndef DEVMEM_ACCESS_H
#define DEVMEM_ACCESS_H

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "cpusets.h"

#define ALL		(SYSTEM | DEVICES)
#define NOBODY		65534
#define RESTRICTED	"/sys/devices/system/node/device_coherent_restricted"

static inline int restrict_to(int on)
{
	return write_text(RESTRICTED, on ? "1" : "0");
}

/* A line of text; empty when the file can't be read */
static inline void get_line(const char *path, const char *name, char *text,
			    int size)
{
	const int length = strlen(name);
	char line[256];
	FILE *f = fopen(path, "r");

	text[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, length))
			continue;
		snprintf(text, size, "%.*s",
			 (int)strcspn(line + length, "\n"), line + length);
		break;
	}
	if (f)
		fclose(f);
}

/* "0-2,4" as a set of our nodes; -1 if there is nothing or another node in it */
static inline int set_of(const int *id, const char *text)
{
	int i, set = 0;

	if (!*text)
		return -1;
	while (*text) {
		char *end;
		int node = strtol(text, &end, 10), last = node;

		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; node <= last; node++) {
			for (i = 0; i < NR && id[i] != node; i++)
				;
			if (i == NR)
				return -1;
			set |= 1 << i;
		}
		text = end + (*end == ',');
		if (text == end && *end)
			return -1;
	}

	return set;
}

/* Mems_allowed of a task; 0: it isn't there */
static inline int task_mems(const int *id, pid_t pid)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	get_line(path, "Mems_allowed_list:\t", text, sizeof(text));

	return *text ? set_of(id, text) : 0;
}

/* cpuset.mems.effective */
static inline int dir_mems(const struct place *place, const char *dir)
{
	const bool v1 = !strcmp(place->root, V1_ROOT);
	char path[160], text[128];

	snprintf(path, sizeof(path), "%s/cpuset.%s", dir,
		 v1 ? "effective_mems" : "mems.effective");
	get_line(path, "", text, sizeof(text));

	return set_of(place->id, text);
}

/* -- Every way to name a device ------------------------------------------- */

enum way {
	BIND, PREFERRED, INTERLEAVE, SHARED, LITERAL, LITERAL_SHARED, MIXED,
	TASK_POLICY, HOME_NODE, MOVE_PAGES, MIGRATE_PAGES, TMPFS, HEAP,
	MEMS_ALLOWED,
	NR_WAYS
};

static const char * const way_names[NR_WAYS] = {
	"bind", "preferred", "interleave", "bind of shared memory",
	"literal mask", "literal mask of shared memory", "mixed mask",
	"policy of the task", "home node", "move_pages", "migrate_pages",
	"tmpfs", "heap", "mems allowed",
};

/* What comes of it: the set of nodes with pages, or an error, negative */
struct answers {
	int way[NR_WAYS];
};

#define AREA	(16 * PAGE)

static inline int fill(const int *id, char *p)
{
	fill_pages(p, AREA, 1);

	return nodes_of(id, p, AREA, NULL);
}

static inline int try_mbind(const int *id, int mode, int nodes, int flags)
{
	char *p = map_pages(AREA, flags | MAP_ANONYMOUS, -1);
	int rc = 0;

	if (mbind_nodes(p, AREA, mode, mask(id, nodes), 0))
		rc = -errno;
	if (!rc)
		rc = fill(id, p);
	munmap(p, AREA);

	return rc;
}

static inline int try_task_policy(const int *id)
{
	int rc = 0;
	char *p;

	if (set_policy(MPOL_BIND, mask(id, D1)))
		return -errno;
	p = map_anon(AREA);
	rc = fill(id, p);
	munmap(p, AREA);
	set_policy(MPOL_DEFAULT, 0);

	return rc;
}

static inline int try_home_node(const int *id)
{
	char *p = map_anon(AREA);
	int rc = 0;

	if (mbind_nodes(p, AREA, MPOL_PREFERRED_MANY, mask(id, S0), 0) ||
	    syscall(SYS_set_mempolicy_home_node, p, AREA, id[2], 0))
		rc = -errno;
	if (!rc)
		rc = fill(id, p);
	munmap(p, AREA);

	return rc;
}

static inline int try_move(const int *id)
{
	char *p = map_anon(AREA);
	int rc, status = 0;

	fill_pages(p, AREA, 1);
	rc = move(p, AREA, id[2], &status);
	if (rc >= 0)
		rc = status < 0 ? status : nodes_of(id, p, AREA, NULL);
	munmap(p, AREA);

	return rc;
}

static inline int try_migrate(const int *id)
{
	char *p = map_anon(AREA);
	int rc;

	mbind_nodes(p, AREA, MPOL_PREFERRED, mask(id, S1), 0);
	fill_pages(p, AREA, 1);
	rc = migrate(getpid(), mask(id, S1), mask(id, D1));
	if (rc >= 0)
		rc = nodes_of(id, p, AREA, NULL);
	munmap(p, AREA);

	return rc;
}

static inline int try_tmpfs(const int *id)
{
	char dir[64], file[80], option[32];
	int fd, rc = 0;
	char *p;

	snprintf(dir, sizeof(dir), "/tmp/devmem-access-%d", getpid());
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(option, sizeof(option), "mpol=bind:%d", id[2]);
	mkdir(dir, 0700);
	if (mount("none", dir, "tmpfs", 0, option))
		rc = -errno;
	fd = open(file, O_RDWR | O_CREAT, 0600);
	if (!rc && !ftruncate(fd, AREA)) {
		p = map_pages(AREA, MAP_SHARED, fd);
		rc = fill(id, p);
		munmap(p, AREA);
	}
	close(fd);
	umount(dir);
	rmdir(dir);

	return rc;
}

/* The first part of the series has none: ENOENT, whoever asks. */
static inline int try_heap(const int *id)
{
	struct dma_heap_allocation_data alloc = {
		.len = AREA,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	char name[64];
	int fd, rc;

	snprintf(name, sizeof(name), "/dev/dma_heap/devmem-node%d", id[2]);
	fd = open(name, O_RDWR);
	if (fd < 0)
		return -errno;
	rc = ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &alloc) ? -errno : 0;
	if (!rc)
		close(alloc.fd);
	close(fd);

	return rc;
}

static inline int get_mems_allowed(const int *id)
{
	unsigned long bits = 0;
	int i, set = 0;

	if (syscall(SYS_get_mempolicy, NULL, &bits, MAX_NODES + 1, NULL,
		    MPOL_F_MEMS_ALLOWED))
		return -errno;
	for (i = 0; i < NR; i++)
		if (bits & 1UL << id[i])
			set |= 1 << i;

	return set;
}

static inline struct answers try_all(const int *id)
{
	const int literal = MPOL_BIND | MPOL_F_STATIC_NODES;

	return (struct answers){ .way = {
		[BIND] = try_mbind(id, MPOL_BIND, D1, MAP_PRIVATE),
		[PREFERRED] = try_mbind(id, MPOL_PREFERRED, D1, MAP_PRIVATE),
		[INTERLEAVE] = try_mbind(id, MPOL_INTERLEAVE, D1 | D2,
					 MAP_PRIVATE),
		[SHARED] = try_mbind(id, MPOL_BIND, D1, MAP_SHARED),
		[LITERAL] = try_mbind(id, literal, S0 | D1, MAP_PRIVATE),
		[LITERAL_SHARED] = try_mbind(id, MPOL_INTERLEAVE |
					     MPOL_F_STATIC_NODES, S0 | D1,
					     MAP_SHARED),
		[MIXED] = try_mbind(id, MPOL_BIND, S0 | D1, MAP_PRIVATE),
		[TASK_POLICY] = try_task_policy(id),
		[HOME_NODE] = try_home_node(id),
		[MOVE_PAGES] = try_move(id),
		[MIGRATE_PAGES] = try_migrate(id),
		[TMPFS] = try_tmpfs(id),
		[HEAP] = try_heap(id),
		[MEMS_ALLOWED] = get_mems_allowed(id),
	} };
}

/* -- Tasks that do as they are told ------------------------------------------ */

enum order {
	TRY,		/* every way; says what came of it */
	TRY_CHILD,	/* the same in a child that is forked for it */
	TAKE,		/* pages, half of them on a device, kept from now on */
	WHERE,		/* are they, as one set */
	PUT_BACK,	/* to system memory, by move_pages() */
	NR_ORDERS
};

struct actor {
	pid_t pid;
	int tell, hear;
};

static inline struct answers obey(const int *id, enum order order, char *p)
{
	struct answers all = {};
	int up[2];

	switch (order) {
	case TRY_CHILD:
		if (pipe(up))
			break;
		if (!fork()) {
			all = try_all(id);
			_exit(write(up[1], &all, sizeof(all)) != sizeof(all));
		}
		if (read(up[0], &all, sizeof(all)) != sizeof(all))
			all.way[0] = -EPIPE;
		close(up[0]);
		close(up[1]);
		wait(NULL);
		break;
	case TAKE:
		if (mbind_nodes(p, AREA, MPOL_BIND, mask(id, D1), 0))
			all.way[0] = -errno;
		fill_pages(p, 2 * AREA, 1);
		break;
	case WHERE:
		all.way[0] = nodes_of(id, p, 2 * AREA, NULL);
		if (!intact(p, 2 * AREA, 1))
			all.way[0] = -EIO;
		break;
	case PUT_BACK:
		all.way[0] = move(p, AREA, id[0], NULL);
		break;
	default:
		all = try_all(id);
	}

	return all;
}

static inline void start_actor(struct actor *a, const int *id)
{
	int down[2] = { -1, -1 }, up[2] = { -1, -1 };

	if (pipe(down) || pipe(up))
		ksft_exit_fail_msg("no pipe\n");
	a->pid = fork();
	if (!a->pid) {
		char order, *p = map_anon(2 * AREA);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		while (read(down[0], &order, 1) == 1) {
			struct answers all = obey(id, order, p);

			if (write(up[1], &all, sizeof(all)) != sizeof(all))
				break;
		}
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	a->tell = down[1];
	a->hear = up[0];
}

static inline struct answers tell(const struct actor *a, enum order order)
{
	struct answers all = {};
	char c = order;

	if (write(a->tell, &c, 1) != 1 ||
	    read(a->hear, &all, sizeof(all)) != sizeof(all))
		all.way[0] = -EPIPE;

	return all;
}

static inline void end_actor(const struct actor *a)
{
	close(a->tell);
	close(a->hear);
	kill(a->pid, SIGKILL);
	waitpid(a->pid, NULL, 0);
}

/* -- Cpusets --------------------------------------------------------------- */

/*
 * A cpuset below @dir, or below the root: nobody has written its cpuset.mems.
 * That of v1 has a copy of what is above it, or no task could be in it.
 */
static inline const char *new_group(const struct place *place, const char *dir,
				    const char *name, char *path)
{
	if (!dir)
		dir = place->root;
	if (!strcmp(place->root, V1_ROOT))
		put(dir, "cgroup.clone_children", "1");
	else
		put(dir, "cgroup.subtree_control", "+cpuset");
	snprintf(path, 96, "%.80s/%.12s", dir, name);
	mkdir(path, 0755);

	return path;
}

static inline int join(const char *dir, pid_t pid)
{
	return put_number(dir, "cgroup.procs", pid);
}

/* As somebody who may write there and is nobody. Return: 0 or -errno */
static inline int put_as_nobody(const char *dir, const char *file,
				const char *text)
{
	int rc, status;
	pid_t pid = fork();

	if (!pid) {
		if (setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(255);
		_exit(-put(dir, file, text));
	}
	waitpid(pid, &status, 0);
	rc = WIFEXITED(status) ? WEXITSTATUS(status) : 255;

	return -rc;
}

/* To nobody, as systemd and container managers do it, and more than they do */
static inline int delegate(const char *dir)
{
	static const char * const files[] = {
		"", "/cgroup.procs", "/cgroup.subtree_control", "/cpuset.mems",
	};
	char path[160];
	unsigned int i;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, files[i]);
		if (chown(path, NOBODY, NOBODY) && errno != ENOENT)
			return -errno;
	}

	return 0;
}

/* Into a machine without the mode, with one cpuset that has no device */
static inline const char *enter_open(struct place *place, bool v1)
{
	const char *missing;

	if (access(RESTRICTED, F_OK))
		return "the kernel has no cpusets, or no restricted mode";
	if (getuid())
		return "needs root";
	restrict_to(0);
	missing = enter(place, v1);
	join(place->root, getpid());

	return missing;
}

#endif /* DEVMEM_ACCESS_H */
