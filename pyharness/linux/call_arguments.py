# SPDX-License-Identifier: GPL-2.0
"""The arguments of system calls as text: the registers, or as strace shows arguments. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import or_

from pyharness.linux import argument_names, number_forms, prototypes
from pyharness.linux.number_forms import hexadecimal
from pyharness.linux.prototypes import Parameter, Prototypes
from pyharness.linux.syscalls import SyscallRef, Syscalls

# Returns the arguments of a system call as text, given the values of its six argument registers.
Shown = Callable[[SyscallRef, Sequence[int]], Sequence[str]]

_Form = Callable[[int], str]  # makes a text of an argument

# Integers by their C types: the size in bits, 0 for that of a long, and whether they are signed.
_LONG = (0, False)
_INTEGERS = {
    "int": (32, True),
    "pid_t": (32, True),
    "clockid_t": (32, True),
    "key_t": (32, True),
    "key_serial_t": (32, True),
    "mqd_t": (32, True),
    "timer_t": (32, True),
    "unsigned": (32, False),
    "unsigned int": (32, False),
    "u32": (32, False),
    "__u32": (32, False),
    "__s32": (32, True),
    "uid_t": (32, False),
    "gid_t": (32, False),
    "old_uid_t": (16, False),
    "old_gid_t": (16, False),
    "umode_t": (16, False),
    "size_t": _LONG,
    "unsigned long": _LONG,
    "long": (0, True),
    "ssize_t": (0, True),
    "off_t": (0, True),
    "loff_t": (64, True),
    "u64": (64, False),
    "__u64": (64, False),
}
_IDS = ("uid_t", "gid_t", "old_uid_t", "old_gid_t")  # -1 stands for none
# What makes a text of a number, by its type.
_BY_TYPE: dict[str, _Form] = {"umode_t": number_forms.permissions, "key_t": number_forms.key}
# By FUNCTION.PARAMETER, where neither type nor name says what the number is.
_BY_NAME: dict[str, _Form] = {
    "umask.mask": number_forms.permissions,
    **dict.fromkeys(("mknod.mode", "mknodat.mode"), number_forms.type_and_permissions),
    **dict.fromkeys(("mknod.dev", "mknodat.dev"), number_forms.device),
}
# What an integer is by its name, where the type does not say it.
_DESCRIPTOR = re.compile(r".*fd(_?(in|out))?|(in|out)_fd|fildes")
_FOLDER = re.compile(r".*dfd")  # AT_FDCWD, or a descriptor
_BITS = re.compile(r".*(flag|mask|cmd|option).*|prot")
_ADDRESS = re.compile(r".*addr|start|brk|newsp")
_NUMBER = re.compile(r".*(len|size|count)|nr_.*|vlen")
# The kernel reads the mode of open() only where the flags have one of these.
_MAKING = ("O_CREAT", "__O_TMPFILE")


def registers(_syscall: SyscallRef, args: Sequence[int]) -> list[str]:
    """Return the values of all argument registers, in hexadecimal."""
    return [f"{arg:#x}" for arg in args]


class CallArguments:
    """Shows arguments as strace does, as far as their values alone decide.

    Strings and structures are in the memory of the process, so they are shown as addresses. The
    registers are shown if the kernel does not describe the call, or its 64-bit arguments are in
    two registers each.
    """

    def __init__(self, described: Prototypes, constants: Mapping[str, int]) -> None:
        """Take what is known of the guest.

        Args:
            described: the parameters of functions, by the guest's kernel.
            constants: those of the guest's C headers, in order; may be empty.
        """
        self._described = described
        self._constants = constants
        making = [constants.get(name, 0) for name in _MAKING]
        flags_that_make = reduce(or_, making) if all(making) else ~0
        # Whether the kernel reads a call's last argument, by the one before it.
        self._reads_last: dict[str, Callable[[int], object]] = {
            **dict.fromkeys(("open", "openat"), lambda flags: flags & flags_that_make),
            **dict.fromkeys(("mknod", "mknodat"), number_forms.is_device),
        }
        self._forms: dict[SyscallRef, list[_Form] | None] = {}

    def __call__(self, syscall: SyscallRef, args: Sequence[int]) -> list[str]:
        """Return the arguments of a system call.

        Args:
            syscall: the system call. The kernel describes those of its own ABI alone.
            args: the values of its six argument registers.
        """
        if syscall not in self._forms:
            self._forms[syscall] = self._forms_of(syscall)
        forms = self._forms[syscall]
        if forms is None:
            return registers(syscall, args)
        texts = [form(arg) for form, arg in zip(forms, args, strict=False)]
        reads_last = self._reads_last.get(syscall.name)
        return texts if not reads_last or reads_last(args[len(texts) - 2]) else texts[:-1]

    def _forms_of(self, syscall: SyscallRef) -> list[_Form] | None:
        """Return what makes a text of each argument; None if the registers are shown."""
        function = prototypes.function(syscall.name, self._described)
        if function is None or not syscall.native:
            return None
        parameters = self._described[function]
        long_bits = 8 * Syscalls(syscall.abi).bytes_of_long
        bits = [_INTEGERS.get(parameter.type, _LONG)[0] or long_bits for parameter in parameters]
        if any(size > long_bits for size in bits):
            return None
        return [
            self._form(function, parameter, size)
            for parameter, size in zip(parameters, bits, strict=True)
        ]

    def _form(self, function: str, parameter: Parameter, bits: int) -> _Form:
        if "*" in parameter.type:
            return _address
        if parameter.type not in _INTEGERS:
            return hexadecimal
        number = _BY_NAME.get(f"{function}.{parameter.name}") or self._number(parameter, bits)
        named = argument_names.of(function, parameter.name, self._constants)

        def form(arg: int) -> str:
            value = arg % (1 << bits)  # the kernel ignores the rest of the register
            return (named and named(value)) or number(value)

        return form

    def _number(self, parameter: Parameter, bits: int) -> _Form:
        """Return what makes a text of a number that has no name."""
        kind, name = parameter.type, parameter.name
        if kind in _BY_TYPE:
            return _BY_TYPE[kind]
        if _DESCRIPTOR.fullmatch(name):
            cwd = self._constants.get("AT_FDCWD") if _FOLDER.fullmatch(name) else None
            return lambda value: "AT_FDCWD" if _signed(value, 32) == cwd else _decimal(value, 32)
        if kind in _IDS:
            return lambda value: "-1" if value == (1 << bits) - 1 else str(value)
        if kind == "unsigned long" and not _NUMBER.fullmatch(name):
            return _address if _ADDRESS.fullmatch(name) else hexadecimal
        if _BITS.fullmatch(name):
            return hexadecimal
        return partial(_decimal, bits=bits) if _INTEGERS[kind][1] else str


def _signed(value: int, bits: int) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def _decimal(value: int, bits: int) -> str:
    return str(_signed(value, bits))


def _address(value: int) -> str:
    return f"{value:#x}" if value else "NULL"
