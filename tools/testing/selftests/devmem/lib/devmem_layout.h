/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The structures of /dev/devmem as programs of 32 bits see them, too: with less
 * padding there, of whatever size it is, none could have these sizes. Compiled
 * with -m32 and without a C library by scripts/lint.
 */
#ifndef _DEVMEM_LAYOUT_H
#define _DEVMEM_LAYOUT_H

#include <stddef.h>
#include <linux/devmem.h>
#ifndef static_assert
#include <assert.h>
#endif

static_assert(sizeof(struct devmem_info) == 96, "info");
static_assert(sizeof(struct devmem_alloc) == 40, "alloc");
static_assert(sizeof(struct devmem_migrate) == 112, "migrate");
static_assert(sizeof(struct devmem_verify) == 112, "verify");
static_assert(sizeof(struct devmem_watch) == 24, "watch");
static_assert(offsetof(struct devmem_info, size) == 16, "info");
static_assert(offsetof(struct devmem_alloc, fd_flags) == 24, "alloc");
static_assert(offsetof(struct devmem_migrate, moved) == 40, "migrate");
static_assert(offsetof(struct devmem_verify, nodes) == 32, "verify");
static_assert(offsetof(struct devmem_watch, flags) == 16, "watch");

#endif /* _DEVMEM_LAYOUT_H */
