# SPDX-License-Identifier: GPL-2.0
"""Releases of kernels, compared. Pure."""

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


def matches(release: str, wanted: Sequence[str]) -> bool:
    """Whether a kernel's release, such as ``6.1.0-50-686-pae``, is as wanted: ``>=6.1``.

    It is compared as far as what is wanted goes: 6.1.0 is not above 6.1.

    Raises:
        UsageError: that is not how something is wanted.
    """
    found = re.match(r"\d+(?:\.\d+)*", release)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    for one in wanted:
        parts = _WANTED.fullmatch(one)
        if not parts:
            raise UsageError(f"{one!r} says nothing of a kernel: write '>=6.1' or '<7'")
        limit = [int(part) for part in parts[2].split(".")]
        if not _COMPARE[parts[1]](numbers[: len(limit)], limit):
            return False
    return True
