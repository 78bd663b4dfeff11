"""The queue of unparsed requests: requests for a charge that have arrived whole, and wait until they can be parsed.

To parse and authenticate a request costs many times what it costs to keep it or to refuse it. So where more arrive than
can be parsed, they are kept as bytes, in the order in which their clients arrived (`payment.actors.http.acceptor`); a
few are parsed in each turn of the event loop, and none while the ledger is behind with those before them. A request
that would wait here for too long is refused on arrival; but where all wait for Stripe afterwards, the queue costs no
time, and takes as many as the service does. A queued request is refused no more, unless the ledger's mailbox is full or
the ledger has come to a halt.

It must never delay requests that arrive singly, and never refuse a request that was parsed.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from payment.actors.runtime.position_queue import Position, PositionQueue
from payment.ports.clock import Clock

NO_CROWD_REQUESTS = 64
"""Requests of one turn of the loop that are parsed as they arrive, while the queue is empty."""
LOOKED_AT_IN_A_TURN = 8
"""Queued requests parsed in one turn. Each takes half a millisecond, and delays refusals and commits as long."""
LINE_REQUESTS = 3_000
"""Longest queue where Stripe is not what requests wait for, and before its rate is known: as many arrive at once when a
sale begins. Each takes a kilobyte beside its connection."""
LINE_WAIT_S = 4.0
"""Longest expected wait, in seconds, with which a request is still queued, at the rate at which the queue is served. A
burst is felt this long after its end."""
SHORTEST_LINE_REQUESTS = 64
"""Length that the queue may always have, however slowly it is served: less is not worth a refusal."""
BEHIND_S = 0.5
"""No queued request is parsed while one has waited this long for the ledger's decision, in seconds."""
LOOK_AGAIN_S = 0.01
"""How soon it is checked again whether the ledger has caught up, in seconds."""
PACE_WINDOW_S = 2.0
"""Over how long the rate of the queue is measured, in seconds. While a burst arrives it is hardly served; a store that
takes a second for once must not lead to refusals."""
PATIENCE_S = 15.0
"""Time in the queue, in seconds, after which a request is refused: the ledger must have come to a halt, and a request
that is parsed later could not be answered in time."""


class QueuedRequest(Struct, frozen=True):
    """A request's bytes, their connection, and when they arrived (monotonic seconds)."""

    at: float
    caller: "RequestConnection"
    data: bytes


class RequestConnection(Protocol):
    """A connection that has sent a request."""

    def look_at(self, data: bytes, in_line_s: float) -> None:
        """Parse the request now. It was queued for `in_line_s` seconds."""

    def refuse(self, data: bytes) -> None:
        """Answer that the service is busy."""


class RequestQueue:
    """First come, first served. Each connection has one request in it at a time."""

    def __init__(
        self,
        clock: Clock,
        behind_s: Callable[[], float],
        room_before_stripe: Callable[[], int | None],
        unheard_since: Callable[[], float],
        listened_at: Callable[[], float],
    ) -> None:
        """`behind_s`: how long the oldest undecided charge has waited for the ledger, in seconds.

        `room_before_stripe`: how many more the service may accept, where requests wait for Stripe; else None.
        `unheard_since`: when the oldest client arrived that may have sent data which was not read yet.
        `listened_at`: when the data arrived that is read now on connections made long ago.
        """
        self._clock = clock
        self._behind_s = behind_s
        self._room_before_stripe = room_before_stripe
        self._unheard_since = unheard_since
        self._listened_at = listened_at
        self._waiting: dict[RequestConnection, Position] = {}
        self._queue: PositionQueue[QueuedRequest] = PositionQueue()
        self._came = 0
        self._looked_at = 0
        self._turning = False
        self._closed_until = 0.0
        self._disbanded = False
        self._limit = LINE_REQUESTS
        self._window_began = 0.0
        self._moved = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, caller: RequestConnection, data: bytes, came_at: float | None = None) -> bool:
        """Queue or refuse a request that arrived at `came_at`, or now. Returns False: the caller must parse it now."""
        if self._disbanded:
            return False
        now = self._clock.monotonic()
        if came_at is None:
            came_at = self._listened_at()
        if now < self._closed_until or (self._waiting and len(self._waiting) >= self._most()):
            caller.refuse(data)
            return True
        if not self._waiting:
            if self._looked_at < NO_CROWD_REQUESTS and came_at <= self._unheard_since():
                self._looked_at += 1
                self._turn_soon()
                return False
            self._limit, self._window_began, self._moved = LINE_REQUESTS, now, 0
        self._came += 1
        place = self._waiting[caller] = (came_at, self._came)
        self._queue.add(place, QueuedRequest(came_at, caller, data))
        self._turn_soon()
        return True

    def leave(self, caller: RequestConnection) -> bytes:
        """Take the connection's request out of the queue. Returns it; empty if there was none."""
        place = self._waiting.pop(caller, None)
        came = None if place is None else self._queue.remove(place)
        return b"" if came is None else came.data

    def close_for(self, seconds: float) -> None:
        """The ledger has no room: refuse every queued request, and all that arrive within this time."""
        self._closed_until = self._clock.monotonic() + seconds
        while self._waiting:
            self._refuse_first()

    def disband(self) -> None:
        """Parse every queued request, and from now on every request that arrives: a drain began."""
        self._disbanded = True
        now = self._clock.monotonic()
        while self._waiting:
            self._look_at_first(now)

    def _most(self) -> int:
        room = self._room_before_stripe()
        return self._limit if room is None else room

    def _look_at_first(self, now: float) -> None:
        came = self._take_first()
        came.caller.look_at(came.data, now - came.at)

    def _refuse_first(self) -> None:
        came = self._take_first()
        came.caller.refuse(came.data)

    def _take_first(self) -> QueuedRequest:
        came = self._queue.take()
        del self._waiting[came.caller]
        return came

    def _first_came_at(self) -> float:
        """When the first queued request arrived. There must be one."""
        return self._queue.first()[0]

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Serve the queue in this turn of the loop."""
        self._turning = False
        self._looked_at = 0
        if not self._waiting:
            return
        now = self._clock.monotonic()
        self._measure(now)
        if self._behind_s() >= BEHIND_S:
            while self._waiting and self._first_came_at() <= now - PATIENCE_S:
                self._refuse_first()
            self._turning = True
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._turn)
            return
        unheard_since = self._unheard_since()
        while self._waiting and self._looked_at < LOOKED_AT_IN_A_TURN and self._first_came_at() <= unheard_since:
            self._looked_at += 1
            self._look_at_first(now)
        self._moved += self._looked_at
        self._turn_soon()

    def _measure(self, now: float) -> None:
        """Set how long the queue may be, by the rate at which it was served."""
        took_s = now - self._window_began
        if took_s >= PACE_WINDOW_S:
            may_be = round(self._moved / took_s * LINE_WAIT_S)
            known = may_be if self._limit == LINE_REQUESTS else (self._limit + may_be) // 2
            self._limit = min(max(known, SHORTEST_LINE_REQUESTS), LINE_REQUESTS)
            self._window_began, self._moved = now, 0
