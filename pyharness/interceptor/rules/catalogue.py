# SPDX-License-Identifier: GPL-2.0
"""All rules, in the order in which they are decided: each after those that it depends on. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pyharness.errors import UsageError
from pyharness.interceptor.rules import (
    commands,
    concurrency,
    ending,
    loading,
    monitoring,
    unloading,
)
from pyharness.interceptor.rules.rule import Rule

_FILES = (loading, commands, monitoring, ending, concurrency, unloading)
BUILDS = "builds"


def _ordered(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Move rules behind those that they depend on; leave the order as it is otherwise."""
    placed: dict[str, Rule] = {}
    known = {rule.id: rule for rule in rules}

    def place(rule: Rule) -> None:
        for name in rule.after:
            if name not in placed:
                place(known[name])
        placed[rule.id] = rule

    for rule in rules:
        if rule.id not in placed:
            place(rule)
    return tuple(placed.values())


RULES = _ordered([rule for file in _FILES for rule in file.RULES.declared])
IDS = tuple(rule.id for rule in RULES)


def _is_decided_on(rule: Rule, architecture: str) -> bool:
    return not architecture or not rule.architectures or architecture in rule.architectures


def chosen(
    names: Sequence[str], without: Collection[str] = (), architecture: str = ""
) -> tuple[Rule, ...]:
    """Return the rules of some ids, and those that they depend on; all if no id is given.

    What depends on a rule that is left out depends on what that one does.

    Args:
        names: the ids.
        without: the ids of rules that are left out.
        architecture: that of the guest, as Debian names it; rules that can't be decided in such
            a guest are left out. Empty to leave none out.

    Raises:
        UsageError: there is no rule of an id, or it is left out.
    """
    known = {rule.id: rule for rule in RULES}
    wanted: set[str] = set()

    def want(name: str) -> None:
        if name not in known:
            raise UsageError(f"there is no rule {name!r}: pyharness rules lists all")
        if name not in wanted:
            wanted.add(name)
            for other in known[name].after:
                want(other)

    for name in names or IDS:
        want(name)
    for name in names:
        if name in without:
            raise UsageError(f"the scheme leaves the rule {name} out: choose another scheme")
        if not _is_decided_on(known[name], architecture):
            guests = " or ".join(known[name].architectures)
            raise UsageError(
                f"the rule {name} is not decided on {architecture}: choose a guest of {guests}"
            )
    kept = [
        rule
        for rule in RULES
        if rule.id in wanted and rule.id not in without and _is_decided_on(rule, architecture)
    ]
    ids = {rule.id for rule in kept}

    def needed(rule: Rule) -> Iterator[str]:
        for name in rule.after:
            yield from (name,) if name in ids else needed(known[name])

    return tuple(replace(rule, after=tuple(dict.fromkeys(needed(rule)))) for rule in kept)
