"""Consumers and streams that other programs created or changed, on a real nats-server (F53)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from payment.actors.messages import EventReceived, Handling, InvalidEventReceived
from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED
from payment.adapters.nats.jetstream.settings import NS_PER_S
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.ops.health import Status
from payment.ports.transport import TransportDegraded, TransportUnavailable
from tests.e2e.waiting import eventually
from tests.support.servers.nats import NatsServer
from tests.unit.adapters.nats.broker_world import WITHIN_S, BrokerWorld, jetstream, over, paid
from tests.unit.adapters.nats.test_publish_refused import admin, nats_server

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]

NAME = "payment-service-order:cancelled"
CANCEL = b'{"id":"o1","version":1,"ticket":{"id":"t"}}'


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path) as server:
        yield server


@pytest.fixture
async def ask(server: NatsServer) -> AsyncIterator[Any]:
    async with admin(server.url) as ask:
        yield ask


async def make(ask: Any, consumer: dict[str, Any] | None = None, **stream: Any) -> None:
    """Create a stream for the orders' events, and the consumer of cancels as another program would."""
    subjects = stream.pop("subjects", [ORDER_CREATED, ORDER_CANCELLED])
    await ask("STREAM.CREATE.orders", {"name": "orders", "subjects": subjects, **stream})
    if consumer is not None:
        config = {"durable_name": NAME, "name": NAME, "ack_policy": "explicit", "filter_subject": ORDER_CANCELLED}
        config = {key: value for key, value in {**config, **consumer}.items() if value is not None}
        path = f"CONSUMER.CREATE.orders.{NAME}"
        path += f".{config['filter_subject']}" if "filter_subject" in config else ""
        await ask(path, {"stream_name": "orders", "config": config})


async def cancel(ask: Any, world: BrokerWorld) -> None:
    await world.transport.publish(ORDER_CANCELLED, CANCEL, "")


async def arrives(world: BrokerWorld, deadline_s: float = 10.0) -> None:
    await world.until(lambda: world.ledger.depth > 0, "the cancel arrives", deadline_s)
    message = world.ledger.get_nowait()
    assert isinstance(message, EventReceived)
    message.settle(Handling.APPLIED)


async def two_checks_made(url: str, consumer: str) -> None:
    """Return when the service has requested a consumer's state twice: the first request may have been sent before this
    call.
    """
    client, settings_checks = Client(), asyncio.Semaphore(0)
    await client.connect(servers=[url])

    async def note(_: Msg) -> None:
        settings_checks.release()

    await client.subscribe(f"$JS.API.CONSUMER.INFO.*.{consumer}", cb=note)
    async with asyncio.timeout(WITHIN_S):
        await settings_checks.acquire()
        await settings_checks.acquire()
    await client.close()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_deliver": 5}, "max_deliver is 5: after 5 tries an event is given up"),
    ({"headers_only": True}, "headers_only"),
    ({"ack_policy": "none"}, "ack_policy is none"),
    ({"ack_policy": "all"}, "ack_policy is all"),
    ({"deliver_subject": "push"}, "push consumer"),
    ({"filter_subject": ORDER_CREATED}, "no order:cancelled would come"),
    ({"priority_groups": ["a"], "priority_policy": "overflow"}, "priority_groups"),
]
WEAK: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"deliver_policy": "new"}, {}, "deliver_policy is new"),
    ({"replay_policy": "original"}, {}, "replay_policy"),
    ({"ack_wait": NS_PER_S}, {}, "ack_wait is 1 s"),
    ({"backoff": [NS_PER_S, 2 * NS_PER_S]}, {}, "backoff is 1 s"),
    ({"max_ack_pending": 1}, {}, "max_ack_pending is 1"),
    ({"inactive_threshold": 60 * NS_PER_S}, {}, "inactive_threshold is 60 s"),
    ({"max_bytes": 10_000}, {"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1"),
    ({}, {"max_msgs_per_subject": 1, "discard": "new"}, "max_msgs_per_subject is 1: it drops older events"),
    ({}, {"max_age": 3600 * NS_PER_S}, "max_age is 3600 s"),
    ({}, {"storage": "memory"}, "storage is memory"),
]


@pytest.mark.parametrize(("config", "words"), REFUSED, ids=str)
async def test_a_consumer_that_would_lose_a_cancel_is_not_read(
    server: NatsServer, ask: Any, config: dict[str, Any], words: str
) -> None:
    """F53, L4: it is reported, also by `--check`; the cancel waits in the stream, and arrives when the consumer is
    right.
    """
    await make(ask, config)
    with pytest.raises(TransportUnavailable) as refused:
        await jetstream(server.url, "checker").check()
    assert words in str(refused.value)
    assert not isinstance(refused.value, TransportDegraded)
    async with over(jetstream(server.url)) as world:
        await world.degraded(f"order:cancelled: consumer {NAME}: ", words)
        await cancel(ask, world)
        await world.transport.publish(ORDER_CREATED, b"later", "")
        await world.until(lambda: world.ledger.depth > 0, "the other subject goes on")
        assert isinstance(world.ledger.get_nowait(), InvalidEventReceived)
        assert world.ledger.depth == 0
        await ask(f"CONSUMER.DELETE.orders.{NAME}")
        await arrives(world)
        await world.ready()


@pytest.mark.parametrize(("config", "stream", "words"), WEAK, ids=str)
async def test_a_consumer_that_promises_less_is_read_and_reported(
    server: NatsServer, ask: Any, config: dict[str, Any], stream: dict[str, Any], words: str
) -> None:
    """F53: `/readyz` is degraded and `--check` reports it; events are read all the same."""
    await make(ask, config, **stream)
    with pytest.raises(TransportDegraded) as weak:
        await jetstream(server.url, "checker").check()
    assert words in str(weak.value)
    async with over(jetstream(server.url)) as world:
        await world.degraded(words)
        await cancel(ask, world)
        await arrives(world)
        assert world.status is Status.DEGRADED


async def test_a_paused_consumer_is_reported_and_resumes(server: NatsServer, ask: Any) -> None:
    """F53: an operator may pause it at any time: no event comes, and `/readyz` reports it within 10 s."""
    await make(ask)
    async with over(jetstream(server.url)) as world:
        await world.ready()
        await ask(f"CONSUMER.PAUSE.orders.{NAME}", {"pause_until": "2090-01-01T00:00:00Z"})
        await world.degraded("it is paused")
        await cancel(ask, world)
        await ask(f"CONSUMER.PAUSE.orders.{NAME}", {})
        await arrives(world)
        await world.ready()


@pytest.mark.parametrize("change", [{"max_deliver": 5}, {"headers_only": True}], ids=str)
async def test_a_changed_consumer_setting_is_detected(server: NatsServer, ask: Any, change: dict[str, Any]) -> None:
    """F53: within 10 s the consumer is left; changed back, it is read again."""
    async with over(jetstream(server.url)) as world:
        await world.ready()
        config = (await ask(f"CONSUMER.INFO.ticketing.{NAME}"))["config"]
        path = f"CONSUMER.CREATE.ticketing.{NAME}.{ORDER_CANCELLED}"
        await ask(path, {"stream_name": "ticketing", "config": {**config, **change}})
        await world.degraded(next(iter(change)))
        await cancel(ask, world)
        await ask(path, {"stream_name": "ticketing", "config": config})
        await arrives(world)
        await world.ready()


async def test_a_changed_stream_setting_is_detected(server: NatsServer, ask: Any) -> None:
    """F53: the change makes the stream drop events."""
    async with over(jetstream(server.url)) as world:
        await world.ready()
        config = (await ask("STREAM.INFO.ticketing"))["config"]
        await ask("STREAM.UPDATE.ticketing", {**config, "max_age": 600 * NS_PER_S})
        await world.degraded("max_age is 600 s")
        await ask("STREAM.UPDATE.ticketing", config)
        await world.ready()


async def test_a_stream_deleted_while_idle_is_made_again(server: NatsServer, ask: Any) -> None:
    """Without any event in transit it is created again within 10 s."""
    async with over(jetstream(server.url)) as world:
        await world.ready()
        await ask("STREAM.DELETE.ticketing")

        async def is_back() -> bool:
            return len((await ask("STREAM.NAMES", {"subject": PAYMENT_REFUNDED})).get("streams") or ()) == 1

        await eventually(is_back, "the stream is there again", WITHIN_S)
        await world.ready()
        world.ask(paid())
        await world.until(lambda: world.published == 1, "it is out")
        await cancel(ask, world)


async def test_events_purged_before_they_were_read_are_an_alarm(server: NatsServer, ask: Any) -> None:
    """L4: a purge or a limit that removes unread events can't be undone, and raises an alarm."""
    async with over(jetstream(server.url)) as world:
        await world.ready()
        await ask(f"CONSUMER.PAUSE.ticketing.{NAME}", {"pause_until": "2090-01-01T00:00:00Z"})
        await world.degraded("it is paused")
        for _ in range(5):
            await cancel(ask, world)
        await two_checks_made(server.url, NAME)
        await ask("STREAM.PURGE.ticketing", {"filter": ORDER_CANCELLED})
        await world.until(lambda: world.alarms("broker_alarm"), "the alarm")
        assert "5 or more order:cancelled left the stream ticketing before they were read" in str(world.lines)


async def test_a_consumer_of_an_earlier_release_is_fine(server: NatsServer, ask: Any) -> None:
    """F53: the service is ready without a report, and `--check` passes."""
    config = {"deliver_policy": "all", "ack_wait": 8 * NS_PER_S, "max_ack_pending": 1_000}
    await make(ask, config, subjects=[ORDER_CREATED, ORDER_CANCELLED, PAYMENT_CREATED, PAYMENT_REFUNDED])
    assert "but" not in await jetstream(server.url, "checker").check()
    async with over(jetstream(server.url)) as world:
        await world.ready()
        assert [line for line in world.lines if line["event"] == "dependency_lost"] == []
