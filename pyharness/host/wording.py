# SPDX-License-Identifier: GPL-2.0
"""How messages put things into words. Pure."""


def counted(number: int, thing: str) -> str:
    """A number of things: ``1 warning``, ``2 warnings``."""
    return f"{number} {thing}{'s' * (number != 1)}"
