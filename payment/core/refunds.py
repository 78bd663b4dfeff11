"""How the refund of a charge goes on, how it ends, and how its end is undone. Messages name a refund by its charge.

A refund key is used until an error is stored for it: then the charge itself is checked, and the next key is used. A
full refund can't be made twice, whatever its key: Stripe refuses it.

A charge is given back by a refund, or by the bank, where a dispute is lost: Stripe refunds no such charge. Neither is
final. A bank may return a refund for 30 days after it succeeded, and a lost dispute may be decided anew. So the charge
is rechecked. Where it is no longer given back the attempt is blocked, and its refund is tried again.

Change together: `payment.core.messages.RefundOutcome`, `payment.core.order.TABLE`.
"""

from typing import assert_never

from msgspec import structs

from payment.core.attempts import blocked, moved, next_publication, with_refund
from payment.core.effects import PAYMENT_DISPUTED, PAYMENT_REFUND_FAILED, PAYMENT_REFUNDED
from payment.core.messages import (
    ChargeRefunded,
    Context,
    DisputeLost,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundOutcome,
    RefundRechecked,
)
from payment.core.order import (
    GIVEN_BACK,
    Attempt,
    AttemptState,
    Order,
    OutboxEvent,
    Refund,
    TaskKind,
    Trigger,
    with_charge,
)
from payment.core.schedule import in_flight, in_time, next_recheck

REFUNDS_UNDONE_LIMIT = 3
"""How many refunds of one charge may fail after they succeeded; then no more are requested. The card is closed by then,
and each further refund would succeed and fail again. The alarm stays, and a refund made by hand is still found."""

LOST = "lost"
"""The status of a dispute that the bank has decided for its customer, as Stripe names it."""


def refund_ended(order: Order, message: RefundOutcome, context: Context) -> Order:
    """Returns the order after an outcome of a refund, or of a recheck, as the Stripe actor reports it."""
    attempt = with_charge(order, message.charge_id)
    if attempt is None or attempt.refund is None:
        return order
    refund, done = attempt.refund, attempt.state in GIVEN_BACK
    match message:
        case ChargeRefunded():
            return order if done else _refunded(order, attempt, refund, message.refund_id, context)
        case DisputeLost():
            return order if done else _charged_back(order, attempt, refund, message, context)
        case RefundRechecked():
            return _rechecked(order, attempt, refund, message, context)
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
                attempt = structs.replace(attempt, task=in_flight(TaskKind.FIND_REFUND, context))
            return moved(order, attempt, Trigger.REFUND_ERROR_STORED, context)
        case RefundNotFound():
            return _not_found(order, attempt, refund, context)
        case _:
            assert_never(message)


def refund_due(order: Order, attempt: Attempt, context: Context) -> Order:
    """Returns the order with an overdue refund or recheck of an attempt in flight again.

    After an error was stored for the refund's key the charge itself is checked: the key can bring no other answer.
    """
    if attempt.state in GIVEN_BACK:
        return _recheck_due(order, attempt, context)
    finding = attempt.task is not None and attempt.task.kind is TaskKind.FIND_REFUND
    refunding = attempt.state is AttemptState.REFUNDING and not finding
    kind = TaskKind.REFUND if refunding else TaskKind.FIND_REFUND
    return moved(order, structs.replace(attempt, task=in_flight(kind, context)), Trigger.REFUND_DUE, context)


def _recheck_due(order: Order, attempt: Attempt, context: Context) -> Order:
    """Recheck a charge that was given back. A recheck far from its time is made, and does not count."""
    assert attempt.refund is not None
    rechecks = attempt.refund.rechecks + in_time(attempt.recheck, context.now)
    refund = structs.replace(attempt.refund, rechecks=rechecks)
    attempt = structs.replace(attempt, refund=refund, recheck=None, task=in_flight(TaskKind.RECHECK_REFUND, context))
    return moved(order, attempt, Trigger.REFUND_DUE, context)


def _rechecked(order: Order, attempt: Attempt, refund: Refund, message: RefundRechecked, context: Context) -> Order:
    """An answer about an earlier refund of the charge proves nothing about the present one."""
    task = attempt.task
    if attempt.given_back_by != message.given_back_by:
        return order
    if not message.stands:
        refund = structs.replace(refund, undone=refund.undone + 1, text=message.text)
        after = moved(order, structs.replace(attempt, refund=refund, recheck=None), Trigger.UNDONE, context)
        return _refund_failed(after, attempt, context)
    if task is None or task.holder != context.process:
        return order  # another process has taken the recheck over, and its answer counts
    stands = structs.replace(attempt, task=None, recheck=next_recheck(refund.rechecks, context.now))
    return moved(order, stands, Trigger.STANDS, context)


def _not_found(order: Order, attempt: Attempt, refund: Refund, context: Context) -> Order:
    if attempt.state is AttemptState.BLOCKED and refund.undone >= REFUNDS_UNDONE_LIMIT:
        return moved(order, blocked(attempt, context), Trigger.REFUND_BLOCKED, context)
    if attempt.state is AttemptState.REFUNDING:
        attempt = with_refund(attempt, context)
    return moved(order, attempt, Trigger.REFUND_NOT_FOUND, context)


# ----------------------------------------------------------------------------------------------------------- the events


def _refunded(order: Order, attempt: Attempt, refund: Refund, refund_id: str, context: Context) -> Order:
    done = structs.replace(attempt, refund=structs.replace(refund, id=refund_id))
    order = moved(order, done, Trigger.REFUNDED, context)
    last = _last_event(order, attempt)
    if last is None:
        if order.kept is not None and order.kept.charge_id != attempt.charge_id:
            # Another charge pays the order, or did: no event was published for this one.
            return order
        if order.kept is None and any(event.subject == PAYMENT_REFUNDED for event in order.outbox) and order.cancelled:
            # Several charges arrived on a cancelled order: one of them is announced as refunded.
            return order
    assert attempt.charge_id is not None
    return _with_event(order, OutboxEvent(PAYMENT_REFUNDED, attempt.charge_id, refund_id), context)


def _refund_failed(order: Order, attempt: Attempt, context: Context) -> Order:
    """Publish that a refund failed exactly where its success was published."""
    last = _last_event(order, attempt)
    if last is None or last.subject != PAYMENT_REFUNDED:
        return order
    return _with_event(order, OutboxEvent(PAYMENT_REFUND_FAILED, last.stripe_id, last.refund_id), context)


def _charged_back(order: Order, attempt: Attempt, refund: Refund, message: DisputeLost, context: Context) -> Order:
    ended = structs.replace(refund, dispute_id=message.dispute_id, text=message.text)
    order = moved(order, structs.replace(attempt, refund=ended), Trigger.DISPUTE_LOST, context)
    event = OutboxEvent(PAYMENT_DISPUTED, message.charge_id, dispute_id=message.dispute_id, status=LOST)
    return _with_event(order, event, context)


def _last_event(order: Order, attempt: Attempt) -> OutboxEvent | None:
    """Returns the last event about the refund or the dispute of this charge."""
    announcing = (PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED)
    events = (event for event in reversed(order.outbox) if event.subject in announcing)
    return next((event for event in events if event.stripe_id == attempt.charge_id), None)


def _with_event(order: Order, event: OutboxEvent, context: Context) -> Order:
    return next_publication(structs.replace(order, outbox=(*order.outbox, event)), context)
