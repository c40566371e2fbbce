// SPDX-License-Identifier: GPL-2.0
/*
 * Who may ask for device memory, in the restricted mode: those to whom a cpuset
 * was given the device by name. To all others it is what a node outside of their
 * cpuset is, so that programs that use every node they see don't see it.
 *
 * A cpuset is given what somebody privileged wrote to its cpuset.mems, and so
 * are those below it. What it has is what it would have otherwise, without the
 * devices that neither it nor one above it was given: cpuset.mems of those in
 * between that don't have a device take it away, as always. The root's set is
 * nobody's word. So effective_mems is the same with the mode and without, and
 * kernel/cgroup/cpuset.c asks here whenever it tells a task or a reader what a
 * cpuset has.
 *
 * cpuset_mutex and callback_lock, both of them, are held to change the mode and
 * what a cpuset was given; one of them is enough to read it.
 */
#define pr_fmt(fmt) "device_coherent: " fmt

#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/cpuset.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/mempolicy.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/user_namespace.h>

#include "internal.h"
#include "../../kernel/cgroup/cpuset-internal.h"

bool __device_coherent_restricted __read_mostly;

static struct cpuset *root_cpuset(void)
{
	return css_cs(init_css_set.subsys[cpuset_cgrp_id]);
}

/**
 * __device_coherent_hide - take the devices from a mask that a cpuset wasn't given
 * @cs: the cpuset
 * @mems: nodes of it; some are left if there were any
 *
 * Context: cpuset_mutex or callback_lock.
 */
void __device_coherent_hide(struct cpuset *cs, nodemask_t *mems)
{
	nodemask_t hidden = DEVICE_NODES;

	for (; parent_cs(cs); cs = parent_cs(cs))
		nodes_andnot(hidden, hidden, cs->named_mems);
	if (!nodes_intersects(*mems, hidden))
		return;

	nodes_andnot(*mems, *mems, hidden);
	/* Its system nodes have just gone, and it gets others in a moment. */
	if (nodes_empty(*mems))
		nodes_andnot(*mems, node_states[N_MEMORY], DEVICE_NODES);
}

static nodemask_t visible_mems(struct cpuset *cs)
{
	nodemask_t mems = cs->effective_mems;

	__device_coherent_hide(cs, &mems);

	return mems;
}

/**
 * __device_coherent_mems_differ - do the nodes change from one cpuset to another?
 * @cs: a cpuset
 * @other: another
 *
 * Context: cpuset_mutex or callback_lock.
 * Return: whether they do.
 */
bool __device_coherent_mems_differ(struct cpuset *cs, struct cpuset *other)
{
	nodemask_t mems = visible_mems(cs), others = visible_mems(other);

	return !nodes_equal(mems, others);
}

void __device_coherent_rebind_mm(struct mm_struct *mm, struct cpuset *cs)
{
	nodemask_t mems = visible_mems(cs);

	mpol_rebind_mm(mm, &mems);
}

void __device_coherent_show_mems(struct seq_file *m, struct cpuset *cs)
{
	nodemask_t mems = visible_mems(cs);

	seq_printf(m, "%*pbl\n", nodemask_pr_args(&mems));
}

/**
 * __device_coherent_kthread - a thread of the kernel was told its nodes
 * @task: the thread
 *
 * It names no device itself, it works for those who did: khugepaged makes huge
 * pages of theirs, and the worker of a driver can't be put into a cpuset.
 *
 * Context: cpuset_mutex, the lock of @task, and within its mems_allowed_seq.
 */
void __device_coherent_kthread(struct task_struct *task)
{
	nodemask_t devices;

	rcu_read_lock();
	nodes_and(devices, task_cs(task)->effective_mems, DEVICE_NODES);
	rcu_read_unlock();
	nodes_and(devices, devices, node_states[N_MEMORY]);
	nodes_or(task->mems_allowed, task->mems_allowed, devices);
}

/**
 * __device_coherent_fork - a new task sits on its cgroup's list
 * @task: the task, which doesn't run yet, in the cpuset of its parent
 *
 * Who changes the nodes of all tasks has changed the cpuset before, and goes along
 * that list then: he is still to come, or what he made of the cpuset is seen here.
 * What the parent has doesn't say: he steps on before he changes a task, so that he
 * may be past the end of the list, and the last one on it not changed yet.
 *
 * Context: Process context.
 */
void __device_coherent_fork(struct task_struct *task)
{
	/* Those of the kernel's threads, which the walk leaves them */
	const bool kthread = current->flags & task->flags & PF_KTHREAD;

	task_lock(task);
	if (kthread)
		task->mems_allowed = current->mems_allowed;
	else
		task->mems_allowed = cpuset_mems_allowed(task);
	task_unlock(task);
}

/*
 * The tasks of a cpuset and of those below it get what these have now. What they
 * have where they may no longer have it @stays, or leaves as memory_migrate says.
 * The caller holds cpuset_mutex.
 */
static void refresh(struct cpuset *top, bool stays)
{
	struct cgroup_subsys_state *pos;
	struct cpuset *cs;

	rcu_read_lock();
	cpuset_for_each_descendant_pre(cs, pos, top) {
		/* Without nodes there are no tasks, or they are about to leave. */
		if (nodes_empty(cs->effective_mems) ||
		    !css_tryget_online(&cs->css))
			continue;
		rcu_read_unlock();

		if (stays) {
			nodes_and(cs->old_mems_allowed, cs->effective_mems,
				  node_states[N_MEMORY]);
			device_coherent_hide(cs, &cs->old_mems_allowed);
		}
		cpuset_update_tasks_nodemask(cs);

		rcu_read_lock();
		css_put(&cs->css);
	}
	rcu_read_unlock();
}

/**
 * __device_coherent_named - somebody has written a cpuset's cpuset.mems
 * @cs: the cpuset
 * @file: through which
 *
 * Who opened the file is who gives, not who was talked into writing. To give
 * takes what it takes to switch the mode: a user to whom a cgroup was delegated
 * can't give himself a device, but passes on what he has.
 *
 * What is given is remembered without the mode, too, for when it is on.
 *
 * Context: Process context, sleeps. cpuset_mutex.
 */
void __device_coherent_named(struct cpuset *cs, const struct file *file)
{
	nodemask_t named = NODE_MASK_NONE;

	/* As file_ns_capable(); that he can't is nothing to report. */
	if (!security_capable(file->f_cred, &init_user_ns, CAP_SYS_ADMIN,
			      CAP_OPT_NOAUDIT))
		named = cs->mems_allowed;
	if (nodes_equal(cs->named_mems, named))
		return;

	cpuset_callback_lock_irq();
	cs->named_mems = named;
	cpuset_callback_unlock_irq();

	if (device_coherent_restricted())
		refresh(cs, false);
}

/**
 * device_coherent_restrict - switch the restricted mode
 * @on: whether it is to be on
 *
 * While it is on, requests of tasks in the root are bound to what they may have,
 * as they are when there is any other cpuset. Pages stay where they are.
 *
 * Context: Process context, sleeps.
 * Return: 0, or -EOPNOTSUPP with "cgroup_disable=cpuset": nobody could be let in.
 */
int device_coherent_restrict(bool on)
{
	if (on && !cgroup_subsys_enabled(cpuset_cgrp_subsys)) {
		pr_err("restricted: there are no cpusets with cgroup_disable=cpuset, so nobody could be let in\n");
		return -EOPNOTSUPP;
	}

	cpus_read_lock();
	cpuset_lock();
	if (on == device_coherent_restricted())
		goto out;

	if (on)
		cpuset_inc();
	cpuset_callback_lock_irq();
	WRITE_ONCE(__device_coherent_restricted, on);
	cpuset_callback_unlock_irq();
	refresh(root_cpuset(), true);
	if (!on)
		cpuset_dec();
	if (on)
		pr_info("restricted: only those may ask whose cpuset was given a device by name\n");
	else
		pr_info("not restricted: whoever's cpuset has a device may ask\n");
out:
	cpuset_unlock();
	cpus_read_unlock();

	return 0;
}

static ssize_t device_coherent_restricted_show(struct device *dev,
					       struct device_attribute *attr,
					       char *buf)
{
	return sysfs_emit(buf, "%d\n", device_coherent_restricted());
}

static ssize_t device_coherent_restricted_store(struct device *dev,
						struct device_attribute *attr,
						const char *buf, size_t count)
{
	u8 on;
	int rc;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (kstrtou8(buf, 10, &on) || on > 1)
		return -EINVAL;

	rc = device_coherent_restrict(on);

	return rc ? rc : count;
}
static DEVICE_ATTR_RW(device_coherent_restricted);

static int __init access_init(void)
{
	return device_coherent_create_file(&dev_attr_device_coherent_restricted);
}
subsys_initcall(access_init);
