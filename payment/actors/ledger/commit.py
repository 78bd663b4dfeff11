"""A commit: messages of many orders are taken, decided and written together; then effects and replies are released.

A commit has at most `ROUNDS_TOGETHER_LIMIT` rounds, each with these steps:

    take     the oldest messages of the order's queue: the order is under way until it is done with
    load     the order's document: from the cache, or from the store
    decide   each message by `payment.core.decide.decide`, on what the one before it left
    write    all documents that changed, in one call of the store
    apply    a confirmed document: release its effects, answer its requests, settle its events

Nothing is released before the store has confirmed the document that says so. A write whose answer is lost is neither
repeated blindly nor forgotten: the document is read again, and its `writer` says whether it is this very write. Not
knowing is never reported as not written. An order that the store keeps failing while others are written is tried again
by itself, more slowly: it must not delay the others (F31).

`Commits` owns the state between two writes of an order: the orders under way, those that are tried again, and
a cache of documents just written. It must never call `_finish` before the store has confirmed a document.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from msgspec import Struct, field, structs

from payment.actors.ledger.dead_letters import DeadLetterWriter
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.order_queues import OrderQueue, OrderQueues, QueuedMessage
from payment.actors.ledger.payment_views import Views
from payment.actors.ledger.pending_charges import ChargeState, PendingCharge, PendingCharges
from payment.actors.ledger.set_aside import PostponedEvents, SetAside
from payment.actors.ledger.store_state import StoreState
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import EffectCompleted, EventReceived, Handling, InvalidEventReceived
from payment.core.decide import Step, decide
from payment.core.messages import (
    ActionRequired,
    Context,
    Due,
    IntentRetrieved,
    LeaseRenewed,
    OrderCreated,
    RecheckRequested,
)
from payment.core.order import Order, Writer
from payment.core.pending import reindexed
from payment.core.replies import Conflict, OutcomePending, Paid, Reply, RequiresAction, Start, Unavailability
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import Committed, CorruptDocument, OrderStore, StoreUnavailable

ROUNDS_TOGETHER_LIMIT = 3
"""Rounds of one commit. A conflict with another process costs a round, and two conflicts may happen without a fault."""

CACHED_ORDERS_LIMIT = 5_000
"""Documents just written, about 2 kB each: the next step of a charge comes within seconds."""

READ_FIRST_S = 10.0
"""After an order that was presumed new was stored already, orders are read first for this time, in seconds: a new queue
group receives all past events, and a write that collides costs more than the read that it saves."""

ITEMS_IN_A_TURN = 16
"""Orders decided or applied before others may run: 200 in a row would keep every request waiting for a tenth of a
second. If the others take long, as in a burst, a turn takes the same time as theirs: otherwise a commit, with 16 orders
between each thousand refusals, would take ten seconds."""

DECIDED_AS_OF_ITS_BEGINNING_S = 1.0
"""A round of a commit decides as of its beginning for this time, in seconds. The time of the decision is a charge's
priority at Stripe, so the first request stays first although two commits decide in turns and some orders are read
first. After this time the round decides as of now."""

NOT_TAKEN = frozenset({Committed.UNKNOWN, Committed.REFUSED})
"""Results that are no evidence that the store can be written."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The fields of `payment.core.messages.Context` about this process; they are described there."""

    process: str
    client_id: str
    api_version: str
    queue_group: str
    prepare: bool = False


class SentWrite(Struct, frozen=True):
    """A write that may have been applied: the order that it was decided on, and the document."""

    before: Order | None
    after: Order


class BatchItem(Struct, eq=False):
    """One order of a commit: its messages, the decision, and every write of it that may have been applied.

    A message is taken out of `messages` when it is answered: what is left when the ledger dies still waits.
    """

    order_id: str
    queue: OrderQueue
    messages: list[QueuedMessage]
    before: Order | None = None
    after: Order | None = None
    replies: dict[int, Reply | Start] = field(default_factory=dict)
    """The replies of `decide` to messages, by the messages' `id()`."""
    applied: set[int] = field(default_factory=set)
    """The messages (`id`) whose own step changed the order: a duplicate folded into the same write did not."""
    sent: dict[int, SentWrite] = field(default_factory=dict)
    """The writes of it that may have been applied, by their number (`Writer.number`)."""
    failures: int = 0
    """Writes of it that were refused, or whose outcome is not known."""
    store_ms: float = 0.0
    """Time that this order has spent in calls to the store."""


class LoopShare(Struct):
    """The time that all commits of one ledger take of the event loop, in seconds. The rest is that of other tasks.

    If one counted as others to another, each would have as long a turn as that one and the others together, and so on.
    """

    used_s: float = 0.0


class LoopTurns:
    """One commit's turns of the event loop."""

    def __init__(self, clock: Clock, share: LoopShare) -> None:
        self._clock = clock
        self._share = share
        self._turn_began = clock.monotonic()
        self._others_took_s = 0.0

    async def before(self, place: int) -> None:
        """Called before the order at index `place`: let other tasks run if this turn is over."""
        if place % ITEMS_IN_A_TURN != ITEMS_IN_A_TURN - 1:
            return
        if self._clock.monotonic() - self._turn_began >= self._others_took_s:
            ended = self.end()
            used_s = self._share.used_s
            await asyncio.sleep(0)
            self._others_took_s = self.begin() - ended - (self._share.used_s - used_s)

    def end(self) -> float:
        """It must be called before anything that lets other tasks run. Returns the monotonic time."""
        now = self._clock.monotonic()
        self._share.used_s += now - self._turn_began
        return now

    def begin(self) -> float:
        """It must be called after other tasks ran. Returns the monotonic time."""
        self._turn_began = self._clock.monotonic()
        return self._turn_began


class Commits:
    """Commits batches of orders. In an outage of the store only orders that may have been written wait."""

    def __init__(
        self,
        store: OrderStore,
        clock: Clock,
        identity: ProcessIdentity,
        order_queues: OrderQueues,
        in_flight: InFlightEffects,
        charges: PendingCharges,
        views: Views,
        dead_letters: DeadLetterWriter,
        declines: DeclineLimit,
        telemetry: LedgerTelemetry,
        state: StoreState,
        set_aside: SetAside,
        work_ready: asyncio.Event,
    ) -> None:
        """`work_ready` is set whenever an order queue is ready again."""
        self._store = store
        self._clock = clock
        self._identity = identity
        self._order_queues = order_queues
        self._in_flight = in_flight
        self._charges = charges
        self._views = views
        self._dead_letters = dead_letters
        self._declines = declines
        self._telemetry = telemetry
        self._state = state
        self._set_aside = set_aside
        self._work_ready = work_ready
        self._postponed = PostponedEvents(clock)
        self._share = LoopShare()
        self._cache: OrderedDict[str, Order] = OrderedDict()
        self._writes = 0
        self._under_way: dict[str, BatchItem] = {}
        self._stragglers: list[BatchItem] = []
        self._read_first_until = 0.0

    # ------------------------------------------------------------------------------------------------ one commit

    def take(self, order_queues: list[OrderQueue]) -> list[BatchItem]:
        """Take messages from these queues. Each order is under way until `commit` has finished it."""
        items = [BatchItem(order_queue.order_id, order_queue, order_queue.take()) for order_queue in order_queues]
        for item in items:
            self._under_way[item.order_id] = item
            for message in item.messages:
                if isinstance(message, PendingCharge) and message.state is not ChargeState.WRITING:
                    message.state = ChargeState.DECIDING
        return items

    async def commit(self, items: list[BatchItem]) -> None:
        """Commit the items: each is written, given up, postponed, set aside, or left to `take_stragglers`."""
        turns = LoopTurns(self._clock, self._share)
        for _ in range(ROUNDS_TOGETHER_LIMIT):
            decided = await self._load_and_decide(items, turns)
            if not decided:
                return
            results = await self._write(decided, turns)
            items = await self._apply(decided, results, turns)
            if not items:
                return
        self._stragglers += items

    async def _load_and_decide(self, items: list[BatchItem], turns: LoopTurns) -> list[BatchItem]:
        """Decide each item on its cached document; on a fresh read if that changes nothing. Returns the items to write.

        A new order is presumed to have no document, without a read. If it has one, the write collides, and the order is
        read then.
        """
        decided: list[BatchItem] = []
        unread: list[BatchItem] = []
        context = RoundContext(self._clock, self._identity)
        for place, item in enumerate(items):
            await turns.before(place)
            item.before = None if item.sent else self._cache.get(item.order_id)
            at_hand = item.before is not None or (not item.sent and self._presumed_new(item))
            if at_hand and not self._decide(item, context.now(), just_read=False):
                continue
            (decided if at_hand and item.after is not item.before else unread).append(item)
        turns.end()
        loaded = await self._load(unread, decided)
        turns.begin()
        for place, item in enumerate(loaded):
            await turns.before(place)
            if self._was_applied(item):
                self._finish(item)
                continue
            if not self._decide(item, context.now(), just_read=True):
                continue
            if item.after is not item.before or _must_fence(item):
                decided.append(item)
            else:
                self._finish(item)
        if loaded:
            places = {id(item): place for place, item in enumerate(items)}
            decided.sort(key=lambda item: places[id(item)])
        return decided

    async def _load(self, items: list[BatchItem], decided: list[BatchItem]) -> list[BatchItem]:
        """Read documents; return the items that were read. In an outage only items that may have been written wait.

        Nor does what was `decided` already, on a cached document: when the store is back it would be too late for it.
        """
        while items:
            try:
                orders = await self._store.load([item.order_id for item in items])
            except StoreUnavailable as error:
                for item in (*decided, *items):
                    if not item.sent:
                        self._give_up(item)
                decided.clear()
                items = [item for item in items if item.sent]
                await self._store_failed(str(error), wait=bool(items))
                continue
            loaded: list[BatchItem] = []
            for item in items:
                found = orders.get(item.order_id)
                if isinstance(found, CorruptDocument):
                    self._corrupt(item, found)
                else:
                    item.before = found
                    loaded.append(item)
            return loaded
        return items

    def _decide(self, item: BatchItem, context: Context, *, just_read: bool) -> bool:
        """Decide each message of an order, on what the one before it left.

        False: that raised. One order's bug, or a document that makes no sense, must not keep others from being decided.
        """
        try:
            order = item.before
            if order is not None and just_read:
                order = reindexed(order)  # a deadline that the document's tasks do not have is written as they have it
            now = self._clock.monotonic()
            item.replies.clear()
            item.applied.clear()
            kept: list[QueuedMessage] = []
            for message in item.messages:
                match message:
                    case PendingCharge() if now >= message.deadline or message.answered:
                        # It starts nothing any more: it is answered now, or HTTP has answered it.
                        self._charges.reject(message, Unavailability.BUSY)
                        continue
                    case PendingCharge():
                        if not message.message.decided.done():
                            message.message.decided.set_result(None)
                        step = decide(order, message.message.request, context)
                        if not self._may_begin(order, step, message):
                            continue
                    case EventReceived() | EffectCompleted():
                        step = decide(order, message.message, context)
                    case Due() | LeaseRenewed() | RecheckRequested():
                        step = decide(order, message, context)
                kept.append(message)
                if step.order is not order:
                    item.applied.add(id(message))
                order = step.order
                if step.reply is not None:
                    item.replies[id(message)] = step.reply
            item.messages, item.after = kept, order
        except Exception as error:
            self._failed(item, error)
            return False
        return True

    def _may_begin(self, order: Order | None, step: Step, charge: PendingCharge) -> bool:
        """Whether the decline limit lets a request begin an attempt, if it does. If not, it is answered, or held."""
        if not self._declines.on or order is None or step.order is None:
            return True
        begins = isinstance(step.reply, Start) or len(step.order.attempts) > len(order.attempts)
        return not begins or self._declines.may_begin(order, charge)

    async def _write(self, items: list[BatchItem], turns: LoopTurns) -> list[Committed]:
        """Write the decided documents, each with its next revision and its writer, noted as sent before it is."""
        documents: list[Order] = []
        for item in items:
            assert item.after is not None
            self._writes += 1
            revision = (item.before.rev if item.before else 0) + 1
            item.after = structs.replace(item.after, rev=revision, writer=Writer(self._identity.process, self._writes))
            item.sent[self._writes] = SentWrite(item.before, item.after)
            for message in item.messages:
                if isinstance(message, PendingCharge):
                    message.state = ChargeState.WRITING
            documents.append(item.after)
        started = turns.end()
        results = await self._store.commit(documents)
        took_ms = (turns.begin() - started) * 1_000
        for item in items:
            item.store_ms += took_ms
        if Committed.WRITTEN in results:
            self._state.written()
        self._telemetry.committed([item.order_id for item in items], results, self._store.trouble)
        return results

    async def _apply(self, items: list[BatchItem], results: list[Committed], turns: LoopTurns) -> list[BatchItem]:
        """Act on the result of each write. Returns the items that need another round."""
        again: list[BatchItem] = []
        refused: list[BatchItem] = []
        for place, (item, result) in enumerate(zip(items, results, strict=True)):
            await turns.before(place)
            match result:
                case Committed.WRITTEN:
                    self._finish(item)
                case Committed.REJECTED_DOCUMENT:
                    item.sent.popitem()
                    self._rejected_document(item)
                case Committed.REFUSED:
                    item.sent.popitem()
                    item.failures += 1
                    self.forget(item.order_id)
                    if item.sent:
                        again.append(item)  # an earlier write of it may yet land
                    else:
                        self._refused(item)
                        refused.append(item)
                case Committed.CONFLICT | Committed.UNKNOWN:
                    self.forget(item.order_id)
                    if result is Committed.CONFLICT and item.before is None:
                        self._read_first_until = self._clock.monotonic() + READ_FIRST_S
                    item.failures += result is Committed.UNKNOWN
                    again.append(item)
        usable = True
        if NOT_TAKEN.issuperset(results) and any(item.failures == 1 for item in items):
            # The store is most likely away: a check now is faster than the time-out of the next read. But one document
            # that it fails again and again is no outage.
            reason = f"a write was not confirmed: {self._store.trouble}"
            usable = await self._store_failed(reason, wait=bool(again))
        for item in refused:
            # Actors' messages wait for the store; if it accepts other documents meanwhile, they wait aside.
            if item.messages and usable:
                self._stragglers.append(item)
            else:
                self._give_up(item)
        return again

    # --------------------------------------------------------------------------------- the end of one order

    def _finish(self, item: BatchItem) -> None:
        """The stored document is `item.after`, confirmed or just read: release its effects, replies and events.

        Each step by itself: what goes wrong with this order in one of them keeps it from none of the others.
        """
        order, order_id, contain = item.after, item.order_id, self._set_aside.contain
        intent = order.intent if order is not None else None
        handover: Handover | None = None  # valid only where the document says that the customer is awaited
        retrieved = False
        for message in item.messages:
            if isinstance(message, EffectCompleted):
                self._in_flight.ended(order_id, message.effect_id)
                outcome = message.message
                retrieved = retrieved or isinstance(outcome, IntentRetrieved)
                if isinstance(outcome, ActionRequired | IntentRetrieved) and handover is None:
                    handover = message.handover if intent is not None and outcome.intent == intent.number else None
        well = True
        if order is not None:
            self._declines.settled(item.before, order)
            self._cache[order.id] = order
            self._cache.move_to_end(order.id)
            if len(self._cache) > CACHED_ORDERS_LIMIT:
                self._cache.popitem(last=False)
            well = contain(order_id, self._in_flight.release, order)
        well &= contain(order_id, self._telemetry.finished, item.before, order, item.messages, item.store_ms)
        while item.messages:  # those that are answered are taken out: if the ledger dies here, the others still wait
            message = item.messages[0]
            if isinstance(message, EventReceived):
                message.settle(Handling.APPLIED if id(message) in item.applied else Handling.STALE)
            elif isinstance(message, PendingCharge) and not contain(
                order_id, self._reply, order, message, item.replies[id(message)], handover
            ):
                self._charges.reject(message, Unavailability.SET_ASIDE)
                well = False
            item.messages.pop(0)
        if order is not None:
            if not contain(order_id, self._charges.written, order, handover):
                self._charges.fail_order(order_id)
                well = False
            if not contain(order_id, partial(self._views.written, order, handover, retrieved=retrieved)):
                self._views.fail_order(order_id)
                well = False
        if well:
            self._set_aside.well(order_id)
        self._done(item)

    def _reply(
        self, order: Order | None, charge: PendingCharge, reply: Reply | Start, handover: Handover | None
    ) -> None:
        """Answer a request by the stored document, or let it wait for its outcome."""
        match reply:
            case Start() | OutcomePending() | RequiresAction():
                assert order is not None
                state = ChargeState.SUPERSEDING if isinstance(reply, Start) else ChargeState.CHARGING
                self._charges.await_outcome(order, charge, state, handover)
            case Paid() if order is not None and order.cancelled:
                self._charges.answer(charge, Conflict.CANCELLED)  # it was cancelled in this very write
            case _:
                self._charges.answer(charge, reply)

    def _give_up(self, item: BatchItem) -> None:
        """The store is away, and nothing of this order was ever sent.

        Requests and events come again; what actors brought stays, for it would never come again.
        """
        item.queue.put_back(each for each in self.answer_not_now(item.messages) if isinstance(each, EffectCompleted))
        self._done(item)

    def _refused(self, item: BatchItem) -> None:
        """The store has refused this document for now, and nothing of it was ever written.

        Its order's requests and events are answered at once. Actors' messages and due tasks stay in
        `item.messages`: no sweep would find it before its lease is over, for the store is not lost.
        """
        _nothing_written(item)
        item.messages = [each for each in self.answer_not_now(item.messages) if isinstance(each, EffectCompleted | Due)]
        # Messages that came meanwhile would have the same result.
        item.queue.messages = deque(self.answer_not_now(item.queue.messages))

    def _corrupt(self, item: BatchItem, document: CorruptDocument) -> None:
        """The stored document is not a valid order: it allows no decision until an operator has corrected it.

        Requests get 503, events go to the dead letters; an effect's end is found again when the order is corrected. An
        event for a document of a newer release is postponed for a while: one of its processes may take it.
        """
        self._set_aside.corrupt(document)
        for message in item.messages:
            self._put_away(
                item.order_id,
                message,
                Unavailability.CORRUPT_DOCUMENT,
                f"the stored order is corrupt: {document.reason}",
                postpone=document.newer,
            )
        self._done(item)

    def _failed(self, item: BatchItem, error: Exception) -> None:
        """One message can't be decided. Which one shows when each is decided alone; it is given up and logged."""
        if len(item.messages) > 1:
            self._put_back_singly(item)
        else:
            self._set_aside.failed(item.order_id, error)
            reason = f"deciding about the order failed ({type(error).__name__})"
            for message in item.messages:
                self._put_away(item.order_id, message, Unavailability.SET_ASIDE, reason, postpone=True)
        self._done(item)

    def _rejected_document(self, item: BatchItem) -> None:
        """The store refuses this document for good. Which message makes it so shows when each is decided alone."""
        if not item.sent:
            _nothing_written(item)
        if len(item.messages) > 1:
            self._put_back_singly(item)
        else:
            self._telemetry.rejected_document(item.order_id)
            error = "the order that it makes can't be stored"
            self._put_away(item.order_id, item.messages[0], Unavailability.CRASHED, error, postpone=False)
        self._done(item)

    def _put_back_singly(self, item: BatchItem) -> None:
        for message in item.messages:
            if isinstance(message, PendingCharge) and message.state is not ChargeState.WRITING:
                message.state = ChargeState.QUEUED
        item.queue.singly = True
        item.queue.put_back(item.messages)

    def _put_away(
        self, order_id: str, message: QueuedMessage, why: Unavailability, error: str, *, postpone: bool
    ) -> None:
        """A request is rejected, an effect is left to its lease, and an event goes to the dead letters.

        `postpone`: an event is delivered again first, as often as `PostponedEvents` allows.
        """
        match message:
            case EventReceived() if postpone and self._postponed.allows(message):
                message.settle(Handling.NOT_NOW)
            case EventReceived():
                self._dead_letters.add(
                    InvalidEventReceived(message.subject, message.identity, message.data, error, message.settle)
                )
            case PendingCharge():
                self._charges.reject(message, why)
            case EffectCompleted():
                self._in_flight.forfeit(order_id, message.effect_id)
            case _:
                return

    def _done(self, item: BatchItem) -> None:
        """The order is no longer under way."""
        self._declines.given_up(item.order_id)
        del self._under_way[item.order_id]
        self._order_queues.done(item.queue)
        if self._order_queues.any_ready:
            self._work_ready.set()

    def _was_applied(self, item: BatchItem) -> bool:
        """Whether the stored document is a write of ours whose answer was lost: then it counts as written."""
        stored = item.before
        if stored is None or stored.writer is None or stored.writer.number not in item.sent:
            return False
        ours = item.sent[stored.writer.number]
        if ours.after.writer != stored.writer:
            return False
        # The order before that write: `_apply` compares both to find what the write has changed.
        item.before, item.after = ours.before, stored
        return True

    def _presumed_new(self, item: BatchItem) -> bool:
        """Whether to write an order without a read: the event that announces it is nearly always its first one."""
        return self._clock.monotonic() >= self._read_first_until and all(
            isinstance(message, EventReceived) and isinstance(message.message, OrderCreated) and not message.redelivered
            for message in item.messages
        )

    async def _store_failed(self, reason: str, *, wait: bool) -> bool:
        """A call has failed. Returns whether the store can be used all the same; with `wait`, once it can again."""
        usable = await self._state.failed(reason)
        if wait:
            await self._state.up.wait()
        return usable

    # ------------------------------------------------------------------------------------------ for the ledger

    def answer_not_now(self, messages: Iterable[QueuedMessage]) -> list[QueuedMessage]:
        """Answer requests and events, which come again. Returns the rest: actors' messages and due tasks."""
        rest: list[QueuedMessage] = []
        for message in messages:
            match message:
                case PendingCharge():
                    self._charges.reject(message, Unavailability.STORE_AWAY)
                case EventReceived():
                    message.settle(Handling.NOT_NOW)
                case _:
                    rest.append(message)
        return rest

    def messages_under_way(self) -> list[QueuedMessage]:
        """The messages of all orders under way that are not answered yet."""
        return [message for item in self._under_way.values() for message in item.messages]

    def take_stragglers(self) -> list[BatchItem]:
        """Returns, and removes, the orders to be tried again."""
        items, self._stragglers = self._stragglers, []
        return items

    def forget(self, order_id: str) -> None:
        """Drop an order's document from the cache: it is read before the next decision."""
        self._cache.pop(order_id, None)


class RoundContext:
    """The decision context of a round: of its beginning for `DECIDED_AS_OF_ITS_BEGINNING_S`, then of the present."""

    def __init__(self, clock: Clock, identity: ProcessIdentity) -> None:
        self._clock = clock
        self._identity = identity
        self._began = -math.inf
        self._context: Context
        self.now()  # the round begins

    def now(self) -> Context:
        """Returns the context in which the next order is decided."""
        if self._clock.monotonic() - self._began >= DECIDED_AS_OF_ITS_BEGINNING_S:
            self._began = self._clock.monotonic()
            process = self._identity
            self._context = Context(
                self._clock.now(), process.process, process.api_version, process.queue_group, process.prepare
            )
        return self._context


def _must_fence(item: BatchItem) -> bool:
    """Whether a write of ours may yet land on what was read, while a request is about to be answered as if not.

    Time alone can make it so: an order that expired between a write and its repetition. The document is written as it
    stands, one revision on, and the write on its way is refused.
    """
    revision = item.before.rev + 1 if item.before else None
    return bool(item.replies) and any(sent.after.rev == revision for sent in item.sent.values())


def _nothing_written(item: BatchItem) -> None:
    """The store has refused the document: its requests may be answered as if it had never been sent."""
    for message in item.messages:
        if isinstance(message, PendingCharge):
            message.state = ChargeState.DECIDING
