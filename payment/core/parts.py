"""Parts of an order: how an attempt is found in it, and how a part is put back changed.

An order that would not change is the very same object afterwards: so a step shows that nothing is to be written.
"""

from typing import Any

from msgspec import structs

from payment.core.order import Attempt, Order


def numbered(order: Order, number: int) -> Attempt | None:
    """The attempt with this number, from 1. None: there is none."""
    return order.attempts[number - 1] if 1 <= number <= len(order.attempts) else None


def with_charge(order: Order, charge_id: str) -> Attempt | None:
    """The attempt that has this charge. None: it has not been seen before."""
    return next((attempt for attempt in order.attempts if attempt.charge_id == charge_id), None)


def with_attempt(order: Order, attempt: Attempt) -> Order:
    """The order with this attempt in the place of the one of its number; the very same order if nothing changed."""
    payment = order.payment
    assert payment is not None
    before = payment.attempts[attempt.number - 1]
    if attempt == before:
        return order
    attempts = tuple(attempt if each is before else each for each in payment.attempts)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts))


def with_intent(order: Order, **changes: Any) -> Order:
    """The order with its intent changed in these fields; the very same order if nothing changed."""
    payment = order.payment
    assert payment is not None
    assert payment.intent is not None
    after = structs.replace(payment.intent, **changes)
    if after == payment.intent:
        return order
    return structs.replace(order, payment=structs.replace(payment, intent=after))
