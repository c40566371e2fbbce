// SPDX-License-Identifier: GPL-2.0
/* devmem migrate */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tool.h"

#define FIRST_BUDGET	(16ULL << 20)
#define MIN_BUDGET	(2ULL << 20)
#define MAX_BUDGET	(1024ULL << 30)
#define BAR_WIDTH	30

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif

/* What was asked for */
struct request {
	pid_t *pids;
	int nr;
	int nr_named;		/* by --pid; the rest is of a group, and may be gone */
	int node;
	__u32 flags;
	bool huge;
	bool quiet;
	bool draw;
	bool ranged;
	__u64 start;
	__u64 end;
};

/* A process */
struct job {
	const struct request *r;
	pid_t pid;
	char name[64];
	int fd;
	int pidfd;

	struct mappings maps;
	__u64 *present;		/* pages of each mapping */
	__u64 total;		/* of all */

	__u64 budget;
	struct devmem_migrate sum;	/* its counts */
	__u64 kept;		/* pages of mappings that not all of could go */
	__u64 swapped;
	__u64 huge;
	bool no_huge;		/* huge pages need a capability */
	double started;
	double took;
	double drawn;
};

enum {
	OPT_CGROUP = OPT_OWN,
	OPT_ALL,
	OPT_WHOLE,
	OPT_SHARED,
	OPT_HUGE,
};

static const struct opt options[] = {
	{ "pid", 'p', "PID", "a process; several: 1,2, or the option again" },
	{ "cgroup", OPT_CGROUP, "PATH", "all processes of a cgroup and of those below it" },
	{ "to", 't', "N|system", "to node N, or to the nearest system memory" },
	{ "range", 'r', "FROM-TO", "these addresses alone; hexadecimal, as devmem show and\n"
				   "/proc/PID/maps print them" },
	{ "all-or-nothing", OPT_ALL, NULL,
	  "move a mapping (with --range: the range) only if all of\nit can go" },
	{ "whole", OPT_WHOLE, NULL, "never split a huge page" },
	{ "shared", OPT_SHARED, NULL, "pages that other processes map, too (CAP_SYS_NICE)" },
	{ "huge", OPT_HUGE, NULL, "make huge pages of it there (CAP_SYS_NICE)" },
	{ "quiet", 'q', NULL, "no progress and no summary" },
	{ }
};

static int target_option(const char *text, struct request *r)
{
	unsigned long value;

	if (!strcmp(text, "system")) {
		r->node = DEVMEM_NODE_SYSTEM;
		return 0;
	}
	if (parse_number(text, MAX_NODES - 1, &value))
		return usage("--to '%s': expected the number of a node, or system",
			     text);
	r->node = value;
	return 0;
}

static int range_option(const char *text, struct request *r)
{
	if (parse_range(text, &r->start, &r->end))
		return usage("--range '%s': expected FROM-TO in hexadecimal",
			     text);
	if (r->start >= r->end)
		return usage("--range '%s': is empty", text);
	if ((r->start | r->end) % page_size())
		return usage("--range '%s': not at a multiple of the page size, %#llx",
			     text, page_size());
	r->ranged = true;
	return 0;
}

/* Nobody is moved twice. */
static void add_pid(struct request *r, pid_t pid)
{
	int i;

	for (i = 0; i < r->nr; i++) {
		if (r->pids[i] == pid)
			return;
	}
	r->pids = must(realloc(r->pids, (r->nr + 1) * sizeof(*r->pids)));
	r->pids[r->nr++] = pid;
}

static int pid_option(char *text, struct request *r)
{
	char *one, *rest = NULL;
	pid_t pid;

	if (!*text || *text == ',' || text[strlen(text) - 1] == ',')
		return usage("--pid '%s': expected the id of a process", text);
	for (one = strtok_r(text, ",", &rest); one;
	     one = strtok_r(NULL, ",", &rest)) {
		if (parse_pid(one, &pid))
			return usage("--pid '%s': expected the id of a process",
				     one);
		add_pid(r, pid);
	}
	return 0;
}

static int parse_option(int c, struct request *r, const char **group)
{
	switch (c) {
	case 'p':
		return pid_option(optarg, r);
	case OPT_CGROUP:
		*group = optarg;
		return 0;
	case 't':
		return target_option(optarg, r);
	case 'r':
		return range_option(optarg, r);
	case OPT_ALL:
		r->flags |= DEVMEM_MIGRATE_ALL;
		return 0;
	case OPT_WHOLE:
		r->flags |= DEVMEM_MIGRATE_WHOLE;
		return 0;
	case OPT_SHARED:
		r->flags |= DEVMEM_MIGRATE_SHARED;
		return 0;
	case OPT_HUGE:
		r->huge = true;
		return 0;
	default:
		r->quiet = true;
		return 0;
	}
}

/* Those of the group as it is now, but not this one */
static int add_processes_of_group(struct request *r, const char *path)
{
	pid_t *pids = NULL;
	int i, nr = 0, err;

	err = group_processes(path, &pids, &nr);
	if (err == -ENOENT)
		fail("--cgroup '%s': no such group", path);
	else if (err)
		fail("--cgroup '%s': %s", path, strerror(-err));
	for (i = 0; i < nr && !err; i++) {
		if (pids[i] != getpid())
			add_pid(r, pids[i]);
	}
	free(pids);
	return err ? EXIT_FAILURE : 0;
}

/* Without the driver's help the reason would be EINVAL. */
static int check_target(int node)
{
	struct node_list nodes;
	int status = 0;
	char *names;

	if (node == DEVMEM_NODE_SYSTEM || node_list_read("has_memory", &nodes))
		return 0;
	if (!node_list_has(&nodes, node)) {
		names = node_list_text(&nodes);
		status = fail("--to %d: not a node with memory; these are: %s",
			      node, names);
		free(names);
	}
	node_list_free(&nodes);
	return status;
}

/* Pages that were found, wherever they are now */
static __u64 pages_seen(const struct devmem_migrate *m)
{
	return m->moved + m->there + m->shared + m->pinned + m->file +
	       m->no_room + m->busy + m->unmovable;
}

static void draw_progress(struct job *job, bool force)
{
	char done[SIZE_TEXT], all[SIZE_TEXT], rate[SIZE_TEXT];
	double t = now(), part = 0, elapsed = t - job->started;
	int width = term_width(STDERR_FILENO) - 40;

	if (!job->r->draw || (!force && t - job->drawn < 0.1))
		return;
	job->drawn = t;
	if (job->total)
		part = (double)pages_seen(&job->sum) / job->total;
	part = part > 1 ? 1 : part;

	fputc('\r', stderr);
	if (width >= 5)
		print_bar(stderr, part, width > BAR_WIDTH ? BAR_WIDTH : width);
	fprintf(stderr, " %3.0f%% %5s/%s %s/s", part * 100,
		size_text(done, pages_seen(&job->sum) * page_size()),
		size_text(all, job->total * page_size()),
		rate_text(rate, elapsed > 0 ? job->sum.moved * page_size() /
			  elapsed : 0));
	if (part > 0.02 && elapsed > 1 && term_width(STDERR_FILENO) > 50)
		fprintf(stderr, ", %.0f s left", elapsed / part - elapsed);
	fputs("\033[K", stderr);
	fflush(stderr);
}

static void clear_progress(struct job *job)
{
	if (job->r->draw)
		fputs("\r\033[K", stderr);
}

/* Restrict the mappings to the range; drop what is outside. */
static void clip_mappings(struct job *job)
{
	struct mapping *map;
	size_t i, kept = 0;

	for (i = 0; i < job->maps.nr; i++) {
		map = &job->maps.map[i];
		if (job->r->ranged && map->start < job->r->start)
			map->start = job->r->start;
		if (job->r->ranged && map->end > job->r->end)
			map->end = job->r->end;
		if (map->start < map->end)
			job->maps.map[kept++] = *map;
		else
			free(map->name);
	}
	job->maps.nr = kept;
}

/* How much there is in each mapping: to show progress, to skip what is empty */
static int count_present(struct job *job)
{
	const struct mapping *map;
	struct devmem_verify v;
	size_t i;
	int err;

	job->present = must(calloc(job->maps.nr + 1, sizeof(*job->present)));
	for (i = 0; i < job->maps.nr && !stop_signal; i++) {
		map = &job->maps.map[i];
		err = dev_verify(job->fd, job->pidfd, map->start, map->end, &v,
				 NULL, 0);
		if (err && err != -EINTR)
			return err;
		job->present[i] = v.present;
		job->total += v.present;
	}
	return 0;
}

/* A process of a group that has ended, or never had memory, is no error. */
static bool may_be_gone(const struct job *job)
{
	const struct request *r = job->r;
	int i;

	for (i = 0; i < r->nr_named; i++) {
		if (r->pids[i] == job->pid)
			return false;
	}
	return true;
}

static int prepare(struct job *job)
{
	int err = 0;

	process_name(job->pid, job->name, sizeof(job->name));
	job->pidfd = process_open(job->pid);
	if (job->pidfd < 0)
		err = job->pidfd;
	if (!err)
		err = mappings_read(job->pid, &job->maps);
	if (!err) {
		clip_mappings(job);
		err = count_present(job);
	}
	if ((err == -ESRCH || err == -ENOENT) && may_be_gone(job)) {
		mappings_free(&job->maps);
		return 0;
	}
	if (err)
		return process_explain(job->pid, err);
	if (job->maps.nr || may_be_gone(job))
		return 0;
	if (job->r->ranged)
		return fail("process %d maps nothing at %llx-%llx; see devmem show %d",
			    (int)job->pid, job->r->start, job->r->end,
			    (int)job->pid);
	return fail("process %d: a kernel thread, or it has exited",
		    (int)job->pid);
}

/* Steps of about a tenth of a second, which end where huge pages do */
static void set_budget(struct job *job, struct devmem_migrate *m, double took)
{
	if (job->r->flags & DEVMEM_MIGRATE_ALL) {
		m->budget = 0;
		return;
	}
	if (took >= 0 && took < 0.05 && job->budget < MAX_BUDGET)
		job->budget *= 2;
	else if (took > 0.2 && job->budget > MIN_BUDGET)
		job->budget /= 2;
	m->budget = job->budget - m->addr % MIN_BUDGET;
}

/* Return: 0 or -errno; -EINTR if it was told to stop */
static int migrate_range(struct job *job, __u64 start, __u64 end)
{
	struct devmem_migrate m = job->sum;
	double t = now(), took = -1;
	__u64 left;
	int err;

	m.addr = start;
	m.size = end - start;
	m.node = job->r->node;
	m.pidfd = job->pidfd;
	m.flags = job->r->flags;
	while (m.size) {
		if (stop_signal)
			return -EINTR;
		set_budget(job, &m, took);
		left = m.size;
		err = ioctl(job->fd, DEVMEM_IOC_MIGRATE, &m) ? -errno : 0;
		job->sum = m;
		if (err && err != -EINTR)
			return err;
		if (!err && m.size == left)
			return -EIO;
		draw_progress(job, false);
		took = now() - t;
		t += took;
	}
	return 0;
}

static bool all_refused(const struct job *job, int err)
{
	return job->r->flags & DEVMEM_MIGRATE_ALL &&
	       (err == -EBUSY || err == -ENOMEM);
}

static int migrate_mappings(struct job *job)
{
	__u64 seen;
	size_t i;
	int err = 0;

	for (i = 0; i < job->maps.nr && !err; i++) {
		if (!job->present[i])
			continue;
		seen = pages_seen(&job->sum);
		err = migrate_range(job, job->maps.map[i].start,
				    job->maps.map[i].end);
		/* This one stays as a whole; the others are asked for, too. */
		if (!all_refused(job, err))
			continue;
		seen = pages_seen(&job->sum) - seen;
		if (job->present[i] > seen)
			job->kept += job->present[i] - seen;
		err = 0;
	}
	return err;
}

static __u64 huge_page_size(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
			"re");
	__u64 size = 0;

	if (f && fscanf(f, "%llu", &size) != 1)
		size = 0;
	if (f)
		fclose(f);
	return size;
}

/* In steps, for Ctrl-C; what can't be huge stays as it is. Return: 0 or -errno */
static int collapse(struct job *job, const struct mapping *map, __u64 huge)
{
	__u64 at = (map->start + huge - 1) / huge * huge, end;
	struct iovec part;

	for (; at + huge <= map->end && !stop_signal; at = end) {
		end = map->end / huge * huge;
		if (end > at + 8 * huge)
			end = at + 8 * huge;
		part.iov_base = (void *)(unsigned long)at;
		part.iov_len = end - at;
		if (syscall(SYS_process_madvise, job->pidfd, &part, 1,
			    MADV_COLLAPSE, 0) < 0 &&
		    (errno == EPERM || errno == ESRCH)) {
			job->no_huge = errno == EPERM;
			return -errno;
		}
	}
	return 0;
}

/* What is there now: huge pages are made of what moved, swapped pages counted. */
static int look_again(struct job *job)
{
	__u64 huge = job->r->huge ? huge_page_size() : 0;
	const struct mapping *map;
	struct devmem_verify v;
	int err = 0;
	size_t i;

	for (i = 0; i < job->maps.nr && !err && !stop_signal; i++) {
		map = &job->maps.map[i];
		err = dev_verify(job->fd, job->pidfd, map->start, map->end, &v,
				 NULL, 0);
		if (!err && huge && v.present && !v.file) {
			err = collapse(job, map, huge);
			if (!err)
				err = dev_verify(job->fd, job->pidfd, map->start,
						 map->end, &v, NULL, 0);
		}
		job->swapped += err ? 0 : v.swapped;
		job->huge += err ? 0 : v.huge;
	}
	return err;
}

static int migrate(struct job *job)
{
	int err;

	job->started = now();
	job->budget = FIRST_BUDGET;
	draw_progress(job, true);
	if (job->r->ranged && job->r->flags & DEVMEM_MIGRATE_ALL)
		err = migrate_range(job, job->r->start, job->r->end);
	else
		err = migrate_mappings(job);
	clear_progress(job);
	job->took = now() - job->started;
	if (!err || all_refused(job, err))
		err = look_again(job) ?: err;
	return err;
}

/* Counts of pages, in the order in which they are printed */
static const struct count {
	const char *key;
	const char *label;	/* NULL: no line of its own */
	const char *stays;	/* why */
	size_t at;		/* in struct job */
} counts[] = {
#define COUNT(key, member, ...)	{ key, __VA_ARGS__, offsetof(struct job, member) }
	COUNT("moved", sum.moved, NULL, NULL),
	COUNT("there", sum.there, "there already", NULL),
	COUNT("shared", sum.shared, "shared",
	      "other processes map it, too (--shared)"),
	COUNT("pinned", sum.pinned, "pinned",
	      "a device or a system call uses it"),
	COUNT("file", sum.file, "file",
	      "page cache is always in system memory"),
	COUNT("no_room", sum.no_room, "no room",
	      "the target was full (devmem list)"),
	COUNT("busy", sum.busy, "busy", "was being used; try again"),
	COUNT("unmovable", sum.unmovable, "unmovable",
	      "hugetlb, a driver's memory"),
	COUNT("swapped", swapped, "swapped out",
	      "on swap; used again, it goes where its policy says"),
	COUNT("kept", kept, "kept",
	      "not all of its mapping can go (--all-or-nothing)"),
#undef COUNT
};

static __u64 count_of(const struct job *job, const struct count *count)
{
	return *(const __u64 *)((const char *)job + count->at);
}

/* A line for what there is of it: how much, and why it stays */
static void say(const char *key, const char *label, const char *stays)
{
	char line[128];

	snprintf(line, sizeof(line), "  %-14s {%s:5}%s%s\n", label, key,
		 stays ? "  stays: " : "", stays ? stays : "");
	out_text(line);
}

static void print_reasons(const struct job *job)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		if (counts[i].label && count_of(job, &counts[i]))
			say(counts[i].key, counts[i].label, counts[i].stays);
	}
	if (job->r->huge && job->huge)
		say("huge", "in huge pages", NULL);
}

/*
 * What can't ever move doesn't count, unless it was asked for by address: every
 * process maps files.
 */
static __u64 pages_stayed(const struct job *job)
{
	const struct devmem_migrate *m = &job->sum;
	__u64 stayed = m->shared + m->pinned + m->no_room + m->busy + job->kept +
		       job->swapped;

	if (job->r->ranged)
		stayed += m->file + m->unmovable;
	return stayed;
}

static void print_counts(const struct job *job)
{
	size_t i;

	out_number("pid", job->pid);
	out_string("name", job->name);
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		out_pages(counts[i].key, count_of(job, &counts[i]));
	out_pages("stayed", pages_stayed(job));
	out_real("seconds", job->took);
	out_rate("per_second", job->took > 0 ?
		 job->sum.moved * page_size() / job->took : 0);
	if (job->r->huge)
		out_pages("huge", job->huge);
	if (job->r->node == DEVMEM_NODE_SYSTEM)
		out_string("to", "system");
	else
		out_number("to", job->r->node);
}

static void print_summary(const struct job *job)
{
	print_counts(job);
	if (job->r->quiet)
		return;
	out_text("process {pid} ({name}): {moved} moved to ");
	out_text(job->r->node == DEVMEM_NODE_SYSTEM ? "{to} memory" :
		 "node {to}");
	out_text(" in {seconds} s ({per_second}/s)\n");
	print_reasons(job);
}

static int explain(const struct job *job, int err)
{
	const struct request *r = job->r;

	if (err == -EPERM && (r->flags & DEVMEM_MIGRATE_SHARED || job->no_huge))
		return fail("process %d: %s: --%s needs CAP_SYS_NICE (root)",
			    (int)job->pid, strerror(-err),
			    job->no_huge ? "huge" : "shared");
	if (err == -EACCES)
		return fail("process %d: its cpuset or yours lacks node %d; see %s",
			    (int)job->pid, r->node,
			    "Mems_allowed_list in /proc/PID/status");
	if (err == -ENODEV)
		return fail("node %d: no memory there (any more)", r->node);
	if (err == -EINVAL)
		return fail("process %d: %s: the driver refused the call",
			    (int)job->pid, strerror(-err));
	return process_explain(job->pid, err);
}

static int report(const struct job *job, int err)
{
	int status;

	print_summary(job);
	if (stop_signal) {
		complain("interrupted; what isn't counted above stayed where it was");
		return 128 + stop_signal;
	}
	if (err == -ESRCH && may_be_gone(job))
		return 0;
	if (all_refused(job, err)) {
		complain("%s", job->sum.moved ?
			 "something came in the way of what was left" :
			 "nothing was moved, for not all of it can go");
		return EXIT_STAYED;
	}
	status = err ? explain(job, err) : 0;
	return status ? status : pages_stayed(job) ? EXIT_STAYED : 0;
}

static void finish(struct job *job)
{
	mappings_free(&job->maps);
	free(job->present);
	if (job->pidfd >= 0)
		close(job->pidfd);
}

/* Return: its status; what was moved is added to @moved */
static int migrate_process(const struct request *r, int fd, pid_t pid,
			   __u64 *moved)
{
	struct job job = { .r = r, .pid = pid, .fd = fd, .pidfd = -1 };
	int status = prepare(&job);

	if (!status && job.maps.nr) {
		out_object(NULL);
		status = report(&job, migrate(&job));
		out_number("status", status);
		out_close();
	}
	*moved += job.sum.moved;
	finish(&job);
	return status;
}

/* An error counts more than what stayed, the signal more than an error. */
static int worse(int status, int other)
{
	if (status > 128 || other > 128)
		return status > 128 ? status : other;
	if (status == EXIT_FAILURE || other == EXIT_FAILURE)
		return EXIT_FAILURE;
	return status ? status : other;
}

static int migrate_all(const struct request *r)
{
	int fd = dev_open(O_RDWR);
	int i, status = 0;
	__u64 moved = 0;

	if (fd < 0)
		return dev_explain(fd);
	out_begin();
	out_number("page_size", page_size());
	out_array("processes");
	for (i = 0; i < r->nr && !stop_signal; i++)
		status = worse(status, migrate_process(r, fd, r->pids[i],
						       &moved));
	out_close();
	out_pages("moved", moved);
	if (r->nr > 1 && !r->quiet)
		out_text("all: {moved} moved\n");
	close(fd);
	/* Between two of them, or before the first */
	return stop_signal ? 128 + stop_signal : status;
}

static int check_request(struct request *r, const char *group)
{
	int status = 0;

	if (!r->nr && !group)
		return usage("--pid is missing, or --cgroup");
	if (r->node == MAX_NODES)
		return usage("--to is missing");
	if (r->ranged && (r->nr != 1 || group))
		return usage("--range: of one process only");
	r->nr_named = r->nr;
	if (group)
		status = add_processes_of_group(r, group);
	return status ? status : check_target(r->node);
}

static int run(int argc, char **argv)
{
	struct request r = { .node = MAX_NODES };
	const char *group = NULL;
	int c, status = 0;

	while (!status && (c = next_option(argc, argv)) != -1)
		status = parse_option(c, &r, &group);
	if (!status)
		status = no_more_arguments(argc, argv);
	if (!status)
		status = check_request(&r, group);
	if (!status) {
		r.draw = !r.quiet && term_can_draw(STDERR_FILENO);
		catch_stop_signals(SA_RESETHAND);
		status = migrate_all(&r);
	}
	free(r.pids);
	return status;
}

const struct command cmd_migrate = {
	.name = "migrate",
	.summary = "move the memory of processes to a node, or back",
	.arguments = "--pid PID|--cgroup PATH --to N|system [OPTION]...",
	.text = "Move the memory of processes to a node, or back to system memory.",
	.notes =
"Ctrl-C stops it between two steps; what was moved stays moved. The policy of a\n"
"process is its own: what it gets later comes from where it came from before,\n"
"unless it was started by 'devmem run'.\n"
"Exit status: 0 all moved, 1 error, 2 wrong usage, 3 pages stayed, 130 Ctrl-C.",
	.options = options,
	.prints = true,
	.run = run,
};
