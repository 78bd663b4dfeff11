"""A queue whose members keep their places: the first is taken, and any may leave or come back at any time.

To leave costs the same however long the queue is: at a drain, or when a crowd hangs up, thousands leave at once.
"""

import heapq
from typing import Generic, TypeVar

STALE_POSITIONS_MAX = 64
"""Places of members that have left, beyond as many as still stand in the queue, before they are swept together."""

Position = tuple[float, int]
"""Where a member stands: when it came, in seconds, then a number that no other has."""

T = TypeVar("T")


class PositionQueue(Generic[T]):
    """Members by their places."""

    def __init__(self) -> None:
        self._members: dict[Position, T] = {}
        self._positions: list[Position] = []
        """A heap. A place that has no member any more is passed over."""

    def __len__(self) -> int:
        return len(self._members)

    def add(self, position: Position, member: T) -> None:
        """Let somebody stand there from now on."""
        self._members[position] = member
        heapq.heappush(self._positions, position)

    def remove(self, position: Position) -> T | None:
        """Take out whoever stands there; None where nobody does."""
        member = self._members.pop(position, None)
        if len(self._positions) > 2 * len(self._members) + STALE_POSITIONS_MAX:
            self._positions = sorted(self._members)
        return member

    def first(self) -> Position:
        """The place of the first. There must be one."""
        while self._positions[0] not in self._members:
            heapq.heappop(self._positions)
        return self._positions[0]

    def take(self) -> T:
        """Take out the first. There must be one."""
        member = self._members.pop(self.first())
        heapq.heappop(self._positions)
        if not self._members:
            self._positions.clear()
        return member
