# SPDX-License-Identifier: GPL-2.0
"""What a rule takes for proof that a program went well; needs no guest.

The programs run while a module has hooked exit_group(), so that their exit status may be wrong.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import GuestError
from pyharness.interceptor.rules import concurrency, slabs, unloading
from pyharness.interceptor.rules.trial import RuleBroken, Trial
from pyharness.linux.syscalls import Syscalls
from pyharness.transport.ssh import Completed

STATUSES = (0, 1)


class Answering(Trial):
    """A trial whose guest answers each program alike, and in which each command succeeds."""

    def __init__(self, stdout: str, status: int) -> None:
        guest: Any = SimpleNamespace(
            run=lambda *_line, **_options: Completed(
                command="", status=status, stdout=stdout, stderr=""
            ),
            syscalls=Syscalls("i386"),
            facts=SimpleNamespace(cpus=2),
        )
        module: Any = SimpleNamespace(name="it", ko=SimpleNamespace(name="it.ko"), parameters={})
        known: Any = None
        scheme: Any = SimpleNamespace(seconds=3)
        super().__init__(guest, module, known, scheme, "1")

    def program(self, name: str) -> list[str]:
        return [f"/root/{name}", "0,1,2,3,4"]

    def order(self, *_words: Any, **_named: Any) -> int:
        return 0

    def unload(self) -> None:
        pass

    def actor(self, user: str = "root") -> Any:
        return SimpleNamespace(pid=7, user=user)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("said", ["", "round 7: command 1: 2 were served\n", "7 rounds in 2 s\nx"])
def test_a_race_has_to_say_how_many_rounds_it_ran(said: str, status: int) -> None:
    with pytest.raises(RuleBroken) as error:
        concurrency.one_wins(Answering(said, status))
    assert said.strip() in str(error.value)


@pytest.mark.parametrize("status", STATUSES)
def test_a_wrong_exit_status_is_no_fault_of_a_race(status: int) -> None:
    concurrency.one_wins(Answering("20 rounds in 3 s\n", status))


@pytest.fixture
def _memory_is_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "held", lambda _guest: {})
    monkeypatch.setattr(slabs, "wait_back", lambda *_words, **_named: {})


@pytest.mark.usefixtures("_memory_is_constant")
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("said", ["", "cycle 3: rmmod: -1, Device or resource busy\n"])
def test_cycles_have_to_say_how_many_they_were(said: str, status: int) -> None:
    with pytest.raises(RuleBroken) as error:
        unloading.cycles(Answering(said, status))
    assert said.strip() in str(error.value)


@pytest.mark.usefixtures("_memory_is_constant")
@pytest.mark.parametrize("status", STATUSES)
def test_fewer_cycles_than_asked_for_are_not_enough(status: int) -> None:
    with pytest.raises(RuleBroken, match="wanted: 50 cycles"):
        unloading.cycles(Answering("1 cycles\n", status))


MEMORY = """slabinfo - version: 2.1
# name            <active_objs> <num_objs>
kmalloc-64          {count}   700     64   64    1 : tunables    0    0    0 : slabdata
pid                 100   128     64   64    1 : tunables    0    0    0 : slabdata
""" + "".join(f"{name}:  1000 kB\n" for name in slabs._KIB)


@pytest.mark.parametrize("status", STATUSES)
def test_memory_is_compared_whatever_the_exit_status(status: int) -> None:
    outputs = iter((MEMORY.format(count=300), MEMORY.format(count=900)))
    guest: Any = SimpleNamespace(
        run=lambda *_line: Completed(command="", status=status, stdout=next(outputs), stderr=""),
        wait=lambda _what, condition, **_options: condition(),
    )
    before = slabs.held(guest)
    assert slabs.wait_back(guest, before, more={"kmalloc-64": 200, "pid": 200}) == {
        "kmalloc-64": 600
    }


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("said", ["", MEMORY[:200]])
def test_memory_that_is_not_shown_has_not_come_back(said: str, status: int) -> None:
    guest: Any = SimpleNamespace(
        run=lambda *_line: Completed(command="", status=status, stdout=said, stderr=""),
        wait=lambda _what, condition, **_options: condition(),
    )
    with pytest.raises(GuestError, match="what its kernel holds"):
        slabs.wait_back(guest, {"pid": 100}, more={"pid": 200})
