# SPDX-License-Identifier: GPL-2.0
"""Where monitored calls are recorded: the kernel log, a trace event, or a ring that readers map."""

import errno
import re
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from arch import TRACING, mount_tracing
from tasks import drop_capabilities, is_asleep

from pyharness import Actor, Guest, InOut, ModuleRefused, Out, interceptor
from pyharness.interceptor import Interceptor

CALL = "getpgid"
NOBODY = 0x7FFFFFF2  # the number of no process
PARAMETER = "/sys/module/interceptor/parameters/log"
RING = "/dev/interceptor"
WAKES = 256  # the records of a CPU after which readers are woken
POLLIN = 1
EVENTS = f"{TRACING}/instances/contract"
# "  python3-313   [000] .....    12.345678: syscall: 84(139,0,0,0,0,0)"
EVENT = re.compile(r".*-(\d+) +\[\d+\] .* (syscall|syscall_exit): ([0-9a-f]+)(.*)")
PROGRAMS = Path(__file__).parents[1] / "programs"


def choose(guest: Guest, channel: str) -> None:
    guest.run(f"echo {channel} > {PARAMETER}").check()


@pytest.fixture
def channel(module: Interceptor, guest: Guest) -> Iterator[Callable[[str], None]]:
    """Chooses where calls are recorded; afterwards it is the kernel log again."""
    yield lambda name: choose(guest, name)
    if not guest.closed and guest.is_loaded(module.name):
        choose(guest, "printk")


@pytest.fixture
def events(guest: Guest) -> Iterator[Callable[[], list[tuple[int, str, int, str]]]]:
    """Returns the events of an instance so far: thread, event, number, and the rest."""
    mount_tracing(guest)
    guest.run(f"mkdir {EVENTS}").check()

    def read() -> list[tuple[int, str, int, str]]:
        lines = guest.run(f"cat {EVENTS}/trace").check().stdout.splitlines()
        found = [EVENT.fullmatch(line) for line in lines if not line.startswith("#")]
        return [(int(m[1]), m[2], int(m[3], 16), m[4]) for m in found if m]

    yield read
    if not guest.closed:
        guest.run(f"echo 0 > {EVENTS}/events/enable; rmdir {EVENTS}").check()


def enable(guest: Guest, event: str, value: str = "1") -> None:
    guest.run(f"echo {value} > {EVENTS}/events/interceptor/{event}/enable").check()
    guest.agent.read("/proc/interceptor")  # waits until it has taken effect


def number(guest: Guest) -> int:
    return guest.syscalls.number(CALL)


def check_storm(guest: Guest, reader: list[str]) -> None:
    """Make a million calls on four CPUs: those that are read or counted as lost are all."""
    done = guest.run([*reader, str(number(guest)), "250000"], seconds=500)
    assert done.status == 0, done.stdout
    counted = re.fullmatch(r"(\d+) read, (\d+) lost\n", done.stdout)
    assert counted, done.stdout
    read, lost = map(int, counted.groups())
    assert read + lost == 1_000_000
    assert read > 0


def test_by_default_it_is_the_kernel_log(module: Interceptor, guest: Guest) -> None:
    assert guest.agent.read(PARAMETER) == "printk\n"


@pytest.mark.parametrize(
    ("chosen", "lines", "recorded"), [("printk", 1, 0), ("event", 0, 1), ("both", 1, 1)]
)
def test_each_channel_has_the_call(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    events: Callable[[], list[tuple[int, str, int, str]]],
    *,
    chosen: str,
    lines: int,
    recorded: int,
) -> None:
    channel(chosen)
    enable(guest, "syscall")
    actor = guest.actor("nobody")
    with module.intercepted(CALL):
        assert module.start(CALL, actor.pid).value == 0
        mark = guest.log.mark()
        assert actor.syscall(CALL, NOBODY, 2, 3, 4, 5, 6).errno == errno.ESRCH
        assert guest.actor().syscall(CALL, 0).errno == 0  # of somebody else
        assert len(module.logged(mark)) == lines
        arguments = f"({NOBODY:x},2,3,4,5,6)"
        assert events() == [(actor.pid, "syscall", number(guest), arguments)] * recorded


def test_an_event_that_nobody_has_enabled_is_not_recorded(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    events: Callable[[], list[tuple[int, str, int, str]]],
) -> None:
    channel("event")
    with module.intercepted(CALL):
        assert module.start(CALL).value == 0
        mark = guest.log.mark()
        assert guest.actor().syscall(CALL, 0).errno == 0
        assert module.logged(mark) == []
        assert events() == []


def test_the_result_is_an_event_of_its_own(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    events: Callable[[], list[tuple[int, str, int, str]]],
) -> None:
    """Of monitored calls alone, while it is enabled alone."""
    channel("event")
    enable(guest, "syscall_exit")
    actor = guest.actor("nobody")
    with module.intercepted(CALL):
        assert module.start(CALL, actor.pid).value == 0
        assert actor.syscall(CALL, 0).errno == 0
        assert actor.syscall(CALL, -1).errno == errno.ESRCH
        assert guest.actor().syscall(CALL, 0).errno == 0
        group = actor.syscall(CALL, 0).value
        enable(guest, "syscall_exit", "0")
        assert actor.syscall(CALL, 0).errno == 0
    ones = (1 << 8 * guest.syscalls.bytes_of_long) - errno.ESRCH
    assert [(pid, rest) for pid, _, _, rest in events()] == [
        (actor.pid, f" = {group:x}"), (actor.pid, f" = {ones:x}"), (actor.pid, f" = {group:x}"),
    ]  # fmt: skip


@pytest.mark.parametrize("event", ["syscall", "syscall_exit"])
def test_unloading_with_an_event_enabled(
    bare_guest: Guest,
    parameters: dict[str, str],
    events: Callable[[], list[tuple[int, str, int, str]]],
    event: str,
) -> None:
    """While calls are recorded; it can be loaded and enabled again."""
    guest = bare_guest
    is_recorded = f"grep -qm1 ' {event}: ' {EVENTS}/trace"  # the whole has no end meanwhile
    for _ in range(3):
        actor = guest.actor("nobody")
        module = interceptor.load(guest, log="event", **parameters)
        assert module.intercept(CALL).value == 0
        assert module.start(CALL, actor.pid).value == 0
        enable(guest, event)
        actor.begin(CALL, 0, repeat=10**9)
        guest.wait("an event", lambda: not guest.run(is_recorded).status)
        module.unload()
        actor.kill(signal.SIGKILL)
    guest.run(f"test ! -e {EVENTS}/events/interceptor").check()


@pytest.mark.endurance
@pytest.mark.cpus(4)
@pytest.mark.test_limit(600)
def test_no_event_is_torn_or_read_twice(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    events: Callable[[], list[tuple[int, str, int, str]]],
    compiled: Callable[[str], str],
) -> None:
    channel("event")
    enable(guest, "syscall")
    with module.intercepted(CALL):
        assert module.start(CALL).value == 0
        check_storm(guest, [compiled("events"), EVENTS])


@pytest.mark.parametrize("value", ["", "none", "printk,event", "PRINTK", "7"])
def test_a_channel_that_is_none_is_refused(module: Interceptor, guest: Guest, value: str) -> None:
    done = guest.run(f"echo '{value}' > {PARAMETER}")
    assert "Invalid argument" in done.stderr
    assert guest.agent.read(PARAMETER) == "printk\n"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("log", "nowhere"), ("ring_records", 100), ("ring_records", 128), ("ring_records", 1 << 21)],
)
def test_parameters_that_make_no_sense_are_refused(
    bare_guest: Guest, parameters: dict[str, str], parameter: str, value: str | int
) -> None:
    mark = bare_guest.log.mark()
    with pytest.raises(ModuleRefused, match=r"Invalid|is not a value"):
        interceptor.load(bare_guest, **parameters, **{parameter: value})
    said = "\n".join(record.text for record in bare_guest.log.since(mark))
    assert f"{parameter}={value}" in said


def test_users_can_choose_and_read_nothing(
    module: Interceptor, guest: Guest, channel: Callable[[str], None]
) -> None:
    channel("ring")
    nobody, weak = guest.actor("nobody"), guest.root.fork()
    assert nobody.syscall("access", PARAMETER, 2).errno == errno.EACCES
    with pytest.raises(OSError, match="Permission denied"):
        nobody.open(RING)
    drop_capabilities(weak)  # it stays the file's owner
    with pytest.raises(OSError, match="not permitted"):
        weak.open(RING)
    guest.root.open(RING).close()


@pytest.mark.architecture("amd64")
def test_each_channel_marks_a_32_bit_call(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    events: Callable[[], list[tuple[int, str, int, str]]],
    compiled: Callable[[str], str],
) -> None:
    call = f"i386:{CALL}"
    actor, there = guest.actor("nobody"), guest.syscalls.ref(call).number
    enable(guest, "syscall")
    enable(guest, "syscall_exit")
    with module.intercepted(CALL):
        assert module.start(CALL, actor.pid).value == 0
        for name in ("event", "ring"):
            channel(name)
            assert actor.syscall(call, NOBODY, 2, 3, 4, 5, 6).errno == errno.ESRCH
    entry, end = events()[:2]
    assert entry == (actor.pid, "syscall", there, f"({NOBODY:x},2,3,4,5,6) i386")
    assert end[:3] == (actor.pid, "syscall_exit", there)
    assert end[3].endswith(" i386")
    records = guest.run([compiled("ring"), "print"]).check().stdout
    assert f" {actor.pid:x} {there:x} 1 {NOBODY:x} 2 3 4 5 6\n" in records


# ---- the ring ----


def test_the_ring_has_each_call(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    compiled: Callable[[str], str],
) -> None:
    channel("ring")
    actor = guest.actor("nobody")
    moments = []
    with module.intercepted(CALL):
        assert module.start(CALL, actor.pid).value == 0
        mark = guest.log.mark()
        moments.append(monotonic(actor))
        assert actor.syscall(CALL, NOBODY, 2, 3, 4, 5, 6).errno == errno.ESRCH
        moments.append(monotonic(actor))
        assert module.logged(mark) == []
    records = guest.run([compiled("ring"), "print"]).check().stdout
    wanted = f"{actor.pid:x} {number(guest):x} 0 {NOBODY:x} 2 3 4 5 6"
    (time,) = re.findall(rf"^(\w+) {wanted}$", records, re.MULTILINE)
    assert moments[0] <= int(time, 16) <= moments[1]


@pytest.mark.endurance
@pytest.mark.cpus(4)
@pytest.mark.test_limit(600)
def test_no_record_of_the_ring_is_torn_or_read_twice(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    compiled: Callable[[str], str],
) -> None:
    channel("ring")
    with module.intercepted(CALL):
        assert module.start(CALL).value == 0
        check_storm(guest, [compiled("ring"), "storm"])


def monotonic(actor: Actor) -> int:
    """CLOCK_MONOTONIC, in nanoseconds."""
    now = actor.syscall("clock_gettime", 1, Out(2 * actor.syscalls.bytes_of_long)).data
    seconds, rest = struct.unpack("=qq" if len(now) == 16 else "=ll", now)
    return int(seconds) * 10**9 + int(rest)


def check_wakes(module: Interceptor) -> None:
    """Have a reader wait for a ring of one CPU: each 256th record wakes it, and no other does."""
    guest = module.guest
    caller, reader = guest.actor("nobody"), guest.actor()
    guest.run(["taskset", "-p", "1", str(caller.pid)]).check()
    with reader.open(RING) as ring, module.intercepted(CALL):
        assert module.start(CALL, caller.pid).value == 0
        for _ in range(3):
            polled = InOut(struct.pack("<ihh", ring.fd, POLLIN, 0))
            reader.begin("ppoll", polled, 1, 0, 0, 8)
            guest.wait("the reader to wait", lambda: is_asleep(guest, reader, "ppoll"))
            assert caller.syscall(CALL, 0, repeat=WAKES - 1).errno == 0
            assert is_asleep(guest, reader, "ppoll")
            assert caller.syscall(CALL, 0).errno == 0
            woken = reader.finish()
            assert (woken.value, woken.data[6]) == (1, POLLIN)
            assert int.from_bytes(ring.read(8), sys.byteorder) == 1


def test_each_256th_record_wakes_a_reader_that_waits(
    bare_guest: Guest, parameters: dict[str, str]
) -> None:
    module = interceptor.load(bare_guest, log="ring", **parameters)
    check_wakes(module)
    module.unload()


def test_a_reader_is_woken_when_a_head_wraps(
    bare_guest: Guest,
    parameters: dict[str, str],
    broken_module: Callable[[str, str, str], Path],
) -> None:
    """Which takes a 32-bit kernel 4 billion calls: these heads begin at their end."""
    place = "per_cpu(ring_of_cpu, cpu) = rings + PAGE_SIZE + stride * cpu;"
    begin = f"{{ {place} per_cpu(ring_of_cpu, cpu)->head = -256UL; }}"
    module = interceptor.load(
        bare_guest, broken_module("ring.c", place, begin), log="ring", **parameters
    )
    check_wakes(module)
    module.unload()


@pytest.mark.cpus(4)
@pytest.mark.architecture("amd64")
def test_a_ring_that_does_not_fit_kills_nobody(
    bare_guest: Guest, parameters: dict[str, str]
) -> None:
    """It needs 256 MiB, and 150 MiB are left."""
    guest = bare_guest
    module = interceptor.load(guest, ring_records=1 << 20, **parameters)
    available = int(guest.run("awk '/^MemAvailable/ {print $2}' /proc/meminfo").check().stdout)
    filled = available // 1024 - 150
    guest.run("mount -o remount,size=100% /dev/shm").check()
    guest.run(f"dd if=/dev/zero of=/dev/shm/filled bs=1M count={filled}", seconds=100).check()
    mark = guest.log.mark()
    assert "Cannot allocate memory" in guest.run(f"echo ring > {PARAMETER}").stderr
    assert not [record for record in guest.log.since(mark) if "oom" in record.text]
    assert guest.agent.read(PARAMETER) == "printk\n"
    guest.run("rm /dev/shm/filled").check()
    guest.run(f"echo ring > {PARAMETER}").check()
    module.unload()


def test_an_open_ring_keeps_the_module(
    bare_guest: Guest, parameters: dict[str, str], compiled: Callable[[str], str]
) -> None:
    """Mapped, though closed, too; then it is unloaded."""
    guest = bare_guest
    module = interceptor.load(guest, log="ring", **parameters)
    assert "in use" in guest.run(f"exec 3< /dev/interceptor; rmmod {module.name}").stderr
    assert "in use" in guest.run([compiled("ring"), "mapped", f"rmmod {module.name}"]).stderr
    module.unload()
    guest.run("test ! -e /dev/interceptor").check()


def test_nobody_writes_to_the_ring(
    module: Interceptor,
    guest: Guest,
    channel: Callable[[str], None],
    compiled: Callable[[str], str],
) -> None:
    channel("ring")
    guest.run([compiled("ring"), "write"]).check()
