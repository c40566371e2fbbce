/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs driver_*.c share that see what /dev/devmem gives, to whom,
 * and what it says. What is wrong on purpose is in driver_bad_*.c.
 */
#ifndef DEVMEM_DRIVER_H
#define DEVMEM_DRIVER_H

#include <signal.h>
#include <unistd.h>

#include "devmem_util.h"
#include "../../kselftest_harness.h"

#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))

FIXTURE(driver)
{
	struct nodes n;
	size_t size;			/* of the first device */
	int fd;
};

FIXTURE_SETUP(driver)
{
	self->fd = -1;
	if (!find_nodes(&self->n) || getuid())
		SKIP(return, "needs root, two system and two device nodes");
	self->fd = open("/dev/devmem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("/dev/devmem: errno %d", errno);
	self->size = node_bytes(self->n.d1);
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(driver)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, nodes_left(&self->n));
}

static inline char *anon_for_holder(void)
{
	return map_anon(64 * MIB);
}

#endif /* DEVMEM_DRIVER_H */
