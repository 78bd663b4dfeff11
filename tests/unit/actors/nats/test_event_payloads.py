"""The platform's events become messages or bad events; our effects become payloads."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors.nats.event_payloads import (
    INCOMING_SUBJECTS,
    LARGEST_VERSION,
    ORDER_CANCELLED,
    ORDER_CREATED,
    BadEvent,
    event_payload,
    order_id_in,
    parse_event,
)
from payment.core.effects import (
    OUTGOING_SUBJECTS,
    PAYMENT_CREATED,
    PAYMENT_DISPUTED,
    PAYMENT_REFUND_FAILED,
    PAYMENT_REFUNDED,
    PublishEvent,
)
from payment.core.messages import OrderCancelled, OrderCreated

EVENT: dict[str, Any] = {
    "id": "507f1f77bcf86cd799439011",
    "version": 0,
    "status": "created",
    "userId": "u1",
    "expiresAt": "2026-11-22T22:23:46.123Z",
    "ticket": {"id": "t1", "price": 19.99},
}
GONE = object()


def event_with(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in (EVENT | changes).items() if value is not GONE}).encode()


def created(**changes: Any) -> OrderCreated:
    message = parse_event(ORDER_CREATED, event_with(**changes), "usd")
    assert isinstance(message, OrderCreated)
    return message


def reason(data: bytes, subject: str = ORDER_CREATED) -> str:
    with pytest.raises(BadEvent) as raised:
        parse_event(subject, data, "usd")
    assert str(raised.value) == str(raised.value)
    return str(raised.value)


def test_an_order_created_as_the_contract_writes_it() -> None:
    """Every field of the payload is in its field of the message."""
    assert created() == OrderCreated(
        order_id="507f1f77bcf86cd799439011",
        version=0,
        user_id="u1",
        expires_at=datetime(2026, 11, 22, 22, 23, 46, 123_000, tzinfo=UTC),
        amount=1999,
        currency="usd",
    )


def test_an_order_cancelled_as_the_contract_writes_it() -> None:
    """A cancel needs an id and a version, and no other field."""
    for ticket in ({"ticket": {"id": "t1"}}, {"ticket": None}, {}):
        data = json.dumps({"id": "o1", "version": 7, **ticket}).encode()
        assert parse_event(ORDER_CANCELLED, data, "usd") == OrderCancelled(order_id="o1", version=7)


@pytest.mark.parametrize(
    ("price", "amount"),
    [
        ("19.99", 1999),
        ("0.57", 57),
        ("1.10", 110),
        ("4.35", 435),
        ("8.20", 820),
        ("999999.99", 99_999_999),
        ("19.989999999999998", 1999),
        ("20", 2000),
        ("2e1", 2000),
        ("0", 0),
    ],
)
def test_prices_become_exact_amounts(price: str, amount: int) -> None:
    """The number as written in the event counts, not the nearest float."""
    data = event_with().replace(b"19.99", price.encode())
    message = parse_event(ORDER_CREATED, data, "usd")
    assert isinstance(message, OrderCreated)
    assert message.amount == amount


@pytest.mark.parametrize(
    ("changes", "amount", "currency"),
    [
        ({"price": 5, "ticket": {"id": "t1"}}, 500, "usd"),
        ({"price": 5, "ticket": GONE}, 500, "usd"),
        ({"price": 5, "currency": "EUR", "ticket": {"id": "t1"}}, 500, "eur"),
        ({"ticket": {"id": "t1", "price": 500, "currency": "jpy"}}, 500, "jpy"),
        ({"currency": "jpy", "ticket": {"id": "t1", "price": 500}}, 500, "jpy"),
        ({"price": 5, "currency": "eur", "ticket": {"price": 5.0, "currency": "EUR"}}, 500, "eur"),
        ({"price": None, "currency": None, "ticket": {"price": 5, "currency": None}}, 500, "usd"),
    ],
)
def test_price_and_currency_stand_in_the_ticket_or_at_the_top(changes: Any, amount: int, currency: str) -> None:
    """Either is enough, and without a currency the default counts."""
    message = created(**changes)
    assert (message.amount, message.currency) == (amount, currency)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T22:23:46Z", datetime(2026, 11, 22, 22, 23, 46, tzinfo=UTC)),
        ("2026-11-22T22:23Z", datetime(2026, 11, 22, 22, 23, tzinfo=UTC)),
        ("2026-11-22T22:23:46.1Z", datetime(2026, 11, 22, 22, 23, 46, 100_000, tzinfo=UTC)),
        ("2026-11-22T22:23:46.1239Z", datetime(2026, 11, 22, 22, 23, 46, 123_000, tzinfo=UTC)),
        ("2026-11-22T22:23:46.999999999999+00:00", datetime(2026, 11, 22, 22, 23, 46, 999_000, tzinfo=UTC)),
        ("2026-11-23T00:23:46.5+02:00", datetime(2026, 11, 22, 22, 23, 46, 500_000, tzinfo=UTC)),
        ("2026-11-22T16:53:46-0530", datetime(2026, 11, 22, 22, 23, 46, tzinfo=UTC)),
        ("2026-11-22T23:23:46+01", datetime(2026, 11, 22, 22, 23, 46, tzinfo=UTC)),
    ],
)
def test_times_are_utc_in_whole_milliseconds(text: str, time: datetime) -> None:
    """Any zone and any number of digits; digits that MongoDB can't store are cut off, never rounded up."""
    found = created(expiresAt=text).expires_at
    assert (found, found.tzinfo) == (time, UTC)


BAD_FIELDS = [
    *[("id", value) for value in (GONE, None, "", "a\0", "x" * 256, 7, {"$ne": None})],
    *[("userId", value) for value in (GONE, None, "", "x" * 256, 7)],
    *[("version", value) for value in (GONE, None, -1, 2**53, True, "1", 1.5, 1.0, 10**30)],
    *[("status", value) for value in (GONE, None, "cancelled", "Created", 1)],
    *[("expiresAt", value) for value in (GONE, None, "", 1700000000, "tomorrow", "2026-11-22", "2026-11-22T22:23:46")],
    *[("expiresAt", value) for value in ("2026-13-01T00:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T22:23:61Z")],
    *[
        ("expiresAt", value)
        for value in ("2026-11-22T22:23:46+99:00", "0001-01-01T00:00:00+01:00", "2026-11-22 22:23:46Z")
    ],
    *[("expiresAt", value) for value in ("٢٠٢٦-11-22T22:23:46Z", "2026-11-22T22:23:46." + "1" * 5000 + "Z")],
    *[
        ("ticket", value)
        for value in (GONE, None, [], "t1", {}, {"id": "t1"}, {"id": 5, "price": 1}, {"id": "", "price": 1})
    ],
    *[("ticket", {"price": price}) for price in ("19.99", True, -1, 19.999, [1], 1e300)],
    *[("ticket", {"price": 1, "currency": currency}) for currency in ("xxx", "", 840)],
    ("price", 20),
    ("price", "19.99"),
    ("currency", "doubloons"),
]


@pytest.mark.parametrize(
    ("field", "value"), BAD_FIELDS, ids=lambda value: "gone" if value is GONE else repr(value)[:24]
)
def test_a_field_that_is_not_as_the_contract_says_is_a_bad_event(field: str, value: object) -> None:
    """F30: no value is guessed, and the reason names the field or the price."""
    assert field in reason(event_with(**{field: value})) or field in ("ticket", "currency", "price")


def test_places_that_disagree_are_a_bad_event() -> None:
    """Two prices or two currencies of one order: which one is right is not known."""
    assert "differ" in reason(event_with(price=20))
    assert "differ" in reason(event_with(currency="usd", ticket={"price": 1, "currency": "eur"}))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"\xff", b"{", b"[" * 100_000, b'{"id": NaN}', b'{"id": "\\ud800 "}', b'"created"'],
    ids=lambda data: repr(data[:16]),
)
@pytest.mark.parametrize("subject", INCOMING_SUBJECTS)
def test_data_that_is_no_json_object_is_a_bad_event(subject: str, data: bytes) -> None:
    """F30: the parser recognizes invalid events of every kind."""
    assert reason(data, subject).startswith("the event ")


@pytest.mark.parametrize("changes", [{"id": 7}, {"version": 2**53}, {"ticket": {"id": 5}}, {"ticket": "t1"}])
def test_a_malformed_cancel_is_a_bad_event(changes: Any) -> None:
    """A cancel is read as strictly as a creation."""
    reason(json.dumps({"id": "o1", "version": 1} | changes).encode(), ORDER_CANCELLED)


def test_other_subjects_are_not_ours() -> None:
    """An event on a subject without a subscription is never taken for another."""
    reason(event_with(), "ticket:created")


def test_a_reason_repeats_nothing_of_the_event() -> None:
    """The event is kept whole as a dead letter; text from outside does not belong in a log line."""
    assert "hunter2" not in reason(event_with(currency="hunter2"))
    assert "hunter2" not in reason(event_with(expiresAt="hunter2"))


def test_the_largest_version_and_the_longest_id_are_taken() -> None:
    """The contract's limits are included."""
    message = created(id="x" * 255, version=LARGEST_VERSION)
    assert (len(message.order_id), message.version) == (255, 2**53 - 1)


def test_unknown_fields_are_ignored() -> None:
    """Peer services may add fields to their events."""
    assert created(extra={"a": [1]}, ticket=EVENT["ticket"] | {"title": "x"}) == created()


def test_our_events_are_bare_compact_json() -> None:
    """The contract's payloads, and no refund id where nothing was refunded."""
    paid = PublishEvent(
        order_id="o1", subject=PAYMENT_CREATED, payment_id="p1", stripe_id="ch_1", refund_id=None, message_id="m1"
    )
    back = PublishEvent(
        order_id="o1", subject=PAYMENT_REFUNDED, payment_id="p1", stripe_id="ch_1", refund_id="re_1", message_id="m2"
    )
    assert event_payload(paid) == b'{"id":"p1","orderId":"o1","stripeId":"ch_1"}'
    assert event_payload(back) == b'{"id":"p1","orderId":"o1","stripeId":"ch_1","refundId":"re_1"}'


def test_our_events_about_failures_and_disputes_name_what_they_are_about() -> None:
    """F44: the refund that failed; the dispute and its status."""
    about = {"order_id": "o1", "payment_id": "p1", "stripe_id": "ch_1", "message_id": "m"}
    failed = PublishEvent(subject=PAYMENT_REFUND_FAILED, refund_id="re_1", **about)
    lost = PublishEvent(subject=PAYMENT_DISPUTED, refund_id=None, dispute_id="du_1", status="lost", **about)
    assert event_payload(failed) == b'{"id":"p1","orderId":"o1","stripeId":"ch_1","refundId":"re_1"}'
    assert event_payload(lost) == b'{"id":"p1","orderId":"o1","stripeId":"ch_1","disputeId":"du_1","status":"lost"}'


@pytest.mark.parametrize(
    ("data", "order_id"),
    [
        (b'{"id": "o1", "version": "x"}', "o1"),
        (b'{"ticket": {"id": "t1"}, "id": "o1"}', "o1"),
        (b'{"ticket": {"id": "t1"}, "id": "o1", ', "o1"),
        (b'{"id":"o1","version":1,"ticket":{"id":"t', "o1"),
        (b'{"note": "{", "id": "o1", ', "o1"),
        (b'{"ticket": {"id": "t1"', None),
        (b'{"id": 7}', None),
        (b'{"id": ""}', None),
        (b'{"id": "a\\nb"}', None),
        (b'[{"id": "o1"}]', None),
        (b"\xff", None),
        (b'{"x": "' + b"a" * 10_000 + b'", "id": "far"', None),
    ],
)
def test_an_order_is_named_as_far_as_its_bad_event_shows_it(data: bytes, order_id: str | None) -> None:
    """F30: its own id, never the ticket's."""
    assert order_id_in(data) == order_id


def test_there_are_six_subjects() -> None:
    """The contract's table of events."""
    assert INCOMING_SUBJECTS + OUTGOING_SUBJECTS == (
        "order:created",
        "order:cancelled",
        "payment:created",
        "payment:refunded",
        "payment:refund_failed",
        "payment:disputed",
    )


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_EVENTS = st.tuples(st.sampled_from(sorted(EVENT)), _JUNK).map(lambda change: event_with(**dict([change])))


@given(st.sampled_from(INCOMING_SUBJECTS), st.binary() | _EVENTS)
def test_any_event_is_a_message_or_a_bad_event(subject: str, data: bytes) -> None:
    """Any bytes become one of the two, and a message can always be stored."""
    try:
        message = parse_event(subject, data, "usd")
    except BadEvent:
        return
    assert 1 <= len(message.order_id.encode()) <= 255
    assert 0 <= message.version <= LARGEST_VERSION
    if isinstance(message, OrderCreated):
        assert message.expires_at.microsecond % 1000 == 0
        assert 0 <= message.amount < 2**53
