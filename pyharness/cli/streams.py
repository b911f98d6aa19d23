# SPDX-License-Identifier: GPL-2.0
"""Makes the standard streams safe to write to, whatever their encoding, and even if closed."""

import codecs
import io
import os
import sys

from pyharness.host import signals

_ERRORS = "pyharness"
# Replacements for characters that the terminal's encoding lacks.
_PLAIN = {"→": "->", "…": "...", "•": "*", "─": "-", "━": "-"}
# The code points by which surrogateescape represents the bytes of a file's name that its encoding
# can't decode.
_ESCAPED = range(0xDC80, 0xDD00)


def set_up() -> None:
    """Open closed standard streams on /dev/null, and have output streams accept any character."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _open_nowhere(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(_ERRORS, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _open_nowhere(number: int) -> None:
    """Open /dev/null as a file descriptor if that is closed.

    Otherwise a file that is opened later would get the number of a standard stream.
    """
    try:
        os.fstat(number)
    except OSError:
        signals.silence(number)


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace a character that the encoding lacks: a handler for codecs.register_error()."""
    assert isinstance(error, UnicodeEncodeError)
    sign = error.object[error.start]
    if ord(sign) in _ESCAPED:
        return bytes([ord(sign) - _ESCAPED.start + 0x80]), error.start + 1
    return _PLAIN.get(sign, sign.encode("ascii", "backslashreplace").decode()), error.start + 1


def flush() -> None:
    """Flush the output streams; discard the output if nobody reads it any more."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            signals.silence(number)
