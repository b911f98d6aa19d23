# SPDX-License-Identifier: GPL-2.0
"""A rule of the assignment, and how one is declared. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from pyharness.interceptor.rules.trial import Trial

Check = Callable[[Trial], None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of the assignment.

    Attributes:
        id: its name, such as ``intercept-twice``.
        title: the rule in a sentence.
        check: tries the module; raises RuleBroken if it breaks the rule.
        points: what the rule earns, unless a scheme says otherwise; 0 for one beyond the
            assignment.
        after: the ids of the rules that must hold before this one can be decided.
        bonus: whether its points are on top of the total.
        loaded: whether the module is loaded before the check.
        cpus: the number of CPUs that the guest needs; 0 for as many as usual.
        architectures: those of the guests that the rule can be decided in; empty for all.
    """

    id: str
    title: str
    check: Check
    points: float
    after: tuple[str, ...]
    bonus: bool = False
    loaded: bool = True
    cpus: int = 0
    architectures: tuple[str, ...] = ()


class Rules:
    """The rules that one file declares, in its order."""

    def __init__(self) -> None:
        """Make an empty list; rule() fills it."""
        self.declared: list[Rule] = []

    def rule(
        self,
        name: str,
        points: float,
        *after: str,
        bonus: bool = False,
        loaded: bool = True,
        cpus: int = 0,
        architectures: tuple[str, ...] = (),
    ) -> Callable[[Check], Check]:
        """Declare the decorated function as the check of a rule; its docstring is the title.

        Args:
            name: the rule's id.
            points: what it earns.
            *after: the ids of the rules that must hold before it can be decided.
            bonus: whether its points are on top of the total.
            loaded: whether the module is loaded before the check.
            cpus: the number of CPUs that the guest needs; 0 for as many as usual.
            architectures: those of the guests that it can be decided in; empty for all.
        """

        def declare(check: Check) -> Check:
            title = " ".join((check.__doc__ or "").split())
            self.declared.append(
                Rule(
                    id=name,
                    title=title,
                    check=check,
                    points=points,
                    after=after,
                    bonus=bonus,
                    loaded=loaded,
                    cpus=cpus,
                    architectures=architectures,
                )
            )
            return check

        return declare
