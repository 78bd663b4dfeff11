"""The load generator: paying customers as a separate process, which uses little CPU so that the measured service gets
the cores.

Reads one job a line from stdin, as JSON (`Job`), and writes its result as one line (`Result`). Each order belongs to a
separate user, whose JWT and whole request are generated before the clock starts. A connection carries one request at a
time and is reused.

    closed   `clients` concurrent clients, each sends the next order after its answer (and a pause of `pause_s`)
    open     each order at its second of `at`, however many wait, on a new connection where none is idle;
             with `again`, an order that was refused with 503 is sent again after the others
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections import deque
from collections.abc import Iterator

import msgspec

from bench.http1 import Messages, header, status_of

LOOPBACK = "127.0.0.1"
PAYMENTS = "/api/v1/payments"
JWT_KEY = "the-jwt-secret-of-the-bench-and-of-nothing-else"
CARD = "tok_visa"
NO_ANSWER = 0
"""The status of a request whose connection ended, or whose answer did not come before the job's end."""
UNAVAILABLE, PENDING = 503, 202
TICK_S = 0.001
"""The finest step in which an open job sends."""


class Job(msgspec.Struct, kw_only=True):
    """The requests to send. `paths`, where given, makes each request a GET of that path by the order's user."""

    port: int
    orders: list[str]
    clients: int = 0
    pause_s: float = 0.0
    at: list[float] | None = None
    again: bool = False
    paths: list[str] | None = None
    deadline_s: float = 60.0


class Result(msgspec.Struct, kw_only=True):
    """One entry a request, in the order of sending: index in `Job.orders`, monotonic time, seconds, status.

    `places` has the `Location` of each 202 by its order, `paid` the number of GET answers with status paid.
    """

    which: list[int] = []
    sent_at: list[float] = []
    took_s: list[float] = []
    status: list[int] = []
    places: dict[str, str] = {}
    paid: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0
    cpu_s: float = 0.0


def user_of(order: str) -> str:
    """Returns the user to whom an order belongs."""
    return f"person-{order}"


def identity(order: str) -> str:
    """Returns the JWT of an order's user (HS256)."""
    claims = {"id": user_of(order), "email": f"{order}@example.com", "iat": 1_700_000_000}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    digest = hmac.new(JWT_KEY.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def request_of(order: str, path: str | None = None) -> bytes:
    """Returns a whole request: a POST that pays the order, or a GET."""
    method, body = ("POST", json.dumps({"orderId": order, "token": CARD})) if path is None else ("GET", "")
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path or PAYMENTS} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {identity(order)}\r\n"
    return f"{head}{more}\r\n{body}".encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection, with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._messages = Messages()
        self.under_way: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, number: int, data: bytes) -> None:
        self.under_way = number
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.fed(data):
            number, self.under_way = self.under_way, None
            if number is not None:
                self._load.answered(self, number, head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self, self.under_way)


class Load:
    """One job, from its first request to its last answer."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result = Result()
        self._requests = [
            request_of(order, job.paths[place] if job.paths else None) for place, order in enumerate(job.orders)
        ]
        self._next: deque[int] = deque(range(len(job.orders)))
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._open = 0
        self._all_sent = False
        self._done = asyncio.Event()

    async def run(self) -> Result:
        cpu_s, self.result.began_at = time.process_time(), time.monotonic()
        sending = asyncio.create_task(self._on_time(self.job.at) if self.job.at else self._clients())
        try:
            async with asyncio.timeout(self.job.deadline_s):
                await self._done.wait()
        except TimeoutError:
            sending.cancel()
        self.result.ended_at, self.result.cpu_s = time.monotonic(), time.process_time() - cpu_s
        await asyncio.gather(sending, return_exceptions=True)
        for connection in list(self._connections):
            connection.transport.abort()
        return self.result

    async def _clients(self) -> None:
        self._all_sent = True
        for _ in range(min(self.job.clients, len(self._next))):
            await self._fire()

    async def _on_time(self, at: list[float]) -> None:
        began = time.monotonic()
        for offset_s in at:
            if (wait_s := began + offset_s - time.monotonic()) > 0:
                await asyncio.sleep(max(wait_s, TICK_S))
            if self._next:
                self._fire_open()
            if len(self._connecting) > 1:
                await asyncio.sleep(0)
        self._all_sent = True
        if not self._open:
            self._done.set()

    def _fire_open(self) -> None:
        number = self._note(self._next.popleft())
        if self._idle:
            self._send(self._idle.pop(), number)
            return
        task = asyncio.create_task(self._connect_and_send(number))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _fire(self) -> None:
        await self._connect_and_send(self._note(self._next.popleft()))

    async def _connect_and_send(self, number: int) -> None:
        try:
            connection = await self._connect()
        except OSError:
            self._ended(number, NO_ANSWER)
            return
        self._send(connection, number)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), LOOPBACK, self.job.port)
        self._connections.add(connection)
        return connection

    def _note(self, place: int) -> int:
        """Note the start of a request: when it is sent, or its connection is opened, whichever is first."""
        result = self.result
        result.which.append(place)
        result.sent_at.append(time.monotonic())
        result.took_s.append(-1.0)
        result.status.append(NO_ANSWER)
        self._open += 1
        return len(result.which) - 1

    def _send(self, connection: Connection, number: int) -> None:
        connection.send(number, self._requests[self.result.which[number]])

    def answered(self, connection: Connection, number: int, head: bytes, body: bytes) -> None:
        """Note an answer, and let the connection's client continue."""
        status, place = status_of(head), self.result.which[number]
        self._ended(number, status)
        if self.job.paths is not None and b'"paid"' in body:
            self.result.paid += 1
        if status == PENDING:
            self.result.places[self.job.orders[place]] = header(head, b"location").decode()
        if self.job.again and status == UNAVAILABLE:
            self._next.append(place)
        if b"\nconnection: close" in head.lower():
            connection.transport.close()
        elif self.job.at is None and self._next:
            self._go_on(connection)
        else:
            self._idle.append(connection)

    def _go_on(self, connection: Connection) -> None:
        place = self._next.popleft()
        if self.job.pause_s:
            self._open += 1
            asyncio.get_running_loop().call_later(self.job.pause_s, self._after_pause, connection, place)
        else:
            self._send(connection, self._note(place))

    def _after_pause(self, connection: Connection, place: int) -> None:
        self._open -= 1
        self._send(connection, self._note(place))

    def lost(self, connection: Connection, number: int | None) -> None:
        """Note the end of a connection, perhaps with a request on it."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if number is not None:
            self._ended(number, NO_ANSWER)

    def _ended(self, number: int, status: int) -> None:
        result = self.result
        result.took_s[number] = time.monotonic() - result.sent_at[number]
        result.status[number] = status
        self._open -= 1
        if not self._open and self._all_sent and (self.job.at is not None or not self._next):
            self._done.set()


def jobs() -> Iterator[Job]:
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=Job)


def main() -> None:
    for job in jobs():
        result = asyncio.run(_load(job))
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()


async def _load(job: Job) -> Result:
    return await Load(job).run()


if __name__ == "__main__":
    main()
