"""The ledger keeps the Stripe account of the database, and checks each key against it (F48)."""

import asyncio

import pytest

from payment.actors.messages import AccountCheck, AccountRead
from payment.core.account import BoundAccount, StripeAccount
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.store import FakeStore
from tests.unit.actors.ledger.ledger_world import Ledger
from tests.unit.core.builders import T0

MINE = StripeAccount("acct_1", False, "my key")
THEIRS = StripeAccount("acct_2", False, "their key")


class World:
    def __init__(self) -> None:
        self.store, self.clock = FakeStore(), FakeClock()
        self.ledger = Ledger(self.store, self.clock)

    async def asked(self, account: StripeAccount) -> "asyncio.Future[AccountCheck]":
        answer: asyncio.Future[AccountCheck] = asyncio.get_running_loop().create_future()
        await self.ledger.send(AccountRead(account, answer))
        return answer


@pytest.fixture
async def world() -> World:
    world = World()
    await world.ledger.start()
    return world


async def test_the_first_account_is_kept_and_every_other_one_is_refused(world: World) -> None:
    """F48: by which process, since when."""
    assert (await world.asked(MINE)).result() == AccountCheck(True)
    assert world.store.database.account == BoundAccount(MINE, world.clock.now(), "web-1")
    verdict = (await world.asked(THEIRS)).result()
    assert (verdict.same, "acct_1" in verdict.text, "acct_2" in verdict.text) == (False, True, True)
    assert (await world.asked(MINE)).result().same
    await world.ledger.end()


async def test_an_account_that_another_process_keeps_at_the_same_instant_stands(world: World) -> None:
    """F48: there was none when it was read."""
    world.store.stall("bind")
    answer = await world.asked(MINE)
    world.store.database.bind(BoundAccount(THEIRS, T0, "web-2"))
    world.store.go_on()
    await world.clock.settle()
    assert answer.result().same is False
    await world.ledger.end()


async def test_the_id_of_the_account_is_added_when_stripe_says_it(world: World) -> None:
    """F48: the same key, which could not read it before; then a rolled key is known too."""
    await world.asked(StripeAccount(None, False, "my key"))
    assert (await world.asked(MINE)).result().same
    assert (await world.asked(StripeAccount("acct_1", False, "a rolled key"))).result().same
    await world.ledger.end()


async def test_while_the_store_is_away_the_question_waits(world: World) -> None:
    """F25, F48: nothing is sent to Stripe meanwhile, and nothing is guessed."""
    world.store.away = "no primary"
    answer = await world.asked(MINE)
    assert answer.result().same is None
    assert "no primary" in answer.result().text
    await world.ledger.end()
    await world.ledger.start()
    answer = await world.asked(MINE)
    await world.clock.advance(5)
    assert not answer.done()
    world.store.away = None
    await world.clock.advance(2)
    assert answer.result().same
    await world.ledger.end()


async def test_a_store_that_takes_no_write_says_why(world: World) -> None:
    """F25: a role without the right to write."""
    world.store.writes_away = "not authorized"
    verdict = (await world.asked(MINE)).result()
    assert (verdict.same, "not authorized" in verdict.text) == (None, True)
    await world.ledger.end()


async def test_a_ledger_that_ends_answers_what_waits(world: World) -> None:
    """F32: the Stripe actor asks again."""
    world.store.stall("account")
    answers = [await world.asked(MINE) for _ in range(2)]
    answers[1].cancel()
    await world.ledger.end()
    assert answers[0].result() == AccountCheck(None)
