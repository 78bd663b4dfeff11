"""What `MongoStore` makes of a server that refuses, answers otherwise, or is slow with indexes (F26, F52).

Each answer is one that mongod, mongos or a server of its protocol gives; no real one gives it on demand.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from payment.adapters.mongo.indexes import DUE_INDEX, INDEXES, UNIQUE_BEFORE
from payment.adapters.mongo.store import MongoStore
from payment.adapters.mongo.writes import COMMAND_BYTES_MAX
from payment.ports.store import Committed, StoreUnavailable
from tests.support.servers.scripted_mongo import ScriptedMongo
from tests.unit.adapters.mongo.test_store import letter, order

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


def refusal(code: int, name: str, words: str) -> dict[str, Any]:
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": words}


def failed(*errors: tuple[int, int, str], n: int = 0) -> dict[str, Any]:
    return {"ok": 1.0, "n": n, "writeErrors": [{"index": i, "code": code, "errmsg": text} for i, code, text in errors]}


class TestRefusedWrites:
    @pytest.mark.parametrize(
        ("code", "name", "words"),
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
    async def test_a_command_that_was_certainly_not_carried_out_is_refused(
        self, server: ScriptedMongo, store: MongoStore, code: int, name: str, words: str
    ) -> None:
        """F52: and the server's own words are the reason, with its code."""
        server.answers["insert"] = [refusal(code, name, words)]
        assert await store.commit([order("o1"), order("o2")]) == [REFUSED, REFUSED]
        assert store.trouble == f"{words} ({name}, {code})"

    async def test_a_document_that_was_certainly_not_written_is_refused_alone(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """F41, F52: mongod says so of each document; those beside it are what they are."""
        errors = ((0, 14031, "disk full"), (1, 11000, "dup"), (3, 16500, "Request rate is large"), (4, 91, "going"))
        server.answers["update"] = [failed(*errors, n=1)]
        results = await store.commit([order(f"o{number}", rev=2) for number in range(5)])
        assert results == [REFUSED, CONFLICT, WRITTEN, REFUSED, UNKNOWN]

    @pytest.mark.parametrize("code", [91, 189, 11600, 11602, 50, 262, 6, 89, 202, 9001, 1, 999_999])
    async def test_what_may_have_been_carried_out_stays_unknown(
        self, server: ScriptedMongo, store: MongoStore, code: int
    ) -> None:
        """F26: interrupted on its way, a connection between servers lost, or a code that nobody knows."""
        server.answers["update"] = [refusal(code, "Some", "words"), failed((0, code, "words"))]
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
        """F02: a server that runs a batch as one transaction rolls one of two back that wait for each other."""
        server.answers["update"] = [refusal(112, "WriteConflict", "deadlock detected"), failed((0, 112, "deadlock"))]
        assert await store.commit([order("o1", rev=2), order("o2", rev=2)]) == [CONFLICT, CONFLICT]
        assert await store.commit([order("o1", rev=2)]) == [CONFLICT]

    async def test_words_hold_no_document(self, server: ScriptedMongo, store: MongoStore) -> None:
        """A server repeats the command that it refuses, with the card's token in it."""
        server.always = {"insert": UNAUTHORIZED, "update": UNAUTHORIZED, "find": UNAUTHORIZED}
        assert await store.commit([order("o1")]) == [REFUSED]
        for call in (store.probe(), store.load(["o1"]), store.add_dead_letter(letter())):
            with pytest.raises(StoreUnavailable) as raised:
                await call
            assert str(raised.value) == store.trouble
        assert store.trouble == "not authorized on payment to execute command (Unauthorized, 13)"

    async def test_words_are_short_and_of_one_line(self, server: ScriptedMongo, store: MongoStore) -> None:
        """They come from another program, and go into a log and onto a page."""
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
    async def test_an_answer_that_is_none_of_mongodb_s_is_unknown(
        self, server: ScriptedMongo, store: MongoStore, answer: dict[str, Any]
    ) -> None:
        """F26: it ends no ledger, and denies no write."""
        server.always["update"] = answer
        assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]
        assert store.trouble

    async def test_without_a_server_nothing_was_sent(self, server: ScriptedMongo) -> None:
        """F25, F52: no primary is known: the command has not left, and a charge gets 503 at once."""
        url = await server.start()
        await server.stop()
        store = MongoStore(url, "web-1")
        assert await store.commit([order("o1"), order("o2")]) == [REFUSED, REFUSED]
        assert store.trouble.startswith("no primary can be reached")
        await store.close()


class TestOrder:
    async def test_documents_go_in_the_order_of_their_ids(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F02: two processes lock them in one order, and none waits for the other; also over several commands."""
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
        """F02, F41: the server counts as they were sent, the ledger as it gave them."""
        server.answers["insert"] = [failed((0, 11000, "there"), (2, 14031, "full"), n=1)]
        assert await store.commit([order("c"), order("a"), order("b")]) == [REFUSED, CONFLICT, WRITTEN]


class TestProbe:
    async def test_it_reads_and_writes_as_a_charge_does(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F52: orders by `_id` from a majority; a durable write; and the right to write wherever we write."""
        await store.probe()
        (find,) = server.named("find")
        assert (find["find"], find["readConcern"]) == ("orders", {"level": "majority"})
        assert [update["update"] for update in server.named("update")] == ["probes", "orders", "dead_letters"]
        concern = {"w": "majority", "j": True, "wtimeout": 2_500}
        assert all(update["writeConcern"] == concern for update in server.named("update"))
        (probe, *others) = [update["updates"][0] for update in server.named("update")]
        assert (probe["q"], probe["upsert"]) == ({"_id": "web-1"}, True)
        assert all(other["q"]["rev"] == -1 and not other.get("upsert") for other in others)

    async def test_it_reads_by_the_sweep_s_index_once_that_is_there(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """F52: a read that every shard must answer; without the index it would read every order."""
        server.indexes = []
        await store.missing_indexes()
        await store.probe()
        assert [next(iter(find["filter"])) for find in server.named("find")] == ["_id"]
        server.indexes = [{"name": index.name, "key": dict(index.keys)} for index in INDEXES]
        assert await store.missing_indexes() == ()
        await store.probe()
        assert [next(iter(find["filter"])) for find in server.named("find")] == ["_id", "_id", "due"]

    @pytest.mark.parametrize("place", range(3), ids=["probes", "orders", "dead_letters"])
    async def test_a_refusal_of_any_write_shows(self, server: ScriptedMongo, store: MongoStore, place: int) -> None:
        """F52: a role that may write one collection and not another."""
        for refused in (UNAUTHORIZED, failed((0, 13, "not authorized"))):
            server.answers["update"] = [*[{"ok": 1.0, "n": 1}] * place, refused]
            with pytest.raises(StoreUnavailable, match="not authorized"):
                await store.probe()

    async def test_a_write_that_no_majority_confirms_shows(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F43, F52."""
        concern = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
        server.answers["update"] = [{"ok": 1.0, "n": 1, "writeConcernError": concern}]
        with pytest.raises(StoreUnavailable, match="waiting for replication timed out"):
            await store.probe()

    async def test_what_answers_pings_and_has_no_data_fails_it(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F52: DocumentDB's gateway without its PostgreSQL."""
        assert (await store.ping()).startswith("MongoDB")
        server.always["find"] = refusal(1, "InternalError", "could not connect to the data node")
        with pytest.raises(StoreUnavailable, match="could not connect to the data node"):
            await store.probe()

    async def test_a_connection_that_breaks_is_said_in_words(self, server: ScriptedMongo, store: MongoStore) -> None:
        """Kind 3: not as the name of a Python class."""
        server.answers["update"] = [None]
        with pytest.raises(StoreUnavailable, match="connection closed"):
            await store.probe()


class TestIndexes:
    async def test_those_that_are_missing_are_made_one_by_one(self, server: ScriptedMongo, store: MongoStore) -> None:
        """F25: FerretDB 1 hangs up at several of which some are there. None of them is unique."""
        server.indexes = [{"name": "due", "key": {"due": 1}, "sparse": True}]
        assert await store.missing_indexes() == ("recheck", "payment")
        await store.prepare()
        made = [command["indexes"] for command in server.named("createIndexes")]
        assert [[each["name"] for each in indexes] for indexes in made] == [["recheck"], ["payment"]]
        assert not any(each.get("unique") for indexes in made for each in indexes)
        assert server.named("dropIndexes") == []

    async def test_the_unique_one_of_an_older_release_is_dropped_after_the_new_one_is_there(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """Kind 7: payments are found by an index at every time, and a shard key is possible afterwards."""
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

    def test_ours_and_the_older_release_s_can_be_there_at_once(self) -> None:
        """F33: MongoDB 4.4 refuses two indexes on one key that differ in `unique`; so ours runs the other way."""
        (payment,) = [index for index in INDEXES if index.name == "payment"]
        assert payment.keys == (("payment.id", -1),)

    async def test_an_index_that_does_the_same_work_is_enough(self, server: ScriptedMongo, store: MongoStore) -> None:
        """An operator's, under another name, in either direction; not a unique, partial or hidden one."""
        server.indexes = [
            {"name": "mine", "key": {"payment.id": 1}},
            {"name": "u", "key": {"due": 1}, "unique": True},
            {"name": "h", "key": {"recheck": 1}, "hidden": True},
            {"name": "p", "key": {"recheck": 1}, "partialFilterExpression": {"status": "created"}},
        ]
        assert await store.missing_indexes() == ("due", "recheck")

    @pytest.mark.parametrize(("command", "code"), [("createIndexes", 85), ("dropIndexes", 27)])
    async def test_what_another_has_done_already_is_done(
        self, server: ScriptedMongo, store: MongoStore, command: str, code: int
    ) -> None:
        """F33: two processes start at once, or an operator was first."""
        server.indexes = [{"name": UNIQUE_BEFORE, "key": {"payment.id": 1}, "unique": True}]
        server.answers[command] = [refusal(code, "Some", "there already, or gone")]
        await store.prepare()

    @pytest.mark.parametrize("command", ["createIndexes", "dropIndexes", "listIndexes"])
    async def test_what_can_not_be_done_is_said_in_the_server_s_words(
        self, server: ScriptedMongo, store: MongoStore, command: str
    ) -> None:
        """F52."""
        server.indexes = [{"name": UNIQUE_BEFORE, "key": {"payment.id": 1}, "unique": True}]
        server.answers[command] = [refusal(14031, "OutOfDiskSpace", "disk full")]
        with pytest.raises(StoreUnavailable, match=r"disk full \(OutOfDiskSpace, 14031\)"):
            await store.prepare()

    async def test_where_indexes_may_not_be_listed_all_are_asked_for(
        self, server: ScriptedMongo, store: MongoStore
    ) -> None:
        """A role without `listIndexes`: to ask for one that is there changes nothing."""
        server.answers["listIndexes"] = [refusal(13, "Unauthorized", "no")]
        await store.prepare()
        assert len(server.named("createIndexes")) == len(INDEXES)
        assert DUE_INDEX in INDEXES

    async def test_the_server_has_minutes_for_an_index(self, server: ScriptedMongo) -> None:
        """Kind 7: 300,000 orders took more than the 7 s of an ordinary answer. Charges are written meanwhile."""
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
        assert not making.done(), "its deadline is another one than that of a read"
        for held in server.holds.values():
            held.set()
        await making
        await store.close()
