"""What the Stripe actor logs, counts and alarms."""

from typing import Any

import pytest

from payment.actors.stripe.queues import Entry
from payment.actors.stripe.telemetry import CHECK, StripeTelemetry
from payment.core.effects import StripeEffect
from payment.core.messages import Failure
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from payment.ports.cards import Declined, NotYet, Obstacle, Unclear
from tests.actors.stripe.scripted_cards import KEY_REFUSED, UNCLEAR, UNREACHABLE
from tests.actors.stripe.stripe_world import StripeWorld, finding_refund, listing, looking, refunding
from tests.fakes.clock import FakeClock
from tests.ops.capture import Log
from tests.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


class Bench:
    """The telemetry of a Stripe that is well, and its log at info."""

    def __init__(self) -> None:
        self.log = Log("info")
        self.clock = FakeClock()
        self.health, self.metrics = Health(self.clock), Metrics()
        self.telemetry = StripeTelemetry(self.health, self.metrics, unclear_remembered=2)
        self.telemetry.observe(None, CHECK)

    def unclear(self, *effects: StripeEffect) -> None:
        for effect in effects:
            self.telemetry.call_ended("confirm", Entry(effect, (0.0, 1), 0.0), UNCLEAR, 8_000.0)

    def hang(self) -> None:
        """Stripe answers nothing until it counts as lost."""
        self.telemetry.observe(UNCLEAR, "confirm", 8.0)
        self.clock.oversleep(60.0)
        self.telemetry.observe(UNCLEAR, "confirm", 8.0)

    def logged(self) -> list[Any]:
        return [(line["order_id"], line["send"]) for line in self.log.lines if line["event"] == "charge_unclear"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def charge(name: str, send: int = 1) -> StripeEffect:
    return StripeWorld().known(name, send=send)


def test_an_unclear_charge_is_logged_once_for_each_attempt(bench: Bench) -> None:
    """F09: however often it is sent; and a look that was not answered is none."""
    bench.unclear(charge("1"), charge("1", 2), charge("2"), charge("1", 3), looking("3"), refunding())
    assert bench.logged() == [("o1", 1), ("o2", 1)]


def test_while_stripe_is_lost_no_charge_has_a_line_of_its_own(bench: Bench) -> None:
    """F10: one line when it goes, not a line a retry; afterwards each is news again."""
    bench.hang()
    bench.unclear(charge("1"), charge("2"))
    assert bench.logged() == []
    bench.telemetry.observe(None, CHECK)
    bench.unclear(charge("1", 2))
    assert bench.logged() == [("o1", 2)]


def test_what_is_remembered_is_bounded(bench: Bench) -> None:
    """F39: thousands of unclear charges take no memory for ever."""
    bench.unclear(charge("1"), charge("2"), charge("3"), charge("3", 2), charge("1", 2))
    assert bench.logged() == [("o1", 1), ("o2", 1), ("o3", 1), ("o1", 2)]


def test_an_alarm_is_given_once_for_an_entry_and_shows_no_secret(bench: Bench) -> None:
    """F36, F16: what has to be changed, of which order; never the instrument."""
    wrong = NotYet(Obstacle.KEY_REFUSED, "an intent of another account", alarm=True)
    for effect in (charge("1"), refunding(), looking(), listing(), finding_refund()):
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
    ("outcome", "kind", "alone", "up"),
    [
        (KEY_REFUSED, "confirm", False, False),
        (KEY_REFUSED, "create", False, False),
        (KEY_REFUSED, CHECK, False, False),
        (KEY_REFUSED, "refund", False, True),
        (KEY_REFUSED, "retrieve", False, True),
        (KEY_REFUSED, "confirm", True, True),
        (NotYet(Obstacle.KEY_REFUSED, "t", alarm=True), "confirm", False, True),
        (UNREACHABLE, "confirm", False, True),
        (Unclear("t", stored=True), "create", False, True),
    ],
)
def test_only_a_key_that_is_refused_for_all_charges_blocks_them_at_once(
    bench: Bench, outcome: Any, kind: str, alone: bool, up: bool
) -> None:
    """F36: not a missing permission, not an entry that is refused alone, not silence of less than ten seconds."""
    bench.telemetry.observe(outcome, kind, alone=alone)
    assert bench.health.is_up(Dependency.STRIPE) is up
    assert bench.telemetry.trouble is not up


def test_what_stripe_says_of_one_order_is_kept_until_it_settles_that(bench: Bench) -> None:
    """F31: the line of a stuck order has it, although Stripe is well otherwise."""
    entry = Entry(charge("1"), (0.0, 1), 0.0)
    bench.telemetry.call_ended("confirm", entry, KEY_REFUSED, 5.0)
    assert bench.health.last_words(Dependency.STRIPE, "o1") == KEY_REFUSED.text
    bench.telemetry.call_ended("confirm", entry, UNCLEAR, 5.0)
    assert bench.health.last_words(Dependency.STRIPE, "o1") == UNCLEAR.text
    bench.telemetry.call_ended("confirm", entry, Declined(Failure("card_declined", None, "No.")), 5.0)
    assert bench.health.last_words(Dependency.STRIPE, "o1") is None
