"""The Stripe actor, as transcripts: what the ledger asks for, what Stripe does, what the ledger hears."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payment.actors.stripe import CALL_STUCK_S
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    EffectReturned,
    Evidence,
    FoundCharge,
)
from payment.ops.health import Status
from tests.actors.stripe_world import StripeWorld, finding, finding_refund, refunding
from tests.fakes.cards import Fate, Late, Stall, Wish


@pytest.fixture
async def world() -> AsyncIterator[StripeWorld]:
    world = await StripeWorld().start()
    yield world
    await world.stop()
    await world.stripe.close()


async def test_a_charge_is_sent_and_told(world: StripeWorld) -> None:
    """The plain way: one call, one end."""
    world.ask(world.charge())
    assert await world.until_ended(1) == [CardCharged("o1", 1, "ch_1")]
    assert (world.forecast_queue, world.stripe_up) == (0, True)


@pytest.mark.parametrize(("fate", "on_the_books"), [(Fate.LOSE_ANSWER, 1), (Fate.LOSE_REQUEST, 0)])
async def test_a_charge_without_an_answer_is_unclear_and_not_sent_again(
    world: StripeWorld, fate: Fate, on_the_books: int
) -> None:
    """F09, F10, F11: its next send is counted on paper first, so it goes back to the ledger."""
    world.stripe.script("charge", fate)
    world.ask(world.charge())
    assert await world.until_ended(1) == [ChargeUnclear("o1", 1, 1)]
    await world.clock.advance(60)
    assert (len(world.stripe.sent), len(world.stripe.charges)) == (1, on_the_books)
    world.ask(world.charge(send=2))
    assert await world.until_ended(2) == [CardCharged("o1", 1, "ch_1")]


async def test_a_replayed_500_is_told_as_stored(world: StripeWorld) -> None:
    """F12: first unclear, then stored; Stripe is there to say so, and stays up."""
    world.stripe.script("charge", Fate.ERROR_BEFORE)
    world.ask(world.charge())
    assert await world.until_ended(1) == [ChargeUnclear("o1", 1, 1)]
    for send in range(2, 9):
        world.ask(world.charge(send=send))
    assert set(await world.until_ended(2)) == {ChargeErrorStored("o1", 1)}
    assert world.stripe_up


async def test_turns_are_given_in_the_order_of_the_decisions(world: StripeWorld) -> None:
    """F14: of two commits under way at once the later one may be confirmed first. Its people pass nobody by that."""
    world.stripe.go_away(Fate.RATE_LIMITED)
    first = [world.charge(f"first{number}") for number in range(5)]
    await world.clock.advance(0.001)
    world.ask(*(world.charge(f"second{number}") for number in range(5)))
    world.ask(*first)
    await world.clock.advance(0.1)
    world.stripe.come_back()
    await world.until_ended(10)
    came = [each.order_id for each in world.stripe.charges]
    assert sorted(came[:5]) == [f"ofirst{number}" for number in range(5)]


async def test_a_key_in_use_waits_with_the_same_key(world: StripeWorld) -> None:
    """F13: asked again until the other request has ended."""
    world.stripe.script("charge", Late(20, holds_key=True))
    world.ask(world.charge())
    assert await world.until_ended(1) == [ChargeUnclear("o1", 1, 1)]
    world.ask(world.charge(send=2))
    assert await world.until_ended(2) == [CardCharged("o1", 1, "ch_1")]
    assert {each.key for each in world.stripe.sent} == {"k1"}
    assert len(world.stripe.charges) == 1


async def test_a_decline_is_told_with_its_code(world: StripeWorld) -> None:
    """F15."""
    world.ask(world.charge(token="tok_chargeDeclinedLostCard"))
    (told,) = await world.until_ended(1)
    assert isinstance(told, CardDeclined)
    assert told.decline_code == "lost_card"


async def test_other_parameters_under_one_key_alarm_once(world: StripeWorld) -> None:
    """F16: impossible by design; if it is seen, somebody is called, and the fate is unclear."""
    world.ask(world.charge())
    await world.until_ended(1)
    world.ask(world.charge(amount=5000, send=2))
    assert await world.until_ended(2) == [ChargeUnclear("o1", 1, 2)]
    assert b'event="idempotency_alarm"} 1.0' in world.metrics.render()


async def test_an_old_key_is_never_sent_however_long_it_waited(world: StripeWorld) -> None:
    """F17: Stripe is away for a day; at not_after the charge is given back, and it is not sent when Stripe is back."""
    world.stripe.go_away()
    world.ask(world.charge(not_after=world.clock.now() + timedelta(hours=23)))
    await world.clock.advance(60)
    world.stripe.go_away(Fate.KEY_REFUSED)
    tried = len(world.stripe.sent)
    world.clock.oversleep(24 * 3600)
    assert await world.until_ended(1) == [ChargeWithheld("o1", 1, 1)]
    world.stripe.come_back()
    await world.clock.advance(10)
    assert (world.stripe.charges, len(world.stripe.sent)) == ([], tried)


async def test_what_is_withdrawn_before_its_turn_is_never_sent(world: StripeWorld) -> None:
    """F19, F20: in the line, while it sleeps, and between its turn and its request."""
    in_line, asleep = world.charge(), world.charge("2", not_before=world.clock.now() + timedelta(seconds=3))
    world.ask(in_line, asleep)
    world.withdraw(in_line)
    world.withdraw(asleep)
    await world.clock.settle()
    assert world.now_ended() == [ChargeWithheld("o1", 1, 1), ChargeWithheld("o2", 1, 1)]
    await world.clock.advance(60)
    assert (world.stripe.sent, world.forecast_queue) == ([], 0)


async def test_what_is_withdrawn_on_the_wire_ends_there(world: StripeWorld) -> None:
    """F20: a request can't be called back: charged is charged. One that did nothing is not made again."""
    go = asyncio.Event()
    world.stripe.script("charge", Stall(go))
    effect = world.charge()
    world.ask(effect)
    await world.clock.advance(1)
    world.withdraw(effect)
    await world.clock.advance(1)
    assert world.now_ended() == []
    go.set()
    assert await world.until_ended(1) == [CardCharged("o1", 1, "ch_1")]
    world.stripe.script("charge", Fate.RATE_LIMITED)
    world.stripe.latency_s = 1.0
    other = world.charge("2")
    world.ask(other)
    world.withdraw(other)
    assert await world.until_ended(2) == [ChargeWithheld("o2", 1, 1)]


async def test_a_refund_without_an_answer_is_repeated_with_its_own_key(world: StripeWorld) -> None:
    """F23: until it is known, and never twice."""
    world.ask(world.charge())
    await world.until_ended(1)
    world.stripe.script("refund", Fate.LOSE_ANSWER, Fate.LOSE_REQUEST, Fate.LOCKED)
    world.ask(refunding("ch_1"), finding_refund("ch_1", "r9"))
    told = await world.until_ended(3)
    assert told == [ChargeRefunded("o1", "ch_1", "re_1")] * 2
    assert (world.stripe.calls["refund"], len(world.stripe.refunds)) == (4, 1)


async def test_a_look_is_repeated_until_it_is_answered(world: StripeWorld) -> None:
    """A list proves something only if it was read."""
    world.ask(world.charge())
    await world.until_ended(1)
    world.stripe.script("find", Fate.LOSE_ANSWER, Fate.ERROR_BEFORE, Fate.UNREACHABLE)
    world.ask(finding(evidence=Evidence.FINAL))
    assert await world.until_ended(2) == [ChargesFound("o1", 1, Evidence.FINAL, (FoundCharge("ch_1", 1),))]


async def test_a_drain_ends_what_is_on_the_wire_and_gives_back_the_rest(world: StripeWorld) -> None:
    """F33: also what comes during the drain, what sleeps, and what would have been repeated."""
    stalls = [asyncio.Event(), asyncio.Event()]
    world.stripe.script("charge", Stall(stalls[0]))
    world.stripe.script("find", Stall(stalls[1]))
    world.ask(world.charge("1"), finding("2"))
    await world.clock.settle()
    world.ask(world.charge("3"), world.charge("4", not_before=world.clock.now() + timedelta(seconds=4)), finding("5"))
    world.actor.mailbox.offer(refunding("ch_9", "r9", "9"))
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.settle()
    world.ask(world.charge("6"))
    await world.clock.settle()
    assert not drain.done()
    world.stripe.script("find_refund", None)
    stalls[0].set()
    stalls[1].set()
    await world.clock.until(drain.done)
    told = {type(each.message).__name__: 0 for each in world.ended}
    for each in world.ended:
        told[type(each.message).__name__] += 1
    assert told["CardCharged"] == 1
    assert told["ChargeWithheld"] == 3
    assert len({each.effect_id for each in world.ended}) == len(world.ended) == 7


async def test_a_look_that_would_be_repeated_is_given_back_by_a_drain(world: StripeWorld) -> None:
    """F33: a drain leaves nothing asleep."""
    go = asyncio.Event()
    world.stripe.script("find", Stall(go), Fate.ERROR_BEFORE)
    world.ask(finding())
    await world.clock.settle()
    drain = asyncio.create_task(world.actor.drain())
    world.stripe.script("find", Fate.LOCKED)
    go.set()
    await world.clock.until(drain.done)
    assert [type(each) for each in world.now_ended()] in ([EffectReturned], [ChargesFound])


@pytest.mark.parametrize(
    "shift", [timedelta(hours=2), timedelta(days=366), timedelta(days=-366), timedelta(minutes=-6)]
)
async def test_nothing_is_sent_when_the_clock_says_too_late_or_makes_no_sense(
    world: StripeWorld, shift: timedelta
) -> None:
    """F34, F38: checked immediately before each send, not when it was queued."""
    world.stripe.script("charge", Wish(5.0))
    world.ask(world.charge())
    await world.clock.advance(1)
    world.clock.jump(shift)
    assert await world.until_ended(1) == [ChargeWithheld("o1", 1, 1)]
    await world.clock.advance(60)
    assert world.stripe.charges == []


async def test_a_process_that_slept_with_a_charge_in_its_hand_does_not_send_it(world: StripeWorld) -> None:
    """F34: it wakes after its order has expired."""
    effect = world.charge(not_before=world.clock.now() + timedelta(seconds=2))
    world.ask(effect)
    await world.clock.settle()
    world.clock.oversleep(3700)
    await world.clock.advance(5)
    assert world.now_ended() == [ChargeWithheld("o1", 1, 1)]
    assert world.stripe.sent == []


async def test_a_refused_key_pauses_all_and_mends_by_itself(world: StripeWorld) -> None:
    """F36: readiness blocks charges, one request a second asks, no order is failed, and none is sent late."""
    world.health.ready()
    world.stripe.go_away(Fate.KEY_REFUSED)
    world.ask(world.charge("1"), world.charge("2", not_after=world.clock.now() + timedelta(seconds=20)))
    await world.clock.advance(30)
    assert world.health.view().dependencies["stripe"].up is False
    assert world.health.status is Status.UNAVAILABLE
    assert len(world.stripe.sent) <= 35
    assert world.now_ended() == [ChargeWithheld("o2", 1, 1)]
    world.stripe.come_back()
    before = world.clock.monotonic()
    assert await world.until_ended(2) == [CardCharged("o1", 1, "ch_1")]
    assert world.clock.monotonic() - before <= 1.0
    assert world.stripe_up


async def test_a_stripe_that_is_away_is_probed_and_found_again(world: StripeWorld) -> None:
    """One request a second for each line while it is away; it counts as away after 10 s; then all goes on."""
    world.stripe.go_away()
    world.ask(*(world.charge(str(n)) for n in range(40)), *(finding(str(n)) for n in range(40)))
    await world.clock.advance(5)
    assert world.stripe_up
    sent = world.stripe.calls.copy()
    await world.clock.advance(20)
    assert not world.stripe_up
    assert world.stripe.calls["charge"] - sent["charge"] <= 21
    assert world.stripe.calls["find"] - sent["find"] <= 21
    world.stripe.come_back()
    before = world.clock.monotonic()
    await world.until_ended(80)
    assert world.clock.monotonic() - before < 1.0 + 40 / 25 + 1.0
    assert len(world.stripe.charges) == 40


async def test_a_stripe_that_comes_back_is_noticed_without_traffic(world: StripeWorld) -> None:
    """Asked every few seconds while it is not known to be well, and not at all while it is."""
    assert world.stripe.calls["check"] == 1
    await world.clock.advance(60)
    assert world.stripe.calls["check"] == 1
    world.stripe.go_away(Fate.KEY_REFUSED)
    world.ask(world.charge())
    await world.clock.advance(1)
    assert not world.stripe_up
    world.stripe.come_back()
    await world.clock.advance(4)
    assert world.stripe_up


async def test_a_key_that_may_not_refund_stops_no_charge(world: StripeWorld) -> None:
    """F36: a restricted key lacks one permission: it is alarmed, tried again, and charges go on."""
    world.stripe.script("refund", *[Fate.KEY_REFUSED] * 3)
    world.ask(refunding("ch_1"))
    for _ in range(10):
        await world.clock.advance(0.5)
        assert world.stripe_up
    assert world.stripe.calls["refund"] > 3


async def test_a_refused_key_is_probed_whatever_else_is_owed(world: StripeWorld) -> None:
    """F36: refunds that are refused too do not make the charges hammer Stripe."""
    world.stripe.go_away(Fate.KEY_REFUSED)
    for name in range(10):
        world.ask(world.charge(str(name)))
    world.ask(refunding("ch_1"))
    await world.clock.advance(12)
    assert world.stripe.calls["charge"] <= 14


async def test_a_call_that_no_timeout_ends_is_a_hang(world: StripeWorld) -> None:
    """F32: an actor that only waits for a lost call shows no sign of life; a busy one does."""
    world.stripe.script("charge", Stall(asyncio.Event()))
    world.ask(world.charge())
    await world.clock.advance(CALL_STUCK_S)
    assert world.actor.stuck_for_s() == 0.0
    await world.clock.advance(16)
    assert world.actor.stuck_for_s() == pytest.approx(16)
    world.stripe.script("charge", Stall(asyncio.Event()))


async def test_a_full_ledger_holds_up_ends_and_nothing_else() -> None:
    """F39: `receive` never waits for the ledger, so a withdrawal is still heeded, and every end arrives once."""
    world = await StripeWorld(ledger_limit=1).start()
    effects = [world.charge(str(n)) for n in range(10)]
    world.ask(*effects)
    await world.clock.advance(5)
    assert (len(world.stripe.charges), world.actor.stuck_for_s()) == (10, 0.0)
    late = world.charge("late", not_before=world.clock.now() + timedelta(seconds=4))
    world.ask(late)
    world.withdraw(late)
    await world.clock.advance(10)
    await world.until_ended(11)
    assert len({each.effect_id for each in world.ended}) == len(world.ended) == 11
    assert len(world.stripe.sent) == 10
    await world.stop()
