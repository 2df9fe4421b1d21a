"""Whether something grows: a slope that a few odd values cannot make, and how sure it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import median

__all__ = ["Point", "slope", "surely"]

Point = tuple[float, float]  # when, and how much

Z = 1.959964  # of the normal distribution, for an interval of 95 %
POINTS_MAX = 400  # whose pairs are looked at; of more a part that is spread evenly says the same


def slope(points: Sequence[Point]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): up to 29 % of the points may be anything."""
    found = _slopes(points)
    return median(found) if found else 0.0


def surely(points: Sequence[Point]) -> float:
    """The slope that the true one is above in 97.5 of 100 cases: the lower end of Sen's interval (1968); 0 of too few points.

    It is taken from the slopes themselves by their rank, with the variance of Kendall's statistic, ties among the values
    counted. One step from one level to another, however high, has as many level pairs as make it 0.
    """
    found = _slopes(points)
    if not found:
        return 0.0
    values = [value for _, value in _thinned(points)]
    count = len(values)
    ties = sum(n * (n - 1) * (2 * n + 5) for n in Counter(values).values())
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    rank = math.floor((len(found) - Z * math.sqrt(variance)) / 2)
    return found[rank] if rank >= 0 else -math.inf


def _slopes(points: Sequence[Point]) -> list[float]:
    """Those between all pairs at different times, in order."""
    pairs: Iterable[tuple[Point, Point]] = combinations(_thinned(points), 2)
    return sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] != a[0])


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    every = math.ceil(len(points) / POINTS_MAX) if points else 1
    return points[::every]
