"""The Stripe actor's logs, metrics and alarms, and Stripe's health as outcomes show it, for `/readyz` and the actor.

It reads outcomes and never decides what becomes of an effect. `trouble` and `well` are all that the actor asks it.
"""

import logging
from collections.abc import Iterable

from payment.actors.stripe.outcomes import Outcome, Step, alarm_of
from payment.actors.stripe.queues import Entry, Queue
from payment.actors.stripe.rate_limiter import RateLimiter
from payment.core.effects import ConfirmIntent, RefundCharge, StripeEffect
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.vocabulary import Event
from payment.ports.cards import NotYet, Obstacle, Unclear

ACCOUNT = "account"
"""The label of the account's rate limiter, beside the kinds of endpoints."""

CHECK = "check"
"""The kind of the call that only asks whether Stripe is there."""

TROUBLE_FROM = 5
"""Calls in a row without an answer, after which Stripe counts as unreachable: one request a second of each kind then
finds out when it is back."""

UNCLEAR_REMEMBERED_LIMIT = 1_000
"""Attempts that were logged as unclear, the newest: an older one may be logged once more."""

CHARGE_KINDS = ("create", "confirm", CHECK)
"""Where these are refused for our key, no charge can be made."""


class StripeTelemetry:
    """The Stripe actor's logs and metrics, and the health of Stripe as its outcomes show it."""

    def __init__(self, health: Health, metrics: Metrics, unclear_remembered: int = UNCLEAR_REMEMBERED_LIMIT) -> None:
        self._health = health
        self._metrics = metrics
        self._unclear_remembered = unclear_remembered
        self._unanswered = 0
        self._unclear: dict[str, None] = {}

    @property
    def trouble(self) -> bool:
        """Whether Stripe is unreachable, or refuses our key: requests only probe."""
        return self._unanswered >= TROUBLE_FROM

    @property
    def well(self) -> bool:
        """Whether Stripe counts as up: it has answered, and has not been silent for long since."""
        return self._health.is_up(Dependency.STRIPE)

    def observe(self, outcome: Outcome | None, kind: str, call_s: float = 0.0, *, alone: bool = False) -> None:
        """Note what an outcome says of Stripe itself. None: a check found all well.

        `call_s` is how long the call took, in seconds: silence began with it. `alone`: Stripe refuses this entry and
        answers others.
        """
        match outcome:
            case NotYet(obstacle=Obstacle.KEY_REFUSED, alarm=False) if kind not in CHARGE_KINDS or alone:
                # A restricted key that may charge: one permission is missing, which gives an alarm, and charges go on.
                # Where the key itself is refused, this says nothing new, and the charges go on probing.
                if self.well:
                    self._unanswered = 0
            case NotYet(obstacle=Obstacle.KEY_REFUSED, alarm=False):
                self._unanswered = max(self._unanswered, TROUBLE_FROM)
                self._health.mark_down(Dependency.STRIPE, outcome.text, blocks_charges=True)
            case NotYet(obstacle=Obstacle.UNREACHABLE, alarm=False) | Unclear(stored=False, alarm=False):
                self._unanswered += 1
                self._health.mark_silent(Dependency.STRIPE, outcome.text, call_s)
            case _:  # Stripe answered, also where it refused the request
                self._unanswered = 0
                self._health.mark_up(Dependency.STRIPE)

    def call_ended(self, kind: str, entry: Entry, outcome: Outcome, call_ms: float) -> None:
        """One call of an entry's step has ended, after `call_ms` milliseconds."""
        ending = outcome.obstacle.value if isinstance(outcome, NotYet) else type(outcome).__name__.lower()
        self._metrics.stripe_calls(kind, ending).inc()
        self._metrics.stripe_call_seconds(kind).observe(call_ms / 1_000)
        unsettled = outcome.text if isinstance(outcome, NotYet | Unclear) else None
        self._health.note_order(Dependency.STRIPE, entry.effect.order_id, unsettled)
        charging = isinstance(entry.effect, ConfirmIntent) and entry.step in (Step.CREATE, Step.CONFIRM)
        if charging and isinstance(outcome, Unclear) and not outcome.stored:
            self._log_unclear(entry.effect, outcome.text)
        event = alarm_of(entry.step, outcome)
        if event is None and entry.alone and _refused(outcome):
            event = Event.REQUEST_ALARM
        if event is not None and not entry.alarmed:
            entry.alarmed = True
            self._alarm(event, entry.effect, outcome)

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
        """Once for each attempt; at debug while Stripe is known to be away, which has a log line of its own."""
        news = self.well and effect.id not in self._unclear
        if news:
            self._unclear[effect.id] = None
            if len(self._unclear) > self._unclear_remembered:
                del self._unclear[next(iter(self._unclear))]
        level = logging.INFO if news else logging.DEBUG
        get_logger().log(level, Event.CHARGE_UNCLEAR, reason=reason, **_about(effect))

    def _alarm(self, event: Event, effect: StripeEffect, outcome: Outcome) -> None:
        self._metrics.alarms(event).inc()
        get_logger().error(event, alarm=True, reason=getattr(outcome, "text", ""), **_about(effect))


def _refused(outcome: Outcome) -> bool:
    return isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.KEY_REFUSED


def _about(effect: StripeEffect) -> dict[str, str | int]:
    """Returns the log's fields that say what an effect is about. Nothing of its instrument is among them."""
    about: dict[str, str | int] = {"order_id": effect.order_id}
    if isinstance(effect, ConfirmIntent):
        about |= {"payment_id": effect.payment_id, "attempt": effect.attempt, "send": effect.send}
    elif isinstance(effect, RefundCharge):
        about |= {"payment_id": effect.payment_id, "attempt": effect.attempt}
    return about
