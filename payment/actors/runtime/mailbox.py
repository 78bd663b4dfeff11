"""The bounded mailbox between actors.

Owned by the wiring, not by the actor that reads it: an actor that is restarted finds everything still queued. It never
grows past its limit (F39): a writer that can't wait learns at once that it is full.
"""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """First in, first out, for one reader and any number of writers of one event loop."""

    def __init__(self, name: str, limit: int) -> None:
        if limit < 1:
            raise ValueError(
                f"mailbox {name}: the limit must be at least 1, not {limit}: asyncio would take it for none"
            )
        self.name = name
        self.limit = limit
        self.accepted = 0
        """How many items were ever put in."""
        self._queue: asyncio.Queue[T] = asyncio.Queue(limit)

    def offer(self, item: T) -> bool:
        """Put the item in if there is room now. Never waits; False: it is full and nothing was changed."""
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
        """Wait for the oldest item and take it out. Cancelled while it waits: nothing is taken out."""
        return await self._queue.get()

    def get_nowait(self) -> T | None:
        """Take the oldest item out, or None if there is none now."""
        return None if self._queue.empty() else self._queue.get_nowait()

    @property
    def depth(self) -> int:
        """How many items are waiting."""
        return self._queue.qsize()

    @property
    def room(self) -> int:
        """How many more items fit in now."""
        return self.limit - self._queue.qsize()
