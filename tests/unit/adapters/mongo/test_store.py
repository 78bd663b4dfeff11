"""What `MongoStore` says to the server, and what it makes of answers that no real server gives on demand."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from bson.datetime_ms import DatetimeMS
from msgspec import structs

from payment.adapters.mongo.store import MongoStore
from payment.adapters.mongo.writes import COMMAND_BYTES_MAX, DOCUMENT_BYTES_MAX, WRITE_OVERHEAD_BYTES
from payment.core.decide import decide
from payment.core.messages import Context, OrderCreated
from payment.core.order import FORMAT, Order
from payment.core.schedule import LONGEST_DELAY
from payment.ports.store import Committed, CorruptDocument, DeadLetter, StoreUnavailable
from tests.support.servers.scripted_mongo import ScriptedMongo

WRITTEN_ANSWER = {"ok": 1.0, "n": 2, "nModified": 1}
T0 = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
WRITTEN, CONFLICT, REJECTED_DOCUMENT, UNKNOWN = (
    Committed.WRITTEN,
    Committed.CONFLICT,
    Committed.REJECTED_DOCUMENT,
    Committed.UNKNOWN,
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedMongo]:
    server = ScriptedMongo()
    yield server
    await server.stop()


@pytest.fixture
async def store(server: ScriptedMongo) -> AsyncIterator[MongoStore]:
    store = MongoStore(await server.start(), "test")
    yield store
    await store.close()


def order(order_id: str, *, rev: int = 1, user: str = "user-1") -> Order:
    created = OrderCreated(order_id, 3, user, T0 + timedelta(days=1), 1999, "usd")
    made = decide(None, created, Context(T0, "web-1#run1", "2026-01-01", "payment-service")).order
    assert made is not None
    return structs.replace(made, rev=rev)


def letter() -> DeadLetter:
    return DeadLetter("stream:1", "order:created", b"{", "not JSON", T0)


async def test_a_write_is_confirmed_by_a_majority_that_journaled_it(server: ScriptedMongo, store: MongoStore) -> None:
    """F43: what a failover may roll back, nothing is done for; a wait for ever is none either."""
    assert await store.commit([order("o1")]) == [WRITTEN]
    assert await store.commit([order("o1", rev=2)]) == [WRITTEN]
    assert await store.add_dead_letter(letter())
    concerns = [command["writeConcern"] for command in server.named("update") + server.named("insert")]
    assert concerns == [{"w": "majority", "j": True, "wtimeout": 5_000}] * 3


async def test_a_write_is_fenced_by_its_revision_and_stands_alone(server: ScriptedMongo, store: MongoStore) -> None:
    """F34, F41: each document replaces the revision before its own, whatever becomes of those beside it."""
    await store.commit([order("o1"), order("o2", rev=7)])
    [update] = server.named("update")
    assert [each["q"] for each in update["updates"]] == [{"_id": "o1", "rev": 0}, {"_id": "o2", "rev": 6}]
    assert all(each["upsert"] and not each.get("multi") for each in update["updates"])
    assert update["ordered"] is False


async def test_orders_that_begin_are_inserted_and_stand_alone(server: ScriptedMongo, store: MongoStore) -> None:
    """F34, F41: an insert collides as an upsert does, with less work for the server."""
    server.answers["insert"] = [WRITTEN_ANSWER | {"writeErrors": [{"index": 1, "code": 11000, "errmsg": "there"}]}]
    assert await store.commit([order("o1"), order("o2"), order("o3")]) == [WRITTEN, CONFLICT, WRITTEN]
    [insert] = server.named("insert")
    assert [each["_id"] for each in insert["documents"]] == ["o1", "o2", "o3"]
    assert insert["ordered"] is False


async def test_a_command_is_no_longer_than_the_driver_takes(server: ScriptedMongo, store: MongoStore) -> None:
    """F41: it refuses one that is longer in all than the longest document; what each write came to stays its own."""
    long = [order(f"o{number}", rev=2, user="u" * (COMMAND_BYTES_MAX // 3)) for number in range(5)]
    collided = {"ok": 1.0, "n": 1, "writeErrors": [{"index": 0, "code": 11000}]}
    server.answers["update"] = [{"ok": 1.0}, collided, {"ok": 1.0}]
    assert await store.commit(long) == [WRITTEN, WRITTEN, CONFLICT, WRITTEN, WRITTEN]
    sent = [[each["q"]["_id"] for each in update["updates"]] for update in server.named("update")]
    assert sent == [["o0", "o1"], ["o2", "o3"], ["o4"]]


async def test_a_read_shows_what_a_majority_has_whatever_the_url_says(server: ScriptedMongo) -> None:
    """F43: an intent that was seen and then rolled back would be a charge without a trace."""
    store = MongoStore(f"{await server.start()}?readPreference=secondary&readConcernLevel=local&w=1", "test")
    await store.load(["o1"])
    await store.load_by_payment(["pay-1"])
    await store.due(T0, None, 10)
    await store.due(T0, "web-1", 10)
    await store.close()
    finds = server.named("find")
    assert len(finds) == 5
    assert all(find["readConcern"] == {"level": "majority"} for find in finds)
    assert not any("$readPreference" in find for find in finds), "a primary is asked without one"


async def test_each_refusal_is_told_of_its_own_document(server: ScriptedMongo, store: MongoStore) -> None:
    """F41: a collision is a conflict, a fault of the document is for good, and what nobody knows is unknown."""
    errors = [{"index": index, "code": code, "errmsg": "no"} for index, code in ((1, 11000), (2, 10334), (3, 91))]
    server.answers["update"] = [WRITTEN_ANSWER | {"n": 2, "writeErrors": errors}]
    results = await store.commit([order(f"o{number}", rev=2) for number in range(5)])
    assert results == [WRITTEN, CONFLICT, REJECTED_DOCUMENT, UNKNOWN, WRITTEN]


@pytest.mark.parametrize("counted", [{}, {"n": 1}], ids=["none counted", "too few counted"])
async def test_an_answer_that_counts_too_few_is_asked_for_each(
    server: ScriptedMongo, store: MongoStore, counted: dict[str, int]
) -> None:
    """F02, F26: FerretDB 1 stops at the first that collides, and calls it the first: the third was not written."""
    collided = {"writeErrors": [{"index": 0, "code": 11000, "errmsg": "no"}]}
    server.answers["update"] = [
        {"ok": 1.0} | counted | collided,
        {"ok": 1.0, "n": 0} | collided,  # written before
        {"ok": 1.0, "n": 0} | collided,  # the one that collides
        WRITTEN_ANSWER,
    ]
    assert await store.commit([order(f"o{number}", rev=2) for number in range(3)]) == [CONFLICT, CONFLICT, WRITTEN]
    assert [len(update["updates"]) for update in server.named("update")] == [3, 1, 1, 1]


async def test_what_no_majority_has_confirmed_is_unknown(server: ScriptedMongo, store: MongoStore) -> None:
    """F26: the server says that it was written, and that it may yet be rolled back."""
    failure = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    server.answers["update"] = [WRITTEN_ANSWER | {"writeConcernError": failure}]
    assert await store.commit([order("o1", rev=2), order("o2", rev=2)]) == [UNKNOWN, UNKNOWN]


async def test_a_write_without_an_answer_is_unknown_and_is_sent_once(server: ScriptedMongo, store: MongoStore) -> None:
    """F26: whether it was applied is found out by reading, not by sending it again."""
    server.answers["update"] = [None]
    assert await store.commit([order("o1", rev=2)]) == [UNKNOWN]
    assert len(server.named("update")) == 1


async def test_a_write_that_the_server_would_not_take_now_is_unknown(server: ScriptedMongo, store: MongoStore) -> None:
    """F26: a primary that steps down says so of the command as a whole."""
    server.answers["update"] = [{"ok": 0.0, "code": 189, "codeName": "PrimarySteppedDown", "errmsg": "stepping down"}]
    assert await store.commit([order("o1", rev=2), order("o2", rev=2)]) == [UNKNOWN, UNKNOWN]


async def test_a_document_that_is_too_long_is_not_sent_with_the_others(
    server: ScriptedMongo, store: MongoStore
) -> None:
    """F41: the driver would refuse its whole batch."""
    long = order("o1", user="u" * DOCUMENT_BYTES_MAX)
    longest = order("o3", user="u" * (DOCUMENT_BYTES_MAX - 2 * WRITE_OVERHEAD_BYTES))
    assert await store.commit([long, order("o2"), longest]) == [REJECTED_DOCUMENT, WRITTEN, WRITTEN]
    assert [each["_id"] for insert in server.named("insert") for each in insert["documents"]] == ["o2", "o3"]


async def test_a_dead_letter_that_was_not_stored_is_not_called_kept(server: ScriptedMongo, store: MongoStore) -> None:
    """F30: only the same letter, stored before, is as good as stored now."""
    server.answers["insert"] = [
        None,
        {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]},
    ]
    server.answers["find"] = [_found({"_id": "stream:1", "subject": "order:created", "data": b"{"})]
    with pytest.raises(StoreUnavailable):
        await store.add_dead_letter(letter())
    assert await store.add_dead_letter(letter())
    assert len(server.named("insert")) == 2


async def test_a_dead_letter_is_not_called_kept_for_what_can_not_be_read(
    server: ScriptedMongo, store: MongoStore
) -> None:
    """F30: something has its identity; whether it is the same event, nobody knows while the store is away."""
    duplicate = {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]}
    server.answers["insert"] = [duplicate]
    server.answers["find"] = [None, None]
    with pytest.raises(StoreUnavailable):
        await store.add_dead_letter(letter())
    server.answers["insert"] = [duplicate, None]
    with pytest.raises(StoreUnavailable):
        await store.add_dead_letter(letter())


@pytest.mark.parametrize(
    "kept",
    [
        {"_id": "stream:1", "subject": "order:created", "data": b"{}"},
        {"_id": "stream:1", "subject": "order:cancelled", "data": b"{"},
        {"_id": "stream:1"},
    ],
    ids=["other bytes", "another subject", "nothing of either"],
)
async def test_another_event_of_the_same_name_is_kept_under_a_second_one(
    kept: dict[str, object], server: ScriptedMongo, store: MongoStore
) -> None:
    """F30: a broker that lost its data counts from 1 again: what is no copy of what is kept is kept beside it."""
    duplicate = {"ok": 1.0, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]}
    server.answers["insert"] = [duplicate]
    server.answers["find"] = [_found(kept)]
    assert await store.add_dead_letter(letter())
    names = [each["documents"][0]["_id"] for each in server.named("insert")]
    assert names == ["stream:1", letter().distinct_identity]
    assert names[1].startswith("stream:1#")


async def test_a_second_name_tells_events_apart_by_what_they_say() -> None:
    """F30: and is the same at each delivery of one."""
    one = letter()
    others = [structs.replace(one, data=b"{}"), structs.replace(one, subject="order:cancelled")]
    assert len({one.distinct_identity, *(each.distinct_identity for each in others)}) == 3
    assert structs.replace(one, error="worse", at=T0 + timedelta(days=1)).distinct_identity == one.distinct_identity


async def test_what_is_no_order_is_brought_as_what_it_is(server: ScriptedMongo, store: MongoStore) -> None:
    """F50: beside those that are: it spoils no other's read, and is never taken for one that is not there."""
    bad = {"_id": "bad", "status": "created", "payment": {"id": "p1"}}
    far = {"_id": "far", "status": "created", "version": 1, "rev": 1, "expiresAt": DatetimeMS(10**17)}
    good = {"_id": "o1", "status": "cancelled", "version": 1, "rev": 1, "format": FORMAT}
    server.answers["find"] = [_found(bad, far, good), _found(bad, good)]
    found = await store.load(["bad", "far", "o1", "none"])
    assert {name: type(each) for name, each in found.items()} == {
        "bad": CorruptDocument,
        "far": CorruptDocument,
        "o1": Order,
    }
    assert list(await store.load_by_payment(["p1"])) == ["p1"]


async def test_an_order_without_a_revision_is_none(server: ScriptedMongo, store: MongoStore) -> None:
    """F41: it was taken out. No write could be fenced by it, and each would be tried for ever."""
    server.answers["find"] = [_found({"_id": "o1", "status": "cancelled", "version": 1, "format": FORMAT})]
    (found,) = (await store.load(["o1"])).values()
    assert isinstance(found, CorruptDocument)
    assert "rev" in found.reason


async def test_a_document_of_a_newer_release_is_left_alone(server: ScriptedMongo, store: MongoStore) -> None:
    """F33: during a deployment, or after one was taken back. This one would drop what it does not know."""
    server.answers["find"] = [
        _found({"_id": "o1", "status": "cancelled", "version": 1, "rev": 3, "format": FORMAT + 1}),
        _found({"_id": "o1", "status": "cancelled", "version": 1, "rev": 3, "format": FORMAT}),
    ]
    (found,) = (await store.load(["o1"])).values()
    assert isinstance(found, CorruptDocument)
    assert found.newer
    assert isinstance((await store.load(["o1"]))["o1"], Order)


async def test_a_server_that_does_not_answer_as_mongodb_does_is_not_available(server: ScriptedMongo) -> None:
    """F25: one that knows no logins answers `saslStart` without a payload, and the driver raises a bare KeyError."""
    url = (await server.start()).replace("mongodb://", "mongodb://us:hush@")
    store = MongoStore(f"{url}?authSource=admin", "test")
    for reach in (store.ping, store.prepare, store.probe, store.missing_indexes):
        with pytest.raises(StoreUnavailable, match="does not answer as MongoDB does") as told:
            await reach()
        assert "hush" not in str(told.value)
    assert server.named("saslStart")
    await store.close()


async def test_what_is_due_is_due_at_its_time_and_when_it_is_absurdly_late(
    server: ScriptedMongo, store: MongoStore
) -> None:
    """F05, F38: by two questions, each to the millisecond; and each order is found once."""
    now, absurd = (_due(T0, each) for each in (0.0, 400 * 86_400.0))
    server.answers["find"] = [_found(now, absurd), _found(absurd)]
    due = await store.due(T0, None, 10)
    assert [each.due - T0 for each in due if isinstance(each, Order) and each.due] == [
        timedelta(days=days) for days in (0, 400)
    ]
    assert [find["filter"] for find in server.named("find")] == [
        {"due": {"$lte": T0.replace(tzinfo=None)}},
        {"due": {"$gt": (T0 + LONGEST_DELAY).replace(tzinfo=None)}},
    ]
    assert all(find["sort"] == {"due": 1} for find in server.named("find"))


async def test_a_deadline_is_one_date(server: ScriptedMongo, store: MongoStore) -> None:
    """F05: by which every release finds it; and none where nothing is due."""
    due, recheck = T0 + timedelta(microseconds=999), T0 + timedelta(days=1)
    await store.commit([structs.replace(order("o1", rev=2), due=due, recheck=recheck), order("o2", rev=2)])
    [first, second] = [each["u"] for update in server.named("update") for each in update["updates"]]
    deadlines = {name: value for name, value in first.items() if name.startswith(("due", "recheck"))}
    assert deadlines == {"due": T0.replace(tzinfo=None), "recheck": recheck.replace(tzinfo=None)}
    assert not {"due", "recheck"} & second.keys()


def _due(at: datetime, after_s: float) -> dict[str, object]:
    due = at + timedelta(seconds=after_s)
    return {"_id": f"o{after_s}", "status": "cancelled", "version": 1, "rev": 1, "format": FORMAT, "due": due}


def _found(*documents: Mapping[str, object]) -> dict[str, object]:
    return {"ok": 1.0, "cursor": {"id": 0, "ns": "payment.orders", "firstBatch": list(documents)}}
