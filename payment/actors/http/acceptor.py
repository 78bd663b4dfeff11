"""The acceptor: the listening sockets, and the order in which connections are made.

To make a connection of an accepted socket costs a quarter of a millisecond, and a burst arrives faster than that.
Clients with an open connection would overtake all that wait for one, hundreds when a sale begins. So every client is
accepted in the very turn of the event loop in which it arrives, which costs little, and the time is noted; a bounded
number of connections is made in each turn. `payment.actors.http.request_queue` keeps requests in the order of arrival.

Arrivals must never delay the requests under way, and no accepted socket may be left without a connection on closing.
"""

import asyncio
import errno
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from payment.actors.http.connection_limit import ACCEPTED_MAX
from payment.ops.log_schema import Event
from payment.ports.clock import Clock
from payment.process.listening import listen as listen_now

ACCEPTED_IN_A_TURN = 1_024
"""Connections accepted before other tasks may run: 10 to 20 microseconds each."""
LET_IN_IN_A_TURN = 64
"""Connections made before other tasks may run: thousands in a row would delay them by a second."""
TURNS_UNTIL_HEARD = 4
"""Turns of the loop after which data that was sent before its connection was made has been read: an event loop takes
one each to make the connection, to call `connection_made`, and to read."""
ACCEPT_AGAIN_S = 1.0
"""How long nothing is accepted, in seconds, after the process or the machine had no file descriptor or buffer left."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GONE = (BlockingIOError, InterruptedError, ConnectionAbortedError)
"""No client waits, or it has disconnected."""


MakeConnection = Callable[[float], asyncio.Protocol]
"""Makes the protocol of a client that was accepted at that time (monotonic seconds)."""


class Entrance(Protocol):
    """Accepts connections."""

    port: int
    """The port that is listened on."""

    def unheard_since(self) -> float:
        """When the oldest client arrived whose first data can't have been read yet; infinite where there is none."""

    def listened_at(self) -> float:
        """When the data arrived that is read now on a connection that is open already."""

    async def close(self) -> None:
        """Accept no more clients, and make the connections of all accepted ones."""


Opening = Callable[[str | None, int, MakeConnection, Clock, FilteringBoundLogger], Awaitable[Entrance]]
"""As `open_acceptor`. A simulation has a network of its own."""


async def open_acceptor(
    host: str | None,
    port: int,
    connection: MakeConnection,
    clock: Clock,
    logger: FilteringBoundLogger,
    accepted_max: int = ACCEPTED_MAX,
) -> Entrance:
    """Listen and accept, from now on. `host` None: every interface. `accepted_max`: see `Acceptor`.

    Raises:
        OSError: the port is taken or may not be had, or there is no such host.
    """
    acceptor = Acceptor(await listen(host, port), connection, clock, logger, accepted_max)
    acceptor.open()
    return acceptor


def open_acceptor_on(listening: list[socket.socket], accepted_max: int = ACCEPTED_MAX) -> Opening:
    """As `open_acceptor`, first on sockets that listen already: nothing is started where that is impossible."""
    ready = [listening]

    async def opening(
        host: str | None, port: int, connection: MakeConnection, clock: Clock, logger: FilteringBoundLogger
    ) -> Entrance:
        if not ready:
            return await open_acceptor(host, port, connection, clock, logger, accepted_max)
        acceptor = Acceptor(ready.pop(), connection, clock, logger, accepted_max)
        acceptor.open()
        return acceptor

    return opening


class Acceptor:
    """The real entrance, open from `open` to `close`."""

    def __init__(
        self,
        listening: list[socket.socket],
        connection: MakeConnection,
        clock: Clock,
        logger: FilteringBoundLogger,
        accepted_max: int = ACCEPTED_MAX,
    ) -> None:
        """`accepted_max`: clients that may wait for their connection. While there are this many, the kernel keeps the
        others.
        """
        self._accepted_max = accepted_max
        self.port = int(listening[0].getsockname()[1])
        self._listening = listening
        self._connection = connection
        self._clock = clock
        self._log = logger
        self._loop = asyncio.get_running_loop()
        self._outside: deque[tuple[socket.socket, float]] = deque()
        self._coming_in: set[asyncio.Task[None]] = set()
        self._lately: deque[float] = deque([math.inf] * TURNS_UNTIL_HEARD, TURNS_UNTIL_HEARD)
        """Of each of the last turns, when its first client had arrived; infinite where it made no connection."""
        self._turning = False
        self._looked_at = 0.0
        self._open_again: asyncio.TimerHandle | None = None

    def unheard_since(self) -> float:
        return min(self._next_came_at(), *self._lately)

    def listened_at(self) -> float:
        # While connections are made, a turn is long. Data that is read in it arrived before the last accept, and after
        # the clients that the accept before found: their data is not read yet, and none of them is overtaken.
        return math.nextafter(self._looked_at, math.inf) if self._turning else self._clock.monotonic()

    def open(self) -> None:
        """Accept every client that arrives."""
        self._open_again = None
        for listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        self._pause()
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        while self._outside:
            self._let_in()
            await asyncio.sleep(0)
        if self._coming_in:
            await asyncio.wait(self._coming_in)

    def _pause(self) -> None:
        if self._open_again is not None:
            self._open_again.cancel()
            self._open_again = None
        for listening in self._listening:
            self._loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        self._looked_at = now = self._clock.monotonic()
        for _ in range(min(ACCEPTED_IN_A_TURN, self._accepted_max - len(self._outside))):
            try:
                accepted, _address = listening.accept()
            except GONE:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._wait_for_resources(error)
                return
            accepted.setblocking(False)
            self._outside.append((accepted, now))
            self._let_in_soon()

    def _wait_for_resources(self, error: OSError) -> None:
        """Stop listening for a while: the kernel goes on reporting the clients that can't be accepted."""
        self._log.warning(Event.CONNECTIONS_WAIT, error=error.strerror or type(error).__name__)
        self._pause()
        self._open_again = self._loop.call_later(ACCEPT_AGAIN_S, self.open)

    def _let_in_soon(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._let_in)

    def _let_in(self) -> None:
        self._turning = False
        if self._open_again is None:
            for listening in self._listening:
                self._accept(listening)
        self._lately.append(self._next_came_at())
        for _ in range(min(LET_IN_IN_A_TURN, len(self._outside))):
            task = self._loop.create_task(self._connect(*self._outside.popleft()), name="let in")
            self._coming_in.add(task)
            task.add_done_callback(self._coming_in.discard)
        if self.unheard_since() < math.inf:
            self._let_in_soon()

    def _next_came_at(self) -> float:
        return self._outside[0][1] if self._outside else math.inf

    async def _connect(self, accepted: socket.socket, came_at: float) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._connection(came_at), accepted)
        except OSError:
            accepted.close()  # the client has disconnected


async def listen(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that listen: `payment.process.listening.listen`, whose look for a name's addresses would hold up the
    loop.

    Raises:
        CannotListen: an OSError: the port is taken or may not be had, or there is no such host.
    """
    return await asyncio.to_thread(listen_now, host, port)
