# SPDX-License-Identifier: GPL-2.0
"""The series as the repository holds it: patches/, new files, MAINTAINERS.

patches/series has one line per mail, "NAME.patch [new-file ...]". A patch is
a mail without addresses: "Subject: [PATCH] ...", an empty line, the message,
a line "---", the diff to files that the kernel already has. The new files
named after it (exact paths, or folders that end in "/") come with that mail;
the word MAINTAINERS stands for the entry of the repository's MAINTAINERS.

A line "part NAME" begins a series of mails that stands on those before it: "core",
which is useful alone, and what goes on from there.

A new file stands in the repository as it is at the end. Where a later mail adds to
it, its patch has a diff for it, too; what the first mail brings is the file without
what later diffs add. So it is with our entry of MAINTAINERS.
"""
import fnmatch
import os
import re
import shutil
import subprocess
import tempfile

from common import BUILD, REPO, STOCK, Refused, read

PATCHES = os.path.join(REPO, "patches")

# New files of the repository are looked for below these.
KERNEL_FOLDERS = ("Documentation", "arch", "block", "certs", "crypto", "drivers", "fs",
                  "include", "init", "io_uring", "ipc", "kernel", "lib", "mm", "net", "samples",
                  "security", "sound", "tools", "usr", "virt")
JUNK = ("*~", "*.orig", "*.rej", ".*.sw?", "*.o", "*.ko", "*.a", "*.cmd", "*.pyc", "__pycache__",
        ".devmem-tmp-*", ".#*", "#*#", "tags", "TAGS", "cscope.*", "GPATH", "GRTAGS", "GTAGS",
        "compile_commands.json", ".cache", ".clangd", ".vscode", ".idea", ".git", "core",
        "*.deb", "*.buildinfo", "*.changes")

# What "make -C tools/devmem" leaves beside its source
BUILT = ("tools/devmem/devmem",)


def is_junk(name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in JUNK)


def repo_files():
    """New files for the kernel that the repository holds, sorted."""
    found = []
    for top in KERNEL_FOLDERS:
        for folder, folders, names in os.walk(os.path.join(REPO, top)):
            folders[:] = [name for name in folders if not is_junk(name)]
            found += [os.path.relpath(os.path.join(folder, name), REPO)
                      for name in names if not is_junk(name)]
    return sorted(path for path in found if path not in BUILT)


class Patch:
    """A file of patches/: the message, and the diff cut into one part per file."""

    def __init__(self, name, data):
        self.name = name
        self.path = os.path.join(PATCHES, name)
        text = data.decode()
        start = re.search(r"^diff --git ", text, re.M)
        head = text[:start.start()] if start else text
        if not start and re.search(r"^(--- a/|\+\+\+ b/|@@ )", text, re.M):
            raise Refused("patches/%s has a diff that does not begin with 'diff --git'" % name)
        self.parse_head(head)
        self.sections = {}              # path: text of its diff
        for part in re.split(r"(?m)^(?=diff --git )", text[start.start():] if start else ""):
            if part:
                self.add_section(part)

    def parse_head(self, head):
        header, separator, body = head.partition("\n\n")
        if not header.startswith(("Subject:", "From", "Date:")) or not separator:
            raise Refused("patches/%s does not begin with 'Subject: [PATCH] ...' and an empty "
                          "line" % self.name)
        unfolded = re.sub(r"\n[ \t]+", " ", header)
        subject = re.search(r"^Subject: *(?:\[[^\]]*\] *)?(.+)$", unfolded, re.M)
        if not subject:
            raise Refused("patches/%s has no Subject line" % self.name)
        self.subject = subject.group(1).strip()
        # The message ends at "---"; a diffstat after it is made anew.
        self.body = re.split(r"(?m)^---\s*$", body)[0].strip("\n")

    def add_section(self, part):
        # git-format-patch ends a mail with "-- " and its version.
        part = re.sub(r"(?m)^-- \n[^\n]*\n*\Z", "", part)
        part = re.sub(r"(?m)^index [0-9a-f]+\.\.[0-9a-f]+( \d+)?\n", "", part)
        path = re.match(r"diff --git a/(\S+) b/(\S+)\n", part)
        if not path or path.group(1) != path.group(2):
            raise Refused("patches/%s: can't read '%s' (renames are not supported)" %
                          (self.name, part.splitlines()[0]))
        if re.search(r"(?m)^new file mode|^--- /dev/null", part.split("\n@@")[0]):
            raise Refused("patches/%s adds %s: a new file stands in the repository at that path, "
                          "and patches/series names it" % (self.name, path.group(1)))
        if path.group(1) in self.sections:
            raise Refused("patches/%s has two diffs for %s" % (self.name, path.group(1)))
        self.sections[path.group(1)] = part.rstrip("\n") + "\n"

    def text(self):
        parts = ["Subject: [PATCH] %s\n\n%s\n---\n" % (self.subject, self.body)]
        for path in sorted(self.sections):
            parts.append(self.sections[path])
        return parts[0] + ("\n" if len(parts) > 1 else "") + "".join(parts[1:])


class Line:
    """One line of patches/series: one mail."""

    def __init__(self, number, part, patch, words, new_files, maintainers):
        self.number = number
        self.part = part
        self.patch = patch
        self.words = words
        self.new_files = new_files
        self.maintainers = maintainers
        self.series = []                # all mails, this one among them


def load(base=STOCK):
    """The lines of patches/series, checked against what is there, and in the base."""
    data = read(os.path.join(PATCHES, "series"))
    if data is None:
        raise Refused("patches/series is not there: it names the patches in their order")
    available = repo_files()
    named = {word for row in data.decode().splitlines() for word in row.split("#")[0].split()}
    owner, lines, seen, maintainers, part = {}, [], set(), None, None
    for number, row in enumerate(data.decode().splitlines(), 1):
        words = row.split("#")[0].split()
        if not words:
            continue
        where = "patches/series:%d" % number
        if words[0] == "part" and len(words) == 2:
            part = words[1]
            if part in parts(lines):
                raise Refused("%s: the part '%s' began before" % (where, part))
            continue
        if not part:
            raise Refused("%s: a mail before the first line 'part NAME'" % where)
        name = words[0]
        content = read(os.path.join(PATCHES, name))
        if not name.endswith(".patch") or content is None:
            raise Refused("%s: there is no patches/%s" % (where, name))
        if name in seen:
            raise Refused("%s: %s is named twice" % (where, name))
        seen.add(name)
        files, entry = [], False
        for word in words[1:]:
            if word == "MAINTAINERS":
                if maintainers:
                    raise Refused("%s: MAINTAINERS is already in %s" % (where, maintainers))
                maintainers, entry = where, True
                continue
            matches = [path for path in available if path == word or
                       word.endswith("/") and word == folder_of(path, named)]
            if not matches:
                raise Refused("%s: the repository has no file %s" % (where, word))
            for path in matches:
                if path in owner:
                    raise Refused("%s: %s is already in %s" % (where, path, owner[path]))
                owner[path] = where
            files += matches
        lines.append(Line(number, part, Patch(name, content), words[1:], files, entry))
    missing = [path for path in available if path not in owner]
    if missing:
        raise Refused("no line of patches/series names %s: add it to the mail that it belongs to" %
                      ", ".join(missing))
    if not maintainers and os.path.exists(os.path.join(REPO, "MAINTAINERS")):
        raise Refused("no line of patches/series has the word MAINTAINERS")
    unused = [name for name in sorted(os.listdir(PATCHES))
              if name.endswith(".patch") and name not in seen]
    if unused:
        raise Refused("patches/series does not name %s" % ", ".join(unused))
    check_new_files(lines, owner, base)
    for line in lines:
        line.series = lines
    return lines


def folder_of(path, named):
    """Of the folders that are named, the innermost; none for a file that is by itself."""
    if path in named:
        return None
    return max((word for word in named if word.endswith("/") and path.startswith(word)),
               key=len, default=None)


def parts(lines):
    """The names of the parts in their order."""
    return list(dict.fromkeys(line.part for line in lines))


def upto(lines, part):
    """The mails of a part and of those before it."""
    names = parts(lines)
    if part not in names:
        raise Refused("PART=%s: patches/series has %s" % (part, ", ".join(names)))
    return [line for line in lines if names.index(line.part) <= names.index(part)]


def check_new_files(lines, owner, base):
    for path in owner:
        if os.path.lexists(os.path.join(base, path)):
            raise Refused("%s is a file of the kernel itself: change it with a patch" % path)
    there, entry = set(), any(line.maintainers for line in lines)
    owner = dict(owner, MAINTAINERS="its mail") if entry else owner
    for line in lines:
        for path in line.patch.sections:
            if path in owner and path not in there:
                raise Refused("patches/%s changes %s, which comes with no earlier mail: see %s" %
                              (line.patch.name, path, owner[path]))
        there.update(line.new_files)
        if line.maintainers:
            there.add("MAINTAINERS")


def brings(line, path):
    """Is it this mail that adds a new file, or our entry?"""
    return path in line.new_files or path == "MAINTAINERS" and line.maintainers


def last_version(path, data=None):
    """A new file as it is at the end; of MAINTAINERS, the kernel's with our entry.

    The repository's file may be given as it was, or as it is about to be.
    """
    if data is None:
        data = read(os.path.join(REPO, path))
    if path == "MAINTAINERS":
        pristine = read(os.path.join(STOCK, path)).decode()
        return insert_entry(pristine, data.decode().strip("\n") + "\n").encode()
    return data


def apply_to(path, data, sections, reverse=False):
    """One file with parts of patches applied to it, one after the other.

    Returns (content, None), or (None, the number of the part that failed).
    """
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=".new-file-") as temp:
        full = os.path.join(temp, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
        for number, section in enumerate(sections):
            if apply_sections(temp, [section], reverse):
                return None, number
        return read(full), None


def first_version(mail, path, data):
    """A new file as a mail brings it, from what it is at the end."""
    later = [line.patch for line in mail.series[:mail.series.index(mail):-1]
             if path in line.patch.sections]
    first, failed = apply_to(path, data, [patch.sections[path] for patch in later], True)
    if failed is not None:
        raise Refused("%s was changed where patches/%s adds to it: 'make restage' brings that "
                      "patch up to date" % (path, later[failed].name))
    return first


# --- additions to new files, after edits in the repository ------------------------

def staged(lines):
    """{path: the mails that add to it} of new files, and of our entry."""
    new = {path for line in lines for path in line.new_files} | {"MAINTAINERS"}
    return {path: [line for line in lines if path in line.patch.sections]
            for path in sorted({path for line in lines for path in line.patch.sections} & new)}


def earlier_versions(path):
    """What git has of a file, the newest first."""
    done = subprocess.run(["git", "-C", REPO, "log", "-n", "50", "--format=%H", "--", path],
                          stdout=subprocess.PIPE, text=True)
    for commit in done.stdout.split():
        shown = subprocess.run(["git", "-C", REPO, "show", "%s:%s" % (commit, path)],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if shown.returncode == 0:
            yield last_version(path, shown.stdout)


def merge(before, after, edited):
    """The edits of 'after' made to 'before'; where they are in what differs, they aren't."""
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=".new-merge-") as temp:
        names = []
        for name, data in (("before", before), ("after", after), ("edited", edited)):
            names.append(os.path.join(temp, name))
            with open(names[-1], "wb") as f:
                f.write(data)
        return subprocess.run(["git", "merge-file", "-p", "-q", "--ours", *names],
                              env=git_env(), stdout=subprocess.PIPE, check=True).stdout


def restage(path, mails):
    """The additions of later mails to a file that was edited. Returns whether they changed.

    An edit in what a mail adds is that mail's, every other one is the first's.
    """
    back = [mail.patch.sections[path] for mail in reversed(mails)]
    now = last_version(path)
    if apply_to(path, now, back, True)[1] is None:
        return False
    old = next((data for data in earlier_versions(path)
                if apply_to(path, data, back, True)[1] is None), None)
    if old is None:
        raise Refused("%s: git has no version to which the patches' additions belong" % path)
    for mail in reversed(mails):
        before = apply_to(path, old, [mail.patch.sections[path]], True)[0]
        edited = merge(before, old, now)
        section = make_section(path, edited, now)
        if section:
            mail.patch.sections[path] = section
        else:
            del mail.patch.sections[path]
        old, now = before, edited
    return True


def inputs():
    """Everything that the series is made of, for a digest."""
    parts = []
    for folder, _, names in os.walk(PATCHES):
        for name in sorted(names):
            if not is_junk(name):
                parts += [name, read(os.path.join(folder, name))]
    for path in repo_files() + ["MAINTAINERS"]:
        parts += [path, read(os.path.join(REPO, path)), str(is_executable(path))]
    return parts


def is_executable(path):
    return os.access(os.path.join(REPO, path), os.X_OK)


# --- what the kernel's own files get -----------------------------------------------

CODE = re.compile(r"\.c$")
HOOK = re.compile(r"\w*device_(coherent|memory)|DEVICE_NODES")
DEFINITION = re.compile(r"^\s*(#|/\*|\*( |/|$)|//|\[\w+\] = |\"|_NODE_ATTR|&node_state_attr|$)")


def kind_of(path, text):
    """Of an added line: a definition, a call or test that compiles to nothing, or more."""
    if not CODE.search(path) or DEFINITION.match(text):
        return "definitions"
    return "hooks" if HOOK.search(text) else "changes"


def footprint(lines, below=""):
    """{kind: added lines} in files that the kernel has, and "files"; texts and tests left out."""
    new = {path for line in lines for path in line.new_files}
    files, kinds = set(), {"definitions": 0, "hooks": 0, "changes": 0}
    for line in lines:
        for path, text in line.patch.sections.items():
            if path in new or path == "MAINTAINERS" or not path.startswith(below) or \
                    path.startswith(("Documentation/", "tools/", "samples/")):
                continue
            files.add(path)
            for added in re.findall(r"(?m)^\+(?!\+\+ b/)(.*)$", text):
                kinds[kind_of(path, added)] += 1
    return dict(kinds, files=len(files), lines=sum(kinds.values()))


# --- MAINTAINERS --------------------------------------------------------------

def own_entry():
    data = read(os.path.join(REPO, "MAINTAINERS"))
    if data is None:
        raise Refused("the repository has no file MAINTAINERS, the entry that the series adds")
    return data.decode().strip("\n") + "\n"


def insert_entry(text, entry):
    """The kernel's MAINTAINERS with our entry at its place in the alphabet."""
    title = entry.splitlines()[0]
    titles = [(match.start(), match.group(1)) for match in
              re.finditer(r"(?m)(?<=\n\n)([^\s][^\n]*)\n(?=[A-Z]:\t)", text)]
    if not titles:
        raise Refused("the kernel's MAINTAINERS has no entries that can be read")
    # The list is not perfectly sorted: the place with the fewest misfits.
    misfits = sum(name <= title for _, name in titles)
    best, place = misfits, titles[0][0]
    for i, (_, name) in enumerate(titles):
        misfits += 1 if name > title else -1
        if misfits < best:
            best = misfits
            place = titles[i + 1][0] if i + 1 < len(titles) else len(text)
    return text[:place] + entry + "\n" + text[place:]


def entry_patterns(text):
    """The F: lines of our entry in a MAINTAINERS, as path prefixes or globs."""
    entry = re.search(r"(?ms)^%s\n.*?(?=^\n|\Z)" % re.escape(own_entry().splitlines()[0]), text)
    return re.findall(r"(?m)^F:\s*(\S+)", entry.group() if entry else "")


def pattern_names(pattern, path):
    """As get_maintainer.pl reads it: a folder with all below, or a glob."""
    regex = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.match(regex + ("" if pattern.endswith("/") else "$"), path)


def maintainers_problems(lines, files, base=STOCK):
    """Where our entry and the files that these mails bring don't fit each other."""
    patterns = entry_patterns(files["MAINTAINERS"][0].decode())
    new = sorted(path for line in lines for path in line.new_files)
    return ["no F: line for " + path for path in new
            if not any(pattern_names(pattern, path) for pattern in patterns)] + \
        ["F: %s names nothing that is there" % pattern for pattern in patterns
         if not any(pattern_names(pattern, path) for path in new) and
         not os.path.exists(os.path.join(base, pattern))]


def mentions(lines, files):
    """What new files and the entry say of files that only mails of later parts bring."""
    mine = {path for line in lines for path in line.new_files}
    later = [line for line in lines[0].series if line not in lines]
    names = {path for line in later for path in line.new_files}
    names |= {word.rstrip("/") for line in later for word in line.words if word.endswith("/") and
              not any(path.startswith(word) for path in mine)}
    # By its last name alone where that is nobody else's
    known = {os.path.basename(path) for path in mine | {"list.c", "main.c", "core.c", "util.c"}}
    names |= {os.path.basename(path) for path in names if "." in os.path.basename(path) and
              path.startswith(("mm/", "Documentation/", "tools/testing/"))} - known
    if not names:
        return []
    # Not mm/util.c by util.c, nor x.cc by x.c
    regex = re.compile(r"(?<![\w/.-])(?:%s)(?![\w-])" %
                       "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))
    texts = {path: files[path][0].decode(errors="replace") for path in mine}
    texts["MAINTAINERS"] = "\n".join(entry_patterns(files["MAINTAINERS"][0].decode()))
    return ["%s:%d: %s comes with a later part" % (path, number, found)
            for path, text in sorted(texts.items())
            for number, row in enumerate(text.splitlines(), 1) for found in regex.findall(row)]


# --- applying -------------------------------------------------------------------

# Kernel habits: histogram diffs, hunk headers that name C functions.
GIT_OPTIONS = ("-c", "diff.algorithm=histogram", "-c", "core.quotePath=false",
               "-c", "core.attributesFile=" + os.path.join(STOCK, ".gitattributes"),
               "-c", "core.abbrev=12", "-c", "core.safecrlf=false", "-c", "core.autocrlf=false")


def git_env():
    """git as a tool for patches, blind to the repository around build/."""
    env = {key: val for key, val in os.environ.items() if not key.startswith("GIT_")}
    env.update(GIT_CEILING_DIRECTORIES=BUILD, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull,
               LC_ALL="C")
    return env


def apply_sections(folder, sections, reverse=False, fuzzed=None):
    """Apply parts of a patch, each to its file under a folder; None or what failed.

    A hunk whose context another 6.12.y changed applies with one line of it, as
    'git am -C1' does: so one series serves all versions of patches/bases. What
    it then gives is compiled by 'make check-bases', and 'fuzzed' takes the path.
    """
    for section in sections:
        error = None
        for context in ([], ["-C1"]):
            command = ["git", "apply", "-p1", "--whitespace=nowarn", *context]
            if reverse:
                command.append("-R")
            done = subprocess.run(command + ["-"], input=section.encode(), cwd=folder,
                                  env=git_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if done.returncode == 0:
                if context and fuzzed is not None:
                    fuzzed.append(section.split("\n", 1)[0].split(" b/", 1)[1])
                break
            error = error or done.stderr.decode(errors="replace")
        else:
            return error
    return None


def explain_failure(patch, error):
    """The patch, the file, the hunk."""
    failed = re.search(r"patch failed: (\S+):(\d+)", error)
    if not failed:
        return "patches/%s does not apply:\n%s" % (patch.name, error.strip())
    path, start = failed.group(1), int(failed.group(2))
    hunks = re.split(r"(?m)^(?=@@ )", patch.sections.get(path, ""))[1:]
    for number, hunk in enumerate(hunks, 1):
        at = re.match(r"@@ -(\d+)", hunk)
        # git counts the line where the hunk's first changed context begins.
        if at and int(at.group(1)) == start:
            return ("patches/%s does not apply to %s, hunk %d of %d:\n%s" %
                    (patch.name, path, number, len(hunks), hunk.rstrip("\n")))
    return "patches/%s does not apply to %s, at line %d" % (patch.name, path, start)


class Workbench:
    """A scratch folder with the touched files only, stepped through the series.

    'fuzzed' then lists what applied with less context: (patch, path). 'repo' has
    what is about to be written to the repository: {path: content}.
    """

    def __init__(self, lines, base=STOCK, repo=None):
        self.lines = lines
        self.base = base
        self.repo = repo or {}
        self.fuzzed = []
        self.touched = {path for line in lines for path in line.patch.sections}
        self.new = {path for line in lines for path in line.new_files}
        if any(line.maintainers for line in lines):
            self.touched.add("MAINTAINERS")

    def __enter__(self):
        self.folder = tempfile.mkdtemp(dir=BUILD, prefix=".new-bench-")
        for path in sorted(self.touched):
            self.put(path, read(os.path.join(self.base, path)))
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, path, data):
        full = os.path.join(self.folder, path)
        if data is None:
            if os.path.exists(full):
                os.unlink(full)
            return
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)

    def get(self, path):
        return read(os.path.join(self.folder, path))

    def step(self, line):
        """Apply one line; returns the paths that it touches."""
        paths = sorted(line.patch.sections)
        for path in paths:
            if not os.path.exists(os.path.join(self.folder, path)):
                raise Refused("patches/%s changes %s, which this kernel does not have" %
                              (line.patch.name, path))
        fuzzed = []
        error = apply_sections(self.folder, line.patch.sections.values(), fuzzed=fuzzed)
        if error:
            raise Refused(explain_failure(line.patch, error))
        self.fuzzed += [(line.patch.name, path) for path in fuzzed]
        for path in line.new_files:
            self.put(path, first_version(line, path, last_version(path, self.repo.get(path))))
        if line.maintainers:
            text = self.get("MAINTAINERS")
            if text is None:
                raise Refused("this kernel has no MAINTAINERS")
            entry = self.repo.get("MAINTAINERS")
            entry = entry.decode() if entry else own_entry()
            text = insert_entry(text.decode(), entry).encode()
            self.put("MAINTAINERS", first_version(line, "MAINTAINERS", text))
            paths.append("MAINTAINERS")
        return paths + list(line.new_files)


def touched(lines):
    """Paths of all files that the mails change or bring."""
    paths = {path for line in lines for path in line.patch.sections}
    return paths | {path for line in lines for path in line.new_files} | {"MAINTAINERS"}


def final_files(lines, base=STOCK, fuzzed=None):
    """Path: (content, executable) of every file that the series touches, at its end.

    The list 'fuzzed' takes what Workbench says of that.
    """
    with Workbench(lines, base) as bench:
        for line in lines:
            bench.step(line)
        files = {path: (bench.get(path),
                        os.access(os.path.join(base, path), os.X_OK)) for path in bench.touched}
        files.update({path: (bench.get(path), is_executable(path)) for path in bench.new})
        if fuzzed is not None:
            fuzzed += bench.fuzzed
        return files


def fuzz_note(fuzzed):
    """One line that names what applied with less context."""
    return "applied with less context: " + \
        ", ".join("patches/%s (%s)" % (name, path) for name, path in fuzzed)


def make_section(path, before, after):
    """The diff of one file, in git's format; empty when there is none."""
    if before == after:
        return ""
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=".new-diff-") as temp:
        for side, data in (("a", before), ("b", after)):
            full = os.path.join(temp, side, path)
            os.makedirs(os.path.dirname(full))
            with open(full, "wb") as f:
                f.write(data)
        done = subprocess.run(["git", *GIT_OPTIONS, "diff", "--no-index", "--no-color", "--no-ext-diff",
                               "--no-prefix", "a/" + path, "b/" + path],
                              cwd=temp, env=git_env(), stdout=subprocess.PIPE)
    text = done.stdout.decode()
    return re.sub(r"(?m)^index [0-9a-f]+\.\.[0-9a-f]+( \d+)?\n", "", text, count=1)
