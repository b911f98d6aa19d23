# SPDX-License-Identifier: GPL-2.0
"""A guest's root file system as a folder of this host, in which programs of the guest run natively.

So the compiler of the guest builds a module at the speed of this host's CPUs. It needs no
root, only a user namespace. The folder is in the cache::

    trees/bookworm-i386-0123456789ab/
        root/        the programs, libraries and headers of the image's disk
        tree.json    a mark that it is complete
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import cache, confined, json_store, private_mounts
from pyharness.host.bounded import Ran, run_until
from pyharness.host.programs import completed, run, which
from pyharness.host.progress import NoProgress, Progress
from pyharness.machine.image import Image
from pyharness.machine.kernel import Kernel

# To be increased when this file makes trees differently: all trees are then made again.
FORMAT = 4
# The folder in a tree where run() puts files.
WORK = "/root/build"
# The space in the cache that a tree needs at most while it is made (bytes).
_ROOM = 2 << 30
# The architectures, as Debian names them, whose programs run natively, by this host's.
_NATIVE = {"x86_64": ("amd64", "i386"), "aarch64": ("arm64",)}
_PERSONALITIES = {"i386": "i686", "amd64": "x86_64", "arm64": "aarch64"}
# What a build reads nothing of, but is large.
_LARGE = ("boot", "var", "usr/lib/modules/*/kernel", "lib/modules/*/kernel")
# Shows the release of the guest's kernel, which makefiles ask for, instead of this host's.
_UNAME = """#!/bin/sh
[ "$*" = -r ] && echo {release} && exit
PATH=/usr/bin:/bin
exec uname "$@"
"""
# What a command in a tree has of its own, besides mounts and processes: it reaches no network, and
# no shared memory.
_APART = ("--net", "--ipc")
# Runs a command, the words after the first two, in the tree $1, in which the folder $2 is WORK. The
# mounts are seen by this command alone. Whoever is root could change this host's settings by /proc.
_DEVICES = ("null", "zero", "urandom")
_ENTER = f"""
tree=$1 work=$2
shift 2
mount --bind "$tree" "$tree" || exit
mount -o remount,bind,ro "$tree" 2> /dev/null # where a user may not, the tree stays writable
mount -t proc proc "$tree/proc" 2> /dev/null || mount --rbind /proc "$tree/proc" || exit
mount -o remount,bind,ro "$tree/proc" || exit
mount --bind "$work" "$tree{WORK}" && mount -t tmpfs tmpfs "$tree/tmp" || exit
for device in {" ".join(_DEVICES)}; do
    mount --bind "/dev/$device" "$tree/dev/$device" || exit
done
exec {shlex.join(confined.COMMAND)} "$tree" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_FACTS_FILE, _ROOT = "tree.json", "root"
# What debugfs prints that is no fault: its version, and that only root can set owners.
_HARMLESS = re.compile(r"^debugfs \d|^\w+: .* while (changing ownership|setting times) of ")


@dataclass(frozen=True)
class RootTree:
    """A guest's root file system in a folder.

    Attributes:
        folder: the folder that is to be ``/``.
        architecture: Debian's name of the architecture.
    """

    folder: Path
    architecture: str

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Yield an empty folder of this host, for run(), and remove it at the end."""
        with tempfile.TemporaryDirectory(prefix="pyharness-") as name:
            yield Path(name)

    def run(self, command: Sequence[str], work: Path, *, seconds: float) -> Ran:
        """Run a command in the tree until it ends.

        Args:
            command: the program and its arguments.
            work: the folder of this host that it sees as WORK.
            seconds: how long it may take, without the time in which a busy host kept it waiting.

        Raises:
            GuestTimeout: it took longer.
            HostError: this host lacks a program.
        """
        return run_until(self._entering(command, work), seconds=seconds)

    def works(self) -> bool:
        """Return whether programs of the tree run here."""
        with self.work() as work:
            return completed(*self._entering(["true"], work)).returncode == 0

    def _personality(self) -> list[str]:
        if not _is_native(self.architecture):
            return []
        return ["setarch", _PERSONALITIES[self.architecture]]

    def _entering(self, command: Sequence[str], work: Path) -> list[str]:
        enter = [*self._personality(), "sh", "-c", _ENTER, "sh"]
        tree = str(self.folder)
        if os.geteuid():
            apart = ["unshare", "--user", "--map-root-user", *_APART, "--mount", "--pid", "--fork"]
            return [*apart, "--kill-child", "--", *enter, tree, str(work), *command]
        apart = ["unshare", *_APART, "--", *private_mounts.COMMAND, str(work), str(work)]
        return [*apart, *enter, tree, str(work), *command]


@cache.as_host_error()
def ensure(
    image: Image,
    kernel: Kernel,
    architecture: str,
    *,
    emulated: bool = False,
    progress: Progress | None = None,
) -> RootTree | None:
    """The tree of a guest, which takes seconds to make if it is missing.

    Args:
        image: the guest's image.
        kernel: the kernel that it boots, whose headers the tree has.
        architecture: Debian's name of the guest's architecture.
        emulated: whether it may be one whose programs this host runs by emulation.
        progress: shows what is done; None shows nothing.

    Returns:
        The tree; None if programs of the guest don't run here: it is of another architecture,
        this user may not make namespaces, or there is no room for the tree.
    """
    if not (_is_native(architecture) or emulated) or not _can_enter():
        return None
    progress = progress or NoProgress()
    made_from = kernel if kernel.packed else image
    guest = made_from.folder.name.rpartition("-")[0]
    made_of = f"{FORMAT} {image.folder.name} {kernel.folder.name}"
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    folder = cache.folder() / "trees" / f"{guest}-{digest}"
    if not _is_complete(folder) and shutil.disk_usage(cache.folder()).free < _ROOM:
        return None

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that unpacks the compiler of {guest}")

    def make() -> None:
        with (
            progress.task(f"unpacking the compiler of {guest}"),
            cache.atomic_folder(folder, siblings=guest) as making,
        ):
            _make(image, kernel, making / _ROOT)
            json_store.write(making / _FACTS_FILE, {"release": kernel.release})

    def find() -> RootTree | None:
        return RootTree(folder / _ROOT, architecture) if _is_complete(folder) else None

    tree = cache.ensure(find, make, lock=f"tree-{guest}", waiting=waiting)
    cache.mark_used(folder)
    return tree if _works(tree) else None


def _is_native(architecture: str) -> bool:
    return architecture in _NATIVE.get(platform.machine(), ())


def _is_complete(folder: Path) -> bool:
    return json_store.read(folder / _FACTS_FILE, {"release": str}) is not None


@lru_cache
def _works(tree: RootTree) -> bool:
    return tree.works()


@lru_cache
def _can_enter() -> bool:
    """Return whether this user may make namespaces, and this host has the program for a tree."""
    if not which("debugfs"):
        return False
    user = ["--user", "--map-root-user"] if os.geteuid() else []
    mounts = ["--mount", "--propagation", "unchanged"]
    return completed("unshare", *user, *_APART, *mounts, "true").returncode == 0


def _make(image: Image, kernel: Kernel, root: Path) -> None:
    """Fill a folder with the root file system of an image, and with the headers of its kernel."""
    root.mkdir()
    # Its own syntax has no way to write every path, so it runs in the folder. Its exit status is
    # 0 also if the disk is full.
    enter = 'cd "$1" && LC_ALL=C exec debugfs -R "rdump / ." "$2"'
    unpacked = completed("sh", "-c", enter, "sh", str(root), str(image.root.absolute()))
    faults = [line for line in unpacked.stderr.splitlines() if not _HARMLESS.search(line)]
    if unpacked.returncode or faults:
        why = faults[0] if faults else f"debugfs failed: exit status {unpacked.returncode}"
        raise HostError(f"{image.root} can't be unpacked to {root}: {why}")
    for pattern in _LARGE:
        for path in root.glob(pattern):
            shutil.rmtree(path)
    for name in (WORK, "/dev", "/tmp", "/usr/local/bin"):
        root.joinpath(name[1:]).mkdir(parents=True, exist_ok=True)
    for device in _DEVICES:
        root.joinpath("dev", device).touch()
    for name, target in _LINKS.items():
        root.joinpath("dev", name).unlink(missing_ok=True)
        root.joinpath("dev", name).symlink_to(target)
    uname = root / "usr/local/bin/uname"
    uname.write_text(_UNAME.format(release=kernel.release), encoding="ascii")
    uname.chmod(0o755)
    if kernel.files:
        run("tar", "-xzf", str(kernel.files), "--keep-directory-symlink", "-C", str(root))
