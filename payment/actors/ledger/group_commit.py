"""One group commit: letters of many orders are folded through `decide` and written together, until each is settled.

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

from payment.actors.ledger.order_queues import LaneLetter
from payment.actors.messages import (
    ChargeAsked,
    EffectEnded,
    EventArrived,
)
from payment.core.decide import decide
from payment.core.messages import (
    ActionRequired,
    Context,
    Due,
    IntentSeen,
    LeaseRenewed,
    LookRequested,
    Message,
)
from payment.core.order import Order, Writer
from payment.core.pending import refiled
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


class Sent(Struct, frozen=True):
    """A write that may have been applied: what it was decided on, and the document."""

    before: Order | None
    after: Order


class Work(Struct, eq=False):
    """One order of a commit: its letters, what was decided, and every write of it that may have been applied.

    A letter is taken out of `letters` when it is answered: what is left when the ledger dies still waits.
    """

    order_id: str
    letters: list[LaneLetter]
    before: Order | None = None
    after: Order | None = None
    replies: dict[int, Reply | Start] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)
    """The letters (`id`) whose own step changed the order: a duplicate folded into the same write did not."""
    sent: dict[int, Sent] = field(default_factory=dict)
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
        for letter in self.letters:
            if intent is not None and isinstance(letter, EffectEnded) and letter.handover is not None:
                message = letter.message
                if isinstance(message, ActionRequired | IntentSeen) and message.intent == intent.number:
                    return letter.handover
        return None

    @property
    def looked(self) -> bool:
        """Whether a look at an intent has ended in it."""
        return any(
            isinstance(letter, EffectEnded) and isinstance(letter.message, IntentSeen) for letter in self.letters
        )


class Desk(Protocol):
    """What a group commit needs of the ledger."""

    def context(self) -> Context: ...

    def next_write(self) -> Writer: ...

    def cached(self, order_id: str) -> Order | None: ...

    def forget(self, order_id: str) -> None: ...

    def presumed_new(self, work: Work) -> bool:
        """Whether to write this work unread, as one of an order that the store has never seen."""

    def was_not_new(self) -> None:
        """A write that should have begun an order has found one."""

    def may_begin(self, order: Order | None, request: ChargeAsked, at: datetime) -> bool:
        """Whether a request may begin an attempt on this order. If not, it has been answered, or waits elsewhere."""

    def still_wanted(self, work: Work) -> list[LaneLetter]:
        """The letters of this work that still ask for something; the others have been answered."""

    def finished(self, work: Work) -> None:
        """The document stands as `work.after`, confirmed or freshly read: release what follows from it."""

    def unreadable(self, work: Work) -> None:
        """The store is away and nothing of this work was ever sent."""

    def corrupt(self, work: Work, document: CorruptDocument) -> None:
        """What is stored is no order: nothing can be decided on it until an operator has corrected it."""

    def failed(self, work: Work, error: Exception) -> None:
        """Deciding about this order raised what nobody expected. The others of the commit go on."""

    def unwritable(self, work: Work) -> None:
        """The store refuses this document for good."""

    def straggling(self, work: Work) -> None:
        """The store takes other documents, and this one neither goes in nor is refused: try it again later."""

    def refused(self, work: Work) -> None:
        """The store has refused this document for now, and nothing of the work was ever written.

        Its order's requests and events are answered at once. What is left in `work.letters` is what actors brought,
        and what was due.
        """

    async def store_failed(self, reason: str, *, wait: bool) -> bool:
        """A call has failed. Returns whether the store can be used all the same; with `wait`, once it can again."""

    def observed(self, works: Sequence[Work], results: Sequence[Committed], trouble: str) -> None:
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

    async def settle(self, works: list[Work]) -> None:
        """Return when every work is finished, unwritable, given up as unreadable, set aside, or left to straggle."""
        for _ in range(ROUNDS_TOGETHER_LIMIT):
            works = await self._write(await self._read_and_decide(works))
            if not works:
                return
        for work in works:
            self._desk.straggling(work)

    async def _read_and_decide(self, works: list[Work]) -> list[Work]:
        """Decide each on what is at hand, and afresh what would not change that. Returns what is to be written.

        A new order is at hand as well: nothing. Where that is wrong, its write meets the fence, and is read then.
        """
        to_write: list[Work] = []
        unread: list[Work] = []
        self._begin_context()
        for place, work in enumerate(works):
            await self._let_others_run(place)
            work.before = None if work.sent else self._desk.cached(work.order_id)
            at_hand = work.before is not None or (not work.sent and self._desk.presumed_new(work))
            if at_hand and not self._contained(work, self._fold):
                continue
            (to_write if at_hand and work.changed else unread).append(work)
        self._turn_ends()
        read = await self._read(unread, to_write)
        self._turn_began = self._clock.monotonic()
        for place, work in enumerate(read):
            await self._let_others_run(place)
            if self._was_applied(work) or not self._contained(work, self._fold_read):
                continue
            if work.changed or self._must_fence(work):
                to_write.append(work)
            else:
                self._desk.finished(work)
        if read:
            places = {id(work): place for place, work in enumerate(works)}
            to_write.sort(key=lambda work: places[id(work)])
        return to_write

    def _begin_context(self) -> None:
        self._context, self._context_began = self._desk.context(), self._clock.monotonic()

    def _context_now(self) -> Context:
        """The context in which an order is decided: this round's, unless that is older than its limit."""
        if self._clock.monotonic() - self._context_began >= DECIDED_AS_OF_ITS_BEGINNING_S:
            self._begin_context()
        return self._context

    def _must_fence(self, work: Work) -> bool:
        """Whether a write of ours may yet land on what was read, and somebody is about to hear that nothing changed.

        Time alone can make it so: an order that expired between a write and its repetition. The document is written as
        it stands, one revision on, and the write on its way is refused.
        """
        revision = work.before.rev + 1 if work.before else None
        return bool(work.replies) and any(sent.after.rev == revision for sent in work.sent.values())

    async def _read(self, works: list[Work], decided: list[Work]) -> list[Work]:
        """Read afresh; return what was read. While the store is away, only what may have been written waits for it.

        Nor does what was decided already, on a cached document: when the store is back it would be too late for it.
        """
        while works:
            try:
                orders = await self._store.load([work.order_id for work in works])
            except StoreUnavailable as error:
                for work in (*decided, *works):
                    if not work.sent:
                        self._desk.unreadable(work)
                decided.clear()
                works = [work for work in works if work.sent]
                await self._desk.store_failed(str(error), wait=bool(works))
                continue
            return [work for work in works if self._is_readable(work, orders.get(work.order_id))]
        return works

    def _is_readable(self, work: Work, found: Order | CorruptDocument | None) -> bool:
        """Whether what was read can be decided on: what is stored may be no order."""
        if isinstance(found, CorruptDocument):
            self._desk.corrupt(work, found)
            return False
        work.before = found
        return True

    def _contained(self, work: Work, fold: Callable[[Work], None]) -> bool:
        """Whether it could be decided about: one order's bug, or a document that makes no sense, spoils no other's."""
        try:
            fold(work)
        except Exception as error:
            self._desk.failed(work, error)
            return False
        return True

    def _was_applied(self, work: Work) -> bool:
        """Whether a write of ours whose answer was lost is what the store holds: then it counts as written."""
        stored = work.before
        if stored is None or stored.writer is None or stored.writer.number not in work.sent:
            return False
        ours = work.sent[stored.writer.number]
        if ours.after.writer != stored.writer:
            return False
        # What it was decided on then: the difference between the two is what this write has done.
        work.before, work.after = ours.before, stored
        self._desk.finished(work)
        return True

    def _fold_read(self, work: Work) -> None:
        """As `_fold`, on what was just read: a deadline in it that its tasks do not have is written as they have it."""
        self._fold_on(work, refiled(work.before) if work.before is not None else None)

    def _fold(self, work: Work) -> None:
        """The order's letters, one after another, each decided on what the one before it left."""
        self._fold_on(work, work.before)

    def _fold_on(self, work: Work, order: Order | None) -> None:
        work.letters = self._desk.still_wanted(work)
        context = self._context_now()
        work.replies.clear()
        work.applied.clear()
        gone: set[int] = set()
        for letter in work.letters:
            if isinstance(letter, ChargeAsked):
                letter.decided = True
                if not self._desk.may_begin(order, letter, context.at):
                    gone.add(id(letter))
                    continue
            step = decide(order, _message(letter), context)
            if step.order is not order:
                work.applied.add(id(letter))
            order = step.order
            if step.reply is not None:
                work.replies[id(letter)] = step.reply
        work.after = order
        if gone:
            work.letters = [letter for letter in work.letters if id(letter) not in gone]

    async def _write(self, works: list[Work]) -> list[Work]:
        """Write all that changed; return what has to go round again."""
        if not works:
            return []
        documents = [self._stamped(work) for work in works]
        started = self._turn_ends()
        results = await self._store.commit(documents)
        self._turn_began = self._clock.monotonic()
        took_ms = (self._turn_began - started) * 1_000
        for work in works:
            work.store_ms += took_ms
        self._desk.observed(works, results, self._store.trouble)
        again: list[Work] = []
        refused: list[Work] = []
        for place, (work, result) in enumerate(zip(works, results, strict=True)):
            await self._let_others_run(place)
            match result:
                case Committed.WRITTEN:
                    self._desk.finished(work)
                case Committed.UNWRITABLE:
                    work.sent.popitem()
                    self._desk.unwritable(work)
                case Committed.REFUSED:
                    work.sent.popitem()
                    work.failures += 1
                    self._desk.forget(work.order_id)
                    if work.sent:
                        again.append(work)  # an earlier write of it may yet land
                    else:
                        self._desk.refused(work)
                        refused.append(work)
                case Committed.CONFLICT | Committed.UNKNOWN:
                    self._desk.forget(work.order_id)
                    if result is Committed.CONFLICT and work.before is None:
                        self._desk.was_not_new()
                    work.failures += result is Committed.UNKNOWN
                    again.append(work)
        usable = True
        if all(result in NOT_TAKEN for result in results) and any(work.failures == 1 for work in works):
            # The store is most likely gone: to find out now is better than after the next read has timed out. But one
            # document that it fails again and again is no outage.
            reason = f"a write was not confirmed: {self._store.trouble}"
            usable = await self._desk.store_failed(reason, wait=bool(again))
        self._put_off(refused, usable=usable)
        return again

    def _put_off(self, refused: list[Work], *, usable: bool) -> None:
        """What actors brought waits: for the store, or aside where it takes other documents meanwhile."""
        for work in refused:
            if work.letters and usable:
                self._desk.straggling(work)
            else:
                self._desk.unreadable(work)

    def _stamped(self, work: Work) -> Order:
        """The document with its revision and its writer, noted as sent before it is."""
        assert work.after is not None
        revision = (work.before.rev if work.before else 0) + 1
        writer = self._desk.next_write()
        work.after = structs.replace(work.after, rev=revision, writer=writer)
        work.sent[writer.number] = Sent(work.before, work.after)
        for letter in work.letters:
            if isinstance(letter, ChargeAsked):
                letter.write_sent = True
        return work.after

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


def _message(letter: LaneLetter) -> Message:
    match letter:
        case ChargeAsked():
            return letter.request
        case EventArrived() | EffectEnded():
            return letter.message
        case Due() | LeaseRenewed() | LookRequested():
            return letter
