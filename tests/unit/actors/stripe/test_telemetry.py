"""The Stripe actor's log lines, counters and alarms."""

from typing import Any

import pytest

from payment.actors.messages import AccountCheck
from payment.actors.stripe.outcomes import CallStep, Outcome
from payment.actors.stripe.scheduler import Entry
from payment.actors.stripe.telemetry import (
    CHECK,
    SILENT_KIND_REMEMBERED_S,
    SILENT_REMEMBERED_LIMIT,
    StripeTelemetry,
    alarm_of,
)
from payment.core.effects import StripeEffect
from payment.core.messages import Failure, RefusalReason
from payment.ops.health import Dependency, Health, Status
from payment.ops.log_schema import Event
from payment.ops.metrics import Metrics
from payment.ports.cards import Declined, NotYet, Obstacle, Refused, Unclear
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.stripe.scripted_cards import KEY_REFUSED, UNCLEAR, UNREACHABLE
from tests.unit.actors.stripe.stripe_world import StripeWorld, finding_refund, listing, refunding, retrieving
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


class Bench:
    """The telemetry of a Stripe that is well, and its log at info."""

    def __init__(self) -> None:
        self.log = Log("info")
        self.clock = FakeClock()
        self.health, self.metrics = Health(self.clock), Metrics()
        self.telemetry = StripeTelemetry(self.health, self.metrics, self.clock, unclear_remembered=2)
        self.telemetry.account(AccountCheck(True))
        self.telemetry.observe(None, CHECK)

    def unclear(self, *effects: StripeEffect) -> None:
        for effect in effects:
            self.telemetry.call_ended("confirm", Entry(effect, (0.0, 1), 0.0), UNCLEAR, 8_000.0)

    def hang(self) -> None:
        """Stripe answers nothing until it counts as lost."""
        self.telemetry.observe(UNCLEAR, "confirm", 8.0)
        self.clock.oversleep(60.0)
        self.telemetry.observe(UNCLEAR, "confirm", 8.0)

    def away_s(self) -> float:
        return self.telemetry.away.total_s(self.clock.monotonic())

    def alarms(self) -> list[Any]:
        return [line["order_id"] for line in self.log.lines if line["event"] == "request_alarm"]

    def logged(self) -> list[Any]:
        return [(line["order_id"], line["send"]) for line in self.log.lines if line["event"] == "charge_unclear"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def charge(name: str, send: int = 1) -> StripeEffect:
    return StripeWorld().known(name, send=send)


def test_an_order_without_answers_proves_nothing_of_a_stripe_that_answers_others(bench: Bench) -> None:
    """F31: its first silence counts, and each one without an answer to another call since."""
    for order in ("a", "b", "c", "d", "a"):
        bench.telemetry.observe(UNCLEAR, "create", 0.0, order)
    assert bench.telemetry.suspends("confirm"), "Stripe has answered nothing since a's first one"
    bench.clock.oversleep(1.0)
    bench.telemetry.observe(None, "confirm", 0.0, "good")
    for order in "abcd":
        bench.telemetry.observe(UNCLEAR, "create", 0.0, order)
    assert not bench.telemetry.in_doubt
    bench.telemetry.observe(UNCLEAR, "create", 0.0, "new")
    assert bench.telemetry.in_doubt


def test_orders_without_answers_are_remembered_up_to_a_bound(bench: Bench) -> None:
    """F39: the oldest is forgotten, and its next silence counts again."""
    for number in range(SILENT_REMEMBERED_LIMIT + 1):
        bench.telemetry.observe(UNCLEAR, "create", 0.0, str(number))
    bench.clock.oversleep(1.0)
    bench.telemetry.observe(None, CHECK)
    bench.telemetry.observe(UNCLEAR, "create", 0.0, "1")
    assert not bench.telemetry.in_doubt
    bench.telemetry.observe(UNCLEAR, "create", 0.0, "0")
    assert bench.telemetry.in_doubt


def test_an_unclear_charge_is_logged_once_for_each_attempt(bench: Bench) -> None:
    """F09: however often it is sent; and a retrieve that was not answered is none."""
    bench.unclear(charge("1"), charge("1", 2), charge("2"), charge("1", 3), retrieving("3"), refunding())
    assert bench.logged() == [("o1", 1), ("o2", 1)]


def test_while_stripe_is_lost_no_unclear_charge_is_logged_at_info(bench: Bench) -> None:
    """F10: one log record when it goes, not one for each retry; afterwards each is logged again."""
    bench.hang()
    bench.unclear(charge("1"), charge("2"))
    assert bench.logged() == []
    bench.telemetry.observe(None, CHECK)
    bench.unclear(charge("1", 2))
    assert bench.logged() == [("o1", 2)]


def test_the_number_of_remembered_orders_is_bounded(bench: Bench) -> None:
    """F39: thousands of unclear charges take no memory for ever."""
    bench.unclear(charge("1"), charge("2"), charge("3"), charge("3", 2), charge("1", 2))
    assert bench.logged() == [("o1", 1), ("o2", 1), ("o3", 1), ("o1", 2)]


def test_an_alarm_is_given_once_for_an_entry_and_shows_no_secret(bench: Bench) -> None:
    """F36, F16: what has to be changed, of which order; never the instrument."""
    wrong = NotYet(Obstacle.KEY_REFUSED, "an intent of another account", alarm=True)
    for effect in (charge("1"), refunding(), retrieving(), listing(), finding_refund()):
        entry = Entry(effect, (0.0, 1), 0.0)
        bench.telemetry.call_ended("confirm", entry, wrong, 10.0)
        bench.telemetry.call_ended("confirm", entry, wrong, 10.0)
    lines = [line for line in bench.log.lines if line["event"] == "account_alarm"]
    assert [line["alarm"] for line in lines] == [True] * 5
    assert lines[0]["reason"] == "an intent of another account"
    assert "tok_visa" not in repr(bench.log.lines)
    assert bench.metrics.alarms("account_alarm")._value.get() == 5.0


def test_calls_are_counted_by_endpoint_and_ending(bench: Bench) -> None:
    bench.telemetry.call_ended("create", Entry(charge("1"), (0.0, 1), 0.0), UNREACHABLE, 10.0)
    bench.unclear(charge("1"))
    shown = bench.metrics.render().decode()
    assert 'payment_stripe_calls_total{ending="unreachable",kind="create"} 1.0' in shown
    assert 'payment_stripe_calls_total{ending="unclear",kind="confirm"} 1.0' in shown


@pytest.mark.parametrize(
    ("outcome", "kind", "up"),
    [
        (KEY_REFUSED, CHECK, False),
        (KEY_REFUSED, "confirm", True),
        (KEY_REFUSED, "create", True),
        (KEY_REFUSED, "refund", True),
        (NotYet(Obstacle.KEY_REFUSED, "t", alarm=True), "confirm", True),
        (UNREACHABLE, "confirm", True),
        (Unclear("t", stored=True), "create", True),
    ],
)
def test_a_call_alone_proves_nothing_about_all_charges(bench: Bench, outcome: Any, kind: str, up: bool) -> None:
    """F36: it may be refused alone: the check that follows it decides. Nor does silence of less than ten seconds."""
    bench.telemetry.observe(outcome, kind)
    assert bench.health.is_up(Dependency.STRIPE) is up
    assert bench.telemetry.suspends("confirm") is not up


@pytest.mark.parametrize("kind", ["create", "confirm"])
def test_only_its_own_kind_of_call_clears_a_permission_that_is_missing(bench: Bench, kind: str) -> None:
    """F36: `/readyz` must not flap with every success of another kind, and is ready when this kind succeeds."""
    bench.health.mark_up(Dependency.HTTP)
    bench.health.mark_up(Dependency.MONGODB)
    bench.health.ready()
    bench.telemetry.permission(kind, KEY_REFUSED)
    for other in {"create", "confirm", "retrieve", "cancel", CHECK} - {kind}:
        bench.telemetry.observe(None, other)
        bench.telemetry.permission("retrieve", None)
        assert bench.health.status is Status.UNAVAILABLE
    assert f"may not {kind}" in (bench.health.view().dependencies["stripe"].why or "")
    assert (bench.telemetry.refused_kinds, bench.telemetry.suspends(kind)) == ([kind], True)
    bench.telemetry.observe(NotYet(Obstacle.LOCKED, "t"), kind)
    before = bench.telemetry.well
    bench.telemetry.observe(Unclear("t", stored=True), kind)
    assert (before, bench.telemetry.well) == (False, True)
    lost = [line for line in bench.log.lines if line["event"] == "dependency_lost"]
    assert len(lost) == 1


def test_a_kind_of_call_without_an_answer_is_not_hidden_by_the_others(bench: Bench) -> None:
    """F09: every confirm times out, and the check answers: degraded, with the reason, until a confirm is answered."""
    bench.telemetry.observe(None, CHECK)
    for order_id in ("o1", "o2"):
        bench.clock.oversleep(8.0)
        bench.telemetry.observe(UNCLEAR, "confirm", 8.0, order_id)
        bench.telemetry.observe(None, CHECK)
    assert not bench.health.is_up(Dependency.STRIPE)
    assert "no confirm" in (bench.health.view().dependencies["stripe"].why or "")
    bench.telemetry.observe(None, "create")
    assert not bench.health.is_up(Dependency.STRIPE)
    bench.telemetry.observe(Declined(Failure("card_declined", None, "No.")), "confirm")
    assert bench.health.is_up(Dependency.STRIPE)
    assert len([line for line in bench.log.lines if line["event"] == "dependency_lost"]) == 1


def test_a_kind_of_call_that_is_made_no_more_is_not_reported_as_silent(bench: Bench) -> None:
    """The order has expired: nothing is known of confirms, and one lost answer is no silence."""
    bench.telemetry.observe(UNCLEAR, "confirm", 8.0, "o1")
    bench.telemetry.observe(None, CHECK)
    assert bench.health.is_up(Dependency.STRIPE)
    bench.clock.oversleep(12.0)
    bench.telemetry.observe(UNCLEAR, "confirm", 8.0, "o2")
    bench.telemetry.observe(None, CHECK)
    assert not bench.health.is_up(Dependency.STRIPE)
    bench.clock.oversleep(SILENT_KIND_REMEMBERED_S + 1.0)
    bench.telemetry.observe(None, CHECK)
    assert bench.health.is_up(Dependency.STRIPE)


def test_one_order_that_is_never_answered_is_no_silent_kind(bench: Bench) -> None:
    """F31: it may be that order's own: with nothing else to pay, Stripe counts as well."""
    for _ in range(4):
        bench.clock.oversleep(8.0)
        bench.telemetry.observe(UNCLEAR, "confirm", 8.0, "o1")
        bench.telemetry.observe(None, CHECK)
    assert bench.health.is_up(Dependency.STRIPE)


def test_a_permission_that_no_charge_needs_degrades_with_an_alarm(bench: Bench) -> None:
    """F36: charges go on; what has to follow them can't."""
    bench.telemetry.permission("refund", KEY_REFUSED)
    bench.telemetry.permission("refund", KEY_REFUSED)
    assert (bench.health.is_up(Dependency.STRIPE), bench.telemetry.well) == (False, True)
    assert "may not refund" in (bench.health.view().dependencies["stripe"].why or "")
    assert bench.metrics.alarms("permission_missing")._value.get() == 1.0
    bench.telemetry.permission("refund", None)
    assert bench.health.is_up(Dependency.STRIPE)


def test_another_account_blocks_charges_with_one_alarm_until_it_is_put_right(bench: Bench) -> None:
    """F48: the reason stands in `/readyz`; a store that does not answer changes nothing of what is known."""
    other = AccountCheck(False, "the database belongs to acct_a")
    for verdict in (other, other, AccountCheck(None), AccountCheck(None, "MongoDB is away")):
        bench.telemetry.account(verdict)
        bench.telemetry.observe(None, CHECK)
        bench.telemetry.observe(None, "create")
        assert bench.health.view().dependencies["stripe"].why == "the database belongs to acct_a"
    assert bench.metrics.alarms("account_mismatch")._value.get() == 1.0
    bench.telemetry.account(AccountCheck(True))
    assert bench.telemetry.well


def test_an_order_that_is_refused_alone_is_named_and_seldom_again(bench: Bench) -> None:
    """F31: an operator finds it by its id. Of a rate, once it was refused alone twice: one may be chance."""
    entry = Entry(charge("1"), (0.0, 1), 0.0)
    limited = NotYet(Obstacle.RATE_LIMITED, "too many")
    entry.alone, entry.refusals = True, 1
    bench.telemetry.call_ended("confirm", entry, limited, 1.0)
    assert bench.alarms() == []
    entry.refusals = 2
    for _ in range(5):
        bench.telemetry.call_ended("confirm", entry, limited, 1.0)
    assert bench.alarms() == ["o1"]
    bench.clock.oversleep(601.0)
    bench.telemetry.call_ended("confirm", entry, KEY_REFUSED, 1.0)
    assert bench.alarms() == ["o1", "o1"]


def test_the_time_without_stripe_is_added_up(bench: Bench) -> None:
    """From the beginning of the first call without an answer to the next answer; and while our key is refused."""
    began = bench.away_s()
    bench.clock.oversleep(8.0)
    bench.telemetry.observe(UNCLEAR, "confirm", 8.0)
    bench.clock.oversleep(2.0)
    assert bench.away_s() - began == pytest.approx(10.0)
    bench.telemetry.observe(None, CHECK)
    bench.clock.oversleep(100.0)
    assert bench.away_s() - began == pytest.approx(10.0)
    bench.telemetry.permission("create", KEY_REFUSED)
    bench.clock.oversleep(3.0)
    assert bench.away_s() - began == pytest.approx(13.0)


def test_stripes_message_about_one_order_is_kept_until_that_order_is_answered(bench: Bench) -> None:
    """F31: the log of a stuck order shows it, although Stripe is well otherwise."""
    entry = Entry(charge("1"), (0.0, 1), 0.0)
    bench.telemetry.call_ended("confirm", entry, KEY_REFUSED, 5.0)
    assert bench.health.order_note(Dependency.STRIPE, "o1") == KEY_REFUSED.text
    bench.telemetry.call_ended("confirm", entry, UNCLEAR, 5.0)
    assert bench.health.order_note(Dependency.STRIPE, "o1") == UNCLEAR.text
    bench.telemetry.call_ended("confirm", entry, Declined(Failure("card_declined", None, "No.")), 5.0)
    assert bench.health.order_note(Dependency.STRIPE, "o1") is None


@pytest.mark.parametrize(
    ("step", "outcome", "alarm"),
    [
        (CallStep.CONFIRM, Refused(RefusalReason.REQUEST, "t"), Event.REQUEST_ALARM),
        (CallStep.CREATE, Refused(RefusalReason.REQUEST, "t"), Event.REQUEST_ALARM),
        (CallStep.CREATE, Refused(RefusalReason.AMOUNT, "t"), None),
        (CallStep.CREATE, Unclear("t", stored=True, alarm=True), Event.IDEMPOTENCY_ALARM),
        (CallStep.CONFIRM, Unclear("t", stored=True, alarm=True), Event.IDEMPOTENCY_ALARM),
        (CallStep.REFUND, Unclear("t", alarm=True), Event.IDEMPOTENCY_ALARM),
        (CallStep.LIST, Unclear("t", alarm=True), Event.REQUEST_ALARM),
        (CallStep.RETRIEVE, Unclear("t"), None),
        (CallStep.CONFIRM, NotYet(Obstacle.KEY_REFUSED, "t"), None),
        (CallStep.CANCEL, NotYet(Obstacle.KEY_REFUSED, "t"), Event.REQUEST_ALARM),
        (CallStep.CONFIRM, NotYet(Obstacle.KEY_REFUSED, "t", alarm=True), Event.ACCOUNT_ALARM),
    ],
)
def test_an_outcome_that_needs_an_operator_is_an_alarm(step: CallStep, outcome: Outcome, alarm: Event | None) -> None:
    """F16, requests that Stripe finds wrong in themselves, and accounts that are."""
    assert alarm_of(step, outcome) is alarm
