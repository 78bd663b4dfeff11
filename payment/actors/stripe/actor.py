"""The Stripe actor: makes every request to Stripe, at the rate that Stripe allows, and reports each outcome.

Its mailbox takes, from the ledger:

    ConfirmIntent, CreateIntent, RetrieveIntent,    each ended by exactly one EffectCompleted to the ledger; an effect
    that CancelIntent, ListCharges, RefundCharge,        is released again before its first call ends with that one
    FindRefund, RecheckRefund CancelEffect                                    a call that was not sent yet is not sent

and to the ledger it sends AccountRead too: whether anything is sent at all rests on what the ledger answers.

It owns the queues and their rate limiters, the steps of an effect, and the repetition of calls that certainly did
nothing. It must never conclude anything from a missing answer: a confirm whose outcome is unclear goes back to the
ledger, which commits its next send first. Retrieves, lists and refunds are safe to repeat, and are repeated here until
they end.

The scheduler (`payment.actors.stripe.scheduler`) decides in which queue an entry waits and what an outcome leads to.
This module holds all code that awaits: turns, calls, time and the ledger's mailbox.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from payment.actors.messages import CancelEffect, EffectCompleted, LedgerMessage, StripeMessage
from payment.actors.queue_estimate import QueueEstimate
from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.runtime.work_queue import WorkQueue
from payment.actors.stripe.key_checks import KeyMonitor
from payment.actors.stripe.outcomes import REFUSALS, CallStep, Outcome
from payment.actors.stripe.queues import Entry, Queue, Queues
from payment.actors.stripe.rate_limiter import INSTANT_S
from payment.actors.stripe.scheduler import StripeScheduler
from payment.actors.stripe.telemetry import ACCOUNT, StripeTelemetry
from payment.core.effects import ConfirmIntent, FindRefund, ListCharges, RecheckRefund, RefundCharge
from payment.ops.health import Health
from payment.ops.metrics import Metrics
from payment.ports.cards import CardProcessor, NotYet, Obstacle, Permission
from payment.ports.clock import Clock

PROBE_EVERY_S = 1.0
"""Between requests of one queue while Stripe is away or refuses our key: how late its return is noticed at most."""

TICK_EVERY_S = 1.0
"""Between looks at entries whose time has passed while they waited."""

RETRY_AFTER_OF_ONE_S = 1.0
"""For how long a whole endpoint obeys the Retry-After of a single entry's refusal, in seconds: that may be about this
entry alone, which waits as long as Stripe asks. A second entry's is obeyed by all."""

DRAIN_LOOK_EVERY_S = 0.05
"""Between looks whether the calls in flight have ended."""

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
"""What our key has to be allowed for each step. Whoever may refund may look at refunds (docs.stripe.com/keys)."""


class StripeActor(Actor[StripeMessage]):
    """Sends what the ledger releases, at the allowed rate, and reports to it how each effect ended."""

    def __init__(
        self,
        mailbox: Mailbox[StripeMessage],
        ledger: Mailbox[LedgerMessage],
        cards: CardProcessor,
        estimate: QueueEstimate,
        rate_ceiling_per_s: float,
        health: Health,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`rate_ceiling_per_s` bounds the rate of each endpoint, in requests a second."""
        super().__init__("stripe", mailbox, clock)
        self._ledger = ledger
        self._cards = cards
        self._estimate = estimate
        self._telemetry = StripeTelemetry(health, metrics, clock)
        self._checks = KeyMonitor(cards, ledger, self._telemetry, clock, self, self._spawn_check)
        self._allowed = asyncio.Event()
        """Set while the database is known to belong to our key's account: nothing leaves before."""
        self._queues = Queues(rate_ceiling_per_s, clock.monotonic())
        self._scheduler = StripeScheduler(
            self._queues,
            estimate,
            clock,
            wake_later=self._wake_later,
            send_end=self._send_end,
            want_check=self._want_check,
            away_s=self._telemetry.away_s,
        )
        self._account_turn = asyncio.Lock()
        """Held by the queue that waits for the account's rate limiter. It is fair: each queue keeps its share."""
        self._in_flight: dict[str, float] = {}
        """Since when, in monotonic seconds, by effect id: the first is the oldest."""
        self._ends: WorkQueue[EffectCompleted] = WorkQueue()
        """Messages that the ledger has yet to receive; never more than it has released effects."""
        self._inherited = 0

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        # The ledger releases a former instance's effects again, at new positions: their old positions count as passed.
        # Effects still in the mailbox have yet to pass; `receive` corrects the count for those that are no confirm.
        self._inherited = self.mailbox.depth
        self._estimate.created = self._estimate.confirmed = self._estimate.entered - self._inherited
        for queue in self._queues:
            self.spawn(self._serve(queue), name=f"{queue.kind} queue")
        self.spawn(self._report_ends(), name="ends")
        self.spawn(self._tick(), name="tick")
        self.spawn(self._checks.run(), name="check")

    async def drain(self) -> None:
        """Send nothing more and give waiting effects back; wait for calls in flight and for the ledger."""
        self._scheduler.close()
        self._checks.closed = True
        while self._in_flight or self._ends:
            await self.clock.sleep(DRAIN_LOOK_EVERY_S)

    async def teardown(self) -> None:
        await self._cards.close()

    def stuck_for_s(self) -> float:
        """A call that no timeout of the adapter ends is a hang too: its seconds past `CALL_STUCK_S` count (F32)."""
        oldest = next(iter(self._in_flight.values()), None)
        age_s = 0.0 if oldest is None else self.clock.monotonic() - oldest
        return max(super().stuck_for_s(), age_s - CALL_STUCK_S)

    # ------------------------------------------------------------------------------------------------------- messages

    async def receive(self, item: StripeMessage) -> None:
        if self._inherited:
            self._inherited -= 1
            if not isinstance(item, ConfirmIntent):
                self._estimate.created += 1
                self._estimate.confirmed += 1
        if isinstance(item, CancelEffect):
            self._scheduler.cancelled(item.effect_id)
        else:
            self._scheduler.released(item)

    def _wake_later(self, entry: Entry, sleep: int, delay_s: float) -> None:
        self.spawn(self._wake(entry, sleep, delay_s), name="later")

    async def _wake(self, entry: Entry, sleep: int, delay_s: float) -> None:
        await self.clock.sleep(delay_s)
        self._scheduler.woken(entry, sleep)

    # ---------------------------------------------------------------------------------------------------------- turns

    async def _serve(self, queue: Queue) -> None:
        """Give each entry of a queue its turn, when the rate limiters and Stripe's health allow."""
        while True:
            while not queue.may_go or self._scheduler.closed:
                queue.changed.clear()
                await queue.changed.wait()
            if not self._allowed.is_set():
                await self._allowed.wait()
                continue
            wait_s = self._wait_s(queue)
            if wait_s > 0:
                await self.clock.sleep(wait_s)
                continue
            if not self._account_turn.locked() and self._queues.account.wait_s(self.clock.monotonic()) <= 0:
                self._send_first(queue)
                continue
            async with self._account_turn:
                while (wait_s := self._queues.account.wait_s(self.clock.monotonic())) > 0:
                    await self.clock.sleep(wait_s)
                # As it stands after that wait.
                if queue.may_go and self._allowed.is_set() and self._wait_s(queue) == 0:
                    self._send_first(queue)

    def _wait_s(self, queue: Queue) -> float:
        now = self.clock.monotonic()
        probe_s = queue.last_taken_at + PROBE_EVERY_S - now if self._telemetry.only_probes(queue.kind) else 0.0
        return max(queue.limiter.wait_s(now), probe_s if probe_s > INSTANT_S else 0.0)

    def _send_first(self, queue: Queue) -> None:
        now = self.clock.monotonic()
        entry = self._queues.take(queue, now)
        self._scheduler.took(entry, now)
        self._in_flight[entry.effect.id] = now
        self.spawn(self._turn(queue, entry), name=f"{queue.kind} call")

    async def _turn(self, queue: Queue, entry: Entry) -> None:
        outcome: Outcome | None = None
        began = self.clock.monotonic()
        try:
            if self._scheduler.may_leave(entry):
                outcome = await self._call(entry)
        finally:
            queue.returned()
            del self._in_flight[entry.effect.id]
            entry.sent_at = None
        if outcome is None:
            self._scheduler.not_sent(entry)
            return
        call_s = self.clock.monotonic() - began
        entry.call_ms += call_s * 1_000
        self._telemetry.call_ended(queue.kind, entry, outcome, call_s * 1_000)
        was_silent = self._telemetry.silent
        self._telemetry.observe(outcome, entry.step.value, call_s, entry.effect.order_id)
        if self._telemetry.silent and not was_silent:
            self._checks.look()  # it may be about a few orders alone, and others wait
        if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.UNREACHABLE:
            self._checks.doubt()
        if isinstance(outcome, NotYet) and outcome.obstacle in REFUSALS and not (outcome.alarm or entry.alone):
            if outcome.obstacle is Obstacle.RATE_LIMITED:
                self._slow_down(queue, entry, began, outcome)
            else:
                self._want_check(entry)
        self._scheduler.call_ended(queue, entry, outcome)

    async def _call(self, entry: Entry) -> Outcome:
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

    def _slow_down(self, queue: Queue, entry: Entry, left_at: float, refusal: NotYet) -> None:
        """Stripe refused a request for its rate: the limiter whose limit it was falls."""
        kind, limiter = (ACCOUNT, self._queues.account) if refusal.account else (queue.kind, queue.limiter)
        retry_after_s = refusal.retry_after_s
        if retry_after_s is not None and not refusal.account and queue.refused_last in (None, entry):
            retry_after_s = min(retry_after_s, RETRY_AFTER_OF_ONE_S)
        queue.refused_last = entry
        if limiter.refused(self.clock.monotonic(), left_at, retry_after_s):
            self._telemetry.rate_fell(kind, limiter)
            self._scheduler.rates_changed()
        entry.refused_for_the_rate(limiter)

    # ---------------------------------------------------------------------------------------------------------- checks

    def _spawn_check(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.spawn(work, name=name)

    def _want_check(self, entry: Entry) -> None:
        self._checks.want(PERMISSION_OF[entry.step])

    def allow(self, allowed: bool) -> None:
        """The ledger has said whether the database belongs to our key's account."""
        self._scheduler.held = not allowed
        (self._allowed.set if allowed else self._allowed.clear)()

    def permission_checked(self, permission: Permission, answered: bool) -> None:
        """A check has shown whether Stripe refuses every call of a kind."""
        self._scheduler.checked(self._queues.of_kind(permission.value), answered=answered)

    # ----------------------------------------------------------------------------------------------------------- ends

    def _send_end(self, end: EffectCompleted) -> None:
        self._ends.add(end)

    async def _report_ends(self) -> None:
        """Send each end once the ledger's mailbox has room. Nothing else of the actor waits for that."""
        while True:
            await self._ledger.put(await self._ends.first())
            self._ends.done()

    # ----------------------------------------------------------------------------------------------------------- time

    async def _tick(self) -> None:
        """Give back effects that it is too late to send, so that their orders' clients can be answered."""
        while True:
            await self.clock.sleep(TICK_EVERY_S)
            self._scheduler.tick()
            self._telemetry.gauges(self._queues, self._queues.account, self.mailbox.depth)
