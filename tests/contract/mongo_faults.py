"""The behaviour of `MongoStore` with a server that goes away, stalls, or loses its answers: run on each real server.

A subclass gives the fixtures `bench` and `server`. These tests wait for the driver's own deadlines, a few seconds each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import IndexModel, MongoClient

from payment.adapters.mongo.indexes import UNIQUE_BEFORE
from payment.adapters.mongo.store import MongoStore
from payment.core.order import Order
from payment.ports.store import Committed, DeadLetter, StoreUnavailable
from tests.contract.store_contract import T0, Bench, StoreContract, charging, order
from tests.support.servers.mongo import MongoServer, NxServer
from tests.support.servers.process import LOOPBACK, free_port
from tests.support.servers.proxy import Proxy

READ_DEADLINE_S = 17.0
"""In seconds: the socket's 7 s, once more for the driver's own repetition of a read, and the selection's 2 s."""
BACK_DEADLINE_S = 5.0


class MongoBench:
    """A database of its own on a running server."""

    def __init__(self, server: MongoServer, name: str) -> None:
        self._server = server
        self.name = name
        self.finds_upper_case_ids = not isinstance(server, NxServer)
        self.compares_dates_to = timedelta(seconds=1) if isinstance(server, NxServer) else timedelta(milliseconds=1)

    def url(self, port: int | None = None) -> str:
        return f"mongodb://{LOOPBACK}:{port or self._server.port}/{self.name}"

    def emptied(self) -> MongoBench:
        """Remove what an earlier test left: nx-27017 keeps databases of all names in one."""
        with MongoClient[dict[str, Any]](self.url()) as client:
            for collection in ("orders", "dead_letters", "probes", "account"):
                client[self.name][collection].delete_many({})
        return self

    def store(self, port: int | None = None) -> MongoStore:
        return MongoStore(self.url(port), "contract")

    def insert(self, document: dict[str, Any]) -> None:
        with MongoClient[dict[str, Any]](self.url()) as client:
            client[self.name]["orders"].replace_one({"_id": document["_id"]}, document, upsert=True)

    def delete(self, order_id: str) -> None:
        with MongoClient[dict[str, Any]](self.url()) as client:
            client[self.name]["orders"].delete_one({"_id": order_id})

    def dead_letters(self) -> list[bytes]:
        with MongoClient[dict[str, Any]](self.url()) as client:
            return [dead_letter["data"] for dead_letter in client[self.name]["dead_letters"].find()]


class MongoStoreContract(StoreContract):
    """The tests that need a real server."""

    async def test_the_indexes_are_there(self, bench: MongoBench, store: MongoStore) -> None:
        """The sweep reads the first, once a minute the second, and a payment is found by the third."""
        assert await indexed(bench) >= {("due",), ("recheck",), ("payment.id",)}

    async def test_the_unique_index_of_an_older_release_goes(self, bench: MongoBench, store: MongoStore) -> None:
        """Kind 7: a shard key forbids it. A process of 0.2.0 beside us may make it again; neither stops the other."""
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(bench.url())
        orders = client.get_default_database()["orders"]
        older = IndexModel([("payment.id", 1)], name=UNIQUE_BEFORE, sparse=True, unique=True)
        for _ in range(2):
            await orders.create_indexes([older])  # by a process of 0.2.0 that starts
            ours = bench.store()
            await ours.prepare()
            assert await ours.missing_indexes() == ()
            await ours.close()
            assert UNIQUE_BEFORE not in await orders.index_information()
            assert ("payment.id",) in await indexed(bench)
        client.close()

    async def test_a_probe_leaves_one_small_document(self, bench: MongoBench, store: MongoStore) -> None:
        """F52: one for each client id; none among the orders and the dead letters."""
        await store.probe()
        await store.probe()
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(bench.url())
        database = client.get_default_database()
        counts = [await database[name].count_documents({}) for name in ("probes", "orders", "dead_letters")]
        client.close()
        assert counts == [1, 0, 0]

    async def test_a_due_order_of_an_older_release_is_found(self, bench: MongoBench, store: MongoStore) -> None:
        """F34: 0.2.0 writes `dueMs` beside `due`, 0.1.0 does not. By each sweep; our next write drops the number."""
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(bench.url())
        orders = client.get_default_database()["orders"]
        for name, number in (("o1", {}), ("o2", {"dueMs": 1})):
            made = charging(name)
            await store.commit([made])
            document = await orders.find_one({"_id": name})
            assert document is not None
            await orders.replace_one({"_id": name}, document | number)
        for _ in range(2):
            found = await store.due(T0 + timedelta(days=1), None, 10)
            assert {each.id for each in found if isinstance(each, Order)} == {"o1", "o2"}
        assert await store.commit([charging("o2", rev=2)]) == [Committed.WRITTEN]
        assert "dueMs" not in (await orders.find_one({"_id": "o2"}) or {})
        client.close()

    async def test_the_documents_are_as_the_design_names_them(self, bench: MongoBench, store: MongoStore) -> None:
        """`_id`, `rev`, `writer`, `userId`, `payment.attempts`; a dead letter's bytes are bytes, whole."""
        data = b'{"$date": 1}\xff'
        await store.commit([charging("o1")])
        await store.add_dead_letter(DeadLetter("orders:1", "order:created", data, "error", T0))
        await store.add_dead_letter(DeadLetter("orders:1", "order:created", data, "error", T0))
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(bench.url())
        database = client.get_default_database()
        document = await database["orders"].find_one({"_id": "o1"})
        dead_letters = await database["dead_letters"].find({}).to_list(length=10)
        client.close()
        assert document is not None
        assert document["writer"] == {"process": "web-1#run1", "number": 1}
        assert (document["rev"], document["userId"], document["amount"]) == (1, "user-1", 1999)
        assert document["payment"]["attempts"][0]["instrument"] == {"kind": "token", "value": "tok_1"}
        assert [(dead_letter["_id"], bytes(dead_letter["data"])) for dead_letter in dead_letters] == [
            ("orders:1", data)
        ]

    async def test_ping_describes_the_server(self, store: MongoStore, bench: MongoBench) -> None:
        """F27: a standalone, by its version and the database's name; no address, no credential."""
        assert (await store.ping()).startswith("MongoDB ")
        assert bench.name in await store.ping()


async def indexed(bench: MongoBench) -> set[tuple[str, ...]]:
    """The keys of each index on the orders."""
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(bench.url())
    indexes = await client.get_default_database()["orders"].index_information()
    client.close()
    return {tuple(name for name, _ in index["key"]) for index in indexes.values()}


class MongoFaults:
    """The tests with a proxy that breaks the connection."""

    @pytest.fixture
    async def proxy(self, server: MongoServer) -> AsyncIterator[Proxy]:
        async with Proxy(server.port) as proxy:
            yield proxy

    @pytest.fixture
    async def store(self, bench: MongoBench, proxy: Proxy) -> AsyncIterator[MongoStore]:
        store = bench.store(proxy.port)
        await store.prepare()
        yield store
        await store.close()

    @pytest.fixture
    async def beside(self, bench: MongoBench) -> AsyncIterator[MongoStore]:
        """A second store without the proxy."""
        store = bench.store()
        yield store
        await store.close()

    async def test_a_write_whose_answer_is_lost_is_unknown_and_was_applied(
        self, store: MongoStore, beside: MongoStore, proxy: Proxy
    ) -> None:
        """F26: the write is unknown within the driver's deadline, and reads are unavailable; then the store recovers by
        itself.
        """
        assert await store.load(["o1"]) == {}  # a write is sent only on an open connection
        proxy.drop_answers()
        async with asyncio.timeout(READ_DEADLINE_S):
            assert await store.commit([order("o1"), order("o2")]) == [Committed.UNKNOWN] * 2
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(READ_DEADLINE_S):
                await store.load(["o1"])
        assert set(await beside.load(["o1", "o2"])) == {"o1", "o2"}
        proxy.resume()
        proxy.cut()
        await back(store)
        assert await store.load(["o1"]) == {"o1": order("o1")}
        assert await store.commit([order("o1")]) == [Committed.CONFLICT]

    async def test_a_cut_connection_makes_a_write_unknown_and_recovers(self, store: MongoStore, proxy: Proxy) -> None:
        """F25, F26: one write for each cut; never written twice, never called refused."""
        await store.commit([order("o1")])
        proxy.cut()
        (result,) = await store.commit([charging("o1", rev=2)])
        assert result in (Committed.UNKNOWN, Committed.WRITTEN)
        await back(store)
        stored = (await store.load(["o1"]))["o1"]
        assert isinstance(stored, Order)
        revision = stored.rev
        assert await store.commit([order("o1", rev=revision + 1)]) == [Committed.WRITTEN]

    async def test_a_server_that_does_not_listen_is_unavailable(self, store: MongoStore, proxy: Proxy) -> None:
        """F25: reads unavailable, writes unknown, dead letters unavailable, all within 4 s; then the store recovers."""
        proxy.stop_listening()
        proxy.cut()
        async with asyncio.timeout(4.0):
            results = await asyncio.gather(
                store.load(["o1"]),
                store.due(T0, None, 1),
                store.load_by_payment(["p"]),
                store.add_dead_letter(DeadLetter("a", "s", b"x", "e", T0)),
                store.prepare(),
                store.ping(),
                store.probe(),
                store.missing_indexes(),
                return_exceptions=True,
            )
        assert {type(result) for result in results} == {StoreUnavailable}
        async with asyncio.timeout(4.0):
            committed = await store.commit([order("o1")])
        # With the first connections lost a write may have left; once the driver knows of no server it has not.
        assert committed in ([Committed.UNKNOWN], [Committed.REFUSED])
        async with asyncio.timeout(4.0):
            assert await store.commit([order("o1")]) == [Committed.REFUSED]
        assert "no primary can be reached" in store.trouble
        await proxy.start()
        await back(store)
        assert await store.load(["o1"]) == {}

    async def test_errors_hold_no_document_and_no_credential(self) -> None:
        """Neither an exception nor the store's repr has the password of the URL."""
        store = MongoStore(f"mongodb://user:s3cret@{LOOPBACK}:{free_port()}/payment?authSource=admin", "contract")
        with pytest.raises(StoreUnavailable) as raised:
            await store.prepare()
        texts = [str(raised.value), repr(raised.value), repr(store), str(raised.value.__cause__)]
        assert raised.value.__cause__ is None
        assert not any("s3cret" in text or "user:" in text for text in texts)
        await store.close()


async def back(store: MongoStore) -> None:
    """Wait until the store answers again."""
    async with asyncio.timeout(BACK_DEADLINE_S):
        while True:
            try:
                await store.probe()
            except StoreUnavailable:
                await asyncio.sleep(0)
            else:
                return


__all__ = ["Bench", "MongoBench", "MongoFaults", "MongoStoreContract"]
