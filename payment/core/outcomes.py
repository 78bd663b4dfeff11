"""How the outcome of an effect changes an attempt and its intent.

An outcome is an answer, a retrieved intent, a list of charges, or a send that was never made. A success belongs to the
intent, whichever effect finds it, and `canceled` is as final. Every other answer counts only for the attempt and the
send that it names, and a retrieved intent only for the task that retrieved it: a late outcome proves nothing about
later requests.

Change together: `payment.core.messages.IntentOutcome`, `payment.core.order.TABLE`.
"""

from typing import assert_never

from msgspec import structs

from payment.core.attempts import at_rest, holds, moved, next_publication, numbered_intent, returned
from payment.core.effects import PAYMENT_CREATED
from payment.core.messages import (
    ActionRequired,
    CardDeclined,
    ChargeFacts,
    ChargesListed,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    Context,
    CreateErrorStored,
    CreateRefused,
    Failure,
    IntentCreated,
    IntentOutcome,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    RefusalReason,
)
from payment.core.order import (
    GIVING_BACK,
    Attempt,
    AttemptState,
    CancelReason,
    Intent,
    IntentState,
    Order,
    OutboxEvent,
    TaskKind,
    Trigger,
    numbered,
    with_attempt,
    with_charge,
    with_intent,
)
from payment.core.schedule import (
    CHARGE_LIFE,
    LONGEST_RESEND_DELAY,
    in_flight,
    list_after,
    may_send,
    next_list,
    next_retrieval,
    recheck_later,
    resend_delay,
)

CHARGED = GIVING_BACK | {AttemptState.PAID}

CANCEL_TEXTS = {
    CancelReason.AUTHENTICATION_FAILED: "The bank wanted the customer to authenticate, which did not happen.",
    CancelReason.SUPERSEDED: "Another card was used for this order instead.",
    CancelReason.UNCLEAR: "The payment could not be completed. Nothing was kept. Try again with another card.",
}


def intent_outcome(order: Order, message: IntentOutcome, context: Context) -> Order:
    """Returns the order after an outcome of its intent, as the Stripe actor reports it."""
    intent = order.intent
    if intent is None:
        return order
    intent_id = getattr(message, "intent_id", None)
    if message.intent != intent.number or (intent.id is not None and intent_id not in (None, intent.id)):
        # An earlier intent of the order, or another one under the same key (a process that was paused for a day may
        # have created it): only its success matters. Its cancel proves nothing about the order's present intent.
        return _success_of_another(order, message, context)
    if isinstance(message, IntentPrepared | IntentCreated) and not _is_believed(order, intent, message, context):
        return order
    if intent_id is not None:
        order = with_intent(order, id=intent_id)
    match message:
        case IntentPrepared():
            return with_intent(order, task=None) if holds(intent, context, TaskKind.CREATE) else order
        case CreateErrorStored():
            return _create_error_stored(order, context) if intent.id is None else order
        case CreateRefused():
            return _create_refused(order, message, context) if intent.id is None else order
        case IntentSucceeded():
            return _succeeded(order, message.intent, message.charge, context, replayed=message.replayed)
        case IntentRetrieved():
            return _retrieved(order, message, context)
        case _:
            return _send_ended(order, message, context)


def _is_believed(order: Order, intent: Intent, message: IntentPrepared | IntentCreated, context: Context) -> bool:
    """Whether a created intent is the order's intent of this number.

    While Stripe keeps the create's key, every create returns the same intent. Later only a create that this process
    still has in flight counts: another process may use another intent by then.
    """
    if intent.id is not None or context.now < list_after(order):
        return True
    return holds(intent, context, TaskKind.CREATE if isinstance(message, IntentPrepared) else TaskKind.CONFIRM)


def _success_of_another(order: Order, message: IntentOutcome, context: Context) -> Order:
    if isinstance(message, IntentSucceeded | IntentRetrieved) and message.charge is not None:
        return _succeeded(order, message.intent, message.charge, context)
    return order


# ------------------------------------------------------------------------------------------------------ a send's answer


def _send_ended(
    order: Order,
    message: IntentCreated | ActionRequired | CardDeclined | ConfirmRefused | ConfirmUnclear | ConfirmWithheld,
    context: Context,
) -> Order:
    attempt = numbered(order, message.attempt)
    if attempt is None:
        return order
    match message:
        case ActionRequired():
            return _action_required(order, attempt, message, context)
        case CardDeclined():
            return moved(order, _with_failure(attempt, message.failure), Trigger.DECLINED, context)
        case IntentCreated() | ConfirmRefused() | ConfirmUnclear() | ConfirmWithheld() if message.send != attempt.sends:
            # The attempt has been sent again since: only the answer to that send counts.
            return order
        case IntentCreated() if attempt.state is AttemptState.CONFIRMING and may_send(order, attempt, context.now):
            return order  # its confirm is still pending, now with the id that the document has
        case ConfirmRefused() if attempt.sends == 1:
            if attempt.state is AttemptState.CONFIRMING:
                attempt = structs.replace(attempt, refusal=message.reason, text=message.text)
            return moved(order, attempt, Trigger.REFUSED, context)
        case ConfirmRefused():
            return _unclear_for_good(order, attempt, context)
        case ConfirmUnclear():
            return _unclear(order, attempt, context, stored=message.stored)
        case IntentCreated() | ConfirmWithheld():
            return _withheld(order, attempt, context)
        case _:
            assert_never(message)


def _action_required(order: Order, attempt: Attempt, message: ActionRequired, context: Context) -> Order:
    if not order.open_at(context.now):
        return moved(
            order, _cancelled_for(attempt, CancelReason.AUTHENTICATION_FAILED), Trigger.ACTION_UNPAYABLE, context
        )
    after = moved(order, attempt, Trigger.ACTION, context)
    if after is not order and (message.replayed or message.processing):
        # A replayed answer may be out of date, and a bank soon decides about a payment in processing.
        return with_intent(after, task=in_flight(TaskKind.RETRIEVE, context))
    return after


def _with_failure(attempt: Attempt, failure: Failure) -> Attempt:
    if attempt.state is not AttemptState.CONFIRMING:
        return attempt
    return structs.replace(attempt, code=failure.code, decline_code=failure.decline_code, text=failure.text)


def _cancelled_for(attempt: Attempt, reason: CancelReason) -> Attempt:
    if attempt.state is not AttemptState.CONFIRMING:
        return attempt
    return structs.replace(attempt, cancel_reason=reason)


def _unclear(order: Order, attempt: Attempt, context: Context, *, stored: bool) -> Order:
    """Send the same key again while that is allowed; else cancel the intent, whose answer is conclusive."""
    intent = order.intent
    assert intent is not None
    if not holds(intent, context, TaskKind.CONFIRM):
        return order  # the confirm is no longer in flight: the intent is being retrieved, or is settled
    if stored or not may_send(order, attempt, context.now):
        return _unclear_for_good(order, attempt, context)
    return _sent_again(moved(order, attempt, Trigger.UNCLEAR, context), attempt, context)


def _sent_again(order: Order, attempt: Attempt, context: Context) -> Order:
    again = structs.replace(attempt, sends=attempt.sends + 1, last_sent=context.now)
    task = in_flight(TaskKind.CONFIRM, context, resend_delay(attempt.sends))
    return with_intent(with_attempt(order, again), task=task)


def _unclear_for_good(order: Order, attempt: Attempt, context: Context) -> Order:
    attempt = _cancelled_for(attempt, CancelReason.UNCLEAR)
    return moved(order, attempt, Trigger.UNCLEAR_FOR_GOOD, context)


def _withheld(order: Order, attempt: Attempt, context: Context) -> Order:
    if attempt.state is not AttemptState.CONFIRMING:
        return moved(order, attempt, Trigger.WITHHELD, context)
    if may_send(order, attempt, context.now):
        intent = order.intent
        assert intent is not None
        order = moved(order, attempt, Trigger.WITHHELD, context)
        if not holds(intent, context, TaskKind.CONFIRM):
            return order  # a process that took the attempt over retrieves the intent first
        return with_intent(order, task=returned(intent.task, context))
    if attempt.sends > 1:
        return _unclear_for_good(order, attempt, context)
    refused = structs.replace(attempt, refusal=RefusalReason.WITHHELD)
    return moved(order, refused, Trigger.WITHHELD_UNPAYABLE, context)


# ------------------------------------------------------------------------------------------------------------- a create


def _create_error_stored(order: Order, context: Context) -> Order:
    """Use the intent of the next number. If the create made one, that was never confirmed: a confirm needs an id."""
    assert order.payment is not None
    assert order.payment.intent is not None
    following = numbered_intent(order, order.payment.intent.number + 1, context)
    attempt = order.unsettled
    order = structs.replace(order, payment=structs.replace(order.payment, intent=following))
    if attempt is None:
        return order
    attempt = structs.replace(attempt, intent=following.number)
    order = with_attempt(order, attempt)
    if attempt.state is AttemptState.CONFIRMING and may_send(order, attempt, context.now):
        return _sent_again(order, attempt, context)
    return _never_confirmed(order, attempt, RefusalReason.WITHHELD, None, context)


def _create_refused(order: Order, message: CreateRefused, context: Context) -> Order:
    attempt = order.unsettled
    if attempt is None:
        return with_intent(order, task=None)
    return _never_confirmed(order, attempt, message.reason, message.text, context)


def _never_confirmed(
    order: Order, attempt: Attempt, reason: RefusalReason, text: str | None, context: Context
) -> Order:
    """No intent was made, so none was confirmed: nothing can have been charged."""
    order = with_intent(order, task=None)
    if attempt.state is AttemptState.CONFIRMING:
        refused = structs.replace(attempt, refusal=reason, text=text)
        return moved(order, refused, Trigger.REFUSED, context)
    return _attempt_canceled(order, attempt, context)


# --------------------------------------------------------------------------------------------------- a retrieved intent


def _retrieved(order: Order, message: IntentRetrieved, context: Context) -> Order:
    if message.charge is not None:
        return _succeeded(order, message.intent, message.charge, context)
    attempt = order.unsettled
    if message.status is IntentStatus.CANCELED:
        order = with_intent(order, state=IntentState.CANCELED, task=None)
        return order if attempt is None else _attempt_canceled(order, attempt, context)
    intent = order.intent
    assert intent is not None
    expected = holds(intent, context, TaskKind.RETRIEVE, TaskKind.CANCEL)
    if attempt is None:
        return at_rest(order, context, delay=LONGEST_RESEND_DELAY) if expected else order
    match attempt.state:
        case AttemptState.CONFIRMING if message.attempt == attempt.number:
            # Another card may have changed the state, and an earlier send may still charge: only a cancel proves it.
            return _unclear_for_good(order, attempt, context)
        case AttemptState.CONFIRMING if expected:
            # This process has taken the attempt over, and retrieved the intent before it sends again.
            if not may_send(order, attempt, context.now):
                return _unclear_for_good(order, attempt, context)
            return _sent_again(moved(order, attempt, Trigger.OPEN, context), attempt, context)
        case AttemptState.AWAITING if expected:
            return _retrieved_awaiting(order, attempt, message, context)
        case AttemptState.CANCELLING if expected:
            order = moved(order, attempt, Trigger.OPEN, context)
            return with_intent(order, task=in_flight(TaskKind.CANCEL, context, LONGEST_RESEND_DELAY))
        case _:
            return order


def _retrieved_awaiting(order: Order, attempt: Attempt, message: IntentRetrieved, context: Context) -> Order:
    if message.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
        failure = message.failure
        failed = structs.replace(
            attempt,
            code="authentication_required",
            decline_code=(failure.decline_code or failure.code) if failure else "authentication_required",
            text=failure.text if failure else CANCEL_TEXTS[CancelReason.AUTHENTICATION_FAILED],
        )
        return moved(order, failed, Trigger.FAILED, context)
    if not order.open_at(context.now):
        ended = structs.replace(attempt, cancel_reason=CancelReason.AUTHENTICATION_FAILED)
        return moved(order, ended, Trigger.EXPIRED, context)
    order = moved(order, attempt, Trigger.OPEN, context)
    return with_intent(order, task=recheck_later(next_retrieval(order, attempt, context.now), context))


def _attempt_canceled(order: Order, attempt: Attempt, context: Context) -> Order:
    """The attempt's intent is canceled and can never charge, so the attempt is declined or closed."""
    if not order.open_at(context.now):
        return moved(order, attempt, Trigger.CANCELED_UNPAYABLE, context)
    awaited = attempt.state is not AttemptState.CONFIRMING
    reason = attempt.cancel_reason or (CancelReason.AUTHENTICATION_FAILED if awaited else CancelReason.UNCLEAR)
    declined = structs.replace(attempt, code=reason.value, decline_code=reason.value, text=CANCEL_TEXTS[reason])
    return moved(order, declined, Trigger.CANCELED, context)


# ------------------------------------------------------------------------------------------------------------ a success


def _succeeded(order: Order, number: int, charge: ChargeFacts, context: Context, *, replayed: bool = False) -> Order:
    """Record a success with the intent's attempt that has the charge, else the unsettled one, else the last."""
    intent = order.intent
    assert intent is not None
    mine = [attempt for attempt in order.attempts if attempt.intent == number]
    known = with_charge(order, charge.charge_id)
    if not mine:
        # The intent was created before the first request to charge, and that request will find the charge itself.
        return with_intent(order, task=None) if holds(intent, context, TaskKind.CREATE) else order
    attempt = mine[-1]  # the one that is unsettled, or has charged, is always the last
    if known is not None and known is not attempt:
        return _create_stopped(order, intent, context)
    if known is not None:
        # The attempt has this charge already: only a partial refund or a dispute can be new.
        return with_attempt(order, _with_facts(attempt, charge))
    if attempt.state in CHARGED:
        return order
    if replayed:
        # The answer is about the past, and the charge may have been refunded since: the order counts as paid once the
        # intent was retrieved.
        return with_intent(moved(order, attempt, Trigger.REPLAYED, context), task=in_flight(TaskKind.RETRIEVE, context))
    if intent.number == number:
        order = with_intent(order, state=IntentState.SUCCEEDED, task=None)
    return _charged(order, attempt, charge, context)


def _create_stopped(order: Order, intent: Intent, context: Context) -> Order:
    """The list before a create found a charge of another attempt: the create waits until that charge is given back.

    Without the wait the same effect would stay pending, and be released again at once.
    """
    if intent.task is None or not holds(intent, context, intent.task.kind):
        return order
    return with_intent(order, task=recheck_later(context.now + LONGEST_RESEND_DELAY, context))


def _charged(order: Order, attempt: Attempt, charge: ChargeFacts, context: Context) -> Order:
    """The first charge of an order that is not cancelled is kept; every other one is refunded."""
    attempt = _with_facts(structs.replace(attempt, charge_id=charge.charge_id), charge)
    if charge.refunded:
        return moved(order, attempt, Trigger.GIVEN_BACK, context)
    if order.cancelled or order.kept is not None:
        return moved(order, attempt, Trigger.UNWANTED, context)
    order = moved(order, attempt, Trigger.SUCCEEDED, context)
    assert order.payment is not None
    event = OutboxEvent(PAYMENT_CREATED, charge.charge_id)
    payment = structs.replace(order.payment, kept=attempt.number)
    return next_publication(structs.replace(order, payment=payment, outbox=(*order.outbox, event)), context)


def _with_facts(attempt: Attempt, charge: ChargeFacts) -> Attempt:
    """Record a partial refund or a dispute of a charge. The order stays paid; a cancel refunds the rest.

    Neither fact is removed again: a late answer may be older than what is recorded.
    """
    partly = 0 if charge.refunded else charge.amount_refunded
    return structs.replace(
        attempt,
        amount_refunded=max(attempt.amount_refunded, partly),
        disputed=attempt.disputed or charge.disputed,
    )


# ------------------------------------------------------------------------------------------ a charge of release 0.1.0


def charges_listed(order: Order, message: ChargesListed, context: Context) -> Order:
    """Returns the order after a list of its charges, for an attempt of release 0.1.0.

    Listed charges are recorded. An attempt without one is closed once it can charge no more.
    """
    for listed in message.charges:
        found = numbered(order, listed.attempt)
        known = with_charge(order, listed.charge.charge_id)
        if known is None and found is not None and found.intent == 0 and found.charge_id is None:
            order = _charged(order, found, listed.charge, context)
    attempt = numbered(order, message.attempt)
    if attempt is None or attempt.intent != 0 or attempt.charge_id is not None:
        return order
    if context.now >= attempt.last_sent + CHARGE_LIFE:
        return moved(order, attempt, Trigger.NOT_LISTED_OLD, context)
    if attempt.state is AttemptState.CHARGING:
        attempt = structs.replace(attempt, task=recheck_later(next_list(attempt, context.now), context))
    return moved(order, attempt, Trigger.NOT_LISTED, context)
