// SPDX-License-Identifier: GPL-2.0
/* devmem migrate */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

static const char help[] =
"Usage: devmem migrate --pid PID --to N|system [OPTION]...\n"
"Move the memory of a process to a node, or back to system memory.\n"
"\n"
"  -p, --pid PID         the process\n"
"  -t, --to N            to node N\n"
"      --to system       to the nearest system memory\n"
"  -r, --range FROM-TO   these addresses alone; hexadecimal, as devmem show and\n"
"                        /proc/PID/maps print them\n"
"      --all-or-nothing  move a mapping (with --range: the range) only if all of\n"
"                        it can go\n"
"      --whole           never split a huge page\n"
"      --shared          pages that other processes map, too (CAP_SYS_NICE)\n"
"  -q, --quiet           no progress and no summary\n"
"  -h, --help            this text\n"
"\n"
"Ctrl-C stops it between two steps; what was moved stays moved.\n"
"Exit status: 0 all moved, 1 error, 2 wrong usage, 3 pages stayed, 130 Ctrl-C.\n";

#define FIRST_BUDGET	(16ULL << 20)
#define MIN_BUDGET	(2ULL << 20)
#define MAX_BUDGET	(1024ULL << 30)
#define BAR_WIDTH	30

struct job {
	pid_t pid;
	int fd;
	int pidfd;
	int node;
	__u32 flags;
	bool quiet;
	bool draw;

	/* The range that was asked for */
	bool ranged;
	__u64 start;
	__u64 end;

	struct mappings maps;
	__u64 *present;		/* pages of each mapping */
	__u64 total;		/* of all */

	__u64 budget;
	struct devmem_migrate sum;	/* its counts */
	__u64 kept;		/* pages of mappings that not all of could go */
	double started;
	double drawn;
};

enum {
	OPT_ALL = 256,
	OPT_WHOLE,
	OPT_SHARED,
};

static const struct option options[] = {
	{ "pid", required_argument, NULL, 'p' },
	{ "to", required_argument, NULL, 't' },
	{ "range", required_argument, NULL, 'r' },
	{ "all-or-nothing", no_argument, NULL, OPT_ALL },
	{ "whole", no_argument, NULL, OPT_WHOLE },
	{ "shared", no_argument, NULL, OPT_SHARED },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static int target_option(const char *text, struct job *job)
{
	unsigned long value;

	if (!strcmp(text, "system")) {
		job->node = DEVMEM_NODE_SYSTEM;
		return 0;
	}
	if (parse_number(text, MAX_NODES - 1, &value))
		return usage("--to '%s': expected the number of a node, or system",
			     text);
	job->node = value;
	return 0;
}

static int range_option(const char *text, struct job *job)
{
	if (parse_range(text, &job->start, &job->end))
		return usage("--range '%s': expected FROM-TO in hexadecimal",
			     text);
	if (job->start >= job->end)
		return usage("--range '%s': is empty", text);
	if ((job->start | job->end) % page_size())
		return usage("--range '%s': not at a multiple of the page size, %#llx",
			     text, page_size());
	job->ranged = true;
	return 0;
}

static int parse_option(int c, struct job *job)
{
	switch (c) {
	case 'p':
		if (parse_pid(optarg, &job->pid))
			return usage("--pid '%s': expected the id of a process",
				     optarg);
		return 0;
	case 't':
		return target_option(optarg, job);
	case 'r':
		return range_option(optarg, job);
	case OPT_ALL:
		job->flags |= DEVMEM_MIGRATE_ALL;
		return 0;
	case OPT_WHOLE:
		job->flags |= DEVMEM_MIGRATE_WHOLE;
		return 0;
	case OPT_SHARED:
		job->flags |= DEVMEM_MIGRATE_SHARED;
		return 0;
	default:
		job->quiet = true;
		return 0;
	}
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

	if (!job->draw || (!force && t - job->drawn < 0.1))
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
	if (job->draw)
		fputs("\r\033[K", stderr);
}

/* Restrict the mappings to the range; drop what is outside. */
static void clip_mappings(struct job *job)
{
	struct mapping *map;
	size_t i, kept = 0;

	for (i = 0; i < job->maps.nr; i++) {
		map = &job->maps.map[i];
		if (job->ranged && map->start < job->start)
			map->start = job->start;
		if (job->ranged && map->end > job->end)
			map->end = job->end;
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

static int prepare(struct job *job)
{
	int err;

	job->fd = dev_open();
	if (job->fd < 0)
		return dev_explain(job->fd);
	job->pidfd = process_open(job->pid);
	if (job->pidfd < 0)
		return process_explain(job->pid, job->pidfd);

	err = mappings_read(job->pid, &job->maps);
	if (!err) {
		clip_mappings(job);
		err = count_present(job);
	}
	if (err)
		return process_explain(job->pid, err);
	if (!job->maps.nr && job->ranged)
		return fail("process %d maps nothing at %llx-%llx; see devmem show %d",
			    (int)job->pid, job->start, job->end, (int)job->pid);
	if (!job->maps.nr)
		return fail("process %d: a kernel thread, or it has exited",
			    (int)job->pid);
	return 0;
}

/* Steps of about a tenth of a second, which end where huge pages do */
static void set_budget(struct job *job, struct devmem_migrate *m, double took)
{
	if (job->flags & DEVMEM_MIGRATE_ALL) {
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
	m.node = job->node;
	m.pidfd = job->pidfd;
	m.flags = job->flags;
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
	return job->flags & DEVMEM_MIGRATE_ALL &&
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

static int migrate(struct job *job)
{
	int err;

	job->started = now();
	job->budget = FIRST_BUDGET;
	draw_progress(job, true);
	if (job->ranged && job->flags & DEVMEM_MIGRATE_ALL)
		err = migrate_range(job, job->start, job->end);
	else
		err = migrate_mappings(job);
	clear_progress(job);
	return err;
}

static void print_reason(const char *name, __u64 pages, const char *advice)
{
	char size[SIZE_TEXT];

	if (pages)
		printf("  %-14s %5s%s%s\n", name,
		       size_text(size, pages * page_size()),
		       *advice ? "  stays: " : "", advice);
}

static void print_summary(const struct job *job)
{
	const struct devmem_migrate *m = &job->sum;
	double elapsed = now() - job->started;
	char size[SIZE_TEXT], rate[SIZE_TEXT], target[16] = "system memory";

	if (job->node != DEVMEM_NODE_SYSTEM)
		snprintf(target, sizeof(target), "node %d", job->node);
	printf("process %d: %s moved to %s in %.1f s (%s/s)\n", (int)job->pid,
	       size_text(size, m->moved * page_size()), target, elapsed,
	       rate_text(rate, elapsed > 0 ? m->moved * page_size() / elapsed :
			 0));
	print_reason("there already", m->there, "");
	print_reason("shared", m->shared,
		     "other processes map it, too (--shared)");
	print_reason("pinned", m->pinned,
		     "a device or a system call uses it");
	print_reason("file", m->file,
		     "page cache is always in system memory");
	print_reason("no room", m->no_room,
		     "the target was full (devmem list)");
	print_reason("busy", m->busy, "was being used; try again");
	print_reason("unmovable", m->unmovable,
		     "hugetlb, a driver's memory, the zero page");
	print_reason("kept", job->kept,
		     "not all of its mapping can go (--all-or-nothing)");
}

/*
 * What can't ever move doesn't count, unless it was asked for by address: every
 * process maps files.
 */
static __u64 pages_stayed(const struct job *job)
{
	const struct devmem_migrate *m = &job->sum;
	__u64 stayed = m->shared + m->pinned + m->no_room + m->busy + job->kept;

	if (job->ranged)
		stayed += m->file + m->unmovable;
	return stayed;
}

static int explain(const struct job *job, int err)
{
	if (err == -EPERM && job->flags & DEVMEM_MIGRATE_SHARED)
		return fail("process %d: %s: --shared needs CAP_SYS_NICE (root)",
			    (int)job->pid, strerror(-err));
	if (err == -EACCES)
		return fail("process %d: its cpuset lacks node %d; see %s",
			    (int)job->pid, job->node,
			    "Mems_allowed_list in /proc/PID/status");
	if (err == -ENODEV)
		return fail("node %d: no memory there (any more)", job->node);
	if (err == -EINVAL)
		return fail("process %d: %s: the driver refused the call",
			    (int)job->pid, strerror(-err));
	return process_explain(job->pid, err);
}

static int report(const struct job *job, int err)
{
	if (!job->quiet)
		print_summary(job);
	if (stop_signal) {
		complain("interrupted; what isn't counted above stayed where it was");
		return 128 + stop_signal;
	}
	if (all_refused(job, err)) {
		complain("%s", job->sum.moved ?
			 "something came in the way of what was left" :
			 "nothing was moved, for not all of it can go");
		return EXIT_STAYED;
	}
	if (err)
		return explain(job, err);
	return pages_stayed(job) ? EXIT_STAYED : 0;
}

static void finish(struct job *job)
{
	mappings_free(&job->maps);
	free(job->present);
	if (job->pidfd >= 0)
		close(job->pidfd);
	if (job->fd >= 0)
		close(job->fd);
}

int cmd_migrate(int argc, char **argv)
{
	struct job job = { .fd = -1, .pidfd = -1, .node = MAX_NODES };
	int c, status;

	while ((c = next_option(argc, argv, "p:t:r:qh", options, help)) != -1) {
		status = parse_option(c, &job);
		if (status)
			return status;
	}
	status = no_more_arguments(argc, argv);
	if (status)
		return status;
	if (!job.pid)
		return usage("--pid is missing");
	if (job.node == MAX_NODES)
		return usage("--to is missing");
	status = check_target(job.node);
	if (status)
		return status;

	job.draw = !job.quiet && term_can_draw(STDERR_FILENO);
	catch_stop_signals(SA_RESETHAND);
	status = prepare(&job);
	if (!status)
		status = report(&job, migrate(&job));
	finish(&job);
	return status;
}
