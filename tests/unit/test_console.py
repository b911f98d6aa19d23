# SPDX-License-Identifier: GPL-2.0
"""What the serial console says is found, however much comes at once."""

import socket
from pathlib import Path

import pytest

from pyharness import GuestError
from pyharness.transport.console import Console


@pytest.fixture
def spoken(tmp_path: Path) -> socket.socket:
    """The other end of a console."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "console.sock"))
    listener.listen()
    return listener


def console(folder: Path) -> Console:
    return Console(folder, "made-up")


@pytest.mark.parametrize("behind", [0, 4000, 100_000])
def test_the_login_prompt_is_found_despite_later_output(
    tmp_path: Path, spoken: socket.socket, behind: int
) -> None:
    """As when nobody had time to read for a while."""
    with console(tmp_path) as entered, spoken, spoken.accept()[0] as guest:
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        guest.sendall(b"x" * 10_000 + b"guest login: root (automatic login)\r\n" + b"y" * behind)
        entered.wait_boot(5)


@pytest.mark.parametrize("said", ["You are in emergency mode.", "(initramfs) "])
def test_a_system_that_stops_before_its_prompt_is_an_error_at_once(
    tmp_path: Path, spoken: socket.socket, said: str
) -> None:
    with console(tmp_path) as entered, spoken, spoken.accept()[0] as guest:
        guest.sendall(said.encode())
        with pytest.raises(GuestError, match="the guest does not boot: "):
            entered.wait_boot(60)


def test_an_error_of_the_watch_ends_the_wait(tmp_path: Path, spoken: socket.socket) -> None:
    def watch() -> None:
        raise GuestError("in vain")

    with (
        console(tmp_path) as entered,
        spoken,
        spoken.accept()[0],
        pytest.raises(GuestError, match="in vain"),
    ):
        entered.wait_boot(60, watch=watch)


def test_a_panic_is_an_error(tmp_path: Path, spoken: socket.socket) -> None:
    with console(tmp_path) as entered, spoken, spoken.accept()[0] as guest:
        guest.sendall(b"[    1.0] Kernel panic - not syncing: VFS\r\n" + b"y" * 2000)
        with pytest.raises(GuestError, match="Kernel panic - not syncing: VFS"):
            entered.wait_boot(5)
