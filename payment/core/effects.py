"""What the world may still owe an order, as values: the output of `pending`, the input of the Stripe and NATS actors.

Every effect has an `id` that is the same whenever the same thing is owed: an actor's queue holds one entry for each.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from payment.core.messages import Authentication, Instrument

PAYMENT_CREATED = "payment:created"
PAYMENT_REFUNDED = "payment:refunded"
PAYMENT_REFUND_FAILED = "payment:refund_failed"
PAYMENT_DISPUTED = "payment:disputed"
ON_THE_WIRE = timedelta(hours=5)
"""How long before its create's key may be forgotten an intent is no longer confirmed by a create's answer alone. What
left until then may still land while every create brings the same intent, also by clocks that are somewhat wrong."""

OUTGOING_SUBJECTS = (PAYMENT_CREATED, PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED)
"""Every subject that an order's outbox may have an event of."""


class IntentReference(Struct, frozen=True):
    """Which of an order's intents, and all that its create sends. `amount` is in minor units.

    `id` is None until it is in the document: then the create is repeated under `key`, which brings the same intent
    back. From `list_after` on Stripe may have forgotten the key, so the order's charges are listed before a create, and
    a create may bring another intent than an earlier one did.
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
    """Send an attempt: the intent's create where its id is not known, then its confirm.

    The confirm's idempotency key is `confirm-<intent id>-<attempt>`. No request may leave before `not_before`, nor
    after `not_after`: a revision can't fence a process that wakes up with a request, a time can. `send` says which of
    the sends counted in the document this one is.
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
        """Whether the intent's id must be in the document before it is confirmed.

        Stripe may forget the create's key while the attempt lasts, or while what it sent is on the wire. Two processes
        can then get two intents from it, and only the document, which takes one id, keeps both from being confirmed.
        """
        return self.intent.id is None and self.not_after + ON_THE_WIRE > self.intent.list_after

    @property
    def id(self) -> str:
        return f"confirm:{self.intent.order_id}:{self.attempt}"


class CreateIntent(Struct, frozen=True):
    """Create the order's intent ahead of its first request (`STRIPE_PREPARE`).

    It may not leave after `not_after`: while Stripe keeps the key, and the order can be paid.
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
    """Look at an intent, and at its latest charge."""

    intent: IntentReference

    @property
    def order_id(self) -> str:
        return self.intent.order_id

    @property
    def id(self) -> str:
        return f"retrieve:{self.intent.order_id}:{self.intent.number}"


class CancelIntent(Struct, frozen=True):
    """Cancel an intent, so that it can never charge. It has no idempotency key. Not sent before `not_before`."""

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


class RecheckRefund(Struct, frozen=True):
    """Look whether a charge that was given back still is. `amount` is the charge's, in minor units.

    `given_back_by` is the refund's id, or (`charged_back`) that of the lost dispute.
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
    """Publish one of our events. Ids and a status that its subject has no place for are None.

    `message_id` is what the broker drops repeats by (`payment.core.pending.publication`).
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
    """Nothing to do now, but the order must be looked at later. It has a time and no actor. `what` tells two apart."""

    order_id: str
    what: str

    @property
    def id(self) -> str:
        return f"recheck-later:{self.order_id}:{self.what}"


IntentEffect = ConfirmIntent | CreateIntent | RetrieveIntent | CancelIntent
StripeEffect = IntentEffect | ListCharges | RefundCharge | FindRefund | RecheckRefund
Effect = StripeEffect | PublishEvent | RecheckLater


class PendingEffect(Struct, frozen=True):
    """An effect and the time at which it counts as lost if it hasn't been seen to end (UTC).

    `holder` is the process that has it in flight until then; None: it is for any process that looks.
    """

    effect: Effect
    at: datetime
    holder: str | None
