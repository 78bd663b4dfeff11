"""What is made of measurements: medians, spreads, ratios round by round, percentiles. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The median of several rounds, with the least and the most of them. A summary leaves `rounds` out."""

    median: float
    least: float
    most: float
    rounds: list[float] = []


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError where there is nothing to be summed up."""
    if not values:
        raise ValueError("no round was measured")
    return Spread(statistics.median(values), min(values), max(values), list(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours to theirs, round by round: what else the machine did in a round met both. The rounds must be as many."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    if not values:
        raise ValueError("no value was measured")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


def overtaken_s(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """For each person, as (came at, was served at): how long before them somebody was served who had come later."""
    earliest_behind, found = float("inf"), []
    for _, served_at in sorted(pairs, reverse=True):
        found.append(max(0.0, served_at - earliest_behind))
        earliest_behind = min(earliest_behind, served_at)
    return found[::-1]


def shown(value: float) -> str:
    """Three digits that count, and thousands with commas."""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
