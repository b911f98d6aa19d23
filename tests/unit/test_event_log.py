# SPDX-License-Identifier: GPL-2.0
"""What trace makes of trace events: lines, calls with results, a table, a file; needs no guest."""

import json
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pyharness.errors import GuestError
from pyharness.interceptor import event_log, perfetto
from pyharness.interceptor.call_counts import Counts
from pyharness.interceptor.call_pairs import Pairs
from pyharness.interceptor.call_sources import RecordedCalls
from pyharness.interceptor.event_log import Entered, Event, InOrder, Lost, Returned
from pyharness.interceptor.traced import Traced, line, time_of_day
from pyharness.interceptor.traced_call import TracedCall
from pyharness.linux.syscalls import Syscalls

AMD64, I386 = Syscalls("x86_64"), Syscalls("i386")
RELEASE = "6.1.0-50-686-pae"
ARGS = (0xFFFFFF9C, 0x7FDA5A9F30B1, 0x80000, 0, 0, 1)
TEXT = "syscall: 101(ffffff9c,7fda5a9f30b1,80000,0,0,1)"


def entered(call: str, thread: int = 7, time: int = 100, syscalls: Syscalls = AMD64) -> Entered:
    return Entered(thread, thread, "sh", time, syscalls.ref(call), (0,) * 6)


def returned(
    call: str, value: int = 0, thread: int = 7, time: int = 130, syscalls: Syscalls = AMD64
) -> Returned:
    return Returned(thread, thread, "sh", time, syscalls.ref(call), value)


def paired(*events: Event, syscalls: Syscalls = AMD64) -> list[TracedCall]:
    pairs = Pairs(syscalls)
    return [call for event in events for call in pairs.feed(event)] + pairs.rest()


def calls_of(traced: Iterable[Traced]) -> list[TracedCall]:
    return [one for one in traced if isinstance(one, TracedCall)]


def table(*calls: TracedCall) -> list[str]:
    counts = Counts()
    for call in calls:
        counts.add(call)
    return counts.table().splitlines()


# ---- lines ----


@pytest.mark.parametrize(
    "program",
    ["sh", "a b", "a-1 [000] b", "kworker/0:1-ev", "<...>", "(sd-pam)", "x-9-9", "a (  12) [0]"],
)
def test_a_call_whatever_the_program_is_called(program: str) -> None:
    text = f"{program:>16}-1207    [001] ...1.   385.932026: {TEXT}"
    event = event_log.parse(text, AMD64)
    assert event == Entered(1207, None, program, 385932026, AMD64.ref("openat"), ARGS)


def test_the_process_of_a_thread() -> None:
    for group, process in (("(   1200)", 1200), ("(-------)", None)):
        text = f"              sh-1207    {group} [000] d..1. 5.000001: syscall_exit: 101 = 3"
        event = event_log.parse(text, AMD64)
        assert event == Returned(1207, process, "sh", 5000001, AMD64.ref("openat"), 3)


def test_numbers_of_the_other_abi() -> None:
    text = "sh-1 [000] ..... 1.000000: syscall: 27(1,2,3,4,5,6) i386"
    event = event_log.parse(text, AMD64)
    assert isinstance(event, Entered)
    assert str(event.syscall) == "i386:mkdir"


@pytest.mark.parametrize(
    ("syscalls", "text", "value"),
    [(AMD64, "f" * 15 + "e", -2), (I386, "fffffffe", -2), (AMD64, "fffffffe", 0xFFFFFFFE)],
)
def test_a_result_has_the_size_of_a_register(syscalls: Syscalls, text: str, value: int) -> None:
    event = event_log.parse(f"sh-1 [000] ..... 1.0: syscall_exit: 27 = {text}", syscalls)
    assert isinstance(event, Returned)
    assert event.value == value


def test_lost_events() -> None:
    assert event_log.parse("CPU:1 [LOST 3022 EVENTS]", AMD64) == Lost(3022)
    assert event_log.parse("CPU:0 [LOST EVENTS]", AMD64) == Lost(1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# tracer: nop",
        f"sh-1207 [001] ...1. 385.932026: {TEXT} more",
        f"sh-1207 [001] ...1. 385.932026: {TEXT[:-8]}",
        "sh-1207 [001] ...1. 385.932026: sched_switch: 101 = 3",
        "CPU:1 [LOST many EVENTS]",
    ],
)
def test_other_lines_are_no_events(text: str) -> None:
    assert event_log.parse(text, AMD64) is None


def test_events_of_two_cpus_come_in_order() -> None:
    """One that was read late goes before what was read along with it, and nothing is kept back."""
    order = InOrder()
    late = entered("openat", time=100)
    assert order.push([returned("openat", time=130)]) == []
    assert order.push([late]) == [late, returned("openat", time=130)]
    assert order.push([]) == []
    last = entered("openat", time=200)
    assert order.push([last]) == []
    assert order.rest() == [last]


# ---- calls with results ----


def test_a_call_has_its_result_and_time() -> None:
    (call,) = paired(entered("mkdir"), returned("mkdir"))
    assert str(call) == "[7] mkdir(0x0, 0x0, 0x0, 0x0, 0x0, 0x0) = 0"
    assert call.took_microseconds == 30


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("mkdir", -2, "-1 ENOENT"),
        ("read", 1 << 31, "2147483648"),
        ("mmap", 0x7F0000001000, "0x7f0000001000"),
        ("mmap", 0, "0"),
        ("mmap", -12, "-1 ENOMEM"),
        ("umask", 0o22, "022"),
        ("umask", 0, "000"),
        ("read", -512, "? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        ("read", -513, "? ERESTARTNOINTR (To be restarted)"),
        ("pause", -514, "? ERESTARTNOHAND (To be restarted if no handler)"),
        ("nanosleep", -516, "? ERESTART_RESTARTBLOCK (Interrupted by signal)"),
        ("ioctl", -515, "-1 ENOIOCTLCMD"),
        ("ioctl", -95, "-1 EOPNOTSUPP"),
        ("fcntl", -35, "-1 EDEADLK"),
        ("read", -4095, "-1 (errno 4095)"),
        ("lseek", -4096, "18446744073709547520"),
    ],
)
def test_results_as_strace_has_them(name: str, value: int, result: str) -> None:
    (call,) = paired(entered(name), returned(name, value))
    assert str(call).endswith(f") = {result}")


def test_a_large_result_of_a_32_bit_kernel_is_an_address() -> None:
    (call,) = paired(
        entered("brk", syscalls=I386), returned("brk", -0x1000000, syscalls=I386), syscalls=I386
    )
    assert str(call).endswith(" = 0xff000000")


@pytest.mark.parametrize("name", ["exit", "exit_group", "rt_sigreturn"])
def test_a_call_that_never_returns_is_there_at_once(name: str) -> None:
    (call,) = Pairs(AMD64).feed(entered(name))
    assert str(call).endswith(") = ?")
    assert call.took_microseconds is None


def test_a_call_without_result_comes_before_the_next_one_or_at_the_end() -> None:
    events = (entered("read"), entered("write"), returned("write"), entered("pause"))
    assert [(call.name, call.result) for call in paired(*events)] == [
        ("read", "?"),
        ("write", "0"),
        ("pause", "?"),
    ]


def test_threads_do_not_share_calls() -> None:
    events = (
        entered("read", 7),
        entered("read", 8),
        returned("read", 1, 7),
        returned("read", 2, 8),
    )
    assert [(call.thread, call.result) for call in paired(*events)] == [(7, "1"), (8, "2")]


def test_the_result_of_a_call_that_was_not_seen_is_dropped() -> None:
    """A child returns from the clone() that its parent called."""
    assert paired(returned("clone", 0, 8)) == []
    (call,) = paired(entered("read"), returned("clone"), returned("read", 5))
    assert (call.name, call.result) == ("read", "5")


def test_an_exec_may_return_by_the_other_abi() -> None:
    (call,) = paired(entered("execve"), returned("i386:execve"))
    assert str(call).endswith(" = 0")


@pytest.mark.parametrize("name", ["execve", "execveat"])
@pytest.mark.parametrize("thread", [7, 8])
def test_an_exec_has_its_result_whichever_thread_calls_it(name: str, thread: int) -> None:
    """It returns as execve, and in the first thread; the other threads have ended."""
    other = {7: 8, 8: 7}[thread]
    calls = paired(
        replace(entered("pause", other, time=90), process=7),
        replace(entered("read", 9, time=91), process=9),
        replace(entered(name, thread), process=7),
        replace(returned("execve", time=130), process=7),
        replace(returned("read", 5, 9, time=140), process=9),
    )
    assert [(call.thread, call.name, call.result) for call in calls] == [
        (other, "pause", "?"),
        (thread, name, "0"),
        (9, "read", "5"),
    ]


def test_an_exec_that_fails_leaves_the_other_threads() -> None:
    calls = paired(
        replace(entered("pause", 8), process=7),
        entered("execve"),
        returned("execve", -2),
        replace(returned("pause", -4, 8), process=7),
    )
    assert [(call.name, call.failed) for call in calls] == [("execve", True), ("pause", True)]


def test_a_process_is_known_from_either_event() -> None:
    (call,) = paired(
        replace(entered("read", 8), process=None), replace(returned("read", 0, 8), process=7)
    )
    assert (call.process, call.thread) == (7, 8)


class FakeStream:
    """Lines in two portions, the second one at the end."""

    epoch_microseconds = 0

    def __init__(self, first: list[str], last: list[str]) -> None:
        self.portions = [first, last]

    def fetch(self) -> list[str]:
        return self.portions.pop(0)

    def kill(self) -> None:
        """Nothing runs."""

    def drain(self) -> list[str]:
        return self.portions.pop(0)

    def close(self) -> None:
        """Nothing was changed."""


READ = "sh-1 [000] ..... 1.000000: syscall: 0(1,2,3,4,5,6)"


def test_lost_events_are_counted_over_all_cpus() -> None:
    source = RecordedCalls(
        AMD64,
        RELEASE,
        FakeStream(
            [READ, "CPU:0 [LOST 5 EVENTS]"],
            ["CPU:1 [LOST 2 EVENTS]", "sh-1 [000] ..... 2.000000: syscall_exit: 0 = 0"],
        ),
    )
    assert source.fetch() == []
    source.rest()
    assert source.lost == 7


@pytest.mark.parametrize("at", [0, 1])
def test_a_call_does_not_get_the_result_of_another_one_after_lost_events(at: int) -> None:
    """Whether the next event was read at once or later; another CPU's events go before."""
    lines = [
        READ,
        "sh-2 [001] ..... 1.500000: syscall: 0(1,2,3,4,5,6)",
        "CPU:0 [LOST 2 EVENTS]",
        "sh-1 [000] ..... 9.000000: syscall_exit: 0 = 400",
        "sh-2 [001] ..... 2.500000: syscall_exit: 0 = 7",
    ]
    source = RecordedCalls(AMD64, RELEASE, FakeStream(lines[: 3 + at], lines[3 + at :]))
    calls = calls_of([*source.fetch(), *source.rest()])
    assert sorted((call.thread, call.result) for call in calls) == [(1, "?"), (2, "7")]


def test_calls_that_have_arrived_are_there_though_the_guest_is_not() -> None:
    class Dead(FakeStream):
        def drain(self) -> list[str]:
            raise GuestError

    source = RecordedCalls(
        AMD64, RELEASE, Dead([READ], [READ.replace("syscall: 0", "syscall: 53")])
    )
    assert source.fetch() == []
    with pytest.raises(GuestError):
        source.rest()
    assert [(call.name, call.result) for call in calls_of(source.arrived())] == [
        ("read", "?"),
        ("mkdir", "?"),
    ]


# ---- lines for people, the table, the file ----


def test_times_in_a_line() -> None:
    (call,) = paired(entered("mkdir", time=3_500_000), returned("mkdir", time=3_500_123))
    assert line(call, took=True).endswith(" = 0 <0.000123>")
    assert line(call, clock=str) == f"3500000 {call}"
    (endless,) = paired(entered("exit_group"))
    assert line(endless, took=True).endswith(" = ?")


def test_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    moment = 1_800_000_000_000_007
    assert time_of_day(moment, fraction=False) == "08:00:00"
    assert time_of_day(moment, fraction=True) == "08:00:00.000007"
    monkeypatch.undo()
    time.tzset()


def test_times_are_since_the_epoch() -> None:
    pairs = Pairs(AMD64, epoch_microseconds=1000)
    (call,) = pairs.feed(entered("exit", time=5))
    assert call.microseconds == 1005


def test_the_table_is_that_of_strace() -> None:
    calls = paired(
        *(entered("openat", time=0), returned("openat", 3, time=60)),
        *(entered("openat", time=100), returned("openat", -2, time=130)),
        *(entered("mkdir", time=200), returned("mkdir", 0, time=210)),
        entered("exit_group"),
    )
    assert table(*calls) == [
        "% time     seconds  usecs/call     calls    errors syscall",
        "------ ----------- ----------- --------- --------- ----------------",
        " 90.00    0.000090          45         2         1 openat",
        " 10.00    0.000010          10         1           mkdir",
        "  0.00    0.000000           0         1           exit_group",
        "------ ----------- ----------- --------- --------- ----------------",
        "100.00    0.000100          25         4         1 total",
    ]


def test_the_table_of_no_calls() -> None:
    assert table()[-1].split() == ["100.00", "0.000000", "0", "0", "total"]


def test_the_file_for_perfetto_has_a_slice_for_each_call() -> None:
    calls = paired(
        replace(entered("openat", 8, time=1000), process=7),
        replace(returned("openat", -2, 8, time=1030), process=7),
        entered("exit_group", time=2000),
    )
    made = json.loads(perfetto.document(calls))
    slices = [event for event in made["traceEvents"] if event["ph"] == "X"]
    assert slices[0] == {
        "name": "openat",
        "cat": "syscall",
        "ph": "X",
        "ts": 1000,
        "dur": 30,
        "pid": 7,
        "tid": 8,
        "args": {"args": ["0x0"] * 6, "result": "-1 ENOENT"},
    }
    assert (slices[1]["dur"], slices[1]["args"]["result"]) == (0, "?")
    names = [event for event in made["traceEvents"] if event["ph"] == "M"]
    assert {(event["tid"], event["args"]["name"]) for event in names} == {(8, "sh"), (7, "sh")}
