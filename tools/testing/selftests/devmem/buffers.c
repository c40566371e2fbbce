// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: buffers, and everybody else at the same moment.
 *
 * Invariant 4: a request that can't be met costs its cgroup nothing, neither a
 * process nor its page cache; one that can be met reclaims what it takes. A
 * signal ends a request, and nothing is left of it. A page that the hardware has
 * broken doesn't come back with another buffer. Devices behind bounce buffers
 * import, as often as they like. A buffer tells what it is, whose it is and who
 * has it, and why there is none.
 *
 * Wants two system nodes and two device nodes of 128 MB; "broken" leaves pages
 * behind that are lost, and "bounce" wants swiotlb=force: see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_layout.h"
#include "devmem_util.h"
#include "../kselftest_harness.h"

#define DEV		"/dev/devmem"
#define EXACT		DEVMEM_ALLOC_EXACT
#define CONTIG		DEVMEM_ALLOC_CONTIG
#define ASK		DEVMEM_ALLOC_ASK
#define CACHED		(48 * MIB)	/* page cache of a group */

/* A request; its reason in @reason. Return: a descriptor, 0 with ASK, or -errno */
static int request(int fd, int nid, unsigned long long size, unsigned int flags,
		   unsigned int *reason)
{
	struct devmem_alloc alloc = {
		.node = nid, .flags = flags, .size = size,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int ret = devmem_call(fd, DEVMEM_IOC_ALLOC, &alloc);

	*reason = alloc.reason;

	return ret || flags & ASK ? ret : alloc.fd;
}

/* Why not: the reason, or the result if that isn't ENOMEM */
static int why(int fd, int nid, unsigned long long size, unsigned int flags)
{
	unsigned int reason;
	int ret = request(fd, nid, size, flags, &reason);

	if (ret == -ENOMEM)
		return reason;
	if (ret > 0)
		close(ret);

	return ret < 0 ? ret : 0;
}

#define NEEDS	"needs root, /dev/devmem, two system and two device nodes"

/* Return: a descriptor, or -1 if the machine isn't for this */
static int open_device(struct nodes *n, size_t *size)
{
	if (!find_nodes(n) || getuid())
		return -1;
	*size = node_bytes(n->d1);

	return open(DEV, O_RDWR | O_CLOEXEC);
}

/* Return: what is left in use of the devices */
static long close_device(int fd, const struct nodes *n)
{
	if (fd < 0)
		return 0;
	close(fd);

	return nodes_left(n);
}

/* -- Groups ------------------------------------------------------------------ */

FIXTURE(group)
{
	struct nodes n;
	size_t size;		/* of the first device */
	long kills;
	int fd;
};

FIXTURE_SETUP(group)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
	self->kills = vm_event("oom_kill");
}

FIXTURE_TEARDOWN(group)
{
	if (self->fd < 0)
		return;
	cg_leave();
	EXPECT_EQ(self->kills, vm_event("oom_kill"));
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

static long cg_line(const char *file, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), CG "/%s", file);

	return number_in(path, name);
}

/* Takes memory of the group and gives it back, for ever */
static pid_t start_innocent(size_t size)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_oom_score(1000);
	for (;;) {
		char *p = map_anon(size);

		if (!p)
			_exit(2);
		memset(p, 1, size);
		munmap(p, size);
	}
}

/* 90 MB are free, 100 MB are wanted, and the group has 120 MB. */
TEST_F_TIMEOUT(group, impossible_kills_nobody, PATIENCE)
{
	const size_t gap = 90 * MIB;
	time_t end = time(NULL) + 5;
	int filler, i, status, wrong = 0;
	pid_t innocent;

	filler = devmem_alloc(self->fd, self->n.d1, self->size - gap, EXACT, 0);
	ASSERT_LE(0, filler);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 120, 0));
	innocent = start_innocent(25 * MIB);
	for (i = 0; i < 20 || time(NULL) < end; i++)
		wrong += why(self->fd, self->n.d1, 100 * MIB, EXACT) !=
			 DEVMEM_REASON_FULL;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, waitpid(innocent, &status, WNOHANG));
	EXPECT_EQ(0, cg_line("memory.events", "max"));

	/* The control: what there is can be had, at its side. */
	wrong = 0;
	for (i = 0; i < 5; i++)
		wrong += why(self->fd, self->n.d1, gap, EXACT) != 0;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, waitpid(innocent, &status, WNOHANG));
	kill(innocent, SIGKILL);
	waitpid(innocent, &status, 0);
	close(filler);
}

/* A block device of zeroes, read into the page cache of the group */
static int fill_cache(size_t size)
{
	int file = memfd_create("disk", MFD_CLOEXEC), loop;
	static char buf[MIB];
	size_t done = 0;

	loop = open("/dev/loop0", O_RDWR | O_CLOEXEC);
	if (file < 0 || loop < 0 || ftruncate(file, size) ||
	    ioctl(loop, LOOP_SET_FD, file))
		return -1;
	close(file);
	while (done < size && read(loop, buf, sizeof(buf)) == sizeof(buf))
		done += sizeof(buf);

	return done == size ? loop : -1;
}

static void drop_cache(int loop)
{
	ioctl(loop, LOOP_CLR_FD, 0);
	close(loop);
}

static long cached(void)
{
	return cg_line("memory.stat", "file");
}

/* How much page cache is lost to a request, and why that is refused */
static int costs(int fd, int nid, size_t size, unsigned int flags, long *lost)
{
	long before = cached();
	int reason = why(fd, nid, size, flags);

	*lost = before - cached();

	return reason;
}

TEST_F_TIMEOUT(group, impossible_costs_no_cache, PATIENCE)
{
	const unsigned int kinds[] = { 0, EXACT, CONTIG, DEVMEM_ALLOC_HUGE };
	int all[2], disk, i;
	long lost;

	all[0] = devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0);
	all[1] = devmem_alloc(self->fd, self->n.d2, node_bytes(self->n.d2),
			      EXACT, 0);
	ASSERT_LE(0, all[0]);
	ASSERT_LE(0, all[1]);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 110, 0));
	disk = fill_cache(CACHED);
	ASSERT_LE(0, disk);
	ASSERT_LE((long)CACHED, cached());

	/* All nodes are full. */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(DEVMEM_REASON_FULL,
			  costs(self->fd, self->n.d1, 100 * MIB, kinds[i], &lost));
		EXPECT_GT((long)MIB, lost);
	}
	close(all[0]);
	close(all[1]);

	/* More than the group may have, ever */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(DEVMEM_REASON_GROUP,
			  costs(self->fd, self->n.d1, 120 * MIB, kinds[i], &lost));
		EXPECT_GT((long)MIB, lost);
	}
	EXPECT_EQ(0, cg_line("memory.events", "max"));

	/* The control: for what can be had, the cache makes room. */
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, costs(self->fd, self->n.d1, (76 + 6 * i) * MIB,
				   kinds[i], &lost));
		EXPECT_LT((long)MIB, lost);
	}
	drop_cache(disk);
}

/* Enough is free, but not in one place: seen before anybody is charged */
TEST_F_TIMEOUT(group, fragmented_costs_no_cache, PATIENCE)
{
	int low, hole, high, disk;
	long lost;

	low = devmem_alloc(self->fd, self->n.d1, self->size / 2 - 8 * MIB,
			   EXACT | CONTIG, 0);
	hole = devmem_alloc(self->fd, self->n.d1, PAGE, EXACT, 0);
	high = devmem_alloc(self->fd, self->n.d1, self->size / 2 - 8 * MIB,
			    EXACT | CONTIG, 0);
	ASSERT_LE(0, low);
	ASSERT_LE(0, hole);
	ASSERT_LE(0, high);
	close(low);
	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 90, 0));
	disk = fill_cache(CACHED);
	ASSERT_LE(0, disk);
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED,
		  costs(self->fd, self->n.d1, 66 * MIB, EXACT | CONTIG, &lost));
	EXPECT_GT((long)MIB, lost);
	EXPECT_EQ(0, costs(self->fd, self->n.d1, 66 * MIB, EXACT, &lost));
	EXPECT_LT((long)MIB, lost);
	drop_cache(disk);
	close(hole);
	close(high);
}

/* It is the group above that has the limit. */
TEST_F_TIMEOUT(group, limit_above, PATIENCE)
{
	char pid[16];

	if (!cg_enter("memory") || mkdir(CG "/leaf", 0755))
		SKIP(return, "no memory cgroups");
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(0, write_text(CG "/leaf/cgroup.procs", pid));
	ASSERT_EQ(0, write_text(CG "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, cg_write("memory.max", "%dM", 32, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why(self->fd, self->n.d1, 64 * MIB, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why(self->fd, self->n.d1, 64 * MIB,
					   ASK));
	EXPECT_EQ(0, cg_line("memory.events", "max"));
	EXPECT_EQ(0, why(self->fd, self->n.d1, 16 * MIB, 0));
	EXPECT_EQ(0, write_text("/sys/fs/cgroup/cgroup.procs", pid));
	rmdir(CG "/leaf");
}

/* -- Signals ------------------------------------------------------------------ */

FIXTURE(signals)
{
	struct nodes n;
	size_t size;
	int fd;
};

FIXTURE_VARIANT(signals)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(signals, plain) {
};

FIXTURE_VARIANT_ADD(signals, huge) {
	.flags = DEVMEM_ALLOC_HUGE,
};

FIXTURE_VARIANT_ADD(signals, contiguous) {
	.flags = CONTIG,
};

FIXTURE_SETUP(signals)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
}

FIXTURE_TEARDOWN(signals)
{
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* Of how many of 40 requests a signal is the end, each a bit later than the last */
static int ended_by_signal(int fd, int nid, size_t size, unsigned int flags,
			   int *wrong)
{
	int i, ret, ended = 0;

	for (i = 0; i < 40; i++) {
		ticks(500 + 300 * i);
		ret = devmem_alloc(fd, nid, size, EXACT | flags, 0);
		ticks(0);
		if (ret >= 0)
			close(ret);
		ended += ret == -EINTR;
		*wrong += ret < 0 && ret != -EINTR;
	}

	return ended;
}

/* Not one that is fatal: one that a handler sees. Asked again, it is there. */
TEST_F_TIMEOUT(signals, end_a_request, PATIENCE)
{
	int wrong = 0, buf;
	long before;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	before = read_number(CG "/memory.current");
	EXPECT_LT(0, ended_by_signal(self->fd, self->n.d1, self->size - 2 * MIB,
				     variant->flags, &wrong));
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, node_left(self->n.d1));
	EXPECT_GT(before + (long)(4 * MIB), read_number(CG "/memory.current"));
	buf = devmem_alloc(self->fd, self->n.d1, self->size - 2 * MIB,
			   EXACT | variant->flags, 0);
	EXPECT_LE(0, buf);
	close(buf);
	cg_leave();
}

/* -- What a buffer tells ------------------------------------------------------- */

FIXTURE(told)
{
	struct nodes n;
	size_t size;
	int fd;
};

FIXTURE_SETUP(told)
{
	self->fd = open_device(&self->n, &self->size);
	if (self->fd < 0)
		SKIP(return, NEEDS);
}

FIXTURE_TEARDOWN(told)
{
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* The line "@key:\t..." of a descriptor's fdinfo; "" if there is none */
static const char *told_by(int fd, const char *key)
{
	static char line[256];
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *tab = strchr(line, '\t');

		if (!tab || tab[-1] != ':')
			continue;
		tab[-1] = '\0';
		line[sizeof(line) - 1] = '\0';
		tab[strcspn(tab, "\n")] = '\0';
		if (!strcmp(line, key)) {
			fclose(f);
			return tab + 1;
		}
	}
	if (f)
		fclose(f);

	return "";
}

static unsigned long long sysfs_buffers(int nid)
{
	char path[96];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/buffers", nid);

	return read_number(path);
}

static long long info_buffers(int fd, int nid)
{
	struct devmem_info info;

	return devmem_info(fd, nid, 0, &info) ? -1 : (long long)info.buffers;
}

TEST_F_TIMEOUT(told, by_fdinfo, PATIENCE)
{
	char name[32];
	int one, many, i;

	snprintf(name, sizeof(name), "devmem-node%d", self->n.d2);
	one = devmem_alloc(self->fd, self->n.d2, 8 * MIB, EXACT | CONTIG, 0);
	ASSERT_LE(0, one);
	EXPECT_STREQ("8388608", told_by(one, "size"));
	EXPECT_STREQ(name, told_by(one, "exp_name"));
	EXPECT_STREQ(name, told_by(one, "name"));
	EXPECT_EQ(self->n.d2, atoi(told_by(one, "devmem-node")));
	EXPECT_STREQ("1", told_by(one, "devmem-contiguous"));
	EXPECT_STREQ("1", told_by(one, "devmem-pieces"));
	EXPECT_STREQ("none", told_by(one, "devmem-charged"));

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	many = devmem_alloc(self->fd, self->n.d1, 8 * MIB + PAGE, EXACT, 0);
	ASSERT_LE(0, many);
	cg_leave();
	EXPECT_EQ(self->n.d1, atoi(told_by(many, "devmem-node")));
	EXPECT_STREQ("0", told_by(many, "devmem-contiguous"));
	EXPECT_LE(2, atoi(told_by(many, "devmem-pieces")));
	/* A group that is gone leaves the charge to the one above, soon. */
	for (i = 0; i < 100 && strcmp("/", told_by(many, "devmem-charged")); i++)
		usleep(50000);
	EXPECT_STREQ("/", told_by(many, "devmem-charged"));
	close(one);
	close(many);
}

TEST_F_TIMEOUT(told, who_is_charged, PATIENCE)
{
	int buf;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_STREQ("/devmem", told_by(buf, "devmem-charged"));
	close(buf);
	cg_leave();
}

TEST_F_TIMEOUT(told, how_much_of_a_node, PATIENCE)
{
	int a, b;

	EXPECT_EQ(0, info_buffers(self->fd, self->n.d1));
	EXPECT_EQ(0, (long)sysfs_buffers(self->n.d1));
	a = devmem_alloc(self->fd, self->n.d1, 8 * MIB, EXACT | CONTIG, 0);
	b = devmem_alloc(self->fd, self->n.d1, 3 * PAGE, EXACT, 0);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ((long long)(8 * MIB + 3 * PAGE),
		  info_buffers(self->fd, self->n.d1));
	EXPECT_EQ(8 * MIB + 3 * PAGE, sysfs_buffers(self->n.d1));
	EXPECT_EQ(0, info_buffers(self->fd, self->n.d2));
	EXPECT_GT(0, devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0));
	EXPECT_EQ(8 * MIB + 3 * PAGE, sysfs_buffers(self->n.d1));
	close(a);
	close(b);
	EXPECT_EQ(0, info_buffers(self->fd, self->n.d1));
}

/* An older program has a shorter struct, and gets what it knows. */
TEST_F_TIMEOUT(told, older_programs_less, PATIENCE)
{
	struct devmem_info info = { .node = self->n.d1, .buffers = 7 };
	struct devmem_alloc alloc = {
		.node = self->n.d1, .flags = EXACT, .size = 2 * self->size,
		.fd_flags = O_RDWR, .reason = 7,
	};
	int buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);

	ASSERT_LE(0, buf);
	EXPECT_EQ(0, devmem_call(self->fd, _IOWR(0xBD, 0, char[88]), &info));
	EXPECT_EQ(7, (int)info.buffers);
	EXPECT_EQ(self->size, info.size);
	EXPECT_EQ(-ENOMEM, devmem_call(self->fd, _IOWR(0xBD, 1, char[32]),
				       &alloc));
	EXPECT_EQ(7, (int)alloc.reason);
	EXPECT_EQ(-ENOMEM, devmem_call(self->fd, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE, (int)alloc.reason);
	EXPECT_EQ(self->n.d1, alloc.node);
	EXPECT_EQ(0, alloc.fd);
	close(buf);
}

/* Is there a mapping of that name? */
static bool maps_have(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found = found || strstr(line, name);
	if (f)
		fclose(f);

	return found;
}

TEST_F_TIMEOUT(told, by_a_mapping_alone, PATIENCE)
{
	char name[64];
	int buf;
	char *p;

	snprintf(name, sizeof(name), "/dmabuf:devmem-node%d\n", self->n.d1);
	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	p = map_pages(MIB, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	close(buf);
	EXPECT_TRUE(maps_have(name));
	munmap(p, MIB);
	EXPECT_FALSE(maps_have(name));

	buf = devmem_alloc(self->fd, self->n.d1, MIB, EXACT, 0);
	EXPECT_EQ(0, ioctl(buf, DMA_BUF_SET_NAME, "weights"));
	EXPECT_STREQ("weights", told_by(buf, "name"));
	close(buf);
}

/* The physical address is one of the node's first memory block. */
TEST_F_TIMEOUT(told, where_it_starts, PATIENCE)
{
	unsigned long start, block;
	char path[128];
	FILE *f;

	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lx", &block));
	fclose(f);
	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/start",
		 self->n.d1);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lx", &start));
	fclose(f);
	EXPECT_EQ(0, (long)(start % block));
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%lu",
		 self->n.d1, start / block);
	EXPECT_EQ(0, access(path, F_OK));
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%lu",
		 self->n.d1, start / block - 1);
	EXPECT_NE(0, access(path, F_OK));
}

TEST_F_TIMEOUT(told, heap_of_contiguous_memory, PATIENCE)
{
	struct dma_heap_allocation_data alloc = {
		.len = 8 * MIB + PAGE, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	char name[64];
	int heap;

	snprintf(name, sizeof(name), "/dev/dma_heap/devmem-node%d-contig",
		 self->n.d2);
	heap = open(name, O_RDWR);
	if (heap < 0 && access("/dev/dma_heap", F_OK))
		SKIP(return, "no /dev/dma_heap (CONFIG_DMABUF_HEAPS)");
	ASSERT_LE(0, heap);
	ASSERT_EQ(0, testmod_load());
	ASSERT_EQ(0, ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &alloc));
	EXPECT_STREQ("1", told_by(alloc.fd, "devmem-contiguous"));
	EXPECT_EQ(self->n.d2, atoi(told_by(alloc.fd, "devmem-node")));
	EXPECT_EQ(0, testmod("layout %d %lu", alloc.fd, PAGE));
	close(alloc.fd);
	close(heap);
}

/* -- Why there is none, and whether there would be ------------------------------ */

/* The same to a request and to who only asks */
static int why_both(int fd, int nid, unsigned long long size,
		    unsigned int flags)
{
	int asked = why(fd, nid, size, flags | ASK);
	int got = why(fd, nid, size, flags);

	if (asked == got)
		return got;
	ksft_print_msg("%llu bytes, flags %#x: asked %d, got %d\n", size, flags,
		       asked, got);

	return -1;
}

TEST_F_TIMEOUT(told, the_reason, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;
	static int one[64];
	int rest, i;

	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE,
		  why_both(fd, d1, self->size + PAGE, EXACT));
	EXPECT_EQ(DEVMEM_REASON_TOO_LARGE, why_both(fd, d1, 1ULL << 50, CONTIG));
	EXPECT_EQ(0, why_both(fd, d1, self->size, EXACT));
	EXPECT_EQ(0, why_both(fd, d1, self->size, EXACT | CONTIG));

	/* Every other of the last pages is free. */
	for (i = 0; i < 64; i++)
		one[i] = devmem_alloc(fd, d1, PAGE, EXACT, 0);
	rest = devmem_alloc(fd, d1, self->size - 64 * PAGE, EXACT, 0);
	ASSERT_LE(0, rest);
	EXPECT_EQ(DEVMEM_REASON_FULL, why_both(fd, d1, PAGE, EXACT));
	for (i = 0; i < 64; i += 2)
		close(one[i]);
	EXPECT_EQ(DEVMEM_REASON_FULL, why_both(fd, d1, 33 * PAGE, EXACT));
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED,
		  why_both(fd, d1, 32 * PAGE, EXACT | CONTIG));
	EXPECT_EQ(0, why_both(fd, d1, 32 * PAGE, EXACT));
	EXPECT_EQ(0, why_both(fd, d1, 32 * PAGE, CONTIG));
	for (i = 1; i < 64; i += 2)
		close(one[i]);
	close(rest);
}

TEST_F_TIMEOUT(told, the_reason_of_huge_pages, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;
	const int nr = self->size / HUGE;
	int buf, i;

	/* One page stays of each huge page. */
	buf = devmem_alloc(fd, d1, self->size, EXACT | DEVMEM_ALLOC_HUGE, 0);
	ASSERT_LE(0, buf);
	close(buf);
	ASSERT_EQ(0, testmod_load());
	ASSERT_EQ(0, testmod("comb %d", d1));
	EXPECT_LE(nr - 2, node_used(d1));
	i = why_both(fd, d1, 4 * HUGE, EXACT | DEVMEM_ALLOC_HUGE);
	EXPECT_EQ(DEVMEM_REASON_FRAGMENTED, i);
	EXPECT_EQ(0, why_both(fd, d1, 4 * HUGE, EXACT));
	testmod("free");
	EXPECT_EQ(0, why_both(fd, d1, 4 * HUGE, EXACT | DEVMEM_ALLOC_HUGE));
}

TEST_F_TIMEOUT(told, the_reason_of_a_group, PATIENCE)
{
	const int fd = self->fd, d1 = self->n.d1;

	if (!cg_enter("memory"))
		SKIP(return, "no memory cgroups");
	EXPECT_EQ(0, cg_write("memory.max", "%dM", 16, 0));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, d1, 32 * MIB, EXACT));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, d1, 32 * MIB, CONTIG));
	EXPECT_EQ(DEVMEM_REASON_GROUP, why_both(fd, -1, 32 * MIB, 0));
	cg_leave();
}

/* Whoever asks takes nothing, and is told where it would be. */
TEST_F_TIMEOUT(told, who_asks, PATIENCE)
{
	struct devmem_alloc alloc = {
		.node = self->n.d1, .flags = ASK, .size = 8 * MIB,
		.fd_flags = O_RDWR,
	};
	int all, reads = open(DEV, O_RDONLY | O_CLOEXEC);

	all = devmem_alloc(self->fd, self->n.d1, self->size, EXACT, 0);
	ASSERT_LE(0, all);
	EXPECT_EQ(0, devmem_call(reads, DEVMEM_IOC_ALLOC, &alloc));
	EXPECT_EQ(-1, alloc.fd);
	EXPECT_EQ(self->n.d2, alloc.node);
	EXPECT_EQ(0, node_left(self->n.d2));
	EXPECT_EQ(0, info_buffers(reads, self->n.d2));
	alloc = (struct devmem_alloc){ .node = self->n.d1, .size = 8 * MIB,
				       .flags = ASK | EXACT };
	EXPECT_EQ(-ENOMEM, devmem_call(reads, DEVMEM_IOC_ALLOC, &alloc));
	close(all);
	close(reads);
}

/* -- Debuggers ------------------------------------------------------------------ */

TEST_F_TIMEOUT(told, a_debugger, PATIENCE)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), buf, i;
	const size_t size = 4 * HUGE;
	long word, wrong = 0;
	char *p, *ro, both[2 * sizeof(long)];

	ASSERT_LE(0, mem);
	buf = devmem_alloc(self->fd, self->n.d1, size, EXACT, 0);
	ASSERT_LE(0, buf);
	p = map_pages(size, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	fill_pages(p, size, 3);
	for (i = 0; i < (int)(size / PAGE); i++) {
		char *at = p + i * PAGE;

		word = 0;
		wrong += pread(mem, &word, sizeof(word), (off_t)at) !=
			 sizeof(word) || memcmp(&word, at, sizeof(word));
	}
	EXPECT_EQ(0, wrong);

	/* Across two pages, and by a mapping that begins elsewhere */
	munmap(p, HUGE);
	p += HUGE;
	word = 0x1234;
	memcpy(both, &word, sizeof(word));
	word = 0x5678;
	memcpy(both + sizeof(word), &word, sizeof(word));
	EXPECT_EQ((ssize_t)sizeof(both),
		  pwrite(mem, both, sizeof(both),
			 (off_t)(p + PAGE - sizeof(word))));
	EXPECT_EQ(0, memcmp(p + PAGE - sizeof(word), both, sizeof(both)));

	/* What is mapped for reading isn't written. */
	ro = mmap(NULL, HUGE, PROT_READ, MAP_SHARED, buf, HUGE);
	ASSERT_NE(MAP_FAILED, ro);
	EXPECT_EQ(-1, pwrite(mem, both, sizeof(both), (off_t)ro));
	EXPECT_EQ((ssize_t)sizeof(both),
		  pread(mem, both, sizeof(both),
			(off_t)(ro + PAGE - sizeof(word))));
	memcpy(&word, both + sizeof(word), sizeof(word));
	EXPECT_EQ(0x5678, word);
	munmap(ro, HUGE);
	munmap(p, size - HUGE);
	close(buf);
	close(mem);
}

/* -- Broken pages ----------------------------------------------------------------- */

FIXTURE(broken)
{
	int nid;
	long used;		/* those of tests before, which are lost */
	int fd;
};

FIXTURE_VARIANT(broken)
{
	unsigned int flags;
	size_t size;
	size_t at;		/* the page that breaks */
};

FIXTURE_VARIANT_ADD(broken, first) {
	.size = 8 * HUGE,
};

FIXTURE_VARIANT_ADD(broken, middle) {
	.size = 8 * HUGE,
	.at = 3 * HUGE + 7 * PAGE,
};

FIXTURE_VARIANT_ADD(broken, last) {
	.size = 8 * HUGE + 3 * PAGE,
	.at = 8 * HUGE + 2 * PAGE,
};

FIXTURE_VARIANT_ADD(broken, single) {
	.size = PAGE,
};

FIXTURE_VARIANT_ADD(broken, huge) {
	.flags = DEVMEM_ALLOC_HUGE,
	.size = 8 * HUGE,
	.at = 5 * HUGE + PAGE,
};

FIXTURE_VARIANT_ADD(broken, contiguous) {
	.flags = CONTIG,
	.size = 8 * HUGE + PAGE,
	.at = 2 * HUGE + 5 * PAGE,
};

FIXTURE_VARIANT_ADD(broken, contiguous_huge) {
	.flags = CONTIG | DEVMEM_ALLOC_HUGE,
	.size = 8 * HUGE,
	.at = 8 * HUGE - PAGE,
};

FIXTURE_SETUP(broken)
{
	int dev[MAX_NODES];

	self->fd = -1;
	if (!device_nodes(dev) || getuid())
		SKIP(return, "needs root and a device node");
	if (access("/proc/sys/vm/memory_failure_recovery", F_OK))
		SKIP(return, "no CONFIG_MEMORY_FAILURE");
	ASSERT_EQ(0, testmod_load());
	self->fd = open(DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->nid = dev[0];
	self->used = node_used(self->nid);
}

FIXTURE_TEARDOWN(broken)
{
	close(self->fd);
}

/* How a process ends that looks at a page; that alone of @size is mapped */
static int looks_at(int buf, size_t at, size_t size)
{
	const size_t from = at / size * size;
	int status;
	pid_t pid = fork();

	if (!pid) {
		char *p = map_anon(size + HUGE);

		/* Where the mapping could be huge */
		p = (char *)(((unsigned long)p + HUGE - 1) & -HUGE);
		p = mmap(p, size, PROT_READ, MAP_SHARED | MAP_FIXED, buf, from);
		_exit(p == MAP_FAILED ? 2 : p[at - from]);
	}
	waitpid(pid, &status, 0);

	return status;
}

/* It stays out, the others come back, and the next program has it not. */
TEST_F_TIMEOUT(broken, stays_out, PATIENCE)
{
	const size_t rest = node_bytes(self->nid) - (self->used + 1) * PAGE;
	struct devmem_info info;
	int buf;

	buf = devmem_alloc(self->fd, self->nid, variant->size,
			   EXACT | variant->flags, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, testmod("broken %d 0", buf));
	ASSERT_EQ(0, testmod("break %d %lu", buf, variant->at / PAGE));
	EXPECT_EQ(0, testmod("broken %d 1", buf));

	/* Who comes upon it is told, as of any broken page. */
	EXPECT_EQ(SIGBUS, WTERMSIG(looks_at(buf, variant->at, PAGE)));
	if (variant->at / HUGE < variant->size / HUGE) {
		EXPECT_EQ(SIGBUS, WTERMSIG(looks_at(buf, variant->at, HUGE)));
		/* The others of its huge page are as good as before. */
		EXPECT_EQ(0, looks_at(buf, variant->at ^ PAGE, HUGE));
	}
	close(buf);
	EXPECT_EQ(self->used + 1,
		  node_used_at_rest(self->nid, self->used + 1));

	buf = devmem_alloc(self->fd, self->nid, rest, EXACT, 0);
	ASSERT_LE(0, buf);
	EXPECT_EQ(0, testmod("broken %d 0", buf));
	ASSERT_EQ(0, devmem_info(self->fd, self->nid, 0, &info));
	EXPECT_EQ(0, (long)info.free);
	close(buf);
	EXPECT_EQ(self->used + 1,
		  node_used_at_rest(self->nid, self->used + 1));
}

/* -- Behind bounce buffers ---------------------------------------------------------- */

FIXTURE(bounce)
{
	struct nodes n;
	int fd;
};

FIXTURE_VARIANT(bounce)
{
	unsigned int flags;
	size_t size;
};

FIXTURE_VARIANT_ADD(bounce, plain) {
	.size = 4 * HUGE + 3 * PAGE,
};

FIXTURE_VARIANT_ADD(bounce, contiguous) {
	.flags = CONTIG,
	.size = 4 * HUGE + 3 * PAGE,
};

FIXTURE_SETUP(bounce)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid() ||
	    system("grep -q swiotlb=force /proc/cmdline"))
		SKIP(return, "needs root, two nodes of each kind, swiotlb=force");
	self->fd = open(DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, testmod_load());
}

FIXTURE_TEARDOWN(bounce)
{
	EXPECT_EQ(0, close_device(self->fd, &self->n));
}

/* The device has copies; what it writes is there when it is done. */
TEST_F_TIMEOUT(bounce, is_imported, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, variant->size,
			       EXACT | variant->flags, 0);
	size_t i, wrong = 0;
	char *p;

	ASSERT_LE(0, buf);
	p = map_pages(variant->size, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	fill_pages(p, variant->size, 6);
	EXPECT_EQ(0, testmod("bounce %d 1", buf));
	EXPECT_FALSE(intact(p, variant->size, 6));
	EXPECT_EQ(0, testmod("bounce %d 255", buf));
	EXPECT_TRUE(intact(p, variant->size, 6));
	EXPECT_EQ(0, testmod("bounce %d 3", buf));
	for (i = sizeof(long); i < PAGE; i++)
		wrong += p[i] != 3;
	EXPECT_EQ(0, wrong);
	munmap(p, variant->size);
	close(buf);
}

/* What the device has written outlasts a CPU that reads, or writes elsewhere. */
TEST_F_TIMEOUT(bounce, is_written_by_both, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, variant->size,
			       EXACT | variant->flags, 0);
	size_t i, wrong = 0;
	char *p;

	ASSERT_LE(0, buf);
	p = map_pages(variant->size, MAP_SHARED, buf);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, testmod("write_behind %d 5", buf));
	EXPECT_EQ(6, p[0]);
	for (i = 1; i < variant->size; i++)
		wrong += p[i] != 5;
	EXPECT_EQ(0, wrong);
	munmap(p, variant->size);
	close(buf);
}

TEST_F_TIMEOUT(bounce, is_mapped_twice, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, variant->size,
			       EXACT | variant->flags, 0);

	ASSERT_LE(0, buf);
	EXPECT_EQ(0, testmod("twice %d 0", buf));
	EXPECT_EQ(0, testmod("twice %d 1", buf));
	close(buf);
}

TEST_F_TIMEOUT(told, is_mapped_twice, PATIENCE)
{
	int buf = devmem_alloc(self->fd, self->n.d1, 8 * MIB, EXACT, 0);

	ASSERT_LE(0, buf);
	ASSERT_EQ(0, testmod_load());
	EXPECT_EQ(0, testmod("twice %d 0", buf));
	EXPECT_EQ(0, testmod("twice %d 1", buf));
	close(buf);
}

TEST_HARNESS_MAIN
