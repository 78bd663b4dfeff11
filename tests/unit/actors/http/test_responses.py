"""`payment.actors.http.responses`: each reply of the ledger gets the contract's status, headers and body."""

import enum
from typing import Any

import msgspec
import pytest

from payment.actors.http.responses import (
    DECLINED_TEXT,
    HIDDEN_DECLINE_CODES,
    NOTHING_CHARGED,
    OUTCOME_UNKNOWN,
    PROMETHEUS,
    Case,
    DeclinedBody,
    ErrorBody,
    ErrorCode,
    FieldError,
    PaymentBody,
    RedirectToUrl,
    Rendered,
    RequiresActionBody,
    bad_request,
    charge_answer,
    crashed,
    no_charges_now,
    payment_answer,
)
from payment.actors.messages import ChargeReply, PaymentReply
from payment.core.messages import InstrumentKind
from payment.core.replies import (
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    PaymentView,
    RequiresAction,
    Unavailability,
    Unavailable,
)
from payment.ops.metrics import CONTENT_TYPE
from payment.ports.cards import Handover, NextAction

LOCATION = ("Location", "/api/v1/payments/p1")
SECRET = "pi_1_secret_5150"
BANK_URL = "https://hooks.stripe.com/3d_secure_2?secret=5150"
SDK = Handover(SECRET, NextAction())
REDIRECT = Handover(SECRET, NextAction(BANK_URL))
PAID_BODY = {"id": "p1", "orderId": "o1", "stripeId": "ch_1", "status": "paid"}


def read(answer: Rendered) -> Any:
    return msgspec.json.decode(answer.body)


def only_error(answer: Rendered) -> dict[str, str]:
    errors: list[dict[str, str]] = read(answer)["errors"]
    (error,) = errors
    return error


def test_a_charge_is_201_with_its_location() -> None:
    """The contract's first row."""
    answer = charge_answer(Paid("p1", "o1", "ch_1"))
    assert (answer.status, read(answer), answer.headers) == (201, PAID_BODY, (LOCATION,))


def test_a_charge_that_was_made_before_is_200_with_the_same_body() -> None:
    """The same request again, after it was paid."""
    answer = charge_answer(Paid("p1", "o1", "ch_1", replayed=True))
    assert (answer.status, read(answer)) == (200, PAID_BODY)


def test_an_outcome_that_is_not_known_yet_is_202_and_says_where_and_when() -> None:
    """A 202 has Location and the true Retry-After that the ledger gave."""
    answer = charge_answer(OutcomePending("p1", "o1"), 17)
    assert (answer.status, read(answer)) == (202, {"id": "p1", "orderId": "o1", "status": "pending"})
    assert answer.headers == (LOCATION, ("Retry-After", "17"))


@pytest.mark.parametrize(
    ("handover", "next_action"),
    [(SDK, {"type": "use_stripe_sdk"}), (REDIRECT, {"type": "redirect_to_url", "url": BANK_URL})],
    ids=["Stripe.js", "redirect"],
)
def test_a_bank_that_wants_the_customer_is_202(handover: Handover, next_action: dict[str, str]) -> None:
    """With what the browser needs, where the payment can be read, and when."""
    answer = charge_answer(RequiresAction("p1", "o1"), 5, handover)
    assert answer.status == 202
    assert read(answer) == {
        "id": "p1",
        "orderId": "o1",
        "status": "requires_action",
        "clientSecret": SECRET,
        "nextAction": next_action,
    }
    assert answer.headers == (LOCATION, ("Retry-After", "5"))


def test_without_what_the_browser_needs_it_is_pending() -> None:
    """Stripe could not be reached for it: the client can only ask again."""
    answer = charge_answer(RequiresAction("p1", "o1"), 5)
    assert (answer.status, read(answer)) == (202, {"id": "p1", "orderId": "o1", "status": "pending"})
    assert answer.headers == (LOCATION, ("Retry-After", "5"))


def test_no_other_answer_to_a_charge_shows_the_client_secret() -> None:
    """Whatever the ledger gives beside another reply."""
    for reply in (Paid("p1", "o1", "ch_1"), OutcomePending("p1", "o1"), CardWasDeclined("p1", None, ""), Conflict.PAID):
        assert SECRET.encode() not in charge_answer(reply, handover=SDK).body


def test_a_declined_card_is_402_with_stripes_code_and_message() -> None:
    """The decline code stands beside the message; the payment's id and address let a client follow it."""
    answer = charge_answer(CardWasDeclined("p1", "insufficient_funds", "Your card has insufficient funds."))
    assert (answer.status, answer.headers, read(answer)["id"]) == (402, (LOCATION,), "p1")
    assert only_error(answer) == {
        "message": "Your card has insufficient funds.",
        "code": "declined",
        "decline_code": "insufficient_funds",
    }


def test_a_decline_without_a_code_or_text_is_402_all_the_same() -> None:
    """Stripe need not say why."""
    answer = charge_answer(CardWasDeclined("p1", None, ""))
    assert (answer.status, only_error(answer)) == (402, {"message": DECLINED_TEXT, "code": "declined"})


@pytest.mark.parametrize("hidden", sorted(HIDDEN_DECLINE_CODES))
@pytest.mark.parametrize("authentication", [False, True])
def test_a_decline_that_could_warn_a_thief_is_generic(hidden: str, authentication: bool) -> None:
    """Neither the code nor Stripe's words for it: docs.stripe.com/declines/codes."""
    answer = charge_answer(CardWasDeclined("p1", hidden, f"Your card was declined: {hidden}", authentication))
    error = only_error(answer)
    assert (error["message"], error["decline_code"]) == (DECLINED_TEXT, "generic_decline")
    assert hidden.encode() not in answer.body


def test_the_contracts_decline_codes_are_hidden() -> None:
    """Reported, stolen and lost cards, fraud, and Radar's block by risk or by list."""
    reported = {"stolen_card", "lost_card", "pickup_card"}
    assert reported | {"fraudulent", "highest_risk_level", "merchant_blacklist"} == HIDDEN_DECLINE_CODES


@pytest.mark.parametrize("decline_code", ["authentication_required", "authentication_not_handled", None])
def test_a_card_that_wants_its_customer_has_a_code_of_its_own(decline_code: str | None) -> None:
    """One word whatever name of it Stripe used: the client may ask again with a way to authenticate."""
    error = only_error(charge_answer(CardWasDeclined("p1", decline_code, "", authentication=True)))
    assert (error["code"], error["decline_code"]) == ("authentication_required", "authentication_required")


def test_a_decline_after_authentication_keeps_stripes_code() -> None:
    """The bank's own reason is worth more than ours."""
    error = only_error(charge_answer(CardWasDeclined("p1", "insufficient_funds", "", authentication=True)))
    assert (error["code"], error["decline_code"]) == ("authentication_required", "insufficient_funds")


@pytest.mark.parametrize("text", ["It was used before", ""])
@pytest.mark.parametrize("kind", InstrumentKind)
def test_a_refused_instrument_is_400_and_names_its_field(kind: InstrumentKind, text: str) -> None:
    """The order stays payable: the client has to send another one."""
    answer = charge_answer(InstrumentRefused(kind, text))
    error = only_error(answer)
    assert (answer.status, error["field"], error["code"]) == (400, kind.value, "invalid_card")
    assert error["message"] == text or (not text and error["message"])


@pytest.mark.parametrize("text", ["Amount must be at least $0.50 usd", ""])
def test_a_refused_amount_is_422(text: str) -> None:
    """It has no field: the amount is the order's."""
    answer = charge_answer(AmountRefused(text))
    error = only_error(answer)
    assert (answer.status, set(error), error["code"]) == (422, {"message", "code"}, "amount_not_chargeable")


@pytest.mark.parametrize(
    ("conflict", "code"),
    [
        (Conflict.CANCELLED, "order_cancelled"),
        (Conflict.EXPIRED, "order_expired"),
        (Conflict.PAID, "already_paid"),
        (Conflict.UNDER_WAY, "under_way"),
    ],
)
def test_every_conflict_is_409_with_a_code_of_its_own(conflict: Conflict, code: str) -> None:
    """Cancelled, expired, paid with another card, another attempt under way."""
    answer = charge_answer(conflict)
    error = only_error(answer)
    assert (answer.status, error["code"]) == (409, code)
    assert error["message"].lower() == conflict.value.lower()


@pytest.mark.parametrize(
    ("denied", "status", "code", "headers"),
    [
        (Denied.UNKNOWN, 404, "not_found", ()),
        (Denied.NOT_YOURS, 403, "not_owner", ()),
        (Denied.TOO_MANY_ATTEMPTS, 429, "too_many_attempts", (("Retry-After", "3600"),)),
    ],
)
def test_every_denial_has_its_status(denied: Denied, status: int, code: str, headers: tuple[object, ...]) -> None:
    """No order, another user's order, too many attempts; a 429 has the Retry-After that the contract wants."""
    answer = charge_answer(denied)
    assert (answer.status, only_error(answer)["code"], answer.headers) == (status, code, headers)
    assert only_error(answer)["message"]


@pytest.mark.parametrize("reason", Unavailability)
def test_nothing_charged_is_said_only_where_no_write_may_have_been_sent(reason: Unavailability) -> None:
    """The ledger says WRITE_UNKNOWN of a request that may have entered a write: "outcome unknown", by its code too."""
    answer = charge_answer(Unavailable(reason, 3))
    unknown = reason is Unavailability.WRITE_UNKNOWN
    assert (answer.status, answer.headers) == (503, (("Retry-After", "3"),))
    assert (OUTCOME_UNKNOWN if unknown else NOTHING_CHARGED) in only_error(answer)["message"]
    assert (NOTHING_CHARGED if unknown else OUTCOME_UNKNOWN) not in only_error(answer)["message"]
    assert only_error(answer)["code"] == ("outcome_unknown" if unknown else "unavailable")


def test_a_charge_that_is_not_even_tried_says_that_nothing_was_charge_answer() -> None:
    """503 with Retry-After before the ledger was asked."""
    answer = no_charges_now("the service is stopping")
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "1")
    assert only_error(answer) == {"message": f"The service is stopping; {NOTHING_CHARGED}", "code": "unavailable"}


def test_our_own_bug_is_never_nothing_was_charge_answer() -> None:
    """500: the request may have taken effect."""
    assert crashed().status == 500
    assert OUTCOME_UNKNOWN in only_error(crashed())["message"]
    assert only_error(crashed())["code"] == "internal_error"


@pytest.mark.parametrize("status", PaymentStatus)
@pytest.mark.parametrize("stripe_id", [None, "ch_1"])
def test_an_owner_sees_the_payment(status: PaymentStatus, stripe_id: str | None) -> None:
    """`stripeId` is there once there is one."""
    answer = payment_answer(PaymentView("p1", "o1", "u1", status, stripe_id), "u1")
    expected = {"id": "p1", "orderId": "o1", "status": status.value}
    assert answer.status == 200
    assert read(answer) == expected | ({"stripeId": stripe_id} if stripe_id else {})


def test_only_the_owner_sees_the_payment() -> None:
    """403, and not a word of what the payment is."""
    answer = payment_answer(PaymentView("p1", "o1", "u1", PaymentStatus.REQUIRES_ACTION, "ch_1"), "u2", REDIRECT)
    assert (answer.status, only_error(answer)["code"]) == (403, "not_owner")
    hidden = ("p1", "o1", "u1", "ch_1", "requires_action", SECRET, BANK_URL)
    assert not any(word.encode() in answer.body for word in hidden)


@pytest.mark.parametrize(
    ("handover", "next_action"),
    [(SDK, {"type": "use_stripe_sdk"}), (REDIRECT, {"type": "redirect_to_url", "url": BANK_URL})],
    ids=["Stripe.js", "redirect"],
)
def test_an_owner_sees_what_the_browser_needs_while_the_bank_wants_the_customer(
    handover: Handover, next_action: dict[str, str]
) -> None:
    """And in no other status, whatever the ledger gives beside the view."""
    for status in PaymentStatus:
        body = read(payment_answer(PaymentView("p1", "o1", "u1", status, None), "u1", handover))
        if status is PaymentStatus.REQUIRES_ACTION:
            assert (body["clientSecret"], body["nextAction"]) == (SECRET, next_action)
        else:
            assert set(body) == {"id", "orderId", "status"}


def test_a_payment_that_is_not_there_is_404() -> None:
    """The ledger knows of none."""
    answer = payment_answer(None, "u1")
    assert (answer.status, only_error(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize("reason", Unavailability)
def test_a_payment_that_cannot_be_looked_up_is_503(reason: Unavailability) -> None:
    """Reading it again is always safe; nothing is said about charges."""
    answer = payment_answer(Unavailable(reason, 2), "u1")
    assert (answer.status, answer.headers) == (503, (("Retry-After", "2"),))
    assert "charged" not in only_error(answer)["message"]
    assert only_error(answer)["code"] == "unavailable"


def test_each_field_that_is_wrong_has_its_own_error() -> None:
    """One error per field; one without a field for the body as a whole."""
    fields = bad_request([FieldError("orderId is required", "orderId"), FieldError("token is required", "token")])
    assert (fields.status, fields.case) == (400, Case.BAD_FIELD)
    assert read(fields)["errors"] == [
        {"message": "orderId is required", "code": "invalid_field", "field": "orderId"},
        {"message": "token is required", "code": "invalid_field", "field": "token"},
    ]
    body = bad_request([FieldError("The body is odd")])
    assert (body.status, body.case, only_error(body)) == (
        400,
        Case.BAD_JSON,
        {"message": "The body is odd", "code": "invalid_json"},
    )


def test_every_error_is_in_the_platforms_shape_and_has_a_code() -> None:
    """Only a decline's body has more: its payment's id. What is no error has no code."""
    for case in Case:
        row = case.value
        is_error = row.status >= 400 and case not in (Case.STUCK, Case.NOT_READY)
        assert (row.code is not None) == is_error, case
        if is_error:
            assert row.body is (DeclinedBody if row.status == 402 else ErrorBody)


def test_every_code_belongs_to_one_status() -> None:
    """One word for each case, and no word that no case has; what is not found is one case for clients."""
    statuses: dict[ErrorCode, set[int]] = {}
    for case in Case:
        if case.value.code is not None:
            statuses.setdefault(case.value.code, set()).add(case.value.status)
    assert set(statuses) == set(ErrorCode)
    assert all(len(each) == 1 for each in statuses.values())
    shared = [case.value.code for case in Case if case.value.code not in (None, ErrorCode.NOT_FOUND)]
    assert len(shared) == len(set(shared))


def test_no_repr_shows_a_client_secret_or_the_banks_page() -> None:
    """A repr is what a log line, a traceback or an assertion shows of a value."""
    view = PaymentView("p1", "o1", "u1", PaymentStatus.REQUIRES_ACTION, None)
    values = (
        charge_answer(RequiresAction("p1", "o1"), 1, REDIRECT),
        payment_answer(view, "u1", REDIRECT),
        RequiresActionBody("p1", "o1", "requires_action", SECRET, RedirectToUrl(BANK_URL)),
        PaymentBody(
            "p1", "o1", PaymentStatus.REQUIRES_ACTION, client_secret=SECRET, next_action=RedirectToUrl(BANK_URL)
        ),
        RedirectToUrl(BANK_URL),
        REDIRECT,
        ChargeReply(RequiresAction("p1", "o1"), 1, REDIRECT),
        PaymentReply(view, REDIRECT),
    )
    for value in values:
        assert "5150" not in repr(value)
        assert "5150" not in f"{value}"


def test_metrics_are_declared_as_they_are_made() -> None:
    """The content type of the table is the one of `payment.ops.metrics`."""
    assert PROMETHEUS == CONTENT_TYPE


def test_the_table_is_an_enum_of_different_rows() -> None:
    """No two cases are aliases of one another: equal rows would hide one of them."""
    assert issubclass(Case, enum.Enum)
    assert len({case.value.meaning for case in Case}) == len(Case.__members__)
