/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the EFI stub calls to keep itself, and what it hands to the kernel, out of
 * memory that becomes a device's.
 */
#ifndef _DRIVERS_FIRMWARE_EFI_DEVICE_COHERENT_H
#define _DRIVERS_FIRMWARE_EFI_DEVICE_COHERENT_H

#include <linux/types.h>

#if defined(CONFIG_ZONE_DEVICE_COHERENT) && defined(CONFIG_ARM64)

void efi_device_coherent_option(const char *param, const char *val);
bool efi_device_coherent_covers(u64 start, u64 size);

#else

static inline void efi_device_coherent_option(const char *param,
					      const char *val) { }

static inline bool efi_device_coherent_covers(u64 start, u64 size)
{
	return false;
}

#endif

#endif /* _DRIVERS_FIRMWARE_EFI_DEVICE_COHERENT_H */
