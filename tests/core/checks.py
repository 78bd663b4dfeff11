"""What must be true of every document that the core writes, and of every step from one to the next.

Stories, generated sequences and the model world all check these after each step.
"""

from datetime import datetime

import msgspec

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, ChargeCard
from payment.core.messages import client_id_of
from payment.core.order import ATTEMPTS_LIMIT, GIVING_BACK, HISTORY_LIMIT, UNSETTLED, AttemptState, Order
from payment.core.pending import pending

NEEDS_SOMEBODY = UNSETTLED | {AttemptState.ABANDONED, AttemptState.REFUNDING, AttemptState.BLOCKED}
"""The states in which an attempt is not at rest: nobody may forget it."""


def check_step(before: Order | None, after: Order | None) -> None:
    """One step: equal means identical, what is absorbing stays, and what is written is a right document."""
    if after is None:
        assert before is None
        return
    check_document(after)
    if before is None:
        return
    if after == before:
        assert after is before
    assert after.cancelled or not before.cancelled
    assert after.version >= before.version
    _check_frozen(before, after)


def check_document(order: Order) -> None:
    """One document by itself."""
    _check_due(order)
    _check_attempts(order)
    _check_charges(order)
    _check_outbox(order)
    assert len(order.history) <= HISTORY_LIMIT
    assert survives_storage(order)


def survives_storage(order: Order) -> bool:
    """Whether it comes back from the plain values that MongoDB keeps just as it was."""
    plain = msgspec.to_builtins(order, builtin_types=(datetime,))
    return msgspec.convert(plain, Order, builtin_types=(datetime,)) == order


def _check_due(order: Order) -> None:
    owed = sorted(pending(order), key=lambda item: item.at)
    assert order.due == (owed[0].at if owed else None)
    holders = [item.holder for item in owed if item.holder]
    assert order.holder == (client_id_of(holders[0]) if holders else None)
    ids = [item.effect.id for item in owed if item.holder]
    assert len(ids) == len(set(ids)), "two things in hand under one id would be taken for one"


def _check_attempts(order: Order) -> None:
    numbers = [attempt.number for attempt in order.attempts]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) <= ATTEMPTS_LIMIT
    assert len({attempt.key for attempt in order.attempts}) == len(numbers), "one key, one set of parameters"
    assert sum(attempt.state in UNSETTLED for attempt in order.attempts) <= 1
    for attempt in order.attempts:
        assert (attempt.settled is not None) == (attempt.state not in UNSETTLED)
        assert (attempt.task is not None) == (attempt.state in NEEDS_SOMEBODY)
        if attempt.settled or order.cancelled:
            assert attempt.token is None, "a token that can't be sent any more is not kept"
    for effect in (item.effect for item in pending(order)):
        if isinstance(effect, ChargeCard):
            assert not order.cancelled
            assert order.expires_at is not None
            assert effect.not_after <= order.expires_at


def _check_charges(order: Order) -> None:
    kept = order.kept
    charges = [attempt for attempt in (*order.attempts, *order.strays) if attempt.charge_id]
    assert len({attempt.charge_id for attempt in charges}) == len(charges)
    for attempt in charges:
        kept_and_paid = attempt is kept and not order.cancelled
        assert (attempt.state is AttemptState.PAID) == kept_and_paid
        assert kept_and_paid or (attempt.state in GIVING_BACK and attempt.refund is not None)
    assert all(attempt.charge_id is None for attempt in order.attempts if attempt.state not in _CHARGED)
    assert kept is None or kept.charge_id is not None


_CHARGED = GIVING_BACK | {AttemptState.PAID}


def _check_outbox(order: Order) -> None:
    subjects = [event.subject for event in order.outbox]
    assert subjects in ([], [PAYMENT_CREATED], [PAYMENT_REFUNDED], [PAYMENT_CREATED, PAYMENT_REFUNDED])
    assert (PAYMENT_CREATED in subjects) == (order.kept is not None)
    unpublished = [event for event in order.outbox if event.published is None]
    assert [event for event in order.outbox if event.task] == unpublished[:1], "only the first is being published"
    assert unpublished == list(order.outbox)[len(order.outbox) - len(unpublished) :], "in their order"


def _check_frozen(before: Order, after: Order) -> None:
    """What an attempt was begun with never changes, a settled one never becomes unsettled, and none is forgotten."""
    for old, new in zip(before.attempts, after.attempts, strict=False):
        frozen = ("number", "key", "amount", "currency", "api_version", "token_hash", "first_sent", "endpoint")
        assert all(getattr(old, name) == getattr(new, name) for name in frozen)
        assert new.sends >= old.sends
        assert new.not_after <= old.not_after
        assert old.state in UNSETTLED or new.state not in UNSETTLED
        assert old.charge_id in (None, new.charge_id)
    assert len(after.attempts) >= len(before.attempts)
    assert {stray.charge_id for stray in before.strays} <= {stray.charge_id for stray in after.strays}
    if before.payment is not None:
        assert after.payment is not None
        assert after.payment.id == before.payment.id
        assert before.payment.kept in (None, after.payment.kept)
