"""The ledger's desk: what becomes of each order of a group commit.

It turns a confirmed document into what follows from it: effects released, replies told, events settled. It owns what
the ledger remembers between two writes of an order: the works under way, those that straggle, what no mailbox had room
for, and a cache of documents just written. It must never be told `finished` before the store has confirmed a document.

Change together: `payment.actors.ledger.group_commit.Desk`, the protocol that this is, and the letters of a lane.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from payment.actors.ledger.dead_letters import Burials
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.group_commit import Work
from payment.actors.ledger.in_flight import Hands
from payment.actors.ledger.order_queues import Lane, LaneLetter, Lanes
from payment.actors.ledger.payment_views import Views
from payment.actors.ledger.pending_replies import Waiters, tell, turn_away
from payment.actors.ledger.postponed_events import EventsPutOff
from payment.actors.ledger.set_aside import SetAside
from payment.actors.ledger.store_state import StoreState
from payment.actors.ledger.telemetry import Report
from payment.actors.messages import (
    ChargeAsked,
    EffectEnded,
    EventArrived,
    Handling,
    PoisonArrived,
)
from payment.core.messages import Context, Due, OrderCreated
from payment.core.order import Order, Writer
from payment.core.replies import Conflict, Paid, Pending, RequiresAction, Start, Unavailability, reply_to
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import Committed, CorruptDocument

CACHED_ORDERS_LIMIT = 5_000
"""Documents just written, about 2 kB each: the next step of a charge comes within seconds."""

READ_FIRST_S = 10.0
"""After an order that should have been new was none, orders are read first again: a new queue group hears all that ever
was, and a write that collides costs more than the read that it would have saved."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What `payment.core.messages.Context` says of this process: its fields are described there."""

    process: str
    client_id: str
    api_version: str
    queue_group: str
    prepare: bool = False


class LedgerDesk:
    """The `Desk` of the ledger's commits."""

    def __init__(
        self,
        identity: Identity,
        lanes: Lanes,
        hands: Hands,
        waiters: Waiters,
        views: Views,
        burials: Burials,
        declines: DeclineLimit,
        report: Report,
        clock: Clock,
        state: StoreState,
        work_ready: asyncio.Event,
        set_aside: SetAside,
    ) -> None:
        self._identity = identity
        self._lanes = lanes
        self._hands = hands
        self._waiters = waiters
        self._views = views
        self._burials = burials
        self._declines = declines
        self._report = report
        self._clock = clock
        self._state = state
        self._work_ready = work_ready
        self._set_aside = set_aside
        self._put_off = EventsPutOff(clock)
        self._cache: OrderedDict[str, Order] = OrderedDict()
        self._writes = 0
        self._under_way: dict[str, tuple[Lane, Work]] = {}
        self._stragglers: list[Work] = []
        self._unreleased: set[str] = set()
        self._read_first_until = 0.0

    def works_of(self, lanes: list[Lane]) -> list[Work]:
        """Begin the works of these lanes: under way until each is finished, unreadable, unwritable or set aside."""
        works = [Work(lane.order_id, lane.take()) for lane in lanes]
        self._under_way.update((lane.order_id, (lane, work)) for lane, work in zip(lanes, works, strict=True))
        return works

    def letters_under_way(self) -> list[LaneLetter]:
        """Those of all works under way that nobody has answered yet."""
        return [letter for _, work in self._under_way.values() for letter in work.letters]

    def take_stragglers(self) -> list[Work]:
        """The works to be tried again, taken out."""
        works, self._stragglers = self._stragglers, []
        return works

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

    def presumed_new(self, work: Work) -> bool:
        """An order is announced once, and before anything else is heard of it: nearly always."""
        return self._clock.monotonic() >= self._read_first_until and all(
            isinstance(letter, EventArrived) and isinstance(letter.message, OrderCreated) and not letter.redelivered
            for letter in work.letters
        )

    def was_not_new(self) -> None:
        self._read_first_until = self._clock.monotonic() + READ_FIRST_S

    def observed(self, works: Sequence[Work], results: Sequence[Committed], trouble: str) -> None:
        if Committed.WRITTEN in results:
            self._state.written()
        self._report.committed([work.order_id for work in works], results, trouble)

    def may_begin(self, order: Order | None, request: ChargeAsked, at: datetime) -> bool:
        """As `payment.actors.ledger.group_commit.Desk` says. Only what would begin a new attempt is limited."""
        if order is None or not self._declines.on:
            return True
        begins = isinstance(reply_to(order, request.request, at), Start)
        return not begins or self._declines.may_begin(order, request)

    def still_wanted(self, work: Work) -> list[LaneLetter]:
        """A request whose time is up is answered and starts nothing any more: its caller has been told, or has gone."""
        asking = [letter for letter in work.letters if isinstance(letter, ChargeAsked)]
        if not asking:
            return work.letters
        now = self._clock.monotonic()
        late = [letter for letter in asking if now >= letter.deadline or letter.answer.done()]
        for letter in late:
            turn_away(letter, Unavailability.BUSY)
        return [letter for letter in work.letters if letter not in late] if late else work.letters

    def finished(self, work: Work) -> None:
        """Each step by itself: what goes wrong with this order in one of them keeps it from none of the others."""
        order, order_id, handover, looked = work.after, work.order_id, work.handover, work.looked
        for letter in work.letters:
            if isinstance(letter, EffectEnded):
                self._hands.ended(order_id, letter.effect_id)
        well = True
        if order is not None:
            self._declines.settled(work.before, order)
            self._remember(order)
            well = self._set_aside.contain(order_id, self._release, order)
        well &= self._set_aside.contain(order_id, self._report.finished, work)
        well &= self._answer(work, handover)
        if order is not None:
            if not self._set_aside.contain(order_id, self._waiters.written, order, handover):
                self._waiters.fail_order(order_id)
                well = False
            if not self._set_aside.contain(order_id, self._show, order, handover, looked):
                self._views.fail_order(order_id)
                well = False
        if well:
            self._set_aside.well(order_id)
        self._lane_done(order_id)

    def _release(self, order: Order) -> None:
        if not self._hands.release(order):
            self._unreleased.add(order.id)

    def _show(self, order: Order, handover: Handover | None, looked: bool) -> None:
        self._views.written(order, handover, looked=looked)

    def _answer(self, work: Work, handover: Handover | None) -> bool:
        """Replies and acknowledgements: by the document as it stands now. Whoever has been answered is taken out.

        False: one of them could not be made, and its message was given up.
        """
        well = True
        while work.letters:
            letter = work.letters[0]
            if isinstance(letter, EventArrived):
                letter.settle(Handling.APPLIED if id(letter) in work.applied else Handling.STALE)
            elif isinstance(letter, ChargeAsked) and not self._set_aside.contain(
                work.order_id, self._reply, work, letter, handover
            ):
                turn_away(letter, Unavailability.SET_ASIDE)
                well = False
            work.letters.pop(0)
        return well

    def _reply(self, work: Work, letter: ChargeAsked, handover: Handover | None) -> None:
        reply = work.replies.get(id(letter))
        if isinstance(reply, Start):
            letter.supersedes = True
        if work.after is not None and (reply is None or isinstance(reply, Pending | RequiresAction | Start)):
            self._waiters.add(work.after, letter, handover)
        elif isinstance(reply, Paid) and work.after is not None and work.after.cancelled:
            tell(letter, Conflict.CANCELLED)  # it was cancelled in this very write
        elif reply is not None and not isinstance(reply, Start):
            tell(letter, reply)

    def unreadable(self, work: Work) -> None:
        """Nothing was sent. Requests and events hear so; what actors brought stays, for nobody else will bring it."""
        lane, _ = self._under_way[work.order_id]
        lane.put_back(each for each in _answer_not_now(work.letters) if isinstance(each, EffectEnded))
        self._lane_done(work.order_id)

    def refused(self, work: Work) -> None:
        for letter in work.letters:
            if isinstance(letter, ChargeAsked):
                letter.write_sent = False  # the store has refused the document: nothing was written
        lane, _ = self._under_way[work.order_id]
        # What is due stays too: nobody would look for it before its lease is over, for the store is not lost.
        work.letters = [each for each in _answer_not_now(work.letters) if isinstance(each, EffectEnded | Due)]
        lane.letters = deque(_answer_not_now(lane.letters))  # what came meanwhile would meet the same

    def corrupt(self, work: Work, document: CorruptDocument) -> None:
        """Requests get 503, events go to the dead letters; an effect's end is found again when the order is corrected.

        An event for a document of a newer release is put off for a while: one of its processes may take it.
        """
        self._set_aside.corrupt(document)
        for letter in work.letters:
            self._put_away(
                work.order_id,
                letter,
                Unavailability.ILLEGIBLE,
                f"the stored order is corrupt: {document.reason}",
                put_off=document.newer,
            )
        self._lane_done(work.order_id)

    def failed(self, work: Work, error: Exception) -> None:
        """One message can't be decided. Which one shows when each is folded alone; it is given up, and said."""
        lane, _ = self._under_way[work.order_id]
        if len(work.letters) > 1:
            lane.singly = True
            lane.put_back(work.letters)
        else:
            self._set_aside.failed(work.order_id, error)
            reason = f"deciding about the order failed ({type(error).__name__})"
            for letter in work.letters:
                self._put_away(work.order_id, letter, Unavailability.SET_ASIDE, reason, put_off=True)
        self._lane_done(work.order_id)

    def unwritable(self, work: Work) -> None:
        """One letter makes this document impossible. Which one shows when each is folded alone."""
        lane, _ = self._under_way[work.order_id]
        if not work.sent:
            for letter in work.letters:
                if isinstance(letter, ChargeAsked):
                    letter.write_sent = False  # the store has refused the document: nothing was written
        if len(work.letters) > 1:
            lane.singly = True
            lane.put_back(work.letters)
        else:
            self._report.unwritable(work)
            error = "the order that it makes can't be stored"
            self._put_away(work.order_id, work.letters[0], Unavailability.CRASHED, error, put_off=False)
        self._lane_done(work.order_id)

    def _put_away(self, order_id: str, culprit: LaneLetter, why: Unavailability, error: str, *, put_off: bool) -> None:
        """A request is refused, an effect is left to its lease, and an event goes to the dead letters.

        `put_off`: an event is delivered again first, as often as `EventsPutOff` allows.
        """
        match culprit:
            case EventArrived() if put_off and self._put_off.allows(culprit):
                culprit.settle(Handling.NOT_NOW)
            case EventArrived():
                culprit.error = error
                self._burials.add(PoisonArrived(culprit.subject, culprit.identity, culprit.data, error, culprit.settle))
            case ChargeAsked():
                turn_away(culprit, why)
            case EffectEnded():
                self._hands.forfeit(order_id, culprit.effect_id)
            case _:
                return

    def _lane_done(self, order_id: str) -> None:
        self._declines.given_up(order_id)
        lane, _ = self._under_way.pop(order_id)
        self._lanes.done(lane)
        if self._lanes.any_ready:
            self._work_ready.set()

    def _remember(self, order: Order) -> None:
        self._cache[order.id] = order
        self._cache.move_to_end(order.id)
        if len(self._cache) > CACHED_ORDERS_LIMIT:
            self._cache.popitem(last=False)

    def straggling(self, work: Work) -> None:
        self._stragglers.append(work)

    async def store_failed(self, reason: str, *, wait: bool) -> bool:
        usable = await self._state.failed(reason)
        if wait:
            await self._state.up.wait()
        return usable


def _answer_not_now(letters: Iterable[LaneLetter]) -> list[LaneLetter]:
    """Answer requests and events, which come again. Returns the rest: what actors brought, and what was due."""
    rest: list[LaneLetter] = []
    for letter in letters:
        match letter:
            case ChargeAsked():
                turn_away(letter, Unavailability.STORE_AWAY)
            case EventArrived():
                letter.settle(Handling.NOT_NOW)
            case _:
                rest.append(letter)
    return rest
