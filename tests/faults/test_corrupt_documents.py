"""Corrupt documents, as an operator may leave them (F50): each is set aside, and all other orders are paid."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.bus import CANCELLED, PAID, REFUNDED, Bus, order_cancelled
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.steps import document, one_charge, pay, placed

pytestmark = [pytest.mark.servers]

DUE, EVENTS = 600, 1_200
"""More than one sweep loads, and more than JetStream delivers unacknowledged."""


def edits(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns, by name, a paid order's document after an operator's edit."""
    attempt, now = found["payment"]["attempts"][0], datetime.now(UTC)
    task = {"kind": "refund", "due": now, "issued": now, "holder": "gone#1"}
    made: dict[str, dict[str, Any]] = {
        "refunded, task left": {"attempt": {"state": "refunded", "task": task, "refund": {"key": "refund-1"}}},
        "kept 7": {"payment": {"kept": 7}},
        "kept 0": {"payment": {"kept": 0}},
        "a time without its zone": {"expiresAt": "2026-03-01T12:00:00"},
        "text for a number": {"amount": "1999"},
        "a fraction of an amount": {"amount": 19.99},
        "an unknown state": {"attempt": {"state": "tok_never_to_be_logged"}},
        "an attempt's number": {"attempt": {"number": 2}},
        "no intent": {"payment": {"intent": None}},
        "no revision": {"rev": None},
        "a fraction of a revision": {"rev": 2.5},
    }
    documents = {}
    for name, change in made.items():
        edited = copy.deepcopy(found)
        edited["payment"] |= change.pop("payment", {})
        edited["payment"]["attempts"][0] = attempt | change.pop("attempt", {})
        documents[name] = edited | change | {"due": now - timedelta(hours=1)}
    return documents


def payment_of(order: str) -> str:
    """Returns a unique payment id."""
    return hashlib.sha256(order.encode()).hexdigest()[:32]


def lives(process: ServiceProcess) -> None:
    assert process.running
    assert process.logged("actor_crashed") == []


async def test_each_of_them_is_set_aside_and_named_and_a_restart_changes_nothing(stack: ServiceStack, bus: Bus) -> None:
    """F50: at loads, sweeps and a start; 503 by order and by payment; an event is kept whole; other orders are paid."""
    process = await stack.start()
    paid = await placed(stack, bus)
    assert (await pay(process, paid)).status == 201
    found = await document(stack, paid, "paid")
    await bus.announced(paid, PAID)
    bad = {}
    for name, edited in edits(found).items():
        order = bad[name] = stack.new_order()
        edited["payment"]["id"] = payment_of(order)
        stack.orders.replace_one({"_id": order}, {**edited, "_id": order}, upsert=True)
    for number in range(2):
        if number:
            process.kill()
            await asyncio.to_thread(process.start)
        async with Client(process.port) as client:
            for name, order in bad.items():
                answer = await client.pay(order, f"tok_visa_{number}")
                assert (answer.status, answer.body["errors"][0]["code"]) == (503, "unavailable"), name
                assert (await client.payment(payment_of(order))).status == 503, name
        for order in bad.values():
            await bus.cancel(order)
        good = await placed(stack, bus)
        assert (await pay(process, good)).status == 201
        lives(process)

    async def kept() -> bool:
        return stack.dead_letters.count_documents({"subject": CANCELLED}) >= 2 * len(bad)

    await eventually(kept, "the cancels are dead letters")
    named = {line["order_id"] for line in process.logged("document_unreadable", alarm=True)}
    assert set(bad.values()) <= named
    assert "tok_never_to_be_logged" not in process.log.read_text()
    # An operator corrects one, and publishes its event again.
    order = bad["kept 7"]
    found["payment"]["id"] = payment_of(order)
    stack.orders.replace_one({"_id": order}, {**found, "_id": order, "rev": found["rev"] + 1})
    await bus.cancel(order)
    await document(stack, order, "refunded")


@pytest.mark.long
async def test_hundreds_of_them_hide_no_order_and_stop_no_subject(stack: ServiceStack, bus: Bus) -> None:
    """F50: 600 that are due first, and 1,200 events for them: another order is paid, cancelled and refunded."""
    process = await stack.start()
    due = datetime.now(UTC) - timedelta(hours=1)
    names = [f"bad-{number}-{stack.name}" for number in range(DUE)]
    stack.orders.insert_many([{"_id": name, "rev": 1, "status": "perhaps", "due": due} for name in names])
    for number in range(EVENTS):
        await bus.publish(CANCELLED, order_cancelled(names[number % DUE], version=number))
    for number in range(2):
        if number:
            process.kill()
            await asyncio.to_thread(process.start)
        order = await placed(stack, bus)
        assert (await pay(process, order)).status == 201
        await bus.cancel(order)
        await bus.announced(order, PAID, REFUNDED, deadline_s=20.0)
        one_charge(stack, order)
    lives(process)

    async def kept() -> bool:
        return stack.dead_letters.count_documents({"subject": CANCELLED}) >= EVENTS

    async def acknowledged() -> bool:
        return await bus.unacknowledged(stack.name) == 0

    await eventually(kept, "each event of theirs is a dead letter", deadline_s=90.0)
    # The killed process's events are redelivered after the broker's ack wait.
    await eventually(acknowledged, "no event of theirs is left", deadline_s=30.0)


@pytest.mark.long
async def test_lost_work_is_swept_past_six_hundred_corrupt_documents(stack: ServiceStack, bus: Bus) -> None:
    """F05, F50: a charge in flight when its process was killed, due after all of them, is finished by another
    process.
    """
    due = datetime.now(UTC) - timedelta(hours=1)
    first = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.settings(latency_ms=3_000)
    request = asyncio.create_task(pay(first, order))
    await document(stack, order, "confirming")
    first.kill()
    await asyncio.gather(request, return_exceptions=True)
    stack.stripe.well()
    found = stack.order(order)
    assert found is not None
    now = datetime.now(UTC)
    found["payment"]["intent"]["task"]["due"] = now
    stack.orders.replace_one({"_id": order}, found | {"due": now})
    names = [f"bad-{number}-{stack.name}" for number in range(DUE)]
    stack.orders.insert_many([{"_id": name, "rev": 1, "status": "perhaps", "due": due} for name in names])
    await stack.start()
    await document(stack, order, "paid")
    one_charge(stack, order)
