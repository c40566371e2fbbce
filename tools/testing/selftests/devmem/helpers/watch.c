// SPDX-License-Identifier: GPL-2.0
/*
 * Runs a command and looks, as long as it runs, where its memory is. Knows
 * nothing of what is right: "programs.sh" judges.
 *
 *	watch [-s AT_KB COMMAND_OF_SHELL] NODE REPORT COMMAND...
 *
 * With -s, once the command has AT_KB on the node, it is stopped, the other
 * command is run, and it goes on. REPORT becomes a file of lines "name value":
 * the most that was seen on the node or elsewhere, in kB, and what it cost.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/devmem_util.h"
#include "../lib/where.h"

static long stop_at_kb;
static const char *stop_command;
static int stop_status = -1;

static struct where most;
static struct kernel_memory most_kernel;
static long samples, most_program;

static void larger(long *most_seen, long now)
{
	if (now > *most_seen)
		*most_seen = now;
}

static void sample(pid_t session, int nid)
{
	char name[NAME_SIZE] = "";
	struct where now = where_is(session, nid, name);
	struct kernel_memory kernel = kernel_memory(nid, 20);
	long there = now.anon_there + now.shmem_there;

	samples++;
	larger(&most_program, there);
	larger(&most.anon_there, now.anon_there);
	larger(&most.anon_elsewhere, now.anon_elsewhere);
	larger(&most.shmem_there, now.shmem_there);
	larger(&most.file_there, now.file_there);
	larger(&most.file_elsewhere, now.file_elsewhere);
	larger(&most_kernel.cache, kernel.cache);
	larger(&most_kernel.page_tables, kernel.page_tables);
	larger(&most_kernel.stacks, kernel.stacks);
	larger(&most_kernel.slab, kernel.slab);
	if (stop_command && there * 4 >= stop_at_kb) {
		kill(-session, SIGSTOP);
		usleep(50000);
		stop_status = system(stop_command);
		kill(-session, SIGCONT);
		stop_command = NULL;
	}
}

static int run(int nid, char **command)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		setsid();
		execvp(command[0], command);
		_exit(127);
	}
	while (pid > 0 && !waitpid(pid, &status, WNOHANG)) {
		/* A node that isn't given: only what it costs is wanted. */
		if (nid >= 0)
			sample(pid, nid);
		usleep(100000);
	}

	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

static long usec(const struct timeval *tv)
{
	return tv->tv_sec * 1000000 + tv->tv_usec;
}

static void report(const char *path, int status)
{
	FILE *f = fopen(path, "w");
	struct rusage used;

	if (!f) {
		perror(path);
		exit(KSFT_FAIL);
	}
	getrusage(RUSAGE_CHILDREN, &used);
	fprintf(f, "status %d\nsamples %ld\n", status, samples);
	fprintf(f, "stop_status %d\n",
		WIFEXITED(stop_status) ? WEXITSTATUS(stop_status) : -1);
	fprintf(f, "there %ld\n", most_program * 4);
	fprintf(f, "anon_there %ld\n", most.anon_there * 4);
	fprintf(f, "anon_elsewhere %ld\n", most.anon_elsewhere * 4);
	fprintf(f, "shmem_there %ld\n", most.shmem_there * 4);
	fprintf(f, "file_there %ld\n", most.file_there * 4);
	fprintf(f, "file_elsewhere %ld\n", most.file_elsewhere * 4);
	fprintf(f, "cache_there %ld\n", most_kernel.cache);
	fprintf(f, "kernel_there %ld\n", most_kernel.page_tables +
		most_kernel.stacks + most_kernel.slab);
	fprintf(f, "cpu_us %ld\n", usec(&used.ru_utime) + usec(&used.ru_stime));
	fclose(f);
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "-s")) {
		stop_at_kb = atol(argv[2]);
		stop_command = argv[3];
		argc -= 3;
		argv += 3;
	}
	if (argc < 4) {
		fprintf(stderr,
			"usage: watch [-s AT_KB COMMAND_OF_SHELL] NODE REPORT COMMAND...\n");
		return 2;
	}
	report(argv[2], run(atoi(argv[1]), argv + 3));

	return 0;
}
