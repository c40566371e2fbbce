// SPDX-License-Identifier: GPL-2.0
/* Control groups (version 2): what is left of a limit, whose processes. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

#define ROOT	"/sys/fs/cgroup"
#define PATH	4096

static bool read_value(const char *group, const char *name, __u64 *value)
{
	char path[PATH + 64];
	FILE *f;
	bool got;

	snprintf(path, sizeof(path), ROOT "%s/%s", group, name);
	f = fopen(path, "re");
	/* "max" isn't a number. */
	got = f && fscanf(f, "%llu", value) == 1;
	if (f)
		fclose(f);
	return got;
}

static bool own_group(char *group, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	const char *path = NULL;
	char line[PATH];

	while (f && !path && fgets(line, sizeof(line), f))
		path = field_text(line, "0::");
	if (f)
		fclose(f);
	if (path)
		snprintf(group, size, "%.*s", (int)strcspn(path, "\n"), path);
	return path;
}

/*
 * The tightest limit that this process has: what is left of it. Return: bytes,
 * or NO_LIMIT; @name is the group's
 */
__u64 group_margin(char *name, size_t size)
{
	__u64 limit, current, left, margin = NO_LIMIT;
	char group[PATH];

	name[0] = '\0';
	if (!own_group(group, sizeof(group)))
		return margin;
	while (*group && strcmp(group, "/")) {
		if (read_value(group, "memory.max", &limit) &&
		    read_value(group, "memory.current", &current)) {
			left = limit > current ? limit - current : 0;
			if (left < margin) {
				margin = left;
				snprintf(name, size, "%s", group);
			}
		}
		*strrchr(group, '/') = '\0';
	}
	return margin;
}

static void add_pid(pid_t pid, pid_t **pids, int *nr)
{
	if (!(*nr & (*nr - 1)))
		*pids = must(realloc(*pids, (*nr ? 2 * *nr : 1) *
				     sizeof(**pids)));
	(*pids)[(*nr)++] = pid;
}

/* Return: 0 or -errno */
static int add_group(const char *group, pid_t **pids, int *nr)
{
	char path[PATH];
	struct dirent *entry;
	struct stat st;
	FILE *f;
	DIR *dir;
	int pid;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fscanf(f, "%d", &pid) == 1) {
		/* 0: of another PID namespace */
		if (pid > 0)
			add_pid(pid, pids, nr);
	}
	fclose(f);

	dir = opendir(group);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", group, entry->d_name);
		if (entry->d_name[0] != '.' && !lstat(path, &st) &&
		    S_ISDIR(st.st_mode))
			add_group(path, pids, nr);
	}
	if (dir)
		closedir(dir);
	return 0;
}

/*
 * Those of a group and of the groups below, added to @pids. The path is one of
 * the file system, or as /proc/PID/cgroup says. Return: 0 or -errno
 */
int group_processes(const char *path, pid_t **pids, int *nr)
{
	char group[PATH];

	snprintf(group, sizeof(group), "%s/cgroup.procs", path);
	if (!access(group, F_OK))
		return add_group(path, pids, nr);
	snprintf(group, sizeof(group), ROOT "/%s", path + (path[0] == '/'));
	return add_group(group, pids, nr);
}
