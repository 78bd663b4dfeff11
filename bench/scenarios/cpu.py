"""The cost of a charge with 32 concurrent clients and a Stripe without latency: CPU, charges a second, store
operations.

Receiving an order is measured apart from its charge: with `STRIPE_PREPARE` its PaymentIntent is created then.
"""

from __future__ import annotations

from bench import before
from bench.bench import CLIENTS, Bench, Measured
from bench.contender import BEFORE, INTENTS, LIMIT, MEASURED, OBVIOUS, Contender, new_orders
from bench.figures import Spread, ratios, shown, spread
from bench.load import Job
from bench.scenarios.available import contenders
from bench.store_count import DOCUMENTS
from bench.table import Row

NAME = "cpu"
EXPECTED_S = 380.0
CHARGES, QUICK_CHARGES = 2_000, 1_000
COUNTED_WARM_CHARGES, COUNTED_CHARGES = 3_000, 1_000
CPU_TO_OBVIOUS, CPU_TO_LIMIT, PER_S_TO_OBVIOUS, CPU_TO_BEFORE = 0.5, 1.5, 1.5, 1.25
DOCUMENTS_A_CHARGE = 3
"""Documents written for a charge: the attempt, its outcome, and that its event is published."""
SPARE_DOCUMENTS = 0.05
"""Tolerance for a charge: a sweep or a lease may write too."""
Rounds = dict[str, list[Measured]]
Counted = dict[str, dict[str, float]]
COMING_IN, PAYING = "order comes in", "charge"


def run(bench: Bench) -> list[Row]:
    names = [*contenders(), *([BEFORE] if bench.before is not None else [])]
    for name in names:
        bench.warm(name)
    bench.stripe()
    rounds: Rounds = {name: [] for name in names}
    for number in range(bench.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            bench.progress.step(f"round {number + 1} of {bench.rounds}, {name}")
            rounds[name].append(bench.charge(bench.warm(name), QUICK_CHARGES if bench.quick else CHARGES))
    bench.capacity_per_s |= {name: spread(per_s(rounds, name)).median for name in names}
    ours = [name for name in names if name in MEASURED]
    rows = [row for name in ours for row in _rows_of(name, rounds)]
    return [*rows, _row_of_others(rounds), store_writes(bench, [name for name in names if name != LIMIT])]


def cpu_ms(rounds: Rounds, name: str) -> list[float]:
    return [each.cpu_ms for each in rounds[name]]


def per_s(rounds: Rounds, name: str) -> list[float]:
    return [each.per_s for each in rounds[name]]


def _rows_of(name: str, rounds: Rounds) -> list[Row]:
    mine, rates = spread(cpu_ms(rounds, name)), spread(per_s(rounds, name))
    to_obvious = ratios(mine.rounds, cpu_ms(rounds, OBVIOUS))
    to_intents = ratios(mine.rounds, cpu_ms(rounds, INTENTS))
    to_limit = ratios(mine.rounds, cpu_ms(rounds, LIMIT))
    faster = ratios(rates.rounds, per_s(rounds, OBVIOUS))
    faster_than_intents = ratios(rates.rounds, per_s(rounds, INTENTS))
    cost = f"{with_spread(mine)} ms, {with_spread(to_obvious)}x obvious, {with_spread(to_limit)}x limit"
    return [
        Row(
            scenario=NAME,
            what=f"CPU a charge, 32 at once ({name})",
            goal=f"<= {CPU_TO_OBVIOUS}x obvious, <= {CPU_TO_LIMIT}x limit",
            measured=f"{cost}, {with_spread(to_intents)}x obvious with intents",
            met=to_obvious.median <= CPU_TO_OBVIOUS and to_limit.median <= CPU_TO_LIMIT,
            rounds=len(mine.rounds),
            detail={"cpu_ms": mine, "to_obvious": to_obvious, "to_intents": to_intents, "to_limit": to_limit},
        ),
        _row_beside_before(name, rounds),
        Row(
            scenario=NAME,
            what=f"charges/s, 32 at once ({name})",
            goal=f">= {PER_S_TO_OBVIOUS}x obvious",
            measured=f"{with_spread(rates)}/s, {with_spread(faster)}x obvious, "
            f"{with_spread(faster_than_intents)}x obvious with intents",
            met=faster.median >= PER_S_TO_OBVIOUS,
            rounds=len(rates.rounds),
            detail={"per_s": rates, "to_obvious": faster, "to_intents": faster_than_intents},
        ),
    ]


def _row_beside_before(name: str, rounds: Rounds) -> Row:
    """Compare with release 0.1.0's rounds in this run, where a checkout of it was given; else with its stored
    results.
    """
    mine, in_this_run = cpu_ms(rounds, name), BEFORE in rounds
    coming_in = spread([each.taking_in_cpu_ms for each in rounds[name]])
    theirs = cpu_ms(rounds, BEFORE) if in_this_run else [before.to_limit().median * ms for ms in cpu_ms(rounds, LIMIT)]
    ratio = ratios(mine, theirs)
    how = "in this run" if in_this_run else "by its stored ratio to the limit"
    return Row(
        scenario=NAME,
        what=f"CPU a charge beside {BEFORE} ({name})",
        goal=f"<= {CPU_TO_BEFORE}x",
        measured=f"{with_spread(ratio)}x {how}; an order that comes in {with_spread(coming_in)} ms",
        met=ratio.median <= CPU_TO_BEFORE,
        rounds=len(mine),
        detail={"to_before": ratio, "how": how, "coming_in_cpu_ms": coming_in},
    )


def _row_of_others(rounds: Rounds) -> Row:
    others = [name for name in rounds if name in (LIMIT, OBVIOUS, INTENTS, BEFORE)]
    costs = {name: spread(cpu_ms(rounds, name)) for name in others}
    rates = {name: spread(per_s(rounds, name)) for name in others}
    measured_text = "; ".join(f"{name} {with_spread(costs[name])} ms, {with_spread(rates[name])}/s" for name in costs)
    load = spread([each.result.cpu_s * 1_000 / each.charged for all_of in rounds.values() for each in all_of])
    detail = {"cpu_ms": costs, "per_s": rates, "load_cpu_ms": load}
    return Row(
        scenario=NAME,
        what="beside it",
        goal="",
        measured=measured_text,
        met=None,
        rounds=len(load.rounds),
        detail=detail,
    )


def store_writes(bench: Bench, names: list[str]) -> Row:
    """Count store operations by a proxy, in a separate run that is not timed."""
    return row_of_writes({name: _counted(bench, name) for name in names})


def row_of_writes(found: dict[str, Counted]) -> Row:
    """Returns the row of each contender's MongoDB operations for receiving an order and for charging it."""
    measured_text = [
        f"{name} {shown(each[PAYING].get(DOCUMENTS, 0.0))} in {shown(sum_of(each[PAYING]))} commands "
        f"(an order {shown(each[COMING_IN].get(DOCUMENTS, 0.0))})"
        for name, each in found.items()
    ]
    ours = [each[PAYING].get(DOCUMENTS, 0.0) for name, each in found.items() if name in MEASURED]
    return Row(
        scenario=NAME,
        what="documents written a charge, 32 at once",
        goal=f"{DOCUMENTS_A_CHARGE}",
        measured="; ".join(measured_text),
        met=max(ours) <= DOCUMENTS_A_CHARGE + SPARE_DOCUMENTS,
        rounds=1,
        detail={"a_charge": found},
    )


def _counted(bench: Bench, name: str) -> Counted:
    bench.progress.step(f"counting the store operations of {name}")
    contender = bench.contender(name, counted=True)
    bench.charge(contender, COUNTED_WARM_CHARGES)
    orders = new_orders(COUNTED_CHARGES)
    _count(contender)
    contender.take_in(orders)
    found = {COMING_IN: _count(contender)}
    bench.measured(contender, Job(port=contender.port, orders=orders, clients=CLIENTS))
    found[PAYING] = _count(contender)
    bench.dismiss(contender)
    return found


def _count(contender: Contender) -> dict[str, float]:
    """Returns the MongoDB operations since the last count, divided by the number of orders."""
    assert contender.counting is not None
    return {what: number / COUNTED_CHARGES for what, number in contender.counting.count().items()}


def sum_of(found: dict[str, float]) -> float:
    """Returns the number of commands of all kinds, without the documents that they carry."""
    return sum(number for what, number in found.items() if what != DOCUMENTS)


def with_spread(found: Spread) -> str:
    return f"{shown(found.median)} ({shown(found.least)}-{shown(found.most)})"
