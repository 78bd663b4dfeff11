"""How fast Stripe lets us: a pace that is learned, for one kind of request.

Accounts differ in what they allow, and Stripe says so only by refusing (429). The pace starts at what every account
has, rises while there is a queue and nothing is refused, and falls on a refusal: additive care is not needed, for a
refused request did nothing and is simply made again.
"""

START_PER_S = 25.0
"""What Stripe allows one endpoint unless an account was given more (docs.stripe.com/rate-limits)."""

RISE = 1.2
"""Times a second, while there is a queue and no refusal: from 25 to 100 in eight seconds."""

FALL = 2 / 3
"""On a refusal."""

FALL_SETTLES_S = 0.5
"""Requests that left before the pace fell, or this soon after, are refused for the excess before it: they tell of one
excess, not of many."""

CAREFUL_FROM = 0.95
"""Of the pace that was refused last: from there on the limit is felt for, not run into."""

CAREFUL_RISE = 1.005
"""Times a second, then: ten seconds from there to the limit, so that seldom more than one request in 200 is refused."""

REFUSAL_REMEMBERED_S = 30.0
"""After so long the ceiling may be another one."""

SLOWEST_PER_S = 1.0
"""Never slower: it has to notice that it may be faster again."""

INSTANT_S = 1e-6
"""A wait so short is none: it is what is left of sums of floats, and no clock can be waited for that exactly."""

BURST_S = 0.2
"""Requests that were not made in so much time may be made at once: an idle service must not make one wait."""


class Pace:
    """Says when the next request may leave. Times are seconds of a monotonic clock."""

    def __init__(self, ceiling_per_s: float, now: float) -> None:
        self.ceiling_per_s = ceiling_per_s
        self.started_at = now
        self.per_s = min(START_PER_S, ceiling_per_s)
        self._next_at = now
        self._risen_at = now
        self._fell_at = now - REFUSAL_REMEMBERED_S
        self._refused_per_s = 0.0
        self._not_before = now

    def wait_s(self, now: float) -> float:
        """How long until the next request may leave; 0 is now."""
        wait_s = max(self._next_at, self._not_before) - now
        return wait_s if wait_s > INSTANT_S else 0.0

    def took(self, now: float) -> None:
        """A request leaves now."""
        self._next_at = max(self._next_at, now - BURST_S) + 1.0 / self.per_s

    def queued(self, now: float) -> None:
        """There are requests waiting: raise the pace by what the time since the last rise allows."""
        elapsed_s = min(1.0, now - self._risen_at)
        self._risen_at = now
        remembered = now - self._fell_at < REFUSAL_REMEMBERED_S
        careful = remembered and self.per_s >= self._refused_per_s * CAREFUL_FROM
        self.per_s = min(self.ceiling_per_s, self.per_s * (CAREFUL_RISE if careful else RISE) ** elapsed_s)

    def idle(self, now: float) -> None:
        """Nothing waits: the pace stays as it is, and time without a queue is no time to rise in."""
        self._risen_at = now

    def refused(self, now: float, left_at: float, retry_after_s: float | None) -> bool:
        """Stripe refused a request for its rate, one that left at `left_at`. True if the pace fell.

        What had left before the pace last fell says nothing of the pace since.
        """
        if retry_after_s is not None:
            self._not_before = max(self._not_before, now + retry_after_s)
        if left_at <= self._fell_at + FALL_SETTLES_S:
            return False
        self._fell_at = now
        self._refused_per_s = self.per_s
        self.per_s = max(SLOWEST_PER_S, self.per_s * FALL)
        self._next_at = max(self._next_at, now + 1.0 / self.per_s)
        return True
