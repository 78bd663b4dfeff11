"""Arbitrary sequences of messages: any order, duplicates, any attempt and charge, two processes, jumping clocks.

Most of them no world could produce. What must be true of every document and step (`checks`) holds all the same. One
pair alone is out of bounds: a list asked as stored for an attempt that is charging. It is asked only after an error was
stored, and from there no attempt goes back; a sequence that makes it up is ended there, and must not have changed
anything.
"""

from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import example, given, settings

from payment.core.decide import decide
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargeRefused,
    ChargeRequested,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    Due,
    EffectReturned,
    EventPublished,
    Evidence,
    FoundCharge,
    LeaseRenewed,
    Moment,
    OrderCancelled,
    OrderCreated,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.core.order import AttemptState, UnreachablePair
from payment.core.pending import pending
from payment.core.replies import Paid, Pending, payment_status
from payment.core.schedule import KEY_LIFE, LEASE, LONGEST_DELAY, LONGEST_LOOK_DELAY, LONGEST_RESEND_DELAY
from tests.core.builders import A_AGAIN, EXPIRES, ORDER, T0, VERSION, A, B
from tests.core.checks import check_step

ID = st.just(ORDER)
NUMBER = st.integers(0, 4)
SEND = st.integers(1, 3)
CHARGE = st.sampled_from(["ch_1", "ch_2", "ch_3", "ch_4"])
KEY = st.builds("refund-{}-{}".format, CHARGE, SEND)
TOKEN = st.sampled_from(["tok_1", "tok_2", "tok_3", "tok_4"])
TEXT = st.just("text")
EXPIRY = st.sampled_from([T0 + timedelta(minutes=15), EXPIRES])
EFFECT = st.sampled_from(
    [
        *(f"charge:charge-payment-1-{number}" for number in (1, 2)),
        *(f"find:{ORDER}:1:{evidence.value}" for evidence in Evidence),
        "refund:refund-ch_1-1",
        "find-refund:refund-ch_1-1",
        f"publish:{PAYMENT_CREATED}:payment-1",
        f"publish:{PAYMENT_REFUNDED}:payment-1",
    ]
)
FOUND = st.lists(st.builds(FoundCharge, CHARGE, NUMBER), max_size=3).map(tuple)

MESSAGE = st.one_of(
    st.builds(ChargeRequested, ID, st.sampled_from(["user-1", "user-1", "user-2"]), TOKEN, st.just("payment-1")),
    st.builds(OrderCreated, ID, NUMBER, st.just("user-1"), EXPIRY, st.sampled_from([1, 1999]), st.just("usd")),
    st.builds(OrderCancelled, ID, NUMBER),
    st.builds(CardCharged, ID, NUMBER, CHARGE),
    st.builds(CardDeclined, ID, NUMBER, TEXT, st.none() | TEXT, TEXT),
    st.builds(ChargeRefused, ID, NUMBER, SEND, st.sampled_from(RefusalReason), TEXT),
    st.builds(ChargeUnclear, ID, NUMBER, SEND),
    st.builds(ChargeErrorStored, ID, NUMBER),
    st.builds(ChargeWithheld, ID, NUMBER, SEND),
    st.builds(ChargesFound, ID, NUMBER, st.sampled_from(Evidence), FOUND),
    st.builds(ChargeRefunded, ID, CHARGE, TEXT),
    st.builds(RefundBlocked, ID, CHARGE, st.none() | TEXT, TEXT),
    st.builds(RefundErrorStored, ID, CHARGE, KEY),
    st.builds(RefundNotFound, ID, CHARGE, KEY),
    st.builds(EventPublished, ID, st.sampled_from([PAYMENT_CREATED, PAYMENT_REFUNDED])),
    st.builds(EffectReturned, ID, EFFECT),
    st.builds(LeaseRenewed, ID, st.lists(EFFECT, max_size=3).map(tuple)),
    st.builds(Due, ID),
)
SPANS = [timedelta(0), timedelta(seconds=1), timedelta(seconds=61), timedelta(hours=7), timedelta(hours=24)]
JUMPS = [timedelta(days=365), timedelta(days=-365), timedelta(hours=-40)]
STEPS = st.lists(
    st.tuples(MESSAGE, st.sampled_from([A, A, A_AGAIN, B]), st.sampled_from(SPANS * 3 + JUMPS)), max_size=25
)
PAYABLE = [
    (OrderCreated(ORDER, 0, "user-1", EXPIRES, 1999, "usd"), A, timedelta(0)),
    (ChargeRequested(ORDER, "user-1", "tok_1", "payment-1"), A, timedelta(0)),
]


def walk(steps):
    """Each step's message, moment, the order before and after, and the reply; ended by the pair nobody can produce."""
    order, now = None, T0
    for message, process, span in steps:
        now += span
        moment = Moment(now, process, VERSION)
        try:
            step = decide(order, message, moment)
        except UnreachablePair:
            assert isinstance(message, ChargesFound)
            assert message.evidence is Evidence.STORED
            assert order.attempts[message.attempt - 1].state is AttemptState.CHARGING
            return
        yield message, moment, order, step
        order = step.order


@given(STEPS)
@settings(max_examples=200, deadline=None)
@example([(Due(ORDER), A, timedelta(0)), (CardCharged(ORDER, 1, "ch_1"), A, timedelta(0))])
def test_any_sequence_keeps_every_document_and_step_right(steps):
    """`check_step` after each: `due` is the earliest pending, one is kept, the rest is given back (F01, F02)."""
    for _, _, before, step in walk(PAYABLE + steps):
        check_step(before, step.order)
    for _, _, before, step in walk(steps):
        check_step(before, step.order)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_any_sequence_replies_exactly_to_requests_and_by_the_document(steps):
    """Paid only where the document says paid, by an order that is not cancelled; pending only with intent on paper."""
    for message, moment, _, step in walk(PAYABLE + steps):
        assert (step.reply is not None) == isinstance(message, ChargeRequested)
        if isinstance(step.reply, Paid):
            assert not step.order.cancelled
            assert step.reply.stripe_id == step.order.kept.charge_id
        if isinstance(step.reply, Pending):
            assert step.order.unsettled is not None
        if step.order is not None:
            payment_status(step.order, moment.at)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_any_sequence_makes_a_cancelled_order_unpayable(steps):
    """Cancel wins at any time: from then on no charge effect, no new attempt, no kept charge (F19, F20, F22)."""
    steps = [*PAYABLE, *steps[:10], (OrderCancelled(ORDER, 1), B, timedelta(0)), *steps[10:]]
    for _, _, before, step in walk(steps):
        if before is not None and before.cancelled:
            assert len(step.order.attempts) == len(before.attempts)
            assert (step.order.payment and step.order.payment.kept) == (before.payment and before.payment.kept)
            assert not any(attempt.state is AttemptState.PAID for attempt in step.order.attempts)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_any_sequence_counts_a_send_only_while_its_key_is_young(steps):
    """Each send is counted before `not_after`, within the key's life, on an open order (F17, F38)."""
    for _, moment, before, step in walk(PAYABLE + steps):
        sends = {attempt.number: attempt.sends for attempt in before.attempts} if before else {}
        for attempt in step.order.attempts if step.order else ():
            if attempt.sends > sends.get(attempt.number, 0):
                assert moment.at < attempt.not_after <= attempt.first_sent + KEY_LIFE
                assert step.order.open_at(moment.at)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_any_sequence_makes_work_due_soon_and_takes_what_is_absurdly_far_off(steps):
    """No task is written further off than the longest delay, so that none is lost to a clock that was wrong (F38)."""
    latest = max(LONGEST_LOOK_DELAY, LEASE + LONGEST_RESEND_DELAY)
    for _, moment, before, step in walk(PAYABLE + steps):
        old = {item.at for item in pending(before)} if before else set()
        for item in pending(step.order) if step.order else ():
            assert item.at in old or item.at <= moment.at + latest
        if step.order and step.order.due and step.order.due > moment.at + LONGEST_DELAY:
            assert decide(step.order, Due(ORDER), moment).order.due <= moment.at + latest


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_any_message_told_twice_to_the_process_that_heard_it_changes_nothing_more(steps):
    """F01, F08: platform events and outcomes that settled something are idempotent."""
    once = (OrderCreated, OrderCancelled, CardCharged, CardDeclined, ChargeRefunded, EventPublished, Due)
    for message, moment, _, step in walk(PAYABLE + steps):
        if isinstance(message, once):
            assert decide(step.order, message, moment).order is step.order
