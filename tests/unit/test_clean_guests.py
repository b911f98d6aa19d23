# SPDX-License-Identifier: GPL-2.0
"""The guests in which rules are tried: what happens if one is lost; needs no guest."""

from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import EmulatorFault, GuestError
from pyharness.host.progress import NoProgress
from pyharness.interceptor.rules import clean_guests
from pyharness.interceptor.rules.clean_guests import CleanGuests

LOST = GuestError("QEMU is gone")
FAULT = EmulatorFault("the kernel is in trouble", fault="QEMU's emulation is wrong")


class Made:
    """In place of Guest."""

    guests: list["Made"]

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.going, self.lost, self.closed = True, False, False
        self.facts = SimpleNamespace(release="5.10")
        Made.guests.append(self)

    @classmethod
    def boot(cls, _name: str, *, cpus: int, **_options: object) -> "Made":
        return cls(cpus)

    def set_going(self, *, going: bool) -> None:
        if self.going != going and self.lost:
            raise LOST
        self.going = going

    def pause(self) -> None:
        self.set_going(going=False)

    def resume(self) -> None:
        self.set_going(going=True)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> CleanGuests:
    Made.guests = []
    monkeypatch.setattr(clean_guests, "Guest", Made)
    monkeypatch.setattr(clean_guests, "known", lambda _guest: None)
    monkeypatch.setattr(
        clean_guests,
        "with_cpus",
        lambda name, cpus: SimpleNamespace(name=name, cpus=cpus, memory=1),
    )
    return CleanGuests("it", NoProgress())


def ready(guests: CleanGuests, cpus: int) -> Made:
    guest: Any = guests.ready(cpus)[0]
    assert guest.going
    assert sum(made.going and not made.closed for made in Made.guests) == 1
    return guest  # type: ignore[no-any-return]


def test_one_guest_runs_at_a_time(guests: CleanGuests) -> None:
    first, second = ready(guests, 0), ready(guests, 4)
    assert ready(guests, 0) is first
    assert ready(guests, 4) is second
    assert len(Made.guests) == 2


def test_a_guest_that_is_lost_while_another_is_used_is_replaced(guests: CleanGuests) -> None:
    first = ready(guests, 0)
    first.lost = True
    assert ready(guests, 4).cpus == 4
    assert first.closed
    assert ready(guests, 0) is not first


def test_a_guest_that_is_lost_while_it_is_paused_is_replaced(guests: CleanGuests) -> None:
    first = ready(guests, 0)
    ready(guests, 4)
    first.lost = True
    assert ready(guests, 0) is not first
    assert first.closed


@pytest.mark.parametrize(("faults", "started"), [(1, True), (2, False)])
def test_a_fault_of_the_emulator_in_a_clean_guest_is_not_the_modules(
    guests: CleanGuests, monkeypatch: pytest.MonkeyPatch, *, faults: int, started: bool
) -> None:
    def known(_guest: object) -> None:
        if len(Made.guests) <= faults:
            raise FAULT

    monkeypatch.setattr(clean_guests, "known", known)
    if started:
        ready(guests, 0)
    else:
        with pytest.raises(GuestError, match="emulation is wrong") as error:
            guests.ready(0)
        assert not isinstance(error.value, EmulatorFault)
    assert [made.closed for made in Made.guests] == [True, not started]
