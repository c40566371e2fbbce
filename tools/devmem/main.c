// SPDX-License-Identifier: GPL-2.0
/* devmem(1): memory of device nodes (ZONE_DEVICE_COHERENT) from the shell. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define VERSION		"1.1"
#define MAX_OPTIONS	32

static const struct command * const commands[] = {
	&cmd_list, &cmd_top, &cmd_show, &cmd_run, &cmd_migrate, &cmd_alloc,
	&cmd_wait, &cmd_room,
};

static const struct opt printing[] = {
	{ "json", OPT_JSON, NULL, "for programs; devmem(1) describes the keys" },
	{ "bytes", 'b', NULL, "sizes in bytes, not in K, M and G" },
	{ }
};

static const struct opt always[] = {
	{ "help", 'h', NULL, "this text" },
	{ }
};

static const struct command *command;

/* The I-th option of the command: its own, then those that many have */
static const struct opt *option_nr(int i)
{
	const struct opt *opt;

	for (opt = command->options; opt && opt->name; opt++) {
		if (!i--)
			return opt;
	}
	for (opt = command->prints ? printing : NULL; opt && opt->name; opt++) {
		if (!i--)
			return opt;
	}
	return i < 1 ? &always[i] : NULL;
}

static int left_column(char *buf, size_t size, const struct opt *opt)
{
	const char *arg = opt->arg ? opt->arg : "";
	char letter[8] = "    ";

	if (opt->id < OPT_JSON)
		snprintf(letter, sizeof(letter), "-%c, ", opt->id);
	/* --hold[=SEC] */
	return snprintf(buf, size, "  %s--%s%s%s", letter, opt->name,
			*arg && *arg != '[' ? " " : "", arg);
}

static void print_option(const struct opt *opt, int width)
{
	const char *line = opt->help, *end;
	char left[64];

	left_column(left, sizeof(left), opt);
	while ((end = strchr(line, '\n'))) {
		printf("%-*s  %.*s\n", width, left, (int)(end - line), line);
		left[0] = '\0';
		line = end + 1;
	}
	printf("%-*s  %s\n", width, left, line);
}

static void print_help(void)
{
	int i, width = 0, len;
	char left[64];

	printf("Usage: devmem %s %s\n%s\n\n", command->name,
	       command->arguments, command->text);
	for (i = 0; option_nr(i); i++) {
		len = left_column(left, sizeof(left), option_nr(i));
		width = len > width ? len : width;
	}
	for (i = 0; option_nr(i); i++)
		print_option(option_nr(i), width);
	if (command->notes)
		printf("\n%s\n", command->notes);
}

static void print_overview(void)
{
	size_t i;

	printf("Usage: devmem COMMAND [OPTION]...\n"
	       "Use the memory of coprocessors that the kernel has as device nodes.\n\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-9s  %s\n", commands[i]->name, commands[i]->summary);
	printf("\n  -h, --help     this text\n"
	       "      --version  the version of devmem\n\n"
	       "'devmem help COMMAND' describes a command, devmem(1) all of them.\n");
}

/* getopt_long()'s view of the command's options */
static void describe(struct option *options, char *letters)
{
	const struct opt *opt;
	int i;

	if (command->runs)
		*letters++ = '+';
	for (i = 0; (opt = option_nr(i)); i++) {
		options[i] = (struct option){
			.name = opt->name,
			.has_arg = !opt->arg ? no_argument :
				   *opt->arg == '[' ? optional_argument :
				   required_argument,
			.val = opt->id,
		};
		if (opt->id >= OPT_JSON)
			continue;
		*letters++ = opt->id;
		if (opt->arg && *opt->arg != '[')
			*letters++ = ':';
	}
}

/*
 * The next of the command's own options, or -1. What many commands have is dealt
 * with here; --help and what isn't known end the program.
 */
int next_option(int argc, char **argv)
{
	struct option options[MAX_OPTIONS] = { 0 };
	char letters[2 * MAX_OPTIONS] = "";
	int c;

	describe(options, letters);
	for (;;) {
		c = getopt_long(argc, argv, letters, options, NULL);
		switch (c) {
		case 'h':
			print_help();
			exit(finish_output(EXIT_SUCCESS));
		case '?':
			exit(try_help());
		case OPT_JSON:
			out.json = true;
			break;
		case 'b':
			out.bytes = true;
			break;
		default:
			return c;
		}
	}
}

int no_more_arguments(int argc, char **argv)
{
	if (optind < argc)
		return usage("'%s': no argument is expected here", argv[optind]);
	return 0;
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(name, commands[i]->name))
			return commands[i];
	}
	return NULL;
}

static int no_command(const char *name)
{
	return usage("'%s': %s", name, name[0] == '-' ?
		     "options come after the command" : "no such command");
}

/* devmem help [COMMAND] */
static int help_with(int argc, char **argv)
{
	if (argc > 2)
		return usage("help: one command, or none");
	if (argc < 2) {
		print_overview();
		return 0;
	}
	command = find_command(argv[1]);
	if (!command)
		return no_command(argv[1]);
	print_help();
	return 0;
}

/*
 * No file that is opened later may become one of these. What is closed stays an
 * error for who writes to it.
 */
static void open_standard_files(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(EXIT_FAILURE);
	}
}

/* A document that says what went wrong is one, too. */
static int finish(int status)
{
	if (out.json && status && status != EXIT_USAGE && out_empty())
		out_begin();
	out_end(status);
	return finish_output(status);
}

int main(int argc, char **argv)
{
	static char name[32];

	open_standard_files();
	term_init();
	if (argc < 2)
		return usage("a command is missing");

	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help"))
		return finish_output(help_with(argc - 1, argv + 1));
	if (!strcmp(argv[1], "--version")) {
		puts("devmem " VERSION);
		return finish_output(0);
	}

	command = find_command(argv[1]);
	if (!command)
		return no_command(argv[1]);

	/* getopt() puts it in front of its messages. */
	snprintf(name, sizeof(name), "devmem %s", command->name);
	cmd_name = name;
	argv[1] = name;
	return finish(command->run(argc - 1, argv + 1));
}
