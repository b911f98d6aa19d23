# SPDX-License-Identifier: GPL-2.0
"""A character device, tested by the fixtures that come with pyharness."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pyharness import Actor, Guest, ModuleRefused, Record
from pyharness.module import LoadedModule

AT_FDCWD = -100
O_RDWR = 2


class Ring:
    """The device, opened by an actor."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.fd = actor.syscall("openat", AT_FDCWD, "/dev/ring", O_RDWR, 0).value
        assert self.fd >= 0

    def write(self, text: str) -> int:
        return self.actor.syscall("write", self.fd, text, len(text)).value

    def read(self, count: int) -> int:
        return self.actor.syscall("read", self.fd, "\0" * count, count).value


@pytest.fixture
def ring(module: LoadedModule, guest: Guest) -> Ring:
    """The device of a module that was loaded just now, opened by nobody in particular."""
    guest.wait("udev to make the device", lambda: guest.run("test -c /dev/ring").status == 0)
    return Ring(guest.actor("nobody"))


def test_what_is_written_is_read_once(ring: Ring, guest: Guest) -> None:
    assert ring.write("hello") == 5
    assert guest.run("head -c 100 /dev/ring").stdout == "hello"
    assert ring.read(100) == 0


def test_the_oldest_make_way(ring: Ring, guest: Guest) -> None:
    assert ring.write("0123456789abcdefXYZ") == 19
    assert guest.run("head -c 100 /dev/ring").stdout == "3456789abcdefXYZ"


def test_two_processes_share_it(ring: Ring, root: Actor) -> None:
    assert ring.write("abc") == 3
    assert Ring(root).read(2) == 2
    assert ring.read(100) == 1


def test_a_bad_address_is_told(ring: Ring) -> None:
    assert ring.actor.syscall("write", ring.fd, 8, 1).error == "EFAULT"
    assert ring.write("x") == 1
    assert ring.actor.syscall("read", ring.fd, 8, 1).error == "EFAULT"
    assert ring.read(1) == 1


def test_its_size_is_a_parameter(
    guest: Guest, module_folder: Path, kernel_log: Callable[[], list[Record]]
) -> None:
    loaded = guest.insert(module_folder, size=4)
    assert loaded.parameter("size") == "4"
    assert "ring: keeps 4 bytes" in [record.text for record in kernel_log()]
    loaded.unload()
    with pytest.raises(ModuleRefused, match="Invalid"):
        guest.insert(module_folder, size=0)


@pytest.mark.cpus(4)
def test_writers_on_four_cpus_lose_no_byte(ring: Ring, guest: Guest) -> None:
    writers = [guest.actor("nobody") for _ in range(4)]
    for letter, writer in zip("abcd", writers, strict=True):
        fd = Ring(writer).fd
        writer.begin("write", fd, letter * 4, 4, repeat=1000)
    for writer in writers:
        assert writer.finish().value == 4
    left = guest.run("head -c 100 /dev/ring").stdout
    assert len(left) == 16
    assert set(left) <= {*"abcd"}
