"""What is read out of Stripe's successful answers: never more than they say, and never an exception."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payment.core.messages import FoundCharge
from payment.ports.cards import (
    Blocked,
    NotRefunded,
    Refunded,
    Unclear,
)
from payment.ports.stripe_bodies import Body, read_charge, read_found, read_page, read_refunds
from tests.ports.stripe_world import (
    CHARGE,
    METADATA,
    a_charge,
)


@pytest.mark.parametrize(
    ("metadata", "attempt"),
    [
        (METADATA, 2),
        (METADATA | {"attempt": "0012"}, 12),
        (METADATA | {"attempt": ""}, 0),
        (METADATA | {"attempt": "-2"}, 0),
        (METADATA | {"attempt": "2.0"}, 0),
        (METADATA | {"attempt": "\u0662"}, 0),
        (METADATA | {"attempt": "9" * 5000}, 0),
        (METADATA | {"attempt": 2}, 0),
        ({"paymentId": "p1"}, 0),
        ({"orderId": "o1"}, 0),
        ({"orderId": "o1", "paymentId": "p0", "attempt": "2"}, 0),
        ({"orderId": "o2", "paymentId": "p2", "attempt": "2"}, None),
        ({"attempt": "2"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_a_found_charge_belongs_by_its_metadata(metadata: object, attempt: int | None) -> None:
    """Our payment id names the attempt; our order id alone makes it a stray of ours; neither makes it another's."""
    expected = () if attempt is None else (FoundCharge("ch_1", attempt),)
    assert read_found([a_charge(metadata=metadata)], "o1", "p1") == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": None, "has_more": False},
        {"data": {}, "has_more": False},
        {"data": [], "has_more": True},
        {"data": [], "has_more": 0},
        {"data": [a_charge(), None], "has_more": False},
        {"data": [a_charge(), a_charge(id=None)], "has_more": False},
        {"data": [[a_charge()]], "has_more": False},
    ],
)
def test_a_page_is_read_whole_or_not_at_all(body: Body) -> None:
    """A shorter list than Stripe's own would be a false proof."""
    assert read_page(body) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["succeeded", "p1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "status", "paid", "amount", "metadata", "data", "has_more", "paymentId", "attempt"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from([*a_charge(), "data", "has_more"]), JSON, max_size=8)


@given(body=OBJECTS)
@settings(max_examples=200, deadline=None)
def test_reading_a_body_never_raises_and_never_makes_up_an_id(body: Body) -> None:
    """Whatever JSON comes with a 200, the readers give an outcome, with ids that were in it."""
    charged = read_charge(body, CHARGE)
    assert isinstance(charged, Unclear) or charged.charge_id == body["id"]
    assert all(charge.charge_id == body["id"] for charge in read_found([body], "o1", "p1"))
    assert isinstance(read_refunds([body], 1), Refunded | Blocked | NotRefunded | Unclear)
    page = read_page(body)
    assert page is None or list(page.items) == body["data"]
