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

# All machines: node 0 with the CPUs at 0, node 1 at 512 MB, node 2 at 640 MB.
# The firmware keeps the last pages of low RAM, so that of the last node one
# block of 128 MB is not whole and stays unused; and the boot loader puts the
# initrd there, which has to be moved.
MACHINE=(--mem 512M --device-mem "128M,256M" --no-register
	 --qemu "-machine max-ram-below-4g=2G")

# A CPU of its own for node 1
ITS_CPU="-numa cpu,node-id=1,socket-id=2,core-id=0,thread-id=0"
CPU="-smp 3,sockets=3,cores=1,threads=1 $ITS_CPU"
# One that may come later: the firmware knows of it.
ABSENT="-smp 2,maxcpus=3,sockets=3,cores=1,threads=1 $ITS_CPU"

# A node that the direct map has a page of 1 GB for, instead of those two
GIB="--mem 2G --device-mem 1G --append memory_hotplug.memmap_on_memory=1"

# A node that nothing is known of but that modules can be plugged there
EMPTY="--empty-nodes 1 --hotplug-mem 128M"

# More words than there is room for
WORDS=$(printf '128M@%dG,' {1000..1128})

# One boot each: name; value; device nodes as NID:MB/DISTANCE to node 0; more
# parameters, or CPU, ABSENT, GIB, EMPTY or INIT. Words that are refused one by one share
# a boot with one that is good: it has to be taken all the same.
BOOTS=(
	"two_nodes;node:1,node:2;1:128/40 2:128/40;"
	"carve_out;128M@256M;3:128/20;"
	"carve_outs_of_one_node;128M@0x10000000:5,131072K@384M:5,distance:80,node:1;1:128/40 5:256/80;"
	"specific_purpose;sp;1:128/40;memmap=128M%0x20000000-1+0xefffffff"
	"specific_purpose_in_node_0;sp;3:128/20;memmap=128M%0x10000000-1+0xefffffff"
	"specific_purpose_none;sp;;"
	"memmap_on_device;node:1,memmap:device;1:126/40;memory_hotplug.memmap_on_memory=1"
	"memmap_on_large_device;node:1,memmap:device;1:1008/40;GIB"
	"memmap_on_device_off;node:1,memmap:device,spare:2;1:128/40;"
	"bad_words;node:0,node:999,node:x,node:,node:-1,node:99999999999,node:1,128M@256M:0,256M,everything,distance:10,distance:x,spare:0,spare:1:maybe,;1:128/40;"
	"bad_nodes;node:1,node:1,node:9,128M@512M:2,128M@256M:1;1:128/40;"
	"bad_ranges;256M@128M,128M@256M,100M@256M,128M@200M,0@384M,128M@64G,256M@768M,128M@0,256M@0xfffffffff8000000;3:256/20;nokaslr"
	"bad_number;99999999999999999999@256M;;"
	"no_value;;;"
	"too_many;${WORDS}128M@256M;;"
	"declared;node:1,node:3,node:3,spare:1:declared,gi;1:128/40;EMPTY"
	"initiators;gi;;INIT"
	"restricted;restricted,node:1;1:128/40;"
	"numa_off;node:1,128M@256M,sp,spare:1,gi;;numa=off"
	"node_with_cpu;node:1,node:2;2:128/40;CPU"
	"node_with_absent_cpu;node:1,node:2;2:128/40;ABSENT"
)

# What the console of a boot has to say: boot; name; expression
NUMBER="refused: expected a number from 1 to 127"
BLOCKS="refused: start and size must be multiples of a memory block, 128 MB"
SAID=(
	"two_nodes;node_1;node 1: 128 MB at"
	"two_nodes;partial_block;'node:2': [0-9]+ KB outside whole memory blocks of 128 MB stay unused"
	"carve_out;address;node 3: 128 MB at .mem 0x0*10000000-0x0*17ffffff"
	"restricted;told;restricted: only those may ask whose cpuset was given"
	"memmap_on_device_off;why;page structures go to system memory; boot with"
	"specific_purpose_none;why;'sp' refused: the firmware marks no memory as specific-purpose"
	"bad_words;node_0;'node:0' $NUMBER"
	"bad_words;node_too_large;'node:999' $NUMBER"
	"bad_words;node_garbage;'node:x' $NUMBER"
	"bad_words;node_empty;'node:' $NUMBER"
	"bad_words;node_negative;'node:-1' $NUMBER"
	"bad_words;node_huge;'node:99999999999' $NUMBER"
	"bad_words;range_of_node_0;'128M@256M:0' $NUMBER"
	"bad_words;range_without_start;'256M' refused: expected node:N, SIZE@START"
	"bad_words;garbage;'everything' refused: expected node:N, SIZE@START"
	"bad_words;distance_small;'distance:10' refused: expected a number from 11 to"
	"bad_words;distance_garbage;'distance:x' refused: expected a number from 11 to"
	"bad_words;spare_none;'spare:0' $NUMBER"
	"bad_words;spare_garbage;'spare:1:maybe' refused: expected spare:N or spare:N:declared"
	"bad_words;trailing_comma;'' refused: expected node:N, SIZE@START"
	"bad_nodes;twice;'node:1' refused: node 1 is a device node already"
	"bad_nodes;not_there;'node:9' refused: the firmware doesn't know node 9, spare:N sets ids aside"
	"bad_nodes;range_of_another_node;'128M@512M:2' refused: node 2 has other memory"
	"bad_nodes;range_for_node_with_memory;'128M@256M:1' refused: node 1 has other memory"
	"bad_ranges;overlap;'128M@256M' refused: overlaps '256M@128M'"
	"bad_ranges;size_unaligned;'100M@256M' $BLOCKS"
	"bad_ranges;start_unaligned;'128M@200M' $BLOCKS"
	"bad_ranges;empty;'0@384M' $BLOCKS"
	"bad_ranges;no_ram;'128M@64G' refused: not all of it is system RAM"
	"bad_ranges;half_ram;'256M@768M' refused: not all of it is system RAM"
	"bad_ranges;low_memory_and_kernel;'128M@0' refused: "
	"bad_ranges;wraps;'256M@0xfffffffff8000000' refused: wraps around"
	"bad_number;why;'99999999999999999999@256M' refused: "
	"no_value;why;'device_coherent' refused: expected a value"
	"too_many;why;'128M@256M' refused: more than 128 nodes and ranges"
	"numa_off;node;'node:1' refused: numa=off"
	"numa_off;range;'128M@256M' refused: numa=off"
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

	IFS=';' read -r name value _ more <<<"$1"
	if [[ $more == CPU ]]; then
		options+=(--qemu "$CPU")
		more=
	elif [[ $more == ABSENT ]]; then
		options+=(--qemu "$ABSENT")
		more=
	elif [[ $more == EMPTY ]]; then
		read -ra words <<<"$EMPTY"
		options+=("${words[@]}")
		more=
	elif [[ $more == INIT ]]; then
		# One has memory, and isn't meant; the kernel counts these nodes first.
		read -ra options <<<"--mem 512M --device-mem 128M,256M --no-register"
		read -ra words <<<"$EMPTY --initiators 2,3"
		options+=("${words[@]}")
		more=
	elif [[ $more == GIB ]]; then
		read -ra options <<<"--no-register $GIB"
		more=
	fi
	boot "$name" "${options[@]}" --append "device_coherent=$value $more" -- \
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

	IFS=';' read -r name _ nodes _ <<<"$ROW"
	booted "$name"
	expect "the device nodes" "$(nodes_of "$WORK/$name.out")" "$nodes"
}

is_said() {
	local name regex

	IFS=';' read -r name _ regex <<<"$ROW"
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
