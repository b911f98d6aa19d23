# SPDX-License-Identifier: GPL-2.0
"""Standard streams that can be written to, whatever their encoding and whoever reads them."""

import codecs
import io
import os
import sys

from pyharness.host import signals

_ERRORS = "pyharness"
# What stands for a sign that the terminal's encoding lacks.
_PLAIN = {"→": "->", "…": "...", "•": "*", "─": "-", "━": "-"}
# A byte of a file's name that is no text in the file system's encoding (surrogateescape).
_ESCAPED = range(0xDC80, 0xDD00)


def set_up() -> None:
    """Open those of the standard streams that are closed, and let each take any text."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _open_nowhere(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    codecs.register_error(_ERRORS, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _open_nowhere(number: int) -> None:
    """Have /dev/null under that number, if nothing is: a file that is opened later must not."""
    try:
        os.fstat(number)
    except OSError:
        signals.silence(number)


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    """What to write instead of a character that the encoding lacks; see codecs.register_error."""
    assert isinstance(error, UnicodeEncodeError)
    sign = error.object[error.start]
    if ord(sign) in _ESCAPED:
        return bytes([ord(sign) - _ESCAPED.start + 0x80]), error.start + 1
    return _PLAIN.get(sign, sign.encode("ascii", "backslashreplace").decode()), error.start + 1


def flush() -> None:
    """Write what is still to be written; nobody may be there to read it any more."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            signals.silence(number)
