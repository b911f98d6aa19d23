# SPDX-License-Identifier: GPL-2.0
"""A guest's disk image, made on this host from Debian packages by ``mmdebstrap``.

An image is a folder of the cache, named by a hash of what made it::

    images/bookworm-i386-0123456789ab/
        root.raw     the root file system, sparse; never written to again
        vmlinuz      kernel and initial file system, which QEMU boots directly
        initrd
        image.json   what it is: see Image
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness import interrupt, paths
from pyharness.errors import HostError
from pyharness.guests import GuestSpec
from pyharness.host import ends_with_parent, requires
from pyharness.progress import Silent, Task, Teller

# Counts up whenever this file makes images differently: then all are made anew.
FORMAT = 1
# What making an image needs, at its most (bytes).
ROOM = 3 << 30

# How mmdebstrap's own lines begin, and how much of the whole is done then (measured).
_STAGES = (
    ("I: running apt-get update", 0.02, "reading package lists"),
    ("I: downloading packages", 0.08, "downloading the base system"),
    ("I: extracting archives", 0.12, "extracting the base system"),
    ("I: installing essential", 0.18, "installing the base system"),
    ("I: installing remaining", 0.25, "installing kernel, compiler and tools"),
    ("I: running special hook: sync-out", 0.80, "taking the kernel out"),
    ("I: running --customize-hook in shell: sh -c 'mkdir \"$1.tree", 0.88, "writing the disk"),
    ("I: cleaning", 0.99, "cleaning up"),
)

# mke2fs must not descend into what is mounted on the tree: a bind mount of just
# the tree hides that. Its output is a file that is open already, as nobody but
# this host's user may pass through the cache's folder.
_WRITE_DISK = """mkdir "$1.tree" && mount --bind "$1" "$1.tree" &&
mke2fs -q -F -t ext4 -O ^metadata_csum_seed -m 0 -d "$1.tree" /proc/self/fd/{fd} {mib}M &&
umount "$1.tree" && rmdir "$1.tree\""""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A finished image.

    Attributes:
        folder: where it is.
        release: of its kernel, as ``uname -r`` has it.
        version: of the kernel's package.
        host_key: the guest's public SSH key.
    """

    folder: Path
    release: str
    version: str
    host_key: str

    @property
    def root(self) -> Path:
        """The root file system."""
        return self.folder / "root.raw"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system."""
        return self.folder / "initrd"


def user_key() -> Path:
    """The private key with which this user enters guests; made if there is none."""
    key = paths.cache() / "ssh" / "id_ed25519"
    with paths.locked("ssh"):
        if not key.exists():
            requires("ssh-keygen")
            with paths.made_whole(key.parent) as folder:
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pyharness", "-f"]
                subprocess.run([*command, str(folder / key.name)], check=True)
    return key


def _public_key() -> str:
    return user_key().with_suffix(".pub").read_text(encoding="ascii")


def digest(spec: GuestSpec, public_key: str, files: Path) -> str:
    """A hash of all that an image is made of.

    Args:
        spec: the guest.
        public_key: who may enter it.
        files: the folder of the project's ``vm`` files.
    """
    made_of = hashlib.sha256(f"{FORMAT} {spec.in_image}\n{public_key}\n".encode())
    for path in [files / "setup.sh", files / "excluded", *sorted((files / "rootfs").rglob("*"))]:
        made_of.update(f"{path.relative_to(files)} {path.stat().st_mode:o}\n".encode())
        if path.is_file():
            made_of.update(path.read_bytes())
    return made_of.hexdigest()[:12]


def folder_of(spec: GuestSpec) -> Path:
    """Where the image of that guest is, or will be."""
    return paths.cache() / "images" / f"{spec.name}-{digest(spec, _public_key(), paths.VM)}"


def find(spec: GuestSpec) -> Image | None:
    """The image of that guest, if it is made."""
    return read(folder_of(spec))


def read(folder: Path) -> Image | None:
    """The image in a folder, if there is one."""
    try:
        facts = json.loads((folder / "image.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Image(folder=folder, **facts)


def ensure(spec: GuestSpec, *, teller: Teller | None = None) -> Image:
    """The image of that guest, made if there is none. Takes minutes then.

    Raises:
        HostError: this host can't make it; the message says what it lacks.
    """
    teller = teller or Silent()

    def waiting() -> None:
        teller.say(f"waiting for another process that makes the image of {spec.name}")

    if image := find(spec):
        return image
    with paths.locked(f"image-{spec.name}", waiting=waiting):
        if image := find(spec):
            return image
        with teller.task(f"making image {spec.name}") as task:
            _make(spec, folder_of(spec), teller, task)
    image = find(spec)
    assert image is not None
    return image


def _make(spec: GuestSpec, target: Path, teller: Teller, task: Task) -> None:
    requires("mmdebstrap", "mke2fs", "arch-test", "mount")
    if subprocess.run(
        ["arch-test", spec.architecture], capture_output=True, check=False
    ).returncode:
        raise HostError(
            f"programs for {spec.architecture} don't run here, which making {spec.name} needs:"
            f" vm/host-setup {spec.architecture}"
        )
    if (free := shutil.disk_usage(paths.cache()).free) < ROOM:
        raise HostError(
            f"{paths.cache()} has {free >> 20} MiB free and an image needs {ROOM >> 20}:"
            " make room, or name another folder in PYHARNESS_CACHE"
        )
    mirrors = Mirrors.of_this_host()
    for sources in mirrors.choices(spec.suite):
        try:
            with paths.made_whole(target, kin=f"{spec.name}-*") as folder:
                _mmdebstrap(spec, sources, folder, task)
                _describe(folder)
        except _MmdebstrapError as failed:
            log = str(failed)
            if not _OUT_OF_STEP.search(log):
                break
            teller.say(f"image {spec.name}: the security mirror is out of step; made without it")
        else:
            return
    tail = "\n".join(log.splitlines()[-15:])
    raise HostError(f"mmdebstrap could not make the image of {spec.name}:\n{tail}")


class _MmdebstrapError(Exception):
    """What mmdebstrap printed before it failed."""


_OUT_OF_STEP = re.compile(r"unexpected size|Hash Sum mismatch|does not have a Release file|404 ")


@dataclass(frozen=True)
class Mirrors:
    """Where this host has its Debian packages from; empty if it isn't a Debian."""

    main: str
    security: str

    @classmethod
    def of_this_host(cls) -> "Mirrors":
        """As apt is set up here."""
        if not shutil.which("apt-get"):
            return cls("", "")
        command = ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"]
        listed = subprocess.run(
            [*command, "Identifier: Packages", "Origin: Debian"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        uris = dict(reversed([line.split("|", 1) for line in listed.splitlines()]))
        return cls(uris.get("Debian", ""), uris.get("Debian-Security", ""))

    def choices(self, suite: str) -> list[list[str]]:
        """Package sources for that suite, the best first.

        The security suite's index may be out of step with its mirror: then an
        image without it is better than none.
        """
        base = base_of(suite)
        if not self.main:
            if suite != base:
                raise HostError(f"{suite} needs a Debian mirror that apt on this host knows of")
            return [[]]  # mmdebstrap knows Debian's own mirrors
        main = [f"deb {self.main} {name} main" for name in dict.fromkeys((base, suite))]
        security = [f"deb {self.security} {base}-security main"] if self.security else []
        return [[*main, *security], main] if security else [main]


def base_of(suite: str) -> str:
    """The suite that another is an addition to: ``trixie`` for ``trixie-backports``."""
    return suite.removesuffix("-backports")


def _mmdebstrap(spec: GuestSpec, sources: list[str], folder: Path, task: Task) -> None:
    """Make the disk and what goes with it in that folder."""
    excluded = [
        line for line in (paths.VM / "excluded").read_text().splitlines() if line.startswith("/")
    ]
    (folder / "boot").mkdir()
    (folder / "key").write_text(_public_key(), encoding="ascii")
    with _disk(folder / "root.raw") as fd, _temporary(folder) as temporary:
        command = [
            "mmdebstrap", "--variant=minbase", "--format=null",
            f"--architectures={spec.architecture}",
            f"--include={','.join(spec.all_packages)}",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"',
            # A kernel of an addition needs what the addition has newer, too.
            f'--aptopt=APT::Default-Release "{spec.suite}"',
            *(f"--dpkgopt=path-exclude={path}" for path in excluded),
            f"--essential-hook=sync-in {paths.VM / 'rootfs'} /",
            "--customize-hook=mkdir -p \"$1/root/.ssh\"",
            f"--customize-hook=upload {folder / 'key'} /root/.ssh/authorized_keys",
            f"--customize-hook={paths.VM / 'setup.sh'} \"$1\"",
            f"--customize-hook=sync-out /boot {folder / 'boot'}",
            f"--customize-hook=download /etc/ssh/ssh_host_ed25519_key.pub {folder / 'host_key'}",
            f"--customize-hook=download /var/lib/dpkg/status {folder / 'packages'}",
            "--customize-hook=" + _WRITE_DISK.format(fd=fd, mib=spec.disk),
            base_of(spec.suite), "/dev/null", *sources,
        ]  # fmt: skip
        process = subprocess.Popen(
            ends_with_parent([*_alone(), *command]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[fd],
            env=os.environ | {"TMPDIR": str(temporary), "LC_ALL": "C.UTF-8"},
        )
        assert process.stdout is not None
        lines = []
        with interrupt.ended(process, gently=bool(os.geteuid())):
            for line in process.stdout:
                lines.append(line)
                for begin, fraction, doing in _STAGES:
                    if line.startswith(begin):
                        task.at(fraction, doing)
    if process.returncode:
        raise _MmdebstrapError("".join(lines))


def _alone() -> list[str]:
    """What keeps the mounts and processes of a command of root's apart.

    Killed in the middle, it leaves neither: the kernel ends both namespaces.
    As a plain user mmdebstrap does so by itself.
    """
    if os.geteuid():
        return []
    requires("unshare")
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


@contextmanager
def _disk(path: Path) -> Iterator[int]:
    """An open file that the root of a user namespace can write to, too."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.fchmod(fd, 0o666)
        yield fd
        os.fchmod(fd, 0o444)
    finally:
        os.close(fd)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Where the tree is made: root's beside the image, where it is cleaned up for sure.

    As a plain user mmdebstrap works in a user namespace, whose root can't pass
    through a private home: then it's the system's folder for temporary files,
    and mmdebstrap cleans up there.
    """
    if os.geteuid():
        yield Path(os.environ.get("TMPDIR", "/tmp"))
        return
    temporary = folder / "tmp"
    temporary.mkdir()
    yield temporary
    shutil.rmtree(temporary, ignore_errors=True)


def _describe(folder: Path) -> None:
    """Name the newest kernel and write image.json, which makes it an image."""
    kernels = sorted((folder / "boot").glob("vmlinuz-*"), key=_natural)
    kernel = kernels[-1]
    release = kernel.name.removeprefix("vmlinuz-")
    kernel.rename(folder / "vmlinuz")
    (folder / "boot" / f"initrd.img-{release}").rename(folder / "initrd")
    packages = (folder / "packages").read_text(encoding="utf-8")
    found = re.search(
        rf"^Package: linux-image-{re.escape(release)}\n(?:\S.*\n| .*\n)*?Version: (\S+)",
        packages, re.MULTILINE,
    )  # fmt: skip
    image = Image(
        folder=folder,
        release=release,
        version=found[1] if found else "unknown",
        host_key=" ".join((folder / "host_key").read_text(encoding="ascii").split()[:2]),
    )
    for name in ("host_key", "packages", "key"):
        (folder / name).unlink()
    shutil.rmtree(folder / "boot")
    facts = {key: value for key, value in asdict(image).items() if key != "folder"}
    (folder / "image.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _natural(path: Path) -> list[tuple[int, str]]:
    """A sort key in which 6.1.0-50 comes after 6.1.0-9."""
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D*)", path.name)]
