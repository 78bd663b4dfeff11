"""What the world may still owe an order, as values: the output of `pending`, the input of the Stripe and NATS actors.

Every effect has an `id` that is the same whenever the same thing is owed: an actor's queue holds one entry for each.
"""

from datetime import datetime

from msgspec import Struct

from payment.core.messages import Evidence

PAYMENT_CREATED = "payment:created"
PAYMENT_REFUNDED = "payment:refunded"


class ChargeCard(Struct, frozen=True):
    """Send an attempt's charge, with its key and its frozen parameters. `amount` is in minor units.

    No request may leave before `not_before`, nor after `not_after`: a revision can't fence a process that wakes up
    with a request in its hand, a time can. `send` says which of the sends counted on paper this one is.
    """

    order_id: str
    payment_id: str
    attempt: int
    send: int
    key: str
    amount: int
    currency: str
    token: str
    api_version: str
    issued_at: datetime
    not_before: datetime
    not_after: datetime

    @property
    def id(self) -> str:
        return f"charge:{self.key}"

    def __repr__(self) -> str:
        return f"ChargeCard(order_id={self.order_id!r}, attempt={self.attempt}, send={self.send})"


class FindCharges(Struct, frozen=True):
    """List the order's charges at Stripe, on behalf of one attempt. An empty list proves what `evidence` says."""

    order_id: str
    payment_id: str
    attempt: int
    evidence: Evidence

    @property
    def id(self) -> str:
        return f"find:{self.order_id}:{self.attempt}:{self.evidence.value}"


class RefundCharge(Struct, frozen=True):
    """Give a charge back in full, under the refund's own key."""

    order_id: str
    payment_id: str
    attempt: int
    charge_id: str
    key: str
    api_version: str

    @property
    def id(self) -> str:
        return f"refund:{self.key}"


class FindRefund(Struct, frozen=True):
    """Look whether a charge has been given back, after an error was stored for this refund key."""

    order_id: str
    charge_id: str
    key: str

    @property
    def id(self) -> str:
        return f"find-refund:{self.key}"


class PublishEvent(Struct, frozen=True):
    """Publish one of our two events. `refund_id` is there exactly on `payment:refunded`."""

    order_id: str
    subject: str
    payment_id: str
    stripe_id: str
    refund_id: str | None

    @property
    def id(self) -> str:
        return f"publish:{self.message_id}"

    @property
    def message_id(self) -> str:
        """Subject and payment id together: the two events of one payment share its id, and a stream drops repeats."""
        return f"{self.subject}:{self.payment_id}"


class Watch(Struct, frozen=True):
    """Nothing to do now, but somebody must look again later. It has a time and no actor."""

    order_id: str
    attempt: int

    @property
    def id(self) -> str:
        return f"watch:{self.order_id}:{self.attempt}"


StripeEffect = ChargeCard | FindCharges | RefundCharge | FindRefund
Effect = StripeEffect | PublishEvent | Watch


class Pending(Struct, frozen=True):
    """An effect and when somebody must look again if it hasn't been seen to end (UTC).

    `holder` is the process that has it in its hands until then; where nobody has, the effect is for whoever looks.
    """

    effect: Effect
    at: datetime
    holder: str | None
