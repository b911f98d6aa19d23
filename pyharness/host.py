# SPDX-License-Identifier: GPL-2.0
"""What this host brings: its programs, its ports, and its processes' ends."""

import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import cache

from pyharness import needs
from pyharness.errors import HostError


def requires(*programs: str) -> None:
    """Make sure that programs are installed.

    Raises:
        HostError: one isn't; the message says how to install it (see needs.advice).
    """
    if missing := [program for program in programs if not shutil.which(program)]:
        raise HostError(f"{', '.join(missing)} not found: {needs.advice(missing)}")


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
