"""A journal in which every law holds, and the functions that plant one breach in it.

The journal is that of five undisturbed orders: o1 is paid, o2 is paid and then cancelled, o3 is declined with one card
and paid with another, o4 is paid by a customer who authenticates, o5 is cancelled while it awaits its customer; a
poison comes between. Change together with: `test_checks.py`, `test_history.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from msgspec import structs

from payment.core.order import Attempt, Order
from tests.simulation.checks import violations
from tests.simulation.journal import AnyEntry, Wrote
from tests.simulation.plan import EventPlan, OrderPlan, Plan, PressPlan
from tests.simulation.simulate import simulate

E = TypeVar("E", bound=AnyEntry)
Journal = list[AnyEntry]


ASKS = "tok_threeDSecureRequired"


def _press(at_s: float, customer: str, token: str = "tok_visa", bank: str = "") -> PressPlan:
    client = "sdk" if token == ASKS else ""
    return PressPlan(at_s, customer, "u1", token, 9.0, retries=0, reads=1, client=client, bank=bank, bank_after_s=1.0)


PLAN = Plan(
    seed=3,
    processes=1,
    orders=(
        OrderPlan(
            "o1", "u1", 20.0, "usd", 900.0, (EventPlan(0.5, "created"),), (_press(2.0, "c1"), _press(4.0, "c1z"))
        ),
        OrderPlan(
            "o2",
            "u1",
            19.99,
            "usd",
            900.0,
            (EventPlan(0.6, "created"), EventPlan(5.0, "cancelled")),
            (_press(2.2, "c2"),),
        ),
        OrderPlan(
            "o3",
            "u1",
            1200.0,
            "jpy",
            900.0,
            (EventPlan(0.7, "created"), EventPlan(1.0, "not json")),
            (_press(2.4, "c3", "tok_chargeDeclined"), _press(5.0, "c3z", "tok_amex")),
        ),
        OrderPlan(
            "o4", "u1", 20.0, "usd", 900.0, (EventPlan(0.8, "created"),), (_press(2.6, "c4", ASKS, "completes"),)
        ),
        OrderPlan(
            "o5",
            "u1",
            20.0,
            "usd",
            900.0,
            (EventPlan(0.9, "created"), EventPlan(5.5, "cancelled")),
            (_press(2.8, "c5", ASKS),),
        ),
    ),
    strikes=(),
    enabled=(),
    ends_s=8.0,
)


@functools.cache
def _good() -> tuple[AnyEntry, ...]:
    outcome = simulate(PLAN.seed, PLAN)
    assert outcome.trouble is None
    return tuple(outcome.journal)


def good() -> Journal:
    """The journal, as a list that a test may change."""
    return list(_good())


def broken(journal: Journal) -> set[str]:
    """The laws that a journal breaks."""
    return {violation.law for violation in violations(journal)}


def at(journal: Journal, kind: type[E], which: Callable[[E], bool] = lambda _: True) -> int:
    """The index of the first entry of a kind."""
    return next(n for n, entry in enumerate(journal) if isinstance(entry, kind) and which(entry))


def first(journal: Journal, kind: type[E], which: Callable[[E], bool] = lambda _: True) -> E:
    """The first entry of a kind."""
    return next(entry for entry in journal if isinstance(entry, kind) and which(entry))


def changed(journal: Journal, kind: type[E], which: Callable[[E], bool], **fields: object) -> Journal:
    """The journal with some fields of the first such entry changed."""
    number = at(journal, kind, which)
    journal[number] = structs.replace(journal[number], **fields)
    return journal


def without(journal: Journal, kind: type[E], which: Callable[[E], bool] = lambda _: True) -> Journal:
    """The journal without any such entry."""
    return [entry for entry in journal if not (isinstance(entry, kind) and which(entry))]


def twice(journal: Journal, kind: type[E], which: Callable[[E], bool], **fields: object) -> Journal:
    """The journal with the first such entry a second time, with some fields changed."""
    number = at(journal, kind, which)
    journal.insert(number + 1, structs.replace(journal[number], **fields))
    return journal


def earlier(journal: Journal, kind: type[E], which: Callable[[E], bool], before: int) -> Journal:
    """The journal with the first such entry moved to an earlier place."""
    journal.insert(before, journal.pop(at(journal, kind, which)))
    return journal


def written(journal: Journal, which: Callable[[Order], bool], change: Callable[[Order], Order]) -> Journal:
    """The journal with the first such document, and no other, written differently."""
    number = at(journal, Wrote, lambda entry: which(entry.order))
    entry = journal[number]
    assert isinstance(entry, Wrote)
    journal[number] = structs.replace(entry, order=change(entry.order))
    return journal


def with_attempt(order: Order, number: int, **fields: object) -> Order:
    """The order with some fields of one attempt changed."""
    assert order.payment is not None
    attempts: list[Attempt] = list(order.payment.attempts)
    attempts[number - 1] = structs.replace(attempts[number - 1], **fields)
    return structs.replace(order, payment=structs.replace(order.payment, attempts=tuple(attempts)))


def with_intent(order: Order, **fields: object) -> Order:
    """The order with some fields of its intent changed."""
    assert order.payment is not None
    assert order.payment.intent is not None
    return structs.replace(
        order, payment=structs.replace(order.payment, intent=structs.replace(order.payment.intent, **fields))
    )
