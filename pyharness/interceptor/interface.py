# SPDX-License-Identifier: GPL-2.0
"""The module's interface, read from its own header. Pure."""

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.linux.syscalls import Syscalls

HEADER = "interceptor.h"
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S+)", re.MULTILINE)


class Command(IntEnum):
    """What my_syscall() is asked to do."""

    INTERCEPT = 1
    RELEASE = 2
    START = 3
    STOP = 4


_MACROS = {
    Command.INTERCEPT: "REQUEST_SYSCALL_INTERCEPT",
    Command.RELEASE: "REQUEST_SYSCALL_RELEASE",
    Command.START: "REQUEST_START_MONITORING",
    Command.STOP: "REQUEST_STOP_MONITORING",
}


@dataclass(frozen=True, kw_only=True)
class Interface:
    """How to talk to a module.

    Attributes:
        custom_syscall: the number that takes commands.
        commands: the value of each command.
        status: the status file's path, None if the module has none.
    """

    custom_syscall: int
    commands: dict[Command, int]
    status: str | None

    @classmethod
    def parse(cls, header: str, syscalls: Syscalls) -> "Interface":
        """Read the interface from the text of ``interceptor.h``.

        Args:
            header: the text.
            syscalls: the numbers that a name such as ``__NR_restart_syscall`` stands for.

        Raises:
            UsageError: a definition is missing or isn't a number.
        """
        defined = dict(
            re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S+)", header, re.MULTILINE)
        )

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
            commands={command: number(macro) for command, macro in _MACROS.items()},
            status=status.strip('"') if status else None,
        )

    @classmethod
    def load(cls, folder: Path, syscalls: Syscalls) -> "Interface":
        """The interface of the module in a folder.

        Raises:
            UsageError: the folder has no such header, or it isn't one.
        """
        try:
            header = (folder / HEADER).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{folder} has no readable {HEADER}: {error.strerror}") from error
        return cls.parse(header, syscalls)
