# SPDX-License-Identifier: GPL-2.0
"""Which files of a module's folder its build needs: those count, and travel into the guest.

The folder may be a whole project's, with its tests, documents, history, caches
and output. ``docs/plugin.md`` states the rule. A file that no rule leaves out
is taken, whatever its kind: a build may read anything.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import UsageError

# A firmware blob is smaller; what is larger is a disk's image, a core dump or an archive.
LARGEST_BYTES = 32 << 20

# A folder with one of these in it is a tool's own: a virtual environment, a
# cache, a kernel that was configured and built.
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG", "include/config/auto.conf")
# Such a folder's .gitignore says that nothing in it belongs to the project.
_IGNORES_ALL = re.compile(r"(?:\s*#.*\n|\s*\n)*\s*\*\s*")

# Hidden files and folders are of version control, editors, caches and Kbuild itself.
_FOLDERS = (".*", "__pycache__", "*.egg-info", "*.dist-info", "node_modules")
_FILES = (
    ".*",
    # what Kbuild makes
    "*.ko", "*.mod", "*.mod.c", "*.dwo", "*.gcno", "*.gcda", "modules.order",
    # what editors and patch leave
    "*~", "#*#", "*.orig", "*.rej", "*.bak",
    # what programs write while they run
    "*.log", "*.pyc", "core",
    # a project's tests and documents
    "test_*.py", "*_test.py", "conftest.py", "*.md", "*.rst", "LICENSE*", "COPYING*",
    # how a project's tools are configured
    "pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", "uv.lock",
)  # fmt: skip
# Folders that a build needs only if it names them.
_ASIDE = ("test", "tests", "doc", "docs", "Documentation")
_MAKEFILES = ("Kbuild", "Makefile", "GNUmakefile", "makefile", "*.mk", "Kbuild.*", "Makefile.*")
_MAKES_MODULE = ("Kbuild", "Makefile")
_INCLUDES = ("*.c", "*.h", "*.S")
_SOURCES_OF_OBJECTS = (".c", ".S", ".s", ".rs")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A module's source.

    Attributes:
        files: what its build needs, relative to the folder, in a stable order.
        too_large: what is left out for its size alone.
    """

    files: tuple[Path, ...]
    too_large: tuple[Path, ...] = ()


def check(folder: Path) -> None:
    """Make sure that a folder is a module's.

    Raises:
        UsageError: it isn't.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: name the folder of a module")
    if not any((folder / name).is_file() for name in _MAKES_MODULE):
        raise UsageError(f"{folder} has neither Kbuild nor Makefile: name the folder of a module")


def find(folder: Path) -> Source:
    """What a module's build needs of its folder.

    Symbolic links count as what they lead to. What is not a file, or can't be
    read, is left out.
    """
    found = [path for path in _walk(folder, folder, ()) if _is_readable_file(folder / path)]
    aside = [path for path in found if _is_aside(path)]
    if aside:
        named = _folders_named(folder, [path for path in found if path not in aside])
        found = [path for path in found if path not in aside or _is_named(path, named)]
    large = {path for path in found if (folder / path).stat().st_size > LARGEST_BYTES}
    return Source(
        files=tuple(sorted(path for path in found if path not in large)),
        too_large=tuple(sorted(large)),
    )


def source_files(folder: Path) -> list[Path]:
    """The files that a module's build needs, in a stable order."""
    return [folder / path for path in find(folder).files]


def _walk(top: Path, folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The paths under a folder that may belong to the source, relative to the top."""
    real = folder.resolve()
    if real in above:  # a link that leads back up
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    for entry in entries:
        path = folder / entry.name
        if _is_folder(entry):
            if not _matches(entry.name, _FOLDERS) and not _is_a_tools(path):
                yield from _walk(top, path, (*above, real))
        elif not _matches(entry.name, _FILES) and not _is_made(path, names, top):
            yield path.relative_to(top)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link that leads to itself
        return False


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_a_tools(folder: Path) -> bool:
    if any(_is_readable_file(folder / mark) for mark in _MARKS):
        return True
    return _IGNORES_ALL.fullmatch(_text(folder / ".gitignore")) is not None


def _is_made(path: Path, beside: set[str], top: Path) -> bool:
    """Whether a build made that file.

    Kbuild keeps the command of whatever it made in a hidden file beside it. An
    object file without that, and without a source, was brought along.
    """
    if path.name == "Module.symvers":
        return path.parent == top
    if f".{path.name}.cmd" in beside:
        return True
    return path.suffix == ".o" and any(f"{path.stem}{s}" in beside for s in _SOURCES_OF_OBJECTS)


def _is_readable_file(path: Path) -> bool:
    """Whether it is a file that this user can read; nothing else is opened: a FIFO would wait."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb"):
            return True
    except OSError:
        return False


def _is_aside(path: Path) -> bool:
    return any(part in _ASIDE for part in path.parts[:-1])


def _folders_named(folder: Path, files: list[Path]) -> set[str]:
    """The folders of tests and documents that makefiles and #include lines name."""
    named: set[str] = set()
    for path in files:
        if _matches(path.name, _MAKEFILES):
            # A recipe's line begins with a tab: what it runs is no part of the build's input.
            lines = re.findall(r"^(?!\t)([^#\n]*)", _text(folder / path), re.MULTILINE)
        elif _matches(path.name, _INCLUDES):
            lines = re.findall(r'^\s*#\s*include\s*"([^"]*)"', _text(folder / path), re.MULTILINE)
        else:
            continue
        for line in lines:
            named |= {name for name in _ASIDE if re.search(rf"(?<![\w.-]){name}/", line)}
    return named


def _is_named(path: Path, named: set[str]) -> bool:
    return all(part in named for part in path.parts[:-1] if part in _ASIDE)


def _text(path: Path) -> str:
    if not _is_readable_file(path):
        return ""
    return path.read_text(encoding="utf-8", errors="replace")
