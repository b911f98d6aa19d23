# SPDX-License-Identifier: GPL-2.0
"""A file or device that an actor has open: short methods for the usual system calls."""

import errno
import os
from contextlib import suppress
from typing import Protocol

from pyharness.errors import ActorGone
from pyharness.guest.arguments import Argument, BytesLike, Out, bytes_of
from pyharness.guest.result import Result
from pyharness.host.closing import Closes
from pyharness.linux.syscalls import SyscallName, Syscalls

AT_FDCWD = -100
PROT_READ, PROT_WRITE, MAP_SHARED = 1, 2, 1
_MMAP2_BYTES = 4096  # mmap2() counts a mapping's offset in these

# All that differ between these architectures.
_X86_FLAGS = {
    "O_DIRECT": 0o40000,
    "O_LARGEFILE": 0o100000,
    "O_DIRECTORY": 0o200000,
    "O_NOFOLLOW": 0o400000,
}
_FLAGS = {
    "i386": _X86_FLAGS,
    "x86_64": _X86_FLAGS,
    "arm64": {
        "O_DIRECTORY": 0o40000,
        "O_NOFOLLOW": 0o100000,
        "O_DIRECT": 0o200000,
        "O_LARGEFILE": 0o400000,
    },
}


def translated(flags: int, architecture: str) -> int:
    """Flags for open() as this host's ``os`` has them, in the guest's numbers."""
    guests = _FLAGS[architecture]
    known = {getattr(os, name): number for name, number in guests.items() if getattr(os, name, 0)}
    rest = flags
    for host in known:
        rest &= ~host
    return rest | sum(number for host, number in known.items() if flags & host)


def succeeded(result: Result, path: str) -> Result:
    """A system call's result, if it has no error.

    Raises:
        OSError: it has; it is the subclass that Python has for the error.
    """
    if result.errno:
        raise _refusal(result.errno, path)
    return result


def _refusal(number: int, path: str) -> OSError:
    return OSError(number, f"{os.strerror(number)} (in the guest)", path)


class Process(Protocol):
    """The process that has a file open; see Actor, whose methods these are."""

    @property
    def syscalls(self) -> Syscalls:
        """The names and numbers of its system calls."""

    def syscall(self, call: SyscallName, *args: Argument) -> Result:
        """Issue a system call."""

    def read_memory(self, address: int, count: int) -> bytes:
        """Read the process's own memory."""

    def write_memory(self, address: int, data: BytesLike) -> None:
        """Write the process's own memory."""


class Mapping(Closes):
    """Memory that an actor has mapped from a file.

    Attributes:
        address: where it is, in the actor.
        size: in bytes.
    """

    def __init__(self, actor: Process, address: int, size: int) -> None:
        """What was mapped there."""
        self._actor = actor
        self._closed = False
        self.address = address
        self.size = size

    def _must_be_open(self) -> None:
        if self._closed:
            raise ValueError("operation on closed mapping")

    def read(self, count: int | None = None, offset: int = 0) -> bytes:
        """Read it: all of it, or a part. An actor that may not dies by a signal."""
        self._must_be_open()
        return self._actor.read_memory(
            self.address + offset, self.size - offset if count is None else count
        )

    def write(self, data: BytesLike, offset: int = 0) -> None:
        """Write it. An actor that may not dies by a signal."""
        self._must_be_open()
        self._actor.write_memory(self.address + offset, data)

    def close(self) -> None:
        """Unmap it, once; an actor that is gone has done so."""
        if not self._closed:
            with suppress(ActorGone):
                self._actor.syscall("munmap", self.address, self.size)
            self._closed = True


class GuestFile(Closes):
    """A file or device that an actor has open; as a context, it is closed at its end.

    Each method raises the OSError that the kernel's answer is, and ValueError
    once it is closed: its number may be another file's by then.

    Attributes:
        fd: its number in the actor, for Actor.syscall().
        path: of the file.
    """

    def __init__(self, actor: Process, fd: int, path: str) -> None:
        """What the actor has open as that number."""
        self._actor = actor
        self._closed = False
        self.fd = fd
        self.path = path

    def __repr__(self) -> str:
        return f"GuestFile({self.path!r}, fd={self.fd})"

    def _must_be_open(self) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed file")

    def _call(self, name: str, *args: Argument) -> Result:
        self._must_be_open()
        return succeeded(self._actor.syscall(name, self.fd, *args), self.path)

    def read(self, count: int) -> bytes:
        """Read up to so many bytes, 64 KiB at most, by one system call."""
        result = self._call("read", Out(count), count)
        return result.data[: result.value]

    def write(self, data: BytesLike) -> int:
        """Write up to 64 KiB by one system call; it returns how many bytes were taken."""
        data = bytes_of(data)
        return self._call("write", data, len(data)).value

    def ioctl(self, request: int, argument: Argument = 0) -> Result:
        """Ask the device for something of its own.

        >>> file.ioctl(GET_SIZE, Out(4)).data

        Args:
            request: its number.
            argument: a number, or what is pointed to.
        """
        return self._call("ioctl", request, argument)

    def mmap(
        self,
        size: int,
        *,
        protection: int = PROT_READ | PROT_WRITE,
        flags: int = MAP_SHARED,
        offset: int = 0,
    ) -> Mapping:
        """Map it into the actor's memory; use it as a context, and it is unmapped.

        Args:
            size: in bytes.
            protection: as mmap(2) has it, as all that follows.
            flags: how it is mapped.
            offset: where in the file, a multiple of the page's size.
        """
        self._must_be_open()
        syscalls = self._actor.syscalls
        call, place = ("mmap", offset)
        if "mmap2" in syscalls.numbers:
            if offset % _MMAP2_BYTES:
                raise _refusal(errno.EINVAL, self.path)  # as kernels do that count in bytes
            call, place = ("mmap2", offset // _MMAP2_BYTES)
        mapped = self._actor.syscall(call, 0, size, protection, flags, self.fd, place)
        address = succeeded(mapped, self.path).value % (1 << 8 * syscalls.bytes_of_long)
        return Mapping(self._actor, address, size)

    def close(self) -> None:
        """Close it, once; an actor that is gone has done so."""
        if not self._closed:
            result = None
            with suppress(ActorGone):
                result = self._actor.syscall("close", self.fd)
            self._closed = True  # whatever the kernel says, the number is free
            if result:
                succeeded(result, self.path)
