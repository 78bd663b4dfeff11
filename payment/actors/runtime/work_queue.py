"""What one task of an actor does one after another, in the order in which it came.

Owns the items until each is done: whatever ends the task meanwhile, the actor's end finds the item and can say what
became of it. It has no limit of its own: whoever adds holds one (a mailbox, a broker's limit, the effects released).

Not for what leaves in another order than it came, or waits for a time (`payment.actors.nats.publisher`), nor between
two actors (`payment.actors.runtime.mailbox`).
"""

import asyncio
from collections import deque
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """First in, first out, for one task that works and any that add."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._some = asyncio.Event()

    def add(self, item: T) -> None:
        self._items.append(item)
        self._some.set()

    async def first(self) -> T:
        """Wait for an item, and return the oldest, which stays until `done`."""
        await self._some.wait()
        return self._items[0]

    def oldest(self, limit: int) -> list[T]:
        """Up to `limit` of those that are there, the oldest first. They stay until `done`."""
        return list(islice(self._items, limit))

    def done(self, count: int = 1) -> None:
        """So many of the oldest are done."""
        for _ in range(count):
            self._items.popleft()
        if not self._items:
            self._some.clear()

    def take_all(self) -> list[T]:
        """Take out what waits, also what is being done: the task ends, or none of it can be done now."""
        taken = list(self._items)
        self.done(len(taken))
        return taken

    def __len__(self) -> int:
        return len(self._items)
