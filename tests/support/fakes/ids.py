"""Ids and jitter that are the same in each run."""

from collections.abc import Sequence


class FakeIds:
    """Counts: the first id ends in 1. `jitter` goes round the values given, 0 by default."""

    def __init__(self, jitters: Sequence[float] = (0.0,), first: int = 1) -> None:
        self._jitters = tuple(jitters)
        self._drawn = 0
        self._next = first

    def new(self) -> str:
        made = f"{self._next:032x}"
        self._next += 1
        return made

    def jitter(self) -> float:
        drawn = self._jitters[self._drawn % len(self._jitters)]
        self._drawn += 1
        return drawn
