# SPDX-License-Identifier: GPL-2.0
"""What tests have processes of the guest do, and what they wait for."""

import signal
from collections.abc import Callable, Sequence

import pytest

from pyharness import Actor, Guest
from pyharness.linux.syscalls import SyscallName

# How long sleeps are to last, one after another, until one was stopped before its end.
_SLEEP_SECONDS = (1, 4, 16, 64)


def uptime(guest: Guest) -> float:
    """The guest's own clock, in seconds since its boot."""
    return float(guest.agent.read("/proc/uptime").split()[0])


def is_asleep(guest: Guest, actor: Actor, call: SyscallName) -> bool:
    """Whether it sleeps in that system call."""
    inside = guest.agent.read(f"/proc/{actor.pid}/syscall").split()[0]
    return inside == str(guest.syscalls.ref(call).number)


def wait_for_state(guest: Guest, state: str, actors: Sequence[Actor]) -> None:
    """Wait until each is in that state, by its letter in /proc/PID/stat."""
    guest.wait(
        f"state {state}", lambda: all(guest.agent.state(actor.pid) == state for actor in actors)
    )


def stop_and_continue(guest: Guest, *actors: Actor) -> None:
    """Stop processes by SIGSTOP, and let them go on when all have stopped."""
    for actor in actors:
        actor.kill(signal.SIGSTOP)
    wait_for_state(guest, "T", actors)
    for actor in actors:
        actor.kill(signal.SIGCONT)


def sleep_through_a_stop(guest: Guest, actor: Actor, begin: Callable[[int], None]) -> int:
    """Have an actor sleep, and stop and continue it before the sleep ends.

    Args:
        guest: the guest.
        actor: the process that sleeps.
        begin: has it begin a sleep of so many seconds, which returns 0.

    Returns:
        How many seconds it slept.
    """
    for seconds in _SLEEP_SECONDS:
        end = uptime(guest) + seconds
        begin(seconds)
        wait_for_state(guest, "S", [actor])
        stop_and_continue(guest, actor)
        in_time = uptime(guest) < end
        result = actor.finish(guest.limit(2 * seconds + 10))
        assert (result.errno, result.value) == (0, 0)
        if in_time:
            return seconds
    pytest.fail("no sleep was long enough to be stopped before its end")


def drop_capabilities(actor: Actor) -> None:
    """Have an actor do without any: it stays user 0, as root of a container does."""
    version = 0x20080522
    header = b"".join(value.to_bytes(4, "little") for value in (version, 0))
    assert actor.syscall("capset", header, bytes(24)).errno == 0
