"""Which sequences to pad together: attention computes padding as well, so like lengths go with like."""

from collections import Counter
from collections.abc import Sequence

MOST = 4  # buckets
A_CALL = 32  # what another bucket costs, in padded tokens (measured: one core, text of width 512)


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Group sequences so that padding each group to its longest costs least.

    Args:
        lengths: of every sequence, at least one.

    Returns:
        Indices of the sequences of each group, in order; groups of shorter sequences first.
    """
    counts = sorted(Counter(lengths).items())
    # best[k][j]: least cost of the j shortest lengths in k groups, and where the last group begins
    best: list[list[tuple[int, int]]] = [[(0, 0)] + [(1 << 62, 0)] * len(counts)]
    for _ in range(min(MOST, len(counts))):
        before, now = best[-1], [(1 << 62, 0)]
        for stop in range(1, len(counts) + 1):
            now.append(min((before[i][0] + _cost(counts[i:stop]), i) for i in range(stop)))
        best.append(now)
    count = min(range(1, len(best)), key=lambda k: best[k][-1][0])
    bounds, stop = [], len(counts)
    for k in range(count, 0, -1):
        bounds.append(counts[stop - 1][0])
        stop = best[k][stop][1]
    groups: list[list[int]] = [[] for _ in bounds]
    ascending = bounds[::-1]
    for index, length in enumerate(lengths):
        groups[next(k for k, bound in enumerate(ascending) if length <= bound)].append(index)
    return groups


def _cost(counts: Sequence[tuple[int, int]]) -> int:
    return counts[-1][0] * sum(number for _, number in counts) + A_CALL
