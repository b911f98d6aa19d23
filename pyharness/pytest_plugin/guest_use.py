# SPDX-License-Identifier: GPL-2.0
"""What one test did in a guest: its kernel log, its console output, and the trouble reported."""

import re
from dataclasses import dataclass

from pyharness.errors import CheckFailed, GuestCrashed, GuestError, UsageError
from pyharness.guest.guest import Guest
from pyharness.linux import kmsg, trouble
from pyharness.linux.kmsg import Record


@dataclass
class GuestUse:
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
    def begin(cls, guest: Guest, expected: tuple[re.Pattern[str], ...] = ()) -> "GuestUse":
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
        said = [warned.text for warned in self._reports() if warned.report.kind == trouble.WARNING]
        for pattern in self.expected:
            if not any(map(pattern.search, said)):
                raise CheckFailed(
                    f"the test expects a warning of the kernel that did not come:"
                    f" {pattern.pattern!r} (warnings that came: {len(said)})"
                )

    def _reports(self) -> list[trouble.Said]:
        return trouble.with_message("\n".join(record.text for record in self.records()))

    def _is_expected(self, warned: trouble.Said) -> bool:
        return warned.report.kind == trouble.WARNING and any(
            pattern.search(warned.text) for pattern in self.expected
        )
