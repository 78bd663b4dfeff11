"""The payloads of events: two of the platform's that are consumed, four of ours that are published.

Unknown fields are ignored. A known field that breaks the contract is never guessed: the event is bad, and is kept whole
as a dead letter. A time without a zone breaks it. Where `ticket` and the event itself both have a price or a currency,
the two must agree; `null` counts as absent.

Change together: the contract's table of events, `payment.core.messages`, `payment.core.effects.PublishEvent`.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec

from payment.actors.json_text import BadJson, id_fault, read_json
from payment.core.effects import PublishEvent
from payment.core.messages import OrderCancelled, OrderCreated
from payment.core.money import BadPrice, is_currency, minor_units

ORDER_CREATED = "order:created"
ORDER_CANCELLED = "order:cancelled"
INCOMING_SUBJECTS = (ORDER_CREATED, ORDER_CANCELLED)

LARGEST_VERSION = 2**53 - 1
"""The largest whole number that a peer service in JavaScript can count to exactly."""

EXPIRES_AT_CHARS_MAX = 64
"""Longest time. `2026-11-22T22:23:46.123456789+00:00` has 35 characters; no clock needs more digits of a fraction."""

# The extended format of ISO 8601, to the minute or finer, with its zone. `fromisoformat` alone would take more: weeks,
# any character between date and time, and times without a zone.
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]+))?)?(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)",
)

READ_BYTES_MAX = 4_096
"""Bytes of invalid JSON in which an order's id is searched for. An event has some hundred bytes."""
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,255})"')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

_Value = TypeVar("_Value", str, Decimal)
_Fields = dict[str, object]


class BadEvent(Exception):
    """An event that can never be applied. The text says why, quotes nothing of the event, and is fit for a log."""


def parse_event(subject: str, data: bytes, default_currency: str) -> OrderCreated | OrderCancelled:
    """Returns the message of an event. `default_currency` (lower case) is for orders that name none.

    Raises:
        BadEvent: the event can never be applied: not JSON, a field missing or malformed, no such subject.
    """
    try:
        event = _object(read_json(data), "the event")
    except BadJson as bad:
        raise BadEvent(f"the event {bad}") from None
    if subject == ORDER_CREATED:
        return _created(event, default_currency)
    if subject == ORDER_CANCELLED:
        return _cancelled(event)
    raise BadEvent("nothing is known of events on this subject")


def order_id_in(data: bytes) -> str | None:
    """Returns the order's id in an event that can't be applied, for an operator who searches the order; None without
    one.

    It is the `id` at the top level. In text that is not JSON (an event that was cut off) it is only a guess.
    """
    try:
        event = read_json(data)
    except BadJson:
        return _first_top_id(data[:READ_BYTES_MAX])
    value = event.get("id") if isinstance(event, dict) else None
    return value if isinstance(value, str) and id_fault(value) is None else None


def _first_top_id(data: bytes) -> str | None:
    for found in _ID.finditer(data):
        before = _STRING.sub(b"", data[: found.start()])
        value = found[1].decode(errors="replace")
        if before.count(b"{") - before.count(b"}") == 1 and id_fault(value) is None:
            return value
    return None


def event_payload(effect: PublishEvent) -> bytes:
    """Returns the bytes of one of our events (`OUTGOING_SUBJECTS`): compact JSON without an envelope."""
    payload = {"id": effect.payment_id, "orderId": effect.order_id, "stripeId": effect.stripe_id}
    own = {"refundId": effect.refund_id, "disputeId": effect.dispute_id, "status": effect.status}
    return msgspec.json.encode(payload | {name: value for name, value in own.items() if value is not None})


def _created(event: _Fields, default_currency: str) -> OrderCreated:
    if event.get("status") != "created":
        raise BadEvent('status must be "created"')
    ticket = _ticket(event)
    currency = _agreed("currency", _currency(ticket, "ticket.currency"), _currency(event, "currency"))
    price = _agreed("price", _price(ticket, "ticket.price"), _price(event, "price"))
    if price is None:
        raise BadEvent("price is missing")
    currency = currency or default_currency
    try:
        amount = minor_units(price, currency)
    except BadPrice as bad:
        raise BadEvent(str(bad)) from None
    return OrderCreated(
        order_id=_id(event, "id"),
        version=_version(event),
        user_id=_id(event, "userId"),
        expires_at=_time(event, "expiresAt"),
        amount=amount,
        currency=currency,
    )


def _cancelled(event: _Fields) -> OrderCancelled:
    _ticket(event)
    return OrderCancelled(order_id=_id(event, "id"), version=_version(event))


def _object(value: object, name: str) -> _Fields:
    if not isinstance(value, dict):
        raise BadEvent(f"{name} must be an object")
    return value


def _ticket(event: _Fields) -> _Fields:
    """The event's ticket. No decision depends on its id, so it may be absent, but not malformed."""
    if event.get("ticket") is None:
        return {}
    ticket = _object(event["ticket"], "ticket")
    if "id" in ticket:
        _id(ticket, "id", "ticket.id")
    return ticket


def _id(fields: _Fields, key: str, name: str | None = None) -> str:
    value = fields.get(key)
    fault = id_fault(value)
    if fault is not None or not isinstance(value, str):
        raise BadEvent(f"{name or key} {fault}")
    return value


def _version(event: _Fields) -> int:
    version = event.get("version")
    if type(version) is not int or not 0 <= version <= LARGEST_VERSION:
        raise BadEvent(f"version must be a whole number from 0 to {LARGEST_VERSION}")
    return version


def _price(fields: _Fields, name: str) -> Decimal | None:
    price = fields.get("price")
    if price is None:
        return None
    if isinstance(price, bool) or not isinstance(price, int | Decimal):
        raise BadEvent(f"{name} must be a number")
    return Decimal(price)


def _currency(fields: _Fields, name: str) -> str | None:
    currency = fields.get("currency")
    if currency is None:
        return None
    if not isinstance(currency, str) or not is_currency(currency.lower()):
        raise BadEvent(f"{name} must be the code of a currency that Stripe charges in")
    return currency.lower()


def _agreed(name: str, in_ticket: _Value | None, at_top: _Value | None) -> _Value | None:
    if in_ticket is not None and at_top is not None and in_ticket != at_top:
        raise BadEvent(f"ticket.{name} and {name} differ")
    return at_top if in_ticket is None else in_ticket


def _time(event: _Fields, key: str) -> datetime:
    """A time in UTC, cut to whole milliseconds: MongoDB stores no more, and a stored order must read back unchanged."""
    value = event.get(key)
    found = _TIME.fullmatch(value) if isinstance(value, str) and len(value) <= EXPIRES_AT_CHARS_MAX else None
    if found is None:
        raise BadEvent(f"{key} must be an ISO 8601 time with a zone")
    minute, second, fraction, hours, minutes = found.groups()
    milliseconds = (fraction or "")[:3].ljust(3, "0")
    zone = f"{hours}:{minutes or '00'}" if hours else "+00:00"
    try:
        return datetime.fromisoformat(f"{minute}{second or ':00'}.{milliseconds}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadEvent(f"{key} must be a time that exists") from None
