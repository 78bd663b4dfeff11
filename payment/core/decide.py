"""What a message does to an order: the first half of the core, pure and total.

`decide` returns the order as it should be written and what the asker may be told once it is. What the world then owes
the order is not returned by a step: `payment.core.pending.pending` reads it off the written document. So several
messages folded into one write release only what the last state still wants.

A step that changes nothing returns the very same order, and nothing is written.
"""

from typing import assert_never

from msgspec import Struct, structs

from payment.core.attempts import moved
from payment.core.charges import attempt_ended, charged, found
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargeRefused,
    ChargeRequested,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    Due,
    EffectReturned,
    EventPublished,
    LeaseRenewed,
    Message,
    Moment,
    OrderCancelled,
    OrderCreated,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
)
from payment.core.order import (
    HISTORY_LIMIT,
    Attempt,
    AttemptState,
    HistoryEntry,
    Order,
    OrderStatus,
    Payment,
    TaskKind,
    Trigger,
)
from payment.core.parts import replaced
from payment.core.pending import sealed
from payment.core.refunds import refund_ended
from payment.core.replies import Paid, Pending, Reply, Start, reply_to, token_hash
from payment.core.schedule import KEY_LIFE, in_hand
from payment.core.tasks import due_taken, published, tasks_changed


class Step(Struct, frozen=True):
    """What came of a message. `reply` is there exactly for a `ChargeRequested`; `Pending` means that it waits."""

    order: Order | None
    reply: Reply | None = None


def decide(order: Order | None, message: Message, moment: Moment) -> Step:
    """Apply one message to an order, at a moment.

    Raises:
        UnreachablePair: our bug, by the table of states; nothing has changed.
    """
    if isinstance(message, ChargeRequested):
        return _requested(order, message, moment)
    after = _applied(order, message, moment)
    return Step(order if after is None or after is order else _finished(order, after, moment))


def _applied(order: Order | None, message: Message, moment: Moment) -> Order | None:
    match message:
        case OrderCreated():
            return _created(order, message, moment)
        case OrderCancelled():
            return _cancelled(order, message, moment)
        case _ if order is None:
            # An outcome for an order that the store does not know: there is nothing to decide about.
            return None
        case CardCharged():
            return charged(order, message.attempt, message.charge_id, moment)
        case CardDeclined() | ChargeRefused() | ChargeUnclear() | ChargeErrorStored() | ChargeWithheld():
            return attempt_ended(order, message, moment)
        case ChargesFound():
            return found(order, message, moment)
        case ChargeRefunded() | RefundBlocked() | RefundErrorStored() | RefundNotFound():
            return refund_ended(order, message, moment)
        case EventPublished():
            return published(order, message.subject, moment)
        case EffectReturned():
            return tasks_changed(order, {message.effect_id}, moment, renew=False)
        case LeaseRenewed():
            return tasks_changed(order, set(message.effect_ids), moment, renew=True)
        case Due():
            return due_taken(order, moment)
        case ChargeRequested():  # pragma: no cover - `decide` has answered it already
            return order
        case _:
            assert_never(message)


# ----------------------------------------------------------------------------------------------- the platform's events


def _created(order: Order | None, message: OrderCreated, moment: Moment) -> Order:
    """Created only inserts, or fills in an order that a cancel announced, which stays cancelled."""
    if order is None:
        announced = Order(id=message.order_id, status=OrderStatus.CREATED, version=message.version)
    elif order.user_id is None:
        announced = order
    else:
        return order
    return structs.replace(
        announced,
        version=max(announced.version, message.version),
        user_id=message.user_id,
        amount=message.amount,
        currency=message.currency,
        expires_at=message.expires_at,
        history=_history(announced, "order created", moment),
    )


def _cancelled(order: Order | None, message: OrderCancelled, moment: Moment) -> Order:
    """Cancelled is absorbing at any version, and may come first."""
    if order is None:
        order = Order(id=message.order_id, status=OrderStatus.CANCELLED, version=message.version)
        return structs.replace(order, history=_history(order, "order cancelled", moment))
    if order.cancelled:
        return order
    order = structs.replace(
        order,
        status=OrderStatus.CANCELLED,
        version=max(order.version, message.version),
        history=_history(order, "order cancelled", moment),
    )
    for attempt in order.attempts:
        order = replaced(order, attempt, moved(order, attempt, Trigger.CANCELLED, moment))
    return order


# ------------------------------------------------------------------------------------------------- a request to charge


def _requested(order: Order | None, request: ChargeRequested, moment: Moment) -> Step:
    reply = reply_to(order, request, moment.at)
    if isinstance(reply, Paid):
        return Step(order, structs.replace(reply, replayed=True))
    if not isinstance(reply, Start):
        return Step(order, reply)
    assert order is not None
    after = _with_new_attempt(order, request, moment)
    assert after.payment is not None
    return Step(_finished(order, after, moment), Pending(after.payment.id, after.id))


def _with_new_attempt(order: Order, request: ChargeRequested, moment: Moment) -> Order:
    """The intent, with its key and all its parameters: on paper before anything leaves."""
    assert order.amount is not None
    assert order.currency is not None
    payment = order.payment or Payment(id=request.payment_id)
    number = len(payment.attempts) + 1
    attempt = Attempt(
        number=number,
        key=f"charge-{payment.id}-{number}",
        amount=order.amount,
        currency=order.currency,
        api_version=moment.api_version,
        token=request.token,
        token_hash=token_hash(request.token),
        state=AttemptState.CHARGING,
        first_sent=moment.at,
        last_sent=moment.at,
        not_after=moment.at + KEY_LIFE,
        task=in_hand(TaskKind.CHARGE, moment),
    )
    return structs.replace(order, payment=structs.replace(payment, attempts=(*payment.attempts, attempt)))


def _finished(before: Order | None, after: Order, moment: Moment) -> Order:
    """The last touch of every step that changes something: the history, and the deadline."""
    if before is not None and before.payment is after.payment:
        return sealed(after)
    was = {} if before is None else _states(before)
    for label, state in _states(after).items():
        if was.get(label) is not state:
            after = structs.replace(after, history=_history(after, f"{label} {state.value}", moment))
    return sealed(after)


def _states(order: Order) -> dict[str, AttemptState]:
    attempts = {f"attempt {attempt.number}": attempt.state for attempt in order.attempts}
    return attempts | {f"stray charge {stray.charge_id}": stray.state for stray in order.strays}


def _history(order: Order, what: str, moment: Moment) -> tuple[HistoryEntry, ...]:
    return (*order.history, HistoryEntry(moment.at, what))[-HISTORY_LIMIT:]
