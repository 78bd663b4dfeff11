"""Which effects are pending for an order: the second half of the core, and the reason why a crash loses nothing.

`pending` reads the effects off the document alone. A normal step, a restart and a sweep all call this one function, so
they release the same effects. `with_deadline` stores the earliest of their times as `due`, for an index.

`rechecks` are due much later: over 30 days a charge that was given back is rechecked. They have an index and a sweep of
their own (`recheck`), so that orders which only wait for them do not burden the other sweep.

Change together: `payment.core.effects`, `payment.core.order.TaskKind`, `payment.core.waits`.
"""

from collections.abc import Iterator

from msgspec import structs

from payment.core.effects import (
    PAYMENT_DISPUTED,
    PAYMENT_REFUND_FAILED,
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    Effect,
    FindRefund,
    IntentReference,
    ListCharges,
    PendingEffect,
    PublishEvent,
    RecheckLater,
    RecheckRefund,
    RefundCharge,
    RetrieveIntent,
)
from payment.core.messages import client_id_of
from payment.core.order import Attempt, AttemptState, Intent, Order, OutboxEvent, Payment, Task, TaskKind
from payment.core.schedule import create_deadline, list_after, send_deadline


def pending(order: Order) -> tuple[PendingEffect, ...]:
    """Returns every effect that is pending for the order, with the time at which it counts as lost."""
    return tuple(_pending(order))


def rechecks(order: Order) -> tuple[PendingEffect, ...]:
    """Returns each recheck of a charge that was given back, with its time. One that is in flight is in `pending`."""
    return tuple(
        PendingEffect(RecheckLater(order.id, f"recheck {attempt.number}"), attempt.recheck, None)
        for attempt in order.attempts
        if attempt.recheck is not None
    )


def with_deadline(order: Order) -> Order:
    """Returns the order with `due`, `holder` and `recheck` derived from its tasks and rechecks.

    `due` is set exactly where something is pending, `recheck` exactly where there are rechecks.
    """
    effects = sorted(pending(order), key=lambda item: item.at)
    holder = next((item.holder for item in effects if item.holder), None)
    return structs.replace(
        order,
        due=effects[0].at if effects else None,
        holder=client_id_of(holder) if holder else None,
        recheck=min((item.at for item in rechecks(order)), default=None),
    )


def reindexed(order: Order) -> Order:
    """Returns the order with `due`, `holder` and `recheck` derived anew; the same object where they were right.

    For orders that were read: an operator may have edited these fields. Without a deadline no sweep would find the
    order's tasks, and with a wrong one every sweep would find the order.
    """
    true = with_deadline(order)
    derived = (true.due, true.holder, true.recheck)
    return order if derived == (order.due, order.holder, order.recheck) else true


def _pending(order: Order) -> Iterator[PendingEffect]:
    payment = order.payment
    if payment is None:
        return
    intent = payment.intent
    if intent is not None and intent.task is not None:
        effect = intent_effect(order, payment, intent, intent.task)
        yield PendingEffect(effect, intent.task.due, intent.task.holder)
    for attempt in payment.attempts:
        if attempt.task is not None:
            effect = attempt_effect(order, payment, attempt, attempt.task)
            yield PendingEffect(effect, attempt.task.due, attempt.task.holder)
    for event in order.outbox:
        if event.task is not None:
            yield PendingEffect(publication(order, payment, event), event.task.due, event.task.holder)


def intent_effect(order: Order, payment: Payment, intent: Intent, task: Task) -> Effect:
    """Returns the effect of an intent's task.

    A confirm whose instrument was dropped when the order was cancelled is no longer pending: the ledger then cancels
    the effect that is in flight.
    """
    if task.kind is TaskKind.RECHECK_LATER:
        return RecheckLater(order.id, "intent")
    named = _reference(order, payment, intent)
    match task.kind:
        case TaskKind.CREATE:
            return CreateIntent(named, create_deadline(order))
        case TaskKind.RETRIEVE:
            return RetrieveIntent(named)
        case TaskKind.CANCEL:
            return CancelIntent(named, task.not_before or task.issued)
        case _:
            attempt = order.unsettled
            if attempt is None or attempt.state is not AttemptState.CONFIRMING or attempt.instrument is None:
                return RecheckLater(order.id, "intent")
            return ConfirmIntent(
                intent=named,
                attempt=attempt.number,
                send=attempt.sends,
                instrument=attempt.instrument,
                authentication=attempt.authentication,
                issued_at=task.issued,
                not_before=task.not_before or task.issued,
                not_after=send_deadline(order, attempt),
            )


def attempt_effect(order: Order, payment: Payment, attempt: Attempt, task: Task) -> Effect:
    """Returns the effect of an attempt's task: one about its refund, or a list of charges for one of release 0.1.0."""
    refund, charge_id = attempt.refund, attempt.charge_id
    match task.kind:
        case TaskKind.LIST:
            return ListCharges(order.id, payment.id, attempt.number)
        case TaskKind.REFUND if refund is not None and charge_id is not None:
            return RefundCharge(order.id, payment.id, attempt.number, charge_id, refund.key, attempt.api_version)
        case TaskKind.FIND_REFUND if refund is not None and charge_id is not None:
            return FindRefund(order.id, charge_id, refund.key)
        case TaskKind.RECHECK_REFUND if charge_id is not None and (given_back_by := attempt.given_back_by) is not None:
            charged_back = attempt.state is AttemptState.CHARGED_BACK
            return RecheckRefund(order.id, charge_id, attempt.amount, given_back_by, charged_back)
        case _:
            return RecheckLater(order.id, f"attempt {attempt.number}")


def publication(order: Order, payment: Payment, event: OutboxEvent) -> PublishEvent:
    """Returns the effect that publishes one of an order's events."""
    return PublishEvent(
        order_id=order.id,
        subject=event.subject,
        payment_id=payment.id,
        stripe_id=event.stripe_id,
        refund_id=event.refund_id,
        message_id=_message_id(order, payment, event),
        dispute_id=event.dispute_id,
        status=event.status,
    )


def _message_id(order: Order, payment: Payment, event: OutboxEvent) -> str:
    """Returns the id by which a broker drops repeats of an event: no two events of a payment have the same.

    It consists of the subject and the payment's id. A second `payment:refunded` about another charge adds that charge's
    id: the first charge was refunded by hand, the second one paid the order, and then the order was cancelled. A second
    one about the same charge adds the refund's id too: an earlier refund of it failed. Events of failed refunds and of
    disputes always add the refund's or the dispute's id.
    """
    message_id = f"{event.subject}:{payment.id}"
    before = [each for each in order.outbox[: _position(order, event)] if each.subject == event.subject]
    if event.subject in (PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED):
        message_id = f"{message_id}:{event.refund_id or event.dispute_id}"
    elif any(each.stripe_id == event.stripe_id for each in before):
        message_id = f"{message_id}:{event.stripe_id}:{event.refund_id}"
    elif before:
        message_id = f"{message_id}:{event.stripe_id}"
    same = sum(_facts(each) == _facts(event) for each in before)
    return f"{message_id}:{same + 1}" if same else message_id


def _position(order: Order, event: OutboxEvent) -> int:
    return next(position for position, each in enumerate(order.outbox) if each is event)


def _facts(event: OutboxEvent) -> tuple[str | None, ...]:
    return event.stripe_id, event.refund_id, event.dispute_id, event.status


def _reference(order: Order, payment: Payment, intent: Intent) -> IntentReference:
    """Returns all parameters of the intent's create, and its id where that is known."""
    assert order.amount is not None
    assert order.currency is not None
    return IntentReference(
        order_id=order.id,
        payment_id=payment.id,
        number=intent.number,
        key=intent.key,
        id=intent.id,
        amount=order.amount,
        currency=order.currency,
        api_version=intent.api_version,
        list_after=list_after(order),
    )
