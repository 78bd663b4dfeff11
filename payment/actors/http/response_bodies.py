"""The bodies of all answers, as types: `payment.actors.http.responses` encodes them, `payment.actors.http.openapi`
describes them.

A client secret, and the address of the bank's page, stand in two of them on their way to the order's owner: no repr
shows either. Change together: `payment.actors.http.responses.Case`, which has the body of each answer.
"""

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from payment.core.replies import PaymentStatus

PAYMENT_ID_PATTERN = "^[0-9a-f]{32}$"
"""A payment's id: the beginning of a SHA-256 in hexadecimal digits (`payment.core.attempts`)."""

PaymentId = Annotated[str, Meta(pattern=PAYMENT_ID_PATTERN)]


class ErrorCode(enum.Enum):
    """One word for each case of an error, so that a client need not read English. `Case` says what each means."""

    INVALID_JSON = "invalid_json"
    INVALID_FIELD = "invalid_field"
    INVALID_CARD = "invalid_card"
    INVALID_HTTP = "invalid_http"
    UNAUTHENTICATED = "unauthenticated"
    OPS_KEY_REQUIRED = "ops_key_required"
    DECLINED = "declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    NOT_OWNER = "not_owner"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_EXPIRED = "order_expired"
    ALREADY_PAID = "already_paid"
    UNDER_WAY = "under_way"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_EXPECTATION = "unsupported_expectation"
    AMOUNT_NOT_CHARGEABLE = "amount_not_chargeable"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    TOO_MANY_DECLINES = "too_many_declines"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"


class UseStripeSdk(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="use_stripe_sdk"):
    """The browser calls `stripe.handleNextAction` with the client secret."""


class RedirectToUrl(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="redirect_to_url"):
    """The browser goes to the bank's page, which sends the customer back to the request's `returnUrl`."""

    url: str

    def __repr__(self) -> str:
        return "RedirectToUrl()"


NextActionBody = UseStripeSdk | RedirectToUrl


class PaidBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge that succeeded."""

    id: PaymentId
    order_id: str
    stripe_id: str
    status: Literal["paid"]


class PendingBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge whose outcome is not known yet."""

    id: PaymentId
    order_id: str
    status: Literal["pending"]


class RequiresActionBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge for which the bank wants the customer to authenticate. No repr shows the client secret."""

    id: PaymentId
    order_id: str
    status: Literal["requires_action"]
    client_secret: str
    next_action: NextActionBody

    def __repr__(self) -> str:
        return f"RequiresActionBody(id={self.id!r})"


class PaymentBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A payment over all its attempts. `stripeId` is there once a charge pays the order, or did.

    `clientSecret` and `nextAction` are there where the status is `requires_action` and Stripe said so just now.
    """

    id: PaymentId
    order_id: str
    status: PaymentStatus
    stripe_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    next_action: UseStripeSdk | RedirectToUrl | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"PaymentBody(id={self.id!r}, status={self.status.value!r})"


class ErrorItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is wrong. `field` is its place in the request; `decline_code` is Stripe's, of a declined card."""

    message: str
    code: ErrorCode
    field: str | msgspec.UnsetType = msgspec.UNSET
    decline_code: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The platform's shape of an error: its web client maps over `errors`."""

    errors: tuple[ErrorItem, ...]


class DeclinedBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A declined card: the platform's shape, and the id of the payment, which another card can still make paid."""

    id: PaymentId
    errors: tuple[ErrorItem, ...]


class AliveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """No actor is stuck."""

    status: Literal["alive"] = "alive"


class StuckBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Actors that have been at one thing for too long, by name."""

    stuck: tuple[str, ...]
    status: Literal["stuck"] = "stuck"
