# SPDX-License-Identifier: GPL-2.0
"""Builds what a student has handed in: in a guest, as an ordinary user, without a network.

Nothing of a submission is unpacked, built or executed on the host. The guest is discarded
afterwards, as a makefile can do anything in it.
"""

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pyharness.errors import CheckFailed, GuestError, GuestTimeout, UsageError
from pyharness.guest.guest import Guest
from pyharness.guest.module_source import kernel_name
from pyharness.interceptor.interface import HEADER, Interface
from pyharness.interceptor.rules import build_output, folder_archive, preprocessor
from pyharness.interceptor.rules.scheme import Scheme
from pyharness.interceptor.rules.subject import Subject
from pyharness.linux.syscalls import INT_MOST, Syscalls
from pyharness.transport.ssh import Completed

# The archives that Python's shutil unpacks.
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_LARGEST_MODULE_BYTES = 16 << 20
_MOST_OUTPUT_BYTES = 64 << 20  # of what make prints
_MOST_PATHS_BYTES = 1 << 20  # of the paths of the modules
_USER = "nobody"
_TOP = "/srv/check"
_OUTPUT = f"{_TOP}/output"
_INSIDE = Path(__file__).parents[1] / "inside"
_STARTER = Path(__file__).parents[1] / "starter"
_UNPACK_SECONDS = 20.0
# How much of the guest a build may use: processes, the size of a file, and memory, in bytes.
_LIMITS = f"--nproc=128 --fsize={64 << 20} --as={1 << 30}"
# make and all that it starts end together, as they have process IDs of their own. What it prints
# goes through a pipe: a file could be truncated.
_MAKE = (
    "( unshare --net --pid --fork --kill-child --mount-proc -- prlimit {limits} --"
    " runuser -u {user} --"
    " env -i PATH=/usr/bin:/bin HOME={top} LC_ALL=C"
    " make -C /lib/modules/$(uname -r)/build M={folder} KCFLAGS='{flags}' modules;"
    " echo $? > {top}/status ) 2>&1 < /dev/null | head -c {most} > {output};"
    " pkill -KILL -u {user}; cat {top}/status"
)
# A comment that does not end takes the rest: to look for its end at each "/*" would be quadratic.
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Build:
    """The result of a build.

    Attributes:
        subject: the module; None if it was not built.
        problem: why it was not; empty if it was.
        output: what make printed; of more than 64 KiB, the beginning and the end.
    """

    subject: Subject | None = None
    problem: str = ""
    output: str = field(default="", repr=False)


def find(path: Path) -> Path:
    """Check that a path is a submission: a folder, or an archive of a known kind.

    Raises:
        UsageError: it is none.
    """
    if path.is_dir() or (path.is_file() and path.name.lower().endswith(ARCHIVES)):
        return path
    kinds = ", ".join(ARCHIVES)
    raise UsageError(f"{path} is neither a folder nor an archive ({kinds}): name a module's folder")


def packed(path: Path) -> tuple[str, bytes]:
    """Read a submission.

    Symbolic links of a folder stay what they are: nothing is read from outside of it.

    Returns:
        The name of an archive, and its content.

    Raises:
        UsageError: the submission is too large, or can't be read.
    """
    try:
        if path.is_file():
            if path.stat().st_size > folder_archive.LARGEST_BYTES:
                raise folder_archive.too_large(path)
            kind = next(kind for kind in ARCHIVES if path.name.lower().endswith(kind))
            return f"submission{kind}", path.read_bytes()
        return "submission.tar", folder_archive.packed(path)
    except OSError as error:
        raise UsageError(f"{error.filename or path} can't be read: {error.strerror}") from error


def build(guest: Guest, path: Path, scheme: Scheme, kept: Path) -> Build:
    """Build a submission in a guest, which the caller then discards.

    Args:
        guest: the guest.
        path: the folder or archive.
        scheme: says how long the build may take.
        kept: the folder of the host that the module's file is written to.

    Raises:
        UsageError: the submission can't be read, or is too large.
        GuestError: the guest can't be used.
    """
    name, data = packed(path)
    for file, content in (
        (name, data),
        ("unpack.py", (_INSIDE / "unpack.py").read_bytes()),
        (f"fill/{HEADER}", (_STARTER / HEADER).read_bytes()),
    ):
        where = f"{_TOP}/{file}"
        guest.run(["mkdir", "-p", str(PurePosixPath(where).parent)]).check()
        guest.put(content, where)
    guest.run(f"chmod -R a+rX {_TOP} && install -d -o {_USER} -m 755 {_TOP}/src").check()
    words = [f"{_TOP}/{word}" for word in ("unpack.py", name, "src", "fill")]
    unpack = ["python3", *words, *folder_archive.NO_SOURCE]
    try:
        said = guest.run(unpack, user=_USER, seconds=_UNPACK_SECONDS).check().stdout
    except GuestTimeout:
        return Build(problem=f"{path.name} can't be unpacked in time")
    found = json.loads(said)
    if problem := found.get("problem"):
        return Build(problem=f"{path.name}: {problem}")
    return _make(guest, found["folder"], found["defines"], scheme, kept)


def _make(guest: Guest, folder: str, defines: str, scheme: Scheme, kept: Path) -> Build:
    line = _MAKE.format(
        limits=_LIMITS,
        user=_USER,
        top=_TOP,
        folder=shlex.quote(folder),
        flags=build_output.KCFLAGS,
        most=_MOST_OUTPUT_BYTES,
        output=_OUTPUT,
    )
    try:
        done = guest.run(line, seconds=scheme.build_seconds)
    except GuestTimeout:
        return Build(problem="make did not end in time", output=_output_so_far(guest))
    output = build_output.read(guest.run, _OUTPUT)
    if done.stdout.strip() != "0":  # nothing, if the disk was too full for it
        return Build(problem="make failed", output=output)
    small = f"-{_LARGEST_MODULE_BYTES >> 10}k"
    find_modules = ["find", folder, "-type", "f", "-name", "*.ko", "-size", small, "-print0"]
    paths = guest.run(f"{shlex.join(find_modules)} | head -c {_MOST_PATHS_BYTES}").stdout
    files = paths.split("\0")[:-1]
    if not files:
        return Build(problem="make has built no module", output=output)
    file = _chosen(files)
    ko = kept / PurePosixPath(file).name
    copied = f"{_TOP}/copied.ko"
    guest.run(f"head -c {_LARGEST_MODULE_BYTES} {shlex.quote(file)} > {copied}").check()
    ko.write_bytes(guest.get(copied))
    return Build(
        subject=Subject(
            name=kernel_name(ko.stem),
            ko=ko,
            interface=interface(_definitions(guest, defines), guest.syscalls),
            warnings=(
                *build_output.warnings(guest.run, _OUTPUT),
                *build_output.hidden(guest.run, folder),
            ),
        ),
        output=output,
    )


def _output_so_far(guest: Guest) -> str:
    """Return what a build has printed that does not end; nothing if the guest does not answer."""
    with suppress(GuestError, CheckFailed):
        guest.run(["pkill", "-KILL", "-u", _USER])
        return build_output.read(guest.run, _OUTPUT)
    return ""


def _definitions(guest: Guest, defines: str) -> str:
    def run(line: str, code: bytes) -> Completed:
        return guest.run(line, user=_USER, seconds=_UNPACK_SECONDS, stdin=code)

    try:
        return preprocessor.definitions(run, defines)
    except GuestTimeout:
        return defines


def _chosen(files: Sequence[str]) -> str:
    """Return the module that is checked: the one of the handout's name, or the first."""
    stem = PurePosixPath(HEADER).stem
    return min(files, key=lambda file: (PurePosixPath(file).stem != stem, file))


def interface(defines: str, syscalls: Syscalls) -> Interface:
    """Return the numbers by which a module is used.

    Args:
        defines: the texts of its sources and headers; what they don't define is the handout's.
        syscalls: the guest's system calls.
    """
    usual = (_STARTER / HEADER).read_text(encoding="utf-8")
    code = _COMMENT.sub(" ", defines)
    try:
        found = Interface.parse(f"{usual}\n{code}", syscalls)
    except UsageError:  # a number that only a compiler can find out
        return Interface.parse(usual, syscalls)
    numbers = (found.custom_syscall, *found.commands.values())
    return found if all(0 <= n <= INT_MOST for n in numbers) else Interface.parse(usual, syscalls)
