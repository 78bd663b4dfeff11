"""How long a charge that is queued now will wait for its turn at Stripe.

Written by the Stripe actor, read by the ledger and at the door. It is a gauge, not a message: whoever would wait longer
than `CHARGE_WAIT_S` is told so at once, with a true estimate; and who will wait for Stripe may as well wait in line.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Forecast:
    """A queue of charges and its pace. Each charge has a place, counted from the service's start."""

    per_s: float
    """Charges a second that the queue moves on by now."""
    placed: int = 0
    """Charges ever queued: the place of the last one."""
    passed: int = 0
    """Charges that have had their turn, or were taken out."""

    @property
    def queued(self) -> int:
        """Charges in the queue."""
        return self.placed - self.passed

    def place(self) -> int:
        """A place at the end of the queue."""
        self.placed += 1
        return self.placed

    def wait_s(self, place: int) -> float:
        """How long the charge in this place will wait for its turn yet, in seconds."""
        ahead = place - self.passed - 1
        return max(0, ahead) / self.per_s
