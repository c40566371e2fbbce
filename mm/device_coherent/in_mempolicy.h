/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A part of mm/mempolicy.c, which includes it: what others of this folder need to
 * know of policies.
 */
#ifdef CONFIG_ZONE_DEVICE_COHERENT
#include "internal.h"

/* The node that a request by policy @pol starts with, @nid being the local */
int device_coherent_policy_nid(struct mempolicy *pol, gfp_t gfp, pgoff_t ilx,
			       int nid)
{
	policy_nodemask(gfp, pol, ilx, &nid);

	return nid;
}

/**
 * device_coherent_bind_range - bind a range of the caller's to a node
 * @addr: the first byte, page-aligned
 * @size: bytes
 * @nid: the node; NUMA_NO_NODE for the default policy
 *
 * Context: Process context, sleeps, takes the mmap lock for writing.
 * Return: 0 or an error of mbind(2).
 */
int device_coherent_bind_range(unsigned long addr, unsigned long size, int nid)
{
	nodemask_t nodes = NODE_MASK_NONE;

	if (nid == NUMA_NO_NODE)
		return do_mbind(addr, size, MPOL_DEFAULT, 0, &nodes, 0);

	node_set(nid, nodes);
	return do_mbind(addr, size, MPOL_BIND, 0, &nodes, 0);
}
#endif /* CONFIG_ZONE_DEVICE_COHERENT */
