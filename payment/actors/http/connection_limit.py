"""The limit of connections: how many there may be, and which one is closed to make room for another.

Connections of clients share the process's file descriptors with those to Stripe, MongoDB and NATS. A client that opens
connections and keeps them must not take what a charge needs (F51), so a part of the descriptors is never used here.

Where all that may be are open, the connection that has been idle longest is closed for a new one: first one that has
never sent a whole request, then one between two requests, then one whose request waits for its turn
(`payment.actors.http.turns`): thousands that repeat cheap requests must not shut customers out. A connection whose
request is being handled, or waits in the queue of charges, is never closed. Where all have one, the new client is
answered 503.
"""

import asyncio
from typing import Protocol

from msgspec import Struct

CONNECTIONS_MAX = 16_384
"""Most connections at once, whatever the descriptors: more than requests may wait, and each costs some 20 KB."""
CONNECTIONS_LEAST = 16
"""Fewest connections that the service takes, however few descriptors there are."""
STORE_DESCRIPTORS = 110
"""For MongoDB: the driver's pools, of the store and of the making of indexes, and its monitors of each server; with
room for a `MONGO_URL` that names a hundred servers."""
OTHER_DESCRIPTORS = 64
"""For NATS, the log, the event loop, the listening sockets, name look-ups, and connections that replace others."""
ACCEPTED_SHARE = 4
"""One descriptor in this many is for clients that are accepted and whose connection is not made yet."""
ACCEPTED_MAX = 8_192
"""Most of those: as many may arrive within a moment when a sale begins."""
SPARED_S = 1.0
"""No connection is closed to make room before it has been idle, or waited for a turn, this long, in seconds: the first
request of a new client is on its way, or the next one of an old one, and turns come within milliseconds."""


class ConnectionLimit(Struct, frozen=True):
    """`connections` that may be open, and clients that may be `accepted` and wait for theirs."""

    connections: int = CONNECTIONS_MAX
    accepted: int = ACCEPTED_MAX


def connection_limit_within(descriptors: int, stripe_connections: int) -> ConnectionLimit:
    """Returns what a process that may open `descriptors` files leaves to its clients.

    It keeps what the service itself needs, `stripe_connections` among it, but never more than half of all.
    """
    needed = stripe_connections + STORE_DESCRIPTORS + OTHER_DESCRIPTORS
    ours = max(descriptors - needed, descriptors // 2)
    accepted = min(max(ours // ACCEPTED_SHARE, 1), ACCEPTED_MAX)
    return ConnectionLimit(min(max(ours - accepted, CONNECTIONS_LEAST), CONNECTIONS_MAX), accepted)


class Closable(Protocol):
    """A connection."""

    def force_close(self) -> None:
        """Close it at once."""


class IdleConnections:
    """The connections for which nothing is being done, each since when. Times are the event loop's seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._never_asked: dict[Closable, float] = {}
        self._between_requests: dict[Closable, float] = {}
        self._awaiting_turn: dict[Closable, float] = {}

    def opened(self, connection: Closable) -> None:
        """It is new: no whole request has come on it."""
        self._never_asked[connection] = self._loop.time()

    def busy(self, connection: Closable) -> None:
        """A request of it is being handled, or it is closed."""
        self._never_asked.pop(connection, None)
        self._between_requests.pop(connection, None)
        self._awaiting_turn.pop(connection, None)

    def awaits_turn(self, connection: Closable) -> None:
        """A request of it waits for its turn: nothing is lost with it."""
        self.busy(connection)
        self._awaiting_turn[connection] = self._loop.time()

    def answered(self, connection: Closable) -> None:
        """All its requests have been answered."""
        self._between_requests[connection] = self._loop.time()

    def close_one(self) -> bool:
        """Close the connection that is missed least. Returns False: none has been idle for long enough."""
        for idle in (self._never_asked, self._between_requests, self._awaiting_turn):
            connection, since = next(iter(idle.items()), (None, 0.0))
            if connection is not None and self._loop.time() - since >= SPARED_S:
                del idle[connection]
                connection.force_close()
                return True
        return False
