"""An order's PaymentIntents: their keys and parameters, and the task of an open intent that no attempt needs.

A create's idempotency key and all its parameters are pure functions of the order. So any process may repeat a create at
any time, and a database restored from a backup gets the same intent back. The next number is used only after the last
intent is known to be canceled, or has succeeded and its charge was given back, or after Stripe stored an error for its
create, so that it was never confirmed.
"""

import hashlib
from datetime import timedelta

from payment.core.effects import IntentReference
from payment.core.messages import Context
from payment.core.order import Attempt, Intent, IntentState, Order, Payment, Task, TaskKind
from payment.core.parts import with_intent
from payment.core.schedule import AUTHENTICATION_LIFE, in_flight, list_after, next_retrieval, recheck_later

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


def reference(order: Order, payment: Payment, intent: Intent) -> IntentReference:
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
