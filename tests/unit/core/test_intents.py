"""An order's intents: their names, their creation, and the conditions for the next one."""

from datetime import timedelta

import pytest

from payment.core.attempts import ID_CHARS, numbered_intent, payment_id_of
from payment.core.effects import ON_THE_WIRE, CancelIntent, ConfirmIntent, CreateIntent, RetrieveIntent
from payment.core.messages import (
    ChargeFacts,
    IntentCreated,
    IntentPrepared,
    IntentSucceeded,
    Message,
    RefusalReason,
    RetrieveReason,
)
from payment.core.order import AttemptState, IntentState, TaskKind
from payment.core.pending import pending
from payment.core.replies import AmountRefused, CardWasDeclined, OutcomePending, Paid
from payment.core.schedule import CREATE_KEY_LIFE, LEASE, LONG_AGO, LONGEST_RESEND_DELAY
from tests.unit.core.builders import (
    CANCELED,
    DUE,
    GROUP,
    ORDER,
    PAYMENT,
    REQUIRES_ACTION,
    REQUIRES_CARD,
    T0,
    VERSION,
    A,
    B,
    Story,
    action,
    cancelled,
    cancelling,
    charge_listed,
    confirming,
    create_error,
    create_refused,
    created,
    declined,
    intent_created,
    now_canceled,
    of_0_1_0,
    prepared,
    present,
    refused,
    request,
    retrieved,
    retrieving,
    sent_twice,
    succeeded,
    taken_over,
    unclear,
    unexpected,
)

S = AttemptState


def with_prepared_intent() -> Story:
    return Story(created(), prepare=True)


# ------------------------------------------------------------------------------------------------------------- names


def test_payment_id_is_a_pure_function_of_queue_group_and_order() -> None:
    """Every process computes the same id, also one that reads a restored database."""
    assert len(payment_id_of(GROUP, ORDER)) == ID_CHARS
    assert payment_id_of(GROUP, ORDER) == payment_id_of(GROUP, ORDER) == PAYMENT
    assert len({payment_id_of(group, order) for group in ("a", "b") for order in ("1", "2")}) == 4
    assert present(confirming().doc.payment).id == PAYMENT


def test_create_is_a_pure_function_of_the_order_and_the_intents_number() -> None:
    """It needs no write: a restored document makes the same create again."""
    first, again = confirming().one(ConfirmIntent).intent, confirming().later(days=1).one(ConfirmIntent).intent
    assert first == again
    assert (first.key, first.number, first.id) == (f"intent-{PAYMENT}-1", 1, None)
    assert (first.amount, first.currency, first.payment_id, first.api_version) == (1999, "usd", PAYMENT, VERSION)
    assert numbered_intent(confirming().doc, 2, confirming().context()).key == f"intent-{PAYMENT}-2"


def test_create_of_an_old_order_is_preceded_by_a_list() -> None:
    """23 h since the order came; an order of 0.1.0 may be of any age."""
    assert Story().later(hours=5).decide(created(), request()).one(ConfirmIntent).intent.list_after == (
        T0 + timedelta(hours=5) + CREATE_KEY_LIFE
    )
    story = of_0_1_0("open order").decide(request())
    assert story.one(ConfirmIntent).intent.list_after == LONG_AGO


def test_intents_id_reaches_the_document_together_with_the_outcome() -> None:
    """One write has the answer and the intent's id, whatever the answer was."""
    for message in (unclear(), declined(), action(), refused(), prepared(), retrieved(REQUIRES_CARD), succeeded()):
        assert confirming().decide(message).intent.id == "pi_1"
    assert confirming().decide(unclear(id=None)).intent.id is None
    assert sent_twice().decide(unclear(send=2, id=None)).intent.id == "pi_1", "the id stays"


def test_outcome_of_another_intent_with_the_same_number_does_not_count() -> None:
    """A process that wakes a day later makes another intent under the forgotten key: that one's cancel does not
    count."""
    story = confirming().decide(action())
    before = story.doc
    story.decide(retrieved(CANCELED, RetrieveReason.CANCEL, id="pi_other"), retrieved(REQUIRES_CARD, id="pi_other"))
    assert story.doc is before
    other = IntentSucceeded(ORDER, 1, "pi_other", ChargeFacts("ch_other"))
    assert present(story.decide(other).doc.kept).charge_id == "ch_other", "a charge always counts"


# -------------------------------------------------------------------------------------------------- the next intent


def test_open_intent_serves_every_next_attempt() -> None:
    """A new intent is made only after the last one is known canceled, or succeeded and given back."""
    story = confirming()
    for number in range(2, 6):
        story.decide(declined(number - 1))
        story.ask(f"tok_{number}")
        assert story.one(ConfirmIntent).intent.number == 1


def test_create_whose_key_replays_an_error_takes_the_next_number_by_a_write_of_its_own() -> None:
    """An intent that the create may have made was never confirmed; the next write releases the next create."""
    story = confirming().decide(create_error())
    confirm = story.one(ConfirmIntent)
    assert (story.state(), confirm.intent.number, confirm.intent.id, confirm.send) == (S.CONFIRMING, 2, None, 2)
    assert confirm.not_before > story.now
    before = story.doc
    assert story.decide(create_error(1)).doc is before, "a second time changes nothing"
    assert story.decide(create_error(2)).one(ConfirmIntent).intent.number == 3


def test_create_without_an_answer_repeats_its_own_number() -> None:
    """The key brings the same intent again."""
    story = confirming().decide(unclear(id=None))
    assert story.one(ConfirmIntent).intent.number == 1


def test_create_error_that_comes_after_the_id_is_known_changes_nothing() -> None:
    """The same key has brought an intent: Stripe has stored that and nothing else."""
    story = sent_twice()
    before = story.doc
    assert story.decide(create_error(), create_refused()).doc is before


def test_create_error_on_a_dead_order_settles() -> None:
    """No intent was confirmed, and none will be."""
    story = confirming().decide(cancelled(), create_error())
    assert (story.state(), story.attempt().refusal, pending(story.doc)) == (S.REFUSED, RefusalReason.WITHHELD, ())
    assert story.intent.number == 2


def test_create_error_while_the_intent_is_cancelled_settles() -> None:
    """The intent was never confirmed: there is nothing to cancel."""
    story = confirming().later(hours=13).decide(unclear(id=None))
    assert (story.state(), story.one(CancelIntent).intent.id) == (S.CANCELLING, None)
    assert (story.decide(create_error()).state(), pending(story.doc)) == (S.DECLINED, ())
    story = confirming().decide(cancelled(), unclear(id=None), create_error())
    assert (story.state(), pending(story.doc)) == (S.CLOSED, ())


def test_create_error_at_a_take_over_goes_on_with_the_next_number() -> None:
    """In any process."""
    story = taken_over().decide(create_error(), by=B)
    assert story.one(ConfirmIntent).intent.number == 2
    before = story.doc
    assert story.decide(retrieved(REQUIRES_CARD), by=B).doc is before, "the retrieval by the first number is over"


def test_refused_create_settles_its_attempt() -> None:
    """Its amount, its currency or our request: no intent was made, so nothing was charged."""
    story = confirming().decide(create_refused())
    assert (story.state(), story.ask(), pending(story.doc)) == (S.REFUSED, AmountRefused("Amount too small."), ())
    assert isinstance(story.ask("tok_2"), OutcomePending)
    assert story.one(ConfirmIntent).intent.number == 1


def test_refused_create_while_the_intent_is_cancelled_settles() -> None:
    """No confirm was sent: there is nothing to cancel."""
    story = confirming().later(hours=13).decide(unclear(id=None), create_refused())
    assert (story.state(), pending(story.doc)) == (S.DECLINED, ())


# ------------------------------------------------------------------------------------------ a list before the create


def test_list_that_finds_a_charge_stops_the_create_and_is_that_attempts_success() -> None:
    """A succeeded charge that is not refunded stops it."""
    story = confirming().decide(charge_listed("ch_before_the_backup"))
    assert (story.state(), story.intent.state, story.intent.id) == (S.PAID, IntentState.SUCCEEDED, None)
    assert story.ask() == Paid(PAYMENT, ORDER, "ch_before_the_backup", replayed=True)


def test_list_that_finds_another_attempts_charge_lets_the_create_wait() -> None:
    """An old charge is being given back: the effect is not pending again at once, but some seconds later."""
    story = of_0_1_0("refunding, on an open order").decide(request("tok_2"))
    assert story.owed(ConfirmIntent)[0].attempt == 2
    for _ in range(3):
        story.decide(charge_listed("ch_late"))
        assert (story.state(2), story.kind) == (S.CONFIRMING, TaskKind.RECHECK_LATER)
        assert present(story.intent.task).due == story.now + LONGEST_RESEND_DELAY
        assert story.later(seconds=5).decide(DUE).owed(RetrieveIntent)[0].intent.number == 1
    assert story.decide(retrieved(REQUIRES_CARD)).owed(ConfirmIntent)[0].send == 2


def test_list_of_another_process_that_finds_a_known_charge_changes_nothing() -> None:
    """Only the holder of the effect waits."""
    story = of_0_1_0("refunding, on an open order").decide(request("tok_2"))
    before = story.doc
    assert story.decide(charge_listed("ch_late"), by=B).doc is before


def test_list_that_finds_a_known_charge_after_the_end_changes_nothing() -> None:
    """No task of the intent is in flight any more."""
    story = of_0_1_0("refunding, on an open order").decide(request("tok_2"), declined(attempt=2))
    before = story.doc
    assert story.decide(charge_listed("ch_late")).doc is before


# ----------------------------------------------------------------------------------------- intents prepared in advance


def test_prepared_intent_is_created_when_its_order_comes() -> None:
    """With `STRIPE_PREPARE` a payment is one call."""
    story = with_prepared_intent()
    effect = story.one(CreateIntent)
    assert (effect.intent.number, effect.intent.key, effect.not_after) == (
        1,
        f"intent-{PAYMENT}-1",
        T0 + CREATE_KEY_LIFE,
    )
    assert Story(created(expires_at=T0 + LEASE), prepare=True).one(CreateIntent).not_after == T0 + LEASE
    story.decide(prepared())
    assert (story.intent.id, pending(story.doc)) == ("pi_1", ())
    story.ask()
    assert story.one(ConfirmIntent).intent.id == "pi_1"


def test_intent_is_not_prepared_where_that_is_off_or_the_order_can_not_be_paid() -> None:
    """It is off by default; and an order that is over needs no intent."""
    assert Story(created()).doc.payment is None
    assert Story(cancelled(), created(), prepare=True).doc.payment is None
    assert Story(created(expires_at=T0), prepare=True).doc.payment is None


def test_prepared_intent_may_come_from_another_process() -> None:
    """Only its holder's task is over; the intent's id counts."""
    story = with_prepared_intent().decide(prepared(), by=B)
    assert (story.intent.id, story.kind) == ("pi_1", TaskKind.CREATE)


def test_first_request_takes_a_create_that_is_still_in_flight_along() -> None:
    """The confirm's own create brings the same intent: one effect."""
    story = with_prepared_intent().decide(request())
    assert story.one(ConfirmIntent).intent.number == 1
    assert story.decide(prepared()).one(ConfirmIntent).intent.id == "pi_1"


def test_lost_create_is_repeated_while_the_order_is_open() -> None:
    """Any process repeats it, once its lease is over."""
    story = with_prepared_intent().due(by=B)
    assert story.pending_of(story.one(CreateIntent)).holder == B
    assert story.doc.due == T0 + 2 * LEASE
    assert pending(story.dead().decide(DUE).doc) == ()


def test_create_ahead_of_a_request_is_not_repeated_once_its_key_may_be_forgotten() -> None:
    """F34: a process that wakes a day later would make a second intent. The first request creates it, after a list."""
    story = with_prepared_intent().later(hours=22).due(by=B)
    assert story.one(CreateIntent).not_after == T0 + CREATE_KEY_LIFE
    assert pending(story.later(hours=1).due().doc) == ()
    story.ask()
    assert story.one(ConfirmIntent).id_first


def test_lost_create_is_not_repeated_where_its_intent_is_known() -> None:
    """Another process has brought its id."""
    story = with_prepared_intent().decide(prepared(), by=B).due(by=B)
    assert pending(story.doc) == ()


def test_cancelled_order_needs_no_prepared_intent() -> None:
    """No attempt was confirmed: there is nothing to cancel."""
    story = with_prepared_intent().decide(cancelled())
    assert (pending(story.doc), story.doc.due) == ((), None)


def test_prepared_creates_error_takes_the_next_number() -> None:
    """The first request creates it."""
    story = with_prepared_intent().decide(create_error())
    assert pending(story.doc) == ()
    story.ask()
    assert story.one(ConfirmIntent).intent.number == 2


def test_prepared_create_that_is_refused_leaves_it_to_the_first_request() -> None:
    """Stripe refuses it again then, and a client gets the answer."""
    story = with_prepared_intent().decide(create_refused())
    assert pending(story.doc) == ()
    story.ask()
    assert isinstance(story.decide(create_refused()).ask(), AmountRefused)


def test_prepared_create_that_a_list_stops_is_left_to_the_first_request() -> None:
    """After a restore: the order was paid, and the next request will find its charge."""
    story = with_prepared_intent()
    before = story.doc
    assert story.decide(charge_listed(), by=B).doc is before
    assert pending(story.decide(charge_listed()).doc) == ()
    story.ask()
    assert story.decide(charge_listed()).state() is S.PAID


# -------------------------------------------------------------------------------------------- when keys are forgotten


def old_order(**later: float) -> Story:
    """A request comes for an order whose intent was created ahead, by a create whose outcome no process knows."""
    return with_prepared_intent().later(**(later or {"hours": 25})).decide(request(), by=B)


def test_id_is_written_first_where_the_key_may_be_forgotten_while_the_attempt_lasts() -> None:
    """F34: two processes could get two intents from one create; the document keeps one. A young order needs no such
    write."""
    young = Story(created()).later(hours=6).decide(request())
    assert not young.one(ConfirmIntent).id_first
    assert Story(created()).later(hours=6, milliseconds=1).decide(request()).one(ConfirmIntent).id_first
    soon_over = Story(created(expires_at=T0 + CREATE_KEY_LIFE - ON_THE_WIRE)).later(hours=17).decide(request())
    assert not soon_over.one(ConfirmIntent).id_first
    assert of_0_1_0("open order").decide(request()).one(ConfirmIntent).id_first
    story = old_order().decide(intent_created(), by=B)
    effect = story.one(ConfirmIntent)
    assert (effect.intent.id, effect.id_first, effect.send) == ("pi_1", False, 1)
    assert story.pending_of(effect).holder == B


def test_age_of_an_order_is_unknown_after_a_clock_jump() -> None:
    """F38: an attempt that began before its order came; within the tolerance it did not."""
    assert Story(created()).later(minutes=-5).decide(request()).one(ConfirmIntent).intent.list_after == T0 + (
        CREATE_KEY_LIFE
    )
    effect = Story(created()).later(minutes=-5, milliseconds=-1).decide(request()).one(ConfirmIntent)
    assert (effect.intent.list_after, effect.id_first) == (LONG_AGO, True)


def test_outdated_creates_answer_changes_nothing() -> None:
    """F34: a process that was paused for a day gets the intent it made; another process may use a new one by now."""
    story = old_order()
    before = story.doc
    assert story.decide(IntentPrepared(ORDER, 1, "pi_old")).doc is before
    assert story.decide(IntentPrepared(ORDER, 1, "pi_old"), by=B).doc is before, "its confirm creates it again"
    assert story.decide(IntentCreated(ORDER, 1, 1, 1, "pi_old")).doc is before
    assert story.decide(IntentCreated(ORDER, 1, 1, 1, "pi_new"), by=B).intent.id == "pi_new"
    before = story.doc
    assert story.decide(IntentPrepared(ORDER, 1, "pi_old"), IntentCreated(ORDER, 1, 1, 1, "pi_old")).doc is before
    assert story.one(ConfirmIntent).intent.id == "pi_new"


def test_create_that_is_still_pending_counts_at_any_age() -> None:
    """All processes were paused for a day, and nothing else has begun meanwhile."""
    assert with_prepared_intent().later(hours=25).decide(prepared()).intent.id == "pi_1"


def test_created_intent_of_a_send_that_is_over_is_no_send() -> None:
    """A take-over retrieves it; a late answer of an earlier send changes nothing but the id."""
    story = old_order().due(by=A)
    before = story.doc
    assert story.decide(intent_created(), by=B).doc is before
    assert story.kind is TaskKind.RETRIEVE
    story = old_order().decide(unclear(id=None), by=B)
    assert (story.attempt().sends, story.decide(intent_created(), by=B).one(ConfirmIntent).send) == (2, 2)


def test_created_intent_of_an_order_that_is_over_is_not_confirmed() -> None:
    """It was never sent, so nothing is pending; an intent that was sent before is cancelled."""
    story = old_order().decide(cancelled(), intent_created(), by=B)
    assert (story.state(), story.attempt().refusal, pending(story.doc)) == (S.REFUSED, RefusalReason.WITHHELD, ())
    assert story.intent.id == "pi_1"
    story = old_order().decide(unclear(id=None), cancelled(), intent_created(send=2), by=B)
    assert (story.state(), story.kind) == (S.CANCELLING, TaskKind.CANCEL)


# -------------------------------------------------------------------------------------------------- at rest, and over


def test_intent_whose_secret_never_left_is_not_rechecked() -> None:
    """Only this service can confirm it."""
    for message in (declined(), refused(), create_refused()):
        assert pending(confirming().decide(message).doc) == ()


def test_canceled_or_succeeded_intent_is_at_rest() -> None:
    """The intent can never charge again."""
    assert pending(cancelling().decide(now_canceled()).doc) == ()
    assert confirming().decide(succeeded()).intent.task is None


def test_retrieval_at_rest_that_was_taken_over_counts_from_its_holder_alone() -> None:
    """F34: the first process's answer does not count for the second's retrieval."""
    story = retrieving().decide(retrieved(REQUIRES_CARD)).due(by=A).due(by=B)
    before = story.doc
    assert story.decide(retrieved(REQUIRES_ACTION), by=A).doc is before
    assert story.decide(retrieved(REQUIRES_ACTION), by=B).kind is TaskKind.RECHECK_LATER


def test_canceled_exposed_intent_counts_from_any_process() -> None:
    """A cancel is a fence: the next attempt has the next intent."""
    story = retrieving().decide(retrieved(REQUIRES_CARD)).decide(retrieved(CANCELED), by=B)
    assert (story.intent.state, pending(story.doc)) == (IntentState.CANCELED, ())
    story.ask("tok_2")
    assert story.one(ConfirmIntent).intent.number == 2


def test_confirming_attempt_whose_intent_was_canceled_names_no_authentication() -> None:
    """No customer was asked to authenticate."""
    story = confirming().decide(unexpected(CANCELED))
    reply = story.ask()
    assert isinstance(reply, CardWasDeclined)
    assert (reply.decline_code, reply.authentication) == ("unclear", False)


@pytest.mark.parametrize("message", [prepared(), declined(), retrieved(REQUIRES_CARD), succeeded(), create_error()])
def test_outcome_of_an_intent_for_an_order_without_one_changes_nothing(message: Message) -> None:
    """A restored document may lack what happened since: only a retrieval that it asks for counts."""
    story = Story(created())
    before = story.doc
    assert story.decide(message).doc is before
