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

/* Return: 0, or -ENAMETOOLONG */
static int append(char path[PATH], const char *name)
{
	size_t len = strlen(path);

	if (snprintf(path + len, PATH - len, "/%s", name) < (int)(PATH - len))
		return 0;
	path[len] = '\0';
	return -ENAMETOOLONG;
}

/* Return: 0 or -errno */
static int add_group(char path[PATH], pid_t **pids, int *nr)
{
	size_t len = strlen(path);
	int pid, err = append(path, "cgroup.procs");
	FILE *f = err ? NULL : fopen(path, "re");

	if (!err && !f)
		err = -errno;
	path[len] = '\0';
	if (err)
		return err;
	while (fscanf(f, "%d", &pid) == 1) {
		/* 0: of another PID namespace */
		if (pid > 0)
			add_pid(pid, pids, nr);
	}
	/* A threaded group can't name processes, which the one above it does. */
	if (ferror(f))
		err = -errno;
	fclose(f);
	return err;
}

static bool is_group(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

/* The path is one buffer for all of them, however deep. Return: 0 or -errno */
static int add_groups(char path[PATH], pid_t **pids, int *nr)
{
	int err = add_group(path, pids, nr);
	size_t len = strlen(path);
	struct dirent *entry;
	DIR *dir;

	if (err)
		return err;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		err = append(path, entry->d_name);
		if (!err && is_group(path))
			err = add_groups(path, pids, nr);
		path[len] = '\0';
		/* It has gone, or is threaded. */
		if (err == -ENOENT || err == -ENODEV || err == -EOPNOTSUPP)
			err = 0;
	}
	closedir(dir);
	return err;
}

/*
 * Those of a group and of the groups below, added to @pids. The path is one of
 * the file system, or as /proc/PID/cgroup says. Return: 0 or -errno
 */
int group_processes(const char *path, pid_t **pids, int *nr)
{
	char group[PATH];
	int len = snprintf(group, PATH, "%s/cgroup.procs", path);

	if (len >= PATH)
		return -ENAMETOOLONG;
	if (!access(group, F_OK))
		group[len - strlen("/cgroup.procs")] = '\0';
	else
		len = snprintf(group, PATH, ROOT "/%s", path + (path[0] == '/'));
	return len < PATH ? add_groups(group, pids, nr) : -ENAMETOOLONG;
}
