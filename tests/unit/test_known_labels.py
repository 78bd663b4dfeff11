"""Counters are 0 from the start, for every label value that is known."""

from typing import get_args

from payment.actors.http.responses import ErrorCode
from payment.actors.stripe.outcomes import Outcome
from payment.actors.stripe.scheduler import QUEUE_LIMITS
from payment.core.order import AttemptState
from payment.known_labels import call_endings, start_at_zero
from payment.ops.log_schema import ALARMS
from payment.ops.metrics import LABEL_SETS, Metrics
from payment.ports.cards import NotYet
from tests.unit.ops.test_metrics import samples


def started() -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    start_at_zero(metrics)
    return samples(metrics)


def test_every_alarm_dead_letter_refusal_and_restart_begins_at_zero() -> None:
    """`increase()` counts the first one only after a 0."""
    found = started()
    wanted: list[tuple[str, ...]] = [("payment_alarms_total", event.value) for event in ALARMS]
    wanted += [("payment_dead_letters_total", subject) for subject in ("order:created", "order:cancelled")]
    wanted += [("payment_events_published_total", subject) for subject in ("payment:created", "payment:refunded")]
    wanted += [("payment_refusals_total", code.value) for code in ErrorCode]
    wanted += [("payment_actor_restarts_total", actor) for actor in ("mongo", "nats", "http", "stripe")]
    wanted += [("payment_charges_total", outcome) for outcome in ("paid", "declined", "refused", "refunded_by_hand")]
    wanted += [("payment_refunds_total", "blocked"), ("payment_ledger_commits_total", "unknown")]
    wanted += [("payment_dependency_up", "nats"), ("payment_events_received_total", "dead_letter", "order:created")]
    assert {name: found.get(name) for name in wanted} == dict.fromkeys(wanted, 0)


def test_no_family_is_filled_before_it_is_used() -> None:
    """Label sets beyond the limit would count as `other`."""
    families = [name[0] for name in started()]
    assert max(families.count(name) for name in set(families)) < LABEL_SETS / 2


def test_every_ending_of_a_call_to_stripe_is_known_for_some_kind() -> None:
    """A new outcome in the ports needs its label here, with an existing kind of endpoint."""
    names = {each.__name__.lower() for each in get_args(Outcome) if each is not NotYet}
    assert names <= {ending for _, ending in call_endings()}
    assert {kind for kind, _ in call_endings()} == {kind for kind, _ in QUEUE_LIMITS}


def test_no_unsettled_state_is_an_outcome() -> None:
    """A charge that is not settled has not ended."""
    assert ("payment_charges_total", AttemptState.CONFIRMING.value) not in started()
