"""The Mongo actor: the ledger through which every change of every order goes.

Its mailbox takes (payment.actors.letters):

    ChargeAsked      from HTTP      answered by the written document, at the request's deadline at the latest
    PaymentAsked     from HTTP      answered by a fresh read
    EventArrived     from NATS      settled after the write that it led to
    PoisonArrived    from NATS      settled once it is kept in `dead_letters`
    EffectEnded      from Stripe and NATS
    ActorRestarted   from the supervisor

It owns the lanes that serialize each order's changes, the group commits, the requests that wait, the sweep over what is
due, and the knowledge of what the Stripe and NATS actors have in hand. It must never wait for another actor, and never
release anything (a reply, an acknowledgement, an effect) before the store has confirmed the document that says so.

An instance is one incarnation: it looks before it repeats what an earlier one had in hand, even in the same process.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from payment.actors.actor import Actor
from payment.actors.commit import GroupCommit, Work
from payment.actors.hands import Hands
from payment.actors.lanes import Lane, LaneLetter, Lanes
from payment.actors.letters import (
    ActorRestarted,
    ChargeAsked,
    EffectEnded,
    EventArrived,
    Handling,
    LedgerLetter,
    PaymentAsked,
    PaymentView,
    PoisonArrived,
    Unavailability,
    Unavailable,
)
from payment.actors.mailbox import Mailbox
from payment.actors.report import Report
from payment.actors.waiters import Waiters, tell
from payment.core.messages import Due, Moment
from payment.core.order import Order, Writer
from payment.core.replies import Pending, payment_status
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.store import Committed, DeadLetter, OrderStore, StoreUnavailable

ORDERS_IN_A_COMMIT_LIMIT = 200
"""Orders written in one round trip. Larger batches only add latency: the cost of an order has long stopped falling."""

COMMITS_UNDER_WAY_LIMIT = 2
"""Commits. One fills while the other is written; more would only make both smaller."""

ORDERS_IN_HAND_LIMIT = 12_000
"""Orders that are decided about or have an effect in an actor's hands. 10,000 charges may wait for Stripe; a crowd past
that is told to come back, before anything of it is on paper (F39)."""

CACHED_ORDERS_LIMIT = 5_000
"""Documents just written, about 2 kB each: the next step of a charge comes within seconds."""

VIEWS_IN_A_READ_LIMIT = 500
"""Payments read in one round trip."""

TICK_S = 0.25
"""How often deadlines of waiting requests are looked at: a 202 may be this much late."""

SWEEP_EVERY_S = 1.0
"""Between sweeps over what is due, plus jitter. It bounds how late overdue work is taken up."""

SWEEP_JITTER_S = 0.25
"""At most. Several processes should not sweep in step."""

SWEPT_ORDERS_LIMIT = 500
"""Orders taken up by one sweep: a sweep must not fill the lanes before requests."""

OWN_ORDERS_AT_START_LIMIT = 5_000
"""Orders of an earlier run taken up at once. Those beyond it are taken up when their leases run out."""

STORE_PROBE_EVERY_S = 0.5
"""Between pings while the store is away: it is noticed back within a second."""

COMMIT_STUCK_S = 60.0
"""A call to the store has its own deadlines, all far below this: one that is older has lost its way."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is: `<client id>#<incarnation>`, and the card API version that its attempts are frozen with."""

    process: str
    client_id: str
    api_version: str


class MongoActor(Actor[LedgerLetter]):
    """The ledger."""

    def __init__(
        self,
        mailbox: Mailbox[LedgerLetter],
        store: OrderStore,
        hands: Hands,
        identity: Identity,
        report: Report,
        clock: Clock,
        ids: Ids,
    ) -> None:
        super().__init__("mongo", mailbox, clock)
        self._store = store
        self._hands = hands
        self._identity = identity
        self._report = report
        self._ids = ids
        self._lanes = Lanes()
        self._waiters = Waiters(clock, hands)
        self._views: list[PaymentAsked] = []
        self._views_asked = asyncio.Event()
        self._cache: OrderedDict[str, Order] = OrderedDict()
        self._writes = 0
        self._commits: dict[int, float] = {}
        self._under_way: dict[str, Lane] = {}
        self._work_ready = asyncio.Event()
        self._store_up = asyncio.Event()
        self._away_because = "not reached yet"
        self._unreleased: set[str] = set()

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        self._report.store_down(self._away_because)
        self.spawn(self._reach_store(), name="reach the store")
        self.spawn(self._dispatch(), name="dispatch")
        self.spawn(self._answer_views(), name="views")
        self.spawn(self._tick(), name="tick")
        self.spawn(self._sweep(), name="sweep")

    async def drain(self) -> None:
        """Until nothing is left to write and nothing is in anybody's hands; the supervisor bounds it."""
        while len(self._lanes) or len(self._hands) or self.mailbox.depth:
            await self.clock.sleep(TICK_S / 5)

    async def teardown(self) -> None:
        for letter in self._lanes.waiting():
            self._interrupted(letter)
        self._waiters.fail()
        for view in self._views:
            _show(view, Unavailable(Unavailability.CRASHED))

    def stuck_for_s(self) -> float:
        oldest = min(self._commits.values(), default=None)
        age = 0.0 if oldest is None else self.clock.monotonic() - oldest
        return max(super().stuck_for_s(), age - COMMIT_STUCK_S)

    # -------------------------------------------------------------------------------------------------------- letters

    async def receive(self, item: LedgerLetter) -> None:
        match item:
            case ChargeAsked():
                self._charge_asked(item)
            case EventArrived():
                self._event_arrived(item)
            case EffectEnded():
                self._lanes.add(item.message.order_id, item)
            case PaymentAsked():
                self._views.append(item)
                self._views_asked.set()
            case PoisonArrived():
                self.spawn(self._bury(item), name="dead letter")
            case ActorRestarted():
                for effect_id, message in self._hands.lost(item.name):
                    self._lanes.add(message.order_id, EffectEnded(effect_id, message))
        if self._lanes.any_ready:
            self._work_ready.set()

    def _charge_asked(self, letter: ChargeAsked) -> None:
        if not self._store_up.is_set():
            tell(letter, Unavailable(Unavailability.STORE_AWAY))
        elif len(self._hands) + len(self._lanes) >= ORDERS_IN_HAND_LIMIT:
            tell(letter, Unavailable(Unavailability.BUSY))
        else:
            self._lanes.add(letter.request.order_id, letter)

    def _event_arrived(self, letter: EventArrived) -> None:
        if self._store_up.is_set():
            self._lanes.add(letter.message.order_id, letter)
        else:
            letter.settle(Handling.NOT_NOW)

    def _interrupted(self, letter: LaneLetter) -> None:
        match letter:
            case ChargeAsked():
                unknown = Unavailability.WRITE_UNKNOWN if letter.write_sent else Unavailability.CRASHED
                tell(letter, Unavailable(unknown))
            case EventArrived():
                letter.settle(Handling.NOT_NOW)
            case _:
                # Ends of effects and deadlines: the stored `due` brings whoever is next to look.
                return

    # -------------------------------------------------------------------------------------------------- group commits

    async def _dispatch(self) -> None:
        """Start a commit whenever lanes are ready and a place is free: what comes meanwhile makes up the next one."""
        while True:
            await self._work_ready.wait()
            await self._store_up.wait()
            await asyncio.sleep(0)  # let those who are about to tell us something in this turn into the same commit
            if self._lanes.any_ready and len(self._commits) < COMMITS_UNDER_WAY_LIMIT:
                lanes = self._lanes.take_ready(ORDERS_IN_A_COMMIT_LIMIT)
                self._commits[id(lanes)] = self.clock.monotonic()
                self.spawn(self._commit(lanes), name="commit")
            if not self._lanes.any_ready or len(self._commits) >= COMMITS_UNDER_WAY_LIMIT:
                self._work_ready.clear()

    async def _commit(self, lanes: list[Lane]) -> None:
        started = self.clock.monotonic()
        works = [Work(lane.order_id, lane.take()) for lane in lanes]
        self._under_way.update((lane.order_id, lane) for lane in lanes)
        try:
            await GroupCommit(self._store, self.clock, self).settle(works)
        except BaseException:
            for work in works:
                for letter in work.letters:
                    self._interrupted(letter)
            raise
        finally:
            del self._commits[id(lanes)]
            self._report.commit_done(self.clock.monotonic() - started)
            self._work_ready.set()

    def moment(self) -> Moment:
        return Moment(self.clock.now(), self._identity.process, self._identity.api_version)

    def next_write(self) -> Writer:
        self._writes += 1
        return Writer(self._identity.process, self._writes)

    def cached(self, order_id: str) -> Order | None:
        return self._cache.get(order_id)

    def forget(self, order_id: str) -> None:
        self._cache.pop(order_id, None)

    def observed(self, results: Sequence[Committed]) -> None:
        self._report.committed(results)

    def still_wanted(self, work: Work) -> list[LaneLetter]:
        """A request whose time is up is answered and starts nothing any more: its caller has been told, or has gone."""
        now = self.clock.monotonic()
        late = [letter for letter in work.letters if isinstance(letter, ChargeAsked) and now >= letter.deadline]
        for letter in late:
            reason = Unavailability.WRITE_UNKNOWN if letter.write_sent else Unavailability.BUSY
            tell(letter, Unavailable(reason))
        return [letter for letter in work.letters if letter not in late] if late else work.letters

    def finished(self, work: Work) -> None:
        order = work.after
        for letter in work.letters:
            if isinstance(letter, EffectEnded):
                self._hands.ended(work.order_id, letter.effect_id)
        if order is not None:
            self._remember(order)
            if not self._hands.release(order):
                self._unreleased.add(order.id)
        self._report.finished(work)
        self._answer(work)
        if order is not None:
            self._waiters.written(order)
        self._lane_done(work.order_id)

    def _answer(self, work: Work) -> None:
        """Replies and acknowledgements: by the document as it stands now."""
        for letter in work.letters:
            if isinstance(letter, EventArrived):
                letter.settle(Handling.APPLIED if work.changed else Handling.STALE)
            elif isinstance(letter, ChargeAsked):
                reply = work.replies.get(id(letter))
                if work.after is not None and (reply is None or isinstance(reply, Pending)):
                    self._waiters.add(work.after, letter)
                elif reply is not None:
                    tell(letter, reply)

    def unreadable(self, work: Work) -> None:
        """Nothing was sent. Requests and events hear so; what actors brought stays, for nobody else will bring it."""
        lane = self._under_way[work.order_id]
        for letter in work.letters:
            match letter:
                case ChargeAsked():
                    tell(letter, Unavailable(Unavailability.STORE_AWAY))
                case EventArrived():
                    letter.settle(Handling.NOT_NOW)
                case EffectEnded():
                    lane.letters.append(letter)
                case _:
                    continue
        self._lane_done(work.order_id)

    def unwritable(self, work: Work) -> None:
        """One letter makes this document impossible: the first event is put away, else the first request refused."""
        culprit = next((letter for letter in work.letters if isinstance(letter, EventArrived)), work.letters[0])
        self._report.unwritable(work)
        if isinstance(culprit, EventArrived):
            error = "the order that it makes can't be stored"
            poison = PoisonArrived(culprit.subject, culprit.identity, culprit.data, error, culprit.settle)
            self.spawn(self._bury(poison), name="dead letter")
        elif isinstance(culprit, ChargeAsked):
            tell(culprit, Unavailable(Unavailability.CRASHED))
        elif isinstance(culprit, EffectEnded):
            self._hands.ended(work.order_id, culprit.effect_id)
        self._under_way[work.order_id].letters.extendleft(
            letter for letter in reversed(work.letters) if letter is not culprit
        )
        self._lane_done(work.order_id)

    def _lane_done(self, order_id: str) -> None:
        self._lanes.done(self._under_way.pop(order_id))
        if self._lanes.any_ready:
            self._work_ready.set()

    def _remember(self, order: Order) -> None:
        self._cache[order.id] = order
        self._cache.move_to_end(order.id)
        if len(self._cache) > CACHED_ORDERS_LIMIT:
            self._cache.popitem(last=False)

    # ------------------------------------------------------------------------------------------------------ the store

    async def store_away(self, reason: str, *, wait: bool) -> None:
        if self._store_up.is_set():
            self._store_up.clear()
            self._away_because = reason
            self._report.store_down(reason)
            self._fail_what_can_be_repeated()
            self.spawn(self._reach_store(), name="reach the store")
        if wait:
            await self._store_up.wait()

    def _fail_what_can_be_repeated(self) -> None:
        """Requests and events that wait in lanes were never sent to the store: better told now than kept waiting."""
        repeatable = [letter for letter in self._lanes.waiting() if isinstance(letter, ChargeAsked | EventArrived)]
        for letter in repeatable:
            match letter:
                case ChargeAsked():
                    tell(letter, Unavailable(Unavailability.STORE_AWAY))
                case EventArrived():
                    letter.settle(Handling.NOT_NOW)
        self._lanes.drop({id(letter) for letter in repeatable})

    async def _reach_store(self) -> None:
        """Try until the store answers; then everything that waits for it goes on."""
        while True:
            try:
                await self._store.prepare()
            except StoreUnavailable as error:
                self._report.store_down(str(error))
                await self.clock.sleep(STORE_PROBE_EVERY_S)
                continue
            self._report.store_up()
            self._store_up.set()
            return

    async def _bury(self, letter: PoisonArrived) -> None:
        poison = DeadLetter(letter.identity, letter.subject, letter.data, letter.error, self.clock.now())
        try:
            await self._store.bury(poison)
        except StoreUnavailable as error:
            letter.settle(Handling.NOT_NOW)
            await self.store_away(str(error), wait=False)
        else:
            letter.settle(Handling.DEAD_LETTER)

    # ---------------------------------------------------------------------------------------------------------- views

    async def _answer_views(self) -> None:
        """Payments asked for, read together: a crowd that polls costs one round trip a time."""
        while True:
            await self._views_asked.wait()
            await asyncio.sleep(0)
            asked, self._views = self._views[:VIEWS_IN_A_READ_LIMIT], self._views[VIEWS_IN_A_READ_LIMIT:]
            if not self._views:
                self._views_asked.clear()
            try:
                orders = await self._store.load_by_payment([view.payment_id for view in asked])
            except StoreUnavailable as error:
                for view in asked:
                    _show(view, Unavailable(Unavailability.STORE_AWAY))
                await self.store_away(str(error), wait=False)
            else:
                for view in asked:
                    _show(view, self._view(orders.get(view.payment_id)))

    def _view(self, order: Order | None) -> PaymentView | None:
        if order is None or order.payment is None or order.user_id is None:
            return None
        status = payment_status(order, self.clock.now())
        kept = order.kept
        return PaymentView(order.payment.id, order.id, order.user_id, status, kept.charge_id if kept else None)

    # ------------------------------------------------------------------------------------------------------------ time

    async def _tick(self) -> None:
        """Deadlines of waiting requests, leases that run out, work of other processes that somebody waits for."""
        next_second = self.clock.monotonic()
        while True:
            await self.clock.sleep(TICK_S)
            await self._look_for(self._waiters.expired())
            if self.clock.monotonic() >= next_second:
                next_second = self.clock.monotonic() + 1.0
                await self._look_for(self._waiters.elsewhere()[:SWEPT_ORDERS_LIMIT])
                self._renew()
                self._report.depth(self.mailbox.depth)

    async def _look_for(self, order_ids: list[str]) -> None:
        """One more read, for whoever waits on these orders."""
        if not order_ids:
            return
        try:
            orders = await self._store.load(order_ids)
        except StoreUnavailable as error:
            self._waiters.give_up(order_ids)
            await self.store_away(str(error), wait=False)
            return
        for order in orders.values():
            self._waiters.written(order)
        self._waiters.give_up([order_id for order_id in order_ids if order_id not in orders])

    def _renew(self) -> None:
        for renewal in list(self._hands.renewals(self.clock.now())):
            self._lanes.add(renewal.order_id, renewal)
        for _ in range(min(len(self._unreleased), SWEPT_ORDERS_LIMIT)):
            order_id = self._unreleased.pop()
            self._lanes.add(order_id, Due(order_id))
        if self._lanes.any_ready:
            self._work_ready.set()

    async def _sweep(self) -> None:
        """Take up what is due: at start all that an earlier run of this client id left, then whatever is overdue."""
        await self._store_up.wait()
        own: str | None = self._identity.client_id
        while True:
            limit = OWN_ORDERS_AT_START_LIMIT if own else SWEPT_ORDERS_LIMIT
            try:
                orders = await self._store.due(self.clock.now(), own, limit)
            except StoreUnavailable as error:
                await self.store_away(str(error), wait=True)
                continue
            self._take_up(orders)
            self._report.swept(len(orders))
            if own is None:
                await self.clock.sleep(SWEEP_EVERY_S + SWEEP_JITTER_S * self._ids.jitter())
            own = None

    def _take_up(self, orders: list[Order]) -> None:
        for order in orders:
            if order.id in self._lanes:
                continue  # it is being worked on: what is still due after that comes up in the next sweep
            renewal = self._hands.renewal(order.id)
            if renewal is not None:
                self._lanes.add(order.id, renewal)
            self._lanes.add(order.id, Due(order.id))
        if self._lanes.any_ready:
            self._work_ready.set()


def _show(view: PaymentAsked, answer: PaymentView | Unavailable | None) -> None:
    if not view.answer.done():
        view.answer.set_result(answer)
