"""An operator's questions, answered by one search of the log and by the metrics, also after a restart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bus import CREATED, Bus, in_seconds
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.test_contract_http import cancelled, placed
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.long]

READ_WITHIN_S = 15.0  # the gauges are read from the database every 5 s


async def lines_of(service: ServiceProcess, order: str, event: str) -> list[dict[str, Any]]:
    """Returns the log lines of one event about an order: a line is written before its answer is sent."""

    async def there() -> list[dict[str, Any]]:
        return service.logged(event, order_id=order)

    return await eventually(there, f"{event} of {order}")


async def gauge(service: ServiceProcess, name: str) -> float | None:
    async with Client(service.port) as client:
        shown = await client.metrics()
    values = [line.rpartition(" ")[2] for line in shown.splitlines() if line.startswith(f"payment_{name} ")]
    return float(values[0]) if values else None


async def reads(service: ServiceProcess, name: str, value: float) -> None:
    async def shown() -> bool:
        return await gauge(service, name) == value

    await eventually(shown, f"{name} is {value}", deadline_s=READ_WITHIN_S)


class TestWhyCantIPay:
    """Each refusal of a charge is one line with the order, the user and the code of the answer."""

    async def test_an_order_that_is_unknown_and_one_of_another_user(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        unknown, other = stack.new_order(), await placed(stack, bus)
        assert (await client.pay(unknown)).status == 404
        assert (await client.pay(other, user="u2")).status == 403
        [first] = await lines_of(service, unknown, "charge_refused")
        [second] = await lines_of(service, other, "charge_refused")
        assert (first["code"], first["user_id"], first["level"]) == ("not_found", "u1", "info")
        assert first["request_id"] != second["request_id"]
        assert (second["code"], second["user_id"], second["status"]) == ("not_owner", "u2", 403)

    async def test_an_order_that_is_cancelled_expired_or_paid(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        gone, paid = await placed(stack, bus), await placed(stack, bus)
        late = await placed(stack, bus, expiresAt=in_seconds(0))
        await cancelled(stack, bus, gone)
        assert (await client.pay(paid)).status == 201
        for order, token in ((gone, "tok_visa"), (late, "tok_visa"), (paid, "tok_mastercard")):
            assert (await client.pay(order, token)).status == 409
        codes = [(await lines_of(service, order, "charge_refused"))[0]["code"] for order in (gone, late, paid)]
        assert codes == ["order_cancelled", "order_expired", "already_paid"]

    async def test_a_charge_under_way_and_one_that_is_pending(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        order = await placed(stack, bus)
        stack.stripe.fault("delay", delay_ms=2_800)
        asked = asyncio.create_task(client.pay(order))

        async def begun() -> bool:
            return "payment" in (stack.order(order) or {})

        await eventually(begun, "the charge is under way")
        assert (await client.pay(order, "tok_mastercard")).status == 409
        assert (await asked).status == 202
        [refused] = await lines_of(service, order, "charge_refused")
        [pending] = await lines_of(service, order, "charge_pending")
        assert (refused["code"], pending["code"], pending["status"]) == ("under_way", "pending", 202)

    async def test_a_card_a_token_an_amount_and_a_field(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        """The log line has the bank's true code where the customer gets a generic one; no line has a token."""
        order, small = await placed(stack, bus), await placed(stack, bus, 0.01)
        stolen = await client.pay(order, "tok_chargeDeclinedStolenCard")
        assert stolen.body["errors"][0]["decline_code"] == "generic_decline"
        assert (await client.pay(order, "tok_neverMade")).status == 400
        assert (await client.pay(order, "4242")).status == 400
        assert (await client.pay(small)).status == 422
        found = await lines_of(service, order, "charge_refused")
        assert [line["code"] for line in found] == ["declined", "invalid_card", "invalid_field"]
        assert found[0]["decline_code"] == "stolen_card"
        [amount] = await lines_of(service, small, "charge_refused")
        assert amount["code"] == "amount_not_chargeable"
        refused = [line for line in service.logged("charge_finished", order_id=order) if line["outcome"] == "refused"]
        assert [line["reason"].partition(":")[0] for line in refused] == ["token"]
        assert "tok_neverMade" not in str(service.lines())

    async def test_an_event_that_never_became_an_order(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        """F30: that customer gets 404, and the alarm with the order's id has the reason."""
        order = stack.new_order()
        await bus.publish(CREATED, {"id": order, "version": 0, "status": "created", "ticket": {"price": "free"}})
        [alarm] = await lines_of(service, order, "dead_letter_kept")
        assert (alarm["alarm"], alarm["subject"]) == (True, CREATED)
        await reads(service, "dead_letters_left", stack.dead_letters.count_documents({}))

    async def test_another_user_s_payment(
        self, stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
    ) -> None:
        order = await placed(stack, bus)
        await client.pay(order)
        assert (await client.payment_of(order, "u2")).status == 403
        [line] = await lines_of(service, order, "request_refused")
        assert (line["code"], line["user_id"], line["level"]) == ("not_owner", "u2", "info")


async def test_every_counter_of_an_alarm_is_there_before_the_first(service: ServiceProcess, client: Client) -> None:
    """`increase()` of the first alarm is 1 only where 0 was scraped before."""
    shown = await client.metrics()
    for sample in (
        'payment_alarms_total{event="stray_charge_found"}',
        'payment_dead_letters_total{subject="order:cancelled"}',
        'payment_actor_restarts_total{actor="mongo"}',
        'payment_refusals_total{code="too_many_attempts"}',
    ):
        assert f"{sample} 0.0\n" in shown


async def test_a_blocked_refund_is_known_after_a_restart(servers: Any, tmp_path: Path, bus: Bus) -> None:
    """F44: after kill -9 and a start the gauge counts it at once, and its alarm is logged once more."""
    stack = ServiceStack(servers, tmp_path)
    try:
        process = await stack.start(CHARGE_WAIT_S="2")
        order = await placed(stack, bus)
        async with Client(process.port) as client:
            assert (await client.pay(order, "tok_pendingRefund")).status == 201
        await cancelled(stack, bus, order)
        await lines_of(process, order, "refund_blocked")
        await reads(process, "refunds_blocked", 1)
        process.kill()
        await asyncio.to_thread(process.start)
        await reads(process, "refunds_blocked", 1)
        assert [line["alarm"] for line in process.logged("refund_blocked", order_id=order)] == [True, True]
    finally:
        stack.stop()


async def test_a_stuck_order_is_logged_with_its_reason(servers: Any, tmp_path: Path, bus: Bus) -> None:
    """Stripe hangs; the attempt's first send is moved back by two minutes, as if the test had waited."""
    stack = ServiceStack(servers, tmp_path)
    try:
        process = await stack.start(CHARGE_WAIT_S="2")
        order = await placed(stack, bus)
        stack.stripe.fault("hang", times=None)
        async with Client(process.port) as client:
            assert (await client.pay(order)).status == 202
        made_older(stack, order, timedelta(minutes=2))
        [line] = await eventually_stuck(process, order)
        assert (line["matter"], line["level"], line["attempt"]) == ("outcome", "warning", 1)
        assert line["age_ms"] >= 120_000
        assert line["reason"].startswith("Stripe")
        await reads(process, "orders_stuck", 1)
    finally:
        stack.stop()
        stack.stripe.well()


def made_older(stack: ServiceStack, order: str, by: timedelta) -> None:
    """Move the attempt's first send back by `by`, as waiting would."""
    found = stack.order(order)
    assert found is not None
    found["payment"]["attempts"][0]["firstSent"] -= by
    assert stack.orders.replace_one({"_id": order}, found).modified_count == 1


async def eventually_stuck(process: ServiceProcess, order: str) -> list[dict[str, Any]]:
    async def there() -> list[dict[str, Any]]:
        return process.logged("order_stuck", order_id=order)

    return await eventually(there, f"{order} is logged as stuck", deadline_s=READ_WITHIN_S)
