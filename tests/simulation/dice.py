"""The draws of plans: one random sequence for each seed, and the few kinds of draws that faults need."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

HOUR_S = 3_600.0

NTH_LIMIT = {"store.commit": 9, "store.load": 6, "store.due": 4, "bus.deliver": 4, "bus.ack": 4, "http.request": 4}
"""How many calls of a kind are worth striking: about as many as a small schedule makes."""
OTHER_NTH_LIMIT = 3


class Dice:
    """Draws for one plan. `busy_s` is the time in which customers press and events come."""

    def __init__(self, seed: int, processes: int, busy_s: float) -> None:
        self.random = random.Random(seed)
        self.processes = processes
        self.busy_s = busy_s

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def below(self, limit: int) -> int:
        return int(self.random.random() * limit)

    def between(self, low: float, high: float) -> float:
        return round(low + (high - low) * self.random.random(), 3)

    def spread(self, low: float, high: float) -> float:
        """Draw between two bounds, with each order of magnitude equally likely."""
        return round(low * math.exp(math.log(high / low) * self.random.random()), 3) if high > 0 else 0.0

    def one_of(self, things: Sequence[T]) -> T:
        return things[self.below(len(things))]

    def nth(self, hook: str) -> int:
        return 1 + self.below(NTH_LIMIT.get(hook, OTHER_NTH_LIMIT))

    def time(self) -> float:
        return self.between(0.05, self.busy_s)

    def process(self) -> str:
        return f"p{1 + self.below(self.processes)}"
