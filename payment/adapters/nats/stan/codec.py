"""Protocol buffers (proto3), as much as NATS Streaming's messages use, and strict.

Owns: the encoding of messages. Must never: guess. Anything but a message of the requested form is a `CodecError`,
because this decoder also detects that something other than NATS Streaming answered: a JSON text begins with a group's
tag, which is refused. Change together with: `payment.adapters.nats.stan.messages`, which has the table of fields.

Written by hand rather than generated: eleven flat messages of numbers, texts and bytes need a page of code and no
dependency, and a generated decoder is lax (it accepts numbers that are too large and truncates them). Source: Protocol
Buffers documentation, "Encoding".
"""

import enum
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from msgspec import Struct

from payment.adapters.nats.stan.errors import CodecError

FIELD_NUMBER_MAX = (1 << 29) - 1
VARINT_BYTES_MAX = 10
"""64 bits in groups of seven."""
UINT64_MAX = (1 << 64) - 1

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""The wire types, except for the groups (3 and 4), which proto3 does not have."""
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class Kind(enum.Enum):
    """The type of a field."""

    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"


class Field(NamedTuple):
    """One field of a message: its number on the wire and its name here."""

    number: int
    name: str
    kind: Kind


class Message(Struct, frozen=True, gc=False):
    """The base of all messages. A field that is absent on the wire has its type's zero.

    The garbage collector need not track them: numbers, texts and bytes can't form a cycle.
    """

    FIELDS: ClassVar[tuple[Field, ...]] = ()


M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Returns the encoded message. Zeros and empty values are left out, as in proto3.

    Raises:
        CodecError: a number is out of its field's range, or a text can't be encoded.
    """
    out = bytearray()
    for name, tag, write in _writers(type(message)):
        value = getattr(message, name)
        if value:
            out += tag
            write(out, name, value)
    return bytes(out)


def decode(form: type[M], data: bytes) -> M:
    """Decode a message. Fields that the form doesn't have are skipped; of a repeated field the last value counts.

    Raises:
        CodecError: the bytes are no message of this form.
    """
    readers = _readers(form)
    values: dict[str, Any] = {}
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at) if data[at] > 0x7F else (data[at], at + 1)
        reader = readers.get(key)
        if reader is None:
            _check_unknown(form, key)
            at = _skip(data, at, key & 7)
            continue
        name, read = reader
        raw: Any
        raw, at = _varint(data, at)  # the value, or how many bytes it has
        if key & 7 == LENGTH:
            begin, at = at, at + raw
            if at > end:
                raise CodecError("it ends in the middle of a field")
            raw = data[begin:at]
        values[name] = raw if read is None else read(name, raw)
    return form(**values)


def _skip(data: bytes, at: int, wire: int) -> int:
    """Returns the offset of the next field."""
    size = 0
    if wire in (VARINT, LENGTH):
        number, at = _varint(data, at)
        size = number if wire == LENGTH else 0
    elif wire in FIXED_BYTES:
        size = FIXED_BYTES[wire]
    else:
        raise CodecError(f"wire type {wire} is none that proto3 has")
    if at + size > len(data):
        raise CodecError("it ends in the middle of a field")
    return at + size


def _check_unknown(form: type[Message], key: int) -> None:
    """Check a tag without a reader: an unknown field is allowed, a known one with another wire type raises
    CodecError.
    """
    number = key >> 3
    if not 0 < number <= FIELD_NUMBER_MAX:
        raise CodecError(f"there is no field number {number}")
    for field in form.FIELDS:
        if field.number == number:
            raise CodecError(f"{field.name} has wire type {key & 7}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number of up to 64 bits and the offset behind it. Raises CodecError for an encoding longer than
    needed.
    """
    if at < len(data) and data[at] < 0x80:  # nearly all are this short
        return data[at], at + 1
    value = shift = 0
    for byte in data[at : at + VARINT_BYTES_MAX]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value > UINT64_MAX or byte == 0:
                raise CodecError("a number is longer than it needs to be")
            return value, at + shift // 7
    raise CodecError("a number has no end")


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_bytes(out: bytearray, _: str, value: bytes) -> None:
    _put_varint(out, len(value))
    out += value


def _put_text(out: bytearray, name: str, value: str) -> None:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise CodecError(f"{name} holds half a character") from None
    _put_varint(out, len(data))
    out += data


def _number_writer(kind: Kind) -> Callable[[bytearray, str, Any], None]:
    low, high = RANGES[kind]

    def put(out: bytearray, name: str, value: int) -> None:
        if not low <= value <= high:
            raise CodecError(f"{name} is out of the range of {kind.value}")
        _put_varint(out, value & UINT64_MAX)

    return put


def _number_reader(kind: Kind) -> Callable[[str, Any], object]:
    low, high = RANGES[kind]

    def read(name: str, raw: int) -> int:
        if low < 0 and raw >= 1 << 63:
            raw -= 1 << 64  # two's complement, 64 bits also for 32-bit types
        if not low <= raw <= high:
            raise CodecError(f"{name} is out of the range of {kind.value}")
        return raw

    return read


def _read_bool(name: str, raw: int) -> bool:
    if raw > 1:
        raise CodecError(f"{name} is neither true nor false")
    return bool(raw)


def _read_text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CodecError(f"{name} is not UTF-8") from None


RANGES = {
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.UINT32: (0, (1 << 32) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
    Kind.UINT64: (0, UINT64_MAX),
    Kind.BOOL: (0, 1),
}
WRITERS = {kind: _number_writer(kind) for kind in RANGES} | {Kind.STRING: _put_text, Kind.BYTES: _put_bytes}
READERS: dict[Kind, Callable[[str, Any], object] | None] = {
    **{kind: _number_reader(kind) for kind in RANGES},
    Kind.BOOL: _read_bool,
    Kind.STRING: _read_text,
    # The wire value is the field's value.
    Kind.UINT64: None,
    Kind.BYTES: None,
}


def _key(field: Field) -> int:
    return field.number << 3 | (LENGTH if field.kind in (Kind.STRING, Kind.BYTES) else VARINT)


@cache
def _writers(form: type[Message]) -> tuple[tuple[str, bytes, Callable[[bytearray, str, Any], None]], ...]:
    """Returns each field's name, its tag on the wire, and the function that writes its value."""
    made = []
    for field in form.FIELDS:
        tag = bytearray()
        _put_varint(tag, _key(field))
        made.append((field.name, bytes(tag), WRITERS[field.kind]))
    return tuple(made)


@cache
def _readers(form: type[Message]) -> dict[int, tuple[str, Callable[[str, Any], object] | None]]:
    """Returns, by tag, the field's name and the function that reads its value."""
    return {_key(field): (field.name, READERS[field.kind]) for field in form.FIELDS}
