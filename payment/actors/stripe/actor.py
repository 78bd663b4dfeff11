"""The Stripe actor: makes every request to Stripe, at the rate that Stripe allows, and reports each outcome.

Its mailbox takes, from the ledger:

    ConfirmIntent, CreateIntent, RetrieveIntent,    each ended by exactly one EffectCompleted to the ledger; an effect
    CancelIntent, ListCharges, RefundCharge,        that is released again before its first call ends, with that one
    FindRefund, RecheckRefund
    CancelEffect                                    a call that was not sent yet is not sent

To the ledger it also sends AccountRead: nothing is sent to Stripe before the ledger has answered it.

It owns the calls, and what awaits: turns, time, the ledger's mailbox. It must never conclude anything from a missing
answer: a confirm whose outcome is unclear goes back to the ledger, which commits its next send first. Retrieves, lists
and refunds are safe to repeat, and are repeated here until they end.

Each step of an effect takes this way:

    next      `_serve`          which entry may be sent now: `scheduler` and its queues, `rate_limiter`, `telemetry`
    call      `_send`, `_call`  the last check, then one call of the port
    outcome   `_send`           what it shows about Stripe (`telemetry`) and the effect (`scheduler`, by `outcomes`)
    report    `_report_ends`    EffectCompleted, once the ledger's mailbox has room
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from payment.actors.messages import CancelEffect, EffectCompleted, LedgerMessage, StripeMessage
from payment.actors.queue_estimate import PublishedEstimate
from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.runtime.work_queue import WorkQueue
from payment.actors.stripe.key_checks import KeyMonitor
from payment.actors.stripe.outcomes import CallStep, Outcome
from payment.actors.stripe.rate_limiter import INSTANT_S
from payment.actors.stripe.scheduler import Entry, Queue, StripeScheduler
from payment.actors.stripe.telemetry import ACCOUNT, StripeTelemetry
from payment.core.effects import ConfirmIntent, FindRefund, ListCharges, RecheckRefund, RefundCharge
from payment.ops.health import Health
from payment.ops.metrics import Metrics
from payment.ports.cards import CardProcessor, NotYet, Obstacle, Permission
from payment.ports.clock import Clock

SUSPENDED_SEND_EVERY_S = 1.0
"""Between requests of one queue while Stripe is away or refuses our key: how late its return is noticed at most."""

TICK_EVERY_S = 1.0
"""Between checks of entries whose time has passed while they waited."""

DRAIN_CHECK_EVERY_S = 0.05
"""Between checks whether the calls in flight have ended."""

CALL_STUCK_S = 60.0
"""A call is several requests at most (a refund: itself, three pages, the charge, its disputes), each of which the
adapter ends after 8 s: one that is older than this is lost."""

PERMISSION_OF = {
    CallStep.LIST: Permission.LIST,
    CallStep.CREATE: Permission.CREATE,
    CallStep.CONFIRM: Permission.CONFIRM,
    CallStep.RETRIEVE: Permission.RETRIEVE,
    CallStep.CANCEL: Permission.CANCEL,
    CallStep.REFUND: Permission.REFUND,
    CallStep.FIND_REFUND: Permission.REFUND,
}
"""The permission that each step needs. A key that may refund may read refunds (docs.stripe.com/keys)."""


class StripeActor(Actor[StripeMessage]):
    """Sends what the ledger releases, at the allowed rate, and reports to it how each effect ended."""

    def __init__(
        self,
        mailbox: Mailbox[StripeMessage],
        ledger: Mailbox[LedgerMessage],
        cards: CardProcessor,
        estimate: PublishedEstimate,
        rate_ceiling_per_s: float,
        health: Health,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`rate_ceiling_per_s` bounds the rate of each endpoint, in requests a second."""
        super().__init__("stripe", mailbox, clock)
        self._ledger = ledger
        self._cards = cards
        self._telemetry = StripeTelemetry(health, metrics, clock)
        self._checks = KeyMonitor(cards, ledger, self._telemetry, clock, self, self._spawn_check)
        self._allowed = asyncio.Event()
        """Set while the database is known to belong to our key's account: nothing leaves before."""
        self._scheduler = StripeScheduler(
            rate_ceiling_per_s,
            estimate,
            mailbox.accepted - mailbox.depth,
            clock,
            wake_later=self._wake_later,
            send_end=self._send_end,
            want_check=self._want_check,
            away=self._telemetry.away,
        )
        self._account_turn = asyncio.Lock()
        """Held by the queue that waits for the account's rate limiter. It is fair: each queue keeps its share."""
        self._ends: WorkQueue[EffectCompleted] = WorkQueue()
        """Messages that the ledger has yet to receive; never more than it has released effects."""

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        for queue in self._scheduler.queues:
            self.spawn(self._serve(queue), name=f"{queue.kind} queue")
        self.spawn(self._report_ends(), name="ends")
        self.spawn(self._tick(), name="tick")
        self.spawn(self._checks.run(), name="check")

    async def drain(self) -> None:
        """Send nothing more and give waiting effects back; wait for calls in flight and for the ledger."""
        self._scheduler.close()
        self._checks.closed = True
        while self._scheduler.in_flight or self._ends:
            await self.clock.sleep(DRAIN_CHECK_EVERY_S)

    async def teardown(self) -> None:
        await self._cards.close()

    def stuck_for_s(self) -> float:
        """A call that no timeout of the adapter ends is a hang too: its seconds past `CALL_STUCK_S` count (F32)."""
        oldest = next(iter(self._scheduler.in_flight.values()), None)
        since = None if oldest is None else oldest.in_flight_since
        age_s = 0.0 if since is None else self.clock.monotonic() - since
        return max(super().stuck_for_s(), age_s - CALL_STUCK_S)

    # ------------------------------------------------------------------------------------------------------- messages

    async def receive(self, item: StripeMessage) -> None:
        if isinstance(item, CancelEffect):
            self._scheduler.cancel(item.effect_id)
        else:
            self._scheduler.release(item)

    # ----------------------------------------------------------------------------------------------------------- next

    async def _serve(self, queue: Queue) -> None:
        """Send the entries of a queue, each when the rate limiters and Stripe's health allow. Runs for ever."""
        account = self._scheduler.account
        while True:
            while not queue.may_go.is_set():
                await queue.may_go.wait()
            if not self._allowed.is_set():
                await self._allowed.wait()
                continue
            if (wait_s := self._wait_s(queue)) > 0:
                await self.clock.sleep(wait_s)
                continue
            if not self._account_turn.locked() and account.wait_s(self.clock.monotonic()) <= 0:
                self._send_first(queue)
                continue
            async with self._account_turn:
                while (wait_s := account.wait_s(self.clock.monotonic())) > 0:
                    await self.clock.sleep(wait_s)
                # As it is after that wait.
                if queue.may_go.is_set() and self._allowed.is_set() and self._wait_s(queue) == 0:
                    self._send_first(queue)

    def _wait_s(self, queue: Queue) -> float:
        """How long until the queue's first entry may leave, as far as its endpoint is concerned, in seconds."""
        now = self.clock.monotonic()
        suspended_s = 0.0
        if self._telemetry.suspends(queue.kind):
            suspended_s = queue.last_taken_at + SUSPENDED_SEND_EVERY_S - now
        return max(queue.limiter.wait_s(now), suspended_s if suspended_s > INSTANT_S else 0.0)

    def _send_first(self, queue: Queue) -> None:
        entry = self._scheduler.take(queue, self.clock.monotonic())
        self.spawn(self._send(queue, entry), name=f"{queue.kind} call")

    # ----------------------------------------------------------------------------------------------- call and outcome

    async def _send(self, queue: Queue, entry: Entry) -> None:
        """An entry's turn: the last check, one call, and what its outcome says of Stripe and of the effect."""
        if not self._scheduler.may_send(entry):
            self._scheduler.put_back(queue, entry)
            return
        left_at = self.clock.monotonic()
        outcome = await self._call(entry)
        call_s = self.clock.monotonic() - left_at
        self._telemetry.call_ended(queue.kind, entry, outcome, call_s * 1_000)
        if self._telemetry.observe(outcome, entry.step.value, call_s, entry.order_id):
            self._checks.check_now()  # the silence may be of a few orders alone, and others wait
        if isinstance(outcome, NotYet):
            if outcome.obstacle is Obstacle.UNREACHABLE:
                self._checks.doubt()
            elif outcome.obstacle is Obstacle.RATE_LIMITED and not (outcome.alarm or entry.alone):
                limiter = self._scheduler.slow_down(queue, entry, left_at, outcome)
                if limiter is not None:
                    self._telemetry.rate_fell(ACCOUNT if outcome.account else queue.kind, limiter)
            elif outcome.obstacle is Obstacle.KEY_REFUSED and not (outcome.alarm or entry.alone):
                self._want_check(entry)
        self._scheduler.call_ended(queue, entry, outcome, call_s)

    async def _call(self, entry: Entry) -> Outcome:
        """Make the call of an entry's step."""
        effect, intent_id = entry.effect, entry.progress.intent_id
        match effect:
            case ListCharges():
                return await self._cards.list_charges(effect.order_id, effect.payment_id)
            case RefundCharge():
                return await self._cards.refund(effect)
            case FindRefund():
                return await self._cards.find_refund(effect.charge_id)
            case RecheckRefund():
                return await self._cards.recheck_refund(effect)
        intent, step = effect.intent, entry.step
        if step is CallStep.LIST:
            return await self._cards.list_charges(intent.order_id, intent.payment_id)
        if step is CallStep.CREATE or intent_id is None:
            return await self._cards.create(intent)
        if step is CallStep.CONFIRM and isinstance(effect, ConfirmIntent):
            return await self._cards.confirm(effect, intent_id)
        if step is CallStep.CANCEL:
            return await self._cards.cancel(intent_id)
        return await self._cards.retrieve(intent_id)

    # --------------------------------------------------------------------------------------------------- to the ledger

    def _send_end(self, end: EffectCompleted) -> None:
        self._ends.add(end)

    async def _report_ends(self) -> None:
        """Send each end once the ledger's mailbox has room. Nothing else of the actor waits for that."""
        while True:
            await self._ledger.put(await self._ends.first())
            self._ends.done()

    # --------------------------------------------------------------------------------------------------------- checks

    def _spawn_check(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.spawn(work, name=name)

    def _want_check(self, entry: Entry) -> None:
        self._checks.want(PERMISSION_OF[entry.step])

    def allow(self, allowed: bool) -> None:
        """The ledger has answered whether the database belongs to our key's account."""
        self._scheduler.held = not allowed
        (self._allowed.set if allowed else self._allowed.clear)()

    def permission_checked(self, permission: Permission, answered: bool) -> None:
        """A check has shown whether Stripe refuses every call of a kind."""
        self._scheduler.checked(permission.value, answered=answered)

    # ----------------------------------------------------------------------------------------------------------- time

    def _wake_later(self, entry: Entry, sleep: int, delay_s: float) -> None:
        self.spawn(self._wake(entry, sleep, delay_s), name="later")

    async def _wake(self, entry: Entry, sleep: int, delay_s: float) -> None:
        await self.clock.sleep(delay_s)
        self._scheduler.wake(entry, sleep)

    async def _tick(self) -> None:
        """Give back effects that it is too late to send, and show how much waits."""
        while True:
            await self.clock.sleep(TICK_EVERY_S)
            self._scheduler.tick()
            self._telemetry.gauges(self._scheduler.queues, self._scheduler.account, self.mailbox.depth)
