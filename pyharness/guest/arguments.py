# SPDX-License-Identifier: GPL-2.0
"""The arguments of a system call, and the buffers that its pointers point to. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from pyharness.errors import UsageError

# The limit for all buffers of one call together: one message carries them to the actor, and one
# carries them back.
LARGEST_BYTES = 1 << 16

BytesLike = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Out:
    """A zeroed buffer that the kernel writes to; Result.outputs has its content after the call.

    Attributes:
        size: its size in bytes.
    """

    size: int


@dataclass(frozen=True)
class InOut:
    """A buffer that the kernel reads and writes; Result.outputs has its content after the call.

    Attributes:
        data: its content before the call.
        size: its size in bytes; 0: the size of the data. What the data do not fill is zeroed.
    """

    data: BytesLike
    size: int = field(default=0, kw_only=True)


# An argument of a system call: a number, or the content of a buffer whose address is passed.
Argument = int | str | BytesLike | Out | InOut


class Buffer(TypedDict):
    """A buffer in a message to an actor: ``size`` bytes that begin with ``data``, as base64.

    ``out`` says whether the answer has to have the buffer's content after the call.
    """

    data: str
    size: int
    out: bool


def encoded(arguments: Sequence[Argument], *, bytes_of_long: int) -> list[int | Buffer]:
    """Encode the arguments of a call for a message to the actor.

    Args:
        arguments: the call's arguments.
        bytes_of_long: the size of a register of the call's ABI, in bytes.

    Returns:
        For each argument, a number, or the description of a buffer.

    Raises:
        UsageError: an argument can't be passed to a system call, or the buffers are too large.
    """
    sent = [_encoded(argument, bits=8 * bytes_of_long) for argument in arguments]
    total = sum(buffer["size"] for buffer in sent if not isinstance(buffer, int))
    if total > LARGEST_BYTES:
        raise UsageError(
            f"the buffers of one system call total {total} bytes: the limit is {LARGEST_BYTES}"
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
        f"{argument!r} can't be passed to a system call: give a number, a string, bytes, Out or"
        " InOut"
    )


def in_register(number: int, *, bits: int) -> int:
    """Return a number after checking that a register holds it, signed or unsigned.

    Raises:
        UsageError: it does not fit: the kernel would get another number.
    """
    if not -(1 << bits - 1) <= number < 1 << bits:
        raise UsageError(f"{number} does not fit into {bits} bits, which a register has there")
    return int(number)


def bytes_of(data: BytesLike) -> bytes:
    """Convert bytes, a bytearray or a memoryview to bytes.

    Raises:
        UsageError: the data are of another type.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{data!r} is not bytes: give bytes, a bytearray or a memoryview")
    return bytes(data)


def checked_size(size: int) -> int:
    """Return a buffer's size in bytes after checking that it is one.

    Raises:
        UsageError: it is negative, or no whole number.
    """
    if not isinstance(size, int) or size < 0:
        raise UsageError(f"a buffer's size is a whole number, 0 or more, not {size!r}")
    return size


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} has characters that are not bytes: give {text!r}.encode()"
        ) from None


def _buffer(data: bytes, *, size: int | None = None, out: bool = False) -> Buffer:
    size = len(data) if size is None else checked_size(size)
    if size < len(data):
        raise UsageError(f"a buffer of {size} bytes can't hold {len(data)} bytes: make it larger")
    return {"data": base64.b64encode(data).decode(), "size": size, "out": out}


def decoded(outputs: Sequence[str]) -> tuple[bytes, ...]:
    """Decode the buffers of an actor's answer, which are base64."""
    return tuple(map(base64.b64decode, outputs))
