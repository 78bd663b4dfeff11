"""The times of a process's next work."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.order import TaskKind
from payment.core.schedule import (
    AUTHENTICATION_LIFE,
    CHARGE_LIFE,
    CLOCK_TOLERANCE,
    CREATE_KEY_LIFE,
    FIRST_BLOCKED_DELAY,
    FIRST_RESEND_DELAY,
    KEY_LIFE,
    LEASE,
    LONGEST_BLOCKED_DELAY,
    LONGEST_DELAY,
    LONGEST_LIST_DELAY,
    LONGEST_RESEND_DELAY,
    LONGEST_RETRIEVAL_DELAY,
    RETRIEVALS_APART,
    SHORTEST_RETRIEVAL_DELAY,
    blocked_delay,
    in_flight,
    may_send,
    next_list,
    next_retrieval,
    recheck_later,
    resend_delay,
    send_deadline,
    takeable,
)
from tests.unit.core.builders import (
    A_AGAIN,
    EXPIRES,
    T0,
    A,
    B,
    Story,
    awaiting,
    cancelled,
    confirming,
    created,
    of_0_1_0,
    present,
    request,
)

SECOND = timedelta(seconds=1)
STRIPE_KEEPS_KEYS = timedelta(hours=24)


def test_times_that_proofs_rest_on_are_those_of_the_protocol() -> None:
    """If a key lived longer than at Stripe, or an old charge shorter, a second charge would be possible."""
    assert (timedelta(hours=12), timedelta(hours=23), timedelta(hours=25)) == (KEY_LIFE, CREATE_KEY_LIFE, CHARGE_LIFE)
    assert KEY_LIFE < CREATE_KEY_LIFE < STRIPE_KEEPS_KEYS < CHARGE_LIFE
    assert (timedelta(hours=24), timedelta(seconds=60)) == (AUTHENTICATION_LIFE, LEASE)


def test_times_that_clients_wait_for_are_short() -> None:
    """The service notices a Stripe that is reachable again, or a customer who is back from the bank, within seconds."""
    assert timedelta(milliseconds=250) == FIRST_RESEND_DELAY
    assert (2 * SECOND, 5 * SECOND, 60 * SECOND) == (
        RETRIEVALS_APART,
        SHORTEST_RETRIEVAL_DELAY,
        LONGEST_RETRIEVAL_DELAY,
    )
    assert (timedelta(minutes=1), timedelta(hours=1)) == (FIRST_BLOCKED_DELAY, LONGEST_BLOCKED_DELAY)


def test_task_in_flight_is_held_for_a_lease_from_when_it_may_begin() -> None:
    """The wait before a send does not shorten its lease."""
    context = confirming().context()
    task = in_flight(TaskKind.CONFIRM, context)
    assert (task.due, task.not_before, task.holder) == (T0 + LEASE, None, A)
    later = in_flight(TaskKind.CONFIRM, context, 5 * SECOND)
    assert (later.due, later.not_before, later.issued) == (T0 + 5 * SECOND + LEASE, T0 + 5 * SECOND, T0)


@pytest.mark.parametrize("by", [A, B])
def test_any_process_may_take_a_task_from_its_deadline_on(by: str) -> None:
    """A lease ends at its time and not earlier."""
    story = confirming()
    task = present(story.intent.task)
    assert not takeable(task, story.later(seconds=59.999).context(by))
    assert takeable(task, story.later(seconds=0.001).context(by))


def test_task_of_an_earlier_run_of_this_client_is_takeable_at_once() -> None:
    """A process that starts takes its own client id's tasks; a later recheck belongs to no process."""
    story = confirming()
    assert takeable(present(story.intent.task), story.context(A_AGAIN))
    assert not takeable(recheck_later(T0 + SECOND, story.context()), story.context(A_AGAIN))


def test_task_absurdly_far_off_counts_as_due() -> None:
    """F38: a clock was wrong when it was written; no due work is lost."""
    context = confirming().context()
    assert not takeable(recheck_later(T0 + LONGEST_DELAY, context), context)
    assert takeable(recheck_later(T0 + LONGEST_DELAY + SECOND, context), context)


def test_longest_delay_is_longer_than_every_other() -> None:
    """Otherwise a right deadline would count as a wrong clock's."""
    honest = (LEASE + LONGEST_RESEND_DELAY, LONGEST_RETRIEVAL_DELAY, LONGEST_LIST_DELAY, LONGEST_BLOCKED_DELAY)
    assert max(honest) < LONGEST_DELAY


def test_confirm_may_be_sent_while_its_key_is_young_and_its_order_open() -> None:
    """F17, F20, F36, F38: each limit by itself."""
    story = confirming()
    order, attempt = story.doc, story.attempt()
    assert may_send(order, attempt, T0)
    assert may_send(order, attempt, T0 + KEY_LIFE - SECOND)
    assert not may_send(order, attempt, T0 + KEY_LIFE)
    assert may_send(order, attempt, T0 - CLOCK_TOLERANCE)
    assert not may_send(order, attempt, T0 - CLOCK_TOLERANCE - SECOND)
    assert not may_send(order, awaiting().attempt(), T0), "its card is gone"
    assert not may_send(story.decide(cancelled()).doc, attempt, T0)
    soon = Story(created(expires_at=T0 + SECOND), request())
    assert not may_send(soon.doc, soon.attempt(), T0 + SECOND)


def test_last_instant_of_a_send_is_the_earlier_of_key_and_order() -> None:
    """A time fences a process that wakes with a request in flight."""
    story = confirming()
    assert send_deadline(story.doc, story.attempt()) == T0 + KEY_LIFE < EXPIRES
    soon = Story(created(expires_at=T0 + SECOND), request())
    assert send_deadline(soon.doc, soon.attempt()) == T0 + SECOND


def test_resend_delay_doubles_up_to_its_limit() -> None:
    """The service must work again within 10 s of Stripe's return."""
    delays = [resend_delay(sends) for sends in range(1, 100)]
    assert delays[:3] == [FIRST_RESEND_DELAY, 2 * FIRST_RESEND_DELAY, 4 * FIRST_RESEND_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_RESEND_DELAY < timedelta(seconds=10)


def test_blocked_delay_doubles_up_to_its_limit() -> None:
    """F44: slowly, and without an end."""
    delays = [blocked_delay(times) for times in range(1, 100)]
    assert (delays[0], delays[1], delays[-1]) == (FIRST_BLOCKED_DELAY, 2 * FIRST_BLOCKED_DELAY, LONGEST_BLOCKED_DELAY)


@given(st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=12)))
def test_next_retrieval_of_an_awaiting_intent_comes_soon_and_never_past_the_orders_end(age: timedelta) -> None:
    """A customer's success is found early, the order's end is not missed, and an order that is over is retrieved
    too."""
    story = awaiting()
    at = T0 + age
    retrieval = next_retrieval(story.doc, story.attempt(), at)
    assert at < retrieval <= at + LONGEST_RETRIEVAL_DELAY
    assert not at < EXPIRES < retrieval
    assert retrieval == EXPIRES or retrieval - at >= SHORTEST_RETRIEVAL_DELAY


@given(st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=4)))
def test_next_list_comes_soon_while_a_charge_may_land_soon(age: timedelta) -> None:
    """The delay is the attempt's age, within bounds, whatever the clock shows."""
    attempt = of_0_1_0("charging").attempt()
    at = attempt.last_sent + age
    assert next_list(attempt, at) - at == min(max(abs(age), SHORTEST_RETRIEVAL_DELAY), LONGEST_LIST_DELAY)
