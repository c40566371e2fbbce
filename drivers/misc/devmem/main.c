// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: memory of device nodes for programs that ask for it explicitly.
 * The calls, information about nodes, and waiting for room.
 */

#include <linux/device_coherent.h>
#include <linux/dma-buf.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/node.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/topology.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>
#include <uapi/linux/devmem.h>

#include "devmem.h"

/* How often somebody who waits for room is told, at most */
#define WATCH_INTERVAL	msecs_to_jiffies(50)

/**
 * struct devmem_file - an open /dev/devmem, and what it waits for
 * @list: on watches if it waits for something
 * @wait: those who poll
 * @nid: the node, or NUMA_NO_NODE if it doesn't wait
 * @nr_pages: how much free memory it waits for
 * @eventfd: to be signalled, or NULL
 * @room: what poll() would have said when it was last looked at
 */
struct devmem_file {
	struct list_head list;
	wait_queue_head_t wait;
	int nid;
	unsigned long nr_pages;
	struct eventfd_ctx *eventfd;
	__poll_t room;
};

/* Protects watches, and what the files on it wait for. */
static DEFINE_MUTEX(watch_lock);
static LIST_HEAD(watches);

/* -- Arguments: of any size, see <uapi/linux/devmem.h> -------------------- */

/* The smallest size of an argument: that of the first version */
#define SIZE_VER0(type, last)	offsetofend(type, last)

static int get_arg(void *arg, size_t size, size_t size_ver0, unsigned int cmd,
		   const void __user *uarg)
{
	if (_IOC_SIZE(cmd) < size_ver0)
		return -EINVAL;

	return copy_struct_from_user(arg, size, uarg, _IOC_SIZE(cmd));
}

static int put_arg(const void *arg, size_t size, unsigned int cmd,
		   void __user *uarg)
{
	if (copy_to_user(uarg, arg, min_t(size_t, size, _IOC_SIZE(cmd))))
		return -EFAULT;

	return 0;
}

/* Who may only read may only ask. */
static bool may_change(const struct file *file)
{
	return file->f_mode & FMODE_WRITE;
}

/* -- Nodes ---------------------------------------------------------------- */

static int find_node(int nid, bool next)
{
	int n;

	if (!next)
		return node_is_device_coherent(nid) ? nid : -ENODEV;

	for_each_device_coherent_node(n)
		if (n >= nid)
			return n;

	return -ENODEV;
}

/**
 * devmem_counter - a counter of a node's
 * @nid: the node
 * @item: the counter
 *
 * Context: Any.
 * Return: its value, with what the CPUs haven't yet added.
 */
unsigned long devmem_counter(int nid, enum node_stat_item item)
{
	pg_data_t *pgdat = NODE_DATA(nid);
	long nr = node_page_state(pgdat, item);
	int cpu;

	for_each_online_cpu(cpu)
		nr += per_cpu_ptr(pgdat->per_cpu_nodestats, cpu)->vm_node_stat_diff[item];

	return max(nr, 0L);
}

static long ioctl_info(unsigned int cmd, void __user *uarg)
{
	struct devmem_info info;
	struct zone *zone;
	int nid, err;

	err = get_arg(&info, sizeof(info), SIZE_VER0(struct devmem_info, evicted),
		      cmd, uarg);
	if (err)
		return err;
	if (info.pad || info.flags & ~(DEVMEM_INFO_NEXT | DEVMEM_INFO_RUNS))
		return -EINVAL;

	nid = find_node(info.node, info.flags & DEVMEM_INFO_NEXT);
	if (nid < 0)
		return nid;
	zone = device_coherent_zone(nid);
	if (!zone)
		return -ENODEV;

	info.node = nid;
	info.distance = node_distance(numa_node_id(), nid);
	info.size = zone_managed_pages(zone);
	info.size <<= PAGE_SHIFT;
	info.free = (u64)device_coherent_nr_free(nid) << PAGE_SHIFT;
	info.largest_free = 0;
	info.largest_obtainable = 0;
	if (info.flags & DEVMEM_INFO_RUNS) {
		info.largest_free = device_coherent_largest_run(nid, false);
		info.largest_free <<= PAGE_SHIFT;
		info.largest_obtainable = device_coherent_largest_run(nid, true);
		info.largest_obtainable <<= PAGE_SHIFT;
	}
	info.moved_in = devmem_counter(nid, COHERENT_MOVED_IN);
	info.moved_out = devmem_counter(nid, COHERENT_MOVED_OUT);
	info.refused = devmem_counter(nid, COHERENT_REFUSED);
	info.displaced = devmem_counter(nid, COHERENT_DISPLACED);
	info.evicted = devmem_counter(nid, COHERENT_EVICTED);
	info.buffers = (u64)devmem_buffer_pages(nid) << PAGE_SHIFT;

	return put_arg(&info, sizeof(info), cmd, uarg);
}

/* -- Allocation ----------------------------------------------------------- */

/* Why there is no memory, for programs that know of it; returns the error */
static int put_reason(const struct devmem_alloc *alloc, int err,
		      unsigned int cmd, void __user *uarg)
{
	struct devmem_alloc __user *to = uarg;

	if (err == -ENOMEM &&
	    _IOC_SIZE(cmd) >= offsetofend(struct devmem_alloc, reason) &&
	    put_user(alloc->reason, &to->reason))
		return -EFAULT;

	return err;
}

static long ask(struct devmem_alloc *alloc, unsigned int cmd,
		void __user *uarg)
{
	int err = devmem_ask(alloc);

	if (err)
		return put_reason(alloc, err, cmd, uarg);
	alloc->fd = -1;

	return put_arg(alloc, sizeof(*alloc), cmd, uarg);
}

static long ioctl_alloc(struct file *file, unsigned int cmd, void __user *uarg)
{
	struct devmem_alloc alloc;
	struct dma_buf *dmabuf;
	int fd, err;

	err = get_arg(&alloc, sizeof(alloc), SIZE_VER0(struct devmem_alloc, fd),
		      cmd, uarg);
	if (err)
		return err;
	if (alloc.fd || alloc.pad)
		return -EINVAL;
	if (alloc.flags & DEVMEM_ALLOC_ASK)
		return ask(&alloc, cmd, uarg);
	if (!may_change(file))
		return -EBADF;

	/* First: nobody gives way for who can't have one (invariant 4). */
	fd = get_unused_fd_flags(alloc.fd_flags & O_CLOEXEC);
	if (fd < 0)
		return fd;

	dmabuf = devmem_buffer(&alloc);
	if (IS_ERR(dmabuf)) {
		err = put_reason(&alloc, PTR_ERR(dmabuf), cmd, uarg);
		goto out_fd;
	}

	alloc.fd = fd;
	err = put_arg(&alloc, sizeof(alloc), cmd, uarg);
	if (err)
		goto out_buffer;

	/* From here on user space can close it. */
	fd_install(fd, dmabuf->file);

	return 0;

out_buffer:
	dma_buf_put(dmabuf);
out_fd:
	put_unused_fd(fd);

	return err;
}

/* -- Ranges --------------------------------------------------------------- */

static long ioctl_migrate(struct file *file, unsigned int cmd,
			  void __user *uarg)
{
	struct devmem_migrate m;
	int err, put_err;

	if (!may_change(file))
		return -EBADF;
	err = get_arg(&m, sizeof(m), SIZE_VER0(struct devmem_migrate, unmovable),
		      cmd, uarg);
	if (err)
		return err;
	if (m.pad)
		return -EINVAL;

	/* Whatever happened: what has been done, and where to go on */
	err = devmem_migrate(&m);
	put_err = put_arg(&m, sizeof(m), cmd, uarg);

	return put_err ?: err;
}

static long ioctl_verify(struct file *file, unsigned int cmd,
			 void __user *uarg)
{
	struct devmem_verify v;
	int err;

	err = get_arg(&v, sizeof(v), SIZE_VER0(struct devmem_verify, unmovable),
		      cmd, uarg);
	if (err)
		return err;
	BUILD_BUG_ON(MAX_NUMNODES > DEVMEM_MAX_NODES);
	if (v.flags || v.pad || (v.nodes && !v.nr_nodes) ||
	    v.nr_nodes > DEVMEM_MAX_NODES)
		return -EINVAL;
	if (v.pidfd != DEVMEM_SELF && !may_change(file))
		return -EBADF;

	err = devmem_verify(&v);
	if (err)
		return err;

	return put_arg(&v, sizeof(v), cmd, uarg);
}

/* -- Waiting for room ----------------------------------------------------- */

static void look_for_room(struct work_struct *work);
static DECLARE_DELAYED_WORK(watch_work, look_for_room);

/* Of the nodes that a round of look_for_room() has come upon so far */
static unsigned long free_now[MAX_NUMNODES];

/* The node can't have as much, since it or a part of its memory is gone. */
static bool is_over(const struct devmem_file *df)
{
	struct zone *zone = device_coherent_zone(df->nid);

	return !zone || zone_managed_pages(zone) < df->nr_pages;
}

static __poll_t room(const struct devmem_file *df)
{
	if (is_over(df))
		return EPOLLERR;

	return device_coherent_nr_free(df->nid) >= df->nr_pages ?
	       EPOLLIN | EPOLLRDNORM : 0;
}

/* The same for one of many: each node is asked once in a round. */
static __poll_t room_this_round(const struct devmem_file *df, nodemask_t *asked)
{
	lockdep_assert_held(&watch_lock);

	if (is_over(df))
		return EPOLLERR;
	if (!node_test_and_set(df->nid, *asked))
		free_now[df->nid] = device_coherent_nr_free(df->nid);

	return free_now[df->nid] >= df->nr_pages ? EPOLLIN | EPOLLRDNORM : 0;
}

/* Both who polls and who has an eventfd hear of room, and of its end. */
static void tell(struct devmem_file *df, __poll_t now)
{
	if (now && now != df->room) {
		if (df->eventfd)
			eventfd_signal(df->eventfd);
		wake_up_poll(&df->wait, now);
	}
	df->room = now;
}

/*
 * A look now and then costs those who wait some milliseconds; a hook in the
 * allocator would cost everybody who frees a page (invariant 3). However many
 * wait, it takes no more than a tenth of a CPU.
 */
static void look_for_room(struct work_struct *work)
{
	unsigned long start = jiffies, interval = WATCH_INTERVAL;
	nodemask_t asked = NODE_MASK_NONE;
	struct devmem_file *df;

	mutex_lock(&watch_lock);
	list_for_each_entry(df, &watches, list) {
		tell(df, room_this_round(df, &asked));
		cond_resched();
	}
	interval = max(interval, 9 * (jiffies - start));
	if (!list_empty(&watches))
		queue_delayed_work(system_unbound_wq, &watch_work, interval);
	mutex_unlock(&watch_lock);
}

static void end_watch(struct devmem_file *df)
{
	lockdep_assert_held(&watch_lock);

	if (df->nid == NUMA_NO_NODE)
		return;

	list_del(&df->list);
	if (df->eventfd)
		eventfd_ctx_put(df->eventfd);
	df->eventfd = NULL;
	df->nid = NUMA_NO_NODE;
	wake_up_poll(&df->wait, EPOLLERR);
}

static void start_watch(struct devmem_file *df, const struct devmem_watch *w,
			struct eventfd_ctx *eventfd)
{
	lockdep_assert_held(&watch_lock);

	df->nid = w->node;
	df->nr_pages = (w->free >> PAGE_SHIFT) + !PAGE_ALIGNED(w->free);
	df->eventfd = eventfd;
	df->room = 0;
	/* Who comes doesn't have the others looked at: they may be very many. */
	if (list_empty(&watches))
		queue_delayed_work(system_unbound_wq, &watch_work,
				   WATCH_INTERVAL);
	list_add_tail(&df->list, &watches);
	tell(df, room(df));
}

static int check_watch(const struct devmem_watch *w)
{
	struct zone *zone;
	u64 size;

	if (w->flags || w->pad)
		return -EINVAL;
	if (!w->free)
		return 0;
	if (w->eventfd < -1)
		return -EINVAL;

	zone = device_coherent_zone(w->node);
	/* Read once: its last block may go meanwhile. */
	size = zone ? (u64)zone_managed_pages(zone) << PAGE_SHIFT : 0;
	if (!size)
		return -ENODEV;

	return w->free > size ? -EINVAL : 0;
}

static long ioctl_watch(struct devmem_file *df, unsigned int cmd,
			void __user *uarg)
{
	struct eventfd_ctx *eventfd = NULL;
	struct devmem_watch w;
	int err;

	err = get_arg(&w, sizeof(w), SIZE_VER0(struct devmem_watch, pad), cmd,
		      uarg);
	if (err)
		return err;
	err = check_watch(&w);
	if (err)
		return err;

	if (w.free && w.eventfd >= 0) {
		eventfd = eventfd_ctx_fdget(w.eventfd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}

	mutex_lock(&watch_lock);
	end_watch(df);
	if (w.free)
		start_watch(df, &w, eventfd);
	mutex_unlock(&watch_lock);

	return 0;
}

static __poll_t devmem_poll(struct file *file, poll_table *table)
{
	struct devmem_file *df = file->private_data;
	__poll_t now;

	poll_wait(file, &df->wait, table);
	mutex_lock(&watch_lock);
	now = room(df);
	/* Whoever sleeps now is to hear of the next time. */
	if (!now)
		df->room = 0;
	mutex_unlock(&watch_lock);

	return now;
}

/* -- The device ----------------------------------------------------------- */

static int devmem_open(struct inode *inode, struct file *file)
{
	struct devmem_file *df;

	df = kzalloc(sizeof(*df), GFP_KERNEL_ACCOUNT);
	if (!df)
		return -ENOMEM;

	init_waitqueue_head(&df->wait);
	df->nid = NUMA_NO_NODE;
	file->private_data = df;

	return nonseekable_open(inode, file);
}

static int devmem_release(struct inode *inode, struct file *file)
{
	struct devmem_file *df = file->private_data;

	mutex_lock(&watch_lock);
	end_watch(df);
	mutex_unlock(&watch_lock);
	kfree(df);

	return 0;
}

/* The number of a call without the size of its argument */
#define CALL(cmd)	((cmd) & ~(_IOC_SIZEMASK << _IOC_SIZESHIFT))

static long devmem_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;

	switch (CALL(cmd)) {
	case CALL(DEVMEM_IOC_INFO):
		return ioctl_info(cmd, uarg);
	case CALL(DEVMEM_IOC_ALLOC):
		return ioctl_alloc(file, cmd, uarg);
	case CALL(DEVMEM_IOC_MIGRATE):
		return ioctl_migrate(file, cmd, uarg);
	case CALL(DEVMEM_IOC_VERIFY):
		return ioctl_verify(file, cmd, uarg);
	case CALL(DEVMEM_IOC_WATCH):
		return ioctl_watch(file->private_data, cmd, uarg);
	}

	return -ENOTTY;
}

static const struct file_operations devmem_fops = {
	.owner = THIS_MODULE,
	.open = devmem_open,
	.release = devmem_release,
	.poll = devmem_poll,
	.unlocked_ioctl = devmem_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice devmem_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "devmem",
	.fops = &devmem_fops,
};

/* -- In sysfs ------------------------------------------------------------- */

static ssize_t buffers_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%llu\n",
			  (u64)devmem_buffer_pages(dev->id) << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(buffers);

/* Nodes with the file, in the folder that goes when the node does */
static nodemask_t sysfs_nodes;
static DEFINE_MUTEX(sysfs_lock);

static void add_to_sysfs(int nid)
{
	guard(mutex)(&sysfs_lock);
	if (node_isset(nid, sysfs_nodes) || !node_devices[nid])
		return;
	if (!sysfs_add_file_to_group(&node_devices[nid]->dev.kobj,
				     &dev_attr_buffers.attr, "device_coherent"))
		node_set(nid, sysfs_nodes);
}

static void gone_from_sysfs(int nid)
{
	guard(mutex)(&sysfs_lock);
	node_clear(nid, sysfs_nodes);
}

/* A node that comes gets heaps; those who wait for room on one hear it go. */
static int devmem_notify(struct notifier_block *nb, unsigned long event,
			 void *data)
{
	int *nid = data;

	if (event == DEVICE_COHERENT_NODE_ADDED) {
		add_to_sysfs(*nid);
		devmem_add_heaps(*nid);
	} else {
		gone_from_sysfs(*nid);
		mod_delayed_work(system_unbound_wq, &watch_work, 0);
	}

	return NOTIFY_OK;
}

static struct notifier_block devmem_nb = {
	.notifier_call = devmem_notify,
};

static int __init devmem_init(void)
{
	int nid, err;

	err = misc_register(&devmem_misc);
	if (err)
		return err;

	err = device_coherent_register_notifier(&devmem_nb);
	if (err) {
		misc_deregister(&devmem_misc);
		return err;
	}
	for_each_device_coherent_node(nid) {
		add_to_sysfs(nid);
		devmem_add_heaps(nid);
	}

	return 0;
}
device_initcall(devmem_init);
