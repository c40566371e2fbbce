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

static const struct opt options[] = {
	{ "node", 'n', "LIST", "a device node, or several: 1 or 1-2,4; the default is the\n"
			       "one that is nearest" },
	{ "prefer", 'p', NULL, "take system memory when the device is full; without it the\n"
			       "program gets SIGBUS then" },
	{ }
};

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

/* What no program starts with less than */
#define TO_START	(1024 * 1024)
#define STACK		(64 << 10)

/* Nodes that a program can't be started on, with what they have left */
struct full {
	char *names;
	__u64 free;
	bool is;
};

/* Whether it is so is found out before the policy makes one's own pages scarce. */
static void look_for_room(const struct node_list *nodes, struct full *full)
{
	struct node_stat stat;
	char word[32];
	int i;

	full->names = node_list_text(nodes);
	full->is = true;
	for (i = 0; i < nodes->nr; i++) {
		if (node_stat_read(-1, nodes->id[i], false, &stat))
			continue;
		full->free += stat.free;
		if (!make_room_read(nodes->id[i], word, sizeof(word)) &&
		    strcmp(word, "off"))
			full->is = false;
	}
	if (full->free >= TO_START)
		full->is = false;
}

static void explain_full(const struct full *full)
{
	char size[SIZE_TEXT];

	complain("node %s: the device is full, %s are free", full->names,
		 size_text(size, full->free));
	complain("--prefer takes system memory for what has no place there");
	complain("devmem top shows who has its memory; devmem wait --free SIZE waits for some");
	complain("devmem room NODE move lets cold pages of others give way");
}

/* Pages of one's own that execvp() will touch; later they would be the device's. */
static void touch_stack(void)
{
	char pages[STACK];

	memset(pages, 0, sizeof(pages));
	/* Not to be left out */
	asm volatile("" : : "r" (pages) : "memory");
}

/* Return: the exit status; only if it fails */
static int execute(char **argv, const struct full *full)
{
	int err;

	execvp(argv[0], argv);
	err = errno;
	/* Messages shouldn't need the device. */
	syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	/* The kernel says E2BIG when it has no page for the arguments. */
	if (full->is && (err == E2BIG || err == ENOMEM || err == EFAULT)) {
		explain_full(full);
		return EXIT_RUN_FAILED;
	}
	complain("%s: %s", argv[0], strerror(err));
	return err == ENOENT ? EXIT_NO_PROGRAM : EXIT_NO_EXEC;
}

static int run_on(const struct node_list *nodes, bool prefer, char **argv)
{
	struct full full = { 0 };
	char size[SIZE_TEXT];
	int status;

	if (!prefer)
		look_for_room(nodes, &full);
	if (full.is && full.free)
		complain("node %s has only %s free; the program may get SIGBUS",
			 full.names, size_text(size, full.free));
	touch_stack();
	status = set_policy(nodes, prefer);
	if (!status)
		status = execute(argv, &full);
	free(full.names);
	return status;
}

static int run(int argc, char **argv)
{
	struct node_list nodes = { 0 };
	const char *list = NULL;
	bool prefer = false;
	int c, err;

	while ((c = next_option(argc, argv)) != -1) {
		if (c == 'n')
			list = optarg;
		else
			prefer = true;
	}
	if (optind == argc)
		return usage("there is no program to start");

	err = choose_nodes(list, &nodes);
	if (!err)
		err = run_on(&nodes, prefer, argv + optind);
	node_list_free(&nodes);
	return err;
}

const struct command cmd_run = {
	.name = "run",
	.summary = "a program with its memory on a device node",
	.arguments = "[OPTION]... [--] PROGRAM [ARGUMENT]...",
	.text = "Run a program with its memory on a device node.",
	.notes =
"The exit status is that of PROGRAM; 125 when devmem itself fails or the device\n"
"is full, 126 when PROGRAM can't be run, 127 when it isn't found.",
	.options = options,
	.runs = true,
	.run = run,
};
