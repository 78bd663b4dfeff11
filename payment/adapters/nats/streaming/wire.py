"""Adapts the service's lasting NATS connection to the NATS Streaming client: only the errors differ.

Owns: nothing. Must never: outlive a connection; each connection gets a new wire and a new session. Change together
with: `payment.adapters.nats.stan.wire` (the Protocol) and `payment.adapters.nats.connection` (the connection).
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from payment.adapters.nats.connection import NatsConnection, NoResponders, TooLarge
from payment.adapters.nats.stan.errors import MessageTooLarge, NoListener, ServerUnreachable
from payment.ports.transport import TransportUnavailable


class ConnectionWire:
    """A `Wire` over the current connection."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    def new_inbox(self) -> str:
        with _stan_errors():
            return self._connection.client.new_inbox()

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        with _stan_errors():
            return (await self._connection.request(subject, data, timeout_s)).data

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        try:  # as `_stan_errors`, but twice as fast: `send` is called for each message
            await self._connection.send(subject, data, reply)
        except TooLarge as error:
            raise MessageTooLarge(str(error)) from error
        except TransportUnavailable as error:
            raise ServerUnreachable(str(error)) from error

    async def listen(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        with _stan_errors():
            return await self._connection.subscribe(subject, arrived)

    async def unlisten(self, subscription: Subscription) -> None:
        with _stan_errors():
            await self._connection.unsubscribe(subscription)

    async def flush(self) -> None:
        with _stan_errors():
            await self._connection.flush()


@contextmanager
def _stan_errors() -> Iterator[None]:
    try:
        yield
    except NoResponders as error:
        raise NoListener(str(error)) from error
    except TransportUnavailable as error:
        raise ServerUnreachable(str(error)) from error
