"""The speed of events over NATS Streaming: our transport and node-nats-streaming, on one server, in one run.

    python -m bench.streaming [--rounds 5] [--messages 20000]

Each round runs both with the same work, each in its own channel, and the order alternates from round to round, so that
other load of the machine affects both. bench/README.md describes the measurement and its goal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import machine, now, streaming_versions
from payment.adapters.nats.stan.subscription import MAX_IN_FLIGHT_MESSAGES
from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ports.transport import Delivery
from tests.e2e.peer_services.peer_service import require_node
from tests.support.servers.nats_streaming import NatsStreamingServer, require_server

HERE = Path(__file__).parent
RESULTS = Path("build/bench")
"""The default folder of the result: `--results bench/results` replaces the one in git."""
MESSAGE_BYTES = 250  # an order:created has about as many
UNDER_WAY = 256  # concurrent publishes of both
GOAL_PER_S = {"publish": 2_000, "consume": 5_000}
GOAL_RATIO = 0.5  # share of node-nats-streaming's rate
ROUND_DEADLINE_S = 120.0
CLIENTS = ("ours", "node")
Times = dict[str, float]


class Connected:
    """Waits for the transport's connection. A loss would spoil the measurement, so it ends it."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def connected(self) -> None:
        self.event.set()

    def disconnected(self, reason: str) -> None:
        raise RuntimeError(reason)

    def reason_changed(self, reason: str) -> None:
        raise RuntimeError(reason)

    def noticed(self, text: str, *, alarm: bool) -> None:
        """An event that does not change the connection changes no figure; an alarm does."""
        if alarm:
            raise RuntimeError(text)


def transport(server: NatsStreamingServer, name: str) -> StreamingTransport:
    return StreamingTransport([server.url], server.cluster_id, name, name, RandomIds(), SystemClock())


async def ours(server: NatsStreamingServer, name: str, messages: int) -> Times:
    channel = f"{name}:channel"
    return {
        "publish_s": await our_publishing(server, name, channel, messages),
        "consume_s": await our_consuming(server, name, channel, messages),
    }


async def our_publishing(server: NatsStreamingServer, name: str, channel: str, messages: int) -> float:
    """Returns the seconds from the first publish to the last acknowledgement."""
    there, bus = Connected(), transport(server, name)
    running = asyncio.create_task(bus.run({}, there))
    await there.event.wait()
    left, data = iter(range(messages)), b"x" * MESSAGE_BYTES

    async def publish() -> None:
        for _ in left:
            await bus.publish(channel, data, "")

    began = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(UNDER_WAY)))
    took = time.perf_counter() - began
    await ended(bus, running)
    return took


async def our_consuming(server: NatsStreamingServer, name: str, channel: str, messages: int) -> float:
    """Returns the seconds from before the connection (milliseconds, which Node's time does not include) to the last
    ack.
    """
    done, got, bus = asyncio.Event(), 0, transport(server, name)

    async def handle(delivery: Delivery) -> None:
        nonlocal got
        await delivery.ack()
        got += 1
        if got == messages:
            done.set()

    began = time.perf_counter()
    running = asyncio.create_task(bus.run({channel: handle}, Connected()))
    await done.wait()
    took = time.perf_counter() - began
    await ended(bus, running)
    return took


async def ended(bus: StreamingTransport, running: asyncio.Task[None]) -> None:
    await bus.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def node(server: NatsStreamingServer, name: str, messages: int) -> Times:
    words = [server.url, server.cluster_id, name, f"{name}:channel"]
    numbers = [messages, MESSAGE_BYTES, UNDER_WAY, MAX_IN_FLIGHT_MESSAGES]
    program = str(HERE / "streaming_peer.js")
    child = await asyncio.create_subprocess_exec(
        "node", program, *words, *map(str, numbers), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    times: Times = json.loads(output)
    return times


async def rounds_of(server: NatsStreamingServer, rounds: int, messages: int) -> list[dict[str, Times]]:
    work = {"ours": ours, "node": node}
    done = []
    for number in range(-1, rounds):  # the first round warms both up, and is not counted
        order = CLIENTS if number % 2 else CLIENTS[::-1]
        async with asyncio.timeout(ROUND_DEADLINE_S):
            done.append({who: await work[who](server, f"{who}-{number + 1}", messages) for who in order})
    return done[1:]


def summary(store: str, done: list[dict[str, Times]], messages: int) -> list[dict[str, Any]]:
    """Returns a row for publishing and one for consuming."""
    rows = []
    for what in GOAL_PER_S:
        rates = {who: [round(messages / each[who][f"{what}_s"]) for each in done] for who in CLIENTS}
        ratios = [mine / other for mine, other in zip(rates["ours"], rates["node"], strict=True)]
        rows.append({"store": store, "what": what} | {who: spread(rates[who]) for who in CLIENTS})
        rows[-1]["ratio"] = {key: round(value, 2) for key, value in spread(ratios).items()}
    return rows


def spread(values: list[Any]) -> dict[str, Any]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def shown(row: dict[str, Any]) -> str:
    rates = "   ".join(
        f"{who} {row[who]['median']:>7,.0f}/s ({row[who]['least']:,}-{row[who]['most']:,})" for who in CLIENTS
    )
    met = row["ours"]["median"] >= GOAL_PER_S[row["what"]] and row["ratio"]["median"] >= GOAL_RATIO
    return f"{row['store']:6} {row['what']:8} {rates}   ratio {row['ratio']['median']:.2f}   {'ok' if met else 'BELOW'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare our NATS Streaming transport with node-nats-streaming.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000, help="in one round, for each client")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the result (%(default)s)")
    options = parser.parse_args()
    require_node()
    result: dict[str, Any] = {"at": now(), "machine": machine(), "versions": streaming_versions(require_server())}
    result["settings"] = {"messages": options.messages, "message_bytes": MESSAGE_BYTES, "under_way": UNDER_WAY}
    result["goals"] = {"per_s": GOAL_PER_S, "ratio": GOAL_RATIO}
    result["rows"] = []
    for store in ("memory", "file"):
        with tempfile.TemporaryDirectory() as folder:
            server = NatsStreamingServer(Path(folder), memory=store == "memory")
            server.start()
            try:
                done = asyncio.run(rounds_of(server, options.rounds, options.messages))
            finally:
                server.stop()
        result["rows"] += summary(store, done, options.messages)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / "streaming.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(map(shown, result["rows"])), f"written to {path}", sep="\n")


if __name__ == "__main__":
    main()
