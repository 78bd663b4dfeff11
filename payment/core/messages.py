"""Every message that the ledger decides about, and nothing else.

`ChargeRequested` and `RecheckRequested` are requests; every other message states a fact, in the past tense. A message
names its order, and no state that it expects: `decide` applies it to the document as it is.

Facts about a PaymentIntent name it by its `intent` number, which counts the order's intents from 1. They carry Stripe's
id of it wherever that is known: the document receives the id together with the outcome.

Change together: `Message` below, `payment.core.decide.decide`, and the table in `payment.core.order`.
"""

import enum
from datetime import datetime

from msgspec import Struct


class Context(Struct, frozen=True):
    """The context of one decision: the time, the process and its settings. The core reads nothing else from outside.

    `now` is UTC in whole milliseconds, as MongoDB keeps it. `process` is `<client id>#<incarnation>`: two runs under
    one client id are two processes, and the second retrieves an intent before it repeats a request of the first.
    `api_version` is the Stripe API version of this process; a new attempt keeps it for all its requests. `queue_group`
    is the service's name on NATS: payment ids and the idempotency keys of creates are derived from it and the order's
    id. `prepare`: an order's intent is created when the order arrives, not at its first request.
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
    """Returns the client id of a process: `payment-service-web-1` of `payment-service-web-1#9f3c`."""
    return process.partition("#")[0]


class InstrumentKind(enum.Enum):
    """The kind of an instrument. The value is the field of the request's body."""

    TOKEN = "token"
    """A card token, `tok_…`, which the platform's present clients send."""
    PAYMENT_METHOD = "paymentMethod"
    """A PaymentMethod, `pm_…`."""
    CONFIRMATION_TOKEN = "confirmationToken"
    """A ConfirmationToken, `ctoken_…`, which Stripe's Payment Element makes, also for wallets."""


class Instrument(Struct, frozen=True, rename="camel"):
    """The card token, payment method or confirmation token of an attempt. The value is secret: no repr shows it."""

    kind: InstrumentKind
    value: str

    def __repr__(self) -> str:
        return f"Instrument(kind={self.kind.value!r})"


class Authentication(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How a client can let its customer authenticate where the bank requires it. Without either field it can't."""

    use_stripe_sdk: bool = False
    """The browser will call `stripe.handleNextAction` with the client secret."""
    return_url: str | None = None
    """The address to which the bank's page sends the customer back."""

    @property
    def possible(self) -> bool:
        return self.use_stripe_sdk or self.return_url is not None

    def __repr__(self) -> str:
        return f"Authentication(use_stripe_sdk={self.use_stripe_sdk}, redirect={self.return_url is not None})"


class RefusalReason(enum.Enum):
    """Why Stripe refused to try a card."""

    TOKEN = "token"
    """No such token, payment method or confirmation token, or one that can't be used here."""
    TOKEN_USED = "token_used"
    """It was used before: by another order, or by an earlier send of this very attempt."""
    AMOUNT = "amount"
    """Below the currency's minimum, or above its maximum."""
    REQUEST = "request"
    """Any other error in the request. It is a fault of ours, so an alarm is logged."""
    WITHHELD = "withheld"
    """Our reason, not Stripe's: the attempt was never confirmed, and may not be sent any more."""


class IntentStatus(enum.Enum):
    """The status of a PaymentIntent, as Stripe names it (docs.stripe.com/payments/paymentintents/lifecycle)."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"


class ChargeFacts(Struct, frozen=True):
    """A succeeded charge as Stripe shows it. `amount_refunded` is in minor units.

    `refunded`: it was refunded in full, or its bank has given it back. `disputed`: a bank has disputed it or inquired
    about it; this stays true when the dispute is over.
    """

    charge_id: str
    refunded: bool = False
    disputed: bool = False
    amount_refunded: int = 0


class Failure(Struct, frozen=True):
    """The reason why a card was not charged, in Stripe's codes and words."""

    code: str
    decline_code: str | None
    text: str


class ListedCharge(Struct, frozen=True):
    """A succeeded charge in the list of an order's transfer group. `attempt` is 0 where it names none of ours."""

    charge: ChargeFacts
    attempt: int


class ChargeRequested(Struct, frozen=True):
    """A client requests to pay an order."""

    order_id: str
    user_id: str
    instrument: Instrument
    authentication: Authentication = Authentication()


class RecheckRequested(Struct, frozen=True):
    """A client asked about an intent that awaits its customer: retrieve it from Stripe now, not at its next time."""

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
    """The platform has cancelled an order. The event may arrive before the order's `OrderCreated`."""

    order_id: str
    version: int


class IntentPrepared(Struct, frozen=True):
    """The order's intent was created by a `CreateIntent`: it exists, unconfirmed."""

    order_id: str
    intent: int
    intent_id: str


class IntentCreated(Struct, frozen=True):
    """A send created its intent and did not confirm it: the document must have the id first."""

    order_id: str
    attempt: int
    send: int
    intent: int
    intent_id: str


class CreateErrorStored(Struct, frozen=True):
    """Stripe replayed an error for the key of an intent's create. An intent that it made was never confirmed."""

    order_id: str
    intent: int


class CreateRefused(Struct, frozen=True):
    """Stripe refused to create the intent (its amount, its currency, our request). The answer is not a replay."""

    order_id: str
    intent: int
    reason: RefusalReason
    text: str


class IntentSucceeded(Struct, frozen=True):
    """Stripe has charged the card, by the answer to a confirm or by the list of charges before a create.

    `replayed`: Stripe repeats the answer that it stored for the key; the charge may have been refunded since.
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
    """A send ended without a conclusive answer: Stripe may have charged the card, or may yet charge it.

    `intent_id` is None where not even the create was answered. `stored`: Stripe replayed an error for the confirm's
    key, or knows the key with other parameters, so another send would get the same answer.
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
    """An intent as Stripe shows it now.

    `charge` is set exactly where it succeeded; `failure` is its last payment error. `attempt` is the attempt whose
    confirm met an unexpected state, and None otherwise.
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
    """The succeeded charges of an order's transfer group, listed for an attempt of release 0.1.0."""

    order_id: str
    attempt: int
    charges: tuple[ListedCharge, ...]


class ChargeRefunded(Struct, frozen=True):
    """A charge has been refunded in full."""

    order_id: str
    charge_id: str
    refund_id: str


class RefundBlocked(Struct, frozen=True):
    """Stripe can't refund a charge now: the refund failed or is pending, or the charge is disputed."""

    order_id: str
    charge_id: str
    refund_id: str | None
    text: str


class RefundErrorStored(Struct, frozen=True):
    """Stripe replayed an error for the refund's key: only the charge itself shows whether it was refunded."""

    order_id: str
    charge_id: str
    key: str


class RefundNotFound(Struct, frozen=True):
    """The charge has not been given back, as a search after an error that was stored for this refund key has shown."""

    order_id: str
    charge_id: str
    key: str


class DisputeLost(Struct, frozen=True):
    """The bank has given a charge back after a lost dispute: no refund of it can be made any more.

    `text` names the part that was given back, where it was not all.
    """

    order_id: str
    charge_id: str
    dispute_id: str
    text: str | None = None


class RefundRechecked(Struct, frozen=True):
    """A charge that was given back was rechecked.

    `given_back_by` is the id of the refund or dispute that was rechecked. `stands`: by that one the charge is still
    given back in full. Otherwise `text` says why not.
    """

    order_id: str
    charge_id: str
    given_back_by: str
    stands: bool
    text: str | None = None


class EventPublished(Struct, frozen=True):
    """The broker has stored one of our events, named by its message id."""

    order_id: str
    message_id: str


class EffectReturned(Struct, frozen=True):
    """An actor has given back an effect (not a confirm) that it did not finish: the next sweep releases it again."""

    order_id: str
    effect_id: str


class LeaseRenewed(Struct, frozen=True):
    """This process still has these effects of an order in flight, so their leases begin anew."""

    order_id: str
    effect_ids: tuple[str, ...]


class Due(Struct, frozen=True):
    """A task of the order is overdue, or a process that starts has found tasks of its earlier run."""

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
"""Every message except `ChargeRequested`, the only one with a reply."""

Message = ChargeRequested | Fact
