#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tell the interceptor which system calls to intercept, and whose to log.

It issues the commands of interceptor.h, on the machine where the module is
loaded. Python 3.9 or later, its standard library alone; interceptorctl(8) says
how to use it. Exit status: 0 done, 1 refused, 2 wrong usage, 3 no interceptor.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import re
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Union

VERSION = "1.0.0"
STATUS = "/proc/interceptor"
LOG = "/dev/kmsg"
RING = "/dev/interceptor"
CHANNEL = "/sys/module/interceptor/parameters/log"
TRACING = "/sys/kernel/tracing"
INTERCEPT, RELEASE, START, STOP = 1, 2, 3, 4
EVERYBODY = "all"

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LARGEST_ERROR = 4095
LARGEST_INT = (1 << 31) - 1

# __NR_restart_syscall, the number of my_syscall(), by the caller's own numbers.
CUSTOM = {"i386": 0, "x86_64": 219, "aarch64": 128}
# Which headers have those numbers, the likeliest first. Debian 13 has those of all
# architectures side by side.
HEADERS = {
    "i386": (
        "/usr/include/i386-linux-gnu/asm/unistd_32.h",
        "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
        "/usr/include/asm/unistd_32.h",
    ),
    "x86_64": (
        "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "/usr/include/asm/unistd_64.h",
    ),
    "aarch64": (
        "/usr/include/aarch64-linux-gnu/asm/unistd_64.h",
        "/usr/include/asm/unistd_64.h",
        "/usr/include/asm-generic/unistd.h",
    ),
}
# Bookkeeping of asm-generic/unistd.h, not calls.
NO_CALLS = ("syscalls", "arch_specific_syscall")


class Refused(Exception):
    """The request was refused; the message says why, and names the fix."""

    status = 1


class Usage(Refused):
    """The command line is wrong."""

    status = 2


class NoInterceptor(Refused):
    """The module is not loaded."""

    status = 3

    def __init__(self) -> None:
        super().__init__("the interceptor is not loaded: modprobe interceptor")


# ---- system calls ----


def native_abi() -> str:
    """The ABI whose system call numbers this program uses."""
    machine = platform.machine()
    if machine == "aarch64":
        return machine
    return "x86_64" if machine == "x86_64" and sys.maxsize > 1 << 32 else "i386"


def syscall(number: int, *args: int) -> tuple[int, int]:
    """Issue a system call: what the C library returns, and errno, 0 if there was no error."""
    ctypes.set_errno(0)
    value = LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    return value, ctypes.get_errno() if value == -1 else 0


# int f(int *registers): eax, ebx, ecx, edx, esi, edi and ebp from there; int 0x80
CODE = bytes.fromhex("53558b078b5f048b4f088b570c8b77108b6f188b7f14cd805d5bc3")


def int80(number: int, *args: int, repeat: int = 1) -> tuple[int, int]:
    """Issue a system call by the 32-bit ABI of an amd64 kernel, from a 64-bit program."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, len(CODE), flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(CODE)
        registers = (ctypes.c_int * 7)(number, *args)
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address(code))
        for _ in range(repeat):
            value = call(ctypes.addressof(registers))
    error = -value if -LARGEST_ERROR <= value < 0 else 0
    return (-1 if error else value), error


def address(memory: mmap.mmap) -> int:
    """Where memory is."""
    first = ctypes.c_char.from_buffer(memory)
    try:
        return ctypes.addressof(first)
    finally:
        del first


def command(request: int, number: int, pid: int = 0, abi: str = "") -> int:
    """Issue a command of interceptor.h: 0, or the number of an error.

    With ``abi`` "i386" on amd64, the command is issued by that ABI, with its number of the call.
    """
    if abi:
        return int80(CUSTOM[abi], request, number, pid)[1]
    return syscall(CUSTOM[native_abi()], request, number, pid)[1]


# ---- names and numbers ----


def numbers(of: str) -> dict[str, int]:
    """Each call's number by its name, as far as this machine's headers say."""
    for header in filter(os.path.exists, HEADERS[of]):
        with open(header, encoding="ascii", errors="replace") as file:
            found = re.findall(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", file.read(), re.M)
        if found:
            return {name: int(number) for name, number in found if name not in NO_CALLS}
    return {}


def whole(text: str) -> int | None:
    """The number that is written there, if it is one that the module's ``int`` can hold."""
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else None
    return number if number is not None and number <= LARGEST_INT else None


def find(call: str) -> tuple[str, int]:
    """The ABI and the number of a call: "mkdir", "39", or on amd64 "i386:mmap2"."""
    abi, colon, name = call.rpartition(":")
    if colon and (abi, native_abi()) != ("i386", "x86_64"):
        raise Usage(f"{call!r}: only amd64 has a second ABI, i386, as in i386:mmap2")
    if (number := whole(name)) is not None:
        return abi, number
    known = numbers(abi or native_abi())
    if not known:
        raise Usage(
            f"no installed header defines {name!r}: write its number, or install linux-libc-dev"
        )
    if name not in known:
        raise Usage(f"there is no system call {name!r}; see syscalls(2)")
    return abi, known[name]


def all_names() -> list[str]:
    """The names of all calls, sorted."""
    known = numbers(native_abi())
    if not known:
        raise Refused("no header here has the names of system calls: install linux-libc-dev")
    return sorted(known)


def names() -> dict[str, str]:
    """Each call's name by its number as the status file has it, "39" or "i386:192"."""
    found = {str(number): name for name, number in numbers(native_abi()).items()}
    if native_abi() == "x86_64":
        found |= {f"i386:{number}": name for name, number in numbers("i386").items()}
    return found


# ---- what the module says ----


def state() -> list[dict[str, Any]]:
    """What is intercepted and who is monitored, an entry for each call."""
    try:
        with open(STATUS, encoding="ascii") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise NoInterceptor from None
    except PermissionError:
        raise Refused("only root sees who is monitored: sudo interceptorctl status") from None
    known = names()
    found: list[dict[str, Any]] = []
    for line in lines:
        number, mode, *rest = line.split()
        call = {"number": number, "name": known.get(number, number), "mode": mode}
        pids = [int(word) for word in rest if word != "off"]
        found.append({**call, "pids": pids, "off": "off" in rest})
    return found


# ---- what is recorded ----


class Call(NamedTuple):
    """A recorded call: seconds since boot, thread, number as the status file has it, arguments."""

    seconds: float
    thread: int
    number: str
    args: list[int]


class Lost(NamedTuple):
    """How many calls were overwritten before they were read; 0 if that is unknown."""

    calls: int


# The first item is None: it can be read, and each call from then on follows.
Recorded = Iterator[Union[Call, Lost, None]]


def number_of(number: int, abi: object) -> str:
    """A number as the status file has it."""
    return f"i386:{number}" if abi else str(number)


def recorded() -> Recorded:
    """The calls that are recorded from now on, from where the module's parameter log says."""
    if not os.path.exists(STATUS):
        raise NoInterceptor
    try:
        with open(CHANNEL, encoding="ascii") as file:
            channel = file.read().strip()
    except FileNotFoundError:
        channel = "printk"
    return {"event": events, "ring": ring}.get(channel, log_lines)()


def open_to_read(path: str, why: str) -> int:
    """Open a file; ``why`` says why a user may not."""
    try:
        return os.open(path, os.O_RDONLY)
    except PermissionError:
        raise Refused(f"{why}: sudo") from None


# A line of interceptor.h's INTERCEPTOR_LOG_LINE, in a record of the kernel log at level debug.
LINE = re.compile(r"(\d+),\d+,(\d+),[^;]*;\[([0-9a-f]+)\]([0-9a-f]+)\(([0-9a-f,]+)\)( i386)?\n")
DEBUG = 7


def log_lines() -> Recorded:
    """The lines of the kernel log."""
    log = open_to_read(LOG, "the kernel log is not yours to read")
    os.lseek(log, 0, os.SEEK_END)
    yield None
    while True:
        try:
            record = os.read(log, 8192).decode(errors="replace")
        except BrokenPipeError:  # overwritten before it was read
            yield Lost(0)
            continue
        parts = LINE.match(record)
        if parts and int(parts[1]) & 7 == DEBUG:
            args = [int(arg, 16) for arg in parts[5].split(",")]
            number = number_of(int(parts[4], 16), parts[6])
            yield Call(int(parts[2]) / 1e6, int(parts[3], 16), number, args)


# "         bash-412     [001] .....    12.345678: syscall: 27(bf8e3a10,1ff,0,0,0,0)"
# With the option record-tgid, "(    412) " or "(-------) " is before the CPU. The option is left as
# it is: to clear it in one instance ends the recording of these ids for the events of all.
EVENT = re.compile(
    r".*-(\d+) +(?:\([ \d-]+\) +)?\[\d+\] \S+ +(\d+\.\d+): "
    r"syscall: ([0-9a-f]+)\(([0-9a-f,]+)\)( i386)?\n"
)
# An instance begins with the options of the top level, which somebody may have changed.
OPTIONS = {
    # the form of a line
    "context-info": "1",
    "irq-info": "1",
    "latency-format": "0",
    "bin": "0",
    "hex": "0",
    "raw": "0",
    "fields": "0",
    # records besides the events, which leave less room for them
    "stacktrace": "0",
    "userstacktrace": "0",
    # without it, the kernel does not tell of events that it leaves out
    "overwrite": "1",
}
LOST = re.compile(r"CPU:\d+ \[LOST (\d+) EVENTS\]\n")
OWN = "interceptorctl-"


def remove_instance(instance: str) -> None:
    """Remove an instance of tracefs, unless it is gone."""
    with contextlib.suppress(OSError):
        os.rmdir(instance)


def choose_options(instance: str) -> None:
    """Have an instance's lines be those of EVENT and LOST, whatever the options were."""
    for option, value in OPTIONS.items():
        path = f"{instance}/options/{option}"
        if os.path.exists(path):  # some depend on the kernel's release and configuration
            with open(path, "w", encoding="ascii") as setting:
                setting.write(value)


def events() -> Recorded:
    """The trace event interceptor:syscall, in an instance of tracefs of its own."""
    instances = f"{TRACING}/instances"
    if os.geteuid():
        raise Refused("trace events are for root: sudo")
    if not os.path.isdir(instances):
        raise Refused(f"tracefs is not mounted: mount -t tracefs none {TRACING}")
    own = os.getpid()
    for name in os.listdir(instances):  # of a watch that was killed
        left = re.fullmatch(OWN + "([0-9]+)", name)
        if left and (int(left[1]) == own or not exists(int(left[1]))):
            remove_instance(f"{instances}/{name}")
    instance = f"{instances}/{OWN}{own}"
    os.mkdir(instance)
    try:
        choose_options(instance)
        for file, text in (
            ("set_event_notrace_pid", str(own)),
            ("events/interceptor/syscall/enable", "1"),
        ):
            with open(f"{instance}/{file}", "w", encoding="ascii") as setting:
                setting.write(text)
        with open(f"{instance}/trace_pipe", encoding="ascii", errors="replace") as pipe:
            yield None
            for line in pipe:
                if parts := EVENT.fullmatch(line):
                    args = [int(arg, 16) for arg in parts[4].split(",")]
                    number = number_of(int(parts[3], 16), parts[5])
                    yield Call(float(parts[2]), int(parts[1]), number, args)
                elif lost := LOST.fullmatch(line):
                    yield Lost(int(lost[1]))
    finally:
        remove_instance(instance)


# struct interceptor_rings and interceptor_record of interceptor.h.
RINGS = struct.Struct("=7I")
RECORD = {64: struct.Struct("=QIHBB6Q"), 40: struct.Struct("=QIHBB6I")}
RING_VERSION = 1
POLL_MILLISECONDS = 100


def ring() -> Recorded:
    """The records of /dev/interceptor, each CPU's in their order, merged by time."""
    device = open_to_read(RING, "the ring is for root")
    with mmap.mmap(device, mmap.PAGESIZE, prot=mmap.PROT_READ) as head:
        version, cpus, records, size, first, stride, data = RINGS.unpack_from(head)
    if version != RING_VERSION or size not in RECORD:
        raise Refused(f"{RING} has another form than this program knows (version {version})")
    poll = select.poll()
    poll.register(device, select.POLLIN)
    with mmap.mmap(device, first + cpus * stride, prot=mmap.PROT_READ) as memory:
        word = struct.Struct("=Q" if size == 64 else "=I")
        heads = [first + cpu * stride for cpu in range(cpus)]
        behind = 1 << 8 * word.size  # what a head wraps at
        read = [word.unpack_from(memory, head)[0] for head in heads]
        yield None
        while True:
            if poll.poll(POLL_MILLISECONDS):
                os.read(device, 8)
            found, lost = [], 0
            for cpu, head in enumerate(heads):
                there = (word.unpack_from(memory, head)[0] - read[cpu]) % behind
                lost += max(0, there - records)
                for index in range(read[cpu] + max(0, there - records), read[cpu] + there):
                    place = head + data + index % records * size
                    record = RECORD[size].unpack_from(memory, place)
                    if (word.unpack_from(memory, head)[0] - index) % behind >= records:
                        lost += 1
                    else:
                        found.append(record)
                read[cpu] = (read[cpu] + there) % behind
            if lost:
                yield Lost(lost)
            for time, thread, number, abi, _, *args in sorted(found):
                yield Call(time / 1e9, thread, number_of(number, abi), args)


# ---- what a user types ----

WHY = {
    (INTERCEPT, errno.EPERM): "only root may intercept: sudo",
    (INTERCEPT, errno.EBUSY): "{call} is intercepted already",
    (INTERCEPT, errno.EINVAL): "{call} can't be intercepted: the kernel has no such number, or it"
    " is the one that takes commands",
    (RELEASE, errno.EPERM): "only root may release: sudo",
    (RELEASE, errno.EINVAL): "{call} is not intercepted: interceptorctl status shows what is",
    (RELEASE, errno.EBUSY): "somebody else has replaced {call} since: dmesg says more",
    (START, errno.EPERM): "{who} is not yours to monitor: sudo",
    (START, errno.EBUSY): "{call} by {who} is monitored already",
    (START, errno.EINVAL): "{call} is not intercepted: sudo interceptorctl intercept {call}",
    (STOP, errno.EPERM): "{who} is not yours: sudo",
    (STOP, errno.EINVAL): "{call} by {who} is not monitored: interceptorctl status shows what is",
}


def issue(request: int, call: str, where: tuple[str, int], pid: int = 0) -> None:
    """Issue a command, and report its outcome; ``where`` is what find() returned for the call."""
    by, number = where
    error = command(request, number, pid, by)
    if error == errno.EINTR:  # restart_syscall() without a sleep to restart
        raise NoInterceptor
    if not error:
        return
    who = f"process {pid}" if pid else "everybody"
    if error == errno.EINVAL and pid and not exists(pid):
        raise Refused(f"there is no process {pid}")
    why = WHY.get((request, error), "{call}: " + os.strerror(error))
    raise Refused(why.format(call=call, who=who))


def exists(pid: int) -> bool:
    """Whether there is a process or thread of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def reroute(request: int, done: str, calls: list[str]) -> None:
    """Intercept or release calls, one after the other; none if there is no such call among them."""
    for call, where in {call: find(call) for call in calls}.items():
        issue(request, call, where)
        print(f"{call}: {done}")


def process(text: str) -> int:
    """The number of a process, 0 for everybody."""
    if text == EVERYBODY:
        return 0
    number = whole(text)
    if not number:
        raise Usage(f"{text!r} is neither the number of a process nor {EVERYBODY!r}")
    return number


def monitor(request: int, done: str, call: str, whom: list[str]) -> None:
    """Start or stop monitoring processes, one after the other; none if one is not understood."""
    where = find(call)
    for pid in [process(one) for one in whom]:
        issue(request, call, where, pid)
        print(f"{call} by {f'process {pid}' if pid else 'everybody'}: {done}")


def show_status(*, as_json: bool) -> None:
    """Print what is intercepted."""
    found = state()
    if as_json:
        print(json.dumps(found))
        return
    for line in found:
        words = [line["mode"], *map(str, line["pids"]), *["off"] * line["off"]]
        print(f"{line['number']:>8} {line['name']:24} {' '.join(words)}")
    if not found:
        print("nothing is intercepted")


def end_by_exception() -> None:
    """Have signals end this program by an exception, so that it leaves nothing behind."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))


def chosen(calls: list[str], note: Callable[[int], None]) -> Iterator[Call]:
    """The recorded calls that are among these, or all; ``note`` gets the counts of lost calls.

    This program's own calls are left out: it makes some for each call that it prints.
    """
    wanted = {number_of(number, by) for by, number in map(find, calls)}
    end_by_exception()
    source, own = recorded(), os.getpid()
    next(source)  # so that what is refused is refused before anything is written

    def among() -> Iterator[Call]:
        for one in source:
            if isinstance(one, Lost):
                note(one.calls)
            elif one and one.thread != own and (not wanted or one.number in wanted):
                yield one

    return among()


def watch(calls: list[str]) -> None:
    """Print recorded calls as they come, until Ctrl-C."""

    def note(count: int) -> None:
        print(f"interceptorctl: {count or 'some'} calls were lost", file=sys.stderr, flush=True)

    known = names()
    for call in chosen(calls, note):
        text = f"{known.get(call.number, call.number)}({', '.join(map(hex, call.args))})"
        mark = " i386" if call.number.startswith("i386:") else ""
        print(f"{call.seconds:12.6f} [{call.thread}] {text}{mark}", flush=True)


def record(path: str, calls: list[str]) -> None:
    """Write recorded calls to a file, a JSON object on each line, until Ctrl-C."""
    known, count, lost = names(), 0, 0

    def note(more: int) -> None:
        nonlocal lost
        lost += more or 1

    found = chosen(calls, note)
    with open(path, "w", encoding="ascii", buffering=1) as file:
        print(f"recording to {path}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            for call in found:
                name = known.get(call.number, call.number)
                line = {"time": call.seconds, "pid": call.thread, "syscall": name,
                        "number": call.number, "args": call.args}  # fmt: skip
                file.write(json.dumps(line) + "\n")
                count += 1
        finally:
            print(f"{path}: {count} calls, {lost} lost", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """What a user may type."""
    top = argparse.ArgumentParser(prog="interceptorctl", description=__doc__.splitlines()[0])
    top.add_argument("-V", "--version", action="version", version=f"interceptorctl {VERSION}")
    kinds = top.add_subparsers(dest="kind", required=True, metavar="COMMAND")

    def add(name: str, description: str) -> argparse.ArgumentParser:
        return kinds.add_parser(name, help=description, description=description)

    call = "a system call's name or number; on amd64 also i386:NAME"
    for name, description in (
        ("intercept", "route system calls through the interceptor; for root"),
        ("release", "restore system calls; for root"),
    ):
        add(name, description).add_argument("calls", nargs="+", metavar="CALL", help=call)
    for name, description in (
        ("start", "log each such call of processes, or of everybody"),
        ("stop", "stop logging them"),
    ):
        kind = add(name, description)
        kind.add_argument("call", metavar="CALL", help=call)
        kind.add_argument("whom", nargs="+", metavar="PID|all", help="process or thread, or all")
    kind = add("status", "print what is intercepted and who is monitored; for root")
    kind.add_argument("--json", action="store_true", help="as JSON")
    add("names", "print the names of all system calls")
    kind = add(
        "watch",
        "print recorded calls as they come, until Ctrl-C; for root, or who may read the kernel log",
    )
    kind.add_argument("calls", nargs="*", metavar="CALL", help=f"only these: {call}")
    kind = add("record", "write recorded calls to a file as JSON lines, until Ctrl-C")
    kind.add_argument("-o", "--output", required=True, metavar="FILE", help="the file")
    kind.add_argument("calls", nargs="*", metavar="CALL", help=f"only these: {call}")
    return top


def main() -> int:
    """Do what the user typed; the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    typed = parser().parse_args()
    try:
        if typed.kind == "intercept":
            reroute(INTERCEPT, "intercepted", typed.calls)
        elif typed.kind == "release":
            reroute(RELEASE, "released", typed.calls)
        elif typed.kind == "start":
            monitor(START, "monitored", typed.call, typed.whom)
        elif typed.kind == "stop":
            monitor(STOP, "not monitored any more", typed.call, typed.whom)
        elif typed.kind == "status":
            show_status(as_json=typed.json)
        elif typed.kind == "names":
            print("\n".join(all_names()))
        elif typed.kind == "record":
            record(typed.output, typed.calls)
        else:
            watch(typed.calls)
        print(end="", flush=True)
    except Refused as error:
        print(f"interceptorctl: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:  # which is how a watch ends; all else has been cut short
        return 0 if typed.kind in ("watch", "record") else 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except OSError as error:  # such as a full disk, or a file that can't be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more at its exit
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"interceptorctl: {where}{error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
