// SPDX-License-Identifier: GPL-2.0
/* devmem list */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const char help[] =
"Usage: devmem list [--json]\n"
"List the device nodes, how full they are and the largest runs of free memory.\n"
"\n"
"      --json     for programs; the keys are described in devmem(1)\n"
"  -h, --help     this text\n"
"\n"
"RUN is the largest contiguous range that is free now, OBTAINABLE the largest\n"
"that 'devmem alloc --contiguous' can get by moving pages away. Both and the\n"
"distance come from /dev/devmem, all else can be read without it.\n";

/* Columns are left out where the terminal is too narrow for all. */
#define ALL_COLUMNS	72
#define FIXED_WIDE	62
#define FIXED_NARROW	26
#define MAX_BAR		32

static void print_title(int bar, bool wide)
{
	printf("%sNODE  %-*s     %%  ", color(COLOR_TITLE), bar, "OCCUPANCY");
	if (wide)
		printf(" USED   SIZE   FREE    RUN  OBTAINABLE  DISTANCE");
	else
		printf(" FREE    RUN");
	printf("%s\n", color(COLOR_NONE));
}

static void print_known(bool known, const char *text, int width)
{
	printf("  %*s", width, known ? text : "-");
}

static void print_stat(const struct node_stat *stat, int bar, bool wide)
{
	__u64 used = stat->size > stat->free ? stat->size - stat->free : 0;
	double part = stat->size ? (double)used / stat->size : 0;
	char buf[SIZE_TEXT];

	printf("%4d  ", stat->node);
	print_bar(stdout, part, bar);
	printf("  %3.0f%%", part * 100);
	if (wide) {
		printf("  %5s", size_text(buf, used));
		printf("  %5s", size_text(buf, stat->size));
	}
	printf("  %5s", size_text(buf, stat->free));
	print_known(stat->from_driver, size_text(buf, stat->largest_free), 5);
	if (wide) {
		size_text(buf, stat->largest_obtainable);
		print_known(stat->from_driver, buf, 10);
		snprintf(buf, sizeof(buf), "%u", stat->distance);
		print_known(stat->from_driver, buf, 8);
	}
	putchar('\n');
}

static void print_list(const struct node_stat *stats, int nr)
{
	bool wide = term.width >= ALL_COLUMNS;
	int bar = term.width - (wide ? FIXED_WIDE : FIXED_NARROW);
	int i;

	bar = bar > MAX_BAR ? MAX_BAR : bar < 9 ? 9 : bar;
	print_title(bar, wide);
	for (i = 0; i < nr; i++)
		print_stat(&stats[i], bar, wide);
}

static void json_known(struct json *j, const char *key, bool known, __u64 value)
{
	if (known)
		json_number(j, key, value);
	else
		json_null(j, key);
}

static void json_stat(struct json *j, const struct node_stat *stat)
{
	bool known = stat->from_driver;

	json_open(j, NULL, '{');
	json_number(j, "node", stat->node);
	json_string(j, "source", known ? "driver" : "sysfs");
	json_known(j, "distance", known, stat->distance);
	json_number(j, "size", stat->size);
	json_number(j, "free", stat->free);
	json_known(j, "largest_free", known, stat->largest_free);
	json_known(j, "largest_obtainable", known, stat->largest_obtainable);
	json_number(j, "moved_in", stat->moved_in);
	json_number(j, "moved_out", stat->moved_out);
	json_number(j, "refused", stat->refused);
	json_number(j, "displaced", stat->displaced);
	json_number(j, "evicted", stat->evicted);
	json_close(j, '}');
}

static void json_list(const struct node_stat *stats, int nr)
{
	struct json j = { .f = stdout };
	int i;

	json_open(&j, NULL, '{');
	json_number(&j, "page_size", page_size());
	json_open(&j, "nodes", '[');
	for (i = 0; i < nr; i++)
		json_stat(&j, &stats[i]);
	json_close(&j, ']');
	json_close(&j, '}');
	json_end(&j);
}

/* Return: how many of the nodes are still there */
static int read_stats(const struct node_list *nodes, struct node_stat *stats)
{
	int fd = dev_open();
	int i, nr = 0;

	if (fd < 0 && nodes->nr)
		dev_missing(fd, "runs and distance are not known");
	for (i = 0; i < nodes->nr; i++) {
		if (!node_stat_read(fd, nodes->id[i], true, &stats[nr]))
			nr++;
	}
	if (fd >= 0)
		close(fd);
	return nr;
}

int cmd_list(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct node_list nodes;
	struct node_stat *stats;
	bool json = false;
	int nr, status;

	while (next_option(argc, argv, "h", options, help) == 'j')
		json = true;
	status = no_more_arguments(argc, argv);
	if (status)
		return status;

	if (device_nodes(&nodes))
		status = EXIT_FAILURE;
	stats = must(calloc(nodes.nr + 1, sizeof(*stats)));
	nr = read_stats(&nodes, stats);
	if (json)
		json_list(stats, nr);
	else if (nr)
		print_list(stats, nr);

	free(stats);
	node_list_free(&nodes);
	return status;
}
