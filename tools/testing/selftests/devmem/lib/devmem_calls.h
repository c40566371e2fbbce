/* SPDX-License-Identifier: GPL-2.0 */
/* The calls of /dev/devmem, for its tests; each returns -errno on failure. */
#ifndef DEVMEM_CALLS_H
#define DEVMEM_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/devmem.h>
#include <sys/ioctl.h>

static inline int devmem_call(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static inline int devmem_info(int fd, int nid, unsigned int flags,
			      struct devmem_info *info)
{
	*info = (struct devmem_info){ .node = nid, .flags = flags };

	return devmem_call(fd, DEVMEM_IOC_INFO, info);
}

/* Return: a descriptor of the buffer */
static inline int devmem_alloc(int fd, int nid, unsigned long long size,
			       unsigned int flags, unsigned long long align)
{
	struct devmem_alloc alloc = {
		.node = nid, .flags = flags, .size = size, .align = align,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int ret = devmem_call(fd, DEVMEM_IOC_ALLOC, &alloc);

	return ret ? ret : alloc.fd;
}

/* One call; what it did is in @m, which has flags and budget beforehand */
static inline int devmem_migrate(int fd, void *p, unsigned long size, int nid,
				 int pidfd, struct devmem_migrate *m)
{
	m->addr = (unsigned long)p;
	m->size = size;
	m->node = nid;
	m->pidfd = pidfd;

	return devmem_call(fd, DEVMEM_IOC_MIGRATE, m);
}

/* @nodes is an array of @nr_nodes, or NULL */
static inline int devmem_verify(int fd, void *p, unsigned long size, int pidfd,
				__u64 *nodes, unsigned int nr_nodes,
				struct devmem_verify *v)
{
	*v = (struct devmem_verify){
		.addr = (unsigned long)p, .size = size, .pidfd = pidfd,
		.nr_nodes = nr_nodes, .nodes = (unsigned long)nodes,
	};

	return devmem_call(fd, DEVMEM_IOC_VERIFY, v);
}

static inline int devmem_watch(int fd, int nid, unsigned long long size,
			       int eventfd)
{
	struct devmem_watch w = {
		.node = nid, .free = size, .eventfd = eventfd,
	};

	return devmem_call(fd, DEVMEM_IOC_WATCH, &w);
}

#endif /* DEVMEM_CALLS_H */
