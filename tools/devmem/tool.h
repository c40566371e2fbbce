/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of devmem(1) share. */
#ifndef DEVMEM_TOOL_H
#define DEVMEM_TOOL_H

#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#define __SANE_USERSPACE_TYPES__
/* That one header alone: the others of the kernel tree aren't for programs. */
#include "../../include/uapi/linux/devmem.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MAX_NODES	1024

#ifndef __printf
#define __printf(a, b)	__attribute__((	\
	__format__(printf, a, b)))
#endif

/* Exit statuses beside 0 and 1; those of run are env(1)'s */
#define EXIT_USAGE	2
#define EXIT_STAYED	3
#define EXIT_NO_EXEC	126
#define EXIT_NO_PROGRAM	127

/* main.c: one function per subcommand, which is argv[0] */
int cmd_list(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_alloc(int argc, char **argv);
int cmd_top(int argc, char **argv);

/* util.c: messages, which name the subcommand; numbers; time; signals */
extern const char *cmd_name;

void complain(const char *fmt, ...) __printf(1, 2);
int fail(const char *fmt, ...) __printf(1, 2);
int usage(const char *fmt, ...) __printf(1, 2);
int next_option(int argc, char **argv, const char *letters,
		const struct option *options, const char *help);
int no_more_arguments(int argc, char **argv);
int finish_output(int status);
void *must(void *memory);
__u64 page_size(void);
double now(void);

const char *field_text(const char *line, const char *name);
int parse_number(const char *text, unsigned long max, unsigned long *value);
int parse_size(const char *text, __u64 *value);
int parse_seconds(const char *text, double *value);
int parse_pid(const char *text, pid_t *pid);
int parse_range(const char *text, __u64 *start, __u64 *end);

/* The first of SIGINT, SIGTERM and SIGHUP that came since; or 0 */
extern atomic_int stop_signal;

void catch_stop_signals(int flags);

/* fmt.c: the terminal, and everything that is drawn */
struct terminal {
	bool tty;
	bool utf8;
	bool color;
	int width;
	int height;
};

extern struct terminal term;

enum color {
	COLOR_DEVICE,
	COLOR_SYSTEM,
	COLOR_SWAP,
	COLOR_WARN,
	COLOR_TITLE,
	COLOR_FAINT,
	COLOR_NONE,
};

#define SIZE_TEXT	24

void term_init(void);
void term_measure(void);
int term_width(int fd);
bool term_can_draw(int fd);
const char *color(enum color color);
const char *size_text(char *buf, __u64 bytes);
const char *rate_text(char *buf, double bytes);
void print_bar(FILE *f, double part, int width);
void print_strip(FILE *f, const char *strip);
void print_strip_legend(FILE *f);
void print_name(FILE *f, const char *name, int width);

/* json.c */
struct json {
	FILE *f;
	bool one_line;
	int depth;
	bool more;
};

void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);
void json_end(struct json *j);
void json_string(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, __u64 value);
void json_signed(struct json *j, const char *key, long long value);
void json_real(struct json *j, const char *key, double value);
void json_null(struct json *j, const char *key);

/* node.c: what sysfs says about nodes */
struct node_list {
	int *id;
	int nr;
};

struct node_stat {
	int node;
	bool from_driver;	/* then distance and the runs are valid */
	unsigned int distance;
	__u64 size;		/* bytes */
	__u64 free;
	__u64 largest_free;
	__u64 largest_obtainable;
	__u64 moved_in;		/* pages */
	__u64 moved_out;
	__u64 refused;
	__u64 displaced;
	__u64 evicted;
};

int node_list_parse(const char *text, struct node_list *list);
int node_list_read(const char *name, struct node_list *list);
char *node_list_text(const struct node_list *list);
bool node_list_has(const struct node_list *list, int node);
void node_list_free(struct node_list *list);
int device_nodes(struct node_list *list);
int nearest_device_node(const struct node_list *list);
int nr_possible_nodes(void);
int node_stat_read(int fd, int node, bool runs, struct node_stat *stat);

/* dev.c: /dev/devmem */
int dev_open(void);
int dev_explain(int err);
void dev_missing(int err, const char *what);
int dev_info(int fd, int node, __u32 flags, struct devmem_info *info);
int dev_verify(int fd, int pidfd, __u64 start, __u64 end,
	       struct devmem_verify *v, __u64 *nodes, int nr_nodes);
int process_open(pid_t pid);
int process_explain(pid_t pid, int err);

/* proc.c: /proc */
struct mapping {
	__u64 start;
	__u64 end;
	char perms[5];
	char *name;
};

struct mappings {
	struct mapping *map;
	size_t nr;
};

/* A line of numa_maps: pages of page_size() on each node */
struct numa_line {
	__u64 start;
	__u64 present;
	__u64 nodes[MAX_NODES];
};

int mappings_read(pid_t pid, struct mappings *maps);
void mappings_free(struct mappings *maps);
int numa_maps_read(pid_t pid, void (*each)(const struct numa_line *, void *),
		   void *context);
void process_name(pid_t pid, char *buf, size_t size);
__u64 process_resident(pid_t pid);

/* users.c: who has memory on device nodes */
struct user {
	pid_t pid;
	uid_t uid;
	char name[64];
	__u64 pages;
	__u64 buffers;		/* bytes allocated through /dev/devmem */
	double rate;		/* bytes per second */
};

struct users {
	struct user *user;
	size_t nr;
	size_t unreadable;
	double when;
};

void users_scan(int fd, const struct node_list *devices, struct users *users);
void users_rates(struct users *users, const struct users *before);
void users_free(struct users *users);

#endif /* DEVMEM_TOOL_H */
