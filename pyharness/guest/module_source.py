# SPDX-License-Identifier: GPL-2.0
"""Finds the files of a module's folder that its build needs.

They are copied into the guest, and the hash of a build covers them. The folder may be that of a
whole project, with its tests, documents, history, caches and output; ``docs/plugin.md`` states
the rules for what is left out. Any other file is taken, whatever its kind: a build may read
anything.
"""

import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host.file_content import FileContent

# Firmware is smaller; a larger file is a disk image, a core dump or an archive.
LARGEST_BYTES = 32 << 20

# A folder that contains one of these was made by a tool: a virtual environment, a cache, or a
# kernel tree that was configured and built.
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG", "include/config/auto.conf")
# The text of a .gitignore that ignores everything; tools put one into the folders that they make.
# Each newline can be matched in one way alone: two would be tried in all combinations.
_IGNORES_ALL = re.compile(r"(?:[^\S\n]*(?:#.*)?\n)*[^\S\n]*\*\s*")

# Hidden files and folders belong to version control, editors, caches and Kbuild itself.
_FOLDERS = (".*", "__pycache__", "*.egg-info", "*.dist-info", "node_modules")
_FILES = (
    ".*",
    # output of Kbuild
    "*.ko", "*.mod", "*.mod.c", "*.dwo", "*.gcno", "*.gcda", "modules.order",
    # backup files of editors and patch
    "*~", "#*#", "*.orig", "*.rej", "*.bak",
    # files that programs write while they run
    "*.log", "*.pyc", "core",
    # a project's tests and documents
    "test_*.py", "*_test.py", "conftest.py", "*.md", "*.rst", "LICENSE*", "COPYING*",
    # configuration of a project's tools
    "pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", "uv.lock",
)  # fmt: skip
# Folders of tests and documents, which a build needs only if its makefiles or sources name them.
_ASIDE = ("test", "tests", "doc", "docs", "Documentation")
_MAKEFILES = ("Kbuild", "Makefile", "GNUmakefile", "makefile", "*.mk", "Kbuild.*", "Makefile.*")
_MAKES_MODULE = ("Kbuild", "Makefile")
_INCLUDES = ("*.c", "*.h", "*.S")
_INCLUDE = re.compile(r'^[^\S\n]*#[^\S\n]*include[^\S\n]*"([^"\n]*)"', re.MULTILINE)
_SOURCES_OF_OBJECTS = (".c", ".S", ".s", ".rs")

# The first object that a makefile builds as a module.
_OBJECT = re.compile(r"^[ \t]*obj-m[ \t]*[:+?]*=[ \t]*([\w.-]+)\.o(?=\s|#|$)", re.MULTILINE)


def kernel_name(stem: str) -> str:
    """Return the name under which the kernel knows ``stem.ko``: ``my-module`` is ``my_module``."""
    return stem.replace("-", "_")


class ModuleSource:
    """The source of a module, or of several: a folder with a Kbuild or Makefile.

    The files are found and read once. An object stands for the source as it was then. A file that
    goes before it is read is left out: editors make and remove files at any time.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        """Represent the source in a folder.

        Raises:
            UsageError: there is no such folder, or it has neither Kbuild nor Makefile.
        """
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}: name the folder of a module")
        if not any((folder / name).is_file() for name in _MAKES_MODULE):
            raise UsageError(
                f"{folder} has neither Kbuild nor Makefile: name the folder of a module"
            )
        self.folder = folder

    @cached_property
    def _found(self) -> tuple[Path, ...]:
        """All files of the source, however large."""
        top = self.folder
        found = [path for path in _walk(top) if _is_readable_file(top / path)]
        if aside := [path for path in found if _is_aside(path)]:
            named = _folders_named(top, [path for path in found if path not in aside])
            found = [path for path in found if path not in aside or _is_named(path, named)]
        return tuple(sorted(found))

    @cached_property
    def too_large(self) -> tuple[Path, ...]:
        """The files that are left out only because of their size, relative to the folder."""
        return tuple(path for path in self._found if self._size(path) > LARGEST_BYTES)

    def _size(self, path: Path) -> int:
        try:
            return (self.folder / path).stat().st_size
        except OSError:
            return 0

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files that the build needs, relative to the folder, in a stable order.

        Symbolic links are followed. Anything that is not a regular file, or can't be read, is
        left out.
        """
        return tuple(path for path in self._found if path not in self.too_large)

    @property
    def paths(self) -> list[Path]:
        """The files that the build needs, with the folder."""
        return [self.folder / path for path in self.files]

    @cached_property
    def contents(self) -> Mapping[Path, FileContent]:
        """The contents of the files, by their paths relative to the folder."""
        found = {}
        for path in self.files:
            with suppress(OSError):
                found[path] = FileContent.read(self.folder / path)
        return found

    @cached_property
    def digest(self) -> str:
        """A hash of the files: of their names, contents, and whether they can be executed."""
        made_of = hashlib.sha256()
        for path, content in self.contents.items():
            about = f"{path}\0{content.may_run} {len(content.data)}\n"
            made_of.update(about.encode("utf-8", "surrogateescape"))
            made_of.update(content.data)
        return made_of.hexdigest()

    @property
    def name(self) -> str:
        """The name in the kernel of the first module that Kbuild or Makefile builds.

        Raises:
            UsageError: neither file builds a module.
        """
        for name in _MAKES_MODULE:
            if found := _OBJECT.search(_text(self.folder / name)):
                return kernel_name(found[1])
        raise UsageError(f"{self.folder} has no Kbuild or Makefile with obj-m")


def _walk(top: Path) -> Iterator[Path]:
    """Yield the paths under a folder that may belong to the source, relative to it.

    Folders may be nested more deeply than functions of Python can call each other.
    """
    ahead: list[tuple[Path, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while ahead:
        folder, above = ahead.pop()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        this = (status.st_dev, status.st_ino)
        if this in above:  # a symbolic link to a folder above
            continue
        names = {entry.name for entry in entries}
        for entry in entries:
            path = folder / entry.name
            if _is_folder(entry):
                if not _matches(entry.name, _FOLDERS) and not _is_a_tools(path):
                    ahead.append((path, above | {this}))
            elif not _matches(entry.name, _FILES) and not _is_made(path, names, top):
                yield path.relative_to(top)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a symbolic link to itself
        return False


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_a_tools(folder: Path) -> bool:
    if any(_is_readable_file(folder / mark) for mark in _MARKS):
        return True
    return _IGNORES_ALL.fullmatch(_text(folder / ".gitignore")) is not None


def _is_made(path: Path, beside: set[str], top: Path) -> bool:
    """Return whether an earlier build made a file.

    Kbuild writes the command that made a file into a hidden file beside it. An object file that
    has neither such a file nor a source is part of the source itself.

    Args:
        path: the file.
        beside: the names in the same folder.
        top: the module's folder.
    """
    if path.name == "Module.symvers":
        return path.parent == top
    if f".{path.name}.cmd" in beside:
        return True
    return path.suffix == ".o" and any(f"{path.stem}{s}" in beside for s in _SOURCES_OF_OBJECTS)


def _is_readable_file(path: Path) -> bool:
    """Return whether this user can read a regular file there.

    Nothing else is opened: to open a FIFO could block.
    """
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
    """Return the folders of ``_ASIDE`` that makefiles and #include lines name."""
    named: set[str] = set()
    for path in files:
        if _matches(path.name, _MAKEFILES):
            # Lines that begin with a tab are a recipe's commands, and name no input of the build.
            lines = re.findall(r"^(?!\t)([^#\n]*)", _text(folder / path), re.MULTILINE)
        elif _matches(path.name, _INCLUDES):
            lines = _INCLUDE.findall(_text(folder / path))
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
