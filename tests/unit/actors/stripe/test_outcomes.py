"""The steps of each effect, and what each outcome of a step leads to, as a table."""

from datetime import UTC, datetime

import pytest
from msgspec import structs

from payment.actors.stripe.outcomes import (
    CHARGE_PENDING_AGAIN_S,
    CallStep,
    EffectProgress,
    End,
    Outcome,
    Result,
    carried_over,
    first_progress,
    result_of,
    step_of,
    to_be_written,
    undone,
)
from payment.core.effects import (
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    RecheckRefund,
    RetrieveIntent,
    StripeEffect,
)
from payment.core.messages import (
    ActionRequired,
    Authentication,
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
    Failure,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    ListedCharge,
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundRechecked,
    RefusalReason,
    RetrieveReason,
)
from payment.ports.cards import (
    Blocked,
    ChargedBack,
    Charges,
    Declined,
    Handover,
    IntentAnswer,
    NextAction,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    Refused,
    Unclear,
    UnexpectedState,
)
from tests.unit.actors.stripe.stripe_world import CARD, LONG_AGO, finding_refund, intent, listing, refunding

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
CONFIRM = ConfirmIntent(intent(), 2, 3, CARD, Authentication(), NOON, NOON, NOON)
OLD = ConfirmIntent(intent(list_after=LONG_AGO), 2, 3, CARD, Authentication(), NOON, NOON, NOON)
CREATE, RETRIEVE, CANCEL = CreateIntent(intent(), NOON), RetrieveIntent(intent()), CancelIntent(intent(), NOON)
OF_INTENT: tuple[ConfirmIntent | CreateIntent | RetrieveIntent | CancelIntent, ...] = (
    CONFIRM,
    CREATE,
    RETRIEVE,
    CANCEL,
)
LIST, REFUND, FIND_REFUND = listing(), refunding(), finding_refund()
RECHECK = RecheckRefund("o1", "ch_1", 1999, "re_1")
RECHECK_LOST = RecheckRefund("o1", "ch_1", 1999, "du_1", charged_back=True)

NEW, AGED = EffectProgress(), EffectProgress(must_list=True)
KNOWN = EffectProgress("pi_1")
MAYBE = structs.replace(KNOWN, confirm_maybe_sent=True)
AFTER_CANCEL = structs.replace(KNOWN, retrieve_for=RetrieveReason.CANCEL)
UNEXPECTED = structs.replace(MAYBE, retrieve_for=RetrieveReason.UNEXPECTED_STATE)

CHARGE, GIVEN_BACK = ChargeFacts("ch_1"), ChargeFacts("ch_0", refunded=True)
FAILURE = Failure("card_declined", "lost_card", "lost")
HANDOVER = Handover("pi_1_secret_x", NextAction())
PAID = IntentAnswer("pi_1", IntentStatus.SUCCEEDED, CHARGE)
ASKS = IntentAnswer("pi_1", IntentStatus.REQUIRES_ACTION, handover=HANDOVER)
OPEN = IntentAnswer("pi_1", IntentStatus.REQUIRES_PAYMENT_METHOD, failure=FAILURE)
CANCELED = IntentAnswer("pi_1", IntentStatus.CANCELED)


def retrieved(reason: RetrieveReason, shown: IntentAnswer, attempt: int | None = None) -> IntentRetrieved:
    return IntentRetrieved("o1", 1, "pi_1", reason, shown.status, shown.charge, shown.failure, attempt)


def failed(name: str) -> RefundRechecked:
    text = f"the refund has failed: {name}"
    return RefundRechecked("o1", "ch_1", name, stands=False, text=text)


def not_lost(name: str) -> RefundRechecked:
    text = f"the dispute is lost no longer: {name}"
    return RefundRechecked("o1", "ch_1", name, stands=False, text=text)


@pytest.mark.parametrize(
    ("effect", "progress", "step"),
    [
        *((effect, NEW, CallStep.CREATE) for effect in OF_INTENT),
        *((effect, AGED, CallStep.LIST) for effect in OF_INTENT),
        *((effect, structs.replace(AGED, listed=True), CallStep.CREATE) for effect in OF_INTENT),
        (CONFIRM, KNOWN, CallStep.CONFIRM),
        (CONFIRM, structs.replace(KNOWN, must_list=True), CallStep.CONFIRM),
        (CONFIRM, UNEXPECTED, CallStep.RETRIEVE),
        (CREATE, KNOWN, CallStep.CREATE),
        (RETRIEVE, KNOWN, CallStep.RETRIEVE),
        (CANCEL, KNOWN, CallStep.CANCEL),
        (CANCEL, AFTER_CANCEL, CallStep.RETRIEVE),
        (LIST, NEW, CallStep.LIST),
        (REFUND, NEW, CallStep.REFUND),
        (FIND_REFUND, NEW, CallStep.FIND_REFUND),
        (RECHECK, NEW, CallStep.FIND_REFUND),
    ],
)
def test_the_next_step_follows_from_the_effect_and_its_progress(
    effect: StripeEffect, progress: EffectProgress, step: CallStep
) -> None:
    """A list only before a create, and a create only where the intent's id is not known."""
    assert step_of(effect, progress) is step


@pytest.mark.parametrize(
    ("effect", "progress", "outcome", "message"),
    [
        (CREATE, NEW, OPEN, IntentPrepared("o1", 1, "pi_1")),
        *(
            (e, NEW, Refused(RefusalReason.AMOUNT, "t"), CreateRefused("o1", 1, RefusalReason.AMOUNT, "t"))
            for e in OF_INTENT
        ),
        *((e, NEW, Unclear("t", stored=True), CreateErrorStored("o1", 1)) for e in OF_INTENT),
        (CONFIRM, NEW, Unclear("t"), ConfirmUnclear("o1", 2, 3, 1, None)),
        (CONFIRM, KNOWN, PAID, IntentSucceeded("o1", 1, "pi_1", CHARGE)),
        (CONFIRM, MAYBE, PAID, IntentSucceeded("o1", 1, "pi_1", CHARGE)),
        (CONFIRM, KNOWN, structs.replace(PAID, replayed=True), IntentSucceeded("o1", 1, "pi_1", CHARGE, replayed=True)),
        (CONFIRM, KNOWN, IntentAnswer("pi_1", IntentStatus.SUCCEEDED), ConfirmUnclear("o1", 2, 3, 1, "pi_1")),
        (CONFIRM, KNOWN, OPEN, ConfirmUnclear("o1", 2, 3, 1, "pi_1")),
        (CONFIRM, KNOWN, CANCELED, ConfirmUnclear("o1", 2, 3, 1, "pi_1")),
        (
            CONFIRM,
            KNOWN,
            IntentAnswer("pi_1", IntentStatus.PROCESSING),
            ActionRequired("o1", 2, 1, "pi_1", processing=True),
        ),
        (CONFIRM, KNOWN, Declined(FAILURE), CardDeclined("o1", 2, 1, "pi_1", FAILURE)),
        (
            CONFIRM,
            KNOWN,
            Refused(RefusalReason.TOKEN, "t"),
            ConfirmRefused("o1", 2, 3, 1, "pi_1", RefusalReason.TOKEN, "t"),
        ),
        (CONFIRM, KNOWN, Unclear("t"), ConfirmUnclear("o1", 2, 3, 1, "pi_1")),
        (CONFIRM, KNOWN, Unclear("t", stored=True), ConfirmUnclear("o1", 2, 3, 1, "pi_1", stored=True)),
        (CONFIRM, UNEXPECTED, PAID, retrieved(RetrieveReason.UNEXPECTED_STATE, PAID, 2)),
        (CONFIRM, UNEXPECTED, ASKS, retrieved(RetrieveReason.UNEXPECTED_STATE, ASKS, 2)),
        (RETRIEVE, KNOWN, PAID, retrieved(RetrieveReason.RECHECK, PAID)),
        (RETRIEVE, KNOWN, OPEN, retrieved(RetrieveReason.RECHECK, OPEN)),
        (CANCEL, KNOWN, CANCELED, retrieved(RetrieveReason.CANCEL, CANCELED)),
        (CANCEL, AFTER_CANCEL, PAID, retrieved(RetrieveReason.CANCEL, PAID)),
        (CANCEL, AFTER_CANCEL, ASKS, retrieved(RetrieveReason.CANCEL, ASKS)),
        (LIST, NEW, Charges((ListedCharge(CHARGE, 1),)), ChargesListed("o1", 1, (ListedCharge(CHARGE, 1),))),
        (REFUND, NEW, Refunded("re_1"), ChargeRefunded("o1", "ch_1", "re_1")),
        (REFUND, NEW, Blocked("t", "re_1"), RefundBlocked("o1", "ch_1", "re_1", "t")),
        (REFUND, NEW, Unclear("t", stored=True), RefundErrorStored("o1", "ch_1", "r1")),
        (FIND_REFUND, NEW, Refunded("re_1"), ChargeRefunded("o1", "ch_1", "re_1")),
        (FIND_REFUND, NEW, Blocked("t"), RefundBlocked("o1", "ch_1", None, "t")),
        (FIND_REFUND, NEW, NotRefunded(), RefundNotFound("o1", "ch_1", "r1")),
        *(
            (each, NEW, ChargedBack("du_1", "t"), DisputeLost("o1", "ch_1", "du_1", "t"))
            for each in (REFUND, FIND_REFUND)
        ),
        (RECHECK, NEW, Refunded("re_1"), RefundRechecked("o1", "ch_1", "re_1", stands=True)),
        (RECHECK, NEW, Blocked("t"), RefundRechecked("o1", "ch_1", "re_1", stands=False, text="t")),
        *((RECHECK, NEW, each, failed("re_1")) for each in (Refunded("re_2"), ChargedBack("du_1"), NotRefunded())),
        (RECHECK_LOST, NEW, ChargedBack("du_2"), RefundRechecked("o1", "ch_1", "du_1", stands=True)),
        *((RECHECK_LOST, NEW, each, not_lost("du_1")) for each in (Refunded("re_2"), NotRefunded())),
    ],
)
def test_an_outcome_that_ends_an_effect_becomes_its_message(
    effect: StripeEffect, progress: EffectProgress, outcome: Outcome, message: Message
) -> None:
    """F12, F15: and no secret goes with it."""
    assert result_of(effect, progress, outcome) == End(message)


@pytest.mark.parametrize(
    ("effect", "progress", "outcome", "result"),
    [
        (CONFIRM, NEW, OPEN, KNOWN),
        (CONFIRM, NEW, structs.replace(PAID, replayed=True), KNOWN),
        (CONFIRM, NEW, structs.replace(CANCELED, replayed=True), KNOWN),
        (CANCEL, NEW, structs.replace(CANCELED, replayed=True), KNOWN),
        (RETRIEVE, NEW, structs.replace(PAID, replayed=True), KNOWN),
        (CONFIRM, KNOWN, UnexpectedState("t"), UNEXPECTED),
        (CANCEL, KNOWN, UnexpectedState("t"), AFTER_CANCEL),
        (CANCEL, KNOWN, Unclear("t"), AFTER_CANCEL),
        (CANCEL, KNOWN, PAID, AFTER_CANCEL),
        (CREATE, NEW, Unclear("t"), None),
        (RETRIEVE, NEW, Unclear("t"), None),
        (CANCEL, NEW, Unclear("t"), None),
        (RETRIEVE, KNOWN, Unclear("t"), None),
        (CONFIRM, UNEXPECTED, Unclear("t"), None),
        (CANCEL, AFTER_CANCEL, Unclear("t"), None),
        (LIST, NEW, Unclear("t"), None),
        (REFUND, NEW, Unclear("t"), None),
        (FIND_REFUND, NEW, Unclear("t", stored=True), None),
        (RECHECK, NEW, Unclear("t"), None),
        *(
            (effect, NEW, NotYet(Obstacle.LOCKED, "t"), NotYet(Obstacle.LOCKED, "t"))
            for effect in (*OF_INTENT, LIST, REFUND)
        ),
    ],
)
def test_other_outcomes_lead_to_the_next_step_or_to_a_repetition(
    effect: StripeEffect, progress: EffectProgress, outcome: Outcome, result: Result
) -> None:
    """The status that a create answers is no evidence: it may be days old. A retrieve is repeated until it is read."""
    assert result_of(effect, progress, outcome) == result


@pytest.mark.parametrize("effect", OF_INTENT)
def test_a_create_under_an_old_key_is_preceded_by_a_list(
    effect: ConfirmIntent | CreateIntent | RetrieveIntent | CancelIntent,
) -> None:
    """A succeeded charge that is kept ends it; one that is processing is waited for; refunded ones stop nothing."""
    found = Charges((ListedCharge(GIVEN_BACK, 1), ListedCharge(CHARGE, 2)), pending=True)
    assert result_of(effect, AGED, found) == End(IntentSucceeded("o1", 1, None, CHARGE))
    waiting = result_of(effect, AGED, Charges((ListedCharge(GIVEN_BACK, 1),), pending=True))
    assert isinstance(waiting, NotYet)
    assert (waiting.obstacle, waiting.retry_after_s) == (Obstacle.CHARGE_PENDING, CHARGE_PENDING_AGAIN_S)
    assert result_of(effect, AGED, Charges((ListedCharge(GIVEN_BACK, 1),))) == structs.replace(AGED, listed=True)
    assert isinstance(result_of(effect, AGED, Charges((), pending=True)), NotYet)
    assert result_of(effect, AGED, Unclear("t")) is None


def test_the_handover_goes_with_the_two_messages_that_may_reach_the_owner() -> None:
    """Not with a replay, for the intent may have moved on since; nor with a retrieve that has another reason."""
    asked = result_of(CONFIRM, KNOWN, ASKS)
    assert asked == End(ActionRequired("o1", 2, 1, "pi_1"), HANDOVER)
    assert "secret" not in repr(asked)
    replayed = result_of(CONFIRM, KNOWN, structs.replace(ASKS, replayed=True))
    assert replayed == End(ActionRequired("o1", 2, 1, "pi_1", replayed=True))
    assert result_of(RETRIEVE, KNOWN, ASKS) == End(retrieved(RetrieveReason.RECHECK, ASKS), HANDOVER)
    assert result_of(CANCEL, AFTER_CANCEL, ASKS) == End(retrieved(RetrieveReason.CANCEL, ASKS))


def test_a_refusal_is_no_proof_where_another_request_had_the_key() -> None:
    """F13: a refusal of this request proves nothing about the one that Stripe was executing (409)."""
    refused = Refused(RefusalReason.TOKEN_USED, "t")
    assert result_of(CONFIRM, MAYBE, refused) == End(ConfirmUnclear("o1", 2, 3, 1, "pi_1"))
    first = structs.replace(CONFIRM, send=1)
    assert result_of(first, MAYBE, refused) == End(ConfirmUnclear("o1", 2, 1, 1, "pi_1"))


def test_an_old_orders_id_is_written_before_its_confirm_alone() -> None:
    """F34: and only where the document does not have it."""
    assert to_be_written(OLD, KNOWN) == IntentCreated("o1", 2, 3, 1, "pi_1")
    assert to_be_written(OLD, NEW) is None
    assert to_be_written(structs.replace(OLD, intent=intent(intent_id="pi_1", list_after=LONG_AGO)), KNOWN) is None
    for effect in (*OF_INTENT, LIST, REFUND):
        assert to_be_written(effect, KNOWN) is None


def test_an_effect_given_back_counts_as_never_sent_only_if_it_was_not() -> None:
    """F33."""
    assert undone(CONFIRM, NEW) == ConfirmWithheld("o1", 2, 3, 1)
    assert undone(CONFIRM, KNOWN) == ConfirmWithheld("o1", 2, 3, 1, "pi_1")
    assert undone(CONFIRM, MAYBE) == ConfirmUnclear("o1", 2, 3, 1, "pi_1")
    assert undone(CONFIRM, UNEXPECTED) == ConfirmUnclear("o1", 2, 3, 1, "pi_1")
    for effect in (CREATE, RETRIEVE, CANCEL, LIST, REFUND, FIND_REFUND, RECHECK):
        assert undone(effect, KNOWN) == EffectReturned("o1", effect.id)


def test_a_newer_release_keeps_what_is_known_of_the_same_intent_alone() -> None:
    """Another number is another intent; that a confirm may have been sent stays true."""
    again = structs.replace(CONFIRM, send=4)
    assert carried_over(MAYBE, CONFIRM, again) == MAYBE
    other = structs.replace(CONFIRM, intent=intent(number=2))
    assert carried_over(MAYBE, CONFIRM, other) == EffectProgress(confirm_maybe_sent=True)
    assert carried_over(NEW, LIST, LIST) == NEW
    assert first_progress(structs.replace(CONFIRM, intent=intent(intent_id="pi_9"))) == EffectProgress("pi_9")


@pytest.mark.parametrize(
    ("effect", "progress", "outcome"),
    [(CONFIRM, KNOWN, Refunded("re_1")), (CREATE, NEW, Declined(FAILURE)), (CONFIRM, NEW, UnexpectedState("t"))],
)
def test_an_outcome_of_another_call_is_a_bug(effect: StripeEffect, progress: EffectProgress, outcome: Outcome) -> None:
    """An actor that meets it dies."""
    with pytest.raises(AssertionError, match="can't end as"):
        result_of(effect, progress, outcome)


def test_a_step_on_an_intent_without_an_id_is_a_bug() -> None:
    """An actor that meets it dies, before the ledger receives an intent without an id."""
    with pytest.raises(AssertionError, match="needs the intent's id"):
        result_of(CANCEL, EffectProgress(retrieve_for=RetrieveReason.CANCEL), PAID)
