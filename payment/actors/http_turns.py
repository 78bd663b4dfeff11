"""Turns: how much of the event loop requests may take that no queue holds, over all connections together.

A handler that never waits for anything runs at once, and so does the next request of its connection: hundreds that
came in one packet were answered in one turn of the event loop, and meanwhile nothing else ran, neither a charge nor the
heartbeat of NATS (F51). Here a few requests pass in each turn. The others wait for their turn in the order in which
they came, at most one of each connection, and between two turns that they fill the event loop is left to all other work
for as long as a turn took. So however many connections repeat cheap requests without end, they get half of the loop.

Requests for a charge that came whole have a queue of their own (`payment.actors.http_line`).
"""

import asyncio
from collections import deque

REQUESTS_IN_A_TURN = 4
"""Requests that pass in one turn of the loop: 0.1 to 0.3 ms each. Charges wait for their turn behind them."""
PAUSE_LEAST_S = 0.001
"""Shortest pause between two turns that were full, in seconds: the resolution of the event loop's timers."""
PAUSE_MOST_S = 0.005
"""Longest such pause, in seconds. What made a turn longer than this were not these requests."""


class Turns:
    """First come, first served. Of each connection one request waits at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._passed = 0
        self._began = 0.0
        """When the present turn began, in the loop's seconds."""

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self) -> None:
        """Return when the request may be handled: at once, as a rule."""
        if self._passed < REQUESTS_IN_A_TURN and not self._waiting:
            if not self._passed:
                self._begin()
            self._passed += 1
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _begin(self) -> None:
        """A turn begins. Its end is scheduled behind all that may run in it."""
        self._began = self._loop.time()
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        if not self._waiting:
            self._passed = 0
            return
        took_s = self._loop.time() - self._began
        self._loop.call_later(min(max(took_s, PAUSE_LEAST_S), PAUSE_MOST_S), self._next)

    def _next(self) -> None:
        """The next turn: let the oldest pass."""
        self._passed = 0
        while self._waiting and self._passed < REQUESTS_IN_A_TURN:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._passed += 1
        self._begin()
