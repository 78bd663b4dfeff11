"""On sale: 3,000 people pay within one second; Stripe takes 400 ms, allows 100 a second, and answers 429 past it.

The service as it comes, twice in one process: first its pace is learned from 25 a second up, then it is known. Then the
obvious service. Whoever gets 202 asks again afterwards. Times are of one clock, that of the machine.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from bench.bench import Bench
from bench.contender import OBVIOUS, OURS, Contender, new_orders
from bench.figures import overtaken_s, percentile, shown
from bench.load import PENDING, Job, Result
from bench.scenarios.waiting import all_charged
from bench.table import Row

NAME = "on_sale"
EXPECTED_S = 115.0
PEOPLE, SECOND_S = 3_000, 1.0
LATENCY_MS, RATE_PER_S = 400.0, 100.0
AT_BEST_S = PEOPLE / RATE_PER_S
LEARNED_TIMES, KNOWN_TIMES = 1.3, 1.1
REFUSED_SHARE, OVERTAKEN_S = 0.03, 1.0
ASKING_AT_ONCE = 32
DEADLINE_S = 90.0
TURNED_AWAY_DEADLINE_S = 60.0
SEED = 30
DEFAULT_RATE_PER_S = "100"
CHARGED = (200, 201)


class Sale(msgspec.Struct, kw_only=True):
    """What came of one sale. Times in seconds since its first person came."""

    charged_at_s: list[float]
    refused_at_s: list[float]
    done_s: float
    once: int
    refused_by_stripe: float
    overtaken_most_s: float
    statuses: dict[str, int]
    found_paid: int
    pending: int

    @property
    def everybody_paid(self) -> bool:
        return self.once == PEOPLE and self.pending == self.found_paid and set(self.statuses) <= {"201", "202"}


def run(bench: Bench) -> list[Row]:
    ours = bench.contender(OURS, STRIPE_RATE_PER_S=DEFAULT_RATE_PER_S)
    learned = sale(bench, ours, "pace learned")
    known = sale(bench, ours, "pace known")
    bench.dismiss(ours)
    obvious_service = bench.contender(OBVIOUS)
    obvious = sale(bench, obvious_service, OBVIOUS)
    bench.dismiss(obvious_service)
    bench.stripe()
    away = sum(count for status, count in obvious.statuses.items() if int(status) not in CHARGED)
    beside = Row(
        scenario=NAME,
        what="on sale, beside it: the obvious service",
        goal="",
        measured=f"turns {away:,} of {PEOPLE:,} away; {obvious.refused_by_stripe:.0%} 429",
        met=None,
        rounds=1,
        detail=msgspec.to_builtins(obvious),
    )
    return [_row("pace learned", learned, LEARNED_TIMES), _row("pace known", known, KNOWN_TIMES), beside]


def sale(bench: Bench, contender: Contender, how: str) -> Sale:
    """One sale, to its last charge."""
    orders = new_orders(PEOPLE)
    bench.progress.step(f"{how}: orders come in")
    contender.take_in(orders)
    bench.stripe(LATENCY_MS, RATE_PER_S)
    bench.progress.step(f"{how}: {PEOPLE} people pay")
    result = bench.load(Job(port=contender.port, orders=orders, at=coming(), deadline_s=TURNED_AWAY_DEADLINE_S))
    times = all_charged(bench, PEOPLE, DEADLINE_S) if contender.is_ours else bench.books()["charges"]
    books = bench.books()
    asked = sorted(result.places)
    # 100 a second is Stripe's limit, not ours: whoever waited may ask as soon as there is room.
    looked = Job(port=contender.port, orders=asked, paths=[result.places[each] for each in asked])
    found = bench.load(msgspec.structs.replace(looked, clients=ASKING_AT_ONCE)).paid if asked else 0
    return summed_up(result, orders, times, books, found)


def coming() -> list[float]:
    """When each person comes: by chance, all within the second, the same in each sale."""
    chance = Random(SEED)  # not a secret
    return sorted(chance.uniform(0.0, SECOND_S) for _ in range(PEOPLE))


def summed_up(
    result: Result, orders: list[str], times: dict[str, list[float]], books: dict[str, Any], found_paid: int
) -> Sale:
    began = min(result.sent_at)
    came = {orders[which]: at for which, at in zip(result.which, result.sent_at, strict=True)}
    pairs = [(came[order], at[0]) for order, at in times.items() if order in came]
    ended = [at + took for at, took in zip(result.sent_at, result.took_s, strict=True)]
    refused = [at - began for at, status in zip(ended, result.status, strict=True) if status not in (*CHARGED, PENDING)]
    return Sale(
        charged_at_s=sorted(round(at - began, 3) for _, at in pairs),
        refused_at_s=sorted(round(at, 3) for at in refused),
        done_s=max(at for _, at in pairs) - began,
        once=sum(len(at) == 1 for at in times.values()),
        refused_by_stripe=books["refused"] / books["requests"],
        overtaken_most_s=percentile(overtaken_s(pairs), 100),
        statuses={str(status): result.status.count(status) for status in sorted(set(result.status))},
        found_paid=found_paid,
        pending=len(result.places),
    )


def _row(how: str, found: Sale, times: float) -> Row:
    prompt, in_order = found.done_s <= times * AT_BEST_S, found.overtaken_most_s <= OVERTAKEN_S
    detail = msgspec.to_builtins(found)
    return Row(
        scenario=NAME,
        what=f"on sale: {PEOPLE:,} in a second, {RATE_PER_S:g}/s ({how})",
        goal=f"<= {times}x {AT_BEST_S:g} s, 429 <= {REFUSED_SHARE:.0%}, no error, in order within 1 s",
        measured=f"{found.done_s / AT_BEST_S:.2f}x, 429 {found.refused_by_stripe:.1%}, {found.once:,} charged once, "
        f"answers {found.statuses}, {found.found_paid} of {found.pending} found paid, "
        f"overtaken by {shown(found.overtaken_most_s)} s",
        met=found.everybody_paid and prompt and in_order and found.refused_by_stripe <= REFUSED_SHARE,
        rounds=1,
        detail=detail,
    )
