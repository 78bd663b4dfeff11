"""What the world still owes an order: the other half of the core, and the reason that crashes are boring.

`pending` reads it off the document alone. A normal step, a restart and a sweep all ask this one function, so that what
one of them would do, all of them do. `sealed` stores the earliest of its times as `due`, where an index finds it.
"""

from collections.abc import Iterator

from msgspec import structs

from payment.core.effects import (
    ChargeCard,
    Effect,
    FindCharges,
    FindRefund,
    Pending,
    PublishEvent,
    RefundCharge,
    Watch,
)
from payment.core.messages import Evidence, client_id_of
from payment.core.order import Attempt, Order, OutboxEvent, Payment, Task, TaskKind
from payment.core.schedule import send_deadline

EVIDENCE = {
    TaskKind.PROBE: Evidence.PROBE,
    TaskKind.LOOK_STORED: Evidence.STORED,
    TaskKind.LOOK_FINAL: Evidence.FINAL,
}


def pending(order: Order) -> tuple[Pending, ...]:
    """Every effect that the order is owed, with the time at which somebody must look again."""
    return tuple(_pending(order))


def sealed(order: Order) -> Order:
    """The order with `due` and `holder` as its tasks say: `due` is there exactly when something is pending."""
    owed = pending(order)
    if not owed:
        return structs.replace(order, due=None, holder=None)
    first = min(owed, key=lambda item: item.at)
    holder = next((item.holder for item in sorted(owed, key=lambda item: item.at) if item.holder), None)
    return structs.replace(order, due=first.at, holder=client_id_of(holder) if holder else None)


def _pending(order: Order) -> Iterator[Pending]:
    payment = order.payment
    if payment is None:
        return
    for attempt in (*payment.attempts, *payment.strays):
        if attempt.task is not None:
            effect = attempt_effect(order, payment, attempt, attempt.task)
            yield Pending(effect, attempt.task.due, attempt.task.holder)
    for event in order.outbox:
        if event.task is not None:
            yield Pending(publication(order, payment, event), event.task.due, event.task.holder)


def attempt_effect(order: Order, payment: Payment, attempt: Attempt, task: Task) -> Effect:
    """What an attempt's task means for whoever carries it out."""
    match task.kind:
        case TaskKind.CHARGE if attempt.token is not None:
            return _charge(order, payment, attempt, task, attempt.token)
        case TaskKind.PROBE | TaskKind.LOOK_STORED | TaskKind.LOOK_FINAL:
            return FindCharges(order.id, payment.id, attempt.number, EVIDENCE[task.kind])
        case TaskKind.REFUND if attempt.refund is not None and attempt.charge_id is not None:
            return RefundCharge(
                order.id, payment.id, attempt.number, attempt.charge_id, attempt.refund.key, attempt.api_version
            )
        case TaskKind.LOOK_REFUND if attempt.refund is not None and attempt.charge_id is not None:
            return FindRefund(order.id, attempt.charge_id, attempt.refund.key)
        case _:
            # A watch; and a charge whose token was taken away when the order was cancelled: whoever has it in hand
            # sees that it is pending no longer, and withdraws it.
            return Watch(order.id, attempt.number)


def _charge(order: Order, payment: Payment, attempt: Attempt, task: Task, token: str) -> ChargeCard:
    return ChargeCard(
        order_id=order.id,
        payment_id=payment.id,
        attempt=attempt.number,
        send=attempt.sends,
        key=attempt.key,
        amount=attempt.amount,
        currency=attempt.currency,
        token=token,
        api_version=attempt.api_version,
        issued_at=task.issued,
        not_before=task.not_before or task.issued,
        not_after=send_deadline(order, attempt),
    )


def publication(order: Order, payment: Payment, event: OutboxEvent) -> PublishEvent:
    """The publishing of one of an order's events."""
    return PublishEvent(order.id, event.subject, payment.id, event.stripe_id, event.refund_id)
