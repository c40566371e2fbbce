// SPDX-License-Identifier: GPL-2.0
/* Nodes, as sysfs describes them. */
#include <ctype.h>
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

/* Lines such as "Node 1 MemFree:  12 kB" */
static int read_meminfo(int node, struct node_stat *stat)
{
	FILE *f = node_file(node, "meminfo");
	char line[256];
	__u64 value;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d MemTotal: %llu", &value) == 1)
			stat->size = value << 10;
		else if (sscanf(line, "Node %*d MemFree: %llu", &value) == 1)
			stat->free = value << 10;
	}
	fclose(f);
	return 0;
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
	if (fd >= 0 && !dev_info(fd, node, runs ? DEVMEM_INFO_RUNS : 0, &info)) {
		copy_info(&info, stat);
		return 0;
	}
	err = read_meminfo(node, stat);
	if (!err)
		read_vmstat(node, stat);
	return err;
}
