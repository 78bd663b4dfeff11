"""Pauses between tries: they grow with each failure in a row, up to a limit.

Owns how a pause grows; the module that pauses sets the first and the longest pause. Pure arithmetic: it never waits,
and draws no random number. It imports no module of the service, so every layer may use it.
"""

from typing import NamedTuple

EXPONENT_MAX = 64
"""More than any limit needs, and less than a float can hold. The count of failures itself is unbounded."""


class Backoff(NamedTuple):
    """How pauses grow: from `first_s` to `longest_s` seconds, each `factor` times the one before."""

    first_s: float
    longest_s: float
    factor: float = 2.0

    def pause_s(self, failures: int) -> float:
        """Returns the pause after `failures` failures in a row, which is at least 1, in seconds."""
        return min(self.longest_s, self.first_s * self.factor ** min(failures - 1, EXPONENT_MAX))

    def spread_s(self, failures: int, jitter: float) -> float:
        """Returns between half of `pause_s` and all of it, by `jitter` (from 0 to 1), in seconds.

        So processes that fail at the same time do not retry at the same time.
        """
        return self.pause_s(failures) * (0.5 + jitter / 2)
