// SPDX-License-Identifier: GPL-2.0
/*
 * kexec_probe IMAGE: loads a kernel image with kexec_file_load(2), has the
 * kernel log where it put the segments, and unloads it. kexec-tools isn't
 * needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef KEXEC_FILE_DEBUG
#define KEXEC_FILE_DEBUG	0x00000008
#endif

int main(int argc, char **argv)
{
	static const char cmdline[] = "console=ttyS0";
	int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;

	if (fd < 0) {
		fprintf(stderr, "kexec_probe: no image %s\n",
			argc == 2 ? argv[1] : "given");
		return 2;
	}
	if (syscall(SYS_kexec_file_load, fd, -1, sizeof(cmdline), cmdline,
		    KEXEC_FILE_NO_INITRAMFS | KEXEC_FILE_DEBUG)) {
		fprintf(stderr, "kexec_file_load: %s\n", strerror(errno));
		return 1;
	}

	return !!syscall(SYS_kexec_file_load, -1, -1, 0, NULL,
			 KEXEC_FILE_UNLOAD);
}
