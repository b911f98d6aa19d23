# SPDX-License-Identifier: GPL-2.0
"""Somebody else's modules: several of a folder, a device's system calls, warnings on purpose."""

import errno
import os
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from arch import longs

from pyharness import (
    Actor,
    ActorGone,
    Argument,
    CheckFailed,
    Guest,
    GuestCrashed,
    GuestError,
    GuestFile,
    GuestTimeout,
    InOut,
    KernelLogOfTest,
    Out,
    UsageError,
)
from pyharness.guest import arguments, open_file
from pyharness.guest.agent import Agent
from pyharness.guest.build import Built
from pyharness.linux import trouble
from pyharness.linux.syscalls import Syscalls
from pyharness.pytest_plugin.guest_use import GuestUse

FOLDER = Path(__file__).parents[1] / "modules" / "tryout"
SWAP, ANSWER, WARN, WARN_SILENTLY = 0xC0087401, 0x80087402, 0x7403, 0x7404
PAGE = 4096


# ---- what is given to a call, without a guest ----


def test_arguments_are_numbers_and_buffers() -> None:
    given: list[Argument] = [
        -1,
        "é",
        bytearray(b"\0\xff"),
        Out(3),
        InOut(b"ab"),
        InOut(memoryview(b"c"), size=2),
    ]
    sent = arguments.encoded(given, bytes_of_long=8)
    buffers = [(one["data"], one["size"], one["out"]) for one in sent[1:] if isinstance(one, dict)]
    assert sent[0] == -1
    assert buffers == [
        ("6QA=", 2, False),
        ("AP8=", 2, False),
        ("", 3, True),
        ("YWI=", 2, True),
        ("Yw==", 2, True),
    ]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (Out(arguments.LARGEST_BYTES + 1), "the limit is 65536"),
        ("x" * arguments.LARGEST_BYTES, "the limit is 65536"),
        (Out(-1), "0 or more, not -1"),
        (Out(2.0), "0 or more, not 2.0"),  # type: ignore[arg-type]
        (InOut("abc"), "'abc' is not bytes"),  # type: ignore[arg-type]
        (InOut(b"", size=-1), "0 or more, not -1"),
        (InOut(b"abc", size=2), "make it larger"),
        ("→", r"give '→'\.encode\(\)"),
        (1.5, "1.5 can't be passed to a system call"),
        (None, "None can't be passed to a system call"),
    ],
)
def test_an_argument_of_an_unsupported_type_is_refused(
    argument: arguments.Argument, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        arguments.encoded([1, argument], bytes_of_long=8)


@pytest.mark.parametrize(("bytes_of_long", "bits"), [(4, 32), (8, 64)])
def test_a_number_fits_into_a_register(bytes_of_long: int, bits: int) -> None:
    for fits in (-(1 << bits - 1), (1 << bits) - 1):
        assert arguments.encoded([fits], bytes_of_long=bytes_of_long) == [fits]
    for larger in (-(1 << bits - 1) - 1, 1 << bits):
        with pytest.raises(UsageError, match=f"{larger} does not fit into {bits} bits"):
            arguments.encoded([larger], bytes_of_long=bytes_of_long)


@pytest.mark.parametrize("number", [1 << 32, "0x100000014", -(1 << 31) - 1])
def test_an_invalid_system_call_number_is_refused(number: int | str) -> None:
    with pytest.raises(UsageError, match="has no system call"):
        Syscalls("i386").number(number)
    assert Syscalls("i386").number("-1") == -1


def test_flags_have_the_guests_numbers() -> None:
    flags = os.O_RDWR | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    assert open_file.translated(flags, "arm64") == 0o2 | 0o40000 | 0o100000 | 0o2000000
    assert open_file.translated(flags, "i386") == 0o2 | 0o200000 | 0o400000 | 0o2000000
    assert open_file.translated(os.O_DIRECT, "x86_64") == 0o40000


def test_a_folder_of_several_modules_asks_for_a_name(tmp_path: Path) -> None:
    several = Built(files=(Path("a-b.ko"), Path("c.ko")), log="", cached=False)
    assert several.file("a-b") == several.file("a_b") == Path("a-b.ko")
    with pytest.raises(UsageError, match="several modules: name one of a_b, c"):
        _ = several.ko
    with pytest.raises(UsageError, match="no module 'd'; it builds a_b, c"):
        several.file("d")
    assert Built(files=(Path("c.ko"),), log="", cached=False).file().name == "c.ko"


LOG = """\
mine: an earlier message
------------[ cut here ]------------
mine: reset while busy
WARNING: {}
Call Trace:
 mine_ioctl+0x1/0x2 [mine]
---[ end trace 0000000000000000 ]---
WARNING: {}
---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize(
    "place",
    [
        "CPU: 1 PID: 700 at /root/mine.c:44 mine_ioctl+0xdb/0x120 [mine]",
        "mine.c:44 at mine_ioctl+0xdb/0x120 [mine], CPU#1: python3/700",  # since 6.18
    ],
)
def test_a_warning_is_known_with_its_message(place: str) -> None:
    first, second = trouble.with_message(LOG.format(place, place))
    assert first.report.kind == second.report.kind == trouble.WARNING
    assert first.text.startswith(f"mine: reset while busy\nWARNING: {place}\nCall Trace:")
    assert second.text.startswith(f"WARNING: {place}\n---")


# ---- in a guest ----


@pytest.fixture
def tryout(guest: Guest) -> Iterator[Actor]:
    """A process of root's in a guest with the device."""
    loaded = guest.load(FOLDER, "tryout")
    guest.wait("udev to make the device", lambda: guest.run("test -c /dev/tryout").status == 0)
    yield guest.actor()
    if not guest.closed:
        guest.dismiss()
        loaded.unload()


@pytest.fixture
def device(tryout: Actor) -> GuestFile:
    return tryout.open("/dev/tryout", os.O_RDWR)


def test_several_modules_of_a_folder(
    tryout: Actor, guest: Guest, kernel_log: KernelLogOfTest
) -> None:
    with pytest.raises(UsageError, match="name one of tryout, uses_tryout"):
        guest.load(FOLDER)
    second = guest.load(FOLDER, "uses_tryout")
    assert "uses_tryout: the answer is 42" in [record.text for record in kernel_log()]
    second.unload()


def test_a_call_gives_back_what_the_kernel_has_written(tryout: Actor, device: GuestFile) -> None:
    result = tryout.syscall("ioctl", device.fd, ANSWER, Out(8))
    assert (result.value, result.data) == (42, struct.pack("Q", 0x0123456789ABCDEF))
    pair = InOut(struct.pack("II", 1, 2))
    assert tryout.syscall("ioctl", device.fd, SWAP, pair).data == struct.pack("II", 2, 1)
    # What one call has written, the next one reads.
    assert tryout.syscall("ioctl", device.fd, SWAP, pair, repeat=2).data == pair.data
    tryout.begin("ioctl", device.fd, SWAP, pair)
    assert tryout.finish().data == struct.pack("II", 2, 1)


def test_buffers_of_all_kinds_and_sizes(tryout: Actor) -> None:
    largest = bytes(range(256)) * (arguments.LARGEST_BYTES // 256)
    with tryout.open("/root/buffers", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
        assert file.write(largest) == len(largest)
        assert tryout.syscall("lseek", file.fd, 0, os.SEEK_SET).value == 0
        assert file.read(len(largest)) == largest
        assert file.read(1) == b""
    pipe = tryout.syscall("pipe2", Out(8), 0).data
    read, write = struct.unpack("ii", pipe)
    assert tryout.syscall("write", write, "text", 4).value == 4
    assert tryout.syscall("read", read, InOut(b"-" * 6), 6).data == b"text--"
    both = tryout.syscall("socketpair", 1, 1, 0, Out(8))
    one = struct.unpack("ii", both.data)[0]
    known = tryout.syscall("getsockopt", one, 1, 3, Out(4), InOut(struct.pack("i", 4)))
    assert [struct.unpack("i", output)[0] for output in known.outputs] == [1, 4]
    assert tryout.syscall("getpid", Out(0)).data == b""
    with pytest.raises(UsageError, match="give it an Out"):
        _ = tryout.syscall("getpid").data


@pytest.mark.architecture("amd64")
def test_buffers_by_the_32_bit_abi(tryout: Actor, device: GuestFile) -> None:
    pair = InOut(struct.pack("II", 1, 2))
    swapped = tryout.syscall("i386:ioctl", device.fd, SWAP, pair)
    assert swapped.data == struct.pack("II", 2, 1)
    assert all(at is None or at < 1 << 32 for at in swapped.addresses)
    assert tryout.syscall("i386:read", device.fd, Out(1 << 15), 1 << 15).value == PAGE


def test_a_device_by_short_methods(tryout: Actor, device: GuestFile, guest: Guest) -> None:
    assert device.ioctl(ANSWER, Out(8)).value == 42
    assert device.write(b"hello") == 5
    with tryout.open("/dev/tryout") as other:
        assert other.read(8) == b"hello\0\0\0"
    with device.mmap(2 * PAGE) as mapping:
        assert mapping.read(5) == b"hello"
        mapping.write(b"HE")
        mapping.write(b"!", offset=PAGE - 1)
        assert mapping.read(PAGE, offset=0) == b"HEllo".ljust(PAGE - 1, b"\0") + b"!"
    with tryout.open("/dev/tryout") as other:
        assert other.read(5) == b"HEllo"
    device.close()
    device.close()
    with tryout.open("/etc/hostname") as other:
        assert other.fd == device.fd
        for call in (lambda: device.read(1), lambda: device.mmap(PAGE)):
            with pytest.raises(ValueError, match="closed file"):
                call()
        device.close()
        assert other.read(1)
        with pytest.raises(ValueError, match="closed mapping"):
            mapping.read(1)


def test_a_mapping_that_can_not_be_unmapped_is_an_error(device: GuestFile) -> None:
    mapping = device.mmap(2 * PAGE)
    mapping.address += 1
    with pytest.raises(OSError, match="Invalid argument"):
        mapping.close()
    mapping.close()


def test_an_actor_answers_one_order_at_a_time(guest: Guest) -> None:
    actor = guest.actor()
    a_second = longs(guest, 1, 0)
    with pytest.raises(UsageError, match=r"no call in progress: start one by begin\(\)"):
        actor.finish()
    actor.begin("nanosleep", a_second, 0)
    for order in (lambda: actor.syscall("getpid"), lambda: actor.begin("getuid"), actor.fork):
        with pytest.raises(UsageError, match=rf"actor {actor.pid} is still in a call"):
            order()
    with pytest.raises(GuestTimeout):
        actor.finish(0)
    with pytest.raises(UsageError, match=r"finish\(\) it first"):
        actor.syscall("getpid")
    assert actor.finish().value == 0
    assert actor.syscall("getpid").value == actor.pid


def test_an_argument_of_the_wrong_type_kills_no_actor(guest: Guest) -> None:
    actor = guest.actor()
    wrong: list[Any] = [None, "a\0b", 3]
    for user in wrong:
        with pytest.raises(UsageError, match="the guest has no user"):
            guest.actor(user)
    for signal_number in ("x", 1 << 40, None, -1):
        with pytest.raises(UsageError, match="is not a signal"):
            actor.kill(cast(int, signal_number))
    for repeat in (0, -1, 1.5, None):
        with pytest.raises(UsageError, match="repeat is a whole number"):
            actor.syscall("getpid", repeat=cast(int, repeat))
    with pytest.raises(ValueError, match="embedded null byte"):
        actor.open("/etc/hostname\0zzz")
    with pytest.raises(UsageError, match="does not fit"):
        actor.read_memory(1 << 64, 1)
    for words in ((), ("a\0b",)):
        with pytest.raises(GuestError, match="Error: "):
            actor.execute(*words)
    with pytest.raises(GuestError, match="OverflowError: "):
        actor.exit(1 << 40)
    with actor.open("/root/kinds", os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
        assert file.write(bytearray(b"ab")) == file.write(memoryview(b"cd")) == 2
        with pytest.raises(UsageError, match="0 or more, not -1"):
            file.read(-1)
        with pytest.raises(OSError, match="Invalid argument") as refused:
            file.mmap(PAGE, offset=100)
    assert refused.value.errno == errno.EINVAL
    assert actor.syscall("getpid").value == actor.pid
    actor.exit()
    for call in (lambda: actor.begin("getpid"), lambda: actor.syscall("getpid")):
        with pytest.raises(ActorGone):
            call()


def test_what_the_kernel_refuses_is_an_oserror(device: GuestFile, guest: Guest) -> None:
    with pytest.raises(PermissionError, match="'/dev/tryout'"):
        guest.actor("nobody").open("/dev/tryout")
    with pytest.raises(FileNotFoundError):
        guest.root.open("/dev/nosuch")
    with pytest.raises(OSError, match="'/dev/tryout'") as refused:
        device.ioctl(1)
    assert refused.value.errno == errno.ENOTTY
    with pytest.raises(OSError, match="'/dev/tryout'") as refused:
        device.mmap(PAGE, offset=PAGE)
    assert refused.value.errno == errno.EINVAL


def test_memory_that_is_not_there_ends_the_actor(device: GuestFile) -> None:
    with pytest.raises(ActorGone), device.mmap(2 * PAGE) as mapping:
        mapping.read(1, offset=PAGE)


@pytest.mark.expects_warning(r"asked to warn, by 7$", r"at \S*tryout\.c:\d+ ")
@pytest.mark.expects_warning("tryout_ioctl")
def test_a_warning_that_is_meant(device: GuestFile, guest: Guest) -> None:
    """Each of a test's patterns has to come, and what matches none of them fails it."""
    visit = GuestUse.begin(guest, (re.compile("asked to warn"), re.compile("never said")))
    device.ioctl(WARN, 7)
    visit.examine()
    assert visit.has_warned()
    with pytest.raises(CheckFailed, match=r"did not come: 'never said' \(warnings that came: 1\)"):
        visit.expect_all()
    device.ioctl(WARN_SILENTLY)
    with pytest.raises(
        GuestCrashed, match=r"reported trouble\nWARNING: .*tryout\.c:\d+"
    ) as unexpected:
        visit.examine()
    assert str(unexpected.value).count("WARNING: ") == 1
    with pytest.raises(GuestCrashed):
        GuestUse(guest, visit.log, visit.console).examine()


def test_no_actor_outlives_its_agent(guest: Guest) -> None:
    """Though another has forked it, and it is in a system call."""
    agent = Agent(
        guest.ssh,
        seconds=guest.limit(10),
        syscalls=guest.syscalls,
        history=guest.history,
        raise_cause=guest.health.raise_cause,
    )
    parent = Actor(agent, agent.spawn())
    child = parent.fork()
    child.begin("ppoll", 0, 0, 0, 0)
    actors = f"ls -d /proc/{parent.pid} /proc/{child.pid} 2> /dev/null"
    assert len(guest.run(actors).stdout.split()) == 2
    agent.close()
    guest.wait("all actors to end", lambda: not guest.run(actors).stdout)


def test_a_program_of_an_actor_has_no_stream_of_the_agent(guest: Guest) -> None:
    actor = guest.actor()
    actor.execute("/bin/sh", "-c", "cat; echo '{}'; cat >&2; exec sleep 1000")
    for _ in range(20):
        assert guest.actor().syscall("getpid").value
    streams = guest.run(f"readlink /proc/{actor.pid}/fd/[012]").stdout
    assert streams == "/dev/null\n" * 3


class Interruption(Exception):
    """As pytest-timeout raises one, amid whatever is done."""


@pytest.mark.expects_warning("made_up")
def test_the_log_is_read_though_the_agent_is_gone(guest: Guest) -> None:
    visit = GuestUse.begin(guest)
    guest.run("echo '<4>made up' > /dev/kmsg").check()
    before = visit.records()
    sleeper = guest.actor()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    kept = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(Interruption):
            sleeper.syscall("ppoll", 0, 0, 0, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)
    assert visit.records()[: len(before)] == before
    assert "made up" in [record.text for record in before]
    guest.run("echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1' > /dev/kmsg").check()
    with pytest.raises(GuestCrashed, match="reported trouble"):
        visit.examine()
