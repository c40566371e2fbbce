// SPDX-License-Identifier: GPL-2.0
/*
 * Nodes that are declared to be a device's before their memory comes: whatever
 * arrives there is device memory from its first page on, whoever adds it and
 * whatever brings it online (invariants 1 and 7).
 *
 * A node that has memory is a device node or it isn't (node.c); what is declared
 * is what an empty node is to become. That is asked for by the boot parameter, by
 * root in sysfs, or for as long as it takes by device_coherent_add(). Protected by
 * the device hotplug lock.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/capability.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/memory.h>
#include <linux/minmax.h>
#include <linux/node.h>
#include <linux/string.h>
#include <linux/topology.h>

#include "internal.h"

/* By the boot parameter or by root */
static nodemask_t declared_nodes;

/* Those to which the firmware gives CPUs, even if none is there yet */
nodemask_t device_coherent_cpu_nodes __ro_after_init;

/* Where device_coherent_add() is adding memory */
static int adding_nid = NUMA_NO_NODE;

static int block_on_node(struct memory_block *mem, void *arg)
{
	return mem->nid == *(int *)arg ? -EBUSY : 0;
}

/* Has the node memory, online or not? The caller holds the hotplug lock. */
bool device_coherent_node_has_blocks(int nid)
{
	return for_each_memory_block(&nid, block_on_node);
}

/*
 * A node is a device node as a whole or not at all. The caller holds the
 * hotplug lock.
 */
static int check_node(int nid)
{
	int cpu;

	if (nid <= 0 || nid >= MAX_NUMNODES || !node_possible(nid)) {
		pr_err("node %d: not a node id that a device can have\n", nid);
		return -EINVAL;
	}

	if (node_is_device_coherent(nid))
		return 0;

	if (node_isset(nid, device_coherent_cpu_nodes)) {
		pr_err("node %d: the firmware gives CPUs to it\n", nid);
		return -EBUSY;
	}

	for_each_possible_cpu(cpu) {
		if (cpu_to_node(cpu) == nid) {
			pr_err("node %d: has CPU %d\n", nid, cpu);
			return -EBUSY;
		}
	}

	if (node_state(nid, N_MEMORY) || device_coherent_node_has_blocks(nid)) {
		pr_err("node %d: has memory that isn't a device's\n", nid);
		return -EBUSY;
	}

	return 0;
}

/* What arrives on this node is a device's. The caller holds the hotplug lock. */
bool device_coherent_declared(int nid)
{
	return nid == adding_nid || node_isset(nid, declared_nodes);
}

/**
 * device_coherent_begin_add - what comes to this node now is a device's
 * @nid: the node
 *
 * Context: Process context, takes the device hotplug lock. One at a time.
 * Return: 0; -EINVAL for what no device can have, -EBUSY for a node with CPUs or
 * memory of the system.
 */
int device_coherent_begin_add(int nid)
{
	int rc;

	lock_device_hotplug();
	rc = check_node(nid);
	if (!rc)
		adding_nid = nid;
	unlock_device_hotplug();

	return rc;
}

/* The end of that */
void device_coherent_end_add(void)
{
	lock_device_hotplug();
	adding_nid = NUMA_NO_NODE;
	unlock_device_hotplug();
}

static int check_new(int nid)
{
	if (node_isset(nid, declared_nodes)) {
		pr_err("node %d: is declared already\n", nid);
		return -EEXIST;
	}

	return check_node(nid);
}

static int check_declared(int nid)
{
	if (!node_isset(nid, declared_nodes)) {
		pr_err("node %d: isn't declared\n", nid);
		return -ENOENT;
	}
	if (device_coherent_node_has_blocks(nid)) {
		pr_err("node %d: has memory, remove that first\n", nid);
		return -EBUSY;
	}

	return 0;
}

/* The caller holds the hotplug lock. */
static int check_all(const nodemask_t *nodes, int (*check)(int nid))
{
	int nid, rc;

	for_each_node_mask(nid, *nodes) {
		rc = check(nid);
		if (rc)
			return rc;
	}

	return 0;
}

/* All of them or none. The caller holds the hotplug lock. */
static int declare(const nodemask_t *nodes)
{
	int rc;

	rc = check_all(nodes, check_new);
	if (rc)
		return rc;
	nodes_or(declared_nodes, declared_nodes, *nodes);
	pr_info("node %*pbl: declared, memory that comes there is a device's\n",
		nodemask_pr_args(nodes));

	return 0;
}

/**
 * device_coherent_declare - declare nodes that have no memory yet
 * @nodes: the nodes. Those that are device nodes already can be declared, too:
 *	   they are for their next memory when this one has gone.
 *
 * Context: Process context, takes the device hotplug lock.
 * Return: 0, and all of them are declared; or none, and -EINVAL for an id that no
 * device can have, -EBUSY for a node with CPUs or memory of the system, -EEXIST for
 * one that is declared. The log says which.
 */
int device_coherent_declare(const nodemask_t *nodes)
{
	int rc;

	lock_device_hotplug();
	rc = declare(nodes);
	unlock_device_hotplug();

	return rc;
}

/* Take it back, of all of them or none. The caller holds the hotplug lock. */
static int undeclare(const nodemask_t *nodes)
{
	int rc;

	rc = check_all(nodes, check_declared);
	if (rc)
		return rc;
	nodes_andnot(declared_nodes, declared_nodes, *nodes);
	pr_info("node %*pbl: not declared any more\n", nodemask_pr_args(nodes));

	return 0;
}

static ssize_t device_coherent_declared_show(struct device *dev,
					     struct device_attribute *attr,
					     char *buf)
{
	return sysfs_emit(buf, "%*pbl\n", nodemask_pr_args(&declared_nodes));
}

/* "+<list>" or "-<list>" */
static ssize_t device_coherent_declared_store(struct device *dev,
					      struct device_attribute *attr,
					      const char *buf, size_t count)
{
	size_t line = strcspn(buf, "\n");
	nodemask_t nodes;
	int rc;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if ((*buf != '+' && *buf != '-') || nodelist_parse(buf + 1, nodes) ||
	    nodes_empty(nodes) || strlen(buf) > line + 1) {
		pr_err("'%.*s' is neither '+' nor '-' and a list of nodes\n",
		       (int)min_t(size_t, line, 64), buf);
		return -EINVAL;
	}

	/* Others may have the lock for as long as somebody holds a page. */
	rc = lock_device_hotplug_sysfs();
	if (rc)
		return rc;
	rc = *buf == '+' ? declare(&nodes) : undeclare(&nodes);
	unlock_device_hotplug();

	return rc ? rc : count;
}
static DEVICE_ATTR_RW(device_coherent_declared);

/**
 * device_coherent_create_file - a file in /sys/devices/system/node/
 * @attr: the file
 *
 * Context: Boot, when there are nodes in sysfs: from the initcalls of subsystems on.
 * Return: 0 or an error of device_create_file(), which the log has as well.
 */
int __init device_coherent_create_file(const struct device_attribute *attr)
{
	/* That folder is the root of node 0's kind of device. */
	struct device *root =
		bus_get_dev_root(node_devices[first_online_node]->dev.bus);
	int rc = -ENODEV;

	if (root)
		rc = device_create_file(root, attr);
	put_device(root);
	if (rc)
		pr_err("no file %s in sysfs: %d\n", attr->attr.name, rc);

	return rc;
}

static int __init device_coherent_declare_init(void)
{
	return device_coherent_create_file(&dev_attr_device_coherent_declared);
}
late_initcall(device_coherent_declare_init);
