// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: memory of device nodes for programs that ask for it explicitly.
 * The calls, information about nodes, and waiting for room.
 */

#include <linux/device_coherent.h>
#include <linux/device_coherent_range.h>
#include <linux/dma-buf.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/slab.h>
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
 * @room: there was as much when it was last looked at
 */
struct devmem_file {
	struct list_head list;
	wait_queue_head_t wait;
	int nid;
	unsigned long nr_pages;
	struct eventfd_ctx *eventfd;
	bool room;
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

/* With what the CPUs haven't yet added */
static u64 counter(int nid, enum node_stat_item item)
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
	zone = device_coherent_hotplug_zone(nid);
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
	info.moved_in = counter(nid, COHERENT_MOVED_IN);
	info.moved_out = counter(nid, COHERENT_MOVED_OUT);
	info.refused = counter(nid, COHERENT_REFUSED);
	info.displaced = counter(nid, COHERENT_DISPLACED);
	info.evicted = counter(nid, COHERENT_EVICTED);

	return put_arg(&info, sizeof(info), cmd, uarg);
}

/* -- Allocation ----------------------------------------------------------- */

static long ioctl_alloc(unsigned int cmd, void __user *uarg)
{
	struct devmem_alloc alloc;
	struct dma_buf *dmabuf;
	int err, nid;

	err = get_arg(&alloc, sizeof(alloc), SIZE_VER0(struct devmem_alloc, fd),
		      cmd, uarg);
	if (err)
		return err;
	if (alloc.fd)
		return -EINVAL;

	dmabuf = devmem_buffer(&alloc, &nid);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	alloc.fd = get_unused_fd_flags(alloc.fd_flags & O_CLOEXEC);
	if (alloc.fd < 0) {
		err = alloc.fd;
		goto out_buffer;
	}

	alloc.node = nid;
	err = put_arg(&alloc, sizeof(alloc), cmd, uarg);
	if (err)
		goto out_fd;

	/* From here on user space can close it. */
	fd_install(alloc.fd, dmabuf->file);

	return 0;

out_fd:
	put_unused_fd(alloc.fd);
out_buffer:
	dma_buf_put(dmabuf);

	return err;
}

/* -- Ranges --------------------------------------------------------------- */

static long ioctl_migrate(unsigned int cmd, void __user *uarg)
{
	struct devmem_migrate m;
	int err, put_err;

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

static long ioctl_verify(unsigned int cmd, void __user *uarg)
{
	struct devmem_verify v;
	int err;

	err = get_arg(&v, sizeof(v), SIZE_VER0(struct devmem_verify, unmovable),
		      cmd, uarg);
	if (err)
		return err;
	if (v.flags || v.pad || (v.nodes && !v.nr_nodes))
		return -EINVAL;

	err = devmem_verify(&v);
	if (err)
		return err;

	return put_arg(&v, sizeof(v), cmd, uarg);
}

/* -- Waiting for room ----------------------------------------------------- */

static void look_for_room(struct work_struct *work);
static DECLARE_DELAYED_WORK(watch_work, look_for_room);

static __poll_t room(const struct devmem_file *df)
{
	if (!node_is_device_coherent(df->nid))
		return EPOLLERR;

	return device_coherent_nr_free(df->nid) >= df->nr_pages ?
	       EPOLLIN | EPOLLRDNORM : 0;
}

/*
 * A look now and then costs those who wait some milliseconds; a hook in the
 * allocator would cost everybody who frees a page (invariant 3).
 */
static void look_for_room(struct work_struct *work)
{
	struct devmem_file *df;

	mutex_lock(&watch_lock);
	list_for_each_entry(df, &watches, list) {
		__poll_t now = room(df);

		if (now && !df->room) {
			if (df->eventfd && now & EPOLLIN)
				eventfd_signal(df->eventfd);
			wake_up_poll(&df->wait, now);
		}
		df->room = now;
	}
	if (!list_empty(&watches))
		schedule_delayed_work(&watch_work, WATCH_INTERVAL);
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
	df->room = false;
	list_add_tail(&df->list, &watches);
	mod_delayed_work(system_wq, &watch_work, 0);
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
	if (w.flags || w.pad || w.eventfd < -1)
		return -EINVAL;
	if (w.free && !node_is_device_coherent(w.node))
		return -ENODEV;

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
		df->room = false;
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
		return ioctl_alloc(cmd, uarg);
	case CALL(DEVMEM_IOC_MIGRATE):
		return ioctl_migrate(cmd, uarg);
	case CALL(DEVMEM_IOC_VERIFY):
		return ioctl_verify(cmd, uarg);
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

/* A node that comes gets a heap; those who wait for room on one hear it go. */
static int devmem_notify(struct notifier_block *nb, unsigned long event,
			 void *data)
{
	int *nid = data;

	if (event == DEVICE_COHERENT_NODE_ADDED)
		devmem_add_heap(*nid);
	else
		mod_delayed_work(system_wq, &watch_work, 0);

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
	for_each_device_coherent_node(nid)
		devmem_add_heap(nid);

	return 0;
}
device_initcall(devmem_init);
