# SPDX-License-Identifier: GPL-2.0
"""Which of the tests that differ by their parameters are run if time is short."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def sample(
    ones: Iterable[T], group: Callable[[T], Hashable], share: float, seed: object
) -> list[T]:
    """Return a share of each group, in their order, and at least one of each.

    Args:
        ones: what is chosen from.
        group: what is the same for all of a group.
        share: the share, from 0 to 1.
        seed: the same seed chooses the same.
    """
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    ones = list(ones)
    for place, one in enumerate(ones):
        places[group(one)].append(place)
    choice = random.Random(str(seed))
    chosen: set[int] = set()
    for there in places.values():
        chosen.update(choice.sample(there, math.ceil(share * len(there))))
    return [one for place, one in enumerate(ones) if place in chosen]
