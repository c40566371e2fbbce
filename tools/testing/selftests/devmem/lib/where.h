/* SPDX-License-Identifier: GPL-2.0 */
/* Where the memory of running programs is, for "tour" and "watch". */
#ifndef WHERE_H
#define WHERE_H

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devmem_util.h"

#define NAME_SIZE	32

/**
 * struct where - pages of processes: on one node ("there"), and elsewhere
 * @anon_there: private ones
 * @anon_elsewhere: the same
 * @shmem_there: those of tmpfs, memfd and other shared memory that is mapped
 * @file_there: those of other mapped files, which the page cache holds
 * @file_elsewhere: the same
 */
struct where {
	long anon_there, anon_elsewhere;
	long shmem_there;
	long file_there, file_elsewhere;
};

/* " N1=20", or "anon=20": the number behind @name, 0 if it isn't there */
static long field(const char *line, const char *name)
{
	size_t len = strlen(name);
	const char *p = line;

	while ((p = strchr(p, ' '))) {
		p++;
		if (!strncmp(p, name, len) && p[len] == '=')
			return atol(p + len + 1);
	}

	return 0;
}

/* In the guests of scripts/vm, /tmp is a tmpfs. */
static bool is_shmem(const char *line)
{
	static const char * const begins[] = {
		" file=/dev/zero", " file=/dev/shm/", " file=/memfd:",
		" file=/SYSV", " file=/tmp/",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(begins); i++)
		if (strstr(line, begins[i]))
			return true;

	return false;
}

/* Adds what a process has. A line has numbers by node, not by kind and node. */
static void add_process(struct where *where, int pid, int nid)
{
	char name[64], line[4096];
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/numa_maps", pid);
	f = fopen(name, "r");
	while (f && fgets(line, sizeof(line), f)) {
		long anon = field(line, "anon"), all = 0, there, rest;
		int i;

		for (i = 0; i < MAX_NODES; i++) {
			snprintf(name, sizeof(name), "N%d", i);
			all += field(line, name);
		}
		snprintf(name, sizeof(name), "N%d", nid);
		there = field(line, name);
		rest = there > anon ? there - anon : 0;
		where->anon_there += there - rest;
		where->anon_elsewhere += anon - (there - rest);
		if (is_shmem(line)) {
			where->shmem_there += rest;
		} else {
			where->file_there += rest;
			where->file_elsewhere += all - anon - rest;
		}
	}
	if (f)
		fclose(f);
}

/*
 * The processes of a session. Passed over are those that are about to become
 * something else: numactl sets the policy after it got its own memory. The name
 * of the one with most memory there goes to @largest, of NAME_SIZE bytes.
 */
static struct where where_is(int session, int nid, char *largest)
{
	struct where sum = { 0 }, one;
	DIR *dir = opendir("/proc");
	struct dirent *de;
	long most = 0;

	while (dir && (de = readdir(dir))) {
		char path[280], name[NAME_SIZE];
		int sid = 0;
		FILE *f;

		if (!isdigit(de->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", de->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%*d (%31[^)]) %*c %*d %*d %d", name, &sid) != 2)
			sid = 0;
		fclose(f);
		if (sid != session || !strcmp(name, "numactl") ||
		    !strcmp(name, "watch"))
			continue;
		memset(&one, 0, sizeof(one));
		add_process(&one, atoi(de->d_name), nid);
		sum.anon_there += one.anon_there;
		sum.anon_elsewhere += one.anon_elsewhere;
		sum.shmem_there += one.shmem_there;
		sum.file_there += one.file_there;
		sum.file_elsewhere += one.file_elsewhere;
		if (one.anon_there > most) {
			most = one.anon_there;
			memcpy(largest, name, sizeof(name));
		}
	}
	if (dir)
		closedir(dir);

	return sum;
}

/* kB on a node that the kernel has for itself: neither free nor a program's */
struct kernel_memory {
	long cache, page_tables, stacks, slab;
};

static long node_meminfo_kb(int nid, const char *name)
{
	char path[64], line[128], word[64];
	long kb, found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 nid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Node %*d %63[^:]: %ld", word, &kb) == 2 &&
		    !strcmp(word, name))
			found = kb;
	if (f)
		fclose(f);

	return found;
}

/*
 * The page cache is what is left of the files' pages without shared memory. The
 * two are counted one after the other, so while programs run the difference may
 * be off for a moment: take the least of @tries. What is there stays longer.
 */
static struct kernel_memory kernel_memory(int nid, int tries)
{
	struct kernel_memory found = {
		.page_tables = node_meminfo_kb(nid, "PageTables"),
		.stacks = node_meminfo_kb(nid, "KernelStack"),
		.slab = node_meminfo_kb(nid, "Slab"),
	};
	struct node_pages pages;
	int i;

	for (i = 0; i < tries; i++) {
		long cache;

		if (i)
			usleep(5000);
		node_pages(nid, &pages);	/* folds the counters */
		cache = node_meminfo_kb(nid, "FilePages") -
			node_meminfo_kb(nid, "Shmem");
		if (!i || cache < found.cache)
			found.cache = cache > 0 ? cache : 0;
		if (!found.cache)
			break;
	}

	return found;
}

#endif /* WHERE_H */
