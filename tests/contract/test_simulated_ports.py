"""The simulated ports keep the contracts of the real servers.

The simulated ports are the fakes behind a simulated network: latency, losses, lasting conditions. Here they run on a
virtual loop, in a world without orders, and waiting takes no real time. Each test runs in several such worlds, because
latencies are random.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, TypeVar

import bson
import pytest

from payment.core.messages import Instrument, InstrumentKind
from payment.ports.cards import CardProcessor, Handover
from payment.ports.store import OrderStore
from payment.ports.transport import EventTransport
from payment.stripe_sandbox.rate_limits import RateLimits
from tests.contract.cards_contract import CardsContract
from tests.contract.store_contract import StoreContract
from tests.contract.transport_contract import Members, TransportContract
from tests.simulation.bus import SimBus, SimTransport
from tests.simulation.calls import Call
from tests.simulation.loop import Owner, VirtualLoop
from tests.simulation.plan import Plan, Strike
from tests.simulation.process import Process
from tests.simulation.store import SimStore
from tests.simulation.stripe import SimCards, instrument_of
from tests.simulation.world import World
from tests.support.fakes.cards import LOST, PREFIXES, WON

R = TypeVar("R")

SEEDS = range(3)
ACK_WAIT_S = 1.0
"""The ack wait and the deadline that the transports' contract uses."""
KEY_REFUSED_S = 1.0
"""How long a refused key stays refused, in seconds: longer than a request takes."""

FAULTS = {
    "drop_before": "request to Stripe lost",
    "drop_after": "answer of Stripe lost",
    "error_before": "500 stored before acting",
    "error_after": "500 stored after acting",
    "rate_limit": "429 with Retry-After",
    "lock_timeout": "lock timeout",
    "unauthorized": "Stripe refuses our key",
}
"""The faults of the cards' contract, with their names in the simulation."""


def new_loop() -> VirtualLoop:
    """Returns the loop of this module's tests."""
    return VirtualLoop(random.Random(1).random, fail)


def fail(context: dict[str, Any]) -> None:
    """Raise an error that asyncio would only print."""
    raise AssertionError(context)


class QuietWorld(World):
    """A world without planned faults: the next call of a kind gets the fault that a test sets."""

    def __init__(self, seed: int) -> None:
        plan = Plan(seed, processes=0, orders=(), strikes=(), enabled=(), ends_s=0.0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        super().__init__(plan, loop)
        self.next: dict[str, Strike] = {}

    def process(self, name: str = "p1") -> Process:
        """Returns a running process without a service in it."""
        process = Process(self, name)
        process.owner = Owner(name)
        return process

    def happens(self, hook: str, process: Process) -> Call:
        call = super().happens(hook, process)
        if hook in self.next:
            self.strike(self.next.pop(hook), call)
        return call


@pytest.fixture(params=SEEDS)
async def world(request: pytest.FixtureRequest) -> QuietWorld:
    return QuietWorld(request.param)


class StoreBench:
    finds_upper_case_ids = True
    compares_dates_to = timedelta(milliseconds=1)

    def __init__(self, world: QuietWorld) -> None:
        self._world = world

    def store(self) -> OrderStore:
        return SimStore(self._world, self._world.process())

    def insert(self, document: dict[str, Any]) -> None:
        self._world.database.documents[str(document["_id"])] = bson.encode(document)

    def delete(self, order_id: str) -> None:
        del self._world.database.documents[order_id]

    def dead_letters(self) -> list[bytes]:
        return [dead_letter.data for dead_letter in self._world.database.dead_letters.values()]


class TestSimStore(StoreContract):
    """The whole suite."""

    @pytest.fixture
    def bench(self, world: QuietWorld) -> StoreBench:
        return StoreBench(world)


class CardsBench:
    def __init__(self, world: QuietWorld) -> None:
        self.cards: CardProcessor = SimCards(world, world.process())
        self._world = world

    async def run(self, call: Awaitable[R]) -> R:
        """A refused key is a lasting condition: it has to end."""
        outcome = await call
        if self._world.is_on("stripe key refused"):
            await self.skip(KEY_REFUSED_S)
        return outcome

    async def fault(self, kind: str, name: str) -> None:
        self._world.next[f"stripe.{kind}"] = Strike(FAULTS[name], for_s=KEY_REFUSED_S)

    async def skip(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def limit(self, per_s: float) -> None:
        limits = RateLimits(per_s, self._world.clock.monotonic)
        self._world.stripe.accounts.admits = lambda kind, _now: limits.admits(kind)

    async def instrument(self, kind: InstrumentKind, card: str) -> Instrument:
        return Instrument(kind, f"{PREFIXES[kind]}{card}")

    async def authenticate(self, intent_id: str, completes: bool) -> None:
        self._world.stripe.accounts.authenticate(intent_id, completes)

    async def browser_confirm(self, handover: Handover, card: str) -> None:
        self._world.stripe.accounts.browser_confirm(handover.client_secret, instrument_of(f"tok_{card}"))

    async def cancel_by_hand(self, intent_id: str) -> None:
        """Cancel the open intent: a test has only one."""
        self._world.stripe.cancel_by_hand()
        assert intent_id in str(self._world.journal.entries)

    async def refund_by_hand(self, charge_id: str) -> None:
        self._world.stripe.refund_by_hand()
        assert charge_id in str(self._world.journal.entries)

    async def fail_refund(self, refund_id: str) -> None:
        self._world.stripe.fail_a_refund()
        assert f"{refund_id!r}, charge_id" in str(self._world.journal.entries[-1])

    async def dispute(self, charge_id: str) -> None:
        self._world.stripe.dispute_a_charge()
        assert charge_id in str(self._world.journal.entries[-1])

    async def decide(self, charge_id: str, *, won: bool) -> None:
        accounts = self._world.stripe.accounts
        accounts.dispute(next(each for each in accounts.charges if each.id == charge_id), WON if won else LOST)


class TestSimCards(CardsContract):
    """The whole suite."""

    @pytest.fixture
    def bench(self, world: QuietWorld) -> CardsBench:
        return CardsBench(world)


class TransportBench:
    deduplicates = True
    forgets = False

    def __init__(self, world: QuietWorld) -> None:
        self._world = world
        world.bus = SimBus(world, ACK_WAIT_S)

    def transport(self, name: str, group: str = "payment-service") -> EventTransport:
        return SimTransport(self._world, self._world.process(name))

    async def kill(self) -> None:
        self._world.bus.go_away()

    async def start(self) -> None:
        self._world.bus.come_back()

    async def begin_anew(self) -> None:
        self._world.bus.broker.begin_anew()


class TestSimTransport(TransportContract):
    """The whole suite, except for other groups."""

    @pytest.fixture
    def bench(self, world: QuietWorld) -> TransportBench:
        return TransportBench(world)

    @pytest.mark.skip(reason="the simulated bus has one queue group, ours: nothing in a world is another service")
    async def test_each_group_gets_all_events(self, members: Members) -> None: ...
