// SPDX-License-Identifier: GPL-2.0
/* devmem wait */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

#define STEP	250	/* ms: a signal just before poll() waits no longer */

static const struct opt options[] = {
	{ "free", 'f', "SIZE", "how much has to be free; K, M, G and T work" },
	{ "node", 'n', "N", "of this node; the default is whichever has it first" },
	{ "timeout", 't', "SEC", "give up after as many seconds, with status 3" },
	{ }
};

struct job {
	__u64 free;
	int node;		/* or -1 */
	double timeout;		/* or -1 */
	struct node_list nodes;
	struct pollfd *watch;	/* of each node; a descriptor has one */
	int watched;
	double started;
};

static int parse_option(int c, struct job *job)
{
	switch (c) {
	case 'f':
		if (parse_size(optarg, &job->free) || !job->free)
			return usage("--free '%s': expected a size such as 64K or 512M",
				     optarg);
		return 0;
	case 'n':
		return node_option("--node ", optarg, &job->node) ? EXIT_USAGE : 0;
	default:
		if (parse_seconds(optarg, &job->timeout))
			return usage("--timeout '%s': expected seconds, up to 1000000",
				     optarg);
		return 0;
	}
}

/* More than a node has will never be free. */
static bool can_be(const struct job *job, int fd, int node)
{
	struct devmem_info info;

	return !dev_info(fd, node, 0, &info) && info.size >= job->free;
}

/* Return: 0 or -errno */
static int watch_node(struct job *job, int node)
{
	struct devmem_watch w = {
		.node = node,
		.eventfd = -1,
		.free = job->free,
	};
	int fd = dev_open(O_RDONLY), err = 0;
	bool can = fd >= 0 && can_be(job, fd, node);

	if (fd < 0)
		return fd;
	if (can && ioctl(fd, DEVMEM_IOC_WATCH, &w))
		err = -errno;
	if (err || !can) {
		close(fd);
		return err;
	}
	job->watch[job->watched].fd = fd;
	job->watch[job->watched++].events = POLLIN;
	job->nodes.id[job->watched - 1] = node;
	return 0;
}

static int watch_all(struct job *job)
{
	char size[SIZE_TEXT];
	int i, err, nr;

	if (job->node >= 0 && check_device_node("--node ", job->node))
		return EXIT_FAILURE;
	if (device_nodes(&job->nodes))
		return EXIT_FAILURE;
	nr = job->nodes.nr;
	job->watch = must(calloc(nr, sizeof(*job->watch)));
	for (i = 0; i < nr; i++) {
		if (job->node >= 0 && job->nodes.id[i] != job->node)
			continue;
		err = watch_node(job, job->nodes.id[i]);
		if (err)
			return dev_explain(err);
	}
	if (!job->watched)
		return fail("--free %s: more than %s has; see devmem list",
			    size_text(size, job->free),
			    job->node < 0 ? "any device node" : "the node");
	return 0;
}

static int report(const struct job *job, int i)
{
	struct node_stat stat = { 0 };

	node_stat_read(job->watch[i].fd, job->nodes.id[i], false, &stat);
	out_begin();
	out_number("node", job->nodes.id[i]);
	out_bytes("wanted", job->free);
	out_bytes("free", stat.free);
	out_real("seconds", now() - job->started);
	out_text("node {node}: {free} free\n");
	return 0;
}

/* Return: the index of a node that has as much, -1 after @ms, -2 if none is left */
static int look(struct job *job, int ms)
{
	int i, left = 0;

	if (poll(job->watch, job->watched, ms) < 0)
		return -1;
	for (i = 0; i < job->watched; i++) {
		if (job->watch[i].fd >= 0 && job->watch[i].revents & POLLIN)
			return i;
		if (job->watch[i].revents) {
			close(job->watch[i].fd);
			job->watch[i].fd = -1;
		}
		left += job->watch[i].fd >= 0;
	}
	return left ? -1 : -2;
}

static int wait_for_it(struct job *job)
{
	char size[SIZE_TEXT];
	double rest = STEP;
	int i;

	job->started = now();
	while (!stop_signal) {
		if (job->timeout >= 0)
			rest = (job->started + job->timeout - now()) * 1000;
		i = look(job, rest < 0 ? 0 : rest < STEP ? rest + 1 : STEP);
		if (i >= 0)
			return report(job, i);
		if (i == -2)
			return fail("no node is left that could have as much");
		if (rest <= 0) {
			complain("%s are not free after %g seconds",
				 size_text(size, job->free), job->timeout);
			return EXIT_STAYED;
		}
	}
	return 128 + stop_signal;
}

static void finish(struct job *job)
{
	int i;

	for (i = 0; i < job->watched; i++) {
		if (job->watch[i].fd >= 0)
			close(job->watch[i].fd);
	}
	free(job->watch);
	node_list_free(&job->nodes);
}

static int run(int argc, char **argv)
{
	struct job job = { .node = -1, .timeout = -1 };
	int c, status;

	while ((c = next_option(argc, argv)) != -1) {
		status = parse_option(c, &job);
		if (status)
			return status;
	}
	status = no_more_arguments(argc, argv);
	if (status)
		return status;
	if (!job.free)
		return usage("--free is missing");

	catch_stop_signals(SA_RESETHAND);
	status = watch_all(&job);
	if (!status)
		status = wait_for_it(&job);
	finish(&job);
	return status;
}

const struct command cmd_wait = {
	.name = "wait",
	.summary = "until a device node has as much free memory",
	.arguments = "--free SIZE [OPTION]...",
	.text = "Wait until a device node has as much free memory.",
	.notes =
"Exit status: 0 it is free, 1 error, 2 wrong usage, 3 not free in time, 130 Ctrl-C.\n"
"Nothing is reserved: who takes it first has it.",
	.options = options,
	.prints = true,
	.run = run,
};
