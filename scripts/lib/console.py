# SPDX-License-Identifier: GPL-2.0
"""What a guest's kernel prints, and which lines of it no healthy kernel prints."""
import re

# Lines of the console that no healthy kernel prints. User programs that
# crash ("traps: x[1] general protection fault") and OOM reports are not
# among them.
WARNINGS = re.compile("|".join((
    r"WARNING: ",
    r"\bBUG: ",
    r"\bBUG [a-z0-9_-]+ ?(\(|:)",
    r"kernel BUG at",
    r"\bOops\b",
    r"Kernel panic",
    r"Unable to handle kernel",
    r"unable to handle (page fault|kernel)",
    r"general protection fault, (probably|maybe|kernel)",
    r"KASAN: ",
    r"UBSAN: ",
    r"KCSAN: ",
    r"KFENCE: ",
    r"INFO: task .* blocked for more than",
    r"INFO: possible (recursive locking|circular locking|irq lock inversion)",
    r"INFO: trying to register non-static key",
    r"INFO: lockdep is turned off",
    r"INFO: rcu\w* .*stall",
    r"rcu: INFO: .*(stall|detected)",
    r"possible recursive locking",
    r"Huh VM_FAULT_OOM",
    r"unreferenced object 0x",
    r"Bad page (state|map|cache)",
    r"Bad rss-counter",
    r"non-zero pgtables_bytes on freeing",
    r"(list_add|list_del|list_splice) (corruption|double)",
    r"refcount_t: ",
    r"DEBUG_LOCKS_WARN_ON",
    r"page_poison: ",
    r"pagealloc: (memory corruption|single bit error)",
    r"nobody cared",
    r"double fault",
    r"soft lockup",
    r"hard LOCKUP",
    r"cut here \]",
)))


def console_warnings(log, allowed):
    """Lines that name a warning, without those that were expected."""
    try:
        with open(log, errors="replace") as f:
            lines = [line.rstrip() for line in f]
    except OSError:
        return []
    found = []
    for i, line in enumerate(lines):
        if not WARNINGS.search(line):
            continue
        if any(regex.search(line) for regex in allowed):
            continue
        # "cut here" only announces; the line after it says what.
        if "cut here ]" in line and i + 1 < len(lines) and \
                any(regex.search(lines[i + 1]) for regex in allowed):
            continue
        found.append(line)
    return found


def console_tail(log, count=20):
    try:
        with open(log, errors="replace") as f:
            return [line.rstrip() for line in f][-count:]
    except OSError:
        return []
