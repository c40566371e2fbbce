// SPDX-License-Identifier: GPL-2.0
/* devmem alloc */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

static const char help[] =
"Usage: devmem alloc --size SIZE [OPTION]...\n"
"Allocate memory of a device explicitly, as its driver would, and free it.\n"
"\n"
"  -s, --size SIZE   how much; a multiple of the page size; K, M, G and T work\n"
"  -c, --contiguous  in one piece; pages that can be moved are moved away\n"
"      --huge        of huge pages throughout\n"
"      --align SIZE  physical alignment of the piece; a power of two\n"
"  -n, --node N      from this node, then from others; the default is nearest\n"
"      --exact       from --node or not at all\n"
"      --verify      see that it is zeroed, write a pattern, read it back\n"
"      --hold[=SEC]  keep it for SEC seconds, or until a signal comes\n"
"  -h, --help        this text\n";

struct request {
	struct devmem_alloc alloc;
	bool hold;
	double seconds;		/* 0: until a signal comes */
	bool verify;
};

enum {
	OPT_HUGE = 256,
	OPT_ALIGN,
	OPT_EXACT,
	OPT_VERIFY,
	OPT_HOLD,
};

static const struct option options[] = {
	{ "size", required_argument, NULL, 's' },
	{ "contiguous", no_argument, NULL, 'c' },
	{ "huge", no_argument, NULL, OPT_HUGE },
	{ "align", required_argument, NULL, OPT_ALIGN },
	{ "node", required_argument, NULL, 'n' },
	{ "exact", no_argument, NULL, OPT_EXACT },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "hold", optional_argument, NULL, OPT_HOLD },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static int size_option(const char *name, const char *text, __u64 *value)
{
	int err = parse_size(text, value);

	if (err == -ERANGE)
		return usage("%s '%s': more than 64 bits", name, text);
	if (err)
		return usage("%s '%s': expected a size such as 4096, 64K or 512M",
			     name, text);
	return 0;
}

static int node_option(const char *text, __s32 *node)
{
	unsigned long value;

	if (parse_number(text, MAX_NODES - 1, &value))
		return usage("--node '%s': expected the number of a node", text);
	*node = value;
	return 0;
}

/* --hold SECONDS, --hold=SECONDS, or --hold alone */
static int hold_option(int argc, char **argv, struct request *r)
{
	const char *text = optarg;

	r->hold = true;
	if (!text && optind < argc && isdigit((unsigned char)argv[optind][0]))
		text = argv[optind++];
	if (text && parse_seconds(text, &r->seconds))
		return usage("--hold '%s': expected seconds, up to 1000000",
			     text);
	return 0;
}

static int parse_option(int c, int argc, char **argv, struct request *r)
{
	struct devmem_alloc *a = &r->alloc;

	switch (c) {
	case 's':
		return size_option("--size", optarg, &a->size);
	case 'c':
		a->flags |= DEVMEM_ALLOC_CONTIG;
		return 0;
	case OPT_HUGE:
		a->flags |= DEVMEM_ALLOC_HUGE;
		return 0;
	case OPT_ALIGN:
		return size_option("--align", optarg, &a->align);
	case 'n':
		return node_option(optarg, &a->node);
	case OPT_EXACT:
		a->flags |= DEVMEM_ALLOC_EXACT;
		return 0;
	case OPT_VERIFY:
		r->verify = true;
		return 0;
	default:
		return hold_option(argc, argv, r);
	}
}

static int check_request(const struct devmem_alloc *a)
{
	if (!a->size)
		return usage("--size is missing, or 0");
	if (a->size % page_size())
		return usage("--size %llu: not a multiple of the page size, %llu",
			     a->size, page_size());
	if (a->align & (a->align - 1))
		return usage("--align %llu: not a power of two", a->align);
	if (a->align && !(a->flags & DEVMEM_ALLOC_CONTIG))
		return usage("--align: only with --contiguous");
	if ((a->flags & DEVMEM_ALLOC_EXACT) && a->node == DEVMEM_NODE_NEAREST)
		return usage("--exact: only with --node");
	return 0;
}

/* What the nodes that were asked have got */
static void explain_no_memory(int fd, const struct devmem_alloc *a)
{
	char free[SIZE_TEXT], run[SIZE_TEXT], most[SIZE_TEXT];
	struct devmem_info info;
	bool enough = false;
	int node = 0;

	while (!dev_info(fd, node, DEVMEM_INFO_NEXT | DEVMEM_INFO_RUNS, &info)) {
		if (!(a->flags & DEVMEM_ALLOC_EXACT) || info.node == a->node)
			complain("node %d: %s free, %s in one piece, %s obtainable",
				 info.node, size_text(free, info.free),
				 size_text(run, info.largest_free),
				 size_text(most, info.largest_obtainable));
		if (info.free >= a->size)
			enough = true;
		if (info.node < node)
			break;
		node = info.node + 1;
	}
	if (enough && !(a->flags & (DEVMEM_ALLOC_CONTIG | DEVMEM_ALLOC_HUGE)))
		complain("is the memory cgroup at its limit?");
}

static int explain(int fd, const struct devmem_alloc *a, int err)
{
	char size[SIZE_TEXT];

	size_text(size, a->size);
	switch (err) {
	case ENOMEM:
		complain("%s%s: %s", size,
			 a->flags & DEVMEM_ALLOC_CONTIG ? " in one piece" : "",
			 strerror(err));
		explain_no_memory(fd, a);
		return EXIT_FAILURE;
	case ENODEV:
		if (a->node < 0)
			return fail("there is no device node; see devmem list");
		return fail("node %d: not a device node; see devmem list",
			    a->node);
	case EACCES:
		return fail("%s: the cpuset leaves the node out; see %s", size,
			    "Mems_allowed_list in /proc/self/status");
	case EINVAL:
		if (a->flags & DEVMEM_ALLOC_HUGE)
			return fail("--size %s: with --huge it must be whole huge pages", size);
		return fail("%s: %s: the driver refused the call", size,
			    strerror(err));
	default:
		return fail("%s: %s", size, strerror(err));
	}
}

static int allocate(struct devmem_alloc *a)
{
	int fd = dev_open();
	int status = 0;

	if (fd < 0)
		return dev_explain(fd);
	a->fd_flags = O_CLOEXEC | O_RDWR;
	while (ioctl(fd, DEVMEM_IOC_ALLOC, a)) {
		if (errno != EINTR || stop_signal) {
			status = explain(fd, a, errno);
			break;
		}
	}
	close(fd);
	return status;
}

static int sync_buffer(int fd, __u64 flags)
{
	struct dma_buf_sync sync = {
		.flags = flags | DMA_BUF_SYNC_RW,
	};

	if (ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync))
		return fail("DMA_BUF_IOCTL_SYNC: %s", strerror(errno));
	return 0;
}

/* Differs from word to word and from page to page */
static __u64 pattern(__u64 i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ULL;
}

static int verify_words(__u64 *word, __u64 nr)
{
	__u64 i;

	for (i = 0; i < nr && !stop_signal; i++) {
		if (word[i])
			return fail("not zeroed at offset %#llx: %#llx",
				    8 * i, word[i]);
	}
	for (i = 0; i < nr && !stop_signal; i++)
		word[i] = pattern(i);
	/* Read it back from memory. */
	asm volatile("" : : "r" (word) : "memory");
	for (i = 0; i < nr && !stop_signal; i++) {
		if (word[i] != pattern(i))
			return fail("wrong at offset %#llx: %#llx, not %#llx",
				    8 * i, word[i], pattern(i));
	}
	if (!stop_signal)
		printf("zeroed; pattern written and read back\n");
	return 0;
}

static int verify(const struct devmem_alloc *a)
{
	int status;
	void *p = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd,
		       0);

	if (p == MAP_FAILED)
		return fail("mapping it: %s", strerror(errno));
	status = sync_buffer(a->fd, DMA_BUF_SYNC_START);
	if (!status)
		status = verify_words(p, a->size / sizeof(__u64));
	if (!status)
		status = sync_buffer(a->fd, DMA_BUF_SYNC_END);
	munmap(p, a->size);
	return status;
}

/* A signal that comes while it isn't waiting isn't missed. */
static void hold(const struct request *r)
{
	double end = r->seconds ? now() + r->seconds : 0;
	struct timespec ts = { .tv_nsec = 100000000 };
	double rest;

	if (r->seconds)
		printf("held for %g seconds", r->seconds);
	else
		printf("held until a signal comes (Ctrl-C)");
	printf(" by process %d\n", (int)getpid());
	fflush(stdout);

	while (!stop_signal) {
		rest = end ? end - now() : 1;
		if (rest <= 0)
			break;
		if (rest < 0.1)
			ts.tv_nsec = rest * 1e9;
		nanosleep(&ts, NULL);
	}
}

int cmd_alloc(int argc, char **argv)
{
	struct request r = { .alloc.node = DEVMEM_NODE_NEAREST };
	char size[SIZE_TEXT];
	int c, status;

	while ((c = next_option(argc, argv, "s:cn:h", options, help)) != -1) {
		status = parse_option(c, argc, argv, &r);
		if (status)
			return status;
	}
	status = no_more_arguments(argc, argv);
	if (!status)
		status = check_request(&r.alloc);
	if (status)
		return status;

	catch_stop_signals(SA_RESETHAND);
	status = allocate(&r.alloc);
	if (status)
		return stop_signal ? 128 + stop_signal : status;

	printf("%s on node %d%s\n", size_text(size, r.alloc.size), r.alloc.node,
	       r.alloc.flags & DEVMEM_ALLOC_CONTIG ? ", in one piece" : "");
	if (r.verify)
		status = verify(&r.alloc);
	if (stop_signal)
		status = 128 + stop_signal;
	/* To end it is what a signal is for. */
	if (r.hold && !status)
		hold(&r);
	close(r.alloc.fd);
	return status;
}
