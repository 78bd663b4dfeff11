"""How long others wait for a charge while hostile clients keep connections busy (F51): one command, one table.

    .venv/bin/python -m bench.hostile [--charges 30] [--only healthz]

A process of the service runs in front of real servers. For each kind of hostile client, a process of its own opens 1 or
16 connections without any JWT and repeats one request as fast as answers are written, hundreds of them in one packet
(or, *one at a time*, the next one after each answer). Meanwhile one honest client pays orders, one after another. The
goal: its median is at most 3 times that of a quiet service, every charge is answered, and NATS is not lost.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.flows.bus import Bus
from tests.flows.client import Client
from tests.flows.house import House, Servers, ServiceProcess
from tests.flows.waiting import eventually
from tests.servers.process import LOOPBACK

GOAL = 3.0
PIPELINED_REQUESTS = 400  # in one packet
SETTLE_S = 1.5  # from the beginning of a flood to the first charge that is measured
BETWEEN_S = 0.02  # between two charges
PATIENCE_S = 5.0  # of the honest client
NO_ANSWER = 0
AGAIN_S = 0.1  # until a hostile client connects again
CONNECTIONS = (1, 16)
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


def flooding(port: int, packet: bytes, connections: int, reads: bool, waits: bool) -> None:
    """The hostile clients' process."""

    async def all_of_them() -> None:
        await asyncio.gather(*(repeat(port, packet, reads=reads, waits=waits) for _ in range(connections)))

    asyncio.run(all_of_them())


async def repeat(port: int, packet: bytes, *, reads: bool, waits: bool) -> None:
    """One connection: opened again where the service has closed it."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            if waits:
                await one_at_a_time(reader, writer, packet)
            else:
                await asyncio.gather(send(writer, packet), *([read(reader)] if reads else []))
        except OSError:
            await asyncio.sleep(AGAIN_S)


async def one_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, packet: bytes) -> None:
    writer.write(packet)
    while await reader.read(65_536):
        writer.write(packet)
    raise ConnectionResetError


async def send(writer: asyncio.StreamWriter, packet: bytes) -> None:
    while True:
        writer.write(packet)
        await writer.drain()


async def read(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass
    raise ConnectionResetError


async def announced(house: House, bus: Bus, count: int) -> list[str]:
    """New orders that the service knows."""
    orders = [house.new_order() for _ in range(count)]
    for order in orders:
        await bus.create(order)

    async def stored() -> object:
        return house.order(orders[-1])

    await eventually(stored, "the last order is stored", 30.0)
    return orders


async def charged(client: Client, orders: list[str]) -> tuple[list[float], list[int]]:
    """Times in seconds, and statuses, of charges one after another."""
    times, statuses = [], []
    for order in orders:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = (await client.pay(order)).status
        except (TimeoutError, aiohttp.ClientError):
            status = NO_ANSWER
        times.append(time.monotonic() - began)
        statuses.append(status)
        await asyncio.sleep(BETWEEN_S)
    return times, statuses


def shown(name: str, times: list[float], statuses: list[int], quiet_s: float, lost: int) -> str:
    median = statistics.median(times)
    kept = median <= GOAL * quiet_s and set(statuses) == {201} and not lost
    failed = sum(status != 201 for status in statuses)
    return (
        f"{name:44} median {median * 1e3:7.1f} ms  {median / quiet_s:6.2f}x  longest {max(times) * 1e3:7.1f} ms  "
        f"not 201: {failed}  NATS lost: {lost}  {'met' if kept else 'NOT MET'}"
    )


async def measured(
    service: ServiceProcess, house: House, bus: Bus, name: str, quiet_s: float, count: int, **flood: object
) -> None:
    orders = await announced(house, bus, count)
    hostile = multiprocessing.get_context("spawn").Process(
        target=flooding, args=(service.port, *flood.values()), daemon=True
    )
    before = len(service.said("dependency_lost"))
    hostile.start()
    try:
        await asyncio.sleep(SETTLE_S)
        async with Client(service.port) as client:
            times, statuses = await charged(client, orders)
    finally:
        hostile.kill()
        hostile.join()
    print(shown(name, times, statuses, quiet_s, len(service.said("dependency_lost")) - before), flush=True)


async def main(charges: int, only: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        servers.start()
        house = House(servers, Path(folder))
        try:
            service = await house.start(DECLINES_PER_USER_LIMIT="0")
            async with Bus(servers.nats.url) as bus, Client(service.port) as client:
                await charged(client, await announced(house, bus, charges))  # the rates at Stripe are learned
                times, statuses = await charged(client, await announced(house, bus, charges))
                quiet_s = statistics.median(times)
                print(shown("quiet", times, statuses, quiet_s, 0), flush=True)
                for about, request in REQUESTS.items():
                    if only not in about:
                        continue
                    for connections in CONNECTIONS:
                        kinds = {
                            "pipelined": (request * PIPELINED_REQUESTS, connections, True, False),
                            "one at a time": (request, connections, True, True),
                            "never reads": (request * PIPELINED_REQUESTS, connections, False, False),
                        }
                        for kind, (packet, number, reads, waits) in kinds.items():
                            name = f"{about}, {connections} {kind}"
                            flood = {"packet": packet, "connections": number, "reads": reads, "waits": waits}
                            await measured(service, house, bus, name, quiet_s, charges, **flood)
        finally:
            house.stop()
            servers.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--charges", type=int, default=30, help="of each row")
    parser.add_argument("--only", default="", help="a part of a request's name")
    given = parser.parse_args()
    asyncio.run(main(given.charges, given.only))
