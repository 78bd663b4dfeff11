"""One contender as a process, and its supply of orders.

Each has a MongoDB and a broker of its own, the same programs with the same options: the events of one must not reach
another, and nx-27017 keeps all databases in one set of tables. Stripe and the load generator are shared. Only one
contender works at a time, and idle servers cost next to nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import nats
from pymongo import MongoClient
from pymongo.database import Database

from bench.load import JWT_KEY, user_of
from bench.store_count import StoreCount
from bench.streaming import Connected, ended, transport
from tests.e2e.stack import ROOT, procfile_command
from tests.support.servers.mongo import NxServer
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_streaming import NatsStreamingServer
from tests.support.servers.process import LOOPBACK, ServerProcess, accepts, free_port

LIMIT, OBVIOUS, INTENTS = "limit", "obvious", "obvious, intents"
OURS, PREPARED, STREAMING = "ours", "ours, prepared", "ours, NATS Streaming"
BEFORE = "release 0.1.0"
"""Our service before PaymentIntents: it charges in one call. It takes part only where a checkout of it is given."""
OTHERS = {
    LIMIT: "bench.contenders.limit",
    OBVIOUS: "bench.contenders.obvious",
    INTENTS: "bench.contenders.intents",
}
MEASURED = (OURS, PREPARED, STREAMING)
"""Our current service, in its three configurations."""
TWO_CALLS = (OURS, STREAMING)
"""Contenders that call Stripe twice while a customer waits: create and confirm."""
STRIPE_KEY = "sk_test_bench"
AMOUNT, PRICE = 1999, 19.99
FREE_RATE_PER_S = 10_000
"""Effectively no limit: where Stripe's limit is not measured, it must not affect the result."""
PUBLISHES_UNDER_WAY = 256
INSERTED_AT_ONCE = 1_000
TAKEN_DEADLINE_S = 180.0
POLL_EVERY_S = 0.1
READY_TIMEOUT_S = 5.0
STREAM_OF_OTHERS = "ticketing"
Document = dict[str, Any]


class Place(Protocol):
    """The servers that all contenders share."""

    folder: Path

    @property
    def stripe_url(self) -> str: ...

    def audit(self) -> dict[str, Any]:
        """Returns what was executed at Stripe (`bench.stripe_stand_in`)."""


def batched(items: Iterable[Document], count: int) -> Iterator[list[Document]]:
    """Yields lists of `count` items, the last one perhaps shorter (itertools has it from Python 3.12 on)."""
    left = iter(items)
    while some := list(islice(left, count)):
        yield some


def new_orders(count: int) -> list[str]:
    """Returns new order ids."""
    tag = uuid4().hex[:12]
    return [f"{tag}{number:08d}" for number in range(count)]


def order_created(order: str) -> bytes:
    expires = datetime.now(UTC) + timedelta(hours=1)
    event = {"id": order, "version": 0, "status": "created", "userId": user_of(order)}
    event |= {"expiresAt": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    return msgspec.json.encode(event | {"ticket": {"id": "ticket-1", "price": PRICE}})


class Contender:
    """A process that accepts charges. `settings` are more variables of its environment.

    With `counted` it reaches MongoDB through a proxy that counts: `counting`. `program` is run in place of the service,
    in the checkout `root`.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        counted: bool = False,
        program: Sequence[str] = (),
        root: Path = ROOT,
        **settings: str,
    ) -> None:
        self.name = name
        self._place = place
        self.id = f"b{uuid4().hex[:8]}"
        self.folder = place.folder / self.id
        self.folder.mkdir()
        self.broker = NatsStreamingServer(self.folder) if name == STREAMING else NatsServer(self.folder)
        self._mongo = NxServer(self.folder)
        self.counting = StoreCount(self._mongo.port) if counted else None
        self._client: MongoClient[Document] = MongoClient(self._mongo.url, tz_aware=True)
        self.database: Database[Document] = self._client.get_default_database()
        mongo_url = self._mongo.url if self.counting is None else self.counting.mongo_url
        self.environment = self._environment(mongo_url, place.stripe_url) | settings
        self.process = self._process(program, root)
        self.took_s = 0.0
        self._orders = 0

    @property
    def is_ours(self) -> bool:
        return self.name not in OTHERS

    @property
    def prepares(self) -> bool:
        """Whether it creates the PaymentIntent of an order when it receives the order."""
        return self.name == PREPARED

    @property
    def calls_a_charge(self) -> int:
        """The number of requests to Stripe between a customer's request and the charge."""
        return 2 if self.name in TWO_CALLS else 1

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        self.broker.start()
        self._mongo.start()
        if self.counting is not None:
            self.counting.start()
        if not self.is_ours:
            asyncio.run(self._make_stream())
        began = time.monotonic()
        self.process.start()
        self.took_s = time.monotonic() - began

    def stop(self) -> None:
        self.process.stop()
        self.broker.stop()
        self._client.close()
        if self.counting is not None:
            self.counting.stop()
        self._mongo.stop()

    def take_in(self, orders: list[str]) -> None:
        """Supply orders to be paid: by events where the contender replicates orders, else by inserts.

        Where the contender prepares intents, returns when each order has its PaymentIntent.
        """
        if self.is_ours:
            intents = self._place.audit()["intents"] if self.prepares else 0
            self.publish(orders)
            self.wait_until_taken(len(orders))
            if self.prepares:
                self._wait_until_prepared(intents + len(orders))
        elif self.name != LIMIT:
            documents = [
                {"_id": order, "userId": user_of(order), "amount": AMOUNT, "status": "created"} for order in orders
            ]
            self.insert(documents)

    def insert(self, documents: Iterable[Document]) -> None:
        """Insert documents directly into the store of orders."""
        for some in batched(documents, INSERTED_AT_ONCE):
            self.database["orders"].insert_many(some)
            self._orders += len(some)

    def publish(self, orders: list[str]) -> None:
        """Publish order:created events; returns when the broker has stored all of them."""
        asyncio.run(self._publish(orders))

    def wait_until_taken(self, more: int) -> float:
        """Wait until `more` further orders are stored; returns the monotonic time."""
        self._orders += more
        deadline = time.monotonic() + TAKEN_DEADLINE_S
        while self.database["orders"].estimated_document_count() < self._orders:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not stored {more} orders within {TAKEN_DEADLINE_S:g} s")
            time.sleep(POLL_EVERY_S)
        return time.monotonic()

    def _wait_until_prepared(self, intents: int) -> None:
        deadline = time.monotonic() + TAKEN_DEADLINE_S
        while (there := self._place.audit()["intents"]) < intents:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has created only {there} of {intents} intents")
            time.sleep(POLL_EVERY_S)

    async def _publish(self, orders: list[str]) -> None:
        left = iter(orders)
        if isinstance(self.broker, NatsStreamingServer):
            there, bus = Connected(), transport(self.broker, f"bench-{uuid4().hex[:8]}")
            running = asyncio.create_task(bus.run({}, there))
            await there.event.wait()
            await _together(lambda data: bus.publish("order:created", data, ""), left)
            await ended(bus, running)
            return
        client = await nats.connect(self.broker.url)
        stream = client.jetstream(timeout=30)
        await _together(lambda data: stream.publish("order:created", data), left)
        await client.close()

    async def _make_stream(self) -> None:
        client = await nats.connect(self.broker.url)
        await client.jetstream().add_stream(name=STREAM_OF_OTHERS, subjects=["payment:created"])
        await client.close()

    def _process(self, program: Sequence[str], root: Path) -> ServerProcess:
        port = int(self.environment["PORT"])
        usual = procfile_command() if self.is_ours else [sys.executable, "-m", OTHERS[self.name]]
        log = self.folder / "service.log"
        ready = (lambda: is_ready(port)) if self.is_ours else (lambda: accepts(port))
        return ServerProcess(program or usual, port=port, log=log, ready=ready, env=self.environment, cwd=root)

    def _environment(self, mongo_url: str, stripe_url: str) -> dict[str, str]:
        cluster = {"NATS_CLUSTER_ID": self.broker.cluster_id} if isinstance(self.broker, NatsStreamingServer) else {}
        prepare = {"STRIPE_PREPARE": "true"} if self.prepares else {}
        return (
            cluster
            | prepare
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                "NATS_URL": self.broker.url,
                "NATS_CLIENT_ID": self.id,
                "QUEUE_GROUP_NAME": self.id,
                "MONGO_URL": mongo_url,
                "JWT_KEY": JWT_KEY,
                "STRIPE_KEY": STRIPE_KEY,
                "STRIPE_API_BASE": stripe_url,
                "STRIPE_RATE_PER_S": str(FREE_RATE_PER_S),
                "HOST": LOOPBACK,
                "PORT": str(free_port()),
            }
        )


async def _together(publish: Any, orders: Any) -> None:
    async def one_after_another() -> None:
        for order in orders:
            await publish(order_created(order))

    await asyncio.gather(*(one_after_another() for _ in range(PUBLISHES_UNDER_WAY)))


def is_ready(port: int) -> bool:
    """Whether `/readyz` says ready."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=READY_TIMEOUT_S) as found:
            return bool(msgspec.json.decode(found.read())["status"] == "ready")
    except (urllib.error.URLError, OSError):
        return False
