"""The effect of messages on an order, as transcripts: the platform's events, clients' requests, and general rules."""

import pytest

from payment.core.decide import decide
from payment.core.effects import ConfirmIntent
from payment.core.formats import FORMAT_OF_0_2_0
from payment.core.messages import Context, EffectReturned, EventPublished, LeaseRenewed, Message
from payment.core.order import HISTORY_LIMIT, AttemptState, OrderStatus
from payment.core.pending import pending
from payment.core.replies import Conflict, Denied, OutcomePending, Paid, Start, instrument_hash
from payment.core.schedule import KEY_LIFE
from tests.unit.core.builders import (
    BROWSER,
    DUE,
    GROUP,
    NEWER_VERSION,
    ORDER,
    PAYMENT,
    RECHECK_REQUESTED,
    REQUIRES_CARD,
    T0,
    USER,
    VERSION,
    A,
    B,
    Story,
    awaiting,
    cancelled,
    confirming,
    created,
    declined,
    exposed,
    listed,
    now_canceled,
    of_kind,
    open_order,
    paid,
    prepared,
    present,
    refunded,
    request,
    retrieved,
    succeeded,
    unclear,
)

S = AttemptState


# ----------------------------------------------------------------------------------------------- the platform's events


def test_created_makes_an_order_that_owes_nothing() -> None:
    """The document has the event's contents and its time; no process has work for it."""
    order = open_order().doc
    assert (order.status, order.user_id, order.amount, order.currency) == (OrderStatus.CREATED, USER, 1999, "usd")
    assert (order.received, order.format) == (T0, FORMAT_OF_0_2_0)
    assert (order.due, order.holder, order.payment) == (None, None, None)


def test_second_created_changes_nothing() -> None:
    """F01: one order, by the first event; the second returns the identical document, so no process writes it."""
    story = open_order()
    before = story.doc
    assert story.decide(created(amount=5, version=9), by=B).doc is before


def test_cancel_before_created_wins() -> None:
    """F22: created completes the order that the cancel announced, and the order stays cancelled."""
    story = Story(cancelled(version=7))
    assert story.ask() is Denied.UNKNOWN
    story.decide(created(version=0))
    assert (story.doc.cancelled, story.doc.amount, story.doc.version) == (True, 1999, 7)
    assert story.ask() is Conflict.CANCELLED


@pytest.mark.parametrize("version", [0, 5])
def test_cancel_counts_at_any_version_and_once(version: int) -> None:
    """Cancelled is absorbing at any version; a second cancel changes nothing (F08)."""
    story = Story(created(version=3), cancelled(version))
    before = story.doc
    assert (before.cancelled, before.version) == (True, max(3, version))
    assert story.decide(cancelled(9)).doc is before


def test_cancel_then_charge_request_never_charges() -> None:
    """F19: a conflict, and no attempt begins."""
    story = open_order().decide(cancelled())
    assert story.ask() is Conflict.CANCELLED
    assert story.doc.attempts == ()


# ------------------------------------------------------------------------------------------------- requests to charge


def test_request_on_an_open_order_begins_confirming() -> None:
    """Its number, its card and its intent's number are in the document, and one confirm is pending (F04)."""
    story = open_order()
    assert story.ask() == OutcomePending(PAYMENT, ORDER)
    attempt, effect = story.attempt(), story.one(ConfirmIntent)
    assert (attempt.state, attempt.sends, attempt.intent, attempt.token_hash) == (
        S.CONFIRMING,
        1,
        1,
        instrument_hash("tok_1"),
    )
    assert (effect.instrument, effect.authentication, effect.send) == (request().instrument, BROWSER, 1)
    assert effect.not_after == T0 + KEY_LIFE


def test_request_for_an_unknown_order_makes_no_document() -> None:
    """404, and no document is written."""
    story = Story()
    assert story.ask() is Denied.UNKNOWN
    assert story.order is None


@pytest.mark.parametrize("token", ["tok_1", "pm_1", "ctoken_1"])
def test_same_request_again_joins_the_process_that_has_it(token: str) -> None:
    """F02: one charge; the other request waits for the same outcome, and the document is unchanged."""
    story = Story(created(), request(token))
    before = story.doc
    assert {story.ask(token, by=A), story.ask(token, by=B)} == {OutcomePending(PAYMENT, ORDER)}
    assert story.doc is before


def test_other_card_while_one_is_under_way_is_a_conflict() -> None:
    """F02: at most one unsettled attempt."""
    story = confirming()
    assert story.ask("tok_2", by=B) is Conflict.UNDER_WAY
    assert len(story.doc.attempts) == 1


def test_same_request_after_it_was_paid_is_answered_as_a_replay() -> None:
    """200 with the same body, never a second charge; another card is a conflict."""
    story = paid()
    assert story.ask("tok_1") == Paid(PAYMENT, ORDER, "ch_1", replayed=True)
    assert story.ask("tok_2") is Conflict.PAID


def test_attempt_and_intent_keep_the_api_version_that_they_began_with() -> None:
    """F16: one key, one set of parameters, after any deployment."""
    story = confirming().later(minutes=2)
    newer = Context(story.now, B, NEWER_VERSION, GROUP)
    step = decide(story.doc, DUE, newer)
    step = decide(step.order, retrieved(REQUIRES_CARD), newer)
    order = present(step.order)
    (item,) = pending(order)
    confirm = of_kind(ConfirmIntent, item.effect)
    assert (confirm.send, confirm.intent.api_version) == (2, VERSION)
    assert order.attempts[0].api_version == VERSION


def test_request_that_waits_for_a_cancel_changes_nothing_while_it_waits() -> None:
    """It is decided again after each write: it asks for the cancel once."""
    story = awaiting()
    assert story.ask("tok_2") is Start.SUPERSEDE
    before = story.doc
    assert story.ask("tok_2") is Start.AFTER_CANCEL
    assert story.doc is before


# --------------------------------------------------------------------------------------------------------- in general


def test_outcome_for_an_order_that_is_not_known_makes_no_document() -> None:
    """No order exists for it."""
    messages: list[Message] = [succeeded(), DUE, RECHECK_REQUESTED, listed(), declined(), refunded(), prepared()]
    assert Story(*messages, EventPublished(ORDER, "x"), EffectReturned(ORDER, "x")).order is None


@pytest.mark.parametrize(
    "message",
    [
        succeeded(),
        declined(),
        unclear(),
        listed(("ch_1", 1)),
        refunded(),
        LeaseRenewed(ORDER, ("x",)),
        EffectReturned(ORDER, "x"),
        EventPublished(ORDER, "x"),
        DUE,
        RECHECK_REQUESTED,
    ],
    ids=lambda message: type(message).__name__,
)
def test_outcome_for_an_order_without_payment_changes_nothing(message: Message) -> None:
    """No attempt was ever made, so none can have ended."""
    story = open_order()
    before = story.doc
    assert story.decide(message).doc is before


def test_history_is_bounded_and_keeps_the_latest() -> None:
    """A document must not grow with every retry."""
    story = open_order()
    for number in range(1, 16):
        story.decide(request(f"tok_{number}"), declined(number))
    assert len(story.doc.history) == HISTORY_LIMIT
    assert story.history()[-1] == "attempt 15 declined"


def test_history_names_each_state_that_was_entered() -> None:
    """The history has the states' own names, in order."""
    story = exposed().decide(cancelled(), now_canceled())
    assert story.history() == [
        "order created",
        "attempt 1 confirming",
        "attempt 1 awaiting",
        "attempt 1 declined",
        "order cancelled",
    ]
