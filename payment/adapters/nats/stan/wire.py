"""The Protocol of a NATS connection as this package needs it. The owner of the connections decides their lifetime.

A wire is one connection. When it is lost, so is the session over it: a new connection needs a new session.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


class Wire(Protocol):
    """One connection to NATS. Each method raises `ServerUnreachable` where the connection is lost."""

    def new_inbox(self) -> str:
        """Returns a subject that no other client uses."""

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Send a request and return the answer's data. Raises `NoListener` where the subject has no subscriber,
        `ServerUnreachable` for no answer.
        """

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send without waiting. A message that was sent here must not be sent again over a later connection."""

    async def listen(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe: `arrived` is called for each message, one after the other."""

    async def unlisten(self, subscription: Subscription) -> None:
        """Unsubscribe; returns when NATS has processed it."""

    async def flush(self) -> None:
        """Return when NATS has read all sent messages."""


def is_no_responders(message: Msg) -> bool:
    """Whether a message is NATS's own status for a subject without subscribers. Its data are empty, like those of a
    good ping answer.
    """
    return bool(message.headers) and (message.headers or {}).get("Status") == "503"
