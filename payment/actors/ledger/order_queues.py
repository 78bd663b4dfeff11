"""The order queues: one for each order with waiting messages, so that each order's changes come one after another.

A queue whose write is under way keeps its later messages; other orders go on. Queues are taken by the arrival of their
oldest message, but those with a completed effect come first: charges in progress are finished before new ones begin.
Completions are few, because each belongs to a charge in progress. So they delay the others only briefly, and a burst
does not delay them.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, islice

from payment.actors.ledger.pending_charges import PendingCharge
from payment.actors.messages import EffectCompleted, EventReceived
from payment.core.messages import Due, LeaseRenewed, RecheckRequested
from payment.ports.clock import Clock

MESSAGES_IN_A_FOLD_LIMIT = 64
"""Messages of one order folded into one write. A hot order must not delay the batch that it is in (F31)."""

QueuedMessage = PendingCharge | EventReceived | EffectCompleted | RecheckRequested | Due | LeaseRenewed


class OrderQueue:
    """The messages of one order, oldest first."""

    __slots__ = ("messages", "order_id", "ready_since", "singly", "under_way")

    def __init__(self, order_id: str) -> None:
        self.order_id = order_id
        self.messages: deque[QueuedMessage] = deque()
        self.under_way = False
        self.ready_since = 0.0
        """Monotonic seconds: since when it is ready, while it has no completed effect."""
        self.singly = False
        """One of its messages makes a document that can't be written: each is committed alone, to find which."""

    def take(self) -> list[QueuedMessage]:
        """Take out the oldest messages, up to the limit of one write."""
        count = min(len(self.messages), 1 if self.singly else MESSAGES_IN_A_FOLD_LIMIT)
        return [self.messages.popleft() for _ in range(count)]

    def put_back(self, messages: Iterable[QueuedMessage]) -> None:
        """Put messages that were taken out back, before those that came meanwhile."""
        self.messages = deque((*messages, *self.messages))


class OrderQueues:
    """All order queues, and which of them are ready: they have messages, and no write under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order_queues: dict[str, OrderQueue] = {}
        self._ready: dict[str, OrderQueue] = {}
        self._ready_to_finish: dict[str, OrderQueue] = {}

    def add(self, order_id: str, message: QueuedMessage) -> None:
        """Put a message at the end of its order's queue."""
        order_queue = self._order_queues.get(order_id)
        if order_queue is None:
            order_queue = self._order_queues[order_id] = OrderQueue(order_id)
        order_queue.messages.append(message)
        if not order_queue.under_way:
            self._is_ready(order_queue, finishing=isinstance(message, EffectCompleted))

    def _is_ready(self, order_queue: OrderQueue, *, finishing: bool) -> None:
        if finishing:
            self._ready.pop(order_queue.order_id, None)
            self._ready_to_finish[order_queue.order_id] = order_queue
        elif order_queue.order_id not in self._ready_to_finish and order_queue.order_id not in self._ready:
            order_queue.ready_since = self._clock.monotonic()
            self._ready[order_queue.order_id] = order_queue

    def take_ready(self, limit: int) -> list[OrderQueue]:
        """Returns up to `limit` ready queues, which are under way from now on. `done` must be called for each."""
        order_queues = list(islice(chain(self._ready_to_finish.values(), self._ready.values()), limit))
        for order_queue in order_queues:
            order_queue.under_way = True
            self._ready.pop(order_queue.order_id, None)
            self._ready_to_finish.pop(order_queue.order_id, None)
        return order_queues

    def done(self, order_queue: OrderQueue) -> None:
        """The queue's write is no longer under way."""
        order_queue.under_way = False
        if order_queue.messages:
            self._is_ready(
                order_queue, finishing=any(isinstance(message, EffectCompleted) for message in order_queue.messages)
            )
        else:
            del self._order_queues[order_queue.order_id]

    def waiting(self) -> list[QueuedMessage]:
        """Returns every message that waits in a queue."""
        return [message for order_queue in self._order_queues.values() for message in order_queue.messages]

    def keep(self, kept: Callable[[Iterable[QueuedMessage]], list[QueuedMessage]]) -> None:
        """Replace the messages of each queue by those that `kept` returns of them."""
        for order_id, order_queue in list(self._order_queues.items()):
            order_queue.messages = deque(kept(order_queue.messages))
            if not order_queue.messages and not order_queue.under_way:
                del self._order_queues[order_id]
                self._ready.pop(order_id, None)
                self._ready_to_finish.pop(order_id, None)

    @property
    def any_ready(self) -> bool:
        return bool(self._ready or self._ready_to_finish)

    @property
    def ready(self) -> int:
        """The number of ready queues."""
        return len(self._ready) + len(self._ready_to_finish)

    def behind_s(self) -> float:
        """Returns how long the oldest ready queue without a completed effect has waited, in seconds."""
        order_queue = next(iter(self._ready.values()), None)
        return self._clock.monotonic() - order_queue.ready_since if order_queue is not None else 0.0

    def __len__(self) -> int:
        return len(self._order_queues)

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._order_queues
