"""The peer services on the bus, which lose their broker as the service does: they publish until an event is stored, and
receive all events.

Owns: their connections, and on NATS Streaming their Node processes. Must never import the service. Change together
with: `tests.e2e.bus` and `tests.e2e.streaming`, which these replace in a round.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.site import Site
from tests.e2e.bus import CANCELLED, CREATED, PAID, REFUNDED, Bus, Published
from tests.e2e.peer_services.peer_service import NodePeerService
from tests.e2e.streaming import StreamingServers

STORED_TIMEOUT_S = 1.5  # of one publish: the broker answers within milliseconds, or is away
READY_TIMEOUT_S = 3.0  # of a new peer: it connects at once, or the broker is away
POLL_EVERY_S = 0.02
RECEIVE_TIMEOUT_S = 20.0  # until a new listener has received a whole channel: a second, on a busy machine several


class TortureBus(Protocol):
    """The broker of a round."""

    async def __aenter__(self) -> TortureBus: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def publish(self, subject: str, event: object) -> None:
        """Publish; returns when the broker has stored the event, however long that takes. It may then be stored
        twice.
        """
        ...

    async def events(self) -> list[Published]:
        """Returns every event of the service on the bus, in the order in which it was stored."""
        ...

    async def unacknowledged(self, group: str) -> int:
        """Returns the number of events that the service has not acknowledged."""
        ...


def bus_of(site: Site, folder: Path) -> TortureBus:
    """Returns the bus of a site's broker."""
    if isinstance(site.servers, StreamingServers):
        return StreamingBus(site.servers, folder)
    return JetStreamBus(site.servers.nats.url)


class JetStreamBus(Bus):
    """The stream holds everything that was ever on the bus."""

    async def __aenter__(self) -> JetStreamBus:
        await super().__aenter__()
        return self

    async def publish(self, subject: str, event: object) -> None:
        while True:
            with contextlib.suppress(AssertionError):  # not stored in time: a broker that is away for long
                return await super().publish(subject, event)


class StreamingBus:
    """A Node peer publishes, one event at a time; a peer that lost its server is replaced by a new one, as a platform
    would. The content of the bus is what a new listener receives.
    """

    def __init__(self, servers: StreamingServers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._peers_made = 0
        self._publisher: NodePeerService | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> StreamingBus:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._dismiss()

    async def publish(self, subject: str, event: object) -> None:
        async with self._turn:
            while not await self._stored(subject, event):
                await self._dismiss()

    async def events(self) -> list[Published]:
        """Raises AssertionError where a new listener does not receive all events that the server counts."""
        listener = await self._new("listener", PAID, REFUNDED)
        assert listener is not None, "NATS Streaming accepts no new listener"
        try:
            end = time.monotonic() + RECEIVE_TIMEOUT_S
            while len(received := self._received(listener)) < await asyncio.to_thread(self._on_the_bus):
                assert time.monotonic() < end, f"a new listener has received {len(received)} events only"
                await asyncio.sleep(POLL_EVERY_S)
        finally:
            await asyncio.to_thread(listener.stop)
        ordered = sorted(received.values(), key=lambda line: int(line["time"]))
        return [Published(line["got"], line["data"].encode()) for line in ordered]

    async def unacknowledged(self, group: str) -> int:
        return await asyncio.to_thread(self._unacknowledged, group)

    def _unacknowledged(self, group: str) -> int:
        """The server reports the last sent sequence of each member of a durable group: the highest of them is the
        group's.
        """
        left = 0
        for name in (CREATED, CANCELLED):
            channel = self._servers.channel(name)
            members = [each for each in channel.get("subscriptions") or [] if group in (each.get("queue_name") or "")]
            sent = max((member["last_sent"] for member in members), default=0)
            left += channel.get("last_seq", 0) - sent + sum(member["pending_count"] for member in members)
        return left

    def _on_the_bus(self) -> int:
        return sum(self._servers.channel(name).get("last_seq", 0) for name in (PAID, REFUNDED))

    @staticmethod
    def _received(listener: NodePeerService) -> dict[tuple[str, int], dict[str, Any]]:
        """Returns each event once, by channel and sequence, however often it was delivered."""
        return {(line["got"], line["sequence"]): line for line in listener.lines() if "got" in line}

    async def _stored(self, subject: str, event: object) -> bool:
        """Whether one publish was acknowledged. After False it may be stored all the same."""
        if self._publisher is None:
            self._publisher = await self._new("orders")
        if self._publisher is None:
            return False
        data = event.decode() if isinstance(event, bytes) else event
        lines = [line for line in self._publisher.lines() if "published" in line]
        try:
            self._publisher.publish(subject, data)
        except BrokenPipeError:
            return False
        end = time.monotonic() + STORED_TIMEOUT_S
        while time.monotonic() < end:
            published = [line for line in self._publisher.lines() if "published" in line]
            if len(published) > len(lines):
                return "error" not in published[-1]
            await asyncio.sleep(POLL_EVERY_S)
        return False

    async def _new(self, role: str, *subjects: str) -> NodePeerService | None:
        """Returns a peer with a new name and a new group; None where the server does not accept it."""
        self._peers_made += 1
        name = f"{role}-{self._peers_made}"
        peer = NodePeerService(self._folder, self._servers.nats.url, self._servers.nats.cluster_id, name, subjects)
        peer.start()
        end = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end:
            if peer.ready:
                return peer
            await asyncio.sleep(POLL_EVERY_S)
        await asyncio.to_thread(peer.stop)
        return None

    async def _dismiss(self) -> None:
        gone, self._publisher = self._publisher, None
        if gone is not None:
            await asyncio.to_thread(gone.stop)
