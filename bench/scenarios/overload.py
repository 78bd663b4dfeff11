"""Ten times the load that the service can handle, for 20 s: it serves accepted requests and rejects the others at once.

A customer who is refused with 503 comes again. Afterwards only one request comes every 250 ms: the service is normal
again when all of them are charged within a second.
"""

from __future__ import annotations

from bench.bench import Bench
from bench.contender import OURS, new_orders
from bench.figures import percentile, shown
from bench.load import UNAVAILABLE, Job, Result
from bench.process import MemoryPeak, memory_mb
from bench.table import Row

NAME = "overload"
EXPECTED_S = 90.0
TIMES, LONG_S = 10.0, 20.0
TAKEN_AT_MOST = 12_000
"""The service's limit of charges in flight (payment.actors.ledger.actor.CHARGES_IN_FLIGHT_LIMIT)."""
SPARE = 1.5
"""Orders beyond the service's capacity, as a factor: refused ones come again, and orders must not run out."""
PROBES, PROBE_EVERY_S, PROMPT_S = 160, 0.25, 1.0
SERVED_TO_CAPACITY, REFUSED_WITHIN_MS, NORMAL_WITHIN_S, MOST_MB = 0.9, 50.0, 5.0, 400.0


def run(bench: Bench) -> list[Row]:
    contender, capacity_per_s = bench.warm(OURS), bench.capacity()
    orders = new_orders(round(TAKEN_AT_MOST + capacity_per_s * LONG_S * SPARE))
    probes = new_orders(PROBES)
    bench.progress.step(f"{len(orders)} orders come in")
    contender.take_in(orders + probes)
    bench.stripe()
    before_mb, offered = memory_mb(contender.pid), round(capacity_per_s * TIMES * LONG_S)
    bench.progress.step(f"{capacity_per_s * TIMES:.0f} charges a second for {LONG_S:g} s")
    at = [LONG_S * place / offered for place in range(offered)]
    with MemoryPeak(contender.pid) as peak:
        result = bench.load(Job(port=contender.port, orders=orders, at=at, again=True, deadline_s=LONG_S))
        after = bench.load(
            Job(port=contender.port, orders=probes, at=[PROBE_EVERY_S * place for place in range(PROBES)])
        )
    charges = bench.audit()["charges"]
    served_per_s = sum(at[0] <= result.began_at + LONG_S for at in charges.values()) / LONG_S
    twice = sum(len(at) > 1 for at in charges.values())
    bench.dismiss(contender)
    return [_row(capacity_per_s, served_per_s, result, after, peak.most_mb, before_mb, twice)]


def _row(
    capacity_per_s: float,
    served_per_s: float,
    result: Result,
    after: Result,
    most_mb: float,
    before_mb: float,
    twice: int,
) -> Row:
    refused_ms = [
        took * 1_000 for took, status in zip(result.took_s, result.status, strict=True) if status == UNAVAILABLE
    ] or [0.0]
    found = {
        "capacity_per_s": capacity_per_s,
        "offered_per_s": len(result.which) / LONG_S,
        "served_to_capacity": served_per_s / capacity_per_s,
        "refused": len(refused_ms),
        "refused_p50_ms": percentile(refused_ms, 50),
        "refused_p99_ms": percentile(refused_ms, 99),
        "most_mb": most_mb,
        "before_mb": before_mb,
        "normal_after_s": normal_after_s(after),
        "last_refusal_after_s": last_refusal_after_s(after),
        "charged_twice": twice,
        "load_cpu_s": result.cpu_s,
        "statuses": {str(status): result.status.count(status) for status in sorted(set(result.status))},
    }
    met = (
        served_per_s >= SERVED_TO_CAPACITY * capacity_per_s
        and percentile(refused_ms, 99) <= REFUSED_WITHIN_MS
        and most_mb <= MOST_MB
        and normal_after_s(after) <= NORMAL_WITHIN_S
        and not twice
    )
    return Row(
        scenario=NAME,
        what=f"{TIMES:g} times the load for {LONG_S:g} s",
        goal=f"served >= {SERVED_TO_CAPACITY}x capacity, 503 in <= {REFUSED_WITHIN_MS:g} ms, "
        f"normal in {NORMAL_WITHIN_S:g} s",
        measured=f"served {served_per_s / capacity_per_s:.2f}x of {capacity_per_s:.0f}/s; {len(refused_ms)} 503, p50 "
        f"{shown(percentile(refused_ms, 50))} p99 {shown(percentile(refused_ms, 99))} ms; {shown(most_mb)} MB; "
        f"normal after {shown(normal_after_s(after))} s",
        met=met,
        rounds=1,
        detail=found,
    )


def normal_after_s(after: Result) -> float:
    """Returns when the first of the later requests was sent from which on all were charged promptly, in seconds."""
    since = after.ended_at
    for sent_at, took_s, status in reversed(list(zip(after.sent_at, after.took_s, after.status, strict=True))):
        if status != 201 or took_s > PROMPT_S:
            break
        since = sent_at
    return since - after.began_at


def last_refusal_after_s(after: Result) -> float:
    refused = [at for at, status in zip(after.sent_at, after.status, strict=True) if status == UNAVAILABLE]
    return max(refused, default=after.began_at) - after.began_at
