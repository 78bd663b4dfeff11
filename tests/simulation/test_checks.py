"""Every check catches its breach: each test plants one breach in a journal in which all laws hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec import structs

from payment.core.messages import IntentStatus
from payment.core.order import AttemptState, IntentState, Order, OrderStatus, Trigger
from tests.simulation import laws_of_documents, laws_of_money, laws_of_the_store
from tests.simulation.checks import REST_CHECKS, STEP_CHECKS, judge
from tests.simulation.journal import (
    Acked,
    ChargeAnswered,
    ChargePosted,
    DeadLetterKept,
    EventRejected,
    Exited,
    FaultStruck,
    IntentMoved,
    LineLogged,
    PairMet,
    Readiness,
    StayedReachable,
    Stored,
    StripeAnswered,
    StripeCharged,
    StripeReceived,
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
    first,
    good,
    twice,
    with_attempt,
    with_intent,
    without,
    written,
)
from tests.simulation.stripe import instrument_of
from tests.unit.core.builders import of_kind, present

DAY_S = 86_400.0
UNKNOWN_OUTCOME = b'{"errors":[{"code":"outcome_unknown","message":"outcome unknown: repeat the same request"}]}'


def paid(order_id: str) -> Callable[[object], bool]:
    return lambda entry: getattr(entry, "order_id", None) == order_id


def is_confirm(entry: StripeReceived | StripeSent | StripeAnswered) -> bool:
    return entry.kind == "confirm" and entry.order_id == "o1"


def is_create(entry: StripeReceived | StripeSent | StripeAnswered) -> bool:
    return entry.kind == "create" and entry.order_id == "o1"


def is_refund(entry: StripeReceived | StripeSent) -> bool:
    return entry.kind == "refund"


def on(subject: str) -> Callable[[Stored], bool]:
    return lambda entry: entry.subject == subject


def state_of_o1(state: AttemptState) -> Callable[[Order], bool]:
    return lambda order: order.id == "o1" and bool(order.attempts) and order.attempts[0].state is state


def rewritten(journal: Journal, **fields: object) -> Journal:
    """The journal with the last document of o1 written once more."""
    number = max(n for n, entry in enumerate(journal) if isinstance(entry, Wrote) and entry.order.id == "o1")
    entry = of_kind(Wrote, journal[number])
    order = structs.replace(entry.order, rev=entry.order.rev + 1, **fields)
    journal.insert(number + 1, structs.replace(entry, order=order))
    return journal


def second_attempt(journal: Journal) -> Journal:
    """The journal with another attempt on o1, which is paid."""
    number = max(n for n, entry in enumerate(journal) if isinstance(entry, Wrote) and entry.order.id == "o1")
    order = of_kind(Wrote, journal[number]).order
    confirming = AttemptState.CONFIRMING
    extra = structs.replace(order.attempts[0], number=2, token_hash="another", charge_id=None, state=confirming)
    payment = structs.replace(present(order.payment), attempts=(*order.attempts, extra))
    return rewritten(journal, payment=payment)


def misnumbered(order: Order) -> Order:
    """The order with its only attempt numbered as the fifth."""
    assert order.payment is not None
    attempt = structs.replace(order.payment.attempts[0], number=5)
    return structs.replace(order, payment=structs.replace(order.payment, attempts=(attempt,)))


def charged_again(journal: Journal) -> Journal:
    return twice(journal, StripeCharged, paid("o1"), charge_id="ch_9", intent_id="pi_9")


def only_created_again(order: Order) -> Order:
    return structs.replace(order, status=OrderStatus.CREATED)


def late(journal: Journal) -> Journal:
    """The journal with the confirm of o1 sent a day after its attempt began."""
    number = at(journal, StripeSent, is_confirm)
    return changed(journal, StripeSent, is_confirm, at_s=journal[number].at_s + DAY_S)


def taken_over(journal: Journal) -> Journal:
    """The journal with the confirm of o1 held by another process, which sends it."""
    number = at(journal, StripeSent, is_confirm)
    entry = first(journal, Wrote, lambda entry: state_of_o1(AttemptState.CONFIRMING)(entry.order))
    task = present(present(entry.order.intent).task)
    order = with_intent(entry.order, task=structs.replace(task, holder="p2#another"))
    journal[number] = structs.replace(journal[number], who="p2")
    journal.insert(number, structs.replace(entry, order=structs.replace(order, rev=order.rev + 1)))
    return journal


def cancel_sent(journal: Journal) -> Journal:
    """The journal with a cancel of o1's intent sent in place of its confirm."""
    number = at(journal, StripeSent, is_confirm)
    journal[number] = structs.replace(journal[number], kind="cancel")
    return journal


def intent_of(order_id: str, status: IntentStatus) -> Callable[[IntentMoved], bool]:
    return lambda entry: entry.order_id == order_id and entry.status is status


def awaits(order: Order) -> bool:
    return order.id == "o5" and bool(order.attempts) and order.attempts[0].state is AttemptState.AWAITING


def renamed(order: Order) -> Order:
    return structs.replace(order, payment=structs.replace(present(order.payment), id="another"))


def retrieved_later(order: Order) -> Order:
    task = present(present(order.intent).task)
    return with_intent(order, task=structs.replace(task, due=task.due + timedelta(hours=1)))


def expired_earlier(order: Order) -> Order:
    return structs.replace(order, expires_at=present(order.expires_at) - timedelta(hours=1))


def failed_and_awaited(journal: Journal) -> Journal:
    """The journal with five retrievals of o5 that show that its customer has failed."""
    number = at(journal, StripeAnswered, lambda entry: entry.kind == "retrieve" and entry.order_id == "o5")
    outcome = of_kind(StripeAnswered, journal[number]).outcome.replace("requires_action", "requires_payment_method")
    return [*journal[:number], *[structs.replace(journal[number], outcome=outcome)] * 5, *journal[number + 1 :]]


def another_intent(journal: Journal) -> Journal:
    """The journal with another intent of o1, which was confirmed and is open, before its confirm is sent."""
    number = at(journal, StripeSent, is_confirm)
    asked = journal[at(journal, StripeReceived, is_confirm)]
    moved = journal[at(journal, IntentMoved, paid("o1"))]
    journal.insert(number, structs.replace(asked, key="confirm-pi_9-1"))
    journal.insert(number, structs.replace(moved, intent_id="pi_9", status=IntentStatus.REQUIRES_ACTION))
    return journal


def awake_too_long(journal: Journal) -> Journal:
    """The journal with o1 confirming when all has been reachable for long."""
    number = at(journal, Wrote, lambda entry: state_of_o1(AttemptState.CONFIRMING)(entry.order))
    return [*journal[: number + 1], StayedReachable(40.0, "world", 30.0), *journal[number + 1 :]]


def given_back(order: Order) -> bool:
    return order.id == "o2" and order.recheck is not None


def refund_fails(journal: Journal) -> Journal:
    """The journal with the refund of o2 returned by its bank, at the very end."""
    return [*journal[:-1], structs.replace(journal[at(journal, StripeRefunded)], status="failed"), journal[-1]]


OTHER_REFUND = b'{"id": "p", "orderId": "o2", "stripeId": "ch_2", "refundId": "re_9"}'

PLANTED: dict[str, tuple[str, Callable[[Journal], Journal]]] = {
    "a confirm is sent with another account's key": (
        "nothing is sent to another account than the database's",
        lambda j: changed(j, StripeSent, is_confirm, account_id="acct_other"),
    ),
    "a revision is left out": (
        "rev only grows",
        lambda j: without(j, Wrote, lambda e: e.order.id == "o1" and e.order.rev == 2),
    ),
    "a revision is written twice": ("rev only grows", lambda j: twice(j, Wrote, lambda e: e.order.id == "o1")),
    "an attempt has another's number": (
        "nothing is decided about a document",
        lambda j: written(j, state_of_o1(AttemptState.PAID), misnumbered),
    ),
    "an order makes deciding raise": (
        "no unexpected exception",
        lambda j: [*j[:-1], LineLogged(j[-1].at_s, "p1", "error", "order_set_aside", {"order_id": "o1"}), j[-1]],
    ),
    "a cancelled order is revived": (
        "absorbing states stay",
        lambda j: written(j, lambda o: o.cancelled and o.rev > 5, only_created_again),
    ),
    "an attempt's card changes": (
        "absorbing states stay",
        lambda j: written(j, state_of_o1(AttemptState.PAID), lambda o: with_attempt(o, 1, token_hash="another")),
    ),
    "the intent's id changes": (
        "absorbing states stay",
        lambda j: written(j, lambda o: o.id == "o1" and o.rev == 4, lambda o: with_intent(o, id="pi_9")),
    ),
    "a create's key is drawn": (
        "payment ids and the keys of creates",
        lambda j: written(j, lambda o: o.id == "o1" and o.rev == 2, lambda o: with_intent(o, key="intent-x-1")),
    ),
    "a payment's id is drawn": (
        "payment ids and the keys of creates",
        lambda j: written(j, lambda o: o.id == "o1" and o.rev == 2, renamed),
    ),
    "an intent is open again": (
        "absorbing states stay",
        lambda j: written(j, lambda o: o.id == "o1" and o.rev == 4, lambda o: with_intent(o, state=IntentState.OPEN)),
    ),
    "a secret that was out is not any more": (
        "absorbing states stay",
        lambda j: written(j, lambda o: o.id == "o5" and o.rev == 5, lambda o: with_intent(o, exposed=False)),
    ),
    "the next intent begins while the last one is open": (
        "the next intent begins only",
        lambda j: written(j, lambda o: o.id == "o5" and o.rev == 5, lambda o: with_intent(o, number=2)),
    ),
    "an exposed intent is not rechecked": (
        "an open intent whose secret is out",
        lambda j: written(j, awaits, lambda o: with_intent(o, task=None)),
    ),
    "an awaiting intent is retrieved in an hour": (
        "an intent that awaits its customer",
        lambda j: written(j, awaits, retrieved_later),
    ),
    "a customer is awaited on a cancelled order": (
        "no attempt begins to await",
        lambda j: written(j, awaits, lambda o: structs.replace(o, status=OrderStatus.CANCELLED)),
    ),
    "a customer is awaited after the order expired": (
        "no attempt begins to await",
        lambda j: written(j, awaits, expired_earlier),
    ),
    "a customer who failed is awaited on": ("a customer who failed", failed_and_awaited),
    "a card is kept after it was charged": (
        "nothing of a customer's card",
        lambda j: written(
            j, state_of_o1(AttemptState.PAID), lambda o: with_attempt(o, 1, instrument=instrument_of("tok_visa"))
        ),
    ),
    "the payment's id changes": (
        "absorbing states stay",
        lambda j: written(j, state_of_o1(AttemptState.PAID), renamed),
    ),
    "an attempt begins on a paid order": ("a new attempt begins only", second_attempt),
    "due is not set with the intent": (
        "due is there exactly",
        lambda j: written(j, state_of_o1(AttemptState.CONFIRMING), lambda o: structs.replace(o, due=None)),
    ),
    "an unsettled attempt has no task": (
        "due is there exactly",
        lambda j: written(
            j, state_of_o1(AttemptState.CONFIRMING), lambda o: structs.replace(with_intent(o, task=None), due=None)
        ),
    ),
    "a charge is neither kept nor given back": (
        "an attempt's charge",
        lambda j: written(j, state_of_o1(AttemptState.PAID), lambda o: with_attempt(o, 1, state=AttemptState.CLOSED)),
    ),
    "a pair outside the table is met": (
        "no pair of state and trigger",
        lambda j: [*j[:9], PairMet(1.0, "p1", AttemptState.PAID, Trigger.FAILED), *j[9:]],
    ),
    "an ack comes before its write": (
        "no ack before",
        lambda j: earlier(j, Acked, lambda e: e.subject == "order:cancelled", at(j, Stored, on("order:cancelled")) + 1),
    ),
    "a poison is acknowledged and not kept": ("no ack before", lambda j: without(j, DeadLetterKept)),
    "a good event becomes a dead letter": (
        "only what can't be applied",
        lambda j: [
            *j[:-1],
            DeadLetterKept(9.0, "p1", "x", "order:cancelled", first(j, Stored, on("order:cancelled")).data, "bad"),
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
        "no unexpected exception",
        lambda j: [*j[:9], LineLogged(1.0, "p1", "error", "actor_crashed", {"exception": "KeyError"}), *j[9:]],
    ),
    "an exception is not caught": (
        "no unexpected exception",
        lambda j: [*j[:9], LineLogged(1.0, "p1", "critical", "uncaught_exception", {}), *j[9:]],
    ),
    "readiness is wrong about the store": (
        "readiness is wrong",
        lambda j: [*j[:9], Readiness(1.0, "p1", "store refuses writes", up=True), *j[9:]],
    ),
    "an outage is a storm of lines": (
        "an outage of the store is a few lines",
        lambda j: [
            *j[:9],
            *[LineLogged(1.0, "p1", "warning", "dependency_lost", {"dependency": "mongodb"})] * 7,
            *j[9:],
        ],
    ),
    "a commit fails in a storm of lines": (
        "an outage of the store is a few lines",
        lambda j: [
            *j[:9],
            *[LineLogged(1.0, "p1", "warning", "commit_unknown", {"order_id": "o1", "reason": "no majority"})] * 3,
            *j[9:],
        ],
    ),
    "a commit fails and no line says why": (
        "an outage of the store is a few lines",
        lambda j: [
            *j[:9],
            LineLogged(1.0, "p1", "warning", "commit_refused", {"order_id": "o1", "reason": ""}),
            *j[9:],
        ],
    ),
    "a refused write is answered as unknown": (
        "a request that the store refuses",
        lambda j: [
            FaultStruck(0.1, "world", "store refuses writes", ("F52",), ""),
            ChargePosted(0.1, "c1", 99, "o9", "u1", "tok_visa", "p1"),
            ChargeAnswered(0.2, "c1", 99, "o9", "u1", "tok_visa", 503, UNKNOWN_OUTCOME, 2),
            *j,
        ],
    ),
    "a process gives up": ("a process ends", lambda j: [*j[:9], Exited(1.0, "p1", 70), *j[9:]]),
    "a create is sent before its attempt": (
        "no request to Stripe before",
        lambda j: earlier(
            j, StripeSent, is_create, at(j, Wrote, lambda e: state_of_o1(AttemptState.CONFIRMING)(e.order))
        ),
    ),
    "a confirm is sent before its attempt": (
        "no request to Stripe before",
        lambda j: earlier(
            j, StripeSent, is_confirm, at(j, Wrote, lambda e: state_of_o1(AttemptState.CONFIRMING)(e.order))
        ),
    ),
    "a confirm is sent for an intent that is not the attempt's": (
        "no request to Stripe before",
        lambda j: changed(j, StripeSent, is_confirm, intent_id="pi_9"),
    ),
    "a refund is sent before its intent": (
        "no request to Stripe before",
        lambda j: earlier(j, StripeSent, is_refund, at(j, Stored, on("order:cancelled"))),
    ),
    "a confirm is taken over without a retrieval": ("a process that takes a confirm over", taken_over),
    "an old create is sent without a list": (
        "a create whose key may be forgotten",
        lambda j: changed(j, StripeSent, is_create, at_s=DAY_S),
    ),
    "an id is confirmed that no document has": (
        "an id that a create may not bring again",
        lambda j: changed(j, StripeSent, is_confirm, at_s=DAY_S, intent_id="pi_9"),
    ),
    "an intent is confirmed beside another": ("an intent is confirmed only", another_intent),
    "a key is sent with other parameters": (
        "no key with two parameter sets",
        lambda j: twice(j, StripeReceived, is_confirm, fingerprint="('pi_1', 1, False, 'tok_amex')"),
    ),
    "another amount is asked for": (
        "a request to Stripe has",
        lambda j: changed(j, StripeReceived, is_create, fingerprint="(1, 'usd', 'o1', 'p')"),
    ),
    "another card is asked for": (
        "a request to Stripe has",
        lambda j: changed(j, StripeReceived, is_confirm, fingerprint="('pi_1', 1, False, 'tok_amex')"),
    ),
    "Stripe complains of a key": (
        "Stripe never answers",
        lambda j: changed(j, StripeAnswered, is_confirm, outcome="Unclear('other parameters for the key')"),
    ),
    "a key is sent after its time": ("no key is confirmed after", late),
    "a confirm is sent after the order expired": (
        "no key is confirmed after",
        lambda j: changed(j, StripeSent, is_confirm, at_s=901.0),
    ),
    "an intent is cancelled for no reason": (
        "an intent is cancelled only",
        cancel_sent,
    ),
    "a canceled intent succeeds": (
        "an intent that is canceled",
        lambda j: twice(j, IntentMoved, intent_of("o5", IntentStatus.CANCELED), status=IntentStatus.SUCCEEDED),
    ),
    "an intent charges twice": (
        "an intent charges once",
        lambda j: twice(j, StripeCharged, paid("o1"), charge_id="ch_9"),
    ),
    "two charges are kept for a while": ("L1: no second charge", charged_again),
    "a payment by the customer's bank is a second one": (
        "L1: no second charge",
        lambda j: twice(j, StripeCharged, paid("o4"), charge_id="ch_9", intent_id="pi_9"),
    ),
    "a rejection by the bus is not logged": (
        "a rejection by the bus",
        lambda j: [
            *j[:9],
            *(EventRejected(j[8].at_s + late_s, "p1", "payment:created") for late_s in (0.0, 11.0)),
            *j[9:],
        ],
    ),
    "an outcome stays unknown": ("no unknown outcome is older", awake_too_long),
    "a secret is out at rest, and its intent open": (
        "no intent whose secret is out",
        lambda j: without(j, IntentMoved, intent_of("o5", IntentStatus.CANCELED)),
    ),
    "another amount is charged": ("what is charged", lambda j: changed(j, StripeCharged, paid("o1"), amount=1)),
    "a charge that was never made is given back": (
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
            j, StripeRefunded, lambda _: True, refund_id="re_9", charge_id=first(j, StripeCharged, paid("o1")).charge_id
        ),
    ),
    "two charges are kept at rest": ("L1: an order keeps", charged_again),
    "the store knows nothing of a charge": ("L1: the documents agree", charged_again),
    "a charge is never announced": ("L2: each charged customer", lambda j: without(j, Stored, on("payment:created"))),
    "the kept charge is never announced": ("L2: a kept charge's", lambda j: without(j, Stored, on("payment:created"))),
    "a payment without a charge is announced": ("L2: no other order", lambda j: without(j, StripeCharged, paid("o1"))),
    "a cancelled order keeps its money": ("L3: a cancelled order", lambda j: without(j, StripeRefunded)),
    "a refund is never announced": ("L3: the last status", lambda j: without(j, Stored, on("payment:refunded"))),
    "a refund fails, and no event announces it": ("L3: the last status", refund_fails),
    "a refund fails, and the money is kept": ("L3: a cancelled order", refund_fails),
    "a refund fails, and the store holds it as done": ("L1: the documents agree", refund_fails),
    "a refund that was never announced is announced as failed": (
        "payment:refunded after payment:created (F21), and before",
        lambda j: changed(j, Stored, on("payment:refunded"), subject="payment:refund_failed"),
    ),
    "two events have one message id": (
        "no event on the bus",
        lambda j: twice(j, Stored, on("payment:refunded"), data=OTHER_REFUND),
    ),
    "a charge that was given back is not rechecked": (
        "a charge that was given back is rechecked",
        lambda j: written(j, given_back, lambda o: structs.replace(with_attempt(o, 1, recheck=None), recheck=None)),
    ),
    "a recheck is in no index": (
        "a charge that was given back is rechecked",
        lambda j: written(j, given_back, lambda o: structs.replace(o, recheck=None)),
    ),
    "an event is lost": (
        "L4: every event",
        lambda j: [
            *j[:-1],
            structs.replace(j[at(j, Stored, on("order:cancelled"))], sequence=7, data=b'{"id": "o1"}'),
            j[-1],
        ],
    ),
    "a poison is lost": ("L4: every event", lambda j: without(without(j, DeadLetterKept), Acked)),
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


def test_every_law_holds_in_the_journal_before_planting() -> None:
    """If the journal broke a law already, the tests below would prove nothing."""
    assert judge(good()) is None


@pytest.mark.parametrize(("law", "plant"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_breach_is_caught(law: str, plant: Callable[[Journal], Journal]) -> None:
    """The check of the breached law catches it, whatever other laws the journal breaks."""
    assert any(each.startswith(law) for each in broken(plant(good())))


def test_a_world_that_never_rests_breaks_a_law() -> None:
    """L4: a world that never came to rest is a violation."""
    found = judge(good(), "o1 is due")
    assert found is not None
    assert "o1 is due" in str(found)


def test_every_check_has_a_planted_breach() -> None:
    """A check that no planted journal breaks proves nothing. History has tests of its own."""
    laws = {law for checks in STEP_CHECKS.values() for law, check in checks if check.__module__ in ELSEWHERE_NOT}
    laws |= {law for law, check in REST_CHECKS if check.__module__ in ELSEWHERE_NOT}
    planted = [law for law, _ in PLANTED.values()]
    assert {law for law in laws if not any(law.startswith(each) for each in planted)} == {DENIED}


ELSEWHERE_NOT = {
    *(module.__name__ for module in (laws_of_documents, laws_of_money, laws_of_the_store)),
    "tests.simulation.laws_at_rest",
}
DENIED = "L4: a card that an answer calls not charged pays for nothing (F15)"
"""Planted in test_history.py, because it is about answers."""
