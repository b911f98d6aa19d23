# SPDX-License-Identifier: GPL-2.0
"""Collects which code of modules has run, from all guests of a run, in a folder of this host.

The folder is named by ``PYHARNESS_COVERAGE``; so child processes, and the workers of pytest-xdist,
collect into the same one::

    builds/0123456789abcdef.json    a build whose code was counted: see class Counted
    counters/GUEST-2.json           the counters of the second module that was loaded in a guest
"""

import os
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Protocol

from pyharness.errors import GuestError, UsageError
from pyharness.guest.build import NOTES, Built, module_name
from pyharness.host import bundled, json_store
from pyharness.linux import gcov
from pyharness.linux.gcov import Counters, Function, Notes, Region
from pyharness.transport.ssh import Completed

VARIABLE = "PYHARNESS_COVERAGE"
# The source of the module that keeps counters of others.
KEEPER = bundled.VM / "coverage"
_MODULE = "pyharness_coverage"
_KO = f"/root/{_MODULE}.ko"
# The file by which it is read, and the parameter with the names of those others.
_FILE, _NAMES = f"/proc/{_MODULE}", f"/sys/module/{_MODULE}/parameters/names"
_BUILDS, _COUNTERS = "builds", "counters"
# struct kept_head and struct kept_region.
_HEAD = struct.Struct("<IIII64s32s")
_REGION = struct.Struct("<QQ")
_MAGIC = 0x70796376
_POINTER_BYTES = {"i386": 4, "amd64": 8, "arm64": 8}


@dataclass(frozen=True)
class Counted:
    """A build whose code is counted.

    Attributes:
        folder: the folder of the cache that has it.
        source: the folder of the module's source.
        where: the folder of the source as the compiler saw it.
        tree: the root file system that has the compiler; empty for this host's own.
        architecture: Debian's name of the architecture.
    """

    folder: str
    source: str
    where: str
    tree: str
    architecture: str


_COUNTED = dict.fromkeys(Counted.__annotations__, str)


@dataclass(frozen=True)
class Kept:
    """The data of a module, from the keeper.

    Attributes:
        guest: the name that the keeper was given.
        number: which of the modules that were loaded it is.
        loaded: whether it is still loaded.
        name: the module's name.
        regions: its memory.
    """

    guest: str
    number: int
    loaded: bool
    name: str
    regions: tuple[Region, ...]


def parse(data: bytes) -> Iterator[Kept]:
    """Parse what the keeper's file has. Pure.

    Raises:
        ValueError: it is not that.
    """
    at = 0
    while at < len(data):
        magic, number, loaded, count, name, guest = _HEAD.unpack_from(data, at)
        if magic != _MAGIC:
            raise ValueError(f"no module begins at byte {at}")
        at += _HEAD.size
        heads = [_REGION.unpack_from(data, at + n * _REGION.size) for n in range(count)]
        at += count * _REGION.size
        regions = []
        for address, size in heads:
            regions.append(Region(address, data[at : at + size]))
            at += size
        yield Kept(_text(guest), number, bool(loaded), _text(name), tuple(regions))


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")


def folder() -> Path | None:
    """The folder of this run; None if nothing is counted."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


class HasFiles(Protocol):
    """A guest in which files are read and written, and commands run, such as Guest."""

    def run(self, command: str | Sequence[str]) -> Completed:
        """Run a command as root."""

    def put(self, data: bytes, target: str) -> None:
        """Write a file."""

    def get(self, source: str) -> bytes:
        """Read a file."""


class Coverage:
    """What has run of the modules of one guest."""

    def __init__(
        self,
        folder: Path,
        guest: HasFiles,
        architecture: str,
        *,
        memory: Callable[[int, int], bytes],
    ) -> None:
        """Collect into a folder.

        Args:
            folder: the folder of this run.
            guest: the guest.
            architecture: Debian's name of its architecture.
            memory: reads the memory of its kernel, given address and size, also after it has
                crashed; raises GuestError if it can't.
        """
        self._folder = folder
        self._guest = guest
        self._memory = memory
        self._pointer_bytes = _POINTER_BYTES[architecture]
        self._loaded: tuple[Kept, ...] = ()

    def watch(self, built: Built, counted: Counted, keeper: Callable[[], Path]) -> None:
        """Have the guest keep the counters of the modules of a build, which are not loaded yet.

        Args:
            built: the build.
            counted: what is known about it.
            keeper: returns the ``.ko`` file of the module KEEPER, on this host.
        """
        builds = self._folder / _BUILDS
        builds.mkdir(parents=True, exist_ok=True)
        json_store.write(builds / f"{Path(counted.folder).name}.json", asdict(counted))
        run = self._guest.run
        if run(["test", "-e", _FILE]).status:
            self._guest.put(keeper().read_bytes(), _KO)
            run(["insmod", _KO, f"guest={uuid.uuid4().hex[:16]}"]).check()
        for name in map(module_name, built.files):
            run(f'grep -qw {name} {_NAMES} || echo "$(cat {_NAMES}){name}," > {_NAMES}').check()

    def collect(self) -> None:
        """Write the counters of all modules that are or were loaded to the folder.

        What a module that stays loaded has counted is written again the next time.
        """
        try:
            if self._guest.run(["test", "-e", _FILE]).status:
                return
            kept = tuple(parse(self._guest.get(_FILE)))
        except GuestError:
            kept = self._after_crash()
        for one in kept:
            self._write(one)
        self._loaded = tuple(one for one in kept if one.loaded)

    def _after_crash(self) -> tuple[Kept, ...]:
        """What the modules have counted that were loaded when collect() was last called."""
        with suppress(GuestError):
            return tuple(
                replace(
                    one,
                    regions=tuple(
                        Region(known.address, self._memory(known.address, len(known.data)))
                        for known in one.regions
                    ),
                )
                for one in self._loaded
            )
        return ()

    def _write(self, kept: Kept) -> None:
        for path in sorted((self._folder / _BUILDS).glob("*.json")):
            counted = read_counted(self._folder, path.stem)
            objects = {}
            for note, notes in notes_of(counted).items():
                with suppress(ValueError):  # an object of another build, or of another module
                    counters = gcov.read_counters(
                        notes, kept.regions, pointer_bytes=self._pointer_bytes
                    )
                    objects[note] = [[*astuple(one), *values] for one, values in counters.items()]
            if objects:
                counters_folder = self._folder / _COUNTERS
                counters_folder.mkdir(exist_ok=True)
                name = f"{kept.guest}-{kept.number}.json"
                json_store.write(counters_folder / name, {"build": path.stem, "objects": objects})


def read_counted(folder: Path, build: str) -> Counted:
    """The description of a build.

    Args:
        folder: the folder of a run.
        build: the name of its file in the folder ``builds``, without ``.json``.

    Raises:
        UsageError: there is none.
    """
    path = folder / _BUILDS / f"{build}.json"
    facts = json_store.read(path, _COUNTED)
    if facts is None:
        raise UsageError(f"{path} is missing or damaged: run the tests again")
    return Counted(**facts)


def notes_of(counted: Counted) -> dict[str, Notes]:
    """What GCC has noted about each object of a build, by its path relative to the source."""
    top = Path(counted.folder) / NOTES
    return {
        str(path.relative_to(top).with_suffix("")): Notes.parse(path.read_bytes())
        for path in sorted(top.rglob("*.gcno"))
    }


def read_totals(folder: Path) -> dict[str, dict[str, Counters]]:
    """Add up what was collected in a folder.

    Returns:
        The counters by build, which is the name of a file in ``builds``, and by object.
    """
    totals: dict[str, dict[str, Counters]] = {}
    for path in sorted((folder / _COUNTERS).glob("*.json")):
        facts = json_store.read(path, {"build": str, "objects": dict})
        if facts is None:
            continue
        objects = totals.setdefault(facts["build"], {})
        for name, rows in facts["objects"].items():
            more = {Function(*row[:3]): tuple(row[3:]) for row in rows}
            objects[name] = gcov.added(objects.get(name, {}), more)
    return totals
