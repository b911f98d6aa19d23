# SPDX-License-Identifier: GPL-2.0
"""A kernel's configuration (``.config``), and the options that a guest's kernel must have. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_OPTION = re.compile(r'^CONFIG_(\w+)=("?)(.*)\2$', re.MULTILINE)

# Options that a guest's kernel must have.
_REQUIRED = {
    "the disk": ("PCI", "VIRTIO_PCI", "VIRTIO_BLK", "EXT4_FS"),
    "the network, by which the guest is reached": ("INET", "UNIX", "PACKET", "VIRTIO_NET"),
    "systemd": (
        "BINFMT_ELF", "BINFMT_SCRIPT", "CGROUPS", "DEVTMPFS", "EPOLL", "EVENTFD", "FHANDLE",
        "FUTEX", "INOTIFY_USER", "MULTIUSER", "PROC_FS", "SHMEM", "SIGNALFD", "SYSFS", "TIMERFD",
        "TMPFS", "UNIX98_PTYS",
    ),
    "loading a module": ("MODULES", "MODULE_UNLOAD"),
    "reading the kernel log": ("PRINTK",),
}  # fmt: skip
_CONSOLES = {
    "amd64": "SERIAL_8250_CONSOLE",
    "i386": "SERIAL_8250_CONSOLE",
    "arm64": "SERIAL_AMBA_PL011_CONSOLE",
}
# What the kernel's makefiles call an architecture in ARCH=, by Debian's name of it.
ARCH = {"amd64": "x86_64", "i386": "i386", "arm64": "arm64"}
# The option that only the kernels of an architecture have, by Debian's name of it.
_ARCHITECTURES = {"amd64": "X86_64", "i386": "X86_32", "arm64": "ARM64"}


@dataclass(frozen=True)
class Missing:
    """Options that a kernel lacks.

    Attributes:
        purpose: what a guest needs them for.
        options: their names, with ``CONFIG_``.
    """

    purpose: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(f'{name}=y' for name in self.options)} ({self.purpose})"


def parse(text: str) -> dict[str, str]:
    """Return the options that are set, without ``CONFIG_``; strings without their quotes.

    Args:
        text: the text of a ``.config``.
    """
    return {name: value for name, _, value in _OPTION.findall(text)}


def architecture_of(config: Mapping[str, str]) -> str:
    """Return Debian's name of a kernel's architecture; empty if it is of no guest's.

    Args:
        config: what parse() returned.
    """
    return next((name for name, option in _ARCHITECTURES.items() if option in config), "")


def missing(
    config: Mapping[str, str], architecture: str, *, has_initrd: bool = False
) -> list[Missing]:
    """Return the options that a kernel lacks to run in a guest.

    Args:
        config: what parse() returned.
        architecture: Debian's name of the guest's architecture.
        has_initrd: whether the kernel has an initial file system to load modules from. If not,
            what it needs has to be built in.
    """
    good = ("y", "m") if has_initrd else ("y",)
    required = _REQUIRED | {"the serial console": (_CONSOLES[architecture],)}
    found = (
        Missing(purpose, tuple(f"CONFIG_{name}" for name in names if config.get(name) not in good))
        for purpose, names in required.items()
    )
    return [one for one in found if one.options]
