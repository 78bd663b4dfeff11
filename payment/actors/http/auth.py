"""Who asks: a JWT of the platform, from the Authorization header or from its session cookie.

Signed with HS256 and nothing else, whatever the token's own header says. Every way to fail is `NotAuthenticated`; its
reason is for our log, and never holds a token, a cookie or a claim.
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
"""Longest Cookie header that is read: a token of `TOKEN_CHARS_MAX` in base64, and room for neighbours."""

SESSION_COOKIES_MAX = 4
"""Most session cookies tried of one request. Other applications of a domain may set cookies of the same name."""

TOKENS_KNOWN = 1_000
"""Tokens whose signature is not checked again, the latest used: whoever looks at a payment every second, or repeats a
request, sends the same one. 4 MB at most."""


KEYS_PREPARED = 4
"""Keys that are kept ready: the platform's, and the one of before."""


class AuthenticatedUser(Struct, frozen=True):
    """Who asks, as the platform's user id."""

    user_id: str


class NotAuthenticated(Exception):
    """The request does not show who asks. `reason` says why, without a word of what it did show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SignatureWrong(NotAuthenticated):
    """A token that is well-formed, and signed with none of our keys."""

    def __init__(self) -> None:
        super().__init__("the token's signature is wrong")


class _PlatformHmac(HMACAlgorithm):
    """HMAC without PyJWT's warning about short keys: the key is the platform's choice, and each request would warn.

    Nor is the key looked at again for each request, whether it is perhaps a certificate or JSON: half of what a
    token costs.
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
    """PyJWT's, which looks at each message of a token in Python: a third of what a token costs.

    Leans on one inner name of the library, which still has the word on what is padded, strange or empty.
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
    """Who asks, by the values of the `Authorization` and `Cookie` headers. A bearer token excludes the cookies.

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


_STANDARD_ALPHABET = str.maketrans("-_", "+/")

_BASE64URL = re.compile(rb"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?")

_JWS = PlatformJws(algorithms=[])
_JWS.register_algorithm(ALGORITHM, _PlatformHmac())
