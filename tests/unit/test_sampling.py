# SPDX-License-Identifier: GPL-2.0
"""Which tests are run if time is short."""

from sampling import sample

WORDS = ["a1", "a2", "a3", "a4", "a5", "b1", "b2", "c1"]


def of(share: float, seed: int = 0) -> list[str]:
    return sample(WORDS, lambda word: word[0], share, seed)


def test_a_share_of_each_group_in_their_order() -> None:
    few = of(0.4)
    assert [word[0] for word in few] == ["a", "a", "b", "c"]
    assert few == sorted(few)
    assert of(1) == WORDS


def test_each_is_chosen_by_some_seed_and_always_by_it() -> None:
    assert {word for seed in range(50) for word in of(0.2, seed)} == {*WORDS}
    assert of(0.2, 3) == of(0.2, 3)
