"""Who has what in hand: tasks taken up when they are due, renewed, given back, and events published in their order."""

from msgspec import structs

from payment.core.attempts import moved, renewed, returned
from payment.core.messages import Moment
from payment.core.order import Order, OutboxEvent, TaskKind, Trigger
from payment.core.parts import replaced
from payment.core.pending import attempt_effect, publication
from payment.core.schedule import in_hand, takeable


def published(order: Order, subject: str, moment: Moment) -> Order:
    """The broker has an event. Only the first that is not out was asked for: word of a later one changes nothing."""
    first = _not_out(order)
    if first is None or first.subject != subject:
        return order
    outbox = tuple(
        structs.replace(event, task=None, published=moment.at) if event is first else event for event in order.outbox
    )
    return next_publication(structs.replace(order, outbox=outbox), moment)


def _not_out(order: Order) -> OutboxEvent | None:
    """The first event that is not out yet."""
    return next((event for event in order.outbox if event.published is None), None)


def next_publication(order: Order, moment: Moment) -> Order:
    """The first event that is not out yet is the one to publish: refunded waits until created is out."""
    first = _not_out(order)
    if first is None or first.task is not None:
        return order
    task = in_hand(TaskKind.PUBLISH, moment)
    outbox = tuple(structs.replace(event, task=task) if event is first else event for event in order.outbox)
    return structs.replace(order, outbox=outbox)


def tasks_changed(order: Order, effect_ids: set[str], moment: Moment, *, renew: bool) -> Order:
    """The deciding process says of effects in its hands that it still has them, or gives them back undone."""
    payment = order.payment
    if payment is None:
        return order
    change = renewed if renew else returned
    for attempt in (*payment.attempts, *payment.strays):
        if attempt.task and attempt_effect(order, payment, attempt, attempt.task).id in effect_ids:
            order = replaced(order, attempt, structs.replace(attempt, task=change(attempt.task, moment)))
    outbox = tuple(
        structs.replace(event, task=change(event.task, moment))
        if event.task and publication(order, payment, event).id in effect_ids
        else event
        for event in order.outbox
    )
    return order if outbox == order.outbox else structs.replace(order, outbox=outbox)


def due_taken(order: Order, moment: Moment) -> Order:
    """Whatever is overdue comes into the hands of whoever noticed."""
    for attempt in (*order.attempts, *order.strays):
        if attempt.task is not None and takeable(attempt.task, moment):
            order = replaced(order, attempt, moved(order, attempt, Trigger.DUE, moment))
    outbox = tuple(
        structs.replace(event, task=in_hand(TaskKind.PUBLISH, moment))
        if event.task is not None and takeable(event.task, moment)
        else event
        for event in order.outbox
    )
    return order if outbox == order.outbox else structs.replace(order, outbox=outbox)
