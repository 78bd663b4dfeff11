"""`payment.actors.http_waiting`: nobody waits for ever, and the requests under way leave room for what matters more."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from payment.actors import http_waiting
from payment.actors.actor import ActorCrashed
from payment.actors.http import ANSWER_GRACE_S, LOOKUP_WAIT_S, SHED_S
from payment.actors.http_waiting import LEDGER_RESERVE, OVERDUE_EVERY_S, WaitingRoom
from payment.actors.letters import ChargeAsked
from payment.core.messages import ChargeRequested
from payment.core.replies import Answer, Unavailability, Unavailable
from payment.edge.answers import NOTHING_CHARGED, OUTCOME_UNKNOWN
from tests.actors.http_world import (
    CHARGE_WAIT_S,
    FORM,
    PAID,
    HttpWorld,
    http_world,
    raw_post,
    read_answer,
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
    for letter in world.ledger.asked:
        letter.answer.set_result(Answer(PAID))
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
    """Reading has a bound of its own."""
    world.ledger.holding = True
    showing = asyncio.create_task(world.show())
    await world.ledger.holds(1)
    await world.clock.advance(LOOKUP_WAIT_S + OVERDUE_EVERY_S)
    assert (await showing).status == 503


@pytest.mark.parametrize(("write_sent", "words"), [(True, OUTCOME_UNKNOWN), (False, NOTHING_CHARGED)])
async def test_a_ledger_that_dies_answers_its_callers(world: HttpWorld, write_sent: bool, words: str) -> None:
    """F32: nothing was charged is said only where the request had not entered a write."""
    world.ledger.holding = True
    posting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    (letter,) = world.ledger.asked
    assert isinstance(letter, ChargeAsked)
    letter.write_sent = write_sent
    letter.answer.set_exception(ActorCrashed("mongo"))
    got = await posting
    assert got.status == 503
    assert words in got.message


async def test_a_client_that_goes_away_ends_nothing(world: HttpWorld) -> None:
    """The letter stays as it was: its outcome is kept by the document, for the same request to find."""
    world.ledger.holding = True
    _, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    body = msgspec.json.encode(FORM)
    writer.write(raw_post(b"Content-Length: %d\r\n" % len(body), body))
    await world.ledger.holds(1)
    writer.transport.abort()
    assert (await world.get("/healthz")).status == 200
    (letter,) = world.ledger.asked
    assert not letter.answer.done()
    letter.answer.set_result(Answer(PAID))
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
    """F39: memory is bounded whatever the ledger does with its letters."""
    room = WaitingRoom(world.mailbox, world.clock)
    world.ledger.holding = True
    loop = asyncio.get_running_loop()
    letters = [_letter(loop) for _ in range(http_waiting.WAITING_REQUESTS)]
    waiting = []
    for start in range(0, len(letters), 50):
        waiting += [asyncio.create_task(room.charge(letter, 1e9)) for letter in letters[start : start + 50]]
        await world.ledger.holds(min(start + 50, len(letters)))
    assert len(room) == http_waiting.WAITING_REQUESTS
    assert await room.charge(_letter(loop), 1e9) == Answer(Unavailable(Unavailability.BUSY))
    room.dismiss(Unavailability.STOPPING)
    await room.emptied()
    assert {(await each).reply for each in waiting} == {Unavailable(Unavailability.WRITE_UNKNOWN)}


def _letter(loop: asyncio.AbstractEventLoop) -> ChargeAsked:
    return ChargeAsked(ChargeRequested("o", "u", "tok_a", "p"), 1e9, 0.0, "r", loop.create_future())


BODY = msgspec.json.encode(FORM)
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


async def test_an_id_of_another_shape_is_replaced_there_too(world: HttpWorld) -> None:
    """Nothing of a request is sent back or logged as it came."""
    world.ledger.says(Unavailable(Unavailability.BUSY))
    await world.raw(WHOLE)
    got = await world.raw(WHOLE.replace(b"r-1", b"r 1\xff"))
    assert (got.status, got.headers["X-Request-Id"]) != (503, "r 1\xff")
    assert len(world.ledger.asked) == 1
