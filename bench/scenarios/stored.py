"""The cost of a charge with 300,000 stored orders, 1,000 of them with a deadline, compared with an empty store.

The stored orders are copies of an order that the service has written. 299,000 are paid; 1,000 are under a lease of
another process, so that the index of deadlines holds them and the sweep takes none of them over.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.bench import Bench
from bench.contender import OURS, Contender, new_orders
from bench.figures import ratios, spread
from bench.scenarios.cpu import CHARGES, QUICK_CHARGES, with_spread
from bench.table import Row

NAME = "stored"
EXPECTED_S = 180.0
STORED, QUICK_STORED, DUE = 300_000, 30_000, 1_000
DUE_IN = timedelta(hours=1)
WARM_CHARGES = 3_000
TO_EMPTY = 1.1


def run(bench: Bench) -> list[Row]:
    count = QUICK_STORED if bench.quick else STORED
    bench.stripe()
    full, empty = bench.contender(OURS), bench.contender(OURS)
    bench.progress.step(f"{count} orders are stored")
    fill(full, count, bench)
    for each in (full, empty):
        bench.progress.step("warming up")
        bench.charge(each, WARM_CHARGES)
    cpu_ms: dict[str, list[float]] = {"full": [], "empty": []}
    for number in range(bench.rounds):
        bench.progress.step(f"round {number + 1} of {bench.rounds}")
        both = [("full", full), ("empty", empty)]
        for name, contender in both if number % 2 else both[::-1]:
            cpu_ms[name].append(bench.charge(contender, QUICK_CHARGES if bench.quick else CHARGES).cpu_ms)
    for each in (full, empty):
        bench.dismiss(each)
    ratio = ratios(cpu_ms["full"], cpu_ms["empty"])
    costs = " beside ".join(with_spread(spread(each)) for each in cpu_ms.values())
    return [
        Row(
            scenario=NAME,
            what=f"{count:,} orders stored, {DUE:,} due: CPU a charge",
            goal=f"<= {TO_EMPTY}x an empty store",
            measured=f"{with_spread(ratio)}x: {costs} ms",
            met=ratio.median <= TO_EMPTY,
            rounds=bench.rounds,
            detail={"cpu_ms": cpu_ms, "to_empty": ratio, "stored": count, "due": DUE},
        )
    ]


def fill(contender: Contender, count: int, bench: Bench) -> None:
    """Store copies of an order that was paid."""
    bench.charge(contender, 1)
    paid = contender.database["orders"].find_one({"payment": {"$exists": True}})
    assert paid is not None
    contender.insert(copies(paid, count))


def copies(paid: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    held = {"due": datetime.now(UTC) + DUE_IN, "holder": "another"}
    for place, order in enumerate(new_orders(count)):
        copy = paid | {"_id": order, "payment": paid["payment"] | {"id": f"p{order}"}}
        yield copy | held if place < DUE else copy
