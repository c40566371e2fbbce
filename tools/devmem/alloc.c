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

struct request {
	struct devmem_alloc alloc;
	bool hold;
	double seconds;		/* -1: until a signal comes */
	bool verify;
};

enum {
	OPT_HUGE = OPT_OWN,
	OPT_ALIGN,
	OPT_EXACT,
	OPT_ASK,
	OPT_VERIFY,
	OPT_HOLD,
};

static const struct opt options[] = {
	{ "size", 's', "SIZE", "how much; a multiple of the page size; K, M, G and T work" },
	{ "contiguous", 'c', NULL, "in one piece; pages that can be moved are moved away" },
	{ "huge", OPT_HUGE, NULL, "of huge pages throughout" },
	{ "align", OPT_ALIGN, "SIZE", "physical alignment of the piece; a power of two" },
	{ "node", 'n', "N", "from this node, then from others; the default is nearest" },
	{ "exact", OPT_EXACT, NULL, "from --node or not at all" },
	{ "ask", OPT_ASK, NULL, "whether it could be had; takes nothing" },
	{ "verify", OPT_VERIFY, NULL, "see that it is zeroed, write a pattern, read it back" },
	{ "hold", OPT_HOLD, "[=SEC]", "keep it for SEC seconds, or until a signal comes" },
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

/* --hold SECONDS, --hold=SECONDS, or --hold alone */
static int hold_option(int argc, char **argv, struct request *r)
{
	const char *text = optarg;

	r->hold = true;
	r->seconds = -1;
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
		return node_option("--node ", optarg, &a->node) ? EXIT_USAGE : 0;
	case OPT_EXACT:
		a->flags |= DEVMEM_ALLOC_EXACT;
		return 0;
	case OPT_ASK:
		a->flags |= DEVMEM_ALLOC_ASK;
		return 0;
	case OPT_VERIFY:
		r->verify = true;
		return 0;
	default:
		return hold_option(argc, argv, r);
	}
}

static int check_request(const struct request *r)
{
	const struct devmem_alloc *a = &r->alloc;

	if (a->flags & DEVMEM_ALLOC_ASK && (r->hold || r->verify))
		return usage("--ask takes nothing that could be held or verified");
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

/* What the nodes that were asked have got. Return: whether one has as much */
static bool explain_nodes(int fd, const struct devmem_alloc *a)
{
	char free[SIZE_TEXT], run[SIZE_TEXT], most[SIZE_TEXT];
	struct devmem_info info;
	bool enough = false;
	int node = 0;

	while (!dev_info(fd, node, DEVMEM_INFO_NEXT | DEVMEM_INFO_RUNS, &info)) {
		if (info.node < node)
			break;
		node = info.node + 1;
		if (a->flags & DEVMEM_ALLOC_EXACT && info.node != a->node)
			continue;
		complain("node %d: %s free, %s in one piece, %s obtainable",
			 info.node, size_text(free, info.free),
			 size_text(run, info.largest_free),
			 size_text(most, info.largest_obtainable));
		if (a->flags & DEVMEM_ALLOC_CONTIG)
			enough |= info.largest_obtainable >= a->size;
		else
			enough |= info.free >= a->size;
	}
	return enough;
}

/* By the kernel's words, or as an older one leaves it to be found out */
static const char *reason_of(int fd, const struct devmem_alloc *a, __u64 margin)
{
	bool enough = false;

	if (a->reason != DEVMEM_REASON_GROUP)
		enough = explain_nodes(fd, a);
	switch (a->reason) {
	case DEVMEM_REASON_TOO_LARGE:
		return "too large";
	case DEVMEM_REASON_FULL:
		return "full";
	case DEVMEM_REASON_FRAGMENTED:
		return "fragmented";
	case DEVMEM_REASON_GROUP:
		return "cgroup";
	case DEVMEM_REASON_SYSTEM:
		return "system memory";
	default:
		return enough && margin < a->size ? "cgroup" : "no room";
	}
}

static const char *advice_on(const char *reason)
{
	static const struct {
		const char *reason;
		const char *text;
	} advice[] = {
		{ "too large", "that is more than the node has at all" },
		{ "full", "devmem top shows who has it, devmem wait waits for it" },
		{ "fragmented", "enough is free, but in pieces between what can't be moved" },
		{ "system memory", "the kernel had no system memory for its own structures" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		if (!strcmp(advice[i].reason, reason))
			return advice[i].text;
	}
	return NULL;
}

static void explain_no_memory(int fd, const struct devmem_alloc *a)
{
	char group[256], size[SIZE_TEXT];
	__u64 margin = group_margin(group, sizeof(group));
	const char *reason;

	complain("%s%s%s: %s", size_text(size, a->size),
		 a->flags & DEVMEM_ALLOC_CONTIG ? " in one piece" : "",
		 a->flags & DEVMEM_ALLOC_HUGE ? " of huge pages" : "",
		 strerror(ENOMEM));
	reason = reason_of(fd, a, margin);
	if (!strcmp(reason, "cgroup") && *group)
		complain("the memory cgroup %s is at its limit: %s left (memory.max)",
			 group, size_text(size, margin));
	else if (!strcmp(reason, "cgroup"))
		complain("a memory cgroup above is at its limit (memory.max)");
	else if (advice_on(reason))
		complain("%s", advice_on(reason));
	out_begin();
	out_bytes("size", a->size);
	out_string("reason", reason);
}

static int explain(int fd, const struct devmem_alloc *a, int err)
{
	char size[SIZE_TEXT];

	size_text(size, a->size);
	switch (err) {
	case ENOMEM:
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
		if (a->flags & DEVMEM_ALLOC_ASK)
			return fail("--ask: this kernel can't tell");
		return fail("%s: %s: the driver refused the call", size,
			    strerror(err));
	default:
		return fail("%s: %s", size, strerror(err));
	}
}

static int allocate(struct devmem_alloc *a)
{
	int fd = dev_open(a->flags & DEVMEM_ALLOC_ASK ? O_RDONLY : O_RDWR);
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
static void hold(double seconds)
{
	double end = now() + seconds, rest = 1;
	struct timespec ts = { .tv_nsec = 100000000 };

	while (!stop_signal) {
		if (seconds >= 0)
			rest = end - now();
		if (rest <= 0)
			break;
		if (rest < 0.1)
			ts.tv_nsec = rest * 1e9;
		nanosleep(&ts, NULL);
	}
}

static void print_allocated(const struct request *r)
{
	const struct devmem_alloc *a = &r->alloc;
	bool asked = a->flags & DEVMEM_ALLOC_ASK;

	out_begin();
	out_bytes("size", a->size);
	out_number("node", a->node);
	out_bool("contiguous", a->flags & DEVMEM_ALLOC_CONTIG);
	out_bool("allocated", !asked);
	out_text(asked ? "{size} can be had on node {node}" :
		 "{size} on node {node}");
	out_text(a->flags & DEVMEM_ALLOC_CONTIG ? ", in one piece\n" : "\n");
}

static void print_held(const struct request *r)
{
	out_number("pid", getpid());
	if (r->seconds < 0) {
		out_null("hold");
		out_text("held until a signal comes (Ctrl-C) by process {pid}\n");
	} else {
		out_real("hold", r->seconds);
		out_text("held for {hold} seconds by process {pid}\n");
	}
}

/* The document ends before it is held: who reads it wants to go on. */
static int use(struct request *r)
{
	int status = 0;

	print_allocated(r);
	if (r->verify) {
		fflush(stdout);
		status = verify(&r->alloc);
		out_bool("verified", !status && !stop_signal);
		if (!status && !stop_signal)
			out_text("zeroed; pattern written and read back\n");
	}
	if (stop_signal)
		status = 128 + stop_signal;
	if (r->hold && !status)
		print_held(r);
	out_end(status);
	/* Nobody would know of it. */
	if (output_lost())
		return status ? status : EXIT_FAILURE;
	/* To end it is what a signal is for. */
	if (r->hold && !status)
		hold(r->seconds);
	return status;
}

static int run(int argc, char **argv)
{
	struct request r = { .alloc.node = DEVMEM_NODE_NEAREST };
	int c, status;

	while ((c = next_option(argc, argv)) != -1) {
		status = parse_option(c, argc, argv, &r);
		if (status)
			return status;
	}
	status = no_more_arguments(argc, argv);
	if (!status)
		status = check_request(&r);
	if (status)
		return status;

	catch_stop_signals(SA_RESETHAND);
	status = allocate(&r.alloc);
	if (status)
		return stop_signal ? 128 + stop_signal : status;
	status = use(&r);
	if (r.alloc.fd >= 0 && !(r.alloc.flags & DEVMEM_ALLOC_ASK))
		close(r.alloc.fd);
	return status;
}

const struct command cmd_alloc = {
	.name = "alloc",
	.summary = "allocate memory of a device explicitly",
	.arguments = "--size SIZE [OPTION]...",
	.text = "Allocate memory of a device explicitly, as its driver would, and free it.",
	.options = options,
	.prints = true,
	.run = run,
};
