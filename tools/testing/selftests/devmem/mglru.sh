#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The multi-generational LRU keeps lists of its own for each zone, ages pages
# by page tables and chooses victims by generation. So the tests that place,
# move and reclaim pages run once more with it: mglru.sh TEST [ARGUMENT...].
#
# That it is switched on under pages of a device is tested by
# keepout_settings.c:lru_gen_switched. What this proves, and how it was seen to
# fail, is what TEST says of itself.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

LRU_GEN=/sys/kernel/mm/lru_gen/enabled

need_root
[[ -w $LRU_GEN ]] || skip_all "no MGLRU (CONFIG_LRU_GEN)"
echo 7 >"$LRU_GEN"
# Without the last one, processors don't mark what they read in page middle directories.
[[ $(<"$LRU_GEN") == 0x000[37] ]] || fail "$LRU_GEN is $(<"$LRU_GEN") after 7"
exec "$DEVMEM_DIR/$1" "${@:2}"
