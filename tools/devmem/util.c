// SPDX-License-Identifier: GPL-2.0
/* Messages, numbers, time and signals. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

const char *cmd_name = "devmem";
atomic_int stop_signal;

static char first[256];

/* What it began with: the cause, which advice may have followed; or NULL */
const char *first_complaint(void)
{
	return *first ? first : NULL;
}

/* In one piece; there may be names of others in it, of groups and files. */
static void print_message(const char *text)
{
	char *line = NULL;
	size_t size;
	FILE *f = open_memstream(&line, &size);

	if (!f)
		return;
	print_name(f, text, 0);
	if (!fclose(f))
		fprintf(stderr, "%s: %s\n", cmd_name, line);
	free(line);
}

static void message(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		return;
	if (!*first)
		snprintf(first, sizeof(first), "%s", text);
	fflush(stdout);
	print_message(text);
	free(text);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
}

/* Return: the exit status */
int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
	return EXIT_FAILURE;
}

int try_help(void)
{
	fprintf(stderr, "Try '%s --help'.\n", cmd_name);
	return EXIT_USAGE;
}

int usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
	return try_help();
}

/* What was printed has to arrive, on a full disk, too. */
bool output_lost(void)
{
	return fflush(stdout) || ferror(stdout);
}

int finish_output(int status)
{
	/* Of an error that was before, no more is known. */
	errno = EIO;
	if (!output_lost() && !close(STDOUT_FILENO))
		return status;
	if (errno != EPIPE)
		complain("standard output: %s", strerror(errno));
	return status ? status : EXIT_FAILURE;
}

void *must(void *memory)
{
	if (!memory) {
		/* A message that takes none */
		fputs("devmem: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return memory;
}

__u64 page_size(void)
{
	static __u64 size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Return: what follows @name at the start of @line, behind blanks; or NULL */
const char *field_text(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len))
		return NULL;
	return line + len + strspn(line + len, " \t");
}

int parse_number(const char *text, unsigned long max, unsigned long *value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*value = strtoul(text, &end, 10);
	if (*end)
		return -EINVAL;
	return errno || *value > max ? -ERANGE : 0;
}

/* 4096, 64K, 512M, 1G, 2T, with an optional B or iB behind the letter */
int parse_size(const char *text, __u64 *value)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	int shift = 0;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	/* 0x10 is 16, but 010 is 10. */
	*value = strtoull(text, &end, text[1] == 'x' ? 16 : 10);
	if (errno)
		return -ERANGE;

	unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (unit) {
		shift = 10 * (unit - units + 1);
		end++;
		if (!strcmp(end, "iB") || !strcmp(end, "B"))
			end = "";
	}
	if (*end)
		return -EINVAL;
	if (*value > ULLONG_MAX >> shift)
		return -ERANGE;
	*value <<= shift;
	return 0;
}

int parse_seconds(const char *text, double *value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]) && text[0] != '.')
		return -EINVAL;
	*value = strtod(text, &end);
	if (*end || end == text || !isfinite(*value))
		return -EINVAL;
	return *value > 1e6 ? -ERANGE : 0;
}

int parse_pid(const char *text, pid_t *pid)
{
	unsigned long value;
	int err = parse_number(text, INT_MAX, &value);

	if (err)
		return err;
	*pid = value;
	return value ? 0 : -EINVAL;
}

/* As in /proc/PID/maps: hexadecimal, with or without 0x */
int parse_range(const char *text, __u64 *start, __u64 *end)
{
	char *rest;

	if (!isxdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*start = strtoull(text, &rest, 16);
	if (*rest != '-' || !isxdigit((unsigned char)rest[1]))
		return -EINVAL;
	*end = strtoull(rest + 1, &rest, 16);
	if (*rest)
		return -EINVAL;
	return errno ? -ERANGE : 0;
}

static void stop(int signal)
{
	if (!stop_signal)
		stop_signal = signal;
}

/* With SA_RESETHAND the second of a kind kills, as if none had been caught. */
void catch_stop_signals(int flags)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = stop, .sa_flags = flags };
	struct sigaction old;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(signals); i++) {
		/* nohup(1), or in the background of a shell without job control */
		sigaction(signals[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
}
