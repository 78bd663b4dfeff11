"""A group commit as commands to MongoDB, and what its answer says of each document.

Owns the one write of orders that there is. It must never report a write as not made when it may have been: what is not
known is `UNKNOWN`. The commands are the server's own: the driver's `bulk_write` takes each document apart.

Change together: `payment.ports.store.Committed`, `payment.adapters.mongo.errors`, and the fields of
`payment.core.order.Order`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import bson
import msgspec
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from payment.adapters.mongo.documents import CODEC, RAW
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
    server_words,
)
from payment.core.order import Order
from payment.ports.store import Committed

WRITE_CONCERN_TIMEOUT_MS = 5_000
"""For a majority to journal a write. Past it the write is unknown, and read again."""

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
"""MongoDB's own limit for one document, and the driver's for one command: it refuses a longer one as a whole."""

COMMAND_BYTES_MAX = DOCUMENT_BYTES_MAX // 2
"""Of documents in one command, unless one alone is longer. Two hundred orders have half a megabyte."""

WRITE_OVERHEAD_BYTES = 4_096
"""What the filter and the command add to a document, but for the id, which stands in both."""

ORDERS = "orders"

DURABLE = WriteConcern(w="majority", j=True, wtimeout=WRITE_CONCERN_TIMEOUT_MS)

Document = dict[str, Any]


class Write(NamedTuple):
    """A document on its way: only where its order is stored with the revision before this one, or not at all."""

    order_id: str
    revision: int
    document: RawBSONDocument
    size_bytes: int
    """All that it adds to a command."""


class OrderWrites:
    """The writes of orders to one database."""

    def __init__(self, database: AsyncIOMotorDatabase[Document]) -> None:
        self._database = database
        self.trouble = ""
        """Why the last write came to nothing of which that can be said: `OrderStore.trouble`."""

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        """`OrderStore.commit`.

        The documents go in the order of their ids, whatever order they came in: a server that runs a command as one
        transaction locks them one after the other, and two processes that lock in two orders wait for each other.
        """
        results = [Committed.REJECTED_DOCUMENT] * len(orders)
        writes: list[Write] = []
        places: list[int] = []
        for place in sorted(range(len(orders)), key=lambda place: orders[place].id):
            write = write_of(orders[place])
            if write is not None:
                writes.append(write)
                places.append(place)
        written = [result for some in that_fit(writes) for result in await self._write(some)]
        for place, result in zip(places, written, strict=True):
            results[place] = result
        return results

    async def _write(self, writes: list[Write]) -> list[Committed]:
        """One round trip. Each write fails or not by itself; an error that is not about one of them is about all."""
        command = _command(writes)
        try:
            answer = await self._database.command(command)
            if _tells_apart(answer, len(writes)):
                return self._results(answer, len(writes))
        except PyMongoError as error:
            return self._all_failed(writes, error)
        except NOT_AS_MONGODB as error:
            self.trouble = not_as_mongodb(error)
            return [Committed.UNKNOWN] * len(writes)
        return await self._one_by_one(writes)

    def _all_failed(self, writes: list[Write], error: PyMongoError) -> list[Committed]:
        """The server has refused the whole command, or nothing is known of it."""
        if is_duplicate(error) or (isinstance(error, OperationFailure) and error.code == WRITE_CONFLICT):
            return [Committed.CONFLICT] * len(writes)
        self.trouble = reason_of(error)
        return [Committed.REFUSED if is_certainly_not_applied(error) else Committed.UNKNOWN] * len(writes)

    async def _one_by_one(self, writes: list[Write]) -> list[Committed]:
        """Each by itself. One that had been written before is a conflict now, which its writer recognises."""
        return [result for write in writes for result in await self._write([write])]

    def _results(self, answer: Mapping[str, Any], count: int) -> list[Committed]:
        """What each write of a command came to, by the server's answer: its list of errors, where there are any."""
        if concern := answer.get("writeConcernError"):
            self.trouble = server_words(concern)
            return [Committed.UNKNOWN] * count
        results = [Committed.WRITTEN] * count
        for failed in answer.get("writeErrors", ()):
            results[failed["index"]] = result = _result_of(failed.get("code"))
            if result in (Committed.UNKNOWN, Committed.REFUSED):
                self.trouble = server_words(failed)
        return results


def write_of(order: Order) -> Write | None:
    """The document as BSON, encoded by itself: one that can't be fails alone, not its batch (F41)."""
    fields = msgspec.to_builtins(order, builtin_types=(datetime,))
    try:
        encoded = bson.encode(fields, codec_options=CODEC)
    except (BSONError, OverflowError, UnicodeEncodeError):
        return None
    size_bytes = len(encoded) + len(order.id.encode()) + WRITE_OVERHEAD_BYTES
    if size_bytes > DOCUMENT_BYTES_MAX:
        return None
    return Write(order.id, order.rev, RawBSONDocument(encoded, codec_options=RAW), size_bytes)


def that_fit(writes: list[Write]) -> Iterator[list[Write]]:
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


def _tells_apart(answer: Mapping[str, Any], count: int) -> bool:
    """Whether the server's answer to this many writes names each that failed: the others are all that it counts.

    FerretDB 1 stops at the first error, which it calls the first write's: what it never wrote would be taken for
    written, and a card charged without a word on paper.
    """
    failed = answer.get("writeErrors", ())
    return not failed or bool(answer.get("n", 0) >= count - len(failed))


def _result_of(code: object) -> Committed:
    if code in (DUPLICATE_KEY, WRITE_CONFLICT):
        return Committed.CONFLICT
    if code in DOCUMENT_NOT_APPLIED:
        return Committed.REFUSED
    return Committed.REJECTED_DOCUMENT if code in REFUSED_FOR_GOOD else Committed.UNKNOWN
