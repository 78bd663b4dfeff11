"""Orders a second that are replicated from the bus, compared with a bare loop of bulk writes of the same documents.

The events are published while the service is stopped by a signal, so that only its own work is timed; the loop writes
the documents that the service has written, with its batch size, indexes and write concern.
"""

from __future__ import annotations

import time
from uuid import uuid4

from pymongo import ASCENDING, ReplaceOne
from pymongo.write_concern import WriteConcern

from bench.bench import Bench
from bench.contender import OURS, STREAMING, Contender, Document, batched, new_orders
from bench.figures import ratios, spread
from bench.scenarios.available import contenders
from bench.scenarios.cpu import with_spread
from bench.table import Row

NAME = "replicated"
EXPECTED_S = 80.0
ORDERS, QUICK_ORDERS = 4_000, 2_000
WARM_ORDERS = 1_000
WRITES_IN_A_BATCH = 200
"""The number of orders in one commit of the ledger (payment.actors.ledger.actor.ORDERS_IN_A_COMMIT_LIMIT)."""
TO_BARE_LOOP = 0.7


def run(bench: Bench) -> list[Row]:
    return [_row(bench, name) for name in contenders() if name in (OURS, STREAMING)]


def _row(bench: Bench, name: str) -> Row:
    contender = bench.contender(name)
    contender.take_in(new_orders(WARM_ORDERS))
    count = QUICK_ORDERS if bench.quick else ORDERS
    ours, bare = [], []
    for number in range(bench.rounds):
        bench.progress.step(f"round {number + 1} of {bench.rounds}, {name}")
        orders = new_orders(count)
        ours.append(count / replicate(contender, orders))
        documents = list(contender.database["orders"].find({"_id": {"$gte": orders[0], "$lte": orders[-1]}}))
        bare.append(count / write(contender, documents))
    bench.dismiss(contender)
    ratio = ratios(ours, bare)
    return Row(
        scenario=NAME,
        what=f"replicated orders/s ({name})",
        goal=f">= {TO_BARE_LOOP}x a bare loop of bulk writes",
        measured=f"{with_spread(spread(ours))}/s, {with_spread(ratio)}x the loop's {with_spread(spread(bare))}/s",
        met=ratio.median >= TO_BARE_LOOP,
        rounds=bench.rounds,
        detail={"per_s": spread(ours), "bare_per_s": spread(bare), "to_bare": ratio},
    )


def replicate(contender: Contender, orders: list[str]) -> float:
    """Returns the seconds from resuming the service until the last order is stored."""
    contender.process.pause()
    try:
        contender.publish(orders)
    finally:
        began = time.monotonic()
        contender.process.resume()
    return contender.wait_until_taken(len(orders)) - began


def write(contender: Contender, documents: list[Document]) -> float:
    """Returns the seconds of a bare loop that writes these documents to a separate collection."""
    collection = contender.database[f"bare_{uuid4().hex[:8]}"].with_options(
        write_concern=WriteConcern(w="majority", j=True)
    )
    collection.create_index([("due", ASCENDING)], sparse=True)
    collection.create_index([("payment.id", ASCENDING)], sparse=True, unique=True)
    began = time.monotonic()
    for some in batched(documents, WRITES_IN_A_BATCH):
        writes = [ReplaceOne({"_id": each["_id"], "rev": each["rev"] - 1}, each, upsert=True) for each in some]
        collection.bulk_write(writes, ordered=False)
    return time.monotonic() - began
