/* SPDX-License-Identifier: GPL-2.0 */
/* What the C programs of these tests share. */
#ifndef DEVMEM_UTIL_H
#define DEVMEM_UTIL_H

#include <stdbool.h>
#include <stddef.h>

#include "../kselftest.h"

#define MAX_NODES	64
#define MIB		0x100000UL

/**
 * struct node_pages - what /proc/zoneinfo says of a node, all zones together
 * @managed: pages the allocator owns
 * @free: pages on its free lists
 * @pcp: free pages on the lists of the CPUs
 */
struct node_pages {
	long managed;
	long free;
	long pcp;
};

/* Return: number of nodes in a file of /sys/devices/system/node; ids in @ids */
int read_node_list(const char *name, int *ids);

/* DEVMEM_NODES=<list> in the environment overrules what the kernel says. */
int device_nodes(int *ids);

/* Return: true when node @nid exists */
bool node_pages(int nid, struct node_pages *pages);

/* Pages of the node that somebody has */
long node_used(int nid);

/* The line @name of /proc/vmstat or /proc/meminfo (there in kB); -1: none */
long vm_event(const char *name);
long meminfo_kb(const char *name);

/* Sum of all lines of /proc/vmstat that begin with @prefix */
long vm_events(const char *prefix);

/* Return: 0 or -errno */
int write_text(const char *path, const char *text);

/* Loads the test module if need be. Return: 0 or -errno */
int testmod_load(void);
int __printf(1, 2) testmod(const char *fmt, ...);

/* How soon the OOM killer takes this process: -1000 never, 1000 first */
void set_oom_score(int value);

#endif /* DEVMEM_UTIL_H */
