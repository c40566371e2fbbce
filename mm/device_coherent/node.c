// SPDX-License-Identifier: GPL-2.0
/*
 * Device nodes: which there are, and how they come and go.
 *
 * A device node is a node in N_DEVICE_COHERENT. It has no CPU, and all of its
 * memory is in its ZONE_DEVICE_COHERENT, whoever adds it or brings it online
 * (invariant 7). The first memory block that comes to a node which was declared
 * (declare.c) makes it one, and it is one until the last block has gone, whoever
 * brings or takes them.
 *
 * N_DEVICE_COHERENT follows the memory and changes under the device hotplug lock.
 * device_coherent_lock, which is taken before that one, protects the ranges that
 * drivers registered and the order in which others hear of nodes.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/delay.h>
#include <linux/device.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/ioport.h>
#include <linux/list.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mutex.h>
#include <linux/node.h>
#include <linux/notifier.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "internal.h"

#define DEVICE_COHERENT_RES_NAME	"System RAM (device_coherent)"

/* On while there are device nodes */
DEFINE_STATIC_KEY_FALSE(device_coherent_key);

/* Every node that is or was a device node; device hotplug lock to change it */
nodemask_t device_coherent_ids;

static int find_first_section(struct memory_block *mem, void *arg)
{
	unsigned long *first = arg;

	/* first[1] is the node's id */
	if (mem->nid == first[1])
		first[0] = min(first[0], mem->start_section_nr);

	return 0;
}

/*
 * What a device is known by where the numbers of nodes change. The zone doesn't know
 * of blocks that are offline.
 */
static ssize_t start_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	unsigned long first[2] = { ULONG_MAX, dev->id };

	for_each_memory_block(first, find_first_section);
	if (first[0] == ULONG_MAX)
		return -ENODEV;

	return sysfs_emit(buf, "%#llx\n",
			  (u64)PFN_PHYS(section_nr_to_pfn(first[0])));
}
static DEVICE_ATTR_RO(start);

static struct attribute *device_coherent_attrs[] = {
	&dev_attr_make_room.attr,
	&dev_attr_start.attr,
	NULL,
};

/* In /sys/devices/system/node/node<nid>/device_coherent/ */
static const struct attribute_group device_coherent_group = {
	.name = "device_coherent",
	.attrs = device_coherent_attrs,
};

/**
 * struct device_coherent_range - registered memory of a device node
 * @list: on device_coherent_ranges
 * @start: physical address
 * @size: bytes
 * @there: so much of it is, the rest couldn't be added
 * @nid: the device node
 */
struct device_coherent_range {
	struct list_head list;
	u64 start;
	u64 size;
	u64 there;
	int nid;
};

/*
 * Protects device_coherent_ranges and what is told to others of the nodes.
 * Who is in N_DEVICE_COHERENT changes under the device hotplug lock, which is
 * taken inside this one, since it follows the memory, whoever adds or removes
 * it.
 */
static DEFINE_MUTEX(device_coherent_lock);
static LIST_HEAD(device_coherent_ranges);

/* Nodes whose folder is in sysfs; device hotplug lock */
static nodemask_t nodes_with_folder;

/* Nodes that notifiers were told of; device_coherent_lock */
static nodemask_t announced_nodes;

/* Nodes that went since, though they may be back; device hotplug lock */
static nodemask_t gone_nodes;

static BLOCKING_NOTIFIER_HEAD(device_coherent_notifiers);

/**
 * device_coherent_register_notifier - hear of device nodes that come and go
 * @nb: called in process context with a device_coherent_event and a pointer to
 *	the node id, an int. It may sleep and allocate, but neither add nor
 *	remove device memory. What it returns doesn't keep anything from
 *	happening.
 *
 * Look for nodes that are there already with for_each_device_coherent_node().
 *
 * Context: Process context, sleeps.
 * Return: 0; -EEXIST if @nb is registered already.
 */
int device_coherent_register_notifier(struct notifier_block *nb)
{
	return blocking_notifier_chain_register(&device_coherent_notifiers, nb);
}
EXPORT_SYMBOL_GPL(device_coherent_register_notifier);

/**
 * device_coherent_unregister_notifier - the end of that
 * @nb: what was registered. It isn't running any more when this returns.
 *
 * Context: Process context, sleeps.
 * Return: 0; -ENOENT if @nb wasn't registered.
 */
int device_coherent_unregister_notifier(struct notifier_block *nb)
{
	return blocking_notifier_chain_unregister(&device_coherent_notifiers,
						  nb);
}
EXPORT_SYMBOL_GPL(device_coherent_unregister_notifier);

/*
 * In node<nid>, which comes and goes with the node's memory blocks, and all
 * that is in it with it. The caller holds the hotplug lock.
 */
static void create_folder(int nid)
{
	if (node_isset(nid, nodes_with_folder) || !node_devices[nid])
		return;
	if (sysfs_create_group(&node_devices[nid]->dev.kobj,
			       &device_coherent_group))
		pr_warn("node %d: no device_coherent folder in sysfs\n", nid);
	else
		node_set(nid, nodes_with_folder);
}

static void tell(enum device_coherent_event event, int nid)
{
	blocking_notifier_call_chain(&device_coherent_notifiers, event, &nid);
}

/*
 * Tell those who want to know what has become of the nodes: of one that has gone
 * and come again, both.
 */
static void device_coherent_announce(void)
{
	bool now, gone;
	int nid;

	lockdep_assert_held(&device_coherent_lock);

	for_each_node(nid) {
		lock_device_hotplug();
		now = node_is_device_coherent(nid);
		gone = node_isset(nid, gone_nodes);
		node_clear(nid, gone_nodes);
		unlock_device_hotplug();

		if ((gone || !now) && node_isset(nid, announced_nodes)) {
			node_clear(nid, announced_nodes);
			tell(DEVICE_COHERENT_NODE_REMOVED, nid);
		}
		if (now && !node_test_and_set(nid, announced_nodes))
			tell(DEVICE_COHERENT_NODE_ADDED, nid);
	}
}

static void announce_work_fn(struct work_struct *work)
{
	/* Whoever has it may add memory for a minute: don't keep the worker. */
	if (!mutex_trylock(&device_coherent_lock)) {
		schedule_delayed_work(to_delayed_work(work), HZ / 10);
		return;
	}
	device_coherent_announce();
	mutex_unlock(&device_coherent_lock);
}

static DECLARE_DELAYED_WORK(announce_work, announce_work_fn);

/**
 * __device_coherent_memory_added - there are memory blocks for a node
 * @nid: the node
 * @res: their range
 *
 * None of them is online. From here on the hotplug code puts what it brings online
 * on this node into the zone (invariant 7), whoever added it. And nobody takes the
 * range for memory of the system who looks at resources only, as kexec does when it
 * looks for a place (invariant 1).
 *
 * Context: Process context, with the device hotplug lock and that of mem_hotplug_begin().
 */
void __device_coherent_memory_added(int nid, struct resource *res)
{
	bool is_device = node_is_device_coherent(nid);

	if (!is_device && !device_coherent_declared(nid)) {
		/* It is the system's now, and no device that has gone (invariant 2). */
		node_clear(nid, device_coherent_ids);
		return;
	}

	if (!strcmp(res->name, "System RAM"))
		res->name = DEVICE_COHERENT_RES_NAME;
	res->flags |= IORESOURCE_SYSRAM_DRIVER_MANAGED;
	if (is_device)
		return;

	device_coherent_reset_room(nid);
	node_set(nid, device_coherent_ids);
	node_set_state(nid, N_DEVICE_COHERENT);
	static_branch_inc_cpuslocked(&device_coherent_key);
	create_folder(nid);
	schedule_delayed_work(&announce_work, 0);
}

/**
 * __device_coherent_memory_removed - memory blocks of a device node are gone
 * @nid: the node
 *
 * It is a device node as long as it has others. Blocks that are offline count: they
 * return to the zone. Those who hear of nodes hear of it later: here they could wait
 * for who waits for the hotplug lock.
 *
 * Context: Process context, with the device hotplug lock.
 */
void __device_coherent_memory_removed(int nid)
{
	if (device_coherent_node_has_blocks(nid))
		return;

	device_coherent_reset_room(nid);
	/* Still there if the node has something that is no memory. */
	if (node_isset(nid, nodes_with_folder) && node_devices[nid])
		sysfs_remove_group(&node_devices[nid]->dev.kobj,
				   &device_coherent_group);
	node_clear(nid, nodes_with_folder);
	static_branch_dec(&device_coherent_key);
	node_clear_state(nid, N_DEVICE_COHERENT);
	node_set(nid, gone_nodes);
	schedule_delayed_work(&announce_work, 0);
}

static int device_coherent_check_range(u64 start, u64 size)
{
	u64 block = memory_block_size_bytes();

	if (!size || start + size < start || !IS_ALIGNED(start | size, block)) {
		pr_err("[mem %#018llx, size %#llx]: not in whole memory blocks of %llu MB\n",
		       start, size, block >> 20);
		return -EINVAL;
	}

	if (!mhp_range_allowed(start, size, true)) {
		pr_err("[mem %#018llx, size %#llx]: beyond what this machine can map\n",
		       start, size);
		return -ERANGE;
	}

	return 0;
}

static int device_coherent_online_block(struct memory_block *mem, void *arg)
{
	int rc;

	mem->online_type = MMOP_ONLINE;
	rc = device_online(&mem->dev);

	return rc < 0 ? rc : 0;
}

/*
 * Whatever the policy for hotplugged memory in general, this memory was asked
 * for: bring online what add_memory_driver_managed() left offline.
 */
static int device_coherent_online(u64 start, u64 size)
{
	int rc;

	lock_device_hotplug();
	rc = walk_memory_blocks(start, size, NULL, device_coherent_online_block);
	unlock_device_hotplug();

	return rc;
}

/* How the memory of a node is to be added */
static mhp_t device_coherent_mhp_flags(int nid, unsigned int flags)
{
	if (!(flags & DEVICE_COHERENT_MEMMAP_ON_DEVICE))
		return MHP_MERGE_RESOURCE;
	if (mhp_supports_memmap_on_memory())
		return MHP_MERGE_RESOURCE | MHP_MEMMAP_ON_MEMORY;

	pr_warn("node %d: page structures go to system memory; boot with memory_hotplug.memmap_on_memory=1 to have them on the device\n",
		nid);

	return MHP_MERGE_RESOURCE;
}

/*
 * Asked for the whole range, and again for each piece. When __add_pages() runs out
 * of memory on the way, it leaves the sections that it had, as on any hotplugged
 * memory: the range can't be added again before the next boot.
 */
static int device_coherent_check_memmap(int nid, u64 size, mhp_t mhp_flags)
{
	const u64 need = PHYS_PFN(size) * sizeof(struct page);
	const u64 available = (u64)si_mem_available() << PAGE_SHIFT;

	if (mhp_flags & MHP_MEMMAP_ON_MEMORY || need <= available)
		return 0;

	pr_err("node %d: %llu MB of page structures don't fit into the %llu MB of system memory that are available\n",
	       nid, need >> 20, available >> 20);

	return -ENOMEM;
}

static int device_coherent_hotadd(int nid, u64 start, u64 size, mhp_t mhp_flags)
{
	int rc;

	rc = device_coherent_check_memmap(nid, size, mhp_flags);
	if (rc)
		return rc;
	rc = add_memory_driver_managed(nid, start, size,
				       DEVICE_COHERENT_RES_NAME, mhp_flags);
	if (rc)
		return rc;

	rc = device_coherent_online(start, size);
	if (rc && offline_and_remove_memory(start, size)) {
		/* Part of it is in use already, so it is the node's for good. */
		pr_warn("node %d: not all of its memory came online: %pe\n",
			nid, ERR_PTR(rc));
		rc = 0;
	}

	return rc;
}

/* Pieces of a range begin and end at multiples of it */
static u64 piece_size(void)
{
	return max_t(u64, memory_block_size_bytes(), SZ_2G);
}

/*
 * The rest couldn't be added: give back what is there, piece by piece from the end.
 * By a worker, as a signal would end it.
 */
struct take_back {
	struct work_struct work;
	struct device_coherent_range *range;
	int rc;
};

static void take_back_fn(struct work_struct *work)
{
	struct take_back *back = container_of(work, struct take_back, work);
	struct device_coherent_range *range = back->range;
	u64 addr, end;

	while (range->there) {
		end = range->start + range->there;
		addr = max(range->start, ALIGN_DOWN(end - 1, piece_size()));
		back->rc = offline_and_remove_memory(addr, end - addr);
		if (back->rc)
			break;
		range->there = addr - range->start;
		msleep(20);
	}
}

static void take_back(struct device_coherent_range *range)
{
	struct take_back back = { .range = range };

	INIT_WORK_ONSTACK(&back.work, take_back_fn);
	queue_work(system_unbound_wq, &back.work);
	flush_work(&back.work);
	destroy_work_on_stack(&back.work);
	if (back.rc)
		pr_warn("node %d: [mem %#018llx, size %#llx] can't be taken back: %pe\n",
			range->nid, range->start, range->there,
			ERR_PTR(back.rc));
}

/*
 * In pieces, so that whoever else wants the hotplug lock has it in between. For
 * sysfs that is who tries at the right moment, each 5 ms: give it one. The pieces end
 * where a page of the direct map does: what is taken back if the next can't be added
 * is whole pages of it.
 */
static int device_coherent_hotadd_all(struct device_coherent_range *range,
				      mhp_t mhp_flags)
{
	u64 end = range->start + range->size;
	u64 next, addr;
	int rc;

	rc = device_coherent_check_memmap(range->nid, range->size, mhp_flags);
	if (rc)
		return rc;

	for (addr = range->start; addr < end; addr = next) {
		next = min(end, ALIGN(addr + 1, piece_size()));
		rc = device_coherent_hotadd(range->nid, addr, next - addr,
					    mhp_flags);
		if (rc) {
			take_back(range);
			return rc;
		}
		range->there = next - range->start;
		if (next < end)
			msleep(20);
	}

	return 0;
}

/**
 * device_coherent_add - make a range of memory a device node's
 * @nid: the node: a possible one with neither CPUs nor memory, or one that is
 *	 a device node already. Node ids that the firmware doesn't describe are
 *	 set aside by the boot parameter "device_coherent=spare:<n>".
 * @start: physical address, a multiple of memory_block_size_bytes()
 * @size: in bytes, a multiple of memory_block_size_bytes()
 * @flags: DEVICE_COHERENT_MEMMAP_ON_DEVICE puts the page structures into the
 *	   range itself (one 64th of it on x86-64) if the kernel was booted
 *	   with memory_hotplug.memmap_on_memory
 *
 * The range is online when this returns, whatever the policy for hotplugged
 * memory in general. It must not be known to the kernel as memory before. When a
 * part can't be added, what was added before is taken back. If that can't be, since
 * somebody has pages of it that can't be moved, it stays, which the log says, and
 * device_coherent_remove() of the whole range takes it back.
 *
 * Context: Process context. Sleeps, takes the hotplug locks. At boot, not before
 * the initcalls of subsystems: see boot.c.
 * Return: 0; -EINVAL for flags, a node or a range that can't be; -ERANGE for
 * one that the machine can't map; -EBUSY for a node that has CPUs or other
 * memory; -EEXIST for a range that is something already; -ENOMEM, also if the page
 * structures don't fit into system memory; -EINTR if
 * the task was killed while others added or removed memory of devices.
 */
int device_coherent_add(int nid, u64 start, u64 size, unsigned int flags)
{
	struct device_coherent_range *range;
	int rc;

	if (flags & ~DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		return -EINVAL;

	range = kzalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return -ENOMEM;
	range->nid = nid;
	range->start = start;
	range->size = size;

	rc = mutex_lock_killable(&device_coherent_lock);
	if (rc)
		goto out_free;
	rc = device_coherent_check_range(start, size);
	if (rc)
		goto out;
	rc = device_coherent_begin_add(nid);
	if (rc)
		goto out;

	rc = device_coherent_hotadd_all(range,
					device_coherent_mhp_flags(nid, flags));
	device_coherent_end_add();
	if (rc)
		pr_err("node %d: adding [mem %#018llx-%#018llx] failed: %pe\n",
		       nid, start, start + size - 1, ERR_PTR(rc));
	else
		pr_info("node %d: %llu MB at [mem %#018llx-%#018llx]\n", nid,
			size >> 20, start, start + size - 1);
	if (range->there) {
		list_add(&range->list, &device_coherent_ranges);
		range = NULL;
	}
	device_coherent_announce();
out:
	mutex_unlock(&device_coherent_lock);
out_free:
	kfree(range);

	return rc;
}
EXPORT_SYMBOL_GPL(device_coherent_add);

/**
 * __device_coherent_owns - is this address in a device node's memory?
 * @addr: physical address
 *
 * For those who pick memory by its address and may not look at the page, which
 * can be offline.
 *
 * Context: Process context, sleeps.
 * Return: true if the memory block at @addr is a device node's, whoever added it.
 */
bool __device_coherent_owns(u64 addr)
{
	struct memory_block *mem;
	bool owns = false;

	lock_device_hotplug();
	mem = find_memory_block(pfn_to_section_nr(PHYS_PFN(addr)));
	if (mem) {
		owns = node_is_device_coherent(mem->nid);
		put_device(&mem->dev);
	}
	unlock_device_hotplug();

	return owns;
}

static struct device_coherent_range *
device_coherent_find(int nid, u64 start, u64 size)
{
	struct device_coherent_range *range;

	list_for_each_entry(range, &device_coherent_ranges, list)
		if (range->nid == nid && range->start == start &&
		    range->size == size)
			return range;

	return NULL;
}

/**
 * device_coherent_remove - take a range of memory from a device node
 * @nid: as for device_coherent_add()
 * @start: as for device_coherent_add()
 * @size: as for device_coherent_add()
 *
 * Movable pages in the range are moved to system memory first, which takes its
 * time, with the hotplug lock held: others that add or remove memory wait. Memory that a
 * driver holds, and pages pinned for long, keep the range from being removed.
 * With its last memory, whoever added it, the node ceases to be a device node.
 *
 * Context: Process context. Sleeps, takes the hotplug locks; tries until a
 * signal interrupts it.
 * Return: 0; -ENOENT if no such range was added; -EBUSY or -EINTR if it is in
 * use, and then all of it is online as before.
 */
int device_coherent_remove(int nid, u64 start, u64 size)
{
	struct device_coherent_range *range;
	int rc;

	if (mutex_lock_killable(&device_coherent_lock))
		return -EINTR;
	rc = -ENOENT;
	range = device_coherent_find(nid, start, size);
	if (!range)
		goto out;

	rc = offline_and_remove_memory(start, range->there);
	if (rc)
		goto out;

	list_del(&range->list);
	kfree(range);
	pr_info("node %d: [mem %#018llx-%#018llx] removed\n", nid, start,
		start + size - 1);
	device_coherent_announce();
out:
	mutex_unlock(&device_coherent_lock);

	return rc;
}
EXPORT_SYMBOL_GPL(device_coherent_remove);
