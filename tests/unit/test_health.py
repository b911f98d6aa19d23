# SPDX-License-Identifier: GPL-2.0
"""A crash is seen however much the kernel has printed before it; the guest is a stand-in."""

from types import SimpleNamespace
from typing import cast

import pytest

from pyharness.errors import GuestCrashed
from pyharness.guest.backend import MOST_CONSOLE_BYTES, GuestBackend
from pyharness.guest.health import Health
from pyharness.guest.history import History

CHATTER = "[    1.000000] interceptor: a module that prints a lot\n"
OOPS = (
    "[    2.000000] BUG: kernel NULL pointer dereference, address: 00000008\n"
    "[    2.000000] Oops: 0000 [#1] SMP\n"
    "[    2.000000] ---[ end trace 0000000000000000 ]---\n"
)
WARNING = "[    1.500000] WARNING: CPU: 0 PID: 1 at a.c:1\n[    1.500000] ---[ end trace 0"


class Talking:
    """What runs a guest that has only a console."""

    facts = SimpleNamespace(timeout_factor=0.01, accelerator="kvm")

    def __init__(self) -> None:
        self.said = b""
        self.read = 0  # how many bytes were read in all

    def say(self, text: str, bytes_at_least: int = 0) -> None:
        data = text.encode()
        self.said += data * max(1, -(-bytes_at_least // len(data)))

    def status(self) -> str:
        return "running"

    def console_size(self) -> int:
        return len(self.said)

    def console_text(self, since: int = 0, most: int = MOST_CONSOLE_BYTES) -> str:
        found = self.said[since : since + most]
        self.read += len(found)
        return found.decode(errors="replace")

    def console_end(self) -> str:
        return self.console_text(max(0, len(self.said) - MOST_CONSOLE_BYTES))


@pytest.fixture
def backend() -> Talking:
    return Talking()


@pytest.fixture
def health(backend: Talking) -> Health:
    return Health(cast("GuestBackend", backend), History(), fresh=True)


@pytest.mark.parametrize("parts", [1, 40])
def test_an_oops_is_seen_after_much_output(backend: Talking, health: Health, parts: int) -> None:
    for _ in range(parts):
        backend.say(CHATTER, 2 * MOST_CONSOLE_BYTES // parts)
        health.check()
    backend.say(OOPS)
    backend.say(CHATTER, MOST_CONSOLE_BYTES)
    with pytest.raises(GuestCrashed, match="is in trouble") as crash:
        health.check()
    assert "address: 00000008" in crash.value.report
    assert "end trace" in crash.value.report


@pytest.mark.parametrize("cut", range(0, len(OOPS), 50))
@pytest.mark.parametrize("border", [1 << 16, 1 << 17, 3 << 16])
def test_an_oops_is_seen_wherever_it_is_cut(
    backend: Talking, health: Health, border: int, cut: int
) -> None:
    """By the border of what is searched at once."""
    backend.say("x" * (border - cut - 1) + "\n")
    backend.say(OOPS)
    backend.say(CHATTER, 1 << 18)
    with pytest.raises(GuestCrashed, match="is in trouble") as crash:
        health.check()
    assert "address: 00000008" in crash.value.report


def test_warnings_are_no_crash(backend: Talking, health: Health) -> None:
    for _ in range(10):
        backend.say(WARNING + "\n")
        backend.say(CHATTER, 40_000)
        health.check()


def test_what_was_searched_is_not_read_again(backend: Talking, health: Health) -> None:
    for _ in range(100):
        backend.say(CHATTER, 20_000)
        health.check()
    assert backend.read < 10 * len(backend.said)
    before = backend.read
    health.check()
    assert backend.read == before
