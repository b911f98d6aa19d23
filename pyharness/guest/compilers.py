# SPDX-License-Identifier: GPL-2.0
"""Where a module is built: in the guest, or on this host by the guest's own compiler."""

import os
import shlex
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyharness.errors import GuestError
from pyharness.guest.module_source import ModuleSource
from pyharness.host import privileges
from pyharness.host.bounded import Ran, run_until
from pyharness.host.programs import which
from pyharness.machine.kernel_tree import KernelTree
from pyharness.machine.root_tree import WORK, RootTree
from pyharness.transport.ssh import Completed, Ssh

# The file in which Kbuild lists what the modules of a folder export, also to each other.
SYMBOLS = "Module.symvers"
# How long make may take on this host, which builds a large module in a minute.
_MAKE_SECONDS = 600.0
# Distinguishes the folders of this process.
_TOKEN = uuid.uuid4().hex
# Leaves out of the environment what a make has put there by which this program is run, and the
# user's language: what the compiler says is searched for "warning:". Kbuild ignores LC_ALL.
_LANGUAGE = ("LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LC_CTYPE")
_LEFT_OUT = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", *_LANGUAGE)
_PLAIN = ("env", *(f"--unset={name}" for name in _LEFT_OUT))
# The flag by which make runs sparse.
_CHECK = "C=1"
# How long it may take to kill a build that was given up.
_END_SECONDS = 10.0


@dataclass(frozen=True)
class Made:
    """What make did.

    Attributes:
        status: its exit status.
        output: what it printed.
        modules: the contents of the modules' ``.ko`` files, by their paths.
        symbols: the text of Module.symvers; empty if there is none.
        notes: the contents of the ``.gcno`` files, by their paths relative to the source.
    """

    status: int
    output: str
    modules: dict[str, bytes]
    symbols: str
    notes: dict[str, bytes]


class Compiler(Protocol):
    """Builds modules for a guest."""

    def folder(self, name: str) -> str:
        """Return the folder of a copy of a source, as make() sees it."""

    def make(
        self, source: ModuleSource, name: str, flags: Sequence[str], more: Mapping[str, bytes]
    ) -> Made:
        """Run make on a copy of a module's source.

        Args:
            source: the source.
            name: the name of the copy's folder.
            flags: make's arguments.
            more: further files of the copy, by their names.

        Raises:
            GuestError: make took too long, or the guest does not answer.
        """


@dataclass(frozen=True)
class InGuest(Compiler):
    """Builds in the guest.

    Attributes:
        ssh: the connection to it.
        jobs: how many jobs make runs at once.
        seconds: how long each of the commands may take, in seconds of ``ssh.clock()``.
    """

    ssh: Ssh
    jobs: int
    seconds: float

    def folder(self, name: str) -> str:
        return f"{WORK}/{name}"

    def make(
        self, source: ModuleSource, name: str, flags: Sequence[str], more: Mapping[str, bytes]
    ) -> Made:
        where = self.folder(name)
        self.ssh.put_files(source.contents, where, seconds=self.seconds)
        for file, data in more.items():
            self.ssh.put(data, f"{where}/{file}", seconds=self.seconds)
        made = self._make(where, flags)
        found = self._find(where, "*.ko")
        notes = self._find(where, "*.gcno")
        return Made(
            made.status,
            made.stdout,
            {ko: self.ssh.get(ko, seconds=self.seconds) for ko in found},
            self._run("sh", "-c", f"cat {where}/{SYMBOLS} || true").stdout,
            {
                note.removeprefix(f"{where}/"): self.ssh.get(note, seconds=self.seconds)
                for note in notes
            },
        )

    def _find(self, where: str, pattern: str) -> list[str]:
        return self._run("find", where, "-name", pattern).check().stdout.splitlines()

    def _run(self, *command: str) -> Completed:
        return self.ssh.run(list(command), seconds=self.seconds)

    def _make(self, where: str, flags: Sequence[str]) -> Completed:
        """Run make in a folder of the guest; kill it there if an exception ends the wait for it."""
        group = f"{where}.group"  # the file with the id of make's process group
        line = [*_PLAIN, "make", "-C", where, f"-j{self.jobs}", *flags]
        make = f"echo $$ > {group} && exec {shlex.join(line)} 2>&1"
        try:
            return self._run("setsid", "--wait", "sh", "-c", make)
        except BaseException:
            with suppress(GuestError):
                self.ssh.run(f"kill -KILL -- -$(cat {group})", seconds=_END_SECONDS)
            raise


def _copy(source: ModuleSource, folder: Path, more: Mapping[str, bytes]) -> None:
    """Write the files of a source, as they were hashed, and more files beside them."""
    for path, content in source.contents.items():
        content.write(folder / path)
    for file, data in more.items():
        (folder / file).write_bytes(data)


def _made(ran: Ran, folder: Path) -> Made:
    symbols = _results(folder, SYMBOLS).get(SYMBOLS, b"")
    return Made(
        ran.status,
        ran.output,
        _results(folder, "*.ko"),
        symbols.decode(errors="replace"),
        _results(folder, "*.gcno"),
    )


def _results(folder: Path, pattern: str) -> dict[str, bytes]:
    """Read the files that a build has made, by their paths; no link leads out of the folder."""
    top = folder.resolve()
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob(pattern)
        if path.is_file() and path.resolve().is_relative_to(top)
    }


@dataclass(frozen=True)
class OnHost(Compiler):
    """Builds on this host, with the programs and headers of the guest.

    Attributes:
        tree: the guest's root file system.
    """

    tree: RootTree

    def folder(self, name: str) -> str:
        return f"{WORK}/{name}"

    def make(
        self, source: ModuleSource, name: str, flags: Sequence[str], more: Mapping[str, bytes]
    ) -> Made:
        with self.tree.work() as work:
            _copy(source, work / name, more)
            command = ["make", "-C", self.folder(name), f"-j{_jobs()}", *flags]
            return _made(self.tree.run(command, work, seconds=_MAKE_SECONDS), work / name)


@dataclass(frozen=True)
class WithTree(Compiler):
    """Builds on this host, against a kernel's tree that was built here.

    Attributes:
        tree: the tree.
    """

    tree: KernelTree

    def folder(self, name: str) -> str:
        return str(privileges.temporary_folder() / f"pyharness-{_TOKEN}-{name}")

    def make(
        self, source: ModuleSource, name: str, flags: Sequence[str], more: Mapping[str, bytes]
    ) -> Made:
        folder = Path(self.folder(name))
        folder.mkdir(mode=0o700)  # it is this process's own: nobody could have made it before
        try:
            _copy(source, folder, more)
            # The project's own makefile would look for the tree of the kernel that runs here.
            make = [*_PLAIN, "make", "-C", str(self.tree.folder)]
            command = [*make, f"M={folder}", f"-j{_jobs()}"]
            possible = [flag for flag in flags if flag != _CHECK or which("sparse")]
            line = [*command, *self.tree.flags, *possible, "modules"]
            return _made(run_until(line, seconds=_MAKE_SECONDS), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _jobs() -> int:
    return len(os.sched_getaffinity(0))
