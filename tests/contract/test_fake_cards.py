"""The fake Stripe keeps the card processors' contract, on which the simulation's results depend."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from payment.core.messages import Instrument, InstrumentKind, IntentStatus
from payment.ports.cards import (
    Charges,
    Declined,
    Handover,
    IntentAnswer,
    NotYet,
    Obstacle,
    Refused,
    Unclear,
    UnexpectedState,
)
from payment.stripe_sandbox.rate_limits import RateLimits
from tests.contract.cards_contract import BY_SDK, CardsContract, confirming, making, token
from tests.support.fakes.cards import LOST, OPEN, PREFIXES, PROCESSING_TAKES, WON, FakeStripe, Fate, Late, Stall
from tests.support.fakes.clock import FakeClock

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
        limits = RateLimits(per_s, self.clock.monotonic)
        self.stripe.admits = lambda kind, _now: limits.admits(kind)

    async def instrument(self, kind: InstrumentKind, card: str) -> Instrument:
        return Instrument(kind, f"{PREFIXES[kind]}{card}")

    async def authenticate(self, intent_id: str, completes: bool) -> None:
        self.stripe.authenticate(intent_id, completes)

    async def browser_confirm(self, handover: Handover, card: str) -> None:
        self.stripe.browser_confirm(handover.client_secret, token(f"tok_{card}"))

    async def cancel_by_hand(self, intent_id: str) -> None:
        assert self.stripe.cancel_by_hand(intent_id)

    async def refund_by_hand(self, charge_id: str) -> None:
        assert self.stripe.refund_by_hand(charge_id)

    async def fail_refund(self, refund_id: str) -> None:
        self.stripe.fail_refund(next(each for each in self.stripe.refunds if each.id == refund_id))

    async def dispute(self, charge_id: str) -> None:
        self.stripe.dispute(next(each for each in self.stripe.charges if each.id == charge_id), OPEN)

    async def decide(self, charge_id: str, *, won: bool) -> None:
        charge = next(each for each in self.stripe.charges if each.id == charge_id)
        self.stripe.dispute(charge, WON if won else LOST)


@pytest.fixture
def bench() -> FakeBench:
    return FakeBench()


class TestFakeCards(CardsContract):
    """The whole suite."""


async def made(bench: FakeBench) -> str:
    outcome = await bench.run(bench.cards.create(making()))
    assert isinstance(outcome, IntentAnswer)
    return outcome.id


async def test_a_late_landing_charges_after_its_caller_gave_up(bench: FakeBench) -> None:
    """F18: the outcome is unclear at once, and the charge is made later, once."""
    intent_id = await made(bench)
    bench.stripe.script("confirm", Late(60.0))
    assert isinstance(await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id)), Unclear)
    assert bench.stripe.charges == []
    await bench.clock.advance(60.0)
    assert len(bench.stripe.kept_charges("o1")) == 1


async def test_a_late_landing_finds_the_fence(bench: FakeBench) -> None:
    """F18: after a cancel it charges nothing."""
    intent_id = await made(bench)
    bench.stripe.script("confirm", Late(60.0))
    await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
    await bench.run(bench.cards.cancel(intent_id))
    await bench.clock.advance(60.0)
    assert bench.stripe.charges == []
    outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
    assert isinstance(outcome, UnexpectedState)


async def test_a_key_is_in_use_while_its_request_is_executing(bench: FakeBench) -> None:
    """F13: 409 until the first has ended, then its answer."""
    intent_id = await made(bench)
    asked = confirming(token("tok_visa"))
    bench.stripe.script("confirm", Late(20.0, holds_key=True))
    assert isinstance(await bench.run(bench.cards.confirm(asked, intent_id)), Unclear)
    second = await bench.run(bench.cards.confirm(asked, intent_id))
    assert isinstance(second, NotYet)
    assert second.obstacle is Obstacle.KEY_IN_USE
    await bench.clock.advance(20.0)
    third = await bench.run(bench.cards.confirm(asked, intent_id))
    assert isinstance(third, IntentAnswer)
    assert third.replayed
    assert len(bench.stripe.charges) == 1


async def test_a_request_that_has_arrived_outlives_its_caller(bench: FakeBench) -> None:
    """A cancelled call may charge all the same."""
    intent_id = await made(bench)
    bench.stripe.latency_s = 1.0
    call = asyncio.create_task(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
    await bench.clock.settle()
    call.cancel()
    await bench.clock.advance(2.0)
    assert call.cancelled()
    assert len(bench.stripe.charges) == 1


async def test_a_stalled_request_waits_for_its_event(bench: FakeBench) -> None:
    """The test decides how long."""
    go = asyncio.Event()
    bench.stripe.script("create", Stall(go))
    call = asyncio.create_task(bench.cards.create(making()))
    await bench.clock.advance(1_000.0)
    assert not call.done()
    go.set()
    assert isinstance(await call, IntentAnswer)


@pytest.mark.parametrize(("card", "charges"), [("slow", 1), ("slowDeclined", 0)])
async def test_a_bank_may_take_its_time(bench: FakeBench, card: str, charges: int) -> None:
    """The intent is processing: the list shows a pending charge; the intent can't be cancelled; then it succeeds or
    fails.
    """
    intent_id = await made(bench)
    outcome = await bench.run(bench.cards.confirm(confirming(token(f"tok_{card}")), intent_id))
    assert isinstance(outcome, IntentAnswer)
    assert outcome.status is IntentStatus.PROCESSING
    assert await bench.run(bench.cards.list_charges("o1", "p-o1")) == Charges((), pending=True)
    assert isinstance(await bench.run(bench.cards.cancel(intent_id)), UnexpectedState)
    bench.clock.oversleep(PROCESSING_TAKES.total_seconds())
    listed = await bench.run(bench.cards.list_charges("o1", "p-o1"))
    assert isinstance(listed, Charges)
    assert (len(listed.charges), listed.pending) == (charges, False)


@pytest.mark.parametrize("anew", [True, False])
async def test_a_confirm_of_an_intent_that_awaits_its_customer(bench: FakeBench, anew: bool) -> None:
    """Stripe's documentation does not specify it: both are possible."""
    bench.stripe.confirms_over_action = anew
    intent_id = await made(bench)
    await bench.run(
        bench.cards.confirm(confirming(token("tok_threeDSecureRequired"), authentication=BY_SDK), intent_id)
    )
    outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa"), attempt=2), intent_id))
    assert isinstance(outcome, IntentAnswer if anew else UnexpectedState)
    assert len(bench.stripe.kept_charges("o1")) == int(anew)


@pytest.mark.parametrize("stored", [True, False])
async def test_a_refusal_may_be_stored_for_its_key(bench: FakeBench, stored: bool) -> None:
    """A stored one makes another card under that key an alarm; otherwise the key is free."""
    bench.stripe.stores_refusals = stored
    intent_id = await made(bench)
    for _ in range(2):
        assert isinstance(await bench.run(bench.cards.confirm(confirming(token("tok_none")), intent_id)), Refused)
    outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
    assert isinstance(outcome, Unclear if stored else IntentAnswer)


async def test_a_browser_is_declined_as_a_confirm_of_ours_is(bench: FakeBench) -> None:
    """By the secret alone; a wrong one finds nothing."""
    intent_id = await made(bench)
    secret = bench.stripe.intents[intent_id].secret
    assert bench.stripe.with_secret(f"{intent_id}_secret_guessed") is None
    assert isinstance(bench.stripe.browser_confirm(secret, token("tok_chargeDeclined")), Declined)
    assert bench.stripe.kept_charges("o1") == []


async def test_a_charge_of_release_0_1_0_is_listed_with_its_attempt(bench: FakeBench) -> None:
    """Its metadata name the attempt; another payment's charge has none."""
    first = bench.stripe.charge_of_release_0_1_0("o1", "p-o1", 3, 1999, "usd")
    bench.stripe.charge_of_release_0_1_0("o1", "p-other", 7, 1999, "usd")
    listed = await bench.run(bench.cards.list_charges("o1", "p-o1"))
    assert isinstance(listed, Charges)
    assert [each.attempt for each in listed.charges] == [0, 3]
    assert listed.charges[1].charge.charge_id == first
