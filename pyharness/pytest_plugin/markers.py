# SPDX-License-Identifier: GPL-2.0
"""Reads and checks the arguments of a test's markers."""

import re

import pytest

from pyharness.linux import kernel_release
from pyharness.machine import guest_specs

_WITHOUT_ARGUMENTS = ("console", "fresh_guest", "leaks_nothing")
_ABOUT_GUEST = (
    "architecture",
    "cpus",
    "debug_kernel",
    "expects_warning",
    "kernel",
    *_WITHOUT_ARGUMENTS,
)


def check(item: pytest.Item, *, uses_guest: bool) -> None:
    """Check a test's markers.

    Args:
        item: the test.
        uses_guest: whether the test uses a guest.

    Raises:
        pytest.UsageError: a marker has wrong arguments, or makes no sense without a guest.
    """
    cpus_of(item)
    expected_of(item)
    architectures_of(item)
    kernels_of(item)
    options_of(item)
    for name in _WITHOUT_ARGUMENTS:
        for marker in item.iter_markers(name):
            if marker.args or marker.kwargs:
                raise pytest.UsageError(f"{item.nodeid}: {name} takes no arguments")
    if not uses_guest and (name := _needless(item)):
        raise pytest.UsageError(f"{item.nodeid}: {name} is for a test that takes the fixture guest")


def _needless(item: pytest.Item) -> str:
    """Return the name of a marker that a test without a guest can't have; empty if it has none.

    A marker of a module or class may be meant for others of its tests, unless it says what the
    test itself does.
    """
    names = {marker.name for marker in item.own_markers}
    names |= {marker.name for marker in item.iter_markers("expects_warning")}
    return next((name for name in _ABOUT_GUEST if name in names), "")


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


def architectures_of(item: pytest.Item) -> list[tuple[str, ...]]:
    """Return the architectures that each marker ``architecture`` of a test allows.

    Raises:
        pytest.UsageError: one names none, or one that no guest has.
    """
    found = []
    for marker in item.iter_markers("architecture"):
        known = sorted({spec.architecture for spec in guest_specs.load().values()})
        if not marker.args or marker.kwargs or not set(known).issuperset(map(str, marker.args)):
            raise pytest.UsageError(
                f"{item.nodeid}: {_written(marker)} has to name architectures that guests have:"
                f" {', '.join(known)}"
            )
        found.append(marker.args)
    return found


def kernels_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the conditions on the kernel's release of all markers ``kernel`` of a test.

    Raises:
        pytest.UsageError: one has something else than conditions.
    """
    found: list[str] = []
    for marker in item.iter_markers("kernel"):
        good = all(map(kernel_release.is_condition, marker.args))
        if not marker.args or marker.kwargs or not good:
            raise pytest.UsageError(
                f"{item.nodeid}: {_written(marker)} has to name conditions on the kernel's release:"
                ' kernel(">=6.1", "<7")'
            )
        found += marker.args
    return tuple(found)


def _written(marker: pytest.Mark) -> str:
    """Return a marker as it was written."""
    arguments = [repr(value) for value in marker.args]
    arguments += [f"{name}={value!r}" for name, value in marker.kwargs.items()]
    return f"{marker.name}({', '.join(arguments)})"


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
