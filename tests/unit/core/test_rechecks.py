"""Charges that were given back are rechecked, and a failed refund begins again, as transcripts (F44)."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    PAYMENT_DISPUTED,
    PAYMENT_REFUND_FAILED,
    PAYMENT_REFUNDED,
    FindRefund,
    PublishEvent,
    RecheckRefund,
    RefundCharge,
)
from payment.core.formats import FORMAT_OF_0_2_0
from payment.core.messages import ChargeFacts, EffectReturned, EventPublished, IntentSucceeded, LeaseRenewed
from payment.core.order import FORMAT, AttemptState
from payment.core.pending import pending, rechecks
from payment.core.refunds import REFUNDS_UNDONE_LIMIT
from payment.core.replies import Conflict, OutcomePending, Paid, PaymentStatus, payment_status
from payment.core.schedule import (
    FIRST_BLOCKED_DELAY,
    LEASE,
    LONGEST_DELAY,
    LONGEST_RECHECK,
    RECHECK_LATE,
    RECHECKS,
    in_time,
    next_recheck,
)
from tests.unit.core.builders import (
    BROWSER,
    CREATED_IS_OUT,
    DUE,
    ORDER,
    PAYMENT,
    REFUNDED_IS_OUT,
    B,
    Story,
    blocked,
    cancelled,
    charged_back,
    confirming,
    dispute_lost,
    given_back,
    given_back_by_hand,
    of_0_1_0,
    paid,
    present,
    refund_blocked,
    refund_error_stored,
    refund_failed,
    refund_not_found,
    refunded,
    refunding,
    retrieved_success,
    stands,
    succeeded,
    undone,
)

S = AttemptState
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def at_rest() -> Story:
    """Given back, and both events are out."""
    return given_back().decide(REFUNDED_IS_OUT)


def events(story: Story) -> list[tuple[str, str | None]]:
    """Subject and refund or dispute of each event, in order."""
    return [(event.subject, event.refund_id or event.dispute_id) for event in story.doc.outbox]


def publish_all(story: Story) -> list[str]:
    """Publish every event, one after the other. Returns their message ids."""
    ids = []
    while effects := story.owed(PublishEvent):
        ids.append(effects[0].message_id)
        story.decide(EventPublished(ORDER, effects[0].message_id))
    return ids


# ------------------------------------------------------------------------------------------------------- the rechecks


def test_refund_is_rechecked_after_an_hour_a_day_a_week_and_thirty_days() -> None:
    """F44: a bank returns a refund for up to 30 days; after that no recheck is pending any more."""
    story, since = at_rest(), at_rest().now
    for after in RECHECKS:
        assert (story.doc.due, story.doc.recheck) == (None, since + after)
        effect = story.recheck().one(RecheckRefund)
        assert (effect.charge_id, effect.amount, effect.given_back_by) == ("ch_1", 1999, "re_1")
        assert (story.doc.recheck, story.doc.due) == (None, story.now + LEASE)
        story.decide(stands())
    assert RECHECKS == (HOUR, DAY, 7 * DAY, 30 * DAY)
    assert (story.doc.recheck, story.doc.due, pending(story.doc), rechecks(story.doc)) == (None, None, (), ())
    assert (story.state(), story.doc.format) == (S.REFUNDED, FORMAT_OF_0_2_0)


def test_recheck_burdens_no_sweep_over_what_is_due_soon() -> None:
    """It is no pending effect: an order that waits only for it has no `due`."""
    story = at_rest()
    assert pending(story.doc) == ()
    (waiting,) = rechecks(story.doc)
    assert (waiting.at, waiting.holder) == (story.doc.recheck, None)
    assert waiting.effect.id == f"recheck-later:{ORDER}:recheck 1"
    before = story.doc
    assert story.later(minutes=59).decide(DUE).doc is before


def test_recheck_that_is_lost_is_made_again() -> None:
    """F32, F33: it is a task like any other while it is in flight."""
    story = at_rest().recheck()
    effect = story.one(RecheckRefund)
    assert effect.id == "recheck:ch_1:re_1"
    assert story.decide(EffectReturned(ORDER, effect.id)).doc.due == story.now
    assert story.decide(DUE, by=B).one(RecheckRefund) == effect
    assert story.later(seconds=40).decide(LeaseRenewed(ORDER, (effect.id,)), by=B).doc.due == story.now + LEASE
    assert story.decide(stands(), by=B).doc.recheck == story.now + RECHECKS[1] - RECHECKS[0]
    assert present(story.attempt().refund).rechecks == 1


def test_answer_of_a_process_that_was_overtaken_ends_no_recheck_of_another() -> None:
    """F34: that the refund stood is of the past; that it failed is final."""
    story = at_rest().recheck().due(by=B)
    before = story.doc
    assert story.decide(stands()).doc is before
    assert story.decide(undone()).state() is S.BLOCKED


def test_answer_about_an_earlier_refund_proves_nothing_about_this_one() -> None:
    """The earlier refund has failed, and the document shows it."""
    story = refund_failed().due().decide(refunded(refund_id="re_2"))
    before = story.doc
    assert story.decide(undone("re_1"), stands("re_1"), undone("re_9")).doc is before
    assert story.decide(stands("re_2")).doc is before, "no recheck is in flight"


def test_document_of_0_2_0_is_read_and_written_as_such_until_it_needs_more() -> None:
    """0.2.0 may run beside this release: it leaves format 3 alone, and reads all that is of format 2."""
    assert (paid().doc.format, refunding().doc.format, refund_blocked().doc.format) == (FORMAT_OF_0_2_0,) * 3
    reported = [given_back(), at_rest().recheck(), refund_failed(), charged_back()]
    assert {story.doc.format for story in reported} == {FORMAT}


# ------------------------------------------------------------------------------------------------ clocks that are wrong


@pytest.mark.parametrize("late", [timedelta(0), RECHECK_LATE])
def test_recheck_counts_when_it_is_made_at_about_its_time(late: timedelta) -> None:
    """A sweep comes once a minute, and a queue may be long."""
    story = at_rest()
    story.now = present(story.doc.recheck) + late
    assert present(story.decide(DUE, stands()).attempt().refund).rechecks == 1
    assert story.doc.recheck == story.now + RECHECKS[1] - RECHECKS[0]


def test_recheck_made_by_a_clock_that_is_ahead_ends_no_rechecks_early() -> None:
    """F38: it is made, because it may be true, and does not count."""
    story = at_rest().later(days=400)
    for _ in range(10):
        story.decide(DUE, stands())
        assert (present(story.attempt().refund).rechecks, story.doc.recheck) == (0, story.now + RECHECKS[0])
        story.later(days=400)
    story.now -= timedelta(days=4400)  # the clock is right again: the recheck that it has planned is absurdly far off
    assert present(story.doc.recheck) > story.now + LONGEST_RECHECK
    assert story.decide(DUE).one(RecheckRefund).given_back_by == "re_1"
    assert story.decide(stands()).doc.recheck == story.now + RECHECKS[0]


def test_recheck_written_by_a_clock_that_was_behind_does_not_count() -> None:
    """F38: otherwise all four would be overdue at once."""
    story = at_rest()
    story.now += timedelta(days=365)  # the clock is right from here on
    story.decide(DUE, stands())
    for after in (RECHECKS[0], RECHECKS[1] - RECHECKS[0], RECHECKS[2] - RECHECKS[1], RECHECKS[3] - RECHECKS[2]):
        assert story.doc.recheck == story.now + after
        story.recheck().decide(stands())
    assert story.doc.recheck is None


def test_recheck_has_a_bound_of_its_own() -> None:
    """F38: `due` keeps the effects that are pending within the hour."""
    assert LONGEST_DELAY < RECHECKS[1] < RECHECKS[-1] < LONGEST_RECHECK == 31 * DAY
    story = at_rest()
    before = story.doc
    story.now -= LONGEST_RECHECK - RECHECKS[0] - timedelta(seconds=1)
    assert story.decide(DUE).doc is before
    assert story.later(seconds=-2).decide(DUE).owed(RecheckRefund) != []
    assert not in_time(None, story.now)
    assert next_recheck(len(RECHECKS), story.now) is None


# -------------------------------------------------------------------------------------------------- a refund that fails


def test_refund_that_fails_after_it_succeeded_is_blocked_and_announced() -> None:
    """F44: blocked again, retried slowly, and an event tells the platform that the money did not arrive."""
    story = at_rest().recheck().decide(undone())
    assert (story.state(), present(story.attempt().refund).text) == (S.BLOCKED, "the refund has failed after all")
    assert events(story)[1:] == [(PAYMENT_REFUNDED, "re_1"), (PAYMENT_REFUND_FAILED, "re_1")]
    assert (story.doc.recheck, payment_status(story.doc, story.now)) == (None, PaymentStatus.REFUNDING)
    publish = story.one_of(PublishEvent)
    assert (publish.stripe_id, publish.refund_id, publish.dispute_id) == ("ch_1", "re_1", None)
    assert publish.message_id == f"{PAYMENT_REFUND_FAILED}:{PAYMENT}:re_1"
    story.decide(EventPublished(ORDER, publish.message_id))
    assert story.doc.due == story.now + FIRST_BLOCKED_DELAY
    assert story.due().one(FindRefund).key == "refund-ch_1-1"
    story.decide(refund_not_found())
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-2")


def test_next_refund_is_announced_again_and_rechecked_again() -> None:
    """Each event has a message id of its own: a broker drops none of them."""
    story = refund_failed()
    publish_all(story)
    story.due().decide(refund_not_found(), refunded(refund_id="re_2"))
    assert (story.state(), events(story)[-1]) == (S.REFUNDED, (PAYMENT_REFUNDED, "re_2"))
    assert story.doc.recheck == story.now + RECHECKS[0]
    assert publish_all(story) == [f"{PAYMENT_REFUNDED}:{PAYMENT}:ch_1:re_2"]
    story.recheck().decide(undone("re_2"))
    assert publish_all(story) == [f"{PAYMENT_REFUND_FAILED}:{PAYMENT}:re_2"]


def test_refund_that_fails_before_its_announcement_is_out_is_announced_after_it() -> None:
    """NATS was away for an hour: the events keep their order."""
    story = paid().decide(cancelled(), refunded()).recheck().decide(undone())
    subjects = [PAYMENT_CREATED, PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED]
    assert [subject for subject, _ in events(story)] == subjects
    assert [each.partition(f":{PAYMENT}")[0] for each in publish_all(story)] == subjects


def test_refund_that_is_reported_again_has_a_message_id_of_its_own() -> None:
    """Two events never share an id, whatever Stripe answers."""
    story = refund_failed().due().decide(refunded(refund_id="re_1")).recheck().decide(undone("re_1"))
    ids = publish_all(story)
    assert ids == [
        f"{PAYMENT_REFUND_FAILED}:{PAYMENT}:re_1",
        f"{PAYMENT_REFUNDED}:{PAYMENT}:ch_1:re_1:2",
        f"{PAYMENT_REFUND_FAILED}:{PAYMENT}:re_1:2",
    ]


def test_refund_that_keeps_failing_is_requested_no_more() -> None:
    """The card is closed: the alarm stays, events end, and an operator's refund is still found."""
    story = refund_failed()
    for number in range(2, REFUNDS_UNDONE_LIMIT + 1):
        publish_all(story)
        story.due().decide(refund_not_found(number=number - 1))
        while not (asked := story.owed(RefundCharge)):
            story.due()
        assert asked[0].key == f"refund-ch_1-{number}"
        story.decide(refunded(refund_id=f"re_{number}"))
        publish_all(story)
        story.recheck().decide(undone(f"re_{number}"))
    publish_all(story)
    for _ in range(3):
        story.due().decide(refund_not_found(number=REFUNDS_UNDONE_LIMIT))
        assert (story.state(), story.owed(RefundCharge)) == (S.BLOCKED, [])
    assert story.due().decide(refunded(refund_id="re_hand")).state() is S.REFUNDED
    assert publish_all(story) == [f"{PAYMENT_REFUNDED}:{PAYMENT}:ch_1:re_hand"]


def test_refund_that_was_never_announced_fails_unannounced() -> None:
    """Another charge pays the order, and its refund was not announced to the platform: its failure is not either."""
    story = of_0_1_0("stray refunding").decide(refunded("ch_2", "re_2"))
    before = events(story)
    story.recheck().decide(undone("re_2", "ch_2"))
    assert (story.state(2), events(story)) == (S.BLOCKED, before)
    payment = present(story.doc.payment)
    assert story.ask("tok_1") == Paid(payment.id, ORDER, "ch_1", replayed=True), "and the order stays paid"


def test_refund_by_hand_that_fails_is_given_back_by_us() -> None:
    """F49: an operator gave it back before the service knew it; it was announced, and the next intent paid the
    order."""
    story = given_back_by_hand().decide(refunded(refund_id="re_hand"), by=B)
    assert isinstance(story.ask("tok_2"), OutcomePending)
    story.decide(succeeded("ch_2", intent=2)).recheck().decide(undone("re_hand"))
    assert (story.state(1), story.state(2)) == (S.BLOCKED, S.PAID)
    assert events(story) == [
        (PAYMENT_REFUNDED, "re_hand"),
        (PAYMENT_CREATED, None),
        (PAYMENT_REFUND_FAILED, "re_hand"),
    ]
    publish_all(story)
    story.due().decide(refund_not_found(number=1))
    assert story.one(RefundCharge).charge_id == "ch_1"
    story.decide(refunded(refund_id="re_2"))
    assert events(story)[-1] == (PAYMENT_REFUNDED, "re_2"), (
        "the refund that was announced as failed is announced as done"
    )
    assert payment_status(story.doc, story.now) is PaymentStatus.PAID


def test_order_is_not_charged_again_while_a_refund_that_failed_is_not_made_again() -> None:
    """L1: the first charge is kept for now; another one would be the second."""
    story = given_back_by_hand().decide(refunded(), by=B).recheck().decide(undone())
    assert story.ask("tok_2") is Conflict.UNDER_WAY
    assert story.due().decide(refunded(refund_id="re_2")).state() is S.REFUNDED
    assert isinstance(story.ask("tok_2"), OutcomePending)


def test_two_charges_of_one_order_are_rechecked_each_by_itself() -> None:
    """Several charges landed on a cancelled order: the earliest recheck is the order's."""
    story = of_0_1_0("stray refunding").decide(cancelled(), refunded("ch_2", "re_2")).later(minutes=10)
    story.decide(refunded("ch_1", "re_1"))
    first, second = present(story.attempt(2).recheck), present(story.attempt(1).recheck)
    assert story.doc.recheck == first < second
    publish_all(story)
    assert story.recheck().one(RecheckRefund).charge_id == "ch_2"
    assert story.doc.recheck == second
    story.decide(undone("re_2", "ch_2"))
    assert (story.state(1), story.state(2)) == (S.REFUNDED, S.BLOCKED)
    assert payment_status(story.doc, story.now) is PaymentStatus.REFUNDING


def test_late_outcome_of_a_refund_that_failed_changes_nothing_for_the_worse() -> None:
    """F44: a retrieval from before the refund, an error stored for its key."""
    story = at_rest().recheck()
    before = story.doc
    assert story.decide(refund_not_found(), refund_error_stored(), blocked(), dispute_lost(), cancelled()).doc is before


# ------------------------------------------------------------------------------------------------------------- disputes


@pytest.mark.parametrize("begin", [refunding, refund_blocked, refund_failed])
def test_lost_dispute_is_an_end(begin: Callable[[], Story]) -> None:
    """The bank has given the money back: no lasting alarm, no refund, and an event tells the platform of the loss."""
    story = begin()
    story.decide(dispute_lost(text="the bank gave back 500 of 1999"))
    assert (story.state(), story.owed(RefundCharge)) == (S.CHARGED_BACK, [])
    assert payment_status(story.doc, story.now) is PaymentStatus.REFUNDED
    refund = present(story.attempt().refund)
    assert (refund.dispute_id, refund.text) == ("du_1", "the bank gave back 500 of 1999")
    assert publish_all(story)[-1] == f"{PAYMENT_DISPUTED}:{PAYMENT}:du_1"
    event = story.doc.outbox[-1]
    assert (event.subject, event.stripe_id, event.dispute_id, event.status) == (
        PAYMENT_DISPUTED,
        "ch_1",
        "du_1",
        "lost",
    )
    assert story.doc.due is None


def test_late_outcome_after_a_lost_dispute_changes_nothing() -> None:
    """The dispute is settled."""
    story = charged_back()
    before = story.doc
    story.decide(
        refunded(), blocked(), refund_not_found(), refund_error_stored(), dispute_lost("ch_1", "du_2"), cancelled()
    )
    assert story.doc is before


def test_lost_dispute_that_is_decided_anew_is_given_back_by_a_refund() -> None:
    """It is rare, and the dispute's status does change: the rechecks go on for 30 days."""
    story = charged_back()
    publish_all(story)
    for after in RECHECKS[:2]:
        effect = story.recheck().one(RecheckRefund)
        assert (effect.given_back_by, effect.charged_back, effect.id) == ("du_1", True, "recheck:ch_1:du_1")
        if after is RECHECKS[0]:
            story.decide(stands("du_1"))
    story.decide(undone("du_1"))
    assert (story.state(), publish_all(story)) == (S.BLOCKED, [])
    while not story.owed(RefundCharge):
        story.due().decide(refund_not_found())
    story.decide(refunded(refund_id="re_2"))
    assert publish_all(story) == [f"{PAYMENT_REFUNDED}:{PAYMENT}"]


def test_won_dispute_lets_the_refund_go_on() -> None:
    """The bank has decided for us: the cancelled order keeps nothing all the same (L3)."""
    story = refund_blocked().due().decide(refund_not_found())
    assert story.one(RefundCharge).charge_id == "ch_1"
    assert story.decide(refunded(refund_id="re_2")).state() is S.REFUNDED


# --------------------------------------------------------------------- successes that are refunded in part, or disputed


def charge(*, refunded: bool = False, disputed: bool = False, amount_refunded: int = 0) -> IntentSucceeded:
    return IntentSucceeded(ORDER, 1, "pi_1", ChargeFacts("ch_1", refunded, disputed, amount_refunded))


def test_success_that_was_refunded_in_part_is_paid_and_shows_how_much() -> None:
    """F49: the payment stays; a cancel gives back the rest."""
    story = confirming().decide(charge(amount_refunded=500))
    assert (story.state(), story.attempt().amount_refunded) == (S.PAID, 500)
    assert story.decide(CREATED_IS_OUT, cancelled()).one(RefundCharge).charge_id == "ch_1"
    assert confirming().decide(charge(refunded=True, amount_refunded=1999)).attempt().amount_refunded == 0


def test_success_that_is_disputed_is_paid_and_shows_the_dispute() -> None:
    """The bank has not decided. On a cancelled order Stripe blocks the refund until it has."""
    story = confirming().decide(charge(disputed=True))
    assert (story.state(), story.attempt().disputed) == (S.PAID, True)
    assert paid().attempt().disputed is False


def test_later_retrieval_of_a_paid_charge_notes_what_has_happened_to_it() -> None:
    """It stays paid; an older retrieval takes nothing back."""
    story = paid()
    story.decide(charge(disputed=True, amount_refunded=500))
    assert (story.state(), story.attempt().disputed, story.attempt().amount_refunded) == (S.PAID, True, 500)
    before = story.doc
    assert story.decide(charge(), retrieved_success()).doc is before
    assert story.ask(authentication=BROWSER) == Paid(PAYMENT, ORDER, "ch_1", replayed=True)
