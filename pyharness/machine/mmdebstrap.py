# SPDX-License-Identifier: GPL-2.0
"""Makes a root file system from Debian packages by ``mmdebstrap``, and runs hooks on it.

The file system itself is temporary: what is to be kept of it, hooks write to files that are passed
to them by descriptor.
"""

import fcntl
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import cache, private_mounts, privileges, signals, supervisor
from pyharness.host.programs import die_with_parent, environment, requires, run
from pyharness.host.progress import Progress
from pyharness.machine.mirrors import Mirrors, base_of

# The lowest descriptor that a hook gets; see _high().
_HIGH = 100
# How many lines of mmdebstrap's output an error shows.
_LAST_LINES = 15
# What apt prints if a mirror and its security archive are out of step.
_OUT_OF_STEP = re.compile(r"unexpected size|Hash Sum mismatch|does not have a Release file|404 ")


@dataclass(frozen=True, kw_only=True)
class Packages:
    """What a root file system is made of.

    Attributes:
        suite: the Debian suite.
        architecture: Debian's name of the architecture.
        names: the packages to install, with those that they need.
        excluded: patterns of the paths that dpkg leaves out.
    """

    suite: str
    architecture: str
    names: Sequence[str]
    excluded: Sequence[str] = ()


class MmdebstrapError(Exception):
    """What mmdebstrap printed before it failed."""


def check_host(architecture: str, *, purpose: str, room: int, temporary: int = 0) -> None:
    """Check that this host can make a root file system.

    Args:
        architecture: Debian's name of its architecture.
        purpose: what it is for, such as ``making the image of bookworm-arm64``.
        room: the space in the cache that is needed at most, in bytes.
        temporary: the space that a user other than root needs in the folder for temporary files,
            if that is more than an image needs, in bytes.

    Raises:
        HostError: it can't; the message says what it lacks.
    """
    requires("mmdebstrap", "arch-test", "mount")
    if obstacle := privileges.to_make_images():
        raise HostError(str(obstacle))
    try:
        run("arch-test", architecture)
    except HostError as error:
        raise HostError(
            f"programs for {architecture} don't run here, which {purpose} needs:"
            f" pyharness setup {architecture}"
        ) from error
    _check_room(cache.folder(), room, purpose, cache.CACHE_VARIABLE)
    if os.geteuid():  # whose files are not beside the image: see _tree()
        _check_room(privileges.temporary_folder(), temporary, purpose, "TMPDIR")


def _check_room(folder: Path, room: int, purpose: str, variable: str) -> None:
    if (free := shutil.disk_usage(folder).free) < room:
        raise HostError(
            f"{folder} has {free >> 20} MiB free and {purpose} needs {room >> 20}:"
            f" make room, or name another folder in {variable}"
        )


def with_sources(
    suite: str, make: Callable[[list[str]], None], *, purpose: str, progress: Progress
) -> None:
    """Make something from this host's package sources, or, if that fails, from fewer of them.

    Args:
        suite: the Debian suite.
        make: makes it from lines for apt's sources.list; raises MmdebstrapError if it can't.
        purpose: what it is for, such as ``making the image of bookworm-i386``.
        progress: gets a message if the security archive is left out.

    Raises:
        HostError: it can't be made; the message has the end of mmdebstrap's output.
    """
    choices = Mirrors.of_this_host().choices(suite)
    for left, sources in zip(reversed(range(len(choices))), choices, strict=True):
        try:
            return make(sources)
        except MmdebstrapError as failed:
            log = str(failed)
            if not (left and _OUT_OF_STEP.search(log)):
                break
            progress.message(f"{purpose} without security updates: their mirror is out of sync")
    tail = "\n".join(log.splitlines()[-_LAST_LINES:])
    raise HostError(f"{purpose} failed; mmdebstrap printed:\n{tail}")


def make_tree(
    packages: Packages,
    sources: Sequence[str],
    hooks: Sequence[str],
    folder: Path,
    *,
    descriptors: Sequence[int],
    listen: Callable[[str], object],
) -> str:
    """Make a root file system, run hooks on it, and remove it.

    A hook is a shell command, and mmdebstrap splits its special hooks at spaces, so no hook has
    a path of this host: files are passed by descriptor.

    Args:
        packages: what it is made of.
        sources: lines for apt's sources.list.
        hooks: mmdebstrap's options for hooks, such as ``--customize-hook=…``.
        folder: an empty folder, for temporary files.
        descriptors: the open files that hooks read or write, from in_memory() and on_disk().
        listen: called with each line that is printed.

    Returns:
        Everything that was printed.

    Raises:
        MmdebstrapError: mmdebstrap or a hook failed.
    """
    with _tree(folder) as (first, temporary, inherited):
        command = [
            *first,
            "mmdebstrap", "--variant=minbase", "--format=null",
            f"--architectures={packages.architecture}",
            f"--include={','.join(packages.names)}",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"',
            # A kernel of an additional suite also needs that suite's versions of other packages.
            f'--aptopt=APT::Default-Release "{packages.suite}"',
            *(f"--dpkgopt=path-exclude={path}" for path in packages.excluded),
            *hooks,
            base_of(packages.suite), "/dev/null", *sources,
        ]  # fmt: skip
        with supervisor.held_back() if os.geteuid() else nullcontext():
            process = subprocess.Popen(
                command,
                cwd="/",  # which root of a user namespace can enter, too
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=[*descriptors, *inherited],
                env=environment(TMPDIR=str(temporary), LC_ALL="C.UTF-8"),
            )
        assert process.stdout is not None
        lines = []
        with signals.ended(process, gently=bool(os.geteuid())):
            for line in process.stdout:
                lines.append(line)
                listen(line)
        if process.returncode:
            raise MmdebstrapError("".join(lines))
    return "".join(lines)


def archive(files: Mapping[str, bytes]) -> bytes:
    """Pack files, by their names, into a tar archive, for a hook that unpacks it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@contextmanager
def in_memory(data: bytes = b"") -> Iterator[int]:
    """Yield the descriptor of a file in memory, which any user can open by that descriptor."""
    with _high(os.memfd_create("pyharness")) as fd:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd


@contextmanager
def on_disk(path: Path) -> Iterator[int]:
    """Yield the descriptor of a file that root of a user namespace can write to, too.

    The file is read-only afterwards.
    """
    with _high(os.open(path, os.O_RDWR | os.O_CREAT, 0o666)) as fd:
        os.fchmod(fd, 0o666)
        yield fd
        os.fchmod(fd, 0o444)


@contextmanager
def _high(fd: int) -> Iterator[int]:
    """Yield a copy of a descriptor with a high number, and close the original.

    Low numbers are left to mmdebstrap: its shell can't name others.
    """
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    finally:
        os.close(fd)
    try:
        yield high
    finally:
        os.close(high)


@contextmanager
def _tree(folder: Path) -> Iterator[tuple[list[str], Path, list[int]]]:
    """Prepare a folder in which a command makes a tree of files.

    As root, that folder is in the given one, where it is sure to be cleaned up, and mounted at a
    plain path, as apt and dpkg can't handle others. The command has mounts and processes of its
    own: the kernel ends both, even if the command is killed.

    As another user, mmdebstrap itself makes a user namespace, whose root can't enter a private
    home folder: so it is a folder for temporary files. As the kernel does not end that namespace's
    processes with this one, supervisor.py does.

    Yields:
        The words that the command begins with, the folder, and the descriptors to inherit.
    """
    if not os.geteuid():
        requires("unshare")
    plain = Path(tempfile.mkdtemp(prefix="pyharness-", dir=privileges.temporary_folder()))
    if os.geteuid():
        plain.chmod(0o1777)
        reading, writing = os.pipe()
        try:
            yield [*supervisor.COMMAND, str(reading), str(plain)], plain, [reading]
        finally:
            os.close(reading)
            os.close(writing)
        return
    tree = folder / "tmp"
    try:
        tree.mkdir()
        tree.chmod(0o755)
        yield die_with_parent([*private_mounts.COMMAND, str(tree), str(plain)]), plain, []
    finally:
        plain.rmdir()
        shutil.rmtree(tree, ignore_errors=True)
