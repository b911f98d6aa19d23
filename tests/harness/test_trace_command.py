# SPDX-License-Identifier: GPL-2.0
"""What trace shows of a command by the module's trace events, and what it leaves behind."""

import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from arch import TRACING, mount_tracing

from pyharness import Guest, UsageError
from pyharness.guest.agent import Agent
from pyharness.interceptor import Interceptor, trace
from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall

INSTANCES = f"{TRACING}/instances"
EVENTS = f"{TRACING}/events/interceptor"
# Forks, fails to open a file, and pipes between two programs in a subshell.
FORKS = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", "cat /nosuch; (ls / | wc -l) & wait"]
CALLS = "execve,openat"
# The traced command has LC_CTYPE from the guest's Python, which starts it.
LOCALE = "LC_CTYPE=C.UTF-8"
# A line of strace -f -o: the call may have been resumed.
STRACE = re.compile(r"\d+ +(?:<\.\.\. )?(\w+)(?: resumed>|\().* = (-?)\w+(?: (E\w+))?.*")


@pytest.fixture(autouse=True)
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture
def run(guest: Guest, module: Interceptor) -> Callable[..., list[TracedCall]]:
    """Traces a command, and returns its calls."""

    def traced(calls: str, *argv: str, **options: Any) -> list[TracedCall]:
        found: list[TracedCall] = []
        show = options.pop("show", found.append)

        def show_calls(one: Traced) -> None:
            if isinstance(one, TracedCall):
                show(one)

        trace.trace(guest, module, calls.split(","), argv, show=show_calls, **options)
        return found

    return traced


@contextmanager
def no_events(guest: Guest) -> Iterator[None]:
    """Hide the module's events from a program that looks for them."""
    mount_tracing(guest)
    guest.run(f"mount -t tmpfs none {EVENTS}").check()
    try:
        yield
    finally:
        guest.run(f"umount {EVENTS}").check()


@contextmanager
def default_interrupts() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt, even if it is ignored here (nohup, &)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_signal_is_ignored(guest: Guest, module: Interceptor, user: str) -> None:
    """As Python ignores some, which runs the commands: a pipe that nobody reads ends a command."""
    folder = guest.run("mktemp -d", user=user).check().stdout.strip()

    def argv(name: str) -> list[str]:
        ignored = "sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status"
        return [
            "/bin/sh",
            "-c",
            f"{ignored} > {folder}/.{name}; mv {folder}/.{name} {folder}/{name}",
        ]

    trace.trace(guest, module, ["getpgid"], argv("traced"), user=user, show=print)
    guest.actor(user).execute(*argv("executed"))
    guest.wait(
        "both programs to end", lambda: guest.run(f"ls {folder}").stdout == "executed\ntraced\n"
    )
    assert {*guest.run(f"cat {folder}/*").stdout.split()} == {"0" * 16}


def instances(guest: Guest) -> list[str]:
    return guest.run(f"ls {INSTANCES}").check().stdout.split()


def check_restored(guest: Guest, module: Interceptor) -> None:
    assert module.parameter("log") == "printk"
    assert instances(guest) == []


def test_each_call_has_its_result(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    calls = run("brk,mkdir,exit_group", "mkdir", "/tmp", "/tmp/new")
    assert [(call.name, call.result) for call in calls if call.name != "brk"] == [
        ("mkdir", "-1 EEXIST"),
        ("mkdir", "0"),
        ("exit_group", "?"),
    ]
    assert re.fullmatch("0x[0-9a-f]+", calls[0].result or "")  # the dynamic linker's first brk
    assert all(call.took_microseconds is not None for call in calls[:-1])
    guest.run(["rmdir", "/tmp/new"]).check()
    check_restored(guest, module)


def test_results_in_octal_and_names_of_errors(run: Callable[..., list[TracedCall]]) -> None:
    """A file in /proc has no extended attributes."""
    program = (
        "import os\n"
        "os.umask(0o27), os.umask(0)\n"
        "try: os.getxattr('/proc/version', 'user.x')\n"
        "except OSError: pass\n"
    )
    calls = run("umask,getxattr", "python3", "-ISc", program)
    assert [call.result for call in calls][-2:] == ["027", "-1 EOPNOTSUPP"]


def test_an_interrupted_call_says_so(guest: Guest, run: Callable[..., list[TracedCall]]) -> None:
    program = "import signal; signal.alarm(1); signal.signal(14, print); signal.pause()"
    calls = run("pause,ppoll", "python3", "-ISc", program)
    assert calls[-1].result == "? ERESTARTNOHAND (To be restarted if no handler)"
    assert calls[-1].took_microseconds
    assert calls[-1].took_microseconds > 500_000


def test_children_are_followed_as_strace_follows_them(
    guest: Guest, run: Callable[..., list[TracedCall]]
) -> None:
    if guest.run("command -v strace").status:
        pytest.skip("the guest has no strace")
    guest.run(
        ["env", LOCALE, "strace", "-f", "-o", "/tmp/strace", "-e", f"trace={CALLS}", *FORKS]
    ).check()
    lines = guest.get("/tmp/strace").decode().splitlines()
    matches = [found for line in lines if (found := STRACE.fullmatch(line))]
    wanted = Counter((found[1], bool(found[2]), found[3] or "") for found in matches)
    wanted["execve", False, ""] -= 1  # that of the command itself is before it is traced
    calls = run(CALLS, *FORKS, follow=True)
    words = [(call.name, call.failed, (call.result or "").split()) for call in calls]
    assert Counter((name, bad, word[-1] if bad else "") for name, bad, word in words) == wanted
    assert len({call.thread for call in calls}) > 3


def test_a_command_that_reads_late_gets_all_input(
    guest: Guest,
    run: Callable[..., list[TracedCall]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than the SSH channel and a pipe hold."""
    data = tmp_path / "input"
    data.write_bytes(bytes(4_000_001))
    with data.open(encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdin", file)
        run("mkdir", "sh", "-c", "sleep 1; wc -c > /tmp/size")
    assert guest.run("cat /tmp/size; rm /tmp/size").stdout == "4000001\n"


def test_a_process_that_the_command_leaves_behind_is_not_waited_for(
    guest: Guest, run: Callable[..., list[TracedCall]], capfd: pytest.CaptureFixture[str]
) -> None:
    """What the command has written arrives."""
    run("mkdir", "sh", "-c", "sleep 1001 & head -c 500000 /dev/zero | tr '\\0' x")
    assert capfd.readouterr().out == "x" * 500_000
    guest.run("kill $(ps -eo pid,args | awk '/[s]leep 1001/ {print $1}')").check()


def test_threads_are_known_by_their_process(run: Callable[..., list[TracedCall]]) -> None:
    program = (
        "import os, threading; t = threading.Thread(target=os.getppid); t.start(); t.join();"
        "os.fork() or os.getppid()"
    )
    calls = run("getppid", "python3", "-ISc", program, follow=True)
    (one, other) = calls
    assert one.process != one.thread
    assert other.process == other.thread != one.process


def test_others_are_not_shown(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    with module.intercepted("mkdir"):
        module.expect(module.start("mkdir", 0), 0, "start")
        child = "mkdir /tmp 2>/dev/null; exec mkdir /tmp"
        (own,) = run("mkdir", "sh", "-c", child)
        assert own.result == "-1 EEXIST"
        assert len(run("mkdir", "sh", "-c", child, follow=True)) == 2


@pytest.mark.parametrize("before", [False, True])
def test_threads_of_the_command_are_shown(
    module: Interceptor, run: Callable[..., list[TracedCall]], before: bool
) -> None:
    """Also if the call was intercepted before; those of a child process are not."""
    program = (
        "import os, threading; t = threading.Thread(target=os.getppid); t.start(); t.join();"
        "os.fork() or os.getppid()"
    )
    with module.intercepted("getppid") if before else nullcontext():
        (call,) = run("getppid", "python3", "-ISc", program)
    assert call.thread != call.process


def test_an_exec_has_its_result_whichever_thread_calls_it(
    run: Callable[..., list[TracedCall]],
) -> None:
    """Also by descriptor, which is execveat."""
    program = (
        "import os, threading; f = os.open('/bin/true', os.O_RDONLY);"
        "threading.Thread(target=os.execve, args=({}, ['true'], {{}})).start(); os.read(0, 1)"
    )
    for file, calls in (("f", "execveat"), ("'/bin/true'", "execve")):
        (call,) = run(calls, "python3", "-ISc", program.format(file))
        assert call.result == "0"
        assert call.thread != call.process


@pytest.mark.parametrize(("others", "during"), [(False, "event"), (True, "both")])
def test_log_is_changed_for_the_time(
    guest: Guest,
    module: Interceptor,
    run: Callable[..., list[TracedCall]],
    others: bool,
    during: str,
) -> None:
    seen = []
    with module.intercepted("getpid"):
        if others:
            module.expect(module.start("getpid", guest.root.pid), 0, "start")
        run("mkdir", "mkdir", "/tmp", show=lambda _call: seen.append(module.parameter("log")))
    assert seen == [during]
    check_restored(guest, module)


def test_two_at_once(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    """The one that ends last restores the parameter."""
    inner: list[str] = []

    def show(call: TracedCall) -> None:
        if call.name == "mkdir":
            inner.extend(other.name for other in run("rmdir", "rmdir", "/tmp/nosuch"))
            assert module.parameter("log") == "event"

    run("mkdir,rmdir", "sh", "-c", "exec mkdir /tmp", show=show)
    assert inner == ["rmdir"]
    check_restored(guest, module)


@pytest.mark.parametrize("ended", ["released", "stopped"])
def test_that_somebody_else_ended_the_monitoring_is_said(
    module: Interceptor, run: Callable[..., list[TracedCall]], ended: str
) -> None:
    noted: list[str] = []

    def end(_call: TracedCall) -> None:
        if ended == "released":
            module.expect(module.release("mkdir"), 0, "release")
        else:
            module.expect(module.stop("mkdir", 0), 0, "stop")

    run("mkdir", "sh", "-c", "mkdir /tmp; sleep 0.1", show=end, note=noted.append, follow=True)
    assert noted == ["somebody else has ended the monitoring of mkdir: calls may be missing"]


@pytest.mark.parametrize("mode", ["nobody", "listed", "everybody", "everybody-except"])
def test_who_is_monitored_stays_so(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]], mode: str
) -> None:
    pid = guest.root.pid
    with module.intercepted("mkdir"):
        if mode != "nobody":
            module.expect(module.start("mkdir", pid if mode == "listed" else 0), 0, "start")
        if mode == "everybody-except":
            module.expect(module.stop("mkdir", pid), 0, "stop")
        before = module.status()
        assert len(run("mkdir", "sh", "-c", "mkdir /tmp; mkdir /tmp", follow=True)) == 2
        assert module.status() == before
    check_restored(guest, module)


def test_an_interrupt_leaves_nothing(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    with default_interrupts(), pytest.raises(KeyboardInterrupt):
        run(
            *("write", "sh", "-c", "echo on; sleep 1000"),
            show=lambda _call: signal.raise_signal(signal.SIGINT),
            follow=True,
        )
    assert module.status() == {}
    check_restored(guest, module)
    assert "sleep 1000" not in guest.run(["ps", "-eo", "args"]).stdout


def test_an_interrupt_ends_what_is_followed(
    guest: Guest, run: Callable[..., list[TracedCall]]
) -> None:
    """Also in a session of its own."""

    def sleeps() -> bool:
        return "sleep 1000" in guest.run(["ps", "-eo", "args"]).stdout.splitlines()

    def show(_call: TracedCall) -> None:
        guest.wait("it sleeps", sleeps)
        signal.raise_signal(signal.SIGINT)

    with default_interrupts(), pytest.raises(KeyboardInterrupt):
        run("mkdir", "sh", "-c", "setsid sleep 1000 & mkdir /tmp; wait", show=show, follow=True)
    assert not sleeps()


def test_an_interrupt_shows_the_call_that_the_command_is_inside(
    guest: Guest, run: Callable[..., list[TracedCall]]
) -> None:
    found: list[TracedCall] = []

    def show(call: TracedCall) -> None:
        found.append(call)
        if call.name == "getppid":
            guest.wait("it is inside", lambda: guest.agent.state(call.thread) == "S")
            signal.raise_signal(signal.SIGINT)

    program = "import os, signal; os.getppid(); signal.pause()"
    with default_interrupts(), pytest.raises(KeyboardInterrupt):
        run("getppid,pause,ppoll", "python3", "-ISc", program, show=show)
    assert [call.name for call in found] in (["getppid", "pause"], ["getppid", "ppoll"])
    assert str(found[-1].result).startswith("?")


def test_a_run_that_was_killed_is_cleaned_up_after(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    mount_tracing(guest)
    guest.run(f"mkdir {INSTANCES}/pyharness-4194304-printk {INSTANCES}/other").check()
    guest.run(f"echo event > /sys/module/{module.name}/parameters/log").check()
    assert run("mkdir", "mkdir", "/tmp")
    assert instances(guest) == ["other"]
    guest.run(f"rmdir {INSTANCES}/other").check()
    check_restored(guest, module)


def test_the_kernel_log_is_read_where_there_are_no_events(
    guest: Guest, module: Interceptor, run: Callable[..., list[TracedCall]]
) -> None:
    noted: list[str] = []
    with no_events(guest):
        (call,) = run("mkdir", "mkdir", "/tmp", note=noted.append)
        assert re.fullmatch(r"\[\d+\] mkdir\(0x[^)]*\)", str(call))
        assert noted == [
            "calls are shown without results, from the kernel log: the kernel has no trace event"
            " interceptor:syscall"
        ]
        with pytest.raises(UsageError, match=r"^-T needs the module.s trace events: the kernel"):
            run("mkdir", "mkdir", "/tmp", needs="-T")
        guest.run(f"echo event > /sys/module/{module.name}/parameters/log").check()
        with pytest.raises(UsageError, match="nor are they in the kernel log: log=event"):
            run("mkdir", "mkdir", "/tmp")
        guest.run(f"echo printk > /sys/module/{module.name}/parameters/log").check()
    assert module.status() == {}
    check_restored(guest, module)


def test_an_interrupt_amid_a_request_leaves_nothing(
    guest: Guest,
    module: Interceptor,
    run: Callable[..., list[TracedCall]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel log is read by requests."""
    receive = Agent._receive

    def interrupted(agent: Agent, seconds: float) -> dict[str, Any]:
        monkeypatch.setattr(Agent, "_receive", receive)
        signal.raise_signal(signal.SIGINT)
        return receive(agent, seconds)

    with no_events(guest), default_interrupts():
        with pytest.raises(KeyboardInterrupt):
            run(
                *("write", "sh", "-c", "echo on; sleep 1000"),
                show=lambda _call: monkeypatch.setattr(Agent, "_receive", interrupted),
            )
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert module.status() == {}
    assert "sleep 1000" not in guest.run(["ps", "-eo", "args"]).stdout


def test_a_flood_of_calls_is_shown_whole_or_said_to_be_not(
    guest: Guest, run: Callable[..., list[TracedCall]]
) -> None:
    noted: list[str] = []
    program = "import os\nfor _ in range(30000): os.getppid()"
    calls = run("getppid", "python3", "-ISc", program, note=noted.append)
    assert len(calls) == 30000 or re.match(r"the kernel overwrote \d+ record", noted[0])
    assert noted == [] or len(calls) < 30000
