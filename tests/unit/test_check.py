"""`run.py --check`, over fakes: its lines, its exit codes, and that every port is closed."""

import io
import os

import pytest

from payment.actors.http.connections import ListeningSockets
from payment.check import check_ports
from payment.core.account import BoundAccount, StripeAccount
from payment.ops.logs import get_logger
from payment.ports.cards import NotYet, Permission, Unclear
from payment.service import Ports
from tests.support.fakes.cards import ACCOUNT, FakeCards, FakeStripe, Fate
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.ids import FakeIds
from tests.support.fakes.store import FakeStore
from tests.support.fakes.transport import FakeBroker, FakeTransport
from tests.unit.core.builders import T0


class OurBug(Exception):
    """An exception that no port may raise."""


class BrokenStore(FakeStore):
    async def ping(self) -> str:
        raise OurBug


class WrongAddress(FakeCards):
    async def check(self) -> StripeAccount | NotYet | Unclear:
        return Unclear("does not know our requests")


class World:
    """The ports of one check, and its output."""

    def __init__(self, store: FakeStore, cards: type[FakeCards] = FakeCards) -> None:
        clock = FakeClock()
        self.store = store
        self.stripe = FakeStripe(clock)
        self.cards = cards(self.stripe)
        self.broker = FakeBroker(clock)
        self.transport = FakeTransport(self.broker)
        listening = ListeningSockets("127.0.0.1", 0, get_logger())
        self.ports = Ports(store, lambda: self.transport, lambda: self.cards, clock, FakeIds(), listening)
        self.out = io.StringIO()

    async def check(self) -> int:
        return await check_ports(self.ports, self.out)

    @property
    def verdicts(self) -> list[list[str]]:
        return [line.split()[:2] for line in self.out.getvalue().splitlines()]


async def test_the_check_succeeds_where_every_server_answers() -> None:
    """A line for each server, and 0."""
    world = World(FakeStore())
    assert await world.check() == os.EX_OK
    assert world.verdicts == [["mongodb", "ok"], ["nats", "ok"], ["stripe", "ok"]]


async def test_a_store_that_accepts_no_writes_is_a_failure() -> None:
    """F52: exit 69, with the server's text: a role that may only read answers a ping."""
    store = FakeStore()
    store.refuses = "not authorized on payment to execute command (Unauthorized, 13)"
    world = World(store)
    assert await world.check() == os.EX_UNAVAILABLE
    assert world.verdicts[0] == ["mongodb", "FAILED"]
    assert "not authorized" in world.out.getvalue()


async def test_indexes_to_be_made_are_named_and_made_by_the_service_alone() -> None:
    """Kind 7: an operator reads here, before the release changes anything, that a unique index prevents sharding."""
    store = FakeStore()
    store.missing = ("payment", "payment_id (unique, to be dropped)")
    world = World(store)
    assert await world.check() == os.EX_OK
    assert "payment_id (unique, to be dropped)" in world.out.getvalue()
    assert store.prepared == 0


async def test_a_stripe_that_would_refuse_every_charge_is_a_failure() -> None:
    """Exit 69, with Stripe's text."""
    world = World(FakeStore(), WrongAddress)
    assert await world.check() == os.EX_UNAVAILABLE
    assert world.verdicts == [["mongodb", "ok"], ["nats", "ok"], ["stripe", "FAILED"]]
    assert "does not know our requests" in world.out.getvalue()


async def test_a_broker_with_weaker_guarantees_is_degraded_and_no_failure() -> None:
    """F53: its text, and exit 0: such a broker does not stop a release. Only one that loses events is a failure."""
    world = World(FakeStore())
    world.broker.weak = "JetStream at h, but stream s: max_age is 60 s"
    assert await world.check() == os.EX_OK
    assert world.verdicts == [["mongodb", "ok"], ["nats", "DEGRADED"], ["stripe", "ok"]]
    assert "max_age is 60 s" in world.out.getvalue()


async def test_a_key_that_lacks_a_permission_is_a_failure() -> None:
    """F36: the line names the permission, in Stripe's words; a permission that is not known is a failure too."""
    world = World(FakeStore())
    world.stripe.forbidden = {Permission.CREATE: "the permission rak_payment_intent_write is missing"}
    assert await world.check() == os.EX_UNAVAILABLE
    assert "STRIPE_KEY may not create: the permission rak_payment_intent_write is missing" in world.out.getvalue()
    world = World(FakeStore())
    world.stripe.script("permission", Fate.ERROR_BEFORE)
    assert await world.check() == os.EX_UNAVAILABLE
    assert "whether STRIPE_KEY may create is not known" in world.out.getvalue()


async def test_the_key_of_another_account_is_a_failure() -> None:
    """F48: Stripe gets no other call than the one for the account."""
    world = World(FakeStore())
    world.store.database.account = BoundAccount(StripeAccount("acct_1", False, "f"), T0, "web-1")
    assert await world.check() == os.EX_UNAVAILABLE
    assert "the database belongs to the Stripe account acct_1 (test mode)" in world.out.getvalue()
    assert world.stripe.calls["permission"] == 0
    world.store.database.account = BoundAccount(ACCOUNT, T0, "web-1")
    assert await world.check() == os.EX_OK
    assert "the database belongs to it" in world.out.getvalue()


async def test_everything_is_closed_whatever_the_end_is() -> None:
    """Also after an unexpected exception: warnings about open connections would hide it."""
    for store in (FakeStore(), BrokenStore()):
        world = World(store)
        if isinstance(store, BrokenStore):
            with pytest.raises(OurBug):
                await world.check()
        else:
            await world.check()
        assert (store.closed, world.cards.closed) == (True, True)
