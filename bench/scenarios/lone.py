"""One client at a time, as without a sale: the latency that the service adds to Stripe's.

Group commit must not add latency to a single request. Each client pauses between its charges, so that the rate limiter
towards Stripe has no effect. Stripe's own time is the duration of the limit's request in the same round minus the cost
of HTTP. The two can't be separated, so Stripe's time counts as zero for all contenders.
"""

from __future__ import annotations

from bench.bench import Bench
from bench.contender import LIMIT, MEASURED, OBVIOUS
from bench.figures import percentile, ratios, spread
from bench.scenarios.available import contenders
from bench.scenarios.cpu import with_spread
from bench.table import Row

NAME = "lone"
EXPECTED_S = 90.0
CHARGES, QUICK_CHARGES = 150, 60
PAUSE_S = 0.02
TO_OBVIOUS = 1.3


def run(bench: Bench) -> list[Row]:
    names = contenders()
    for name in names:
        bench.warm(name)
    bench.stripe()
    p50_ms: dict[str, list[float]] = {name: [] for name in names}
    for number in range(bench.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            bench.progress.step(f"round {number + 1} of {bench.rounds}, {name}")
            count = QUICK_CHARGES if bench.quick else CHARGES
            found = bench.charge(bench.warm(name), count, clients=1, pause_s=PAUSE_S)
            p50_ms[name].append(percentile(found.result.took_s, 50) * 1_000)
    return [_row(name, p50_ms) for name in names if name in MEASURED]


def _row(name: str, p50_ms: dict[str, list[float]]) -> Row:
    mine, obvious, limit = (spread(p50_ms[each]) for each in (name, OBVIOUS, LIMIT))
    ratio = ratios(mine.rounds, obvious.rounds)
    beside = f"{with_spread(mine)} ms beside {with_spread(obvious)} ms (the limit: {with_spread(limit)} ms)"
    return Row(
        scenario=NAME,
        what=f"one client at a time, p50 added ({name})",
        goal=f"<= {TO_OBVIOUS}x obvious",
        measured=f"{with_spread(ratio)}x obvious: {beside}",
        met=ratio.median <= TO_OBVIOUS,
        rounds=len(mine.rounds),
        detail={"p50_ms": p50_ms, "to_obvious": ratio},
    )
