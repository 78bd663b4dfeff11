"""The stack's servers with NATS Streaming in place of NATS, and a bus with a Node program as the peer service.

Owns: the server's monitoring port. Must never import the service. Change together with: `tests.e2e.bus`, which
`NodeBus` replaces for the laws, and `tests.e2e.peer_services`.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.bus import CANCELLED, CREATED, PAID, REFUNDED, Published, order_cancelled, order_created
from tests.e2e.peer_services.peer_service import NodePeerService
from tests.e2e.stack import Servers
from tests.e2e.waiting import eventually
from tests.support.servers.mongo import MongoServer, NxServer
from tests.support.servers.nats_streaming import NatsStreamingServer
from tests.support.servers.process import LOOPBACK, free_port

MONITOR_TIMEOUT_S = 5.0


class StreamingServers(Servers):
    """NATS Streaming with a file store, MongoDB and Stripe."""

    def __init__(self, folder: Path, mongo: Callable[[Path], MongoServer] = NxServer) -> None:
        super().__init__(folder, mongo)
        self.monitor_port = free_port()
        self.nats: Any = NatsStreamingServer(folder, options=("-m", str(self.monitor_port)))

    def channel(self, name: str) -> dict[str, Any]:
        """Returns a channel and its durables as the server reports them; empty where there is no such channel."""
        words = urllib.parse.urlencode({"channel": name, "subs": 1})
        url = f"http://{LOOPBACK}:{self.monitor_port}/streaming/channelsz?{words}"
        try:
            with urllib.request.urlopen(url, timeout=MONITOR_TIMEOUT_S) as response:
                shown: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            error.close()
            return {}
        return shown


class NodeBus:
    """The bus for the laws: a Node peer publishes orders and receives payments."""

    def __init__(self, servers: StreamingServers, folder: Path) -> None:
        self._servers = servers
        self._asked = 0
        self.peer = NodePeerService(folder, servers.nats.url, servers.nats.cluster_id)

    async def __aenter__(self) -> NodeBus:
        self.peer.start()

        async def ready() -> bool:
            return self.peer.ready

        try:
            await eventually(ready, "the peer is ready")
        except AssertionError:
            self.peer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.peer.stop()

    async def create(self, order: str) -> None:
        self._publish(CREATED, order_created(order))

    async def cancel(self, order: str) -> None:
        self._publish(CANCELLED, order_cancelled(order))

    async def events(self) -> list[Published]:
        """Returns the events that the peer has received, in the order in which the server stored them."""
        received = [line for line in self.peer.lines() if "got" in line]
        return [
            Published(line["got"], line["data"].encode()) for line in sorted(received, key=lambda line: line["time"])
        ]

    async def unacknowledged(self, _: str = "") -> int:
        """Returns the number of events that are not stored yet or that any durable has not acknowledged yet."""
        left = self._asked - self.peer.published
        for name in (CREATED, CANCELLED, PAID, REFUNDED):
            channel = self._servers.channel(name)
            for durable in channel.get("subscriptions") or []:
                left += channel["last_seq"] - durable["last_sent"] + durable["pending_count"]
        return left

    def _publish(self, subject: str, event: object) -> None:
        self._asked += 1
        self.peer.publish(subject, event)
