"""`payment.actors.http.pending_requests`: no request waits for ever, and the requests under way leave room for what
matters more.
"""

import asyncio
import math
from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from payment.actors.http.actor import ANSWER_GRACE_S, DRAIN_ANSWER_S, LOOK_WAIT_S
from payment.actors.http.pending_requests import (
    HELD_UP_S,
    LEDGER_RESERVE,
    OVERDUE_EVERY_S,
    ROOM_LEFT_REQUESTS,
    WAITING_REQUESTS,
    PendingRequests,
)
from payment.actors.http.responses import NOTHING_CHARGED, OUTCOME_UNKNOWN
from payment.actors.messages import ChargeOrder, ChargeReply, GetPayment, PaymentReply
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.core.messages import ChargeRequested, Instrument, InstrumentKind
from payment.core.replies import PaymentStatus, Unavailability, Unavailable
from tests.unit.actors.http.http_world import (
    CHARGE_WAIT_S,
    FORM,
    PAID,
    HttpWorld,
    http_world,
    raw_post,
    view,
)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


async def test_requests_that_wait_do_not_hold_up_others(world: HttpWorld) -> None:
    """The port goes on answering while charges wait for their outcome."""
    world.ledger.holding = True
    waiting = [asyncio.create_task(world.post()) for _ in range(20)]
    await world.ledger.holds(20)
    assert (await world.get("/healthz")).status == 200
    for asked in world.ledger.asked:
        assert isinstance(asked, ChargeOrder)
        asked.answer.set_result(ChargeReply(PAID))
    assert {(await each).status for each in waiting} == {201}


async def test_a_ledger_that_never_answers_leaves_no_request_waiting(world: HttpWorld) -> None:
    """F32: a little after the deadline the client is answered that the outcome is unknown, which it is."""
    world.ledger.holding = True
    posting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    await world.clock.advance(CHARGE_WAIT_S)
    assert not posting.done()
    await world.clock.advance(ANSWER_GRACE_S + OVERDUE_EVERY_S)
    got = await posting
    assert (got.status, got.headers["Retry-After"]) == (503, "1")
    assert OUTCOME_UNKNOWN in got.message


async def test_a_look_up_that_is_not_answered_is_503(world: HttpWorld) -> None:
    """F32: the ledger must answer within `LOOK_WAIT_S`; a little later HTTP answers without it."""
    world.ledger.holding = True
    showing = asyncio.create_task(world.show())
    await world.ledger.holds(1)
    (asked,) = world.ledger.asked
    assert asked.deadline == world.clock.monotonic() + LOOK_WAIT_S
    await world.clock.advance(LOOK_WAIT_S)
    assert not showing.done()
    await world.clock.advance(ANSWER_GRACE_S + OVERDUE_EVERY_S)
    got = await showing
    assert (got.status, got.code) == (503, "unavailable")


async def test_a_drain_has_the_ledger_answer_soon(world: HttpWorld) -> None:
    """F33: with what it knows, before the service stops."""
    world.ledger.holding = True
    showing = asyncio.create_task(world.show())
    await world.ledger.holds(1)
    (asked,) = world.ledger.asked
    draining = asyncio.create_task(world.actor.drain())
    await world.until(lambda: world.ledger.answer_by is not None)
    assert world.ledger.answer_by == world.clock.monotonic() + DRAIN_ANSWER_S
    assert isinstance(asked, GetPayment)
    asked.answer.set_result(PaymentReply(view(PaymentStatus.REQUIRES_ACTION, None)))
    assert (await showing).status == 200
    await draining


async def test_a_client_that_goes_away_ends_nothing(world: HttpWorld) -> None:
    """The message stays as it was: its outcome is kept by the document, for the same request to find."""
    world.ledger.holding = True
    _, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    body = msgspec.json.encode(FORM)
    writer.write(raw_post(b"Content-Length: %d\r\n" % len(body), body))
    await world.ledger.holds(1)
    writer.transport.abort()
    assert (await world.get("/healthz")).status == 200
    (message,) = world.ledger.asked
    assert isinstance(message, ChargeOrder)
    assert not message.answer.done()
    message.answer.set_result(ChargeReply(PAID))
    assert (await world.get("/healthz")).status == 200
    assert not world.running.done()


async def test_the_last_room_of_the_ledger_is_kept_for_outcomes_and_events() -> None:
    """F39: charges are refused at once before the mailbox is full, and say that nothing was charged."""
    async with http_world(ledger_messages=LEDGER_RESERVE + 2) as world:
        world.answering.cancel()
        waiting = [asyncio.create_task(world.post()) for _ in range(2)]
        await world.until(lambda: world.mailbox.depth == 2)
        got = await world.post()
        assert (got.status, got.headers["Retry-After"]) == (503, "1")
        assert NOTHING_CHARGED in got.message
        assert (await world.show()).status == 503
        assert world.mailbox.room == LEDGER_RESERVE
        for each in waiting:
            each.cancel()


async def test_no_more_than_the_limit_of_requests_wait_at_once(world: HttpWorld) -> None:
    """F39: memory is bounded whatever the ledger does with its messages."""
    room = PendingRequests(world.mailbox, PublishedEstimate(QueueEstimate(25.0, 25.0)), world.clock)
    world.ledger.holding = True
    loop = asyncio.get_running_loop()
    messages = [_message(loop) for _ in range(WAITING_REQUESTS)]
    waiting = []
    for start in range(0, len(messages), 50):
        waiting += [asyncio.create_task(room.charge(message, 1e9)) for message in messages[start : start + 50]]
        await world.ledger.holds(min(start + 50, len(messages)))
    assert len(room) == WAITING_REQUESTS
    assert await room.charge(_message(loop), 1e9) == ChargeReply(Unavailable(Unavailability.BUSY))
    room.dismiss(Unavailability.STOPPING)
    await room.emptied()
    assert {(await each).reply for each in waiting} == {Unavailable(Unavailability.WRITE_UNKNOWN)}


async def test_there_is_as_much_room_as_charges_before_stripe_leave(world: HttpWorld) -> None:
    """F39: known only where Stripe is the limit; charges that are answered and still queued there are counted too."""
    estimate = PublishedEstimate(QueueEstimate(25.0, 25.0))
    room = PendingRequests(world.mailbox, estimate, world.clock)
    empty = WAITING_REQUESTS - ROOM_LEFT_REQUESTS
    before_limit = math.ceil(HELD_UP_S * 25.0) - 1
    estimate.publish(QueueEstimate(25.0, 25.0, before_limit))
    assert room.room_before_stripe() is None
    queued = before_limit + 1
    estimate.publish(QueueEstimate(25.0, 25.0, queued))
    assert room.room_before_stripe() == empty - queued
    world.ledger.holding = True
    loop = asyncio.get_running_loop()
    waiting = [asyncio.create_task(room.charge(_message(loop), 1e9)) for _ in range(40)]
    await world.ledger.holds(40)
    assert room.room_before_stripe() == empty - queued - 40, "none of them is in the queue yet"
    for message in world.ledger.asked:
        assert isinstance(message, ChargeOrder)
        message.decided.set_result(None)
    estimate.publish(QueueEstimate(25.0, 25.0, 2 * queued, queued, queued))
    room.behind_s()
    assert room.room_before_stripe() == empty - 40, "some of them are in the queue"
    room.dismiss(Unavailability.STOPPING)
    await asyncio.gather(*waiting)


async def test_the_ledger_is_behind_as_long_as_it_owes_a_decision(world: HttpWorld) -> None:
    """F39: what waits for Stripe was decided, and an answer is a decision too."""
    room = PendingRequests(world.mailbox, PublishedEstimate(QueueEstimate(25.0, 25.0)), world.clock)
    world.ledger.holding = True
    messages = [_message(asyncio.get_running_loop()) for _ in range(3)]
    assert room.behind_s() == 0.0
    waiting = []
    for message in messages:
        waiting.append(asyncio.create_task(room.charge(message, 1e9)))
        await asyncio.sleep(0)
        await world.clock.advance(1.0)
    assert room.behind_s() == 3.0
    messages[0].decided.set_result(None)
    assert room.behind_s() == 2.0
    messages[1].answer.set_result(ChargeReply(PAID))
    assert room.behind_s() == 1.0
    room.dismiss(Unavailability.STOPPING)
    assert room.behind_s() == 0.0
    await asyncio.gather(*waiting)


def _message(loop: asyncio.AbstractEventLoop) -> ChargeOrder:
    command = ChargeRequested("o", "u", Instrument(InstrumentKind.TOKEN, "tok_a"))
    return ChargeOrder(command, 1e9, 0.0, "r", loop.create_future())
