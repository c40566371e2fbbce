// SPDX-License-Identifier: GPL-2.0
/* /dev/devmem: its calls, and what to do when it can't be had. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tool.h"

#define DEV_PATH	"/dev/devmem"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open	434
#endif

/*
 * With O_RDONLY one may ask about nodes, wait, and look at oneself; for all else
 * it takes O_RDWR. Return: a descriptor, or -errno
 */
int dev_open(int flags)
{
	int fd = open(DEV_PATH, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Why dev_open() failed, and the way out. Return: the exit status */
int dev_explain(int err)
{
	complain(DEV_PATH ": %s", strerror(-err));
	if (err == -EACCES || err == -EPERM) {
		complain("run it as root, or let a udev rule open the device:");
		complain("KERNEL==\"devmem\", GROUP=\"render\", MODE=\"0664\"");
	} else if (access("/sys/devices/system/node/has_device_coherent", F_OK)) {
		complain("this kernel lacks CONFIG_ZONE_DEVICE_COHERENT=y");
	} else if (err == -ENOENT || err == -ENXIO || err == -ENODEV) {
		complain("the kernel needs CONFIG_DEVMEM_COHERENT=y");
	}
	return EXIT_FAILURE;
}

/* For commands that can do without, in part */
void dev_missing(int err, const char *what)
{
	dev_explain(err);
	complain("without it, %s", what);
}

/* Return: 0 or -errno */
int dev_info(int fd, int node, __u32 flags, struct devmem_info *info)
{
	memset(info, 0, sizeof(*info));
	info->node = node;
	info->flags = flags;
	return ioctl(fd, DEVMEM_IOC_INFO, info) ? -errno : 0;
}

/* A signal makes it start again, unless it is one to stop. */
int dev_verify(int fd, int pidfd, __u64 start, __u64 end,
	       struct devmem_verify *v, __u64 *nodes, int nr_nodes)
{
	int err;

	do {
		memset(v, 0, sizeof(*v));
		if (nr_nodes)
			memset(nodes, 0, nr_nodes * sizeof(*nodes));
		v->addr = start;
		v->size = end - start;
		v->pidfd = pidfd;
		v->nr_nodes = nr_nodes;
		v->nodes = (uintptr_t)nodes;
		err = ioctl(fd, DEVMEM_IOC_VERIFY, v) ? -errno : 0;
	} while (err == -EINTR && !stop_signal);
	return err;
}

/* Return: a pidfd, or -errno */
int process_open(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* Return: the exit status, after a message */
int process_explain(pid_t pid, int err)
{
	const char *text = strerror(-err);

	if (err == -ESRCH || err == -ENOENT)
		text = "no such process, or it has exited meanwhile";
	else if (err == -EINVAL)
		text = "not a process (a thread? take the process's id)";
	complain("process %d: %s", (int)pid, text);
	if (err == -EACCES || err == -EPERM)
		complain("it must be yours, or you need CAP_SYS_PTRACE (root)");
	return EXIT_FAILURE;
}
