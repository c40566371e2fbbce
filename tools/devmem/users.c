// SPDX-License-Identifier: GPL-2.0
/* Who has memory on device nodes: all processes, looked at one by one. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

#define EXPORTER	"devmem"

struct count {
	const struct node_list *devices;
	__u64 pages;
};

static void count_line(const struct numa_line *line, void *context)
{
	struct count *count = context;
	int i;

	for (i = 0; i < count->devices->nr; i++)
		count->pages += line->nodes[count->devices->id[i]];
}

static int pages_by_numa_maps(pid_t pid, const struct node_list *devices,
			      __u64 *pages)
{
	struct count count = { .devices = devices };
	int err = numa_maps_read(pid, count_line, &count);

	*pages = count.pages;
	return err;
}

/* All of it in one call, from the first mapping to the last */
static int pages_by_driver(int fd, pid_t pid, __u64 *pages)
{
	struct devmem_verify v = { 0 };
	struct mappings maps;
	int pidfd = process_open(pid);
	int err;

	if (pidfd < 0)
		return pidfd;
	err = mappings_read(pid, &maps);
	if (!err && maps.nr)
		err = dev_verify(fd, pidfd, maps.map[0].start,
				 maps.map[maps.nr - 1].end, &v, NULL, 0);
	*pages = v.device;
	mappings_free(&maps);
	close(pidfd);
	return err;
}

/* Size of the buffer behind a descriptor, if it is one of /dev/devmem */
static __u64 buffer_size(pid_t pid, const char *fd)
{
	char path[64], line[128];
	const char *value;
	bool ours = false;
	__u64 size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int)pid, fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		value = field_text(line, "size:");
		if (value)
			size = strtoull(value, NULL, 10);
		value = field_text(line, "exp_name:");
		if (value && !strcmp(value, EXPORTER "\n"))
			ours = true;
	}
	fclose(f);
	return ours ? size : 0;
}

/* A buffer with two descriptors counts twice, in one process or in two. */
static __u64 buffers_of(pid_t pid)
{
	char path[64], target[16];
	struct dirent *entry;
	__u64 sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target,
					 sizeof(target));

		if (len >= 7 && !memcmp(target, "/dmabuf", 7))
			sum += buffer_size(pid, entry->d_name);
	}
	closedir(dir);
	return sum;
}

static void add_user(struct users *users, const struct user *user)
{
	if (!(users->nr & (users->nr - 1)))
		users->user = must(realloc(users->user,
					   (users->nr ? 2 * users->nr : 1) *
					   sizeof(*user)));
	users->user[users->nr++] = *user;
}

static void look_at(int fd, const struct node_list *devices, pid_t pid,
		    struct users *users)
{
	struct user user = { .pid = pid };
	char path[32];
	struct stat st;
	int err;

	/* Kernel threads and zombies have none. */
	if (!process_resident(pid))
		return;
	if (fd >= 0)
		err = pages_by_driver(fd, pid, &user.pages);
	else
		err = pages_by_numa_maps(pid, devices, &user.pages);
	if (err == -EACCES || err == -EPERM)
		users->unreadable++;
	if (err)
		return;

	user.buffers = buffers_of(pid);
	if (!user.pages && !user.buffers)
		return;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &st))
		return;
	user.uid = st.st_uid;
	process_name(pid, user.name, sizeof(user.name));
	add_user(users, &user);
}

static int larger_first(const void *a, const void *b)
{
	const struct user *x = a, *y = b;
	__u64 x_size = x->pages * page_size() + x->buffers;
	__u64 y_size = y->pages * page_size() + y->buffers;

	if (x_size != y_size)
		return x_size < y_size ? 1 : -1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

void users_scan(int fd, const struct node_list *devices, struct users *users)
{
	struct dirent *entry;
	DIR *dir;
	pid_t pid;

	memset(users, 0, sizeof(*users));
	users->when = now();
	dir = opendir("/proc");
	if (!dir)
		return;
	while (!stop_signal && (entry = readdir(dir))) {
		if (!parse_pid(entry->d_name, &pid))
			look_at(fd, devices, pid, users);
	}
	closedir(dir);
	if (users->nr)
		qsort(users->user, users->nr, sizeof(*users->user),
		      larger_first);
}

static __u64 size_before(const struct users *before, pid_t pid)
{
	size_t i;

	for (i = 0; i < before->nr; i++) {
		if (before->user[i].pid == pid)
			return before->user[i].pages * page_size() +
			       before->user[i].buffers;
	}
	return 0;
}

void users_rates(struct users *users, const struct users *before)
{
	double elapsed = users->when - before->when;
	struct user *user;
	size_t i;

	for (i = 0; i < users->nr && before->when && elapsed > 0; i++) {
		user = &users->user[i];
		user->rate = ((double)(user->pages * page_size() +
				       user->buffers) -
			      size_before(before, user->pid)) / elapsed;
	}
}

void users_free(struct users *users)
{
	free(users->user);
	memset(users, 0, sizeof(*users));
}
