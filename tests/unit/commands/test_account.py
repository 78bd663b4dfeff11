"""`python -m payment account`, over fakes: what it shows, what it moves, and when it refuses to (F48)."""

import io
import os
from datetime import timedelta

import pytest

from payment.__main__ import main
from payment.commands.account import EX_DIFFERS, AccountCommand
from payment.core.account import BoundAccount, StripeAccount
from payment.settings.environment import EX_CONFIG
from tests.support.fakes.cards import ACCOUNT, FakeCards, FakeStripe, Fate
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.store import FakeStore
from tests.unit.core.builders import ORDER, T0, confirming
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]

OTHER = BoundAccount(StripeAccount("acct_other", True, "f"), T0, "web-1")


class World:
    def __init__(self, bound: BoundAccount | None = None) -> None:
        self.log = Log("info")
        self.clock = FakeClock(T0 + timedelta(days=1))
        self.stripe, self.store = FakeStripe(self.clock), FakeStore()
        self.store.database.account = bound
        self.cards = FakeCards(self.stripe)
        self.out = io.StringIO()

    async def run(self, *, move: bool = False, force: bool = False) -> int:
        command = AccountCommand(self.store, self.cards, self.clock, "operator", self.out)
        return await command.run(move=move, force=force)

    @property
    def output(self) -> str:
        return self.out.getvalue()

    @property
    def moves(self) -> int:
        return sum(line["event"] == "account_moved" for line in self.log.lines)


async def test_it_shows_both_accounts_and_whether_they_are_the_same() -> None:
    """Exit 0, or 1 where they differ. Nothing is written, and every port is closed."""
    for bound, code, words in (
        (None, os.EX_OK, "belongs to no Stripe account yet"),
        (BoundAccount(ACCOUNT, T0, "web-1"), os.EX_OK, "kept by web-1"),
        (OTHER, EX_DIFFERS, "acct_other (live mode)"),
    ):
        world = World(bound)
        assert await world.run() == code
        assert words in world.output
        assert "STRIPE_KEY: is for the Stripe account acct_fake (test mode)" in world.output
        assert (world.store.database.account, world.moves) == (bound, 0)
        assert (world.store.closed, world.cards.closed) == (True, True)


async def test_a_move_is_stored_and_logged() -> None:
    """From one account to the other, or from none."""
    for bound in (None, OTHER):
        world = World(bound)
        assert await world.run(move=True) == os.EX_OK
        assert world.store.database.account == BoundAccount(ACCOUNT, world.clock.now(), "operator")
        assert world.moves == 1


async def test_to_move_to_the_same_account_moves_nothing() -> None:
    """The move was requested twice, or by mistake."""
    world = World(BoundAccount(ACCOUNT, T0, "web-1"))
    assert await world.run(move=True) == os.EX_OK
    assert ("Nothing to move" in world.output, world.moves) == (True, 0)


async def test_it_refuses_while_orders_wait_unless_it_is_forced() -> None:
    """The charges of these orders at the old account would be neither found nor refunded."""
    world = World(OTHER)
    world.store.database.put(confirming().doc)
    assert await world.run(move=True) == EX_DIFFERS
    assert (ORDER in world.output, world.store.database.account) == (True, OTHER)
    assert await world.run(move=True, force=True) == os.EX_OK
    assert world.store.database.account != OTHER


async def test_a_move_after_another_process_moved_changes_nothing() -> None:
    """The stored account is no longer the one that was shown."""
    world = World(OTHER)
    world.store.stall("replace")
    world.store.database.rebind = lambda old, new: False  # type: ignore[method-assign]
    world.store.go_on()
    assert await world.run(move=True) == EX_DIFFERS
    assert ("Run the command again" in world.output, world.moves) == (True, 0)


async def test_a_server_that_does_not_answer_is_named() -> None:
    """Exit 69, with the name of the server: MongoDB, or Stripe."""
    world = World()
    world.store.away = "no primary"
    assert await world.run() == os.EX_UNAVAILABLE
    assert "MongoDB: no primary" in world.output
    world = World(OTHER)
    world.stripe.script("check", Fate.KEY_REFUSED)
    assert await world.run(move=True) == os.EX_UNAVAILABLE
    assert world.store.database.account == OTHER


def test_wrong_settings_are_78_and_a_wrong_command_line_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The same exit codes as the service."""
    assert main(["account"], {}) == EX_CONFIG
    assert "STRIPE_KEY" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["acount"], {})
    assert ended.value.code == 2
