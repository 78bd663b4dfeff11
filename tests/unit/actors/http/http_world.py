"""The HTTP actor over a real socket, a ledger whose answers a test sets, and a clock that a test moves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import jwt
import msgspec
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from payment.actors.http.actor import HttpActor, HttpConfig
from payment.actors.http.admission import CONNECTIONS_MAX
from payment.actors.http.connections import Connection, ListeningSockets, Server
from payment.actors.http.pending_requests import LEDGER_RESERVE
from payment.actors.http.responses import ErrorCode
from payment.actors.messages import (
    AnswerBy,
    ChargeOrder,
    ChargeReply,
    GetPayment,
    LedgerMessage,
    PaymentReply,
)
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.core.replies import Paid, PaymentStatus, PaymentView, Reply, Unavailable
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.secret import Secret
from payment.ports.cards import Handover, NextAction
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.ids import FakeIds

JWT_KEY = "the platform's secret for tests, which is long enough"
OWNER = "u1"
ORDER_ID = "o1"
PAYMENT_ID = "0123456789abcdef0123456789abcdef"
STRIPE_ID = "ch_1"
PAYMENTS = "/api/v1/payments"
CHARGE_WAIT_S = 20.0
REAL_S = 10.0
"""What a test waits for over a real socket is there within this, in real seconds, or never."""

CODES = frozenset(code.value for code in ErrorCode)

PAID = Paid(PAYMENT_ID, ORDER_ID, STRIPE_ID)
FORM = {"orderId": ORDER_ID, "token": "tok_visa"}

CLIENT_SECRET = "pi_1_secret_ofTheOwnerAlone"
BANK_URL = "https://hooks.stripe.com/3d_secure_2/hosted?merchant=1&secret=ofTheBank"
SDK = Handover(CLIENT_SECRET, NextAction())
REDIRECT = Handover(CLIENT_SECRET, NextAction(BANK_URL))


def bearer(user_id: object = OWNER, key: str = JWT_KEY, **claims: object) -> dict[str, str]:
    """The header of a user who is logged in."""
    return {"Authorization": f"Bearer {jwt.encode({'id': user_id, **claims}, key, algorithm='HS256')}"}


def view(status: PaymentStatus = PaymentStatus.PAID, stripe_id: str | None = STRIPE_ID) -> PaymentView:
    return PaymentView(PAYMENT_ID, ORDER_ID, OWNER, status, stripe_id)


class FakeLedger:
    """Answers every message in the ledger's mailbox with `answer` or `found`; with `holding`, it only keeps them."""

    def __init__(self, mailbox: Mailbox[LedgerMessage]) -> None:
        self.mailbox = mailbox
        self.asked: list[ChargeOrder | GetPayment] = []
        self.answer_by: float | None = None
        """The deadline that HTTP has named last, for all requests that it has asked."""
        self.answer: ChargeReply = ChargeReply(PAID)
        self.found: PaymentReply | Unavailable | None = PaymentReply(view())
        self.holding = False
        self.arrived = asyncio.Event()

    def says(
        self, reply: Reply | Unavailable, retry_after_s: int | None = None, handover: Handover | None = None
    ) -> None:
        self.answer = ChargeReply(reply, retry_after_s, handover)

    def finds(self, found: PaymentView | Unavailable | None, handover: Handover | None = None) -> None:
        self.found = PaymentReply(found, handover) if isinstance(found, PaymentView) else found

    async def run(self) -> None:
        while True:
            message = await self.mailbox.get()
            if isinstance(message, AnswerBy):
                self.answer_by = message.deadline
                continue
            assert isinstance(message, ChargeOrder | GetPayment)
            self.asked.append(message)
            self.arrived.set()
            if self.holding or message.answer.done():
                continue
            if isinstance(message, ChargeOrder):
                message.answer.set_result(self.answer)
            else:
                message.answer.set_result(self.found)

    async def holds(self, count: int) -> None:
        """Wait until `count` messages have come."""
        while len(self.asked) < count:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), REAL_S)


class Got(msgspec.Struct):
    """An answer as a client sees it."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def errors(self) -> list[dict[str, str]]:
        """The errors of a body that is in the platform's shape, or the test fails. Only a 402 names its payment too."""
        assert set(self.json) == ({"errors", "id"} if self.status == 402 else {"errors"}), self.json
        assert self.json["errors"], self.json
        assert all(isinstance(error["message"], str) and error["message"] for error in self.json["errors"])
        assert all(error["code"] in CODES for error in self.json["errors"])
        errors: list[dict[str, str]] = self.json["errors"]
        return errors

    @property
    def message(self) -> str:
        return self.errors[0]["message"]

    @property
    def code(self) -> str:
        return self.errors[0]["code"]


class HttpWorld:
    """One HTTP actor that serves, and a client of it."""

    def __init__(
        self,
        ledger_messages: int = LEDGER_RESERVE + 100,
        host: str | None = "127.0.0.1",
        ops_key: str | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.ops_key = None if ops_key is None else Secret(ops_key)
        self.connections_max = connections_max
        self.clock = FakeClock()
        self.health = Health(self.clock)
        self.metrics = Metrics()
        self.stuck: Callable[[], list[str]] = list
        self.mailbox: Mailbox[LedgerMessage] = Mailbox("mongo", ledger_messages)
        self.ledger = FakeLedger(self.mailbox)
        self.listening = ListeningSockets(host, 0, get_logger())
        self.actor = self.new_actor()

    def new_actor(self, listening: ListeningSockets | None = None) -> HttpActor:
        return HttpActor(
            HttpConfig(CHARGE_WAIT_S, (Secret(JWT_KEY),), self.ops_key, self.connections_max),
            Mailbox("http", 1),
            self.mailbox,
            PublishedEstimate(QueueEstimate(25.0, 25.0)),
            self.clock,
            FakeIds(),
            self.health,
            self.metrics,
            get_logger(),
            lambda: self.stuck(),
            listening or self.listening,
        )

    def up(self) -> None:
        """Every dependency is up and the service is ready."""
        for dependency in Dependency:
            self.health.mark_up(dependency)
        self.health.ready()

    async def start(self) -> None:
        await self.actor.setup()
        self.running = asyncio.create_task(self.actor.run())
        self.answering = asyncio.create_task(self.ledger.run())
        self.client = ClientSession(f"http://127.0.0.1:{self.actor.port}", connector=TCPConnector(limit=0))

    async def stop(self) -> None:
        await self.client.close()
        for task in (self.running, self.answering):
            task.cancel()
        await asyncio.wait((self.running, self.answering))
        with contextlib.suppress(Exception):
            await self.actor.close()
        self.listening.close()

    async def request(self, method: str, path: str | URL, **kwargs: Any) -> Got:
        async with asyncio.timeout(REAL_S), self.client.request(method, path, **kwargs) as response:
            return Got(response.status, response.headers, await response.read())

    async def post(self, body: object = None, headers: dict[str, str] | None = None, **kwargs: Any) -> Got:
        """A charge, by default a right one. Bytes are sent as they are."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(FORM if body is None else body)
        sent = {"Content-Type": "application/json", **(bearer() if headers is None else headers)}
        return await self.request("POST", PAYMENTS, data=data, headers=sent, **kwargs)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Got:
        return await self.request("GET", path, headers=headers or {})

    async def show(self, payment_id: str = PAYMENT_ID, headers: dict[str, str] | None = None) -> Got:
        return await self.get(f"{PAYMENTS}/{payment_id}", bearer() if headers is None else headers)

    async def find(self, query: str = f"orderId={ORDER_ID}", headers: dict[str, str] | None = None) -> Got:
        """The payment of an order, by a query that is sent as it is."""
        path = f"{PAYMENTS}?{query}" if query else PAYMENTS
        url = URL(f"http://127.0.0.1:{self.actor.port}{path}", encoded=True)
        return await self.request("GET", url, headers=bearer() if headers is None else headers)

    @property
    def server(self) -> Server:
        """The actor's, which makes its connections."""
        assert self.actor._runner is not None
        assert isinstance(self.actor._runner.server, Server)
        return self.actor._runner.server

    async def connected(self) -> "tuple[Connection, Wire]":
        """A connection whose bytes come when the test says so."""
        connection, wire = self.server(), Wire()
        connection.connection_made(wire)
        await asyncio.sleep(0)
        return connection, wire

    async def raw(self, sent: bytes, *, end: bool = False) -> Got:
        """Send these very bytes on a connection of their own, and read one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.actor.port)
        try:
            async with asyncio.timeout(REAL_S):
                writer.write(sent)
                if end:
                    writer.write_eof()
                return await read_answer(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let sockets and tasks do their work until the condition holds."""
        async with asyncio.timeout(REAL_S):
            while not condition():  # noqa: ASYNC110  # sockets have no event to wait on
                await asyncio.sleep(0)


Written = bytes | bytearray | memoryview


class Wire(asyncio.Transport):
    """A connection's other end, without a socket: keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Written) -> None:
        self.written += data

    def writelines(self, list_of_data: Iterable[Written]) -> None:
        self.written += b"".join(list_of_data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It takes everything at once."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def read_answer(reader: asyncio.StreamReader) -> Got:
    """One HTTP answer, and no more, off a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.strip().split("\r\n")
    headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("Content-Length", 0)))
    return Got(int(status_line.split()[1]), headers, body)


def raw_post(headers: bytes, body: bytes = b"", token: str | None = None) -> bytes:
    """The bytes of a charge request whose further headers (each with its line end) and body are as given."""
    authorization = (token or bearer()["Authorization"]).encode()
    head = b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: "
    return head + authorization + b"\r\n" + headers + b"\r\n" + body


@contextlib.asynccontextmanager
async def http_world(**kwargs: Any) -> AsyncIterator[HttpWorld]:
    """A world that serves, with everything up."""
    world = HttpWorld(**kwargs)
    await world.start()
    world.up()
    try:
        yield world
    finally:
        await world.stop()
