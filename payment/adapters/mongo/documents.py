"""Stored orders as they are read: each document is decoded by itself, and is an order or says why it is none.

Anything may stand in a document that was edited: a date that Python has no type for, text where a number belongs. None
of it raises, and one document spoils no other. What goes to a log names the field and what belongs there, never what
stands there: a card token may stand anywhere.

Change together: `payment.core.order.Order`, `payment.core.validity`, and `payment.ports.store.CorruptDocument`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson
import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

from payment.core.formats import READABLE
from payment.core.legacy import upgraded
from payment.core.order import FORMAT, Order
from payment.core.validity import flaw
from payment.ports.store import CorruptDocument

ORDER_BYTES_MAX = 1024 * 1024
"""Of a stored order. The largest that the service writes has a tenth of it; MongoDB takes 16 MiB, and a sweep may meet
hundreds of them."""

NAMED_CHARS_MAX = 255
"""Of an order's id, where a document that is none is named by it: the platform's ids are not longer."""

CODEC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""A date past the year 9999 is no error of the whole document: it is read as a number, which belongs in no field."""

RAW = CodecOptions(RawBSONDocument)
"""For documents on their way to the server."""

STORED = CodecOptions(
    RawBSONDocument,
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""For documents as bytes. A field of one that can't be decoded is read all the same: its name, its deadline."""

QUOTES_NOTHING = ("Expected ", "Object missing required field ")
"""How the library's errors begin that name types and fields alone. Others quote the value."""

Document = Mapping[str, Any]


def read(document: RawBSONDocument) -> Order | CorruptDocument:
    """What a document is, as the driver brings it."""
    return order_of(bytes(document.raw))


def order_of(encoded: bytes) -> Order | CorruptDocument:
    """The order that a stored document holds, or why it is none. Raises nothing.

    Entries of the history that are none are left out: nothing is decided by them.
    """
    if len(encoded) > ORDER_BYTES_MAX:
        return _corrupt(encoded, f"it has {len(encoded)} bytes, and no order has more than {ORDER_BYTES_MAX}")
    try:
        document = bson.decode(encoded, CODEC)
        order = _converted(document)
        found = _why_not(order)
        return order if found is None else _corrupt(encoded, found, newer=order.format > FORMAT)
    except msgspec.ValidationError as error:
        return _corrupt(encoded, _reason(error))
    except Exception as error:  # whatever a document makes a library raise is that document's trouble
        return _corrupt(encoded, f"it can't be decoded ({type(error).__name__})")


def _why_not(order: Order) -> str | None:
    """Why a document that decodes is no order of this release."""
    if order.format not in READABLE:
        # A newer release's: it is left alone, and so is its deadline.
        return f"it is of a format that is not {FORMAT}, the highest that this release knows"
    return flaw(order)


def _converted(document: Document) -> Order:
    try:
        return _order(document)
    except msgspec.ValidationError as error:
        if "`$.history" not in str(error):
            raise
    entries = document["history"] if isinstance(document["history"], list) else []
    return _order({**document, "history": [entry for entry in entries if _is_entry(entry)]})


def _order(document: Document) -> Order:
    # Text is not taken for a date: it may lack its zone.
    return msgspec.convert(upgraded(document), Order, builtin_types=(datetime,))


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("at"), datetime) and isinstance(entry.get("what"), str)


def _reason(error: msgspec.ValidationError) -> str:
    """The error's own words, where they quote no value."""
    what, _, where = str(error).rpartition(" - at ")
    said = (what or where) if (what or where).startswith(QUOTES_NOTHING) else "Unknown value"
    return f"{said} at {where.replace('$.', '')}" if what else said


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
