# SPDX-License-Identifier: GPL-2.0
"""The kernel log of a guest, as it comes."""

from collections.abc import Callable, Iterator
from typing import Protocol

from pyharness.guest.agent import Agent
from pyharness.linux import kmsg


class KernelLog:
    """The kernel log, read record by record, from the oldest that is still there.

    Attributes:
        lost: how many records were overwritten before they could be read.
    """

    def __init__(self, agent: Agent) -> None:
        """Read with that agent, which should have no other reader."""
        self._agent = agent
        self._records: list[kmsg.Record] = []
        self.lost = 0

    def fetch(self, seconds: float = 0.0) -> list[kmsg.Record]:
        """The records since the last fetch; waits for the first one so long."""
        found = self._agent.records(seconds)
        self.lost += kmsg.lost([*self._records[-1:], *found])
        self._records += found
        return found

    def mark(self) -> int:
        """A place in the log, for since(): after all that is in it now."""
        self.fetch()
        return self.next

    @property
    def next(self) -> int:
        """The sequence number of the record after the last one that was read."""
        return self._records[-1].sequence + 1 if self._records else 0

    def since(self, mark: int) -> list[kmsg.Record]:
        """The records after a mark."""
        self.fetch()
        return [record for record in self._records if record.sequence >= mark]

    def all(self) -> list[kmsg.Record]:
        """All records that could be read."""
        self.fetch()
        return list(self._records)

    def follow(self, waiting: Callable[[], object] = lambda: None) -> Iterator[kmsg.Record]:
        """The records from now on, as they come, without end.

        Args:
            waiting: called each second at least; raises to end.
        """
        while True:
            waiting()
            yield from self.fetch(seconds=1.0)


class KernelLogOfTest(Protocol):
    """Gives what the kernel has logged since the test began."""

    def __call__(self) -> list[kmsg.Record]:
        """The records so far, the oldest first."""
