"""The card processor port: charge, find, refund. `payment.ports.stripe_cards` is the real one.

Every way in which a call can end is a value here, so that no actor ever reads a Stripe exception. PaymentIntents would
replace Charges behind this port without a line changed elsewhere.
"""

import enum
from typing import Protocol

from msgspec import Struct

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import FoundCharge, RefusalReason


class Charged(Struct, frozen=True):
    """The card was charged."""

    charge_id: str


class Declined(Struct, frozen=True):
    """The card was declined; Stripe stores this answer for the key."""

    code: str
    decline_code: str | None
    text: str


class Refused(Struct, frozen=True):
    """Stripe won't: nothing happened, and nothing is stored for the key."""

    reason: RefusalReason
    text: str


class Obstacle(enum.Enum):
    """Why a call came to nothing, for certain."""

    RATE_LIMITED = "rate_limited"
    """429 for too many requests: the pace must fall."""
    LOCKED = "locked"
    """429 `lock_timeout`: somebody else works on the same object. The pace is not to blame."""
    KEY_IN_USE = "key_in_use"
    """409 `idempotency_key_in_use`: an earlier request with this key is still executing."""
    KEY_REFUSED = "key_refused"
    """401 or 403: Stripe does not accept our secret key."""
    UNREACHABLE = "unreachable"
    """No connection was made: nothing can have been sent."""


class NotYet(Struct, frozen=True):
    """This call did nothing: the very same one may be made again, after `retry_after_s` where Stripe wishes so."""

    obstacle: Obstacle
    text: str
    retry_after_s: float | None = None


class Unclear(Struct, frozen=True):
    """Anything else: it may have happened, or may yet happen. `stored`: Stripe replayed this error for the key."""

    text: str
    stored: bool = False
    alarm: bool = False
    """It can't happen unless one of our own rules was broken (a key with two parameter sets, F16)."""


class Found(Struct, frozen=True):
    """All the succeeded charges of an order."""

    charges: tuple[FoundCharge, ...]


class Refunded(Struct, frozen=True):
    """The charge has been given back in full, now or before."""

    refund_id: str


class Blocked(Struct, frozen=True):
    """The refund failed, is pending, or can't be made (disputed): it has to be tried again, slowly."""

    text: str
    refund_id: str | None = None


class NotRefunded(Struct, frozen=True):
    """The charge was looked at, and it has not been given back."""


ChargeOutcome = Charged | Declined | Refused | NotYet | Unclear
FindOutcome = Found | NotYet | Unclear
RefundOutcome = Refunded | Blocked | NotYet | Unclear
FindRefundOutcome = Refunded | Blocked | NotRefunded | NotYet | Unclear


class CardProcessor(Protocol):
    """Stripe, as far as this service needs it. No call raises, but for a cancellation, which is raised on."""

    async def charge(self, request: ChargeCard) -> ChargeOutcome:
        """Charge a card once under the request's idempotency key."""

    async def find(self, order_id: str, payment_id: str) -> FindOutcome:
        """List the order's succeeded charges, every page of them."""

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Give a charge back in full under the request's idempotency key."""

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        """Look at a charge's refunds."""

    async def check(self) -> NotYet | Unclear | None:
        """Make the cheapest authenticated call. None: Stripe is there and takes our key."""

    async def close(self) -> None:
        """Give back the connections."""
