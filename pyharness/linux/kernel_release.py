# SPDX-License-Identifier: GPL-2.0
"""Compare kernel releases. Pure."""

import operator
import re
from collections.abc import Sequence

from pyharness.errors import UsageError

_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_WANTED = re.compile(rf"({'|'.join(_COMPARE)})\s*(\d+(?:\.\d+)*)")


def is_condition(text: object) -> bool:
    """Whether a value is a limit that matches() takes, such as ``>=6.1``."""
    return isinstance(text, str) and _WANTED.fullmatch(text) is not None


def matches(release: str, wanted: Sequence[str]) -> bool:
    """Whether a kernel's release is within all limits.

    Only as many numbers are compared as the limit has: ``>6.1`` does not match 6.1.0.

    Args:
        release: the kernel's release, such as ``6.1.0-50-686-pae``.
        wanted: the limits, such as ``>=6.1``; the operators are ``>=``, ``<=``, ``==``, ``>``
            and ``<``. Without any limit, every release matches.

    Raises:
        UsageError: a limit has another form.
    """
    found = re.match(r"\d+(?:\.\d+)*", release)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    for one in wanted:
        parts = _WANTED.fullmatch(one)
        if not parts:
            raise UsageError(
                f"{one!r} is not a condition on a kernel's release: write '>=6.1' or '<7'"
            )
        limit = [int(part) for part in parts[2].split(".")]
        if not _COMPARE[parts[1]](numbers[: len(limit)], limit):
            return False
    return True
