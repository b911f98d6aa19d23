# SPDX-License-Identifier: GPL-2.0
"""A guest's disk image, made on this host from Debian packages by ``mmdebstrap``.

An image is a folder of the cache, named after a hash of what it was made from::

    images/bookworm-i386-0123456789ab/
        root.raw     the root file system, sparse; read-only once it is made
        vmlinuz      the kernel, which QEMU boots directly
        initrd       the initial file system, which QEMU loads with it
        image.json   the facts of class Image
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import (
    bundled,
    cache,
    json_store,
    private_mounts,
    privileges,
    signals,
    supervisor,
)
from pyharness.host.programs import die_with_parent, environment, requires, run
from pyharness.host.progress import NoProgress, Progress, Task
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.mirrors import Mirrors, base_of

# To be increased when this file makes images differently: all images are then made again.
FORMAT = 2
# The space that making an image needs at most (bytes).
ROOM = 3 << 30

# How mmdebstrap's lines begin, the fraction of the time that has passed then (measured), and
# what comes next.
_STAGES = (
    ("I: running apt-get update", 0.02, "reading package lists"),
    ("I: downloading packages", 0.08, "downloading the base system"),
    ("I: extracting archives", 0.12, "extracting the base system"),
    ("I: installing essential", 0.18, "installing the base system"),
    ("I: installing remaining", 0.25, "installing kernel, compiler and tools"),
    ("I: running --customize-hook in shell: sh -c 'tar", 0.80, "taking the kernel out"),
    ("I: running --customize-hook in shell: sh -c 'mkdir \"$1.tree", 0.88, "writing the disk"),
    ("I: cleaning", 0.99, "cleaning up"),
)

# mke2fs must not descend into what is mounted on the tree: a bind mount of just the tree hides
# that. It writes to a file that is open already, as only this host's user can enter the cache's
# folder.
_WRITE_DISK = """mkdir "$1.tree" && mount --bind "$1" "$1.tree" &&
mke2fs -q -F -t ext4 -O ^metadata_csum_seed -m 0 -d "$1.tree" /proc/self/fd/{fd} {mib}M &&
umount "$1.tree" && rmdir "$1.tree\""""


# The lowest descriptor that a hook gets; see _high().
_HIGH = 100
# The paths in the tree of what is taken out of it.
_KERNEL = "boot/vmlinuz-"
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key.pub"
_STATUS = "var/lib/dpkg/status"

# Gives a command that runs as root mounts and processes of its own; see private_mounts.py.
_APART = (
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "unchanged", "--"),
    *(sys.executable, "-I", "-S", private_mounts.__file__),
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A complete image.

    Attributes:
        folder: the image's folder.
        release: the kernel's release, as ``uname -r`` prints it.
        version: the version of the kernel's package; ``unknown`` if dpkg does not list it.
        host_key: the public key of the guest's SSH server, in OpenSSH's format.
    """

    folder: Path
    release: str
    version: str
    host_key: str

    @property
    def root(self) -> Path:
        """The file of the root file system."""
        return self.folder / "root.raw"

    @property
    def kernel(self) -> Path:
        """The file of the kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The file of the initial file system."""
        return self.folder / "initrd"


@cache.as_host_error()
def user_key() -> Path:
    """The file of the private key that logs in to guests, made if it is missing.

    Raises:
        HostError: the key can't be made.
    """
    key = cache.folder() / "ssh" / "id_ed25519"
    with cache.locked("ssh"):
        if not key.exists():
            with cache.atomic_folder(key.parent) as folder:
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pyharness", "-f"]
                run(*command, str(folder / key.name))
    return key


def _public_key() -> str:
    return user_key().with_suffix(".pub").read_text(encoding="ascii")


def overlay(files: Path, public_key: str) -> bytes:
    """Pack the files that the project adds to an image into a tar archive.

    Owners and modes don't depend on those of the checkout: everything is root's, and a file
    that begins with ``#!`` is executable.

    Args:
        files: a folder with the files, laid out as in the guest.
        public_key: the key that may log in as root, in OpenSSH's format.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def add(name: str, mode: int, data: bytes | None) -> None:
            member = tarfile.TarInfo(name)
            member.mode = mode
            member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            member.size = len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))

        for path in sorted(files.rglob("*")):
            data = None if path.is_dir() else path.read_bytes()
            executable = data is None or data.startswith(b"#!")
            add(str(path.relative_to(files)), 0o755 if executable else 0o644, data)
        add("root/.ssh", 0o700, None)
        add("root/.ssh/authorized_keys", 0o600, public_key.encode())
    return archive.getvalue()


def digest(spec: GuestSpec, public_key: str, files: Path) -> str:
    """A hash of everything that an image is made from, as 12 hex digits.

    Args:
        spec: the guest's description.
        public_key: the key that may log in as root, in OpenSSH's format.
        files: the project's folder ``vm``.
    """
    made_of = hashlib.sha256(f"{FORMAT} {spec.image_inputs}\n".encode())
    for data in (
        (files / "setup.sh").read_bytes(),
        (files / "excluded").read_bytes(),
        overlay(files / "rootfs", public_key),
    ):
        made_of.update(hashlib.sha256(data).digest())
    return made_of.hexdigest()[:12]


def folder_of(spec: GuestSpec) -> Path:
    """The folder of a guest's image, whether or not the image is made."""
    return cache.folder() / "images" / f"{spec.name}-{digest(spec, _public_key(), bundled.VM)}"


@cache.as_host_error()
def find(spec: GuestSpec) -> Image | None:
    """The image of a guest; None if it is not made.

    Raises:
        HostError: the cache can't be read.
    """
    return read(folder_of(spec))


def read(folder: Path) -> Image | None:
    """The image in a folder; None if there is none, or it is not complete."""
    facts = json_store.read(
        folder / "image.json", dict.fromkeys(("release", "version", "host_key"), str)
    )
    if facts is None:
        return None
    image = Image(folder=folder, **facts)
    whole = all(path.is_file() for path in (image.root, image.kernel, image.initrd))
    return image if whole else None


@cache.as_host_error()
def ensure(spec: GuestSpec, *, progress: Progress | None = None) -> Image:
    """The image of a guest, which takes minutes to make if it is missing.

    Args:
        spec: the guest's description.
        progress: shows what is done; None shows nothing.

    Raises:
        HostError: this host can't make the image; the message says what it lacks.
    """
    progress = progress or NoProgress()

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that makes the image of {spec.name}")

    def make() -> None:
        with progress.task(f"making image {spec.name}") as task:
            _make(spec, folder_of(spec), progress, task)

    return cache.ensure(lambda: find(spec), make, lock=f"image-{spec.name}", waiting=waiting)


def _make(spec: GuestSpec, target: Path, progress: Progress, task: Task) -> None:
    requires("mmdebstrap", "mke2fs", "arch-test", "mount")
    if obstacle := privileges.to_make_images():
        raise HostError(str(obstacle))
    try:
        run("arch-test", spec.architecture)
    except HostError as error:
        raise HostError(
            f"programs for {spec.architecture} don't run here, which making {spec.name} needs:"
            f" pyharness setup {spec.architecture}"
        ) from error
    if (free := shutil.disk_usage(cache.folder()).free) < ROOM:
        raise HostError(
            f"{cache.folder()} has {free >> 20} MiB free and an image needs {ROOM >> 20}:"
            " make room, or name another folder in PYHARNESS_CACHE"
        )
    mirrors = Mirrors.of_this_host()
    for sources in mirrors.choices(spec.suite):
        try:
            with cache.atomic_folder(target, siblings=spec.name) as folder:
                _mmdebstrap(spec, sources, folder, task)
        except _MmdebstrapError as failed:
            log = str(failed)
            if not _OUT_OF_STEP.search(log):
                break
            progress.message(
                f"image {spec.name}: made without security updates, as their mirror is out of sync"
            )
        else:
            return
    tail = "\n".join(log.splitlines()[-15:])
    raise HostError(f"mmdebstrap could not make the image of {spec.name}:\n{tail}")


class _MmdebstrapError(Exception):
    """What mmdebstrap printed before it failed."""


_OUT_OF_STEP = re.compile(r"unexpected size|Hash Sum mismatch|does not have a Release file|404 ")


def _mmdebstrap(spec: GuestSpec, sources: list[str], folder: Path, task: Task) -> None:
    """Make an image's disk, and the files beside it, in a folder.

    A hook is a shell command, and mmdebstrap splits its special hooks at spaces, so no hook has
    a path of this host: files are passed by descriptor.

    Raises:
        _MmdebstrapError: mmdebstrap failed, or its result has no kernel.
    """
    excluded = [
        line for line in (bundled.VM / "excluded").read_text().splitlines() if line.startswith("/")
    ]
    with (
        _in_memory(overlay(bundled.VM / "rootfs", _public_key())) as files,
        _in_memory((bundled.VM / "setup.sh").read_bytes()) as setup,
        _in_memory() as results,
        _disk(folder / "root.raw") as disk,
        _tree(folder) as (first, temporary, inherited),
    ):
        command = [
            *first,
            "mmdebstrap", "--variant=minbase", "--format=null",
            f"--architectures={spec.architecture}",
            f"--include={','.join(spec.all_packages)}",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"',
            # A kernel of an additional suite also needs that suite's versions of other packages.
            f'--aptopt=APT::Default-Release "{spec.suite}"',
            *(f"--dpkgopt=path-exclude={path}" for path in excluded),
            f'--essential-hook=tar -C "$1" -xpf /proc/self/fd/{files}',
            f'--customize-hook=sh /proc/self/fd/{setup} "$1"',
            f'--customize-hook=tar -C "$1" -cf /proc/self/fd/{results} boot {_HOST_KEY} {_STATUS}',
            "--customize-hook=" + _WRITE_DISK.format(fd=disk, mib=spec.disk),
            base_of(spec.suite), "/dev/null", *sources,
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            cwd="/",  # which root of a user namespace can enter, too
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[files, setup, results, disk, *inherited],
            env=environment(TMPDIR=str(temporary), LC_ALL="C.UTF-8"),
        )
        assert process.stdout is not None
        lines = []
        with signals.ended(process, gently=bool(os.geteuid())):
            for line in process.stdout:
                lines.append(line)
                for begin, fraction, doing in _STAGES:
                    if line.startswith(begin):
                        task.at(fraction, doing)
        if process.returncode:
            raise _MmdebstrapError("".join(lines))
        try:
            with (
                open(results, "rb", closefd=False) as archive,
                tarfile.open(fileobj=archive) as tar,
            ):
                _describe(folder, tar)
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise _MmdebstrapError(f"{''.join(lines)}the result has no kernel: {error}") from error


@contextmanager
def _in_memory(data: bytes = b"") -> Iterator[int]:
    """Yield the descriptor of a file in memory, which any user can open by that descriptor."""
    with _high(os.memfd_create("pyharness")) as fd:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd


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
def _disk(path: Path) -> Iterator[int]:
    """Yield the descriptor of a file that root of a user namespace can write to, too.

    The file is read-only afterwards.
    """
    with _high(os.open(path, os.O_RDWR | os.O_CREAT, 0o666)) as fd:
        os.fchmod(fd, 0o666)
        yield fd
        os.fchmod(fd, 0o444)


@contextmanager
def _tree(folder: Path) -> Iterator[tuple[list[str], Path, list[int]]]:
    """Prepare a folder in which a command makes a tree of files.

    As root, that folder is beside the image, where it is sure to be cleaned up, and mounted at a
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
        yield die_with_parent([*_APART, str(tree), str(plain)]), plain, []
    finally:
        plain.rmdir()
        shutil.rmtree(tree, ignore_errors=True)


def _describe(folder: Path, results: tarfile.TarFile) -> None:
    """Extract the newest kernel, then write image.json, which makes the folder an image."""

    def read(name: str) -> bytes:
        file = results.extractfile(name)
        assert file is not None
        return file.read()

    kernels = [name for name in results.getnames() if name.startswith(_KERNEL)]
    release = max(kernels, key=_natural).removeprefix(_KERNEL)
    (folder / "vmlinuz").write_bytes(read(f"{_KERNEL}{release}"))
    (folder / "initrd").write_bytes(read(f"boot/initrd.img-{release}"))
    found = re.search(
        rf"^Package: linux-image-{re.escape(release)}\n(?:\S.*\n| .*\n)*?Version: (\S+)",
        read(_STATUS).decode(), re.MULTILINE,
    )  # fmt: skip
    image = Image(
        folder=folder,
        release=release,
        version=found[1] if found else "unknown",
        host_key=" ".join(read(_HOST_KEY).decode("ascii").split()[:2]),
    )
    facts = {key: value for key, value in asdict(image).items() if key != "folder"}
    (folder / "image.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key in which 6.1.0-50 comes after 6.1.0-9."""
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D*)", name)]
