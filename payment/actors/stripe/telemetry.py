"""What the Stripe actor tells people, and what it knows of Stripe's health: metrics, log lines, alarms, `/readyz`.

It reads outcomes and never decides what becomes of an effect; whether requests only probe is all it says to the actor.
"""

import logging
from collections.abc import Iterable

from payment.actors.stripe_lines import Entry, Line
from payment.actors.stripe_outcomes import Outcome, alarm_of
from payment.core.effects import ChargeCard, FindRefund
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.vocabulary import Event
from payment.ports.cards import NotYet, Obstacle, Unclear

TROUBLE_FROM = 5
"""Calls in a row without an answer, after which Stripe is taken to be away: one request a second finds out."""
UNCLEAR_REMEMBERED_LIMIT = 1_000
"""Attempts that were called unclear, the newest: an older one may be called so once more."""


class StripeReport:
    """The Stripe actor's voice, and its ear for how Stripe is."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._unanswered = 0
        self._unclear: dict[str, None] = {}

    @property
    def trouble(self) -> bool:
        """Stripe is away, or refuses our key: requests only probe."""
        return self._unanswered >= TROUBLE_FROM

    @property
    def well(self) -> bool:
        """Stripe has answered, and not long ago left us without an answer."""
        return self._health.is_up(Dependency.STRIPE)

    def hear(self, outcome: Outcome | None, kind: str | None = None, call_s: float = 0.0) -> None:
        """What an outcome says of Stripe itself. Without a `kind` of line it is a check's; None: all is well.

        `call_s` is how long the call took: one that was never answered tells of a silence that began with it.
        """
        match outcome:
            case NotYet(obstacle=Obstacle.KEY_REFUSED) if kind not in (None, "charge"):
                # A restricted key that may charge: one permission is missing, which is alarmed, and charges go on.
                # Where the key itself is refused, this says nothing new, and the charges go on probing.
                if self.well:
                    self._unanswered = 0
            case NotYet(obstacle=Obstacle.KEY_REFUSED):
                self._unanswered = max(self._unanswered, TROUBLE_FROM)
                self._health.mark_down(Dependency.STRIPE, outcome.text, blocks_charges=True)
            case NotYet(obstacle=Obstacle.UNREACHABLE) | Unclear(stored=False, alarm=False):
                self._unanswered += 1
                self._health.mark_silent(Dependency.STRIPE, outcome.text, call_s)
            case _:  # whatever it said of the request, Stripe was there to say it
                self._unanswered = 0
                self._health.mark_up(Dependency.STRIPE)

    def called(self, kind: str, entry: Entry, outcome: Outcome, call_ms: float) -> None:
        """One call has ended."""
        ending = outcome.obstacle.value if isinstance(outcome, NotYet) else type(outcome).__name__.lower()
        self._metrics.stripe_calls(kind, ending).inc()
        self._metrics.stripe_call_seconds(kind).observe(call_ms / 1_000)
        if isinstance(outcome, Unclear) and isinstance(entry.effect, ChargeCard) and not outcome.stored:
            self._say_unclear(entry.effect, outcome.text)
        if (event := alarm_of(entry.effect, outcome)) is not None and not entry.alarmed:
            entry.alarmed = True
            self._alarm(event, entry, outcome)

    def pace_fell(self, line: Line) -> None:
        """Stripe refused requests of a line for their rate."""
        get_logger().debug(Event.PACE_CHANGED, kind=line.kind, per_s=round(line.pace.per_s, 1))

    def gauges(self, lines: Iterable[Line], mailbox_depth: int) -> None:
        """How much waits, and how fast it goes."""
        for line in lines:
            self._metrics.stripe_pace_per_s(line.kind).set(line.pace.per_s)
            self._metrics.stripe_waiting(line.kind).set(len(line))
        self._metrics.actor_mailbox("stripe").set(mailbox_depth)

    def _say_unclear(self, effect: ChargeCard, reason: str) -> None:
        """Once for each attempt, and not at all while Stripe is known to be lost: that has been said of all."""
        news = self.well and effect.key not in self._unclear
        if news:
            self._unclear[effect.key] = None
            if len(self._unclear) > UNCLEAR_REMEMBERED_LIMIT:
                del self._unclear[next(iter(self._unclear))]
        get_logger().log(
            logging.INFO if news else logging.DEBUG,
            Event.CHARGE_UNCLEAR,
            order_id=effect.order_id,
            payment_id=effect.payment_id,
            attempt=effect.attempt,
            send=effect.send,
            reason=reason,
        )

    def _alarm(self, event: Event, entry: Entry, outcome: Outcome) -> None:
        effect = entry.effect
        about = {} if isinstance(effect, FindRefund) else {"payment_id": effect.payment_id, "attempt": effect.attempt}
        reason = getattr(outcome, "text", "")
        self._metrics.alarms(event).inc()
        get_logger().error(event, alarm=True, order_id=effect.order_id, reason=reason, **about)
