# SPDX-License-Identifier: GPL-2.0
"""Files and devices that an actor has open, with methods for the usual system calls."""

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
_MMAP2_BYTES = 4096  # the unit of the offset of mmap2()

# The only flags of open() whose numbers differ between these architectures.
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
    """Translate flags for open() from this host's numbers, in ``os``, to an architecture's."""
    guests = _FLAGS[architecture]
    known = {getattr(os, name): number for name, number in guests.items() if getattr(os, name, 0)}
    rest = flags
    for host in known:
        rest &= ~host
    return rest | sum(number for host, number in known.items() if flags & host)


def succeeded(result: Result, path: str) -> Result:
    """Return the result of a system call after checking that it has no error.

    Args:
        result: the result.
        path: the file that the call was about, for the error.

    Raises:
        OSError: it has an error; raises Python's subclass for that error.
    """
    if result.errno:
        raise _refusal(result.errno, path)
    return result


def _refusal(number: int, path: str) -> OSError:
    return OSError(number, f"{os.strerror(number)} (in the guest)", path)


class Process(Protocol):
    """The methods of Actor that a file needs."""

    @property
    def syscalls(self) -> Syscalls:
        """The names and numbers of the guest's system calls."""

    def syscall(self, call: SyscallName, *args: Argument) -> Result:
        """Issue a system call."""

    def read_memory(self, address: int, count: int) -> bytes:
        """Read the process's own memory."""

    def write_memory(self, address: int, data: BytesLike) -> None:
        """Write the process's own memory."""


class Mapping(Closes):
    """A mapping of a file in an actor's memory; a ``with`` block unmaps it.

    Each method except close() raises a ValueError after close().

    Attributes:
        address: its address in the actor.
        size: its size in bytes.
    """

    def __init__(self, actor: Process, address: int, size: int) -> None:
        """Represent a mapping that the actor has made."""
        self._actor = actor
        self._closed = False
        self.address = address
        self.size = size

    def _must_be_open(self) -> None:
        if self._closed:
            raise ValueError("operation on closed mapping")

    def read(self, count: int | None = None, offset: int = 0) -> bytes:
        """Read from the mapping. Memory that the actor can't read kills it by a signal.

        Args:
            count: how many bytes to read; None: all from the offset on.
            offset: where in the mapping to begin, in bytes.

        Raises:
            ActorGone: a signal has killed the actor.
            ValueError: the mapping was closed.
        """
        self._must_be_open()
        return self._actor.read_memory(
            self.address + offset, self.size - offset if count is None else count
        )

    def write(self, data: BytesLike, offset: int = 0) -> None:
        """Write to the mapping. Memory that the actor can't write to kills it by a signal.

        Args:
            data: the bytes.
            offset: where in the mapping to begin, in bytes.

        Raises:
            ActorGone: a signal has killed the actor.
            ValueError: the mapping was closed.
        """
        self._must_be_open()
        self._actor.write_memory(self.address + offset, data)

    def close(self) -> None:
        """Unmap the memory. Do nothing if it was closed already, or the actor has ended.

        Raises:
            OSError: the kernel returned an error; the object is closed all the same.
        """
        if not self._closed:
            result = None
            with suppress(ActorGone):
                result = self._actor.syscall("munmap", self.address, self.size)
            self._closed = True
            if result:
                succeeded(result, f"the mapping at {self.address:#x}")


class GuestFile(Closes):
    """A file or device that an actor has open; a ``with`` block closes it.

    Each method raises an OSError if the kernel returns an error, and, except close(), a
    ValueError after close(): the file descriptor may be another file's by then.

    Attributes:
        fd: the file descriptor in the actor, for Actor.syscall().
        path: the file's path in the guest.
    """

    def __init__(self, actor: Process, fd: int, path: str) -> None:
        """Represent the file that the actor has open under the descriptor ``fd``."""
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
        """Read up to ``count`` bytes, 64 KiB at most, by one system call."""
        result = self._call("read", Out(count), count)
        return result.data[: result.value]

    def write(self, data: BytesLike) -> int:
        """Write up to 64 KiB by one system call; return how many bytes the kernel took."""
        data = bytes_of(data)
        return self._call("write", data, len(data)).value

    def ioctl(self, request: int, argument: Argument = 0) -> Result:
        """Send the device a request by the system call of that name.

        >>> file.ioctl(GET_SIZE, Out(4)).data

        Args:
            request: the number of the request.
            argument: a number, or the content of a buffer whose address is passed: bytes, a
                string, Out or InOut, as for Actor.syscall().

        Returns:
            The result; ``data`` has what the kernel wrote into an Out or InOut.

        Raises:
            OSError: the kernel returned an error.
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
        """Map the file into the actor's memory; a ``with`` block unmaps it.

        Args:
            size: how much to map, in bytes.
            protection: the ``PROT_`` flags of mmap(2).
            flags: the ``MAP_`` flags of mmap(2).
            offset: where in the file to begin, in bytes: a multiple of the page size.

        Returns:
            The mapping.

        Raises:
            OSError: the kernel returned an error.
        """
        self._must_be_open()
        syscalls = self._actor.syscalls
        call, place = ("mmap", offset)
        if "mmap2" in syscalls.numbers:
            if offset % _MMAP2_BYTES:
                raise _refusal(errno.EINVAL, self.path)  # as mmap() does
            call, place = ("mmap2", offset // _MMAP2_BYTES)
        mapped = self._actor.syscall(call, 0, size, protection, flags, self.fd, place)
        address = succeeded(mapped, self.path).value % (1 << 8 * syscalls.bytes_of_long)
        return Mapping(self._actor, address, size)

    def close(self) -> None:
        """Close the file. Do nothing if it was closed already, or the actor has ended.

        Raises:
            OSError: the kernel returned an error; the file is closed all the same.
        """
        if not self._closed:
            result = None
            with suppress(ActorGone):
                result = self._actor.syscall("close", self.fd)
            self._closed = True  # the descriptor is free even if the kernel returns an error
            if result:
                succeeded(result, self.path)
