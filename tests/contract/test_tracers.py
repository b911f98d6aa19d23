# SPDX-License-Identifier: GPL-2.0
"""ftrace, which hooks handlers, while others attach and detach, and after it has given up."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from arch import TRACING, handler_prefix, mount_tracing

from pyharness import Guest, ModuleRefused, interceptor
from pyharness.interceptor import MODULE

CALLS = ("getpgid", "sched_rr_get_interval", "capget")
CALL = CALLS[0]
# From 6.10 on (commit 1a7d0890dd4a), kprobes by way of ftrace are not called once it has given up:
# neither is the one that takes commands, if that is no direct call.
TAKES_COMMANDS = [1, pytest.param(0, marks=pytest.mark.kernel("<6.10"))]
MODULES = Path(__file__).parents[1] / "modules"
KPROBES = "/sys/kernel/debug/kprobes"
NEITHER_DONE = "calls this module, and ftrace has given up"


@pytest.fixture
def handlers(bare_guest: Guest) -> list[str]:
    """The functions that serve CALLS."""
    mount_tracing(bare_guest)
    return [handler_prefix(bare_guest) + call for call in CALLS]


@pytest.fixture
def give_up(bare_guest: Guest) -> Callable[[], None]:
    """Has the guest's ftrace give up."""
    return lambda: bare_guest.load_ko(bare_guest.build(MODULES / "giveup").ko)


def said(guest: Guest, mark: int) -> str:
    return "\n".join(record.text for record in guest.log.since(mark))


def goes_on(guest: Guest) -> bool:
    """Whether the calls are served as ever."""
    actor = guest.actor("nobody")
    return actor.syscall(CALL, actor.pid).errno == 0


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
@pytest.mark.parametrize("direct", TAKES_COMMANDS)
def test_a_call_that_stays_hooked_keeps_the_module(
    bare_guest: Guest, give_up: Callable[[], None], direct: int
) -> None:
    """What can't be taken back is logged, and calls a module that is there."""
    guest = bare_guest
    module = interceptor.load(guest, method="handler", direct=direct)
    assert module.intercept(CALL).value == 0
    assert module.start(CALL).value == 0
    give_up()
    mark = guest.log.mark()
    assert module.release(CALL).errno == errno.ENODEV
    assert NEITHER_DONE in said(guest, mark)
    mark = guest.log.mark()
    assert goes_on(guest)
    assert module.logged(mark) == []
    assert "in use" in guest.run(["rmmod", module.name]).stderr
    assert guest.is_loaded(module.name)
    assert goes_on(guest)


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
@pytest.mark.kernel(">=6.10")
def test_no_command_is_taken_where_ftrace_calls_no_kprobe(
    bare_guest: Guest, give_up: Callable[[], None]
) -> None:
    """All calls are served by the kernel alone, and the module stays."""
    guest = bare_guest
    module = interceptor.load(guest, method="handler", direct=0)
    assert module.intercept(CALL).value == 0
    give_up()
    assert module.release(CALL).errno == errno.EINTR
    assert [found.off for found in module.status().values()] == [True]
    assert goes_on(guest)


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
@pytest.mark.parametrize("direct", [1, 0])
def test_unloading_waits_for_what_stays_hooked(
    bare_guest: Guest, give_up: Callable[[], None], direct: int
) -> None:
    """For ever, and says so again and again."""
    guest = bare_guest
    module = interceptor.load(guest, method="handler", direct=direct)
    assert module.intercept(CALL).value == 0
    give_up()
    mark = guest.log.mark()
    # Nothing ends it, so that it is no actor, whose end is waited for.
    guest.run(f"setsid rmmod {module.name} < /dev/null > /dev/null 2>&1 &").check()
    guest.wait(
        "rmmod to say what it waits for, twice",
        lambda: said(guest, mark).count("can't be given back yet") > 1,
        seconds=40,
    )
    assert NEITHER_DONE in said(guest, mark)
    assert goes_on(guest)
    assert guest.is_loaded(module.name)


# The last step of unloading; this one comes when ftrace has given up meanwhile.
UNWATCH = "	sentinels_unregister_wait();\n	hooks_free();\n"
UNWATCH_LATE = (
    "	while (!handler_ftrace_is_dead())\n		schedule_timeout_idle(1);\n" + UNWATCH
)


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
def test_unloading_waits_for_what_watches_the_hooks(
    bare_guest: Guest,
    give_up: Callable[[], None],
    broken_module: Callable[[str, str, str], Path],
) -> None:
    """It is registered with ftrace and kprobes, too, which would go on with what was freed."""
    guest = bare_guest
    guest.build(MODULES / "giveup")
    folder = broken_module("interceptor.c", UNWATCH, UNWATCH_LATE)
    module = interceptor.load(guest, folder, method="handler")
    assert module.intercept(CALL).value == 0
    mark = guest.log.mark()
    # Nothing ends it, so that it is no actor, whose end is waited for.
    guest.run(f"setsid rmmod {module.name} < /dev/null > /dev/null 2>&1 &").check()
    guest.wait(
        "the hooks to be gone",
        lambda: (
            guest.run("! grep -q '_exit_group' /sys/kernel/debug/tracing/enabled_functions").status
            == 0
        ),
        seconds=30,
    )
    give_up()
    guest.wait(
        "rmmod to say what it waits for, twice",
        lambda: said(guest, mark).count("still have hooks of this module") > 1,
        seconds=40,
    )
    assert guest.is_loaded(module.name)
    # Those who walk the lists of probes find what is there.
    guest.run(f"cat {KPROBES}/list").check()
    assert goes_on(guest)


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
@pytest.mark.kernel("<7.3")  # later, ftrace can't be switched off
def test_a_load_that_is_refused_leaves_ftrace_well(bare_guest: Guest, handlers: list[str]) -> None:
    """Hooks that come and go while ftrace is off make it give up when it is on again (6.1)."""
    guest = bare_guest
    ftrace = "/proc/sys/kernel/ftrace_enabled"
    probe = f"p:after {handlers[0]}"
    guest.build(MODULE)
    guest.run(f"echo 0 > {ftrace}").check()
    mark = guest.log.mark()
    with pytest.raises(ModuleRefused, match="No such device"):
        interceptor.load(guest, method="handler")
    assert "ftrace is off: sysctl kernel.ftrace_enabled=1" in said(guest, mark)
    guest.run(f"echo 1 > {ftrace}").check()
    for line in (f"echo '{probe}' > kprobe_events", "echo 1 > events/kprobes/after/enable",
                 "echo 0 > events/kprobes/after/enable", "echo > kprobe_events"):  # fmt: skip
        guest.run(f"cd {TRACING} && {line}").check()
    interceptor.load(guest, method="handler").unload()


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
# Commands are taken by a direct call where kprobes are off.
@pytest.mark.parametrize(
    ("direct", "kprobes"),
    [
        (1, 1),
        pytest.param(1, 0, marks=pytest.mark.kernel(">=6.1")),
        pytest.param(0, 1, marks=pytest.mark.kernel("<6.10")),
    ],
)
def test_nothing_is_hooked_once_ftrace_has_given_up(
    bare_guest: Guest, give_up: Callable[[], None], direct: int, kprobes: int
) -> None:
    """What could not be taken back would be left."""
    guest = bare_guest
    module = interceptor.load(guest, method="handler", direct=direct)
    guest.run(f"echo {kprobes} > {KPROBES}/enabled").check()
    give_up()
    before = guest.run(f"cat {KPROBES}/list").check().stdout
    mark = guest.log.mark()
    for _ in range(2):
        assert module.intercept(CALL).errno == errno.ENODEV
    assert "ftrace has given up" in said(guest, mark)
    assert module.status() == {}
    assert guest.run(f"cat {KPROBES}/list").check().stdout == before
    assert goes_on(guest)


@pytest.mark.fresh_guest
@pytest.mark.architecture("i386", "amd64")
@pytest.mark.parametrize("kprobes", [1, 0])
def test_it_is_not_loaded_once_ftrace_has_given_up(
    bare_guest: Guest, give_up: Callable[[], None], kprobes: int
) -> None:
    guest = bare_guest
    guest.build(MODULE)
    give_up()
    guest.run(f"echo {kprobes} > {KPROBES}/enabled").check()
    before = guest.run(f"cat {KPROBES}/list").check().stdout
    mark = guest.log.mark()
    with pytest.raises(ModuleRefused, match="No such device"):
        interceptor.load(guest, method="handler")
    assert "ftrace has given up" in said(guest, mark)
    guest.run(f"echo 1 > {KPROBES}/enabled").check()
    now = guest.run(f"cat {KPROBES}/list").check().stdout
    assert len(now.splitlines()) == len(before.splitlines())
    assert goes_on(guest)


def test_a_handler_is_looked_up_once(bare_guest: Guest, handlers: list[str]) -> None:
    """By a kprobe that is never used, for which the kernel waits long."""
    guest = bare_guest
    module = interceptor.load(guest, method="handler")
    guest.run(f"cd {TRACING} && echo register_kprobe > set_ftrace_filter").check()
    seen = []
    try:
        for _ in range(2):
            guest.run(f"cd {TRACING} && echo > trace && echo function > current_tracer").check()
            with module.intercepted(CALL):
                pass
            seen.append(guest.run(f"cat {TRACING}/trace").check().stdout.count("register_kprobe"))
            guest.run(f"cd {TRACING} && echo nop > current_tracer").check()
    finally:
        guest.run(f"echo > {TRACING}/set_ftrace_filter").check()
        module.unload()
    once, again = seen
    assert once > again


# Traces the handlers for a moment, over and over; says so each time.
STORM = """
cd {tracing}
printf '%s\\n' {handlers} > set_ftrace_filter
while :; do
    echo function > current_tracer &&
    echo nop > current_tracer &&
    echo 'p:storm {probed}' > kprobe_events &&
    echo 1 > events/kprobes/storm/enable &&
    echo 0 > events/kprobes/storm/enable &&
    echo > kprobe_events &&
    echo again >> /tmp/storm
done
"""
CALM = """
cd {tracing} && echo nop > current_tracer && echo > set_ftrace_filter
[ ! -e events/kprobes ] || echo 0 > events/kprobes/enable
echo > kprobe_events
"""
ROUNDS = 2


@pytest.mark.test_limit(300)
@pytest.mark.parametrize("direct", [1, 0])
def test_tracers_come_and_go_at_any_moment(
    bare_guest: Guest, handlers: list[str], direct: int
) -> None:
    """While the same functions are hooked, released and unloaded, and called all the time."""
    guest = bare_guest
    guest.build(MODULE)
    callers = [guest.actor("nobody") for _ in range(guest.facts.cpus)]
    for caller in callers:
        caller.begin(CALL, 0, repeat=10**9)
    storm = STORM.format(tracing=TRACING, handlers=" ".join(handlers), probed=handlers[0])
    guest.run("rm -f /tmp/storm; touch /tmp/storm").check()
    tracer = guest.actor()
    tracer.execute("/bin/sh", "-c", storm)

    def traced() -> int:
        return guest.agent.read("/tmp/storm").count("again")

    def wait_for_tracer() -> None:
        before = traced()
        guest.wait("the tracer", lambda: traced() > before, seconds=30)

    for _ in range(ROUNDS):
        module = interceptor.load(guest, method="handler", direct=direct)
        for _ in range(2):
            for call in CALLS:
                assert module.intercept(call).value == 0
            monitored = guest.actor("nobody")
            assert module.start(CALL, monitored.pid).value == 0
            mark = guest.log.mark()
            assert monitored.syscall(CALL, 0).errno == 0
            assert [call.pid for call in module.logged(mark)] == [monitored.pid]
            wait_for_tracer()
            for call in CALLS:
                assert module.release(call).value == 0
        assert module.intercept(CALL).value == 0
        module.unload()
        wait_for_tracer()
    tracer.kill(signal.SIGKILL)
    tracer.reap()
    for caller in callers:
        caller.kill(signal.SIGKILL)
    guest.run(CALM.format(tracing=TRACING)).check()
    assert goes_on(guest)
