"""An order's pending effects, read from its document, and the deadline that is stored for them."""

from collections.abc import Callable

import msgspec
import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    Effect,
    FindRefund,
    ListCharges,
    PublishEvent,
    RecheckLater,
    RecheckRefund,
    RefundCharge,
    RetrieveIntent,
)
from payment.core.order import AttemptState, TaskKind
from payment.core.pending import pending, with_deadline
from payment.core.schedule import CONFIRM_ENDS_WITHIN
from tests.unit.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    EXPIRES,
    ORDER,
    PAYMENT,
    REFUNDED_IS_OUT,
    REQUIRES_ACTION,
    T0,
    VERSION,
    A,
    B,
    Story,
    action,
    awaiting,
    cancelled,
    cancelling,
    confirming,
    created,
    exposed,
    given_back,
    of_0_1_0,
    of_kind,
    open_order,
    paid,
    refund_blocked,
    refund_error_stored,
    refunding,
    request,
    retrieved,
    retrieving,
    sent_twice,
    taken_over,
)

S = AttemptState

FIRST_OWED = {
    S.CONFIRMING: [ConfirmIntent],
    S.AWAITING: [RecheckLater],
    S.CANCELLING: [CancelIntent],
    S.CHARGING: [ListCharges],
    S.DECLINED: [],
    S.REFUSED: [],
    S.CLOSED: [],
    S.PAID: [PublishEvent],
    S.REFUNDING: [RefundCharge],
    S.BLOCKED: [RecheckLater],
    S.REFUNDED: [PublishEvent],
    S.CHARGED_BACK: [PublishEvent],
}
BY_TASK: dict[TaskKind, tuple[Callable[[], Story], type[Effect]]] = {
    TaskKind.CREATE: (lambda: Story(created(), prepare=True), CreateIntent),
    TaskKind.CONFIRM: (sent_twice, ConfirmIntent),
    TaskKind.RETRIEVE: (taken_over, RetrieveIntent),
    TaskKind.CANCEL: (cancelling, CancelIntent),
    TaskKind.LIST: (lambda: of_0_1_0("charging"), ListCharges),
    TaskKind.REFUND: (refunding, RefundCharge),
    TaskKind.FIND_REFUND: (lambda: refunding().decide(refund_error_stored()), FindRefund),
    TaskKind.RECHECK_REFUND: (lambda: given_back().decide(REFUNDED_IS_OUT).recheck(), RecheckRefund),
    TaskKind.PUBLISH: (paid, PublishEvent),
    TaskKind.RECHECK_LATER: (refund_blocked, RecheckLater),
}


@pytest.mark.parametrize("state", S)
def test_each_state_has_the_pending_effects_of_its_row(state: S) -> None:
    """The pending effects are those of the last column of the protocol's table."""
    assert [type(item.effect) for item in pending(BY_STATE[state]().doc)] == FIRST_OWED[state]


@pytest.mark.parametrize("kind", TaskKind)
def test_each_task_is_an_effect_of_its_own(kind: TaskKind) -> None:
    """No task is without an effect; `due` is set because an effect is pending."""
    story, effect = BY_TASK[kind]
    order = story().doc
    (item,) = pending(order)
    assert (type(item.effect), item.at) == (effect, order.due)
    assert (order.holder is None) == (item.holder is None)
    assert item.effect.order_id == ORDER


@pytest.mark.parametrize("story", [confirming, retrieving, cancelling, exposed, open_order, given_back])
def test_due_is_there_exactly_when_something_is_pending(story: Callable[[], Story]) -> None:
    """An index finds all due work of any process by it."""
    order = story().doc
    assert (order.due is not None) == bool(pending(order))


def test_order_without_payment_owes_nothing() -> None:
    """No retrieval, no deadline."""
    assert (pending(open_order().doc), open_order().doc.due) == ((), None)


def test_confirm_has_all_that_its_requests_need_and_when_they_may_leave() -> None:
    """Its parameters are the order's own; its window closes with the attempt's age or the order's expiry."""
    (item,) = pending(confirming().doc)
    effect = of_kind(ConfirmIntent, item.effect)
    assert (item.at, item.holder) == (confirming().doc.due, A)
    assert (effect.order_id, effect.payment_id, effect.attempt, effect.send) == (ORDER, PAYMENT, 1, 1)
    assert (effect.issued_at, effect.not_before) == (T0, T0)
    assert effect.not_after < EXPIRES
    assert effect.id == f"confirm:{ORDER}:1"


def test_effects_of_an_intent_are_known_by_its_number() -> None:
    """An answer about one intent can't count for another."""
    ids = {
        Story(created(), prepare=True).one(CreateIntent).id,
        taken_over().one(RetrieveIntent).id,
        cancelling().one(CancelIntent).id,
    }
    assert ids == {f"create:{ORDER}:1", f"retrieve:{ORDER}:1", f"cancel:{ORDER}:1"}
    assert cancelling().one(CancelIntent).not_before == T0
    story = Story(created(), prepare=True)
    effects: list[Effect] = [
        story.one(CreateIntent),
        taken_over().one(RetrieveIntent),
        cancelling().one(CancelIntent),
        confirming().one(ConfirmIntent),
    ]
    assert {effect.order_id for effect in effects} == {ORDER}


def test_cancelled_confirm_is_owed_no_longer_though_a_process_has_it_in_flight() -> None:
    """F20: a later recheck in its place, due when any call must have ended, so that its holder cancels the effect."""
    story = confirming().decide(cancelled())
    (item,) = pending(story.doc)
    assert (item.effect, item.holder, item.at) == (RecheckLater(ORDER, "intent"), A, T0 + CONFIRM_ENDS_WITHIN)
    assert item.effect.id == f"recheck-later:{ORDER}:intent"
    assert refund_blocked().one(RecheckLater).id == f"recheck-later:{ORDER}:attempt 1"


def test_refund_and_its_retrieval_have_one_key() -> None:
    """F23: under the version of the attempt that charged."""
    story = refunding()
    refund = story.one(RefundCharge)
    retrieval = story.decide(refund_error_stored()).one(FindRefund)
    assert (refund.charge_id, refund.api_version) == ("ch_1", VERSION)
    assert (retrieval.charge_id, retrieval.key) == ("ch_1", refund.key)
    assert (refund.id, retrieval.id) == (f"refund:{refund.key}", f"find-refund:{refund.key}")
    assert of_0_1_0("charging").one(ListCharges).id == f"list:{ORDER}:1"


def test_event_is_known_by_subject_and_payment_together() -> None:
    """F42: the two events of one payment share its id."""
    effect = paid().one(PublishEvent)
    assert effect.message_id == f"{PAYMENT_CREATED}:{PAYMENT}"
    assert effect.id == f"publish:{effect.message_id}"


def test_one_effect_never_hides_another() -> None:
    """A refund, a confirm and an event are pending side by side; `due` is the earliest."""
    story = of_0_1_0("refunding, on an open order").later(seconds=2).decide(request("tok_2"))
    assert {type(item.effect) for item in pending(story.doc)} == {RefundCharge, ConfirmIntent}
    assert story.doc.due == min(item.at for item in pending(story.doc))
    assert {type(item.effect) for item in pending(paid().decide(cancelled()).doc)} == {RefundCharge, PublishEvent}
    assert paid().decide(cancelled(), CREATED_IS_OUT).one(RefundCharge).charge_id == "ch_1"


def test_deadline_put_on_again_changes_nothing() -> None:
    """`due` and `holder` are derived: a document that is written has them already."""
    for state in S:
        order = BY_STATE[state]().doc
        assert with_deadline(order) == order


def test_holder_is_the_client_whose_lease_ends_first() -> None:
    """A process that starts finds its client id's tasks by it; a later recheck has no holder."""
    assert (confirming().doc.holder, awaiting().doc.holder, taken_over().doc.holder) == ("web-1", None, "web-2")


def test_document_keeps_no_empty_fields() -> None:
    """Operators read it too, and `due` is a sparse index: an absent field is not stored."""
    plain = msgspec.to_builtins(open_order().doc)
    assert {"due", "holder", "payment", "outbox"}.isdisjoint(plain)
    assert plain["_id"] == ORDER


def test_recheck_of_an_awaiting_order_holds_no_process() -> None:
    """Any process may take it at its time."""
    story = retrieving().decide(retrieved(REQUIRES_ACTION), action())
    (item,) = pending(story.doc)
    assert (item.effect, item.holder) == (RecheckLater(ORDER, "intent"), None)
    assert story.due(by=B).doc.holder == "web-2"


def test_story_without_order_owes_nothing() -> None:
    """The stories of these tests begin without an order."""
    assert Story().order is None
