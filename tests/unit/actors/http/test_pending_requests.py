"""`payment.actors.http.pending_requests`: nobody waits for ever, and the requests under way leave room for what matters
more.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from payment.actors.http.actor import ANSWER_GRACE_S, DRAIN_ANSWER_S, LOOK_WAIT_S, SHED_S
from payment.actors.http.connections import FIRST_WORDS_S, KEEPALIVE_S, Connection
from payment.actors.http.pending_requests import (
    HELD_UP_S,
    LEDGER_RESERVE,
    OVERDUE_EVERY_S,
    ROOM_LEFT_REQUESTS,
    WAITING_REQUESTS,
    PendingRequests,
)
from payment.actors.http.request_queue import BEHIND_S, NO_CROWD_REQUESTS
from payment.actors.http.responses import NOTHING_CHARGED, OUTCOME_UNKNOWN
from payment.actors.messages import ChargeOrder, ChargeReply, GetPayment, PaymentReply
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.core.messages import ChargeRequested, Instrument, InstrumentKind
from payment.core.replies import PaymentStatus, Unavailability, Unavailable
from tests.unit.actors.http.http_world import (
    CHARGE_WAIT_S,
    FORM,
    PAID,
    REAL_S,
    Got,
    HttpWorld,
    Wire,
    http_world,
    raw_post,
    read_answer,
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


async def test_a_ledger_that_never_answers_leaves_nobody_waiting(world: HttpWorld) -> None:
    """F32: a little after the deadline the client hears that the outcome is unknown, which it is."""
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
    async with http_world(ledger_letters=LEDGER_RESERVE + 2) as world:
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


async def test_no_more_than_so_many_requests_wait_at_once(world: HttpWorld) -> None:
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


async def test_there_is_as_much_room_as_those_who_were_taken_in_leave(world: HttpWorld) -> None:
    """F39: asked only where Stripe holds people up; who waits is counted, and who waits no more and is charged yet."""
    estimate = PublishedEstimate(QueueEstimate(25.0, 25.0))
    room = PendingRequests(world.mailbox, estimate, world.clock)
    empty = WAITING_REQUESTS - ROOM_LEFT_REQUESTS
    before_held_up = math.ceil(HELD_UP_S * 25.0) - 1
    estimate.publish(QueueEstimate(25.0, 25.0, before_held_up))
    assert room.room_before_stripe() is None
    queued = before_held_up + 1
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


def _message(loop: asyncio.AbstractEventLoop) -> ChargeOrder:
    command = ChargeRequested("o", "u", Instrument(InstrumentKind.TOKEN, "tok_a"))
    return ChargeOrder(command, 1e9, 0.0, "r", loop.create_future())


BODY = msgspec.json.encode(FORM)
ANOTHER = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
WHOLE = raw_post(b"Content-Length: %d\r\nX-Request-ID: r-1\r\n" % len(BODY), BODY)


async def test_while_the_ledger_is_busy_a_crowd_is_told_so_unread(world: HttpWorld) -> None:
    """F39: what it said to one holds for all for a moment, in the same words and headers; then it is asked again."""
    world.ledger.says(Unavailable(Unavailability.BUSY))
    first, second = await world.raw(WHOLE), await world.raw(WHOLE)
    assert len(world.ledger.asked) == 1
    assert (second.status, second.body) == (first.status, first.body) == (503, first.body)
    assert set(first.headers) - set(second.headers) == {"Date"}
    assert {name: first.headers[name] for name in second.headers} == second.headers
    await world.clock.advance(SHED_S)
    world.ledger.says(PAID)
    assert (await world.raw(WHOLE)).status == 201


async def test_what_a_crowd_is_told_keeps_the_connection(world: HttpWorld) -> None:
    """Who is refused comes again: a new connection would cost more than the refusal."""
    world.ledger.says(Unavailable(Unavailability.BUSY))
    await world.raw(WHOLE)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    for _ in range(3):
        writer.write(WHOLE)
        assert (await read_answer(reader)).status == 503
    await world.clock.advance(SHED_S)
    world.ledger.says(PAID)
    writer.write(WHOLE)
    assert (await read_answer(reader)).status == 201
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        raw_post(b"Content-Length: %d\r\n" % (len(BODY) - 1), BODY),
        raw_post(b"Content-Length: %d\r\n" % len(BODY), BODY) * 2,
        raw_post(b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
        WHOLE.replace(b"/payments ", b"/payments/ "),
    ],
    ids=["a body longer than it says", "two at once", "chunks", "another address"],
)
async def test_what_is_not_one_whole_charge_goes_the_long_way_however_busy(sent: bytes, world: HttpWorld) -> None:
    """Only aiohttp's parser says where a request ends, but for the plainest."""
    world.ledger.says(Unavailable(Unavailability.BUSY))
    await world.raw(WHOLE)
    before = len(world.ledger.asked)
    got = await world.raw(sent)
    assert got.status in (400, 503)
    assert got.status == 400 or len(world.ledger.asked) > before


async def test_what_is_told_unread_comes_in_its_turn(world: HttpWorld) -> None:
    """Behind a request that is under way on the same connection it goes the long way: else its answer came first."""
    world.ledger.holding = True
    connection, transport = await _connected(world)
    connection.data_received(WHOLE)
    await world.ledger.holds(1)
    await _busy(world)
    world.ledger.holding = False
    connection.data_received(WHOLE.replace(b"r-1", b"r-2"))
    assert transport.written == b""
    _answer_held(world)
    await world.until(lambda: transport.written.count(b"HTTP/1.1 ") == 2)
    assert [word in transport.written.partition(b"r-2")[0] for word in (b" 201 ", b"r-1", b" 503 ")] == [True] * 3
    connection.connection_lost(None)


async def test_a_crowd_waits_unread_and_is_charged_in_order(world: HttpWorld) -> None:
    """F39: its time counts from when it came, and who sends more does not wait, who hangs up has left."""
    first = await _ledger_is_behind(world)
    crowd = [await _connected(world) for _ in range(NO_CROWD_REQUESTS + 4)]
    for connection, _ in crowd:
        connection._next_keepalive_close_time = 0.0
        connection.data_received(WHOLE)
    kept = [connection for connection, _ in crowd[NO_CROWD_REQUESTS:]]
    assert all(connection._next_keepalive_close_time > 0.0 for connection in kept), "it is not idle while it waits"
    assert b"payment_http_requests_in_line 4.0" in (await world.get("/metrics")).body
    kept[0].data_received(ANOTHER)
    kept[1].connection_lost(None)
    assert len(world.actor._line) == 2
    await world.clock.advance(0.1)
    _answer_held(world, 1)
    assert (await first).status == 201
    await world.ledger.holds(1 + NO_CROWD_REQUESTS + 3)
    left_s = [
        message.deadline - world.clock.monotonic() for message in world.ledger.asked if isinstance(message, ChargeOrder)
    ]
    assert [round(CHARGE_WAIT_S - each, 3) for each in left_s[-2:]] == [0.1, 0.1]
    _answer_held(world, NO_CROWD_REQUESTS + 3)
    answered = [wire for place, (_, wire) in enumerate(crowd) if place != NO_CROWD_REQUESTS + 1]
    await world.until(lambda: all(b" 201 " in wire.written for wire in answered))
    await world.until(lambda: b" 200 " in crowd[NO_CROWD_REQUESTS][1].written.partition(b" 201 ")[2])
    assert crowd[NO_CROWD_REQUESTS + 1][1].written == b""
    for connection, _ in crowd:
        connection.connection_lost(None)


async def test_who_has_a_connection_passes_nobody_who_waits_for_one(world: HttpWorld) -> None:
    """F39: who spoke as soon as it was let in came when it was accepted; who was silent first, when it spoke."""
    first = await _ledger_is_behind(world)
    world.actor._line._looked_at = NO_CROWD_REQUESTS
    accepted_at, now = world.clock.monotonic(), asyncio.get_running_loop().time()
    crowd = {name: await _connected(world) for name in ("has spoken before", "was silent", "comes in")}
    await world.clock.advance(0.1)
    crowd["has spoken before"][0]._take_came_at()
    crowd["was silent"][0]._let_in_at = now - FIRST_WORDS_S - 0.01
    for name, (connection, _) in crowd.items():
        connection.data_received(WHOLE.replace(b"r-1", name.replace(" ", "-").encode()))
    came = {connection: came_at for connection, (came_at, _) in world.actor._line._waiting.items()}
    assert [round(came[connection] - accepted_at, 3) for connection, _ in crowd.values()] == [0.1, 0.1, 0.0]
    _answer_held(world, 1)
    await first
    await world.ledger.holds(4)
    asked = [message.request_id for message in world.ledger.asked if isinstance(message, ChargeOrder)]
    assert asked[1:] == ["comes-in", "has-spoken-before", "was-silent"]
    for connection, _ in crowd.values():
        connection.connection_lost(None)


async def test_who_stands_in_line_when_the_actor_ends_is_told(world: HttpWorld) -> None:
    """F32: nothing of it was read, so nothing was charged."""
    first = await _ledger_is_behind(world)
    world.actor._line._looked_at = NO_CROWD_REQUESTS
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(WHOLE)
    await world.until(lambda: len(world.actor._line) == 1)
    ending = asyncio.create_task(world.actor.teardown())
    await asyncio.sleep(0)
    assert len(world.actor._line) == 0, "it does not hang on whether its turn comes before its connection is closed"
    got = await read_answer(reader)
    assert got.status == 503
    assert NOTHING_CHARGED in got.message
    assert OUTCOME_UNKNOWN in (await first).message
    writer.close()
    await ending


async def test_who_stands_in_line_when_the_house_is_emptied_hears_that(world: HttpWorld) -> None:
    """F33: and not that it is busy."""
    crowd = [await _connected(world) for _ in range(NO_CROWD_REQUESTS + 1)]
    for connection, _ in crowd:
        connection.data_received(WHOLE)
    await world.actor.drain()
    await world.until(lambda: b"stopping" in crowd[-1][1].written)
    for connection, _ in crowd:
        connection.connection_lost(None)


async def test_the_ledger_is_behind_as_long_as_it_owes_a_decision(world: HttpWorld) -> None:
    """What waits for Stripe was decided, and an answer is one too."""
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


async def test_what_looks_like_a_charge_inside_of_a_head_is_none(world: HttpWorld) -> None:
    """Only aiohttp's parser knows where a head ends that comes in pieces."""
    await _busy(world)
    connection, transport = await _connected(world)
    connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    connection.data_received(WHOLE)
    await world.until(lambda: transport.written != b"")
    assert b" 503 " not in transport.written
    connection.connection_lost(None)


async def test_who_is_told_so_unread_is_idle_from_then_on(world: HttpWorld) -> None:
    """Its connection lives as long as any other that was answered."""
    await _busy(world)
    connection, transport = await _connected(world)
    connection._next_keepalive_close_time = 0.0
    connection.data_received(WHOLE)
    assert b" 503 " in transport.written
    assert connection._next_keepalive_close_time == pytest.approx(
        asyncio.get_running_loop().time() + KEEPALIVE_S, abs=1
    )
    connection.connection_lost(None)


@pytest.mark.parametrize("reason", [each for each in Unavailability if each is not Unavailability.BUSY])
async def test_only_that_it_is_busy_is_told_unread(world: HttpWorld, reason: Unavailability) -> None:
    """Of one order a write may have an unknown fate, or its document be illegible: that is said of no other."""
    world.ledger.says(Unavailable(reason))
    await world.raw(WHOLE)
    await world.raw(WHOLE)
    assert len(world.ledger.asked) == 2


async def test_a_house_that_is_being_emptied_says_that_and_not_that_it_is_busy(world: HttpWorld) -> None:
    """F33: and it keeps no connection, however busy it was a moment ago."""
    world.ledger.holding = True
    waiting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    await _busy(world)
    draining = asyncio.create_task(world.actor.drain())
    await world.until(lambda: world.actor._draining)
    got = await world.raw(WHOLE)
    assert (got.status, got.headers["Connection"]) == (503, "close")
    assert "stopping" in got.message
    _answer_held(world)
    await asyncio.wait_for(asyncio.gather(waiting, draining), REAL_S)


async def test_what_is_told_unread_is_counted(world: HttpWorld) -> None:
    """Who watches the service sees the crowd that it turns away."""
    await _busy(world)
    await world.raw(WHOLE)
    render = world.metrics.render()
    assert b'payment_http_requests_total{route="/api/v1/payments",status="503"} 2.0' in render
    assert b'payment_http_request_seconds_count{route="/api/v1/payments"} 2.0' in render


def _answer_held(world: HttpWorld, count: int = 1) -> None:
    """The first of those that the ledger holds are paid."""
    held = [message for message in world.ledger.asked if isinstance(message, ChargeOrder) and not message.answer.done()]
    assert len(held) >= count
    for message in held[:count]:
        message.answer.set_result(ChargeReply(PAID))


async def _connected(world: HttpWorld) -> tuple[Connection, Wire]:
    """A connection whose bytes come when the test says so."""
    connection, transport = world.listener().connection(world.clock.monotonic()), Wire()
    connection.connection_made(transport)
    await asyncio.sleep(0)
    return connection, transport


async def _ledger_is_behind(world: HttpWorld) -> "asyncio.Task[Got]":
    """The ledger has owed somebody a decision for so long that nobody in line is looked at. Gives their request."""
    world.ledger.holding = True
    first = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    await world.clock.advance(BEHIND_S)
    return first


async def _busy(world: HttpWorld) -> None:
    """The ledger has just said to somebody that it is busy."""
    held, world.ledger.holding = world.ledger.holding, False
    world.ledger.says(Unavailable(Unavailability.BUSY))
    assert (await world.raw(WHOLE)).status == 503
    world.ledger.holding = held


@pytest.mark.parametrize("given", [b"r 1", b"r-1\xff", b'"r"', b"r" * 129], ids=["blank", "no ASCII", "quotes", "long"])
async def test_an_id_of_another_shape_is_replaced_there_too(given: bytes, world: HttpWorld) -> None:
    """Nothing of a request is sent back or logged as it came."""
    await _busy(world)
    before = len(world.ledger.asked)
    got = await world.raw(WHOLE.replace(b"r-1", given))
    assert re.fullmatch("[0-9a-f]{32}", got.headers["X-Request-Id"])
    assert (got.status, len(world.ledger.asked)) == (503, before)
