"""`payment.actors.http.requests`: a body becomes a charge form, or one error for each field; a query becomes an order's
id.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors.http.requests import (
    INSTRUMENT_CHARS_MAX,
    RETURN_URL_CHARS_MAX,
    BadRequest,
    ChargeForm,
    parse_charge,
    parse_order_query,
)
from payment.actors.http.responses import FieldError
from payment.core.messages import Authentication, Instrument, InstrumentKind

ORDER = "507f1f77bcf86cd799439011"


def errors_of(body: bytes) -> list[FieldError]:
    with pytest.raises(BadRequest) as raised:
        parse_charge(body)
    return raised.value.errors


def fields_of(**fields: Any) -> list[str | None]:
    return [error.field for error in errors_of(json.dumps(fields).encode())]


def form_of(**fields: Any) -> ChargeForm:
    return parse_charge(json.dumps({"orderId": ORDER, "token": "tok_visa"} | fields).encode())


@pytest.mark.parametrize("token", ["tok_visa", "tok_chargeDeclinedInsufficientFunds", "tok_1N2x_Y", "tok_" + "x" * 251])
def test_a_charge_request_is_an_order_and_a_token(token: str) -> None:
    """The platform's body of today; unknown fields are ignored."""
    body = json.dumps({"orderId": ORDER, "token": token, "amount": 1}).encode()
    assert parse_charge(body) == ChargeForm(ORDER, Instrument(InstrumentKind.TOKEN, token), Authentication())


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("token", "tok_visa", InstrumentKind.TOKEN),
        ("paymentMethod", "pm_card_visa", InstrumentKind.PAYMENT_METHOD),
        ("paymentMethod", "pm_" + "x" * 252, InstrumentKind.PAYMENT_METHOD),
        ("confirmationToken", "ctoken_1N2x", InstrumentKind.CONFIRMATION_TOKEN),
        ("confirmationToken", "ctoken_" + "x" * 248, InstrumentKind.CONFIRMATION_TOKEN),
    ],
)
def test_each_instrument_has_a_field_of_its_own(field: str, value: str, kind: InstrumentKind) -> None:
    """Exactly one of the three pays."""
    assert parse_charge(json.dumps({"orderId": ORDER, field: value}).encode()).instrument == Instrument(kind, value)


def test_a_form_does_not_show_what_it_must_hide() -> None:
    """Neither the card's token nor the return URL, which may name a session, reaches a log through a repr."""
    shown = repr(form_of(returnUrl="https://shop.example.com/?session=5150"))
    assert ORDER in shown
    assert not any(text in shown for text in ("tok_visa", "shop.example.com", "5150"))


@pytest.mark.parametrize(
    "order_id",
    [{"$ne": None}, 12, None, True, [], "", " ", "a\0", "x" * 256, "x" * 5000],
    ids=lambda value: repr(value)[:16],
)
def test_a_malformed_order_id_is_one_error_with_its_field(order_id: object) -> None:
    """An operator, a number or an endless text is no order id."""
    assert fields_of(orderId=order_id, token="tok_visa") == ["orderId"]


@pytest.mark.parametrize(
    ("field", "prefix"), [("token", "tok"), ("paymentMethod", "pm"), ("confirmationToken", "ctoken")]
)
@pytest.mark.parametrize(
    "value",
    [
        {"$gt": ""},
        1,
        None,
        True,
        "",
        "{}_",
        "{}_visa\n",
        "{}_é",
        "{}_a-b",
        "card_1",
        "x{}_visa",
        " {}_visa",
        "{}_" + "x" * 255,
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_malformed_instrument_is_one_error_with_its_field(field: str, prefix: str, value: object) -> None:
    """Only what has the shape of Stripe's id of that kind is ever sent to Stripe."""
    sent = value.replace("{}", prefix) if isinstance(value, str) else value
    assert fields_of(**{"orderId": ORDER, field: sent}) == [field]
    assert fields_of(**{"orderId": ORDER, field: prefix.upper() + "_visa"}) == [field]


def test_a_bad_request_names_its_order_where_it_does_so_properly() -> None:
    """For the log line of the refusal."""
    for body, order_id in ((b'{"orderId": "o1"}', "o1"), (b'{"token": "tok_visa"}', None), (b'{"orderId": 7}', None)):
        with pytest.raises(BadRequest) as raised:
            parse_charge(body)
        assert raised.value.order_id == order_id


def test_each_missing_field_has_an_error_of_its_own() -> None:
    """One error for each field; where no instrument is given it is `token`, as clients of today know it."""
    assert errors_of(b"{}") == [
        FieldError("orderId is required", "orderId"),
        FieldError("token is required, or paymentMethod, or confirmationToken", "token"),
    ]


def test_exactly_one_instrument_is_taken() -> None:
    """Each further one is an error that names the first; which of them should pay is not guessed."""
    (error,) = errors_of(json.dumps({"orderId": ORDER, "paymentMethod": "pm_a", "token": "tok_visa"}).encode())
    assert error.field == "paymentMethod"
    assert "beside token" in error.message
    everything = {"orderId": ORDER, "confirmationToken": "ctoken_a", "paymentMethod": "pm_a", "token": "tok_visa"}
    assert fields_of(**everything) == ["paymentMethod", "confirmationToken"]
    assert fields_of(**(everything | {"token": None})) == ["token", "paymentMethod", "confirmationToken"]


@pytest.mark.parametrize(
    ("fields", "authentication"),
    [
        ({"useStripeSdk": True}, Authentication(use_stripe_sdk=True)),
        ({"useStripeSdk": False}, Authentication()),
        ({"returnUrl": "https://a.example/"}, Authentication(return_url="https://a.example/")),
        ({"useStripeSdk": False, "returnUrl": "https://a.example/"}, Authentication(return_url="https://a.example/")),
    ],
)
def test_a_form_says_how_its_customer_can_authenticate(fields: dict[str, object], authentication: object) -> None:
    """`useStripeSdk: false` means what its absence means."""
    assert form_of(**fields).authentication == authentication


def test_two_ways_to_authenticate_exclude_each_other() -> None:
    """Stripe takes one: the URL is the one to leave out."""
    assert fields_of(orderId=ORDER, token="tok_a", useStripeSdk=True, returnUrl="https://a.example/") == ["returnUrl"]


@pytest.mark.parametrize("value", [None, 1, 0, "true", [], {}], ids=repr)
def test_whether_the_browser_uses_stripe_js_is_true_or_false(value: object) -> None:
    """A number or a word is no answer to that, and one error it is also beside a URL."""
    assert fields_of(orderId=ORDER, token="tok_a", useStripeSdk=value) == ["useStripeSdk"]
    assert fields_of(orderId=ORDER, token="tok_a", useStripeSdk=value, returnUrl="https://a.example") == [
        "useStripeSdk"
    ]


RETURN_URLS = [
    "https://shop.example.com",
    "https://shop.example.com/",
    "https://shop.example.com/orders/1?step=2&next=%2Fhome",
    "https://shop.example.com?step=2",
    "https://shop.example.com:8443/a",
    "https://xn--bcher-kva.example/a;b=(c)[d]|{e}~!$*+,@:",
    "https://203.0.113.7/",
    "https://localhost:3000/",
    "https://[::1]/",
    "http://localhost",
    "http://localhost:3000/return",
    "http://127.0.0.1:65535/",
    "http://[::1]:3000/?a",
    "https://shop.example.com/" + "x" * (RETURN_URL_CHARS_MAX - 25),
]


@pytest.mark.parametrize("url", RETURN_URLS, ids=lambda url: url[:40])
def test_a_return_url_is_absolute_and_encrypted(url: str) -> None:
    """http only where the customer's browser runs on the developer's machine."""
    assert form_of(returnUrl=url).authentication.return_url == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        True,
        ["https://shop.example.com/"],
        "",
        "/orders/1",
        "//shop.example.com/",
        "shop.example.com",
        "http://shop.example.com/",
        "http://localhost.example.com/",
        "http://localhost@shop.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.2/",
        "http://[::2]/",
        "ftp://shop.example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp://return",
        "HTTPS://shop.example.com/",
        "https:shop.example.com",
        "https:///a",
        "https://",
        "https://?a",
        "https://-a.example/",
        "https://a..example/",
        "https://a_b.example/",
        "https://" + "a" * 64 + ".example/",
        "https://user@shop.example.com/",
        "https://user:5150@shop.example.com/",
        "https://:5150@shop.example.com/",
        "https://shop.example.com\\@evil.example/",
        "https://shop.example.com/#done",
        "https://shop.example.com/#",
        "https://shop.example.com/a?b#c",
        "https://shop.example.com:/",
        "https://shop.example.com:0/",
        "https://shop.example.com:65536/",
        "https://shop.example.com:100000/",
        "https://shop.example.com:80a/",
        "https://shop.example.com/a b",
        "https://shop.example.com/a\\b",
        "https://shop.example.com/<b>",
        "https://shop.example.com/\n",
        "https://shop.example.com\n",
        "https://shop.example.com/\0",
        "https://bücher.example/",
        "https://shop.example.com/ü",
        " https://shop.example.com/",
        "https://shop.example.com/" + "x" * (RETURN_URL_CHARS_MAX - 24),
    ],
    ids=lambda url: repr(url)[:40],
)
def test_any_other_return_url_is_one_error_with_its_field(url: object) -> None:
    """Relative, unencrypted, with credentials or a fragment, of another scheme, too long, or no URL at all."""
    assert fields_of(orderId=ORDER, token="tok_visa", returnUrl=url) == ["returnUrl"]


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
    fields = ("orderId", "token", "paymentMethod", "confirmationToken", "useStripeSdk", "returnUrl")
    errors = errors_of(json.dumps(dict.fromkeys(fields, "<script>5150\0") | {"useStripeSdk": 5150}).encode())
    assert [error.field for error in errors] == list(fields)
    assert not any("5150" in error.message for error in errors)


@pytest.mark.parametrize("order_id", ["o1", ORDER, "a b", "é", "x" * 255])
def test_a_query_names_one_order(order_id: str) -> None:
    """By the rules for ids in a body."""
    assert parse_order_query([order_id]) == order_id


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "orderId is required"),
        ([""], "orderId must not be empty"),
        ([" "], "orderId must not be empty"),
        (["5150\0"], "orderId must not hold control characters"),
        (["5150" * 64], "orderId must be at most 255 bytes long"),
        (["5150", "5151"], "orderId must be given once"),
    ],
)
def test_a_query_that_names_no_order_is_one_error_with_its_field(values: list[str], message: str) -> None:
    """And two are none: which of them is meant is not guessed."""
    with pytest.raises(BadRequest) as raised:
        parse_order_query(values)
    assert raised.value.errors == [FieldError(message, "orderId")]


_TEXTS = st.text("tok_pmc1:/.#@é \0", max_size=20)
_PREFIXED = st.sampled_from(["tok_", "pm_", "ctoken_"]).flatmap(lambda prefix: _TEXTS.map(lambda text: prefix + text))
_VALUES = st.sampled_from([None, True, False, 7]) | _TEXTS | _PREFIXED
_URLS = _VALUES | st.sampled_from(RETURN_URLS) | _TEXTS.map(lambda text: "https://a.example/" + text)
_FIELDS = {
    "orderId": _VALUES,
    "token": _VALUES,
    "paymentMethod": _VALUES,
    "confirmationToken": _VALUES,
    "useStripeSdk": _VALUES,
    "returnUrl": _URLS,
}


@given(st.binary() | st.fixed_dictionaries({}, optional=_FIELDS).map(lambda fields: json.dumps(fields).encode()))
def test_any_body_is_a_form_or_a_bad_request(body: bytes) -> None:
    """Nothing else comes of any bytes, and a form is always fit to be used."""
    try:
        form = parse_charge(body)
    except BadRequest:
        fields = [error.field for error in errors_of(body)]
        assert fields
        assert len(set(fields)) == len(fields)
        return
    assert 1 <= len(form.order_id.encode()) <= 255
    assert form.instrument.value.startswith(("tok_", "pm_", "ctoken_"))
    assert len(form.instrument.value) <= INSTRUMENT_CHARS_MAX
    url = form.authentication.return_url
    assert url is None or (url.startswith(("https://", "http://")) and url.isascii() and "#" not in url)
    assert not (form.authentication.use_stripe_sdk and url)
