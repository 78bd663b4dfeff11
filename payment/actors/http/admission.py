"""Admission: which requests are handled, when, and how many clients are connected; judged before any work is done.

- Charges are handled in the order in which they arrive: a few in one turn of the event loop, and none while the ledger
  is behind with those before them. One that would wait here for too long is refused on arrival; but where charges wait
  for Stripe afterwards, waiting here costs no time, and as many are admitted as may be pending at all. After the ledger
  has refused one, all are refused for a moment.
- Requests that need no reply of the ledger pass one in a millisecond at most, over all connections. Without this a
  handler that never suspends answers hundreds of pipelined requests in one turn of the event loop, and charges and the
  heartbeat of NATS wait meanwhile (F51).
- Connections of clients share the process's file descriptors with those to Stripe, MongoDB and NATS, so a part of the
  descriptors is never used for clients.

This module decides and counts; `payment.actors.http.actor` and `payment.actors.http.connections` ask it. It must never
read a request.
"""

import asyncio
import math
from collections.abc import Callable

from payment.ports.clock import Clock

BUSY_S = 0.25
"""How long every charge is refused after the ledger was busy, in seconds. To ask the ledger for each of them would
cost, in a burst, most of the capacity that it lacks."""
QUEUE_WAIT_S = 4.0
"""Longest expected wait, in seconds, with which a charge is admitted, at the rate at which the queue is served. A burst
is felt this long after its end."""
QUEUE_MAX = 3_000
"""Most charges that wait here where Stripe is not what they wait for afterwards, and before the rate is known: as many
arrive at once when a sale begins."""
QUEUE_LEAST = 64
"""As many charges may always wait here, however slowly the queue is served: fewer are not worth a refusal."""
RATE_WINDOW_S = 2.0
"""Over how long the rate of the queue is measured, in seconds: a store that takes a second for once must not lead to
refusals."""
RATE_KEPT_S = 10.0
"""How long after the last refusal the measured rate holds, in seconds, though the queue was empty meanwhile: else an
overload that lasts would be admitted anew, `QUEUE_MAX` at a time."""
AT_ONCE = 32
"""Charges that pass together. Each takes half a millisecond, and delays other answers as long. With 8 fewer passed in a
turn of the loop than arrived in it when a sale began, and a third of a sale was refused for its slow queue."""
BEHIND_S = 0.5
"""No charge passes while one has waited this long for the ledger's decision, in seconds."""
CATCH_UP_S = 0.01
"""How soon it is checked again whether the ledger has caught up, in seconds."""
TURN_S = 0.001
"""Least time between two requests that need no reply of the ledger, in seconds. Each takes 0.1 to 0.4 ms: so they never
take the whole loop, nor the interpreter's lock from the threads that talk to MongoDB."""
PATIENCE_S = 15.0
"""After this wait, in seconds, a charge is refused: the ledger must have come to a halt, and a charge that is sent to
it later could not be answered in time."""

CONNECTIONS_MAX = 16_384
"""Most connections at once, whatever the descriptors: more than requests may wait, and each costs some 20 KB."""
CONNECTIONS_LEAST = 16
"""Fewest connections that the service takes, however few descriptors there are."""
STORE_DESCRIPTORS = 110
"""For MongoDB: the driver's pools, of the store and of the making of indexes, and its monitors of each server; with
room for a `MONGO_URL` that names a hundred servers."""
OTHER_DESCRIPTORS = 64
"""For NATS, the log, the event loop, the listening sockets, name look-ups, and connections that replace others."""
CLOSING_SHARE = 8
"""One descriptor in this many is for connections that are being refused or closed."""


def connections_within(descriptors: int, stripe_connections: int) -> int:
    """Returns how many connections of clients a process that may open `descriptors` files can have.

    The process keeps what it needs itself, `stripe_connections` among it, but never more than half of all.
    """
    needed = stripe_connections + STORE_DESCRIPTORS + OTHER_DESCRIPTORS
    clients = max(descriptors - needed, descriptors // 2)
    return min(max(clients - clients // CLOSING_SHARE, CONNECTIONS_LEAST), CONNECTIONS_MAX)


class Admission:
    """Decides whether a charge is admitted, and when each request is handled."""

    def __init__(
        self, clock: Clock, behind_s: Callable[[], float], room_before_stripe: Callable[[], int | None]
    ) -> None:
        """`behind_s`: how long the oldest undecided charge has waited for the ledger, in seconds.

        `room_before_stripe`: how many more charges may be pending, where charges wait for Stripe; else None.
        """
        self._clock = clock
        self._behind_s = behind_s
        self._room_before_stripe = room_before_stripe
        self._charges = asyncio.Semaphore(AT_ONCE)
        self._others = asyncio.Lock()
        self._other_passed_at = -math.inf
        """When a request that needs no reply of the ledger passed last, in the event loop's seconds."""
        self._waiting = 0
        """Charges that were admitted and have not passed."""
        self._busy_until = 0.0
        self._refused_at = -math.inf
        self._limit = QUEUE_MAX
        self._window_began = 0.0
        self._passed = 0
        self._ended = False

    def admits_charge(self) -> bool:
        """Whether a request for a charge that has just arrived is handled."""
        if self._ended:
            return True
        if self._clock.monotonic() < self._busy_until:
            return False
        if self._waiting < QUEUE_LEAST:
            return True
        room = self._room_before_stripe()
        if self._waiting < (self._limit if room is None else room):
            return True
        self._refused_at = self._clock.monotonic()
        return False

    async def charge_turn(self) -> bool:
        """Wait for the turn of a charge that was admitted. Returns False: it has waited in vain, and is refused."""
        since = self._clock.monotonic()
        if not self._waiting:
            # No queue: the rate of the next one is measured from here on.
            self._window_began, self._passed = since, 0
            if since - self._refused_at >= RATE_KEPT_S:
                self._limit = QUEUE_MAX
        self._waiting += 1
        try:
            async with self._charges:
                while self._behind_s() >= BEHIND_S and not self._ended:
                    if self._clock.monotonic() - since >= PATIENCE_S:
                        return False
                    await asyncio.sleep(CATCH_UP_S)
                await asyncio.sleep(0)
        finally:
            self._waiting -= 1
        self._passed += 1
        now = self._clock.monotonic()
        took_s = now - self._window_began
        if took_s >= RATE_WINDOW_S:
            in_time = round(self._passed / took_s * QUEUE_WAIT_S)
            known = in_time if self._limit == QUEUE_MAX else (self._limit + in_time) // 2
            self._limit = min(max(known, QUEUE_LEAST), QUEUE_MAX)
            self._window_began, self._passed = now, 0
        return True

    async def turn(self) -> None:
        """Wait for the turn of a request that needs no reply of the ledger."""
        loop = asyncio.get_running_loop()
        async with self._others:
            await asyncio.sleep(TURN_S if loop.time() - self._other_passed_at < TURN_S else 0)
            self._other_passed_at = loop.time()

    def ledger_was_busy(self) -> None:
        """Refuse all charges for a moment."""
        self._busy_until = self._clock.monotonic() + BUSY_S

    def end(self) -> None:
        """Let all charges pass from now on: the service stops, and answers each with that."""
        self._ended = True
