# SPDX-License-Identifier: GPL-2.0
"""What the scripts share: places, refusals, the lock, progress of long steps."""
import collections
import contextlib
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.path.join(REPO, "build")
LOGS = os.path.join(BUILD, "logs")
STATE = os.path.join(BUILD, "state")
STOCK = os.path.join(BUILD, "stock")
CORE = os.path.join(BUILD, "core")
LINUX = os.path.join(BUILD, "linux")
MUTANTS = os.path.join(BUILD, "mutants")

# The series is made for this version of the kernel.
BASE_VERSION = "6.12"


class Refused(Exception):
    """Can't go on: the text names the thing, its value and the way out."""


def main(function):
    """Run a script's main function; a refusal is its last words and status 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(function() or 0)
    except Refused as err:
        sys.stdout.flush()
        sys.stderr.write("%s: %s\n" % (os.path.basename(sys.argv[0]), err))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("\n%s: interrupted; start it again to go on\n" %
                         os.path.basename(sys.argv[0]))
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as err:
        sys.stderr.write("%s: %s\n" % (os.path.basename(sys.argv[0]), err))
        sys.exit(1)


def shown(path):
    """A path as the user would write it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("../..") else relative


def load_script(name):
    """A script without a .py in its name, as a module."""
    path = os.path.join(REPO, "scripts", name)
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


# --- files ------------------------------------------------------------------

def read(path):
    """Content of a file, None when there is none."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path, data, executable=None):
    """Replace a file in one step, only when it changes. True if it did."""
    if isinstance(data, str):
        data = data.encode()
    same = read(path) == data
    if not same:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd, temp = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".devmem-tmp-")
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(data)
            os.chmod(temp, mode_of(path, executable))
            os.rename(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp)
            raise
    elif executable is not None and mode_of(path, executable) != mode_of(path, None):
        os.chmod(path, mode_of(path, executable))
    return not same


def mode_of(path, executable):
    if executable is not None:
        return 0o755 if executable else 0o644
    try:
        return os.stat(path).st_mode & 0o777
    except OSError:
        return 0o644


def digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        total.update(b"-" if part is None else b"+%d:" % len(part) + part)
    return total.hexdigest()[:32]


def load_state(name):
    data = read(os.path.join(STATE, name + ".json"))
    try:
        return json.loads(data) if data else {}
    except ValueError:
        return {}


def save_state(name, value):
    write(os.path.join(STATE, name + ".json"), json.dumps(value, indent=1, sort_keys=True) + "\n")


def remove_tree(path):
    """Gone under its name at once, then deleted: no half tree stays behind."""
    if not os.path.lexists(path):
        return
    trash = tempfile.mkdtemp(dir=BUILD, prefix=".trash-")
    os.rename(path, os.path.join(trash, "x"))
    shutil.rmtree(trash, ignore_errors=True)


def sweep_trash():
    """Left-overs of runs that were interrupted."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(BUILD):
            if name.startswith((".trash-", ".new-")):
                shutil.rmtree(os.path.join(BUILD, name), ignore_errors=True)


_lock = None


def lock_build():
    """One at a time changes build/; released when the process ends."""
    global _lock
    if _lock or os.environ.get("DEVMEM_BUILD_LOCKED") == BUILD:
        return
    os.makedirs(BUILD, exist_ok=True)
    _lock = open(os.path.join(BUILD, ".lock"), "w")
    try:
        fcntl.flock(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("another make is at work in build/: waiting for it\n")
        fcntl.flock(_lock, fcntl.LOCK_EX)
    os.environ["DEVMEM_BUILD_LOCKED"] = BUILD
    sweep_trash()


def cpus():
    return len(os.sched_getaffinity(0))


# --- progress ---------------------------------------------------------------

class Step:
    """A long step: on a terminal one line that moves, elsewhere one a minute."""

    def __init__(self, name, total=None, unit="", expected=None):
        self.name, self.total, self.unit, self.expected = name, total, unit, expected
        self.count = 0
        self.begin = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.last = self.begin
        self.quiet = True           # nothing printed yet
        self.detail = ""

    def elapsed(self):
        seconds = int(time.monotonic() - self.begin)
        return "%d:%02d" % (seconds // 60, seconds % 60)

    def amount(self):
        if self.total:
            return "%3d%%" % min(100, 100 * self.count // self.total)
        if self.expected and self.count <= self.expected:
            return "%d/%d%s" % (self.count, self.expected, self.unit)
        return "%d%s" % (self.count, self.unit) if self.count else ""

    def line(self, state=""):
        parts = ["%-28s" % self.name, "%8s" % self.amount(), self.elapsed().rjust(6), state]
        return " ".join(parts).rstrip()

    def update(self, count=None, detail=None):
        if count is not None:
            self.count = count
        if detail is not None:
            self.detail = detail
        now = time.monotonic()
        # A step that is over at once prints no line.
        if now - self.last < (0.2 if self.terminal else 60 if not self.quiet else 2):
            return
        self.last = now
        self.quiet = False
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r\x1b[K" + self.line(self.detail)[:width])
        else:
            sys.stdout.write(self.line("...") + "\n")
        sys.stdout.flush()

    def clear(self):
        if self.terminal and not self.quiet:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def done(self, always=False):
        self.clear()
        if self.total:
            self.count = self.total
        if always or not self.quiet:
            print(self.line("done"), flush=True)

    def failed(self):
        self.clear()
        print(self.line("FAILED"), flush=True)


def run_step(name, log_name, command, counts=None, expected=None, env=None, cwd=None,
             total=None, feed=None, always=False):
    """Run a command with its output in build/logs/LOG_NAME.log and progress shown.

    Lines that match the regular expression 'counts' are counted. A failure
    shows the last lines and the path of the log. Returns the count.
    """
    os.makedirs(LOGS, exist_ok=True)
    log = os.path.join(LOGS, log_name + ".log")
    counts = re.compile(counts) if counts else None
    step = Step(name, total=total, expected=expected)
    tail = collections.deque(maxlen=20)
    begin = time.strftime("%Y-%m-%d %H:%M:%S")
    with open(log, "w") as out:
        out.write("# %s: %s\n" % (begin, " ".join(command)))
        out.flush()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                # Nobody reads while the input is fed: the log takes it all.
                stdout=out if feed else subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd,
                start_new_session=True)
        except FileNotFoundError:
            raise Refused("%s is not installed: run 'scripts/deps'" % command[0])
        try:
            if feed:
                feed(process.stdin, step)
                process.wait()
            else:
                follow(process, step, out, tail, counts)
        except BaseException:
            end_group(process)
            step.clear()
            raise
    if feed:
        with open(log, errors="replace") as f:
            tail.extend(line.rstrip() for line in f)
    if process.returncode:
        step.failed()
        for line in tail:
            print("  | " + line)
        raise Refused("%s failed (%s, status %d); all of its output: %s" %
                      (name, " ".join(command[:3]), process.returncode, shown(log)))
    step.done(always)
    return step.count


def follow(process, step, out, tail, counts):
    os.set_blocking(process.stdout.fileno(), False)
    pending = b""
    while True:
        data = process.stdout.read()
        if data:
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                out.write(text + "\n")
                tail.append(text)
                if counts and counts.search(text):
                    step.count += 1
                    step.detail = text.strip()
        elif data == b"":
            break
        else:
            time.sleep(0.05)
        step.update()
    if pending:
        text = pending.decode(errors="replace")
        out.write(text + "\n")
        tail.append(text)
    process.wait()


def end_group(process):
    """End a command with everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
