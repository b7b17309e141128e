"""Which sequences are padded together."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamm_cl.clip.prompts_layout import A_CALL, MOST, buckets


def cost(lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> int:
    return sum(max(lengths[i] for i in group) * len(group) + A_CALL for group in groups)


def every_split(lengths: Sequence[int]) -> list[list[list[int]]]:
    """All ways to cut the sorted lengths, by brute force."""
    kinds = sorted(set(lengths))
    found = []
    for count in range(min(MOST, len(kinds))):
        for cuts in combinations(kinds[:-1], count):
            bounds = [*cuts, kinds[-1]]
            low = [0, *cuts]
            found.append([[i for i, n in enumerate(lengths) if a < n <= b] for a, b in zip(low, bounds, strict=True)])
    return found


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_is_the_cheapest_split_of_all(lengths: list[int]) -> None:
    groups = buckets(lengths)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(group == sorted(group) for group in groups)
    assert len(groups) <= MOST
    assert cost(lengths, groups) == min(cost(lengths, split) for split in every_split(lengths))


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [([4], [[0]]), ([3] * 5, [[0, 1, 2, 3, 4]]), ([3, 4, 5], [[0, 1, 2]]), ([2] * 50 + [9], [list(range(50)), [50]])],
)
def test_by_hand(lengths: list[int], groups: list[list[int]]) -> None:
    assert buckets(lengths) == groups
