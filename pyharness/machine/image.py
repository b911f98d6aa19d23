# SPDX-License-Identifier: GPL-2.0
"""A guest's disk image, made on this host from Debian packages by ``mmdebstrap``.

An image is a folder of the cache, named after a hash of what it was made from::

    images/bookworm-i386-0123456789ab/
        root.raw     the root file system, sparse; read-only once it is made
        vmlinuz      the kernel, which QEMU boots directly
        initrd       the initial file system, which QEMU loads with it
        image.json   the facts of class Image
"""

import hashlib
import io
import json
import re
import tarfile
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.host import bundled, cache, json_store
from pyharness.host.programs import requires, run
from pyharness.host.progress import NoProgress, Progress, Task
from pyharness.machine import in_use, kernel_packages, mmdebstrap
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.kernel import Kernel
from pyharness.machine.mmdebstrap import MmdebstrapError, Packages, in_memory, on_disk

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

# Installs packages that are files, and what they depend on.
_INSTALL = (
    '--customize-hook=mkdir "$1/debs" && tar -C "$1/debs" -xf /proc/self/fd/{fd} &&'
    ' chroot "$1" sh -c "apt-get --yes --no-install-recommends install /debs/*.deb" &&'
    ' rm -r "$1/debs"'
)
# The paths in the tree of what is taken out of it.
_KERNEL = "boot/vmlinuz-"
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key.pub"
_STATUS = "var/lib/dpkg/status"


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
    def kernel(self) -> Kernel:
        """The kernel that it was made with."""
        return Kernel(folder=self.folder, release=self.release, version=self.version)


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
    made_of.update(kernel_packages.digest(spec).encode())
    for data in (
        (files / "setup.sh").read_bytes(),
        (files / "excluded").read_bytes(),
        overlay(files / "rootfs", public_key),
    ):
        made_of.update(hashlib.sha256(data).digest())
    return made_of.hexdigest()[:12]


def folder_of(spec: GuestSpec) -> Path:
    """The folder of a guest's image, whether or not the image is made."""
    return cache.folder() / "images" / f"{spec.image}-{digest(spec, _public_key(), bundled.VM)}"


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
    whole = all((folder / name).is_file() for name in ("root.raw", "vmlinuz", "initrd"))
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
        return progress.task(f"waiting for another process that makes the image of {spec.image}")

    def make() -> None:
        with progress.task(f"making image {spec.image}") as task:
            _make(spec, folder_of(spec), progress, task)

    return cache.ensure(lambda: find(spec), make, lock=f"image-{spec.image}", waiting=waiting)


def _make(spec: GuestSpec, target: Path, progress: Progress, task: Task) -> None:
    requires("mke2fs")
    if spec.kernel_packages:
        kernel_packages.check(spec)
    purpose = f"making the image of {spec.image}"
    mmdebstrap.check_host(spec.architecture, purpose=purpose, room=ROOM)

    def make(sources: list[str]) -> None:
        with cache.atomic_folder(target, siblings=spec.image, keep=in_use.images()) as folder:
            _make_from(spec, sources, folder, task)

    mmdebstrap.with_sources(spec.suite, make, purpose=purpose, progress=progress)


def _make_from(spec: GuestSpec, sources: list[str], folder: Path, task: Task) -> None:
    """Make an image's disk, and the files beside it, in a folder.

    Raises:
        MmdebstrapError: mmdebstrap failed, or its result has no kernel.
    """
    excluded = [
        line for line in (bundled.VM / "excluded").read_text().splitlines() if line.startswith("/")
    ]

    def listen(line: str) -> None:
        for begin, fraction, doing in _STAGES:
            if line.startswith(begin):
                task.at(fraction, doing)

    with (
        in_memory(overlay(bundled.VM / "rootfs", _public_key())) as files,
        in_memory((bundled.VM / "setup.sh").read_bytes()) as setup,
        in_memory(kernel_packages.archive(spec)) as debs,
        in_memory() as results,
        on_disk(folder / "root.raw") as disk,
    ):
        log = mmdebstrap.make_tree(
            Packages(
                suite=spec.suite,
                architecture=spec.architecture,
                names=spec.all_packages,
                excluded=excluded,
            ),
            sources,
            [
                f'--essential-hook=tar -C "$1" -xpf /proc/self/fd/{files}',
                *([_INSTALL.format(fd=debs)] if spec.kernel_packages else []),
                f'--customize-hook=sh /proc/self/fd/{setup} "$1"',
                f'--customize-hook=tar -C "$1" -cf /proc/self/fd/{results}'
                f" boot {_HOST_KEY} {_STATUS}",
                "--customize-hook=" + _WRITE_DISK.format(fd=disk, mib=spec.disk),
            ],
            folder,
            descriptors=[files, setup, debs, results, disk],
            listen=listen,
        )
        try:
            with (
                open(results, "rb", closefd=False) as archive,
                tarfile.open(fileobj=archive) as tar,
            ):
                _describe(folder, tar)
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise MmdebstrapError(f"{log}the result has no kernel: {error}") from error


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
