# SPDX-License-Identifier: GPL-2.0
"""An ACPI table of nodes: with generic initiators, which QEMU can describe only
from version 9 on, and for arm64 with firmware always. The kernel takes it from the initramfs instead of QEMU's own
(CONFIG_ACPI_TABLE_UPGRADE), since its revision is higher."""
import collections
import struct

# How a machine lays out its memory, in MiB: where it begins, how much of it is below
# the hole, where it goes on; the least address of memory modules. What describes a
# CPU, and (start, size) of what is no RAM but has to be of node 0.
Layout = collections.namedtuple("Layout", "begin low above modules cpu_entry others")

ENABLED = 1
HOTPLUGGABLE = 2
MIB = 1 << 20
GIB4 = 4096


def segments(sizes, layout):
    """(node, start, size) in MiB: one node after the other, without the hole."""
    at = layout.begin
    for node, size in enumerate(sizes):
        while size:
            if at == layout.low:
                at = layout.above
            part = min(size, layout.low - at) if at < layout.low else size
            yield node, at, part
            at += part
            size -= part


def apic_entry(apic_id, node):
    return struct.pack("<BBBBIBBBBI", 0, 16, node & 0xff, apic_id, ENABLED, 0, 0, 0, 0, 0)


def gicc_entry(uid, node):
    return struct.pack("<BBIIII", 3, 18, node, uid, ENABLED, 0)


def x86(low):
    """q35 with so much RAM below the hole at 4G."""
    return Layout(0, low, GIB4, GIB4, apic_entry, ())


# virt: RAM from 1G on in one piece. The flash of the firmware's variables looks like
# memory to the kernel, which gives all nodes up when a piece of memory is in none.
ARM64 = Layout(1024, 1 << 40, 0, 0, gicc_entry, ((64, 64),))


def memory_entry(node, start, size, flags):
    return struct.pack("<BBIHQQIIQ", 1, 40, node, 0, start * MIB, size * MIB, 0, flags, 0)


def initiator_entry(node):
    """A generic initiator, by the PCI handle of a device that isn't there."""
    return struct.pack("<BBBBIHH12xII", 5, 32, 0, 1, node, 0, 0xf8 + (node & 7), ENABLED, 0)


def table(sizes, layout, cpus, initiators, module_room):
    """@sizes of the nodes in MiB; room for modules on the last."""
    body = b"".join(layout.cpu_entry(cpu, 0) for cpu in range(cpus))
    for start, size in layout.others:
        body += memory_entry(0, start, size, ENABLED)
    end = 0
    for node, start, size in segments(sizes, layout):
        body += memory_entry(node, start, size, ENABLED)
        end = start + size
    if module_room:
        start = -(-max(end, layout.modules) // 1024) * 1024
        body += memory_entry(len(sizes) - 1, start, module_room, ENABLED | HOTPLUGGABLE)
    body += b"".join(initiator_entry(node) for node in initiators)
    body = struct.pack("<IQ", 1, 0) + body
    head = struct.pack("<4sIBB6s8sI4sI", b"SRAT", 36 + len(body), 1, 0, b"BOCHS ",
                       b"BXPC    ", 2, b"BXPC", 1)
    content = head + body
    checksum = -sum(content) & 0xff
    return content[:9] + bytes([checksum]) + content[10:]
