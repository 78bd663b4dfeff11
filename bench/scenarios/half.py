"""The service at half of its capacity, with a Stripe that takes 400 ms a call: the latency that the service adds at
p99.

Customers arrive at random (exponential gaps, the same in each round), however many wait. `cpu` measures the capacity.
"""

from __future__ import annotations

from itertools import accumulate, takewhile
from random import Random

from bench.bench import Bench
from bench.contender import OURS, new_orders
from bench.figures import percentile, spread
from bench.load import Job
from bench.scenarios.cpu import with_spread
from bench.table import Row

NAME = "half"
EXPECTED_S = 65.0
LATENCY_MS = 400.0
LONG_S, QUICK_LONG_S = 10.0, 5.0
SEED = 6
ADDED_P99_MS = 25.0


def run(bench: Bench) -> list[Row]:
    contender = bench.warm(OURS)
    stripe_ms = LATENCY_MS * contender.calls_a_charge
    per_s = bench.capacity() / 2
    at = comings(per_s, QUICK_LONG_S if bench.quick else LONG_S)
    bench.stripe(LATENCY_MS)
    p50_ms, p99_ms = [], []
    for number in range(bench.rounds):
        bench.progress.step(f"round {number + 1} of {bench.rounds}")
        orders = new_orders(len(at))
        contender.take_in(orders)
        found = bench.measured(contender, Job(port=contender.port, orders=orders, at=at)).result
        p50_ms.append(percentile(found.took_s, 50) * 1_000 - stripe_ms)
        p99_ms.append(percentile(found.took_s, 99) * 1_000 - stripe_ms)
    bench.stripe()
    added = spread(p99_ms)
    return [
        Row(
            scenario=NAME,
            what="at half of its capacity, Stripe taking 400 ms a call: p99 added",
            goal=f"<= {ADDED_P99_MS:g} ms",
            measured=f"{with_spread(added)} ms (p50 {with_spread(spread(p50_ms))} ms) at {per_s:.0f}/s",
            met=added.median <= ADDED_P99_MS,
            rounds=bench.rounds,
            detail={"p99_added_ms": added, "p50_added_ms": spread(p50_ms), "per_s": per_s, "stripe_ms": stripe_ms},
        )
    ]


def comings(per_s: float, for_s: float) -> list[float]:
    """Returns the seconds at which customers arrive."""
    chance = Random(SEED)  # not a secret
    gaps = iter(lambda: chance.expovariate(per_s), None)
    return list(takewhile(lambda at: at < for_s, accumulate(gaps)))
