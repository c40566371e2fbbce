// SPDX-License-Identifier: GPL-2.0
/* Benchmark: what programs do all day. On system memory it must cost nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FILE_SIZE	(4 * MIB)
#define CHUNK		(64UL << 10)
/* A file system on a RAM disk, if whoever prepared the machine made one */
#define DISK_FILE	"/mnt/devmem_bench"

/* arg: KiB of a folio, device */
static double fault(const struct bench_row *row)
{
	size_t step = row->arg[0] << 10, size = 2 * bench.range;
	double begin, took;
	char *p;

	if (step < PAGE)
		return BENCH_SKIP;
	p = map_range(size);
	if (!p || choose_folios(p, size, row->arg[0]))
		return failed("a range");
	if (row->arg[1] && bind_range(p, size, bench.node)) {
		munmap(p, size);
		return failed("mbind");
	}
	/* The page tables are there: the first page of each table makes it. */
	if (step == PAGE) {
		touch(p, size, HUGE);
		madvise(p, size, MADV_DONTNEED);
	}
	begin = now();
	touch(p, size, step);
	took = now() - begin;
	munmap(p, size);

	return took / (size / step);
}

static double fork_exec(const struct bench_row *row)
{
	int i, status;
	double begin = now();

	(void)row;
	for (i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			execl("/tmp/devmem_bench", "bench", "--nothing", NULL);
			_exit(1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return failed("fork and exec");
	}

	return (now() - begin) / i;
}

static int write_file(const char *path, int flags)
{
	static char buffer[CHUNK];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0600);
	size_t i;

	for (i = 0; fd >= 0 && i < FILE_SIZE; i += CHUNK) {
		if (write(fd, buffer, CHUNK) != CHUNK) {
			close(fd);
			return -1;
		}
	}

	return fd;
}

/* arg: whether the pages are in the page cache already */
static double cache_read(const struct bench_row *row)
{
	static char buffer[CHUNK];
	double begin, took;
	int fd;

	if (access("/mnt/lost+found", F_OK))
		return BENCH_SKIP;
	fd = open(DISK_FILE, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fd = write_file(DISK_FILE, 0);
		if (fd >= 0)
			fsync(fd);
	}
	if (fd < 0)
		return failed(DISK_FILE);
	if (!row->arg[0])
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	lseek(fd, 0, SEEK_SET);
	begin = now();
	while (read(fd, buffer, CHUNK) > 0)
		;
	took = now() - begin;
	close(fd);

	return took / (FILE_SIZE / PAGE);
}

static double tmpfs_write(const struct bench_row *row)
{
	double begin = now(), took;
	int fd = write_file("/dev/shm/bench", 0);

	(void)row;
	took = now() - begin;
	if (fd < 0)
		return failed("a file of tmpfs");
	close(fd);
	unlink("/dev/shm/bench");

	return took / (FILE_SIZE / PAGE);
}

/* Grown, written to, and shrunk again */
static double grow_brk(const struct bench_row *row)
{
	double begin = now();
	int i;

	(void)row;
	for (i = 0; i < 16; i++) {
		char *p = sbrk(MIB);

		if (p == (void *)-1)
			return failed("sbrk");
		touch(p, MIB, PAGE);
		sbrk(-(long)MIB);
	}

	return (now() - begin) / (i * MIB / PAGE);
}

static double mmap_munmap(const struct bench_row *row)
{
	double begin = now();
	int i;

	(void)row;
	for (i = 0; i < 4000; i++) {
		char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return failed("mmap");
		*p = 1;
		munmap(p, 4 * PAGE);
	}

	return (now() - begin) / i;
}

const struct bench_row program_rows[] = {
	ROW("fault/system/4k", "fault", fault, 4, false, 0),
	ROW("fault/system/64k", "fault", fault, 64, false, 0),
	ROW("fault/system/2m", "fault", fault, 2048, false, 0),
	ROW("fault/device/4k", "fault", fault, 4, true, 0),
	ROW("fault/device/64k", "fault", fault, 64, true, 0),
	ROW("fault/device/2m", "fault", fault, 2048, true, 0),
	ROW("program/fork_exec", "call", fork_exec, 0, 0, 0),
	ROW("program/read", "page", cache_read, false, 0, 0),
	ROW("program/read_cached", "page", cache_read, true, 0, 0),
	ROW("program/tmpfs_write", "page", tmpfs_write, 0, 0, 0),
	ROW("program/brk", "page", grow_brk, 0, 0, 0),
	ROW("program/mmap_munmap", "call", mmap_munmap, 0, 0, 0),
	{ }
};
