"""MongoDB as the order store, by motor.

Owns the client, its collections (`orders`, `dead_letters`, `probes`) and all reads. It must never read from anywhere
but the primary, or less than what a majority has: an intent that a failover rolls back would be a charge without a
trace (F43). Beside it: `mongo_writes` (a group commit), `mongo_indexes`, `mongo_errors` (what an error means),
`mongo_options` (what the driver is given, whatever the URL says).

No transaction and no server-side session: one document is the truth, so a standalone mongod does (F27). Only operators
that MongoDB 4.4 and all later ones have.

Change together: the fields of `payment.core.order.Order`, and the names in the filters and indexes here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bson.binary import Binary
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from payment.adapters.mongo.account import ACCOUNT, MongoAccounts
from payment.adapters.mongo.backlog import read_backlog
from payment.adapters.mongo.documents import CODEC, STORED, read
from payment.adapters.mongo.due_sweep import DueSweep, Read
from payment.adapters.mongo.errors import NOT_AS_MONGODB, is_duplicate, not_as_mongodb, reason_of, server_words
from payment.adapters.mongo.indexes import DUE_INDEX, INDEX_DEADLINE_MS, Missing, make, missing_of
from payment.adapters.mongo.options import SOCKET_TIMEOUT_MS, client_options
from payment.adapters.mongo.writes import DURABLE, ORDERS, Document, OrderWrites
from payment.core.order import Order
from payment.ports.store import Committed, CorruptDocument, DeadLetter, StoreUnavailable

DEAD_LETTER_BYTES_MAX = 15 * 1024 * 1024
"""Of an event, the most that fits into a document beside its error. NATS takes 1 MiB unless it was told otherwise."""

DEAD_LETTERS = "dead_letters"

READ_IN_A_TURN = 64
"""Documents decoded before others may run: two milliseconds."""

PROBE_DEADLINE_S = 4.0
"""For a probe as a whole. With the time between two probes it bounds how long readiness may be wrong: ten seconds."""

PROBE_CONCERN_TIMEOUT_MS = 2_500
"""For a majority to journal a probe's write: shorter than its deadline, so that the server says what is wrong."""

BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""No order is due so early: a probe's look by the index finds nothing to bring."""

PROBES = "probes"
"""The collection that probes write to: one small document for each client id, written over each time."""

NO_REVISION = -1
"""A revision that no document has: an update of it changes nothing, and needs the right to write all the same."""


class MongoStore:
    """The real `OrderStore`."""

    def __init__(self, url: str, app_name: str, socket_timeout_ms: int = SOCKET_TIMEOUT_MS) -> None:
        """`url` holds the database in its path. Nothing is reached before the first call.

        `socket_timeout_ms`: for one answer, but for those about indexes.
        """
        self._url, self._app_name = url, app_name
        options = client_options(app_name, socket_timeout_ms)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(url, **options)
        self._database = _database_of(self._client)
        self._orders: AsyncIOMotorCollection[Document] = self._database[ORDERS]
        self._dead_letters: AsyncIOMotorCollection[Document] = self._database[DEAD_LETTERS]
        self._stored_orders: AsyncIOMotorCollection[Any] = self._database[ORDERS].with_options(codec_options=STORED)
        self._writes = OrderWrites(self._database)
        self.accounts = MongoAccounts(self._database[ACCOUNT])
        self._missing: Missing | None = None
        self._sweep = DueSweep(self._find)

    def __repr__(self) -> str:
        return f"MongoStore({self._database.name!r})"

    @property
    def trouble(self) -> str:
        return self._writes.trouble

    async def probe(self) -> None:
        with _driver_errors():
            try:
                async with asyncio.timeout(PROBE_DEADLINE_S):
                    await self._read_as_a_charge()
                    await self._write_as_a_charge()
            except TimeoutError:
                words = f"no answer to a read and a write within {PROBE_DEADLINE_S:g} s"
                raise StoreUnavailable(words) from None

    async def _read_as_a_charge(self) -> None:
        """By `_id`, and by the sweep's index once it is there: without it the server would read every order."""
        await self._orders.find({"_id": {"$in": [self._app_name]}}, limit=1).to_list(length=1)
        if self._missing is not None and DUE_INDEX not in self._missing.to_make:
            await self._orders.find({"due": {"$lte": BEFORE_ALL}}, limit=1).sort("due", ASCENDING).to_list(length=1)

    async def _write_as_a_charge(self) -> None:
        """A durable write of one small document, and an update of no document wherever else we write."""
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
            raise StoreUnavailable(server_words(errors[0]))

    async def missing_indexes(self) -> tuple[str, ...]:
        with _driver_errors():
            self._missing = await missing_of(self._database)
        return self._missing.words

    async def prepare(self) -> None:
        with _driver_errors():
            missing = await missing_of(self._database)
            if missing.words:
                # A client of its own: the deadline of an answer is the client's.
                options = client_options(self._app_name, INDEX_DEADLINE_MS)
                client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(self._url, **options)
                try:
                    await make(_database_of(client), missing)
                finally:
                    client.close()
            self._missing = Missing((), ())

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        ids = _storable(order_ids)
        found = await self._find({"_id": {"$in": ids}}, len(ids)) if ids else []
        return {_id_of(each): each for each, _ in found}

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
        try:
            async for some in read_backlog(self._stored_orders, limit):
                yield some
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None

    async def dead_letters_kept(self) -> int:
        try:
            return await self._dead_letters.estimated_document_count()
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None

    async def _find(self, query: Document, limit: int, sort: str | None = None, skip: int = 0) -> list[Read]:
        """Each document is decoded by itself, and let go: one that can't be decoded, or is huge, spoils no other."""
        cursor = self._stored_orders.find(query, limit=limit, skip=skip)
        if sort is not None:
            cursor = cursor.sort(sort, ASCENDING)
        found: list[Read] = []
        try:
            async for document in cursor:
                found.append((read(document), document.get(sort) if sort is not None else None))
                if len(found) % READ_IN_A_TURN == 0:
                    await asyncio.sleep(0)
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None
        except BSONError as error:
            raise StoreUnavailable(f"the server's answer can't be decoded ({type(error).__name__})") from None
        return found

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        return await self._writes.commit(orders)

    async def add_dead_letter(self, letter: DeadLetter) -> bool:
        if not await self._insert(letter, letter.identity) and not await self._has(letter):
            # Another event's name. Under the second, which is made of its bytes, only the same one can lie already.
            await self._insert(letter, letter.distinct_identity)
        return True

    async def _insert(self, letter: DeadLetter, name: str) -> bool:
        """False where something lies under that name already."""
        document = {
            "_id": name,
            "subject": letter.subject,
            "data": Binary(letter.data[:DEAD_LETTER_BYTES_MAX]),
            "bytes": len(letter.data),
            "error": letter.error,
            "at": letter.at,
        }
        try:
            await self._dead_letters.insert_one(document)
        except PyMongoError as error:
            if not is_duplicate(error):
                raise StoreUnavailable(reason_of(error)) from None
            return False
        return True

    async def _has(self, letter: DeadLetter) -> bool:
        """Whether what lies under the letter's identity is this very event."""
        try:
            kept = await self._dead_letters.find_one({"_id": letter.identity}, {"subject": True, "data": True})
        except PyMongoError as error:
            raise StoreUnavailable(reason_of(error)) from None
        said = (letter.subject, letter.data[:DEAD_LETTER_BYTES_MAX])
        return kept is not None and (kept.get("subject"), kept.get("data")) == said

    async def ping(self) -> str:
        with _driver_errors():
            await self._database.command("ping")
            build = await self._database.command("buildInfo")
        return f"MongoDB {build.get('version', 'of unknown version')}, database {self._database.name}"

    async def close(self) -> None:
        self._client.close()


def _database_of(client: AsyncIOMotorClient[Document]) -> AsyncIOMotorDatabase[Document]:
    """The database of the client's URL. What is promised of reads and writes is set here, whatever the URL says."""
    return client.get_default_database().with_options(
        codec_options=CODEC,
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=DURABLE,
    )


@contextmanager
def _driver_errors() -> Iterator[None]:
    """What the driver raises when a server can't be used, as `StoreUnavailable`.

    Only calls that hold nothing of an order are made under it: its second family of errors may be our own bugs.
    """
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(reason_of(error)) from None
    except NOT_AS_MONGODB as error:
        raise StoreUnavailable(not_as_mongodb(error)) from None


def _id_of(found: Order | CorruptDocument) -> str:
    return found.id if isinstance(found, Order) else found.order_id


def _payment_id_of(found: Order | CorruptDocument) -> str | None:
    if isinstance(found, Order):
        return found.payment.id if found.payment is not None else None
    return found.payment_id


def _storable(ids: Sequence[str]) -> list[str]:
    """Each id once, without those that no document can have: to ask for them would be an error of the driver."""
    return [each for each in dict.fromkeys(ids) if each.isascii() or _is_unicode(each)]


def _is_unicode(text: str) -> bool:
    """False for a lone surrogate, which UTF-8 has no bytes for."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
