"""`MongoStore` at a server that refuses, answers unlike MongoDB, or is slow to make indexes (F26, F52).

mongod, mongos or another server of the protocol gives each of these answers; none gives it on demand.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from payment.adapters.mongo.indexes import DUE_INDEX, INDEXES, UNIQUE_BEFORE
from payment.adapters.mongo.store import COMMAND_BYTES_MAX, MongoStore
from payment.ports.store import Committed, StoreUnavailable
from tests.support.servers.scripted_mongo import ScriptedMongo
from tests.unit.adapters.mongo.test_store import dead_letter, order

WRITTEN, CONFLICT, REJECTED_DOCUMENT, UNKNOWN, REFUSED = (
    Committed.WRITTEN,
    Committed.CONFLICT,
    Committed.REJECTED_DOCUMENT,
    Committed.UNKNOWN,
    Committed.REFUSED,
)
UNAUTHORIZED = {
    "ok": 0.0,
    "code": 13,
    "codeName": "Unauthorized",
    "errmsg": 'not authorized on payment to execute command { insert: "orders", documents: [ { token: "tok_visa" } ] }',
}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedMongo]:
    server = ScriptedMongo()
    yield server
    await server.stop()


@pytest.fixture
async def store(server: ScriptedMongo) -> AsyncIterator[MongoStore]:
    store = MongoStore(await server.start(), "web-1")
    yield store
    await store.close()


def refusal(code: int, name: str, text: str) -> dict[str, Any]:
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": text}


def failed(*errors: tuple[int, int, str], n: int = 0) -> dict[str, Any]:
    return {"ok": 1.0, "n": n, "writeErrors": [{"index": i, "code": code, "errmsg": text} for i, code, text in errors]}


class TestRefusedWrites:
    @pytest.mark.parametrize(
        ("code", "name", "text"),
        [
            (13, "Unauthorized", "not authorized on payment to execute command"),
            (14031, "OutOfDiskSpace", "available disk space of 1 bytes is less than required minimum"),
            (371, "UserWritesBlocked", "User writes blocked"),
            (10107, "NotWritablePrimary", "not primary"),
            (13435, "NotPrimaryNoSecondaryOk", "not primary and secondaryOk=false"),
            (8000, "AtlasError", "you are over your space quota, using 513 MB of 512 MB"),
            (20, "IllegalOperation", "the server is read-only"),
        ],
    )
    async def test_a_command_that_was_certainly_not_applied_is_refused(
        self, server: ScriptedMongo, store: MongoStore, code: int, name: str, text: str
    ) -> None:
        """F52: the reason is the server's own text, with its code."""
        server.answers["insert"] = [refusal(code, name, text)]
        assert await store.commit([order("o1"), order("o2")]) == [REFUSED, REFUSED]
        assert store.trouble == f"{text} ({name}, {code})"

    async def test_a_document_that_was_certainly_not_written_is_refused_alone(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """F41, F52: mongod reports each document by itself, and the others keep their own results."""
        errors = ((0, 14031, "disk full"), (1, 11000, "dup"), (3, 16500, "Request rate is large"), (4, 91, "going"))
        server.answers["update"] = [failed(*errors, n=1)]
        results = await store.commit([order(f"o{number}", rev=2) for number in range(5)])
        assert results == [REFUSED, CONFLICT, WRITTEN, REFUSED, UNKNOWN]

    @pytest.mark.parametrize("code", [91, 189, 11600, 11602, 50, 262, 6, 89, 202, 9001, 1, 999_999])
    async def test_a_write_that_may_have_been_applied_stays_unknown(
        self, server: ScriptedMongo, store: MongoStore, code: int
    ) -> None:
        """F26: the write was interrupted, a connection between servers was lost, or the code is unknown."""
        server.answers["update"] = [refusal(code, "Some", "text"), failed((0, code, "text"))]
        assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]
        assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]
        assert store.trouble

    @pytest.mark.parametrize("code", [64, 100, 91, 13, 10107])
    async def test_an_error_of_the_write_concern_is_unknown_whatever_its_code(
        self, server: ScriptedMongo, store: MongoStore, code: int
    ) -> None:
        """F26, F43: the primary has written it, and it may be rolled back, or not."""
        concern = {"code": code, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
        server.answers["update"] = [
            {"ok": 1.0, "n": 1, "writeConcernError": concern},
            {"ok": 0.0, "code": 13, "errmsg": "no", "writeConcernError": concern},
        ]
        for _ in range(2):
            assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]

    async def test_a_write_conflict_is_decided_again(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F02: of two batches that wait for each other, a server that runs a batch as a transaction rolls one back."""
        server.answers["update"] = [refusal(112, "WriteConflict", "deadlock detected"), failed((0, 112, "deadlock"))]
        assert await store.commit([order("o1", rev=2), order("o2", rev=2)]) == [CONFLICT, CONFLICT]
        assert await store.commit([order("o1", rev=2)]) == [CONFLICT]

    async def test_the_text_of_an_error_has_no_document(self, server: ScriptedMongo, store: MongoStore) -> None:
        """A server repeats the command that it refuses, with the card's token in it."""
        server.always = {"insert": UNAUTHORIZED, "update": UNAUTHORIZED, "find": UNAUTHORIZED}
        assert await store.commit([order("o1")]) == [REFUSED]
        for call in (store.probe(), store.load(["o1"]), store.add_dead_letter(dead_letter())):
            with pytest.raises(StoreUnavailable) as raised:
                await call
            assert str(raised.value) == store.trouble
        assert store.trouble == "not authorized on payment to execute command (Unauthorized, 13)"

    async def test_the_text_of_an_error_is_short_and_on_one_line(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """It comes from another program, and is shown in the log and in `/readyz`."""
        server.answers["insert"] = [refusal(13, "N" * 9_000, "a\nb\x1b[31m\0" + "x" * 9_000)]
        await store.commit([order("o1")])
        assert (len(store.trouble) < 450, store.trouble.isprintable()) == (True, True)

    @pytest.mark.parametrize(
        "answer",
        [
            {"ok": 1.0, "n": 0, "writeErrors": [{"code": 11000}]},
            {"ok": 1.0, "n": 0, "writeErrors": [{"index": 7, "code": 11000}]},
            {"ok": 1.0, "n": "none", "writeErrors": [{"index": 0, "code": 11000}]},
            {"ok": 1.0, "writeErrors": 5},
            {"ok": 1.0, "writeConcernError": 5},
            {"ok": 0.0},
            {},
        ],
        ids=str,
    )
    async def test_an_answer_that_is_not_as_mongodb_s_is_unknown(
        self, server: ScriptedMongo, store: MongoStore, answer: dict[str, Any]
    ) -> None:
        """F26: it does not end the ledger, and no write counts as not made."""
        server.always["update"] = answer
        assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]
        assert store.trouble

    async def test_without_a_server_a_write_is_refused(self, server: ScriptedMongo) -> None:
        """F25, F52: no primary is known, so the command was not sent, and a charge gets 503 at once."""
        url = await server.start()
        await server.stop()
        store = MongoStore(url, "web-1")
        assert await store.commit([order("o1"), order("o2")]) == [REFUSED, REFUSED]
        assert store.trouble.startswith("no primary can be reached")
        await store.close()


class TestOrder:
    async def test_documents_go_in_the_order_of_their_ids(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F02: two processes lock them in the same order, so neither waits for the other; also in several commands."""
        names = ["o3", "o1", "o4", "o2"]
        await store.commit([order(name) for name in names])
        await store.commit([order(name, rev=2) for name in names])
        [insert], [update] = server.named("insert"), server.named("update")
        assert [each["_id"] for each in insert["documents"]] == sorted(names)
        assert [each["q"]["_id"] for each in update["updates"]] == sorted(names)
        del server.commands[:]
        await store.commit([order(name, rev=2, user="u" * (COMMAND_BYTES_MAX // 3)) for name in names])
        sent = [[each["q"]["_id"] for each in update["updates"]] for update in server.named("update")]
        assert sent == [["o1", "o2"], ["o3", "o4"]]

    async def test_each_result_is_at_the_place_of_its_order(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F02, F41: the server numbers the documents as they were sent, the ledger as it passed them."""
        server.answers["insert"] = [failed((0, 11000, "there"), (2, 14031, "full"), n=1)]
        assert await store.commit([order("c"), order("a"), order("b")]) == [REFUSED, CONFLICT, WRITTEN]


class TestProbe:
    async def test_it_reads_and_writes_as_a_charge_does(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F52: it reads orders by `_id` from a majority, writes durably, and needs the right to each collection."""
        await store.probe()
        (find,) = server.named("find")
        assert (find["find"], find["readConcern"]) == ("orders", {"level": "majority"})
        assert [update["update"] for update in server.named("update")] == ["probes", "orders", "dead_letters"]
        concern = {"w": "majority", "j": True, "wtimeout": 2_500}
        assert all(update["writeConcern"] == concern for update in server.named("update"))
        (probe, *others) = [update["updates"][0] for update in server.named("update")]
        assert (probe["q"], probe["upsert"]) == ({"_id": "web-1"}, True)
        assert all(other["q"]["rev"] == -1 and not other.get("upsert") for other in others)

    async def test_it_reads_by_the_sweep_s_index_once_it_exists(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F52: every shard must answer this read; without the index it would read every order."""
        server.indexes = []
        await store.missing_indexes()
        await store.probe()
        assert [next(iter(find["filter"])) for find in server.named("find")] == ["_id"]
        server.indexes = [{"name": index.name, "key": dict(index.keys)} for index in INDEXES]
        assert await store.missing_indexes() == ()
        await store.probe()
        assert [next(iter(find["filter"])) for find in server.named("find")] == ["_id", "_id", "due"]

    @pytest.mark.parametrize("place", range(3), ids=["probes", "orders", "dead_letters"])
    async def test_a_refusal_of_any_write_fails_the_probe(
        self, server: ScriptedMongo, store: MongoStore, place: int
    ) -> None:
        """F52: a role that may write one collection and not another."""
        for refused in (UNAUTHORIZED, failed((0, 13, "not authorized"))):
            server.answers["update"] = [*[{"ok": 1.0, "n": 1}] * place, refused]
            with pytest.raises(StoreUnavailable, match="not authorized"):
                await store.probe()

    async def test_a_write_that_no_majority_confirms_fails_the_probe(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """F43, F52: the error is the server's text about the write concern."""
        concern = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
        server.answers["update"] = [{"ok": 1.0, "n": 1, "writeConcernError": concern}]
        with pytest.raises(StoreUnavailable, match="waiting for replication timed out"):
            await store.probe()

    async def test_a_server_that_answers_pings_and_has_no_data_fails_the_probe(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """F52: DocumentDB's gateway without its PostgreSQL."""
        assert (await store.ping()).startswith("MongoDB")
        server.always["find"] = refusal(1, "InternalError", "could not connect to the data node")
        with pytest.raises(StoreUnavailable, match="could not connect to the data node"):
            await store.probe()

    async def test_a_broken_connection_is_reported_as_text(self, server: ScriptedMongo, store: MongoStore) -> None:
        """Kind 3: the text is not the name of a Python class."""
        server.answers["update"] = [None]
        with pytest.raises(StoreUnavailable, match="connection closed"):
            await store.probe()


class TestIndexes:
    async def test_missing_indexes_are_made_one_by_one(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F25: FerretDB 1 disconnects at a command with several of which some exist. None of them is unique."""
        server.indexes = [{"name": "due", "key": {"due": 1}, "sparse": True}]
        assert await store.missing_indexes() == ("recheck", "payment")
        await store.prepare()
        made = [command["indexes"] for command in server.named("createIndexes")]
        assert [[each["name"] for each in indexes] for indexes in made] == [["recheck"], ["payment"]]
        assert not any(each.get("unique") for indexes in made for each in indexes)
        assert server.named("dropIndexes") == []

    async def test_the_unique_index_of_an_older_release_is_dropped_once_the_new_one_exists(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """Kind 7: an index always finds payments, and afterwards a shard key is possible."""
        server.indexes = [{"name": UNIQUE_BEFORE, "key": {"payment.id": 1}, "unique": True, "sparse": True}]
        assert await store.missing_indexes() == (
            "due",
            "recheck",
            "payment",
            "payment_id (unique, to be dropped)",
        )
        await store.prepare()
        names = [next(iter(command)) for command in server.commands if "ndexes" in next(iter(command))]
        assert names[-4:] == [*["createIndexes"] * 3, "dropIndexes"]
        (dropped,) = server.named("dropIndexes")
        assert dropped["index"] == UNIQUE_BEFORE

    def test_the_index_can_exist_beside_that_of_an_older_release(self) -> None:
        """F33: MongoDB 4.4 refuses two indexes with the same keys that differ in `unique`; so ours is descending."""
        (payment,) = [index for index in INDEXES if index.name == "payment"]
        assert payment.keys == (("payment.id", -1),)

    async def test_an_index_that_serves_the_same_queries_is_enough(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """An operator's index, under another name, in either direction; not a unique, partial or hidden one."""
        server.indexes = [
            {"name": "mine", "key": {"payment.id": 1}},
            {"name": "u", "key": {"due": 1}, "unique": True},
            {"name": "h", "key": {"recheck": 1}, "hidden": True},
            {"name": "p", "key": {"recheck": 1}, "partialFilterExpression": {"status": "created"}},
        ]
        assert await store.missing_indexes() == ("due", "recheck")

    @pytest.mark.parametrize(("command", "code"), [("createIndexes", 85), ("dropIndexes", 27)])
    async def test_work_that_another_process_has_done_is_done(
        self, server: ScriptedMongo, store: MongoStore, command: str, code: int
    ) -> None:
        """F33: two processes start at once, or an operator was first."""
        server.indexes = [{"name": UNIQUE_BEFORE, "key": {"payment.id": 1}, "unique": True}]
        server.answers[command] = [refusal(code, "Some", "there already, or gone")]
        await store.prepare()

    @pytest.mark.parametrize("command", ["createIndexes", "dropIndexes", "listIndexes"])
    async def test_a_failure_is_reported_with_the_server_s_text(
        self, server: ScriptedMongo, store: MongoStore, command: str
    ) -> None:
        """F52: an operator sees the cause."""
        server.indexes = [{"name": UNIQUE_BEFORE, "key": {"payment.id": 1}, "unique": True}]
        server.answers[command] = [refusal(14031, "OutOfDiskSpace", "disk full")]
        with pytest.raises(StoreUnavailable, match=r"disk full \(OutOfDiskSpace, 14031\)"):
            await store.prepare()

    async def test_all_indexes_are_requested_where_they_may_not_be_listed(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """A role without `listIndexes`: to request an index that exists changes nothing."""
        server.answers["listIndexes"] = [refusal(13, "Unauthorized", "no")]
        await store.prepare()
        assert len(server.named("createIndexes")) == len(INDEXES)
        assert DUE_INDEX in INDEXES

    async def test_the_server_has_minutes_for_an_index(self, server: ScriptedMongo) -> None:
        """Kind 7: for 300,000 orders it took more than the 7 s of an ordinary answer. Charges are written meanwhile."""
        store = MongoStore(await server.start(), "web-1", socket_timeout_ms=50)
        server.holds["createIndexes"] = asyncio.Event()
        making = asyncio.create_task(store.prepare())
        await server.arrives("createIndexes")
        for number in range(3):
            server.answers["insert"] = [{"ok": 1.0, "n": 1}]
            assert await store.commit([order(f"o{number}")]) == [WRITTEN]
        server.holds["find"] = asyncio.Event()
        with pytest.raises(StoreUnavailable, match="timed out"):
            await store.load(["o1"])
        assert not making.done(), "it has a longer deadline than a read"
        for held in server.holds.values():
            held.set()
        await making
        await store.close()
