"""The Mongo actor: the ledger through which every change of every order goes.

Its mailbox takes (payment.actors.messages):

    ChargeOrder           from HTTP      answered by the written document, at the request's deadline at the latest
    GetPayment            from HTTP      answered by a fresh read
    AnswerBy              from HTTP      all of HTTP's requests are answered by then
    EventReceived         from NATS      settled after the write that it led to
    InvalidEventReceived  from NATS      settled once it is kept in `dead_letters`
    EffectCompleted       from Stripe and NATS
    AccountRead           from Stripe    answered by what the database says, once the store answers
    ActorRestarted        from the supervisor

It owns when things happen: the dispatch of commits, the tick over deadlines and leases, the sweeps over what is due. It
must never wait for another actor, and never release anything (a reply, an acknowledgement, an effect) before the store
has confirmed the document that says so. The package's docstring says which file owns what.

An instance is one incarnation: it reads at Stripe what an earlier one had in flight before it repeats that, even in the
same process.
"""

import asyncio
import math

from payment.actors.ledger.accounts import Accounts
from payment.actors.ledger.backlog import Backlog
from payment.actors.ledger.commit import Commits, ProcessIdentity
from payment.actors.ledger.dead_letters import DeadLetterWriter
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.order_queues import OrderQueue, OrderQueues, QueuedMessage
from payment.actors.ledger.payment_views import Views, show
from payment.actors.ledger.pending_charges import ChargeState, PendingCharge, PendingCharges, unavailable_reply
from payment.actors.ledger.set_aside import SetAside
from payment.actors.ledger.store_state import StoreState
from payment.actors.ledger.stuck_log import Reasons, StuckLog
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import (
    AccountCheck,
    AccountRead,
    ActorRestarted,
    AnswerBy,
    ChargeOrder,
    ChargeReply,
    EffectCompleted,
    EventReceived,
    GetPayment,
    Handling,
    InvalidEventReceived,
    LedgerMessage,
)
from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.core.messages import Due, RecheckRequested
from payment.core.order import Order
from payment.core.pending import pending
from payment.core.replies import Unavailability, Unavailable
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.store import CorruptDocument, OrderStore, StoreUnavailable

ORDERS_IN_A_COMMIT_LIMIT = 200
"""Orders written in one round trip. Larger batches only add latency: the cost of an order has long stopped falling."""

COMMITS_UNDER_WAY_LIMIT = 2
SLOW_COMMIT_S = 0.015
"""Commits. One fills while the other is written: two begun at once would be twice as many, each half as large. Another
goes beside it where it would be a full one, or where the first took so long that it is at the store (unless a burst
delays it): we would have nothing to do. Where nothing else wakes us, the next tick finds that at the latest."""

CHARGES_IN_FLIGHT_LIMIT = 12_000
"""Charges that wait for their turn at Stripe, and orders that are decided about. 10,000 may wait; requests past that
are rejected before anything of them is written (F39). Publications and refunds are not counted."""

BEHIND_LIMIT_S = 4.0
"""Seconds that the next order to be decided about has waited, from which on new requests are rejected: they come faster
than they are decided. To take all of them in costs a third of the time that serves those that wait already, and would
be felt for half a minute after. The first second of a sale is taken in within less, on a slow machine too."""

TICK_S = 0.25
"""How often deadlines of pending requests, and slow commits, are checked: a 202 may be this much late."""

STORE_AWAY_WAIT_S = 2.0
"""How long requests whose attempts are written wait, in seconds, once the store is lost. A primary that is elected soon
lets them have their outcome. After that they are answered "outcome unknown: repeat the same request", as they would be
at their deadline: a database that refuses writes may do so for hours."""

SWEEP_EVERY_S = 1.0
"""Between sweeps over what is due, plus jitter. It bounds how late overdue work is taken up."""

SWEEP_JITTER_S = 0.25
"""At most. Several processes should not sweep in step."""

SWEEP_UNINDEXED_EVERY_S = 10.0
"""Between sweeps while their index is missing: each reads every order that is stored, which may take long."""
RECHECK_EVERY_S = 60.0
"""Between sweeps over charges that were given back and are to be checked again, plus jitter. The first check comes an
hour after the refund: a minute more is nothing."""

RECHECKS_IN_SWEEP_LIMIT = 300
"""Orders taken up by one of those: five a second, which leaves Stripe's rate (25 a second) to customers' refunds."""

SWEPT_ORDERS_LIMIT = 500
"""Orders taken up by one sweep, or read at once for pending requests: neither must fill the queues before requests."""

STRAGGLERS_EVERY_S = 1.0
"""Between tries of documents that neither go in nor are refused, while others are written."""

OWN_ORDERS_AT_START_LIMIT = 15_000
"""Orders of an earlier run taken up at once: all the charges that it may have held, and what it had to publish besides.
Those beyond it are taken up when their leases run out."""

OWN_WORK_AGAIN_S = 5.0
"""After an earlier run's work was swept it is swept once more: a process may be killed with a write on its way, which
lands when the next run has swept already. A write has landed by then, or never will."""

COMMIT_STUCK_S = 60.0
"""A call to the store has its own deadlines, all far below this: one that is older has lost its way."""


class MongoActor(Actor[LedgerMessage]):
    """The ledger."""

    def __init__(
        self,
        mailbox: Mailbox[LedgerMessage],
        store: OrderStore,
        in_flight: InFlightEffects,
        identity: ProcessIdentity,
        telemetry: LedgerTelemetry,
        clock: Clock,
        ids: Ids,
        declines: DeclineLimit,
    ) -> None:
        super().__init__("mongo", mailbox, clock)
        self._store = store
        self._in_flight = in_flight
        self._identity = identity
        self._telemetry = telemetry
        self._ids = ids
        self._order_queues = OrderQueues(clock)
        self._charges = PendingCharges(clock, in_flight, self._queue)
        self._state = StoreState(store, telemetry, clock, self._store_lost, self._store_back)
        self._set_aside = SetAside(telemetry, clock)
        self._views = Views(store, clock, self._read_failed, self._recheck, self._set_aside)
        self._dead_letters = DeadLetterWriter(store, clock, self._dead_letter_failed)
        reasons = Reasons(identity.process, in_flight, self._order_queues, telemetry.health)
        self._backlog = Backlog(store, telemetry, StuckLog(reasons), clock)
        self._declines = declines
        self._commits_begun: dict[int, float] = {}
        self._slow_commits_begun: dict[int, float] = {}
        """Those of stragglers: they are not limited by the others, but one that never ends is a hang as well."""
        self._work_ready = asyncio.Event()
        self._accounts = Accounts(store.accounts, clock, self._state.up, identity.client_id)
        self._own_work_left = True  # by an earlier run of this client id: to be swept
        self._own_work_again_at = math.inf
        self.commits = Commits(
            store,
            clock,
            identity,
            self._order_queues,
            in_flight,
            self._charges,
            self._views,
            self._dead_letters,
            declines,
            telemetry,
            self._state,
            self._set_aside,
            self._work_ready,
        )
        self._draining = False

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        self._declines.start(self._charges)
        self.spawn(self._state.keep(), name="store")
        self.spawn(self._state.make_indexes(), name="indexes")
        self.spawn(self._dispatch(), name="dispatch")
        self.spawn(self._commit_stragglers(), name="stragglers")
        self.spawn(self._views.answer_all(), name="views")
        self.spawn(self._dead_letters.write_all(), name="dead letters")
        self.spawn(self._backlog.report(self._state.up), name="backlog")
        self.spawn(self._accounts.answer_all(), name="accounts")
        self.spawn(self._tick(), name="tick")
        self.spawn(self._sweep(), name="sweep")
        self.spawn(self._sweep_rechecks(), name="sweep rechecks")

    async def drain(self) -> None:
        """Until nothing is left to write and no effect is in flight; the supervisor bounds it."""
        # An effect that an actor gives back undone is due at once: another process takes it up, or our next run.
        self._draining = True
        while len(self._order_queues) or len(self._in_flight) or len(self._dead_letters) or self.mailbox.depth:
            await self.clock.sleep(TICK_S / 5)

    async def teardown(self) -> None:
        messages: list[LedgerMessage | QueuedMessage]
        messages = [*self._order_queues.waiting(), *self.commits.messages_under_way()]
        if self.current_item is not None and not any(message is self.current_item for message in messages):
            messages.append(self.current_item)
        for message in messages:
            self._interrupted(message)
        self._charges.fail()
        self._views.fail()
        self._dead_letters.put_off()
        self._accounts.fail()

    def stuck_for_s(self) -> float:
        # While the store is away, commits wait for it: that is no sign of a hang.
        begun = (*self._commits_begun.values(), *self._slow_commits_begun.values())
        oldest = min(begun, default=None) if self._state.up.is_set() else None
        age = 0.0 if oldest is None else self.clock.monotonic() - oldest
        return max(super().stuck_for_s(), age - COMMIT_STUCK_S)

    # -------------------------------------------------------------------------------------------------------- messages

    async def receive(self, item: LedgerMessage) -> None:
        match item:
            case ChargeOrder():
                self._charge_order(item)
            case EffectCompleted():
                self._order_queues.add(item.message.order_id, item)
            case EventReceived():
                if self._state.up.is_set():
                    self._order_queues.add(item.message.order_id, item)
                else:
                    item.settle(Handling.NOT_NOW)
            case GetPayment():
                if self._state.up.is_set():
                    self._views.add(item)
                else:
                    show(item, Unavailable(Unavailability.STORE_AWAY))
            case InvalidEventReceived():
                if self._state.up.is_set():
                    self._dead_letters.add(item)
                else:
                    item.settle(Handling.NOT_NOW)
            case AnswerBy():
                self._charges.answer_by(item.deadline)
                self._views.answer_by(item.deadline)
            case AccountRead():
                self._accounts.add(item)
            case ActorRestarted():
                for effect_id, message in self._in_flight.lost(item.name):
                    self._order_queues.add(message.order_id, EffectCompleted(effect_id, message))
        self._wake_dispatch()

    def _charge_order(self, message: ChargeOrder) -> None:
        charge = self._charges.add(message)
        taken = self._in_flight.charges + len(self._order_queues)
        if not self._state.up.is_set():
            self._charges.reject(charge, Unavailability.STORE_AWAY)
        elif taken >= CHARGES_IN_FLIGHT_LIMIT or self._order_queues.behind_s() >= BEHIND_LIMIT_S:
            self._charges.reject(charge, Unavailability.BUSY)
        else:
            self._order_queues.add(message.request.order_id, charge)

    def _queue(self, charge: PendingCharge) -> None:
        self._order_queues.add(charge.message.request.order_id, charge)
        self._wake_dispatch()

    def _recheck(self, order_id: str) -> None:
        self._order_queues.add(order_id, RecheckRequested(order_id))
        self._wake_dispatch()

    def _interrupted(self, message: LedgerMessage | QueuedMessage) -> None:
        """The ledger ends, and this message was not answered."""
        match message:
            case ChargeOrder() if not message.answer.done():
                message.answer.set_result(ChargeReply(unavailable_reply(ChargeState.QUEUED, Unavailability.CRASHED)))
            case EventReceived() | InvalidEventReceived():
                message.settle(Handling.NOT_NOW)
            case GetPayment():
                show(message, Unavailable(Unavailability.CRASHED))
            case AccountRead():
                message.answer.set_result(AccountCheck(None))
            case _:
                # `PendingCharges` answers its own. Completed effects and deadlines: the stored `due` brings a process.
                return

    # -------------------------------------------------------------------------------------------------------- commits

    async def _dispatch(self) -> None:
        """Start a commit whenever order queues are ready and it may go: what comes meanwhile makes up the next one."""
        while True:
            await self._work_ready.wait()
            await self._state.up.wait()
            await asyncio.sleep(0)  # let the messages that come in this turn into the same commit
            if self._order_queues.any_ready and self._may_commit():
                order_queues = self._order_queues.take_ready(ORDERS_IN_A_COMMIT_LIMIT)
                self._commits_begun[id(order_queues)] = self.clock.monotonic()
                self.spawn(self._commit(order_queues), name="commit")
            if not self._order_queues.any_ready or not self._may_commit():
                self._work_ready.clear()

    def _wake_dispatch(self) -> None:
        """To be called whenever order queues may have become ready, or a commit may go that could not."""
        if self._order_queues.any_ready:
            self._work_ready.set()

    def _may_commit(self) -> bool:
        if not self._commits_begun:
            return True
        if len(self._commits_begun) >= COMMITS_UNDER_WAY_LIMIT:
            return False
        slow_since = self.clock.monotonic() - SLOW_COMMIT_S
        full = self._order_queues.ready >= ORDERS_IN_A_COMMIT_LIMIT
        return full or all(began <= slow_since for began in self._commits_begun.values())

    async def _commit(self, order_queues: list[OrderQueue]) -> None:
        started = self.clock.monotonic()
        try:
            await self.commits.commit(self.commits.take(order_queues))
        finally:
            del self._commits_begun[id(order_queues)]
            self._telemetry.commit_done(self.clock.monotonic() - started)
            self._wake_dispatch()

    async def _commit_stragglers(self) -> None:
        """Commit orders that the store keeps failing while it accepts others: here they delay no other (F31)."""
        while True:
            await self.clock.sleep(STRAGGLERS_EVERY_S)
            await self._state.up.wait()
            if items := self.commits.take_stragglers():
                self._slow_commits_begun[id(items)] = self.clock.monotonic()
                try:
                    await self.commits.commit(items)
                finally:
                    del self._slow_commits_begun[id(items)]

    # ------------------------------------------------------------------------------------------------------ the store

    def _store_lost(self) -> None:
        """Requests and events in order queues were never sent to the store: they are answered now, and come again."""
        self._own_work_left = True
        self._order_queues.keep(self.commits.answer_not_now)

    def _store_back(self) -> None:
        now = self.clock.monotonic()  # the time of what is under way begins anew
        self._commits_begun = dict.fromkeys(self._commits_begun, now)
        self._slow_commits_begun = dict.fromkeys(self._slow_commits_begun, now)

    def _read_failed(self, _reason: str) -> None:
        """A read that no charge waits for, or a dead letter, has failed: an outage only if the probe fails as well."""
        self.spawn(self._state.check(), name="probe")

    def _dead_letter_failed(self, identity: str, reason: str) -> None:
        self._telemetry.dead_letter_waits(identity, reason)
        self._read_failed(reason)

    # ------------------------------------------------------------------------------------------------------------ time

    async def _tick(self) -> None:
        """Deadlines of pending requests, leases that run out, orders of other processes that requests wait for."""
        next_second = self.clock.monotonic()
        while True:
            await self.clock.sleep(TICK_S)
            self._wake_dispatch()  # a commit may have become a slow one
            store_long_away = self._state.away_s() >= STORE_AWAY_WAIT_S
            overdue = self._charges.answer_overdue(store_long_away=store_long_away)
            self._declines.drop_answered()
            self._views.answer_overdue()
            await self._read_for_requests(overdue)
            if self.clock.monotonic() >= next_second:
                next_second = self.clock.monotonic() + 1.0
                await self._read_for_requests(self._charges.elsewhere()[:SWEPT_ORDERS_LIMIT])
                for order_id in dict.fromkeys((*self._charges.want_rechecks(), *self._views.want_rechecks())):
                    if order_id not in self._order_queues:  # as with renewals: an outage must not pile them up
                        self._recheck(order_id)
                self._renew()
                self._telemetry.second(self.mailbox.depth)
                await self._read_set_aside()
                self._set_aside.forget()

    async def _read_set_aside(self) -> None:
        """Corrected documents that are not due are met by nothing else: the gauge would count them for an hour."""
        order_ids = self._set_aside.unmet()
        if not order_ids or not self._state.up.is_set():
            return
        try:
            found = await self._store.load(order_ids)
        except StoreUnavailable as error:
            self._read_failed(str(error))
            return
        for order_id in order_ids:
            document = found.get(order_id)
            if isinstance(document, CorruptDocument):
                self._set_aside.corrupt(document)
            else:
                self._set_aside.legible(order_id)

    async def _read_for_requests(self, order_ids: list[str]) -> None:
        """Read these orders once more: requests wait for their outcome, which another process may have written."""
        for first in range(0, len(order_ids), SWEPT_ORDERS_LIMIT):
            some = order_ids[first : first + SWEPT_ORDERS_LIMIT]
            if not self._state.up.is_set():
                self._charges.unread(some)
                continue
            try:
                orders = await self._store.load(some)
            except StoreUnavailable as error:
                self._charges.unread(some)
                self._read_failed(str(error))
                continue
            for order_id, order in orders.items():
                if isinstance(order, CorruptDocument):
                    self._set_aside.corrupt(order)
                elif not self._set_aside.contain(order_id, self._charges.written, order):
                    self._charges.fail_order(order_id)
            self._charges.unread([order_id for order_id in some if not isinstance(orders.get(order_id), Order)])

    def _renew(self) -> None:
        for renewal in list(self._in_flight.renewals(self.clock.now())):
            # An outage of the store must not pile them up, one a second for each order; nor one that is set aside.
            if renewal.order_id not in self._order_queues and not self._set_aside.rests(renewal.order_id):
                self._order_queues.add(renewal.order_id, renewal)
        for order_id in self._in_flight.take_unreleased(SWEPT_ORDERS_LIMIT):
            self._order_queues.add(order_id, Due(order_id))
        self._wake_dispatch()

    async def _sweep(self) -> None:
        """Take up what is due: at start all that an earlier run of this client id left, then what is overdue.

        After the store was away the former is swept again: it may have been taken up just then, and lost.
        """
        await self._state.up.wait()
        while True:
            own = self._left_by()
            limit = OWN_ORDERS_AT_START_LIMIT if own else SWEPT_ORDERS_LIMIT
            try:
                orders = await self._store.due(self.clock.now(), own, limit)
            except StoreUnavailable as error:
                self._own_work_left = True
                await self._sweep_failed(str(error))
                continue
            if not self._draining:
                self._take_up(orders, left_by_an_earlier_run=own is not None)
            self._telemetry.swept(sum(isinstance(order, Order) for order in orders))
            if own is None:
                await self._until_next_sweep()

    def _left_by(self) -> str | None:
        """This client's id where an earlier run's work is to be swept: twice, for its last write may land late."""
        if self._own_work_left:
            self._own_work_left = False
            self._own_work_again_at = self.clock.monotonic() + OWN_WORK_AGAIN_S
        elif self.clock.monotonic() >= self._own_work_again_at:
            self._own_work_again_at = math.inf
        else:
            return None
        return self._identity.client_id

    def _is_ours_alone(self, order: Order) -> bool:
        """Whether all that is owed of it is held by this run."""
        return all(item.holder in (None, self._identity.process) for item in pending(order))

    async def _until_next_sweep(self) -> None:
        slowly_until = self.clock.monotonic() + SWEEP_UNINDEXED_EVERY_S
        await self.clock.sleep(SWEEP_EVERY_S + SWEEP_JITTER_S * self._ids.jitter())
        while not self._state.indexed.is_set() and self.clock.monotonic() < slowly_until:
            await self.clock.sleep(SWEEP_EVERY_S)

    async def _sweep_failed(self, reason: str) -> None:
        """The store is away; or it has no index yet, reads every order for the sweep, and has taken too long."""
        if self._state.indexed.is_set():
            await self._state.failed(reason)
            await self._state.up.wait()
        elif await self._state.check():
            await self.clock.sleep(SWEEP_UNINDEXED_EVERY_S)
        else:
            await self._state.up.wait()

    async def _sweep_rechecks(self) -> None:
        """Take up the charges that were given back and are to be checked again. They have an index of their own."""
        while True:
            await self._state.up.wait()
            try:
                orders = await self._store.rechecks(self.clock.now(), RECHECKS_IN_SWEEP_LIMIT)
            except StoreUnavailable as error:
                await self._sweep_failed(str(error))
                continue
            if not self._draining:
                self._take_up(orders, left_by_an_earlier_run=False)
            await self.clock.sleep(RECHECK_EVERY_S + SWEEP_JITTER_S * self._ids.jitter())

    def _take_up(self, orders: list[Order | CorruptDocument], *, left_by_an_earlier_run: bool) -> None:
        for order in orders:
            if isinstance(order, CorruptDocument):
                self._set_aside.corrupt(order)
                continue
            if not self._set_aside.failed_lately(order.id):
                self._set_aside.contain(order.id, self._take_up_one, order, left_by_an_earlier_run)
        self._wake_dispatch()

    def _take_up_one(self, order: Order, left_by_an_earlier_run: bool) -> None:
        if left_by_an_earlier_run and self._is_ours_alone(order):
            return
        if order.id in self._order_queues and not left_by_an_earlier_run:
            # The order is in progress; a task that is still due afterwards is found by the next sweep. A task that an
            # earlier run left would not be: no later sweep finds it before its lease ends.
            return
        renewal = self._in_flight.renewal(order.id)
        if renewal is not None:
            self._order_queues.add(order.id, renewal)
        self._order_queues.add(order.id, Due(order.id))
