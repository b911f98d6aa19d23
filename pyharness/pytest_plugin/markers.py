# SPDX-License-Identifier: GPL-2.0
"""Reads and checks the arguments of a test's markers."""

import re

import pytest

from pyharness.machine import guest_specs


def check(item: pytest.Item, *, uses_guest: bool) -> None:
    """Check a test's markers.

    Args:
        item: the test.
        uses_guest: whether the test uses a guest.

    Raises:
        pytest.UsageError: a marker has wrong arguments, or makes no sense without a guest.
    """
    cpus_of(item)
    if expected_of(item) and not uses_guest:
        raise pytest.UsageError(
            f"{item.nodeid}: expects_warning() is for a test that takes the fixture guest"
        )
    _check_architectures(item)
    options_of(item)


def options_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the options, without ``CONFIG_``, that the kernel of a test's guest must have.

    Raises:
        pytest.UsageError: the marker ``debug_kernel`` has something else than names.
    """
    found: list[str] = []
    for marker in item.iter_markers("debug_kernel"):
        good = all(isinstance(name, str) and re.fullmatch(r"\w+", name) for name in marker.args)
        if not marker.args or marker.kwargs or not good:
            raise pytest.UsageError(
                f'{item.nodeid}: name options of the kernel: debug_kernel("KASAN", "FAILSLAB")'
            )
        found += [name.removeprefix("CONFIG_") for name in marker.args]
    if watches_leaks(item):
        found.append("DEBUG_KMEMLEAK")
    return tuple(found)


def watches_leaks(item: pytest.Item) -> bool:
    """Return whether memory that a test leaks fails it."""
    return item.get_closest_marker("leaks_nothing") is not None


def cpus_of(item: pytest.Item) -> int:
    """Return the number of CPUs that a test's guest needs; 0: as many as usual.

    Raises:
        pytest.UsageError: the marker ``cpus`` does not have one positive number.
    """
    marker = item.get_closest_marker("cpus")
    if marker is None:
        return 0
    match marker.args:
        case (int(number),) if number > 0 and not marker.kwargs:
            return number
    raise pytest.UsageError(f"{item.nodeid}: write the number of CPUs: cpus(4)")


def _check_architectures(item: pytest.Item) -> None:
    """Make sure that the marker ``architecture`` of a test names architectures of guests.

    Raises:
        pytest.UsageError: it names none, or one that no guest has.
    """
    for marker in item.iter_markers("architecture"):
        known = sorted({spec.architecture for spec in guest_specs.load().values()})
        if not marker.args or marker.kwargs or not set(known).issuperset(map(str, marker.args)):
            given = ", ".join(map(repr, marker.args))
            raise pytest.UsageError(
                f"{item.nodeid}: architecture({given}) has to name architectures that guests have:"
                f" {', '.join(known)}"
            )


def expected_of(item: pytest.Item) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of the kernel's warnings that a test expects.

    Raises:
        pytest.UsageError: the marker ``expects_warning`` has no argument, or one that is no
            regular expression.
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
                    f"{item.nodeid}: expects_warning({pattern!r}) is not a regular expression:"
                    f" {error}"
                ) from error
    return tuple(found)


def _compiled(pattern: object) -> re.Pattern[str]:
    """Compile a regular expression, unless it is compiled already.

    Raises:
        TypeError: it is neither a string nor a compiled pattern for strings.
        re.error: it is no valid regular expression.
    """
    match pattern:
        case str():
            return re.compile(pattern, re.MULTILINE)
        case re.Pattern(pattern=str()):
            return pattern
    raise TypeError("write it as a string")
