"""The trace of each answer that is no success: "why can't I pay?" is one search for the order's id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from payment.actors.http.refusals import (
    LINES_PER_S,
    REPORT_EVERY_S,
    SAME_LINES_PER_S,
    TOGETHER_S,
    USER_LINES_PER_S,
    RefusalLog,
)
from payment.actors.http.responses import GENERIC_DECLINE, ErrorCode
from payment.core.messages import InstrumentKind
from payment.core.replies import (
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    Reply,
    RequiresAction,
    Unavailability,
    Unavailable,
)
from payment.ops.health import Dependency
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.http.http_world import (
    CLIENT_SECRET,
    ORDER_ID,
    OWNER,
    PAYMENT_ID,
    SDK,
    STRIPE_ID,
    HttpWorld,
    bearer,
    http_world,
    view,
)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


REFUSED: list[tuple[Reply | Unavailable, int, str]] = [
    (Denied.UNKNOWN, 404, "not_found"),
    (Denied.NOT_YOURS, 403, "not_owner"),
    (Denied.TOO_MANY_ATTEMPTS, 429, "too_many_attempts"),
    (Conflict.CANCELLED, 409, "order_cancelled"),
    (Conflict.EXPIRED, 409, "order_expired"),
    (Conflict.PAID, 409, "already_paid"),
    (Conflict.UNDER_WAY, 409, "under_way"),
    (AmountRefused("below the minimum"), 422, "amount_not_chargeable"),
    (InstrumentRefused(InstrumentKind.TOKEN, "No such token."), 400, "invalid_card"),
    (CardWasDeclined(PAYMENT_ID, "insufficient_funds", "No funds."), 402, "declined"),
    (Unavailable(Unavailability.BUSY), 503, "unavailable"),
    (Unavailable(Unavailability.WRITE_UNKNOWN), 503, "outcome_unknown"),
]


def of(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


class TestCharges:
    @pytest.mark.parametrize(("reply", "status", "code"), REFUSED, ids=[code for *_, code in REFUSED])
    async def test_each_refusal_is_one_line_with_the_order_the_user_and_the_code(
        self, world: HttpWorld, reply: Reply | Unavailable, status: int, code: str
    ) -> None:
        """At info; the code is the body's own, and the reason the body's message."""
        world.ledger.says(reply)
        with capture_logs() as logs:
            got = await world.post()
        (line,) = of(logs, "charge_refused")
        assert (got.status, got.code) == (line["status"], line["code"]) == (status, code)
        assert (line["order_id"], line["user_id"], line["log_level"]) == (ORDER_ID, OWNER, "info")
        assert line["reason"] == got.message

    async def test_a_hidden_decline_code_is_in_the_log_alone(self, world: HttpWorld) -> None:
        """A thief learns nothing from the answer; the operator finds the true code in the log."""
        world.ledger.says(CardWasDeclined(PAYMENT_ID, "stolen_card", "Your card was stolen."))
        with capture_logs() as logs:
            got = await world.post()
        assert got.errors[0]["decline_code"] == GENERIC_DECLINE
        assert of(logs, "charge_refused")[0]["decline_code"] == "stolen_card"

    async def test_a_bad_field_names_the_order_where_the_request_does(self, world: HttpWorld) -> None:
        """And no value of the request but that."""
        with capture_logs() as logs:
            await world.post({"orderId": ORDER_ID, "token": "4242424242424242"})
            await world.post({"orderId": 7, "token": "tok_visa"})
            await world.post(b"{")
        first, second, third = of(logs, "charge_refused")
        assert (first["order_id"], first["code"], first["status"]) == (ORDER_ID, "invalid_field", 400)
        assert "4242" not in str(first)
        assert (second["order_id"], second["code"]) == (None, "invalid_field")
        assert (third["order_id"], third["code"]) == (None, "invalid_json")

    async def test_a_refusal_before_the_ledger_is_asked_has_its_line_too(self, world: HttpWorld) -> None:
        """F25: MongoDB is away."""
        world.health.mark_down(Dependency.MONGODB, "no primary")
        with capture_logs() as logs:
            await world.post()
        (line,) = of(logs, "charge_refused")
        assert (line["order_id"], line["code"]) == (ORDER_ID, "unavailable")
        assert line["reason"] == "The database can't be used now; nothing was charged by this request"

    @pytest.mark.parametrize(
        ("reply", "code"),
        [(OutcomePending(PAYMENT_ID, ORDER_ID), "pending"), (RequiresAction(PAYMENT_ID, ORDER_ID), "requires_action")],
    )
    async def test_a_charge_that_is_pending_is_a_line_of_its_own(
        self, world: HttpWorld, reply: Reply, code: str
    ) -> None:
        """It is no refusal: `charge_finished` follows. A client secret is in none."""
        world.ledger.says(reply, handover=SDK)
        with capture_logs() as logs:
            assert (await world.post()).status == 202
        (line,) = of(logs, "charge_pending")
        assert (line["order_id"], line["status"], line["code"]) == (ORDER_ID, 202, code)
        assert of(logs, "charge_refused") == []
        assert CLIENT_SECRET not in str(logs)

    async def test_a_charge_that_was_made_has_no_such_line(self, world: HttpWorld) -> None:
        """201 and 200 are said by `charge_finished`."""
        for replayed in (False, True):
            world.ledger.says(Paid(PAYMENT_ID, ORDER_ID, STRIPE_ID, replayed))
            with capture_logs() as logs:
                await world.post()
            assert {line["event"] for line in logs} == {"http_request"}

    async def test_refusals_are_counted_by_their_code(self, world: HttpWorld) -> None:
        """Whatever is logged."""
        world.ledger.says(Conflict.EXPIRED)
        await world.post()
        await world.post(headers={})
        shown = (await world.get("/metrics")).body
        assert b'payment_refusals_total{code="order_expired"} 1.0' in shown
        assert b'payment_refusals_total{code="unauthenticated"} 1.0' in shown
        assert ErrorCode.ORDER_EXPIRED.value == "order_expired"


class TestLookUps:
    async def test_another_user_s_payment_is_a_line_at_info(self, world: HttpWorld) -> None:
        """By its id, or by its order's: with both."""
        for ask in (world.show, lambda headers: world.find(headers=headers)):
            asked: Callable[..., Any] = ask
            with capture_logs() as logs:
                assert (await asked(headers=bearer("u2"))).status == 403
            (line,) = of(logs, "request_refused")
            assert (line["payment_id"], line["order_id"], line["user_id"]) == (PAYMENT_ID, ORDER_ID, "u2")
            assert (line["code"], line["log_level"]) == ("not_owner", "info")

    async def test_a_payment_that_is_not_there_is_a_line_at_debug(self, world: HttpWorld) -> None:
        """Clients poll: that is no news."""
        world.ledger.finds(None)
        with capture_logs() as logs:
            await world.find()
        (line,) = of(logs, "request_refused")
        assert (line["order_id"], line["code"], line["log_level"]) == (ORDER_ID, "not_found", "debug")

    async def test_a_payment_that_is_shown_has_no_line(self, world: HttpWorld) -> None:
        world.ledger.finds(view())
        with capture_logs() as logs:
            await world.show()
        assert of(logs, "request_refused") == []


class TestFloods:
    async def test_one_user_has_a_few_lines_a_second_and_the_rest_is_counted(self, world: HttpWorld) -> None:
        """F39: a client that repeats one order fills neither the log nor the lines of other users."""
        world.ledger.says(Denied.UNKNOWN)
        with capture_logs() as logs:
            for number in range(USER_LINES_PER_S + 5):
                await world.post({"orderId": f"{number:024x}", "token": "tok_visa"})
            await world.post(headers=bearer("u2"))
            await world.clock.advance(REPORT_EVERY_S)
            await world.post()
            await world.clock.advance(REPORT_EVERY_S)
        users = [line["user_id"] for line in of(logs, "charge_refused")]
        assert users == [OWNER] * USER_LINES_PER_S + ["u2", OWNER]
        assert [line["count"] for line in of(logs, "refusals_unlogged")] == [5]

    async def test_repeated_answers_take_no_line_of_the_last_one(self, world: HttpWorld) -> None:
        """F39, F45: after twenty bad cards within a second, the answer that ends it is found by the order's id."""
        world.ledger.says(InstrumentRefused(InstrumentKind.TOKEN, "No such token."))
        with capture_logs() as logs:
            for _ in range(2 * USER_LINES_PER_S):
                await world.post()
            world.ledger.says(Denied.TOO_MANY_ATTEMPTS)
            await world.post()
            await world.clock.advance(REPORT_EVERY_S)
        codes = [line["code"] for line in of(logs, "charge_refused")]
        assert codes == ["invalid_card"] * SAME_LINES_PER_S + ["too_many_attempts"]
        assert [line["count"] for line in of(logs, "refusals_unlogged")] == [2 * USER_LINES_PER_S - SAME_LINES_PER_S]

    async def test_charges_that_are_refused_unparsed_are_counted(self, world: HttpWorld) -> None:
        """F39: only their number is known, and one line says why."""
        with capture_logs() as logs:
            for _ in range(3):
                world.actor.refuse_charge(None)
            await world.clock.advance(REPORT_EVERY_S)
        assert [line["count"] for line in of(logs, "refusals_unlogged")] == [3]
        assert b'payment_refusals_total{code="unavailable"} 3.0' in (await world.get("/metrics")).body

    async def test_many_users_have_so_many_lines_together(self, world: HttpWorld) -> None:
        """F39: a burst of refusals costs a bounded part of the time."""
        world.ledger.says(Denied.UNKNOWN)
        with capture_logs() as logs:
            for number in range(LINES_PER_S + 3):
                await world.post(headers=bearer(f"u{number}"))
            await world.clock.advance(REPORT_EVERY_S)
        assert len(of(logs, "charge_refused")) == LINES_PER_S
        assert [line["count"] for line in of(logs, "refusals_unlogged")] == [3]


# Requests that are rejected before their order is known.


async def test_the_first_is_logged_at_once_and_the_others_together() -> None:
    """One line for each reason and second, with how many there were and the id of one of them."""
    with capture_logs() as lines:
        refusals = RefusalLog(FakeClock(), Metrics(), get_logger())
        for number in range(1_000):
            refusals.rejected(400, "bad", f"r-{number}")
        refusals.rejected(401, "no token was sent", "r-a")
        assert [(line["status"], line["count"], line["request_id"]) for line in lines] == [
            (400, 1, "r-0"),
            (401, 1, "r-a"),
        ]
        refusals._rejected_together((400, "bad"))
        assert (lines[-1]["reason"], lines[-1]["count"], lines[-1]["request_id"]) == ("bad", 999, "r-1")
        refusals.rejected(400, "bad")
        assert len(lines) == 3, "the next second counts together as well"
        refusals._rejected_together((400, "bad"))
        refusals._rejected_together((400, "bad"))
        refusals._rejected_together((401, "no token was sent"))
        assert (len(lines), refusals._rejected) == (4, {})
        refusals.rejected(400, "bad", "r-b")
        assert (lines[-1]["count"], lines[-1]["request_id"]) == (1, "r-b")
    assert {line["event"] for line in lines} == {Event.REQUEST_REFUSED}
    assert TOGETHER_S == 1.0


async def test_what_http_refuses_is_in_the_log(world: HttpWorld) -> None:
    """With its status and why; nothing of what was sent. What is refused of an order has its own line."""
    with capture_logs() as lines:
        await world.post(headers={})
        await world.post(b" " * 20_000)
        await world.raw(b"SECRET nonsense\r\n\r\n")
        await asyncio.sleep(0)
    refused = [(line["status"], line["reason"]) for line in lines if line["event"] == Event.REQUEST_REFUSED]
    assert refused == [
        (401, "no token was sent"),
        (413, "the body is too large"),
        (400, "The request is not proper HTTP, or broke off."),
    ]
    assert "SECRET" not in repr(lines)
