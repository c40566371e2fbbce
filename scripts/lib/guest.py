# SPDX-License-Identifier: GPL-2.0
"""What scripts/vm and its guest say to each other; vm-init.c is the guest's half.

The guest has a channel for control, and one each for what its command reads
and prints, if need be one more by which it asks for memory modules.
"""
import ctypes
import fcntl
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty

import target
from common import BUILD, REPO
from qemu import qemu_command


def note(text):
    sys.stderr.write("vm: %s\n" % text)
    sys.stderr.flush()


def guest_config(opts, host_port):
    """What vm-init reads first: a length, then records of a letter and a string."""
    env = {key: val for key, val in os.environ.items()
           if key.startswith("DEVMEM_") or key in ("PATH", "HOME", "TERM", "LANG") or
           key.startswith("LC_")}
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if "/usr/sbin" not in env["PATH"].split(":"):
        env["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    env.setdefault("HOME", "/root")
    env.setdefault("TERM", "dumb")
    env["DEVMEM_KERNEL"] = opts.name
    env["DEVMEM_OBJ"] = opts.obj
    cwd = os.getcwd()
    env["PWD"] = cwd

    visible = [cwd, REPO, opts.obj]
    program = opts.command[0]
    if "/" in program:
        visible.append(os.path.dirname(os.path.abspath(program)))
    visible += [os.path.realpath(path) for path in list(visible)]

    records = ["A" + arg for arg in opts.command]
    records += ["E%s=%s" % item for item in env.items()]
    records += ["V" + path for path in dict.fromkeys(visible)]
    records += ["C" + cwd, "B" + BUILD]
    if target.current().foreign:
        records.append("F")
    modules = os.path.join(opts.obj, "rootfs/lib/modules")
    if os.path.isdir(modules):
        records.append("M" + modules)
    if host_port:
        records.append("H")
    if opts.shell:
        rows, cols = window_size()
        records.append("T%dx%d" % (rows, cols))
    data = b"".join(os.fsencode(record) + b"\0" for record in records)
    return struct.pack("<I", len(data)) + data


def window_size():
    for fd in (0, 1, 2):
        try:
            rows, cols = struct.unpack("hhhh", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))[:2]
            if rows and cols:
                return rows, cols
        except OSError:
            pass
    return 24, 80


def die_with_parent():
    """In the child: no QEMU outlives this script, even one killed by SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Machine:
    """One run: QEMU, its channels, and what became of the command."""

    def __init__(self, opts, log):
        self.opts = opts
        self.log = log
        self.sel = selectors.DefaultSelector()
        self.ready = False
        self.status = None
        self.failure = None         # why the boot failed
        self.timed_out = False
        self.received = {"out": 0, "err": 0}
        self.expected = None
        self.ctl_line = b""
        self.to_guest = {"ctl": b"", "in": b"", "qmp": b""}
        self.stdin_open = True
        self.terminal_state = None
        self.acknowledged = False

    # --- start and end -------------------------------------------------

    def start(self, initrd):
        names = ["ctl", "in", "out", "err"]
        if self.opts.hotplug_mem:
            names += ["host", "qmp"]
        self.socks, theirs = {}, {}
        for name in names:
            self.socks[name], theirs[name] = socket.socketpair()
            self.socks[name].setblocking(False)
        cmd = qemu_command(self.opts, self.log, theirs, initrd)
        if self.opts.verbose:
            note(" ".join("'%s'" % arg if re.search(r"[ '\"$]", arg) else arg for arg in cmd))
        self.qemu_err = tempfile.TemporaryFile()
        self.qemu = subprocess.Popen(
            cmd, stdin=subprocess.DEVNULL, stdout=self.qemu_err, stderr=self.qemu_err,
            pass_fds=[sock.fileno() for sock in theirs.values()],
            start_new_session=True, preexec_fn=die_with_parent)
        for sock in theirs.values():
            sock.close()
        self.send("ctl", guest_config(self.opts, "host" in names))
        for name in self.socks:
            self.watch(name)
        self.watch_stdin()
        if "qmp" in self.socks:
            self.send("qmp", b'{"execute":"qmp_capabilities"}\n')
        if self.opts.gdb:
            note("waiting for: gdb %s/vmlinux -ex 'target remote :%d'" %
                 (self.opts.obj, self.opts.gdb_port))

    def stop(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()

    # --- channels ------------------------------------------------------

    def watch(self, name):
        events = 0
        if name != "in":
            events |= selectors.EVENT_READ
        if self.to_guest.get(name):
            events |= selectors.EVENT_WRITE
        sock = self.socks.get(name)
        if sock is None:
            return
        try:
            self.sel.unregister(sock)
        except KeyError:
            pass
        if events:
            self.sel.register(sock, events, name)

    def send(self, name, data):
        self.to_guest[name] += data
        self.flush(name)

    def flush(self, name):
        data = self.to_guest[name]
        try:
            while data:
                data = data[self.socks[name].send(data):]
        except BlockingIOError:
            pass
        except OSError:
            data = b""
        self.to_guest[name] = data
        self.watch(name)
        if name == "in":
            self.watch_stdin()
            if not self.stdin_open and not data:
                try:
                    self.socks["in"].shutdown(socket.SHUT_WR)
                except OSError:
                    pass

    def watch_stdin(self):
        """Read our input only while the guest takes it."""
        want = self.stdin_open and not self.to_guest["in"]
        try:
            self.sel.unregister(0)
        except (KeyError, ValueError):
            pass
        if not want:
            return
        try:
            self.sel.register(0, selectors.EVENT_READ, "stdin")
        except PermissionError:         # a regular file is always readable
            self.sel_file_stdin = True
            self.read_stdin()
        except (OSError, ValueError):   # closed
            self.close_stdin()

    def read_stdin(self):
        try:
            if os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp():
                data = b""              # in the background: leave the terminal alone
            else:
                data = os.read(0, 65536)
        except OSError:
            data = b""
        if data:
            self.send("in", data)
        else:
            self.close_stdin()

    def close_stdin(self):
        if self.stdin_open:
            self.stdin_open = False
            self.flush("in")

    def receive(self, name):
        """False at the end of the channel."""
        try:
            data = self.socks[name].recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            try:
                self.sel.unregister(self.socks[name])
            except KeyError:
                pass
            self.socks.pop(name).close()
            return False
        if name in ("out", "err"):
            self.received[name] += len(data)
            write_all(1 if name == "out" else 2, data)
        elif name == "ctl":
            *lines, self.ctl_line = (self.ctl_line + data).split(b"\n")
            for line in lines:
                self.control(line.decode(errors="replace"))
        elif name == "host":
            for line in data.decode(errors="replace").splitlines():
                self.plug(line)
        return True

    def control(self, line):
        word, _, rest = line.partition(" ")
        if word == "ready":
            self.ready = True
            self.ready_at = time.monotonic()
        elif word == "fail":
            self.failure = rest
        elif word == "exit":
            status, out, err = (int(part) for part in rest.split())
            self.status = status
            self.expected = {"out": out, "err": err}

    def plug(self, line):
        """The guest asks for a memory module: plug INDEX NODE, unplug INDEX."""
        words = line.split()
        if re.fullmatch(r"plug \d+ \d+", line.strip()):
            self.send("qmp", b'{"execute":"device_add","arguments":{"driver":"pc-dimm",'
                             b'"id":"dimm%d","memdev":"hot%d","node":%d}}\n' %
                      (int(words[1]), int(words[1]), int(words[2])))
        elif re.fullmatch(r"unplug \d+", line.strip()):
            self.send("qmp", b'{"execute":"device_del","arguments":{"id":"dimm%d"}}\n' %
                      int(words[1]))
        elif line.strip():
            note("the guest asked for '%s': known are 'plug INDEX NODE' and 'unplug INDEX'" % line)

    # --- terminal ------------------------------------------------------

    def raw_terminal(self):
        if not self.opts.shell or not os.isatty(0):
            return
        self.terminal_state = termios.tcgetattr(0)
        tty.setraw(0)
        signal.signal(signal.SIGWINCH, self.resize)

    def cooked_terminal(self):
        if self.terminal_state:
            termios.tcsetattr(0, termios.TCSADRAIN, self.terminal_state)
            self.terminal_state = None

    def resize(self, *_):
        self.send("ctl", b"winch %d %d\n" % window_size())

    # --- the loop ------------------------------------------------------

    def all_received(self):
        return self.expected is not None and all(
            self.received[name] >= self.expected[name] for name in self.expected)

    def run(self):
        begin = time.monotonic()
        limit = self.opts.timeout
        boot_limit = 0 if self.opts.gdb else 600 if self.opts.name == "debug" or target.current().foreign else 240
        raw = False
        while self.qemu.poll() is None:
            for key, events in self.sel.select(0.1):
                if key.data == "stdin":
                    self.read_stdin()
                    continue
                if events & selectors.EVENT_READ and key.data in self.socks:
                    self.receive(key.data)
                if events & selectors.EVENT_WRITE and key.data in self.socks:
                    self.flush(key.data)
            now = time.monotonic()
            if self.ready and not raw:
                raw = True
                self.raw_terminal()
            if self.all_received() and not self.acknowledged:
                self.acknowledged = True
                self.off_at = now
                self.send("ctl", b"off\n")
            if self.acknowledged and now - self.off_at > 30:
                note("the guest did not switch off, ended")
                break
            if self.status is None and limit and now - begin > limit:
                self.timed_out = True
                break
            if not self.ready and boot_limit and now - begin > boot_limit:
                self.failure = "no sign of life after %d s" % boot_limit
                break
        self.stop()
        for name in ("ctl", "out", "err"):      # what is still on its way
            while name in self.socks:
                self.socks[name].setblocking(True)
                if not self.receive(name):
                    break


def write_all(fd, data):
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            time.sleep(0.01)
