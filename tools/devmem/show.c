// SPDX-License-Identifier: GPL-2.0
/* devmem show */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct opt options[] = {
	{ "all", 'a', NULL, "every mapping, by address, also those without memory" },
	{ }
};

#define MAX_SLICES	48
#define PIPE_SLICES	32
#define MIN_SLICES	6

/* The strip's width is found out by what the others leave. */
static struct column by_name[] = {
	{ "MEM", "memory", COL_SIZE, 5, 0, NULL },
	{ "DEVICE", "on_devices", COL_SIZE, 6, 0, NULL },
	{ "MAPS", "mappings", COL_RIGHT, 4, 2, NULL },
	{ "WHERE", "strip", COL_LEFT, MIN_SLICES, 0, NULL },
	{ "NAME", "name", COL_NAME, 0, 1, NULL },
};

static struct column by_address[] = {
	{ "START", "start", COL_RIGHT, 12, 0, NULL },
	{ "END", "end", COL_RIGHT, 12, 3, NULL },
	{ "MEM", "memory", COL_SIZE, 5, 0, NULL },
	{ "DEVICE", "on_devices", COL_SIZE, 6, 0, NULL },
	{ "WHERE", "strip", COL_LEFT, MIN_SLICES, 0, NULL },
	{ "NAME", "name", COL_NAME, 0, 1, NULL },
};

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
	__u64 buffers;		/* of them: mappings of device memory */
};

struct view {
	struct where where;
	__u64 *nodes;
	char strip[MAX_SLICES + 1];
};

/* The mappings of a file, or one that has no name */
struct group {
	const char *name;
	__u64 start;
	__u64 end;
	size_t mappings;
	struct view view;
};

struct show {
	pid_t pid;
	bool all;
	int fd;
	int pidfd;
	int slices;
	int nr_nodes;
	struct node_list devices;
	struct mappings maps;
	struct view *views;	/* of each mapping */
	struct group *groups;
	size_t nr_groups;
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

/* Buffers of /dev/devmem are all on a device, and all there. */
static void find_buffers(struct show *s)
{
	struct view *view;
	size_t i;

	for (i = 0; i < s->maps.nr; i++) {
		if (!field_text(s->maps.map[i].name, "/dmabuf:devmem-node"))
			continue;
		view = &s->views[i];
		view->where.buffers = mapping_pages(&s->maps.map[i]);
		view->where.unmovable = view->where.buffers;
		view->where.absent = 0;
		memset(view->strip, 'D', s->slices);
	}
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

static void add_view(const struct show *s, struct view *to,
		     const struct view *view)
{
	const struct where *w = &view->where;
	struct where *t = &to->where;
	int n;

	t->present += w->present;
	t->device += w->device;
	t->swapped += w->swapped;
	t->absent += w->absent;
	t->shared += w->shared;
	t->pinned += w->pinned;
	t->huge += w->huge;
	t->file += w->file;
	t->unmovable += w->unmovable;
	t->buffers += w->buffers;
	for (n = 0; n < s->nr_nodes; n++)
		to->nodes[n] += view->nodes[n];
}

static __u64 memory_of(const struct where *w)
{
	return w->present + w->unmovable;
}

static bool has_memory(const struct where *w)
{
	return memory_of(w) || w->swapped;
}

/* The one that the mapping belongs to; mappings of a file are mostly together. */
static struct group *group_of(struct show *s, const struct mapping *map)
{
	struct group *group;
	size_t i;

	for (i = s->nr_groups; map->name[0] && i--;) {
		if (!strcmp(s->groups[i].name, map->name))
			return &s->groups[i];
	}
	group = &s->groups[s->nr_groups++];
	group->name = map->name;
	group->start = map->start;
	group->view.nodes = must(calloc(s->nr_nodes, sizeof(__u64)));
	return group;
}

/* In proportion; only a single mapping is drawn by address. */
static void group_strip(const struct show *s, struct group *group,
			const struct view *only)
{
	const struct where *w = &group->view.where;
	char *strip = group->view.strip;
	__u64 pages = memory_of(w) + w->swapped + w->absent;
	int at = 0;

	if (group->mappings == 1) {
		memcpy(strip, only->strip, sizeof(only->strip));
		return;
	}
	memset(strip, '.', s->slices);
	at = fill_strip(strip, at, s->slices, 'D', w->device + w->buffers,
			pages);
	at = fill_strip(strip, at, s->slices, 's', w->present - w->device,
			pages);
	at = fill_strip(strip, at, s->slices, 'u', w->unmovable - w->buffers,
			pages);
	fill_strip(strip, at, s->slices, 'w', w->swapped, pages);
}

static int larger_first(const void *a, const void *b)
{
	const struct group *x = a, *y = b;
	__u64 x_size = memory_of(&x->view.where) + x->view.where.swapped;
	__u64 y_size = memory_of(&y->view.where) + y->view.where.swapped;

	if (x_size != y_size)
		return x_size < y_size ? 1 : -1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void sum_up(struct show *s)
{
	struct group *group;
	size_t i;

	s->groups = must(calloc(s->maps.nr + 1, sizeof(*s->groups)));
	for (i = 0; i < s->maps.nr; i++) {
		add_view(s, &s->total, &s->views[i]);
		group = group_of(s, &s->maps.map[i]);
		add_view(s, &group->view, &s->views[i]);
		group->end = s->maps.map[i].end;
		group->mappings++;
		group_strip(s, group, &s->views[i]);
	}
	qsort(s->groups, s->nr_groups, sizeof(*s->groups), larger_first);
}

static int strip_width(bool all)
{
	int rest;

	if (!term.tty || out.json)
		return PIPE_SLICES;
	rest = all ? out_room(by_address, ARRAY_SIZE(by_address)) :
		     out_room(by_name, ARRAY_SIZE(by_name));
	rest = MIN_SLICES + rest * 3 / 5;
	return rest > MAX_SLICES ? MAX_SLICES :
	       rest < MIN_SLICES ? MIN_SLICES : rest;
}

/* As object of pages by the node's number; as text a line of those there are */
static void print_nodes(const struct show *s, const __u64 *nodes, bool line)
{
	static char keys[MAX_NODES][12];
	const char *comma = "";
	char text[64];
	int i;

	out_object("nodes");
	for (i = 0; i < s->nr_nodes; i++) {
		if (!nodes[i])
			continue;
		snprintf(keys[i], sizeof(keys[i]), "%d", i);
		out_pages(keys[i], nodes[i]);
		snprintf(text, sizeof(text), "%snode %d: {%d}", comma, i, i);
		if (line)
			out_text(text);
		comma = ", ";
	}
	if (line && *comma)
		out_text("\n");
	out_close();
}

static void known(const struct show *s, const char *key, __u64 pages)
{
	out_known(out_pages, key, s->fd >= 0, pages);
}

static void print_where(const struct show *s, const struct view *view)
{
	const struct where *w = &view->where;

	out_pages("memory", memory_of(w));
	out_pages("present", w->present);
	out_pages("device", w->device);
	out_pages("buffers", w->buffers);
	out_pages("on_devices", w->device + w->buffers);
	out_pages("absent", w->absent);
	known(s, "swapped", w->swapped);
	known(s, "shared", w->shared);
	known(s, "pinned", w->pinned);
	known(s, "huge", w->huge);
	known(s, "file", w->file);
	known(s, "unmovable", w->unmovable);
	print_nodes(s, view->nodes, false);
	out_strip("strip", view->strip);
}

static void print_total(const struct show *s, const char *name)
{
	const struct where *t = &s->total.where;

	out_number("pid", s->pid);
	out_string("name", name);
	out_string("source", s->fd >= 0 ? "driver" : "numa_maps");
	out_number("page_size", page_size());
	out_pages("memory", memory_of(t));
	out_pages("present", t->present);
	out_pages("device", t->device);
	out_pages("buffers", t->buffers);
	out_pages("on_devices", t->device + t->buffers);
	known(s, "swapped", t->swapped);
	known(s, "unmovable", t->unmovable);
	out_text("process {pid} ({name}): {memory}, {on_devices} on devices");
	if (t->buffers)
		out_text(", {buffers} of it buffers");
	if (t->swapped)
		out_text(", {swapped} swapped out");
	if (t->unmovable > t->buffers)
		out_text(", {unmovable} unmovable");
	out_text("\n");
	print_nodes(s, s->total.nodes, true);
}

/* Less than a hundredth of it all */
static bool is_small(const struct show *s, const struct group *group)
{
	const struct where *t = &s->total.where, *w = &group->view.where;

	return (memory_of(w) + w->swapped) * 100 < memory_of(t) + t->swapped;
}

static void print_group(const struct show *s, const struct group *group,
			bool hide)
{
	char name[64];

	snprintf(name, sizeof(name), "%llx-%llx", group->start, group->end);
	out_object(NULL);
	out_string("name", group->name[0] ? group->name : name);
	out_number("mappings", group->mappings);
	print_where(s, &group->view);
	if (hide)
		out_hide();
	out_close();
}

/* Text: what is small is a line together, unless it is a single one. */
static void print_groups(struct show *s)
{
	size_t i, shown = 0, nr = 0;
	__u64 device = 0, memory = 0;

	while (nr < s->nr_groups && has_memory(&s->groups[nr].view.where))
		nr++;
	while (shown < nr && !is_small(s, &s->groups[shown]))
		shown++;
	if (shown + 1 == nr)
		shown = nr;
	if (s->all)
		out_array("names");
	else
		out_table("names", by_name, ARRAY_SIZE(by_name));
	for (i = 0; i < nr; i++) {
		print_group(s, &s->groups[i], i >= shown);
		if (i < shown)
			continue;
		memory += memory_of(&s->groups[i].view.where);
		device += s->groups[i].view.where.device +
			  s->groups[i].view.where.buffers;
	}
	out_close();
	out_object("small");
	out_number("names", nr - shown);
	out_pages("memory", memory);
	out_pages("on_devices", device);
	if (nr > shown && !s->all) {
		out_text(out.bytes ? "{memory:13}  {on_devices:13}" :
			 "{memory:5}  {on_devices:6}");
		out_text("  in {names} smaller ones (--all shows them)\n");
	}
	out_close();
}

static void print_mapping(const struct show *s, const struct mapping *map,
			  const struct view *view)
{
	out_object(NULL);
	out_address("start", map->start);
	out_address("end", map->end);
	out_string("perms", map->perms);
	out_string("name", map->name);
	print_where(s, view);
	out_close();
}

static void print_mappings(const struct show *s)
{
	size_t i;

	if (s->all)
		out_table("mappings", by_address, ARRAY_SIZE(by_address));
	else
		out_array("mappings");
	for (i = 0; i < s->maps.nr; i++) {
		if (s->all || has_memory(&s->views[i].where))
			print_mapping(s, &s->maps.map[i], &s->views[i]);
	}
	out_close();
}

static void print_show(struct show *s)
{
	char name[64];

	process_name(s->pid, name, sizeof(name));
	out_begin();
	print_total(s, name);
	print_groups(s);
	print_mappings(s);
	if (!out.json)
		print_strip_legend(stdout);
	out_end(0);
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
	if (err)
		return err;
	find_buffers(s);
	sum_up(s);
	return 0;
}

static int show(struct show *s)
{
	int err;

	s->slices = strip_width(s->all);
	by_name[3].width = s->slices;
	by_address[4].width = s->slices;
	s->nr_nodes = nr_possible_nodes();
	/* Without a device node, all of it is on others. */
	node_list_read("has_device_coherent", &s->devices);
	s->fd = dev_open(O_RDWR);
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
	print_show(s);
	return 0;
}

static void finish(struct show *s)
{
	size_t i;

	for (i = 0; s->views && i < s->maps.nr; i++)
		free(s->views[i].nodes);
	for (i = 0; i < s->nr_groups; i++)
		free(s->groups[i].view.nodes);
	free(s->groups);
	free(s->views);
	free(s->total.nodes);
	mappings_free(&s->maps);
	node_list_free(&s->devices);
	if (s->fd >= 0)
		close(s->fd);
	if (s->pidfd >= 0)
		close(s->pidfd);
}

static int run(int argc, char **argv)
{
	struct show s = { .fd = -1, .pidfd = -1 };
	int status;

	while (next_option(argc, argv) == 'a')
		s.all = true;
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

const struct command cmd_show = {
	.name = "show",
	.summary = "where the memory of a process is",
	.arguments = "[OPTION]... PID",
	.text = "Show where the memory of a process is, the largest first.",
	.notes =
"The mappings of a file are one line. A mapping is drawn as a strip from its first\n"
"to its last address, several as how much is where. Without /dev/devmem that goes\n"
"for all, and what is swapped out counts as absent.",
	.options = options,
	.prints = true,
	.run = run,
};
