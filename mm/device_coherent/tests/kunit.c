// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of ZONE_DEVICE_COHERENT: what kernel code with a device node's id
 * in its hand gets. Proves invariants 1 and 2 from inside; see
 * tools/testing/selftests/devmem for the view of user space.
 *
 * Without a device node all but the tests that need none are skipped.
 */
#include <kunit/test.h>
#include <linux/device_coherent_hooks.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>

static int device_node(struct kunit *test)
{
	int nid = first_node(node_states[N_DEVICE_COHERENT]);

	if (nid >= MAX_NUMNODES || !node_present_pages(nid))
		kunit_skip(test, "no device node with memory");

	return nid;
}

static struct zone *coherent_zone(int nid)
{
	return &NODE_DATA(nid)->node_zones[ZONE_DEVICE_COHERENT];
}

static void expect_system_page(struct kunit *test, struct page *page)
{
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_FALSE(test, page_in_zone_device_coherent(page));
	KUNIT_EXPECT_FALSE(test, node_is_device_coherent(page_to_nid(page)));
}

/* Invariant 1: every list of every node, entry by entry */
static void zonelists_hold_no_device_memory(struct kunit *test)
{
	int nid, list;

	for_each_online_node(nid) {
		for (list = ZONELIST_FALLBACK; list <= ZONELIST_NONE; list++) {
			struct zoneref *z =
				NODE_DATA(nid)->gfp_zonelists[list]->_zonerefs;

			for (; z->zone; z++) {
				KUNIT_EXPECT_NE(test, list, ZONELIST_NONE);
				KUNIT_EXPECT_FALSE(test, zone_is_device_coherent(z->zone));
				KUNIT_EXPECT_EQ(test, z->zone_idx,
						zone_idx(z->zone));
			}
		}
	}
}

/* Invariant 2: a device list is the node's own zone, or empty */
static void device_list_is_its_own_zone(struct kunit *test)
{
	int nid;

	for_each_online_node(nid) {
		struct zonelist **lists = NODE_DATA(nid)->gfp_zonelists;
		struct zoneref *z = lists[ZONELIST_DEVICE_COHERENT]->_zonerefs;

		if (populated_zone(coherent_zone(nid))) {
			KUNIT_EXPECT_TRUE(test, node_is_device_coherent(nid));
			KUNIT_EXPECT_PTR_EQ(test, z->zone, coherent_zone(nid));
			z++;
		}
		KUNIT_EXPECT_NULL(test, z->zone);
	}
}

/* A device node has no other memory, and the zone no other node */
static void device_node_has_one_zone(struct kunit *test)
{
	int nid, zid;

	for_each_online_node(nid) {
		for (zid = 0; zid < MAX_NR_ZONES; zid++) {
			if (!populated_zone(&NODE_DATA(nid)->node_zones[zid]))
				continue;
			KUNIT_EXPECT_EQ(test, node_is_device_coherent(nid),
					zid == ZONE_DEVICE_COHERENT);
		}
	}
}

static void gfp_bits_select_the_list(struct kunit *test)
{
	gfp_t raw = (__force gfp_t)___GFP_DEVICE_COHERENT;

	KUNIT_EXPECT_EQ(test, gfp_zonelist(GFP_KERNEL), ZONELIST_FALLBACK);
	KUNIT_EXPECT_EQ(test, gfp_zonelist(~__GFP_DEVICE_COHERENT),
			ZONELIST_FALLBACK);
	KUNIT_EXPECT_EQ(test, gfp_zonelist(GFP_KERNEL | __GFP_THISNODE),
			ZONELIST_NOFALLBACK);
	KUNIT_EXPECT_EQ(test, gfp_zonelist(GFP_KERNEL | raw), ZONELIST_NONE);
	KUNIT_EXPECT_EQ(test, gfp_zonelist(GFP_KERNEL | __GFP_DEVICE_COHERENT),
			ZONELIST_DEVICE_COHERENT);
	/* The second lock: no mask yields the zone. */
	KUNIT_EXPECT_LT(test, gfp_zone(GFP_HIGHUSER_MOVABLE |
				       __GFP_DEVICE_COHERENT),
			ZONE_DEVICE_COHERENT);
}

static const gfp_t usual_masks[] = {
	GFP_KERNEL,
	GFP_ATOMIC,
	GFP_NOWAIT,
	GFP_USER,
	GFP_HIGHUSER_MOVABLE,
	GFP_KERNEL | __GFP_MEMALLOC,
	GFP_KERNEL | __GFP_COMP,
};

static void alloc_pages_node_falls_back(struct kunit *test)
{
	int i, nid = device_node(test);

	for (i = 0; i < ARRAY_SIZE(usual_masks); i++) {
		struct page *page = alloc_pages_node(nid, usual_masks[i], 0);

		expect_system_page(test, page);
		__free_page(page);
	}
}

static void alloc_pages_thisnode_fails(struct kunit *test)
{
	int i, nid = device_node(test);

	for (i = 0; i < ARRAY_SIZE(usual_masks); i++) {
		struct page *page = alloc_pages_node(nid, usual_masks[i] |
						     __GFP_THISNODE |
						     __GFP_NOWARN, 0);

		KUNIT_EXPECT_NULL(test, page);
		if (page)
			__free_page(page);
	}
}

static void bulk_allocation_falls_back(struct kunit *test)
{
	struct page *pages[32] = {};
	int i, n, nid = device_node(test);

	n = alloc_pages_bulk_array_node(GFP_KERNEL, nid, ARRAY_SIZE(pages),
					pages);
	KUNIT_EXPECT_GT(test, n, 0);
	for (i = 0; i < n; i++) {
		expect_system_page(test, pages[i]);
		__free_page(pages[i]);
	}
}

static void kmalloc_node_is_system_memory(struct kunit *test)
{
	static const size_t sizes[] = { 8, 192, 4096, 8192, SZ_64K, SZ_1M };
	int i, nid = device_node(test);

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *object = kmalloc_node(sizes[i], GFP_KERNEL, nid);

		KUNIT_ASSERT_NOT_NULL(test, object);
		expect_system_page(test, virt_to_page(object));
		kfree(object);

		object = kmalloc_node(sizes[i], GFP_KERNEL | __GFP_THISNODE |
				      __GFP_NOWARN, nid);
		if (object)
			expect_system_page(test, virt_to_page(object));
		kfree(object);
	}
}

static void vmalloc_node_is_system_memory(struct kunit *test)
{
	int nid = device_node(test);
	void *addr = vmalloc_node(SZ_4M, nid);
	unsigned long offset;

	KUNIT_ASSERT_NOT_NULL(test, addr);
	for (offset = 0; offset < SZ_4M; offset += PAGE_SIZE)
		expect_system_page(test, vmalloc_to_page(addr + offset));
	vfree(addr);
}

static void percpu_is_system_memory(struct kunit *test)
{
	void __percpu *addr = __alloc_percpu(SZ_16K, 8);
	int cpu;

	KUNIT_ASSERT_TRUE(test, !!addr);
	for_each_possible_cpu(cpu) {
		void *p = per_cpu_ptr(addr, cpu);

		expect_system_page(test, is_vmalloc_addr(p) ?
				   vmalloc_to_page(p) : virt_to_page(p));
	}
	free_percpu(addr);
}

/* Positive control of all of the above: asked for, it is device memory. */
static void asked_for_is_device_memory(struct kunit *test)
{
	int order, nid = device_node(test);

	for (order = 0; order <= 9; order += 3) {
		struct page *page = device_coherent_alloc_pages(nid, GFP_KERNEL,
								order);
		struct folio *folio;

		KUNIT_ASSERT_NOT_NULL(test, page);
		KUNIT_EXPECT_EQ(test, page_to_nid(page), nid);
		KUNIT_EXPECT_TRUE(test, page_in_zone_device_coherent(page));
		device_coherent_free_pages(page, order);

		folio = device_coherent_alloc_folio(nid, GFP_HIGHUSER_MOVABLE |
						    __GFP_ZERO, order);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		KUNIT_EXPECT_EQ(test, folio_order(folio), order);
		KUNIT_EXPECT_TRUE(test, folio_in_zone_device_coherent(folio));
		KUNIT_EXPECT_NULL(test, memchr_inv(folio_address(folio), 0,
						   folio_size(folio)));
		folio_put(folio);
	}
}

static void flag_needs_a_device_node(struct kunit *test)
{
	gfp_t gfp = GFP_KERNEL | __GFP_DEVICE_COHERENT;
	int nid;

	KUNIT_EXPECT_NULL(test, alloc_pages(gfp, 0));
	KUNIT_EXPECT_NULL(test, device_coherent_alloc_pages(NUMA_NO_NODE,
							    GFP_KERNEL, 0));
	for_each_online_node(nid) {
		if (node_is_device_coherent(nid))
			continue;
		KUNIT_EXPECT_NULL(test, alloc_pages_node(nid, gfp, 0));
		KUNIT_EXPECT_NULL(test, device_coherent_alloc_pages(nid, GFP_KERNEL, 0));
		KUNIT_EXPECT_NULL(test, device_coherent_alloc_folio(nid, GFP_KERNEL, 0));
	}
}

/* Invariant 2: with more than one device, each serves its own requests. */
static void devices_do_not_stand_in(struct kunit *test)
{
	int nid, other;

	device_node(test);
	for_each_node_state(nid, N_DEVICE_COHERENT) {
		struct page *page = device_coherent_alloc_pages(nid, GFP_KERNEL,
								0);

		if (!page)
			continue;
		for_each_node_state(other, N_DEVICE_COHERENT)
			KUNIT_EXPECT_EQ(test, page_to_nid(page) == other,
					nid == other);
		device_coherent_free_pages(page, 0);
	}
}

/* What MemFree counts is what the system's zones have. */
static void free_pages_are_system_memory(struct kunit *test)
{
	unsigned long before, after;
	struct page *page;

	page = device_coherent_alloc_pages(device_node(test), GFP_KERNEL, 9);
	KUNIT_ASSERT_NOT_NULL(test, page);
	before = device_coherent_zone_state(NR_FREE_PAGES);
	device_coherent_free_pages(page, 9);
	after = device_coherent_zone_state(NR_FREE_PAGES);
	KUNIT_EXPECT_GE(test, after, before + 256);
}

static struct kunit_case device_coherent_cases[] = {
	KUNIT_CASE(zonelists_hold_no_device_memory),
	KUNIT_CASE(device_list_is_its_own_zone),
	KUNIT_CASE(device_node_has_one_zone),
	KUNIT_CASE(gfp_bits_select_the_list),
	KUNIT_CASE(alloc_pages_node_falls_back),
	KUNIT_CASE(alloc_pages_thisnode_fails),
	KUNIT_CASE(bulk_allocation_falls_back),
	KUNIT_CASE(kmalloc_node_is_system_memory),
	KUNIT_CASE(vmalloc_node_is_system_memory),
	KUNIT_CASE(percpu_is_system_memory),
	KUNIT_CASE(asked_for_is_device_memory),
	KUNIT_CASE(flag_needs_a_device_node),
	KUNIT_CASE(devices_do_not_stand_in),
	KUNIT_CASE(free_pages_are_system_memory),
	{}
};

static struct kunit_suite device_coherent_suite = {
	.name = "device_coherent",
	.test_cases = device_coherent_cases,
};

kunit_test_suite(device_coherent_suite);

MODULE_DESCRIPTION("KUnit suite of ZONE_DEVICE_COHERENT");
MODULE_LICENSE("GPL");
