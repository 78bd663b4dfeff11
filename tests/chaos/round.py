"""One round, from the start of its servers to its result.

Owns: the order in which things are done. Must never judge or decide what is done: see `judge` and `plan`.
"""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.account import ACCOUNT, keep
from tests.chaos.buses import TortureBus, bus_of
from tests.chaos.chaos import BLOW, Chaos
from tests.chaos.judge import UNKNOWN, Books, breaches
from tests.chaos.load import Crowd, wants_customer
from tests.chaos.plan import Plan
from tests.chaos.rest import STILL_S, gather, settle
from tests.chaos.site import Site
from tests.faults.laws import attempts

SLOW_S = 40.0  # a round that took longer to rest keeps its folder: somebody may want to know what it waited for
EXPECTED_CODE = 0  # of a process that is told to stop when all is well


@dataclass(frozen=True)
class Result:
    """What came of a round. Times in seconds; `counts` are the figures that are summed up over rounds."""

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
    """The longest start of a process of the service, until it took charges. What it stands on may have been away."""
    counts: dict[str, int] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    waited_for: str = ""
    """What was last to come to rest."""
    folder: str | None = None


async def play(plan: Plan, folder: Path) -> Result:
    """A whole round below `folder`. What it starts has ended when this returns, or raises."""
    site = Site(plan, folder)
    began = time.monotonic()
    try:
        await site.start()
        async with bus_of(site, folder) as bus:
            return await _play(site, bus, folder, began)
    finally:
        site.stop()


async def _play(site: Site, bus: TortureBus, folder: Path, began: float) -> Result:
    crowd, chaos = Crowd(site, bus), Chaos(site)
    await site.turn_faults_on()
    customers = asyncio.create_task(crowd.play())
    await chaos.run()
    if site.plan.final_blow:
        await chaos.blow()
    await site.turn_faults_off()
    calm = time.monotonic()
    crowd.hurry()
    await site.all_ready()
    await asyncio.sleep(site.plan.latest_landing_s)
    waited_for = await settle(site, bus, crowd, chaos, customers)
    settled_s = time.monotonic() - calm
    await asyncio.sleep(STILL_S)
    books = await gather(site, bus, crowd, chaos)
    books.wrong.extend(_codes(await site.drain()))
    found = breaches(books)
    told = [*found, f"settled after {settled_s:.1f} s: {waited_for}"]
    worth_keeping = bool(found) or settled_s > SLOW_S
    if worth_keeping:
        keep(folder, books, told, chaos.diary, f"seed {site.plan.seed}, {site.plan.broker}, {site.plan.store}")
    result = _result(site, chaos, books, found, time.monotonic() - began, settled_s)
    return replace(result, waited_for=waited_for, folder=str(folder) if worth_keeping else None)


def spoilt(plan: Plan, folder: Path, error: Exception) -> Result:
    """A round that came to no end. It counts as failed: nobody knows whether the laws held."""
    story = "".join(traceback.format_exception(error))
    (folder / ACCOUNT).write_text(story)
    return Result(
        seed=plan.seed,
        broker=plan.broker,
        store=plan.store,
        processes=plan.processes,
        breaches=[f"the rig came to no end: {type(error).__name__}: {error}"],
        folder=str(folder),
    )


def _codes(codes: list[int | None]) -> list[str]:
    return [f"SIGTERM at rest ended a process with {code}" for code in codes if code != EXPECTED_CODE]


def _result(site: Site, chaos: Chaos, books: Books, found: list[str], took_s: float, settled_s: float) -> Result:
    plan = site.plan
    answers = Counter(str(answer.status) for story in books.stories.values() for answer in story.answers)
    broken = sum(story.broken for story in books.stories.values())
    return Result(
        seed=plan.seed,
        broker=plan.broker,
        store=plan.store,
        processes=plan.processes,
        took_s=round(took_s, 1),
        settled_s=round(settled_s, 1),
        settled_after_restart_s=round(settled_s, 1) if plan.final_blow else None,
        ready_s=round(max(site.ready_s, default=0.0), 1),
        counts=counts_of(books),
        strikes=dict(chaos.done),
        answers=dict(answers) | {"none": broken},
        breaches=found,
    )


def counts_of(books: Books) -> dict[str, int]:
    """The figures of one round."""
    charges = [charge for order in books.stories for charge in books.succeeded(order)]
    tried = [each for document in books.evidence.orders.values() for each in attempts(document)]
    unclear = _unclear(books)
    settled = [each for order, each in _attempts(books) if _unknown(order, each, unclear)]
    return {
        "orders": len(books.stories),
        "cancelled": sum(story.cancelled for story in books.stories.values()),
        "charges": len(charges),
        "declined": sum(charge["status"] == "failed" for charge in books.evidence.books["charges"]),
        "refunds": len(books.refunds),
        "asked by the bank": sum(any(map(wants_customer, story.answers)) for story in books.stories.values()),
        "awaiting at rest": sum(each["state"] == "awaiting" for each in tried),
        "intents canceled": sum(intent["status"] == "canceled" for intent in books.evidence.books["intents"]),
        "unknown outcomes settled": sum(each["state"] not in UNKNOWN for each in settled),
        "events announced twice": sum(len(each) - len(set(map(str, each))) for each in books.events.values()),
    }


def _attempts(books: Books) -> list[tuple[str, dict[str, object]]]:
    return [(order, each) for order, document in books.evidence.orders.items() for each in attempts(document)]


def _unclear(books: Books) -> set[tuple[object, object]]:
    """Order and attempt of each charge that somebody said nobody knows the outcome of."""
    said = [json.loads(line) for line in books.log if '"charge_unclear"' in line and line.endswith("}")]
    return {(line.get("order_id"), line.get("attempt")) for line in said}


def _unknown(order: str, attempt: dict[str, object], unclear: set[tuple[object, object]]) -> bool:
    """Whether there was a time at which nobody knew how this attempt ended."""
    sends = attempt.get("sends", 1)
    return (order, attempt["number"]) in unclear or (isinstance(sends, int) and sends > 1)


KILLS = ("kill -9", BLOW)
"""Of the words that `Result.strikes` begin with, those that end a process without a word."""
