/* SPDX-License-Identifier: GPL-2.0 */
/* What the C programs of these tests share. */
#ifndef DEVMEM_UTIL_H
#define DEVMEM_UTIL_H

#include <linux/kernel-page-flags.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "../../kselftest.h"

#ifndef MADV_COLD
#define MADV_COLD		20
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB		(21 << 26)	/* of shmget(), too */
#endif
#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING	0x2000
#endif
#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY	5
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif

#define MAX_NODES	64
#define MIB		0x100000UL
#define PAGE		page_bytes	/* of the machine */
#define MAX_PAGE	0x10000UL
#define HUGE		(2 * MIB)
#define NONE		MAX_NODES	/* index in where(): not on any node */
#define BIT(n)		(1UL << (n))
#define NODE(nid)	BIT(nid)	/* a mask */
#define PATIENCE	400	/* seconds; a debug kernel is slow */

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KHUGEPAGED	THP "khugepaged/"
#define KSM		"/sys/kernel/mm/ksm/"
#define HUGE_FILES	THP "hugepages-2048kB/"	/* of HUGE */
#define POOL		"/sys/kernel/mm/hugepages/hugepages-2048kB/"

/* Known before any constructor that has no priority: of a page, of a huge page */
extern unsigned long page_bytes, pmd_bytes;

/* Of /proc/PID/pagemap; those of /proc/kpageflags are KPF_* */
#define PAGEMAP_PFN		(BIT(55) - 1)
#define PAGEMAP_SOFT_DIRTY	BIT(55)
#define PAGEMAP_EXCLUSIVE	BIT(56)
#define PAGEMAP_UFFD_WP		BIT(57)
#define PAGEMAP_SWAPPED		BIT(62)
#define PAGEMAP_PRESENT		BIT(63)

/**
 * struct node_pages - what /proc/zoneinfo says of a node, all zones together
 * @managed: pages the allocator owns
 * @free: pages on its free lists
 * @pcp: free pages on the lists of the CPUs
 * @min: watermark, of zones that have pages
 */
struct node_pages {
	long managed;
	long free;
	long pcp;
	long min;
};

/* Where huge pages are larger, and those of HUGE bytes aren't made so. */
#define NO_COLLAPSE	"MADV_COLLAPSE makes huge pages of a page table's size"

/* Return: number of nodes in a file of /sys/devices/system/node; ids in @ids */
int read_node_list(const char *name, int *ids);

/* DEVMEM_NODES=<list> in the environment overrules what the kernel says. */
int device_nodes(int *ids);

/* Nodes with memory that aren't device nodes */
int system_nodes(int *ids);

/**
 * struct nodes - the first two nodes of each kind
 * @s0: the system node of the CPUs
 * @s1: a system node without CPUs
 * @d1: a device node
 * @d2: another
 */
struct nodes {
	int s0;
	int s1;
	int d1;
	int d2;
};

/* Return: false if the machine has less than that */
bool find_nodes(struct nodes *nodes);

/*
 * After a test: pages of the device nodes that are in use, or counted as that,
 * and pages of all of them that were taken off their list and lost
 */
long nodes_left(const struct nodes *nodes);

/* Return: true when node @nid exists */
bool node_pages(int nid, struct node_pages *pages);

/* Pages of the node that somebody has */
long node_used(int nid);

/* The same when it should be so many: waits for what is freed late */
long node_used_at_rest(int nid, long wanted);

/* The same when nobody should have any */
long node_left(int nid);

/* The line @name of the node's vmstat, -1: none */
long node_stat(int nid, const char *name);

/* The size of a node, 0 when it doesn't exist */
size_t node_bytes(int nid);

/* As in sysfs; -1: no such node */
long node_distance(int from, int to);
/* Has it the setting make_room? The first part of the series has none. */
int has_make_room(int nid);

/* The number of the line @name of a file, -1: none */
long number_in(const char *path, const char *name);

/* What the lines that begin so say of a node, as " N<nid>=number"; -1: nothing */
long numa_count(const char *path, const char *begin, int nid);

/* The line @name of /proc/vmstat or /proc/meminfo (there in kB); -1: none */
long vm_event(const char *name);
long meminfo_kb(const char *name);

/* Sum of all lines of /proc/vmstat that begin with @prefix */
long vm_events(const char *prefix);

/* The number that a file begins with, -1 if there is none */
long read_number(const char *path);

/* The number that a line of a file has, as scanf() finds it; -1: none */
long scan_number(const char *path, const char *format);

/* Waits until it is @least or more. Return: false after so many seconds */
bool wait_number(const char *path, long least, int seconds);

/* Waits for KSM to look at all pages so many times. Return: false if it doesn't */
bool wait_ksm_scans(int scans);

/* Return: 0 or -errno */
int write_text(const char *path, const char *text);

/* Loads the test module if need be. Return: 0 or -errno */
int testmod_load(void);

/* Memory that the kernel has been kept from, by memmap=SIZE$START; 0 without */
unsigned long spare_start(void);
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

/* As map_huge(), of a file */
char *map_huge_file(size_t size, int fd);

/* The huge page at @p, which is filled, is mapped by single entries from now on. */
void by_entries(char *p);

/* Of the pool of pages of HUGE bytes */
char *map_hugetlb(size_t size);

/*
 * For a test's constructor: keeps khugepaged off huge pages. It takes
 * references to those of a file that it finds unmapped, so that to move or to
 * pin them fails now and then. (On a stock kernel, too, where they leave
 * ZONE_MOVABLE.) However long it is told to sleep, it looks at once at the
 * first process that has any; that is this one, as long as it lives.
 */
void khugepaged_sleeps(void);

/* Else it sleeps: see khugepaged_sleeps(). */
static inline void khugepaged(bool fast)
{
	write_text(KHUGEPAGED "scan_sleep_millisecs", fast ? "10" : "100000000");
	write_text(KHUGEPAGED "alloc_sleep_millisecs", fast ? "10" : "60000");
	write_text(KHUGEPAGED "pages_to_scan", fast ? "16384" : "4096");
}

/* As much of the stack (of the thread) or of the heap, untouched */
char *take_stack(size_t size);
char *take_heap(size_t size);

/* Writes a number to each page; whether it is still there */
void fill_pages(char *p, size_t size, unsigned int seed);
bool intact(const char *p, size_t size, unsigned int seed);

/* Pages of the range on each node; [NONE] counts those that aren't there */
void where(char *p, size_t size, long *count);
long on_node(char *p, size_t size, int nid);

/* All of it is there, with its content; if not, tells where it is */
bool placed(char *p, size_t size, int nid, unsigned int seed);

/* Return: as move_pages(), or -errno; the status of the first page in @first */
long move(char *p, size_t size, int nid, int *first);

/*
 * A process that fills what @make gives it, at @at, and stands still.
 * end_holder() returns its exit status, which is 0 if the content was there.
 */
pid_t start_holder(char *(*make)(void), size_t size, unsigned int seed,
		   char **at);
int end_holder(pid_t pid);

/*
 * A process that fills @size at @at with content 1, and ends by @how after @us.
 * Its exit status is 3 if the content was lost before.
 */
pid_t start_mortal(void (*how)(void), size_t size, int us, char **at);
void by_exit(void);
void by_exec(void);
void by_kill(void);

/* A signal that does nothing, each @us; 0: no more */
void ticks(int us);

/* Its pages that are on a node; and moves them, as move() does */
long others_on_node(pid_t pid, char *p, size_t size, int nid);
long move_others(pid_t pid, char *p, size_t size, int nid);

/* As migrate_pages(), or -errno */
long migrate(pid_t pid, unsigned long from, unsigned long to);

/* The mode of the policy for the page at @p, its nodes in @mask; -errno */
int policy_at(void *p, unsigned long *mask);

/* Entry @i of a file of 64-bit entries, 0 if there is none */
unsigned long read_entry(const char *path, unsigned long i);

/*
 * What /proc/self/pagemap says of a page; its frame, 0 if it isn't there; and
 * what /proc/kpageflags says of that
 */
unsigned long pagemap_entry(const void *p);
unsigned long entry_pfn(unsigned long entry);
unsigned long pfn_of(const void *p);
unsigned long page_flags(const void *p);

/* The calling thread, from now on */
bool run_on(int cpu);

/* Pages of the folio that is mapped at @p, 0 when there is none */
long folio_pages(const void *p);

/*
 * MADV_PAGEOUT, of pages that were allocated a moment ago as well: those on a
 * list of another CPU are kept, and a huge page is kept as a whole.
 */
int page_out(char *p, size_t size);

/* Pages that wait on lists of the CPUs go where they belong. */
void drain_lists(void);

/*
 * A cgroup of its own for this process, with one controller. cg_enter()
 * returns false if that can't be.
 */
#define CG	"/sys/fs/cgroup/devmem"
bool cg_enter(const char *controller);
int cg_write(const char *file, const char *fmt, int a, int b);
void cg_leave(void);

/*
 * Swap on a loop device, which reads ahead and goes through the swap cache, or
 * on a ramdisk of 4 MiB, which does neither. Return: 0, or -1 if that can't be
 */
int swap_on_loop(int mib);
void swap_off_loop(void);
int swap_on_ram(void);
void swap_off_ram(void);

#endif /* DEVMEM_UTIL_H */
