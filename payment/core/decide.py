"""What a message does to an order: the first half of the core, pure and total.

`decide` returns the order as it should be written and what the asker may be told once it is. What the world then owes
the order is not returned by a step: `payment.core.pending.pending` reads it off the written document. So several
messages folded into one write release only what the last state still wants.

A step that changes nothing returns the very same order, and nothing is written.
"""

from typing import assert_never

from msgspec import Struct, structs

from payment.core.attempts import moved, renewed, returned, with_refund
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
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
    Evidence,
    LeaseRenewed,
    Message,
    Moment,
    OrderCancelled,
    OrderCreated,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.core.order import (
    HISTORY_LIMIT,
    UNSETTLED,
    Attempt,
    AttemptState,
    HistoryEntry,
    Order,
    OrderStatus,
    OutboxEvent,
    Payment,
    Refund,
    TaskKind,
    Trigger,
)
from payment.core.pending import attempt_effect, publication, sealed
from payment.core.replies import Paid, Pending, Reply, Start, reply_to, token_hash
from payment.core.schedule import KEY_LIFE, in_hand, may_send, takeable

EMPTY = {
    Evidence.PROBE: Trigger.EMPTY_PROBE,
    Evidence.STORED: Trigger.EMPTY_STORED,
    Evidence.FINAL: Trigger.EMPTY_FINAL,
}


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
            return _charged(order, message.attempt, message.charge_id, moment)
        case CardDeclined() | ChargeRefused() | ChargeUnclear() | ChargeErrorStored() | ChargeWithheld():
            return _attempt_ended(order, message, moment)
        case ChargesFound():
            return _found(order, message, moment)
        case ChargeRefunded() | RefundBlocked() | RefundErrorStored() | RefundNotFound():
            return _refund_ended(order, message, moment)
        case EventPublished():
            return _published(order, message.subject, moment)
        case EffectReturned():
            return _tasks_changed(order, {message.effect_id}, moment, renew=False)
        case LeaseRenewed():
            return _tasks_changed(order, set(message.effect_ids), moment, renew=True)
        case Due():
            return _due(order, moment)
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
        order = _with(order, attempt, moved(order, attempt, Trigger.CANCELLED, moment))
    return order


# ------------------------------------------------------------------------------------------------- a request to charge


def _requested(order: Order | None, request: ChargeRequested, moment: Moment) -> Step:
    reply = reply_to(order, request, moment.at)
    if isinstance(reply, Paid):
        return Step(order, structs.replace(reply, replayed=True))
    if order is None or not isinstance(reply, Start):
        return Step(order, None if isinstance(reply, Start) else reply)
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


# --------------------------------------------------------------------------------------------------- how attempts end


def _attempt_ended(
    order: Order,
    message: CardDeclined | ChargeRefused | ChargeUnclear | ChargeErrorStored | ChargeWithheld,
    moment: Moment,
) -> Order:
    """A send has ended without a charge: judged by the attempt's own number, and by its send where that matters."""
    attempt = _numbered(order, message.attempt)
    if attempt is None:
        return order
    match message:
        case CardDeclined():
            attempt_after = moved(order, _with_decline(attempt, message), Trigger.DECLINED, moment)
        case ChargeErrorStored():
            attempt_after = moved(order, attempt, Trigger.ERROR_STORED, moment)
        case ChargeRefused() | ChargeUnclear() | ChargeWithheld() if message.send != attempt.sends:
            # Somebody has sent it again since: that send's answer is the one to wait for.
            return order
        case ChargeUnclear():
            attempt_after = moved(order, attempt, Trigger.UNCLEAR, moment)
        case ChargeRefused():
            attempt_after = _refused(order, attempt, message, moment)
        case ChargeWithheld():
            attempt_after = _withheld(order, attempt, moment)
        case _:
            assert_never(message)
    return _with(order, attempt, attempt_after)


def _with_decline(attempt: Attempt, message: CardDeclined) -> Attempt:
    if attempt.state is not AttemptState.CHARGING:
        return attempt
    return structs.replace(attempt, code=message.code, decline_code=message.decline_code, text=message.text)


def _refused(order: Order, attempt: Attempt, message: ChargeRefused, moment: Moment) -> Attempt:
    """Only the refusal of the only send proves that nothing was charged."""
    if attempt.sends > 1:
        return moved(order, attempt, Trigger.REFUSED_LATER, moment)
    if attempt.state is AttemptState.CHARGING:
        attempt = structs.replace(attempt, refusal=message.reason, text=message.text)
    return moved(order, attempt, Trigger.REFUSED, moment)


def _withheld(order: Order, attempt: Attempt, moment: Moment) -> Attempt:
    if attempt.sends > 1 or may_send(order, attempt, moment.at):
        return moved(order, attempt, Trigger.WITHHELD, moment)
    if attempt.state is AttemptState.CHARGING:
        attempt = structs.replace(attempt, refusal=RefusalReason.WITHHELD)
    return moved(order, attempt, Trigger.WITHHELD_FOR_GOOD, moment)


def _charged(order: Order, number: int, charge_id: str, moment: Moment) -> Order:
    """The first charge that comes to a payable order is kept; every other one, whoever brings it, is given back."""
    if order.payment is None or _with_charge(order, charge_id) is not None:
        return order
    attempt = _numbered(order, number)
    if attempt is None or attempt.charge_id is not None:
        return _with_stray(order, order.payment, number, charge_id, moment)
    charged = structs.replace(attempt, charge_id=charge_id)
    if attempt.state not in UNSETTLED or order.cancelled or order.kept is not None:
        return _with(order, attempt, moved(order, charged, Trigger.CHARGED_UNWANTED, moment))
    order = _with(order, attempt, moved(order, charged, Trigger.CHARGED, moment))
    assert order.payment is not None
    event = OutboxEvent(PAYMENT_CREATED, charge_id, task=in_hand(TaskKind.PUBLISH, moment))
    return structs.replace(order, payment=structs.replace(order.payment, kept=number), outbox=(*order.outbox, event))


def _with_stray(order: Order, payment: Payment, number: int, charge_id: str, moment: Moment) -> Order:
    """A charge that no attempt can claim: it is no part of the payment, but it is somebody's money."""
    stray = Attempt(
        number=number,
        key="",
        amount=order.amount or 0,
        currency=order.currency or "",
        api_version=moment.api_version,
        token_hash="",
        state=AttemptState.REFUNDING,
        first_sent=moment.at,
        last_sent=moment.at,
        not_after=moment.at,
        charge_id=charge_id,
        settled=moment.at,
    )
    strays = (*payment.strays, with_refund(stray, moment))
    return structs.replace(order, payment=structs.replace(payment, strays=strays))


def _found(order: Order, message: ChargesFound, moment: Moment) -> Order:
    """A list proves what it shows, for every attempt it shows; what it lacks proves what it was asked under."""
    for charge in message.charges:
        order = _charged(order, charge.attempt, charge.charge_id, moment)
    attempt = _numbered(order, message.attempt)
    if attempt is None or any(charge.attempt == message.attempt for charge in message.charges):
        return order
    return _with(order, attempt, moved(order, attempt, EMPTY[message.evidence], moment))


# ------------------------------------------------------------------------------------------------------------- refunds


def _refund_ended(
    order: Order, message: ChargeRefunded | RefundBlocked | RefundErrorStored | RefundNotFound, moment: Moment
) -> Order:
    attempt = _with_charge(order, message.charge_id)
    if attempt is None or attempt.refund is None:
        return order
    match message:
        case ChargeRefunded():
            return _refunded(order, attempt, attempt.refund, message.refund_id, moment)
        case RefundBlocked():
            refund = structs.replace(attempt.refund, id=message.refund_id, text=message.text)
            blocked = structs.replace(attempt, refund=refund)
            trigger = Trigger.REFUND_BLOCKED
            # A refund that is done can't be blocked any more: its id stands.
            after = moved(order, attempt if attempt.state is AttemptState.REFUNDED else blocked, trigger, moment)
        case RefundErrorStored() | RefundNotFound() if message.key != attempt.refund.key:
            # Somebody has gone on to the next key since.
            return order
        case RefundErrorStored():
            after = moved(order, attempt, Trigger.REFUND_ERROR_STORED, moment)
        case RefundNotFound():
            after = moved(order, attempt, Trigger.REFUND_NOT_FOUND, moment)
        case _:
            assert_never(message)
    return _with(order, attempt, after)


def _refunded(order: Order, attempt: Attempt, refund: Refund, refund_id: str, moment: Moment) -> Order:
    if attempt.state is AttemptState.REFUNDED:
        return order
    done = structs.replace(attempt, refund=structs.replace(refund, id=refund_id))
    order = _with(order, attempt, moved(order, done, Trigger.REFUNDED, moment))
    if not order.cancelled or any(event.subject == PAYMENT_REFUNDED for event in order.outbox):
        # A stray that is given back on a paid order is nobody's event; and a payment is given back once.
        return order
    if order.kept is not None and order.kept.charge_id != attempt.charge_id:
        return order
    assert attempt.charge_id is not None
    event = OutboxEvent(PAYMENT_REFUNDED, attempt.charge_id, refund_id)
    return _next_publication(structs.replace(order, outbox=(*order.outbox, event)), moment)


# --------------------------------------------------------------------------------------------------- events and tasks


def _published(order: Order, subject: str, moment: Moment) -> Order:
    unpublished = [event for event in order.outbox if event.published is None]
    if not any(event.subject == subject for event in unpublished):
        return order
    outbox = tuple(
        structs.replace(event, task=None, published=moment.at) if event.subject == subject else event
        for event in order.outbox
    )
    return _next_publication(structs.replace(order, outbox=outbox), moment)


def _next_publication(order: Order, moment: Moment) -> Order:
    """The first event that is not out yet is the one to publish: refunded waits until created is out."""
    first = next((event for event in order.outbox if event.published is None), None)
    if first is None or first.task is not None:
        return order
    task = in_hand(TaskKind.PUBLISH, moment)
    outbox = tuple(structs.replace(event, task=task) if event is first else event for event in order.outbox)
    return structs.replace(order, outbox=outbox)


def _tasks_changed(order: Order, effect_ids: set[str], moment: Moment, *, renew: bool) -> Order:
    """The deciding process says of effects in its hands that it still has them, or gives them back undone."""
    payment = order.payment
    if payment is None:
        return order
    change = renewed if renew else returned
    for attempt in (*payment.attempts, *payment.strays):
        if attempt.task and attempt_effect(order, payment, attempt, attempt.task).id in effect_ids:
            order = _with(order, attempt, structs.replace(attempt, task=change(attempt.task, moment)))
    outbox = tuple(
        structs.replace(event, task=change(event.task, moment))
        if event.task and publication(order, payment, event).id in effect_ids
        else event
        for event in order.outbox
    )
    return order if outbox == order.outbox else structs.replace(order, outbox=outbox)


def _due(order: Order, moment: Moment) -> Order:
    """Whatever is overdue comes into the hands of whoever noticed."""
    for attempt in (*order.attempts, *order.strays):
        if attempt.task is not None and takeable(attempt.task, moment):
            order = _with(order, attempt, moved(order, attempt, Trigger.DUE, moment))
    outbox = tuple(
        structs.replace(event, task=in_hand(TaskKind.PUBLISH, moment))
        if event.task is not None and takeable(event.task, moment)
        else event
        for event in order.outbox
    )
    return order if outbox == order.outbox else structs.replace(order, outbox=outbox)


# ------------------------------------------------------------------------------------------------------------- helpers


def _numbered(order: Order, number: int) -> Attempt | None:
    return order.attempts[number - 1] if 1 <= number <= len(order.attempts) else None


def _with_charge(order: Order, charge_id: str) -> Attempt | None:
    return next((attempt for attempt in (*order.attempts, *order.strays) if attempt.charge_id == charge_id), None)


def _with(order: Order, before: Attempt, after: Attempt) -> Order:
    """The order with one attempt or stray replaced; the very same order if nothing about it changed."""
    if after == before or order.payment is None:
        return order
    payment = order.payment
    attempts = tuple(after if attempt is before else attempt for attempt in payment.attempts)
    strays = tuple(after if stray is before else stray for stray in payment.strays)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts, strays=strays))


def _finished(before: Order | None, after: Order, moment: Moment) -> Order:
    """The last touch of every step that changes something: the history, and the deadline."""
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
