# SPDX-License-Identifier: GPL-2.0
"""The mutants of the selftests: files that break the kernel on purpose, each in one
place, and name the lines of the plan that must notice.

A mutant NAME.patch begins with "Breaks: what" and "Noticed-by: ENTRY[:TEST] ...",
each of which may go on in lines that begin with a blank; an empty line and a diff
follow. ENTRY is a line of the plan. TEST is a test in one of the programs that it
runs, or such a program; with it, no others of the entry are run.
"""
import os
import re
import shlex
import tempfile

import series
from common import BUILD, REPO, Refused, read

TESTS = "tools/testing/selftests/devmem"
FOLDER = os.path.join(TESTS, "mutants")
RESULTS = os.path.join(FOLDER, "RESULTS")

# A mutant changes one thing: so many lines with "-" or "+", at most.
MAX_CHANGED = 8


class Mutant:
    def __init__(self, name):
        self.name = name
        self.path = os.path.join(FOLDER, name + ".patch")
        self.text = read(os.path.join(REPO, self.path)).decode()
        head, found, diff = self.text.partition("\ndiff --git ")
        if not found:
            raise Refused("%s: no line 'diff --git'" % self.path)
        head = re.sub(r"\n[ \t]+", " ", head)
        self.breaks, self.lines = self.field(head, "Breaks"), []
        for word in self.field(head, "Noticed-by").split():
            entry, _, test = word.partition(":")
            self.lines.append((entry, test))
        self.sections = ["diff --git " + part for part in
                         re.split(r"(?m)^diff --git ", "diff --git " + diff)[1:]]
        self.paths = [re.match(r"diff --git a/(\S+) b/\1\n", part).group(1)
                      for part in self.sections]

    def field(self, head, name):
        found = re.search(r"(?m)^%s: +(.+)$" % name, head)
        if not found:
            raise Refused("%s: no line '%s: ...'" % (self.path, name))
        return found.group(1).strip()

    def noticed_by(self):
        return " ".join(":".join(filter(None, line)) for line in self.lines)

    def apply(self, content):
        """{path: content} of what it changes; content(path) gives what is there."""
        with tempfile.TemporaryDirectory(dir=BUILD, prefix=".new-mutant-") as temp:
            for path in self.paths:
                data = content(path)
                if data is None:
                    raise Refused("%s: there is no %s" % (self.path, path))
                full = os.path.join(temp, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "wb") as f:
                    f.write(data)
            error = series.apply_sections(temp, self.sections)
            if error:
                raise Refused("%s does not apply: %s" % (self.path, error.strip()))
            return {path: read(os.path.join(temp, path)) for path in self.paths}


def load():
    """All mutants, by their names."""
    return [Mutant(name[:-len(".patch")])
            for name in sorted(os.listdir(os.path.join(REPO, FOLDER)))
            if name.endswith(".patch")]


# --- lines of the plan, cut to some tests -----------------------------------------

def programs(entry):
    """[program, argument ...] of each program that an entry of the plan runs."""
    command = entry.command
    if command.startswith("host:"):
        command = command[len("host:"):]
    words = [word[len("devmem/"):] if word.startswith("devmem/") else word
             for word in shlex.split(command)]
    if words[0] == "in_turn.sh":
        return [[word] for word in words[1:]]
    if words[0] == "mglru.sh":
        del words[0]
    return [words]


def source_of(program):
    """Path below the repository"""
    return os.path.join(TESTS, program if program.endswith(".sh") else program + ".c")


def has_test(program, test):
    text = (read(os.path.join(REPO, source_of(program))) or b"").decode()
    if program.endswith(".sh"):
        return re.search(r"(?m)^%s\(\)" % re.escape(test), text)
    return re.search(r"\bTEST(_F|_SIGNAL|_F_TIMEOUT|_F_FORK)?\((\w+,\s*)?%s\b" % re.escape(test),
                     text)


def takes_names(program):
    """Of shell tests, those that take names of tests as arguments."""
    text = (read(os.path.join(REPO, source_of(program))) or b"").decode()
    return re.search(r'(?m)^run_tests "\$\{@:-', text)


def cut(entry, tests):
    """The command of an entry for these tests alone: [(words of a program) ...].

    A program is run as a whole if it is named, or can't run a test by itself.
    """
    chosen = []
    for words in programs(entry):
        program = words[0]
        mine = [test for test in tests if has_test(program, test)]
        if program in tests or program.removesuffix(".sh") in tests:
            chosen.append(words)
        elif mine and program.endswith(".sh"):
            chosen.append(words[:1] + mine if takes_names(program) else words)
        elif mine:
            chosen.append(words[:1] + [word for test in mine for word in ("-t", test)])
    return chosen


def cut_command(entry, tests):
    """As the plan would have it; the entry's own if no tests are named."""
    if not tests:
        return entry.command
    chosen = cut(entry, tests)
    first = shlex.split(entry.command.removeprefix("host:"))[0]
    parts = ["host:"] if entry.command.startswith("host:") else []
    if first == "devmem/mglru.sh" or len(chosen) > 1:
        parts.append("devmem/in_turn.sh" if len(chosen) > 1 else first)
        if len(chosen) > 1:
            return "".join(parts) + " " + " ".join(shlex.quote(shlex.join(words))
                                                   for words in chosen)
        return "".join(parts) + " " + shlex.join(chosen[0])
    return "".join(parts) + "devmem/" + shlex.join(chosen[0])


def problems(mutants, entries, content):
    """Why mutants can't be run: they don't apply, or name what isn't there."""
    found = []
    plan = {entry.name: entry for entry in entries}
    for mutant in mutants:
        try:
            mutant.apply(content)
        except Refused as err:
            found.append(str(err))
        changed = len(re.findall(r"(?m)^[-+](?![-+]{2} )", "\n".join(mutant.sections)))
        if not 0 < changed <= MAX_CHANGED:
            found.append("%s: %d lines changed; 1 to %d are allowed" %
                         (mutant.path, changed, MAX_CHANGED))
        for name, test in mutant.lines:
            if name not in plan:
                found.append("%s: the plan has no line %s" % (mutant.path, name))
            elif test and not cut(plan[name], [test]):
                found.append("%s: no program of %s has a test %s" % (mutant.path, name, test))
    return found


# --- the table --------------------------------------------------------------------

TITLE = """\
What "make check-mutants" has found: a line for each mutant of this folder that it
ran, with what the kernel lacks then, and which tests of which line of the plan have
noticed. "survived" is a test that is missing. Made by scripts/check-mutants.
"""


def load_results():
    rows = {}
    for row in (read(os.path.join(REPO, RESULTS)) or b"").decode().splitlines():
        parts = [part.strip() for part in row.split("|")]
        if len(parts) == 4:
            rows[parts[0]] = parts[1:]
    return rows


def results_text(rows, names):
    lines = [" | ".join([name] + rows[name]) for name in names if name in rows]
    return TITLE + "\n" + "\n".join(lines) + "\n"
