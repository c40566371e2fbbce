#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariants 1 and 7 for memory that comes later: a node is declared, by the boot
# parameter or in sysfs, and whatever arrives there is device memory from its first
# page on, whoever adds it and whatever word brings it online. The state is the
# node's: it comes with the first block and goes with the last. Invariant 8 for what
# can't be declared.
#
# Wants, besides a device node that is there at boot: a node without memory, declared
# at boot, and two memory modules of a block for the guest to plug there (scripts/vm
# --empty-nodes 1 --hotplug-mem); memory that the firmware marks as specific-purpose
# on a node of its own, declared at boot as well, for the test of dax; and
# device_coherent=...,spare:1 memmap=128M$START for the test module to add, its
# address in DEVMEM_SPARE.
#
# Arguments: the node without memory if it isn't the last one, and its number for
# QEMU if that is another.
#
# Proof that it can fail: control_not_declared plugs a module on the same node when
# the declaration was taken back, and there the memory is ordinary.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

HOST=/dev/devmem-host
MEMORY_DIR=/sys/devices/system/memory
DECLARED=$NODE_DIR/device_coherent_declared
POLICY=$MEMORY_DIR/auto_online_blocks
START=${DEVMEM_SPARE:-0x18000000}
SIZE=0x8000000

need_root
[[ -w $HOST ]] || skip_all "needs scripts/vm --hotplug-mem"
need_device_nodes 1
need_testmod
# The last possible node that the firmware knows; behind it is the spare id.
read -ra POSSIBLE <<<"$(expand_list "$(<"$NODE_DIR/possible")")"
NID=${1:-${POSSIBLE[-2]}}
PXM=${2:-$NID}
SPARE=${POSSIBLE[-1]}
BLOCK_PAGES=$((0x$(<$MEMORY_DIR/block_size_bytes) / PAGE_SIZE))
WORD=$(<"$POLICY")
CAN_KEXEC=0
[[ -z $(kernel_image) || ! -e /sys/kernel/kexec_loaded ]] ||
	CAN_KEXEC=1
MEM_TOTAL=$(meminfo MemTotal)

has_blocks() {
	[[ $(blocks "$NID" | wc -l) == "$1" ]]
}

# INDEX BLOCKS: a module, and how many blocks the node then has
plug() {
	plug_until "$1" "$PXM" has_blocks "$2"
}

unplug() {
	echo "unplug $1" >$HOST
	wait_for "without module $1" has_blocks "$2"
}

is_device_node() {
	in_list "$1" "$(nodes_with device_coherent)"
}

is_declared() {
	in_list "$1" "$(expand_list "$(<"$DECLARED")")"
}

managed_is() {
	[[ $(node_managed "$NID") == "$1" ]]
}

# BLOCKS, online: in the zone, in the node's folder, in none of the system's counts
expect_device_node() {
	wait_for "pages of node $NID" managed_is $(($1 * BLOCK_PAGES))
	is_device_node "$NID" || fail "node $NID is not in has_device_coherent"
	! in_list "$NID" "$(nodes_with normal_memory)" ||
		fail "node $NID is in has_normal_memory"
	expect "zones of node $NID" "$(zone_names "$NID")" Coherent
	[[ -e $NODE_DIR/node$NID/device_coherent/start ]] ||
		fail "node $NID has no folder device_coherent"
	((MEM_TOTAL - $(meminfo MemTotal) < BLOCK_PAGES * PAGE_KB / 16)) ||
		fail "MemTotal was $MEM_TOTAL, is $(meminfo MemTotal)"
	(($(meminfo MemTotal) <= MEM_TOTAL)) ||
		fail "MemTotal was $MEM_TOTAL, is $(meminfo MemTotal)"
	expect_testmod 0 alloc "$NID" 0 10
	expect "pages held" "$(held "$NID")" 10
	expect_testmod 0 free
}

expect_gone() {
	! is_device_node "$NID" || fail "node $NID is in has_device_coherent"
	[[ ! -e $NODE_DIR/node$NID/device_coherent ]] ||
		fail "node $NID has its folder"
	expect_testmod ENOMEM alloc "$NID" 0 1
}

# TEXT: prints the name of the error, or 0
declare_node() {
	write_errno "$DECLARED" "$1"
}

# As booted, whatever a test left
after_test() {
	testmod free >/dev/null
	echo "$WORD" >"$POLICY"
	echo "unplug 0" >$HOST
	echo "unplug 1" >$HOST
	testmod remove "$NID" "$START" "$SIZE" >/dev/null
	testmod remove "$SPARE" "$START" "$SIZE" >/dev/null
	(wait_for "no modules" has_blocks 0) || :
	declare_node "+$NID" >/dev/null
	declare_node "-$SPARE" >/dev/null
}

at_boot() {
	is_declared "$NID" || fail "node $NID isn't in $(<"$DECLARED")"
	expect_gone
}

# How many segments a kernel for kexec would have in the node's memory. The kernel
# looks from the top of memory down, where the modules are.
kexec_segments() {
	local a n=0

	dmesg -C
	"$DEVMEM_DIR/kexec_probe" "$(kernel_image)" ||
		fail "kexec_file_load failed"
	dmesg | grep 'segment\[' >/dev/null || fail "no kexec segments in the log"
	while read -r a; do
		! blocks "$NID" | grep -qx "memory$((0x$a / (BLOCK_PAGES * PAGE_SIZE)))" ||
			n=$((n + 1))
	done < <(dmesg | sed -nE 's/.*segment\[[0-9]+\]: .* mem=0x([0-9a-f]+) .*/\1/p')
	echo "$n"
}

# NAME OF POLICY: whatever it says, and with what word they come online by hand
comes_as() {
	local block

	echo "$1" >"$POLICY"
	plug 0 1
	block=$(blocks "$NID")
	if [[ $1 == offline ]]; then
		is_device_node "$NID" || fail "not a device node while it is offline"
		expect "valid_zones" "$(<"$MEMORY_DIR/$block/valid_zones")" Coherent
		expect "$2 to $block" "$(write_errno "$MEMORY_DIR/$block/state" "$2")" 0
	fi
	expect_device_node 1
	unplug 0 0
	expect_gone
	is_declared "$NID" || fail "node $NID isn't declared any more"
}

module_online() { comes_as online; }
module_online_kernel() { comes_as online_kernel; }
module_online_movable() { comes_as online_movable; }
by_hand_online() { comes_as offline online; }
by_hand_online_kernel() { comes_as offline online_kernel; }
by_hand_online_movable() { comes_as offline online_movable; }

control_not_declared() {
	expect "-$NID" "$(declare_node "-$NID")" 0
	! is_declared "$NID" || fail "node $NID is in $(<"$DECLARED")"
	plug 0 1
	wait_for "pages" managed_is "$BLOCK_PAGES"
	! is_device_node "$NID" || fail "node $NID is in has_device_coherent"
	expect "zones of node $NID" "$(zone_names "$NID")" Normal
	expect "+$NID, with memory" "$(declare_node "+$NID")" EBUSY
	((!CAN_KEXEC)) || (($(kexec_segments))) || fail "kexec keeps out of memory of the system"
	unplug 0 0
	expect "+$NID" "$(declare_node "+$NID")" 0
	plug 0 1
	expect_device_node 1
}

# By what its resource is: nobody marks it for whoever plugs a module.
no_place_for_kexec() {
	((CAN_KEXEC)) || skip "needs CONFIG_KEXEC_FILE and the kernel's image"
	plug 0 1
	expect_device_node 1
	expect "segments on node $NID" "$(kexec_segments)" 0
	unplug 0 0
}

first_and_last_block() {
	plug 0 1
	expect_device_node 1
	plug 1 2
	expect_device_node 2
	expect "-$NID, with memory" "$(declare_node "-$NID")" EBUSY
	unplug 0 1
	expect_device_node 1
	is_declared "$NID" || fail "node $NID isn't declared any more"
	unplug 1 0
	expect_gone
	expect "-$NID" "$(declare_node "-$NID")" 0
}

# A driver of ours adds a range to the node of a module, and takes it back.
two_owners() {
	local block

	plug 0 1
	expect_testmod 0 add "$NID" "$START" "$SIZE"
	expect_device_node 2
	expect_testmod 0 remove "$NID" "$START" "$SIZE"
	expect_device_node 1
	block=$(blocks "$NID")
	for word in online_movable online_kernel; do
		expect "offline" "$(write_errno "$MEMORY_DIR/$block/state" offline)" 0
		is_device_node "$NID" || fail "not a device node while it is offline"
		expect "$word" "$(write_errno "$MEMORY_DIR/$block/state" "$word")" 0
		expect_device_node 1
	done
	unplug 0 0
	expect_gone
}

# Without a declaration, the driver's word holds as long as its memory does.
driver_alone() {
	expect "-$NID" "$(declare_node "-$NID")" 0
	expect_testmod 0 add "$NID" "$START" "$SIZE"
	! is_declared "$NID" || fail "device_coherent_add() declares for good"
	plug 0 2
	expect_device_node 2
	expect_testmod 0 remove "$NID" "$START" "$SIZE"
	expect_device_node 1
	unplug 0 0
	expect_gone
	plug 0 1
	wait_for "pages" managed_is "$BLOCK_PAGES"
	! is_device_node "$NID" || fail "declared by who has gone"
}

# WORD ERRNO TEXT: refused by name, and nothing has changed
refused() {
	local before

	before=$(<"$DECLARED")
	dmesg -C
	expect "'$1'" "$(declare_node "$1")" "$2"
	dmesg | grep "device_coherent: .*$3" >/dev/null || fail "'$1': the log doesn't say '$3'"
	expect "declared" "$(<"$DECLARED")" "$before"
}

bad_input() {
	refused +0 EINVAL "node 0: not a node id"
	refused "+${DEVICE_NODES[0]},0" EINVAL "node 0: not a node id"
	refused +127 EINVAL "node 127: not a node id"
	refused +128 EINVAL "'+128' is neither"
	refused "$NID" EINVAL "'$NID' is neither"
	refused + EINVAL "'+' is neither"
	refused "+x" EINVAL "'+x' is neither"
	# In one write, unlike the shell's
	! printf '+%s\n+%s\n' "$SPARE" "$SPARE" |
		dd of="$DECLARED" bs=64 iflag=fullblock status=none 2>/dev/null ||
		fail "two lines were taken"
	! is_declared "$SPARE" || fail "two lines declared node $SPARE"
	refused "+$NID" EEXIST "node $NID: is declared already"
	refused "+$SPARE,$NID" EEXIST "node $NID: is declared already"
	refused "-$SPARE" ENOENT "node $SPARE: isn't declared"
	refused "-$NID,$SPARE" ENOENT "node $SPARE: isn't declared"
	plug 0 1
	refused "-$NID" EBUSY "node $NID: has memory"
}

system_node_is_refused() {
	local nid

	for nid in $(expand_list "$(nodes_with normal_memory)"); do
		((nid == 0)) || break
	done
	((nid)) || skip "needs a second system node"
	refused "+$nid" EBUSY "node $nid: has memory that isn't a device's"
}

# Root's alone; anybody reads it.
only_root() {
	local out

	expect "mode" "$(stat -c %a "$DECLARED")" 644
	setpriv --reuid 65534 --clear-groups cat "$DECLARED" >/dev/null ||
		fail "not to be read by all"
	# shellcheck disable=SC2016 # expanded by the inner shell
	! setpriv --reuid 65534 --clear-groups --inh-caps=-all \
		bash -c 'echo +1 >"$1"' - "$DECLARED" 2>/dev/null ||
		fail "written by nobody"
	# shellcheck disable=SC2016
	out=$(setpriv --bounding-set=-all --inh-caps=-all \
		bash -c 'echo "+$2" >"$1"' - "$DECLARED" "$SPARE" 2>&1) || :
	[[ $out == *"Operation not permitted" ]] ||
		fail "without CAP_SYS_ADMIN: '$out'"
	! is_declared "$SPARE" || fail "declared without CAP_SYS_ADMIN"
}

# Declarations come and go while modules do: each time, the node is the one or
# the other with all of its memory.
while_modules_come() {
	local writer zones

	while :; do
		declare_node "-$NID" >/dev/null
		declare_node "+$NID" >/dev/null
	done &
	writer=$!
	for _ in {1..10}; do
		plug 0 1
		wait_for "pages" managed_is "$BLOCK_PAGES"
		zones=$(zone_names "$NID")
		case $zones in
		Coherent) is_device_node "$NID" || fail "zone Coherent, no device node" ;;
		Normal) ! is_device_node "$NID" || fail "a device node with zone Normal" ;;
		*) fail "zones '$zones'" ;;
		esac
		unplug 0 0
		expect_gone
	done
	kill "$writer"
	wait "$writer" 2>/dev/null || :
}

# -- dax: memory that the firmware marks as specific-purpose ------------------

need_dax() {
	DAX=$(basename "$(echo /sys/bus/dax/devices/dax*)")
	[[ -e /sys/bus/dax/devices/$DAX ]] || skip "needs memory of dax_hmem"
	[[ -x $(command -v daxctl) ]] || skip "needs daxctl (apt-get install daxctl)"
	DAX_NID=$(<"/sys/bus/dax/devices/$DAX/target_node")
}

dax_is_device_node() {
	expect "zones of node $DAX_NID" "$(zone_names "$DAX_NID")" Coherent
	is_device_node "$DAX_NID" || fail "node $DAX_NID is not a device node"
	expect_testmod 0 alloc "$DAX_NID" 0 1
	expect_testmod 0 free
}

# The node was declared at boot, when dax/kmem brought the memory.
dax_comes_and_goes() {
	local word

	need_dax
	# With another policy it refuses to choose how memory comes online.
	echo offline >"$POLICY"
	for word in "" "" --no-movable; do
		dax_is_device_node
		daxctl reconfigure-device --mode=devdax --force "$DAX" >/dev/null
		! is_device_node "$DAX_NID" || fail "a device node without memory"
		# shellcheck disable=SC2086 # none or one
		daxctl reconfigure-device --mode=system-ram $word "$DAX" >/dev/null ||
			fail "daxctl reconfigure-device $word failed"
	done
	dax_is_device_node
	daxctl reconfigure-device --mode=devdax --force "$DAX" >/dev/null
	expect "-$DAX_NID" "$(declare_node "-$DAX_NID")" 0
	daxctl reconfigure-device --mode=system-ram "$DAX" >/dev/null
	! is_device_node "$DAX_NID" || fail "declared though it was taken back"
	daxctl reconfigure-device --mode=devdax --force "$DAX" >/dev/null
	expect "+$DAX_NID" "$(declare_node "+$DAX_NID")" 0
	daxctl reconfigure-device --mode=system-ram "$DAX" >/dev/null
	dax_is_device_node
}

run_tests at_boot module_online module_online_kernel module_online_movable \
	by_hand_online by_hand_online_kernel by_hand_online_movable \
	control_not_declared no_place_for_kexec first_and_last_block two_owners driver_alone \
	bad_input system_node_is_refused only_root while_modules_come \
	dax_comes_and_goes
