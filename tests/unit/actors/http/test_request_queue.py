"""`payment.actors.http.request_queue`: a burst waits unparsed, in order, or is refused at once."""

import asyncio
import math

import pytest

from payment.actors.http.request_queue import (
    BEHIND_S,
    LINE_REQUESTS,
    LINE_WAIT_S,
    LOOK_AGAIN_S,
    LOOKED_AT_IN_A_TURN,
    NO_CROWD_REQUESTS,
    PACE_WINDOW_S,
    PATIENCE_S,
    SHORTEST_LINE_REQUESTS,
    RequestQueue,
)
from payment.actors.runtime.position_queue import STALE_POSITIONS_MAX
from tests.support.fakes.clock import FakeClock


class Person:
    """One who calls, and what became of the request."""

    def __init__(self, number: int, told: list[tuple[int, str]]) -> None:
        self.number = number
        self.told = told

    def look_at(self, data: bytes, in_line_s: float) -> None:
        assert data == b"%d" % self.number
        self.told.append((self.number, f"looked at after {in_line_s:g} s"))

    def refuse(self, data: bytes) -> None:
        assert data == b"%d" % self.number
        self.told.append((self.number, "refused"))


class Acceptor:
    """A line, a ledger that is behind and a Stripe that holds people up as the test says, and people."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.behind_s = 0.0
        self.room: int | None = None
        self.unheard_since = math.inf
        self.listened_ago_s = 0.0
        self.line = RequestQueue(
            self.clock,
            lambda: self.behind_s,
            lambda: self.room,
            lambda: self.unheard_since,
            lambda: self.clock.monotonic() - self.listened_ago_s,
        )
        self.told: list[tuple[int, str]] = []
        self.people: list[Person] = []

    def comes(self, came_at: float | None = None) -> bool:
        """Somebody comes now, or came then and is heard now. True if they are to be looked at right away."""
        person = Person(len(self.people), self.told)
        self.people.append(person)
        return not self.line.take(person, b"%d" % person.number, came_at)

    def come(self, count: int) -> int:
        """So many come in one turn of the loop. How many are looked at right away."""
        return sum(self.comes() for _ in range(count))

    def numbers(self, word: str) -> list[int]:
        return [number for number, said in self.told if said.startswith(word)]

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def look_again(self) -> None:
        await asyncio.sleep(3 * LOOK_AGAIN_S)


@pytest.fixture
def acceptor() -> Acceptor:
    return Acceptor()


async def test_what_is_no_crowd_is_looked_at_as_it_comes(acceptor: Acceptor) -> None:
    """Turn after turn, and nobody is kept, however far behind the ledger is: it says so itself."""
    acceptor.behind_s = 2 * BEHIND_S
    for _ in range(3):
        assert acceptor.come(NO_CROWD_REQUESTS) == NO_CROWD_REQUESTS
        await acceptor.turn()
    assert (acceptor.told, len(acceptor.line)) == ([], 0)


async def test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn(acceptor: Acceptor) -> None:
    """F39: who comes later stands behind, also where there would be room in this turn."""
    beyond = LOOKED_AT_IN_A_TURN + 3
    assert acceptor.come(NO_CROWD_REQUESTS + beyond) == NO_CROWD_REQUESTS
    assert (len(acceptor.line), acceptor.told) == (beyond, [])
    acceptor.clock.oversleep(0.1)
    await acceptor.turn()
    assert acceptor.come(1) == 0
    waiting = list(range(NO_CROWD_REQUESTS, NO_CROWD_REQUESTS + beyond + 1))
    assert acceptor.numbers("looked at") == waiting[:LOOKED_AT_IN_A_TURN]
    await acceptor.turn()
    assert acceptor.numbers("looked at") == waiting
    assert [said for _, said in acceptor.told[:1] + acceptor.told[-1:]] == [
        "looked at after 0.1 s",
        "looked at after 0 s",
    ]
    await acceptor.turn()
    assert acceptor.come(NO_CROWD_REQUESTS) == NO_CROWD_REQUESTS, "no crowd any more"


async def test_who_came_first_is_looked_at_first_whenever_they_are_heard(acceptor: Acceptor) -> None:
    """F39: whoever has a connection passes nobody who had to wait for one."""
    acceptor.behind_s = BEHIND_S
    acceptor.come(NO_CROWD_REQUESTS)
    now = acceptor.clock.monotonic()
    for came_at in (None, now - 0.2, now - 0.1, now - 0.2, now + 0.1):
        acceptor.comes(came_at)
    acceptor.clock.oversleep(0.1)
    acceptor.behind_s = 0.0
    await acceptor.look_again()
    number = NO_CROWD_REQUESTS
    assert [(each - number, said.split()[-2]) for each, said in acceptor.told] == [
        (1, "0.3"),
        (3, "0.3"),
        (2, "0.2"),
        (0, "0.1"),
        (4, "0"),
    ]


async def test_who_is_heard_on_an_open_connection_came_when_it_was_listened_to(acceptor: Acceptor) -> None:
    """F39: not when its bytes are read, when others have been accepted that came later."""
    acceptor.come(NO_CROWD_REQUESTS)
    now = acceptor.clock.monotonic()
    acceptor.comes(now - 0.1)
    acceptor.listened_ago_s = 0.2
    acceptor.comes()
    await acceptor.turn()
    assert acceptor.told == [
        (NO_CROWD_REQUESTS + 1, "looked at after 0.2 s"),
        (NO_CROWD_REQUESTS, "looked at after 0.1 s"),
    ]


async def test_nobody_is_looked_at_before_those_who_came_earlier_are_heard(acceptor: Acceptor) -> None:
    """F39: crowd or no crowd. Whoever came earlier than all who are unheard is looked at."""
    now = acceptor.clock.monotonic()
    acceptor.unheard_since = now - 0.1
    assert [acceptor.comes(), acceptor.comes(now - 0.1), acceptor.comes(now - 0.2)] == [False, False, False]
    await acceptor.turn()
    assert acceptor.numbers("looked at") == [2, 1]
    acceptor.unheard_since = math.inf
    await acceptor.turn()
    assert acceptor.numbers("looked at") == [2, 1, 0]
    await acceptor.turn()
    acceptor.unheard_since = now
    assert [acceptor.comes(now - 0.2), acceptor.comes(now)] == [True, True]


async def test_those_who_have_left_take_no_memory(acceptor: Acceptor) -> None:
    """F39: a place in the order is kept for few that are gone, and for nobody when all are."""
    acceptor.behind_s = BEHIND_S
    acceptor.come(NO_CROWD_REQUESTS + 10)
    for _ in range(20):
        acceptor.come(50)
        for person in acceptor.people[-50:]:
            acceptor.line.leave(person)
    assert (len(acceptor.line), len(acceptor.line._queue._positions) < 20 + 2 * STALE_POSITIONS_MAX) == (10, True)
    acceptor.behind_s = 0.0
    await acceptor.look_again()
    assert acceptor.numbers("looked at") == list(range(NO_CROWD_REQUESTS, NO_CROWD_REQUESTS + 10))
    assert acceptor.line._queue._positions == []


async def test_nobody_is_looked_at_while_the_ledger_is_behind(acceptor: Acceptor) -> None:
    """F39: it has enough to do with those before them."""
    acceptor.come(NO_CROWD_REQUESTS + 5)
    acceptor.behind_s = BEHIND_S
    await acceptor.look_again()
    assert (acceptor.told, len(acceptor.line)) == ([], 5)
    acceptor.behind_s = BEHIND_S - 0.01
    await acceptor.look_again()
    assert len(acceptor.numbers("looked at")) == 5


async def test_who_comes_to_a_line_that_is_full_is_refused_at_once(acceptor: Acceptor) -> None:
    """F39: memory is bounded, and who stands in the line already is not refused."""
    acceptor.behind_s = BEHIND_S
    acceptor.come(NO_CROWD_REQUESTS + LINE_REQUESTS)
    assert acceptor.told == []
    acceptor.come(2)
    assert [said for _, said in acceptor.told] == ["refused"] * 2
    assert len(acceptor.line) == LINE_REQUESTS


async def test_a_line_is_as_long_as_it_moves_fast(acceptor: Acceptor) -> None:
    """F39: who would wait for longer than `LINE_WAIT_S` is refused on arrival; forgotten with the crowd."""
    acceptor.come(NO_CROWD_REQUESTS + 100)
    turns = 10
    for _ in range(turns):
        await acceptor.turn()
    acceptor.behind_s = BEHIND_S
    await acceptor.clock.advance(PACE_WINDOW_S)
    await acceptor.look_again()
    may_be = round(turns * LOOKED_AT_IN_A_TURN / PACE_WINDOW_S * LINE_WAIT_S)
    assert len(acceptor.line) == 100 - turns * LOOKED_AT_IN_A_TURN
    acceptor.come(may_be)
    assert len(acceptor.line) == may_be
    acceptor.line.close_for(0.0)
    acceptor.behind_s = 0.0
    await acceptor.look_again()
    acceptor.behind_s = BEHIND_S
    assert acceptor.come(NO_CROWD_REQUESTS + LINE_REQUESTS) == NO_CROWD_REQUESTS
    assert len(acceptor.line) == LINE_REQUESTS


async def test_before_stripe_a_line_takes_in_whoever_the_service_has_room_for(acceptor: Acceptor) -> None:
    """F39: in line or in Stripe's queue, they wait as long; so nobody is refused whom the service could take."""
    acceptor.behind_s = BEHIND_S
    acceptor.room = 2 * LINE_REQUESTS
    acceptor.come(NO_CROWD_REQUESTS + acceptor.room)
    assert (acceptor.told, len(acceptor.line)) == ([], 2 * LINE_REQUESTS)
    acceptor.come(1)
    assert len(acceptor.numbers("refused")) == 1


async def test_before_stripe_a_line_takes_in_nobody_whom_the_service_has_no_room_for(acceptor: Acceptor) -> None:
    """F39: better refused now than when its turn has come."""
    acceptor.behind_s = BEHIND_S
    acceptor.room = 5
    acceptor.come(NO_CROWD_REQUESTS + acceptor.room + 2)
    assert (len(acceptor.numbers("refused")), len(acceptor.line)) == (2, 5)


async def test_a_line_that_does_not_move_stays_short(acceptor: Acceptor) -> None:
    """F39: and never shorter than what is worth no refusal."""
    acceptor.come(NO_CROWD_REQUESTS + 1)
    acceptor.behind_s = BEHIND_S
    for _ in range(5):
        await acceptor.clock.advance(PACE_WINDOW_S)
        await acceptor.look_again()
    acceptor.come(SHORTEST_LINE_REQUESTS + 10)
    assert len(acceptor.line) == SHORTEST_LINE_REQUESTS


async def test_a_ledger_that_has_come_to_a_halt_leaves_nobody_in_line(acceptor: Acceptor) -> None:
    """F32: they are refused in time to come again; who came later is not, yet."""
    acceptor.come(NO_CROWD_REQUESTS + 2)
    acceptor.behind_s = BEHIND_S
    await acceptor.clock.advance(PATIENCE_S - 1.0)
    acceptor.come(1)
    await acceptor.look_again()
    assert acceptor.told == []
    await acceptor.clock.advance(1.0)
    await acceptor.look_again()
    assert (acceptor.numbers("refused"), len(acceptor.line)) == ([NO_CROWD_REQUESTS, NO_CROWD_REQUESTS + 1], 1)


async def test_a_ledger_without_room_refuses_all_for_a_moment(acceptor: Acceptor) -> None:
    """F39: who stands in line, and who comes until then; then it is tried again."""
    acceptor.come(NO_CROWD_REQUESTS + 2)
    acceptor.line.close_for(0.25)
    assert (len(acceptor.numbers("refused")), len(acceptor.line)) == (2, 0)
    assert acceptor.come(1) == 0
    assert len(acceptor.numbers("refused")) == 3
    await acceptor.clock.advance(0.25)
    assert acceptor.come(1) == 1


async def test_who_hangs_up_leaves_the_line(acceptor: Acceptor) -> None:
    """F39: a place is held by nobody who is gone."""
    acceptor.come(NO_CROWD_REQUESTS + 3)
    gone = acceptor.people[NO_CROWD_REQUESTS + 1]
    assert acceptor.line.leave(gone) == b"%d" % gone.number
    assert acceptor.line.leave(gone) == b""
    await acceptor.turn()
    assert acceptor.numbers("looked at") == [NO_CROWD_REQUESTS, NO_CROWD_REQUESTS + 2]


async def test_a_line_that_is_disbanded_keeps_nobody(acceptor: Acceptor) -> None:
    """F33: a house that is being emptied has one thing to say to all, and says it now."""
    acceptor.behind_s = BEHIND_S
    acceptor.come(NO_CROWD_REQUESTS + 100)
    acceptor.line.disband()
    assert len(acceptor.numbers("looked at")) == 100
    assert acceptor.come(2 * NO_CROWD_REQUESTS) == 2 * NO_CROWD_REQUESTS
    await acceptor.look_again()
    assert len(acceptor.told) == 100
