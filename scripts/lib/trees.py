# SPDX-License-Identifier: GPL-2.0
"""Kernel trees that are made of the pristine one and files of the series."""
import os
import shutil
import tempfile

from common import (BUILD, STOCK, Refused, load_state, read, remove_tree, run_step, save_state,
                    write)


def source_key():
    """Which kernel source build/stock is."""
    key = load_state("source").get("key")
    if not key:
        raise Refused("build/stock is not there: run 'make stock' or scripts/fetch")
    return key


def copy_stock(target):
    """A copy of the pristine tree, complete or not there."""
    name = os.path.basename(target)
    remove_tree(target)
    temp = tempfile.mkdtemp(dir=BUILD, prefix=".new-%s-" % name)
    os.chmod(temp, 0o755)
    try:
        run_step("copy kernel source", "copy-" + name,
                 ["rsync", "-a", "--exclude=/o-*", STOCK + "/", temp + "/"], always=True)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    os.rename(temp, target)


def unlink(target, path):
    """Take a file away, and the folders that are empty then."""
    full = os.path.join(target, path)
    if os.path.lexists(full):
        os.unlink(full)
    folder = os.path.dirname(full)
    while folder != target and os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)
        folder = os.path.dirname(folder)


def follow(target, files):
    """Make a tree the pristine one with these files: {path: (content, executable)}.

    What an earlier call placed and this one doesn't is what it was. Only what
    differs is written, and an interrupted call is made good by the next. Nobody
    edits such a tree.
    """
    name, key = os.path.basename(target), source_key()
    state = load_state(name)
    if not os.path.isdir(target) or state.get("source") != key:
        save_state(name, {})            # what is there from now on isn't whole
        copy_stock(target)
        state = {"source": key, "files": []}
    paths = sorted(set(files) | set(state["files"]))
    save_state(name, {"source": key, "files": paths})
    for path in paths:
        data, executable = files.get(path) or (read(os.path.join(STOCK, path)), None)
        full = os.path.join(target, path)
        if data is not None:
            write(full, data, executable)
        else:
            unlink(target, path)
    save_state(name, {"source": key, "files": sorted(files)})
