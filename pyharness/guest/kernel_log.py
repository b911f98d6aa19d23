# SPDX-License-Identifier: GPL-2.0
"""Reads the kernel log of a guest while it grows."""

from collections.abc import Callable, Iterator
from typing import Protocol

from pyharness.guest.agent import Agent
from pyharness.linux import kmsg


class KernelLog:
    """The kernel log of a guest, from the oldest record that the kernel still has.

    Attributes:
        lost: the number of records that the kernel overwrote before they were read.
    """

    def __init__(self, agent: Agent) -> None:
        """Read the log through an agent, which must have no other reader.

        The agent hands out each record once.
        """
        self._agent = agent
        self._records: list[kmsg.Record] = []
        self.lost = 0

    def fetch(self, seconds: float = 0.0) -> list[kmsg.Record]:
        """Read and return the records that were not read yet.

        Args:
            seconds: how long to wait for the first record if there is none yet.
        """
        found = self._agent.records(seconds)
        self.lost += kmsg.lost([*self._records[-1:], *found])
        self._records += found
        return found

    def mark(self) -> int:
        """Return a mark for since(): the position after all records that are in the log now."""
        self.fetch()
        return self.next

    @property
    def next(self) -> int:
        """The sequence number of the record after the last one that was read."""
        return self._records[-1].sequence + 1 if self._records else 0

    def since(self, mark: int) -> list[kmsg.Record]:
        """Return the records after a mark, up to the present end of the log."""
        self.fetch()
        return [record for record in self._records if record.sequence >= mark]

    def all(self) -> list[kmsg.Record]:
        """Return all records, up to the present end of the log, except those that were lost."""
        self.fetch()
        return list(self._records)

    def follow(self, waiting: Callable[[], object] = lambda: None) -> Iterator[kmsg.Record]:
        """Yield the records that were not read yet, and each later one as it comes, without end.

        since() and all() then no longer return records read earlier, so that memory does not grow.

        Args:
            waiting: called at least once a second; raises an exception to end the iteration.
        """
        while True:
            waiting()
            found = self.fetch(seconds=1.0)
            del self._records[:-1]  # fetch() and next need the last one
            yield from found


class KernelLogOfTest(Protocol):
    """A function that returns what the kernel has logged since the test began."""

    def __call__(self) -> list[kmsg.Record]:
        """Return the records so far, the oldest first."""
