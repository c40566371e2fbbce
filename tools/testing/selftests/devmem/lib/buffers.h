/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs buffers_*.c share.
 */
#ifndef DEVMEM_BUFFERS_H
#define DEVMEM_BUFFERS_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_util.h"

#define DEV		"/dev/devmem"
#define EXACT		DEVMEM_ALLOC_EXACT
#define CONTIG		DEVMEM_ALLOC_CONTIG
#define ASK		DEVMEM_ALLOC_ASK

/* A request; its reason in @reason. Return: a descriptor, 0 with ASK, or -errno */
static inline int request(int fd, int nid, unsigned long long size,
			  unsigned int flags, unsigned int *reason)
{
	struct devmem_alloc alloc = {
		.node = nid, .flags = flags, .size = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int ret = devmem_call(fd, DEVMEM_IOC_ALLOC, &alloc);

	*reason = alloc.reason;

	return ret || flags & ASK ? ret : alloc.fd;
}

/* Why not: the reason, or the result if that isn't ENOMEM */
static inline int why(int fd, int nid, unsigned long long size, unsigned int flags)
{
	unsigned int reason;
	int ret = request(fd, nid, size, flags, &reason);

	if (ret == -ENOMEM)
		return reason;
	if (ret > 0)
		close(ret);

	return ret < 0 ? ret : 0;
}

#define NEEDS	"needs root, /dev/devmem, two system and two device nodes"

/* Return: a descriptor, or -1 if the machine isn't for this */
static inline int open_device(struct nodes *n, size_t *size)
{
	if (!find_nodes(n) || getuid())
		return -1;
	*size = node_bytes(n->d1);

	return open(DEV, O_RDWR | O_CLOEXEC);
}

/* Return: what is left in use of the devices */
static inline long close_device(int fd, const struct nodes *n)
{
	if (fd < 0)
		return 0;
	close(fd);

	return nodes_left(n);
}

#endif /* DEVMEM_BUFFERS_H */
