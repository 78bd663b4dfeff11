"""Parts of an order: how one attempt is found in it, and put back changed.

An order that would not change is the very same object afterwards: so a step shows that nothing is to be written.
"""

from msgspec import structs

from payment.core.order import Attempt, Order


def numbered(order: Order, number: int) -> Attempt | None:
    """The attempt with this number, from 1. None: there is none."""
    return order.attempts[number - 1] if 1 <= number <= len(order.attempts) else None


def with_charge(order: Order, charge_id: str) -> Attempt | None:
    """The attempt or stray that has this charge. None: it has not been seen before."""
    return next((attempt for attempt in (*order.attempts, *order.strays) if attempt.charge_id == charge_id), None)


def replaced(order: Order, before: Attempt, after: Attempt) -> Order:
    """The order with one attempt or stray replaced; the very same order if nothing about it changed."""
    if after == before or order.payment is None:
        return order
    payment = order.payment
    attempts = tuple(after if attempt is before else attempt for attempt in payment.attempts)
    strays = tuple(after if stray is before else stray for stray in payment.strays)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts, strays=strays))
