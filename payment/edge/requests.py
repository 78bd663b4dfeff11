"""The body of POST /api/v1/payments. It knows nothing of HTTP: the statuses are the HTTP actor's.

Change together: the contract's table of cases, and the request schema in the OpenAPI document.
"""

import re
from collections.abc import Callable

from msgspec import Struct

from payment.edge.json_text import BadJson, id_fault, read_json

TOKEN_CHARS_MAX = 255
"""Longest card token. Stripe's are 28 characters; its ids have at most 255."""

TOKEN_PATTERN = r"^tok_[A-Za-z0-9_]+$"
"""Stripe's card tokens and its test tokens by name."""

_TOKEN = re.compile(TOKEN_PATTERN.removesuffix("$") + r"\Z")


class FieldError(Struct, frozen=True):
    """One thing wrong with a request. `field` is its place in the body; None where that is the body as a whole."""

    message: str
    field: str | None = None


class BadRequest(Exception):
    """The body is no charge request. `errors` holds one error for each field that is wrong, or one for the body."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class ChargeForm(Struct, frozen=True):
    """What a caller asks for: which order, with which card token."""

    order_id: str
    token: str

    def __repr__(self) -> str:
        return f"ChargeForm(order_id={self.order_id!r})"


def parse_charge(body: bytes) -> ChargeForm:
    """The charge that a request body asks for. Unknown fields are ignored.

    Raises:
        BadRequest: it is not JSON, not an object, or `orderId` or `token` is missing or malformed.
    """
    try:
        fields = read_json(body)
    except BadJson as bad:
        raise BadRequest([FieldError(f"The body {bad}")]) from None
    if not isinstance(fields, dict):
        raise BadRequest([FieldError("The body must be a JSON object")])
    faults = {"orderId": _fault(fields, "orderId", id_fault), "token": _fault(fields, "token", _token_fault)}
    errors = [FieldError(f"{field} {fault}", field) for field, fault in faults.items() if fault is not None]
    if errors:
        raise BadRequest(errors)
    return ChargeForm(order_id=fields["orderId"], token=fields["token"])


def _fault(fields: dict[str, object], name: str, check: Callable[[object], str | None]) -> str | None:
    return check(fields[name]) if name in fields else "is required"


def _token_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if len(value) > TOKEN_CHARS_MAX or not _TOKEN.match(value):
        return "must be a card token: tok_ followed by letters, digits and underscores"
    return None
