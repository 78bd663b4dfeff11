"""The steps of an effect, and what each step's outcome leads to. Pure.

It must never conclude anything from a missing answer, nor from a refusal that may answer another send than this one.
Change together: the outcomes in `payment.ports.cards`, the messages in `payment.core.messages`, and the tests' table.

    effect          steps
    ConfirmIntent   [list] [create] confirm [retrieve]    retrieve: Stripe refused the confirm for the intent's state;
                                                          it ends after the create where the id is to be written first
    CreateIntent    [list] create
    RetrieveIntent  [list] [create] retrieve
    CancelIntent    [list] [create] cancel [retrieve]     retrieve: the cancel was not answered with `canceled`
    ListCharges     list
    RefundCharge    refund
    FindRefund      find refund
    RecheckRefund   find refund

A create is left out where the intent's id is known, and a list where the key is younger than Stripe keeps keys.
"""

import enum
from typing import Final, assert_never

from msgspec import Struct, structs

from payment.core.effects import (
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    FindRefund,
    IntentEffect,
    IntentReference,
    ListCharges,
    RecheckRefund,
    RefundCharge,
    RetrieveIntent,
    StripeEffect,
)
from payment.core.messages import (
    ActionRequired,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargesListed,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    CreateErrorStored,
    CreateRefused,
    DisputeLost,
    EffectReturned,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundRechecked,
    RetrieveReason,
)
from payment.ports.cards import (
    Blocked,
    CancelOutcome,
    ChargedBack,
    Charges,
    ConfirmOutcome,
    CreateOutcome,
    Declined,
    FindRefundOutcome,
    Handover,
    IntentAnswer,
    ListOutcome,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    RefundOutcome,
    Refused,
    RetrieveOutcome,
    Unclear,
    UnexpectedState,
)

CHARGE_PENDING_AGAIN_S = 30.0
"""Before the charges of an order are listed again while one of them is processing: banks decide within minutes."""

Outcome = (
    CreateOutcome | ConfirmOutcome | RetrieveOutcome | CancelOutcome | ListOutcome | RefundOutcome | FindRefundOutcome
)

REFUSALS: Final = (Obstacle.RATE_LIMITED, Obstacle.KEY_REFUSED)
"""Obstacles that concern all requests, unless Stripe answers others: then they are one order's."""

SETTLING: Final = (IntentSucceeded, CardDeclined, ChargeRefunded, DisputeLost)
"""After these the same request with the same key would only bring the same answer."""


class CallStep(enum.Enum):
    """One call to Stripe."""

    LIST = "list"
    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    REFUND = "refund"
    FIND_REFUND = "find_refund"


class EffectProgress(Struct, frozen=True):
    """How far an effect has come."""

    intent_id: str | None = None
    must_list: bool = False
    """Stripe may have forgotten the create's key: the order's charges come first."""
    listed: bool = False
    retrieve_for: RetrieveReason | None = None
    """Why the intent is retrieved now instead of the effect's own last step."""
    confirm_maybe_sent: bool = False
    """Stripe knows an earlier request with the confirm's key: this send can't be reported as never made."""


class End(Struct, frozen=True):
    """The effect is completed. `handover` goes with the message to the ledger, and nowhere else."""

    message: Message
    handover: Handover | None = None


Result = End | EffectProgress | NotYet | None
"""EffectProgress: the next step follows. NotYet: the call did nothing and is made again. None: it is safe to repeat."""


def first_progress(effect: StripeEffect) -> EffectProgress:
    """Returns the progress of an effect that was just released."""
    return EffectProgress(effect.intent.id) if isinstance(effect, IntentEffect) else EffectProgress()


def carried_over(progress: EffectProgress, old: StripeEffect, new: StripeEffect) -> EffectProgress:
    """Returns the progress of a newer effect with the same id: it keeps what is known of the same intent."""
    if isinstance(old, IntentEffect) and isinstance(new, IntentEffect) and old.intent.key == new.intent.key:
        return structs.replace(progress, intent_id=new.intent.id or progress.intent_id)
    return structs.replace(first_progress(new), confirm_maybe_sent=progress.confirm_maybe_sent)


def step_of(effect: StripeEffect, progress: EffectProgress) -> CallStep:
    """Returns the step that comes next."""
    match effect:
        case ListCharges():
            return CallStep.LIST
        case RefundCharge():
            return CallStep.REFUND
        case FindRefund() | RecheckRefund():
            return CallStep.FIND_REFUND
        case _ if progress.retrieve_for is not None:
            return CallStep.RETRIEVE
        case CreateIntent() | ConfirmIntent() | RetrieveIntent() | CancelIntent() if progress.intent_id is None:
            return CallStep.LIST if progress.must_list and not progress.listed else CallStep.CREATE
        case ConfirmIntent():
            return CallStep.CONFIRM
        case RetrieveIntent():
            return CallStep.RETRIEVE
        case CancelIntent():
            return CallStep.CANCEL
        case CreateIntent():
            return CallStep.CREATE
        case _:
            assert_never(effect)


def result_of(effect: StripeEffect, progress: EffectProgress, outcome: Outcome) -> Result:
    """Returns what a step's outcome leads to.

    Raises:
        AssertionError: the outcome is none of this step's. A bug of ours: the actor that meets it ends.
    """
    if isinstance(outcome, NotYet):
        return outcome
    match effect:
        case ListCharges():
            charges = outcome.charges if isinstance(outcome, Charges) else None
            return None if charges is None else End(ChargesListed(effect.order_id, effect.attempt, charges))
        case RefundCharge() | FindRefund():
            return _after_refund(effect, outcome)
        case RecheckRefund():
            return _after_recheck(effect, outcome)
    match step_of(effect, progress):
        case CallStep.LIST:
            return _after_list(effect.intent, progress, outcome)
        case CallStep.CREATE:
            return _after_create(effect, progress, outcome)
        case CallStep.CONFIRM if isinstance(effect, ConfirmIntent):
            return _after_confirm(effect, progress, outcome)
        case CallStep.CANCEL:
            return _after_cancel(effect, progress, outcome)
        case _:
            return _after_retrieve(effect, progress, outcome)


def undone(effect: StripeEffect, progress: EffectProgress) -> Message:
    """Returns the message for an effect that is given back: of a confirm, whether this send may have been made."""
    if not isinstance(effect, ConfirmIntent):
        return EffectReturned(effect.order_id, effect.id)
    if progress.confirm_maybe_sent:
        return _unclear(effect, progress)
    number = effect.intent.number
    return ConfirmWithheld(effect.order_id, effect.attempt, effect.send, number, progress.intent_id)


def to_be_written(effect: StripeEffect, progress: EffectProgress) -> IntentCreated | None:
    """Returns the message that ends a confirm before its call, where its intent's id must be in the document first."""
    if not isinstance(effect, ConfirmIntent) or not effect.id_first or progress.intent_id is None:
        return None
    return IntentCreated(effect.order_id, effect.attempt, effect.send, effect.intent.number, progress.intent_id)


def _after_list(intent: IntentReference, progress: EffectProgress, outcome: Outcome) -> Result:
    if not isinstance(outcome, Charges):
        return None
    kept = next((listed.charge for listed in outcome.charges if not listed.charge.refunded), None)
    if kept is not None:
        return End(IntentSucceeded(intent.order_id, intent.number, None, kept))
    if outcome.pending:
        return NotYet(Obstacle.CHARGE_PENDING, "a charge is processing", retry_after_s=CHARGE_PENDING_AGAIN_S)
    return structs.replace(progress, listed=True)


def _after_create(effect: IntentEffect, progress: EffectProgress, outcome: Outcome) -> Result:
    order_id, number = effect.intent.order_id, effect.intent.number
    match outcome:
        case IntentAnswer() if isinstance(effect, CreateIntent):
            return End(IntentPrepared(order_id, number, outcome.id))
        case IntentAnswer():
            # Its status is what was stored at the first create, hence no evidence: the next step follows all the same.
            return structs.replace(progress, intent_id=outcome.id)
        case Refused():
            return End(CreateRefused(order_id, number, outcome.reason, outcome.text))
        case Unclear(stored=True):
            return End(CreateErrorStored(order_id, number))
        case Unclear():
            return End(_unclear(effect, progress)) if isinstance(effect, ConfirmIntent) else None
        case _:
            raise _not_of(CallStep.CREATE, outcome)


def _after_confirm(effect: ConfirmIntent, progress: EffectProgress, outcome: Outcome) -> Result:
    order_id, attempt, number = effect.intent.order_id, effect.attempt, effect.intent.number
    intent_id = _known(progress)
    match outcome:
        case IntentAnswer(status=IntentStatus.SUCCEEDED, charge=ChargeFacts() as charge):
            return End(IntentSucceeded(order_id, number, intent_id, charge, outcome.replayed))
        case IntentAnswer(status=IntentStatus.REQUIRES_ACTION | IntentStatus.PROCESSING):
            processing = outcome.status is IntentStatus.PROCESSING
            message = ActionRequired(order_id, attempt, number, intent_id, processing, outcome.replayed)
            return End(message, None if outcome.replayed else outcome.handover)
        case Declined():
            return End(CardDeclined(order_id, attempt, number, intent_id, outcome.failure))
        case Refused() if not progress.confirm_maybe_sent:
            return End(ConfirmRefused(order_id, attempt, effect.send, number, intent_id, outcome.reason, outcome.text))
        case UnexpectedState():
            return structs.replace(progress, retrieve_for=RetrieveReason.UNEXPECTED_STATE, confirm_maybe_sent=True)
        case Unclear():
            return End(_unclear(effect, progress, stored=outcome.stored))
        case IntentAnswer() | Refused():
            # A refusal proves nothing about an earlier request with this key: the ledger commits the next send first.
            return End(_unclear(effect, progress))
        case _:
            raise _not_of(CallStep.CONFIRM, outcome)


def _after_cancel(effect: IntentEffect, progress: EffectProgress, outcome: Outcome) -> Result:
    if isinstance(outcome, IntentAnswer) and outcome.status is IntentStatus.CANCELED:
        return End(_retrieved(effect, RetrieveReason.CANCEL, progress, outcome))
    return structs.replace(progress, retrieve_for=RetrieveReason.CANCEL)


def _after_retrieve(effect: IntentEffect, progress: EffectProgress, outcome: Outcome) -> Result:
    if not isinstance(outcome, IntentAnswer):
        return None
    reason = progress.retrieve_for or RetrieveReason.RECHECK
    handover = outcome.handover if reason is RetrieveReason.RECHECK else None
    return End(_retrieved(effect, reason, progress, outcome), handover)


def _retrieved(
    effect: IntentEffect, reason: RetrieveReason, progress: EffectProgress, intent: IntentAnswer
) -> IntentRetrieved:
    return IntentRetrieved(
        effect.order_id,
        effect.intent.number,
        _known(progress),
        reason,
        intent.status,
        intent.charge,
        intent.failure,
        attempt=effect.attempt if isinstance(effect, ConfirmIntent) else None,
    )


def _unclear(effect: ConfirmIntent, progress: EffectProgress, *, stored: bool = False) -> ConfirmUnclear:
    number = effect.intent.number
    return ConfirmUnclear(effect.order_id, effect.attempt, effect.send, number, progress.intent_id, stored)


def _after_refund(effect: RefundCharge | FindRefund, outcome: Outcome) -> End | None:
    order_id, charge_id = effect.order_id, effect.charge_id
    match outcome:
        case Refunded():
            return End(ChargeRefunded(order_id, charge_id, outcome.refund_id))
        case ChargedBack():
            return End(DisputeLost(order_id, charge_id, outcome.dispute_id, outcome.text))
        case Blocked():
            return End(RefundBlocked(order_id, charge_id, outcome.refund_id, outcome.text))
        case NotRefunded():
            return End(RefundNotFound(order_id, charge_id, effect.key))
        case Unclear(stored=True) if isinstance(effect, RefundCharge):
            return End(RefundErrorStored(order_id, charge_id, effect.key))
        case _:
            return None


def _after_recheck(effect: RecheckRefund, outcome: Outcome) -> End | None:
    """Whether what gave the charge back still holds. Later reads find what follows where it does not."""
    text: str | None = None
    match outcome:
        case Refunded(refund_id=effect.given_back_by):
            stands = True
        case ChargedBack() if effect.charged_back:
            stands = True
        case Blocked():
            stands, text = False, outcome.text
        case Refunded() | ChargedBack() | NotRefunded():
            what = "the dispute is lost no longer" if effect.charged_back else "the refund has failed"
            stands, text = False, f"{what}: {effect.given_back_by}"
        case _:
            return None
    return End(RefundRechecked(effect.order_id, effect.charge_id, effect.given_back_by, stands, text))


def _known(progress: EffectProgress) -> str:
    if progress.intent_id is None:
        raise AssertionError("a confirm, cancel or retrieve needs the intent's id")
    return progress.intent_id


def _not_of(step: CallStep, outcome: Outcome) -> AssertionError:
    return AssertionError(f"a {step.value} can't end as {type(outcome).__name__}")
