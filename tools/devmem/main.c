// SPDX-License-Identifier: GPL-2.0
/* devmem(1): memory of device nodes (ZONE_DEVICE_COHERENT) from the shell. */
#include <string.h>

#include "tool.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "list", cmd_list },
	{ "run", cmd_run },
	{ "migrate", cmd_migrate },
	{ "show", cmd_show },
	{ "alloc", cmd_alloc },
	{ "top", cmd_top },
};

static const char help[] =
"Usage: devmem COMMAND [OPTION]...\n"
"Use the memory of coprocessors that the kernel has as device nodes.\n"
"\n"
"  list       the device nodes, how full they are, the largest runs\n"
"  run        run a program with its memory on a device node\n"
"  migrate    move the memory of a process to a node, or back\n"
"  show       where the memory of a process is, mapping by mapping\n"
"  alloc      allocate memory of a device explicitly\n"
"  top        nodes, their largest users and rates, live\n"
"\n"
"'devmem COMMAND --help' describes a command, devmem(1) all of them.\n";

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *command;
	static char name[32];

	term_init();
	if (argc < 2)
		return usage("a command is missing");

	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		fputs(help, stdout);
		return finish_output(0);
	}

	command = find_command(argv[1]);
	if (!command)
		return usage("'%s': %s", argv[1], argv[1][0] == '-' ?
			     "options come after the command" :
			     "no such command");

	/* getopt() puts it in front of its messages. */
	snprintf(name, sizeof(name), "devmem %s", command->name);
	cmd_name = name;
	argv[1] = name;
	return finish_output(command->run(argc - 1, argv + 1));
}
