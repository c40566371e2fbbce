// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devmem_util.h"

#define TESTMOD		"/sys/kernel/debug/device_coherent_test/command"

/* "0-1,4" */
static int parse_list(const char *list, int *ids)
{
	int n = 0;
	char *end;

	while (*list >= '0' && *list <= '9') {
		long first = strtol(list, &end, 10), last = first;

		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; first <= last && n < MAX_NODES; first++)
			ids[n++] = first;
		list = *end == ',' ? end + 1 : end;
	}

	return n;
}

int read_node_list(const char *name, int *ids)
{
	char path[128], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", name);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);

	return parse_list(text, ids);
}

int device_nodes(int *ids)
{
	const char *given = getenv("DEVMEM_NODES");

	if (given)
		return parse_list(given, ids);

	return read_node_list("has_device_coherent", ids);
}

int system_nodes(int *ids)
{
	int dev[MAX_NODES], all[MAX_NODES], i, j, n = 0;
	int nr_all = read_node_list("has_memory", all);
	int nr_dev = device_nodes(dev);

	for (i = 0; i < nr_all; i++) {
		for (j = 0; j < nr_dev && dev[j] != all[i]; j++)
			;
		if (j == nr_dev)
			ids[n++] = all[i];
	}

	return n;
}

/* Counters are kept for each CPU and folded now and then: do it now. */
static void refresh(void)
{
	char c;
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);

	if (fd < 0)
		return;
	while (read(fd, &c, 1) > 0)
		;
	close(fd);
}

bool node_pages(int nid, struct node_pages *pages)
{
	bool here = false, found = false;
	char line[256];
	FILE *f;
	long n;
	int id;

	memset(pages, 0, sizeof(*pages));
	refresh();
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone", &id) == 1) {
			here = id == nid;
			found |= here;
		} else if (!here) {
			continue;
		} else if (sscanf(line, " pages free %ld", &n) == 1) {
			pages->free += n;
		} else if (sscanf(line, " managed %ld", &n) == 1) {
			pages->managed += n;
		} else if (sscanf(line, " count: %ld", &n) == 1) {
			pages->pcp += n;
		}
	}
	fclose(f);

	return found;
}

/*
 * refresh() also makes the CPUs' lists shrink, and pages that leave one are in
 * neither count until the next time. So read until the lists are at rest.
 */
long node_used(int nid)
{
	struct node_pages now = { .free = -1 }, before;
	int i = 0;

	do {
		before = now;
		node_pages(nid, &now);
	} while ((now.pcp != before.pcp || now.free != before.free) &&
		 ++i < 200);

	return now.managed - now.free - now.pcp;
}

size_t node_bytes(int nid)
{
	struct node_pages pages;

	return node_pages(nid, &pages) ? pages.managed * PAGE : 0;
}

static long sum_lines(const char *path, const char *name, bool prefix)
{
	size_t len = strlen(name);
	long n, sum = -1;
	char line[256];
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f)) {
		char *value = strpbrk(line, ": ");

		if (!value || strncmp(line, name, len) ||
		    (!prefix && value != line + len))
			continue;
		if (sscanf(value, "%*[: ]%ld", &n) == 1)
			sum = sum < 0 ? n : sum + n;
	}
	if (f)
		fclose(f);

	return sum;
}

long vm_event(const char *name)
{
	return sum_lines("/proc/vmstat", name, false);
}

long vm_events(const char *prefix)
{
	return sum_lines("/proc/vmstat", prefix, true);
}

long meminfo_kb(const char *name)
{
	return sum_lines("/proc/meminfo", name, false);
}

long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);

	return n;
}

int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = -errno;
	close(fd);

	return rc;
}

int testmod_load(void)
{
	if (!access(TESTMOD, W_OK))
		return 0;
	if (system("modprobe device_coherent_test 2>/dev/null") &&
	    system("insmod $DEVMEM_OBJ/mm/device_coherent_test.ko 2>&1"))
		return -ENOENT;
	if (access(TESTMOD, W_OK))
		return -ENOENT;

	return 0;
}

int testmod(const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	return write_text(TESTMOD, text);
}

void set_oom_score(int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	write_text("/proc/self/oom_score_adj", text);
}

/* -- Mappings and where their pages are ----------------------------------- */

long mbind_nodes(void *p, size_t size, int mode, unsigned long mask,
		 unsigned int flags)
{
	return syscall(SYS_mbind, p, size, mode, &mask, MAX_NODES + 1, flags);
}

long set_policy(int mode, unsigned long mask)
{
	return syscall(SYS_set_mempolicy, mode, &mask, MAX_NODES + 1);
}

char *map_pages(size_t size, int flags, int fd)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

char *map_anon(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

char *map_huge(size_t size)
{
	char *p = map_anon(size + HUGE);
	uintptr_t start = ((uintptr_t)p + HUGE - 1) & ~(HUGE - 1);

	return p ? (char *)start : NULL;
}

void fill_pages(char *p, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		*(unsigned int *)(p + i) = seed + i / PAGE;
}

bool intact(const char *p, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		if (*(unsigned int *)(p + i) != seed + i / PAGE)
			return false;

	return true;
}

void where(char *p, size_t size, long *count)
{
	size_t i, n = size / PAGE;
	void **pages = calloc(n, sizeof(*pages));
	int *status = calloc(n, sizeof(*status));

	memset(count, 0, (MAX_NODES + 1) * sizeof(*count));
	for (i = 0; i < n; i++)
		pages[i] = p + i * PAGE;
	if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0))
		memset(status, -1, n * sizeof(*status));
	for (i = 0; i < n; i++)
		count[status[i] >= 0 ? status[i] : NONE]++;
	free(pages);
	free(status);
}

long on_node(char *p, size_t size, int nid)
{
	long count[MAX_NODES + 1];

	where(p, size, count);

	return count[nid];
}

long move(char *p, size_t size, int nid, int *first)
{
	size_t i, n = size / PAGE;
	void **pages = calloc(n, sizeof(*pages));
	int *status = calloc(n, sizeof(*status));
	int *nodes = calloc(n, sizeof(*nodes));
	long rc;

	for (i = 0; i < n; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = nid;
	}
	rc = syscall(SYS_move_pages, 0, n, pages, nodes, status,
		     MPOL_MF_MOVE);
	if (rc < 0)
		rc = -errno;
	if (first)
		*first = status[0];
	free(pages);
	free(status);
	free(nodes);

	return rc;
}

/* -- Cgroups and swap ------------------------------------------------------ */

int cg_write(const char *file, const char *fmt, int a, int b)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), CG "/%s", file);
	snprintf(text, sizeof(text), fmt, a, b);

	return write_text(path, text);
}

bool cg_enter(const char *controller)
{
	char text[32];

	snprintf(text, sizeof(text), "+%s", controller);
	write_text("/sys/fs/cgroup/cgroup.subtree_control", text);
	mkdir(CG, 0755);

	return !cg_write("cgroup.procs", "%d", getpid(), 0);
}

void cg_leave(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", getpid());
	write_text("/sys/fs/cgroup/cgroup.procs", text);
	rmdir(CG);
}

#define SWAP_FILE	"/dev/shm/devmem-swap"

/* A loop device, since swap on a ramdisk is never read ahead */
int swap_on_loop(int mib)
{
	char text[160];

	if (access("/dev/loop0", W_OK))
		return -1;
	snprintf(text, sizeof(text), "truncate -s %dM %s", mib, SWAP_FILE);
	if (system(text) || system("losetup /dev/loop0 " SWAP_FILE) ||
	    system("mkswap /dev/loop0 >/dev/null 2>&1"))
		return -1;

	return swapon("/dev/loop0", 0);
}

void swap_off_loop(void)
{
	swapoff("/dev/loop0");
	if (system("losetup -d /dev/loop0"))
		perror("losetup");
	unlink(SWAP_FILE);
}
