# SPDX-License-Identifier: GPL-2.0
"""Replaces the characters that can't be shown, and leaves out lines that are too many. Pure.

What a module writes into the kernel log, and what its build prints, is up to the student: a
terminal must not carry out escape sequences of it, and XML can't represent all of its characters.
"""

from pyharness.host.wording import counted

_MORE = "…"


def shown(line: str) -> str:
    r"""Return a line with an escape such as ``\x1b`` for each character that can't be shown.

    Among these are control characters, newlines, and lone surrogates. The result is a line of
    characters that every terminal and every XML document accepts.
    """
    if line.isprintable():
        return line
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in line
    )


def clipped(text: str, *, lines: int, columns: int) -> str:
    """Return a text that can be shown, no longer than a limit.

    Args:
        text: the text.
        lines: how many lines it may have; of more, the first and the last ones are kept, with a
            note in place of those between.
        columns: how many characters a line may have; the rest of a longer one is replaced by a
            note.
    """
    found = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    before = (lines + 1) // 2
    after = lines - before
    if len(found) <= lines:
        before, after = len(found), 0
    kept = [_cut(line, columns) for line in found[:before]]
    if left_out := len(found) - before - after:
        kept.append(f"({_MORE} {counted(left_out, 'line')} left out {_MORE})")
    kept += [_cut(line, columns) for line in found[len(found) - after :]]
    return "\n".join(kept)


def _cut(line: str, columns: int) -> str:
    line = shown(line.expandtabs())
    if len(line) <= columns:
        return line
    return f"{line[:columns]} ({_MORE} {counted(len(line) - columns, 'character')} left out)"
