"""The rate limiter alone, and in the actor against a Stripe that limits its rate: a burst of 3,000 charges (F14)."""

from collections import deque
from collections.abc import Callable

import pytest

from payment.actors.stripe.rate_limiter import ACCOUNT_START_PER_S, RateLimiter
from payment.core.messages import IntentSucceeded
from payment.ports.cards import NotYet, Obstacle
from tests.unit.actors.stripe.scripted_cards import LOCKED
from tests.unit.actors.stripe.stripe_world import StripeWorld, listing, refunding, retrieving

BURST_CHARGES = 3_000


def busy(limiter: RateLimiter, start: float, seconds: float) -> float:
    """Take turns while others wait; returns the time after."""
    now = start
    while now < start + seconds:
        now += limiter.wait_s(now)
        limiter.took(now, more_wait=True)
    return now


def test_it_starts_at_what_every_account_has_and_rises_by_a_fifth_a_second_to_the_ceiling() -> None:
    """25/s, 30/s after a second, 100/s after eight; never above."""
    limiter = RateLimiter(100.0, 0.0)
    assert limiter.per_s == 25.0
    now = busy(limiter, 0.0, 1.0)
    assert limiter.per_s == pytest.approx(30.0, rel=0.02)
    now = busy(limiter, now, 7.2)
    assert limiter.per_s == 100.0
    busy(limiter, now, 10.0)
    assert limiter.per_s == 100.0
    assert RateLimiter(10.0, 0.0).per_s == 10.0
    assert RateLimiter(100.0, 0.0, ACCOUNT_START_PER_S).per_s == 100.0


def test_it_does_not_rise_without_a_queue() -> None:
    """Time in which no request waited proves nothing."""
    limiter = RateLimiter(100.0, 0.0)
    for now in range(60):
        limiter.took(float(now), more_wait=False)
    assert limiter.per_s == 25.0


def test_a_refusal_takes_a_third_once_for_all_that_left_together() -> None:
    """Requests that left before the fall, or just after it, belong to the same excess; later ones to another."""
    limiter = RateLimiter(100.0, 0.0)
    assert limiter.refused(10.0, 9.9, None)
    assert limiter.per_s == pytest.approx(25.0 * 2 / 3)
    assert not limiter.refused(10.1, 9.95, None)
    assert not limiter.refused(11.9, 10.4, None)
    assert limiter.refused(12.0, 11.0, None)
    assert limiter.per_s == pytest.approx(25.0 * 4 / 9)


def test_time_without_a_queue_is_no_time_to_rise_in() -> None:
    """After an idle minute a queue raises the limiter by what it has lasted, not by a second at once."""
    limiter = RateLimiter(100.0, 0.0)
    limiter.took(60.0, more_wait=False)
    limiter.took(60.1, more_wait=True)
    assert limiter.per_s == pytest.approx(25.0 * 1.2**0.1)


def test_the_next_request_after_a_refusal_waits_at_the_new_rate() -> None:
    """However many could have gone at once before it."""
    limiter = RateLimiter(100.0, 0.0)
    limiter.refused(10.0, 9.9, None)
    assert limiter.wait_s(10.0) == pytest.approx(1.0 / limiter.per_s)


def test_it_rises_fast_to_just_below_the_limit_it_met_then_slowly_and_forgets_it_after_half_a_minute() -> None:
    """A fifth a second up to just below the rate that was refused, half a percent a second from there on."""
    limiter = RateLimiter(100.0, 0.0)
    limiter.took(10.0, more_wait=False)
    limiter.refused(10.0, 9.9, None)
    now = busy(limiter, 10.0, 1.0)
    assert limiter.per_s == pytest.approx(25.0 * 2 / 3 * 1.2, rel=0.02)
    now = busy(limiter, now, 6.0)
    assert limiter.per_s == pytest.approx(25.0 * 0.95 * 1.005**5, rel=0.01)
    now = busy(limiter, now, 40.1 - now)
    before = limiter.per_s
    busy(limiter, now, 1.0)
    assert limiter.per_s == pytest.approx(before * 1.2, rel=0.02)


def test_it_never_stops() -> None:
    """Requests have to go on, to find out that more is allowed again."""
    limiter = RateLimiter(100.0, 0.0)
    for second in range(1, 60):
        limiter.refused(float(second), second - 0.1, None)
    assert limiter.per_s == 1.0


def test_a_fall_for_requests_that_are_refused_alone_is_taken_back() -> None:
    """F31: once for each fall, when the last that it stands for is known to be refused whatever the rate is."""
    limiter = RateLimiter(100.0, 0.0)
    assert limiter.blame("a") is None
    limiter.refused(10.0, 9.9, None)
    first = limiter.blame("a")
    assert first is limiter.blame("b")
    assert first is not None
    limiter.refused(12.0, 11.0, None)
    second = limiter.blame("a")
    assert second is not None
    assert limiter.per_s == pytest.approx(25.0 * 4 / 9)
    assert not limiter.acquit(first, "a", 12.5)
    assert limiter.acquit(second, "a", 12.5)
    assert limiter.per_s == pytest.approx(25.0 * 2 / 3)
    assert limiter.acquit(first, "b", 12.5)
    assert limiter.per_s == pytest.approx(25.0)
    assert not limiter.acquit(first, "b", 12.5)
    assert limiter.wait_s(12.5) <= 1.0 / 25.0


def test_a_fall_that_was_right_stands() -> None:
    """F14: one of its requests was answered later."""
    limiter = RateLimiter(100.0, 0.0)
    limiter.refused(10.0, 9.9, None)
    fall = limiter.blame("a")
    assert fall is not None
    fall.right = True
    assert not limiter.acquit(fall, "a", 11.0)
    assert limiter.per_s == pytest.approx(25.0 * 2 / 3)


def test_retry_after_is_obeyed_even_if_the_rate_does_not_fall() -> None:
    """It is a bound of its own beside the rate."""
    limiter = RateLimiter(100.0, 0.0)
    limiter.refused(10.0, 9.9, None)
    assert not limiter.refused(10.1, 9.9, 5.0)
    assert limiter.wait_s(10.1) == pytest.approx(5.0)


def test_after_an_idle_while_a_few_may_go_at_once() -> None:
    """A fifth of a second's worth, not more."""
    limiter, at_once = RateLimiter(100.0, 0.0), 0
    while limiter.wait_s(100.0) == 0:
        limiter.took(100.0, more_wait=False)
        at_once += 1
    assert at_once in (5, 6)


def fixed_windows(limit: int) -> Callable[[str, float], bool]:
    """At most `limit` in each second of the clock, for each kind."""
    admitted: dict[tuple[str, int], int] = {}

    def admits(kind: str, now: float) -> bool:
        window = (kind, int(now))
        if admitted.get(window, 0) >= limit:
            return False
        admitted[window] = admitted.get(window, 0) + 1
        return True

    return admits


def sliding_windows(limit: int) -> Callable[[str, float], bool]:
    """At most `limit` in any second, for each kind."""
    admitted: dict[str, deque[float]] = {}

    def admits(kind: str, now: float) -> bool:
        times = admitted.setdefault(kind, deque())
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now)
        return True

    return admits


@pytest.mark.slow
@pytest.mark.parametrize("windows", [fixed_windows, sliding_windows])
@pytest.mark.parametrize(("limit", "per_s"), [(25, 25), (100, 50)])
async def test_a_burst_goes_at_the_allowed_rate_in_order_and_loses_nothing(
    windows: Callable[[int], Callable[[str, float], bool]], limit: int, per_s: int
) -> None:
    """F14: few are refused, all are charged once, first come first served; with the rate known, nearly at the limit.

    Two endpoints of 100 a second share the account's 100: 50 charges a second.
    """
    world = StripeWorld()
    world.cards.admits, world.cards.latency_s = windows(limit), 0.3
    await world.start()
    for burst, slower in enumerate((1.3, 1.15)):
        names = [f"{burst}-{n}" for n in range(BURST_CHARGES)]
        began, refused_before = world.clock.monotonic(), world.cards.refused_429.copy()
        world.release(*(world.confirm(name) for name in names))
        ended = await world.until_ended((burst + 1) * BURST_CHARGES)
        took_s = world.clock.monotonic() - began
        refused = (world.cards.refused_429 - refused_before).total()
        assert all(isinstance(each, IntentSucceeded) for each in ended)
        assert len({each.order_id for each in ended}) == BURST_CHARGES
        assert refused / (2 * BURST_CHARGES + refused) <= 0.03
        assert took_s <= slower * BURST_CHARGES / per_s
        charged = [int(each.order_id.split("-")[1]) for each in ended]
        overtaken = sum(abs(n - name) > 30 for n, name in enumerate(charged))
        assert overtaken <= 2 * refused
    assert world.counts == (0, 0)
    await world.stop()


async def test_a_429_for_a_lock_does_not_slow_the_queue() -> None:
    """F14: `lock_timeout` is about one object."""
    world = await StripeWorld().start()
    world.cards.script("create", *[LOCKED] * 5)
    world.cards.script("confirm", *[LOCKED] * 5)
    world.release(*(world.confirm(str(n)) for n in range(50)))
    await world.until_ended(50)
    assert min(world.estimate.latest.creates_per_s, world.estimate.latest.confirms_per_s) >= 25.0
    await world.stop()


async def test_retrieves_cancels_and_refunds_have_a_share_of_their_own() -> None:
    """F14: a queue of charges, or their 429, holds up none of them."""
    world = await StripeWorld().start()
    refusal = NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=30.0)
    world.cards.script("create", refusal)
    world.cards.script("confirm", refusal)
    world.release(*(world.confirm(str(n)) for n in range(500)), world.known("k"))
    await world.clock.advance(1)
    before = len(world.ended)
    world.release(retrieving("a"), world.cancel_intent("b", "pi_b"), listing("c"), refunding(name="d"))
    await world.until_ended(before + 4, limit_s=1.0)
    await world.stop()


async def test_at_the_accounts_limit_each_endpoint_keeps_its_share() -> None:
    """F14: the account allows little, and 500 creates wait: a retrieve still leaves within a few turns."""
    world = await StripeWorld().start()
    account = world.actor._scheduler.account
    account.per_s = account.ceiling_per_s = 4.0
    world.release(*(world.confirm(str(n)) for n in range(500)))
    await world.clock.advance(20)
    sent = len(world.cards.calls)
    world.release(retrieving())
    await world.clock.until(lambda: bool(world.cards.called("retrieve")))
    assert len(world.cards.calls) - sent <= 4
    assert len(world.cards.calls) <= 1 + 4 * 21
    await world.stop()


async def test_a_refusal_for_the_account_lowers_the_accounts_rate_alone() -> None:
    """And one for the endpoint lowers that of the endpoint alone."""
    world = await StripeWorld().start()
    queues = world.actor._scheduler
    world.cards.script("create", NotYet(Obstacle.RATE_LIMITED, "t", account=True))
    world.release(world.confirm("1"))
    await world.until_ended(1)
    assert queues.account.per_s == pytest.approx(100 * 2 / 3)
    assert queues.create.limiter.per_s == 25.0
    world.cards.script("confirm", NotYet(Obstacle.RATE_LIMITED, "t"))
    world.release(world.confirm("2"))
    await world.until_ended(2)
    assert queues.account.per_s == pytest.approx(100 * 2 / 3)
    assert queues.create.limiter.per_s == 25.0
    assert queues.confirm.limiter.per_s == pytest.approx(25 * 2 / 3)
    await world.stop()


@pytest.mark.parametrize("kind", ["create", "confirm"])
async def test_retry_after_of_two_entries_holds_the_whole_queue(kind: str) -> None:
    """No request of the endpoint is sent before, once Stripe has refused two in a row with a Retry-After."""
    world = await StripeWorld().start()
    world.cards.script(kind, *[NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=7.0)] * 2)
    world.release(*(world.confirm(str(n)) for n in range(20)))
    await world.clock.advance(6.9)
    sent = len(world.cards.called(kind))
    await world.clock.advance(1.5)
    assert len(world.cards.called(kind)) > sent
    assert sent <= 7
    await world.stop()


@pytest.mark.parametrize("kind", ["create", "confirm"])
async def test_retry_after_of_one_entry_holds_that_one(kind: str) -> None:
    """F31: it may be about this order alone: the others wait for a second, and it as long as Stripe asks."""
    world = await StripeWorld().start()
    world.cards.script(kind, NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=30.0))
    world.release(*(world.confirm(str(n)) for n in range(20)))
    await world.until_ended(19, limit_s=5.0)
    await world.until_ended(20, limit_s=30.0)
    first = world.cards.called(kind)[0]
    at = [call.at for call in world.cards.calls if call.kind == kind and call.about == first]
    assert at[1] - at[0] >= 30.0
    await world.stop()
