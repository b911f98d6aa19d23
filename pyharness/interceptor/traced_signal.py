# SPDX-License-Identifier: GPL-2.0
"""A signal that was delivered to a traced command. Pure."""

from dataclasses import dataclass
from typing import ClassVar

from pyharness.interceptor.event_log import Delivered
from pyharness.interceptor.traced import Traced
from pyharness.linux.signal_names import code_name, signal_name
from pyharness.linux.syscalls import errno_name


@dataclass(frozen=True, kw_only=True)
class TracedSignal(Traced):
    """A signal that was delivered to a thread of a traced command.

    Attributes:
        signal: its number.
        code: its cause, ``si_code`` in its ``siginfo_t``.
        error: the ``si_errno`` there, which is 0 for nearly all signals.
    """

    kind: ClassVar[str] = "signal"
    signal: int
    code: int
    error: int = 0

    @classmethod
    def of_event(cls, event: Delivered, *, epoch_microseconds: int = 0) -> "TracedSignal":
        """Make one of an event.

        Args:
            event: the event.
            epoch_microseconds: what to add to its time for one since the epoch.
        """
        return cls(
            thread=event.thread,
            process=event.process or event.thread,
            program=event.program,
            microseconds=event.microseconds + epoch_microseconds,
            signal=event.signal,
            code=event.code,
            error=event.error,
        )

    @property
    def name(self) -> str:
        """The signal's name: ``SIGCHLD``."""
        return signal_name(self.signal)

    def __str__(self) -> str:
        """Return it as strace prints it: ``[7] --- SIGHUP {si_signo=SIGHUP, si_code=SI_USER} ---``.

        The kernel's event has no other fields of ``siginfo_t``.
        """
        fields = f"si_signo={self.name}, si_code={code_name(self.signal, self.code)}"
        if self.error:
            fields += f", si_errno={errno_name(self.error)}"
        return f"[{self.thread}] --- {self.name} {{{fields}}} ---"
