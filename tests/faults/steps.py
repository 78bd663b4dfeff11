"""What the tests of single faults do and look at, in words.

Owns: nothing. Must never judge what a test is about. Change together with: `tests.e2e.stack`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from payment.adapters.mongo.writes import due_fields
from tests.e2e.bus import Bus
from tests.e2e.client import Answer, Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually

RESUMED_WITHIN_S = 5.0  # after readiness a half-done charge is finished, once Stripe answers definitely (the issue)
WELL_WITHIN_S = 10.0  # after the return of what was away (the issue)


async def placed(stack: ServiceStack, bus: Bus, **other: Any) -> str:
    """An order that the service has heard of."""
    order = stack.new_order()
    await bus.create(order, **other)
    await document(stack, order)
    return order


async def document(stack: ServiceStack, order: str, state: str | None = None) -> dict[str, Any]:
    """The order's document, once its last attempt is in `state`."""

    async def there() -> dict[str, Any]:
        found = stack.order(order) or {}
        attempts = found.get("payment", {}).get("attempts", [{}])
        return found if state is None or attempts[-1].get("state") == state else {}

    return await eventually(there, f"{order} is {state or 'known'}", deadline_s=15.0)


async def pay(process: ServiceProcess, order: str, token: str = "tok_visa") -> Answer:
    async with Client(process.port) as client:
        return await client.pay(order, token)


def asked(process: ServiceProcess, order: str) -> asyncio.Task[Answer]:
    """A request to pay that goes on by itself; one whose process is killed must be `given_up`."""
    return asyncio.create_task(pay(process, order))


async def given_up(request: asyncio.Task[Answer]) -> None:
    await asyncio.gather(request, return_exceptions=True)


async def restarted(process: ServiceProcess) -> float:
    """kill -9 has been; start again. The time of readiness (monotonic)."""
    await asyncio.to_thread(process.start)
    return time.monotonic()


def one_charge(stack: ServiceStack, order: str) -> dict[str, Any]:
    """The order's only succeeded charge."""
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
    """What a minute would do: the order is overdue. (Written whole: nx-27017 keeps a date given to `$set` as text.)"""
    found = stack.order(order)
    assert found is not None
    past = datetime.now(UTC) - timedelta(seconds=5)
    found |= due_fields(past)
    found["payment"]["intent"]["task"]["due"] = past
    assert stack.orders.replace_one({"_id": order, "rev": found["rev"]}, found).modified_count == 1
