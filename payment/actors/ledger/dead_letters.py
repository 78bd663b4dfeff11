"""Events that can't be applied, on their way into `dead_letters`: one after another, each settled once it is kept.

Owns these events from their arrival until they are settled. A flood of them must never take the connections to the
store from the orders (F30): one write is under way at a time.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from payment.actors.messages import Handling, InvalidEventReceived
from payment.ports.clock import Clock
from payment.ports.store import DeadLetter, OrderStore, StoreUnavailable


class DeadLetterWriter:
    """The invalid events that wait to be kept. `failed` is called with an event's identity and why it can't be kept."""

    def __init__(self, store: OrderStore, clock: Clock, failed: Callable[[str, str], None]) -> None:
        self._store = store
        self._clock = clock
        self._failed = failed
        self._waiting: deque[InvalidEventReceived] = deque()
        self._some = asyncio.Event()

    def add(self, message: InvalidEventReceived) -> None:
        self._waiting.append(message)
        self._some.set()

    async def write_all(self) -> None:
        """Keep events as they come, for ever."""
        while True:
            await self._some.wait()
            # It stays in `_waiting` until it is settled: if the ledger ends meanwhile, `put_off` finds it.
            handling = await self._write(self._waiting[0])
            message = self._waiting.popleft()
            message.settle(handling, message.error)
            if handling is Handling.NOT_NOW:
                self.put_off()
            if not self._waiting:
                self._some.clear()

    async def _write(self, message: InvalidEventReceived) -> Handling:
        dead_letter = DeadLetter(message.identity, message.subject, message.data, message.error, self._clock.now())
        try:
            await self._store.add_dead_letter(dead_letter)
        except StoreUnavailable as error:
            self._failed(message.identity, str(error))
            return Handling.NOT_NOW
        return Handling.DEAD_LETTER

    def put_off(self) -> None:
        """The store is away, or the ledger ends: the broker is to deliver them again."""
        while self._waiting:
            self._waiting.popleft().settle(Handling.NOT_NOW)

    def __len__(self) -> int:
        return len(self._waiting)
