"""Strict JSON: bytes become values with exact numbers, or `BadJson`. Also the rules for every id from outside.

Whole numbers are `int`, all others `Decimal`, so no price passes through a float. Of equal keys in one object the last
counts, as in the JavaScript services on the same bus: two readings of one event would be worse than a lenient one.
"""

import re
from decimal import Decimal, InvalidOperation

import msgspec

ID_BYTES_MAX = 255
"""Longest id, in UTF-8. The platform's ids have 24 characters; MongoDB, Stripe's metadata and headers hold 255."""

_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, NUL among them, and halves of surrogate pairs, which UTF-8 can't encode."""


class BadJson(Exception):
    """The bytes are not JSON, or not JSON that can be read exactly. The text says why without quoting them."""


def read_json(data: bytes) -> object:
    """Returns the value of a JSON text in UTF-8: dict, list, str, int, Decimal, bool or None.

    Raises:
        BadJson: it is not UTF-8, not JSON (NaN and Infinity are not), holds half a surrogate pair or a number too
            large for
            Decimal, or is nested too deep.
    """
    try:
        value: object = _DECODER.decode(data)
    except UnicodeDecodeError:
        raise BadJson("is not UTF-8") from None
    except (msgspec.DecodeError, InvalidOperation):
        raise BadJson("is not valid JSON") from None
    except RecursionError:
        raise BadJson("is nested too deep") from None
    return value


def id_fault(value: object) -> str | None:
    """Returns why a value is not a valid id, as the end of a sentence; None where it is one."""
    if not isinstance(value, str):
        return "must be text"
    if not value or value.isspace():
        return "must not be empty"
    if _UNFIT.search(value):
        return "must not hold control characters"
    if len(value.encode()) > ID_BYTES_MAX:
        return f"must be at most {ID_BYTES_MAX} bytes long"
    return None


_DECODER = msgspec.json.Decoder(float_hook=Decimal)
