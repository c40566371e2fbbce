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
static int pages_by_driver(int fd, pid_t pid, const struct mappings *maps,
			   __u64 *pages)
{
	struct devmem_verify v = { 0 };
	int pidfd = process_open(pid);
	int err = 0;

	if (pidfd < 0)
		return pidfd;
	if (maps->nr)
		err = dev_verify(fd, pidfd, maps->map[0].start,
				 maps->map[maps->nr - 1].end, &v, NULL, 0);
	*pages = v.device;
	close(pidfd);
	return err;
}

static bool is_ours(const char *name)
{
	return !strncmp(name, EXPORTER, strlen(EXPORTER));
}

static void add_holding(struct users *users, struct holding h)
{
	size_t i;

	/* Two descriptors, or one and a mapping, are one buffer. */
	for (i = users->nr_holdings; i--;) {
		struct holding *old = &users->holding[i];

		if (old->pid != h.pid)
			break;
		if (old->inode == h.inode) {
			if (h.size > old->size)
				old->size = h.size;
			old->ours |= h.ours;
			return;
		}
	}
	if (!(users->nr_holdings & (users->nr_holdings - 1)))
		users->holding = must(realloc(users->holding,
					      (users->nr_holdings ?
					       2 * users->nr_holdings : 1) *
					      sizeof(h)));
	users->holding[users->nr_holdings++] = h;
}

/* Behind the name there may be lines that somebody has put into it. */
static void holding_of_fd(struct users *users, pid_t pid, const char *fd)
{
	struct holding h = { .pid = pid };
	char path[64], line[128];
	const char *value;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int)pid, fd);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f) && !field_text(line, "name:")) {
		value = field_text(line, "size:");
		if (value)
			h.size = strtoull(value, NULL, 10);
		value = field_text(line, "ino:");
		if (value)
			h.inode = strtoull(value, NULL, 10);
		value = field_text(line, "exp_name:");
		if (value)
			h.ours = is_ours(value);
	}
	fclose(f);
	if (h.ours)
		add_holding(users, h);
}

static void holdings_by_fd(struct users *users, pid_t pid)
{
	char path[64], target[16];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target,
					 sizeof(target));

		if (len >= 7 && !memcmp(target, "/dmabuf", 7))
			holding_of_fd(users, pid, entry->d_name);
	}
	closedir(dir);
}

/* All of the buffer is held, however little of it is mapped. */
static __u64 mapped_size(pid_t pid, const struct mapping *map)
{
	char path[96];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)pid,
		 map->start, map->end);
	if (!stat(path, &st) && st.st_blocks)
		return st.st_blocks * 512ULL;
	return map->end - map->start;
}

/*
 * A mapping keeps a buffer when its descriptors are closed. Its name says what
 * it is, unless its user has given it another; then somebody's descriptor may.
 */
static void holdings_by_mapping(struct users *users, pid_t pid,
				const struct mappings *maps)
{
	const struct mapping *map;
	const char *name;
	size_t i;

	for (i = 0; i < maps->nr; i++) {
		map = &maps->map[i];
		name = field_text(map->name, "/dmabuf:");
		if (!name)
			continue;
		add_holding(users, (struct holding){
			.pid = pid,
			.inode = map->inode,
			.size = mapped_size(pid, map),
			.ours = is_ours(name),
		});
	}
}

static void add_user(struct users *users, const struct holder *user)
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
	struct holder user = { .pid = pid };
	struct mappings maps;
	char path[32];
	struct stat st;
	int err;

	/* Kernel threads and zombies have none. */
	if (!process_resident(pid))
		return;
	err = mappings_read(pid, &maps);
	if (!err && fd >= 0)
		err = pages_by_driver(fd, pid, &maps, &user.pages);
	else if (!err)
		err = pages_by_numa_maps(pid, devices, &user.pages);
	if (err == -EACCES || err == -EPERM)
		users->unreadable++;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (!err && !stat(path, &st)) {
		holdings_by_fd(users, pid);
		holdings_by_mapping(users, pid, &maps);
		user.uid = st.st_uid;
		process_name(pid, user.name, sizeof(user.name));
		add_user(users, &user);
	}
	mappings_free(&maps);
}

static int by_inode(const void *a, const void *b)
{
	const struct holding *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static struct holder *find_user(struct users *users, pid_t pid)
{
	size_t i;

	for (i = 0; i < users->nr; i++) {
		if (users->user[i].pid == pid)
			return &users->user[i];
	}
	return NULL;
}

/* Those who have the buffer of a group of holdings get it; all together once. */
static void give_buffer(struct users *users, size_t from, size_t to)
{
	struct holder *user;
	bool ours = false;
	__u64 size = 0;
	size_t i;

	for (i = from; i < to; i++) {
		ours |= users->holding[i].ours;
		if (users->holding[i].size > size)
			size = users->holding[i].size;
	}
	if (!ours)
		return;
	users->buffers += size;
	for (i = from; i < to; i++) {
		user = find_user(users, users->holding[i].pid);
		if (user)
			user->buffers += size;
	}
}

static void give_buffers(struct users *users)
{
	size_t from, to;

	if (users->nr_holdings)
		qsort(users->holding, users->nr_holdings,
		      sizeof(*users->holding), by_inode);
	for (from = 0; from < users->nr_holdings; from = to) {
		to = from + 1;
		while (to < users->nr_holdings && users->holding[to].inode ==
		       users->holding[from].inode)
			to++;
		give_buffer(users, from, to);
	}
}

/* Those that have nothing there go. */
static void drop_others(struct users *users)
{
	size_t i, kept = 0;

	for (i = 0; i < users->nr; i++) {
		users->pages += users->user[i].pages;
		if (users->user[i].pages || users->user[i].buffers)
			users->user[kept++] = users->user[i];
	}
	users->nr = kept;
}

static int larger_first(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;
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
	give_buffers(users);
	drop_others(users);
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
	struct holder *user;
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
	free(users->holding);
	memset(users, 0, sizeof(*users));
}
