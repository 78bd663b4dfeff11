"""The contract's section on events, line by line, tested by peer services that know only the contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.bus import CANCELLED, CREATED, PAID, REFUNDED, Bus, in_seconds, order_cancelled, order_created
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.servers]


async def settled(stack: ServiceStack, order: str, **fields: object) -> dict[str, Any]:
    """Returns the order's document once it has the given fields."""

    async def there() -> dict[str, Any]:
        found = stack.order(order) or {}
        return found if fields.items() <= found.items() else {}

    return await eventually(there, f"{order} has {fields}")


async def dead_letter_of(stack: ServiceStack, data: bytes) -> dict[str, Any]:
    """Returns the dead letter with these bytes, once there is exactly one."""

    async def there() -> list[dict[str, Any]]:
        # Compared in Python: nx-27017 can't search by bytes.
        return [dead_letter for dead_letter in stack.dead_letters.find() if dead_letter["data"] == data]

    found = await eventually(there, f"a dead letter of {data[:60]!r}")
    assert len(found) == 1
    return found[0]


PRICES: list[tuple[object, str, int]] = [
    (19.99, "usd", 1999),
    (0.57, "usd", 57),
    (1.10, "usd", 110),
    (4.35, "usd", 435),
    (8.20, "usd", 820),
    (999999.99, "usd", 99999999),
    (19.989999999999998, "usd", 1999),
    (20, "usd", 2000),
    (1.005e3, "usd", 100500),
    (500, "jpy", 500),
    (1.230, "kwd", 1230),
    (100, "isk", 10000),
    (19.99, "EUR", 1999),
]


@pytest.mark.parametrize(("price", "currency", "minor"), PRICES)
async def test_a_price_becomes_exactly_its_minor_units(
    price: object, currency: str, minor: int, stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """The amount at Stripe must be the price to the last unit."""
    order = stack.new_order()
    await bus.create(order, price, currency=currency)
    await settled(stack, order, status="created")
    assert (await client.pay(order)).status == 201
    [charge] = stack.stripe.charges(order)
    assert (charge["amount"], charge["currency"], charge["paid"]) == (minor, currency.lower(), True)
    assert charge["metadata"]["orderId"] == order


async def test_a_price_may_stand_at_the_top_and_unknown_fields_anywhere(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """An order:created with its price outside the ticket must be accepted, and its unknown fields ignored."""
    order = stack.new_order()
    event = order_created(order, price=4.35, ticket={"id": "t", "title": "x"}, currency="eur", trace={"id": [1]})
    del event["ticket"]["title"]
    await bus.publish(CREATED, event | {"price": 4.35, "newField": None})
    await settled(stack, order, amount=435, currency="eur")


async def test_created_twice_is_one_order_and_the_second_changes_nothing(
    stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
) -> None:
    """F01: a duplicate, and one with another price and a higher version, must not change the order."""
    order = stack.new_order()
    await bus.create(order, 8.20)
    await bus.create(order, 8.20)
    await bus.create(order, 1.00, user="u2", version=7)

    async def all_handled() -> bool:
        return len(service.logged("event_received", order_id=order)) == 3

    await eventually(all_handled, "three events are handled")
    outcomes = [line["outcome"] for line in service.logged("event_received", order_id=order)]
    assert outcomes == ["applied", "stale", "stale"]
    assert (await client.pay(order)).status == 201
    assert [charge["amount"] for charge in stack.stripe.charges(order)] == [820]


@pytest.mark.parametrize("version", [0, 1, 9, 2**53 - 1])
async def test_a_cancel_is_absorbing_at_any_version_and_in_any_order(
    version: int, stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F22: versions have gaps and need not rise; cancelled stays cancelled in any order of events."""
    first, last = stack.new_order(), stack.new_order()
    await bus.cancel(first, version)
    await bus.create(last, version=5)
    await bus.cancel(last, version)
    await settled(stack, first, status="cancelled")
    await bus.create(first, version=version)
    await bus.cancel(last, version)
    await settled(stack, first, status="cancelled", amount=1999)
    await settled(stack, last, status="cancelled")
    for order in (first, last):
        assert (await client.pay(order)).status == 409
        assert stack.stripe.charges(order) == []


async def test_a_cancel_after_the_payment_gives_the_money_back_once(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F21, F42: there must be one full refund, and both events published in order, with different message ids."""
    order = stack.new_order()
    await bus.create(order, 4.35)
    await settled(stack, order, status="created")
    paid = await client.pay(order)
    await bus.cancel(order)
    await bus.cancel(order, 4)
    created, refunded = await bus.announced(order, PAID, REFUNDED)
    [charge] = stack.stripe.charges(order)
    [refund] = [each for each in stack.stripe.audit()["refunds"] if each["charge"] == charge["id"]]
    assert created == {"id": paid.body["id"], "orderId": order, "stripeId": charge["id"]}
    assert refunded == created | {"refundId": refund["id"]}
    assert (charge["refunded"], refund["amount"]) == (True, 435)
    ids = [event.message_id for event in await bus.events_of(order)]
    assert len(set(ids)) == 2
    assert all(paid.body["id"] in each for each in ids)


def _without(event: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in fields}


def poisons() -> dict[str, tuple[str, bytes]]:
    """Returns events that can never be applied, by name; each has its own id, so that its bytes are unique."""
    created, cancelled = order_created("poison"), order_cancelled("poison")
    changed: dict[str, tuple[str, object]] = {
        "three decimals": (CREATED, order_created("p1", 19.999)),
        "a negative price": (CREATED, order_created("p2", -1)),
        "a price as text": (CREATED, order_created("p3", "19.99")),
        "no price": (CREATED, _without(created, "ticket")),
        "a price of NaN": (CREATED, order_created("p4", float("nan"))),
        "a price past every account": (CREATED, order_created("p5", 1e30)),
        "two prices": (CREATED, order_created("p6", 4) | {"price": 3}),
        "no such currency": (CREATED, order_created("p7", currency="xxx")),
        "another status": (CREATED, order_created("p8", status="awaiting:payment")),
        "a number for an id": (CREATED, order_created("p9") | {"id": 5}),
        "an operator for an id": (CREATED, order_created("p10") | {"id": {"$ne": None}}),
        "an id of 5,000 characters": (CREATED, order_created("x" * 5_000)),
        "an id with NUL": (CREATED, order_created("a\0b")),
        "no user": (CREATED, _without(created, "userId")),
        "a time without a zone": (CREATED, order_created("p11", expiresAt="2030-01-01T00:00:00")),
        "no time": (CREATED, order_created("p12", expiresAt=1234567890)),
        "a version over 2^53 - 1": (CREATED, order_created("p13", version=2**53)),
        "a version as text": (CANCELLED, order_cancelled("p14") | {"version": "1"}),
        "a version with a fraction": (CANCELLED, order_cancelled("p15") | {"version": 1.5}),
        "no id": (CANCELLED, _without(cancelled, "id")),
        "a ticket as text": (CANCELLED, cancelled | {"ticket": "t1"}),
        "an envelope": (CREATED, {"type": "order:created", "data": created}),
    }
    raw: dict[str, tuple[str, bytes]] = {
        "no JSON": (CREATED, b"order 5"),
        "empty": (CREATED, b""),
        "no UTF-8": (CREATED, b'{"id": "\xff\xfe"}'),
        "deep nesting": (CREATED, b"[" * 100_000),
        "a lone surrogate": (CREATED, json.dumps(created | {"id": "\ud800"}).encode()),
        "900 kB": (CANCELLED, b'{"id": "' + b"x" * 900_000 + b'"}'),
        "a price of 5,000 digits": (CREATED, json.dumps(created).replace("19.99", "9" * 5_000).encode()),
        "a price with a vast exponent": (CREATED, json.dumps(created).replace("19.99", "1e999999999").encode()),
        "two objects": (CREATED, json.dumps(created).encode() * 2),
    }
    return {name: (subject, json.dumps(event).encode()) for name, (subject, event) in changed.items()} | raw


POISONS = poisons()


@pytest.mark.parametrize("name", POISONS)
async def test_a_bad_event_is_kept_whole_and_later_events_go_on(name: str, stack: ServiceStack, bus: Bus) -> None:
    """F30: it must be in `dead_letters` byte for byte, with an error text, and hold up no other event."""
    subject, data = POISONS[name]
    await bus.publish(subject, data)
    behind = stack.new_order()
    await bus.publish(subject, order_created(behind) if subject == CREATED else order_cancelled(behind))
    dead_letter = await dead_letter_of(stack, data)
    assert dead_letter["subject"] == subject
    assert dead_letter["error"]
    await settled(stack, behind)


async def test_an_order_past_its_time_is_kept_and_not_payable(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """A late event is not invalid."""
    order = stack.new_order()
    await bus.create(order, expiresAt=in_seconds(-86_400))
    await settled(stack, order, status="created")
    assert (await client.pay(order)).status == 409


async def test_everything_was_acknowledged_and_nothing_crashed(
    stack: ServiceStack, service: ServiceProcess, bus: Bus
) -> None:
    """After all tests above no delivery may be unacknowledged, and no log line may report an exception."""

    async def all_acknowledged() -> bool:
        return await bus.unacknowledged() == 0

    await eventually(all_acknowledged, "no delivery is left")
    assert [line for line in service.lines() if "exception" in line or line["event"] == "actor_crashed"] == []
    lines = service.logged("event_received")
    assert max(line["redelivered"] for line in lines) == 0
    assert len([line for line in lines if line["outcome"] == "dead_letter"]) == stack.dead_letters.count_documents({})
