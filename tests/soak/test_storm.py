# SPDX-License-Identifier: GPL-2.0
"""Every system call intercepted at once, while the guest does all that it can."""

import time
from pathlib import Path

import pytest
from arch import AT_FDCWD

from pyharness import Guest, interceptor
from pyharness.interceptor import MODULE, Interceptor
from pyharness.transport.streams import pump

PROGRAM = Path(__file__).parents[1] / "programs" / "survey.py"
SECONDS = 60
MONITORED = ("mkdirat", "unlinkat", "wait4")
# What would end, stop or clone the process that asks.
SKIPPED = (
    "exit", "exit_group", "fork", "vfork", "clone", "clone3", "pause", "sigsuspend",
    "rt_sigsuspend", "sigreturn", "rt_sigreturn", "vhangup", "sync", "restart_syscall",
)  # fmt: skip


def stress_line(seconds: int) -> str:
    """The command that puts a strain on all of the kernel's subsystems, and verifies results."""
    ones = ("fork", "exec", "pipe", "poll", "futex", "sem", "msg", "mmap", "dentry", "sigpipe",
            "nanosleep", "switch", "yield", "getdent", "epoll", "sock")  # fmt: skip
    return " ".join(
        ["stress-ng", "--timeout", str(seconds), "--verify", "--quiet", *(f"--{n} 1" for n in ones)]
    )


def trinity_line(seconds: int) -> str:
    """The command that makes system calls at random.

    A child may be left over that sleeps in a call of its own finding, and keeps the channel
    open: the sleep stands for it.
    """
    return (
        "runuser -u nobody -- sh -c 'cd $(mktemp -d); setsid sleep 9999 > /dev/null &"
        f" exec timeout {seconds} trinity -q -C 2 -N 1000000000 -T DIE,WARN,BAD_PAGE > /dev/null';"
        " status=$?; pkill -KILL -u nobody; exit $status"
    )


def survey(guest: Guest, numbers: int) -> dict[str, str]:
    """The result of each call, by its number and its arguments."""
    known = guest.syscalls.numbers
    skipped = ",".join(str(known[call]) for call in SKIPPED if call in known)
    line = ["python3", "-", str(numbers), skipped]
    said = guest.run(line, user="nobody", stdin=PROGRAM.read_bytes(), seconds=60).check().stdout
    return dict(line.rsplit(" ", 1) for line in said.splitlines())


def intercept_all(module: Interceptor, numbers: int) -> None:
    for number in {*range(numbers)} - {module.interface.custom_syscall}:
        assert module.intercept(number).value == 0
    for call in MONITORED:
        assert module.start(call).value == 0


@pytest.mark.test_limit(400)
def test_no_call_returns_anything_else(
    bare_guest: Guest, number_of_syscalls: int, parameters: dict[str, str]
) -> None:
    """Than without the module, whatever the call; each is issued with two kinds of nonsense."""
    guest = bare_guest
    without = [survey(guest, number_of_syscalls) for _ in range(2)]
    assert len(without[0]) > 800
    module = interceptor.load(guest, **parameters)
    try:
        intercept_all(module, number_of_syscalls)
        within = survey(guest, number_of_syscalls)
    finally:
        module.unload()
    # Addresses, times and ids are never the same: those only need be no errors.
    same = {call for call in without[0] if without[0][call] == without[1][call]}
    assert len(same) > 0.95 * len(without[0])
    assert {call: within[call] for call in same} == {call: without[0][call] for call in same}
    assert not {call for call in within.keys() - same if within[call].startswith("S")}


@pytest.mark.test_limit(600)
@pytest.mark.cpus(4)
def test_the_guest_goes_on(
    module: Interceptor, guest: Guest, number_of_syscalls: int, soak: float
) -> None:
    """It compiles, serves SSH, and stands stress-ng and trinity; all are right to the end."""
    seconds = round(soak * SECONDS)
    intercept_all(module, number_of_syscalls)
    mark = guest.log.mark()
    stress = guest.ssh.open(stress_line(seconds))
    trinity = guest.ssh.open(trinity_line(seconds))
    begin = time.monotonic()
    built = guest.build(MODULE, anew=True)
    assert built.warnings == []
    # As a call of fanotify's does that trinity may find: that is no reason for it to end.
    guest.run("echo 64 > /proc/sys/kernel/tainted").check()
    served = 0
    said = b""

    def serve() -> None:
        nonlocal served
        assert guest.run(["echo", str(served)]).stdout == f"{served}\n"
        served += 1
        guest.log.fetch()

    def keep(data: bytes) -> None:
        nonlocal said
        said += data

    assert pump(stress, stdout=keep, stderr=keep, tick=serve) == 0, said.decode()
    assert pump(trinity, stdout=keep, stderr=keep, tick=serve) == 124, said.decode()
    assert time.monotonic() - begin > seconds
    assert served >= 2
    logged = {guest.syscalls.canonical(call.syscall) for call in module.logged(mark)}
    assert guest.syscalls.ref("wait4") in logged
    assert logged <= {guest.syscalls.ref(call) for call in MONITORED}
    for number in module.status():
        assert module.release(number).value == 0
    assert guest.actor("nobody").syscall("mkdirat", AT_FDCWD, "/tmp\0", 0).error == "EEXIST"
