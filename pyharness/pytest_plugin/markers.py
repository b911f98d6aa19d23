# SPDX-License-Identifier: GPL-2.0
"""What the markers of a test say, and whether they say it rightly."""

import re

import pytest

from pyharness.machine import guest_specs


def check(item: pytest.Item, *, uses_guest: bool) -> None:
    """Find mistakes in a test's markers.

    Args:
        item: the test.
        uses_guest: it asks for a guest.

    Raises:
        pytest.UsageError: there is one.
    """
    cpus_of(item)
    if expected_of(item) and not uses_guest:
        raise pytest.UsageError(
            f"{item.nodeid}: expects_warning() is for a test that takes the fixture guest"
        )
    _check_architectures(item)


def cpus_of(item: pytest.Item) -> int:
    """How many CPUs the guest of a test is to have, 0 for as many as usual.

    Raises:
        pytest.UsageError: its marker has no number.
    """
    marker = item.get_closest_marker("cpus")
    if marker is None:
        return 0
    match marker.args:
        case (int(number),) if number > 0 and not marker.kwargs:
            return number
    raise pytest.UsageError(f"{item.nodeid}: write the number of CPUs: cpus(4)")


def _check_architectures(item: pytest.Item) -> None:
    """Make sure that a test is for architectures that guests have.

    Raises:
        pytest.UsageError: it is for one that none has, or for none.
    """
    known = sorted({spec.architecture for spec in guest_specs.load().values()})
    for marker in item.iter_markers("architecture"):
        if not marker.args or marker.kwargs or not set(known).issuperset(map(str, marker.args)):
            given = ", ".join(map(repr, marker.args))
            raise pytest.UsageError(
                f"{item.nodeid}: architecture({given}) has to name architectures that guests have:"
                f" {', '.join(known)}"
            )


def expected_of(item: pytest.Item) -> tuple[re.Pattern[str], ...]:
    """The warnings of the kernel that a test expects.

    Raises:
        pytest.UsageError: its marker has something that is no regular expression.
    """
    found = []
    for marker in item.iter_markers("expects_warning"):
        if not marker.args or marker.kwargs:
            raise pytest.UsageError(
                f'{item.nodeid}: write what is expected: expects_warning("a regular expression")'
            )
        for pattern in marker.args:
            try:
                found.append(_compiled(pattern))
            except (re.error, TypeError) as error:
                raise pytest.UsageError(
                    f"{item.nodeid}: expects_warning({pattern!r}) has no regular expression:"
                    f" {error}"
                ) from error
    return tuple(found)


def _compiled(pattern: object) -> re.Pattern[str]:
    """A regular expression; one that is compiled already is taken as it is."""
    match pattern:
        case str():
            return re.compile(pattern, re.MULTILINE)
        case re.Pattern(pattern=str()):
            return pattern
    raise TypeError("write it as a string")
