# SPDX-License-Identifier: GPL-2.0
"""A kernel that somebody has built in a tree on this host, packed for a guest."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host import bundled, cache, privileges
from pyharness.host.programs import run
from pyharness.host.progress import NoProgress, Progress
from pyharness.linux import kernel_config
from pyharness.machine import in_use, kernel
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.kernel import Kernel

# To be increased when this file packs kernels differently: all kernels are then packed again.
FORMAT = 3
_PACK = bundled.VM / "kernel" / "pack.sh"
# The file that QEMU boots, by Debian's name of the architecture.
_IMAGES = {
    "amd64": "arch/x86/boot/bzImage",
    "i386": "arch/x86/boot/bzImage",
    "arm64": "arch/arm64/boot/Image",
}
# What a build changes whenever its result differs.
_RESULTS = (".config", "vmlinux", "Module.symvers", "modules.order")


@dataclass(frozen=True)
class KernelTree:
    """A folder in which a kernel was built.

    Attributes:
        folder: the folder: of the source, or the one that ``make O=FOLDER`` wrote to.
    """

    folder: Path

    @cached_property
    def config(self) -> Mapping[str, str]:
        """The kernel's options, without ``CONFIG_``.

        Raises:
            UsageError: no kernel was configured in the folder.
        """
        try:
            text = (self.folder / ".config").read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.folder} is not a kernel's tree: it has no .config that can be read. Name"
                " the folder in which a kernel was built (that of O=, if make was given one)"
            ) from error
        return kernel_config.parse(text)

    @property
    def flags(self) -> list[str]:
        """The arguments with which make uses the tree as it was built."""
        found = [f"ARCH={kernel_config.ARCH[kernel_config.architecture_of(self.config)]}"]
        if "CC_IS_CLANG" in self.config:
            return [*found, "LLVM=1"]
        compiler = self.config.get("CC_VERSION_TEXT", "").split(" ")[0]
        prefix = compiler.rpartition("gcc")[0]
        return [*found, f"CROSS_COMPILE={prefix}"] if prefix else found

    def check(self, spec: GuestSpec) -> None:
        """Check that a guest can boot the tree's kernel.

        Raises:
            UsageError: it can't; the message says what to change.
        """
        architecture = kernel_config.architecture_of(self.config)
        if architecture != spec.architecture:
            raise UsageError(
                f"{self.folder} has a kernel for {architecture or 'another architecture'}, and"
                f" {spec.name} is of {spec.architecture}: name a guest of that architecture"
            )
        if missing := kernel_config.missing(self.config, architecture):
            listed = "\n".join(f"  {one}" for one in missing)
            raise UsageError(
                f"the kernel in {self.folder} lacks options that a guest needs; set these in its"
                f" .config (most are in: make kvm_guest.config), and build it again:\n{listed}"
            )
        for needed in (_IMAGES[architecture], "vmlinux", "Module.symvers"):
            if not (self.folder / needed).is_file():
                raise UsageError(
                    f"{self.folder} has no {needed}: build the kernel, by make -C {self.folder}"
                )

    def digest(self) -> str:
        """A hash that differs after the kernel or a module of it was built again."""
        made_of = hashlib.sha256(f"{FORMAT}".encode())
        order = self.folder / "modules.order"
        modules = order.read_text(encoding="utf-8").split() if order.is_file() else []
        for name in (*_RESULTS, *(name.replace(".o", ".ko") for name in modules)):
            if (path := self.folder / name).is_file():
                state = path.stat()
                made_of.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return made_of.hexdigest()[:12]


@cache.as_host_error()
def ensure(spec: GuestSpec, *, progress: Progress | None = None) -> Kernel:
    """The kernel of a guest that has ``kernel_tree``, packed if it has changed since the last time.

    Args:
        spec: the guest's description.
        progress: shows what is done; None shows nothing.

    Raises:
        UsageError: the folder has no kernel that the guest can boot.
        HostError: the kernel can't be packed; the message has make's.
    """
    progress = progress or NoProgress()
    tree = KernelTree(Path(spec.kernel_tree))
    tree.check(spec)
    where = hashlib.sha256(os.fsencode(tree.folder.resolve())).hexdigest()[:6]
    name = f"{spec.architecture}-tree-{where}"
    folder = cache.folder() / "kernels" / f"{name}-{tree.digest()}"

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that packs the kernel of {tree.folder}")

    def make() -> None:
        with (
            progress.task(f"packing the kernel of {tree.folder}"),
            cache.atomic_folder(
                folder,
                siblings=name,
                unused_seconds=cache.SHORT_LIVED_SECONDS,
                keep=in_use.kernels(),
            ) as making,
        ):
            _pack(tree, making)
            kernel.write_facts(making)

    return cache.ensure(lambda: kernel.read(folder), make, lock=f"kernel-{name}", waiting=waiting)


def _pack(tree: KernelTree, folder: Path) -> None:
    """Run pack.sh in a folder with a plain path, as the kernel's makefiles can't handle others."""
    temporary = privileges.temporary_folder()
    with tempfile.TemporaryDirectory(prefix="pyharness-", dir=temporary) as plain:
        run("sh", str(_PACK), str(tree.folder), plain, *tree.flags)
        for path in Path(plain).iterdir():
            shutil.move(path, folder / path.name)
