"""A request's parameters, parsed strictly: unknown, missing or malformed ones are refused as Stripe refuses them.

Form encoding nests with brackets (`metadata[orderId]=7`, `expand[0]=data.refunds`); of a repeated name the last value
counts. This module does not know the meaning of any parameter.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl

from payment.stripe_sandbox.errors import ApiError, missing

FIELDS = 500
"""Parameters of one request: more than any needs (50 of metadata, some of `expand`), as a bound on the work for a bad
one.
"""
METADATA_ENTRIES = 50
METADATA_NAME_CHARS = 40
METADATA_VALUE_CHARS = 500
"""Stripe's limits on metadata: docs.stripe.com/api/metadata."""
INTEGER_DIGITS = 18
"""Digits of an integer, so that every value fits in 64 bits."""
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
PAGE_DEFAULT = 10
PAGE_MAX = 100


class Params:
    """One request's parameters, by name or by name and key: `amount`, `metadata[orderId]`."""

    def __init__(self, encoded: bytes | str) -> None:
        """Raises ApiError if `encoded` is not form encoding, or not UTF-8."""
        text = _text(encoded)
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
        except ValueError as error:
            raise ApiError("Invalid request: its parameters are not form-encoded UTF-8.") from error
        self._fields = _fields(pairs)

    def fingerprint(self) -> str:
        """Returns a hash that is the same for equal parameters in any order."""
        return blake2b(repr(sorted(self._fields.items())).encode(), digest_size=16).hexdigest()

    def allow(self, *names: str) -> None:
        """Raise ApiError for any parameter but these and `expand`. `metadata[*]` means everything below `metadata`."""
        exact = {name.removesuffix("[*]") for name in names}
        below = tuple(name[:-2] for name in (*names, "expand[*]") if name.endswith("[*]"))
        strangers = sorted(name for name in self._fields if name not in exact and not name.startswith(below))
        if strangers:
            plural = "s" if len(strangers) > 1 else ""
            message = f"Received unknown parameter{plural}: {', '.join(strangers)}"
            raise ApiError(message, code="parameter_unknown", param=strangers[0])

    def has(self, name: str) -> bool:
        """Whether a parameter is given, or one below it."""
        return name in self._fields or any(field.startswith(f"{name}[") for field in self._fields)

    def empty(self, name: str) -> bool:
        """Whether a parameter is given and empty, which unsets a field where Stripe allows that."""
        return self._fields.get(name) == ""

    def text(self, name: str) -> str | None:
        """Returns a text, or None where it is not given. An empty one raises ApiError, as Stripe does where nothing can
        be unset.
        """
        value = self._fields.get(name)
        if value == "":
            message = f"You passed an empty string for '{name}'. You should remove it or supply a non-empty value."
            raise ApiError(message, code="parameter_invalid_empty", param=name)
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise missing(name)
        return value

    def integer(self, name: str, least: int = 1) -> int | None:
        """Returns an integer of at least `least`, or None where it is not given."""
        value = self.text(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > INTEGER_DIGITS:
            raise ApiError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
        if int(value) < least:
            message = f"Invalid positive integer: {value}. This value must be greater than or equal to {least}."
            raise ApiError(message, code="parameter_invalid_integer", param=name)
        return int(value)

    def boolean(self, name: str) -> bool | None:
        """Returns `true` or `false` as a bool, or None where it is not given."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise ApiError(f"Invalid boolean: {value}", param=name)
        return None if value is None else value == "true"

    def choice(self, name: str, *allowed: str) -> str | None:
        """Returns one of the allowed values, or None where it is not given."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise ApiError(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
        return value

    def listed(self, name: str) -> list[str]:
        """Returns the elements of a list, in the order of their indexes: `name[0]`, `name[1]`, or `name[]` repeated."""
        elements = [(key, value) for key, value in self._keyed(name) if key.isascii() and key.isdigit()]
        return [value for key, value in sorted(elements, key=lambda element: int(element[0]))]

    def tree(self, name: str) -> dict[str, Any] | None:
        """Returns everything below a parameter, nested like its brackets; None where nothing is given."""
        found: dict[str, Any] = {}
        for path, value in self._keyed(name):
            *parents, leaf = path.split("][")
            node = found
            for parent in parents:
                inner = node.setdefault(parent, {})
                if not isinstance(inner, dict):
                    raise ApiError("Invalid object", param=name)
                node = inner
            node[leaf] = value or None
        return found or None

    def times(self, name: str) -> dict[str, int]:
        """Returns the bounds of a time (`created[gte]`): SQL's comparison operators to seconds since 1970."""
        moments = {"=": self.integer(name, least=0)}
        for word, _ in self._keyed(name):
            if word not in COMPARISONS:
                raise ApiError(f"Received unknown parameter: {name}[{word}]", code="parameter_unknown", param=name)
            moments[COMPARISONS[word]] = self.integer(f"{name}[{word}]", least=0)
        return {sign: moment for sign, moment in moments.items() if moment is not None}

    def page_limit(self) -> int:
        limit = self.integer("limit")
        if limit is not None and limit > PAGE_MAX:
            message = f"This value must be less than or equal to {PAGE_MAX}."
            raise ApiError(message, code="parameter_invalid_integer", param="limit")
        return limit or PAGE_DEFAULT

    def metadata(self) -> dict[str, str]:
        """Returns metadata by name; names with an empty value are left out."""
        return self.changed_metadata({})

    def changed_metadata(self, before: dict[str, str]) -> dict[str, str]:
        """Returns updated metadata: sent names are set, or unset if empty; `metadata=` unsets all of them."""
        if self._fields.get("metadata"):
            raise ApiError("Invalid object", param="metadata")
        kept = {} if self.empty("metadata") else before
        entries = {name: value for name, value in (kept | dict(self._keyed("metadata"))).items() if value != ""}
        if len(entries) > METADATA_ENTRIES:
            raise ApiError(f"You can have up to {METADATA_ENTRIES} metadata keys.", param="metadata")
        for name, value in entries.items():
            if len(name) > METADATA_NAME_CHARS or len(value) > METADATA_VALUE_CHARS:
                message = (
                    f"Metadata keys can have up to {METADATA_NAME_CHARS} characters, "
                    f"and their values up to {METADATA_VALUE_CHARS}."
                )
                raise ApiError(message, param="metadata")
        return entries

    def _keyed(self, name: str) -> Iterable[tuple[str, str]]:
        prefix = f"{name}["
        for field, value in self._fields.items():
            if field.startswith(prefix) and field.endswith("]"):
                yield field[len(prefix) : -1], value


def _fields(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Returns the fields by name; the elements of a repeated `name[]` are numbered."""
    fields: dict[str, str] = {}
    repeated: Counter[str] = Counter()
    for name, value in pairs:
        if name.endswith("[]"):
            fields[f"{name[:-1]}{repeated[name]}]"] = value
            repeated[name] += 1
        else:
            fields[name] = value
    return fields


def _text(encoded: bytes | str) -> str:
    try:
        return encoded if isinstance(encoded, str) else encoded.decode()
    except UnicodeDecodeError as error:
        raise ApiError("Invalid request: its parameters are not form-encoded UTF-8.") from error
