"""A queue whose members keep their places: the first is taken, and any may leave or come back at any time.

To leave costs the same however long the queue is: at a drain, or when a crowd hangs up, thousands leave at once.
"""

import heapq
from typing import Generic, TypeVar

GONE_PLACES_KEPT = 64
"""Places of members that have left, beyond as many as still stand in the queue, before they are swept together."""

Place = tuple[float, int]
"""Where a member stands: when it came, in seconds, then a number that no other has."""

T = TypeVar("T")


class PositionQueue(Generic[T]):
    """Members by their places."""

    def __init__(self) -> None:
        self._members: dict[Place, T] = {}
        self._places: list[Place] = []
        """A heap. A place that has no member any more is passed over."""

    def __len__(self) -> int:
        return len(self._members)

    def add(self, place: Place, member: T) -> None:
        """Let somebody stand there from now on."""
        self._members[place] = member
        heapq.heappush(self._places, place)

    def remove(self, place: Place) -> T | None:
        """Take out whoever stands there; None where nobody does."""
        member = self._members.pop(place, None)
        if len(self._places) > 2 * len(self._members) + GONE_PLACES_KEPT:
            self._places = sorted(self._members)
        return member

    def first(self) -> Place:
        """The place of the first. There must be one."""
        while self._places[0] not in self._members:
            heapq.heappop(self._places)
        return self._places[0]

    def take(self) -> T:
        """Take out the first. There must be one."""
        member = self._members.pop(self.first())
        heapq.heappop(self._places)
        if not self._members:
            self._places.clear()
        return member
