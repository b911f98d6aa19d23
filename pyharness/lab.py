# SPDX-License-Identifier: GPL-2.0
"""The guests that the tests of one process share, and what each test did there."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyharness import guests, kmsg, oops
from pyharness.errors import CheckFailed, GuestCrashed, GuestError, UsageError
from pyharness.guest import Guest
from pyharness.guests import GuestSpec
from pyharness.kmsg import Record

# A guest with more CPUs than this has more memory, too (MiB).
_FEW_CPUS = 2
_MEMORY = 1024


def with_cpus(name: str, cpus: int) -> GuestSpec:
    """The description of a guest with so many CPUs (0: as many as usual)."""
    return guests.find(name, cpus=cpus, memory=_MEMORY * (cpus > _FEW_CPUS))


class Lab:
    """Guests by their number of CPUs (0: as many as usual).

    One that crashed is thrown away. One that no test uses now is paused: under
    emulation even an idle one takes a fifteenth of a CPU.
    """

    def __init__(self, usual: Callable[[], Guest], name: str, *, boots: bool) -> None:
        """Nothing is started yet.

        Args:
            usual: gives the guest with as many CPUs as usual.
            name: of the others' description.
            boots: whether there can be others.
        """
        self._usual = usual
        self._boots = boots
        self._name = name
        self._guests: dict[int, Guest] = {}

    def guest(self, cpus: int = 0) -> Guest:
        """A guest that is shared, started if it does not run."""
        for other, resting in self._guests.items():
            if other != cpus and self._boots:
                resting.pause()
        if cpus not in self._guests:
            self._guests[cpus] = self.fresh(cpus) if cpus else self._usual()
        self._guests[cpus].resume()
        return self._guests[cpus]

    def fresh(self, cpus: int = 0) -> Guest:
        """A guest of one's own, as it was right after its boot."""
        spec = with_cpus(self._name, cpus)
        return Guest.boot(spec.name, cpus=spec.cpus, memory=spec.memory)

    def discard(self, guest: Guest) -> None:
        """End a guest; whoever asks for one like it has another."""
        self._guests = {cpus: known for cpus, known in self._guests.items() if known is not guest}
        guest.close()
        if self._boots:  # somebody else's may be lost with it
            self._usual = self.fresh

    def close(self) -> None:
        """End all guests."""
        for guest in [*self._guests.values()]:
            self.discard(guest)


class KernelLogOfTest(Protocol):
    """Gives what the kernel has logged since the test began."""

    def __call__(self) -> list[Record]:
        """The records so far, the oldest first."""


@dataclass
class Visit:
    """A test's use of a guest.

    Attributes:
        guest: the one that it uses.
        log: where the kernel log was when it began.
        console: likewise, the serial console.
        expected: the warnings of the kernel that are no trouble, and have to come.
    """

    guest: Guest
    log: int
    console: int
    expected: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def begin(cls, guest: Guest, expected: tuple[re.Pattern[str], ...] = ()) -> "Visit":
        """Take note of where the guest is."""
        return cls(guest, guest.log.mark(), guest.health.console_size(), expected)

    def records(self) -> list[Record]:
        """What the kernel has logged since.

        The agent reads it. Where that is gone or does not answer, a command does.

        Raises:
            GuestError: it can't be read.
        """
        try:
            return self.guest.log.since(self.log)
        except GuestCrashed:
            raise
        except GuestError:
            if self.guest.closed:
                raise
            return self._records_by_command()

    def _records_by_command(self) -> list[Record]:
        # dd copies record by record, and ends with an error when there are no more.
        read = "dd if=/dev/kmsg iflag=nonblock bs=8192 2>/dev/null || true"
        found = map(kmsg.parse_record, self.guest.run(read).check().stdout.splitlines())
        return [record for record in found if record and record.sequence >= self.log]

    def console_text(self) -> str:
        """What came out of the serial console since."""
        return self.guest.health.console_text(self.console)

    def examine(self) -> None:
        """Make sure that the kernel is well, and was since.

        Raises:
            GuestCrashed: it isn't.
            UsageError: the guest was closed, so that it can't be known.
        """
        if self.guest.closed:
            raise UsageError(
                "the guest was closed by this test or a fixture of it: leave that to the fixture"
                " guest, or boot one that is the test's own"
            )
        self.guest.health.check()
        wrong = [warned.report for warned in self._reports() if not self._is_expected(warned)]
        if wrong:
            raise GuestCrashed(
                f"the kernel of {self.guest.describe()} complained",
                report="\n".join(self.guest.health.with_lines(str(report)) for report in wrong),
                history=str(self.guest.history),
            )

    def has_warned(self) -> bool:
        """Whether a warning came that was expected."""
        return bool(self.expected) and any(map(self._is_expected, self._reports()))

    def expect_all(self) -> None:
        """Make sure that each warning that was expected has come.

        Raises:
            CheckFailed: one has not.
        """
        said = [warned.text for warned in self._reports() if warned.report.kind == oops.WARNING]
        for pattern in self.expected:
            if not any(map(pattern.search, said)):
                raise CheckFailed(
                    f"the test expects a warning of the kernel that did not come:"
                    f" {pattern.pattern!r} (warnings that came: {len(said)})"
                )

    def _reports(self) -> list[oops.Said]:
        return oops.with_message("\n".join(record.text for record in self.records()))

    def _is_expected(self, warned: oops.Said) -> bool:
        return warned.report.kind == oops.WARNING and any(
            pattern.search(warned.text) for pattern in self.expected
        )
