"""`payment.edge.answers`: each reply of the ledger gets the contract's status, headers and body."""

import enum
from typing import Any

import msgspec
import pytest

from payment.core.replies import (
    AmountRefused,
    Answer,
    CardWasDeclined,
    Conflict,
    Denied,
    Paid,
    PaymentStatus,
    PaymentView,
    Pending,
    Reply,
    TokenRefused,
    Unavailability,
    Unavailable,
)
from payment.edge.answers import (
    NOTHING_CHARGED,
    OUTCOME_UNKNOWN,
    PROMETHEUS,
    Case,
    Rendered,
    bad_body,
    charge_answer,
    crashed,
    no_charges_now,
    payment_answer,
)
from payment.edge.requests import FieldError
from payment.ops.metrics import CONTENT_TYPE

LOCATION = ("Location", "/api/v1/payments/p1")
PAID_BODY = {"id": "p1", "orderId": "o1", "stripeId": "ch_1", "status": "paid"}


def charged(reply: Reply | Unavailable, retry_after_s: int | None = None, *, write_sent: bool = True) -> Rendered:
    return charge_answer(Answer(reply, retry_after_s), write_sent=write_sent)


def read(answer: Rendered) -> Any:
    return msgspec.json.decode(answer.body)


def only_error(answer: Rendered) -> dict[str, str]:
    (error,) = read(answer)["errors"]
    return error


def test_a_charge_is_201_with_its_location() -> None:
    """The contract's first row."""
    answer = charged(Paid("p1", "o1", "ch_1"))
    assert (answer.status, read(answer), answer.headers) == (201, PAID_BODY, (LOCATION,))


def test_a_charge_that_was_made_before_is_200_with_the_same_body() -> None:
    """The same request again, after it was paid."""
    answer = charged(Paid("p1", "o1", "ch_1", replayed=True))
    assert (answer.status, read(answer)) == (200, PAID_BODY)


def test_an_outcome_that_is_not_known_yet_is_202_and_says_where_and_when() -> None:
    """A 202 has Location and the true Retry-After that the ledger gave."""
    answer = charged(Pending("p1", "o1"), 17)
    assert (answer.status, read(answer)) == (202, {"id": "p1", "orderId": "o1", "status": "pending"})
    assert answer.headers == (LOCATION, ("Retry-After", "17"))


def test_a_declined_card_is_402_with_stripes_code_and_message() -> None:
    """The decline code stands beside the message."""
    answer = charged(CardWasDeclined("insufficient_funds", "Your card has insufficient funds."))
    assert answer.status == 402
    assert only_error(answer) == {
        "message": "Your card has insufficient funds.",
        "decline_code": "insufficient_funds",
    }


def test_a_decline_without_a_code_or_text_is_402_all_the_same() -> None:
    """Stripe need not say why."""
    answer = charged(CardWasDeclined(None, ""))
    assert (answer.status, set(only_error(answer))) == (402, {"message"})
    assert only_error(answer)["message"]


@pytest.mark.parametrize("text", ["No such token: 'tok_x'", ""])
def test_a_refused_token_is_400_and_names_the_field(text: str) -> None:
    """The order stays payable: the client has to send another token."""
    answer = charged(TokenRefused(text))
    assert (answer.status, only_error(answer)["field"]) == (400, "token")
    assert only_error(answer)["message"]


@pytest.mark.parametrize("text", ["Amount must be at least $0.50 usd", ""])
def test_a_refused_amount_is_422(text: str) -> None:
    """It is nobody's field: the amount is the order's."""
    answer = charged(AmountRefused(text))
    assert (answer.status, set(only_error(answer))) == (422, {"message"})


@pytest.mark.parametrize("conflict", Conflict)
def test_every_conflict_is_409(conflict: Conflict) -> None:
    """Cancelled, expired, paid with another token, another attempt under way."""
    answer = charged(conflict)
    assert (answer.status, only_error(answer)["message"].lower()) == (409, conflict.value.lower())


@pytest.mark.parametrize(
    ("denied", "status"),
    [(Denied.UNKNOWN, 404), (Denied.NOT_YOURS, 403), (Denied.TOO_MANY_ATTEMPTS, 429)],
)
def test_every_denial_has_its_status(denied: Denied, status: int) -> None:
    """Somebody else's order, no order, too many attempts. Time mends none of them, so none says when to come again."""
    answer = charged(denied)
    assert (answer.status, answer.headers) == (status, ())
    assert only_error(answer)["message"]


@pytest.mark.parametrize("reason", Unavailability)
def test_nothing_charged_is_said_only_where_no_write_was_sent(reason: Unavailability) -> None:
    """A request that entered a write hears that the outcome is unknown, whatever went wrong after."""
    sent = charged(Unavailable(reason, 3), write_sent=True)
    assert sent.status == 503
    assert OUTCOME_UNKNOWN in only_error(sent)["message"]
    assert NOTHING_CHARGED not in only_error(sent)["message"]
    assert sent.headers == (("Retry-After", "3"),)
    unsent = charged(Unavailable(reason), write_sent=False)
    expected = OUTCOME_UNKNOWN if reason is Unavailability.WRITE_UNKNOWN else NOTHING_CHARGED
    assert expected in only_error(unsent)["message"]


def test_a_charge_that_is_not_even_tried_says_that_nothing_was_charged() -> None:
    """503 with Retry-After before the ledger was asked."""
    answer = no_charges_now("the service is stopping")
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "1")
    assert only_error(answer)["message"] == f"The service is stopping; {NOTHING_CHARGED}"


def test_our_own_bug_is_never_nothing_was_charged() -> None:
    """500: the request may have taken effect."""
    assert crashed().status == 500
    assert OUTCOME_UNKNOWN in only_error(crashed())["message"]


@pytest.mark.parametrize("status", PaymentStatus)
@pytest.mark.parametrize("stripe_id", [None, "ch_1"])
def test_an_owner_sees_the_payment(status: PaymentStatus, stripe_id: str | None) -> None:
    """`stripeId` is there once there is one."""
    answer = payment_answer(PaymentView("p1", "o1", "u1", status, stripe_id), "u1")
    expected = {"id": "p1", "orderId": "o1", "status": status.value}
    assert answer.status == 200
    assert read(answer) == expected | ({"stripeId": stripe_id} if stripe_id else {})


def test_nobody_else_sees_the_payment() -> None:
    """403, and not a word of what the payment is."""
    answer = payment_answer(PaymentView("p1", "o1", "u1", PaymentStatus.PAID, "ch_1"), "u2")
    assert answer.status == 403
    assert not any(word in answer.body for word in (b"p1", b"o1", b"u1", b"ch_1", b"paid"))


def test_a_payment_that_is_not_there_is_404() -> None:
    """The ledger knows of none."""
    assert payment_answer(None, "u1").status == 404


@pytest.mark.parametrize("reason", Unavailability)
def test_a_payment_that_cannot_be_looked_up_is_503(reason: Unavailability) -> None:
    """Reading it again is always safe; nothing is said about charges."""
    answer = payment_answer(Unavailable(reason, 2), "u1")
    assert (answer.status, answer.headers) == (503, (("Retry-After", "2"),))
    assert "charged" not in only_error(answer)["message"]


def test_each_field_that_is_wrong_has_its_own_error() -> None:
    """One error per field; one without a field for the body as a whole."""
    answer = bad_body([FieldError("orderId is required", "orderId"), FieldError("The body is odd")])
    assert answer.status == 400
    assert read(answer)["errors"] == [
        {"message": "orderId is required", "field": "orderId"},
        {"message": "The body is odd"},
    ]


def test_cases_of_one_status_at_one_address_look_alike() -> None:
    """OpenAPI describes a status once: errors of one status share the body's type."""
    for case in Case:
        if case.value.status >= 400 and case not in (Case.STUCK, Case.NOT_READY):
            assert case.value.body is Case.BAD_HTTP.value.body


def test_metrics_are_declared_as_they_are_made() -> None:
    """The content type of the table is the one of `payment.ops.metrics`."""
    assert PROMETHEUS == CONTENT_TYPE


def test_the_table_is_an_enum_of_different_rows() -> None:
    """No two cases are aliases of one another: equal rows would hide one of them."""
    assert issubclass(Case, enum.Enum)
    assert len({case.value.meaning for case in Case}) == len(Case.__members__)
