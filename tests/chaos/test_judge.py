"""The judge of the torture rig finds every planted breach, and none in good records."""

from __future__ import annotations

import json

import pytest

from tests.chaos.hand_made import (
    CANCELLED_ORDER,
    CARD,
    DECLINED_ORDER,
    PAID_ORDER,
    asked,
    declined,
    paid,
    paid_event,
    records,
    refunded_event,
    refused,
)
from tests.chaos.incident import incident_report, orders_in
from tests.chaos.judge import breaches
from tests.chaos.load import DECLINED_TOKEN
from tests.chaos.planted import PLANTED, Plant, answer_also, charged_twice, charges, only_answer, the_charge

CASES = [pytest.param(plant, word, id=f"{law}-{name}") for law, some in PLANTED.items() for name, plant, word in some]


def test_no_breach_is_found_in_good_records() -> None:
    """The records without a planted breach must be good, or a planted one would prove nothing."""
    assert breaches(records()) == []


@pytest.mark.parametrize(("plant", "word"), CASES)
def test_a_planted_breach_is_found(plant: Plant, word: str) -> None:
    """Each breach must be reported by name; L1 to L4, the contract's answers, the log."""
    found = records()
    plant(found)
    assert [breach for breach in breaches(found) if word in breach], breaches(found)


def test_allowed_duplicates_and_broken_connections_are_no_breach() -> None:
    """Duplicates with one id, a broken connection, a concurrent card, a line cut by kill -9 are no breach."""
    found = records()
    found.evidence.events.append(paid_event(PAID_ORDER))
    found.evidence.events.append(refunded_event(CANCELLED_ORDER))
    found.histories[PAID_ORDER].asked.append(asked(CARD, None, 300.0))
    answer_also(found, PAID_ORDER, paid(PAID_ORDER, 200), began=400.0)
    answer_also(found, PAID_ORDER, refused(409, "The order has already been paid"), "tok_amex")
    answer_also(found, CANCELLED_ORDER, refused(409, "The order has been cancelled"), began=400.0)
    found.log.append('{"event": "actor_cra')
    charges(found).remove(the_charge(found, DECLINED_ORDER))
    only_answer(found, DECLINED_ORDER, declined(DECLINED_ORDER, "The payment could not be completed."), DECLINED_TOKEN)
    assert breaches(found) == []


def test_the_incident_report_of_a_broken_order_holds_all_that_is_known() -> None:
    """The report of a breach must have the requests, the charges, the events and the document in one place."""
    found = records()
    charged_twice(found)
    [order] = orders_in(breaches(found), found)
    account = incident_report(order, found, [(1_800_000_000.5, "kill -9 of service-0")])
    wanted = (
        "asks service-0 with tok_visa",
        "answered by service-0",
        "ch_paid0_1",
        "ch_paid0_2",
        "payment:created",
        "kill",
    )
    assert [word for word in wanted if word not in account] == []
    assert json.dumps(order) not in account
