"""A queue of members with fixed positions: the first is taken, and any may be removed or added back at any time.

Removing costs the same at any length: at a drain, or when a burst of clients disconnects, thousands are removed at
once.
"""

import heapq
from typing import Generic, TypeVar

STALE_POSITIONS_MAX = 64
"""Positions of removed members in the heap, beyond the number of members, before they are deleted all together."""

Position = tuple[float, int]
"""A member's order: its arrival in seconds, then a number that no other member has."""

T = TypeVar("T")


class PositionQueue(Generic[T]):
    """Members ordered by their positions."""

    def __init__(self) -> None:
        self._members: dict[Position, T] = {}
        self._positions: list[Position] = []
        """A heap. Positions without a member are skipped."""

    def __len__(self) -> int:
        return len(self._members)

    def add(self, position: Position, member: T) -> None:
        """Add a member at a position that no other member has."""
        self._members[position] = member
        heapq.heappush(self._positions, position)

    def remove(self, position: Position) -> T | None:
        """Remove and return the member at a position; None where there is none."""
        member = self._members.pop(position, None)
        if len(self._positions) > 2 * len(self._members) + STALE_POSITIONS_MAX:
            self._positions = sorted(self._members)
        return member

    def first(self) -> Position:
        """Returns the first position. The queue must not be empty."""
        while self._positions[0] not in self._members:
            heapq.heappop(self._positions)
        return self._positions[0]

    def take(self) -> T:
        """Remove and return the first member. The queue must not be empty."""
        member = self._members.pop(self.first())
        heapq.heappop(self._positions)
        if not self._members:
            self._positions.clear()
        return member
