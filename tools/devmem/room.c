// SPDX-License-Identifier: GPL-2.0
/* devmem room */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const char * const words[] = { "off", "move", "swap" };

static const struct column columns[] = {
	{ "NODE", "node", COL_RIGHT, 4, 0, NULL },
	{ "ROOM", "make_room", COL_LEFT, 5, 0, NULL },
};

static int explain(int node, int err)
{
	complain("node %d: %s", node, err == -ENOENT ?
		 "no such setting; its memory is gone, or the kernel is older" :
		 strerror(-err));
	if (err == -EACCES || err == -EPERM)
		complain("the setting is root's to change");
	return EXIT_FAILURE;
}

/* Return: 0 or -errno */
static int write_word(int node, const char *word)
{
	char path[128];
	int fd, err = 0;

	make_room_path(path, sizeof(path), node);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, word, strlen(word)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int print_setting(int node)
{
	char word[32];
	int err = make_room_read(node, word, sizeof(word));

	if (err)
		return explain(node, err);
	out_object(NULL);
	out_number("node", node);
	out_string("make_room", word);
	out_close();
	return 0;
}

static int print_settings(const struct node_list *nodes)
{
	int i, status = 0;

	out_begin();
	out_table("nodes", columns, ARRAY_SIZE(columns));
	for (i = 0; i < nodes->nr && !status; i++)
		status = print_setting(nodes->id[i]);
	out_close();
	return status;
}

static bool is_word(const char *text)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(words[i], text))
			return true;
	}
	return false;
}

static int room_of_all(void)
{
	struct node_list nodes;
	int status;

	if (device_nodes(&nodes))
		return EXIT_FAILURE;
	status = print_settings(&nodes);
	node_list_free(&nodes);
	return status;
}

static int run(int argc, char **argv)
{
	struct node_list one = { .nr = 1 };
	const char *word = NULL;
	int node, err;

	next_option(argc, argv);
	if (optind == argc)
		return room_of_all();
	if (node_option("", argv[optind++], &node))
		return EXIT_USAGE;
	if (optind < argc)
		word = argv[optind++];
	if (word && !is_word(word))
		return usage("'%s': expected off, move or swap", word);
	if (optind < argc)
		return no_more_arguments(argc, argv);

	if (check_device_node("node ", node))
		return EXIT_FAILURE;
	err = word ? write_word(node, word) : 0;
	if (err)
		return explain(node, err);
	one.id = &node;
	return print_settings(&one);
}

const struct command cmd_room = {
	.name = "room",
	.summary = "what gives way when a node is full: nothing, or cold pages",
	.arguments = "[OPTION]... [NODE [off|move|swap]]",
	.text = "Show or change what a request does that finds a device node full.",
	.notes =
"  off   it fails; the default\n"
"  move  cold pages of the node go to system memory, those of bound programs, too\n"
"  swap  cold pages of the node are swapped out",
	.prints = true,
	.run = run,
};
