// SPDX-License-Identifier: GPL-2.0
/* Example of Documentation/userspace-api/devmem.rst: wait for room */
#include <fcntl.h>
#include <linux/devmem.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct devmem_watch watch = {
		.node = argc > 1 ? atoi(argv[1]) : 1,
		.eventfd = -1,
		.free = 64 << 20,
	};
	struct pollfd room;

	room.fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	room.events = POLLIN;
	if (room.fd < 0 || ioctl(room.fd, DEVMEM_IOC_WATCH, &watch)) {
		perror("watch");
		return EXIT_FAILURE;
	}
	if (poll(&room, 1, -1) != 1 || !(room.revents & POLLIN)) {
		fprintf(stderr, "node %d is gone\n", watch.node);
		return EXIT_FAILURE;
	}
	printf("64 MB are free on node %d\n", watch.node);

	return EXIT_SUCCESS;
}
