# SPDX-License-Identifier: GPL-2.0
"""Reports of made-up checks, for tests of the formats."""

from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

LINE = "[  385.932026] [13e]27(b7975f3c,1ed,b797e1b8,bfd1bcf8,b7a8ed97,b7d366f0)"
SECRET = "the secret of a hidden rule"

BUILDS = Verdict(
    rule="builds",
    title="The module builds.",
    outcome=Outcome.PASSED,
    points=5,
    most=5,
    evidence="what a rule that passed does not show",
    seconds=4.25,
)
TWICE = Verdict(
    rule="intercept-twice",
    title="INTERCEPT of an intercepted call gives <-EBUSY> & changes nothing.",
    outcome=Outcome.FAILED,
    points=0.5,
    most=2,
    evidence="asked:  INTERCEPT of mkdir, twice\ncame:   0, 0\nwanted: 0, -EBUSY",
    log="\n".join([LINE] * 30),
    crash="BUG: kernel NULL pointer dereference\nmodule.c:17: my_syscall()",
    seconds=0.5,
)
HIDDEN = Verdict(
    rule="storm-secret",
    title=f"{SECRET}.",
    outcome=Outcome.FAILED,
    most=4,
    hidden=True,
    evidence=SECRET,
    log=SECRET,
    crash=SECRET,
    seconds=9,
)
AFTER = Verdict(
    rule="one-wins",
    title="Of several processes that intercept a call at once, one gets 0.",
    outcome=Outcome.UNDECIDED,
    most=3,
    because="intercept-twice",
)
AFTER_HIDDEN = Verdict(
    rule="second-caller",
    title="Others go on.",
    outcome=Outcome.UNDECIDED,
    most=1,
    because="storm-secret",
)
HIDDEN_AFTER = Verdict(
    rule="cycles-secret",
    title=f"{SECRET}, too.",
    outcome=Outcome.UNDECIDED,
    most=1,
    hidden=True,
    because="storm-secret",
)
BONUS = Verdict(
    rule="all-except",
    title="All processes but one are monitored.",
    outcome=Outcome.PASSED,
    points=5,
    most=5,
    bonus=True,
)
BEYOND = Verdict(rule="restarts", title="A sleep is continued.", outcome=Outcome.FAILED)

VERDICTS = (BUILDS, TWICE, HIDDEN, AFTER, AFTER_HIDDEN, HIDDEN_AFTER, BONUS, BEYOND)


def report(
    *verdicts: Verdict, submission: str = "ada_lovelace", problem: str = "", seed: int = 7
) -> Report:
    """A report of these verdicts."""
    return Report(
        submission=submission,
        guest="bullseye-i386",
        kernel="5.10.0-35-686-pae",
        scheme="a2",
        seed=seed,
        verdicts=verdicts,
        problem=problem,
    )


REPORT = report(*VERDICTS)
GOOD = report(BUILDS, BONUS)
BROKEN = report(BUILDS, problem="The guest did not boot.")
