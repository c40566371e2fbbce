// SPDX-License-Identifier: GPL-2.0
/* devmem list */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tool.h"

static const struct opt options[] = {
	{ "quick", 'q', NULL, "without RUN and OBTAINABLE, for which the kernel looks at\n"
			      "every page: seconds on a large node" },
	{ }
};

static const struct column columns[] = {
	{ "NODE", "node", COL_RIGHT, 4, 0, NULL },
	{ "OCCUPANCY", "used", COL_BAR, 0, 7, "size" },
	{ "%", "used", COL_PERCENT, 4, 0, "size" },
	{ "USED", "used", COL_SIZE, 5, 2, NULL },
	{ "SIZE", "size", COL_SIZE, 5, 4, NULL },
	{ "FREE", "free", COL_SIZE, 5, 0, NULL },
	{ "BUFFERS", "buffers", COL_SIZE, 5, 3, NULL },
	{ "OTHER", "other", COL_SIZE, 5, 6, NULL },
	{ "RUN", "largest_free", COL_SIZE, 5, 1, NULL },
	{ "OBTAINABLE", "largest_obtainable", COL_SIZE, 5, 5, NULL },
	{ "DISTANCE", "distance", COL_RIGHT, 3, 8, NULL },
	{ "DEVICE", "device", COL_NAME, 0, 9, NULL },
};

static void print_stat(const struct node_stat *s)
{
	char device[256];

	node_device(s->node, device, sizeof(device));
	out_object(NULL);
	out_number("node", s->node);
	out_string("source", s->from_driver ? "driver" : "sysfs");
	if (*device)
		out_string("device", device);
	else
		out_null("device");
	out_known(out_number, "distance", s->from_driver, s->distance);
	out_memory(s);
	out_known(out_bytes, "largest_free", s->runs, s->largest_free);
	out_known(out_bytes, "largest_obtainable", s->runs,
		  s->largest_obtainable);
	out_number("moved_in", s->moved_in);
	out_number("moved_out", s->moved_out);
	out_number("refused", s->refused);
	out_number("displaced", s->displaced);
	out_number("evicted", s->evicted);
	out_close();
}

static void print_list(const struct node_list *nodes, bool quick)
{
	struct node_stat stat;
	int i, fd = -1;

	if (nodes->nr)
		fd = dev_open(O_RDONLY);
	if (fd < 0 && nodes->nr)
		dev_missing(fd, "runs and distance are not known");
	out_begin();
	out_number("page_size", page_size());
	if (nodes->nr)
		out_table("nodes", columns, ARRAY_SIZE(columns));
	else
		out_array("nodes");
	for (i = 0; i < nodes->nr; i++) {
		if (!node_stat_read(fd, nodes->id[i], !quick, &stat))
			print_stat(&stat);
	}
	out_close();
	if (fd >= 0)
		close(fd);
}

static int run(int argc, char **argv)
{
	struct node_list nodes;
	bool quick = false;
	int status;

	while (next_option(argc, argv) == 'q')
		quick = true;
	status = no_more_arguments(argc, argv);
	if (status)
		return status;

	if (device_nodes(&nodes))
		status = EXIT_FAILURE;
	print_list(&nodes, quick);
	node_list_free(&nodes);
	return status;
}

const struct command cmd_list = {
	.name = "list",
	.summary = "the device nodes, how full they are, the largest runs",
	.arguments = "[OPTION]...",
	.text = "List the device nodes, how full they are and what fills them.",
	.notes =
"BUFFERS is what programs and drivers have through /dev/devmem and its heaps,\n"
"OTHER what neither programs have mapped nor buffers: the kernel's and drivers'.\n"
"RUN is the largest contiguous range that is free now, OBTAINABLE the largest\n"
"that 'devmem alloc --contiguous' can get by moving pages away. These two and the\n"
"distance come from /dev/devmem, all else can be read without it.",
	.options = options,
	.prints = true,
	.run = run,
};
