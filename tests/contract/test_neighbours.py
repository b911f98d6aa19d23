# SPDX-License-Identifier: GPL-2.0
"""Others who look at the same calls: both do their work, whoever came first and goes first."""

from collections.abc import Callable

import pytest
from arch import hooked, hooked_by, logged
from neighbours import CALL, NEIGHBOURS, ONLY, Fentry, Neighbour

from pyharness import Guest, ModuleRefused, interceptor
from pyharness.interceptor import Interceptor

# By what handlers are hooked, where the kernel has both; with 1, --method decides.
DIRECT = (1, 0)


@pytest.fixture
def parameters_of(parameters: dict[str, str]) -> Callable[[int], dict[str, str | int]]:
    """What the module is loaded with, to hook by that means."""
    return lambda direct: {
        "method": parameters["method"] if direct else "handler",
        "direct": direct,
    }


def logged_once(guest: Guest, neighbour: Neighbour, session: int, *, lines: int = 1) -> None:
    """Have the actor issue CALL: it gets its result, and there is one line."""
    mark = guest.log.mark()
    assert neighbour.call() == session
    pid, number = neighbour.actor.pid, guest.syscalls.number(CALL)
    calls = [(c.syscall.number, c.args[0]) for c in logged(guest, mark) if c.pid == pid]
    assert calls == [(number, 0)] * lines


def seen_once(neighbour: Neighbour, act: Callable[[], None]) -> None:
    """See that the neighbour notices the one call of what is done."""
    before = neighbour.seen()
    act()
    neighbour.guest.wait(f"1 more than {before} calls seen", lambda: neighbour.seen() > before)
    assert neighbour.seen() == before + 1


@pytest.mark.parametrize("direct", DIRECT)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=ONLY.get(name, ())) for name in NEIGHBOURS]
)
def test_a_neighbour_comes_and_goes(
    bare_guest: Guest,
    compiled: Callable[..., str],
    parameters_of: Callable[[int], dict[str, str | int]],
    name: str,
    direct: int,
) -> None:
    """It is there first, goes and comes while the call is monitored, comes second, and stays."""
    guest = bare_guest
    alone = hooked(guest)
    neighbour = NEIGHBOURS[name](guest, compiled)
    session = neighbour.call()

    neighbour.start()
    there = hooked(guest)
    seen_once(neighbour, lambda: logged_once(guest, neighbour, session, lines=0))

    module = interceptor.load(guest, **parameters_of(direct))
    by_kprobes = hooked_by(guest) == "kprobe"  # also where the kernel has no direct calls
    second = neighbour.second_to_kprobes if by_kprobes else neighbour.second_to_direct
    monitor(module, neighbour)
    seen_once(neighbour, lambda: logged_once(guest, neighbour, session))
    neighbour.stop()
    logged_once(guest, neighbour, session)
    for again in (False, True):
        if again and not second:
            break
        if again:  # nobody is there when the call is intercepted
            neighbour.stop()
            assert module.release(CALL).value == 0
            monitor(module, neighbour)
        neighbour.start()
        seen_once(neighbour, lambda: logged_once(guest, neighbour, session))
    assert not is_off(module)

    module.unload()
    assert hooked(guest) == there
    seen_once(neighbour, lambda: logged_once(guest, neighbour, session, lines=0))
    neighbour.stop()
    assert hooked(guest) == alone
    logged_once(guest, neighbour, session, lines=0)


@pytest.mark.tools
def test_a_second_direct_call_is_refused(
    bare_guest: Guest,
    compiled: Callable[..., str],
    parameters_of: Callable[[int], dict[str, str | int]],
) -> None:
    """A BPF program of type fentry is refused by the kernel until the call is released."""
    guest = bare_guest
    neighbour = Fentry(guest, compiled)
    session = neighbour.call()
    module = interceptor.load(guest, **parameters_of(1))
    monitor(module, neighbour)
    assert neighbour.is_refused()
    logged_once(guest, neighbour, session)
    assert not is_off(module)
    assert module.release(CALL).value == 0
    neighbour.start()
    monitor(module, neighbour)
    seen_once(neighbour, lambda: logged_once(guest, neighbour, session))
    neighbour.stop()
    module.unload()


# What can be switched off by anybody, and what the module then says to be loaded with.
SWITCHES = {
    "ftrace": ("/proc/sys/kernel/ftrace_enabled", "sysctl kernel.ftrace_enabled=1"),
    "kprobes": ("/sys/kernel/debug/kprobes/enabled", "echo 1 > /sys/kernel/debug/kprobes/enabled"),
}


@pytest.mark.parametrize("direct", DIRECT)
@pytest.mark.parametrize("switch", SWITCHES)
def test_what_it_needs_is_switched_off(
    bare_guest: Guest,
    compiled: Callable[..., str],
    parameters_of: Callable[[int], dict[str, str | int]],
    switch: str,
    direct: int,
) -> None:
    """It keeps that on, or says that it is off, and works again with it; without it, no loading."""
    guest = bare_guest
    path, advice = SWITCHES[switch]
    neighbour = Neighbour(guest, compiled)
    session = neighbour.call()
    module = interceptor.load(guest, **parameters_of(direct))
    monitor(module, neighbour)
    by = hooked_by(guest)
    on_ftrace = by != "table" and guest.facts.architecture != "arm64"
    needed = on_ftrace if switch == "ftrace" else by == "kprobe"
    try:
        off = guest.run(f"echo 0 > {path}").status == 0
        assert not (off and needed and switch == "ftrace")
        works = not (off and needed)
        logged_once(guest, neighbour, session, lines=int(works))
        assert is_off(module) == (not works)
        guest.run(f"echo 1 > {path}")
        logged_once(guest, neighbour, session)
        assert not is_off(module)

        guest.run(f"echo 0 > {path}")
        module.unload()
        off = guest.run(f"echo 0 > {path}").status == 0
        mark = guest.log.mark()
        if off and needed:
            with pytest.raises(ModuleRefused, match="No such device"):
                interceptor.load(guest, **parameters_of(direct))
            said = [r.text for r in guest.log.since(mark) if "interceptor: not" in r.text]
            assert len(said) == 1
            assert advice in said[0]
        else:
            interceptor.load(guest, **parameters_of(direct)).unload()
    finally:
        guest.run(f"echo 1 > {path}")
    interceptor.load(guest, **parameters_of(direct)).unload()


def monitor(module: Interceptor, neighbour: Neighbour) -> None:
    """Have the actor's calls logged."""
    assert module.intercept(CALL).value == 0
    assert module.start(CALL, neighbour.actor.pid).value == 0


def is_off(module: Interceptor) -> bool:
    """Whether the status file says that CALL is not intercepted for now."""
    return module.status()[module.guest.syscalls.ref(CALL)].off
