# SPDX-License-Identifier: GPL-2.0
"""A scheme: each rule's points, the rules that are hidden or left out, the readings that hold.

The schemes that come with the package are in ``schemes/``; docs/marking.md has the format.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pyharness.errors import UsageError

DEFAULT = "strict"
_FOLDER = Path(__file__).with_name("schemes")

# Where the handout allows more than one behaviour: the values that a scheme may choose, the one
# that holds if it chooses none at the beginning.
READINGS: dict[str, tuple[str, ...]] = {
    "number-of-syscalls": ("refused", "either"),  # syscall == NR_syscalls
    "stop-all-of-a-list": ("refused", "accepted", "either"),  # STOP 0, while pids are listed
    "start-listed-under-all": ("busy", "accepted", "either"),  # START of a pid, after START 0
}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A scheme.

    Attributes:
        name: its name: that of its file, without ``.toml``.
        points: the points of rules that do not earn what the rule itself says.
        hidden: the rules of which a student sees no more than the outcome.
        without: the rules that are left out.
        readings: the behaviour that is right where the handout allows several.
        seconds: how long a command or a system call may take, in seconds of a guest on real
            hardware.
        rule_seconds: how long all of a rule may take, likewise.
        build_seconds: how long the build may take, likewise.
    """

    name: str
    points: Mapping[str, float] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    readings: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 3.0
    rule_seconds: float = 60.0
    build_seconds: float = 30.0

    def reading(self, name: str) -> str:
        """Return the behaviour that is right where the handout allows several; see READINGS."""
        return self.readings.get(name, READINGS[name][0])


def shipped() -> list[str]:
    """Return the names of the schemes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name: str, rules: Sequence[str]) -> Scheme:
    """Read a scheme.

    Args:
        name: the name of one that comes with the package, or the path of a file.
        rules: the ids of all rules.

    Raises:
        UsageError: there is no such scheme, or it has something that can't be used.
    """
    path = _FOLDER / f"{name}.toml" if name in shipped() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        known = ", ".join(shipped())
        raise UsageError(
            f"the scheme {name} can't be read ({reason}): name a file, or one of {known}"
        ) from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error
    return parse(path.stem, found, rules)


def parse(name: str, found: Mapping[str, Any], rules: Sequence[str]) -> Scheme:
    """Check the content of a scheme's file, and return the scheme.

    Args:
        name: the scheme's name.
        found: the content, as tomllib returns it.
        rules: the ids of all rules.

    Raises:
        UsageError: it has something that can't be used.
    """
    scheme = _Parser(name, found)
    scheme.known("", found, ("points", "hidden", "without", "readings", "limits"))
    points = scheme.table("points")
    scheme.known("points.", points, rules)
    limits = scheme.table("limits")
    scheme.known("limits.", limits, ("seconds", "rule_seconds", "build_seconds"))
    readings = scheme.table("readings")
    scheme.known("readings.", readings, READINGS)
    for key, value in readings.items():
        if value not in READINGS[key]:
            scheme.wrong(f"readings.{key} is {value!r}, not one of {', '.join(READINGS[key])}")
    if rules[0] in (without := scheme.ids("without", rules)):
        scheme.wrong(f"without names {rules[0]}, on which all others depend")
    return Scheme(
        name=name,
        points={key: scheme.number(f"points.{key}", value) for key, value in points.items()},
        hidden=scheme.ids("hidden", rules),
        without=without,
        readings=readings,
        **{key: scheme.number(f"limits.{key}", value, 1) for key, value in limits.items()},
    )


@dataclass(frozen=True)
class _Parser:
    name: str
    found: Mapping[str, Any]

    def wrong(self, what: str) -> NoReturn:
        raise UsageError(f"the scheme {self.name}: {what}")

    def known(self, where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
        for key in table:
            if key not in keys:
                self.wrong(f"{where}{key} is unknown; there are {', '.join(keys)}")

    def table(self, key: str) -> Mapping[str, Any]:
        found = self.found.get(key, {})
        if not isinstance(found, dict):
            self.wrong(f"{key} is not a table: write [{key}]")
        return dict(found)

    def ids(self, key: str, rules: Sequence[str]) -> frozenset[str]:
        found = self.found.get(key, [])
        if not isinstance(found, list):
            self.wrong(f"{key} is not a list of rules")
        for name in found:
            if name not in rules:
                self.wrong(f"{key} names {name!r}, which is not a rule")
        return frozenset(found)

    def number(self, key: str, value: object, least: float = 0) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value < 1e6
        ):
            self.wrong(f"{key} is {value!r}, not a number from {least:g} on")
        return float(value)
