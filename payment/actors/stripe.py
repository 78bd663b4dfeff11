"""The Stripe actor: every request to Stripe, each at its turn, and what came of it.

Its mailbox takes, from the ledger:

    ChargeCard, FindCharges, RefundCharge, FindRefund    each ended by exactly one EffectEnded to the ledger
    Withdraw                                             what was not sent yet must never be

It owns the lines and their paces, and the repetition of what certainly did nothing. It must never conclude anything
from silence: a charge whose fate is unclear goes back to the ledger, which counts its next send on paper. Look-ups and
refunds are safe to repeat and are repeated here for as long as it takes.

Change together: the outcomes in `payment.ports.cards`, and the three `_…_ended` here.
"""

from datetime import timedelta
from typing import assert_never

from payment.actors.actor import Actor
from payment.actors.forecast import Forecast
from payment.actors.letters import EffectEnded, LedgerLetter, StripeLetter, Withdraw
from payment.actors.mailbox import Mailbox
from payment.actors.pace import Pace
from payment.actors.stripe_lines import Entry, Line
from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge, StripeEffect
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargeRefused,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    EffectReturned,
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.core.schedule import CLOCK_TOLERANCE, KEY_LIFE
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.vocabulary import Event
from payment.ports.cards import (
    Blocked,
    CardProcessor,
    Charged,
    ChargeOutcome,
    Declined,
    FindOutcome,
    FindRefundOutcome,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    RefundOutcome,
    Refused,
    Unclear,
)
from payment.ports.clock import Clock

CHARGES_UNDER_WAY_LIMIT = 200
"""Requests. 100 a second at 400 ms are 40; a Stripe that hangs must not hold more connections than this."""

LOOKUPS_UNDER_WAY_LIMIT = 50
REFUNDS_UNDER_WAY_LIMIT = 50
"""Requests. They have a share of their own, and nobody waits for them at a screen."""

TROUBLE_FROM = 5
"""Calls in a row without an answer, after which Stripe is taken to be away: one request a second finds out."""

PROBE_EVERY_S = 1.0
"""Between requests of one line while Stripe is away or refuses our key. Its return is noticed within so much."""

WATCH_EVERY_S = 1.0
"""Between looks at entries whose time has passed while they waited."""

CHECK_EVERY_S = 3.0
"""Between checks of Stripe while it is not known to be well and nothing else asks it anything."""

AGAIN_AFTER_S = 0.25
LONGEST_AGAIN_AFTER_S = 5.0
"""Before the repetition of a request that did nothing or is safe to repeat: it doubles from the one to the other."""

DRAIN_LOOK_EVERY_S = 0.05
"""Between looks whether what is on the wire has come back."""

Outcome = ChargeOutcome | FindOutcome | RefundOutcome | FindRefundOutcome


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
        self._health = health
        self._metrics = metrics
        now = clock.monotonic()
        self._charges = Line("charge", Pace(rate_ceiling_per_s, now), CHARGES_UNDER_WAY_LIMIT)
        self._lookups = Line("find", Pace(rate_ceiling_per_s, now), LOOKUPS_UNDER_WAY_LIMIT)
        self._refunds = Line("refund", Pace(rate_ceiling_per_s, now), REFUNDS_UNDER_WAY_LIMIT)
        self._entries: dict[str, Entry] = {}
        self._places = 0
        self._unanswered = 0
        self._draining = False

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        # What a former instance had in hand is asked for again by the ledger: those places will never be passed.
        self._forecast.passed = self._forecast.placed - self.mailbox.depth
        for line in (self._charges, self._lookups, self._refunds):
            self.spawn(self._serve(line), name=f"{line.kind} line")
        self.spawn(self._watch(), name="watch")
        self.spawn(self._check_while_unwell(), name="check")

    async def drain(self) -> None:
        """Send nothing more; hand back what waits; wait for what is on the wire."""
        self._draining = True
        for entry in list(self._entries.values()):
            if not entry.on_wire:
                self._line(entry.effect).remove(entry)
                await self._end(entry, self._undone(entry))
        while any(entry.on_wire for entry in self._entries.values()):
            await self.clock.sleep(DRAIN_LOOK_EVERY_S)

    async def teardown(self) -> None:
        await self._cards.close()

    # -------------------------------------------------------------------------------------------------------- letters

    async def receive(self, item: StripeLetter) -> None:
        if isinstance(item, Withdraw):
            await self._withdraw(item.effect_id)
        else:
            await self._asked(item)

    async def _asked(self, effect: StripeEffect) -> None:
        """One entry for each thing that is owed: if it is asked for again, the newer word counts."""
        entry = self._entries.get(effect.id)
        if entry is None:
            self._places += 1
            entry = Entry(effect, self._places, self.clock.monotonic())
            self._entries[effect.id] = entry
            if self._draining:
                await self._end(entry, self._undone(entry))
            else:
                self._enter(entry, self._delay_s(effect))
        elif entry.on_wire:
            entry.newer = effect
        else:
            entry.effect = effect
            entry.received_at = self.clock.monotonic()
            self._forecast.passed += isinstance(effect, ChargeCard)

    async def _withdraw(self, effect_id: str) -> None:
        entry = self._entries.get(effect_id)
        if entry is None:
            return  # it has just ended, and the ledger is about to hear so
        entry.withdrawn = True
        if self._line(entry.effect).remove(entry):
            await self._end(entry, self._undone(entry))

    def _delay_s(self, effect: StripeEffect) -> float:
        if not isinstance(effect, ChargeCard):
            return 0.0
        return min(LONGEST_AGAIN_AFTER_S, (effect.not_before - self.clock.now()).total_seconds())

    def _enter(self, entry: Entry, delay_s: float) -> None:
        """Let an entry into its line, after a while if it has to wait first."""
        if delay_s > 0:
            self.spawn(self._enter_later(entry, delay_s), name="later")
        else:
            self._line(entry.effect).add(entry)

    async def _enter_later(self, entry: Entry, delay_s: float) -> None:
        await self.clock.sleep(delay_s)
        if self._entries.get(entry.effect.id) is not entry:
            return  # handed back meanwhile
        if entry.withdrawn:
            await self._end(entry, self._undone(entry))
        else:
            self._line(entry.effect).add(entry)

    def _line(self, effect: StripeEffect) -> Line:
        match effect:
            case ChargeCard():
                return self._charges
            case FindCharges():
                return self._lookups
            case RefundCharge() | FindRefund():
                return self._refunds
            case _:
                assert_never(effect)

    # ---------------------------------------------------------------------------------------------------------- turns

    async def _serve(self, line: Line) -> None:
        """Give each entry of a line its turn, when pace and Stripe's health allow."""
        while True:
            while not line.may_go or self._draining:
                line.woken.clear()
                await line.woken.wait()
            now = self.clock.monotonic()
            wait_s = self._wait_s(line, now)
            if wait_s > 0:
                await self.clock.sleep(wait_s)
                continue
            entry = line.take(now)
            entry.on_wire = True
            self._pass(entry)
            self.spawn(self._turn(line, entry), name=f"{line.kind} call")

    def _wait_s(self, line: Line, now: float) -> float:
        if self._unanswered < TROUBLE_FROM:
            return line.pace.wait_s(now)
        return max(line.pace.wait_s(now), line.last_taken_at + PROBE_EVERY_S - now)

    def _pass(self, entry: Entry) -> None:
        """The forecast counts each charge once."""
        if isinstance(entry.effect, ChargeCard) and not entry.served:
            self._forecast.passed += 1
            self._forecast.per_s = self._charges.pace.per_s
        entry.served = True

    async def _turn(self, line: Line, entry: Entry) -> None:
        try:
            if self._too_late(entry):
                entry.on_wire = False
                await self._end(entry, self._undone(entry))
                return
            started = self.clock.monotonic()
            outcome = await self._call(entry.effect)
            call_ms = (self.clock.monotonic() - started) * 1_000
        finally:
            line.left()
        entry.on_wire = False
        self._count(line, outcome, call_ms)
        self._hear(line, outcome)
        await self._ended(line, entry, outcome, call_ms)

    def _too_late(self, entry: Entry) -> bool:
        """Checked immediately before each send: a process may have slept with this in its hand, or its clock jumped."""
        effect = entry.effect
        if not isinstance(effect, ChargeCard):
            return False
        now = self.clock.now()
        age = timedelta(seconds=self.clock.monotonic() - entry.received_at)
        return now >= effect.not_after or now < effect.issued_at - CLOCK_TOLERANCE or age >= KEY_LIFE

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

    # ----------------------------------------------------------------------------------------------------------- ends

    async def _ended(self, line: Line, entry: Entry, outcome: Outcome, call_ms: float) -> None:
        if isinstance(outcome, NotYet):
            await self._again(line, entry, outcome)
            return
        message = self._message(entry.effect, outcome)
        if message is None:
            entry.tries += 1
            self._enter_again(entry, _backoff_s(entry.tries))
        else:
            await self._end(entry, message, call_ms)

    async def _again(self, line: Line, entry: Entry, outcome: NotYet) -> None:
        """The call did nothing: it is made again, unless nobody wants it any more."""
        entry.tries += 1
        if outcome.obstacle is Obstacle.KEY_IN_USE:
            entry.maybe_sent = True
        if entry.withdrawn or self._draining:
            await self._end(entry, self._undone(entry))
        elif outcome.obstacle in (Obstacle.RATE_LIMITED, Obstacle.KEY_REFUSED, Obstacle.UNREACHABLE):
            line.add(entry)  # first in its line again; the line itself waits
        else:
            self._enter_again(entry, _backoff_s(entry.tries))

    def _enter_again(self, entry: Entry, delay_s: float) -> None:
        self.spawn(self._enter_later(entry, delay_s), name="again")

    def _message(self, effect: StripeEffect, outcome: Outcome) -> Message | None:
        """What the ledger is told. None: nothing yet, it is safe to repeat and will be."""
        match effect, outcome:
            case ChargeCard(), _:
                return self._charge_ended(effect, outcome)
            case FindCharges(), Found(charges):
                return ChargesFound(effect.order_id, effect.attempt, effect.evidence, charges)
            case ((RefundCharge() | FindRefund()), _):
                return self._refund_ended(effect, outcome)
            case _:
                return None

    def _charge_ended(self, effect: ChargeCard, outcome: Outcome) -> Message:
        order_id, attempt = effect.order_id, effect.attempt
        match outcome:
            case Charged():
                return CardCharged(order_id, attempt, outcome.charge_id)
            case Declined():
                return CardDeclined(order_id, attempt, outcome.code, outcome.decline_code, outcome.text)
            case Refused():
                if outcome.reason is RefusalReason.REQUEST:
                    self._alarm(Event.REQUEST_ALARM, effect, outcome.text)
                return ChargeRefused(order_id, attempt, effect.send, outcome.reason, outcome.text)
            case Unclear(stored=True):
                return ChargeErrorStored(order_id, attempt)
            case Unclear():
                if outcome.alarm:
                    self._alarm(Event.IDEMPOTENCY_ALARM, effect, outcome.text)
                self._say_unclear(effect, outcome)
                return ChargeUnclear(order_id, attempt, effect.send)
            case _:
                raise AssertionError(f"a charge can't end as {type(outcome).__name__}")

    def _refund_ended(self, effect: RefundCharge | FindRefund, outcome: Outcome) -> Message | None:
        order_id, charge_id = effect.order_id, effect.charge_id
        match outcome:
            case Refunded():
                return ChargeRefunded(order_id, charge_id, outcome.refund_id)
            case Blocked():
                return RefundBlocked(order_id, charge_id, outcome.refund_id, outcome.text)
            case NotRefunded():
                return RefundNotFound(order_id, charge_id, effect.key)
            case Unclear(stored=True) if isinstance(effect, RefundCharge):
                return RefundErrorStored(order_id, charge_id, effect.key)
            case _:
                return None

    def _undone(self, entry: Entry) -> Message:
        """What is said of an entry that is given back: of a charge, whether this send was ever made."""
        effect = entry.effect
        if not isinstance(effect, ChargeCard):
            return EffectReturned(effect.order_id, effect.id)
        if entry.maybe_sent:
            return ChargeUnclear(effect.order_id, effect.attempt, effect.send)
        return ChargeWithheld(effect.order_id, effect.attempt, effect.send)

    async def _end(self, entry: Entry, message: Message, call_ms: float = 0.0) -> None:
        """Out of our hands. What was asked for meanwhile under the same name begins now."""
        del self._entries[entry.effect.id]
        self._pass(entry)
        await self._ledger.put(EffectEnded(entry.effect.id, message, call_ms))
        if entry.newer is not None:
            await self._asked(entry.newer)

    # --------------------------------------------------------------------------------------------------------- health

    def _hear(self, line: Line | None, outcome: Outcome | None) -> None:
        """What an outcome says of Stripe itself."""
        match outcome:
            case NotYet(obstacle=Obstacle.KEY_REFUSED):
                self._unanswered = max(self._unanswered, TROUBLE_FROM)
                self._health.mark_down(Dependency.STRIPE, outcome.text, blocks_charges=True)
            case NotYet(obstacle=Obstacle.UNREACHABLE) | Unclear():
                self._unanswered += 1
                self._health.mark_silent(Dependency.STRIPE, outcome.text)
            case _:
                self._unanswered = 0
                self._health.mark_up(Dependency.STRIPE)
        if line is not None and isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.RATE_LIMITED:
            self._slow_down(line, outcome)

    def _slow_down(self, line: Line, outcome: NotYet) -> None:
        if line.pace.refused(self.clock.monotonic(), outcome.retry_after_s):
            get_logger().debug(Event.PACE_CHANGED, kind=line.kind, per_s=round(line.pace.per_s, 1))

    async def _check_while_unwell(self) -> None:
        """At start, and while Stripe is not known to be well: ask it something, so that its return is noticed."""
        while True:
            if not self._health.is_up(Dependency.STRIPE) and not self._draining:
                self._hear(None, await self._cards.check())
            await self.clock.sleep(CHECK_EVERY_S)

    async def _watch(self) -> None:
        """Hand back what waited until it is too late to send: its order may be told so now."""
        while True:
            await self.clock.sleep(WATCH_EVERY_S)
            for entry in list(self._entries.values()):
                if not entry.on_wire and self._too_late(entry) and self._line(entry.effect).remove(entry):
                    await self._end(entry, self._undone(entry))
            for line in (self._charges, self._lookups, self._refunds):
                self._metrics.stripe_pace_per_s(line.kind).set(line.pace.per_s)
                self._metrics.stripe_waiting(line.kind).set(len(line))
            self._metrics.actor_mailbox(self.name).set(self.mailbox.depth)

    def _count(self, line: Line, outcome: Outcome, call_ms: float) -> None:
        ending = outcome.obstacle.value if isinstance(outcome, NotYet) else type(outcome).__name__.lower()
        self._metrics.stripe_calls(line.kind, ending).inc()
        self._metrics.stripe_call_seconds(line.kind).observe(call_ms / 1_000)

    def _say_unclear(self, effect: ChargeCard, outcome: Unclear) -> None:
        get_logger().info(
            Event.CHARGE_UNCLEAR,
            order_id=effect.order_id,
            payment_id=effect.payment_id,
            attempt=effect.attempt,
            send=effect.send,
            reason=outcome.text,
        )

    def _alarm(self, event: Event, effect: ChargeCard, text: str) -> None:
        self._metrics.alarms(event).inc()
        get_logger().error(
            event,
            alarm=True,
            order_id=effect.order_id,
            payment_id=effect.payment_id,
            attempt=effect.attempt,
            reason=text,
        )


def _backoff_s(tries: int) -> float:
    doublings = min(tries - 1, 10)
    return min(LONGEST_AGAIN_AFTER_S, AGAIN_AFTER_S * 2.0**doublings)
