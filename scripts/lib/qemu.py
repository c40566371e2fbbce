# SPDX-License-Identifier: GPL-2.0
"""The virtual machine that scripts/vm boots: kernel, initramfs, QEMU's command line."""
import ctypes
import glob
import hashlib
import mmap
import os
import re
import socket
import subprocess
import tempfile
import time

import srat
import target
from common import BUILD, REPO, Refused
from target import KERNELS


# --- kernel and initramfs ---------------------------------------------------------

def find_kernel(opts):
    """Sets opts.image, opts.obj, opts.name and whether nodes are registered."""
    opts.registers = not opts.no_register
    opts.obj_given = bool(opts.obj or opts.kernel_image)
    image = target.current().arch.image
    if opts.obj or opts.kernel_image:
        opts.name = opts.kernel or "custom"
        if opts.obj:
            opts.obj = os.path.abspath(opts.obj)
        opts.image = os.path.abspath(opts.kernel_image or os.path.join(opts.obj, image))
        if not opts.obj:
            opts.obj = opts.image[:-len(image) - 1] if opts.image.endswith("/" + image) else opts.image
        config = os.path.join(opts.obj, ".config")
        # Registering asks for something that only a patched kernel knows.
        if os.path.exists(config):
            with open(config) as f:
                if "CONFIG_ZONE_DEVICE_COHERENT=y" not in f.read():
                    opts.registers = False
    else:
        opts.kernel = opts.kernel or "patched"
        if opts.kernel not in KERNELS:
            raise Refused("no kernel is named '%s': %s" % (opts.kernel, ", ".join(KERNELS)))
        opts.name = opts.kernel
        kernel = KERNELS[opts.kernel]
        opts.obj = kernel.output
        opts.registers = opts.registers and kernel.registers
        opts.image = os.path.join(opts.obj, image)
    if not os.path.exists(opts.image):
        raise Refused("%s is not there%s" % (opts.image, "" if opts.obj_given else
                      ": build it with '%s'" % KERNELS[opts.kernel].how))


def page_size_of(obj):
    """That of a kernel that was built in this folder, in bytes."""
    try:
        with open(os.path.join(obj, ".config")) as f:
            found = re.search(r"^CONFIG_PAGE_SIZE_(\d+)KB=y", f.read(), re.M)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else target.current().page_size()


def build_initrd(nodes_table=b""):
    """The initramfs: vm-init and nothing else, but for an ACPI table. Made once per
    version of it."""
    source = os.path.join(REPO, "scripts/lib/vm-init.c")
    with open(source, "rb") as f:
        digest = hashlib.sha256(f.read() + nodes_table).hexdigest()[:16]
    folder = os.path.join(BUILD, "vm")
    initrd = os.path.join(folder, "initrd%s-%s.cpio" % (target.current().user_suffix, digest))
    if os.path.exists(initrd):
        return initrd
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="tmp-") as temp:
        binary = os.path.join(temp, "init")
        target.require_compiler()
        compiler = [target.current().cc, "-O2", "-Wall", "-static", "-pthread", "-s", "-o", binary, source]
        done = subprocess.run(compiler, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Refused("%s does not compile:\n%s" % (source, done.stderr))
        with open(binary, "rb") as f:
            content = f.read()
        temp_initrd = os.path.join(temp, "initrd")
        with open(temp_initrd, "wb") as f:
            if nodes_table:
                write_cpio(f, "kernel/firmware/acpi/srat.aml", 0o100644, nodes_table)
            write_cpio(f, "dev", 0o040755, b"")
            write_cpio(f, "init", 0o100755, content)
            write_cpio(f, "TRAILER!!!", 0, b"")
        os.rename(temp_initrd, initrd)
    for old in glob.glob(os.path.join(folder, "initrd*.cpio")):
        if old != initrd and time.time() - os.path.getmtime(old) > 86400:
            os.unlink(old)
    return initrd


def write_cpio(f, name, mode, content):
    """One entry of the 'newc' format."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    f.write(head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4))


# --- the machine ------------------------------------------------------------------

def kvm_works():
    """/dev/kvm may exist where the processor can't: look at the processor."""
    if target.current().foreign:
        return False
    if target.current().name != "x86_64":
        return os.access("/dev/kvm", os.R_OK | os.W_OK)
    try:
        with open("/proc/cpuinfo") as f:
            if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", f.read(), re.M):
                return False
    except OSError:
        return False
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def tsc_khz():
    """How fast this machine's time stamp counter runs, None if it has none.

    Without KVM the guest's counter is this one. A guest that has to find out
    itself, on a machine with other things to do, gets it wrong, and then its
    clock runs at several times the speed.
    """
    if os.uname().machine != "x86_64":
        return None
    # rdtsc; shl $32,%rdx; or %rdx,%rax; ret
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3")
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    found = []
    for _ in range(5):
        begin = rdtsc(), time.monotonic_ns()
        time.sleep(0.01)
        end = rdtsc(), time.monotonic_ns()
        found.append((end[0] - begin[0]) * 1000000 // (end[1] - begin[1]))
    return sorted(found)[2]


def node_sizes(opts):
    return [opts.mem] + opts.sys_nodes + opts.device_mem + [0] * opts.empty_nodes


def set_aside_at(opts):
    """In MiB: where virt has memory modules begin, behind all RAM."""
    return -(-(srat.ARM64.begin + sum(node_sizes(opts))) // 1024) * 1024


def module_room(opts):
    """QEMU aligns every slot to 1G in the worst case."""
    return sum(opts.hotplug_mem) + 1024 * len(opts.hotplug_mem)


def initiators_table(opts):
    """The firmware's nodes, with those of generic initiators; empty if QEMU's will do."""
    arm64 = target.current().name == "arm64"
    if opts.dt or not (opts.initiators or arm64):
        return b""
    nodes = [int(n) for n in opts.initiators.split(",") if n]
    if arm64:
        return srat.table(node_sizes(opts), srat.ARM64, opts.cpus, nodes, module_room(opts))
    low = low_memory(opts.mem + sum(opts.sys_nodes))
    return srat.table(node_sizes(opts), srat.x86(low), opts.cpus, nodes, module_room(opts))


def node_arguments(opts):
    """Node 0 with all CPUs, then system nodes, then device nodes, and how far they are."""
    sizes = node_sizes(opts)
    first_device = 1 + len(opts.sys_nodes)
    memory = "%dM" % sum(sizes)
    if opts.hotplug_mem:
        memory += ",slots=%d,maxmem=%dM" % (len(opts.hotplug_mem), sum(sizes) + module_room(opts))
    args = ["-m", memory]
    if opts.set_aside:
        args[1] += ",slots=1,maxmem=%dM" % (sum(sizes) + opts.set_aside + 1024)
        args += ["-object", "memory-backend-ram,id=aside,size=%dM,reserve=off" % opts.set_aside,
                 "-device", "pc-dimm,memdev=aside,addr=%d" % (set_aside_at(opts) << 20)]
    for i, size in enumerate(opts.hotplug_mem):
        args += ["-object", "memory-backend-ram,id=hot%d,size=%dM,reserve=off" % (i, size)]
    for node, size in enumerate(sizes):
        cpus = ",cpus=0-%d" % (opts.cpus - 1) if node == 0 else ",initiator=0" if opts.hmat else ""
        if not size:
            args += ["-numa", "node,nodeid=%d%s" % (node, cpus)]
            continue
        args += ["-object", "memory-backend-ram,id=mem%d,size=%dM,reserve=off" % (node, size),
                 "-numa", "node,nodeid=%d,memdev=mem%d%s" % (node, node, cpus)]
    for a in range(len(sizes)):
        for b in range(a + 1, len(sizes)):
            devices = (a >= first_device) + (b >= first_device)
            args += ["-numa", "dist,src=%d,dst=%d,val=%d" % (a, b, (20, 40, 60)[devices])]
    if opts.hmat:
        for node in range(len(sizes)):
            args += hmat_arguments(node, fast=node >= first_device)
    return args, list(range(first_device, len(sizes) - opts.empty_nodes))


def hmat_arguments(node, fast):
    """How fast a node is, as the firmware has it: latency in ns, bandwidth in MB/s."""
    head = "hmat-lb,initiator=0,target=%d,hierarchy=memory,data-type=access-" % node
    latency, bandwidth = (50, "400G") if fast else (100, "100G")
    return ["-numa", head + "latency,latency=%d" % latency,
            "-numa", head + "bandwidth,bandwidth=%s" % bandwidth]


def low_memory(system):
    """How much RAM lies below the hole at 4G: system memory alone.

    Device nodes then begin above 4G at whole memory blocks (128M), as device
    memory does on real machines, and the firmware's tables, which take the top
    of the low RAM, are not in one of them.
    """
    if system <= 2048:
        return system
    return 2048 - (2048 - system) % 128


def kernel_parameters(opts, device_nodes):
    arch = target.current()
    params = ["console=" + arch.arch.console, "panic=-1", "oops=panic"]
    if arch.name == "x86_64":
        # no_timer_check: on a busy host the check finds the emulated timer too slow.
        params += ["tsc=reliable", "no_timer_check"]
    params.append("rcupdate.rcu_cpu_stall_timeout=60")
    # A test that wants it switches it on: CPUs of a busy host stand still for long.
    params.append("nosoftlockup")
    if opts.name == "debug":
        params.append("page_poison=1")
    if opts.icount or opts.gdb:
        params.append("nokaslr")
    if opts.icount:
        # An idle guest's clock jumps from timer to timer: what waits for the host to
        # read waits for minutes. A guest that hangs ends by the time-out.
        params.append("sysctl.kernel.hung_task_timeout_secs=0")
    if opts.set_aside:
        # A memory module that the kernel doesn't look for. Here memmap= only tells where.
        params += ["acpi_no_memhotplug", "memmap=%dM$%dM" % (opts.set_aside, set_aside_at(opts))]
    khz = None if opts.icount or arch.name != "x86_64" or kvm_works() else tsc_khz()
    if khz:
        params.append("tsc_early_khz=%d" % khz)
    if opts.registers and device_nodes:
        params.append("device_coherent=" + ",".join("node:%d" % n for n in device_nodes))
    return " ".join(params + opts.append)


def accelerator(opts):
    """Who runs the guest's instructions, and the processor that it sees."""
    x86 = target.current().name == "x86_64"
    # identify_cpu() rebuilds the capabilities that pgtable_l5_enabled() reads: an
    # interrupt just then makes KASAN look for a shadow of five levels that isn't there.
    less = ",la57=off" if x86 and opts.name == "debug" else ""
    if not opts.icount and kvm_works():
        return ["-accel", "kvm", "-cpu", "host" + less]
    if not x86:
        # Pointers signed by the architecture's own algorithm cost more than all else.
        less = ",pauth-impdef=on"
    if opts.icount:
        return ["-accel", "tcg,thread=single", "-cpu", "max" + less,
                "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max" + less]


# Where Debian's qemu-efi-aarch64 has the firmware.
FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"


def machine_arguments(opts):
    hmat = ",hmat=on" if opts.hmat else ""
    if target.current().name == "x86_64":
        # Boots faster than pc, whose ACPI tables a debug kernel interprets for minutes.
        return ["-machine", "q35,usb=off,vmport=off,sata=off,smbus=off,max-ram-below-4g=%dM%s" %
                (low_memory(opts.mem + sum(opts.sys_nodes)), hmat)]
    machine = "virt,gic-version=%s%s" % ("host" if kvm_works() and not opts.icount else "3", hmat)
    if opts.dt:
        return ["-machine", machine + ",acpi=off"]
    if not os.path.exists(FIRMWARE):
        raise Refused("%s is missing: run 'scripts/deps' with%s, or boot by device tree (--dt)" %
                      (FIRMWARE, target.current().words()))
    return ["-machine", machine, "-bios", FIRMWARE]


def qemu_command(opts, log, sockets, initrd):
    nodes, device_nodes = node_arguments(opts)
    cmd = [target.current().arch.qemu, "-nodefaults", "-no-user-config", "-display", "none",
           "-no-reboot", "-smp", str(opts.cpus)]
    cmd += accelerator(opts) + machine_arguments(opts)
    cmd += nodes
    cmd += ["-kernel", opts.image, "-initrd", initrd,
            "-append", kernel_parameters(opts, device_nodes)]
    cmd += ["-chardev", "file,id=console,path=%s" % log.replace(",", ",,"),
            "-serial", "chardev:console",
            "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci,max_ports=%d" % (len(sockets) + 1)]
    for name, sock in sockets.items():
        if name == "qmp":
            cmd += ["-chardev", "socket,id=qmp,fd=%d" % sock.fileno(), "-mon", "chardev=qmp,mode=control"]
            continue
        cmd += ["-chardev", "socket,id=%s,fd=%d" % (name, sock.fileno()),
                "-device", "virtserialport,chardev=%s,name=devmem.%s" % (name, name)]
    cmd += shared(target.current().root, "root", readonly=True)
    if target.current().foreign:
        cmd += shared("/", "outside", readonly=True)
    cmd += shared(BUILD, "build", readonly=False)
    if opts.gdb:
        opts.gdb_port = free_port()
        cmd += ["-gdb", "tcp:127.0.0.1:%d" % opts.gdb_port, "-S"]
    for extra in opts.qemu:
        cmd += extra.split()
    return cmd


def shared(folder, name, readonly):
    return ["-virtfs", "local,path=%s,mount_tag=devmem.%s,security_model=none,%smultidevs=remap" %
            (folder.replace(",", ",,"), name, "readonly=on," if readonly else "")]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
