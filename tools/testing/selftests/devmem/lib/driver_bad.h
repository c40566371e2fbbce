/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs driver_bad_*.c share: what was open, in use and wrong
 * before a test, and whether it is the same after it, when the test's process
 * is gone.
 */
#ifndef DEVMEM_DRIVER_BAD_H
#define DEVMEM_DRIVER_BAD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_calls.h"
#include "devmem_util.h"
#include "../../kselftest_harness.h"

/* A debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define DEV	"/dev/devmem"
#define SIZE	(MIB / 2)
#define N	((long)(SIZE / PAGE))
#define NO_NODE	60		/* possible at most */
#define NOWHERE	((void *)0x10000)
#define HUGE_U64 0x8000000000000000ULL
#define SOME_PAGES 2048		/* what the kernel may keep for itself */
#define SOME_FILES 160		/* and what it may forget to count, per CPU */
#define TAINTED_WARN 0x280	/* it complained, or worse */

/* What each test has, and what there was before */
struct env {
	struct nodes n;
	int fd;			/* of the device */
	char *p;		/* content 1, SIZE on s0 */
	long buffers;
	long files;
	long pages;		/* of the system nodes, in use */
	long tainted;
};

/* Of the address space: the stack is at its end, which is a power of two. */
static inline unsigned long user_end(void)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0);

	return 1UL << (64 - __builtin_clzl(here));
}

static inline long complaints(void)
{
	return read_number("/proc/sys/kernel/tainted") & TAINTED_WARN;
}

static inline long open_buffers(void)
{
	return scan_number("/sys/kernel/debug/dma_buf/bufinfo",
			   "Total %ld objects");
}

static inline long open_files(void)
{
	return read_number("/proc/sys/fs/file-nr");
}

static inline long system_pages(const struct nodes *n)
{
	return node_used(n->s0) + node_used(n->s1);
}

/* Return: false if the machine isn't for this */
static inline bool set_up(struct env *e)
{
	if (!find_nodes(&e->n) || getuid())
		return false;
	e->tainted = complaints();
	e->buffers = open_buffers();
	e->files = open_files();
	e->pages = system_pages(&e->n);
	e->fd = open(DEV, O_RDWR | O_CLOEXEC);
	e->p = map_anon(SIZE);
	if (e->fd < 0 || !e->p)
		return false;
	fill_pages(e->p, SIZE, 1);

	return true;
}

/* After a test, whose process is gone: what is in use and wasn't before */
static inline long left(const struct env *e)
{
	long sum = nodes_left(&e->n), buffers = 0, files = 0, pages = 0;
	int i;

	chmod(DEV, 0600);
	rmdir(CG);
	if (complaints() != e->tainted) {
		ksft_print_msg("the kernel complains, see its log\n");
		return 1;
	}
	for (i = 0; i < 200; i++) {
		buffers = open_buffers() - e->buffers;
		files = open_files() - e->files;
		pages = system_pages(&e->n) - e->pages;
		if (!buffers && files < SOME_FILES && pages < SOME_PAGES)
			return sum;
		usleep(50000);
	}
	ksft_print_msg("%ld buffers, %ld files, %ld system pages more\n",
		       buffers, files, pages);

	return sum ? sum : 1;
}

FIXTURE(dev)
{
	struct env e;
};

FIXTURE_SETUP(dev)
{
	if (!set_up(&self->e))
		SKIP(return, "needs root, /dev/devmem, two nodes of each kind");
}

FIXTURE_TEARDOWN_PARENT(dev)
{
	EXPECT_EQ(0, left(&self->e));
}

/* Return: how @fn ended, in a process of its own */
static inline int in_child(int (*fn)(void *arg), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	waitpid(pid, &status, 0);

	return status;
}

static inline int pidfd_of(pid_t pid, unsigned int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

/* Return: 0 for a buffer, which is closed, or the error */
static inline int try_alloc(int fd, int nid, unsigned long long size,
			    unsigned int flags, unsigned long long align)
{
	int buf = devmem_alloc(fd, nid, size, flags, align);

	return buf < 0 ? buf : close(buf);
}

static inline int try_migrate(int fd, void *p, unsigned long size, int nid,
			      int pidfd, unsigned int flags)
{
	struct devmem_migrate m = { .flags = flags };

	return devmem_migrate(fd, p, size, nid, pidfd, &m);
}

static inline int try_verify(int fd, void *p, unsigned long size, int pidfd)
{
	struct devmem_verify v;

	return devmem_verify(fd, p, size, pidfd, NULL, 0, &v);
}

/* As mmap(), what it maps is gone again; 0 or the error */
static inline int try_map(int fd, size_t size, int prot, int flags, off_t offset)
{
	char *p = mmap(NULL, size, prot, flags, fd, offset);

	return p == MAP_FAILED ? -errno : munmap(p, size);
}

/*
 * As much as a node never has free, as long as the buffer is there that takes a
 * page of it
 */
static inline unsigned long long never_free(int fd, int nid)
{
	if (devmem_alloc(fd, nid, PAGE, DEVMEM_ALLOC_EXACT, 0) < 0)
		_exit(97);

	return node_bytes(nid);
}

static inline int ready(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) < 0 ? -errno : p.revents;
}

static inline unsigned int next_random(unsigned int *state)
{
	*state = *state * 1103515245 + 12345;

	return *state >> 16;
}

static inline bool before(time_t end)
{
	return time(NULL) < end;
}

/* The call, with a buffer closed that it may have made */
static inline int run(int fd, unsigned int cmd, void *arg)
{
	int err = devmem_call(fd, cmd, arg);

	if (!err && _IOC_NR(cmd) == _IOC_NR(DEVMEM_IOC_ALLOC) &&
	    ((struct devmem_alloc *)arg)->fd >= 0)
		close(((struct devmem_alloc *)arg)->fd);

	return err;
}

/* Lowest descriptor that is free: the same before and after means no leak */
static inline int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);

	return fd;
}

/* None of the calls takes that for a device node. */
static inline bool no_device(const struct env *e, int nid)
{
	struct devmem_info info;
	int got[] = {
		devmem_info(e->fd, nid, 0, &info),
		devmem_info(e->fd, nid, DEVMEM_INFO_RUNS, &info),
		try_alloc(e->fd, nid, SIZE, 0, 0),
		try_alloc(e->fd, nid, SIZE, DEVMEM_ALLOC_EXACT, 0),
		try_alloc(e->fd, nid, HUGE, DEVMEM_ALLOC_CONTIG, HUGE),
		devmem_watch(e->fd, nid, PAGE, -1),
		devmem_watch(e->fd, nid, PAGE, -1),
	};
	size_t i;

	for (i = 0; i < sizeof(got) / sizeof(*got); i++) {
		if (got[i] == -ENODEV)
			continue;
		ksft_print_msg("node %d, request %zu: %d\n", nid, i, got[i]);
		return false;
	}

	return ready(e->fd, 0) == POLLERR;
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);

	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline int set_limit(int what, rlim_t max)
{
	struct rlimit limit = { max, max };

	return setrlimit(what, &limit);
}

#define MANY	3000

static inline char *make_anon(void)
{
	return map_anon(SIZE);
}

struct waiter {
	int fd;
	int ms;
	atomic_int state;	/* 1: about to wait, 2: has waited */
	int got;
};

static inline void *wait_for_room(void *arg)
{
	struct waiter *w = arg;

	w->state = 1;
	w->got = ready(w->fd, w->ms);
	w->state = 2;

	return NULL;
}

static inline pthread_t start_waiter(struct waiter *w)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_for_room, w);
	while (!w->state)
		usleep(1000);
	usleep(20000);

	return thread;
}

#endif /* DEVMEM_DRIVER_BAD_H */
