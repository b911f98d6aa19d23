# SPDX-License-Identifier: GPL-2.0
"""The kernel that a guest boots: its image's own, or one that was built for it.

A kernel that was built is packed in a folder of the cache::

kernels/bookworm-amd64-debug-0123456789ab/
vmlinuz        the kernel, which QEMU boots directly, without an initial file system
config         its options
gdb/           its symbols, vmlinux, and its commands for gdb, vmlinux-gdb.py, if it has them
files.tar.gz   its modules, and what building others needs, for the guest's root file system
kernel.json    the facts of class Kernel
"""

from dataclasses import dataclass
from pathlib import Path

from pyharness.host import json_store

_FACTS_FILE = "kernel.json"
_FACTS = {"release": str, "version": str, "vermagic": str}


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel that a guest boots.

    Attributes:
        folder: the folder that it is in.
        release: its release, as ``uname -r`` prints it.
        version: the version of its package, or of its build.
        vermagic: the ``vermagic`` field of modules for it; empty if only the guest knows it.
        packed: whether its modules have yet to be unpacked in the guest.
    """

    folder: Path
    release: str
    version: str
    vermagic: str = ""
    packed: bool = False

    @property
    def file(self) -> Path:
        """The file that QEMU boots."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path | None:
        """The file of the initial file system; None if the kernel needs none."""
        return None if self.packed else self.folder / "initrd"

    @property
    def symbols(self) -> Path | None:
        """The ELF file with the kernel's symbols; None if the kernel came without it."""
        return self.folder / "gdb" / "vmlinux" if self.packed else None

    @property
    def files(self) -> Path | None:
        """The archive to be unpacked in the guest; None if the image has everything."""
        return self.folder / "files.tar.gz" if self.packed else None


def read(folder: Path) -> Kernel | None:
    """The kernel that is packed in a folder; None if there is none, or it is not complete."""
    facts = json_store.read(folder / _FACTS_FILE, _FACTS)
    if facts is None:
        return None
    kernel = Kernel(folder=folder, packed=True, **facts)
    whole = kernel.file.is_file() and kernel.files and kernel.files.is_file()
    return kernel if whole else None


def write_facts(folder: Path) -> None:
    """Make a folder that ``vm/kernel/pack.sh`` has filled one that read() accepts.

    Raises:
        ValueError: the script's results are not complete.
    """
    lines = (folder / "facts").read_text(encoding="ascii").splitlines()
    facts = dict(zip(_FACTS, lines, strict=True))
    (folder / "facts").unlink()
    json_store.write(folder / _FACTS_FILE, facts)
