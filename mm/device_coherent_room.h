/* SPDX-License-Identifier: GPL-2.0 */
/* What mm/device_coherent.c uses of mm/device_coherent_room.c */
#ifndef _MM_DEVICE_COHERENT_ROOM_H
#define _MM_DEVICE_COHERENT_ROOM_H

#include <linux/device.h>

extern struct device_attribute dev_attr_make_room;

void device_coherent_reset_room(int nid);

#endif /* _MM_DEVICE_COHERENT_ROOM_H */
