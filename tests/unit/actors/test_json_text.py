"""JSON is read strictly and exactly, or refused."""

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors.json_text import BadJson, id_fault, read_json

DEPTH = 100_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("19.99", Decimal("19.99")),
        ("19.989999999999998", Decimal("19.989999999999998")),
        ("1E400", Decimal("1E400")),
        ("12345678901234567890", 12345678901234567890),
        (' {"a": [null, true, "\\u00e9\\ud83d\\ude00"]} ', {"a": [None, True, "é😀"]}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('"\\u0000"', "\0"),
    ],
)
def test_numbers_stay_exact_and_the_last_of_equal_keys_counts(text: str, value: object) -> None:
    """No number passes through a float, and equal keys are read as JSON.parse reads them."""
    found = read_json(text.encode())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"NaN",
        b"-Infinity",
        b'{"a": Infinity}',
        b"01",
        b'"\x01"',
        b'"\xff"',
        b'{"\xff": 1}',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\ud800 and more text"',
        b'{"a": "\\udc00 and more text"}',
        b'{"\\ud800 and more text": 1}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"9" * 5000,
        b"1E99999999999999999999999",
        b"[" * DEPTH,
        b"[" * DEPTH + b"]" * DEPTH,
        b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_a_value_that_can_not_be_read_exactly_is_bad_json(data: bytes) -> None:
    """Broken, foreign, half-encoded and endlessly nested text is refused in the same way."""
    with pytest.raises(BadJson):
        read_json(data)


@given(st.binary())
def test_any_bytes_are_a_value_or_bad_json(data: bytes) -> None:
    """No bytes raise another exception."""
    with suppress(BadJson):
        read_json(data)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(), st.lists, max_leaves=8))
def test_json_of_other_libraries_is_read_as_its_value(value: object) -> None:
    """JSON that another library writes, with or without escapes, is read as its value."""
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert read_json(text.encode()) == value


@pytest.mark.parametrize("value", ["a", "507f1f77bcf86cd799439011", "x" * 255, "é" * 127, "a b", "$ne", "😀"])
def test_an_id_is_text_of_1_to_255_bytes(value: str) -> None:
    """The platform's ids, and all that MongoDB and Stripe can store, are valid."""
    assert id_fault(value) is None


@pytest.mark.parametrize(
    "value", ["", " ", "\t", "a\0b", "a\nb", "\x7f", "\ud800", "x" * 256, "é" * 128, "x" * 5000, 7, None, True, {}, []]
)
def test_everything_else_is_no_id(value: object) -> None:
    """Each fault ends a sentence that begins with the field's name."""
    fault = id_fault(value)
    assert fault is not None
    assert fault.startswith("must ")
