"""The times at which somebody must look again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.order import TaskKind
from payment.core.schedule import (
    CLOCK_TOLERANCE,
    FIRST_BLOCKED_DELAY,
    FIRST_RESEND_DELAY,
    KEY_LIFE,
    LEASE,
    LONGEST_BLOCKED_DELAY,
    LONGEST_DELAY,
    LONGEST_LOOK_DELAY,
    LONGEST_RESEND_DELAY,
    REQUEST_LIFE,
    SHORTEST_LOOK_DELAY,
    STORED_LOOK_DELAY,
    blocked_delay,
    clock_went_back,
    final_at,
    in_hand,
    may_send,
    next_look,
    resend_delay,
    send_deadline,
    takeable,
    watch,
)
from tests.core.builders import A_AGAIN, EXPIRES, T0, A, B, Story, cancelled, charging, created, request

SECOND = timedelta(seconds=1)


def test_times_that_proofs_rest_on_are_those_of_the_design():
    """F12, F17: with a longer key life or a shorter request life an attempt is closed that may charge yet."""
    assert (timedelta(hours=23), timedelta(hours=25)) == (KEY_LIFE, REQUEST_LIFE)
    assert timedelta(minutes=1) == STORED_LOOK_DELAY
    assert timedelta(seconds=60) == LEASE


def test_times_that_somebody_waits_for_are_short():
    """Stripe, or a landing, is noticed within seconds while there is hope, and within hours where there is little."""
    assert timedelta(milliseconds=250) == FIRST_RESEND_DELAY
    assert (timedelta(seconds=5), timedelta(hours=6)) == (SHORTEST_LOOK_DELAY, LONGEST_LOOK_DELAY)
    assert (timedelta(minutes=1), timedelta(hours=1)) == (FIRST_BLOCKED_DELAY, LONGEST_BLOCKED_DELAY)


def test_task_in_hand_is_held_for_a_lease_from_when_it_may_begin():
    """The wait before a send is not taken off its lease."""
    moment = charging().moment()
    assert in_hand(TaskKind.CHARGE, moment).due == T0 + LEASE
    assert in_hand(TaskKind.CHARGE, moment, T0 + 5 * SECOND).due == T0 + 5 * SECOND + LEASE
    assert in_hand(TaskKind.CHARGE, moment, T0 - SECOND).due == T0 + LEASE
    assert in_hand(TaskKind.CHARGE, moment).holder == A


@pytest.mark.parametrize("by", [A, B])
def test_task_is_anybodys_from_its_deadline_on(by):
    """A lease ends at its time and not a moment earlier."""
    story = charging()
    task = story.attempt().task
    assert not takeable(task, story.later(seconds=59.999).moment(by))
    assert takeable(task, story.later(seconds=0.001).moment(by))


def test_task_of_an_earlier_run_of_this_client_is_takeable_at_once():
    """A process that starts takes its own client id's work; a watch is nobody's."""
    story = charging()
    assert takeable(story.attempt().task, story.moment(A_AGAIN))
    assert not takeable(watch(T0 + SECOND, story.moment()), story.moment(A_AGAIN))


def test_task_absurdly_far_off_counts_as_due():
    """F38: a clock was wrong when it was written; no due work is lost."""
    moment = charging().moment()
    assert not takeable(watch(T0 + LONGEST_DELAY, moment), moment)
    assert takeable(watch(T0 + LONGEST_DELAY + SECOND, moment), moment)


def test_longest_delay_is_longer_than_every_other():
    """Else honest work would be taken for a wrong clock's."""
    assert max(LEASE + LONGEST_RESEND_DELAY, LONGEST_LOOK_DELAY, LONGEST_BLOCKED_DELAY) < LONGEST_DELAY


def test_key_may_be_sent_while_it_is_young_and_its_order_open():
    """F17, F20, F36, F38: each of the limits by itself."""
    story = charging()
    order, attempt = story.doc, story.attempt()
    assert may_send(order, attempt, T0)
    assert may_send(order, attempt, T0 + KEY_LIFE - SECOND)
    assert not may_send(order, attempt, T0 + KEY_LIFE)
    assert not may_send(order, attempt, T0 - CLOCK_TOLERANCE - SECOND)
    assert not may_send(story.tell(cancelled()).doc, attempt, T0)
    soon = Story(created(expires_at=T0 + SECOND), request())
    assert not may_send(soon.doc, soon.attempt(), T0 + SECOND)


def test_clock_that_went_back_a_little_is_no_clock_that_was_wrong():
    """F38: processes' clocks differ by seconds; minutes make a key's age unknown."""
    attempt = charging().attempt()
    assert not clock_went_back(attempt, T0 - CLOCK_TOLERANCE)
    assert clock_went_back(attempt, T0 - CLOCK_TOLERANCE - SECOND)


def test_last_instant_of_a_send_is_the_earlier_of_key_and_order():
    """A process that wakes with a request in its hand is fenced by a time."""
    story = charging()
    assert send_deadline(story.doc, story.attempt()) == T0 + KEY_LIFE < EXPIRES
    soon = Story(created(expires_at=T0 + SECOND), request())
    assert send_deadline(soon.doc, soon.attempt()) == T0 + SECOND
    announced = Story(cancelled()).doc
    assert send_deadline(announced, story.attempt()) == T0 + KEY_LIFE


def test_resend_delay_doubles_up_to_its_limit():
    """Stripe must be well again within 10 s of its return."""
    delays = [resend_delay(sends) for sends in range(1, 100)]
    assert delays[:3] == [FIRST_RESEND_DELAY, 2 * FIRST_RESEND_DELAY, 4 * FIRST_RESEND_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_RESEND_DELAY < timedelta(seconds=10)


def test_blocked_delay_doubles_up_to_its_limit():
    """F44: slowly, and never given up."""
    delays = [blocked_delay(times) for times in range(1, 100)]
    assert (delays[0], delays[1], delays[-1]) == (FIRST_BLOCKED_DELAY, 2 * FIRST_BLOCKED_DELAY, LONGEST_BLOCKED_DELAY)


@given(st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=4)))
def test_next_look_comes_soon_while_young_and_exactly_at_the_final_time(age):
    """A late landing is found early; the look that settles is not missed."""
    attempt = charging().attempt()
    at = T0 + age
    look, final = next_look(attempt, at), final_at(attempt)
    assert at < look <= at + LONGEST_LOOK_DELAY
    assert not at < final < look
    assert look == final or look - at >= SHORTEST_LOOK_DELAY


def test_final_time_is_a_requests_life_after_the_last_allowed_send():
    """What we assume of the world: no request is on the wire for longer."""
    assert final_at(charging().attempt()) == T0 + KEY_LIFE + REQUEST_LIFE
