"""What Stripe's successful answers say: evidence, read out of JSON that may be anything.

Owns the reading of charge, refund and list bodies. It never calls Stripe and never raises on a strange body: what is
not there, or is of another type, is no evidence. Change together with the parameters that `payment.ports.stripe_cards`
sends.
"""

from collections.abc import Sequence

from msgspec import Struct

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import FoundCharge
from payment.ports.cards import Blocked, Charged, NotRefunded, Refunded, Unclear

Body = dict[str, object]

ID_MAX_CHARS = 255
"""Longest id that Stripe promises to use."""

ATTEMPT_MAX_DIGITS = 9
"""Attempts are counted from 1; a longer number is not one of ours."""

UNDER_WAY = frozenset({"pending", "requires_action"})
"""Refund statuses that may yet become a success."""


class Page(Struct, frozen=True):
    """One page of a list. `ids` are those of `items`, in order."""

    items: tuple[Body, ...]
    ids: tuple[str, ...]
    has_more: bool


def read_charge(body: Body, request: ChargeCard) -> Charged | Unclear:
    """A charge is made where Stripe names it, calls it succeeded and paid, and it is the one that was asked for."""
    charge_id = read_id(body)
    if charge_id is None or body.get("status") != "succeeded" or body.get("paid") is not True:
        return Unclear(text="Stripe answered 200, and not with a succeeded charge")
    asked: Body = {"amount": request.amount, "currency": request.currency, "captured": True}
    if _contradicts(body, asked) or _contradicts(_mapping(body.get("metadata")), dict(tags(request))):
        return Unclear(text=f"Stripe answered with another charge than the one asked for: {charge_id}", alarm=True)
    return Charged(charge_id=charge_id)


def tags(request: ChargeCard | RefundCharge) -> dict[str, str]:
    """The metadata by which a charge or a refund is known as ours later."""
    return {"orderId": request.order_id, "paymentId": request.payment_id, "attempt": str(request.attempt)}


def read_found(charges: Sequence[Body], order_id: str, payment_id: str) -> tuple[FoundCharge, ...]:
    """The succeeded charges among those of a transfer group that belong to this order, newest first.

    Another service may use the same transfer group: what carries neither our payment id nor our order id is not ours.
    """
    found = []
    for charge in charges:
        attempt = _attempt_of(_mapping(charge.get("metadata")), order_id, payment_id)
        charge_id = read_id(charge)
        if attempt is not None and charge_id is not None and charge.get("status") == "succeeded":
            found.append(FoundCharge(charge_id=charge_id, attempt=attempt))
    return tuple(found)


def read_refunds(refunds: Sequence[Body], charge_amount: int) -> Refunded | Blocked | NotRefunded | Unclear:
    """Whether these refunds give the whole charge back: what has succeeded counts, what is under way doesn't yet."""
    given_back, done, waiting = 0, None, None
    for refund in refunds:
        status, amount = refund.get("status"), refund.get("amount")
        if type(amount) is not int or not isinstance(status, str):
            return Unclear(text="Stripe listed a refund without an amount or a status")
        if status == "succeeded":
            given_back, done = given_back + amount, done or read_id(refund)
        elif status in UNDER_WAY:
            waiting = waiting or read_id(refund)
    if done is not None and given_back >= charge_amount:
        return Refunded(refund_id=done)
    if waiting is not None:
        return Blocked(text="the refund is under way", refund_id=waiting)
    return NotRefunded()


def read_page(body: Body) -> Page | None:
    """A page of a list, or None where it is not one in every part: a shorter list would be a false proof."""
    data, has_more = body.get("data"), body.get("has_more")
    if not isinstance(data, list) or not isinstance(has_more, bool) or (has_more and not data):
        return None
    items = tuple(item for item in data if isinstance(item, dict))
    ids = tuple(item_id for item in items if (item_id := read_id(item)) is not None)
    return Page(items=items, ids=ids, has_more=has_more) if len(ids) == len(data) else None


def read_id(body: Body) -> str | None:
    """The object's id."""
    value = body.get("id")
    return value if isinstance(value, str) and 0 < len(value) <= ID_MAX_CHARS else None


def _attempt_of(metadata: Body, order_id: str, payment_id: str) -> int | None:
    """Which attempt a charge belongs to: 0 where it is our order's and names none of this payment, None if not ours."""
    if metadata.get("paymentId") != payment_id:
        return 0 if metadata.get("orderId") == order_id else None
    attempt = metadata.get("attempt")
    if not isinstance(attempt, str) or not (attempt.isascii() and attempt.isdecimal()):
        return 0
    return int(attempt) if len(attempt) <= ATTEMPT_MAX_DIGITS else 0


def _contradicts(body: Body, expected: Body) -> bool:
    """Whether something that is there is not as expected. What is absent contradicts nothing."""
    return any(name in body and body[name] != value for name, value in expected.items())


def _mapping(value: object) -> Body:
    return value if isinstance(value, dict) else {}
