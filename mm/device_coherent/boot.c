// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory at boot: the parameter "device_coherent=", and what becomes of it
 * (invariant 8). All of it is gone when the system is up.
 *
 * Three steps. (1) Ranges that the command line names are reserved in memblock
 * before anything is allocated from it. What the firmware describes isn't known
 * that early; until it is, memblock allocates next to the kernel image, as it
 * does for movable_node. (2) When the nodes are known, what can become device
 * memory is taken out of memblock, and everything else stays what it was.
 * (3) An initcall declares the nodes whose memory is to come, and adds the ranges
 * by the path that drivers use.
 *
 * One CPU runs, and takes no lock.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/crash_dump.h>
#include <linux/init.h>
#include <linux/initrd.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/numa_memblks.h>
#include <linux/string.h>

#include <asm/numa.h>
#include <asm/sections.h>

#include "internal.h"

#define MAX_REQUESTS	128
#define MAX_CLAIMS	128

enum request_type { REQUEST_NODE, REQUEST_RANGE };

struct request {
	enum request_type type;
	bool refused;
	int nid;
	u64 start;
	u64 size;
	char text[40];
};

struct claim {
	int nid;
	u64 start;
	u64 size;
};

static struct request requests[MAX_REQUESTS] __initdata;
static int nr_requests __initdata;
static struct claim claims[MAX_CLAIMS] __initdata;
static int nr_claims __initdata;
static nodemask_t claimed_nodes __initdata;	/* will be device nodes */
static nodemask_t created_nodes __initdata;	/* ids not from the firmware */
static nodemask_t empty_nodes __initdata;	/* to be declared */
static int nr_spare_nodes __initdata;
static bool declare_spare __initdata;
static bool want_initiators __initdata;
static int created_distance __initdata = REMOTE_DISTANCE;
static unsigned int boot_flags __initdata;
static bool want_specific_purpose __initdata;
static bool want_restricted __initdata;

#define refuse(text, fmt, ...) \
	pr_err("'%s' refused: " fmt "\n", text, ##__VA_ARGS__)

/*
 * What follows is for an architecture that has nothing to do. The range has left
 * memblock, and hotplug will add it in pieces of @piece bytes: take it out of the
 * architecture's own books, and see to it that each piece can be mapped and unmapped
 * by itself.
 */
void __init __weak arch_device_coherent_claim(u64 start, u64 size, u64 piece)
{
}

/* Those to which the firmware gives CPUs, present or not */
void __init __weak arch_device_coherent_cpu_nodes(nodemask_t *nodes)
{
}

/* The first range at or above *@start that the firmware marks as special-purpose */
bool __init __weak arch_device_coherent_next_sp(u64 *start, u64 *size)
{
	return false;
}

static bool __init overlaps(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int __init parse_number(const char *word, const char *s, int min,
			       int max, int *value)
{
	int n;

	if (kstrtoint(s, 10, &n) || n < min || n > max) {
		refuse(word, "expected a number from %d to %d", min, max);
		return -EINVAL;
	}
	*value = n;

	return 0;
}

/* <size>@<start>[:<nid>] */
static int __init parse_range(char *word, struct request *req)
{
	char *p = word;

	req->type = REQUEST_RANGE;
	req->nid = NUMA_NO_NODE;
	req->size = memparse(p, &p);
	if (p == word || *p != '@')
		goto bad;

	word = ++p;
	req->start = memparse(p, &p);
	if (p == word || (*p && *p != ':'))
		goto bad;

	if (*p == ':')
		return parse_number(req->text, p + 1, 1, MAX_NUMNODES - 1,
				    &req->nid);

	return 0;
bad:
	refuse(req->text,
	       "expected node:N, SIZE@START[:N], sp, gi, distance:N, memmap:device, spare:N[:declared] or restricted");
	return -EINVAL;
}

/* <n>[:declared] */
static void __init parse_spare(char *word)
{
	char text[40], *number = text + strlen("spare:");
	bool declared = false;
	char *how;

	strscpy(text, word);
	how = strchr(number, ':');
	if (how) {
		*how++ = '\0';
		if (strcmp(how, "declared")) {
			refuse(word, "expected spare:N or spare:N:declared");
			return;
		}
		declared = true;
	}
	if (!parse_number(word, number, 1, MAX_NUMNODES - 1, &nr_spare_nodes))
		declare_spare = declared;
}

static void __init parse_word(char *word)
{
	struct request req = {};
	int rc;

	if (!strcmp(word, "sp")) {
		want_specific_purpose = true;
		return;
	}
	if (!strcmp(word, "gi")) {
		want_initiators = true;
		return;
	}
	if (!strcmp(word, "restricted")) {
		if (IS_ENABLED(CONFIG_CPUSETS))
			want_restricted = true;
		else
			refuse(word, "needs CONFIG_CPUSETS");
		return;
	}
	if (!strcmp(word, "memmap:device")) {
		boot_flags |= DEVICE_COHERENT_MEMMAP_ON_DEVICE;
		return;
	}
	if (str_has_prefix(word, "distance:")) {
		parse_number(word, word + strlen("distance:"),
			     LOCAL_DISTANCE + 1, U8_MAX - 1, &created_distance);
		return;
	}
	if (str_has_prefix(word, "spare:")) {
		parse_spare(word);
		return;
	}

	strscpy(req.text, word);
	if (str_has_prefix(word, "node:")) {
		req.type = REQUEST_NODE;
		rc = parse_number(word, word + strlen("node:"), 1,
				  MAX_NUMNODES - 1, &req.nid);
	} else {
		rc = parse_range(word, &req);
	}
	if (rc)
		return;

	if (nr_requests == MAX_REQUESTS) {
		refuse(word, "more than %d nodes and ranges", MAX_REQUESTS);
		return;
	}
	requests[nr_requests++] = req;
}

static int __init parse_device_coherent(char *str)
{
	char *word;

	if (!str || !*str) {
		refuse("device_coherent", "expected a value");
		return 0;
	}

	while ((word = strsep(&str, ",")))
		parse_word(word);

	return 0;
}
early_param("device_coherent", parse_device_coherent);

/* Is placement by the firmware's nodes asked for, so that they must be known? */
bool __init __device_coherent_wants_node(void)
{
	int i;

	for (i = 0; i < nr_requests; i++)
		if (requests[i].type == REQUEST_NODE)
			return true;

	return false;
}

/* Until the nodes are known, see above */
void __init __device_coherent_early_direction(void)
{
	if (__device_coherent_wants_node())
		memblock_set_bottom_up(true);
}

/* Is anything asked for that may be in the linear map by then? */
bool __init __device_coherent_wants_memory(void)
{
	return nr_requests;
}

/* Has node @nid no memory until device_coherent_init(), or later? */
bool __init __device_coherent_awaits_memory(int nid)
{
	return node_isset(nid, claimed_nodes) ||
	       node_isset(nid, created_nodes) || node_isset(nid, empty_nodes);
}

/* Does the firmware keep a part of the range? It isn't the kernel's to add. */
static bool __init firmware_in_range(const char *text, u64 start, u64 size)
{
	struct memblock_region *region;

	for_each_mem_region(region) {
		if (!memblock_is_nomap(region) ||
		    !overlaps(start, size, region->base, region->size))
			continue;
		refuse(text, "the firmware keeps [mem %#018llx-%#018llx]",
		       (u64)region->base,
		       (u64)region->base + region->size - 1);
		return true;
	}

	return false;
}

/* Is something in the range that can't be moved away? Say what. */
static bool __init range_in_use(const char *text, u64 start, u64 size)
{
	struct memblock_region *region;

	if (overlaps(start, size, __pa_symbol(_text), _end - _text)) {
		refuse(text, "the kernel image lies there, at [mem %#018llx-%#018llx]",
		       (u64)__pa_symbol(_text), (u64)__pa_symbol(_end) - 1);
		return true;
	}

	for_each_reserved_mem_region(region) {
		if (!overlaps(start, size, region->base, region->size))
			continue;
		refuse(text, "[mem %#018llx-%#018llx] is in use",
		       (u64)region->base, (u64)region->base + region->size - 1);
		return true;
	}

	return false;
}

static bool __init range_claimable(struct request *req, int index)
{
	u64 block = memory_block_size_bytes();
	int i;

	if (numa_off) {
		refuse(req->text, "numa=off");
		return false;
	}
	if (req->start + req->size < req->start) {
		refuse(req->text, "wraps around");
		return false;
	}
	if (!req->size || !IS_ALIGNED(req->start | req->size, block)) {
		refuse(req->text, "start and size must be multiples of a memory block, %llu MB",
		       block >> 20);
		return false;
	}
	for (i = 0; i < index; i++) {
		if (requests[i].refused || requests[i].type != REQUEST_RANGE ||
		    !overlaps(req->start, req->size,
			      requests[i].start, requests[i].size))
			continue;
		refuse(req->text, "overlaps '%s'", requests[i].text);
		return false;
	}
	if (!memblock_is_region_memory(req->start, req->size)) {
		refuse(req->text, "not all of it is system RAM");
		return false;
	}

	return !firmware_in_range(req->text, req->start, req->size) &&
	       !range_in_use(req->text, req->start, req->size);
}

/**
 * __device_coherent_early_reserve - keep the ranges that the command line names
 *
 * Context: Boot, when memblock knows the memory and what the boot loader put
 * there, and before the first allocation from it (invariant 1).
 */
void __init __device_coherent_early_reserve(void)
{
	int i;

	for (i = 0; i < nr_requests; i++) {
		struct request *req = &requests[i];

		/* A crash kernel runs in what the first kernel set aside. */
		if (is_kdump_kernel())
			req->refused = true;
		if (req->refused || req->type != REQUEST_RANGE)
			continue;

		if (range_claimable(req, i))
			memblock_reserve(req->start, req->size);
		else
			req->refused = true;
	}
}

/* How much RAM does node @nid have, or all nodes but @nid? */
static u64 __init node_ram(const struct numa_meminfo *mi, int nid, bool others)
{
	phys_addr_t start, end;
	u64 j, ram = 0;
	int i;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];
		bool other = blk->nid != nid;

		if (other != others)
			continue;
		for_each_mem_range(j, &start, &end) {
			u64 lo = max_t(u64, start, blk->start);
			u64 hi = min_t(u64, end, blk->end);

			if (lo < hi)
				ram += hi - lo;
		}
	}

	return ram;
}

static bool __init claim_range(const char *text, int nid, u64 start, u64 size)
{
	u64 piece = size;

	if (nr_claims == MAX_CLAIMS) {
		refuse(text, "more than %d ranges", MAX_CLAIMS);
		return false;
	}

	claims[nr_claims++] = (struct claim){
		.nid = nid, .start = start, .size = size,
	};
	node_set(nid, claimed_nodes);
	node_set(nid, numa_nodes_parsed);

	memblock_remove(start, size);
	memblock_phys_free(start, size);
	/* Blocks with page structures of their own are added one by one. */
	if (boot_flags & DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		piece = memory_block_size_bytes();
	arch_device_coherent_claim(start, size, piece);

	return true;
}

/* An id that neither the firmware nor a request uses */
static int __init create_node(const char *text)
{
	int i, nid;

	for (nid = 1; nid < MAX_NUMNODES; nid++) {
		if (node_isset(nid, numa_nodes_parsed))
			continue;
		for (i = 0; i < nr_requests; i++)
			if (requests[i].nid == nid && !requests[i].refused)
				break;
		if (i == nr_requests)
			break;
	}
	if (nid == MAX_NUMNODES) {
		refuse(text, "no node id is free, of %d", MAX_NUMNODES);
		return NUMA_NO_NODE;
	}

	node_set(nid, numa_nodes_parsed);
	node_set(nid, created_nodes);

	return nid;
}

/* May node @nid, if it is one yet, become a device node? */
static bool __init node_claimable(const char *text, int nid)
{
	if (node_isset(nid, device_coherent_cpu_nodes)) {
		refuse(text, "node %d has CPUs", nid);
		return false;
	}

	return true;
}

static void __init claim_request_range(struct request *req,
				       const struct numa_meminfo *mi)
{
	int nid = req->nid;

	/* Give it back; if it is claimed after all, claim_range() takes it. */
	memblock_phys_free(req->start, req->size);

	if (nid == NUMA_NO_NODE) {
		nid = create_node(req->text);
		if (nid == NUMA_NO_NODE)
			return;
	} else if (!node_isset(nid, claimed_nodes)) {
		if (!node_claimable(req->text, nid))
			return;
		if (node_ram(mi, nid, false)) {
			refuse(req->text, "node %d has other memory", nid);
			return;
		}
		if (!node_isset(nid, numa_nodes_parsed))
			node_set(nid, created_nodes);
	}

	claim_range(req->text, nid, req->start, req->size);
}

/*
 * Boot loaders like to put the initrd at the end of memory, which is where
 * device memory often is. It was in use before the kernel ran, so move it.
 */
static void __init move_initrd(u64 start, u64 size)
{
#ifdef CONFIG_BLK_DEV_INITRD
	unsigned long initrd_size = initrd_end - initrd_start;
	phys_addr_t old, new;

	if (!initrd_start || !initrd_size)
		return;

	old = __pa(initrd_start);
	if (!overlaps(start, size, old, initrd_size))
		return;

	/* Bottom-up, see above: this lands next to the kernel image. */
	new = memblock_phys_alloc(PAGE_ALIGN(initrd_size), PAGE_SIZE);
	if (!new || overlaps(start, size, new, initrd_size)) {
		if (new)
			memblock_phys_free(new, PAGE_ALIGN(initrd_size));
		return;
	}

	memcpy(__va(new), (void *)initrd_start, initrd_size);
	memblock_phys_free(PAGE_ALIGN_DOWN(old),
			   PAGE_ALIGN(old + initrd_size) - PAGE_ALIGN_DOWN(old));
	initrd_start = (unsigned long)__va(new);
	initrd_end = initrd_start + initrd_size;
	pr_info("initrd moved from %pa to %pa\n", &old, &new);
#endif
}

/* One range of the firmware's: of what isn't RAM only that matters which looks so. */
static bool __init blk_in_use(const char *text, const struct numa_memblk *blk)
{
	phys_addr_t start, end;
	u64 i;

	if (firmware_in_range(text, blk->start, blk->end - blk->start))
		return true;

	for_each_mem_range(i, &start, &end) {
		u64 lo = max_t(u64, start, blk->start);
		u64 hi = min_t(u64, end, blk->end);

		if (lo < hi && range_in_use(text, lo, hi - lo))
			return true;
	}

	return false;
}

static bool __init node_in_use(struct request *req,
			       const struct numa_meminfo *mi)
{
	int i;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];

		if (blk->nid != req->nid)
			continue;
		move_initrd(blk->start, blk->end - blk->start);
		if (blk_in_use(req->text, blk))
			return true;
	}

	return false;
}

/* How many claims all of the node's whole memory blocks would take */
static int __init count_pieces(const struct numa_meminfo *mi, int nid)
{
	u64 j, block = memory_block_size_bytes();
	phys_addr_t start, end;
	int i, nr = 0;

	for (i = 0; i < mi->nr_blks; i++) {
		const struct numa_memblk *blk = &mi->blk[i];

		if (blk->nid != nid)
			continue;
		for_each_mem_range(j, &start, &end)
			if (ALIGN(max_t(u64, start, blk->start), block) <
			    ALIGN_DOWN(min_t(u64, end, blk->end), block))
				nr++;
	}

	return nr;
}

/*
 * All whole memory blocks of RAM in one range of the firmware's. RAM that isn't
 * in whole blocks can't be hotplugged, nor may it stay: a device node has no
 * other memory. It is left unused.
 */
static void __init claim_blocks(const char *text, int nid, u64 start, u64 end)
{
	u64 block = memory_block_size_bytes();
	u64 i, lo, hi, cut = 0;
	phys_addr_t mem_start, mem_end;

again:
	for_each_mem_range(i, &mem_start, &mem_end) {
		lo = max_t(u64, start, mem_start);
		hi = min_t(u64, end, mem_end);
		if (lo >= hi)
			continue;

		cut += hi - lo;
		memblock_remove(lo, hi - lo);
		arch_device_coherent_claim(lo, hi - lo, hi - lo);
		lo = ALIGN(lo, block);
		hi = ALIGN_DOWN(hi, block);
		if (lo < hi && claim_range(text, nid, lo, hi - lo))
			cut -= hi - lo;
		/* The loop doesn't survive what was done to its list. */
		goto again;
	}
	if (cut)
		pr_info("'%s': %llu KB outside whole memory blocks of %llu MB stay unused\n",
			text, cut >> 10, block >> 20);
}

/* A node that has no memory yet */
static void __init declare_node(const char *text, int nid)
{
	if (!node_isset(nid, numa_nodes_parsed))
		refuse(text, "the firmware doesn't know node %d, spare:N sets ids aside",
		       nid);
	else if (node_isset(nid, empty_nodes))
		refuse(text, "node %d is declared already", nid);
	else
		node_set(nid, empty_nodes);
}

/* A device that the firmware describes as a node, if it is nothing but that */
static void __init declare_initiators(const struct numa_meminfo *mi)
{
	bool found = false;
	int nid;

	for_each_node_state(nid, N_GENERIC_INITIATOR) {
		if (node_isset(nid, device_coherent_cpu_nodes) ||
		    node_ram(mi, nid, false) || !nid)
			continue;
		found = true;
		node_set(nid, empty_nodes);
	}
	if (!found)
		refuse("gi", "the firmware describes no generic initiator without CPUs and memory");
}

static void __init create_spare_nodes(void)
{
	int i, nid;

	for (i = 0; i < nr_spare_nodes; i++) {
		nid = create_node("spare");
		if (nid == NUMA_NO_NODE)
			break;
		if (declare_spare)
			node_set(nid, empty_nodes);
	}
}

static void __init claim_request_node(struct request *req,
				      const struct numa_meminfo *mi)
{
	int i, nr;
	u64 ram;

	if (numa_off) {
		refuse(req->text, "numa=off");
		return;
	}
	if (node_isset(req->nid, claimed_nodes)) {
		refuse(req->text, "node %d is a device node already", req->nid);
		return;
	}
	if (!node_claimable(req->text, req->nid))
		return;
	ram = node_ram(mi, req->nid, false);
	if (!ram) {
		declare_node(req->text, req->nid);
		return;
	}
	if (ram < memory_block_size_bytes()) {
		refuse(req->text, "node %d has less than a memory block of %lu MB",
		       req->nid, memory_block_size_bytes() >> 20);
		return;
	}
	if (!node_ram(mi, req->nid, true)) {
		refuse(req->text, "node %d is the last one with system memory",
		       req->nid);
		return;
	}

	/* Before anything is taken out of memblock (invariant 8) */
	nr = count_pieces(mi, req->nid);
	if (!nr) {
		refuse(req->text, "no whole memory block of %lu MB in it",
		       memory_block_size_bytes() >> 20);
		return;
	}
	if (nr_claims + nr > MAX_CLAIMS) {
		refuse(req->text, "more than %d ranges", MAX_CLAIMS);
		return;
	}
	if (node_in_use(req, mi))
		return;

	for (i = 0; i < mi->nr_blks; i++)
		if (mi->blk[i].nid == req->nid)
			claim_blocks(req->text, req->nid, mi->blk[i].start,
				     mi->blk[i].end);
}

/* One range that the firmware marks as specific-purpose */
static void __init claim_specific_purpose(const struct numa_meminfo *mi,
					  u64 start, u64 size)
{
	u64 block = memory_block_size_bytes();
	u64 end = ALIGN_DOWN(start + size, block);
	int i, nid = NUMA_NO_NODE;

	start = ALIGN(start, block);
	if (start >= end) {
		refuse("sp", "no whole memory block of %llu MB in the range that ends at %#llx",
		       block >> 20, end);
		return;
	}

	for (i = 0; i < mi->nr_blks; i++)
		if (start >= mi->blk[i].start && start < mi->blk[i].end)
			nid = mi->blk[i].nid;

	/* On a system node's address range it becomes a node of its own. */
	if (nid <= 0 || node_isset(nid, device_coherent_cpu_nodes) ||
	    node_ram(mi, nid, false))
		nid = create_node("sp");
	if (nid != NUMA_NO_NODE)
		claim_range("sp", nid, start, end - start);
}

/*
 * The table is as large as the firmware's nodes need. Make room for the nodes
 * that were created here.
 */
static void __init grow_distances(void)
{
	int i, j, cnt = numa_distance_cnt;
	u8 *old;

	if (!cnt || find_last_bit(created_nodes.bits, MAX_NUMNODES) < cnt)
		return;

	old = memblock_alloc(cnt * cnt, SMP_CACHE_BYTES);
	if (!old)
		return;

	for (i = 0; i < cnt; i++)
		for (j = 0; j < cnt; j++)
			old[i * cnt + j] = node_distance(i, j);

	numa_reset_distance();
	for (i = 0; i < cnt; i++)
		for (j = 0; j < cnt; j++)
			numa_set_distance(i, j, old[i * cnt + j]);
	memblock_free(old, cnt * cnt);
}

static void __init set_distances(void)
{
	int i, j;

	if (nodes_empty(created_nodes))
		return;

	grow_distances();
	for_each_node_mask(i, created_nodes) {
		for_each_node_mask(j, numa_nodes_parsed) {
			if (i == j)
				continue;
			numa_set_distance(i, j, created_distance);
			numa_set_distance(j, i, created_distance);
		}
	}
}

/**
 * __device_coherent_numa_init - decide what becomes device memory
 * @mi: the firmware's nodes, before they are trimmed to the memory there is
 *
 * What is claimed leaves memblock; what is refused is said by name, and stays
 * what it was (invariant 8).
 *
 * Context: Boot, as soon as the nodes are known. May be called again when the
 * firmware's description turns out unusable.
 */
void __init __device_coherent_numa_init(struct numa_meminfo *mi)
{
	static bool done __initdata;
	u64 start = 0, size;
	bool found = false;
	int i;

	if (done) {
		nodes_or(numa_nodes_parsed, numa_nodes_parsed, claimed_nodes);
		nodes_or(numa_nodes_parsed, numa_nodes_parsed, created_nodes);
		nodes_or(numa_nodes_parsed, numa_nodes_parsed, empty_nodes);
		return;
	}
	done = true;
	arch_device_coherent_cpu_nodes(&device_coherent_cpu_nodes);

	/* Ranges first: what they take isn't a node's any more. */
	for (i = 0; i < nr_requests; i++)
		if (!requests[i].refused && requests[i].type == REQUEST_RANGE)
			claim_request_range(&requests[i], mi);
	for (i = 0; i < nr_requests; i++)
		if (!requests[i].refused && requests[i].type == REQUEST_NODE)
			claim_request_node(&requests[i], mi);

	if (want_specific_purpose && !numa_off && !is_kdump_kernel()) {
		while (arch_device_coherent_next_sp(&start, &size)) {
			found = true;
			claim_specific_purpose(mi, start, size);
			start += size;
		}
		if (!found)
			refuse("sp", "the firmware marks no memory as specific-purpose");
	}
	if (want_specific_purpose && numa_off)
		refuse("sp", "numa=off");

	if (want_initiators && numa_off)
		refuse("gi", "numa=off");
	else if (want_initiators && !is_kdump_kernel())
		declare_initiators(mi);
	if (nr_spare_nodes && numa_off)
		refuse("spare", "numa=off");
	else
		create_spare_nodes();

	set_distances();
}

/*
 * Before user space, and before dax_hmem looks for memory that nobody claimed.
 * After kcompactd_init(), which is linked before and starts a thread for each node
 * that has memory by then.
 */
static int __init device_coherent_init(void)
{
	nodemask_t node;
	int i, nid;

	/* Before anybody can see a device */
	if (want_restricted)
		device_coherent_restrict(true);
	/* One by one: it says of each that can't be. */
	for_each_node_mask(nid, empty_nodes) {
		node = nodemask_of_node(nid);
		device_coherent_declare(&node);
	}
	for (i = 0; i < nr_claims; i++)
		device_coherent_add(claims[i].nid, claims[i].start,
				    claims[i].size, boot_flags);

	return 0;
}
subsys_initcall(device_coherent_init);
