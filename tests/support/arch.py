# SPDX-License-Identifier: GPL-2.0
"""What system calls take and are called, whatever the guest's architecture."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pyharness import Guest
from pyharness.interceptor import Call, call_log
from pyharness.interceptor.rules import kernel

AT_FDCWD = -100
TRACING = "/sys/kernel/tracing"
# What options of tracefs are not by default, and what changes the form of events or loses some.
_ODD_OPTIONS = (
    *("record-tgid", "noirq-info", "nocontext-info", "latency-format", "verbose", "sym-addr"),
    *("bin", "hex", "raw", "fields", "stacktrace", "userstacktrace", "nooverwrite"),
)
_HANDLER = {"i386": "__ia32_sys_", "x86_64": "__x64_sys_", "arm64": "__arm64_sys_"}


def handler_prefix(guest: Guest) -> str:
    """What the names of the functions that serve the guest's own calls begin with."""
    return _HANDLER[guest.syscalls.architecture]


def mount_tracing(guest: Guest) -> None:
    """Have tracefs at TRACING, if it isn't there."""
    guest.run(f"mount -t tracefs none {TRACING} 2>/dev/null; true").check()


@contextmanager
def odd_tracing(guest: Guest) -> Iterator[None]:
    """Have tracefs at TRACING with options with which each new instance begins, too."""

    def choose(options: Iterable[str]) -> None:
        """Set options, or clear those with "no" before the name; a kernel may lack some."""
        each = f"for option in {' '.join(options)}; do echo $option > {TRACING}/trace_options; done"
        guest.run(f"{{ {each}; }} 2>/dev/null; true").check()

    mount_tracing(guest)
    before = guest.run(f"cat {TRACING}/trace_options").check().stdout.split()
    choose(_ODD_OPTIONS)
    try:
        yield
    finally:
        choose(before)


def longs(guest: Guest, *values: int) -> str:
    """So many longs in memory, as an argument: a timespec is two of them."""
    size = guest.syscalls.bytes_of_long
    data = b"".join((value % (1 << 8 * size)).to_bytes(size, "little") for value in values)
    return data.decode("latin-1")


def hooked(guest: Guest) -> set[str]:
    """The kernel's functions that somebody hooks, by ftrace or a kprobe; systemd may, too."""
    return {line.split()[0] for line in kernel.hooked(guest).splitlines()}


def hooked_by(guest: Guest) -> str:
    """How the module that was loaded last got in between, as it says itself."""
    said = [r.text for r in guest.log.all() if r.text.startswith("interceptor: loaded: ")]
    return said[-1].split("hooked by ")[1]


def first_of(guest: Guest, *calls: str) -> str:
    """The first of these calls that the guest's architecture has."""
    return next(call for call in calls if call in guest.syscalls.numbers)


def logged(guest: Guest, mark: int) -> list[Call]:
    """The calls that a module has logged after a mark, whether it is loaded or not."""
    return [*call_log.calls(guest.log.since(mark), guest.syscalls)]
