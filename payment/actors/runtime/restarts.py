"""How often and how fast a dead actor is replaced: limits and arithmetic, no waiting and no tasks."""

from collections import deque

from payment.backoff import Backoff

RESTARTS_MAX = 5
RESTART_WINDOW_S = 60.0
"""More restarts than this within the window: not one message but the process is ill. The platform starts a new one,
and everything under way is on paper. Counted over all actors: they fail together when they share a cause."""

RESTART_BACKOFF = Backoff(first_s=0.1, longest_s=5.0, factor=3.0)
"""The first restart hardly delays anybody; the fifth leaves whatever is wrong some seconds to pass."""


class RestartWindow:
    """Counts the restarts of the last `RESTART_WINDOW_S`, over all actors of a supervisor."""

    def __init__(self) -> None:
        self._at: deque[float] = deque()

    def count(self, now_s: float) -> int:
        """Note one more restart at this time of `Clock.monotonic`, and return how many the window now holds."""
        self._at.append(now_s)
        while now_s - self._at[0] > RESTART_WINDOW_S:
            self._at.popleft()
        return len(self._at)
