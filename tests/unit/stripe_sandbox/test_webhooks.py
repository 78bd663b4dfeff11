"""The sandbox's events: recorded with each change, and delivered signed until they are acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp import web
from aiohttp.test_utils import TestServer

from payment.stripe_sandbox.app import SandboxSettings
from payment.stripe_sandbox.deliveries import GIVE_UP_S
from payment.stripe_sandbox.server import delivering
from tests.unit.stripe_sandbox.conftest import World


class Receiver:
    """A webhook endpoint: its received events, and the statuses of its answers before it acknowledges."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()
        self.statuses: list[int] = []
        app = web.Application()
        app.add_routes([web.post("/hook", self._receive)])
        self._server = TestServer(app)

    async def __aenter__(self) -> "Receiver":
        await self._server.start_server()
        self.url = str(self._server.make_url("/hook"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _receive(self, request: web.Request) -> web.Response:
        self.got.put_nowait((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def event(self, secret: str) -> stripe.Event:
        """The next event, its signature checked. The sandbox's clock in these tests is far in the past."""
        body, signature = await self.got.get()
        event: stripe.Event = stripe.Webhook.construct_event(body, signature, secret, tolerance=10**10)
        return event


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[Receiver]:
    """An endpoint, while the sandbox delivers."""
    async with delivering(world.sandbox), Receiver() as receiver:
        yield receiver


async def register(world: World, receiver: Receiver, *events: Any) -> stripe.WebhookEndpoint:
    return await world.stripe.v1.webhook_endpoints.create_async(
        {"url": receiver.url, "enabled_events": list(events or ("*",))}
    )


async def attempted(world: World) -> None:
    """Return once every delivery that is due has been attempted."""
    while world.database.events.deliveries_due(world.database.now(), 1):
        await world.audit()


async def acknowledged(world: World, event: stripe.Event) -> None:
    """Return once an event is pending for no endpoint any more."""
    while (await world.stripe.v1.events.retrieve_async(event.id)).pending_webhooks:
        continue


async def types(world: World, **params: Any) -> list[str]:
    """The types of all events, oldest first."""
    asked: Any = params
    page = await world.stripe.v1.events.list_async(asked)
    return [str(event.type) async for event in page.auto_paging_iter()][::-1]


async def test_a_payment_leaves_its_events(world: World) -> None:
    """Each step is an event, in its order."""
    intent = await world.intent()
    with pytest.raises(stripe.CardError):
        await world.confirm(intent.id, token="tok_chargeDeclined")
    await world.confirm(intent.id, payment_method="pm_card_threeDSecure2Required")
    await world.control(f"intents/{intent.id}/complete")
    await world.stripe.v1.refunds.create_async({"payment_intent": intent.id})
    assert await types(world) == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    ]


async def test_other_ends_leave_their_events_too(world: World) -> None:
    """So do a cancel, a payment in processing, a dispute, a refund that fails."""
    await world.stripe.v1.payment_intents.cancel_async((await world.intent()).id)
    await world.control("faults", fault="processing", endpoint="payment_intents.create", delay_ms=1000)
    await world.intent(confirm=True, payment_method="pm_card_createDispute")
    await world.control("clock", skip_s=1)
    refunded = await world.charge(source="tok_refundFail")
    await world.stripe.v1.refunds.create_async({"charge": refunded.id})
    await world.control("clock", skip_s=3)
    assert await types(world) == [
        "payment_intent.created",
        "payment_intent.canceled",
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "charge.succeeded",
        "charge.dispute.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "refund.failed",
    ]


async def test_an_event_shows_its_object_as_it_was(world: World) -> None:
    """It also has the request that caused it; events are listed by type, and retrieved."""
    intent = await world.intent(key="k")
    await world.confirm(intent.id, token="tok_visa")
    page = await world.stripe.v1.events.list_async({"type": "payment_intent.created"})
    (created,) = page.data
    assert created.data.object["status"] == "requires_payment_method"
    assert created.data.object["id"] == intent.id
    assert created.request is not None
    assert created.request.idempotency_key == "k"
    assert (await world.stripe.v1.events.retrieve_async(created.id)).to_dict() == created.to_dict()
    assert await types(world, type="charge.refunded") == []
    both = ["payment_intent.succeeded", "charge.succeeded"]
    assert await types(world, types=both) == ["charge.succeeded", "payment_intent.succeeded"]
    with pytest.raises(stripe.InvalidRequestError):
        await types(world, type="charge.succeeded", types=both)
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.events.retrieve_async("evt_none")


async def test_a_rolled_back_or_replayed_request_leaves_no_event(world: World) -> None:
    """An error undoes its events, and a key's second request makes none."""
    with pytest.raises(stripe.InvalidRequestError):
        await world.intent(confirm=True, payment_method="pm_none")
    assert await types(world) == []
    for _ in range(2):
        await world.intent(key="k")
    assert await types(world) == ["payment_intent.created"]


async def test_an_endpoint_gets_what_it_asked_for_signed(world: World, receiver: Receiver) -> None:
    """The secret of the create verifies it; other types are not sent; nothing is pending once it is acknowledged."""
    endpoint = await register(world, receiver, "payment_intent.succeeded", "charge.refunded")
    assert endpoint.secret is not None
    paid = await world.intent(confirm=True, payment_method="pm_card_visa")
    event = await receiver.event(endpoint.secret)
    assert (event.type, event.data.object["id"]) == ("payment_intent.succeeded", paid.id)
    assert event.pending_webhooks == 1
    await acknowledged(world, event)
    assert receiver.got.empty()


async def test_a_signature_by_another_secret_is_no_good(world: World, receiver: Receiver) -> None:
    """Each endpoint signs with its own."""
    first = await register(world, receiver, "payment_intent.created")
    second = await register(world, receiver, "payment_intent.created")
    assert first.secret is not None
    assert second.secret not in (None, first.secret)
    await world.intent()
    signed = {signature for _, signature in [await receiver.got.get(), await receiver.got.get()]}
    assert len(signed) == 2


async def test_a_delivery_is_repeated_until_it_is_acknowledged(world: World, receiver: Receiver) -> None:
    """With a delay that doubles, by the sandbox's clock; the event is the same each time."""
    endpoint = await register(world, receiver, "payment_intent.created")
    receiver.statuses = [500, 302]
    await world.intent()
    first = await receiver.event(str(endpoint.secret))
    for delay_s in (1, 2):
        await attempted(world)
        await world.control("clock", skip_s=delay_s)
        assert (await receiver.event(str(endpoint.secret))).id == first.id
    await acknowledged(world, first)
    assert receiver.got.empty()


async def test_a_delivery_is_given_up_after_days(world: World, receiver: Receiver) -> None:
    """An endpoint that never acknowledges is not tried for ever."""
    endpoint = await register(world, receiver, "payment_intent.created")
    receiver.statuses = [500, 500]
    await world.intent()
    event = await receiver.event(str(endpoint.secret))
    await attempted(world)
    await world.control("clock", skip_s=GIVE_UP_S)
    await receiver.event(str(endpoint.secret))
    await acknowledged(world, event)
    assert world.database.events.next_delivery_at() is None


async def test_an_endpoint_that_is_not_there_is_tried_again(world: World, receiver: Receiver) -> None:
    """A refused connection counts as an attempt."""
    await world.stripe.v1.webhook_endpoints.create_async({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
    await world.intent()
    await attempted(world)
    assert world.database.events.next_delivery_at() == world.database.now() + 1
    assert await types(world, delivery_success=False) == ["payment_intent.created"]
    assert await types(world, delivery_success=True) == []


async def test_an_endpoint_is_listed_changed_and_deleted(world: World, receiver: Receiver) -> None:
    """Its secret is shown once; a disabled or deleted endpoint gets nothing any more."""
    endpoint = await register(world, receiver)
    endpoints = world.stripe.v1.webhook_endpoints
    assert "secret" not in await endpoints.retrieve_async(endpoint.id)
    changed = await endpoints.update_async(endpoint.id, {"disabled": True, "description": "mine"})
    assert (changed.status, changed.description) == ("disabled", "mine")
    await world.intent()
    await endpoints.update_async(endpoint.id, {"disabled": False, "enabled_events": ["payment_intent.canceled"]})
    await world.intent()
    assert [each.id for each in (await endpoints.list_async()).data] == [endpoint.id]
    deleted = await endpoints.delete_async(endpoint.id)
    assert deleted.deleted is True
    assert (await endpoints.list_async()).data == []
    with pytest.raises(stripe.InvalidRequestError):
        await endpoints.retrieve_async(endpoint.id)
    assert receiver.got.empty()
    assert world.database.events.next_delivery_at() is None


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"enabled_events[]": "*"}, "url"),
        ({"url": "https://shop.example"}, "enabled_events"),
        ({"url": "ftp://shop.example", "enabled_events[]": "*"}, "url"),
        ({"url": "https://shop.example", "enabled_events[]": "everything"}, "enabled_events"),
    ],
)
async def test_a_bad_endpoint_is_refused_by_name(world: World, params: dict[str, str], param: str) -> None:
    """The answer is 400, and no endpoint is created."""
    status, body, _ = await world.post("/v1/webhook_endpoints", **params)
    assert (status, body["error"]["param"]) == (400, param)
    assert (await world.stripe.v1.webhook_endpoints.list_async()).data == []


async def test_there_are_sixteen_endpoints_at_most(world: World, receiver: Receiver) -> None:
    """Stripe's limit."""
    for _ in range(16):
        await register(world, receiver)
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        await register(world, receiver)


async def test_an_endpoint_can_be_given_with_its_secret(world: World, receiver: Receiver) -> None:
    """`--forward-to`: one endpoint for its URL, whatever the number of starts; a new secret replaces the old one."""
    for secret in ("whsec_old", "whsec_new", "whsec_new"):
        world.sandbox.account.webhooks.ensure(receiver.url, secret)
    assert len((await world.stripe.v1.webhook_endpoints.list_async()).data) == 1
    await world.intent()
    assert (await receiver.event("whsec_new")).type == "payment_intent.created"


async def test_deliveries_survive_a_restart(tmp_path: Path) -> None:
    """Unacknowledged events are delivered after the sandbox has started again."""
    async with Receiver() as receiver:
        async with World(tmp_path, SandboxSettings(rate_per_s=0)) as world:
            endpoint = await register(world, receiver)
            await world.intent()
        async with World(tmp_path, SandboxSettings(rate_per_s=0)) as world, delivering(world.sandbox):
            assert (await receiver.event(str(endpoint.secret))).type == "payment_intent.created"


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://", "http://[::1"])
async def test_a_url_that_leads_nowhere_does_not_stop_the_others(world: World, receiver: Receiver, url: str) -> None:
    """A delivery that can't be sent counts as a failed attempt."""
    await world.post("/v1/webhook_endpoints", url=url, **{"enabled_events[]": "*"})
    endpoint = await register(world, receiver)
    for _ in range(2):
        await world.intent()
        assert (await receiver.event(str(endpoint.secret))).type == "payment_intent.created"
        await attempted(world)


async def test_a_deliverer_that_dies_is_reported_at_once(world: World) -> None:
    """A bug there must be visible, and not look like a receiver without events."""
    reported: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.put_nowait(context))
    async with delivering(world.sandbox):
        await world.stripe.v1.webhook_endpoints.create_async({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
        world.database.close()
        world.sandbox.wake_deliveries()
        assert (await reported.get())["message"] == "the webhook deliverer has died"
