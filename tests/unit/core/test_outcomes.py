"""The protocol's table "The states of an attempt": a test for each of its rows and notes, in their order."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    PAYMENT_REFUNDED,
    CancelIntent,
    ConfirmIntent,
    FindRefund,
    PublishEvent,
    RecheckLater,
    RefundCharge,
    RetrieveIntent,
)
from payment.core.messages import (
    Authentication,
    EventPublished,
    Failure,
    IntentStatus,
    Message,
    RefusalReason,
    RetrieveReason,
)
from payment.core.order import AttemptState, CancelReason, IntentState, TaskKind
from payment.core.pending import pending
from payment.core.replies import CardWasDeclined, Conflict, OutcomePending, Paid, RequiresAction, Start
from payment.core.schedule import (
    AUTHENTICATION_LIFE,
    CONFIRM_ENDS_WITHIN,
    KEY_LIFE,
    LONGEST_RESEND_DELAY,
    LONGEST_RETRIEVAL_DELAY,
    SHORTEST_RETRIEVAL_DELAY,
)
from tests.unit.core.builders import (
    A_AGAIN,
    BY_STATE,
    CANCELED,
    CREATED_IS_OUT,
    DUE,
    OPEN,
    ORDER,
    PAYMENT,
    PROCESSING,
    RECHECK_REQUESTED,
    REQUIRES_ACTION,
    REQUIRES_CARD,
    T0,
    A,
    B,
    Story,
    action,
    awaiting,
    blocked,
    cancelled,
    cancelling,
    charge_listed,
    confirming,
    created,
    declined,
    exposed,
    given_back_by_hand,
    now_canceled,
    open_order,
    paid,
    present,
    refund_not_found,
    refunded,
    refused,
    request,
    retrieved,
    retrieved_success,
    retrieving,
    sent_twice,
    succeeded,
    taken_over,
    unclear,
    unexpected,
    withheld,
)

S = AttemptState
SUCCESSES = [succeeded(), retrieved_success(), retrieved_success(reason=RetrieveReason.CANCEL), charge_listed()]
SUCCESS_IDS = ["answer", "retrieval", "cancel", "list"]
LATE_ANSWERS = [
    action(),
    action(replayed=True),
    declined(),
    refused(send=1),
    refused(send=2),
    unclear(send=1),
    unclear(send=1, stored=True),
    withheld(),
]


def soon() -> Story:
    """Confirming, on an order that expires in half a minute."""
    return Story(created(expires_at=T0 + timedelta(seconds=30)), request())


# ------------------------------------------------------------------------------------------------------- confirming


@pytest.mark.parametrize("message", SUCCESSES, ids=SUCCESS_IDS)
def test_success_of_a_confirming_attempt_is_paid_and_published(message: Message) -> None:
    """Confirming, succeeded: paid; publish."""
    story = confirming().decide(message)
    assert (story.state(), story.doc.kept, story.attempt().charge_id) == (S.PAID, story.attempt(), "ch_1")
    event = story.one(PublishEvent)
    assert (event.subject, event.stripe_id) == (PAYMENT_CREATED, "ch_1")
    assert (story.intent.state, story.intent.task) == (IntentState.SUCCEEDED, None)


@pytest.mark.parametrize("message", SUCCESSES, ids=SUCCESS_IDS)
def test_success_of_a_confirming_attempt_on_a_cancelled_order_is_given_back(message: Message) -> None:
    """Confirming, succeeded, unwanted: refunding; refund."""
    story = confirming().decide(cancelled(), message)
    assert (story.state(), story.doc.kept, story.one(RefundCharge).charge_id) == (S.REFUNDING, None, "ch_1")


def test_success_on_an_order_that_has_only_expired_is_kept() -> None:
    """An order that has only expired keeps the charge: the platform may cancel it."""
    story = soon().dead().decide(succeeded())
    assert (story.state(), story.ask()) == (S.PAID, Paid(PAYMENT, ORDER, "ch_1", replayed=True))


def test_replayed_success_is_paid_only_after_its_charge_was_read() -> None:
    """Confirming, succeeded but replayed: a fact about the past; retrieve first."""
    story = confirming().decide(succeeded(replayed=True))
    assert (story.state(), story.one(RetrieveIntent).intent.id) == (S.CONFIRMING, "pi_1")
    assert story.decide(retrieved_success()).state() is S.PAID


def test_replayed_success_whose_charge_was_given_back_since_keeps_nothing() -> None:
    """Confirming, succeeded but replayed: the retrieval finds it refunded."""
    story = confirming().decide(succeeded(replayed=True), retrieved_success(refunded=True))
    assert (story.state(), story.doc.kept, story.doc.outbox) == (S.REFUNDING, None, ())


def test_replayed_success_of_a_settled_attempt_is_retrieved_too() -> None:
    """A settled attempt whose intent has succeeded is paid; only a retrieval shows it."""
    story = exposed().decide(succeeded(replayed=True))
    assert (story.state(), story.one(RetrieveIntent).intent.number) == (S.DECLINED, 1)
    assert story.decide(retrieved_success()).state() is S.PAID


def test_action_on_a_living_order_awaits_the_customer() -> None:
    """Confirming, requires action, order alive: awaiting; recheck later."""
    story = confirming().decide(action())
    assert (story.state(), story.intent.exposed, story.intent.id) == (S.AWAITING, True, "pi_1")
    assert story.one(RecheckLater).what == "intent"
    assert story.doc.due == T0 + SHORTEST_RETRIEVAL_DELAY
    assert story.attempt().instrument is None
    assert story.ask() == RequiresAction(PAYMENT, ORDER)


def test_replayed_action_is_retrieved_at_once() -> None:
    """Confirming, requires action, replayed: awaiting, retrieve at once."""
    story = confirming().decide(action(replayed=True))
    assert (story.state(), story.one(RetrieveIntent).intent.id) == (S.AWAITING, "pi_1")


@pytest.mark.parametrize("processing", [False, True], ids=["requires action", "processing"])
def test_action_on_a_dead_order_is_cancelled(processing: bool) -> None:
    """Confirming, requires action or processing, dead: cancelling; cancel."""
    for story in (soon().dead(), confirming().decide(cancelled())):
        story.decide(action(processing=processing))
        assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, "pi_1")
        assert story.attempt().cancel_reason is CancelReason.AUTHENTICATION_FAILED
        assert story.decide(now_canceled()).state() is S.CLOSED


def test_processing_is_awaited_and_retrieved() -> None:
    """Confirming, processing: awaiting; retrieve."""
    story = confirming().decide(action(processing=True))
    assert (story.state(), story.one(RetrieveIntent).intent.number) == (S.AWAITING, 1)
    story.decide(retrieved(PROCESSING))
    assert (story.state(), story.one(RecheckLater).what) == (S.AWAITING, "intent")


def test_decline_settles_and_the_intent_serves_the_next_attempt() -> None:
    """Confirming, 402: declined; the intent serves the next attempt."""
    story = confirming().decide(declined())
    assert (story.state(), story.attempt().decline_code, pending(story.doc)) == (S.DECLINED, "insufficient_funds", ())
    story.ask("tok_2")
    effect = story.one(ConfirmIntent)
    assert (effect.attempt, effect.intent.number, effect.intent.id) == (2, 1, "pi_1")


def test_refusal_of_the_only_send_settles_and_the_intent_serves_the_next_attempt() -> None:
    """Confirming, refused at its only send: refused; likewise."""
    story = confirming().decide(refused(send=1))
    assert (story.state(), pending(story.doc)) == (S.REFUSED, ())
    story.ask("tok_2")
    assert story.one(ConfirmIntent).intent.id == "pi_1"


@pytest.mark.parametrize(
    "message", [refused(send=2), unclear(send=2, stored=True)], ids=["refused", "error or other parameters stored"]
)
def test_refusal_of_a_later_send_proves_nothing_about_the_first(message: Message) -> None:
    """Confirming, refused at a later send, or a 5xx or other parameters stored: cancelling (unclear); cancel."""
    story = sent_twice().decide(message)
    assert (story.state(), story.attempt().cancel_reason) == (S.CANCELLING, CancelReason.UNCLEAR)
    assert story.one(CancelIntent).intent.id == "pi_1"
    assert story.decide(retrieved_success(reason=RetrieveReason.CANCEL)).state() is S.PAID


def test_refusal_of_the_first_send_after_a_second_was_counted_changes_nothing() -> None:
    """The first refusal comes late: the second send is in flight, and its answer counts."""
    story = sent_twice()
    before = story.doc
    assert story.decide(refused(send=1), unclear(send=1), withheld(send=1)).doc is before


@pytest.mark.parametrize("cancel", [False, True], ids=["wanted", "unwanted"])
def test_unexpected_state_of_an_intent_that_succeeded_is_a_success(cancel: bool) -> None:
    """`payment_intent_unexpected_state`, then the retrieval: succeeded: paid; unwanted: refunding."""
    story = confirming().decide(
        *([cancelled()] if cancel else []), retrieved_success(reason=RetrieveReason.UNEXPECTED_STATE)
    )
    assert story.state() is (S.REFUNDING if cancel else S.PAID)


def test_unexpected_state_of_a_canceled_intent_declines_and_the_next_attempt_has_the_next_intent() -> None:
    """... canceled: declined; the next attempt has the next intent."""
    story = confirming().decide(unexpected(CANCELED))
    assert (story.state(), story.attempt().code, pending(story.doc)) == (S.DECLINED, "unclear", ())
    story.ask("tok_2")
    effect = story.one(ConfirmIntent)
    assert (effect.intent.number, effect.intent.id) == (2, None)


def test_unexpected_state_of_a_canceled_intent_of_a_dead_order_closes() -> None:
    """... canceled; dead: closed."""
    assert soon().dead().decide(unexpected(CANCELED)).state() is S.CLOSED


@pytest.mark.parametrize("status", OPEN, ids=lambda status: status.value)
def test_unexpected_state_of_an_open_intent_is_cancelled(status: IntentStatus) -> None:
    """... anything else: cancelling (unclear): another card may have done it, and an earlier send may still land."""
    story = confirming().decide(unexpected(status))
    assert (story.state(), story.attempt().cancel_reason) == (S.CANCELLING, CancelReason.UNCLEAR)
    assert story.one(CancelIntent).intent.id == "pi_1"


def test_unexpected_state_of_an_earlier_attempts_confirm_changes_nothing() -> None:
    """It proves nothing about the attempt that is confirming now."""
    story = exposed().decide(request("tok_2"))
    before = story.doc
    assert story.decide(unexpected(REQUIRES_CARD, attempt=1), by=B).doc is before


@pytest.mark.parametrize("status", OPEN, ids=lambda status: status.value)
def test_open_intent_at_a_take_over_gets_the_same_key_again(status: IntentStatus) -> None:
    """Confirming, a retrieval at a take-over: the same key again where it may be sent."""
    story = taken_over()
    assert story.one(RetrieveIntent).intent.id is None
    effect = story.decide(retrieved(status), by=B).one(ConfirmIntent)
    assert (story.state(), effect.send, effect.intent.id) == (S.CONFIRMING, 2, "pi_1")
    assert story.pending_of(effect).holder == B


def test_open_intent_at_a_take_over_is_cancelled_where_the_key_may_not_be_sent() -> None:
    """Confirming, a retrieval at a take-over: else cancelling."""
    for story in (taken_over().decide(cancelled(), by=B), taken_over().later(hours=13)):
        story.decide(retrieved(REQUIRES_CARD), by=B)
        assert (story.state(), story.one(CancelIntent).intent.number) == (S.CANCELLING, 1)


def test_canceled_intent_at_a_take_over_counts_from_any_process() -> None:
    """Confirming, a retrieval at a take-over: of any process only succeeded and canceled count."""
    assert taken_over().decide(retrieved(CANCELED), by=A).state() is S.DECLINED
    assert taken_over().decide(retrieved_success(), by=A).state() is S.PAID


def test_retrieval_of_a_process_that_lost_the_attempt_changes_nothing() -> None:
    """Another process retrieves already: two must not both count the next send."""
    story = taken_over()
    task = story.intent.task
    story.decide(retrieved(REQUIRES_CARD), by=A)
    assert (story.state(), story.attempt().sends, story.intent.task) == (S.CONFIRMING, 1, task)


def test_unclear_end_of_a_young_key_is_sent_again_under_the_same_key() -> None:
    """Confirming, unclear; alive, key younger than 12 h: confirming; the same key again."""
    story = confirming()
    first = story.one(ConfirmIntent)
    again = story.decide(unclear()).one(ConfirmIntent)
    assert (story.state(), again.send, again.attempt) == (S.CONFIRMING, 2, first.attempt)
    assert (again.instrument, again.not_after) == (first.instrument, first.not_after)


def test_unclear_end_on_a_dead_order_or_of_an_old_key_is_cancelled() -> None:
    """Confirming, unclear; dead, or key older: cancelling; cancel."""
    for story in (confirming().decide(cancelled()), soon().dead(), confirming().later(hours=12)):
        story.decide(unclear())
        assert (story.state(), story.attempt().cancel_reason) == (S.CANCELLING, CancelReason.UNCLEAR)
        assert story.one(CancelIntent).intent.id == "pi_1"


def test_unclear_end_without_an_intents_id_is_cancelled_by_its_number() -> None:
    """The create is repeated for it, on a dead order too: then retrieve, then cancel."""
    story = confirming().decide(cancelled(), unclear(id=None))
    assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, None)


def test_unclear_end_of_a_process_that_lost_the_attempt_changes_nothing() -> None:
    """Another process has taken it over and retrieves already (F34); only the id counts."""
    story = taken_over()
    task = story.intent.task
    story.decide(unclear(stored=True), by=A)
    assert (story.state(), story.intent.task, story.intent.id) == (S.CONFIRMING, task, "pi_1")


@pytest.mark.parametrize("dead", ["cancelled", "expired"])
def test_attempt_that_was_never_sent_on_a_dead_order_is_refused(dead: str) -> None:
    """Confirming, the attempt known never sent, dead: refused (withheld)."""
    story = confirming().decide(cancelled()) if dead == "cancelled" else soon().dead()
    story.decide(withheld())
    assert (story.state(), story.attempt().refusal, pending(story.doc)) == (S.REFUSED, RefusalReason.WITHHELD, ())
    assert story.ask() is (Conflict.CANCELLED if dead == "cancelled" else Conflict.EXPIRED)


def test_later_send_withheld_on_a_dead_order_proves_nothing_about_the_first() -> None:
    """The attempt must never have been sent; that its last send was not made is not enough."""
    story = sent_twice().decide(cancelled(), withheld(send=2))
    assert (story.state(), story.one(CancelIntent).intent.number) == (S.CANCELLING, 1)


def test_send_withheld_on_a_living_order_is_for_any_process() -> None:
    """A drain: due at once, for any process; the one that takes it retrieves first (F33)."""
    story = confirming().decide(withheld())
    assert (story.state(), story.doc.due, story.doc.holder) == (S.CONFIRMING, story.now, None)
    assert story.decide(DUE, by=B).one(RetrieveIntent).intent.number == 1


def test_withheld_send_returns_no_retrieval_that_its_own_process_has_in_flight() -> None:
    """Its lease had run out, and it retrieves by now: the retrieval's answer must still count."""
    story = confirming().due(by=A)
    before = story.doc
    assert story.decide(withheld()).doc is before
    assert story.decide(retrieved(REQUIRES_CARD)).one(ConfirmIntent).send == 2


# ---------------------------------------------------------------------------------------------------------- awaiting


def test_retrieval_of_an_awaiting_intent_is_followed_by_the_next() -> None:
    """Awaiting, retrieval: requires action: recheck after 5 s, then after its age, at most 60 s."""
    story, waits = awaiting(), []
    for _ in range(8):
        began = story.now
        assert story.due().one(RetrieveIntent).intent.id == "pi_1"
        waits.append((story.now - began) / timedelta(seconds=1))
        story.decide(retrieved(REQUIRES_ACTION))
    assert waits == [5, 5, 10, 20, 40, 60, 60, 60]
    assert story.state() is S.AWAITING


def test_next_retrieval_never_passes_the_orders_end() -> None:
    """Awaiting: never past `expiresAt`."""
    story = soon().later(seconds=29).decide(action())
    assert story.doc.due == T0 + timedelta(seconds=30)
    assert story.due().state() is S.CANCELLING


def test_success_of_an_awaiting_attempt_is_paid_or_given_back() -> None:
    """Awaiting, retrieval: succeeded: paid; unwanted: refunding."""
    assert retrieving().decide(retrieved_success()).state() is S.PAID
    assert retrieving().decide(cancelled(), retrieved_success()).state() is S.REFUNDING


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure("payment_intent_authentication_failure", None, "x"), "payment_intent_authentication_failure"),
        (Failure("card_declined", "do_not_honor", "x"), "do_not_honor"),
        (None, "authentication_required"),
    ],
)
def test_failed_authentication_declines_with_stripes_code(failure: Failure | None, code: str) -> None:
    """F45: awaiting, retrieval: requires_payment_method: declined (`authentication_required`, Stripe's code)."""
    story = retrieving().decide(retrieved(REQUIRES_CARD, failure=failure))
    assert (story.state(), story.attempt().code, story.attempt().decline_code) == (
        S.DECLINED,
        "authentication_required",
        code,
    )
    reply = story.ask()
    assert isinstance(reply, CardWasDeclined)
    assert reply.authentication


def test_intent_canceled_in_the_dashboard_declines_an_awaiting_attempt() -> None:
    """F49: awaiting, retrieval: canceled: declined; dead: closed."""
    story = retrieving().decide(retrieved(CANCELED))
    assert (story.state(), story.attempt().code, pending(story.doc)) == (S.DECLINED, "authentication_failed", ())
    assert retrieving().dead().decide(retrieved(CANCELED)).state() is S.CLOSED


@pytest.mark.parametrize(
    "how", ["order cancelled", "expired", "expired, as a retrieval finds", "another card", "a day old"]
)
def test_awaiting_attempt_is_cancelled(how: str) -> None:
    """Awaiting; dead; another card requested; 24 h old: cancelling; cancel."""
    match how:
        case "order cancelled":
            story = awaiting().decide(cancelled())
        case "expired":
            story = awaiting().dead().decide(DUE)
        case "expired, as a retrieval finds":
            story = retrieving().dead().decide(retrieved(REQUIRES_ACTION))
        case "another card":
            story = awaiting()
            assert story.ask("tok_2") is Start.SUPERSEDE
        case _:
            story = awaiting().later(hours=24).decide(DUE)
    assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, "pi_1")


def test_awaiting_attempt_is_not_cancelled_before_its_day_is_over() -> None:
    """Awaiting: 24 h in all, and not a minute less."""
    story = awaiting()
    story.now = T0 + AUTHENTICATION_LIFE - LONGEST_RETRIEVAL_DELAY
    assert story.decide(DUE).kind is TaskKind.RETRIEVE


@pytest.mark.parametrize("message", LATE_ANSWERS, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("begin", [awaiting, cancelling], ids=["awaiting", "cancelling"])
@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
def test_late_answer_of_the_confirm_changes_nothing(begin: Callable[[], Story], message: Message, dead: bool) -> None:
    """Awaiting, cancelling; any late answer of the confirm: no change, but for succeeded."""
    story = begin()
    if dead:
        story.dead()
    before = story.doc
    assert story.decide(message).doc is before


@pytest.mark.parametrize("story", [awaiting, cancelling], ids=["awaiting", "cancelling"])
def test_late_success_of_the_confirm_counts(story: Callable[[], Story]) -> None:
    """Awaiting, cancelling, succeeded: paid."""
    assert story().decide(succeeded()).state() is S.PAID
    replayed = story().decide(succeeded(replayed=True))
    assert replayed.kind is TaskKind.RETRIEVE
    assert replayed.decide(retrieved_success()).state() is S.PAID


def test_late_refusal_leaves_no_reason_behind_on_an_awaiting_attempt() -> None:
    """The reason of a later cancel counts."""
    story = sent_twice().decide(action(), refused(send=2)).retrieve()
    assert story.decide(retrieved(CANCELED)).attempt().code == "authentication_failed"


# -------------------------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize(
    ("begin", "code"),
    [
        (lambda: awaiting().later(hours=24).decide(DUE), "authentication_failed"),
        (cancelling, "superseded"),
        (lambda: confirming().later(hours=13).decide(unclear()), "unclear"),
    ],
    ids=["authentication failed", "superseded", "unclear"],
)
def test_canceled_intent_declines_with_the_reason(begin: Callable[[], Story], code: str) -> None:
    """Cancelling, canceled: declined (`authentication_failed`, `superseded`, `unclear`)."""
    story = begin().decide(now_canceled())
    assert (story.state(), story.attempt().code, story.attempt().decline_code) == (S.DECLINED, code, code)
    assert (story.intent.state, pending(story.doc)) == (IntentState.CANCELED, ())


@pytest.mark.parametrize("begin", [lambda: cancelling().dead(), lambda: cancelling().decide(cancelled())])
def test_canceled_intent_of_a_dead_order_closes(begin: Callable[[], Story]) -> None:
    """Cancelling, canceled, dead: closed, whatever the reason was."""
    story = begin().decide(now_canceled())
    assert (story.state(), pending(story.doc)) == (S.CLOSED, ())


@pytest.mark.parametrize("status", OPEN, ids=lambda status: status.value)
def test_cancel_without_an_answer_is_retrieved_and_repeated_with_delay(status: IntentStatus) -> None:
    """Cancelling, an error of the cancel, then the retrieval: anything else: cancel again, with delay."""
    story = cancelling().decide(retrieved(status, RetrieveReason.CANCEL))
    assert (story.state(), story.one(CancelIntent).not_before) == (S.CANCELLING, story.now + LONGEST_RESEND_DELAY)


def test_cancel_that_was_lost_is_repeated_by_any_process() -> None:
    """Cancelling, no answer: cancelling; cancel, which ends with a retrieval."""
    story = cancelling().due(by=B)
    assert story.pending_of(story.one(CancelIntent)).holder == B


def test_answer_of_a_cancel_that_another_process_has_taken_over_changes_nothing() -> None:
    """Of a process that lost it only canceled and succeeded count."""
    story = cancelling().due(by=B)
    before = story.doc
    assert story.decide(retrieved(REQUIRES_ACTION, RetrieveReason.CANCEL), by=A).doc is before
    assert story.decide(now_canceled(), by=A).state() is S.DECLINED


def test_success_of_a_cancelling_attempt_is_paid_or_given_back() -> None:
    """Cancelling, retrieval: succeeded: paid (open order); unwanted: refunding, by the order and not by the reason."""
    message = retrieved_success(reason=RetrieveReason.CANCEL)
    assert cancelling().decide(message).state() is S.PAID
    assert cancelling().decide(cancelled(), message).state() is S.REFUNDING
    assert awaiting().dead().decide(DUE, message).state() is S.PAID, "an order that has only expired keeps it"


# ----------------------------------------------------------------------------------------------- successes, everywhere


@pytest.mark.parametrize("state", [S.CONFIRMING, S.AWAITING, S.CANCELLING, S.DECLINED, S.REFUSED, S.CLOSED])
def test_success_whose_charge_is_fully_refunded_is_refunded(state: S) -> None:
    """F49: any but paid, refunded: succeeded, and fully refunded: refunded, once the refund was read."""
    story = BY_STATE[state]().decide(retrieved_success(refunded=True))
    assert (story.state(), story.doc.kept, story.one(FindRefund).charge_id) == (S.REFUNDING, None, "ch_1")
    assert present(story.decide(refunded(refund_id="re_by_hand")).attempt().refund).id == "re_by_hand"
    assert story.state() is S.REFUNDED


def test_order_whose_charge_was_given_back_by_hand_is_payable_by_the_next_intent() -> None:
    """... the order is payable by the next intent."""
    story = given_back_by_hand().decide(refunded(), by=B)
    assert isinstance(story.ask("tok_2"), OutcomePending)
    confirm = story.owed(ConfirmIntent)[0]
    assert (confirm.attempt, confirm.intent.number, confirm.intent.id) == (2, 2, None)
    assert present(story.decide(succeeded("ch_2", intent=2)).doc.kept).charge_id == "ch_2"


def test_events_of_an_order_that_was_given_back_by_hand_and_paid_again_have_own_ids() -> None:
    """A broker drops the second of two messages under one id."""
    story = given_back_by_hand().decide(refunded(), by=B).decide(request("tok_2"), succeeded("ch_2", intent=2))
    story.decide(cancelled(), refunded("ch_2", "re_2"))
    assert [event.subject for event in story.doc.outbox] == [PAYMENT_REFUNDED, PAYMENT_CREATED, PAYMENT_REFUNDED]
    sent = []
    while story.doc.due is not None:
        effect = story.one(PublishEvent)
        sent.append(effect.message_id)
        story.decide(EventPublished(ORDER, effect.message_id))
    assert len(set(sent)) == len(sent) == 3


def test_refund_by_hand_that_did_not_reach_the_customer_is_made_again() -> None:
    """The retrieval finds that it failed, or was not there: the next refund key asks."""
    story = given_back_by_hand().decide(refund_not_found(), by=B)
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-2")
    assert given_back_by_hand().decide(blocked(), by=B).state() is S.BLOCKED


SETTLED = [S.DECLINED, S.REFUSED, S.CLOSED, S.PAID, S.REFUNDING, S.BLOCKED, S.REFUNDED]


@pytest.mark.parametrize("state", SETTLED)
@pytest.mark.parametrize("message", LATE_ANSWERS, ids=lambda message: type(message).__name__)
def test_settled_attempt_is_changed_by_no_answer_but_a_success(state: S, message: Message) -> None:
    """Settled, any answer but succeeded: no change."""
    story = BY_STATE[state]()
    attempt, intent = story.attempt(), story.intent
    story.decide(message)
    assert story.attempt() == attempt
    assert (story.intent.state, story.intent.task) == (intent.state, intent.task)


@pytest.mark.parametrize("state", [S.DECLINED, S.REFUSED, S.CLOSED])
@pytest.mark.parametrize("message", SUCCESSES, ids=SUCCESS_IDS)
def test_success_of_a_settled_attempt_is_kept_where_nothing_else_is(state: S, message: Message) -> None:
    """F45: declined, refused, closed; succeeded, or a retrieval of that: paid (it is the only intent)."""
    story = BY_STATE[state]().decide(message)
    assert (story.state(), present(story.doc.kept).charge_id) == (S.PAID, "ch_1")
    assert story.ask() == Paid(PAYMENT, ORDER, "ch_1", replayed=True)


@pytest.mark.parametrize("state", [S.DECLINED, S.REFUSED, S.CLOSED])
def test_success_of_a_settled_attempt_on_a_cancelled_order_is_given_back(state: S) -> None:
    """... unwanted: refunding."""
    story = BY_STATE[state]().decide(cancelled(), retrieved_success())
    assert (story.state(), story.one(RefundCharge).charge_id) == (S.REFUNDING, "ch_1")


def test_success_of_a_settled_attempt_is_given_back_where_another_charge_is_kept() -> None:
    """... unwanted: another charge, by its id, is kept."""
    story = confirming().decide(unexpected(CANCELED), request("tok_2"), succeeded("ch_2", intent=2), CREATED_IS_OUT)
    story.decide(succeeded("ch_1", intent=1))
    assert (story.state(1), story.state(2), story.one(RefundCharge).charge_id) == (S.REFUNDING, S.PAID, "ch_1")
    assert [event.subject for event in story.decide(refunded()).doc.outbox] == [PAYMENT_CREATED]


def test_success_of_an_earlier_intent_leaves_the_open_one_alone() -> None:
    """It counts for its own intent's attempt; the unsettled attempt goes on, and is given back if it charges."""
    story = confirming().decide(unexpected(CANCELED), request("tok_2"), retrieved_success("ch_1"))
    assert (story.state(1), story.state(2), story.owed(ConfirmIntent)[0].attempt) == (S.PAID, S.CONFIRMING, 2)
    assert story.decide(succeeded("ch_2", intent=2)).state(2) is S.REFUNDING


def test_anything_else_of_an_earlier_intent_changes_nothing() -> None:
    """The earlier intent is known canceled, and can't be anything else."""
    story = confirming().decide(unexpected(CANCELED), request("tok_2"))
    before = story.doc
    story.decide(declined(), action(), retrieved(REQUIRES_CARD), now_canceled(), unclear(), withheld())
    assert story.doc is before


# ---------------------------------------------------------------------------------- a success belongs to the intent


def test_success_goes_to_the_unsettled_attempt_of_its_intent() -> None:
    """A retrieval for a declined attempt finds the next attempt's charge, and counts it once."""
    story = exposed().decide(request("tok_2"), retrieved_success())
    assert (story.state(1), story.state(2), present(story.doc.kept).number) == (S.DECLINED, S.PAID, 2)
    before = story.doc
    assert story.decide(succeeded(), retrieved_success(), succeeded(replayed=True), by=B).doc is before


def test_success_goes_to_the_last_attempt_of_its_intent_where_all_are_settled() -> None:
    """With any card: it is the order's only intent."""
    story = exposed().decide(request("tok_2"), declined(attempt=2), retrieved_success())
    assert (story.state(1), story.state(2)) == (S.DECLINED, S.PAID)
    assert (story.ask("tok_2"), story.ask("tok_1")) == (
        Paid(PAYMENT, ORDER, "ch_1", replayed=True),
        CardWasDeclined(PAYMENT, "authentication_required", present(story.attempt().text), authentication=True),
    )


@pytest.mark.parametrize("state", [S.PAID, S.REFUNDING, S.BLOCKED, S.REFUNDED])
def test_success_goes_to_the_attempt_that_has_it_already(state: S) -> None:
    """No change, by any answer or retrieval, also where it is given back by then."""
    story = BY_STATE[state]()
    before = story.doc
    story.decide(succeeded(), succeeded(replayed=True), retrieved_success(refunded=True), charge_listed(), by=B)
    assert story.doc is before


# ------------------------------------------------------------------------- an intent whose secret is out and is open


def test_exposed_intent_is_rechecked_after_a_decline() -> None:
    """The customer's browser can confirm it with another card: that is a payment."""
    story = exposed()
    assert (story.state(), story.one(RecheckLater).what) == (S.DECLINED, "intent")
    assert story.due(by=B).one(RetrieveIntent).intent.id == "pi_1"
    assert story.decide(retrieved(REQUIRES_CARD), by=B).one(RecheckLater).what == "intent"
    assert story.due().decide(retrieved_success()).state() is S.PAID


@pytest.mark.parametrize("how", ["cancelled", "expired", "a day old"])
def test_exposed_intent_is_cancelled_before_the_order_is_at_rest(how: str) -> None:
    """F46: rechecked until it is paid, cancelled, expired, or 24 h have passed since its last attempt."""
    story = exposed()
    match how:
        case "cancelled":
            story.decide(cancelled())
        case "expired":
            story.dead().decide(DUE)
        case _:
            story.later(hours=24).decide(DUE)
    assert story.one(CancelIntent).intent.id == "pi_1"
    story.decide(retrieved(REQUIRES_ACTION, RetrieveReason.CANCEL))
    assert story.one(CancelIntent).not_before == story.now + LONGEST_RESEND_DELAY
    assert pending(story.decide(now_canceled()).doc) == ()
    assert story.state() is S.DECLINED


def test_exposed_intents_day_begins_with_its_last_attempt() -> None:
    """24 h have passed since its last attempt, not since its first."""
    story = exposed().later(hours=20).decide(request("tok_2"), declined(attempt=2)).later(hours=5).decide(DUE)
    assert story.kind is TaskKind.RETRIEVE
    assert story.decide(retrieved(REQUIRES_CARD)).later(hours=20).decide(DUE).kind is TaskKind.CANCEL


def test_exposed_intent_declined_on_a_dead_order_is_cancelled_at_once() -> None:
    """Every step checks the level."""
    story = retrieving().dead().decide(retrieved(REQUIRES_CARD))
    assert (story.state(), story.kind) == (S.DECLINED, TaskKind.CANCEL)


def test_cancel_of_an_exposed_intent_that_succeeded_is_a_payment() -> None:
    """The cancel finds it succeeded: paid on an order that has only expired, given back on a cancelled one."""
    found = retrieved_success(reason=RetrieveReason.CANCEL)
    assert exposed().dead().decide(DUE, found).state() is S.PAID
    assert exposed().decide(cancelled(), found).state() is S.REFUNDING


def test_new_attempt_confirms_the_same_exposed_intent() -> None:
    """A new attempt confirms the same intent; `unexpected_state` leads to a retrieval."""
    story = exposed()
    assert isinstance(story.ask("tok_2"), OutcomePending)
    confirm = story.one(ConfirmIntent)
    assert (confirm.attempt, confirm.intent.number, confirm.intent.id) == (2, 1, "pi_1")
    assert story.decide(unexpected(REQUIRES_ACTION, attempt=2)).state(2) is S.CANCELLING


@pytest.mark.parametrize("kind", [TaskKind.RETRIEVE, TaskKind.CANCEL])
def test_new_attempt_begins_after_the_retrieval_or_cancel_of_an_exposed_intent(kind: TaskKind) -> None:
    """Their outcomes must not count for the new attempt."""
    story = exposed().due() if kind is TaskKind.RETRIEVE else exposed().later(hours=24).decide(DUE)
    assert (story.kind, story.ask("tok_2")) == (kind, Start.AFTER_CANCEL)
    story.decide(retrieved(REQUIRES_CARD) if kind is TaskKind.RETRIEVE else now_canceled())
    assert isinstance(story.ask("tok_2"), OutcomePending)
    assert story.one(ConfirmIntent).intent.number == (1 if kind is TaskKind.RETRIEVE else 2)


def test_stale_retrieval_after_a_new_attempt_began_changes_nothing() -> None:
    """B took over process A's retrieval; its answer comes when B confirms the next card."""
    story = exposed().due(by=A).due(by=B).decide(retrieved(REQUIRES_CARD), by=B).decide(request("tok_2"), by=B)
    before = story.doc
    assert story.decide(retrieved(REQUIRES_CARD), by=A).doc is before
    assert story.decide(retrieved(REQUIRES_CARD), by=B).doc is before, "its own retrieval, too, is no confirm's answer"


# ------------------------------------------------------------------------------------- taking over, by a retrieval


def test_new_run_of_a_process_takes_its_own_clients_work_at_once_and_retrieves_first() -> None:
    """F04: `holder` is the client id; another client waits until the lease is over."""
    story = confirming().later(seconds=1).decide(DUE, by=B)
    assert len(story.owed(ConfirmIntent)) == 1
    assert story.decide(DUE, by=A_AGAIN).one(RetrieveIntent).intent.number == 1


def test_retrieval_that_was_lost_is_repeated_before_anything_is_sent() -> None:
    """A process that took an attempt over retrieves first, though its own retrieval ran out of time (F34)."""
    assert confirming().due(by=B).due(by=A).one(RetrieveIntent).intent.number == 1


def test_answer_of_the_first_process_counts_while_the_second_retrieves() -> None:
    """A take-over while the first's confirm is in flight: its action, decline, refusal and success count."""
    ends: list[tuple[Message, S]] = [
        (action(), S.AWAITING),
        (declined(), S.DECLINED),
        (refused(), S.REFUSED),
        (succeeded(), S.PAID),
    ]
    for message, state in ends:
        story = taken_over().decide(message, by=A)
        assert story.state() is state
        settled = story.doc
        assert story.decide(retrieved(REQUIRES_CARD), by=B).doc is settled, "the retrieval was requested before"


def test_first_process_withheld_send_settles_a_dead_order_while_the_second_retrieves() -> None:
    """It is the attempt's only send, and its process knows that it was not made."""
    story = taken_over().decide(cancelled(), by=B).decide(withheld(), by=A)
    assert (story.state(), pending(story.doc)) == (S.REFUSED, ())


def test_first_process_withheld_send_takes_no_retrieval_from_the_second() -> None:
    """On a living order it is retrieved anyway."""
    story = taken_over()
    before = story.doc
    assert story.decide(withheld(), by=A).doc is before


# -------------------------------------------------------------------------------------- a cancelled order in flight


def test_cancelled_orders_confirm_is_owed_no_longer() -> None:
    """Its effect disappears from pending, so that the ledger cancels it; a call that left ends within its timeout."""
    story = confirming().decide(cancelled())
    assert (story.one(RecheckLater).what, story.doc.due, story.doc.holder) == (
        "intent",
        T0 + CONFIRM_ENDS_WITHIN,
        "web-1",
    )
    assert story.attempt().instrument is None


def test_cancelled_orders_confirm_whose_holder_is_gone_is_retrieved_cancelled_and_closed() -> None:
    """The lease runs out: retrieve, cancel, closed."""
    story = confirming().decide(cancelled()).due(by=B)
    assert story.one(RetrieveIntent).intent.number == 1
    story.decide(retrieved(REQUIRES_CARD), by=B)
    assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, "pi_1")
    story.decide(now_canceled(), by=B)
    assert (story.state(), pending(story.doc)) == (S.CLOSED, ())


def test_cancelled_orders_confirm_that_charged_all_the_same_is_given_back_once() -> None:
    """Cancel while Stripe is charging: refunded in full under one key (F20)."""
    story = confirming().decide(cancelled(), succeeded(), succeeded())
    assert story.one(RefundCharge).key == "refund-ch_1-1"
    story.decide(refunded(), refunded())
    assert story.one(PublishEvent).subject == PAYMENT_REFUNDED


# ------------------------------------------------------------------------------------- another card, one at a time


def test_another_card_is_paid_by_the_next_intent_once_the_last_is_canceled() -> None:
    """The intent is cancelled, the next one made and the new card confirmed, all for one request."""
    story = awaiting()
    assert story.ask("tok_2") is Start.SUPERSEDE
    assert story.ask("tok_2") is Start.AFTER_CANCEL, "there is no 202 meanwhile"
    assert story.ask("tok_3") is Start.AFTER_CANCEL
    story.decide(now_canceled())
    assert story.ask("tok_2") == OutcomePending(PAYMENT, ORDER)
    confirm = story.one(ConfirmIntent)
    assert (confirm.attempt, confirm.intent.number, confirm.intent.id) == (2, 2, None)
    assert story.ask("tok_1") == CardWasDeclined(PAYMENT, "superseded", present(story.attempt().text))


def test_another_card_is_a_conflict_where_the_old_intent_succeeded() -> None:
    """409, paid."""
    story = cancelling().decide(retrieved_success(reason=RetrieveReason.CANCEL))
    assert story.ask("tok_2") is Conflict.PAID


def test_another_card_while_a_cancel_has_another_reason_is_under_way() -> None:
    """Only an attempt that awaits its customer, or is superseded already, is superseded."""
    story = sent_twice().decide(unclear(send=2, stored=True))
    assert story.ask("tok_2") is Conflict.UNDER_WAY
    assert confirming().ask("tok_2") is Conflict.UNDER_WAY
    assert awaiting().later(hours=24).decide(DUE).ask("tok_2") is Conflict.UNDER_WAY


# ------------------------------------------------------------------------------------------ retrievals for clients


def test_retrieval_for_a_client_is_made_now_and_at_most_every_two_seconds() -> None:
    """A POST or GET on an awaiting order retrieves the intent, at most every 2 s for one order."""
    story = awaiting()
    before = story.doc
    assert story.later(seconds=1.9).decide(RECHECK_REQUESTED).doc is before
    assert story.ask() == RequiresAction(PAYMENT, ORDER)
    assert story.doc is before
    story.later(seconds=0.1).decide(RECHECK_REQUESTED)
    assert story.one(RetrieveIntent).intent.id == "pi_1"
    in_flight = story.doc
    assert story.later(seconds=2).decide(RECHECK_REQUESTED).doc is in_flight, "one retrieval at a time"
    before = story.decide(retrieved(REQUIRES_ACTION)).doc
    assert story.later(seconds=1.9).decide(RECHECK_REQUESTED).doc is before


def test_request_for_an_awaiting_order_retrieves_too() -> None:
    """A customer who comes back from the bank gets the current outcome at once."""
    story = awaiting().later(seconds=2)
    assert story.ask() == RequiresAction(PAYMENT, ORDER)
    assert story.one(RetrieveIntent).intent.id == "pi_1"


def test_retrieval_for_a_client_ends_an_attempt_that_is_out_of_time() -> None:
    """Expiry is a level, and so is the customer's day."""
    assert awaiting().dead().decide(RECHECK_REQUESTED).state() is S.CANCELLING
    assert awaiting().later(hours=24).decide(RECHECK_REQUESTED).state() is S.CANCELLING


@pytest.mark.parametrize("state", [state for state in S if state is not S.AWAITING])
def test_retrieval_for_a_client_changes_nothing_where_no_customer_is_awaited(state: S) -> None:
    """Only the intent of an awaiting order is retrieved for a client."""
    story = BY_STATE[state]().later(seconds=5)
    before = story.doc
    assert story.decide(RECHECK_REQUESTED).doc is before


def test_retrieval_for_a_client_of_an_order_without_payment_changes_nothing() -> None:
    """It has no intent."""
    story = open_order()
    before = story.doc
    assert story.decide(RECHECK_REQUESTED).doc is before
    assert Story(RECHECK_REQUESTED).order is None


def test_client_that_can_not_authenticate_gets_pending_for_an_awaiting_attempt() -> None:
    """A client that can't authenticate repeats the same card: 202 pending without a secret."""
    story = awaiting()
    assert story.ask(authentication=Authentication()) == OutcomePending(PAYMENT, ORDER)


# --------------------------------------------------------------------------------------------------- clocks that jump


def test_clock_that_went_back_sends_no_key_of_unknown_age() -> None:
    """F38: at a take-over it is cancelled, which settles its outcome."""
    story = taken_over().later(days=-365).decide(retrieved(REQUIRES_CARD), by=B)
    assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, "pi_1")


def test_clock_a_year_ahead_cancels_and_never_sends() -> None:
    """F38: its key counts as old."""
    story = confirming().later(days=365).decide(unclear())
    assert (story.state(), story.owed(ConfirmIntent)) == (S.CANCELLING, [])


def test_withheld_send_where_the_clock_went_back_is_known_never_made() -> None:
    """F38: the key's age is unknown, and no request was ever sent."""
    story = confirming().later(minutes=-10).decide(withheld())
    assert (story.state(), story.attempt().refusal) == (S.REFUSED, RefusalReason.WITHHELD)


def test_recheck_written_by_a_clock_that_was_ahead_is_taken() -> None:
    """F38: no due work is lost to a clock that was wrong."""
    story = awaiting().later(hours=20).decide(RECHECK_REQUESTED, retrieved(REQUIRES_ACTION)).later(hours=-20)
    assert story.doc.due == story.now + timedelta(hours=20, seconds=60)
    assert story.decide(DUE).kind is TaskKind.RETRIEVE


def test_key_is_old_from_the_instant_at_which_it_is_young_no_more() -> None:
    """A confirm's key may be sent for 12 h."""
    story = confirming()
    story.now = T0 + KEY_LIFE
    assert story.decide(unclear()).state() is S.CANCELLING


@pytest.mark.parametrize("status", [IntentStatus.REQUIRES_CAPTURE, IntentStatus.REQUIRES_CONFIRMATION])
def test_status_that_our_intents_never_have_is_no_end(status: IntentStatus) -> None:
    """It is open: rechecked, and cancelled in the end."""
    assert retrieving().decide(retrieved(status)).state() is S.AWAITING


def test_paid_order_that_is_cancelled_is_given_back() -> None:
    """Paid, order cancelled: refunding, under a refund key of its own (F21)."""
    story = paid().decide(CREATED_IS_OUT, cancelled())
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-1")


def test_outcome_is_judged_by_its_own_attempts_number() -> None:
    """An outcome with another attempt's number, or with a number that no attempt has, leaves this one alone."""
    story = exposed().decide(request("tok_2"))
    before = story.doc
    story.decide(declined(attempt=1), unclear(attempt=1), refused(attempt=1), action(attempt=1), withheld(attempt=1))
    assert story.decide(declined(attempt=7), declined(attempt=0)).doc is before
