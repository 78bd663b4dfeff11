"""The unsettled matters of an order: since when they wait, and when they are late."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.core.order import AttemptState, TaskKind
from payment.core.pending import pending
from payment.core.waits import STUCK_AFTER, Matter, Wait, unpublished, waits
from tests.unit.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    ORDER,
    PAYMENT,
    T0,
    A,
    Story,
    awaiting,
    blocked,
    cancelled,
    cancelling,
    confirming,
    created,
    declined,
    exposed,
    given_back,
    now_canceled,
    open_order,
    paid,
    present,
    refund_blocked,
    refunded,
    refunding,
    request,
    retrieving,
    sent_twice,
    unclear,
)

S, M = AttemptState, Matter

MATTERS = {
    S.CONFIRMING: M.OUTCOME,
    S.AWAITING: M.CUSTOMER,
    S.CANCELLING: M.OUTCOME,
    S.CHARGING: M.OUTCOME,
    S.DECLINED: None,
    S.REFUSED: None,
    S.CLOSED: None,
    S.PAID: M.EVENT,
    S.REFUNDING: M.REFUND,
    S.BLOCKED: M.BLOCKED_REFUND,
    S.REFUNDED: M.EVENT,
    S.CHARGED_BACK: M.EVENT,
}


def the(story: Story) -> Wait:
    (wait,) = waits(story.doc)
    return wait


@pytest.mark.parametrize("state", S)
def test_each_state_has_the_matter_of_its_row(state: AttemptState) -> None:
    """A settled attempt is no matter."""
    found = [wait.matter for wait in waits(BY_STATE[state]().doc)]
    assert found == [each for each in (MATTERS[state],) if each is not None]


@pytest.mark.parametrize(
    "story", [*BY_STATE.values(), exposed, retrieving, sent_twice, lambda: Story(created(), prepare=True)]
)
def test_each_pending_effect_is_a_matter_and_nothing_else_is(story: Callable[[], Story]) -> None:
    """The gauges count exactly the orders that the sweep finds."""
    order = story().doc
    assert [wait.task.due for wait in waits(order)] == [item.at for item in pending(order)]


def test_an_order_without_a_payment_waits_for_nothing() -> None:
    """No client has requested a charge yet."""
    assert waits(open_order().doc) == ()


def test_a_charge_waits_since_it_was_first_sent_however_often_it_is_sent_again() -> None:
    """An operator sees the customer's time, also after a take-over."""
    story = confirming().later(minutes=3).decide(unclear())
    wait = the(story)
    assert (wait.order_id, wait.payment_id, wait.attempt, wait.since) == (ORDER, PAYMENT, 1, T0)
    assert wait.task.holder == A
    assert wait.key == (ORDER, "outcome attempt 1")


def test_a_charge_is_stuck_after_a_minute() -> None:
    """Not before; and a matter that was noticed to wait earlier counts from then."""
    wait = the(confirming())
    assert not wait.is_stuck(T0, T0 + STUCK_AFTER - timedelta(milliseconds=1))
    assert wait.is_stuck(T0, T0 + STUCK_AFTER)
    assert wait.is_stuck(T0 - STUCK_AFTER, T0)


def test_a_customer_is_no_trouble_while_the_next_retrieval_is_not_late() -> None:
    """F45: a customer who takes ten minutes at the bank's page is not stuck; a missing retrieval is."""
    wait = the(BY_STATE[S.AWAITING]())
    due = wait.task.due
    assert wait.since == T0
    assert not wait.is_stuck(T0 - timedelta(hours=1), due + STUCK_AFTER - timedelta(seconds=1))
    assert wait.is_stuck(wait.since, due + STUCK_AFTER)


def test_a_retrieval_without_an_answer_is_late_a_minute_after_it_left() -> None:
    """Its task is in flight, and no later recheck."""
    story = retrieving()
    wait = the(story)
    assert (wait.matter, wait.task.kind, wait.idle_from) == (M.CUSTOMER, TaskKind.RETRIEVE, story.now)


def test_a_cancel_waits_since_it_began_where_the_customer_was_awaited() -> None:
    """The hours at the bank's page do not count; where the outcome is unclear, they are the customer's time."""
    story = awaiting().later(hours=1).decide(request("tok_2"))
    assert (story.state(), the(story).since) == (S.CANCELLING, story.now)
    story = confirming()
    story.now = story.attempt().not_after
    story.decide(unclear())
    assert (story.state(), the(story).since) == (S.CANCELLING, T0)


def test_an_exposed_intent_without_an_attempt_is_an_intent_that_is_rechecked() -> None:
    """F45: declined, its secret out: nothing is late before its retrieval is."""
    story = exposed()
    wait = the(story)
    assert (wait.matter, wait.attempt, wait.idle_from) == (M.INTENT, None, present(story.intent.task).due)


def test_a_blocked_refund_names_its_charge_and_the_reason() -> None:
    """F44: all that an alarm needs."""
    wait = the(refund_blocked())
    assert (wait.charge_id, wait.attempt, wait.text) == ("ch_1", 1, blocked().text)
    story = refunding()
    assert (the(story).since, the(story).text) == (story.now, None)


def test_a_payment_is_to_be_announced_since_it_was_settled() -> None:
    """However often a process took its publishing up; a refund's event has only its task's time."""
    story = paid()
    settled = story.now
    story.due(by=A)
    story.later(seconds=1)
    wait = the(story)
    assert (wait.name, wait.since) == (PAYMENT_CREATED, settled)
    story = refunding().later(hours=2).decide(refunded())
    assert (the(story).name, the(story).since) == (PAYMENT_REFUNDED, story.now)


def test_events_are_counted_until_they_are_out() -> None:
    """Also events that wait for an earlier one, which have no task."""
    assert unpublished(open_order().doc) == 0
    both = paid().decide(cancelled(), refunded())
    assert (unpublished(both.doc), the(both).name) == (2, PAYMENT_CREATED)
    assert unpublished(both.decide(CREATED_IS_OUT).doc) == 1
    assert unpublished(given_back().doc) == 1


def test_an_order_may_owe_several_things() -> None:
    """A stray charge is refunded while an event is out and another attempt is open."""
    story = paid().decide(cancelled())
    assert {wait.matter for wait in waits(story.doc)} == {M.REFUND, M.EVENT}


def test_an_order_that_is_over_waits_for_nothing() -> None:
    """Declined; cancelled before it was charged."""
    assert waits(confirming().decide(declined()).doc) == ()
    assert waits(cancelling().decide(now_canceled()).doc) == ()
