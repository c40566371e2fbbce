// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: what it gives, to whom, and what it says.
 *
 * Invariant 2: a buffer is of the node that was named. Invariant 5: a buffer is
 * zeroed; a range that moves, or doesn't, keeps its content; and after each test
 * no page of a device is in use. Invariant 6: buffers are used by drivers where
 * they are, and what can be moved gives way to a contiguous one. Invariant 4: a
 * request beyond the limit of a cgroup fails, and kills nobody.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan". What is
 * wrong on purpose is in driver_bad.c.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_layout.h"
#include "devmem_util.h"
#include "../../../../mm/gup_test.h"
#include "../kselftest_harness.h"

#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))

FIXTURE(driver)
{
	struct nodes n;
	size_t size;			/* of the first device */
	int fd;
};

FIXTURE_SETUP(driver)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
	self->size = node_bytes(self->n.d1);
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(driver)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* -- Nodes ----------------------------------------------------------------- */

static long distance_between(int from, int to)
{
	char path[64], line[512], *p = line;
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/%s", from,
		 "distance");
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		for (; to >= 0; to--)
			value = strtol(p, &p, 10);
	if (f)
		fclose(f);

	return value;
}

TEST_F_TIMEOUT(driver, info_of_each_node, PATIENCE)
{
	int ids[MAX_NODES], nr = device_nodes(ids), i, at = 0;
	struct node_pages pages;
	struct devmem_info info;

	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, devmem_info(self->fd, at, DEVMEM_INFO_NEXT |
					 DEVMEM_INFO_RUNS, &info));
		ASSERT_TRUE(node_pages(ids[i], &pages));
		EXPECT_EQ(ids[i], info.node);
		EXPECT_EQ(distance_between(self->n.s0, ids[i]), info.distance);
		EXPECT_EQ(pages.managed * PAGE, info.size);
		EXPECT_EQ(info.size, info.free);
		EXPECT_EQ(info.size, info.largest_free);
		EXPECT_EQ(info.size, info.largest_obtainable);
		EXPECT_EQ(node_stat(ids[i], "coherent_moved_in"), info.moved_in);
		at = info.node + 1;
	}
	EXPECT_EQ(-ENODEV, devmem_info(self->fd, at, DEVMEM_INFO_NEXT, &info));
	EXPECT_EQ(-ENODEV, devmem_info(self->fd, self->n.s0, 0, &info));
	EXPECT_EQ(0, devmem_info(self->fd, self->n.d2, 0, &info));
	EXPECT_EQ(0, info.largest_free);
}

TEST_F_TIMEOUT(driver, info_of_a_used_node, PATIENCE)
{
	struct devmem_info info, before;
	char *p = map_anon(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, 0, &before));
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, DEVMEM_ALLOC_CONTIG, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, DEVMEM_INFO_RUNS, &info));
	EXPECT_EQ(before.free - 2 * SIZE, info.free);
	EXPECT_LE(info.largest_free, info.free);
	/* What is bound can be moved, the buffer can't. */
	EXPECT_LE(info.largest_free, info.largest_obtainable);
	EXPECT_LE(info.largest_obtainable, info.size - SIZE);
	EXPECT_LE((info.size - SIZE) / 2, info.largest_obtainable);
	munmap(p, SIZE);

	p = map_anon(SIZE);
	fill_pages(p, SIZE, 2);
	EXPECT_EQ(PAGES, move(p, SIZE, self->n.d1, NULL) ? 0 : PAGES);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, 0, &info));
	EXPECT_EQ(before.moved_in + PAGES, info.moved_in);
	munmap(p, SIZE);
	close(buf);
}

/* -- Buffers --------------------------------------------------------------- */

static char *map_buffer(int buf, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* At a huge page boundary */
static char *map_buffer_huge(int buf, size_t size)
{
	char *p = map_huge(size);

	if (!p)
		return NULL;
	p = mmap(p, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, buf, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool all_zero(const char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += sizeof(long))
		if (*(const long *)(p + i))
			return false;

	return true;
}

FIXTURE(buffer)
{
	struct nodes n;
	int fd;
};

FIXTURE_VARIANT(buffer)
{
	unsigned int flags;
	unsigned long align;
	size_t size;
};

FIXTURE_VARIANT_ADD(buffer, plain)
{
	.size = SIZE + 3 * PAGE,
};

FIXTURE_VARIANT_ADD(buffer, page)
{
	.size = PAGE,
};

FIXTURE_VARIANT_ADD(buffer, huge)
{
	.flags = DEVMEM_ALLOC_HUGE,
	.size = SIZE,
};

FIXTURE_VARIANT_ADD(buffer, contiguous)
{
	.flags = DEVMEM_ALLOC_CONTIG,
	.size = SIZE + 3 * PAGE,
};

FIXTURE_VARIANT_ADD(buffer, aligned)
{
	.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
	.align = 32 * MIB,
	.size = SIZE + PAGE,
};

FIXTURE_VARIANT_ADD(buffer, contiguous_huge)
{
	.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_HUGE,
	.size = SIZE,
};

FIXTURE_SETUP(buffer)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
}

FIXTURE_TEARDOWN(buffer)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

/* Dirty all of a node, so that what isn't zeroed shows. */
static void make_dirty(int fd, int nid)
{
	size_t size = node_bytes(nid);
	int buf = devmem_alloc(fd, nid, size, DEVMEM_ALLOC_CONTIG, 0);
	char *p = buf < 0 ? NULL : map_buffer_huge(buf, size);

	if (p) {
		memset(p, 0xaa, size);
		munmap(p, size);
	}
	close(buf);
}

TEST_F_TIMEOUT(buffer, is_of_the_node_and_zeroed, PATIENCE)
{
	long pages = variant->size / PAGE;
	int buf;
	char *p;

	make_dirty(self->fd, self->n.d2);
	buf = devmem_alloc(self->fd, self->n.d2, variant->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	EXPECT_EQ(pages, node_used(self->n.d2));
	EXPECT_EQ(0, node_used(self->n.d1));

	p = map_buffer(buf, variant->size);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(all_zero(p, variant->size));
	fill_pages(p, variant->size, 7);
	EXPECT_TRUE(intact(p, variant->size, 7));
	EXPECT_EQ(variant->size, lseek(buf, 0, SEEK_END));

	/* The mapping is the last user. */
	close(buf);
	EXPECT_EQ(pages, node_used(self->n.d2));
	EXPECT_TRUE(intact(p, variant->size, 7));
	munmap(p, variant->size);
	EXPECT_EQ(0, node_left(self->n.d2));
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);

	return usage.ru_minflt;
}

TEST_F_TIMEOUT(buffer, is_contiguous_if_asked_for, PATIENCE)
{
	unsigned long align = variant->align ?: PAGE;
	int buf;

	if (!(variant->flags & DEVMEM_ALLOC_CONTIG))
		SKIP(return, "need not be contiguous");
	if (variant->flags & DEVMEM_ALLOC_HUGE)
		align = HUGE;
	ASSERT_EQ(0, testmod_load());
	buf = devmem_alloc(self->fd, self->n.d1, variant->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	EXPECT_EQ(0, testmod("layout %d %lu", buf, align));
	EXPECT_EQ(-EDOM, testmod("layout %d %lu", buf, 1UL << 50));
	close(buf);
}

/* One fault for each huge page, of a buffer that is made of them */
TEST_F_TIMEOUT(buffer, is_mapped_by_huge_pages, PATIENCE)
{
	long before, after;
	size_t i;
	int buf;
	char *p;

	if (!(variant->flags & DEVMEM_ALLOC_HUGE))
		SKIP(return, "not of huge pages");
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, variant->flags, 0);
	ASSERT_LE(0, buf);
	p = map_buffer_huge(buf, SIZE);
	ASSERT_NE(NULL, p);
	before = faults();
	for (i = 0; i < SIZE; i += PAGE)
		p[i] = 1;
	after = faults();
	EXPECT_LE(SIZE / HUGE, after - before);
	/* Beside those of the program itself */
	EXPECT_GE(SIZE / HUGE + 3, after - before);
	munmap(p, SIZE);

	/* One that isn't aligned has the same content, page by page. */
	p = map_huge(SIZE + HUGE);
	ASSERT_NE(NULL, p);
	ASSERT_NE(MAP_FAILED, mmap(p + PAGE, SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, buf, 0));
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(1, p[PAGE + i]);
	munmap(p, SIZE + HUGE);
	close(buf);
}

TEST_F_TIMEOUT(buffer, is_shared_with_a_child, PATIENCE)
{
	int buf, status;
	char *p;

	buf = devmem_alloc(self->fd, self->n.d1, variant->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	/* Of huge pages, both have huge mappings. */
	p = variant->flags & DEVMEM_ALLOC_HUGE ?
	    map_buffer_huge(buf, variant->size) : map_buffer(buf, variant->size);
	ASSERT_NE(NULL, p);
	fill_pages(p, variant->size, 3);
	if (!fork()) {
		bool ok = intact(p, variant->size, 3);

		fill_pages(p, variant->size, 4);
		_exit(!ok);
	}
	wait(&status);
	EXPECT_EQ(0, status);
	EXPECT_TRUE(intact(p, variant->size, 4));
	EXPECT_EQ((long)(variant->size / PAGE), node_used(self->n.d1));
	munmap(p, variant->size);
	close(buf);
}

static int send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { }, c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));

	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(sock, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));

	return fd;
}

TEST_F_TIMEOUT(driver, buffer_is_sent_to_another_process, PATIENCE)
{
	int pair[2], status, buf;
	char *p;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	if (!fork()) {
		buf = receive_fd(pair[1]);
		p = map_buffer(buf, SIZE);
		_exit(!p || !intact(p, SIZE, 9));
	}
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, 0, 0);
	ASSERT_LE(0, buf);
	p = map_buffer(buf, SIZE);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 9);
	ASSERT_EQ(0, send_fd(pair[0], buf));
	munmap(p, SIZE);
	close(buf);
	wait(&status);
	EXPECT_EQ(0, status);
	close(pair[0]);
	close(pair[1]);
}

/* No node named: a device node. Full: another, unless that isn't wanted. */
TEST_F_TIMEOUT(driver, nearest_node_with_room, PATIENCE)
{
	struct devmem_alloc alloc = {
		.node = DEVMEM_NODE_NEAREST, .size = SIZE, .fd_flags = O_RDWR,
	};
	int all, buf;

	ASSERT_EQ(0, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_TRUE(alloc.node == self->n.d1 || alloc.node == self->n.d2);
	EXPECT_EQ(PAGES, node_used(alloc.node));
	close(alloc.fd);

	/* Exactly the nearest would be none that is named. */
	EXPECT_EQ(-EINVAL, devmem_alloc(self->fd, DEVMEM_NODE_NEAREST, SIZE,
					DEVMEM_ALLOC_EXACT, 0));
	all = devmem_alloc(self->fd, self->n.d1, self->size, 0, 0);
	ASSERT_LE(0, all);
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, SIZE,
					DEVMEM_ALLOC_EXACT, 0));
	EXPECT_EQ(0, node_used(self->n.d2));
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, 0, 0);
	EXPECT_LE(0, buf);
	EXPECT_EQ(PAGES, node_used(self->n.d2));
	close(buf);
	close(all);
}

/* -- Contiguous ones: what can be moved gives way -------------------------- */

static char *anon_for_holder(void)
{
	return map_anon(64 * MIB);
}

TEST_F_TIMEOUT(driver, contiguous_takes_the_whole_node, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, self->size,
			       DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);

	ASSERT_LE(0, buf);
	EXPECT_EQ((long)(self->size / PAGE), node_used(self->n.d1));
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, PAGE,
					DEVMEM_ALLOC_EXACT, 0));
	close(buf);
}

TEST_F_TIMEOUT(driver, contiguous_displaces, PATIENCE)
{
	size_t size = 64 * MIB;
	struct devmem_info info;
	char *p;
	pid_t pid;
	int buf;

	pid = start_holder(anon_for_holder, size, 5, &p);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, move_others(pid, p, size, self->n.d1));
	EXPECT_EQ((long)(size / PAGE), others_on_node(pid, p, size, self->n.d1));

	/* Room beside it: nobody leaves the node. */
	buf = devmem_alloc(self->fd, self->n.d1, self->size / 4,
			   DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ((long)(size / PAGE), others_on_node(pid, p, size, self->n.d1));
	close(buf);

	/* No room beside it: all go, and keep their content. */
	buf = devmem_alloc(self->fd, self->n.d1, self->size,
			   DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT, 0);
	EXPECT_LE(0, buf);
	EXPECT_EQ(0, others_on_node(pid, p, size, self->n.d1));
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, 0, &info));
	EXPECT_LE(size / PAGE, info.displaced);
	EXPECT_EQ(0, info.free);
	close(buf);
	EXPECT_EQ(0, end_holder(pid));
}

TEST_F_TIMEOUT(driver, impossible_displaces_nobody, PATIENCE)
{
	size_t size = 64 * MIB;
	pid_t pid;
	int one;
	char *p;

	pid = start_holder(anon_for_holder, size, 5, &p);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, move_others(pid, p, size, self->n.d1));
	one = devmem_alloc(self->fd, self->n.d1, PAGE, DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, one);
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, self->size,
					DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
					0));
	EXPECT_EQ((long)(size / PAGE), others_on_node(pid, p, size, self->n.d1));
	EXPECT_EQ(0, end_holder(pid));
	close(one);
}

/* The control: with every other page of the rest in use, none is contiguous. */
TEST_F_TIMEOUT(driver, scattered_where_nothing_else_is_left, PATIENCE)
{
	int one[64], rest, buf, i;

	ASSERT_EQ(0, testmod_load());
	for (i = 0; i < 64; i++) {
		one[i] = devmem_alloc(self->fd, self->n.d1, PAGE,
				      DEVMEM_ALLOC_EXACT, 0);
		ASSERT_LE(0, one[i]);
	}
	rest = devmem_alloc(self->fd, self->n.d1, self->size - 64 * PAGE,
			    DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, rest);
	for (i = 0; i < 64; i += 2)
		close(one[i]);
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, 32 * PAGE,
					DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
					0));
	buf = devmem_alloc(self->fd, self->n.d1, 32 * PAGE, DEVMEM_ALLOC_EXACT,
			   0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-ERANGE, testmod("layout %d %lu", buf, PAGE));
	EXPECT_EQ(0, testmod("import %d 1", buf));
	for (i = 1; i < 64; i += 2)
		close(one[i]);
	close(buf);
	close(rest);
}

/* -- Other drivers --------------------------------------------------------- */

/* The test module attaches, maps, reads and writes, as an importer does. */
TEST_F_TIMEOUT(buffer, is_imported_in_place, PATIENCE)
{
	struct dma_buf_sync sync = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	};
	struct pollfd pollfd;
	int buf;
	char *p;

	ASSERT_EQ(0, testmod_load());
	buf = devmem_alloc(self->fd, self->n.d1, variant->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	p = map_buffer(buf, variant->size);
	ASSERT_NE(NULL, p);
	fill_pages(p, variant->size, 6);
	ASSERT_EQ(0, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	/* It adds one to each byte, by the device's view and by the kernel's. */
	EXPECT_EQ(0, testmod("import %d 1", buf));
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	ASSERT_EQ(0, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	EXPECT_FALSE(intact(p, variant->size, 6));
	EXPECT_EQ(0, testmod("import %d 255", buf));
	EXPECT_TRUE(intact(p, variant->size, 6));

	/* No device is writing: it can be written, and read. */
	pollfd = (struct pollfd){ .fd = buf, .events = POLLIN | POLLOUT };
	EXPECT_EQ(1, poll(&pollfd, 1, 1000));
	EXPECT_EQ(POLLIN | POLLOUT, pollfd.revents);
	munmap(p, variant->size);
	close(buf);
}

TEST_F_TIMEOUT(driver, is_a_heap, PATIENCE)
{
	struct dma_heap_allocation_data alloc = {
		.len = SIZE - 5, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	char name[64];
	char *p;
	int fd;

	snprintf(name, sizeof(name), "/dev/dma_heap/devmem-node%d", self->n.d2);
	fd = open(name, O_RDWR);
	if (fd < 0 && access("/dev/dma_heap", F_OK))
		SKIP(return, "no /dev/dma_heap (CONFIG_DMABUF_HEAPS)");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &alloc));
	EXPECT_EQ(PAGES, node_used(self->n.d2));
	p = map_buffer(alloc.fd, SIZE);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(all_zero(p, SIZE));
	munmap(p, SIZE);
	close(alloc.fd);
	alloc = (struct dma_heap_allocation_data){ .len = self->size + PAGE };
	EXPECT_NE(0, ioctl(fd, DMA_HEAP_IOCTL_ALLOC, &alloc));
	EXPECT_EQ(ENOMEM, errno);
	close(fd);
}

/* -- Limits ---------------------------------------------------------------- */

static long cg_number(const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), CG "/%s", file);

	return read_number(path);
}

static bool cg_limit(long bytes)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), CG "/memory.max");
	snprintf(text, sizeof(text), "%ld", bytes);

	return !write_text(path, text);
}

static long oom_kills(void)
{
	return vm_event("oom_kill");
}

TEST_F_TIMEOUT(driver, buffers_are_charged, PATIENCE)
{
	long before, kills = oom_kills();
	int buf;

	if (!cg_enter("memory"))
		SKIP(return, "no cgroup v2 with the memory controller");
	before = cg_number("memory.current");
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, DEVMEM_ALLOC_CONTIG, 0);
	EXPECT_LE(0, buf);
	EXPECT_LE(before + (long)SIZE - 64 * 4096, cg_number("memory.current"));
	close(buf);
	EXPECT_GT(before + (long)SIZE / 2, cg_number("memory.current"));

	EXPECT_TRUE(cg_limit(16 * MIB));
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, 32 * MIB, 0, 0));
	EXPECT_EQ(-ENOMEM, devmem_alloc(self->fd, self->n.d1, 32 * MIB,
					DEVMEM_ALLOC_CONTIG, 0));
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, 0, 0);
	EXPECT_LE(0, buf);
	close(buf);
	EXPECT_EQ(kills, oom_kills());
	EXPECT_GT(before + (long)SIZE / 2, cg_number("memory.current"));
	cg_leave();
}

TEST_F_TIMEOUT(driver, cpuset_limits, PATIENCE)
{
	struct devmem_alloc alloc = {
		.node = DEVMEM_NODE_NEAREST, .size = PAGE, .fd_flags = O_RDWR,
	};
	struct devmem_migrate m = { };
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	if (!cg_enter("cpuset"))
		SKIP(return, "no cgroup v2 with cpusets");
	EXPECT_EQ(0, cg_write("cpuset.mems", "%d,%d", self->n.s0, self->n.d2));
	EXPECT_EQ(-EACCES, devmem_alloc(self->fd, self->n.d1, PAGE, 0, 0));
	EXPECT_EQ(-EACCES, devmem_migrate(self->fd, p, SIZE, self->n.d1,
					  DEVMEM_SELF, &m));
	EXPECT_EQ(0, m.moved);
	EXPECT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(0, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(self->n.d2, alloc.node);
	close(alloc.fd);
	EXPECT_EQ(0, cg_write("cpuset.mems", "%d,%d", self->n.s0, self->n.s1));
	alloc = (struct devmem_alloc){
		.node = DEVMEM_NODE_NEAREST, .size = PAGE, .fd_flags = O_RDWR,
	};
	EXPECT_EQ(-EACCES, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	cg_leave();
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
}

/* -- Migration ------------------------------------------------------------- */

static long sum_of(const struct devmem_migrate *m)
{
	return m->moved + m->there + m->absent + m->shared + m->pinned +
	       m->file + m->no_room + m->busy + m->unmovable;
}

TEST_F_TIMEOUT(driver, migrate_there_and_back, PATIENCE)
{
	struct devmem_migrate m = { };
	char *p = map_anon(SIZE);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(PAGES, sum_of(&m));
	EXPECT_EQ(0, m.size);
	EXPECT_EQ((unsigned long)p + SIZE, m.addr);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));

	/* Again: all there. From one device to the other, and home */
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.there);
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_TRUE(placed(p, SIZE, self->n.d2, 1));
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, DEVMEM_NODE_SYSTEM,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(0, node_left(self->n.d1) + node_left(self->n.d2));
	EXPECT_TRUE(intact(p, SIZE, 1));
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.s1, DEVMEM_SELF,
				    &m));
	EXPECT_TRUE(placed(p, SIZE, self->n.s1, 1));
	munmap(p, SIZE);
}

static void touch(const char *p)
{
	asm volatile("" : : "r" (*p));
}

/* A range with holes of each kind: each page is counted once. */
TEST_F_TIMEOUT(driver, migrate_counts_what_stays, PATIENCE)
{
	char *p = map_pages(16 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int file = open("/proc/self/exe", O_RDONLY);
	struct devmem_migrate m = { };
	int buf;

	ASSERT_NE(NULL, p);
	buf = devmem_alloc(self->fd, self->n.d1, PAGE, 0, 0);
	ASSERT_LE(0, buf);
	fill_pages(p, 4 * PAGE, 1);
	ASSERT_NE(MAP_FAILED, mmap(p + 4 * PAGE, 2 * PAGE, PROT_READ,
				   MAP_PRIVATE | MAP_FIXED, file, 0));
	ASSERT_NE(MAP_FAILED, mmap(p + 6 * PAGE, PAGE, PROT_READ,
				   MAP_SHARED | MAP_FIXED, buf, 0));
	ASSERT_EQ(0, munmap(p + 8 * PAGE, 2 * PAGE));
	touch(p + 4 * PAGE);
	touch(p + 5 * PAGE);
	touch(p + 6 * PAGE);
	/* Only read: the zero page */
	touch(p + 15 * PAGE);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, 16 * PAGE, self->n.d1,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(4, m.moved);
	EXPECT_EQ(2, m.file);
	EXPECT_EQ(1, m.unmovable);
	EXPECT_EQ(9, m.absent);
	EXPECT_EQ(16, sum_of(&m));
	EXPECT_TRUE(intact(p, 4 * PAGE, 1));
	munmap(p, 8 * PAGE);
	munmap(p + 10 * PAGE, 6 * PAGE);
	close(buf);
	close(file);
}

TEST_F_TIMEOUT(driver, migrate_shared_pages, PATIENCE)
{
	struct devmem_migrate m = { };
	char *p = map_anon(SIZE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.shared);
	EXPECT_EQ(0, node_used(self->n.d1));
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_SHARED };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_leaves_what_is_pinned, PATIENCE)
{
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct pin_longterm_test args;
	struct devmem_migrate m = { };
	struct devmem_verify v;
	char *p = map_anon(SIZE);

	if (gup < 0)
		SKIP(return, "no /sys/kernel/debug/gup_test (CONFIG_GUP_TEST)");
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	args = (struct pin_longterm_test){
		.addr = (unsigned long)p + 8 * PAGE, .size = 8 * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	ASSERT_EQ(0, ioctl(gup, PIN_LONGTERM_TEST_START, &args));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(8, v.pinned);
	m.flags = DEVMEM_MIGRATE_ALL;
	EXPECT_EQ(-EBUSY, devmem_migrate(self->fd, p, SIZE, self->n.d1,
					 DEVMEM_SELF, &m));
	EXPECT_EQ(8, m.pinned);
	EXPECT_EQ(0, m.moved);
	EXPECT_EQ(0, node_used(self->n.d1));
	m = (struct devmem_migrate){ };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(8, m.pinned);
	EXPECT_EQ(PAGES - 8, m.moved);
	ASSERT_EQ(0, ioctl(gup, PIN_LONGTERM_TEST_STOP));
	EXPECT_TRUE(intact(p, SIZE, 1));
	close(gup);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_in_steps, PATIENCE)
{
	struct devmem_migrate m = { .budget = MIB };
	char *p = map_anon(SIZE);
	int steps = 0;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	m.addr = (unsigned long)p;
	m.size = SIZE;
	m.node = self->n.d1;
	m.pidfd = DEVMEM_SELF;
	while (m.size) {
		ASSERT_EQ(0, devmem_call(self->fd, DEVMEM_IOC_MIGRATE, &m));
		steps++;
		ASSERT_EQ(steps * MIB / PAGE, m.moved);
	}
	EXPECT_EQ(8, steps);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	munmap(p, SIZE);
}

/* A signal each millisecond: each call gets on, and in the end all is there. */
TEST_F_TIMEOUT(driver, migrate_is_interrupted, PATIENCE)
{
	size_t size = self->size / 2;
	struct devmem_migrate m = { };
	int interrupted = 0, ret;
	char *p = map_anon(size);

	ASSERT_NE(NULL, p);
	fill_pages(p, size, 1);
	m.addr = (unsigned long)p;
	m.size = size;
	m.node = self->n.d1;
	m.pidfd = DEVMEM_SELF;
	ticks(1000);
	while ((ret = devmem_call(self->fd, DEVMEM_IOC_MIGRATE, &m)) == -EINTR) {
		interrupted++;
		ASSERT_LT(interrupted, 10000);
	}
	ticks(0);
	EXPECT_EQ(0, ret);
	EXPECT_LT(0, interrupted);
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_TRUE(placed(p, size, self->n.d1, 1));
	munmap(p, size);
}

TEST_F_TIMEOUT(driver, migrate_to_a_full_node, PATIENCE)
{
	size_t size = 4 * MIB;
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_ALL };
	char *p = map_anon(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	buf = devmem_alloc(self->fd, self->n.d1, self->size - size,
			   DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-ENOMEM, devmem_migrate(self->fd, p, SIZE, self->n.d1,
					  DEVMEM_SELF, &m));
	EXPECT_EQ(0, m.moved);
	EXPECT_EQ((SIZE - size) / PAGE, m.no_room);
	EXPECT_EQ(0, on_node(p, SIZE, self->n.d1));
	m = (struct devmem_migrate){ };
	EXPECT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ((SIZE - size) / PAGE, m.no_room);
	EXPECT_EQ((long)(size / PAGE), on_node(p, SIZE, self->n.d1));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(buf);
}

static char *map_thp(size_t size)
{
	char *p = map_huge(size);

	if (p && madvise(p, size, MADV_HUGEPAGE))
		return NULL;
	if (p)
		fill_pages(p, size, 1);

	return p;
}

TEST_F_TIMEOUT(driver, migrate_huge_pages, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_WHOLE };
	struct devmem_verify v;
	char *p = map_thp(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	if (folio_pages(p) != HUGE / PAGE)
		SKIP(return, "no huge pages");
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.moved);
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(PAGES, v.huge);
	EXPECT_EQ(PAGES, v.device);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));

	/* No huge page left on the other: as a whole it stays */
	buf = devmem_alloc(self->fd, self->n.d2, node_bytes(self->n.d2) - MIB,
			   DEVMEM_ALLOC_EXACT, 0);
	ASSERT_LE(0, buf);
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_WHOLE };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES, m.no_room);
	EXPECT_EQ(HUGE / PAGE, folio_pages(p));
	/* in pieces it goes as far as there is room. */
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d2, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(MIB / PAGE, m.moved);
	EXPECT_EQ(PAGES, sum_of(&m));
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(buf);
}

TEST_F_TIMEOUT(driver, migrate_sets_the_policy, PATIENCE)
{
	struct devmem_migrate m = { .flags = DEVMEM_MIGRATE_POLICY };
	char *p = map_anon(SIZE);
	unsigned long mask;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE / 2, 1);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, self->n.d1, DEVMEM_SELF,
				    &m));
	EXPECT_EQ(PAGES / 2, m.moved);
	EXPECT_EQ(PAGES / 2, m.absent);
	EXPECT_EQ(MPOL_BIND, policy_at(p, &mask));
	EXPECT_EQ(NODE(self->n.d1), mask);
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	m = (struct devmem_migrate){ .flags = DEVMEM_MIGRATE_POLICY };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, SIZE, DEVMEM_NODE_SYSTEM,
				    DEVMEM_SELF, &m));
	EXPECT_EQ(PAGES, m.moved);
	EXPECT_EQ(MPOL_DEFAULT, policy_at(p, &mask));
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, migrate_another_process, PATIENCE)
{
	size_t size = 64 * MIB;
	struct devmem_migrate m = { };
	struct devmem_verify v;
	int pidfd;
	pid_t pid;
	char *p;

	pid = start_holder(anon_for_holder, size, 5, &p);
	ASSERT_LT(0, pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, devmem_migrate(self->fd, p, size, self->n.d1, pidfd, &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ((long)(size / PAGE), others_on_node(pid, p, size, self->n.d1));
	ASSERT_EQ(0, devmem_verify(self->fd, p, size, pidfd, NULL, 0, &v));
	EXPECT_EQ(size / PAGE, v.device);
	m = (struct devmem_migrate){ };
	ASSERT_EQ(0, devmem_migrate(self->fd, p, size, DEVMEM_NODE_SYSTEM, pidfd,
				    &m));
	EXPECT_EQ(size / PAGE, m.moved);
	EXPECT_EQ(0, end_holder(pid));
	close(pidfd);
}

/* -- Where a range is ------------------------------------------------------ */

TEST_F_TIMEOUT(driver, verify_counts_each_page_once, PATIENCE)
{
	__u64 nodes[MAX_NODES] = { };
	struct devmem_verify v;
	char *p = map_anon(SIZE);
	long i, sum = 0;

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE / 2, 1);
	ASSERT_EQ(0, move(p, SIZE / 4, self->n.d1, NULL));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, nodes,
				   MAX_NODES, &v));
	EXPECT_EQ(PAGES / 2, v.present);
	EXPECT_EQ(PAGES / 2, v.absent);
	EXPECT_EQ(0, v.swapped + v.shared + v.pinned + v.file + v.unmovable);
	EXPECT_EQ(PAGES / 4, v.device);
	EXPECT_EQ(PAGES / 4, nodes[self->n.d1]);
	for (i = 0; i < MAX_NODES; i++)
		sum += nodes[i];
	EXPECT_EQ(PAGES / 2, sum);

	/* An array that is too short has what fits. */
	memset(nodes, 0xff, sizeof(nodes));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, nodes, 1, &v));
	EXPECT_EQ(-1ULL, nodes[1]);
	EXPECT_EQ(PAGES / 4, v.device);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(driver, verify_sees_swap_and_sharing, PATIENCE)
{
	struct devmem_verify v;
	char *p = map_anon(SIZE);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, p);
	if (swap_on_loop(64))
		SKIP(return, "no swap on a loop device");
	fill_pages(p, SIZE, 1);
	EXPECT_EQ(0, page_out(p, SIZE / 2));
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_LT(0, v.swapped);
	EXPECT_EQ(PAGES, v.swapped + v.present);
	EXPECT_TRUE(intact(p, SIZE, 1));
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, devmem_verify(self->fd, p, SIZE, DEVMEM_SELF, NULL, 0, &v));
	EXPECT_EQ(PAGES, v.shared);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(p, SIZE);
	swap_off_loop();
}

/* -- Waiting for room ------------------------------------------------------ */

TEST_F_TIMEOUT(driver, poll_waits_for_room, PATIENCE)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
	int buf, status, go[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLERR, pollfd.revents);
	buf = devmem_alloc(self->fd, self->n.d1, self->size - MIB, 0, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, MIB, -1));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd.revents);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, 2 * MIB, -1));
	EXPECT_EQ(0, poll(&pollfd, 1, 300));

	pid = fork();
	if (!pid) {
		close(go[1]);
		(void)!read(go[0], &c, 1);
		/* The parent waits by now; if it doesn't, that's as good. */
		usleep(200000);
		_exit(0);
	}
	/* The child has the buffer, too: it is its end that makes room. */
	close(buf);
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	ASSERT_EQ(1, write(go[1], "x", 1));
	EXPECT_EQ(1, poll(&pollfd, 1, 20000));
	EXPECT_EQ(POLLIN, pollfd.revents);
	waitpid(pid, &status, 0);

	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, 0, -1));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLERR, pollfd.revents);
}

TEST_F_TIMEOUT(driver, eventfd_is_signalled, PATIENCE)
{
	int event = eventfd(0, EFD_CLOEXEC), buf, i;
	struct pollfd pollfd = { .fd = event, .events = POLLIN };
	long long times;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, self->size, event));
	for (i = 0; i < 3; i++) {
		/* There is room: once */
		ASSERT_EQ(1, poll(&pollfd, 1, 20000));
		EXPECT_EQ(0, poll(NULL, 0, 300));
		ASSERT_EQ((ssize_t)sizeof(times), read(event, &times, sizeof(times)));
		EXPECT_EQ(1, times);
		buf = devmem_alloc(self->fd, self->n.d1, PAGE, 0, 0);
		ASSERT_LE(0, buf);
		EXPECT_EQ(0, poll(&pollfd, 1, 300));
		close(buf);
	}
	close(event);
}

/* -- 32-bit programs ------------------------------------------------------- */

#ifdef __x86_64__
/*
 * The call of a 32-bit program: this way into the kernel is one for any program.
 * Whatever is pointed to has to lie in the first 4 GB.
 */
static int call_32(long nr, long a, long b, const void *c)
{
	long ret;

	asm volatile("int $0x80" : "=a" (ret)
		     : "a" (nr), "b" (a), "c" (b), "d" (c)
		     : "memory", "r8", "r9", "r10", "r11");

	return ret;
}

#define IOCTL_32	54
#define GETPID_32	20

static bool has_32(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct rlimit none = { };

		/* Where it isn't one, it is a fault. */
		setrlimit(RLIMIT_CORE, &none);
		_exit(call_32(GETPID_32, 0, 0, NULL) != getpid());
	}
	waitpid(pid, &status, 0);

	return !status;
}

/* A page that a 32-bit program could have: arguments are put there. */
static void *low_page(void)
{
	return map_pages(PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);
}

FIXTURE(program_32)
{
	struct nodes n;
	int fd;
	void *arg;
};

FIXTURE_SETUP(program_32)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	if (!has_32())
		SKIP(return, "no 32-bit calls (CONFIG_IA32_EMULATION)");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->arg = low_page();
	ASSERT_NE(NULL, self->arg);
}

FIXTURE_TEARDOWN(program_32)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

TEST_F_TIMEOUT(program_32, asks, PATIENCE)
{
	struct devmem_info *info = self->arg, wide;

	*info = (struct devmem_info){ .node = self->n.d1,
				      .flags = DEVMEM_INFO_RUNS };
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, DEVMEM_INFO_RUNS, &wide));
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_INFO, info));
	EXPECT_EQ(0, memcmp(&wide, info, sizeof(wide)));
	EXPECT_LT(0, info->size);
	*info = (struct devmem_info){ .node = self->n.d1, .pad = 1 };
	EXPECT_EQ(-EINVAL, call_32(IOCTL_32, self->fd, DEVMEM_IOC_INFO, info));
}

TEST_F_TIMEOUT(program_32, allocates, PATIENCE)
{
	struct devmem_alloc *alloc = self->arg;
	char *p;

	*alloc = (struct devmem_alloc){
		.node = self->n.d2, .size = SIZE, .align = 2 * MIB,
		.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_ALLOC, alloc));
	EXPECT_EQ(PAGES, node_used(self->n.d2));
	p = map_pages(SIZE, MAP_SHARED, alloc->fd);
	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	EXPECT_TRUE(intact(p, SIZE, 1));
	munmap(p, SIZE);
	close(alloc->fd);
}

TEST_F_TIMEOUT(program_32, migrates_and_verifies, PATIENCE)
{
	struct devmem_migrate *m = self->arg;
	struct devmem_verify *v = self->arg;
	__u64 *nodes = self->arg + PAGE / 2;
	char *p = map_pages(SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);

	ASSERT_NE(NULL, p);
	fill_pages(p, SIZE, 1);
	*m = (struct devmem_migrate){
		.addr = (uintptr_t)p, .size = SIZE, .node = self->n.d1,
		.pidfd = DEVMEM_SELF,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_MIGRATE, m));
	EXPECT_EQ(PAGES, m->moved);
	EXPECT_EQ(0, m->size);
	EXPECT_TRUE(placed(p, SIZE, self->n.d1, 1));
	*v = (struct devmem_verify){
		.addr = (uintptr_t)p, .size = SIZE, .pidfd = DEVMEM_SELF,
		.nr_nodes = MAX_NODES, .nodes = (uintptr_t)nodes,
	};
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_VERIFY, v));
	EXPECT_EQ(PAGES, v->device);
	EXPECT_EQ(PAGES, nodes[self->n.d1]);
	munmap(p, SIZE);
}

TEST_F_TIMEOUT(program_32, waits_for_room, PATIENCE)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
	struct devmem_watch *w = self->arg;

	*w = (struct devmem_watch){ .node = self->n.d1, .eventfd = -1,
				    .free = MIB };
	ASSERT_EQ(0, call_32(IOCTL_32, self->fd, DEVMEM_IOC_WATCH, w));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd.revents);
}
#endif

TEST_HARNESS_MAIN
