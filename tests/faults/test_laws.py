"""kill -9 at random instants under load, with a Stripe that fails in every way; then a check of the four laws."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.e2e.bus import Bus
from tests.e2e.client import Answer, Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.streaming import NodeBus
from tests.faults.laws import Evidence, OrderRecord, attempts, broken_laws, tally

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ORDERS_IN_A_ROUND = 40
KILL_AFTER_S = (0.05, 1.2)  # after the first request: from the first intent to when most are paid
ASK_AGAIN_S = 0.15  # after a 202, a 503 or a broken connection: an eager client
PATIENCE_S = 3.0  # of one client in one round
REST_DEADLINE_S = 45.0  # a hanging call is given up after 8 s, and a stored error is rechecked at once
REST_CHECK_S = 0.25  # every poll reads all due documents
ACK_WAIT_S = 5.0  # the ack wait for the events of a killed process, instead of the service's own 8 s
FAULTS = {
    "drop_before": 0.05,
    "drop_after": 0.08,
    "error_before": 0.02,
    "error_after": 0.04,
    "cut_body": 0.06,
    "rate_limit": 0.03,
    "lock_timeout": 0.02,
    "html": 0.02,
    "html_after": 0.03,
}
DELAYED = 0.2  # of all requests are delayed by DELAY_MS: a kill hits some of them in transit
DELAY_MS = 300
LATE, LATE_MS = 0.05, 1_500  # of confirms execute LATE_MS after their connection broke


class Traffic:
    """The peer services and clients of one round, whose actions are random."""

    def __init__(
        self, stack: ServiceStack, bus: Bus | NodeBus, random: Random, records: dict[str, OrderRecord]
    ) -> None:
        self.stack, self.bus, self.random, self.records = stack, bus, random, records
        self.processes: list[ServiceProcess] = []

    async def one(self) -> None:
        """Run one order, from its creation to a final answer; some are cancelled at some point, some declined first."""
        order = self.stack.new_order()
        record = self.records[order] = OrderRecord(created=True)
        await self.bus.create(order)
        cancel_in_s = self.random.uniform(0, 0.8) if self.random.random() < 0.25 else None
        tokens = ["tok_chargeDeclined"] if self.random.random() < 0.15 else []
        cancel = asyncio.create_task(self._cancel(order, cancel_in_s))
        for token in [*tokens, "tok_visa"]:
            await self._pay(order, token, record)
        await cancel

    async def _cancel(self, order: str, in_s: float | None) -> None:
        if in_s is None:
            return
        await asyncio.sleep(in_s)
        self.records[order].cancelled = True
        await self.bus.cancel(order)

    async def _pay(self, order: str, token: str, record: OrderRecord) -> None:
        """Repeat a request, to any process, until an answer is final."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            answer = await self._ask(self.random.choice(self.processes), order, token, record)
            if answer is not None and answer.status not in (202, 404, 503):
                return
            await asyncio.sleep(ASK_AGAIN_S)

    async def _ask(self, process: ServiceProcess, order: str, token: str, record: OrderRecord) -> Answer | None:
        try:
            async with Client(process.port) as client:
                answer = await client.pay(order, token)
        except aiohttp.ClientConnectorError:
            return None  # the connection was refused: no request was sent
        except aiohttp.ClientError:
            record.broken += 1
            return None
        record.answers.append(answer)
        return answer


def turn_faults_on(stack: ServiceStack) -> None:
    for fault, probability in FAULTS.items():
        stack.stripe.fault(fault, "*", None, probability=probability)
    stack.stripe.fault("delay", "*", None, probability=DELAYED, delay_ms=DELAY_MS)
    stack.stripe.fault("hang_after", "payment_intents.confirm", 1, probability=0.05)
    # The connection breaks, and the confirm executes later, perhaps after a cancel of the intent.
    stack.stripe.fault("late", "payment_intents.confirm", None, probability=LATE, delay_ms=LATE_MS)


async def a_round(traffic: Traffic, victims: int, random: Random) -> None:
    """Run traffic, kill processes at random instants, and start them at once with the same client ids."""
    turn_faults_on(traffic.stack)
    rush = asyncio.gather(*(traffic.one() for _ in range(ORDERS_IN_A_ROUND)))
    for victim in random.sample(traffic.processes, victims):
        await asyncio.sleep(random.uniform(*KILL_AFTER_S))
        victim.kill()
        await asyncio.to_thread(victim.start)
    await rush
    traffic.stack.stripe.well()


def restless(document: dict[str, Any]) -> bool:
    """Whether an order has work that is due now: a recheck that is not due yet is rest."""
    due = document.get("due")
    if due is None:
        return False
    intent = document.get("payment", {}).get("intent", {})
    tasks = [each["task"] for each in [*attempts(document), intent] if "task" in each]
    published = all("task" not in event for event in document.get("outbox", []))
    return not (published and tasks and all(task["kind"] == "watch" for task in tasks) and due > datetime.now(UTC))


async def at_rest(stack: ServiceStack, bus: Bus | NodeBus) -> None:
    """Return when no work is left. Raises AssertionError with the remaining work after the deadline."""
    end = time.monotonic() + REST_DEADLINE_S
    while True:
        left = [document for document in stack.orders.find({"due": {"$exists": True}}) if restless(document)]
        events = await bus.unacknowledged(stack.name)
        if not left and not events:
            return
        assert time.monotonic() < end, f"no rest: {events} events and {left}"
        await asyncio.sleep(REST_CHECK_S)


async def evidence_of(stack: ServiceStack, bus: Bus | NodeBus, records: dict[str, OrderRecord]) -> Evidence:
    orders = {document["_id"]: document for document in stack.orders.find()}
    return Evidence(stack.stripe.audit(), await bus.events(), orders, records)


@pytest.mark.parametrize(("processes", "seeds"), [(1, (1, 2, 3)), (2, (4, 5, 6))], ids=["one process", "two processes"])
async def test_the_four_laws_hold_over_kill_9_at_random_instants(
    processes: int, seeds: tuple[int, ...], stack: ServiceStack, bus: Bus
) -> None:
    """F03 to F13, F15, F20 to F24: at whatever instant a process dies, all four laws must hold at rest."""
    records: dict[str, OrderRecord] = {}
    running = [stack.service(CHARGE_WAIT_S="3") for _ in range(processes)]
    await asyncio.gather(*(asyncio.to_thread(process.start) for process in running))
    await bus.shorten_ack_wait(stack.name, ACK_WAIT_S)
    for seed in seeds:
        traffic = Traffic(stack, bus, Random(seed), records)
        traffic.processes = running
        await a_round(traffic, processes, Random(seed))
    await at_rest(stack, bus)
    evidence = await evidence_of(stack, bus, records)
    print(tally(evidence))
    assert broken_laws(evidence) == []
    assert sum(len(evidence.charges(order)) for order in records) > ORDERS_IN_A_ROUND
    crashes = [line for each in running for line in each.lines() if line["event"] == "actor_crashed"]
    assert crashes == []
