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

/*
 * main.c: a table of subcommands; what is taken, helped with and completed comes
 * from the table of its options.
 */
struct opt {
	const char *name;	/* without the dashes */
	int id;			/* a letter, or one of the values below */
	const char *arg;	/* NULL: none; "[X]": it may be left out */
	const char *help;
};

enum {
	OPT_JSON = 256,		/* those of all commands that print */
	OPT_VERSION,
	OPT_OWN,		/* from here on a command's own */
};

struct command {
	const char *name;
	const char *summary;	/* a line of "devmem --help" */
	const char *arguments;	/* behind the name, in the first line of help */
	const char *text;	/* what it does */
	const char *notes;	/* what follows the options; or NULL */
	const struct opt *options;
	bool prints;		/* takes --json and --bytes */
	bool runs;		/* options end at the first argument */
	int (*run)(int argc, char **argv);
};

extern const struct command cmd_list, cmd_run, cmd_migrate, cmd_show;
extern const struct command cmd_alloc, cmd_wait, cmd_room, cmd_top;

int next_option(int argc, char **argv);
int no_more_arguments(int argc, char **argv);

/* util.c: messages, which name the subcommand; numbers; time; signals */
extern const char *cmd_name;

const char *first_complaint(void);
int try_help(void);

void complain(const char *fmt, ...) __printf(1, 2);
int fail(const char *fmt, ...) __printf(1, 2);
int usage(const char *fmt, ...) __printf(1, 2);
bool output_lost(void);
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
const char *number_text(char *buf, __u64 bytes);
void print_bar(FILE *f, double part, int width);
void print_strip(FILE *f, const char *strip);
void print_strip_legend(FILE *f);
void print_name(FILE *f, const char *name, int width);
bool is_format_character(unsigned int c);
int utf8_length(const unsigned char *s);

/*
 * out.c: the one writer. A command says each value once, by its key. JSON is
 * those keys and values; text is made from them, by the columns of a table and
 * by lines that name keys in braces. So text can't say what JSON doesn't.
 */
struct out {
	bool json;
	bool bytes;		/* sizes as bytes, in text, too */
	bool one_line;		/* JSON: a document is a line */
	const char *eol;	/* text: the end of a line */
};

extern struct out out;

enum column_how {
	COL_RIGHT,
	COL_SIZE,		/* may be bytes, and is wider then */
	COL_LEFT,
	COL_BAR,		/* @key as a part of @of */
	COL_PERCENT,		/* likewise */
	COL_NAME,		/* the last one: what room is left */
};

struct column {
	const char *title;
	const char *key;
	enum column_how how;
	int width;
	int drop;		/* 0: stays; the highest goes first */
	const char *of;
};

void out_begin(void);
void out_end(int status);
bool out_empty(void);
void out_object(const char *key);
void out_array(const char *key);
void out_table(const char *key, const struct column *columns, int nr);
void out_close(void);
void out_hide(void);
int out_room(const struct column *columns, int nr);

void out_number(const char *key, __u64 value);
void out_signed(const char *key, long long value);
void out_real(const char *key, double value);
void out_bytes(const char *key, __u64 bytes);
void out_pages(const char *key, __u64 pages);
void out_rate(const char *key, double bytes);
void out_address(const char *key, __u64 value);
void out_string(const char *key, const char *value);
void out_bool(const char *key, bool value);
void out_strip(const char *key, const char *strip);
void out_null(const char *key);
void out_known(void (*put)(const char *key, __u64 value), const char *key,
	       bool known, __u64 value);

void out_text(const char *format);

/* node.c: what sysfs says about nodes */
struct node_list {
	int *id;
	int nr;
};

struct node_stat {
	int node;
	bool from_driver;	/* then the distance is known, and the runs ... */
	bool runs;		/* ... if they were asked for */
	bool knows_buffers;	/* the kernel counts them */
	unsigned int distance;
	__u64 size;		/* bytes */
	__u64 free;
	__u64 used;
	__u64 programs;		/* of it: anonymous and shared memory */
	__u64 buffers;
	__u64 other;		/* kernel, drivers */
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
int node_option(const char *name, const char *text, int *node);
int check_device_node(const char *what, int node);
int nearest_device_node(const struct node_list *list);
int nr_possible_nodes(void);
int node_stat_read(int fd, int node, bool runs, struct node_stat *stat);
void out_memory(const struct node_stat *stat);
void node_device(int node, char *buf, size_t size);
int make_room_path(char *path, size_t size, int node);
int make_room_read(int node, char *buf, size_t size);

/* dev.c: /dev/devmem */
int dev_open(int flags);
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
	__u64 inode;
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

/* More than any limit of a memory cgroup */
#define NO_LIMIT	(~0ULL)

__u64 group_margin(char *name, size_t size);
int group_processes(const char *path, pid_t **pids, int *nr);
int mappings_read(pid_t pid, struct mappings *maps);
void mappings_free(struct mappings *maps);
int numa_maps_read(pid_t pid, void (*each)(const struct numa_line *, void *),
		   void *context);
void process_name(pid_t pid, char *buf, size_t size);
__u64 process_resident(pid_t pid);

/* users.c: who has memory on device nodes */
struct holder {
	pid_t pid;
	uid_t uid;
	char name[64];
	__u64 pages;
	__u64 buffers;		/* bytes, by a descriptor or by a mapping */
	double rate;		/* bytes per second */
};

/* A process has a buffer; @ours if it is known to be of a device node. */
struct holding {
	pid_t pid;
	__u64 inode;
	__u64 size;
	bool ours;
};

struct users {
	struct holder *user;
	size_t nr;
	struct holding *holding;
	size_t nr_holdings;
	__u64 pages;		/* of all users */
	__u64 buffers;		/* likewise; a buffer counts once */
	size_t unreadable;
	double when;
};

void users_scan(int fd, const struct node_list *devices, struct users *users);
void users_rates(struct users *users, const struct users *before);
void users_free(struct users *users);

#endif /* DEVMEM_TOOL_H */
