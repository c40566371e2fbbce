// SPDX-License-Identifier: GPL-2.0
/*
 * An ordinary program of libnuma's, to be looked at: it knows nothing of device
 * nodes and includes nothing of the kernel's. It takes memory to a node and
 * back with move_pages(2) and mbind(2), and sees that nothing gets lost. After
 * each step it waits for Enter, so that one can look where its memory is:
 *
 *	numa_program NODE
 *	numastat -p numa_program
 *
 * Ends 0 only if every page was where it should be, with its content.
 */
#include <numa.h>
#include <numaif.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SIZE	(64UL << 20)

static size_t page, nr_pages;
static bool wrong;

static void report(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%s: ", good ? "ok" : "WRONG");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	wrong |= !good;
}

static void wait_for_enter(void)
{
	int c;

	printf("press Enter\n");
	fflush(stdout);
	do
		c = getchar();
	while (c != '\n' && c != EOF);
}

static unsigned long pattern(size_t i, unsigned long seed)
{
	return (i + 1) * 0x9e3779b97f4a7c15UL ^ seed;
}

static void write_all(char *memory, unsigned long seed)
{
	unsigned long *word = (unsigned long *)memory;
	size_t i;

	for (i = 0; i < SIZE / sizeof(*word); i++)
		word[i] = pattern(i, seed);
}

static void verify(const char *memory, unsigned long seed, const char *when)
{
	const unsigned long *word = (const unsigned long *)memory;
	size_t i, bad = 0;

	for (i = 0; i < SIZE / sizeof(*word); i++)
		bad += word[i] != pattern(i, seed);
	report(!bad, "all %lu MB have their content %s", SIZE >> 20, when);
}

/* All pages to @node, or with -1 none; then counts those that are on @on. */
static size_t move(char *memory, int node, int on)
{
	void **pages = calloc(nr_pages, sizeof(*pages));
	int *nodes = calloc(nr_pages, sizeof(*nodes));
	int *status = calloc(nr_pages, sizeof(*status));
	size_t i, count = 0;

	for (i = 0; i < nr_pages; i++) {
		pages[i] = memory + i * page;
		nodes[i] = node;
	}
	if (node >= 0 && numa_move_pages(0, nr_pages, pages, nodes, status,
					 MPOL_MF_MOVE))
		perror("move_pages");
	if (numa_move_pages(0, nr_pages, pages, NULL, status, 0))
		perror("move_pages");
	for (i = 0; i < nr_pages; i++)
		count += status[i] == on;
	free(pages);
	free(nodes);
	free(status);

	return count;
}

static void move_to(char *memory, int node)
{
	size_t count = move(memory, node, node);

	report(count == nr_pages, "move_pages(2): %zu of %zu pages on node %d",
	       count, nr_pages, node);
}

static void bind_to(char *memory, int node)
{
	struct bitmask *mask = numa_allocate_nodemask();

	numa_bitmask_setbit(mask, node);
	if (mbind(memory, SIZE, MPOL_BIND, mask->maskp, mask->size + 1, 0))
		perror("mbind");
	numa_free_nodemask(mask);
}

static void there_and_back(int node)
{
	char *first = numa_alloc_local(SIZE);
	char *second = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t count;

	if (!first || second == MAP_FAILED) {
		report(false, "out of memory");
		return;
	}
	write_all(first, 1);
	count = move(first, -1, node);
	report(!count, "%zu of %zu pages are on node %d", count, nr_pages,
	       node);
	wait_for_enter();

	move_to(first, node);
	verify(first, 1, "after the move");
	write_all(first, 2);
	verify(first, 2, "written there");
	wait_for_enter();

	bind_to(second, node);
	write_all(second, 3);
	count = move(second, -1, node);
	report(count == nr_pages, "mbind(2): %zu of %zu pages on node %d",
	       count, nr_pages, node);
	verify(second, 3, "written there");
	wait_for_enter();

	move_to(first, 0);
	verify(first, 2, "after the way back");
	wait_for_enter();

	verify(first, 2, "on node 0");
	count = move(second, -1, node);
	report(count == nr_pages, "%zu of %zu pages are still on node %d",
	       count, nr_pages, node);
	verify(second, 3, "there");
	wait_for_enter();

	numa_free(first, SIZE);
	munmap(second, SIZE);
}

int main(int argc, char **argv)
{
	char *end = "";
	int node = argc == 2 ? strtol(argv[1], &end, 10) : -1;

	if (node < 0 || *end) {
		fprintf(stderr, "usage: numa_program NODE\n");
		return 2;
	}
	if (numa_available() < 0 || node > numa_max_node() ||
	    !numa_bitmask_isbitset(numa_all_nodes_ptr, node)) {
		fprintf(stderr, "numa_program: node %d: there is none\n", node);
		return 2;
	}
	page = numa_pagesize();
	nr_pages = SIZE / page;
	there_and_back(node);

	return wrong;
}
