// SPDX-License-Identifier: GPL-2.0
/* Processes, as /proc describes them. Any of them may exit at any time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static FILE *proc_file(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

/* Return: false for what isn't a mapping of user space */
static bool parse_mapping(const char *line, struct mapping *map)
{
	int name = 0;

	if (sscanf(line, "%llx-%llx %4s %*x %*x:%*x %llu %n", &map->start,
		   &map->end, map->perms, &map->inode, &name) < 4 || !name)
		return false;
	/* [vsyscall] is the kernel's. */
	if (map->start >> 63)
		return false;
	map->name = must(strdup(line + name));
	map->name[strcspn(map->name, "\n")] = '\0';
	return true;
}

static void add_mapping(struct mappings *maps, const struct mapping *map)
{
	/* Grow at powers of two. */
	if (!(maps->nr & (maps->nr - 1)))
		maps->map = must(realloc(maps->map, (maps->nr ? 2 * maps->nr : 1) *
					 sizeof(*maps->map)));
	maps->map[maps->nr++] = *map;
}

/* Return: 0 or -errno; kernel threads and zombies have no mapping. */
int mappings_read(pid_t pid, struct mappings *maps)
{
	FILE *f = proc_file(pid, "maps");
	struct mapping map;
	char *line = NULL;
	size_t size = 0;
	int err = 0;

	memset(maps, 0, sizeof(*maps));
	if (!f)
		return -errno;
	while (getline(&line, &size, f) >= 0) {
		if (parse_mapping(line, &map))
			add_mapping(maps, &map);
	}
	if (ferror(f))
		err = -errno;
	free(line);
	fclose(f);
	if (err)
		mappings_free(maps);
	return err;
}

void mappings_free(struct mappings *maps)
{
	size_t i;

	for (i = 0; i < maps->nr; i++)
		free(maps->map[i].name);
	free(maps->map);
	memset(maps, 0, sizeof(*maps));
}

#define BLANKS	" \t\n"

/* Fields are "N<node>=<pages>", of the size that another field says. */
static bool parse_numa_line(char *text, struct numa_line *line)
{
	__u64 pages, kbytes = page_size() >> 10;
	char *field, *rest = NULL;
	const char *value;
	unsigned int node;
	int i;

	memset(line, 0, sizeof(*line));
	field = strtok_r(text, BLANKS, &rest);
	if (!field)
		return false;
	line->start = strtoull(field, NULL, 16);
	while ((field = strtok_r(NULL, BLANKS, &rest))) {
		value = field_text(field, "kernelpagesize_kB=");
		if (value)
			kbytes = strtoull(value, NULL, 10);
		if (sscanf(field, "N%u=%llu", &node, &pages) == 2 &&
		    node < MAX_NODES)
			line->nodes[node] = pages;
	}
	for (i = 0; i < MAX_NODES; i++) {
		line->nodes[i] *= kbytes / (page_size() >> 10);
		line->present += line->nodes[i];
	}
	return true;
}

int numa_maps_read(pid_t pid, void (*each)(const struct numa_line *, void *),
		   void *context)
{
	FILE *f = proc_file(pid, "numa_maps");
	struct numa_line line;
	char *text = NULL;
	size_t size = 0;
	int err = 0;

	if (!f)
		return -errno;
	while (getline(&text, &size, f) >= 0) {
		if (parse_numa_line(text, &line))
			each(&line, context);
	}
	if (ferror(f))
		err = -errno;
	free(text);
	fclose(f);
	return err;
}

void process_name(pid_t pid, char *buf, size_t size)
{
	FILE *f = proc_file(pid, "comm");
	size_t len = 0;

	if (f) {
		len = fread(buf, 1, size - 1, f);
		fclose(f);
	}
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
}

/* Return: pages; 0 for kernel threads, zombies and the gone */
__u64 process_resident(pid_t pid)
{
	FILE *f = proc_file(pid, "statm");
	__u64 pages = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages;
}
