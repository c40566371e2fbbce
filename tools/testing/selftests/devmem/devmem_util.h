/* SPDX-License-Identifier: GPL-2.0 */
/* What the C programs of these tests share. */
#ifndef DEVMEM_UTIL_H
#define DEVMEM_UTIL_H

#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "../kselftest.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY	5
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif

#define MAX_NODES	64
#define MIB		0x100000UL
#define PAGE		4096UL
#define HUGE		(2 * MIB)
#define NONE		MAX_NODES	/* index in where(): not on any node */

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

/* Nodes with memory that aren't device nodes */
int system_nodes(int *ids);

/* Return: true when node @nid exists */
bool node_pages(int nid, struct node_pages *pages);

/* Pages of the node that somebody has */
long node_used(int nid);

/* The size of a node, 0 when it doesn't exist */
size_t node_bytes(int nid);

/* The line @name of /proc/vmstat or /proc/meminfo (there in kB); -1: none */
long vm_event(const char *name);
long meminfo_kb(const char *name);

/* Sum of all lines of /proc/vmstat that begin with @prefix */
long vm_events(const char *prefix);

/* The number that a file begins with, -1 if there is none */
long read_number(const char *path);

/* Return: 0 or -errno */
int write_text(const char *path, const char *text);

/* Loads the test module if need be. Return: 0 or -errno */
int testmod_load(void);
int __printf(1, 2) testmod(const char *fmt, ...);

/* How soon the OOM killer takes this process: -1000 never, 1000 first */
void set_oom_score(int value);

/*
 * The system calls, for a mask that fits a word. Not by the names that
 * libnuma has for them, with which some of the programs are linked.
 */
long mbind_nodes(void *p, size_t size, int mode, unsigned long mask,
		 unsigned int flags);
long set_policy(int mode, unsigned long mask);

/* As mmap() for reading and writing, but NULL when it fails */
char *map_pages(size_t size, int flags, int fd);
char *map_anon(size_t size);

/* A mapping at a huge page boundary, with nothing of its huge pages outside */
char *map_huge(size_t size);

/* Writes a number to each page; whether it is still there */
void fill_pages(char *p, size_t size, unsigned int seed);
bool intact(const char *p, size_t size, unsigned int seed);

/* Pages of the range on each node; [NONE] counts those that aren't there */
void where(char *p, size_t size, long *count);
long on_node(char *p, size_t size, int nid);

/* Return: as move_pages(), or -errno; the status of the first page in @first */
long move(char *p, size_t size, int nid, int *first);

/*
 * A cgroup of its own for this process, with one controller. cg_enter()
 * returns false if that can't be.
 */
#define CG	"/sys/fs/cgroup/devmem"
bool cg_enter(const char *controller);
int cg_write(const char *file, const char *fmt, int a, int b);
void cg_leave(void);

/* Swap on a loop device. Return: 0, or -1 if that can't be */
int swap_on_loop(int mib);
void swap_off_loop(void);

#endif /* DEVMEM_UTIL_H */
