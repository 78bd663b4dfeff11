"""The orders with something pending, read off MongoDB a few at a time: for gauges and logs alone.

By the index `due`, which holds these orders and no others, so that it costs nothing where nothing waits, however
many orders are stored. Corrupt documents are left out: the sweep meets them too, and reports them. What comes out lacks
its history, and must never be written.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection

from payment.adapters.mongo.documents import read
from payment.core.order import Order

ANY_DATE = {"$gte": datetime(1970, 1, 1, tzinfo=UTC)}
"""Every deadline that an order may have, as a range: not every server looks for `$exists` in an index."""

PAGE_ORDERS = 100
"""Read and decoded in one turn of the loop: some 5 ms of it."""


async def read_backlog(stored_orders: AsyncIOMotorCollection[Any], limit: int) -> AsyncIterator[list[Order]]:
    """At most `limit` orders with a deadline, from a collection whose documents come as bytes.

    Raises:
        PyMongoError: as the driver does.
    """
    cursor = stored_orders.find({"due": ANY_DATE}, {"history": False}, limit=limit, batch_size=PAGE_ORDERS)
    try:
        while documents := await cursor.to_list(length=PAGE_ORDERS):
            yield [order for order in map(read, documents) if isinstance(order, Order)]
    finally:
        await cursor.close()
