# SPDX-License-Identifier: GPL-2.0
"""This project's own module keeps each rule by which ``pyharness check`` checks any module."""

from weakref import WeakKeyDictionary

import pytest

from pyharness import Guest
from pyharness.interceptor import MODULE, Interceptor
from pyharness.interceptor.rules import catalogue, clean_guests, scheme
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.subject import Subject
from pyharness.interceptor.rules.trial import Kernel, Trial

# They repeat at length what others show.
LONG = ("cycles", "storm", "unload-all")


def marks_of(rule: Rule) -> list[pytest.MarkDecorator]:
    cpus = [pytest.mark.cpus(rule.cpus)] if rule.cpus else []
    there = [pytest.mark.architecture(*rule.architectures)] if rule.architectures else []
    return [*cpus, *there, *([pytest.mark.endurance] if rule.id in LONG else [])]


RULES = [
    pytest.param(rule, id=rule.id, marks=marks_of(rule))
    for rule in catalogue.RULES
    if rule.id not in ("builds", "no-warnings")  # of test_load.py
]
# What is known of each guest's kernel.
KERNELS: WeakKeyDictionary[Guest, Kernel] = WeakKeyDictionary()


@pytest.fixture
def kernel(request: pytest.FixtureRequest, guest: Guest) -> Kernel:
    """What is known of the guest's kernel; the module is unloaded where that is found out."""
    if guest not in KERNELS:
        KERNELS[guest] = clean_guests.known(request.getfixturevalue("bare_guest"))
    return KERNELS[guest]


@pytest.mark.variants
@pytest.mark.test_limit(300)
@pytest.mark.parametrize("rule", RULES)
def test_rule(
    kernel: Kernel, module: Interceptor, guest: Guest, parameters: dict[str, str], rule: Rule
) -> None:
    subject = Subject(
        name=module.name,
        ko=guest.build(MODULE).ko,
        interface=module.interface,
        parameters=parameters,
    )
    if not rule.loaded:
        module.unload()
    strict = scheme.load("strict", catalogue.IDS)
    rule.check(Trial(guest, subject, kernel, strict, f"1 {rule.id}"))
