# SPDX-License-Identifier: GPL-2.0
"""What trace shows of the arguments of calls, compared with what strace shows of a program."""

import re
import sys

import pytest

from pyharness import Guest
from pyharness.interceptor import Interceptor, call_facts, trace
from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall

# Issues calls whose arguments are numbers, modes, and names.
PROGRAM = """
import contextlib, mmap, os, signal, socket, time
os.makedirs("/tmp/arguments", 0o751, exist_ok=True)
os.chmod("/tmp/arguments", 0o4710)
for flags in (os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_SYNC):
    os.close(os.open("/tmp/arguments/file", flags, 0o640))
for flags in (
    *(os.O_DIRECTORY, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, os.O_NONBLOCK | os.O_NOATIME),
    os.O_ASYNC,
):
    os.close(os.open("/tmp/arguments", flags))
os.close(os.open("/", os.O_TMPFILE | os.O_RDWR, 0o600))
folder = os.open("/tmp/arguments", os.O_RDONLY)
os.lseek(folder, 0, os.SEEK_CUR)
os.unlink("file", dir_fd=folder)
os.rmdir("/tmp/arguments")
os.stat("tmp", dir_fd=os.open("/", os.O_PATH), follow_symlinks=False)
for mode in (os.R_OK | os.W_OK | os.X_OK, os.R_OK | os.X_OK, os.F_OK):
    os.access("/tmp", mode)
os.chown("/tmp", -1, 0)
os.umask(0o22), os.umask(0)
for mode in (0o644, 0o10755, 0o20600, 0o160600):
    with contextlib.suppress(OSError):
        os.mknod("/nosuch/node", mode, os.makedev(1, 300))
memory = mmap.mmap(-1, 12345, mmap.MAP_SHARED, mmap.PROT_READ)
memory.madvise(mmap.MADV_DONTNEED)
os.dup2(0, 9), os.dup2(0, 8, inheritable=False), os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
for flags in (0, socket.SOCK_NONBLOCK):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | flags).close()
os.kill(1, 0), os.kill(1, signal.SIGCONT)
for number in (32, 33, 34, 64):
    with contextlib.suppress(ProcessLookupError):
        os.kill(0x3FFFFFFF, number)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
time.sleep(0.001)
os.fork() or os._exit(7)
os.waitpid(-1, os.WCONTINUED | os.WUNTRACED)
"""
CALLS = (
    *("openat", "close", "read", "lseek", "mmap", "mmap2", "mprotect", "munmap", "madvise", "brk"),
    *("mkdir", "mkdirat", "chmod", "fchmodat", "unlinkat", "rmdir", "access", "faccessat"),
    *("umask", "mknod", "mknodat"),
    *("newfstatat", "fstatat64", "dup2", "dup3", "pipe2", "socket", "kill", "rt_sigprocmask"),
    *("rt_sigaction", "wait4", "waitpid", "chown", "chown32", "fchownat", "getrandom"),
    *("prlimit64", "exit_group", "set_robust_list", "clock_nanosleep", "clock_nanosleep_time64"),
)
STRACE = re.compile(r"(\w+)\((.*)\) += .*")


def comparable(arguments: str) -> tuple[str, ...]:
    """The arguments, with P for what has an address.

    Strings, structures and arrays are printed by strace, and their addresses by trace.
    """
    arguments = re.sub(r'"[^"]*"(\.\.\.)?', "P", arguments)
    while (inner := re.sub(r"\{[^][{}]*\}|~?\[[^][{}]*\]", "P", arguments)) != arguments:
        arguments = inner
    arguments = re.sub(r"0x[0-9a-f]+", "P", arguments)
    return tuple(arguments.split(", "))


def test_arguments_are_those_that_strace_shows(
    guest: Guest, module: Interceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if guest.run("command -v strace").status:
        pytest.skip("the guest has no strace")
    monkeypatch.setattr(sys, "stdin", None)
    program = ["env", "-i", "PATH=/usr/bin:/bin", "python3", "-ISc", PROGRAM]
    known = set(guest.syscalls.numbers)
    if "socketcall" in known:  # strace takes i386's call for the one that it is about
        known -= {"socket"}
    calls = [guest.syscalls.ref(name) for name in CALLS if name in known]
    names = ",".join(call.name for call in calls)
    guest.run(["strace", "-qq", "-o", "/tmp/strace", "-e", f"trace={names}", *program]).check()
    lines = guest.get("/tmp/strace").decode().splitlines()
    matches = [match for line in lines if (match := STRACE.fullmatch(line))]
    wanted = {(match[1], comparable(match[2])) for match in matches}

    shown = call_facts.read(guest, calls)
    found = set()

    def show(one: Traced) -> None:
        if isinstance(one, TracedCall):
            found.add((one.name, comparable(", ".join(shown(one.syscall, one.args)))))

    assert trace.trace(guest, module, calls, program, show=show) == 0
    assert found == wanted
    assert len({name for name, _ in found}) > 15
