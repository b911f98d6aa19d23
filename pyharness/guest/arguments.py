# SPDX-License-Identifier: GPL-2.0
"""What a system call's pointers point to: what is given to the kernel, and what it writes. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from pyharness.errors import UsageError

# Of all that the pointers of one call point to: it is one message to the actor, and one back.
LARGEST_BYTES = 1 << 16

BytesLike = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Out:
    """A buffer that the kernel writes to; its bytes come back in the result.

    Attributes:
        size: its size in bytes; it is zeroed before the call.
    """

    size: int


@dataclass(frozen=True)
class InOut:
    """A buffer that the kernel reads and writes; its bytes come back in the result.

    Attributes:
        data: what is in it before the call.
        size: its size in bytes, if it is larger than the data; the rest is zeroed.
    """

    data: BytesLike
    size: int = field(default=0, kw_only=True)


# An argument of a system call: a number, or what a pointer is to point to.
Argument = int | str | BytesLike | Out | InOut


class Buffer(TypedDict):
    """A buffer, as an actor is asked for it: ``size`` bytes that begin with ``data``."""

    data: str
    size: int
    out: bool


def encoded(arguments: Sequence[Argument], *, bytes_of_long: int) -> list[int | Buffer]:
    """Arguments as the actor takes them: numbers, and descriptions of buffers.

    Args:
        arguments: of the call.
        bytes_of_long: the size of a register of the call's ABI.

    Raises:
        UsageError: one can't be given to a system call.
    """
    sent = [_encoded(argument, bits=8 * bytes_of_long) for argument in arguments]
    total = sum(buffer["size"] for buffer in sent if not isinstance(buffer, int))
    if total > LARGEST_BYTES:
        raise UsageError(
            f"the buffers of a system call have {total} bytes together: {LARGEST_BYTES} at most"
        )
    return sent


def _encoded(argument: Argument, *, bits: int) -> int | Buffer:
    match argument:
        case int():
            return in_register(argument, bits=bits)
        case str():
            return _buffer(_latin1(argument) + b"\0")
        case bytes() | bytearray() | memoryview():
            return _buffer(bytes(argument))
        case InOut():
            data = bytes_of(argument.data)
            return _buffer(data, size=argument.size or len(data), out=True)
        case Out():
            return _buffer(b"", size=argument.size, out=True)
    raise UsageError(
        f"{argument!r} is no argument for a system call: give a number, a string, bytes, Out or"
        " InOut"
    )


def in_register(number: int, *, bits: int) -> int:
    """A number that a register holds, signed or unsigned.

    Raises:
        UsageError: it is larger: the kernel would get another number.
    """
    if not -(1 << bits - 1) <= number < 1 << bits:
        raise UsageError(f"{number} does not fit into {bits} bits, which a register has there")
    return int(number)


def bytes_of(data: BytesLike) -> bytes:
    """Bytes, of anything like bytes.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{data!r} is not bytes: give bytes, a bytearray or a memoryview")
    return bytes(data)


def checked_size(size: int) -> int:
    """A number of bytes.

    Raises:
        UsageError: it is no such number.
    """
    if not isinstance(size, int) or size < 0:
        raise UsageError(f"a buffer's size is a whole number, 0 or more, not {size!r}")
    return size


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} has characters that are no bytes: give {text!r}.encode()"
        ) from None


def _buffer(data: bytes, *, size: int | None = None, out: bool = False) -> Buffer:
    size = len(data) if size is None else checked_size(size)
    if size < len(data):
        raise UsageError(f"a buffer of {size} bytes can't hold {len(data)} bytes: make it larger")
    return {"data": base64.b64encode(data).decode(), "size": size, "out": out}


def decoded(outputs: Sequence[str]) -> tuple[bytes, ...]:
    """What the kernel has written, as the actor sends it."""
    return tuple(map(base64.b64decode, outputs))
