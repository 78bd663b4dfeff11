"""Rate limits of each endpoint and of the account as a whole: token buckets that hold the requests of one second.

Stripe gives each endpoint 25 a second, a live account 100 in all and a test account 25 (docs.stripe.com/rate-limits),
and has written that its limiters are token buckets. Time is passed in.
"""

from collections.abc import Callable

from msgspec import Struct

RATE_PER_S = 25.0
"""Stripe's default for one endpoint, in requests a second."""
ACCOUNT_RATE_PER_S = 100.0
"""Stripe's limit for a live account over all endpoints, in requests a second."""


class Bucket(Struct):
    """The requests that are allowed at once, as of a time."""

    tokens: float
    at: float


class RateLimits:
    """The limiter of every endpoint. A rate of 0 means no limit."""

    def __init__(self, rate_per_s: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, Bucket] = {}
        self.rate_per_s = rate_per_s

    def set_rate(self, rate_per_s: float) -> None:
        """Change the limit of every endpoint; all buckets are full again."""
        self.rate_per_s = rate_per_s
        self._buckets.clear()

    def admits(self, endpoint: str) -> bool:
        """Returns whether one more request to this endpoint is within the limit, and counts it if so."""
        if not self.rate_per_s:
            return True
        now = self._monotonic()
        burst = max(1.0, self.rate_per_s)
        bucket = self._buckets.setdefault(endpoint, Bucket(burst, now))
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * self.rate_per_s)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
