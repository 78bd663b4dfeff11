"""The orders with something pending, read off MongoDB a few at a time: for gauges and logs alone.

By the index `due_ms`, which holds these orders and no others, so that it costs nothing where nothing waits, however
many orders are stored. Documents are decoded one by one: one that can't be decoded hides no other. What comes out lacks
its history, and must never be written.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorCollection

from payment.core.order import Order

PAGE_ORDERS = 100
"""Read and decoded in one turn of the loop: some 5 ms of it."""

Document = dict[str, Any]


async def read_backlog(
    orders: AsyncIOMotorCollection[Any],
    due_ms: str,
    codec: CodecOptions[Document],
    order_of: Callable[[Document], Order | None],
    limit: int,
) -> AsyncIterator[list[Order]]:
    """At most `limit` orders that have the field `due_ms`. Those that `order_of` can't read are left out.

    Raises:
        PyMongoError: as the driver does.
    """
    raw = orders.with_options(codec_options=CodecOptions(RawBSONDocument))
    cursor = raw.find({due_ms: {"$gte": 0}}, {"history": False}, limit=limit, batch_size=PAGE_ORDERS)
    try:
        while documents := await cursor.to_list(length=PAGE_ORDERS):
            decoded = (_decoded(document, codec) for document in documents)
            yield [order for each in decoded if each is not None and (order := order_of(each)) is not None]
    finally:
        await cursor.close()


def _decoded(document: RawBSONDocument, codec: CodecOptions[Document]) -> Document | None:
    """None for a document that can't be decoded: the sweep meets it too, and says so."""
    try:
        return bson.decode(document.raw, codec)
    except BSONError:
        return None
