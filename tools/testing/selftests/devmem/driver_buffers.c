// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: the buffers that it gives, and to whom.
 *
 * Invariant 2: a buffer is of the node that was named. Invariant 5: a buffer is
 * zeroed, and after each test no page of a device is in use. Invariant 6:
 * buffers are used by drivers where they are, and what can be moved gives way
 * to a contiguous one. Invariant 4: a request beyond the limit of a cgroup
 * fails, and kills nobody.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../kselftest_harness.h"

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
	size_t size;
	int fd;
};

FIXTURE_VARIANT(buffer)
{
	unsigned int flags;
	unsigned long align;
	size_t size;
	size_t pages;		/* more than that */
};

FIXTURE_VARIANT_ADD(buffer, plain)
{
	.size = SIZE,
	.pages = 3,
};

FIXTURE_VARIANT_ADD(buffer, page)
{
	.pages = 1,
};

FIXTURE_VARIANT_ADD(buffer, huge)
{
	.flags = DEVMEM_ALLOC_HUGE,
	.size = SIZE,
};

FIXTURE_VARIANT_ADD(buffer, contiguous)
{
	.flags = DEVMEM_ALLOC_CONTIG,
	.size = SIZE,
	.pages = 3,
};

FIXTURE_VARIANT_ADD(buffer, aligned)
{
	.flags = DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_EXACT,
	.align = 32 * MIB,
	.size = SIZE,
	.pages = 1,
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
	if (variant->flags & DEVMEM_ALLOC_HUGE && pmd_bytes != HUGE)
		SKIP(return, "huge pages of %lu MB", pmd_bytes / MIB);
	self->size = variant->size + variant->pages * PAGE;
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
	long pages = self->size / PAGE;
	int buf;
	char *p;

	make_dirty(self->fd, self->n.d2);
	buf = devmem_alloc(self->fd, self->n.d2, self->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	EXPECT_EQ(pages, node_used(self->n.d2));
	EXPECT_EQ(0, node_used(self->n.d1));

	p = map_buffer(buf, self->size);
	ASSERT_NE(NULL, p);
	EXPECT_TRUE(all_zero(p, self->size));
	fill_pages(p, self->size, 7);
	EXPECT_TRUE(intact(p, self->size, 7));
	EXPECT_EQ(self->size, lseek(buf, 0, SEEK_END));

	/* The mapping is the last user. */
	close(buf);
	EXPECT_EQ(pages, node_used(self->n.d2));
	EXPECT_TRUE(intact(p, self->size, 7));
	munmap(p, self->size);
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
	buf = devmem_alloc(self->fd, self->n.d1, self->size, variant->flags,
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

	buf = devmem_alloc(self->fd, self->n.d1, self->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	/* Of huge pages, both have huge mappings. */
	p = variant->flags & DEVMEM_ALLOC_HUGE ?
	    map_buffer_huge(buf, self->size) : map_buffer(buf, self->size);
	ASSERT_NE(NULL, p);
	fill_pages(p, self->size, 3);
	if (!fork()) {
		bool ok = intact(p, self->size, 3);

		fill_pages(p, self->size, 4);
		_exit(!ok);
	}
	wait(&status);
	EXPECT_EQ(0, status);
	EXPECT_TRUE(intact(p, self->size, 4));
	EXPECT_EQ((long)(self->size / PAGE), node_used(self->n.d1));
	munmap(p, self->size);
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
	buf = devmem_alloc(self->fd, self->n.d1, self->size, variant->flags,
			   variant->align);
	ASSERT_LE(0, buf);
	p = map_buffer(buf, self->size);
	ASSERT_NE(NULL, p);
	fill_pages(p, self->size, 6);
	ASSERT_EQ(0, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	/* It adds one to each byte, by the device's view and by the kernel's. */
	EXPECT_EQ(0, testmod("import %d 1", buf));
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	ASSERT_EQ(0, ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	EXPECT_FALSE(intact(p, self->size, 6));
	EXPECT_EQ(0, testmod("import %d 255", buf));
	EXPECT_TRUE(intact(p, self->size, 6));

	/* No device is writing: it can be written, and read. */
	pollfd = (struct pollfd){ .fd = buf, .events = POLLIN | POLLOUT };
	EXPECT_EQ(1, poll(&pollfd, 1, 1000));
	EXPECT_EQ(POLLIN | POLLOUT, pollfd.revents);
	munmap(p, self->size);
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

TEST_HARNESS_MAIN
