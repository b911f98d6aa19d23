# SPDX-License-Identifier: GPL-2.0
"""Who follows a kernel log keeps none of it; the agent is a stand-in."""

import gc
import itertools
from typing import cast

from pyharness.guest.agent import Agent
from pyharness.guest.kernel_log import KernelLog
from pyharness.linux import kmsg


class Talking:
    """An agent whose kernel logs 100 records at a time, and has lost some before the fifth time."""

    def __init__(self) -> None:
        """Begin at record 0."""
        self._times = 0

    def records(self, *_: object) -> list[kmsg.Record]:
        first = 100 * self._times + (50 if self._times > 4 else 0)
        self._times += 1
        found = (kmsg.parse_record(f"6,{first + n},{n},-;text") for n in range(100))
        return [record for record in found if record]


def kept() -> int:
    gc.collect()
    return sum(isinstance(one, kmsg.Record) for one in gc.get_objects())


def test_no_record_is_kept_that_was_followed() -> None:
    before = kept()
    log = KernelLog(cast("Agent", Talking()))
    followed = (record.sequence for record in log.follow())
    assert [*itertools.islice(followed, 400)] == [*range(400)]
    assert next(followed) == 400
    assert kept() - before <= 200
    assert [*itertools.islice(followed, 100)][-1] == 550
    assert log.lost == 50
    assert log.next == 650
