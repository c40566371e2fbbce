// SPDX-License-Identifier: GPL-2.0
/*
 * A tour of a machine with coprocessor memory, by an ordinary program: it moves
 * its memory to the device node and back with move_pages(2), and then fills
 * system memory to the brim while the device node stays as it is. Shows
 * invariants 1 (asked for, or not at all) and 5 (nothing lost). Ends 0 only if
 * everything held.
 *
 * Output fits the terminal. DEVMEM_WIDTH and DEVMEM_STYLE=fancy|plain overrule
 * what is found out about it, for one that is at the other end of a pipe;
 * NO_COLOR is honoured.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devmem_util.h"

#define PAGE		4096UL
#define SIZE		(64 * MIB)
#define NR_PAGES	(SIZE / PAGE)
#define BATCH		1024
#define MOVE		2	/* MPOL_MF_MOVE */
#define CACHE_SECONDS	6
#define LIVE_ROOM	24

static int width = 78;
static bool fancy, color;
static int steps, failures;
static double started, step_started;

static int device;			/* the node the tour goes to */
static char *memory;			/* SIZE bytes */

/* -- Output ------------------------------------------------------------------ */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void find_style(void)
{
	const char *style = getenv("DEVMEM_STYLE");
	const char *term = getenv("TERM"), *given = getenv("DEVMEM_WIDTH");
	const char *locale = setlocale(LC_CTYPE, "");
	struct winsize size;

	fancy = isatty(1) && term && strcmp(term, "dumb") && locale &&
		strcasestr(locale, "utf");
	if (!ioctl(1, TIOCGWINSZ, &size) && size.ws_col)
		width = size.ws_col;
	if (given)
		width = atoi(given);
	if (style)
		fancy = !strcmp(style, "fancy");
	color = fancy && !getenv("NO_COLOR");
	if (width < 60)
		width = 60;
	if (width > 100)
		width = 100;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static const char *paint(const char *code)
{
	return color ? code : "";
}

#define BOLD	paint("\033[1m")
#define DIM	paint("\033[2m")
#define RED	paint("\033[1;31m")
#define GREEN	paint("\033[32m")
#define CYAN	paint("\033[36m")
#define PLAIN	paint("\033[0m")

static void repeat(const char *text, int n)
{
	while (n-- > 0)
		fputs(text, stdout);
}

static void rule(void)
{
	fputs(DIM, stdout);
	repeat(fancy ? "─" : "-", width);
	printf("%s\n", PLAIN);
}

static void __printf(1, 2) step(const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	step_started = now();
	printf("\n%s%d  %s%s\n", BOLD, ++steps, text, PLAIN);
}

/* One thing that has to hold, with what was seen */
static bool __printf(2, 3) check(bool held, const char *fmt, ...)
{
	va_list ap;

	if (held)
		printf("   %s%s%s ", GREEN, fancy ? "✓" : "ok  ", PLAIN);
	else
		printf("   %s%s%s ", RED, fancy ? "✗" : "FAIL", PLAIN);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	failures += !held;

	return held;
}

static void step_done(void)
{
	printf("   %s%.1f s%s\n", DIM, now() - step_started, PLAIN);
}

static bool is_device(int nid)
{
	int nodes[MAX_NODES], nr = device_nodes(nodes), i;

	for (i = 0; i < nr; i++)
		if (nodes[i] == nid)
			return true;

	return false;
}

/* "   node 1  device  ████░░░░   64 of 384 MB", with room behind it */
static void bar(int nid, int room)
{
	struct node_pages pages;
	long total, used = node_used(nid);
	int len = width - 39 - room, full;

	node_pages(nid, &pages);
	total = pages.managed;
	full = total ? (used * len + total / 2) / total : 0;
	if (used && !full)
		full = 1;
	printf("   node %-2d %s%s%s  %s", nid, is_device(nid) ? CYAN : "",
	       is_device(nid) ? "device" : "system", PLAIN,
	       is_device(nid) ? CYAN : "");
	repeat(fancy ? "█" : "#", full);
	printf("%s%s", PLAIN, DIM);
	repeat(fancy ? "░" : ".", len - full);
	printf("%s %5ld of %5ld MB", PLAIN, used >> 8, total >> 8);
}

static void bars(void)
{
	int nodes[MAX_NODES], nr = read_node_list("online", nodes), i;

	for (i = 0; i < nr; i++) {
		bar(nodes[i], 0);
		putchar('\n');
	}
}

/* -- The machine --------------------------------------------------------------- */

static void distances(int nid)
{
	char path[96], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/distance", nid);
	f = fopen(path, "r");
	if (f && fgets(text, sizeof(text), f))
		text[strcspn(text, "\n")] = '\0';
	if (f)
		fclose(f);
	printf("  %s\n", text);
}

static void show_machine(void)
{
	int nodes[MAX_NODES], nr = read_node_list("online", nodes), i;
	struct node_pages pages;

	printf("   %snode  kind        size       free  distance to each node%s\n",
	       DIM, PLAIN);
	for (i = 0; i < nr; i++) {
		node_pages(nodes[i], &pages);
		printf("   %4d  %s%s%s  %6ld MB  %6ld MB", nodes[i],
		       is_device(nodes[i]) ? CYAN : "",
		       is_device(nodes[i]) ? "device" : "system", PLAIN,
		       pages.managed >> 8, (pages.free + pages.pcp) >> 8);
		distances(nodes[i]);
	}
	printf("   MemTotal %ld MB: %sdevice memory isn't counted as the system's%s\n",
	       meminfo_kb("MemTotal") >> 10, DIM, PLAIN);
}

/* -- The program's memory ------------------------------------------------------- */

static unsigned long pattern(size_t i, unsigned long seed)
{
	return (i + 1) * 0x9e3779b97f4a7c15ul ^ seed;
}

static void write_pattern(unsigned long seed)
{
	unsigned long *word = (unsigned long *)memory;
	size_t i;

	for (i = 0; i < SIZE / sizeof(*word); i++)
		word[i] = pattern(i, seed);
}

static void verify(unsigned long seed, const char *where)
{
	unsigned long *word = (unsigned long *)memory;
	size_t i, wrong = 0;

	for (i = 0; i < SIZE / sizeof(*word); i++)
		wrong += word[i] != pattern(i, seed);
	check(!wrong, "all %lu MB have their content %s", SIZE / MIB, where);
}

/* Return: pages of the program's memory on node @nid */
static long pages_on(int nid)
{
	void *pages[BATCH];
	int status[BATCH];
	long at, i, n = 0;

	for (at = 0; at < (long)NR_PAGES; at += BATCH) {
		for (i = 0; i < BATCH; i++)
			pages[i] = memory + (at + i) * PAGE;
		if (syscall(SYS_move_pages, 0, BATCH, pages, NULL, status, 0))
			return -1;
		for (i = 0; i < BATCH; i++)
			n += status[i] == nid;
	}

	return n;
}

static int move_batch(long at, int nid)
{
	void *pages[BATCH];
	int nodes[BATCH], status[BATCH], i;

	for (i = 0; i < BATCH; i++) {
		pages[i] = memory + (at + i) * PAGE;
		nodes[i] = nid;
	}
	if (syscall(SYS_move_pages, 0, BATCH, pages, nodes, status, MOVE) < 0)
		return -errno;
	for (i = 0; i < BATCH; i++)
		if (status[i] < 0)
			return status[i];

	return 0;
}

static void move_to(int nid)
{
	long at;
	int rc = 0;

	for (at = 0; at < (long)NR_PAGES && !rc; at += BATCH) {
		rc = move_batch(at, nid);
		if (fancy) {
			printf("\r   %s%3ld of %lu MB%s", DIM,
			       (at + BATCH) * PAGE / MIB, SIZE / MIB, PLAIN);
			fflush(stdout);
		}
	}
	if (fancy)
		printf("\r%*s\r", 30, "");
	check(!rc, "move_pages(2): %s", rc ? strerror(-rc) : "done");
	at = pages_on(nid);
	check(at == (long)NR_PAGES, "%ld of %lu pages are on node %d", at,
	      NR_PAGES, nid);
}

/* -- The brim -------------------------------------------------------------------- */

static int read_file(const char *path, const struct stat *st, int type,
		     struct FTW *ftw)
{
	static char buffer[256 << 10];
	int fd;

	(void)ftw;
	if (type != FTW_F || st->st_size < (64 << 10))
		return 0;
	fd = open(path, O_RDONLY);
	while (fd >= 0 && read(fd, buffer, sizeof(buffer)) > 0)
		;
	if (fd >= 0)
		close(fd);

	return now() - step_started > CACHE_SECONDS ||
	       meminfo_kb("MemFree") < (80 << 10);
}

static void fill_page_cache(void)
{
	nftw("/usr", read_file, 16, FTW_PHYS);
	_exit(0);
}

static void fill_anonymous(void)
{
	char *p;

	for (;;) {
		p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			_exit(0);
		memset(p, 1, 4 * MIB);
	}
}

/* What was seen while a child filled memory */
struct watch {
	long most_used;		/* pages of the device node */
	long least_free;	/* kB of system memory */
	int status;
};

static void look(struct watch *watch)
{
	long used = node_used(device), free_kb = meminfo_kb("MemFree");

	if (used > watch->most_used)
		watch->most_used = used;
	if (free_kb < watch->least_free)
		watch->least_free = free_kb;
	if (!fancy)
		return;
	putchar('\r');
	bar(0, LIVE_ROOM);
	printf("  %snode %d: %ld pages%s", CYAN, device, used, PLAIN);
	fflush(stdout);
}

static struct watch fill(void (*how)(void))
{
	struct watch watch = { .least_free = meminfo_kb("MemFree") };
	pid_t pid = fork();

	if (!pid) {
		set_oom_score(1000);
		how();
	}
	while (pid > 0 && !waitpid(pid, &watch.status, WNOHANG)) {
		look(&watch);
		usleep(100000);
	}
	if (fancy)
		printf("\r%*s\r", width, "");

	return watch;
}

static void device_is_untouched(const struct watch *watch, long pgalloc)
{
	struct node_pages pages;

	node_pages(device, &pages);
	check(!watch->most_used && !node_used(device),
	      "node %d all the time: %ld of %ld pages free", device,
	      pages.free + pages.pcp, pages.managed);
	check(pgalloc >= 0 && vm_event("pgalloc_coherent") == pgalloc,
	      "pgalloc_coherent: %ld before, %ld after", pgalloc,
	      vm_event("pgalloc_coherent"));
}

/* -- The tour -------------------------------------------------------------------- */

static void there_and_back(void)
{
	step("An ordinary program fills %lu MB with a pattern", SIZE / MIB);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!check(memory != MAP_FAILED, "mmap(2)"))
		return;
	madvise(memory, SIZE, MADV_NOHUGEPAGE);
	write_pattern(1);
	check(!pages_on(device), "not one page is on node %d", device);
	bars();
	step_done();

	step("It asks for node %d: move_pages(2)", device);
	move_to(device);
	verify(1, "after the move");
	bars();
	step_done();

	step("It works there: writes all of it anew, and reads it");
	write_pattern(2);
	verify(2, "where it is");
	check(pages_on(device) == (long)NR_PAGES, "still on node %d", device);
	step_done();

	step("And back to node 0");
	move_to(0);
	verify(2, "after the way back");
	check(!node_used(device), "node %d is free again", device);
	bars();
	step_done();
}

static void to_the_brim(void)
{
	long kills = vm_event("oom_kill"), pgalloc = vm_event("pgalloc_coherent");
	struct watch watch;

	step("System memory fills up: page cache, everything under /usr");
	watch = fill(fill_page_cache);
	check(WIFEXITED(watch.status), "cached: %ld MB",
	      meminfo_kb("Cached") >> 10);
	bars();
	device_is_untouched(&watch, pgalloc);
	step_done();

	step("To the brim: anonymous memory, until the OOM killer comes");
	watch = fill(fill_anonymous);
	check(WIFSIGNALED(watch.status) && vm_event("oom_kill") > kills,
	      "the OOM killer came; system memory was down to %ld MB",
	      watch.least_free >> 10);
	bars();
	device_is_untouched(&watch, pgalloc);
	if (memory != MAP_FAILED)
		verify(2, "after all that");
	step_done();
}

int main(void)
{
	int nodes[MAX_NODES];

	find_style();
	started = now();
	if (!device_nodes(nodes)) {
		printf("tour: this machine has no device node; boot with device_coherent=\n");
		return KSFT_SKIP;
	}
	device = nodes[0];
	set_oom_score(-1000);
	mlockall(MCL_CURRENT);

	rule();
	printf("%sCoprocessor memory that nobody gets without asking%s\n", BOLD,
	       PLAIN);
	rule();
	show_machine();
	there_and_back();
	to_the_brim();

	putchar('\n');
	rule();
	if (failures)
		printf("%s%d thing%s did not hold.%s", RED, failures,
		       failures == 1 ? "" : "s", PLAIN);
	else
		printf("%sAll of it held.%s", GREEN, PLAIN);
	printf("  %s%.1f s%s\n", DIM, now() - started, PLAIN);

	return failures ? KSFT_FAIL : KSFT_PASS;
}
