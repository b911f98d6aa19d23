# SPDX-License-Identifier: GPL-2.0
"""The kernel's reports of trouble, cut out of logs that these guests' kernels wrote."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyharness import Guest
from pyharness.interceptor import MODULE
from pyharness.linux import emulator_faults, trouble
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.trouble import CodeLocation

pytestmark = pytest.mark.smoke

LOGS = Path(__file__).parents[1] / "logs"


@dataclass(frozen=True)
class Found:
    """A report that is in a log.

    Attributes:
        kind: what sort.
        begins: how its first line begins.
        ends: how its last line begins.
        has: what stands in one of its lines.
        whole: whether it isn't cut off.
    """

    kind: str
    begins: str
    ends: str
    has: str
    whole: bool = True


_NULL = "BUG: kernel NULL pointer dereference, address: 000000"
_TRACE = "---[ end trace"
_HALT = "---[ end Kernel panic"
_FRAME = "=================="
_ATOMIC = "BUG: scheduling while atomic: python3"

# The logs in tests/logs, by their names, and what is in each.
EXPECTED = {
    "panic": [Found("panic", "Kernel panic - not syncing: sysrq", _HALT, "sysrq_handle_crash")],
    "oops": [Found("oops", _NULL, _TRACE, "EIP: do_my_syscall+0x51/0x420 [interceptor]")],
    "oops-amd64": [Found("oops", _NULL, _TRACE, "RIP: 0010:log_if_monitored+0x123/0x180")],
    "oops-at-unload": [Found("oops", _NULL, _TRACE, "EIP: interceptor_exit")],
    "oops-in-freed-text": [Found("oops", "BUG: unable to handle", _TRACE, "EIP: 0xe0c74353")],
    "oops-in-freed-text-amd64": [
        Found("oops", "BUG: unable to handle", _TRACE, "RIP: 0010:sev_hardware_setup")
    ],
    "hung-task": [Found("hung task", "INFO: task python3:313 blocked", "DS: ", "[interceptor]")],
    "stall": [Found("stall", "rcu: INFO: rcu_preempt", "INFO: NMI handler", "[interceptor]")],
    "soft-lockup": [Found("soft lockup", "watchdog: BUG: soft lockup", "DS: ", "[interceptor]")],
    "scheduling-while-atomic": [
        Found("scheduling while atomic", _ATOMIC, "Code: ", "[interceptor]"),
        Found("scheduling while atomic", _ATOMIC, " ? paravirt_BUG", "__schedule_bug"),
    ],
    "double-fault": [
        Found("double fault", "traps: PANIC: double fault", _TRACE, "[interceptor]"),
        Found("panic", "Kernel panic - not syncing: Fatal", _HALT, "exc_double_fault"),
    ],
    "double-fault-of-emulation": [
        Found("double fault", "traps: PANIC: double fault", "Modules", "__kmem_cache_alloc", False)
    ],
    "panic-by-nmi": [
        Found("hard lockup", "Uhhuh. NMI received", _HALT, "NMI backtrace for cpu 1"),
    ],
    "panic-by-nmi-amd64": [
        Found("hard lockup", "Uhhuh. NMI received", _HALT, "NMI backtrace for cpu 1"),
    ],
    "slub-write-after-free": [
        Found("memory", "BUG kmalloc-96", "FIX kmalloc-96: Restoring Poison", "Freed in 0xe0ba22b4")
    ],
    "slub-write-behind": [
        Found("memory", "BUG kmalloc-96", "FIX kmalloc-96: Object at", "write_behind+0x1c/0xd40"),
    ],
    "slub-free-twice": [
        Found("memory", "BUG kmalloc-96", "FIX kmalloc-96: Object at", "free_twice+0x24/0x30"),
        Found("memory", "BUG kmalloc-96", "FIX kmalloc-96: Object count", "Wrong object count"),
    ],
    "kasan-write-after-free": [
        Found("memory", "BUG: KASAN: use-after-free in", _FRAME, "__kmem_cache_free+0x223/0x310"),
    ],
    "kasan-write-after-free-6.12": [
        Found("memory", "BUG: KASAN: slab-use-after-free in", _FRAME, "Freed by task"),
    ],
    "lockdep-lock-order-6.12": [
        Found("lock order", "WARNING: possible circular locking", " </TASK>", " *** DEADLOCK ***"),
    ],
    "kasan-write-behind": [
        Found(
            "memory", "BUG: KASAN: slab-out-of-bounds in", _FRAME, "located 0 bytes to the right"
        ),
    ],
    "kasan-free-twice": [
        Found("memory", "BUG: KASAN: double-free in", _FRAME, "Memory state around the buggy"),
    ],
    "kcsan-race": [
        Found("data race", "BUG: KCSAN: data-race in ring_write [ring] / ring", _FRAME, wanted)
        for wanted in ("read to 0xffffffffa0002404", "write to 0xffff88800442bac0", "+-> reordered")
    ],
    "lockdep-lock-order": [
        Found("lock order", "WARNING: possible circular locking", " </TASK>", " *** DEADLOCK ***"),
    ],
    "lockdep-rcu-unlocked": [
        Found("lock order", "WARNING: suspicious RCU usage", " </TASK>", "misuse.c:95 suspicious"),
    ],
    "ubsan-shift-too-far": [
        Found("undefined behaviour", "UBSAN: shift-out-of-bounds in", _FRAME, "shift exponent 40"),
    ],
    "atomic-sleep-debug": [
        Found(
            "scheduling while atomic", "BUG: scheduling while atomic", " </TASK>", "5 locks held"
        ),
        Found(
            "warning", "WARNING: CPU: 0 PID: 155 at kernel/sched", _TRACE, "hardirqs last  enabled"
        ),
    ],
    "interleaved": [Found("oops", _NULL, _TRACE, "EIP: do_my_syscall")] * 4,
    "storm": [
        Found("oops", "kernel BUG at kernel/entry", "kernel BUG", "BUG: unable", whole=False)
    ],
    "truncated": [Found("oops", _NULL, " ? un", "EIP: do_my_syscall", whole=False)],
}


def read(name: str) -> str:
    return (LOGS / f"{name}.log").read_text(encoding="utf-8")


def test_every_saved_log_is_looked_at() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_reports_of_a_saved_log(name: str) -> None:
    found = trouble.reports(read(name))
    assert [report.kind for report in found] == [wanted.kind for wanted in EXPECTED[name]]
    for report, wanted in zip(found, EXPECTED[name], strict=True):
        assert report.title.startswith(wanted.begins)
        assert report.lines[-1].startswith(wanted.ends)
        assert any(wanted.has in line for line in report.lines)
        assert report.whole == wanted.whole
        assert not any(line.startswith(("program", "a program")) for line in report.lines)


@pytest.mark.parametrize("name", EXPECTED)
def test_flags_that_no_cpu_can_have(name: str) -> None:
    fault = emulator_faults.flags_fault(read(name))
    assert ("EFLAGS c3227242" in fault) == (name == "double-fault-of-emulation")


def test_an_assertion_of_qemu() -> None:
    failed = (
        "ERROR:../../target/i386/tcg/translate.c:6933:i386_tr_init_disas_context:"
        " assertion failed: (IOPL(dc) == iopl)"
    )
    assert failed in emulator_faults.assertion(f"warning\n{failed}\nBail out! {failed}\n")
    assert emulator_faults.assertion("qemu: terminating on signal 15 from pid 1") == ""


@pytest.mark.parametrize(
    "line",
    [
        "DEBUG: opened",
        "ring: DEBUG: unable to handle so many",
        "[   12.345678] ring [1.0] loaded",
    ],
)
def test_what_only_looks_like_a_report(line: str) -> None:
    assert trouble.reports(line) == []


def test_a_number_in_brackets_hides_nothing() -> None:
    text = (
        "[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n[    1.000001] ring [1.0] loaded"
    )
    assert [report.kind for report in trouble.reports(text)] == ["warning"]


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected",
        "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
        "WARNING: held lock freed!",
        "WARNING: insmod/812 still has locks held!",
        "WARNING: inconsistent lock state",
        "WARNING: bad unlock balance detected!",
        "[ BUG: Invalid wait context ]",
        "INFO: trying to register non-static key.",
    ],
)
def test_each_of_lockdeps_findings_is_known(line: str) -> None:
    assert trouble.kind_of(line) == "lock order"


def test_a_sanitizer_within_a_warning_and_a_warning_within_a_sanitizer() -> None:
    warning = [
        "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2",
        "CPU: 0 PID: 1 Comm: x",
        "Call Trace:",
        " f+0x1/0x2",
        "---[ end trace 0 ]---",
    ]
    frame = "=" * 66
    kasan = [
        "BUG: KASAN: use-after-free in g+0x1/0x2",
        "Call Trace:",
        " g+0x1/0x2",
        "Freed by task 1:",
        " h+0x1/0x2",
        frame,
    ]
    kinds = [
        [report.kind for report in trouble.reports("\n".join(lines))]
        for lines in (
            [warning[0], frame, *kasan, *warning[1:]],
            [*kasan[:3], *warning, *kasan[3:]],
        )
    ]
    assert kinds == [["warning", "memory"], ["memory"]]
    (within,) = trouble.reports("\n".join([*kasan[:3], *warning, *kasan[3:]]))
    assert within.lines[-2:] == (" h+0x1/0x2", frame)


@pytest.mark.parametrize("name", EXPECTED)
@given(data=st.data())
def test_a_log_cut_anywhere_has_the_same_reports_up_to_there(
    name: str, data: st.DataObject
) -> None:
    lines = read(name).splitlines()
    cut = data.draw(st.integers(0, len(lines)))
    found = trouble.reports("\n".join(lines[:cut]))
    whole = trouble.reports(read(name))
    assert found[:-1] == whole[: len(found) - 1] if found else True
    for report, full in zip(found, whole, strict=False):
        assert full.lines[: len(report.lines)] == report.lines


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: CPU: 1 PID: 0 at arch/x86/kernel/cpu/amd.c:355 init_amd+0x9aa/0xa20",
        "INFO: task insmod:812 blocked for more than 120 seconds.",
        "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [insmod:812]",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "Kernel panic - not syncing: Fatal exception",
        "BUG: scheduling while atomic: rmmod/812/0x00000002",
        "general protection fault: 0000 [#1] PREEMPT SMP",
        "Unable to handle kernel paging request at virtual address dead000000000100",
    ],
)
def test_trouble_is_found(text: str) -> None:
    assert trouble.is_trouble(text)
    (report,) = trouble.reports(f"[    1.0] fine\r\n[    2.5][  T812] {text}\r\n")
    assert report.lines == (text,)


@pytest.mark.parametrize(
    "text",
    [
        "interceptor: loading out-of-tree module taints kernel.",
        "interceptor: not loaded: can't hook __ia32_sys_exit_group",
        "[4b7]27(bf8e3a10,1ff,0,0,0,0)",
        "Spectre V2 : Mitigation: Retpolines",
    ],
)
def test_what_is_no_trouble(text: str) -> None:
    assert not trouble.is_trouble(text)


@given(st.text())
def test_any_text_has_reports_or_none(text: str) -> None:
    assert all(trouble.is_trouble(report.title) for report in trouble.reports(text))


# ---- addresses as lines ----


def test_addresses_in_a_module_have_lines(guest: Guest) -> None:
    """Each function begins where its source says."""
    lines = Symbolizer(guest.build(MODULE).ko.read_bytes())
    for function, its_file in (
        ("before_call", "interceptor.c"),
        ("do_my_syscall", "interceptor.c"),
        ("log_call", "log.c"),
        ("status_show", "status.c"),
    ):
        file, line = lines.line_in(function, 0, 0).split()[0].split(":")
        assert file == its_file
        source = (MODULE / file).read_text(encoding="utf-8").splitlines()
        assert f" {function}(" in " ".join(source[int(line) - 2 : int(line)])
    assert lines.line_in("no_such_function", 0, 1) == ""
    assert lines.line_at(0) == ""


def test_a_place_is_found_in_every_kind_of_line() -> None:
    text = "\n".join(
        [
            "EIP: do_my_syscall+0x51/0x420 [interceptor]",
            " ? do_my_syscall+0x51/0x420 [interceptor]",
            "[<0>] do_my_syscall+0x199/0x410 [interceptor]",
            "RIP: 0010:__x64_sys_mkdir+0x0/0x20",
            "EIP: 0xe0c74353",
            "BUG: unable to handle page fault for address: ffffffffc0a119fe",
            "Code: 83 f9 03",
        ]
    )
    places: list[CodeLocation] = []

    def line_of(location: CodeLocation) -> str:
        places.append(location)
        return f"line {len(places)}"

    message = trouble.annotate(text, line_of).splitlines()
    assert [line.endswith(f" at line {n}") for n, line in enumerate(message, 1)] == [True] * 6 + [
        False
    ]
    # What stands on the stack is where a call returns to: the call is before that.
    assert [place.offset for place in places] == [0x51, 0x50, 0x198, 0, 0, 0]
    assert [place.module for place in places] == ["interceptor"] * 3 + ["", "", ""]
    assert places[-2] == CodeLocation(address=0xE0C74353)
    # Likewise where code was. What the kernel takes it for now is another module's.
    assert places[-1] == CodeLocation(address=0xFFFFFFFFC0A119FD)


# ---- as a command ----


def decode(*words: str, stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pyharness", "decode", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_report_of_a_saved_log(guest: Guest) -> None:
    """Of a place that this guest's module has, too: the beginning of a function."""
    ko = guest.build(MODULE).ko
    log = read("oops").replace("do_my_syscall+0x51/", "do_my_syscall+0x0/")
    status, said = decode("-", "--ko", str(ko), stdin=log)
    assert status == 1
    assert said.startswith("--- oops ---\nBUG: kernel NULL pointer dereference")
    assert "EIP: do_my_syscall+0x0/0x420 [interceptor] at interceptor.c:" in said
    assert said.endswith("1 report of trouble\n")


def test_report_of_a_log_without_trouble() -> None:
    assert decode("-", stdin="[    1.0] interceptor: loaded\n") == (0, "no report of trouble\n")


def test_report_of_what_is_not_there(tmp_path: Path) -> None:
    status, said = decode(str(tmp_path / "none.log"))
    assert status == 2
    assert "No such file" in said
    status, said = decode(str(LOGS / "oops.log"), "--ko", str(tmp_path / "none.ko"))
    assert status == 2
    assert "none.ko can't be read" in said
