"""What the ledger is told: each outcome of each effect, line by line."""

from datetime import UTC, datetime

import pytest
from msgspec import structs
from payment.actors.stripe_outcomes import Outcome, alarm_of, message_of, undone

from payment.core.effects import ChargeCard, StripeEffect
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
    Evidence,
    FoundCharge,
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.ops.vocabulary import Event
from payment.ports.cards import (
    Blocked,
    Charged,
    Declined,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    Refused,
    Unclear,
)
from tests.actors.stripe_world import finding, finding_refund, refunding

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
CHARGE = ChargeCard("o1", "p1", 2, 3, "k1", 1999, "usd", "tok_visa", "v", NOON, NOON, NOON)
FIND, REFUND, FIND_REFUND = finding(), refunding("ch_1"), finding_refund("ch_1")
CHARGES = (FoundCharge("ch_1", 1),)


@pytest.mark.parametrize(
    ("effect", "outcome", "message"),
    [
        (CHARGE, Charged("ch_1"), CardCharged("o1", 2, "ch_1")),
        (CHARGE, Declined("c", "d", "t"), CardDeclined("o1", 2, "c", "d", "t")),
        (CHARGE, Refused(RefusalReason.TOKEN, "t"), ChargeRefused("o1", 2, 3, RefusalReason.TOKEN, "t")),
        (CHARGE, Unclear("t"), ChargeUnclear("o1", 2, 3)),
        (CHARGE, Unclear("t", alarm=True), ChargeUnclear("o1", 2, 3)),
        (CHARGE, Unclear("t", stored=True), ChargeErrorStored("o1", 2)),
        (FIND, Found(CHARGES), ChargesFound("o1", 1, Evidence.PROBE, CHARGES)),
        (FIND, Unclear("t"), None),
        (REFUND, Refunded("re_1"), ChargeRefunded("o1", "ch_1", "re_1")),
        (REFUND, Blocked("t", "re_1"), RefundBlocked("o1", "ch_1", "re_1", "t")),
        (REFUND, Unclear("t"), None),
        (REFUND, Unclear("t", stored=True), RefundErrorStored("o1", "ch_1", "r1")),
        (FIND_REFUND, Refunded("re_1"), ChargeRefunded("o1", "ch_1", "re_1")),
        (FIND_REFUND, Blocked("t"), RefundBlocked("o1", "ch_1", None, "t")),
        (FIND_REFUND, NotRefunded(), RefundNotFound("o1", "ch_1", "r1")),
        (FIND_REFUND, Unclear("t", stored=True), None),
    ],
)
def test_each_outcome_is_told_as_its_message(effect: StripeEffect, outcome: Outcome, message: Message | None) -> None:
    """None: nothing is told yet, and the call is made again."""
    assert message_of(effect, outcome, maybe_sent=False) == message


def test_a_refusal_is_no_proof_where_another_request_had_the_key() -> None:
    """A refusal of this request says nothing about the one that Stripe was executing (409)."""
    refused = Refused(RefusalReason.TOKEN_USED, "t")
    assert message_of(CHARGE, refused, maybe_sent=True) == ChargeUnclear("o1", 2, 3)
    first = structs.replace(CHARGE, send=1)
    assert message_of(first, refused, maybe_sent=True) == ChargeUnclear("o1", 2, 1)
    assert message_of(CHARGE, Charged("ch_1"), maybe_sent=True) == CardCharged("o1", 2, "ch_1")


def test_what_is_given_back_is_called_never_sent_only_if_it_was_not() -> None:
    """F33."""
    assert undone(CHARGE, maybe_sent=False) == ChargeWithheld("o1", 2, 3)
    assert undone(CHARGE, maybe_sent=True) == ChargeUnclear("o1", 2, 3)
    assert undone(REFUND, maybe_sent=True) == EffectReturned("o1", REFUND.id)


@pytest.mark.parametrize(
    ("effect", "outcome", "alarm"),
    [
        (CHARGE, Refused(RefusalReason.REQUEST, "t"), Event.REQUEST_ALARM),
        (CHARGE, Refused(RefusalReason.AMOUNT, "t"), None),
        (CHARGE, Unclear("t", alarm=True), Event.IDEMPOTENCY_ALARM),
        (REFUND, Unclear("t", alarm=True), Event.IDEMPOTENCY_ALARM),
        (FIND, Unclear("t", alarm=True), Event.REQUEST_ALARM),
        (FIND_REFUND, Unclear("t"), None),
    ],
)
def test_what_is_ours_to_mend_is_an_alarm(effect: StripeEffect, outcome: Outcome, alarm: Event | None) -> None:
    """F16, and requests that Stripe finds wrong in themselves."""
    assert alarm_of(effect, outcome) is alarm


def test_a_charge_that_ended_as_nothing_known_is_a_bug() -> None:
    """An actor that meets it dies."""
    with pytest.raises(AssertionError, match="NotYet"):
        message_of(CHARGE, NotYet(Obstacle.LOCKED, "t"), maybe_sent=False)
