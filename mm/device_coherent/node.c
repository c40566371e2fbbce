// SPDX-License-Identifier: GPL-2.0
/*
 * Device nodes: which there are, and how they come and go.
 *
 * A device node is a node in N_DEVICE_COHERENT. It has no CPU, and all of its
 * memory is in its ZONE_DEVICE_COHERENT, whoever adds it or brings it online
 * (invariant 7). It is one as long as it has memory, online or not, or as long as
 * somebody who adds some has declared it.
 *
 * N_DEVICE_COHERENT follows the memory and changes under the device hotplug lock.
 * device_coherent_lock, which is taken before that one, protects the ranges that
 * drivers registered and the order in which others hear of nodes.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/device.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/list.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mutex.h>
#include <linux/node.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/workqueue.h>

#include "internal.h"

#define DEVICE_COHERENT_RES_NAME	"System RAM (device_coherent)"

/* On while there are device nodes */
DEFINE_STATIC_KEY_FALSE(device_coherent_key);

/* Every node that is or was a device node; device hotplug lock to change it */
nodemask_t device_coherent_ids;

/* What a device is known by where the numbers of nodes change */
static ssize_t start_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct zone *zone = node_coherent_zone(dev->id);

	return sysfs_emit(buf, "%#llx\n", (u64)PFN_PHYS(zone->zone_start_pfn));
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
 * @nid: the device node
 */
struct device_coherent_range {
	struct list_head list;
	u64 start;
	u64 size;
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

/* Nodes that are device nodes even without memory; device hotplug lock */
static nodemask_t declared_nodes;

/* Nodes whose folder is in sysfs; device hotplug lock */
static nodemask_t nodes_with_folder;

/* Nodes that notifiers were told of; device_coherent_lock */
static nodemask_t announced_nodes;

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

static bool device_coherent_node_in_use(int nid)
{
	struct device_coherent_range *range;

	list_for_each_entry(range, &device_coherent_ranges, list)
		if (range->nid == nid)
			return true;

	return false;
}

static int device_coherent_block_on_node(struct memory_block *mem, void *arg)
{
	return mem->nid == *(int *)arg ? -EBUSY : 0;
}

/* Has the node memory, online or not? The caller holds the hotplug lock. */
static bool node_has_blocks(int nid)
{
	return for_each_memory_block(&nid, device_coherent_block_on_node);
}

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

/* Tell those who want to know what has become of the nodes. */
static void device_coherent_announce(void)
{
	int nid;

	lockdep_assert_held(&device_coherent_lock);

	for_each_node(nid) {
		enum device_coherent_event event = DEVICE_COHERENT_NODE_REMOVED;
		bool now;

		lock_device_hotplug();
		now = node_is_device_coherent(nid) && node_has_blocks(nid);
		if (now)
			create_folder(nid);
		unlock_device_hotplug();

		if (now == node_isset(nid, announced_nodes))
			continue;
		if (now) {
			event = DEVICE_COHERENT_NODE_ADDED;
			node_set(nid, announced_nodes);
		} else {
			node_clear(nid, announced_nodes);
		}
		blocking_notifier_call_chain(&device_coherent_notifiers, event,
					     &nid);
	}
}

static void announce_work_fn(struct work_struct *work)
{
	mutex_lock(&device_coherent_lock);
	device_coherent_announce();
	mutex_unlock(&device_coherent_lock);
}

static DECLARE_WORK(announce_work, announce_work_fn);

/*
 * From here on the hotplug code puts what it brings online on this node into
 * the zone (invariant 7), whoever adds it.
 */
static void set_device_node(int nid)
{
	node_set(nid, declared_nodes);
	if (node_is_device_coherent(nid))
		return;

	device_coherent_reset_room(nid);
	node_set(nid, device_coherent_ids);
	node_set_state(nid, N_DEVICE_COHERENT);
	static_branch_inc(&device_coherent_key);
}

/*
 * A node is a device node as long as it has memory in the zone, or is declared.
 * Blocks that are offline count: they return to the zone.
 */
static void clear_device_node(int nid)
{
	if (node_isset(nid, declared_nodes) || node_has_blocks(nid))
		return;

	device_coherent_reset_room(nid);
	/* Still there if the node has something that is no memory. */
	if (node_isset(nid, nodes_with_folder) && node_devices[nid])
		sysfs_remove_group(&node_devices[nid]->dev.kobj,
				   &device_coherent_group);
	node_clear(nid, nodes_with_folder);
	static_branch_dec(&device_coherent_key);
	node_clear_state(nid, N_DEVICE_COHERENT);
}

/**
 * __device_coherent_memory_removed - a range of a device node's memory is gone
 * @nid: the node
 *
 * Those who hear of nodes hear of it later: here they could wait for who waits
 * for the hotplug lock.
 *
 * Context: Process context, with the device hotplug lock.
 */
void __device_coherent_memory_removed(int nid)
{
	/* The folder went with the node, though somebody is adding memory. */
	if (!node_devices[nid])
		node_clear(nid, nodes_with_folder);
	clear_device_node(nid);
	if (!node_is_device_coherent(nid))
		schedule_work(&announce_work);
}

/* Nobody but its memory keeps it a device node any more. */
static void undeclare_node(int nid)
{
	if (device_coherent_node_in_use(nid))
		return;

	lock_device_hotplug();
	node_clear(nid, declared_nodes);
	if (node_is_device_coherent(nid))
		clear_device_node(nid);
	unlock_device_hotplug();
}

/*
 * A node is a device node as a whole or not at all. The caller holds the
 * hotplug lock.
 */
static int device_coherent_check_node(int nid)
{
	int cpu;

	if (nid <= 0 || nid >= MAX_NUMNODES || !node_possible(nid)) {
		pr_err("node %d: not a node id that a device can have\n", nid);
		return -EINVAL;
	}

	if (node_is_device_coherent(nid))
		return 0;

	for_each_possible_cpu(cpu) {
		if (cpu_to_node(cpu) == nid) {
			pr_err("node %d: has CPU %d\n", nid, cpu);
			return -EBUSY;
		}
	}

	if (node_state(nid, N_MEMORY) || node_has_blocks(nid)) {
		pr_err("node %d: has memory that isn't a device's\n", nid);
		return -EBUSY;
	}

	return 0;
}

static int device_coherent_declare(int nid)
{
	int rc;

	lock_device_hotplug();
	rc = device_coherent_check_node(nid);
	if (!rc)
		set_device_node(nid);
	unlock_device_hotplug();

	return rc;
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

static int device_coherent_hotadd(int nid, u64 start, u64 size,
				  unsigned int flags)
{
	mhp_t mhp_flags = MHP_NONE;
	int rc;

	if (flags & DEVICE_COHERENT_MEMMAP_ON_DEVICE) {
		if (mhp_supports_memmap_on_memory())
			mhp_flags |= MHP_MEMMAP_ON_MEMORY;
		else
			pr_warn("node %d: page structures go to system memory; boot with memory_hotplug.memmap_on_memory=1 to have them on the device\n",
				nid);
	}

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
 * memory in general. It must not be known to the kernel as memory before.
 *
 * Context: Process context. Sleeps, takes the hotplug locks. At boot, not before
 * the initcalls of subsystems: see boot.c.
 * Return: 0; -EINVAL for flags, a node or a range that can't be; -ERANGE for
 * one that the machine can't map; -EBUSY for a node that has CPUs or other
 * memory; -EEXIST for a range that is something already; -ENOMEM.
 */
int device_coherent_add(int nid, u64 start, u64 size, unsigned int flags)
{
	struct device_coherent_range *range;
	int rc;

	if (flags & ~DEVICE_COHERENT_MEMMAP_ON_DEVICE)
		return -EINVAL;

	range = kmalloc(sizeof(*range), GFP_KERNEL);
	if (!range)
		return -ENOMEM;

	mutex_lock(&device_coherent_lock);
	rc = device_coherent_check_range(start, size);
	if (rc)
		goto out;
	/* Of a node that goes and comes again, the first is told first. */
	device_coherent_announce();
	rc = device_coherent_declare(nid);
	if (rc)
		goto out;

	rc = device_coherent_hotadd(nid, start, size, flags);
	if (rc) {
		pr_err("node %d: adding [mem %#018llx-%#018llx] failed: %pe\n",
		       nid, start, start + size - 1, ERR_PTR(rc));
		undeclare_node(nid);
		device_coherent_announce();
		goto out;
	}

	range->nid = nid;
	range->start = start;
	range->size = size;
	list_add(&range->list, &device_coherent_ranges);
	range = NULL;
	pr_info("node %d: %llu MB at [mem %#018llx-%#018llx]\n", nid,
		size >> 20, start, start + size - 1);
	device_coherent_announce();
out:
	mutex_unlock(&device_coherent_lock);
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
 * Movable pages in the range are moved to system memory first. Memory that a
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
	int rc = -ENOENT;

	mutex_lock(&device_coherent_lock);
	range = device_coherent_find(nid, start, size);
	if (!range)
		goto out;

	rc = offline_and_remove_memory(start, size);
	if (rc)
		goto out;

	list_del(&range->list);
	kfree(range);
	undeclare_node(nid);
	pr_info("node %d: [mem %#018llx-%#018llx] removed\n", nid, start,
		start + size - 1);
	device_coherent_announce();
out:
	mutex_unlock(&device_coherent_lock);

	return rc;
}
EXPORT_SYMBOL_GPL(device_coherent_remove);
