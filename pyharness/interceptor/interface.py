# SPDX-License-Identifier: GPL-2.0
"""The module's interface, read from its own header, ``interceptor.h``."""

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.linux.syscalls import Syscalls

HEADER = "interceptor.h"
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S+)", re.MULTILINE)


class Command(IntEnum):
    """The commands of my_syscall(), the custom system call."""

    INTERCEPT = 1
    RELEASE = 2
    START = 3
    STOP = 4

    @property
    def macro(self) -> str:
        """The name of the command in ``interceptor.h``."""
        return _MACROS[self]


_MACROS = {
    Command.INTERCEPT: "REQUEST_SYSCALL_INTERCEPT",
    Command.RELEASE: "REQUEST_SYSCALL_RELEASE",
    Command.START: "REQUEST_START_MONITORING",
    Command.STOP: "REQUEST_STOP_MONITORING",
}


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The numbers and paths by which the module is used.

    Attributes:
        custom_syscall: the number of the system call that takes commands.
        commands: the value of each command.
        status: the path of the status file; None if the module has none.
    """

    custom_syscall: int
    commands: dict[Command, int]
    status: str | None

    @classmethod
    def parse(cls, header: str, syscalls: Syscalls) -> "Interface":
        """Parse the text of ``interceptor.h``.

        Args:
            header: the text.
            syscalls: the guest's system calls, for names such as ``__NR_restart_syscall``.

        Returns:
            The interface.

        Raises:
            UsageError: a definition is missing or is not a number.
        """
        defined = dict(_DEFINE.findall(header))

        def number(macro: str) -> int:
            text = defined.get(macro)
            if text is None:
                raise UsageError(f"{HEADER} does not define {macro}")
            if text.startswith("__NR_"):
                return syscalls.number(text.removeprefix("__NR_"))
            try:
                return int(text.strip("()"), 0)
            except ValueError:
                raise UsageError(f"{HEADER}: {macro} is {text}, which is not a number") from None

        status = defined.get("INTERCEPTOR_STATUS")
        return cls(
            custom_syscall=number("MY_CUSTOM_SYSCALL"),
            commands={command: number(command.macro) for command in Command},
            status=status.strip('"') if status else None,
        )

    @classmethod
    def load(cls, folder: Path, syscalls: Syscalls) -> "Interface":
        """Read the interface from ``interceptor.h`` in a module's folder.

        Args:
            folder: the folder with the module's source.
            syscalls: the guest's system calls, for names such as ``__NR_restart_syscall``.

        Returns:
            The interface.

        Raises:
            UsageError: the folder has no readable header, or the header lacks a definition.
        """
        try:
            header = (folder / HEADER).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{folder} has no readable {HEADER}: {error.strerror}") from error
        return cls.parse(header, syscalls)
