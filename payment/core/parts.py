"""Finds a part of an order, and replaces it.

A replacement that changes nothing returns the very same order: by this a step shows that nothing is to be written.
"""

from typing import Any

from msgspec import structs

from payment.core.order import Attempt, Order


def numbered(order: Order, number: int) -> Attempt | None:
    """Returns the attempt with this number, from 1. None: there is none."""
    return order.attempts[number - 1] if 1 <= number <= len(order.attempts) else None


def with_charge(order: Order, charge_id: str) -> Attempt | None:
    """Returns the attempt that has this charge. None: the charge is new."""
    return next((attempt for attempt in order.attempts if attempt.charge_id == charge_id), None)


def with_attempt(order: Order, attempt: Attempt) -> Order:
    """Returns the order with this attempt in place of the one of its number; the same object if nothing changed."""
    payment = order.payment
    assert payment is not None
    before = payment.attempts[attempt.number - 1]
    if attempt == before:
        return order
    attempts = tuple(attempt if each is before else each for each in payment.attempts)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts))


def with_intent(order: Order, **changes: Any) -> Order:
    """Returns the order with its intent changed in these fields; the same object if nothing changed."""
    payment = order.payment
    assert payment is not None
    assert payment.intent is not None
    after = structs.replace(payment.intent, **changes)
    if after == payment.intent:
        return order
    return structs.replace(order, payment=structs.replace(payment, intent=after))
