// SPDX-License-Identifier: GPL-2.0
/* Example of Documentation/userspace-api/devmem.rst: move an array, and look */
#include <errno.h>
#include <fcntl.h>
#include <linux/devmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define SIZE	(32UL << 20)

/* In steps of 4 MB; whoever presses Ctrl-C in between loses nothing. */
static int move_range(int devmem, void *p, size_t size, int node)
{
	struct devmem_migrate m = {
		.addr = (unsigned long)p,
		.size = size,
		.budget = 4 << 20,
		.node = node,
		.pidfd = DEVMEM_SELF,
	};

	while (m.size) {
		if (ioctl(devmem, DEVMEM_IOC_MIGRATE, &m) && errno != EINTR)
			return -1;
		fprintf(stderr, "\r%3llu %%", 100 - 100 * m.size / size);
	}
	fprintf(stderr, "\n");
	printf("moved %llu pages; stayed: no room %llu, pinned %llu, busy %llu\n",
	       m.moved, m.no_room, m.pinned, m.busy);

	return 0;
}

int main(void)
{
	struct devmem_info info = { .flags = DEVMEM_INFO_NEXT };
	int devmem = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	struct devmem_verify v = { .pidfd = DEVMEM_SELF };
	char *p = aligned_alloc(2 << 20, SIZE);

	if (devmem < 0 || !p || ioctl(devmem, DEVMEM_IOC_INFO, &info)) {
		perror("the first device node");
		return EXIT_FAILURE;
	}
	memset(p, 1, SIZE);

	if (move_range(devmem, p, SIZE, info.node)) {
		perror("to the device");
		return EXIT_FAILURE;
	}

	v.addr = (unsigned long)p;
	v.size = SIZE;
	if (ioctl(devmem, DEVMEM_IOC_VERIFY, &v)) {
		perror("DEVMEM_IOC_VERIFY");
		return EXIT_FAILURE;
	}
	printf("%llu of %llu pages are on devices\n", v.device, v.present);

	return v.device == v.present ? EXIT_SUCCESS : EXIT_FAILURE;
}
