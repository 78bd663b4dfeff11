"""One round, from the start of its servers to its result.

Owns: the order of steps. Must never judge or decide what is done: see `judge` and `plan`.
"""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.buses import TortureBus, bus_of
from tests.chaos.chaos import BLOW, Chaos
from tests.chaos.incident import INCIDENT, keep
from tests.chaos.judge import UNKNOWN, RoundRecords, breaches
from tests.chaos.load import CustomerLoad, wants_customer
from tests.chaos.plan import Plan
from tests.chaos.rest import STILL_S, gather, settle
from tests.chaos.site import Site
from tests.faults.laws import attempts

SLOW_S = 40.0  # a round that took longer to rest keeps its folder, for an analysis of what it waited for
EXPECTED_CODE = 0  # exit code of a process that is stopped when all is well


@dataclass(frozen=True)
class Result:
    """The result of a round. Times are in seconds; `counts` are the figures that are summed up over rounds."""

    seed: int
    broker: str
    store: str
    processes: int
    took_s: float = 0.0
    settled_s: float = 0.0
    """From the end of the faults, with all processes started, until all was at rest."""
    settled_after_restart_s: float | None = None
    """The same where the round ended with a kill -9 of every process of the service."""
    ready_s: float = 0.0
    """The longest start of a process of the service, until it accepted charges. Its servers may have been away."""
    counts: dict[str, int] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    waited_for: str = ""
    """The last condition that the round waited for."""
    folder: str | None = None


async def play(plan: Plan, folder: Path) -> Result:
    """Play a whole round below `folder`. Its processes have ended when this returns or raises."""
    site = Site(plan, folder)
    began = time.monotonic()
    try:
        await site.start()
        async with bus_of(site, folder) as bus:
            return await _play(site, bus, folder, began)
    finally:
        site.stop()


async def _play(site: Site, bus: TortureBus, folder: Path, began: float) -> Result:
    customer_load, chaos = CustomerLoad(site, bus), Chaos(site)
    await site.turn_faults_on()
    customers = asyncio.create_task(customer_load.play())
    await chaos.run()
    if site.plan.final_blow:
        await chaos.blow()
    await site.turn_faults_off()
    calm = time.monotonic()
    customer_load.hurry()
    await site.all_ready()
    await asyncio.sleep(site.plan.latest_landing_s)
    waited_for = await settle(site, bus, customer_load, chaos, customers)
    settled_s = time.monotonic() - calm
    await asyncio.sleep(STILL_S)
    records = await gather(site, bus, customer_load, chaos)
    records.unexplained.extend(_codes(await site.drain()))
    found = breaches(records)
    report_lines = [*found, f"settled after {settled_s:.1f} s: {waited_for}"]
    worth_keeping = bool(found) or settled_s > SLOW_S
    if worth_keeping:
        keep(
            folder, records, report_lines, chaos.diary, f"seed {site.plan.seed}, {site.plan.broker}, {site.plan.store}"
        )
    result = _result(site, chaos, records, found, time.monotonic() - began, settled_s)
    return replace(result, waited_for=waited_for, folder=str(folder) if worth_keeping else None)


def spoilt(plan: Plan, folder: Path, error: Exception) -> Result:
    """Returns the result of a round that did not finish. It counts as failed, because the laws could not be checked."""
    trace = "".join(traceback.format_exception(error))
    (folder / INCIDENT).write_text(trace)
    return Result(
        seed=plan.seed,
        broker=plan.broker,
        store=plan.store,
        processes=plan.processes,
        breaches=[f"the rig did not finish: {type(error).__name__}: {error}"],
        folder=str(folder),
    )


def _codes(codes: list[int | None]) -> list[str]:
    return [f"SIGTERM at rest ended a process with {code}" for code in codes if code != EXPECTED_CODE]


def _result(
    site: Site, chaos: Chaos, records: RoundRecords, found: list[str], took_s: float, settled_s: float
) -> Result:
    plan = site.plan
    answers = Counter(str(answer.status) for history in records.histories.values() for answer in history.answers)
    broken = sum(history.broken for history in records.histories.values())
    return Result(
        seed=plan.seed,
        broker=plan.broker,
        store=plan.store,
        processes=plan.processes,
        took_s=round(took_s, 1),
        settled_s=round(settled_s, 1),
        settled_after_restart_s=round(settled_s, 1) if plan.final_blow else None,
        ready_s=round(max(site.ready_s, default=0.0), 1),
        counts=counts_of(records),
        strikes=dict(chaos.done),
        answers=dict(answers) | {"none": broken},
        breaches=found,
    )


def counts_of(records: RoundRecords) -> dict[str, int]:
    """Returns the figures of one round."""
    charges = [charge for order in records.histories for charge in records.succeeded(order)]
    tried = [each for document in records.evidence.orders.values() for each in attempts(document)]
    unclear = _unclear(records)
    settled = [each for order, each in _attempts(records) if _unknown(order, each, unclear)]
    return {
        "orders": len(records.histories),
        "cancelled": sum(history.cancelled for history in records.histories.values()),
        "charges": len(charges),
        "declined": sum(charge["status"] == "failed" for charge in records.evidence.audit["charges"]),
        "refunds": len(records.refunds),
        "asked by the bank": sum(any(map(wants_customer, history.answers)) for history in records.histories.values()),
        "awaiting at rest": sum(each["state"] == "awaiting" for each in tried),
        "intents canceled": sum(intent["status"] == "canceled" for intent in records.evidence.audit["intents"]),
        "unknown outcomes settled": sum(each["state"] not in UNKNOWN for each in settled),
        "events announced twice": sum(len(each) - len(set(map(str, each))) for each in records.events.values()),
    }


def _attempts(records: RoundRecords) -> list[tuple[str, dict[str, object]]]:
    return [(order, each) for order, document in records.evidence.orders.items() for each in attempts(document)]


def _unclear(records: RoundRecords) -> set[tuple[object, object]]:
    """Returns order and attempt of each charge that was logged as unclear."""
    entries = [json.loads(line) for line in records.log if '"charge_unclear"' in line and line.endswith("}")]
    return {(line.get("order_id"), line.get("attempt")) for line in entries}


def _unknown(order: str, attempt: dict[str, object], unclear: set[tuple[object, object]]) -> bool:
    """Whether the outcome of this attempt was unknown at some time."""
    sends = attempt.get("sends", 1)
    return (order, attempt["number"]) in unclear or (isinstance(sends, int) and sends > 1)


KILLS = ("kill -9", BLOW)
"""The beginnings of `Result.strikes` that end a process without a warning."""
