"""The card processor port: intents, refunds, and a list of charges. `payment.adapters.stripe` implements it.

Each method is one request to Stripe, tried once. Every way in which it can end is a value here, so that no actor
reads a Stripe exception. Which call comes next is decided by the Stripe actor (`payment.actors.stripe`) alone.
"""

import enum
from typing import Protocol

from msgspec import Struct

from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import ChargeFacts, Failure, IntentStatus, ListedCharge, RefusalReason


class NextAction(Struct, frozen=True):
    """What the customer's browser has to do. `url` is there exactly for a redirect to the bank's page."""

    url: str | None = None

    def __repr__(self) -> str:
        return f"NextAction(redirect={self.url is not None})"


class Handover(Struct, frozen=True):
    """What the owner's browser needs to authenticate: never stored, never logged, shown to the owner alone."""

    client_secret: str
    next_action: NextAction

    def __repr__(self) -> str:
        return "Handover()"


class IntentAnswer(Struct, frozen=True):
    """An intent as Stripe shows it: the answer to a create, a confirm, a retrieve or a cancel.

    `charge` is there exactly where `status` is SUCCEEDED; `handover` exactly where it is REQUIRES_ACTION; `failure` is
    `last_payment_error`, where there is one. A create's answer brings the id and the status alone. `replayed`: Stripe
    repeats what it stored for the idempotency key.
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
    """`payment_intent_unexpected_state`: the intent can't be confirmed, or cancelled, where it stands."""

    text: str


class Obstacle(enum.Enum):
    """Why a call came to nothing, for certain."""

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
    """A charge of the order is still processing: nothing may be created before its end is known."""


class NotYet(Struct, frozen=True):
    """This call did nothing: the same one may be made again, after `retry_after_s` seconds where Stripe asks for that.

    `alarm`: it won't work until an operator changes something (another account's intent, an integration that Stripe
    does not support). `account`: RATE_LIMITED by the account's limit, not by the endpoint's (Stripe's header
    `Stripe-Rate-Limited-Reason` says `global-rate`).
    """

    obstacle: Obstacle
    text: str
    retry_after_s: float | None = None
    alarm: bool = False
    account: bool = False


class Unclear(Struct, frozen=True):
    """Anything else: the request may have been carried out, or may yet be. `stored`: Stripe replayed this error for the
    key, or knows the key with other parameters: the same call can bring nothing else."""

    text: str
    stored: bool = False
    alarm: bool = False
    """It can't happen unless one of our own rules was broken (a key with two parameter sets, F16)."""


class Charges(Struct, frozen=True):
    """An order's succeeded charges, newest first. `pending`: another one is still processing."""

    charges: tuple[ListedCharge, ...]
    pending: bool = False


class Refunded(Struct, frozen=True):
    """The charge has been given back in full, now or before."""

    refund_id: str


class Blocked(Struct, frozen=True):
    """The refund failed, is pending, or can't be made (disputed): it has to be tried again, slowly."""

    text: str
    refund_id: str | None = None


class ChargedBack(Struct, frozen=True):
    """The bank has given the charge back: a dispute was lost, and no refund can be made any more.

    `text`: which part the bank gave back, where that was not all.
    """

    dispute_id: str
    text: str | None = None


class NotRefunded(Struct, frozen=True):
    """The charge was read, and it has not been given back."""


class Permission(enum.Enum):
    """What our key has to be allowed at Stripe: one kind of call each."""

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
    """Stripe, as far as this service needs it. No call raises, but for a cancellation, which is raised on."""

    async def create(self, intent: IntentReference) -> CreateOutcome:
        """Create the intent, unconfirmed, under its idempotency key; or get it back, if it was created before."""

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> ConfirmOutcome:
        """Confirm the intent with the attempt's card, under the key `confirm-<intent id>-<attempt>`."""

    async def retrieve(self, intent_id: str) -> RetrieveOutcome:
        """Read the intent and its latest charge."""

    async def cancel(self, intent_id: str) -> CancelOutcome:
        """Cancel the intent. One that is canceled already counts as `IntentAnswer` with that status or
        `UnexpectedState`.
        """

    async def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        """List the charges of the order's transfer group, every page of them."""

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Give a charge back in full under the request's idempotency key."""

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        """Read whether a charge has been given back: by its refunds, or by a dispute."""

    async def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        """Read again what gave a charge back. `Refunded` names the same refund while that one is still a success."""

    async def check(self) -> StripeAccount | NotYet | Unclear:
        """Ask which account our key is for: the cheapest call that shows that Stripe is there and takes our key."""

    async def check_permission(self, permission: Permission) -> NotYet | Unclear | None:
        """Make a call of this kind that can't change anything. None: our key may make such calls.

        NotYet with KEY_REFUSED: it may not. Anything else says nothing about our key.
        """

    async def close(self) -> None:
        """Give back the connections."""
