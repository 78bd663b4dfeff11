"""The line at the door: requests for a charge that have come whole, and wait unread until they can be looked at.

To look at a request costs many times what it costs to keep it or to refuse it. So where more come than can be looked
at, they are kept as bytes, in the order in which their people came (`payment.actors.http_door`); a few are looked at in
each turn of the event loop, and none while the ledger is behind with those before them. Who would wait here for too
long is refused on arrival; but where all wait for Stripe afterwards, the line costs nobody time, and takes in as many
as the service does. Whoever stands in it is refused no more, unless the ledger has no room for anybody or has come to
a halt.

It must never hold up what is no crowd, and never refuse a request that was looked at.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from payment.actors.place_queue import Place, PlaceQueue
from payment.ports.clock import Clock

NO_CROWD_REQUESTS = 64
"""So many that come in one turn of the loop are looked at as they come, where nobody stands in line."""
LOOKED_AT_IN_A_TURN = 8
"""Of a line. Each takes half a millisecond, and as long does everybody else wait: who is refused, and commits too."""
LINE_REQUESTS = 3_000
"""Longest line where Stripe holds nobody up, and before it is known how fast it moves: so many come at once when a sale
begins. Each takes a kilobyte beside its connection."""
LINE_WAIT_S = 4.0
"""Nobody is let into a line in which it would wait for longer, in seconds, as fast as the line moves. When a crowd has
gone, as long is it felt for."""
SHORTEST_LINE_REQUESTS = 64
"""A line may always be so long, however slowly it moves: less is not worth a refusal."""
BEHIND_S = 0.5
"""Nobody is looked at while somebody has waited so long for the ledger to decide, in seconds: it has enough to do."""
LOOK_AGAIN_S = 0.01
"""How soon it is looked again whether the ledger has caught up."""
PACE_WINDOW_S = 2.0
"""Over how long it is counted how fast the line moves, in seconds. While a crowd arrives, it hardly does; a store that
takes a second for once must not get anybody refused."""
PATIENCE_S = 15.0
"""Who has stood in the line for so long is refused: the ledger must have come to a halt. In seconds; who is looked at
later than that would hear nothing in time."""


class Came(Struct, frozen=True):
    """A request's bytes, whose they are, and when they came (monotonic seconds)."""

    at: float
    caller: "Caller"
    data: bytes


class Caller(Protocol):
    """Whose request it is: a connection."""

    def look_at(self, data: bytes, in_line_s: float) -> None:
        """Its turn has come, after so many seconds."""

    def refuse(self, data: bytes) -> None:
        """Tell it that the service is busy."""


class Line:
    """First come, first looked at. Of each caller one request at a time."""

    def __init__(
        self,
        clock: Clock,
        behind_s: Callable[[], float],
        room_before_stripe: Callable[[], int | None],
        unheard_since: Callable[[], float],
        listened_at: Callable[[], float],
    ) -> None:
        """`behind_s`: for how long the ledger owes somebody a decision.

        `room_before_stripe`: how many more the service may take in, where it is Stripe that holds people up; else None.
        `unheard_since`: when whoever came first of those came who may have spoken and were not heard yet.
        `listened_at`: when came what is heard now of those who were let in long ago.
        """
        self._clock = clock
        self._behind_s = behind_s
        self._room_before_stripe = room_before_stripe
        self._unheard_since = unheard_since
        self._listened_at = listened_at
        self._waiting: dict[Caller, Place] = {}
        self._queue: PlaceQueue[Came] = PlaceQueue()
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

    def take(self, caller: Caller, data: bytes, came_at: float | None = None) -> bool:
        """Keep or refuse a request that came at that time, or is heard now; False where it is to be looked at now."""
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
        self._queue.add(place, Came(came_at, caller, data))
        self._turn_soon()
        return True

    def leave(self, caller: Caller) -> bytes:
        """The caller stands in line no more. Gives its request; empty if it did not stand there."""
        place = self._waiting.pop(caller, None)
        came = None if place is None else self._queue.remove(place)
        return b"" if came is None else came.data

    def close_for(self, seconds: float) -> None:
        """The ledger has no room: refuse everybody, those who come within so many seconds too."""
        self._closed_until = self._clock.monotonic() + seconds
        while self._waiting:
            self._refuse_first()

    def disband(self) -> None:
        """Let everybody be looked at who stands in line, and whoever comes from now on."""
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

    def _take_first(self) -> Came:
        came = self._queue.take()
        del self._waiting[came.caller]
        return came

    def _first_came_at(self) -> float:
        """When the first of the line came. There must be one."""
        return self._queue.first()[0]

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Another turn of the loop."""
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
        """How long the line may be, as fast as it moves."""
        took_s = now - self._window_began
        if took_s >= PACE_WINDOW_S:
            may_be = round(self._moved / took_s * LINE_WAIT_S)
            known = may_be if self._limit == LINE_REQUESTS else (self._limit + may_be) // 2
            self._limit = min(max(known, SHORTEST_LINE_REQUESTS), LINE_REQUESTS)
            self._window_began, self._moved = now, 0
