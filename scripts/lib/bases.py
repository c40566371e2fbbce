# SPDX-License-Identifier: GPL-2.0
"""The kernels that the series can stand on: those known good, those apt serves."""
import functools
import glob
import os
import re
import shutil
import subprocess
import tempfile

import series
from common import BASE_VERSION, BUILD, Refused, read, run_step

PACKAGE = "linux-source-" + BASE_VERSION
FOLDER = os.path.join(BUILD, "download")
WITHOUT = ("unpack a %s.y kernel (https://www.kernel.org) and say make LINUX=/path/to/tree" %
           BASE_VERSION)


def known():
    """Versions of patches/bases, as '6.12.117'."""
    found = set()
    for number, row in enumerate((read(os.path.join(series.PATCHES, "bases")) or b"")
                                 .decode().splitlines(), 1):
        word = row.split("#")[0].strip()
        if word and not re.fullmatch(re.escape(BASE_VERSION) + r"\.\d+", word):
            raise Refused("patches/bases:%d: '%s' is no version such as %s.1" %
                          (number, word, BASE_VERSION))
        found.add(word)
    return found - {""}


def upstream(version):
    """'6.12.117' of the package's version '6.12.117-1~deb12u1'."""
    return version.split("-")[0]


def numbers(version):
    """For comparing: (6, 12, 117)."""
    return tuple(int(part) for part in re.findall(r"\d+", upstream(version)))


def compare(a, b):
    """Order of two package versions, as dpkg has it."""
    for relation, result in (("lt", -1), ("gt", 1)):
        if subprocess.run(["dpkg", "--compare-versions", a, relation, b]).returncode == 0:
            return result
    return 0


def newest_first(versions):
    return sorted(versions, key=functools.cmp_to_key(compare), reverse=True)


def served(package=PACKAGE):
    """Versions of a package that apt can get, newest first."""
    if not shutil.which("apt-cache") or not shutil.which("apt-get"):
        return []
    done = subprocess.run(["apt-cache", "madison", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True,
                          env=dict(os.environ, LC_ALL="C"))
    # "linux-source-6.12 | 6.12.118-1 | http://... trixie-security/main amd64 Packages"
    rows = [[part.strip() for part in row.split("|")] for row in done.stdout.splitlines()]
    return newest_first({row[1] for row in rows
                         if len(row) == 3 and row[0] == package and row[2].endswith("Packages")})


def tarball_path(version):
    return os.path.join(FOLDER, "%s_%s.tar.xz" % (PACKAGE, version))


def downloaded():
    """(version, tarball) of those that are in build/download, newest first.

    One without a version in its name is of an earlier day: it comes last.
    """
    found = {}
    for path in glob.glob(os.path.join(FOLDER, "linux-source-*.tar.xz")):
        match = re.fullmatch(re.escape(PACKAGE) + r"_(.+)\.tar\.xz", os.path.basename(path))
        found[match.group(1) if match else ""] = path
    order = newest_first(set(found) - {""}) + [""] * ("" in found)
    return [(version, found[version]) for version in order]


def get(package, version, folder):
    """A package's file, in a folder that has to be new."""
    run_step("fetch %s %s" % (package, version), "fetch",
             ["apt-get", "download", "%s=%s" % (package, version)], cwd=folder, always=True)
    found = glob.glob(os.path.join(folder, "*.deb"))
    if not found:
        raise Refused("apt-get download %s=%s left no package in %s" % (package, version, folder))
    return found[0]


def kept(package):
    """{version: file} of a package in build/download."""
    found = {}
    for path in glob.glob(os.path.join(FOLDER, package + "_*.deb")):
        found[os.path.basename(path)[len(package) + 1:-len(".deb")]] = path
    return found


def keep(package, version):
    """Downloads a package; afterwards, kept() has it."""
    final = os.path.join(FOLDER, "%s_%s.deb" % (package, version))
    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=".new-download-") as temp:
        os.chmod(temp, 0o755)
        os.rename(get(package, version, temp), final)
    return final


def download(version):
    """The tarball of a version, without installing the package."""
    final = tarball_path(version)
    if os.path.exists(final):
        return final
    name = "%s %s" % (PACKAGE, version)
    os.makedirs(FOLDER, exist_ok=True)
    temp = tempfile.mkdtemp(dir=BUILD, prefix=".new-download-")
    os.chmod(temp, 0o755)
    try:
        package = get(PACKAGE, version, temp)
        run_step("unpack " + name, "unpack", ["dpkg-deb", "-x", package, temp])
        tarball = glob.glob(os.path.join(temp, "usr/src/linux-source-*.tar.xz"))
        if not tarball:
            raise Refused("%s holds no kernel source" % os.path.basename(package[0]))
        os.rename(tarball[0], final)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return final


def why_not(base):
    """What keeps the series from applying to the tree at 'base'; None when it does."""
    try:
        series.final_files(series.load(base), base)
    except Refused as err:
        return str(err).splitlines()[0].rstrip(":")
    return None


def is_known(version):
    return upstream(version) in known()


def remark(version):
    """How a version stands to those of patches/bases."""
    if is_known(version):
        return "known good"
    if all(numbers(version) > numbers(one) for one in known()):
        return "newer than known"
    return "not in patches/bases"
