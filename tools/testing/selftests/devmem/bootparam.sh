#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Invariant 8, bad input is refused by name: every kind of good and bad value
# of device_coherent=. What is good becomes device nodes of the size it says;
# what is bad is named on the console with the reason, its memory stays what it
# was, and the machine boots. Runs on the host.
#
# Proof that it can fail: each boot says exactly which device nodes there are,
# so a good value that is ignored fails, and so does a bad one that is taken.
set -euo pipefail
# shellcheck source=lib/devmem_lib.sh
. "$(dirname "$(readlink -f "$0")")/lib/devmem_lib.sh"

# Where RAM begins, and the size of a memory block
RAM_MB=0
BLOCK_MB=128
# So many are node 0
SYSTEM=4
# Not here, and why: NAME of BOOTS, or NAME.NAME of SAID
declare -A NOT_HERE
ITS_CPU=(--qemu "-smp 3,sockets=3,cores=1,threads=1")
ALLOWED=()
# MiB that are left over of the last node, and of nodes with their page structures
LAST="{1#}"
OWN_MEMMAP=126
OWN_MEMMAP_OF_GIB=1008
MACHINE=()
if [[ ${DEVMEM_ARCH:-} == arm64 ]]; then
	RAM_MB=1024
	LAST="{2#}"
	if ((PAGE_SIZE == 65536)); then
		# They would have to be in whole huge pages, of 512 MB.
		BLOCK_MB=512
		OWN_MEMMAP=512
		OWN_MEMMAP_OF_GIB=1024
	fi
	# Less, and the stub gives up to keep the kernel out of device memory.
	SYSTEM=8
	# Of words that are bad
	ALLOWED=(--allow-warning "EFI stub: WARNING: device_coherent:")
	# What firmware says of CPUs, scripts/vm puts in other words.
	ITS_CPU+=(--dt)
	NOT_HERE[node_with_absent_cpu]="QEMU's device tree doesn't have such CPUs"
	NOT_HERE[two_nodes.partial_block]="the firmware keeps nothing of those nodes"
	for name in specific_purpose specific_purpose_in_node_0; do
		NOT_HERE[$name]="memmap=SIZE%START is a parameter of x86"
	done
else
	MACHINE=(--qemu "-machine max-ram-below-4g=2G")
fi

# Numbers of memory blocks in braces stand for {1}: a size, {1k}: the same in KiB,
# {1#}: in MiB, without unit; and behind a @ for addresses: {@1}: so many blocks
# behind the start of RAM, {@1x}: in hexadecimal, {@1h}: that without 0x, {@1e}: the
# byte before, {@1+}: half a block behind that.
fill() {
	local text=$1 mb new

	while [[ $text =~ \{(@?)([0-9]+)([#kxhe+]?)\} ]]; do
		mb=$((BASH_REMATCH[2] * BLOCK_MB))
		[[ -z ${BASH_REMATCH[1]} ]] || mb=$((mb + RAM_MB))
		case ${BASH_REMATCH[3]} in
		'#') new=$mb ;;
		k) new=$((mb * 1024))K ;;
		x) printf -v new '%#x' $((mb << 20)) ;;
		h) printf -v new '%x' $((mb << 20)) ;;
		e) printf -v new '%x' $(((mb << 20) - 1)) ;;
		+) new=$((mb + BLOCK_MB / 2))M ;;
		*) new=${mb}M ;;
		esac
		text=${text//"${BASH_REMATCH[0]}"/$new}
	done
	echo "$text"
}

# All machines: node 0 with the CPUs, node 1 behind it with one block, node 2 with
# two. On x86 the firmware keeps the last pages of low RAM, so that of the last node
# one block is not whole and stays unused; and the boot loader puts the initrd
# there, which has to be moved.
MACHINE+=(--mem "$(fill "{$SYSTEM}")" --device-mem "$(fill '{1},{2}')" --no-register)

# A CPU of its own for node 1
OF_NODE_1="-numa cpu,node-id=1,socket-id=2,core-id=0,thread-id=0"
# One that may come later: the firmware knows of it.
ABSENT="-smp 2,maxcpus=3,sockets=3,cores=1,threads=1 $OF_NODE_1"

# A node that the direct map has a page of 1 GB for, instead of those two
GIB="--mem 2G --device-mem 1G --append memory_hotplug.memmap_on_memory=1"

# A node that nothing is known of but that modules can be plugged there
EMPTY="--empty-nodes 1 --hotplug-mem {1}"

# More words than there is room for
WORDS=$(printf '128M@%dG,' {1000..1128})

# One boot each: name; value; device nodes as NID:MB/DISTANCE to node 0; more
# parameters, or CPU, ABSENT, GIB, EMPTY or INIT. Words that are refused one by one share
# a boot with one that is good: it has to be taken all the same.
BOOTS=(
	"two_nodes;node:1,node:2;1:{1#}/40 2:$LAST/40;"
	"carve_out;{1}@{@2};3:{1#}/20;"
	"carve_outs_of_one_node;{1}@{@2x}:5,{1k}@{@3}:5,distance:80,node:1;1:{1#}/40 5:{2#}/80;"
	"specific_purpose;sp;1:128/40;memmap=128M%0x20000000-1+0xefffffff"
	"specific_purpose_in_node_0;sp;3:128/20;memmap=128M%0x10000000-1+0xefffffff"
	"specific_purpose_none;sp;;"
	"memmap_on_device;node:1,memmap:device;1:$OWN_MEMMAP/40;memory_hotplug.memmap_on_memory=1"
	"memmap_on_large_device;node:1,memmap:device;1:$OWN_MEMMAP_OF_GIB/40;GIB"
	"memmap_on_device_off;node:1,memmap:device,spare:2;1:{1#}/40;"
	"bad_words;node:0,node:999,node:x,node:,node:-1,node:99999999999,node:1,{1}@{@2}:0,256M,everything,distance:10,distance:x,spare:0,spare:1:maybe,;1:{1#}/40;"
	"bad_nodes;node:1,node:1,node:9,{1}@{@$SYSTEM}:2,{1}@{@2}:1;1:{1#}/40;"
	"bad_ranges;{2}@{@1},{1}@{@2},100M@{@2},{1}@{@1+},0@{@3},{1}@64G,{2}@{@$((SYSTEM + 2))},{1}@0,{4}@0xffffffffe0000000;3:{2#}/20;nokaslr"
	"bad_number;99999999999999999999@{@2};;"
	"no_value;;;"
	"too_many;${WORDS}{1}@{@2};;"
	"declared;node:1,node:3,node:3,spare:1:declared,gi;1:{1#}/40;EMPTY"
	"initiators;gi;;INIT"
	"restricted;restricted,node:1;1:{1#}/40;"
	"numa_off;node:1,{1}@{@2},sp,spare:1,gi;;numa=off"
	"node_with_cpu;node:1,node:2;2:$LAST/40;CPU"
	"node_with_absent_cpu;node:1,node:2;2:$LAST/40;ABSENT"
)

# What the console of a boot has to say: boot; name; expression
NUMBER="refused: expected a number from 1 to 127"
BLOCKS="refused: start and size must be multiples of a memory block, {1#} MB"
SAID=(
	"two_nodes;node_1;node 1: {1#} MB at"
	"two_nodes;partial_block;'node:2': [0-9]+ KB outside whole memory blocks of {1#} MB stay unused"
	"carve_out;address;node 3: {1#} MB at .mem 0x0*{@2h}-0x0*{@3e}"
	"restricted;told;restricted: only those may ask whose cpuset was given"
	"memmap_on_device_off;why;page structures go to system memory; boot with"
	"specific_purpose_none;why;'sp' refused: the firmware marks no memory as specific-purpose"
	"bad_words;node_0;'node:0' $NUMBER"
	"bad_words;node_too_large;'node:999' $NUMBER"
	"bad_words;node_garbage;'node:x' $NUMBER"
	"bad_words;node_empty;'node:' $NUMBER"
	"bad_words;node_negative;'node:-1' $NUMBER"
	"bad_words;node_huge;'node:99999999999' $NUMBER"
	"bad_words;range_of_node_0;'{1}@{@2}:0' $NUMBER"
	"bad_words;range_without_start;'256M' refused: expected node:N, SIZE@START"
	"bad_words;garbage;'everything' refused: expected node:N, SIZE@START"
	"bad_words;distance_small;'distance:10' refused: expected a number from 11 to"
	"bad_words;distance_garbage;'distance:x' refused: expected a number from 11 to"
	"bad_words;spare_none;'spare:0' $NUMBER"
	"bad_words;spare_garbage;'spare:1:maybe' refused: expected spare:N or spare:N:declared"
	"bad_words;trailing_comma;'' refused: expected node:N, SIZE@START"
	"bad_nodes;twice;'node:1' refused: node 1 is a device node already"
	"bad_nodes;not_there;'node:9' refused: the firmware doesn't know node 9, spare:N sets ids aside"
	"bad_nodes;range_of_another_node;'{1}@{@$SYSTEM}:2' refused: node 2 has other memory"
	"bad_nodes;range_for_node_with_memory;'{1}@{@2}:1' refused: node 1 has other memory"
	"bad_ranges;overlap;'{1}@{@2}' refused: overlaps '{2}@{@1}'"
	"bad_ranges;size_unaligned;'100M@{@2}' $BLOCKS"
	"bad_ranges;start_unaligned;'{1}@{@1+}' $BLOCKS"
	"bad_ranges;empty;'0@{@3}' $BLOCKS"
	"bad_ranges;no_ram;'{1}@64G' refused: not all of it is system RAM"
	"bad_ranges;half_ram;'{2}@{@$((SYSTEM + 2))}' refused: not all of it is system RAM"
	"bad_ranges;low_memory_and_kernel;'{1}@0' refused: "
	"bad_ranges;wraps;'{4}@0xffffffffe0000000' refused: wraps around"
	"bad_number;why;'99999999999999999999@{@2}' refused: "
	"no_value;why;'device_coherent' refused: expected a value"
	"too_many;why;'{1}@{@2}' refused: more than 128 nodes and ranges"
	"numa_off;node;'node:1' refused: numa=off"
	"numa_off;range;'{1}@{@2}' refused: numa=off"
	"numa_off;specific_purpose;'sp' refused: numa=off"
	"declared;said;node 3: declared, memory that comes there is a device's"
	"declared;spare;node 4: declared, memory that comes there is a device's"
	"declared;twice;'node:3' refused: node 3 is declared already"
	"declared;no_initiator;'gi' refused: the firmware describes no generic initiator without CPUs and memory"
	"initiators;said;node 2: declared, memory that comes there is a device's"
	"numa_off;initiators;'gi' refused: numa=off"
	"numa_off;spare;'spare' refused: numa=off"
	"node_with_cpu;why;'node:1' refused: node 1 has CPUs"
	"node_with_absent_cpu;why;'node:1' refused: node 1 has CPUs"
)

start_boot() {
	local name value more words options=("${MACHINE[@]}")

	IFS=';' read -r name value _ more <<<"$(fill "$1")"
	[[ -z ${NOT_HERE[$name]:-} ]] || return 0
	if [[ $more == CPU ]]; then
		options+=("${ITS_CPU[@]}" --qemu "$OF_NODE_1")
		more=
	elif [[ $more == ABSENT ]]; then
		options+=(--qemu "$ABSENT")
		more=
	elif [[ $more == EMPTY ]]; then
		read -ra words <<<"$(fill "$EMPTY")"
		options+=("${words[@]}")
		more=
	elif [[ $more == INIT ]]; then
		# One has memory, and isn't meant; the kernel counts these nodes first.
		read -ra options <<<"$(fill "--mem {$SYSTEM} --device-mem {1},{2} --no-register")"
		read -ra words <<<"$(fill "$EMPTY --initiators 2,3")"
		options+=("${words[@]}")
		more=
	elif [[ $more == GIB ]]; then
		read -ra options <<<"--no-register $GIB"
		more=
	fi
	boot "$name" "${options[@]}" "${ALLOWED[@]}" --append "device_coherent=$value $more" -- \
		"$DEVMEM_DIR/lib/node_report.sh"
}

# All device nodes of a report, as BOOTS has them
nodes_of() {
	awk '
		$1 == "device" {
			nodes[++n] = $2
			mb[$2] = $4
			if ($3 != "Coherent" || $5)
				bad = ", in use or with other zones"
		}
		$1 == "distance" { far[$2] = $3 }
		END {
			for (i = 1; i <= n; i++)
				printf("%s%s:%s/%s", (i == 1 ? "" : " "),
				       nodes[i], mb[nodes[i]], far[nodes[i]])
			print bad
		}' "$1"
}

boots_with_its_nodes() {
	local name nodes

	IFS=';' read -r name _ nodes _ <<<"$(fill "$ROW")"
	[[ -z ${NOT_HERE[$name]:-} ]] || skip "${NOT_HERE[$name]}"
	booted "$name"
	expect "the device nodes" "$(nodes_of "$WORK/$name.out")" "$nodes"
}

is_said() {
	local name regex why

	IFS=';' read -r name _ regex <<<"$(fill "$ROW")"
	for why in "${NOT_HERE[$name]:-}" "${NOT_HERE[$BOOT.$NAME]:-}"; do
		[[ -z $why ]] || skip "$why"
	done
	booted "$name"
	grep -qE "device_coherent: .*$regex" "$WORK/$name.log" && return
	grep 'device_coherent:' "$WORK/$name.log" | sed 's/^/# /' || :
	fail "the console does not say '$regex'"
}

host_test
ktap_print_header
ktap_set_plan $((${#BOOTS[@]} + ${#SAID[@]}))
for ROW in "${BOOTS[@]}"; do
	start_boot "$ROW"
done
for ROW in "${BOOTS[@]}"; do
	eval "${ROW%%;*}() { boots_with_its_nodes; }"
	run_test "${ROW%%;*}"
done
for ROW in "${SAID[@]}"; do
	IFS=';' read -r BOOT NAME _ <<<"$ROW"
	eval "$BOOT.$NAME() { is_said; }"
	run_test "$BOOT.$NAME"
done
ktap_finished
