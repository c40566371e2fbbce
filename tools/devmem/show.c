// SPDX-License-Identifier: GPL-2.0
/* devmem show */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const char help[] =
"Usage: devmem show [--all] [--json] PID\n"
"Show where the memory of a process is, mapping by mapping.\n"
"\n"
"  -a, --all      mappings without memory, too\n"
"      --json     for programs; the keys are described in devmem(1)\n"
"  -h, --help     this text\n"
"\n"
"A mapping is drawn as a strip from its first to its last address. Without\n"
"/dev/devmem the strip says how much is where, not in which order, and what is\n"
"swapped out counts as absent.\n";

#define MAX_SLICES	48
#define PIPE_SLICES	32
#define MIN_SLICES	8
/* Columns beside strip and name */
#define FIXED_NARROW	29
#define FIXED_WIDE	42
#define WIDE		90

struct where {
	__u64 present;
	__u64 device;
	__u64 swapped;
	__u64 absent;
	__u64 shared;
	__u64 pinned;
	__u64 huge;
	__u64 file;
	__u64 unmovable;
};

struct view {
	struct where where;
	__u64 *nodes;
	char strip[MAX_SLICES + 1];
};

struct show {
	pid_t pid;
	bool all;
	bool json;
	int fd;
	int pidfd;
	int slices;
	int nr_nodes;
	struct node_list devices;
	struct mappings maps;
	struct view *views;	/* of each mapping */
	struct view total;
};

static __u64 mapping_pages(const struct mapping *map)
{
	return (map->end - map->start) / page_size();
}

/* What most of a slice is */
static char cell_of(const struct devmem_verify *v)
{
	/* Of those that are unmovable, the driver doesn't say where they are. */
	if (!v->present && !v->swapped)
		return v->unmovable ? 'u' : '.';
	if (v->swapped > v->present)
		return 'w';
	if (!v->device)
		return 's';
	return v->device == v->present ? 'D' : 'm';
}

static void add_verified(struct view *view, const struct devmem_verify *v,
			 const __u64 *nodes, int nr_nodes)
{
	struct where *w = &view->where;
	int i;

	w->present += v->present;
	w->device += v->device;
	w->swapped += v->swapped;
	w->absent += v->absent;
	w->shared += v->shared;
	w->pinned += v->pinned;
	w->huge += v->huge;
	w->file += v->file;
	w->unmovable += v->unmovable;
	for (i = 0; i < nr_nodes; i++)
		view->nodes[i] += nodes[i];
}

/* A call per slice; a mapping of fewer pages has wider ones. */
static int verify_mapping(struct show *s, const struct mapping *map,
			  struct view *view)
{
	__u64 pages = mapping_pages(map), from = 0, to;
	__u64 nodes[MAX_NODES];
	struct devmem_verify v;
	int i, err;
	char cell = '.';

	for (i = 0; i < s->slices; i++) {
		to = pages * (i + 1) / s->slices;
		/* Of less than a page: show the page at once */
		if (to == from && i * pages / s->slices == from && to < pages)
			to = from + 1;
		if (to > from) {
			err = dev_verify(s->fd, s->pidfd,
					 map->start + from * page_size(),
					 map->start + to * page_size(), &v,
					 nodes, s->nr_nodes);
			if (err)
				return err;
			add_verified(view, &v, nodes, s->nr_nodes);
			cell = cell_of(&v);
			from = to;
		}
		view->strip[i] = cell;
	}
	return 0;
}

static int verify_all(struct show *s)
{
	size_t i;
	int err;

	for (i = 0; i < s->maps.nr; i++) {
		err = verify_mapping(s, &s->maps.map[i], &s->views[i]);
		if (err)
			return err;
	}
	return 0;
}

static int compare_start(const void *key, const void *element)
{
	const struct mapping *map = element;
	__u64 start = *(const __u64 *)key;

	return start < map->start ? -1 : start > map->start;
}

/* Cells in proportion, what there is a little of included */
static int fill_strip(char *strip, int at, int slices, char cell, __u64 part,
		      __u64 pages)
{
	int nr = pages ? (double)part / pages * slices + 0.5 : 0;

	if (part && !nr)
		nr = 1;
	while (nr-- > 0 && at < slices)
		strip[at++] = cell;
	return at;
}

static void numa_view(const struct show *s, const struct numa_line *line,
		      __u64 pages, struct view *view)
{
	struct where *w = &view->where;
	int i, at = 0;

	w->present = line->present;
	w->absent = pages > w->present ? pages - w->present : 0;
	for (i = 0; i < s->nr_nodes; i++) {
		view->nodes[i] = line->nodes[i];
		if (node_list_has(&s->devices, i))
			w->device += line->nodes[i];
	}
	at = fill_strip(view->strip, at, s->slices, 'D', w->device, pages);
	fill_strip(view->strip, at, s->slices, 's', w->present - w->device,
		   pages);
}

static void take_numa_line(const struct numa_line *line, void *context)
{
	struct show *s = context;
	struct mapping *map;

	map = bsearch(&line->start, s->maps.map, s->maps.nr, sizeof(*map),
		      compare_start);
	if (map)
		numa_view(s, line, mapping_pages(map),
			  &s->views[map - s->maps.map]);
}

static int read_numa_maps(struct show *s)
{
	size_t i;

	for (i = 0; i < s->maps.nr; i++) {
		memset(s->views[i].strip, '.', s->slices);
		s->views[i].where.absent = mapping_pages(&s->maps.map[i]);
	}
	return numa_maps_read(s->pid, take_numa_line, s);
}

static void sum_up(struct show *s)
{
	struct where *t = &s->total.where, *w;
	size_t i;
	int n;

	for (i = 0; i < s->maps.nr; i++) {
		w = &s->views[i].where;
		t->present += w->present;
		t->device += w->device;
		t->swapped += w->swapped;
		t->absent += w->absent;
		t->unmovable += w->unmovable;
		for (n = 0; n < s->nr_nodes; n++)
			s->total.nodes[n] += s->views[i].nodes[n];
	}
}

static int strip_width(void)
{
	int rest;

	if (!term.tty)
		return PIPE_SLICES;
	rest = term.width - (term.width >= WIDE ? FIXED_WIDE : FIXED_NARROW);
	rest = rest * 3 / 5;
	return rest > MAX_SLICES ? MAX_SLICES :
	       rest < MIN_SLICES ? MIN_SLICES : rest;
}

static void print_total(const struct show *s)
{
	const struct where *t = &s->total.where;
	char name[64], size[SIZE_TEXT];
	const char *comma = "";
	int i;

	process_name(s->pid, name, sizeof(name));
	printf("process %d (", (int)s->pid);
	print_name(stdout, name, 0);
	printf("): %s", size_text(size, t->present * page_size()));
	printf(", %s on devices",
	       size_text(size, t->device * page_size()));
	if (t->swapped)
		printf(", %s swapped out",
		       size_text(size, t->swapped * page_size()));
	if (t->unmovable)
		printf(", %s unmovable",
		       size_text(size, t->unmovable * page_size()));
	for (i = 0; i < s->nr_nodes; i++) {
		if (!s->total.nodes[i])
			continue;
		printf("%snode %d: %s", *comma ? comma : "\n", i,
		       size_text(size, s->total.nodes[i] * page_size()));
		comma = ", ";
	}
	putchar('\n');
}

static void print_mapping(const struct show *s, const struct mapping *map,
			  const struct view *view, bool wide)
{
	int used = (wide ? FIXED_WIDE : FIXED_NARROW) + s->slices;
	int rest = term.width - used;
	char size[SIZE_TEXT];

	printf("%12llx", map->start);
	if (wide)
		printf("-%-12llx", map->end);
	printf("  %5s", size_text(size, (view->where.present +
					 view->where.unmovable) * page_size()));
	printf("  %6s  ", size_text(size, view->where.device * page_size()));
	print_strip(stdout, view->strip);
	fputs(map->name[0] && rest > 2 ? "  " : "", stdout);
	if (!term.tty || rest > 2)
		print_name(stdout, map->name, term.tty ? rest - 2 : 0);
	putchar('\n');
}

static void print_show(const struct show *s)
{
	bool wide = !term.tty || term.width >= WIDE;
	size_t i;

	print_total(s);
	printf("%s%-*s    MEM  DEVICE  %-*s  %s%s\n", color(COLOR_TITLE),
	       wide ? 25 : 12, "ADDRESS", s->slices, "WHERE", "NAME",
	       color(COLOR_NONE));
	for (i = 0; i < s->maps.nr; i++) {
		if (s->all || s->views[i].where.present ||
		    s->views[i].where.swapped || s->views[i].where.unmovable)
			print_mapping(s, &s->maps.map[i], &s->views[i], wide);
	}
	print_strip_legend(stdout);
}

static void json_nodes(const struct show *s, struct json *j, const __u64 *nodes)
{
	char key[16];
	int i;

	json_open(j, "nodes", '{');
	for (i = 0; i < s->nr_nodes; i++) {
		if (!nodes[i])
			continue;
		snprintf(key, sizeof(key), "%d", i);
		json_number(j, key, nodes[i]);
	}
	json_close(j, '}');
}

static void json_driver(const struct show *s, struct json *j, const char *key,
			__u64 value)
{
	if (s->fd >= 0)
		json_number(j, key, value);
	else
		json_null(j, key);
}

static void json_mapping(const struct show *s, struct json *j,
			 const struct mapping *map, const struct view *view)
{
	const struct where *w = &view->where;

	json_open(j, NULL, '{');
	json_number(j, "start", map->start);
	json_number(j, "end", map->end);
	json_string(j, "perms", map->perms);
	json_string(j, "name", map->name);
	json_number(j, "present", w->present);
	json_number(j, "device", w->device);
	json_number(j, "absent", w->absent);
	json_driver(s, j, "swapped", w->swapped);
	json_driver(s, j, "shared", w->shared);
	json_driver(s, j, "pinned", w->pinned);
	json_driver(s, j, "huge", w->huge);
	json_driver(s, j, "file", w->file);
	json_driver(s, j, "unmovable", w->unmovable);
	json_nodes(s, j, view->nodes);
	json_string(j, "strip", view->strip);
	json_close(j, '}');
}

static void json_show(const struct show *s)
{
	struct json j = { .f = stdout };
	char name[64];
	size_t i;

	process_name(s->pid, name, sizeof(name));
	json_open(&j, NULL, '{');
	json_number(&j, "pid", s->pid);
	json_string(&j, "name", name);
	json_string(&j, "source", s->fd >= 0 ? "driver" : "numa_maps");
	json_number(&j, "page_size", page_size());
	json_number(&j, "present", s->total.where.present);
	json_number(&j, "device", s->total.where.device);
	json_driver(s, &j, "swapped", s->total.where.swapped);
	json_driver(s, &j, "unmovable", s->total.where.unmovable);
	json_nodes(s, &j, s->total.nodes);
	json_open(&j, "mappings", '[');
	for (i = 0; i < s->maps.nr; i++) {
		if (s->all || s->views[i].where.present ||
		    s->views[i].where.swapped || s->views[i].where.unmovable)
			json_mapping(s, &j, &s->maps.map[i], &s->views[i]);
	}
	json_close(&j, ']');
	json_close(&j, '}');
	json_end(&j);
}

static int look(struct show *s)
{
	size_t i;
	int err = mappings_read(s->pid, &s->maps);

	if (err)
		return err;
	s->views = must(calloc(s->maps.nr + 1, sizeof(*s->views)));
	for (i = 0; i < s->maps.nr; i++)
		s->views[i].nodes = must(calloc(s->nr_nodes, sizeof(__u64)));
	s->total.nodes = must(calloc(s->nr_nodes, sizeof(__u64)));

	err = s->fd >= 0 ? verify_all(s) : read_numa_maps(s);
	if (!err)
		sum_up(s);
	return err;
}

static int show(struct show *s)
{
	int err;

	s->slices = strip_width();
	s->nr_nodes = nr_possible_nodes();
	/* Without a device node, all of it is on others. */
	node_list_read("has_device_coherent", &s->devices);
	s->fd = dev_open();
	if (s->fd >= 0)
		s->pidfd = process_open(s->pid);
	if (s->fd >= 0 && s->pidfd < 0)
		return process_explain(s->pid, s->pidfd);
	if (s->fd < 0)
		dev_missing(s->fd, "order within a mapping and what is swapped out are not known");

	err = look(s);
	if (err)
		return process_explain(s->pid, err);
	if (!s->maps.nr)
		return fail("process %d: a kernel thread, or it has exited",
			    (int)s->pid);
	if (s->json)
		json_show(s);
	else
		print_show(s);
	return 0;
}

static void finish(struct show *s)
{
	size_t i;

	for (i = 0; s->views && i < s->maps.nr; i++)
		free(s->views[i].nodes);
	free(s->views);
	free(s->total.nodes);
	mappings_free(&s->maps);
	node_list_free(&s->devices);
	if (s->fd >= 0)
		close(s->fd);
	if (s->pidfd >= 0)
		close(s->pidfd);
}

int cmd_show(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct show s = { .fd = -1, .pidfd = -1 };
	int c, status;

	while ((c = next_option(argc, argv, "ah", options, help)) != -1) {
		if (c == 'a')
			s.all = true;
		else
			s.json = true;
	}
	if (optind == argc)
		return usage("the id of a process is missing");
	if (parse_pid(argv[optind], &s.pid))
		return usage("'%s': expected the id of a process", argv[optind]);
	optind++;
	status = no_more_arguments(argc, argv);
	if (status)
		return status;

	status = show(&s);
	finish(&s);
	return status;
}
