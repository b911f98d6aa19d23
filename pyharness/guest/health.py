# SPDX-License-Identifier: GPL-2.0
"""Whether a guest's kernel lives and is well, and what it says where it isn't."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pyharness.errors import GuestCrashed, GuestError, GuestTimeout
from pyharness.guest.history import History
from pyharness.linux import trouble
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.trouble import CodeLocation
from pyharness.machine.qemu_process import Machine

# A second without a sign of life is unusual. The kernel itself tells of most
# hangs after 10 to 20 s (vm/rootfs/etc/sysctl.d), which is better than a guess.
_SILENCE = 15.0
_QUIET = 0.3
_REPORTS = 3
_ENOUGH = 1 << 19  # bytes of a console


class Health:
    """Whether the kernel of one guest is alive and well.

    QEMU reports a panic. Anything else that kills a kernel shows on its console, or,
    where even that is silent, in missing signs of life.

    Attributes:
        lines: the symbolizer of each module that was loaded, by the module's name.
        silence: for how long there was no sign of life, in seconds that the guest had.
    """

    def __init__(
        self, machine: Machine, history: History, *, name: str, timeout_factor: float, fresh: bool
    ) -> None:
        """Watch a machine from now on.

        Args:
            machine: where the kernel runs.
            history: what the guest was asked to do, for a crash's report.
            name: what the guest is called in an error's message.
            timeout_factor: what time limits are multiplied by.
            fresh: it was started just now: all that its console says counts.
        """
        self.lines: dict[str, Symbolizer] = {}
        self.silence: Callable[[], float] = lambda: 0.0
        self._machine = machine
        self._history = history
        self._name = name
        self._timeout_factor = timeout_factor
        self._death: GuestCrashed | None = None
        self._closed = False
        self._from = self._seen = 0 if fresh else self.console_size()

    def console_size(self) -> int:
        """How much came out of the serial console, in bytes: a place to read it from."""
        try:
            return self._machine.console_log.stat().st_size
        except FileNotFoundError:
            return 0

    def console_text(self, since: int = 0) -> str:
        """What came out of the serial console from some place on, up to half a MiB.

        A kernel that reports its own reports' crashes can go on for ever.
        """
        try:
            with self._machine.console_log.open("rb") as log:
                log.seek(since)
                return log.read(_ENOUGH).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def closed(self) -> None:
        """Take note that the guest was closed: that it does not run is no crash."""
        self._closed = True

    def check(self) -> None:
        """Make sure that the kernel lives and is well.

        Raises:
            GuestCrashed: it died, is in trouble, or hangs; or QEMU has ended.
            GuestError: it was closed.
            HostError: QEMU has stopped it.
        """
        if self._death:
            raise self._death
        if self._closed:
            raise GuestError(f"{self._name} was closed: start another guest to go on")
        status = self._machine.status()
        if status == "io-error":
            raise self._machine.no_room()
        if status == "guest-panicked":
            self._let_speak()
            self._crashed("panicked")
        if status != "running":
            self._crashed(f"does not run any more ({status})")
        if self._has_died():
            self._crashed("is in trouble")
        if (silent := self.silence()) > _SILENCE:
            self._hangs(silent)

    def raise_cause(self, error: GuestError) -> NoReturn:
        """A crash outranks a lost connection, an actor that is gone, and a time limit."""
        try:
            self.check()
        except GuestCrashed as crash:
            raise crash from error
        if isinstance(error, GuestTimeout):
            raise GuestTimeout(self.with_lines(str(error))) from error
        raise error

    def with_lines(self, report: str) -> str:
        """A report, with file and line for each address in a module that was loaded from here."""
        return trouble.annotate(report, self._line_of)

    def _line_of(self, location: CodeLocation) -> str:
        if location.address:
            return next(
                filter(None, (known.describe(location.address) for known in self.lines.values())),
                "",
            )
        known = self.lines.get(location.module)
        return known.line_in(location.function, location.offset, location.size) if known else ""

    def _has_died(self) -> bool:
        """Whether its console, since it is watched, tells of more than a warning."""
        if (size := self.console_size()) == self._seen:
            return False
        self._seen = size
        found = trouble.reports(self.console_text(self._from))
        return any(report.kind != "warning" for report in found)

    def _hangs(self, silent: float) -> NoReturn:
        """Tell where the CPUs of a silent kernel are: QEMU knows, and an NMI makes it say so."""
        places = ""
        # Not every machine can be sent an NMI (arm64's can't).
        with suppress(GuestError):
            where = enumerate(self._machine.instruction_pointers())
            places = "".join(f"CPU {number} IP: {address:#x}\n" for number, address in where)
            self._machine.qmp("inject-nmi")
        end = time.monotonic() + self._timeout_factor
        while self._machine.status() == "running" and time.monotonic() < end:
            time.sleep(0.1)
        if self._machine.status() == "guest-panicked":
            self._let_speak()
        self._crashed(f"hangs: no sign of life in {silent:.0f} s that it had", places)

    def _let_speak(self) -> None:
        """Let a kernel that has reported its panic to QEMU go on until it stops by itself.

        In an exception that may come at any time (an NMI, a double fault) it prints nothing
        before that.
        """
        self._machine.qmp("cont")
        self._wait_for_console(quiet=4 * _QUIET)
        self._machine.qmp("stop")

    def _crashed(self, what: str, before: str = "") -> NoReturn:
        self._wait_for_console()
        found = trouble.reports(self.console_text(self._from))
        found = found or trouble.reports(self.console_text())
        # The first has the cause; of a storm, the rest is noise.
        report = self.with_lines(before + "\n\n".join(map(str, found[:_REPORTS])))
        self._death = GuestCrashed(
            f"the kernel of {self._name} {what}", report=report, history=str(self._history)
        )
        raise self._death

    def _wait_for_console(self, quiet: float = _QUIET) -> None:
        """Wait until no more comes for some seconds, and the last report is whole."""
        end = time.monotonic() + 2 * self._timeout_factor
        size, before = self.console_size(), -1
        while size - self._from < _ENOUGH and time.monotonic() < end:
            if size == before and self._report_is_complete():
                return
            time.sleep(quiet)
            size, before = self.console_size(), size

    def _report_is_complete(self) -> bool:
        """Whether the console's last report is whole: a kernel may pause in it."""
        found = trouble.reports(self.console_text(self._from))
        return not found or found[-1].whole
