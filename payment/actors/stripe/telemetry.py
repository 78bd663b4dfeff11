"""The Stripe actor's logs, metrics and alarms, and Stripe's health as outcomes show it, for `/readyz` and the actor.

It reads outcomes and never decides what an effect's next step is. Change together: `payment.actors.stripe.key_checks`,
whose checks find out what is kept here.
"""

import logging
from collections.abc import Iterable

from msgspec import Struct

from payment.actors.messages import AccountCheck
from payment.actors.stripe.outcomes import REFUSALS, CallStep, Outcome
from payment.actors.stripe.rate_limiter import RateLimiter
from payment.actors.stripe.scheduler import AwayTime, Entry, Queue
from payment.core.effects import ConfirmIntent, RefundCharge, StripeEffect
from payment.core.messages import RefusalReason
from payment.ops.health import SILENCE_S, Dependency, Health
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.cards import NotYet, Obstacle, Refused, Unclear
from payment.ports.clock import Clock

ACCOUNT = "account"
"""The label of the account's rate limiter, beside the kinds of endpoints."""

CHECK = "check"
"""The kind of the call that only asks whether Stripe is there."""

SILENT_FROM = 5
"""Calls in a row without an answer, after which Stripe counts as unreachable: one request a second of each kind then
finds out when it is back."""

UNCLEAR_REMEMBERED_LIMIT = 1_000
"""Attempts that were logged as unclear, the newest: an older one may be logged once more."""

STEPPED_ASIDE_REMEMBERED_LIMIT = 1_000
"""Orders that were logged as refused alone, the newest."""

STEPPED_ASIDE_AGAIN_S = 600.0
"""Before an order is logged again: it is retried once a minute, until the order may be paid no longer."""

RATE_REFUSALS_LOGGED_FROM = 2
"""Refusals alone, for the rate, from which on an order is logged: a single one may be chance (F14)."""

SILENT_KIND_REMEMBERED_S = 60.0
"""After the last lost answer of a kind of call, in seconds: longer than the longest wait before a send is repeated. A
kind that is called no more is not known to be silent."""

SILENT_REMEMBERED_LIMIT = 10_000
"""Orders whose last call had no answer, the newest: more than may wait for Stripe at once."""

CHARGE_KINDS = ("create", "confirm")
"""Where our key may not make these calls, no charge can be made."""


class _Silence(Struct):
    """A kind of call without an answer. Monotonic seconds: when the first such call left, and when the last ended."""

    since: float
    last: float
    text: str
    order_id: str | None
    of_several: bool = False
    """Several orders had none: the reason is not one order's own."""


class StripeTelemetry:
    """The Stripe actor's logs and metrics, and the health of Stripe as its outcomes show it.

    Stripe is well where it answers, the database belongs to the key's account, and the key may make every kind of call
    that we need. Refusals and missing answers are kept by kind of call: another kind's success proves nothing.
    """

    def __init__(
        self, health: Health, metrics: Metrics, clock: Clock, unclear_remembered: int = UNCLEAR_REMEMBERED_LIMIT
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._unclear_remembered = unclear_remembered
        self._unanswered = 0
        self._refused: dict[str, str] = {}
        """By kind of call (or `CHECK`, for the key itself): Stripe's message."""
        self._silent: dict[str, _Silence] = {}
        """By kind of call: those whose last call had no answer."""
        self._account = AccountCheck(None)
        self._shown: str | None = None
        self._degraded = False
        """A permission is missing that no charge needs."""
        self._unclear: dict[str, None] = {}
        self._silent_orders: dict[str, float] = {}
        """By order id: when a call of it had no answer last, in monotonic seconds."""
        self._aside: dict[str, float] = {}
        self.away = AwayTime(clock.monotonic())
        self.answered_at = clock.monotonic()
        """When Stripe answered last, in monotonic seconds."""

    @property
    def refused_kinds(self) -> list[str]:
        """The kinds of calls that our key may not make, as a check has shown."""
        return [kind for kind in self._refused if kind != CHECK]

    @property
    def in_doubt(self) -> bool:
        """Whether the last call had no answer."""
        return self._unanswered > 0

    @property
    def well(self) -> bool:
        """Whether charges can be made: Stripe has answered, and has not been silent for long since."""
        return self._health.is_up(Dependency.STRIPE) or (self._degraded and self._unanswered == 0)

    def suspends(self, kind: str) -> bool:
        """Whether requests of this kind only find out if Stripe is back, or takes our key again: one a second."""
        return self._unanswered >= SILENT_FROM or CHECK in self._refused or kind in self._refused

    def observe(self, outcome: Outcome | None, kind: str, call_s: float = 0.0, order_id: str | None = None) -> bool:
        """Note what an outcome says of Stripe itself. None: a check found that Stripe is there and takes our key.

        `call_s` is how long the call took, in seconds: silence began with it. A call that is refused for our key says
        nothing yet, for it may be refused alone: the check that it leads to does. Nor does one that had no answer, of
        an order (`order_id`) that had none before, where Stripe has answered others since.

        Returns whether Stripe counts as unreachable from this outcome on.
        """
        if isinstance(outcome, NotYet | Unclear) and _has_no_answer(outcome):
            self._note_silence(kind, outcome.text, call_s, order_id)
            if isinstance(outcome, Unclear) and order_id is not None and self._silent_alone(order_id):
                return False
            self._note_away(call_s)
            self._unanswered += 1
            self._health.mark_silent(Dependency.STRIPE, outcome.text, call_s)
            return self._unanswered == SILENT_FROM
        self._silent.pop(kind, None)
        self._unanswered = 0
        if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.KEY_REFUSED and not outcome.alarm:
            if kind == CHECK:
                self._refused[CHECK] = outcome.text
                self._show()
            elif self.well:
                self._show()
            else:
                self.answered_at = self._clock.monotonic()
            return False
        if not isinstance(outcome, NotYet):  # Stripe dealt with the call: it takes our key
            self._refused.pop(CHECK, None)
            self._refused.pop(kind, None)
        self._show()
        return False

    def _silent_alone(self, order_id: str) -> bool:
        """Note a call of this order without an answer. Returns whether Stripe has answered since the one before."""
        before = self._silent_orders.pop(order_id, None)
        if len(self._silent_orders) >= SILENT_REMEMBERED_LIMIT:
            del self._silent_orders[next(iter(self._silent_orders))]
        self._silent_orders[order_id] = self._clock.monotonic()
        return before is not None and before < self.answered_at

    def permission(self, kind: str, outcome: NotYet | Unclear | None) -> None:
        """A check has shown whether our key may make calls of this kind. None: it may."""
        if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.KEY_REFUSED:
            self._unanswered = 0
            if kind not in self._refused and kind not in CHARGE_KINDS:
                self._metrics.alarms(Event.PERMISSION_MISSING).inc()
                get_logger().error(Event.PERMISSION_MISSING, alarm=True, kind=kind, reason=outcome.text)
            self._refused[kind] = outcome.text
            self._show()
        else:
            self.observe(outcome, kind)

    def account(self, verdict: AccountCheck) -> None:
        """The ledger has answered whether the database belongs to the key's account; None where it can't know now."""
        if verdict.same is None and self._account.same is not None:
            return  # what was known holds
        changed = verdict != self._account
        self._account = verdict
        if verdict.same is False and changed:
            self._metrics.alarms(Event.ACCOUNT_MISMATCH).inc()
            get_logger().error(Event.ACCOUNT_MISMATCH, alarm=True, reason=verdict.text)
        self._show()

    def _show(self) -> None:
        """Stripe has answered: show in its health whether it is well, and if not, why."""
        self.answered_at = self._clock.monotonic()
        if self._account.same is None and not self._account.text:
            return  # not known yet
        why, blocks_charges = self._why_unwell()
        if blocks_charges:
            self._note_away()
        elif self.away.since is not None:
            self.away.end(self._clock.monotonic())
        if why is None:
            self._health.mark_up(Dependency.STRIPE)
        else:
            self._health.answered(Dependency.STRIPE)
            changed = why != self._shown
            self._health.mark_down(Dependency.STRIPE, why, blocks_charges=blocks_charges, again=changed)
        self._shown, self._degraded = why, why is not None and not blocks_charges

    def _why_unwell(self) -> tuple[str | None, bool]:
        """Why Stripe is not well, and whether that keeps charges from being made."""
        if not self._account.same:
            return self._account.text, True
        if CHECK in self._refused:
            return self._refused[CHECK], True
        for kind in CHARGE_KINDS:
            if kind in self._refused:
                return f"STRIPE_KEY may not {kind} a PaymentIntent: {self._refused[kind]}", True
        for kind, text in self._refused.items():
            return f"STRIPE_KEY may not {kind}: {text}", False
        lately = self._clock.monotonic() - SILENT_KIND_REMEMBERED_S
        for kind, silence in self._silent.items():
            if silence.of_several and silence.last - silence.since >= SILENCE_S and silence.last >= lately:
                return f"Stripe answers other calls, and no {kind}: {silence.text}", False
        return None, False

    def _note_silence(self, kind: str, text: str, call_s: float, order_id: str | None) -> None:
        now = self._clock.monotonic()
        silence = self._silent.get(kind)
        if silence is None:
            self._silent[kind] = _Silence(now - call_s, now, text, order_id)
        else:
            silence.last, silence.text = now, text
            silence.of_several |= order_id != silence.order_id

    def _note_away(self, for_s: float = 0.0) -> None:
        if self.away.since is None:
            self.away.since = self._clock.monotonic() - for_s

    def call_ended(self, kind: str, entry: Entry, outcome: Outcome, call_ms: float) -> None:
        """One call of an entry's step has ended, after `call_ms` milliseconds."""
        ending = outcome.obstacle.value if isinstance(outcome, NotYet) else type(outcome).__name__.lower()
        self._metrics.stripe_calls(kind, ending).inc()
        self._metrics.stripe_call_seconds(kind).observe(call_ms / 1_000)
        unsettled = outcome.text if isinstance(outcome, NotYet | Unclear) else None
        self._health.note_order(Dependency.STRIPE, entry.order_id, unsettled)
        charging = entry.step is CallStep.CREATE or entry.step is CallStep.CONFIRM
        if charging and isinstance(outcome, Unclear) and isinstance(entry.effect, ConfirmIntent) and not outcome.stored:
            self._log_unclear(entry.effect, outcome.text)
        event = alarm_of(entry.step, outcome)
        if event is not None and not entry.alarmed:
            entry.alarmed = True
            self._alarm(event, entry.effect, outcome)
        if entry.alone and isinstance(outcome, NotYet) and outcome.obstacle in REFUSALS:
            self._log_aside(kind, entry, outcome)

    def rate_fell(self, kind: str, limiter: RateLimiter) -> None:
        """Stripe refused requests for their rate."""
        get_logger().debug(Event.PACE_CHANGED, kind=kind, per_s=round(limiter.per_s, 1))

    def gauges(self, queues: Iterable[Queue], account: RateLimiter, mailbox_depth: int) -> None:
        """Set the gauges: how much waits, and the rates."""
        for queue in queues:
            self._metrics.stripe_pace_per_s(queue.kind).set(queue.limiter.per_s)
            self._metrics.stripe_waiting(queue.kind).set(len(queue))
        self._metrics.stripe_pace_per_s(ACCOUNT).set(account.per_s)
        self._metrics.actor_mailbox("stripe").set(mailbox_depth)

    def _log_unclear(self, effect: StripeEffect, reason: str) -> None:
        """Log it once for each attempt; at debug while Stripe is known to be away, which is logged by itself."""
        first = self.well and effect.id not in self._unclear
        if first:
            self._unclear[effect.id] = None
            if len(self._unclear) > self._unclear_remembered:
                del self._unclear[next(iter(self._unclear))]
        level = logging.INFO if first else logging.DEBUG
        get_logger().log(level, Event.CHARGE_UNCLEAR, reason=reason, **_about(effect))

    def _log_aside(self, kind: str, entry: Entry, outcome: NotYet) -> None:
        """Stripe refuses this order's call and answers others': log it once, and seldom again while that lasts."""
        order_id, now = entry.order_id, self._clock.monotonic()
        if outcome.obstacle is Obstacle.RATE_LIMITED and entry.refusals < RATE_REFUSALS_LOGGED_FROM:
            return
        if now - self._aside.get(order_id, float("-inf")) < STEPPED_ASIDE_AGAIN_S:
            return
        self._aside.pop(order_id, None)
        self._aside[order_id] = now
        if len(self._aside) > STEPPED_ASIDE_REMEMBERED_LIMIT:
            del self._aside[next(iter(self._aside))]
        self._metrics.alarms(Event.REQUEST_ALARM).inc()
        reason = (
            f"Stripe refuses this order's {kind} alone, and answers others: it is tried again slowly. {outcome.text}"
        )
        get_logger().error(Event.REQUEST_ALARM, alarm=True, kind=kind, reason=reason, **_about(entry.effect))

    def _alarm(self, event: Event, effect: StripeEffect, outcome: Outcome) -> None:
        self._metrics.alarms(event).inc()
        get_logger().error(event, alarm=True, reason=getattr(outcome, "text", ""), **_about(effect))


def alarm_of(step: CallStep, outcome: Outcome) -> Event | None:
    """Returns the alarm that an outcome gives, if any: it can't happen by our rules, or an operator has to act."""
    match outcome:
        case Refused(reason=RefusalReason.REQUEST):
            return Event.REQUEST_ALARM
        case NotYet(alarm=True):
            return Event.ACCOUNT_ALARM
        case NotYet(obstacle=Obstacle.KEY_REFUSED) if step not in (CallStep.CREATE, CallStep.CONFIRM):
            return Event.REQUEST_ALARM
        case Unclear(alarm=True):
            has_key = step in (CallStep.CREATE, CallStep.CONFIRM, CallStep.REFUND)
            return Event.IDEMPOTENCY_ALARM if has_key else Event.REQUEST_ALARM
        case _:
            return None


def _about(effect: StripeEffect) -> dict[str, str | int]:
    """Returns the log fields that name what an effect is about. They have nothing of its instrument."""
    about: dict[str, str | int] = {"order_id": effect.order_id}
    if isinstance(effect, ConfirmIntent):
        about |= {"payment_id": effect.payment_id, "attempt": effect.attempt, "send": effect.send}
    elif isinstance(effect, RefundCharge):
        about |= {"payment_id": effect.payment_id, "attempt": effect.attempt}
    return about


def _has_no_answer(outcome: NotYet | Unclear) -> bool:
    """Whether Stripe left a call without an answer, or with one that says nothing (a 5xx that it has not stored)."""
    if outcome.alarm:
        return False
    return not outcome.stored if isinstance(outcome, Unclear) else outcome.obstacle is Obstacle.UNREACHABLE
