"""The tasks of an order: taken over when due, renewed and given back; and its events, published in their order.

Change together: `payment.core.order.TaskKind`, `payment.core.schedule`.
"""

from collections.abc import Callable, Collection
from datetime import datetime

from msgspec import structs

from payment.core.attempts import moved, renewed, returned
from payment.core.intents import at_rest, out_of_time
from payment.core.messages import Context
from payment.core.order import (
    GIVING_BACK,
    Attempt,
    AttemptState,
    CancelReason,
    Intent,
    Order,
    OutboxEvent,
    Task,
    TaskKind,
    Trigger,
)
from payment.core.parts import with_attempt, with_intent
from payment.core.pending import attempt_effect, intent_effect, publication
from payment.core.schedule import RETRIEVALS_APART, create_deadline, in_flight, recheck_due, takeable

RefundDue = Callable[[Order, Attempt, Context], Order]
"""The type of `payment.core.refunds.refund_due`, which is passed in because that module imports this one."""


def published(order: Order, message_id: str, context: Context) -> Order:
    """Returns the order after the broker stored an event.

    Only the first unpublished event is in flight: a late message about another one changes nothing.
    """
    first = _first_unpublished(order)
    if first is None:
        return order
    assert order.payment is not None
    if publication(order, order.payment, first).message_id != message_id:
        return order
    return next_publication(_with_event(order, first, task=None, published=context.now), context)


def _with_event(order: Order, event: OutboxEvent, task: Task | None, published: datetime | None = None) -> Order:
    after = structs.replace(event, task=task, published=published or event.published)
    if after == event:
        return order
    return structs.replace(order, outbox=tuple(after if each is event else each for each in order.outbox))


def _first_unpublished(order: Order) -> OutboxEvent | None:
    """Returns the first event that is not published yet."""
    return next((event for event in order.outbox if event.published is None), None)


def next_publication(order: Order, context: Context) -> Order:
    """Returns the order with its first unpublished event in flight: `payment:refunded` waits for `payment:created`."""
    first = _first_unpublished(order)
    if first is None or first.task is not None:
        return order
    return _with_event(order, first, in_flight(TaskKind.PUBLISH, context))


def tasks_changed(order: Order, effect_ids: Collection[str], context: Context, *, renew: bool) -> Order:
    """Returns the order with the deciding process's tasks of these effects renewed, or given back (`renew` false).

    A task that is given back is due at once.
    """
    payment = order.payment
    if payment is None:
        return order
    change = renewed if renew else returned
    intent = payment.intent
    if intent is not None and intent.task and intent_effect(order, payment, intent, intent.task).id in effect_ids:
        order = with_intent(order, task=change(intent.task, context))
    for attempt in payment.attempts:
        if attempt.task and attempt_effect(order, payment, attempt, attempt.task).id in effect_ids:
            order = with_attempt(order, structs.replace(attempt, task=change(attempt.task, context)))
    for event in order.outbox:
        if event.task and publication(order, payment, event).id in effect_ids:
            order = _with_event(order, event, change(event.task, context))
    return order


def due_taken(order: Order, context: Context, refund_due: RefundDue) -> Order:
    """Returns the order with every overdue task in flight, held by the deciding process."""
    intent = order.intent
    if intent is not None and intent.task is not None and takeable(intent.task, context):
        order = _intent_due(order, intent, intent.task, context)
    for attempt in order.attempts:
        due = recheck_due(attempt, context) if attempt.task is None else takeable(attempt.task, context)
        if not due:
            continue
        if attempt.state in GIVING_BACK:
            order = refund_due(order, attempt, context)
        else:
            order = with_attempt(order, structs.replace(attempt, task=in_flight(TaskKind.LIST, context)))
    for event in order.outbox:
        if event.task is not None and takeable(event.task, context):
            order = _with_event(order, event, in_flight(TaskKind.PUBLISH, context))
    return order


def _intent_due(order: Order, intent: Intent, task: Task, context: Context) -> Order:
    """Put an intent's overdue task in flight.

    A process that takes over a confirm retrieves the intent first. An attempt whose customer can no longer authenticate
    is cancelled.
    """
    attempt = order.unsettled
    if attempt is not None and attempt.state is AttemptState.AWAITING and out_of_time(order, attempt, context):
        trigger = Trigger.TIMED_OUT if order.open_at(context.now) else Trigger.EXPIRED
        attempt = structs.replace(attempt, cancel_reason=CancelReason.AUTHENTICATION_FAILED)
        return moved(order, attempt, trigger, context)
    match task.kind:
        case TaskKind.CREATE:
            still = not order.cancelled and context.now < create_deadline(order) and intent.id is None
            return with_intent(order, task=in_flight(TaskKind.CREATE, context) if still else None)
        case TaskKind.CANCEL:
            return with_intent(order, task=in_flight(TaskKind.CANCEL, context))
        case TaskKind.RECHECK_LATER if attempt is None and _ends(order, context):
            return at_rest(order, context)
        case _:
            return with_intent(order, task=in_flight(TaskKind.RETRIEVE, context))


def _ends(order: Order, context: Context) -> bool:
    """Whether an exposed intent without an unsettled attempt is to be cancelled now."""
    return out_of_time(order, order.attempts[-1], context)


def recheck_requested(order: Order, context: Context) -> Order:
    """Returns the order with an intent that awaits its customer in retrieval, for a client's request.

    The very same order where the intent was retrieved less than `RETRIEVALS_APART` ago.
    """
    intent, attempt = order.intent, order.unsettled
    if intent is None or intent.task is None or attempt is None or attempt.state is not AttemptState.AWAITING:
        return order
    retrieved_recently = abs(context.now - intent.task.issued) < RETRIEVALS_APART
    if intent.task.kind is not TaskKind.RECHECK_LATER or retrieved_recently:
        return order
    return _intent_due(order, intent, intent.task, context)
