# SPDX-License-Identifier: GPL-2.0
"""What is kept of a test's console and of its kernel log; the guest is a stand-in."""

from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import GuestError
from pyharness.guest.backend import MOST_CONSOLE_BYTES
from pyharness.pytest_plugin.guest_use import GuestUse
from pyharness.transport.ssh import Completed

BEFORE = b"of the test before\n"
BEGIN, END = b"the first line\n", b"BUG: kernel NULL pointer dereference\n"


def console_text(said: bytes) -> str:
    """What is kept of this output."""
    backend = SimpleNamespace(
        console_size=lambda: len(BEFORE + said),
        console_text=lambda since=0, most=MOST_CONSOLE_BYTES: (BEFORE + said)[
            since : since + most
        ].decode(errors="replace"),
    )
    guest: Any = SimpleNamespace(backend=backend)
    return GuestUse(guest, log=0, console=len(BEFORE)).console_text()


@pytest.mark.parametrize("size", [0, MOST_CONSOLE_BYTES - len(BEGIN + END)])
def test_a_console_that_is_not_too_long_is_kept_whole(size: int) -> None:
    said = BEGIN + b"x" * size + END
    assert console_text(said) == said.decode()


@pytest.mark.parametrize("more", [1, MOST_CONSOLE_BYTES, 4 * MOST_CONSOLE_BYTES])
def test_the_begin_and_the_end_of_a_long_console_are_kept(more: int) -> None:
    """A crash is at the end, unless the kernel goes on crashing for ever."""
    text = console_text(BEGIN + b"x" * (MOST_CONSOLE_BYTES - len(BEGIN + END) + more) + END)
    assert text.startswith(BEGIN.decode())
    assert text.endswith(END.decode())
    assert f"\n[{more} bytes of the console were left out here]\n" in text
    assert len(text) < MOST_CONSOLE_BYTES + 100


def test_a_command_reads_the_log_if_the_agent_cannot() -> None:
    def fail(_mark: int) -> None:
        raise GuestError("the agent in the guest ended")

    guest: Any = SimpleNamespace(
        closed=False,
        log=SimpleNamespace(since=fail),
        run=lambda line: Completed(
            command=line, status=0, stdout="6,7,1,-;before\n6,8,2,-;of it\n", stderr=""
        ),
    )
    assert [record.text for record in GuestUse(guest, log=8, console=0).records()] == ["of it"]
