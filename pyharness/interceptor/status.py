# SPDX-License-Identifier: GPL-2.0
"""Parses the module's status file, which lists the calls and processes it watches. Pure."""

import re
from dataclasses import dataclass

from pyharness.errors import CheckFailed
from pyharness.linux.syscalls import SyscallRef, Syscalls

LISTED = "listed"
MODES = (LISTED, "everybody", "everybody-except")
_LINE = re.compile(rf"((?:i386:)?\d+) ({'|'.join(MODES)})((?: \d+)*)( off)?")


@dataclass(frozen=True)
class Intercepted:
    """An intercepted system call: one line of the status file.

    Attributes:
        syscall: the system call; of another ABI only if the kernel's own has no such call.
        mode: which processes are monitored, one of MODES.
        pids: the processes that are monitored (mode ``listed``), or the only ones that are not
            (mode ``everybody-except``).
        off: whether something else has switched off the hook, so that the call is not
            intercepted now.
    """

    syscall: SyscallRef
    mode: str
    pids: frozenset[int]
    off: bool = False


def parse(text: str, syscalls: Syscalls) -> dict[SyscallRef, Intercepted]:
    """Parse the text of the status file.

    Args:
        text: the file's text.
        syscalls: the system calls of the guest's kernel.

    Returns:
        The lines, by system call.

    Raises:
        CheckFailed: the text has a line that is not a status file's.
    """
    found = {}
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise CheckFailed(f"the status file has an unknown line: {line!r}")
        syscall = syscalls.ref(parts[1])
        pids = frozenset(map(int, parts[3].split()))
        found[syscall] = Intercepted(syscall, parts[2], pids, off=bool(parts[4]))
    return found
