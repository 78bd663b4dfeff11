"""Effects: what must still be done for an order at Stripe or NATS.

`payment.core.pending` returns them; the Stripe and NATS actors carry them out. Every effect has an `id`, which is the
same whenever the same effect is pending: an actor's queue holds one entry for each id.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from payment.core.messages import Authentication, Instrument

PAYMENT_CREATED = "payment:created"
PAYMENT_REFUNDED = "payment:refunded"
PAYMENT_REFUND_FAILED = "payment:refund_failed"
PAYMENT_DISPUTED = "payment:disputed"
ON_THE_WIRE = timedelta(hours=5)
"""How long before Stripe may forget its create's key an intent is no longer confirmed by the create's answer alone. A
request that was sent earlier arrives while every create still returns the same intent, also where clocks are wrong by
some minutes."""

OUTGOING_SUBJECTS = (PAYMENT_CREATED, PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED)
"""Every subject on which this service publishes events."""


class IntentReference(Struct, frozen=True):
    """One of an order's intents, with every parameter of its create. `amount` is in minor units.

    `id` is None until the document has it: until then the create is repeated under `key`, and Stripe returns the same
    intent. After `list_after` (UTC) Stripe may have forgotten the key: then the order's charges are listed before a
    create, and a create may return another intent than an earlier one did.
    """

    order_id: str
    payment_id: str
    number: int
    key: str
    id: str | None
    amount: int
    currency: str
    api_version: str
    list_after: datetime


class ConfirmIntent(Struct, frozen=True):
    """Send an attempt: create the intent where its id is not known, then confirm it.

    The confirm's idempotency key is `confirm-<intent id>-<attempt>`. No request may leave before `not_before` or after
    `not_after` (UTC): a document's revision can't stop a process that was paused and wakes up with a request, a time
    can. `send` is the number of this send, from 1, as the document counts the attempt's sends.
    """

    intent: IntentReference
    attempt: int
    send: int
    instrument: Instrument
    authentication: Authentication
    issued_at: datetime
    not_before: datetime
    not_after: datetime

    @property
    def order_id(self) -> str:
        return self.intent.order_id

    @property
    def payment_id(self) -> str:
        return self.intent.payment_id

    @property
    def id_first(self) -> bool:
        """Whether the document must have the intent's id before the intent is confirmed.

        Stripe may forget the create's key while the attempt lasts, or while its requests are on the wire. Two processes
        can then get two intents under the key. The document takes one id, so only that intent is confirmed.
        """
        return self.intent.id is None and self.not_after + ON_THE_WIRE > self.intent.list_after

    @property
    def id(self) -> str:
        return f"confirm:{self.intent.order_id}:{self.attempt}"


class CreateIntent(Struct, frozen=True):
    """Create the order's intent before the first request to charge (`STRIPE_PREPARE`).

    No request may leave after `not_after` (UTC): until then Stripe keeps the key, and the order can be paid.
    """

    intent: IntentReference
    not_after: datetime

    @property
    def order_id(self) -> str:
        return self.intent.order_id

    @property
    def id(self) -> str:
        return f"create:{self.intent.order_id}:{self.intent.number}"


class RetrieveIntent(Struct, frozen=True):
    """Retrieve an intent with its latest charge."""

    intent: IntentReference

    @property
    def order_id(self) -> str:
        return self.intent.order_id

    @property
    def id(self) -> str:
        return f"retrieve:{self.intent.order_id}:{self.intent.number}"


class CancelIntent(Struct, frozen=True):
    """Cancel an intent, so that it can never charge.

    The request has no idempotency key, and may not leave before `not_before` (UTC).
    """

    intent: IntentReference
    not_before: datetime

    @property
    def order_id(self) -> str:
        return self.intent.order_id

    @property
    def id(self) -> str:
        return f"cancel:{self.intent.order_id}:{self.intent.number}"


class ListCharges(Struct, frozen=True):
    """List the order's charges at Stripe, for an attempt of release 0.1.0 whose outcome is not known."""

    order_id: str
    payment_id: str
    attempt: int

    @property
    def id(self) -> str:
        return f"list:{self.order_id}:{self.attempt}"


class RefundCharge(Struct, frozen=True):
    """Refund a charge in full, under the refund's own idempotency key."""

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
    """Find out whether a charge has been refunded, after Stripe stored an error for this refund key."""

    order_id: str
    charge_id: str
    key: str

    @property
    def id(self) -> str:
        return f"find-refund:{self.key}"


class RecheckRefund(Struct, frozen=True):
    """Find out whether a charge that was given back still is. `amount` is the charge's, in minor units.

    `given_back_by` is the id of the refund, or of the lost dispute where `charged_back` is true.
    """

    order_id: str
    charge_id: str
    amount: int
    given_back_by: str
    charged_back: bool = False

    @property
    def id(self) -> str:
        return f"recheck:{self.charge_id}:{self.given_back_by}"


class PublishEvent(Struct, frozen=True):
    """Publish one of our events. Fields that its subject does not have are None.

    The broker drops repeats by `message_id` (`payment.core.pending.publication`).
    """

    order_id: str
    subject: str
    payment_id: str
    stripe_id: str
    refund_id: str | None
    message_id: str
    dispute_id: str | None = None
    status: str | None = None

    @property
    def id(self) -> str:
        return f"publish:{self.message_id}"


class RecheckLater(Struct, frozen=True):
    """Nothing to do before a time (`PendingEffect.at`). No actor receives it. `what` is unique within the order."""

    order_id: str
    what: str

    @property
    def id(self) -> str:
        return f"recheck-later:{self.order_id}:{self.what}"


IntentEffect = ConfirmIntent | CreateIntent | RetrieveIntent | CancelIntent
StripeEffect = IntentEffect | ListCharges | RefundCharge | FindRefund | RecheckRefund
Effect = StripeEffect | PublishEvent | RecheckLater


class PendingEffect(Struct, frozen=True):
    """An effect, and the time (UTC) at which it counts as lost if no actor has completed it.

    Until then the process `holder` has it in flight. None: any process may take it.
    """

    effect: Effect
    at: datetime
    holder: str | None
