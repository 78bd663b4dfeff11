"""10,000 charges that wait for a Stripe with 400 ms latency: their memory, and whether each is charged once."""

from __future__ import annotations

import time

from bench.bench import Bench
from bench.contender import OURS, new_orders
from bench.figures import shown
from bench.load import Job
from bench.process import MemoryPeak, memory_mb
from bench.table import Row

NAME = "waiting"
EXPECTED_S = 80.0
CHARGES, COMING_S = 10_000, 12.0
RATE_PER_S = "200"
"""Requests a second that Stripe allows: slow enough that nearly all charges wait at once, fast enough for a bench."""
LATENCY_MS = 400.0
MOST_MB = 300.0
DONE_DEADLINE_S = 120.0
POLL_EVERY_S = 0.5


def run(bench: Bench) -> list[Row]:
    contender = bench.contender(OURS, STRIPE_RATE_PER_S=RATE_PER_S)
    orders = new_orders(CHARGES)
    bench.progress.step(f"{CHARGES} orders come in")
    contender.take_in(orders)
    before_mb = memory_mb(contender.pid)
    bench.stripe(LATENCY_MS)
    bench.progress.step(f"{CHARGES} customers pay")
    at = [COMING_S * place / CHARGES for place in range(CHARGES)]
    with MemoryPeak(contender.pid) as peak:
        result = bench.load(Job(port=contender.port, orders=orders, at=at, deadline_s=COMING_S + 40))
        times = all_charged(bench, CHARGES)
    bench.dismiss(contender)
    bench.stripe()
    statuses = {status: result.status.count(status) for status in sorted(set(result.status))}
    once = sum(len(each) == 1 for each in times.values())
    met = peak.most_mb <= MOST_MB and once == CHARGES and set(statuses) <= {201, 202}
    measured_text = f"{shown(peak.most_mb)} MB ({shown(before_mb)} before), {once} charged once, answers {statuses}"
    return [
        Row(
            scenario=NAME,
            what=f"{CHARGES:,} charges waiting at a Stripe of 400 ms",
            goal=f"<= {MOST_MB:g} MB, none lost, none refused",
            measured=measured_text,
            met=met,
            rounds=1,
            detail={"most_mb": peak.most_mb, "before_mb": before_mb, "charged_once": once, "statuses": statuses},
        )
    ]


def all_charged(bench: Bench, count: int, deadline_s: float = DONE_DEADLINE_S) -> dict[str, list[float]]:
    """Wait until `count` orders are charged, or until the deadline; returns when each order was charged."""
    deadline = time.monotonic() + deadline_s
    while True:
        charges: dict[str, list[float]] = bench.audit()["charges"]
        if len(charges) >= count or time.monotonic() > deadline:
            return charges
        time.sleep(POLL_EVERY_S)
