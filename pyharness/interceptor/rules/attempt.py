# SPDX-License-Identifier: GPL-2.0
"""One attempt to decide a rule in a guest: what came out of it, and whether the guest is clean."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyharness.errors import EmulatorFault, GuestCrashed, HarnessError, HostError
from pyharness.guest.guest import Guest
from pyharness.interceptor.rules.clean_guests import is_clean
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.trial import RuleBroken, Trial
from pyharness.interceptor.rules.verdict import Outcome
from pyharness.linux.kmsg import Record

_LOG_LINES = 40  # of the kernel log, in the evidence
_WATCH_SECONDS = 0.5


@dataclass
class Decided:
    """What came out of one attempt to decide a rule.

    Attributes:
        outcome: whether the module keeps the rule.
        evidence: what was asked, what came, and what should have come.
        log: the lines of the kernel log since the rule began.
        crash: the kernel's report of a crash.
        clean: whether the guest is as it was before.
    """

    outcome: Outcome
    evidence: str = ""
    log: str = ""
    crash: str = ""
    clean: bool = False


def attempt(rule: Rule, trial: Trial) -> Decided:
    """Try a rule in a clean guest, and unload the module.

    Args:
        rule: the rule.
        trial: the module in the guest.

    Raises:
        EmulatorFault: the guest crashed in a way that looks like a fault of QEMU's.
        HostError: this host lacks something.
    """
    guest = trial.guest
    decided = Decided(Outcome.PASSED)
    mark = guest.log.next
    with _ended_after(guest, guest.limit(trial.scheme.rule_seconds)) as late:
        try:
            mark = guest.log.mark()
            if rule.loaded:
                trial.load()
            rule.check(trial)
            # Nothing has looked for a crash since the guest's last answer.
            guest.health.check()
        except (EmulatorFault, HostError):
            raise
        except RuleBroken as error:
            decided = _broken(str(error), trial, mark)
        except GuestCrashed as error:
            decided = _crashed(error, trial, late)
        except HarnessError as error:  # such as an actor that is gone
            decided = _broken(f"{error}\nbefore that:\n{trial.steps}", trial, mark)
    if decided.outcome is Outcome.PASSED:
        decided = _clean_up(trial, late)
    return decided


def _broken(evidence: str, trial: Trial, mark: int) -> Decided:
    """Return that the rule is broken; a crash that came with it is shown, too.

    Raises:
        EmulatorFault: the crash looks like a fault of QEMU's.
    """
    crash = ""
    try:
        trial.guest.health.check()
    except (EmulatorFault, HostError):
        raise
    except GuestCrashed as error:
        crash = error.report
    except HarnessError:  # the guest was ended
        pass
    return Decided(Outcome.FAILED, evidence, _log(trial.guest, mark), crash)


def _clean_up(trial: Trial, late: threading.Event) -> Decided:
    """Return that the rule is kept, unless the module crashes the kernel until it is unloaded."""
    try:
        return Decided(Outcome.PASSED, clean=is_clean(trial.guest, trial))
    except EmulatorFault:
        raise
    except GuestCrashed as error:
        return _crashed(error, trial, late)


@contextmanager
def _ended_after(guest: Guest, seconds: float) -> Iterator[threading.Event]:
    """End a guest if a ``with`` block lasts too long; everything in the block then raises.

    Args:
        guest: the guest.
        seconds: how long the block may last, in seconds in which the guest could run.

    Yields:
        An event that is set if it was ended.
    """
    over, late = threading.Event(), threading.Event()
    end = guest.clock() + seconds

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            if guest.clock() > end:
                late.set()
                with suppress(HarnessError):
                    guest.backend.end()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()


def _crashed(error: GuestCrashed, trial: Trial, late: threading.Event) -> Decided:
    if late.is_set():
        evidence = "the rule could not be decided in time: the module keeps the guest busy"
        return Decided(Outcome.FAILED, f"{evidence}\nbefore that:\n{trial.steps}")
    return failed_by_crash(error)


def failed_by_crash(error: GuestCrashed, where: str = "") -> Decided:
    """Return that a rule is broken, as the guest crashed.

    Args:
        error: the crash.
        where: what is added to its first sentence.
    """
    first = str(error).splitlines()[0]
    evidence = f"{first}{where}; the last requests, the most recent last:\n{error.history}"
    return Decided(Outcome.FAILED, evidence, crash=error.report)


def _log(guest: Guest, mark: int) -> str:
    """Return the end of the kernel log since a mark; nothing if the guest does not answer."""
    try:
        records: list[Record] = guest.log.since(mark)
    except HarnessError:
        return ""
    return "\n".join(record.text for record in records[-_LOG_LINES:])
