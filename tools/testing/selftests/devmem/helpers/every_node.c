// SPDX-License-Identifier: GPL-2.0
/*
 * A program that uses every node it sees, as runtimes of languages and parallel
 * programs do: libnuma's list of all nodes, and on each of them memory by
 * mbind(). It prints the nodes that have some of it in the end.
 */
#include <numa.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SIZE	0x100000UL

/* Return: the node of a page, or negative */
static int node_of(void *page)
{
	int status = -1;

	if (numa_move_pages(0, 1, &page, NULL, &status, 0))
		return -1;

	return status;
}

int main(void)
{
	struct bitmask *used;
	unsigned int nid;
	char *p;

	if (numa_available() < 0)
		return 1;
	used = numa_allocate_nodemask();
	for (nid = 0; nid <= (unsigned int)numa_max_node(); nid++) {
		if (!numa_bitmask_isbitset(numa_all_nodes_ptr, nid))
			continue;
		p = numa_alloc_onnode(SIZE, nid);
		if (!p)
			return 1;
		memset(p, 1, SIZE);
		if (node_of(p) < 0)
			return 1;
		numa_bitmask_setbit(used, node_of(p));
	}
	for (nid = 0; nid < used->size; nid++)
		if (numa_bitmask_isbitset(used, nid))
			printf("%u ", nid);
	putchar('\n');

	return 0;
}
