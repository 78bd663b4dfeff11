"""How an attempt to charge ends: by an answer, by a list, or by a send that was never made.

What settles an attempt is evidence. An outcome is judged by the attempt's own number, a list by what it was asked
under, never by the clock at which either arrives; and no outcome is dropped for being late.
"""

from typing import assert_never

from msgspec import structs

from payment.core.attempts import moved, with_refund
from payment.core.effects import PAYMENT_CREATED
from payment.core.messages import (
    CardDeclined,
    ChargeErrorStored,
    ChargeRefused,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    Evidence,
    Moment,
    RefusalReason,
)
from payment.core.order import UNSETTLED, Attempt, AttemptState, Order, OutboxEvent, Payment, TaskKind, Trigger
from payment.core.parts import numbered, replaced, with_charge
from payment.core.schedule import in_hand, may_send

EMPTY = {
    Evidence.PROBE: Trigger.EMPTY_PROBE,
    Evidence.STORED: Trigger.EMPTY_STORED,
    Evidence.FINAL: Trigger.EMPTY_FINAL,
}
"""What an empty list means for the attempt on whose behalf it was asked."""


def attempt_ended(
    order: Order,
    message: CardDeclined | ChargeRefused | ChargeUnclear | ChargeErrorStored | ChargeWithheld,
    moment: Moment,
) -> Order:
    """A send has ended without a charge: judged by the attempt's own number, and by its send where that matters."""
    attempt = numbered(order, message.attempt)
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
    return replaced(order, attempt, attempt_after)


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


def charged(order: Order, number: int, charge_id: str, moment: Moment) -> Order:
    """The first charge that comes to a payable order is kept; every other one, whoever brings it, is given back."""
    if order.payment is None or with_charge(order, charge_id) is not None:
        return order
    attempt = numbered(order, number)
    if attempt is None or attempt.charge_id is not None:
        return _with_stray(order, order.payment, number, charge_id, moment)
    with_id = structs.replace(attempt, charge_id=charge_id)
    if attempt.state not in UNSETTLED or order.cancelled or order.kept is not None:
        return replaced(order, attempt, moved(order, with_id, Trigger.CHARGED_UNWANTED, moment))
    order = replaced(order, attempt, moved(order, with_id, Trigger.CHARGED, moment))
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


def found(order: Order, message: ChargesFound, moment: Moment) -> Order:
    """A list proves what it shows, for every attempt it shows; what it lacks proves what it was asked under."""
    for charge in message.charges:
        order = charged(order, charge.attempt, charge.charge_id, moment)
    attempt = numbered(order, message.attempt)
    if attempt is None or any(charge.attempt == message.attempt for charge in message.charges):
        return order
    return replaced(order, attempt, moved(order, attempt, EMPTY[message.evidence], moment))
