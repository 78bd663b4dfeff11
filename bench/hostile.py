"""How long an honest client waits for a charge while hostile clients keep connections busy (F51).

    .venv/bin/python -m bench.hostile [--charges 30] [--only healthz] [--connections 1,16]

A process of the service runs in front of real servers. For each kind of hostile client, a process opens 1 or 16
connections without a JWT and repeats one request as fast as answers are written: hundreds of them in one packet
(*pipelined*; *never reads* leaves the answers unread), the next one after each answer (*one at a time*), or each on a
new connection (*anew*). At the same time one honest client pays orders, one after another. It has paid as many just
before without hostile clients, which gives the quiet median. The goal: at most 3 times that, every charge answered,
NATS not lost.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.e2e.bus import Bus
from tests.e2e.client import Client
from tests.e2e.stack import Servers, ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually
from tests.support.servers.process import LOOPBACK

GOAL = 3.0
PIPELINED_REQUESTS = 400  # in one packet
SETTLE_S = 1.5  # from the beginning of a flood to the first charge that is measured
BETWEEN_S = 0.02  # between two charges
PATIENCE_S = 5.0  # charges of the honest client
NO_ANSWER = 0
AGAIN_S = 0.1  # pause of a hostile client after a refused connection
WARM_UP_CHARGES = 20
PIPELINED, ONE_AT_A_TIME, NEVER_READS, ANEW = "pipelined", "one at a time", "never reads", "anew"
BODY = b'{"orderId":"o1","token":"tok_visa"}'
HEAD = b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

REQUESTS = {
    "GET /healthz": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /readyz": b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /openapi.json": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /nothing: 404": b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST without a JWT: 401": HEAD % len(BODY) + BODY,
}


def flooding(port: int, request: bytes, connections: int, kind: str) -> None:
    """Run the hostile clients, in their own process."""

    async def all_of_them() -> None:
        await asyncio.gather(*(repeat(port, request, kind) for _ in range(connections)))

    asyncio.run(all_of_them())


async def repeat(port: int, request: bytes, kind: str) -> None:
    """Run one client. It connects again where the service has closed its connection."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            if kind == ANEW:
                writer.write(request)
                await reader.read(65_536)
                writer.transport.abort()
            elif kind == ONE_AT_A_TIME:
                await one_at_a_time(reader, writer, request)
            else:
                reading = [read(reader)] if kind == PIPELINED else []
                await asyncio.gather(send(writer, request * PIPELINED_REQUESTS), *reading)
        except OSError:
            await asyncio.sleep(AGAIN_S)


async def one_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    while await reader.read(65_536):
        writer.write(request)
    raise ConnectionResetError


async def send(writer: asyncio.StreamWriter, packet: bytes) -> None:
    while True:
        writer.write(packet)
        await writer.drain()


async def read(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass
    raise ConnectionResetError


async def announced(stack: ServiceStack, bus: Bus, count: int) -> list[str]:
    """Publish new orders; returns them once the service has stored them."""
    orders = [stack.new_order() for _ in range(count)]
    for order in orders:
        await bus.create(order)

    async def stored() -> object:
        return stack.order(orders[-1])

    await eventually(stored, "the last order is stored", 30.0)
    return orders


async def all_charged(client: Client, orders: list[str]) -> list[tuple[float, int]]:
    """Charge orders one after another; returns time in seconds and status of each."""
    charges = []
    for order in orders:
        charges.append(await charged(client, order))
        await asyncio.sleep(BETWEEN_S)
    return charges


async def charged(client: Client, order: str) -> tuple[float, int]:
    """Charge one order; returns time in seconds and status."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S):
            status = (await client.pay(order)).status
    except (TimeoutError, aiohttp.ClientError):
        status = NO_ANSWER
    return time.monotonic() - began, status


async def measured(
    service: ServiceProcess, stack: ServiceStack, bus: Bus, count: int, flood: tuple[str, bytes, int, str]
) -> str:
    """Measure one kind of hostile client; returns a row of the table."""
    about, request, connections, kind = flood
    orders = await announced(stack, bus, 2 * count)
    hostile = multiprocessing.get_context("spawn").Process(
        target=flooding, args=(service.port, request, connections, kind), daemon=True
    )
    before = len(service.logged("dependency_lost"))
    async with Client(service.port) as client:
        quiet = await all_charged(client, orders[:count])
        hostile.start()
        try:
            await asyncio.sleep(SETTLE_S)
            busy = await all_charged(client, orders[count:])
        finally:
            hostile.kill()
            hostile.join()
    lost = len(service.logged("dependency_lost")) - before
    return row(f"{about}, {connections} {kind}", quiet, busy, lost)


def row(name: str, quiet: list[tuple[float, int]], busy: list[tuple[float, int]], lost: int) -> str:
    quiet_ms, busy_ms = (statistics.median(took_s for took_s, _ in each) * 1e3 for each in (quiet, busy))
    failed = sum(status != 201 for _, status in busy)
    kept = busy_ms <= GOAL * quiet_ms and not failed and not lost
    return (
        f"| {name} | {quiet_ms:.1f} ms | {busy_ms:.1f} ms | {busy_ms / quiet_ms:.2f}x "
        f"| {max(took_s for took_s, _ in busy) * 1e3:.0f} ms | {failed} | {lost} | {'met' if kept else '**not met**'} |"
    )


async def main(charges: int, only: str, numbers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        servers.start()
        stack = ServiceStack(servers, Path(folder))
        try:
            service = await stack.start(DECLINES_PER_USER_LIMIT="0")
            async with Bus(servers.nats.url) as bus, Client(service.port) as client:
                for order in await announced(stack, bus, WARM_UP_CHARGES):
                    await charged(client, order)
                print("| hostile clients | quiet | beside them | | longest | not 201 | NATS lost | goal 3x |")
                print("|---|---|---|---|---|---|---|---|", flush=True)
                kinds = (PIPELINED, ONE_AT_A_TIME, NEVER_READS, ANEW)
                floods = itertools.product((each for each in REQUESTS if only in each), numbers, kinds)
                for about, connections, kind in floods:
                    flood = (about, REQUESTS[about], connections, kind)
                    print(await measured(service, stack, bus, charges, flood), flush=True)
        finally:
            stack.stop()
            servers.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--charges", type=int, default=30, help="of each row")
    parser.add_argument("--only", default="", help="a part of a request's name")
    parser.add_argument("--connections", default="1,16", help="numbers of hostile connections, comma-separated")
    given = parser.parse_args()
    asyncio.run(main(given.charges, given.only, [int(number) for number in given.connections.split(",")]))
