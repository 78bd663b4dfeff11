"""The store's revisions explain each answer, or a check catches it: these tests change the answers of a journal."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from msgspec import structs

from payment.core.order import AttemptState, CancelReason, OrderStatus
from tests.simulation.checks import violations
from tests.simulation.history import NOTHING_CHARGED
from tests.simulation.journal import (
    ChargeAnswered,
    ChargePosted,
    FaultStruck,
    PaymentRead,
    PaymentRequested,
    RequestFailed,
    StripeAnswered,
    Wrote,
)
from tests.simulation.planted import Journal, at, broken, changed, earlier, first, good, with_attempt, without
from tests.unit.core.builders import of_kind

EXPLAINED = "a reply is explained"
READ = "what a GET reports of a payment"
EXPIRED_S = 1_000.0
"""After the expiry of orders that can be paid for 900 s."""
FRESH = "a client secret is shown only"
GIVING_WAY = '"nothing was charged" is no answer to a request'
NOT_DENIED = "no attempt begins"
DENIED = "L4: a card that an answer calls not charged"


def to(customer: str) -> Callable[[ChargeAnswered], bool]:
    return lambda entry: entry.who == customer


def error(message: str, code: str = "unavailable", **more: str) -> bytes:
    return json.dumps({"id": "p", "errors": [{"message": message, "code": code} | more]}).encode()


def reported(customer: str, status: int, body: bytes) -> Callable[[Journal], Journal]:
    return lambda journal: changed(journal, ChargeAnswered, to(customer), status=status, body=body)


def pressed_before(journal: Journal, customer: str) -> int:
    return at(journal, ChargePosted, lambda entry: entry.who == customer)


PAID_ELSEWHERE = b'{"id": "p", "orderId": "o1", "stripeId": "ch_77", "status": "paid"}'

PLANTED: dict[str, tuple[str, Callable[[Journal], Journal]]] = {
    "201 before its write": (
        EXPLAINED,
        lambda j: earlier(j, ChargeAnswered, to("c1"), pressed_before(j, "c1") + 1),
    ),
    "201 with another's charge": (EXPLAINED, reported("c1", 201, PAID_ELSEWHERE)),
    "201 again, where 200 is due": (EXPLAINED, lambda j: changed(j, ChargeAnswered, to("c1z"), status=201)),
    "201 for a declined card": (
        EXPLAINED,
        lambda j: changed(j, ChargeAnswered, to("c3"), status=201, body=PAID_ELSEWHERE),
    ),
    "202 once it is settled": (
        EXPLAINED,
        lambda j: changed(j, ChargeAnswered, to("c1z"), status=202, body=_pending_of(j, "c1z")),
    ),
    "402 for a card that was charged": (
        EXPLAINED,
        reported("c1", 402, error("Declined", "declined", decline_code="generic_decline")),
    ),
    "402 with another decline": (
        EXPLAINED,
        reported("c3", 402, error("Declined", "declined", decline_code="lost_card")),
    ),
    "400 for a good token": (EXPLAINED, reported("c1", 400, error("No such token", field="token"))),
    "403 to the owner": (EXPLAINED, reported("c1", 403, error("The order belongs to somebody else"))),
    "404 for an order that is there": (EXPLAINED, reported("c1", 404, error("No such order"))),
    "409 cancelled, before the cancel": (
        EXPLAINED,
        reported("c2", 409, error("The order has been cancelled", "order_cancelled")),
    ),
    "409 expired, before its time": (EXPLAINED, reported("c1", 409, error("The order has expired", "order_expired"))),
    "409 paid, to the payer": (
        EXPLAINED,
        reported("c1", 409, error("The order has already been paid", "already_paid")),
    ),
    "409 under way, with nothing under way": (
        EXPLAINED,
        reported("c1z", 409, error("Another attempt to pay this order is not settled yet", "under_way")),
    ),
    "a secret that is another intent's": (EXPLAINED, lambda j: _with_secret(j, "c4", "pi_1_secret_x")),
    "a secret for a client that can't authenticate": (
        EXPLAINED,
        lambda j: changed(j, ChargePosted, lambda e: e.who == "c4", authenticates=False),
    ),
    "a secret after the order was cancelled": (EXPLAINED, lambda j: _secret_again(j, "c5")),
    "a secret after the order expired": (
        EXPLAINED,
        lambda j: changed(j, ChargePosted, lambda e: e.who == "c4", at_s=EXPIRED_S),
    ),
    "a secret is read after the order expired": (
        READ,
        lambda j: changed(j, PaymentRequested, lambda e: e.who == "c5", at_s=EXPIRED_S),
    ),
    "a secret after it was paid": (EXPLAINED, lambda j: _secret_again(j, "c4")),
    "a secret is read after the order was cancelled": (READ, lambda j: _moved_to_the_end(j, "c5")),
    "a secret of long ago": (
        FRESH,
        lambda j: without(j, StripeAnswered, lambda e: e.order_id == "o4" and "requires_action" in e.outcome),
    ),
    "nothing was charged, while a card was superseded": (GIVING_WAY, lambda j: _superseded(j)),
    "authentication_required for a card that was declined": (
        EXPLAINED,
        reported("c3", 402, error("Declined", "authentication_required", decline_code="authentication_required")),
    ),
    "422 for a good amount": (EXPLAINED, reported("c1", 422, error("The order's amount can't be charged"))),
    "429 on a first attempt": (EXPLAINED, reported("c1", 429, error("Too many attempts to pay this order"))),
    "503 that does not say whether it charged": (EXPLAINED, reported("c1", 503, error("Later"))),
    "500": (EXPLAINED, reported("c1", 500, error("Something went wrong on our side; outcome unknown"))),
    "nothing was charged, and then it is": (
        NOT_DENIED,
        reported("c2", 503, error("The database can't be reached; nothing was charged by this request")),
    ),
    "a charge without a request": (NOT_DENIED, lambda j: without(j, ChargePosted, lambda e: e.who == "c3z")),
    "a card is denied and kept": (DENIED, reported("c1", 402, error("Declined", "declined", decline_code="lost_card"))),
    "a paid order is read as declined": (READ, lambda j: _read_as(j, "c1", "declined")),
    "a payment is read by a stranger": (READ, lambda j: changed(j, PaymentRead, lambda _: True, user="u2")),
    "a payment is hidden from its owner": (READ, lambda j: changed(j, PaymentRead, lambda _: True, status=404)),
}


def _superseded(journal: Journal) -> Journal:
    """The journal with a request for o5 with another card, which superseded the first one, answered in the meantime."""
    number = at(journal, Wrote, lambda e: e.order.id == "o5" and e.order.attempts[:1] != () and e.order.rev == 6)
    entry, pressed = of_kind(Wrote, journal[number]), first(journal, ChargePosted, lambda e: e.who == "c5")
    superseded = with_attempt(entry.order, 1, cancel_reason=CancelReason.SUPERSEDED)
    journal[number] = structs.replace(entry, order=structs.replace(superseded, status=OrderStatus.CREATED))
    reported = ChargeAnswered(entry.at_s, "c5", 99, "o5", "u1", "tok_amex", 503, error(f"Away; {NOTHING_CHARGED}"), 1)
    journal.insert(number + 1, reported)
    journal.insert(number, structs.replace(pressed, at_s=entry.at_s, request_no=99, token="tok_amex"))
    return journal


def _with_secret(journal: Journal, customer: str, secret: str) -> Journal:
    body = json.loads(first(journal, ChargeAnswered, to(customer)).body) | {"clientSecret": secret}
    return changed(journal, ChargeAnswered, to(customer), body=json.dumps(body).encode())


def _secret_again(journal: Journal, customer: str) -> Journal:
    """The journal with the last answer to a customer in place of the first one, which had the secret."""
    answer = first(journal, ChargeAnswered, to(customer))
    number = max(n for n, entry in enumerate(journal) if isinstance(entry, ChargeAnswered) and entry.who == customer)
    journal[number] = structs.replace(journal[number], status=answer.status, body=answer.body)
    return journal


def _moved_to_the_end(journal: Journal, customer: str) -> Journal:
    """The journal with a customer's GET sent, and answered as before, when all is over."""
    sent = journal.pop(at(journal, PaymentRequested, lambda entry: entry.who == customer))
    answer = journal.pop(at(journal, PaymentRead, lambda entry: entry.who == customer))
    return [*journal[:-1], sent, answer, journal[-1]]


def _pending_of(journal: Journal, customer: str) -> bytes:
    body = json.loads(first(journal, ChargeAnswered, to(customer)).body)
    return json.dumps({"id": body["id"], "orderId": body["orderId"], "status": "pending"}).encode()


def _read_as(journal: Journal, customer: str, status: str) -> Journal:
    body = json.loads(first(journal, PaymentRead, lambda entry: entry.who == customer).body) | {"status": status}
    return changed(journal, PaymentRead, lambda entry: entry.who == customer, body=json.dumps(body).encode())


@pytest.mark.parametrize(("law", "plant"), PLANTED.values(), ids=PLANTED.keys())
def test_an_answer_that_nothing_explains_is_caught(law: str, plant: Callable[[Journal], Journal]) -> None:
    """Each status of the contract, where no revision gives it."""
    journal = plant(good())
    pressed = {entry.request_no for entry in journal if isinstance(entry, ChargePosted)}
    posts = [entry for entry in journal if not isinstance(entry, ChargeAnswered) or entry.request_no in pressed]
    assert any(each.startswith(law) for each in broken(posts))


@pytest.mark.parametrize("expired", ["a secret after the order expired", "a secret is read after the order expired"])
def test_by_a_clock_that_was_put_back_an_expired_order_is_alive(expired: str) -> None:
    """F38: the service shows a secret where it would let the order be paid; only its clock could prevent that."""
    law, plant = PLANTED[expired]
    journal = [FaultStruck(0.0, "world", "clock jumps back", ("F38",), "p1"), *plant(good())]
    assert not any(each.startswith(law) for each in broken(journal))


def test_an_answer_may_be_as_old_as_its_question() -> None:
    """A reply that was true when it was asked is explained, though the order was paid before it arrived."""
    journal = good()
    answer = journal.pop(at(journal, ChargeAnswered, to("c1")))
    pending = changed([answer], ChargeAnswered, to("c1"), status=202, body=_pending_of(good(), "c1"))[0]
    journal.insert(len(journal) - 1, pending)
    assert not any(each.startswith(EXPLAINED) for each in broken(journal))


def test_an_answer_may_not_be_older_than_its_question() -> None:
    """The state before the request began explains nothing."""
    journal = good()
    pressed = at(journal, ChargePosted, lambda entry: entry.who == "c1z")
    paid = next(
        n
        for n, entry in enumerate(journal)
        if isinstance(entry, Wrote) and entry.order.id == "o1" and entry.order.attempts[:1]
        if entry.order.attempts[0].state is AttemptState.PAID
    )
    assert paid < pressed
    changed(journal, ChargeAnswered, to("c1z"), status=202, body=_pending_of(journal, "c1z"))
    assert any(each.startswith(EXPLAINED) for each in broken(journal))


def test_a_request_without_an_answer_explains_an_attempt() -> None:
    """A request whose connection broke may have begun one."""
    journal = good()
    number = at(journal, ChargeAnswered, to("c2"))
    answer = of_kind(ChargeAnswered, journal[number])
    journal[number] = RequestFailed(answer.at_s, "c2", answer.request_no, "connection reset")
    assert not any(each.startswith(NOT_DENIED) for each in broken(journal))


def test_a_violation_names_customer_answer_and_revisions() -> None:
    """The message shows the contradiction, without the transcript."""
    journal = reported("c1", 404, error("No such order"))(good())
    words = next(str(each) for each in violations(journal) if each.law.startswith(EXPLAINED))
    assert "c1 got 404" in words
    assert "1 confirming" in words
    assert "o1" in words
