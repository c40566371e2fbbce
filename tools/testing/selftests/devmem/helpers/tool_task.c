// SPDX-License-Identifier: GPL-2.0
/*
 * What devmem_tool.sh has devmem(1) look at and move.
 *
 *	tool_task map NODE MB		a buffer, by a mapping alone
 *	tool_task rename NODE MB	likewise, of another name; a descriptor is
 *					left
 *	tool_task send NODE MB		a buffer that is on its way to nobody
 *	tool_task forge NODE MB		likewise, of a name that lies about it
 *	tool_task memory MB		private memory, in small pages; what is in
 *					it is looked at again after SIGUSR1
 *	tool_task swapped MB		likewise, swapped out
 *
 * It says "ready", and stays until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/devmem.h>
#include <linux/dma-buf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB		(1024UL * 1024)
#define HUGE_PAGE	(2 * MIB)

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int buffer(int node, size_t size)
{
	struct devmem_alloc a = {
		.node = node,
		.flags = DEVMEM_ALLOC_EXACT,
		.size = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, DEVMEM_IOC_ALLOC, &a))
		die("DEVMEM_IOC_ALLOC");
	close(fd);

	return a.fd;
}

static void map_buffer(int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	memset(p, 1, size);
}

static void send_to_nobody(int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { "", 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair");
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	if (sendmsg(pair[0], &msg, 0) != 1)
		die("sendmsg");
}

static char *memory(size_t size)
{
	char *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (p == MAP_FAILED)
		die("mmap");
	p = (char *)(((unsigned long)p + HUGE_PAGE - 1) & -HUGE_PAGE);
	for (i = 0; i < size; i += 4096)
		*(unsigned long *)(p + i) = i + 1;

	return p;
}

static int intact(const char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += 4096) {
		if (*(const unsigned long *)(p + i) != i + 1)
			return 0;
	}

	return 1;
}

static void name_buffer(int fd, const char *name)
{
	if (ioctl(fd, DMA_BUF_SET_NAME_A, name))
		die("DMA_BUF_SET_NAME");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	size_t size = argc > 2 ? atol(argv[argc - 1]) * MIB : 0;
	int fd = -1, sig;
	char *p = NULL;
	sigset_t look;

	if (!size)
		return 2;
	if (argc == 4)
		fd = buffer(atoi(argv[2]), size);
	if (!strcmp(mode, "rename"))
		name_buffer(fd, "something else");
	if (!strcmp(mode, "forge"))
		name_buffer(fd, "x\nsize:\t9999999999\nino:\t7");
	if (!strcmp(mode, "map") || !strcmp(mode, "rename"))
		map_buffer(fd, size);
	if (!strcmp(mode, "send"))
		send_to_nobody(fd);
	if (!strcmp(mode, "map") || !strcmp(mode, "send"))
		close(fd);
	if (!strcmp(mode, "memory"))
		p = memory(size);
	if (!strcmp(mode, "swapped") &&
	    madvise(memory(size), size, MADV_PAGEOUT))
		die("MADV_PAGEOUT");
	sigemptyset(&look);
	sigaddset(&look, SIGUSR1);
	sigprocmask(SIG_BLOCK, &look, NULL);
	puts("ready");
	fflush(stdout);
	while (!sigwait(&look, &sig)) {
		puts(p && intact(p, size) ? "intact" : "broken");
		fflush(stdout);
	}
	return EXIT_FAILURE;
}
