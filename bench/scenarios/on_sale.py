"""A sale: 3,000 customers pay within one second; a call to Stripe takes 400 ms, and Stripe answers 429 past its limits.

Stripe has two limits (docs.stripe.com/rate-limits): one for each endpoint and one for the account as a whole. Here both
are 100 a second, so that 3,000 charges take 30 s at best where the intents were created before the sale
(`STRIPE_PREPARE`): one confirm each. Without, each is a create and a confirm, and the account's limit makes it 60 s.
The last sale has the limits of a new account, 25 a second for an endpoint, and 750 customers: 30 s at best.

The service runs each sale twice in one process: first it learns its rates from 25 a second up, then it knows them. The
obvious service runs too, with charges and with intents. Customers who get 202 send a GET afterwards. All times are of
the machine's clock.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec

from bench.bench import Bench
from bench.contender import INTENTS, OBVIOUS, OURS, PREPARED, Contender, new_orders
from bench.figures import overtaken_s, percentile, shown
from bench.load import PENDING, Job, Result
from bench.scenarios.waiting import all_charged
from bench.table import Row

NAME = "on_sale"
EXPECTED_S = 380.0
CUSTOMERS, NEW_ACCOUNT_CUSTOMERS, SECOND_S = 3_000, 750, 1.0
LATENCY_MS = 400.0
ENDPOINT_PER_S, NEW_ACCOUNT_ENDPOINT_PER_S, ACCOUNT_PER_S = 100.0, 25.0, 100.0
LEARNED_TIMES, KNOWN_TIMES = 1.3, 1.1
REFUSED_SHARE, OVERTAKEN_S = 0.03, 1.0
ASKING_AT_ONCE = 32
LONGEST_TIMES = 3.0
"""The multiple of the best time after which a sale is abandoned."""
TURNED_AWAY_DEADLINE_S = 60.0
SEED = 30
DEFAULT_RATE_PER_S = "100"
CHARGED = (200, 201)
ANSWERED = (*CHARGED, PENDING)
LEARNED, KNOWN, NEW_ACCOUNT = "rates learned", "rates known", "limits of a new account"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The number of customers of a sale, and Stripe's limits."""

    customers: int = CUSTOMERS
    endpoint_per_s: float = ENDPOINT_PER_S
    account_per_s: float = ACCOUNT_PER_S

    def at_best_s(self, calls_a_charge: int) -> float:
        """Returns the shortest duration that Stripe's limits allow, in seconds, for `calls_a_charge` calls to different
        endpoints.
        """
        return self.customers / min(self.endpoint_per_s, self.account_per_s / calls_a_charge)


class StripeCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe's counts of one sale: when each order was charged, requests and refusals by endpoint."""

    charges: dict[str, list[float]]
    requests: Counter[str]
    refused: Counter[str]


class Sale(msgspec.Struct, kw_only=True):
    """The result of one sale. Times are in seconds since the first customer's arrival; `name` identifies the sale."""

    name: str
    customers: int
    at_best_s: float
    charged_at_s: list[float]
    refused_at_s: list[float]
    done_s: float
    once: int
    requests_to_stripe: dict[str, int]
    refused_by_stripe: float
    overtaken_most_s: float
    statuses: dict[str, int]
    found_paid: int
    pending: int

    @property
    def times_of_best(self) -> float:
        return self.done_s / self.at_best_s

    @property
    def all_paid(self) -> bool:
        return self.once == self.customers and self.pending == self.found_paid and set(self.statuses) <= {"201", "202"}


def run(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    for name in (PREPARED, OURS):
        ours = bench.contender(name, STRIPE_RATE_PER_S=DEFAULT_RATE_PER_S)
        rows.append(row_of_sale(sale(bench, ours, Terms(), LEARNED), LEARNED_TIMES))
        rows.append(row_of_sale(sale(bench, ours, Terms(), KNOWN), KNOWN_TIMES if name == PREPARED else LEARNED_TIMES))
        bench.dismiss(ours)
    new = bench.contender(OURS, STRIPE_RATE_PER_S=DEFAULT_RATE_PER_S)
    terms = Terms(customers=NEW_ACCOUNT_CUSTOMERS, endpoint_per_s=NEW_ACCOUNT_ENDPOINT_PER_S)
    rows.append(row_of_sale(sale(bench, new, terms, NEW_ACCOUNT), LEARNED_TIMES))
    bench.dismiss(new)
    for name in (OBVIOUS, INTENTS):
        other = bench.contender(name)
        rows.append(_row_beside(sale(bench, other, Terms(), "")))
        bench.dismiss(other)
    bench.stripe()
    return rows


def name_of(contender: str, how: str) -> str:
    return f"{contender}: {how}" if how else contender


def sale(bench: Bench, contender: Contender, terms: Terms, how: str) -> Sale:
    """Run one sale until its last charge."""
    orders, name = new_orders(terms.customers), name_of(contender.name, how)
    bench.stripe(LATENCY_MS, terms.endpoint_per_s, terms.account_per_s)
    bench.progress.step(f"{name}: orders come in")
    contender.take_in(orders)
    before = bench.audit()
    bench.progress.step(f"{name}: {terms.customers} customers pay")
    result = bench.load(
        Job(port=contender.port, orders=orders, at=coming(terms.customers), deadline_s=TURNED_AWAY_DEADLINE_S)
    )
    at_best_s = terms.at_best_s(contender.calls_a_charge)
    if contender.is_ours:
        all_charged(bench, terms.customers, LONGEST_TIMES * at_best_s)
    after = bench.audit()
    asked = sorted(result.places)
    # The limits are Stripe's: a waiting customer may be charged as soon as they allow it.
    queries = Job(port=contender.port, orders=asked, paths=[result.places[each] for each in asked])
    found = bench.load(msgspec.structs.replace(queries, clients=ASKING_AT_ONCE)).paid if asked else 0
    requests, refused = (Counter(after[what]) - Counter(before[what]) for what in ("requests", "refused"))
    counts = StripeCounts(charges=after["charges"], requests=requests, refused=refused)
    return summed_up(name, orders, result, counts, at_best_s, found)


def summed_up(
    name: str, orders: list[str], result: Result, counts: StripeCounts, at_best_s: float, found_paid: int
) -> Sale:
    """Combine the results of the load generator and of Stripe into a sale."""
    began, times = min(result.sent_at), counts.charges
    pairs = charged(result, orders, times)
    ended = [at + took for at, took in zip(result.sent_at, result.took_s, strict=True)]
    turned_away = [at - began for at, status in zip(ended, result.status, strict=True) if status not in ANSWERED]
    return Sale(
        name=name,
        customers=len(orders),
        at_best_s=at_best_s,
        charged_at_s=sorted(round(at - began, 3) for _, at in pairs),
        refused_at_s=sorted(round(at, 3) for at in turned_away),
        done_s=max(at for _, at in pairs) - began,
        once=sum(len(at) == 1 for at in times.values()),
        requests_to_stripe=dict(counts.requests),
        refused_by_stripe=counts.refused.total() / counts.requests.total(),
        overtaken_most_s=percentile(overtaken_s(pairs), 100),
        statuses={str(status): result.status.count(status) for status in sorted(set(result.status))},
        found_paid=found_paid,
        pending=len(result.places),
    )


def coming(customers: int) -> list[float]:
    """Returns each customer's arrival time: random, all within the second, the same in each sale."""
    chance = Random(SEED)  # not a secret
    return sorted(chance.uniform(0.0, SECOND_S) for _ in range(customers))


def charged(result: Result, orders: list[str], times: dict[str, list[float]]) -> list[tuple[float, float]]:
    """Returns, for each charged order, its customer's arrival time and the time of its first charge."""
    came = {orders[which]: at for which, at in zip(result.which, result.sent_at, strict=True)}
    return [(came[order], at[0]) for order, at in times.items() if order in came]


def row_of_sale(found: Sale, times: float) -> Row:
    met = found.times_of_best <= times and found.overtaken_most_s <= OVERTAKEN_S and found.all_paid
    return Row(
        scenario=NAME,
        what=f"on sale: {found.customers:,} in a second ({found.name})",
        goal=f"<= {times}x {found.at_best_s:g} s, 429 <= {REFUSED_SHARE:.0%}, no error, in order within 1 s",
        measured=f"{found.times_of_best:.2f}x, 429 {found.refused_by_stripe:.1%}, {found.once:,} charged once, "
        f"answers {found.statuses}, {found.found_paid} of {found.pending} found paid, "
        f"overtaken by {shown(found.overtaken_most_s)} s",
        met=met and found.refused_by_stripe <= REFUSED_SHARE,
        rounds=1,
        detail=msgspec.to_builtins(found),
    )


def _row_beside(found: Sale) -> Row:
    away = sum(count for status, count in found.statuses.items() if int(status) not in CHARGED)
    return Row(
        scenario=NAME,
        what=f"on sale, beside it: {found.name}",
        goal="",
        measured=f"turns {away:,} of {found.customers:,} away; {found.refused_by_stripe:.0%} 429",
        met=None,
        rounds=1,
        detail=msgspec.to_builtins(found),
    )


def details(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Returns the sales among the rows of a run, by name."""
    return {row.detail["name"]: row.detail for row in rows if row.scenario == NAME}
