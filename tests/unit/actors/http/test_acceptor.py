"""`payment.actors.http.acceptor`: whoever comes is noted at once and let in in order, a few at a time."""

import asyncio
import errno
import math
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from payment.actors.http import acceptor as http_door
from payment.actors.http.acceptor import LET_IN_IN_A_TURN, Acceptor, listen
from payment.actors.http.connection_limit import ACCEPTED_MAX
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from tests.support.fakes.clock import FakeClock

REAL_S = 5.0


class Guest(asyncio.Protocol):
    """One who was let in."""

    def __init__(self, came_at: float) -> None:
        self.came_at = came_at
        self.port = 0
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.port = peer[1] if peer else 0  # uvloop knows no address of one who has left

    def data_received(self, data: bytes) -> None:
        self.heard = True


class Exhausted(socket.socket):
    """A listening socket of a process that has no file descriptor left, as often as the test says."""

    refusals = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class House:
    """A door, those who were let in, and those outside."""

    def __init__(self, listening: list[socket.socket], accepted_max: int = ACCEPTED_MAX) -> None:
        self.clock = FakeClock()
        self.guests: list[Guest] = []
        self.clients: list[socket.socket] = []
        self.acceptor = Acceptor(listening, self.made, self.clock, get_logger(), accepted_max)
        self.acceptor.open()

    def made(self, came_at: float) -> Guest:
        self.guests.append(Guest(came_at))
        return self.guests[-1]

    def come(self, count: int) -> None:
        """So many connect, one after the other: the kernel has them when this returns."""
        for _ in range(count):
            self.clients.append(socket.create_connection(("127.0.0.1", self.acceptor.port)))

    async def until_in(self, count: int) -> None:
        most = 0

        def are_in() -> bool:
            nonlocal most
            most = max(most, sum(guest.port == 0 for guest in self.guests))
            return sum(guest.port > 0 for guest in self.guests) >= count

        await self.until(are_in)
        assert most <= http_door.LET_IN_IN_A_TURN

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until the condition holds."""
        async with asyncio.timeout(REAL_S):
            while not condition():  # noqa: ASYNC110  # sockets have no event to wait on
                await asyncio.sleep(0)

    @property
    def in_order(self) -> bool:
        """Whether those who came first were let in first."""
        return [guest.port for guest in self.guests] == [client.getsockname()[1] for client in self.clients]

    async def close(self) -> None:
        await self.acceptor.close()
        for client in self.clients:
            client.close()


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    house = House(await listen("127.0.0.1", 0))
    yield house
    await house.close()


async def test_a_crowd_is_noted_at_once_and_let_in_in_order(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: a few in each turn, and each knows when it came, not when its turn was."""
    monkeypatch.setattr(http_door, "LET_IN_IN_A_TURN", 4)
    came_at = house.clock.monotonic()
    house.come(40)
    await house.until_in(1)
    house.clock.oversleep(1.0)
    house.come(1)
    await house.until_in(41)
    assert house.in_order
    assert [guest.came_at for guest in house.guests] == [came_at] * 40 + [came_at + 1.0]


async def test_until_they_are_heard_it_is_known_since_when_they_wait(house: House) -> None:
    """F39: whoever came after that is not to pass them; it is over when all that they said outside has been heard."""
    assert house.acceptor.unheard_since() == math.inf
    came_at = house.clock.monotonic()
    house.come(LET_IN_IN_A_TURN)
    for client in house.clients:
        client.sendall(b"hello")
    await house.until(lambda: len(house.guests) > 0)
    house.clock.oversleep(1.0)
    house.come(1)
    house.clients[-1].sendall(b"hello")
    since: list[float] = []

    def are_heard() -> bool:
        since.append(house.acceptor.unheard_since())
        return all(guest.heard for guest in house.guests) and len(house.guests) == len(house.clients)

    await house.until(are_heard)
    assert (since[0], since == sorted(since)) == (came_at, True)
    assert since[-1] <= came_at + 1.0, "not before the last was heard"
    await house.until(lambda: are_heard() and since[-1] == math.inf)
    assert sorted(set(since)) == [came_at, came_at + 1.0, math.inf]
    assert since == sorted(since)


async def test_what_is_read_in_a_crowd_was_said_before_the_others_came(house: House) -> None:
    """F39: whoever has a connection is heard a turn late, and those who were accepted meanwhile must not pass it.

    Nor does it pass those who were accepted before: they came sooner, and have yet to be heard.
    """
    house.clock.oversleep(1.0)
    assert house.acceptor.listened_at() == house.clock.monotonic()
    house.come(LET_IN_IN_A_TURN + 1)
    await house.until(lambda: len(house.guests) > 0)
    came_at = house.clock.monotonic()
    house.clock.oversleep(1.0)
    assert house.guests[0].came_at == came_at < house.acceptor.listened_at() == pytest.approx(came_at)
    house.come(1)
    await house.until_in(LET_IN_IN_A_TURN + 2)
    assert house.guests[-1].came_at == came_at + 1.0 < house.acceptor.listened_at() == pytest.approx(came_at + 1.0)
    house.clock.oversleep(1.0)
    await house.until(lambda: house.acceptor.unheard_since() == math.inf)
    assert house.acceptor.listened_at() == house.clock.monotonic()


async def test_no_more_than_the_limit_wait_for_their_connection() -> None:
    """F39 F51: the kernel keeps the others, without a descriptor of ours, and they come in order too."""
    house = House(await listen("127.0.0.1", 0), accepted_max=5)
    house.come(23)
    outside: list[int] = []

    def all_came() -> bool:
        outside.append(len(house.acceptor._outside))
        return len(house.guests) == 23

    await house.until(all_came)
    await house.until_in(23)
    assert (max(outside), house.in_order) == (5, True)
    await house.close()


async def test_a_door_that_closes_lets_in_whoever_was_accepted(house: House) -> None:
    """F33: nobody is dropped half-way, and nobody is accepted any more."""
    house.come(2 * LET_IN_IN_A_TURN)
    await house.until(lambda: len(house.acceptor._outside) > 0)
    await house.acceptor.close()
    assert (sum(guest.port > 0 for guest in house.guests), house.in_order) == (2 * LET_IN_IN_A_TURN, True)
    with pytest.raises(ConnectionRefusedError):
        house.come(1)


async def test_who_has_left_again_holds_up_nobody(house: House) -> None:
    """Between being accepted and being let in."""
    house.come(2)
    house.clients[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    house.clients[0].close()
    port = house.clients[1].getsockname()[1]
    await house.until(lambda: any(guest.port == port for guest in house.guests))


async def test_without_a_file_descriptor_left_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: the operator is told, the loop does not spin, and whoever waits comes in as soon as there is one."""
    monkeypatch.setattr(http_door, "ACCEPT_AGAIN_S", 0.01)
    listening = (await listen("127.0.0.1", 0))[0]
    exhausted = Exhausted(listening.family, listening.type, fileno=listening.detach())
    with capture_logs() as logged:
        house = House([exhausted])
        house.come(3)
        await house.until_in(3)
    assert [line["event"] for line in logged] == [Event.CONNECTIONS_WAIT] * 2
    assert {line["error"] for line in logged} == {"Too many open files"}
    assert house.in_order
    await house.close()


async def test_a_door_that_waits_for_resources_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """F33: and does not open again."""
    monkeypatch.setattr(http_door, "ACCEPT_AGAIN_S", 0.01)
    listening = (await listen("127.0.0.1", 0))[0]
    house = House([Exhausted(listening.family, listening.type, fileno=listening.detach())])
    house.come(1)
    await house.until(lambda: house.acceptor._open_again is not None)
    await house.acceptor.close()
    await asyncio.sleep(0.03)
    assert house.guests == []
    await house.close()
