"""Orders that release 0.1.0 stored, continued by this release. The documents are its own (`documents_0_1_0.json`)."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    PAYMENT_REFUNDED,
    ConfirmIntent,
    FindRefund,
    ListCharges,
    PublishEvent,
    RefundCharge,
)
from payment.core.formats import FORMAT_OF_0_2_0
from payment.core.legacy import UNKNOWN_OUTCOME, upgraded
from payment.core.messages import EventPublished
from payment.core.order import FORMAT, AttemptState
from payment.core.pending import pending, with_deadline
from payment.core.replies import (
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    Reply,
    instrument_hash,
    payment_status,
)
from payment.core.schedule import CHARGE_LIFE, LEASE, LONGEST_LIST_DELAY, SHORTEST_RETRIEVAL_DELAY
from tests.unit.core.builders import (
    DOCUMENTS,
    DUE,
    ORDER,
    B,
    Story,
    blocked,
    cancelled,
    created,
    declined,
    listed,
    of_0_1_0,
    of_kind,
    present,
    refund_not_found,
    refunded,
    request,
    succeeded,
    with_dates,
)
from tests.unit.core.checks import check_document

S = AttemptState
PAYMENT_OF_0_1_0 = "payment-1"
UNSETTLED = [name for name in DOCUMENTS if name.startswith(("charging", "error stored"))] + ["abandoned"]


def stored(name: str) -> dict[str, Any]:
    """A document as the database stores it."""
    document: dict[str, Any] = with_dates(DOCUMENTS[name]["document"])
    return document


def settled_by_lists(story: Story) -> Story:
    """Process B makes lists at their times, all empty, until the search is over."""
    for _ in range(100):
        if not (lists := story.owed(ListCharges)):
            if story.doc.unsettled is None:
                return story
            story.due(by=B)
            continue
        story.later(seconds=61).decide(DUE, by=B)
        story.decide(*(listed(attempt=effect.attempt) for effect in lists), by=B)
    raise AssertionError("the search never ends")


# ----------------------------------------------------------------------------------------------------- in general


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_of_0_1_0_is_a_right_document_of_this_release(name: str) -> None:
    """Each of its states can be read, is stored again in this form, and keeps its deadline."""
    story = of_0_1_0(name)
    assert (story.doc.format, story.doc.id) == (FORMAT_OF_0_2_0, ORDER)
    check_document(with_deadline(story.doc))
    assert story.doc.due == stored(name).get("due")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_of_0_1_0_is_upgraded_once(name: str) -> None:
    """A document that has a later form already stays as it is, and so does one of a newer release."""
    document = upgraded(stored(name))
    assert upgraded(document) is document
    for newer in ({**stored(name), "format": FORMAT}, {**stored(name), "format": FORMAT + 1}):
        assert upgraded(newer) is newer


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_of_a_card_of_0_1_0_remains(name: str) -> None:
    """No card of it is ever sent again: its instrument is dropped, and its hash answers for ever."""
    order = of_0_1_0(name).doc
    assert all(attempt.instrument is None for attempt in order.attempts)
    assert "tok_1" not in msgspec.json.encode(order).decode()
    if order.attempts:
        assert order.attempts[0].token_hash == instrument_hash("tok_1")


def test_every_state_of_0_1_0_is_among_the_documents() -> None:
    """Otherwise no test would continue one of them."""
    states = {attempt["state"] for name in DOCUMENTS for attempt in stored(name).get("payment", {}).get("attempts", ())}
    assert states == {
        *UNKNOWN_OUTCOME,
        "declined",
        "refused",
        "closed",
        "paid",
        "refunding",
        "blocked",
        "refunded",
    }


@pytest.mark.parametrize(
    "payment",
    [None, 5, {"id": "p", "attempts": 5}, {"id": "p", "attempts": [5]}, {"id": "p", "strays": ["x"]}, {"id": "p"}],
)
def test_document_that_is_no_order_is_left_to_its_reader(payment: object) -> None:
    """It is no order; nothing is invented, and nothing raised."""
    document = {"_id": "order-9", "payment": payment}
    assert upgraded(document)["format"] == FORMAT_OF_0_2_0


def test_unsettled_attempt_without_a_task_is_due_at_its_last_send() -> None:
    """Its one rule needs only that time."""
    document = stored("charging")
    for task in (None, 5):
        document["payment"]["attempts"][0]["task"] = task
        attempt = upgraded(document)["payment"]["attempts"][0]
        assert attempt["task"] == {"kind": "list", "due": attempt["lastSent"], "issued": attempt["lastSent"]}


# ----------------------------------------------------------------------------------------- settled ones, as they are


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        (
            "declined",
            CardWasDeclined(PAYMENT_OF_0_1_0, "insufficient_funds", "Your card has insufficient funds."),
        ),
        ("refused", InstrumentRefused(request().instrument.kind, "No such token.")),
        ("paid", Paid(PAYMENT_OF_0_1_0, ORDER, "ch_1", replayed=True)),
        ("closed", Conflict.EXPIRED),
        ("withheld", Conflict.CANCELLED),
        ("refunded", Conflict.CANCELLED),
        ("cancelled before created", Denied.UNKNOWN),
        ("created after cancelled", Conflict.CANCELLED),
        ("stray refunding", Paid(PAYMENT_OF_0_1_0, ORDER, "ch_1", replayed=True)),
    ],
)
def test_same_token_again_gets_the_same_answer(name: str, reply: Reply) -> None:
    """By its hash, which both releases compute alike."""
    story = of_0_1_0(name)
    if name == "closed":
        story.dead()
    before = story.doc
    assert story.ask() == reply
    assert story.doc is before


def test_closed_attempt_on_an_order_that_is_open_still_answers_as_it_did() -> None:
    """0.1.0 closed attempts by lists, long before the order's end."""
    story = of_0_1_0("closed")
    reply = of_kind(CardWasDeclined, story.ask())
    assert reply == CardWasDeclined(PAYMENT_OF_0_1_0, "processing_error", reply.text)


def test_order_with_a_settled_attempt_of_0_1_0_is_paid_by_an_intent() -> None:
    """A new attempt has a PaymentIntent; the payment keeps its id."""
    story = of_0_1_0("declined")
    assert story.ask("tok_2") == OutcomePending(PAYMENT_OF_0_1_0, ORDER)
    confirm = story.one(ConfirmIntent)
    assert (confirm.attempt, confirm.intent.number, confirm.payment_id) == (2, 1, PAYMENT_OF_0_1_0)
    assert story.decide(succeeded()).state(2) is S.PAID


def test_paid_order_of_0_1_0_that_is_cancelled_is_given_back_by_its_charges_id() -> None:
    """To the end: the refund and both events."""
    story = of_0_1_0("paid").decide(cancelled())
    refund = story.one(RefundCharge)
    assert (refund.charge_id, refund.key) == ("ch_1", "refund-ch_1-1")
    event = story.decide(refunded()).one(PublishEvent)
    assert (event.subject, event.message_id) == (PAYMENT_REFUNDED, f"{PAYMENT_REFUNDED}:{PAYMENT_OF_0_1_0}")
    assert pending(story.decide(EventPublished(ORDER, event.message_id)).doc) == ()


def test_refund_of_0_1_0_is_carried_on_under_its_own_key() -> None:
    """Another process takes it over when its lease is over."""
    story = of_0_1_0("refunding").due(by=B)
    assert story.one(RefundCharge).key == "refund-ch_1-1"
    assert story.decide(refunded(), by=B).state() is S.REFUNDED
    story = of_0_1_0("refunding, charge read").due(by=B)
    assert story.one(FindRefund).key == "refund-ch_1-1"
    assert story.decide(refund_not_found(), by=B).one(RefundCharge).key == "refund-ch_1-2"


def test_blocked_refund_of_0_1_0_is_tried_again_slowly() -> None:
    """F44: the charge is retrieved first, then the next key is used."""
    story = of_0_1_0("blocked").due(by=B)
    assert story.one(FindRefund).charge_id == "ch_1"
    assert story.decide(refund_not_found(), by=B).one(RefundCharge).key == "refund-ch_1-2"
    assert story.decide(blocked(), by=B).state() is S.BLOCKED


@pytest.mark.parametrize("name", ["paid, event held", "paid, event given back", "outage of events", "refunded"])
def test_events_that_0_1_0_left_behind_are_published_in_their_order(name: str) -> None:
    """In an outage of the broker both wait; their message ids stay the same."""
    story, sent = of_0_1_0(name).due(by=B), []
    while story.doc.due is not None:
        effect = story.one(PublishEvent)
        sent.append(effect.message_id)
        story.decide(EventPublished(ORDER, effect.message_id), by=B)
    ids = [f"{subject}:{PAYMENT_OF_0_1_0}" for subject in (PAYMENT_CREATED, PAYMENT_REFUNDED)]
    assert sent == {"outage of events": ids, "refunded": ids[1:]}.get(name, ids[:1])


def test_stray_charge_of_0_1_0_is_given_back_as_an_attempt_of_its_own() -> None:
    """No attempt could claim it; another charge pays the order."""
    story = of_0_1_0("stray refunding").due(by=B)
    assert (present(story.doc.kept).charge_id, story.one(RefundCharge).charge_id) == ("ch_1", "ch_2")
    assert story.decide(refunded("ch_2", "re_2"), by=B).state(2) is S.REFUNDED
    assert [event.subject for event in story.doc.outbox] == [PAYMENT_CREATED]


# --------------------------------------------------------------------------------- unsettled ones, by the one rule


@pytest.mark.parametrize("name", UNSETTLED)
def test_unsettled_attempt_of_0_1_0_is_listed_and_never_sent(name: str) -> None:
    """Lists until 25 h after its last send, then closed; no confirm is ever pending for it."""
    story = of_0_1_0(name)
    assert (story.state(), story.doc.unsettled) == (S.CHARGING, story.attempt())
    assert story.owed(ListCharges)[0].attempt == 1
    assert story.owed(ConfirmIntent) == []
    last_sent = story.attempt().last_sent
    settled_by_lists(story)
    assert story.state() is S.CLOSED
    assert last_sent + CHARGE_LIFE <= story.now <= last_sent + CHARGE_LIFE + LONGEST_LIST_DELAY + 2 * LEASE
    assert story.owed(ConfirmIntent) == []


def test_lists_come_soon_while_a_charge_may_land_soon_and_every_hour_at_last() -> None:
    """The delay is the attempt's age, within bounds."""
    story = of_0_1_0("charging").decide(listed())
    assert story.doc.due == story.now + SHORTEST_RETRIEVAL_DELAY
    story.later(hours=5).decide(DUE, listed())
    assert story.doc.due == story.now + LONGEST_LIST_DELAY


@pytest.mark.parametrize("name", UNSETTLED)
def test_charge_that_is_found_is_paid_or_given_back(name: str) -> None:
    """Kept on an open order, given back on a cancelled one."""
    story = of_0_1_0(name)
    wanted = not story.doc.cancelled
    story.decide(listed(("ch_7", 1)))
    assert (story.state(), story.attempt().charge_id) == (S.PAID if wanted else S.REFUNDING, "ch_7")
    assert [effect.charge_id for effect in story.owed(RefundCharge) if effect.charge_id == "ch_7"] == ["ch_7"] * (
        not wanted
    )


def test_charge_that_is_found_given_back_is_refunded() -> None:
    """An operator refunded it in the dashboard: the refund is retrieved, and its id kept."""
    story = of_0_1_0("charging").decide(listed(("ch_7", 1), refunded=True))
    assert (story.state(), story.one(FindRefund).charge_id, story.doc.kept) == (S.REFUNDING, "ch_7", None)


def test_cancel_of_an_order_whose_charge_is_searched_goes_on_with_lists() -> None:
    """A charge that it finds is given back."""
    story = of_0_1_0("charging").decide(cancelled())
    assert (story.state(), story.one(ListCharges).attempt) == (S.CHARGING, 1)
    assert story.decide(listed(("ch_7", 1))).state() is S.REFUNDING


def test_order_whose_charge_is_searched_takes_no_other_card() -> None:
    """At most one card may charge: another one waits until the first is settled."""
    story = of_0_1_0("abandoned")
    assert (story.ask("tok_2"), story.ask("tok_1")) == (Conflict.UNDER_WAY, OutcomePending(PAYMENT_OF_0_1_0, ORDER))
    assert payment_status(story.doc, story.now) is PaymentStatus.PENDING
    settled_by_lists(story)
    assert isinstance(story.ask("tok_2"), OutcomePending)


def test_two_attempts_of_0_1_0_may_both_be_searched() -> None:
    """An abandoned attempt beside one that is charging: one list settles both."""
    story = of_0_1_0("abandoned, another charging")
    assert [story.state(1), story.state(2)] == [S.CHARGING, S.CHARGING]
    story.decide(listed(("ch_2", 2), ("ch_1", 1), attempt=2))
    assert (story.state(2), story.state(1), present(story.doc.kept).charge_id) == (S.PAID, S.REFUNDING, "ch_2")


def test_abandoned_attempt_beside_a_paid_one_is_found_and_given_back() -> None:
    """F18: one charge is kept at rest."""
    story = of_0_1_0("abandoned, another paid")
    assert story.ask("tok_2") == Paid(PAYMENT_OF_0_1_0, ORDER, "ch_2", replayed=True)
    story.decide(listed(("ch_2", 2), ("ch_1", 1)))
    assert (present(story.doc.kept).charge_id, story.one(RefundCharge).charge_id) == ("ch_2", "ch_1")


def test_list_shows_what_is_no_attempts_of_0_1_0_and_changes_nothing() -> None:
    """Charges of intents, and charges without an attempt, do not concern an old attempt's list."""
    story = of_0_1_0("charging").decide(listed(("ch_8", 7), ("ch_9", 0)))
    assert (story.state(), story.attempt().charge_id) == (S.CHARGING, None)
    story = of_0_1_0("declined").decide(request("tok_2"))
    before = story.doc
    assert story.decide(listed(("ch_9", 2), attempt=2), listed(attempt=7)).doc is before


def test_late_list_for_an_attempt_that_is_settled_changes_nothing() -> None:
    """Another process has settled it."""
    story = of_0_1_0("charging").decide(listed(("ch_7", 1)))
    before = story.doc
    assert story.decide(listed(), listed(("ch_7", 1))).later(days=3).decide(listed()).doc is before
    closed = of_0_1_0("closed").later(days=3)
    before = closed.doc
    assert closed.decide(listed()).doc is before


def test_list_that_lacks_an_attempt_which_was_settled_meanwhile_changes_nothing() -> None:
    """Another process had requested it before."""
    for name in ("declined", "refused"):
        story = of_0_1_0(name)
        before = story.doc
        assert story.decide(listed()).doc is before


def test_charge_belongs_to_one_attempt_whatever_a_list_shows() -> None:
    """A charge that an attempt has, or a stray one that is given back already, belongs to no other attempt."""
    story = of_0_1_0("abandoned, another charging").decide(listed(("ch_1", 1), ("ch_1", 2)))
    assert (story.state(1), story.state(2)) == (S.PAID, S.CHARGING)
    story = of_0_1_0("stray beside charging").decide(listed(("ch_9", 1)))
    assert (story.state(1), story.state(2)) == (S.CHARGING, S.REFUNDING)


def test_late_list_that_shows_a_charge_of_a_settled_attempt_counts() -> None:
    """Declined, refused, closed: the first charge on an open order is kept, every other one given back."""
    assert of_0_1_0("declined").decide(listed(("ch_7", 1))).state() is S.PAID
    assert of_0_1_0("closed").decide(cancelled(), listed(("ch_7", 1))).state() is S.REFUNDING


def test_list_that_was_lost_is_made_again_by_any_process() -> None:
    """Its task has a lease, like all others."""
    story = of_0_1_0("charging, taken over").due(by=B).later(seconds=60)
    assert story.decide(DUE).pending_of(story.one(ListCharges)).at == story.now + timedelta(seconds=60)


def test_order_that_a_cancel_announced_to_0_1_0_is_filled_in() -> None:
    """F22: created completes it, and it stays cancelled."""
    story = of_0_1_0("cancelled before created").decide(created())
    assert (story.doc.cancelled, story.doc.received) == (True, story.now)


def test_late_charge_of_0_1_0_is_given_back_while_its_order_is_paid_by_an_intent() -> None:
    """One charge is kept, and it is the intent's."""
    story = of_0_1_0("refunding, on an open order").decide(request("tok_2"), succeeded("ch_2"))
    assert present(story.doc.kept).charge_id == "ch_2"
    story.decide(refunded("ch_late"))
    assert [event.stripe_id for event in story.doc.outbox] == ["ch_2"]
    assert story.decide(declined(attempt=2)).state(2) is S.PAID
