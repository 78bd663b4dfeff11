"""Every message that the ledger decides about, and nothing else.

`ChargeRequested` and `RecheckRequested` ask for something; every other message states a fact, in the past tense. A
message names the order it is about, never the state it hopes to find: `decide` judges it by the document as it stands.

Facts about a PaymentIntent name it by its `intent` number, which counts the order's intents from 1, and carry the id
that Stripe gave it wherever it is known: the id reaches the document together with the outcome.

Change together: `Message` below, `payment.core.decide.decide`, and the table in `payment.core.order`.
"""

import enum
from datetime import datetime

from msgspec import Struct


class Context(Struct, frozen=True):
    """When a message is decided, and by whom: what the core would otherwise have to ask the world for.

    `at` is UTC in whole milliseconds, as MongoDB keeps it. `process` is `<client id>#<incarnation>`: two runs under
    one client id are two processes, and the second looks before it repeats what the first began. `api_version` is the
    one of the card processor that this process speaks: an attempt that begins now is frozen with it. `queue_group` is
    the service's name on the bus: payment ids and idempotency keys of creates are derived from it and the order's id.
    `prepare`: an order's intent is created when the order comes, not at its first request.
    """

    now: datetime
    process: str
    api_version: str
    queue_group: str
    prepare: bool = False

    @property
    def client_id(self) -> str:
        return client_id_of(self.process)


def client_id_of(process: str) -> str:
    """The client id a process runs under: `payment-service-web-1` of `payment-service-web-1#9f3c`."""
    return process.partition("#")[0]


class InstrumentKind(enum.Enum):
    """What a request pays with. The value is the field of the request's body."""

    TOKEN = "token"
    """A card token, `tok_…`: the platform's clients of today."""
    PAYMENT_METHOD = "paymentMethod"
    """A PaymentMethod, `pm_…`."""
    CONFIRMATION_TOKEN = "confirmationToken"
    """What Stripe's Payment Element makes, `ctoken_…`; wallets too."""


class Instrument(Struct, frozen=True, rename="camel"):
    """What an attempt pays with. Its value is a secret of the customer's: no repr shows it."""

    kind: InstrumentKind
    value: str

    def __repr__(self) -> str:
        return f"Instrument(kind={self.kind.value!r})"


class Authentication(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the client can let its customer authenticate, if the bank wants that. Neither: it can't."""

    use_stripe_sdk: bool = False
    """The browser will call `stripe.handleNextAction` with the client secret."""
    return_url: str | None = None
    """Where the bank's page sends the customer back to."""

    @property
    def possible(self) -> bool:
        return self.use_stripe_sdk or self.return_url is not None

    def __repr__(self) -> str:
        return f"Authentication(use_stripe_sdk={self.use_stripe_sdk}, redirect={self.return_url is not None})"


class RefusalReason(enum.Enum):
    """Why Stripe would not even try a card."""

    TOKEN = "token"
    """No such token, payment method or confirmation token, or one that can't be used here."""
    TOKEN_USED = "token_used"
    """It was used before: by another order, or by an earlier send of this very attempt."""
    AMOUNT = "amount"
    """Below the currency's minimum, or above its maximum."""
    REQUEST = "request"
    """Anything else Stripe finds wrong with the request. Ours to correct, so it is alarmed."""
    WITHHELD = "withheld"
    """Our reason, not Stripe's: the attempt was never confirmed, and may not be sent any more."""


class IntentStatus(enum.Enum):
    """Where a PaymentIntent stands, as Stripe names it (docs.stripe.com/payments/paymentintents/lifecycle)."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"


class ChargeFacts(Struct, frozen=True):
    """A succeeded charge as Stripe shows it. `refunded`: it was given back in full, or by its bank. `amount_refunded`:
    minor units.

    `disputed`: a bank has disputed it, or asked about it. It stays true when that is over.
    """

    charge_id: str
    refunded: bool = False
    disputed: bool = False
    amount_refunded: int = 0


class Failure(Struct, frozen=True):
    """Why a card was not charged, in Stripe's codes and words."""

    code: str
    decline_code: str | None
    text: str


class ListedCharge(Struct, frozen=True):
    """A succeeded charge in the list of an order's transfer group. `attempt` is 0 where it names none of ours."""

    charge: ChargeFacts
    attempt: int


class ChargeRequested(Struct, frozen=True):
    """A client asks to pay an order."""

    order_id: str
    user_id: str
    instrument: Instrument
    authentication: Authentication = Authentication()


class RecheckRequested(Struct, frozen=True):
    """A client asks about an intent that awaits its customer: look at it at Stripe now, not at its next time."""

    order_id: str


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


class IntentPrepared(Struct, frozen=True):
    """The order's intent was created, and nothing else was asked of it."""

    order_id: str
    intent: int
    intent_id: str


class IntentCreated(Struct, frozen=True):
    """A send's intent was created, and not confirmed: its id is to be in the document first."""

    order_id: str
    attempt: int
    send: int
    intent: int
    intent_id: str


class CreateErrorStored(Struct, frozen=True):
    """Stripe replayed an error for the key of an intent's create. If it made an intent, that was never confirmed."""

    order_id: str
    intent: int


class CreateRefused(Struct, frozen=True):
    """Stripe refused to create the intent (its amount, its currency, our request), now for the first time."""

    order_id: str
    intent: int
    reason: RefusalReason
    text: str


class IntentSucceeded(Struct, frozen=True):
    """Stripe has charged the card, as the answer to a confirm, or as a list of charges shows before a create.

    `replayed`: the answer is the one that Stripe stored for the key: the charge may have been refunded since.
    """

    order_id: str
    intent: int
    intent_id: str | None
    charge: ChargeFacts
    replayed: bool = False


class ActionRequired(Struct, frozen=True):
    """The answer to a confirm: the customer has to authenticate, or the bank has not decided yet (`processing`)."""

    order_id: str
    attempt: int
    intent: int
    intent_id: str
    processing: bool = False
    replayed: bool = False


class CardDeclined(Struct, frozen=True):
    """The bank or Stripe declined the card. Stripe stores this answer for the key: it can't change."""

    order_id: str
    attempt: int
    intent: int
    intent_id: str
    failure: Failure


class ConfirmRefused(Struct, frozen=True):
    """Stripe refused this send of a confirm without trying the card."""

    order_id: str
    attempt: int
    send: int
    intent: int
    intent_id: str
    reason: RefusalReason
    text: str


class ConfirmUnclear(Struct, frozen=True):
    """A send ended without a conclusive answer: the card may have been charged, or may yet be.

    `intent_id` is None where not even the create was answered. `stored`: Stripe replayed an error for the confirm's
    key, or knows the key with other parameters, so sending it again can bring nothing else.
    """

    order_id: str
    attempt: int
    send: int
    intent: int
    intent_id: str | None
    stored: bool = False


class ConfirmWithheld(Struct, frozen=True):
    """This send was certainly not made: it was cancelled, it would have been too late, or the process is stopping."""

    order_id: str
    attempt: int
    send: int
    intent: int
    intent_id: str | None = None


class RetrieveReason(enum.Enum):
    """Why an intent was retrieved from Stripe."""

    RECHECK = "recheck"
    CANCEL = "cancel"
    """After a cancel, or as its answer."""
    UNEXPECTED_STATE = "unexpected_state"
    """Stripe refused a confirm because of the intent's state."""


class IntentRetrieved(Struct, frozen=True):
    """An intent as Stripe shows it now. `charge` is there exactly where it succeeded; `failure` is its last one.

    `attempt` is the one whose confirm led to an unexpected state, and None otherwise.
    """

    order_id: str
    intent: int
    intent_id: str
    reason: RetrieveReason
    status: IntentStatus
    charge: ChargeFacts | None = None
    failure: Failure | None = None
    attempt: int | None = None


class ChargesListed(Struct, frozen=True):
    """The succeeded charges of an order's transfer group, asked for an attempt of release 0.1.0."""

    order_id: str
    attempt: int
    charges: tuple[ListedCharge, ...]


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


class DisputeLost(Struct, frozen=True):
    """The bank has given a charge back: no refund of it can be made any more. `text` says which part, where not all."""

    order_id: str
    charge_id: str
    dispute_id: str
    text: str | None = None


class RefundRechecked(Struct, frozen=True):
    """A charge that was given back was looked at again. `given_back_by`: the refund or dispute that was asked about.

    `stands`: by that one the charge is still given back in full. Else `text` says why not.
    """

    order_id: str
    charge_id: str
    given_back_by: str
    stands: bool
    text: str | None = None


class EventPublished(Struct, frozen=True):
    """The broker has acknowledged one of our events, by its message id."""

    order_id: str
    message_id: str


class EffectReturned(Struct, frozen=True):
    """An actor gives back an effect (not a confirm) that it did not finish: the next sweep releases it again."""

    order_id: str
    effect_id: str


class LeaseRenewed(Struct, frozen=True):
    """This process still has these effects of an order in flight, though they have not had their turn yet."""

    order_id: str
    effect_ids: tuple[str, ...]


class Due(Struct, frozen=True):
    """The order's deadline has passed, or a process starts and finds its own old work."""

    order_id: str


IntentOutcome = (
    IntentPrepared
    | IntentCreated
    | CreateErrorStored
    | CreateRefused
    | IntentSucceeded
    | ActionRequired
    | CardDeclined
    | ConfirmRefused
    | ConfirmUnclear
    | ConfirmWithheld
    | IntentRetrieved
)
RefundOutcome = ChargeRefunded | RefundBlocked | RefundErrorStored | RefundNotFound | DisputeLost | RefundRechecked

Fact = (
    RecheckRequested
    | OrderCreated
    | OrderCancelled
    | IntentOutcome
    | ChargesListed
    | RefundOutcome
    | EventPublished
    | EffectReturned
    | LeaseRenewed
    | Due
)
"""Every message but a request to charge, which alone is replied to."""

Message = ChargeRequested | Fact
