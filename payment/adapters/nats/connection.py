"""One lasting connection to NATS, made of many short ones. JetStream and NATS Streaming both use it.

Owns: when to dial which server, and requests with their time limits. Must never: give up, or flush a publish that was
already reported as failed. Change together with: `payment.adapters.nats.link` (one connection) and the transports.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from payment.adapters.nats.error_texts import describe
from payment.adapters.nats.link import (
    CLOSE_TIMEOUT_S,
    INBOX,
    LIBRARY_FLUSH_S,
    PING_TIMEOUT_S,
    PUBLISH,
    SUBSCRIPTION,
    Link,
    PendingRequest,
    ServerAddress,
)
from payment.adapters.nats.login import NatsLogin
from payment.backoff import Backoff
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.transport import TransportUnavailable

RECONNECT = Backoff(first_s=0.1, longest_s=2.0)
"""Between two tries: with one try's time limit the longest stays well under the 10 s in which we recover."""
CANCEL_AGAIN_S = 0.2
"""nats-py and Python 3.11's wait_for each swallow a cancellation in a race, so the cancellation is repeated at this
interval.
"""


class NoResponders(TransportUnavailable):
    """The server answers that the subject of the request has no subscriber."""


class NoAnswer(TransportUnavailable):
    """The connection is open, and no answer came within the time limit."""


class PermissionDenied(TransportUnavailable):
    """The server's permissions don't allow the publish or the subscription."""


class TooLarge(TransportUnavailable):
    """The message is larger than this server takes."""


class NatsConnection:
    """Keeps one connection to one of the servers while `keep` runs."""

    def __init__(
        self, servers: list[str], client_name: str, ids: Ids, clock: Clock, login: NatsLogin | None = None
    ) -> None:
        self.reason = "NATS: not connected yet"
        self._servers = [ServerAddress(url) for url in servers]
        self._discovered: list[ServerAddress] = []
        self._login = login or NatsLogin()
        self._dialled = int(ids.jitter() * len(servers))  # so that processes spread over a cluster's servers
        self._client_name = client_name
        self._ids = ids
        self._clock = clock
        self._link: Link | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """Host and port of the server connected to."""
        return self._open_link().address

    @property
    def client(self) -> Client:
        """The client of the current connection. Raises TransportUnavailable where there is no connection."""
        return self._open_link().client

    @property
    def server_version(self) -> str:
        version = self.client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    async def keep(self, work: Callable[[], Awaitable[None]], lost: Callable[[str], None]) -> None:
        """Connect, run `work` for as long as the connection lives, and begin again, for ever.

        `lost` is called with the reason at every failed try and every loss. A cancellation leaves the connection open
        for messages that are still to be sent; `close` ends it. An exception of `work` is raised to the caller.
        """
        await self._drop()
        self._closed = False
        while not self._closed:
            await self._dial(lost)
            if self._link is not None:
                await self._work_on(self._link, work)
                if not self._closed:
                    lost(self.reason)
                await self._drop()
        await asyncio.Event().wait()

    async def reach(self) -> None:
        """Connect once to the first server that answers; raises TransportUnavailable with every server's reason."""
        reasons = []
        for server in self._servers:
            link = Link(server, self._client_name, self._login)
            try:
                await link.open()
            except TransportUnavailable as error:
                reasons.append(str(error))
            else:
                self._link = link
                return
        raise TransportUnavailable("; ".join(reasons))

    async def request(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, Any] | None = None) -> Msg:
        """Send a request and return the answer. The wait ends at once when the connection is lost or the permission is
        denied.

        Raises:
            NoResponders: the subject has no subscriber. PermissionDenied, TooLarge, NoAnswer: as their docstrings say.
            TransportUnavailable: any other failure; the request may have arrived all the same.
        """
        link = self._open_link()
        pending: PendingRequest | None = None
        try:
            async with asyncio.timeout(timeout_s) as scope:
                pending = PendingRequest(subject, scope)
                link.pending_requests.add(pending)
                return await link.client.request(subject, data, timeout=2 * timeout_s, headers=headers)
        except nats.errors.NoRespondersError:
            raise NoResponders(f"NATS at {link.address}: no subscriber on {subject}") from None
        except TimeoutError:
            if pending is not None and pending.reason is not None:
                raise (PermissionDenied if pending.denied else TransportUnavailable)(pending.reason) from None
            if link.denied(SUBSCRIPTION, INBOX):
                raise PermissionDenied(f"NATS at {link.address}: permission denied to subscribe to {INBOX}>") from None
            raise NoAnswer(f"NATS at {link.address}: no answer on {subject} within {timeout_s:g} s") from None
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(f"NATS at {link.address}: {describe(error)}") from None
        except (nats.errors.Error, OSError) as error:
            raise TransportUnavailable(f"NATS at {link.address}: {describe(error)}") from error
        finally:
            if pending is not None:
                link.pending_requests.discard(pending)

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send without waiting for an answer. Raises TooLarge, or TransportUnavailable where there is no connection."""
        link = self._open_link()
        try:
            await link.client.publish(subject, data, reply=reply)
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(f"NATS at {link.address}: {describe(error)}") from None
        except (nats.errors.Error, OSError) as error:
            raise TransportUnavailable(f"NATS at {link.address}: {describe(error)}") from error

    async def subscribe(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe over the current connection; returns once the server has accepted the subscription, which ends with
        the connection.

        Raises:
            PermissionDenied: the server's permissions forbid the subscription, so no message would ever arrive.
            TransportUnavailable: there is no connection, or it is lost.
        """
        link = self._open_link()
        try:
            subscription = await link.client.subscribe(subject, cb=arrived)
        except (nats.errors.Error, OSError) as error:
            raise TransportUnavailable(f"NATS at {link.address}: {describe(error)}") from error
        # The server sends a refusal before it answers a ping, and sends nothing where it accepts.
        await link.round_trip(link.client.flush(LIBRARY_FLUSH_S), PING_TIMEOUT_S)
        if link.denied(SUBSCRIPTION, subject):
            shown = f"{INBOX}>" if subject.startswith(INBOX) else subject
            raise PermissionDenied(f"NATS at {link.address}: permission denied to subscribe to {shown}")
        return subscription

    def denied(self, beginning: str, within_s: float | None = None) -> str | None:
        """A subject with this prefix that the server of this connection forbade us to publish to, within the last
        `within_s` seconds or ever; None if there is none.

        A message that is published without a request (an acknowledgement, a pull) gets no other answer.
        """
        return None if self._link is None else self._link.denied(PUBLISH, beginning, within_s)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Return when no message can still be on its way to the subscription. Raises TransportUnavailable."""
        await self._open_link().round_trip(
            subscription.drain(),  # type: ignore[no-untyped-call]
            CLOSE_TIMEOUT_S,
        )

    async def flush(self) -> None:
        """Return when the server has read all that was sent; raises TransportUnavailable."""
        link = self._open_link()
        await link.round_trip(link.client.flush(LIBRARY_FLUSH_S), CLOSE_TIMEOUT_S)

    async def pause(self, failures: int) -> None:
        """Wait before the next try: longer with each failure in a row, half of it by chance."""
        await self._clock.sleep(RECONNECT.spread_s(failures, self._ids.jitter()))

    async def close(self) -> None:
        """Flush and close. No new connection is made until `keep` is called again."""
        self._closed = True
        await self._drop()
        self.reason = "NATS: the connection was closed by this service"

    async def _dial(self, lost: Callable[[str], None]) -> None:
        failures = 0
        while not self._closed:
            link = Link(self._next_server(), self._client_name, self._login)
            try:
                await link.open()
            except TransportUnavailable as error:
                self.reason = str(error)
                lost(self.reason)
                failures += 1
                await self.pause(1 + failures // (len(self._servers) + len(self._discovered)))
            else:
                self._discovered = link.discovered_servers()
                self._link = link
                return

    def _next_server(self) -> ServerAddress:
        """Cycle through the configured servers, then through the servers of their cluster that they announced."""
        known = self._servers + self._discovered
        self._dialled += 1
        return known[(self._dialled - 1) % len(known)]

    async def _work_on(self, link: Link, work: Callable[[], Awaitable[None]]) -> None:
        await run_until([work(), link.until_lost()], asyncio.FIRST_COMPLETED)
        self.reason = link.reason

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _open_link(self) -> Link:
        if self._link is None:
            raise TransportUnavailable(self.reason)
        if self._link.lost.is_set():
            raise TransportUnavailable(self._link.reason)
        return self._link


async def run_until(works: Iterable[Awaitable[None]], end: str) -> None:
    """Run all until `end` (`return_when` of `asyncio.wait`), then cancel the others. Raises what one of them raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=end)
        for task in done:
            task.result()
    finally:
        await cancel_all(tasks)


async def cancel_all(tasks: Iterable[asyncio.Future[None]]) -> None:
    """Cancel the tasks, repeatedly if need be, and return when all have ended."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
