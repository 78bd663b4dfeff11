"""Hostile clients against a running process: floods, held connections, few descriptors, card testing."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.e2e.bus import Bus
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.faults.steps import pay, placed
from tests.support.servers.process import LOOPBACK

pytestmark = [pytest.mark.servers, pytest.mark.long]

FLOODING = 16
PIPELINED = 400
CHARGES = 5
DESCRIPTORS = 256
HELD = 400
REASONS = ("", "InsufficientFunds", "ExpiredCard", "ProcessingError", "IncorrectCvc")
DECLINING = tuple(f"tok_{brand}chargeDeclined{reason}" for brand in ("", "visa_") for reason in REASONS)
LIMIT = 12
PORT_READS = (b"GET /healthz", b"GET /metrics")


async def flood(port: int, request: bytes) -> None:
    """Repeat a request without end, hundreds in one packet, and read the answers."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)

    async def read() -> None:
        while await reader.read(65_536):
            pass

    reading = asyncio.create_task(read())
    try:
        while not reading.done():
            writer.write(request * PIPELINED)
            await writer.drain()
    finally:
        reading.cancel()
        writer.transport.abort()
        await asyncio.wait([reading])


@pytest.mark.parametrize("line", PORT_READS, ids=["healthz", "metrics"])
async def test_customers_pay_while_one_client_floods(stack: ServiceStack, bus: Bus, line: bytes) -> None:
    """F51: every charge is paid, and NATS is not lost; bench/hostile.py measures the time."""
    process = await stack.start()
    orders = [await placed(stack, bus) for _ in range(CHARGES)]
    request = line + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    floods = [asyncio.create_task(flood(process.port, request)) for _ in range(FLOODING)]
    answers = [await pay(process, order) for order in orders]
    assert not any(each.done() for each in floods)
    for each in floods:
        each.cancel()
    await asyncio.wait(floods)
    assert [answer.status for answer in answers] == [201] * CHARGES
    assert process.logged("dependency_lost") == []


def with_descriptors(process: ServiceProcess, files: int) -> None:
    """Limit the process to `files` open files."""
    process.command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *process.command]


async def test_held_connections_leave_descriptors_for_stripe_and_the_store(stack: ServiceStack, bus: Bus) -> None:
    """F51: with 400 idle connections and a limit of 256 open files customers connect and pay."""
    process = stack.service()
    with_descriptors(process, DESCRIPTORS)
    await asyncio.to_thread(process.start)
    orders = [await placed(stack, bus) for _ in range(CHARGES)]
    held = [socket.create_connection((LOOPBACK, process.port)) for _ in range(HELD)]
    try:
        await asyncio.sleep(1.5)  # by then the oldest have been idle long enough to be closed
        answers = await asyncio.gather(*(pay(process, order) for order in orders))
        async with Client(process.port) as client:
            assert (await client.ready()).body["status"] == "ready"
    finally:
        for each in held:
            each.close()
    assert [answer.status for answer in answers] == [201] * CHARGES
    assert process.logged("dependency_lost") == []
    assert process.logged("connections_wait") == []


async def test_a_process_with_few_descriptors_starts_and_charges(stack: ServiceStack, bus: Bus) -> None:
    """The process adapts to a limit that it can't raise."""
    process = stack.service()
    with_descriptors(process, 64)
    await asyncio.to_thread(process.start)
    assert (await pay(process, await placed(stack, bus))).status == 201


async def test_a_card_tester_is_refused(stack: ServiceStack, bus: Bus) -> None:
    """Of 50 declining cards on 5 orders of one user at once, as many as the limit are tried, the others get 429."""
    process = await stack.start(DECLINES_PER_USER_LIMIT=str(LIMIT))
    orders = [await placed(stack, bus) for _ in range(5)]
    other = stack.new_order()
    await bus.create(other, user="u2")
    before = stack.stripe.requests()
    async with Client(process.port) as client:
        # The cards of one order go one after another: a second concurrent one would only get 409.
        async def tests(order: str) -> list[int]:
            return [(await client.pay(order, token)).status for token in DECLINING]

        statuses = [status for each in await asyncio.gather(*map(tests, orders)) for status in each]
        refused = await client.pay(orders[0], "tok_visa")
        paid = await client.pay(other, "tok_visa", user="u2")
    assert (statuses.count(402), statuses.count(429)) == (LIMIT, 50 - LIMIT)
    assert stack.stripe.requests() - before == LIMIT + 1
    assert (refused.status, refused.body["errors"][0]["code"]) == (429, "too_many_declines")
    assert 3_500 < int(refused.headers["Retry-After"]) <= 3_600
    assert paid.status == 201
    refusals = process.logged("request_refused", status=429)
    assert {line["order_id"] for line in refusals} == set(orders)
    assert all(line["reason"] for line in refusals)


async def test_many_orders_of_one_customer_are_paid_at_once(stack: ServiceStack, bus: Bus) -> None:
    """More orders than may be in flight: the others wait for the first to be paid, and none is refused."""
    process = await stack.start(DECLINES_PER_USER_LIMIT="2")
    orders = [await placed(stack, bus) for _ in range(12)]
    answers = await asyncio.gather(*(pay(process, order) for order in orders))
    assert [answer.status for answer in answers] == [201] * 12
