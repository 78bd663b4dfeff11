"""Which values a log line or a message may hold, and how secrets in them are masked.

The one place that knows what secrets look like: a new shape goes in here. Log lines have two independent guards. The
first is structure: only the fields of `payment.ops.log_schema.FIELDS` are logged, and only plain values (text, numbers,
times, enums, and short lists and mappings of these); bytes and objects are replaced by the name of their type. The
second searches the text that is left for the shapes of secrets, and for this process's own secrets, so that a secret
inside a library's message or an exception's text is masked too.

It never raises: a value that can't be logged is replaced by a word that says so. It must never import an actor or a
port.
"""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from payment.ops.log_schema import FIELDS

MASK = "[redacted]"
UNLISTED = "[unlisted]"
"""Replaces the value of a field that is not in the log schema."""

FIELD_CHARS = 2_000
"""Longest text of a field: enough for a Stripe or MongoDB error with its context, too short for a document."""
TRACEBACK_CHARS = 16_000
"""Longest traceback: about a hundred frames. Its end is kept, which names the exception."""
MARGIN_CHARS = 4_096
"""Characters beyond the longest text that are scrubbed before the text is cut, so that the cut splits no secret."""
COLLECTION_ITEMS = 50
"""Most entries of a list or mapping: more than there are settings, so that all their problems fit."""
NESTING_LEVELS = 3
"""Deepest nesting of lists and mappings: deeper than any field of the log schema needs."""
SECRET_CHARS_MIN = 6
"""Shorter secrets are not searched for: masking each `a` would reveal more than it hides."""

KEY_CHARS_MIN = 16
"""A name may hold a shorter key by chance, of a developer's machine, and is then no reason to refuse the name."""

INTEGER_CHARS = 40
"""Longest integer. Integers of more than 63 bits are logged in hexadecimal: many JSON readers can't hold them."""

_LARGEST_INT = 2**63 - 1
_SCALARS = frozenset((str, int, float, bool, type(None)))
"""The types of nearly all values: plain, and without parts."""

_SHAPES = (
    # Client secrets of Stripe's intents: the intent's own id is no secret, and stays.
    (re.compile(r"(?<![A-Za-z0-9])(pi_[A-Za-z0-9]+_secret_)\w+"), r"\1" + MASK),
    # Stripe's keys, card tokens, sources, payment methods, confirmation tokens, and what saves a card (SetupIntents),
    # also as Stripe shows a key: with asterisks (docs.stripe.com/keys).
    (re.compile(r"(?<![A-Za-z0-9])((?:sk|rk|pk|ek|whsec|tok|btok|ctoken|pm|src|seti)_)[\w*]+"), r"\1" + MASK),
    (re.compile(r"\*{4,}\w+"), MASK),
    # JSON Web Tokens and base64 of a JSON object, which a session cookie is: both begin with `{"` encoded.
    (re.compile(r"eyJ[A-Za-z0-9+/_=.%-]{4,}"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9+/_=.~%-]{6,}"), r"\1\2" + MASK),
    # `user:password@` in an address. Greedy: a password may contain an `@` or a slash.
    (re.compile(r"://[^\s]{1,512}@"), f"://{MASK}@"),
    (
        re.compile(r"(?i)\b(passw(?:or)?d|pwd|secret|api_?key|jwt_key|stripe_key)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"),
        rf"\1\2{MASK}",
    ),
)

_HINTS = (
    *("k_", "whsec_", "tok_", "ctoken_", "pm_", "src_", "seti_", "****", "eyj", "bearer"),
    *("basic", "://", "passw", "pwd", "secret", "key"),
)
"""Lower-case words: a text with a secret's shape has at least one of them. A cheap test before the shapes."""


_CERTAIN = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]"  # Stripe's keys
    r"|(?<![A-Za-z0-9])whsec_[A-Za-z0-9]"  # a webhook's signing secret
    r"|eyJ[A-Za-z0-9_-]{8,}\."  # a JSON Web Token
    r"|(?<![A-Z2-7])S[UAO][A-Z2-7]{56}(?![A-Z2-7])"  # an nkey's seed
    r"|://[^/@\s]*:[^/@\s]+@"  # user and password of an address
    r"|-----BEGIN"  # PEM, and credentials of NATS
)
"""Narrower than `_SHAPES`: a value that holds one of these is refused, where a text is only masked."""


class Redactor:
    """Masks secrets in text that is to be logged or printed.

    `secrets` are this process's own: its keys and passwords, which may have any shape. `keys` are those of them that
    make a secret of any value which holds one of them whole.
    """

    def __init__(self, secrets: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
        secrets, keys = tuple(secrets), tuple(keys)
        self._given = frozenset(secret for secret in (*secrets, *keys) if secret)
        self._long_keys = tuple(key for key in keys if len(key) >= KEY_CHARS_MIN)
        known = {form for secret in self._given for form in _forms(secret) if len(form) >= SECRET_CHARS_MIN}
        # The longest first: a secret may be the beginning of another.
        self._secrets = tuple(sorted(known, key=len, reverse=True))
        self._lowered = tuple(form.lower() for form in self._secrets)

    def suspicious(self, text: str) -> bool:
        """Whether a text may hold a secret, in about two microseconds. It may be wrong only by saying yes."""
        lowered = text.lower()
        for hint in _HINTS:
            if hint in lowered:
                return True
        for word in self._lowered:  # noqa: SIM110
            if word in lowered:
                return True
        return False

    def scrub(self, text: str, *also: str, whole: bool = False) -> str:
        """Returns the text with every known secret, and every text in the shape of a secret, masked.

        `also` are secrets of this text alone, of any length and shape. `whole`: the mask stands for a shape's beginning
        too, by which an engineer tells a token from a key: for texts that customers read.
        """
        for secret in (*filter(None, also), *self._secrets):
            text = text.replace(secret, MASK)
        for shape, mask in _SHAPES:
            text = shape.sub(MASK if whole else mask, text)
        return text

    def is_secret(self, value: str) -> bool:
        """Whether a value is certainly a secret, and thus stands in the wrong place where it would be shown."""
        return _CERTAIN.search(value) is not None or any(key in value for key in self._long_keys)

    def may_be_shown(self, value: str) -> bool:
        """Whether a bad value may be repeated in a message, in which `***@` stands for what is masked already. It errs
        towards no."""
        bare = value.replace("***@", "").encode("utf-8", "replace").decode()
        as_given = {bare, bare.strip("'\"")}
        return not self.is_secret(bare) and self._given.isdisjoint(as_given) and self.scrub(bare) == bare

    def short(self, text: str, limit_chars: int, *, keep_end: bool = False) -> str:
        """Returns the text scrubbed, cut to `limit_chars`, and valid Unicode. `keep_end`: cut off its beginning."""
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        widest = limit_chars + MARGIN_CHARS
        if len(text) > widest:
            part = self.scrub(text[-widest:] if keep_end else text[:widest])
            text = part[MARGIN_CHARS:] if keep_end else part[:-MARGIN_CHARS]
            return f"…{text[-limit_chars:]}" if keep_end else f"{text[:limit_chars]}…"
        text = self.scrub(text)
        if len(text) > limit_chars:
            return f"…{text[-limit_chars:]}" if keep_end else f"{text[:limit_chars]}…"
        return text

    def fit(self, fields: Mapping[str, object]) -> bool:
        """Whether fields from `plain_fields` can be logged unchanged, which nearly all can.

        Their texts are tested together: one search costs less than one for each.
        """
        if not _SCALARS.issuperset(map(type, fields.values())):
            return False
        text = "\n".join([value for value in fields.values() if type(value) is str])
        if len(text) > FIELD_CHARS or self.suspicious(text):
            return False
        integers = [value for value in fields.values() if type(value) is int]
        return not integers or (min(integers) >= -_LARGEST_INT and max(integers) <= _LARGEST_INT)

    def clean(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Returns fields from `plain_fields` with every text in them scrubbed and cut."""
        return {name: self._clean_field(name, value) for name, value in fields.items()}

    def _clean_field(self, name: str, value: object) -> object:
        if name == "exception" and isinstance(value, str):
            return self.short(value, TRACEBACK_CHARS, keep_end=True)
        return self._clean_value(value)

    def _clean_value(self, value: object) -> object:
        match value:
            case str():
                return self.short(value, FIELD_CHARS)
            case int() if not -_LARGEST_INT <= value <= _LARGEST_INT:
                return hex(value)[:INTEGER_CHARS]
            case list():
                return [self._clean_value(item) for item in value]
            case dict():
                return {self.short(name, FIELD_CHARS): self._clean_value(item) for name, item in value.items()}
            case _:
                return value


def plain_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Returns the fields as plain values. A field that is not in the log schema loses its value."""
    if FIELDS.keys() >= fields.keys() and _SCALARS.issuperset(map(type, fields.values())):
        return dict(fields)
    return {name: plain_value(value) if name in FIELDS else UNLISTED for name, value in fields.items()}


def plain_value(value: object, depth: int = 0) -> object:
    """Returns a value as JSON can hold it. A value that is not plain data is replaced by the name of its type."""
    match value:
        case None | int() | float():
            return value
        case enum.Enum():
            return plain_value(value.value, depth)
        case str():
            return str(value)
        case datetime():
            return timestamp(value)
        case Mapping() | Sequence() | set() | frozenset() if not isinstance(value, bytes | bytearray | memoryview):
            return _plain_collection(value, depth + 1)
        case _:
            return f"<{type(value).__name__}>"


def _plain_collection(value: Mapping[object, object] | Iterable[object], depth: int) -> object:
    if depth > NESTING_LEVELS:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        # Names inside a mapping must be in the same list as the fields: nesting is no way around it.
        inner = {str(name): item for name, item in list(value.items())[:COLLECTION_ITEMS]}
        return {name: plain_value(item, depth) if name in FIELDS else UNLISTED for name, item in inner.items()}
    return [plain_value(item, depth) for item in list(value)[:COLLECTION_ITEMS]]


def timestamp(at: datetime) -> str:
    """Returns a time as ISO 8601 in UTC with milliseconds and a `Z`: `2024-05-01T12:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _forms(secret: str) -> set[str]:
    """A secret as given, and as it may be written in an address, encoded or decoded."""
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), unquote(secret), unquote_plus(secret)}
