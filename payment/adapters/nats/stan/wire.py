"""What this package needs of a connection to NATS: a Protocol, so that whoever owns connections decides how they live.

A wire stands for one connection. When that one is lost, so is the session over it: a new connection begins a new one.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


class Wire(Protocol):
    """One connection to NATS. Each method raises `Unreachable` where the connection is lost."""

    def new_inbox(self) -> str:
        """A subject that nobody else has."""

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Ask and return the answer's data; raises `NoListener` where NATS says so, `Unreachable` for no answer."""

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send and don't wait. Nothing that was sent here may be sent again over a later connection."""

    async def listen(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call `arrived` for each message, one after the other."""

    async def unlisten(self, subscription: Subscription) -> None:
        """Return when NATS knows that nobody listens here any more."""

    async def flush(self) -> None:
        """Return when NATS has read all that was sent."""


def is_no_responders(message: Msg) -> bool:
    """Whether this is NATS itself, saying that nobody listens. Its data are empty, as a good ping answer's are."""
    return bool(message.headers) and (message.headers or {}).get("Status") == "503"
