# SPDX-License-Identifier: GPL-2.0
"""A scheduler of pytest-xdist for a run over several guests: a worker has one guest at a time."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class ByGuest(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out all tests of a guest to the same worker."""

    def __init__(self, config: pytest.Config, log: Any, guests: list[str]) -> None:
        """Schedule a run.

        Args:
            config: the configuration of the run.
            log: a producer of log messages, or None.
            guests: the names of the guests, with which the parameters in a test's ID begin.
        """
        super().__init__(config, log)
        # The longest first: bookworm-amd64 is no guest called bookworm with the parameter amd64.
        self._guests = sorted(guests, key=len, reverse=True)

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of a test's guest; the test's own ID if it has none."""
        _, _, test = nodeid.partition("::")
        _, _, parameters = test.partition("[")
        for name in self._guests:
            if parameters.startswith((f"{name}-", f"{name}]")):
                return name
        return nodeid

    def remove_node(self, node: Any) -> str | None:
        """Hand out what a worker that has crashed has not run, without the test that crashed it.

        Returns:
            The ID of that test; None if the worker had nothing left to run.
        """
        work = self.assigned_work.pop(node)
        left = [(unit, test) for unit in work.values() for test, done in unit.items() if not done]
        if not left:
            return None
        unit, crashed = left[0]
        unit[crashed] = True
        self.workqueue.update(
            {scope: unit for scope, unit in work.items() if not all(unit.values())}
        )
        for other in self.assigned_work:
            self._reschedule(other)
        return str(crashed)
