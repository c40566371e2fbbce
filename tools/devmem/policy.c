// SPDX-License-Identifier: GPL-2.0
/*
 * The memory policy of another process. There is no call for that, so the
 * process makes it itself: it is stopped for a moment, as a debugger would, and
 * calls mbind() for each mapping.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tool.h"

#if defined(__x86_64__) && defined(__LP64__)

#define SYSCALL_STOP	(SIGTRAP | 0x80)
#define USER_CS		0x33

#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK	0x420a
#define PTRACE_SETSIGMASK	0x420b
#endif

struct tracee {
	pid_t pid;
	struct user_regs_struct saved;
	__u64 blocked;		/* its signals */
	__u64 syscall;		/* where its vDSO has that instruction */
	__u64 page;		/* of its memory, for a moment */
};

/*
 * Only while nothing of it has been changed may a signal end the waiting. Return:
 * 0 when it has stopped as @want says, or -errno
 */
static int wait_stop(pid_t pid, int want, bool changed)
{
	int status;

	for (;;) {
		if (waitpid(pid, &status, __WALL) < 0) {
			if (errno == EINTR && (changed || !stop_signal))
				continue;
			return -errno;
		}
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (!want && status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		if (want && WSTOPSIG(status) == want)
			return 0;
		/* Its own affairs, before all are blocked: signals */
		if (ptrace(want ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0,
			   status >> 16 ? 0 : WSTOPSIG(status)))
			return -errno;
	}
}

/* Return: what the call returned, or -errno if it couldn't be made */
static long call(struct tracee *t, long nr, __u64 a, __u64 b, __u64 c, __u64 d,
		 __u64 e, __u64 f)
{
	struct user_regs_struct regs = t->saved;
	int i, err;

	regs.rip = t->syscall;
	/* Whatever it was interrupted in begins again later. */
	regs.orig_rax = -1;
	regs.rax = nr;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = f;
	if (ptrace(PTRACE_SETREGS, t->pid, 0, &regs))
		return -errno;
	for (i = 0; i < 2; i++) {
		if (ptrace(PTRACE_SYSCALL, t->pid, 0, 0))
			return -errno;
		err = wait_stop(t->pid, SYSCALL_STOP, true);
		if (err)
			return err;
	}
	if (ptrace(PTRACE_GETREGS, t->pid, 0, &regs))
		return -errno;
	return regs.rax;
}

static int find_syscall(struct tracee *t, const struct mappings *maps)
{
	unsigned char code[16384];
	struct iovec to = { code, sizeof(code) }, from;
	ssize_t len, at;
	size_t i;

	for (i = 0; i < maps->nr; i++) {
		if (strcmp(maps->map[i].name, "[vdso]"))
			continue;
		from.iov_base = (void *)(unsigned long)maps->map[i].start;
		from.iov_len = maps->map[i].end - maps->map[i].start;
		len = process_vm_readv(t->pid, &to, 1, &from, 1, 0);
		for (at = 0; at + 1 < len; at++) {
			if (code[at] != 0x0f || code[at + 1] != 0x05)
				continue;
			t->syscall = maps->map[i].start + at;
			return 0;
		}
	}
	return -EOPNOTSUPP;
}

/* A filter might kill it for a call that isn't in its plan. */
static bool filtered(pid_t pid)
{
	char path[64], line[256];
	const char *value;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		value = field_text(line, "Seccomp:");
		if (value && *value != '0')
			found = true;
		/* A leader that has ended can't call anything. */
		value = field_text(line, "State:");
		if (value && *value == 'Z')
			found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static int put_mask(struct tracee *t, int node)
{
	unsigned long mask[MAX_NODES / 8 / sizeof(long)] = { 0 };
	struct iovec from = { mask, sizeof(mask) }, to = { NULL, sizeof(mask) };
	const int bits = 8 * sizeof(long);
	long page;

	page = call(t, SYS_mmap, 0, page_size(), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page < 0 && page > -4096)
		return page;
	t->page = page;
	if (node >= 0)
		mask[node / bits] = 1UL << node % bits;
	to.iov_base = (void *)page;
	if (process_vm_writev(t->pid, &from, 1, &to, 1, 0) != sizeof(mask))
		return -EFAULT;
	return 0;
}

static int bind_all(struct tracee *t, const struct mappings *maps,
		    const __u64 *pages, int node)
{
	const struct mapping *map;
	int bound = 0;
	long err;
	size_t i;

	for (i = 0; i < maps->nr && !stop_signal; i++) {
		map = &maps->map[i];
		/* [vdso] and the like are the kernel's. */
		if (!pages[i] || !strncmp(map->name, "[v", 2))
			continue;
		err = call(t, SYS_mbind, map->start, map->end - map->start,
			   node < 0 ? MPOL_DEFAULT : MPOL_BIND,
			   node < 0 ? 0 : t->page,
			   node < 0 ? 0 : MAX_NODES + 1, 0);
		if (err == -ESRCH || err == -EINTR)
			return err;
		bound += !err;
	}
	return bound;
}

/*
 * As it was. What it was interrupted in begins again only behind a stop of this
 * kind, not behind the end of a system call.
 */
static void restore(struct tracee *t)
{
	if (!ptrace(PTRACE_INTERRUPT, t->pid, 0, 0) &&
	    !ptrace(PTRACE_CONT, t->pid, 0, 0))
		wait_stop(t->pid, 0, true);
	ptrace(PTRACE_SETREGS, t->pid, 0, &t->saved);
	ptrace(PTRACE_SETSIGMASK, t->pid, sizeof(t->blocked), &t->blocked);
}

/* No handler of a signal may run on registers that aren't its own. */
static int in_tracee(struct tracee *t, const struct mappings *maps,
		     const __u64 *pages, int node)
{
	__u64 all = ~0ULL;
	int ret;

	if (ptrace(PTRACE_GETREGS, t->pid, 0, &t->saved) ||
	    ptrace(PTRACE_GETSIGMASK, t->pid, sizeof(t->blocked), &t->blocked))
		return -errno;
	/* A program of 32 bits would take the number for another call. */
	if (t->saved.cs != USER_CS)
		return -EOPNOTSUPP;
	if (ptrace(PTRACE_SETSIGMASK, t->pid, sizeof(all), &all))
		return -errno;
	ret = put_mask(t, node);
	if (!ret)
		ret = bind_all(t, maps, pages, node);
	if (t->page)
		call(t, SYS_munmap, t->page, page_size(), 0, 0, 0, 0);
	restore(t);
	return ret;
}

/*
 * Bind mappings of a process that have @pages to a node; without a node, take
 * their policy away. Return: how many were bound, or -errno: EOPNOTSUPP if the
 * process can't be made to
 */
int policy_bind(pid_t pid, const struct mappings *maps, const __u64 *pages,
		int node)
{
	struct tracee t = { .pid = pid };
	int ret;

	if (filtered(pid))
		return -EOPNOTSUPP;
	ret = find_syscall(&t, maps);
	if (ret)
		return ret;
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD))
		return -errno;
	ret = -ESRCH;
	if (!ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		ret = wait_stop(pid, 0, false);
	if (!ret)
		ret = in_tracee(&t, maps, pages, node);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return ret;
}

#else

int policy_bind(pid_t pid, const struct mappings *maps, const __u64 *pages,
		int node)
{
	(void)pid;
	(void)maps;
	(void)pages;
	(void)node;
	return -EOPNOTSUPP;
}

#endif
