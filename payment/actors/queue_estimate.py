"""How long a charge that is queued now will wait for its confirm at Stripe.

Written by the Stripe actor, read by the ledger and by HTTP. It is a gauge, not a message: a request that would wait
longer than `CHARGE_WAIT_S` is answered at once, with this estimate.
"""

from dataclasses import dataclass

from payment.actors.stripe.rate_limiter import START_PER_S


@dataclass(slots=True)
class QueueEstimate:
    """The two stages of the queue, create and confirm, and their rates in charges a second.

    A charge's position counts from the service's start. A charge whose intent exists passes the first stage at once.
    """

    creates_per_s: float = START_PER_S
    confirms_per_s: float = START_PER_S
    entered: int = 0
    """Charges that ever entered the queue: the position of the last one."""
    created: int = 0
    """Charges that are past the create stage: their create had its turn, they needed none, or they were taken out."""
    confirmed: int = 0
    """Charges that have left the queue: their confirm had its turn, or they were taken out."""

    @property
    def queued(self) -> int:
        """Charges in the queue."""
        return self.entered - self.confirmed

    def enter(self) -> int:
        """Returns a new position at the end of the queue."""
        self.entered += 1
        return self.entered

    def wait_s(self, position: int) -> float:
        """Returns how long the charge at this position will wait for its confirm, by the slower stage, in seconds."""
        creates_s = max(0, position - self.created - 1) / self.creates_per_s
        confirms_s = max(0, position - self.confirmed - 1) / self.confirms_per_s
        return max(creates_s, confirms_s)
