"""Waits until a round is at rest, and collects its records.

Owns: what a round waits for, and how long. Rest means that no work is left and the judge finds no breach: a breach that
is only temporary is none. After the deadline the records are taken as they are. Must never judge. Change together with:
`judge`, and `tests.faults.test_laws.restless`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from tests.chaos.buses import TortureBus
from tests.chaos.chaos import Chaos
from tests.chaos.judge import RoundRecords, breaches
from tests.chaos.load import CustomerLoad
from tests.chaos.site import Site
from tests.e2e.client import Client
from tests.faults.laws import Evidence, attempts
from tests.faults.test_laws import restless

REST_DEADLINE_S = 150.0  # two leases, and a machine that is busy with other things
REST_CHECK_S = 0.5
BROKEN_CHECK_S = 2.0  # after a breach that may still be resolved: by a recheck, or a late request at Stripe
SHOWN = 5  # orders that are named, of those that are waited for
STILL_S = 1.5  # after the first moment of rest: late events would come within it


async def settle(
    site: Site, bus: TortureBus, customer_load: CustomerLoad, chaos: Chaos, customers: asyncio.Task[None]
) -> str:
    """Wait for rest; returns what was waited for last, after the deadline at the latest. `customers` are cancelled at
    the deadline.
    """
    end = time.monotonic() + REST_DEADLINE_S
    left = ""
    while time.monotonic() < end:
        waited_for, left = left, await _left_to_do(site, bus, customer_load, customers)
        if not left:
            found = breaches(await gather(site, bus, customer_load, chaos))
            if not found:
                return waited_for
            left = found[0]
            await asyncio.sleep(BROKEN_CHECK_S)
        await asyncio.sleep(REST_CHECK_S)
    customers.cancel()
    await asyncio.gather(customers, return_exceptions=True)
    chaos.unexplained.append(f"no rest within {REST_DEADLINE_S:g} s: {left}")
    return left


async def _left_to_do(site: Site, bus: TortureBus, customer_load: CustomerLoad, customers: asyncio.Task[None]) -> str:
    """Returns the work that is left, as a sentence; empty at rest."""
    if not customers.done():
        waiting = [order for order, history in customer_load.histories.items() if not history.done]
        return f"customers are waiting for an answer about {', '.join(waiting[:SHOWN])}"
    customers.result()  # an exception here is the rig's own bug, and spoils the round
    try:
        due = await asyncio.to_thread(lambda: list(site.stack.orders.find({"due": {"$exists": True}})))
        unacknowledged = await bus.unacknowledged(site.stack.name)
    except (PyMongoError, OSError, AssertionError) as error:
        return f"the records can't be read: {error}"
    owed = [f"{document['_id']} ({_owed(document)})" for document in due if restless(document)]
    if owed:
        return f"work is left for {', '.join(owed[:SHOWN])}"
    return f"{unacknowledged} events are not acknowledged" if unacknowledged else ""


def _owed(document: dict[str, Any]) -> str:
    """Returns what is in flight for an order: `attempt refunding: refund`, `intent open: cancel`."""
    tasks = [f"attempt {each['state']}: {each['task']['kind']}" for each in attempts(document) if "task" in each]
    intent = document.get("payment", {}).get("intent", {})
    tasks += [f"intent {intent.get('state', 'open')}: {intent['task']['kind']}"] if "task" in intent else []
    return "; ".join(tasks) or "an event to publish"


async def gather(site: Site, bus: TortureBus, customer_load: CustomerLoad, chaos: Chaos) -> RoundRecords:
    """Collect the records of all servers and customers, and one more GET of each payment."""
    orders = await asyncio.to_thread(lambda: {document["_id"]: document for document in site.stack.orders.find()})
    dead_letters = await asyncio.to_thread(
        lambda: [bytes(dead_letter["data"]) for dead_letter in site.stack.dead_letters.find()]
    )
    await _read_payments(site, customer_load, orders)
    records = await asyncio.to_thread(site.servers.stripe.audit)
    dead = [name for name, target in site.all.items() if not target.running]
    return RoundRecords(
        evidence=Evidence(records, list(await bus.events()), orders, dict(customer_load.histories)),
        histories=customer_load.histories,
        dead_letters=dead_letters,
        poison=[data.encode() for _, data in customer_load.poison],
        log=[line for process in site.services for line in lines_of(process.log)],
        unexplained=[
            *chaos.unexplained,
            *(f"{name} has ended by itself\n{site.all[name].log_tail()}" for name in dead),
        ],
    )


async def _read_payments(site: Site, customer_load: CustomerLoad, orders: dict[str, dict[str, object]]) -> None:
    async with Client(site.services[-1].port) as client:
        for order, history in customer_load.histories.items():
            payment = orders.get(order, {}).get("payment")
            if isinstance(payment, dict):
                history.views = [await client.payment(payment["id"], history.user)]


def lines_of(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() if log.exists() else []
