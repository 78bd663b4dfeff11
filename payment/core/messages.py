"""Every message that the ledger decides about, and nothing else.

Commands are imperatives' requests (`ChargeRequested`), all others are facts in the past tense. A message names the
order it is about, never the state it hopes to find: `decide` judges it by the document as it stands.

Change together: `Message` below, `payment.core.decide.decide`, and the table in `payment.core.order`.
"""

import enum
from datetime import datetime

from msgspec import Struct


class Moment(Struct, frozen=True):
    """When a message is decided, and by whom: what the core would otherwise have to ask the world for.

    `at` is UTC in whole milliseconds, as MongoDB keeps it. `process` is `<client id>#<incarnation>`: two runs under
    one client id are two processes, and the second looks before it repeats what the first began. `api_version` is the
    one of the card processor that this process speaks: an attempt that begins now is frozen with it.
    """

    at: datetime
    process: str
    api_version: str

    @property
    def client_id(self) -> str:
        return client_id_of(self.process)


def client_id_of(process: str) -> str:
    """The client id a process runs under: `payment-service-web-1` of `payment-service-web-1#9f3c`."""
    return process.partition("#")[0]


class Evidence(enum.Enum):
    """What an empty list of charges would prove. It is fixed when the question is asked, not when it is answered."""

    PROBE = "probe"
    """Nothing: a request may still be executing."""
    STORED = "stored"
    """Stripe stored an error for the key, a minute or more before the question: the attempt may be abandoned."""
    FINAL = "final"
    """No request with this key can be sent or be executing any more: the attempt may be closed."""


class RefusalReason(enum.Enum):
    """Why Stripe would not even try a card. Nothing is stored for the key then."""

    TOKEN = "token"
    """No such token."""
    TOKEN_USED = "token_used"
    """The token was used before: by somebody else, or by an earlier send of this very attempt."""
    AMOUNT = "amount"
    """Below the currency's minimum, or above its maximum."""
    REQUEST = "request"
    """Anything else Stripe finds wrong with the request. Ours to mend, so it is alarmed."""
    WITHHELD = "withheld"
    """Not Stripe's word but ours: it was never sent, and its order can no longer be paid."""


class FoundCharge(Struct, frozen=True):
    """A succeeded charge on Stripe's books that belongs to one of our orders. `attempt` is 0 where it names none."""

    charge_id: str
    attempt: int


class ChargeRequested(Struct, frozen=True):
    """Somebody asks to pay an order with a card token. `payment_id` is used if the order has no payment yet."""

    order_id: str
    user_id: str
    token: str
    payment_id: str

    def __repr__(self) -> str:
        return f"ChargeRequested(order_id={self.order_id!r}, user_id={self.user_id!r})"


class OrderCreated(Struct, frozen=True):
    """The platform has a new order. `amount` is in minor units of `currency` (ISO code, lower case)."""

    order_id: str
    version: int
    user_id: str
    expires_at: datetime
    amount: int
    currency: str


class OrderCancelled(Struct, frozen=True):
    """The platform has cancelled an order, perhaps before we heard that it exists."""

    order_id: str
    version: int


class CardCharged(Struct, frozen=True):
    """Stripe has charged the card for this attempt."""

    order_id: str
    attempt: int
    charge_id: str


class CardDeclined(Struct, frozen=True):
    """The bank or Stripe declined the card. Stripe stores this answer for the key: it can't change."""

    order_id: str
    attempt: int
    code: str
    decline_code: str | None
    text: str


class ChargeRefused(Struct, frozen=True):
    """Stripe refused the request of this send without trying the card, and stored nothing for its key."""

    order_id: str
    attempt: int
    send: int
    reason: RefusalReason
    text: str


class ChargeUnclear(Struct, frozen=True):
    """A send ended without an answer that means anything: the card may have been charged, or may yet be."""

    order_id: str
    attempt: int
    send: int


class ChargeErrorStored(Struct, frozen=True):
    """Stripe replayed an error for the key: sending it again can only bring the same error."""

    order_id: str
    attempt: int


class ChargeWithheld(Struct, frozen=True):
    """This send was never made, as the process that held it knows: it was withdrawn, came too late, or we stop."""

    order_id: str
    attempt: int
    send: int


class ChargesFound(Struct, frozen=True):
    """The succeeded charges that Stripe lists for an order, asked on behalf of one attempt under one evidence."""

    order_id: str
    attempt: int
    evidence: Evidence
    charges: tuple[FoundCharge, ...]


class ChargeRefunded(Struct, frozen=True):
    """A charge has been given back in full."""

    order_id: str
    charge_id: str
    refund_id: str


class RefundBlocked(Struct, frozen=True):
    """Stripe will not give a charge back now: the refund failed, is pending, or the charge is disputed."""

    order_id: str
    charge_id: str
    refund_id: str | None
    text: str


class RefundErrorStored(Struct, frozen=True):
    """Stripe replayed an error for the refund's key: only the charge itself can tell whether it was given back."""

    order_id: str
    charge_id: str
    key: str


class RefundNotFound(Struct, frozen=True):
    """The charge was looked at after an error was stored for this refund key, and it has not been given back."""

    order_id: str
    charge_id: str
    key: str


class EventPublished(Struct, frozen=True):
    """The broker has acknowledged one of our events."""

    order_id: str
    subject: str


class EffectReturned(Struct, frozen=True):
    """An actor gives back an effect (not a charge) that it did not finish: somebody must look again at once."""

    order_id: str
    effect_id: str


class LeaseRenewed(Struct, frozen=True):
    """This process still holds these effects of an order, though they have not had their turn yet."""

    order_id: str
    effect_ids: tuple[str, ...]


class Due(Struct, frozen=True):
    """Somebody must look again: the order's deadline has passed, or a process starts and finds its own old work."""

    order_id: str


Message = (
    ChargeRequested
    | OrderCreated
    | OrderCancelled
    | CardCharged
    | CardDeclined
    | ChargeRefused
    | ChargeUnclear
    | ChargeErrorStored
    | ChargeWithheld
    | ChargesFound
    | ChargeRefunded
    | RefundBlocked
    | RefundErrorStored
    | RefundNotFound
    | EventPublished
    | EffectReturned
    | LeaseRenewed
    | Due
)
