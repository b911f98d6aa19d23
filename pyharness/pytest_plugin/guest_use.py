# SPDX-License-Identifier: GPL-2.0
"""What one test did in a guest: its kernel log, its console output, and the trouble reported."""

import re
from dataclasses import dataclass

from pyharness.errors import CheckFailed, GuestCrashed, GuestError, UsageError
from pyharness.guest.backend import MOST_CONSOLE_BYTES
from pyharness.guest.guest import Guest
from pyharness.linux import kmsg, trouble
from pyharness.linux.kmsg import Record

# Has the slab allocator check all objects, and report in the kernel log which are damaged: one that
# was written to after it was freed would be found only when it is allocated again. Caches that are
# not checked refuse it.
_VALIDATE_SLABS = (
    'for file in /sys/kernel/slab/*/validate; do [ ! -L "${file%/*}" ] && echo 1 > "$file"; done'
    " 2> /dev/null; true"
)


_KMEMLEAK = "/sys/kernel/debug/kmemleak"
# kmemleak reports no object that is younger than 5 s (MSECS_MIN_AGE), and none whose content has
# changed since the scan before.
_SCAN = f"sleep 5 && echo scan > {_KMEMLEAK} && echo scan > {_KMEMLEAK}"
_LEAK_SECONDS = 120.0


@dataclass
class GuestUse:
    """The use of a guest by one test, from its begin() on.

    Attributes:
        guest: the guest.
        log: the mark of the kernel log when the test began.
        console: the size of the serial console's output when the test began, in bytes.
        expected: patterns of the kernel's warnings that do not fail the test, and of which each
            has to occur.
        leaks: whether memory that nothing refers to any more fails the test.
    """

    guest: Guest
    log: int
    console: int
    expected: tuple[re.Pattern[str], ...] = ()
    leaks: bool = False

    @classmethod
    def begin(
        cls, guest: Guest, expected: tuple[re.Pattern[str], ...] = (), *, leaks: bool = False
    ) -> "GuestUse":
        """Record the present ends of the guest's kernel log and console output.

        Args:
            guest: the guest that the test uses.
            expected: patterns of the warnings that the test expects of the kernel.
            leaks: whether leaked memory fails the test; the kernel has kmemleak.
        """
        if leaks:  # what is lost already is not this test's
            guest.run(f"{_SCAN} && echo clear > {_KMEMLEAK}", seconds=_LEAK_SECONDS).check()
        return cls(guest, guest.log.mark(), guest.backend.console_size(), expected, leaks)

    def records(self) -> list[Record]:
        """Return what the kernel has logged since the test began.

        The agent reads the log; if it has ended or does not answer, a shell command does.

        Raises:
            GuestCrashed: the kernel crashed.
            GuestError: the log can't be read.
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
        # Each read() of dd returns one record; it fails with EAGAIN after the last one.
        read = "dd if=/dev/kmsg iflag=nonblock bs=8192 2>/dev/null || true"
        found = map(kmsg.parse_record, self.guest.run(read).check().stdout.splitlines())
        return [record for record in found if record and record.sequence >= self.log]

    def console_text(self) -> str:
        """Return the serial console's output since the test began.

        Of more than 512 KiB, the middle is left out: a crash ends the output of a module that
        prints a lot, but comes first where the kernel then crashes without end.
        """
        backend = self.guest.backend
        size = backend.console_size()
        left_out = size - self.console - MOST_CONSOLE_BYTES
        if left_out <= 0:
            return backend.console_text(self.console)
        half = MOST_CONSOLE_BYTES // 2
        begin = backend.console_text(self.console, half)
        end = backend.console_text(size - half, half)
        return f"{begin}\n[{left_out} bytes of the console were left out here]\n{end}"

    def examine(self) -> None:
        """Make sure that the kernel runs, and has reported nothing unexpected since the test began.

        Raises:
            GuestCrashed: the kernel crashed, or reported trouble that the test does not expect.
            UsageError: the guest was closed, so that its kernel can't be examined.
        """
        if self.guest.closed:
            raise UsageError(
                "the test or one of its fixtures closed the shared guest: let the fixture guest"
                " close it, or boot a separate one"
            )
        self.guest.resume()  # a test that failed may have left it paused
        self.guest.health.check()
        if self.guest.facts.checks_slabs:
            self.guest.run(_VALIDATE_SLABS)
        wrong = [warned.report for warned in self._reports() if not self._is_expected(warned)]
        if wrong:
            raise GuestCrashed(
                f"the kernel of {self.guest.describe()} reported trouble",
                report="\n".join(self.guest.health.with_lines(str(report)) for report in wrong),
                history=str(self.guest.history),
            )

    def find_leaks(self) -> None:
        """Make sure that nothing was leaked since the test began, if the test asks for it.

        Raises:
            GuestCrashed: the kernel has found memory that nothing refers to any more.
        """
        if not self.leaks:
            return
        read = f"{_SCAN} && cat {_KMEMLEAK}"
        found = self.guest.run(read, seconds=_LEAK_SECONDS).check().stdout
        if found:
            raise GuestCrashed(
                f"the kernel of {self.guest.describe()} has found memory that was leaked",
                report=self.guest.health.with_lines(found.rstrip()),
                history=str(self.guest.history),
            )

    def has_warned(self) -> bool:
        """Return whether the kernel has issued a warning that the test expects."""
        return bool(self.expected) and any(map(self._is_expected, self._reports()))

    def expect_all(self) -> None:
        """Make sure that the kernel has issued each warning that the test expects.

        Raises:
            CheckFailed: it has not issued one of them.
        """
        said = [warned.text for warned in self._reports() if warned.report.kind == trouble.WARNING]
        for pattern in self.expected:
            if not any(map(pattern.search, said)):
                raise CheckFailed(
                    f"the test expects a warning of the kernel that did not come:"
                    f" {pattern.pattern!r} (warnings that came: {len(said)})"
                )

    def _reports(self) -> list[trouble.Said]:
        # Each line gets its time: a module may print a number in brackets, which is none.
        lines = (
            f"[{r.microseconds / 1e6:.6f}] {line}"
            for r in self.records()
            for line in r.text.split("\n")
        )
        return trouble.with_message("\n".join(lines))

    def _is_expected(self, warned: trouble.Said) -> bool:
        return warned.report.kind == trouble.WARNING and any(
            pattern.search(warned.text) for pattern in self.expected
        )
