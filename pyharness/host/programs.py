# SPDX-License-Identifier: GPL-2.0
"""This host's programs and processes, and its TCP ports."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import packages

# The folders of root's programs, such as mke2fs, which are not in every user's PATH.
_ROOTS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """The folders in which programs are looked up, in the form of PATH."""
    named = os.environ.get("PATH") or os.defpath
    folders = named.split(os.pathsep)
    return os.pathsep.join([*folders, *(folder for folder in _ROOTS if folder not in folders)])


def which(program: str) -> str | None:
    """The path of a program; None if it isn't installed."""
    return shutil.which(program, path=search_path())


def environment(**more: str) -> dict[str, str]:
    """The environment for a program, whose PATH has all folders in which which() looks.

    Args:
        more: further variables.
    """
    return os.environ | {"PATH": search_path()} | more


def completed(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of this host until it ends, whatever its exit status.

    Args:
        command: the program and its arguments.

    Returns:
        The exit status and the output; bytes that are not UTF-8 are replaced.

    Raises:
        HostError: the program isn't installed.
    """
    requires(command[0])
    return subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def exit_status(returncode: int) -> int:
    """Return the exit status of a program that has ended: 128 + N if signal N ended it.

    Args:
        returncode: what ``subprocess`` has: -N if signal N ended it.
    """
    return returncode if returncode >= 0 else 128 - returncode


def run(*command: str) -> str:
    """Run a program of this host until it ends.

    Args:
        command: the program and its arguments.

    Returns:
        Its standard output.

    Raises:
        HostError: the program isn't installed, or fails; the message has its standard error.
    """
    done = completed(*command)
    if done.returncode:
        words = done.stderr.strip() or f"exit status {exit_status(done.returncode)}"
        raise HostError(f"{command[0]} failed: {words}")
    return done.stdout


def requires(*programs: str) -> None:
    """Check that programs are installed.

    Raises:
        HostError: one isn't; the message says how to install it.
    """
    if missing := [program for program in programs if not which(program)]:
        raise HostError(f"{', '.join(missing)} not found: {packages.advice(missing)}")


@cache
def version_of(program: str) -> str:
    """The first line that ``PROGRAM --version`` prints.

    Raises:
        HostError: the program isn't installed, fails, or prints nothing.
    """
    lines = run(program, "--version").splitlines()
    if not lines:
        raise HostError(f"{program} --version prints nothing: {which(program)} is another program")
    return lines[0]


def began(pid: int) -> str:
    """A value that tells where and when a process began; empty if the process is gone.

    It begins with pid_space(). No other process with the same id ever has the same value. The time
    is counted from the host's boot, so that setting the wall clock does not change it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name may contain spaces and brackets. After it comes field 3, the state; see proc(5).
    return f"{pid_space()}:{stat.rpartition(')')[2].split()[22 - 3]}"


def pid_space() -> str:
    """A value that is the same for all processes that see each other by their ids.

    Each boot of each host has its own, and so has each PID namespace, such as a container's.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"


def die_with_parent(command: Sequence[str]) -> list[str]:
    """Extend a command such that the kernel kills it when the thread that started it ends.

    The kernel does so even if SIGKILL ended the parent. setpriv replaces itself by the command, so
    that the command has the process id that the parent sees. children.start() starts a command
    that ends with the process, and not with a thread of it.

    Raises:
        HostError: setpriv isn't installed.
    """
    requires("setpriv")
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
