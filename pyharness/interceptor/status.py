# SPDX-License-Identifier: GPL-2.0
"""The module's status file: which calls are intercepted, and which processes monitored. Pure."""

import re
from dataclasses import dataclass

from pyharness.errors import CheckFailed
from pyharness.linux.syscalls import SyscallRef, Syscalls

MODES = ("listed", "everybody", "everybody-except")
_LINE = re.compile(rf"((?:i386:)?\d+) ({'|'.join(MODES)})((?: \d+)*)( off)?")


@dataclass(frozen=True)
class Intercepted:
    """One line of the status file.

    Attributes:
        syscall: the system call; of another ABI only if the kernel's own has no such call.
        mode: one of MODES.
        pids: the processes that are monitored (listed), or are not (everybody-except).
        off: something else has switched off the hook, so the call is not intercepted now.
    """

    syscall: SyscallRef
    mode: str
    pids: frozenset[int]
    off: bool = False


def parse(text: str, syscalls: Syscalls) -> dict[SyscallRef, Intercepted]:
    """The lines of the status file, by system call.

    Args:
        text: of the file.
        syscalls: the system calls of the kernel that it is of.

    Raises:
        CheckFailed: it isn't a status file.
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
