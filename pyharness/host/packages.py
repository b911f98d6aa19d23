# SPDX-License-Identifier: GPL-2.0
"""The host's programs that guests need, and their packages: ``vm/host-packages``.

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
# The argument with which host-setup installs the needs of a use; other uses need no argument.
_ARGUMENTS = {"arm64": "arm64", "browser": "browser", "debug": "debug", "foreign": "arm64",
              "lint": "lint", "vagrant": "vagrant"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Need:
    """One line of the table: something that is looked for on the host.

    Attributes:
        use: what needs it: ``host`` (any guest), an architecture, ``vagrant`` …
        what: a program, ``PROGRAM:MODULE`` for a module of a Python, or the path of a file.
        packages: the package that contains it, by family of distributions; ``-`` if the
            family has none.
        purpose: what it is used for, for people.
    """

    use: str
    what: str
    packages: Mapping[str, str]
    purpose: str


@dataclass(frozen=True)
class Table:
    """The contents of ``vm/host-packages``.

    Attributes:
        needs: one for each line that describes a need.
        install: the command that installs packages, by family of distributions.
    """

    needs: tuple[Need, ...]
    install: Mapping[str, str]

    def family(self, os_release: str) -> str:
        """The family of a distribution; empty if the table has none for it.

        Args:
            os_release: the text of the distribution's ``/etc/os-release``.
        """
        values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
        names = " ".join(values.get(name, "").strip("\"' ") for name in ("ID", "ID_LIKE"))
        return next((name for name in names.split() if name in self.install), "")

    def advice(self, missing: Iterable[str], family: str) -> str:
        """Describe in half a sentence how to install what is missing.

        Args:
            missing: programs, as the table names them.
            family: the family of the distribution; empty if it is unknown.
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
    """Parse a table; the head of ``vm/host-packages`` describes its format."""
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
    """The project's own table, read from ``vm/host-packages``."""
    return parse((bundled.VM / _TABLE).read_text(encoding="utf-8"))


def for_guest(architecture: str) -> list[Need]:
    """The programs and files of this host that a guest needs; modules of a Python are left out.

    Args:
        architecture: the guest's, by Debian's name.
    """
    uses = {"host", architecture}
    if architecture == "arm64" and platform.machine() != "aarch64":
        uses.add("foreign")
    return [need for need in table().needs if need.use in uses and ":" not in need.what]


def advice(missing: Iterable[str]) -> str:
    """Describe in half a sentence how to install programs that this host lacks.

    Args:
        missing: programs, as ``vm/host-packages`` names them.
    """
    os_release = _OS_RELEASE.read_text(encoding="utf-8") if _OS_RELEASE.exists() else ""
    return table().advice(missing, table().family(os_release))
