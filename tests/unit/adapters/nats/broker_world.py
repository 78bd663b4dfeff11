"""The NATS actor over a real broker: its publishes, their refusals, `/readyz` and the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from structlog.testing import capture_logs

from payment.actors.messages import LedgerMessage, NatsMessage
from payment.actors.nats.actor import NatsActor
from payment.actors.nats.event_payloads import INCOMING_SUBJECTS
from payment.actors.runtime.mailbox import Mailbox
from payment.adapters.nats.jetstream.transport import JetStreamTransport
from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, PublishEvent
from payment.ops.health import Dependency, Health, Status
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.transport import EventTransport
from tests.e2e.waiting import eventually
from tests.support.servers.nats_streaming import CLUSTER_ID

WITHIN_S = 10.0
"""Seconds within which a fault must be reported."""


class BrokerWorld:
    """One process's NATS actor; the test takes the ledger's part."""

    def __init__(self, transport: EventTransport) -> None:
        self.clock = SystemClock()
        self.mailbox: Mailbox[NatsMessage] = Mailbox("nats", 1_000)
        self.ledger: Mailbox[LedgerMessage] = Mailbox("mongo", 1_000)
        self.metrics = Metrics()
        self.up: list[bool] = []
        """Each change of the gauge `payment_dependency_up`."""
        self.health = Health(self.clock, on_change=lambda _, up: self.up.append(up))
        for dependency in Dependency:
            if dependency is not Dependency.NATS:
                self.health.mark_up(dependency)
        self.health.ready()
        self.up.clear()
        self.transport = transport
        self.actor = NatsActor(self.mailbox, self.ledger, transport, "usd", self.health, self.metrics, self.clock)
        self.lines: list[dict[str, Any]] = []

    @property
    def why(self) -> str:
        """Returns the reason why NATS is not well; empty where it is."""
        return self.health.view().dependencies["nats"].why or ""

    @property
    def status(self) -> Status:
        return self.health.status

    @property
    def published(self) -> int:
        """Returns how many events were reported to the ledger as published."""
        return self.ledger.depth

    def alarms(self, event: str = "publish_refused") -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def ask(self, *effects: PublishEvent) -> None:
        for effect in effects:
            assert self.mailbox.offer(effect)

    async def ready(self) -> None:
        await self.until(lambda: self.status is Status.READY, "NATS is up")

    async def degraded(self, *words: str) -> None:
        """Wait until `/readyz` reports degraded with these texts, within 10 s; charges are still accepted."""
        await self.until(
            lambda: self.status is Status.DEGRADED and all(each in self.why for each in words), f"{words} is reported"
        )

    async def until(self, met: Any, what: str, deadline_s: float = WITHIN_S) -> None:
        async def holds() -> bool:
            return bool(met())

        try:
            await eventually(holds, what, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.why!r}, {self.lines[-5:]}") from None


@asynccontextmanager
async def over(transport: EventTransport) -> AsyncIterator[BrokerWorld]:
    """Run an actor; yields its world with the log."""
    structlog.reset_defaults()
    get_logger.cache_clear()
    with capture_logs() as lines:
        world = BrokerWorld(transport)
        world.lines = lines  # type: ignore[assignment]
        await world.actor.setup()
        running = asyncio.create_task(world.actor.run())
        try:
            yield world
        finally:
            running.cancel()
            await asyncio.wait([running])
            await world.actor.close()
    if not running.cancelled():
        running.result()


def jetstream(url: str, client_id: str = "one", ack_wait_s: float = 8.0, clock: SystemClock | None = None) -> Any:
    return JetStreamTransport(
        [url],
        client_id,
        "payment-service",
        "ticketing",
        RandomIds(),
        clock or SystemClock(),
        ack_wait_s,
        consumed=INCOMING_SUBJECTS,
    )


def streaming(url: str, client_id: str = "one") -> Any:
    return StreamingTransport([url], CLUSTER_ID, client_id, "payment-service", RandomIds(), SystemClock())


def paid(name: str = "1") -> PublishEvent:
    message_id = f"{PAYMENT_CREATED}:p{name}"
    return PublishEvent(f"o{name}", PAYMENT_CREATED, f"p{name}", f"ch_{name}", None, message_id)


def refunded(name: str = "1") -> PublishEvent:
    message_id = f"{PAYMENT_REFUNDED}:p{name}"
    return PublishEvent(f"o{name}", PAYMENT_REFUNDED, f"p{name}", f"ch_{name}", f"re_{name}", message_id)
