// SPDX-License-Identifier: GPL-2.0
/*
 * Invariant 1, asked for, or not at all: the kernel at work for a task that is
 * bound to a device takes system memory for itself, for secretmem and for page
 * cache; a page that was given to a page cache stays no page of a device.
 *
 * Three detectors, see keepout.h: where the pages are; pgalloc_coherent; and
 * after each test a search for pages that nobody asked for. And each test has a
 * control: the same is seen to work on system memory.
 *
 * Seen to fail: on ordinary nodes in place of the device nodes (scripts/vm
 * --no-register, DEVMEM_NODES=2,3); see the comment of each test that passes
 * there, too.
 *
 * Wants two system nodes and two device nodes, the second one larger than
 * system memory; see "plan".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_util.h"
#include "lib/keepout.h"
#include "../kselftest_harness.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret	447
#endif

#define SLAB		BIT(KPF_SLAB)
#define PAGE_TABLE	BIT(KPF_PGTABLE)

/* -- The kernel at work for a bound task ------------------------------------- */

/* Pages of the node in all mappings of this process */
static long mapped_on(int nid)
{
	return numa_count("/proc/self/numa_maps", "", nid);
}

/*
 * What a program that has ended had there waits in a CPU's batch for an LRU
 * list, up to 15 pages; those are nobody's.
 */
static bool nothing_but_mapped(int nid)
{
	int i;

	for (i = 0; i < 20; i++) {
		long used = node_used(nid);

		if (used <= mapped_on(nid))
			return true;
		drain_lists();
		usleep(i * 10000);
	}

	return false;
}

/* Page tables, pipes, sockets, files, other processes: the system's memory */
static int work_bound(int nid)
{
	static char buffer[1 << 16];
	size_t i, sparse = 512 * MIB;
	int fd[2], rc = 0;
	char *p;

	if (set_policy(MPOL_BIND, 1UL << nid))
		return 1;

	/* A page table for each page */
	p = map_pages(sparse, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!p || madvise(p, sparse, MADV_NOHUGEPAGE))
		return 2;
	for (i = 0; i < sparse; i += HUGE)
		p[i] = 1;
	for (i = 0; i < 64; i++) {
		if (pipe(fd))
			return 3;
		fcntl(fd[1], F_SETFL, O_NONBLOCK);
		while (write(fd[1], buffer, sizeof(buffer)) > 0)
			;
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
			return 4;
		fcntl(fd[1], F_SETFL, O_NONBLOCK);
		while (write(fd[1], buffer, sizeof(buffer)) > 0)
			;
	}
	if (system("cat /usr/bin/* 2>/dev/null | head -c 16M >/dev/null"))
		return 5;

	/* Nothing there but what is mapped */
	if (mapped_on(nid) < (long)(sparse / HUGE))
		rc = 6;
	if (!nothing_but_mapped(nid))
		rc = 7;
	if (flagged_pages(nid, SLAB | PAGE_TABLE | HUGETLB))
		rc = 8;
	for (i = 0; i < 20; i++)
		if (!fork()) {
			pause();
			_exit(0);
		}
	if (unasked())
		rc = 9;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	signal(SIGTERM, SIG_DFL);

	return rc;
}

TEST_F(out, work_for_a_bound_task)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, node_left(self->dev[0]));
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		_exit(work_bound(self->dev[0]));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Secret memory is a kind of page cache: not on a device. */
TEST_F(out, secretmem)
{
	int fd = syscall(SYS_memfd_secret, 0);
	long before;
	char *p;

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(fd, 16 * PAGE));
	p = map_pages(16 * PAGE, MAP_SHARED, fd);
	ASSERT_NE(NULL, p);
	before = given();
	ASSERT_EQ(0, set_policy(MPOL_BIND, self->d1));
	fill_pages(p, 16 * PAGE, 1);
	ASSERT_EQ(0, set_policy(MPOL_DEFAULT, 0));
	EXPECT_TRUE(intact(p, 16 * PAGE, 1));
	EXPECT_EQ(before, given());
	EXPECT_NE(0UL, pfn_of(p));
	EXPECT_FALSE(on_a_device(pfn_of(p)));
}

/* -- Gifts to a page cache --------------------------------------------------- */

/*
 * A file system of one file of one page, in this process. What it answers to
 * READ comes from a pipe, so that the kernel may take the page as it is.
 */
#define FUSE_DIR	"/tmp/devmem-fuse"
#define FUSE_FILE	2	/* node id */

static void fuse_reply(int fd, struct fuse_in_header *in, int error,
		       const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len,
		.error = error,
		.unique = in->unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)data, len } };

	if (writev(fd, iov, 2) < 0)
		perror("fuse");
}

static struct fuse_attr fuse_attributes(bool file)
{
	return (struct fuse_attr){
		.ino = file ? FUSE_FILE : 1,
		.size = file ? PAGE : 0,
		.mode = file ? S_IFREG | 0444 : S_IFDIR | 0755,
		.nlink = 1,
		.blksize = PAGE,
	};
}

/* The page in @pipe is the answer */
static void fuse_reply_spliced(int fd, struct fuse_in_header *in, int *pipefd)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + PAGE,
		.unique = in->unique,
	};
	int reply[2];

	if (pipe(reply) || write(reply[1], &out, sizeof(out)) < 0 ||
	    splice(pipefd[0], NULL, reply[1], NULL, PAGE, 0) != (ssize_t)PAGE ||
	    splice(reply[0], NULL, fd, NULL, out.len, SPLICE_F_MOVE) < 0)
		perror("fuse");
	close(reply[0]);
	close(reply[1]);
}

/* Until the file system is unmounted */
static void fuse_serve(int fd, int *pipefd)
{
	static char buffer[1 << 17];
	struct fuse_in_header *in = (void *)buffer;
	struct fuse_init_out init = { .major = 7, .minor = 31,
				      .max_readahead = 1 << 16,
				      .max_write = PAGE };
	struct fuse_open_out opened = { .fh = 1 };
	struct fuse_entry_out entry = { .nodeid = FUSE_FILE };
	struct fuse_attr_out attr = { .attr_valid = 0 };

	entry.attr = fuse_attributes(true);
	while (read(fd, buffer, sizeof(buffer)) > 0) {
		switch (in->opcode) {
		case FUSE_INIT:
			fuse_reply(fd, in, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			fuse_reply(fd, in, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			attr.attr = fuse_attributes(in->nodeid == FUSE_FILE);
			fuse_reply(fd, in, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			fuse_reply(fd, in, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			fuse_reply_spliced(fd, in, pipefd);
			break;
		case FUSE_FLUSH:
		case FUSE_RELEASE:
			fuse_reply(fd, in, 0, NULL, 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
			break;
		default:
			fuse_reply(fd, in, -EOPNOTSUPP, NULL, 0);
		}
	}
}

/* Return: frame of the file's page in the page cache; its first word in @word */
static unsigned long fuse_read(int *pipefd, unsigned int *word)
{
	int fd = open("/dev/fuse", O_RDWR), file;
	unsigned long pfn = 0;
	char options[96];
	pid_t pid;
	char *p;

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	mkdir(FUSE_DIR, 0755);
	if (fd < 0 || mount("devmem", FUSE_DIR, "fuse", 0, options))
		return 0;
	pid = fork();
	if (!pid) {
		fuse_serve(fd, pipefd);
		_exit(0);
	}
	close(fd);
	file = open(FUSE_DIR "/file", O_RDONLY);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
	if (file >= 0 && p != MAP_FAILED) {
		memcpy(word, p, sizeof(*word));
		pfn = pfn_of(p);
		munmap(p, PAGE);
	}
	close(file);
	umount2(FUSE_DIR, MNT_DETACH);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	return pfn;
}

/* Puts the page at @p into a pipe for good, with nobody else who has it */
static unsigned long gift(char *p, int *pipefd)
{
	struct iovec iov = { p, PAGE };
	unsigned long pfn = pfn_of(p);

	if (pipe(pipefd) || vmsplice(pipefd[1], &iov, 1, SPLICE_F_GIFT) < 0)
		return 0;
	madvise(p, PAGE, MADV_DONTNEED);

	return pfn;
}

/*
 * Puts the first page of a file into a pipe as it is. Return: its frame, looked
 * up when it is there: before, compaction may give the file another one.
 */
static unsigned long splice_page(int file, int *pipefd)
{
	unsigned long pfn;
	loff_t start = 0;
	char *p;

	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
	if (p == MAP_FAILED)
		return 0;
	madvise(p, PAGE, MADV_POPULATE_READ);
	if (pipe(pipefd) || splice(file, &start, pipefd[1], NULL, PAGE, 0) < 0)
		return 0;
	pfn = pfn_of(p);
	munmap(p, PAGE);
	/* On its way to an LRU list it has one user more, and isn't taken. */
	drain_lists();

	return pfn;
}

/* One page in a pipe, @pfn, is read through FUSE: is it what was taken? */
static bool fuse_takes(struct __test_metadata *_metadata, int *pipefd,
		       unsigned long pfn, unsigned int content)
{
	unsigned int word = 0;
	unsigned long taken;

	EXPECT_NE(0UL, pfn);
	taken = fuse_read(pipefd, &word);
	EXPECT_NE(0UL, taken);
	EXPECT_EQ(content, word);
	EXPECT_FALSE(on_a_device(taken));
	close(pipefd[0]);
	close(pipefd[1]);

	return taken == pfn;
}

#define FUSE_DISK	"/tmp/devmem-fuse-disk"

TEST_F(out, gift_to_fuse)
{
	int fd[2], file, tries, shared = memfd_create("devmem", 0);
	char *p = place(PAGE, self->d1, 77);
	unsigned int word = 79;
	bool taken = false;
	unsigned long pfn;

	if (access("/dev/fuse", W_OK) || access("/dev/ram1", W_OK))
		SKIP(return, "no FUSE, or no /dev/ram1");

	/*
	 * Control: the page cache of another file is taken, unless somebody
	 * (kcompactd) just looks at it. Then the file still has it.
	 */
	mkdir(FUSE_DISK, 0755);
	ASSERT_EQ(0, system("mkfs.ext4 -q /dev/ram1"));
	ASSERT_EQ(0, mount("/dev/ram1", FUSE_DISK, "ext4", 0, NULL));
	file = open(FUSE_DISK "/file", O_CREAT | O_RDWR, 0600);
	ASSERT_EQ(4, pwrite(file, &word, 4, 0));
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, fsync(file));
	for (tries = 0; tries < 5 && !taken; tries++) {
		pfn = splice_page(file, fd);
		taken = fuse_takes(_metadata, fd, pfn, 79);
	}
	EXPECT_TRUE(taken);
	TH_LOG("the control took %d tries", tries);
	close(file);
	EXPECT_EQ(0, umount(FUSE_DISK));

	/* A device's page that somebody gives away isn't, */
	pfn = gift(p, fd);
	EXPECT_TRUE(on_a_device(pfn));
	EXPECT_FALSE(fuse_takes(_metadata, fd, pfn, 77));

	/*
	 * nor is one of shmem, clean, so that its own cache would let it go.
	 * (To FUSE it looks weird: all shmem does.)
	 */
	ASSERT_EQ(0, ftruncate(shared, PAGE));
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, shared, 0);
	ASSERT_EQ(0, mbind_nodes(p, PAGE, MPOL_BIND, self->d1, 0));
	pfn = splice_page(shared, fd);
	EXPECT_TRUE(on_a_device(pfn));
	munmap(p, PAGE);
	EXPECT_FALSE(fuse_takes(_metadata, fd, pfn, 0));
	close(shared);
}

TEST_HARNESS_MAIN
