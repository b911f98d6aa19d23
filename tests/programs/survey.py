# SPDX-License-Identifier: GPL-2.0
"""Issue every system call with nonsense, each in a process of its own, and print the results.

Runs in the guest, as a user who can do no harm: ``survey.py NUMBERS SKIPPED[,SKIPPED...]``
prints a line for each call: ``number argument result``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import select
import signal
import sys

ARGUMENTS = (0, -1)
SECONDS = 0.5


def issue(number: int, argument: int, result: mmap.mmap) -> None:
    """Issue a call and leave its result: a file descriptor may be closed by then."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    args = [ctypes.c_long(argument)] * 6
    value = libc.syscall(ctypes.c_long(number), *args)
    error = ctypes.get_errno() if value == -1 else 0
    result[:12] = value.to_bytes(8, "little", signed=True) + error.to_bytes(4, "little")


def survey(number: int, argument: int, result: mmap.mmap) -> str:
    """The result of a call: its value, or the number of its error after an ``E``."""
    result[:12] = b"\xff" * 12
    child = os.fork()
    if not child:
        issue(number, argument, result)
        os._exit(0)
    pidfd = os.pidfd_open(child)
    if not select.select([pidfd], [], [], SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(pidfd)
    _, status = os.waitpid(child, 0)
    if result[:12] == b"\xff" * 12:
        return f"S{os.WTERMSIG(status)}"
    value = int.from_bytes(result[:8], "little", signed=True)
    error = int.from_bytes(result[8:12], "little")
    return f"E{error}" if error else str(value)


def main() -> None:
    """Survey all calls."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    skipped = {int(word) for word in sys.argv[2].split(",")}
    result = mmap.mmap(-1, 4096)
    for number in range(int(sys.argv[1])):
        if number not in skipped:
            for argument in ARGUMENTS:
                print(number, argument, survey(number, argument, result))


main()
