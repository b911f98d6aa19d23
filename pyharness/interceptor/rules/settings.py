# SPDX-License-Identifier: GPL-2.0
"""How modules are checked: in which guest, by which rules and points, and with which seed."""

from collections.abc import Iterable
from dataclasses import dataclass

from pyharness.interceptor.rules import catalogue
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.scheme import Scheme
from pyharness.interceptor.rules.verdict import Report, Verdict
from pyharness.machine import guest_specs


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a module, or each of a class, is checked.

    Attributes:
        guest: the name of the guest.
        scheme: the scheme.
        seed: chooses the random arguments.
        only: the ids of the rules that are decided, besides those that they depend on; all if
            there is none.
    """

    guest: str
    scheme: Scheme
    seed: int
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError if there is no such guest, or a rule of ``only`` can't be decided."""
        _chosen(self)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that are decided, each after those that it depends on."""
        return _chosen(self)

    def report(
        self,
        submission: str,
        problem: str = "",
        *,
        kernel: str = "",
        verdicts: Iterable[Verdict] = (),
    ) -> Report:
        """Return a report about a submission that was checked by these settings.

        Args:
            submission: its name.
            problem: why rules could not be decided, in one sentence.
            kernel: the release of the guest's kernel; empty if no guest was started.
            verdicts: what was decided.
        """
        return Report(
            submission=submission,
            guest=self.guest,
            kernel=kernel,
            scheme=self.scheme.name,
            seed=self.seed,
            verdicts=tuple(verdicts),
            problem=problem,
        )


def _chosen(settings: Settings) -> tuple[Rule, ...]:
    architecture = guest_specs.find(settings.guest).architecture
    return catalogue.chosen(settings.only, settings.scheme.without, architecture)
