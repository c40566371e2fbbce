// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: ranges of a process. Whose they are, and whether the caller may
 * touch them; the work is done by mm/device_coherent/range.c.
 */

#include <linux/capability.h>
#include <linux/cpuset.h>
#include <linux/device_coherent.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/linux/devmem.h>

#include "devmem.h"

#define MIGRATE_FLAGS	(DEVMEM_MIGRATE_ALL | DEVMEM_MIGRATE_WHOLE |	\
			 DEVMEM_MIGRATE_SHARED | DEVMEM_MIGRATE_POLICY | \
			 DEVMEM_MIGRATE_GO_ON)

/*
 * The memory of a task that the caller may look at, or move. As in mm_access(),
 * the task doesn't exec in between: what is looked at would be another program,
 * with other rights.
 */
static struct mm_struct *get_memory(struct task_struct *task, bool move,
				    nodemask_t *allowed)
{
	struct mm_struct *mm = NULL;
	int err = 0;

	if (down_read_killable(&task->signal->exec_update_lock))
		return ERR_PTR(-EINTR);

	if (!ptrace_may_access(task, PTRACE_MODE_READ_REALCREDS))
		err = -EPERM;
	else if (move)
		err = security_task_movememory(task);
	*allowed = cpuset_mems_allowed(task);
	if (!err)
		mm = get_task_mm(task);
	up_read(&task->signal->exec_update_lock);
	if (mm)
		return mm;

	/* It has ended, or is a thread of the kernel's. */
	return ERR_PTR(err ?: -ESRCH);
}

/*
 * The memory of a process, under the conditions of move_pages(2), and the nodes
 * that it may use. To be dropped with mmput().
 */
static struct mm_struct *get_process(int pidfd, bool move, nodemask_t *allowed)
{
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned int flags;

	if (pidfd == DEVMEM_SELF) {
		mmget(current->mm);
		*allowed = cpuset_mems_allowed(current);
		return current->mm;
	}

	task = pidfd_get_task(pidfd, &flags);
	if (IS_ERR(task))
		return ERR_CAST(task);

	mm = get_memory(task, move, allowed);
	put_task_struct(task);

	return mm;
}

/*
 * A process may have its memory there, and who asks may take it from there: it is
 * he who allocates.
 */
static bool may_use(int nid, const nodemask_t *allowed)
{
	const nodemask_t own = cpuset_mems_allowed(current);

	return node_isset(nid, *allowed) && node_isset(nid, own);
}

/* Both of pages, and within what a process can have */
static int check_range(u64 addr, u64 size)
{
	u64 end;

	if (!PAGE_ALIGNED(addr) || !PAGE_ALIGNED(size) ||
	    check_add_overflow(addr, size, &end) || end > TASK_SIZE_MAX)
		return -EINVAL;

	return 0;
}

static int check_migrate(const struct devmem_migrate *m)
{
	int err = check_range(m->addr, m->size);

	if (err)
		return err;
	if (m->flags & ~MIGRATE_FLAGS || !PAGE_ALIGNED(m->budget) ||
	    (m->budget && m->flags & DEVMEM_MIGRATE_ALL) ||
	    (m->pidfd != DEVMEM_SELF && m->flags & DEVMEM_MIGRATE_POLICY))
		return -EINVAL;
	if (m->node != DEVMEM_NODE_SYSTEM &&
	    (m->node < 0 || m->node >= MAX_NUMNODES ||
	     !node_state(m->node, N_MEMORY)))
		return -ENODEV;
	if (m->flags & DEVMEM_MIGRATE_SHARED && !capable(CAP_SYS_NICE))
		return -EPERM;

	return 0;
}

static unsigned int migrate_flags(const struct devmem_migrate *m)
{
	unsigned int how = 0;

	if (m->flags & DEVMEM_MIGRATE_ALL)
		how |= DEVICE_COHERENT_MIGRATE_ALL;
	if (m->flags & DEVMEM_MIGRATE_GO_ON)
		how |= DEVICE_COHERENT_MIGRATE_GO_ON;
	if (m->flags & DEVMEM_MIGRATE_WHOLE)
		how |= DEVICE_COHERENT_MIGRATE_WHOLE;
	if (m->flags & DEVMEM_MIGRATE_SHARED)
		how |= DEVICE_COHERENT_MIGRATE_SHARED;

	return how;
}

static void add_moved(struct devmem_migrate *m,
		      const struct device_coherent_moved *count)
{
	m->moved += count->moved;
	m->there += count->there;
	m->absent += count->absent;
	m->shared += count->shared;
	m->pinned += count->pinned;
	m->file += count->file;
	m->no_room += count->no_room;
	m->busy += count->busy;
	m->unmovable += count->unmovable;
}

static int move_range(struct devmem_migrate *m, struct mm_struct *mm,
		      nodemask_t *allowed)
{
	struct device_coherent_moved count = { };
	unsigned long addr = m->addr, end;
	int err;

	end = addr + (m->budget ? min(m->budget, m->size) : m->size);
	if (m->flags & DEVMEM_MIGRATE_POLICY) {
		err = device_coherent_bind_range(addr, m->size, m->node);
		if (err)
			return err;
	}

	err = device_coherent_migrate_range(mm, &addr, end, m->node, allowed,
					    migrate_flags(m), &count);
	add_moved(m, &count);
	m->size -= addr - m->addr;
	m->addr = addr;
	m->flags &= ~DEVMEM_MIGRATE_GO_ON;
	if (err == -EINTR && m->flags & DEVMEM_MIGRATE_ALL)
		m->flags |= DEVMEM_MIGRATE_GO_ON;

	return err;
}

/**
 * devmem_migrate - move a range of a process
 * @m: what to move where; what has been done is added to it
 *
 * Context: Process context, sleeps, takes the mmap lock of the process.
 * Return: 0 or a negative error number; see Documentation/userspace-api/devmem.rst.
 */
int devmem_migrate(struct devmem_migrate *m)
{
	struct mm_struct *mm;
	nodemask_t allowed;
	int err;

	err = check_migrate(m);
	if (err)
		return err;

	mm = get_process(m->pidfd, true, &allowed);
	if (IS_ERR(mm))
		return PTR_ERR(mm);

	if (m->node != DEVMEM_NODE_SYSTEM && !may_use(m->node, &allowed))
		err = -EACCES;
	else
		err = move_range(m, mm, &allowed);
	mmput(mm);

	return err;
}

static int put_nodes(const struct devmem_verify *v, const u64 *nodes)
{
	u64 __user *to = u64_to_user_ptr(v->nodes);
	unsigned int known = min_t(unsigned int, v->nr_nodes, nr_node_ids);

	if (copy_to_user(to, nodes, known * sizeof(*nodes)) ||
	    clear_user(to + known, (v->nr_nodes - known) * sizeof(*nodes)))
		return -EFAULT;

	return 0;
}

static int find_range(struct devmem_verify *v, struct mm_struct *mm)
{
	struct device_coherent_where where = { };
	int err;

	where.nodes = kcalloc(nr_node_ids, sizeof(*where.nodes), GFP_KERNEL);
	if (!where.nodes)
		return -ENOMEM;

	err = device_coherent_find_range(mm, v->addr, v->addr + v->size, &where);
	if (!err)
		err = put_nodes(v, where.nodes);
	kfree(where.nodes);

	v->present = where.present;
	v->absent = where.absent;
	v->swapped = where.swapped;
	v->device = where.device;
	v->shared = where.shared;
	v->pinned = where.pinned;
	v->huge = where.huge;
	v->file = where.file;
	v->unmovable = where.unmovable;

	return err;
}

/**
 * devmem_verify - see where a range of a process is
 * @v: the range; what is found is stored in it
 *
 * Context: Process context, sleeps, takes the mmap lock of the process.
 * Return: 0 or a negative error number; see Documentation/userspace-api/devmem.rst.
 */
int devmem_verify(struct devmem_verify *v)
{
	struct mm_struct *mm;
	nodemask_t allowed;
	int err;

	err = check_range(v->addr, v->size);
	if (err)
		return err;

	mm = get_process(v->pidfd, false, &allowed);
	if (IS_ERR(mm))
		return PTR_ERR(mm);

	err = find_range(v, mm);
	mmput(mm);

	return err;
}
