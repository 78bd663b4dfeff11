"""Arbitrary sequences of messages: any order, duplicates, any attempt, intent or charge, two processes, jumping clocks.

No world could produce most of them. What must be true of every document and step (`checks`) holds all the same, and no
message raises: `decide` is total.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import hypothesis.strategies as st
from hypothesis import example, given, settings

from payment.core.decide import Step, decide
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.core.messages import (
    ActionRequired,
    Authentication,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargeRequested,
    ChargesListed,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    Context,
    CreateErrorStored,
    CreateRefused,
    DisputeLost,
    Due,
    EffectReturned,
    EventPublished,
    Failure,
    Instrument,
    InstrumentKind,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    LeaseRenewed,
    ListedCharge,
    Message,
    OrderCancelled,
    OrderCreated,
    RecheckRequested,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundRechecked,
    RefusalReason,
    RetrieveReason,
)
from payment.core.order import UNSETTLED, AttemptState, Order
from payment.core.pending import pending
from payment.core.replies import OutcomePending, Paid, RequiresAction, Start, payment_status
from payment.core.schedule import (
    KEY_LIFE,
    LEASE,
    LONGEST_BLOCKED_DELAY,
    LONGEST_DELAY,
    LONGEST_LIST_DELAY,
    LONGEST_RECHECK,
    LONGEST_RESEND_DELAY,
)
from tests.unit.core.builders import (
    A_AGAIN,
    DOCUMENTS,
    EXPIRES,
    GROUP,
    ORDER,
    PAYMENT,
    T0,
    VERSION,
    A,
    B,
    created,
    of_0_1_0,
    present,
    request,
)
from tests.unit.core.checks import check_step

Strategy = st.SearchStrategy
Turn = tuple[Message, str, timedelta]
"""A message, the process that decides it, and the time since the message before."""

ID = st.just(ORDER)
NUMBER = st.integers(0, 4)
INTENT = st.sampled_from([1, 1, 1, 2, 2, 3])
SEND = st.sampled_from([1, 1, 2, 2, 3])
CHARGE = st.sampled_from(["ch_1", "ch_2", "ch_3", "ch_4"])
FACTS = st.builds(
    ChargeFacts, CHARGE, st.sampled_from([False, False, True]), st.booleans(), st.sampled_from([0, 0, 500])
)
KEY = st.builds("refund-{}-{}".format, CHARGE, SEND)
INSTRUMENT = st.builds(
    Instrument, st.sampled_from(InstrumentKind), st.sampled_from(["tok_1", "tok_2", "tok_3", "tok_4"])
)
AUTHENTICATION = st.sampled_from([Authentication(), Authentication(use_stripe_sdk=True)])
TEXT = st.just("text")
GIVEN_BACK_BY = st.sampled_from(["text", "text", "other"])
FAILURE = st.builds(Failure, TEXT, st.none() | TEXT, TEXT)
REASON = st.sampled_from(RefusalReason)
EXPIRY = st.sampled_from([T0 + timedelta(minutes=15), EXPIRES])
EFFECT = st.sampled_from(
    [
        *(f"{kind}:{ORDER}:{number}" for kind in ("create", "confirm", "retrieve", "cancel") for number in (1, 2)),
        f"list:{ORDER}:1",
        "refund:refund-ch_1-1",
        "find-refund:refund-ch_1-1",
        f"publish:{PAYMENT_CREATED}:{PAYMENT}",
        f"publish:{PAYMENT_REFUNDED}:{PAYMENT}",
    ]
)


def of_intent(build: Callable[[Strategy[int], Strategy[str]], Strategy[Message]]) -> Strategy[Message]:
    """A message about one of the intents, with the id that this intent has."""
    return INTENT.flatmap(lambda number: build(st.just(number), st.just(f"pi_{number}")))


def retrieved(number: Strategy[int], intent_id: Strategy[str]) -> Strategy[IntentRetrieved]:
    open_statuses = [status for status in IntentStatus if status is not IntentStatus.SUCCEEDED]
    attempt, failure = st.none() | NUMBER, st.none() | FAILURE
    reason = st.sampled_from(RetrieveReason)
    return st.one_of(
        st.builds(
            IntentRetrieved, ID, number, intent_id, reason, st.just(IntentStatus.SUCCEEDED), FACTS, failure, attempt
        ),
        st.builds(
            IntentRetrieved, ID, number, intent_id, reason, st.sampled_from(open_statuses), st.none(), failure, attempt
        ),
    )


MESSAGE = st.one_of(
    st.builds(ChargeRequested, ID, st.sampled_from(["user-1", "user-1", "user-2"]), INSTRUMENT, AUTHENTICATION),
    st.builds(RecheckRequested, ID),
    st.builds(OrderCreated, ID, NUMBER, st.just("user-1"), EXPIRY, st.sampled_from([1, 1999]), st.just("usd")),
    st.builds(OrderCancelled, ID, NUMBER),
    of_intent(lambda number, intent_id: st.builds(IntentPrepared, ID, number, intent_id)),
    of_intent(lambda number, intent_id: st.builds(IntentCreated, ID, NUMBER, SEND, number, intent_id)),
    st.builds(CreateErrorStored, ID, INTENT),
    st.builds(CreateRefused, ID, INTENT, REASON, TEXT),
    of_intent(lambda number, id: st.builds(IntentSucceeded, ID, number, st.none() | id, FACTS, st.booleans())),
    of_intent(lambda number, id: st.builds(ActionRequired, ID, NUMBER, number, id, st.booleans(), st.booleans())),
    of_intent(lambda number, id: st.builds(CardDeclined, ID, NUMBER, number, id, FAILURE)),
    of_intent(lambda number, id: st.builds(ConfirmRefused, ID, NUMBER, SEND, number, id, REASON, TEXT)),
    of_intent(lambda number, id: st.builds(ConfirmUnclear, ID, NUMBER, SEND, number, st.none() | id, st.booleans())),
    of_intent(lambda number, id: st.builds(ConfirmWithheld, ID, NUMBER, SEND, number, st.none() | id)),
    of_intent(retrieved),
    of_intent(retrieved),
    st.builds(ChargesListed, ID, NUMBER, st.lists(st.builds(ListedCharge, FACTS, NUMBER), max_size=3).map(tuple)),
    st.builds(ChargeRefunded, ID, CHARGE, GIVEN_BACK_BY),
    st.builds(RefundBlocked, ID, CHARGE, st.none() | TEXT, TEXT),
    st.builds(RefundErrorStored, ID, CHARGE, KEY),
    st.builds(RefundNotFound, ID, CHARGE, KEY),
    st.builds(DisputeLost, ID, CHARGE, GIVEN_BACK_BY, st.none() | TEXT),
    st.builds(RefundRechecked, ID, CHARGE, GIVEN_BACK_BY, st.booleans(), st.none() | TEXT),
    st.builds(EventPublished, ID, st.sampled_from([f"{PAYMENT_CREATED}:{PAYMENT}", f"{PAYMENT_REFUNDED}:{PAYMENT}"])),
    st.builds(EffectReturned, ID, EFFECT),
    st.builds(LeaseRenewed, ID, st.lists(EFFECT, max_size=3).map(tuple)),
    st.builds(Due, ID),
    st.builds(Due, ID),
)
SPANS = [
    timedelta(0),
    timedelta(seconds=2),
    timedelta(seconds=61),
    timedelta(hours=1),
    timedelta(hours=7),
    timedelta(hours=24),
]
JUMPS = [timedelta(days=365), timedelta(days=-365), timedelta(hours=-40)]
STEPS = st.lists(
    st.tuples(MESSAGE, st.sampled_from([A, A, A_AGAIN, B]), st.sampled_from(SPANS * 3 + JUMPS)), max_size=30
)
NOW = timedelta(0)
PAYABLE: list[Turn] = [(created(), A, NOW), (request(), A, NOW)]
SEVERAL = settings(max_examples=100, deadline=None)


def walk(
    steps: list[Turn], order: Order | None = None, now: datetime = T0, *, prepare: bool = False
) -> Iterator[tuple[Message, Context, Order | None, Step]]:
    """Yields each step's message, context, the order before and after, and the reply."""
    for message, process, span in steps:
        now += span
        context = Context(now, process, VERSION, GROUP, prepare)
        step = decide(order, message, context)
        yield message, context, order, step
        order = step.order


@given(STEPS, st.booleans())
@settings(max_examples=250, deadline=None)
@example([(Due(ORDER), A, NOW), (EventPublished(ORDER, "x"), A, NOW)], False)
def test_any_sequence_keeps_every_document_and_step_right(steps: list[Turn], prepare: bool) -> None:
    """`check_step` after each: `due` is the earliest pending, one is kept, the rest is given back (F01, F02)."""
    for _, _, before, step in walk(PAYABLE + steps, prepare=prepare):
        check_step(before, step.order)
    for _, _, before, step in walk(steps, prepare=prepare):
        check_step(before, step.order)


@given(st.sampled_from(sorted(DOCUMENTS)), STEPS)
@settings(max_examples=150, deadline=None)
def test_any_sequence_keeps_every_document_of_0_1_0_right(name: str, steps: list[Turn]) -> None:
    """The same core continues them."""
    story = of_0_1_0(name)
    for _, _, before, step in walk(steps, story.doc, story.now):
        check_step(before, step.order)


@given(STEPS)
@SEVERAL
def test_any_sequence_replies_exactly_to_requests_and_by_the_document(steps: list[Turn]) -> None:
    """Paid only where the document is paid, by an order that is not cancelled; pending only with an open attempt."""
    for message, context, _, step in walk(PAYABLE + steps):
        assert (step.reply is not None) == isinstance(message, ChargeRequested)
        if isinstance(step.reply, Paid):
            order = present(step.order)
            assert not order.cancelled
            assert step.reply.stripe_id == present(order.kept).charge_id
        if isinstance(step.reply, OutcomePending | RequiresAction):
            assert present(step.order).unsettled is not None
        if isinstance(step.reply, RequiresAction):
            assert present(step.order).open_at(context.now)
        if isinstance(step.reply, Start):
            assert present(step.order).due is not None, "it waits for a due task"
        if step.order is not None:
            payment_status(step.order, context.now)


@given(STEPS)
@SEVERAL
def test_any_sequence_makes_a_cancelled_order_unpayable(steps: list[Turn]) -> None:
    """Cancel wins at any time: after it there is no confirm, no new attempt, no kept charge (F19, F20, F22)."""
    steps = [*PAYABLE, *steps[:12], (OrderCancelled(ORDER, 1), B, NOW), *steps[12:]]
    for _, _, before, step in walk(steps):
        if before is not None and before.cancelled:
            after = present(step.order)
            assert len(after.attempts) == len(before.attempts)
            assert (after.payment and after.payment.kept) == (before.payment and before.payment.kept)
            assert not any(attempt.state is AttemptState.PAID for attempt in after.attempts)


@given(STEPS)
@SEVERAL
def test_any_sequence_counts_a_send_only_while_its_key_is_young(steps: list[Turn]) -> None:
    """Each send is counted before `not_after`, within the key's life, on an open order (F17, F38)."""
    for _, context, before, step in walk(PAYABLE + steps):
        sends = {attempt.number: attempt.sends for attempt in before.attempts} if before else {}
        for attempt in step.order.attempts if step.order else ():
            if attempt.sends > sends.get(attempt.number, 0):
                assert context.now < attempt.not_after <= attempt.first_sent + KEY_LIFE
                assert present(step.order).open_at(context.now)


@given(STEPS)
@SEVERAL
def test_any_sequence_makes_work_due_soon_and_takes_what_is_absurdly_far_off(steps: list[Turn]) -> None:
    """No task is later than the longest delay, so that none is lost to a clock that was wrong (F38)."""
    latest = max(LONGEST_LIST_DELAY, LONGEST_BLOCKED_DELAY, LEASE + LONGEST_RESEND_DELAY)
    for _, context, before, step in walk(PAYABLE + steps):
        old = {item.at for item in pending(before)} if before else set()
        for item in pending(step.order) if step.order else ():
            assert item.at in old or item.at <= context.now + latest
        if step.order and step.order.due and step.order.due > context.now + LONGEST_DELAY:
            after = present(decide(step.order, Due(ORDER), context).order)
            assert after.due is None or after.due <= context.now + latest
        for attempt in step.order.attempts if step.order else ():
            if attempt.recheck is not None and (before is None or attempt not in before.attempts):
                assert attempt.recheck <= context.now + LONGEST_RECHECK


@given(STEPS)
@SEVERAL
def test_any_message_decided_twice_by_one_process_changes_nothing_more(steps: list[Turn]) -> None:
    """F01, F08: platform events and outcomes that settled something are idempotent."""
    once = (OrderCreated, OrderCancelled, CardDeclined, ChargeRefunded, IntentPrepared, ActionRequired)
    for message, context, _, step in walk(PAYABLE + steps):
        if isinstance(message, once):
            assert decide(step.order, message, context).order is step.order


@given(STEPS)
@SEVERAL
def test_any_sequence_is_ended_by_the_order_and_a_canceled_intent(steps: list[Turn]) -> None:
    """After any sequence: once the intent of an order that is over is known canceled, no attempt is unsettled."""
    *_, (_, context, _, step) = walk(PAYABLE + steps)
    order = present(step.order)
    intent = present(order.intent)
    late = Context(max(context.now, present(order.expires_at)), B, VERSION, GROUP)
    canceled = IntentRetrieved(ORDER, intent.number, intent.id or "pi_9", RetrieveReason.CANCEL, IntentStatus.CANCELED)
    order = present(decide(order, canceled, late).order)
    assert order.unsettled is None
    assert all(attempt.state not in UNSETTLED for attempt in order.attempts)
    assert present(order.intent).task is None


REFUNDS = st.one_of(
    st.builds(ChargeRefunded, ID, st.just("ch_1"), st.sampled_from(["re_1", "re_2"])),
    st.builds(RefundBlocked, ID, st.just("ch_1"), st.none(), TEXT),
    st.builds("refund-ch_1-{}".format, st.integers(1, 4)).flatmap(
        lambda key: st.sampled_from([RefundNotFound(ORDER, "ch_1", key), RefundErrorStored(ORDER, "ch_1", key)])
    ),
    st.builds(DisputeLost, ID, st.just("ch_1"), st.just("du_1")),
    st.builds(RefundRechecked, ID, st.just("ch_1"), st.sampled_from(["re_1", "re_2", "du_1"]), st.booleans()),
    st.builds(RefundRechecked, ID, st.just("ch_1"), st.sampled_from(["re_1", "re_2", "du_1"]), st.just(value=False)),
    st.builds(EventPublished, ID, st.just(f"{PAYMENT_CREATED}:{PAYMENT}")),
    st.builds(EventPublished, ID, st.just(f"{PAYMENT_REFUNDED}:{PAYMENT}")),
    st.builds(Due, ID),
)


@given(
    st.lists(
        st.tuples(REFUNDS, st.sampled_from([A, A, B]), st.sampled_from([*SPANS, timedelta(days=8)])),
        min_size=3,
        max_size=25,
    )
)
@settings(max_examples=250, deadline=None)
def test_any_sequence_of_refund_outcomes_keeps_every_document_right(steps: list[Turn]) -> None:
    """F44: a cancelled order's charge is refunded, fails, is charged back, in any sequence of outcomes."""
    paid: list[Turn] = [(created(), A, NOW), (request(), A, NOW)]
    paid += [(IntentSucceeded(ORDER, 1, "pi_1", ChargeFacts("ch_1")), A, NOW), (OrderCancelled(ORDER, 1), A, NOW)]
    for _, _, before, step in walk(paid + steps):
        check_step(before, step.order)
