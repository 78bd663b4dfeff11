"""The fake Stripe keeps the card processors' contract, so what the simulation proves on it means something."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TypeVar

import pytest

from payment.ports.cards import Charged, NotYet, Obstacle, Unclear
from payment.stripe_sandbox.pace import Pace
from tests.contract.cards_contract import CardsContract, asking
from tests.fakes.cards import FakeStripe, Fate, Late, Stall
from tests.fakes.clock import FakeClock

R = TypeVar("R")

FATES = {
    "drop_before": Fate.LOSE_REQUEST,
    "drop_after": Fate.LOSE_ANSWER,
    "error_before": Fate.ERROR_BEFORE,
    "error_after": Fate.ERROR_AFTER,
    "rate_limit": Fate.RATE_LIMITED,
    "lock_timeout": Fate.LOCKED,
    "unauthorized": Fate.KEY_REFUSED,
}


class FakeBench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stripe = FakeStripe(self.clock)
        self.cards = self.stripe.cards()

    async def run(self, call: Awaitable[R]) -> R:
        async def made() -> R:
            return await call

        return await self.clock.drive(made())

    async def fault(self, kind: str, name: str) -> None:
        self.stripe.script(kind, FATES[name])

    async def skip(self, seconds: float) -> None:
        self.clock.oversleep(seconds)

    async def limit(self, per_s: float) -> None:
        pace = Pace(per_s, self.clock.monotonic)
        self.stripe.admits = lambda kind, _now: pace.admits(kind)


@pytest.fixture
def bench() -> Iterator[FakeBench]:
    return FakeBench()


class TestFakeCards(CardsContract):
    """The whole suite."""


async def test_a_late_landing_charges_after_its_caller_gave_up(bench: FakeBench) -> None:
    """F18: unclear at once, and on the books later."""
    bench.stripe.script("charge", Late(60.0))
    assert isinstance(await bench.run(bench.cards.charge(asking("k1"))), Unclear)
    assert bench.stripe.charges == []
    await bench.clock.advance(60.0)
    assert len(bench.stripe.kept_charges("o1")) == 1


async def test_a_key_is_in_use_while_its_request_is_executing(bench: FakeBench) -> None:
    """F13: 409 until the first has ended, then its answer."""
    bench.stripe.script("charge", Late(20.0, holds_key=True))
    assert isinstance(await bench.run(bench.cards.charge(asking("k1"))), Unclear)
    second = await bench.run(bench.cards.charge(asking("k1")))
    assert isinstance(second, NotYet)
    assert second.obstacle is Obstacle.KEY_IN_USE
    await bench.clock.advance(20.0)
    assert isinstance(await bench.run(bench.cards.charge(asking("k1"))), Charged)
    assert len(bench.stripe.charges) == 1


async def test_a_request_that_has_arrived_outlives_its_caller(bench: FakeBench) -> None:
    """A cancelled call may have charged all the same."""
    bench.stripe.latency_s = 1.0
    call = asyncio.create_task(bench.cards.charge(asking("k1")))
    await bench.clock.settle()
    call.cancel()
    await bench.clock.advance(2.0)
    assert call.cancelled()
    assert len(bench.stripe.charges) == 1


async def test_a_stalled_request_waits_for_its_event(bench: FakeBench) -> None:
    """For as long as the test likes."""
    go = asyncio.Event()
    bench.stripe.script("charge", Stall(go))
    call = asyncio.create_task(bench.cards.charge(asking("k1")))
    await bench.clock.advance(1_000.0)
    assert not call.done()
    go.set()
    assert isinstance(await call, Charged)
