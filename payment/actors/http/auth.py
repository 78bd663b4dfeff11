"""Authentication: the platform's JWT, from the Authorization header or from the platform's session cookie.

A token must be signed with HS256, whatever its own header says. Every failure is `NotAuthenticated`; its reason is for
the log, and never holds a token, a cookie or a claim. Where every signature is wrong, the service's own key is in doubt
(`SignatureDoubt`).
"""

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import jwt
from jwt.algorithms import HMACAlgorithm
from msgspec import Struct

from payment.actors.json_text import BadJson, id_fault, read_json

ALGORITHM = "HS256"

COOKIE_NAMES = ("session", "express:sess")
"""The platform's session cookie, and its name in older versions."""

TOKEN_CHARS_MAX = 4096
"""Longest JWT. The platform's have about 200 characters, and a browser keeps no cookie over 4,096 bytes."""

COOKIE_CHARS_MAX = 8192
"""Longest Cookie header that is read: a token of `TOKEN_CHARS_MAX` in base64, and room for other cookies."""

SESSION_COOKIES_MAX = 4
"""Most session cookies tried of one request. Other applications of a domain may set cookies of the same name."""

TOKENS_KNOWN = 1_000
"""Tokens whose signature is not checked again, the latest used: a client that polls a payment every second, or repeats
a request, sends the same one. 4 MB at most."""

WRONG_SIGNATURES = 10
"""Tokens with a wrong signature, and none with a right one since the start, after which the key itself is in doubt."""
SIGNATURES_HINT = (
    "every token since the start was signed with another key: compare JWT_KEY with the platform's, quotes, blanks and "
    "line breaks included"
)

KEYS_PREPARED = 4
"""Keys that are kept in the form in which HMAC takes them: the platform's, and the former one."""


class AuthenticatedUser(Struct, frozen=True):
    """The user whose token came with the request, by the platform's user id."""

    user_id: str


class NotAuthenticated(Exception):
    """No valid token identifies the user. `reason` says why, and repeats nothing of the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SignatureWrong(NotAuthenticated):
    """A token that is well-formed, and signed with none of our keys."""

    def __init__(self) -> None:
        super().__init__("the token's signature is wrong")


class _PlatformHmac(HMACAlgorithm):
    """HMAC without PyJWT's warning about short keys: the key is the platform's choice, and each request would warn.

    PyJWT also examines the key at each request, for a certificate or JSON: half of what a token costs. Here that
    happens once for each key.
    """

    def __init__(self) -> None:
        super().__init__(hashlib.sha256)
        self._prepared: dict[str | bytes, bytes] = {}

    def prepare_key(self, key: str | bytes) -> bytes:
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = super().prepare_key(key)
            if len(self._prepared) >= KEYS_PREPARED:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared

    def check_key_length(self, key: bytes) -> str | None:
        return None


class PlatformJws(jwt.PyJWS):
    """PyJWT's, which walks through each character of a token in Python: a third of what a token costs.

    Overrides one inner name of the library, which still judges what is padded, strange or empty.
    """

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        if _BASE64URL.fullmatch(segment):
            decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
            if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment:
                return decoded
        return jwt.PyJWS._decode_base64url_segment(segment, name)


def authenticate(
    authorization: str | None, cookie: str | None, keys: tuple[str, ...], now: datetime
) -> AuthenticatedUser:
    """Returns the user, by the values of the `Authorization` and `Cookie` headers. A bearer token excludes the cookies.

    `keys` are the platform's JWT secrets, of which any will do: one, or while it is being changed the new one and the
    former one. `exp` and `nbf` are judged by `now`.

    Raises:
        NotAuthenticated: there is no valid token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return _identity(token.strip(), keys, now)
    failure = NotAuthenticated("no token was sent")
    for session in _session_cookies(cookie or ""):
        try:
            return _identity(_session_token(session), keys, now)
        except NotAuthenticated as tried:
            failure = tried
    raise failure


def _session_cookies(header: str) -> Iterator[str]:
    """The values of the session cookies in a Cookie header, the newer name first.

    Read by hand, as `http.cookies` drops the whole header at the colon of `express:sess`.
    """
    if len(header) > COOKIE_CHARS_MAX:
        raise NotAuthenticated("the Cookie header is too long")
    pairs = [pair.partition("=") for pair in header.split(";")]
    named = [value.strip().strip('"') for name in COOKIE_NAMES for key, _, value in pairs if key.strip() == name]
    yield from named[:SESSION_COOKIES_MAX]


def _session_token(session: str) -> str:
    """The token inside a session cookie: base64, in either alphabet, padded or not, of `{"jwt": "…"}`."""
    text = session.translate(_STANDARD_ALPHABET).rstrip("=")
    try:
        content = read_json(binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True))
    except (ValueError, BadJson):
        raise NotAuthenticated("the session cookie is malformed") from None
    token = content.get("jwt") if isinstance(content, dict) else None
    if not isinstance(token, str):
        raise NotAuthenticated("the session cookie holds no token")
    return token


def _identity(token: str, keys: tuple[str, ...], now: datetime) -> AuthenticatedUser:
    claims = _claims(token, keys)
    _check_times(claims, now)
    user_id = claims.get("id")
    if id_fault(user_id) is not None or not isinstance(user_id, str):
        raise NotAuthenticated("the token names no user")
    return AuthenticatedUser(user_id)


@functools.lru_cache(maxsize=TOKENS_KNOWN)  # which keeps no failure
def _claims(token: str, keys: tuple[str, ...]) -> dict[str, object]:
    """The claims of a token with a valid signature. Times are judged by us: PyJWT would take the system clock."""
    if len(token) > TOKEN_CHARS_MAX:
        raise NotAuthenticated("the token is too long")
    if not token.isascii():
        raise NotAuthenticated("the token is malformed")
    try:
        claims = read_json(_verified(token, keys))
    except (jwt.PyJWTError, BadJson):
        raise NotAuthenticated("the token is malformed") from None
    if not isinstance(claims, dict):
        raise NotAuthenticated("the token is malformed")
    return claims


def _verified(token: str, keys: tuple[str, ...]) -> bytes:
    """The content of a token that is signed with one of the keys."""
    for key in keys:
        try:
            content: bytes = _JWS.decode(token, key, algorithms=[ALGORITHM])
        except jwt.InvalidSignatureError:
            continue
        return content
    raise SignatureWrong


def _check_times(claims: dict[str, object], now: datetime) -> None:
    """Refuse a token that is not valid yet or no more. Both times are seconds since 1970, and may have a fraction."""
    now_s = now.timestamp()
    if "exp" in claims and not now_s < _seconds(claims["exp"]):
        raise NotAuthenticated("the token has expired")
    if "nbf" in claims and now_s < _seconds(claims["nbf"]):
        raise NotAuthenticated("the token is not valid yet")


def _seconds(value: object) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise NotAuthenticated("the token is malformed")
    return value


class SignatureDoubt:
    """Counts wrong signatures until the first right one: after that the key is right, and the other tokens forged."""

    def __init__(self) -> None:
        self._wrong = 0
        self._in_doubt = True

    def token_was_valid(self) -> None:
        self._in_doubt = False

    def key_seems_wrong(self, failure: NotAuthenticated) -> bool:
        """Count a failure. Returns True once, at the failure after which the log should warn."""
        if not self._in_doubt or not isinstance(failure, SignatureWrong):
            return False
        self._wrong += 1
        self._in_doubt = self._wrong < WRONG_SIGNATURES
        return not self._in_doubt


_STANDARD_ALPHABET = str.maketrans("-_", "+/")

_BASE64URL = re.compile(rb"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?")

_JWS = PlatformJws(algorithms=[])
_JWS.register_algorithm(ALGORITHM, _PlatformHmac())
