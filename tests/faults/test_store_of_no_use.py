"""MongoDB answers, and no charge can use it (F52): it refuses writes, has no data, or takes long to build indexes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.bus import Bus
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.laws import NOTHING_CHARGED
from tests.faults.steps import dependency, document, one_charge, pay, placed
from tests.support.servers.mongo_between import MongoBetween

pytestmark = [pytest.mark.servers]

AT_ONCE_S = 2.0
"""In seconds. A refusal takes milliseconds; the machine may be busy. It must not take the 20 s of a charge's wait."""
READ_ONLY = {
    "ok": 0.0,
    "code": 13,
    "codeName": "Unauthorized",
    "errmsg": 'not authorized on payment to execute command { update: "orders" }',
}
FULL = {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 14031, "errmsg": "available disk space is too small"}]}
NO_DATA = {"ok": 0.0, "code": 1, "codeName": "InternalError", "errmsg": "the data node can't be reached"}


@pytest.fixture
async def between(stack: ServiceStack) -> AsyncIterator[MongoBetween]:
    async with MongoBetween(stack.servers.mongo.port) as between:
        yield between


def why(process: ServiceProcess) -> str:
    status, shown = process.readyz() or (0, {})
    return f"{status} {shown['dependencies']['mongodb'].get('why', '')}"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [(READ_ONLY, "not authorized on payment to execute command (Unauthorized, 13)"), (FULL, "disk space is too small")],
    ids=["a role without write", "a full disk"],
)
async def test_refused_writes_are_answered_503_fast_and_readiness_has_the_reason(
    refusal: dict[str, Any], words: str, stack: ServiceStack, bus: Bus, between: MongoBetween
) -> None:
    """F52: while idle too; nothing was charged; a few log lines have an order and the server's text; then the service
    recovers.
    """
    process = await stack.start(MONGO_URL=stack.mongo_url(between.port))
    order, later = await placed(stack, bus), stack.new_order()
    between.answers = {"insert": refusal, "update": refusal}
    began = time.monotonic()
    answer = await pay(process, order)
    assert (answer.status, NOTHING_CHARGED in answer.message) == (503, True)
    assert time.monotonic() - began < AT_ONCE_S
    await dependency(process, "mongodb", up=False)
    assert words in why(process)
    await bus.create(later)
    for _ in range(20):
        assert (await pay(process, order)).status == 503
    assert stack.stripe.intents(order) == []
    between.answers = {}
    await dependency(process, "mongodb", up=True)
    await document(stack, later)
    assert (await pay(process, order)).status == 201
    one_charge(stack, order)
    lost, refused = process.logged("dependency_lost", dependency="mongodb"), process.logged("commit_refused")
    assert (len(lost), words in lost[0]["reason"]) == (1, True)
    assert len(refused) <= 1
    assert all(words in line["reason"] and line["order_id"] for line in refused)
    assert process.logged("commit_unknown") == []


async def test_a_process_without_traffic_reports_refused_writes_within_ten_seconds(
    stack: ServiceStack, between: MongoBetween
) -> None:
    """F52: `dependency` waits for ten seconds."""
    process = await stack.start(MONGO_URL=stack.mongo_url(between.port))
    between.answers = {"insert": READ_ONLY, "update": READ_ONLY}
    await dependency(process, "mongodb", up=False)
    assert why(process).startswith("503 not authorized")


async def test_a_server_that_answers_pings_and_has_no_data_is_not_back(
    stack: ServiceStack, bus: Bus, between: MongoBetween
) -> None:
    """F52: the loss and the return are each logged once (600 a second were logged before)."""
    process = await stack.start(MONGO_URL=stack.mongo_url(between.port))
    order = await placed(stack, bus)
    between.answers = dict.fromkeys(("find", "insert", "update", "aggregate"), NO_DATA)
    await dependency(process, "mongodb", up=False)
    for _ in range(20):
        assert (await pay(process, order)).status == 503
    assert "the data node can't be reached" in why(process)
    between.answers = {}
    await dependency(process, "mongodb", up=True)
    assert (await pay(process, order)).status == 201
    assert len(process.logged("dependency_lost", dependency="mongodb")) == 1
    assert len(process.logged("dependency_back", dependency="mongodb")) <= 2  # at the start, and now


async def test_a_server_that_fails_orders_and_passes_probes_makes_few_lines(
    stack: ServiceStack, bus: Bus, between: MongoBetween
) -> None:
    """F52: a probe can't cover every failure: writes are refused at once all the same, with a log line at intervals."""
    process = await stack.start(MONGO_URL=stack.mongo_url(between.port))
    order = await placed(stack, bus)
    between.answers = {"insert": READ_ONLY}
    for _ in range(30):
        await bus.create(stack.new_order())
    await eventually(lambda: _some(process.logged("commit_refused")), "refused orders are logged")
    assert (await pay(process, order)).status in (201, 503)
    between.answers = {}
    await dependency(process, "mongodb", up=True)
    assert len(process.logged("dependency_lost", dependency="mongodb")) <= 6


async def _some(lines: list[dict[str, Any]]) -> bool:
    return bool(lines)


async def test_charges_are_taken_while_indexes_are_made(stack: ServiceStack, bus: Bus, between: MongoBetween) -> None:
    """F52: an index build over 300,000 orders must not keep a process down; readiness names the missing indexes."""
    held = between.holds["createIndexes"] = asyncio.Event()
    process = await stack.start(MONGO_URL=stack.mongo_url(between.port))
    order = await placed(stack, bus)
    assert (await pay(process, order)).status == 201
    status, shown = process.readyz() or (0, {})
    if between.counts["createIndexes"]:  # an earlier test may have created them
        assert (status, shown["status"]) == (200, "degraded")
        assert "indexes are being made" in why(process)
    held.set()

    async def ready() -> bool:
        found = process.readyz()
        return found is not None and found[1]["status"] == "ready"

    await eventually(ready, "all indexes are there")
