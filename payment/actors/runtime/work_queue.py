"""A queue of items that one task of an actor works on, one after another.

Owns each item until it is done: if the task ends meanwhile, the actor still finds the item and can answer it. The queue
has no limit of its own; the callers of `add` have one (a mailbox, a broker's limit, the effects that were released).

It is not for items that are done in another order or after a delay (`payment.actors.nats.publisher`), nor for messages
between two actors (`payment.actors.runtime.mailbox`).
"""

import asyncio
from collections import deque
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """First in, first out, for one task that works on the items and any number of tasks that add some."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._some = asyncio.Event()

    def add(self, item: T) -> None:
        self._items.append(item)
        self._some.set()

    async def first(self) -> T:
        """Wait for an item. Returns the oldest, which stays in the queue until `done`."""
        await self._some.wait()
        return self._items[0]

    def oldest(self, limit: int) -> list[T]:
        """Returns up to `limit` items, the oldest first. They stay in the queue until `done`."""
        return list(islice(self._items, limit))

    def done(self, count: int = 1) -> None:
        """The `count` oldest items are done."""
        for _ in range(count):
            self._items.popleft()
        if not self._items:
            self._some.clear()

    def take_all(self) -> list[T]:
        """Take out and return all items, with those in progress: the task ends, or none of them can be done now."""
        taken = list(self._items)
        self.done(len(taken))
        return taken

    def __len__(self) -> int:
        return len(self._items)
