"""A body becomes a charge form, or one error for each field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.edge.requests import TOKEN_CHARS_MAX, BadRequest, ChargeForm, FieldError, parse_charge

ORDER = "507f1f77bcf86cd799439011"


def errors_of(body: bytes) -> list[FieldError]:
    with pytest.raises(BadRequest) as raised:
        parse_charge(body)
    return raised.value.errors


def fields_of(**fields: Any) -> list[str | None]:
    return [error.field for error in errors_of(json.dumps(fields).encode())]


@pytest.mark.parametrize("token", ["tok_visa", "tok_chargeDeclinedInsufficientFunds", "tok_1N2x_Y", "tok_" + "x" * 251])
def test_a_charge_request_is_an_order_and_a_token(token: str) -> None:
    """The contract's body; fields that nobody knows are ignored."""
    body = json.dumps({"orderId": ORDER, "token": token, "amount": 1}).encode()
    assert parse_charge(body) == ChargeForm(order_id=ORDER, token=token)


def test_a_form_does_not_show_its_token() -> None:
    """A card token never reaches a log through a repr."""
    assert "tok_visa" not in repr(ChargeForm(order_id=ORDER, token="tok_visa"))


@pytest.mark.parametrize(
    "order_id",
    [{"$ne": None}, 12, None, True, [], "", " ", "a\0", "x" * 256, "x" * 5000],
    ids=lambda value: repr(value)[:16],
)
def test_a_malformed_order_id_is_one_error_with_its_field(order_id: object) -> None:
    """An operator, a number or an endless text is no order id."""
    assert fields_of(orderId=order_id, token="tok_visa") == ["orderId"]


@pytest.mark.parametrize(
    "token",
    [
        {"$gt": ""},
        1,
        None,
        "",
        "tok_",
        "tok_visa\n",
        "tok_é",
        "tok_a-b",
        "card_1",
        " tok_visa",
        "TOK_visa",
        "tok_" + "x" * 252,
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_malformed_token_is_one_error_with_its_field(token: object) -> None:
    """Only what has a card token's shape is ever sent to Stripe."""
    assert fields_of(orderId=ORDER, token=token) == ["token"]


def test_each_missing_field_has_an_error_of_its_own() -> None:
    """One error for each field, in the order in which the contract names them."""
    assert errors_of(b"{}") == [FieldError("orderId is required", "orderId"), FieldError("token is required", "token")]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000, b'{"token": NaN}', b'"\\ud800 "']
)
def test_a_body_that_is_no_object_is_one_error_without_a_field(body: bytes) -> None:
    """Where there are no fields, the body itself is what is wrong."""
    (error,) = errors_of(body)
    assert error.field is None
    assert error.message.startswith("The body ")


def test_no_error_repeats_what_was_sent() -> None:
    """A message holds no value from outside: it may be a token, or markup."""
    errors = errors_of(b'{"orderId": 5150, "token": "<script>5150"}')
    assert not any("5150" in error.message for error in errors)


_VALUES = st.none() | st.integers() | st.text() | st.from_regex(r"tok_[a-z0-9]{1,9}", fullmatch=True)


@given(
    st.binary()
    | st.fixed_dictionaries({}, optional={"orderId": _VALUES, "token": _VALUES}).map(lambda x: json.dumps(x).encode())
)
def test_any_body_is_a_form_or_a_bad_request(body: bytes) -> None:
    """Nothing else comes of any bytes, and a form is always fit to be used."""
    try:
        form = parse_charge(body)
    except BadRequest:
        assert errors_of(body)
        return
    assert 1 <= len(form.order_id.encode()) <= 255
    assert form.token.startswith("tok_")
    assert len(form.token) <= TOKEN_CHARS_MAX
