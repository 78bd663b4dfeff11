"""The card processor port: intents, refunds, and a list of charges. `payment.adapters.stripe` implements it.

Each method makes one kind of call to Stripe, once. Every way in which a call can end is a value here, so that no actor
reads a Stripe exception. The Stripe actor (`payment.actors.stripe`) alone decides which call comes next.
"""

import enum
from typing import Protocol

from msgspec import Struct

from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import ChargeFacts, Failure, IntentStatus, ListedCharge, RefusalReason


class NextAction(Struct, frozen=True):
    """The customer's next step in the browser. `url` is set exactly for a redirect to the bank's page."""

    url: str | None = None

    def __repr__(self) -> str:
        return f"NextAction(redirect={self.url is not None})"


class Handover(Struct, frozen=True):
    """The data with which the owner's browser authenticates: never stored, never logged, sent to the owner alone."""

    client_secret: str
    next_action: NextAction

    def __repr__(self) -> str:
        return "Handover()"


class IntentAnswer(Struct, frozen=True):
    """An intent as Stripe shows it: the answer to a create, a confirm, a retrieve or a cancel.

    `charge` is set exactly where `status` is SUCCEEDED, `handover` exactly where it is REQUIRES_ACTION; `failure` is
    `last_payment_error`, where there is one. A create's answer has the id and the status alone. `replayed`: Stripe
    repeats the answer that it stored for the idempotency key.
    """

    id: str
    status: IntentStatus
    charge: ChargeFacts | None = None
    failure: Failure | None = None
    handover: Handover | None = None
    replayed: bool = False


class Declined(Struct, frozen=True):
    """The card was declined; Stripe stores this answer for the key."""

    failure: Failure


class Refused(Struct, frozen=True):
    """Stripe refused the request without trying it: this call changed nothing."""

    reason: RefusalReason
    text: str


class UnexpectedState(Struct, frozen=True):
    """`payment_intent_unexpected_state`: the intent can't be confirmed, or cancelled, in its present status."""

    text: str


class Obstacle(enum.Enum):
    """Why a call certainly had no effect."""

    RATE_LIMITED = "rate_limited"
    """429 for too many requests: the rate must fall."""
    LOCKED = "locked"
    """429 `lock_timeout`: another request works on the same object. The rate is not to blame."""
    KEY_IN_USE = "key_in_use"
    """409 `idempotency_key_in_use`: an earlier request with this key is still executing."""
    KEY_REFUSED = "key_refused"
    """401 or 403: Stripe does not accept our secret key."""
    UNREACHABLE = "unreachable"
    """No connection was made: nothing can have been sent."""
    CHARGE_PENDING = "charge_pending"
    """A charge of the order is still processing: no intent may be created before its outcome is known."""


class NotYet(Struct, frozen=True):
    """The call had no effect and may be repeated, after `retry_after_s` seconds where Stripe asks for that.

    `alarm`: it fails until an operator changes something (another account's intent, an integration that Stripe does not
    support). `account`: RATE_LIMITED by the account's limit, not by the endpoint's (Stripe's header
    `Stripe-Rate-Limited-Reason` says `global-rate`).
    """

    obstacle: Obstacle
    text: str
    retry_after_s: float | None = None
    alarm: bool = False
    account: bool = False


class Unclear(Struct, frozen=True):
    """Anything else: Stripe may have carried the request out, or may yet do so.

    `stored`: Stripe replayed this error for the key, or knows the key with other parameters, so the same call would get
    the same answer.
    """

    text: str
    stored: bool = False
    alarm: bool = False
    """One of our own rules was broken (a key with two parameter sets, F16)."""


class Charges(Struct, frozen=True):
    """An order's succeeded charges, newest first. `pending`: another one is still processing."""

    charges: tuple[ListedCharge, ...]
    pending: bool = False


class Refunded(Struct, frozen=True):
    """The charge has been given back in full, now or before."""

    refund_id: str


class Blocked(Struct, frozen=True):
    """The refund failed, is pending, or can't be made (the charge is disputed): it has to be tried again, slowly."""

    text: str
    refund_id: str | None = None


class ChargedBack(Struct, frozen=True):
    """The bank has given the charge back after a lost dispute: no refund can be made any more.

    `text` names the part that was given back, where that was not all.
    """

    dispute_id: str
    text: str | None = None


class NotRefunded(Struct, frozen=True):
    """The charge was read, and it has not been given back."""


class Permission(enum.Enum):
    """A kind of call that our key has to be allowed to make at Stripe."""

    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    LIST = "list"
    REFUND = "refund"


CreateOutcome = IntentAnswer | Refused | NotYet | Unclear
ConfirmOutcome = IntentAnswer | Declined | Refused | UnexpectedState | NotYet | Unclear
RetrieveOutcome = IntentAnswer | NotYet | Unclear
CancelOutcome = IntentAnswer | UnexpectedState | NotYet | Unclear
ListOutcome = Charges | NotYet | Unclear
RefundOutcome = Refunded | ChargedBack | Blocked | NotYet | Unclear
FindRefundOutcome = Refunded | ChargedBack | Blocked | NotRefunded | NotYet | Unclear


class CardProcessor(Protocol):
    """Stripe, as far as this service needs it. No method raises, except `CancelledError` when its task is cancelled."""

    async def create(self, intent: IntentReference) -> CreateOutcome:
        """Create the intent, unconfirmed, under its idempotency key; or get it back, if it was created before."""

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> ConfirmOutcome:
        """Confirm the intent with the attempt's card, under the key `confirm-<intent id>-<attempt>`."""

    async def retrieve(self, intent_id: str) -> RetrieveOutcome:
        """Read the intent and its latest charge."""

    async def cancel(self, intent_id: str) -> CancelOutcome:
        """Cancel the intent.

        One that is canceled already is an `IntentAnswer` with that status, or an `UnexpectedState`.
        """

    async def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        """List the charges of the order's transfer group, every page of them."""

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Refund a charge in full under the request's idempotency key."""

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        """Read whether a charge has been given back: by its refunds, or by a dispute."""

    async def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        """Read again what gave a charge back. `Refunded` names the same refund while that one is still a success."""

    async def check(self) -> StripeAccount | NotYet | Unclear:
        """Return our key's account, by the cheapest call that shows that Stripe answers and accepts the key."""

    async def check_permission(self, permission: Permission) -> NotYet | Unclear | None:
        """Make a call of this kind that can't change anything. None: our key may make such calls.

        NotYet with KEY_REFUSED: it may not. Any other outcome proves nothing about our key.
        """

    async def close(self) -> None:
        """Close the connections."""
