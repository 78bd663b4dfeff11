"""The invariants of every document that the core writes, and of every step from one to the next.

Stories, generated sequences and the model world check all of it after each step.
"""

import itertools
from datetime import datetime

import msgspec
from msgspec import structs

from payment.core.effects import (
    OUTGOING_SUBJECTS,
    PAYMENT_CREATED,
    PAYMENT_DISPUTED,
    PAYMENT_REFUND_FAILED,
    PAYMENT_REFUNDED,
    ConfirmIntent,
)
from payment.core.messages import client_id_of
from payment.core.order import (
    ATTEMPTS_LIMIT,
    FORMAT,
    GIVEN_BACK,
    GIVING_BACK,
    HISTORY_LIMIT,
    UNSETTLED,
    Attempt,
    AttemptState,
    IntentState,
    Order,
    OutboxEvent,
    TaskKind,
)
from payment.core.pending import pending, publication, rechecks, reindexed
from payment.core.validity import flaw
from payment.core.waits import waits

S = AttemptState
WITH_A_TASK = {S.CHARGING, S.REFUNDING, S.BLOCKED}
"""The states in which an attempt has a task of its own; those of unsettled ones are their intent's."""

INTENT_TASKS = {
    S.CONFIRMING: {TaskKind.CONFIRM, TaskKind.RETRIEVE, TaskKind.RECHECK_LATER},
    S.AWAITING: {TaskKind.RECHECK_LATER, TaskKind.RETRIEVE},
    S.CANCELLING: {TaskKind.CANCEL, TaskKind.RETRIEVE, TaskKind.RECHECK_LATER},
}
"""The kinds that an intent's task can have, by the state of the attempt that needs it."""

CHARGED = GIVING_BACK | {S.PAID}


def check_step(before: Order | None, after: Order | None) -> None:
    """One step: equal means identical, absorbing states stay, and the document that is written is right."""
    if after is None:
        assert before is None
        return
    if after is not before:
        check_document(after)
    if before is None:
        return
    if after == before:
        assert after is before
    assert after.cancelled or not before.cancelled
    assert after.version >= before.version
    _check_frozen(before, after)
    _check_intents(before, after)


def check_document(order: Order) -> None:
    """Check one document by itself."""
    _check_due(order)
    _check_format(order)
    _check_attempts(order)
    _check_intent(order)
    _check_charges(order)
    _check_outbox(order)
    assert len(order.history) <= HISTORY_LIMIT
    assert flaw(structs.replace(order, rev=1)) is None, "the core must be able to read its own documents"
    assert reindexed(order) is order
    assert survives_storage(order)


def survives_storage(order: Order) -> bool:
    """Whether the order comes back unchanged from the plain values that MongoDB keeps."""
    plain = msgspec.to_builtins(order, builtin_types=(datetime,))
    return msgspec.convert(plain, Order, builtin_types=(datetime,)) == order


def _check_due(order: Order) -> None:
    owed = sorted(pending(order), key=lambda item: item.at)
    assert order.due == (owed[0].at if owed else None)
    holders = [item.holder for item in owed if item.holder]
    assert order.holder == (client_id_of(holders[0]) if holders else None)
    assert sorted(wait.task.due for wait in waits(order)) == [item.at for item in owed], (
        "gauges count the pending effects"
    )
    assert order.recheck == min((item.at for item in rechecks(order)), default=None)
    ids = [item.effect.id for item in (*owed, *rechecks(order))]
    assert len(ids) == len(set(ids)), "two effects with one id would count as one"


def _check_format(order: Order) -> None:
    """Release 0.2.0 must be able to read what it can write again without a relevant loss."""
    kinds = {attempt.task.kind for attempt in order.attempts if attempt.task}
    failed = any(attempt.refund is not None and attempt.refund.undone for attempt in order.attempts)
    new_events = {event.subject for event in order.outbox} - {PAYMENT_CREATED, PAYMENT_REFUNDED}
    charged_back = any(attempt.state is S.CHARGED_BACK for attempt in order.attempts)
    new = order.recheck is not None or TaskKind.RECHECK_REFUND in kinds or failed or bool(new_events) or charged_back
    assert order.format == (FORMAT if new else 2)


def _check_attempts(order: Order) -> None:
    numbers = [attempt.number for attempt in order.attempts]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) <= ATTEMPTS_LIMIT
    unsettled = [attempt for attempt in order.attempts if attempt.state in UNSETTLED]
    assert len([attempt for attempt in unsettled if attempt.intent]) <= 1
    for attempt in order.attempts:
        assert (attempt.settled is not None) == (attempt.state not in UNSETTLED)
        if attempt.state in GIVEN_BACK:
            assert attempt.refund is not None
            assert attempt.given_back_by is not None
            assert attempt.task is None or attempt.task.kind is TaskKind.RECHECK_REFUND
            assert attempt.task is None or attempt.recheck is None, "it is retrieved now, or later"
        else:
            assert (attempt.task is not None) == (attempt.state in WITH_A_TASK)
            assert attempt.recheck is None
        assert (attempt.state is S.CHARGING) <= (attempt.intent == 0)
        if attempt.state is not S.CONFIRMING or order.cancelled:
            assert attempt.instrument is None, "a card that can't be sent any more is not kept"
    for effect in (item.effect for item in pending(order)):
        if isinstance(effect, ConfirmIntent):
            assert not order.cancelled
            assert order.expires_at is not None
            assert effect.not_after <= order.expires_at


def _check_intent(order: Order) -> None:
    numbers = [attempt.intent for attempt in order.attempts]
    assert numbers == sorted(numbers), "no earlier intent is used again"
    intent, unsettled = order.intent, order.unsettled
    if intent is None:
        assert not any(numbers)
        return
    assert all(number <= intent.number for number in numbers)
    if unsettled is not None:
        assert unsettled is order.attempts[-1]
        assert (unsettled.intent, intent.state) == (intent.number, IntentState.OPEN)
        assert intent.task is not None
        assert intent.task.kind in INTENT_TASKS[unsettled.state]
    elif intent.state is IntentState.OPEN and intent.exposed:
        assert intent.task is not None, "it can be confirmed by a browser: it is rechecked until it is canceled"
    assert intent.state is not IntentState.SUCCEEDED or intent.task is None


def _check_charges(order: Order) -> None:
    kept = order.kept
    charges = [attempt for attempt in order.attempts if attempt.charge_id]
    assert len({attempt.charge_id for attempt in charges}) == len(charges)
    for attempt in charges:
        kept_and_paid = attempt is kept and not order.cancelled
        assert (attempt.state is S.PAID) == kept_and_paid
        assert kept_and_paid or (attempt.state in GIVING_BACK and attempt.refund is not None)
    assert all(attempt.charge_id is None for attempt in order.attempts if attempt.state not in CHARGED)
    assert kept is None or kept.charge_id is not None


def _check_outbox(order: Order) -> None:
    subjects = [event.subject for event in order.outbox]
    assert set(subjects) <= set(OUTGOING_SUBJECTS)
    reported = [event for event in order.outbox if event.subject != PAYMENT_CREATED]
    for event in reported:
        refund, dispute = event.subject in (PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED), event.subject == PAYMENT_DISPUTED
        assert (event.refund_id is not None, event.dispute_id is not None) == (refund, dispute)
        assert (event.status is not None) == dispute
    for attempt in order.attempts:
        _check_events(attempt, [event for event in reported if event.stripe_id == attempt.charge_id])
    assert subjects.count(PAYMENT_CREATED) == (order.kept is not None)
    unpublished = [event for event in order.outbox if event.published is None]
    assert [event for event in order.outbox if event.task] == unpublished[:1], "only the first is being published"
    assert unpublished == list(order.outbox)[len(order.outbox) - len(unpublished) :], "in their order"
    if order.payment is not None:
        ids = [publication(order, order.payment, event).message_id for event in order.outbox]
        assert len(ids) == len(set(ids)), "a broker drops the second of two messages under one id"


def _check_events(attempt: Attempt, reported: list[OutboxEvent]) -> None:
    """The events about one charge, in order: a failure is of the refund that was announced before."""
    for before, after in itertools.pairwise([None, *reported]):
        if after is not None and after.subject == PAYMENT_REFUND_FAILED:
            assert before is not None
            assert (before.subject, before.refund_id) == (PAYMENT_REFUNDED, after.refund_id)
    if reported and attempt.state is S.REFUNDED:
        assert (reported[-1].subject, reported[-1].refund_id) == (
            PAYMENT_REFUNDED,
            attempt.refund and attempt.refund.id,
        )
    if reported and attempt.undone:
        assert reported[-1].subject != PAYMENT_REFUNDED, "the last event does not say that it is given back"
    if attempt.state is S.CHARGED_BACK:
        assert reported[-1].subject == PAYMENT_DISPUTED


def _check_frozen(before: Order, after: Order) -> None:
    """An attempt's first parameters never change, a settled attempt never becomes unsettled, and none is forgotten."""
    for old, new in zip(before.attempts, after.attempts, strict=False):
        frozen = ("number", "amount", "currency", "api_version", "token_hash", "first_sent", "not_after")
        assert all(getattr(old, name) == getattr(new, name) for name in frozen)
        assert new.sends >= old.sends
        assert old.state in UNSETTLED or new.state not in UNSETTLED
        assert old.charge_id in (None, new.charge_id)
        assert old.settled in (None, new.settled)
    assert len(after.attempts) >= len(before.attempts)
    if before.payment is not None:
        assert after.payment is not None
        assert after.payment.id == before.payment.id
        assert before.payment.kept in (None, after.payment.kept)


def _check_intents(before: Order, after: Order) -> None:
    """The next intent is made only once the last one can't be confirmed any more, or has no id and never could be."""
    old, new = before.intent, after.intent
    if old is None:
        return
    assert new is not None
    if new.number == old.number:
        assert (new.key, new.api_version) == (old.key, old.api_version)
        assert old.id in (None, new.id)
        assert new.exposed or not old.exposed
        return
    assert new.number == old.number + 1
    assert new.key != old.key
    assert (new.id, new.exposed) == (None, False)
    assert old.state is not IntentState.OPEN or old.id is None
