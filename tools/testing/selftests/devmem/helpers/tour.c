// SPDX-License-Identifier: GPL-2.0
/*
 * A tour of a machine with coprocessor memory. An ordinary program of libnuma's
 * (numa_program.c) takes its memory to the device node and back; a compiler is
 * run there by numactl; then system memory is filled to the brim while the
 * device node stays as it is. Where memory is, is asked of the kernel, not of
 * the programs. Shows invariants 1 (asked for, or not at all) and 5 (nothing
 * lost). Ends 0 only if everything held.
 *
 * Output fits the terminal. DEVMEM_WIDTH and DEVMEM_STYLE=fancy|plain overrule
 * what is found out about it, for one that is at the other end of a pipe;
 * NO_COLOR is honoured.
 */
#define _GNU_SOURCE
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/devmem_util.h"
#include "../lib/where.h"

/* What numa_program takes at a time */
#define PROGRAM_PAGES	((long)(64 * MIB / PAGE))
#define CACHE_SECONDS	6
#define LIVE_ROOM	24
#define FUNCTIONS	48

static int width = 78;
static bool fancy, color;
static int steps, failures;
static double started, step_started;

static int device;			/* the node the tour goes to */

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
	printf("   MemTotal %ld MB: %sthe device's memory isn't in it%s\n",
	       meminfo_kb("MemTotal") >> 10, DIM, PLAIN);
}

/* -- A program of libnuma's ----------------------------------------------------- */

static struct {
	pid_t pid;
	FILE *says;
	int enter;
} program;

static void file_beside(const char *name, char *path, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", path, size - 1);

	path[len < 0 ? 0 : len] = '\0';
	if (strrchr(path, '/'))
		strrchr(path, '/')[1] = '\0';
	strncat(path, name, size - strlen(path) - 1);
}

static void start_program(void)
{
	int to[2], from[2];
	char path[4096], node[16];

	file_beside("numa_program", path, sizeof(path));
	snprintf(node, sizeof(node), "%d", device);
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return;
	program.pid = fork();
	if (!program.pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		execl(path, "numa_program", node, NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	program.enter = to[1];
	program.says = fdopen(from[0], "r");
}

/* Shows what the program says up to where it waits */
static void listen_to_program(void)
{
	char line[128];

	while (program.says && fgets(line, sizeof(line), program.says)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "press Enter", 11))
			return;
		if (!strncmp(line, "ok: ", 4))
			check(true, "%s", line + 4);
		else if (!strncmp(line, "WRONG: ", 7))
			check(false, "%s", line + 7);
		else
			printf("   %s\n", line);
	}
	check(false, "the program ended early");
}

static void press_enter(void)
{
	if (write(program.enter, "\n", 1) != 1)
		check(false, "the program does not listen");
}

static void program_is_on_device(long wanted)
{
	struct where where = { 0 };

	add_process(&where, program.pid, device);
	check(where.anon_there == wanted && !where.file_there &&
	      node_used(device) == wanted,
	      "numa_maps: %ld pages on node %d, all anonymous",
	      where.anon_there, device);
	bars();
}

static void end_program(void)
{
	int status = -1;

	press_enter();
	waitpid(program.pid, &status, 0);
	check(!status && !node_used(device),
	      "the program ends; node %d is free again", device);
}

/* -- A whole program there ------------------------------------------------------ */

static char work[32];

/*
 * Something for the compiler to think about, and what it comes to. Each function
 * has other constants, or it would find out that they are all the same.
 */
static unsigned int write_source(const char *path)
{
	unsigned int x = 1, i, k;
	FILE *f = fopen(path, "w");

	if (!f)
		return 0;
	fprintf(f, "#include <stdio.h>\n#include <stdlib.h>\n");
	for (i = 0; i < FUNCTIONS; i++) {
		fprintf(f, "static unsigned int f%u(unsigned int x)\n{\n", i);
		fprintf(f, "\tfor (int k = 0; k < %u; k++)\n", i + 2);
		fprintf(f, "\t\tx = x & %u ? x * %u + k : (x ^ k) / 3 + %u;\n",
			1 << i % 8, 2 * i + 3, 7 * i);
		fprintf(f, "\treturn x;\n}\n");
		for (k = 0; k < i + 2; k++)
			x = x & 1 << i % 8 ? x * (2 * i + 3) + k :
					     (x ^ k) / 3 + 7 * i;
	}
	fprintf(f, "int main(int argc, char **argv)\n{\n");
	fprintf(f, "\tunsigned int x = argc;\n\n\t(void)argv;\n");
	for (i = 0; i < FUNCTIONS; i++)
		fprintf(f, "\tx = f%u(x);\n", i);
	fprintf(f, "\tprintf(\"%%u\\n\", x);\n\treturn 0;\n}\n");
	fclose(f);

	return x;
}

/* What was seen when a command had most on the device */
struct peak {
	struct where where;
	struct kernel_memory there, elsewhere;
	char name[NAME_SIZE];
};

/* Runs it in a session of its own, and looks where its memory is. */
static int watch_command(const char *command, struct peak *peak)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		setsid();
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	while (pid > 0 && !waitpid(pid, &status, WNOHANG)) {
		char name[NAME_SIZE] = "";
		struct where where = where_is(pid, device, name);

		if (where.anon_there > peak->where.anon_there) {
			peak->where = where;
			peak->there = kernel_memory(device, 5);
			peak->elsewhere = kernel_memory(0, 1);
			memcpy(peak->name, name, sizeof(name));
		}
		if (fancy) {
			putchar('\r');
			bar(device, LIVE_ROOM);
			printf("  %s%-20.20s%s", CYAN, name, PLAIN);
			fflush(stdout);
		}
		usleep(20000);
	}
	if (fancy)
		printf("\r%*s\r", width, "");

	return status;
}

static void row(const char *what, double elsewhere, double there)
{
	printf("   %-33s%9.1f%9.1f\n", what, elsewhere, there);
}

static void show_peak(const struct peak *peak)
{
	const struct where *where = &peak->where;
	const struct kernel_memory *a = &peak->elsewhere, *b = &peak->there;
	char what[64];

	printf("   %s%-33s   node 0   node %d%s\n", DIM, "MB, when it had most:",
	       device, PLAIN);
	snprintf(what, sizeof(what), "its own memory (%.12s)", peak->name);
	row(what, where->anon_elsewhere / 256.0, where->anon_there / 256.0);
	row("programs and libraries it maps", where->file_elsewhere / 256.0,
	    where->file_there / 256.0);
	row("page cache, all of it", a->cache / 1024.0, b->cache / 1024.0);
	row("page tables, kernel stacks", (a->page_tables + a->stacks) / 1024.0,
	    (b->page_tables + b->stacks) / 1024.0);
	row("slab", a->slab / 1024.0, b->slab / 1024.0);
	check(where->anon_there > 1024 && !where->anon_elsewhere,
	      "all of its own memory was on node %d", device);
	check(!where->file_there && !b->cache && !b->page_tables &&
	      !b->stacks && !b->slab, "nothing of the kernel's was");
}

static int remove_file(const char *path, const struct stat *st, int type,
		       struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;

	return remove(path);
}

/* What was compiled, runs there as well. */
static void run_result(unsigned int wanted)
{
	unsigned int result = 0;
	char command[128];
	FILE *f;

	snprintf(command, sizeof(command), "numactl --membind=%d %s/x", device,
		 work);
	f = popen(command, "r");
	if (f && fscanf(f, "%u", &result) != 1)
		result = ~wanted;
	if (f)
		pclose(f);
	check(result == wanted, "what it made runs there, and prints %u",
	      result);
}

static void whole_program(void)
{
	struct peak peak = { 0 };
	unsigned int wanted;
	char text[192];
	long before = node_used(device);

	step("A whole program: numactl --membind=%d gcc -O2", device);
	snprintf(work, sizeof(work), "/tmp/devmem-tour-XXXXXX");
	if (!mkdtemp(work)) {
		check(false, "no folder in /tmp");
		return;
	}
	snprintf(text, sizeof(text), "%s/x.c", work);
	wanted = write_source(text);
	snprintf(text, sizeof(text),
		 "cd %s && exec numactl --membind=%d gcc -O2 -o x x.c", work,
		 device);
	if (check(!watch_command(text, &peak), "it compiled %d functions",
		  FUNCTIONS)) {
		run_result(wanted);
		show_peak(&peak);
	}
	nftw(work, remove_file, 16, FTW_DEPTH | FTW_PHYS);
	check(node_used(device) == before, "node %d is as it was before",
	      device);
	step_done();
}

/* -- The brim -------------------------------------------------------------------- */

static int read_file(const char *path, const struct stat *st, int type,
		     struct FTW *ftw)
{
	static char buffer[256 << 10];
	int fd;

	(void)ftw;
	if (type != FTW_F || st->st_size < (512 << 10))
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
	long least_used, most_used;	/* pages of the device node */
	long least_free;	/* kB of system memory */
	int status;
};

static void look(struct watch *watch)
{
	long used = node_used(device), free_kb = meminfo_kb("MemFree");

	if (used < watch->least_used)
		watch->least_used = used;
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
	long used = node_used(device);
	struct watch watch = {
		.least_used = used,
		.most_used = used,
		.least_free = meminfo_kb("MemFree"),
	};
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
	long used = node_used(device);
	struct node_pages pages;

	node_pages(device, &pages);
	check(used == PROGRAM_PAGES && watch->least_used == used &&
	      watch->most_used == used,
	      "node %d all the time: %ld pages used, %ld free", device, used,
	      pages.managed - used);
	check(pgalloc >= 0 && vm_event("pgalloc_coherent") == pgalloc,
	      "pgalloc_coherent: %ld before, %ld after", pgalloc,
	      vm_event("pgalloc_coherent"));
}

/* -- The tour -------------------------------------------------------------------- */

static void there_and_back(void)
{
	step("A program of libnuma's fills 64 MB with a pattern");
	start_program();
	listen_to_program();
	program_is_on_device(0);
	step_done();

	step("It moves them to node %d, and works on them: move_pages(2)",
	     device);
	press_enter();
	listen_to_program();
	program_is_on_device(PROGRAM_PAGES);
	step_done();

	step("64 MB more, bound to node %d from the start: mbind(2)", device);
	press_enter();
	listen_to_program();
	program_is_on_device(2 * PROGRAM_PAGES);
	step_done();

	step("The first 64 MB go back to node 0");
	press_enter();
	listen_to_program();
	program_is_on_device(PROGRAM_PAGES);
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
	step_done();

	step("What became of the program, all that time?");
	press_enter();
	listen_to_program();
	end_program();
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
	whole_program();
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
