"""A TCP proxy between the service and any server, to break their connections: cut, refuse, stall, lose answers.

Owns: its listening port and the connections through it. Must never: parse the bytes, or change the server itself.
Change together with: nothing; it uses no protocol.

Everything runs in the loop of the test: no thread and no sleep. A mode applies to open connections and to new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Coroutine
from enum import Enum
from types import TracebackType

from tests.support.servers.process import LOOPBACK

CHUNK_BYTES = 65_536  # bytes read at once; the proxy never holds more for one direction of one connection


class Mode(Enum):
    """The handling of connections and their bytes."""

    FORWARD = "forward"
    REFUSE = "refuse"  # new connections are closed at once; open ones go on
    STALL = "stall"  # nothing is forwarded, and nothing is lost: forwarding goes on at `resume`
    DROP_ANSWERS = "drop answers"  # requests arrive and are executed; answers are read and discarded


class Proxy:
    """Listens on a loopback port and forwards to `target_port`; `async with Proxy(port) as proxy: … proxy.port …`."""

    def __init__(self, target_port: int, *, target_host: str = LOOPBACK) -> None:
        self.target_host = target_host
        self.target_port = target_port
        self.requested_bytes = 0  # forwarded to the server
        self.answered_bytes = 0  # forwarded to the client
        self.dropped_bytes = 0  # answers discarded
        self.held_bytes = 0  # read from either side and held back by `stall` now
        self.connections = 0  # connections ever accepted and connected
        self._port = 0
        self._mode = Mode.FORWARD
        self._moving = asyncio.Event()
        self._moving.set()
        self._changed = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port, which stays the same over `stop_listening` and `start`."""
        return self._port

    @property
    def open_connections(self) -> int:
        """Connections through the proxy at this moment."""
        return sum(not task.done() for task in self._tasks)

    async def start(self) -> None:
        """Listen: on a free port the first time, on the same one again after `stop_listening`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, LOOPBACK, self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Connections are refused by the kernel (ECONNREFUSED), as when the server is not there. Old ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Stop listening and end every connection."""
        self.stop_listening()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every open connection. New ones are accepted (but see `refuse`)."""
        for writer in self._writers:
            _reset(writer)

    def refuse(self) -> None:
        self._set(Mode.REFUSE)

    def stall(self) -> None:
        self._set(Mode.STALL)

    def drop_answers(self) -> None:
        self._set(Mode.DROP_ANSWERS)

    def resume(self) -> None:
        """Forward again. Bytes that `stall` held back are delivered; answers that `drop_answers` discarded are lost."""
        self._set(Mode.FORWARD)

    async def wait_for(self, met: Callable[[Proxy], bool], deadline_s: float = 5.0) -> None:
        """Return when `met(self)` is true; it is called whenever bytes are forwarded. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s), self._changed:
            await self._changed.wait_for(lambda: met(self))

    def _set(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.STALL:
            self._moving.clear()
        else:
            self._moving.set()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: asyncio would make a task of a coroutine, and report its cancellation as an error.
        if self._mode is Mode.REFUSE:
            _reset(writer)
            return
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both directions of one connection, until either side ends it."""
        self._writers.add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError):  # either side may have gone: the other's connection is closed below
                far_reader, far_writer = await asyncio.open_connection(self.target_host, self.target_port)
                self._writers.add(far_writer)
                self.connections += 1
                await _first_to_end(self._pump(reader, far_writer, False), self._pump(far_reader, writer, True))
        finally:
            for side in (writer, far_writer):
                if side is not None:
                    self._writers.discard(side)
                    side.close()
            await self._notify()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._hold(len(chunk))
            if answers and self._mode is Mode.DROP_ANSWERS:
                self.dropped_bytes += len(chunk)
            else:
                writer.write(chunk)
                await writer.drain()
                self._count(len(chunk), answers)
            await self._notify()

    async def _hold(self, size_bytes: int) -> None:
        if self._moving.is_set():
            return
        self.held_bytes += size_bytes
        try:
            await self._notify()
            await self._moving.wait()
        finally:
            self.held_bytes -= size_bytes

    def _count(self, size_bytes: int, answers: bool) -> None:
        if answers:
            self.answered_bytes += size_bytes
        else:
            self.requested_bytes += size_bytes

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST rather than FIN, as a broken network or a dying host does."""
    linger = struct.pack("ii", 1, 0)  # on, 0 s: the kernel then sends a reset
    with contextlib.suppress(OSError):  # gone already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _first_to_end(*pumps: Coroutine[None, None, None]) -> None:
    """Run all; when one ends or fails, cancel the others, and raise its exception."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
