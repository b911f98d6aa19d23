# SPDX-License-Identifier: GPL-2.0
"""Guest descriptions: which kernels there are to test on, from ``vm/guests.toml``. Pure."""

import os
import platform
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyharness.errors import UsageError
from pyharness.host import bundled

# PYHARNESS_GUEST names another.
DEFAULT_GUEST = os.environ.get("PYHARNESS_GUEST") or (
    "bookworm-arm64" if platform.machine() == "aarch64" else "bookworm-i386"
)


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """What a guest is made of; see ``vm/guests.toml`` for each field."""

    name: str
    suite: str
    architecture: str
    syscalls: str
    kernel: tuple[str, ...]
    packages: tuple[str, ...]
    tools: tuple[str, ...]
    qemu: str
    machine: str
    cpu: str
    console: str
    panic: str
    dispatch: str
    memory: int
    disk: int
    cpus: int

    @property
    def all_packages(self) -> tuple[str, ...]:
        """Every package to install by name, each once, in a stable order."""
        return tuple(sorted({*self.packages, *self.kernel, *self.tools}))

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """What its image is made from; the rest is said to QEMU."""
        return (self.name, self.suite, self.architecture, *self.all_packages, str(self.disk))


def _spec(name: str, table: dict[str, Any]) -> GuestSpec:
    known = {field.name: field.type for field in fields(GuestSpec)}
    if unknown := table.keys() - known.keys():
        raise UsageError(f"guest {name}: unknown key {min(unknown)!r}; see the head of guests.toml")
    if missing := known.keys() - table.keys() - {"name"}:
        raise UsageError(f"guest {name}: key {min(missing)!r} is missing")
    values: dict[str, Any] = {}
    for key, value in table.items():
        tuples = known[key] == tuple[str, ...]
        wanted = list if tuples else known[key]
        if type(value) is not wanted or (tuples and not all(type(v) is str for v in value)):
            raise UsageError(f"guest {name}: {key} = {value!r} is not of the right type")
        values[key] = tuple(value) if tuples else value
    return GuestSpec(name=name, **values)


def parse(text: str) -> dict[str, GuestSpec]:
    """Guest descriptions by name.

    Raises:
        UsageError: a table isn't a guest's description.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"guests.toml: {error}") from error
    defaults = tables.pop("defaults", {})
    architectures = tables.pop("architectures", {})
    specs = {}
    for name, table in tables.items():
        like = table.pop("like", None)
        if like is not None and like not in architectures:
            raise UsageError(f"guest {name}: there is no [architectures.{like}]")
        specs[name] = _spec(name, defaults | architectures.get(like, {}) | table)
    return specs


def load(path: Path | None = None) -> dict[str, GuestSpec]:
    """The guests of a file, by default the project's own."""
    return parse((path or bundled.VM / "guests.toml").read_text(encoding="utf-8"))


def find(
    name: str = DEFAULT_GUEST, *, cpus: int | None = None, memory: int | None = None
) -> GuestSpec:
    """The guest of that name.

    Args:
        name: its name.
        cpus: how many it is to have, if not as many as its description says.
        memory: likewise, in MiB.

    Raises:
        UsageError: there is none; the message has those there are.
    """
    known = load()
    if name not in known:
        raise UsageError(f"no guest is called {name!r}; there are: {', '.join(known)}")
    spec = known[name]
    return replace(spec, cpus=cpus or spec.cpus, memory=memory or spec.memory)
