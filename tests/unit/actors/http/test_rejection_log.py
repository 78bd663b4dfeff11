"""`payment.actors.http.rejection_log`: a flood of bad requests leaves a trace, and does not flood the log."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from structlog.testing import capture_logs

from payment.actors.http import rejection_log as http_rejections
from payment.actors.http.rejection_log import Rejections
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from tests.unit.actors.http.http_world import HttpWorld, http_world


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


async def test_the_first_is_logged_at_once_and_the_others_together() -> None:
    """One line for each reason and second, with how many there were and the id of one of them."""
    with capture_logs() as lines:
        refusals = Rejections(get_logger())
        for number in range(1_000):
            refusals.note(400, "bad", f"r-{number}")
        refusals.note(401, "no token was sent", "r-a")
        assert [(line["status"], line["count"], line["request_id"]) for line in lines] == [
            (400, 1, "r-0"),
            (401, 1, "r-a"),
        ]
        refusals._second_over((400, "bad"))
        assert (lines[-1]["reason"], lines[-1]["count"], lines[-1]["request_id"]) == ("bad", 999, "r-1")
        refusals.note(400, "bad")
        assert len(lines) == 3, "the next second counts together as well"
        refusals._second_over((400, "bad"))
        refusals._second_over((400, "bad"))
        refusals._second_over((401, "no token was sent"))
        assert (len(lines), refusals._lately) == (4, {})
        refusals.note(400, "bad", "r-b")
        assert (lines[-1]["count"], lines[-1]["request_id"]) == (1, "r-b")
    assert {line["event"] for line in lines} == {Event.REQUEST_REFUSED}
    assert http_rejections.TOGETHER_S == 1.0


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
