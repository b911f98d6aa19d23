# SPDX-License-Identifier: GPL-2.0
"""What this host brings: its programs, its ports, and its processes' ends."""

import ctypes
import shutil
import signal
import socket

from pyharness.errors import HostError

# The Debian package that a program is from, where its name isn't the program's.
PACKAGES = {
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "qemu-system-i386": "qemu-system-x86",
    "ssh-keygen": "openssh-client",
}

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


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


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends.

    For ``preexec_fn``: whatever the harness starts for its own use must not
    outlive it, not even when it's killed by SIGKILL (prctl(2)).
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
