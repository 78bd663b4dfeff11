"""What the world still owes an order, read off its document, and the deadline that is stored for it."""

import msgspec
import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    ChargeCard,
    FindCharges,
    FindRefund,
    PublishEvent,
    RefundCharge,
    Watch,
)
from payment.core.messages import Evidence
from payment.core.order import AttemptState
from payment.core.pending import pending, sealed
from tests.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    EXPIRES,
    ORDER,
    PAYMENT,
    T0,
    VERSION,
    A,
    Story,
    abandoned,
    cancelled,
    charged,
    charging,
    found,
    open_order,
    paid,
    refund_error_stored,
    refunding,
    request,
)

S = AttemptState

FIRST_OWED = {
    S.CHARGING: [ChargeCard],
    S.ERROR_STORED: [FindCharges],
    S.DECLINED: [],
    S.REFUSED: [],
    S.ABANDONED: [Watch],
    S.CLOSED: [],
    S.PAID: [PublishEvent],
    S.REFUNDING: [RefundCharge],
    S.BLOCKED: [Watch],
    S.REFUNDED: [PublishEvent],
}


@pytest.mark.parametrize("state", S)
def test_each_state_owes_what_its_row_says(state):
    """The last column of the design's table."""
    assert [type(item.effect) for item in pending(BY_STATE[state]().doc)] == FIRST_OWED[state]


def test_order_without_payment_owes_nothing():
    """No look, no deadline."""
    assert (pending(open_order().doc), open_order().doc.due) == ((), None)


def test_charge_says_all_that_a_request_needs_and_when_it_may_leave():
    """Its parameters are the attempt's own, frozen; its window closes with the key or the order."""
    (item,) = pending(charging().doc)
    effect = item.effect
    assert (item.at, item.holder) == (charging().doc.due, A)
    assert (effect.order_id, effect.payment_id, effect.attempt, effect.send) == (ORDER, PAYMENT, 1, 1)
    assert (effect.issued_at, effect.not_before) == (T0, T0)
    assert effect.not_after < EXPIRES
    assert effect.id == f"charge:{effect.key}"


def test_cancelled_charge_is_owed_no_longer_though_somebody_has_it_in_hand():
    """F20: a watch in its place, with the same deadline, so that its holder withdraws it and nobody forgets it."""
    story = charging().tell(cancelled())
    (item,) = pending(story.doc)
    assert (item.effect, item.holder, item.at) == (Watch(ORDER, 1), A, charging().doc.due)
    assert item.effect.id == f"watch:{ORDER}:1"


def test_look_carries_its_evidence_in_its_name():
    """An answer to one question can't be taken for the answer to another."""
    probe = charging().due(by="web-2#run1").one(FindCharges)
    final = charging().grown_old().one(FindCharges)
    assert (probe.evidence, final.evidence) == (Evidence.PROBE, Evidence.FINAL)
    assert (probe.id, final.id) == (f"find:{ORDER}:1:probe", f"find:{ORDER}:1:final")


def test_refund_and_its_look_are_of_one_key():
    """F23: under the version of the attempt that charged."""
    story = refunding()
    refund = story.one(RefundCharge)
    look = story.tell(refund_error_stored()).one(FindRefund)
    assert (refund.charge_id, refund.api_version) == ("ch_1", VERSION)
    assert (look.charge_id, look.key) == ("ch_1", refund.key)
    assert (refund.id, look.id) == (f"refund:{refund.key}", f"find-refund:{refund.key}")


def test_event_is_known_by_subject_and_payment_together():
    """F42: the two events of one payment share its id."""
    effect = paid().one(PublishEvent)
    assert effect.message_id == f"{PAYMENT_CREATED}:{PAYMENT}"
    assert effect.id == f"publish:{effect.message_id}"


def test_one_effect_never_hides_another():
    """A refund, a charge under way and an event are owed side by side; `due` is the earliest."""
    story = abandoned().tell(request("tok_2"), charged("ch_2", 2)).later(seconds=2)
    story.tell(found(Evidence.PROBE, ("ch_1", 1)))
    assert {type(item.effect) for item in pending(story.doc)} == {RefundCharge, PublishEvent}
    assert story.doc.due == min(item.at for item in pending(story.doc))
    assert story.tell(CREATED_IS_OUT).one(RefundCharge).charge_id == "ch_1"


def test_sealing_again_changes_nothing():
    """`due` and `holder` are derived: a document that is written is sealed already."""
    for state in S:
        order = BY_STATE[state]().doc
        assert sealed(order) == order


def test_holder_is_the_client_whose_lease_ends_first():
    """A process that starts finds its client id's work by it; a watch has none."""
    assert (charging().doc.holder, abandoned().doc.holder) == ("web-1", None)


def test_document_keeps_no_empty_fields():
    """It is read by people too, and `due` is a sparse index: an absent field is not stored."""
    plain = msgspec.to_builtins(open_order().doc)
    assert {"due", "holder", "payment", "outbox"}.isdisjoint(plain)
    assert plain["_id"] == ORDER


def test_story_without_order_owes_nothing_to_anybody():
    """The stories of these tests begin with nothing."""
    assert Story().order is None
