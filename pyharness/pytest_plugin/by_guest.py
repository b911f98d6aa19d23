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
        # bookworm-amd64 is no guest called bookworm with the parameter amd64.
        self._guests = sorted(guests, key=len, reverse=True)

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of a test's guest; the test's own ID if it has none."""
        for name in self._guests:
            if f"[{name}-" in nodeid or f"[{name}]" in nodeid:
                return name
        return nodeid
