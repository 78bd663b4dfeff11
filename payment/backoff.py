"""Pauses between tries: they grow with each failure in a row, up to a limit.

The one place that knows how a pause grows; how long it is at first and at most stands where it is used. Pure
arithmetic: it waits for nothing, and draws nothing by chance. It imports nothing, so that every layer may use it.
"""

from typing import NamedTuple

EXPONENT_MAX = 64
"""Above what any of the limits needs, and below what a float can't hold: a count of failures has no bound."""


class Backoff(NamedTuple):
    """How pauses grow: from `first_s` to `longest_s` seconds, each `factor` times the one before."""

    first_s: float
    longest_s: float
    factor: float = 2.0

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row, from 1 on, in seconds."""
        return min(self.longest_s, self.first_s * self.factor ** min(failures - 1, EXPONENT_MAX))

    def spread_s(self, failures: int, jitter: float) -> float:
        """Between half of that pause and all of it, by `jitter` (from 0 to 1): many that fail together do not come
        back together."""
        return self.pause_s(failures) * (0.5 + jitter / 2)
