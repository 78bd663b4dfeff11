"""How long a charge that is queued now will wait for its confirm at Stripe.

The Stripe actor publishes a new snapshot at each change; the ledger and HTTP read the latest one and never write. A
request that would wait longer than `CHARGE_WAIT_S` is answered at once, with this estimate.

A position is a count of messages: `Mailbox.accepted` of the Stripe actor's mailbox when a message was put in. It holds
across restarts of either actor, for the mailbox outlives them.
"""

from typing import Protocol

from msgspec import Struct


class QueueEstimate(Struct, frozen=True):
    """The two stages of the queue, create and confirm, and their rates in charges a second.

    A charge whose intent exists passes the first stage at once. A message that is no confirm passes both.
    """

    creates_per_s: float
    confirms_per_s: float
    received: int = 0
    """Messages that the Stripe actor has received: the position of the last one."""
    created: int = 0
    """Messages that are past the create stage: their create had its turn, they needed none, or they were taken out."""
    confirmed: int = 0
    """Messages that have left the queue: their confirm had its turn, or they were taken out."""

    @property
    def queued(self) -> int:
        """Charges in the queue."""
        return self.received - self.confirmed

    def wait_s(self, position: int) -> float:
        """Returns how long the charge at this position will wait for its confirm, by the slower stage, in seconds."""
        creates_s = max(0, position - self.created - 1) / self.creates_per_s
        confirms_s = max(0, position - self.confirmed - 1) / self.confirms_per_s
        return max(creates_s, confirms_s)


class EstimateReader(Protocol):
    """What the ledger and HTTP have of the estimate."""

    @property
    def latest(self) -> QueueEstimate:
        """The snapshot that the Stripe actor published last."""


class PublishedEstimate:
    """The latest snapshot. The Stripe actor alone publishes; others are given an `EstimateReader`."""

    def __init__(self, first: QueueEstimate) -> None:
        """`first` is what holds until the Stripe actor has started."""
        self.latest = first

    def publish(self, estimate: QueueEstimate) -> None:
        """Replace the latest snapshot."""
        self.latest = estimate
