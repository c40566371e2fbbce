// SPDX-License-Identifier: GPL-2.0
/* devmem top */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

static const char help[] =
"Usage: devmem top [--interval SECONDS] [--count N] [--json]\n"
"Watch device nodes: how full they are, who uses them most, what is moved.\n"
"\n"
"  -i, --interval SECONDS  between two looks; the default is 2\n"
"  -n, --count N           stop after N of them\n"
"      --json              an object per look, each on a line of its own\n"
"  -h, --help              this text\n"
"\n"
"On a terminal q quits and any other key looks at once. Elsewhere each look is\n"
"a block of text, the first after one interval, so that all have rates.\n";

#define PLAIN_USERS	20
#define NARROW		70
#define MAX_BAR		24
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
	bool json;
	bool live;
	bool keys;
	int fd;
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
	users_scan(top->fd, &top->now.nodes, &top->users);
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

/* Lines end with "clear to the end of the line", not to flicker. */
static void end_line(const struct top *top)
{
	fputs(top->live ? "\033[K\n" : "\n", stdout);
}

static int bar_width(void)
{
	int width = term.width - (term.width < NARROW ? 36 : 60);

	return width > MAX_BAR ? MAX_BAR : width < 7 ? 7 : width;
}

static void print_rate(bool known, double value)
{
	char buf[SIZE_TEXT + 1];

	printf("  %6s", known ? rate_text(buf, value) : "-");
}

static void print_node(const struct top *top, const struct node_stat *stat)
{
	__u64 used = stat->size > stat->free ? stat->size - stat->free : 0;
	double part = stat->size ? (double)used / stat->size : 0;
	char buf[SIZE_TEXT];
	struct rates r;
	bool known = get_rates(top, stat, &r);

	printf("%4d  ", stat->node);
	print_bar(stdout, part, bar_width());
	printf("  %3.0f%%", part * 100);
	printf("  %5s", size_text(buf, stat->free));
	print_rate(known, r.moved_in);
	print_rate(known, r.moved_out);
	if (term.width >= NARROW) {
		print_rate(known, r.refused);
		print_rate(known, r.displaced);
		print_rate(known, r.evicted);
	}
	end_line(top);
}

/* Return: lines that were printed */
static int print_nodes(const struct top *top, int lines)
{
	int i, nr = top->now.nr;

	printf("%sNODE  %-*s     %%   FREE    IN/s   OUT/s", color(COLOR_TITLE),
	       bar_width(), "OCCUPANCY");
	if (term.width >= NARROW)
		printf("   REF/s   DIS/s    EV/s");
	fputs(color(COLOR_NONE), stdout);
	end_line(top);

	if (nr > lines)
		nr = lines - 1;
	for (i = 0; i < nr; i++)
		print_node(top, &top->now.stats[i]);
	if (nr == top->now.nr)
		return nr + 1;
	printf("      and %d more", top->now.nr - nr);
	end_line(top);
	return nr + 2;
}

static void print_owner(uid_t uid)
{
	struct passwd *pw = getpwuid(uid);

	if (pw)
		printf("  %-8.8s", pw->pw_name);
	else
		printf("  %-8u", (unsigned int)uid);
}

static void print_user(const struct top *top, const struct user *user)
{
	char buf[SIZE_TEXT + 1];

	printf("%7d", (int)user->pid);
	print_owner(user->uid);
	printf("  %6s", size_text(buf, user->pages * page_size()));
	printf("  %7s", size_text(buf, user->buffers));
	printf("  %6s  ", rate_text(buf, user->rate));
	print_name(stdout, user->name, 0);
	end_line(top);
}

static void print_users(const struct top *top, int lines)
{
	size_t i;

	printf("%s    PID  %-8s  DEVICE  BUFFERS     +/s  COMMAND%s",
	       color(COLOR_TITLE), "USER", color(COLOR_NONE));
	end_line(top);
	for (i = 0; i < top->users.nr && lines-- > 0; i++)
		print_user(top, &top->users.user[i]);
	if (!top->users.nr) {
		printf("      - no process has memory there");
		end_line(top);
	}
}

static void print_head(const struct top *top)
{
	time_t t = time(NULL);
	char clock[16] = "";
	struct tm tm;

	if (localtime_r(&t, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	printf("devmem top  %s  every %g s", clock, top->interval);
	if (top->users.unreadable)
		printf("  (not readable: %zu)", top->users.unreadable);
	end_line(top);
}

static void print_look(const struct top *top)
{
	int used, lines = MAX_NODES;

	if (top->live) {
		fputs("\033[H", stdout);
		/* Head, two titles, two empty lines, the last line */
		lines = term.height > 10 ? (term.height - 6) / 2 : 2;
	}
	print_head(top);
	end_line(top);
	used = print_nodes(top, lines) + 3;
	end_line(top);
	print_users(top, top->live ? term.height - used - 2 : PLAIN_USERS);
	if (top->live)
		fputs("\033[J", stdout);
	else
		end_line(top);
}

static void json_rates(struct json *j, const struct rates *r)
{
	json_open(j, "per_second", '{');
	json_real(j, "moved_in", r->moved_in);
	json_real(j, "moved_out", r->moved_out);
	json_real(j, "refused", r->refused);
	json_real(j, "displaced", r->displaced);
	json_real(j, "evicted", r->evicted);
	json_close(j, '}');
}

static void json_node(const struct top *top, struct json *j,
		      const struct node_stat *stat)
{
	struct rates r;

	json_open(j, NULL, '{');
	json_number(j, "node", stat->node);
	json_number(j, "size", stat->size);
	json_number(j, "free", stat->free);
	if (get_rates(top, stat, &r))
		json_rates(j, &r);
	else
		json_null(j, "per_second");
	json_close(j, '}');
}

static void json_user(struct json *j, const struct user *user)
{
	json_open(j, NULL, '{');
	json_number(j, "pid", user->pid);
	json_number(j, "uid", user->uid);
	json_string(j, "name", user->name);
	json_number(j, "device", user->pages * page_size());
	json_number(j, "buffers", user->buffers);
	json_real(j, "per_second", user->rate);
	json_close(j, '}');
}

static void json_look(const struct top *top)
{
	struct json j = { .f = stdout, .one_line = true };
	size_t i;
	int n;

	json_open(&j, NULL, '{');
	json_signed(&j, "time", time(NULL));
	json_string(&j, "source", top->fd >= 0 ? "driver" : "sysfs");
	json_open(&j, "nodes", '[');
	for (n = 0; n < top->now.nr; n++)
		json_node(top, &j, &top->now.stats[n]);
	json_close(&j, ']');
	json_open(&j, "users", '[');
	for (i = 0; i < top->users.nr; i++)
		json_user(&j, &top->users.user[i]);
	json_close(&j, ']');
	json_number(&j, "unreadable", top->users.unreadable);
	json_close(&j, '}');
	json_end(&j);
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

static int watch(struct top *top)
{
	unsigned long nr = 0;

	/* Elsewhere the first look is there to have rates. */
	if (!top->live) {
		if (look(top))
			return EXIT_FAILURE;
		if (!wait_for_next(top))
			return 0;
	}
	for (;;) {
		if (look(top))
			return EXIT_FAILURE;
		if (top->json)
			json_look(top);
		else
			print_look(top);
		if (fflush(stdout) || ferror(stdout))
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
	case 'n':
		if (parse_number(optarg, -1UL, &top->count) || !top->count)
			return usage("--count '%s': expected a number from 1 on",
				     optarg);
		return 0;
	default:
		top->json = true;
		return 0;
	}
}

static int start(struct top *top)
{
	if (device_nodes(&top->now.nodes))
		return EXIT_FAILURE;
	free_look(&top->now);
	top->fd = dev_open();
	if (top->fd < 0)
		dev_missing(top->fd, "users are counted from numa_maps, which takes longer");
	top->live = !top->json && term_can_draw(STDOUT_FILENO);
	catch_stop_signals(0);
	if (top->live)
		catch_terminal_signals();
	enter_screen(top);
	return 0;
}

int cmd_top(int argc, char **argv)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct top top = { .interval = 2 };
	int c, status;

	while ((c = next_option(argc, argv, "i:n:h", options, help)) != -1) {
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
