"""When our key is checked, and what waits for that (F36, F48)."""

import asyncio

import pytest

from payment.actors.messages import AccountCheck
from payment.ops.health import Status
from payment.ports.cards import NotYet, Obstacle, Permission
from tests.unit.actors.stripe.scripted_cards import ACCOUNT, KEY_REFUSED, UNREACHABLE, Stall
from tests.unit.actors.stripe.stripe_world import StripeWorld, paid, retrieving

NOT_YOURS = AccountCheck(False, "the database belongs to acct_2")


async def test_nothing_leaves_before_the_ledger_has_confirmed_the_account() -> None:
    """F48: neither a charge nor a read: the list of another account proves nothing. Then all goes in its order."""
    world = StripeWorld()
    world.verdict = AccountCheck(None)
    await world.start()
    world.release(world.confirm("1"), retrieving("2"))
    await world.clock.advance(2)
    assert (world.cards.kinds, world.accounts_seen, world.stripe_up) == ([], [ACCOUNT], False)
    world.verdict = AccountCheck(True)
    await world.until_ended(2, limit_s=5.0)
    assert world.stripe_up
    await world.stop()


async def test_with_another_account_only_checks_are_sent_until_it_is_put_right() -> None:
    """F48: what is too late by then is given back as never sent; an operator's move is noticed within seconds."""
    world = StripeWorld()
    world.verdict = NOT_YOURS
    await world.start()
    world.health.ready()
    world.release(world.confirm("1"), world.confirm("2", not_after=world.clock.now()))
    for _ in range(30):
        await world.clock.advance(1)
        world.now_ended()
    assert [each.message.order_id for each in world.ended] == ["o2"]
    assert (world.cards.kinds, world.cards.called("permission")) == ([], [])
    assert world.health.view().dependencies["stripe"].why == NOT_YOURS.text
    assert world.health.status is Status.UNAVAILABLE
    world.verdict = AccountCheck(True)
    assert await world.until_ended(2, limit_s=4.0) == [paid()]
    await world.stop()


async def test_an_account_that_becomes_another_one_stops_what_waits() -> None:
    """F48: the database was moved, or another server answers at the address: noticed while nothing is paid too."""
    world = await StripeWorld().start()
    world.verdict = NOT_YOURS
    for _ in range(12):
        await world.clock.advance(1)
        world.now_ended()
    world.release(world.confirm())
    await world.clock.advance(5)
    assert world.cards.kinds == []
    await world.stop()


async def test_ready_rests_on_a_check_of_every_permission() -> None:
    """F36: each is asked for once at the start, by a call that changes nothing."""
    world = StripeWorld()
    world.cards.script("permission", KEY_REFUSED)
    await world.start()
    assert sorted(world.cards.called("permission")) == sorted(permission.value for permission in Permission)
    before = world.stripe_up
    assert "may not create" in (world.health.view().dependencies["stripe"].why or "")
    await world.clock.advance(4)
    assert (before, world.stripe_up) == (False, True)
    await world.stop()


async def test_a_permission_that_no_charge_needs_is_asked_for_again_every_ten_seconds() -> None:
    """F36: an operator grants it in Stripe's dashboard."""
    world = StripeWorld()
    world.cards.script("permission", *[None] * 5, KEY_REFUSED, KEY_REFUSED)
    await world.start()
    assert not world.stripe_up
    await world.clock.advance(9)
    assert len(world.cards.called("permission")) == 6
    await world.clock.advance(20)
    assert (world.cards.called("permission")[6:], world.stripe_up) == (["refund", "refund"], True)
    await world.stop()


async def test_a_hundred_refusals_ask_for_one_check() -> None:
    """F31: and its answer, that the key may create, leaves `/readyz` alone."""
    world = await StripeWorld().start()
    await world.clock.advance(2)
    world.cards.script("create", *[KEY_REFUSED] * 100)
    world.cards.latency_s = 0.3
    before = len(world.cards.called("permission"))
    world.release(*(world.confirm(str(n)) for n in range(100)))
    await world.clock.advance(3)
    assert len(world.cards.called("permission")) - before <= 3
    assert world.stripe_up
    await world.stop()


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_start_without_stripe_sends_nothing_and_shows_it_after_ten_seconds(hangs: bool) -> None:
    """F10, F48: charges are taken meanwhile, and wait; the account is asked for again."""
    world = StripeWorld()
    if hangs:
        world.cards.script("check", *[Stall(asyncio.Event())] * 3)
    else:
        world.cards.away = UNREACHABLE
    await world.start()
    world.health.ready()
    world.release(world.confirm())
    await world.clock.advance(12)
    assert (world.cards.kinds, world.stripe_up) == ([], False)
    world.cards.away = None
    assert await world.until_ended(1, limit_s=12.0) == [paid()]
    await world.stop()


async def test_a_check_that_is_refused_for_its_rate_is_made_again() -> None:
    """F14: Stripe is there."""
    world = StripeWorld()
    world.cards.script("check", NotYet(Obstacle.RATE_LIMITED, "too many"))
    await world.start()
    world.release(world.confirm())
    assert await world.until_ended(1, limit_s=5.0) == [paid()]
    await world.stop()


async def test_a_drain_asks_nothing_any_more() -> None:
    """F33."""
    world = await StripeWorld().start()
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.advance(1)
    before = len(world.cards.checks)
    await world.clock.advance(60)
    assert (drain.done(), len(world.cards.checks)) == (True, before)
    await world.stop()


async def test_after_a_connection_could_not_be_made_the_account_is_asked_for_before_anything_leaves() -> None:
    """F48: what listens at the address by then may be another one. Where it is the same, all goes on at once."""
    world = await StripeWorld().start()
    await world.clock.advance(2)
    world.cards.script("confirm", UNREACHABLE)
    world.cards.latency_s = 0.1
    before = len(world.cards.called("check"))
    world.release(world.known("1"))
    assert await world.until_ended(1, limit_s=3.0) == [paid()]
    assert 1 <= len(world.cards.called("check")) - before <= 2
    world.cards.script("confirm", UNREACHABLE)
    world.verdict = NOT_YOURS
    world.release(world.known("2"))
    for name in "345678":
        await world.clock.advance(1)
        world.now_ended()
        world.release(world.known(name))
    assert len(world.cards.called("confirm")) == 2 + 1
    assert (len(world.ended), world.stripe_up) == (1, False)
    await world.stop()
