"""How a message changes an order: the first half of the core, pure and total.

`decide` returns the order as it is to be written, and the reply that a client may receive once it is written. It
returns no effects: `payment.core.pending.pending` reads them off the written document. So several messages that are
folded into one write release only the effects that the last state still needs.

A step that changes nothing returns the very same order, and nothing is written.

Change together: `payment.core.messages.Message`, and `_applied` here.
"""

from typing import assert_never

from msgspec import Struct, structs

from payment.core.attempts import (
    at_rest,
    due_taken,
    moved,
    numbered_intent,
    payment_id_of,
    published,
    recheck_requested,
    tasks_changed,
    usable_intent,
)
from payment.core.formats import format_of
from payment.core.messages import (
    ChargeRequested,
    ChargesListed,
    Context,
    Due,
    EffectReturned,
    EventPublished,
    Fact,
    IntentOutcome,
    LeaseRenewed,
    Message,
    OrderCancelled,
    OrderCreated,
    RecheckRequested,
    RefundOutcome,
)
from payment.core.order import (
    HISTORY_LIMIT,
    Attempt,
    AttemptState,
    CancelReason,
    HistoryEntry,
    Order,
    OrderStatus,
    Payment,
    TaskKind,
    Trigger,
    with_intent,
)
from payment.core.outcomes import charges_listed, intent_outcome
from payment.core.pending import with_deadline
from payment.core.refunds import refund_due, refund_ended
from payment.core.replies import OutcomePending, Paid, Reply, RequiresAction, Start, instrument_hash, reply_to
from payment.core.schedule import CONFIRM_ENDS_WITHIN, KEY_LIFE, in_flight, sooner


class Step(Struct, frozen=True):
    """The result of one message: the order to write, and the reply to a client.

    `order` is None where the store has no such order and the message does not create it. `reply` is set exactly for a
    `ChargeRequested`. `OutcomePending` and `RequiresAction` mean that the request waits for an outcome; a `Start` means
    that it must be decided again once the order's last intent is known to be canceled.
    """

    order: Order | None
    reply: Reply | Start | None = None


def decide(order: Order | None, message: Message, context: Context) -> Step:
    """Returns the order after one message, decided at `context.now` for `context.process`, and the reply if it has one.

    Raises:
        UnreachablePair: our bug: the table of states has no next state for the message. The order is unchanged.
    """
    if isinstance(message, ChargeRequested):
        return _requested(order, message, context)
    after = _applied(order, message, context)
    return Step(order if after is None or after is order else _finished(order, after, context))


def _applied(order: Order | None, message: Fact, context: Context) -> Order | None:
    match message:
        case OrderCreated():
            return _created(order, message, context)
        case OrderCancelled():
            return _cancelled(order, message, context)
        case _ if order is None:
            # The store has no such order, so there is nothing to change.
            return None
        case ChargesListed():
            return charges_listed(order, message, context)
        case EventPublished():
            return published(order, message.message_id, context)
        case EffectReturned():
            return tasks_changed(order, {message.effect_id}, context, renew=False)
        case LeaseRenewed():
            return tasks_changed(order, message.effect_ids, context, renew=True)
        case RecheckRequested():
            return recheck_requested(order, context)
        case Due():
            return due_taken(order, context, refund_due)
        case _ if isinstance(message, RefundOutcome):
            return refund_ended(order, message, context)
        case _ if isinstance(message, IntentOutcome):
            return intent_outcome(order, message, context)
        case _:
            assert_never(message)


# ----------------------------------------------------------------------------------------------- the platform's events


def _created(order: Order | None, message: OrderCreated, context: Context) -> Order:
    """Insert the order, or complete one that only its cancel has announced, which stays cancelled."""
    if order is None:
        announced = Order(id=message.order_id, status=OrderStatus.CREATED, version=message.version)
    elif order.user_id is None:
        announced = order
    else:
        return order
    created = structs.replace(
        announced,
        version=max(announced.version, message.version),
        user_id=message.user_id,
        amount=message.amount,
        currency=message.currency,
        expires_at=message.expires_at,
        received=context.now,
        history=_history(announced, "order created", context),
    )
    return _prepared(created, context) if context.prepare and created.open_at(context.now) else created


def _prepared(order: Order, context: Context) -> Order:
    """Returns the order with its first intent to be created before the first request to charge."""
    intent = structs.replace(numbered_intent(order, 1, context), task=in_flight(TaskKind.CREATE, context))
    payment = Payment(id=payment_id_of(context.queue_group, order.id), intent=intent)
    return structs.replace(order, payment=payment)


def _cancelled(order: Order | None, message: OrderCancelled, context: Context) -> Order:
    """Cancelled is final at any version. The event may arrive before the one that creates the order."""
    if order is None:
        order = Order(id=message.order_id, status=OrderStatus.CANCELLED, version=message.version)
        return structs.replace(order, history=_history(order, "order cancelled", context))
    if order.cancelled:
        return order
    order = structs.replace(
        order,
        status=OrderStatus.CANCELLED,
        version=max(order.version, message.version),
        history=_history(order, "order cancelled", context),
    )
    for attempt in order.attempts:
        # Without its instrument an attempt can't be sent again. A confirm that was not sent is cancelled; one that was
        # sent ends by itself.
        order = moved(order, structs.replace(attempt, instrument=None), Trigger.CANCELLED, context)
    if order.intent is None:
        return order
    match order.unsettled:
        case None:
            return at_rest(order, context)
        case Attempt(state=AttemptState.CONFIRMING):
            # Where one write begins and cancels an attempt, its confirm is never released: this deadline ends it before
            # its lease does.
            return with_intent(order, task=sooner(order.intent.task, context.now + CONFIRM_ENDS_WITHIN))
        case _:
            return order


# ------------------------------------------------------------------------------------------------- a request to charge


def _requested(order: Order | None, request: ChargeRequested, context: Context) -> Step:
    reply = reply_to(order, request, context.now)
    if order is None or isinstance(reply, Paid):
        return Step(order, structs.replace(reply, replayed=True) if isinstance(reply, Paid) else reply)
    after = order
    match reply:
        case Start.NEW_ATTEMPT:
            after = _with_new_attempt(order, request, context)
            assert after.payment is not None
            reply = OutcomePending(after.payment.id, after.id)
        case Start.SUPERSEDE:
            assert order.unsettled is not None
            superseded = structs.replace(order.unsettled, cancel_reason=CancelReason.SUPERSEDED)
            after = moved(order, superseded, Trigger.SUPERSEDED, context)
        case OutcomePending() | RequiresAction():
            # The customer may be back from the bank: retrieve the intent at once.
            after = recheck_requested(order, context)
        case _:
            return Step(order, reply)
    return Step(order if after is order else _finished(order, after, context), reply)


def _with_new_attempt(order: Order, request: ChargeRequested, context: Context) -> Order:
    """Returns the order with a new attempt, its instrument and its intent: stored before any request leaves."""
    assert order.amount is not None
    assert order.currency is not None
    payment = order.payment or Payment(id=payment_id_of(context.queue_group, order.id))
    intent = structs.replace(usable_intent(order, context), task=in_flight(TaskKind.CONFIRM, context))
    attempt = Attempt(
        number=len(payment.attempts) + 1,
        amount=order.amount,
        currency=order.currency,
        api_version=context.api_version,
        token_hash=instrument_hash(request.instrument.value),
        state=AttemptState.CONFIRMING,
        first_sent=context.now,
        last_sent=context.now,
        not_after=context.now + KEY_LIFE,
        intent=intent.number,
        instrument=request.instrument,
        authentication=request.authentication,
    )
    attempts = (*payment.attempts, attempt)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts, intent=intent))


def _finished(before: Order | None, after: Order, context: Context) -> Order:
    """Complete a step that changed something: the history, the format, and the derived deadlines."""
    if after.format != (written := format_of(after)):
        after = structs.replace(after, format=written)
    if before is None or before.payment is not after.payment:
        was = {} if before is None else _states(before)
        for number, state in _states(after).items():
            if was.get(number) is not state:
                after = structs.replace(after, history=_history(after, f"attempt {number} {state.value}", context))
    return with_deadline(after)


def _states(order: Order) -> dict[int, AttemptState]:
    return {attempt.number: attempt.state for attempt in order.attempts}


def _history(order: Order, what: str, context: Context) -> tuple[HistoryEntry, ...]:
    return (*order.history, HistoryEntry(context.now, what))[-HISTORY_LIMIT:]
