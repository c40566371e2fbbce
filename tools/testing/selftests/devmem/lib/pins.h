/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs pins_*.c share: pages to pin, and who pins them.
 */
#ifndef DEVMEM_PINS_H
#define DEVMEM_PINS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/udmabuf.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../../../../mm/gup_test.h"
#include "../../kselftest_harness.h"

/* Seconds. The debug kernel under emulation is slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#ifndef SOL_XDP
#define SOL_XDP		283
#endif
#ifndef AF_XDP
#define AF_XDP		44
#endif
#define UMEM_REG	4	/* XDP_UMEM_REG; linux/if_xdp.h varies in size */

#define SIZE		(4 * MIB)
#define PAGES		((long)(SIZE / PAGE))

enum kind { ANON, ANON_HUGE, COPY, SHARED, SHARED_HUGE };

struct area {
	char *p;
	int fd;			/* of a memfd, or -1 */
};

static inline bool is_huge(enum kind kind)
{
	return kind == ANON_HUGE || kind == SHARED_HUGE;
}

/*
 * This program's own file, again and again, since it isn't that large. (tmpfs
 * wouldn't do: there a policy is the file's, even of a private mapping.)
 */
static inline char *map_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	size_t i, len = lseek(fd, 0, SEEK_END) & ~(PAGE - 1);
	char *p = map_anon(SIZE);

	for (i = 0; p && i < SIZE; i += len)
		if (mmap(p + i, SIZE - i < len ? SIZE - i : len,
			 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			 0) == MAP_FAILED)
			p = NULL;
	close(fd);

	return p;
}

static inline bool make_area(struct area *a, enum kind kind)
{
	a->fd = -1;
	switch (kind) {
	case ANON:
	case ANON_HUGE:
		a->p = map_huge(SIZE);
		break;
	case COPY:
		a->p = map_file();
		break;
	case SHARED:
	case SHARED_HUGE:
		write_text(THP "shmem_enabled", "advise");
		a->fd = memfd_create("devmem", MFD_ALLOW_SEALING);
		if (a->fd < 0 || ftruncate(a->fd, SIZE) ||
		    fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK))
			return false;
		a->p = map_huge_file(SIZE, a->fd);
		break;
	}
	if (a->p)
		madvise(a->p, SIZE, is_huge(kind) ? MADV_HUGEPAGE :
						    MADV_NOHUGEPAGE);

	return a->p;
}

static inline void drop_area(struct area *a)
{
	munmap(a->p, SIZE);
	if (a->fd >= 0)
		close(a->fd);
}

/* Each returns a file whose closing ends the pin, or -errno. */

static inline int by_gup_flags(char *p, size_t size, unsigned int flags)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)p,
		.size = size,
		.flags = flags,
	};
	int rc, fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, PIN_LONGTERM_TEST_START, &args))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static inline int by_gup(char *p, size_t size)
{
	return by_gup_flags(p, size, PIN_LONGTERM_TEST_FLAG_USE_WRITE);
}

/* Is what was pinned what is mapped? */
static inline bool gup_sees(int fd, size_t size, unsigned int seed)
{
	char *copy = map_anon(size);
	__u64 addr = (uintptr_t)copy;
	bool same = !ioctl(fd, PIN_LONGTERM_TEST_READ, &addr) &&
		    intact(copy, size, seed);

	munmap(copy, size);

	return same;
}

static inline int ring_setup(struct io_uring_params *params)
{
	memset(params, 0, sizeof(*params));

	return syscall(SYS_io_uring_setup, 4, params);
}

static inline int by_io_uring(char *p, size_t size)
{
	struct iovec iov = { .iov_base = p, .iov_len = size };
	struct io_uring_params params;
	int rc, fd = ring_setup(&params);

	if (fd < 0)
		return -errno;
	if (!syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov,
		     1))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static inline int by_af_xdp(char *p, size_t size)
{
	struct {
		__u64 addr, len;
		__u32 chunk_size, headroom, flags, padding;
	} umem = { (uintptr_t)p, size, PAGE, 0, 0, 0 };
	int rc, fd = socket(AF_XDP, SOCK_RAW, 0);

	if (fd < 0)
		return -errno;
	if (!setsockopt(fd, SOL_XDP, UMEM_REG, &umem, sizeof(umem)))
		return fd;
	rc = -errno;
	close(fd);

	return rc;
}

static inline int make_udmabuf(int memfd, size_t size)
{
	struct udmabuf_create create = { .memfd = memfd, .size = size };
	int buf, fd = open("/dev/udmabuf", O_RDWR);

	if (fd < 0)
		return -errno;
	buf = ioctl(fd, UDMABUF_CREATE, &create);
	if (buf < 0)
		buf = -errno;
	close(fd);

	return buf;
}

/* Can all of the device be had in one piece? Return: 0 or -errno */
static inline int contiguous(int nid)
{
	int rc = testmod("contig %d %ld 1", nid, node_bytes(nid) / PAGE);

	testmod("free");

	return rc;
}

static inline bool first_nodes(int *dev, int *sys)
{
	int devs[MAX_NODES], syss[MAX_NODES];

	if (!device_nodes(devs) || !system_nodes(syss) || getuid())
		return false;
	*dev = devs[0];
	*sys = syss[0];

	return true;
}

static inline void __attribute__((constructor)) before_tests(void)
{
	khugepaged_sleeps();
}

#endif /* DEVMEM_PINS_H */
