// SPDX-License-Identifier: GPL-2.0
/* Nodes, as sysfs describes them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define NODE_DIR	"/sys/devices/system/node"

static FILE *node_file(int node, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), NODE_DIR "/node%d/%s", node, name);
	return fopen(path, "re");
}

static int add_range(struct node_list *list, unsigned long from,
		     unsigned long to)
{
	if (from > to || to >= MAX_NODES || list->nr + to - from >= MAX_NODES)
		return -EINVAL;
	while (from <= to)
		list->id[list->nr++] = from++;
	return 0;
}

/* "0-2,5", and "" or a newline, which is no node. */
int node_list_parse(const char *text, struct node_list *list)
{
	unsigned long from, to;
	char *end;

	list->nr = 0;
	list->id = must(malloc(MAX_NODES * sizeof(*list->id)));
	while (isdigit((unsigned char)*text)) {
		from = strtoul(text, &end, 10);
		to = from;
		if (*end == '-' && isdigit((unsigned char)end[1]))
			to = strtoul(end + 1, &end, 10);
		if (add_range(list, from, to))
			break;
		text = end;
		if (*text == ',' && isdigit((unsigned char)text[1]))
			text++;
	}
	if (!*text || *text == '\n')
		return 0;
	node_list_free(list);
	return -EINVAL;
}

int node_list_read(const char *name, struct node_list *list)
{
	char path[128], *line = NULL;
	size_t size = 0;
	FILE *f;
	int err;

	list->nr = 0;
	list->id = NULL;
	snprintf(path, sizeof(path), NODE_DIR "/%s", name);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (getline(&line, &size, f) >= 0)
		err = node_list_parse(line, list);
	else
		err = ferror(f) ? -EIO : node_list_parse("", list);
	free(line);
	fclose(f);
	return err;
}

/* Return: "0-2,5", to be freed */
char *node_list_text(const struct node_list *list)
{
	char *text = NULL;
	size_t size;
	FILE *f = must(open_memstream(&text, &size));
	int i, last;

	for (i = 0; i < list->nr; i = last + 1) {
		last = i;
		while (last + 1 < list->nr &&
		       list->id[last + 1] == list->id[last] + 1)
			last++;
		fprintf(f, i ? ",%d" : "%d", list->id[i]);
		if (last > i)
			fprintf(f, "-%d", list->id[last]);
	}
	if (!list->nr)
		fputs("none", f);
	fclose(f);
	return must(text);
}

bool node_list_has(const struct node_list *list, int node)
{
	int i;

	for (i = 0; i < list->nr; i++) {
		if (list->id[i] == node)
			return true;
	}
	return false;
}

void node_list_free(struct node_list *list)
{
	free(list->id);
	list->id = NULL;
	list->nr = 0;
}

/*
 * Return: 0 and at least one node, or -1 after a message
 */
int device_nodes(struct node_list *list)
{
	int err = node_list_read("has_device_coherent", list);

	if (!err && list->nr)
		return 0;
	if (err == -ENOENT) {
		complain("this kernel lacks CONFIG_ZONE_DEVICE_COHERENT=y");
	} else if (err) {
		complain(NODE_DIR "/has_device_coherent: %s", strerror(-err));
	} else {
		complain("no node is a device node; boot with");
		complain("device_coherent=node:N, SIZE@START or sp, or load the device's driver");
		complain("what was refused: dmesg | grep device_coherent");
	}
	node_list_free(list);
	return -1;
}

/* The ids go up to the possible nodes' last. */
int nr_possible_nodes(void)
{
	struct node_list list;
	int nr = MAX_NODES;

	if (!node_list_read("possible", &list) && list.nr)
		nr = list.id[list.nr - 1] + 1;
	node_list_free(&list);
	return nr;
}

/* Return: distance from node @from to @to, large if it isn't known */
static unsigned int distance_of(int from, int to)
{
	FILE *f = node_file(from, "distance");
	unsigned int distance = -1, value;
	struct node_list online;
	int i;

	if (!f)
		return -1;
	/* A number for each node that is online, in their order */
	if (!node_list_read("online", &online)) {
		for (i = 0; i < online.nr && fscanf(f, "%u", &value) == 1; i++) {
			if (online.id[i] == to)
				distance = value;
		}
	}
	node_list_free(&online);
	fclose(f);
	return distance;
}

int nearest_device_node(const struct node_list *list)
{
	unsigned int cpu, here = 0, distance, best = -1;
	int i, nearest = list->id[0];

	getcpu(&cpu, &here);
	for (i = 0; i < list->nr; i++) {
		distance = distance_of(here, list->id[i]);
		if (distance < best) {
			best = distance;
			nearest = list->id[i];
		}
	}
	return nearest;
}

/* What "Node 1 MemFree:  12 kB" says about it */
static int read_meminfo(int node, struct node_stat *stat)
{
	FILE *f = node_file(node, "meminfo");
	__u64 value, shared = 0;
	char line[256], name[64];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d %63[^:]: %llu", name, &value) != 2)
			continue;
		if (!strcmp(name, "MemTotal"))
			stat->size = value << 10;
		else if (!strcmp(name, "MemFree"))
			stat->free = value << 10;
		else if (!strcmp(name, "AnonPages"))
			stat->programs = value << 10;
		else if (!strcmp(name, "Shmem"))
			shared = value << 10;
	}
	fclose(f);
	stat->programs += shared;
	return 0;
}

static void read_buffers(int node, struct node_stat *stat)
{
	FILE *f = node_file(node, "device_coherent/buffers");

	if (!f)
		return;
	stat->knows_buffers = fscanf(f, "%llu", &stat->buffers) == 1;
	fclose(f);
}

static void read_vmstat(int node, struct node_stat *stat)
{
	FILE *f = node_file(node, "vmstat");
	const struct {
		const char *name;
		__u64 *value;
	} counters[] = {
		{ "coherent_moved_in", &stat->moved_in },
		{ "coherent_moved_out", &stat->moved_out },
		{ "coherent_refused", &stat->refused },
		{ "coherent_displaced", &stat->displaced },
		{ "coherent_evicted", &stat->evicted },
	};
	char name[64];
	__u64 value;
	size_t i;

	while (f && fscanf(f, "%63s %llu", name, &value) == 2) {
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			if (!strcmp(name, counters[i].name))
				*counters[i].value = value;
		}
	}
	if (f)
		fclose(f);
}

static void copy_info(const struct devmem_info *info, struct node_stat *stat)
{
	stat->from_driver = true;
	stat->distance = info->distance;
	stat->size = info->size;
	stat->free = info->free;
	stat->largest_free = info->largest_free;
	stat->largest_obtainable = info->largest_obtainable;
	stat->moved_in = info->moved_in;
	stat->moved_out = info->moved_out;
	stat->refused = info->refused;
	stat->displaced = info->displaced;
	stat->evicted = info->evicted;
}

static __u64 minus(__u64 all, __u64 part)
{
	return all > part ? all - part : 0;
}

/*
 * From the driver if @fd isn't negative and the driver knows the node, else
 * from sysfs. Return: 0, or -errno when the node is gone
 */
int node_stat_read(int fd, int node, bool runs, struct node_stat *stat)
{
	struct devmem_info info;
	int err;

	memset(stat, 0, sizeof(*stat));
	stat->node = node;
	err = read_meminfo(node, stat);
	if (err)
		return err;
	if (fd >= 0 && !dev_info(fd, node, runs ? DEVMEM_INFO_RUNS : 0, &info)) {
		copy_info(&info, stat);
		stat->runs = runs;
	} else {
		read_vmstat(node, stat);
	}
	read_buffers(node, stat);
	stat->used = minus(stat->size, stat->free);
	stat->other = minus(minus(stat->used, stat->programs), stat->buffers);
	return 0;
}

/* What is in use of a node, and by what */
void out_memory(const struct node_stat *stat)
{
	out_bytes("size", stat->size);
	out_bytes("free", stat->free);
	out_bytes("used", stat->used);
	out_bytes("programs", stat->programs);
	out_known(out_bytes, "buffers", stat->knows_buffers, stat->buffers);
	out_known(out_bytes, "other", stat->knows_buffers, stat->other);
}

static void add_device(const char *name, char *buf, size_t size)
{
	size_t len = strlen(buf);

	snprintf(buf + len, size - len, "%s%s", len ? "," : "", name);
}

/* Those of a bus that say in @file that they belong to @node */
static void devices_of_bus(const char *bus, const char *file, int node,
			   char *buf, size_t size)
{
	char path[512];
	struct dirent *entry;
	DIR *dir = opendir(bus);
	int value;
	FILE *f;

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/%s", bus, entry->d_name,
			 file);
		f = fopen(path, "re");
		if (f && fscanf(f, "%d", &value) == 1 && value == node)
			add_device(entry->d_name, buf, size);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

/* What sysfs says is behind the node: PCI addresses, names; or "" */
void node_device(int node, char *buf, size_t size)
{
	buf[0] = '\0';
	devices_of_bus("/sys/bus/pci/devices", "numa_node", node, buf, size);
	devices_of_bus("/sys/bus/dax/devices", "target_node", node, buf, size);
}

/* Return: 0, or -1 after a message */
int node_option(const char *name, const char *text, int *node)
{
	unsigned long value;

	if (parse_number(text, MAX_NODES - 1, &value)) {
		usage("%s'%s': expected the number of a node", name, text);
		return -1;
	}
	*node = value;
	return 0;
}

/* Return: 0, or -1 after a message */
int check_device_node(const char *what, int node)
{
	struct node_list devices;
	char *names;
	bool has;

	if (device_nodes(&devices))
		return -1;
	has = node_list_has(&devices, node);
	if (!has) {
		names = node_list_text(&devices);
		complain("%s%d: not a device node; these are: %s", what, node,
			 names);
		free(names);
	}
	node_list_free(&devices);
	return has ? 0 : -1;
}

int make_room_path(char *path, size_t size, int node)
{
	return snprintf(path, size, NODE_DIR "/node%d/device_coherent/make_room",
			node);
}

/* The word in brackets of "[off] move swap". Return: 0 or -errno */
int make_room_read(int node, char *buf, size_t size)
{
	FILE *f = node_file(node, "device_coherent/make_room");
	char line[128] = "", *word;
	int err = f ? 0 : -errno;

	if (f && !fgets(line, sizeof(line), f))
		err = -EIO;
	if (f)
		fclose(f);
	if (err)
		return err;
	word = strchr(line, '[');
	if (!word || !strchr(word, ']'))
		return -EIO;
	word[strcspn(word, "]")] = '\0';
	snprintf(buf, size, "%s", word + 1);
	return 0;
}
