"""How a trigger changes one attempt: its next state, and the tasks of the attempt, its intent and its refund.

`moved` is the only function that changes an attempt's state, always through the table. The fields and the task that
belong to a state are set beside it, in `_entered`.

Change together: `payment.core.order.TABLE`, and `_entered` here.
"""

from typing import assert_never

from msgspec import structs

from payment.core.intents import at_rest
from payment.core.messages import Context
from payment.core.order import UNSETTLED, Attempt, AttemptState, Order, Refund, Task, TaskKind, Trigger, next_state
from payment.core.parts import with_attempt, with_intent
from payment.core.schedule import LEASE, blocked_delay, in_flight, next_recheck, next_retrieval, recheck_later

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
