# SPDX-License-Identifier: GPL-2.0
"""The programs that guests need of a host, and the packages that have them: ``vm/host-packages``.

``vm/host-setup`` reads the same table, and installs what is missing.
"""

import platform
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyharness.host import bundled

_TABLE = "host-packages"
_OS_RELEASE = Path("/etc/os-release")
# What host-setup is called with for the needs of a use, where it isn't called without arguments.
_ARGUMENTS = {"arm64": "arm64", "foreign": "arm64", "lint": "lint", "vagrant": "vagrant"}


@dataclass(frozen=True, kw_only=True)
class Need:
    """One line of the table.

    Attributes:
        use: what it is needed for: ``host`` (any guest), an architecture, ``vagrant`` …
        what: a program, ``PROGRAM:MODULE`` for a module of a Python, or the path of a file.
        packages: the package that has it, by family of distributions.
        purpose: what it does here.
    """

    use: str
    what: str
    packages: Mapping[str, str]
    purpose: str


@dataclass(frozen=True)
class Table:
    """All that ``vm/host-packages`` says.

    Attributes:
        needs: its lines.
        install: the command that installs packages, by family of distributions.
    """

    needs: tuple[Need, ...]
    install: Mapping[str, str]

    def family(self, os_release: str) -> str:
        """The family of a distribution, by the text of its ``/etc/os-release``; "" if unknown."""
        values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
        names = " ".join(values.get(name, "").strip("\"' ") for name in ("ID", "ID_LIKE"))
        return next((name for name in names.split() if name in self.install), "")

    def advice(self, missing: Iterable[str], family: str) -> str:
        """How to install what is missing, in half a sentence.

        Args:
            missing: programs, as the table names them.
            family: of the distribution, "" if it is unknown.
        """
        known = {need.what: need for need in self.needs}
        needs = [known[what] for what in missing if what in known]
        packages = sorted({need.packages.get(family, "-") for need in needs})
        if not needs or "-" in packages or not family:
            return "install them by hand, or work in a container (see README.md, Other systems)"
        command = self.install[family].split()[:2]
        arguments = sorted({_ARGUMENTS[need.use] for need in needs if need.use in _ARGUMENTS})
        setup = " ".join(["pyharness setup", *arguments])
        return f"{setup} (or {' '.join([*command, *packages])})"


def parse(text: str) -> Table:
    """The table that a text is; see the head of ``vm/host-packages`` for its form."""
    install, needs = {}, []
    families: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["install", family, *command]:
                install[family] = shlex.join(command)
                families.append(family)
            case [] | ["refresh", *_]:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case [use, what, *rest]:
                packages = dict(zip(families, rest, strict=False))
                purpose = " ".join(rest[len(families) :])
                needs.append(Need(use=use, what=what, packages=packages, purpose=purpose))
    return Table(tuple(needs), install)


@cache
def table() -> Table:
    """The table of the project."""
    return parse((bundled.VM / _TABLE).read_text(encoding="utf-8"))


def for_guest(architecture: str) -> list[Need]:
    """What a guest of that architecture needs of this host, apart from Python itself."""
    uses = {"host", architecture}
    if architecture == "arm64" and platform.machine() != "aarch64":
        uses.add("foreign")
    return [need for need in table().needs if need.use in uses and ":" not in need.what]


def advice(missing: Iterable[str]) -> str:
    """How to install programs that this host lacks, in half a sentence."""
    os_release = _OS_RELEASE.read_text(encoding="utf-8") if _OS_RELEASE.exists() else ""
    return table().advice(missing, table().family(os_release))
