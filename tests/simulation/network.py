"""The network between customers and processes: connections in memory, with latency, that break when a process dies.

The server's side is an `asyncio.Transport` under aiohttp's unmodified protocol, in the context of the process that
listens. The client's side is an object with `received` and `lost`; it belongs to the world. A paused process's kernel
still accepts, and keeps what clients send. One connection has one latency, so that its bytes keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from tests.simulation.clock import Chances
from tests.simulation.loop import Owner, VirtualLoop

REFUSED = "connection refused"
RESET = "connection reset"
CLOSED = "connection closed"


class ClientSide(Protocol):
    """The client of a connection."""

    def received(self, data: bytes) -> None:
        """Receive some bytes of the answer."""

    def lost(self, reason: str) -> None:
        """Note that the connection has ended. Not called after `Connection.hang_up`."""


class Site(web.BaseSite):
    """Where a process's HTTP server serves. Connections are made as soon as they arrive."""

    def __init__(self, network: Network, runner: web.BaseRunner, host: str) -> None:
        super().__init__(runner)
        self.owner = network.loop.current
        self._network = network
        self._host = host

    @property
    def name(self) -> str:
        return self._host

    def factory(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    async def start(self) -> None:
        await super().start()
        self._network.listen(self._host, self)

    async def stop(self) -> None:
        await super().stop()
        self._network.stop_listening(self._host, self)


class HostListening:
    """As `payment.actors.http.connections.Listening`, for a process with this host name."""

    port = 80

    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host

    async def sites(self, runner: web.BaseRunner) -> list[web.BaseSite]:
        return [Site(self._network, runner, self._host)]

    def close(self) -> None:
        """Its site has been stopped: no connection is made any more."""


class Connection(asyncio.Transport):
    """The server's side of one connection."""

    def __init__(self, network: Network, owner: Owner, client: ClientSide, latency_s: float) -> None:
        super().__init__()
        self.owner = owner
        self._network = network
        self._loop = network.loop
        self._client: ClientSide | None = client
        self._latency_s = latency_s
        self._protocol: asyncio.Protocol | None = None
        self._closing = False

    # The client's calls, in the world's context.

    def send(self, data: bytes) -> None:
        self._loop.call_later(self._latency_s, self._deliver, data, context=self.owner.context)

    def hang_up(self) -> None:
        """End the connection from the client's side: the client receives nothing more."""
        self._client = None
        self._loop.call_later(self._latency_s, self._end_of_input, context=self.owner.context)

    # Called in the process's context.

    def accept(self, factory: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = factory()
        self._protocol.connection_made(self)

    def _deliver(self, data: bytes) -> None:
        if self._protocol is not None and not self._closing:
            self._protocol.data_received(data)

    def _end_of_input(self) -> None:
        if self._protocol is not None and not self._closing:
            self._protocol.eof_received()
            self.close()

    def write(self, data: Any) -> None:
        if not self._closing:
            self._to_client(self._deliver_to_client, bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._connection_lost)
            self._to_client(self._report_lost, CLOSED)

    abort = close

    def _connection_lost(self) -> None:
        self._network.forget(self)
        if self._protocol is not None:
            self._protocol.connection_lost(None)
            self._protocol = None

    def _to_client(self, act: Callable[..., None], *args: object) -> None:
        self._loop.call_later(self._latency_s, act, *args, context=self._loop.world.context)

    # Called in the world's context.

    def reset(self) -> None:
        """Reset the connection: the process has died."""
        self._to_client(self._report_lost, RESET)

    def _deliver_to_client(self, data: bytes) -> None:
        if self._client is not None:
            self._client.received(data)

    def _report_lost(self, reason: str) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.lost(reason)

    # The rest of asyncio's interface of a transport.

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("customer", 1) if name == "peername" else default

    def pause_reading(self) -> None:
        """Do nothing: requests are small, and none fills a buffer."""

    def resume_reading(self) -> None:
        """As above."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The network accepts everything at once."""

    def get_write_buffer_size(self) -> int:
        return 0


class Network:
    """All listening processes, and all connections."""

    def __init__(self, loop: VirtualLoop, chances: Chances) -> None:
        self.loop = loop
        self._chances = chances
        self._listening: dict[str, Site] = {}
        self._connections: dict[Connection, None] = {}

    def listen(self, host: str, site: Site) -> None:
        if host in self._listening:
            raise OSError(98, f"{host} is in use")
        self._listening[host] = site

    def stop_listening(self, host: str, site: Site) -> None:
        if self._listening.get(host) is site:
            del self._listening[host]

    def connect(self, host: str, client: ClientSide, data: bytes) -> Attempt:
        """Connect and send, in the world's context."""
        return Attempt(self, host, client, data, self._chances.latency_s(f"connection to {host}"))

    def opened(self, host: str, client: ClientSide, latency_s: float) -> Connection | None:
        listening = self._listening.get(host)
        if listening is None:
            return None
        made = Connection(self, listening.owner, client, latency_s)
        self._connections[made] = None
        self.loop.call_soon(made.accept, listening.factory, context=listening.owner.context)
        return made

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def drop(self, owner: Owner) -> None:
        """Remove a process that has died: it listens no more, and its connections are reset."""
        for host, listening in list(self._listening.items()):
            if listening.owner is owner:
                del self._listening[host]
        for connection in list(self._connections):
            if connection.owner is owner:
                self.forget(connection)
                connection.reset()


class Attempt:
    """One client's connection, from its first packet on."""

    def __init__(self, network: Network, host: str, client: ClientSide, data: bytes, latency_s: float) -> None:
        self._network = network
        self._host = host
        self._client = client
        self._data = data
        self._latency_s = latency_s
        self._connection: Connection | None = None
        self._given_up = False
        network.loop.call_later(latency_s, self._arrive)

    def _arrive(self) -> None:
        if self._given_up:
            return
        self._connection = self._network.opened(self._host, self._client, self._latency_s)
        if self._connection is None:
            self._network.loop.call_later(self._latency_s, self._refused)
        else:
            self._connection.send(self._data)

    def _refused(self) -> None:
        if not self._given_up:
            self._client.lost(REFUSED)

    def hang_up(self) -> None:
        self._given_up = True
        if self._connection is not None:
            self._connection.hang_up()
