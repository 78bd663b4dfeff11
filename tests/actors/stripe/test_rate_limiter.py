"""The pace, alone, and in the actor against a Stripe that limits its rate: a storm of 3,000 charges (F14)."""

from collections import deque
from collections.abc import Callable

import pytest
from payment.actors.pace import Pace

from payment.core.messages import CardCharged
from tests.actors.stripe_world import StripeWorld, finding
from tests.fakes.cards import Fate, Wish

STORM_CHARGES = 3_000


def busy(pace: Pace, start: float, seconds: float) -> float:
    """Take turns with a queue behind them; returns the time after."""
    now = start
    while now < start + seconds:
        now += pace.wait_s(now)
        pace.took(now)
        pace.queued(now)
    return now


def test_it_starts_at_what_every_account_has_and_rises_by_a_fifth_a_second_to_the_ceiling() -> None:
    """25/s, 30/s after a second, 100/s after eight; never above."""
    pace = Pace(100.0, 0.0)
    assert pace.per_s == 25.0
    now = busy(pace, 0.0, 1.0)
    assert pace.per_s == pytest.approx(30.0, rel=0.02)
    now = busy(pace, now, 7.2)
    assert pace.per_s == 100.0
    busy(pace, now, 10.0)
    assert pace.per_s == 100.0
    assert Pace(10.0, 0.0).per_s == 10.0


def test_it_does_not_rise_without_a_queue() -> None:
    """Time in which nobody waited teaches nothing."""
    pace = Pace(100.0, 0.0)
    for now in range(60):
        pace.took(float(now))
        pace.idle(float(now))
    assert pace.per_s == 25.0


def test_a_refusal_takes_a_third_once_for_all_that_left_together() -> None:
    """What left before the fall, or just after it, tells of the same excess; what leaves later, of another."""
    pace = Pace(100.0, 0.0)
    assert pace.refused(10.0, 9.9, None)
    assert pace.per_s == pytest.approx(25.0 * 2 / 3)
    assert not pace.refused(10.1, 9.95, None)
    assert not pace.refused(11.9, 10.4, None)
    assert pace.refused(12.0, 11.0, None)
    assert pace.per_s == pytest.approx(25.0 * 4 / 9)


def test_time_without_a_queue_is_no_time_to_rise_in() -> None:
    """After a minute of quiet a queue raises the pace by what it has lasted, not by a second at once."""
    pace = Pace(100.0, 0.0)
    pace.idle(60.0)
    pace.queued(60.1)
    assert pace.per_s == pytest.approx(25.0 * 1.2**0.1)


def test_the_next_request_after_a_refusal_waits_its_turn_at_the_new_pace() -> None:
    """However many might have gone at once before it."""
    pace = Pace(100.0, 0.0)
    pace.refused(10.0, 9.9, None)
    assert pace.wait_s(10.0) == pytest.approx(1.0 / pace.per_s)


def test_it_comes_back_fast_feels_for_the_limit_that_it_met_and_forgets_it_after_half_a_minute() -> None:
    """A fifth a second up to just below the pace that was refused, half a percent a second from there on."""
    pace = Pace(100.0, 0.0)
    pace.idle(10.0)
    pace.refused(10.0, 9.9, None)
    now = busy(pace, 10.0, 1.0)
    assert pace.per_s == pytest.approx(25.0 * 2 / 3 * 1.2, rel=0.02)
    now = busy(pace, now, 6.0)
    assert pace.per_s == pytest.approx(25.0 * 0.95 * 1.005**5, rel=0.01)
    now = busy(pace, now, 40.1 - now)
    before = pace.per_s
    busy(pace, now, 1.0)
    assert pace.per_s == pytest.approx(before * 1.2, rel=0.02)


def test_it_never_stops() -> None:
    """It has to notice that it may go again."""
    pace = Pace(100.0, 0.0)
    for second in range(1, 60):
        pace.refused(float(second), second - 0.1, None)
    assert pace.per_s == 1.0


def test_a_wish_of_stripe_is_kept_even_if_the_pace_does_not_fall() -> None:
    """Retry-After."""
    pace = Pace(100.0, 0.0)
    pace.refused(10.0, 9.9, None)
    assert not pace.refused(10.1, 9.9, 5.0)
    assert pace.wait_s(10.1) == pytest.approx(5.0)


def test_after_a_while_of_quiet_a_few_may_go_at_once() -> None:
    """A fifth of a second's worth, not more."""
    pace, at_once = Pace(100.0, 0.0), 0
    while pace.wait_s(100.0) == 0:
        pace.took(100.0)
        at_once += 1
    assert at_once in (5, 6)


def fixed_windows(limit: int) -> Callable[[str, float], bool]:
    """So many in each second of the clock."""
    seen: dict[tuple[str, int], int] = {}

    def admits(kind: str, now: float) -> bool:
        window = (kind, int(now))
        if seen.get(window, 0) >= limit:
            return False
        seen[window] = seen.get(window, 0) + 1
        return True

    return admits


def sliding_windows(limit: int) -> Callable[[str, float], bool]:
    """So many in any second."""
    seen: dict[str, deque[float]] = {}

    def admits(kind: str, now: float) -> bool:
        times = seen.setdefault(kind, deque())
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= limit:
            return False
        times.append(now)
        return True

    return admits


@pytest.mark.slow
@pytest.mark.parametrize("windows", [fixed_windows, sliding_windows])
@pytest.mark.parametrize("limit", [25, 100])
async def test_a_storm_goes_at_the_allowed_rate_in_order_and_loses_nothing(
    windows: Callable[[int], Callable[[str, float], bool]], limit: int
) -> None:
    """F14: few are refused, all are charged once, first come first served; with the pace known, nearly at the limit."""
    world = StripeWorld()
    world.stripe.admits, world.stripe.latency_s = windows(limit), 0.3
    await world.start()
    for storm, slower in enumerate((1.3, 1.1)):
        names = [f"{storm}-{n}" for n in range(STORM_CHARGES)]
        began, refused = world.clock.monotonic(), world.stripe.refused_429["charge"]
        world.ask(*(world.charge(name) for name in names))
        told = await world.until_ended((storm + 1) * STORM_CHARGES)
        took_s = world.clock.monotonic() - began
        refused = world.stripe.refused_429["charge"] - refused
        assert all(isinstance(each, CardCharged) for each in told)
        assert len({each.order_id for each in world.stripe.charges}) == (storm + 1) * STORM_CHARGES
        assert refused / (STORM_CHARGES + refused) <= 0.03
        assert took_s <= slower * STORM_CHARGES / limit
        charged = [each.order_id for each in world.stripe.charges[storm * STORM_CHARGES :]]
        overtaken = sum(abs(n - int(order.split("-")[1])) > 25 for n, order in enumerate(charged))
        assert overtaken <= refused
    assert world.forecast_queue == 0
    await world.stop()


async def test_a_429_for_a_lock_does_not_slow_the_line() -> None:
    """F14: `lock_timeout` is about one object."""
    world = await StripeWorld().start()
    world.stripe.script("charge", *[Fate.LOCKED] * 5)
    world.ask(*(world.charge(str(n)) for n in range(50)))
    await world.until_ended(50)
    assert world.forecast.per_s >= 25.0
    await world.stop()


async def test_lookups_have_a_share_of_their_own() -> None:
    """F14: a queue of charges, or their 429, holds up no look-up."""
    world = await StripeWorld().start()
    world.stripe.script("charge", Wish(30.0))
    world.ask(*(world.charge(str(n)) for n in range(500)))
    await world.clock.advance(1)
    before = len(world.ended)
    world.ask(finding("0"))
    await world.until_ended(before + 1, limit_s=1.0)
    await world.stop()


async def test_a_wish_holds_the_whole_line() -> None:
    """Retry-After: nothing of that kind leaves before."""
    world = await StripeWorld().start()
    world.stripe.script("charge", Wish(7.0))
    world.ask(*(world.charge(str(n)) for n in range(20)))
    await world.clock.advance(6.9)
    sent = len(world.stripe.sent)
    await world.clock.advance(0.2)
    assert len(world.stripe.sent) > sent
    assert sent <= 6
    await world.stop()
