"""One group commit: messages of many orders are folded through `decide` and written together, until each is settled.

For every order it goes round: read, decide, write, until the store has confirmed or refused its document. Only then is
anything released: replies, acknowledgements, effects. A write whose answer is lost is neither repeated blindly nor
forgotten: the document is read again, and `writer` tells whether it is this very write. Not knowing is never reported
as not written.

What goes round for too long while others are written is left to go on by itself, more slowly: one order that the store
keeps failing must not hold up those beside it (F31).

The commit touches nothing outside: it tells a `Desk` what became of each order, and the desk is the ledger.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field, structs

from payment.actors.ledger.order_queues import QueuedMessage
from payment.actors.messages import (
    ChargeOrder,
    EffectCompleted,
    EventReceived,
)
from payment.core.decide import decide
from payment.core.messages import (
    ActionRequired,
    Context,
    Due,
    IntentRetrieved,
    LeaseRenewed,
    Message,
    RecheckRequested,
)
from payment.core.order import Order, Writer
from payment.core.pending import reindexed
from payment.core.replies import Reply, Start
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import Committed, CorruptDocument, OrderStore, StoreUnavailable

WORKS_IN_A_TURN = 16
"""Works decided or finished before others may run: 200 in a row would keep every request waiting for a tenth of a
second. Where the others take long, as a crowd at the door does, a turn lasts as long as theirs: a commit that had 16
works' time between each thousand refusals would take ten seconds."""

DECIDED_AS_OF_ITS_BEGINNING_S = 1.0
"""For so long, in seconds, a round of a commit decides as of the moment at which it began. By it a charge has its place
at Stripe: two commits decide in turns, some orders are read first, and who asked first goes first all the same. An
older moment is no longer the present, and another one is taken."""

NOT_TAKEN = frozenset({Committed.UNKNOWN, Committed.REFUSED})
"""Results that say nothing good of the store."""

ROUNDS_TOGETHER_LIMIT = 3
"""Rounds that the works of a commit go together: two of them may meet another process without bad luck or a fault."""


class SentWrite(Struct, frozen=True):
    """A write that may have been applied: what it was decided on, and the document."""

    before: Order | None
    after: Order


class BatchItem(Struct, eq=False):
    """One order of a commit: its messages, what was decided, and every write of it that may have been applied.

    A message is taken out of `messages` when it is answered: what is left when the ledger dies still waits.
    """

    order_id: str
    messages: list[QueuedMessage]
    before: Order | None = None
    after: Order | None = None
    replies: dict[int, Reply | Start] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)
    """The messages (`id`) whose own step changed the order: a duplicate folded into the same write did not."""
    sent: dict[int, SentWrite] = field(default_factory=dict)
    failures: int = 0
    """Writes of it that were refused, or whose outcome is not known."""
    store_ms: float = 0.0
    """Time that this order has spent in calls to the store."""

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    @property
    def handover(self) -> Handover | None:
        """What the customer's browser needs, as Stripe answered. Valid only where the document says *awaiting*."""
        intent = self.after.intent if self.after is not None else None
        for message in self.messages:
            if intent is not None and isinstance(message, EffectCompleted) and message.handover is not None:
                outcome = message.message
                if isinstance(outcome, ActionRequired | IntentRetrieved) and outcome.intent == intent.number:
                    return message.handover
        return None

    @property
    def looked(self) -> bool:
        """Whether a look at an intent has ended in it."""
        return any(
            isinstance(message, EffectCompleted) and isinstance(message.message, IntentRetrieved)
            for message in self.messages
        )


class Desk(Protocol):
    """What a group commit needs of the ledger."""

    def context(self) -> Context: ...

    def next_write(self) -> Writer: ...

    def cached(self, order_id: str) -> Order | None: ...

    def forget(self, order_id: str) -> None: ...

    def presumed_new(self, item: BatchItem) -> bool:
        """Whether to write this work unread, as one of an order that the store has never seen."""

    def was_not_new(self) -> None:
        """A write that should have begun an order has found one."""

    def may_begin(self, order: Order | None, request: ChargeOrder, at: datetime) -> bool:
        """Whether a request may begin an attempt on this order. If not, it has been answered, or waits elsewhere."""

    def still_wanted(self, item: BatchItem) -> list[QueuedMessage]:
        """The messages of this work that still ask for something; the others have been answered."""

    def finished(self, item: BatchItem) -> None:
        """The document stands as `item.after`, confirmed or freshly read: release what follows from it."""

    def store_unavailable(self, item: BatchItem) -> None:
        """The store is away and nothing of this work was ever sent."""

    def corrupt(self, item: BatchItem, document: CorruptDocument) -> None:
        """What is stored is no order: nothing can be decided on it until an operator has corrected it."""

    def failed(self, item: BatchItem, error: Exception) -> None:
        """Deciding about this order raised what nobody expected. The others of the commit go on."""

    def rejected_document(self, item: BatchItem) -> None:
        """The store refuses this document for good."""

    def straggling(self, item: BatchItem) -> None:
        """The store takes other documents, and this one neither goes in nor is refused: try it again later."""

    def refused(self, item: BatchItem) -> None:
        """The store has refused this document for now, and nothing of the work was ever written.

        Its order's requests and events are answered at once. What is left in `item.messages` is what actors brought,
        and what was due.
        """

    async def store_failed(self, reason: str, *, wait: bool) -> bool:
        """A call has failed. Returns whether the store can be used all the same; with `wait`, once it can again."""

    def observed(self, items: Sequence[BatchItem], results: Sequence[Committed], trouble: str) -> None:
        """What became of each work's document. `trouble`: why some were refused, or may or may not be written."""


class LoopShare(Struct):
    """What all commits of one ledger take of the event loop, in seconds. To each, the rest is what others take.

    If one counted as others to another, each would have as long a turn as that one and the others together, and so on.
    """

    used_s: float = 0.0


class GroupCommit:
    """Settles the works it is given. The store's outages are waited out only by works that may have been written."""

    def __init__(self, store: OrderStore, clock: Clock, desk: Desk, share: LoopShare) -> None:
        self._store = store
        self._clock = clock
        self._desk = desk
        self._share = share
        self._turn_began = clock.monotonic()
        self._others_took_s = 0.0
        self._context: Context
        self._context_began: float
        """The context in which the present round decides, and when that was made (monotonic seconds)."""

    async def settle(self, items: list[BatchItem]) -> None:
        """Return when every work is finished, unwritable, given up as unreadable, set aside, or left to straggle."""
        for _ in range(ROUNDS_TOGETHER_LIMIT):
            items = await self._write(await self._read_and_decide(items))
            if not items:
                return
        for item in items:
            self._desk.straggling(item)

    async def _read_and_decide(self, items: list[BatchItem]) -> list[BatchItem]:
        """Decide each on what is at hand, and afresh what would not change that. Returns what is to be written.

        A new order is at hand as well: nothing. Where that is wrong, its write meets the fence, and is read then.
        """
        to_write: list[BatchItem] = []
        unread: list[BatchItem] = []
        self._begin_context()
        for place, item in enumerate(items):
            await self._let_others_run(place)
            item.before = None if item.sent else self._desk.cached(item.order_id)
            at_hand = item.before is not None or (not item.sent and self._desk.presumed_new(item))
            if at_hand and not self._contained(item, self._fold):
                continue
            (to_write if at_hand and item.changed else unread).append(item)
        self._turn_ends()
        read = await self._read(unread, to_write)
        self._turn_began = self._clock.monotonic()
        for place, item in enumerate(read):
            await self._let_others_run(place)
            if self._was_applied(item) or not self._contained(item, self._fold_read):
                continue
            if item.changed or self._must_fence(item):
                to_write.append(item)
            else:
                self._desk.finished(item)
        if read:
            places = {id(item): place for place, item in enumerate(items)}
            to_write.sort(key=lambda item: places[id(item)])
        return to_write

    def _begin_context(self) -> None:
        self._context, self._context_began = self._desk.context(), self._clock.monotonic()

    def _context_now(self) -> Context:
        """The context in which an order is decided: this round's, unless that is older than its limit."""
        if self._clock.monotonic() - self._context_began >= DECIDED_AS_OF_ITS_BEGINNING_S:
            self._begin_context()
        return self._context

    def _must_fence(self, item: BatchItem) -> bool:
        """Whether a write of ours may yet land on what was read, and somebody is about to hear that nothing changed.

        Time alone can make it so: an order that expired between a write and its repetition. The document is written as
        it stands, one revision on, and the write on its way is refused.
        """
        revision = item.before.rev + 1 if item.before else None
        return bool(item.replies) and any(sent.after.rev == revision for sent in item.sent.values())

    async def _read(self, items: list[BatchItem], decided: list[BatchItem]) -> list[BatchItem]:
        """Read afresh; return what was read. While the store is away, only what may have been written waits for it.

        Nor does what was decided already, on a cached document: when the store is back it would be too late for it.
        """
        while items:
            try:
                orders = await self._store.load([item.order_id for item in items])
            except StoreUnavailable as error:
                for item in (*decided, *items):
                    if not item.sent:
                        self._desk.store_unavailable(item)
                decided.clear()
                items = [item for item in items if item.sent]
                await self._desk.store_failed(str(error), wait=bool(items))
                continue
            return [item for item in items if self._is_readable(item, orders.get(item.order_id))]
        return items

    def _is_readable(self, item: BatchItem, found: Order | CorruptDocument | None) -> bool:
        """Whether what was read can be decided on: what is stored may be no order."""
        if isinstance(found, CorruptDocument):
            self._desk.corrupt(item, found)
            return False
        item.before = found
        return True

    def _contained(self, item: BatchItem, fold: Callable[[BatchItem], None]) -> bool:
        """Whether it could be decided about: one order's bug, or a document that makes no sense, spoils no other's."""
        try:
            fold(item)
        except Exception as error:
            self._desk.failed(item, error)
            return False
        return True

    def _was_applied(self, item: BatchItem) -> bool:
        """Whether a write of ours whose answer was lost is what the store holds: then it counts as written."""
        stored = item.before
        if stored is None or stored.writer is None or stored.writer.number not in item.sent:
            return False
        ours = item.sent[stored.writer.number]
        if ours.after.writer != stored.writer:
            return False
        # What it was decided on then: the difference between the two is what this write has done.
        item.before, item.after = ours.before, stored
        self._desk.finished(item)
        return True

    def _fold_read(self, item: BatchItem) -> None:
        """As `_fold`, on what was just read: a deadline in it that its tasks do not have is written as they have it."""
        self._fold_on(item, reindexed(item.before) if item.before is not None else None)

    def _fold(self, item: BatchItem) -> None:
        """The order's messages, one after another, each decided on what the one before it left."""
        self._fold_on(item, item.before)

    def _fold_on(self, item: BatchItem, order: Order | None) -> None:
        item.messages = self._desk.still_wanted(item)
        context = self._context_now()
        item.replies.clear()
        item.applied.clear()
        gone: set[int] = set()
        for message in item.messages:
            if isinstance(message, ChargeOrder):
                message.decided = True
                if not self._desk.may_begin(order, message, context.now):
                    gone.add(id(message))
                    continue
            step = decide(order, _message(message), context)
            if step.order is not order:
                item.applied.add(id(message))
            order = step.order
            if step.reply is not None:
                item.replies[id(message)] = step.reply
        item.after = order
        if gone:
            item.messages = [message for message in item.messages if id(message) not in gone]

    async def _write(self, items: list[BatchItem]) -> list[BatchItem]:
        """Write all that changed; return what has to go round again."""
        if not items:
            return []
        documents = [self._stamped(item) for item in items]
        started = self._turn_ends()
        results = await self._store.commit(documents)
        self._turn_began = self._clock.monotonic()
        took_ms = (self._turn_began - started) * 1_000
        for item in items:
            item.store_ms += took_ms
        self._desk.observed(items, results, self._store.trouble)
        again: list[BatchItem] = []
        refused: list[BatchItem] = []
        for place, (item, result) in enumerate(zip(items, results, strict=True)):
            await self._let_others_run(place)
            match result:
                case Committed.WRITTEN:
                    self._desk.finished(item)
                case Committed.REJECTED_DOCUMENT:
                    item.sent.popitem()
                    self._desk.rejected_document(item)
                case Committed.REFUSED:
                    item.sent.popitem()
                    item.failures += 1
                    self._desk.forget(item.order_id)
                    if item.sent:
                        again.append(item)  # an earlier write of it may yet land
                    else:
                        self._desk.refused(item)
                        refused.append(item)
                case Committed.CONFLICT | Committed.UNKNOWN:
                    self._desk.forget(item.order_id)
                    if result is Committed.CONFLICT and item.before is None:
                        self._desk.was_not_new()
                    item.failures += result is Committed.UNKNOWN
                    again.append(item)
        usable = True
        if all(result in NOT_TAKEN for result in results) and any(item.failures == 1 for item in items):
            # The store is most likely gone: to find out now is better than after the next read has timed out. But one
            # document that it fails again and again is no outage.
            reason = f"a write was not confirmed: {self._store.trouble}"
            usable = await self._desk.store_failed(reason, wait=bool(again))
        self._put_off(refused, usable=usable)
        return again

    def _put_off(self, refused: list[BatchItem], *, usable: bool) -> None:
        """What actors brought waits: for the store, or aside where it takes other documents meanwhile."""
        for item in refused:
            if item.messages and usable:
                self._desk.straggling(item)
            else:
                self._desk.store_unavailable(item)

    def _stamped(self, item: BatchItem) -> Order:
        """The document with its revision and its writer, noted as sent before it is."""
        assert item.after is not None
        revision = (item.before.rev if item.before else 0) + 1
        writer = self._desk.next_write()
        item.after = structs.replace(item.after, rev=revision, writer=writer)
        item.sent[writer.number] = SentWrite(item.before, item.after)
        for message in item.messages:
            if isinstance(message, ChargeOrder):
                message.write_sent = True
        return item.after

    async def _let_others_run(self, place: int) -> None:
        """Before the work at this place: others first, now and then, and once we have had as long as they had."""
        if place % WORKS_IN_A_TURN != WORKS_IN_A_TURN - 1:
            return
        if self._clock.monotonic() - self._turn_began >= self._others_took_s:
            ended = self._turn_ends()
            used_s = self._share.used_s
            await asyncio.sleep(0)
            self._turn_began = self._clock.monotonic()
            self._others_took_s = self._turn_began - ended - (self._share.used_s - used_s)

    def _turn_ends(self) -> float:
        """To be called before whatever lets others run. Gives the monotonic time of it."""
        now = self._clock.monotonic()
        self._share.used_s += now - self._turn_began
        return now


def _message(message: QueuedMessage) -> Message:
    match message:
        case ChargeOrder():
            return message.request
        case EventReceived() | EffectCompleted():
            return message.message
        case Due() | LeaseRenewed() | RecheckRequested():
            return message
