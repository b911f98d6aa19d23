# SPDX-License-Identifier: GPL-2.0
"""Guest descriptions: the kernels that tests can run on, from ``vm/guests.toml``."""

import os
import platform
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyharness.errors import UsageError
from pyharness.host import bundled

# The guest that is used if none is named; the variable PYHARNESS_GUEST overrides it.
DEFAULT_GUEST = os.environ.get("PYHARNESS_GUEST") or (
    "bookworm-arm64" if platform.machine() == "aarch64" else "bookworm-i386"
)


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """The description of a guest; the head of ``vm/guests.toml`` explains each field."""

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
        """The names of all packages to install, each once, in a stable order."""
        return tuple(sorted({*self.packages, *self.kernel, *self.tools}))

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """What the guest's image depends on; the other fields don't change it."""
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
    """Parse the text of a ``guests.toml`` into guest descriptions, by name.

    Raises:
        UsageError: the text is not TOML, or one of its tables does not describe a guest.
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
    """Read guest descriptions from a file, by name.

    Args:
        path: the file; None for the project's own ``vm/guests.toml``.

    Raises:
        UsageError: the file is not TOML, or one of its tables does not describe a guest.
    """
    return parse((path or bundled.VM / "guests.toml").read_text(encoding="utf-8"))


def find(
    name: str = DEFAULT_GUEST, *, cpus: int | None = None, memory: int | None = None
) -> GuestSpec:
    """The description of a guest in the project's ``vm/guests.toml``.

    Args:
        name: the guest's name.
        cpus: the number of CPUs; None for the number in the description.
        memory: the memory in MiB; None for the size in the description.

    Raises:
        UsageError: there is no such guest; the message lists those that exist.
    """
    known = load()
    if name not in known:
        raise UsageError(f"no guest is called {name!r}; there are: {', '.join(known)}")
    spec = known[name]
    return replace(spec, cpus=cpus or spec.cpus, memory=memory or spec.memory)
