"""An order's attempts, intents and events: how each changes by a trigger, and which task is in flight for it.

`moved` is the only function that changes an attempt's state, always through the table. The fields and the task that
belong to a state are set beside it, in `_entered`.

A create's idempotency key and all its parameters are pure functions of the order. So any process may repeat a create at
any time, and a database restored from a backup gets the same intent back. The next number is used only after the last
intent is known to be canceled, or has succeeded and its charge was given back, or after Stripe stored an error for its
create, so that it was never confirmed.

Change together: `payment.core.order.TABLE` and `_entered`; `payment.core.order.TaskKind` and `payment.core.schedule`.
"""

import hashlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import assert_never

from msgspec import structs

from payment.core.messages import Context
from payment.core.order import (
    GIVING_BACK,
    UNSETTLED,
    Attempt,
    AttemptState,
    CancelReason,
    Intent,
    IntentState,
    Order,
    OutboxEvent,
    Refund,
    Task,
    TaskKind,
    Trigger,
    next_state,
    with_attempt,
    with_intent,
)
from payment.core.pending import attempt_effect, intent_effect, publication
from payment.core.schedule import (
    AUTHENTICATION_LIFE,
    LEASE,
    RETRIEVALS_APART,
    blocked_delay,
    create_deadline,
    in_flight,
    next_recheck,
    next_retrieval,
    recheck_due,
    recheck_later,
    takeable,
)

ID_CHARS = 32
"""Characters of a payment's id: 128 bits of a hash, in hexadecimal digits."""


def payment_id_of(queue_group: str, order_id: str) -> str:
    """Returns an order's payment id: 32 hexadecimal digits, the same in every process and after a restore."""
    return hashlib.sha256(f"{queue_group}\n{order_id}".encode()).hexdigest()[:ID_CHARS]


def usable_intent(order: Order, context: Context) -> Intent:
    """Returns the intent that a new attempt confirms: the open one, or the next."""
    last = order.intent
    if last is not None and last.state is IntentState.OPEN:
        return last
    return numbered_intent(order, last.number + 1 if last else 1, context)


def numbered_intent(order: Order, number: int, context: Context) -> Intent:
    """Returns the order's intent of this number, new: its id at Stripe is not known."""
    key = f"intent-{payment_id_of(context.queue_group, order.id)}-{number}"
    return Intent(number, key, context.api_version)


def holds(intent: Intent, context: Context, *kinds: TaskKind) -> bool:
    """Whether the deciding process has a task of one of these kinds in flight for the intent.

    Most results count only then: a late result of an earlier task proves nothing.
    """
    return intent.task is not None and intent.task.kind in kinds and intent.task.holder == context.process


def at_rest(order: Order, context: Context, *, delay: timedelta = timedelta(0)) -> Order:
    """Returns the order with the next task of its intent, for an intent that no attempt needs.

    An open intent whose client secret was handed out is retrieved from time to time, and cancelled in the end. `delay`
    is the wait before a cancel that follows another.
    """
    intent = order.intent
    assert intent is not None
    return with_intent(order, task=_task_at_rest(order, intent, context, delay))


def _task_at_rest(order: Order, intent: Intent, context: Context, delay: timedelta) -> Task | None:
    last = _last_of(order, intent)
    if intent.state is not IntentState.OPEN or not intent.exposed or last is None:
        return None
    if out_of_time(order, last, context):
        return in_flight(TaskKind.CANCEL, context, delay)
    return recheck_later(next_retrieval(order, last, context.now), context)


def out_of_time(order: Order, attempt: Attempt, context: Context) -> bool:
    """Whether the customer can no longer authenticate: the order can't be paid any more, or 24 h have passed."""
    return not order.open_at(context.now) or context.now >= attempt.first_sent + AUTHENTICATION_LIFE


def _last_of(order: Order, intent: Intent) -> Attempt | None:
    return next((attempt for attempt in reversed(order.attempts) if attempt.intent == intent.number), None)


# ------------------------------------------------------------------------------------------------------------- attempts

IMMEDIATE_REFUND_KEYS = 2
"""Refund keys that are used without a wait. Where Stripe stores an error for each, a third one does not help."""


def moved(order: Order, attempt: Attempt, trigger: Trigger, context: Context) -> Order:
    """Returns the order after a trigger of one of its attempts. `attempt` may carry new fields (a code, a charge).

    Raises:
        UnreachablePair: the table has no such pair of state and trigger.
    """
    state = next_state(attempt.state, trigger)
    if state is attempt.state:
        return with_attempt(order, attempt)
    return _entered(order, structs.replace(attempt, state=state, task=None), trigger, context)


def _entered(order: Order, attempt: Attempt, trigger: Trigger, context: Context) -> Order:
    """Set the attempt's fields, and the task, that belong to the state that the attempt has just entered."""
    # An attempt that has left CONFIRMING is never sent again, so its instrument is dropped.
    attempt = structs.replace(attempt, instrument=None)
    if attempt.state not in UNSETTLED:
        attempt = structs.replace(attempt, settled=attempt.settled or context.now)
    match attempt.state:
        case AttemptState.AWAITING:
            order = with_attempt(order, attempt)
            return with_intent(
                order, exposed=True, task=recheck_later(next_retrieval(order, attempt, context.now), context)
            )
        case AttemptState.CANCELLING:
            return with_intent(with_attempt(order, attempt), task=in_flight(TaskKind.CANCEL, context))
        case AttemptState.DECLINED | AttemptState.REFUSED | AttemptState.CLOSED:
            order = with_attempt(order, attempt)
            return at_rest(order, context) if attempt.intent else order
        case AttemptState.REFUNDING if trigger is Trigger.GIVEN_BACK:
            # An operator made the refund. FIND_REFUND brings its id, and shows whether it fails.
            return with_attempt(order, structs.replace(with_refund(attempt, context), task=_find_refund(context)))
        case AttemptState.REFUNDING:
            return with_attempt(order, with_refund(attempt, context))
        case AttemptState.BLOCKED:
            return with_attempt(order, blocked(attempt, context))
        case AttemptState.REFUNDED | AttemptState.CHARGED_BACK:
            assert attempt.refund is not None
            refund = structs.replace(attempt.refund, rechecks=0)
            recheck = next_recheck(0, context.now)
            return with_attempt(order, structs.replace(attempt, refund=refund, recheck=recheck))
        case AttemptState.PAID | AttemptState.CONFIRMING | AttemptState.CHARGING:
            # No pair leads to the last two: they are initial states.
            return with_attempt(order, attempt)
        case _:
            assert_never(attempt.state)


def with_refund(attempt: Attempt, context: Context) -> Attempt:
    """Returns the attempt with a refund of its charge in flight, or due later, under a new refund key."""
    last = attempt.refund
    number = last.number + 1 if last else 1
    key = f"refund-{attempt.charge_id}-{number}"
    refund = structs.replace(last, key=key, number=number, id=None, text=None) if last else Refund(key, number)
    if number <= IMMEDIATE_REFUND_KEYS:
        return structs.replace(attempt, refund=refund, task=in_flight(TaskKind.REFUND, context))
    later = context.now + blocked_delay(number - IMMEDIATE_REFUND_KEYS)
    return structs.replace(attempt, refund=refund, task=recheck_later(later, context))


def blocked(attempt: Attempt, context: Context) -> Attempt:
    """Returns the attempt with its refund blocked once more. The delay before the next try doubles, up to a limit."""
    assert attempt.refund is not None
    times = attempt.refund.blocked + 1
    refund = structs.replace(attempt.refund, blocked=times)
    return structs.replace(attempt, refund=refund, task=recheck_later(context.now + blocked_delay(times), context))


def _find_refund(context: Context) -> Task:
    return in_flight(TaskKind.FIND_REFUND, context)


def returned(task: Task | None, context: Context) -> Task | None:
    """Returns a task that the deciding process gives back, due at once. Another process's task is unchanged."""
    if task is None or task.holder != context.process:
        return task
    return structs.replace(task, due=context.now, holder=None)


def renewed(task: Task | None, context: Context) -> Task | None:
    """Returns a task whose lease the deciding process begins anew. Another process's task is unchanged."""
    if task is None or task.holder != context.process:
        return task
    return structs.replace(task, due=context.now + LEASE)


# ---------------------------------------------------------------------------------------------------- tasks, and events

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
