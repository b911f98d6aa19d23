# SPDX-License-Identifier: GPL-2.0
"""What trace shows of signals, and of the ends of threads and processes."""

import re
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from arch import TRACING, mount_tracing, odd_tracing

from pyharness import Guest
from pyharness.interceptor import Interceptor, trace
from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall
from pyharness.interceptor.traced_end import TracedEnd
from pyharness.interceptor.traced_signal import TracedSignal

PROBES = f"{TRACING}/kprobe_events"
PYTHON = ("python3", "-ISc")
Run = Callable[..., list[Traced]]


@pytest.fixture(autouse=True)
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)


@pytest.fixture(autouse=True)
def ends_are_known(guest: Guest) -> None:
    if guest.run("grep -qw acct_collect /proc/kallsyms").status:
        pytest.skip("the kernel has no BSD process accounting, and so nothing tells of ends")


@pytest.fixture
def run(guest: Guest, module: Interceptor) -> Run:
    """Traces a command, and returns what is shown; unless otherwise asked for, no calls."""

    def traced(*argv: str, calls: str = "getpgid", **options: Any) -> list[Traced]:
        found: list[Traced] = []
        options.setdefault("show", found.append)
        options.setdefault("note", pytest.fail)
        trace.trace(guest, module, calls.split(","), argv, **options)
        return found

    return traced


def texts(found: list[Traced]) -> list[str]:
    """What is shown, without ids and the arguments of calls."""
    return [re.sub(r"^\[\d+\] |(?<=\()0x[^)]*(?=\))", "", str(one)) for one in found]


def signal_line(name: str, code: str) -> str:
    return f"--- {name} {{si_signo={name}, si_code={code}}} ---"


def ends(found: list[Traced]) -> list[str]:
    return [one.name for one in found if isinstance(one, TracedEnd)]


def signals(found: list[Traced]) -> list[str]:
    return [one.name for one in found if isinstance(one, TracedSignal)]


# ---- how a process ends ----


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("os._exit(3)", "exited with 3"),
        ("os._exit(-1)", "exited with 255"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("os.kill(os.getpid(), 15)", "killed by SIGTERM"),
        ("os.kill(os.getpid(), 35)", "killed by SIGRT_3"),
        ("os.execv('/bin/false', ['false'])", "exited with 1"),
    ],
)
def test_how_the_command_has_ended(run: Run, body: str, text: str) -> None:
    assert texts(run(*PYTHON, f"import os; {body}")) == [f"+++ {text} +++"]


def test_a_command_that_dumps_core(guest: Guest, run: Run) -> None:
    pattern = "/proc/sys/kernel/core_pattern"
    before = guest.run(f"cat {pattern}").check().stdout.strip()
    set_pattern = ["sh", "-c", f'printf "%s" "$1" > {pattern}', "sh"]
    body = (
        "import ctypes, resource; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1));"
        "ctypes.string_at(0)"
    )
    guest.run([*set_pattern, "/tmp/core-of-trace"]).check()
    try:
        found = run("python3", "-Ic", body)
    finally:
        guest.run([*set_pattern, before]).check()
    guest.run("rm /tmp/core-of-trace*").check()
    assert texts(found) == [
        signal_line("SIGSEGV", "SEGV_MAPERR"),
        "+++ killed by SIGSEGV (core dumped) +++",
    ]


def test_a_program_whose_name_looks_like_an_end(guest: Guest, run: Run) -> None:
    name = "/tmp/x +++ exited with 0 +++"
    guest.run(["cp", "/bin/false", name]).check()
    assert texts(run(name)) == ["+++ exited with 1 +++"]
    guest.run(["rm", name]).check()


def test_set_user_id_programs(guest: Guest, run: Run) -> None:
    guest.run("install -m 4755 /bin/false /tmp/set-user-id").check()
    body = "/tmp/set-user-id; exec /tmp/set-user-id"
    found = run("sh", "-c", body, user="nobody", follow=True)
    assert ends(found) == ["exited with 1"] * 2
    guest.run("rm /tmp/set-user-id").check()


# ---- threads ----

# Starts a thread that carries out the body once the first one has ended, or waits for it.
LEFT = """
import ctypes, os, threading, time
libc = ctypes.CDLL(None)
def leave(status): libc.syscall({exit}, status)
def state():
    with open(f"/proc/self/task/{{os.getpid()}}/stat") as file: return file.read().split()[2]
def go_on():
    while state() != "Z": time.sleep(0.01)
    {body}
threading.Thread(target=go_on).start()
leave(3)
"""


@pytest.mark.parametrize("follow", [False, True])
def test_threads_end_before_their_process(run: Run, follow: bool) -> None:
    body = (
        "import os, threading; threading.Thread(target=os.getppid).start()\n"
        "while len(os.listdir('/proc/self/task')) > 1: pass\n"
        "os._exit(4)"
    )
    (call, thread, process) = run("python3", "-Ic", body, follow=follow, calls="getppid")
    assert (call.thread, call.process) == (thread.thread, process.thread)
    assert ends([thread, process]) == ["exited with 0", "exited with 4"]


@pytest.mark.parametrize(
    ("body", "last", "whole"),
    [
        ("os._exit(5)", "exited with 5", ("exited with 5", "exited")),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL", ("killed by SIGKILL",)),
        ("leave(3)", "exited with 3", ("exited with 3",)),
        # Which of them decides depends on the kernel.
        ("leave(5)", "exited with 5", ("exited with 5", "exited")),
    ],
)
def test_the_first_thread_leaves_before_the_others(
    guest: Guest, run: Run, body: str, last: str, whole: tuple[str, ...]
) -> None:
    """What is shown of the process is what its parent sees, or that it is not known."""
    program = LEFT.format(exit=guest.syscalls.number("exit"), body=body)
    found = run("python3", "-Ic", program)
    assert [one.thread == one.process for one in found] == [False, True]
    assert ends(found)[0] == last
    assert ends(found)[1] in whole
    seen = int(guest.run(f"{shlex.join(['python3', '-Ic', program])}; echo $?").stdout)
    end = found[1]
    assert isinstance(end, TracedEnd)
    if end.status is not None:
        assert end.status == (signal.SIGKILL if seen == 128 + signal.SIGKILL else seen << 8)


def test_an_exec_ends_the_other_threads(run: Run) -> None:
    """Also if the first one isn't the one that goes on."""
    body = (
        "import os, threading;"
        "threading.Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'exit 3'])).start();"
        "os.read(os.pipe()[0], 1)"
    )
    assert texts(run("python3", "-Ic", body)) == ["+++ exited with 3 +++"]


# ---- children ----


def test_the_end_of_a_child_comes_before_its_parent_knows_of_it(run: Run) -> None:
    body = (
        "import os, signal; signal.signal(signal.SIGCHLD, lambda *_: 0); child = os.fork();"
        "child or os._exit(3); os.waitpid(child, 0); os.getppid(); os._exit(0)"
    )
    child = signal_line("SIGCHLD", "CLD_EXITED")
    own = ["getppid() = 0", "+++ exited with 0 +++"]
    found = [re.sub(r"= \d+", "= 0", text) for text in texts(run(*PYTHON, body, calls="getppid"))]
    assert found == [child, *own]
    found = [
        re.sub(r"= \d+", "= 0", text)
        for text in texts(run(*PYTHON, body, follow=True, calls="getppid,wait4,exit_group"))
    ]
    found.remove("wait4() = 0")  # before or after the signal
    assert found == [
        *("exit_group() = ?", "+++ exited with 3 +++", child),
        *(own[0], "exit_group() = ?", own[1]),
    ]


def test_a_child_of_vfork(run: Run) -> None:
    body = (
        "import os; os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'kill -9 $$'], {}), 0);"
        "os._exit(2)"
    )
    assert texts(run(*PYTHON, body, follow=True)) == [
        "+++ killed by SIGKILL +++",
        "+++ exited with 2 +++",
    ]


def test_a_thousand_children(run: Run) -> None:
    body = (
        "import os, signal\n"
        "signal.signal(signal.SIGCHLD, lambda *_: 0)\n"
        "for number in range(1000):\n"
        "    child = os.fork()\n"
        "    child or os._exit(number % 200)\n"
        "    os.waitpid(child, 0)\n"
    )
    found = run(*PYTHON, body, follow=True)
    wanted = Counter(f"exited with {number}" for number in range(200) for _ in range(5))
    wanted["exited with 0"] += 1
    assert Counter(ends(found)) == wanted
    assert signals(found) == ["SIGCHLD"] * 1000


def test_a_child_that_outlives_the_command(guest: Guest, run: Run) -> None:
    assert texts(run("sh", "-c", "sleep 1003 & exit 2", follow=True)) == ["+++ exited with 2 +++"]
    guest.run("kill $(ps -eo pid,args | awk '/[s]leep 1003/ {print $1}')").check()


def test_processes_of_another_pid_namespace(run: Run) -> None:
    """They have the ids that they have outside of it."""
    found = run("unshare", "-pf", "sh", "-c", "exit 6", follow=True)
    assert ends(found) == ["exited with 6"] * 2
    assert found[0].thread > found[1].thread


# ---- signals ----


def test_a_signal_that_is_handled_or_blocked_or_ignored(run: Run) -> None:
    """It is shown when it is delivered, and not if it is ignored."""
    body = (
        "import os, signal, time\n"
        "me = os.getpid()\n"
        "for number in (10, 12, 36): signal.signal(number, lambda *_: 0)\n"
        "os.kill(me, 10)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [12])\n"
        "os.kill(me, 12)\n"
        "os.getppid()\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [12])\n"
        "signal.signal(1, signal.SIG_IGN)\n"
        "os.kill(me, 1)\n"
        "os.kill(me, 36)\n"
    )
    (first, call, *rest) = texts(run(*PYTHON, body, calls="getppid"))
    assert first == signal_line("SIGUSR1", "SI_USER")
    assert call.startswith("getppid() = ")
    assert rest == [
        signal_line("SIGUSR2", "SI_USER"),
        signal_line("SIGRT_4", "SI_USER"),
        "+++ exited with 0 +++",
    ]


def test_options_of_tracefs_change_nothing(guest: Guest, run: Run) -> None:
    """An instance begins with the options of the top level, whoever has set them."""
    with odd_tracing(guest):
        found = run("mkdir", "/tmp", calls="mkdir,exit_group")
    assert texts(found) == ["mkdir() = -1 EEXIST", "exit_group() = ?", "+++ exited with 1 +++"]
    assert {one.process for one in found} == {found[0].thread}


def test_a_signal_comes_after_the_call_that_it_interrupts(run: Run) -> None:
    body = "import signal; signal.signal(14, lambda *_: 0); signal.alarm(1); signal.pause()"
    (call, *rest) = texts(run(*PYTHON, body, calls="pause,ppoll"))
    assert call.endswith("() = ? ERESTARTNOHAND (To be restarted if no handler)")
    assert rest == [signal_line("SIGALRM", "SI_KERNEL"), "+++ exited with 0 +++"]


def test_a_command_that_is_stopped_and_continued(run: Run) -> None:
    """A child does that, so that it happens for certain."""
    body = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCONT, lambda *_: 0)\n"
        "child, me = os.fork(), os.getppid()\n"
        "if not child:\n"
        "    os.kill(me, signal.SIGSTOP)\n"
        "    while open(f'/proc/{me}/stat').read().split()[2] != 'T': time.sleep(0.01)\n"
        "    os.kill(me, signal.SIGCONT)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    assert texts(run(*PYTHON, body)) == [
        signal_line("SIGSTOP", "SI_USER"),
        signal_line("SIGCONT", "SI_USER"),
        "+++ exited with 0 +++",
    ]


COMPARED = """
import os, signal, threading
for number in (2, 10, 17, 35, 64): signal.signal(number, lambda *_: 0)
for number in (2, 10, 35, 64): os.kill(os.getpid(), number)
thread = threading.Thread(target=signal.pthread_kill, args=(threading.get_ident(), 10))
thread.start()
thread.join()
for end in (0, 7, 9, 11):
    child = os.fork()
    if not child and end < 9: os._exit(end)
    if not child: os.kill(os.getpid(), end)
    os.waitpid(child, 0)
os.kill(os.getpid(), 6)
"""


def test_the_lines_are_those_of_strace(guest: Guest, run: Run) -> None:
    if guest.run("command -v strace").status:
        pytest.skip("the guest has no strace")
    argv = ["python3", "-Ic", COMPARED]
    guest.run(["strace", "-f", "-o", "/tmp/strace", "-e", "trace=none", *argv])
    lines = guest.get("/tmp/strace").decode().splitlines()
    # What the kernel's event has no fields for.
    shorter = [re.sub(r"(si_code=\w+), .*}", r"\1}", line) for line in lines]
    wanted = Counter(re.sub(r"^\d+ +", "", line) for line in shorter)
    assert Counter(texts(run(*argv, follow=True))) == wanted


# ---- what is left behind, and what is absent ----


def test_probes_of_others_stay_and_those_of_killed_runs_do_not(guest: Guest, run: Run) -> None:
    mount_tracing(guest)
    guest.run(f"mkdir {TRACING}/instances/pyharness-4194304-printk").check()
    for name in ("pyharness_4194304_printk/thread_end", "others/thread_end"):
        guest.run(f"echo p:{name} acct_collect >> {PROBES}").check()
    during: list[str] = []

    def show(_one: Traced) -> None:
        during.append(guest.run(f"cat {PROBES}").check().stdout)

    run("true", show=show)
    after = guest.run(f"cat {PROBES}").check().stdout
    assert re.fullmatch(r"p:others/thread_end acct_collect\n", after)
    assert re.fullmatch(rf"{after}p:pyharness_\d+_printk/thread_end acct_collect.*\n", during[0])
    guest.run(f"echo -:others/thread_end >> {PROBES}").check()
    assert guest.run(f"ls {TRACING}/instances").check().stdout == ""


def test_that_ends_are_not_known_is_said(guest: Guest, run: Run) -> None:
    mount_tracing(guest)
    noted: list[str] = []
    guest.run(f"mount --bind {PROBES} {PROBES} && mount -o remount,bind,ro {PROBES}").check()
    try:
        (first, call) = run(
            *PYTHON,
            "import os, signal; signal.signal(10, lambda *_: 0); os.kill(os.getpid(), 10);"
            "os.getppid()",
            calls="getppid",
            note=noted.append,
        )
    finally:
        guest.run(f"umount {PROBES}").check()
    assert first.name == "SIGUSR1"
    assert isinstance(call, TracedCall)
    assert call.result != "?"
    assert noted == [
        "ends of threads and processes are not shown: acct_collect() can't be probed: Read-only"
        " file system"
    ]
