"""The bounded mailbox between actors.

`payment.service` owns it, not the actor that reads it: a restarted actor finds all queued items. It never grows past
its limit (F39); `offer` returns False at once when it is full.
"""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """First in, first out, for one reader and any number of writers of one event loop."""

    def __init__(self, name: str, limit: int) -> None:
        if limit < 1:
            raise ValueError(
                f"mailbox {name}: the limit must be at least 1, not {limit}: asyncio takes lower ones for no limit"
            )
        self.name = name
        self.limit = limit
        self.accepted = 0
        """How many items were ever put in."""
        self._queue: asyncio.Queue[T] = asyncio.Queue(limit)

    def offer(self, item: T) -> bool:
        """Put the item in if there is room now. It never waits. False: the mailbox is full, and the item is not in."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            return False
        self.accepted += 1
        return True

    async def put(self, item: T) -> None:
        """Wait for room, then put the item in. Cancelled while it waits: the item is not in."""
        await self._queue.put(item)
        self.accepted += 1

    async def get(self) -> T:
        """Wait for the oldest item and take it out. Cancelled while it waits: no item is taken out."""
        return await self._queue.get()

    def get_nowait(self) -> T | None:
        """Take the oldest item out. None: there is none now."""
        return None if self._queue.empty() else self._queue.get_nowait()

    @property
    def depth(self) -> int:
        """The number of queued items."""
        return self._queue.qsize()

    @property
    def room(self) -> int:
        """The number of items that still fit in."""
        return self.limit - self._queue.qsize()
