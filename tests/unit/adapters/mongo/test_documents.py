"""Stored bytes as orders: whatever stands in them, they are an order or say why they are none (F50)."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import hypothesis.strategies as st
import msgspec
import pytest
from bson import Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from msgspec import structs

from payment.adapters.mongo.documents import ORDER_BYTES_MAX, order_of
from payment.core.order import FORMAT, Order
from payment.core.pending import reindexed
from payment.ports.store import CorruptDocument
from tests.contract.store_contract import T0, charging, rich
from tests.support.fakes.store import encoded

GOOD = charging("o1")


def fields(order: Order = GOOD) -> dict[str, Any]:
    return bson.decode(encoded(order), bson.CodecOptions(tz_aware=True, tzinfo=UTC))


def stored(**changes: Any) -> bytes:
    return bson.encode(fields() | changes)


def why(document: bytes) -> str:
    found = order_of(document)
    assert isinstance(found, CorruptDocument), found
    return found.reason


@pytest.mark.parametrize("order", [GOOD, rich("o2")], ids=["charging", "rich"])
def test_what_was_written_is_read(order: Order) -> None:
    """Equal in every field."""
    assert order_of(encoded(order)) == order


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rev": 3.0}, "rev"),
        ({"rev": float("nan")}, "rev"),
        ({"rev": Int64(2**63 - 1)}, "rev"),
        ({"amount": Decimal128("19.99")}, "amount"),
        ({"amount": 1999.0}, "amount"),
        ({"amount": Int64(2**60)}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": "tok_visa"}, "amount"),
        ({"status": "tok_visa"}, "status"),
        ({"expiresAt": "2026-03-01T12:00:00"}, "expiresAt"),
        ({"expiresAt": "2026-03-01T12:00:00Z"}, "expiresAt"),
        ({"expiresAt": DatetimeMS(10**17)}, "expiresAt"),
        ({"received": DatetimeMS(-(10**17))}, "received"),
        ({"received": datetime(9999, 12, 31, tzinfo=UTC)}, "received"),
        ({"userId": Regex("tok_visa")}, "userId"),
        ({"payment": [1]}, "payment"),
        ({"payment": {"id": "tok_visa", "attempts": [{"state": []}]}, "format": 1}, "payment"),
        ({"outbox": {"tok_visa": 1}}, "outbox"),
        ({"writer": {"process": 1}}, "writer"),
        ({"format": "2"}, "format"),
        ({"format": FORMAT + 1}, "format"),
        ({"format": 0}, "format"),
        ({"text": "x" * ORDER_BYTES_MAX}, "bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_can_be_no_order_says_which_field_it_is(changes: dict[str, Any], words: str) -> None:
    """F50: and never what stands there."""
    reason = why(stored(**changes))
    assert words in reason
    assert "tok_visa" not in reason


@pytest.mark.parametrize("name", [ObjectId("5f1f1f1f1f1f1f1f1f1f1f1f"), 7, 7.5, b"x", None, {"a": 1}, "", T0])
def test_an_id_that_is_no_text_is_one_document_s_trouble(name: Any) -> None:
    """F50: a sweep meets it, and it has to be named."""
    document = {key: value for key, value in fields().items() if key != "_id"}
    found = order_of(bson.encode({"_id": name, **document}))
    if name == "":
        assert isinstance(found, Order)
        return
    assert isinstance(found, CorruptDocument)
    assert len(found.order_id) > 0
    assert "_id" in found.reason


def test_it_is_known_by_its_names() -> None:
    """F50: its payment's too, by which its owner asks; also where nothing but the names can be decoded."""
    payment = fields()["payment"]
    for changes in ({"payment": {**payment, "kept": 7}}, {"rev": None}, {"received": DatetimeMS(10**17)}):
        found = order_of(stored(**changes))
        assert isinstance(found, CorruptDocument)
        assert (found.order_id, found.payment_id, found.newer) == ("o1", payment["id"], False)
    broken = stored(userId="user-1").replace(b"user-1", b"user\xff1")
    found = order_of(broken)
    assert isinstance(found, CorruptDocument)
    assert (found.order_id, found.payment_id) == ("o1", payment["id"])
    assert order_of(b"\x05\0\0\0\0") == CorruptDocument("None", "Object missing required field `_id`")


def test_what_is_no_bson_at_all_is_a_value_too() -> None:
    """F50: nothing that a server can send ends more than one order's work."""
    for rubbish in (b"", b"\0" * 4, encoded(GOOD)[:-9], b"\xff" * 40, encoded(GOOD)[:-2] + b"\x01\x01"):
        assert isinstance(order_of(rubbish), CorruptDocument)


def test_a_newer_release_s_is_told_from_a_broken_one() -> None:
    """F33: its process may run beside this one."""
    newer, older = order_of(stored(format=FORMAT + 1)), order_of(stored(format=-1))
    assert isinstance(newer, CorruptDocument)
    assert isinstance(older, CorruptDocument)
    assert (newer.newer, older.newer) == (True, False)


def test_entries_of_the_history_that_are_none_are_left_out() -> None:
    """F50: nothing is decided by them."""
    entry = {"at": T0, "what": "order created"}
    kept = order_of(stored(history=[1, entry, {"at": "soon", "what": 2}, None]))
    assert isinstance(kept, Order)
    assert [each.what for each in kept.history] == ["order created"]
    for rubbish in ("x", {"a": 1}, 7):
        found = order_of(stored(history=rubbish))
        assert isinstance(found, Order)
        assert found.history == ()


VALUES: st.SearchStrategy[object] = st.sampled_from(
    [
        *(None, True, 0, 1, 7, -1, 2**31, Int64(2**62), 0.5, float("nan"), float("inf"), Decimal128("1"), MaxKey()),
        *("", "tok_visa", "paid", "\ud7ff", "a\r\nb", b"tok_visa", Regex("a"), ObjectId(), Timestamp(1, 1)),
        *(T0, T0 + timedelta(days=900_000), DatetimeMS(2**62), DatetimeMS(-(2**62)), {}, [], {"tok_visa": 1}, [[]]),
    ]
)
DOCUMENTS = [fields(GOOD), fields(rich("o2"))]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in entries for found in ((*path, key), *_paths(each, (*path, key)))]


@given(st.data())
@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_in_any_field_is_an_order_or_a_reason(data: st.DataObject) -> None:
    """F50: nothing raises, and no reason quotes."""
    document = copy.deepcopy(data.draw(st.sampled_from(DOCUMENTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(_paths(document)))
        holder: Any = document
        for key in way:
            holder = holder[key]
        holder[last] = copy.deepcopy(data.draw(VALUES))
        if not _paths(document):
            break
    found = order_of(bson.encode(document))
    if isinstance(found, CorruptDocument):
        assert "tok_visa" not in found.reason
    else:
        assert reindexed(found).rev >= 1
        assert isinstance(order_of(encoded(structs.replace(reindexed(found), format=FORMAT))), Order)


def test_the_library_s_words_that_are_quoted_quote_nothing() -> None:
    """F50: should a later version of it say a value there, this fails."""
    for value in ("tok_visa", ["tok_visa"], {"tok_visa": 1}):
        for name in fields():
            with pytest.raises(msgspec.ValidationError) as raised:
                msgspec.convert(fields() | {name: value, "rev": "x"}, Order, builtin_types=(datetime,))
            if str(raised.value).startswith(("Expected ", "Object missing")):
                assert "tok_visa" not in str(raised.value)
