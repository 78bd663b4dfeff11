"""Events that can't be applied, on their way into `dead_letters`: one after another, each settled once it is kept.

Owns these events from their arrival until they are settled. A flood of them must never take the connections to the
store from the orders (F30): one write is under way at a time.
"""

from collections.abc import Callable

from payment.actors.messages import Handling, InvalidEventReceived
from payment.actors.runtime.work_queue import WorkQueue
from payment.ports.clock import Clock
from payment.ports.store import DeadLetter, OrderStore, StoreUnavailable


class DeadLetterWriter:
    """The invalid events that wait to be kept. `failed` is called with an event's identity and why it can't be kept."""

    def __init__(self, store: OrderStore, clock: Clock, failed: Callable[[str, str], None]) -> None:
        self._store = store
        self._clock = clock
        self._failed = failed
        self._waiting: WorkQueue[InvalidEventReceived] = WorkQueue()

    def add(self, message: InvalidEventReceived) -> None:
        self._waiting.add(message)

    async def write_all(self) -> None:
        """Keep events as they come, for ever."""
        while True:
            message = await self._waiting.first()
            handling = await self._write(message)
            self._waiting.done()
            message.settle(handling, message.error)
            if handling is Handling.NOT_NOW:
                self.put_off()

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
        for message in self._waiting.take_all():
            message.settle(Handling.NOT_NOW)

    def __len__(self) -> int:
        return len(self._waiting)
