"""Turns: how much of the event loop requests may take that no queue holds, over all connections together.

A handler that never waits for anything runs at once, and so does the next request of its connection: hundreds that
came in one packet were answered in one turn of the event loop, and meanwhile nothing else ran, neither a charge nor the
heartbeat of NATS (F51). Here a few requests pass in each turn. The others wait for their turn in the order in which
they came, at most one of each connection, and between two turns the event loop is left to all other work for as long as
these requests took. So however many connections repeat cheap requests without end, they get half of the loop; and where
other work makes a turn long, as many more pass in the next one, so that clients who poll during a sale get their half.

Requests for a charge that came whole have a queue of their own (`payment.actors.http.request_queue`).
"""

import asyncio
from collections import deque

REQUESTS_IN_A_TURN = 4
"""Requests that always pass in one turn of the loop: 0.1 to 0.3 ms each. Charges wait for their turn behind them."""
MOST_IN_A_TURN = 32
"""Requests that pass in one turn at most, where other work took long before it: they hold up a charge by 10 ms."""
PAUSE_LEAST_S = 0.001
"""Shortest pause between two turns, in seconds, while requests wait: the resolution of the event loop's timers."""
REQUEST_S = 0.000_3
"""What a request is taken to cost, in seconds, before any was measured."""
LEAST_REQUEST_S = 0.000_05
"""The least that it is taken to cost: less is not measured by a clock that others read too."""
NEW_SHARE = 0.2
"""How much of the cost that is reckoned with comes from the last turn; the rest from those before."""


class Turns:
    """First come, first served. Of each connection one request waits at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._allowed = REQUESTS_IN_A_TURN
        self._passed = 0
        self._began: float | None = None
        """When the first request of this turn ran, in the loop's seconds; None where that is not known."""
        self._ended = loop.time()
        """When the last turn had ended."""
        self._request_s = REQUEST_S

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self) -> None:
        """Return when the request may be handled: at once, as a rule."""
        if self._passed < self._allowed and not self._waiting:
            if not self._passed:
                self._loop.call_soon(self._end)
            self._passed += 1
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _end(self) -> None:
        """The requests of this turn have run."""
        self._ended = self._loop.time()
        took_s = 0.0 if self._began is None else self._ended - self._began
        if took_s and self._passed:
            each_s = max(took_s / self._passed, LEAST_REQUEST_S)
            self._request_s += NEW_SHARE * (each_s - self._request_s)
        self._passed, self._began, self._allowed = 0, None, REQUESTS_IN_A_TURN
        if self._waiting:
            self._loop.call_later(max(took_s, PAUSE_LEAST_S), self._next)

    def _next(self) -> None:
        """The next turn: let the oldest pass, at least a few, and as many as take no longer than others took."""
        others_took_s = self._loop.time() - self._ended
        self._allowed = max(REQUESTS_IN_A_TURN, min(int(others_took_s / self._request_s), MOST_IN_A_TURN))
        self._loop.call_soon(self._begin)
        while self._waiting and self._passed < self._allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._passed += 1
        self._loop.call_soon(self._end)

    def _begin(self) -> None:
        self._began = self._loop.time()
