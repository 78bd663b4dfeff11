"""The service over fakes: messages and in-flight effects when an actor is replaced."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec import structs

from payment.actors.http.connections import ListeningSockets
from payment.actors.messages import ActorRestarted
from payment.core.order import Order
from payment.ops.logs import get_logger
from payment.ops.secret import Secret
from payment.process.listening import listen
from payment.service import MailboxLimits, Ports, Service, secrets_of
from payment.settings.environment import Settings
from tests.support.fakes.cards import FakeCards, FakeStripe
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.ids import FakeIds
from tests.support.fakes.store import FakeStore
from tests.support.fakes.transport import FakeBroker, FakeTransport

SETTINGS = Settings(
    nats_url=(Secret("nats://bus:4222", "nats://bus:4222"),),
    nats_cluster_id=None,
    nats_client_id="web-1",
    queue_group_name="payment-service",
    mongo_url=Secret("mongodb://store/payment"),
    jwt_key=Secret("not-so-secret"),
    stripe_key=Secret("sk_test_nothing"),
    port=0,
    host="127.0.0.1",
    stripe_api_base=None,
    currency="usd",
    charge_wait_s=20,
    stripe_rate_per_s=100,
    stripe_prepare=False,
    nats_stream="ticketing",
    log_level="info",
)


def ports(store: FakeStore, broker: FakeBroker, clock: FakeClock) -> Ports:
    stripe = FakeStripe(clock)
    listening = ListeningSockets("127.0.0.1", 0, get_logger())
    return Ports(store, lambda: FakeTransport(broker), lambda: FakeCards(stripe), clock, FakeIds(), listening)


def test_every_secret_of_the_settings_is_masked_in_the_log() -> None:
    """The ops key too, where there is one."""
    guarded = structs.replace(SETTINGS, ops_key=Secret("a-key-for-operators"))
    assert set(secrets_of(guarded)) - set(secrets_of(SETTINGS)) == {"a-key-for-operators"}
    assert {"not-so-secret", "sk_test_nothing"} <= set(secrets_of(SETTINGS))


class ServiceStack:
    """One process over fakes, running."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.broker = FakeBroker(self.clock)
        self.stop = asyncio.Event()
        stripe = FakeStripe(self.clock)
        ports = Ports(
            self.store,
            lambda: FakeTransport(self.broker),
            lambda: FakeCards(stripe),
            self.clock,
            FakeIds(),
            ListeningSockets("127.0.0.1", 0, get_logger(), listen("127.0.0.1", 0)),
        )
        self.service = Service(SETTINGS, ports)
        self.running = asyncio.create_task(self.service.run(self.stop, asyncio.Event()))

    async def created(self, order_id: str) -> None:
        """Deliver the creation of an order, and let the service do everything that it can at this instant."""
        expires_at = (self.clock.now() + timedelta(days=1)).isoformat()
        event = {"id": order_id, "version": 0, "status": "created", "userId": "user-1", "expiresAt": expires_at}
        self.broker.put("order:created", json.dumps(event | {"ticket": {"id": "t1", "price": 19.99}}).encode())
        await self.clock.settle()

    def crash_at_the_next_write(self) -> None:
        """Let the ledger crash of an unexpected exception; after that the store works again."""

        def crash(_order: Order) -> None:
            self.store.before_write = lambda _order: None
            raise RuntimeError("a bug")

        self.store.before_write = crash

    def writer(self, order_id: str) -> str:
        order = self.store.database.get(order_id)
        assert order is not None
        assert order.writer is not None
        return order.writer.process


@pytest.fixture
async def stack() -> AsyncIterator[ServiceStack]:
    stack = ServiceStack()
    await stack.clock.until(lambda: stack.service.supervisor.ready)
    await stack.clock.settle()
    yield stack
    stack.stop.set()
    await stack.clock.until(stack.running.done)
    assert stack.running.result() == 0


async def test_a_replaced_ledger_is_another_incarnation_of_its_process(stack: ServiceStack) -> None:
    """F32: the outcomes of its predecessor's effects in flight are not known: they must not look like its own."""
    await stack.created("o1")
    stack.crash_at_the_next_write()
    await stack.created("o2")
    await stack.clock.until(lambda: stack.store.database.get("o2") is not None)
    assert stack.writer("o2") != stack.writer("o1")
    assert {stack.writer(each).partition("#")[0] for each in ("o1", "o2")} == {"web-1"}


async def test_messages_wait_while_the_ledger_is_replaced(stack: ServiceStack) -> None:
    """F32: the mailbox outlives its reader, so no message has to be sent again."""
    stack.crash_at_the_next_write()
    await stack.created("o1")
    assert not stack.service.supervisor.ready
    await stack.created("o2")
    assert stack.store.database.get("o2") is None
    await stack.clock.until(lambda: stack.service.supervisor.ready)
    await stack.clock.settle()
    assert stack.store.database.get("o2") is not None


async def test_a_restart_reaches_the_ledger_through_a_full_mailbox() -> None:
    """F32, F39: without the message the ledger would count the dead actor's effects as in flight for ever."""
    clock = FakeClock()
    service = Service(SETTINGS, ports(FakeStore(), FakeBroker(clock), clock), MailboxLimits(ledger=1))
    for name in ("nats", "stripe"):
        service._restarted(name)
    await clock.settle()
    assert await service._ledger.get() == ActorRestarted("nats")
    await clock.settle()
    assert service._ledger.get_nowait() == ActorRestarted("stripe")
