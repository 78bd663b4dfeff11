"""How often and how fast crashed actors are replaced: limits and arithmetic, without waiting and without tasks."""

from collections import deque

from payment.backoff import Backoff

RESTARTS_MAX = 5
RESTART_WINDOW_S = 60.0
"""After more restarts than this within the window the fault is not one message's but the process's. The platform
starts a new process, and all pending work is committed. Counted over all actors, which fail together when they share
a cause."""

RESTART_BACKOFF = Backoff(first_s=0.1, longest_s=5.0, factor=3.0)
"""The first restart delays hardly any request; the fifth gives the cause some seconds to pass."""


class RestartWindow:
    """Counts the restarts within the last `RESTART_WINDOW_S`, over all actors of a supervisor."""

    def __init__(self) -> None:
        self._at: deque[float] = deque()

    def count(self, now_s: float) -> int:
        """Add a restart at this time of `Clock.monotonic`. Returns how many the window now holds."""
        self._at.append(now_s)
        while now_s - self._at[0] > RESTART_WINDOW_S:
            self._at.popleft()
        return len(self._at)
