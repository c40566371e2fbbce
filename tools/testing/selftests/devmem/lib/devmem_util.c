// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devmem_util.h"

#define TESTMOD		"/sys/kernel/debug/device_coherent_test/command"

unsigned long page_bytes, pmd_bytes;

/*
 * Where a huge page is larger than a test's node (512 MB with pages of 64 KiB), those
 * of 2 MB that consist of several entries are what is huge.
 */
static void huge_as_tests_mean_it(void)
{
	char path[96];

	write_text(HUGE_FILES "enabled", "inherit");
	write_text(HUGE_FILES "shmem_enabled", "inherit");
	snprintf(path, sizeof(path), THP "hugepages-%lukB/enabled", pmd_bytes / 1024);
	write_text(path, "never");
	snprintf(path, sizeof(path), THP "hugepages-%lukB/shmem_enabled", pmd_bytes / 1024);
	write_text(path, "never");
}

static void __attribute__((constructor(101))) read_sizes(void)
{
	page_bytes = sysconf(_SC_PAGESIZE);
	pmd_bytes = read_number(THP "hpage_pmd_size");
	if (pmd_bytes > HUGE && pmd_bytes != -1UL)
		huge_as_tests_mean_it();
}

/* "0-1,4" */
static int parse_list(const char *list, int *ids)
{
	int n = 0;
	char *end;

	while (*list >= '0' && *list <= '9') {
		long first = strtol(list, &end, 10), last = first;

		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; first <= last && n < MAX_NODES; first++)
			ids[n++] = first;
		list = *end == ',' ? end + 1 : end;
	}

	return n;
}

int read_node_list(const char *name, int *ids)
{
	char path[128], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", name);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);

	return parse_list(text, ids);
}

int device_nodes(int *ids)
{
	const char *given = getenv("DEVMEM_NODES");

	if (given)
		return parse_list(given, ids);

	return read_node_list("has_device_coherent", ids);
}

int system_nodes(int *ids)
{
	int dev[MAX_NODES], all[MAX_NODES], i, j, n = 0;
	int nr_all = read_node_list("has_memory", all);
	int nr_dev = device_nodes(dev);

	for (i = 0; i < nr_all; i++) {
		for (j = 0; j < nr_dev && dev[j] != all[i]; j++)
			;
		if (j == nr_dev)
			ids[n++] = all[i];
	}

	return n;
}

bool find_nodes(struct nodes *nodes)
{
	int dev[MAX_NODES], sys[MAX_NODES];

	if (device_nodes(dev) < 2 || system_nodes(sys) < 2)
		return false;
	nodes->d1 = dev[0];
	nodes->d2 = dev[1];
	nodes->s0 = sys[0];
	nodes->s1 = sys[1];

	return true;
}

/* Counters are kept for each CPU and folded now and then: do it now. */
static void refresh(void)
{
	char c;
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);

	if (fd < 0)
		return;
	while (read(fd, &c, 1) > 0)
		;
	close(fd);
}

bool node_pages(int nid, struct node_pages *pages)
{
	bool here = false, found = false;
	char line[256];
	FILE *f;
	long n, min = 0;
	int id;

	memset(pages, 0, sizeof(*pages));
	refresh();
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone", &id) == 1) {
			here = id == nid;
			found |= here;
		} else if (!here) {
			continue;
		} else if (sscanf(line, " pages free %ld", &n) == 1) {
			pages->free += n;
		} else if (sscanf(line, " managed %ld", &n) == 1) {
			pages->managed += n;
			pages->min += n ? min : 0;
		} else if (sscanf(line, " min %ld", &n) == 1) {
			min = n;
		} else if (sscanf(line, " count: %ld", &n) == 1) {
			pages->pcp += n;
		}
	}
	fclose(f);

	return found;
}

/*
 * refresh() also makes the CPUs' lists shrink, and pages that leave one are in
 * neither count until the next time. So read until the lists are at rest.
 */
long node_used(int nid)
{
	struct node_pages now = { .free = -1 }, before;
	int i = 0;

	do {
		before = now;
		node_pages(nid, &now);
		if (now.managed == now.free + now.pcp)
			break;
	} while ((now.pcp != before.pcp || now.free != before.free) &&
		 ++i < 200);

	return now.managed - now.free - now.pcp;
}

long node_used_at_rest(int nid, long wanted)
{
	long used = 0;
	int i;

	for (i = 0; i < 20; i++) {
		used = node_used(nid);
		if (used == wanted)
			break;
		drain_lists();
		usleep(i * 10000);
	}

	return used;
}

long node_left(int nid)
{
	return node_used_at_rest(nid, 0);
}

long node_distance(int from, int to)
{
	char path[64], line[512], *p = line;
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/%s", from,
		 "distance");
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		for (; to >= 0; to--)
			value = strtol(p, &p, 10);
	if (f)
		fclose(f);

	return value;
}

size_t node_bytes(int nid)
{
	struct node_pages pages;

	return node_pages(nid, &pages) ? pages.managed * PAGE : 0;
}

int has_make_room(int nid)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/device_coherent/make_room",
		 nid);

	return !access(path, F_OK);
}

static long sum_lines(const char *path, const char *name, bool prefix)
{
	size_t len = strlen(name);
	long n, sum = -1;
	char line[256];
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f)) {
		char *value = strpbrk(line, ": ");

		if (!value || strncmp(line, name, len) ||
		    (!prefix && value != line + len))
			continue;
		if (sscanf(value, "%*[: ]%ld", &n) == 1)
			sum = sum < 0 ? n : sum + n;
	}
	if (f)
		fclose(f);

	return sum;
}

long number_in(const char *path, const char *name)
{
	return sum_lines(path, name, false);
}

long numa_count(const char *path, const char *begin, int nid)
{
	FILE *f = fopen(path, "r");
	char line[1024], word[16];
	long sum = -1;
	char *at;

	snprintf(word, sizeof(word), " N%d=", nid);
	while (f && fgets(line, sizeof(line), f)) {
		at = strncmp(line, begin, strlen(begin)) ? NULL : strstr(line, word);
		if (at)
			sum = (sum < 0 ? 0 : sum) + atol(at + strlen(word));
	}
	if (f)
		fclose(f);

	return sum;
}

static long read_node_stat(int nid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/vmstat",
		 nid);

	return number_in(path, name);
}

long node_stat(int nid, const char *name)
{
	refresh();

	return read_node_stat(nid, name);
}

/* What it says is there, or on its way, of all kinds of user pages */
static long node_counted(int nid)
{
	static const char * const names[] = {
		"nr_inactive_anon", "nr_active_anon", "nr_inactive_file",
		"nr_active_file", "nr_unevictable", "nr_isolated_anon",
		"nr_isolated_file", "nr_anon_pages", "nr_mapped", "nr_file_pages",
		"nr_dirty", "nr_writeback", "nr_shmem", "nr_shmem_hugepages",
		"nr_anon_transparent_hugepages", "nr_swapcached",
	};
	long n, sum = 0;
	size_t i;

	refresh();
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		n = read_node_stat(nid, names[i]);
		if (n > 0)
			sum += n;
	}

	return sum;
}

long nodes_left(const struct nodes *n)
{
	const int nids[] = { n->d1, n->d2, n->s0, n->s1 };
	long left = 0, now;
	int i;

	for (i = 0; i < 4; i++) {
		if (i < 2) {
			now = node_left(nids[i]);
			if (now)
				ksft_print_msg("node %d: %ld pages in use\n",
					       nids[i], now);
			left += now;
			now = node_counted(nids[i]);
		} else {
			now = node_stat(nids[i], "nr_isolated_anon") +
			      node_stat(nids[i], "nr_isolated_file");
		}
		if (now)
			ksft_print_msg("node %d: %ld pages counted\n", nids[i],
				       now);
		left += now;
	}

	return left;
}

long vm_event(const char *name)
{
	return number_in("/proc/vmstat", name);
}

long vm_events(const char *prefix)
{
	return sum_lines("/proc/vmstat", prefix, true);
}

long meminfo_kb(const char *name)
{
	return number_in("/proc/meminfo", name);
}

long scan_number(const char *path, const char *format)
{
	FILE *f = fopen(path, "r");
	char line[256];
	long n = -1;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, format, &n);
	if (f)
		fclose(f);

	return n;
}

long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);

	return n;
}

bool wait_number(const char *path, long least, int seconds)
{
	int i;

	for (i = 0; i < seconds * 100; i++) {
		if (read_number(path) >= least)
			return true;
		usleep(10000);
	}

	return false;
}

bool wait_ksm_scans(int scans)
{
	const char *path = KSM "full_scans";

	return wait_number(path, read_number(path) + scans, 30);
}

int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = -errno;
	close(fd);

	return rc;
}

/* Only x86 knows the parameter; elsewhere it is there to be read here. */
unsigned long spare_start(void)
{
	char line[2048], *p;
	unsigned long start = 0;
	FILE *f = fopen("/proc/cmdline", "r");

	if (f && fgets(line, sizeof(line), f)) {
		p = strstr(line, "memmap=");
		p = p ? p + strcspn(p, " $") : "";
		if (*p == '$')
			start = strtoul(p + 1, &p, 0);
		if (start)
			start <<= *p == 'G' ? 30 : *p == 'M' ? 20 : 0;
	}
	if (f)
		fclose(f);

	return start;
}

int testmod_load(void)
{
	if (!access(TESTMOD, W_OK))
		return 0;
	if (system("modprobe device_coherent_test 2>/dev/null") &&
	    system("insmod $DEVMEM_OBJ/mm/device_coherent/tests/device_coherent_test.ko 2>&1"))
		return -ENOENT;
	if (access(TESTMOD, W_OK))
		return -ENOENT;

	return 0;
}

int testmod(const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	return write_text(TESTMOD, text);
}

void set_oom_score(int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	write_text("/proc/self/oom_score_adj", text);
}

/* -- Mappings and where their pages are ----------------------------------- */

long mbind_nodes(void *p, size_t size, int mode, unsigned long mask,
		 unsigned int flags)
{
	return syscall(SYS_mbind, p, size, mode, &mask, MAX_NODES + 1, flags);
}

long set_policy(int mode, unsigned long mask)
{
	return syscall(SYS_set_mempolicy, mode, &mask, MAX_NODES + 1);
}

char *map_pages(size_t size, int flags, int fd)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

char *map_anon(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

char *map_huge(size_t size)
{
	char *p = map_anon(size + HUGE);
	uintptr_t start = ((uintptr_t)p + HUGE - 1) & ~(HUGE - 1);

	return p ? (char *)start : NULL;
}

char *map_huge_file(size_t size, int fd)
{
	char *p = map_huge(size);

	if (!p)
		return NULL;
	p = mmap(p, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void by_entries(char *p)
{
	mprotect(p, PAGE, PROT_READ);
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
}

char *map_hugetlb(size_t size)
{
	return map_pages(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			       MAP_HUGE_2MB, -1);
}

void khugepaged_sleeps(void)
{
	long scans;
	char *p;

	if (write_text(KHUGEPAGED "scan_sleep_millisecs", "100000000"))
		return;
	scans = read_number(KHUGEPAGED "full_scans");
	p = map_huge(HUGE);
	if (!p || madvise(p, HUGE, MADV_HUGEPAGE))
		return;
	*p = 1;		/* khugepaged takes no interest in what has no pages. */
	wait_number(KHUGEPAGED "full_scans", scans + 1, 1);
}

/* As far below as it takes to be untouched */
char *take_stack(size_t size)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	char *p = (char *)((here & ~(PAGE - 1)) - size - 64 * PAGE);

	*p = 0;		/* makes the mapping grow */
	madvise(p, size, MADV_DONTNEED);

	return p;
}

char *take_heap(size_t size)
{
	uintptr_t p = (uintptr_t)sbrk(size + PAGE);

	return (char *)((p + PAGE - 1) & ~(PAGE - 1));
}

void fill_pages(char *p, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		*(unsigned int *)(p + i) = seed + i / PAGE;
}

bool intact(const char *p, size_t size, unsigned int seed)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		if (*(unsigned int *)(p + i) != seed + i / PAGE)
			return false;

	return true;
}

static void where_others(pid_t pid, char *p, size_t size, long *count)
{
	size_t i, n = size / PAGE;
	void **pages = calloc(n, sizeof(*pages));
	int *status = calloc(n, sizeof(*status));

	memset(count, 0, (MAX_NODES + 1) * sizeof(*count));
	for (i = 0; i < n; i++)
		pages[i] = p + i * PAGE;
	if (syscall(SYS_move_pages, pid, n, pages, NULL, status, 0))
		memset(status, -1, n * sizeof(*status));
	for (i = 0; i < n; i++)
		count[status[i] >= 0 ? status[i] : NONE]++;
	free(pages);
	free(status);
}

void where(char *p, size_t size, long *count)
{
	where_others(0, p, size, count);
}

long others_on_node(pid_t pid, char *p, size_t size, int nid)
{
	long count[MAX_NODES + 1];

	where_others(pid, p, size, count);

	return count[nid];
}

long on_node(char *p, size_t size, int nid)
{
	return others_on_node(0, p, size, nid);
}

static long do_move(pid_t pid, char *p, size_t size, int nid, int *first)
{
	size_t i, n = size / PAGE;
	void **pages = calloc(n, sizeof(*pages));
	int *status = calloc(n, sizeof(*status));
	int *nodes = calloc(n, sizeof(*nodes));
	long rc;

	for (i = 0; i < n; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = nid;
	}
	rc = syscall(SYS_move_pages, pid, n, pages, nodes, status,
		     MPOL_MF_MOVE);
	if (rc < 0)
		rc = -errno;
	if (first)
		*first = status[0];
	free(pages);
	free(status);
	free(nodes);

	return rc;
}

long move(char *p, size_t size, int nid, int *first)
{
	return do_move(0, p, size, nid, first);
}

long move_others(pid_t pid, char *p, size_t size, int nid)
{
	return do_move(pid, p, size, nid, NULL);
}

/*
 * A child that fills what @make gives it, or a mapping where that is NULL, and
 * then goes on in @live; its parent hears by a pipe where that is.
 */
static pid_t start_filler(char *(*make)(void), size_t size, unsigned int seed,
			  char **at, void (*live)(char *p, const void *arg),
			  const void *arg)
{
	int fds[2];
	pid_t pid;
	bool heard;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		char *p = make ? make() : map_anon(size);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fill_pages(p, size, seed);
		if (write(fds[1], &p, sizeof(p)) != sizeof(p))
			_exit(2);
		live(p, arg);
		_exit(4);
	}
	close(fds[1]);
	heard = read(fds[0], at, sizeof(*at)) == sizeof(*at);
	close(fds[0]);

	return heard ? pid : -1;
}

struct holding {
	size_t size;
	unsigned int seed;
};

static void hold(char *p, const void *arg)
{
	const struct holding *h = arg;

	raise(SIGSTOP);
	_exit(!intact(p, h->size, h->seed));
}

pid_t start_holder(char *(*make)(void), size_t size, unsigned int seed,
		   char **at)
{
	const struct holding h = { size, seed };
	pid_t pid = start_filler(make, size, seed, at, hold, &h);

	if (pid > 0)
		waitpid(pid, NULL, WUNTRACED);

	return pid;
}

struct dying {
	void (*how)(void);
	size_t size;
	int us;
};

static void wait_and_die(char *p, const void *arg)
{
	const struct dying *d = arg;

	usleep(d->us);
	if (!intact(p, d->size, 1))
		_exit(3);
	d->how();
}

pid_t start_mortal(void (*how)(void), size_t size, int us, char **at)
{
	const struct dying d = { how, size, us };

	return start_filler(NULL, size, 1, at, wait_and_die, &d);
}

void by_exit(void)
{
	_exit(0);
}

void by_exec(void)
{
	execl("/bin/true", "true", NULL);
}

void by_kill(void)
{
	kill(getpid(), SIGKILL);
}

static void ignore_signal(int sig)
{
	(void)sig;
}

void ticks(int us)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	struct itimerval often = { { 0, us }, { 0, us } };

	if (us)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

int end_holder(pid_t pid)
{
	int status = -1;

	kill(pid, SIGCONT);
	waitpid(pid, &status, 0);

	return status;
}

bool placed(char *p, size_t size, int nid, unsigned int seed)
{
	long count[MAX_NODES + 1];
	int i;

	where(p, size, count);
	if (count[nid] == (long)(size / PAGE) && intact(p, size, seed))
		return true;
	for (i = 0; i <= NONE; i++)
		if (count[i])
			ksft_print_msg("%ld pages on node %d\n", count[i],
				       i == NONE ? -1 : i);
	ksft_print_msg("of %lu that should be on node %d; content %s\n",
		       size / PAGE, nid, intact(p, size, seed) ? "good" : "bad");

	return false;
}

long migrate(pid_t pid, unsigned long from, unsigned long to)
{
	long rc = syscall(SYS_migrate_pages, pid, MAX_NODES + 1, &from, &to);

	return rc < 0 ? -errno : rc;
}

int policy_at(void *p, unsigned long *mask)
{
	unsigned long all[4] = { 0 };	/* for any node that there can be */
	int mode;

	*mask = 0;
	if (syscall(SYS_get_mempolicy, &mode, all, sizeof(all) * 8 + 1, p,
		    MPOL_F_ADDR))
		return -errno;
	*mask = all[0];

	return mode;
}

unsigned long read_entry(const char *path, unsigned long i)
{
	int fd = open(path, O_RDONLY);
	unsigned long entry;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), i * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);

	return entry;
}

unsigned long pagemap_entry(const void *p)
{
	return read_entry("/proc/self/pagemap", (uintptr_t)p / PAGE);
}

unsigned long entry_pfn(unsigned long entry)
{
	return entry & PAGEMAP_PRESENT ? entry & PAGEMAP_PFN : 0;
}

unsigned long pfn_of(const void *p)
{
	return entry_pfn(pagemap_entry(p));
}

unsigned long page_flags(const void *p)
{
	unsigned long pfn = pfn_of(p);

	return pfn ? read_entry("/proc/kpageflags", pfn) : 0;
}

static bool is_tail(unsigned long pfn)
{
	return read_entry("/proc/kpageflags", pfn) & BIT(KPF_COMPOUND_TAIL);
}

long folio_pages(const void *p)
{
	unsigned long pfn = pfn_of(p), n;

	if (!pfn)
		return 0;
	while (is_tail(pfn))
		pfn--;
	for (n = 1; is_tail(pfn + n); n++)
		;

	return n;
}

bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);

	return !sched_setaffinity(0, sizeof(set), &set);
}

int page_out(char *p, size_t size)
{
	drain_lists();

	return madvise(p, size, MADV_PAGEOUT);
}

/* Moving pages begins with that; what it moves is no matter. */
void drain_lists(void)
{
	char *p = map_anon(PAGE);

	if (!p)
		return;
	*p = 1;
	mbind_nodes(p, PAGE, MPOL_DEFAULT, 0, MPOL_MF_MOVE);
	munmap(p, PAGE);
}

/* -- Cgroups and swap ------------------------------------------------------ */

int cg_write(const char *file, const char *fmt, int a, int b)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), CG "/%s", file);
	snprintf(text, sizeof(text), fmt, a, b);

	return write_text(path, text);
}

bool cg_enter(const char *controller)
{
	char text[32];

	snprintf(text, sizeof(text), "+%s", controller);
	write_text("/sys/fs/cgroup/cgroup.subtree_control", text);
	mkdir(CG, 0755);

	return !cg_write("cgroup.procs", "%d", getpid(), 0);
}

void cg_leave(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", getpid());
	write_text("/sys/fs/cgroup/cgroup.procs", text);
	rmdir(CG);
}

/* What mkswap does; starting it takes longer than all that is swapped here. */
static int make_swap(int fd, long pages)
{
	struct {
		unsigned int version, last_page, nr_bad;
	} header = { 1, pages - 1, 0 };
	char page[PAGE];

	memset(page, 0, PAGE);
	memcpy(page + 1024, &header, sizeof(header));
	memcpy(page + PAGE - 10, "SWAPSPACE2", 10);

	return pwrite(fd, page, PAGE, 0) == (ssize_t)PAGE ? fsync(fd) : -1;
}

/*
 * A file in memory that isn't swapped itself: a device that has its own pages
 * swapped out to it waits for itself as soon as it is to write to one of them.
 */
static int file_never_swapped(void)
{
	char dir[] = "/tmp/devmem_swap.XXXXXX";
	int fd = -1;

	if (!mkdtemp(dir))
		return -1;
	if (!mount("tmpfs", dir, "tmpfs", 0, "noswap")) {
		fd = open(dir, O_TMPFILE | O_RDWR, 0600);
		umount2(dir, MNT_DETACH);
	}
	rmdir(dir);

	return fd;
}

int swap_on_loop(int mib)
{
	int loop = open("/dev/loop0", O_RDWR);
	int fd = file_never_swapped();
	int rc = -1;

	if (loop >= 0 && fd >= 0 && !ftruncate(fd, mib * MIB) &&
	    !ioctl(loop, LOOP_SET_FD, fd) &&
	    !make_swap(loop, mib * MIB / PAGE))
		rc = swapon("/dev/loop0", 0);
	close(fd);
	close(loop);

	return rc;
}

void swap_off_loop(void)
{
	int loop = open("/dev/loop0", O_RDWR);

	swapoff("/dev/loop0");
	ioctl(loop, LOOP_CLR_FD, 0);
	close(loop);
}

int swap_on_ram(void)
{
	int fd = open("/dev/ram0", O_RDWR);
	int rc = -1;

	if (fd >= 0 && !make_swap(fd, 4 * MIB / PAGE))
		rc = swapon("/dev/ram0", 0);
	close(fd);

	return rc;
}

void swap_off_ram(void)
{
	swapoff("/dev/ram0");
}
