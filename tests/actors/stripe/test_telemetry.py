"""What the Stripe actor tells people of calls whose end nobody knows."""

from typing import Any

import pytest
from payment.actors.stripe_lines import Entry
from payment.actors.stripe_report import StripeReport

from payment.actors import stripe_report
from payment.core.effects import ChargeCard
from payment.ops.health import Health
from payment.ops.metrics import Metrics
from payment.ports.cards import Unclear
from tests.actors.stripe_world import StripeWorld
from tests.fakes.clock import FakeClock
from tests.ops.capture import Log
from tests.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]

UNANSWERED = Unclear("no whole answer in time")


class Bench:
    """A report on a Stripe that is well, and its log at info."""

    def __init__(self) -> None:
        self.log = Log("info")
        self.clock = FakeClock()
        self.report = StripeReport(Health(self.clock), Metrics())
        self.report.hear(None)

    def unclear(self, *effects: ChargeCard) -> None:
        for effect in effects:
            self.report.called("charge", Entry(effect, (0.0, 1), 0.0), UNANSWERED, 8_000.0)

    def hang(self) -> None:
        """Stripe says nothing for so long that it counts as lost."""
        self.report.hear(UNANSWERED, "charge", 8.0)
        self.clock.oversleep(60.0)
        self.report.hear(UNANSWERED, "charge", 8.0)

    def said(self) -> list[Any]:
        return [(line["order_id"], line["send"]) for line in self.log.lines if line["event"] == "charge_unclear"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def charge(name: str, send: int = 1) -> ChargeCard:
    return StripeWorld().charge(name, send=send)


def test_an_unclear_charge_is_said_once_of_each_attempt(bench: Bench) -> None:
    """F09: however often it is sent."""
    bench.unclear(charge("1"), charge("1", 2), charge("2"), charge("1", 3))
    assert bench.said() == [("o1", 1), ("o2", 1)]


def test_while_stripe_is_lost_no_charge_has_a_line_of_its_own(bench: Bench) -> None:
    """F10: one line when it goes, not a line a retry; afterwards each is news again."""
    bench.hang()
    bench.unclear(charge("1"), charge("2"))
    assert bench.said() == []
    bench.report.hear(None)
    bench.unclear(charge("1", 2))
    assert bench.said() == [("o1", 2)]


def test_what_is_remembered_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: a crowd of unclear charges costs no memory for ever."""
    monkeypatch.setattr(stripe_report, "UNCLEAR_REMEMBERED_LIMIT", 2)
    bench.unclear(charge("1"), charge("2"), charge("3"), charge("3", 2), charge("1", 2))
    assert bench.said() == [("o1", 1), ("o2", 1), ("o3", 1), ("o1", 2)]
