// SPDX-License-Identifier: GPL-2.0
/*
 * The tasks of "pressure_guest.sh": those that put system memory under
 * pressure, those that hold memory, and one that is busy on device nodes. Each
 * keeps its text in memory, so that it does nothing but what it is told.
 *
 *	pressure_task load FILE MB PASSES	reads FILE, writes MB of memory
 *						PASSES times while it reads on;
 *						prints by how much /proc/vmstat
 *						changed
 *	pressure_task hold NAME MB NODE MB	holds memory under that name, the
 *						second part on NODE (0 MB: none,
 *						-1: all that it can get)
 *	pressure_task busy MB NODE NODE		writes and migrates that much
 *	pressure_task grow			takes memory until somebody else
 *						is killed for it
 *
 * hold and busy say "ready", and stay until they are killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../lib/devmem_util.h"

/* After linux/mempolicy.h, whose enumerators are macros here */
#include <numaif.h>

#define CHUNK	256		/* pages that busy moves at a time */

static void die(const char *what)
{
	perror(what);
	exit(KSFT_FAIL);
}

static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");

	return p;
}

static void touch(char *p, size_t size, unsigned int value)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		*(unsigned int *)(p + i) = value + i;
}

static void bind_to(char *p, size_t size, int nid)
{
	unsigned long mask = 1UL << nid;

	if (mbind(p, size, MPOL_BIND, &mask, MAX_NODES + 1, 0))
		die("mbind");
}

static void say_ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

/* -- Pressure ---------------------------------------------------------------- */

static const char * const events[] = {
	"pgscan_kswapd", "pgsteal_kswapd", "pgscan_direct", "pgsteal_direct",
	"pageoutrun", "pswpout", "pswpin", "pgfault", "pgmajfault",
	"workingset_refault_anon", "workingset_refault_file", "oom_kill",
};

#define NR_EVENTS	((int)ARRAY_SIZE(events))

static void snapshot(long *values)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		values[i] = vm_event(events[i]);
	values[NR_EVENTS] = vm_events("allocstall_");
}

/* To the end of the file, and from there again */
static void read_on(int fd, size_t size)
{
	static char buffer[64 << 10];

	while (size >= sizeof(buffer)) {
		if (read(fd, buffer, sizeof(buffer)) <= 0 &&
		    lseek(fd, 0, SEEK_SET))
			die("lseek");
		size -= sizeof(buffer);
	}
}

static void load(const char *file, size_t size, int passes)
{
	long before[NR_EVENTS + 1], after[NR_EVENTS + 1];
	int fd = open(file, O_RDONLY), pass, i;
	size_t at;
	char *p;

	if (fd < 0)
		die(file);
	snapshot(before);
	read_on(fd, size);
	p = map(size);
	for (pass = 0; pass < passes; pass++) {
		for (at = 0; at < size; at += MIB) {
			touch(p + at, MIB, pass);
			read_on(fd, MIB / 2);
		}
	}
	snapshot(after);
	close(fd);
	for (i = 0; i < NR_EVENTS; i++)
		printf("%s %ld\n", events[i], after[i] - before[i]);
	printf("allocstall %ld\n", after[i] - before[i]);
}

static void grow(void)
{
	long kills = vm_event("oom_kill");

	set_oom_score(-1000);
	while (vm_event("oom_kill") == kills)
		touch(map(MIB), MIB, 1);
}

/* -- On the device ------------------------------------------------------------ */

/* As much as it can get: ask for less and less. Return: bytes */
static size_t fill(int nid)
{
	size_t chunk = 64 * MIB, got = 0;

	while (chunk >= PAGE) {
		char *p = map(chunk);

		bind_to(p, chunk, nid);
		if (madvise(p, chunk, MADV_POPULATE_WRITE)) {
			munmap(p, chunk);
			chunk /= 2;
		} else {
			got += chunk;
		}
	}

	return got;
}

static void hold(const char *name, size_t size, int nid, long there)
{
	char *p;

	prctl(PR_SET_NAME, name);
	if (size) {
		p = map(size);
		touch(p, size, 1);
		/* What the system has to do without: never swapped out */
		if (mlock(p, size))
			die("mlock");
	}
	if (there < 0) {
		printf("held %zu\n", fill(nid) / PAGE);
	} else if (there) {
		p = map(there * MIB);
		bind_to(p, there * MIB, nid);
		touch(p, there * MIB, 1);
	}
	say_ready();
	for (;;)
		pause();
}

static void busy(size_t size, int nid1, int nid2)
{
	static void *pages[CHUNK];
	static int nodes[CHUNK], status[CHUNK];
	char *p = map(size);
	unsigned int round;
	size_t at;
	int i;

	bind_to(p, size, nid1);
	touch(p, size, 0);
	say_ready();
	for (round = 1; ; round++) {
		for (at = 0; at + CHUNK * PAGE <= size; at += CHUNK * PAGE) {
			touch(p + at, CHUNK * PAGE, round);
			for (i = 0; i < CHUNK; i++) {
				pages[i] = p + at + i * PAGE;
				nodes[i] = round % 2 ? nid2 : nid1;
			}
			if (move_pages(0, CHUNK, pages, nodes, status,
				       MPOL_MF_MOVE) < 0)
				die("move_pages");
			usleep(50000);
		}
	}
}

int main(int argc, char **argv)
{
	if (mlockall(MCL_CURRENT))
		die("mlockall");
	if (argc == 5 && !strcmp(argv[1], "load"))
		load(argv[2], atol(argv[3]) * MIB, atoi(argv[4]));
	else if (argc == 6 && !strcmp(argv[1], "hold"))
		hold(argv[2], atol(argv[3]) * MIB, atoi(argv[4]), atol(argv[5]));
	else if (argc == 5 && !strcmp(argv[1], "busy"))
		busy(atol(argv[2]) * MIB, atoi(argv[3]), atoi(argv[4]));
	else if (argc == 2 && !strcmp(argv[1], "grow"))
		grow();
	else
		return 2;

	return 0;
}
