# SPDX-License-Identifier: GPL-2.0
"""The table of what ``pyharness bench --peers`` measures, from ``inside/peers.toml``."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pyharness.errors import UsageError

_FILE = Path(__file__).with_name("inside") / "peers.toml"
OURS = "ours"
_GROUPS = (OURS, "peers")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a row needs in the guest.

    Attributes:
        test: a shell command that succeeds if the guest has it.
        missing: what to say if the guest does not.
    """

    test: str
    missing: str


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """A way to record the system calls of one process; the head of peers.toml has each field."""

    name: str
    title: str
    group: str = "peers"
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    parameter: str = ""
    setup: str = ""
    wrapper: str = ""
    start: str = ""
    daemon: str = ""
    ready: str = ""
    proof: str = ""
    stop: str = ""
    teardown: str = ""
    leaves: str = ""


_TYPES = {field.name: field.type for field in fields(PeerRow) if field.name != "name"}


def _value(where: str, key: str, value: Any) -> Any:
    """The value of a key as a PeerRow has it."""
    if key == "needs":
        keys = {"test", "missing"}
        if isinstance(value, list) and all(
            isinstance(need, dict) and need.keys() == keys for need in value
        ):
            return tuple(Need(**need) for need in value)
    elif _TYPES[key] is str and isinstance(value, str):
        return value
    elif (
        _TYPES[key] is not str
        and isinstance(value, list)
        and all(isinstance(one, str) for one in value)
    ):
        return tuple(value)
    raise UsageError(f"{where}: {key} = {value!r} is not of the right type")


def parse(text: str) -> list[PeerRow]:
    """Parse the text of a peers.toml.

    Returns:
        The rows, in the order of the text.

    Raises:
        UsageError: the text is not TOML, or a table does not describe a row.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"peers.toml: {error}") from error
    rows = []
    for name, table in tables.items():
        where = f"peers.toml: {name}"
        if not isinstance(table, dict):
            raise UsageError(f"{where}: {table!r} is not a table")
        if unknown := table.keys() - _TYPES.keys():
            raise UsageError(f"{where}: unknown key {min(unknown)!r}")
        row = PeerRow(
            name=name, **{"title": name} | {k: _value(where, k, v) for k, v in table.items()}
        )
        if row.group not in _GROUPS:
            raise UsageError(f"{where}: group is {row.group!r}, not one of {', '.join(_GROUPS)}")
        if not (row.start or row.daemon or row.setup or row.wrapper):
            raise UsageError(f"{where}: nothing starts it: it needs one of the keys that do")
        rows.append(row)
    return rows


def load() -> list[PeerRow]:
    """The rows of this project's own table."""
    return parse(_FILE.read_text(encoding="utf-8"))


def applicable(rows: Iterable[PeerRow], parameters: Iterable[str]) -> list[PeerRow]:
    """Leave out the rows that need a parameter that the module lacks.

    Args:
        rows: the rows.
        parameters: the names of the module's parameters.
    """
    known = {"", *parameters}
    return [row for row in rows if row.parameter in known]


def check_parameters(rows: Iterable[PeerRow], parameters: Iterable[str]) -> None:
    """Check that the module has the parameter that each row needs, for rows that a user has named.

    Raises:
        UsageError: it lacks one.
    """
    known = {"", *parameters}
    for row in rows:
        if row.parameter not in known:
            raise UsageError(f"{row.name} needs a module with the parameter {row.parameter!r}")


def chosen(rows: Sequence[PeerRow], names: Sequence[str]) -> list[PeerRow]:
    """The rows with some names, in the order of the table; all rows if there is no name.

    Raises:
        UsageError: no row has one of the names; the message lists those that there are.
    """
    there = [row.name for row in rows]
    for name in names:
        if name not in there:
            raise UsageError(f"no peer is called {name!r}; there are: {', '.join(there)}")
    return [row for row in rows if not names or row.name in names]
