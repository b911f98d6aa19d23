# SPDX-License-Identifier: GPL-2.0
"""What trace makes of the events of signals and of ends of threads; needs no guest."""

import json

import pytest

from pyharness.interceptor import event_log, perfetto
from pyharness.interceptor.call_sources import RecordedCalls
from pyharness.interceptor.event_log import Delivered, Ended
from pyharness.interceptor.traced import Traced, line
from pyharness.linux.syscalls import Syscalls

AMD64 = Syscalls("x86_64")
# Before 6.0, the last thread does not always decide the status of its process.
OLD, NEW = "5.10.0-32-686-pae", "6.1.0-50-686-pae"
PAUSE = "syscall: 22(0,0,0,0,0,0)"  # 34, in hexadecimal
LOST = "CPU:0 [LOST 2 EVENTS]"


class Lines:
    """What trace_pipe has, all at the end."""

    epoch_microseconds = 0

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def fetch(self) -> list[str]:
        return []

    def kill(self) -> None:
        """Nothing runs."""

    def drain(self) -> list[str]:
        return self.lines

    def close(self) -> None:
        """Nothing was changed."""


def at(time: int, thread: int, text: str, *, process: int = 7, program: str = "sh") -> str:
    return f"{program:>16}-{thread}    ({process:7}) [000] d..1. 1.{time:06}: {text}"


def signalled(number: int, code: int, error: int = 0) -> str:
    return f"signal_deliver: sig={number} errno={error} code={code} sa_handler=0 sa_flags=14000000"


def ended(status: int, *, last: bool) -> str:
    return f"thread_end: (acct_collect+0x0/0x90) status={status} last={last:d}"


def traced(*lines: str, release: str = NEW) -> list[Traced]:
    return RecordedCalls(AMD64, release, Lines([*lines])).rest()


def shown(*lines: str, release: str = NEW) -> list[str]:
    return [str(one) for one in traced(*lines, release=release)]


# ---- events ----


@pytest.mark.parametrize("program", ["sh", "x +++ exited w", "a-1 [000] b", "(sd-pam)"])
def test_events_whatever_the_program_is_called(program: str) -> None:
    common = (9, 7, program, 1_000_005)
    text = at(5, 9, signalled(17, -6, 2), program=program)
    assert event_log.parse(text, AMD64) == Delivered(*common, signal=17, code=-6, error=2)
    text = at(5, 9, ended(0x300, last=True), program=program)
    assert event_log.parse(text, AMD64) == Ended(*common, status=0x300, last=True)


@pytest.mark.parametrize(
    "text",
    [
        "signal_deliver: sig=17 errno=0 code=1",
        f"{signalled(17, 1)} more",
        f"{ended(0, last=True)} i386",
        "signal_generate: sig=17 errno=0 code=1 comm=sh pid=7 grp=1 res=0",
    ],
)
def test_other_lines_are_no_events(text: str) -> None:
    assert event_log.parse(at(5, 7, text), AMD64) is None


# ---- signals ----


def test_a_signal_is_printed_as_strace_prints_it() -> None:
    assert shown(at(1, 8, signalled(17, 1)), at(2, 7, signalled(35, -1, 2))) == [
        "[8] --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---",
        "[7] --- SIGRT_3 {si_signo=SIGRT_3, si_code=SI_QUEUE, si_errno=ENOENT} ---",
    ]


def test_only_the_end_shows_that_a_signal_has_killed_a_process() -> None:
    """The kernel has events of SIGKILL that nobody has sent."""
    assert shown(at(1, 7, signalled(9, 0)), at(2, 7, ended(15, last=True))) == [
        "[7] +++ killed by SIGTERM +++"
    ]


# ---- ends ----


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with 0"),
        (0xFF00, "exited with 255"),
        (9, "killed by SIGKILL"),
        (11 + 128, "killed by SIGSEGV (core dumped)"),
        (64, "killed by SIGRT_32"),
        (0xFFFFFFF4, "killed by SIGRT_84 (core dumped)"),  # a module's do_exit(-ENOMEM)
    ],
)
def test_an_end_is_printed_as_strace_prints_it(status: int, text: str) -> None:
    for release in (OLD, NEW):
        assert shown(at(1, 7, ended(status, last=True)), release=release) == [f"[7] +++ {text} +++"]


def test_a_call_that_its_thread_ends_inside_comes_before_the_end() -> None:
    assert shown(
        at(1, 7, PAUSE), at(2, 7, ended(9, last=True)), at(3, 8, signalled(17, 2), process=8)
    ) == [
        "[7] pause(0x0, 0x0, 0x0, 0x0, 0x0, 0x0) = ?",
        "[7] +++ killed by SIGKILL +++",
        "[8] --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_KILLED} ---",
    ]


def test_the_first_thread_ends_with_its_process() -> None:
    """As with strace, though it may leave before."""
    lines = (
        at(1, 8, ended(0x500, last=False)),
        at(2, 7, ended(0x500, last=False)),
        at(3, 9, ended(0x500, last=True)),
    )
    for release in (OLD, NEW):
        found = traced(*lines, release=release)
        assert [str(one) for one in found] == [
            f"[{thread}] +++ exited with 5 +++" for thread in (8, 9, 7)
        ]
        assert [one.process for one in found] == [7, 7, 7]
        assert [one.microseconds for one in found] == [1_000_001, 1_000_003, 1_000_003]


@pytest.mark.parametrize("lines", [[], [LOST]])
def test_the_last_thread_decides_how_its_process_has_ended(lines: list[str]) -> None:
    """Before 6.0 only if it has ended the process, which is certain of a signal alone."""
    first = at(1, 7, ended(0, last=False))
    for last, old in ((0x500, "exited"), (9, "killed by SIGKILL")):
        new = {0x500: "exited with 5", 9: "killed by SIGKILL"}[last]
        for release, text in ((OLD, old), (NEW, new)):
            (_, process) = shown(first, *lines, at(2, 8, ended(last, last=True)), release=release)
            assert process == f"[7] +++ {text} +++"


def test_the_last_thread_may_overtake_the_first_one() -> None:
    """Its end comes a moment later then, and is not that of a process which gets its id."""
    lines = (
        at(1, 8, ended(0x500, last=True)),
        at(2, 7, ended(0, last=False)),
        at(3_000_001, 7, ended(0x600, last=False)),
        at(3_000_002, 9, ended(0x600, last=True)),
    )
    assert shown(*lines) == [
        f"[{thread}] +++ exited with {status} +++"
        for thread, status in ((8, 5), (7, 5), (9, 6), (7, 6))
    ]


def test_a_thread_that_left_before_events_were_lost_is_another_one() -> None:
    """One that had the id of the process whose end is seen."""
    first, last = at(1, 7, ended(0x500, last=False)), at(3, 8, ended(0x500, last=True))
    assert shown(first, last, release=OLD)[1] == "[7] +++ exited with 5 +++"
    assert shown(first, LOST, last, release=OLD)[1] == "[7] +++ exited +++"


def test_an_exec_replaces_the_first_thread() -> None:
    """Its thread goes on as the first one; what the first one's end was is of no importance."""
    lines = (
        at(1, 7, ended(0, last=False)),
        at(3, 7, ended(0x300, last=True)),
        at(4, 9, ended(0, last=True)),  # another process that has got the id
    )
    assert shown(*lines, release=OLD) == [
        "[7] +++ exited with 3 +++",
        "[9] +++ exited with 0 +++",
        "[7] +++ exited +++",
    ]


def test_a_thread_whose_process_is_not_known_ends_if_it_is_the_last_one() -> None:
    """It may be the first one of a process that goes on."""
    lines = [f"sh-7 (-------) [000] d..1. 1.0: {ended(0x300, last=last)}" for last in (False, True)]
    (one,) = traced(*lines)
    assert (str(one), one.process) == ("[7] +++ exited with 3 +++", 7)


# ---- lines for people, the file ----


def test_times_in_a_line() -> None:
    for one in traced(at(5, 7, signalled(1, 0)), at(6, 7, ended(0, last=True))):
        assert line(one, clock=str, took=True) == f"{one.microseconds} {one}"


def test_times_are_since_the_epoch() -> None:
    stream = Lines([at(5, 7, signalled(1, 0)), at(6, 7, ended(0, last=True))])
    stream.epoch_microseconds = 1000
    assert [one.microseconds for one in RecordedCalls(AMD64, NEW, stream).rest()] == [
        1_001_005,
        1_001_006,
    ]


def test_the_file_for_perfetto_has_an_instant_for_each() -> None:
    found = traced(at(5, 8, signalled(17, 1)), at(6, 8, ended(0x300, last=False)))
    made = json.loads(perfetto.document(found))["traceEvents"]
    assert made[1:] == [
        {"name": name, "cat": kind, "ph": "i", "s": "t", "ts": ts, "pid": 7, "tid": 8}
        for name, kind, ts in (
            ("SIGCHLD", "signal", 1_000_005),
            ("exited with 3", "exit", 1_000_006),
        )
    ]
