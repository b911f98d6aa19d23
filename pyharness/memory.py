# SPDX-License-Identifier: GPL-2.0
"""What a system call's pointers point to: what is given to the kernel, and what it writes. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from pyharness.errors import UsageError

# Of all that the pointers of one call point to: it is one message to the actor, and one back.
LARGEST_BYTES = 1 << 16


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

    data: bytes
    size: int = field(default=0, kw_only=True)


# An argument of a system call: a number, or what a pointer is to point to.
Argument = int | str | bytes | Out | InOut


class Buffer(TypedDict):
    """A buffer, as an actor is asked for it: ``size`` bytes that begin with ``data``."""

    data: str
    size: int
    out: bool


def encoded(arguments: Sequence[Argument]) -> list[int | Buffer]:
    """Arguments as the actor takes them: numbers, and descriptions of buffers.

    Raises:
        UsageError: one can't be given to a system call.
    """
    sent = [_encoded(argument) for argument in arguments]
    total = sum(buffer["size"] for buffer in sent if not isinstance(buffer, int))
    if total > LARGEST_BYTES:
        raise UsageError(
            f"the buffers of a system call have {total} bytes together: {LARGEST_BYTES} at most"
        )
    return sent


def _encoded(argument: Argument) -> int | Buffer:
    match argument:
        case int():
            return int(argument)
        case str():
            return _buffer(_latin1(argument) + b"\0")
        case bytes():
            return _buffer(argument)
        case InOut():
            return _buffer(argument.data, size=argument.size or len(argument.data), out=True)
        case Out():
            return _buffer(b"", size=argument.size, out=True)
    raise UsageError(
        f"{argument!r} is no argument for a system call: give a number, a string, bytes, Out or"
        " InOut"
    )


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} has characters that are no bytes: give {text!r}.encode()"
        ) from None


def _buffer(data: bytes, *, size: int | None = None, out: bool = False) -> Buffer:
    size = len(data) if size is None else size
    if size < len(data):
        raise UsageError(f"a buffer of {size} bytes can't hold {len(data)} bytes: make it larger")
    return {"data": base64.b64encode(data).decode(), "size": size, "out": out}


def decoded(outputs: Sequence[str]) -> tuple[bytes, ...]:
    """What the kernel has written, as the actor sends it."""
    return tuple(map(base64.b64decode, outputs))
