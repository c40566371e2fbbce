// SPDX-License-Identifier: GPL-2.0
/* devmem top */
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

static const struct opt options[] = {
	{ "interval", 'i', "SECONDS", "between two looks; the default is 2" },
	{ "count", 'n', "N", "stop after N of them" },
	{ }
};

static const struct column node_columns[] = {
	{ "NODE", "node", COL_RIGHT, 4, 0, NULL },
	{ "OCCUPANCY", "used", COL_BAR, 0, 7, "size" },
	{ "%", "used", COL_PERCENT, 4, 0, "size" },
	{ "FREE", "free", COL_SIZE, 5, 0, NULL },
	{ "BUFFERS", "buffers", COL_SIZE, 7, 6, NULL },
	{ "OTHER", "other", COL_SIZE, 5, 8, NULL },
	{ "IN/s", "per_second.moved_in", COL_SIZE, 6, 1, NULL },
	{ "OUT/s", "per_second.moved_out", COL_SIZE, 6, 1, NULL },
	{ "REF/s", "per_second.refused", COL_SIZE, 6, 3, NULL },
	{ "DIS/s", "per_second.displaced", COL_SIZE, 6, 5, NULL },
	{ "EV/s", "per_second.evicted", COL_SIZE, 6, 4, NULL },
};

static const struct column user_columns[] = {
	{ "PID", "pid", COL_RIGHT, 7, 0, NULL },
	{ "USER", "user", COL_LEFT, 8, 2, NULL },
	{ "DEVICE", "device", COL_SIZE, 6, 0, NULL },
	{ "BUFFERS", "buffers", COL_SIZE, 7, 0, NULL },
	{ "+/s", "per_second", COL_SIZE, 6, 1, NULL },
	{ "COMMAND", "name", COL_NAME, 0, 0, NULL },
};

#define PLAIN_USERS	20
/* Another screen, no cursor, lines that are too long are cut; and back */
#define ENTER_SCREEN	"\033[?1049h\033[?25l\033[?7l"
#define LEAVE_SCREEN	"\033[?7h\033[?25h\033[?1049l"

/* One look at all there is */
struct look {
	double when;
	struct node_list nodes;
	struct node_stat *stats;
	int nr;
	bool has_rates;
};

struct top {
	double interval;
	unsigned long count;	/* 0: without end */
	bool live;
	bool keys;
	int fd;			/* for nodes */
	int process_fd;		/* for processes */
	struct termios saved;

	struct look now;
	struct look before;
	struct users users;
	struct users users_before;
	double next_scan;
};

static atomic_int suspend_wanted;
static atomic_int resized;

static void note_suspend(int signal)
{
	(void)signal;
	suspend_wanted = 1;
}

static void note_resize(int signal)
{
	(void)signal;
	resized = 1;
}

static void enter_screen(struct top *top)
{
	struct termios raw;

	if (!top->live)
		return;
	top->keys = !tcgetattr(STDIN_FILENO, &top->saved);
	if (top->keys) {
		raw = top->saved;
		raw.c_lflag &= ~(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	fputs(ENTER_SCREEN, stdout);
	fflush(stdout);
}

static void leave_screen(struct top *top)
{
	if (!top->live)
		return;
	fputs(LEAVE_SCREEN, stdout);
	fflush(stdout);
	if (top->keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &top->saved);
}

/* Ctrl-Z, with the terminal as it was until fg */
static void suspend(struct top *top)
{
	suspend_wanted = 0;
	leave_screen(top);
	raise(SIGSTOP);
	enter_screen(top);
}

static void catch_terminal_signals(void)
{
	struct sigaction sa = { .sa_handler = note_suspend };

	sigaction(SIGTSTP, &sa, NULL);
	sa.sa_handler = note_resize;
	sigaction(SIGWINCH, &sa, NULL);
}

static void free_look(struct look *look)
{
	node_list_free(&look->nodes);
	free(look->stats);
	memset(look, 0, sizeof(*look));
}

/* Nodes may have come and gone. Return: 0, or -1 after a message */
static int look_at_nodes(struct top *top)
{
	struct look *look = &top->now;
	int i;

	free_look(&top->before);
	top->before = *look;
	memset(look, 0, sizeof(*look));
	look->when = now();
	look->has_rates = top->before.when > 0;
	/* Say what is wrong on the terminal's usual screen. */
	if (node_list_read("has_device_coherent", &look->nodes) ||
	    !look->nodes.nr) {
		leave_screen(top);
		top->live = false;
		node_list_free(&look->nodes);
		return device_nodes(&look->nodes);
	}
	look->stats = must(calloc(look->nodes.nr, sizeof(*look->stats)));
	for (i = 0; i < look->nodes.nr; i++) {
		if (!node_stat_read(top->fd, look->nodes.id[i], false,
				    &look->stats[look->nr]))
			look->nr++;
	}
	return 0;
}

/* To look at all processes may take long: at most a quarter of the time. */
static void look_at_users(struct top *top)
{
	double start = now();

	if (start < top->next_scan)
		return;
	users_free(&top->users_before);
	top->users_before = top->users;
	users_scan(top->process_fd, &top->now.nodes, &top->users);
	users_rates(&top->users, &top->users_before);
	top->next_scan = start + 4 * (now() - start);
}

static int look(struct top *top)
{
	int err = look_at_nodes(top);

	if (!err)
		look_at_users(top);
	return err;
}

static const struct node_stat *stat_before(const struct top *top, int node)
{
	int i;

	for (i = 0; i < top->before.nr; i++) {
		if (top->before.stats[i].node == node)
			return &top->before.stats[i];
	}
	return NULL;
}

/* In the order of the columns; bytes per second */
struct rates {
	double moved_in;
	double moved_out;
	double refused;
	double displaced;
	double evicted;
};

static double rate(__u64 after, __u64 before, double elapsed)
{
	/* The counters start again with a node that comes back. */
	if (after < before)
		return 0;
	return (after - before) * page_size() / elapsed;
}

/* Return: false if there is nothing to compare with */
static bool get_rates(const struct top *top, const struct node_stat *stat,
		      struct rates *r)
{
	const struct node_stat *old = stat_before(top, stat->node);
	double elapsed = top->now.when - top->before.when;

	memset(r, 0, sizeof(*r));
	if (!top->now.has_rates || !old || elapsed <= 0)
		return false;
	r->moved_in = rate(stat->moved_in, old->moved_in, elapsed);
	r->moved_out = rate(stat->moved_out, old->moved_out, elapsed);
	r->refused = rate(stat->refused, old->refused, elapsed);
	r->displaced = rate(stat->displaced, old->displaced, elapsed);
	r->evicted = rate(stat->evicted, old->evicted, elapsed);
	return true;
}

static void print_rates(const struct top *top, const struct node_stat *stat)
{
	static const struct rates none;
	struct rates r = none;
	bool known = get_rates(top, stat, &r);
	const struct {
		const char *key;
		double value;
	} rates[] = {
		{ "moved_in", r.moved_in },
		{ "moved_out", r.moved_out },
		{ "refused", r.refused },
		{ "displaced", r.displaced },
		{ "evicted", r.evicted },
	};
	size_t i;

	/* JSON has null for all of them. */
	if (!known && out.json) {
		out_null("per_second");
		return;
	}
	out_object("per_second");
	for (i = 0; i < ARRAY_SIZE(rates); i++) {
		if (known)
			out_rate(rates[i].key, rates[i].value);
		else
			out_null(rates[i].key);
	}
	out_close();
}

static void print_node(const struct top *top, const struct node_stat *s,
		       bool hide)
{
	out_object(NULL);
	out_number("node", s->node);
	out_memory(s);
	print_rates(top, s);
	if (hide)
		out_hide();
	out_close();
}

/* Return: lines that were printed */
static int print_nodes(const struct top *top, int lines)
{
	int i, nr = top->now.nr;
	char more[32];

	if (nr)
		out_table("nodes", node_columns, ARRAY_SIZE(node_columns));
	else
		out_array("nodes");
	if (nr > lines)
		nr = lines - 1;
	for (i = 0; i < top->now.nr; i++)
		print_node(top, &top->now.stats[i], i >= nr);
	out_close();
	if (nr == top->now.nr)
		return nr + 1;
	snprintf(more, sizeof(more), "      and %d more\n", top->now.nr - nr);
	out_text(more);
	return nr + 2;
}

static void print_user(const struct holder *user, bool hide)
{
	struct passwd *pw = getpwuid(user->uid);
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", (unsigned int)user->uid);
	out_object(NULL);
	out_number("pid", user->pid);
	out_number("uid", user->uid);
	out_string("user", pw ? pw->pw_name : uid);
	out_string("name", user->name);
	out_bytes("device", user->pages * page_size());
	out_bytes("buffers", user->buffers);
	out_rate("per_second", user->rate);
	if (hide)
		out_hide();
	out_close();
}

static void print_users(const struct top *top, int lines)
{
	const struct users *users = &top->users;
	size_t i;

	out_table("users", user_columns, ARRAY_SIZE(user_columns));
	for (i = 0; i < users->nr; i++)
		print_user(&users->user[i], lines-- <= 0);
	out_close();
	if (!users->nr)
		out_text("      - no process has memory there\n");
}

static __u64 minus(__u64 all, __u64 part)
{
	return all > part ? all - part : 0;
}

/* What is in use, and the users above don't explain */
static void print_rest(const struct top *top)
{
	__u64 programs = 0, buffers = 0, other = 0;
	bool known = top->now.nr;
	int i;

	for (i = 0; i < top->now.nr; i++) {
		programs += top->now.stats[i].programs;
		buffers += top->now.stats[i].buffers;
		other += top->now.stats[i].other;
		known &= top->now.stats[i].knows_buffers;
	}
	programs = minus(programs, top->users.pages * page_size());
	buffers = minus(buffers, top->users.buffers);
	out_object("unexplained");
	out_bytes("programs", programs);
	if (programs)
		out_text("      - {programs}: files of tmpfs, or not readable\n");
	out_known(out_bytes, "buffers", known, buffers);
	out_known(out_bytes, "other", known, other);
	if (known && buffers)
		out_text("      - {buffers}: buffers that no process has\n");
	if (known && other)
		out_text("      - {other}: the kernel and drivers\n");
	out_close();
}

static void print_head(const struct top *top)
{
	time_t t = time(NULL);
	char head[96], clock[16] = "";
	struct tm tm;

	out_signed("time", t);
	out_string("source", top->fd >= 0 ? "driver" : "sysfs");
	out_number("unreadable", top->users.unreadable);
	if (localtime_r(&t, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	snprintf(head, sizeof(head), "devmem top  %s  every %g s", clock,
		 top->interval);
	out_text(head);
	if (top->users.unreadable)
		out_text("  (not readable: {unreadable})");
	out_text("\n\n");
}

static void print_look(const struct top *top)
{
	int used, lines = MAX_NODES;

	if (top->live) {
		fputs("\033[H", stdout);
		/* Head, two titles, two empty lines, the last lines */
		lines = term.height > 13 ? (term.height - 9) / 2 : 2;
	}
	out_begin();
	print_head(top);
	used = print_nodes(top, lines) + 3;
	out_text("\n");
	print_users(top, top->live ? term.height - used - 5 : PLAIN_USERS);
	print_rest(top);
	if (!top->live)
		out_text("\n");
	out_end(top->now.nr ? 0 : EXIT_FAILURE);
	if (top->live)
		fputs("\033[J", stdout);
}

/* A key, or none within @seconds. Return: the key, 0, or -1 without a terminal */
static int wait_key(struct top *top, double seconds)
{
	struct pollfd pfd = {
		.fd = top->keys ? STDIN_FILENO : -1,
		.events = POLLIN,
	};
	char key;

	if (poll(&pfd, 1, seconds * 1000 + 1) <= 0 || !pfd.revents)
		return 0;
	if (pfd.revents & POLLIN && read(STDIN_FILENO, &key, 1) == 1)
		return key;
	return -1;
}

/* Return: false to quit */
static bool wait_for_next(struct top *top)
{
	double end = now() + top->interval, rest;
	int key;

	while (!stop_signal && (rest = end - now()) > 0) {
		/* Signals that come just before poll() wait no longer than this. */
		key = wait_key(top, rest < 0.25 ? rest : 0.25);
		if (suspend_wanted)
			suspend(top);
		if (key == 'q' || key == 'Q' || key == -1)
			return false;
		if (resized) {
			resized = 0;
			term_measure();
			print_look(top);
			fflush(stdout);
		}
		if (key)
			break;
	}
	return !stop_signal;
}

/* JSON says that there are none, as that of list does. */
static int no_nodes(struct top *top)
{
	users_free(&top->users);
	if (out.json)
		print_look(top);
	return EXIT_FAILURE;
}

static int watch(struct top *top)
{
	unsigned long nr = 0;

	/* Elsewhere the first look is there to have rates. */
	if (!top->live) {
		if (look(top))
			return no_nodes(top);
		if (!wait_for_next(top))
			return 0;
	}
	for (;;) {
		if (look(top))
			return no_nodes(top);
		print_look(top);
		if (output_lost())
			return EXIT_FAILURE;
		if (++nr == top->count || !wait_for_next(top))
			return 0;
	}
}

static int parse_option(int c, struct top *top)
{
	switch (c) {
	case 'i':
		if (parse_seconds(optarg, &top->interval) ||
		    top->interval < 0.1)
			return usage("--interval '%s': expected seconds, 0.1 to 1000000",
				     optarg);
		return 0;
	default:
		if (parse_number(optarg, -1UL, &top->count) || !top->count)
			return usage("--count '%s': expected a number from 1 on",
				     optarg);
		return 0;
	}
}

static int start(struct top *top)
{
	out.one_line = true;
	top->fd = -1;
	top->process_fd = -1;
	if (device_nodes(&top->now.nodes))
		return no_nodes(top);
	free_look(&top->now);
	top->process_fd = dev_open(O_RDWR);
	/* To ask about nodes, it needn't be for writing. */
	top->fd = top->process_fd >= 0 ? top->process_fd : dev_open(O_RDONLY);
	if (top->process_fd < 0)
		dev_missing(top->process_fd, "users come from numa_maps, which takes longer");
	top->live = !out.json && term_can_draw(STDOUT_FILENO);
	if (top->live)
		/* "Clear to the end of the line", not to flicker */
		out.eol = "\033[K\n";
	catch_stop_signals(0);
	if (top->live)
		catch_terminal_signals();
	enter_screen(top);
	return 0;
}

static int run(int argc, char **argv)
{
	struct top top = { .interval = 2 };
	int c, status;

	while ((c = next_option(argc, argv)) != -1) {
		status = parse_option(c, &top);
		if (status)
			return status;
	}
	status = no_more_arguments(argc, argv);
	if (!status)
		status = start(&top);
	if (status)
		return status;

	status = watch(&top);
	leave_screen(&top);
	free_look(&top.now);
	free_look(&top.before);
	users_free(&top.users);
	users_free(&top.users_before);
	if (top.fd >= 0)
		close(top.fd);
	return status;
}

const struct command cmd_top = {
	.name = "top",
	.summary = "nodes, who has their memory, and rates, live",
	.arguments = "[OPTION]...",
	.text = "Watch device nodes: how full they are, who has their memory, what is moved.",
	.notes =
"On a terminal q quits and any other key looks at once. Elsewhere each look is a\n"
"block of text, with --json a line; the first comes after one interval, so that all\n"
"have rates.",
	.options = options,
	.prints = true,
	.run = run,
};
