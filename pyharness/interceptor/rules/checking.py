# SPDX-License-Identifier: GPL-2.0
"""Checks a module by the rules: builds it in one guest, and tries each rule in another.

A rule has the module freshly loaded in a guest that is known to be clean. A guest in which a rule
failed, or that is not as it was before the module was loaded, is discarded.
"""

import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyharness.errors import (
    CheckFailed,
    EmulatorFault,
    GuestError,
    HarnessError,
)
from pyharness.guest.pool import with_cpus
from pyharness.host.closing import Closes
from pyharness.host.progress import Progress
from pyharness.interceptor.rules import submission
from pyharness.interceptor.rules.attempt import Decided, attempt, failed_by_crash
from pyharness.interceptor.rules.catalogue import BUILDS
from pyharness.interceptor.rules.clean_guests import CleanGuests
from pyharness.interceptor.rules.problem import reason
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.subject import Subject
from pyharness.interceptor.rules.trial import Trial
from pyharness.interceptor.rules.verdict import Checked, Outcome, Report, Verdict
from pyharness.machine import guest_specs, saved_states

# The guest in which a module of the classic kind works: its kernel dispatches through the table.
GUEST = "bullseye-i386"
# The rules that a module breaks on a kernel that does not read the table that the module changes.
_NEED_THE_TABLE = ("loads", "takes-commands")
_ATTEMPTS = 2  # of a rule whose guest crashed in a way that looks like a fault of QEMU's


@dataclass
class Checker(Closes):
    """Checks one module. It is closed at the end, which ends its guests.

    Attributes:
        source: the folder or archive.
        settings: how it is checked.
        progress: shows the steps that take long.
        count: how many rules are decided at the same time, each in a guest of its own.
    """

    source: Path
    settings: Settings
    progress: Progress
    count: int = 1
    _verdicts: dict[str, Verdict] = field(default_factory=dict)
    _built: submission.Build | None = None

    def __post_init__(self) -> None:
        submission.find(self.source)
        self._kept = tempfile.TemporaryDirectory(prefix="pyharness-check-")
        self._rules = self.settings.rules  # which reads the guest's description
        # At first the module is built, and its warnings are counted or it is loaded.
        count = min(self.count, max(1, len(self._rules) - 2))
        self._guests = [CleanGuests(self.settings.guest, self.progress) for _ in range(count)]

    def close(self) -> None:
        """End the guests."""
        for guests in self._guests:
            guests.close()
        self._kept.cleanup()

    def check(self, decided: Callable[[Verdict], object] = lambda _: None) -> Checked:
        """Decide all rules.

        Args:
            decided: is called with each verdict as soon as there is one.

        Returns:
            The report. If the module can't be checked to the end, for a reason that is not its
            own, the report has the reason, and the verdicts until then.
        """
        with closing(self._decide_all()) as verdicts:
            while True:
                try:
                    verdict = next(verdicts, None)
                except Exception as error:  # a bug must not leave the check without a report
                    problem, status = reason(error)
                    return Checked(self.report(problem), status)
                if not verdict:
                    return Checked(self.report())
                decided(verdict)

    def _decide_all(self) -> Generator[Verdict]:
        """Decide each rule after those that it depends on, and yield each verdict when it comes."""
        waiting = [*self._rules]
        # It takes long, and a thread that does it can't be interrupted.
        for cpus in sorted({rule.cpus for rule in waiting}):
            saved_states.ensure(with_cpus(self.settings.guest, cpus), progress=self.progress)
        with ThreadPoolExecutor(self.count) as executor:
            # While the module is built in one guest, the others are started.
            running: dict[Future[Verdict | None], CleanGuests] = {
                executor.submit(_start, guests): guests for guests in self._guests[1:]
            }
            idle = self._guests[:1]
            try:
                while waiting or running:
                    while idle and (rule := self._next(waiting)):
                        waiting.remove(rule)
                        guests = idle.pop()
                        running[executor.submit(self._timed, rule, guests)] = guests
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    idle += [running.pop(future) for future in done]
                    # One that raises comes last, so that no verdict is lost.
                    for future in sorted(done, key=lambda future: bool(future.exception())):
                        if verdict := future.result():
                            self._verdicts[verdict.rule] = verdict
                            yield verdict
            except BaseException:
                self.close()  # what the threads do ends with the guests
                raise

    def _next(self, waiting: Sequence[Rule]) -> Rule | None:
        """Return the first rule that can be decided now; None if there is none."""
        ahead = {rule.id for rule in self._rules} - self._verdicts.keys()
        return next((rule for rule in waiting if not ahead.intersection(rule.after)), None)

    def _timed(self, rule: Rule, guests: CleanGuests) -> Verdict:
        begin = time.monotonic()
        verdict = self._verdict(rule, guests)
        return replace(verdict, seconds=round(time.monotonic() - begin, 3))

    def report(self, problem: str = "") -> Report:
        """Return what has been decided so far.

        Args:
            problem: why the rest could not be decided.
        """
        return self.settings.report(
            self.source.resolve().name,
            problem,
            kernel=next((guests.release for guests in self._guests if guests.release), ""),
            verdicts=[self._verdicts[rule.id] for rule in self._rules if rule.id in self._verdicts],
        )

    # ---- one rule ----

    def _verdict(self, rule: Rule, guests: CleanGuests) -> Verdict:
        most = self.settings.scheme.points.get(rule.id, rule.points)
        verdict = Verdict(
            rule=rule.id,
            title=rule.title,
            outcome=Outcome.UNDECIDED,
            most=most,
            bonus=rule.bonus,
            hidden=rule.id in self.settings.scheme.hidden,
        )
        if because := self._because(rule):
            return replace(verdict, because=because)
        decided = self._decide(rule, guests)
        return replace(
            verdict,
            outcome=decided.outcome,
            points=most if decided.outcome is Outcome.PASSED else 0,
            evidence=decided.evidence + self._hint(rule, decided),
            log=decided.log,
            crash=decided.crash,
        )

    def _hint(self, rule: Rule, decided: Decided) -> str:
        """Return what is to be added to the evidence: that the guest is the wrong one, maybe."""
        by_table = guest_specs.find(self.settings.guest).dispatch == "table"
        if decided.outcome is not Outcome.FAILED or rule.id not in _NEED_THE_TABLE or by_table:
            return ""
        return (
            f"\nThe kernel of {self.settings.guest} does not read the table of system calls:"
            f" a module that changes the table has to be checked with --guest {GUEST}."
        )

    def _because(self, rule: Rule) -> str:
        """Return the failed rule for which a rule can't be decided; empty if there is none."""
        for name in rule.after:
            earlier = self._verdicts.get(name)  # None: the scheme leaves it out
            if earlier and earlier.outcome is not Outcome.PASSED:
                return earlier.because or earlier.rule
        return ""

    def _build(self, guests: CleanGuests) -> Decided:
        """Build the module, in a guest that is discarded: a makefile can do anything."""
        guest, _ = guests.ready(0)
        try:
            self._built = submission.build(
                guest, self.source, self.settings.scheme, Path(self._kept.name)
            )
        except EmulatorFault:
            raise
        except (GuestError, CheckFailed) as error:
            return Decided(Outcome.FAILED, f"the build has made the guest unusable: {error}")
        finally:
            guests.discard(0)
        if self._built.subject:
            return Decided(Outcome.PASSED)
        evidence = f"{self._built.problem}\n{self._built.output}".strip()
        return Decided(Outcome.FAILED, evidence=evidence)

    def _decide(self, rule: Rule, guests: CleanGuests) -> Decided:
        """Try a rule; once more if the crash of a guest looks like a fault of QEMU's.

        A module can make a crash look so. A fault of QEMU's is too rare to come twice.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._build(guests) if rule.id == BUILDS else self._try(rule, guests)
            except EmulatorFault as error:
                guests.discard(rule.cpus)
                fault = error
        return failed_by_crash(fault, f", in each of {_ATTEMPTS} guests")

    def _try(self, rule: Rule, guests: CleanGuests) -> Decided:
        guest, facts = guests.ready(rule.cpus)
        module = self._subject()
        trial = Trial(guest, module, facts, self.settings.scheme, f"{self.settings.seed} {rule.id}")
        clean = False
        try:
            decided = attempt(rule, trial)
            clean = decided.clean
        finally:
            if not clean:
                guests.discard(rule.cpus)
        return decided

    def _subject(self) -> Subject:
        assert self._built, "the rule builds comes first"
        assert self._built.subject, "no rule is tried on a module that was not built"
        return self._built.subject


def _start(guests: CleanGuests) -> None:
    with suppress(HarnessError):  # it is tried again, if it is needed at all
        guests.ready(0)
