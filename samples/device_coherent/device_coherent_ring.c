// SPDX-License-Identifier: GPL-2.0
/*
 * A sample driver that keeps what it shares with its device in the device's own
 * memory: a ring of commands, in a pool of small pieces, and data buffers, in a
 * physically contiguous range. A kernel thread plays the device: it knows
 * nothing but physical addresses.
 *
 * Loading the module runs "commands" commands, each of which adds up a buffer,
 * compares the sums with those of the CPU, and fails with -EIO if one is wrong.
 * The memory stays in use until the module is removed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/device_coherent.h>
#include <linux/genalloc.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/numa.h>
#include <linux/sizes.h>
#include <linux/wait.h>

static int node = NUMA_NO_NODE;
module_param(node, int, 0444);
MODULE_PARM_DESC(node, "device node (default: the first one)");

static unsigned int commands = 256;
module_param(commands, uint, 0444);
MODULE_PARM_DESC(commands, "how many to run (default: 256)");

static unsigned int nodes_added;
module_param(nodes_added, uint, 0444);
MODULE_PARM_DESC(nodes_added, "device nodes that came since loading");

static unsigned int nodes_removed;
module_param(nodes_removed, uint, 0444);
MODULE_PARM_DESC(nodes_removed, "device nodes that went since loading");

#define POOL_SIZE	SZ_64K
#define PIECE_ORDER	6	/* a cache line */
#define RING_SIZE	16
#define BUFFER_SIZE	SZ_16K
#define BUFFERS_SIZE	(RING_SIZE * BUFFER_SIZE)

/* What the device reads and writes. Addresses are physical. */
struct command {
	u64 buffer;
	u64 length;
	u64 sum;
};

struct ring {
	u32 head;		/* the driver's: commands that were queued */
	u32 tail;		/* the device's: commands that are done */
	u64 slot[RING_SIZE];	/* where the commands are */
};

struct sample {
	struct gen_pool *pool;
	struct page *buffers;
	struct ring *ring;
	struct command *slot[RING_SIZE];
	struct task_struct *device;
	wait_queue_head_t queued;
	wait_queue_head_t done;
};

static struct sample sample;

/* -- The device ---------------------------------------------------------------- */

static u64 add_up(const u32 *word, size_t length)
{
	u64 sum = 0;
	size_t i;

	for (i = 0; i < length / sizeof(*word); i++)
		sum += word[i];

	return sum;
}

static bool has_work(const struct ring *ring)
{
	/* Pairs with the release in queue_command(). */
	return smp_load_acquire(&ring->head) != ring->tail;
}

static int device_thread(void *data)
{
	struct sample *s = data;
	struct ring *ring = s->ring;

	while (!kthread_should_stop()) {
		struct command *command;

		wait_event_interruptible(s->queued, has_work(ring) ||
					 kthread_should_stop());
		if (!has_work(ring))
			continue;

		command = phys_to_virt(ring->slot[ring->tail % RING_SIZE]);
		command->sum = add_up(phys_to_virt(command->buffer),
				      command->length);
		/* Pairs with the acquire in is_done(). */
		smp_store_release(&ring->tail, ring->tail + 1);
		wake_up(&s->done);
	}

	return 0;
}

/* -- The driver ---------------------------------------------------------------- */

static bool is_done(const struct ring *ring, u32 number)
{
	/* Pairs with the release in device_thread(). */
	return (s32)(smp_load_acquire(&ring->tail) - number) > 0;
}

static void *buffer_of(struct sample *s, u32 number)
{
	return page_address(s->buffers) + number % RING_SIZE * BUFFER_SIZE;
}

static void queue_command(struct sample *s, u32 number)
{
	struct command *command = s->slot[number % RING_SIZE];
	u32 *word = buffer_of(s, number);
	size_t i;

	for (i = 0; i < BUFFER_SIZE / sizeof(*word); i++)
		word[i] = number * 2654435761U + i;
	command->buffer = virt_to_phys(word);
	command->length = BUFFER_SIZE;
	command->sum = 0;
	/* Pairs with the acquire in has_work(). */
	smp_store_release(&s->ring->head, number + 1);
	wake_up(&s->queued);
}

static int check_command(struct sample *s, u32 number)
{
	u64 sum = add_up(buffer_of(s, number), BUFFER_SIZE);

	wait_event(s->done, is_done(s->ring, number));
	if (s->slot[number % RING_SIZE]->sum != sum) {
		pr_err("command %u: the device says %llu, not %llu\n", number,
		       s->slot[number % RING_SIZE]->sum, sum);
		return -EIO;
	}

	return 0;
}

/* As many at a time as the ring has room for */
static int run_commands(struct sample *s)
{
	u32 queued, checked = 0;
	int rc = 0;

	for (queued = 0; queued < commands && !rc; queued++) {
		if (queued - checked == RING_SIZE)
			rc = check_command(s, checked++);
		queue_command(s, queued);
	}
	while (checked < queued && !rc)
		rc = check_command(s, checked++);

	return rc;
}

static int make_ring(struct sample *s)
{
	int i;

	s->ring = (void *)gen_pool_alloc(s->pool, sizeof(*s->ring));
	if (!s->ring)
		return -ENOMEM;

	for (i = 0; i < RING_SIZE; i++) {
		unsigned long at = gen_pool_alloc(s->pool,
						  sizeof(*s->slot[i]));

		if (!at)
			return -ENOMEM;
		s->slot[i] = (void *)at;
		s->ring->slot[i] = gen_pool_virt_to_phys(s->pool, at);
	}

	return 0;
}

static void free_ring(struct sample *s)
{
	int i;

	for (i = 0; i < RING_SIZE; i++)
		if (s->slot[i])
			gen_pool_free(s->pool, (unsigned long)s->slot[i],
				      sizeof(*s->slot[i]));
	if (s->ring)
		gen_pool_free(s->pool, (unsigned long)s->ring,
			      sizeof(*s->ring));
}

static int hear_of_node(struct notifier_block *nb, unsigned long event,
			void *data)
{
	if (event == DEVICE_COHERENT_NODE_ADDED)
		nodes_added++;
	else
		nodes_removed++;
	pr_info("node %d has %s\n", *(int *)data,
		event == DEVICE_COHERENT_NODE_ADDED ? "come" : "gone");

	return NOTIFY_OK;
}

static struct notifier_block node_notifier = {
	.notifier_call = hear_of_node,
};

static void stop_sample(struct sample *s)
{
	if (!IS_ERR_OR_NULL(s->device))
		kthread_stop(s->device);
	if (!IS_ERR_OR_NULL(s->pool)) {
		free_ring(s);
		device_coherent_pool_destroy(s->pool);
	}
	device_coherent_free_contig(s->buffers, BUFFERS_SIZE / PAGE_SIZE);
}

static int start_sample(struct sample *s)
{
	int rc;

	init_waitqueue_head(&s->queued);
	init_waitqueue_head(&s->done);
	s->pool = device_coherent_pool_create(node, POOL_SIZE, PIECE_ORDER);
	if (IS_ERR(s->pool))
		return PTR_ERR(s->pool);

	s->buffers = device_coherent_alloc_contig(node, GFP_KERNEL,
						  BUFFERS_SIZE / PAGE_SIZE, 1);
	if (!s->buffers)
		return -ENOMEM;

	rc = make_ring(s);
	if (rc)
		return rc;

	s->device = kthread_run(device_thread, s, "device_coherent");
	if (IS_ERR(s->device))
		return PTR_ERR(s->device);

	return run_commands(s);
}

static int __init sample_init(void)
{
	int nid, rc;

	for_each_device_coherent_node(nid)
		if (node == NUMA_NO_NODE)
			node = nid;
	if (!node_is_device_coherent(node)) {
		pr_err("node %d is not a device node\n", node);
		return -ENODEV;
	}

	rc = device_coherent_register_notifier(&node_notifier);
	if (rc)
		return rc;

	rc = start_sample(&sample);
	if (rc) {
		stop_sample(&sample);
		device_coherent_unregister_notifier(&node_notifier);
		return rc;
	}
	pr_info("%u commands, ring and buffers on node %d\n", commands, node);

	return 0;
}
module_init(sample_init);

static void __exit sample_exit(void)
{
	stop_sample(&sample);
	device_coherent_unregister_notifier(&node_notifier);
}
module_exit(sample_exit);

MODULE_DESCRIPTION("Sample driver with its ring and buffers in device memory");
MODULE_LICENSE("GPL");
