"""The codec: round trips of every message, known bytes, and its own error for all other input."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.adapters.nats.stan.codec import Field, Kind, Message, decode, encode
from payment.adapters.nats.stan.errors import CodecError
from payment.adapters.nats.stan.messages import (
    ALL,
    Ack,
    ConnectRequest,
    ConnectResponse,
    MsgProto,
    Ping,
    PingResponse,
    PubAck,
    SubscriptionResponse,
)

RANDOM_TEXTS = 100_000
VALUES = {
    Kind.INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    Kind.UINT32: st.integers(0, (1 << 32) - 1),
    Kind.INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    Kind.UINT64: st.integers(0, (1 << 64) - 1),
    Kind.BOOL: st.booleans(),
    Kind.STRING: st.text(),
    Kind.BYTES: st.binary(),
}


def messages_of(form: type[Message]) -> st.SearchStrategy[Message]:
    return st.builds(form, **{field.name: VALUES[field.kind] for field in form.FIELDS})


MESSAGES = st.one_of([messages_of(form) for form in ALL])


def tagged(number: int, wire: int) -> bytes:
    """A field's tag of one byte."""
    return bytes([number << 3 | wire])


@given(MESSAGES)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    """Encoding and decoding are each other's inverse, for every form and every value in its range."""
    assert decode(type(message), encode(message)) == message


@given(MESSAGES, st.integers(0, 1 << 64).flatmap(lambda seed: st.just(random.Random(seed))))
def test_unknown_fields_are_skipped_wherever_they_stand(message: Message, chance: random.Random) -> None:
    """A newer server's fields, of all four wire types, change nothing."""
    strangers = [b"\xf0\x3f\x96\x01", b"\xf1\x3f" + b"12345678", b"\xf5\x3f" + b"1234", b"\xf2\x3f\x03abc"]
    chance.shuffle(strangers)
    assert decode(type(message), strangers[0] + encode(message) + b"".join(strangers[1:])) == message


@given(MESSAGES, st.data())
def test_a_message_cut_short_is_shorter_or_refused(message: Message, data: st.DataObject) -> None:
    """Bytes that are cut between two fields are a message with fewer fields; cut elsewhere, they are none."""
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        found = decode(type(message), cut)
    except CodecError:
        return
    assert encode(found) == cut


def test_random_bytes_are_a_value_or_the_codecs_own_error() -> None:
    """100,000 byte strings: no other exception, and every decoded message can be encoded."""
    chance = random.Random(20_260_101)
    read = 0
    for number in range(RANDOM_TEXTS):
        data = chance.randbytes(chance.randrange(24))
        form = ALL[number % len(ALL)]
        try:
            found = decode(form, data)
        except CodecError:
            continue
        read += 1
        encode(found)
    assert 0 < read < RANDOM_TEXTS


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (PingResponse(), b""),
        (Ping(conn_id=b"\x00\xff"), b"\x0a\x02\x00\xff"),
        (PubAck(guid="g", error="no"), b"\x0a\x01g\x12\x02no"),
        (Ack(subject="order:created", sequence=300), b"\x0a\x0dorder:created\x10\xac\x02"),
        (SubscriptionResponse(ack_inbox="_INBOX.a"), b"\x12\x08_INBOX.a"),
        (
            ConnectRequest(client_id="c", heartbeat_inbox="h", protocol=1, conn_id=b"i", ping_interval=3),
            b"\x0a\x01c\x12\x01h\x18\x01\x22\x01i\x28\x03",
        ),
        (
            MsgProto(sequence=1, subject="s", data=b"d", timestamp=-1, redelivered=True, redelivery_count=2),
            b"\x08\x01\x12\x01s\x22\x01d\x28" + b"\xff" * 9 + b"\x01\x30\x01\x38\x02",
        ),
        (ConnectResponse(ping_requests="p", protocol=1), b"\x3a\x01p\x50\x01"),
    ],
)
def test_known_messages_have_known_bytes(message: Message, data: bytes) -> None:
    """Written by hand from the encoding's rules: both directions must agree with them."""
    assert encode(message) == data
    assert decode(type(message), data) == message


def test_of_a_field_that_comes_twice_the_last_one_counts() -> None:
    """As in the encoding's rules."""
    assert decode(PubAck, b"\x0a\x01a\x0a\x01b") == PubAck(guid="b")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"stream":"cap","seq":1}', "JetStream's answer: a group's tag"),
        (tagged(1, 3) + tagged(1, 4), "a group"),
        (tagged(1, 4), "a group's end"),
        (tagged(15, 3) + tagged(15, 4), "a group in an unknown field"),
        (tagged(1, 6), "a wire type that is none"),
        (tagged(1, 7), "another"),
        (tagged(0, 2) + b"\x00", "field number 0"),
        (b"\x80\x80\x80\x80\x10\x00", "a field number of 30 bits"),
        (b"\x0a", "a tag and nothing else"),
        (b"\x0a\x05abc", "a text that ends too early"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a text of 2^64 - 1 bytes"),
        (b"\x0a\x80", "a length without end"),
        (tagged(15, 1) + b"1234567", "a fixed64 of 7 bytes"),
        (tagged(15, 5) + b"123", "a fixed32 of 3 bytes"),
        (b"\x0a\x02\xc3\x28", "no UTF-8"),
        (b"\x0a\x03\xed\xa0\x80", "a lone surrogate"),
        (tagged(1, 0) + b"\x01", "a number where a text belongs"),
        (tagged(1, 5) + b"abcd", "a fixed32 where a text belongs"),
        (tagged(15, 0) + b"\x80\x00", "a zero in two bytes"),
        (tagged(15, 0) + b"\xff" * 9 + b"\x02", "a number of 65 bits"),
        (tagged(15, 0) + b"\xff" * 10 + b"\x00", "a number of 11 bytes"),
    ],
)
def test_data_that_is_no_message_is_refused(data: bytes, what: str) -> None:
    """Strictness detects that something other than NATS Streaming answers."""
    with pytest.raises(CodecError):
        decode(PubAck, data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x02",  # redelivered: 2
        b"\x38\xff\xff\xff\xff\x10",  # redelivery_count: 2^32
        b"\x08\x01\x12\x01s\x2a\x00",  # timestamp as bytes
        b"\x0a\x00",  # sequence as bytes
    ],
)
def test_a_number_that_its_field_can_not_hold_is_refused(data: bytes) -> None:
    """It is neither truncated nor misread."""
    with pytest.raises(CodecError):
        decode(MsgProto, data)


def test_a_negative_int32_is_ten_bytes_and_one_of_five_is_refused() -> None:
    """Two's complement in 64 bits: 2^32 - 1 in five bytes is no -1."""
    assert decode(ConnectRequest, b"\x18" + b"\xff" * 9 + b"\x01").protocol == -1
    with pytest.raises(CodecError):
        decode(ConnectRequest, b"\x18\xff\xff\xff\xff\x0f")


@pytest.mark.parametrize(
    "message",
    [Ack(sequence=1 << 64), Ack(sequence=-1), ConnectRequest(protocol=1 << 31), Ack(subject="\ud800")],
)
def test_a_message_that_can_not_be_encoded_is_the_codecs_own_error(message: Message) -> None:
    """Out of range, half a character."""
    with pytest.raises(CodecError):
        encode(message)


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.__name__)
def test_the_table_names_every_field_once(form: type[Message]) -> None:
    """Each attribute is in the table, in the order of its number, and no number occurs twice."""
    numbers = [field.number for field in form.FIELDS]
    assert [field.name for field in form.FIELDS] == list(form.__struct_fields__)
    assert numbers == sorted(set(numbers))
    assert all(isinstance(field, Field) for field in form.FIELDS)
