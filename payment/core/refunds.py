"""How the giving back of a charge goes on and ends. Refunds are named by the charge they give back.

A refund key is used for one question only: after an error is stored for it, the charge itself is looked at, and the
next key asks again. A full refund can't be made twice, whatever its key: Stripe refuses it.
"""

from typing import assert_never

from msgspec import structs

from payment.core.attempts import moved
from payment.core.effects import PAYMENT_REFUNDED
from payment.core.messages import ChargeRefunded, Moment, RefundBlocked, RefundErrorStored, RefundNotFound
from payment.core.order import GIVING_BACK, Attempt, AttemptState, Order, OutboxEvent, Refund, Trigger
from payment.core.parts import replaced, with_charge
from payment.core.tasks import next_publication

STILL_KEPT = GIVING_BACK - {AttemptState.REFUNDED}
"""The charge is to be given back, and is not yet."""


def refund_ended(
    order: Order, message: ChargeRefunded | RefundBlocked | RefundErrorStored | RefundNotFound, moment: Moment
) -> Order:
    attempt = with_charge(order, message.charge_id)
    if attempt is None or attempt.refund is None:
        return order
    match message:
        case ChargeRefunded():
            return _refunded(order, attempt, attempt.refund, message.refund_id, moment)
        case RefundBlocked():
            refund = structs.replace(attempt.refund, id=message.refund_id, text=message.text)
            blocked = structs.replace(attempt, refund=refund)
            trigger = Trigger.REFUND_BLOCKED
            # A refund that is done can't be blocked any more: its id stands.
            after = moved(order, attempt if attempt.state is AttemptState.REFUNDED else blocked, trigger, moment)
        case RefundErrorStored() | RefundNotFound() if message.key != attempt.refund.key:
            # Somebody has gone on to the next key since.
            return order
        case RefundErrorStored():
            after = moved(order, attempt, Trigger.REFUND_ERROR_STORED, moment)
        case RefundNotFound():
            after = moved(order, attempt, Trigger.REFUND_NOT_FOUND, moment)
        case _:
            assert_never(message)
    return replaced(order, attempt, after)


def _refunded(order: Order, attempt: Attempt, refund: Refund, refund_id: str, moment: Moment) -> Order:
    if attempt.state is AttemptState.REFUNDED:
        return order
    done = structs.replace(attempt, refund=structs.replace(refund, id=refund_id))
    order = replaced(order, attempt, moved(order, done, Trigger.REFUNDED, moment))
    if not order.cancelled or any(event.subject == PAYMENT_REFUNDED for event in order.outbox):
        # A stray that is given back on a paid order is nobody's event; and a payment is given back once.
        return order
    if _another_is_announced(order, attempt):
        return order
    assert attempt.charge_id is not None
    event = OutboxEvent(PAYMENT_REFUNDED, attempt.charge_id, refund_id)
    return next_publication(structs.replace(order, outbox=(*order.outbox, event)), moment)


def _another_is_announced(order: Order, given_back: Attempt) -> bool:
    """Whether it is another charge whose return is told: the one that paid, or an attempt's rather than a stray's."""
    if order.kept is not None:
        return order.kept.charge_id != given_back.charge_id
    claimed = {attempt.charge_id: attempt.state for attempt in order.attempts}
    return given_back.charge_id not in claimed and not STILL_KEPT.isdisjoint(claimed.values())
