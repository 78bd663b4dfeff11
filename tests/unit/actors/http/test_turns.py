"""`payment.actors.http.turns`: however much clients send, other tasks run between a few answers and the next few."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import pytest

from payment.actors.http.turns import MOST_IN_A_TURN, PAUSE_LEAST_S, REQUESTS_IN_A_TURN, Turns
from payment.actors.messages import ChargeOrder
from tests.unit.actors.http.http_world import FORM, Wire, Written, http_world, raw_post

PIPELINED = 40
REQUESTS = {
    "healthz": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "readyz": b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "document": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    "404": b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    "405": b"OPTIONS /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD": b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "401": b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
}


class CountedLoop:
    """What `Turns` uses of an event loop; a test turns it, and moves its clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.later.append((delay_s, callback))

    def create_future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    def turn(self, takes_s: float = 0.0) -> None:
        """All that was to be called soon; what the first of it begins takes so long."""
        soon, self.soon = self.soon, []
        for place, callback in enumerate(soon):
            callback()
            self.now_s += 0.0 if place else takes_s

    def pause(self) -> float:
        """The pause that was asked for, over now."""
        ((delay_s, callback),) = self.later
        self.later.clear()
        callback()
        return delay_s


async def handled(turns: Turns, count: int) -> list["asyncio.Task[None]"]:
    """So many requests that ask for their turn."""
    tasks = [asyncio.create_task(turns.take()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def done(tasks: list["asyncio.Task[None]"]) -> list[bool]:
    await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_a_few_pass_at_once_and_the_others_in_order() -> None:
    """F51: those who came first go first, and no more than a few in each turn."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    tasks = await handled(turns, 2 * REQUESTS_IN_A_TURN + 1)
    for passed in (REQUESTS_IN_A_TURN, 2 * REQUESTS_IN_A_TURN, 2 * REQUESTS_IN_A_TURN + 1):
        assert await done(tasks) == [place < passed for place in range(len(tasks))]
        loop.turn()
        assert (await done(tasks)).count(True) == passed, "nothing passes before the pause is over"
        if loop.later:
            loop.pause()
    loop.turn()
    assert (len(turns), loop.later) == (0, [])


async def test_the_loop_is_left_to_others_for_as_long_as_a_turn_took() -> None:
    """F51: half of it, whatever is asked for."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    tasks = await handled(turns, 3 * REQUESTS_IN_A_TURN)
    loop.turn()
    assert loop.pause() == PAUSE_LEAST_S, "what the first turn took is not known: it began with others' work"
    loop.turn(takes_s=0.02)
    assert loop.pause() == pytest.approx(0.02)
    loop.turn(takes_s=0.000_1)
    assert all(await done(tasks))


@pytest.mark.parametrize(
    ("others_s", "passed"),
    [(0.0, REQUESTS_IN_A_TURN), (0.0105, 10), (0.0205, 20), (5.0, MOST_IN_A_TURN)],
    ids=["none", "some", "more", "a long time"],
)
async def test_as_many_pass_as_take_no_longer_than_others_took(others_s: float, passed: int) -> None:
    """F39: clients who poll during a sale get half of the loop as well; but no turn of theirs is long."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    turns._request_s = 0.001
    tasks = await handled(turns, 100)
    loop.turn()
    loop.now_s += others_s
    loop.pause()
    assert (await done(tasks)).count(True) == REQUESTS_IN_A_TURN + passed


async def test_what_a_request_costs_is_measured() -> None:
    """By the turns in which they ran; by none more than a fifth."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    before_s = turns._request_s
    await handled(turns, 2 * REQUESTS_IN_A_TURN)
    loop.turn()
    loop.pause()
    loop.turn(takes_s=REQUESTS_IN_A_TURN * 0.001)
    assert turns._request_s == pytest.approx(before_s + 0.2 * (0.001 - before_s))


async def test_requests_that_come_singly_never_wait() -> None:
    """A turn that is not full is followed by the next one without a pause."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    for _ in range(10):
        assert all(await done(await handled(turns, REQUESTS_IN_A_TURN)))
        loop.turn()
    assert loop.later == []


async def test_one_whose_connection_is_gone_takes_no_place() -> None:
    """Its task was cancelled while it waited."""
    loop = CountedLoop()
    turns = Turns(loop)  # type: ignore[arg-type]
    tasks = await handled(turns, 2 * REQUESTS_IN_A_TURN + 1)
    tasks[REQUESTS_IN_A_TURN].cancel()
    await asyncio.sleep(0)
    loop.turn()
    loop.pause()
    assert all(await done(tasks))


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
    """F51: whatever is repeated on however many connections, all is answered, and a few answers are given in a turn."""
    in_a_turn = [0]
    async with http_world() as world:
        listener = world.listener()
        made = [(listener.connection(world.clock.monotonic()), Watched(in_a_turn)) for _ in range(connections)]
        for connection, wire in made:
            connection.connection_made(wire)
            connection.data_received(request_bytes * PIPELINED)

        def all_answered() -> bool:
            in_a_turn.append(0)
            return all(wire.answers == PIPELINED for _, wire in made)

        await world.until(all_answered)
        for connection, _ in made:
            connection.connection_lost(None)
    assert max(in_a_turn) <= MOST_IN_A_TURN
    assert sum(in_a_turn) == connections * PIPELINED


class Paused(Wire):
    """Knows whether it is read."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def test_few_requests_are_read_ahead_of_one_that_waits() -> None:
    """F51: of one connection's requests some dozens are parsed, and nothing more is read, until they are done."""
    async with http_world() as world:
        world.ledger.holding = True
        connection, wire = world.listener().connection(world.clock.monotonic()), Paused()
        connection.connection_made(wire)
        await asyncio.sleep(0)
        body = msgspec.json.encode(FORM)
        charge = raw_post(b"Content-Length: %d\r\n" % len(body), body)
        connection.data_received(charge + REQUESTS["healthz"] * 300)
        await world.ledger.holds(1)
        assert len(connection._messages) <= 32
        assert not wire.reading
        (asked,) = world.ledger.asked
        assert isinstance(asked, ChargeOrder)
        asked.answer.set_result(world.ledger.answer)
        await world.until(lambda: wire.reading and wire.written.count(b"HTTP/1.1 ") == 301)
        connection.connection_lost(None)
