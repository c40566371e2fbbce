// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/devmem: what it says of nodes, and waiting for room on them.
 *
 * Invariant 2: the node that was named. A watch is over when there is room, and
 * not before.
 *
 * Wants two system nodes and two device nodes of 128 MB; see "plan".
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/devmem_calls.h"
#include "lib/devmem_util.h"
#include "lib/driver.h"
#include "../kselftest_harness.h"

/* -- Nodes ----------------------------------------------------------------- */

TEST_F_TIMEOUT(driver, info_of_each_node, PATIENCE)
{
	int ids[MAX_NODES], nr = device_nodes(ids), i, at = 0;
	struct node_pages pages;
	struct devmem_info info;

	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, devmem_info(self->fd, at, DEVMEM_INFO_NEXT |
					 DEVMEM_INFO_RUNS, &info));
		ASSERT_TRUE(node_pages(ids[i], &pages));
		EXPECT_EQ(ids[i], info.node);
		EXPECT_EQ(node_distance(self->n.s0, ids[i]), info.distance);
		EXPECT_EQ(pages.managed * PAGE, info.size);
		EXPECT_EQ(info.size, info.free);
		EXPECT_EQ(info.size, info.largest_free);
		EXPECT_EQ(info.size, info.largest_obtainable);
		EXPECT_EQ(node_stat(ids[i], "coherent_moved_in"), info.moved_in);
		at = info.node + 1;
	}
	EXPECT_EQ(-ENODEV, devmem_info(self->fd, at, DEVMEM_INFO_NEXT, &info));
	EXPECT_EQ(-ENODEV, devmem_info(self->fd, self->n.s0, 0, &info));
	EXPECT_EQ(0, devmem_info(self->fd, self->n.d2, 0, &info));
	EXPECT_EQ(0, info.largest_free);
}

TEST_F_TIMEOUT(driver, info_of_a_used_node, PATIENCE)
{
	struct devmem_info info, before;
	char *p = map_anon(SIZE);
	int buf;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, 0, &before));
	buf = devmem_alloc(self->fd, self->n.d1, SIZE, DEVMEM_ALLOC_CONTIG, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, mbind_nodes(p, SIZE, MPOL_BIND, NODE(self->n.d1), 0));
	fill_pages(p, SIZE, 1);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, DEVMEM_INFO_RUNS, &info));
	EXPECT_EQ(before.free - 2 * SIZE, info.free);
	EXPECT_LE(info.largest_free, info.free);
	/* What is bound can be moved, the buffer can't. */
	EXPECT_LE(info.largest_free, info.largest_obtainable);
	EXPECT_LE(info.largest_obtainable, info.size - SIZE);
	EXPECT_LE((info.size - SIZE) / 2, info.largest_obtainable);
	munmap(p, SIZE);

	p = map_anon(SIZE);
	fill_pages(p, SIZE, 2);
	EXPECT_EQ(PAGES, move(p, SIZE, self->n.d1, NULL) ? 0 : PAGES);
	ASSERT_EQ(0, devmem_info(self->fd, self->n.d1, 0, &info));
	EXPECT_EQ(before.moved_in + PAGES, info.moved_in);
	munmap(p, SIZE);
	close(buf);
}

/* -- Waiting for room ------------------------------------------------------ */

TEST_F_TIMEOUT(driver, poll_waits_for_room, PATIENCE)
{
	struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
	int buf, status, go[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLERR, pollfd.revents);
	buf = devmem_alloc(self->fd, self->n.d1, self->size - MIB, 0, 0);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, MIB, -1));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd.revents);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, 2 * MIB, -1));
	EXPECT_EQ(0, poll(&pollfd, 1, 300));

	pid = fork();
	if (!pid) {
		close(go[1]);
		(void)!read(go[0], &c, 1);
		/* The parent waits by now; if it doesn't, that's as good. */
		usleep(200000);
		_exit(0);
	}
	/* The child has the buffer, too: it is its end that makes room. */
	close(buf);
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	ASSERT_EQ(1, write(go[1], "x", 1));
	EXPECT_EQ(1, poll(&pollfd, 1, 20000));
	EXPECT_EQ(POLLIN, pollfd.revents);
	waitpid(pid, &status, 0);

	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, 0, -1));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLERR, pollfd.revents);
}

TEST_F_TIMEOUT(driver, eventfd_is_signalled, PATIENCE)
{
	int event = eventfd(0, EFD_CLOEXEC), buf, i;
	struct pollfd pollfd = { .fd = event, .events = POLLIN };
	long long times;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, devmem_watch(self->fd, self->n.d1, self->size, event));
	for (i = 0; i < 3; i++) {
		/* There is room: once */
		ASSERT_EQ(1, poll(&pollfd, 1, 20000));
		EXPECT_EQ(0, poll(NULL, 0, 300));
		ASSERT_EQ((ssize_t)sizeof(times), read(event, &times, sizeof(times)));
		EXPECT_EQ(1, times);
		buf = devmem_alloc(self->fd, self->n.d1, PAGE, 0, 0);
		ASSERT_LE(0, buf);
		EXPECT_EQ(0, poll(&pollfd, 1, 300));
		close(buf);
	}
	close(event);
}

TEST_HARNESS_MAIN
