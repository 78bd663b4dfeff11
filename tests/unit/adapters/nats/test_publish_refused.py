"""A broker that runs and refuses the service's events (F54), on real servers: reported with an alarm, and published
once it accepts them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from payment.actors.messages import Handling, InvalidEventReceived
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.ops.health import Status
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_streaming import NatsStreamingServer
from tests.unit.adapters.nats.broker_world import BrokerWorld, jetstream, over, paid, refunded, streaming

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]

EVENTS_DOCUMENT = (Path(__file__).parents[4] / "docs" / "events.md").read_text(encoding="utf-8")
SUBJECTS = ["order:created", "order:cancelled", PAYMENT_CREATED, PAYMENT_REFUNDED]


def guarded(denied: str, direction: str = "publish") -> str:
    """A configuration that denies one subject to the user `pay`."""
    return f"""
authorization {{ users [
  {{ user: admin, password: admin-pass }},
  {{ user: pay, password: pay-pass, permissions {{ {direction} {{ deny: ["{denied}"] }} }} }}
] }}
"""


@asynccontextmanager
async def nats_server(folder: Path, config: str = "") -> AsyncIterator[NatsServer]:
    server = NatsServer(folder, config=config)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def streaming_server(folder: Path, *options: str) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(folder, options=options)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[Any]:
    """Plain requests to JetStream's API, as an operator's tool makes them."""
    client = Client()
    await client.connect(servers=[url])

    async def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{path}", data, timeout=5)).data)
        assert "error" not in answer, answer
        return answer

    yield ask
    await client.close()


def held(**config: Any) -> dict[str, Any]:
    return {"name": "held", "subjects": [PAYMENT_CREATED], **config}


async def is_refused_alone(world: BrokerWorld, *words: str) -> None:
    """Check that `payment:created` is refused with these texts, and `payment:refunded` goes on."""
    world.ask(paid(), refunded())
    await world.degraded(PAYMENT_CREATED, *words)
    await world.until(lambda: world.published == 1, "the other subject is out")
    await world.until(world.alarms, "the alarm")
    (alarm,) = world.alarms()
    assert (alarm["subject"], alarm["count"], alarm["log_level"]) == (PAYMENT_CREATED, 1, "error")
    assert all(each in alarm["reason"] for each in words)
    assert world.up[-1:] != [True]


async def goes_out(world: BrokerWorld) -> None:
    await world.until(lambda: world.published == 2, "it is out")
    await world.ready()
    assert len(world.alarms()) == 1


async def test_nats_streaming_takes_no_more_channels(tmp_path: Path) -> None:
    """F54: `-mc 2`: two channels for orders, none for payments. With a free channel the event is published."""
    async with (
        streaming_server(tmp_path, "-mc", "2") as server,
        over(streaming(server.url)) as world,
    ):
        await world.ready()
        world.ask(paid())
        await world.degraded(PAYMENT_CREATED, "too many channels", "max_channels")
        assert len(world.alarms()) == 1
        assert world.up[-1] is False
        server.kill()
        server.command[server.command.index("-mc") + 1] = "10"
        await asyncio.to_thread(server.start)
        await world.until(lambda: world.published == 1, "it is out", deadline_s=15)
        await world.ready()


async def test_nats_streaming_whose_nats_denies_the_channel(tmp_path: Path) -> None:
    """F54: the only answer is an error of the NATS server, which becomes the reason."""
    async with nats_server(tmp_path / "nats", guarded("_STAN.pub.*.payment:created")) as nats:
        server = NatsStreamingServer(tmp_path, nats_url=nats.url_for("admin", "admin-pass"))
        await asyncio.to_thread(server.start)
        try:
            async with over(streaming(nats.url_for("pay", "pay-pass"))) as world:
                await world.ready()
                await is_refused_alone(world, "permission denied", "payment:created")
                assert "pay-pass" not in world.why
        finally:
            await asyncio.to_thread(server.stop)


async def test_jetstream_denies_the_subject(tmp_path: Path) -> None:
    """F54: the missing permission is reported; the other subject goes on."""
    async with (
        nats_server(tmp_path, guarded(PAYMENT_CREATED)) as server,
        over(jetstream(server.url_for("pay", "pay-pass"))) as world,
    ):
        await world.ready()
        await is_refused_alone(world, "permission denied")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_msgs": 1, "discard": "new"}, "maximum messages exceeded"),
        ({"max_bytes": 10, "discard": "new"}, "maximum bytes exceeded"),
        ({"max_msg_size": 20}, "message size exceeds maximum allowed"),
    ],
    ids=str,
)
async def test_a_stream_that_takes_no_more(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    """F54: a full one, or one for smaller messages; once it accepts more, the event is published."""
    async with nats_server(tmp_path) as server, admin(server.url) as ask:
        await ask("STREAM.CREATE.held", held(**config))
        if "max_msgs" in config:
            async with over(jetstream(server.url, "filler")) as filler:
                filler.ask(paid("0"))
                await filler.until(lambda: filler.published == 1, "the stream is full")
        async with over(jetstream(server.url)) as world:
            await is_refused_alone(world, words)
            await ask("STREAM.UPDATE.held", held())
            await goes_out(world)


async def test_an_account_without_space(tmp_path: Path) -> None:
    """F54: the limit is the account's, not the stream's."""
    config = "jetstream { max_file_store: 200 }\n"
    async with nats_server(tmp_path, config) as server, over(jetstream(server.url)) as world:
        await world.ready()
        world.ask(*(paid(str(number)) for number in range(40)))
        await world.degraded(PAYMENT_CREATED, "resources")
        assert world.alarms()


async def test_a_sealed_stream_is_known_before_anything_is_published(tmp_path: Path) -> None:
    """F54: another program seals it: the next check reports it; the event waits."""
    async with nats_server(tmp_path) as server, admin(server.url) as ask, over(jetstream(server.url)) as world:
        await world.ready()
        config = (await ask("STREAM.INFO.ticketing"))["config"]
        await ask("STREAM.UPDATE.ticketing", {**config, "sealed": True})
        await world.degraded(PAYMENT_CREATED, "sealed")
        world.ask(paid())
        await world.until(world.alarms, "the alarm")
        assert world.published == 0


async def test_one_event_that_is_too_large_holds_up_no_other(tmp_path: Path) -> None:
    """F54: it is refused for its size: the alarm names its order, and the others of its subject go on."""
    async with nats_server(tmp_path) as server, admin(server.url) as ask:
        await ask("STREAM.CREATE.held", held(max_msg_size=200))
        async with over(jetstream(server.url)) as world:
            world.ask(paid("x" * 200))
            await world.until(world.alarms, "the first alarm")
            world.ask(*(paid(str(number)) for number in range(20)))
            await world.until(lambda: world.published == 20, "the others are out")
            await world.degraded("are refused alone")
            await world.until(lambda: len(world.alarms()) == 2, "the order is named")
            assert world.alarms()[1]["order_id"] == f"o{'x' * 200}"
            world.ask(paid("later"))
            await world.until(lambda: world.published == 21, "a later one is out at once", deadline_s=1)
            await ask("STREAM.UPDATE.held", held())
            await world.until(lambda: world.published == 22, "it is out too", deadline_s=20)


async def test_a_stream_without_acknowledgements_is_not_published_to(tmp_path: Path) -> None:
    """F53: with `no_ack` each publish would be repeated for ever; the event waits, and is published once when that is
    changed.
    """
    async with nats_server(tmp_path) as server, admin(server.url) as ask:
        await ask("STREAM.CREATE.held", held(no_ack=True))
        async with over(jetstream(server.url)) as world:
            await is_refused_alone(world, "no_ack")
            await ask("STREAM.UPDATE.held", held())
            await goes_out(world)
        assert (await ask("STREAM.INFO.held"))["state"]["messages"] == 1


async def test_denied_acknowledgements_are_reported(tmp_path: Path) -> None:
    """Each event would be redelivered for ever, and nothing else would show it."""
    async with (
        nats_server(tmp_path, guarded("$JS.ACK.>")) as server,
        admin(server.url_for("admin", "admin-pass")) as ask,
        over(jetstream(server.url_for("pay", "pay-pass"))) as world,
    ):
        await world.ready()
        assert await ask("STREAM.NAMES")
        async with over(jetstream(server.url_for("admin", "admin-pass"), "publisher")) as other:
            await other.ready()
            await other.transport.publish("order:cancelled", b"{}", "1")
        await world.until(lambda: world.ledger.depth == 1, "it came")
        message = world.ledger.get_nowait()
        assert isinstance(message, InvalidEventReceived)
        message.settle(Handling.DEAD_LETTER)
        await world.degraded("permission denied to acknowledge")


@pytest.mark.parametrize("denied", ["$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.CONSUMER.INFO.>"])
async def test_a_consumer_that_may_not_be_read_is_never_called_well(tmp_path: Path, denied: str) -> None:
    """F54: the pulls or the checks are denied: no event can come, and `/readyz` reports it."""
    async with (
        nats_server(tmp_path, guarded(denied)) as server,
        over(jetstream(server.url_for("pay", "pay-pass"))) as world,
    ):
        await world.degraded("order:created", "order:cancelled", "permission denied")
        assert True not in world.up


async def test_denied_inboxes_are_reported_as_such(tmp_path: Path) -> None:
    """F54: no answer could ever come: the reason is the permission, not silence."""
    async with (
        nats_server(tmp_path, guarded("_INBOX.>", "subscribe")) as server,
        over(jetstream(server.url_for("pay", "pay-pass"))) as world,
    ):
        await world.degraded("permission denied to subscribe to _INBOX.>")


async def test_settings_that_may_not_be_read_are_reported_and_events_go_on(tmp_path: Path) -> None:
    """F53: a user without `STREAM.INFO` worked with earlier releases: it still does, degraded."""
    async with (
        nats_server(tmp_path, guarded("$JS.API.STREAM.INFO.orders")) as server,
        admin(server.url_for("admin", "admin-pass")) as ask,
    ):
        await ask("STREAM.CREATE.orders", {"name": "orders", "subjects": SUBJECTS})
        async with over(jetstream(server.url_for("pay", "pay-pass"))) as world:
            await world.degraded("stream orders: its settings can't be checked", "permission denied")
            world.ask(paid())
            await world.until(lambda: world.published == 1, "it is out")
            assert world.status is Status.DEGRADED


async def test_the_permissions_that_the_document_lists_suffice(tmp_path: Path) -> None:
    """A user that may do no more than docs/events.md says: ready, events in and out, a stream made, nothing noticed."""
    allowed = re.search(
        r"must publish to `payment:\*`'s four subjects, (.*?), and subscribe to (.*?)\.", EVENTS_DOCUMENT, re.DOTALL
    )
    assert allowed is not None
    publish, subscribe = (json.dumps(re.findall(r"`(.+?)`", part)) for part in allowed.groups())
    config = f"""
authorization {{ users [
  {{ user: admin, password: admin-pass }},
  {{ user: pay, password: pay-pass, permissions {{
    publish {{ allow: {json.dumps([*SUBJECTS[2:], *json.loads(publish)])} }}, subscribe {{ allow: {subscribe} }} }} }}
] }}
"""
    async with (
        nats_server(tmp_path, config) as server,
        over(jetstream(server.url_for("admin", "admin-pass"), "orders")) as other,
    ):
        await other.actor.drain()
        async with over(jetstream(server.url_for("pay", "pay-pass"))) as world:
            await world.ready()
            await other.transport.publish("order:cancelled", b"{}", "1")
            await world.until(lambda: world.ledger.depth == 1, "an event comes")
            message = world.ledger.get_nowait()
            assert isinstance(message, InvalidEventReceived)
            message.settle(Handling.DEAD_LETTER)
            world.ask(paid(), refunded())
            await world.until(lambda: world.published == 2, "both are out")
            assert "denied" not in str(world.lines)
            await world.ready()
