# SPDX-License-Identifier: GPL-2.0
"""What is run in which guest, and by which method, in a run over all of them (``--matrix``)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pyharness.machine import guest_specs
from pyharness.machine.guest_specs import GuestSpec

BRIEF = (
    "contract/test_rules.py",
    "contract/test_intercept.py",
    "contract/test_monitoring.py",
    "contract/test_unload.py",
    "contract/test_restart.py",
    "contract/test_methods.py",
    "contract/test_compat_amd64.py",
    "contract/test_compat_arm64.py",
    "contract/test_load.py::test_modinfo_and_build_are_clean",
)
NEIGHBOURS = ("contract/test_neighbours.py",)
# Others who trace or patch the same calls, besides.
CORE = (*BRIEF, *NEIGHBOURS)
# The whole contract, death, and all at once, for kernels that schedule differently.
SOAK = (
    *CORE,
    "contract/test_death.py",
    "contract/test_permissions.py",
    "soak/test_log.py",
    "soak/test_oracle.py",
    "soak/test_races.py",
    "soak/test_storm.py",
)
# What is run, by the name of its extent: folders, files and single tests.
EXTENTS: dict[str, tuple[str, ...]] = {
    "all": ("contract", "harness", "soak"),
    "soak": SOAK,
    "core": CORE,
    "brief": BRIEF,
    "neighbours": NEIGHBOURS,
    "peers": ("soak/test_peers.py",),
    "contract": ("contract", "soak", "harness/test_debug_kernels.py"),
}
# Of each guest; of every other guest, DEFAULT.
EXTENT = {
    "bookworm-i386": "all", "bullseye-i386": "all", "trixie-amd64": "all",
    "bookworm-rt-amd64": "soak", "trixie-rt-amd64": "soak", "bookworm-tools-amd64": "neighbours",
    "bench-trixie-amd64": "peers",
    "bookworm-amd64-debug": "contract", "bookworm-amd64-kcsan": "contract",
    "bookworm-i386-debug": "contract", "trixie-amd64-debug": "contract",
}  # fmt: skip
DEFAULT = "core"
METHODS = ("table", "handler")


def methods_of(spec: GuestSpec) -> tuple[str, ...]:
    """The methods by which the module intercepts in a guest, the one that it needs first."""
    return METHODS if spec.dispatch == "table" else METHODS[1:]


def extent_of(guest: str, matrix: str) -> str:
    """How much is run in a guest.

    Args:
        guest: its name.
        matrix: ``full``, or the name of the extent that all guests have.
    """
    return EXTENT.get(guest, DEFAULT) if matrix == "full" else matrix


def is_in(extent: str, path: PurePath, test: str) -> bool:
    """Whether a test belongs to an extent.

    Args:
        extent: its name.
        path: the file of the test, relative to tests/.
        test: the name of the test's function.
    """
    wanted = (one.partition("::") for one in EXTENTS[extent])
    return any(
        PurePath(file) in (path, *path.parents) and name in ("", test) for file, _, name in wanted
    )


def all_rows() -> list[tuple[str, str, str]]:
    """Guest, method and extent of each row that the table of a full run has."""
    return [
        (spec.name, method, extent_of(spec.name, "full"))
        for spec in guest_specs.load().values()
        for method in methods_of(spec)
    ]


@dataclass(frozen=True)
class Phase:
    """The result of a phase of a test: the guest and the method, its outcome, how long it took."""

    test: str
    guest: str
    method: str
    outcome: str
    seconds: float


def table(phases: Iterable[Phase], kernels: dict[str, str], matrix: str) -> str:
    """The results as a table: a row for each guest and method.

    Args:
        phases: the phases of all tests.
        kernels: the kernel's release of each guest.
        matrix: as extent_of() takes it.
    """
    worst: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    took: dict[tuple[str, str], float] = defaultdict(float)
    for one in phases:
        row = (one.guest, one.method)
        worst[row][one.test] = worst[row].get(one.test, True) and one.outcome != "failed"
        took[row] += one.seconds
    lines = ["| guest | kernel | method | tests | outcome | took |", "|---|---|---|---|---|---|"]
    for guest, method, _ in all_rows():
        tests = worst.get((guest, method))
        if not tests:
            continue
        failed = sum(not passed for passed in tests.values())
        outcome = f"{failed} of {len(tests)} failed" if failed else f"{len(tests)} passed"
        facts: tuple[Any, ...] = (
            f"`{guest}`", kernels.get(guest, "?"), method, extent_of(guest, matrix), outcome,
            f"{took[guest, method] / 60:.0f} min",
        )  # fmt: skip
        lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines)
