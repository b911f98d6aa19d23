# SPDX-License-Identifier: GPL-2.0
"""Wording that messages share. Pure."""


def counted(number: int, thing: str) -> str:
    """A number with its noun, singular or plural: ``1 warning``, ``2 warnings``."""
    return f"{number} {thing}{'s' * (number != 1)}"
