# SPDX-License-Identifier: GPL-2.0
"""The parameters of system calls, as a kernel describes them in tracefs. Pure.

The folder ``events/syscalls`` has a description of each function that an entry of the kernel's own
system call table names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = "sys_enter_"
# The last field that each description begins with: the parameters follow.
_NUMBER = "__syscall_nr"
_NAME = re.compile(rf"name: {PREFIX}(\w+)")
_FIELD = re.compile(r"\tfield:(.*\W)(\w+);\toffset:\d+;\tsize:\d+;\tsigned:[01];")
# Newer kernels append a copy of a string that a parameter points to.
_COPY = "__data_loc"
# Functions that have another name than the call, by the kernel's system call tables.
_FUNCTIONS = {
    "_llseek": "llseek",
    "mmap2": "mmap_pgoff",
    "sendfile": "sendfile64",
    "ugetrlimit": "getrlimit",
    "umount2": "umount",
}
# What 32-bit architectures append to the name of a call that has the function of the others.
_WIDENED = re.compile(r"32$|_time64$|(?<=time)64$")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a system call.

    Attributes:
        type: its C type, such as ``unsigned int`` or ``char *``, without a ``const`` before it.
        name: its name in the kernel's source.
    """

    type: str
    name: str


# The parameters of functions, by the functions' names.
Prototypes = Mapping[str, tuple[Parameter, ...]]


def functions(call: str) -> tuple[str, ...]:
    """Return the names that the function of a system call may have.

    The first of those that the kernel describes is the function: where a call has an older and a
    newer form (``umount`` and ``umount2`` of i386), it describes both.

    Args:
        call: the call's name in the kernel's own ABI.
    """
    forms = ("new{}", "old_{}", "old{}", "ia32_{}", "{}16", "{}")
    others = (_FUNCTIONS.get(call, call), _WIDENED.sub("", call))
    return tuple(dict.fromkeys((*(form.format(call) for form in forms), *others)))


def parse(lines: Iterable[str]) -> Prototypes:
    """Parse descriptions of functions, one after the other: the files ``format``.

    Args:
        lines: the lines; others may be between them.
    """
    found: dict[str, list[Parameter]] = {}
    parameters: list[Parameter] = []
    begun = False
    for line in lines:
        if name := _NAME.fullmatch(line):
            parameters = found[name[1]] = []
            begun = False
        elif field := _FIELD.fullmatch(line):
            if begun and not field[1].startswith(_COPY):
                parameters.append(Parameter(field[1].strip().removeprefix("const "), field[2]))
            begun = begun or field[2] == _NUMBER
    return {name: tuple(parameters) for name, parameters in found.items()}


def function(call: str, described: Prototypes) -> str | None:
    """Return the name of a system call's function; None if the kernel does not describe it.

    Args:
        call: the call's name in the kernel's own ABI.
        described: what the kernel describes of functions().
    """
    return next((name for name in functions(call) if name in described), None)
