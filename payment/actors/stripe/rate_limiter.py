"""Rate limiters that learn what Stripe allows: one for each endpoint, and one for the account as a whole.

Accounts differ in what they allow, and Stripe says so only by refusing (429). A rate starts at what every account has,
rises while requests wait and none is refused, and falls on a refusal. More care is not needed: a refused request did
nothing and is made again.
"""

START_PER_S = 25.0
"""What Stripe allows one endpoint unless an account was given more (docs.stripe.com/rate-limits)."""

ACCOUNT_START_PER_S = 100.0
"""What Stripe allows a live account in all (docs.stripe.com/rate-limits)."""

RISE = 1.2
"""Factor a second, while requests wait and none is refused: from 25 to 100 in eight seconds."""

FALL = 2 / 3
"""Factor on a refusal."""

FALL_SETTLES_S = 0.5
"""Requests that left before the rate fell, or within this time after, are refused for the same excess: the rate falls
once for all of them."""

CAREFUL_FROM = 0.95
"""Share of the rate that was refused last. From there on the rate rises slowly, towards a limit that is known."""

CAREFUL_RISE = 1.005
"""Factor a second, then: ten seconds from there to the limit. Seldom more than one request in 200 is refused."""

REFUSAL_REMEMBERED_S = 30.0
"""After this time the limit may be another one."""

SLOWEST_PER_S = 1.0
"""The lowest rate: requests have to go on, to find out that more is allowed again."""

INSTANT_S = 1e-6
"""Seconds. A shorter wait counts as none: it is a rounding error of floats, and no clock can sleep for it exactly."""

BURST_S = 0.2
"""Requests that were not made within this time may be made at once, so that a request after a pause does not wait."""


class Fall:
    """One fall of a rate. `blamed` are the requests (by effect id) whose refusals it stands for.

    A request that is answered when it is made again was refused for the rate: the fall was right. Where all of them
    are refused while others are answered, the rate was not the reason, and the fall is taken back.
    """

    __slots__ = ("blamed", "fell_before_at", "per_s_before", "refused_per_s_before", "right")

    def __init__(self, per_s_before: float, refused_per_s_before: float, fell_before_at: float) -> None:
        self.per_s_before = per_s_before
        self.refused_per_s_before = refused_per_s_before
        self.fell_before_at = fell_before_at
        self.blamed: set[str] = set()
        self.right = False


class RateLimiter:
    """Says when the next request may leave. Times are seconds of a monotonic clock, rates are requests a second."""

    def __init__(self, ceiling_per_s: float, now: float, start_per_s: float = START_PER_S) -> None:
        self.ceiling_per_s = ceiling_per_s
        self.started_at = now
        self.per_s = min(start_per_s, ceiling_per_s)
        self._next_at = now
        self._risen_at = now
        self._fell_at = now - REFUSAL_REMEMBERED_S
        self._refused_per_s = 0.0
        self._not_before = now
        self._last_fall: Fall | None = None

    def wait_s(self, now: float) -> float:
        """Returns how long until the next request may leave, in seconds; 0 is now."""
        wait_s = max(self._next_at, self._not_before) - now
        return wait_s if wait_s > INSTANT_S else 0.0

    def took(self, now: float, *, more_wait: bool) -> None:
        """A request leaves now. While more of them wait, the rate rises by what the time since it last rose allows.

        With none waiting it stays as it is: time without a queue does not raise it.
        """
        self._next_at = max(self._next_at, now - BURST_S) + 1.0 / self.per_s
        elapsed_s = min(1.0, now - self._risen_at)
        self._risen_at = now
        if more_wait:
            remembered = now - self._fell_at < REFUSAL_REMEMBERED_S
            careful = remembered and self.per_s >= self._refused_per_s * CAREFUL_FROM
            self.per_s = min(self.ceiling_per_s, self.per_s * (CAREFUL_RISE if careful else RISE) ** elapsed_s)

    def refused(self, now: float, left_at: float, retry_after_s: float | None) -> bool:
        """Stripe refused a request for its rate, one that left at `left_at`. Returns whether the rate fell.

        Requests that left before the last fall say nothing about the rate since. `retry_after_s` is obeyed either way.
        """
        if retry_after_s is not None:
            self._not_before = max(self._not_before, now + retry_after_s)
        if left_at <= self._fell_at + FALL_SETTLES_S:
            return False
        self._last_fall = Fall(self.per_s, self._refused_per_s, self._fell_at)
        self._fell_at = now
        self._refused_per_s = self.per_s
        self.per_s = max(SLOWEST_PER_S, self.per_s * FALL)
        self._next_at = max(self._next_at, now + 1.0 / self.per_s)
        return True

    def blame(self, request: str) -> Fall | None:
        """The last refusal was this request's: the last fall stands for it. None: the rate never fell."""
        if self._last_fall is not None:
            self._last_fall.blamed.add(request)
        return self._last_fall

    def acquit(self, fall: Fall, request: str, now: float) -> bool:
        """This request is refused whatever the rate is. Returns whether its fall was taken back, as none is left."""
        fall.blamed.discard(request)
        if fall.blamed or fall.right:
            return False
        fall.right = True  # a fall is taken back once
        if fall is self._last_fall:
            self.per_s = max(self.per_s, fall.per_s_before)
            self._refused_per_s, self._fell_at = fall.refused_per_s_before, fall.fell_before_at
            self._last_fall = None
        else:
            self.per_s = min(self.ceiling_per_s, self.per_s / FALL)
        self._next_at = min(self._next_at, now + 1.0 / self.per_s)
        return True
