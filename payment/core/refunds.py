"""How the giving back of a charge goes on and ends. Refunds are named by the charge they give back.

A refund key is used for one question only: after an error is stored for it, the charge itself is looked at, and the
next key asks again. A full refund can't be made twice, whatever its key: Stripe refuses it.
"""

from typing import assert_never

from msgspec import structs

from payment.core.attempts import blocked, moved, with_refund
from payment.core.effects import PAYMENT_REFUNDED
from payment.core.messages import (
    ChargeRefunded,
    Context,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundOutcome,
)
from payment.core.order import Attempt, AttemptState, Order, OutboxEvent, Refund, TaskKind, Trigger
from payment.core.parts import with_charge
from payment.core.schedule import in_flight
from payment.core.tasks import next_publication


def refund_ended(order: Order, message: RefundOutcome, context: Context) -> Order:
    """The order after an outcome of a refund that the Stripe actor reports."""
    attempt = with_charge(order, message.charge_id)
    if attempt is None or attempt.refund is None:
        return order
    refund, done = attempt.refund, attempt.state is AttemptState.REFUNDED
    match message:
        case ChargeRefunded():
            return order if done else _refunded(order, attempt, refund, message.refund_id, context)
        case RefundBlocked():
            if not done:  # a refund that is done can't be blocked any more: its id stands
                attempt = structs.replace(
                    attempt, refund=structs.replace(refund, id=message.refund_id, text=message.text)
                )
            if attempt.state is AttemptState.BLOCKED:
                attempt = blocked(attempt, context)
            return moved(order, attempt, Trigger.REFUND_BLOCKED, context)
        case RefundErrorStored() | RefundNotFound() if message.key != refund.key:
            # The next key is in use by now.
            return order
        case RefundErrorStored():
            if not done:
                attempt = structs.replace(attempt, task=in_flight(TaskKind.LOOK_REFUND, context))
            return moved(order, attempt, Trigger.REFUND_ERROR_STORED, context)
        case RefundNotFound():
            if attempt.state is AttemptState.REFUNDING:
                attempt = with_refund(attempt, context)
            return moved(order, attempt, Trigger.REFUND_NOT_FOUND, context)
        case _:
            assert_never(message)


def refund_due(order: Order, attempt: Attempt, context: Context) -> Order:
    """A refund's time has come. One that was being looked at is looked at again: its key can bring nothing any more."""
    looking = attempt.task is not None and attempt.task.kind is TaskKind.LOOK_REFUND
    refunding = attempt.state is AttemptState.REFUNDING and not looking
    kind = TaskKind.REFUND if refunding else TaskKind.LOOK_REFUND
    return moved(order, structs.replace(attempt, task=in_flight(kind, context)), Trigger.REFUND_DUE, context)


def _refunded(order: Order, attempt: Attempt, refund: Refund, refund_id: str, context: Context) -> Order:
    done = structs.replace(attempt, refund=structs.replace(refund, id=refund_id))
    order = moved(order, done, Trigger.REFUNDED, context)
    if order.kept is not None and order.kept.charge_id != attempt.charge_id:
        # Another charge pays the order, or did: no event was published for this one.
        return order
    if order.kept is None and any(event.subject == PAYMENT_REFUNDED for event in order.outbox) and order.cancelled:
        # Of several charges that landed on a cancelled order, one is announced as refunded.
        return order
    assert attempt.charge_id is not None
    event = OutboxEvent(PAYMENT_REFUNDED, attempt.charge_id, refund_id)
    return next_publication(structs.replace(order, outbox=(*order.outbox, event)), context)
