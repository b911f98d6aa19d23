# SPDX-License-Identifier: GPL-2.0
"""A character device, tested by the fixtures that come with pyharness."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyharness import Actor, Guest, GuestFile, KernelLogOfTest, LoadedModule, ModuleRefused

BAD_ADDRESS = 8

Ring = Callable[[Actor], GuestFile]


@pytest.fixture
def open_ring(module: LoadedModule, guest: Guest) -> Ring:
    """Opens the device of a module that was just loaded."""
    guest.wait("udev to make the device", lambda: guest.run("test -c /dev/ring").status == 0)
    return lambda actor: actor.open("/dev/ring", os.O_RDWR)


@pytest.fixture
def ring(open_ring: Ring, nobody: Actor) -> GuestFile:
    """The device, opened by nobody in particular."""
    return open_ring(nobody)


def test_what_is_written_is_read_once(ring: GuestFile, guest: Guest) -> None:
    assert ring.write(b"hello") == 5
    assert guest.run("head -c 100 /dev/ring").stdout == "hello"
    assert ring.read(100) == b""


def test_the_oldest_make_way(ring: GuestFile) -> None:
    assert ring.write(b"0123456789abcdefXYZ") == 19
    assert ring.read(100) == b"3456789abcdefXYZ"


def test_two_processes_share_it(ring: GuestFile, open_ring: Ring, root: Actor) -> None:
    assert ring.write(b"abc") == 3
    with open_ring(root) as other:
        assert other.read(2) == b"ab"
    assert ring.read(100) == b"c"


def test_a_bad_address_is_refused(ring: GuestFile, nobody: Actor) -> None:
    assert nobody.syscall("write", ring.fd, BAD_ADDRESS, 1).errno == errno.EFAULT
    assert ring.write(b"x") == 1
    assert nobody.syscall("read", ring.fd, BAD_ADDRESS, 1).errno == errno.EFAULT
    assert ring.read(1) == b"x"


def test_there_is_nothing_else_to_ask_it_for(ring: GuestFile) -> None:
    with pytest.raises(OSError, match="ioctl") as refused:
        ring.ioctl(0)
    assert refused.value.errno == errno.ENOTTY


def test_its_size_is_a_parameter(
    guest: Guest, module_folder: Path, kernel_log: KernelLogOfTest
) -> None:
    loaded = guest.load(module_folder, size=4)
    assert loaded.parameter("size") == "4"
    assert "ring: keeps 4 bytes" in [record.text for record in kernel_log()]
    loaded.unload()
    with pytest.raises(ModuleRefused, match="Invalid"):
        guest.load(module_folder, size=0)


@pytest.mark.cpus(4)
def test_writers_on_four_cpus_lose_no_byte(ring: GuestFile, open_ring: Ring, guest: Guest) -> None:
    writers = [guest.actor("nobody") for _ in range(4)]
    for letter, writer in zip(b"abcd", writers, strict=True):
        writer.begin("write", open_ring(writer).fd, bytes([letter] * 4), 4, repeat=1000)
    for writer in writers:
        assert writer.finish().value == 4
    left = ring.read(100)
    assert len(left) == 16
    assert set(left) <= set(b"abcd")
