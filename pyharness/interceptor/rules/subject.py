# SPDX-License-Identifier: GPL-2.0
"""The module that is checked: its file, and how it is loaded and unloaded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyharness.errors import GuestError, UsageError
from pyharness.guest.guest import Guest
from pyharness.interceptor.interface import Interface
from pyharness.linux.symbolize import Symbolizer

# With it delete_module() does not wait for the users of a module.
O_NONBLOCK = 0o4000
# The current folder, for openat().
AT_FDCWD = -100


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A module that is checked.

    Attributes:
        name: its name in the kernel.
        ko: its file, on the host.
        interface: the numbers of its header.
        warnings: the warnings of its build, one line each.
        parameters: the parameters with which it is loaded.
    """

    name: str
    ko: Path
    interface: Interface
    warnings: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


def parameters(subject: Subject) -> str:
    """Return a module's parameters as finit_module() takes them."""
    return " ".join(f"{name}={value}" for name, value in subject.parameters.items())


def path_of(subject: Subject) -> str:
    """Return the path at which bring() writes a module's file."""
    return f"/root/{subject.ko.name}"


def bring(guest: Guest, subject: Subject) -> None:
    """Write a module's file to a guest, for opened(), and have crashes shown with its lines.

    Raises:
        ModuleRefused: the guest's kernel would not load it.
    """
    guest.inspect(subject.ko, any_license=True)
    data = subject.ko.read_bytes()
    guest.put(data, path_of(subject))
    guest.health.lines[subject.name] = Symbolizer(data)
    guest.modules[subject.name] = subject.ko


@contextmanager
def opened(guest: Guest, subject: Subject) -> Iterator[int]:
    """Open the file that bring() has written, for finit_module().

    No program is started to load the module: one that breaks how programs end can be loaded, too.

    Yields:
        The file descriptor, of the guest's actor ``root``.
    """
    root = guest.root
    file = root.syscall("openat", AT_FDCWD, path_of(subject), 0).value
    try:
        yield file
    finally:
        with suppress(UsageError, GuestError):  # still in finit_module(), or the guest is gone
            root.syscall("close", file)


def is_loaded(guest: Guest, subject: Subject) -> bool:
    """Return whether the guest's kernel has the module."""
    found = guest.root.syscall("faccessat", AT_FDCWD, f"/sys/module/{subject.name}", 0)
    return not found.errno
