"""The ledger's desk: what becomes of each order of a group commit.

It turns a confirmed document into what follows from it: effects released, replies told, events settled. It owns what
the ledger remembers between two writes of an order: the works under way, those that straggle, what no mailbox had room
for, and a cache of documents just written. It must never be told `finished` before the store has confirmed a document.

Change together: `payment.actors.ledger.group_commit.Desk`, the protocol that this is, and the messages of a lane.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from payment.actors.ledger.dead_letters import DeadLetterWriter
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.group_commit import BatchItem
from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.order_queues import OrderQueue, OrderQueues, QueuedMessage
from payment.actors.ledger.payment_views import Views
from payment.actors.ledger.pending_replies import PendingReplies, reject, send_reply
from payment.actors.ledger.postponed_events import EventsPutOff
from payment.actors.ledger.set_aside import SetAside
from payment.actors.ledger.store_state import StoreState
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import (
    ChargeOrder,
    EffectCompleted,
    EventReceived,
    Handling,
    InvalidEventReceived,
)
from payment.core.messages import Context, Due, OrderCreated
from payment.core.order import Order, Writer
from payment.core.replies import Conflict, OutcomePending, Paid, RequiresAction, Start, Unavailability, reply_to
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import Committed, CorruptDocument

CACHED_ORDERS_LIMIT = 5_000
"""Documents just written, about 2 kB each: the next step of a charge comes within seconds."""

READ_FIRST_S = 10.0
"""After an order that should have been new was none, orders are read first again: a new queue group hears all that ever
was, and a write that collides costs more than the read that it would have saved."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What `payment.core.messages.Context` says of this process: its fields are described there."""

    process: str
    client_id: str
    api_version: str
    queue_group: str
    prepare: bool = False


class CommitResults:
    """The `Desk` of the ledger's commits."""

    def __init__(
        self,
        identity: ProcessIdentity,
        order_queues: OrderQueues,
        in_flight: InFlightEffects,
        pending_replies: PendingReplies,
        views: Views,
        dead_letters: DeadLetterWriter,
        declines: DeclineLimit,
        telemetry: LedgerTelemetry,
        clock: Clock,
        state: StoreState,
        work_ready: asyncio.Event,
        set_aside: SetAside,
    ) -> None:
        self._identity = identity
        self._order_queues = order_queues
        self._in_flight = in_flight
        self._pending_replies = pending_replies
        self._views = views
        self._dead_letters = dead_letters
        self._declines = declines
        self._telemetry = telemetry
        self._clock = clock
        self._state = state
        self._work_ready = work_ready
        self._set_aside = set_aside
        self._put_off = EventsPutOff(clock)
        self._cache: OrderedDict[str, Order] = OrderedDict()
        self._writes = 0
        self._under_way: dict[str, tuple[OrderQueue, BatchItem]] = {}
        self._stragglers: list[BatchItem] = []
        self._unreleased: set[str] = set()
        self._read_first_until = 0.0

    def works_of(self, order_queues: list[OrderQueue]) -> list[BatchItem]:
        """Begin the works of these lanes: under way until each is finished, unreadable, unwritable or set aside."""
        items = [BatchItem(order_queue.order_id, order_queue.take()) for order_queue in order_queues]
        self._under_way.update(
            (order_queue.order_id, (order_queue, item)) for order_queue, item in zip(order_queues, items, strict=True)
        )
        return items

    def messages_in_flight(self) -> list[QueuedMessage]:
        """Those of all works under way that nobody has answered yet."""
        return [message for _, item in self._under_way.values() for message in item.messages]

    def take_stragglers(self) -> list[BatchItem]:
        """The works to be tried again, taken out."""
        items, self._stragglers = self._stragglers, []
        return items

    def take_unreleased(self, limit: int) -> list[str]:
        """Orders some of whose effects found no room in a mailbox, taken out."""
        return [self._unreleased.pop() for _ in range(min(len(self._unreleased), limit))]

    def context(self) -> Context:
        identity = self._identity
        return Context(
            self._clock.now(), identity.process, identity.api_version, identity.queue_group, identity.prepare
        )

    def next_write(self) -> Writer:
        self._writes += 1
        return Writer(self._identity.process, self._writes)

    def cached(self, order_id: str) -> Order | None:
        return self._cache.get(order_id)

    def forget(self, order_id: str) -> None:
        self._cache.pop(order_id, None)

    def presumed_new(self, item: BatchItem) -> bool:
        """An order is announced once, and before anything else is heard of it: nearly always."""
        return self._clock.monotonic() >= self._read_first_until and all(
            isinstance(message, EventReceived) and isinstance(message.message, OrderCreated) and not message.redelivered
            for message in item.messages
        )

    def was_not_new(self) -> None:
        self._read_first_until = self._clock.monotonic() + READ_FIRST_S

    def observed(self, items: Sequence[BatchItem], results: Sequence[Committed], trouble: str) -> None:
        if Committed.WRITTEN in results:
            self._state.written()
        self._telemetry.committed([item.order_id for item in items], results, trouble)

    def may_begin(self, order: Order | None, request: ChargeOrder, at: datetime) -> bool:
        """As `payment.actors.ledger.group_commit.Desk` says. Only what would begin a new attempt is limited."""
        if order is None or not self._declines.on:
            return True
        begins = isinstance(reply_to(order, request.request, at), Start)
        return not begins or self._declines.may_begin(order, request)

    def still_wanted(self, item: BatchItem) -> list[QueuedMessage]:
        """A request whose time is up is answered and starts nothing any more: its caller has been told, or has gone."""
        asking = [message for message in item.messages if isinstance(message, ChargeOrder)]
        if not asking:
            return item.messages
        now = self._clock.monotonic()
        late = [message for message in asking if now >= message.deadline or message.answer.done()]
        for message in late:
            reject(message, Unavailability.BUSY)
        return [message for message in item.messages if message not in late] if late else item.messages

    def finished(self, item: BatchItem) -> None:
        """Each step by itself: what goes wrong with this order in one of them keeps it from none of the others."""
        order, order_id, handover, looked = item.after, item.order_id, item.handover, item.looked
        for message in item.messages:
            if isinstance(message, EffectCompleted):
                self._in_flight.ended(order_id, message.effect_id)
        well = True
        if order is not None:
            self._declines.settled(item.before, order)
            self._remember(order)
            well = self._set_aside.contain(order_id, self._release, order)
        well &= self._set_aside.contain(order_id, self._telemetry.finished, item)
        well &= self._answer(item, handover)
        if order is not None:
            if not self._set_aside.contain(order_id, self._pending_replies.written, order, handover):
                self._pending_replies.fail_order(order_id)
                well = False
            if not self._set_aside.contain(order_id, self._show, order, handover, looked):
                self._views.fail_order(order_id)
                well = False
        if well:
            self._set_aside.well(order_id)
        self._order_done(order_id)

    def _release(self, order: Order) -> None:
        if not self._in_flight.release(order):
            self._unreleased.add(order.id)

    def _show(self, order: Order, handover: Handover | None, looked: bool) -> None:
        self._views.written(order, handover, looked=looked)

    def _answer(self, item: BatchItem, handover: Handover | None) -> bool:
        """Replies and acknowledgements: by the document as it stands now. Whoever has been answered is taken out.

        False: one of them could not be made, and its message was given up.
        """
        well = True
        while item.messages:
            message = item.messages[0]
            if isinstance(message, EventReceived):
                message.settle(Handling.APPLIED if id(message) in item.applied else Handling.STALE)
            elif isinstance(message, ChargeOrder) and not self._set_aside.contain(
                item.order_id, self._reply, item, message, handover
            ):
                reject(message, Unavailability.SET_ASIDE)
                well = False
            item.messages.pop(0)
        return well

    def _reply(self, item: BatchItem, message: ChargeOrder, handover: Handover | None) -> None:
        reply = item.replies.get(id(message))
        if isinstance(reply, Start):
            message.supersedes = True
        if item.after is not None and (reply is None or isinstance(reply, OutcomePending | RequiresAction | Start)):
            self._pending_replies.add(item.after, message, handover)
        elif isinstance(reply, Paid) and item.after is not None and item.after.cancelled:
            send_reply(message, Conflict.CANCELLED)  # it was cancelled in this very write
        elif reply is not None and not isinstance(reply, Start):
            send_reply(message, reply)

    def store_unavailable(self, item: BatchItem) -> None:
        """Nothing was sent. Requests and events hear so; what actors brought stays, for nobody else will bring it."""
        order_queue, _ = self._under_way[item.order_id]
        order_queue.put_back(each for each in _answer_not_now(item.messages) if isinstance(each, EffectCompleted))
        self._order_done(item.order_id)

    def refused(self, item: BatchItem) -> None:
        for message in item.messages:
            if isinstance(message, ChargeOrder):
                message.write_sent = False  # the store has refused the document: nothing was written
        order_queue, _ = self._under_way[item.order_id]
        # What is due stays too: nobody would look for it before its lease is over, for the store is not lost.
        item.messages = [each for each in _answer_not_now(item.messages) if isinstance(each, EffectCompleted | Due)]
        order_queue.messages = deque(_answer_not_now(order_queue.messages))  # what came meanwhile would meet the same

    def corrupt(self, item: BatchItem, document: CorruptDocument) -> None:
        """Requests get 503, events go to the dead letters; an effect's end is found again when the order is corrected.

        An event for a document of a newer release is put off for a while: one of its processes may take it.
        """
        self._set_aside.corrupt(document)
        for message in item.messages:
            self._put_away(
                item.order_id,
                message,
                Unavailability.CORRUPT_DOCUMENT,
                f"the stored order is corrupt: {document.reason}",
                put_off=document.newer,
            )
        self._order_done(item.order_id)

    def failed(self, item: BatchItem, error: Exception) -> None:
        """One message can't be decided. Which one shows when each is folded alone; it is given up, and said."""
        order_queue, _ = self._under_way[item.order_id]
        if len(item.messages) > 1:
            order_queue.singly = True
            order_queue.put_back(item.messages)
        else:
            self._set_aside.failed(item.order_id, error)
            reason = f"deciding about the order failed ({type(error).__name__})"
            for message in item.messages:
                self._put_away(item.order_id, message, Unavailability.SET_ASIDE, reason, put_off=True)
        self._order_done(item.order_id)

    def rejected_document(self, item: BatchItem) -> None:
        """One message makes this document impossible. Which one shows when each is folded alone."""
        order_queue, _ = self._under_way[item.order_id]
        if not item.sent:
            for message in item.messages:
                if isinstance(message, ChargeOrder):
                    message.write_sent = False  # the store has refused the document: nothing was written
        if len(item.messages) > 1:
            order_queue.singly = True
            order_queue.put_back(item.messages)
        else:
            self._telemetry.rejected_document(item)
            error = "the order that it makes can't be stored"
            self._put_away(item.order_id, item.messages[0], Unavailability.CRASHED, error, put_off=False)
        self._order_done(item.order_id)

    def _put_away(
        self, order_id: str, culprit: QueuedMessage, why: Unavailability, error: str, *, put_off: bool
    ) -> None:
        """A request is refused, an effect is left to its lease, and an event goes to the dead letters.

        `put_off`: an event is delivered again first, as often as `EventsPutOff` allows.
        """
        match culprit:
            case EventReceived() if put_off and self._put_off.allows(culprit):
                culprit.settle(Handling.NOT_NOW)
            case EventReceived():
                culprit.error = error
                self._dead_letters.add(
                    InvalidEventReceived(culprit.subject, culprit.identity, culprit.data, error, culprit.settle)
                )
            case ChargeOrder():
                reject(culprit, why)
            case EffectCompleted():
                self._in_flight.forfeit(order_id, culprit.effect_id)
            case _:
                return

    def _order_done(self, order_id: str) -> None:
        self._declines.given_up(order_id)
        order_queue, _ = self._under_way.pop(order_id)
        self._order_queues.done(order_queue)
        if self._order_queues.any_ready:
            self._work_ready.set()

    def _remember(self, order: Order) -> None:
        self._cache[order.id] = order
        self._cache.move_to_end(order.id)
        if len(self._cache) > CACHED_ORDERS_LIMIT:
            self._cache.popitem(last=False)

    def straggling(self, item: BatchItem) -> None:
        self._stragglers.append(item)

    async def store_failed(self, reason: str, *, wait: bool) -> bool:
        usable = await self._state.failed(reason)
        if wait:
            await self._state.up.wait()
        return usable


def _answer_not_now(messages: Iterable[QueuedMessage]) -> list[QueuedMessage]:
    """Answer requests and events, which come again. Returns the rest: what actors brought, and what was due."""
    rest: list[QueuedMessage] = []
    for message in messages:
        match message:
            case ChargeOrder():
                reject(message, Unavailability.STORE_AWAY)
            case EventReceived():
                message.settle(Handling.NOT_NOW)
            case _:
                rest.append(message)
    return rest
