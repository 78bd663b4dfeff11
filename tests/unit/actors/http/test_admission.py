"""`payment.actors.http.admission`: what is refused or waits before any work is done for it."""

import asyncio
import re
from collections.abc import Iterable

import msgspec
import pytest

from payment.actors.http.admission import (
    AT_ONCE,
    BEHIND_S,
    BUSY_S,
    CONNECTIONS_LEAST,
    CONNECTIONS_MAX,
    OTHER_DESCRIPTORS,
    PATIENCE_S,
    QUEUE_LEAST,
    QUEUE_MAX,
    QUEUE_WAIT_S,
    RATE_KEPT_S,
    RATE_WINDOW_S,
    STORE_DESCRIPTORS,
    TURN_S,
    Admission,
    connections_within,
)
from payment.actors.http.connections import KEEPALIVE_S
from payment.actors.http.responses import NOTHING_CHARGED
from payment.actors.messages import ChargeOrder, ChargeReply
from payment.core.replies import Unavailability, Unavailable
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.http.http_world import (
    CHARGE_WAIT_S,
    FORM,
    PAID,
    REAL_S,
    HttpWorld,
    Wire,
    Written,
    http_world,
    raw_post,
    read_answer,
)

STRIPE_CONNECTIONS = 301
"""What `payment.actors.stripe.queues` asks for."""


class Queue:
    """An admission, what it reads, and charges that wait in it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.behind_s = 0.0
        self.room: int | None = None
        self.admission = Admission(self.clock, lambda: self.behind_s, lambda: self.room)
        self.passed: list[int] = []
        self.refused: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, count: int) -> None:
        """Let `count` charges arrive."""
        self.tasks += [asyncio.create_task(self._charge(len(self.tasks) + number)) for number in range(count)]
        await asyncio.sleep(0)

    async def _charge(self, number: int) -> None:
        (self.passed if await self.admission.charge_turn() else self.refused).append(number)

    async def all_pass(self) -> None:
        """The ledger catches up."""
        self.behind_s = 0.0
        await asyncio.gather(*self.tasks)

    async def is_served(self, per_s: float) -> None:
        """Charges pass at this rate for `RATE_WINDOW_S`, and the queue is never empty."""
        if not self.admission._waiting:
            await self.come(1)
            self.admission._waiting += 1
            await asyncio.gather(*self.tasks)
        await self.come(round(per_s * RATE_WINDOW_S) - 1 - self.admission._passed)
        await asyncio.gather(*self.tasks)
        await self.clock.advance(RATE_WINDOW_S)
        await self.come(1)
        await asyncio.gather(*self.tasks)
        self.tasks.clear()

    async def waits(self, count: int) -> None:
        """The ledger is behind, and `count` more charges wait for it."""
        self.behind_s = BEHIND_S
        await self.come(count)


# When a charge is handled, and how many may wait.


async def test_charges_pass_in_order_and_a_few_in_a_turn() -> None:
    """F39: a burst holds up the loop, and the answers to others, for a moment only."""
    queue = Queue()
    await queue.come(5 * AT_ONCE)
    in_a_turn = []
    while len(queue.passed) < 5 * AT_ONCE:
        before = len(queue.passed)
        await asyncio.sleep(0)
        in_a_turn.append(len(queue.passed) - before)
    assert max(in_a_turn) == AT_ONCE
    assert queue.passed == list(range(5 * AT_ONCE))


async def test_no_charge_passes_while_the_ledger_is_behind() -> None:
    """F39: what the ledger can't decide yet waits here, where it can still be counted."""
    queue = Queue()
    await queue.waits(AT_ONCE + 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert queue.passed == []
    queue.behind_s = BEHIND_S - 0.01
    await queue.all_pass()
    assert queue.passed == list(range(AT_ONCE + 1))


async def test_a_ledger_that_has_come_to_a_halt_leaves_no_charge_waiting() -> None:
    """F32: after `PATIENCE_S` each is refused, and nothing was charged."""
    queue = Queue()
    await queue.waits(3 * AT_ONCE)
    await queue.clock.advance(PATIENCE_S)
    await asyncio.wait(queue.tasks, timeout=REAL_S)
    assert (queue.passed, len(queue.refused)) == ([], 3 * AT_ONCE)
    queue.behind_s = 0.0
    await queue.come(1)
    await queue.all_pass()
    assert queue.passed == [3 * AT_ONCE]


async def test_a_stop_lets_all_charges_pass() -> None:
    """F33: the handler says that the service stops, however busy it is."""
    queue = Queue()
    queue.admission.ledger_was_busy()
    await queue.waits(3 * AT_ONCE)
    queue.admission.end()
    await asyncio.gather(*queue.tasks)
    assert len(queue.passed) == 3 * AT_ONCE
    assert queue.admission.admits_charge()


async def test_a_client_that_is_gone_while_it_waits_takes_no_place() -> None:
    """F39: nor does it hold up the others."""
    queue = Queue()
    await queue.waits(2 * AT_ONCE)
    for task in queue.tasks[: AT_ONCE + 1]:
        task.cancel()
    await asyncio.wait(queue.tasks[: AT_ONCE + 1])
    assert queue.admission._waiting == AT_ONCE - 1
    queue.behind_s = 0.0
    await asyncio.gather(*queue.tasks[AT_ONCE + 1 :])
    assert queue.passed == list(range(AT_ONCE + 1, 2 * AT_ONCE))


async def test_as_many_charges_are_admitted_as_come_when_a_sale_begins() -> None:
    """F39: before any rate is known."""
    queue = Queue()
    await queue.waits(QUEUE_MAX - 1)
    assert queue.admission.admits_charge()
    await queue.come(1)
    assert not queue.admission.admits_charge()
    queue.admission.end()
    await queue.all_pass()


@pytest.mark.parametrize(
    ("per_s", "limit"),
    [(400, round(400 * QUEUE_WAIT_S)), (2, QUEUE_LEAST), (1_400, QUEUE_MAX)],
    ids=["usual", "slow", "fast"],
)
async def test_no_more_charges_wait_than_pass_in_time(per_s: int, limit: int) -> None:
    """F39: what is admitted waits for `QUEUE_WAIT_S`, at the rate at which the queue was served."""
    queue = Queue()
    await queue.is_served(per_s)
    await queue.waits(limit - 2)
    assert queue.admission.admits_charge()
    await queue.come(1)
    assert not queue.admission.admits_charge()
    queue.admission.end()
    await queue.all_pass()


async def test_a_rate_that_changes_moves_the_limit_by_half() -> None:
    """F39: a store that takes a second for once must not lead to refusals."""
    queue = Queue()
    await queue.is_served(600)
    assert queue.admission._limit == 600 * QUEUE_WAIT_S
    await queue.is_served(400)
    assert queue.admission._limit == 500 * QUEUE_WAIT_S


async def test_the_next_queue_begins_without_a_rate() -> None:
    """F39: that of one burst says nothing of the next one."""
    queue = Queue()
    await queue.is_served(400)
    assert queue.admission._limit < QUEUE_MAX
    queue.admission._waiting = 0
    await queue.come(1)
    assert queue.admission._limit == QUEUE_MAX
    await queue.all_pass()


async def test_an_overload_that_lasts_is_not_admitted_anew() -> None:
    """F39: the queue may be empty for an instant; the rate holds until nothing has been refused for a while."""
    queue = Queue()
    await queue.is_served(400)
    limit = queue.admission._limit
    queue.admission._waiting = limit
    assert not queue.admission.admits_charge()
    for passed_s, expected in ((RATE_KEPT_S * 0.9, limit), (RATE_KEPT_S * 0.1, QUEUE_MAX)):
        queue.admission._waiting = 0
        await queue.clock.advance(passed_s)
        await queue.come(1)
        assert queue.admission._limit == expected
        await queue.all_pass()


async def test_before_stripe_as_many_are_admitted_as_may_be_pending() -> None:
    """F39: where charges wait for Stripe afterwards, a refusal saves no time; the room is the limit."""
    queue = Queue()
    await queue.waits(QUEUE_LEAST)
    for room, admitted in ((QUEUE_LEAST + 1, True), (QUEUE_LEAST, False), (0, False), (None, True)):
        queue.room = room
        assert queue.admission.admits_charge() is admitted
    queue.admission._limit = QUEUE_LEAST
    assert not queue.admission.admits_charge()
    queue.room = 11_500
    assert queue.admission.admits_charge()
    await queue.all_pass()


async def test_every_charge_is_refused_for_a_moment_after_the_ledger_was_busy() -> None:
    """F39: then the ledger is asked again."""
    queue = Queue()
    queue.admission.ledger_was_busy()
    assert not queue.admission.admits_charge()
    await queue.clock.advance(BUSY_S * 0.99)
    assert not queue.admission.admits_charge()
    await queue.clock.advance(BUSY_S * 0.01)
    assert queue.admission.admits_charge()


# Over HTTP.

BODY = msgspec.json.encode(FORM)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHARGE = raw_post(b"Content-Length: %d\r\nX-Request-ID: r-1\r\n" % len(BODY), BODY)


async def _busy(world: HttpWorld) -> None:
    """The ledger has just refused a charge."""
    held, world.ledger.holding = world.ledger.holding, False
    world.ledger.says(Unavailable(Unavailability.BUSY))
    assert (await world.raw(CHARGE)).status == 503
    world.ledger.holding = held


def _answer_held(world: HttpWorld) -> None:
    """The charges that the ledger holds are paid."""
    for message in world.ledger.asked:
        if isinstance(message, ChargeOrder) and not message.answer.done():
            message.answer.set_result(ChargeReply(PAID))


async def test_a_charge_that_is_refused_unparsed_gets_the_ledgers_answer() -> None:
    """F39: the same words and headers, on a connection that is kept; after a moment the ledger is asked again."""
    async with http_world() as world:
        world.ledger.says(Unavailable(Unavailability.BUSY))
        first = await world.raw(CHARGE)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
        for _ in range(3):
            writer.write(CHARGE)
            again = await asyncio.wait_for(read_answer(reader), REAL_S)
            assert (again.status, again.body) == (first.status, first.body) == (503, first.body)
            assert set(first.headers) - set(again.headers) == {"Date"}
            assert {name: first.headers[name] for name in again.headers} == again.headers
        assert NOTHING_CHARGED in again.message
        assert len(world.ledger.asked) == 1
        await world.clock.advance(BUSY_S)
        world.ledger.says(PAID)
        writer.write(CHARGE)
        assert (await asyncio.wait_for(read_answer(reader), REAL_S)).status == 201
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        raw_post(b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
        raw_post(b"Content-Length: %d\r\n" % (len(BODY) + 1), BODY),
        raw_post(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(BODY)),
        raw_post(b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: %d\r\n" % len(BODY), BODY),
        CHARGE * 2,
        CHARGE.replace(b"/payments ", b"/payments/ "),
        CHARGE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        raw_post(b"Content-Length: %d\r\n" % len(BODY), BODY, token="Bearer x"),
    ],
    ids=["chunks", "half a body", "an expectation", "an upgrade", "two at once", "a slash", "HTTP/1.0", "no identity"],
)
async def test_a_busy_service_refuses_a_charge_before_it_is_read_or_verified(sent: bytes) -> None:
    """F39: also one that goes through aiohttp's whole server."""
    async with http_world() as world:
        await _busy(world)
        assert (await world.raw(sent)).status == 503
        assert len(world.ledger.asked) == 1


async def test_each_of_two_charges_in_one_packet_is_answered() -> None:
    """F39: what follows a charge is never taken for a part of it."""
    async with http_world() as world:
        await _busy(world)
        connection, wire = await world.connected()
        connection.data_received(CHARGE + CHARGE.replace(b"r-1", b"r-2"))
        await world.until(lambda: wire.written.count(b" 503 ") == 2)
        assert (wire.written.count(b"r-1"), wire.written.count(b"r-2")) == (1, 1)
        connection.connection_lost(None)


async def test_a_refusal_is_never_written_before_the_answer_ahead_of_it() -> None:
    """F39: behind a request that is under way on the same connection it waits."""
    async with http_world() as world:
        world.ledger.holding = True
        connection, wire = await world.connected()
        connection.data_received(CHARGE)
        await world.ledger.holds(1)
        await _busy(world)
        connection.data_received(CHARGE.replace(b"r-1", b"r-2"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert wire.written == b""
        _answer_held(world)
        await world.until(lambda: wire.written.count(b"HTTP/1.1 ") == 2)
        assert [word in wire.written.partition(b"r-2")[0] for word in (b" 201 ", b"r-1", b" 503 ")] == [True] * 3
        connection.connection_lost(None)


async def test_what_looks_like_a_charge_inside_a_head_is_none() -> None:
    """F37: aiohttp's parser says where a head ends that comes in pieces."""
    async with http_world() as world:
        await _busy(world)
        connection, wire = await world.connected()
        connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-")
        connection.data_received(CHARGE)
        await world.until(lambda: wire.written != b"")
        assert b" 503 " not in wire.written
        connection.connection_lost(None)


async def test_a_connection_whose_charge_was_refused_is_idle_from_then_on() -> None:
    """It lives as long as any other that was answered, and gives way to a new one like any other."""
    async with http_world() as world:
        await _busy(world)
        (connection, wire), (other, _) = await world.connected(), await world.connected()
        connection._next_keepalive_close_time = 0.0
        connection.data_received(CHARGE)
        assert b" 503 " in wire.written
        now = asyncio.get_running_loop().time()
        assert connection._next_keepalive_close_time == pytest.approx(now + KEEPALIVE_S, abs=1)
        assert list(world.server.idle)[-2:] == [other, connection]
        for each in (connection, other):
            each.connection_lost(None)


@pytest.mark.parametrize("reason", [each for each in Unavailability if each is not Unavailability.BUSY])
async def test_only_a_busy_ledger_makes_other_charges_refused(reason: Unavailability) -> None:
    """F26: a write of one order may have an unknown fate, or its document be corrupt: that is said of no other."""
    async with http_world() as world:
        world.ledger.says(Unavailable(reason))
        await world.raw(CHARGE)
        await world.raw(CHARGE)
        assert len(world.ledger.asked) == 2


async def test_a_service_that_stops_says_so_and_not_that_it_is_busy() -> None:
    """F33: and it keeps no connection, however busy it was a moment ago."""
    async with http_world() as world:
        world.ledger.holding = True
        waiting = asyncio.create_task(world.post())
        await world.ledger.holds(1)
        await _busy(world)
        draining = asyncio.create_task(world.actor.drain())
        await world.until(lambda: world.actor._draining)
        got = await world.raw(CHARGE)
        assert (got.status, got.headers["Connection"]) == (503, "close")
        assert "stopping" in got.message
        _answer_held(world)
        await asyncio.wait_for(asyncio.gather(waiting, draining), REAL_S)


async def test_charges_that_are_refused_unparsed_are_in_the_metrics() -> None:
    """F39: an operator sees the burst that is refused."""
    async with http_world() as world:
        await _busy(world)
        await world.raw(CHARGE)
        render = world.metrics.render()
        assert b'payment_http_requests_total{route="/api/v1/payments",status="503"} 2.0' in render
        assert b'payment_http_request_seconds_count{route="/api/v1/payments"} 2.0' in render


@pytest.mark.parametrize("given", [b"r 1", b"r-1\xff", b'"r"', b"r" * 129], ids=["blank", "no ASCII", "quotes", "long"])
async def test_a_request_id_of_another_shape_is_replaced_there_too(given: bytes) -> None:
    """F37: nothing of a request is sent back or logged as it came."""
    async with http_world() as world:
        await _busy(world)
        got = await world.raw(CHARGE.replace(b"r-1", given))
        assert re.fullmatch("[0-9a-f]{32}", got.headers["X-Request-Id"])
        assert (got.status, len(world.ledger.asked)) == (503, 1)


async def test_a_burst_waits_and_its_wait_counts() -> None:
    """F39: the deadline of a charge counts from its arrival, and a stop answers what waits."""
    async with http_world() as world:
        world.ledger.holding = True
        first = asyncio.create_task(world.post())
        await world.ledger.holds(1)
        await world.clock.advance(BEHIND_S)
        second = asyncio.create_task(world.post())
        await world.until(lambda: world.actor._admission._waiting == 1)
        await world.clock.advance(0.1)
        _answer_held(world)
        assert (await first).status == 201
        await world.ledger.holds(2)
        message = world.ledger.asked[1]
        assert message.deadline - world.clock.monotonic() == pytest.approx(CHARGE_WAIT_S - 0.1)
        await world.clock.advance(BEHIND_S)
        third = asyncio.create_task(world.post())
        await world.until(lambda: world.actor._admission._waiting == 1)
        draining = asyncio.create_task(world.actor.drain())
        got = await third
        assert (got.status, "stopping" in got.message, NOTHING_CHARGED in got.message) == (503, True, True)
        _answer_held(world)
        assert (await second).status == 201
        await draining


async def test_a_client_that_leaves_before_its_turn_is_not_charged() -> None:
    """F39: nothing has begun for it, and the queue is served for those who wait."""
    async with http_world() as world:
        world.ledger.holding = True
        first = asyncio.create_task(world.post())
        await world.ledger.holds(1)
        await world.clock.advance(BEHIND_S)
        connection, wire = await world.connected()
        connection.data_received(CHARGE)
        await world.until(lambda: world.actor._admission._waiting == 1)
        wire.close()
        _answer_held(world)
        await world.until(lambda: world.actor._admission._waiting == 0)
        assert (await first).status == 201
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(world.ledger.asked) == 1
        assert b" 201 " not in wire.written
        connection.connection_lost(None)


# Requests that need no reply of the ledger.

PIPELINED = 40
REQUESTS = {
    "healthz": GET,
    "readyz": b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "document": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    "404": b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    "405": b"OPTIONS /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD": b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "401": b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
}


class Watched(Wire):
    """Counts how many answers are written before other tasks run."""

    def __init__(self, in_a_turn: list[int]) -> None:
        super().__init__()
        self.in_a_turn = in_a_turn

    def write(self, data: Written) -> None:
        super().write(data)
        self.in_a_turn[-1] += bytes(data).count(b"HTTP/1.1 ")

    def writelines(self, list_of_data: Iterable[Written]) -> None:
        self.write(b"".join(list_of_data))

    @property
    def answers(self) -> int:
        return self.written.count(b"HTTP/1.1 ")


@pytest.mark.parametrize("connections", [1, 16])
@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS.keys())
async def test_others_run_between_pipelined_requests(request_bytes: bytes, connections: int) -> None:
    """F51: whatever is repeated on however many connections, all is answered, one in each turn of the loop."""
    in_a_turn = [0]
    async with http_world() as world:
        made = [(world.server(), Watched(in_a_turn)) for _ in range(connections)]
        for connection, wire in made:
            connection.connection_made(wire)
            connection.data_received(request_bytes * PIPELINED)

        def all_answered() -> bool:
            in_a_turn.append(0)
            return all(wire.answers == PIPELINED for _, wire in made)

        await world.until(all_answered)
        for connection, _ in made:
            connection.connection_lost(None)
    assert max(in_a_turn) == 1
    assert sum(in_a_turn) == connections * PIPELINED


async def test_turns_that_follow_one_another_leave_the_loop_time() -> None:
    """F51: one that comes alone does not wait; the next one waits for a timer."""
    admission = Queue().admission
    happened: list[str] = []
    alone, next_one = asyncio.create_task(admission.turn()), asyncio.create_task(admission.turn())
    asyncio.get_running_loop().call_later(TURN_S * 0.9, happened.append, "a shorter timer")
    await alone
    assert happened == []
    await next_one
    assert happened == ["a shorter timer"]


async def test_turns_come_in_the_order_of_the_requests() -> None:
    """F51: and one whose client is gone while it waits holds up none."""
    admission, passed = Queue().admission, []

    async def request(number: int) -> None:
        await admission.turn()
        passed.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert passed == [0, 1, 3, 4]


# How many connections there may be.


@pytest.mark.parametrize("descriptors", [64, 256, 512, 1_024, 2_560, 4_096, 10_240, 32_768, 65_536, 2**30])
def test_what_stripe_and_the_store_need_is_left(descriptors: int) -> None:
    """F51: their reserve, or half of all where there are few; and some for connections that are being closed."""
    connections = connections_within(descriptors, STRIPE_CONNECTIONS)
    left = descriptors - connections
    assert left > min(STRIPE_CONNECTIONS + STORE_DESCRIPTORS + OTHER_DESCRIPTORS, descriptors // 2)
    assert CONNECTIONS_LEAST <= connections <= CONNECTIONS_MAX


def test_as_many_as_are_wanted_fit_into_the_limit_that_is_asked_for() -> None:
    """What `payment.process.file_limit` raises it to."""
    assert connections_within(32_768, STRIPE_CONNECTIONS) == CONNECTIONS_MAX
