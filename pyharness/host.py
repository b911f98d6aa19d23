# SPDX-License-Identifier: GPL-2.0
"""What this host brings: its programs, its ports, and its processes' ends."""

import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import cache

from pyharness.errors import HostError

# The Debian package that a program is from, where its name isn't the program's.
PACKAGES = {
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-i386": "qemu-system-x86",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def package_of(program: str) -> str:
    """The Debian package that has a program."""
    return PACKAGES.get(program, program)


def requires(*programs: str) -> None:
    """Make sure that programs are installed.

    Raises:
        HostError: one isn't; the message says how to install it.
    """
    if missing := [program for program in programs if not shutil.which(program)]:
        packages = " ".join(sorted({package_of(program) for program in missing}))
        raise HostError(f"{', '.join(missing)} not found: apt-get install {packages}")


@cache
def version_of(program: str) -> str:
    """What a program says of its version: the first line."""
    requires(program)
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def ends_with_parent(command: Sequence[str]) -> list[str]:
    """A command that the kernel ends when who started it ends, even by SIGKILL.

    It replaces itself by the command, which has its process id.
    """
    requires("setpriv")
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
