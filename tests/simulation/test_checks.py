"""Every check catches what it is there for: one wrong is planted by hand in a journal in which all laws hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from payment.core.order import AttemptState, OrderStatus, Trigger
from tests.simulation import laws_of_money, laws_of_paper
from tests.simulation.checks import REST_CHECKS, STEP_CHECKS, judge
from tests.simulation.journal import (
    Acked,
    Buried,
    Exited,
    Met,
    Said,
    Stored,
    StripeAnswered,
    StripeAsked,
    StripeCharged,
    StripeRefunded,
    StripeSent,
    Wrote,
)
from tests.simulation.planted import (
    Journal,
    at,
    broken,
    changed,
    earlier,
    good,
    twice,
    with_attempt,
    without,
    written,
)

DAY_S = 86_400.0


def paid(order_id: str) -> Callable[[object], bool]:
    return lambda entry: getattr(entry, "order_id", None) == order_id


def is_charge(entry: StripeAsked | StripeSent) -> bool:
    return entry.kind == "charge" and entry.order_id == "o1"


def is_refund(entry: StripeAsked | StripeSent) -> bool:
    return entry.kind == "refund"


def on(subject: str) -> Callable[[Stored], bool]:
    return lambda entry: entry.subject == subject


def state_of_o1(state: AttemptState) -> Callable[[object], bool]:
    return lambda order: order.id == "o1" and bool(order.attempts) and order.attempts[0].state is state


def rewritten(journal: Journal, **fields: object) -> Journal:
    """With the last document of o1 written once more."""
    number = max(n for n, entry in enumerate(journal) if isinstance(entry, Wrote) and entry.order.id == "o1")
    entry = journal[number]
    order = structs.replace(entry.order, rev=entry.order.rev + 1, **fields)
    journal.insert(number + 1, structs.replace(entry, order=order))
    return journal


def second_attempt(journal: Journal) -> Journal:
    """With another attempt on o1, which is paid."""
    number = max(n for n, entry in enumerate(journal) if isinstance(entry, Wrote) and entry.order.id == "o1")
    order = journal[number].order
    extra = structs.replace(order.attempts[0], number=2, key="charge-x-2", token_hash="another", charge_id=None)
    payment = structs.replace(order.payment, attempts=(*order.attempts, extra))
    return rewritten(journal, payment=payment)


def charged_again(journal: Journal) -> Journal:
    return twice(journal, StripeCharged, paid("o1"), charge_id="ch_9", key="another key")


def only_created_again(order: object) -> object:
    return structs.replace(order, status=OrderStatus.CREATED)


def late(journal: Journal) -> Journal:
    """With the charge of o1 sent a day after its intent."""
    number = at(journal, StripeSent, is_charge)
    return changed(journal, StripeSent, is_charge, at_s=journal[number].at_s + DAY_S)


def taken_over(journal: Journal) -> Journal:
    """With the charge of o1 in the hands of another run of its process before it is sent."""
    number = at(journal, Wrote, lambda entry: state_of_o1(AttemptState.CHARGING)(entry.order))
    entry = journal[number]
    order = with_attempt(entry.order, 1, task=structs.replace(entry.order.attempts[0].task, holder="p1#another"))
    journal.insert(number + 1, structs.replace(entry, order=structs.replace(order, rev=order.rev + 1)))
    return journal


PLANTED: dict[str, tuple[str, Callable[[Journal], Journal]]] = {
    "a revision is left out": (
        "rev only grows",
        lambda j: without(j, Wrote, lambda e: e.order.id == "o1" and e.order.rev == 2),
    ),
    "a revision is written twice": ("rev only grows", lambda j: twice(j, Wrote, lambda e: e.order.id == "o1")),
    "a cancelled order is revived": (
        "what is absorbing",
        lambda j: written(j, lambda o: o.cancelled and o.rev > 5, only_created_again),
    ),
    "an attempt's key changes": (
        "what is absorbing",
        lambda j: written(j, state_of_o1(AttemptState.PAID), lambda o: with_attempt(o, 1, key="another")),
    ),
    "the payment's id changes": (
        "what is absorbing",
        lambda j: written(
            j,
            state_of_o1(AttemptState.PAID),
            lambda o: structs.replace(o, payment=structs.replace(o.payment, id="another")),
        ),
    ),
    "an attempt begins on a paid order": ("a new attempt begins only", second_attempt),
    "due is not set with the intent": (
        "due is there exactly",
        lambda j: written(j, state_of_o1(AttemptState.CHARGING), lambda o: structs.replace(o, due=None)),
    ),
    "an unsettled attempt is nobody's": (
        "due is there exactly",
        lambda j: written(
            j, state_of_o1(AttemptState.CHARGING), lambda o: structs.replace(with_attempt(o, 1, task=None), due=None)
        ),
    ),
    "a charge is neither kept nor given back": (
        "an attempt's charge",
        lambda j: written(j, state_of_o1(AttemptState.PAID), lambda o: with_attempt(o, 1, state=AttemptState.CLOSED)),
    ),
    "a pair outside the table is met": (
        "no pair of state and trigger",
        lambda j: [*j[:9], Met(1.0, "p1", AttemptState.PAID, Trigger.DUE), *j[9:]],
    ),
    "an ack comes before its write": (
        "no ack before",
        lambda j: earlier(j, Acked, lambda e: e.subject == "order:cancelled", at(j, Stored, on("order:cancelled")) + 1),
    ),
    "a poison is acknowledged and not kept": ("no ack before", lambda j: without(j, Buried)),
    "a good event is buried": (
        "only what can't be applied",
        lambda j: [
            *j[:-1],
            Buried(9.0, "p1", "x", "order:cancelled", j[at(j, Stored, on("order:cancelled"))].data, "bad"),
            j[-1],
        ],
    ),
    "an event goes out before its write": (
        "no event on the bus",
        lambda j: earlier(j, Stored, on("payment:created"), at(j, StripeCharged)),
    ),
    "one message id for both events": (
        "no event on the bus",
        lambda j: changed(j, Stored, on("payment:refunded"), message_id="the payment's"),
    ),
    "refunded before created": (
        "payment:refunded after",
        lambda j: without(j, Stored, lambda e: e.subject == "payment:created" and b'"o2"' in e.data),
    ),
    "an actor crashes by itself": (
        "no exception",
        lambda j: [*j[:9], Said(1.0, "p1", "error", "actor_crashed", {"exception": "KeyError"}), *j[9:]],
    ),
    "an exception is caught by nobody": (
        "no exception",
        lambda j: [*j[:9], Said(1.0, "p1", "critical", "uncaught_exception", {}), *j[9:]],
    ),
    "a process gives up": ("a process ends", lambda j: [*j[:9], Exited(1.0, "p1", 70), *j[9:]]),
    "a charge is sent before its intent": (
        "no request to Stripe before",
        lambda j: earlier(
            j,
            StripeSent,
            is_charge,
            at(j, Wrote, lambda e: state_of_o1(AttemptState.CHARGING)(e.order)),
        ),
    ),
    "a refund is sent before its intent": (
        "no request to Stripe before",
        lambda j: earlier(j, StripeSent, is_refund, at(j, Stored, on("order:cancelled"))),
    ),
    "a charge is taken over without a look": ("who takes a charge over", taken_over),
    "a key is sent with other parameters": (
        "no key with two parameter sets",
        lambda j: twice(j, StripeAsked, is_charge, fingerprint="(1, 'usd', 'tok_visa', 'p', 1)"),
    ),
    "another amount is asked for": (
        "a charge is asked for with",
        lambda j: changed(j, StripeAsked, is_charge, fingerprint="(1, 'usd', 'tok_visa', 'p', 1)"),
    ),
    "Stripe complains of a key": (
        "Stripe never says",
        lambda j: changed(j, StripeAnswered, is_charge, outcome="Unclear('other parameters for the key')"),
    ),
    "a key is sent after its time": ("no key is sent after", late),
    "a charge is sent after the order expired": (
        "no key is sent after",
        lambda j: changed(j, StripeSent, is_charge, at_s=901.0),
    ),
    "a key charges twice": ("a key charges once", lambda j: twice(j, StripeCharged, paid("o1"), charge_id="ch_9")),
    "two charges are kept for a while": ("L1: never two kept", charged_again),
    "another amount is charged": ("what is charged", lambda j: changed(j, StripeCharged, paid("o1"), amount=1)),
    "what was never charged is given back": (
        "a refund only for",
        lambda j: changed(j, StripeRefunded, lambda _: True, charge_id="ch_77"),
    ),
    "a charge is given back twice": (
        "a refund only for",
        lambda j: twice(j, StripeRefunded, lambda _: True, refund_id="re_9"),
    ),
    "a kept charge is given back": (
        "a refund only for",
        lambda j: twice(
            j, StripeRefunded, lambda _: True, refund_id="re_9", charge_id=j[at(j, StripeCharged)].charge_id
        ),
    ),
    "two charges are kept at rest": ("L1: an order keeps", charged_again),
    "the store knows nothing of a charge": ("L1: the documents say", charged_again),
    "a charge is never announced": ("L2: whoever", lambda j: without(j, Stored, on("payment:created"))),
    "the kept charge is never announced": ("L2: a kept charge's", lambda j: without(j, Stored, on("payment:created"))),
    "a payment without a charge is announced": ("L2: nobody else", lambda j: without(j, StripeCharged, paid("o1"))),
    "a cancelled order keeps its money": ("L3: a cancelled order", lambda j: without(j, StripeRefunded)),
    "a refund is never announced": ("L3: what a cancelled", lambda j: without(j, Stored, on("payment:refunded"))),
    "an event is lost": (
        "L4: every event",
        lambda j: [
            *j[:-1],
            structs.replace(j[at(j, Stored, on("order:cancelled"))], sequence=7, data=b'{"id": "o1"}'),
            j[-1],
        ],
    ),
    "a poison is lost": ("L4: every event", lambda j: without(without(j, Buried), Acked)),
    "a price is rounded": (
        "L4: an order costs",
        lambda j: [
            structs.replace(e, order=structs.replace(e.order, amount=1998))
            if isinstance(e, Wrote) and e.order.id == "o2"
            else e
            for e in j
        ],
    ),
    "a 201 is not true": ("L4: each 201", lambda j: without(j, StripeCharged, paid("o1"))),
    "an attempt never ends": (
        "L4: each 202",
        lambda j: without(j, Wrote, lambda e: e.order.id == "o1" and e.order.rev > 2),
    ),
    "an event is never marked": (
        "L4: each 202",
        lambda j: without(j, Wrote, lambda e: e.order.id == "o1" and e.order.rev > 3),
    ),
}


def test_every_law_holds_in_the_journal_that_wrongs_are_planted_in() -> None:
    """Else a test below would catch anything."""
    assert judge(good()) is None


@pytest.mark.parametrize(("law", "plant"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_wrong_is_caught(law: str, plant: Callable[[Journal], Journal]) -> None:
    """By the law that it breaks, whatever else it breaks beside it."""
    assert any(each.startswith(law) for each in broken(plant(good())))


def test_a_world_that_never_rests_breaks_a_law() -> None:
    """L4: the kernel's own complaint is a violation."""
    found = judge(good(), "o1 is due")
    assert found is not None
    assert "o1 is due" in str(found)


def test_no_check_is_without_a_planted_wrong() -> None:
    """A check that nothing shows to fail is none. History has tests of its own."""
    laws = {law for checks in STEP_CHECKS.values() for law, check in checks if check.__module__ in ELSEWHERE_NOT}
    laws |= {law for law, check in REST_CHECKS if check.__module__ in ELSEWHERE_NOT}
    planted = [law for law, _ in PLANTED.values()]
    assert {law for law in laws if not any(law.startswith(each) for each in planted)} == {DENIED}


ELSEWHERE_NOT = {laws_of_paper.__name__, laws_of_money.__name__, "tests.simulation.laws_at_rest"}
DENIED = "L4: whoever was told that a card was not charged keeps his money (F15)"
"""Planted in test_history.py, for it is about what was told."""
