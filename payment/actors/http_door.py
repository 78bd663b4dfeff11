"""The door: the listening sockets, and in which order people come in.

To make a connection of what the kernel has accepted costs a quarter of a millisecond, and a crowd comes faster than
that. Who has an open connection already would pass all who wait outside, hundreds when a sale begins. So whoever comes
is taken off the kernel's queue in the very turn of the event loop, which costs little, and the time is noted; a few of
them are let in in each turn. `payment.actors.http_line` keeps them in the order in which they came.

It must never hold up the others for the sake of those who come, and never leave anybody half let in when it closes.
"""

import asyncio
import errno
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from payment.ops.vocabulary import Event
from payment.ports.clock import Clock

BACKLOG_CONNECTIONS = 4_096
"""Connections that the kernel keeps until they are accepted. Whose connection finds no place tries again after 1, 3 and
7 s, and is overtaken by all who come meanwhile."""
ACCEPTED_IN_A_TURN = 1_024
"""Connections accepted before others may run: 10 to 20 microseconds each."""
LET_IN_IN_A_TURN = 64
"""Connections made before others may run: thousands in a row would keep all waiting for a second."""
TURNS_UNTIL_HEARD = 4
"""Whoever spoke outside must have been heard so many turns after it was let in: an event loop takes one each to make
the connection, to say so, and to listen to it."""
OUTSIDE_CONNECTIONS = 8_192
"""Connections that were accepted and wait to be let in: while there are as many, the kernel keeps the others."""
ACCEPT_AGAIN_S = 1.0
"""How long nothing is accepted, in seconds, after the process or the machine had no file descriptor or buffer left."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
GONE = (BlockingIOError, InterruptedError, ConnectionAbortedError)
"""Nobody is there, or whoever was has left."""


MakeConnection = Callable[[float], asyncio.Protocol]
"""Makes the protocol of one who came at that time (monotonic seconds)."""


class Entrance(Protocol):
    """By what people come in."""

    port: int
    """The port that is listened on."""

    def unheard_since(self) -> float:
        """When the first of those came who may have spoken and can't have been heard yet; infinite without any."""

    def listened_at(self) -> float:
        """When came what is read now on a connection that is open already."""

    async def close(self) -> None:
        """Accept nobody any more, and let in whoever was accepted."""


Opening = Callable[[str | None, int, MakeConnection, Clock, FilteringBoundLogger], Awaitable[Entrance]]
"""As `open_door`. A simulation has a network of its own."""


async def open_door(
    host: str | None, port: int, connection: MakeConnection, clock: Clock, logger: FilteringBoundLogger
) -> Entrance:
    """Listen and accept, from now on. `host` None: every interface.

    Raises:
        OSError: the port is taken or may not be had, or there is no such host.
    """
    door = Door(await listen(host, port), connection, clock, logger)
    door.open()
    return door


class Door:
    """The real entrance, open from `open` to `close`."""

    def __init__(
        self,
        listening: list[socket.socket],
        connection: MakeConnection,
        clock: Clock,
        logger: FilteringBoundLogger,
    ) -> None:
        self.port = int(listening[0].getsockname()[1])
        self._listening = listening
        self._connection = connection
        self._clock = clock
        self._log = logger
        self._loop = asyncio.get_running_loop()
        self._outside: deque[tuple[socket.socket, float]] = deque()
        self._coming_in: set[asyncio.Task[None]] = set()
        self._lately: deque[float] = deque([math.inf] * TURNS_UNTIL_HEARD, TURNS_UNTIL_HEARD)
        """Of each of the last turns, when whoever was let in first had come; infinite where nobody was."""
        self._turning = False
        self._looked_at = 0.0
        self._open_again: asyncio.TimerHandle | None = None

    def unheard_since(self) -> float:
        return min(self._next_came_at(), *self._lately)

    def listened_at(self) -> float:
        # While people come in, a turn is long. What is read in it was said before it was looked who has come since, and
        # after those came who were found at the look before: they have yet to be heard, and none of them is passed.
        return math.nextafter(self._looked_at, math.inf) if self._turning else self._clock.monotonic()

    def open(self) -> None:
        """Accept whoever comes."""
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
        for _ in range(min(ACCEPTED_IN_A_TURN, OUTSIDE_CONNECTIONS - len(self._outside))):
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
        """The kernel goes on saying that somebody is there: not to listen is all that can be done."""
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
            accepted.close()  # whoever it was has left


async def listen(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that listen. `host` None: every interface, IPv4 and IPv6, on one socket, so that port 0 is one port too.

    Raises:
        OSError: the port is taken or may not be had, or there is no such host.
    """
    if host is None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return _listen_on([(family, ("", port))], dualstack_ipv6=dual)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return _listen_on(dict.fromkeys((family, address) for family, _, _, _, address in found), dualstack_ipv6=False)


def _listen_on(
    addresses: "Iterable[tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]]",
    *,
    dualstack_ipv6: bool,
) -> list[socket.socket]:
    with ExitStack() as opened:
        listening = []
        for family, address in addresses:
            each = socket.create_server(
                address, family=family, backlog=BACKLOG_CONNECTIONS, dualstack_ipv6=dualstack_ipv6
            )
            each.setblocking(False)
            listening.append(opened.enter_context(each))
        opened.pop_all()
    return listening
