"""A wire without a network, and a minimal NATS Streaming server with scripted answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nats.aio import client as nats_client
from nats.aio.msg import Msg

from payment.adapters.nats.stan.client import Client
from payment.adapters.nats.stan.codec import Message, decode, encode
from payment.adapters.nats.stan.errors import ServerUnreachable
from payment.adapters.nats.stan.messages import CloseResponse, ConnectResponse, PubMsg, SubscriptionResponse
from payment.adapters.nats.stan.subscription import Durable
from tests.support.fakes.clock import FakeClock

HEARTBEATS, PONGS, ACKS = "inbox-1", "inbox-2", "_STAN.acks.c1"
"""The inboxes of a session that `connect` opened as a wire's first."""
DISCOVER = "_STAN.discover.ticketing"
ORDERS = Durable("order:created", "payment", "payment", ack_wait_s=10, max_in_flight=7)
WELCOME = ConnectResponse(
    pub_prefix="pub",
    sub_requests="sub",
    unsub_requests="unsub",
    close_requests="close",
    sub_close_requests="subclose",
    ping_requests="pings",
    ping_interval=3,
    ping_max_out=3,
    protocol=1,
)


@dataclass
class FakeSubscription:
    """Replaces nats-py's subscription."""

    subject: str
    arrived: Callable[[Msg], Awaitable[None]]


class FakeWire:
    """`answers` has, by subject, a message or an exception; `asked` and `sent` are the sent messages."""

    def __init__(self) -> None:
        self.answers: dict[str, Message | bytes | Exception] = {
            DISCOVER: WELCOME,
            "sub": SubscriptionResponse(ack_inbox="acks-of-sub"),
            "subclose": SubscriptionResponse(),
            "close": CloseResponse(),
        }
        self.before_answer: Callable[[str, bytes], Awaitable[None]] | None = None
        self.asked: list[tuple[str, bytes]] = []
        self.sent: list[tuple[str, bytes, str]] = []
        self.done: list[str] = []
        """The calls of subscribe, flush, request and unsubscribe, in their order."""
        self.gone = False
        self.ears: list[FakeSubscription] = []
        self._inboxes = 0

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"inbox-{self._inboxes}"

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        self._check()
        self.asked.append((subject, data))
        self.done.append(f"ask {subject}")
        if self.before_answer is not None:
            await self.before_answer(subject, data)
        answer = self.answers[subject]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else encode(answer)

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        self._check()
        self.sent.append((subject, data, reply))

    async def listen(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Any:
        self._check()
        subscription = FakeSubscription(subject, arrived)
        self.ears.append(subscription)
        self.done.append(f"listen {subject}")
        return subscription

    async def unlisten(self, subscription: Any) -> None:
        self._check()
        self.ears.remove(subscription)
        self.done.append(f"leave {subscription.subject}")

    async def flush(self) -> None:
        self._check()
        self.done.append("flush")

    async def deliver(
        self, subject: str, data: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Deliver a message of the server to a subject's subscribers."""
        client = nats_client.Client()
        for subscription in tuple(self.ears):
            if subscription.subject == subject:
                message = Msg(_client=client, subject=subject, reply=reply, data=data, headers=headers)
                await subscription.arrived(message)

    @property
    def subjects(self) -> list[str]:
        """Returns the subscribed subjects."""
        return [subscription.subject for subscription in self.ears]

    def published(self) -> list[PubMsg]:
        return [decode(PubMsg, data) for subject, data, _ in self.sent if subject.startswith("pub.")]

    def _check(self) -> None:
        if self.gone:
            raise ServerUnreachable("the connection is gone")


async def connect(wire: FakeWire, clock: FakeClock, client_id: str = "pay") -> Client:
    return await Client.connect(wire, "ticketing", client_id, "c1", clock.sleep)
