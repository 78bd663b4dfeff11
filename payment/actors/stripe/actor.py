"""The Stripe actor: every request to Stripe, each at its turn, and what came of it.

Its mailbox takes, from the ledger:

    ChargeCard, FindCharges, RefundCharge, FindRefund    each ended by exactly one EffectEnded to the ledger; what is
                                                         asked for again before it had its turn ends with it
    Withdraw                                             what was not sent yet must never be

It owns the lines and their paces, and the repetition of what certainly did nothing. It must never conclude anything
from silence: a charge whose fate is unclear goes back to the ledger, which counts its next send on paper. Look-ups and
refunds are safe to repeat and are repeated here for as long as it takes.

Who is where, and what becomes of it, stands on the desk (`payment.actors.stripe_desk`): here is what has to be waited
for, which is turns, calls, time and the ledger's mailbox.
"""

import asyncio
from collections import deque
from typing import assert_never

from payment.actors.actor import Actor
from payment.actors.forecast import Forecast
from payment.actors.letters import (
    EffectEnded,
    LedgerLetter,
    StripeLetter,
    Withdraw,
)
from payment.actors.mailbox import Mailbox
from payment.actors.pace import Pace
from payment.actors.stripe_desk import StripeDesk
from payment.actors.stripe_lines import Entry, Line
from payment.actors.stripe_outcomes import Outcome, message_of
from payment.actors.stripe_report import StripeReport
from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge, StripeEffect
from payment.ops.health import Health
from payment.ops.metrics import Metrics
from payment.ports.cards import CardProcessor, NotYet, Obstacle
from payment.ports.clock import Clock

CHARGES_UNDER_WAY_LIMIT = 200
"""Requests. 100 a second at 400 ms are 40; a Stripe that hangs must not hold more connections than this."""

LOOKUPS_UNDER_WAY_LIMIT = 50
REFUNDS_UNDER_WAY_LIMIT = 50
"""Requests. They have a share of their own, and nobody waits for them at a screen."""

PROBE_EVERY_S = 1.0
"""Between requests of one line while Stripe is away or refuses our key. Its return is noticed within so much."""

WATCH_EVERY_S = 1.0
"""Between looks at entries whose time has passed while they waited."""

CHECK_EVERY_S = 3.0
"""Between checks of Stripe while it is not known to be well and nothing else asks it anything."""

DRAIN_LOOK_EVERY_S = 0.05
"""Between looks whether what is on the wire has come back."""

CALL_STUCK_S = 60.0
"""A call is several requests at most (a refund: itself, three pages, the charge), each of which the adapter ends after
8 s: one that is older than this has lost its way."""


class StripeActor(Actor[StripeLetter]):
    """Sends what the ledger asks for, paced, and tells it how each ended."""

    def __init__(
        self,
        mailbox: Mailbox[StripeLetter],
        ledger: Mailbox[LedgerLetter],
        cards: CardProcessor,
        forecast: Forecast,
        rate_ceiling_per_s: float,
        health: Health,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        super().__init__("stripe", mailbox, clock)
        self._ledger = ledger
        self._cards = cards
        self._forecast = forecast
        self._report = StripeReport(health, metrics)
        now = clock.monotonic()
        self._charges = Line("charge", Pace(rate_ceiling_per_s, now), CHARGES_UNDER_WAY_LIMIT)
        lookups = Line("find", Pace(rate_ceiling_per_s, now), LOOKUPS_UNDER_WAY_LIMIT)
        refunds = Line("refund", Pace(rate_ceiling_per_s, now), REFUNDS_UNDER_WAY_LIMIT)
        self._lines = (self._charges, lookups, refunds)
        self._desk = StripeDesk(
            self._charges, lookups, refunds, forecast, clock, wake_later=self._wake_later, tell=self._tell
        )
        self._on_wire: dict[str, float] = {}
        """Since when, in monotonic seconds, by effect id: the first is the oldest."""
        self._checking_since: float | None = None
        self._ends: deque[EffectEnded] = deque()
        """What the ledger has yet to be told; never more than it has asked for."""
        self._some_ended = asyncio.Event()
        self._inherited = 0

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        # What a former instance had in hand is asked for again by the ledger: those places will never be passed. What
        # still lies in the mailbox will be; `receive` corrects the count for each of them that is not a charge.
        self._inherited = self.mailbox.depth
        self._forecast.passed = self._forecast.placed - self._inherited
        for line in self._lines:
            self.spawn(self._serve(line), name=f"{line.kind} line")
        self.spawn(self._tell_ledger(), name="ends")
        self.spawn(self._watch(), name="watch")
        self.spawn(self._check_while_unwell(), name="check")

    async def drain(self) -> None:
        """Send nothing more; hand back what waits; wait for what is on the wire, and until the ledger has all ends."""
        self._desk.close()
        while self._on_wire or self._ends:
            await self.clock.sleep(DRAIN_LOOK_EVERY_S)

    async def teardown(self) -> None:
        await self._cards.close()

    def stuck_for_s(self) -> float:
        """Not only `receive`: a call that no timeout of the adapter ends is no sign of life either (F32)."""
        oldest = next(iter(self._on_wire.values()), None)
        began = [since for since in (oldest, self._checking_since) if since is not None]
        age_s = self.clock.monotonic() - min(began) if began else 0.0
        return max(super().stuck_for_s(), age_s - CALL_STUCK_S)

    # -------------------------------------------------------------------------------------------------------- letters

    async def receive(self, item: StripeLetter) -> None:
        if self._inherited:
            self._inherited -= 1
            self._forecast.passed += not isinstance(item, ChargeCard)
        if isinstance(item, Withdraw):
            self._desk.withdrawn(item.effect_id)
        else:
            self._desk.asked(item)

    def _wake_later(self, entry: Entry, effect: StripeEffect, delay_s: float) -> None:
        self.spawn(self._wake(entry, effect, delay_s), name="later")

    async def _wake(self, entry: Entry, effect: StripeEffect, delay_s: float) -> None:
        await self.clock.sleep(delay_s)
        self._desk.woken(entry, effect)

    # ---------------------------------------------------------------------------------------------------------- turns

    async def _serve(self, line: Line) -> None:
        """Give each entry of a line its turn, when pace and Stripe's health allow."""
        while True:
            while not line.may_go or self._desk.closed:
                line.woken.clear()
                await line.woken.wait()
            now = self.clock.monotonic()
            wait_s = self._wait_s(line, now)
            if wait_s > 0:
                await self.clock.sleep(wait_s)
                continue
            entry = line.take(now)
            self._desk.took(entry, now)
            self._on_wire[entry.effect.id] = now
            self.spawn(self._turn(line, entry), name=f"{line.kind} call")

    def _wait_s(self, line: Line, now: float) -> float:
        wait_s = line.pace.wait_s(now)
        return max(wait_s, line.last_taken_at + PROBE_EVERY_S - now) if self._report.trouble else wait_s

    async def _turn(self, line: Line, entry: Entry) -> None:
        outcome: Outcome | None = None
        began = self.clock.monotonic()
        try:
            if self._desk.may_leave(entry):
                outcome = await self._call(entry.effect)
        finally:
            line.left()
            del self._on_wire[entry.effect.id]
            entry.sent_at = None
        if outcome is None:
            self._desk.give_back(entry)
        else:
            call_ms = (self.clock.monotonic() - began) * 1_000
            self._report.called(line.kind, entry, outcome, call_ms)
            self._report.hear(outcome, line.kind, call_ms / 1_000)
            if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.RATE_LIMITED:
                self._slow_down(line, began, outcome.retry_after_s)
            self._ended(entry, outcome, call_ms)

    async def _call(self, effect: StripeEffect) -> Outcome:
        match effect:
            case ChargeCard():
                return await self._cards.charge(effect)
            case FindCharges():
                return await self._cards.find(effect.order_id, effect.payment_id)
            case RefundCharge():
                return await self._cards.refund(effect)
            case FindRefund():
                return await self._cards.find_refund(effect.charge_id)
            case _:
                assert_never(effect)

    def _slow_down(self, line: Line, left_at: float, retry_after_s: float | None) -> None:
        if line.pace.refused(self.clock.monotonic(), left_at, retry_after_s):
            self._report.pace_fell(line)
            self._forecast.per_s = self._charges.pace.per_s

    # ----------------------------------------------------------------------------------------------------------- ends

    def _ended(self, entry: Entry, outcome: Outcome, call_ms: float) -> None:
        if isinstance(outcome, NotYet):
            self._desk.again(entry, outcome)
        elif (message := message_of(entry.effect, outcome, maybe_sent=entry.maybe_sent)) is not None:
            self._desk.end(entry, message, call_ms)
        else:
            self._desk.again(entry, None)

    def _tell(self, end: EffectEnded) -> None:
        self._ends.append(end)
        self._some_ended.set()

    async def _tell_ledger(self) -> None:
        """Tell of each end once the ledger has room. Nothing else of the actor waits for that."""
        while True:
            await self._some_ended.wait()
            self._some_ended.clear()
            while self._ends:
                await self._ledger.put(self._ends[0])
                self._ends.popleft()

    # ----------------------------------------------------------------------------------------------------------- time

    async def _check_while_unwell(self) -> None:
        """At start, and while Stripe is not known to be well: ask it something, so that its return is noticed."""
        while True:
            if not self._report.well and not self._desk.closed:
                self._checking_since = self.clock.monotonic()
                outcome = await self._cards.check()
                self._checking_since = None
                self._report.hear(outcome)
            await self.clock.sleep(CHECK_EVERY_S)

    async def _watch(self) -> None:
        """Hand back what waited until it is too late to send: its order may be told so now."""
        while True:
            await self.clock.sleep(WATCH_EVERY_S)
            self._desk.give_back_late()
            self._report.gauges(self._lines, self.mailbox.depth)
