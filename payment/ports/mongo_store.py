"""MongoDB as the order store, by motor.

Owns the client, the two collections (`orders`, `dead_letters`), their indexes, and what every error of the driver
means. It must never report a write as not made when it may have been, read from anywhere but the primary, or read less
than what a majority has: an intent that a failover rolls back would be a charge without a trace (F43).

No transaction and no server-side session: one document is the truth, so a standalone mongod does (F27). Only operators
that MongoDB 4.4 and all later ones have.

Change together: the fields of `payment.core.order.Order`, and the names in the filters and indexes here.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import bson
import msgspec
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import ASCENDING, IndexModel
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from payment.core.legacy import upgraded
from payment.core.order import FORMAT, Order
from payment.core.schedule import LONGEST_DELAY
from payment.ports.mongo_account import ACCOUNT, MongoAccounts
from payment.ports.store import Committed, DeadLetter, StoreUnavailable

SERVER_SELECTION_TIMEOUT_MS = 2_000
"""To find the primary. An election takes longer, but then callers are better told than kept."""

CONNECT_TIMEOUT_MS = 2_000
"""To open one connection."""

SOCKET_TIMEOUT_MS = 7_000
"""For one answer: longer than the write concern's own timeout, so that the server gets to say what happened."""

WRITE_CONCERN_TIMEOUT_MS = 5_000
"""For a majority to journal a write. Past it the write is unknown, and read again."""

HEARTBEAT_MS = 1_000
"""Between the driver's own looks at the servers: a primary that is back is found within a second."""

POOL_CONNECTIONS = 8
"""Two commits, the sweep, reads: all that can be under way at once."""

DUPLICATE_KEY = 11000

SQLITE_DUPLICATE = "UNIQUE constraint failed"
"""How nx-27017 0.7 says so: without a code, and for a bulk write as a whole, of which it has done the first part."""

UNREADABLE_NAMED_LIMIT = 1_000
"""Unreadable documents that are known by name. More of them is one disaster, not a thousand."""

DEAD_LETTER_BYTES_MAX = 15 * 1024 * 1024
"""Of an event, the most that fits into a document beside its error. NATS takes 1 MiB unless it was told otherwise."""

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
"""MongoDB's own limit for one document, and the driver's for one command: it refuses a longer one as a whole."""

COMMAND_BYTES_MAX = DOCUMENT_BYTES_MAX // 2
"""Of documents in one command, unless one alone is longer. Two hundred orders have half a megabyte."""

WRITE_OVERHEAD_BYTES = 4_096
"""What the filter and the command add to a document, but for the id, which stands in both."""

DUE_MS = "dueMs"
"""`due` once more, in milliseconds since 1970, for the index that the sweep reads. Every server finds a number by an
index; to find a date nx-27017 reads every order that is stored, 70 ms of each second where there are 17,000."""

SWEEP_BY_DATE_S = 60
"""How often the sweep looks by date too, in seconds: release 0.1.0 writes no `dueMs`, and may still run beside us."""

REFUSED_FOR_GOOD = frozenset({2, 9, 14, 22, 52, 121, 10334, 17419, 17420})
"""Server error codes that speak of the document itself (BadValue, TypeMismatch, InvalidBSON, DollarPrefixedFieldName,
DocumentValidationFailure, BSONObjectTooLarge and kin): github.com/mongodb/mongo, src/mongo/base/error_codes.yml."""

EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)

ORDERS = "orders"

DURABLE = WriteConcern(w="majority", j=True, wtimeout=WRITE_CONCERN_TIMEOUT_MS)

CODEC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)

RAW = CodecOptions(RawBSONDocument)

Document = dict[str, Any]

NOT_AS_MONGODB = (KeyError, TypeError, ValueError)
"""What the driver raises, past its own family of errors, when it takes apart what greets it and finds something else: a
server that is no real MongoDB may know no logins, and answers `saslStart` without a payload. Nobody's bug is hidden by
this: only the first words with a server are looked at so, which hold nothing of ours."""


class Write(NamedTuple):
    """A document on its way: only where its order is stored with the revision before this one, or not at all."""

    order_id: str
    revision: int
    document: RawBSONDocument
    size_bytes: int
    """All that it adds to a command."""


class MongoStore:
    """The real `OrderStore`."""

    def __init__(self, url: str, app_name: str) -> None:
        """`url` holds the database in its path. Nothing is reached before the first call."""
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            url,
            appname=app_name,
            connect=False,
            connectTimeoutMS=CONNECT_TIMEOUT_MS,
            heartbeatFrequencyMS=HEARTBEAT_MS,
            maxPoolSize=POOL_CONNECTIONS,
            # A write is sent once: whether it was applied is found out by `writer`, not by sending it again.
            retryWrites=False,
            serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
            socketTimeoutMS=SOCKET_TIMEOUT_MS,
        )
        database = self._client.get_default_database().with_options(
            codec_options=CODEC,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
            write_concern=DURABLE,
        )
        self._database = database
        self._orders: AsyncIOMotorCollection[Document] = database[ORDERS]
        self._dead_letters: AsyncIOMotorCollection[Document] = database["dead_letters"]
        self.accounts = MongoAccounts(database[ACCOUNT])
        self._indexed = False
        self._swept_by_date = datetime.min.replace(tzinfo=UTC)
        self._unreadable: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"MongoStore({self._database.name!r})"

    @property
    def unreadable(self) -> Mapping[str, str]:
        return self._unreadable

    async def prepare(self) -> None:
        try:
            await self._database.command("ping")
            if not self._indexed:
                indexes = [
                    # Sparse: only orders at which somebody must look are in it, however many are stored.
                    IndexModel([(DUE_MS, ASCENDING)], name="due_ms", sparse=True),
                    IndexModel([("due", ASCENDING)], name="due", sparse=True),
                    IndexModel([("payment.id", ASCENDING)], name="payment_id", sparse=True, unique=True),
                ]
                if await self._needs_index_of_fence():
                    indexes.append(IndexModel([("_id", ASCENDING), ("rev", ASCENDING)], name="fence", unique=True))
                for index in indexes:  # one by one: FerretDB 1 hangs up at several of which some are there
                    await self._orders.create_indexes([index])
                self._indexed = True
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        except NOT_AS_MONGODB as error:
            raise StoreUnavailable(_not_as_mongodb(error)) from None

    async def _needs_index_of_fence(self) -> bool:
        """Whether the server finds `{_id, rev}` by an index of just these two, and else reads every order for a write.

        mongo-java-server does: 5 ms for each write where 4,000 are stored, and 2 ms with that index, however many are.
        It says that it is MongoDB 4.4, without the commit that MongoDB itself names.
        """
        build = await self._database.command("buildInfo")
        return build.get("versionArray", [])[:2] == [4, 4] and "gitVersion" not in build

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order]:
        ids = _storable(order_ids)
        found = await self._find({"_id": {"$in": ids}}, limit=len(ids), asked=ids) if ids else []
        return {order.id: order for order in found}

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order]:
        ids = _storable(payment_ids)
        if not ids:
            return {}
        # One alone by equality, for which nx-27017 has an index: where there are several, it reads every order.
        found = await self._find({"payment.id": ids[0] if len(ids) == 1 else {"$in": ids}}, limit=len(ids))
        return {order.payment.id: order for order in found if order.payment is not None}

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order]:
        horizon = now + LONGEST_DELAY
        if holder is not None:
            return await self._find({"due": {"$lte": horizon}, "holder": holder}, limit, "due")
        found = await self._find({DUE_MS: {"$lte": _since_1970_ms(now)}}, limit, DUE_MS)
        found += await self._find({DUE_MS: {"$gt": _since_1970_ms(horizon)}}, limit, DUE_MS)
        if not timedelta(0) <= now - self._swept_by_date < timedelta(seconds=SWEEP_BY_DATE_S):
            found += await self._due_by_date(now, horizon, limit, known={order.id for order in found})
            self._swept_by_date = now
        return found

    async def _due_by_date(self, now: datetime, horizon: datetime, limit: int, known: set[str]) -> list[Order]:
        overdue = await self._find({"due": {"$lte": now}}, limit, "due")
        absurd = await self._find({"due": {"$gt": horizon}}, limit, "due")
        # A server that compares dates by the second (nx-27017 does) returns more than is due.
        found = [order for order in overdue if order.due is not None and order.due <= now] + absurd
        return [order for order in found if order.id not in known]

    async def _find(
        self, query: Document, limit: int, sort: str | None = None, asked: Sequence[str] = ()
    ) -> list[Order]:
        """`asked`: the ids that the query is for, if it is for ids. What is not found any more is not unreadable."""
        cursor = self._orders.find(query, limit=limit)
        if sort is not None:
            cursor = cursor.sort(sort, ASCENDING)
        try:
            documents = await cursor.to_list(length=limit)
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        if self._unreadable:
            for each in asked:
                self._unreadable.pop(each, None)
        return [order for document in documents if (order := self._order(document)) is not None]

    def _order(self, document: Document) -> Order | None:
        """The order that a document holds. None for one that somebody has made unreadable, which is noted by its id.

        Whoever writes to it collides with it, and so nothing is done for such an order until a person has mended it.
        """
        try:
            order = msgspec.convert(upgraded(document), Order)
        except msgspec.ValidationError as error:
            reason = str(error)
        else:
            if order.rev >= 1 and order.format == FORMAT:
                return order
            if order.format != FORMAT:
                # A newer release's: it is left alone, and so is its deadline.
                reason = f"it is of format {order.format}, and this release knows formats 1 to {FORMAT}"
            else:
                reason = "it has no revision (`rev`) of 1 or more, by which a write could be fenced"
        if len(self._unreadable) < UNREADABLE_NAMED_LIMIT:
            self._unreadable[str(document.get("_id"))] = reason
        return None

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        results = [Committed.WRITTEN] * len(orders)
        writes: list[Write] = []
        places: list[int] = []
        for place, order in enumerate(orders):
            write = _write_of(order)
            if write is None:
                results[place] = Committed.UNWRITABLE
            else:
                writes.append(write)
                places.append(place)
        written = [result for some in _that_fit(writes) for result in await self._write(some)]
        for place, result in zip(places, written, strict=True):
            results[place] = result
        return results

    async def _write(self, writes: list[Write]) -> list[Committed]:
        """One round trip. Each write fails or not by itself; an error that is not about one of them is about all.

        The server's own command, for the driver's `bulk_write` takes each document apart to look at it.
        """
        try:
            said = await self._database.command(_command(writes))
        except OperationFailure as error:
            return await self._refused(writes, error)
        except PyMongoError:
            return [Committed.UNKNOWN] * len(writes)
        return _results(said, len(writes)) if _tells_apart(said, len(writes)) else await self._one_by_one(writes)

    async def _refused(self, writes: list[Write], error: OperationFailure) -> list[Committed]:
        """The server has refused the whole call. Where one of its documents collided, each is told apart by itself."""
        if not _is_duplicate(error):
            return [Committed.UNKNOWN] * len(writes)
        return [Committed.CONFLICT] if len(writes) == 1 else await self._one_by_one(writes)

    async def _one_by_one(self, writes: list[Write]) -> list[Committed]:
        """Each by itself. One that had been written before is a conflict now, which its writer recognises."""
        return [result for write in writes for result in await self._write([write])]

    async def bury(self, letter: DeadLetter) -> bool:
        if not await self._insert(letter, letter.identity) and not await self._has(letter):
            # Another event's name. Under the second, which is made of its bytes, only the same one can lie already.
            await self._insert(letter, letter.name_beside)
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
            if not _is_duplicate(error):
                raise StoreUnavailable(_reason(error)) from None
            return False
        return True

    async def _has(self, letter: DeadLetter) -> bool:
        """Whether what lies under the letter's identity is this very event."""
        try:
            kept = await self._dead_letters.find_one({"_id": letter.identity}, {"subject": True, "data": True})
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        said = (letter.subject, letter.data[:DEAD_LETTER_BYTES_MAX])
        return kept is not None and (kept.get("subject"), kept.get("data")) == said

    async def ping(self) -> str:
        try:
            await self._database.command("ping")
            build = await self._database.command("buildInfo")
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        except NOT_AS_MONGODB as error:
            raise StoreUnavailable(_not_as_mongodb(error)) from None
        return f"MongoDB {build.get('version', 'of unknown version')}, database {self._database.name}"

    async def close(self) -> None:
        self._client.close()


def _write_of(order: Order) -> Write | None:
    """The document as BSON, encoded by itself: one that can't be fails alone, not its batch (F41)."""
    fields = msgspec.to_builtins(order, builtin_types=(datetime,))
    if order.due is not None:
        fields |= due_fields(order.due)
    try:
        encoded = bson.encode(fields, codec_options=CODEC)
    except (BSONError, OverflowError, UnicodeEncodeError):
        return None
    size_bytes = len(encoded) + len(order.id.encode()) + WRITE_OVERHEAD_BYTES
    if size_bytes > DOCUMENT_BYTES_MAX:
        return None
    return Write(order.id, order.rev, RawBSONDocument(encoded, codec_options=RAW), size_bytes)


def due_fields(due: datetime) -> Document:
    """A deadline as a document holds it: the date, and the number by which the sweep finds it."""
    return {"due": due, DUE_MS: _since_1970_ms(due)}


def _since_1970_ms(at: datetime) -> int:
    """Whole milliseconds, as a stored date has them, and rounded as that is."""
    return (at - EPOCH) // MILLISECOND


def _that_fit(writes: list[Write]) -> Iterator[list[Write]]:
    """The writes, in order, as many at a time as one command may hold."""
    some: list[Write] = []
    size_bytes = 0
    for write in writes:
        if some and size_bytes + write.size_bytes > COMMAND_BYTES_MAX:
            yield some
            some, size_bytes = [], 0
        some.append(write)
        size_bytes += write.size_bytes
    if some:
        yield some


def _command(writes: list[Write]) -> Document:
    """The command for these writes. Where all of them begin an order, an insert: it collides just as an upsert does."""
    how = {"ordered": False, "writeConcern": DURABLE.document}
    if all(write.revision == 1 for write in writes):
        return {"insert": ORDERS, **how, "documents": [write.document for write in writes]}
    updates = [
        {"q": {"_id": write.order_id, "rev": write.revision - 1}, "u": write.document, "upsert": True}
        for write in writes
    ]
    return {"update": ORDERS, **how, "updates": updates}


def _storable(ids: Sequence[str]) -> list[str]:
    """Each id once, without those that no document can have: to ask for them would be an error of the driver."""
    return [each for each in dict.fromkeys(ids) if each.isascii() or _is_unicode(each)]


def _is_unicode(text: str) -> bool:
    """False for a lone surrogate, which UTF-8 has no bytes for."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_duplicate(error: PyMongoError) -> bool:
    if not isinstance(error, OperationFailure):
        return False
    return error.code == DUPLICATE_KEY or SQLITE_DUPLICATE in str((error.details or {}).get("errmsg", ""))


def _tells_apart(said: Mapping[str, Any], count: int) -> bool:
    """Whether the server's answer to so many writes names each that failed: the others are all that it counts.

    FerretDB 1 stops at the first error, which it calls the first write's: what it never wrote would be taken for
    written, and a card charged without a word on paper.
    """
    failed = said.get("writeErrors", ())
    return not failed or said.get("n", 0) >= count - len(failed)


def _results(said: Mapping[str, Any], count: int) -> list[Committed]:
    """What each write of a command came to, by the server's answer: its list of errors, where there are any."""
    if said.get("writeConcernError"):
        return [Committed.UNKNOWN] * count
    results = [Committed.WRITTEN] * count
    for failed in said.get("writeErrors", ()):
        results[failed["index"]] = _result_of(failed.get("code"))
    return results


def _result_of(code: object) -> Committed:
    if code == DUPLICATE_KEY:
        return Committed.CONFLICT
    return Committed.UNWRITABLE if code in REFUSED_FOR_GOOD else Committed.UNKNOWN


def _not_as_mongodb(error: Exception) -> str:
    return f"the server does not answer as MongoDB does ({type(error).__name__}): is a login asked for that it lacks?"


def _reason(error: PyMongoError) -> str:
    """Why, for a person. The driver's own text may hold whole documents, so only what is known to be safe is kept."""
    if isinstance(error, ServerSelectionTimeoutError):
        return "no primary can be reached: " + str(error).partition(" (configured")[0].partition(", Timeout")[0][:200]
    code = getattr(error, "code", None)
    return type(error).__name__ if code is None else f"{type(error).__name__} (code {code})"
