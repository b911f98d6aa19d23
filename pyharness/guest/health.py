# SPDX-License-Identifier: GPL-2.0
"""Finds out that a guest's kernel has crashed, is in trouble or hangs, and collects its report."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pyharness.errors import EmulatorFault, GuestCrashed, GuestError, GuestTimeout
from pyharness.guest.backend import DEBUGGED, MOST_CONSOLE_BYTES, GuestBackend
from pyharness.guest.history import History
from pyharness.linux import emulator_faults, trouble
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.trouble import CodeLocation

# Silence for longer is a hang, in seconds in which the guest could run. The agent sends a sign of
# life each second. The limit is this high because the kernel itself reports most hangs after 10
# to 20 s (see vm/rootfs/etc), and its report says more than a guess.
_SILENCE_SECONDS = 15.0
# A console without output for this long has printed what it had to print.
_QUIET_SECONDS = 0.3
# On real hardware a kernel answers an NMI at once, and prints a report within a fraction of this.
_NMI_SECONDS = 1.0
_PRINT_SECONDS = 2.0
# How often to look whether a debugger lets the guest run on.
_DEBUGGED_SECONDS = 0.2
# How often, and in what intervals, to look for a CPU in a module's code after a timeout.
_LOOKS, _LOOK_SECONDS = 10, 0.05
_REPORTS = 3  # in the message of a crash
# How much of the console is searched at once, in bytes; a report is shorter than half of it, and
# the halves overlap.
_SEARCHED_BYTES = 1 << 17


class Health:
    """The state of one guest's kernel.

    QEMU reports a panic. Other kernel crashes show in reports on the serial console or, if the
    console is silent, in missing signs of life.

    Attributes:
        lines: the symbolizer of each module that was loaded, by the module's name.
        silence: returns the seconds without a sign of life, counting only time in which the
            guest could run.
        expect_sign: begins to count anew the time without a sign of life.
        clock: returns the seconds in which the guest could run, since some start.
        rewind: sets the clock back to an earlier reading.
    """

    def __init__(self, backend: GuestBackend, history: History, *, fresh: bool) -> None:
        """Watch a guest from now on.

        Args:
            backend: what runs the guest.
            history: the guest's history, which the message of a crash quotes.
            fresh: whether the guest was started just now. If it was, reports on its console
                count from the beginning; otherwise from now on.
        """
        self.lines: dict[str, Symbolizer] = {}
        self.silence: Callable[[], float] = lambda: 0.0
        self.expect_sign: Callable[[], object] = lambda: None
        self.clock: Callable[[], float] = time.monotonic
        self.rewind: Callable[[float], object] = lambda _seconds: None
        self._ran_at = 0.0  # the clock's reading when the guest was last seen to run
        self._backend = backend
        self._history = history
        self._name = str(backend.facts)
        self._timeout_factor = backend.facts.timeout_factor
        self._death: GuestCrashed | None = None
        self._closed = False
        # Where the console is read from, and up to where it was searched, in bytes.
        self._from = self._seen = 0 if fresh else self._backend.console_size()

    def closed(self) -> None:
        """Note that the guest was closed on purpose, so that check() does not report a crash."""
        self._closed = True

    def check(self) -> None:
        """Make sure that the kernel runs without trouble; wait while a debugger has stopped it.

        Raises:
            GuestCrashed: the kernel panicked, reported trouble, or hangs; or QEMU has ended.
            GuestError: the guest was closed.
            HostError: QEMU stopped the guest because the host's disk is full.
        """
        if self._death:
            raise self._death
        if self._closed:
            raise GuestError(f"{self._name} was closed: start another guest to go on")
        if (status := self._backend.status()) == DEBUGGED:
            while (status := self._backend.status()) == DEBUGGED:
                time.sleep(_DEBUGGED_SECONDS)
            self.rewind(self._ran_at)
            self.expect_sign()
        if status == "guest-panicked":
            self._let_speak()
            self._crashed("panicked")
        if status != "running":
            self._crashed(f"does not run any more ({status})")
        if self._has_died():
            self._crashed("is in trouble")
        if (silent := self.silence()) > _SILENCE_SECONDS:
            self._hangs(silent)
        self._ran_at = self.clock()

    def raise_cause(self, error: GuestError) -> NoReturn:
        """Raise the crash that explains an error, or the error itself if the kernel is well.

        A time limit, a lost connection or a vanished actor is often only the consequence of a
        crash. The message of a GuestTimeout gets file and line for each address in a module, and
        the place of each CPU that runs a module's code: it may loop there with interrupts off,
        which the kernel can't report if that CPU is the one that counts its time.

        Args:
            error: the error that was noticed.

        Raises:
            GuestCrashed: the kernel crashed.
            GuestError: the error.
        """
        try:
            self.check()
        except GuestCrashed as crash:
            raise crash from error
        if isinstance(error, GuestTimeout):
            report = [self.with_lines(str(error)), *self._places_in_modules()]
            raise GuestTimeout("\n".join(report)) from error
        raise error

    def with_lines(self, report: str) -> str:
        """Return a report with file and line added to each address in a module in ``lines``."""
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
        """Return whether the console has had more than a warning since it was last searched.

        What was searched is left behind, except for a report that may not have ended.
        """
        size = self._backend.console_size()
        while self._seen < size:
            found = trouble.reports(self._backend.console_text(self._from, _SEARCHED_BYTES))
            if any(report.kind != trouble.WARNING for report in found):
                return True
            self._seen = min(size, self._from + _SEARCHED_BYTES)
            if size > self._seen:
                self._from += _SEARCHED_BYTES // 2
        return False

    def _hangs(self, silent: float) -> NoReturn:
        """Raise the crash of a silent kernel, with the place where each CPU is.

        QEMU knows the CPUs' instruction pointers, and an NMI makes the kernel itself print a
        report.
        """
        places = "".join(f"{place}\n" for place in self._places())
        # QEMU can't send an NMI to every machine, such as arm64's.
        with suppress(GuestError):
            self._backend.inject_nmi()
        end = self.clock() + _NMI_SECONDS * self._timeout_factor
        while self._backend.status() == "running" and self.clock() < end:
            time.sleep(0.1)
        if self._backend.status() == "guest-panicked":
            self._let_speak()
        self._crashed(f"hangs: no sign of life during {silent:.0f} s in which it could run", places)

    def _places(self) -> list[str]:
        """Return a line for each CPU with its instruction pointer; nothing if QEMU can't say."""
        try:
            pointers = self._backend.instruction_pointers()
        except GuestError:
            return []
        return [f"CPU {number} IP: {address:#x}" for number, address in enumerate(pointers)]

    def _places_in_modules(self) -> list[str]:
        """Return a line for each CPU that runs a module's code, with file and line."""
        for _ in range(_LOOKS if self.lines else 0):
            places = [(place, self.with_lines(place)) for place in self._places()]
            if found := [named for place, named in places if named != place]:
                return found
            time.sleep(_LOOK_SECONDS)  # an interrupt's handler may run just now
        return []

    def _let_speak(self) -> None:
        """Let a kernel that has reported its panic to QEMU run on until it has printed its report.

        A panic in an exception that may come at any time (an NMI, a double fault) is reported to
        QEMU before anything is printed.
        """
        self._backend.resume()
        self._wait_for_console(quiet=4 * _QUIET_SECONDS)
        self._backend.pause()

    def _crashed(self, what: str, before: str = "") -> NoReturn:
        self._has_died()  # from where it has, if it has, the console is read
        self._wait_for_console()
        found = trouble.reports(self._backend.console_text(self._from))
        found = found or trouble.reports(self._backend.console_end())
        # The first report has the cause; the later ones of many only follow from it.
        report = self.with_lines(before + "\n\n".join(map(str, found[:_REPORTS])))
        message = f"the kernel of {self._name} {what}"
        history = str(self._history)
        if fault := self._emulator_fault(report):
            self._death = EmulatorFault(message, fault=fault, report=report, history=history)
        else:
            self._death = GuestCrashed(message, report=report, history=history)
        raise self._death

    def _emulator_fault(self, report: str) -> str:
        """Return what shows that QEMU's emulation caused a crash; empty if nothing does."""
        if self._backend.facts.accelerator != "tcg":
            return ""
        if fault := emulator_faults.flags_fault(report):
            return fault
        ended = self._backend.status() == "ended"
        return emulator_faults.assertion(self._backend.printed()) if ended else ""

    def _wait_for_console(self, quiet: float = _QUIET_SECONDS) -> None:
        """Wait until the console is quiet for some seconds and its last report is complete."""
        end = self.clock() + _PRINT_SECONDS * self._timeout_factor
        size, before = self._backend.console_size(), -1
        while size - self._from < MOST_CONSOLE_BYTES and self.clock() < end:
            if size == before and self._report_is_complete():
                return
            time.sleep(quiet)
            size, before = self._backend.console_size(), size

    def _report_is_complete(self) -> bool:
        """Return whether the console's last report is complete: a kernel may pause within one."""
        found = trouble.reports(self._backend.console_text(self._from))
        return not found or found[-1].whole
