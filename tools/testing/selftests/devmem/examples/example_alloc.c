// SPDX-License-Identifier: GPL-2.0
/* Example of Documentation/userspace-api/devmem.rst: a contiguous buffer */
#include <fcntl.h>
#include <linux/devmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int main(void)
{
	struct devmem_alloc alloc = {
		.node = DEVMEM_NODE_NEAREST,
		.flags = DEVMEM_ALLOC_CONTIG,
		.size = 16 << 20,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int devmem = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	char *p;

	if (devmem < 0 || ioctl(devmem, DEVMEM_IOC_ALLOC, &alloc)) {
		perror("16 MB of a device");
		return EXIT_FAILURE;
	}

	/* A dma-buf: it can be mapped, sent to others, imported by drivers. */
	p = mmap(NULL, alloc.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		 alloc.fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		return EXIT_FAILURE;
	}
	memset(p, 1, alloc.size);
	printf("16 MB, contiguous, of node %d\n", alloc.node);

	/* Free when the last descriptor is closed and the last mapping gone */
	return EXIT_SUCCESS;
}
