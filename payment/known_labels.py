"""The label values that are known beforehand, so that their counters exist and are 0 from the start.

Prometheus' `rate` and `increase` see no growth from a missing series to 1: an alert on them would miss the first alarm,
or the first dead letter, of a process. Change together: any code that counts under a new label value.
"""

from collections.abc import Iterator

from payment.actors.http.responses import ErrorCode
from payment.actors.ledger.in_flight import NATS, STRIPE
from payment.actors.messages import Handling
from payment.actors.nats.event_payloads import INCOMING_SUBJECTS
from payment.core.effects import OUTGOING_SUBJECTS
from payment.core.order import UNSETTLED, AttemptState
from payment.ops.health import Dependency
from payment.ops.log_schema import ALARMS
from payment.ops.metrics import Metrics
from payment.ports.cards import (
    Blocked,
    ChargedBack,
    Charges,
    Declined,
    IntentAnswer,
    NotRefunded,
    Obstacle,
    Refunded,
    Refused,
    Unclear,
    UnexpectedState,
)
from payment.ports.store import Committed

ACTORS = ("mongo", NATS, "http", STRIPE)

CHARGE_OUTCOMES = (
    *(state.value for state in AttemptState if state not in UNSETTLED | {AttemptState.REFUNDING}),
    "charged_too_late",
    "refunded_by_hand",
)
"""The values of `outcome` on a charge's line."""

_ANSWERS: dict[str, tuple[type, ...]] = {
    "create": (IntentAnswer, Refused),
    "confirm": (IntentAnswer, Declined, Refused, UnexpectedState),
    "retrieve": (IntentAnswer,),
    "cancel": (IntentAnswer, UnexpectedState),
    "list": (Charges,),
    "refund": (Refunded, ChargedBack, Blocked, NotRefunded),
}


def call_endings() -> Iterator[tuple[str, str]]:
    """Yields how calls to Stripe may end: the kind of endpoint, and the ending as the telemetry names it."""
    for kind, answers in _ANSWERS.items():
        for answer in (*answers, Unclear):
            yield kind, answer.__name__.lower()
        for obstacle in Obstacle:
            yield kind, obstacle.value


def start_at_zero(metrics: Metrics) -> None:
    """Make every counter whose label values are known."""
    for event in ALARMS:
        metrics.alarms(event).inc(0)
    for outcome in CHARGE_OUTCOMES:
        metrics.charges(outcome).inc(0)
    for code in ErrorCode:
        metrics.refusals(code.value).inc(0)
    for outcome in ("refunded", "blocked", "failed", "charged_back"):
        metrics.refunds(outcome).inc(0)
    for kind, ending in call_endings():
        metrics.stripe_calls(kind, ending).inc(0)
    for result in Committed:
        metrics.ledger_commits(result.value).inc(0)
    for subject in INCOMING_SUBJECTS:
        metrics.dead_letters(subject).inc(0)
        for handling in (Handling.APPLIED, Handling.STALE, Handling.DEAD_LETTER):
            metrics.events_received(subject, handling.value).inc(0)
    for subject in OUTGOING_SUBJECTS:
        metrics.events_published(subject).inc(0)
    for actor in ACTORS:
        metrics.actor_restarts(actor).inc(0)
    for dependency in Dependency:
        metrics.dependency_up(dependency).set(0)
