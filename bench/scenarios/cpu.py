"""What a charge costs at 32 at once, with a Stripe without latency: CPU, charges a second, store operations."""

from __future__ import annotations

from bench.bench import CLIENTS, Bench, Measured
from bench.contender import LIMIT, OBVIOUS, OURS, STREAMING, new_orders
from bench.figures import Spread, ratios, shown, spread
from bench.load import Job
from bench.scenarios.available import contenders
from bench.store_count import DOCUMENTS
from bench.table import Row

NAME = "cpu"
EXPECTED_S = 240.0
CHARGES, QUICK_CHARGES = 2_000, 1_000
COUNTED_WARM_CHARGES, COUNTED_CHARGES = 3_000, 1_000
CPU_TO_OBVIOUS, CPU_TO_LIMIT, PER_S_TO_OBVIOUS = 0.5, 1.5, 1.5
Rounds = dict[str, list[Measured]]


def run(bench: Bench) -> list[Row]:
    names = contenders()
    for name in names:
        bench.warm(name)
    bench.stripe()
    rounds: Rounds = {name: [] for name in names}
    for number in range(bench.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            bench.progress.step(f"round {number + 1} of {bench.rounds}, {name}")
            rounds[name].append(bench.charge(bench.warm(name), QUICK_CHARGES if bench.quick else CHARGES))
    bench.capacity_per_s |= {name: spread(per_s(rounds, name)).median for name in names}
    ours = [name for name in names if name in (OURS, STREAMING)]
    rows = [row for name in ours for row in _rows_of(name, rounds)]
    return [*rows, _row_of_others(rounds), store_operations(bench, names)]


def cpu_ms(rounds: Rounds, name: str) -> list[float]:
    return [each.cpu_ms for each in rounds[name]]


def per_s(rounds: Rounds, name: str) -> list[float]:
    return [each.per_s for each in rounds[name]]


def _rows_of(name: str, rounds: Rounds) -> list[Row]:
    mine, rates = spread(cpu_ms(rounds, name)), spread(per_s(rounds, name))
    to_obvious = ratios(mine.rounds, cpu_ms(rounds, OBVIOUS))
    to_limit = ratios(mine.rounds, cpu_ms(rounds, LIMIT))
    faster = ratios(rates.rounds, per_s(rounds, OBVIOUS))
    cost = f"{with_spread(mine)} ms, {with_spread(to_obvious)}x obvious, {with_spread(to_limit)}x limit"
    return [
        Row(
            scenario=NAME,
            what=f"CPU a charge, 32 at once ({name})",
            goal=f"<= {CPU_TO_OBVIOUS}x obvious, <= {CPU_TO_LIMIT}x limit",
            measured=cost,
            met=to_obvious.median <= CPU_TO_OBVIOUS and to_limit.median <= CPU_TO_LIMIT,
            rounds=len(mine.rounds),
            detail={"cpu_ms": mine, "to_obvious": to_obvious, "to_limit": to_limit},
        ),
        Row(
            scenario=NAME,
            what=f"charges/s, 32 at once ({name})",
            goal=f">= {PER_S_TO_OBVIOUS}x obvious",
            measured=f"{with_spread(rates)}/s, {with_spread(faster)}x obvious",
            met=faster.median >= PER_S_TO_OBVIOUS,
            rounds=len(rates.rounds),
            detail={"per_s": rates, "to_obvious": faster},
        ),
    ]


def _row_of_others(rounds: Rounds) -> Row:
    costs = {name: spread(cpu_ms(rounds, name)) for name in (LIMIT, OBVIOUS)}
    rates = {name: spread(per_s(rounds, name)) for name in (LIMIT, OBVIOUS)}
    said = "; ".join(f"{name} {with_spread(costs[name])} ms, {with_spread(rates[name])}/s" for name in costs)
    load = spread([each.result.cpu_s * 1_000 / each.charged for all_of in rounds.values() for each in all_of])
    detail = {"cpu_ms": costs, "per_s": rates, "load_cpu_ms": load}
    return Row(
        scenario=NAME, what="beside it", goal="", measured=said, met=None, rounds=len(load.rounds), detail=detail
    )


def store_operations(bench: Bench, names: list[str]) -> Row:
    """Counted by a proxy, in a run of its own that nobody times."""
    found = {name: _counted(bench, name) for name in names if name != LIMIT}
    said = "; ".join(f"{name} {shown(sum_of(each))}" for name, each in found.items())
    what = "commands to MongoDB a charge, 32 at once"
    return Row(scenario=NAME, what=what, goal="", measured=said, met=None, rounds=1, detail={"a_charge": found})


def _counted(bench: Bench, name: str) -> dict[str, float]:
    bench.progress.step(f"counting the store operations of {name}")
    contender = bench.contender(name, counted=True)
    assert contender.counting is not None
    bench.charge(contender, COUNTED_WARM_CHARGES)
    orders = new_orders(COUNTED_CHARGES)
    contender.take_in(orders)
    contender.counting.count()
    bench.measured(contender, Job(port=contender.port, orders=orders, clients=CLIENTS))
    found = {what: number / COUNTED_CHARGES for what, number in contender.counting.count().items()}
    bench.dismiss(contender)
    return found


def sum_of(found: dict[str, float]) -> float:
    """Commands of all kinds; the documents that they carry are counted beside."""
    return sum(number for what, number in found.items() if what != DOCUMENTS)


def with_spread(found: Spread) -> str:
    return f"{shown(found.median)} ({shown(found.least)}-{shown(found.most)})"
