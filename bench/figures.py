"""Statistics of measurements: medians, spreads, ratios round by round, percentiles. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The median of several rounds, with their minimum and maximum. A summary leaves `rounds` out."""

    median: float
    least: float
    most: float
    rounds: list[float] = []


def spread(values: Sequence[float]) -> Spread:
    """Returns the spread of values. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no round was measured")
    return Spread(statistics.median(values), min(values), max(values), list(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Returns the ratios of ours to theirs, round by round, since other load of the machine affects both in a round.
    Both must have the same number of rounds.
    """
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that at least `percent` percent of the values do not exceed."""
    if not values:
        raise ValueError("no value was measured")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


def overtaken_s(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Returns, for each pair (arrived at, served at), how long before it a later arrival was served."""
    earliest_behind, found = float("inf"), []
    for _, served_at in sorted(pairs, reverse=True):
        found.append(max(0.0, served_at - earliest_behind))
        earliest_behind = min(earliest_behind, served_at)
    return found[::-1]


def shown(value: float) -> str:
    """Returns a value with three significant digits, and commas between thousands."""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
