"""An order as a stored document: how it is decoded, and how it is encoded.

Each document is decoded alone. The result is an order, or a `CorruptDocument` with the reason. An edited document may
hold anything: a date that Python has no type for, text where a number belongs. None of it raises, and one document
makes no other unreadable. A reason names the field and the expected type, and never quotes the value, for a card token
may stand anywhere.

Change together: `payment.core.order.Order`, `payment.core.validity`, and `payment.ports.store.CorruptDocument`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import bson
import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from payment.core.formats import READABLE
from payment.core.legacy import upgraded
from payment.core.order import FORMAT, Order
from payment.core.validity import flaw
from payment.ports.store import CorruptDocument

ORDERS = "orders"
"""The collection's name."""

ORDER_BYTES_MAX = 1024 * 1024
"""Of a stored order that is read. The largest that the service writes has a tenth of it; MongoDB accepts 16 MiB, and a
sweep may read hundreds of documents."""

NAMED_CHARS_MAX = 255
"""Of a corrupt document's `_id` in a log line: the platform's order ids are no longer."""

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
"""MongoDB's own limit for one document, and the driver's for one command: it refuses a longer one as a whole."""

WRITE_OVERHEAD_BYTES = 4_096
"""The size that the filter and the command add to a document, except the id, which both contain."""

CODEC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""A date past the year 9999 does not make the document undecodable: it is read as a number, which no field accepts."""

RAW = CodecOptions(RawBSONDocument)
"""For documents that are sent to the server."""

STORED = CodecOptions(
    RawBSONDocument,
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""For documents that are read as bytes. The `_id` and the deadline of an undecodable one can still be read."""

QUOTES_NOTHING = ("Expected ", "Object missing required field ")
"""How those of the library's errors begin that name only types and fields. Others quote the value."""

Document = dict[str, Any]


class Write(NamedTuple):
    """An encoded order to be written: only over the revision before its own, or where none is stored."""

    order_id: str
    revision: int
    document: RawBSONDocument
    size_bytes: int
    """All that it adds to a command."""


def write_of(order: Order) -> Write | None:
    """Returns the order as BSON. None: it can't be encoded or is too long, and fails alone, without its batch (F41)."""
    fields = msgspec.to_builtins(order, builtin_types=(datetime,))
    try:
        encoded = bson.encode(fields, codec_options=CODEC)
    except (BSONError, OverflowError, UnicodeEncodeError):
        return None
    size_bytes = len(encoded) + len(order.id.encode()) + WRITE_OVERHEAD_BYTES
    if size_bytes > DOCUMENT_BYTES_MAX:
        return None
    return Write(order.id, order.rev, RawBSONDocument(encoded, codec_options=RAW), size_bytes)


def order_of(encoded: bytes) -> Order | CorruptDocument:
    """Returns the order that a stored document holds, or why it is not valid. It never raises.

    Invalid entries of the history are left out: no decision depends on the history.
    """
    if len(encoded) > ORDER_BYTES_MAX:
        return _corrupt(encoded, f"it has {len(encoded)} bytes, and no order has more than {ORDER_BYTES_MAX}")
    try:
        document = bson.decode(encoded, CODEC)
        order = _converted(document)
        if order.format not in READABLE:
            # A newer release wrote it: neither the document nor its deadline is changed.
            reason = f"it is of a format that is not {FORMAT}, the highest that this release knows"
            return _corrupt(encoded, reason, newer=order.format > FORMAT)
        found = flaw(order)
        return order if found is None else _corrupt(encoded, found)
    except msgspec.ValidationError as error:
        return _corrupt(encoded, _reason(error))
    except Exception as error:  # any exception that a document causes in a library concerns that document alone
        return _corrupt(encoded, f"it can't be decoded ({type(error).__name__})")


def _converted(document: Mapping[str, Any]) -> Order:
    current = upgraded(document)
    try:
        # Only a BSON date is accepted as a date: text may lack its time zone.
        return msgspec.convert(current, Order, builtin_types=(datetime,))
    except msgspec.ValidationError as error:
        if "`$.history" not in str(error):
            raise
    entries = current["history"] if isinstance(current["history"], list) else []
    valid = [
        entry
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("at"), datetime) and isinstance(entry.get("what"), str)
    ]
    return msgspec.convert({**current, "history": valid}, Order, builtin_types=(datetime,))


def _reason(error: msgspec.ValidationError) -> str:
    """Returns the error's own text, without any value that it quotes."""
    what, _, where = str(error).rpartition(" - at ")
    text = (what or where) if (what or where).startswith(QUOTES_NOTHING) else "Unknown value"
    return f"{text} at {where.replace('$.', '')}" if what else text


def _corrupt(encoded: bytes, reason: str, *, newer: bool = False) -> CorruptDocument:
    name: object = None
    payment_id: object = None
    try:
        document = RawBSONDocument(encoded, STORED)
        name = document.get("_id")
        payment = document.get("payment")
        payment_id = payment.get("id") if isinstance(payment, RawBSONDocument) else None
    except Exception as error:  # as above: it has no name then
        reason = f"{reason}; its name can't be decoded either ({type(error).__name__})"
    return CorruptDocument(
        str(name)[:NAMED_CHARS_MAX], reason, newer, payment_id if isinstance(payment_id, str) else None
    )
