"""A queue gives turns in the order of places, whatever comes, goes and comes again."""

import time

import pytest

from payment.actors.stripe.queues import (
    CONFIRM_IN_FLIGHT_LIMIT,
    CONNECTIONS_LIMIT,
    CREATE_IN_FLIGHT_LIMIT,
    Entry,
    Queue,
    Queues,
)
from payment.actors.stripe.rate_limiter import ACCOUNT_START_PER_S, RateLimiter
from tests.unit.actors.stripe.stripe_world import StripeWorld, listing


def a_queue(limit: int = 100) -> Queue:
    return Queue("list", RateLimiter(100.0, 0.0), limit)


def entry(place: int) -> Entry:
    return Entry(listing(str(place)), (0.0, place), 0.0)


def test_first_come_first_served_also_for_those_that_have_to_go_again() -> None:
    """F14: an entry that was refused for the rate keeps its place."""
    queue = a_queue()
    entries = {place: entry(place) for place in (3, 1, 2, 4)}
    for each in entries.values():
        queue.add(each)
    first = queue.take(0.0)
    assert (first.place[1], len(queue)) == (1, 3)
    queue.add(first)
    assert [queue.take(0.0).place[1] for _ in range(4)] == [1, 2, 3, 4]
    assert not queue.may_go


def test_what_was_taken_out_has_no_turn_unless_it_comes_again() -> None:
    """Taken out and put in again it has one turn, at its own place."""
    queue = a_queue()
    one, two = entry(1), entry(2)
    queue.add(one)
    queue.add(two)
    queue.remove(one)
    queue.remove(one)
    assert len(queue) == 1
    queue.add(one)
    assert [queue.take(0.0).place[1], queue.take(0.0).place[1]] == [1, 2]
    queue.remove(two)
    assert (queue.may_go, len(queue)) == (False, 0)


def test_no_more_than_the_limit_are_in_flight() -> None:
    """F39: a Stripe that hangs holds a bounded number of connections."""
    queue = a_queue(limit=2)
    for place in range(3):
        queue.add(entry(place))
    queue.take(0.0)
    queue.take(0.0)
    assert not queue.may_go
    queue.returned()
    assert queue.may_go


def test_thousands_may_leave_a_queue_at_once() -> None:
    """F33: a drain of a full queue takes little time, and what is gone takes no room."""
    queue, entries = a_queue(), [entry(place) for place in range(12_000)]
    for each in entries:
        queue.add(each)
    began = time.process_time()
    for each in reversed(entries):
        queue.remove(each)
    assert time.process_time() - began < 1.0
    assert len(queue) == 0
    assert len(queue._ready._positions) <= 64


def test_the_connections_are_enough_for_every_queue_at_its_limit() -> None:
    """And for the check: a call never waits for a connection behind its rate limiter."""
    queues = Queues(100.0, 0.0)
    assert sum(queue.in_flight_limit for queue in queues) + 1 == CONNECTIONS_LIMIT
    assert (queues.create.in_flight_limit, queues.confirm.in_flight_limit) == (
        CREATE_IN_FLIGHT_LIMIT,
        CONFIRM_IN_FLIGHT_LIMIT,
    )
    assert [queue.kind for queue in queues] == ["create", "confirm", "retrieve", "cancel", "list", "refund"]


@pytest.mark.parametrize(("ceiling_per_s", "account_ceiling_per_s"), [(25.0, 100.0), (100.0, 100.0), (400.0, 400.0)])
def test_the_account_starts_at_what_every_live_account_has(ceiling_per_s: float, account_ceiling_per_s: float) -> None:
    """It may rise above that only where the operator says that the endpoints may."""
    queues = Queues(ceiling_per_s, 0.0)
    assert (queues.account.per_s, queues.account.ceiling_per_s) == (ACCOUNT_START_PER_S, account_ceiling_per_s)
    assert {queue.limiter.per_s for queue in queues} == {25.0}


def test_creates_and_confirms_share_the_accounts_rate_while_both_wait() -> None:
    """With no create waiting, confirms have it to themselves."""
    queues = Queues(100.0, 0.0)
    queues.create.limiter.per_s = queues.confirm.limiter.per_s = 80.0
    assert queues.charge_rates() == (80.0, 80.0)
    queues.create.add(Entry(StripeWorld().confirm(), (0.0, 1), 0.0))
    assert queues.charge_rates() == (50.0, 50.0)


def test_a_turn_counts_for_the_endpoint_and_for_the_account() -> None:
    """While anything waits the account's rate may rise."""
    queues = Queues(400.0, 0.0)
    for place in range(100):
        queues.create.add(Entry(StripeWorld().confirm(), (0.0, place), 0.0))
    now = 0.0
    for _ in range(60):
        now += max(queues.create.limiter.wait_s(now), queues.account.wait_s(now))
        queues.take(queues.create, now)
    assert queues.account.per_s == pytest.approx(100.0 * 1.2**now, rel=0.01)
    for _ in range(40):
        queues.take(queues.create, now)
    assert queues.account.wait_s(now) > 0
