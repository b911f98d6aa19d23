# SPDX-License-Identifier: GPL-2.0
"""Builds a module with the guest's own compiler and kernel headers.

The cache keeps the result under a hash of the source and of the kernel that it was built for, so
that the same module is built once.
"""

import hashlib
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import CheckFailed, UsageError
from pyharness.guest import coverage_build
from pyharness.guest.compilers import SYMBOLS, Compiler, Made
from pyharness.guest.module_source import LARGEST_BYTES, ModuleSource, kernel_name
from pyharness.host import cache, json_store

# Warnings about the guest's compiler or headers, which are not the module's fault.
# Both are regular expressions for Python and for ``grep -E``.
NO_WARNING = r"Skipping BTF generation|the compiler differs from the one"
WARNING = r"\bwarning:|\bWARNING:"
_FLAGS = ("W=1", "C=1", "KCFLAGS=-g{more}")
# The folder in a build's folder with the .gcno files of a module whose code is counted.
NOTES = "notes"
_FACTS_FILE = "build.json"
# The beginning of the names of all builds' folders.
_SIBLINGS = "built"
# Held while a module is built, by the build's name: the threads of a process share its folder.
_building: dict[str, threading.Lock] = {}


def module_name(ko: Path) -> str:
    """Return the name under which the kernel loads a module's file."""
    return kernel_name(ko.stem)


@dataclass(frozen=True, kw_only=True)
class Built:
    """The result of a build: one module or several.

    Attributes:
        files: the modules' ``.ko`` files, on the host.
        log: the output of make.
        cached: whether the result is from the cache, and nothing was built now.
        where: the folder of the source as the compiler saw it.
    """

    files: tuple[Path, ...]
    log: str
    cached: bool
    where: str = ""

    def file(self, name: str = "") -> Path:
        """Return the ``.ko`` file of one module.

        Args:
            name: the module's name; may be empty if the folder builds one module.

        Raises:
            UsageError: there is no such module, or the folder builds several and the name is
                empty.
        """
        known = {module_name(ko): ko for ko in self.files}
        if not name and len(known) == 1:
            return self.files[0]
        if kernel_name(name) in known:
            return known[kernel_name(name)]
        these = ", ".join(known)
        if name:
            raise UsageError(f"the folder builds no module {name!r}; it builds {these}")
        raise UsageError(f"the folder builds several modules: name one of {these}")

    @property
    def ko(self) -> Path:
        """The ``.ko`` file of the folder's only module.

        Raises:
            UsageError: the folder builds several: file() returns one by its name.
        """
        return self.file()

    @property
    def name(self) -> str:
        """The name of the folder's only module in the kernel.

        Raises:
            UsageError: the folder builds several modules.
        """
        return module_name(self.ko)

    @property
    def warnings(self) -> list[str]:
        """The warnings of the compiler, sparse and modpost, one line each."""
        return warnings_in(self.log)


def warnings_in(output: str) -> list[str]:
    """Return the lines of make's output that warn of something in a module."""
    return [
        line
        for line in output.splitlines()
        if re.search(WARNING, line) and not re.search(NO_WARNING, line)
    ]


def digest(source: ModuleSource, headers: str, *, counts: bool = False) -> str:
    """Return a hash of a module's source, of the build's flags, and of the target.

    Args:
        source: the module's source.
        headers: a text that identifies the guest's kernel and headers.
        counts: whether the module is to count which of its code runs.
    """
    more = f"{coverage_build.FLAGS}{coverage_build.FILES}" if counts else ""
    made_of = f"{headers} {_FLAGS} {more}{source.digest}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]


def find(source: ModuleSource, headers: str, *, counts: bool = False) -> Built | None:
    """Return the cached result for a module's source; None if there is none.

    Args:
        source: the module's source.
        headers: a text that identifies the guest's kernel and headers.
        counts: whether the module is to count which of its code runs.
    """
    kept = _kept(digest(source, headers, counts=counts))
    if found := _read(kept, cached=True):
        with suppress(OSError):  # the cache may be of those that are only read
            cache.mark_used(kept)
    return found


def build(
    source: ModuleSource,
    headers: str,
    compiler: Compiler,
    *,
    counts: bool = False,
    anew: bool = False,
) -> Built:
    """Build the modules of a folder of the host, and keep them in the cache.

    Args:
        source: the modules' source.
        headers: a text that identifies the guest's kernel and headers.
        compiler: where to build them.
        counts: whether the modules are to count which of their code runs.
        anew: whether to replace what the cache has; if not, and another thread or process has
            built the same meanwhile, the result is that one's.

    Returns:
        The modules.

    Raises:
        CheckFailed: the build failed; the message has its output.
        UsageError: the compiler is too old to have the code counted.
        GuestError: the guest does not answer, or the build took too long.
    """
    name = digest(source, headers, counts=counts)
    more = coverage_build.FLAGS.format(folder=compiler.folder(name)) if counts else ""
    flags = [flag.format(more=more) for flag in _FLAGS]
    with _building.setdefault(name, threading.Lock()):
        if not anew and (found := _read(_kept(name), cached=False)):  # by another thread
            return found
        made = compiler.make(source, name, flags, coverage_build.FILES if counts else {})
        return _keep(source, name, made, compiler.folder(name), counts=counts, anew=anew)


def _keep(
    source: ModuleSource, name: str, made: Made, where: str, *, counts: bool, anew: bool
) -> Built:
    """Check what make has done, and keep it in the cache."""
    output = made.output.strip()
    if made.status or not made.modules:
        if counts:
            coverage_build.check_output(output)
        said = output if made.status else "make succeeded, but built no .ko: check obj-m"
        raise CheckFailed(f"{source.folder} does not build:\n{said}{_left_out(source)}")
    _check_names(sorted(made.modules))

    with cache.locked("modules"):
        if not anew and (found := _read(_kept(name), cached=False)):
            return found
        with cache.atomic_folder(_kept(name), siblings=_SIBLINGS) as making:
            for path, ko in made.modules.items():
                (making / Path(path).name).write_bytes(ko)
            for path, note in made.notes.items():
                kept = making / NOTES / path
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(note)
            (making / SYMBOLS).write_text(made.symbols, encoding="utf-8")
            json_store.write(making / _FACTS_FILE, {"log": output, "where": where})
        built = _read(_kept(name), cached=False)
        assert built is not None
        return built


def _check_names(found: Sequence[str]) -> None:
    """Make sure that no two modules have the same name in the kernel.

    Raises:
        CheckFailed: two have.
    """
    places: dict[str, str] = {}
    for path in found:
        name = module_name(Path(path))
        if name in places:
            raise CheckFailed(
                f"the folder builds two modules that are called {name}, of which a kernel takes"
                f" only one: rename {places[name]} or {path}"
            )
        places[name] = path


def _left_out(source: ModuleSource) -> str:
    """Return a note on the files that were too large to copy, which the build may have needed."""
    large = ", ".join(map(str, source.too_large))
    limit = LARGEST_BYTES >> 20
    return f"\nleft out, as it is larger than {limit} MiB: {large}" if large else ""


def _kept(name: str) -> Path:
    return cache.folder() / "modules" / f"{_SIBLINGS}-{name}"


def _read(kept: Path, *, cached: bool) -> Built | None:
    facts = json_store.read(kept / _FACTS_FILE, {"log": str, "where": str})
    files = tuple(sorted(kept.glob("*.ko")))
    return Built(files=files, cached=cached, **facts) if facts and files else None
