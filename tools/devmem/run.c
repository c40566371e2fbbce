// SPDX-License-Identifier: GPL-2.0
/* devmem run */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tool.h"

#define BITS_PER_LONG	(8 * sizeof(long))

static const char help[] =
"Usage: devmem run [--node LIST] [--prefer] [--] PROGRAM [ARGUMENT]...\n"
"Run a program with its memory on a device node.\n"
"\n"
"  -n, --node LIST  a device node, or several: 1 or 1-2,4; the default is the\n"
"                   one that is nearest\n"
"  -p, --prefer     take system memory when the device is full; without it the\n"
"                   program gets SIGBUS then\n"
"  -h, --help       this text\n"
"\n"
"The exit status is that of PROGRAM; 125 when devmem itself fails, 126 when\n"
"PROGRAM can't be run, 127 when it isn't found.\n";

#define EXIT_RUN_FAILED	125

/* Return: whether the cpuset leaves out a node, which is told */
static bool cpuset_forbids(const struct node_list *nodes)
{
	FILE *f = fopen("/proc/self/status", "re");
	struct node_list allowed = { 0 };
	char *line = NULL;
	size_t size = 0;
	bool found = false;
	int i;

	while (f && !found && getline(&line, &size, f) >= 0)
		found = !strncmp(line, "Mems_allowed_list:\t", 19);
	if (f)
		fclose(f);
	if (!found || node_list_parse(line + 19, &allowed)) {
		free(line);
		return false;
	}

	for (i = 0; i < nodes->nr; i++) {
		if (!node_list_has(&allowed, nodes->id[i]))
			break;
	}
	if (i < nodes->nr)
		complain("node %d is not in the cpuset, which has %.*s; see cpuset.mems",
			 nodes->id[i], (int)strcspn(line + 19, "\n"),
			 line + 19);
	free(line);
	found = i < nodes->nr;
	node_list_free(&allowed);
	return found;
}

static int set_policy(const struct node_list *nodes, bool prefer)
{
	unsigned long mask[MAX_NODES / BITS_PER_LONG] = { 0 };
	int mode = MPOL_BIND;
	int i;

	if (prefer)
		mode = nodes->nr > 1 ? MPOL_PREFERRED_MANY : MPOL_PREFERRED;
	for (i = 0; i < nodes->nr; i++)
		mask[nodes->id[i] / BITS_PER_LONG] |=
			1UL << nodes->id[i] % BITS_PER_LONG;

	/* The kernel takes one bit less than it is told. */
	if (!syscall(SYS_set_mempolicy, mode, mask, MAX_NODES + 1))
		return 0;
	if (errno == EINVAL && cpuset_forbids(nodes))
		return EXIT_RUN_FAILED;
	complain("set_mempolicy: %s", strerror(errno));
	return EXIT_RUN_FAILED;
}

/* --node, or its default. Return: 0, or an exit status after a message */
static int choose_nodes(const char *text, struct node_list *nodes)
{
	struct node_list devices;
	char *names;
	int i;

	if (text && (node_list_parse(text, nodes) || !nodes->nr))
		return usage("--node '%s': expected a list of nodes such as 1 or 1-2,4", text);
	if (device_nodes(&devices))
		return EXIT_RUN_FAILED;

	if (!text) {
		nodes->id = must(malloc(sizeof(*nodes->id)));
		nodes->id[0] = nearest_device_node(&devices);
		nodes->nr = 1;
	}
	for (i = 0; i < nodes->nr; i++) {
		if (!node_list_has(&devices, nodes->id[i]))
			break;
	}
	if (i < nodes->nr) {
		names = node_list_text(&devices);
		complain("--node %d: not a device node; these are: %s",
			 nodes->id[i], names);
		free(names);
	}
	node_list_free(&devices);
	return i < nodes->nr ? EXIT_RUN_FAILED : 0;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "node", required_argument, NULL, 'n' },
		{ "prefer", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct node_list nodes = { 0 };
	const char *list = NULL;
	bool prefer = false;
	int c, err;

	/* '+': options behind the program are the program's. */
	while ((c = next_option(argc, argv, "+n:ph", options, help)) != -1) {
		if (c == 'n')
			list = optarg;
		else
			prefer = true;
	}
	if (optind == argc)
		return usage("the program to run is missing");

	err = choose_nodes(list, &nodes);
	if (!err)
		err = set_policy(&nodes, prefer);
	node_list_free(&nodes);
	if (err)
		return err;

	execvp(argv[optind], argv + optind);
	err = errno;
	/* Messages shouldn't need the device. */
	syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	complain("%s: %s", argv[optind], strerror(err));
	return err == ENOENT ? EXIT_NO_PROGRAM : EXIT_NO_EXEC;
}
