"""Stripe's error bodies, and the exceptions for refused requests.

Shapes, types and codes are those of docs.stripe.com/api/errors, /error-codes and /rate-limits. A secret key is only
ever shown masked. Change together: `endpoints.py` and `params.py`, which raise these.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

INVALID_REQUEST = "invalid_request_error"
JSON_TYPE = "application/json"
MASK_KEEPS_CHARS = 4
"""Stripe shows the last four characters of a key that it refuses."""


class SandboxAnswer(Struct):
    """A status, a body and headers: the answer to a request, unless a fault changes it."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = JSON_TYPE


class ErrorDetail(Struct):
    """The object under `error`. Stripe leaves out fields that do not apply."""

    type: str
    message: str
    code: str | UnsetType = UNSET
    param: str | UnsetType = UNSET
    decline_code: str | UnsetType = UNSET
    charge: str | UnsetType = UNSET
    doc_url: str | UnsetType = UNSET
    payment_intent: Any = UNSET
    payment_method: Any = UNSET

    def __post_init__(self) -> None:
        if self.code is not UNSET:
            self.doc_url = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"

    def answer(self, status: int, headers: dict[str, str] | None = None) -> SandboxAnswer:
        return SandboxAnswer(status, msgspec.json.encode({"error": self}), headers or {})


class ApiError(Exception):
    """A request that is refused before it executes. Nothing is kept, not even for its idempotency key."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = INVALID_REQUEST,
        code: str | UnsetType = UNSET,
        param: str | UnsetType = UNSET,
        decline_code: str | None = None,
        headers: dict[str, str] | None = None,
        payment_intent: Any = UNSET,
    ) -> None:
        super().__init__(message)
        declined: str | UnsetType = UNSET if decline_code is None else decline_code
        detail = ErrorDetail(type, message, code, param, declined, payment_intent=payment_intent)
        self.answer = detail.answer(status, headers)


class ExecutionError(ApiError):
    """A request that is refused while it executes. Only the error is kept, for its idempotency key."""


def missing(param: str, message: str | None = None) -> ApiError:
    return ApiError(message or f"Missing required param: {param}.", code="parameter_missing", param=param)


def no_such(kind: str, id: str, *, param: str, status: int = 400) -> ExecutionError:
    """Returns the error of an unknown id: 404 where it is in the path, 400 where it is a parameter."""
    return ExecutionError(f"No such {kind}: '{id}'", status=status, code="resource_missing", param=param)


def no_key() -> ApiError:
    message = (
        "You did not provide an API key. You need to provide your API key in the Authorization header, "
        "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
    )
    return ApiError(message, status=401, headers={"WWW-Authenticate": 'Bearer realm="Stripe"'})


def secret_key_required() -> ApiError:
    message = (
        "This API call cannot be made with a publishable API key. Please use a secret API key. "
        "You can find a list of your API keys at https://dashboard.stripe.com/account/apikeys."
    )
    return ApiError(message, status=401, code="secret_key_required")


def wrong_version(version: str) -> ApiError:
    return ApiError(f"Invalid Stripe API version: {version}")


def charges_unsupported() -> ExecutionError:
    """Returns the error for an account that may not use the Charges API:
    docs.stripe.com/payments/payment-intents/migration.
    """
    message = (
        "This API surface is unsupported. Your account can't create charges with the Charges API; "
        "use the Payment Intents API instead: https://docs.stripe.com/payments/payment-intents/migration/charges."
    )
    return ExecutionError(message)


def wrong_key(key: str) -> ApiError:
    """Returns the error of a wrong key. It masks the key as Stripe does, so that a log with it holds no key."""
    shown = key[-MASK_KEEPS_CHARS:] if len(key) > 3 * MASK_KEEPS_CHARS else ""
    headers = {"WWW-Authenticate": 'Bearer realm="Stripe"'}
    return ApiError(f"Invalid API Key provided: {'*' * 8}{shown}", status=401, headers=headers)


def forbidden(key: str, account_id: str, right: str) -> ApiError:
    """Returns the error of a restricted key without a permission. Stripe names the account in it, and gives no code."""
    message = (
        f"The provided key '{key[:8]}{'*' * 8}{key[-MASK_KEEPS_CHARS:]}' does not have the required permissions for "
        f"this endpoint on account '{account_id}'. "
        f"Having the '{right}' permission would allow this request to continue."
    )
    return ApiError(message, status=403)


def unknown_route(method: str, path: str) -> ApiError:
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs "
        "or we can help at https://support.stripe.com/."
    )
    return ApiError(message, status=404)


def rate_limited(reason: str) -> ApiError:
    """`reason`: `endpoint-rate`, or `global-rate` for the account as a whole."""
    message = (
        "Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode. "
        "You can learn more about rate limits here https://stripe.com/docs/rate-limits."
    )
    headers = {"Stripe-Rate-Limited-Reason": reason}
    return ApiError(message, status=429, code="rate_limit", headers=headers)


def lock_timeout() -> ApiError:
    """Returns a 429 that is not about the rate: another request is changing the same object."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process "
        "is currently accessing it. If you see this error intermittently, retry the request."
    )
    return ApiError(message, status=429, code="lock_timeout", headers={"Stripe-Should-Retry": "true"})


def key_in_use(key: str) -> ApiError:
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later."
    )
    return ApiError(message, status=409, code="idempotency_key_in_use", headers={"Stripe-Should-Retry": "true"})


def key_reused(key: str, sameness: str) -> ApiError:
    """`sameness` names what must be the same: the parameters, or the endpoint."""
    message = (
        f"Keys for idempotent requests can only be used {sameness}. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return ApiError(message, type="idempotency_error")


def server_error() -> SandboxAnswer:
    """Returns a 500. It is an answer, not an exception: Stripe keeps it for the key like any other."""
    message = "An unknown error occurred"
    return ErrorDetail("api_error", message).answer(500, {"Stripe-Should-Retry": "false"})


def card_error(
    *,
    code: str,
    decline_code: str,
    message: str,
    param: str | None,
    charge: str | UnsetType = UNSET,
    payment_intent: Any = UNSET,
    payment_method: Any = UNSET,
) -> SandboxAnswer:
    """Returns a 402: the card was declined, and the failed charge is stored."""
    named = param if param is not None else UNSET
    detail = ErrorDetail(
        "card_error",
        message,
        code,
        named,
        decline_code,
        charge,
        payment_intent=payment_intent,
        payment_method=payment_method,
    )
    return detail.answer(402)
