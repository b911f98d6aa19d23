# SPDX-License-Identifier: GPL-2.0
"""The program in the guest that records one command's trace events; needs Python 3.9 alone.

    event_stream.py ORDER

ORDER is a JSON object: ``module`` (the module's name), ``status`` (the path of its status file, or
null), ``pid`` (the command) and ``others`` (whether other processes are monitored).

The first line of the output is a JSON object: ``epoch`` (microseconds to add to a time of an event
for one since the epoch) and ``absent`` (why ends of threads are not recorded; empty if they are),
or ``missing`` with the reason why there are no events. The lines of trace_pipe follow.

The line ``kill`` on standard input ends the command and all its descendants. The line ``drain``
ends the recording, and READ follows what was recorded. At the end of standard input, everything is
as it was, and the program ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

TRACING = "/sys/kernel/tracing"
INSTANCES = TRACING + "/instances"
EVENTS = "interceptor"
NAMES = ("syscall", "syscall_exit")
SIGNALS = "signal/signal_deliver"  # wherever there are trace events
KPROBES = TRACING + "/kprobe_events"
# No event of the kernel has the status with which a thread ends. Each thread that ends calls this
# function once with it, and with 1 if it is the last one of its process. That is before its
# parent can see its end.
END = "thread_end"
END_PROBE = "acct_collect status=$arg1:u32 last=$arg2:u32"
# An instance is called PREFIX, the id of its process, "-", and the value that the module's
# parameter log had before the first of the instances that were there at the same time.
PREFIX = "pyharness-"
NAME = re.compile(PREFIX + "[0-9]+-[a-z]+")
# Longer than the name of a thread, so that no such name can contain it.
READ = "# pyharness: all events have been read"
# An instance begins with the options of the top level, which somebody may have changed.
OPTIONS = {
    # the form of a line
    "context-info": "1",
    "irq-info": "1",
    "sym-addr": "0",
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
BUFFER_KILOBYTES = 8192  # of each CPU; each call takes about 120 bytes
# The thread of an event whose process the kernel does not know yet: it does once it has switched
# from the thread to another one.
UNKNOWN = re.compile(rb"-([0-9]+)( +)\(-+\)")
POLL_SECONDS = 0.02
KILL_ROUNDS = 100  # a process that the kernel can't end is left after these
CHUNK = 1 << 16
RECORDS_EVENTS = ("event", "both")


class Missing(Exception):
    """There are no events; the message says why."""


def read(path: str) -> str:
    """Read a small file."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


def write(path: str, text: str) -> None:
    """Write a file of the kernel by one system call."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def process_of(thread: str) -> str:
    """Return the id of a thread's process; empty if it is not known."""
    try:
        status = read("/proc/" + thread + "/status")
        # The name of the program is there, too, which may be any.
        return next(re.finditer("^Tgid:\t([0-9]+)$", status, re.MULTILINE))[1]
    except OSError:  # it has ended by now, and so the kernel has switched from it
        with contextlib.suppress(OSError):
            known = dict(line.split() for line in read(TRACING + "/saved_tgids").splitlines())
            return known.get(thread, "")
    return ""


def with_process(unknown: re.Match[bytes]) -> bytes:
    """Replace what UNKNOWN has found, if the process can be found out."""
    process = process_of(unknown[1].decode())
    if not process:
        return unknown[0]
    return b"-" + unknown[1] + unknown[2] + b"(" + process.rjust(7).encode() + b")"


class Log:
    """The module's parameter log."""

    def __init__(self, module: str) -> None:
        """Represent that of a module."""
        self.path = "/sys/module/" + module + "/parameters/log"

    def get(self) -> str:
        """Read it; empty if there is none."""
        try:
            return read(self.path)
        except OSError:
            return ""

    def set(self, value: str) -> None:
        """Write it, unless it has that value."""
        if self.get() != value:
            write(self.path, value)

    def choose(self, others: bool) -> str:
        """Have events recorded, and what others look at as well."""
        value = self.get()
        if value not in RECORDS_EVENTS:
            if others and value != "printk":
                raise Missing("other processes are monitored with log=" + value)
            value = "both" if others else "event"
            self.set(value)
        return value


def lives(instance: str) -> bool:
    """Whether the process of an instance still runs, and is not another with its id."""
    try:
        with open("/proc/" + instance.split("-")[1] + "/cmdline", "rb") as file:
            return PREFIX.encode() in file.read()
    except OSError:
        return False


@contextlib.contextmanager
def locked() -> Iterator[list[str]]:
    """Keep other runs from making and removing instances; yield those that there are."""
    folder = os.open(INSTANCES, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield [name for name in os.listdir(INSTANCES) if NAME.fullmatch(name)]
    finally:
        os.close(folder)


def end_event(instance: str) -> str:
    """The event of the ends of threads that belongs to an instance."""
    return instance.replace("-", "_") + "/" + END


def change_probes(line: str) -> None:
    """Add a line to kprobe_events. A file that is opened for writing anew would lose all probes."""
    file = os.open(KPROBES, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


def remove(instance: str) -> None:
    """Remove an instance and its event, if nothing uses them; otherwise, a later run does so."""
    with contextlib.suppress(OSError):
        write(INSTANCES + "/" + instance + "/events/enable", "0")
    try:
        change_probes("-:" + end_event(instance))
    except OSError as error:
        if error.errno == errno.EBUSY:  # somebody else has enabled the event
            return
    with contextlib.suppress(OSError):
        os.rmdir(INSTANCES + "/" + instance)


def value_before(instance: str) -> str:
    """The value of log before an instance was made."""
    return instance.split("-")[2]


def choose_options(instance: str) -> None:
    """Set OPTIONS in the folder of an instance."""
    for option, value in OPTIONS.items():
        path = instance + "/options/" + option
        if os.path.exists(path):  # some depend on the kernel's release and configuration
            write(path, value)


class Recording:
    """An instance of tracefs with the events of one command."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Make it.

        Raises:
            Missing: there are no events.
        """
        self.log = Log(order["module"])
        if not self.log.get():
            raise Missing("the module has no parameter log")
        if not os.path.isdir(INSTANCES):
            subprocess.run(
                ["mount", "-t", "tracefs", "none", TRACING],
                stderr=subprocess.DEVNULL,
                check=False,
            )
        for name in NAMES:
            if not os.path.isdir(TRACING + "/events/" + EVENTS + "/" + name):
                raise Missing("the kernel has no trace event " + EVENTS + ":" + name)
        with locked() as others:
            dead = [name for name in others if not lives(name)]
            living = [name for name in others if name not in dead]
            for name in dead:
                remove(name)
                if not living and self.log.get() in RECORDS_EVENTS:
                    self.log.set(value_before(name))
            before = value_before(living[0]) if living else self.log.get()
            self.name = PREFIX + str(os.getpid()) + "-" + before
            self.folder = INSTANCES + "/" + self.name
            os.mkdir(self.folder)
        self.absent = ""
        self.chosen = ""
        self.pipe = -1
        try:
            self.set_up(order)
        except BaseException:
            self.end()
            raise

    def set_up(self, order: dict[str, Any]) -> None:
        """Enable the events, for the command and its descendants alone."""
        choose_options(self.folder)
        write(self.folder + "/trace_clock", "mono")
        with contextlib.suppress(OSError):  # no memory: it is smaller
            write(self.folder + "/buffer_size_kb", str(BUFFER_KILOBYTES))
        end = end_event(self.name)
        # Before the filter: 5.15 and earlier may not apply it to events that are defined later.
        probed = self.attempt(lambda: change_probes("p:" + end + " " + END_PROBE))
        write(self.folder + "/set_event_pid", str(order["pid"]))
        write(self.folder + "/options/event-fork", "1")
        with contextlib.suppress(OSError):  # no memory: a thread counts as a process
            write(self.folder + "/options/record-tgid", "1")
        for event in (*(EVENTS + "/" + name for name in NAMES), SIGNALS):
            self.enable(event)
        if probed:
            self.attempt(lambda: self.enable(end))
        if order["status"]:
            read(order["status"])  # returns when syscall_exit is enabled
        self.pipe = os.open(self.folder + "/trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
        self.chosen = self.log.choose(order["others"])

    def enable(self, event: str) -> None:
        """Have an event recorded."""
        write(self.folder + "/events/" + event + "/enable", "1")

    def attempt(self, change: Callable[[], None]) -> bool:
        """Take a step to END; return whether the kernel lets us, and note why it does not."""
        try:
            change()
        except OSError as error:
            self.absent = "acct_collect() can't be probed: " + str(error.strerror)
            return False
        return True

    def copy(self) -> bool:
        """Copy some lines to standard output; return whether there were any."""
        try:
            data = UNKNOWN.sub(with_process, os.read(self.pipe, CHUNK))
        except BlockingIOError:
            return False
        left = memoryview(data)
        while left:
            left = left[os.write(1, left) :]
        return bool(data)

    def kill(self) -> None:
        """Kill the command and its descendants, until none is left to create another."""
        for _ in range(KILL_ROUNDS):
            threads = read(self.folder + "/set_event_pid").split()
            if not threads:
                return
            for thread in threads:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(thread), signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def drain(self) -> None:
        """Stop recording, and copy what is left."""
        write(self.folder + "/tracing_on", "0")
        while self.copy():
            pass

    def end(self) -> None:
        """Remove it; the last one restores the module's parameter."""
        if self.pipe >= 0:
            os.close(self.pipe)
        with locked() as names:
            remove(self.name)
            if any(name != self.name and lives(name) for name in names):
                return
            with contextlib.suppress(OSError):
                if self.chosen and self.log.get() == self.chosen:
                    self.log.set(value_before(self.name))


def answer(line: dict[str, Any]) -> None:
    """Write the first line."""
    os.write(1, json.dumps(line).encode() + b"\n")


def serve(recording: Recording) -> None:
    """Copy lines until standard input ends."""
    busy = False
    while True:
        ready, _, _ = select.select([0], [], [], 0 if busy else POLL_SECONDS)
        if ready:
            orders = os.read(0, CHUNK).split()
            if not orders:
                return
            if b"kill" in orders:
                recording.kill()
            if b"drain" in orders:
                recording.drain()
                os.write(1, READ.encode() + b"\n")
        busy = recording.copy()


def main() -> None:
    """Carry out the order."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    signal.signal(signal.SIGHUP, lambda _number, _frame: sys.exit(1))
    try:
        recording = Recording(json.loads(sys.argv[1]))
    except Missing as reason:
        answer({"missing": str(reason)})
        return
    except OSError as error:
        answer({"missing": "tracefs can't be used: " + str(error)})
        return
    try:
        epoch = round((time.time() - time.monotonic()) * 1e6)
        answer({"epoch": epoch, "absent": recording.absent})
        serve(recording)
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    finally:
        recording.end()


if __name__ == "__main__":
    main()
