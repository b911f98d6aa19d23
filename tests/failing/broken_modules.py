# SPDX-License-Identifier: GPL-2.0
"""What test_recovery.py runs: a test that a broken module fails, and one after it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from broken import BROKEN, write

from pyharness import Actor, CheckFailed, Guest, interceptor
from pyharness.interceptor import Interceptor
from pyharness.interceptor.rules.slabs import held, wait_back

CALL = "sched_rr_get_interval"


def command(module: Interceptor, actor: Actor) -> None:
    module.start(CALL, actor.pid, by=actor)


def call(module: Interceptor, actor: Actor) -> None:
    module.start(CALL, actor.pid)
    actor.syscall(CALL, actor.pid, 0)


def unload(module: Interceptor, actor: Actor) -> None:
    module.unload()


def release(module: Interceptor, actor: Actor) -> None:
    module.release(CALL)
    module.release(CALL)


def unload_under_a_sleeper(module: Interceptor, actor: Actor) -> None:
    module.start(CALL, actor.pid)
    actor.begin(CALL, actor.pid, 0)
    module.guest.wait(
        "the sleep", lambda: "msleep" in module.guest.agent.read(f"/proc/{actor.pid}/stack")
    )
    module.unload()
    actor.finish()


def calls(module: Interceptor, actor: Actor) -> None:
    module.start(CALL, actor.pid)
    before = held(module.guest)
    actor.syscall(CALL, actor.pid, 0, repeat=2000)
    assert not wait_back(module.guest, before, more={"kmalloc-512": 500}, seconds=2)


TRIGGERS: dict[str, Callable[[Interceptor, Actor], None]] = {
    "null dereference in a command": command,
    "null dereference in the interceptor": call,
    "null dereference at unload": unload,
    "lock never released": release,
    "loop that reschedules": command,
    "loop with interrupts off": command,
    "loop with interrupts off on all CPUs": command,
    "sleep under a spinlock": command,
    "return to freed text": unload_under_a_sleeper,
    "stack overflow": call,
    "double fault": call,
    "wrong value": command,
    "memory leak": calls,
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_broken(
    guest: Guest,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    parameters: dict[str, str],
    name: str,
) -> None:
    folder = write(tmp_path / "module", *BROKEN[name])
    built = guest.build(folder)
    guest.load_ko(built.ko, **parameters)
    module = interceptor.attach(guest, folder, built.name)
    begin = guest.clock()
    try:
        Interceptor.expect(module.intercept(CALL), 0, f"intercept {CALL}")
        TRIGGERS[name](module, guest.actor("nobody"))
    finally:
        record_property("seconds", guest.clock() - begin)


def test_after(guest: Guest, parameters: dict[str, str]) -> None:
    assert not guest.is_loaded("interceptor")
    module = interceptor.load(guest, **parameters)
    try:
        call(module, guest.actor("nobody"))
    except CheckFailed:
        pytest.fail("the module that is not broken fails")
    module.unload()
