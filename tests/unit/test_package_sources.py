# SPDX-License-Identifier: GPL-2.0
"""Which package sources are tried, and what is said of that; mmdebstrap is a stand-in."""

from typing import cast

import pytest

from pyharness import HostError
from pyharness.host.progress import Progress
from pyharness.machine import mmdebstrap
from pyharness.machine.mirrors import Mirrors
from pyharness.machine.mmdebstrap import MmdebstrapError

OUT_OF_STEP = "E: Failed to fetch http://s/pool/x.deb  404  Not Found\n"


class Messages:
    """Keeps messages."""

    def __init__(self) -> None:
        """Begin without any."""
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    ("security", "works_from", "messages"),
    [("http://s/", 2, 1), ("http://s/", 3, 1), ("", 2, 0), ("http://s/", 1, 0)],
)
def test_security_updates_are_left_out_only_where_others_are_tried(
    monkeypatch: pytest.MonkeyPatch, security: str, works_from: int, messages: int
) -> None:
    mirrors = Mirrors("http://a/", security)
    monkeypatch.setattr(Mirrors, "of_this_host", classmethod(lambda _cls: mirrors))
    tried: list[list[str]] = []
    progress = Messages()

    def make(sources: list[str]) -> None:
        tried.append(sources)
        if len(tried) < works_from:
            raise MmdebstrapError(OUT_OF_STEP)

    try:
        mmdebstrap.with_sources(
            "bookworm", make, purpose="making it", progress=cast("Progress", progress)
        )
    except HostError as error:
        assert "404" in str(error)  # noqa: PT017 - it may work, too
    assert len(progress.said) == messages
    assert len(tried) == min(works_from, len(mirrors.choices("bookworm")))
