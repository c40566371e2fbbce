# SPDX-License-Identifier: GPL-2.0
"""What is built, and for which machine: ARCH and PAGES, and the kernels of each."""
import collections
import os
import shutil

from common import BUILD, CORE, LINUX, MUTANTS, REPO, STOCK, Refused, shown

# An architecture: its folder in the kernel, its name in Debian, that of its
# compiler, the image that QEMU boots, QEMU itself, its console, its page sizes.
Arch = collections.namedtuple("Arch", "folder debian triplet image qemu console pages")

ARCHES = {
    "x86_64": Arch("x86", "amd64", "x86_64-linux-gnu", "arch/x86/boot/bzImage",
                   "qemu-system-x86_64", "ttyS0", ("4k",)),
    "arm64": Arch("arm64", "arm64", "aarch64-linux-gnu", "arch/arm64/boot/Image",
                  "qemu-system-aarch64", "ttyAMA0", ("4k", "16k", "64k")),
}
OTHER_NAMES = {"x86": "x86_64", "amd64": "x86_64", "aarch64": "arm64"}


class Target:
    """An architecture and a page size."""

    def __init__(self, name, pages):
        self.name, self.pages = name, pages
        self.arch = ARCHES[name]
        self.foreign = name != host_arch()
        # x86_64 has always been without: folders keep their names.
        self.user_suffix = "" if name == "x86_64" else "-" + name
        self.suffix = self.user_suffix + ("" if pages == "4k" else "-" + pages)
        self.cross = self.arch.triplet + "-" if self.foreign else ""
        self.cc = self.cross + "gcc"
        # The guest's root file system; the host's own isn't made
        self.root = os.path.join(BUILD, "root-" + name) if self.foreign else "/"
        self.selftests = os.path.join(BUILD, "selftests" + self.user_suffix)

    def words(self):
        """As the user gives it to make; nothing for the host's."""
        return "".join([" ARCH=" + self.name if self.foreign else "",
                        " PAGES=" + self.pages if self.pages != "4k" else ""])

    def marks(self):
        """The names that a line of the plan may be marked with."""
        return {self.arch.folder, self.pages}

    def page_size(self):
        return int(self.pages[:-1]) << 10

    def make_words(self):
        """What the kernel's makefiles and those of its tools need to be told."""
        words = ["ARCH=" + self.arch.folder, "CROSS_COMPILE=" + self.cross] if self.foreign else []
        if have_ccache():
            words.append("CC=ccache " + self.cc)
        return words


def have_ccache():
    return any(os.access(os.path.join(folder, "ccache"), os.X_OK)
               for folder in os.environ.get("PATH", "").split(":"))


def host_arch():
    name = os.uname().machine
    return OTHER_NAMES.get(name, name)


def choose(arch="", pages=""):
    """The target of these names; empty ones are the host's architecture and 4k."""
    name = OTHER_NAMES.get(arch, arch) or host_arch()
    if name not in ARCHES:
        raise Refused("ARCH=%s: known are %s" % (name, ", ".join(ARCHES)))
    pages = (pages or "4k").lower()
    if pages not in ARCHES[name].pages:
        raise Refused("PAGES=%s: %s has pages of %s" % (pages, name, ", ".join(ARCHES[name].pages)))
    return Target(name, pages)


_current = None


def current():
    """The target that the environment names, or that select() took."""
    global _current
    if not _current:
        # The Makefile hands on what isn't given as empty.
        _current = choose(os.environ.get("ARCH", ""), os.environ.get("PAGES", ""))
    return _current


def select(arch, pages):
    """Another target from now on, for programs that are called, too."""
    global _current
    _current = choose(arch, pages)
    os.environ.update(ARCH=_current.name, PAGES=_current.pages)
    return _current


def host_only(what):
    """For what can't be done for another architecture."""
    if current().foreign or current().pages != "4k":
        raise Refused("%s is for the host's architecture and pages of 4k: leave%s out" %
                      (what, current().words()))


def require_compiler():
    if not shutil.which(current().cc):
        raise Refused("%s is missing: run 'scripts/deps'%s" %
                      (current().cc, " with" + current().words() if current().foreign else ""))


# --- kernels ----------------------------------------------------------------------

class Kernel(collections.namedtuple("Kernel", "source name configs registers lines command")):
    """Its source and fragments of configs/; does it know device_coherent=; lines
    that a full build prints, roughly; and how to build it."""

    @property
    def output(self):
        return os.path.join(self.source, "o-" + self.name + current().suffix)

    @property
    def how(self):
        return self.command + current().words() if self.command.startswith("make") else \
            (current().words() + " " + self.command).strip()


KERNELS = {kernel.name: kernel for kernel in (
    Kernel(LINUX, "patched", ("base", "coherent"), True, 2300, "make kernel"),
    Kernel(STOCK, "stock", ("base",), False, 2300, "make stock"),
    Kernel(LINUX, "debug", ("base", "coherent", "debug"), True, 2450, "make debug"),
    Kernel(LINUX, "off", ("base",), False, 2300, "make off"),
    Kernel(CORE, "core", ("base", "core"), True, 2300, "scripts/build core"),
    Kernel(MUTANTS, "mutant", ("base", "coherent"), True, 2300, "make check-mutants"),
)}


def fragments(names):
    """The files of configs/ for these names: the architecture's own behind each."""
    paths = []
    for name in names:
        paths.append(fragment(name))
        special = [current().arch.folder if name == "base" else name + "-" + current().arch.folder]
        if name == "base" and current().pages != "4k":
            special.append("pages-" + current().pages)
        paths += [fragment(other) for other in special
                  if name == "base" or os.path.exists(path_of(other))]
    return paths


def path_of(name):
    return os.path.join(REPO, "configs", name + ".config")


def fragment(name):
    path = path_of(name)
    if not os.path.exists(path):
        raise Refused("%s is not there" % shown(path))
    return path
