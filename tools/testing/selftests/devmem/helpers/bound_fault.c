// SPDX-License-Identifier: GPL-2.0
/*
 * bound_fault NID MIB: a strict policy for a node, and so much memory by it.
 * Exits with 0 when all of it is on the node, with 1 when some is elsewhere; a
 * fault that can't be served ends it by SIGBUS.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/devmem_util.h"

int main(int argc, char **argv)
{
	size_t size;
	char *p;
	int nid;

	if (argc != 3)
		return 2;
	nid = atoi(argv[1]);
	size = atoi(argv[2]) * MIB;

	alarm(60);
	p = map_anon(size);
	if (!p || mbind_nodes(p, size, MPOL_BIND, NODE(nid), 0))
		return 3;
	memset(p, 1, size);

	return on_node(p, size, nid) != (long)(size / PAGE);
}
