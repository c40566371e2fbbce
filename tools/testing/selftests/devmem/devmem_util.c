// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
