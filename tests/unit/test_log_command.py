# SPDX-License-Identifier: GPL-2.0
"""What `pyharness log` reports of records that the kernel overwrote."""

from types import SimpleNamespace
from typing import cast

import pytest

from pyharness.cli import module_commands
from pyharness.guest.agent import Agent
from pyharness.guest.guest import Guest
from pyharness.guest.kernel_log import KernelLog
from pyharness.linux import kmsg
from pyharness.linux.syscalls import Syscalls

OVERWRITTEN = "pyharness: calls may be missing: the kernel overwrote {} of its log"


class EndOfTestError(Exception):
    """The stand-in for the agent has no more records."""


class Batches:
    """Stands in for an agent: each request gets the records of the next range."""

    def __init__(self, *batches: range) -> None:
        self._batches = iter(batches)

    def records(self, *_: object) -> list[kmsg.Record]:
        batch = next(self._batches, None)
        if batch is None:
            raise EndOfTestError
        found = (kmsg.parse_record(f"6,{number},{number},-;text") for number in batch)
        return [record for record in found if record]


def notes(capsys: pytest.CaptureFixture[str], *batches: range, follow: bool) -> list[str]:
    """What `pyharness log` prints to stderr of a log that arrives in batches."""
    log = KernelLog(cast("Agent", Batches(*batches)))
    guest = cast("Guest", SimpleNamespace(log=log, syscalls=Syscalls("i386")))
    show = module_commands._show_log
    if follow:
        with pytest.raises(EndOfTestError):
            show(guest, follow=True, as_json=False)
    else:
        show(guest, follow=False, as_json=False)
    return capsys.readouterr().err.splitlines()


def test_nothing_is_noted_of_a_whole_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert notes(capsys, range(5), follow=False) == []
    assert notes(capsys, range(0), range(5), range(5, 9), follow=True) == []


def test_records_that_were_overwritten_before_the_start_are_noted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert notes(capsys, range(7, 9), follow=False) == [OVERWRITTEN.format("the first 7 records")]


def test_records_that_are_overwritten_meanwhile_are_noted_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    batches = range(2), range(3, 5), range(5, 6), range(10, 11)
    assert notes(capsys, *batches, follow=True) == [
        OVERWRITTEN.format("1 record"),
        OVERWRITTEN.format("4 records"),
    ]
