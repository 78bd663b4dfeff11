"""The ledger's desk: what becomes of each order of a group commit.

It turns a confirmed document into what follows from it: effects released, replies told, events settled. It owns what
the ledger remembers between two writes of an order: the works under way, those that straggle, what no mailbox had room
for, and a cache of documents just written. It must never be told `finished` before the store has confirmed a document.

Change together: `payment.actors.commit.Desk`, the protocol that this is, and the letters of a lane.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from payment.actors.burials import Burials
from payment.actors.commit import Work
from payment.actors.decline_limit import DeclineLimit
from payment.actors.hands import Hands
from payment.actors.lanes import Lane, LaneLetter, Lanes
from payment.actors.letters import (
    ChargeAsked,
    EffectEnded,
    EventArrived,
    Handling,
    PoisonArrived,
)
from payment.actors.report import Report
from payment.actors.views import Views
from payment.actors.waiters import Waiters, tell, turn_away
from payment.core.messages import Context, OrderCreated
from payment.core.order import Order, Writer
from payment.core.replies import Conflict, Paid, Pending, RequiresAction, Start, Unavailability, reply_to
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import Committed

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
    """The `Desk` of the ledger's commits. `away` is told why when the store can't be reached."""

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
        away: Callable[[str], None],
        store_up: asyncio.Event,
        work_ready: asyncio.Event,
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
        self._away = away
        self._store_up = store_up
        self._work_ready = work_ready
        self._cache: OrderedDict[str, Order] = OrderedDict()
        self._writes = 0
        self._under_way: dict[str, tuple[Lane, Work]] = {}
        self._stragglers: list[Work] = []
        self._unreleased: set[str] = set()
        self._read_first_until = 0.0

    def works_of(self, lanes: list[Lane]) -> list[Work]:
        """Begin the works of these lanes: under way until each is finished, unreadable, illegible or unwritable."""
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

    def observed(self, results: Sequence[Committed]) -> None:
        self._report.committed(results)

    def may_begin(self, order: Order | None, request: ChargeAsked, at: datetime) -> bool:
        """As `payment.actors.commit.Desk` says. Only what would begin a new attempt is limited."""
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
        order, handover, looked = work.after, work.handover, work.looked
        for letter in work.letters:
            if isinstance(letter, EffectEnded):
                self._hands.ended(work.order_id, letter.effect_id)
        if order is not None:
            self._declines.settled(work.before, order)
            self._remember(order)
            if not self._hands.release(order):
                self._unreleased.add(order.id)
        self._report.finished(work)
        self._answer(work, handover)
        if order is not None:
            self._waiters.written(order, handover)
            self._views.written(order, handover, looked=looked)
        self._lane_done(work.order_id)

    def _answer(self, work: Work, handover: Handover | None) -> None:
        """Replies and acknowledgements: by the document as it stands now. Whoever has been answered is taken out."""
        while work.letters:
            letter = work.letters.pop(0)
            if isinstance(letter, EventArrived):
                letter.settle(Handling.APPLIED if id(letter) in work.applied else Handling.STALE)
            elif isinstance(letter, ChargeAsked):
                self._reply(work, letter, handover)

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
        ends = [letter for letter in work.letters if isinstance(letter, EffectEnded)]
        for letter in work.letters:
            match letter:
                case ChargeAsked():
                    turn_away(letter, Unavailability.STORE_AWAY)
                case EventArrived():
                    letter.settle(Handling.NOT_NOW)
                case _:
                    continue
        lane.put_back(ends)
        self._lane_done(work.order_id)

    def illegible(self, work: Work) -> None:
        """Requests and events hear so; an effect's end can't be noted, and is found again when the order is mended."""
        for letter in work.letters:
            match letter:
                case ChargeAsked():
                    turn_away(letter, Unavailability.ILLEGIBLE)
                case EventArrived():
                    letter.settle(Handling.NOT_NOW)
                case EffectEnded():
                    self._hands.forfeit(work.order_id, letter.effect_id)
                case _:
                    continue
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
            self._put_away(work.order_id, work.letters[0])
        self._lane_done(work.order_id)

    def _put_away(self, order_id: str, culprit: LaneLetter) -> None:
        """An event goes to the dead letters, a request is refused, and an effect is left to its lease."""
        match culprit:
            case EventArrived():
                error = "the order that it makes can't be stored"
                self._burials.add(PoisonArrived(culprit.subject, culprit.identity, culprit.data, error, culprit.settle))
            case ChargeAsked():
                turn_away(culprit, Unavailability.CRASHED)
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

    async def store_away(self, reason: str, *, wait: bool) -> None:
        self._away(reason)
        if wait:
            await self._store_up.wait()
