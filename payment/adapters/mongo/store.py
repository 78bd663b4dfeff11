"""MongoDB as the order store, by motor.

Owns the client, its collections (`orders`, `dead_letters`, `probes`), all reads, and the one write of orders. It must
never read from a server other than the primary, nor data that no majority has: a failover could roll back an intent
that was read, and its charge would be in no document (F43). It must never report a write as not made when it may have
been made: such a write is `UNKNOWN`.

It uses no transaction and no server-side session: all that changes together is in one document, so a standalone server
suffices (F27). It uses only operators that MongoDB 4.4 and every later release have.

Change together: the fields of `payment.core.order.Order`, and the names in the filters here and in the indexes;
`payment.ports.store.Committed` and `payment.adapters.mongo.errors`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bson.binary import Binary
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from payment.adapters.mongo.account import ACCOUNT, MongoAccounts
from payment.adapters.mongo.documents import (
    CODEC,
    DOCUMENT_BYTES_MAX,
    ORDERS,
    STORED,
    Document,
    Write,
    order_of,
    write_of,
)
from payment.adapters.mongo.due_sweep import DueSweep, Read
from payment.adapters.mongo.errors import (
    DOCUMENT_NOT_APPLIED,
    DUPLICATE_KEY,
    NOT_AS_MONGODB,
    REFUSED_FOR_GOOD,
    WRITE_CONFLICT,
    is_certainly_not_applied,
    is_duplicate,
    not_as_mongodb,
    reason_of,
    server_text,
)
from payment.adapters.mongo.indexes import DUE_INDEX, INDEX_DEADLINE_MS, Missing, make, missing_of
from payment.adapters.mongo.options import SOCKET_TIMEOUT_MS, client_options
from payment.core.order import Order
from payment.ports.store import Committed, CorruptDocument, DeadLetter, StoreUnavailable

WRITE_CONCERN_TIMEOUT_MS = 5_000
"""For a majority to journal a write. Past it the result is unknown, and the order is read again."""

DURABLE = WriteConcern(w="majority", j=True, wtimeout=WRITE_CONCERN_TIMEOUT_MS)

COMMAND_BYTES_MAX = DOCUMENT_BYTES_MAX // 2
"""Of documents in one command, unless a single one is longer. Two hundred orders have half a megabyte."""

DEAD_LETTER_BYTES_MAX = 15 * 1024 * 1024
"""Of an event: the most that fits into a document beside its error. NATS accepts 1 MiB by default."""

DEAD_LETTERS = "dead_letters"

READ_IN_A_TURN = 64
"""Documents decoded in one turn of the event loop: two milliseconds."""

PROBE_DEADLINE_S = 4.0
"""For a probe as a whole. With the time between two probes it bounds how long readiness may be wrong: ten seconds."""

PROBE_CONCERN_TIMEOUT_MS = 2_500
"""For a majority to journal a probe's write: shorter than the probe's deadline, so that the server reports why."""

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""No order is due before this time: a probe's query by the index finds none."""

ANY_DATE = {"$gte": BEFORE_ALL}
"""Matches every deadline of an order, as a range: some servers don't use an index for `$exists`."""

BACKLOG_PAGE_ORDERS = 100
"""Orders of the backlog decoded in one turn of the event loop: some 5 ms."""

PROBES = "probes"
"""The collection that probes write to: one small document for each client id, replaced by each probe."""

NO_REVISION = -1
"""A revision that no document has: an update of it changes nothing, and needs the right to write all the same."""


class MongoStore:
    """The real `OrderStore`."""

    def __init__(self, url: str, app_name: str, socket_timeout_ms: int = SOCKET_TIMEOUT_MS) -> None:
        """`url` has the database in its path. No server is reached before the first call.

        `socket_timeout_ms`: for one answer, except those about indexes.
        """
        self._url, self._app_name = url, app_name
        options = client_options(app_name, socket_timeout_ms)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(url, **options)
        self._database = _database_of(self._client)
        self._orders: AsyncIOMotorCollection[Document] = self._database[ORDERS]
        self._dead_letters: AsyncIOMotorCollection[Document] = self._database[DEAD_LETTERS]
        self._stored_orders: AsyncIOMotorCollection[Any] = self._database[ORDERS].with_options(codec_options=STORED)
        self.trouble = ""
        self.accounts = MongoAccounts(self._database[ACCOUNT])
        self._missing: Missing | None = None
        self._sweep = DueSweep(self._find)

    def __repr__(self) -> str:
        return f"MongoStore({self._database.name!r})"

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        ids = _storable(order_ids)
        found = await self._find({"_id": {"$in": ids}}, len(ids)) if ids else []
        return {each.id if isinstance(each, Order) else each.order_id: each for each, _ in found}

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        ids = _storable(payment_ids)
        if not ids:
            return {}
        found = await self._find({"payment.id": {"$in": ids}}, len(ids))
        return {name: each for each, _ in found if (name := _payment_id_of(each)) is not None}

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        if holder is None:
            return await self._sweep.due(now, limit)
        return await self._sweep.held(now, holder, limit)

    async def rechecks(self, now: datetime, limit: int) -> list[Order | CorruptDocument]:
        return await self._sweep.rechecks(now, limit)

    async def backlog(self, limit: int) -> AsyncIterator[list[Order]]:
        """By the index `due`, which has only these orders: the cost does not grow with the number of stored orders.

        Corrupt documents are left out: the sweep reads and reports them.
        """
        try:
            cursor = self._stored_orders.find(
                {"due": ANY_DATE}, {"history": False}, limit=limit, batch_size=BACKLOG_PAGE_ORDERS
            )
            try:
                while documents := await cursor.to_list(length=BACKLOG_PAGE_ORDERS):
                    decoded = [order_of(bytes(document.raw)) for document in documents]
                    yield [order for order in decoded if isinstance(order, Order)]
            finally:
                await cursor.close()
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None

    async def _find(self, query: Document, limit: int, sort: str | None = None, skip: int = 0) -> list[Read]:
        """Decode each document alone, so that an undecodable or huge one makes no other read fail."""
        cursor = self._stored_orders.find(query, limit=limit, skip=skip)
        if sort is not None:
            cursor = cursor.sort(sort, ASCENDING)
        found: list[Read] = []
        try:
            async for document in cursor:
                found.append((order_of(bytes(document.raw)), document.get(sort) if sort is not None else None))
                if len(found) % READ_IN_A_TURN == 0:
                    await asyncio.sleep(0)
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None
        except BSONError as error:
            raise StoreUnavailable(f"the server's answer can't be decoded ({type(error).__name__})") from None
        return found

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        """Write the documents in the order of their ids, in whatever order they are given.

        A server that runs a command as one transaction locks them one after another: two processes that lock them in
        different orders would wait for each other.
        """
        results = [Committed.REJECTED_DOCUMENT] * len(orders)
        writes: list[Write] = []
        places: list[int] = []
        for place in sorted(range(len(orders)), key=lambda place: orders[place].id):
            write = write_of(orders[place])
            if write is not None:
                writes.append(write)
                places.append(place)
        written = [result for batch in _batches(writes) for result in await self._write(batch)]
        for place, result in zip(places, written, strict=True):
            results[place] = result
        return results

    async def _write(self, writes: list[Write]) -> list[Committed]:
        """Send one command, and return a result for each write. An error that names no write is the result of all.

        If all of them are first revisions they are inserted: an insert collides just as an upsert does. The commands
        are the server's own, because the driver's `bulk_write` decodes each document.
        """
        command: Document = {"ordered": False, "writeConcern": DURABLE.document}
        if all(write.revision == 1 for write in writes):
            command = {"insert": ORDERS, **command, "documents": [write.document for write in writes]}
        else:
            updates = [
                {"q": {"_id": write.order_id, "rev": write.revision - 1}, "u": write.document, "upsert": True}
                for write in writes
            ]
            command = {"update": ORDERS, **command, "updates": updates}
        try:
            results = self._results(await self._database.command(command), len(writes))
        except PyMongoError as error:
            if is_duplicate(error) or (isinstance(error, OperationFailure) and error.code == WRITE_CONFLICT):
                return [Committed.CONFLICT] * len(writes)
            self.trouble = reason_of(error)
            return [Committed.REFUSED if is_certainly_not_applied(error) else Committed.UNKNOWN] * len(writes)
        except NOT_AS_MONGODB as error:
            self.trouble = not_as_mongodb(error)
            return [Committed.UNKNOWN] * len(writes)
        if results is None:
            # One command for each. A document that the first command wrote is a conflict now: the ledger recognises
            # it as its own write.
            return [result for write in writes for result in await self._write([write])]
        return results

    def _results(self, answer: Mapping[str, Any], count: int) -> list[Committed] | None:
        """Returns the result of each of `count` writes; None where the answer counts fewer than it has no error for.

        FerretDB 1 stops at the first error and reports it as the first write's. Without this check documents that were
        never written would count as written, and a card would be charged with no document to say so.
        """
        errors = answer.get("writeErrors", ())
        if errors and answer.get("n", 0) < count - len(errors):
            return None
        if concern := answer.get("writeConcernError"):
            self.trouble = server_text(concern)
            return [Committed.UNKNOWN] * count
        results = [Committed.WRITTEN] * count
        for failed in errors:
            results[failed["index"]] = result = _result_of(failed.get("code"))
            if result in (Committed.UNKNOWN, Committed.REFUSED):
                self.trouble = server_text(failed)
        return results

    async def add_dead_letter(self, dead_letter: DeadLetter) -> bool:
        if not await self._insert(dead_letter, dead_letter.identity) and not await self._has(dead_letter):
            # Another event has this identity. The second is made of the event's bytes: only this event can have it.
            await self._insert(dead_letter, dead_letter.distinct_identity)
        return True

    async def _insert(self, dead_letter: DeadLetter, identity: str) -> bool:
        """False: a dead letter with that identity is stored already."""
        document = {
            "_id": identity,
            "subject": dead_letter.subject,
            "data": Binary(dead_letter.data[:DEAD_LETTER_BYTES_MAX]),
            "bytes": len(dead_letter.data),
            "error": dead_letter.error,
            "at": dead_letter.at,
        }
        try:
            await self._dead_letters.insert_one(document)
        except PyMongoError as error:
            if not is_duplicate(error):
                raise StoreUnavailable(reason_of(error)) from None
            return False
        return True

    async def _has(self, dead_letter: DeadLetter) -> bool:
        """Whether the dead letter that is stored under this identity is the same event."""
        try:
            kept = await self._dead_letters.find_one({"_id": dead_letter.identity}, {"subject": True, "data": True})
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None
        expected = (dead_letter.subject, dead_letter.data[:DEAD_LETTER_BYTES_MAX])
        return kept is not None and (kept.get("subject"), kept.get("data")) == expected

    async def dead_letters_kept(self) -> int:
        try:
            return await self._dead_letters.estimated_document_count()
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None

    async def missing_indexes(self) -> tuple[str, ...]:
        with _driver_errors():
            self._missing = await missing_of(self._database)
        return self._missing.descriptions

    async def prepare(self) -> None:
        with _driver_errors():
            missing = await missing_of(self._database)
            if missing.descriptions:
                # A client of its own: the driver sets the deadline of an answer for a whole client.
                options = client_options(self._app_name, INDEX_DEADLINE_MS)
                client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(self._url, **options)
                try:
                    await make(_database_of(client), missing)
                finally:
                    client.close()
            self._missing = Missing((), ())

    async def probe(self) -> None:
        with _driver_errors():
            try:
                async with asyncio.timeout(PROBE_DEADLINE_S):
                    await self._read_as_a_charge()
                    await self._write_as_a_charge()
            except TimeoutError:
                text = f"no answer to a read and a write within {PROBE_DEADLINE_S:g} s"
                raise StoreUnavailable(text) from None

    async def _read_as_a_charge(self) -> None:
        """Read by `_id`, and by the sweep's index once it exists: without it the server would read every order."""
        await self._orders.find({"_id": {"$in": [self._app_name]}}, limit=1).to_list(length=1)
        if self._missing is not None and DUE_INDEX not in self._missing.to_make:
            await self._orders.find({"due": {"$lte": BEFORE_ALL}}, limit=1).sort("due", ASCENDING).to_list(length=1)

    async def _write_as_a_charge(self) -> None:
        """Write one small document durably, and update no document of the other collections that the service writes."""
        probe = {"_id": self._app_name, "at": datetime.now(UTC)}
        await self._update(PROBES, {"q": {"_id": self._app_name}, "u": probe, "upsert": True})
        for collection in (ORDERS, DEAD_LETTERS):
            nothing = {"_id": self._app_name, "rev": NO_REVISION}
            await self._update(collection, {"q": nothing, "u": {"$set": {"rev": NO_REVISION}}})

    async def _update(self, collection: str, update: Document) -> None:
        concern = {**DURABLE.document, "wtimeout": PROBE_CONCERN_TIMEOUT_MS}
        answer = await self._database.command({"update": collection, "updates": [update], "writeConcern": concern})
        errors = (*answer.get("writeErrors", ()), *filter(None, [answer.get("writeConcernError")]))
        if errors:
            raise StoreUnavailable(server_text(errors[0]))

    async def ping(self) -> str:
        with _driver_errors():
            await self._database.command("ping")
            build = await self._database.command("buildInfo")
        return f"MongoDB {build.get('version', 'of unknown version')}, database {self._database.name}"

    async def close(self) -> None:
        self._client.close()


def _database_of(client: AsyncIOMotorClient[Document]) -> AsyncIOMotorDatabase[Document]:
    """Returns the database of the client's URL, with our consistency of reads and writes, whatever the URL asks for."""
    return client.get_default_database().with_options(
        codec_options=CODEC,
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=DURABLE,
    )


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Raise the driver's exceptions about an unusable server as `StoreUnavailable`.

    Only for calls that handle no order: `NOT_AS_MONGODB` has exceptions that our own bugs raise too.
    """
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(reason_of(error)) from None
    except NOT_AS_MONGODB as error:
        raise StoreUnavailable(not_as_mongodb(error)) from None


def _batches(writes: list[Write]) -> Iterator[list[Write]]:
    """Yields the writes in order, in batches of at most `COMMAND_BYTES_MAX`."""
    batch: list[Write] = []
    size_bytes = 0
    for write in writes:
        if batch and size_bytes + write.size_bytes > COMMAND_BYTES_MAX:
            yield batch
            batch, size_bytes = [], 0
        batch.append(write)
        size_bytes += write.size_bytes
    if batch:
        yield batch


def _result_of(code: object) -> Committed:
    if code in (DUPLICATE_KEY, WRITE_CONFLICT):
        return Committed.CONFLICT
    if code in DOCUMENT_NOT_APPLIED:
        return Committed.REFUSED
    return Committed.REJECTED_DOCUMENT if code in REFUSED_FOR_GOOD else Committed.UNKNOWN


def _payment_id_of(found: Order | CorruptDocument) -> str | None:
    if isinstance(found, Order):
        return found.payment.id if found.payment is not None else None
    return found.payment_id


def _storable(ids: Sequence[str]) -> list[str]:
    """Returns each id once, without those that no document can have.

    Such an id has a lone surrogate, for which UTF-8 has no bytes: the driver would raise at the whole query.
    """
    return [
        each
        for each in dict.fromkeys(ids)
        if each.isascii() or not any("\ud800" <= character <= "\udfff" for character in each)
    ]
