"""The steps and checks that tests of single faults share.

Owns: nothing. Must never judge: each test does. Change together with: `tests.e2e.stack`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.bus import Bus
from tests.e2e.client import Answer, Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually

RESUMED_WITHIN_S = 5.0  # a half-done charge is finished within this time after readiness, once Stripe answers
WELL_WITHIN_S = 10.0  # time limit after a server's return


async def placed(stack: ServiceStack, bus: Bus, **other: Any) -> str:
    """Publish an order; returns its id once the service has stored it."""
    order = stack.new_order()
    await bus.create(order, **other)
    await document(stack, order)
    return order


async def document(stack: ServiceStack, order: str, state: str | None = None) -> dict[str, Any]:
    """Returns the order's document, once its last attempt is in `state`."""

    async def there() -> dict[str, Any]:
        found = stack.order(order) or {}
        attempts = found.get("payment", {}).get("attempts", [{}])
        return found if state is None or attempts[-1].get("state") == state else {}

    return await eventually(there, f"{order} is {state or 'known'}", deadline_s=15.0)


async def pay(process: ServiceProcess, order: str, token: str = "tok_visa") -> Answer:
    async with Client(process.port) as client:
        return await client.pay(order, token)


def asked(process: ServiceProcess, order: str) -> asyncio.Task[Answer]:
    """Start a request to pay as a task; if its process is killed the test must call `given_up`."""
    return asyncio.create_task(pay(process, order))


async def given_up(request: asyncio.Task[Answer]) -> None:
    await asyncio.gather(request, return_exceptions=True)


async def restarted(process: ServiceProcess) -> float:
    """Start a killed process again. Returns the time of readiness (monotonic)."""
    await asyncio.to_thread(process.start)
    return time.monotonic()


def one_charge(stack: ServiceStack, order: str) -> dict[str, Any]:
    """Returns the order's only succeeded charge."""
    [charge] = [each for each in stack.stripe.charges(order) if each["status"] == "succeeded"]
    return charge


def refunds_of(stack: ServiceStack, charge: dict[str, Any]) -> list[dict[str, Any]]:
    return [refund for refund in stack.stripe.audit()["refunds"] if refund["charge"] == charge["id"]]


async def dependency(process: ServiceProcess, name: str, *, up: bool) -> None:
    async def shown() -> bool:
        found = process.readyz()
        return found is not None and found[1]["dependencies"][name]["up"] is up

    await eventually(shown, f"{name} is shown {'up' if up else 'down'}", deadline_s=WELL_WITHIN_S)


def end_lease(stack: ServiceStack, order: str) -> None:
    """End the lease of an order, as a minute would: the order is overdue. (Written whole: nx-27017 keeps a date given
    to `$set` as text.)
    """
    found = stack.order(order)
    assert found is not None
    past = datetime.now(UTC) - timedelta(seconds=5)
    found["due"] = past
    found["payment"]["intent"]["task"]["due"] = past
    assert stack.orders.replace_one({"_id": order, "rev": found["rev"]}, found).modified_count == 1
