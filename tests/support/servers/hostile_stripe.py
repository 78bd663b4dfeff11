"""A server with answers that Stripe should never give and that networks produce: scripted, one step for each request.

It implements HTTP over asyncio itself, because no HTTP library would send invalid answers. Each request takes the next
step of the script; a request without a step hangs, so that a missing one shows as a timeout. `requests` has the
received requests.
"""

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

HEAD_MAX_BYTES = 64 * 1024
"""Longest request head that is read: the service's own are about 1 KiB."""

RESET_AT_ONCE_S = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing then sends RST and drops what was not sent."""


class Request(Struct, frozen=True):
    """A received request: header names in lower case, query and form as flat mappings."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


class Connection(Struct, frozen=True):
    """One client's connection, which a step uses."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE_S)
        self.writer.transport.abort()


Act = Callable[[Connection], Awaitable[bool]]
"""A step's action on a connection. Returns whether it may serve another request."""


class Step(Struct, frozen=True):
    """One entry of a script. `reads` is False where the request must not be read."""

    act: Act
    reads: bool = True


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Step:
    """A whole answer: `body` is sent unchanged where it is bytes, else as JSON."""

    async def act(connection: Connection) -> bool:
        await connection.send(whole_answer(status, body, headers or {}))
        return True

    return Step(act)


def reset_unread() -> Step:
    """RST on a fresh connection, before anything is read."""

    async def act(connection: Connection) -> bool:
        connection.reset()
        return False

    return Step(act, reads=False)


def reset_after_reading() -> Step:
    """RST once the whole request is read: it may have been executed."""

    async def act(connection: Connection) -> bool:
        connection.reset()
        return False

    return Step(act)


def close_after_reading() -> Step:
    """FIN once the whole request is read, without a byte of answer."""

    async def act(connection: Connection) -> bool:
        return False

    return Step(act)


def cut_body(status: int, body: object) -> Step:
    """Half of the answer's body, and FIN."""
    answer = whole_answer(status, body, {})
    head, _, tail = answer.partition(b"\r\n\r\n")

    async def act(connection: Connection) -> bool:
        await connection.send(head + b"\r\n\r\n" + tail[: len(tail) // 2])
        return False

    return Step(act)


def stall_after_headers() -> Step:
    """The head of a success, and then nothing until the client leaves."""

    async def act(connection: Connection) -> bool:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        await connection.reader.read()
        return False

    return Step(act)


def hang() -> Step:
    """No answer at all until the client leaves."""

    async def act(connection: Connection) -> bool:
        await connection.reader.read()
        return False

    return Step(act)


def raw(data: bytes) -> Step:
    """Exactly these bytes, and FIN."""

    async def act(connection: Connection) -> bool:
        await connection.send(data)
        return False

    return Step(act)


def flood(chunk_bytes: int) -> Step:
    """A success whose body never ends, until the client leaves."""
    chunk = b"%x\r\n%b\r\n" % (chunk_bytes, b" " * chunk_bytes)

    async def act(connection: Connection) -> bool:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not connection.writer.is_closing():
            await connection.send(chunk)
        return False

    return Step(act)


def whole_answer(status: int, body: object, headers: Mapping[str, str]) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {"Content-Type": "application/json", "Request-Id": "req_hostile", "Content-Length": str(len(data))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (names | dict(headers)).items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + data


class HostileStripe:
    """`async with HostileStripe() as server`: listens on a free loopback port at `server.url`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.arrived = asyncio.Condition()
        self._script: deque[Step] = deque()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_MAX_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def script(self, *steps: Step) -> None:
        """Set the steps of the next requests, in order."""
        self._script.extend(steps)

    @property
    def unused_steps(self) -> int:
        """The number of steps without a request so far."""
        return len(self._script)

    async def requests_arrived(self, count: int) -> None:
        """Wait until `count` requests have been read in all."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client left, or the test is over: either ends this connection and nothing else.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, connection: Connection) -> None:
        going = True
        while going:
            if self._script and not self._script[0].reads:
                await self._script.popleft().act(connection)
                return
            request = await read_request(connection.reader)
            async with self.arrived:
                self.requests.append(request)
                self.arrived.notify_all()
            step = self._script.popleft() if self._script else hang()
            going = await step.act(connection)


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Request(
        method=method,
        path=url.path,
        query=dict(parse_qsl(url.query, keep_blank_values=True)),
        headers=headers,
        form=dict(parse_qsl(body.decode(), keep_blank_values=True)),
    )
